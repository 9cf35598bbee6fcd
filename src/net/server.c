/* SPDX-License-Identifier: MIT
 *
 * server.c: listening sockets, and a task or a transport for each client that comes.
 *
 *     listener: accept op --done--> slot: take what it brought, then up to `backlog` more --> op again
 *                                     |
 *                                     +-- out of descriptors or memory: report, a second's rest --> op again
 *
 * Accepting needs no task and no stack. A client's connection knows its server until it is closed, so the
 * server can tell when the last one is.
 *
 *     SERVING <--start_serving-- IDLE --close--> CLOSED, and DONE with the last connection
 *        +-------------------close-----------------^
 *
 * Always true:
 *   - references: the user's until coil_server_free, one for each connection, one for each listener whose op,
 *     timer or slot may still come;
 *   - a descriptor that the kernel accepted becomes a connection or is closed.
 *
 * Runs on the loop's thread. Elsewhere: the client's task and its end (connection.c), protocols (transport.c), from what
 * it is asked for to a server (start_server.c). */
#include "net/server.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/probe.h"
#include "net/listen.h"
#include "net/stream.h"
#include "net/transport.h"
#include "net/unix.h"

enum { BACKLOG_DEFAULT = 100 };
#define ACCEPT_RETRY_NS NS_PER_S

/*     STOPPED --> WAITING --op--> QUEUED --slot--> WAITING ...
 *                   ^  |             |
 *                   |  |             +--no resources--> RESTING --timer--> QUEUED
 *                   +--close from any of them: STOPPED, at the latest with the op's last word        */
enum listener_state { LISTENER_STOPPED, LISTENER_WAITING, LISTENER_QUEUED, LISTENER_RESTING };

struct listener {
    struct coil_server *server;
    coil_sock *sock;
    struct socket_file *file; /* goes when the server closes; NULL: none */
    enum listener_state state;
    struct op op;
    struct timer timer;
    coil_address peer;
    coil_ret brought; /* what the op brought: a descriptor, or an error; -EAGAIN: nothing */
};

struct coil_server {
    struct list link; /* net_part.servers */
    coil_loop *
        loop; /* NULL once that is closed; until then, a room in its ring is held for each listener */
    struct net_part *part;
    uint32_t refs;
    bool serving, closed;
    bool given_up;     /* coil_server_free took the user's reference */
    bool forever;      /* a coroutine is in serve_forever */
    coil_client_fn fn; /* NULL: its clients are transports, and `factory` makes their protocols */
    coil_protocol_factory_fn factory;
    void *arg;
    coil_server_opts opts;
    struct context_map *map; /* the context variables of who started it; clients begin with them */
    struct list clients;     /* struct server_client */
    size_t clients_n;
    struct waiters closers, stop; /* in wait_closed; in serve_forever */
    size_t listeners_n;
    struct listener listeners[];
};

static struct backend *backend_of(const struct coil_server *server)
{
    return server->loop->backend;
}

/* What the loop knows of it. */
static void forget_loop(struct coil_server *server)
{
    list_remove(&server->link);
    if (server->loop)
        loop_release(server->loop, (unsigned)server->listeners_n);
    server->loop = NULL;
}

static void server_unref(struct coil_server *server)
{
    if (--server->refs > 0)
        return;
    forget_loop(server);
    for (size_t i = 0; i < server->listeners_n; i++)
        coil_sock_unref(server->listeners[i].sock);
    if (server->opts.tls)
        server->opts.tls->cls->unref(server->opts.tls);
    coil__context_map_unref(server->map);
    coil__free(server);
}

static void wake_all(struct waiters *line)
{
    while (coil__waiters_wake(line))
        ;
}

/* ---- clients ---- */

static void client_came(struct coil_server *server, struct server_client *client)
{
    client->server = server;
    server->refs++;
    server->clients_n++;
    list_push(&server->clients, &client->link);
}

void coil__server_let_go(struct server_client *client)
{
    struct coil_server *server = client->server;
    client->server = NULL;
    list_remove(&client->link);
    server->clients_n--;
    if (server->closed && server->clients_n == 0)
        wake_all(&server->closers);
    server_unref(server);
}

