/* SPDX-License-Identifier: MIT
 *
 * test_context.c: what contexts are made of, and what they refuse. */
#include "net/filter.h"
#include "stage.h"
#include "tls/openssl.h"

#include <math.h>

#include <unistd.h>

static void write_file(char *path, const char *text, size_t n)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
}

COIL_TEST_PLAIN(flags_that_make_no_sense_are_refused)
{
    coil_tls_context *c = NULL;
    assert_int_equal(coil_tls_context_new(1u << 31, &c), -EINVAL);
    assert_int_equal(coil_tls_context_new(COIL_TLS_SERVER | COIL_TLS_INSECURE_NO_VERIFY, &c),
                     -EINVAL);
    assert_int_equal(coil_tls_context_new(COIL_TLS_SERVER | COIL_TLS_INSECURE_NO_HOSTNAME, &c),
                     -EINVAL);
    assert_null(c);
    coil_tls_context_unref(NULL);
    assert_non_null(strstr(coil_tls_library(), "OpenSSL 3"));
}

COIL_TEST_PLAIN(system_certificates_are_loaded_unless_told_not_to)
{
    coil_tls_context *c;
    assert_int_equal(coil_tls_context_new(0, &c), 0);
    assert_int_equal(coil_tls_context_load_default_certs(c), 0);
    coil_tls_context_unref(c);
}

COIL_TEST_PLAIN(files_that_cannot_be_used_are_told_by_name)
{
    coil_tls_context *c = server_context(NULL);
    char cert[] = "/tmp/coil-cert-XXXXXX", key[] = "/tmp/coil-key-XXXXXX",
         junk[] = "/tmp/coil-junk-XXXXXX";
    struct identity *other = issue(test_ca(), &(struct wish){0});
    write_file(cert, test_server()->pem, test_server()->pem_n);
    write_file(key, other->key_pem, other->key_pem_n);
    write_file(junk, "nothing of the kind\n", 20);

    assert_int_equal(coil_tls_context_load_cert_chain(c, "/nowhere/cert.pem", NULL, NULL), -ENOENT);
    assert_non_null(strstr(coil_last_error()->message, "/nowhere/cert.pem"));
    assert_int_equal(coil_tls_context_load_cert_chain(c, cert, "/nowhere/key.pem", NULL), -ENOENT);
    assert_non_null(strstr(coil_last_error()->message, "private key: /nowhere/key.pem"));
    assert_int_equal(coil_tls_context_load_cert_chain(c, junk, key, NULL), COIL_ETLS);
    assert_non_null(strstr(coil_last_error()->message, "certificate chain"));
    assert_int_equal(coil_tls_context_load_cert_chain(c, cert, junk, NULL), COIL_ETLS);
    assert_int_equal(coil_tls_context_load_cert_chain(c, cert, key, NULL), COIL_ETLS);
    assert_non_null(strstr(coil_last_error()->message, "private key"));
    assert_int_equal(coil_tls_context_load_cert_chain(c, NULL, key, NULL), -EINVAL);
    assert_int_equal(coil_tls_context_load_verify_locations(c, NULL, NULL), -EINVAL);
    assert_int_equal(coil_tls_context_load_verify_locations(c, "/nowhere/ca.pem", NULL), -ENOENT);
    assert_int_equal(coil_tls_context_load_verify_locations(c, junk, NULL), COIL_ETLS);
    assert_int_equal(coil_tls_context_load_verify_locations(c, cert, "/tmp"), 0);
    assert_int_equal(coil_tls_context_load_verify_pem(c, "junk", 4), COIL_ETLS);
    assert_int_equal(coil_tls_context_load_verify_pem(c, "", 0), COIL_ETLS);
    assert_int_equal(coil_tls_context_load_verify_locations(c, NULL, ""), COIL_ETLS);
    assert_int_equal(coil_tls_context_load_crls(c, "/nowhere/crl.pem"), -ENOENT);
    assert_int_equal(coil_tls_context_load_crls(c, junk), COIL_ETLS);
    coil_tls_context_unref(c);
    unlink(cert);
    unlink(key);
    unlink(junk);
}

