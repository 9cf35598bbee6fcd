/* SPDX-License-Identifier: MIT
 *
 * test_writer.c: bytes out: what the kernel does not take follows by itself, in order and once; drain, marks,
 * the ends of a connection in every order. */
#include "wire.h"

/* A peer that takes everything up to the end. */
struct taking {
    coil_sock *sock;
    char *got;
    size_t n, capacity, step;
    double pause;
};

static coil_ret take_all(void *arg)
{
    struct taking *t = arg;
    for (;;) {
        if (t->n == t->capacity)
            t->got = realloc(t->got, t->capacity = t->capacity ? 2 * t->capacity : 65536);
        size_t room = t->capacity - t->n;
        coil_ret rc = coil_sock_recv(t->sock, t->got + t->n,
                                     t->step && t->step < room ? t->step : room);
        if (rc <= 0)
            return rc;
        t->n += (size_t)rc;
        if (t->pause > 0 && (rc = coil_sleep(t->pause)) < 0)
            return rc;
    }
}

static char *pattern(size_t n)
{
    char *data = malloc(n);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * 13 + i / 256 + i / 65536);
    return data;
}

struct stream {
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer;
};

static struct stream narrow_stream(void)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    wire_narrow(coil_writer_sock(s.w));
    return s;
}

/* ---- writing ---- */

COIL_TEST(write_goes_at_once)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    must(coil_writer_write(s.w, "now", 3));
    assert_int_equal(coil_writer_get_write_buffer_size(s.w), 0);
    wire_expect(s.peer, "now");
    must(coil_writer_write(s.w, "", 0));
    must(coil_writer_drain(s.w));
    must(coil_writer_finish(s.w));
    wire_expect_end(s.peer);
    coil_sock_unref(s.peer);
}

COIL_TEST(write_of_megabytes_follows_by_itself)
{
    enum { N = 5 << 20 };
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    char *data = pattern(N);
    must(coil_writer_write(s.w, data, N));
    struct taking t = {.sock = s.peer};
    coil_task *task = coil_create_task(take_all, &t);
    must(coil_writer_finish(s.w));
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(t.n, N);
    assert_memory_equal(t.got, data, N);
    free(t.got);
    free(data);
    coil_sock_unref(s.peer);
}

/* J: every transfer at tiny steps. */
COIL_TEST(write_through_tiny_buffers)
{
    enum { N = 40000 };
    struct stream s = narrow_stream();
    char *data = pattern(N);
    struct taking t = {.sock = s.peer, .step = 37};
    coil_task *task = coil_create_task(take_all, &t);
    for (size_t at = 0; at < N;) {
        size_t n = 1 + at % 997;
        if (n > N - at)
            n = N - at;
        must(coil_writer_write(s.w, data + at, n));
        at += n;
        if (at % 5 == 0)
            must(coil_writer_drain(s.w));
    }
    must(coil_writer_finish(s.w));
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(t.n, N);
    assert_memory_equal(t.got, data, N);
    free(t.got);
    free(data);
    coil_sock_unref(s.peer);
}

COIL_TEST(writelines_in_order_and_empty_ones_too)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    char a[] = "one,", b[] = "two,", c[] = "three";
    struct iovec v[] = {{a, 4}, {NULL, 0}, {b, 4}, {a, 0}, {c, 5}, {c, 0}};
    must(coil_writer_writelines(s.w, v, 6));
    must(coil_writer_writelines(s.w, v, 0));
    must(coil_writer_writelines(s.w, v + 1, 1));
    must(coil_writer_finish(s.w)); /* B03: an empty piece kept the transport from closing */
    wire_expect(s.peer, "one,two,three");
    wire_expect_end(s.peer);
    coil_sock_unref(s.peer);
}

