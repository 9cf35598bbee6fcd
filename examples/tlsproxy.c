/* SPDX-License-Identifier: MIT
 *
 * tlsproxy.c: TLS in front of a server that has none, or to one that wants it: tlsproxy [OPTION]... ADDRESS:PORT HOST PORT
 *
 *     client <--- TLS or plain --- tlsproxy <--- TLS or plain --- backend
 *            ---- (--cert) ---->            ---- (--tls) ------->
 *
 * Two tasks a connection, one for each direction, as in proxy.c. What to look at:
 *   - a context for each side, made once: who we are, whom we trust, what is spoken;
 *   - TLS begins with a call (coil_writer_start_tls) on a connection that stands: at once, or behind the eight bytes in
 *     which PostgreSQL's clients ask for it (--postgres). What fails there says why, in words;
 *   - afterwards reads and writes are what they were, also flow control;
 *   - the end: one direction's is passed on, and the other goes on until its own (over TLS by close_notify). A stream
 *     that was cut off (no close_notify: COIL_ETLSEOF) is passed on as a reset, never as a regular end;
 *   - SIGTERM stops listening and lets what runs come to its end; a second one, or DRAIN_S seconds, cuts it short. */
#include "program.h"

#include <coil/tls.h>

#include <getopt.h>

enum { CHUNK = 32768, ALPN_MAX = 8 };
static const double HANDSHAKE_S = 10, CONNECT_S = 5, DRAIN_S = 60;

struct args {
    char *host, *port, *backend_host, *backend_port;
    const char *cert, *key, *client_ca;         /* of the clients' side; no certificate: plain */
    const char *ca, *name, *own_cert, *own_key; /* of the backend's side */
    char *alpn;                                 /* apart by commas, for both sides */
    bool optional, postgres, tls;
    int version_max;
};

struct proxy {
    const struct args *args;
    coil_tls_context *clients, *backend; /* NULL: that side is plain */
    bool cutting;                        /* what runs is being cut short */
    unsigned long running, served, refused, cut;
    unsigned long long up, down; /* bytes to the backend, and from it */
};

static bool is_end(coil_ret rc)
{
    return rc == -ECANCELED || rc == COIL_EEXIT;
}

/* ---- one connection ---- */

/* Two faces of one connection. */
struct side {
    coil_reader *reader;
    coil_writer *writer;
};

struct direction {
    const struct proxy *proxy;
    struct side *from, *to;
    unsigned long long *bytes;
};

/* Copies until the stream ends. An error is that of `from`: when `to` takes no more, this direction is just over,
 * and the other one, which reads there, learns why, after what came before that. */
static coil_ret copy(void *arg)
{
    const struct direction *d = arg;
    char chunk[CHUNK];
    coil_ret n;
    while ((n = coil_reader_read(d->from->reader, chunk, sizeof chunk)) > 0) {
        coil_ret rc = coil_writer_write(d->to->writer, chunk, (size_t)n);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(d->to->writer);
        if (coil_iserr(rc))
            return is_end(rc) ? rc : 0;
        *d->bytes += (size_t)n;
    }
    if (n == 0 && d->proxy->cutting) /* our own end, not the peer's */
        return coil_fail(-ECONNABORTED, "the proxy is stopping");
    if (n == 0)
        coil_writer_write_eof(d->to->writer);
    return n;
}

/* Close so that the peer meets ECONNRESET, not an end that looks regular. */
static void reset(const struct side *side)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (!side->writer)
        return;
    coil_sock_setsockopt(coil_writer_sock(side->writer), SOL_SOCKET, SO_LINGER, &at_once,
                         sizeof at_once);
    coil_writer_abort(side->writer);
}

static coil_ret copy_both_ways(struct proxy *p, struct side *client, struct side *backend)
{
    struct direction up = {p, client, backend, &p->up};
    struct direction down = {p, backend, client, &p->down};
    coil_task_group(both);
    coil_group_create_task(&both, copy, &up);
    return coil_group_exit(&both, copy(&down));
}

/* PostgreSQL's clients ask for TLS in eight bytes: a length, and a number that no version of the protocol has. */
static coil_ret answer_ssl_request(const struct side *client)
{
    static const unsigned char request[8] = {0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f};
    unsigned char got[sizeof request];
    coil_ret rc = coil_reader_readexactly(client->reader, got, sizeof got, NULL);
    if (coil_iserr(rc))
        return rc;
    if (memcmp(got, request, sizeof got) != 0)
        return coil_fail(COIL_EUSER, "it does not ask for TLS as PostgreSQL's clients do");
    return coil_writer_write(client->writer, "S", 1);
}

