/* SPDX-License-Identifier: MIT
 *
 * start_tls.c: a connection that stands begins to speak TLS.
 *
 *     wait until all is sent --> what was received and not read goes to TLS --> handshake --> the caller goes on
 *
 * Always true: no byte that came before the handshake reaches whoever reads after it. Such bytes may be anybody's, put in
 * behind the answer that agreed on TLS; TLS takes them for the beginning of the handshake, and refuses.
 *
 * Runs on the loop's thread. Elsewhere: the handshake (filter.c). */
#include "base/error.h"
#include "base/opts.h"
#include "net/filter.h"
#include "net/stream.h"
#include "net/transport.h"

static const struct wait_class empty_class = {.what = "start_tls, what was written before",
                                              .cancel = coil__waiter_cancel};

static coil_ret plan_of(coil_tls_context *context, const coil_start_tls_opts *opts,
                        struct filter_plan *out)
{
    coil_start_tls_opts own;
    opts = OPTS_READ(opts, own);
    if (!context)
        return coil__fail(-EINVAL, "start_tls needs a TLS context");
    *out = (struct filter_plan){.context = context,
                                .server_hostname = opts->server_hostname,
                                .handshake_timeout = opts->handshake_timeout,
                                .shutdown_timeout = opts->shutdown_timeout};
    return coil__filter_check(out, false);
}

static coil_ret shaking_already(const struct filter *f)
{
    return f && f->state == FILTER_SHAKING
               ? coil__fail(COIL_ERUNNING, "a TLS handshake is under way on this connection")
               : 0;
}

/* ---- streams ---- */

static coil_ret writer_may(const struct connection *conn)
{
    if (conn->error)
        return connection_error(conn);
    if (conn->closing)
        return coil__fail(-ECONNRESET, "Connection lost");
    if (conn->writer.eof_asked)
        return coil__fail(COIL_EINVALIDSTATE, "Cannot call start_tls() after write_eof()");
    if (conn->reader.error)
        return coil__error_restore(conn->reader.record, conn->reader.error);
    if (conn->reader.busy)
        return coil__fail(COIL_ERUNNING, "a coroutine reads from this connection");
    return shaking_already(conn->filter);
}

static coil_ret writer_empty(struct coil_writer *w)
{
    coil_ret rc = 0;
    while (rc == 0 && !outbox_idle(&w->out)) {
        struct waiter waiter;
        rc = coil__waiters_wait(&w->emptiers, &waiter, &empty_class);
    }
    return rc;
}

static coil_ret writer_start(struct connection *conn, const struct filter_plan *plan)
{
    coil_ret rc = writer_may(conn);
    if (rc == 0)
        rc = writer_empty(&conn->writer);
    if (rc == 0)
        rc = writer_may(conn);
    if (rc == 0)
        rc = coil__connection_secure(conn, plan);
    return rc == 0 ? coil__connection_shake(conn) : rc;
}

coil_ret coil_writer_start_tls(coil_writer *writer, coil_tls_context *context,
                               const coil_start_tls_opts *opts)
{
    struct connection *conn = connection_of_writer(writer);
    struct filter_plan plan;
    coil_ret rc = coil__net_can_wait(conn->loop);
    if (rc == 0)
        rc = plan_of(context, opts, &plan);
    if (rc < 0)
        return rc;
    connection_ref(conn);
    rc = writer_start(conn, &plan);
    if (rc == -ECANCELED)
        coil__connection_abort(conn);
    coil__connection_unref(conn);
    return rc;
}

/* ---- transports ---- */

static coil_ret transport_may(struct coil_transport *t)
{
    int err = coil__transport_may_write(t);
    return err < 0 ? err : shaking_already(t->filter);
}

static coil_ret transport_start(struct coil_transport *t, const struct filter_plan *plan)
{
    coil_ret rc = transport_may(t);
    while (rc == 0 && !outbox_idle(&t->out)) {
        struct waiter waiter;
        rc = coil__waiters_wait(&t->emptiers, &waiter, &empty_class);
    }
    if (rc == 0)
        rc = transport_may(t);
    return rc == 0 ? coil__transport_secure(t, plan) : rc;
}

coil_ret coil_loop_start_tls(coil_loop *loop, coil_transport *transport,
                             const coil_protocol *protocol, void *arg, coil_tls_context *context,
                             const coil_start_tls_opts *opts)
{
    struct filter_plan plan;
    coil_ret rc = coil__net_can_wait(transport->loop);
    if (rc == 0 && loop && loop != transport->loop)
        rc = coil__fail(COIL_EWRONGLOOP, "this transport belongs to a different event loop");
    if (rc == 0 && sock_is_pipe(transport->sock))
        rc = coil__fail(-ENOTSUP, "TLS goes over sockets, not over pipes");
    if (rc == 0)
        rc = plan_of(context, opts, &plan);
    if (rc < 0)
        return rc;
    transport_ref(transport);
    rc = transport_start(transport, &plan);
    if (rc == 0 && protocol)
        rc = coil_transport_set_protocol(transport, protocol, arg);
    if (rc == 0)
        rc = coil__transport_shake(transport);
    if (rc == -ECANCELED)
        coil_transport_abort(transport);
    coil_transport_unref(transport);
    return rc;
}