/* B01: the marks hold for writelines; B04: nothing is skipped when the kernel takes a part. */
COIL_TEST(writelines_of_megabytes_and_marks)
{
    enum { PIECES = 100, PIECE = 10007 };
    struct stream s = narrow_stream();
    char *data = pattern(PIECES * PIECE);
    struct iovec v[PIECES];
    for (size_t i = 0; i < PIECES; i++)
        v[i] = (struct iovec){data + i * PIECE, PIECE};
    must(coil_writer_writelines(s.w, v, PIECES));
    assert_true(s.w->out.paused);
    struct taking t = {.sock = s.peer};
    coil_task *task = coil_create_task(take_all, &t);
    must(coil_writer_drain(s.w));
    assert_true(coil_writer_get_write_buffer_size(s.w) <= 16384);
    must(coil_writer_writelines(s.w, v, PIECES));
    must(coil_writer_finish(s.w));
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(t.n, 2 * PIECES * PIECE);
    assert_memory_equal(t.got, data, PIECES * PIECE);
    assert_memory_equal(t.got + PIECES * PIECE, data, PIECES * PIECE);
    free(t.got);
    free(data);
    coil_sock_unref(s.peer);
}

/* ---- held buffers ---- */

struct held {
    int released, order;
    int *counter;
};

static void release(void *cookie)
{
    struct held *h = cookie;
    h->released++;
    h->order = ++*h->counter;
}

COIL_TEST(write_owned_releases_once_and_later)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    int counter = 0;
    struct held h = {.counter = &counter}, empty = {.counter = &counter};
    must(coil_writer_write_owned(s.w, "held", 4, release, &h));
    must(coil_writer_write_owned(s.w, "", 0, release, &empty));
    assert_int_equal(h.released, 0); /* never inside the call */
    must(coil_sleep(0));
    assert_int_equal(h.released, 1);
    assert_int_equal(empty.released, 1);
    wire_expect(s.peer, "held");
    must(coil_writer_finish(s.w));
    coil_sock_unref(s.peer);
}

COIL_TEST(write_owned_is_not_copied_and_in_order)
{
    enum { N = 30, PIECE = 50000 };
    struct stream s = narrow_stream();
    char *data = pattern(N * PIECE);
    int counter = 0;
    struct held h[N];
    for (int i = 0; i < N; i++) {
        h[i] = (struct held){.counter = &counter};
        if (i % 3 == 2) /* mixed with copied ones */
            must(coil_writer_write(s.w, data + i * PIECE, PIECE));
        else
            must(coil_writer_write_owned(s.w, data + i * PIECE, PIECE, release, &h[i]));
    }
    struct taking t = {.sock = s.peer};
    coil_task *task = coil_create_task(take_all, &t);
    must(coil_writer_finish(s.w));
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(t.n, N * PIECE);
    assert_memory_equal(t.got, data, N * PIECE);
    int last = 0;
    for (int i = 0; i < N; i++) {
        if (i % 3 == 2)
            continue;
        assert_int_equal(h[i].released, 1);
        assert_true(h[i].order > last);
        last = h[i].order;
    }
    free(t.got);
    free(data);
    coil_sock_unref(s.peer);
}

COIL_TEST(write_owned_is_released_when_dropped)
{
    enum { N = 5, PIECE = 300000 };
    struct stream s = narrow_stream();
    char *data = pattern(PIECE);
    int counter = 0;
    struct held h[N], late = {.counter = &counter};
    for (int i = 0; i < N; i++) {
        h[i] = (struct held){.counter = &counter};
        must(coil_writer_write_owned(s.w, data, PIECE, release, &h[i]));
    }
    assert_int_equal(counter, 0);
    coil_writer_abort(s.w);
    assert_int_equal(coil_writer_write_owned(s.w, data, PIECE, release, &late), -ECONNRESET);
    assert_int_equal(counter, 0);
    must(coil_writer_wait_closed(s.w));
    assert_int_equal(counter, N);
    assert_int_equal(late.released, 0);
    free(data);
    must(coil_writer_finish(s.w));
    coil_sock_unref(s.peer);
}

static struct stream release_writes_to;

static void release_and_write(void *cookie)
{
    int *n = cookie;
    if (++*n < 10)
        must(coil_writer_write_owned(release_writes_to.w, "again", 5, release_and_write, n));
}

