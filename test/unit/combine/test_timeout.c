/* SPDX-License-Identifier: MIT
 *
 * test_timeout.c: deadlines that are scopes. */
#include "stage.h"

static coil_task *self(void)
{
    return coil_current_task();
}

STAGE(timeout_arms_no_timer_for_a_body_that_never_waits)
{
    coil_loop *loop = coil__running_loop;
    for (int i = 0; i < 3; i++) {
        coil_timeout(tm, 5);
        FACT(loop->timers.n, 0);
        FACT(coil_timeout_exit(&tm, 7), 7);
    }
    coil_timeout(tm, 5);
    turns(1);
    FACT(loop->timers.n, 1);
    FACT(coil_timeout_exit(&tm, 0), 0);
    FACT(loop->timers.n, 0);
    return 0;
}

STAGE(timeout_turns_its_own_cancel_into_timed_out)
{
    coil_timeout(tm, 1);
    coil_ret rc = coil_sleep(10);
    FACT(rc, -ECANCELED);
    FACT(coil_task_cancelling(self()), 1);
    TRUE(coil_timeout_expired(&tm));
    FACT(coil_timeout_exit(&tm, rc), -ETIMEDOUT);
    FACT(coil_last_error()->cause->code, -ECANCELED);
    FACT(coil_task_cancelling(self()), 0);
    TRUE(coil_timeout_expired(&tm));
    turns(1);
    return 0;
}

STAGE(timeout_passes_values_and_other_errors)
{
    coil_timeout(a, 1);
    FACT(coil_timeout_exit(&a, 5), 5);
    FALSE(coil_timeout_expired(&a));
    coil_timeout(b, 1);
    FACT(coil_timeout_exit(&b, -EIO), -EIO);
    coil_timeout(c, COIL_FOREVER);
    FACT(coil_timeout_exit(&c, coil_sleep(1000)), 0);
    FALSE(coil_timeout_expired(&c));
    return 0;
}

STAGE(timeout_with_a_value_after_expiry_keeps_the_value)
{
    coil_timeout(tm, 1);
    FACT(coil_sleep(10), -ECANCELED);
    FACT(coil_timeout_exit(&tm, 3), 3);
    TRUE(coil_timeout_expired(&tm));
    FACT(coil_task_cancelling(self()), 0);
    turns(1);
    return 0;
}

STAGE(timeout_that_falls_due_behind_the_last_step_is_taken_back)
{
    coil_timeout(tm, 1);
    busy(2);
    FACT(coil_sleep(0), 0); /* due by then, but its slot stands behind our step */
    FACT(coil_timeout_exit(&tm, 0), 0);
    FALSE(coil_timeout_expired(&tm));
    turns(2);
    FACT(coil_task_cancelling(self()), 0);
    return 0;
}

STAGE(timeout_left_with_its_slot_queued_takes_it_back)
{
    coil_timeout(tm, 0);
    FACT(coil_timeout_exit(&tm, 0), 0);
    turns(2);
    FALSE(coil_timeout_expired(&tm));
    return 0;
}

static coil_ret past_the_scope(double body)
{
    coil_timeout(tm, 1);
    coil_ret rc = coil_sleep(body);
    return coil_iserr(rc) ? rc : 9;
}

STAGE(timeout_left_by_return_ends_and_converts_nothing)
{
    FACT(past_the_scope(0.5), 9);
    FACT(coil__running_loop->timers.n, 0);
    FACT(past_the_scope(5), -ECANCELED);
    FACT(coil_task_cancelling(self()), 0);
    turns(2);
    return 0;
}

STAGE(timeout_exit_twice_does_nothing_more)
{
    coil_timeout(tm, 1);
    coil_ret rc = coil_timeout_exit(&tm, coil_sleep(5));
    FACT(rc, -ETIMEDOUT);
    FACT(coil_timeout_exit(&tm, rc), -ETIMEDOUT);
    FACT(coil_timeout_exit(&tm, 4), 4);
    FACT(coil_task_cancelling(self()), 0);
    return 0;
}

STAGE(timeout_of_nan_expires_at_once_and_says_so)
{
    coil_timeout_scope tm;
    FACT(coil_timeout_enter(&tm, NAN), -EINVAL);
    coil_ret rc = coil_sleep(10);
    FACT(rc, -ECANCELED);
    FACT(coil_timeout_exit(&tm, rc), -EINVAL);
    FALSE(coil_timeout_expired(&tm));
    FACT(coil_task_cancelling(self()), 0);

    coil_timeout(again, NAN);
    FACT(coil_timeout_exit(&again, 0), -EINVAL);
    turns(1);
    return 0;
}

static void enter_outside(void *arg)
{
    coil_timeout_scope tm;
    FACT(coil_timeout_enter(&tm, 1), COIL_ENOTASK);
    FACT(coil_timeout_reschedule(&tm, 5), COIL_EINVALIDSTATE);
    FACT(coil_timeout_exit(&tm, 0), COIL_ENOTASK);
    FACT(coil_timeout_enter(&tm, COIL_FOREVER), COIL_ENOTASK);
    FACT(coil_timeout_exit(&tm, -EIO), -EIO);
    coil_timeout_leave(&tm);
}

