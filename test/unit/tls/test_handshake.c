/* SPDX-License-Identifier: MIT
 *
 * test_handshake.c: who is let in, and what is said to who is not. */
#include "stage.h"

/* ---- certificates ---- */

static coil_ret nobody(coil_reader *r, coil_writer *w, void *unused)
{
    (void)r, (void)w, (void)unused;
    fail_msg("a client came through");
    return 0;
}

/* The server shows this certificate; its clients, who expect `name`, must refuse it. */
static void not_believed(const struct identity *id, const char *name, const char *words)
{
    struct stage s = {.server_tls = server_context(id), .server_hostname = name};
    set_stage(&s, nobody, NULL);
    refused(&s, COIL_ETLSCERT, words);
    strike_stage(&s);
}

static void believed(const struct identity *id, const char *name)
{
    struct stage s = {.server_tls = server_context(id), .server_hostname = name};
    set_stage(&s, echo, NULL);
    one_echo(&s);
    strike_stage(&s);
}

COIL_TEST(certificate_of_another_host_is_refused)
{
    not_believed(test_server(), "example.org", "it is not for example.org, the name expected");
    not_believed(test_server(), "127.0.0.2", "it is not for 127.0.0.2");
}

COIL_TEST(certificate_names_are_compared_as_they_should_be)
{
    struct identity *id = issue(
        test_ca(),
        &(struct wish){
            .sans = "DNS:*.example.org,DNS:Host.Example.COM,IP:::1,DNS:*.tld,DNS:f*.bar.org",
            .name = "common.example.net"});
    believed(id, "a.example.org");
    believed(id, "A.Example.Org");
    believed(id, "a.example.org."); /* the same name */
    believed(id, "host.example.com");
    believed(id, "::1");
    not_believed(id, "a.b.example.org", "it is not for");
    not_believed(id, "example.org", "it is not for");
    not_believed(id, "www.tld", "it is not for");
    not_believed(id, "foo.bar.org", "it is not for");
    not_believed(id, "common.example.net", "it is not for");
    not_believed(issue(test_ca(), &(struct wish){.name = "localhost", .sans = "-"}), "localhost",
                 "it is not for");
    /* An address is none of the names. */
    not_believed(issue(test_ca(), &(struct wish){.sans = "DNS:127.0.0.1"}), "127.0.0.1",
                 "it is not for");
}

COIL_TEST(certificate_out_of_its_time_is_refused)
{
    not_believed(issue(test_ca(), &(struct wish){.from = -7200, .to = -3600}), NULL, "expired");
    not_believed(issue(test_ca(), &(struct wish){.from = 3600}), NULL, "not yet valid");
}

COIL_TEST(certificate_of_nobody_we_trust_is_refused)
{
    struct identity *other = issue(NULL, &(struct wish){.name = "Other CA"});
    not_believed(issue(other, &(struct wish){0}), NULL, "load its CA");
    not_believed(issue(test_ca(), &(struct wish){.self_signed = true}), NULL, "self-signed");
}

COIL_TEST(certificate_signed_by_no_ca_is_refused)
{
    struct identity *leaf = issue(test_ca(), &(struct wish){.name = "no CA"});
    struct identity *below = issue(leaf, &(struct wish){0});
    size_t n = below->pem_n + leaf->pem_n;
    char *chain = calloc(1, n + 1);
    memcpy(chain, below->pem, below->pem_n);
    memcpy(chain + below->pem_n, leaf->pem, leaf->pem_n);
    struct identity both = {
        .pem = chain, .pem_n = n, .key_pem = below->key_pem, .key_pem_n = below->key_pem_n};
    not_believed(&both, NULL, "certificate verify failed");
    free(chain);
}

COIL_TEST(certificate_for_another_purpose_is_refused)
{
    not_believed(issue(test_ca(), &(struct wish){.eku = "clientAuth"}), NULL,
                 "certificate verify failed");
}

COIL_TEST(intermediate_that_is_missing_is_told)
{
    struct identity *middle = issue(test_ca(), &(struct wish){.name = "Middle", .ca = true});
    struct identity *leaf = issue(middle, &(struct wish){0});
    not_believed(leaf, NULL, "the peer lacks an intermediate");
    size_t n = leaf->pem_n + middle->pem_n;
    char *chain = calloc(1, n + 1);
    memcpy(chain, leaf->pem, leaf->pem_n);
    memcpy(chain + leaf->pem_n, middle->pem, middle->pem_n);
    struct identity whole = {
        .pem = chain, .pem_n = n, .key_pem = leaf->key_pem, .key_pem_n = leaf->key_pem_n};
    believed(&whole, NULL);
    free(chain);
}

