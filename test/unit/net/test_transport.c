/* SPDX-License-Identifier: MIT
 *
 * test_transport.c: transports: in which order a protocol is called, what ends a connection and how, pausing both
 * ways, memory. */
#include "ear.h"

#include <coil/context.h>
#include <coil/work.h>

/* ---- helpers ---- */

static char *pattern(size_t n)
{
    char *p = malloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + i % 23);
    return p;
}

/* Receives until the end of the stream. */
struct taking {
    coil_sock *sock;
    char *got;
    size_t n;
};

static coil_ret take_all(void *arg)
{
    struct taking *t = arg;
    size_t size = 0;
    for (;;) {
        if (t->n == size)
            t->got = realloc(t->got, size = size ? 2 * size : 65536);
        coil_ret rc = coil_sock_recv(t->sock, t->got + t->n, size - t->n);
        if (rc <= 0)
            return rc;
        t->n += (size_t)rc;
    }
}

static void expect_all(coil_sock *peer, const char *data, size_t n)
{
    struct taking t = {.sock = peer};
    assert_int_equal(take_all(&t), 0);
    assert_int_equal(t.n, n);
    assert_memory_equal(t.got, data, n);
    free(t.got);
}

static void done_with(coil_transport *t, coil_sock *peer)
{
    coil_transport_unref(t);
    coil_sock_unref(peer);
}

/* ---- the order of things ---- */

COIL_TEST(transport_tells_made_data_eof_lost)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    assert_string_equal(ear.log, "made");
    wire_say(peer, "hello");
    ear_until(&ear, "made data:hello");
    coil_sock_unref(peer);
    ear_until(&ear, "made data:hello eof lost:0");
    assert_int_equal(coil_transport_write(t, "x", 1), -ECONNRESET);
    coil_transport_unref(t);
}

COIL_TEST(transport_made_comes_from_the_loop_and_before_bytes)
{
    struct ear ear = {0};
    coil_sock *ours, *peer;
    wire_pair(&ours, &peer);
    wire_say(peer, "early");
    wire_turns(3);
    coil_transport *t = ear_on(ours, &ear_protocol, &ear);
    assert_string_equal(ear.log, "");
    ear_until(&ear, "made data:early");
    coil_transport_close(t);
    ear_until(&ear, "made data:early lost:0");
    done_with(t, peer);
}

COIL_TEST(transport_writes_go_out_at_once)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    must(coil_transport_write(t, "one ", 4));
    struct iovec v[3] = {{(char[]){"two "}, 4}, {NULL, 0}, {(char[]){"three"}, 5}};
    must(coil_transport_writelines(t, v, 3));
    must(coil_transport_write(t, NULL, 0));
    must(coil_transport_writelines(t, NULL, 0));
    assert_int_equal(coil_transport_get_write_buffer_size(t), 0);
    wire_expect(peer, "one two three");
    coil_transport_close(t);
    wire_expect_end(peer);
    ear_until(&ear, "made lost:0");
    done_with(t, peer);
}

COIL_TEST(transport_coalescing_sends_at_the_end_of_the_turn)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    coil_transport_set_coalescing(t, true);
    must(coil_transport_write(t, "one ", 4));
    must(coil_transport_write(t, "two", 3));
    assert_int_equal(coil_transport_get_write_buffer_size(t), 7);
    must(coil_sleep(0));
    assert_int_equal(coil_transport_get_write_buffer_size(t), 0);
    char both[8] = "";
    assert_int_equal(must(coil_sock_recv(peer, both, sizeof both)), 7);
    assert_string_equal(both, "one two");
    must(coil_transport_write(t, "bye", 3));
    coil_transport_close(t);
    wire_expect(peer, "bye");
    wire_expect_end(peer);
    ear_until(&ear, "made lost:0");
    done_with(t, peer);
}

static coil_ret say_back(struct ear *ear, const char *data, size_t n)
{
    return coil_transport_write(ear->t, data, n);
}

COIL_TEST(transport_echoes_a_megabyte)
{
    enum { MUCH = 1 << 20 };
    struct ear ear = {.keep = true, .on_data = say_back};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    char *data = pattern(MUCH);
    struct taking taking = {.sock = peer};
    coil_task *taker = coil_create_task(take_all, &taking);
    wire_send(peer, data, MUCH);
    must(coil_sock_shutdown(peer, SHUT_WR));
    assert_int_equal(coil_join(taker), 0);
    assert_int_equal(taking.n, MUCH);
    assert_memory_equal(taking.got, data, MUCH);
    assert_int_equal(ear.n, MUCH);
    ear_until(&ear, "made eof lost:0");
    free(taking.got);
    free(ear.bytes);
    free(data);
    done_with(t, peer);
}

COIL_TEST(transport_without_callbacks_throws_away)
{
    static const coil_protocol deaf = {.size = sizeof deaf};
    coil_sock *ours, *peer;
    wire_pair(&ours, &peer);
    must(coil_transport_open(ours, &deaf, NULL, NULL));
    wire_say(peer, "hello");
    wire_turns(3);
    must(coil_sock_shutdown(peer, SHUT_WR));
    wire_expect_end(peer);
    coil_sock_unref(peer);
}

/* ---- the end ---- */

COIL_TEST(transport_eof_true_keeps_it_half_open)
{
    struct ear ear = {.keep_open = 1};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_say(peer, "request");
    must(coil_sock_shutdown(peer, SHUT_WR));
    ear_until(&ear, "made data:request eof");
    wire_turns(3);
    assert_false(coil_transport_is_closing(t));
    must(coil_transport_write(t, "answer", 6));
    wire_expect(peer, "answer");
    assert_string_equal(ear.log, "made data:request eof");
    coil_transport_close(t);
    ear_until(&ear, "made data:request eof lost:0");
    wire_expect_end(peer);
    done_with(t, peer);
}

