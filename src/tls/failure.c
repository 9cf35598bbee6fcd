/* SPDX-License-Identifier: MIT
 *
 * failure.c: what OpenSSL says went wrong, in words that help.
 *
 * Runs on any thread. Elsewhere: what is done about it (layer.c, context.c). */
#include "tls/openssl.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <stdio.h>
#include <string.h>

/* ---- certificates ---- */

static const char *advice(long verdict)
{
    switch (verdict) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return ": load its CA, or the peer lacks an intermediate";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: return ": load it as a CA if it is to be trusted";
    case X509_V_ERR_CERT_NOT_YET_VALID:
    case X509_V_ERR_CERT_HAS_EXPIRED: return ": the peer must renew it, or a clock is wrong";
    case X509_V_ERR_UNABLE_TO_GET_CRL: return ": load a CRL of its issuer";
    default: return "";
    }
}

static coil_ret bad_certificate(struct layer *layer, long verdict)
{
    const char *name = layer->name ? layer->name : "the peer";
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
        return tls_fail(COIL_ETLSCERT,
                        "certificate verify failed: it is not for %.60s, the name expected "
                        "(server_hostname)",
                        name);
    return tls_fail(COIL_ETLSCERT, "certificate verify failed: %s, of %.40s%s",
                    X509_verify_cert_error_string(verdict), name, advice(verdict));
}

/* ---- everything else ---- */

/* Words of ours for what people meet most. NULL: OpenSSL's will do. */
static const char *own_words(int reason)
{
    switch (reason) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST: return "the peer speaks plain HTTP, not TLS";
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_TOO_SMALL: return "the peer does not speak TLS";
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return "the peer only knows TLS versions that are switched off here";
    case SSL_R_NO_SHARED_CIPHER:
        return "no cipher suits both, or the server has no certificate that suits";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return "the client showed no certificate";
    case SSL_R_NO_APPLICATION_PROTOCOL: return "no application protocol (ALPN) suits both";
    default: return NULL;
    }
}

/* What led to it comes first, what TLS made of that last: a signature that is wrong is an error of cryptography, and
 * only then one of a certificate. */
static unsigned long error_of_tls(void)
{
    unsigned long first = ERR_peek_error(), last = ERR_peek_last_error();
    return ERR_GET_LIB(last) == ERR_LIB_SSL ? last : first;
}

coil_ret coil__tls_failure(struct layer *layer, const char *what)
{
    unsigned long e = error_of_tls();
    int reason = ERR_GET_REASON(e);
    bool ours = ERR_GET_LIB(e) == ERR_LIB_SSL;
    if (layer->no_memory || reason == ERR_R_MALLOC_FAILURE ||
        ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE)
        return tls_fail(-ENOMEM, "no memory for a TLS connection");
    long verdict = SSL_get_verify_result(layer->ssl);
    if (ours && reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return bad_certificate(layer, verdict);
    const char *words = ours && !layer->shaken ? own_words(reason) : NULL;
    const char *said = ERR_reason_error_string(e);
    if (!said)
        said = "unknown error";
    if (ours && reason >= SSL_AD_REASON_OFFSET)
        return tls_fail(COIL_ETLS, "%s: the peer refused: %s", what, said);
    if (words)
        return tls_fail(COIL_ETLS, "%s: %s (%s)", what, words, said);
    return tls_fail(COIL_ETLS, "%s: %s", what, said);
}

/* What memory was missing for may be said first or last, and what follows from it beside. Empties the queue. */
static bool lacked_memory(void)
{
    bool lacked = false;
    for (unsigned long e; (e = ERR_get_error());)
        lacked |= ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE;
    return lacked;
}

int coil__tls_context_failure(const char *what, const char *file)
{
    unsigned long e = ERR_peek_error();
    const char *said = ERR_reason_error_string(e);
    if (ERR_GET_LIB(e) == ERR_LIB_SYS && ERR_GET_REASON(e) > 0)
        return (int)tls_fail(-ERR_GET_REASON(e), "%s: %.80s: %s", what, file ? file : "",
                             coil_strerror(-ERR_GET_REASON(e)));
    if (!e || lacked_memory())
        return (int)tls_fail(-ENOMEM, "no memory for a TLS context");
    return (int)tls_fail(COIL_ETLS, "%s%s%.80s: %s", what, file ? ": " : "", file ? file : "",
                         said ? said : "nothing of the kind is in there");
}
