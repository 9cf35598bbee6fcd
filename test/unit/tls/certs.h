/* SPDX-License-Identifier: MIT
 *
 * certs.h: certificates for tests, made when they are first needed: a CA, and whatever it signs.
 *
 *     struct identity *server = issue(test_ca(), &(struct wish){.sans = "DNS:localhost,IP:127.0.0.1"});
 *
 * Keys are of P-256, which are made in no time. What is made here stays until the program ends. */
#ifndef TEST_UNIT_TLS_CERTS_H
#define TEST_UNIT_TLS_CERTS_H

#include "test.h"

#include <coil/tls.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

struct identity {
    struct identity *next; /* all there are, so that none counts as lost */
    X509 *x;
    EVP_PKEY *key;
    char *pem, *key_pem; /* with those between it and the root behind it */
    size_t pem_n, key_pem_n;
};

/* All zero: for localhost and 127.0.0.1, good from an hour ago until tomorrow. */
struct wish {
    const char *name; /* CN; "localhost" */
    const char *sans; /* "DNS:localhost,IP:127.0.0.1"; "-": none */
    const char *eku;  /* "serverAuth,clientAuth" */
    long from, to;    /* seconds from now */
    bool ca;
    bool self_signed;
};

static inline void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(x, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static inline char *text_of(BIO *bio, size_t *out_n)
{
    char *p, *copy;
    long n = BIO_get_mem_data(bio, &p);
    copy = calloc(1, (size_t)n + 1);
    memcpy(copy, p, (size_t)n);
    *out_n = (size_t)n;
    BIO_free(bio);
    return copy;
}

static inline struct identity *issue(const struct identity *ca, const struct wish *wish)
{
    static long serial;
    static struct identity *all;
    struct identity *id = calloc(1, sizeof *id);
    id->next = all;
    all = id;
    const char *name = wish->name ? wish->name : "localhost";
    bool own = !ca || wish->self_signed;
    id->key = EVP_EC_gen("P-256");
    id->x = X509_new();
    assert_non_null(id->key);
    X509 *x = id->x, *issuer = own ? x : ca->x;
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), wish->from ? wish->from : -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), wish->to ? wish->to : 86400);
    X509_set_pubkey(x, id->key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer));
    extend(x, issuer, NID_subject_key_identifier, "hash");
    if (!own)
        extend(x, issuer, NID_authority_key_identifier, "keyid");
    if (wish->ca || !ca) {
        extend(x, issuer, NID_basic_constraints, "critical,CA:TRUE");
        extend(x, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    } else {
        extend(x, issuer, NID_basic_constraints, "critical,CA:FALSE");
        extend(x, issuer, NID_key_usage, "critical,digitalSignature");
        extend(x, issuer, NID_ext_key_usage, wish->eku ? wish->eku : "serverAuth,clientAuth");
        if (!wish->sans || strcmp(wish->sans, "-") != 0)
            extend(x, issuer, NID_subject_alt_name,
                   wish->sans ? wish->sans : "DNS:localhost,IP:127.0.0.1");
    }
    assert_true(X509_sign(x, own ? id->key : ca->key, EVP_sha256()) > 0);
    BIO *pem = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(pem, x), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(key, id->key, NULL, NULL, 0, NULL, NULL), 1);
    id->pem = text_of(pem, &id->pem_n);
    id->key_pem = text_of(key, &id->key_pem_n);
    return id;
}

static inline struct identity *test_ca(void)
{
    static struct identity *ca;
    if (!ca)
        ca = issue(NULL, &(struct wish){.name = "Test CA"});
    return ca;
}

static inline struct identity *test_server(void)
{
    static struct identity *server;
    if (!server)
        server = issue(test_ca(), &(struct wish){.name = "localhost"});
    return server;
}

static inline void be(coil_tls_context *context, const struct identity *id)
{
    assert_int_equal(coil_tls_context_load_cert_chain_pem(context, id->pem, id->pem_n, id->key_pem,
                                                          id->key_pem_n, NULL),
                     0);
}

static inline void trust(coil_tls_context *context, const struct identity *ca)
{
    assert_int_equal(coil_tls_context_load_verify_pem(context, ca->pem, ca->pem_n), 0);
}

/* Contexts of the test's own, for it to give back. */
static inline coil_tls_context *server_context(const struct identity *id)
{
    coil_tls_context *context;
    assert_int_equal(coil_tls_context_new(COIL_TLS_SERVER, &context), 0);
    be(context, id ? id : test_server());
    return context;
}

static inline coil_tls_context *client_context(unsigned flags)
{
    coil_tls_context *context;
    assert_int_equal(coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS | flags, &context), 0);
    if (!(flags & COIL_TLS_INSECURE_NO_VERIFY))
        trust(context, test_ca());
    return context;
}

#endif
