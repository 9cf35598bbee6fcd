/* SPDX-License-Identifier: MIT
 *
 * timer.c: things that must happen at a time.
 *
 * A loop keeps its timers in a heap ordered by (when, number). Numbers only grow, so two timers
 * due at the same instant run in the order they were set.
 *
 *     call_later --> [ heap ] --due--> ready ring --this turn--> fn(arg)
 *
 * Always true:
 *   - a timer is idle, or in the heap, or its owner is on the ready ring: one of the three;
 *   - nothing written by a user runs inside this file; falling due only pushes a slot.
 *
 * Runs on the loop's thread. Elsewhere: how long the loop sleeps (turn.c), virtual time (clock.h). */
#include "base/error.h"
#include "base/trace.h"
#include "loop/loop.h"

int coil__timer_start_seq(struct coil_loop *loop, struct timer *timer, int64_t when_ns,
                          uint64_t seq)
{
    return coil__heap_push(&loop->timers, &timer->node, when_ns, seq);
}

int coil__timer_start(struct coil_loop *loop, struct timer *timer, int64_t when_ns)
{
    return coil__timer_start_seq(loop, timer, when_ns, loop->timer_seq++);
}

void coil__timer_stop(struct coil_loop *loop, struct timer *timer)
{
    coil__heap_remove(&loop->timers, &timer->node);
}

void coil__timers_fire(struct coil_loop *loop)
{
    if (!loop->timers.n)
        return;
    /* One look at the clock: what falls due while these fire is for the next turn. */
    int64_t now = loop_now_ns(loop);
    for (const struct heap_entry *first; (first = heap_min(&loop->timers)) && first->key <= now;) {
        struct timer *timer = container_of(first->node, struct timer, node);
        TRACE_POINT(timer_fire, "8@%0 8@%1 -8@%2", "r"(loop), "r"(timer), "o"(first->key));
        coil__heap_remove(&loop->timers, &timer->node);
        timer->fire(timer);
    }
}

int coil__deadline_after(struct coil_loop *loop, double delay, int64_t *out_when_ns)
{
    if (delay != delay)
        return (int)coil__fail(-EINVAL, "a delay must be a number of seconds, not NaN");
    *out_when_ns = clock_add(loop_now_ns(loop), coil__clock_from_seconds(delay));
    return 0;
}
