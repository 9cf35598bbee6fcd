/* SPDX-License-Identifier: MIT
 *
 * sys_names.h: the door to the system's resolver.
 *
 * These two block, so they are called on threads only. With COIL_SYS_TABLE they go through
 * `coil__sys_names`, so that a test can answer, fail or hang. */
#ifndef COIL_BASE_SYS_NAMES_H
#define COIL_BASE_SYS_NAMES_H

#include <netdb.h>
#include <sys/socket.h>

struct sys_names {
    /* 0 or EAI_...; with EAI_SYSTEM the errno is in *out_errno. */
    int (*getaddrinfo)(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **out, int *out_errno);
    void (*freeaddrinfo)(struct addrinfo *list);
    int (*getnameinfo)(const struct sockaddr *addr, socklen_t len, char *host, socklen_t host_n,
                       char *port, socklen_t port_n, int flags, int *out_errno);
};

extern const struct sys_names coil__sys_names_real;
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
extern const struct sys_names
    *coil__sys_names; /* set it before a lookup starts; &coil__sys_names_real */
#else
static const struct sys_names *const coil__sys_names = &coil__sys_names_real;
#endif

#endif
