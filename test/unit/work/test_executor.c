/* SPDX-License-Identifier: MIT
 *
 * test_executor.c: functions on threads, and what becomes of them when the pool ends. */
#include "gate.h"
#include "leave.h"

#include "base/mem.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static coil_ret result_of(coil_thread_future *f)
{
    coil_ret rc = coil_thread_future_result(f, COIL_FOREVER);
    coil_thread_future_unref(f);
    return rc;
}

static void end_executor(coil_executor *executor)
{
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_executor_unref(executor);
}

/* ---- submit ---- */

COIL_TEST_PLAIN(executor_submit_returns_what_the_function_returns)
{
    coil_executor *executor = coil_thread_pool_executor_new(2, "two");
    assert_int_equal(result_of(coil_executor_submit(executor, return_arg, number(12), 0)), 12);
    end_executor(executor);
}

COIL_TEST_PLAIN(executor_submit_carries_the_error_with_its_words)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    assert_int_equal(result_of(coil_executor_submit(executor, fail_with_words, number(3), 0)),
                     COIL_EUSER - 5);
    assert_string_equal(coil_last_error()->message, "disk 3 is full");
    /* An error of one job is not taken for that of the next. */
    assert_int_equal(result_of(coil_executor_submit(executor, return_arg, number(-EIO), 0)), -EIO);
    assert_string_equal(coil_last_error()->message, coil_strerror(-EIO));
    end_executor(executor);
}

static coil_ret sum(void *arg)
{
    const int *n = arg;
    return n[0] + n[1] + n[2];
}

COIL_TEST_PLAIN(executor_submit_copies_the_arguments_when_told)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    int n[3] = {1, 20, 300};
    coil_thread_future *f = coil_executor_submit(executor, sum, n, sizeof n);
    memset(n, 0, sizeof n);
    gate_open(&gate);
    assert_int_equal(result_of(f), 321);
    end_pool(executor, &gate, held);
}

static coil_ret note_name(void *arg)
{
    return pthread_getname_np(pthread_self(), arg, 16);
}

COIL_TEST_PLAIN(executor_names_its_threads)
{
    char name[16];
    coil_executor *executor = coil_thread_pool_executor_new(1, "resolver");
    assert_int_equal(result_of(coil_executor_submit(executor, note_name, name, 0)), 0);
    assert_string_equal(name, "resolver");
    end_executor(executor);
}

static void expect_numbers(coil_executor *executor, unsigned threads, size_t running, size_t queued)
{
    coil_executor_stats_t stats;
    coil_executor_stats(executor, &stats);
    assert_int_equal(stats.size, sizeof stats);
    assert_string_equal(stats.kind, "threads");
    assert_int_equal(stats.threads, threads);
    assert_int_equal(stats.running, running);
    assert_int_equal(stats.queued, queued);
}

COIL_TEST_PLAIN(executor_starts_no_more_threads_than_told)
{
    enum { MAX = 3, JOBS = 8 };
    struct gate gate = GATE_INIT;
    coil_executor *executor = coil_thread_pool_executor_new(MAX, NULL);
    coil_thread_future *jobs[JOBS];
    expect_numbers(executor, 0, 0, 0);
    for (int i = 0; i < JOBS; i++)
        jobs[i] = coil_executor_submit(executor, pass_gate, &gate, 0);
    gate_await(&gate, MAX);
    expect_numbers(executor, MAX, MAX, JOBS - MAX);
    gate_open(&gate);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(result_of(jobs[i]), 7);
    end_executor(executor);
}

COIL_TEST_PLAIN(executor_size_is_asyncios_when_not_told)
{
    coil_executor *executor = coil_thread_pool_executor_new(0, NULL);
    coil_executor_stats_t stats;
    coil_executor_stats(executor, &stats);
    unsigned expected = coil__thread_cpus() + 4;
    assert_int_equal(stats.threads_max, expected < 32 ? expected : 32);
    coil_executor_unref(executor);
}

COIL_TEST_PLAIN(executor_refuses_nonsense)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    assert_int_equal(result_of(coil_executor_submit(executor, NULL, NULL, 0)), -EINVAL);
    assert_int_equal(result_of(coil_executor_submit(NULL, return_arg, NULL, 0)), -EINVAL);
    assert_int_equal(coil_executor_shutdown_within(executor, NAN, false), -EINVAL);
    end_executor(executor);
}

COIL_TEST_PLAIN(executor_job_is_finished_by_nobody_else)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    assert_int_equal(coil_thread_future_set_result(held, 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_thread_future_set_exception(held, -EIO), COIL_EINVALIDSTATE);
    assert_int_equal(coil_thread_future_set_running_or_notify_cancel(held), COIL_EINVALIDSTATE);
    end_pool(executor, &gate, held);
}

