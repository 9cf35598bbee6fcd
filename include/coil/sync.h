/* SPDX-License-Identifier: MIT
 *
 * coil/sync.h: lock, event, condition, semaphore and barrier: tasks of one loop waiting for each other.
 *
 *     static coil_lock lock;                      zero is a good beginning; nothing to destroy
 *
 *     coil_ret rc;
 *     coil_with_lock(rc, &lock) {                 async with lock:
 *         rc = change_the_thing();
 *     }                                           released, also by return and break
 *     return rc;                                  -ECANCELED if the lock was never had
 *
 * All of them are plain values: waiting allocates nothing, and an object nobody uses needs no clean-up.
 * One may be copied or moved before its first use, never while tasks wait for it. Waiters are served in
 * the order they came; a wake-up given to a task that is cancelled before it runs goes to the next one.
 *
 * The first call that really has to wait binds the object to that task's loop; from then on waiting for it
 * in another loop fails with COIL_EWRONGLOOP. They are for tasks, not for threads: calls belong to the
 * loop's thread (from another one use coil_loop_call_soon_threadsafe). Calls that never wait (release,
 * set, notify, ...) work in callbacks too; in debug mode such a call from a foreign thread that would
 * have to wake somebody says COIL_EWRONGTHREAD.
 *
 * Every waiting call may also return COIL_EEXIT (this task is being unwound) and COIL_ENOTASK (called
 * outside a task, even where it would not have had to wait). */
#ifndef COIL_SYNC_H
#define COIL_SYNC_H

#include <coil/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What such a value begins with. */
#define COIL__VALUE(...) \
    {                    \
        __VA_ARGS__      \
    }

/* ---- Lock ---- */

/* Held by at most one task. `coil_lock l = {0}` or COIL_LOCK. asyncio: Lock */
typedef struct {
    void *priv_[8];
} coil_lock;
#define COIL_LOCK COIL__VALUE({0})

/* Take the lock, waiting while another task holds it.
 *
 *   Suspends: unless it is free and nobody stands in line; in order of arrival.
 *   Cancel:   returns -ECANCELED; the lock is not yours.
 *   Where:    inside a task of the lock's own loop. It is not recursive: taking it twice waits for ever.
 *   Errors:   COIL_EWRONGLOOP.
 *   asyncio:  Lock.acquire */
COIL_ASYNC coil_ret coil_lock_acquire(coil_lock *lock);

/* Give it back and let the first in line run; any task or callback may.
 *
 *   Errors:  COIL_EINVALIDSTATE if it is not locked. While a task is being unwound it gives back only
 *            what it holds itself, and the same code says so.
 *   asyncio: Lock.release */
COIL_API int coil_lock_release(coil_lock *lock);

/* asyncio: Lock.locked */
COIL_API bool coil_lock_locked(const coil_lock *lock);

/* What it is doing, as "lock [locked, waiters:2]"; cut to n bytes, returns as snprintf does.
 * asyncio: repr(lock) */
COIL_API int coil_lock_repr(const coil_lock *lock, char *out, size_t n);

/* ---- Event ---- */

/* A flag to wait for. `coil_event e = {0}` or COIL_EVENT: not set. asyncio: Event */
typedef struct {
    void *priv_[8];
} coil_event;
#define COIL_EVENT COIL__VALUE({0})

/* Wait until the flag is set. A clear right after the set does not hold back who was woken by it.
 *
 *   Suspends: unless it is set.
 *   Cancel:   returns -ECANCELED, also when the flag was set meanwhile.
 *   Where:    inside a task of the event's own loop.
 *   Errors:   COIL_EWRONGLOOP.
 *   asyncio:  Event.wait */
COIL_ASYNC coil_ret coil_event_wait(coil_event *event);

/* Set the flag and wake everybody. Returns 0.
 *
 *   Errors:  debug mode: COIL_EWRONGTHREAD.
 *   asyncio: Event.set */
COIL_API int coil_event_set(coil_event *event);
/* asyncio: Event.clear */
COIL_API void coil_event_clear(coil_event *event);
/* asyncio: Event.is_set */
COIL_API bool coil_event_is_set(const coil_event *event);
/* As coil_lock_repr: "event [unset, waiters:1]". asyncio: repr(event) */
COIL_API int coil_event_repr(const coil_event *event, char *out, size_t n);

/* ---- Condition ---- */

/* A lock, and a line of tasks that wait for something the lock guards to change. COIL_CONDITION(&lock)
 * shares a lock, which must outlive it; `coil_condition c = {0}` has one of its own. asyncio: Condition */
