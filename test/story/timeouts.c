/* SPDX-License-Identifier: MIT
 *
 * timeouts.c: asyncio's test_timeouts and test_waitfor, by the names their tests have there.
 *
 * Left out, with why: the tests of repr; already_entered, double_enter and not_entered, since a scope begins
 * entered; test_timeout_exception_context, since an error has a cause only where the program says so. */
#include "../unit/combine/stage.h"

enum { ZERO_DIVISION = COIL_EUSER, KEY_ERROR = COIL_EUSER - 1, FOO = COIL_EUSER - 2 };

static coil_task *self(void)
{
    return coil_current_task();
}

static double now(void)
{
    return coil_loop_time(NULL);
}

/* ---- timeouts ---- */

STAGE(test_timeout_basic)
{
    coil_timeout(tm, 0.01);
    FACT(coil_timeout_exit(&tm, coil_sleep(10)), -ETIMEDOUT);
    TRUE(coil_timeout_expired(&tm));
    return 0;
}

STAGE(test_timeout_at_basic)
{
    double deadline = now() + 0.01;
    coil_timeout_at(tm, deadline);
    FACT(coil_timeout_exit(&tm, coil_sleep(10)), -ETIMEDOUT);
    TRUE(coil_timeout_expired(&tm));
    TRUE(fabs(coil_timeout_when(&tm) - deadline) < 1e-6);
    return 0;
}

STAGE(test_nested_timeouts)
{
    double deadline = now() + 0.01;
    coil_timeout_at(tm1, deadline);
    coil_timeout_at(tm2, deadline);
    coil_ret rc = coil_timeout_exit(&tm2, coil_sleep(10));
    FACT(rc, -ECANCELED);
    FACT(coil_timeout_exit(&tm1, rc), -ETIMEDOUT);
    TRUE(coil_timeout_expired(&tm1));
    TRUE(coil_timeout_expired(&tm2));
    return 0;
}

STAGE(test_timeout_not_called)
{
    coil_timeout(tm, 10);
    FACT(coil_timeout_exit(&tm, coil_sleep(0.01)), 0);
    FALSE(coil_timeout_expired(&tm));
    TRUE(coil_timeout_when(&tm) > now());
    return 0;
}

STAGE(test_timeout_disabled_and_at_disabled)
{
    coil_timeout(tm, COIL_FOREVER);
    FACT(coil_timeout_exit(&tm, coil_sleep(0.01)), 0);
    FALSE(coil_timeout_expired(&tm));
    TRUE(isinf(coil_timeout_when(&tm)));
    coil_timeout_at(at, COIL_FOREVER);
    FACT(coil_timeout_exit(&at, coil_sleep(0.01)), 0);
    TRUE(isinf(coil_timeout_when(&at)));
    return 0;
}

STAGE(test_timeout_zero)
{
    double t0 = now();
    coil_timeout(tm, 0);
    FACT(coil_timeout_exit(&tm, coil_sleep(10)), -ETIMEDOUT);
    TRUE(coil_timeout_expired(&tm));
    TRUE(t0 <= coil_timeout_when(&tm) + 1e-6 && coil_timeout_when(&tm) <= now() + 1e-6);
    return 0;
}

STAGE(test_timeout_zero_sleep_zero)
{
    coil_timeout(tm, 0);
    FACT(coil_timeout_exit(&tm, coil_sleep(0)), -ETIMEDOUT);
    TRUE(coil_timeout_expired(&tm));
    return 0;
}

STAGE(test_timeout_in_the_past_sleep_zero)
{
    double t0 = now();
    coil_timeout(tm, -11);
    FACT(coil_timeout_exit(&tm, coil_sleep(0)), -ETIMEDOUT);
    TRUE(coil_timeout_expired(&tm));
    TRUE(coil_timeout_when(&tm) < t0);
    return 0;
}

STAGE(test_foreign_exception_passed)
{
    coil_timeout(tm, 0.01);
    FACT(coil_timeout_exit(&tm, coil_fail(KEY_ERROR, "key")), KEY_ERROR);
    FALSE(coil_timeout_expired(&tm));
    return 0;
}