COIL_TEST(careless_clients_say_so_by_name)
{
    struct stage any_name = {.client_tls = client_context(COIL_TLS_INSECURE_NO_HOSTNAME),
                             .server_hostname = "example.org"};
    set_stage(&any_name, echo, NULL);
    one_echo(&any_name);
    strike_stage(&any_name);

    struct identity *other = issue(NULL, &(struct wish){.name = "Other CA"});
    struct stage any_issuer = {.server_tls = server_context(issue(other, &(struct wish){0})),
                               .client_tls = client_context(COIL_TLS_INSECURE_NO_HOSTNAME)};
    set_stage(&any_issuer, nobody, NULL);
    refused(&any_issuer, COIL_ETLSCERT, "load its CA");
    coil_tls_context_unref(any_issuer.client_tls);
    any_issuer.client_tls = client_context(COIL_TLS_INSECURE_NO_VERIFY);
    assert_int_equal(coil_server_finish(any_issuer.server), 0);
    set_stage(&any_issuer, echo, NULL);
    one_echo(&any_issuer);
    strike_stage(&any_issuer);
}

COIL_TEST(peer_certificates_are_shown_as_they_were_checked)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    const void *der;
    size_t n;
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    coil_tls *tls = coil_writer_tls(w);
    unsigned char *expected = NULL;
    int expected_n = i2d_X509(test_server()->x, &expected);
    assert_int_equal(coil_tls_peer_certificate(tls, 0, &der, &n), 0);
    assert_int_equal(n, expected_n);
    assert_memory_equal(der, expected, n);
    OPENSSL_free(expected);
    expected = NULL;
    expected_n = i2d_X509(test_ca()->x, &expected);
    assert_int_equal(coil_tls_peer_certificate(tls, 1, &der, &n), 0);
    assert_int_equal(n, expected_n);
    assert_memory_equal(der, expected, n);
    OPENSSL_free(expected);
    assert_int_equal(coil_tls_peer_certificate(tls, 2, &der, &n), -ENOENT);
    assert_string_equal(coil_tls_peer_name(tls), "CN=localhost");
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

/* ---- certificates of clients ---- */

static coil_ret say_peer(coil_reader *r, coil_writer *w, void *unused)
{
    const char *name = coil_writer_get_extra_info(w, "peer_name");
    (void)r, (void)unused;
    if (!name)
        name = "nobody";
    return coil_writer_write(w, name, strlen(name));
}

static void hears(const struct stage *s, const char *text)
{
    coil_reader *r;
    coil_writer *w;
    const char *all;
    assert_int_equal(connect_to(s, &r, &w), 0);
    assert_int_equal(coil_reader_read_all(r, 100, &all, NULL), strlen(text));
    assert_string_equal(all, text);
    assert_int_equal(coil_writer_finish(w), 0);
}

COIL_TEST(client_certificates_are_checked_where_they_are_asked_for)
{
    struct identity *client = issue(test_ca(), &(struct wish){.name = "client"});
    struct identity *stranger = issue(issue(NULL, &(struct wish){.name = "Other CA"}),
                                      &(struct wish){.name = "stranger"});
    for (int version = COIL_TLS_1_2; version <= COIL_TLS_1_3; version++) {
        for (int clients = COIL_TLS_CLIENTS_NONE; clients <= COIL_TLS_CLIENTS_REQUIRED; clients++) {
            struct stage s = {.server_tls = server_context(NULL)};
            bool required = clients == COIL_TLS_CLIENTS_REQUIRED;
            trust(s.server_tls, test_ca());
            assert_int_equal(
                coil_tls_context_set_clients(s.server_tls, (enum coil_tls_clients)clients), 0);
            assert_int_equal(coil_tls_context_set_versions(s.server_tls, version, version), 0);
            set_stage(&s, say_peer, NULL);
            if (required)
                refused(&s, COIL_ETLS,
                        version == COIL_TLS_1_3 ? "certificate required" : "refused");
            else
                hears(&s, "nobody");
            be(s.client_tls, client);
            hears(&s, clients == COIL_TLS_CLIENTS_NONE ? "nobody" : "CN=client");
            be(s.client_tls, stranger);
            if (clients == COIL_TLS_CLIENTS_NONE)
                hears(&s, "nobody");
            else
                refused(&s, COIL_ETLS, "refused");
            strike_stage(&s);
        }
    }
}

