/* SPDX-License-Identifier: MIT
 *
 * second_accept_closed_stdin.c: who had done so much that it gave up its turn, and then found that another coroutine had
 * begun to accept on the same socket meanwhile, was refused; and descriptor 0 was closed, as the connection that it had brought. */
#include "../unit/net/wire.h"

#include <sys/stat.h>

static coil_sock *listener;

static coil_ret accept_at_once(void *arg)
{
    (void)arg;
    coil_sock *client = NULL;
    coil_ret rc = coil_sock_accept(listener, &client, NULL);
    coil_sock_unref(client);
    return rc;
}

/* Enough that its next operation lets others run first. */
static coil_ret accept_when_tired(void *sock)
{
    char byte = 'x';
    for (int i = 0; i < NET_BURST_MAX; i++)
        must(coil_sock_send(sock, &byte, 1));
    return accept_at_once(NULL);
}

COIL_TEST(who_comes_second_to_accept_is_refused_and_nothing_is_closed)
{
    coil_sock *a, *b;
    struct stat before, after;
    wire_pair(&a, &b);
    listener = wire_listen(1);
    assert_int_equal(fstat(0, &before), 0);
    coil_task *tired = coil_create_task(accept_when_tired, a);
    coil_task *other = coil_create_task(accept_at_once, NULL);
    assert_int_equal(coil_join(tired), COIL_ERUNNING);
    assert_int_equal(fstat(0, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    coil_task_cancel(other, NULL);
    assert_int_equal(coil_join(other), -ECANCELED);
    coil_sock_unref(listener);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST_MAIN()
