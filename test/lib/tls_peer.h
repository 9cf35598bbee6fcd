/* SPDX-License-Identifier: MIT
 *
 * tls_peer.h: the other end of a TLS connection, played by hand: OpenSSL between two memory BIOs over a bare coil_sock.
 *
 *     struct tls_peer p;
 *     tls_peer_open(&p, sock, TLS_PEER_SERVER, "good");
 *     tls_peer_handshake(&p);                     to its end, whatever that is: 0, or -1 and p.error
 *     tls_peer_write(&p, "hello", 5);
 *     tls_peer_close(&p);
 *
 * It is careless on purpose: it shows any certificate, checks none, renegotiates, takes weak keys (security level 0).
 * What it would send can be taken out instead (tls_peer_take) and be cut, held back or spoiled by the test. */
#ifndef TEST_LIB_TLS_PEER_H
#define TEST_LIB_TLS_PEER_H

#include "ca.h"

#include <coil/net.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

enum tls_peer_role { TLS_PEER_CLIENT, TLS_PEER_SERVER };

struct tls_peer {
    coil_sock *sock;
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out;   /* ssl's */
    bool ended;      /* the stream's end, or its error, was met */
    coil_ret failed; /* what the socket said last, if that was an error */
    char error[256]; /* OpenSSL's words, of the last call that failed */
};

static inline void tls_peer_note(struct tls_peer *p)
{
    unsigned long e = ERR_get_error();
    if (e)
        ERR_error_string_n(e, p->error, sizeof p->error);
    ERR_clear_error();
}

