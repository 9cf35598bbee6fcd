/* SPDX-License-Identifier: MIT
 *
 * test_thread_wait.c: a thread waits for several thread futures, by CPython's test_concurrent_futures and beyond. */
#include "gate.h"

#include "base/clock.h"
#include "work/work.h"

#include <math.h>
#include <sched.h>

static coil_thread_future *with_result(coil_ret value)
{
    coil_thread_future *f = coil_thread_future_new();
    assert_int_equal(coil_thread_future_set_result(f, value), 0);
    return f;
}

static coil_thread_future *with_error(coil_ret error)
{
    coil_thread_future *f = coil_thread_future_new();
    assert_int_equal(coil_thread_future_set_exception(f, error), 0);
    return f;
}

static coil_thread_future *cancelled(void)
{
    coil_thread_future *f = coil_thread_future_new();
    assert_true(coil_thread_future_cancel(f));
    return f;
}

static void give_back(coil_thread_future **futures, size_t n)
{
    while (n > 0)
        coil_thread_future_unref(futures[--n]);
}

/* A pool of three threads, each held by a gate. */
struct stage {
    coil_executor *executor;
    struct gate gates[3];
    coil_thread_future *jobs[3];
};

static void open_stage(struct stage *stage)
{
    *stage = (struct stage){.executor = coil_thread_pool_executor_new(3, NULL)};
    for (int i = 0; i < 3; i++) {
        stage->gates[i] = (struct gate)GATE_INIT;
        stage->jobs[i] = coil_executor_submit(stage->executor, pass_gate, &stage->gates[i], 0);
    }
    for (int i = 0; i < 3; i++)
        gate_await(&stage->gates[i], 1);
}

static void close_stage(struct stage *stage)
{
    for (int i = 0; i < 3; i++)
        gate_open(&stage->gates[i]);
    assert_int_equal(coil_executor_shutdown(stage->executor, true, false), 0);
    coil_executor_unref(stage->executor);
    give_back(stage->jobs, 3);
}

/* Opens a gate from another thread, as soon as somebody waits for a future. */
struct opener {
    struct gate *gate;
    coil_thread_future *until; /* somebody waits for it */
    struct thread thread;
};

static void open_once_awaited(void *arg)
{
    const struct opener *o = arg;
    for (bool waited = false; !waited;) { /* a node on its list: the watcher's */
        coil__mutex_lock(&o->until->lock);
        waited = !list_empty(&o->until->callbacks);
        coil__mutex_unlock(&o->until->lock);
        sched_yield();
    }
    gate_open(o->gate);
}

static void start_opener(struct opener *o, struct gate *gate, coil_thread_future *until)
{
    *o = (struct opener){.gate = gate, .until = until};
    assert_int_equal(coil__thread_start(&o->thread, "opener", open_once_awaited, o), 0);
}

/* ---- wait ---- */

COIL_TEST_PLAIN(thread_wait_test_20369)
{
    coil_thread_future *f = with_result(1), *twice[] = {f, f};
    bool done[2] = {false, false};
    assert_int_equal(coil_thread_wait(twice, 2, COIL_FOREVER, COIL_ALL_COMPLETED, done), 2);
    assert_true(done[0] && done[1]);
    coil_thread_future_unref(f);
}

COIL_TEST_PLAIN(thread_wait_test_first_completed)
{
    struct stage stage;
    struct opener opener;
    bool done[3];
    open_stage(&stage);
    start_opener(&opener, &stage.gates[1], stage.jobs[1]);
    assert_int_equal(coil_thread_wait(stage.jobs, 3, COIL_FOREVER, COIL_FIRST_COMPLETED, done), 1);
    assert_true(!done[0] && done[1] && !done[2]);
    coil__thread_join(&opener.thread);
    close_stage(&stage);
}