COIL_TEST_PLAIN(key_with_a_password_is_opened_with_it_and_never_asked_for)
{
    coil_tls_context *c;
    BIO *bio = BIO_new(BIO_s_mem());
    size_t n;
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, test_server()->key, EVP_aes_256_cbc(), NULL,
                                                   0, NULL, (void *)(uintptr_t) "open sesame"),
                     1);
    char *key = text_of(bio, &n);
    assert_int_equal(coil_tls_context_new(COIL_TLS_SERVER, &c), 0);
    const struct identity *id = test_server();
    assert_int_equal(coil_tls_context_load_cert_chain_pem(c, id->pem, id->pem_n, key, n, NULL),
                     COIL_ETLS);
    assert_int_equal(coil_tls_context_load_cert_chain_pem(c, id->pem, id->pem_n, key, n, "wrong"),
                     COIL_ETLS);
    assert_int_equal(
        coil_tls_context_load_cert_chain_pem(c, id->pem, id->pem_n, key, n, "open sesame"), 0);
    free(key);
    coil_tls_context_unref(c);
}

COIL_TEST_PLAIN(password_longer_than_any_is_a_wrong_one)
{
    coil_tls_context *c;
    char long_password[5000];
    size_t n;
    BIO *bio = BIO_new(BIO_s_mem());
    memset(long_password, 'x', sizeof long_password - 1);
    long_password[sizeof long_password - 1] = 0;
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, test_server()->key, EVP_aes_256_cbc(), NULL,
                                                   0, NULL, (void *)(uintptr_t) "open sesame"),
                     1);
    char *key = text_of(bio, &n);
    assert_int_equal(coil_tls_context_new(COIL_TLS_SERVER, &c), 0);
    assert_int_equal(coil_tls_context_load_cert_chain_pem(
                         c, test_server()->pem, test_server()->pem_n, key, n, long_password),
                     COIL_ETLS);
    free(key);
    coil_tls_context_unref(c);
}

