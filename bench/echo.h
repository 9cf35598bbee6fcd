/* SPDX-License-Identifier: MIT
 *
 * echo.h: what the echo servers of the peers have in common: how they listen, and how they tell where.
 *
 * A target is the digits of a TCP port, or "@" and the name of an abstract unix socket. */
#ifndef BENCH_ECHO_H
#define BENCH_ECHO_H

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A listening socket of its own address, which is printed. */
static inline int echo_listen(int is_unix)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = sizeof in;
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* A unix socket that is bound to no name is given one. */
    if (is_unix ? bind(fd, (struct sockaddr *)&un, sizeof(sa_family_t)) < 0
                : bind(fd, (struct sockaddr *)&in, len) < 0)
        exit(1);
    if (listen(fd, 1024) < 0)
        exit(1);
    if (is_unix) {
        len = sizeof un;
        getsockname(fd, (struct sockaddr *)&un, &len);
        printf("@%.*s\n", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), un.sun_path + 1);
    } else {
        getsockname(fd, (struct sockaddr *)&in, &len);
        printf("%d\n", ntohs(in.sin_port));
    }
    fflush(stdout);
    return fd;
}

static inline int echo_connect(const char *target)
{
    int is_unix = *target == '@', one = 1;
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)atoi(target))};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path + 1, target + 1, strnlen(target + 1, sizeof un.sun_path - 1));
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = is_unix ? connect(fd, (struct sockaddr *)&un,
                               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(target)))
                     : connect(fd, (struct sockaddr *)&in, sizeof in);
    if (rc < 0)
        exit(1);
    if (!is_unix)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

#endif
