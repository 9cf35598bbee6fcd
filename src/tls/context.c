/* SPDX-License-Identifier: MIT
 *
 * context.c: what a connection is allowed to believe, and what it shows: certificates, names, versions.
 *
 *     ClientHello --> by_name: callback, then names --> another context's certificates, trust, versions, ALPN
 *
 * A server changes to another context before it looks at sessions, and each context has a session id context of its own: a
 * session of one name is none at another, where more may be asked of clients.
 *
 * Runs on any thread; a context is set up by one. Elsewhere: connections (layer.c). */
#include "base/mem.h"
#include "tls/openssl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <string.h>
#include <strings.h>

enum { SECURITY_LEVEL_MIN = 2 }; /* no RSA below 2048 bits, no SHA-1 in signatures */

struct server_name {
    struct server_name *next;
    struct context *context; /* a reference */
    char name[];
};

struct session {
    struct session *next;
    SSL_SESSION *session;
    char name[];
};

/* ---- clients that ask for a name ---- */

static bool name_matches(const char *pattern, const char *name)
{
    if (strncmp(pattern, "*.", 2) != 0)
        return strcasecmp(pattern, name) == 0;
    const char *dot = strchr(name, '.');
    return dot && dot != name && strcasecmp(pattern + 1, dot) == 0;
}

coil_ret coil__tls_by_name(struct context *c, const char *name, struct context **out)
{
    coil_tls_context *other = NULL;
    coil_ret rc = c->sni ? c->sni(name, &other, c->sni_arg) : 0;
    if (rc < 0)
        return rc;
    *out = other ? context_of(other) : c;
    for (const struct server_name *n = c->names; n && name && !other; n = n->next) {
        if (!name_matches(n->name, name))
            continue;
        *out = n->context;
        return 0;
    }
    return 0;
}

/* The name in a ClientHello's extension: a list of one, type 0. 0 none, 1 there is one, -1 nonsense. */
static int hello_name(SSL *ssl, char *out, size_t room)
{
    const unsigned char *p;
    size_t n;
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n))
        return 0;
    if (n < 5 || (size_t)(p[0] << 8 | p[1]) != n - 2 || p[2] != TLSEXT_NAMETYPE_host_name)
        return -1;
    size_t length = (size_t)(p[3] << 8 | p[4]);
    if (length != n - 5 || length == 0 || length >= room || memchr(p + 5, 0, length))
        return -1;
    memcpy(out, p + 5, length);
    out[length] = 0;
    return 1;
}

static int verify_mode(const struct context *c)
{
    if (!is_for_servers(c))
        return c->flags & COIL_TLS_INSECURE_NO_VERIFY ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
    if (c->clients == COIL_TLS_CLIENTS_NONE)
        return SSL_VERIFY_NONE;
    return SSL_VERIFY_PEER |
           (c->clients == COIL_TLS_CLIENTS_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
}

/* SSL_set_SSL_CTX leaves with the connection what SSL_new took from the first context. */
static bool change_context(SSL *ssl, struct context *to)
{
    SSL_CTX *ctx = to->ctx;
    SSL_set_SSL_CTX(ssl, ctx);
    SSL_set_verify(ssl, verify_mode(to), NULL);
    SSL_clear_options(ssl, SSL_get_options(ssl) & ~SSL_CTX_get_options(ctx));
    SSL_set_options(ssl, SSL_CTX_get_options(ctx));
    return SSL_set1_param(ssl, SSL_CTX_get0_param(ctx)) == 1 &&
           SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(ctx)) == 1 &&
           SSL_set_max_proto_version(ssl, (int)SSL_CTX_get_max_proto_version(ctx)) == 1;
}

/* In TLS 1.3 a server may want the hello once more, the same but for its keys. Under another name it would be served with
 * what was chosen for the first, and called by the second. */
static bool says_it_again(const struct layer *layer, const char *name)
{
    return layer->asked && name ? strcmp(layer->asked, name) == 0 : !layer->asked && !name;
}

