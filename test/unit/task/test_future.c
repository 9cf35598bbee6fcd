/* SPDX-License-Identifier: MIT
 *
 * test_future.c: states, results, callbacks, references of futures. */
#include "task/task.h"

#include "../loop/stage.h"
#include "base/memcheck.h"

static coil_future *fresh(void)
{
    return coil_loop_create_future(stage.loop);
}

static void note_done(coil_future *f, void *arg)
{
    FACT(coil_future_done(f));
    note("%s", (const char *)arg);
}

static void on_done(coil_future *f, coil_done_fn fn, const void *arg)
{
    FACT_INT(coil_future_add_done_callback(f, fn, (void *)(uintptr_t)arg), 0);
}

/* ---- states ---- */

LOOP(future_begins_pending)
{
    coil_future *f = fresh();
    FACT_INT(coil_future_state(f), COIL_FUTURE_PENDING);
    FACT(!coil_future_done(f) && !coil_future_cancelled(f));
    FACT(coil_future_get_loop(f) == stage.loop);
    FACT(!coil_is_task(f));
    FACT_INT(coil_future_result(f), COIL_EINVALIDSTATE);
    FACT_ERROR(COIL_EINVALIDSTATE, "Result is not set");
    FACT(coil_future_exception(f) == NULL);
    FACT_ERROR(COIL_EINVALIDSTATE, "Exception is not set");
    coil_unref(f);
}

LOOP(future_with_a_result)
{
    coil_future *f = fresh();
    FACT_INT(coil_future_set_result(f, 42), 0);
    FACT_INT(coil_future_state(f), COIL_FUTURE_FINISHED);
    FACT(coil_future_done(f) && !coil_future_cancelled(f));
    FACT_INT(coil_future_result(f), 42);
    FACT_INT(coil_future_result(f), 42);
    FACT(coil_future_exception(f) == NULL);
    FACT_INT(coil_future_set_result(f, 1), COIL_EINVALIDSTATE);
    FACT_INT(coil_future_set_exception(f, -EIO), COIL_EINVALIDSTATE);
    FACT(!coil_future_cancel(f, NULL));
    FACT_INT(coil_future_result(f), 42);
    coil_unref(f);
}

LOOP(future_with_an_error)
{
    coil_future *f = fresh();
    FACT_INT(coil_future_set_exception(f, coil_fail(COIL_EUSER, "why")), 0);
    coil_fail(-EIO, "noise");
    FACT_INT(coil_future_state(f), COIL_FUTURE_FINISHED);
    FACT_INT(coil_future_result(f), COIL_EUSER);
    FACT_ERROR(COIL_EUSER, "why");
    const coil_error *e = coil_future_exception(f);
    FACT_INT(e->code, COIL_EUSER);
    FACT_TEXT(e->message, "why");
    FACT_HAS(e->file, "test_future.c");
    FACT_INT(coil_future_set_exception(f, -EIO), COIL_EINVALIDSTATE);
    FACT_INT(coil_future_set_result(f, 1), COIL_EINVALIDSTATE);
    FACT(!coil_future_cancel(f, NULL));
    coil_unref(f);
}

LOOP(future_error_without_words_has_those_of_its_code)
{
    coil_future *f = fresh();
    coil_fail(-EIO, "of something else");
    FACT_INT(coil_future_set_exception(f, -ENOENT), 0);
    FACT_TEXT(coil_future_exception(f)->message, "No such file or directory");
    FACT_INT(coil_future_result(f), -ENOENT);
    FACT_ERROR(-ENOENT, "No such file");
    coil_unref(f);
}

LOOP(future_cancelled)
{
    coil_future *f = fresh();
    FACT(coil_future_cancel(f, "enough"));
    FACT_INT(coil_future_state(f), COIL_FUTURE_CANCELLED);
    FACT(coil_future_done(f) && coil_future_cancelled(f));
    FACT(!coil_future_cancel(f, "again"));
    FACT_INT(coil_future_result(f), -ECANCELED);
    FACT_ERROR(-ECANCELED, "enough");
    FACT_INT(coil_future_result(f), -ECANCELED);
    FACT_TEXT(coil_future_exception(f)->message, "enough");
    FACT_INT(coil_future_set_result(f, 1), COIL_EINVALIDSTATE);
    FACT_INT(coil_future_set_exception(f, -EIO), COIL_EINVALIDSTATE);
    coil_unref(f);
    f = fresh();
    FACT(coil_future_cancel(f, NULL));
    FACT_TEXT(coil_future_exception(f)->message, "cancelled");
    coil_unref(f);
}

