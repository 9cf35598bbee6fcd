/* SPDX-License-Identifier: MIT
 *
 * server.h: servers by where their sockets come from, and what connections know of them. */
#ifndef COIL_NET_SERVER_H
#define COIL_NET_SERVER_H

#include "net/listen.h"

struct connection;

/* Whom a server calls for its clients. */
struct service {
    coil_client_fn fn;
    void *arg;
};

/* Servers for this service; as the public calls of these names. `opts` may be NULL. */
COIL_MUST coil_ret coil__server_hosts(const struct service *service, const char *host,
                                      const char *port, const coil_server_opts *opts,
                                      coil_server **out);
int coil__server_unix(const struct service *service, const char *path, const coil_server_opts *opts,
                      coil_server **out);
int coil__server_sock(const struct service *service, coil_sock *sock, const coil_server_opts *opts,
                      coil_server **out);

/* On these sockets (one at least), which it takes; on failure all stay in the list. Listens, and accepts unless
 * opts->no_start. 0 or an error, recorded. */
int coil__server_new(const struct service *service, struct bound_list *bound,
                     const coil_server_opts *opts, coil_server **out);

/* A client's connection is CLOSED and its function has returned: its server need not wait any more. */
void coil__server_let_go(struct connection *conn);

#endif
