/* SPDX-License-Identifier: MIT
 *
 * hostile.c: peers that mean harm, or behave as if: lines without end, single bytes, silence in the middle of a
 * request, no reading, floods, connections for nothing.
 *
 * Always asserted: what such a peer costs is bounded, in bytes (coil__mem_peak) and in turns; others are served
 * meanwhile; nothing of it stays behind (the harness counts descriptors, blocks, tasks and stacks). */
#include "../unit/net/wire.h"

#include <coil/group.h>

/* The imaginary kernel's buffers are ordinary memory: 128 KiB a direction, and half of that beside it while one grows. */
static int64_t kernels_share(size_t connections)
{
    /* io_uring receives ahead: four buffers for each that nobody reads, from a stock that doubles. */
    if (strcmp(coil_loop_backend(NULL), "uring") == 0)
        return (int64_t)(connections + 4) * 4 * 2 * 2048;
    return wire_is_imaginary() ? (int64_t)connections * 2 * (128 + 64) * 1024 : 0;
}

static int64_t before_bytes;

static void begin_measuring(void)
{
    coil__mem_restart_peak();
    before_bytes = coil__mem_bytes();
}

static void expect_at_most(int64_t bytes, size_t connections)
{
    int64_t most = coil__mem_peak() - before_bytes;
    if (most > bytes + kernels_share(connections))
        fail_msg("%ld bytes at most, and not %ld", (long)most, (long)bytes);
}

/* ---- a server to attack ---- */

static coil_server *serve_with(coil_client_fn fn, void *arg, const coil_server_opts *opts)
{
    coil_server *server;
    must(coil_start_server_with(fn, arg, "127.0.0.1", "0", opts, &server));
    return server;
}

static coil_sock *call(coil_server *server)
{
    coil_address at;
    coil_sock *sock;
    must(coil_server_sockname(server, 0, &at));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    must(coil_sock_connect(sock, &at));
    return sock;
}

static void end(coil_server *server)
{
    coil_server_close(server);
    must(coil_server_wait_closed(server));
    coil_server_free(server);
}

/* Answers each line, as a careful server does: a request must be whole within ten seconds. */
struct book {
    int served, late, broken, too_long;
};

static coil_ret answer_lines(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct book *book = arg;
    for (;;) {
        const char *line;
        coil_timeout(tm, 10);
        coil_ret rc = coil_timeout_exit(&tm, coil_reader_readline(reader, &line, NULL));
        if (rc == -ETIMEDOUT)
            book->late++;
        else if (rc == COIL_ELIMIT)
            book->too_long++;
        else if (rc < 0)
            book->broken++;
        if (rc <= 0)
            return 0;
        if (coil_writer_write(writer, line, (size_t)rc) < 0 || coil_writer_drain(writer) < 0) {
            book->broken++;
            return 0;
        }
        book->served++;
    }
}

static void expect_served(coil_sock *sock)
{
    double asked = coil_loop_time(NULL);
    wire_say(sock, "still there?\n");
    wire_expect(sock, "still there?\n");
    assert_true(coil_loop_time(NULL) - asked < 2);
}

/* ---- lines without end ---- */

enum { POURED = 8 << 20, LIMIT = 4096, WHAT_A_LINE_MAY_COST = 4 * 65536 };

/* Sends bytes without an end of line until nobody takes them any more. */
static coil_ret pour(void *sock)
{
    static char bytes[65536];
    memset(bytes, 'x', sizeof bytes);
    for (size_t n = 0; n < POURED; n += sizeof bytes) {
        coil_ret rc = coil_sock_sendall(sock, bytes, sizeof bytes, NULL);
        if (rc < 0)
            return rc;
    }
    return coil_sock_shutdown(sock, SHUT_WR);
}

enum way { BY_LINE, BY_RECORD, BY_RECORD_OF_ANY, TO_THE_END, BY_SOME, EXACTLY, NOT_AT_ALL, WAYS };

