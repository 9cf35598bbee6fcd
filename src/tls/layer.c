/* SPDX-License-Identifier: MIT
 *
 * layer.c: one connection's TLS: bytes in, bytes out.
 *
 *     feed --> [ in ] --read_in--> SSL --write_out--> [ out ] --output, taken-->
 *                                   |
 *                 decrypt <---------+<--------- encrypt
 *
 * Always true: `in` is lent, and used up whenever SSL says that it wants to read.
 *
 * Runs on the loop's thread, on the loop's own stack. Elsewhere: who calls it, and when (net/filter.c); what it is
 * allowed to believe (context.c); how failures are told (failure.c). */
#include "tls/openssl.h"

#include "base/mem.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <string.h>

enum { OUT_FIRST = 4096 };

static struct layer *layer_of(const coil_tls *tls)
{
    return (struct layer *)(uintptr_t)tls;
}

/* ---- SSL's two memories ---- */

static int read_in(BIO *bio, char *p, int n)
{
    struct layer *layer = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (layer->in_n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t got = layer->in_n < (size_t)n ? layer->in_n : (size_t)n;
    memcpy(p, layer->in, got);
    layer->in += got;
    layer->in_n -= got;
    return (int)got;
}

static int write_out(BIO *bio, const char *p, int n)
{
    struct layer *layer = BIO_get_data(bio);
    size_t need = layer->out_n + (size_t)n, capacity = layer->out_capacity;
    BIO_clear_retry_flags(bio);
    if (capacity == 0)
        capacity = OUT_FIRST;
    while (capacity < need)
        capacity *= 2;
    if (capacity > layer->out_capacity) {
        char *more = coil__realloc(layer->out, capacity);
        if (!more) {
            layer->no_memory = true;
            return -1;
        }
        layer->out = more;
        layer->out_capacity = capacity;
    }
    memcpy(layer->out + layer->out_n, p, (size_t)n);
    layer->out_n = need;
    return n;
}

static long control(BIO *bio, int what, long number, void *p)
{
    (void)bio, (void)number, (void)p;
    return what == BIO_CTRL_FLUSH || what == BIO_CTRL_DUP || what == BIO_CTRL_PUSH ||
           what == BIO_CTRL_POP;
}

static BIO_METHOD *memories;
static CRYPTO_ONCE memories_once = CRYPTO_ONCE_STATIC_INIT;

static void make_memories(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "coil");
    if (m && BIO_meth_set_read(m, read_in) && BIO_meth_set_write(m, write_out) &&
        BIO_meth_set_ctrl(m, control))
        memories = m;
    else
        BIO_meth_free(m);
}

static BIO *new_memories(struct layer *layer)
{
    if (!CRYPTO_THREAD_run_once(&memories_once, make_memories) || !memories)
        return NULL;
    BIO *bio = BIO_new(memories);
    if (!bio)
        return NULL;
    BIO_set_data(bio, layer);
    BIO_set_init(bio, 1);
    return bio;
}

static void feed(coil_tls *tls, const void *bytes, size_t n)
{
    struct layer *layer = layer_of(tls);
    layer->in = bytes;
    layer->in_n = n;
}

static size_t output(coil_tls *tls, const void **out)
{
    *out = layer_of(tls)->out;
    return layer_of(tls)->out_n;
}

static void taken(coil_tls *tls)
{
    struct layer *layer = layer_of(tls);
    coil__free(layer->out);
    layer->out = NULL;
    layer->out_n = layer->out_capacity = 0;
}

/* ---- the handshake ---- */

/* What is asked about it later, kept: a text that SSL has is not ended by a NUL. */
static int keep_alpn(struct layer *layer)
{
    const unsigned char *p;
    unsigned n;
    SSL_get0_alpn_selected(layer->ssl, &p, &n);
    if (n == 0)
        return 0;
    layer->alpn = coil__zalloc(n + 1u);
    if (!layer->alpn)
        return -ENOMEM;
    memcpy(layer->alpn, p, n);
    return 0;
}

static coil_ret handshake(coil_tls *tls)
{
    struct layer *layer = layer_of(tls);
    ERR_clear_error();
    int rc = SSL_do_handshake(layer->ssl);
    if (rc == 1) {
        layer->shaken = true;
        return keep_alpn(layer) < 0 ? tls_fail(-ENOMEM, "no memory for a TLS connection") : 1;
    }
    if (SSL_get_error(layer->ssl, rc) == SSL_ERROR_WANT_READ)
        return 0;
    return coil__tls_failure(layer, "TLS handshake");
}