COIL_TEST(transport_close_is_never_inline_and_lost_comes_once)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    ear.must_not = true;
    coil_transport_close(t);
    coil_transport_close(t);
    assert_true(coil_transport_is_closing(t));
    assert_false(coil_transport_is_reading(t));
    coil_transport_abort(t);
    ear.must_not = false;
    ear_until(&ear, "made lost:0");
    coil_transport_close(t);
    coil_transport_abort(t);
    wire_turns(3);
    assert_string_equal(ear.log, "made lost:0");
    done_with(t, peer);
}

COIL_TEST(transport_closed_before_it_was_made)
{
    struct ear ear = {0};
    coil_sock *ours, *peer;
    wire_pair(&ours, &peer);
    coil_transport *t = ear_on(ours, &ear_protocol, &ear);
    coil_transport_close(t);
    assert_string_equal(ear.log, "");
    ear_until(&ear, "made lost:0");
    done_with(t, peer);
}

COIL_TEST(test_write_ready_closing)
{
    enum { MUCH = 1 << 20 };
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    char *data = pattern(MUCH);
    must(coil_transport_write(t, data, MUCH));
    assert_true(coil_transport_get_write_buffer_size(t) > 0);
    coil_transport_close(t);
    wire_turns(5);
    assert_string_equal(ear.log, "made"); /* it still sends */
    assert_int_equal(coil_transport_write(t, "x", 1), -ECONNRESET);
    expect_all(peer, data, MUCH);
    ear_until(&ear, "made lost:0");
    free(data);
    done_with(t, peer);
}

static void count(void *counter)
{
    ++*(int *)counter;
}

COIL_TEST(transport_abort_drops_what_was_not_sent)
{
    enum { MUCH = 4 << 20 };
    struct ear ear = {0};
    coil_transport *t;
    int released = 0;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    char *data = pattern(MUCH);
    must(coil_transport_write(t, data, MUCH / 2));
    must(coil_transport_write_owned(t, data, MUCH / 2, count, &released));
    coil_transport_abort(t);
    assert_int_equal(coil_transport_get_write_buffer_size(t), 0);
    assert_int_equal(released, 0); /* not inside a call */
    ear_until(&ear, "made lost:0");
    assert_int_equal(released, 1);
    struct taking taking = {.sock = peer};
    coil_ignore(take_all(&taking));
    assert_true(taking.n < MUCH);
    assert_int_equal(ear.resumes, 0); /* there is nothing to resume for */
    free(taking.got);
    free(data);
    done_with(t, peer);
}

COIL_TEST(transport_close_with_unread_input_is_no_reset)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    coil_transport_pause_reading(t);
    wire_say(peer, "nobody reads this");
    wire_turns(3);
    must(coil_transport_write(t, "bye", 3));
    coil_transport_close(t);
    ear_until(&ear, "made lost:0");
    wire_expect(peer, "bye");
    wire_expect_end(peer);
    done_with(t, peer);
}

COIL_TEST(test_write_eof_buffer)
{
    enum { MUCH = 1 << 20 };
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    assert_true(coil_transport_can_write_eof(t));
    char *data = pattern(MUCH);
    must(coil_transport_write(t, data, MUCH));
    must(coil_transport_write_eof(t));
    must(coil_transport_write_eof(t));
    assert_int_equal(coil_transport_write(t, "x", 1), COIL_EINVALIDSTATE);
    expect_all(peer, data, MUCH);
    wire_say(peer, "and you");
    ear_until(&ear, "made data:and you"); /* reading goes on */
    coil_sock_unref(peer);
    ear_until(&ear, "made data:and you eof lost:0");
    assert_int_equal(coil_transport_write_eof(t), 0);
    free(data);
    coil_transport_unref(t);
}

COIL_TEST(transport_write_eof_with_nothing_buffered)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    must(coil_transport_write_eof(t));
    wire_expect_end(peer);
    coil_transport_close(t);
    ear_until(&ear, "made lost:0");
    done_with(t, peer);
}

/* ---- errors ---- */

COIL_TEST(transport_delivers_data_before_a_reset)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    coil_transport_pause_reading(t);
    wire_say(peer, "last words");
    wire_turns(3);
    wire_reset(peer);
    wire_turns(3);
    assert_string_equal(ear.log, "made");
    coil_transport_resume_reading(t);
    ear_until(&ear, "made data:last words lost:ECONNRESET");
    assert_int_equal(coil_transport_write(t, "x", 1), -ECONNRESET);
    coil_transport_unref(t);
}

/* Writes until that fails. */
static coil_ret write_in_vain(coil_transport *t)
{
    char junk[1000] = {0};
    coil_ret rc = 0;
    for (int i = 0; rc == 0 && i < 100; i++) {
        rc = coil_transport_write(t, junk, sizeof junk);
        if (rc == 0)
            wire_turns(1);
    }
    assert_true(rc == -EPIPE || rc == -ECONNRESET);
    return rc;
}

COIL_TEST(transport_write_error_leaves_what_was_received)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    must(coil_transport_write(t, "a request that nobody reads", 27));
    wire_turns(3);
    /* All in one turn, and so nothing of it is delivered before the write meets the reset. */
    wire_say(peer, "413 too large");
    coil_sock_close(peer);
    coil_ret rc = 0;
    if (wire_is_imaginary()) {
        coil_transport_pause_reading(t);
        wire_turns(3);
        coil_transport_resume_reading(t);
    }
    while (rc == 0 && ear.log[4] == 0)
        rc = coil_transport_write(t, "x", 1);
    assert_true(rc == -EPIPE || rc == -ECONNRESET);
    assert_string_equal(ear.log, "made");
    ear_until_lost(&ear);
    assert_int_equal(ear.error, rc);
    assert_memory_equal(ear.log, "made data:413 too large", 23);
    assert_int_equal(coil_transport_write(t, "x", 1), rc);
    done_with(t, peer);
}

