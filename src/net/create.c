/* SPDX-License-Identifier: MIT
 *
 * create.c: transports for connections that are made here, and for the clients of servers.
 *
 *     connect --> transport --> factory --> slot: connection_made --> the caller goes on
 *
 * Always true: whatever may fail for want of memory has been had before the factory is asked, so that what it made
 * is told of its end.
 *
 * Runs on the loop's thread. Elsewhere: names and addresses (connect.c, unix.c), servers (start_server.c). */
#include "base/error.h"
#include "base/opts.h"
#include "net/connect.h"
#include "net/transport.h"
#include "net/unix.h"

/* ---- may it be done here? ---- */

coil_ret coil__transport_may_attach(const coil_loop *loop, coil_protocol_factory_fn factory)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (loop && loop != coil__running_loop)
        return coil__fail(COIL_EWRONGLOOP, "connections are made in the running event loop");
    return factory ? 0 : coil__fail(-EINVAL, "a transport needs a protocol factory");
}

/* ---- connections ---- */

static const struct wait_class open_class = {.what = "connection_made",
                                             .cancel = coil__waiter_cancel};

static coil_ret wait_made(struct coil_transport *t)
{
    coil_ret rc = 0;
    while (rc == 0 && !t->made) {
        struct waiter waiter;
        rc = coil__waiters_wait(&t->openers, &waiter, &open_class);
    }
    if (rc == 0 && t->made_error)
        rc = coil__error_restore(t->words, t->made_error);
    return rc;
}

/* The protocol comes later: who fails here is not told to any. */
static coil_ret secure(struct coil_transport *t, const struct filter_plan *plan)
{
    coil_ret rc = coil__transport_secure(t, plan);
    if (rc == 0)
        return coil__transport_shake(t);
    coil__transport_lost(t, rc, NULL);
    return rc;
}

coil_ret coil__transport_attach(coil_sock *sock, const struct transport_plan *plan,
                                coil_transport **out_transport, void **out_protocol_arg)
{
    struct coil_transport *t;
    coil_ret rc = coil__transport_new(sock, &t);
    if (rc < 0) {
        coil_sock_unref(sock);
        return rc;
    }
    t->kind = (uint8_t)plan->kind;
    t->watched = plan->watched;
    transport_ref(t);
    rc = plan->tls ? secure(t, plan->tls) : 0;
    if (rc == 0)
        rc = coil__transport_equip(t, plan->factory, plan->arg);
    if (rc < 0) {
        coil_transport_unref(t);
        return rc;
    }
    rc = wait_made(t);
    if (rc < 0)
        coil_transport_close(t);
    else if (out_protocol_arg)
        *out_protocol_arg = t->arg;
    if (rc < 0 || !out_transport)
        coil_transport_unref(t);
    else
        *out_transport = t;
    return rc;
}

coil_ret coil_loop_create_connection(coil_loop *loop, coil_protocol_factory_fn factory, void *arg,
                                     const char *host, const char *port,
                                     const coil_connect_opts *opts, coil_transport **out_transport,
                                     void **out_protocol_arg)
{
    coil_connect_opts own;
    coil_sock *sock;
    opts = OPTS_READ(opts, own);
    struct filter_plan tls = coil__tls_plan(opts, host);
    struct transport_plan plan = {.factory = factory, .arg = arg, .tls = tls.context ? &tls : NULL};
    coil_ret rc = coil__transport_may_attach(loop, factory);
    if (rc == 0)
        rc = coil__tls_check(opts, host);
    if (rc == 0)
        rc = coil__connect(host, port, opts, &sock);
    return rc < 0 ? rc : coil__transport_attach(sock, &plan, out_transport, out_protocol_arg);
}

coil_ret coil_loop_create_unix_connection_with(coil_loop *loop, coil_protocol_factory_fn factory,
                                               void *arg, const char *path,
                                               const coil_connect_opts *opts,
                                               coil_transport **out_transport,
                                               void **out_protocol_arg)
{
    coil_connect_opts own;
    coil_sock *sock;
    opts = OPTS_READ(opts, own);
    struct filter_plan tls = coil__tls_plan(opts, NULL);
    struct transport_plan plan = {.factory = factory, .arg = arg, .tls = tls.context ? &tls : NULL};
    coil_ret rc = coil__transport_may_attach(loop, factory);
    if (rc == 0)
        rc = coil__tls_check(opts, NULL);
    if (rc == 0)
        rc = coil__unix_connect(path, &sock);
    return rc < 0 ? rc : coil__transport_attach(sock, &plan, out_transport, out_protocol_arg);
}