STAGE(timeout_belongs_into_a_task)
{
    coil_loop_call_soon(NULL, enter_outside, NULL, NULL);
    turns(1);
    return 0;
}

static void without_any_loop_timeouts_fail(void **state)
{
    (void)state;
    coil_timeout_scope tm;
    assert_int_equal(coil_timeout_enter(&tm, 1), COIL_ENOTASK);
    assert_int_equal(coil_timeout_exit(&tm, 0), COIL_ENOTASK);
}

STAGE(timeout_when_speaks_the_loops_time)
{
    double now = coil_loop_time(NULL);
    coil_timeout(a, 5);
    TRUE(coil_timeout_when(&a) >= now + 5 && coil_timeout_when(&a) < now + 5.001);
    coil_timeout(b, COIL_FOREVER);
    TRUE(isinf(coil_timeout_when(&b)));
    coil_timeout_at(c, now + 3);
    TRUE(coil_timeout_when(&c) >= now + 3 && coil_timeout_when(&c) < now + 3.001);
    return 0;
}

/* ---- several ---- */

STAGE(timeouts_nested_answer_for_their_own)
{
    coil_timeout(outer, 1);
    coil_timeout(inner, 5);
    coil_ret rc = coil_sleep(10);
    rc = coil_timeout_exit(&inner, rc);
    FACT(rc, -ECANCELED);
    FALSE(coil_timeout_expired(&inner));
    FACT(coil_timeout_exit(&outer, rc), -ETIMEDOUT);

    coil_timeout(wide, 5);
    coil_timeout(narrow, 1);
    FACT(coil_timeout_exit(&narrow, coil_sleep(10)), -ETIMEDOUT);
    FACT(coil_timeout_exit(&wide, coil_sleep(1)), 0);
    return 0;
}

STAGE(timeouts_many_open_at_once_fire_in_their_order)
{
    enum { N = 40 };
    coil_timeout_scope scopes[N];
    double now = coil_loop_time(NULL);
    for (int i = 0; i < N; i++)
        FACT(coil_timeout_enter(&scopes[i], N - i), 0);
    coil_ret rc = coil_sleep(1000);
    FACT(rc, -ECANCELED);
    TRUE(coil_loop_time(NULL) - now < 1.001);
    TRUE(coil_timeout_expired(&scopes[N - 1]));
    for (int i = N - 1; i >= 0; i--)
        rc = coil_timeout_exit(&scopes[i], rc);
    FACT(rc, -ETIMEDOUT);
    FACT(coil__running_loop->timers.n, 0);
    return 0;
}

STAGE(timeout_leaves_an_outside_cancel_alone)
{
    coil_timeout(tm, 5);
    coil_loop_call_later(NULL, 1, cancel_it, self(), NULL);
    FACT(coil_timeout_exit(&tm, coil_sleep(10)), -ECANCELED);
    FALSE(coil_timeout_expired(&tm));
    FACT(coil_task_cancelling(self()), 1);
    FACT(coil_task_uncancel(self()), 0);
    return 0;
}

STAGE(timeout_and_outside_cancel_together_stay_a_cancel)
{
    coil_timeout(tm, 1);
    coil_loop_call_later(NULL, 1, cancel_it, self(), NULL);
    coil_ret rc = coil_sleep(10);
    TRUE(coil_timeout_expired(&tm));
    FACT(coil_timeout_exit(&tm, rc), -ECANCELED);
    FACT(coil_task_cancelling(self()), 1);
    FACT(coil_task_uncancel(self()), 0);
    return 0;
}

/* ---- rescheduling ---- */

STAGE(timeout_rescheduled_moves_its_deadline)
{
    double now = coil_loop_time(NULL);
    coil_timeout(tm, 1);
    FACT(coil_timeout_reschedule(&tm, now + 3), 0);
    FACT(coil_sleep(2), 0);
    FACT(coil_timeout_reschedule(&tm, COIL_FOREVER), 0);
    FACT(coil_sleep(10), 0);
    FACT(coil_timeout_reschedule(&tm, coil_loop_time(NULL) + 1), 0);
    coil_ret rc = coil_sleep(10);
    FACT(coil_timeout_reschedule(&tm, now + 100), COIL_EINVALIDSTATE);
    FACT(coil_timeout_exit(&tm, rc), -ETIMEDOUT);
    FACT(coil_timeout_reschedule(&tm, now + 100), COIL_EINVALIDSTATE);
    return 0;
}

STAGE(timeout_rescheduled_to_now_fires_in_the_next_turn)
{
    mark("go");
    coil_timeout(tm, 10);
    for (int i = 0; i < 200; i++) /* each leaves a taken-back slot in the ring */
        FACT(coil_timeout_reschedule(&tm, 0), 0);
    FACT(coil_timeout_reschedule(&tm, NAN), -EINVAL);
    FACT(coil_timeout_exit(&tm, coil_sleep(0)), -ETIMEDOUT);
    mark("to");
    TRACE("0:go 1:to");
    return 0;
}

