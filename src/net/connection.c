/* SPDX-License-Identifier: MIT
 *
 * connection.c: what reader and writer have in common: one socket, one life, one end.
 *
 * stream.h has the picture. Whatever ends something (close, abort, an error, the client's task) only notes it
 * and lets the connection's slot run in the next turn; there it is taken apart, so that nothing ends
 * inside somebody else's call.
 *
 * Runs on the loop's thread. Elsewhere: bytes in (reader.c), bytes out (writer.c, outbox.c), the server's book of
 * clients (server.c). */
#include "base/error.h"
#include "base/mem.h"
#include "base/probe.h"
#include "net/stream.h"

#include <stdio.h>

/* ---- life ---- */

static void close_client(struct server_client *client)
{
    coil__connection_close(container_of(client, struct connection, client));
}

static void abort_client(struct server_client *client)
{
    coil__connection_abort(container_of(client, struct connection, client));
}

int coil__connection_new(coil_sock *sock, size_t limit, struct connection **out)
{
    if (sock->fd < 0)
        return (int)coil__fail_plain(-EBADF);
    if (sock->lent || sock->receiving || sock->sending || sock->sending_all)
        return (int)coil__fail(COIL_ERUNNING, "this socket is in use already");
    struct connection *conn = coil__zalloc(sizeof *conn);
    if (!conn)
        return (int)coil__fail_plain(-ENOMEM);
    int err = coil__loop_hold(sock->loop, 1);
    if (err < 0) {
        coil__free(conn);
        return (int)coil__fail_plain(err);
    }
    conn->loop = sock->loop;
    conn->part = sock->part;
    conn->sock = sock;
    conn->refs = 3; /* reader, writer, and being open */
    list_init(&conn->client.link);
    conn->client.close = close_client;
    conn->client.abort = abort_client;
    list_init(&conn->task_done.link);
    coil__reader_init(&conn->reader, conn, conn->loop, limit);
    coil__writer_init(&conn->writer, sock);
    list_push(&conn->part->connections, &conn->link);
    sock->lent = true;
    *out = conn;
    return 0;
}

/* What the loop knows of it. */
static void forget_loop(struct connection *conn)
{
    list_remove(&conn->link);
    if (conn->loop)
        loop_release(conn->loop, 1);
    conn->loop = NULL;
}

void coil__connection_unref(struct connection *conn)
{
    if (--conn->refs > 0)
        return;
    COIL_CHECK(conn->closed && outbox_idle(&conn->writer.out));
    forget_loop(conn);
    coil__reader_fini(&conn->reader);
    coil__filter_unref(conn->filter);
    coil__error_unref(conn->words);
    coil__context_map_unref(conn->map);
    coil__free(conn->names);
    coil_sock_unref(conn->sock);
    coil__free(conn);
}

int coil_open_connection_sock(coil_sock *sock, size_t limit, coil_reader **out_reader,
                              coil_writer **out_writer)
{
    struct connection *conn;
    if (sock->type != SOCK_STREAM)
        return (int)coil__fail(-EINVAL, "A stream socket was expected");
    int err = coil__connection_new(sock, limit, &conn);
    if (err < 0)
        return err;
    *out_reader = &conn->reader;
    *out_writer = &conn->writer;
    return 0;
}

/* ---- the end ---- */

/* Also when it was TLS that failed: its last word, which says why, is on its way to the peer. */
static bool may_discard(const struct connection *conn)
{
    bool lost = conn->error && !(conn->filter && conn->filter->error);
    return !conn->aborted && !lost && !conn->reader.eof && !conn->loop->closing;
}

/* The server waits for both: the function may use what the server's owner lent it, whatever became of the
 * connection. */
static void maybe_let_go(struct connection *conn)
{
    if (conn->client.server && conn->closed && !conn->task)
        coil__server_let_go(&conn->client);
}