/* ---- cancel ---- */

static _Atomic int calls;
static coil_ret count_call(void *arg)
{
    return atomic_fetch_add(&calls, 1) + 1;
}

COIL_TEST_PLAIN(executor_job_that_is_queued_is_taken_out_by_a_cancel)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    calls = 0;
    coil_thread_future *a = coil_executor_submit(executor, count_call, NULL, 0);
    coil_thread_future *b = coil_executor_submit(executor, count_call, NULL, 0);
    expect_numbers(executor, 1, 1, 2);
    assert_true(coil_thread_future_cancel(a));
    expect_numbers(executor, 1, 1, 1);
    assert_int_equal(coil_thread_future_state(a), COIL_THREAD_CANCELLED_AND_NOTIFIED);
    assert_true(coil_thread_future_cancel(a));
    assert_int_equal(result_of(a), -ECANCELED);
    gate_open(&gate);
    assert_int_equal(result_of(b), 1);
    end_pool(executor, &gate, held);
}

COIL_TEST_PLAIN(executor_job_that_runs_cannot_be_cancelled)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    assert_true(coil_thread_future_running(held));
    assert_false(coil_thread_future_cancel(held));
    assert_false(coil_thread_future_cancelled(held));
    end_pool(executor, &gate, held);
}

COIL_TEST_PLAIN(executor_job_runs_though_nobody_holds_its_future)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    calls = 0;
    coil_thread_future_unref(coil_executor_submit(executor, count_call, NULL, 0));
    end_pool(executor, &gate, held);
    assert_int_equal(calls, 1);
}

/* ---- the end ---- */

COIL_TEST_PLAIN(executor_shutdown_runs_what_is_queued)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    coil_thread_future *queued = coil_executor_submit(executor, return_arg, number(3), 0);
    assert_int_equal(coil_executor_shutdown(executor, false, false), 0);
    assert_int_equal(coil_executor_shutdown(executor, false, false), 0);
    assert_false(coil_thread_future_done(queued));
    assert_int_equal(result_of(coil_executor_submit(executor, return_arg, NULL, 0)),
                     COIL_ESHUTDOWN);
    assert_int_equal(last_code(), COIL_ESHUTDOWN);
    gate_open(&gate);
    assert_int_equal(result_of(queued), 3);
    end_pool(executor, &gate, held);
}

COIL_TEST_PLAIN(executor_shutdown_cancels_what_is_queued_when_told)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    calls = 0;
    coil_thread_future *a = coil_executor_submit(executor, count_call, NULL, 0);
    int copied = 1;
    coil_thread_future *b = coil_executor_submit(executor, count_call, &copied, sizeof copied);
    assert_true(coil_thread_future_cancel(b));
    assert_int_equal(coil_executor_shutdown(executor, false, true), 0);
    assert_int_equal(coil_thread_future_state(a), COIL_THREAD_CANCELLED_AND_NOTIFIED);
    assert_int_equal(result_of(a), -ECANCELED);
    assert_int_equal(result_of(b), -ECANCELED);
    end_pool(executor, &gate, held);
    assert_int_equal(calls, 0);
}

COIL_TEST_PLAIN(executor_shutdown_waits_no_longer_than_told)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    assert_int_equal(coil_executor_shutdown_within(executor, 0, false), -ETIMEDOUT);
    assert_int_equal(coil_executor_shutdown_within(executor, 0.001, false), -ETIMEDOUT);
    gate_open(&gate);
    assert_int_equal(coil_executor_shutdown_within(executor, 60, false), 0);
    assert_int_equal(coil_executor_shutdown_within(executor, 0, false), 0);
    end_pool(executor, &gate, held);
}

static coil_ret shut_down_own(void *arg)
{
    return coil_executor_shutdown(arg, true, false);
}

COIL_TEST_PLAIN(executor_thread_does_not_wait_for_itself)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    assert_int_equal(result_of(coil_executor_submit(executor, shut_down_own, executor, 0)),
                     COIL_EDEADLOCK);
    assert_int_equal(result_of(coil_executor_submit(executor, return_arg, NULL, 0)),
                     COIL_ESHUTDOWN);
    end_executor(executor);
}

COIL_TEST_PLAIN(executor_given_up_while_a_job_runs_ends_by_itself)
{
    static struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    coil_thread_future *queued = coil_executor_submit(executor, return_arg, number(4), 0);
    coil_executor_unref(executor);
    gate_open(&gate);
    assert_int_equal(result_of(held), 7);
    assert_int_equal(result_of(queued), 4);
    /* The test's end waits until its thread is gone. */
}