/* For as long as the connection lives: a callback's context may be its only reference. */
static bool keep_choice(struct layer *layer, const char *name, struct context *to)
{
    size_t n = name ? strlen(name) + 1 : 0;
    if (name && !(layer->asked = coil__alloc(n)))
        return false;
    if (name)
        memcpy(layer->asked, name, n);
    layer->serving = context_of(coil_tls_context_ref(&to->base));
    return true;
}

/* Before sessions and versions are looked at. */
static int client_hello(SSL *ssl, int *alert, void *arg)
{
    struct layer *layer = SSL_get_app_data(ssl);
    struct context *c = arg, *to;
    char room[FILTER_NAME_MAX];
    int there = hello_name(ssl, room, sizeof room);
    const char *name = there > 0 ? room : NULL;
    if (there < 0) {
        *alert = SSL_AD_DECODE_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (layer->serving) {
        *alert = SSL_AD_ILLEGAL_PARAMETER;
        return says_it_again(layer, name) ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
    }
    if (coil__tls_by_name(c, name, &to) < 0 || !is_for_servers(to)) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (keep_choice(layer, name, to) && (to == c || change_context(ssl, to)))
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

/* Tells the client that its name was heard, and lets SSL_get_servername say it. */
static int name_heard(SSL *ssl, int *alert, void *arg)
{
    (void)ssl, (void)alert, (void)arg;
    return SSL_TLSEXT_ERR_OK;
}

/* ---- ALPN ---- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                           const unsigned char *theirs, unsigned theirs_n, void *arg)
{
    const struct context *c = arg;
    unsigned char *choice;
    (void)ssl;
    if (!c->alpn)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto(&choice, out_n, c->alpn, c->alpn_n, theirs, theirs_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = choice;
    return SSL_TLSEXT_ERR_OK;
}

/* ---- sessions of a client ---- */

static void session_free(struct session *s)
{
    SSL_SESSION_free(s->session);
    coil__free(s);
}

/* Where the pointer to this name's is, or to the end. */
static struct session **find_session(struct context *c, const char *name)
{
    struct session **at = &c->sessions;
    while (*at && strcasecmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static struct session *take_session(struct context *c, struct session **at)
{
    struct session *s = *at;
    *at = s->next;
    c->sessions_n--;
    return s;
}

/* A ticket of TLS 1.3 is for one use: offered twice it would let the two connections be told to be of one client. */
SSL_SESSION *coil__tls_session_for(struct context *c, const char *name)
{
    SSL_SESSION *session = NULL;
    if (!CRYPTO_THREAD_write_lock(c->lock))
        return NULL;
    struct session **at = find_session(c, name);
    if (*at && SSL_SESSION_up_ref((*at)->session))
        session = (*at)->session;
    if (session && SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION)
        session_free(take_session(c, at));
    CRYPTO_THREAD_unlock(c->lock);
    return session;
}

/* The oldest go first. */
static void forget_sessions(struct context *c)
{
    while (c->sessions_n > c->sessions_max) {
        struct session **at = &c->sessions;
        while ((*at)->next)
            at = &(*at)->next;
        session_free(take_session(c, at));
    }
}

static void keep_session(struct context *c, struct session *s)
{
    struct session **at = find_session(c, s->name);
    if (*at)
        session_free(take_session(c, at));
    s->next = c->sessions;
    c->sessions = s;
    c->sessions_n++;
    forget_sessions(c);
}

void coil__tls_session_keep(struct context *c, const char *name, SSL_SESSION *session)
{
    size_t n = strlen(name) + 1;
    struct session *s = coil__zalloc(sizeof *s + n);
    if (!s) {
        SSL_SESSION_free(session);
        return;
    }
    s->session = session;
    memcpy(s->name, name, n);
    if (!CRYPTO_THREAD_write_lock(c->lock)) {
        session_free(s);
        return;
    }
    keep_session(c, s);
    CRYPTO_THREAD_unlock(c->lock);
}

static int session_came(SSL *ssl, SSL_SESSION *session)
{
    struct layer *layer = SSL_get_app_data(ssl);
    if (!layer->name || layer->context->sessions_max == 0)
        return 0;
    coil__tls_session_keep(layer->context, layer->name, session);
    return 1; /* the reference is ours now */
}

/* ---- life ---- */

static void context_free(struct context *c)
{
    while (c->names) {
        struct server_name *n = c->names;
        c->names = n->next;
        coil_tls_context_unref(&n->context->base);
        coil__free(n);
    }
    while (c->sessions)
        session_free(take_session(c, &c->sessions));
    SSL_CTX_free(c->ctx);
    CRYPTO_THREAD_lock_free(c->lock);
    coil__free(c->alpn);
    coil__free(c);
}

coil_tls_context *coil_tls_context_ref(coil_tls_context *context)
{
    atomic_fetch_add_explicit(&context_of(context)->refs, 1, memory_order_relaxed);
    return context;
}

void coil_tls_context_unref(coil_tls_context *context)
{
    if (context &&
        atomic_fetch_sub_explicit(&context_of(context)->refs, 1, memory_order_acq_rel) == 1)
        context_free(context_of(context));
}

/* A name that can be asked for and looked for: of ASCII, and neither cut nor guessed at. */
static coil_ret check_name(const char *name)
{
    if (!*name || strcmp(name, ".") == 0)
        return tls_fail(-EINVAL, "server_hostname is empty: whom must the certificate name?");
    if (*name == '.')
        return tls_fail(
            -EINVAL,
            "server_hostname \"%.60s\" begins with a dot: any name of that domain would do", name);
    if (strlen(name) >= FILTER_NAME_MAX)
        return tls_fail(-EINVAL, "server_hostname is longer than any name, %zu bytes",
                        strlen(name));
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
            return tls_fail(-EINVAL,
                            "server_hostname \"%.60s\" is not ASCII: give its form with "
                            "xn--",
                            name);
    return 0;
}

static coil_ret check(const coil_tls_context *context, const char *server_hostname)
{
    struct context *c = context_of(context);
    if (is_for_servers(c)) {
        if (SSL_CTX_get0_certificate(c->ctx) || c->sni)
            return 0;
        return tls_fail(-EINVAL, "the server's TLS context has no certificate: "
                                 "coil_tls_context_load_cert_chain");
    }
    bool careless = c->flags & (COIL_TLS_INSECURE_NO_HOSTNAME | COIL_TLS_INSECURE_NO_VERIFY);
    if (server_hostname)
        return check_name(server_hostname);
    return careless ? 0 : tls_fail(-EINVAL, "set server_hostname: whom must the certificate name?");
}

static bool is_server(const coil_tls_context *context)
{
    return is_for_servers(context_of(context));
}

static const struct context_class context_class = {
    .abi = FILTER_ABI,
    .ref = coil_tls_context_ref,
    .unref = coil_tls_context_unref,
    .check = check,
    .open = coil__tls_open,
    .is_server = is_server,
};

/* A key's password is never asked for at a terminal. */
static int no_password(char *out, int n, int writing, void *password)
{
    (void)writing;
    size_t length = password ? strlen(password) : 0;
    if (!password || length > (size_t)n)
        return -1;
    memcpy(out, password, length);
    return (int)length;
}

static void set_up_server(struct context *c, const unsigned char *id, unsigned id_n)
{
    SSL_CTX_set_client_hello_cb(c->ctx, client_hello, c);
    SSL_CTX_set_tlsext_servername_callback(c->ctx, name_heard);
    SSL_CTX_set_alpn_select_cb(c->ctx, choose_protocol, c);
    SSL_CTX_set_options(c->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    (void)SSL_CTX_set_session_id_context(c->ctx, id, id_n);
}

static void set_up_client(struct context *c)
{
    SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ctx, session_came);
}

static bool set_up(struct context *c)
{
    unsigned char id[SSL_MAX_SID_CTX_LENGTH];
    SSL_CTX *ctx = c->ctx;
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 || RAND_bytes(id, sizeof id) != 1)
        return false;
    if (SSL_CTX_get_security_level(ctx) < SECURITY_LEVEL_MIN)
        SSL_CTX_set_security_level(ctx, SECURITY_LEVEL_MIN);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx),
                                X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(ctx, verify_mode(c), NULL);
    if (is_for_servers(c))
        set_up_server(c, id, sizeof id);
    else
        set_up_client(c);
    return true;
}

int coil_tls_context_new(unsigned flags, coil_tls_context **out_context)
{
    const unsigned careless = COIL_TLS_INSECURE_NO_HOSTNAME | COIL_TLS_INSECURE_NO_VERIFY;
    if (flags & ~(COIL_TLS_SERVER | COIL_TLS_NO_DEFAULT_CERTS | careless))
        return (int)tls_fail(-EINVAL, "a TLS context knows no such flag (%#x)", flags);
    if ((flags & COIL_TLS_SERVER) && (flags & careless))
        return (int)tls_fail(-EINVAL, "a server's clients are checked as "
                                      "coil_tls_context_set_clients says");
    struct context *c = coil__zalloc(sizeof *c);
    if (!c)
        return (int)tls_fail(-ENOMEM, "no memory for a TLS context");
    ERR_clear_error();
    c->base.cls = &context_class;
    atomic_init(&c->refs, 1);
    c->flags = flags;
    c->lock = CRYPTO_THREAD_lock_new();
    c->ctx = SSL_CTX_new(flags & COIL_TLS_SERVER ? TLS_server_method() : TLS_client_method());
    int err = 0;
    if (!c->lock || !c->ctx || !set_up(c))
        err = coil__tls_context_failure("making a TLS context", NULL);
    if (err == 0 && !(flags & (COIL_TLS_SERVER | COIL_TLS_NO_DEFAULT_CERTS)))
        err = coil_tls_context_load_default_certs(&c->base);
    if (err < 0) {
        context_free(c);
        return err;
    }
    *out_context = &c->base;
    return 0;
}

/* ---- whom we trust ---- */

int coil_tls_context_load_default_certs(coil_tls_context *context)
{
    ERR_clear_error();
    if (SSL_CTX_set_default_verify_paths(context_of(context)->ctx) == 1)
        return 0;
    return coil__tls_context_failure("loading the system's certificates", NULL);
}

int coil_tls_context_load_verify_locations(coil_tls_context *context, const char *file,
                                           const char *folder)
{
    SSL_CTX *ctx = context_of(context)->ctx;
    if (!file && !folder)
        return (int)tls_fail(-EINVAL, "give a file or a folder of certificates");
    ERR_clear_error();
    if (file && SSL_CTX_load_verify_file(ctx, file) != 1)
        return coil__tls_context_failure("trusted certificates", file);
    if (folder && SSL_CTX_load_verify_dir(ctx, folder) != 1)
        return coil__tls_context_failure("trusted certificates", folder);
    return 0;
}

static bool end_of_pem(void)
{
    unsigned long e = ERR_peek_last_error();
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

int coil_tls_context_load_verify_pem(coil_tls_context *context, const void *pem, size_t n)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context_of(context)->ctx);
    if (n > INT32_MAX)
        return (int)tls_fail(-EINVAL, "trusted certificates of %zu bytes are more than anybody has",
                             n);
    ERR_clear_error();
    BIO *bio = BIO_new_mem_buf(pem, (int)n);
    size_t count = 0;
    bool ok = bio != NULL;
    for (X509 *x; ok && (x = PEM_read_bio_X509(bio, NULL, no_password, NULL)); count++) {
        ok = X509_STORE_add_cert(store, x) == 1;
        X509_free(x);
    }
    BIO_free(bio);
    ok = ok && count > 0 && end_of_pem();
    return ok ? 0 : coil__tls_context_failure("trusted certificates", NULL);
}

int coil_tls_context_load_crls(coil_tls_context *context, const char *file)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context_of(context)->ctx);
    ERR_clear_error();
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    if (!lookup || X509_load_crl_file(lookup, file, X509_FILETYPE_PEM) < 1)
        return coil__tls_context_failure("revoked certificates", file);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context_of(context)->ctx),
                                X509_V_FLAG_CRL_CHECK);
    return 0;
}

