/* SPDX-License-Identifier: MIT
 *
 * test_thread_future.c: futures that threads wait for. */
#include "gate.h"

#include "base/mem.h"

#include <math.h>

/* ---- states ---- */

static void expect_state(coil_thread_future *f, enum coil_thread_future_state state)
{
    assert_int_equal(coil_thread_future_state(f), state);
    assert_int_equal(coil_thread_future_running(f), state == COIL_THREAD_RUNNING);
    assert_int_equal(coil_thread_future_done(f), state >= COIL_THREAD_CANCELLED);
    assert_int_equal(coil_thread_future_cancelled(f),
                     state == COIL_THREAD_CANCELLED || state == COIL_THREAD_CANCELLED_AND_NOTIFIED);
}

COIL_TEST_PLAIN(thread_future_goes_from_pending_over_running_to_finished)
{
    coil_thread_future *f = coil_thread_future_new();
    expect_state(f, COIL_THREAD_PENDING);
    assert_int_equal(coil_thread_future_set_running_or_notify_cancel(f), 1);
    expect_state(f, COIL_THREAD_RUNNING);
    assert_false(coil_thread_future_cancel(f));
    expect_state(f, COIL_THREAD_RUNNING);
    assert_int_equal(coil_thread_future_set_result(f, 42), 0);
    expect_state(f, COIL_THREAD_FINISHED);
    assert_int_equal(coil_thread_future_result(f, 0), 42);
    assert_null(coil_thread_future_exception(f, 0));
    assert_false(coil_thread_future_cancel(f));
    coil_thread_future_unref(f);
}

COIL_TEST_PLAIN(thread_future_is_finished_without_having_run)
{
    coil_thread_future *f = coil_thread_future_new();
    assert_int_equal(coil_thread_future_set_result(f, 0), 0);
    expect_state(f, COIL_THREAD_FINISHED);
    coil_thread_future_unref(f);
}

COIL_TEST_PLAIN(thread_future_cancel_ends_a_pending_one)
{
    coil_thread_future *f = coil_thread_future_new();
    assert_true(coil_thread_future_cancel(f));
    expect_state(f, COIL_THREAD_CANCELLED);
    assert_true(coil_thread_future_cancel(f));
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), -ECANCELED);
    assert_int_equal(last_code(), -ECANCELED);
    assert_int_equal(there(coil_thread_future_exception(f, COIL_FOREVER))->code, -ECANCELED);
    assert_int_equal(coil_thread_future_set_running_or_notify_cancel(f), 0);
    expect_state(f, COIL_THREAD_CANCELLED_AND_NOTIFIED);
    assert_true(coil_thread_future_cancel(f));
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), -ECANCELED);
    coil_thread_future_unref(f);
}

COIL_TEST_PLAIN(thread_future_refuses_what_its_state_forbids)
{
    coil_thread_future *f = coil_thread_future_new();
    assert_int_equal(coil_thread_future_set_running_or_notify_cancel(f), 1);
    assert_int_equal(coil_thread_future_set_running_or_notify_cancel(f), COIL_EINVALIDSTATE);
    assert_int_equal(last_code(), COIL_EINVALIDSTATE);
    assert_int_equal(coil_thread_future_set_result(f, -EIO), -EINVAL);
    assert_int_equal(coil_thread_future_set_exception(f, 1), -EINVAL);
    assert_int_equal(coil_thread_future_set_result(f, 1), 0);
    assert_int_equal(coil_thread_future_set_result(f, 2), COIL_EINVALIDSTATE);
    assert_int_equal(coil_thread_future_set_exception(f, -EIO), COIL_EINVALIDSTATE);
    assert_int_equal(coil_thread_future_set_running_or_notify_cancel(f), COIL_EINVALIDSTATE);
    assert_int_equal(coil_thread_future_result(f, 0), 1);
    coil_thread_future_unref(f);

    f = coil_thread_future_new();
    assert_true(coil_thread_future_cancel(f));
    assert_int_equal(coil_thread_future_set_result(f, 1), COIL_EINVALIDSTATE);
    coil_thread_future_unref(f);
}

COIL_TEST_PLAIN(thread_future_error_keeps_its_words)
{
    coil_thread_future *f = coil_thread_future_new();
    coil_ret rc = coil_fail(COIL_EUSER, "the disk is on fire");
    assert_int_equal(coil_thread_future_set_exception(f, rc), 0);
    coil_fail(-EIO, "something else");
    assert_string_equal(there(coil_thread_future_exception(f, 0))->message, "the disk is on fire");
    assert_int_equal(coil_thread_future_result(f, 0), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "the disk is on fire");
    coil_thread_future_unref(f);

    f = coil_thread_future_new();
    assert_int_equal(coil_thread_future_set_exception(f, -ENOSPC), 0);
    assert_string_equal(there(coil_thread_future_exception(f, 0))->message, coil_strerror(-ENOSPC));
    coil_thread_future_unref(f);
}

