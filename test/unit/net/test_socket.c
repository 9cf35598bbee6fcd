/* SPDX-License-Identifier: MIT
 *
 * test_socket.c: owned sockets: what is sent arrives, waits can be cancelled and lose nothing, closing
 * wakes whoever waits. */
#include "wire.h"

#include <coil/transport.h>

/* ---- the plain way ---- */

COIL_TEST(socket_bytes_arrive)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    wire_say(a, "hello");
    wire_expect(b, "hello");
    coil_sock_unref(a);
    wire_expect_end(b);
    coil_sock_unref(b);
}

COIL_TEST(socket_names_are_each_others)
{
    coil_sock *a, *b;
    coil_address own, peer;
    wire_pair(&a, &b);
    must(coil_sock_getsockname(a, &own));
    must(coil_sock_getpeername(b, &peer));
    assert_int_equal(own.len, peer.len);
    assert_int_equal(coil_address_port(&own), coil_address_port(&peer));
    assert_true(coil_sock_fileno(a) >= 0);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

struct reading {
    coil_sock *sock;
    char buf[64];
    coil_ret result;
    double at;
};

static coil_ret read_once(void *arg)
{
    struct reading *r = arg;
    r->result = coil_sock_recv(r->sock, r->buf, sizeof r->buf);
    r->at = coil_loop_time(NULL);
    return r->result;
}

COIL_TEST(socket_recv_waits)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    struct reading r = {.sock = b};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(1));
    assert_string_equal(coil_task_waiting_on(task), "recv");
    wire_say(a, "late");
    assert_int_equal(coil_join(task), 4);
    assert_memory_equal(r.buf, "late", 4);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(socket_zero_bytes_are_no_end)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    char c;
    assert_int_equal(must(coil_sock_recv(b, &c, 0)), 0);
    assert_int_equal(must(coil_sock_send(b, &c, 0)), 0);
    wire_say(a, "x");
    wire_expect(b, "x");
    coil_sock_unref(a);
    coil_sock_unref(b);
}

struct sending {
    coil_sock *sock;
    const char *data;
    size_t n, sent;
};

static coil_ret send_all(void *arg)
{
    struct sending *s = arg;
    return coil_sock_sendall(s->sock, s->data, s->n, &s->sent);
}

COIL_TEST(socket_sendall_of_a_megabyte)
{
    enum { N = 1 << 20 };
    coil_sock *a, *b;
    wire_pair(&a, &b);
    char *data = malloc(N), *got = malloc(N);
    for (size_t i = 0; i < N; i++)
        data[i] = (char)(i * 7 + i / 251);
    struct sending s = {.sock = a, .data = data, .n = N};
    coil_task *task = coil_create_task(send_all, &s);
    size_t have = 0;
    while (have < N) {
        coil_ret rc = must(coil_sock_recv(b, got + have, N - have));
        assert_true(rc > 0);
        have += (size_t)rc;
    }
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(s.sent, N);
    assert_memory_equal(data, got, N);
    free(data);
    free(got);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

/* ---- cancelling ---- */

/* The cancel takes nothing: what comes afterwards is all there. */
COIL_TEST(socket_cancelled_recv_loses_nothing)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    struct reading r = {.sock = b};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(1));
    double before = coil_loop_time(NULL);
    coil_task_cancel(task, "enough");
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "enough");
    assert_true(coil_loop_time(NULL) - before <
                0.5); /* test_prompt_cancellation: without any I/O */
    wire_say(a, "kept");
    wire_expect(b, "kept");
    coil_sock_unref(a);
    coil_sock_unref(b);
}

static coil_ret read_then_sleep(void *arg)
{
    struct reading *r = arg;
    r->result = coil_sock_recv(r->sock, r->buf, sizeof r->buf);
    return r->result < 0 ? r->result : coil_sleep(100);
}

/* Whatever happens in one turn: either the bytes are returned and the cancel meets the next wait, or none was
 * taken. */
COIL_TEST(socket_recv_and_cancel_in_one_turn)
{
    for (int turns = 0; turns < 6; turns++) {
        coil_sock *a, *b;
        wire_pair(&a, &b);
        struct reading r = {.sock = b};
        coil_task *task = coil_create_task(read_then_sleep, &r);
        must(coil_sleep(0.1));
        wire_say(a, "race");
        for (int i = 0; i < turns; i++)
            must(coil_sleep(0));
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), -ECANCELED);
        if (r.result == -ECANCELED)
            wire_expect(b, "race");
        else
            assert_int_equal(r.result, 4);
        coil_sock_unref(a);
        coil_sock_unref(b);
    }
}

