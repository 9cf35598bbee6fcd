/* SPDX-License-Identifier: MIT
 *
 * test_coalescing.c: what is written is collected and leaves together: when, how much of it, and what becomes of it at
 * every end of a connection. */
#include "wire.h"

enum { LIMIT = 32 * 1024 }; /* what goes without waiting for more */

struct stream {
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer;
};

static struct stream coalescing_stream(void)
{
    struct stream s;
    s.peer = wire_stream(0, &s.r, &s.w);
    coil_writer_set_coalescing(s.w, true);
    return s;
}

static void end(struct stream *s)
{
    coil_ignore(coil_writer_finish(s->w));
    coil_sock_unref(s->peer);
}

static size_t buffered(const struct stream *s)
{
    return coil_writer_get_write_buffer_size(s->w);
}

static void write_text(struct stream *s, const char *text)
{
    must(coil_writer_write(s->w, text, strlen(text)));
}

/* All of it in one receive: it was one send. */
static void expect_at_once(struct stream *s, const char *text)
{
    char buf[64] = "";
    assert_int_equal(must(coil_sock_recv(s->peer, buf, sizeof buf - 1)), strlen(text));
    assert_string_equal(buf, text);
}

/* ---- when ---- */

COIL_TEST(writes_of_one_turn_leave_together)
{
    struct stream s = coalescing_stream();
    const struct iovec pieces[] = {{(void *)(uintptr_t) " and", 4},
                                   {(void *)(uintptr_t) " three", 6}};
    write_text(&s, "one");
    write_text(&s, " two");
    must(coil_writer_writelines(s.w, pieces, 2));
    assert_int_equal(buffered(&s), 17);
    must(coil_writer_drain(s.w)); /* waits for nothing */
    assert_int_equal(buffered(&s), 17);
    must(coil_sleep(0));
    assert_int_equal(buffered(&s), 0);
    expect_at_once(&s, "one two and three");
    write_text(&s, "again");
    must(coil_sleep(0));
    expect_at_once(&s, "again");
    end(&s);
}

COIL_TEST(coalescing_switched_off_sends_behind_what_was_collected)
{
    struct stream s = coalescing_stream();
    write_text(&s, "one");
    coil_writer_set_coalescing(s.w, false);
    write_text(&s, " two");
    must(coil_sleep(0));
    expect_at_once(&s, "one two");
    write_text(&s, "now");
    assert_int_equal(buffered(&s), 0);
    expect_at_once(&s, "now");
    end(&s);
}

COIL_TEST(much_does_not_wait_for_more)
{
    struct stream s = coalescing_stream();
    char *data = calloc(1, 2 * LIMIT), *got = malloc(2 * LIMIT);
    must(coil_writer_write(s.w, data, LIMIT)); /* not even copied */
    assert_int_equal(buffered(&s), 0);
    for (size_t sent = 0; sent < LIMIT; sent += 1000) {
        assert_int_equal(buffered(&s), sent);
        must(coil_writer_write(s.w, data, 1000));
    }
    assert_int_equal(buffered(&s), 0);
    size_t n = 0;
    while (n < LIMIT + LIMIT / 1000 * 1000 + 1000)
        n += (size_t)must(coil_sock_recv(s.peer, got, 2 * LIMIT));
    free(data);
    free(got);
    end(&s);
}

/* More than the kernel takes: the rest follows by itself, in order. */
COIL_TEST(what_the_kernel_does_not_take_follows)
{
    enum { N = 40, PIECE = 20000 };
    struct stream s = coalescing_stream();
    wire_narrow(coil_writer_sock(s.w));
    char *data = malloc(N * PIECE), *got = malloc(N * PIECE);
    for (size_t i = 0; i < (size_t)N * PIECE; i++)
        data[i] = (char)(i * 13 + i / 256);
    for (int i = 0; i < N; i++) {
        must(coil_writer_write(s.w, data + i * PIECE, PIECE));
        if (i % 7 == 0)
            must(coil_sleep(0));
    }
    for (size_t n = 0; n < (size_t)N * PIECE;)
        n += (size_t)must(coil_sock_recv(s.peer, got + n, (size_t)N * PIECE - n));
    assert_memory_equal(got, data, N * PIECE);
    free(data);
    free(got);
    end(&s);
}

