/* SPDX-License-Identifier: MIT
 *
 * sys_names.c: the door to the system's resolver. Any thread; keeps nothing. */
#include "base/sys_names.h"

#include <errno.h>

static int real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                            struct addrinfo **out, int *out_errno)
{
    int rc = getaddrinfo(host, port, hints, out);
    *out_errno = errno;
    return rc;
}

static int real_getnameinfo(const struct sockaddr *addr, socklen_t len, char *host,
                            socklen_t host_n, char *port, socklen_t port_n, int flags,
                            int *out_errno)
{
    int rc = getnameinfo(addr, len, host, host_n, port, port_n, flags);
    *out_errno = errno;
    return rc;
}

const struct sys_names coil__sys_names_real = {
    .getaddrinfo = real_getaddrinfo,
    .freeaddrinfo = freeaddrinfo,
    .getnameinfo = real_getnameinfo,
};

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
const struct sys_names *coil__sys_names = &coil__sys_names_real;
#endif