/* ---- waiting ---- */

COIL_TEST_PLAIN(thread_future_result_waits_no_longer_than_told)
{
    coil_thread_future *f = coil_thread_future_new();
    assert_int_equal(coil_thread_future_result(f, 0), -ETIMEDOUT);
    assert_int_equal(coil_thread_future_result(f, -1), -ETIMEDOUT);
    assert_int_equal(coil_thread_future_result(f, 0.001), -ETIMEDOUT);
    assert_int_equal(last_code(), -ETIMEDOUT);
    assert_int_equal(coil_thread_future_result(f, NAN), -EINVAL);
    assert_null(coil_thread_future_exception(f, 0.001));
    assert_int_equal(last_code(), -ETIMEDOUT);
    expect_state(f, COIL_THREAD_PENDING);
    coil_thread_future_unref(f);
}

struct waiter {
    struct thread thread;
    coil_thread_future *future;
    coil_ret result;
};

static void waiter_main(void *arg)
{
    struct waiter *w = arg;
    w->result = coil_thread_future_result(w->future, COIL_FOREVER);
    coil_thread_future_unref(w->future);
}

COIL_TEST_PLAIN(thread_future_wakes_every_thread_that_waits)
{
    enum { N = 4, ROUNDS = 50 };
    for (int round = 0; round < ROUNDS; round++) {
        struct waiter waiters[N];
        coil_thread_future *f = coil_thread_future_new();
        for (int i = 0; i < N; i++) {
            waiters[i].future = coil_thread_future_ref(f);
            assert_int_equal(
                coil__thread_start(&waiters[i].thread, "waiter", waiter_main, &waiters[i]), 0);
        }
        if (round % 2)
            assert_int_equal(coil_thread_future_set_result(f, round), 0);
        else
            assert_true(coil_thread_future_cancel(f));
        coil_thread_future_unref(f); /* the last one may be a waiter's */
        for (int i = 0; i < N; i++) {
            coil__thread_join(&waiters[i].thread);
            assert_int_equal(waiters[i].result, round % 2 ? round : -ECANCELED);
        }
    }
}

COIL_TEST(thread_future_of_this_very_loop_is_not_waited_for)
{
    coil_thread_future *f = coil_run_coroutine_threadsafe(coil_get_running_loop(), return_arg,
                                                          number(5));
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), COIL_EDEADLOCK);
    assert_int_equal(last_code(), COIL_EDEADLOCK);
    assert_int_equal(coil_thread_future_result(f, 0), -ETIMEDOUT);
    assert_int_equal(coil_join(coil_wrap_future(f, NULL)), 5);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), 5);
    coil_thread_future_unref(f);
}

static char stands_still[] = "the loop stands still while its thread waits for ";
static int reports;
static void count_reports(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    assert_string_equal(context->kind, "blocking-wait");
    assert_memory_equal(context->message, arg, strlen(arg));
    reports++;
}

COIL_TEST_WITH(thread_future_in_debug_mode_says_that_it_stops_the_loop, .debug = true)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    struct gate gate = GATE_INIT;
    coil_thread_future *f = coil_executor_submit(executor, pass_gate, &gate, 0);
    reports = 0;
    coil_loop_set_slow_callback_duration(NULL, 3600); /* however busy the machine is */
    coil_loop_set_exception_handler(NULL, count_reports, stands_still);
    assert_int_equal(coil_thread_future_result(f, 0.001), -ETIMEDOUT);
    assert_int_equal(reports, 1);
    end_pool(executor, &gate, f); /* waits for the job, then for the threads */
    assert_in_range(reports, 2, 3);
}

/* ---- callbacks ---- */

struct seen {
    int n;
    char order[8];
    uintptr_t thread;
};
static struct seen seen;

static void note_a(coil_thread_future *f, void *arg)
{
    assert_true(coil_thread_future_done(f));
    assert_ptr_equal(arg, &seen);
    seen.thread = coil__thread_self();
    seen.order[seen.n++] = 'a';
}

static void note_b(coil_thread_future *f, void *arg)
{
    seen.order[seen.n++] = 'b';
}

static void note_and_add(coil_thread_future *f, void *arg)
{
    seen.order[seen.n++] = '(';
    assert_int_equal(coil_thread_future_add_done_callback(f, note_b, NULL), 0);
    seen.order[seen.n++] = ')';
}

