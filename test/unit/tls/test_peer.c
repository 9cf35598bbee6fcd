/* SPDX-License-Identifier: MIT
 *
 * test_peer.c: peers that do what coil never would. */
#include "hand.h"

#include <openssl/err.h>

/* What a server's function returns where its peer misbehaves: words of TLS. */
static char heard[160];
static coil_event hearing;
static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    if (context->code != COIL_ETLS)
        fail_msg("%s", context->message);
    snprintf(heard, sizeof heard, "%s", context->error->message);
    coil_event_set(&hearing);
}

COIL_TEST(layer_by_hand_is_a_good_peer)
{
    struct stage s = {0};
    struct hand h;
    char buf[64];
    set_stage(&s, echo, NULL);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    hand_say(&h, "hello");
    assert_int_equal(hand_read(&h, buf, sizeof buf), 5);
    assert_int_equal(h.tls->cls->finish(h.tls), 0);
    assert_int_equal(hand_flush(&h), 0);
    assert_int_equal(hand_read(&h, buf, sizeof buf), 0); /* its close_notify */
    hand_close(&h);
    strike_stage(&s);
}

/* ---- the end ---- */

static coil_ret pour(coil_reader *r, coil_writer *w, void *arg)
{
    static char block[100000];
    char byte;
    (void)arg;
    coil_ret rc = coil_reader_read(r, &byte, 1);
    for (int i = 0; rc >= 0 && i < 30; i++)
        rc = coil_writer_write(w, block, sizeof block);
    return rc < 0 ? rc : 0;
}

/* test_ssl::TestSSL::test_remote_shutdown_receives_trailing_data: the peer says its end while much is under way to it,
 * and gets all of that. */
COIL_TEST(test_remote_shutdown_receives_trailing_data)
{
    struct stage s = {0};
    struct hand h;
    static char buf[65536];
    size_t got = 0;
    coil_ret n;
    set_stage(&s, pour, NULL);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    hand_say(&h, "!");
    assert_true(hand_read(&h, buf, 1) == 1);
    got++;
    assert_int_equal(h.tls->cls->finish(h.tls), 0);
    assert_int_equal(hand_flush(&h), 0);
    while ((n = hand_read(&h, buf, sizeof buf)) > 0)
        got += (size_t)n;
    assert_int_equal(n, 0);
    assert_int_equal(got, 3000000);
    hand_close(&h);
    strike_stage(&s);
}

/* A peer that goes on sending for ever after it was told the end does not keep us. */
static coil_ret close_at_once(coil_reader *r, coil_writer *w, void *arg)
{
    char byte;
    (void)arg;
    coil_ret rc = coil_reader_read(r, &byte, 1);
    coil_writer_close(w);
    return rc < 0 ? rc : 0;
}

COIL_TEST(peer_that_sends_on_after_our_end_is_cut_off)
{
    struct stage s = {0};
    struct hand h;
    static char block[16000];
    size_t sent = 0;
    set_stage(&s, close_at_once, NULL);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    while (coil_server_connections(s.server) > 0) {
        if (h.tls->cls->encrypt(h.tls, block, sizeof block) < 0 || hand_flush(&h) < 0)
            break;
        coil_ignore(coil_writer_drain(h.w));
        assert_int_equal(coil_sleep(0), 0);
        sent += sizeof block;
        assert_true(sent < 64u << 20);
    }
    hand_close(&h);
    strike_stage(&s);
}

/* ---- sessions ---- */

static coil_ret greet(coil_reader *r, coil_writer *w, void *unused)
{
    (void)r, (void)unused;
    return coil_writer_write(w, "let in", 6);
}

/* With this session, or none. Keeps the new one. */
static bool is_let_in(const struct stage *s, const char *name, SSL_SESSION **session, bool *reused)
{
    struct hand h;
    char buf[64];
    hand_open_to(&h, s, name);
    if (*session)
        assert_int_equal(SSL_set_session(ssl_of(&h), *session), 1);
    bool in = hand_shake(&h) == 1 && hand_read(&h, buf, sizeof buf) == 6;
    *reused = in && SSL_session_reused(ssl_of(&h));
    if (in && !*session)
        *session = SSL_get1_session(ssl_of(&h));
    SSL_shutdown(ssl_of(&h)); /* else the session counts as broken */
    hand_close(&h);
    return in;
}