static void reschedule_soon(void *scope)
{
    FACT(coil_timeout_reschedule(scope, coil_loop_time(NULL) + 1), 0);
}

STAGE(timeout_rescheduled_from_outside_while_parked)
{
    double now = coil_loop_time(NULL);
    coil_timeout(tm, COIL_FOREVER);
    coil_loop_call_later(NULL, 5, reschedule_soon, &tm, NULL);
    FACT(coil_timeout_exit(&tm, coil_sleep(100)), -ETIMEDOUT);
    TRUE(coil_loop_time(NULL) - now < 6.001);
    return 0;
}

/* ---- causes ---- */

STAGE(timeout_gets_into_the_chain_of_what_was_made_of_its_cancel)
{
    coil_timeout(tm, 1);
    coil_ret rc = coil_sleep(10);
    FACT(rc, -ECANCELED);
    coil_fail_from(-EIO, "half written");
    rc = coil_fail_from(-ENOENT, "not there");
    FACT(coil_timeout_exit(&tm, rc), -ENOENT);
    const coil_error *e = coil_last_error();
    TEXT(e->message, "not there");
    FACT(e->cause->code, -EIO);
    FACT(e->cause->cause->code, -ETIMEDOUT);
    FACT(e->cause->cause->cause->code, -ECANCELED);
    return 0;
}

/* An error of `n` causes, the oldest of them the cancel that has just been returned. */
static coil_ret from_a_cancel(int n)
{
    coil_ret rc = -ECANCELED;
    while (n-- > 0)
        rc = coil_fail_from(-EIO, "made of what was before");
    return rc;
}

STAGE(timeout_gets_to_the_end_of_the_longest_chain_of_causes)
{
    coil_timeout(tm, 1);
    FACT(coil_sleep(10), -ECANCELED);
    FACT(coil_timeout_exit(&tm, from_a_cancel(ERROR_CAUSES_MAX - 2)), -EIO);
    int told = 0;
    for (const coil_error *e = coil_last_error(); e; e = e->cause)
        if (e->code == -ETIMEDOUT) {
            FACT(e->cause->code, -ECANCELED);
            told++;
        }
    FACT(told, 1);
    return 0;
}

STAGE(timeout_leaves_errors_with_other_causes_alone)
{
    coil_timeout(tm, 1);
    FACT(coil_sleep(10), -ECANCELED);
    coil_fail(-EIO, "first");
    coil_ret rc = coil_fail_from(-ENOENT, "second");
    FACT(coil_timeout_exit(&tm, rc), -ENOENT);
    FACT(coil_last_error()->cause->code, -EIO);
    TRUE(coil_last_error()->cause->cause == NULL);
    return 0;
}

/* ---- unwinding ---- */

static coil_ret inside_a_timeout(void *arg)
{
    coil_timeout(tm, 1000);
    coil_timeout(none, COIL_FOREVER);
    coil_ret rc = coil_sleep(100);
    coil_timeout(late, 0);
    coil_timeout_scope nan;
    coil_timeout_enter(&nan, NAN);
    rc = coil_timeout_exit(&nan, rc);
    return coil_timeout_exit(&tm, rc);
}

static coil_ret leave_a_timeout_behind(void *arg)
{
    coil_unref(coil_create_task(inside_a_timeout, NULL));
    turns(2);
    return 0;
}

static void timeout_is_unwound_with_its_task(void **state)
{
    (void)state;
    stage_leave(leave_a_timeout_behind);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(timeout_arms_no_timer_for_a_body_that_never_waits),
        T(timeout_turns_its_own_cancel_into_timed_out),
        T(timeout_passes_values_and_other_errors),
        T(timeout_with_a_value_after_expiry_keeps_the_value),
        T(timeout_that_falls_due_behind_the_last_step_is_taken_back),
        T(timeout_left_with_its_slot_queued_takes_it_back),
        T(timeout_left_by_return_ends_and_converts_nothing),
        T(timeout_exit_twice_does_nothing_more),
        T(timeout_of_nan_expires_at_once_and_says_so),
        T(timeout_belongs_into_a_task),
        T(without_any_loop_timeouts_fail),
        T(timeout_when_speaks_the_loops_time),
        T(timeouts_nested_answer_for_their_own),
        T(timeouts_many_open_at_once_fire_in_their_order),
        T(timeout_leaves_an_outside_cancel_alone),
        T(timeout_and_outside_cancel_together_stay_a_cancel),
        T(timeout_rescheduled_moves_its_deadline),
        T(timeout_rescheduled_to_now_fires_in_the_next_turn),
        T(timeout_rescheduled_from_outside_while_parked),
        T(timeout_gets_into_the_chain_of_what_was_made_of_its_cancel),
        T(timeout_gets_to_the_end_of_the_longest_chain_of_causes),
        T(timeout_leaves_errors_with_other_causes_alone),
        T(timeout_is_unwound_with_its_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