LOOP(future_takes_values_as_results_and_errors_as_errors)
{
    coil_future *f = fresh();
    FACT_INT(coil_future_set_result(f, -EIO), -EINVAL);
    FACT_INT(coil_future_set_result(f, -4095), -EINVAL);
    FACT_INT(coil_future_set_exception(f, 0), -EINVAL);
    FACT_INT(coil_future_set_exception(f, 5), -EINVAL);
    FACT_INT(coil_future_set_exception(f, -4096), -EINVAL);
    FACT_INT(coil_future_set_exception(f, -ECANCELED), -EINVAL);
    FACT(!coil_future_done(f));
    FACT_INT(coil_future_set_result(f, -4096), 0); /* a pointer may look like this */
    FACT_INT(coil_future_result(f), -4096);
    coil_unref(f);
}

/* ---- callbacks ---- */

LOOP(callbacks_run_in_order_in_the_next_turn)
{
    coil_future *f = fresh();
    on_done(f, note_done, "a");
    on_done(f, note_done, "b");
    soon(note_arg, "before");
    FACT_INT(coil_future_set_result(f, 1), 0);
    FACT_TRACE(""); /* never inside the call */
    soon(note_arg, "after");
    one_turn();
    FACT_TRACE("before a b after");
    coil_unref(f);
}

LOOP(callback_added_to_a_done_future_is_queued)
{
    coil_future *f = fresh();
    coil_future_cancel(f, NULL);
    on_done(f, note_done, "a");
    FACT_TRACE("");
    one_turn();
    FACT_TRACE("a");
    coil_unref(f);
}

LOOP(callback_keeps_the_future_alive)
{
    coil_future *f = fresh();
    on_done(f, note_done, "a");
    FACT_INT(coil_future_set_result(f, 1), 0);
    coil_unref(f);
    one_turn();
    FACT_TRACE("a");
}

LOOP(callbacks_of_a_future_that_goes_while_pending_are_dropped)
{
    coil_future *f = fresh();
    on_done(f, note_done, "a");
    on_done(f, note_done, "b");
    coil_unref(f);
    one_turn();
    FACT_TRACE("");
}

LOOP(callback_removed_is_gone_with_all_its_equals)
{
    coil_future *f = fresh();
    static const char x[] = "x";
    on_done(f, note_done, x);
    on_done(f, note_done, "y");
    on_done(f, note_done, x);
    FACT_INT(coil_future_remove_done_callback(f, note_done, TEXT(x)), 2);
    FACT_INT(coil_future_remove_done_callback(f, note_done, TEXT(x)), 0);
    FACT_INT(coil_future_remove_done_callback(f, NULL, TEXT(x)), 0);
    FACT_INT(coil_future_set_result(f, 1), 0);
    one_turn();
    FACT_TRACE("y");
    FACT_INT(coil_future_remove_done_callback(f, note_done, TEXT("y")), 0);
    coil_unref(f);
}

static void add_another(coil_future *f, void *arg)
{
    note("%s", (const char *)arg);
    on_done(f, note_done, "added");
    FACT_INT(coil_future_remove_done_callback(f, note_done, TEXT("b")), 0);
}

LOOP(callbacks_may_add_more_and_too_late_to_remove)
{
    coil_future *f = fresh();
    on_done(f, add_another, "a");
    on_done(f, note_done, "b");
    FACT_INT(coil_future_set_result(f, 1), 0);
    FACT_INT(coil_future_remove_done_callback(f, note_done, TEXT("b")), 0); /* it is queued */
    one_turn();
    FACT_TRACE("a b");
    one_turn();
    FACT_TRACE("added");
    coil_unref(f);
}

static void drop_it(coil_future *f, void *arg)
{
    note("%s", (const char *)arg);
    coil_unref(f);
}

LOOP(callback_may_drop_the_last_reference)
{
    coil_future *f = fresh();
    on_done(f, drop_it, "a");
    on_done(f, note_done, "b");
    FACT_INT(coil_future_set_result(f, 1), 0);
    one_turn();
    FACT_TRACE("a b");
}

