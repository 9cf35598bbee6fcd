/* SPDX-License-Identifier: MIT
 *
 * test_link.c: futures of a loop that follow thread futures: run_in_executor and wrap_future. */
#include "gate.h"

#include "base/mem.h"
#include "loop/loop.h"

#include <coil/combine.h>
#include <coil/timeout.h>

static size_t jobs(void)
{
    coil_loop_stats_t stats;
    coil_loop_stats(NULL, &stats);
    return stats.jobs;
}

static void turns(int n)
{
    while (n-- > 0)
        assert_int_equal(coil_sleep(0.001), 0);
}

/* ---- run_in_executor ---- */

COIL_TEST(run_in_executor_gives_the_result)
{
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, return_arg, number(31), 0);
    assert_false(coil_future_done(f));
    assert_int_equal(jobs(), 1);
    assert_int_equal(coil_await(f), 31);
    assert_int_equal(jobs(), 0);
    assert_int_equal(coil_await(f), 31);
    coil_unref(f);
}

COIL_TEST(run_in_executor_gives_the_error_with_its_words)
{
    assert_int_equal(
        coil_join(coil_loop_run_in_executor(NULL, NULL, fail_with_words, number(2), 0)),
        COIL_EUSER - 5);
    assert_string_equal(coil_last_error()->message, "disk 2 is full");
}

static coil_ret text_length(void *arg)
{
    return (coil_ret)strlen(arg);
}

COIL_TEST(run_in_executor_copies_the_arguments_when_told)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    char text[] = "four";
    coil_future *f = coil_loop_run_in_executor(NULL, executor, text_length, text, sizeof text);
    memset(text, 'x', sizeof text);
    gate_open(&gate);
    assert_int_equal(coil_join(f), 4);
    end_pool(executor, &gate, held);
}

COIL_TEST(run_in_executor_takes_another_executor)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, "other");
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, executor, return_arg, number(5), 0)),
                     5);
    coil_executor_stats_t stats;
    coil_executor_stats(executor, &stats);
    assert_int_equal(stats.threads, 1);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, executor, return_arg, NULL, 0)),
                     COIL_ESHUTDOWN);
    assert_int_equal(last_code(), COIL_ESHUTDOWN);
    coil_executor_unref(executor);
}

COIL_TEST(run_in_executor_refuses_nonsense)
{
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, NULL, NULL, NULL, 0)), -EINVAL);
}

COIL_TEST_PLAIN(run_in_executor_without_a_loop_is_refused)
{
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, return_arg, NULL, 0);
    assert_int_equal(coil_future_result(f), COIL_ENOLOOP);
    coil_unref(f);
}

COIL_TEST_PLAIN(run_in_executor_works_before_the_loop_runs)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_future *f = coil_loop_run_in_executor(loop, NULL, return_arg, number(6), 0);
    assert_int_equal(coil_loop_run_until_complete(loop, f), 6);
    coil_unref(f);
    coil_loop_free(loop);
}

static char last_report[256];
static void note_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    snprintf(last_report, sizeof last_report, "%s", context->message);
}

COIL_TEST(run_in_executor_error_nobody_looks_at_is_reported)
{
    last_report[0] = 0;
    coil_loop_set_exception_handler(NULL, note_report, NULL);
    coil_unref(coil_loop_run_in_executor(NULL, NULL, fail_with_words, NULL, 0));
    while (jobs())
        turns(1);
    assert_non_null(strstr(last_report, "never retrieved"));
}

/* ---- run_in_executor, cancelled ---- */

COIL_TEST(run_in_executor_cancelled_while_queued_is_taken_out)
{
    struct gate holding = GATE_INIT, gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&holding, &held);
    coil_future *f = coil_loop_run_in_executor(NULL, executor, pass_gate, &gate, 0);
    assert_true(coil_future_cancel(f, "not needed"));
    assert_true(coil_future_cancelled(f));
    coil_executor_stats_t stats;
    coil_executor_stats(executor, &stats);
    assert_int_equal(stats.queued, 0);
    assert_int_equal(coil_await(f), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "not needed");
    coil_unref(f);
    end_pool(executor, &holding, held);
    turns(1);
    assert_int_equal(jobs(), 0);
    assert_int_equal(gate.entered, 0);
}

