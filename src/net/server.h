/* SPDX-License-Identifier: MIT
 *
 * server.h: servers by where their sockets come from, and what those who serve a server's clients (connections,
 * transports) know of servers. */
#ifndef COIL_NET_SERVER_H
#define COIL_NET_SERVER_H

#include "base/list.h"
#include "net/listen.h"

#include <coil/transport.h>

/* Whom a server calls for its clients. */
struct service {
    coil_client_fn fn; /* NULL: `factory` */
    coil_protocol_factory_fn factory;
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

/* A client in its server's book; part of what serves it. */
struct server_client {
    struct list link;           /* coil_server.clients */
    struct coil_server *server; /* NULL: none, or let go */
    void (*close)(struct server_client *client);
    void (*abort)(struct server_client *client);
};

/* Its TLS handshake is over: call the server's function, or factory, for it. Or it failed: `error`, recorded. In the
 * context of the server. */
void coil__server_client_ready(struct server_client *client);
void coil__server_client_failed(struct server_client *client, coil_ret error);

/* It is closed, and nothing of the user's runs for it any more: its server need not wait for it. */
void coil__server_let_go(struct server_client *client);

#endif
