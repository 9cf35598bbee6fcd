/* SPDX-License-Identifier: MIT
 *
 * resolve.c: names to addresses and back, on threads of their own.
 *
 *     waiting frame --submit--> [ pool coil-resolve ] --run, finish--> inbox --> answered() wakes the frame
 *          |
 *          +-- cancel: queued: taken back, freed here; running: let go, whoever meets it last frees it
 *
 * A lookup owns its arguments and holds the inbox, never the loop, so it may end long after everybody
 * else. Addresses in text take no thread at all.
 *
 * Always true:
 *   - lookup.waiter is set exactly while a frame waits for it, and only the loop's thread looks at it;
 *   - a lookup with a waiter counts in loop->jobs, one without does not: it can wake nobody.
 *
 * Runs on the loop's thread, but for lookup_run and lookup_finish. Elsewhere: the threads (io/threads.c),
 * the system's resolver (base/sys_names.c). */
#include "base/error.h"
#include "base/inbox.h"
#include "base/mem.h"
#include "base/opts.h"
#include "base/sys_names.h"
#include "net/address.h"
#include "net/net.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum {
    RESOLVER_THREADS = 8, /* so many names may hang before others wait */
    HOST_MAX = 255,
    JOIN_NS = 1000000000, /* at close, and only for threads that have nothing left to do */
};

struct lookup_wait {
    struct wait wait;
    struct lookup *lookup; /* NULL once it is cancelled */
};

struct lookup {
    struct job job;
    struct inbox_node node;
    struct inbox *inbox; /* a reference */
    coil_loop *loop;
    struct lookup_wait *waiter; /* NULL: nobody wants it any more */
    int flags, rc, err;         /* rc: EAI_...; err: errno, of EAI_SYSTEM */
    bool reverse;
    /* names to addresses */
    struct addrinfo hints, *found;
    /* addresses to names; for the other way round: the question */
    coil_address address;
    bool has_host, has_port;
    char host[NI_MAXHOST], port[NI_MAXSERV];
};

/* ---- on the pool's threads ---- */

static void lookup_free(struct lookup *lookup)
{
    if (lookup->found)
        coil__sys_names->freeaddrinfo(lookup->found);
    coil__free(lookup);
}

static void ask(struct lookup *l)
{
    const struct sockaddr *addr = (const struct sockaddr *)&l->address.storage;
    if (l->reverse)
        l->rc = coil__sys_names->getnameinfo(addr, l->address.len, l->host, sizeof l->host, l->port,
                                             sizeof l->port, l->flags, &l->err);
    else
        l->rc = coil__sys_names->getaddrinfo(l->has_host ? l->host : NULL,
                                             l->has_port ? l->port : NULL, &l->hints, &l->found,
                                             &l->err);
}

static void lookup_run(struct job *job)
{
    ask(container_of(job, struct lookup, job));
}

static void lookup_finish(struct job *job)
{
    struct lookup *lookup = container_of(job, struct lookup, job);
    struct inbox *inbox = lookup->inbox;
    if (!coil__inbox_post(inbox, &lookup->node))
        lookup_free(lookup); /* the loop is gone */
    coil__inbox_unref(inbox);
}

/* ---- on the loop's thread ---- */

static void answered(struct inbox_node *node)
{
    struct lookup *lookup = container_of(node, struct lookup, node);
    if (!lookup->waiter) {
        lookup_free(lookup);
        return;
    }
    lookup->loop->jobs--;
    coil__wake(&lookup->waiter->wait, 0);
}

/* The frame does not wait for it any more. */
static void let_go(struct lookup_wait *w)
{
    struct lookup *lookup = w->lookup;
    if (!lookup)
        return;
    w->lookup = NULL;
    lookup->waiter = NULL;
    lookup->loop->jobs--;
    struct net_part *part = container_of(loop_part(lookup->loop, LOOP_PART_NET), struct net_part,
                                         part);
    if (coil__pool_cancel(part->resolver, &lookup->job)) {
        coil__inbox_unref(lookup->inbox);
        lookup_free(lookup);
    }
}

