/* SPDX-License-Identifier: MIT
 *
 * test_reports.c: what nobody would learn otherwise: errors never retrieved, tasks destroyed while
 * pending, coroutines never awaited. */
#include "task/task.h"

#include "../loop/stage.h"
#include "test.h"

static coil_ret blow_up(void *arg)
{
    return coil_fail(COIL_EUSER, "%s", (const char *)arg);
}

static coil_ret give(void *arg)
{
    return (coil_ret)arg;
}

static coil_task *start(const char *name, coil_fn fn, const void *arg)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = name};
    return coil_create_task_opts(fn, arg, &opts);
}

static coil_ret wait_for_ever(void *arg)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_ret rc = coil_join(f);
    if (arg)
        note("%s:%s", (const char *)arg, coil_errname(rc));
    return rc;
}

/* ---- since when ---- */

static coil_ret wait_after_a_while(void *arg)
{
    (void)arg;
    FACT_INT(coil_sleep(2), 0);
    return wait_for_ever(NULL);
}

static coil_ret run_into_a_deadlock(void)
{
    coil_task *a = start("a", wait_for_ever, NULL), *b = start("b", wait_after_a_while, NULL);
    coil_ret rc = coil_loop_run_until_complete(stage.loop, b);
    coil_unref(a);
    coil_unref(b);
    return rc;
}

LOOP(waiting_is_told_with_since_when_in_debug_mode)
{
    if (!deadlocks_are_certain())
        return;
    coil_loop_set_debug(stage.loop, true);
    FACT_INT(run_into_a_deadlock(), COIL_EDEADLOCK);
    FACT_ERROR(COIL_EDEADLOCK,
               "a waits for future, for 2.0 s now; b waits for future, for 0.0 s now;");
    coil_loop_close(stage.loop);
    FACT_INT(stage.report.n, 2);
    FACT_HAS(stage.report.message, "Task was destroyed but it is pending! a, created at ");
    FACT_HAS(stage.report.message, ", for 2.0 s now");
    stage.report.n = 0;
}

LOOP(waiting_is_told_without_since_when_otherwise)
{
    if (!deadlocks_are_certain())
        return;
    FACT_INT(run_into_a_deadlock(), COIL_EDEADLOCK);
    FACT_ERROR(COIL_EDEADLOCK, "a waits for future; b waits for future;");
    coil_loop_close(stage.loop);
    FACT_INT(stage.report.n, 2);
    FACT(!strstr(stage.report.message, "s now"));
    stage.report.n = 0;
}

static coil_ret turns_debug_mode_on(void *arg)
{
    FACT_INT(coil_sleep(1), 0);
    coil_loop_set_debug(NULL, true);
    return wait_after_a_while(arg);
}

/* It parked before anybody kept the time. */
LOOP(waiting_is_told_without_since_when_by_who_began_before_debug_mode)
{
    if (!deadlocks_are_certain())
        return;
    coil_task *a = start("a", wait_for_ever, NULL), *b = start("b", turns_debug_mode_on, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, b), COIL_EDEADLOCK);
    FACT_ERROR(COIL_EDEADLOCK, "a waits for future; b waits for future, for 0.0 s now;");
    coil_unref(a);
    coil_unref(b);
    coil_loop_close(stage.loop);
    FACT_INT(stage.report.n, 2);
    stage.report.n = 0;
}

/* ---- cancels ---- */

static coil_ret ends_well_all_the_same(void *arg)
{
    (void)arg;
    FACT_INT(coil_sleep(60), -ECANCELED);
    return 0;
}

static coil_ret takes_it_back(void *arg)
{
    (void)arg;
    FACT_INT(coil_sleep(60), -ECANCELED);
    FACT_INT(coil_task_uncancel(coil_current_task()), 0);
    return 0;
}

static coil_ret passes_it_on(void *arg)
{
    (void)arg;
    return coil_sleep(60);
}