COIL_TEST(run_in_executor_lent_a_pointer_refuses_the_cancel_while_it_runs)
{
    struct gate gate = GATE_INIT;
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate, &gate, 0);
    gate_await(&gate, 1);
    assert_false(coil_future_cancel(f, NULL));
    assert_false(coil_future_done(f));
    gate_open(&gate);
    assert_int_equal(coil_join(f), 7);
}

static coil_ret await_it(void *arg)
{
    return coil_await((coil_future *)arg);
}

COIL_TEST(run_in_executor_lent_a_pointer_keeps_every_cancelled_waiter)
{
    struct gate gate = GATE_INIT;
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate, &gate, 0);
    coil_task *a = coil_create_task(await_it, f), *b = coil_create_task(await_it, f);
    turns(1);
    gate_await(&gate, 1);
    coil_task_cancel(a, "for a");
    turns(3);
    assert_false(coil_future_done(a));
    assert_false(coil_future_done(b));
    gate_open(&gate);
    assert_int_equal(coil_await(a), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "for a");
    coil_unref(a);
    assert_int_equal(coil_join(b), 7);
    assert_int_equal(coil_join(f), 7);
}

static coil_ret gather_it(void *arg)
{
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate, arg, 0);
    coil_future *g = coil_loop_run_in_executor(NULL, NULL, pass_gate, arg, 0);
    coil_future *both[] = {f, g};
    coil_ret rc = coil_gather(both, 2, NULL, 0);
    coil_unref(f);
    coil_unref(g);
    return rc;
}

COIL_TEST(run_in_executor_lent_a_pointer_keeps_a_cancelled_gather)
{
    struct gate gate = GATE_INIT;
    coil_task *task = coil_create_task(gather_it, &gate);
    turns(1);
    gate_await(&gate, 2);
    coil_task_cancel(task, NULL);
    turns(3);
    assert_false(coil_future_done(task));
    gate_open(&gate);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_int_equal(gate_left(&gate), 2);
}

COIL_TEST(run_in_executor_lent_a_pointer_keeps_a_wait_for_beyond_its_time)
{
    struct gate gate = GATE_INIT;
    assert_int_equal(coil_loop_call_later(NULL, 0.02, gate_open_callback, &gate, NULL), 0);
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate, &gate, 0);
    gate_await(&gate, 1);
    assert_int_equal(coil_wait_for(f, 0.001), -ETIMEDOUT);
    assert_int_equal(gate_left(&gate), 1);
    assert_int_equal(coil_join(f), 7); /* the result is not lost */
}

COIL_TEST(run_in_executor_that_borrows_nothing_is_abandoned)
{
    static struct gate gate = GATE_INIT;
    struct gate *at = &gate;
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate_at, &at, sizeof at);
    coil_task *task = coil_create_task(await_it, f);
    turns(1);
    gate_await(&gate, 1);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_true(coil_future_cancelled(f));
    assert_int_equal(jobs(), 0);
    assert_int_equal(gate_left(&gate), 0);
    coil_unref(f);
    gate_open(&gate);
}

static coil_ret freed;
static void note_freed(coil_ret value)
{
    freed = value;
}

COIL_TEST(run_in_executor_abandoned_frees_what_it_returns)
{
    static struct gate gate = GATE_INIT;
    struct gate *at = &gate;
    freed = 0;
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate_at, &at, sizeof at);
    coil_future_set_free_result(f, note_freed);
    gate_await(&gate, 1);
    assert_true(coil_future_cancel(f, NULL));
    coil_unref(f);
    gate_open(&gate);
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, COIL_FOREVER), 0);
    assert_int_equal(freed, 7);
}

/* ---- wrap_future ---- */

COIL_TEST(wrap_future_brings_the_result_into_the_loop)
{
    coil_thread_future *t = coil_thread_future_new();
    coil_future *f = coil_wrap_future(t, NULL);
    assert_int_equal(jobs(), 1);
    assert_int_equal(coil_thread_future_set_result(t, 9), 0);
    assert_false(coil_future_done(f));
    assert_int_equal(coil_join(f), 9);
    assert_int_equal(jobs(), 0);
    f = coil_wrap_future(t, NULL); /* of one that is done */
    assert_false(coil_future_done(f));
    assert_int_equal(coil_join(f), 9);
    coil_thread_future_unref(t);
}

COIL_TEST(wrap_future_brings_the_error_into_the_loop)
{
    coil_thread_future *t = coil_thread_future_new();
    coil_future *f = coil_wrap_future(t, NULL);
    assert_int_equal(coil_thread_future_set_exception(t, coil_fail(COIL_EUSER, "a thread's words")),
                     0);
    coil_fail(-EIO, "others");
    assert_int_equal(coil_join(f), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "a thread's words");
    coil_thread_future_unref(t);
}

