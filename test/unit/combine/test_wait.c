/* SPDX-License-Identifier: MIT
 *
 * test_wait.c: parked until enough of some futures are done. */
#include "stage.h"

STAGE(wait_refuses_nothing_nan_and_unknown_conditions)
{
    coil_future *f = done_future(1), *none = NULL;
    FACT(coil_wait(&f, 0, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), -EINVAL);
    FACT(coil_wait(&f, 1, NAN, COIL_ALL_COMPLETED, NULL), -EINVAL);
    FACT(coil_wait(&f, 1, COIL_FOREVER, (enum coil_when)9, NULL), -EINVAL);
    FACT(coil_wait(&none, 1, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), -EINVAL);
    coil_unref(f);
    return 0;
}

STAGE(wait_tells_which_are_done)
{
    coil_task *three[] = {sleeper(NULL, 0.3, 0), sleeper(NULL, 0.1, 0), sleeper(NULL, 0.2, -EIO)};
    bool done[3] = {true, true, true};
    FACT(coil_wait(three, 3, COIL_FOREVER, COIL_FIRST_COMPLETED, done), 1);
    TRUE(!done[0] && done[1] && !done[2]);
    FACT(coil_wait(three, 3, COIL_FOREVER, COIL_FIRST_EXCEPTION, done), 2);
    TRUE(!done[0] && done[1] && done[2]);
    FACT(coil_wait(three, 3, COIL_FOREVER, COIL_ALL_COMPLETED, done), 3);
    TRUE(done[0] && done[1] && done[2]);
    for (int i = 0; i < 3; i++)
        coil_unref(three[i]);
    return 0;
}

STAGE(wait_first_exception_ignores_cancelled_members)
{
    coil_task *two[] = {sleeper(NULL, 10, 0), sleeper(NULL, 1, 0)};
    turns(1);
    coil_task_cancel(two[0], NULL);
    FACT(coil_wait(two, 2, COIL_FOREVER, COIL_FIRST_EXCEPTION, NULL), 2);
    coil_unref(two[0]);
    coil_unref(two[1]);
    return 0;
}

