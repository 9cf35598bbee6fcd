/* SPDX-License-Identifier: MIT
 *
 * test_memory.c: OpenSSL runs out of memory, at one of its allocations after the other: what was asked for fails, nothing is
 * lost, and the same goes well afterwards. Reading certificates it calls a lack of memory by other names too ("decode
 * error"); making contexts and connections it does not, and neither do we.
 *
 * OpenSSL takes other functions for its memory only before its first allocation, so this is a program of its own. */
#include "stage.h"
#include "tls/openssl.h"

#include <openssl/crypto.h>

static long left; /* allocations until one fails; 0: none does */

static bool fails(void)
{
    return left > 0 && --left == 0;
}

static void *take(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return fails() ? NULL : malloc(n);
}

static void *grow(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return fails() ? NULL : realloc(p, n);
}

static void give_back(void *p, const char *file, int line)
{
    (void)file, (void)line;
    free(p);
}

__attribute__((constructor)) static void take_over_memory(void)
{
    if (!CRYPTO_set_mem_functions(take, grow, give_back))
        abort();
}

/* Calls it with one allocation of OpenSSL failing, a later one each time, until it needs no more than those. */
static void sweep(int (*call)(void *arg), void *arg, bool reads)
{
    int failed = 0;
    assert_int_equal(call(arg), 0); /* what is made once is there then */
    for (long n = 1;; n += reads ? 1 + n / 8 : 1) {
        left = n;
        int err = call(arg);
        bool reached = left == 0;
        left = 0;
        if (!reached) {
            assert_int_equal(err, 0);
            break;
        }
        if (err < 0) { /* some it can do without */
            if (err != -ENOMEM && !(reads && err == COIL_ETLS))
                fail_msg("allocation %ld: %s: %s", n, coil_errname(err),
                         coil_last_error()->message);
            failed++;
        }
        assert_int_equal(call(arg), 0);
    }
    assert_true(failed > 0);
}

static int make_context(void *arg)
{
    coil_tls_context *c;
    int err = coil_tls_context_new(*(unsigned *)arg, &c);
    if (err == 0)
        coil_tls_context_unref(c);
    return err;
}

COIL_TEST_PLAIN(context_without_memory_is_none)
{
    sweep(make_context, &(unsigned){COIL_TLS_SERVER}, false);
    sweep(make_context, &(unsigned){COIL_TLS_NO_DEFAULT_CERTS}, false);
}

static int load_identity(void *arg)
{
    const struct identity *id = test_server();
    return coil_tls_context_load_cert_chain_pem(arg, id->pem, id->pem_n, id->key_pem, id->key_pem_n,
                                                NULL);
}

static int load_trust(void *arg)
{
    return coil_tls_context_load_verify_pem(arg, test_ca()->pem, test_ca()->pem_n);
}

static int set_protocols(void *arg)
{
    return coil_tls_context_set_alpn_protocols(arg, (const char *const[]){"h2", "http/1.1"}, 2);
}

static int set_ciphers(void *arg)
{
    return coil_tls_context_set_ciphers(arg, "ECDHE+AESGCM");
}

COIL_TEST_PLAIN(settings_without_memory_are_not_made)
{
    coil_tls_context *server = server_context(NULL), *client = client_context(0);
    sweep(load_identity, server, true);
    sweep(load_trust, server, true);
    sweep(set_protocols, client, false);
    sweep(set_ciphers, client, true);
    coil_tls_context_unref(server);
    coil_tls_context_unref(client);
}

static int open_layer(void *arg)
{
    coil_tls_context *c = arg;
    coil_tls *tls;
    coil_ret rc = c->cls->open(c, "localhost", &tls);
    if (rc == 0)
        tls->cls->free(tls);
    return (int)rc;
}

COIL_TEST_PLAIN(connection_without_memory_is_none)
{
    coil_tls_context *server = server_context(NULL), *client = client_context(0);
    sweep(open_layer, server, false);
    sweep(open_layer, client, false);
    coil_tls_context_unref(server);
    coil_tls_context_unref(client);
}

COIL_TEST_MAIN()