COIL_TEST_PLAIN(identity_in_memory_has_two_parts_of_sane_sizes)
{
    const struct identity *id = test_server();
    coil_tls_context *c = server_context(NULL);
    const size_t much = (size_t)INT32_MAX + 1;
    const struct {
        const char *chain, *key;
        size_t chain_n, key_n;
    } wrong[] = {{NULL, id->key_pem, 0, id->key_pem_n},
                 {id->pem, NULL, id->pem_n, 0},
                 {id->pem, id->key_pem, much, id->key_pem_n},
                 {id->pem, id->key_pem, id->pem_n, much}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(coil_tls_context_load_cert_chain_pem(c, wrong[i].chain, wrong[i].chain_n,
                                                              wrong[i].key, wrong[i].key_n, NULL),
                         -EINVAL);
    coil_tls_context_unref(c);
}

COIL_TEST_PLAIN(trusted_certificates_with_a_spoiled_one_among_them_are_refused)
{
    coil_tls_context *c = client_context(COIL_TLS_INSECURE_NO_VERIFY);
    char spoiled[8192];
    snprintf(spoiled, sizeof spoiled,
             "%s-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n",
             test_ca()->pem);
    assert_int_equal(coil_tls_context_load_verify_pem(c, spoiled, strlen(spoiled)), COIL_ETLS);
    assert_int_equal(coil_tls_context_load_verify_pem(c, spoiled, (size_t)INT32_MAX + 1), -EINVAL);
    coil_tls_context_unref(c);
}

static coil_ret give_second(const char *name, coil_tls_context **out_context, void *arg)
{
    (void)name;
    *out_context = arg;
    return 0;
}

/* Its callback finds one for every client. */
COIL_TEST(server_without_a_certificate_of_its_own_may_have_a_callback)
{
    coil_tls_context *second = server_context(NULL);
    struct stage s = {0};
    assert_int_equal(coil_tls_context_new(COIL_TLS_SERVER, &s.server_tls), 0);
    assert_int_equal(coil_tls_context_set_sni_callback(s.server_tls, give_second, second), 0);
    set_stage(&s, echo, NULL);
    one_echo(&s);
    strike_stage(&s);
    coil_tls_context_unref(second);
}

/* Whole names come first, and a star stands for one label, whatever was added before. */
COIL_TEST_PLAIN(names_of_a_server_are_looked_up_in_the_order_of_their_precision)
{
    coil_tls_context *c = server_context(NULL), *any = server_context(NULL),
                     *com = server_context(NULL), *one = server_context(NULL);
    const struct {
        const char *name;
        const coil_tls_context *found;
    } asked[] = {{"one.org", one}, {"two.org", any}, {"a.com", com}, {"a.b.com", c},
                 {".org", c},      {"org", c},       {NULL, c}};
    assert_int_equal(coil_tls_context_add_server_name(c, "one.org", one), 0);
    assert_int_equal(coil_tls_context_add_server_name(c, "*.org", any), 0);
    assert_int_equal(coil_tls_context_add_server_name(c, "*.com", com), 0);
    assert_int_equal(coil_tls_context_add_server_name(c, "one.com", one), 0);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        struct context *found = NULL;
        assert_int_equal(coil__tls_by_name(context_of(c), asked[i].name, &found), 0);
        assert_ptr_equal(&found->base, asked[i].found);
    }
    coil_tls_context_unref(c);
    coil_tls_context_unref(any);
    coil_tls_context_unref(com);
    coil_tls_context_unref(one);
}

/* A reload that fails takes nothing away from a server that runs. */
COIL_TEST(identity_that_cannot_be_used_leaves_the_one_before)
{
    struct stage s = {.server_tls = server_context(NULL)};
    const struct identity *old = test_server(),
                          *other = issue(test_ca(), &(struct wish){.name = "other"});
    static const char junk[] = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n";
    char spoiled[8192];
    coil_reader *r;
    coil_writer *w;
    snprintf(spoiled, sizeof spoiled, "%s%s", other->pem, junk);
    set_stage(&s, echo, NULL);
    const struct {
        const char *chain, *key;
    } bad[] = {{other->pem, old->key_pem}, {other->pem, "nonsense"}, {spoiled, other->key_pem}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(coil_tls_context_load_cert_chain_pem(s.server_tls, bad[i].chain,
                                                              strlen(bad[i].chain), bad[i].key,
                                                              strlen(bad[i].key), NULL),
                         COIL_ETLS);
        assert_int_equal(connect_to(&s, &r, &w), 0);
        assert_string_equal(coil_tls_peer_name(coil_writer_tls(w)), "CN=localhost");
        assert_int_equal(coil_writer_finish(w), 0);
    }
    be(s.server_tls, other);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_string_equal(coil_tls_peer_name(coil_writer_tls(w)), "CN=other");
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

COIL_TEST_PLAIN(settings_that_make_no_sense_are_refused)
{
    static const char *const empty[] = {""};
    static char long_name[300];
    memset(long_name, 'x', sizeof long_name - 1);
    const char *const too_long[] = {long_name};
    static const char *many[257]; /* of 255 bytes each: 64 KiB and more */
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        many[i] = long_name + 44;
    coil_tls_context *server = server_context(NULL), *client = client_context(0);
    assert_int_equal(coil_tls_context_set_versions(client, 11, 0), -EINVAL);
    assert_int_equal(coil_tls_context_set_versions(client, 0, 14), -EINVAL);
    assert_int_equal(coil_tls_context_set_versions(client, COIL_TLS_1_3, COIL_TLS_1_2), -EINVAL);
    assert_int_equal(coil_tls_context_set_ciphers(client, "NO-SUCH-CIPHER"), COIL_ETLS);
    assert_int_equal(coil_tls_context_set_ciphers(client, "ECDHE+AESGCM"), 0);
    assert_int_equal(coil_tls_context_set_alpn_protocols(client, empty, 1), -EINVAL);
    assert_int_equal(coil_tls_context_set_alpn_protocols(client, too_long, 1), -EINVAL);
    assert_int_equal(coil_tls_context_set_alpn_protocols(client, many, 257), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "64 KiB"));
    assert_int_equal(coil_tls_context_set_clients(client, COIL_TLS_CLIENTS_REQUIRED), -EINVAL);
    assert_int_equal(coil_tls_context_set_clients(server, (enum coil_tls_clients)7), -EINVAL);
    assert_int_equal(coil_tls_context_add_server_name(client, "a", server), -EINVAL);
    assert_int_equal(coil_tls_context_add_server_name(server, "a", client), -EINVAL);
    assert_int_equal(coil_tls_context_add_server_name(server, "a", server), -EINVAL);
    coil_tls_context *other = server_context(NULL);
    assert_int_equal(coil_tls_context_add_server_name(server, "", other), -EINVAL);
    coil_tls_context_unref(other);
    assert_int_equal(coil_tls_context_set_sni_callback(client, NULL, NULL), -EINVAL);
    assert_int_equal(coil_tls_context_set_sessions(server, 1), -EINVAL);
    coil_tls_context_unref(server);
    coil_tls_context_unref(client);
}