/* ---- who we are ---- */

struct own {
    X509 *x;
    STACK_OF(X509) * chain; /* between it and the root */
    EVP_PKEY *key;
};

static bool read_chain(struct own *own, BIO *bio)
{
    own->x = PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL);
    own->chain = sk_X509_new_null();
    if (!own->x || !own->chain)
        return false;
    for (X509 *x; (x = PEM_read_bio_X509(bio, NULL, no_password, NULL));)
        if (sk_X509_push(own->chain, x) <= 0) {
            X509_free(x);
            return false;
        }
    bool ok = end_of_pem();
    if (ok)
        ERR_clear_error();
    return ok;
}

static bool read_key(struct own *own, BIO *bio, const char *password)
{
    own->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, (void *)(uintptr_t)password);
    return own->key && X509_check_private_key(own->x, own->key) == 1;
}

/* All is read and looked at before any of it is used: what cannot be leaves the context as it was. Takes both. */
static int use_identity(struct context *c, BIO *chain, const char *chain_file, BIO *key,
                        const char *key_file, const char *password)
{
    struct own own = {NULL, NULL, NULL};
    int err = 0;
    if (!chain)
        err = coil__tls_context_failure("certificate chain", chain_file);
    else if (!key)
        err = coil__tls_context_failure("private key", key_file);
    else if (!read_chain(&own, chain))
        err = coil__tls_context_failure("certificate chain", chain_file);
    else if (!read_key(&own, key, password))
        err = coil__tls_context_failure("private key", key_file);
    else if (SSL_CTX_use_cert_and_key(c->ctx, own.x, own.key, own.chain, 1) != 1)
        err = coil__tls_context_failure("certificate chain", chain_file);
    X509_free(own.x);
    sk_X509_pop_free(own.chain, X509_free);
    EVP_PKEY_free(own.key);
    BIO_free(chain);
    BIO_free(key);
    return err;
}

