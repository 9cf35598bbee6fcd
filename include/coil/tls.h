/* SPDX-License-Identifier: MIT
 *
 * coil/tls.h: what a TLS context is made of, and what may be asked of a connection that has one.
 *
 *     coil_tls_context *tls;
 *     coil_ret rc = coil_tls_context_new(0, &tls);
 *     if (coil_iserr(rc))
 *         return rc;
 *     rc = coil_open_connection_with("example.org", "443", &(coil_connect_opts){.tls = tls}, &reader, &writer);
 *
 * A library of its own, libcoil-tls, which stands on OpenSSL. libcoil has not heard of that: it drives whatever
 * a context opens. Link with -lcoil-tls (pkg-config: coil-tls; CMake: coil::tls).
 *
 * Where a context goes: `tls` of coil_connect_opts and of coil_server_opts, for streams, transports, TCP and unix
 * sockets alike; coil_writer_start_tls and coil_loop_start_tls for a connection that stands already (and for TLS
 * within TLS). Everything else is as without: reads, writes, drain, close.
 *
 * What a client checks unless it is told not to, by a flag that begins with COIL_TLS_INSECURE: that the server's
 * certificate chains up to a trusted one, that today lies between its dates, and that it names the server that was
 * meant. TLS 1.2 at least; no compression, no renegotiation, no early data.
 *
 * The end: a close sends close_notify behind what was written and waits for the peer's; write_eof sends it too, and what the
 * peer still says can be read. A peer whose stream ends
 * without one is told as COIL_ETLSEOF, since nobody knows who ended it; what came before is delivered first.
 *
 * Cryptography runs on the loop's stack, never on a task's. asyncio: the ssl module, ssl= */
#ifndef COIL_TLS_H
#define COIL_TLS_H

#include <coil/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- contexts ---- */

enum {
    COIL_TLS_SERVER = 1u << 0,           /* the context is for servers; else for clients */
    COIL_TLS_NO_DEFAULT_CERTS = 1u << 1, /* trust only what is loaded */
    /* Clients: do not look whom the certificate names: any server whose certificate is good will do.
     * asyncio: check_hostname = False */
    COIL_TLS_INSECURE_NO_HOSTNAME = 1u << 16,
    /* Clients: look at nothing: whoever sits on the line may be the server. asyncio: CERT_NONE */
    COIL_TLS_INSECURE_NO_VERIFY = 1u << 17,
};

/* Make a context. A client's trusts what the system trusts (OpenSSL's default file and folder), unless
 * COIL_TLS_NO_DEFAULT_CERTS says otherwise; a server's trusts nobody until something is loaded, and needs a
 * certificate chain before it can serve.
 *
 * A context is counted, and may be used by any number of connections, loops and threads. What is changed after the
 * first connection concerns later ones; nobody else may use it during a change.
 *
 *   Owns:    one reference, yours; connections and servers keep their own.
 *   Errors:  -EINVAL for a flag that does not exist, and for COIL_TLS_INSECURE_... on a server's; COIL_ETLS, -ENOMEM.
 *   asyncio: ssl.create_default_context, SSLContext */
COIL_API int coil_tls_context_new(unsigned flags, coil_tls_context **out_context);

/* Share and give back, from any thread. unref accepts NULL. */
COIL_API coil_tls_context *coil_tls_context_ref(coil_tls_context *context);
COIL_API void coil_tls_context_unref(coil_tls_context *context);

/* Whom we trust: certificates in a PEM file, or in a folder under their hashes (c_rehash); either may be NULL. They are
 * added to those that are there. The file is read now, by OpenSSL, and so on the caller's stack: not from a task
 * with a small one. The folder is looked into when a certificate is checked.
 *
 *   Errors:  COIL_ETLS, with OpenSSL's words; -ENOENT and the like when the file cannot be read; -EINVAL for neither.
 *   asyncio: SSLContext.load_verify_locations */
COIL_API int coil_tls_context_load_verify_locations(coil_tls_context *context, const char *file,
                                                    const char *folder);