/* One call; how many bytes it took away. */
static size_t take_some(coil_reader *r, enum way way, coil_ret *rc)
{
    static char bin[LIMIT];
    struct iovec ends[2] = {{(void *)(uintptr_t) "\r\n", 2}, {(void *)(uintptr_t) "\n\n", 2}};
    const char *view;
    size_t n = 0;
    switch (way) {
    case BY_LINE: *rc = coil_reader_readline(r, &view, &n); return n;
    case BY_RECORD: *rc = coil_reader_readuntil(r, "\r\n", 2, &view, &n); break;
    case BY_RECORD_OF_ANY: *rc = coil_reader_readuntil_any(r, ends, 2, &view, &n); break;
    case TO_THE_END:
        *rc = coil_reader_read_all(r, LIMIT, &view, &n);
        n = *rc == COIL_ELIMIT ? LIMIT : n;
        break;
    case BY_SOME: *rc = coil_reader_read(r, bin, sizeof bin); return *rc > 0 ? (size_t)*rc : 0;
    default: *rc = coil_reader_readexactly(r, bin, sizeof bin, &n); return n;
    }
    if (*rc != COIL_ELIMIT)
        return n;
    /* It stays in the reader, and that is for the program to end. */
    size_t left = n;
    while (left > 0) {
        coil_ret got = must(coil_reader_read(r, bin, left < sizeof bin ? left : sizeof bin));
        left -= (size_t)got;
    }
    return n;
}

static void one_endless_line(enum way way)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(LIMIT, &r, &w);
    begin_measuring();
    coil_task *pouring = coil_create_task(pour, peer);
    size_t seen = 0;
    int refused = 0;
    if (way == NOT_AT_ALL) {
        must(coil_sleep(10));
        expect_at_most(65536, 1);
        assert_int_equal(coil_reader_buffered(r), 0);
        coil_writer_abort(w);
        assert_true(coil_join(pouring) < 0);
    } else {
        coil_ret rc;
        do {
            size_t n = take_some(r, way, &rc);
            assert_true(rc >= 0 || rc == COIL_ELIMIT || rc == COIL_EINCOMPLETE);
            refused += rc == COIL_ELIMIT;
            seen += n;
        } while (rc > 0 || rc == COIL_ELIMIT);
        assert_int_equal(seen, POURED);
        assert_true(refused > 10 || way == BY_SOME || way == EXACTLY);
        must(coil_join(pouring));
        expect_at_most(WHAT_A_LINE_MAY_COST, 1);
    }
    coil_sock_unref(peer);
    must(coil_writer_finish(w));
}

COIL_TEST(a_line_without_end_costs_no_more_than_the_limit)
{
    for (int way = 0; way < WAYS; way++)
        one_endless_line((enum way)way);
}

/* What the server's own client function costs, and that it says no at the first excess. */
COIL_TEST(a_server_refuses_a_line_without_end_and_serves_the_others)
{
    struct book book = {0};
    coil_server_opts opts = {.size = sizeof opts, .limit = LIMIT};
    coil_server *server = serve_with(answer_lines, &book, &opts);
    coil_sock *honest = call(server), *hostile[8];
    coil_task *pouring[8];
    expect_served(honest);
    begin_measuring();
    for (int i = 0; i < 8; i++) {
        hostile[i] = call(server);
        pouring[i] = coil_create_task(pour, hostile[i]);
        expect_served(honest);
    }
    for (int i = 0; i < 8; i++) {
        coil_ret rc = coil_join(pouring[i]);
        assert_true(rc == -EPIPE || rc == -ECONNRESET);
        coil_sock_unref(hostile[i]);
    }
    expect_at_most(8 * 16384, 9); /* one look is enough to refuse it */
    assert_int_equal(book.too_long, 8);
    expect_served(honest);
    coil_sock_unref(honest);
    end(server);
}

/* ---- one byte at a time ---- */

struct dribble {
    coil_sock *sock;
    const char *text;
    double pause;
};