COIL_TEST(socket_cancelled_sendall_says_how_far)
{
    enum { N = 64 << 20 };
    coil_sock *a, *b;
    wire_pair(&a, &b);
    char *data = calloc(1, N);
    struct sending s = {.sock = a, .data = data, .n = N};
    coil_task *task = coil_create_task(send_all, &s);
    must(coil_sleep(0.1));
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_true(s.sent < N);
    coil_sock_unref(a);
    char *bin = malloc(1 << 20);
    size_t got = 0;
    for (coil_ret rc; (rc = must(coil_sock_recv(b, bin, 1 << 20))) > 0;)
        got += (size_t)rc;
    assert_int_equal(got, s.sent);
    free(bin);
    free(data);
    coil_sock_unref(b);
}

struct accepting {
    coil_sock *listener, *got;
};

static coil_ret accept_once(void *arg)
{
    struct accepting *x = arg;
    return coil_sock_accept(x->listener, &x->got, NULL);
}

/* T52, test_cancel_sock_accept: the connection stays in the backlog. */
COIL_TEST(socket_cancelled_accept_leaves_the_client)
{
    struct accepting x = {.listener = wire_listen(5)};
    coil_task *task = coil_create_task(accept_once, &x);
    must(coil_sleep(0.1));
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_null(x.got);
    coil_address at;
    coil_sock *client, *served;
    must(coil_sock_getsockname(x.listener, &at));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &client));
    must(coil_sock_connect(client, &at));
    must(coil_sock_accept(x.listener, &served, NULL));
    wire_say(client, "in");
    wire_expect(served, "in");
    coil_sock_unref(client);
    coil_sock_unref(served);
    coil_sock_unref(x.listener);
}

struct connecting {
    coil_sock *sock;
    coil_address to;
};

static coil_ret connect_once(void *arg)
{
    struct connecting *c = arg;
    return coil_sock_connect(c->sock, &c->to);
}

COIL_TEST(socket_cancelled_connect_can_be_closed)
{
    coil_sock *listener = wire_listen(5);
    struct connecting c;
    must(coil_sock_getsockname(listener, &c.to));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &c.sock));
    coil_task *task = coil_create_task(connect_once, &c);
    must(coil_sleep(0));
    coil_task_cancel(task, NULL);
    coil_ret rc = coil_join(task);
    assert_true(rc == 0 || rc == -ECANCELED);
    coil_sock_unref(c.sock);
    coil_sock_unref(listener);
}

COIL_TEST(socket_connect_refused_is_named)
{
    coil_sock *listener = wire_listen(1), *sock;
    coil_address nobody;
    must(coil_sock_getsockname(listener, &nobody));
    coil_sock_unref(listener);
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    assert_int_equal(coil_sock_connect(sock, &nobody), -ECONNREFUSED);
    assert_non_null(strstr(coil_last_error()->message, "Connect call failed 127.0.0.1:"));
    coil_sock_unref(sock);
}

/* At every moment: before the connection is there, when its task has not heard of it yet, and afterwards. */
COIL_TEST(socket_given_up_while_it_connects)
{
    for (int turns = 1; turns < 6; turns++) {
        coil_sock *listener = wire_listen(5);
        struct connecting c;
        must(coil_sock_getsockname(listener, &c.to));
        must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &c.sock));
        coil_task *task = coil_create_task(connect_once, &c);
        for (int i = 0; i < turns; i++)
            must(coil_sleep(0));
        coil_sock_unref(c.sock);
        coil_ret rc = coil_join(task);
        assert_true(rc == 0 || rc == -EBADF);
        coil_sock_unref(listener);
    }
}

/* Connecting to no family takes the peer away. */
COIL_TEST(socket_without_its_peer_has_none)
{
    if (wire_is_imaginary())
        return; /* that one keeps its peers */
    coil_sock *sock;
    coil_address to, none = {.storage.ss_family = AF_UNSPEC, .len = sizeof(struct sockaddr)};
    must(coil_address_parse("127.0.0.1", "9", &to));
    must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &sock));
    must(coil_sock_connect(sock, &to));
    must(coil_sock_getpeername(sock, &to));
    must(coil_sock_connect(sock, &none));
    assert_int_equal(coil_sock_getpeername(sock, &to), -ENOTCONN);
    coil_sock_unref(sock);
}

/* ---- closing ---- */