static bool cancel_lookup(struct wait *wait, const char *message)
{
    let_go(container_of(wait, struct lookup_wait, wait));
    return coil__wait_cancel_plain(wait, message);
}

static void abandon_lookup(struct wait *wait)
{
    if (!wait->woken)
        let_go(container_of(wait, struct lookup_wait, wait));
}

static int describe_lookup(const struct wait *wait, char *out, size_t n)
{
    const struct lookup *l = container_of((uintptr_t)wait, struct lookup_wait, wait)->lookup;
    if (!l)
        return snprintf(out, n, "a name");
    return snprintf(out, n, "%s %s",
                    l->reverse    ? "an address"
                    : l->has_host ? l->host
                                  : "this machine",
                    l->reverse ? "" : l->port);
}

static const struct wait_class lookup_class = {
    .what = "getaddrinfo",
    .cancel = cancel_lookup,
    .abandon = abandon_lookup,
    .keeps = true,
    .describe = describe_lookup,
};

static struct lookup *lookup_new(coil_loop *loop)
{
    struct lookup *lookup = coil__zalloc(sizeof *lookup);
    if (!lookup)
        return NULL;
    lookup->job.run = lookup_run;
    lookup->job.finish = lookup_finish;
    lookup->node.fn = answered;
    lookup->loop = loop;
    return lookup;
}

/* Waits for the answer; on failure the lookup is gone. */
static coil_ret look_up(struct net_part *part, struct lookup *lookup)
{
    if (!part->resolver) {
        int err = coil__pool_new(&part->resolver, "coil-resolve", RESOLVER_THREADS);
        if (err < 0) {
            lookup_free(lookup);
            return coil__fail_plain(err);
        }
    }
    coil_loop *loop = part->loop;
    struct lookup_wait w = {.wait = WAIT_INIT(&lookup_class), .lookup = lookup};
    lookup->waiter = &w;
    lookup->inbox = coil__inbox_ref(loop->inbox);
    loop->jobs++;
    int err = coil__pool_submit(part->resolver, &lookup->job);
    if (err < 0) {
        loop->jobs--;
        coil__inbox_unref(lookup->inbox);
        lookup_free(lookup);
        return coil__fail(err, "no thread to look a name up: %s", coil_strerror(err));
    }
    coil_ret rc = coil__park(&w.wait);
    if (rc == 0)
        return 0;
    /* Woken and yet unwound, or not even parked. */
    if (w.wait.woken && w.lookup)
        lookup_free(w.lookup);
    else
        let_go(&w);
    return rc;
}

static coil_ret resolver_error(const struct lookup *l, const char *what)
{
    if (l->rc == EAI_MEMORY)
        return coil__fail_plain(-ENOMEM);
    if (l->rc == EAI_OVERFLOW)
        return coil__fail(-ENOSPC, "the name does not fit");
    const char *words = l->rc == EAI_SYSTEM ? coil_strerror(-l->err) : gai_strerror(l->rc);
    return coil__fail(COIL_EGAI, "%.100s: %s", what, words);
}

/* ---- names to addresses ---- */

void coil_freeaddrinfo(coil_addrinfo *list)
{
    while (list) {
        coil_addrinfo *next = list->next;
        coil__free(list);
        list = next;
    }
}

/* One entry more at the end; `tail` leads to where its pointer goes. */
static int append(coil_addrinfo ***tail, const struct addrinfo *ai)
{
    size_t name_n = ai->ai_canonname ? strlen(ai->ai_canonname) + 1 : 0;
    coil_addrinfo *entry = coil__zalloc(sizeof *entry + name_n);
    if (!entry)
        return (int)coil__fail_plain(-ENOMEM);
    entry->family = ai->ai_family;
    entry->type = ai->ai_socktype;
    entry->protocol = ai->ai_protocol;
    entry->address.len = ai->ai_addrlen;
    memcpy(&entry->address.storage, ai->ai_addr, ai->ai_addrlen);
    if (name_n)
        entry->canonname = memcpy(entry + 1, ai->ai_canonname, name_n);
    **tail = entry;
    *tail = &entry->next;
    return 0;
}