/* In real time a turn need not look at the kernel, and what was remembered of the socket is older than the reset. */
COIL_TEST_WITH(transport_write_error_asks_the_kernel_once_more, .virtual_time = false)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    must(coil_transport_write(t, "a request that nobody reads", 27));
    wire_turns(3);
    assert_string_equal(ear.log, "made");
    must(coil_sleep(0));
    uint64_t every = coil__running_loop->look_every;
    coil__running_loop->look_every = UINT64_MAX / 2;
    wire_say(peer, "413 too large");
    coil_sock_close(peer);
    coil_ret rc = 0;
    while (rc == 0 && !wire_is_imaginary())
        rc = coil_transport_write(t, "x", 1);
    for (int i = 0; i < 4; i++)
        must(coil_sleep(0));
    coil__running_loop->look_every = every;
    coil_transport_close(t);
    ear_until_lost(&ear);
    assert_int_equal(ear.error, rc);
    if (!wire_is_imaginary())
        assert_memory_equal(ear.log, "made data:413 too large", 23);
    done_with(t, peer);
}

COIL_TEST(transport_paused_one_that_cannot_send_is_lost)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    coil_transport_pause_reading(t);
    wire_say(peer, "nobody wants this");
    wire_turns(3);
    wire_reset(peer);
    coil_ret rc = write_in_vain(t);
    ear_until_lost(&ear);
    assert_int_equal(ear.error, rc);
    coil_transport_unref(t);
}

/* Its protocol still receives; once that stops too, there is nothing left to live for. */
COIL_TEST(transport_that_cannot_send_is_lost_when_it_is_paused)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_reset(peer);
    coil_ret rc = write_in_vain(t);
    bool receives = !ear.lost && coil_transport_is_reading(t);
    assert_true(coil_transport_is_closing(t));
    coil_transport_pause_reading(t);
    assert_false(coil_transport_is_reading(t));
    ear_until_lost(&ear);
    assert_int_equal(ear.error, rc);
    if (receives)
        assert_memory_equal(ear.log, "made lost:", 10);
    struct iovec v = {(char[]){"x"}, 1};
    assert_int_equal(coil_transport_writelines(t, &v, 1), rc);
    coil_transport_unref(t);
}

COIL_TEST(transport_closed_half_by_us_meets_the_reset)
{
    struct ear ear = {.keep_open = 1};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    must(coil_sock_shutdown(peer, SHUT_WR));
    ear_until(&ear, "made eof");
    coil_sock_close(peer);
    coil_ret rc = write_in_vain(t);
    ear_until_lost(&ear); /* no end was to be read any more */
    assert_int_equal(ear.error, rc);
    done_with(t, peer);
}

COIL_TEST(transport_whose_socket_is_closed_under_it_is_lost)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_turns(2);
    coil_sock_close(coil_transport_sock(t));
    ear_until(&ear, "made lost:EBADF");
    done_with(t, peer);

    struct ear writing = {0};
    char *data = calloc(1, 1 << 20);
    peer = ear_wire(&ear_protocol, &writing, &t);
    wire_narrow(coil_transport_sock(t));
    must(coil_transport_write(t, data, 1 << 20));
    coil_sock_close(coil_transport_sock(t));
    ear_until(&writing, "made lost:EBADF");
    done_with(t, peer);
    free(data);
}

/* ---- callbacks that fail ---- */

struct told {
    int n;
    char kind[24], message[160];
    coil_ret code;
    const void *protocol, *transport;
};

static void tell(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    struct told *told = arg;
    told->n++;
    told->code = context->code;
    told->protocol = context->protocol;
    told->transport = context->transport;
    snprintf(told->kind, sizeof told->kind, "%s", context->kind ? context->kind : "");
    snprintf(told->message, sizeof told->message, "%s/%s", context->message,
             context->error ? context->error->message : "");
}

static coil_ret dislike(struct ear *ear, const char *data, size_t n)
{
    return coil_fail(COIL_EUSER, "%.*s is no word", (int)n, data);
}

COIL_TEST(transport_failing_callback_is_fatal_and_reported)
{
    struct told told = {0};
    coil_loop_set_exception_handler(NULL, tell, &told);
    struct ear ear = {.on_data = dislike};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_say(peer, "xyzzy");
    ear_until(&ear, "made data:xyzzy lost:COIL_EUSER");
    assert_string_equal(ear.words, "xyzzy is no word");
    assert_int_equal(told.n, 1);
    assert_string_equal(told.kind, "protocol-error");
    assert_string_equal(told.message,
                        "Fatal error: protocol.data_received() call failed./xyzzy is no word");
    assert_int_equal(told.code, COIL_EUSER);
    assert_ptr_equal(told.protocol, &ear_protocol);
    assert_ptr_equal(told.transport, t);
    assert_int_equal(coil_transport_write(t, "x", 1), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "xyzzy is no word");
    coil_loop_set_exception_handler(NULL, NULL, NULL);
    done_with(t, peer);
}

COIL_TEST(transport_failing_connection_made_is_fatal)
{
    struct told told = {0};
    coil_loop_set_exception_handler(NULL, tell, &told);
    struct ear ear = {.made_says = -EIO};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    ear_until(&ear, "made lost:EIO");
    assert_int_equal(told.n, 1);
    assert_memory_equal(told.message, "Fatal error: protocol.connection_made() call failed.", 52);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
    done_with(t, peer);
}

COIL_TEST(transport_failing_eof_received_is_fatal)
{
    struct told told = {0};
    coil_loop_set_exception_handler(NULL, tell, &told);
    struct ear ear = {.keep_open = -EIO};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    coil_sock_unref(peer);
    ear_until(&ear, "made eof lost:EIO");
    assert_int_equal(told.n, 1);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
    coil_transport_unref(t);
}

/* The harness fails a test whose loop reports something, so this shows that nothing is. */
static coil_ret answer_late(struct ear *ear, const char *data, size_t n)
{
    char junk[1000] = {0};
    coil_ret rc = 0;
    for (int i = 0; rc == 0 && i < 10000; i++)
        rc = coil_transport_write(ear->t, junk, sizeof junk);
    return rc;
}