/* ---- bytes ---- */

static coil_ret decrypt(coil_tls *tls, void *out, size_t n)
{
    struct layer *layer = layer_of(tls);
    ERR_clear_error();
    int rc = SSL_read(layer->ssl, out, n < INT32_MAX ? (int)n : INT32_MAX);
    if (rc > 0)
        return rc;
    int error = SSL_get_error(layer->ssl, rc);
    if (error == SSL_ERROR_WANT_READ && !layer->no_memory)
        return -EAGAIN;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : coil__tls_failure(layer, "TLS record");
}

static coil_ret encrypt(coil_tls *tls, const void *bytes, size_t n)
{
    struct layer *layer = layer_of(tls);
    ERR_clear_error();
    int rc = SSL_write(layer->ssl, bytes, (int)n);
    return rc == (int)n ? 0 : coil__tls_failure(layer, "sending over TLS");
}

/* A connection that failed has said what it had to say: there is no goodbye after that. */
static coil_ret finish(coil_tls *tls)
{
    struct layer *layer = layer_of(tls);
    ERR_clear_error();
    (void)SSL_shutdown(layer->ssl);
    return layer->no_memory ? coil__tls_failure(layer, "TLS shutdown") : 0;
}

/* ---- opening ---- */

/* "10.0.0.1", "::1", "fe80::1%eth0": the address without its zone. */
static bool is_address(const char *name, char *out, size_t n)
{
    unsigned char bytes[16];
    size_t length = strcspn(name, "%");
    if (length >= n)
        return false;
    memcpy(out, name, length);
    out[length] = 0;
    return inet_pton(AF_INET, out, bytes) == 1 || inet_pton(AF_INET6, out, bytes) == 1;
}

/* Names in certificates and in SNI have no dot at the end, though they mean the same name. */
static char *copy_name(const char *name)
{
    size_t n = strlen(name);
    if (n > 1 && name[n - 1] == '.')
        n--;
    char *copy = coil__zalloc(n + 1);
    if (copy)
        memcpy(copy, name, n);
    return copy;
}

/* Whom we want: asked for by name, and looked for in the certificate. */
static bool want_server(struct layer *layer)
{
    char address[FILTER_NAME_MAX];
    X509_VERIFY_PARAM *param = SSL_get0_param(layer->ssl);
    bool numeric = is_address(layer->name, address, sizeof address);
    if (!numeric && SSL_set_tlsext_host_name(layer->ssl, layer->name) != 1)
        return false;
    if (layer->context->flags & (COIL_TLS_INSECURE_NO_HOSTNAME | COIL_TLS_INSECURE_NO_VERIFY))
        return true;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return numeric ? X509_VERIFY_PARAM_set1_ip_asc(param, address) == 1
                   : X509_VERIFY_PARAM_set1_host(param, layer->name, 0) == 1;
}

static bool begin_client(struct layer *layer, const char *server_hostname)
{
    struct context *c = layer->context;
    SSL_set_connect_state(layer->ssl);
    if (!server_hostname)
        return true;
    layer->name = copy_name(server_hostname);
    if (!layer->name || !want_server(layer))
        return false;
    SSL_SESSION *session = coil__tls_session_for(c, layer->name);
    if (session) {
        (void)SSL_set_session(layer->ssl, session); /* one that does not suit is not offered */
        SSL_SESSION_free(session);
    }
    return true;
}

static void layer_free(coil_tls *tls)
{
    struct layer *layer = layer_of(tls);
    SSL_free(layer->ssl);
    if (layer->serving)
        coil_tls_context_unref(&layer->serving->base);
    coil__free(layer->out);
    coil__free(layer->asked);
    coil__free(layer->name);
    coil__free(layer->alpn);
    coil__free(layer->peer_name);
    OPENSSL_free(layer->der);
    coil__free(layer);
}

static const char *info(coil_tls *tls, const char *name)
{
    if (strcmp(name, "version") == 0)
        return coil_tls_version(tls);
    if (strcmp(name, "cipher") == 0)
        return coil_tls_cipher(tls);
    if (strcmp(name, "alpn") == 0)
        return coil_tls_alpn(tls);
    if (strcmp(name, "server_name") == 0)
        return coil_tls_server_name(tls);
    return strcmp(name, "peer_name") == 0 ? coil_tls_peer_name(tls) : NULL;
}

