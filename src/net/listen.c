/* SPDX-License-Identifier: MIT
 *
 * listen.c: from the names of hosts to the sockets of a server.
 *
 *     hosts --names--> addresses --each once--> socket, options, bind --> struct bound_list --> start_server.c
 *
 * Always true: either all are bound that can be, or none is left open.
 *
 * Runs on the loop's thread. Elsewhere: names (resolve.c), listening and accepting (server.c). */
#include "net/listen.h"

#include "base/error.h"
#include "base/mem.h"
#include "net/socket.h"
#include "net/unix.h"

#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

void coil__bound_free(struct bound_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        struct bound *bound = &list->v[i];
        if (bound->file)
            coil__socket_file_remove(bound->sock, bound->file);
        coil_sock_unref(bound->sock);
    }
    coil__free(list->v);
    *list = (struct bound_list){NULL, 0};
}

/* ---- one socket ---- */

static int set_option(coil_sock *sock, int level, int name)
{
    static const int yes = 1;
    return coil_sock_setsockopt(sock, level, name, &yes, sizeof yes);
}

static int set_options(coil_sock *sock, const coil_server_opts *opts)
{
    int err = opts->no_reuse_address ? 0 : set_option(sock, SOL_SOCKET, SO_REUSEADDR);
    if (err == 0 && opts->reuse_port)
        err = set_option(sock, SOL_SOCKET, SO_REUSEPORT);
    if (err == 0 && opts->keep_alive)
        err = set_option(sock, SOL_SOCKET, SO_KEEPALIVE);
    /* Or the IPv6 socket would take the port of the IPv4 one as well. */
    if (err == 0 && sock->family == AF_INET6)
        err = set_option(sock, IPPROTO_IPV6, IPV6_V6ONLY);
    return err;
}

static int bind_one(const coil_addrinfo *to, const coil_server_opts *opts, coil_sock **out)
{
    coil_sock *sock;
    int err = coil_sock_new(to->family, to->type, to->protocol, &sock);
    if (err < 0)
        return err;
    err = set_options(sock, opts);
    if (err == 0)
        err = coil_sock_bind(sock, &to->address);
    if (err == 0) {
        *out = sock;
        return 0;
    }
    char text[COIL_ADDRESS_TEXT_MAX];
    coil_address_format(&to->address, text, sizeof text);
    coil__fail(err, "error while attempting to bind on address %s: %s", text, coil_strerror(err));
    coil_sock_unref(sock);
    return err;
}

/* ---- all of them ---- */

/* Families that this machine does not know, addresses that it does not have. */
static bool may_skip(int err)
{
    return err == -EAFNOSUPPORT || err == -EPROTONOSUPPORT || err == -ESOCKTNOSUPPORT ||
           err == -EADDRNOTAVAIL;
}

static bool seen_before(const coil_addrinfo *list, const coil_addrinfo *entry)
{
    for (; list != entry; list = list->next)
        if (list->address.len == entry->address.len &&
            memcmp(&list->address.storage, &entry->address.storage, entry->address.len) == 0)
            return true;
    return false;
}

static int bind_all(const coil_addrinfo *list, const coil_server_opts *opts,
                    struct bound_list *bound)
{
    for (const coil_addrinfo *to = list; to; to = to->next) {
        if (seen_before(list, to))
            continue;
        int err = bind_one(to, opts, &bound->v[bound->n].sock);
        if (err == 0)
            bound->n++;
        else if (!may_skip(err))
            return err;
    }
    if (bound->n == 0)
        return (int)coil__fail(-EADDRNOTAVAIL, "could not bind on any address of this host");
    return 0;
}

/* The addresses of one host after the other. */
static coil_ret look_up_all(const char *const *hosts, size_t hosts_n, const char *port,
                            const coil_server_opts *opts, coil_addrinfo **out)
{
    coil_getaddrinfo_opts ask = {.size = sizeof ask,
                                 .family = opts->family,
                                 .flags = opts->flags ? opts->flags : AI_PASSIVE};
    coil_addrinfo *list = NULL, **end = &list;
    coil_ret total = 0;
    for (size_t i = 0; i < hosts_n; i++) {
        coil_ret n = coil_getaddrinfo(hosts[i], port, &ask, end);
        if (n < 0) {
            coil_freeaddrinfo(list);
            return n;
        }
        total += n;
        while (*end)
            end = &(*end)->next;
    }
    *out = list;
    return total;
}

coil_ret coil__bind_hosts(const char *const *hosts, size_t hosts_n, const char *port,
                          const coil_server_opts *opts, struct bound_list *out)
{
    coil_addrinfo *list;
    coil_ret n = look_up_all(hosts, hosts_n, port, opts, &list);
    if (n < 0)
        return n;
    struct bound_list bound = {.v = coil__zalloc((size_t)n * sizeof *bound.v)};
    int err = bound.v ? bind_all(list, opts, &bound) : (int)coil__fail_plain(-ENOMEM);
    coil_freeaddrinfo(list);
    if (err < 0)
        coil__bound_free(&bound);
    else
        *out = bound;
    return err;
}
