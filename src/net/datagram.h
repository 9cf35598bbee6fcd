/* SPDX-License-Identifier: MIT
 *
 * datagram.h: a datagram endpoint, for who makes one. */
#ifndef COIL_NET_DATAGRAM_H
#define COIL_NET_DATAGRAM_H

#include "net/socket.h"

#include <coil/datagram.h>

/* Takes the caller's reference to the socket, unless it fails. `remote` (may be NULL): where it sends, though the socket is
 * not connected. Its slot is queued; the caller gets a reference. 0 or an error, recorded. */
int coil__datagram_open(coil_sock *sock, const coil_address *remote,
                        const coil_datagram_protocol *protocol, void *arg,
                        coil_datagram_transport **out);

/* Has connection_made run? */
bool coil__datagram_is_made(const coil_datagram_transport *transport);

/* Is it over, and nobody will be called any more? */
bool coil__datagram_is_lost(const coil_datagram_transport *transport);

/* What connection_made returned, with its words recorded; 0. */
coil_ret coil__datagram_verdict(const coil_datagram_transport *transport);

#endif
