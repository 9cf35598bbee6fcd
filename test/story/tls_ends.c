/* SPDX-License-Identifier: MIT
 *
 * tls_ends.c: how TLS connections end: whatever the peer does last, what it sent before is delivered, and then the one
 * word that is true: an end, an end that may be a cut, or a reset.
 *
 *     the peer's last act      we read         we write
 *     close_notify             the end         it gets all of it, and our close_notify
 *     the same, and it closes  the end         an error, once it is known
 *     FIN without a word       COIL_ETLSEOF    it gets all of it
 *     RST                      -ECONNRESET     an error
 *
 * The peer is played by hand (lib/tls_peer.h), in both roles and both versions; with nothing, little and much of its data
 * still unread. */
#include "../unit/net/wire.h"

#include "tls_peer.h"

#include <coil/tls.h>

enum { VERSIONS = 2, MUCH = 300000 };
static const int peer_versions[VERSIONS] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* What both send: bytes that tell their place. */
static char pattern(size_t i)
{
    return (char)(i * 2654435761u >> 23);
}

/* ---- two ends ---- */

struct pair {
    coil_reader *r;
    coil_writer *w;
    coil_tls_context *tls;
    bool is_server;
    struct tls_peer peer;
};

static coil_ret start_tls(void *arg)
{
    struct pair *p = arg;
    coil_start_tls_opts opts = {.size = sizeof opts,
                                .server_hostname = p->is_server ? NULL : "host.test",
                                .shutdown_timeout = 5};
    return coil_writer_start_tls(p->w, p->tls, &opts);
}

static void pair_open(struct pair *p, bool is_server, int version)
{
    *p = (struct pair){.is_server = is_server};
    must(coil_tls_context_new(is_server ? COIL_TLS_SERVER : COIL_TLS_NO_DEFAULT_CERTS, &p->tls));
    if (is_server)
        must(coil_tls_context_load_cert_chain(p->tls, ca_path("good", ".pem"),
                                              ca_path("good", ".key"), NULL));
    else
        must(coil_tls_context_load_verify_locations(p->tls, ca_path("root", ".pem"), NULL));
    tls_peer_open_with(&p->peer, wire_stream(0, &p->r, &p->w),
                       is_server ? TLS_PEER_CLIENT : TLS_PEER_SERVER, is_server ? NULL : "good",
                       version, NULL);
    coil_task *ours = coil_create_task(start_tls, p);
    assert_int_equal(tls_peer_handshake(&p->peer), 0);
    must(coil_join(ours));
    if (!is_server || version != TLS1_3_VERSION)
        return;
    /* Tickets come first: a socket that is closed with bytes unread sends a reset. */
    char byte;
    must(coil_writer_write(p->w, "t", 1));
    assert_int_equal(tls_peer_read(&p->peer, &byte, 1), 1);
}

static void pair_close(struct pair *p)
{
    coil_ignore(coil_writer_finish(p->w));
    if (p->peer.sock)
        tls_peer_close(&p->peer);
    coil_tls_context_unref(p->tls);
}

/* In both roles and versions, with nothing, little and much data. */
static void in_every_way(void (*scene)(struct pair *p, size_t n))
{
    static const size_t amounts[] = {0, 100, MUCH};
    for (int is_server = 0; is_server < 2; is_server++)
        for (int v = 0; v < VERSIONS; v++)
            for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
                struct pair p;
                pair_open(&p, is_server, peer_versions[v]);
                scene(&p, amounts[i]);
                pair_close(&p);
            }
}

/* ---- the peer ---- */

enum last_act { NOTIFY, NOTIFY_AND_FIN, FIN, RST };

struct act {
    struct pair *pair;
    size_t n; /* sent before */
    enum last_act last;
};

static coil_ret play(void *arg)
{
    const struct act *a = arg;
    struct tls_peer *peer = &a->pair->peer;
    static char bytes[MUCH];
    for (size_t i = 0; i < a->n; i++)
        bytes[i] = pattern(i);
    if (a->n > 0)
        assert_int_equal(tls_peer_write(peer, bytes, a->n), (int)a->n);
    if (a->last == NOTIFY || a->last == NOTIFY_AND_FIN)
        tls_peer_say_end(peer);
    if (a->last == FIN || a->last == NOTIFY_AND_FIN)
        must(coil_sock_shutdown(peer->sock, SHUT_WR));
    if (a->last == RST)
        tls_peer_reset(peer);
    return 0;
}

