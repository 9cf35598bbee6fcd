/* SPDX-License-Identifier: MIT
 *
 * locks.c: what asyncio's tests say of Lock and Event (test_locks.py: LockTests, EventTests), told again.
 *
 * T37. Not here: `await lock` and Lock(loop=...), which C refuses to compile. */
#include "play.h"

#include <coil/sync.h>

static coil_lock lock;
static coil_event event;

static const char *repr_lock(void)
{
    static char text[64];
    coil_lock_repr(&lock, text, sizeof text);
    return text;
}

static const char *repr_event(void)
{
    static char text[64];
    coil_event_repr(&event, text, sizeof text);
    return text;
}

/* ---- LockTests ---- */

PLAY(lock_test_repr)
{
    lock = (coil_lock)COIL_LOCK;
    assert_string_equal(repr_lock(), "lock [unlocked]");
    assert_int_equal(coil_lock_acquire(&lock), 0);
    assert_string_equal(repr_lock(), "lock [locked]");
}

static coil_ret acquire_and_note(void *tag)
{
    coil_ret rc = coil_lock_acquire(&lock);
    if (!coil_iserr(rc))
        note("%s", (char *)tag);
    return rc;
}

PLAY(lock_test_acquire)
{
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    coil_task *t1 = spawn(acquire_and_note, "1");
    coil_task *t2 = spawn(acquire_and_note, "2");
    turn();
    assert_trace("");

    assert_int_equal(coil_lock_release(&lock), 0);
    turn();
    assert_trace("1");
    turn();
    assert_trace("1");

    coil_task *t3 = spawn(acquire_and_note, "3");
    assert_int_equal(coil_lock_release(&lock), 0);
    turn();
    assert_trace("1 2");
    assert_int_equal(coil_lock_release(&lock), 0);
    turn();
    assert_trace("1 2 3");

    assert_true(coil_future_done(t1) && coil_future_done(t2) && coil_future_done(t3));
    assert_int_equal(end_of(t1), 0);
    assert_int_equal(end_of(t2), 0);
    assert_int_equal(end_of(t3), 0);
}

static coil_ret just_acquire(void *unused)
{
    return coil_lock_acquire(&lock);
}

PLAY(lock_test_acquire_cancel)
{
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    coil_task *task = spawn(just_acquire, NULL);
    soon(cancel_task, task);
    assert_int_equal(end_of(task), -ECANCELED);
    assert_string_equal(repr_lock(), "lock [locked]");
}

static coil_ret lock_until(void *future)
{
    coil_ret rc = coil_lock_acquire(&lock);
    if (coil_iserr(rc))
        return rc;
    if (future)
        rc = coil_await_future(future);
    assert_int_equal(coil_lock_release(&lock), 0);
    return rc;
}

/* A holds the lock, B and C wait; B is cancelled just before A gives the lock back. */
PLAY(lock_test_cancel_race)
{
    lock = (coil_lock)COIL_LOCK;
    coil_future *fa = coil_loop_create_future(NULL);
    coil_task *ta = spawn(lock_until, fa);
    turn();
    assert_true(coil_lock_locked(&lock));
    coil_task *tb = spawn(lock_until, NULL);
    turn();
    assert_string_equal(repr_lock(), "lock [locked, waiters:1]");
    coil_task *tc = spawn(lock_until, NULL);
    turn();
    assert_string_equal(repr_lock(), "lock [locked, waiters:2]");

    assert_int_equal(coil_future_set_result(fa, 0), 0);
    cancel(tb);
    turn();
    assert_true(!coil_lock_locked(&lock));
    assert_true(coil_future_done(ta));
    assert_true(coil_future_cancelled(tb));
    assert_int_equal(end_of(tc), 0);
    assert_int_equal(end_of(ta), 0);
    assert_int_equal(end_of(tb), -ECANCELED);
    coil_unref(fa);
}

static int locks_taken, calls_made;

static coil_ret lock_and_count(void *unused)
{
    calls_made++;
    coil_ret rc = coil_lock_acquire(&lock);
    if (!coil_iserr(rc))
        locks_taken++;
    return rc;
}

static void cancel_and_release(void *task)
{
    cancel(task);
    assert_int_equal(coil_lock_release(&lock), 0);
}

/* bpo-32734: two tasks once got the lock together. */
PLAY(lock_test_cancel_release_race)
{
    lock = (coil_lock)COIL_LOCK;
    locks_taken = calls_made = 0;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    coil_task *t1 = spawn(lock_and_count, NULL);
    coil_task *t2 = spawn(lock_and_count, NULL);
    coil_task *t3 = spawn(lock_and_count, NULL);
    turn();
    soon(cancel_and_release, t1);
    assert_int_equal(coil_await_future(t1), -ECANCELED);
    assert_int_equal(locks_taken, 1);
    assert_int_equal(calls_made, 3);
    assert_true(coil_future_cancelled(t1));
    assert_true(coil_future_done(t2));

    cancel(t3);
    turn();
    assert_true(coil_future_cancelled(t3));
    coil_unref(t1);
    coil_unref(t2);
    coil_unref(t3);
}

