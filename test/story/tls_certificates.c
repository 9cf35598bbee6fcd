/* SPDX-License-Identifier: MIT
 *
 * tls_certificates.c: who is let in and who is not: every case of lib/ca.h, as a client and as a server, in TLS 1.2 and
 * 1.3, over start_tls and over connections that begin with TLS.
 *
 * Two kinds of peers: coil itself, and one played by hand (lib/tls_peer.h), which shows what coil's own side would not
 * even load. Accepted means that bytes go both ways; refused, that none did, and that the error says why. The same
 * against OpenSSL's and GnuTLS's own programs: script/tls_test.py. */
#include "../unit/net/wire.h"

#include "tls_peer.h"

#include <coil/group.h>
#include <coil/tls.h>

enum { VERSIONS = 2 };
static const int versions[VERSIONS] = {COIL_TLS_1_2, COIL_TLS_1_3};
static const int peer_versions[VERSIONS] = {TLS1_2_VERSION, TLS1_3_VERSION};

static coil_tls_context *client_context(int version)
{
    coil_tls_context *tls;
    must(coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS, &tls));
    must(coil_tls_context_load_verify_locations(tls, ca_path("root", ".pem"), NULL));
    must(coil_tls_context_set_versions(tls, version, version));
    return tls;
}

static void show(coil_tls_context *tls, const char *certificate)
{
    must(coil_tls_context_load_cert_chain(tls, ca_path(certificate, ".pem"),
                                          ca_path(certificate, ".key"), NULL));
}

static coil_tls_context *server_context(const char *certificate)
{
    coil_tls_context *tls;
    must(coil_tls_context_new(COIL_TLS_SERVER, &tls));
    show(tls, certificate);
    return tls;
}

/* ---- what came of a case ---- */

static int wrong; /* cases that went another way than the table says */

__attribute__((format(printf, 1, 2))) static void complain(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("# ", stdout);
    vprintf(fmt, args);
    putchar('\n');
    va_end(args);
    wrong++;
}

static void expect_nothing_wrong(void)
{
    int n = wrong;
    wrong = 0;
    if (n > 0)
        fail_msg("%d cases, printed above", n);
}

/* The table has OpenSSL's words; that it is another host's certificate coil says in its own, with the host's name. */
static const char *words_for(const struct ca_case *c)
{
    static char words[100];
    if (!c->refused || !strstr(c->refused, "mismatch"))
        return c->refused;
    snprintf(words, sizeof words, "it is not for %s,", c->host);
    return words;
}

static void judge(const struct ca_case *c, int version, coil_ret rc)
{
    const char *words = rc < 0 && coil_last_error() ? coil_last_error()->message : "";
    const char *expected = words_for(c);
    if (!c->refused && rc < 0)
        complain("%s for %s, 1.%d: refused: %s: %s", c->certificate, c->host, version - 10,
                 coil_errname(rc), words);
    if (c->refused && rc >= 0)
        complain("%s for %s, 1.%d: accepted", c->certificate, c->host, version - 10);
    if (c->refused && rc < 0 && (rc != COIL_ETLSCERT || !strstr(words, expected)))
        complain("%s for %s, 1.%d: '%s' and not: %s: %s", c->certificate, c->host, version - 10,
                 expected, coil_errname(rc), words);
}

/* ---- coil is the client, a careless server shows anything ---- */

/* Answers one byte with another, if it comes to that. */
static coil_ret play_server(void *arg)
{
    struct tls_peer *p = arg;
    char byte;
    if (tls_peer_handshake(p) == 0 && tls_peer_read(p, &byte, 1) == 1) {
        tls_peer_write(p, "a", 1);
        while (tls_peer_read(p, &byte, 1) > 0)
            ;
        tls_peer_say_end(p);
        return 1;
    }
    return 0;
}

/* A byte there and a byte back. */
static coil_ret exchange(coil_reader *r, coil_writer *w)
{
    char byte;
    coil_ret rc = coil_writer_write(w, "q", 1);
    if (!coil_iserr(rc))
        rc = coil_reader_readexactly(r, &byte, 1, NULL);
    return rc;
}

