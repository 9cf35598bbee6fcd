/* SPDX-License-Identifier: MIT
 *
 * test_condition.c: Condition. */
#include "play.h"

#include "task/task.h"

#include <coil/sync.h>

static coil_condition cond;

static coil_ret hold_wait_release(void *tag)
{
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        rc = coil_condition_wait(&cond);
        assert_true(coil_condition_locked(&cond));
        note("%s%s", coil_iserr(rc) ? "-" : "", (char *)tag);
    }
    return rc;
}

static void take(void)
{
    assert_int_equal(coil_condition_acquire(&cond), 0);
}

static void release(void)
{
    assert_int_equal(coil_condition_release(&cond), 0);
}

static void notify(size_t n)
{
    assert_int_equal(coil_condition_notify(&cond, n), 0);
}

/* `n` tasks named 1, 2, ... wait for the condition. */
static void line_up(coil_task **tasks, int n)
{
    static const char *const tags[] = {"1", "2", "3", "4", "5"};
    cond = (coil_condition){0};
    for (int i = 0; i < n; i++)
        tasks[i] = spawn(hold_wait_release, tags[i]);
    turn();
    turn();
}

static void all_gone(coil_task **tasks, int n)
{
    for (int i = 0; i < n; i++)
        coil_ignore(end_of(tasks[i]));
    char text[64];
    coil_condition_repr(&cond, text, sizeof text);
    assert_string_equal(text, "condition [unlocked]");
}

PLAY(condition_notify_wakes_as_many_as_it_says_in_order)
{
    coil_task *t[4];
    line_up(t, 4);
    take();
    notify(0);
    notify(2);
    release();
    turn();
    turn();
    assert_trace("1 2");
    take();
    notify(100);
    release();
    all_gone(t, 4);
    assert_trace("1 2 3 4");
}

PLAY(condition_notify_passes_over_who_is_done_already)
{
    coil_task *t[3];
    line_up(t, 3);
    cancel(t[0]);
    take();
    notify(1); /* for the second: the first is on its way out */
    notify(1); /* for the third */
    release();
    all_gone(t, 3);
    assert_trace("-1 2 3");
}

PLAY(condition_notification_overtaken_by_a_cancel_goes_to_the_next)
{
    coil_task *t[2];
    line_up(t, 2);
    take();
    notify(1);
    cancel(t[0]);
    release();
    all_gone(t, 2);
    assert_trace("-1 2");
}

PLAY(condition_cancel_without_a_notification_wakes_the_next_one_too)
{
    coil_task *t[2];
    line_up(t, 2);
    cancel(t[0]);
    all_gone(t, 2);
    assert_trace("-1 2"); /* a wake-up without a cause, which the rules allow */
}

static char said[64];

static coil_ret wait_and_hear(void *unused)
{
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        rc = coil_condition_wait(&cond);
        assert_true(coil_condition_locked(&cond));
        snprintf(said, sizeof said, "%s", coil_last_error()->message);
    }
    return rc;
}

PLAY(condition_wait_takes_the_lock_again_through_any_number_of_cancels)
{
    cond = (coil_condition){0};
    coil_task *t = spawn(wait_and_hear, NULL);
    turn();
    take();
    coil_task_cancel(t, "first");
    turn();
    coil_task_cancel(t, "second");
    turn();
    coil_task_cancel(t, "third");
    turn();
    turn();
    assert_false(coil_future_done(t));
    release();
    assert_int_equal(end_of(t), -ECANCELED);
    assert_string_equal(said, "third");
    assert_false(coil_condition_locked(&cond));
}

static coil_ret fails(void *unused)
{
    return -3333;
}

PLAY(condition_predicate_may_fail_and_that_is_what_wait_for_returns)
{
    cond = (coil_condition){0};
    take();
    assert_int_equal(coil_condition_wait_for(&cond, fails, NULL), -3333);
    assert_true(coil_condition_locked(&cond));
    release();
}