static const struct layer_class layer_class = {
    .feed = feed,
    .handshake = handshake,
    .decrypt = decrypt,
    .encrypt = encrypt,
    .finish = finish,
    .output = output,
    .taken = taken,
    .info = info,
    .free = layer_free,
};

coil_ret coil__tls_open(coil_tls_context *context, const char *server_hostname, coil_tls **out)
{
    struct context *c = context_of(context);
    struct layer *layer = coil__zalloc(sizeof *layer);
    if (!layer)
        return tls_fail(-ENOMEM, "no memory for a TLS connection");
    ERR_clear_error();
    layer->base.cls = &layer_class;
    layer->context = c;
    layer->ssl = SSL_new(c->ctx);
    BIO *bio = layer->ssl ? new_memories(layer) : NULL;
    if (!bio)
        goto undo;
    SSL_set_bio(layer->ssl, bio, bio);
    SSL_set_app_data(layer->ssl, layer);
    if (is_for_servers(c))
        SSL_set_accept_state(layer->ssl);
    else if (!begin_client(layer, server_hostname))
        goto undo;
    *out = &layer->base;
    return 0;
undo:
    layer_free(&layer->base);
    return tls_fail(-ENOMEM, "no memory for a TLS connection");
}

/* ---- asking ---- */

const char *coil_tls_version(const coil_tls *tls)
{
    return SSL_get_version(layer_of(tls)->ssl);
}

const char *coil_tls_cipher(const coil_tls *tls)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(layer_of(tls)->ssl);
    return cipher ? SSL_CIPHER_standard_name(cipher) : NULL;
}

const char *coil_tls_alpn(const coil_tls *tls)
{
    return layer_of(tls)->alpn;
}

const char *coil_tls_server_name(const coil_tls *tls)
{
    return SSL_get_servername(layer_of(tls)->ssl, TLSEXT_NAMETYPE_host_name);
}

bool coil_tls_session_reused(const coil_tls *tls)
{
    return SSL_session_reused(layer_of(tls)->ssl);
}

int coil_tls_peer_certificate(coil_tls *tls, size_t index, const void **out_der, size_t *out_n)
{
    struct layer *layer = layer_of(tls);
    STACK_OF(X509) *chain = SSL_get0_verified_chain(layer->ssl);
    X509 *own = SSL_get0_peer_certificate(layer->ssl), *x = index == 0 ? own : NULL;
    if (chain && own && index < (size_t)sk_X509_num(chain))
        x = sk_X509_value(chain, (int)index);
    if (!x)
        return (int)tls_fail(-ENOENT, "the peer has no certificate number %zu", index);
    unsigned char *der = NULL;
    int n = i2d_X509(x, &der);
    if (n < 0)
        return (int)tls_fail(-ENOMEM, "no memory for a certificate");
    OPENSSL_free(layer->der);
    layer->der = der;
    *out_der = der;
    *out_n = (size_t)n;
    return 0;
}

const char *coil_tls_peer_name(coil_tls *tls)
{
    struct layer *layer = layer_of(tls);
    X509 *x = SSL_get0_peer_certificate(layer->ssl);
    if (layer->peer_name || !x)
        return layer->peer_name;
    BIO *text = BIO_new(BIO_s_mem());
    char *p;
    long n = 0;
    if (text && X509_NAME_print_ex(text, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0)
        n = BIO_get_mem_data(text, &p);
    if (n > 0 && (layer->peer_name = coil__zalloc((size_t)n + 1)))
        memcpy(layer->peer_name, p, (size_t)n);
    BIO_free(text);
    return layer->peer_name;
}

int coil_tls_key_update(coil_tls *tls)
{
    struct layer *layer = layer_of(tls);
    if (!layer->shaken || SSL_version(layer->ssl) < TLS1_3_VERSION)
        return (int)tls_fail(COIL_EINVALIDSTATE, "keys are renewed on TLS 1.3 connections, after "
                                                 "the handshake");
    ERR_clear_error();
    if (SSL_key_update(layer->ssl, SSL_KEY_UPDATE_REQUESTED) == 1)
        return 0;
    return (int)coil__tls_failure(layer, "renewing TLS keys");
}

const char *coil_tls_library(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}