static void ask_careless_server(const struct ca_case *c, int v)
{
    coil_sock *ours, *theirs;
    coil_reader *r;
    coil_writer *w;
    struct tls_peer peer;
    wire_pair(&ours, &theirs);
    must(coil_open_connection_sock(ours, 0, &r, &w));
    tls_peer_open_with(&peer, theirs, TLS_PEER_SERVER, c->certificate, peer_versions[v], NULL);
    coil_task *server = coil_create_task(play_server, &peer);
    coil_tls_context *tls = client_context(versions[v]);
    coil_start_tls_opts opts = {.size = sizeof opts, .server_hostname = c->host};
    coil_ret rc = coil_writer_start_tls(w, tls, &opts);
    judge(c, versions[v], rc);
    if (rc >= 0)
        must(exchange(r, w));
    coil_ignore(coil_writer_finish(w));
    assert_int_equal(coil_join(server), rc >= 0);
    tls_peer_close(&peer);
    coil_tls_context_unref(tls);
}

COIL_TEST(start_tls_accepts_and_refuses_what_the_table_says)
{
    for (int v = 0; v < VERSIONS; v++)
        for (const struct ca_case *c = ca_cases; c->certificate; c++)
            ask_careless_server(c, v);
    expect_nothing_wrong();
}

/* ---- coil on both sides ---- */

static coil_ret answer(coil_reader *r, coil_writer *w, void *arg)
{
    int *served = arg;
    char byte;
    coil_ret rc = coil_reader_readexactly(r, &byte, 1, NULL);
    if (coil_iserr(rc))
        return 0; /* who is refused never comes here, but a client may change its mind */
    ++*served;
    return coil_writer_write(w, "a", 1);
}

static coil_server *serve_tls(coil_tls_context *tls, int *served)
{
    coil_server *server;
    coil_server_opts opts = {.size = sizeof opts, .tls = tls};
    *served = 0;
    must(coil_start_server_with(answer, served, "127.0.0.1", "0", &opts, &server));
    return server;
}

/* Connect as a program does; the exchange as well. */
static coil_ret ask_server(coil_server *server, coil_tls_context *tls, const char *host)
{
    char port[8];
    coil_reader *r;
    coil_writer *w;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    coil_connect_opts opts = {.size = sizeof opts, .tls = tls, .server_hostname = host};
    coil_ret rc = coil_open_connection_with("127.0.0.1", port, &opts, &r, &w);
    if (coil_iserr(rc))
        return rc;
    rc = exchange(r, w);
    char words[200] = "";
    if (coil_iserr(rc) && coil_last_error())
        snprintf(words, sizeof words, "%s", coil_last_error()->message);
    coil_ignore(coil_writer_finish(w));
    return coil_iserr(rc) ? coil_fail(rc, "%s", words) : rc;
}

static void ask_own_server(const struct ca_case *c, int v)
{
    coil_tls_context *theirs = server_context(c->certificate);
    coil_tls_context *ours = client_context(versions[v]);
    int served;
    coil_server *server = serve_tls(theirs, &served);
    coil_ret rc = ask_server(server, ours, c->host);
    judge(c, versions[v], rc);
    must(coil_server_finish(server));
    assert_int_equal(served, rc >= 0);
    coil_tls_context_unref(ours);
    coil_tls_context_unref(theirs);
}

COIL_TEST(connections_accept_and_refuse_what_the_table_says)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    for (int v = 0; v < VERSIONS; v++)
        for (const struct ca_case *c = ca_cases; c->certificate; c++)
            if (!ca_unloadable(c->certificate))
                ask_own_server(c, v);
    expect_nothing_wrong();
}

COIL_TEST(weak_certificates_are_not_even_loaded)
{
    int n = 0;
    for (const struct ca_case *c = ca_cases; c->certificate; c++) {
        const char *why = ca_unloadable(c->certificate);
        if (!why)
            continue;
        coil_tls_context *tls;
        must(coil_tls_context_new(COIL_TLS_SERVER, &tls));
        assert_int_equal(coil_tls_context_load_cert_chain(tls, ca_path(c->certificate, ".pem"),
                                                          ca_path(c->certificate, ".key"), NULL),
                         COIL_ETLS);
        if (!strstr(coil_last_error()->message, why))
            fail_msg("%s: '%s' and not: %s", c->certificate, why, coil_last_error()->message);
        coil_tls_context_unref(tls);
        n++;
    }
    assert_int_equal(n, 4);
}