STAGE(test_foreign_exception_on_timeout)
{
    coil_timeout(tm, 0.01);
    coil_ignore(coil_sleep(1));
    FACT(coil_timeout_exit(&tm, coil_fail_from(ZERO_DIVISION, "1/0")), ZERO_DIVISION);
    FACT(coil_last_error()->cause->code, -ETIMEDOUT);
    FACT(coil_last_error()->cause->cause->code, -ECANCELED);
    return 0;
}

STAGE(test_foreign_exception_on_timeout_2)
{
    coil_timeout(tm, 0.01);
    coil_ignore(coil_sleep(1));
    coil_fail_from(KEY_ERROR, "key");
    FACT(coil_timeout_exit(&tm, coil_fail_from(ZERO_DIVISION, "1/0")), ZERO_DIVISION);
    const coil_error *e = coil_last_error();
    FACT(e->cause->code, KEY_ERROR);
    FACT(e->cause->cause->code, -ETIMEDOUT);
    FACT(e->cause->cause->cause->code, -ECANCELED);
    return 0;
}

STAGE(test_foreign_cancel_doesnt_timeout_if_not_expired)
{
    coil_timeout(tm, 10);
    coil_task_cancel(self(), NULL);
    FACT(coil_timeout_exit(&tm, coil_sleep(10)), -ECANCELED);
    FALSE(coil_timeout_expired(&tm));
    FACT(coil_task_uncancel(self()), 0);
    return 0;
}

static coil_ret time_out_inside(void *arg)
{
    coil_timeout(tm, 0.001);
    FACT(coil_timeout_exit(&tm, coil_sleep(10)), -ETIMEDOUT);
    return 0;
}

STAGE(test_outer_task_is_not_cancelled)
{
    coil_task *t = coil_create_task(time_out_inside, NULL);
    FACT(coil_await(t), 0);
    FALSE(coil_future_cancelled(t));
    coil_unref(t);
    return 0;
}

STAGE(test_nested_timeouts_concurrent)
{
    coil_timeout(outer, 0.002);
    coil_timeout(inner, 0.1);
    busy(0.01); /* crunching numbers */
    coil_ret rc = coil_timeout_exit(&inner, coil_sleep(1));
    FACT(rc, -ECANCELED); /* the inner one's time is not up: the outer one answers */
    FACT(coil_timeout_exit(&outer, rc), -ETIMEDOUT);
    return 0;
}

STAGE(test_nested_timeouts_loop_busy)
{
    double t0 = now();
    coil_timeout(outer, 0.1);
    coil_timeout(inner, 0.01);
    busy(0.1);
    coil_ret rc = coil_timeout_exit(&inner, coil_sleep(1));
    TRUE(rc == -ETIMEDOUT || rc == -ECANCELED);
    if (rc == -ETIMEDOUT)
        rc = coil_sleep(10);
    FACT(coil_timeout_exit(&outer, rc), -ETIMEDOUT);
    TRUE(now() <= t0 + 1);
    return 0;
}

static coil_timeout_scope *entered;
static coil_future *is_entered;

static coil_ret body_of_reschedule(void *arg)
{
    coil_timeout_at(tm, *(double *)arg);
    entered = &tm;
    FACT(coil_future_set_result(is_entered, 1), 0);
    coil_ret rc = coil_sleep(50);
    FALSE(coil_timeout_expired(&tm));
    return coil_timeout_exit(&tm, rc);
}

STAGE(test_reschedule)
{
    double deadline1 = now() + 10, deadline2 = deadline1 + 20;
    is_entered = new_future();
    coil_task *t = coil_create_task(body_of_reschedule, &deadline1);
    FACT(coil_await(is_entered), 1);
    TRUE(fabs(coil_timeout_when(entered) - deadline1) < 1e-6);
    FACT(coil_timeout_reschedule(entered, deadline2), 0);
    TRUE(fabs(coil_timeout_when(entered) - deadline2) < 1e-6);
    FACT(coil_timeout_reschedule(entered, COIL_FOREVER), 0);
    TRUE(isinf(coil_timeout_when(entered)));
    coil_task_cancel(t, NULL);
    FACT(coil_join(t), -ECANCELED);
    coil_unref(is_entered);
    return 0;
}

