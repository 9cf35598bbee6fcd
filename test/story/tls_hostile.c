/* SPDX-License-Identifier: MIT
 *
 * tls_hostile.c: peers that mean harm to a TLS connection, or behave as if: plain text, injected text, silence, single
 * bytes, cut and spoiled streams, resets, floods of everything a peer may ask for.
 *
 * Always asserted: an error that says what it was; what came before it is delivered first; memory is bounded, OpenSSL's
 * included (the process's own count, mallinfo2); others are served meanwhile. The peers are played by hand
 * (lib/tls_peer.h). */
#include "../unit/net/wire.h"

#include "tls_peer.h"

#include <coil/group.h>
#include <coil/tls.h>

#include <malloc.h>

enum { VERSIONS = 2 };
static const int peer_versions[VERSIONS] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* ---- memory ---- */

/* All of the process's heap, OpenSSL's and the imaginary kernel's too. Sanitizers tell nothing: 0. */
static int64_t heap_bytes(void)
{
#ifdef __GLIBC__
    struct mallinfo2 m = mallinfo2();
    return (int64_t)(m.uordblks + m.hblkhd);
#else
    return 0;
#endif
}

/* The imaginary kernel's buffers are ordinary memory; io_uring receives ahead. As in hostile.c. */
static int64_t kernels_share(size_t connections)
{
    if (strcmp(coil_loop_backend(NULL), "uring") == 0)
        return (int64_t)(connections + 4) * 4 * 2 * 2048;
    return wire_is_imaginary() ? (int64_t)connections * 2 * (128 + 64) * 1024 : 0;
}

static void expect_grown_at_most(int64_t before, int64_t bytes, size_t connections)
{
    int64_t grown = heap_bytes() - before;
    if (grown > bytes + kernels_share(connections))
        fail_msg("%ld bytes more, and not %ld", (long)grown, (long)bytes);
}

/* ---- our end ---- */

static coil_tls_context *server_context(void)
{
    coil_tls_context *tls;
    must(coil_tls_context_new(COIL_TLS_SERVER, &tls));
    must(coil_tls_context_load_cert_chain(tls, ca_path("good", ".pem"), ca_path("good", ".key"),
                                          NULL));
    return tls;
}

static coil_tls_context *client_context(void)
{
    coil_tls_context *tls;
    must(coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS, &tls));
    must(coil_tls_context_load_verify_locations(tls, ca_path("root", ".pem"), NULL));
    return tls;
}

/* A stream of ours, not TLS yet, and the peer's socket. */
struct end {
    coil_reader *r;
    coil_writer *w;
    coil_tls_context *tls;
    bool is_server;
    double handshake_timeout;
    char words[300]; /* of the last failure */
};

static coil_sock *end_open(struct end *e, bool is_server)
{
    *e = (struct end){.is_server = is_server,
                      .tls = is_server ? server_context() : client_context()};
    return wire_stream(0, &e->r, &e->w);
}

static coil_ret end_start_tls(void *arg)
{
    struct end *e = arg;
    coil_start_tls_opts opts = {.size = sizeof opts,
                                .server_hostname = e->is_server ? NULL : "host.test",
                                .handshake_timeout = e->handshake_timeout};
    coil_ret rc = coil_writer_start_tls(e->w, e->tls, &opts);
    if (coil_iserr(rc))
        snprintf(e->words, sizeof e->words, "%s", coil_last_error()->message);
    return rc;
}

static coil_ret end_read(struct end *e, void *buf, size_t n)
{
    coil_ret rc = coil_reader_read(e->r, buf, n);
    if (coil_iserr(rc))
        snprintf(e->words, sizeof e->words, "%s", coil_last_error()->message);
    return rc;
}

static void end_close(struct end *e)
{
    coil_ignore(coil_writer_finish(e->w));
    coil_tls_context_unref(e->tls);
}

/* Both ends, shaken hands. */
static void stand(struct end *e, struct tls_peer *p, bool is_server, int version)
{
    coil_sock *sock = end_open(e, is_server);
    tls_peer_open_with(p, sock, is_server ? TLS_PEER_CLIENT : TLS_PEER_SERVER,
                       is_server ? NULL : "good", version, NULL);
    coil_task *ours = coil_create_task(end_start_tls, e);
    assert_int_equal(tls_peer_handshake(p), 0);
    must(coil_join(ours));
}

