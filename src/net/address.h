/* SPDX-License-Identifier: MIT
 *
 * address.h: socket addresses from text, for this floor. */
#ifndef COIL_NET_ADDRESS_H
#define COIL_NET_ADDRESS_H

#include <coil/net.h>

#include <stdint.h>

/* A port in digits, or nothing (0). -ENOENT: perhaps the name of a service; -EINVAL (recorded): too big. */
int coil__port_parse(const char *port, uint16_t *out);

/* Is `host` an address in text? 0; -EINVAL (not recorded): no; -ENODEV and the like (recorded): its zone is not an
 * interface of this machine. */
int coil__address_literal(const char *host, uint16_t port, coil_address *out);

#endif