COIL_TEST_PLAIN(thread_wait_test_first_completed_some_already_completed)
{
    struct stage stage;
    open_stage(&stage);
    coil_thread_future *all[] = {cancelled(), with_result(42), stage.jobs[0]};
    bool done[3];
    assert_int_equal(coil_thread_wait(all, 3, COIL_FOREVER, COIL_FIRST_COMPLETED, done), 2);
    assert_true(done[0] && done[1] && !done[2]);
    give_back(all, 2);
    close_stage(&stage);
}

COIL_TEST_PLAIN(thread_wait_test_first_exception)
{
    struct gate gate = GATE_INIT;
    coil_executor *executor = coil_thread_pool_executor_new(2, NULL);
    coil_thread_future *all[3] = {coil_executor_submit(executor, return_arg, number(2), 0),
                                  coil_executor_submit(executor, fail_with_words, number(1), 0),
                                  coil_executor_submit(executor, pass_gate, &gate, 0)};
    bool done[3];
    assert_in_range(coil_thread_wait(all, 3, COIL_FOREVER, COIL_FIRST_EXCEPTION, done), 1, 2);
    assert_true(done[1] && !done[2]);
    gate_open(&gate);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_executor_unref(executor);
    give_back(all, 3);
}

COIL_TEST_PLAIN(thread_wait_test_first_exception_some_already_complete)
{
    struct stage stage;
    struct opener opener;
    open_stage(&stage);
    /* A cancelled one is no exception: the wait goes on until all are done. */
    coil_thread_future *all[] = {with_result(42), cancelled(), stage.jobs[0]};
    bool done[3];
    assert_int_equal(coil_thread_wait(all, 3, 0, COIL_FIRST_EXCEPTION, done), 2);
    start_opener(&opener, &stage.gates[0], stage.jobs[0]);
    assert_int_equal(coil_thread_wait(all, 3, COIL_FOREVER, COIL_FIRST_EXCEPTION, done), 3);
    coil__thread_join(&opener.thread);
    give_back(all, 2);
    close_stage(&stage);
}

COIL_TEST_PLAIN(thread_wait_test_first_exception_one_already_failed)
{
    struct stage stage;
    open_stage(&stage);
    coil_thread_future *all[] = {with_error(-EIO), stage.jobs[0]};
    bool done[2];
    assert_int_equal(coil_thread_wait(all, 2, COIL_FOREVER, COIL_FIRST_EXCEPTION, done), 1);
    assert_true(done[0] && !done[1]);
    give_back(all, 1);
    close_stage(&stage);
}