STAGE(wait_does_not_look_at_errors)
{
    coil_task *t = walk("t", 0, -EIO);
    FACT(coil_wait(&t, 1, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 1);
    coil_unref(t);
    TRUE(strstr(stage_reports, "Task exception was never retrieved") != NULL);
    stage_reports[0] = 0;
    return 0;
}

STAGE(wait_counts_places_and_waits_for_each_future_once)
{
    coil_future *f = new_future(), *g = new_future();
    coil_future *many[] = {f, g, f, f};
    bool done[4];
    coil_loop_call_soon(NULL, finish_with_one, f, NULL);
    FACT(coil_wait(many, 4, COIL_FOREVER, COIL_FIRST_COMPLETED, done), 3);
    TRUE(done[0] && !done[1] && done[2] && done[3]);
    coil_unref(f);
    coil_unref(g);
    return 0;
}

STAGE(wait_on_more_members_than_fit_the_frame)
{
    enum { N = 50 };
    coil_task *tasks[N];
    for (int i = 0; i < N; i++)
        tasks[i] = sleeper(NULL, 0.01 * (i + 1), i);
    FACT(coil_wait(tasks, N, 0.255, COIL_ALL_COMPLETED, NULL), 25);
    FACT(coil_wait(tasks, N, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), N);
    for (int i = 0; i < N; i++)
        coil_unref(tasks[i]);
    return 0;
}

STAGE(wait_out_of_time_cancels_nobody)
{
    coil_future *f = new_future();
    double before = coil_loop_time(NULL);
    FACT(coil_wait(&f, 1, 5, COIL_ALL_COMPLETED, NULL), 0);
    TRUE(coil_loop_time(NULL) - before >= 5);
    FALSE(coil_future_done(f));
    coil_unref(f);
    return 0;
}

STAGE(wait_leaves_no_timer_behind)
{
    coil_future *f = new_future();
    coil_loop_call_soon(NULL, finish_with_one, f, NULL);
    FACT(coil_wait(&f, 1, 1000, COIL_ALL_COMPLETED, NULL), 1);
    FACT(coil__running_loop->timers.n, 0);
    coil_unref(f);
    return 0;
}

static coil_ret wait_two(void *arg)
{
    coil_future **two = arg;
    return coil_wait(two, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL);
}

STAGE(wait_cancelled_between_wake_up_and_step_is_cancelled)
{
    coil_future *two[] = {new_future(), new_future()};
    coil_task *t = coil_create_task(wait_two, two);
    turns(1);
    finish_with_one(two[0]);
    finish_with_one(two[1]);
    turns(1); /* both told, the task is queued */
    coil_task_cancel(t, NULL);
    FACT(coil_join(t), -ECANCELED);
    coil_unref(two[0]);
    coil_unref(two[1]);
    return 0;
}

STAGE(wait_cancelled_takes_back_what_is_queued)
{
    coil_future *two[] = {new_future(), new_future()};
    coil_task *t = coil_create_task(wait_two, two);
    turns(1);
    coil_task_cancel(t, NULL);
    finish_with_one(two[0]); /* its slot stands behind the task's step */
    FACT(coil_join(t), -ECANCELED);
    turns(2);
    coil_unref(two[0]);
    coil_unref(two[1]);
    return 0;
}

static void drop_both(void *arg)
{
    coil_future **two = arg;
    finish_with_one(two[0]);
    finish_with_one(two[1]);
    coil_unref(two[0]);
    coil_unref(two[1]);
}

STAGE(wait_keeps_its_members_alive)
{
    coil_future *two[] = {new_future(), new_future()};
    coil_loop_call_soon(NULL, drop_both, two, NULL);
    FACT(coil_wait(two, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 2);
    return 0;
}

static void wait_belongs_into_a_task(void **state)
{
    (void)state;
    coil_loop *loop = stage_loop();
    coil_future *f = coil_loop_create_future(loop);
    assert_int_equal(coil_wait(&f, 1, 0, COIL_ALL_COMPLETED, NULL), COIL_ENOTASK);
    assert_int_equal(coil_wait_for(f, 1), COIL_ENOTASK);
    assert_int_equal(coil_shield(f), COIL_ENOTASK);
    coil_unref(f);
    coil_loop_free(loop);
}

STAGE(wait_refuses_a_future_of_another_loop)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *other = coil_new_event_loop(&opts);
    coil_future *f = coil_loop_create_future(other);
    FACT(coil_wait(&f, 1, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), COIL_EWRONGLOOP);
    FACT(coil_wait_for(f, 1), COIL_EWRONGLOOP);
    FACT(coil_wait_for(f, 0), COIL_EWRONGLOOP);
    coil_unref(f);
    coil_loop_free(other);
    return 0;
}

/* ---- wait_for ---- */

STAGE(wait_for_of_a_done_future_gives_its_result_whatever_the_time)
{
    coil_future *f = done_future(5), *bad = done_future(-EIO);
    mark("go");
    FACT(coil_wait_for(f, 0), 5);
    FACT(coil_wait_for(f, -1), 5);
    FACT(coil_wait_for(f, 1), 5);
    FACT(coil_wait_for(f, COIL_FOREVER), 5);
    FACT(coil_wait_for(f, NAN), -EINVAL);
    FACT(coil_wait_for(bad, 0), -EIO);
    mark("end");
    TRACE("0:go 0:end");
    coil_unref(f);
    coil_unref(bad);
    return 0;
}

STAGE(wait_for_with_no_time_left_and_cancelled_leaves_at_once)
{
    coil_future *f = new_future();
    coil_loop_call_soon(NULL, cancel_it, coil_current_task(), NULL);
    coil_task *stubborn = sleeper(NULL, 1, 0);
    coil_future *s = coil_shield_future(stubborn);
    coil_unref(s);
    FACT(coil_wait_for(f, 0), -ECANCELED);
    FACT(coil_task_uncancel(coil_current_task()), 0);
    TRUE(coil_future_cancelled(f));
    coil_unref(f);
    FACT(coil_join(stubborn), 0);
    return 0;
}

static coil_ret answer(void *arg)
{
    coil_ret rc = coil_sleep(*(double *)arg);
    return coil_iserr(rc) ? rc : 42;
}

STAGE(wait_for_call_runs_in_the_same_task)
{
    double short_time = 0.1, long_time = 10;
    FACT(coil_wait_for_call(answer, &short_time, 1), 42);
    FACT(coil_wait_for_call(answer, &short_time, COIL_FOREVER), 42);
    FACT(coil_wait_for_call(answer, &long_time, 1), -ETIMEDOUT);
    FACT(coil_last_error()->cause->code, -ECANCELED);
    FACT(coil_task_cancelling(coil_current_task()), 0);
    FACT(coil_wait_for_call(answer, &short_time, NAN), -EINVAL);
    FACT(coil_wait_for_call(answer, &short_time, -1), -ETIMEDOUT);
    return 0;
}

STAGE(wait_for_call_with_no_time_left_can_be_cancelled)
{
    double time = 0;
    coil_loop_call_soon(NULL, cancel_it, coil_current_task(), NULL);
    mark("go");
    FACT(coil_wait_for_call(answer, &time, 0), -ECANCELED);
    mark("end");
    TRACE("0:go 2:end");
    FACT(coil_task_uncancel(coil_current_task()), 0);
    turns(3);
    return 0;
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(wait_refuses_nothing_nan_and_unknown_conditions),
        T(wait_tells_which_are_done),
        T(wait_first_exception_ignores_cancelled_members),
        T(wait_does_not_look_at_errors),
        T(wait_counts_places_and_waits_for_each_future_once),
        T(wait_on_more_members_than_fit_the_frame),
        T(wait_out_of_time_cancels_nobody),
        T(wait_leaves_no_timer_behind),
        T(wait_cancelled_between_wake_up_and_step_is_cancelled),
        T(wait_cancelled_takes_back_what_is_queued),
        T(wait_keeps_its_members_alive),
        T(wait_belongs_into_a_task),
        T(wait_refuses_a_future_of_another_loop),
        T(wait_for_of_a_done_future_gives_its_result_whatever_the_time),
        T(wait_for_with_no_time_left_and_cancelled_leaves_at_once),
        T(wait_for_call_runs_in_the_same_task),
        T(wait_for_call_with_no_time_left_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
