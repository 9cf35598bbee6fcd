/* SPDX-License-Identifier: MIT
 *
 * lock.c: Lock, the blocks that hold something, and what both need.
 *
 *     free --acquire--> locked --release--> free, the first in line is granted --its step--> locked
 *
 * Always true:
 *   - between the grant and the step of the one who got it the lock is free, but nobody can take it:
 *     acquire stands in line while a live waiter is there;
 *   - at most one waiter is granted. If a cancel overtakes it, it wakes the next one as it leaves;
 *   - a first waiter that is done already wakes its successor itself, so release leaves it alone.
 *
 * Runs on the loop's thread. Elsewhere: the line (waiters.c). */
#include "sync/lock.h"

#include <inttypes.h>
#include <stdio.h>

/* The name of a living task of this loop; NULL if that number has ended. */
static const char *name_of_task(coil_loop *loop, uint64_t number)
{
    struct task_part *part = coil__task_part(loop); /* which a waiting task has made */
    LIST_FOREACH(it, &part->tasks) {
        struct coil__task *task = as_task(container_of(it, coil_future, all));
        if (task->number == number)
            return task->name;
    }
    return NULL;
}

static int describe(const struct wait *wait, char *out, size_t n)
{
    const struct lock *lock = container_of(waiter_line(wait), struct lock, waiters);
    if (!lock->locked)
        return snprintf(out, n, "free, about to be taken");
    const char *owner = name_of_task(wait->task->loop, lock->owner);
    if (!owner)
        return snprintf(out, n, "held by task number %" PRIu64 ", which has ended", lock->owner);
    return snprintf(out, n, "held by %s", owner);
}

static const struct wait_class lock_wait = {
    .what = "lock",
    .cancel = coil__waiter_cancel,
    .describe = describe,
    .shows = SHOWS_OWNER,
    .at = offsetof(struct waiter, line),
    .then = offsetof(struct lock, owner), /* the line is the first thing in the lock */
};
_Static_assert(offsetof(struct lock, waiters) == 0, "the line of a lock is the lock");

static void take(struct lock *lock)
{
    lock->locked = true;
    lock->owner = coil__current()->number;
}

/* May it have lost the lock as it was unwound in a condition's wait? A generator that is dropped may not: it stands in a
 * yield, and has what it had. */
static bool may_have_lost(const struct coil__task *t)
{
    return t && t->coro.unwinding;
}

static void wake_first(struct lock *lock)
{
    if (lock->waiters.first && lock->waiters.first == lock->waiters.pending)
        coil__waiters_wake(&lock->waiters);
}

COIL_ASYNC coil_ret coil_lock_acquire(coil_lock *public)
{
    struct lock *lock = lock_of(public);
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (!lock->locked && !waiters_live(&lock->waiters)) {
        take(lock);
        return 0;
    }
    struct waiter w;
    coil_ret rc = coil__waiters_wait(&lock->waiters, &w, &lock_wait);
    if (coil_iserr(rc)) {
        if (!lock->locked)
            wake_first(lock);
        return rc;
    }
    take(lock);
    return 0;
}

int coil_lock_release(coil_lock *public)
{
    struct lock *lock = lock_of(public);
    if (!lock->locked)
        return (int)coil__fail(COIL_EINVALIDSTATE, "the lock is not acquired");
    const struct coil__task *current = coil__current();
    if (coil_unlikely(may_have_lost(current)) && current->number != lock->owner)
        return (int)coil__fail(COIL_EINVALIDSTATE, "the lock was lost while unwinding");
    int err = coil__waiters_check_thread(&lock->waiters);
    if (err < 0)
        return err;
    lock->locked = false;
    lock->owner = 0;
    wake_first(lock);
    return 0;
}

bool coil_lock_locked(const coil_lock *lock)
{
    return lock_of_const(lock)->locked;
}

int coil_lock_repr(const coil_lock *public, char *out, size_t n)
{
    const struct lock *lock = lock_of_const(public);
    return coil__waiters_repr(&lock->waiters, "lock", lock->locked ? "locked" : "unlocked", out, n);
}

void coil__lock_retake(coil_lock *public)
{
    struct lock *lock = lock_of(public);
    if (!lock->locked)
        take(lock);
}

/* ---- blocks that hold something ---- */

static int release_lock(void *lock)
{
    return coil_lock_release(lock);
}

COIL_ASYNC coil_sync_scope coil_lock_enter(coil_lock *lock, coil_ret *out_rc)
{
    *out_rc = coil_lock_acquire(lock);
    if (coil_iserr(*out_rc))
        return (coil_sync_scope){0};
    return (coil_sync_scope){lock, release_lock};
}

void coil_sync_leave(coil_sync_scope *scope)
{
    void *held = scope->held_;
    if (!held)
        return;
    scope->held_ = NULL;
    int err = scope->release_(held);
    struct coil__task *current = coil__current();
    /* Lost while unwinding is no mistake of anyone. */
    if (err < 0 && current && !may_have_lost(current))
        coil__loop_report(current->future.loop, "given-back-twice",
                          "the block held something that was given back already", err,
                          coil_last_error(), &current->future);
}