static coil_ret drop_executor(void *arg)
{
    coil_executor_unref(arg);
    return 0;
}

COIL_TEST_PLAIN(executor_may_be_given_up_by_its_own_thread)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    coil_thread_future *dropped = coil_executor_submit(executor, drop_executor, executor, 0);
    if (coil_thread_future_done(dropped) && coil_iserr(coil_thread_future_result(dropped, 0)))
        coil_executor_unref(executor); /* it was not run */
    coil_thread_future_unref(dropped);
}

/* ---- many at once ---- */

enum { STORM_THREADS = 4, STORM_JOBS = 500 };

struct storm {
    struct thread thread;
    coil_executor *executor;
    int ran, cancelled;
};

static void storm_main(void *arg)
{
    struct storm *storm = arg;
    for (int i = 0; i < STORM_JOBS; i++) {
        coil_thread_future *f = coil_executor_submit(storm->executor, return_arg, number(i), 0);
        bool cancelled = i % 3 == 0 && coil_thread_future_cancel(f);
        coil_ret rc = result_of(f);
        storm->cancelled += cancelled && rc == -ECANCELED;
        storm->ran += !cancelled && rc == i;
    }
}

COIL_TEST_PLAIN(executor_loses_no_job_between_many_threads)
{
    struct storm storms[STORM_THREADS];
    coil_executor *executor = coil_thread_pool_executor_new(2, NULL);
    for (int i = 0; i < STORM_THREADS; i++) {
        storms[i] = (struct storm){.executor = executor};
        assert_int_equal(coil__thread_start(&storms[i].thread, "storm", storm_main, &storms[i]), 0);
    }
    for (int i = 0; i < STORM_THREADS; i++) {
        coil__thread_join(&storms[i].thread);
        assert_int_equal(storms[i].ran + storms[i].cancelled, STORM_JOBS);
    }
    end_executor(executor);
}

COIL_TEST_PLAIN(executor_shut_down_in_the_midst_answers_every_job)
{
    for (int round = 0; round < 30; round++) {
        coil_executor *executor = coil_thread_pool_executor_new(2, NULL);
        coil_thread_future *jobs[20];
        for (int i = 0; i < 20; i++) {
            jobs[i] = coil_executor_submit(executor, return_arg, number(i), 0);
            if (i == round % 20)
                assert_int_equal(coil_executor_shutdown(executor, false, round % 2), 0);
        }
        for (int i = 0; i < 20; i++) {
            coil_ret rc = result_of(jobs[i]);
            assert_true(rc == i || rc == (i > round % 20 ? COIL_ESHUTDOWN : -ECANCELED));
        }
        end_executor(executor);
    }
}

/* ---- without memory ---- */

static void use_executor(void *arg)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    if (!executor) {
        assert_int_equal(last_code(), -ENOMEM);
        return;
    }
    coil_ret rc = result_of(coil_executor_submit(executor, return_arg, number(9), 0));
    assert_true(rc == 9 || rc == -ENOMEM);
    rc = result_of(coil_executor_submit(executor, fail_with_words, "copied", 7));
    assert_true(rc == COIL_EUSER - 5 || rc == -ENOMEM);
    end_executor(executor);
}

COIL_TEST_PLAIN(executor_survives_each_failing_allocation)
{
    int failed = sweep_allocations(use_executor, NULL);
    (void)failed;
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    assert_true(failed >= 5);
#endif
}

/* ---- children ---- */

static coil_ret wait_for_nobody(void *arg)
{
    return coil_await(coil_loop_create_future(NULL));
}

static int what_a_child_meets(coil_executor *executor)
{
    int wrong = result_of(coil_executor_submit(executor, return_arg, number(1), 0)) !=
                COIL_EWRONGTHREAD;
    wrong += !strstr(coil_last_error()->message, "inherited by fork");
    wrong += coil_executor_shutdown(executor, true, true) != 0; /* waits for nobody */
    coil_executor_unref(executor);
    if (UNDER_TSAN || !process_began_alone()) /* an emulator starts no thread in a child of fork */
        return wrong;
    /* The parent's busy thread is nobody here. */
    wrong += coil_run(wait_for_nobody, NULL) != COIL_EDEADLOCK;
    executor = coil_thread_pool_executor_new(1, NULL);
    wrong += result_of(coil_executor_submit(executor, return_arg, number(2), 0)) != 2;
    end_executor(executor);
    return wrong;
}

COIL_TEST_PLAIN(executor_in_a_child_of_fork_takes_no_jobs)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        leave_child(what_a_child_meets(executor));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    gate_open(&gate);
    result_of(held);
    end_executor(executor);
}

COIL_TEST_MAIN()