static coil_ret dribble(void *arg)
{
    const struct dribble *d = arg;
    for (const char *p = d->text; *p; p++) {
        coil_ret rc = coil_sock_sendall(d->sock, p, 1, NULL);
        if (rc == 0)
            rc = coil_sleep(d->pause);
        if (rc < 0)
            return rc;
    }
    return coil_sock_shutdown(d->sock, SHUT_WR);
}

COIL_TEST(every_reader_call_puts_single_bytes_together)
{
    coil_reader *r;
    coil_writer *w;
    const char *view;
    char buf[16];
    size_t n;
    struct iovec any[2] = {{(void *)(uintptr_t) "<end>", 5}, {(void *)(uintptr_t) "<stop>", 6}};
    struct dribble d = {.pause = 0.001,
                        .text = "abcexactly ten\na line\r\nrecord\r\n.any <sto><stop>the rest"};
    d.sock = wire_stream(0, &r, &w);
    coil_task *dribbling = coil_create_task(dribble, &d);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(must(coil_reader_read(r, buf, sizeof buf)), 1);
        assert_int_equal(buf[0], "abc"[i]);
    }
    assert_int_equal(must(coil_reader_readexactly(r, buf, 11, NULL)), 11);
    assert_memory_equal(buf, "exactly ten", 11);
    must(coil_reader_readline(r, &view, NULL));
    assert_string_equal(view, "\n");
    must(coil_reader_readline(r, &view, NULL));
    assert_string_equal(view, "a line\r\n");
    must(coil_reader_readuntil(r, "\r\n.", 3, &view, NULL));
    assert_string_equal(view, "record\r\n.");
    must(coil_reader_readuntil_any(r, any, 2, &view, NULL));
    assert_string_equal(view, "any <sto><stop>");
    assert_int_equal(must(coil_reader_read_all(r, 0, &view, &n)), 8);
    assert_string_equal(view, "the rest");
    must(coil_join(dribbling));
    coil_sock_unref(d.sock);
    must(coil_writer_finish(w));
}

/* ---- silence ---- */

enum { SLOW = 200 };

static coil_ret creep(void *arg)
{
    const struct dribble *d = arg;
    coil_ret rc = dribble((void *)(uintptr_t)d);
    char byte;
    return rc < 0 ? rc : coil_sock_recv(d->sock, &byte, 1);
}

/* A byte a second and never a line: each has ten seconds, and until then costs little. */
COIL_TEST(clients_that_never_finish_a_request_are_late_and_hold_nobody_up)
{
    struct book book = {0};
    coil_server_opts opts = {.size = sizeof opts, .backlog = SLOW};
    coil_server *server = serve_with(answer_lines, &book, &opts);
    coil_sock *honest = call(server);
    static struct dribble slow[SLOW];
    coil_task *creeping[SLOW];
    for (int i = 0; i < SLOW; i++) {
        slow[i] = (struct dribble){
            .sock = call(server), .text = "GET / HTTP/1.1 and so on", .pause = 1};
        creeping[i] = NULL;
    }
    expect_served(honest);
    begin_measuring();
    for (int i = 0; i < SLOW; i++)
        creeping[i] = coil_create_task(creep, &slow[i]);
    for (int second = 0; second < 9; second++) {
        must(coil_sleep(1));
        expect_served(honest);
    }
    assert_int_equal(coil_server_connections(server), SLOW + 1);
    /* A page for what came so far; the imaginary kernel's first buffer holds a kilobyte. */
    expect_at_most((int64_t)SLOW * 8192, 0);
    for (int i = 0; i < SLOW; i++) {
        coil_ret rc = coil_join(creeping[i]);
        assert_true(rc == -EPIPE || rc == -ECONNRESET);
        coil_sock_unref(slow[i].sock);
    }
    assert_int_equal(book.late, SLOW);
    expect_served(honest);
    assert_int_equal(coil_server_connections(server), 1);
    coil_sock_unref(honest);
    end(server);
}