COIL_TEST(write_from_inside_a_release)
{
    struct stream s;
    int n = 0;
    s.peer = wire_stream(0, &s.r, &s.w);
    release_writes_to = s;
    must(coil_writer_write_owned(s.w, "first", 5, release_and_write, &n));
    wire_turns(20);
    assert_int_equal(n, 10);
    wire_expect(s.peer, "firstagainagainagainagainagainagainagainagainagain");
    must(coil_writer_finish(s.w));
    coil_sock_unref(s.peer);
}

/* ---- drain ---- */

struct draining {
    coil_writer *w;
    coil_ret rc;
    bool over;
};

static coil_ret drain(void *arg)
{
    struct draining *d = arg;
    d->rc = coil_writer_drain(d->w);
    d->over = true;
    return d->rc;
}

/* ST::test_multiple_drain */
COIL_TEST(drain_several_together)
{
    enum { N = 10, MUCH = 1 << 20 };
    struct stream s = narrow_stream();
    char *data = pattern(MUCH);
    must(coil_writer_write(s.w, data, MUCH));
    struct draining d[N];
    coil_task *tasks[N];
    for (int i = 0; i < N; i++) {
        d[i] = (struct draining){.w = s.w};
        tasks[i] = coil_create_task(drain, &d[i]);
    }
    must(coil_sleep(0.1));
    for (int i = 0; i < N; i++) {
        assert_false(d[i].over);
        assert_string_equal(coil_task_waiting_on(tasks[i]), "drain");
    }
    coil_task_cancel(tasks[3], NULL);
    struct taking t = {.sock = s.peer};
    coil_task *taker = coil_create_task(take_all, &t);
    for (int i = 0; i < N; i++)
        assert_int_equal(coil_join(tasks[i]), i == 3 ? -ECANCELED : 0);
    must(coil_writer_finish(s.w));
    assert_int_equal(coil_join(taker), 0);
    assert_int_equal(t.n, MUCH); /* the cancelled drain took nothing back */
    free(t.got);
    free(data);
    coil_sock_unref(s.peer);
}

/* ST::test_drain_raises and FlowControlMixin.connection_lost: whoever waits learns of the loss. */
COIL_TEST(drain_learns_of_a_reset)
{
    enum { MUCH = 1 << 20 };
    struct stream s = narrow_stream();
    char *data = pattern(MUCH);
    must(coil_writer_write(s.w, data, MUCH));
    struct draining d[2] = {{.w = s.w}, {.w = s.w}};
    coil_task *a = coil_create_task(drain, &d[0]), *b = coil_create_task(drain, &d[1]);
    must(coil_sleep(0.1));
    wire_reset(s.peer);
    coil_ret rc = coil_join(a);
    assert_true(rc == -ECONNRESET || rc == -EPIPE);
    assert_int_equal(coil_join(b), rc);
    assert_int_equal(coil_writer_drain(s.w), rc);
    assert_int_equal(coil_writer_write(s.w, "x", 1), rc);
    assert_int_equal(coil_writer_get_write_buffer_size(s.w), 0);
    assert_true(coil_writer_is_closing(s.w));
    assert_int_equal(coil_writer_wait_closed(s.w), rc);
    assert_int_equal(coil_writer_finish(s.w), rc);
    free(data);
}

COIL_TEST(drain_says_what_was_put_into_the_reader)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    must(coil_reader_set_exception(r, coil_fail(COIL_EUSER, "the protocol is broken")));
    must(coil_writer_write(w, "x", 1));
    coil__fail_plain(-EIO);
    assert_int_equal(coil_writer_drain(w), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "the protocol is broken");
    wire_expect(peer, "x");
    coil_ignore(coil_writer_finish(w));
    coil_sock_unref(peer);
}

