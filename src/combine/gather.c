/* SPDX-License-Identifier: MIT
 *
 * gather.c: many futures seen as one.
 *
 *     child done --slot--> counted --all, or the first error--> outer done --> whoever awaits it
 *
 * A gather is a future with its children behind it, in one piece of memory: the future itself, a
 * follower for each distinct child, the children and their results in the order of the arguments.
 *
 * Always true:
 *   - while a child is being followed the gather keeps itself alive, so a child that ends after the
 *     caller has gone finds somebody to look at its error;
 *   - nothing here points into a caller's frame;
 *   - while the gather is pending its children are awaited by the task that made it, as long as that lives;
 *   - children are kept until the gather goes: their values are the results.
 *
 * Runs on the loop's thread. Elsewhere: the way through the ring (follow.c). */
#include "combine/distinct.h"
#include "combine/follow.h"
#include "combine/outer.h"

#include <coil/combine.h>

#include <string.h>

struct gather {
    coil_future outer; /* first: the class gets this */
    size_t n;          /* arguments */
    size_t distinct;   /* children, hence followers */
    size_t finished;   /* children that are done and counted */
    bool return_exceptions;
    bool cancel_requested;             /* a cancel of ours reached some child */
    bool keeping;                      /* a reference to ourselves, for the followers' sake */
    struct future_callback maker_done; /* the task that made us is over, and awaits nobody */
    coil_future **children;            /* [n], borrowed from the followers */
    coil_ret *results;                 /* [n], what the outer future's result points to */
    struct follower followers[];
};

/* ---- who awaits the children ---- */

static void nobody_awaits(struct gather *g)
{
    future_unwatch(&g->maker_done);
    for (size_t i = 0; i < g->distinct; i++)
        g->followers[i].cb.by = NULL;
}

static void maker_is_done(struct future_callback *cb, coil_future *task)
{
    (void)task;
    nobody_awaits(container_of(cb, struct gather, maker_done));
}

/* ---- the outer future ---- */

/* Not Future.cancel: it ends when the children have. A child given twice is cancelled twice, which
 * a task counts, as in asyncio. */
static bool gather_cancel(coil_future *f, const char *message)
{
    struct gather *g = (struct gather *)f;
    bool any = false;
    for (size_t i = 0; i < g->n; i++)
        any |= coil_future_cancel(g->children[i], message);
    if (any)
        g->cancel_requested = true;
    return any;
}

static void gather_destroy(coil_future *f, bool taken)
{
    struct gather *g = (struct gather *)f;
    future_unwatch(&g->maker_done);
    /* Whoever took the results took the values. */
    taken = taken && outer_has_value(f);
    for (size_t i = 0; i < g->distinct; i++) {
        coil_future *child = g->followers[i].future;
        if (taken && !child->immortal)
            child->retrieved = true;
        coil__unfollow(&g->followers[i]);
    }
    outer_free(f);
}

/* It stays pending; who still holds it holds nothing else. */
static void gather_abandon(coil_future *f)
{
    struct gather *g = (struct gather *)f;
    if (!g->keeping)
        return; /* done: its results are for whoever holds it */
    g->keeping = false;
    future_unwatch(&g->maker_done);
    for (size_t i = 0; i < g->distinct; i++)
        coil__unfollow(&g->followers[i]);
    g->n = g->distinct = 0;
    coil_unref(f);
}

static const struct future_class gather_class = {
    .name = "gather",
    .cancel = gather_cancel,
    .destroy = gather_destroy,
    .abandon = gather_abandon,
};

/* ---- children ---- */

static void finish_all(struct gather *g)
{
    for (size_t i = 0; i < g->n; i++) {
        outer_mark_retrieved(g->children[i]);
        g->results[i] = g->children[i]->result;
    }
    if (g->cancel_requested) {
        /* The message of the last one, if it is one of those that were cancelled. */
        coil_future *last = g->children[g->n - 1];
        bool cancelled = last->state == COIL_FUTURE_CANCELLED;
        outer_fail(&g->outer, -ECANCELED, cancelled ? coil__future_take_error(last) : NULL);
    } else {
        coil__future_finish(&g->outer, (coil_ret)g->results, NULL);
    }
}

static void fail_early(struct gather *g, coil_future *child)
{
    outer_fail(&g->outer, child->result, coil__future_take_error(child));
    nobody_awaits(g); /* the others go on by themselves */
}

static void child_done(struct gather *g, coil_future *child)
{
    g->finished++;
    if (future_done(&g->outer))
        outer_mark_retrieved(child);
    else if (!g->return_exceptions && coil_iserr(child->result))
        fail_early(g, child);
    else if (g->finished == g->distinct)
        finish_all(g);
    if (g->keeping && g->finished == g->distinct) {
        g->keeping = false;
        coil_unref(&g->outer);
    }
}