PLAY(condition_without_the_lock_refuses_wait_and_notify)
{
    cond = (coil_condition){0};
    assert_int_equal(coil_condition_wait(&cond), COIL_EINVALIDSTATE);
    assert_int_equal(coil_condition_notify(&cond, 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_condition_notify_all(&cond), COIL_EINVALIDSTATE);
    assert_int_equal(coil_condition_release(&cond), COIL_EINVALIDSTATE);
}

static coil_condition other;

static coil_ret wait_for_the_other(void *unused)
{
    coil_ret rc;
    coil_with_condition(rc, &other)
    {
        rc = coil_condition_wait(&other);
        note("other");
    }
    return rc;
}

PLAY(conditions_may_share_a_lock_and_have_lines_of_their_own)
{
    coil_lock lock = COIL_LOCK;
    cond = (coil_condition)COIL_CONDITION(&lock);
    other = (coil_condition)COIL_CONDITION(&lock);
    coil_task *t[] = {spawn(hold_wait_release, "one"), spawn(wait_for_the_other, NULL)};
    turn();
    take();
    assert_true(coil_condition_locked(&other));
    assert_int_equal(coil_condition_notify_all(&other), 0);
    release();
    assert_int_equal(end_of(t[1]), 0);
    assert_trace("other");
    take();
    notify(1);
    release();
    assert_int_equal(end_of(t[0]), 0);
    assert_trace("other one");
}

static void notify_callback(void *unused)
{
    assert_int_equal(coil_condition_notify(&cond, 1), 0);
    assert_int_equal(coil_condition_wait(&cond), COIL_ENOTASK);
}

PLAY(condition_may_be_notified_in_a_callback)
{
    coil_task *t[1];
    line_up(t, 1);
    take();
    soon(notify_callback, NULL);
    turn();
    release();
    all_gone(t, 1);
    assert_trace("1");
}

/* ---- loops that close ---- */

static void quiet(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

static coil_ret hold_for_ever(void *unused)
{
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        rc = coil_sleep(COIL_FOREVER);
        note("holder finds it %s", coil_condition_locked(&cond) ? "locked" : "free");
    }
    return rc;
}

static coil_ret wait_for_ever(void *unused)
{
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        rc = coil_condition_wait(&cond);
        note("waiter finds it %s", coil_condition_locked(&cond) ? "locked" : "free");
    }
    return rc;
}

static coil_ret waiters_only(void *unused)
{
    coil_unref(spawn(wait_for_ever, NULL));
    coil_unref(spawn(wait_for_ever, NULL));
    turn();
    return 0;
}

static coil_ret holder_after_waiter(void *unused)
{
    coil_unref(spawn(wait_for_ever, NULL));
    turn();
    coil_unref(spawn(hold_for_ever, NULL));
    turn();
    return 0;
}

static void close_under(coil_fn fn)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, quiet, NULL);
    play_trace[0] = '\0';
    cond = (coil_condition){0};
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(fn, NULL)), 0);
    coil_loop_free(loop);
    assert_false(coil_condition_locked(&cond));
}

COIL_TEST_PLAIN(condition_line_is_left_when_the_loop_closes)
{
    close_under(waiters_only);
    assert_trace("waiter finds it locked waiter finds it locked");
    /* Newest first: the holder lets go, then the waiter takes the free lock back. */
    close_under(holder_after_waiter);
    assert_trace("holder finds it locked waiter finds it locked");
}

static coil_ret sleep_then_hold(void *unused)
{
    turn();
    return hold_for_ever(NULL);
}

static coil_ret older_one_holds(void *unused)
{
    coil_unref(spawn(sleep_then_hold, NULL));
    coil_unref(spawn(wait_for_ever, NULL));
    turn();
    turn();
    return 0;
}

/* The waiter is unwound first, while the other has the lock: its block must not give that back. */
COIL_TEST_PLAIN(condition_unwound_without_its_lock_leaves_the_holder_alone)
{
    close_under(older_one_holds);
    assert_trace("waiter finds it locked holder finds it locked");
}

COIL_TEST_MAIN()