/* ---- names and protocols ---- */

static coil_ret choose(const char *name, coil_tls_context **out, void *arg)
{
    if (name && strcmp(name, "forbidden.org") == 0)
        return -EACCES;
    if (name && strcmp(name, "by-callback.org") == 0)
        *out = arg;
    return 0;
}

static void shows(struct stage *s, const char *asked, const char *peer_name)
{
    coil_reader *r;
    coil_writer *w;
    s->server_hostname = asked;
    assert_int_equal(connect_to(s, &r, &w), 0);
    assert_string_equal(coil_tls_peer_name(coil_writer_tls(w)), peer_name);
    if (asked)
        assert_string_equal(coil_tls_server_name(coil_writer_tls(w)), asked);
    speaks(r, w, "hello");
    assert_int_equal(coil_writer_finish(w), 0);
}

COIL_TEST(server_of_several_names_shows_the_certificate_asked_for)
{
    struct identity *one = issue(test_ca(), &(struct wish){.name = "one", .sans = "DNS:one.org"});
    struct identity *two = issue(test_ca(), &(struct wish){.name = "two", .sans = "DNS:*.two.org"});
    struct identity *three = issue(test_ca(),
                                   &(struct wish){.name = "three", .sans = "DNS:by-callback.org"});
    coil_tls_context *one_tls = server_context(one), *two_tls = server_context(two),
                     *three_tls = server_context(three);
    struct stage s = {.server_tls = server_context(NULL)};
    assert_int_equal(coil_tls_context_add_server_name(s.server_tls, "one.org", one_tls), 0);
    assert_int_equal(coil_tls_context_add_server_name(s.server_tls, "*.two.org", two_tls), 0);
    assert_int_equal(coil_tls_context_set_sni_callback(s.server_tls, choose, three_tls), 0);
    set_stage(&s, echo, NULL);
    shows(&s, NULL, "CN=localhost"); /* an address: no name is asked for */
    shows(&s, "one.org", "CN=one");
    shows(&s, "ONE.org", "CN=one");
    shows(&s, "a.two.org", "CN=two");
    shows(&s, "by-callback.org", "CN=three");
    shows(&s, "localhost", "CN=localhost");
    s.server_hostname = "a.b.two.org";
    refused(&s, COIL_ETLSCERT, "it is not for a.b.two.org");
    s.server_hostname = "forbidden.org";
    refused(&s, COIL_ETLS, "unrecognized name");
    strike_stage(&s);
    coil_tls_context_unref(one_tls);
    coil_tls_context_unref(two_tls);
    coil_tls_context_unref(three_tls);
}

static const char *const http[] = {"h2", "http/1.1"};
static const char *const mail[] = {"smtp"};

COIL_TEST(alpn_is_agreed_on_or_refused)
{
    struct stage s = {.server_tls = server_context(NULL), .client_tls = client_context(0)};
    coil_reader *r;
    coil_writer *w;
    const char *const old[] = {"http/1.0", "http/1.1"};
    assert_int_equal(coil_tls_context_set_alpn_protocols(s.server_tls, http, 2), 0);
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0); /* a client that does not ask */
    assert_null(coil_tls_alpn(coil_writer_tls(w)));
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(coil_tls_context_set_alpn_protocols(s.client_tls, old, 2), 0);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_string_equal(coil_tls_alpn(coil_writer_tls(w)), "http/1.1");
    assert_string_equal(coil_writer_get_extra_info(w, "alpn"), "http/1.1");
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(coil_tls_context_set_alpn_protocols(s.client_tls, http, 2), 0);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_string_equal(coil_tls_alpn(coil_writer_tls(w)), "h2");
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(coil_tls_context_set_alpn_protocols(s.client_tls, mail, 1), 0);
    refused(&s, COIL_ETLS, "no application protocol");
    assert_int_equal(coil_tls_context_set_alpn_protocols(s.client_tls, NULL, 0), 0);
    one_echo(&s);
    strike_stage(&s);
}

