/* SPDX-License-Identifier: MIT
 *
 * test_part.c: a loop's default executor, from the first job to the end. */
#include "gate.h"

#include "base/mem.h"

#include <math.h>

static char last_report[256], last_kind[24];
static void note_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    snprintf(last_report, sizeof last_report, "%s", context->message);
    snprintf(last_kind, sizeof last_kind, "%s", context->kind);
}

/* ---- set_default_executor ---- */

COIL_TEST(default_executor_is_the_one_that_was_set)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, "mine");
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    assert_int_equal(coil_to_thread(return_arg, number(1)), 1);
    coil_executor_stats_t stats;
    coil_executor_stats(executor, &stats);
    assert_int_equal(stats.threads, 1);
    coil_executor_unref(executor); /* the loop has its own reference */
    assert_int_equal(coil_to_thread(return_arg, number(2)), 2);
}

COIL_TEST(default_executor_must_be_a_thread_pool)
{
    assert_int_equal(coil_loop_set_default_executor(NULL, NULL), COIL_ETYPE);
    assert_int_equal(last_code(), COIL_ETYPE);
}

COIL_TEST(default_executor_that_is_replaced_is_not_shut_down)
{
    coil_executor *a = coil_thread_pool_executor_new(1, NULL),
                  *b = coil_thread_pool_executor_new(1, NULL);
    assert_int_equal(coil_loop_set_default_executor(NULL, a), 0);
    assert_int_equal(coil_loop_set_default_executor(NULL, b), 0);
    coil_thread_future *f = coil_executor_submit(a, return_arg, number(3), 0);
    assert_int_equal(coil_join(coil_wrap_future(f, NULL)), 3);
    coil_thread_future_unref(f);
    coil_executor_unref(a);
    coil_executor_unref(b);
}

COIL_TEST_PLAIN(default_executor_is_not_made_before_it_is_needed)
{
    unsigned before = coil__thread_count();
    coil_loop *loop = coil_new_event_loop(NULL);
    assert_int_equal(coil_loop_iterate(loop), 0);
    assert_int_equal(coil__thread_count(), before);
    coil_loop_free(loop);
}

/* ---- shutdown_default_executor ---- */

COIL_TEST(shutdown_waits_for_jobs_that_run_and_jobs_that_are_queued)
{
    struct gate gate = GATE_INIT;
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    coil_executor_unref(executor);
    coil_future *a = coil_loop_run_in_executor(NULL, NULL, pass_gate, &gate, 0);
    coil_future *b = coil_loop_run_in_executor(NULL, NULL, pass_gate, &gate, 0);
    assert_int_equal(coil_loop_call_later(NULL, 0.005, gate_open_callback, &gate, NULL), 0);
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, COIL_FOREVER), 0);
    assert_int_equal(gate_left(&gate), 2);
    assert_int_equal(coil_join(a), 7);
    assert_int_equal(coil_join(b), 7);
}

COIL_TEST(shutdown_of_nothing_does_not_wait_and_refuses_later_jobs)
{
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, 5), 0);
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, 5), 0);
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, NULL, return_arg, NULL, 0)),
                     COIL_ESHUTDOWN);
    assert_int_equal(last_code(), COIL_ESHUTDOWN);
}

COIL_TEST(shutdown_that_takes_too_long_is_told_and_given_up)
{
    static struct gate gate = GATE_INIT;
    last_report[0] = 0;
    coil_loop_set_exception_handler(NULL, note_report, NULL);
    struct gate *at = &gate;
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate_at, &at, sizeof at);
    gate_await(&gate, 1);
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, 0.01), 0);
    assert_string_equal(last_report,
                        "The executor did not finish joining its threads within 0.01 seconds.");
    assert_int_equal(coil_to_thread(return_arg, NULL), COIL_ESHUTDOWN);
    last_report[0] = 0;
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, 0), 0);
    assert_non_null(strstr(last_report, "did not finish"));
    gate_open(&gate);
    assert_int_equal(coil_join(f), 7); /* a job that was given up may still come home */
    assert_string_equal(last_kind, "threads-left");
}

COIL_TEST(shutdown_refuses_nonsense)
{
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, NAN), -EINVAL);
    coil_loop *other = coil_new_event_loop(NULL);
    assert_int_equal(coil_loop_shutdown_default_executor(other, 1), COIL_EWRONGLOOP);
    coil_loop_free(other);
    assert_int_equal(coil_to_thread(return_arg, number(1)), 1);
}

COIL_TEST_PLAIN(shutdown_outside_a_task_is_refused)
{
    coil_ret rc = coil_loop_shutdown_default_executor(NULL, 1);
    assert_int_equal(rc, COIL_ENOTASK);
}

static coil_ret shut_down(void *arg)
{
    return coil_loop_shutdown_default_executor(NULL, COIL_FOREVER);
}

COIL_TEST(shutdown_cancelled_leaves_the_threads_to_themselves)
{
    struct gate gate = GATE_INIT;
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate, &gate, 0);
    gate_await(&gate, 1);
    coil_task *task = coil_create_task(shut_down, NULL);
    assert_int_equal(coil_sleep(0), 0);
    assert_string_equal(coil_task_waiting_on(task), "executor");
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    gate_open(&gate);
    assert_int_equal(coil_join(f), 7);
    assert_int_equal(coil_to_thread(return_arg, NULL), COIL_ESHUTDOWN);
}

COIL_TEST_PLAIN(shutdown_under_way_when_the_loop_closes_is_left_behind)
{
    static struct gate gate = GATE_INIT;
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_loop_set_exception_handler(loop, ignore_report, NULL);
    struct gate *at = &gate;
    coil_unref(coil_loop_run_in_executor(loop, NULL, pass_gate_at, &at, sizeof at));
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    coil_unref(coil_create_task_opts(shut_down, NULL, &opts));
    assert_int_equal(coil_loop_iterate(loop), 1);
    gate_await(&gate, 1);
    coil_loop_free(loop);
    gate_open(&gate);
    /* The test's end waits for the threads. */
}

/* ---- close ---- */

COIL_TEST_PLAIN(close_does_not_wait_for_jobs_that_borrow_nothing)
{
    static struct gate gate = GATE_INIT;
    struct gate *at = &gate;
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_unref(coil_loop_run_in_executor(loop, NULL, pass_gate_at, &at, sizeof at));
    gate_await(&gate, 1);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(gate_left(&gate), 0);
    coil_future *f = coil_loop_run_in_executor(loop, NULL, return_arg, NULL, 0);
    assert_int_equal(coil_future_result(f), COIL_ECLOSED);
    assert_int_equal(coil_loop_set_default_executor(loop, NULL), COIL_ECLOSED);
    coil_loop_free(loop);
    gate_open(&gate);
}

static coil_ret shut_down_soon(void *arg)
{
    coil_ret rc = coil_to_thread(return_arg, number(1));
    return coil_iserr(rc) ? rc : coil_loop_shutdown_default_executor(NULL, 60);
}

static void run_shut_down(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true, .no_signals = true};
    coil_ret rc = coil_run_with(shut_down_soon, NULL, &opts);
    assert_true(rc == 0 || rc == -ENOMEM);
}

COIL_TEST_PLAIN(shutdown_survives_each_failing_allocation)
{
    (void)sweep_allocations(run_shut_down, NULL);
}

COIL_TEST_MAIN()
