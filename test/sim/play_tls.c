/* SPDX-License-Identifier: MIT
 *
 * play_tls.c: clients and an echo server that speak TLS, with a random source that the seed decides.
 *
 *     clients --TLS--> [ echo ]
 *
 * OpenSSL's random numbers come from here, so keys, tickets and signatures are the same in each run of a seed; the certificate
 * is the one of examples/20_tls.c. Ledger: as without TLS (talk.c), and stricter: a stream has an end of its own, so a clean one
 * means that all has come, also when somebody was killed. */
#include "swarm.h"

#include "../../examples/20_tls_certificate.h"

#include <coil/tls.h>

#define OPENSSL_SUPPRESS_DEPRECATED /* there is no other door for a random source of one's own that is this small */
#include <openssl/rand.h>

static struct host *server;
static struct random source;

static int random_bytes(unsigned char *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = (unsigned char)random_u64(&source);
    return 1;
}

static int random_is_there(void)
{
    return 1;
}

static coil_ret server_context(coil_tls_context **out)
{
    coil_ret rc = coil_tls_context_new(COIL_TLS_SERVER, out);
    if (!coil_iserr(rc))
        rc = coil_tls_context_load_cert_chain_pem(*out, certificate, sizeof certificate - 1, key,
                                                  sizeof key - 1, NULL);
    return rc;
}

static coil_ret server_program(void *host)
{
    coil_server_opts opts = {.size = sizeof opts,
                             .tls_handshake_timeout = 10 * patience(),
                             .tls_shutdown_timeout = 5 * patience()};
    coil_ret rc = server_context(&opts.tls);
    if (!coil_iserr(rc))
        rc = serve_until_stopped(say_back, &opts);
    coil_tls_context_unref(opts.tls);
    return rc;
}

/* Some remember sessions, some speak the older version. */
static coil_ret client_context(struct random *random, coil_tls_context **out)
{
    coil_ret rc = coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS, out);
    if (!coil_iserr(rc))
        rc = coil_tls_context_load_verify_pem(*out, certificate, sizeof certificate - 1);
    if (!coil_iserr(rc) && random_below(random, 2))
        rc = coil_tls_context_set_sessions(*out, 4);
    if (!coil_iserr(rc) && random_below(random, 3) == 0)
        rc = coil_tls_context_set_versions(*out, COIL_TLS_1_2, COIL_TLS_1_2);
    return rc;
}

static coil_ret client_program(void *arg)
{
    struct host *host = arg;
    struct random random = {host->seed + 1};
    coil_connect_opts opts = {
        .size = sizeof opts, .server_hostname = "localhost", .tls_shutdown_timeout = 3};
    coil_ret rc = client_context(&random, &opts.tls);
    if (!coil_iserr(rc))
        rc = converse_often(host, server->address, &opts);
    coil_tls_context_unref(opts.tls);
    return rc;
}

static coil_ret last_client(void *host)
{
    struct random random = {run.seed};
    coil_connect_opts opts = {
        .size = sizeof opts, .server_hostname = "localhost", .tls_shutdown_timeout = 3};
    coil_ret rc = client_context(&random, &opts.tls);
    if (!coil_iserr(rc))
        rc = converse(server->address, &opts, run.seed, 600);
    coil_tls_context_unref(opts.tls);
    return rc;
}

static void begin(struct play *play)
{
    static const struct role server_role = {.program = server_program,
                                            .serves = true,
                                            .mortal = true},
                             client = {.program = client_program};
    static const RAND_METHOD method = {
        .bytes = random_bytes, .pseudorand = random_bytes, .status = random_is_there};
    source.state = play->random.state ^ 1;
    RAND_set_rand_method(&method);
    server = host_add(play, &server_role);
    for (unsigned n = clients_of(play, 4); n > 0; n--)
        host_add(play, &client);
}

struct play play_tls = {.name = "tls", .port = "7", .begin = begin, .last = last_client};