int coil_tls_context_load_cert_chain(coil_tls_context *context, const char *chain, const char *key,
                                     const char *password)
{
    const char *key_file = key ? key : chain;
    if (!chain)
        return (int)tls_fail(-EINVAL, "give the file of a certificate chain");
    ERR_clear_error();
    BIO *chain_bio = BIO_new_file(chain, "r");
    BIO *key_bio = chain_bio ? BIO_new_file(key_file, "r") : NULL;
    return use_identity(context_of(context), chain_bio, chain, key_bio, key_file, password);
}

int coil_tls_context_load_cert_chain_pem(coil_tls_context *context, const void *chain,
                                         size_t chain_n, const void *key, size_t key_n,
                                         const char *password)
{
    if (!chain || !key || chain_n > INT32_MAX || key_n > INT32_MAX)
        return (int)tls_fail(-EINVAL, "give a certificate chain and its key");
    ERR_clear_error();
    BIO *chain_bio = BIO_new_mem_buf(chain, (int)chain_n);
    BIO *key_bio = chain_bio ? BIO_new_mem_buf(key, (int)key_n) : NULL;
    return use_identity(context_of(context), chain_bio, NULL, key_bio, NULL, password);
}

/* ---- what is spoken, and with whom ---- */

static int for_servers_only(const struct context *c, const char *what)
{
    return is_for_servers(c) ? 0 : (int)tls_fail(-EINVAL, "%s: of servers' contexts only", what);
}

