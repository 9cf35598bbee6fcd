/* SPDX-License-Identifier: MIT
 *
 * openssl.h: a TLS context and a connection's layer, as the files of this folder see them. Only they know OpenSSL.
 *
 *     coil_tls_context --open--> struct layer, one for each connection (net/filter.h is its contract)
 *       SSL_CTX                    SSL, between two memories: bytes fed, bytes to be sent
 *
 * Always true:
 *   - OpenSSL does no input or output of its own here, but for reading the files and folders of certificates that a context
 *     is told to load, and its own configuration when it is first used;
 *   - its queue of errors is cleared before every call whose failure is looked at: what one connection left there
 *     is never taken for another's. */
#ifndef COIL_TLS_OPENSSL_H
#define COIL_TLS_OPENSSL_H

#include "net/filter.h"

#include <coil/tls.h>

#include <openssl/ssl.h>

#include <stdatomic.h>

struct server_name;
struct session;

struct context {
    struct coil_tls_context base;
    _Atomic unsigned refs;
    unsigned flags; /* COIL_TLS_SERVER and so on */
    SSL_CTX *ctx;
    enum coil_tls_clients clients;
    unsigned char *alpn; /* as it is sent: a length before each; NULL: none */
    unsigned alpn_n;
    struct server_name *names; /* contexts by name; NULL: none */
    coil_tls_sni_fn sni;       /* NULL: none */
    void *sni_arg;
    CRYPTO_RWLOCK *lock;      /* of what follows: connections of several threads come here */
    struct session *sessions; /* of a client, newest first */
    size_t sessions_n, sessions_max;
};

static inline struct context *context_of(const coil_tls_context *context)
{
    return (struct context *)(uintptr_t)context;
}

static inline bool is_for_servers(const struct context *c)
{
    return c->flags & COIL_TLS_SERVER;
}

struct layer {
    struct coil_tls base;
    struct context *context; /* borrowed: the filter has a reference */
    struct context *serving; /* what a client's name led to; a reference; NULL */
    char *asked;             /* that name; NULL: none */
    SSL *ssl;
    const char *in; /* fed, and not used up yet */
    size_t in_n;
    char *out; /* to be sent; NULL when there is nothing */
    size_t out_n, out_capacity;
    bool no_memory; /* `out` could not grow */
    bool shaken;
    char *name;         /* the server's that a client wants; NULL: none */
    char *alpn;         /* agreed on; NULL: nothing */
    char *peer_name;    /* of coil_tls_peer_name; NULL: nobody asked */
    unsigned char *der; /* of coil_tls_peer_certificate; OpenSSL's */
};

/* The error that OpenSSL's queue speaks of, recorded: what failed, and what can be done. */
coil_ret coil__tls_failure(struct layer *layer, const char *what);
/* The same for a context: COIL_ETLS, -ENOMEM, or what the kernel said of `file` (NULL: there was none). */
int coil__tls_context_failure(const char *what, const char *file);

coil_ret coil__tls_open(coil_tls_context *context, const char *server_hostname, coil_tls **out);

/* The session to offer to this server; NULL. The caller's. And one to keep, taken over. */
SSL_SESSION *coil__tls_session_for(struct context *c, const char *name);
void coil__tls_session_keep(struct context *c, const char *name, SSL_SESSION *session);

/* The context for a client that asks for this name (NULL: none): 0 or what the callback said. */
coil_ret coil__tls_by_name(struct context *c, const char *name, struct context **out);

/* For libcoil's own failures: no place in a source of the user's goes with them. */
#define tls_fail(code, ...) coil_fail_at(NULL, 0, (code), __VA_ARGS__)

#endif
