/* SPDX-License-Identifier: MIT
 *
 * awaited.c: who awaits a future, said by hand.
 *
 * What waits with a node in the future's list of callbacks says who it waits for in that node (future_callback.by).
 * Who waits in another way, such as a combinator of a user's, says so here; that is an edge, a node in the list of
 * each of the two:
 *
 *     future.callbacks --> [ on_future, by = waiter | on_waiter ] <-- waiter.callbacks
 *
 * Always true:
 *   - an edge ends with whichever of the two is done, or goes, first: who is done awaits nobody and is awaited by nobody;
 *   - nobody's code runs when it ends.
 *
 * Runs on the thread of the two futures' loop. Elsewhere: reading the graph (debug/graph.c). */
#include "base/error.h"
#include "base/mem.h"
#include "task/task.h"

#include <coil/debug.h>

struct edge {
    struct future_callback on_future, on_waiter;
};

static void future_ends(struct future_callback *cb, coil_future *f)
{
    (void)f;
    struct edge *e = container_of(cb, struct edge, on_future);
    future_unwatch(&e->on_waiter);
    coil__free(e);
}

static void waiter_ends(struct future_callback *cb, coil_future *f)
{
    (void)f;
    struct edge *e = container_of(cb, struct edge, on_waiter);
    future_unwatch(&e->on_future);
    coil__free(e);
}

void coil__edge_drop(struct future_callback *cb)
{
    COIL_CHECK(cb->fire == future_ends || cb->fire == waiter_ends);
    cb->fire(cb, NULL);
}

static struct edge *find(coil_future *future, const coil_future *waiter)
{
    LIST_FOREACH(link, &future->callbacks) {
        struct future_callback *cb = container_of(link, struct future_callback, link);
        if (cb->fire == future_ends && cb->by == waiter)
            return container_of(cb, struct edge, on_future);
    }
    return NULL;
}

int coil_future_add_to_awaited_by(coil_future *future, coil_future *waiter)
{
    if (!future || !waiter)
        return (int)coil__fail(-EINVAL, "a future and who awaits it are needed (NULL)");
    if (future == waiter)
        return (int)coil__fail_plain(COIL_ESELFAWAIT);
    if (future_done(future) || future_done(waiter))
        return 0;
    if (future->loop != waiter->loop)
        return (int)coil__fail(COIL_EWRONGLOOP, "the two futures are attached to different loops");
    if (!coil__loop_use(future->loop))
        return (int)coil_last_error()->code;
    if (find(future, waiter))
        return 0;
    struct edge *e = coil__alloc(sizeof *e);
    if (!e)
        return (int)coil__fail_plain(-ENOMEM);
    *e = (struct edge){.on_future = {.fire = future_ends, .by = waiter},
                       .on_waiter = {.fire = waiter_ends}};
    coil__future_watch(future, &e->on_future);
    coil__future_watch(waiter, &e->on_waiter);
    return 0;
}

void coil_future_discard_from_awaited_by(coil_future *future, coil_future *waiter)
{
    if (!future || !waiter || future_done(future) || loop_is_foreign(future->loop))
        return;
    struct edge *e = find(future, waiter);
    if (!e)
        return;
    future_unwatch(&e->on_waiter);
    future_unwatch(&e->on_future);
    coil__free(e);
}