PLAY(lock_test_finished_waiter_cancelled)
{
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    coil_task *tb = spawn(just_acquire, NULL);
    turn();
    assert_string_equal(repr_lock(), "lock [locked, waiters:1]");

    /* tc has not even begun to wait when the lock is given back. */
    coil_task *tc = spawn(just_acquire, NULL);
    cancel(tb);
    assert_int_equal(coil_lock_release(&lock), 0);
    turn();
    assert_true(coil_lock_locked(&lock));
    assert_true(coil_future_cancelled(tb));
    assert_int_equal(end_of(tc), 0);
    coil_unref(tb);
}

PLAY(lock_test_release_not_acquired)
{
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_release(&lock), COIL_EINVALIDSTATE);
}

PLAY(lock_test_release_no_waiters)
{
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    assert_true(coil_lock_locked(&lock));
    assert_int_equal(coil_lock_release(&lock), 0);
    assert_true(!coil_lock_locked(&lock));
}

PLAY(lock_test_context_manager)
{
    lock = (coil_lock)COIL_LOCK;
    assert_true(!coil_lock_locked(&lock));
    coil_ret rc;
    coil_with_lock(rc, &lock)
    {
        assert_true(coil_lock_locked(&lock));
    }
    assert_int_equal(rc, 0);
    assert_true(!coil_lock_locked(&lock));
}

/* ---- EventTests ---- */

static coil_ret wait_and_note(void *tag)
{
    coil_ret rc = coil_event_wait(&event);
    if (!coil_iserr(rc))
        note("%s", (char *)tag);
    return rc;
}

PLAY(event_test_repr)
{
    event = (coil_event)COIL_EVENT;
    assert_string_equal(repr_event(), "event [unset]");
    assert_int_equal(coil_event_set(&event), 0);
    assert_string_equal(repr_event(), "event [set]");
    coil_event_clear(&event);
    coil_task *t = spawn(wait_and_note, "1");
    turn();
    assert_string_equal(repr_event(), "event [unset, waiters:1]");
    coil_event_set(&event);
    assert_int_equal(end_of(t), 0);
}

PLAY(event_test_wait)
{
    event = (coil_event)COIL_EVENT;
    assert_true(!coil_event_is_set(&event));
    coil_task *t1 = spawn(wait_and_note, "1");
    coil_task *t2 = spawn(wait_and_note, "2");
    turn();
    assert_trace("");

    coil_task *t3 = spawn(wait_and_note, "3");
    coil_event_set(&event);
    turn();
    assert_trace("3 1 2");
    assert_true(coil_future_done(t1) && coil_future_done(t2) && coil_future_done(t3));
    assert_int_equal(end_of(t1), 0);
    assert_int_equal(end_of(t2), 0);
    assert_int_equal(end_of(t3), 0);
}

PLAY(event_test_wait_on_set)
{
    event = (coil_event)COIL_EVENT;
    coil_event_set(&event);
    assert_int_equal(coil_event_wait(&event), 0);
}

PLAY(event_test_wait_cancel)
{
    event = (coil_event)COIL_EVENT;
    coil_task *t = spawn(wait_and_note, "1");
    soon(cancel_task, t);
    assert_int_equal(end_of(t), -ECANCELED);
    assert_string_equal(repr_event(), "event [unset]");
}

PLAY(event_test_clear)
{
    event = (coil_event)COIL_EVENT;
    assert_true(!coil_event_is_set(&event));
    coil_event_set(&event);
    assert_true(coil_event_is_set(&event));
    coil_event_clear(&event);
    assert_true(!coil_event_is_set(&event));
}

PLAY(event_test_clear_with_waiters)
{
    event = (coil_event)COIL_EVENT;
    coil_task *t = spawn(wait_and_note, "1");
    turn();
    assert_trace("");

    coil_event_set(&event);
    coil_event_clear(&event);
    assert_true(!coil_event_is_set(&event));
    coil_event_set(&event);
    coil_event_set(&event);
    assert_string_equal(repr_event(), "event [set, waiters:1]");

    turn();
    assert_trace("1");
    assert_string_equal(repr_event(), "event [set]");
    assert_true(coil_future_done(t));
    assert_int_equal(end_of(t), 0);
}

COIL_TEST_MAIN()
