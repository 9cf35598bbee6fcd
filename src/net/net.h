/* SPDX-License-Identifier: MIT
 *
 * net.h: what this floor keeps for each loop, and what all its files share.
 *
 *     net_part --> socks        every open coil_sock
 *              --> connections  every stream connection that is not closed
 *              --> transports   every transport that is not lost
 *              --> servers      every server that is not closed
 *              --> endpoints    every datagram endpoint that is not closed
 *              --> resolver     the threads for names, from the first name on
 *
 * Runs on the loop's thread. */
#ifndef COIL_NET_NET_H
#define COIL_NET_NET_H

#include "base/list.h"
#include "io/threads.h"
#include "loop/loop.h"
#include "task/task.h"

struct net_part {
    struct loop_part part;
    coil_loop *loop;
    struct list socks, connections, transports, servers, endpoints, filters;
    struct pool *resolver;   /* NULL before the first name */
    char *read_buffer;       /* receive.c: NET_READ_MAX bytes, from the first transport on; NULL */
    struct chunk *spare;     /* outbox.c: one kept at hand; NULL */
    void *datagram;          /* datagram.c: where one is received; NULL before the first endpoint */
    struct coil__task *busy; /* who did the last operation that needed no waiting; only compared */
    uint32_t burst;          /* how many of these in a row, big ones counting more */
};

/* Made on first use. 0, -ENOMEM (recorded), COIL_ECLOSED while the loop is closing. */
int coil__net_part(coil_loop *loop, struct net_part **out);

/* How the others are told that the loop closes: no task runs any more, nothing will be woken. */
void coil__net_close_servers(struct net_part *part);
void coil__net_close_endpoints(struct net_part *part);
void coil__net_close_connections(struct net_part *part);
void coil__net_close_transports(struct net_part *part);
void coil__net_close_filters(struct net_part *part);
void coil__net_close_socks(struct net_part *part);
void coil__net_close_resolver(struct net_part *part);

/* Where transports receive into; good from one callback to the next. 0 or -ENOMEM (recorded). A call for each 64 KiB
 * made a megabyte a fifth dearer than it is for a stream that is lent 256 KiB; of what no receive fills, no page is
 * touched. */
enum { NET_READ_MAX = 256 * 1024 };
int coil__net_read_buffer(struct net_part *part);

/* Is the caller a task of this loop that may wait? */
static inline bool net_here(const coil_loop *loop)
{
    return coil__running_loop == loop && coil__current() && !coil__coro_unwinding();
}

/* May the caller wait, on things of this loop? 0, COIL_ENOTASK, COIL_EEXIT, COIL_EWRONGLOOP. */
int coil__net_cannot_wait(void);
static inline int coil__net_can_wait(const coil_loop *loop)
{
    return coil_likely(net_here(loop)) ? 0 : coil__net_cannot_wait();
}

/* Whoever finds the kernel always ready would never give up its turn. Called before an operation that may
 * well succeed at once: every so often it yields for a turn. 0, -ECANCELED, COIL_EEXIT. */
COIL_MUST coil_ret coil__net_pause(struct net_part *part);
enum { NET_BURST_MAX = 64 };
static inline coil_ret net_breathe(struct net_part *part, struct coil__task *t)
{
    if (coil_likely(part->busy == t && part->burst < NET_BURST_MAX))
        return 0;
    if (part->busy != t) {
        part->busy = t;
        part->burst = 0;
        return 0;
    }
    return coil__net_pause(part);
}
/* It did succeed, and moved n bytes. */
static inline void net_effort(struct net_part *part, size_t n)
{
    part->burst += 1 + (uint32_t)(n >> 14);
}

#endif
