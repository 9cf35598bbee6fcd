/* SPDX-License-Identifier: MIT
 *
 * test_turns.c: what happens in which turn is what happens in asyncio.
 *
 * Each expected trace is what CPython 3.13 prints for the same program, `turn:event`. */
#include "stage.h"

/* ---- gather ---- */

STAGE(gather_ends_two_turns_after_its_last_child)
{
    coil_task *both[] = {walk("a", 1, 1), walk("b", 2, 2)};
    on_done(both[0], "adone");
    on_done(both[1], "bdone");
    mark("go");
    coil_ret results[2];
    FACT(coil_gather(both, 2, results, COIL_UNREF), 0);
    mark("got[%d,%d]", (int)results[0], (int)results[1]);
    TRACE("0:go 1:a 1:b 2:a1 2:b1 3:adone 3:b2 4:bdone 5:got[1,2]");
    return 0;
}

STAGE(gather_ends_with_the_first_error_and_the_others_run_on)
{
    coil_task *both[] = {walk("a", 1, -EIO), walk("b", 5, -ENOENT)};
    mark("go");
    FACT(coil_gather(both, 2, NULL, COIL_UNREF), -EIO);
    TEXT(coil_last_error()->message, "a failed");
    mark("failed");
    for (int i = 0; i < 5; i++) {
        turns(1);
        mark("m");
    }
    TRACE("0:go 1:a 1:b 2:a1 2:b1 3:b2 4:failed 4:b3 5:m 5:b4 6:m 6:b5 7:m 8:m 9:m");
    return 0;
}

static coil_ret gather_two_sleepers(void *arg)
{
    coil_task *both[] = {sleeper("a", 10, 0), sleeper("b", 10, 0)};
    coil_ret rc = coil_gather(both, 2, NULL, COIL_UNREF | COIL_RETURN_EXCEPTIONS);
    if (rc == -ECANCELED)
        mark("gc");
    return rc;
}

STAGE(gather_cancelled_ends_after_its_children)
{
    coil_task *t = coil_create_task(gather_two_sleepers, NULL);
    mark("go");
    turns(2);
    coil_task_cancel(t, NULL);
    mark("cancel");
    FACT(coil_join(t), -ECANCELED);
    mark("end");
    TRACE("0:go 2:cancel 3:ac 3:bc 5:gc 6:end");
    return 0;
}

STAGE(gather_of_done_futures_does_not_wait)
{
    coil_future *two[] = {done_future(1), new_future()};
    coil_loop_call_soon(NULL, finish_with_one, two[1], NULL);
    mark("go");
    FACT(coil_gather(two, 2, NULL, 0), 0);
    mark("got");
    FACT(coil_gather(two, 2, NULL, COIL_UNREF), 0);
    mark("again");
    TRACE("0:go 3:got 3:again");
    return 0;
}

STAGE(gather_takes_a_cancelled_child_for_an_error)
{
    coil_future *two[] = {new_future(), new_future()};
    coil_loop_call_soon(NULL, cancel_it, two[0], NULL);
    mark("go");
    coil_future *g = coil_gather_future(two, 2, 0);
    FACT(coil_await(g), -ECANCELED);
    mark("ec%d", coil_future_cancelled(g));
    TRACE("0:go 3:ec0");
    FACT(coil_future_set_result(two[1], 1), 0);
    coil_unref(g);
    coil_unref(two[0]);
    coil_unref(two[1]);
    turns(2);
    return 0;
}

/* ---- wait ---- */