COIL_TEST_PLAIN(thread_wait_test_all_completed)
{
    struct stage stage;
    struct opener opener;
    open_stage(&stage);
    gate_open(&stage.gates[0]);
    gate_open(&stage.gates[2]);
    coil_thread_future *all[] = {cancelled(), with_error(-EIO), stage.jobs[0], stage.jobs[1],
                                 stage.jobs[2]};
    start_opener(&opener, &stage.gates[1], stage.jobs[1]);
    assert_int_equal(coil_thread_wait(all, 5, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 5);
    coil__thread_join(&opener.thread);
    give_back(all, 2);
    close_stage(&stage);
}

COIL_TEST_PLAIN(thread_wait_test_timeout)
{
    struct stage stage;
    open_stage(&stage);
    coil_thread_future *all[] = {with_result(1), stage.jobs[0]};
    bool done[2];
    assert_int_equal(coil_thread_wait(all, 2, 0, COIL_ALL_COMPLETED, done), 1);
    assert_true(done[0] && !done[1]);
    int64_t begun = coil__clock_real_ns();
    assert_int_equal(coil_thread_wait(all, 2, 0.002, COIL_ALL_COMPLETED, done), 1);
    assert_true(coil__clock_real_ns() - begun >= 2 * NS_PER_MS);
    give_back(all, 1);
    close_stage(&stage);
    assert_int_equal(coil_thread_wait(NULL, 0, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 0);
}

/* Futures finish while their waiter is on its way out. */
COIL_TEST_PLAIN(thread_wait_test_pending_calls_race)
{
    enum { N = 8, ROUNDS = 300 };
    coil_executor *executor = coil_thread_pool_executor_new(4, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        coil_thread_future *all[N];
        for (int i = 0; i < N; i++)
            all[i] = coil_executor_submit(executor, return_arg, number(i), 0);
        coil_ret done = coil_thread_wait(all, N, round % 3 ? COIL_FOREVER : 0.00001,
                                         round % 2 ? COIL_FIRST_COMPLETED : COIL_ALL_COMPLETED,
                                         NULL);
        assert_in_range(done, round % 3 ? 1 : 0, N);
        give_back(all, N);
    }
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_executor_unref(executor);
}

COIL_TEST_PLAIN(thread_wait_refuses_nonsense)
{
    coil_thread_future *f = coil_thread_future_new(), *all[] = {f, NULL};
    coil_thread_as_completed it;
    assert_int_equal(coil_thread_wait(all, 1, NAN, COIL_ALL_COMPLETED, NULL), -EINVAL);
    assert_int_equal(coil_thread_wait(all, 2, 0, COIL_ALL_COMPLETED, NULL), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "place 1"));
    assert_int_equal(coil_thread_wait(NULL, 1, 0, COIL_ALL_COMPLETED, NULL), -EINVAL);
    assert_int_equal(coil_thread_wait(all, 1, 0, (enum coil_when)9, NULL), -EINVAL);
    assert_int_equal(coil_thread_as_completed_init(&it, all, 1, NAN), -EINVAL);
    memset(&it, 1, sizeof it);
    assert_int_equal(coil_thread_as_completed_init(&it, all, 2, 1), -EINVAL);
    coil_thread_as_completed_close(&it);
    assert_int_equal(coil_thread_wait(all, 1, 0, COIL_ALL_COMPLETED, NULL), 0);
    coil_thread_future_unref(f);
}

static coil_ret no_work(void *arg)
{
    (void)arg;
    return 5;
}

/* A loop's thread that waits for what only this loop can do would wait for ever. */
COIL_TEST(thread_wait_for_this_very_loop_is_refused)
{
    coil_thread_future *mine = coil_run_coroutine_threadsafe(NULL, no_work, NULL);
    coil_thread_future *done = with_result(1), *all[] = {mine, done};
    coil_thread_as_completed it;
    coil_thread_future *first;
    assert_int_equal(coil_thread_wait(all, 2, 1, COIL_ALL_COMPLETED, NULL), COIL_EDEADLOCK);
    assert_int_equal(coil_thread_wait(all, 1, 1, COIL_FIRST_COMPLETED, NULL), COIL_EDEADLOCK);
    assert_int_equal(coil_thread_wait(all, 2, 1, COIL_FIRST_COMPLETED, NULL), 1);
    assert_int_equal(coil_thread_as_completed_init(&it, all, 2, 1), 0);
    assert_int_equal(coil_thread_as_completed_next(&it, &first), 1);
    assert_ptr_equal(first, done);
    assert_int_equal(coil_thread_as_completed_next(&it, &first), COIL_EDEADLOCK);
    coil_thread_as_completed_close(&it);
    assert_int_equal(coil_join(coil_wrap_future(mine, NULL)), 5);
    give_back(all, 2);
}

/* ---- as_completed ---- */

COIL_TEST_PLAIN(thread_as_completed_test_no_timeout)
{
    struct stage stage;
    open_stage(&stage);
    coil_thread_future *all[] = {stage.jobs[0], cancelled(), stage.jobs[1], with_error(-EIO)}, *f;
    coil_thread_as_completed it;
    assert_int_equal(coil_thread_as_completed_init(&it, all, 4, COIL_FOREVER), 0);
    assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
    assert_ptr_equal(f, all[1]);
    assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
    assert_ptr_equal(f, all[3]);
    for (int i = 1; i >= 0; i--) {
        gate_open(&stage.gates[i]);
        assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
        assert_ptr_equal(f, stage.jobs[i]);
        assert_int_equal(coil_thread_future_result(f, 0), 7);
    }
    assert_int_equal(coil_thread_as_completed_next(&it, &f), 0);
    coil_thread_as_completed_close(&it);
    coil_thread_as_completed_close(&it);
    assert_int_equal(coil_thread_as_completed_next(&it, &f), 0);
    coil_thread_future_unref(all[1]);
    coil_thread_future_unref(all[3]);
    close_stage(&stage);
}

COIL_TEST_PLAIN(thread_as_completed_test_future_times_out)
{
    struct stage stage;
    open_stage(&stage);
    coil_thread_future *all[] = {stage.jobs[0], with_result(3)}, *f;
    for (int i = 0; i < 2; i++) {
        coil_thread_as_completed it;
        assert_int_equal(coil_thread_as_completed_init(&it, all, 2, i * 0.001), 0);
        assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
        assert_ptr_equal(f, all[1]);
        assert_int_equal(coil_thread_as_completed_next(&it, &f), -ETIMEDOUT);
        assert_int_equal(coil_thread_as_completed_next(&it, &f), 0);
        coil_thread_as_completed_close(&it);
    }
    coil_thread_future_unref(all[1]);
    close_stage(&stage);
}

COIL_TEST_PLAIN(thread_as_completed_test_duplicate_futures)
{
    coil_thread_future *a = with_result(1), *b = with_result(2), *f;
    coil_thread_future *all[] = {b, a, b, b, a};
    coil_thread_as_completed it;
    assert_int_equal(coil_thread_as_completed_init(&it, all, 5, COIL_FOREVER), 0);
    assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
    assert_ptr_equal(f, b);
    assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
    assert_ptr_equal(f, a);
    assert_int_equal(coil_thread_as_completed_next(&it, &f), 0);
    coil_thread_as_completed_close(&it);
    coil_thread_future_unref(a);
    coil_thread_future_unref(b);
}

COIL_TEST_PLAIN(thread_as_completed_test_correct_timeout_exception_msg)
{
    coil_thread_future *all[] = {cancelled(), coil_thread_future_new(), coil_thread_future_new(),
                                 with_result(1)},
                       *f;
    coil_thread_as_completed it;
    assert_int_equal(coil_thread_as_completed_init(&it, all, 4, 0), 0);
    assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
    assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
    assert_int_equal(coil_thread_as_completed_next(&it, &f), -ETIMEDOUT);
    assert_string_equal(coil_last_error()->message, "2 (of 4) futures unfinished");
    give_back(all, 4);
}

/* The caller may give its references up: the iterator has its own. */
COIL_TEST_PLAIN(thread_as_completed_keeps_the_futures_alive)
{
    struct stage stage;
    open_stage(&stage);
    coil_thread_future *f;
    coil_thread_as_completed it;
    assert_int_equal(coil_thread_as_completed_init(&it, stage.jobs, 3, COIL_FOREVER), 0);
    give_back(stage.jobs, 3);
    for (int i = 2; i >= 0; i--) {
        gate_open(&stage.gates[i]);
        assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
        assert_int_equal(coil_thread_future_result(f, 0), 7);
        stage.jobs[i] = NULL;
    }
    coil_thread_as_completed_close(&it);
    close_stage(&stage);
}

static coil_thread_future *two_done[2];

static void watch_both(void *arg)
{
    (void)arg;
    coil_thread_as_completed it;
    coil_thread_future *f;
    coil_ret rc = coil_thread_wait(two_done, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL);
    assert_true(rc == 2 || (rc == -ENOMEM && last_code() == -ENOMEM));
    int err = coil_thread_as_completed_init(&it, two_done, 2, 1);
    assert_true(err == 0 || err == -ENOMEM);
    if (err == 0) {
        assert_int_equal(coil_thread_as_completed_next(&it, &f), 1);
        coil_thread_as_completed_close(&it);
    }
}

COIL_TEST_PLAIN(thread_wait_without_memory_loses_nothing)
{
    two_done[0] = with_result(1);
    two_done[1] = with_result(2);
    assert_true(sweep_allocations(watch_both, NULL) >= 3);
    give_back(two_done, 2);
}

COIL_TEST_MAIN()
