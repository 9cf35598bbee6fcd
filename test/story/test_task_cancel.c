/* SPDX-License-Identifier: MIT
 *
 * test_task_cancel.c: more of what asyncio's tests say of cancelling (test_tasks.py); tasks.c has T11 to
 * T17. */
#include <coil/task.h>

#include "../unit/loop/stage.h"

static coil_task *task, *inner;
static coil_future *future;

static coil_task *start(coil_fn fn, const void *arg)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    return coil_create_task_opts(fn, arg, &opts);
}

/* Run until the task is done; the reference is kept. */
static coil_ret run(coil_task *t)
{
    return coil_loop_run_until_complete(stage.loop, t);
}

static void cancel_task(void *arg)
{
    coil_task_cancel(arg, "msg");
}

/* ---- test_cancel, test_cancel_yield ---- */

static coil_ret sleep_ten(void *arg)
{
    (void)arg;
    coil_ret rc = coil_sleep(10);
    return coil_iserr(rc) ? rc : 12;
}

LOOP(test_cancel)
{
    task = start(sleep_ten, NULL);
    later(0.1, cancel_task, task);
    FACT_INT(run(task), -ECANCELED);
    FACT(coil_future_done(task) && coil_future_cancelled(task));
    FACT(!coil_task_cancel(task, NULL)); /* it is too late */
    FACT(about(now(), 0.1));
    coil_unref(task);
}

static coil_ret yield_twice(void *arg)
{
    (void)arg;
    coil_ret rc = coil_sleep(0);
    if (!coil_iserr(rc))
        rc = coil_sleep(0);
    return coil_iserr(rc) ? rc : 12;
}

LOOP(test_cancel_yield)
{
    task = start(yield_twice, NULL);
    one_turn();
    FACT(coil_task_cancel(task, NULL));
    FACT(!coil_future_done(task)); /* it was asked, and has not run */
    FACT_INT(run(task), -ECANCELED);
    FACT(coil_future_cancelled(task));
    FACT(!coil_task_cancel(task, NULL));
    coil_unref(task);
}

static coil_ret await_future(void *arg)
{
    (void)arg;
    coil_ret rc = coil_await(future);
    return coil_iserr(rc) ? rc : 12;
}

/* ---- when a cancel is delivered, and when it is not ---- */

static coil_ret cancel_self_and_meet_done(void *arg)
{
    FACT(coil_task_cancel(coil_current_task(), "x"));
    FACT_INT(coil_await((coil_future *)arg),
             7); /* done already: no wait, so nothing is delivered */
    coil_ret rc = coil_sleep(0);
    FACT_INT(rc, -ECANCELED);
    FACT_ERROR(-ECANCELED, "x");
    return 1;
}

LOOP(cancel_waits_for_a_call_that_waits)
{
    future = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_set_result(future, 7), 0);
    task = start(cancel_self_and_meet_done, future);
    FACT_INT(run(task), 1);
    coil_unref(task);
    coil_unref(future);
}

static coil_ret cancel_self_and_fail(void *arg)
{
    (void)arg;
    FACT(coil_task_cancel(coil_current_task(), NULL));
    return coil_fail(COIL_EUSER, "an error of its own");
}

LOOP(cancel_at_the_end_of_a_task_that_fails_is_lost_in_the_error)
{
    task = start(cancel_self_and_fail, NULL);
    FACT_INT(run(task), COIL_EUSER);
    FACT(!coil_future_cancelled(task));
    FACT_ERROR(COIL_EUSER, "an error of its own");
    coil_unref(task);
}

static coil_ret return_cancelled(void *arg)
{
    (void)arg;
    return coil_fail(-ECANCELED, "on its own account");
}

LOOP(task_that_returns_cancelled_is_cancelled_though_nobody_asked)
{
    task = start(return_cancelled, NULL);
    FACT_INT(run(task), -ECANCELED);
    FACT(coil_future_cancelled(task));
    FACT_ERROR(-ECANCELED, "on its own account");
    coil_unref(task);
}