STAGE(wait_takes_two_turns_when_all_are_done)
{
    coil_future *two[] = {done_future(1), done_future(2)};
    mark("go");
    soon("s");
    FACT(coil_wait(two, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 2);
    mark("2");
    TRACE("0:go 1:s 2:2");
    coil_unref(two[0]);
    coil_unref(two[1]);
    return 0;
}

static void wait_on_two_walkers(enum coil_when when, coil_ret b_result)
{
    coil_task *two[] = {walk("a", 3, 0), walk("b", 1, b_result)};
    mark("go");
    coil_ret n = coil_wait(two, 2, COIL_FOREVER, when, NULL);
    mark("%d", (int)n);
    FACT(coil_join(two[0]), 0);
    mark("end");
    coil_unref(two[1]);
}

STAGE(wait_sees_who_is_done_when_it_goes_on)
{
    wait_on_two_walkers(COIL_FIRST_COMPLETED, 0);
    TRACE("0:go 1:a 1:b 2:a1 2:b1 3:a2 4:a3 4:2 4:end");
    return 0;
}

STAGE(wait_ends_with_the_first_exception)
{
    wait_on_two_walkers(COIL_FIRST_EXCEPTION, -EIO);
    TRACE("0:go 1:a 1:b 2:a1 2:b1 3:a2 4:a3 4:2 4:end");
    return 0;
}

STAGE(wait_with_no_time_lets_others_run_twice)
{
    coil_task *t = walk("a", 5, 0);
    mark("go");
    FACT(coil_wait(&t, 1, 0, COIL_ALL_COMPLETED, NULL), 0);
    mark("0");
    FACT(coil_join(t), 0);
    mark("end");
    TRACE("0:go 1:a 2:a1 2:0 3:a2 4:a3 5:a4 6:a5 7:end");
    return 0;
}

STAGE(wait_runs_out_of_time_in_its_place_among_timers)
{
    coil_future *f = new_future();
    mark("go");
    coil_loop_call_later(NULL, 0.02, mark_text, (void *)(uintptr_t) "before", NULL);
    FACT(coil_wait(&f, 1, 0.02, COIL_ALL_COMPLETED, NULL), 0);
    mark("0");
    TRACE("0:go 1:before 2:0");
    coil_unref(f);
    return 0;
}

static coil_ret wait_for_ever(void *future)
{
    coil_future *f = future;
    coil_ret rc = coil_wait(&f, 1, COIL_FOREVER, COIL_ALL_COMPLETED, NULL);
    if (rc == -ECANCELED)
        mark("wc");
    return rc;
}

STAGE(wait_cancelled_leaves_its_members)
{
    coil_future *f = new_future();
    coil_task *t = coil_create_task(wait_for_ever, f);
    mark("go");
    turns(1);
    coil_task_cancel(t, NULL);
    mark("c");
    FACT(coil_join(t), -ECANCELED);
    mark("end%d", coil_future_cancelled(f));
    TRACE("0:go 1:c 2:wc 3:end0");
    coil_unref(f);
    return 0;
}

/* ---- wait_for ---- */

STAGE(wait_for_with_no_time_cancels_and_sees_the_end)
{
    coil_task *t = sleeper("s", 10, 0);
    turns(1);
    mark("go");
    FACT(coil_wait_for(t, 0), -ETIMEDOUT);
    mark("to");
    TRACE("0:go 1:sc 3:to");
    coil_unref(t);
    return 0;
}

static coil_ret never(void *arg)
{
    mark("never");
    return 0;
}

STAGE(wait_for_call_with_no_time_takes_three_turns)
{
    mark("go");
    FACT(coil_wait_for_call(never, NULL, 0), -ETIMEDOUT);
    mark("to");
    TRACE("0:go 3:to");
    return 0;
}

STAGE(wait_for_expires_and_sees_the_end)
{
    coil_task *t = sleeper("s", 10, 0);
    mark("go");
    FACT(coil_wait_for(t, 0.02), -ETIMEDOUT);
    mark("to");
    TRACE("0:go 3:sc 4:to");
    coil_unref(t);
    return 0;
}

STAGE(wait_for_returns_as_await_does)
{
    coil_task *t = walk("a", 2, 5);
    mark("go");
    FACT(coil_wait_for(t, 10), 5);
    mark("r5");
    TRACE("0:go 1:a 2:a1 3:a2 4:r5");
    coil_unref(t);
    return 0;
}

/* ---- shield ---- */

STAGE(shield_returns_a_turn_later_than_await)
{
    coil_task *t = walk("a", 1, 5);
    on_done(t, "adone");
    mark("go");
    FACT(coil_shield(t), 5);
    mark("r5");
    TRACE("0:go 1:a 2:a1 3:adone 4:r5");
    coil_unref(t);
    return 0;
}

static coil_ret shield_it(void *task)
{
    coil_ret rc = coil_shield(task);
    if (rc == -ECANCELED)
        mark("wc");
    return rc;
}

STAGE(shield_cancelled_leaves_the_inner_task)
{
    coil_task *t = walk("a", 6, 5);
    coil_task *x = coil_create_task(shield_it, t);
    mark("go");
    turns(2);
    coil_task_cancel(x, NULL);
    mark("c");
    FACT(coil_join(x), -ECANCELED);
    mark("end");
    FACT(coil_join(t), 5);
    mark("t");
    TRACE("0:go 1:a 2:a1 2:c 3:a2 3:wc 4:a3 4:end 5:a4 6:a5 7:a6 8:t");
    return 0;
}

STAGE(shield_is_cancelled_with_its_inner_future)
{
    coil_future *f = new_future(), *s = coil_shield_future(f);
    coil_loop_call_soon(NULL, cancel_it, f, NULL);
    on_done(s, "sdone");
    mark("go");
    FACT(coil_await(s), -ECANCELED);
    mark("c%d", coil_future_cancelled(s));
    TRACE("0:go 3:sdone 3:c1");
    coil_unref(s);
    coil_unref(f);
    return 0;
}

/* ---- as_completed ---- */

STAGE(as_completed_hands_out_in_the_order_of_finishing)
{
    coil_task *tasks[] = {walk("a", 3, 0), walk("b", 1, 1), walk("c", 1, 2)};
    coil_future *f;
    coil_as_completed it;
    mark("go");
    FACT(coil_as_completed_init(&it, tasks, 3, COIL_FOREVER), 0);
    while (coil_as_completed_next(&it, &f) > 0)
        mark("got%c", (char)('a' + coil_future_result(f)));
    mark("end");
    TRACE("0:go 1:a 1:b 1:c 2:a1 2:b1 2:c1 3:a2 4:a3 4:gotb 4:gotc 6:gota 6:end");
    coil_as_completed_close(&it);
    for (int i = 0; i < 3; i++)
        coil_unref(tasks[i]);
    return 0;
}

STAGE(as_completed_tells_each_dropped_one_of_the_time)
{
    coil_future *three[] = {done_future(1), new_future(), new_future()}, *f;
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, three, 3, 0.02), 0);
    mark("go");
    for (int i = 0; i < 4; i++) {
        coil_ret rc = coil_as_completed_next(&it, &f);
        mark("%s", rc == 1 ? "got" : rc == -ETIMEDOUT ? "to" : rc == 0 ? "stop" : "?");
    }
    TRACE("0:go 2:got 4:to 4:to 4:stop");
    coil_as_completed_close(&it);
    for (int i = 0; i < 3; i++)
        coil_unref(three[i]);
    return 0;
}

