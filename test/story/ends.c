/* SPDX-License-Identifier: MIT
 *
 * ends.c: the table of ends, through sockets and through streams, over TCP and over AF_UNIX: the peer goes by FIN,
 * half-close or reset; we read, write, do both or nothing; bytes are queued before or not; our calls wait already
 * or come later.
 *
 * Always true, and asserted in every row:
 *   - the bytes that were queued are received, all of them, before any end or error, also after a failed write;
 *   - every call that waits returns, an end is an end and a reset an error;
 *   - what the peer received is what our calls said was sent, or the beginning of that after a reset;
 *   - a connection that is over costs no turns.
 *
 * connections.c has the same ends seen by whole conversations. */
#include "../unit/net/wire.h"

enum going { BY_FIN, BY_HALF_CLOSE, BY_RESET, GOINGS };
enum doing { WE_IDLE, WE_READ, WE_WRITE, WE_DO_BOTH, DOINGS };

struct row {
    enum going going;
    enum doing doing;
    bool queued; /* before the end the peer sent something that nobody read */
    bool parked; /* our calls wait when the end comes */
    bool local;  /* AF_UNIX */
};

static const char queued_text[] = "queued bytes";
static char piece[65536];

static bool reads(const struct row *row)
{
    return row->doing == WE_READ || row->doing == WE_DO_BOTH;
}

static bool writes(const struct row *row)
{
    return row->doing == WE_WRITE || row->doing == WE_DO_BOTH;
}

/* A close over bytes that were not read is a reset, too: a writer that waits has sent such bytes. */
static bool resets(const struct row *row)
{
    return row->going == BY_RESET || (row->going == BY_FIN && row->parked && writes(row));
}

static void pair(const struct row *row, coil_sock **out_us, coil_sock **out_peer)
{
    struct backend *b = coil_get_running_loop()->backend;
    int ends[2];
    if (!row->local) {
        wire_pair(out_us, out_peer);
        return;
    }
    assert_int_equal(b->cls->calls.socketpair(b, AF_UNIX, SOCK_STREAM, ends), 0);
    must(coil_sock_adopt(NULL, ends[0], out_us));
    must(coil_sock_adopt(NULL, ends[1], out_peer));
}

static void go(coil_sock *peer, enum going how)
{
    switch (how) {
    case BY_FIN: coil_sock_unref(peer); break;
    case BY_HALF_CLOSE: must(coil_sock_shutdown(peer, SHUT_WR)); break;
    default: wire_reset(peer); break;
    }
}

/* Nothing is left that could turn the loop. */
static void expect_quiet(void)
{
    coil_loop_stats_t before, after;
    coil_loop_stats(NULL, &before);
    must(coil_sleep(1000));
    coil_loop_stats(NULL, &after);
    if (after.turns - before.turns > 20)
        fail_msg("%lu turns for nothing", (unsigned long)(after.turns - before.turns));
}

/* All the peer gets from here on, to its end. */
static size_t take_all(coil_sock *peer)
{
    static char bin[65536];
    size_t n = 0;
    coil_ret rc;
    while ((rc = must(coil_sock_recv(peer, bin, sizeof bin))) > 0)
        n += (size_t)rc;
    return n;
}

/* What our two calls met. */
struct us {
    coil_sock *sock;
    coil_reader *reader;
    coil_writer *writer;
    char got[64];
    size_t got_n, sent;
    coil_ret read_end, write_end;
};

static void expect_queued(const struct us *us, const struct row *row)
{
    assert_int_equal(us->got_n, row->queued ? sizeof queued_text : 0);
    if (row->queued)
        assert_memory_equal(us->got, queued_text, sizeof queued_text);
}

static void for_each_row(void (*one)(const struct row *row))
{
    for (int i = 0; i < GOINGS * DOINGS * 8; i++) {
        struct row row = {.going = (enum going)(i / (DOINGS * 8)),
                          .doing = (enum doing)(i / 8 % DOINGS),
                          .queued = i & 1,
                          .parked = (i & 2) != 0,
                          .local = (i & 4) != 0};
        if (row.parked && row.doing == WE_IDLE)
            continue;
        if (row.local && row.going == BY_RESET)
            continue; /* there is no such thing but by a close over unread bytes */
        one(&row);
    }
}

/* ---- sockets ---- */

