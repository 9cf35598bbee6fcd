/* SPDX-License-Identifier: MIT
 *
 * conditions.c: what asyncio's tests say of Condition (test_locks.py: ConditionTests), told again.
 *
 * T38. Where the original waits with asyncio.wait_for or asyncio.timeout, a timer cancels the task here. */
#include "play.h"

#include <coil/sync.h>

static coil_condition cond;
static bool truth;

static const char *repr_cond(void)
{
    static char text[64];
    coil_condition_repr(&cond, text, sizeof text);
    return text;
}

static void begin(void)
{
    cond = (coil_condition){0};
    truth = false;
}

static coil_ret hold_wait_note(void *tag)
{
    coil_ret rc = coil_condition_acquire(&cond);
    if (!coil_iserr(rc))
        rc = coil_condition_wait(&cond);
    if (!coil_iserr(rc))
        note("%s", (char *)tag);
    return rc;
}

static void end_well(coil_task *t)
{
    assert_true(coil_future_done(t));
    assert_int_equal(end_of(t), 0);
}

PLAY(condition_test_wait)
{
    begin();
    coil_task *t1 = spawn(hold_wait_note, "1");
    coil_task *t2 = spawn(hold_wait_note, "2");
    coil_task *t3 = spawn(hold_wait_note, "3");
    turn();
    assert_trace("");
    assert_true(!coil_condition_locked(&cond));

    assert_int_equal(coil_condition_acquire(&cond), 0);
    assert_int_equal(coil_condition_notify(&cond, 1), 0);
    turn();
    assert_trace("");
    assert_true(coil_condition_locked(&cond));

    assert_int_equal(coil_condition_release(&cond), 0);
    turn();
    assert_trace("1");
    assert_true(coil_condition_locked(&cond));

    assert_int_equal(coil_condition_notify(&cond, 2), 0);
    turn();
    assert_trace("1");
    assert_true(coil_condition_locked(&cond));

    assert_int_equal(coil_condition_release(&cond), 0);
    turn();
    assert_trace("1 2");
    assert_true(coil_condition_locked(&cond));

    assert_int_equal(coil_condition_release(&cond), 0);
    turn();
    assert_trace("1 2 3");
    assert_true(coil_condition_locked(&cond));
    end_well(t1);
    end_well(t2);
    end_well(t3);
}

static coil_ret just_wait(void *unused)
{
    return coil_condition_wait(&cond);
}

PLAY(condition_test_wait_cancel)
{
    begin();
    assert_int_equal(coil_condition_acquire(&cond), 0);
    coil_task *wait = spawn(just_wait, NULL);
    soon(cancel_task, wait);
    assert_int_equal(end_of(wait), -ECANCELED);
    assert_string_equal(repr_cond(), "condition [locked]");
}

static void release_cond(void *unused)
{
    assert_int_equal(coil_condition_release(&cond), 0);
}

PLAY(condition_test_wait_cancel_contested)
{
    begin();
    assert_int_equal(coil_condition_acquire(&cond), 0);
    coil_task *wait = spawn(just_wait, NULL);
    turn();
    assert_true(!coil_condition_locked(&cond));

    assert_int_equal(coil_condition_acquire(&cond), 0);
    assert_int_equal(coil_condition_notify(&cond, 1), 0);
    soon(cancel_task, wait);
    soon(release_cond, NULL);
    coil_ret rc = end_of(wait);
    assert_true(rc == 0 || rc == -ECANCELED);
    assert_true(coil_condition_locked(&cond));
}

static bool waited;

static coil_ret wait_in_block(void *unused)
{
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        waited = true;
        rc = coil_condition_wait(&cond);
    }
    return rc;
}

/* bpo-32841: the cancel that came while the lock was awaited was lost. */
PLAY(condition_test_wait_cancel_after_notify)
{
    begin();
    waited = false;
    coil_task *waiter = spawn(wait_in_block, NULL);
    turn(); /* it waits */
    assert_int_equal(coil_condition_acquire(&cond), 0);
    assert_int_equal(coil_condition_notify(&cond, 1), 0);
    turn(); /* it wants the lock */
    cancel(waiter);
    turn(); /* the cancel reaches it */
    assert_int_equal(coil_condition_release(&cond), 0);
    turn(); /* and gets out */
    assert_true(coil_future_cancelled(waiter));
    assert_true(waited);
    coil_unref(waiter);
}