COIL_TEST(wrap_future_cancelled_in_the_loop_cancels_the_thread_future)
{
    coil_thread_future *t = coil_thread_future_new();
    coil_future *f = coil_wrap_future(t, NULL);
    assert_true(coil_future_cancel(f, NULL));
    assert_true(coil_thread_future_cancelled(t));
    assert_int_equal(coil_join(f), -ECANCELED);
    turns(1);
    assert_int_equal(jobs(), 0);
    coil_thread_future_unref(t);
}

COIL_TEST(wrap_future_cancelled_in_the_thread_cancels_the_loops)
{
    coil_thread_future *t = coil_thread_future_new();
    coil_future *f = coil_wrap_future(t, NULL);
    assert_true(coil_thread_future_cancel(t));
    assert_int_equal(coil_await(f), -ECANCELED);
    assert_true(coil_future_cancelled(f));
    coil_unref(f);
    coil_thread_future_unref(t);
}

COIL_TEST(wrap_future_of_a_running_one_is_cancelled_alone)
{
    coil_thread_future *t = coil_thread_future_new();
    assert_int_equal(coil_thread_future_set_running_or_notify_cancel(t), 1);
    coil_future *f = coil_wrap_future(t, NULL);
    assert_true(coil_future_cancel(f, NULL));
    assert_true(coil_thread_future_running(t));
    assert_int_equal(jobs(), 0);
    assert_int_equal(coil_thread_future_set_result(t, 1), 0);
    assert_int_equal(coil_join(f), -ECANCELED);
    coil_thread_future_unref(t);
}

COIL_TEST(wrap_future_finishes_several_futures)
{
    coil_thread_future *t = coil_thread_future_new();
    coil_future *a = coil_wrap_future(t, NULL), *b = coil_wrap_future(t, NULL);
    assert_int_equal(coil_thread_future_set_result(t, 3), 0);
    coil_thread_future_unref(t);
    assert_int_equal(coil_join(a), 3);
    assert_int_equal(coil_join(b), 3);
}

COIL_TEST_PLAIN(wrap_future_without_a_loop_is_refused)
{
    coil_thread_future *t = coil_thread_future_new();
    coil_future *f = coil_wrap_future(t, NULL);
    assert_int_equal(coil_future_result(f), COIL_ENOLOOP);
    coil_thread_future_unref(t);
}

/* ---- the loop closes ---- */

COIL_TEST_PLAIN(link_pending_when_the_loop_closes_lets_go)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_thread_future *t = coil_thread_future_new();
    coil_future *f = coil_wrap_future(t, loop);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_false(coil_future_done(f));
    assert_int_equal(coil_thread_future_set_result(t, 1), 0);
    assert_false(coil_future_done(f));
    coil_unref(f);
    coil_thread_future_unref(t);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(link_on_its_way_when_the_loop_closes_is_freed)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_thread_future *t = coil_thread_future_new();
    coil_unref(coil_wrap_future(t, loop));
    assert_int_equal(coil_thread_future_set_result(t, 1), 0);
    coil_loop_free(loop);
    coil_thread_future_unref(t);
}

COIL_TEST_PLAIN(link_fired_after_the_loop_is_gone_is_freed)
{
    static struct gate gate = GATE_INIT;
    struct gate *at = &gate;
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_unref(coil_loop_run_in_executor(loop, executor, pass_gate_at, &at, sizeof at));
    gate_await(&gate, 1);
    coil_loop_free(loop);
    gate_open(&gate);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_executor_unref(executor);
}

struct lender {
    struct gate gate;
    coil_ret got;
    bool job_was_back;
};

static coil_ret lend_frame(void *arg)
{
    struct lender *lender = arg;
    struct gate *at = &lender->gate; /* in this frame */
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate_at, &at, 0);
    lender->got = coil_join(f);
    lender->job_was_back = gate_left(&lender->gate) == 1;
    return lender->got;
}

static coil_ret lend_frame_to_gather(void *arg)
{
    struct lender *lender = arg;
    struct gate *at = &lender->gate;
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, pass_gate_at, &at, 0);
    lender->got = coil_gather(&f, 1, NULL, 0);
    lender->job_was_back = gate_left(&lender->gate) == 1;
    coil_unref(f);
    return lender->got;
}