/* What one name asks of its clients cannot be got round by a session of another name. */
COIL_TEST(session_of_one_name_is_none_at_another)
{
    struct identity *strict = issue(test_ca(),
                                    &(struct wish){.name = "strict", .sans = "DNS:strict.org"});
    for (int version = COIL_TLS_1_2; version <= COIL_TLS_1_3; version++) {
        coil_tls_context *strict_tls = server_context(strict);
        struct stage s = {.server_tls = server_context(NULL),
                          .client_tls = client_context(COIL_TLS_INSECURE_NO_HOSTNAME)};
        SSL_SESSION *session = NULL;
        bool reused;
        trust(strict_tls, test_ca());
        assert_int_equal(coil_tls_context_set_clients(strict_tls, COIL_TLS_CLIENTS_REQUIRED), 0);
        assert_int_equal(coil_tls_context_set_versions(s.client_tls, version, version), 0);
        assert_int_equal(coil_tls_context_add_server_name(s.server_tls, "strict.org", strict_tls),
                         0);
        set_stage(&s, greet, NULL);
        assert_true(is_let_in(&s, "localhost", &session, &reused));
        assert_true(is_let_in(&s, "localhost", &session, &reused));
        assert_true(reused); /* it is a good one */
        assert_false(is_let_in(&s, "strict.org", &session, &reused));
        SSL_SESSION_free(session);
        strike_stage(&s);
        coil_tls_context_unref(strict_tls);
    }
}

/* ---- a ClientHello that comes twice ---- */

struct asked {
    int calls;
    char name[64];
    coil_tls_context *open, *strict;
};

static coil_ret choose(const char *name, coil_tls_context **out_context, void *arg)
{
    struct asked *asked = arg;
    asked->calls++;
    *out_context = name && strcmp(name, "strict.org") == 0 ? asked->strict : asked->open;
    return 0;
}

static coil_ret note_name(coil_reader *r, coil_writer *w, void *arg)
{
    struct asked *asked = arg;
    const char *name = coil_tls_server_name(coil_writer_tls(w));
    (void)r;
    snprintf(asked->name, sizeof asked->name, "%s", name ? name : "");
    return coil_writer_write(w, "let in", 6);
}

/* The server wants the hello once more; what is asked for then is another name. */
static void rename_itself(int writing, int version, int type, const void *p, size_t n, SSL *ssl,
                          void *name)
{
    (void)version;
    if (!writing && type == SSL3_RT_HANDSHAKE && n > 0 &&
        *(const unsigned char *)p == SSL3_MT_SERVER_HELLO)
        SSL_set_tlsext_host_name(ssl, name);
}

/* A client that asks for one name, and when it is told to say its hello again for another, is served with what the
 * first one asks of clients and called by the second. No name is one of them. */
COIL_TEST(name_asked_for_does_not_change_in_a_second_hello)
{
    static char strict_org[] = "strict.org", open_org[] = "open.org";
    static const struct {
        const char *first;
        char *second;
        bool in;
    } hellos[] = {{open_org, open_org, true},
                  {open_org, strict_org, false},
                  {NULL, NULL, true},
                  {NULL, strict_org, false},
                  {open_org, NULL, false}};
    for (size_t i = 0; i < sizeof hellos / sizeof *hellos; i++) {
        struct asked asked = {.open = server_context(NULL), .strict = server_context(NULL)};
        struct stage s = {.server_tls = server_context(NULL),
                          .client_tls = client_context(COIL_TLS_INSECURE_NO_HOSTNAME)};
        struct hand h;
        char buf[16];
        trust(asked.strict, test_ca());
        assert_int_equal(coil_tls_context_set_clients(asked.strict, COIL_TLS_CLIENTS_REQUIRED), 0);
        assert_int_equal(coil_tls_context_set_sni_callback(s.server_tls, choose, &asked), 0);
        assert_int_equal(coil_tls_context_set_sni_callback(asked.open, choose, &asked), 0);
        char groups[] = "P-521";
        assert_int_equal(SSL_CTX_set1_groups_list(context_of(s.server_tls)->ctx, groups), 1);
        set_stage(&s, note_name, &asked);
        hand_open_to(&h, &s, hellos[i].first);
        SSL_set_msg_callback(ssl_of(&h), rename_itself);
        SSL_set_msg_callback_arg(ssl_of(&h), hellos[i].second);
        bool in = hand_shake(&h) == 1 && hand_read(&h, buf, sizeof buf) == 6;
        hand_close(&h);
        strike_stage(&s);
        assert_int_equal(in, hellos[i].in);
        assert_string_equal(asked.name, in && hellos[i].first ? hellos[i].first : "");
        assert_int_equal(asked.calls, 1);
        coil_tls_context_unref(asked.open);
        coil_tls_context_unref(asked.strict);
    }
}