static coil_ret sock_read(void *arg)
{
    struct us *us = arg;
    for (;;) {
        coil_ret rc = coil_sock_recv(us->sock, us->got + us->got_n, sizeof us->got - us->got_n);
        if (rc <= 0) {
            us->read_end = rc;
            return 0;
        }
        us->got_n += (size_t)rc;
    }
}

static coil_ret sock_write(void *arg)
{
    struct us *us = arg;
    coil_ret rc;
    while ((rc = coil_sock_send(us->sock, piece, sizeof piece)) >= 0)
        us->sent += (size_t)rc;
    us->write_end = rc;
    return 0;
}

static void end_of_a_sock(const struct row *row)
{
    struct us us = {.read_end = 1, .write_end = 1};
    coil_sock *peer;
    coil_task *reader = NULL, *writer = NULL;
    pair(row, &us.sock, &peer);
    if (row->queued)
        wire_send(peer, queued_text, sizeof queued_text);
    for (int i = 0; i < 2; i++) { /* before and after the end: our calls begin in one of the two */
        if (row->parked == (i == 0) && reads(row))
            reader = coil_create_task(sock_read, &us);
        if (row->parked == (i == 0) && writes(row))
            writer = coil_create_task(sock_write, &us);
        wire_turns(i == 0 ? 30 : 1);
        if (i == 0) {
            go(peer, row->going);
            wire_turns(3);
        }
    }

    if (reader)
        must(coil_join(reader));
    if (row->going == BY_HALF_CLOSE) {
        if (writer) { /* our direction is open: it waits for room, and stops when asked */
            assert_false(coil_future_done(writer));
            coil_task_cancel(writer, NULL);
            must(coil_join(writer));
            assert_int_equal(us.write_end, -ECANCELED);
        }
        must(coil_sock_shutdown(us.sock, SHUT_WR));
        assert_int_equal(take_all(peer), us.sent);
        coil_sock_unref(peer);
    } else if (writer) {
        must(coil_join(writer));
        assert_true(us.write_end == -EPIPE || us.write_end == -ECONNRESET);
        if (row->going == BY_FIN && !row->parked)
            assert_int_equal(us.write_end, -EPIPE);
    }
    if (!reader)
        assert_int_equal(sock_read(&us), 0);
    expect_queued(&us, row);
    if (!resets(row))
        assert_int_equal(us.read_end, 0);
    else if (writer) /* the kernel says it once, to whoever asks first */
        assert_true(us.write_end == -ECONNRESET || us.read_end == -ECONNRESET);
    else
        assert_int_equal(us.read_end, -ECONNRESET);
    expect_quiet();
    coil_sock_unref(us.sock);
}

COIL_TEST(ends_of_sockets)
{
    for_each_row(end_of_a_sock);
}

/* ---- streams ---- */

static coil_ret stream_read(void *arg)
{
    struct us *us = arg;
    for (;;) {
        coil_ret rc = coil_reader_read(us->reader, us->got + us->got_n, sizeof us->got - us->got_n);
        if (rc <= 0) {
            us->read_end = rc;
            return 0;
        }
        us->got_n += (size_t)rc;
    }
}

static coil_ret stream_write(void *arg)
{
    struct us *us = arg;
    coil_ret rc;
    while ((rc = coil_writer_write(us->writer, piece, sizeof piece)) >= 0) {
        us->sent += sizeof piece;
        if ((rc = coil_writer_drain(us->writer)) < 0)
            break;
    }
    us->write_end = rc;
    return 0;
}

