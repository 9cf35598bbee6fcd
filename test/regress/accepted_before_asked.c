/* SPDX-License-Identifier: MIT
 *
 * accepted_before_asked.c: coil_sock_accept took one connection, io_uring took all that came: descriptors that a
 * program had not asked for, which a limit of its own could not keep back. */
#include "test.h"

#include <coil.h>

#include <dirent.h>

enum { CLIENTS = 10 };

static int open_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static coil_ret accept_one(void *arg)
{
    coil_sock **socks = arg;
    return coil_sock_accept(socks[0], &socks[1], NULL);
}

COIL_TEST_WITH(one_accept_takes_one_connection, .virtual_time = false)
{
    coil_sock *socks[2] = {NULL, NULL}, *clients[CLIENTS];
    coil_address address;
    assert_int_equal(coil_address_parse("127.0.0.1", "0", &address), 0);
    assert_int_equal(coil_sock_new(AF_INET, SOCK_STREAM, 0, &socks[0]), 0);
    assert_int_equal(coil_sock_bind(socks[0], &address), 0);
    assert_int_equal(coil_sock_listen(socks[0], CLIENTS), 0);
    assert_int_equal(coil_sock_getsockname(socks[0], &address), 0);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(coil_sock_new(AF_INET, SOCK_STREAM, 0, &clients[i]), 0);

    coil_task *accepting = coil_create_task(accept_one, socks);
    assert_int_equal(coil_sleep(0.01), 0); /* it waits by now */
    int before = open_descriptors();
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(coil_sock_connect(clients[i], &address), 0);
    assert_int_equal(coil_join(accepting), 0);
    assert_int_equal(coil_sleep(0.02), 0);
    if (strcmp(coil_loop_backend(NULL), "sim") != 0) /* its sockets are no descriptors */
        assert_int_equal(open_descriptors(), before + 1);

    for (int i = 0; i < CLIENTS; i++)
        coil_sock_unref(clients[i]);
    coil_sock_unref(socks[1]);
    coil_sock_unref(socks[0]);
}

COIL_TEST_MAIN()