static coil_ret welcome(struct proxy *p, const struct side *client)
{
    if (!p->clients)
        return 0;
    coil_start_tls_opts opts = {.size = sizeof opts, .handshake_timeout = HANDSHAKE_S};
    coil_timeout(deadline, HANDSHAKE_S);
    coil_ret rc = p->args->postgres ? answer_ssl_request(client) : 0;
    if (!coil_iserr(rc))
        rc = coil_writer_start_tls(client->writer, p->clients, &opts);
    rc = coil_timeout_exit(&deadline, rc);
    if (coil_iserr(rc) && !is_end(rc)) {
        p->refused++;
        fprintf(stderr, "tlsproxy: a client was turned away: %s\n", coil_last_error()->message);
    }
    return rc;
}

static coil_ret connect_backend(struct proxy *p, struct side *backend)
{
    const struct args *a = p->args;
    coil_connect_opts opts = {.size = sizeof opts,
                              .tls = p->backend,
                              .server_hostname = p->backend ? a->name : NULL,
                              .tls_handshake_timeout = HANDSHAKE_S};
    coil_timeout(deadline, CONNECT_S + HANDSHAKE_S);
    coil_ret rc = coil_open_connection_with(a->backend_host, a->backend_port, &opts,
                                            &backend->reader, &backend->writer);
    rc = coil_timeout_exit(&deadline, rc);
    if (coil_iserr(rc) && !is_end(rc)) {
        p->refused++;
        fprintf(stderr, "tlsproxy: a client was turned away, %s:%s cannot be reached: %s\n",
                a->backend_host, a->backend_port, coil_last_error()->message);
    }
    return rc;
}

/* Serves one client. It fails only when it is told to end: a peer's fault is no trouble of ours. */
static coil_ret serve(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct proxy *p = arg;
    struct side client = {reader, writer}, backend = {0};
    p->running++;
    coil_ret rc = welcome(p, &client);
    if (!coil_iserr(rc))
        rc = connect_backend(p, &backend);
    if (!coil_iserr(rc)) {
        p->served++;
        rc = copy_both_ways(p, &client, &backend);
    }
    if (coil_iserr(rc)) {
        reset(&client);
        reset(&backend);
    }
    coil_ignore(coil_writer_finish(backend.writer)); /* NULL is fine: it was never reached */
    p->running--;
    return is_end(rc) ? rc : 0;
}

/* ---- contexts ---- */

static int speak(coil_tls_context *context, const struct args *a)
{
    const char *protocols[ALPN_MAX];
    size_t n = 0;
    char copy_of[256], *rest = copy_of;
    snprintf(copy_of, sizeof copy_of, "%s", a->alpn ? a->alpn : "");
    for (char *word; n < ALPN_MAX && (word = strsep(&rest, ",")) && *word;)
        protocols[n++] = word;
    int rc = coil_tls_context_set_versions(context, 0, a->version_max);
    return coil_iserr(rc) ? rc : coil_tls_context_set_alpn_protocols(context, protocols, n);
}

static int make_clients_context(const struct args *a, coil_tls_context **out_context)
{
    int rc = coil_tls_context_new(COIL_TLS_SERVER, out_context);
    if (!coil_iserr(rc))
        rc = coil_tls_context_load_cert_chain(*out_context, a->cert, a->key, NULL);
    if (!coil_iserr(rc) && a->client_ca)
        rc = coil_tls_context_load_verify_locations(*out_context, a->client_ca, NULL);
    if (!coil_iserr(rc) && a->client_ca)
        rc = coil_tls_context_set_clients(*out_context, a->optional ? COIL_TLS_CLIENTS_OPTIONAL
                                                                    : COIL_TLS_CLIENTS_REQUIRED);
    return coil_iserr(rc) ? rc : speak(*out_context, a);
}

static int make_backend_context(const struct args *a, coil_tls_context **out_context)
{
    int rc = coil_tls_context_new(a->ca ? COIL_TLS_NO_DEFAULT_CERTS : 0, out_context);
    if (!coil_iserr(rc) && a->ca)
        rc = coil_tls_context_load_verify_locations(*out_context, a->ca, NULL);
    if (!coil_iserr(rc) && a->own_cert)
        rc = coil_tls_context_load_cert_chain(*out_context, a->own_cert, a->own_key, NULL);
    if (!coil_iserr(rc))
        rc = coil_tls_context_set_sessions(*out_context, 1);
    return coil_iserr(rc) ? rc : speak(*out_context, a);
}

/* ---- the program ---- */

static void second_signal(void *deadline)
{
    coil_timeout_reschedule(deadline, 0);
}

/* Wait for what runs, for so long, then cut it off. */
static coil_ret drain(struct proxy *p, coil_server *server)
{
    coil_timeout(deadline, DRAIN_S);
    (void)on_stop_signal(second_signal, &deadline);
    coil_ret rc = coil_timeout_exit(&deadline, coil_server_wait_closed(server));
    (void)catch_stop_signals(); /* the deadline's frame ends */
    if (!coil_iserr(rc))
        return rc;
    p->cut = p->running;
    p->cutting = true;
    coil_server_abort_clients(server);
    rc = coil_server_wait_closed(server);
    return coil_iserr(rc) ? rc : coil_fail(-ETIMEDOUT, "%lu connections were cut short", p->cut);
}

