/* SPDX-License-Identifier: MIT
 *
 * endpoint.c: from names to a datagram endpoint.
 *
 *     local names ---+--> pairs of one family and protocol --tried in order--> a bound, connected socket --> transport
 *     remote names --+
 *
 * Each pair is tried on a socket of its own, closed before the next one; the first error is the one that is told.
 *
 * Runs on the loop's thread. Elsewhere: names (resolve.c), the endpoint's life (datagram.c). */
#include "base/error.h"
#include "base/opts.h"
#include "net/connect.h"
#include "net/datagram.h"
#include "net/socket.h"
#include "net/unix.h"

#include <string.h>
#include <sys/un.h>

/* One try: what to make a socket of. */
struct pair {
    int family, protocol;
    const coil_address *local, *remote; /* NULL: not this one */
};

/* ---- one pair ---- */

static int set_option(coil_sock *sock, int name)
{
    static const int yes = 1;
    return coil_sock_setsockopt(sock, SOL_SOCKET, name, &yes, sizeof yes);
}

/* What an earlier socket left at this path; an abstract name is in no directory. */
static void remove_stale(coil_sock *sock, const coil_address *address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
    size_t head = offsetof(struct sockaddr_un, sun_path);
    char path[sizeof un->sun_path + 1] = {0};
    if (address->storage.ss_family != AF_UNIX || address->len <= head || !un->sun_path[0])
        return;
    size_t n = address->len - head;
    memcpy(path, un->sun_path, n < sizeof un->sun_path ? n : sizeof un->sun_path);
    coil__unix_remove_stale(sock_backend(sock), path);
}

static int bind_to(coil_sock *sock, const coil_address *address)
{
    remove_stale(sock, address);
    int err = coil_sock_bind(sock, address);
    if (err == 0)
        return 0;
    char text[COIL_ADDRESS_TEXT_MAX];
    coil_address_format(address, text, sizeof text);
    return (int)coil__fail(err, "error while attempting to bind on address %s: %s", text,
                           coil_strerror(err));
}

static coil_ret attempt(const struct pair *pair, const coil_datagram_opts *opts, coil_sock **out)
{
    coil_sock *sock;
    coil_ret rc = coil_sock_new(pair->family, SOCK_DGRAM, pair->protocol, &sock);
    if (rc < 0)
        return rc;
    if (opts->reuse_port)
        rc = set_option(sock, SO_REUSEPORT);
    if (rc == 0 && opts->allow_broadcast)
        rc = set_option(sock, SO_BROADCAST);
    if (rc == 0 && pair->local)
        rc = bind_to(sock, pair->local);
    if (rc == 0 && pair->remote && !opts->allow_broadcast)
        rc = coil_sock_connect(sock, pair->remote);
    if (rc < 0)
        coil_sock_unref(sock);
    else
        *out = sock;
    return rc;
}

/* ---- all of them ---- */

static bool joins(const coil_addrinfo *a, const coil_addrinfo *b)
{
    return a->family == b->family && a->protocol == b->protocol;
}

/* The first of its family and protocol before `end`. */
static const coil_addrinfo *first_like(const coil_addrinfo *list, const coil_addrinfo *like,
                                       const coil_addrinfo *end)
{
    for (; list && list != end; list = list->next)
        if (joins(list, like))
            return list;
    return NULL;
}

static coil_ret try_all(const coil_addrinfo *locals, const coil_addrinfo *remotes,
                        const coil_datagram_opts *opts, struct pair *out_pair, coil_sock **out)
{
    const coil_addrinfo *keys = locals ? locals : remotes;
    struct error_record *why = NULL;
    coil_ret first = 0;
    for (const coil_addrinfo *key = keys; key; key = key->next) {
        const coil_addrinfo *other = locals && remotes ? first_like(remotes, key, NULL) : key;
        if (!other || first_like(keys, key, key))
            continue;
        *out_pair = (struct pair){.family = key->family,
                                  .protocol = key->protocol,
                                  .local = locals ? &key->address : NULL,
                                  .remote = remotes ? &other->address : NULL};
        coil_ret rc = attempt(out_pair, opts, out);
        if (rc == 0 || connect_is_final(rc)) {
            coil__error_unref(why);
            return rc;
        }
        if (first == 0) {
            first = rc;
            why = coil__error_capture(rc);
        }
    }
    if (first == 0)
        return coil__fail(-EINVAL, "can not get address information");
    coil__error_restore(why, first);
    coil__error_unref(why);
    return first;
}

/* ---- what is asked for ---- */

static coil_ret look_up(const char *host, const char *port, const coil_datagram_opts *opts,
                        coil_addrinfo **out)
{
    coil_getaddrinfo_opts ask = {.size = sizeof ask,
                                 .family = opts->family,
                                 .type = SOCK_DGRAM,
                                 .protocol = opts->protocol,
                                 .flags = opts->flags};
    return host || port ? coil_getaddrinfo(host, port, &ask, out) : 0;
}