STAGE(test_nested_timeout_in_finally)
{
    coil_timeout(outer, 0.01);
    coil_ret rc = coil_sleep(1);
    coil_timeout(inner, 0.01);
    FACT(coil_timeout_exit(&inner, coil_sleep(10)), -ETIMEDOUT);
    FACT(coil_timeout_exit(&outer, rc), -ETIMEDOUT);
    FACT(coil_last_error()->cause->code, -ECANCELED);
    return 0;
}

STAGE(test_timeout_after_cancellation)
{
    coil_task_cancel(self(), NULL);
    FACT(coil_sleep(1), -ECANCELED);
    coil_timeout(tm, 0);
    FACT(coil_timeout_exit(&tm, coil_sleep(1)), -ETIMEDOUT);
    FACT(coil_task_uncancel(self()), 0);
    return 0;
}

STAGE(test_cancel_in_timeout_after_cancellation)
{
    coil_task_cancel(self(), NULL);
    FACT(coil_sleep(1), -ECANCELED);
    coil_timeout(tm, 1);
    coil_task_cancel(self(), NULL);
    FACT(coil_timeout_exit(&tm, coil_sleep(2)), -ECANCELED);
    FACT(coil_task_uncancel(self()), 1);
    FACT(coil_task_uncancel(self()), 0);
    return 0;
}

STAGE(test_timeout_finished_expired_expiring)
{
    coil_timeout(finished, 0.01);
    FACT(coil_timeout_exit(&finished, 0), 0);
    FACT(coil_timeout_reschedule(&finished, 0.02), COIL_EINVALIDSTATE);
    coil_timeout(tm, 0.01);
    coil_ret rc = coil_sleep(1);
    FACT(rc, -ECANCELED);
    FACT(coil_timeout_reschedule(&tm, 0.02), COIL_EINVALIDSTATE);
    FACT(coil_timeout_exit(&tm, rc), -ETIMEDOUT);
    FACT(coil_timeout_reschedule(&tm, 0.02), COIL_EINVALIDSTATE);
    return 0;
}

static coil_ret crash_in_cleanup(void *arg)
{
    coil_ignore(coil_sleep(2));
    return coil_fail_from(ZERO_DIVISION, "crash in clean-up");
}

STAGE(test_timeout_taskgroup)
{
    coil_timeout(tm, 0.01);
    coil_task_group(g);
    coil_group_create_task(&g, crash_in_cleanup, NULL);
    coil_ret rc = coil_group_exit(&g, coil_sleep(1));
    FACT(rc, ZERO_DIVISION);
    FACT(coil_timeout_exit(&tm, rc), ZERO_DIVISION);
    const coil_error *e = coil_last_error();
    FACT(e->members_n, 1);
    FACT(e->members[0]->code, ZERO_DIVISION);
    FACT(e->members[0]->cause->code, -ETIMEDOUT);
    FACT(e->members[0]->cause->cause->code, -ECANCELED);
    return 0;
}

/* ---- wait_for ---- */

static bool exited;

/* Sleeps its time to the end, whoever cancels it. */
static coil_ret slow_task(void *arg)
{
    double exit_at = now() + 0.2;
    while (exit_at - now() > 1e-9)
        coil_ignore(coil_sleep(exit_at - now()));
    exited = true;
    return 0;
}

static coil_ret wait_for_slow_task(void *arg)
{
    return coil_wait_for_call(slow_task, NULL, 0.4);
}