/* ---- names that no client may ask for ---- */

COIL_TEST(a_client_that_would_check_no_name_does_not_connect)
{
    static const char *const bad[] = {"", ".host.test", "host.test\n"};
    coil_tls_context *theirs = server_context("wildcard"), *ours = client_context(0);
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    int served;
    coil_server *server = serve_tls(theirs, &served);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ask_server(server, ours, bad[i]) >= 0)
            complain("'%s' was accepted", bad[i]);
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    assert_int_equal(coil_writer_start_tls(w, ours, NULL), -EINVAL);
    must(coil_writer_finish(w));
    coil_sock_unref(peer);
    must(coil_server_finish(server));
    assert_int_equal(served, 0);
    coil_tls_context_unref(ours);
    coil_tls_context_unref(theirs);
    expect_nothing_wrong();
}

/* ---- what is not checked, because a flag says so by name ---- */

static coil_ret ask_insecure(unsigned flags, const char *certificate, const char *host)
{
    coil_tls_context *theirs = server_context(certificate), *ours;
    must(coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS | flags, &ours));
    must(coil_tls_context_load_verify_locations(ours, ca_path("root", ".pem"), NULL));
    int served;
    coil_server *server = serve_tls(theirs, &served);
    coil_ret rc = ask_server(server, ours, host);
    must(coil_server_finish(server));
    assert_int_equal(served, rc >= 0);
    coil_tls_context_unref(ours);
    coil_tls_context_unref(theirs);
    return rc;
}

COIL_TEST(insecure_flags_drop_what_they_name_and_no_more)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    must(ask_insecure(COIL_TLS_INSECURE_NO_HOSTNAME, "good", "other.test"));
    assert_int_equal(ask_insecure(COIL_TLS_INSECURE_NO_HOSTNAME, "by_unknown", "host.test"),
                     COIL_ETLSCERT);
    assert_int_equal(ask_insecure(COIL_TLS_INSECURE_NO_HOSTNAME, "expired", "host.test"),
                     COIL_ETLSCERT);
    must(ask_insecure(COIL_TLS_INSECURE_NO_VERIFY, "by_unknown", "other.test"));
    must(ask_insecure(COIL_TLS_INSECURE_NO_VERIFY, "expired", "other.test"));
}

/* ---- revocation ---- */

COIL_TEST(a_revoked_certificate_is_refused_once_a_list_is_loaded)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    for (int v = 0; v < VERSIONS; v++)
        for (int with_list = 0; with_list < 2; with_list++) {
            coil_tls_context *ours = client_context(versions[v]);
            if (with_list)
                must(coil_tls_context_load_crls(ours, ca_path("crl", ".pem")));
            coil_tls_context *bad = server_context("revoked"), *good = server_context("good"),
                             *other = server_context("inner_leaf");
            int served;
            coil_server *server = serve_tls(bad, &served);
            coil_ret rc = ask_server(server, ours, "host.test");
            if (with_list) {
                assert_int_equal(rc, COIL_ETLSCERT);
                assert_non_null(strstr(coil_last_error()->message, "certificate revoked"));
            } else {
                must(rc);
            }
            must(coil_server_finish(server));
            server = serve_tls(good, &served);
            must(ask_server(server, ours, "host.test"));
            must(coil_server_finish(server));
            /* Of an issuer that has no list nothing is known: that is no yes. */
            server = serve_tls(other, &served);
            rc = ask_server(server, ours, "host.test");
            if (with_list) {
                assert_int_equal(rc, COIL_ETLSCERT);
                assert_non_null(
                    strstr(coil_last_error()->message, "unable to get certificate CRL"));
            } else {
                must(rc);
            }
            must(coil_server_finish(server));
            coil_tls_context_unref(ours);
            coil_tls_context_unref(bad);
            coil_tls_context_unref(good);
            coil_tls_context_unref(other);
        }
}