COIL_TEST(names_that_cannot_be_checked_are_refused_before_anybody_is_asked)
{
    struct stage s = {0};
    static char long_name[300];
    memset(long_name, 'x', sizeof long_name - 1);
    set_stage(&s, echo, NULL);
    s.server_hostname = "";
    refused(&s, -EINVAL, "server_hostname is empty");
    s.server_hostname = ".";
    refused(&s, -EINVAL, "server_hostname is empty");
    s.server_hostname = long_name;
    refused(&s, -EINVAL, "longer than any name");
    s.server_hostname = "b\xc3\xbc"
                        "cher.example";
    refused(&s, -EINVAL, "xn--");
    s.server_hostname = "two words";
    refused(&s, -EINVAL, "xn--");
    s.server_hostname = NULL;
    s.timeout = NAN;
    refused(&s, -EINVAL, "number of seconds");
    assert_int_equal(coil_server_connections(s.server), 0);
    strike_stage(&s);
}

COIL_TEST(contexts_are_for_the_side_they_were_made_for)
{
    coil_tls_context *client = client_context(0), *bare;
    coil_server *server;
    coil_server_opts opts = {.size = sizeof opts, .tls = client};
    assert_int_equal(coil_start_server_with(echo, NULL, "127.0.0.1", "0", &opts, &server), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "COIL_TLS_SERVER"));
    assert_int_equal(coil_tls_context_new(COIL_TLS_SERVER, &bare), 0);
    opts.tls = bare;
    assert_int_equal(coil_start_server_with(echo, NULL, "127.0.0.1", "0", &opts, &server), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "has no certificate"));
    coil_tls_context_unref(client);
    coil_tls_context_unref(bare);
}

COIL_TEST(contexts_live_as_long_as_their_servers_and_connections)
{
    coil_tls_context *server_tls = server_context(NULL), *client_tls = client_context(0);
    coil_server_opts opts = {.size = sizeof opts, .tls = server_tls};
    coil_server *server;
    coil_reader *r;
    coil_writer *w;
    char port[8];
    assert_int_equal(coil_start_server_with(echo, NULL, "127.0.0.1", "0", &opts, &server), 0);
    coil_tls_context_unref(server_tls);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    coil_connect_opts connect = {.size = sizeof connect, .tls = client_tls};
    assert_int_equal(coil_open_connection_with("127.0.0.1", port, &connect, &r, &w), 0);
    coil_tls_context_unref(client_tls);
    speaks(r, w, "hello");
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(coil_server_finish(server), 0);
}

