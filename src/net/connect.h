/* SPDX-License-Identifier: MIT
 *
 * connect.h: from a name to a connected socket. */
#ifndef COIL_NET_CONNECT_H
#define COIL_NET_CONNECT_H

#include <coil/stream.h>

/* A connected socket for a host and port. One reference, the caller's. Waits; errors as of
 * coil_open_connection. */
COIL_MUST coil_ret coil__connect(const char *host, const char *port, const coil_connect_opts *opts,
                                 coil_sock **out);

#endif
