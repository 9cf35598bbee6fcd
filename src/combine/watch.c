/* SPDX-License-Identifier: MIT
 *
 * watch.c: the two ways of being told: a future is done, a time has come.
 *
 * Runs on the loop's thread. Elsewhere: what the rooms are (loop.h), when timers fire (turn.c). */
#include "combine/watch.h"

/* ---- a future is done ---- */

static void tell(void *arg)
{
    struct watch *w = arg;
    w->state = WATCH_TOLD;
    loop_release(w->loop, 1);
    w->fn(w);
}

static void future_fired(struct future_callback *cb, coil_future *future)
{
    struct watch *w = container_of(cb, struct watch, cb);
    (void)future;
    if (coil_unlikely(w->loop->closing)) {
        tell(w); /* what is queued now would never run, and what hangs on it never go */
        return;
    }
    w->state = WATCH_QUEUED;
    loop_push(w->loop, tell, w, NULL);
    w->position = loop_last_position(w->loop);
}

void coil__watch_start(struct watch *w, coil_loop *loop, coil_future *future,
                       void (*fn)(struct watch *w), void *owner)
{
    list_init(&w->cb.link);
    w->cb.fire = future_fired;
    w->future = coil_ref(future);
    w->loop = loop;
    w->fn = fn;
    w->owner = owner;
    w->state = WATCH_WATCHING;
    coil__future_watch(future, &w->cb); /* may fire here and now */
}

void coil__watch_keep(struct watch *w, coil_future *future)
{
    w->future = coil_ref(future);
    w->state = WATCH_TOLD;
}

bool coil__is_watch(const struct future_callback *cb)
{
    return cb->fire == future_fired;
}

void coil__watch_end(struct watch *w)
{
    if (w->state == WATCH_NONE)
        return;
    if (w->state == WATCH_WATCHING)
        future_unwatch(&w->cb);
    else if (w->state == WATCH_QUEUED)
        coil__loop_unpush(w->loop, w->position);
    if (w->state != WATCH_TOLD)
        loop_release(w->loop, 1);
    w->state = WATCH_NONE;
    coil_future *future = w->future;
    w->future = NULL;
    coil_unref(future); /* last: it may free what this watch is part of */
}

/* ---- a time has come ---- */

static void ring_alarm(void *arg)
{
    struct alarm *a = arg;
    a->state = ALARM_NONE;
    loop_release(a->loop, 1);
    a->fn(a);
}

static void timer_fired(struct timer *timer)
{
    coil__alarm_now(container_of(timer, struct alarm, timer));
}

int coil__alarm_init(struct alarm *a, coil_loop *loop, void (*fn)(struct alarm *a))
{
    a->state = ALARM_NONE;
    if (coil__loop_hold(loop, 1) < 0)
        return -ENOMEM;
    timer_init(&a->timer, timer_fired);
    a->loop = loop;
    a->fn = fn;
    a->state = ALARM_IDLE;
    return 0;
}

int coil__alarm_set(struct alarm *a, int64_t when_ns, uint64_t seq)
{
    int err = coil__timer_start_seq(a->loop, &a->timer, when_ns, seq);
    if (err == 0)
        a->state = ALARM_SET;
    return err;
}

void coil__alarm_now(struct alarm *a)
{
    a->state = ALARM_QUEUED;
    loop_push(a->loop, ring_alarm, a, NULL);
    a->position = loop_last_position(a->loop);
}

void coil__alarm_end(struct alarm *a)
{
    if (a->state == ALARM_NONE)
        return;
    if (a->state == ALARM_SET)
        coil__timer_stop(a->loop, &a->timer);
    else if (a->state == ALARM_QUEUED)
        coil__loop_unpush(a->loop, a->position);
    loop_release(a->loop, 1);
    a->state = ALARM_NONE;
}