COIL_TEST(transport_own_error_handed_on_is_no_news)
{
    struct ear ear = {.on_data = answer_late};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    must(coil_transport_write(t, "nobody reads this", 17));
    coil_transport_pause_reading(t);
    wire_turns(3);
    wire_say(peer, "x");
    wire_turns(3);
    coil_sock_close(peer);
    wire_turns(3);
    coil_transport_resume_reading(t);
    ear_until_lost(&ear);
    assert_true(ear.error == -EPIPE || ear.error == -ECONNRESET);
    done_with(t, peer);
}

/* ---- from within callbacks ---- */

static void close_now(struct ear *ear)
{
    coil_transport_close(ear->t);
    assert_true(coil_transport_is_closing(ear->t));
}

static void abort_now(struct ear *ear)
{
    coil_transport_abort(ear->t);
}

static coil_ret close_at_data(struct ear *ear, const char *data, size_t n)
{
    must(coil_transport_write(ear->t, "got it", 6));
    coil_transport_close(ear->t);
    return 0;
}

static coil_ret abort_at_data(struct ear *ear, const char *data, size_t n)
{
    coil_transport_abort(ear->t);
    return 0;
}

COIL_TEST(transport_may_be_closed_in_any_callback)
{
    static const struct {
        struct ear ear;
        const char *log;
    } scenes[] = {
        {{.on_made = close_now}, "made lost:0"},
        {{.on_made = abort_now}, "made lost:0"},
        {{.on_data = close_at_data}, "made data:hi lost:0"},
        {{.on_data = abort_at_data}, "made data:hi lost:0"},
        {{.on_eof = close_now, .keep_open = 1}, "made data:hi eof lost:0"},
        {{.on_eof = abort_now}, "made data:hi eof lost:0"},
        {{.on_lost = close_now}, "made data:hi eof lost:0"},
        {{.on_lost = abort_now}, "made data:hi eof lost:0"},
    };
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        struct ear ear = scenes[i].ear;
        coil_transport *t;
        coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
        wire_say(peer, "hi");
        wire_turns(2);
        coil_ignore(coil_sock_shutdown(peer, SHUT_WR));
        ear_until(&ear, scenes[i].log);
        wire_turns(2);
        assert_string_equal(ear.log, scenes[i].log);
        done_with(t, peer);
    }
}

static void let_go(struct ear *ear)
{
    coil_transport_unref(ear->more);
}

COIL_TEST(transport_may_be_given_up_in_connection_lost)
{
    struct ear ear = {.on_lost = let_go};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    ear.more = t;
    coil_sock_unref(peer);
    ear_until(&ear, "made eof lost:0");
}

COIL_TEST(transport_given_up_goes_on)
{
    struct ear ear = {.on_data = say_back};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    coil_transport_ref(t);
    coil_transport_unref(t);
    coil_transport_unref(t);
    coil_transport_unref(NULL);
    wire_say(peer, "still there?");
    wire_expect(peer, "still there?");
    coil_sock_unref(peer);
    ear_until(&ear, "made data:still there? eof lost:0");
}

/* ---- pausing ---- */

static void pause_twice(struct ear *ear)
{
    assert_true(coil_transport_is_reading(ear->t));
    coil_transport_pause_reading(ear->t);
    coil_transport_pause_reading(ear->t);
    assert_false(coil_transport_is_reading(ear->t));
}

COIL_TEST(test_pause_reading_connection_made)
{
    struct ear ear = {.on_made = pause_twice};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_say(peer, "wait");
    wire_turns(5);
    assert_string_equal(ear.log, "made");
    coil_transport_resume_reading(t);
    coil_transport_resume_reading(t);
    assert_true(coil_transport_is_reading(t));
    assert_string_equal(ear.log, "made");
    ear_until(&ear, "made data:wait");
    coil_transport_close(t);
    coil_transport_resume_reading(t);
    coil_transport_pause_reading(t);
    assert_false(coil_transport_is_reading(t));
    ear_until(&ear, "made data:wait lost:0");
    done_with(t, peer);
}

COIL_TEST(transport_paused_while_it_waits_keeps_what_comes)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_turns(3); /* it waits for bytes now */
    for (int i = 0; i < 3; i++) {
        coil_transport_pause_reading(t);
        wire_say(peer, "x");
        wire_turns(3);
        coil_transport_resume_reading(t);
        coil_transport_pause_reading(t); /* before the slot */
        wire_turns(3);
        coil_transport_resume_reading(t);
        wire_turns(3);
    }
    assert_string_equal(ear.log, "made data:x data:x data:x");
    coil_transport_pause_reading(t);
    coil_sock_unref(peer);
    wire_turns(3);
    assert_string_equal(ear.log, "made data:x data:x data:x");
    coil_transport_resume_reading(t);
    ear_until(&ear, "made data:x data:x data:x eof lost:0");
    coil_transport_unref(t);
}

static coil_ret pause_at_data(struct ear *ear, const char *data, size_t n)
{
    coil_transport_pause_reading(ear->t);
    return 0;
}

COIL_TEST(transport_paused_in_data_received_reads_no_more)
{
    enum { MUCH = 512 * 1024 };
    struct ear ear = {.keep = true, .on_data = pause_at_data};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    char *data = pattern(MUCH);
    struct taking sending = {.sock = peer};
    (void)sending;
    size_t sent = 0, before = 0;
    while (sent < 65536) {
        coil_ret rc = must(coil_sock_send(peer, data + sent, 65536 - sent));
        sent += (size_t)rc;
    }
    while (ear.n < sent) {
        wire_turns(3);
        assert_true(ear.n > before);
        size_t now = ear.n;
        wire_turns(3);
        assert_int_equal(ear.n, now);
        before = now;
        coil_transport_resume_reading(t);
    }
    assert_memory_equal(ear.bytes, data, sent);
    coil_transport_abort(t);
    ear_until_lost(&ear);
    free(ear.bytes);
    free(data);
    done_with(t, peer);
}

