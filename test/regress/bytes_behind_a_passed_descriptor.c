/* SPDX-License-Identifier: MIT
 *
 * bytes_behind_a_passed_descriptor.c: from a unix socket the kernel gives no more than came with a descriptor, so the
 * receive is short though more is there, and no event follows. A loop that takes a short receive for the last one and has
 * nothing else to do would sleep for ever: it must look again. In real time, since virtual time looks before it jumps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <coil.h>
#include <coil/testing.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "pass.h"

enum { LATE_S = 10 };

static coil_ret read_all(void *arg)
{
    coil_sock *sock = arg;
    char buf[64];
    size_t got = 0;
    while (got < 4) {
        coil_ret n = coil_sock_recv(sock, buf + got, sizeof buf - got);
        if (n <= 0)
            return n;
        got += (size_t)n;
    }
    return memcmp(buf, "abcd", 4) == 0 ? 4 : -EBADMSG;
}

COIL_TEST_WITH(a_loop_with_nothing_else_to_do_finds_them, .virtual_time = false)
{
    int fd[2];
    coil_sock *sock;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(coil_sock_adopt(NULL, fd[0], &sock), 0);
    for (int round = 0; round < 3; round++) {
        coil_task *reader = coil_create_task(read_all, sock);
        assert_int_equal(coil_sleep(0), 0);
        pass_along(fd[1], "ab", fd[1]);
        assert_int_equal(send(fd[1], "cd", 2, 0), 2);
        double before = coil_loop_time(NULL);
        assert_int_equal(coil_wait_for(reader, LATE_S), 4);
        coil_unref(reader);
        assert_true(coil_loop_time(NULL) - before < LATE_S);
    }
    coil_sock_unref(sock);
    close(fd[1]);
}

COIL_TEST_MAIN()