COIL_TEST_PLAIN(thread_future_calls_back_in_order_on_the_finishing_thread)
{
    memset(&seen, 0, sizeof seen);
    coil_thread_future *f = coil_thread_future_new();
    assert_int_equal(coil_thread_future_add_done_callback(f, note_a, &seen), 0);
    assert_int_equal(coil_thread_future_add_done_callback(f, note_and_add, NULL), 0);
    assert_int_equal(coil_thread_future_add_done_callback(f, note_a, &seen), 0);
    assert_string_equal(seen.order, "");
    assert_int_equal(coil_thread_future_set_result(f, 1), 0);
    assert_string_equal(seen.order, "a(b)a");
    assert_true(seen.thread == coil__thread_self());
    assert_int_equal(coil_thread_future_add_done_callback(f, note_b, NULL), 0);
    assert_string_equal(seen.order, "a(b)ab");
    coil_thread_future_unref(f);

    memset(&seen, 0, sizeof seen);
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    struct gate gate = GATE_INIT;
    f = coil_executor_submit(executor, pass_gate, &gate, 0);
    assert_int_equal(coil_thread_future_add_done_callback(f, note_a, &seen), 0);
    end_pool(executor, &gate, f);
    assert_int_equal(seen.n, 1);
    assert_true(seen.thread != coil__thread_self());
}

COIL_TEST_PLAIN(thread_future_calls_back_when_cancelled)
{
    memset(&seen, 0, sizeof seen);
    coil_thread_future *f = coil_thread_future_new();
    assert_int_equal(coil_thread_future_add_done_callback(f, note_a, &seen), 0);
    assert_true(coil_thread_future_cancel(f));
    assert_string_equal(seen.order, "a");
    assert_int_equal(coil_thread_future_set_running_or_notify_cancel(f), 0);
    assert_string_equal(seen.order, "a");
    coil_thread_future_unref(f);
}

COIL_TEST_PLAIN(thread_future_that_is_never_done_drops_its_callbacks)
{
    memset(&seen, 0, sizeof seen);
    coil_thread_future *f = coil_thread_future_new();
    assert_int_equal(coil_thread_future_add_done_callback(f, note_a, &seen), 0);
    coil_thread_future_unref(f);
    assert_string_equal(seen.order, "");
}

/* ---- results that own memory ---- */

static coil_ret freed;
static void note_freed(coil_ret value)
{
    freed = value;
}

COIL_TEST_PLAIN(thread_future_frees_a_result_that_nobody_took)
{
    for (int taken = 0; taken < 2; taken++) {
        freed = 0;
        coil_thread_future *f = coil_thread_future_new();
        coil_thread_future_set_free_result(f, note_freed);
        assert_int_equal(coil_thread_future_set_result(f, 77), 0);
        if (taken)
            assert_int_equal(coil_thread_future_result(f, 0), 77);
        coil_thread_future_unref(f);
        assert_int_equal(freed, taken ? 0 : 77);
    }
    coil_thread_future *f = coil_thread_future_new();
    coil_thread_future_set_free_result(f, note_freed);
    assert_int_equal(coil_thread_future_set_exception(f, -EIO), 0);
    freed = 0;
    coil_thread_future_unref(f);
    assert_int_equal(freed, 0);
}

/* ---- without memory ---- */

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
COIL_TEST_PLAIN(thread_future_without_memory_is_a_failed_one)
{
    coil__mem_fail_at(1, 1);
    coil_thread_future *f = coil_thread_future_new();
    coil__mem_fail_at(0, 0);
    expect_state(f, COIL_THREAD_FINISHED);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), -ENOMEM);
    assert_int_equal(there(coil_thread_future_exception(f, 0))->code, -ENOMEM);
    assert_false(coil_thread_future_cancel(f));
    assert_int_equal(coil_thread_future_set_result(f, 1), COIL_EINVALIDSTATE);
    memset(&seen, 0, sizeof seen);
    assert_int_equal(coil_thread_future_add_done_callback(f, note_a, &seen), 0);
    assert_string_equal(seen.order, "a");
    coil_thread_future_unref(coil_thread_future_ref(f));
    coil_thread_future_unref(f);
    coil_thread_future_unref(f);
}

COIL_TEST_PLAIN(thread_future_callback_without_memory_is_refused)
{
    coil_thread_future *f = coil_thread_future_new();
    coil__mem_fail_at(1, 0);
    assert_int_equal(coil_thread_future_add_done_callback(f, note_a, &seen), -ENOMEM);
    assert_int_equal(coil_thread_future_set_result(f, 1), 0);
    coil_thread_future_unref(f);
}
#endif

COIL_TEST_MAIN()