/* Everything to its end; the last word. */
static coil_ret read_out(struct pair *p, size_t *out_n)
{
    char bytes[7001];
    coil_ret rc;
    *out_n = 0;
    while ((rc = coil_reader_read(p->r, bytes, sizeof bytes)) > 0)
        for (coil_ret i = 0; i < rc; i++)
            if (bytes[i] != pattern((*out_n)++))
                fail_msg("byte %zu is another one", *out_n - 1);
    return rc;
}

static void expect_last_word(struct pair *p, size_t n, enum last_act last, coil_ret word)
{
    struct act act = {p, n, last};
    size_t got;
    coil_task *playing = coil_create_task(play, &act);
    assert_int_equal(read_out(p, &got), word);
    assert_int_equal(got, n);
    must(coil_join(playing));
    for (int i = 0; i < 3; i++)
        assert_int_equal(read_out(p, &got), word); /* it stays the last word */
    assert_true(coil_reader_at_eof(p->r) == (word == 0));
}

static void peer_notifies(struct pair *p, size_t n)
{
    expect_last_word(p, n, NOTIFY, 0);
}

static void peer_notifies_and_closes(struct pair *p, size_t n)
{
    expect_last_word(p, n, NOTIFY_AND_FIN, 0);
}

static void peer_only_closes(struct pair *p, size_t n)
{
    expect_last_word(p, n, FIN, COIL_ETLSEOF);
}

static void peer_resets(struct pair *p, size_t n)
{
    if (n < MUCH) /* else its own kernel drops what it has not sent yet */
        expect_last_word(p, n, RST, -ECONNRESET);
}

COIL_TEST(a_readers_last_word_is_the_peers)
{
    in_every_way(peer_notifies);
    in_every_way(peer_notifies_and_closes);
    in_every_way(peer_only_closes);
    in_every_way(peer_resets);
}

/* The same when all of it, and the end, had come before anybody read. */
COIL_TEST(what_came_before_a_late_reader_is_all_there)
{
    static const struct {
        enum last_act last;
        coil_ret word;
    } cases[] = {{NOTIFY, 0}, {NOTIFY_AND_FIN, 0}, {FIN, COIL_ETLSEOF}, {RST, -ECONNRESET}};
    struct pair p;
    for (size_t c = 0; c < 4; c++)
        for (int is_server = 0; is_server < 2; is_server++)
            for (int v = 0; v < VERSIONS; v++) {
                pair_open(&p, is_server, peer_versions[v]);
                struct act act = {&p, 20000, cases[c].last};
                must(play(&act));
                must(coil_sleep(1));
                size_t got;
                assert_int_equal(read_out(&p, &got), cases[c].word);
                assert_int_equal(got, 20000);
                pair_close(&p);
            }
}

/* ---- the peer said its end, and listens on ---- */

struct listening {
    struct tls_peer *peer;
    size_t got;
};

static coil_ret listen_to_the_end(void *arg)
{
    struct listening *l = arg;
    char bytes[7001];
    int rc;
    while ((rc = tls_peer_read(l->peer, bytes, sizeof bytes)) > 0)
        for (int i = 0; i < rc; i++)
            if (bytes[i] != pattern(l->got++))
                fail_msg("byte %zu is another one", l->got - 1);
    return rc;
}

static void write_pattern(struct pair *p, size_t n)
{
    char bytes[5003];
    for (size_t at = 0; at < n;) {
        size_t step = n - at < sizeof bytes ? n - at : sizeof bytes;
        for (size_t i = 0; i < step; i++)
            bytes[i] = pattern(at + i);
        must(coil_writer_write(p->w, bytes, step));
        must(coil_writer_drain(p->w));
        at += step;
    }
}