PLAY(condition_test_wait_unacquired)
{
    begin();
    assert_int_equal(coil_condition_wait(&cond), COIL_EINVALIDSTATE);
}

static coil_ret is_true(void *unused)
{
    return truth;
}

static coil_ret hold_wait_for_note(void *tag)
{
    coil_ret rc = coil_condition_acquire(&cond);
    if (!coil_iserr(rc))
        rc = coil_condition_wait_for(&cond, is_true, NULL);
    if (coil_iserr(rc))
        return rc;
    note("%s", (char *)tag);
    return coil_condition_release(&cond);
}

static void hold_notify_release(size_t n)
{
    assert_int_equal(coil_condition_acquire(&cond), 0);
    assert_int_equal(coil_condition_notify(&cond, n), 0);
    assert_int_equal(coil_condition_release(&cond), 0);
}

PLAY(condition_test_wait_for)
{
    begin();
    coil_task *t = spawn(hold_wait_for_note, "1");
    turn();
    assert_trace("");
    hold_notify_release(1);
    turn();
    assert_trace("");

    truth = true;
    hold_notify_release(1);
    turn();
    assert_trace("1");
    end_well(t);
}

static coil_ret three(void *unused)
{
    return 3;
}

PLAY(condition_test_wait_for_unacquired)
{
    begin();
    assert_int_equal(coil_condition_wait_for(&cond, three, NULL), 3);
    assert_int_equal(coil_condition_wait_for(&cond, is_true, NULL), COIL_EINVALIDSTATE);
}

static coil_ret hold_wait_note_release(void *tag)
{
    coil_ret rc = hold_wait_note(tag);
    return coil_iserr(rc) ? rc : coil_condition_release(&cond);
}

PLAY(condition_test_notify)
{
    begin();
    coil_task *t1 = spawn(hold_wait_note_release, "1");
    coil_task *t2 = spawn(hold_wait_note_release, "2");
    coil_task *t3 = spawn(hold_wait_note_release, "3");
    turn();
    assert_trace("");
    hold_notify_release(1);
    turn();
    assert_trace("1");

    assert_int_equal(coil_condition_acquire(&cond), 0);
    assert_int_equal(coil_condition_notify(&cond, 1), 0);
    assert_int_equal(coil_condition_notify(&cond, 2048), 0);
    assert_int_equal(coil_condition_release(&cond), 0);
    turn();
    assert_trace("1 2 3");
    end_well(t1);
    end_well(t2);
    end_well(t3);
}

PLAY(condition_test_notify_all)
{
    begin();
    coil_task *t1 = spawn(hold_wait_note_release, "1");
    coil_task *t2 = spawn(hold_wait_note_release, "2");
    turn();
    assert_trace("");
    assert_int_equal(coil_condition_acquire(&cond), 0);
    assert_int_equal(coil_condition_notify_all(&cond), 0);
    assert_int_equal(coil_condition_release(&cond), 0);
    turn();
    assert_trace("1 2");
    end_well(t1);
    end_well(t2);
}

PLAY(condition_test_notify_unacquired)
{
    begin();
    assert_int_equal(coil_condition_notify(&cond, 1), COIL_EINVALIDSTATE);
}

PLAY(condition_test_notify_all_unacquired)
{
    begin();
    assert_int_equal(coil_condition_notify_all(&cond), COIL_EINVALIDSTATE);
}

PLAY(condition_test_repr)
{
    begin();
    assert_string_equal(repr_cond(), "condition [unlocked]");
    coil_task *t1 = spawn(hold_wait_note_release, "1");
    turn();
    assert_string_equal(repr_cond(), "condition [unlocked, waiters:1]");
    coil_task *t2 = spawn(hold_wait_note_release, "2");
    turn();
    assert_int_equal(coil_condition_acquire(&cond), 0);
    assert_string_equal(repr_cond(), "condition [locked, waiters:2]");
    assert_int_equal(coil_condition_notify_all(&cond), 0);
    assert_int_equal(coil_condition_release(&cond), 0);
    assert_int_equal(end_of(t1), 0);
    assert_int_equal(end_of(t2), 0);
}

PLAY(condition_test_context_manager)
{
    begin();
    assert_true(!coil_condition_locked(&cond));
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        assert_true(coil_condition_locked(&cond));
    }
    assert_int_equal(rc, 0);
    assert_true(!coil_condition_locked(&cond));
}

