/* SPDX-License-Identifier: MIT
 *
 * server.h: what connections know of servers. */
#ifndef COIL_NET_SERVER_H
#define COIL_NET_SERVER_H

struct connection;

/* A client's connection is CLOSED: its server need not wait for it any more. */
void coil__server_let_go(struct connection *conn);

#endif
