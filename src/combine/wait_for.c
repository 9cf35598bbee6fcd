/* SPDX-License-Identifier: MIT
 *
 * wait_for.c: one future, or one call, for so long.
 *
 * With time left it is an await, or a plain call, inside a timeout scope. With none left there is
 * nothing to await any more: the future is cancelled and seen to its end, the call is not begun.
 *
 * Runs on the loop's thread. Elsewhere: scopes (timeout.c). */
#include "base/error.h"
#include "combine/distinct.h"
#include "combine/follow.h"
#include "combine/timeout.h"

#include <coil/combine.h>

static const struct wait_class wait_for_class = {
    .what = "wait_for",
    .cancel = coil__wait_cancel_plain,
};

/* ---- a future ---- */

struct cancelled_wait {
    struct wait wait;
    struct follower follower;
};

static void cancelled_told(struct follower *follower)
{
    struct cancelled_wait *c = follower->owner;
    if (!c->wait.woken)
        coil__wake(&c->wait, 0);
}

/* Waits for its end and not on it, so that a cancel of this task is not passed on a second time. */
static coil_ret cancel_and_wait(coil_loop *loop, coil_future *future)
{
    struct cancelled_wait c = {.wait = WAIT_INIT(&wait_for_class)};
    if (coil__loop_hold(loop, 1) < 0)
        return coil__fail_plain(-ENOMEM);
    coil__follow(&c.follower, loop, future, NULL, cancelled_told, &c);
    coil_future_cancel(future, NULL);
    coil_ret rc = coil__park(&c.wait);
    coil__unfollow(&c.follower);
    return rc;
}

coil_ret coil_wait_for(coil_future *future, double timeout)
{
    if (timeout != timeout)
        return coil__fail(-EINVAL, "a timeout must be a number of seconds, not NaN");
    coil_ret rc = coil__can_wait();
    coil_loop *loop = coil__running_loop;
    if (rc == 0)
        rc = coil__check_members(&future, 1, &loop);
    if (rc)
        return rc;
    if (timeout > 0 && timeout != COIL_FOREVER && !future_done(future)) {
        coil_timeout_scope scope;
        coil_timeout_enter(&scope, timeout);
        rc = coil_await_future(future);
        return coil_timeout_exit(&scope, rc);
    }
    if (timeout > 0 || future_done(future))
        return coil_await_future(future);

    coil_ref(future);
    rc = cancel_and_wait(loop, future);
    if (rc == 0) {
        rc = coil_future_result(future);
        if (rc == -ECANCELED)
            rc = coil__timeout_convert(-ETIMEDOUT);
    }
    coil_unref(future);
    return rc;
}

/* ---- a call ---- */

/* As long as asyncio takes to make a task of a coroutine, cancel it and see it end: three turns. */
struct pause {
    struct wait wait;
    struct alarm alarm;
    unsigned turns;
};

static void pause_told(struct alarm *a)
{
    struct pause *p = container_of(a, struct pause, alarm);
    if (--p->turns > 0) {
        int err = coil__alarm_init(a, a->loop, pause_told);
        COIL_CHECK(err == 0); /* the room is there that it had until now */
        coil__alarm_now(a);
    } else if (!p->wait.woken) {
        coil__wake(&p->wait, 0);
    }
}

static coil_ret pause_as_asyncio(coil_loop *loop)
{
    struct pause p = {.wait = WAIT_INIT(&wait_for_class), .turns = 2};
    if (coil__alarm_init(&p.alarm, loop, pause_told) < 0)
        return coil__fail_plain(-ENOMEM);
    coil__alarm_now(&p.alarm);
    coil_ret rc = coil__park(&p.wait);
    coil__alarm_end(&p.alarm);
    return rc;
}

coil_ret coil_wait_for_call(coil_fn fn, void *arg, double timeout)
{
    if (timeout != timeout)
        return coil__fail(-EINVAL, "a timeout must be a number of seconds, not NaN");
    coil_ret rc = coil__can_wait();
    if (rc)
        return rc;
    if (!fn)
        return coil__fail(-EINVAL, "there is no function to call (NULL)");
    if (timeout == COIL_FOREVER)
        return fn(arg);
    if (timeout > 0) {
        coil_timeout_scope scope;
        coil_timeout_enter(&scope, timeout);
        rc = fn(arg);
        return coil_timeout_exit(&scope, rc);
    }
    rc = pause_as_asyncio(coil__running_loop);
    return rc ? rc : coil__fail(-ETIMEDOUT, "there was no time left to begin");
}