COIL_TEST(transport_tells_when_to_pause_and_resume_writing)
{
    enum { MUCH = 1 << 20 };
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    char *data = pattern(MUCH);
    must(coil_transport_write(t, data, MUCH));
    assert_int_equal(ear.pauses, 1); /* from within the write */
    must(coil_transport_write(t, data, 1000));
    assert_int_equal(ear.pauses, 1);
    coil_transport_close(t);
    struct taking taking = {.sock = peer};
    assert_int_equal(take_all(&taking), 0);
    assert_int_equal(taking.n, MUCH + 1000);
    ear_until(&ear, "made lost:0");
    assert_int_equal(ear.resumes, 1);
    free(taking.got);
    free(data);
    done_with(t, peer);
}

static void be_unpaused(struct ear *ear)
{
    assert_int_equal(ear->pauses, 0);
}

COIL_TEST(transport_written_full_before_it_was_made_hears_of_it_afterwards)
{
    enum { MUCH = 8 << 20 };
    struct ear ear = {.on_made = be_unpaused};
    coil_sock *ours, *peer;
    wire_pair(&ours, &peer);
    wire_narrow(ours);
    coil_transport *t = ear_on(ours, &ear_protocol, &ear);
    char *data = pattern(MUCH);
    must(coil_transport_write(t, data, MUCH));
    assert_int_equal(ear.pauses, 0);
    ear_until(&ear, "made");
    must(coil_sleep(0));
    assert_int_equal(ear.pauses, 1);
    coil_transport_abort(t);
    ear_until_lost(&ear);
    free(data);
    done_with(t, peer);
}

COIL_TEST(transport_high_mark_of_zero_pauses_on_any_byte)
{
    enum { MUCH = 1 << 20 };
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    char *data = pattern(MUCH);
    must(coil_transport_set_write_buffer_limits(t, 0, COIL_DEFAULT));
    must(coil_transport_write(t, data, MUCH));
    assert_int_equal(ear.pauses, 1);
    must(coil_transport_set_write_buffer_limits(t, 4 * MUCH, 2 * MUCH));
    assert_int_equal(ear.resumes, 0); /* not inside a call */
    must(coil_sleep(0));
    assert_int_equal(ear.resumes, 1);
    must(coil_transport_set_write_buffer_limits(t, 0, 0));
    assert_int_equal(ear.pauses, 2);
    coil_transport_abort(t);
    ear_until_lost(&ear);
    free(data);
    done_with(t, peer);
}

COIL_TEST(test_flowcontrol_mixin_set_write_limits)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    size_t high, low;
    static const struct {
        ssize_t high, low;
        size_t got_high, got_low;
    } good[] = {
        {COIL_DEFAULT, COIL_DEFAULT, 65536, 16384},
        {COIL_DEFAULT, 1024, 4096, 1024},
        {1024, COIL_DEFAULT, 1024, 256},
        {1024, 1024, 1024, 1024},
        {0, COIL_DEFAULT, 0, 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        must(coil_transport_set_write_buffer_limits(t, good[i].high, good[i].low));
        coil_transport_get_write_buffer_limits(t, &high, &low);
        assert_int_equal(high, good[i].got_high);
        assert_int_equal(low, good[i].got_low);
    }
    assert_int_equal(coil_transport_set_write_buffer_limits(t, 1024, 2048), -EINVAL);
    assert_int_equal(coil_transport_set_write_buffer_limits(t, COIL_DEFAULT, -2), -EINVAL);
    coil_transport_abort(t);
    ear_until_lost(&ear);
    done_with(t, peer);
}

/* ---- lent buffers ---- */

COIL_TEST(transport_releases_a_lent_buffer_once_and_later)
{
    struct ear ear = {0};
    coil_transport *t;
    int released = 0;
    static const char bytes[] = "lent";
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    must(coil_transport_write_owned(t, bytes, 4, count, &released));
    must(coil_transport_write_owned(t, bytes, 0, count, &released));
    assert_int_equal(released, 0);
    must(coil_sleep(0));
    assert_int_equal(released, 2);
    wire_expect(peer, "lent");
    assert_int_equal(coil_transport_write_owned(t, bytes, 4, NULL, NULL), -EINVAL);
    coil_transport_close(t);
    assert_int_equal(coil_transport_write_owned(t, bytes, 4, count, &released), -ECONNRESET);
    ear_until(&ear, "made lost:0");
    assert_int_equal(released, 2);
    done_with(t, peer);
}

COIL_TEST(transport_counts_lent_bytes_until_they_are_released)
{
    struct ear ear = {0};
    coil_transport *t;
    int released = 0;
    char *data = pattern(65536);
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    must(coil_transport_set_write_buffer_limits(t, 100, 50));
    must(coil_transport_write_owned(t, data, 1000, count, &released));
    assert_int_equal(ear.pauses, 1);
    must(coil_sleep(0));
    assert_int_equal(released, 1);
    assert_int_equal(ear.resumes, 1);
    coil_transport_close(t);
    ear_until(&ear, "made lost:0");
    free(data);
    done_with(t, peer);
}

/* ---- buffered protocols ---- */

COIL_TEST(transport_fills_the_buffer_of_a_buffered_protocol)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_buffered, &ear, &t);
    wire_say(peer, "hello");
    ear_until(&ear, "made filled:hello");
    wire_say(peer, "0123456789012345678901234567890123456789"); /* more than its room */
    ear_until(&ear, "made filled:hello filled:01234567890123456789012345678901 filled:23456789");
    ear.log[4] = 0;
    coil_sock_unref(peer);
    ear_until(&ear, "made eof lost:0");
    coil_transport_unref(t);
}

static coil_ret no_room(coil_transport *t, size_t hint, void **out_buffer, void *arg)
{
    *out_buffer = NULL;
    return 100;
}