static void end_of_a_stream(const struct row *row)
{
    struct us us = {.read_end = 1, .write_end = 1};
    coil_ret error = 0; /* of the connection, once a write met it */
    coil_task *reader = NULL, *writer = NULL;
    coil_sock *peer;
    pair(row, &us.sock, &peer);
    must(coil_open_connection_sock(us.sock, 0, &us.reader, &us.writer));
    if (row->queued)
        wire_send(peer, queued_text, sizeof queued_text);
    for (int i = 0; i < 2; i++) {
        if (row->parked == (i == 0) && reads(row))
            reader = coil_create_task(stream_read, &us);
        if (row->parked == (i == 0) && writes(row))
            writer = coil_create_task(stream_write, &us);
        wire_turns(i == 0 ? 30 : 1);
        if (i == 0) {
            go(peer, row->going);
            wire_turns(3);
        }
    }

    if (reader)
        must(coil_join(reader));
    if (row->going == BY_HALF_CLOSE) {
        if (writer) {
            assert_false(coil_future_done(writer));
            coil_task_cancel(writer, NULL);
            must(coil_join(writer));
            assert_int_equal(us.write_end, -ECANCELED);
        }
        must(coil_writer_write_eof(us.writer)); /* behind what was written, cancelled or not */
        assert_int_equal(take_all(peer), us.sent);
        coil_sock_unref(peer);
    } else if (writer) {
        must(coil_join(writer));
        error = resets(row) ? -ECONNRESET : -EPIPE;
        /* The reset is told once, to whoever asks first; a writer may hear only that nobody is there. Over AF_UNIX
         * it always does. */
        bool may_miss_it = reader || row->local;
        assert_true(us.write_end == error || (may_miss_it && us.write_end == -EPIPE));
        if (!may_miss_it || reader) {
            assert_int_equal(coil_writer_write(us.writer, piece, 1), error);
            assert_int_equal(coil_writer_drain(us.writer), error);
        }
    }
    if (!reader)
        assert_int_equal(stream_read(&us), 0);
    expect_queued(&us, row);
    assert_int_equal(us.read_end, resets(row) ? -ECONNRESET : 0);
    assert_int_equal(stream_read(&us), 0); /* and so again */
    assert_int_equal(us.read_end, resets(row) ? -ECONNRESET : 0);
    assert_int_equal(coil_reader_at_eof(us.reader), !resets(row));
    expect_quiet();
    assert_int_equal(coil_writer_finish(us.writer), error ? error : us.read_end);
}

COIL_TEST(ends_of_streams)
{
    for_each_row(end_of_a_stream);
}

/* ---- nobody looks any more ---- */

/* The faces are given up while the peer goes on, ends or resets: the connection ends by itself. */
COIL_TEST(ends_of_streams_that_nobody_holds)
{
    for (int how = 0; how < GOINGS; how++)
        for (int much = 0; much < 2; much++) {
            coil_reader *r;
            coil_writer *w;
            coil_sock *peer = wire_stream(0, &r, &w);
            wire_send(peer, queued_text, sizeof queued_text);
            for (int i = 0; i < (much ? 100 : 1); i++)
                must(coil_writer_write(w, piece, sizeof piece));
            wire_turns(3);
            coil_reader_unref(r);
            coil_writer_unref(w); /* closes */
            go(peer, (enum going)how);
            if (how == BY_HALF_CLOSE) {
                assert_int_equal(take_all(peer), (size_t)(much ? 100 : 1) * sizeof piece);
                coil_sock_unref(peer);
            }
            expect_quiet();
            coil_loop_stats_t stats;
            coil_loop_stats(NULL, &stats);
            assert_int_equal(stats.ops, 0);
        }
}

/* ---- a peer that was reset before it was accepted ---- */

COIL_TEST(ends_before_the_accept)
{
    enum { CLIENTS = 20 };
    coil_sock *listener = wire_listen(CLIENTS), *clients[CLIENTS], *taken;
    coil_address at, peer;
    must(coil_sock_getsockname(listener, &at));
    for (int i = 0; i < CLIENTS; i++) {
        must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &clients[i]));
        must(coil_sock_connect(clients[i], &at));
        if (i % 3)
            wire_say(clients[i], "hello");
    }
    for (int i = 0; i < CLIENTS - 1; i++)
        go(clients[i], i % 2 ? BY_RESET : BY_FIN);
    wire_turns(3);
    /* Each is handed out, or passed over as if it had never come; the last one is alive. */
    for (int n = 0;; n++) {
        char bytes[8];
        assert_true(n < CLIENTS);
        must(coil_sock_accept(listener, &taken, &peer));
        coil_ret rc = coil_sock_recv(taken, bytes, sizeof bytes);
        assert_true(rc == 5 || rc == 0 || rc == -ECONNRESET);
        coil_address mine;
        must(coil_sock_getsockname(clients[CLIENTS - 1], &mine));
        bool alive = coil_address_port(&peer) == coil_address_port(&mine);
        if (rc == 5 && !alive) {
            rc = coil_sock_recv(taken, bytes, sizeof bytes);
            assert_true(rc == 0 || rc == -ECONNRESET);
        }
        if (alive)
            wire_say(taken, "welcome");
        coil_sock_unref(taken);
        if (alive)
            break;
    }
    wire_expect(clients[CLIENTS - 1], "welcome");
    expect_quiet();
    coil_sock_unref(clients[CLIENTS - 1]);
    coil_sock_unref(listener);
}

COIL_TEST_MAIN()