/* ---- messages ---- */

static coil_ret await_inner(void *arg)
{
    inner = coil_create_task(sleep_ten, arg);
    return coil_join(inner);
}

LOOP(test_cancel_with_message_then_future_result)
{
    task = start(await_inner, NULL);
    one_turn();
    one_turn();
    FACT(coil_task_cancel(task, "my message")); /* handed down to the inner one */
    FACT_INT(run(task), -ECANCELED);
    FACT_ERROR(-ECANCELED, "my message");
    FACT_INT(coil_task_cancelling(task), 1);
    coil_unref(task);
}

LOOP(cancel_again_with_another_message)
{
    task = start(sleep_ten, NULL);
    one_turn();
    FACT(coil_task_cancel(task, "first"));
    FACT(coil_task_cancel(task, "second"));
    FACT_INT(coil_task_cancelling(task), 2);
    FACT_INT(run(task), -ECANCELED);
    FACT_ERROR(-ECANCELED, "first"); /* it was on its way already */
    coil_unref(task);

    task = start(sleep_ten, NULL);
    FACT(coil_task_cancel(task, "first"));
    FACT(coil_task_cancel(task, "second"));
    FACT_INT(run(task), -ECANCELED);
    FACT_ERROR(-ECANCELED, "second"); /* none was */
    coil_unref(task);
}

LOOP(cancelled_task_says_why_to_everyone_who_asks)
{
    task = start(sleep_ten, NULL);
    one_turn();
    FACT(coil_task_cancel(task, "go home"));
    FACT_INT(run(task), -ECANCELED);
    for (int i = 0; i < 2; i++) {
        FACT_INT(coil_future_result(task), -ECANCELED);
        FACT_ERROR(-ECANCELED, "go home");
    }
    coil_unref(task);
}

/* ---- counting ---- */

LOOP(test_cancelling)
{
    task = start(sleep_ten, NULL);
    one_turn();
    FACT_INT(coil_task_cancelling(task), 0);
    FACT(coil_task_cancel(task, NULL));
    FACT_INT(coil_task_cancelling(task), 1);
    FACT(coil_task_cancel(task, NULL));
    FACT_INT(coil_task_cancelling(task), 2);
    FACT_INT(run(task), -ECANCELED);
    FACT(!coil_task_cancel(task, NULL));
    FACT_INT(coil_task_cancelling(task), 2); /* a done one does not count on */
    coil_unref(task);
}

static coil_ret survive_one(void *arg)
{
    (void)arg;
    if (coil_sleep(10) == -ECANCELED)
        FACT_INT(coil_task_uncancel(coil_current_task()), 0);
    coil_ret rc = coil_sleep(10);
    return coil_iserr(rc) ? rc : 99;
}

LOOP(test_uncancel_basic)
{
    task = start(survive_one, NULL);
    one_turn();
    FACT_INT(coil_task_uncancel(task), 0); /* none to take back */
    FACT(coil_task_cancel(task, NULL));
    FACT_INT(coil_task_cancelling(task), 1);
    one_turn();
    FACT_INT(coil_task_cancelling(task), 0);
    FACT_INT(run(task), 99);
    FACT(!coil_future_cancelled(task));
    coil_unref(task);
}

LOOP(uncancel_before_the_first_step_lets_it_run)
{
    task = start(yield_twice, NULL);
    FACT(coil_task_cancel(task, NULL));
    FACT_INT(coil_task_uncancel(task), 0);
    FACT_INT(run(task), 12);
    coil_unref(task);
}

/* What a timeout scope does, by hand: cancel after a while, take it back when it was ours alone. */
/* ---- down the chain ---- */