static void answer_who_said_its_end(struct pair *p, size_t n)
{
    size_t got;
    tls_peer_say_end(&p->peer);
    assert_int_equal(read_out(p, &got), 0);
    /* OpenSSL reads on after its own close_notify. */
    struct listening l = {.peer = &p->peer};
    coil_task *listening = coil_create_task(listen_to_the_end, &l);
    write_pattern(p, n);
    coil_writer_close(p->w);
    must(coil_writer_wait_closed(p->w));
    assert_int_equal(coil_join(listening), 0);
    assert_int_equal(l.got, n);
}

COIL_TEST(who_has_said_its_end_gets_our_answer_and_our_end)
{
    in_every_way(answer_who_said_its_end);
}

/* What was written and not drained goes out before the close_notify, however late the peer takes it. */
static void close_before_it_reads(struct pair *p, size_t n)
{
    static char bytes[MUCH];
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern(i);
    wire_narrow(coil_writer_sock(p->w));
    if (n > 0)
        must(coil_writer_write(p->w, bytes, n));
    coil_writer_close(p->w);
    must(coil_sleep(3));
    struct listening l = {.peer = &p->peer};
    coil_task *listening = coil_create_task(listen_to_the_end, &l);
    assert_int_equal(coil_join(listening), 0);
    assert_int_equal(l.got, n);
    tls_peer_say_end(&p->peer);
    must(coil_writer_wait_closed(p->w));
}

COIL_TEST(a_close_sends_everything_and_its_end_to_a_late_reader)
{
    in_every_way(close_before_it_reads);
}

/* Both have said their end at the same moment, with data of both on the way: neither waits for its time. */
static void close_crosswise(struct pair *p, size_t n)
{
    double before = coil_loop_time(NULL);
    struct act act = {p, n, NOTIFY};
    coil_task *playing = coil_create_task(play, &act);
    must(coil_writer_write(p->w, "last", 4));
    coil_writer_close(p->w);
    coil_ignore(coil_writer_wait_closed(p->w));
    assert_true(coil_loop_time(NULL) - before < 4);
    must(coil_join(playing));
}

COIL_TEST(two_closes_that_cross_end_at_once)
{
    in_every_way(close_crosswise);
}

/* ---- writing to who is gone ---- */

static coil_ret write_until_it_fails(struct pair *p)
{
    static char bytes[65536];
    coil_ret rc = 0;
    for (int i = 0; i < 1000 && rc == 0; i++) {
        rc = coil_writer_write(p->w, bytes, sizeof bytes);
        if (rc == 0)
            rc = coil_writer_drain(p->w);
    }
    return rc;
}

static void write_to_who_is_gone(struct pair *p, size_t n, bool by_reset)
{
    struct act act = {p, n, by_reset ? RST : NOTIFY};
    if (n == MUCH) /* nobody reads it here */
        return;
    must(play(&act));
    if (!by_reset)
        tls_peer_close(&p->peer);
    coil_ret rc = write_until_it_fails(p);
    if (rc != -ECONNRESET && rc != -EPIPE)
        fail_msg("%s: %s", by_reset ? "reset" : "closed", coil_errname(rc));
}

static void write_to_who_closed(struct pair *p, size_t n)
{
    write_to_who_is_gone(p, n, false);
}

static void write_to_who_reset(struct pair *p, size_t n)
{
    write_to_who_is_gone(p, n, true);
}

COIL_TEST(writing_to_who_is_gone_fails)
{
    in_every_way(write_to_who_closed);
    in_every_way(write_to_who_reset);
}

/* What the peer had sent is not lost by our failed write. */
COIL_TEST(a_write_that_fails_hides_nothing_that_was_received)
{
    for (int v = 0; v < VERSIONS; v++) {
        struct pair p;
        size_t got;
        pair_open(&p, true, peer_versions[v]);
        struct act act = {&p, 20000, NOTIFY};
        must(play(&act));
        must(coil_sleep(1));
        tls_peer_close(&p.peer);
        assert_true(write_until_it_fails(&p) < 0);
        coil_ret rc = read_out(&p, &got);
        if (got != 20000)
            fail_msg("%zu of 20000 bytes, then %s", got, coil_errname(rc));
        pair_close(&p);
    }
}

COIL_TEST_MAIN()