/* `certificate` NULL: it shows none. `version` 0, or TLS1_2_VERSION and the like: only that. Takes the socket. */
static inline void tls_peer_open_with(struct tls_peer *p, coil_sock *sock, enum tls_peer_role role,
                                      const char *certificate, int version, const char *name)
{
    *p = (struct tls_peer){.sock = sock};
    p->ctx = SSL_CTX_new(role == TLS_PEER_SERVER ? TLS_server_method() : TLS_client_method());
    SSL_CTX_set_security_level(p->ctx, 0);
    SSL_CTX_clear_options(p->ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_options(p->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_cipher_list(p->ctx, "ALL:@SECLEVEL=0");
    SSL_CTX_set_min_proto_version(p->ctx, version);
    SSL_CTX_set_max_proto_version(p->ctx, version);
    SSL_CTX_set_verify(p->ctx, SSL_VERIFY_NONE, NULL);
    if (certificate &&
        (SSL_CTX_use_certificate_chain_file(p->ctx, ca_path(certificate, ".pem")) != 1 ||
         SSL_CTX_use_PrivateKey_file(p->ctx, ca_path(certificate, ".key"), SSL_FILETYPE_PEM) !=
             1)) {
        ERR_print_errors_fp(stderr);
        abort();
    }
    p->ssl = SSL_new(p->ctx);
    SSL_set_security_level(p->ssl, 0);
    p->in = BIO_new(BIO_s_mem());
    p->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(p->in, -1);
    SSL_set_bio(p->ssl, p->in, p->out);
    if (name)
        SSL_ctrl(p->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                 (void *)(uintptr_t)name); /* as SSL_set_tlsext_host_name, which drops the const */
    if (role == TLS_PEER_SERVER)
        SSL_set_accept_state(p->ssl);
    else
        SSL_set_connect_state(p->ssl);
}

static inline void tls_peer_open(struct tls_peer *p, coil_sock *sock, enum tls_peer_role role,
                                 const char *certificate)
{
    tls_peer_open_with(p, sock, role, certificate, 0, NULL);
}

/* What it has to send, taken out; how many bytes. */
static inline size_t tls_peer_take(struct tls_peer *p, void *buf, size_t n)
{
    int got = BIO_read(p->out, buf, (int)n);
    return got > 0 ? (size_t)got : 0;
}

/* Send all that it has to send. False: the socket takes no more. */
static inline bool tls_peer_flush(struct tls_peer *p)
{
    char bytes[4096];
    for (size_t n; (n = tls_peer_take(p, bytes, sizeof bytes)) > 0;) {
        coil_ret rc = coil_sock_sendall(p->sock, bytes, n, NULL);
        if (rc < 0) {
            p->failed = rc;
            return false;
        }
    }
    return true;
}

/* Wait for some bytes and give them to OpenSSL. False: there will be no more. */
static inline bool tls_peer_pull(struct tls_peer *p)
{
    char bytes[4096];
    coil_ret n = coil_sock_recv(p->sock, bytes, sizeof bytes);
    if (n <= 0) {
        p->ended = true;
        p->failed = n;
        return false;
    }
    BIO_write(p->in, bytes, (int)n);
    return true;
}

/* Do `step`, and whatever it wants, until it neither reads nor writes any more. Its last result. */
static inline int tls_peer_drive(struct tls_peer *p, int (*step)(struct tls_peer *, void *, int),
                                 void *buf, int n)
{
    for (;;) {
        ERR_clear_error();
        int rc = step(p, buf, n);
        int why = rc > 0 ? SSL_ERROR_NONE : SSL_get_error(p->ssl, rc);
        if (rc <= 0)
            tls_peer_note(p);
        if (!tls_peer_flush(p))
            return -1;
        if (why != SSL_ERROR_WANT_READ)
            return rc;
        if (!tls_peer_pull(p))
            return -1;
    }
}

static inline int tls_peer_step_handshake(struct tls_peer *p, void *buf, int n)
{
    (void)buf, (void)n;
    return SSL_do_handshake(p->ssl);
}

static inline int tls_peer_step_read(struct tls_peer *p, void *buf, int n)
{
    return SSL_read(p->ssl, buf, n);
}

static inline int tls_peer_step_write(struct tls_peer *p, void *buf, int n)
{
    return SSL_write(p->ssl, buf, n);
}

/* 0 once it stands; -1: it failed, see `error` and `ended`. */
static inline int tls_peer_handshake(struct tls_peer *p)
{
    return tls_peer_drive(p, tls_peer_step_handshake, NULL, 0) == 1 ? 0 : -1;
}

/* Some bytes; 0: its close_notify; -1: an error, or an end without that. */
static inline int tls_peer_read(struct tls_peer *p, void *buf, size_t n)
{
    int rc = tls_peer_drive(p, tls_peer_step_read, buf, (int)n);
    if (rc > 0)
        return rc;
    return SSL_get_shutdown(p->ssl) & SSL_RECEIVED_SHUTDOWN && !p->ended ? 0 : -1;
}

static inline int tls_peer_write(struct tls_peer *p, const void *buf, size_t n)
{
    return tls_peer_drive(p, tls_peer_step_write, (void *)(uintptr_t)buf, (int)n);
}

/* Say close_notify; the other direction goes on. */
static inline void tls_peer_say_end(struct tls_peer *p)
{
    ERR_clear_error();
    SSL_shutdown(p->ssl);
    tls_peer_flush(p);
    ERR_clear_error();
}

/* Gone, without any close_notify. */
static inline void tls_peer_close(struct tls_peer *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    coil_sock_unref(p->sock);
    p->sock = NULL;
}

/* The same with a reset. */
static inline void tls_peer_reset(struct tls_peer *p)
{
    static const struct linger now = {.l_onoff = 1, .l_linger = 0};
    coil_sock_setsockopt(p->sock, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    tls_peer_close(p);
}

/* Records that are not encrypted (a client's first flight, say), each byte of them in a record of its own. Returns
 * how many bytes of `out` (which has room for 6 n) that makes. */
static inline size_t tls_peer_shred(const unsigned char *records, size_t n, unsigned char *out)
{
    size_t made = 0;
    while (n >= 5) {
        size_t body = (size_t)(records[3] << 8 | records[4]);
        for (size_t i = 0; i < body; i++) {
            memcpy(out + made, records, 3);
            out[made + 3] = 0;
            out[made + 4] = 1;
            out[made + 5] = records[5 + i];
            made += 6;
        }
        records += 5 + body;
        n -= 5 + body;
    }
    return made;
}

#endif