COIL_TEST(drain_after_close_yields_once)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    coil_writer_close(s.w);
    assert_true(coil_writer_is_closing(s.w));
    assert_int_equal(coil_writer_drain(s.w), -ECONNRESET);
    assert_string_equal(coil_last_error()->message, "Connection lost");
    assert_int_equal(coil_writer_write(s.w, "x", 1), -ECONNRESET);
    must(coil_writer_finish(s.w));
    coil_sock_unref(s.peer);
}

/* I: a slow reader costs the high mark and the kernel's buffers. */
static coil_ret write_much(void *arg)
{
    struct stream *s = arg;
    static char piece[8192];
    for (int i = 0; i < 200; i++) {
        coil_ret rc = coil_writer_write(s->w, piece, sizeof piece);
        if (rc < 0 || (rc = coil_writer_drain(s->w)) < 0)
            return rc;
        assert_true(coil_writer_get_write_buffer_size(s->w) <= 65536 + sizeof piece);
    }
    return coil_writer_finish(s->w);
}

COIL_TEST(drain_bounds_what_a_slow_peer_costs)
{
    struct stream s = narrow_stream();
    coil_task *writer = coil_create_task(write_much, &s);
    must(coil_sleep(1));
    assert_false(coil_future_done(writer));
    struct taking t = {.sock = s.peer, .step = 4096};
    assert_int_equal(take_all(&t), 0);
    assert_int_equal(t.n, 200 * 8192);
    must(coil_join(writer));
    free(t.got);
    coil_sock_unref(s.peer);
}

static coil_ret count_turns(void *arg)
{
    int *n = arg;
    coil_ret rc;
    while ((rc = coil_sleep(0)) == 0)
        ++*n;
    return rc;
}

/* As long as the kernel takes everything, drain has nothing to wait for; others run all the same. */
COIL_TEST(drain_that_never_waits_is_no_monopoly)
{
    enum { N = 6400 };
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    int turns = 0;
    coil_task *counter = coil_create_task(count_turns, &turns);
    for (int i = 0; i < N; i++) {
        must(coil_writer_write(s.w, "x", 1));
        must(coil_writer_drain(s.w));
    }
    assert_true(turns >= N / NET_BURST_MAX / 2);
    coil_task_cancel(counter, NULL);
    coil_ignore(coil_join(counter));
    must(coil_writer_finish(s.w));
    coil_sock_unref(s.peer);
}

/* ---- marks (T46) ---- */

COIL_TEST(marks_arithmetic)
{
    struct stream s;
    size_t high, low;
    s.peer = wire_stream(0, &s.r, &s.w);
    coil_writer_get_write_buffer_limits(s.w, &high, &low);
    assert_int_equal(high, 65536);
    assert_int_equal(low, 16384);
    must(coil_writer_set_write_buffer_limits(s.w, 1024, 128));
    coil_writer_get_write_buffer_limits(s.w, &high, &low);
    assert_int_equal(high, 1024);
    assert_int_equal(low, 128);
    must(coil_writer_set_write_buffer_limits(s.w, COIL_DEFAULT, 100));
    coil_writer_get_write_buffer_limits(s.w, &high, &low);
    assert_int_equal(high, 400);
    must(coil_writer_set_write_buffer_limits(s.w, 400, COIL_DEFAULT));
    coil_writer_get_write_buffer_limits(s.w, &high, &low);
    assert_int_equal(low, 100);
    must(coil_writer_set_write_buffer_limits(s.w, COIL_DEFAULT, COIL_DEFAULT));
    coil_writer_get_write_buffer_limits(s.w, &high, &low);
    assert_int_equal(high, 65536);
    assert_int_equal(coil_writer_set_write_buffer_limits(s.w, 10, 11), -EINVAL);
    assert_int_equal(coil_writer_set_write_buffer_limits(s.w, -2, 0), -EINVAL);
    must(coil_writer_set_write_buffer_limits(s.w, 0, COIL_DEFAULT));
    coil_writer_get_write_buffer_limits(s.w, &high, &low);
    assert_int_equal(high, 0);
    assert_int_equal(low, 0);
    must(coil_writer_finish(s.w));
    coil_sock_unref(s.peer);
}