int coil_tls_context_set_clients(coil_tls_context *context, enum coil_tls_clients clients)
{
    struct context *c = context_of(context);
    int err = for_servers_only(c, "client certificates");
    if (err < 0)
        return err;
    if ((unsigned)clients > COIL_TLS_CLIENTS_REQUIRED)
        return (int)tls_fail(-EINVAL, "clients show a certificate never, perhaps or always");
    c->clients = clients;
    SSL_CTX_set_verify(c->ctx, verify_mode(c), NULL);
    return 0;
}

static int check_protocols(const char *const *protocols, size_t n, size_t *out_total)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(protocols[i]);
        if (length == 0 || length > 255)
            return (int)tls_fail(-EINVAL, "a protocol's name has 1 to 255 bytes, not %zu", length);
        total += length + 1;
        if (total > 65535)
            return (int)tls_fail(-EINVAL, "more than 64 KiB of protocols");
    }
    *out_total = total;
    return 0;
}

int coil_tls_context_set_alpn_protocols(coil_tls_context *context, const char *const *protocols,
                                        size_t protocols_n)
{
    struct context *c = context_of(context);
    size_t total = 0;
    int err = check_protocols(protocols, protocols_n, &total);
    if (err < 0)
        return err;
    unsigned char *wire = total ? coil__alloc(total) : NULL, *p = wire;
    if (total && !wire)
        return (int)tls_fail(-ENOMEM, "no memory for a list of protocols");
    for (size_t i = 0; i < protocols_n; i++) {
        size_t length = strlen(protocols[i]);
        *p++ = (unsigned char)length;
        memcpy(p, protocols[i], length);
        p += length;
    }
    if (!is_for_servers(c) && SSL_CTX_set_alpn_protos(c->ctx, wire, (unsigned)total) != 0) {
        coil__free(wire);
        return (int)tls_fail(-ENOMEM, "no memory for a list of protocols");
    }
    coil__free(c->alpn);
    c->alpn = wire;
    c->alpn_n = (unsigned)total;
    return 0;
}

