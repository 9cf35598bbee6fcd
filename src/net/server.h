/* SPDX-License-Identifier: MIT
 *
 * server.h: what connections know of servers. */
#ifndef COIL_NET_SERVER_H
#define COIL_NET_SERVER_H

struct connection;

/* A client's connection is CLOSED and its function has returned: its server need not wait any more. */
void coil__server_let_go(struct connection *conn);

#endif