/* ---- a ClientHello made by hand ---- */

enum { PROTOCOLS_SIZE = 404 }; /* of the extension in which the client lists its two */

/* Where this client lists its protocols, it asks for a name now: these bytes, and something unknown behind them. */
static void ask_instead(unsigned char *hello, size_t n, const char *bytes, size_t bytes_n)
{
    static const unsigned char listed[] = {0, 16, PROTOCOLS_SIZE >> 8, PROTOCOLS_SIZE & 255};
    unsigned char *p = memmem(hello, n, listed, sizeof listed);
    size_t left = PROTOCOLS_SIZE - bytes_n - 4;
    assert_non_null(p);
    memcpy(p, (unsigned char[]){0, 0, (unsigned char)(bytes_n >> 8), (unsigned char)bytes_n}, 4);
    memcpy(p + 4, bytes, bytes_n);
    p += 4 + bytes_n;
    memcpy(p, (unsigned char[]){0xfa, 0xfa, (unsigned char)(left >> 8), (unsigned char)left}, 4);
}

/* The first bytes of what the server answers to such a hello. */
static void answer_to(const struct stage *s, const char *bytes, size_t bytes_n,
                      unsigned char out[7])
{
    struct hand h;
    const void *p;
    unsigned char hello[4096];
    hand_open_to(&h, s, NULL);
    assert_int_equal(h.tls->cls->handshake(h.tls), 0);
    size_t n = h.tls->cls->output(h.tls, &p);
    assert_true(n <= sizeof hello);
    memcpy(hello, p, n);
    ask_instead(hello, n, bytes, bytes_n);
    assert_int_equal(coil_writer_write(h.w, hello, n), 0);
    assert_int_equal(coil_reader_readexactly(h.r, out, 7, NULL), 7);
    hand_close(&h);
}

COIL_TEST(server_name_that_is_nonsense_is_a_decode_error)
{
#define BYTES(text) text, sizeof(text) - 1
    static char long_name[305] = {1, 47, 0, 1, 44}; /* of 300 bytes: more than any name has */
    static char name[201];
    memset(name, 'x', sizeof name - 1);
    memset(long_name + 5, 'x', sizeof long_name - 5);
    const struct {
        const char *bytes;
        size_t n;
    } nonsense[] = {{BYTES("\0\2\0\0")},       /* no room for a length */
                    {BYTES("\0\6\0\0\2ab")},   /* the list is said to be longer */
                    {BYTES("\0\5\1\0\2ab")},   /* a name of another type */
                    {BYTES("\0\5\0\0\3ab")},   /* the name is said to be longer */
                    {BYTES("\0\3\0\0\0")},     /* a name of no bytes */
                    {BYTES("\0\6\0\0\3a\0b")}, /* two names, for whoever reads to the NUL */
                    {long_name, sizeof long_name}};
#undef BYTES
    const char *protocols[] = {name, name};
    struct stage s = {.client_tls = client_context(COIL_TLS_INSECURE_NO_HOSTNAME)};
    unsigned char answer[7];
    assert_int_equal(coil_tls_context_set_alpn_protocols(s.client_tls, protocols, 2), 0);
    set_stage(&s, echo, NULL);
    answer_to(&s, "\0\5\0\0\2ab", 7, answer);
    assert_int_equal(answer[0], SSL3_RT_HANDSHAKE); /* a name that is none of these is heard */
    assert_int_equal(answer[5], SSL3_MT_SERVER_HELLO);
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        answer_to(&s, nonsense[i].bytes, nonsense[i].n, answer);
        assert_int_equal(answer[0], SSL3_RT_ALERT);
        assert_int_equal(answer[5], SSL3_AL_FATAL);
        assert_int_equal(answer[6], SSL_AD_DECODE_ERROR);
    }
    strike_stage(&s);
}