coil_ret coil_loop_create_unix_connection(coil_loop *loop, coil_protocol_factory_fn factory,
                                          void *arg, const char *path,
                                          coil_transport **out_transport, void **out_protocol_arg)
{
    return coil_loop_create_unix_connection_with(loop, factory, arg, path, NULL, out_transport,
                                                 out_protocol_arg);
}

coil_ret coil_loop_create_connection_sock_with(coil_loop *loop, coil_protocol_factory_fn factory,
                                               void *arg, coil_sock *sock,
                                               const coil_connect_opts *opts,
                                               coil_transport **out_transport,
                                               void **out_protocol_arg)
{
    coil_connect_opts own;
    opts = OPTS_READ(opts, own);
    struct filter_plan tls = coil__tls_plan(opts, NULL);
    coil_ret rc = coil__transport_may_attach(loop, factory);
    if (rc == 0 && sock->fd >= 0 && sock->loop != coil__running_loop)
        rc = coil__fail(COIL_EWRONGLOOP, "this socket belongs to a different event loop");
    if (rc == 0 && sock->type != SOCK_STREAM)
        rc = coil__fail(-EINVAL, "A stream socket was expected");
    if (rc == 0)
        rc = coil__tls_check(opts, NULL);
    struct transport_plan plan = {.factory = factory, .arg = arg, .tls = tls.context ? &tls : NULL};
    if (rc == 0)
        return coil__transport_attach(sock, &plan, out_transport, out_protocol_arg);
    coil_sock_unref(sock);
    return rc;
}

coil_ret coil_loop_create_connection_sock(coil_loop *loop, coil_protocol_factory_fn factory,
                                          void *arg, coil_sock *sock,
                                          coil_transport **out_transport, void **out_protocol_arg)
{
    return coil_loop_create_connection_sock_with(loop, factory, arg, sock, NULL, out_transport,
                                                 out_protocol_arg);
}

coil_ret coil_loop_connect_accepted_socket(coil_loop *loop, coil_protocol_factory_fn factory,
                                           void *arg, coil_sock *sock,
                                           coil_transport **out_transport, void **out_protocol_arg)
{
    return coil_loop_create_connection_sock(loop, factory, arg, sock, out_transport,
                                            out_protocol_arg);
}

/* ---- servers ---- */

coil_ret coil_loop_create_server(coil_loop *loop, coil_protocol_factory_fn factory, void *arg,
                                 const char *host, const char *port, const coil_server_opts *opts,
                                 coil_server **out_server)
{
    coil_ret rc = coil__transport_may_attach(loop, factory);
    struct service service = {.factory = factory, .arg = arg};
    return rc < 0 ? rc : coil__server_hosts(&service, host, port, opts, out_server);
}

static int may_serve(const coil_loop *loop)
{
    if (!loop || loop == coil__running_loop)
        return 0;
    return (int)coil__fail(COIL_EWRONGLOOP, "servers are made in the running event loop");
}

int coil_loop_create_unix_server(coil_loop *loop, coil_protocol_factory_fn factory, void *arg,
                                 const char *path, const coil_server_opts *opts,
                                 coil_server **out_server)
{
    struct service service = {.factory = factory, .arg = arg};
    int err = may_serve(loop);
    return err < 0 ? err : coil__server_unix(&service, path, opts, out_server);
}

int coil_loop_create_server_sock(coil_loop *loop, coil_protocol_factory_fn factory, void *arg,
                                 coil_sock *sock, const coil_server_opts *opts,
                                 coil_server **out_server)
{
    struct service service = {.factory = factory, .arg = arg};
    int err = may_serve(loop);
    return err < 0 ? err : coil__server_sock(&service, sock, opts, out_server);
}