static void expect_words(const struct end *e, const char *words)
{
    if (!strstr(e->words, words))
        fail_msg("'%s' is not in: %s", words, e->words);
}

/* ---- plain text ---- */

COIL_TEST(plain_text_to_a_tls_port_is_refused_by_name)
{
    static const struct {
        const char *text, *words;
    } cases[] = {{"GET / HTTP/1.0\r\n\r\n", "http request"},
                 {"CONNECT host:443 HTTP/1.1\r\n\r\n", "https proxy request"},
                 {"SSH-2.0-OpenSSH_9.2\r\n", "wrong version number"},
                 {"\0\0\0\010\004\322\026\057", "wrong version number"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct end e;
        char byte;
        coil_sock *peer = end_open(&e, true);
        wire_send(peer, cases[i].text, i == 3 ? 8 : strlen(cases[i].text));
        assert_int_equal(end_start_tls(&e), COIL_ETLS);
        expect_words(&e, cases[i].words);
        assert_true(coil_reader_read(e.r, &byte, 1) <= 0);
        end_close(&e);
        coil_sock_unref(peer);
    }
}

COIL_TEST(plain_text_instead_of_a_servers_answer_is_refused)
{
    struct end e;
    coil_sock *peer = end_open(&e, false);
    wire_say(peer, "220 mail.host.test ESMTP\r\n");
    assert_int_equal(end_start_tls(&e), COIL_ETLS);
    expect_words(&e, "wrong version number");
    end_close(&e);
    coil_sock_unref(peer);
}

/* The man in the middle puts a command of his behind the last plain line; it is not read as if it had come encrypted
 * (CVE-2011-0411, CVE-2021-33515). */
COIL_TEST(text_injected_before_start_tls_spoils_the_handshake)
{
    for (int is_server = 0; is_server < 2; is_server++) {
        struct end e;
        struct tls_peer p;
        const char *line;
        char byte;
        coil_sock *peer = end_open(&e, is_server);
        tls_peer_open(&p, peer, is_server ? TLS_PEER_CLIENT : TLS_PEER_SERVER,
                      is_server ? NULL : "good");
        wire_say(peer,
                 is_server ? "STARTTLS\r\nRSET\r\nDATA\r\n" : "220 go on\r\n250 all well\r\n");
        must(coil_reader_readline(e.r, &line, NULL));
        coil_task *ours = coil_create_task(end_start_tls, &e);
        if (is_server) {
            SSL_do_handshake(p.ssl); /* its hello comes behind */
            tls_peer_flush(&p);
        }
        coil_ret rc = coil_join(ours);
        assert_int_equal(rc, COIL_ETLS);
        expect_words(&e, "wrong version number");
        assert_true(coil_reader_read(e.r, &byte, 1) <= 0);
        assert_int_equal(coil_reader_buffered(e.r), 0);
        end_close(&e);
        tls_peer_close(&p);
    }
}

/* The honest neighbour of the above: who is quick sends his hello behind the line, before he is answered. */
COIL_TEST(a_hello_that_comes_with_the_last_plain_line_is_not_lost)
{
    for (int v = 0; v < VERSIONS; v++) {
        struct end e;
        struct tls_peer p;
        const char *line;
        char bytes[2048] = "STARTTLS\r\n", byte;
        coil_sock *peer = end_open(&e, true);
        tls_peer_open_with(&p, peer, TLS_PEER_CLIENT, NULL, peer_versions[v], NULL);
        SSL_do_handshake(p.ssl);
        size_t n = strlen(bytes);
        n += tls_peer_take(&p, bytes + n, sizeof bytes - n);
        wire_send(peer, bytes, n);
        must(coil_reader_readline(e.r, &line, NULL));
        assert_string_equal(line, "STARTTLS\r\n");
        must(coil_sleep(1)); /* all of it is in the reader, or may be */
        coil_task *ours = coil_create_task(end_start_tls, &e);
        assert_int_equal(tls_peer_handshake(&p), 0);
        must(coil_join(ours));
        assert_int_equal(tls_peer_write(&p, "x", 1), 1);
        assert_int_equal(must(end_read(&e, &byte, 1)), 1);
        tls_peer_say_end(&p);
        end_close(&e);
        tls_peer_close(&p);
    }
}

/* ---- slowly ---- */

struct trickle {
    coil_sock *sock;
    unsigned char bytes[16384];
    size_t n, every; /* so many bytes there is a pause */
    double pause;
};

static coil_ret trickle(void *arg)
{
    const struct trickle *t = arg;
    for (size_t i = 0; i < t->n; i++) {
        coil_ret rc = coil_sock_sendall(t->sock, t->bytes + i, 1, NULL);
        if (rc == 0)
            rc = coil_sleep(i % t->every == 0 ? t->pause : 0);
        if (rc < 0)
            return rc;
    }
    return 0;
}

COIL_TEST(a_handshake_of_a_byte_a_second_is_over_when_its_time_is)
{
    static struct trickle t;
    struct end e;
    struct tls_peer p;
    coil_sock *peer = end_open(&e, true);
    e.handshake_timeout = 20;
    tls_peer_open(&p, peer, TLS_PEER_CLIENT, NULL);
    SSL_do_handshake(p.ssl);
    t = (struct trickle){.sock = peer, .every = 1, .pause = 1};
    t.n = tls_peer_take(&p, t.bytes, sizeof t.bytes);
    assert_true(t.n > 100);
    double before = coil_loop_time(NULL);
    coil_task *trickling = coil_create_task(trickle, &t);
    assert_int_equal(end_start_tls(&e), -ECONNABORTED);
    double took = coil_loop_time(NULL) - before;
    assert_true(took >= 20 && took < 21);
    expect_words(&e, "20");
    assert_true(coil_join(trickling) < 0);
    end_close(&e);
    tls_peer_close(&p);
}

/* Who is slow and no slower than he may be gets his connection, whichever pieces it comes in. */
COIL_TEST(a_handshake_in_single_bytes_stands_if_there_is_time)
{
    for (int v = 0; v < VERSIONS; v++) {
        static struct trickle t;
        struct end e;
        struct tls_peer p;
        char byte;
        coil_sock *peer = end_open(&e, true);
        e.handshake_timeout = 3600;
        tls_peer_open_with(&p, peer, TLS_PEER_CLIENT, NULL, peer_versions[v], "host.test");
        coil_task *ours = coil_create_task(end_start_tls, &e);
        while (SSL_do_handshake(p.ssl) != 1 || SSL_in_init(p.ssl)) {
            t = (struct trickle){.sock = peer, .every = 64, .pause = 10};
            t.n = tls_peer_take(&p, t.bytes, sizeof t.bytes);
            must(trickle(&t));
            assert_true(tls_peer_pull(&p));
        }
        t.n = tls_peer_take(&p, t.bytes, sizeof t.bytes);
        must(trickle(&t));
        must(coil_join(ours));
        assert_int_equal(tls_peer_write(&p, "x", 1), 1);
        assert_int_equal(must(end_read(&e, &byte, 1)), 1);
        tls_peer_say_end(&p);
        end_close(&e);
        tls_peer_close(&p);
    }
}

/* Each byte of the hello in a record of its own: either it stands, or it is refused; it never hangs. */
COIL_TEST(a_hello_in_records_of_one_byte_stands_or_is_refused)
{
    for (int v = 0; v < VERSIONS; v++) {
        struct end e;
        struct tls_peer p;
        unsigned char hello[2048], shreds[6 * 2048];
        coil_sock *peer = end_open(&e, true);
        tls_peer_open_with(&p, peer, TLS_PEER_CLIENT, NULL, peer_versions[v], "host.test");
        SSL_do_handshake(p.ssl);
        size_t n = tls_peer_take(&p, hello, sizeof hello);
        coil_task *ours = coil_create_task(end_start_tls, &e);
        wire_send(peer, shreds, tls_peer_shred(hello, n, shreds));
        assert_int_equal(tls_peer_handshake(&p), 0);
        must(coil_join(ours));
        tls_peer_say_end(&p);
        end_close(&e);
        tls_peer_close(&p);
    }
}

COIL_TEST(data_in_records_of_one_byte_arrives_in_little_memory)
{
    enum { BYTES = 20000 };
    for (int v = 0; v < VERSIONS; v++) {
        struct end e;
        struct tls_peer p;
        unsigned char got[BYTES];
        size_t n = 0;
        stand(&e, &p, true, peer_versions[v]);
        int64_t before = heap_bytes();
        for (int i = 0; i < BYTES; i++) {
            unsigned char byte = (unsigned char)(i % 251);
            assert_int_equal(SSL_write(p.ssl, &byte, 1), 1);
            if (i % 500 == 499) {
                assert_true(tls_peer_flush(&p));
                while (n <= (size_t)i)
                    n += (size_t)must(end_read(&e, got + n, sizeof got - n));
            }
        }
        expect_grown_at_most(before, 512 * 1024, 1);
        assert_int_equal(n, BYTES);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(got[i], i % 251);
        tls_peer_say_end(&p);
        end_close(&e);
        tls_peer_close(&p);
    }
}

/* ---- silence ---- */

enum { SILENT = 100, PENDING_PEER = 96 * 1024 };

static coil_ret echo_a_byte(coil_reader *r, coil_writer *w, void *arg)
{
    char byte;
    (void)arg;
    coil_ret rc;
    while ((rc = coil_reader_read(r, &byte, 1)) > 0)
        if (coil_writer_write(w, &byte, 1) < 0 || coil_writer_drain(w) < 0)
            break;
    return 0;
}

static void expect_served(coil_server *server, coil_tls_context *tls)
{
    char port[8], byte;
    coil_reader *r;
    coil_writer *w;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    coil_connect_opts opts = {.size = sizeof opts, .tls = tls, .server_hostname = "host.test"};
    double before = coil_loop_time(NULL);
    must(coil_open_connection_with("127.0.0.1", port, &opts, &r, &w));
    must(coil_writer_write(w, "!", 1));
    assert_int_equal(must(coil_reader_read(r, &byte, 1)), 1);
    must(coil_writer_finish(w));
    assert_true(coil_loop_time(NULL) - before < 2);
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

COIL_TEST(a_hundred_silent_clients_are_gone_after_a_minute_and_hold_nobody_up)
{
    static coil_sock *silent[SILENT];
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_tls_context *theirs = server_context(), *ours = client_context();
    coil_server *server;
    coil_server_opts opts = {.size = sizeof opts, .tls = theirs, .backlog = SILENT};
    must(coil_start_server_with(echo_a_byte, NULL, "127.0.0.1", "0", &opts, &server));
    expect_served(server, ours); /* what OpenSSL makes once is made now */
    int64_t before = heap_bytes();
    for (int i = 0; i < SILENT; i++) {
        silent[i] = call(server);
        if (i % 2)
            wire_send(silent[i], "\026\003\001\002\000\001\000",
                      7); /* a hello begins, and that was it */
    }
    for (int t = 0; t < 5; t++) {
        must(coil_sleep(10));
        expect_served(server, ours);
    }
    assert_int_equal(coil_server_connections(server), SILENT);
    expect_grown_at_most(before, (int64_t)SILENT * PENDING_PEER, 0);
    must(coil_sleep(11));
    assert_int_equal(coil_server_connections(server), 0);
    for (int i = 0; i < SILENT; i++) {
        char byte;
        assert_true(coil_sock_recv(silent[i], &byte, 1) <= 0);
        coil_sock_unref(silent[i]);
    }
    expect_served(server, ours);
    must(coil_server_finish(server));
    coil_tls_context_unref(theirs);
    coil_tls_context_unref(ours);
}

/* ---- the stream is cut ---- */

COIL_TEST(an_end_without_close_notify_is_told_after_what_came_before)
{
    for (int is_server = 0; is_server < 2; is_server++)
        for (int v = 0; v < VERSIONS; v++) {
            struct end e;
            struct tls_peer p;
            char text[32];
            stand(&e, &p, is_server, peer_versions[v]);
            assert_int_equal(tls_peer_write(&p, "pay 100", 7), 7);
            must(coil_sock_shutdown(p.sock, SHUT_WR)); /* "... to nobody" was cut off */
            assert_int_equal(must(end_read(&e, text, sizeof text)), 7);
            assert_memory_equal(text, "pay 100", 7);
            assert_int_equal(end_read(&e, text, sizeof text), COIL_ETLSEOF);
            assert_int_equal(end_read(&e, text, sizeof text), COIL_ETLSEOF);
            end_close(&e);
            tls_peer_close(&p);
        }
}

COIL_TEST(a_close_notify_is_a_regular_end)
{
    for (int v = 0; v < VERSIONS; v++) {
        struct end e;
        struct tls_peer p;
        char text[32];
        stand(&e, &p, true, peer_versions[v]);
        assert_int_equal(tls_peer_write(&p, "all", 3), 3);
        tls_peer_say_end(&p);
        tls_peer_close(&p);
        assert_int_equal(must(end_read(&e, text, sizeof text)), 3);
        assert_int_equal(must(end_read(&e, text, sizeof text)), 0);
        end_close(&e);
    }
}

/* A handshake whose peer's bytes end, or are reset, after so many of them. False: it stood by then, and what waits for
 * data learns of the end. */
static bool cut_handshake(bool is_server, int version, size_t after, bool by_reset, size_t *out_all)
{
    struct end e;
    struct tls_peer p;
    unsigned char bytes[8192];
    size_t sent = 0;
    coil_sock *peer = end_open(&e, is_server);
    tls_peer_open_with(&p, peer, is_server ? TLS_PEER_CLIENT : TLS_PEER_SERVER,
                       is_server ? NULL : "good", version, NULL);
    coil_task *ours = coil_create_task(end_start_tls, &e);
    for (;;) {
        ERR_clear_error();
        int done = SSL_do_handshake(p.ssl) == 1;
        size_t n = tls_peer_take(&p, bytes, sizeof bytes);
        if (sent + n > after)
            n = after - sent;
        wire_send(peer, bytes, n);
        sent += n;
        if (done || sent == after)
            break;
        if (!tls_peer_pull(&p))
            fail_msg("our end left: %s", e.words);
    }
    *out_all = sent;
    if (by_reset)
        tls_peer_reset(&p);
    else
        tls_peer_close(&p);
    coil_ret rc = coil_join(ours);
    bool failed = rc < 0;
    char byte;
    if (!failed)
        rc = end_read(&e, &byte, 1);
    if (rc != -ECONNRESET && rc != -EPIPE && rc != COIL_ETLSEOF)
        fail_msg("%s after %zu bytes: %s", by_reset ? "reset" : "cut", after, coil_errname(rc));
    assert_true(e.words[0] != '\0');
    end_close(&e);
    return failed;
}

COIL_TEST(a_handshake_that_is_cut_or_reset_after_any_byte_fails_at_once)
{
    for (int is_server = 0; is_server < 2; is_server++)
        for (int v = 0; v < VERSIONS; v++)
            for (int by_reset = 0; by_reset < 2; by_reset++) {
                size_t all = 0, failed = 0;
                for (size_t after = 0; all == after; after += 29) {
                    double before = coil_loop_time(NULL);
                    failed += cut_handshake(is_server, peer_versions[v], after, by_reset, &all);
                    assert_true(coil_loop_time(NULL) - before < 5);
                    if (all < after)
                        break;
                    all = after + 29;
                }
                assert_true(failed >= 9); /* of the shortest flight, a hello of TLS 1.2 */
            }
}

/* Resets of a connection that stands: while we read, write, wait for room, close. */
enum doing { READING, DRAINING, FINISHING, DOINGS };

struct doer {
    struct end *e;
    enum doing doing;
};

static coil_ret be_doing(void *arg)
{
    const struct doer *d = arg;
    static const char much[1 << 20];
    char byte;
    if (d->doing == READING)
        return end_read(d->e, &byte, 1);
    coil_ret rc = 0;
    for (int i = 0; i < 32 && rc == 0; i++) { /* more than the kernel takes */
        rc = coil_writer_write(d->e->w, much, sizeof much);
        if (rc == 0 && d->doing == DRAINING)
            rc = coil_writer_drain(d->e->w);
    }
    if (rc < 0 || d->doing == DRAINING)
        return rc;
    coil_writer_close(d->e->w);
    return coil_writer_wait_closed(d->e->w);
}

COIL_TEST(a_reset_of_a_connection_that_stands_ends_whatever_waits)
{
    for (int v = 0; v < VERSIONS; v++)
        for (enum doing doing = READING; doing < DOINGS; doing++) {
            struct end e;
            struct tls_peer p;
            stand(&e, &p, true, peer_versions[v]);
            struct doer d = {&e, doing};
            double before = coil_loop_time(NULL);
            coil_task *ours = coil_create_task(be_doing, &d);
            must(coil_sleep(1));
            assert_false(coil_future_done(ours));
            tls_peer_reset(&p);
            coil_ret rc = coil_join(ours);
            if (rc != -ECONNRESET && rc != -EPIPE)
                fail_msg("%d: %s", (int)doing, coil_errname(rc));
            assert_true(coil_loop_time(NULL) - before < 5);
            end_close(&e);
        }
}

/* ---- the stream is spoiled ---- */

COIL_TEST(a_spoiled_record_ends_the_connection_after_what_came_before)
{
    for (int v = 0; v < VERSIONS; v++) {
        unsigned char record[256];
        for (size_t at = 0; at < 40; at += 3) {
            struct end e;
            struct tls_peer p;
            char text[32];
            stand(&e, &p, true, peer_versions[v]);
            assert_int_equal(tls_peer_write(&p, "sound", 5), 5);
            assert_int_equal(SSL_write(p.ssl, "what is to be spoiled", 21), 21);
            size_t n = tls_peer_take(&p, record, sizeof record);
            assert_true(n >= 40);
            record[at] ^= 0x40;
            wire_send(p.sock, record, n);
            must(coil_sock_shutdown(p.sock, SHUT_WR)); /* a length that lies waits for more */
            assert_int_equal(must(end_read(&e, text, sizeof text)), 5);
            coil_ret rc = end_read(&e, text, sizeof text);
            if (rc != COIL_ETLS && rc != COIL_ETLSEOF)
                fail_msg("byte %zu: %s", at, coil_errname(rc));
            if (at > 4)
                expect_words(&e, "bad record mac");
            end_close(&e);
            tls_peer_close(&p);
        }
    }
}

COIL_TEST(a_record_that_is_too_long_is_refused_before_it_is_read)
{
    static unsigned char record[5 + 0xffff] = {0x17, 3, 3, 0xff, 0xff};
    for (int v = 0; v < VERSIONS; v++) {
        struct end e;
        struct tls_peer p;
        char byte;
        stand(&e, &p, true, peer_versions[v]);
        wire_send(p.sock, record, 5);
        assert_int_equal(end_read(&e, &byte, 1), COIL_ETLS);
        expect_words(&e, "too long");
        end_close(&e);
        tls_peer_close(&p);
    }
}

/* ---- what nobody speaks any more ---- */

COIL_TEST(old_versions_are_refused_by_name)
{
    static const int old[] = {TLS1_VERSION, TLS1_1_VERSION};
    for (size_t i = 0; i < 2; i++)
        for (int is_server = 0; is_server < 2; is_server++) {
            struct end e;
            struct tls_peer p;
            coil_sock *peer = end_open(&e, is_server);
            tls_peer_open_with(&p, peer, is_server ? TLS_PEER_CLIENT : TLS_PEER_SERVER,
                               is_server ? NULL : "good", old[i], NULL);
            coil_task *ours = coil_create_task(end_start_tls, &e);
            assert_int_equal(tls_peer_handshake(&p), -1);
            assert_int_equal(coil_join(ours), COIL_ETLS);
            expect_words(&e, is_server ? "unsupported protocol" : "protocol version");
            end_close(&e);
            tls_peer_close(&p);
        }
}

COIL_TEST(nothing_is_compressed_and_no_early_data_is_asked_for)
{
    for (int v = 0; v < VERSIONS; v++) {
        struct end e;
        struct tls_peer p;
        stand(&e, &p, true, peer_versions[v]);
        assert_null(SSL_get_current_compression(p.ssl));
        must(coil_writer_write(e.w, "x", 1));
        char byte;
        assert_int_equal(tls_peer_read(&p, &byte, 1), 1); /* tickets came before it */
        assert_int_equal(SSL_SESSION_get_max_early_data(SSL_get_session(p.ssl)), 0);
        tls_peer_say_end(&p);
        end_close(&e);
        tls_peer_close(&p);
    }
}

/* ---- floods ---- */

/* A client asks for another handshake: refused, and it is the client that gives up. What came before is delivered. */
COIL_TEST(a_client_that_renegotiates_is_refused)
{
    struct end e;
    struct tls_peer p;
    char text[32];
    stand(&e, &p, true, TLS1_2_VERSION);
    assert_int_equal(tls_peer_write(&p, "before", 6), 6);
    assert_int_equal(SSL_renegotiate(p.ssl), 1);
    SSL_do_handshake(p.ssl);
    assert_true(tls_peer_flush(&p));
    assert_int_equal(must(end_read(&e, text, sizeof text)), 6);
    /* Nothing of a second handshake comes, only a warning. */
    assert_true(tls_peer_handshake(&p) < 0);
    assert_non_null(strstr(p.error, "no renegotiation"));
    end_close(&e);
    tls_peer_close(&p);
}

static coil_ret read_to_the_end(void *arg)
{
    struct end *e = arg;
    char bytes[4096];
    coil_ret rc, sum = 0;
    while ((rc = end_read(e, bytes, sizeof bytes)) > 0)
        sum += rc;
    return rc < 0 ? rc : sum;
}

enum { FLOOD = 20000 }; /* each is answered with some 30 bytes: more than narrow buffers hold */

/* What the peer asks for, again and again; false: it cannot. */
typedef bool (*ask_fn)(struct tls_peer *p);

static bool ask_for_another_handshake(struct tls_peer *p)
{
    return SSL_renegotiate(p->ssl) == 1 && SSL_do_handshake(p->ssl) == 1;
}

static bool ask_for_new_keys(struct tls_peer *p)
{
    return SSL_key_update(p->ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(p->ssl) == 1;
}

static bool take_new_keys(struct tls_peer *p)
{
    return SSL_key_update(p->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
           SSL_do_handshake(p->ssl) == 1;
}

/* Ask `n` times, and read no answer to it. How many of the requests were taken. */
static int flood(struct tls_peer *p, ask_fn ask, int n, const coil_task *reading)
{
    for (int i = 0; i < n; i++) {
        assert_true(ask(p));
        if (i % 64 != 63 && i + 1 < n)
            continue;
        coil_timeout(tm, 5);
        bool taken = tls_peer_flush(p);
        if (coil_timeout_exit(&tm, taken ? 0 : p->failed) < 0 || coil_future_done(reading))
            return i;
    }
    return n;
}

/* Who asks without end and reads no answer is told to go, before the answers fill our memory. */
static void flood_is_refused(bool is_server, int version, ask_fn ask)
{
    struct end e;
    struct tls_peer p;
    stand(&e, &p, is_server, version);
    wire_narrow(coil_writer_sock(e.w));
    coil_task *reading = coil_create_task(read_to_the_end, &e);
    must(coil_sleep(0.01));
    int64_t before = heap_bytes();
    flood(&p, ask, FLOOD, reading);
    must(coil_sleep(2)); /* what the kernel holds of it is read as well */
    expect_grown_at_most(before, 512 * 1024, 1);
    if (!coil_future_done(reading))
        fail_msg("all of the flood was taken");
    tls_peer_close(&p);
    assert_int_equal(coil_join(reading), COIL_ETLS);
    expect_words(&e, "does not read the answers");
    end_close(&e);
}

COIL_TEST(a_server_that_asks_to_renegotiate_without_end_is_left)
{
    flood_is_refused(false, TLS1_2_VERSION, ask_for_another_handshake);
}

COIL_TEST(key_updates_without_end_whose_answers_are_not_read_are_refused)
{
    flood_is_refused(true, TLS1_3_VERSION, ask_for_new_keys);
    flood_is_refused(false, TLS1_3_VERSION, ask_for_new_keys);
}

/* Many and no more than that: they are followed, whoever sends. */
COIL_TEST(many_key_updates_are_followed)
{
    for (int is_server = 0; is_server < 2; is_server++)
        for (int asks = 0; asks < 2; asks++) {
            struct end e;
            struct tls_peer p;
            char byte;
            stand(&e, &p, is_server, TLS1_3_VERSION);
            coil_task *reading = coil_create_task(read_to_the_end, &e);
            int64_t before = heap_bytes();
            for (int i = 0; i < 20; i++) {
                assert_int_equal(flood(&p, asks ? ask_for_new_keys : take_new_keys, 50, reading),
                                 50);
                assert_int_equal(tls_peer_write(&p, "x", 1), 1);
                must(coil_writer_write(e.w, "y", 1));
                assert_int_equal(tls_peer_read(&p, &byte, 1), 1); /* behind all the answers */
                assert_int_equal(byte, 'y');
            }
            expect_grown_at_most(before, 512 * 1024, 1);
            tls_peer_say_end(&p);
            assert_int_equal(must(coil_join(reading)), 20);
            end_close(&e);
            tls_peer_close(&p);
        }
}

/* We take new keys ourselves, again and again; the peer follows. */
COIL_TEST(keys_are_renewed_from_our_side_too)
{
    struct end e;
    struct tls_peer p;
    char byte;
    stand(&e, &p, true, TLS1_3_VERSION);
    for (int i = 0; i < 100; i++) {
        must(coil_tls_key_update(coil_writer_tls(e.w)));
        must(coil_writer_write(e.w, "y", 1));
        assert_int_equal(tls_peer_read(&p, &byte, 1), 1);
        assert_int_equal(tls_peer_write(&p, "x", 1), 1);
        assert_int_equal(must(end_read(&e, &byte, 1)), 1);
    }
    tls_peer_say_end(&p);
    end_close(&e);
    tls_peer_close(&p);
    stand(&e, &p, true, TLS1_2_VERSION);
    assert_int_equal(coil_tls_key_update(coil_writer_tls(e.w)), COIL_EINVALIDSTATE);
    tls_peer_say_end(&p);
    end_close(&e);
    tls_peer_close(&p);
}

/* Data without end, and nobody reads it here: what TLS has decrypted ahead is bounded. */
static coil_ret pour(void *arg)
{
    struct tls_peer *p = arg;
    static const char much[16384];
    for (int i = 0; i < 4096; i++)
        if (tls_peer_write(p, much, sizeof much) < 0)
            return i;
    return 4096;
}

COIL_TEST(data_that_nobody_reads_stops_its_sender)
{
    for (int v = 0; v < VERSIONS; v++) {
        struct end e;
        struct tls_peer p;
        stand(&e, &p, true, peer_versions[v]);
        int64_t before = heap_bytes();
        coil_task *pouring = coil_create_task(pour, &p);
        must(coil_sleep(10));
        assert_false(coil_future_done(pouring));
        expect_grown_at_most(before, 1024 * 1024, 1);
        coil_writer_abort(e.w);
        assert_true(coil_join(pouring) < 4096);
        end_close(&e);
        tls_peer_close(&p);
    }
}

/* ---- the end that never comes ---- */

COIL_TEST(a_peer_that_never_answers_our_close_is_left_after_its_time)
{
    for (int v = 0; v < VERSIONS; v++) {
        struct end e;
        struct tls_peer p;
        stand(&e, &p, true, peer_versions[v]);
        double before = coil_loop_time(NULL);
        must(coil_writer_write(e.w, "bye", 3));
        coil_writer_close(e.w);
        coil_ignore(coil_writer_wait_closed(e.w));
        double took = coil_loop_time(NULL) - before;
        if (took < 29 || took > 31)
            fail_msg("after %g s", took);
        char text[8];
        assert_int_equal(tls_peer_read(&p, text, sizeof text), 3); /* it had been sent */
        assert_int_equal(tls_peer_read(&p, text, sizeof text), 0);
        end_close(&e);
        tls_peer_close(&p);
    }
}

/* It goes on sending instead of saying its end. */
COIL_TEST(a_peer_that_pours_into_our_close_is_left_in_little_memory)
{
    struct end e;
    struct tls_peer p;
    stand(&e, &p, true, TLS1_3_VERSION);
    int64_t before = heap_bytes();
    coil_task *pouring = coil_create_task(pour, &p);
    must(coil_sleep(0.01));
    double began = coil_loop_time(NULL);
    coil_writer_close(e.w);
    coil_ignore(coil_writer_wait_closed(e.w));
    assert_true(coil_loop_time(NULL) - began < 31);
    expect_grown_at_most(before, 1024 * 1024, 1);
    coil_ignore(coil_join(pouring));
    end_close(&e);
    tls_peer_close(&p);
}

COIL_TEST_MAIN()
