/* SPDX-License-Identifier: MIT
 *
 * unix.h: sockets that have a path or an abstract name. */
#ifndef COIL_NET_UNIX_H
#define COIL_NET_UNIX_H

#include "net/listen.h"

/* A socket that is connected to this name. One reference, the caller's. Waits, also for room in the server's
 * backlog; errors as of coil_open_unix_connection. */
COIL_MUST coil_ret coil__unix_connect(const char *path, coil_sock **out);

/* A socket that is bound to this name; what an earlier server left there is removed. 0 or an error, recorded. */
int coil__bind_unix(const char *path, const coil_server_opts *opts, struct bound_list *out);

/* Remove the socket's file that somebody left at this path, before a bind; anything else stays. */
void coil__unix_remove_stale(struct backend *b, const char *path);

/* Remove the file of a bound socket: only if it is still that one, and only in the process that made it. The socket
 * must still be open: so long its inode's number is not given to another file. The record goes. */
void coil__socket_file_remove(coil_sock *sock, struct socket_file *file);

#endif