/* ---- before the handshake ---- */

COIL_TEST(nothing_is_agreed_upon_before_the_handshake)
{
    struct stage s = {0};
    struct hand h;
    const void *der;
    size_t n;
    set_stage(&s, echo, NULL);
    hand_open(&h, &s);
    assert_null(coil_tls_cipher(h.tls));
    assert_null(coil_tls_alpn(h.tls));
    assert_null(coil_tls_peer_name(h.tls));
    assert_int_equal(coil_tls_peer_certificate(h.tls, 0, &der, &n), -ENOENT);
    assert_int_equal(coil_tls_key_update(h.tls), COIL_EINVALIDSTATE);
    assert_int_equal(hand_shake(&h), 1);
    assert_non_null(coil_tls_cipher(h.tls));
    assert_string_equal(coil_tls_peer_name(h.tls), "CN=localhost");
    hand_close(&h);
    strike_stage(&s);
}

/* ---- renegotiation, keys ---- */

COIL_TEST(renegotiation_is_refused)
{
    struct stage s = {.client_tls = client_context(0)};
    struct hand h;
    char buf[64];
    coil_ret rc = 0;
    assert_int_equal(coil_tls_context_set_versions(s.client_tls, 0, COIL_TLS_1_2), 0);
    coil_loop_set_exception_handler(NULL, hear, NULL);
    set_stage(&s, echo, NULL);
    hand_open(&h, &s);
    SSL_clear_options(ssl_of(&h), SSL_OP_NO_RENEGOTIATION);
    assert_int_equal(hand_shake(&h), 1);
    hand_say(&h, "hello");
    assert_int_equal(hand_read(&h, buf, sizeof buf), 5);
    /* Asked for again and again: none is granted. */
    for (int i = 0; i < 100 && rc >= 0; i++) {
        ERR_clear_error();
        SSL_renegotiate(ssl_of(&h));
        rc = hand_shake(&h);
    }
    assert_true(rc < 0);
    assert_non_null(strstr(coil_last_error()->message, "no renegotiation"));
    hand_close(&h);
    one_echo(&s);
    strike_stage(&s);
}

/* The kernel shall not hold much for us. */
static coil_ret echo_by_little(coil_reader *r, coil_writer *w, void *arg)
{
    int little = 4096;
    assert_int_equal(
        coil_sock_setsockopt(coil_writer_sock(w), SOL_SOCKET, SO_SNDBUF, &little, sizeof little),
        0);
    return echo(r, w, arg);
}

static void hand_open_little(struct hand *h, const struct stage *s)
{
    int little = 4096;
    coil_sock *sock;
    coil_address to;
    assert_int_equal(coil_server_sockname(s->server, 0, &to), 0);
    assert_int_equal(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock), 0);
    assert_int_equal(coil_sock_setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &little, sizeof little), 0);
    assert_int_equal(coil_sock_connect(sock, &to), 0);
    assert_int_equal(coil_open_connection_sock(sock, 0, &h->r, &h->w), 0);
    assert_int_equal(s->client_tls->cls->open(s->client_tls, "localhost", &h->tls), 0);
}