/* ---- certificates of clients ---- */

struct welcome {
    coil_tls_context *tls;
    coil_sock *sock;
    char words[300], name[100];
};

/* The server's side of start_tls, and whom it saw. */
static coil_ret welcome_one(void *arg)
{
    struct welcome *welcome = arg;
    coil_reader *r;
    coil_writer *w;
    char byte;
    must(coil_open_connection_sock(welcome->sock, 0, &r, &w));
    coil_ret rc = coil_writer_start_tls(w, welcome->tls, NULL);
    if (coil_iserr(rc)) {
        snprintf(welcome->words, sizeof welcome->words, "%s", coil_last_error()->message);
    } else {
        const char *name = coil_tls_peer_name(coil_writer_tls(w));
        snprintf(welcome->name, sizeof welcome->name, "%s", name ? name : "nobody");
        rc = coil_reader_readexactly(r, &byte, 1, NULL);
        if (!coil_iserr(rc))
            rc = coil_writer_write(w, "a", 1);
    }
    coil_ignore(coil_writer_finish(w));
    return rc;
}

static void judge_client(const struct ca_client_case *c, int version, coil_ret rc,
                         const struct welcome *welcome)
{
    const char *who = c->certificate ? c->certificate : "(none)";
    const char *how = c->demand == CA_REQUIRED ? "required" : "optional";
    char name[100];
    if (!c->refused && rc < 0)
        complain("%s, %s, 1.%d: refused: %s: %s", who, how, version - 10, coil_errname(rc),
                 welcome->words);
    if (c->refused && rc >= 0)
        complain("%s, %s, 1.%d: accepted", who, how, version - 10);
    if (c->refused && rc < 0 && !strstr(welcome->words, c->refused))
        complain("%s, %s, 1.%d: '%s' and not: %s: %s", who, how, version - 10, c->refused,
                 coil_errname(rc), welcome->words);
    if (c->refused && rc < 0 && rc != (c->certificate ? COIL_ETLSCERT : COIL_ETLS))
        complain("%s, %s, 1.%d: it is a %s: %s", who, how, version - 10, coil_errname(rc),
                 welcome->words);
    snprintf(name, sizeof name, "CN=%s", c->subject ? c->subject : "");
    if (rc >= 0 &&
        (c->subject ? !strstr(welcome->name, name) : strcmp(welcome->name, "nobody") != 0))
        complain("%s, %s, 1.%d: it is taken for %s", who, how, version - 10, welcome->name);
}

static coil_tls_context *demanding_context(enum ca_demand demand)
{
    coil_tls_context *tls = server_context("good");
    must(coil_tls_context_load_verify_locations(tls, ca_path("root", ".pem"), NULL));
    must(coil_tls_context_set_clients(tls, demand == CA_REQUIRED ? COIL_TLS_CLIENTS_REQUIRED
                                                                 : COIL_TLS_CLIENTS_OPTIONAL));
    return tls;
}

/* As a careless client; 1 if it was answered. */
static coil_ret play_client(void *arg)
{
    struct tls_peer *p = arg;
    char byte;
    coil_ret answered = tls_peer_handshake(p) == 0 && tls_peer_write(p, "q", 1) == 1 &&
                        tls_peer_read(p, &byte, 1) == 1;
    if (answered)
        tls_peer_say_end(p);
    return answered;
}

static void welcome_careless_client(const struct ca_client_case *c, int v)
{
    struct welcome welcome = {.tls = demanding_context(c->demand)};
    struct tls_peer peer;
    coil_sock *theirs;
    wire_pair(&welcome.sock, &theirs);
    tls_peer_open_with(&peer, theirs, TLS_PEER_CLIENT, c->certificate, peer_versions[v], NULL);
    coil_task *client = coil_create_task(play_client, &peer);
    coil_ret rc = welcome_one(&welcome);
    judge_client(c, versions[v], rc, &welcome);
    assert_int_equal(coil_join(client), rc >= 0);
    tls_peer_close(&peer);
    coil_tls_context_unref(welcome.tls);
}