COIL_TEST(marks_of_zero_pause_on_any_byte)
{
    enum { MUCH = 1 << 20 };
    struct stream s = narrow_stream();
    must(coil_writer_set_write_buffer_limits(s.w, 0, COIL_DEFAULT));
    char *data = pattern(MUCH);
    must(coil_writer_write(s.w, data, MUCH));
    struct taking t = {.sock = s.peer};
    coil_task *taker = coil_create_task(take_all, &t);
    must(coil_writer_drain(s.w));
    assert_int_equal(coil_writer_get_write_buffer_size(s.w), 0);
    must(coil_writer_finish(s.w));
    assert_int_equal(coil_join(taker), 0);
    free(t.got);
    free(data);
    coil_sock_unref(s.peer);
}

/* ---- half-close ---- */

COIL_TEST(write_eof_after_what_was_written)
{
    enum { MUCH = 1 << 20 };
    struct stream s = narrow_stream();
    char *data = pattern(MUCH);
    assert_true(coil_writer_can_write_eof(s.w));
    must(coil_writer_write(s.w, data, MUCH));
    must(coil_writer_write_eof(s.w));
    must(coil_writer_write_eof(s.w));
    assert_int_equal(coil_writer_write(s.w, "x", 1), COIL_EINVALIDSTATE);
    struct taking t = {.sock = s.peer};
    assert_int_equal(take_all(&t), 0); /* sees the end */
    assert_int_equal(t.n, MUCH);
    wire_say(s.peer, "and back\n");
    const char *line;
    assert_int_equal(must(coil_reader_readline(s.r, &line, NULL)), 9);
    assert_string_equal(line, "and back\n");
    must(coil_writer_finish(s.w));
    free(t.got);
    free(data);
    coil_sock_unref(s.peer);
}

COIL_TEST(write_eof_to_a_peer_that_reset_is_an_error_of_sending)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    wire_turns(2);
    wire_reset(s.peer);
    wire_turns(5);
    must(coil_writer_write_eof(s.w));
    wire_turns(2);
    assert_int_equal(coil_writer_drain(s.w), -ECONNRESET);
    coil_ignore(coil_writer_finish(s.w));
}

/* ---- the end ---- */

COIL_TEST(close_wakes_the_reader_with_the_end)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    coil_writer_close(s.w);
    char c;
    assert_int_equal(must(coil_reader_read(s.r, &c, 1)), 0);
    assert_true(coil_reader_at_eof(s.r));
    must(coil_writer_wait_closed(s.w));
    must(coil_writer_wait_closed(s.w));
    must(coil_writer_finish(s.w));
    coil_sock_unref(s.peer);
}

/* ST::test_wait_closed_on_close_with_unread_data, and the peer gets our last words, not a reset. */
COIL_TEST(close_with_unread_input_is_no_reset)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    char *data = pattern(50000);
    wire_send(s.peer, data, 50000);
    wire_turns(3);
    must(coil_writer_write(s.w, "no, thanks", 10));
    must(coil_writer_finish(s.w));
    wire_expect(s.peer, "no, thanks");
    wire_expect_end(s.peer);
    free(data);
    coil_sock_unref(s.peer);
}

COIL_TEST(close_without_anybody_left_still_sends)
{
    enum { MUCH = 1 << 20 };
    struct stream s = narrow_stream();
    char *data = pattern(MUCH);
    must(coil_writer_write(s.w, data, MUCH));
    coil_writer_close(s.w);
    coil_writer_unref(s.w);
    coil_reader_unref(s.r);
    struct taking t = {.sock = s.peer};
    assert_int_equal(take_all(&t), 0);
    assert_int_equal(t.n, MUCH);
    assert_memory_equal(t.got, data, MUCH);
    free(t.got);
    free(data);
    coil_sock_unref(s.peer);
}

