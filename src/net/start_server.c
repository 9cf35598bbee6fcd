/* SPDX-License-Identifier: MIT
 *
 * start_server.c: from what a server is asked for to one that listens.
 *
 *     hosts and a port, a path --bind (listen.c)--> sockets --+
 *     a socket of the caller's, lent to it -------------------+--> coil__server_new (server.c)
 *
 * Always true: a socket that was lent is its owner's again if no server comes of it.
 *
 * Runs on the loop's thread. Elsewhere: accepting and closing (server.c), the same for protocols (create.c). */
#include "net/server.h"

#include "base/error.h"
#include "base/opts.h"
#include "net/filter.h"
#include "net/unix.h"

static int serves_nobody(const struct service *service, const coil_server_opts *opts)
{
    if (!service->fn && !service->factory)
        return (int)coil__fail(-EINVAL, "a server needs a function for its clients");
    struct filter_plan plan = {.context = opts->tls,
                               .handshake_timeout = opts->tls_handshake_timeout,
                               .shutdown_timeout = opts->tls_shutdown_timeout};
    return plan.context ? (int)coil__filter_check(&plan, true) : 0;
}

coil_ret coil__server_hosts(const struct service *service, const char *host, const char *port,
                            const coil_server_opts *opts, coil_server **out)
{
    coil_server_opts own;
    opts = OPTS_READ(opts, own);
    coil_ret rc = serves_nobody(service, opts);
    if (rc < 0)
        return rc;
    if (host && opts->hosts_n > 0)
        return coil__fail(-EINVAL, "a server has one host or several, not both");
    struct bound_list bound = {NULL, 0};
    rc = opts->hosts_n ? coil__bind_hosts(opts->hosts, opts->hosts_n, port, opts, &bound)
                       : coil__bind_hosts(&host, 1, port, opts, &bound);
    if (rc < 0)
        return rc;
    rc = coil__server_new(service, &bound, opts, out);
    coil__bound_free(&bound);
    return rc;
}

int coil__server_unix(const struct service *service, const char *path, const coil_server_opts *opts,
                      coil_server **out)
{
    coil_server_opts own;
    opts = OPTS_READ(opts, own);
    int err = serves_nobody(service, opts);
    if (err < 0)
        return err;
    struct bound_list bound = {NULL, 0};
    err = coil__bind_unix(path, opts, &bound);
    if (err < 0)
        return err;
    err = coil__server_new(service, &bound, opts, out);
    coil__bound_free(&bound);
    return err;
}

static int may_serve(const coil_sock *sock)
{
    if (sock->fd < 0)
        return (int)coil__fail_plain(-EBADF);
    if (!coil__loop_use(sock->loop))
        return (int)coil_last_error()->code;
    if (sock->type != SOCK_STREAM)
        return (int)coil__fail(-EINVAL, "a server needs a stream socket");
    if (sock->lent || sock->receiving || sock->sending || sock->sending_all)
        return (int)coil__fail(COIL_ERUNNING, "this socket is in use already");
    return 0;
}

int coil__server_sock(const struct service *service, coil_sock *sock, const coil_server_opts *opts,
                      coil_server **out)
{
    coil_server_opts own;
    opts = OPTS_READ(opts, own);
    int err = serves_nobody(service, opts);
    if (err == 0)
        err = may_serve(sock);
    if (err < 0)
        return err;
    struct bound one = {.sock = sock};
    struct bound_list bound = {&one, 1};
    sock->lent = true;
    err = coil__server_new(service, &bound, opts, out);
    if (err < 0)
        sock->lent = false;
    return err;
}

coil_ret coil_start_server_with(coil_client_fn fn, void *arg, const char *host, const char *port,
                                const coil_server_opts *opts, coil_server **out_server)
{
    return coil__server_hosts(&(struct service){.fn = fn, .arg = arg}, host, port, opts,
                              out_server);
}

coil_ret coil_start_server(coil_client_fn fn, void *arg, const char *host, const char *port,
                           coil_server **out_server)
{
    return coil__server_hosts(&(struct service){.fn = fn, .arg = arg}, host, port, NULL,
                              out_server);
}

int coil_start_unix_server(coil_client_fn fn, void *arg, const char *path,
                           const coil_server_opts *opts, coil_server **out_server)
{
    return coil__server_unix(&(struct service){.fn = fn, .arg = arg}, path, opts, out_server);
}

int coil_start_server_sock(coil_client_fn fn, void *arg, coil_sock *sock,
                           const coil_server_opts *opts, coil_server **out_server)
{
    return coil__server_sock(&(struct service){.fn = fn, .arg = arg}, sock, opts, out_server);
}