COIL_TEST(socket_close_wakes_who_waits)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    struct reading r = {.sock = b};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(0.1));
    coil_sock_close(b);
    assert_int_equal(coil_join(task), -EBADF);
    assert_int_equal(coil_sock_recv(b, r.buf, 1), -EBADF);
    assert_int_equal(coil_sock_send(b, "x", 1), -EBADF);
    assert_int_equal(coil_sock_fileno(b), -1);
    assert_true(coil_sock_is_closed(b));
    coil_sock_close(b);
    wire_expect_end(a);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(socket_given_up_while_somebody_waits)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    struct reading r = {.sock = b};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(0.1));
    coil_sock_close(b);
    coil_sock_unref(b);
    assert_int_equal(coil_join(task), -EBADF);
    coil_sock_unref(a);
}

static coil_ret read_on_and_on(void *arg)
{
    char c;
    coil_ret rc;
    do
        rc = coil_sock_recv(arg, &c, 1);
    while (rc == 1);
    return rc;
}

static coil_ret send_on_and_on(void *arg)
{
    coil_ret rc;
    do
        rc = coil_sock_send(arg, "x", 1);
    while (rc == 1);
    return rc;
}

/* Between two calls that need not wait, when others get their turn. */
COIL_TEST(socket_given_up_while_its_user_lets_others_run)
{
    static const char data[1000];
    for (int sends = 0; sends < 2; sends++) {
        coil_sock *a, *b;
        wire_pair(&a, &b);
        wire_send(a, data, sizeof data);
        must(coil_sleep(0.1));
        coil_task *task = coil_create_task(sends ? send_on_and_on : read_on_and_on, b);
        must(coil_sleep(0)); /* it has had its share, and is to go on */
        assert_false(coil_future_done(task));
        coil_sock_unref(b);
        assert_int_equal(coil_join(task), -EBADF);
        coil_sock_unref(a);
    }
}

COIL_TEST(socket_number_reused_at_once)
{
    for (int i = 0; i < 20; i++) {
        coil_sock *a, *b;
        wire_pair(&a, &b);
        struct reading r = {.sock = b};
        coil_task *task = coil_create_task(read_once, &r);
        must(coil_sleep(0));
        coil_sock_close(b);
        coil_sock *c, *d;
        wire_pair(&c, &d); /* the lowest free numbers: one of them was b's */
        assert_int_equal(coil_join(task), -EBADF);
        wire_say(c, "mine");
        wire_expect(d, "mine");
        coil_sock_unref(a);
        coil_sock_unref(b);
        coil_sock_unref(c);
        coil_sock_unref(d);
    }
}

COIL_TEST(socket_half_close)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    wire_say(a, "request");
    must(coil_sock_shutdown(a, SHUT_WR));
    wire_expect(b, "request");
    wire_expect_end(b);
    wire_say(b, "answer");
    wire_expect(a, "answer");
    assert_true(coil_sock_send(a, "x", 1) == -EPIPE);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(socket_reset_comes_after_the_data)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    struct reading r = {.sock = b};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(0.1));
    wire_reset(a);
    assert_int_equal(coil_join(task), -ECONNRESET);
    coil_sock_unref(b);
}

/* ---- misuse ---- */

COIL_TEST(socket_one_reader_at_a_time)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    struct reading r = {.sock = b};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(0.1));
    char c;
    assert_int_equal(coil_sock_recv(b, &c, 1), COIL_ERUNNING);
    wire_say(b, "the other way is free");
    wire_say(a, "x");
    assert_int_equal(coil_join(task), 1);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