static coil_ret fails_meanwhile(void *arg)
{
    (void)arg;
    FACT_INT(coil_sleep(60), -ECANCELED);
    return coil_fail(-EIO, "while it cleaned up");
}

static void cancel_one(coil_fn fn)
{
    coil_task *task = start("stubborn", fn, NULL);
    one_turn();
    coil_task_cancel(task, NULL);
    (void)coil_loop_run_until_complete(stage.loop, task);
    coil_unref(task);
}

LOOP(cancel_that_was_swallowed_is_reported_in_debug_mode)
{
    cancel_one(ends_well_all_the_same);
    FACT_INT(stage.report.n, 0);
    coil_loop_set_debug(stage.loop, true);
    cancel_one(ends_well_all_the_same);
    FACT(stage.report.task != NULL);
    FACT_TEXT(stage.report.kind, "swallowed-cancel");
    FACT_HAS(stage.report.message, "test_reports.c:");
    FACT_HAS(stage.report.message, ": it was asked to end, and returned no error; pass -ECANCELED "
                                   "on, or take the request back (coil_task_uncancel)");
    FACT_REPORT("A cancel was swallowed by stubborn, created at ");
}

LOOP(cancel_that_was_answered_is_not_reported)
{
    coil_loop_set_debug(stage.loop, true);
    cancel_one(takes_it_back);
    cancel_one(passes_it_on);
    cancel_one(fails_meanwhile);
    FACT_INT(stage.report.n, 0);
}

static coil_ret cancels_itself(void *arg)
{
    (void)arg;
    coil_task_cancel(coil_current_task(), NULL);
    return 0;
}

/* It was never told: nothing was swallowed. */
LOOP(cancel_of_who_returns_before_he_hears_of_it_is_not_reported)
{
    coil_loop_set_debug(stage.loop, true);
    coil_task *task = start("hasty", cancels_itself, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, task), -ECANCELED);
    FACT_INT(stage.report.n, 0);
    coil_unref(task);
}

static coil_task *start_nowhere(const char *name, coil_fn fn)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = name};
    return coil_create_task_at(NULL, 0, fn, NULL, 0, &opts);
}

LOOP(cancel_that_was_swallowed_by_who_was_made_nowhere_is_reported)
{
    coil_loop_set_debug(stage.loop, true);
    coil_task *task = start_nowhere("stubborn", ends_well_all_the_same);
    one_turn();
    coil_task_cancel(task, NULL);
    (void)coil_loop_run_until_complete(stage.loop, task);
    coil_unref(task);
    FACT_REPORT("A cancel was swallowed by stubborn, created at ?:0: ");
}

/* ---- steps that take long ---- */

/* In debug mode tasks hand over to each other; not after a step of which there is something to say. */
static coil_ret takes_its_time(void *arg)
{
    coil_loop_set_slow_callback_duration(NULL, 0);
    note("%s", (const char *)arg);
    coil_ret rc = coil_sleep(0);
    note("%s", (const char *)arg);
    return rc;
}

static coil_ret is_quick(void *arg)
{
    coil_loop_set_slow_callback_duration(NULL, 60);
    note("%s", (const char *)arg);
    return 0;
}

LOOP(step_that_took_long_is_told_of_before_the_next_tasks)
{
    coil_loop_set_debug(stage.loop, true);
    coil_task *slow = start("slow", takes_its_time, "slow"),
              *next = start("next", is_quick, "next");
    one_turn();
    FACT_TRACE("slow next");
    FACT_REPORT("Executing a step of slow took ");
    FACT_INT(coil_loop_run_until_complete(stage.loop, slow), 0);
    FACT_TRACE("slow");
    coil_unref(slow);
    coil_unref(next);
}

static coil_ret raises(void *arg)
{
    (void)arg;
    coil_loop_raise(NULL, COIL_EUSER);
    return coil_sleep(0);
}