COIL_TEST(abort_drops_and_closes)
{
    enum { MUCH = 20 << 20 };
    struct stream s = narrow_stream();
    char *data = calloc(1, MUCH);
    must(coil_writer_write(s.w, data, MUCH));
    free(data);
    struct draining d = {.w = s.w};
    coil_task *task = coil_create_task(drain, &d);
    must(coil_sleep(0.1));
    coil_writer_abort(s.w);
    assert_int_equal(coil_writer_get_write_buffer_size(s.w), 0);
    coil_ignore(coil_join(task));
    must(coil_writer_wait_closed(s.w));
    must(coil_writer_finish(s.w));
    struct taking t = {.sock = s.peer};
    coil_ret rc = take_all(&t);
    assert_true(rc == 0 || rc == -ECONNRESET);
    assert_true(t.n < MUCH);
    free(t.got);
    coil_sock_unref(s.peer);
}

static coil_ret finish(void *arg)
{
    return coil_writer_finish(arg);
}

COIL_TEST(finish_cancelled_goes_on_alone)
{
    enum { MUCH = 1 << 20 };
    struct stream s = narrow_stream();
    char *data = pattern(MUCH);
    must(coil_writer_write(s.w, data, MUCH));
    coil_task *task = coil_create_task(finish, s.w);
    must(coil_sleep(0.1));
    assert_string_equal(coil_task_waiting_on(task), "wait_closed");
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    struct taking t = {.sock = s.peer};
    assert_int_equal(take_all(&t), 0);
    assert_int_equal(t.n, MUCH);
    free(t.got);
    free(data);
    coil_sock_unref(s.peer);
}

/* K: a failed write does not hide what was received. */
COIL_TEST(write_error_leaves_what_was_received)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    wire_say(s.peer, "413 too large\n");
    wire_turns(3);
    coil_sock_close(s.peer); /* with our data unread or still to come: it will be reset */
    coil_ret rc = 0;
    char junk[1000] = {0};
    for (int i = 0; rc == 0 && i < 100; i++) {
        rc = coil_writer_write(s.w, junk, sizeof junk);
        wire_turns(1);
    }
    assert_true(rc == -EPIPE || rc == -ECONNRESET);
    const char *line;
    assert_int_equal(must(coil_reader_readline(s.r, &line, NULL)), 14);
    assert_string_equal(line, "413 too large\n");
    coil_ret end = coil_reader_readline(s.r, &line, NULL);
    assert_true(end == 0 || end == -ECONNRESET);
    assert_int_equal(coil_writer_finish(s.w), rc);
    coil_sock_unref(s.peer);
}

COIL_TEST(extra_info)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    coil_address at;
    char text[COIL_ADDRESS_TEXT_MAX];
    must(coil_sock_getsockname(s.peer, &at));
    coil_address_format(&at, text, sizeof text);
    assert_string_equal(coil_writer_get_extra_info(s.w, "peername"), text);
    must(coil_sock_getpeername(s.peer, &at));
    coil_address_format(&at, text, sizeof text);
    assert_string_equal(coil_writer_get_extra_info(s.w, "sockname"), text);
    assert_null(coil_writer_get_extra_info(s.w, "cipher"));
    wire_reset(s.peer);
    wire_turns(3);
    char c;
    assert_int_equal(coil_reader_read(s.r, &c, 1), -ECONNRESET);
    assert_non_null(coil_writer_get_extra_info(s.w, "peername"));
    coil_ignore(coil_writer_finish(s.w));
}

COIL_TEST_WITH(unclosed_writer_is_reported, .virtual_time = true, .debug = true)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    coil_reader_unref(s.r);
    coil_writer_unref(s.w);
    assert_int_equal(reports.n, 1);
    assert_string_equal(reports.kind, "unclosed");
    assert_string_equal(reports.message, "unclosed StreamWriter");
    wire_expect_end(s.peer);
    coil_sock_unref(s.peer);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

COIL_TEST(socket_of_a_stream_is_not_yours)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    char c;
    assert_int_equal(coil_sock_recv(coil_writer_sock(s.w), &c, 1), COIL_ERUNNING);
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(coil_open_connection_sock(coil_writer_sock(s.w), 0, &r, &w), COIL_ERUNNING);
    must(coil_writer_finish(s.w));
    coil_sock_unref(s.peer);
}

