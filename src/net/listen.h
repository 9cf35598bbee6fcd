/* SPDX-License-Identifier: MIT
 *
 * listen.h: the sockets of a server to be: bound, and not listening yet. */
#ifndef COIL_NET_LISTEN_H
#define COIL_NET_LISTEN_H

#include <coil/stream.h>

struct backend;
struct socket_file;

struct bound {
    coil_sock *sock;          /* a reference; NULL: taken by a server */
    struct socket_file *file; /* to be removed with it (unix.h); NULL: none */
};

/* All zero is none. */
struct bound_list {
    struct bound *v;
    size_t n;
};

/* One for each address of these hosts, each address once; families and addresses that this machine does not have are
 * passed over, if others are left. Waits for the names. 0, or an error, recorded, and then none is open. */
COIL_MUST coil_ret coil__bind_hosts(const char *const *hosts, size_t hosts_n, const char *port,
                                    const coil_server_opts *opts, struct bound_list *out);

/* Close those that are still there, and remove their files. */
void coil__bound_free(struct bound_list *list);

#endif