/* ---- timeouts ---- */

STAGE(timeout_of_zero_fires_in_its_place_among_callbacks)
{
    mark("go");
    soon("before");
    coil_timeout(tm, 0);
    soon("after");
    coil_ret rc = coil_sleep(0);
    FACT(rc, -ECANCELED);
    FACT(coil_timeout_exit(&tm, rc), -ETIMEDOUT);
    mark("to");
    TRACE("0:go 1:before 1:after 1:to");
    return 0;
}

STAGE(timeout_of_zero_ends_a_long_sleep_in_two_turns)
{
    mark("go");
    coil_timeout(tm, 0);
    soon("after");
    FACT(coil_timeout_exit(&tm, coil_sleep(10)), -ETIMEDOUT);
    mark("to");
    TRACE("0:go 1:after 2:to");
    return 0;
}

STAGE(timeout_keeps_the_place_it_took_on_entering)
{
    mark("go");
    coil_timeout(tm, 0.02);
    coil_loop_call_later(NULL, 0.02, mark_text, (void *)(uintptr_t) "later", NULL);
    FACT(coil_timeout_exit(&tm, coil_sleep(10)), -ETIMEDOUT);
    mark("to");
    TRACE("0:go 1:later 2:to");
    return 0;
}

/* ---- groups ---- */