COIL_TEST(versions_that_do_not_meet_are_told)
{
    struct stage s = {.server_tls = server_context(NULL), .client_tls = client_context(0)};
    assert_int_equal(coil_tls_context_set_versions(s.server_tls, COIL_TLS_1_3, 0), 0);
    assert_int_equal(coil_tls_context_set_versions(s.client_tls, 0, COIL_TLS_1_2), 0);
    set_stage(&s, nobody, NULL);
    refused(&s, COIL_ETLS, "protocol version");
    strike_stage(&s);
}

static coil_ret cause; /* of the last handshake that failed at the server */
static char words[200];

static coil_ret shake_by_hand(coil_reader *r, coil_writer *w, void *arg)
{
    (void)r;
    cause = coil_writer_start_tls(w, arg, NULL);
    snprintf(words, sizeof words, "%s", cause < 0 ? coil_last_error()->message : "");
    return 0;
}

COIL_TEST(server_without_a_cipher_for_its_client_says_so)
{
    struct stage s = {.server_tls = server_context(NULL), .client_tls = client_context(0)};
    coil_tls_context *strong = server_context(NULL);
    coil_start_tls_opts opts = {.size = sizeof opts, .server_hostname = "localhost"};
    coil_server *server;
    coil_reader *r;
    coil_writer *w;
    char port[8];
    assert_int_equal(coil_tls_context_set_versions(s.client_tls, 0, COIL_TLS_1_2), 0);
    assert_int_equal(coil_tls_context_set_ciphers(s.client_tls, "ECDHE-ECDSA-AES128-GCM-SHA256"),
                     0);
    assert_int_equal(coil_tls_context_set_ciphers(strong, "ECDHE-ECDSA-AES256-GCM-SHA384"), 0);
    assert_int_equal(coil_start_server(shake_by_hand, strong, "127.0.0.1", "0", &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(coil_open_connection("127.0.0.1", port, &r, &w), 0);
    assert_int_equal(coil_writer_start_tls(w, s.client_tls, &opts), COIL_ETLS);
    coil_ignore(coil_writer_finish(w));
    assert_int_equal(coil_server_finish(server), 0);
    assert_int_equal(cause, COIL_ETLS);
    assert_non_null(strstr(words, "no cipher suits both"));
    coil_tls_context_unref(strong);
    coil_tls_context_unref(s.server_tls);
    coil_tls_context_unref(s.client_tls);
}

/* ---- sessions ---- */

COIL_TEST(sessions_are_resumed_if_asked_for)
{
    for (int version = COIL_TLS_1_2; version <= COIL_TLS_1_3; version++) {
        struct stage s = {.client_tls = client_context(0)};
        coil_reader *r;
        coil_writer *w;
        assert_int_equal(coil_tls_context_set_versions(s.client_tls, version, version), 0);
        set_stage(&s, echo, NULL);
        for (int i = 0; i < 5; i++) {
            if (i == 2)
                assert_int_equal(coil_tls_context_set_sessions(s.client_tls, 8), 0);
            assert_int_equal(connect_to(&s, &r, &w), 0);
            speaks(r, w, "hello");
            assert_int_equal(coil_tls_session_reused(coil_writer_tls(w)), i > 2);
            assert_string_equal(coil_tls_peer_name(coil_writer_tls(w)), "CN=localhost");
            assert_int_equal(coil_writer_finish(w), 0);
        }
        strike_stage(&s);
    }
}

COIL_TEST(sessions_are_kept_for_so_many_names)
{
    struct identity *wide = issue(test_ca(), &(struct wish){.sans = "DNS:a,DNS:b,DNS:c"});
    struct stage s = {.server_tls = server_context(wide), .client_tls = client_context(0)};
    static const char *const names[] = {"a", "b", "c", "a", "c"};
    static const bool reused[] = {false, false, false, false, true};
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(coil_tls_context_set_sessions(s.client_tls, 2), 0);
    set_stage(&s, echo, NULL);
    for (int i = 0; i < 5; i++) {
        s.server_hostname = names[i];
        assert_int_equal(connect_to(&s, &r, &w), 0);
        speaks(r, w, "hello");
        assert_int_equal(coil_tls_session_reused(coil_writer_tls(w)), reused[i]);
        assert_int_equal(coil_writer_finish(w), 0);
    }
    strike_stage(&s);
}

COIL_TEST(sessions_beyond_a_smaller_number_are_forgotten_at_once)
{
    struct stage s = {.client_tls = client_context(0)};
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(coil_tls_context_set_sessions(s.client_tls, 2), 0);
    set_stage(&s, echo, NULL);
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            assert_int_equal(coil_tls_context_set_sessions(s.client_tls, 0), 0);
        assert_int_equal(connect_to(&s, &r, &w), 0);
        speaks(r, w, "hello");
        assert_int_equal(coil_tls_session_reused(coil_writer_tls(w)), i == 1);
        assert_int_equal(coil_writer_finish(w), 0);
    }
    strike_stage(&s);
}

/* ---- who is no TLS peer ---- */

static coil_ret talk_plain(coil_reader *r, coil_writer *w, void *arg)
{
    coil_ret rc = coil_writer_write(w, arg, strlen(arg));
    char byte;
    while (rc == 0 && coil_reader_read(r, &byte, 1) > 0)
        ;
    return rc;
}

COIL_TEST(tls_to_a_plain_server_is_told)
{
    static char banner[] = "220 mail.example.org ESMTP ready\r\n";
    coil_server *server;
    struct stage s = {.client_tls = client_context(0), .timeout = 5};
    assert_int_equal(coil_start_server(talk_plain, banner, "127.0.0.1", "0", &server), 0);
    snprintf(s.port, sizeof s.port, "%d", coil_server_port(server));
    refused(&s, COIL_ETLS, "the peer does not speak TLS");
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(s.client_tls);
}

struct heard {
    coil_ret code;
    char kind[24], message[80], words[160];
    int n;
};

static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    struct heard *h = arg;
    (void)loop;
    h->n++;
    h->code = context->code;
    snprintf(h->kind, sizeof h->kind, "%s", context->kind);
    snprintf(h->message, sizeof h->message, "%s", context->message);
    snprintf(h->words, sizeof h->words, "%s", context->error ? context->error->message : "");
}