static coil_ret empty_room(coil_transport *t, size_t hint, void **out_buffer, void *arg)
{
    *out_buffer = (void *)arg;
    return 0;
}

static coil_ret failing_room(coil_transport *t, size_t hint, void **out_buffer, void *arg)
{
    return -ENOSPC;
}

COIL_TEST(transport_buffer_that_is_none_is_fatal)
{
    coil_ret (*const rooms[])(coil_transport *, size_t, void **, void *) = {no_room, empty_room,
                                                                            failing_room};
    static const char *const logs[] = {"made lost:EINVAL", "made lost:EINVAL", "made lost:ENOSPC"};
    for (int i = 0; i < 3; i++) {
        struct told told = {0};
        coil_loop_set_exception_handler(NULL, tell, &told);
        coil_protocol protocol = ear_buffered;
        protocol.get_buffer = rooms[i];
        struct ear ear = {0};
        coil_transport *t;
        coil_sock *peer = ear_wire(&protocol, &ear, &t);
        ear_until(&ear, logs[i]);
        assert_int_equal(told.n, 1);
        assert_memory_equal(told.message, "Fatal error: protocol.get_buffer() call failed.", 47);
        done_with(t, peer);
    }
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

static coil_ret dislikes_what_came(coil_transport *t, size_t n, void *arg)
{
    ear_note(arg, "filled");
    return coil_fail(COIL_EUSER, "%zu bytes are no word", n);
}

COIL_TEST(transport_failing_buffer_updated_is_fatal)
{
    struct told told = {0};
    coil_loop_set_exception_handler(NULL, tell, &told);
    coil_protocol protocol = ear_buffered;
    protocol.buffer_updated = dislikes_what_came;
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&protocol, &ear, &t);
    wire_say(peer, "0123456789012345678901234567890123456789"); /* more than its room */
    ear_until(&ear, "made filled lost:COIL_EUSER");
    assert_string_equal(ear.words, "32 bytes are no word");
    assert_int_equal(told.n, 1);
    assert_string_equal(told.message,
                        "Fatal error: protocol.buffer_updated() call failed./32 bytes are no word");
    coil_loop_set_exception_handler(NULL, NULL, NULL);
    done_with(t, peer);
}

static void close_in_room(struct ear *ear)
{
    if (!ear->pauses++)
        return; /* the first one only waits */
    coil_transport_close(ear->t);
}

static void pause_in_room(struct ear *ear)
{
    if (ear->pauses++ == 1)
        coil_transport_pause_reading(ear->t);
}

static void become_plain(struct ear *ear)
{
    if (ear->pauses++ == 1)
        must(coil_transport_set_protocol(ear->t, &ear_protocol, ear));
}

COIL_TEST(transport_may_change_its_mind_in_get_buffer)
{
    struct ear closes = {.on_room = close_in_room}, pauses = {.on_room = pause_in_room},
               changes = {.on_room = become_plain};
    coil_transport *a, *b, *c;
    coil_sock *pa = ear_wire(&ear_buffered, &closes, &a),
              *pb = ear_wire(&ear_buffered, &pauses, &b),
              *pc = ear_wire(&ear_buffered, &changes, &c);
    wire_turns(3);
    wire_say(pa, "a");
    wire_say(pb, "b");
    wire_say(pc, "c");
    ear_until(&closes, "made lost:0");
    ear_until(&changes, "made data:c");
    wire_turns(3);
    assert_string_equal(pauses.log, "made");
    coil_transport_resume_reading(b);
    ear_until(&pauses, "made filled:b");
    coil_sock_unref(pb);
    coil_sock_unref(pc);
    ear_until(&pauses, "made filled:b eof lost:0");
    ear_until(&changes, "made data:c eof lost:0");
    coil_transport_unref(b);
    coil_transport_unref(c);
    done_with(a, pa);
}

static void become_the_other(struct ear *ear)
{
    if (ear->pauses++ == 1)
        must(coil_transport_set_protocol(ear->t, &ear_buffered, ear->more));
}

/* The same protocol with another argument is another one: its buffer is asked for. */
COIL_TEST(transport_may_change_the_argument_in_get_buffer)
{
    struct ear other = {0}, one = {.on_room = become_the_other, .more = &other};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_buffered, &one, &t);
    wire_turns(3);
    wire_say(peer, "hello");
    ear_until(&other, "filled:hello");
    assert_string_equal(one.log, "made");
    coil_sock_unref(peer);
    ear_until(&other, "filled:hello eof lost:0");
    coil_transport_unref(t);
}

static coil_ret change_kind(struct ear *ear, const char *data, size_t n)
{
    void *arg;
    const coil_protocol *now = coil_transport_get_protocol(ear->t, &arg);
    assert_ptr_equal(arg, ear);
    must(coil_transport_set_protocol(ear->t, now == &ear_protocol ? &ear_buffered : &ear_protocol,
                                     ear));
    return 0;
}

COIL_TEST(test_proto_type_switch)
{
    struct ear ear = {.on_data = change_kind}, other = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_say(peer, "a");
    ear_until(&ear, "made data:a");
    wire_say(peer, "b");
    ear_until(&ear, "made data:a filled:b");
    wire_say(peer, "c");
    ear_until(&ear, "made data:a filled:b data:c");
    must(coil_transport_set_protocol(t, &ear_protocol, &other));
    assert_int_equal(coil_transport_set_protocol(t, NULL, &ear), -EINVAL);
    coil_sock_unref(peer);
    ear_until(&other, "eof lost:0");
    assert_string_equal(ear.log, "made data:a filled:b data:c");
    coil_transport_unref(t);
}

/* ---- what surrounds it ---- */