static coil_ret take_list(const struct addrinfo *found, coil_addrinfo **out_list)
{
    coil_addrinfo *list = NULL, **tail = &list;
    coil_ret n = 0;
    for (; found; found = found->ai_next) {
        if (!found->ai_addr || found->ai_addrlen > sizeof list->address.storage)
            continue;
        int err = append(&tail, found);
        if (err < 0) {
            coil_freeaddrinfo(list);
            return err;
        }
        n++;
    }
    if (n == 0)
        return coil__fail(COIL_EGAI, "getaddrinfo() returned empty list");
    *out_list = list;
    return n;
}

/* What needs no looking up, as the system's resolver would answer it. */
static coil_ret answer_at_once(const coil_address *addresses, size_t n,
                               const struct addrinfo *hints, coil_addrinfo **out_list)
{
    struct addrinfo list[2] = {{0}};
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        int family = addresses[i].storage.ss_family;
        if (hints->ai_family != AF_UNSPEC && hints->ai_family != family)
            continue;
        list[used] = *hints;
        list[used].ai_family = family;
        if (!list[used].ai_protocol && hints->ai_socktype == SOCK_STREAM)
            list[used].ai_protocol = IPPROTO_TCP;
        if (!list[used].ai_protocol && hints->ai_socktype == SOCK_DGRAM)
            list[used].ai_protocol = IPPROTO_UDP;
        list[used].ai_addr = (struct sockaddr *)(uintptr_t)&addresses[i].storage;
        list[used].ai_addrlen = addresses[i].len;
        if (used > 0)
            list[used - 1].ai_next = &list[used];
        used++;
    }
    if (used == 0)
        return coil__fail(COIL_EGAI, "%s", gai_strerror(EAI_ADDRFAMILY));
    return take_list(list, out_list);
}

/* This machine: every address, or the one that leads back; in the resolver's order. */
static void own_addresses(bool passive, uint16_t port, coil_address out[2])
{
    (void)coil__address_literal(passive ? "0.0.0.0" : "::1", port, &out[0]);
    (void)coil__address_literal(passive ? "::" : "127.0.0.1", port, &out[1]);
}

static int check_question(const char *host, const char *port)
{
    size_t host_n = host ? strlen(host) : 0, port_n = port ? strlen(port) : 0;
    if (host_n > HOST_MAX)
        return (int)coil__fail(-ENAMETOOLONG, "a host name of %zu bytes; at most %d are allowed",
                               host_n, HOST_MAX);
    if (port_n >= NI_MAXSERV)
        return (int)coil__fail(-ENAMETOOLONG, "a service name of %zu bytes", port_n);
    return 0;
}

static coil_ret ask_for_name(struct net_part *part, const char *host, const char *port,
                             const struct addrinfo *hints, coil_addrinfo **out_list)
{
    struct lookup *lookup = lookup_new(part->loop);
    if (!lookup)
        return coil__fail_plain(-ENOMEM);
    /* Field by field: libc is handed the whole of it, and what lies between the fields would be anything. */
    lookup->hints.ai_flags = hints->ai_flags;
    lookup->hints.ai_family = hints->ai_family;
    lookup->hints.ai_socktype = hints->ai_socktype;
    lookup->hints.ai_protocol = hints->ai_protocol;
    lookup->has_host = host && *host;
    if (lookup->has_host)
        memcpy(lookup->host, host, strlen(host) + 1);
    lookup->has_port = port && *port;
    if (lookup->has_port)
        memcpy(lookup->port, port, strlen(port) + 1);
    coil_ret rc = look_up(part, lookup);
    if (rc < 0)
        return rc;
    rc = lookup->rc ? resolver_error(lookup, lookup->has_host ? host : lookup->port)
                    : take_list(lookup->found, out_list);
    lookup_free(lookup);
    return rc;
}

