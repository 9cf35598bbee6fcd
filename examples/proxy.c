/* SPDX-License-Identifier: MIT
 *
 * proxy.c: hands TCP connections on to another server: proxy ADDRESS:PORT HOST PORT
 *
 *     client <--- copy --- proxy <--- copy --- backend
 *            ---- copy -->       ---- copy -->
 *
 * Two tasks a connection, one for each direction. What to look at:
 *   - read, write, drain: a reader that is slower than its peer stops that peer. A direction holds CHUNK
 *     bytes in the task's frame, and at most as many again in the writer;
 *   - the end of a stream is passed on as that, and the other direction goes on (write_eof); a reset is passed on as
 *     a reset (reset);
 *   - a semaphore counts the descriptors: when they are used up, clients wait in the kernel's backlog;
 *   - SIGTERM stops listening and lets what runs come to its end; a second one, or DRAIN_S seconds,
 *     cuts it short. All clients live in one group, so nothing is left when main_task returns. */
#include "program.h"

#include <stdlib.h>

enum {
    CHUNK = 32768,  /* read at once */
    SPARE_FDS = 24, /* standard ones, the loop's, the listener, and what looking up names takes */
    CLIENTS_MAX = 10000 /* 20,000 stacks: as many as a process may have mapped, guards included */
};
static const double CONNECT_S = 5, DRAIN_S = 60;

struct proxy {
    char *host, *port; /* of the backend */
    coil_sock *listener;
    coil_group *clients;
    coil_semaphore room; /* a permit is two descriptors */
    unsigned long running, served, refused, cut;
    unsigned long long up, down; /* bytes to the backend, and from it */
};

/* ---- one connection ---- */

struct direction {
    coil_reader *from;
    coil_writer *to;
    unsigned long long *bytes;
};

/* Copies until the stream ends. An error is that of `from`: when `to` takes no more, this direction is just over,
 * and the other one, which reads there, learns why, after what came before that. */
static coil_ret copy(void *arg)
{
    const struct direction *d = arg;
    char chunk[CHUNK];
    coil_ret n;
    while ((n = coil_reader_read(d->from, chunk, sizeof chunk)) > 0) {
        coil_ret rc = coil_writer_write(d->to, chunk, (size_t)n);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(d->to);
        if (coil_iserr(rc))
            return rc == -ECANCELED || rc == COIL_EEXIT ? rc : 0;
        *d->bytes += (size_t)n;
    }
    if (n == 0)
        coil_writer_write_eof(d->to);
    return n;
}

/* Close so that the peer meets ECONNRESET, not an end that looks regular. */
static void reset(coil_writer *writer)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    coil_sock_setsockopt(coil_writer_sock(writer), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    coil_writer_abort(writer);
}

static coil_ret copy_both_ways(struct proxy *p, coil_reader *client_in, coil_writer *client_out,
                               coil_reader *backend_in, coil_writer *backend_out)
{
    struct direction up = {client_in, backend_out, &p->up};
    struct direction down = {backend_in, client_out, &p->down};
    /* Nothing is held back once it was read, so that a writer holds no more than a chunk. */
    coil_writer_set_write_buffer_limits(client_out, 0, 0);
    coil_writer_set_write_buffer_limits(backend_out, 0, 0);
    coil_task_group(both);
    coil_group_create_task(&both, copy, &up);
    return coil_group_exit(&both, copy(&down));
}

static coil_ret connect_backend(struct proxy *p, coil_reader **out_reader, coil_writer **out_writer)
{
    coil_timeout(deadline, CONNECT_S);
    coil_ret rc = coil_open_connection(p->host, p->port, out_reader, out_writer);
    rc = coil_timeout_exit(&deadline, rc);
    if (coil_iserr(rc) && rc != -ECANCELED && rc != COIL_EEXIT) {
        p->refused++;
        fprintf(stderr, "proxy: a client was turned away, %s:%s cannot be reached: %s\n", p->host,
                p->port, coil_last_error()->message);
    }
    return rc;
}

struct client {
    struct proxy *proxy;
    coil_sock *sock;
};

static coil_ret serve_client(struct proxy *p, coil_reader *client_in, coil_writer *client_out)
{
    coil_reader *backend_in;
    coil_writer *backend_out = NULL;
    coil_ret rc = connect_backend(p, &backend_in, &backend_out);
    if (!coil_iserr(rc)) {
        p->served++;
        p->running++;
        rc = copy_both_ways(p, client_in, client_out, backend_in, backend_out);
        p->running--;
    }
    if (coil_iserr(rc)) {
        p->cut += rc == -ECANCELED;
        reset(client_out);
        if (backend_out)
            reset(backend_out);
    }
    coil_ignore(coil_writer_finish(backend_out)); /* NULL is fine: it was never reached */
    coil_ignore(coil_writer_finish(client_out));
    return rc;
}

/* A task for each client. It fails only when it is told to end: a peer's fault must not end the group. */
static coil_ret serve(void *arg)
{
    struct client client = *(struct client *)arg;
    coil_reader *reader;
    coil_writer *writer;
    coil_ret rc = coil_open_connection_sock(client.sock, 0, &reader, &writer);
    if (coil_iserr(rc))
        coil_sock_unref(client.sock);
    else
        rc = serve_client(client.proxy, reader, writer);
    coil_semaphore_release(&client.proxy->room);
    return rc == -ECANCELED || rc == COIL_EEXIT ? rc : 0;
}