/* Nothing is left to send: CLOSED. */
static void end(struct connection *conn)
{
    if (may_discard(conn))
        coil__sock_discard(conn->sock);
    conn->closed = true;
    conn->closing = true;
    if (!conn->error)
        conn->reader.eof = true;
    /* A coroutine that receives is woken by these, and finds the end. */
    coil__filter_close(conn->filter);
    coil_sock_close(conn->sock);
    coil__writer_wake_drainers(&conn->writer);
    while (coil__waiters_wake(&conn->closers))
        ;
    maybe_let_go(conn);
    coil__connection_unref(conn);
}

/* ---- the slot ---- */

static void end_of_client(struct connection *conn);
static void shake_client(struct connection *conn);

/* What cannot be ended cannot be sent to either: -ENOTCONN means that a reset came, not read yet. */
static void send_eof(struct connection *conn)
{
    conn->writer.eof_sent = true;
    if (conn->filter) {
        coil__filter_end(conn->filter);
        return;
    }
    int rc = sock_calls(conn->sock)->shutdown(sock_backend(conn->sock), conn->sock->fd, SHUT_WR);
    if (rc < 0)
        coil__connection_lost(conn, rc == -ENOTCONN ? -ECONNRESET : rc, true);
}

/* TLS failed. What it still holds for a reader can be read; but nothing more is sent, and who waits for that is told. */
static void look_at_filter(struct connection *conn)
{
    struct filter *f = conn->filter;
    bool read_later = f->receiver || (f->start < f->end && !conn->closing);
    if (f->error && !conn->error) {
        conn->words = coil__error_share(f->words);
        coil__connection_lost(conn, f->error, read_later);
    }
}

/* TLS says goodbye after all else, and hears that from the peer. */
static bool said_goodbye(struct connection *conn)
{
    bool unfriendly = !conn->filter || conn->aborted || conn->error;
    return unfriendly || coil__filter_finish(conn->filter);
}

static void run(void *arg)
{
    struct connection *conn = arg;
    conn->queued = false;
    coil__outbox_flush(&conn->writer.out);
    coil__outbox_release_sent(&conn->writer.out);
    if (conn->shaking)
        shake_client(conn);
    if (conn->filter && !conn->closed)
        look_at_filter(conn);
    if (conn->task_ended)
        end_of_client(conn);
    if (!conn->closed && outbox_idle(&conn->writer.out)) {
        struct coil_writer *w = &conn->writer;
        if (w->eof_asked && !w->eof_sent && !conn->closing && !conn->mute) {
            send_eof(conn);
        }
        /* What the release callbacks did may have queued the slot again; it looks then. */
        if (conn->closing && !conn->queued && said_goodbye(conn))
            end(conn);
    }
    coil__connection_unref(conn);
}

void coil__connection_kick(struct connection *conn)
{
    if (conn->queued)
        return;
    conn->queued = true;
    connection_ref(conn);
    loop_push(conn->loop, run, conn, conn->map ? coil__context_map_ref(conn->map) : NULL);
}

void coil__connection_close(struct connection *conn)
{
    if (conn->closing)
        return;
    conn->closing = true;
    if (outbox_idle(&conn->writer.out))
        coil__connection_kick(conn);
}

void coil__connection_abort(struct connection *conn)
{
    if (conn->closed)
        return;
    conn->aborted = true;
    conn->closing = true;
    coil__outbox_drop(&conn->writer.out);
    coil__connection_kick(conn);
}

/* Errors of this machine, not of the connection: the next call may fare better. */
static bool passes(coil_ret error)
{
    return error == -ENOMEM || error == -ENOBUFS || error == -ENOSPC;
}

void coil__connection_lost(struct connection *conn, coil_ret error, bool sending)
{
    if (conn->closed)
        return;
    /* A reset is told once. When a receive was told of it and a send found the pipe broken, the send's word comes
     * here first, since the receiving task has its turn later; but it is no word of an end. */
    if (!conn->error || (!sending && conn->error == -EPIPE))
        conn->error = error;
    conn->mute = true;
    coil__outbox_drop(&conn->writer.out);
    coil__writer_wake_drainers(&conn->writer);
    /* Where this machine could not send, the peer knows nothing of it, and may wait for ever. */
    if (!sending || passes(error) || conn->reader.eof || conn->reader.refs == 0)
        conn->closing = true;
    if (conn->closing)
        coil__connection_kick(conn);
    else
        COIL_PROBE("a write fails, and what came before is still read");
}