LOOP(task_that_ends_the_run_hands_over_to_nobody_in_debug_mode)
{
    coil_loop_set_debug(stage.loop, true);
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    coil_task *a = start("a", raises, NULL), *b = start("b", is_quick, "b");
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_EUSER);
    FACT_TRACE("");
    FACT_INT(coil_loop_run_until_complete(stage.loop, b), 0);
    FACT_TRACE("b");
    FACT_INT(coil_loop_run_until_complete(stage.loop, a), 0);
    coil_unref(a);
    coil_unref(b);
}

static const void *source_of_slow;
static size_t source_n;

static void keep_source(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    stage_hears(loop, c, arg);
    source_of_slow = c->source_stack;
    source_n = c->source_stack_n;
}

/* Nobody wrote down who made it, nor where. */
LOOP(step_of_a_task_from_before_debug_mode_is_told_of_without_its_makers)
{
    coil_loop_set_exception_handler(stage.loop, keep_source, NULL);
    coil_task *old = start_nowhere("old", takes_its_time);
    coil_loop_set_debug(stage.loop, true);
    source_n = 1;
    one_turn();
    FACT_HAS(stage.report.message, "Executing a step of old took ");
    FACT_REPORT("; it was created at ?:0");
    FACT_INT(source_n, 0);
    FACT(source_of_slow == NULL);
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    FACT_INT(coil_loop_run_until_complete(stage.loop, old), 0);
    coil_unref(old);
}

/* ---- where things were made ---- */

static char log_file[64];
static int log_line;

static void keep_place(const coil_log_record *record, void *arg)
{
    (void)arg;
    snprintf(log_file, sizeof log_file, "%s", record->file ? record->file : "(none)");
    log_line = record->line;
}

LOOP(report_with_a_place_of_its_own_keeps_it)
{
    coil_future *f = coil_create_future_at("made.c", 7, stage.loop);
    coil_exception_context context = {
        .size = sizeof context, .message = "x", .future = f, .fd = -1};
    coil_loop_set_exception_handler(stage.loop, NULL, NULL);
    coil_set_log(keep_place, NULL);
    coil_loop_call_exception_handler(stage.loop, &context);
    FACT_TEXT(log_file, "made.c");
    FACT_INT(log_line, 7);
    context.file = "met.c";
    context.line = 9;
    coil_loop_call_exception_handler(stage.loop, &context);
    FACT_TEXT(log_file, "met.c");
    FACT_INT(log_line, 9);
    coil_set_log(NULL, NULL);
    coil_unref(f);
}

LOOP(reference_to_a_future_made_nowhere_is_told_of)
{
    coil_loop_set_debug(stage.loop, true);
    coil_future *f = coil_create_future_at(NULL, 0, stage.loop);
    coil__leaks_tell(stage.loop);
    FACT_REPORT(
        "A reference to a future was never given back (coil_unref, coil_join); created at ?:0");
    coil_unref(f);
}

/* ---- never retrieved ---- */

LOOP(future_error_never_retrieved_is_reported)
{
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_set_exception(f, coil_fail(-EIO, "lost")), 0);
    coil_unref(f);
    FACT_HAS(stage.report.message, "Future exception was never retrieved, created at ");
    FACT_HAS(stage.report.message, "test_reports.c:");
    FACT_TEXT(stage.report.words, "lost");
    FACT_INT(stage.report.code, -EIO);
    FACT(stage.report.future == f && stage.report.task == NULL);
    FACT_REPORT("Future exception was never retrieved");
}

LOOP(task_error_never_retrieved_is_reported_at_its_last_reference)
{
    coil_task *kept = start("kept", blow_up, "one"), *dropped = start("dropped", blow_up, "two");
    coil_unref(dropped);
    FACT_INT(stage.report.n, 0);
    one_turn();
    FACT_TEXT(stage.report.words, "two");
    FACT(stage.report.task == stage.report.future && stage.report.task);
    FACT_REPORT("Task exception was never retrieved: dropped, created at");
    coil_unref(kept);
    FACT_TEXT(stage.report.words, "one");
    FACT_REPORT("Task exception was never retrieved: kept");
}

