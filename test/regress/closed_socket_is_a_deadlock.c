/* SPDX-License-Identifier: MIT
 *
 * closed_socket_is_a_deadlock.c: a task waits on a socket, another one closes it and waits for the first. What
 * the close had finished was not reaped yet when the loop asked whether it may sleep: by the real clock that
 * was a certain deadlock, with the answer already there. */
#include "test.h"

#include <coil.h>

static coil_ret receive(void *sock)
{
    char byte;
    return coil_sock_recv(sock, &byte, 1);
}

COIL_TEST_WITH(closing_what_a_task_waits_on_is_no_deadlock, .virtual_time = false)
{
    coil_sock *listener, *sock;
    coil_address address;
    assert_int_equal(coil_address_parse("127.0.0.1", "0", &address), 0);
    assert_int_equal(coil_sock_new(AF_INET, SOCK_STREAM, 0, &listener), 0);
    assert_int_equal(coil_sock_bind(listener, &address), 0);
    assert_int_equal(coil_sock_listen(listener, 1), 0);
    assert_int_equal(coil_sock_getsockname(listener, &address), 0);
    assert_int_equal(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock), 0);
    assert_int_equal(coil_sock_connect(sock, &address), 0);

    coil_task *receiver = coil_create_task(receive, sock);
    assert_int_equal(coil_sleep(0.01), 0);
    assert_string_equal(coil_task_waiting_on(receiver), "recv");
    coil_sock_close(sock);
    assert_int_equal(coil_join(receiver), -EBADF);

    coil_sock_unref(sock);
    coil_sock_unref(listener);
}

COIL_TEST_MAIN()