/* ---- the loop closes ---- */

static int released_at_close;
static coil_reader *left_reader;
static coil_writer *left_writer;

static void release_counted(void *cookie)
{
    released_at_close++;
}

static coil_ret leave_everything(void *arg)
{
    struct stream *s = arg;
    static char much[1 << 20];
    *s = narrow_stream();
    for (int i = 0; i < 20; i++)
        must(coil_writer_write_owned(s->w, much, sizeof much, release_counted, NULL));
    left_reader = coil_reader_ref(s->r);
    left_writer = coil_writer_ref(s->w);
    coil_writer_unref(s->w);
    coil_reader_unref(s->r);
    struct draining d = {.w = s->w};
    coil_task *task = coil_create_task_with(drain, &d, sizeof d);
    must(coil_sleep(0.1));
    coil_unref(task);
    return 0;
}

struct heard {
    int unclosed, destroyed;
};

static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    struct heard *heard = arg;
    heard->unclosed += strcmp(context->kind, "unclosed") == 0 &&
                       strstr(context->message, "unclosed connection, peer 127.0.0.1:") != NULL;
    heard->destroyed += strstr(context->message, "destroyed") != NULL;
}

COIL_TEST_PLAIN(loop_closes_over_streams)
{
    for (int debug = 0; debug < 2; debug++) {
        coil_run_opts opts = {.size = sizeof opts, .virtual_time = true, .debug = debug};
        coil_loop *loop = coil_new_event_loop(&opts);
        struct heard heard = {0};
        coil_loop_set_exception_handler(loop, hear, &heard);
        coil_set_event_loop(loop);
        struct stream s;
        released_at_close = 0;
        coil_task *task = coil_create_task(leave_everything, &s);
        must(coil_loop_run_until_complete(loop, task));
        coil_unref(task);
        assert_int_equal(coil_loop_close(loop), 0);
        assert_int_equal(released_at_close, 20);
        assert_int_equal(heard.destroyed, 1);
        assert_int_equal(heard.unclosed, debug);
        coil_loop_free(loop);
        assert_true(coil_sock_is_closed(s.peer));
        coil_sock_unref(s.peer);
        assert_int_equal(coil_writer_write(left_writer, "x", 1), -ECONNRESET);
        coil_writer_abort(left_writer);
        coil_writer_close(left_writer);
        coil_writer_unref(left_writer);
        coil_reader_unref(left_reader);
    }
}

/* ---- memory ---- */

static void write_or_not(void *arg)
{
    int *done = arg;
    struct stream s;
    coil_ret rc = wire_try_stream(0, &s.r, &s.w, &s.peer);
    if (rc < 0)
        return;
    static char much[300000];
    size_t written = 0;
    int counter = 0, held_n = 0;
    struct held h = {.counter = &counter};
    for (int i = 0; i < 12; i++) {
        rc = i % 4 == 3 ? coil_writer_write_owned(s.w, much, sizeof much, release, &h)
                        : coil_writer_write(s.w, much, sizeof much);
        if (rc == 0) {
            written += sizeof much;
            held_n += i % 4 == 3;
        } else {
            assert_int_equal(rc, -ENOMEM);
        }
    }
    coil_writer_close(s.w);
    size_t got = 0;
    char *bin = malloc(65536);
    for (;;) {
        rc = coil_sock_recv(s.peer, bin, 65536);
        if (rc == -ENOMEM)
            continue;
        assert_true(rc >= 0);
        if (rc == 0)
            break;
        got += (size_t)rc;
    }
    free(bin);
    assert_int_equal(got, written);
    coil_sock_unref(s.peer);
    must(coil_writer_finish(s.w));
    assert_int_equal(counter, held_n);
    ++*done;
}

COIL_TEST(write_survives_failing_allocations)
{
    int done = 0;
    write_or_not(&done);
    sweep_allocations(write_or_not, &done);
    assert_true(done >= 2);
}

COIL_TEST_MAIN()
