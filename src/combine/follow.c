/* SPDX-License-Identifier: MIT
 *
 * follow.c: the two ways of being told: a future is done, a time has come.
 *
 * Runs on the loop's thread. Elsewhere: what the rooms are (loop.h), when timers fire (turn.c). */
#include "combine/follow.h"

/* ---- a future is done ---- */

static void tell(void *arg)
{
    struct follower *follower = arg;
    follower->state = FOLLOWER_TOLD;
    loop_release(follower->loop, 1);
    follower->fn(follower);
}

static void future_fired(struct future_callback *cb, coil_future *future)
{
    struct follower *follower = container_of(cb, struct follower, cb);
    (void)future;
    follower->state = FOLLOWER_QUEUED;
    loop_push(follower->loop, tell, follower, NULL);
    follower->position = loop_last_position(follower->loop);
}

void coil__follow(struct follower *follower, coil_loop *loop, coil_future *future, coil_future *by,
                  void (*fn)(struct follower *follower), void *owner)
{
    list_init(&follower->cb.link);
    follower->cb.fire = future_fired;
    follower->cb.by = by;
    follower->future = coil_ref(future);
    follower->loop = loop;
    follower->fn = fn;
    follower->owner = owner;
    follower->state = FOLLOWER_WAITING;
    coil__future_watch(future, &follower->cb); /* may fire here and now */
}

void coil__follow_keep(struct follower *follower, coil_future *future)
{
    follower->future = coil_ref(future);
    follower->state = FOLLOWER_TOLD;
}

bool coil__is_follower(const struct future_callback *cb)
{
    return cb->fire == future_fired;
}

void coil__unfollow(struct follower *follower)
{
    if (follower->state == FOLLOWER_NONE)
        return;
    if (follower->state == FOLLOWER_WAITING)
        future_unwatch(&follower->cb);
    else if (follower->state == FOLLOWER_QUEUED)
        coil__loop_unpush(follower->loop, follower->position);
    if (follower->state != FOLLOWER_TOLD)
        loop_release(follower->loop, 1);
    follower->state = FOLLOWER_NONE;
    coil_future *future = follower->future;
    follower->future = NULL;
    coil_unref(future); /* last: it may free what this follower is part of */
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