/* Each asks for an answer; none is read. */
COIL_TEST(flood_of_key_updates_makes_no_heap_of_answers)
{
    struct stage s = {.opts = {.tls_shutdown_timeout = 1}};
    struct hand h;
    hearing = (coil_event){0};
    coil_loop_set_exception_handler(NULL, hear, NULL);
    set_stage(&s, echo_by_little, NULL);
    hand_open_little(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    hand_say(&h, "!");
    for (int i = 0; i < 20000; i++) {
        if (SSL_key_update(ssl_of(&h), SSL_KEY_UPDATE_REQUESTED) != 1)
            break;
        h.tls->cls->encrypt(h.tls, "x", 1);
        if (i % 100 == 0 && (hand_flush(&h) < 0 || coil_writer_drain(h.w) < 0))
            break;
    }
    assert_int_equal(coil_event_wait(&hearing), 0);
    hand_close(&h);
    assert_non_null(strstr(heard, "makes us answer and does not read"));
    s.opts.tls_shutdown_timeout = 0;
    one_echo(&s);
    strike_stage(&s);
}

/* ---- nonsense ---- */

static coil_ret remember_end(coil_reader *r, coil_writer *w, void *arg)
{
    char buf[100];
    coil_ret n;
    (void)w;
    while ((n = coil_reader_read(r, buf, sizeof buf)) > 0)
        ;
    *(coil_ret *)arg = n;
    return 0;
}

COIL_TEST(record_that_was_tampered_with_ends_the_connection)
{
    struct stage s = {0};
    struct hand h;
    coil_ret end = 1;
    const void *p;
    char copy[4096], buf[64];
    set_stage(&s, remember_end, &end);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    assert_int_equal(h.tls->cls->encrypt(h.tls, "hello", 5), 0);
    size_t n = h.tls->cls->output(h.tls, &p);
    memcpy(copy, p, n);
    copy[n - 1] ^= 1;
    h.tls->cls->taken(h.tls);
    assert_int_equal(coil_writer_write(h.w, copy, n), 0);
    assert_true(hand_read(&h, buf, sizeof buf) < 0); /* an alert */
    assert_non_null(strstr(coil_last_error()->message, "bad record mac"));
    hand_close(&h);
    strike_stage(&s);
    assert_int_equal(end, COIL_ETLS);
}

/* An error that one connection left in OpenSSL's queue is not taken for another's. */
COIL_TEST(error_of_one_connection_is_not_anothers)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    for (int i = 0; i < 3; i++) {
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
        speaks(r, w, "hello");
    }
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    one_echo(&s);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

/* The first k bytes of a client, and then nothing, or its end. */
COIL_TEST(client_that_breaks_off_at_any_byte_leaves_nothing)
{
    struct stage s = {.opts = {.tls_handshake_timeout = 1}};
    coil_tls *tls;
    const void *p;
    set_stage(&s, echo, NULL);
    assert_int_equal(s.client_tls->cls->open(s.client_tls, "localhost", &tls), 0);
    assert_int_equal(tls->cls->handshake(tls), 0);
    size_t n = tls->cls->output(tls, &p);
    assert_true(n > 100);
    for (size_t k = 0; k < n; k += 1 + k / 8) {
        coil_reader *r;
        coil_writer *w;
        char byte;
        assert_int_equal(coil_open_connection("127.0.0.1", s.port, &r, &w), 0);
        assert_int_equal(coil_writer_write(w, p, k), 0);
        if (k % 2)
            assert_int_equal(coil_writer_write_eof(w), 0);
        while (coil_reader_read(r, &byte, 1) > 0)
            ;
        coil_writer_abort(w);
        coil_ignore(coil_writer_finish(w));
    }
    tls->cls->free(tls);
    one_echo(&s);
    strike_stage(&s);
}

COIL_TEST(noise_is_refused)
{
    struct stage s = {.opts = {.tls_handshake_timeout = 1}};
    uint64_t state = 88172645463325252u;
    set_stage(&s, echo, NULL);
    for (int i = 0; i < 100; i++) {
        coil_reader *r;
        coil_writer *w;
        char noise[700], byte;
        for (size_t k = 0; k < sizeof noise; k++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise[k] = (char)state;
        }
        if (i % 3)
            memcpy(noise, "\x16\x03\x01\x02\x50", 5); /* at least it looks like a record */
        if (i % 3 == 2)
            memcpy(noise + 5, "\x01\x00\x02\x4c\x03\x03", 6); /* and like a ClientHello */
        assert_int_equal(coil_open_connection("127.0.0.1", s.port, &r, &w), 0);
        assert_int_equal(coil_writer_write(w, noise, sizeof noise), 0);
        while (coil_reader_read(r, &byte, 1) > 0)
            ;
        coil_writer_abort(w);
        coil_ignore(coil_writer_finish(w));
    }
    one_echo(&s);
    strike_stage(&s);
}

COIL_TEST_MAIN()