static coil_ret receive_in_time(coil_sock *sock, void *buf, size_t n, double seconds)
{
    coil_timeout(tm, seconds);
    return coil_timeout_exit(&tm, coil_sock_recv(sock, buf, n));
}

/* A peer that is gone without a word looks like one that thinks: only a deadline ends it, and it costs nothing else. */
COIL_TEST(a_peer_that_says_nothing_is_ended_by_a_deadline_alone)
{
    coil_sock *a, *b;
    char text[16];
    wire_pair(&a, &b);
    for (int i = 0; i < 5; i++) {
        coil_loop_stats_t before, after;
        coil_loop_stats(NULL, &before);
        assert_int_equal(receive_in_time(a, text, sizeof text, 3600), -ETIMEDOUT);
        coil_loop_stats(NULL, &after);
        assert_true(after.turns - before.turns < 20);
    }
    wire_say(b, "alive");
    assert_int_equal(receive_in_time(a, text, sizeof text, 3600), 5); /* no deadline took a byte */
    assert_memory_equal(text, "alive", 5);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

/* A listener that never accepts: its backlog is full, and a connect stands half open. */
COIL_TEST(a_connect_that_nobody_answers_is_ended_by_a_deadline)
{
    enum { MANY = 8 };
    coil_sock *listener = wire_listen(0), *socks[MANY];
    coil_address at;
    must(coil_sock_getsockname(listener, &at));
    int hanging = 0;
    for (int i = 0; i < MANY; i++) {
        must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &socks[i]));
        coil_timeout(tm, 0.05);
        coil_ret rc = coil_timeout_exit(&tm, coil_sock_connect(socks[i], &at));
        assert_true(rc == 0 || rc == -ETIMEDOUT);
        hanging += rc == -ETIMEDOUT;
    }
    assert_true(hanging > 0);
    for (int i = 0; i < MANY; i++)
        coil_sock_unref(socks[i]);
    coil_sock_unref(listener);
}

/* ---- not reading ---- */

enum { DEAF = 20, SONG = 64 << 20 };

static char song[8192];

struct singer {
    size_t most; /* that any writer held */
    int late;
};

static coil_ret sing(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct singer *singer = arg;
    coil_timeout(tm, 30);
    coil_ret rc = 0;
    (void)reader;
    for (size_t n = 0; rc == 0 && n < SONG; n += sizeof song) {
        rc = coil_writer_write(writer, song, sizeof song);
        size_t held = coil_writer_get_write_buffer_size(writer);
        singer->most = held > singer->most ? held : singer->most;
        if (rc == 0)
            rc = coil_writer_drain(writer);
    }
    singer->late += coil_timeout_exit(&tm, rc) == -ETIMEDOUT;
    coil_writer_abort(writer);
    return 0;
}

COIL_TEST(clients_that_never_read_cost_a_writer_its_high_mark)
{
    struct singer singer = {0};
    coil_server *server = serve_with(sing, &singer, NULL);
    coil_sock *deaf[DEAF];
    begin_measuring();
    for (int i = 0; i < DEAF; i++)
        deaf[i] = call(server);
    must(coil_sleep(10));
    assert_int_equal(coil_server_connections(server), DEAF);
    assert_true(singer.most > 65536);
    assert_true(singer.most <= 65536 + sizeof song);
    /* Chunks are allocated in steps, so a quarter more than the mark; and the connection itself. */
    expect_at_most((int64_t)DEAF * (65536 + 32768), DEAF);
    must(coil_sleep(30));
    assert_int_equal(singer.late, DEAF);
    assert_int_equal(coil_server_connections(server), 0);
    for (int i = 0; i < DEAF; i++)
        coil_sock_unref(deaf[i]);
    end(server);
}

static coil_ret send_all(void *sock)
{
    static char much[1 << 20];
    for (int i = 0; i < 64; i++) {
        coil_ret rc = coil_sock_sendall(sock, much, sizeof much, NULL);
        if (rc < 0)
            return rc;
    }
    return 0;
}

