/* SPDX-License-Identifier: MIT
 *
 * names.h: a resolver that answers every question with a list of the test's own. */
#ifndef TEST_NET_NAMES_H
#define TEST_NET_NAMES_H

#include "wire.h"

#include "base/sys_names.h"

enum { LIST_MAX = 24 };
static coil_address addresses[LIST_MAX];
static struct addrinfo entries[LIST_MAX];
static size_t entries_n;

static inline int resolve_list(const char *host, const char *port, const struct addrinfo *hints,
                               struct addrinfo **out, int *out_errno)
{
    *out = entries;
    return 0;
}

static inline void keep_list(struct addrinfo *list)
{
}

static inline void list_begin(void)
{
    static const struct sys_names with_list = {.getaddrinfo = resolve_list,
                                               .freeaddrinfo = keep_list};
    coil__sys_names = &with_list;
    entries_n = 0;
}

static inline void list_add(const coil_address *address)
{
    size_t i = entries_n++;
    addresses[i] = *address;
    entries[i] = (struct addrinfo){.ai_family = address->storage.ss_family,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_addr = (struct sockaddr *)&addresses[i].storage,
                                   .ai_addrlen = address->len};
    if (i > 0)
        entries[i - 1].ai_next = &entries[i];
}

static inline void list_add_text(const char *host, const char *port)
{
    coil_address at;
    must(coil_address_parse(host, port, &at));
    list_add(&at);
}

/* An address where nobody listens (any more). */
static inline void list_add_dead(void)
{
    coil_sock *sock = wire_listen(1);
    coil_address at;
    must(coil_sock_getsockname(sock, &at));
    coil_sock_unref(sock);
    list_add(&at);
}

static inline coil_sock *list_add_live(void)
{
    coil_sock *sock = wire_listen(5);
    coil_address at;
    must(coil_sock_getsockname(sock, &at));
    list_add(&at);
    return sock;
}

/* An address that does not answer: its backlog is full. */
struct mute {
    coil_sock *listener, *inside;
};

static inline struct mute list_add_mute(void)
{
    struct mute m = {.listener = wire_listen(0)};
    coil_address at;
    must(coil_sock_getsockname(m.listener, &at));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &m.inside));
    must(coil_sock_connect(m.inside, &at));
    list_add(&at);
    return m;
}

static inline void free_mute(struct mute *m)
{
    coil_sock_unref(m->inside);
    coil_sock_unref(m->listener);
}

#endif