static void child_told(struct follower *follower)
{
    child_done(follower->owner, follower->future);
}

/* ---- making one ---- */

/* Finds who is who among the arguments: each distinct child gets a follower, not started yet. Returns how
 * many of them are pending, or -ENOMEM. */
static coil_ret sort_out(struct gather *g, coil_future *const *futures)
{
    struct distinct d;
    if (coil__distinct_init(&d, futures, g->n) < 0)
        return -ENOMEM;
    coil_ret pending = 0;
    for (size_t i = 0; i < g->n; i++) {
        g->children[i] = futures[i];
        if (coil__distinct_first(&d, i) != i)
            continue;
        g->followers[g->distinct++].future = futures[i];
        pending += !future_done(futures[i]);
    }
    coil__distinct_fini(&d);
    return pending;
}

static void start(struct gather *g, size_t pending)
{
    coil_task *maker = coil_current_task();
    if (maker && maker->loop != g->outer.loop)
        maker = NULL;
    if (pending > 0) {
        g->keeping = true;
        coil_ref(&g->outer);
        if (maker)
            coil__future_watch(maker, &g->maker_done);
    }
    for (size_t i = 0; i < g->distinct; i++) {
        struct follower *follower = &g->followers[i];
        if (future_done(follower->future))
            coil__follow_keep(follower, follower->future);
        else
            coil__follow(follower, g->outer.loop, follower->future, maker, child_told, g);
    }
    /* What is done already counts at once, in order: if that is all, nobody need wait. */
    for (size_t i = 0; i < g->distinct; i++)
        if (g->followers[i].state == FOLLOWER_TOLD)
            child_done(g, g->followers[i].future);
    if (g->n == 0)
        coil__future_finish(&g->outer, (coil_ret)g->results, NULL);
}

static int gather_new(const char *file, int line, coil_future *const *futures, size_t n,
                      unsigned flags, struct gather **out)
{
    coil_loop *loop = NULL;
    if (flags & ~(unsigned)(COIL_RETURN_EXCEPTIONS | COIL_UNREF))
        return (int)coil__fail(-EINVAL, "gather knows no such flags: %#x", flags);
    int err = coil__check_members(futures, n, &loop);
    if (err)
        return err;
    loop = coil__loop_use_current(loop);
    if (!loop)
        return (int)coil_last_error()->code;

    struct gather *g;
    const size_t each = sizeof g->followers[0] + sizeof g->children[0] + sizeof g->results[0];
    g = (struct gather *)coil__future_new(loop, &gather_class, sizeof *g + n * each, file, line);
    if (!g)
        return (int)coil__fail_plain(-ENOMEM);
    g->n = n;
    list_init(&g->maker_done.link);
    g->maker_done.fire = maker_is_done;
    g->return_exceptions = (flags & COIL_RETURN_EXCEPTIONS) != 0;
    g->results = (coil_ret *)&g->followers[n];
    g->children = (coil_future **)&g->results[n];

    coil_ret pending = sort_out(g, futures);
    if (pending < 0 || coil__loop_hold(loop, (unsigned)pending) < 0) {
        coil_unref(&g->outer);
        return (int)coil__fail_plain(-ENOMEM);
    }
    start(g, (size_t)pending);
    *out = g;
    return 0;
}

/* COIL_UNREF, which holds whatever happens. A number of futures that cannot be true names no futures. */
static void drop_arguments(coil_future *const *futures, size_t n)
{
    if (!futures || n > DISTINCT_MAX)
        return;
    for (size_t i = 0; i < n; i++)
        coil_unref(futures[i]);
}

coil_future *coil_gather_future_at(const char *file, int line, coil_future *const *futures,
                                   size_t n, unsigned flags)
{
    struct gather *g;
    int err = gather_new(file, line, futures, n, flags, &g);
    coil_future *outer = err ? coil__future_failed(err) : &g->outer;
    if (flags & COIL_UNREF)
        drop_arguments(futures, n);
    return outer;
}

coil_ret coil_gather(coil_future *const *futures, size_t n, coil_ret *out_results, unsigned flags)
{
    struct gather *g;
    coil_ret rc = coil__can_wait();
    if (rc == 0)
        rc = gather_new(__FILE__, __LINE__, futures, n, flags, &g);
    if (flags & COIL_UNREF)
        drop_arguments(futures, n);
    if (coil_iserr(rc))
        return rc;

    rc = coil_await_future(&g->outer);
    if (!coil_iserr(rc)) {
        if (out_results)
            memcpy(out_results, (const coil_ret *)rc, n * sizeof *out_results);
        else
            g->outer.retrieved = false; /* nobody took the values */
        rc = 0;
    }
    coil_unref(&g->outer);
    return rc;
}