coil_ret coil_getaddrinfo(const char *host, const char *port, const coil_getaddrinfo_opts *opts,
                          coil_addrinfo **out_list)
{
    coil_getaddrinfo_opts own;
    opts = OPTS_READ(opts, own);
    int err = coil__can_wait();
    if (err < 0)
        return err;
    struct net_part *part;
    err = coil__net_part(coil__running_loop, &part);
    if (err < 0)
        return err;
    err = check_question(host, port);
    if (err < 0)
        return err;

    struct addrinfo hints = {.ai_family = opts->family,
                             .ai_socktype = opts->type ? opts->type : SOCK_STREAM,
                             .ai_protocol = opts->protocol,
                             .ai_flags = opts->flags};
    coil_address addresses[2];
    uint16_t number = 0;
    int port_err = coil__port_parse(port, &number);
    if (port_err == -EINVAL)
        return port_err;
    bool any = !host || !*host;
    err = any ? 0 : coil__address_literal(host, number, &addresses[0]);
    if (err < 0 && err != -EINVAL)
        return err; /* a zone that this machine does not have */
    if (err == 0 && port_err == 0 && !(opts->flags & AI_CANONNAME)) {
        if (any)
            own_addresses(opts->flags & AI_PASSIVE, number, addresses);
        return answer_at_once(addresses, any ? 2 : 1, &hints, out_list);
    }
    return ask_for_name(part, host, port, &hints, out_list);
}

/* ---- addresses to names ---- */

static coil_ret take_names(const struct lookup *l, char *out_host, size_t host_n, char *out_port,
                           size_t port_n)
{
    if (l->rc)
        return resolver_error(l, "getnameinfo");
    if ((out_host && strlen(l->host) >= host_n) || (out_port && strlen(l->port) >= port_n))
        return coil__fail(-ENOSPC, "the name does not fit");
    if (out_host)
        memcpy(out_host, l->host, strlen(l->host) + 1);
    if (out_port)
        memcpy(out_port, l->port, strlen(l->port) + 1);
    return 0;
}

coil_ret coil_getnameinfo(const coil_address *address, int flags, char *out_host, size_t host_n,
                          char *out_port, size_t port_n)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    struct net_part *part;
    err = coil__net_part(coil__running_loop, &part);
    if (err < 0)
        return err;
    struct lookup *lookup = lookup_new(part->loop);
    if (!lookup)
        return coil__fail_plain(-ENOMEM);
    lookup->reverse = true;
    lookup->address = *address;
    lookup->flags = flags;
    coil_ret rc = 0;
    if ((flags & NI_NUMERICHOST) && (flags & NI_NUMERICSERV)) {
        ask(lookup);
    } else {
        rc = look_up(part, lookup);
        if (rc < 0)
            return rc;
    }
    rc = take_names(lookup, out_host, host_n, out_port, port_n);
    lookup_free(lookup);
    return rc;
}

/* ---- the end ---- */

/* Every waiter is gone, so what is queued is nobody's. */
static void dropped(struct job *job)
{
    struct lookup *lookup = container_of(job, struct lookup, job);
    coil__inbox_unref(lookup->inbox);
    lookup_free(lookup);
}

void coil__net_close_resolver(struct net_part *part)
{
    if (!part->resolver)
        return;
    struct pool_stats stats;
    coil__pool_shutdown(part->resolver, true, dropped);
    coil__pool_stats(part->resolver, &stats);
    /* A lookup that hangs is not waited for; it owns what it needs. */
    if (stats.running == 0)
        (void)coil__pool_join(part->resolver, clock_add(coil__clock_real_ns(), JOIN_NS));
    coil__pool_free(part->resolver);
    part->resolver = NULL;
}