static void send_plain(const struct stage *s, const char *text)
{
    coil_reader *r;
    coil_writer *w;
    char buf[64];
    assert_int_equal(coil_open_connection("127.0.0.1", s->port, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, text, strlen(text)), 0);
    while (coil_reader_read(r, buf, sizeof buf) > 0)
        ; /* an alert */
    coil_writer_abort(w);
    coil_ignore(coil_writer_finish(w));
}

static void plain_to_a_tls_server(void)
{
    struct stage s = {0};
    struct heard h = {0};
    coil_loop_set_exception_handler(NULL, hear, &h);
    set_stage(&s, nobody, NULL);
    send_plain(&s, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(h.code, COIL_ETLS);
    assert_string_equal(h.kind, "client-error");
    assert_string_equal(h.message, "TLS handshake with an incoming connection failed");
    assert_non_null(strstr(h.words, "speaks plain HTTP"));
    send_plain(&s, "EHLO example.org and so on and so forth\r\n");
    assert_non_null(strstr(h.words, "does not speak TLS"));
    assert_int_equal(h.n, 2);
    strike_stage(&s);
}

COIL_TEST_WITH(plain_bytes_to_a_tls_server_are_told_in_debug_mode, .debug = true,
               .virtual_time = true)
{
    plain_to_a_tls_server();
}

COIL_TEST(failed_handshakes_are_no_news_otherwise)
{
    struct stage s = {0};
    set_stage(&s, nobody, NULL);
    send_plain(&s, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(coil_server_connections(s.server), 0);
    strike_stage(&s);
}

/* ---- time ---- */

COIL_TEST(handshake_that_takes_too_long_is_given_up_by_the_client)
{
    coil_server *server;
    struct stage s = {.client_tls = client_context(0)};
    coil_reader *r;
    coil_writer *w;
    static char nothing[] = "";
    assert_int_equal(coil_start_server(talk_plain, nothing, "127.0.0.1", "0", &server), 0);
    snprintf(s.port, sizeof s.port, "%d", coil_server_port(server));
    double begun = coil_loop_time(NULL);
    assert_int_equal(connect_to(&s, &r, &w), -ECONNABORTED);
    assert_non_null(strstr(coil_last_error()->message, "longer than 60 seconds"));
    assert_true(coil_loop_time(NULL) - begun >= 60);
    s.timeout = 2;
    begun = coil_loop_time(NULL);
    assert_int_equal(connect_to(&s, &r, &w), -ECONNABORTED);
    assert_true(coil_loop_time(NULL) - begun < 3);
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(s.client_tls);
}

COIL_TEST(handshake_that_takes_too_long_is_given_up_by_the_server)
{
    struct stage s = {.opts = {.tls_handshake_timeout = 10}};
    coil_reader *r;
    coil_writer *w;
    char byte;
    set_stage(&s, nobody, NULL);
    assert_int_equal(coil_open_connection("127.0.0.1", s.port, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, "\x16\x03\x01", 3), 0); /* a record begins */
    double begun = coil_loop_time(NULL);
    assert_int_equal(coil_reader_read(r, &byte, 1), 0);
    assert_true(coil_loop_time(NULL) - begun >= 9);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

static coil_ret read_and_go(coil_reader *r, coil_writer *w, void *unused)
{
    char buf[4096];
    (void)w, (void)unused;
    coil_ret n = coil_reader_read(r, buf, sizeof buf);
    return n < 0 ? n : 0;
}

COIL_TEST(peer_that_goes_away_in_the_handshake_is_a_reset)
{
    coil_server *server;
    struct stage s = {.client_tls = client_context(0)};
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(coil_start_server(read_and_go, NULL, "127.0.0.1", "0", &server), 0);
    snprintf(s.port, sizeof s.port, "%d", coil_server_port(server));
    assert_int_equal(connect_to(&s, &r, &w), -ECONNRESET);
    assert_non_null(strstr(coil_last_error()->message, "during the TLS handshake"));
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(s.client_tls);
}

static coil_ret connecting(void *arg)
{
    coil_reader *r;
    coil_writer *w;
    return connect_to(arg, &r, &w);
}

COIL_TEST(cancelled_handshake_leaves_nothing_open)
{
    coil_server *server;
    struct stage s = {.client_tls = client_context(0)};
    static char nothing[] = "";
    assert_int_equal(coil_start_server(talk_plain, nothing, "127.0.0.1", "0", &server), 0);
    snprintf(s.port, sizeof s.port, "%d", coil_server_port(server));
    coil_task *t = coil_create_task(connecting, &s);
    assert_int_equal(coil_sleep(1), 0);
    assert_int_equal(coil_server_connections(server), 1);
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(s.client_tls);
}

COIL_TEST(server_that_closes_lets_go_of_handshakes)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, nobody, NULL);
    assert_int_equal(coil_open_connection("127.0.0.1", s.port, &r, &w), 0);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_int_equal(coil_server_connections(s.server), 1);
    coil_server_close(s.server);
    coil_server_close_clients(s.server);
    strike_stage(&s);
    assert_int_equal(coil_writer_finish(w), 0);
}

struct left {
    struct stage s;
    coil_reader *r[3];
    coil_writer *w[3];
    coil_task *task;
};

/* One that speaks, one that says goodbye, two in their handshakes. */
static coil_ret leave_all_standing(void *arg)
{
    struct left *left = arg;
    set_stage(&left->s, echo, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(connect_to(&left->s, &left->r[i], &left->w[i]), 0);
        speaks(left->r[i], left->w[i], "hello");
    }
    assert_int_equal(coil_open_connection("127.0.0.1", left->s.port, &left->r[2], &left->w[2]), 0);
    left->task = coil_create_task(connecting, &left->s);
    for (int i = 0; i < 3; i++)
        assert_int_equal(coil_sleep(0), 0);
    coil_writer_close(left->w[1]);
    assert_int_equal(coil_sleep(0), 0);
    return 0;
}

/* The harness counts what is not given back. */
COIL_TEST_PLAIN(loop_that_closes_takes_down_whatever_stands)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, hear, &(struct heard){0});
    coil_set_event_loop(loop);
    struct left left = {0};
    coil_task *task = coil_create_task(leave_all_standing, &left);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
    coil_unref(task);
    coil_unref(left.task);
    coil_loop_close(loop);
    coil_loop_free(loop);
    coil_server_free(left.s.server);
    for (int i = 0; i < 3; i++) {
        coil_writer_unref(left.w[i]);
        coil_reader_unref(left.r[i]);
    }
    coil_tls_context_unref(left.s.server_tls);
    coil_tls_context_unref(left.s.client_tls);
}

COIL_TEST_MAIN()