typedef struct {
    coil_lock *lock_; /* NULL: its own */
    void *priv_[12];
} coil_condition;
#define COIL_CONDITION(lock) COIL__VALUE((lock), {0})

/* Take and give back the condition's lock.
 *
 *   Suspends, Cancel, Where, Errors: as coil_lock_acquire and coil_lock_release.
 *   asyncio: Condition.acquire, Condition.release, Condition.locked */
COIL_ASYNC coil_ret coil_condition_acquire(coil_condition *condition);
COIL_API int coil_condition_release(coil_condition *condition);
COIL_API bool coil_condition_locked(const coil_condition *condition);

/* Give the lock back, wait to be notified, take the lock again. It may return without a cause: look
 * again at what you wait for, or use coil_condition_wait_for.
 *
 *   Suspends: always.
 *   Cancel:   returns -ECANCELED, with the lock held all the same: taking it again goes on through any
 *             number of cancels, and the last one is what coil_last_error speaks of. A notification
 *             that came too is passed on to another waiter.
 *   Where:    inside a task of the condition's own loop.
 *   Errors:   COIL_EINVALIDSTATE if the lock is not held; COIL_EWRONGLOOP. With COIL_EEXIT the lock is
 *             yours if it was free, else not, and giving it back says so.
 *   asyncio:  Condition.wait */
COIL_ASYNC coil_ret coil_condition_wait(coil_condition *condition);

/* Wait until predicate(arg) is not 0 and return that value; an error from it ends the wait too.
 *
 *   Suspends: unless it holds at once. The predicate is called with the lock held.
 *   Cancel:   as coil_condition_wait.
 *   Where:    inside a task of the condition's own loop.
 *   Errors:   as coil_condition_wait, but only if it has to wait; -EINVAL without a predicate.
 *   asyncio:  Condition.wait_for */
COIL_ASYNC coil_ret coil_condition_wait_for(coil_condition *condition, coil_fn predicate,
                                            void *arg);

/* Wake up to n waiters, or all of them. They go on when they get the lock, which you still hold.
 *
 *   Errors:  COIL_EINVALIDSTATE if the lock is not held.
 *   asyncio: Condition.notify, Condition.notify_all */
COIL_API int coil_condition_notify(coil_condition *condition, size_t n);
COIL_API int coil_condition_notify_all(coil_condition *condition);
/* As coil_lock_repr: "condition [locked, waiters:1]". asyncio: repr(condition) */
COIL_API int coil_condition_repr(const coil_condition *condition, char *out, size_t n);

/* ---- Semaphore, BoundedSemaphore ---- */

/* A number of permits. COIL_SEMAPHORE(3) has three; COIL_BOUNDED_SEMAPHORE(3) never has more than that;
 * {0} has none, and lives from what is released into it. asyncio: Semaphore, BoundedSemaphore */
typedef struct {
    intptr_t value_, unbound_;
    void *priv_[6];
} coil_semaphore;
#define COIL_SEMAPHORE(value)         COIL__VALUE((intptr_t)(value), 0, {0})
#define COIL_BOUNDED_SEMAPHORE(value) COIL__VALUE((intptr_t)(value), ~(intptr_t)(value), {0})

/* Take a permit, waiting while there is none.
 *
 *   Suspends: unless there is one and nobody stands in line; in order of arrival.
 *   Cancel:   returns -ECANCELED; no permit was taken, and one granted meanwhile goes to the next.
 *   Where:    inside a task of the semaphore's own loop.
 *   Errors:   -EINVAL if it began with a negative value; COIL_EWRONGLOOP.
 *   asyncio:  Semaphore.acquire */
COIL_ASYNC coil_ret coil_semaphore_acquire(coil_semaphore *semaphore);

/* Give a permit back, or add one; any task or callback may.
 *
 *   Errors:  -EINVAL if a bounded one would exceed its first value, or the first value was negative;
 *            -EOVERFLOW past INTPTR_MAX.
 *   asyncio: Semaphore.release, BoundedSemaphore.release */
COIL_API int coil_semaphore_release(coil_semaphore *semaphore);

/* Would acquire have to wait? True without permits, and while others stand in line.
 * asyncio: Semaphore.locked */
COIL_API bool coil_semaphore_locked(const coil_semaphore *semaphore);
/* As coil_lock_repr: "semaphore [unlocked, value:2]". asyncio: repr(semaphore) */
COIL_API int coil_semaphore_repr(const coil_semaphore *semaphore, char *out, size_t n);

/* ---- Barrier ---- */