static coil_ret run_server(struct proxy *p)
{
    coil_server *server;
    coil_server_opts opts = {.size = sizeof opts, .backlog = 1024};
    coil_ret rc = catch_stop_signals();
    if (!coil_iserr(rc))
        rc = coil_start_server_with(serve, p, p->args->host, p->args->port, &opts, &server);
    if (coil_iserr(rc))
        return rc;
    printf("tlsproxy: %s on %s:%d leads to %s at %s:%s (%s, %s)\n", p->clients ? "TLS" : "plain",
           p->args->host, coil_server_port(server), p->backend ? "TLS" : "plain",
           p->args->backend_host, p->args->backend_port, coil_tls_library(),
           coil_loop_backend(NULL));
    fflush(stdout);
    rc = wait_for_stop_signal();
    coil_server_close(server);
    printf("tlsproxy: stopping, %lu connections go on\n", p->running);
    fflush(stdout);
    coil_ret drained = drain(p, server);
    coil_server_free(server);
    printf("tlsproxy: %lu connections, %llu bytes up, %llu bytes down, %lu turned away, %lu cut\n",
           p->served, p->up, p->down, p->refused, p->cut);
    return coil_iserr(rc) ? rc : drained;
}

static coil_ret main_task(void *arg)
{
    const struct args *a = arg;
    struct proxy p = {.args = a};
    coil_ret rc = a->cert ? make_clients_context(a, &p.clients) : 0;
    if (!coil_iserr(rc) && a->tls)
        rc = make_backend_context(a, &p.backend);
    if (!coil_iserr(rc))
        rc = run_server(&p);
    coil_tls_context_unref(p.clients);
    coil_tls_context_unref(p.backend);
    return rc;
}

static const char usage[] =
    "usage: tlsproxy [OPTION]... ADDRESS:PORT HOST PORT\n"
    "hands every connection to ADDRESS:PORT on to HOST PORT; port 0 for a free one\n"
    "  towards clients:\n"
    "    --cert FILE --key FILE      speak TLS, and show this certificate chain\n"
    "    --client-ca FILE            serve only who shows a certificate of one of these\n"
    "    --optional                  or none at all\n"
    "    --postgres                  TLS begins when the client asks for it, as PostgreSQL's do\n"
    "  towards the backend:\n"
    "    --tls                       speak TLS\n"
    "    --ca FILE                   trust these, not those of the system\n"
    "    --name NAME                 whom its certificate must name; HOST if not said\n"
    "    --own-cert FILE --own-key FILE  what to show if it asks for a certificate\n"
    "  both:\n"
    "    --alpn A,B                  protocols, best first\n"
    "    --max-version 1.2|1.3\n";

static bool parse(int argc, char **argv, struct args *a)
{
    static const struct option options[] = {
        {"cert", 1, NULL, 'c'},     {"key", 1, NULL, 'k'},      {"client-ca", 1, NULL, 'C'},
        {"optional", 0, NULL, 'o'}, {"postgres", 0, NULL, 'p'}, {"tls", 0, NULL, 't'},
        {"ca", 1, NULL, 'a'},       {"name", 1, NULL, 'n'},     {"own-cert", 1, NULL, 'm'},
        {"own-key", 1, NULL, 'q'},  {"alpn", 1, NULL, 'l'},     {"max-version", 1, NULL, 'v'},
        {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) >= 0;)
        switch (o) {
        case 'c': a->cert = optarg; break;
        case 'k': a->key = optarg; break;
        case 'C': a->client_ca = optarg; break;
        case 'o': a->optional = true; break;
        case 'p': a->postgres = true; break;
        case 't': a->tls = true; break;
        case 'a': a->ca = optarg; break;
        case 'n': a->name = optarg; break;
        case 'm': a->own_cert = optarg; break;
        case 'q': a->own_key = optarg; break;
        case 'l': a->alpn = optarg; break;
        case 'v': a->version_max = strcmp(optarg, "1.2") == 0 ? COIL_TLS_1_2 : COIL_TLS_1_3; break;
        default: return false;
        }
    if (argc - optind != 3 || !split_address(argv[optind], &a->host, &a->port))
        return false;
    a->backend_host = argv[optind + 1];
    a->backend_port = argv[optind + 2];
    return true;
}

int main(int argc, char **argv)
{
    struct args args = {0};
    if (!parse(argc, argv, &args)) {
        fputs(usage, stderr);
        return 2;
    }
    raise_descriptor_limit();
    return coil_report(coil_run(main_task, &args));
}