static struct filter_plan tls_plan(const struct coil_server *server)
{
    return (struct filter_plan){.context = server->opts.tls,
                                .handshake_timeout = server->opts.tls_handshake_timeout,
                                .shutdown_timeout = server->opts.tls_shutdown_timeout};
}

static int serve(struct coil_server *server, struct connection *conn)
{
    coil_task_opts opts = {.size = sizeof opts,
                           .stack_size = server->opts.client_stack_size,
                           .loop = server->loop,
                           .no_eager = true /* we are in the middle of accepting */};
    return coil__connection_serve(conn, server->fn, server->arg, &opts);
}

static void hang_up(struct connection *conn)
{
    coil__connection_abort(conn);
    coil_writer_unref(&conn->writer);
    coil_reader_unref(&conn->reader);
}

/* A connection with a task. */
static int welcome_stream(struct coil_server *server, coil_sock *sock)
{
    struct connection *conn;
    int err = coil__connection_new(sock, server->opts.limit, &conn);
    if (err < 0) {
        coil_sock_unref(sock);
        return err;
    }
    client_came(server, &conn->client);
    struct filter_plan plan = tls_plan(server);
    err = plan.context ? coil__connection_secure_client(conn, &plan) : serve(server, conn);
    if (err < 0)
        hang_up(conn);
    return err;
}

/* What goes wrong for one client is no reason to accept nobody else. */
static void report_client(struct coil_server *server, const char *message, coil_ret error)
{
    struct error_record *words = coil__error_capture(error);
    coil__loop_report(server->loop, "client-error", message, error, coil__error_show(words, error),
                      NULL);
    coil__error_unref(words);
}

static void equip(struct coil_server *server, struct coil_transport *t)
{
    coil_ret rc = coil__transport_equip(t, server->factory, server->arg);
    if (rc < 0)
        report_client(server, "Error on transport creation for incoming connection", rc);
}

static int welcome_transport(struct coil_server *server, coil_sock *sock)
{
    struct coil_transport *t;
    int err = coil__transport_new(sock, &t);
    if (err < 0) {
        coil_sock_unref(sock);
        return err;
    }
    client_came(server, &t->client);
    struct filter_plan plan = tls_plan(server);
    if (!plan.context) {
        equip(server, t);
        return 0;
    }
    err = coil__transport_secure_client(t, &plan);
    if (err < 0)
        coil_transport_abort(t);
    return err;
}

/* ---- clients that come by TLS ---- */

void coil__server_client_ready(struct server_client *client)
{
    struct coil_server *server = client->server;
    server->refs++;
    if (server->factory) {
        equip(server, container_of(client, struct coil_transport, client));
    } else {
        struct connection *conn = container_of(client, struct connection, client);
        int err = serve(server, conn);
        if (err < 0) {
            report_client(server, "Error on serving an incoming connection", err);
            hang_up(conn);
        }
    }
    server_unref(server);
}

/* Whoever knocks at a port can make handshakes fail, so it is said in debug mode only. */
void coil__server_client_failed(struct server_client *client, coil_ret error)
{
    if (client->server->loop->debug)
        report_client(client->server, "TLS handshake with an incoming connection failed", error);
}

/* A descriptor that was accepted becomes a client. On failure it is closed. */
static int welcome(struct listener *l, int fd)
{
    struct coil_server *server = l->server;
    coil_sock *sock;
    int err = coil__sock_wrap(server->part, fd, l->sock->family, l->sock->type, &sock);
    if (err < 0) {
        backend_of(server)->cls->calls.close(backend_of(server), fd);
        return err;
    }
    coil__sock_keep_peer(sock, &l->peer);
    return server->factory ? welcome_transport(server, sock) : welcome_stream(server, sock);
}

/* ---- accepting ---- */

static void listener_run(void *arg);

static void queue(struct listener *l)
{
    l->state = LISTENER_QUEUED;
    struct context_map *map = l->server->map;
    loop_push(l->server->loop, listener_run, l, map ? coil__context_map_ref(map) : NULL);
}

/* It was closed, and the last thing that could come has come. */
static void listener_gone(struct listener *l)
{
    l->state = LISTENER_STOPPED;
    server_unref(l->server);
}