/* Also while it only gives up its turn, between two parts. */
COIL_TEST(socket_one_sender_at_a_time)
{
    enum { N = 1 << 20 };
    coil_sock *a, *b;
    wire_pair(&a, &b);
    wire_narrow(a);
    char *data = calloc(1, N);
    struct sending s = {.sock = a, .data = data, .n = N};
    coil_task *task = coil_create_task(send_all, &s);
    must(coil_sleep(0));
    size_t got = 0;
    bool refused = false;
    while (got < N) {
        if (!coil_future_done(task)) {
            assert_int_equal(coil_sock_send(a, "x", 1), COIL_ERUNNING);
            refused = true;
        }
        got += (size_t)must(coil_sock_recv(b, data, 30000));
    }
    assert_true(refused);
    must(coil_join(task));
    free(data);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

/* Neither while its sender waits nor between two of its parts, when it only gives up its turn. */
COIL_TEST(socket_in_a_sendall_becomes_no_stream_and_no_transport)
{
    enum { N = 16 << 20 };
    static const coil_protocol deaf = {.size = sizeof deaf};
    coil_sock *a, *b;
    coil_reader *reader;
    coil_writer *writer;
    wire_pair(&a, &b);
    char *data = calloc(1, N);
    struct sending s = {.sock = a, .data = data, .n = N};
    coil_task *task = coil_create_task(send_all, &s);
    must(coil_sleep(0));
    bool between = false, waiting = false;
    for (size_t got = 0; got < N;) {
        if (!coil_future_done(task)) {
            assert_int_equal(coil_transport_open(a, &deaf, NULL, NULL), COIL_ERUNNING);
            assert_int_equal(coil_open_connection_sock(a, 0, &reader, &writer), COIL_ERUNNING);
            between = between || !a->sending;
            waiting = waiting || a->sending;
        }
        must(coil_sleep(0));
        if (coil_future_done(task) || a->sending)
            got += (size_t)must(coil_sock_recv(b, data, N));
    }
    assert_true(between && waiting);
    must(coil_join(task));
    free(data);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

struct outside {
    coil_sock *sock;
    coil_ret rc;
    coil_future *over;
};

static void call_outside(void *arg)
{
    struct outside *o = arg;
    char c;
    o->rc = coil_sock_recv(o->sock, &c, 1);
    coil_future_set_result(o->over, 0);
}

COIL_TEST(socket_wait_outside_a_task_is_refused)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    wire_say(a, "ready");
    struct outside o = {.sock = b, .over = coil_loop_create_future(NULL)};
    must(coil_loop_call_soon(NULL, call_outside, &o, NULL));
    must(coil_join(o.over));
    assert_int_equal(o.rc, COIL_ENOTASK);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(socket_adopts_what_is_a_socket)
{
    coil_sock *sock;
    assert_int_equal(coil_sock_adopt(NULL, -1, &sock), -EBADF);
    coil_loop *loop = coil_get_running_loop();
    int fds[2];
    struct backend *b = loop->backend;
    must(b->cls->calls.pipe(b, fds));
    assert_int_equal(coil_sock_adopt(NULL, fds[0], &sock), -ENOTSOCK);
    b->cls->calls.close(b, fds[0]);
    b->cls->calls.close(b, fds[1]);

    must(b->cls->calls.socketpair(b, AF_UNIX, SOCK_STREAM, fds));
    coil_sock *x, *y;
    must(coil_sock_adopt(NULL, fds[0], &x));
    must(coil_sock_adopt(NULL, fds[1], &y));
    wire_say(x, "through the pair");
    wire_expect(y, "through the pair");
    coil_sock_unref(x);
    wire_expect_end(y);
    coil_sock_unref(y);
}

/* ---- fairness ---- */

enum { PUMPED = 20000 };

static coil_ret pump(void *arg)
{
    char c;
    coil_ret rc = 1;
    for (int i = 0; rc == 1 && i < PUMPED; i++)
        rc = coil_sock_recv(arg, &c, 1);
    return rc;
}

static coil_ret count_turns(void *arg)
{
    int *n = arg;
    for (;;) {
        coil_ret rc = coil_sleep(0);
        if (rc < 0)
            return rc;
        ++*n;
    }
}

/* A socket that is always ready does not keep others from running. */
COIL_TEST(socket_always_ready_is_no_monopoly)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    char *data = calloc(1, PUMPED);
    wire_send(a, data, PUMPED);
    must(coil_sleep(0.1));
    int turns = 0;
    coil_task *counter = coil_create_task(count_turns, &turns);
    must(coil_join(coil_create_task(pump, b)));
    assert_true(turns > PUMPED / NET_BURST_MAX / 2);
    coil_task_cancel(counter, NULL);
    coil_ignore(coil_join(counter));
    free(data);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

/* ---- the loop closes ---- */

static coil_sock *left_a, *left_b;

static coil_ret leave_open(void *arg)
{
    wire_pair(&left_a, &left_b);
    struct reading *r = arg;
    r->sock = left_a;
    coil_task *task = coil_create_task(read_once, r);
    must(coil_sleep(0.1));
    coil_unref(task);
    return 0;
}

static void hear_nothing(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

COIL_TEST_PLAIN(socket_loop_closes_over_open_ones)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    assert_non_null(loop);
    coil_loop_set_exception_handler(loop, hear_nothing, NULL);
    struct reading r = {.result = 1};
    coil_set_event_loop(loop);
    coil_task *task = coil_create_task(leave_open, &r);
    must(coil_loop_run_until_complete(loop, task));
    coil_unref(task);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(r.result, COIL_EEXIT);
    assert_true(coil_sock_is_closed(left_a) && coil_sock_is_closed(left_b));
    coil_loop_free(loop);
    coil_sock_unref(left_a);
    coil_sock_unref(left_b);
}

/* Its accept has been done, and the loop ends before its step: raised in the batch that wakes it. */
static coil_sock *left_listener;
static int left_client;

static coil_ret accept_and_keep(void *arg)
{
    coil_sock *client;
    coil_ret rc = coil_sock_accept(left_listener, &client, NULL);
    *(coil_ret *)arg = rc;
    if (rc == 0)
        coil_sock_unref(client);
    return rc;
}

static void end_at_once(void *loop)
{
    coil_loop_raise(loop, -EUSERS);
}

static coil_ret leave_with_a_client_in_hand(void *arg)
{
    coil_address at;
    left_listener = wire_listen(1);
    coil_task *task = coil_create_task(accept_and_keep, arg);
    must(coil_sleep(1));
    must(coil_sock_getsockname(left_listener, &at));
    left_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(left_client, (struct sockaddr *)&at.storage, at.len), 0);
    must(coil_loop_call_soon(NULL, end_at_once, coil_get_event_loop(), NULL));
    coil_unref(task);
    return coil_sleep(1);
}

COIL_TEST_PLAIN(socket_accepted_for_a_task_that_is_unwound_is_closed)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_ret result = 1;
    char byte;
    assert_non_null(loop);
    if (strcmp(coil_loop_backend(loop), "sim") == 0) {
        coil_loop_close(loop);
        coil_loop_free(loop);
        print_message("the client is a real one\n");
        skip();
    }
    coil_loop_set_exception_handler(loop, hear_nothing, NULL);
    coil_set_event_loop(loop);
    coil_task *task = coil_create_task(leave_with_a_client_in_hand, &result);
    assert_int_equal(coil_loop_run_until_complete(loop, task), -EUSERS);
    coil_unref(task);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(result, COIL_EEXIT);
    coil_loop_free(loop);
    coil_sock_unref(left_listener);
    (void)recv(left_client, &byte, 1, 0); /* returns: somebody closed the other end */
    close(left_client);
}