COIL_TEST(transport_knows_its_addresses_also_at_the_end)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_address own, other;
    char text[COIL_ADDRESS_TEXT_MAX];
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    must(coil_sock_getsockname(peer, &other));
    must(coil_sock_getpeername(peer, &own));
    coil_address_format(&other, text, sizeof text);
    assert_string_equal(coil_transport_get_extra_info(t, "peername"), text);
    coil_address_format(&own, text, sizeof text);
    assert_string_equal(coil_transport_get_extra_info(t, "sockname"), text);
    assert_null(coil_transport_get_extra_info(t, "cipher"));
    coil_transport_abort(t);
    ear_until_lost(&ear);
    assert_string_equal(coil_transport_get_extra_info(t, "sockname"), text);
    done_with(t, peer);
}

COIL_TEST(transport_socket_is_not_yours)
{
    struct ear ear = {0};
    coil_transport *t;
    char byte;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t), *sock = coil_transport_sock(t);
    assert_int_equal(coil_sock_recv(sock, &byte, 1), COIL_ERUNNING);
    assert_int_equal(coil_transport_open(sock, &ear_protocol, &ear, NULL), COIL_ERUNNING);
    assert_int_equal(coil_transport_open(peer, NULL, &ear, NULL), -EINVAL);
    coil_transport_abort(t);
    ear_until_lost(&ear);
    assert_int_equal(coil_transport_open(sock, &ear_protocol, &ear, NULL), -EBADF);
    done_with(t, peer);
}

static coil_contextvar colour = COIL_CONTEXTVAR("colour", NULL);

static coil_ret note_colour(struct ear *ear, const char *data, size_t n)
{
    ear_note(ear, "%s", (const char *)coil_contextvar_get(&colour));
    return 0;
}

COIL_TEST(transport_callbacks_see_the_context_of_who_made_it)
{
    struct ear ear = {.on_data = note_colour};
    coil_transport *t;
    coil_contextvar_set(&colour, (void *)(uintptr_t) "red", NULL);
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    coil_contextvar_set(&colour, (void *)(uintptr_t) "blue", NULL);
    wire_say(peer, "a");
    ear_until(&ear, "made data:a red");
    coil_transport_abort(t);
    ear_until_lost(&ear);
    done_with(t, peer);
}

static coil_ret wait_inside(struct ear *ear, const char *data, size_t n)
{
    ear_note(ear, "%s", coil_errname(coil_sleep(0)));
    return 0;
}

COIL_TEST(transport_callbacks_may_not_wait)
{
    struct ear ear = {.on_data = wait_inside};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_say(peer, "a");
    ear_until(&ear, "made data:a COIL_ENOTASK");
    coil_transport_abort(t);
    ear_until_lost(&ear);
    done_with(t, peer);
}

/* ---- system calls ---- */

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static struct {
    int recv, send, sendmsg, ctl, ppoll;
} calls;

static ssize_t counting_recv(int fd, void *p, size_t n, int flags)
{
    calls.recv++;
    return coil__sys_real.recv(fd, p, n, flags);
}

static ssize_t counting_send(int fd, const void *p, size_t n, int flags)
{
    calls.send++;
    return coil__sys_real.send(fd, p, n, flags);
}

static ssize_t counting_sendmsg(int fd, const struct msghdr *m, int flags)
{
    calls.sendmsg++;
    return coil__sys_real.sendmsg(fd, m, flags);
}

static int counting_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
    calls.ctl++;
    return coil__sys_real.epoll_ctl(ep, op, fd, ev);
}

static int counting_ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m)
{
    calls.ppoll++;
    return coil__sys_real.ppoll(p, n, t, m);
}

static void count_calls(void)
{
    memset(&calls, 0, sizeof calls);
    coil__sys.recv = counting_recv;
    coil__sys.send = counting_send;
    coil__sys.sendmsg = counting_sendmsg;
    coil__sys.epoll_ctl = counting_ctl;
    coil__sys.ppoll = counting_ppoll;
}

/* Two transports throw a ball to each other. */
static coil_ret throw_back(struct ear *ear, const char *data, size_t n)
{
    int *left = ear->more;
    ear->log[0] = 0;
    return --*left > 0 ? coil_transport_write(ear->t, data, n) : 0;
}

COIL_TEST(transport_echo_costs_one_receive_and_one_send)
{
    enum { THROWS = 1000 };
    if (strcmp(coil_loop_backend(NULL), "epoll") != 0)
        skip();
    int left = THROWS;
    struct ear a = {.on_data = throw_back, .more = &left}, b = a;
    coil_sock *x, *y;
    wire_pair(&x, &y);
    coil_transport *ta = ear_on(x, &ear_protocol, &a), *tb = ear_on(y, &ear_protocol, &b);
    wire_turns(3);
    count_calls();
    must(coil_transport_write(ta, "ball", 4));
    while (left > 0)
        must(coil_sleep(0.001));
    coil__sys = coil__sys_real;
    assert_int_equal(calls.send, THROWS);
    assert_int_equal(calls.recv, THROWS);
    assert_int_equal(calls.ctl, 0);
    assert_int_equal(calls.ppoll, 0);
    coil_transport_close(ta);
    coil_transport_close(tb);
    ear_until_lost(&a);
    ear_until_lost(&b);
    coil_transport_unref(ta);
    coil_transport_unref(tb);
}

COIL_TEST(transport_writelines_is_one_call)
{
    if (wire_is_imaginary())
        skip();
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    char piece[] = "piece";
    struct iovec v[3] = {{piece, 5}, {piece, 5}, {piece, 5}};
    count_calls();
    must(coil_transport_writelines(t, v, 3));
    assert_int_equal(calls.sendmsg, 1);
    assert_int_equal(calls.send, 0);
    coil__sys = coil__sys_real;
    coil_transport_close(t);
    ear_until_lost(&ear);
    done_with(t, peer);
}
#endif