LOOP(callback_without_a_function_is_refused)
{
    coil_future *f = fresh();
    FACT_INT(coil_future_add_done_callback(f, NULL, NULL), -EINVAL);
    FACT_INT(coil_future_set_result(f, 1), 0);
    one_turn();
    coil_unref(f);
}

static const coil_contextvar color = COIL_CONTEXTVAR("color", TEXT("none"));

static void note_color(coil_future *f, void *arg)
{
    (void)f;
    note("%s", (const char *)coil_contextvar_get(&color));
    if (arg)
        FACT_INT(coil_contextvar_set(&color, arg, NULL), 0);
}

LOOP(callback_runs_in_the_context_of_who_added_it)
{
    coil_contextvar_token token;
    coil_future *f = fresh();
    FACT_INT(coil_contextvar_set(&color, TEXT("red"), &token), 0);
    on_done(f, note_color, NULL);
    FACT_INT(coil_contextvar_reset(&token), 0);
    on_done(f, note_color, "changed");
    on_done(f, note_color, NULL);
    FACT_INT(coil_future_set_result(f, 1), 0);
    one_turn();
    FACT_TRACE("red none none");
    coil_unref(f);
}

LOOP(callback_may_be_given_a_context)
{
    coil_future *f = fresh();
    coil_context *c = coil_context_new();
    FACT_INT(coil_future_add_done_callback_context(f, note_color, TEXT("red"), c), 0);
    FACT_INT(coil_future_add_done_callback_context(f, note_color, NULL, c), 0);
    coil_context_unref(c);
    FACT_INT(coil_future_set_result(f, 1), 0);
    one_turn();
    FACT_TRACE("none red");
    coil_unref(f);
}

/* ---- results that own memory ---- */

static int freed;

static void free_value(coil_ret value)
{
    FACT_INT(value, 77);
    freed++;
}

static coil_future *owning(void)
{
    coil_future *f = fresh();
    coil_future_set_free_result(f, free_value);
    freed = 0;
    return f;
}

LOOP(result_nobody_took_is_freed_once)
{
    coil_future *f = owning();
    FACT_INT(coil_future_set_result(f, 77), 0);
    coil_unref(coil_ref(f));
    FACT_INT(freed, 0);
    coil_unref(f);
    FACT_INT(freed, 1);
}

LOOP(result_somebody_took_is_theirs)
{
    coil_future *f = owning();
    FACT_INT(coil_future_set_result(f, 77), 0);
    FACT_INT(coil_future_result(f), 77);
    coil_unref(f);
    FACT_INT(freed, 0);
}

LOOP(result_that_never_came_is_not_freed)
{
    coil_unref(owning());
    coil_future *f = owning();
    coil_future_cancel(f, NULL);
    coil_unref(f);
    f = owning();
    FACT_INT(coil_future_set_exception(f, -EIO), 0);
    coil_future_result(f);
    coil_unref(f);
    FACT_INT(freed, 0);
}

/* ---- where they were made ---- */

static const struct future_class large_class = {.name = "large"};

/* The place of the origin, behind the future, is a number of 31 bits. */
LOOP(future_of_two_gigabytes_keeps_no_origin)
{
    if (sizeof(size_t) < 8 || memcheck_watches())
        return; /* there is not so much; or each byte of it would be written */
    coil_loop_set_debug(stage.loop, true);
    coil_future *f = coil__future_new(stage.loop, &large_class, sizeof *f, __FILE__, __LINE__);
    FACT(future_origin(f) != NULL);
    coil_unref(f);
    f = coil__future_new(stage.loop, &large_class, (size_t)1 << 31, __FILE__, __LINE__);
    if (f) /* where memory is promised freely; nothing touches it */
        FACT(future_origin(f) == NULL);
    coil_unref(f);
}

/* ---- futures that could not be made ---- */