/* A gate that opens when enough tasks stand before it: COIL_BARRIER(3).
 *
 *     filling --the last one came--> draining --the last one left--> filling
 *        |                              |
 *        +----------- reset ------------+--> resetting --the last one left--> filling
 *        +----------- abort ------------+--> broken    --reset--> resetting or filling
 *
 * asyncio: Barrier */
typedef struct {
    intptr_t parties_;
    void *priv_[15];
} coil_barrier;
#define COIL_BARRIER(parties) COIL__VALUE((intptr_t)(parties), {0})

/* Wait for the others. Returns 0 .. parties-1, each number to one task: the order of arrival.
 *
 *   Suspends: unless it is the last to come; who comes while the gate drains waits for the next round.
 *   Cancel:   returns -ECANCELED, and one task less stands at the gate.
 *   Where:    inside a task of the barrier's own loop.
 *   Errors:   COIL_EBROKENBARRIER when reset or aborted meanwhile, or broken already; -EINVAL if there
 *             are less than 1 parties; COIL_EWRONGLOOP.
 *   asyncio:  Barrier.wait */
COIL_ASYNC coil_ret coil_barrier_wait(coil_barrier *barrier);

/* reset: who waits gets COIL_EBROKENBARRIER, then it is as new. abort: so does everyone who comes, until a
 * reset.
 *
 *   Suspends: while tasks of the barrier are just about to go on.
 *   Cancel:   returns -ECANCELED; nothing was changed.
 *   Where:    inside a task of the barrier's own loop.
 *   Errors:   -EINVAL if there are less than 1 parties; COIL_EWRONGLOOP.
 *   asyncio:  Barrier.reset, Barrier.abort */
COIL_ASYNC coil_ret coil_barrier_reset(coil_barrier *barrier);
COIL_ASYNC coil_ret coil_barrier_abort(coil_barrier *barrier);

/* How many it takes; how many wait now (0 unless filling); is it broken?
 * asyncio: Barrier.parties, Barrier.n_waiting, Barrier.broken */
COIL_API size_t coil_barrier_parties(const coil_barrier *barrier);
COIL_API size_t coil_barrier_n_waiting(const coil_barrier *barrier);
COIL_API bool coil_barrier_broken(const coil_barrier *barrier);
/* As coil_lock_repr: "barrier [filling, waiters:1/3]". asyncio: repr(barrier) */
COIL_API int coil_barrier_repr(const coil_barrier *barrier, char *out, size_t n);

/* ---- blocks that hold something ---- */

/* Run the block with the lock (the condition's lock, a permit) held, and give it back however the block is
 * left: at its end, by return, break or continue (both leave just the block), goto. `rc` is a coil_ret
 * variable: 0 when the block begins, yours from then on; if the thing was not had the block does not run
 * and rc says why.
 *
 *   Suspends, Cancel, Where, Errors: as the acquire call of the thing.
 *   asyncio: async with */
#define coil_with_lock(rc, lock)           coil__with(coil_lock_enter((lock), &(rc)))
#define coil_with_condition(rc, condition) coil__with(coil_condition_enter((condition), &(rc)))
#define coil_with_semaphore(rc, semaphore) coil__with(coil_semaphore_enter((semaphore), &(rc)))

/* What the macros are made of: a thing that is held until the scope is left. */
typedef struct {
    void *held_; /* NULL: nothing */
    int (*release_)(void *held);
} coil_sync_scope;

/* Take it; on failure *out_rc says why and the scope is empty. Cancel: as the acquire call. */
COIL_ASYNC coil_sync_scope coil_lock_enter(coil_lock *lock, coil_ret *out_rc);
COIL_ASYNC coil_sync_scope coil_condition_enter(coil_condition *condition, coil_ret *out_rc);
COIL_ASYNC coil_sync_scope coil_semaphore_enter(coil_semaphore *semaphore, coil_ret *out_rc);
/* Give it back; leaving twice is fine. If it cannot be given back (somebody else did) the loop's
 * exception handler hears of it. */
COIL_API void coil_sync_leave(coil_sync_scope *scope);

#define coil__with(enter) coil__with_named(enter, coil__with_name(coil_scope_, __COUNTER__))
#define coil__with_named(enter, name)                                                          \
    for (coil_sync_scope name __attribute__((cleanup(coil_sync_leave))) = (enter); name.held_; \
         coil_sync_leave(&name))
#define coil__with_name(a, b)  coil__with_paste(a, b)
#define coil__with_paste(a, b) a##b

#ifdef __cplusplus
}
#endif
#endif