/* ---- all connections ---- */

static coil_ret listen_on(const char *host, const char *port, coil_sock **out_listener)
{
    coil_address address;
    coil_ret rc = coil_address_parse(host, port, &address);
    if (coil_iserr(rc))
        return coil_fail(rc, "%s:%s is not an address and a port", host, port);
    coil_sock *sock;
    rc = coil_sock_new(address.storage.ss_family, SOCK_STREAM, 0, &sock);
    if (coil_iserr(rc))
        return rc;
    int on = 1;
    coil_sock_setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    rc = coil_sock_bind(sock, &address);
    if (!coil_iserr(rc))
        rc = coil_sock_listen(sock, 1024);
    if (coil_iserr(rc)) {
        coil_sock_unref(sock);
        return coil_fail(rc, "cannot listen on %s:%s: %s", host, port, coil_strerror(rc));
    }
    *out_listener = sock;
    return 0;
}

/* Is this the machine's trouble, which passes, and not the socket's? */
static bool is_shortage(coil_ret rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS || rc == -ENOMEM;
}

static coil_ret accept_clients(void *arg)
{
    struct proxy *p = arg;
    for (;;) {
        coil_ret rc = coil_semaphore_acquire(&p->room);
        if (coil_iserr(rc))
            return rc;
        struct client client = {.proxy = p};
        rc = coil_sock_accept(p->listener, &client.sock, NULL);
        if (!coil_iserr(rc)) {
            coil_task *task = coil_group_create_task_with(p->clients, serve, &client,
                                                          sizeof client);
            if (coil_future_done(task)) /* it never ran: out of memory, and the group ends */
                coil_sock_unref(client.sock);
            continue;
        }
        coil_semaphore_release(&p->room);
        if (is_shortage(rc)) {
            fprintf(stderr, "proxy: cannot accept for now: %s\n", coil_strerror(rc));
            rc = coil_sleep(1);
        }
        if (coil_iserr(rc) && rc != -ECONNABORTED) /* that one left before it was accepted */
            return rc;
    }
}

static void second_signal(void *deadline)
{
    coil_timeout_reschedule(deadline, 0);
}

/* Wait for what runs, for so long; 0 if all came to its end. */
static coil_ret drain(coil_group *clients, coil_ret rc)
{
    coil_timeout(deadline, DRAIN_S);
    on_stop_signal(second_signal, &deadline);
    rc = coil_group_exit(clients, rc);
    catch_stop_signals(); /* the deadline goes with this frame */
    return coil_timeout_exit(&deadline, rc);
}

struct args {
    char *host, *port, *backend_host, *backend_port;
    size_t clients_max;
};

static coil_ret main_task(void *arg)
{
    const struct args *args = arg;
    struct proxy p = {.host = args->backend_host,
                      .port = args->backend_port,
                      .room = COIL_SEMAPHORE((intptr_t)args->clients_max)};
    coil_ret rc = catch_stop_signals();
    if (!coil_iserr(rc))
        rc = listen_on(args->host, args->port, &p.listener);
    if (coil_iserr(rc))
        return rc;
    coil_address own;
    char text[COIL_ADDRESS_TEXT_MAX] = "?";
    if (!coil_iserr(coil_sock_getsockname(p.listener, &own)))
        coil_address_format(&own, text, sizeof text);
    printf("proxy: %s leads to %s:%s, at most %zu at a time (%s)\n", text, p.host, p.port,
           args->clients_max, coil_loop_backend(NULL));
    fflush(stdout);

    coil_task_group(clients);
    p.clients = &clients;
    coil_task *accepting = coil_ref(coil_group_create_task(&clients, accept_clients, &p));
    rc = wait_for_stop_signal();
    coil_task_cancel(accepting, "the proxy is stopping");
    coil_ignore(coil_join(accepting));
    coil_sock_close(p.listener);
    printf("proxy: stopping, %lu connections go on\n", p.running);
    fflush(stdout);
    rc = drain(&clients, rc);
    coil_sock_unref(p.listener);

    printf("proxy: %lu connections, %llu bytes up, %llu bytes down, %lu turned away, %lu cut\n",
           p.served, p.up, p.down, p.refused, p.cut);
    if (rc == -ETIMEDOUT)
        return coil_fail(rc, "%lu connections were cut short", p.cut);
    return rc;
}

int main(int argc, char **argv)
{
    struct args args = {0};
    if (argc != 4 || !split_address(argv[1], &args.host, &args.port)) {
        fprintf(stderr,
                "usage: proxy ADDRESS:PORT HOST PORT\n"
                "hands every connection to ADDRESS:PORT on to HOST PORT; port 0 for a free one\n");
        return 2;
    }
    args.backend_host = argv[2];
    args.backend_port = argv[3];
    size_t fds = raise_descriptor_limit();
    size_t pairs = fds > SPARE_FDS + 2 ? (fds - SPARE_FDS) / 2 : 1;
    args.clients_max = pairs < CLIENTS_MAX ? pairs : CLIENTS_MAX;
    return coil_report(coil_run(main_task, &args));
}