int coil_tls_context_set_versions(coil_tls_context *context, int minimum, int maximum)
{
    SSL_CTX *ctx = context_of(context)->ctx;
    int low = minimum ? minimum : COIL_TLS_1_2, high = maximum ? maximum : COIL_TLS_1_3;
    if (low < COIL_TLS_1_2 || high > COIL_TLS_1_3 || low > high)
        return (int)tls_fail(-EINVAL,
                             "TLS is spoken from COIL_TLS_1_2 to COIL_TLS_1_3, not from "
                             "%d to %d",
                             minimum, maximum);
    (void)SSL_CTX_set_min_proto_version(ctx, low == COIL_TLS_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION);
    (void)SSL_CTX_set_max_proto_version(ctx,
                                        high == COIL_TLS_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION);
    return 0;
}

int coil_tls_context_set_ciphers(coil_tls_context *context, const char *ciphers)
{
    ERR_clear_error();
    if (SSL_CTX_set_cipher_list(context_of(context)->ctx, ciphers) == 1)
        return 0;
    return coil__tls_context_failure("ciphers of TLS 1.2", ciphers);
}

int coil_tls_context_add_server_name(coil_tls_context *context, const char *name,
                                     coil_tls_context *other)
{
    struct context *c = context_of(context);
    int err = for_servers_only(c, "server names");
    if (err < 0)
        return err;
    size_t n = strlen(name) + 1;
    if (!is_server(other) || other == context || n == 1)
        return (int)tls_fail(-EINVAL, "a server name goes with another context for servers");
    struct server_name *entry = coil__alloc(sizeof *entry + n);
    if (!entry)
        return (int)tls_fail(-ENOMEM, "no memory for a server name");
    memcpy(entry->name, name, n);
    entry->context = context_of(coil_tls_context_ref(other));
    /* Whole names stand before those with a star, whatever came first. */
    struct server_name **at = &c->names;
    while (*at && ((*at)->name[0] != '*' || name[0] == '*'))
        at = &(*at)->next;
    entry->next = *at;
    *at = entry;
    return 0;
}

int coil_tls_context_set_sni_callback(coil_tls_context *context, coil_tls_sni_fn fn, void *arg)
{
    struct context *c = context_of(context);
    int err = for_servers_only(c, "the SNI callback");
    if (err < 0)
        return err;
    c->sni = fn;
    c->sni_arg = arg;
    return 0;
}

int coil_tls_context_set_sessions(coil_tls_context *context, size_t names_max)
{
    struct context *c = context_of(context);
    if (is_for_servers(c))
        return (int)tls_fail(-EINVAL, "servers give sessions out as tickets");
    if (!CRYPTO_THREAD_write_lock(c->lock))
        return (int)tls_fail(-ENOMEM, "the sessions of a TLS context cannot be reached");
    c->sessions_max = names_max;
    forget_sessions(c);
    CRYPTO_THREAD_unlock(c->lock);
    return 0;
}