COIL_TEST(certificates_come_from_files_too)
{
    char cert[] = "/tmp/coil-cert-XXXXXX", key[] = "/tmp/coil-key-XXXXXX",
         ca[] = "/tmp/coil-ca-XXXXXX";
    write_file(cert, test_server()->pem, test_server()->pem_n);
    write_file(key, test_server()->key_pem, test_server()->key_pem_n);
    write_file(ca, test_ca()->pem, test_ca()->pem_n);
    struct stage s = {0};
    assert_int_equal(coil_tls_context_new(COIL_TLS_SERVER, &s.server_tls), 0);
    assert_int_equal(coil_tls_context_load_cert_chain(s.server_tls, cert, key, NULL), 0);
    assert_int_equal(coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS, &s.client_tls), 0);
    assert_int_equal(coil_tls_context_load_verify_locations(s.client_tls, ca, NULL), 0);
    unlink(cert);
    unlink(key);
    unlink(ca);
    set_stage(&s, echo, NULL);
    one_echo(&s);
    strike_stage(&s);
}

static char *crl_with(X509 *revoked)
{
    X509_CRL *crl = X509_CRL_new();
    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(test_ca()->x));
    ASN1_TIME *now = X509_gmtime_adj(NULL, -3600), *later = X509_gmtime_adj(NULL, 86400);
    X509_CRL_set1_lastUpdate(crl, now);
    X509_CRL_set1_nextUpdate(crl, later);
    if (revoked) {
        X509_REVOKED *entry = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked));
        X509_REVOKED_set_revocationDate(entry, now);
        X509_CRL_add0_revoked(crl, entry);
    }
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, test_ca()->x, NULL, NULL, crl, 0);
    X509_EXTENSION *keyid = X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid");
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    ASN1_INTEGER_set(number, 1);
    assert_int_equal(X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0), 1);
    assert_int_equal(X509_CRL_add_ext(crl, keyid, -1), 1);
    X509_EXTENSION_free(keyid);
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(now);
    ASN1_TIME_free(later);
    assert_true(X509_CRL_sign(crl, test_ca()->key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509_CRL(bio, crl), 1);
    X509_CRL_free(crl);
    size_t n;
    return text_of(bio, &n);
}

COIL_TEST(certificate_that_was_revoked_is_refused)
{
    for (int revoked = 0; revoked < 2; revoked++) {
        struct stage s = {.client_tls = client_context(0)};
        char path[] = "/tmp/coil-crl-XXXXXX", *pem = crl_with(revoked ? test_server()->x : NULL);
        write_file(path, pem, strlen(pem));
        assert_int_equal(coil_tls_context_load_crls(s.client_tls, path), 0);
        unlink(path);
        free(pem);
        set_stage(&s, echo, NULL);
        if (revoked)
            refused(&s, COIL_ETLSCERT, "revoked");
        else
            one_echo(&s);
        strike_stage(&s);
    }
}

/* ---- layers by hand ---- */

COIL_TEST(libraries_of_different_versions_do_not_mix)
{
    coil_tls_context *context = client_context(0);
    struct context_class other = *context->cls;
    const struct context_class *own = context->cls;
    coil_connect_opts opts = {.size = sizeof opts, .tls = context};
    coil_reader *r;
    coil_writer *w;
    other.abi = FILTER_ABI + 1;
    context->cls = &other;
    assert_int_equal(coil_open_connection_with("127.0.0.1", "1", &opts, &r, &w), -ENOTSUP);
    assert_non_null(strstr(coil_last_error()->message, "different versions"));
    context->cls = own;
    coil_tls_context_unref(context);
}

COIL_TEST_MAIN()
