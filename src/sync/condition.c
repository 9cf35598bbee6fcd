/* SPDX-License-Identifier: MIT
 *
 * condition.c: Condition: wait, with a lock given up meanwhile, to be told of a change.
 *
 *     locked --wait--> in line --notified or cancelled--> lock's line --> locked again, wait returns
 *
 * Always true:
 *   - wait returns with the lock held, cancelled or not, but while unwinding (then: if it was free);
 *   - a wait that does not return 0 wakes another waiter on its way out, since the notification may
 *     have been meant for it. That one may find nothing changed: such wake-ups are part of the deal.
 *
 * Runs on the loop's thread. Elsewhere: the line (waiters.c), the lock (lock.c). */
#include "sync/condition.h"

#include "sync/lock.h"

static const struct wait_class condition_wait = {
    .what = "condition",
    .cancel = coil__waiter_cancel,
    .shows = SHOWS_OBJECT,
    .at = offsetof(struct waiter, line),
    .then = -(int)offsetof(struct condition, waiters),
};

static struct condition *condition_of(coil_condition *condition)
{
    return (struct condition *)condition;
}

static coil_lock *lock_in(coil_condition *public)
{
    struct condition *condition = condition_of(public);
    return condition->lock ? condition->lock : &condition->own;
}

static const coil_lock *lock_in_const(const coil_condition *public)
{
    const struct condition *condition = (const struct condition *)public;
    return condition->lock ? condition->lock : &condition->own;
}

COIL_ASYNC coil_ret coil_condition_acquire(coil_condition *condition)
{
    return coil_lock_acquire(lock_in(condition));
}

int coil_condition_release(coil_condition *condition)
{
    return coil_lock_release(lock_in(condition));
}

bool coil_condition_locked(const coil_condition *condition)
{
    return coil_lock_locked(lock_in_const(condition));
}

/* Take the lock again, however often a cancel comes. 0, the last -ECANCELED, or what makes it impossible. */
static COIL_MUST coil_ret reacquire(coil_lock *lock)
{
    coil_ret cancelled = 0;
    for (;;) {
        coil_ret rc = coil_lock_acquire(lock);
        if (rc == 0)
            return cancelled;
        if (rc == COIL_EEXIT)
            coil__lock_retake(lock);
        if (rc != -ECANCELED)
            return rc;
        cancelled = rc;
    }
}

coil_ret coil__condition_wait_as(coil_condition *public, const struct wait_class *cls)
{
    struct condition *condition = condition_of(public);
    coil_lock *lock = lock_in(public);
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (!coil_lock_locked(lock))
        return coil__fail(COIL_EINVALIDSTATE, "cannot wait on a lock that is not acquired");
    err = coil__waiters_bind(&condition->waiters, cls->what);
    if (err < 0 || (err = coil_lock_release(lock)) < 0)
        return err;

    struct waiter w;
    coil_ret rc = coil__waiters_wait(&condition->waiters, &w, cls);
    coil_ret again = reacquire(lock);
    if (coil_iserr(again))
        rc = again;
    if (coil_iserr(rc))
        coil__waiters_wake(&condition->waiters);
    return rc;
}

COIL_ASYNC coil_ret coil_condition_wait(coil_condition *condition)
{
    return coil__condition_wait_as(condition, &condition_wait);
}

COIL_ASYNC coil_ret coil_condition_wait_for(coil_condition *condition, coil_fn predicate, void *arg)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (!predicate)
        return coil__fail(-EINVAL, "there is no predicate to wait for (NULL)");
    for (;;) {
        coil_ret value = predicate(arg);
        if (value != 0)
            return value;
        coil_ret rc = coil__condition_wait_as(condition, &condition_wait);
        if (coil_iserr(rc))
            return rc;
    }
}

/* What notify needs: the lock held, and the right thread. */
static int check_notify(coil_condition *condition)
{
    if (!coil_condition_locked(condition))
        return (int)coil__fail(COIL_EINVALIDSTATE, "cannot notify on a lock that is not acquired");
    return coil__waiters_check_thread(&condition_of(condition)->waiters);
}

int coil_condition_notify(coil_condition *condition, size_t n)
{
    int err = check_notify(condition);
    if (err < 0)
        return err;
    while (n > 0 && coil__waiters_wake(&condition_of(condition)->waiters))
        n--;
    return 0;
}

int coil_condition_notify_all(coil_condition *condition)
{
    return coil_condition_notify(condition, SIZE_MAX);
}

int coil_condition_repr(const coil_condition *public, char *out, size_t n)
{
    const struct condition *condition = (const struct condition *)public;
    return coil__waiters_repr(&condition->waiters, "condition",
                              coil_condition_locked(public) ? "locked" : "unlocked", out, n);
}

static int release_condition(void *condition)
{
    return coil_condition_release(condition);
}

COIL_ASYNC coil_sync_scope coil_condition_enter(coil_condition *condition, coil_ret *out_rc)
{
    *out_rc = coil_condition_acquire(condition);
    if (coil_iserr(*out_rc))
        return (coil_sync_scope){0};
    return (coil_sync_scope){condition, release_condition};
}