static coil_ret cancel_a_sleeper(void *arg)
{
    (void)arg;
    coil_task *sleeper = coil_create_task(sleep_ten, NULL);
    FACT_INT(coil_sleep(0.1), 0);
    FACT(coil_task_cancel(sleeper, NULL));
    FACT_INT(coil_join(sleeper), -ECANCELED);
    FACT_INT(coil_task_cancelling(coil_current_task()), 0);
    return 5;
}

LOOP(test_task_cancel_sleeping_task)
{
    task = start(cancel_a_sleeper, NULL);
    FACT_INT(run(task), 5);
    FACT(about(now(), 0.1));
    coil_unref(task);
}

LOOP(test_task_cancel_waiter_future)
{
    future = coil_loop_create_future(stage.loop);
    task = start(await_future, NULL);
    one_turn();
    FACT_TEXT(coil_task_waiting_on(task), "future");
    FACT(coil_task_cancel(task, NULL));
    FACT_TEXT(coil_task_waiting_on(task), ""); /* woken */
    FACT_INT(run(task), -ECANCELED);
    FACT(coil_future_cancelled(future));
    coil_unref(task);
    coil_unref(future);
}

static int outer_proof, inner_proof;

static coil_ret inner_waits(void *arg)
{
    (void)arg;
    coil_ret rc = coil_await(future);
    if (coil_iserr(rc))
        return rc;
    inner_proof++;
    return 0;
}

static coil_ret outer_waits(void *arg)
{
    coil_ret rc = coil_join(coil_create_task(inner_waits, arg));
    if (rc == -ECANCELED)
        outer_proof += 10; /* caught, and goes on */
    outer_proof++;
    return 0;
}

LOOP(test_yield_future_passes_cancel)
{
    outer_proof = inner_proof = 0;
    future = coil_loop_create_future(stage.loop);
    task = start(outer_waits, NULL);
    one_turn();
    one_turn();
    FACT(coil_task_cancel(task, NULL));
    FACT_INT(run(task), 0);
    FACT_INT(outer_proof, 11);
    FACT_INT(inner_proof, 0);
    FACT(coil_future_cancelled(future));
    coil_unref(task);
    coil_unref(future);
}

/* An inner task that ignores its cancel: the outer one goes on waiting for it, and is not cancelled. */
static coil_ret stubborn(void *arg)
{
    (void)arg;
    coil_ignore(coil_sleep(10));
    coil_ret rc = coil_sleep(1);
    return coil_iserr(rc) ? rc : 3;
}

static coil_ret await_stubborn(void *arg)
{
    (void)arg;
    return coil_join(coil_create_task(stubborn, NULL));
}

LOOP(cancel_handed_to_one_that_ignores_it_is_gone)
{
    task = start(await_stubborn, NULL);
    one_turn();
    one_turn();
    FACT(coil_task_cancel(task, NULL));
    FACT_INT(run(task), 3);
    FACT(!coil_future_cancelled(task));
    FACT_INT(coil_task_cancelling(task), 1);
    coil_unref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_yield),
        cmocka_unit_test(cancel_waits_for_a_call_that_waits),
        cmocka_unit_test(cancel_at_the_end_of_a_task_that_fails_is_lost_in_the_error),
        cmocka_unit_test(task_that_returns_cancelled_is_cancelled_though_nobody_asked),
        cmocka_unit_test(test_cancel_with_message_then_future_result),
        cmocka_unit_test(cancel_again_with_another_message),
        cmocka_unit_test(cancelled_task_says_why_to_everyone_who_asks),
        cmocka_unit_test(test_cancelling),
        cmocka_unit_test(test_uncancel_basic),
        cmocka_unit_test(uncancel_before_the_first_step_lets_it_run),
        cmocka_unit_test(test_task_cancel_sleeping_task),
        cmocka_unit_test(test_task_cancel_waiter_future),
        cmocka_unit_test(test_yield_future_passes_cancel),
        cmocka_unit_test(cancel_handed_to_one_that_ignores_it_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