LOOP(error_that_somebody_looked_at_is_not_reported)
{
    coil_task *t = start("a", blow_up, "x");
    one_turn();
    FACT_INT(coil_future_result(t), COIL_EUSER);
    coil_unref(t);
    t = start("b", blow_up, "x");
    one_turn();
    FACT_TEXT(there(coil_future_exception(t))->message, "x");
    coil_unref(t);
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_set_exception(f, -EIO), 0);
    FACT(!coil_future_cancel(f, NULL));
    coil_future_result(f);
    coil_unref(f);
}

LOOP(result_and_cancellation_and_pending_are_not_reported)
{
    coil_future *f = coil_loop_create_future(stage.loop);
    coil_unref(f);
    f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_set_result(f, 5), 0);
    coil_unref(f);
    f = coil_loop_create_future(stage.loop);
    FACT(coil_future_cancel(f, "x"));
    coil_unref(f);
    coil_task *t = start("a", give, NULL);
    coil_unref(t);
    t = start("b", wait_for_ever, NULL);
    one_turn();
    coil_task_cancel(t, NULL);
    coil_unref(t);
    one_turn();
    one_turn();
}

static coil_ret await_it(void *arg)
{
    note("%s", coil_errname(coil_await((coil_future *)arg)));
    return 0;
}

LOOP(awaited_error_is_not_reported_for_who_was_awaited)
{
    coil_task *t = start("a", blow_up, "x"), *w = start("b", await_it, t);
    one_turn();
    one_turn();
    FACT_TRACE("COIL_EUSER");
    coil_unref(t);
    coil_unref(w);
}

static coil_future *rescued;

static void rescue(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    note("rescued");
    rescued = coil_ref(context->future);
    FACT_INT(coil_future_state(rescued), COIL_FUTURE_FINISHED);
}

LOOP(handler_may_keep_the_future_it_is_told_of)
{
    coil_loop_set_exception_handler(stage.loop, rescue, NULL);
    coil_unref(start("a", blow_up, "x"));
    one_turn();
    FACT_TRACE("rescued");
    FACT_INT(coil_future_result(rescued), COIL_EUSER);
    FACT_TEXT(coil_task_get_name(rescued), "a");
    coil_unref(rescued); /* once was enough */
    FACT_TRACE("");
}

static const coil_contextvar color = COIL_CONTEXTVAR("color", TEXT("none"));

static void note_color(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context, (void)arg;
    note("%s", (const char *)coil_contextvar_get(&color));
}

static coil_ret color_and_fail(void *arg)
{
    FACT_INT(coil_contextvar_set(&color, arg, NULL), 0);
    return coil_fail(COIL_EUSER, "x");
}

LOOP(handler_runs_in_the_context_of_the_task_concerned)
{
    coil_loop_set_exception_handler(stage.loop, note_color, NULL);
    coil_task *t = start("a", color_and_fail, "red");
    one_turn();
    coil_exception_context context = {.size = sizeof context, .message = "x", .task = t, .fd = -1};
    coil_loop_call_exception_handler(stage.loop, &context);
    context.task = NULL;
    coil_loop_call_exception_handler(stage.loop, &context);
    context.future = t;
    coil_loop_call_exception_handler(stage.loop, &context);
    coil_unref(t);
    FACT_TRACE("red none red red");
    FACT_TEXT(coil_contextvar_get(&color), "none");
}

/* ---- destroyed while pending ---- */

LOOP(task_pending_at_close_is_reported_and_unwound)
{
    coil_unref(start("a", wait_for_ever, "a"));
    one_turn();
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("a:COIL_EEXIT");
    FACT(stage.report.task != NULL);
    FACT_HAS(stage.report.message, "test_reports.c:");
    FACT_HAS(stage.report.message, ", waiting on future");
    FACT_REPORT("Task was destroyed but it is pending! a, created at");
}