PLAY(condition_test_explicit_lock)
{
    coil_lock lock = COIL_LOCK;
    cond = (coil_condition)COIL_CONDITION(&lock);
    coil_ret rc;
    assert_true(!coil_lock_locked(&lock) && !coil_condition_locked(&cond));
    coil_with_condition(rc, &cond)
    {
        assert_true(coil_lock_locked(&lock) && coil_condition_locked(&cond));
    }
    assert_true(!coil_lock_locked(&lock) && !coil_condition_locked(&cond));
    coil_with_lock(rc, &lock)
    {
        assert_true(coil_lock_locked(&lock) && coil_condition_locked(&cond));
    }
    assert_true(!coil_lock_locked(&lock) && !coil_condition_locked(&cond));
}

static coil_ret cancelled_after_half_a_second(void *unused)
{
    coil_ret rc;
    later(0.5, cancel_task, coil_current_task());
    coil_with_condition(rc, &cond)
    {
        rc = coil_condition_wait(&cond);
        assert_true(coil_condition_locked(&cond));
    }
    return rc;
}

PLAY(condition_test_timeout_in_block)
{
    begin();
    assert_int_equal(end_of(spawn(cancelled_after_half_a_second, NULL)), -ECANCELED);
    assert_true(!coil_condition_locked(&cond));
}

/* What the waiting call said the moment it returned. */
static char said[64];

static coil_ret wait_for_and_hear(void *unused)
{
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        rc = coil_condition_wait_for(&cond, is_true, NULL);
        assert_int_equal(rc, -ECANCELED);
        snprintf(said, sizeof said, "%s", coil_last_error()->message);
    }
    return rc;
}

PLAY(condition_test_cancelled_error_wakeup)
{
    begin();
    coil_task *task = spawn(wait_for_and_hear, NULL);
    turn();
    coil_task_cancel(task, "foo");
    assert_int_equal(end_of(task), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "foo");
    assert_string_equal(said, "foo");
}

PLAY(condition_test_cancelled_error_re_aquire)
{
    begin();
    coil_task *task = spawn(wait_for_and_hear, NULL);
    turn();
    assert_int_equal(coil_condition_acquire(&cond), 0);
    truth = true;
    assert_int_equal(coil_condition_notify(&cond, 1), 0);
    turn(); /* it wants the lock */
    coil_task_cancel(task, "foo");
    assert_int_equal(coil_condition_release(&cond), 0);
    assert_int_equal(end_of(task), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "foo");
    assert_string_equal(said, "foo");
}

/* ---- one item, two consumers, one of them cancelled at the worst moment ---- */

static int stock;

static coil_ret stock_is_set(void *unused)
{
    return stock != 0;
}

static coil_ret stock_is_zero(void *unused)
{
    return stock == 0;
}

static coil_ret consumer(void *unused)
{
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        while (!coil_iserr(rc = coil_condition_wait_for(&cond, stock_is_set, NULL)) && stock > 0)
            stock--;
    }
    return coil_iserr(rc) ? rc : 0;
}

static void cancel_the_first(bool after_a_turn)
{
    begin();
    stock = 0;
    coil_task *c[] = {spawn(consumer, NULL), spawn(consumer, NULL)};
    turn();
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        stock++;
        assert_int_equal(coil_condition_notify(&cond, 1), 0);
        if (after_a_turn)
            turn(); /* it is woken and wants the lock */
        cancel(c[0]);
        /* Time for the item to be consumed; it is not if the notification got lost. */
        later(0.01, cancel_task, coil_current_task());
        assert_int_equal(coil_condition_wait_for(&cond, stock_is_zero, NULL), -ECANCELED);
        assert_int_equal(coil_task_uncancel(coil_current_task()), 0);
        assert_int_equal(stock, 0);
        stock = -1;
        assert_int_equal(coil_condition_notify_all(&cond), 0);
    }
    assert_int_equal(end_of(c[1]), 0);
    assert_int_equal(end_of(c[0]), -ECANCELED);
}

PLAY(condition_test_cancelled_wakeup)
{
    cancel_the_first(false);
}

PLAY(condition_test_cancelled_wakeup_relock)
{
    cancel_the_first(true);
}

COIL_TEST_MAIN()
