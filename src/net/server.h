/* SPDX-License-Identifier: MIT
 *
 * server.h: what connections know of servers. */
#ifndef COIL_NET_SERVER_H
#define COIL_NET_SERVER_H

#include "net/listen.h"

struct connection;

/* A server on these sockets (one at least), which it takes; on failure all stay in the list. Listens, and accepts unless
 * opts->no_start. 0 or an error, recorded. */
int coil__server_new(coil_client_fn fn, void *arg, struct bound_list *bound,
                     const coil_server_opts *opts, coil_server **out);

/* A client's connection is CLOSED and its function has returned: its server need not wait any more. */
void coil__server_let_go(struct connection *conn);

#endif