PLAIN(future_failed_stands_in)
{
    coil_future *f = coil_loop_create_future(NULL);
    FACT(f != NULL);
    FACT(coil_future_done(f) && !coil_future_cancelled(f));
    FACT_INT(coil_future_state(f), COIL_FUTURE_FINISHED);
    FACT_INT(coil_future_result(f), COIL_ENOLOOP);
    FACT_ERROR(COIL_ENOLOOP, "no running event loop");
    FACT_INT(coil_future_exception(f)->code, COIL_ENOLOOP);
    FACT(coil_future_get_loop(f) == NULL);
    FACT(coil_ref(f) == f);
    for (int i = 0; i < 10; i++)
        coil_unref(f); /* it is immortal */
    FACT_INT(coil_future_set_result(f, 1), COIL_EINVALIDSTATE);
    FACT(!coil_future_cancel(f, "x"));
    FACT(!coil_task_cancel(f, "x"));
    FACT(!coil_is_task(f));
    FACT_INT(coil_task_cancelling(f), 0);
    FACT_INT(coil_task_uncancel(f), 0);
    FACT_TEXT(coil_task_get_name(f), "");
    FACT_TEXT(coil_task_waiting_on(f), "");
    FACT_TEXT(coil_task_created_at(f, NULL), "");
    FACT(coil_task_get_context(f) == NULL);
    FACT(coil_task_get_fn(f, NULL) == NULL);
    FACT_INT(coil_task_state(f), COIL_TASK_DONE);
    coil_task_set_name(f, "x");
    coil_future_set_free_result(f, free_value);
    FACT_INT(coil_future_add_done_callback(f, note_done, TEXT("a")), COIL_ENOLOOP);
    FACT_INT(coil_future_remove_done_callback(f, note_done, TEXT("a")), 0);
    coil_future *same = coil_ensure_future(f);
    FACT_INT(coil_future_result(same), COIL_ENOLOOP);
    coil_unref(same);
}

LOOP(future_failed_calls_back_like_any_other)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_set_event_loop(stage.loop);
    on_done(f, note_done, "a");
    coil_set_event_loop(NULL);
    one_turn();
    FACT_TRACE("a");
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_ENOLOOP);
}

/* ---- and the loop's end ---- */

LOOP(future_outlives_the_close_of_its_loop)
{
    coil_future *f = fresh(), *g = fresh(), *h = fresh();
    on_done(f, note_done, "a");
    on_done(g, note_done, "b");
    on_done(h, note_done, "c");
    FACT_INT(coil_future_set_result(f, 1), 0); /* its callback is queued, and never runs */
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(coil_future_result(f), 1);
    FACT(!coil_future_done(g));
    FACT_INT(coil_future_set_result(g, 2), COIL_ECLOSED);
    FACT_INT(coil_future_set_exception(g, -EIO), COIL_ECLOSED);
    FACT_INT(coil_future_add_done_callback(g, note_done, TEXT("x")), COIL_ECLOSED);
    FACT(coil_future_cancel(h, NULL)); /* nobody is told */
    FACT(coil_future_cancelled(h));
    coil_unref(f);
    coil_unref(g);
    coil_unref(h);
    FACT_TRACE("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(future_begins_pending),
        cmocka_unit_test(future_with_a_result),
        cmocka_unit_test(future_with_an_error),
        cmocka_unit_test(future_error_without_words_has_those_of_its_code),
        cmocka_unit_test(future_cancelled),
        cmocka_unit_test(future_takes_values_as_results_and_errors_as_errors),
        cmocka_unit_test(callbacks_run_in_order_in_the_next_turn),
        cmocka_unit_test(callback_added_to_a_done_future_is_queued),
        cmocka_unit_test(callback_keeps_the_future_alive),
        cmocka_unit_test(callbacks_of_a_future_that_goes_while_pending_are_dropped),
        cmocka_unit_test(callback_removed_is_gone_with_all_its_equals),
        cmocka_unit_test(callbacks_may_add_more_and_too_late_to_remove),
        cmocka_unit_test(callback_may_drop_the_last_reference),
        cmocka_unit_test(callback_without_a_function_is_refused),
        cmocka_unit_test(callback_runs_in_the_context_of_who_added_it),
        cmocka_unit_test(callback_may_be_given_a_context),
        cmocka_unit_test(result_nobody_took_is_freed_once),
        cmocka_unit_test(result_somebody_took_is_theirs),
        cmocka_unit_test(result_that_never_came_is_not_freed),
        cmocka_unit_test(future_of_two_gigabytes_keeps_no_origin),
        cmocka_unit_test(future_failed_stands_in),
        cmocka_unit_test(future_failed_calls_back_like_any_other),
        cmocka_unit_test(future_outlives_the_close_of_its_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