static void accept_done(struct op *op)
{
    struct listener *l = container_of(op, struct listener, op);
    struct backend *b = backend_of(l->server);
    l->peer.len = op->to.len;
    l->brought = (coil_ret)op->result;
    if (!l->server->closed) {
        queue(l);
        return;
    }
    if (l->brought >= 0)
        b->cls->calls.close(b, (int)l->brought);
    listener_gone(l);
}

static void wait_for_client(struct listener *l)
{
    struct backend *b = backend_of(l->server);
    l->state = LISTENER_WAITING;
    l->brought = -EAGAIN;
    l->op.kind = OP_ACCEPT;
    /* A server takes whoever comes; a socket that was lent may have other servers, which are to come to know. */
    l->op.flags = l->sock->lent ? 0 : OP_AHEAD;
    l->op.fd = l->sock->fd;
    l->op.done = accept_done;
    l->op.to.addr = &l->peer.storage;
    l->op.to.len = 0;
    backend_submit(b, &l->op);
}

static void rest_over(struct timer *timer)
{
    queue(container_of(timer, struct listener, timer));
}

static bool out_of_resources(coil_ret error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

/* No descriptors, no memory: say so, and leave the others in the backlog for a while. False: there is no going on,
 * since the server was closed by who heard of it, or the socket by its other owner. */
static bool rest(struct listener *l, coil_ret error)
{
    if (coil_sock_is_closed(l->sock))
        error = -EBADF;
    coil_exception_context context = {
        .size = sizeof context,
        .message = out_of_resources(error) ? "socket.accept() out of system resource"
                                           : "Accept failed on a socket",
        .code = error,
        .fd = coil_sock_fileno(l->sock),
        .kind = "accept-error",
    };
    coil_loop_call_exception_handler(l->server->loop, &context);
    if (l->server->closed || coil_sock_is_closed(l->sock))
        return false;
    COIL_PROBE("accepting pauses for want of descriptors");
    l->state = LISTENER_RESTING;
    l->brought = -EAGAIN;
    struct coil_loop *loop = l->server->loop;
    if (coil__timer_start(loop, &l->timer, clock_add(loop_now_ns(loop), ACCEPT_RETRY_NS)) < 0)
        wait_for_client(l); /* not even memory for a timer: no rest */
    return true;
}

static coil_ret next_client(struct listener *l)
{
    struct backend *b = backend_of(l->server);
    coil_ret fd = l->brought;
    if (fd != -EAGAIN) {
        l->brought = -EAGAIN;
        return fd;
    }
    l->peer.len = 0;
    return b->cls->calls.accept(b, l->sock->fd, &l->peer.storage, &l->peer.len);
}

/* The slot. At most `backlog` clients a turn, so that a storm of them leaves room for others. */
static void listener_run(void *arg)
{
    struct listener *l = arg;
    struct coil_server *server = l->server;
    coil_ret rc = 0;
    server->refs++; /* a handler that is told of an error may close the server */
    for (int i = 0; !server->closed && i < server->opts.backlog; i++) {
        rc = next_client(l);
        if (rc >= 0)
            rc = welcome(l, (int)rc);
        if (rc < 0)
            break;
    }
    if (server->closed) {
        COIL_PROBE("a server is closed before its turn to accept");
        if (l->brought >= 0)
            backend_of(server)->cls->calls.close(backend_of(server), (int)l->brought);
        l->brought = -EAGAIN;
        listener_gone(l);
    } else if (rc >= 0 || rc == -EAGAIN) {
        wait_for_client(l);
    } else if (!rest(l, rc)) {
        listener_gone(l);
    }
    server_unref(server);
}

/* ---- starting and stopping ---- */

int coil_server_start_serving(coil_server *server)
{
    if (server->closed)
        return (int)coil__fail(COIL_EINVALIDSTATE, "server is closed");
    if (!coil__loop_use(server->loop))
        return (int)coil_last_error()->code;
    if (server->serving)
        return 0;
    server->serving = true;
    for (size_t i = 0; i < server->listeners_n; i++) {
        server->refs++;
        wait_for_client(&server->listeners[i]);
    }
    return 0;
}

/* QUEUED ones end in their slot, WAITING ones whose op cannot be taken back when that is done. */
static void stop_listener(struct listener *l)
{
    struct coil_server *server = l->server;
    struct backend *b = backend_of(server);
    bool gone = false;
    if (l->state == LISTENER_RESTING) {
        COIL_PROBE("a server is closed while accepting pauses");
        coil__timer_stop(server->loop, &l->timer);
        gone = true;
    } else if (l->state == LISTENER_WAITING) {
        gone = b->cls->cancel(b, &l->op) == 0;
    }
    if (l->file)
        coil__socket_file_remove(l->sock, l->file);
    l->file = NULL;
    coil_sock_close(l->sock);
    if (gone)
        listener_gone(l);
}

void coil_server_close(coil_server *server)
{
    if (!server || server->closed)
        return;
    server->closed = true;
    server->serving = false;
    server->refs++;
    for (size_t i = 0; i < server->listeners_n; i++)
        stop_listener(&server->listeners[i]);
    wake_all(&server->stop);
    if (server->clients_n == 0)
        wake_all(&server->closers);
    server_unref(server);
}

void coil_server_free(coil_server *server)
{
    if (!server || server->given_up)
        return;
    coil_server_close(server);
    server->given_up = true;
    server_unref(server);
}

/* ---- making one ---- */

static int add_listener(struct coil_server *server, struct bound *bound)
{
    int err = coil__loop_hold(server->loop, 1);
    if (err < 0)
        return (int)coil__fail_plain(err);
    struct listener *l = &server->listeners[server->listeners_n++];
    l->server = server;
    l->sock = bound->sock;
    l->file = bound->file;
    *bound = (struct bound){NULL, NULL};
    timer_init(&l->timer, rest_over);
    return 0;
}

/* It does not come to a server: the sockets go back to where they came from. */
static void give_back(struct coil_server *server, struct bound_list *bound)
{
    for (size_t i = 0; i < server->listeners_n; i++) {
        struct listener *l = &server->listeners[i];
        bound->v[i] = (struct bound){l->sock, l->file};
        l->sock = NULL;
        l->file = NULL;
    }
}

static int listen_on_all(struct coil_server *server, struct bound_list *bound)
{
    for (size_t i = 0; i < bound->n; i++) {
        int err = add_listener(server, &bound->v[i]);
        if (err < 0)
            return err;
    }
    for (size_t i = 0; i < server->listeners_n; i++) {
        int err = coil_sock_listen(server->listeners[i].sock, server->opts.backlog);
        if (err < 0)
            return err;
    }
    return 0;
}

int coil__server_new(const struct service *service, struct bound_list *bound,
                     const coil_server_opts *opts, coil_server **out)
{
    struct net_part *part = bound->v[0].sock->part;
    struct coil_server *server = coil__zalloc(sizeof *server + bound->n * sizeof(struct listener));
    if (!server)
        return (int)coil__fail_plain(-ENOMEM);
    server->loop = part->loop;
    server->part = part;
    server->refs = 1;
    server->fn = service->fn;
    server->factory = service->factory;
    server->arg = service->arg;
    server->opts = *opts;
    server->opts.hosts = NULL; /* the caller's, and done with */
    if (opts->tls)
        opts->tls->cls->ref(opts->tls);
    server->map = context_capture();
    if (server->opts.backlog <= 0)
        server->opts.backlog = BACKLOG_DEFAULT;
    list_init(&server->clients);
    list_push(&part->servers, &server->link);
    int err = listen_on_all(server, bound);
    if (err == 0 && !opts->no_start)
        err = coil_server_start_serving(server);
    if (err < 0) {
        struct error_record *why = coil__error_capture(err);
        give_back(server, bound);
        coil_server_free(server);
        coil__error_restore(why, err);
        coil__error_unref(why);
        return err;
    }
    *out = server;
    return 0;
}

/* ---- waiting ---- */

static const struct wait_class closed_class = {.what = "wait_closed",
                                               .cancel = coil__waiter_cancel};
static const struct wait_class serve_class = {.what = "serve_forever",
                                              .cancel = coil__waiter_cancel};

static coil_ret wait_closed(struct coil_server *server)
{
    while (!server->closed || server->clients_n > 0) {
        struct waiter waiter;
        coil_ret rc = coil__waiters_wait(&server->closers, &waiter, &closed_class);
        if (rc < 0)
            return rc;
    }
    return 0;
}

coil_ret coil_server_wait_closed(coil_server *server)
{
    coil_ret rc = coil__net_can_wait(server->loop);
    if (rc < 0)
        return rc;
    server->refs++;
    rc = wait_closed(server);
    server_unref(server);
    return rc;
}

static coil_ret serve_forever(struct coil_server *server)
{
    struct waiter waiter;
    coil_ret rc = coil__waiters_wait(&server->stop, &waiter, &serve_class);
    if (rc == COIL_EEXIT)
        return rc;
    if (rc == 0)
        rc = coil__fail(-ECANCELED, "the server was closed");
    struct error_record *why = coil__error_capture(rc);
    coil_server_close(server);
    coil_ret closed = wait_closed(server);
    if (closed == 0)
        coil__error_restore(why, rc);
    coil__error_unref(why);
    return closed < 0 ? closed : rc;
}

coil_ret coil_server_serve_forever(coil_server *server)
{
    coil_ret rc = coil__net_can_wait(server->loop);
    if (rc < 0)
        return rc;
    if (server->forever)
        return coil__fail(COIL_ERUNNING, "server is already being awaited on serve_forever()");
    rc = coil_server_start_serving(server);
    if (rc < 0)
        return rc;
    server->forever = true;
    server->refs++;
    rc = serve_forever(server);
    server->forever = false;
    server_unref(server);
    return rc;
}

coil_ret coil_server_finish(coil_server *server)
{
    if (!server)
        return 0;
    coil_server_close(server);
    coil_ret rc = coil_server_wait_closed(server);
    coil_server_free(server);
    return rc;
}

/* ---- asking ---- */

coil_loop *coil_server_get_loop(const coil_server *server)
{
    return server->loop;
}

void coil_server_close_clients(coil_server *server)
{
    LIST_FOREACH(link, &server->clients) {
        struct server_client *client = container_of(link, struct server_client, link);
        client->close(client);
    }
}

void coil_server_abort_clients(coil_server *server)
{
    LIST_FOREACH(link, &server->clients) {
        struct server_client *client = container_of(link, struct server_client, link);
        client->abort(client);
    }
}

bool coil_server_is_serving(const coil_server *server)
{
    return server->serving;
}

size_t coil_server_connections(const coil_server *server)
{
    return server->clients_n;
}

size_t coil_server_sockets(const coil_server *server)
{
    return server->closed ? 0 : server->listeners_n;
}

int coil_server_sockname(const coil_server *server, size_t index, coil_address *out_address)
{
    if (index >= coil_server_sockets(server))
        return (int)coil__fail(-EINVAL, "this server has %zu sockets", coil_server_sockets(server));
    return coil_sock_getsockname(server->listeners[index].sock, out_address);
}

int coil_server_port(const coil_server *server)
{
    coil_address own;
    int err = coil_server_sockname(server, 0, &own);
    return err < 0 ? err : coil_address_port(&own);
}

/* ---- the loop closes ---- */

/* No slot will run any more: what is on its way is taken back here. */
static void take_down(struct coil_server *server)
{
    server->refs++;
    for (size_t i = 0; i < server->listeners_n; i++) {
        struct listener *l = &server->listeners[i];
        if (l->state == LISTENER_QUEUED && l->brought >= 0)
            backend_of(server)->cls->calls.close(backend_of(server), (int)l->brought);
        if (l->state == LISTENER_QUEUED)
            listener_gone(l);
    }
    coil_server_close(server);
    for (size_t i = 0; i < server->listeners_n; i++)
        coil__loop_settle_op(server->loop, &server->listeners[i].op);
    forget_loop(server);
    server_unref(server);
}

void coil__net_close_servers(struct net_part *part)
{
    while (!list_empty(&part->servers))
        take_down(container_of(list_first(&part->servers), struct coil_server, link));
}