/* ---- lent buffers ---- */

static int released;

static void release(void *cookie)
{
    assert_int_equal(++released, (intptr_t)cookie);
}

COIL_TEST(lent_buffers_leave_with_the_rest_and_come_back_in_order)
{
    struct stream s = coalescing_stream();
    released = 0;
    must(coil_writer_write_owned(s.w, "one", 3, release, (void *)1));
    write_text(&s, " two");
    must(coil_writer_write_owned(s.w, " three", 6, release, (void *)2));
    assert_int_equal(released, 0);
    must(coil_sleep(0));
    expect_at_once(&s, "one two three");
    must(coil_sleep(0));
    assert_int_equal(released, 2);
    end(&s);
}

COIL_TEST(more_pieces_than_one_call_takes_all_leave)
{
    struct stream s = coalescing_stream();
    released = 0;
    for (intptr_t i = 1; i <= 20; i++)
        must(coil_writer_write_owned(s.w, "x", 1, release, (void *)i));
    wire_expect(s.peer, "xxxxxxxxxxxxxxxxxxxx");
    wire_turns(3);
    assert_int_equal(released, 20);
    end(&s);
}

/* ---- the ends of a connection ---- */

COIL_TEST(close_and_end_wait_for_what_was_collected)
{
    struct stream s = coalescing_stream();
    write_text(&s, "bye");
    must(coil_writer_write_eof(s.w));
    wire_expect(s.peer, "bye");
    wire_expect_end(s.peer);
    end(&s);
    s = coalescing_stream();
    write_text(&s, "bye");
    must(coil_writer_finish(s.w));
    wire_expect(s.peer, "bye");
    wire_expect_end(s.peer);
    coil_sock_unref(s.peer);
}

COIL_TEST(abort_drops_what_was_collected)
{
    struct stream s = coalescing_stream();
    released = 0;
    write_text(&s, "lost");
    must(coil_writer_write_owned(s.w, "lost", 4, release, (void *)1));
    coil_writer_abort(s.w);
    assert_int_equal(buffered(&s), 0);
    wire_expect_end(s.peer);
    assert_int_equal(released, 1);
    end(&s);
}

COIL_TEST(lost_connection_is_told_by_the_write_that_follows)
{
    struct stream s = coalescing_stream();
    wire_reset(s.peer);
    s.peer = NULL;
    coil_ret rc = 0;
    for (int i = 0; i < 100 && rc == 0; i++) {
        rc = coil_writer_write(s.w, "x", 1);
        must(coil_sleep(0.01));
    }
    assert_true(rc == -ECONNRESET || rc == -EPIPE);
    assert_int_equal(buffered(&s), 0);
    end(&s);
}

/* The marks count what was collected: one that has no room at all waits for it to leave. */
COIL_TEST(drain_waits_for_what_was_collected_if_the_marks_say_so)
{
    struct stream s = coalescing_stream();
    must(coil_writer_set_write_buffer_limits(s.w, 0, 0));
    write_text(&s, "x");
    assert_int_equal(buffered(&s), 1);
    must(coil_writer_drain(s.w));
    assert_int_equal(buffered(&s), 0);
    end(&s);
}

static void write_without_memory(void *arg)
{
    struct stream s;
    if (wire_try_stream(0, &s.r, &s.w, &s.peer) < 0)
        return;
    coil_writer_set_coalescing(s.w, true);
    char expected[8] = "";
    for (const char *c = "abc"; *c; c++)
        if (coil_writer_write(s.w, c, 1) == 0)
            strncat(expected, c, 1);
    coil_ret rc;
    do
        rc = coil_sleep(0);
    while (rc == -ENOMEM);
    for (size_t got = 0; got < strlen(expected);) {
        char buf[8];
        rc = coil_sock_recv(s.peer, buf, sizeof buf);
        if (rc == -ENOMEM)
            continue;
        assert_memory_equal(buf, expected + got, (size_t)must(rc));
        got += (size_t)rc;
    }
    ++*(int *)arg;
    end(&s);
}

COIL_TEST(collected_bytes_survive_failing_allocations)
{
    int done = 0;
    write_without_memory(&done);
    sweep_allocations(write_without_memory, &done);
    assert_true(done >= 2);
}

COIL_TEST_MAIN()