COIL_TEST(a_peer_that_never_reads_costs_a_sock_nothing)
{
    coil_sock *a, *b;
    wire_pair(&a, &b);
    begin_measuring();
    coil_task *sender = coil_create_task(send_all, a);
    must(coil_sleep(10));
    assert_false(coil_future_done(sender));
    expect_at_most(16384, 1);
    coil_sock_unref(b);
    coil_ret rc = coil_join(sender);
    assert_true(rc == -ECONNRESET || rc == -EPIPE);
    coil_sock_unref(a);
}

/* What was written and what its closer does not wait for: a deaf peer cannot keep a connection for ever, if one
 * gives up in time. */
COIL_TEST(a_close_towards_a_peer_that_never_reads_waits_until_it_is_aborted)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    for (int i = 0; i < 2048; i++)
        must(coil_writer_write(w, song, sizeof song));
    coil_writer_close(w);
    coil_timeout(tm, 60);
    assert_int_equal(coil_timeout_exit(&tm, coil_writer_wait_closed(w)), -ETIMEDOUT);
    coil_writer_abort(w);
    must(coil_writer_wait_closed(w));
    assert_int_equal(coil_writer_get_write_buffer_size(w), 0);
    must(coil_writer_finish(w));
    coil_sock_unref(peer);
}

/* ---- floods ---- */

static coil_ret flood_lines(void *sock)
{
    static char lines[60000];
    for (size_t i = 0; i < sizeof lines; i++)
        lines[i] = i % 2 ? '\n' : 'x';
    coil_ret rc;
    while ((rc = coil_sock_sendall(sock, lines, sizeof lines, NULL)) == 0)
        ;
    return rc;
}

static coil_ret swallow(void *sock)
{
    static char bin[65536];
    coil_ret rc;
    while ((rc = coil_sock_recv(sock, bin, sizeof bin)) > 0)
        ;
    return rc;
}

/* Requests faster than they can be answered, and every answer is taken: the flood is always ready, and so the honest
 * client's turn must come all the same. */
COIL_TEST(a_flood_of_requests_leaves_turns_for_others)
{
    struct book book = {0};
    coil_server *server = serve_with(answer_lines, &book, NULL);
    coil_sock *honest = call(server), *hostile = call(server);
    coil_task *flood = coil_create_task(flood_lines, hostile),
              *drinking = coil_create_task(swallow, hostile);
    for (int i = 0; i < 20; i++) {
        coil_loop_stats_t before, after;
        coil_loop_stats(NULL, &before);
        expect_served(honest);
        coil_loop_stats(NULL, &after);
        assert_true(after.turns - before.turns < 5000);
    }
    assert_true(book.served > 1000);
    coil_sock_close(hostile);
    assert_int_equal(coil_join(flood), -EBADF);
    assert_int_equal(coil_join(drinking), -EBADF);
    coil_sock_unref(hostile);
    expect_served(honest);
    coil_sock_unref(honest);
    end(server);
}

/* Connections that say half a word and are reset, one after the other: nothing of them stays. */
COIL_TEST(a_thousand_connections_for_nothing_leave_nothing)
{
    struct book book = {0};
    coil_server *server = serve_with(answer_lines, &book, NULL);
    coil_sock *honest = call(server);
    expect_served(honest);
    must(coil_sleep(1));
    int64_t blocks = coil__mem_live();
    for (int i = 0; i < 1000; i++) {
        coil_sock *sock = call(server);
        if (i % 3 == 0)
            wire_say(sock, i % 2 ? "half a word" : "a line\nand half a word");
        if (i % 2)
            wire_reset(sock);
        else
            coil_sock_unref(sock);
        if (i % 100 == 0)
            expect_served(honest);
    }
    must(coil_sleep(5));
    assert_int_equal(coil_server_connections(server), 1);
    assert_true(coil__mem_live() - blocks < 20); /* pools and spare chunks, not clients */
    expect_served(honest);
    coil_sock_unref(honest);
    end(server);
}

COIL_TEST_MAIN()