COIL_TEST(servers_accept_and_refuse_the_clients_that_the_table_says)
{
    for (int v = 0; v < VERSIONS; v++)
        for (int i = 0; i < ca_client_cases_n; i++)
            welcome_careless_client(&ca_client_cases[i], v);
    expect_nothing_wrong();
}

/* A client of coil's learns that it was refused: in TLS 1.3 its own handshake is over by then, so from its first read. */
static void welcome_own_client(const struct ca_client_case *c, int v)
{
    coil_tls_context *theirs = demanding_context(c->demand), *ours = client_context(versions[v]);
    int served;
    if (c->certificate)
        show(ours, c->certificate);
    coil_server *server = serve_tls(theirs, &served);
    coil_ret rc = ask_server(server, ours, "host.test");
    const char *who = c->certificate ? c->certificate : "(none)";
    if ((rc < 0) != (c->refused != NULL))
        complain("%s, 1.%d: %s %s", who, versions[v] - 10, coil_errname(rc),
                 coil_last_error() ? coil_last_error()->message : "");
    if (rc < 0 && !strstr(coil_last_error()->message, "alert"))
        complain("%s, 1.%d: the client is not told of the server's alert: %s: %s", who,
                 versions[v] - 10, coil_errname(rc), coil_last_error()->message);
    must(coil_server_finish(server));
    if (served != (rc >= 0))
        complain("%s, 1.%d: served %d", who, versions[v] - 10, served);
    coil_tls_context_unref(ours);
    coil_tls_context_unref(theirs);
}

COIL_TEST(clients_learn_that_they_were_refused)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    for (int v = 0; v < VERSIONS; v++)
        for (int i = 0; i < ca_client_cases_n; i++)
            welcome_own_client(&ca_client_cases[i], v);
    expect_nothing_wrong();
}

/* ---- servers of several names ---- */

static void expect_shown(coil_tls_context *served, int v, const char *name, const char *common)
{
    coil_sock *ours, *theirs;
    struct tls_peer peer;
    wire_pair(&ours, &theirs);
    tls_peer_open_with(&peer, theirs, TLS_PEER_CLIENT, NULL, peer_versions[v], name);
    coil_task *client = coil_create_task(play_client, &peer);
    struct welcome welcome = {.tls = served, .sock = ours};
    must(welcome_one(&welcome));
    assert_int_equal(coil_join(client), 1);
    X509 *shown = SSL_get1_peer_certificate(peer.ssl);
    char got[100];
    X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, got, sizeof got);
    X509_free(shown);
    if (strcmp(got, common) != 0)
        complain("who asks for %s, 1.%d, is shown %s", name ? name : "nothing", versions[v] - 10,
                 got);
    tls_peer_close(&peer);
}

COIL_TEST(clients_are_shown_the_certificate_of_the_name_they_ask_for)
{
    coil_tls_context *main_one = server_context("good"), *inner = server_context("inner_leaf"),
                     *wild = server_context("wildcard"), *exact = server_context("p384");
    must(coil_tls_context_add_server_name(main_one, "inner.test", inner));
    must(coil_tls_context_add_server_name(main_one, "*.host.test", wild));
    must(coil_tls_context_add_server_name(main_one, "exact.host.test", exact));
    for (int v = 0; v < VERSIONS; v++) {
        expect_shown(main_one, v, NULL, "good");
        expect_shown(main_one, v, "host.test", "good");
        expect_shown(main_one, v, "unheard.test", "good");
        expect_shown(main_one, v, "inner.test", "inner_leaf");
        expect_shown(main_one, v, "INNER.test", "inner_leaf");
        expect_shown(main_one, v, "a.host.test", "wildcard");
        expect_shown(main_one, v, "exact.host.test", "p384");
        expect_shown(main_one, v, "a.b.host.test", "good");
    }
    coil_tls_context_unref(main_one);
    coil_tls_context_unref(inner);
    coil_tls_context_unref(wild);
    coil_tls_context_unref(exact);
    expect_nothing_wrong();
}

COIL_TEST_MAIN()
