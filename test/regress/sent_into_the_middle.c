/* SPDX-License-Identifier: MIT
 *
 * sent_into_the_middle.c: who had done so much that it gave up its turn before a send, and came back when another coroutine had
 * begun a sendall on the same socket, was not refused: its bytes went into the middle of the other's. */
#include "../unit/net/wire.h"

enum { MUCH = 16 << 20 };

static coil_sock *ours, *peer;

/* Enough that its next operation lets others run first. */
static coil_ret send_when_tired(void *sock)
{
    for (int i = 0; i < NET_BURST_MAX; i++)
        must(coil_sock_send(sock, "x", 1));
    return coil_sock_send(ours, "!", 1);
}

static coil_ret send_much(void *data)
{
    return coil_sock_sendall(ours, data, MUCH, NULL);
}

/* Makes room as soon as the other waits for it. */
static coil_ret take_all(void *buf)
{
    size_t n = 0, strange = 0;
    for (coil_ret rc; n < MUCH; n += (size_t)rc) {
        rc = must(coil_sock_recv(peer, buf, MUCH));
        strange += memchr(buf, '!', (size_t)rc) != NULL;
    }
    return (coil_ret)strange;
}

COIL_TEST(what_is_sent_whole_has_nothing_in_its_middle)
{
    coil_sock *a, *b;
    char *data = calloc(1, MUCH), *buf = malloc(MUCH);
    wire_pair(&a, &b);
    wire_pair(&ours, &peer);
    coil_task *tired = coil_create_task(send_when_tired, a);
    coil_task *much = coil_create_task(send_much, data);
    coil_task *taker = coil_create_task(take_all, buf);
    assert_int_equal(coil_join(tired), COIL_ERUNNING);
    assert_int_equal(coil_join(much), 0);
    assert_int_equal(coil_join(taker), 0);
    coil_sock_unref(a);
    coil_sock_unref(b);
    coil_sock_unref(ours);
    coil_sock_unref(peer);
    free(data);
    free(buf);
}

COIL_TEST_MAIN()