/* The same from memory: `n` bytes of PEM.
 *
 *   Errors:  COIL_ETLS when no certificate is in there; -ENOMEM.
 *   asyncio: SSLContext.load_verify_locations(cadata=) */
COIL_API int coil_tls_context_load_verify_pem(coil_tls_context *context, const void *pem, size_t n);

/* Whom the system trusts; clients have it already, unless they were made without.
 *
 *   Errors:  COIL_ETLS.
 *   asyncio: SSLContext.load_default_certs */
COIL_API int coil_tls_context_load_default_certs(coil_tls_context *context);

/* Lists of revoked certificates, in a PEM file; from then on the peer's own certificate must be on the good side of
 * one by its issuer.
 *
 *   Errors:  as coil_tls_context_load_verify_locations.
 *   asyncio: SSLContext.verify_flags = VERIFY_CRL_CHECK_LEAF */
COIL_API int coil_tls_context_load_crls(coil_tls_context *context, const char *file);

/* Who we are: our certificate and those between it and the root, in this order, and the private key of the first. `key`
 * NULL: it is in the same file. `password` NULL: the key is not encrypted (it is never asked for). What cannot be used
 * leaves the context as it was.
 *
 *   Errors:  COIL_ETLS with words that say which of the two, also when the key is of another certificate; -ENOENT
 *            and the like.
 *   asyncio: SSLContext.load_cert_chain */
COIL_API int coil_tls_context_load_cert_chain(coil_tls_context *context, const char *chain,
                                              const char *key, const char *password);

/* The same from memory, both in PEM.
 *
 *   Errors:  COIL_ETLS, -ENOMEM. */
COIL_API int coil_tls_context_load_cert_chain_pem(coil_tls_context *context, const void *chain,
                                                  size_t chain_n, const void *key, size_t key_n,
                                                  const char *password);

/* Do a server's clients show a certificate? One that is shown is always checked.
 *
 *   Errors:  -EINVAL for a client's context.
 *   asyncio: SSLContext.verify_mode */
enum coil_tls_clients {
    COIL_TLS_CLIENTS_NONE,     /* they are not asked; CERT_NONE */
    COIL_TLS_CLIENTS_OPTIONAL, /* asked, and served without too; CERT_OPTIONAL */
    COIL_TLS_CLIENTS_REQUIRED, /* without a good one there is no connection; CERT_REQUIRED */
};
COIL_API int coil_tls_context_set_clients(coil_tls_context *context, enum coil_tls_clients clients);

/* The protocols spoken over TLS ("h2", "http/1.1"), best first; none: ALPN is not used. Client and server agree on the
 * first of the server's that the client has too. If they have none in common the server refuses the connection (asyncio
 * goes on without).
 *
 *   Errors:  -EINVAL for a name that is empty or longer than 255 bytes, or for more than 64 KiB of them; -ENOMEM.
 *   asyncio: SSLContext.set_alpn_protocols */
COIL_API int coil_tls_context_set_alpn_protocols(coil_tls_context *context,
                                                 const char *const *protocols, size_t protocols_n);

/* The versions that are spoken: COIL_TLS_1_2 or COIL_TLS_1_3; 0: the lowest, or highest, there is.
 *
 *   Errors:  -EINVAL for others, and for a minimum above the maximum.
 *   asyncio: SSLContext.minimum_version, maximum_version */
enum { COIL_TLS_1_2 = 12, COIL_TLS_1_3 = 13 };
COIL_API int coil_tls_context_set_versions(coil_tls_context *context, int minimum, int maximum);

/* The ciphers of TLS 1.2, as OpenSSL writes lists of them ("ECDHE+AESGCM:..."). Those of 1.3 are all good.
 *
 *   Errors:  COIL_ETLS when none is left.
 *   asyncio: SSLContext.set_ciphers */
COIL_API int coil_tls_context_set_ciphers(coil_tls_context *context, const char *ciphers);

/* A server of several names: clients that ask for `name` (SNI; "*.example.org" is any one label before it) are served
 * with `other`: its certificates, whom it trusts, its ALPN. A whole name goes before a star. Who asks for no name, or
 * one that is not here, is served with `context` itself.
 *
 *   Owns:    a reference to `other` of its own.
 *   Errors:  -EINVAL unless both are for servers, for an empty name, and for `context` itself; -ENOMEM.
 *   asyncio: SSLContext.sni_callback, the usual one */