/* ---- interruptions ---- */

#define INTERRUPTED(type, name, params, args)                        \
    static type interrupted_##name params                            \
    {                                                                \
        static unsigned calls;                                       \
        return calls++ % 2 == 0 ? -EINTR : coil__sys_real.name args; \
    }
INTERRUPTED(ssize_t, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
INTERRUPTED(ssize_t, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))
INTERRUPTED(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
INTERRUPTED(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
INTERRUPTED(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))

COIL_TEST(socket_calls_that_signals_interrupt_are_made_again)
{
    coil_sock *a, *b;
    coil_address from;
    char buf[8];
    coil__sys.recv = interrupted_recv;
    coil__sys.send = interrupted_send;
    coil__sys.recvmsg = interrupted_recvmsg;
    coil__sys.sendmsg = interrupted_sendmsg;
    coil__sys.accept4 = interrupted_accept4;
    wire_pair(&a, &b);
    for (int i = 0; i < 4; i++) {
        wire_say(a, "hello");
        wire_expect(b, "hello");
        wire_say(b, "you");
        wire_expect(a, "you");
    }
    coil_sock_unref(a);
    wire_expect_end(b);
    coil_sock_unref(b);

    coil_address at;
    must(coil_address_parse("127.0.0.1", "0", &at));
    must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &a));
    must(coil_sock_bind(a, &at));
    must(coil_sock_getsockname(a, &at));
    assert_int_equal(must(coil_sock_sendto(a, "me", 2, &at)), 2);
    assert_int_equal(must(coil_sock_recvfrom(a, buf, sizeof buf, &from)), 2);
    coil_sock_unref(a);
    coil__sys = coil__sys_real;
}

/* ---- memory ---- */

static void make_pair_or_not(void *arg)
{
    int *made = arg;
    coil_sock *a, *b;
    coil_ret rc = wire_try_pair(&a, &b);
    if (rc < 0) {
        assert_int_equal(rc, -ENOMEM);
        return;
    }
    wire_say(a, "x");
    char c;
    do
        rc = coil_sock_recv(b, &c, 1);
    while (rc == -ENOMEM);
    assert_int_equal(rc, 1);
    ++*made;
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(socket_survives_failing_allocations)
{
    int made = 0;
    make_pair_or_not(&made);
    int failed = sweep_allocations(make_pair_or_not, &made);
    assert_true(made >= 2);
    assert_true(failed >= 3 || failed == 0);
}

COIL_TEST_MAIN()