LOOP(task_never_started_is_reported_and_runs_nothing)
{
    coil_task *t = start("a", wait_for_ever, "a");
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("");
    FACT_REPORT("waiting on its first turn");
    FACT(coil_future_cancelled(t));
    coil_unref(t);
}

LOOP(task_done_is_not_reported_at_close)
{
    coil_task *t = start("a", give, (void *)5);
    one_turn();
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(coil_future_result(t), 5);
    coil_unref(t);
}

static coil_ret stop_and_wait(void *arg)
{
    coil_loop_stop(NULL);
    return wait_for_ever(arg);
}

LOOP(task_made_by_run_until_complete_is_not_reported)
{
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(stop_and_wait, TEXT("main"))),
             COIL_ESTOPPED);
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("main:COIL_EEXIT");
}

static coil_ret raise_and_fail(void *arg)
{
    (void)arg;
    coil_loop_raise(NULL, -EIO);
    return coil_fail(COIL_EUSER, "x");
}

LOOP(task_made_by_run_until_complete_may_fail_in_silence_when_the_run_was_ended_by_force)
{
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(raise_and_fail, NULL)), -EIO);
    one_turn();
}

/* ---- never awaited ---- */

LOOP(coroutine_closed_is_quiet)
{
    coil_coro_close(coil_coro_new(give, NULL));
    coil_coro_close(NULL);
    coil_coro_free(NULL);
    one_turn();
}

static void free_coro(void *arg)
{
    coil_coro_free(arg);
}

LOOP(coroutine_never_awaited_tells_name_and_place)
{
    soon(free_coro, coil_coro_new(give, NULL));
    one_turn();
    FACT_HAS(stage.report.message, "test_reports.c:");
    FACT_REPORT("coroutine 'give' was never awaited, created at");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancel_that_was_swallowed_is_reported_in_debug_mode),
        cmocka_unit_test(cancel_that_was_answered_is_not_reported),
        cmocka_unit_test(waiting_is_told_with_since_when_in_debug_mode),
        cmocka_unit_test(waiting_is_told_without_since_when_otherwise),
        cmocka_unit_test(future_error_never_retrieved_is_reported),
        cmocka_unit_test(task_error_never_retrieved_is_reported_at_its_last_reference),
        cmocka_unit_test(error_that_somebody_looked_at_is_not_reported),
        cmocka_unit_test(result_and_cancellation_and_pending_are_not_reported),
        cmocka_unit_test(awaited_error_is_not_reported_for_who_was_awaited),
        cmocka_unit_test(handler_may_keep_the_future_it_is_told_of),
        cmocka_unit_test(handler_runs_in_the_context_of_the_task_concerned),
        cmocka_unit_test(task_pending_at_close_is_reported_and_unwound),
        cmocka_unit_test(task_never_started_is_reported_and_runs_nothing),
        cmocka_unit_test(task_done_is_not_reported_at_close),
        cmocka_unit_test(task_made_by_run_until_complete_is_not_reported),
        cmocka_unit_test(
            task_made_by_run_until_complete_may_fail_in_silence_when_the_run_was_ended_by_force),
        cmocka_unit_test(coroutine_closed_is_quiet),
        cmocka_unit_test(coroutine_never_awaited_tells_name_and_place),
        cmocka_unit_test(waiting_is_told_without_since_when_by_who_began_before_debug_mode),
        cmocka_unit_test(cancel_of_who_returns_before_he_hears_of_it_is_not_reported),
        cmocka_unit_test(cancel_that_was_swallowed_by_who_was_made_nowhere_is_reported),
        cmocka_unit_test(step_that_took_long_is_told_of_before_the_next_tasks),
        cmocka_unit_test(task_that_ends_the_run_hands_over_to_nobody_in_debug_mode),
        cmocka_unit_test(step_of_a_task_from_before_debug_mode_is_told_of_without_its_makers),
        cmocka_unit_test(report_with_a_place_of_its_own_keeps_it),
        cmocka_unit_test(reference_to_a_future_made_nowhere_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