STAGE(test_asyncio_wait_for_cancelled)
{
    exited = false;
    coil_task *t = coil_create_task(wait_for_slow_task, NULL);
    turns(1);
    coil_task_cancel(t, NULL);
    FACT(coil_wait(&t, 1, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 1);
    TRUE(exited);
    coil_unref(t);
    return 0;
}

STAGE(test_asyncio_wait_for_timeout)
{
    exited = false;
    coil_ignore(coil_wait_for_call(slow_task, NULL, 0.1));
    TRUE(exited);
    return 0;
}

STAGE(test_wait_for_timeout_less_then_0_or_0_future_done)
{
    coil_future *f = done_future(7);
    FACT(coil_wait_for(f, 0), 7);
    coil_unref(f);
    return 0;
}

static coil_ret never_called(void *arg)
{
    mark("called");
    return 0;
}

STAGE(test_wait_for_timeout_less_then_0_or_0_coroutine_do_not_started)
{
    FACT(coil_wait_for_call(never_called, NULL, 0), -ETIMEDOUT);
    TRACE("");
    return 0;
}

static coil_future *started;

static coil_ret foo(void *arg)
{
    FACT(coil_future_set_result(started, 1), 0);
    coil_ret rc = coil_sleep(10);
    mark("foo ends");
    return rc;
}

STAGE(test_wait_for_timeout_less_then_0_or_0)
{
    for (int timeout = 0; timeout >= -1; timeout--) {
        started = new_future();
        coil_task *t = coil_create_task(foo, NULL);
        FACT(coil_await(started), 1);
        FACT(coil_wait_for(t, timeout), -ETIMEDOUT);
        TRUE(coil_future_cancelled(t));
        coil_unref(t);
        coil_unref(started);
    }
    return 0;
}

STAGE(test_wait_for)
{
    coil_task *t = sleeper("foo", 1000, 0);
    FACT(coil_wait_for(t, 0.1), -ETIMEDOUT);
    TRUE(coil_future_cancelled(t));
    TRUE(strstr(stage_log, "fooc") != NULL);
    coil_unref(t);
    return 0;
}

static coil_ret say_done(void *arg)
{
    return 33;
}

STAGE(test_wait_for_blocking)
{
    FACT(coil_wait_for_call(say_done, NULL, COIL_FOREVER), 33);
    return 0;
}

STAGE(test_wait_for_race_condition)
{
    coil_future *f = new_future();
    coil_loop_call_soon(NULL, finish_with_one, f, NULL);
    FACT(coil_wait_for(f, 0.2), 1);
    coil_unref(f);
    return 0;
}

static coil_ret answer_a_cancel(void *arg)
{
    coil_ret rc = coil_sleep(10);
    return rc == -ECANCELED ? 42 : rc;
}

STAGE(test_wait_for_cancellation_race_condition)
{
    FACT(coil_wait_for_call(answer_a_cancel, NULL, 0.01), 42);
    return 0;
}

STAGE(test_wait_for_cancel_suppressed)
{
    coil_task *t = coil_create_task(answer_a_cancel, NULL);
    FACT(coil_wait_for(t, 0.1), 42);
    coil_unref(t);
    return 0;
}

static coil_ret slow_cancel(void *arg)
{
    coil_ret rc = coil_sleep(10);
    coil_ignore(coil_sleep(0.1));
    exited = true;
    return rc;
}

STAGE(test_wait_for_waits_for_task_cancellation)
{
    exited = false;
    coil_task *t = coil_create_task(slow_cancel, NULL);
    FACT(coil_wait_for(t, 0.1), -ETIMEDOUT);
    TRUE(exited);
    FACT(coil_last_error()->cause->code, -ECANCELED);
    coil_unref(t);
    return 0;
}

STAGE(test_wait_for_waits_for_task_cancellation_w_timeout_0)
{
    exited = false;
    coil_task *t = coil_create_task(slow_cancel, NULL);
    FACT(coil_sleep(0.1), 0);
    FACT(coil_wait_for(t, 0), -ETIMEDOUT);
    TRUE(exited);
    FACT(coil_last_error()->cause->code, -ECANCELED);
    coil_unref(t);
    return 0;
}

static coil_ret foo_in_the_end(void *arg)
{
    coil_ignore(coil_sleep(0.2));
    return coil_fail(FOO, "foo");
}

STAGE(test_wait_for_reraises_exception_during_cancellation)
{
    coil_task *t = coil_create_task(foo_in_the_end, NULL);
    FACT(coil_wait_for(t, 0.1), FOO);
    TEXT(coil_last_error()->message, "foo");
    coil_unref(t);
    return 0;
}

struct wait_for_args {
    coil_future *future;
    double timeout;
};

static coil_ret wait_for_it(void *arg)
{
    const struct wait_for_args *a = arg;
    return coil_wait_for(a->future, a->timeout);
}

static coil_ret block(void *arg)
{
    coil_future *f = new_future();
    return coil_join(f);
}

static void cancel_wait_for(double timeout)
{
    coil_task *t = coil_create_task(block, NULL);
    struct wait_for_args args = {t, timeout};
    coil_task *w = coil_create_task(wait_for_it, &args);
    coil_loop_call_soon(NULL, cancel_it, w, NULL);
    FACT(coil_join(w), -ECANCELED);
    TRUE(coil_future_cancelled(t));
    coil_unref(t);
}

STAGE(test_cancel_blocking_wait_for)
{
    cancel_wait_for(COIL_FOREVER);
    return 0;
}

STAGE(test_cancel_wait_for)
{
    cancel_wait_for(60);
    return 0;
}

static coil_ret wait_for_then_sleep(void *task)
{
    coil_ret rc = coil_wait_for(task, 100);
    if (coil_iserr(rc))
        return rc;
    rc = coil_sleep(1);
    if (!coil_iserr(rc))
        mark("reached the end");
    return rc;
}

STAGE(test_wait_for_issue86296)
{
    coil_task *inner = coil_create_task(say_done, NULL);
    coil_task *t = coil_create_task(wait_for_then_sleep, inner);
    turns(1);
    coil_task_cancel(t, NULL);
    FACT(coil_join(t), -ECANCELED);
    TRUE(coil_future_done(inner));
    FACT(coil_await(inner), 33);
    TRACE("");
    coil_unref(inner);
    return 0;
}

/* ---- wait_for and shield ---- */

STAGE(test_zero_timeout)
{
    coil_task *t = sleeper(NULL, 0.01, 33);
    coil_future *s = coil_shield_future(t);
    FACT(coil_wait_for(s, 0), -ETIMEDOUT);
    FALSE(coil_future_done(t));
    TRUE(coil_future_cancelled(s));
    FACT(coil_sleep(0.1), 0);
    TRUE(coil_future_done(t));
    coil_unref(s);
    coil_unref(t);
    return 0;
}

STAGE(test_none_timeout)
{
    coil_task *t = sleeper(NULL, 0.1, 33);
    coil_future *s = coil_shield_future(t);
    FACT(coil_wait_for(s, COIL_FOREVER), 33);
    TRUE(coil_future_done(t));
    coil_unref(s);
    coil_unref(t);
    return 0;
}

STAGE(test_shielded_timeout)
{
    coil_task *t = sleeper(NULL, 0.1, 33);
    coil_future *s = coil_shield_future(t);
    FACT(coil_wait_for(s, 0.01), -ETIMEDOUT);
    FALSE(coil_future_done(t));
    FACT(coil_join(t), 33);
    coil_unref(s);
    return 0;
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_timeout_basic),
        T(test_timeout_at_basic),
        T(test_nested_timeouts),
        T(test_timeout_not_called),
        T(test_timeout_disabled_and_at_disabled),
        T(test_timeout_zero),
        T(test_timeout_zero_sleep_zero),
        T(test_timeout_in_the_past_sleep_zero),
        T(test_foreign_exception_passed),
        T(test_foreign_exception_on_timeout),
        T(test_foreign_exception_on_timeout_2),
        T(test_foreign_cancel_doesnt_timeout_if_not_expired),
        T(test_outer_task_is_not_cancelled),
        T(test_nested_timeouts_concurrent),
        T(test_nested_timeouts_loop_busy),
        T(test_reschedule),
        T(test_nested_timeout_in_finally),
        T(test_timeout_after_cancellation),
        T(test_cancel_in_timeout_after_cancellation),
        T(test_timeout_finished_expired_expiring),
        T(test_timeout_taskgroup),
        T(test_asyncio_wait_for_cancelled),
        T(test_asyncio_wait_for_timeout),
        T(test_wait_for_timeout_less_then_0_or_0_future_done),
        T(test_wait_for_timeout_less_then_0_or_0_coroutine_do_not_started),
        T(test_wait_for_timeout_less_then_0_or_0),
        T(test_wait_for),
        T(test_wait_for_blocking),
        T(test_wait_for_race_condition),
        T(test_wait_for_cancellation_race_condition),
        T(test_wait_for_cancel_suppressed),
        T(test_wait_for_waits_for_task_cancellation),
        T(test_wait_for_waits_for_task_cancellation_w_timeout_0),
        T(test_wait_for_reraises_exception_during_cancellation),
        T(test_cancel_blocking_wait_for),
        T(test_cancel_wait_for),
        T(test_wait_for_issue86296),
        T(test_zero_timeout),
        T(test_none_timeout),
        T(test_shielded_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