void coil__connection_reader_gone(struct connection *conn)
{
    if (conn->mute)
        coil__connection_close(conn);
}

/* ---- receiving ---- */

/* No byte will come any more. */
static coil_ret no_more(struct connection *conn)
{
    if (conn->error)
        return connection_error(conn);
    conn->reader.eof = true;
    return 0;
}

/* The peer ended the stream. After a reset the kernel says the same once the error was given to a send; only
 * with EPIPE had the peer's own end come before, or where TLS has its word for it. */
static coil_ret end_of_stream(struct connection *conn)
{
    if (conn->mute || conn->one_way)
        coil__connection_close(conn);
    bool said = conn->filter && conn->filter->peer_ended;
    if (conn->mute && conn->error != -EPIPE && !said)
        return no_more(conn);
    conn->reader.eof = true;
    return 0;
}

/* TLS has recorded what it was. */
static void lost_receiving(struct connection *conn, coil_ret error)
{
    struct error_record *words = conn->filter ? coil__error_capture(error) : NULL;
    coil__connection_lost(conn, error, false);
    if (conn->error == error && !conn->words)
        conn->words = words;
    else
        coil__error_unref(words);
}

coil_ret coil__connection_receive(struct connection *conn, void *p, size_t n)
{
    if (conn->closed)
        return no_more(conn);
    connection_ref(conn);
    coil_ret rc = conn->filter ? coil__filter_receive_wait(conn->filter, p, n)
                               : coil__sock_receive(conn->sock, p, n);
    if (rc == 0)
        rc = end_of_stream(conn);
    else if (rc == -EBADF && conn->closed)
        rc = no_more(conn);
    else if (passes(rc))
        rc = coil__fail_plain(rc);
    else if (rc < 0 && rc != -ECANCELED && rc != COIL_EEXIT && rc != -EINTR) {
        lost_receiving(conn, rc);
        rc = connection_error(conn);
    }
    coil__connection_unref(conn);
    return rc;
}

/* ---- TLS ---- */

static void filter_told(struct filter *f)
{
    struct connection *conn = f->owner;
    if (conn->shaking || conn->closing || f->error)
        coil__connection_kick(conn);
}

static int secure(struct connection *conn, const struct filter_plan *plan)
{
    const void *early;
    int err = 0;
    if (!conn->filter)
        err = coil__filter_new(conn->sock, &conn->writer.out, filter_told, conn, &conn->filter);
    if (err < 0)
        return err;
    size_t n = coil__reader_peek(&conn->reader, &early);
    err = coil__filter_add(conn->filter, plan, early, n);
    if (err < 0)
        return err;
    coil__reader_forget(&conn->reader);
    coil__outbox_filtered_limits(&conn->writer.out);
    return 0;
}

int coil__connection_secure(struct connection *conn, const struct filter_plan *plan)
{
    int err = secure(conn, plan);
    if (err == -ENOMEM)
        coil__connection_abort(conn);
    return err;
}

coil_ret coil__connection_shake(struct connection *conn)
{
    connection_ref(conn);
    coil_ret rc = coil__filter_wait(conn->filter);
    if (rc < 0 && !conn->filter->error)
        coil__connection_abort(conn); /* cancelled */
    else if (rc < 0)
        look_at_filter(conn);
    coil__connection_unref(conn);
    return rc;
}

int coil__connection_secure_client(struct connection *conn, const struct filter_plan *plan)
{
    int err = coil__connection_secure(conn, plan);
    if (err < 0)
        return err;
    conn->shaking = true;
    conn->map = context_capture();
    return 0;
}

/* ---- a server's client ---- */

static coil_ret client_main(void *arg)
{
    struct connection *conn = arg;
    return conn->client_fn(&conn->reader, &conn->writer, conn->client_arg);
}

