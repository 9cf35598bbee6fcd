/* SPDX-License-Identifier: MIT
 *
 * net.c: what this floor keeps for each loop: made on first use, taken apart when the loop closes.
 *
 * Runs on the loop's thread. Elsewhere: what each kind of thing does when the loop closes
 * (socket.c, connection.c, transport.c, server.c, datagram.c, resolve.c). */
#include "net/net.h"

#include "base/error.h"
#include "base/mem.h"

/* Servers first, so that no connection is added; sockets last, since the others stand on them. The
 * tasks are gone already. */
static void net_closing(struct loop_part *p, struct coil_loop *loop)
{
    struct net_part *part = container_of(p, struct net_part, part);
    coil__net_close_servers(part);
    coil__net_close_endpoints(part);
    coil__net_close_connections(part);
    coil__net_close_transports(part);
    coil__net_close_filters(part);
    coil__net_close_socks(part);
    coil__net_close_resolver(part);
    coil__free(part->read_buffer);
    part->read_buffer = NULL;
    coil__free(part->spare);
    part->spare = NULL;
}

static void net_release(struct loop_part *p)
{
    coil__free(container_of(p, struct net_part, part));
}

int coil__net_part(coil_loop *loop, struct net_part **out)
{
    struct loop_part *p = loop_part(loop, LOOP_PART_NET);
    if (coil_unlikely(loop->closing))
        return (int)coil__fail_plain(COIL_ECLOSED);
    if (coil_likely(p != NULL)) {
        *out = container_of(p, struct net_part, part);
        return 0;
    }
    struct net_part *part = coil__zalloc(sizeof *part);
    if (!part)
        return (int)coil__fail_plain(-ENOMEM);
    part->part.closing = net_closing;
    part->part.release = net_release;
    part->loop = loop;
    list_init(&part->socks);
    list_init(&part->connections);
    list_init(&part->transports);
    list_init(&part->servers);
    list_init(&part->endpoints);
    list_init(&part->filters);
    loop->parts[LOOP_PART_NET] = &part->part;
    *out = part;
    return 0;
}

int coil__net_cannot_wait(void)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    return (int)coil__fail(COIL_EWRONGLOOP, "this socket belongs to a different event loop");
}

coil_ret coil__net_pause(struct net_part *part)
{
    part->burst = 0;
    return coil__yield();
}