static void close_under(coil_fn fn)
{
    struct lender lender = {.gate = GATE_INIT};
    coil_loop *loop = begun_loop(NULL, fn, &lender);
    gate_await(&lender.gate, 1);
    struct thread opener;
    assert_int_equal(coil__thread_start(&opener, "opener", open_later, &lender.gate), 0);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(lender.got, COIL_EEXIT);
    assert_true(lender.job_was_back);
    coil__thread_join(&opener);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(link_to_a_running_job_that_was_lent_a_frame_holds_the_closing)
{
    close_under(lend_frame);
}

COIL_TEST_PLAIN(link_to_a_running_job_under_a_gather_holds_the_closing)
{
    close_under(lend_frame_to_gather);
}

COIL_TEST_PLAIN(link_to_a_queued_job_that_was_lent_a_frame_is_cut_by_the_closing)
{
    struct lender lender = {.gate = GATE_INIT};
    close_with_queued_job(lend_frame, &lender);
    assert_int_equal(lender.got, COIL_EEXIT);
    assert_int_equal(lender.gate.entered, 0);
}

static void never_called(coil_future *f, void *arg)
{
    fail_msg("a callback of a closed loop was called");
}

COIL_TEST_PLAIN(link_with_a_callback_on_a_loop_that_never_ran_holds_the_closing)
{
    struct gate gate = GATE_INIT;
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_future *f = coil_loop_run_in_executor(loop, NULL, pass_gate, &gate, 0);
    assert_int_equal(coil_future_add_done_callback(f, never_called, NULL), 0);
    coil_unref(f);
    gate_await(&gate, 1);
    struct thread opener;
    assert_int_equal(coil__thread_start(&opener, "opener", open_later, &gate), 0);
    coil_loop_free(loop);
    assert_int_equal(gate_left(&gate), 1);
    coil__thread_join(&opener);
}

/* ---- many at once ---- */

COIL_TEST(links_under_a_storm_of_cancels_answer_each_future)
{
    enum { N = 60, ROUNDS = 10 };
    coil_executor *executor = coil_thread_pool_executor_new(3, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        coil_future *all[N];
        for (int i = 0; i < N; i++)
            all[i] = coil_loop_run_in_executor(NULL, executor, return_arg, number(i), 0);
        bool cancelled[N];
        for (int i = 0; i < N; i++)
            cancelled[i] = (i + round) % 3 == 0 && coil_future_cancel(all[i], NULL);
        for (int i = 0; i < N; i++)
            assert_int_equal(coil_join(all[i]), cancelled[i] ? -ECANCELED : i);
    }
    while (jobs())
        turns(1);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_executor_unref(executor);
}

static void close_in_the_midst(coil_executor *executor, int n)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    for (int i = 0; i < n; i++)
        coil_unref(coil_loop_run_in_executor(loop, executor, return_arg, number(i), 0));
    for (int i = 0; i < n % 4; i++)
        assert_true(coil_loop_iterate(loop) >= 0);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(links_to_a_loop_that_closes_in_the_midst_are_all_freed)
{
    coil_executor *executor = coil_thread_pool_executor_new(3, NULL);
    for (int i = 1; i < 60; i++)
        close_in_the_midst(executor, i);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_executor_unref(executor);
}

/* ---- without memory ---- */

static coil_ret use_links(void *arg)
{
    coil_ret rc = coil_join(coil_loop_run_in_executor(NULL, NULL, text_length, "copied", 7));
    if (!coil_iserr(rc)) {
        rc = coil_join(coil_loop_run_in_executor(NULL, NULL, fail_with_words, number(1), 0));
        rc = rc == COIL_EUSER - 5 ? 0 : rc;
    }
    coil_thread_future *t = coil_thread_future_new();
    coil_future *f = coil_wrap_future(t, NULL);
    coil_ignore(coil_thread_future_set_result(t, 1));
    coil_ret rc2 = coil_join(f);
    coil_thread_future_unref(t);
    return coil_iserr(rc) ? rc : coil_iserr(rc2) ? rc2 : 0;
}

static void run_links(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true, .no_signals = true};
    coil_ret rc = coil_run_with(use_links, NULL, &opts);
    assert_true(rc == 0 || rc == -ENOMEM);
}

COIL_TEST_PLAIN(links_survive_each_failing_allocation)
{
    (void)sweep_allocations(run_links, NULL);
}

COIL_TEST_MAIN()