STAGE(group_ends_two_turns_after_its_last_child)
{
    mark("go");
    coil_task_group(g);
    walk_in(&g, "a", 2, 0);
    walk_in(&g, "b", 1, 0);
    mark("body");
    FACT(coil_group_exit(&g, 0), 0);
    mark("end");
    TRACE("0:go 0:body 1:a 1:b 2:a1 2:b1 3:a2 5:end");
    return 0;
}

STAGE(group_whose_child_fails_cancels_siblings_and_body)
{
    mark("go");
    coil_task_group(g);
    walk_in(&g, "a", 1, -EIO);
    sleeper_in(&g, "b", 10, 0);
    coil_ret rc = take_steps(&(struct steps){"m", 0, 0, 10});
    FACT(coil_group_exit(&g, rc), -EIO);
    mark("eg");
    turns(1);
    mark("end");
    TRACE("0:go 1:a 2:a1 4:bc 4:mc 6:eg 7:end");
    return 0;
}

STAGE(group_whose_last_child_fails_leaves_no_cancel_behind)
{
    mark("go");
    coil_task_group(g);
    walk_in(&g, "a", 1, -EIO);
    FACT(coil_group_exit(&g, 0), -EIO);
    mark("eg");
    turns(1);
    mark("end%d", coil_task_cancelling(coil_current_task()));
    TRACE("0:go 1:a 2:a1 4:eg 5:end0");
    return 0;
}

STAGE(group_whose_body_fails_cancels_its_children)
{
    mark("go");
    coil_task_group(g);
    sleeper_in(&g, "b", 10, 0);
    turns(1);
    mark("raise");
    FACT(coil_group_exit(&g, coil_fail(-EIO, "the body")), -EIO);
    mark("eg");
    TRACE("0:go 1:raise 2:bc 4:eg");
    return 0;
}

static coil_ret group_of_two_sleepers(void *arg)
{
    coil_task_group(g);
    sleeper_in(&g, "a", 10, 0);
    sleeper_in(&g, "b", 10, 0);
    coil_ret rc = coil_group_exit(&g, 0);
    if (rc == -ECANCELED)
        mark("rc");
    return rc;
}

STAGE(group_cancelled_from_outside_ends_after_its_children)
{
    coil_task *t = coil_create_task(group_of_two_sleepers, NULL);
    mark("go");
    turns(2);
    coil_task_cancel(t, NULL);
    mark("c");
    FACT(coil_join(t), -ECANCELED);
    mark("end");
    TRACE("0:go 2:c 4:ac 4:bc 6:rc 7:end");
    return 0;
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(gather_ends_two_turns_after_its_last_child),
        T(gather_ends_with_the_first_error_and_the_others_run_on),
        T(gather_cancelled_ends_after_its_children),
        T(gather_of_done_futures_does_not_wait),
        T(gather_takes_a_cancelled_child_for_an_error),
        T(wait_takes_two_turns_when_all_are_done),
        T(wait_sees_who_is_done_when_it_goes_on),
        T(wait_ends_with_the_first_exception),
        T(wait_with_no_time_lets_others_run_twice),
        T(wait_runs_out_of_time_in_its_place_among_timers),
        T(wait_cancelled_leaves_its_members),
        T(wait_for_with_no_time_cancels_and_sees_the_end),
        T(wait_for_call_with_no_time_takes_three_turns),
        T(wait_for_expires_and_sees_the_end),
        T(wait_for_returns_as_await_does),
        T(shield_returns_a_turn_later_than_await),
        T(shield_cancelled_leaves_the_inner_task),
        T(shield_is_cancelled_with_its_inner_future),
        T(as_completed_hands_out_in_the_order_of_finishing),
        T(as_completed_tells_each_dropped_one_of_the_time),
        T(timeout_of_zero_fires_in_its_place_among_callbacks),
        T(timeout_of_zero_ends_a_long_sleep_in_two_turns),
        T(timeout_keeps_the_place_it_took_on_entering),
        T(group_ends_two_turns_after_its_last_child),
        T(group_whose_child_fails_cancels_siblings_and_body),
        T(group_whose_last_child_fails_leaves_no_cancel_behind),
        T(group_whose_body_fails_cancels_its_children),
        T(group_cancelled_from_outside_ends_after_its_children),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