COIL_TEST(transport_writes_that_wait_join)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    while (coil_transport_get_write_buffer_size(t) == 0)
        must(coil_transport_write(t, "0123456789abcdef", 16));
    size_t before = coil_transport_get_write_buffer_size(t), chunks = 0;
    for (int i = 0; i < 1000; i++)
        must(coil_transport_write(t, "join", 4));
    assert_int_equal(coil_transport_get_write_buffer_size(t), before + 4000);
    LIST_FOREACH(link, &t->out.chunks)
        chunks++;
    assert_true(chunks <= 2);
    coil_transport_abort(t);
    ear_until_lost(&ear);
    done_with(t, peer);
}

static coil_ret write_abroad(void *arg)
{
    return coil_transport_write(arg, "x", 1);
}

COIL_TEST_WITH(transport_written_from_another_thread_says_so_in_debug_mode, .virtual_time = true,
               .debug = true)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_loop_set_slow_callback_duration(NULL, 60); /* under valgrind everything is slow */
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    assert_int_equal(coil_to_thread(write_abroad, t), COIL_EWRONGTHREAD);
    coil_transport_close(t);
    ear_until(&ear, "made lost:0");
    done_with(t, peer);
}

/* ---- the loop closes ---- */

struct leaving {
    struct ear ears[6];
    coil_transport *t[6];
    coil_sock *peers[6];
    int released;
    char *data;
};

static coil_ret leave_transports(void *arg)
{
    enum { MUCH = 1 << 20 };
    struct leaving *l = arg;
    for (int i = 0; i < 6; i++)
        l->peers[i] = ear_wire(&ear_protocol, &l->ears[i], &l->t[i]);
    wire_narrow(coil_transport_sock(l->t[1]));
    must(coil_transport_write(l->t[1], l->data, MUCH)); /* its op is at the kernel */
    wire_narrow(coil_transport_sock(l->t[2]));
    must(coil_transport_write_owned(l->t[2], l->data, MUCH, count, &l->released));
    coil_transport_close(l->t[2]);
    coil_transport_pause_reading(l->t[3]);
    return 0;
}

COIL_TEST_PLAIN(loop_closes_over_transports)
{
    struct leaving l = {.data = calloc(1, 1 << 20)};
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_set_event_loop(loop);
    coil_task *task = coil_create_task(leave_transports, &l);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
    coil_unref(task);
    must(coil_transport_write_owned(l.t[4], l.data, 10, count,
                                    &l.released)); /* its slot is queued */
    coil_transport_abort(l.t[5]);                  /* likewise */
    for (int i = 0; i < 6; i++)
        l.ears[i].must_not = true;
    for (int i = 1; i < 6; i++)
        coil_transport_unref(l.t[i]);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(l.released, 2);
    /* One that was kept is dead, and says so. */
    assert_true(coil_transport_is_closing(l.t[0]));
    assert_int_equal(coil_transport_write(l.t[0], "x", 1), -ECONNRESET);
    assert_int_equal(coil_transport_write_eof(l.t[0]), -ECONNRESET);
    coil_transport_close(l.t[0]);
    coil_transport_abort(l.t[0]);
    coil_transport_pause_reading(l.t[0]);
    coil_transport_resume_reading(l.t[0]);
    assert_int_equal(coil_transport_set_write_buffer_limits(l.t[0], 0, 0), 0);
    coil_loop_free(loop);
    coil_transport_unref(l.t[0]);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(l.ears[i].lost, 0);
        coil_sock_unref(l.peers[i]);
    }
    free(l.data);
}

static coil_ret leave_one(void *arg)
{
    struct leaving *l = arg;
    coil_transport *t;
    l->peers[0] = ear_wire(&ear_protocol, &l->ears[0], &t);
    coil_transport_unref(t);
    return 0;
}

COIL_TEST_PLAIN(loop_closed_over_a_transport_reports_it_in_debug_mode)
{
    struct leaving l = {0};
    struct told told = {0};
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true, .debug = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, tell, &told);
    coil_set_event_loop(loop);
    coil_task *task = coil_create_task(leave_one, &l);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
    coil_unref(task);
    coil_loop_free(loop);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.kind, "unclosed");
    assert_memory_equal(told.message, "unclosed transport, peer 127.0.0.1:", 35);
    assert_non_null(told.transport);
    coil_sock_unref(l.peers[0]);
}

/* ---- memory ---- */

static coil_ret talk_or_not(void *arg)
{
    struct ear ear = {.on_data = say_back, .keep_open = 1};
    coil_sock *ours, *peer;
    coil_transport *t;
    coil_ret rc = wire_try_pair(&ours, &peer);
    if (rc < 0)
        return rc;
    rc = coil_transport_open(ours, &ear_protocol, &ear, &t);
    if (rc < 0) {
        coil_sock_unref(ours);
        coil_sock_unref(peer);
        return rc;
    }
    size_t sent;
    char byte;
    while (coil_sock_sendall(peer, "x", 1, &sent) == -ENOMEM && sent == 0)
        ;
    rc = coil_transport_write(t, "y", 1);
    assert_true(rc == 0 || rc == -ENOMEM);
    coil_ignore(coil_sock_shutdown(peer, SHUT_WR));
    for (int i = 0; !strstr(ear.log, "eof") && !ear.lost && i < 1000; i++)
        coil_ignore(coil_sleep(0.001));
    coil_transport_close(t);
    while ((rc = coil_sock_recv(peer, &byte, 1)) > 0 || rc == -ENOMEM)
        ;
    for (int i = 0; !ear.lost && i < 1000; i++)
        coil_ignore(coil_sleep(0.001));
    assert_int_equal(ear.lost, 1);
    done_with(t, peer);
    return rc;
}

static void talk_in_a_loop(void *arg)
{
    coil_ret rc = wire_run(talk_or_not, NULL);
    assert_true(rc <= 0);
}

COIL_TEST_PLAIN(transport_survives_failing_allocations)
{
    assert_int_equal(wire_run(talk_or_not, NULL), 0);
    assert_true(sweep_allocations(talk_in_a_loop, NULL) > 5);
}

COIL_TEST_MAIN()