static coil_ret by_names(const coil_datagram_opts *opts, coil_address *out_remote, coil_sock **out)
{
    coil_addrinfo *locals = NULL, *remotes = NULL;
    struct pair pair = {.remote = NULL};
    coil_ret rc = look_up(opts->local_host, opts->local_port, opts, &locals);
    if (rc >= 0)
        rc = look_up(opts->remote_host, opts->remote_port, opts, &remotes);
    if (rc >= 0)
        rc = try_all(locals, remotes, opts, &pair, out);
    if (rc == 0 && pair.remote)
        *out_remote = *pair.remote;
    coil_freeaddrinfo(locals);
    coil_freeaddrinfo(remotes);
    return rc;
}

static coil_ret by_addresses(const coil_datagram_opts *opts, coil_address *out_remote,
                             coil_sock **out)
{
    struct pair pair = {.family = opts->family,
                        .protocol = opts->protocol,
                        .local = opts->local_address,
                        .remote = opts->remote_address};
    if (pair.local)
        pair.family = pair.local->storage.ss_family;
    else if (pair.remote)
        pair.family = pair.remote->storage.ss_family;
    if (pair.family == 0)
        return coil__fail(-EINVAL, "unexpected address family");
    if (pair.remote && pair.remote->storage.ss_family != pair.family)
        return coil__fail(-EINVAL, "can not get address information");
    coil_ret rc = attempt(&pair, opts, out);
    if (rc == 0 && pair.remote)
        *out_remote = *pair.remote;
    return rc;
}

static bool names_given(const coil_datagram_opts *opts)
{
    return opts->local_host || opts->local_port || opts->remote_host || opts->remote_port;
}

static bool addresses_given(const coil_datagram_opts *opts)
{
    return opts->local_address || opts->remote_address;
}

static int check(const coil_datagram_opts *opts)
{
    if (names_given(opts) && addresses_given(opts))
        return (int)coil__fail(-EINVAL, "give hosts to look up, or addresses, not both");
    if (opts->sock && (names_given(opts) || addresses_given(opts) || opts->family ||
                       opts->protocol || opts->flags || opts->reuse_port || opts->allow_broadcast))
        return (int)coil__fail(-EINVAL,
                               "socket modifier options can not be used when sock is specified");
    if (opts->sock && opts->sock->fd >= 0 && opts->sock->loop != coil__running_loop)
        return (int)coil__fail(COIL_EWRONGLOOP, "this socket belongs to a different event loop");
    return 0;
}

/* ---- the endpoint ---- */

/* Until connection_made has run. */
static coil_ret wait_until_made(coil_datagram_transport *t)
{
    coil_ret rc = 0;
    while (rc == 0 && !coil__datagram_is_made(t))
        rc = coil__yield();
    return rc < 0 ? rc : coil__datagram_verdict(t);
}

/* The protocol's argument may be gone when we return, so connection_lost is waited for. A cancel meanwhile is what
 * happened last. */
static coil_ret give_up(coil_datagram_transport *t, coil_ret rc)
{
    struct error_record *why = coil__error_capture(rc);
    coil_datagram_transport_abort(t);
    while (rc != COIL_EEXIT && !coil__datagram_is_lost(t)) {
        coil_ret turn = coil__yield();
        if (turn < 0 && turn != rc) {
            coil__error_unref(why);
            rc = turn;
            why = coil__error_capture(rc);
        }
    }
    coil__error_restore(why, rc);
    coil__error_unref(why);
    return rc;
}

static coil_ret make_endpoint(coil_sock *sock, const coil_address *remote,
                              const coil_datagram_protocol *protocol, void *arg,
                              coil_datagram_transport **out_transport)
{
    coil_datagram_transport *t;
    coil_ret rc = coil__datagram_open(sock, remote, protocol, arg, &t);
    if (rc < 0) {
        coil_sock_unref(sock);
        return rc;
    }
    rc = wait_until_made(t);
    if (rc < 0)
        rc = give_up(t, rc);
    if (rc == 0 && out_transport)
        *out_transport = t;
    else
        coil_datagram_transport_unref(t);
    return rc;
}

coil_ret coil_loop_create_datagram_endpoint(coil_loop *loop, const coil_datagram_protocol *protocol,
                                            void *arg, const coil_datagram_opts *opts,
                                            coil_datagram_transport **out_transport)
{
    coil_datagram_opts own;
    opts = OPTS_READ(opts, own);
    coil_sock *sock = opts->sock;
    coil_address remote = {.len = 0};
    coil_ret rc = coil__can_wait();
    if (rc == 0 && loop && loop != coil__running_loop)
        rc = coil__fail(COIL_EWRONGLOOP, "this is not the loop that runs the calling task");
    if (rc == 0)
        rc = check(opts);
    if (rc < 0) {
        coil_sock_unref(opts->sock);
        return rc;
    }
    if (!sock)
        rc = names_given(opts) ? by_names(opts, &remote, &sock)
                               : by_addresses(opts, &remote, &sock);
    if (rc < 0)
        return rc;
    return make_endpoint(sock, remote.len ? &remote : NULL, protocol, arg, out_transport);
}