COIL_API int coil_tls_context_add_server_name(coil_tls_context *context, const char *name,
                                              coil_tls_context *other);

/* The same by a function: called for each client with the name it asks for (NULL: none) before any name of the above is
 * looked at. It returns 0, and may set *out_context (borrowed) to serve this client with another; or an error,
 * and the client is refused ("unrecognized_name"). It runs on the loop's stack and may not wait.
 *
 *   Errors:  -EINVAL for a client's context.
 *   asyncio: SSLContext.sni_callback */
typedef coil_ret (*coil_tls_sni_fn)(const char *server_name, coil_tls_context **out_context,
                                    void *arg);
COIL_API int coil_tls_context_set_sni_callback(coil_tls_context *context, coil_tls_sni_fn fn,
                                               void *arg);

/* A client's: remember one session for each of up to `names_max` server names, and offer it at the next connection there,
 * which then needs neither certificates nor a signature. 0, the default, remembers none. A session is as good as the
 * check of the certificate that began it: what is loaded later does not concern it. (Servers give out sessions
 * by themselves, as tickets.) What is beyond a smaller number is forgotten at once.
 *
 *   Errors:  -EINVAL for a server's.
 *   asyncio: SSLObject.session, by hand */
COIL_API int coil_tls_context_set_sessions(coil_tls_context *context, size_t names_max);

/* ---- a connection's TLS ----
 *
 * coil_writer_tls and coil_transport_tls (coil/stream.h, coil/transport.h) give it out: borrowed, and good as long as the
 * connection's object. What is asked here was settled by the handshake. Texts stay good as long. */

/* "TLSv1.3", "TLSv1.2". asyncio: SSLObject.version */
COIL_API const char *coil_tls_version(const coil_tls *tls);

/* The cipher's name, as RFCs write it: "TLS_AES_256_GCM_SHA384". asyncio: SSLObject.cipher */
COIL_API const char *coil_tls_cipher(const coil_tls *tls);

/* What ALPN agreed on; NULL: nothing. asyncio: SSLObject.selected_alpn_protocol */
COIL_API const char *coil_tls_alpn(const coil_tls *tls);

/* The name that the client asked for; NULL: none. asyncio: SSLObject.server_hostname */
COIL_API const char *coil_tls_server_name(const coil_tls *tls);

/* Did both know each other by an earlier session? asyncio: SSLObject.session_reused */
COIL_API bool coil_tls_session_reused(const coil_tls *tls);

/* The peer's chain as it was checked, in DER: its own certificate at 0, then up to the trusted one. (Unchecked ones, under
 * COIL_TLS_INSECURE_NO_VERIFY, and after a session was reused: its own alone.) Good until the next call for this
 * connection.
 *
 *   Errors:  -ENOENT beyond the last; -ENOMEM.
 *   asyncio: SSLObject.getpeercert(binary_form=True), get_verified_chain */
COIL_API int coil_tls_peer_certificate(coil_tls *tls, size_t index, const void **out_der,
                                       size_t *out_n);

/* Whom the peer's certificate is for, "CN=example.org,O=Example": for people to read; NULL: it showed none.
 * asyncio: SSLObject.getpeercert()["subject"] */
COIL_API const char *coil_tls_peer_name(coil_tls *tls);

/* Take new keys for what is sent from the next write on (TLS 1.3; a connection that carries much for long). The peer
 * is asked to do so too. Keys are renewed by themselves when the peer asks for it.
 *
 *   Errors:  COIL_EINVALIDSTATE before the handshake is over, and for TLS 1.2; COIL_ETLS. */
COIL_API int coil_tls_key_update(coil_tls *tls);

/* Which OpenSSL this runs on: "OpenSSL 3.0.19 27 Jan 2026". asyncio: ssl.OPENSSL_VERSION */
COIL_API const char *coil_tls_library(void);

#ifdef __cplusplus
}
#endif
#endif
