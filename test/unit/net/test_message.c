/* SPDX-License-Identifier: MIT
 *
 * test_message.c: datagrams on owned sockets: edges, senders, emptiness and size are kept; what does not fit
 * is told; waits can be cancelled and lose nothing. */
#include "wire.h"

static coil_sock *udp(coil_address *out_name)
{
    coil_address any;
    coil_sock *sock;
    must(coil_address_parse("127.0.0.1", "0", &any));
    must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &sock));
    must(coil_sock_bind(sock, &any));
    if (out_name)
        must(coil_sock_getsockname(sock, out_name));
    return sock;
}

/* With a name that the kernel chose. */
static coil_sock *unix_datagram(coil_address *out_name)
{
    coil_address any = {.storage.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
    coil_sock *sock;
    must(coil_sock_new(AF_UNIX, SOCK_DGRAM, 0, &sock));
    must(coil_sock_bind(sock, &any));
    must(coil_sock_getsockname(sock, out_name));
    return sock;
}

static bool same_address(const coil_address *a, const coil_address *b)
{
    char x[COIL_ADDRESS_TEXT_MAX], y[COIL_ADDRESS_TEXT_MAX];
    coil_address_format(a, x, sizeof x);
    coil_address_format(b, y, sizeof y);
    return strcmp(x, y) == 0;
}

static coil_ret say_to(coil_sock *sock, const char *text, const coil_address *to)
{
    return coil_sock_sendto(sock, text, strlen(text), to);
}

struct hearing {
    coil_sock *sock;
    char buf[64];
    coil_address from;
    coil_ret result;
};

static coil_ret hear_once(void *arg)
{
    struct hearing *h = arg;
    return h->result = coil_sock_recvfrom(h->sock, h->buf, sizeof h->buf, &h->from);
}

/* ---- the plain way ---- */

COIL_TEST(recvfrom_tells_who_sent_it)
{
    coil_address a_name, b_name, from;
    coil_sock *a = udp(&a_name), *b = udp(&b_name);
    char buf[16];
    assert_int_equal(must(say_to(a, "hello", &b_name)), 5);
    assert_int_equal(must(coil_sock_recvfrom(b, buf, sizeof buf, &from)), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_true(same_address(&from, &a_name));
    must(say_to(b, "and back", &from));
    assert_int_equal(must(coil_sock_recvfrom(a, buf, sizeof buf, NULL)), 8);
    assert_memory_equal(buf, "and back", 8);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(recvfrom_waits)
{
    coil_address a_name, b_name;
    coil_sock *a = udp(&a_name), *b = udp(&b_name);
    struct hearing h = {.sock = b};
    coil_task *task = coil_create_task(hear_once, &h);
    must(coil_sleep(1));
    assert_string_equal(coil_task_waiting_on(task), "recvfrom");
    must(say_to(a, "late", &b_name));
    assert_int_equal(coil_join(task), 4);
    assert_memory_equal(h.buf, "late", 4);
    assert_true(same_address(&h.from, &a_name));
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(datagrams_keep_order_and_edges)
{
    coil_address b_name;
    coil_sock *a = udp(NULL), *b = udp(&b_name);
    char buf[64], text[64];
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof text, "%*d", i, i);
        must(say_to(a, text, &b_name));
    }
    if (wire_is_imaginary()) /* whose network may change the order of datagrams: each has its own latency */
        must(coil_sleep(1));
    unsigned seen = 0;
    for (int i = 0; i < 50; i++) {
        coil_ret n = must(coil_sock_recvfrom(b, buf, sizeof buf - 1, NULL));
        buf[n] = 0;
        int number = atoi(buf);
        snprintf(text, sizeof text, "%*d", number, number);
        assert_string_equal(buf, text);
        if (!wire_is_imaginary())
            assert_int_equal(number, i);
        seen++;
    }
    assert_int_equal(seen, 50);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(empty_datagrams_are_sent_and_are_no_end)
{
    coil_address b_name, from;
    coil_sock *a = udp(NULL), *b = udp(&b_name);
    char buf[8];
    must(coil_sock_connect(a, &b_name));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(must(coil_sock_sendto(a, NULL, 0, i ? NULL : &b_name)), 0);
        assert_int_equal(must(coil_sock_recvfrom(b, buf, sizeof buf, &from)), 0);
        assert_true(coil_address_port(&from) > 0);
    }
    assert_int_equal(must(coil_sock_send(a, buf, 0)), 0);
    assert_int_equal(must(coil_sock_recv(b, buf, sizeof buf)), 0);
    size_t sent = 7;
    must(coil_sock_sendall(a, "", 0, &sent));
    assert_int_equal(sent, 0);
    assert_int_equal(must(coil_sock_recv(b, buf, 0)), 0); /* with no room at all, too */
    must(coil_sock_sendall(a, "not the end", 11, &sent));
    assert_int_equal(sent, 11);
    assert_int_equal(coil_sock_recv(b, buf, 5), -EMSGSIZE);
    assert_memory_equal(buf, "not t", 5);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

/* Tried at once, and waited for. */
COIL_TEST(datagram_that_does_not_fit_is_never_cut_in_silence)
{
    coil_address a_name, b_name, from = {.len = 0};
    coil_sock *a = udp(&a_name), *b = udp(&b_name);
    char buf[8];
    must(say_to(a, "seventeen letters", &b_name));
    must(coil_sleep(0.1));
    assert_int_equal(coil_sock_recvfrom(b, buf, sizeof buf, &from), -EMSGSIZE);
    assert_string_equal(coil_last_error()->message, "a datagram of 17 bytes came, with room for 8");
    assert_memory_equal(buf, "seventee", 8);
    assert_true(same_address(&from, &a_name));
    char longer[100] = "x";
    struct hearing h = {.sock = b};
    coil_task *task = coil_create_task(hear_once, &h);
    must(coil_sleep(0.1));
    must(coil_sock_sendto(a, longer, sizeof longer, &b_name));
    assert_int_equal(coil_join(task), -EMSGSIZE);
    assert_true(same_address(&h.from, &a_name));
    must(say_to(a, "what follows is whole", &b_name));
    h.result = must(coil_sock_recvfrom(b, h.buf, sizeof h.buf, NULL));
    assert_int_equal(h.result, 21);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(datagram_that_fits_exactly_is_no_error)
{
    coil_address b_name;
    coil_sock *a = udp(NULL), *b = udp(&b_name);
    char buf[5];
    must(say_to(a, "exact", &b_name));
    assert_int_equal(must(coil_sock_recvfrom(b, buf, 5, NULL)), 5);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(recvfrom_of_a_stream_is_recv)
{
    coil_sock *a, *b;
    char buf[4];
    wire_pair(&a, &b);
    assert_int_equal(must(coil_sock_sendto(a, "stream", 6, NULL)), 6);
    assert_int_equal(must(coil_sock_recvfrom(b, buf, 4, NULL)), 4);
    assert_int_equal(must(coil_sock_recvfrom(b, buf, 0, NULL)), 0);
    assert_int_equal(must(coil_sock_recvfrom(b, buf, 4, NULL)), 2);
    coil_sock_unref(a);
    assert_int_equal(must(coil_sock_recvfrom(b, buf, 4, NULL)), 0);
    coil_sock_unref(b);
}

COIL_TEST(sender_without_a_name_has_an_address_of_no_length)
{
    coil_address b_name, from;
    coil_sock *a, *b = unix_datagram(&b_name);
    char buf[8], text[COIL_ADDRESS_TEXT_MAX];
    must(coil_sock_new(AF_UNIX, SOCK_DGRAM, 0, &a));
    must(say_to(a, "who?", &b_name));
    assert_int_equal(must(coil_sock_recvfrom(b, buf, sizeof buf, &from)), 4);
    assert_int_equal(from.len, 0);
    coil_address_format(&from, text, sizeof text);
    assert_string_equal(text, "unix");
    coil_sock_unref(a);
    coil_sock_unref(b);
}

/* ---- cancelling ---- */

COIL_TEST(recvfrom_cancelled_loses_nothing)
{
    coil_address b_name;
    coil_sock *a = udp(NULL), *b = udp(&b_name);
    struct hearing h = {.sock = b};
    coil_task *task = coil_create_task(hear_once, &h);
    must(coil_sleep(0.1));
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_int_equal(h.from.len, 0);
    must(say_to(a, "kept", &b_name));
    assert_int_equal(must(hear_once(&h)), 4);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

static coil_ret hear_then_sleep(void *arg)
{
    coil_ret rc = hear_once(arg);
    return rc < 0 ? rc : coil_sleep(100);
}

COIL_TEST(recvfrom_cancelled_at_any_turn_loses_nothing)
{
    for (int turns = 0; turns < 8; turns++) {
        coil_address b_name;
        coil_sock *a = udp(NULL), *b = udp(&b_name);
        struct hearing h = {.sock = b};
        coil_task *task = coil_create_task(hear_then_sleep, &h);
        must(coil_sleep(turns & 1 ? 0.1 : 0));
        must(say_to(a, "race", &b_name));
        for (int i = 0; i < turns / 2; i++)
            must(coil_sleep(0));
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), -ECANCELED);
        if (h.result != 4)
            h.result = must(coil_sock_recvfrom(b, h.buf, sizeof h.buf, NULL));
        assert_int_equal(h.result, 4);
        assert_memory_equal(h.buf, "race", 4);
        coil_sock_unref(a);
        coil_sock_unref(b);
    }
}

COIL_TEST(recvfrom_closed_meanwhile)
{
    coil_sock *b = udp(NULL);
    struct hearing h = {.sock = b};
    coil_task *task = coil_create_task(hear_once, &h);
    must(coil_sleep(0.1));
    assert_int_equal(coil_sock_recvfrom(b, h.buf, 1, NULL), COIL_ERUNNING);
    coil_sock_close(b);
    assert_int_equal(coil_join(task), -EBADF);
    assert_int_equal(coil_sock_recvfrom(b, h.buf, 1, NULL), -EBADF);
    assert_int_equal(coil_sock_sendto(b, "x", 1, NULL), -EBADF);
    coil_sock_unref(b);
}

/* ---- a receiver that is full ---- */

struct filling {
    coil_sock *sock;
    const coil_address *to;
    int sent, enough;
    coil_ret result;
};

/* Each begins with its number. */
static coil_ret fill(void *arg)
{
    struct filling *f = arg;
    static char data[4096];
    coil_ret rc = 0;
    while (rc >= 0 && f->sent < f->enough) {
        memcpy(data, &f->sent, sizeof f->sent);
        rc = coil_sock_sendto(f->sock, data, sizeof data, f->to);
        if (rc >= 0)
            f->sent++;
    }
    return f->result = rc;
}

/* Connected, where the kernel tells of room; by name, where it tells nobody. */
static void sends_all_to_a_slow_receiver(bool connected)
{
    enum { N = 2000 };
    static char buf[4096];
    coil_address a_name, b_name;
    coil_sock *a = unix_datagram(&a_name), *b = unix_datagram(&b_name);
    if (connected)
        must(coil_sock_connect(a, &b_name));
    struct filling f = {.sock = a, .to = connected ? NULL : &b_name, .enough = N};
    coil_task *task = coil_create_task(fill, &f);
    must(coil_sleep(0.5));
    assert_true(f.sent > 0 && f.sent < N);
    if (connected)
        assert_string_equal(coil_task_waiting_on(task), "sendto");
    assert_int_equal(coil_sock_sendto(a, "x", 1, f.to), COIL_ERUNNING);
    for (int i = 0; i < N; i++) {
        int number;
        assert_int_equal(must(coil_sock_recvfrom(b, buf, sizeof buf, NULL)), sizeof buf);
        memcpy(&number, buf, sizeof number);
        assert_int_equal(number, i);
    }
    must(coil_join(task));
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(sendto_waits_for_a_full_peer)
{
    sends_all_to_a_slow_receiver(true);
}

COIL_TEST(sendto_by_name_asks_a_full_receiver_again)
{
    sends_all_to_a_slow_receiver(false);
}

/* How many are there. */
static int drain(coil_sock *sock)
{
    struct hearing h = {.sock = sock};
    for (int n = 0;; n++) {
        coil_task *task = coil_create_task(hear_once, &h);
        must(coil_sleep(0.2));
        bool none = !coil_future_done(task);
        if (none)
            coil_task_cancel(task, NULL);
        coil_ret rc = coil_join(task);
        if (none)
            return n;
        assert_int_equal(rc, -EMSGSIZE);
    }
}

static void cancels_a_sender_to_a_full_receiver(bool connected)
{
    coil_address a_name, b_name;
    coil_sock *a = unix_datagram(&a_name), *b = unix_datagram(&b_name);
    if (connected)
        must(coil_sock_connect(a, &b_name));
    struct filling f = {.sock = a, .to = connected ? NULL : &b_name, .enough = 5000};
    coil_task *task = coil_create_task(fill, &f);
    must(coil_sleep(0.5));
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_int_equal(drain(b), f.sent);
    /* And closing ends such a wait. */
    f.sent = 0;
    task = coil_create_task(fill, &f);
    must(coil_sleep(0.5));
    coil_sock_close(a);
    assert_int_equal(coil_join(task), -EBADF);
    assert_int_equal(drain(b), f.sent);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(sendto_cancelled_sent_nothing)
{
    cancels_a_sender_to_a_full_receiver(true);
}

COIL_TEST(sendto_by_name_cancelled_sent_nothing)
{
    cancels_a_sender_to_a_full_receiver(false);
}

/* ---- errors ---- */

COIL_TEST(datagram_errors_are_the_kernels)
{
    coil_address nobody;
    coil_sock *a = udp(NULL), *b = udp(&nobody);
    static char big[70000];
    char buf[8];
    assert_int_equal(coil_sock_sendto(a, "x", 1, NULL), -EDESTADDRREQ);
    assert_int_equal(coil_sock_sendto(a, big, sizeof big, &nobody), -EMSGSIZE);
    must(coil_sock_connect(a, &nobody));
    coil_sock_unref(b);
    must(coil_sock_send(a, "anybody?", 8));
    assert_int_equal(coil_sock_recv(a, buf, sizeof buf), -ECONNREFUSED);
    coil_sock_unref(a);
}

/* A socket that is always ready does not keep others from running. */
static coil_ret pump(void *arg)
{
    char buf[8];
    coil_ret rc = 1;
    for (int i = 0; rc == 1 && i < 1000; i++) {
        rc = coil_sock_sendto(arg, "x", 1, NULL);
        if (rc == 1)
            rc = coil_sock_recvfrom(arg, buf, sizeof buf, NULL);
    }
    return rc;
}

static coil_ret pump_on_and_on(void *arg)
{
    coil_ret rc;
    do
        rc = pump(arg);
    while (rc == 1);
    return rc;
}

COIL_TEST(datagram_socket_given_up_while_its_user_lets_others_run)
{
    coil_address self;
    coil_sock *a = unix_datagram(&self);
    must(coil_sock_connect(a, &self));
    coil_task *task = coil_create_task(pump_on_and_on, a);
    for (int i = 0; i < 3; i++)
        must(coil_sleep(0));
    assert_false(coil_future_done(task));
    coil_sock_unref(a);
    assert_int_equal(coil_join(task), -EBADF);
}

static coil_ret count_turns(void *arg)
{
    for (int *n = arg;; ++*n) {
        coil_ret rc = coil_sleep(0);
        if (rc < 0)
            return rc;
    }
}

COIL_TEST(datagram_socket_always_ready_is_no_monopoly)
{
    coil_address self;
    coil_sock *a = unix_datagram(&self);
    must(coil_sock_connect(a, &self)); /* to itself */
    int turns = 0;
    coil_task *counter = coil_create_task(count_turns, &turns);
    assert_int_equal(must(coil_join(coil_create_task(pump, a))), 1);
    assert_true(turns >= 1000 * 2 / NET_BURST_MAX - 2);
    coil_task_cancel(counter, NULL);
    coil_ignore(coil_join(counter));
    coil_sock_unref(a);
}

static coil_ret stay_in_recvfrom(void *arg)
{
    struct hearing *h = arg;
    h->sock = udp(NULL);
    coil_task *task = coil_create_task(hear_once, h);
    must(coil_sleep(0.1));
    coil_unref(task);
    return 0;
}

COIL_TEST_PLAIN(recvfrom_is_unwound_with_its_loop)
{
    struct hearing h = {.result = 1};
    assert_int_equal(wire_run(stay_in_recvfrom, &h), 0);
    assert_int_equal(h.result, COIL_EEXIT);
    assert_true(coil_sock_is_closed(h.sock));
    coil_sock_unref(h.sock);
}

/* ---- memory ---- */

struct outcome {
    int made;
};

static coil_ret exchange(coil_sock **a, coil_sock **b)
{
    coil_address any, name;
    struct hearing h;
    coil_ret rc = coil_address_parse("127.0.0.1", "0", &any);
    if (rc == 0)
        rc = coil_sock_new(AF_INET, SOCK_DGRAM, 0, a);
    if (rc == 0)
        rc = coil_sock_new(AF_INET, SOCK_DGRAM, 0, b);
    if (rc == 0)
        rc = coil_sock_bind(*b, &any);
    if (rc == 0)
        rc = coil_sock_getsockname(*b, &name);
    if (rc == 0)
        rc = coil_sock_sendto(*a, "x", 1, &name);
    if (rc == 1)
        rc = coil_sock_recvfrom(*b, h.buf, sizeof h.buf, &h.from);
    return rc;
}

static void exchange_or_not(void *arg)
{
    struct outcome *o = arg;
    coil_sock *a = NULL, *b = NULL;
    coil_ret rc = exchange(&a, &b);
    assert_true(rc == 1 || rc == -ENOMEM);
    o->made += rc == 1;
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(datagrams_survive_failing_allocations)
{
    struct outcome o = {0};
    exchange_or_not(&o);
    int failed = sweep_allocations(exchange_or_not, &o);
    assert_true(o.made >= 2);
    assert_true(failed >= 2 || failed == 0);
}

COIL_TEST_MAIN()