static void client_done(struct future_callback *cb, coil_future *task)
{
    struct connection *conn = container_of(cb, struct connection, task_done);
    (void)task;
    conn->task_ended = true;
    coil__connection_kick(conn);
}

int coil__connection_serve(struct connection *conn, coil_client_fn fn, void *arg,
                           const coil_task_opts *opts)
{
    conn->client_fn = fn;
    conn->client_arg = arg;
    coil_task *task = coil_create_task_at(__FILE__, __LINE__, client_main, conn, 0, opts);
    if (task->immortal)
        return (int)task->result;
    conn->task = task;
    conn->task_done.fire = client_done;
    coil__future_watch(task, &conn->task_done);
    return 0;
}

static void report_client(struct connection *conn, coil_task *task, coil_ret code)
{
    struct error_record *record = coil__future_take_error(task);
    coil_exception_context context = {
        .size = sizeof context,
        .message = "Unhandled exception in client_connected_cb",
        .code = code,
        .error = coil__error_show(record, code),
        .future = task,
        .task = task,
        .fd = coil_sock_fileno(conn->sock),
        .kind = "client-error",
    };
    coil_loop_call_exception_handler(conn->loop, &context);
    coil__error_unref(record);
}

/* The caller keeps the connection alive. */
static void give_back_faces(struct connection *conn)
{
    coil__connection_close(conn);
    coil_writer_unref(&conn->writer);
    coil_reader_unref(&conn->reader);
}

/* A handshake came to its end, or its connection did before. */
static void shake_client(struct connection *conn)
{
    struct filter *f = conn->filter;
    if (filter_is_shaking(f) && !conn->closing)
        return;
    conn->shaking = false;
    if (filter_shake_failed(f)) {
        coil__error_restore(f->words, f->error);
        coil__server_client_failed(&conn->client, f->error);
    }
    if (filter_shake_failed(f) || conn->closing)
        give_back_faces(conn);
    else
        coil__server_client_ready(&conn->client);
}

static void end_of_client(struct connection *conn)
{
    coil_task *task = conn->task;
    conn->task = NULL;
    conn->task_ended = false;
    coil_ret rc = task->result;
    if (coil_iserr(rc) && !coil_future_cancelled(task))
        report_client(conn, task, rc);
    coil_unref(task);
    give_back_faces(conn);
    maybe_let_go(conn);
}

/* ---- the loop closes ---- */

static void report_unclosed(struct connection *conn)
{
    char peer[COIL_ADDRESS_TEXT_MAX] = "?", text[COIL_ADDRESS_TEXT_MAX + 40];
    coil_address address;
    if (coil__sock_peer(conn->sock, &address) == 0)
        coil_address_format(&address, peer, sizeof peer);
    snprintf(text, sizeof text, "unclosed connection, peer %s", peer);
    coil__loop_report(conn->loop, "unclosed", text, 0, NULL, NULL);
}

/* The tasks are gone, so is everything that waited; no slot will run any more. */
static void take_down(struct connection *conn)
{
    bool was_queued = conn->queued;
    conn->queued = true;
    connection_ref(conn);
    if (conn->filter)
        coil__filter_settle(conn->filter);
    if (!conn->closed) {
        if (conn->loop->debug && !conn->closing && !conn->task && !conn->shaking)
            report_unclosed(conn);
        conn->closing = true;
        coil__outbox_end(&conn->writer.out);
        end(conn);
    }
    if (conn->task) {
        future_unwatch(&conn->task_done);
        coil_unref(conn->task);
        conn->task = NULL;
        maybe_let_go(conn);
        give_back_faces(conn);
    }
    if (conn->shaking) {
        conn->shaking = false;
        give_back_faces(conn);
    }
    if (conn->client.server)
        coil__server_let_go(&conn->client);
    forget_loop(conn);
    if (was_queued)
        coil__connection_unref(conn);
    coil__connection_unref(conn);
}

void coil__net_close_connections(struct net_part *part)
{
    while (!list_empty(&part->connections))
        take_down(container_of(list_first(&part->connections), struct connection, link));
}
