/* SPDX-License-Identifier: MIT
 *
 * test_map.c: a function over many items, and functions of bytes, on threads. */
#include "gate.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <stdatomic.h>

static coil_executor *executor;

static void open_pool(unsigned threads)
{
    executor = coil_thread_pool_executor_new(threads, NULL);
    assert_non_null(executor);
}

static void close_pool(void)
{
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_executor_unref(executor);
}

static size_t queued(void)
{
    coil_executor_stats_t stats;
    coil_executor_stats(executor, &stats);
    return stats.queued;
}

static _Atomic int calls;

static coil_ret square(void *item)
{
    atomic_fetch_add(&calls, 1);
    int n = *(int *)item;
    return n < 0 ? coil_fail(COIL_EUSER - 7, "%d is below zero", n) : n * n;
}

/* What a whole map comes to: the values, and what ended it. */
static coil_ret run_map(const int *items, size_t n, const coil_executor_map_opts *opts,
                        coil_ret *values, size_t *out_n)
{
    coil_executor_map_results it;
    coil_ret rc = coil_executor_map(&it, executor, square, items, n, sizeof *items, opts);
    for (*out_n = 0; rc == 0 && (rc = coil_executor_map_next(&it, &values[*out_n])) > 0; rc = 0)
        ++*out_n;
    if (rc <= 0)
        coil_executor_map_close(&it);
    return rc;
}

/* ---- map ---- */

COIL_TEST_PLAIN(executor_test_map)
{
    enum { N = 10 };
    int items[N];
    coil_ret values[N];
    size_t n;
    open_pool(3);
    for (int i = 0; i < N; i++)
        items[i] = i;
    assert_int_equal(run_map(items, N, NULL, values, &n), 0);
    assert_int_equal(n, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(values[i], i * i);
    assert_int_equal(run_map(NULL, 0, NULL, values, &n), 0);
    assert_int_equal(n, 0);
    close_pool();
}

COIL_TEST_PLAIN(executor_test_map_exception)
{
    int items[] = {1, 2, -3, 4};
    coil_ret values[4];
    open_pool(2);
    for (size_t chunk = 0; chunk < 6; chunk++) {
        coil_executor_map_opts opts = {.size = sizeof opts, .chunksize = chunk};
        size_t n;
        calls = 0;
        assert_int_equal(run_map(items, 4, &opts, values, &n), COIL_EUSER - 7);
        if (chunk >= 4) /* its chunk ends there */
            assert_int_equal(calls, 3);
        assert_string_equal(coil_last_error()->message, "-3 is below zero");
        assert_int_equal(n, 2);
        assert_int_equal(values[1], 4);
    }
    close_pool();
}

COIL_TEST_PLAIN(executor_test_map_timeout)
{
    struct gate gate = GATE_INIT, *gates[] = {&gate, &gate};
    coil_executor_map_results it;
    coil_ret value;
    for (int i = -1; i < 2; i += 2) {
        coil_executor_map_opts opts = {.size = sizeof opts, .timeout = i * 0.002};
        open_pool(1);
        int64_t begun = coil__clock_real_ns();
        assert_int_equal(
            coil_executor_map(&it, executor, pass_gate_at, gates, 2, sizeof gates[0], &opts), 0);
        gate_await(&gate, 1);
        assert_int_equal(coil_executor_map_next(&it, &value), -ETIMEDOUT);
        assert_int_equal(last_code(), -ETIMEDOUT);
        if (i > 0)
            assert_true(coil__clock_real_ns() - begun >= 2 * NS_PER_MS);
        assert_int_equal(queued(), 0); /* the second was cancelled */
        assert_int_equal(coil_executor_map_next(&it, &value), 0);
        coil_executor_map_close(&it);
        gate_open(&gate);
        close_pool();
        assert_int_equal(gate.left, 1);
        gate = (struct gate)GATE_INIT;
    }
}

COIL_TEST_PLAIN(executor_test_map_submits_without_iteration)
{
    int items[] = {1, 2, 3};
    coil_executor_map_results it;
    open_pool(1);
    calls = 0;
    assert_int_equal(coil_executor_map(&it, executor, square, items, 3, sizeof items[0], NULL), 0);
    memset(items, 0, sizeof items); /* copied already */
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    assert_int_equal(calls, 3);
    for (int i = 1; i <= 3; i++) {
        coil_ret value;
        assert_int_equal(coil_executor_map_next(&it, &value), 1);
        assert_int_equal(value, i * i);
    }
    coil_executor_map_close(&it);
    close_pool();
}

COIL_TEST_PLAIN(executor_test_map_chunksize)
{
    enum { N = 23 };
    int items[N];
    open_pool(3);
    for (int i = 0; i < N; i++)
        items[i] = i;
    for (size_t chunk = 1; chunk < 2 * N; chunk += 3) {
        coil_executor_map_opts opts = {.size = sizeof opts, .chunksize = chunk};
        coil_executor_stats_t before, after;
        coil_executor_stats(executor, &before);
        coil_ret values[N];
        size_t n;
        assert_int_equal(run_map(items, N, &opts, values, &n), 0);
        assert_int_equal(n, N);
        for (int i = 0; i < N; i++)
            assert_int_equal(values[i], i * i);
        coil_executor_stats(executor, &after);
        assert_int_equal(after.finished + after.running - before.finished - before.running,
                         (N + chunk - 1) / chunk);
    }
    close_pool();
}

COIL_TEST_PLAIN(executor_map_submits_no_more_than_its_buffersize_ahead)
{
    enum { N = 9, AHEAD = 3 };
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    int items[N];
    executor = held_pool(&gate, &held);
    for (int i = 0; i < N; i++)
        items[i] = i;
    coil_executor_map_opts opts = {.size = sizeof opts, .buffersize = AHEAD, .chunksize = 2};
    coil_executor_map_results it;
    assert_int_equal(coil_executor_map(&it, executor, square, items, N, sizeof items[0], &opts), 0);
    assert_int_equal(queued(), AHEAD);
    gate_open(&gate);
    coil_ret value;
    for (int i = 0; i < N; i++) {
        assert_int_equal(coil_executor_map_next(&it, &value), 1);
        assert_int_equal(value, i * i);
        assert_in_range(queued(), 0, AHEAD);
    }
    assert_int_equal(coil_executor_map_next(&it, &value), 0);
    end_pool(executor, &gate, held);
}

COIL_TEST_PLAIN(executor_map_that_is_closed_takes_its_jobs_back)
{
    enum { N = 5 };
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    int items[N] = {0};
    executor = held_pool(&gate, &held);
    coil_executor_map_results it;
    calls = 0;
    assert_int_equal(coil_executor_map(&it, executor, square, items, N, sizeof items[0], NULL), 0);
    assert_int_equal(queued(), N);
    coil_executor_map_close(&it);
    coil_executor_map_close(&it);
    assert_int_equal(queued(), 0);
    end_pool(executor, &gate, held);
    assert_int_equal(calls, 0);
}

static coil_ret fail_silently(void *item)
{
    (void)item;
    return -EIO;
}

COIL_TEST_PLAIN(executor_map_error_without_words_has_those_of_its_code)
{
    int items[] = {1, 2};
    coil_executor_map_results it;
    coil_ret value;
    open_pool(1);
    coil_ignore(coil_fail(-EPERM, "something else"));
    assert_int_equal(coil_executor_map(&it, executor, fail_silently, items, 2, sizeof *items, NULL),
                     0);
    assert_int_equal(coil_executor_map_next(&it, &value), -EIO);
    assert_string_equal(coil_last_error()->message, coil_strerror(-EIO));
    assert_int_equal(coil_executor_map_next(&it, &value), 0); /* it is closed by now */
    close_pool();
}

COIL_TEST_PLAIN(executor_map_with_more_buffers_than_jobs_needs_no_more_than_these)
{
    int items[] = {1, 2, 3};
    coil_ret values[3];
    size_t n;
    coil_executor_map_opts opts = {.size = sizeof opts, .buffersize = SIZE_MAX};
    open_pool(2);
    assert_int_equal(run_map(items, 3, &opts, values, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(values[2], 9);
    close_pool();
}

COIL_TEST_PLAIN(executor_map_refuses_nonsense)
{
    int items[] = {1};
    coil_executor_map_results it;
    coil_executor_map_opts nan = {.size = sizeof nan, .timeout = NAN};
    open_pool(1);
    assert_int_equal(coil_executor_map(&it, NULL, square, items, 1, 4, NULL), -EINVAL);
    assert_int_equal(coil_executor_map(&it, executor, NULL, items, 1, 4, NULL), -EINVAL);
    assert_int_equal(coil_executor_map(&it, executor, square, NULL, 1, 4, NULL), -EINVAL);
    assert_int_equal(coil_executor_map(&it, executor, square, items, 1, 0, NULL), -EINVAL);
    assert_int_equal(coil_executor_map(&it, executor, square, items, 1, 4, &nan), -EINVAL);
    assert_int_equal(coil_executor_map(&it, executor, square, items, SIZE_MAX / 2, 4, NULL),
                     -ENOMEM);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_ret value;
    assert_int_equal(coil_executor_map(&it, executor, square, items, 1, 4, NULL), 0);
    assert_int_equal(coil_executor_map_next(&it, &value), COIL_ESHUTDOWN);
    close_pool();
    coil_executor_map_close(NULL);
    assert_int_equal(coil_executor_map_next(NULL, &value), 0);
}

static void map_once(void *arg)
{
    (void)arg;
    int items[] = {1, 2, 3, 4, 5};
    coil_ret values[5];
    size_t n;
    coil_executor_map_opts opts = {.size = sizeof opts, .chunksize = 2, .buffersize = 2};
    executor = coil_thread_pool_executor_new(1, NULL);
    if (!executor)
        return;
    coil_ret rc = run_map(items, 5, &opts, values, &n);
    assert_true(rc == -ENOMEM || (rc == 0 && n == 5));
    close_pool(); /* with its thread goes the last that belongs to a job */
}

COIL_TEST_PLAIN(executor_map_without_memory_loses_nothing)
{
    assert_true(sweep_allocations(map_once, NULL) > 3);
}

/* ---- functions of bytes ---- */

/* The bytes the other way round; as many more as the first says are claimed. */
static coil_ret reverse(void *in, size_t n, void *out, size_t room)
{
    const char *from = in;
    char *to = out;
    if (n > room)
        return coil_fail(COIL_ELIMIT, "%zu bytes do not fit", n);
    for (size_t i = 0; i < n; i++)
        to[i] = from[n - 1 - i];
    return (coil_ret)n + (n > 0 && to[0] == '!' ? 1000 : 0);
}

static void expect_bytes(coil_ret rc, const char *text)
{
    assert_false(coil_iserr(rc));
    coil_bytes *bytes = (coil_bytes *)rc;
    assert_int_equal(bytes->n, strlen(text));
    assert_memory_equal(bytes->data, text, bytes->n);
    coil_bytes_free(bytes);
}

static coil_ret reversed(const char *text, size_t room)
{
    coil_thread_future *f = coil_executor_submit_bytes(executor, reverse, text, strlen(text), room);
    coil_ret rc = coil_thread_future_result(f, COIL_FOREVER);
    coil_thread_future_unref(f);
    return rc;
}

COIL_TEST_PLAIN(executor_bytes_go_in_and_come_out)
{
    open_pool(1);
    expect_bytes(reversed("stressed", 100), "desserts");
    expect_bytes(reversed("ab", 2), "ba");
    expect_bytes(reversed("", 0), "");
    assert_int_equal(reversed("stressed", 7), COIL_ELIMIT);
    assert_string_equal(coil_last_error()->message, "8 bytes do not fit");
    assert_int_equal(reversed("no!", 100), -EMSGSIZE);
    assert_int_equal(reversed("x", SIZE_MAX / 2), -ENOMEM);
    coil_thread_future *f = coil_executor_submit_bytes(executor, NULL, NULL, 0, 0);
    assert_int_equal(coil_thread_future_result(f, 0), -EINVAL);
    coil_thread_future_unref(f);
    f = coil_executor_submit_bytes(executor, reverse, NULL, 4, 4);
    assert_int_equal(coil_thread_future_result(f, 0), -EINVAL);
    coil_thread_future_unref(f);
    close_pool();
    coil_bytes_free(NULL);
}

COIL_TEST_PLAIN(executor_bytes_that_nobody_took_are_freed)
{
    open_pool(1); /* the harness counts what is not given back */
    coil_thread_future_unref(coil_executor_submit_bytes(executor, reverse, "ab", 2, 2));
    close_pool();
}

COIL_TEST(to_executor_gives_the_bytes)
{
    char out[16];
    open_pool(1);
    assert_int_equal(coil_to_executor(executor, reverse, "live", 4, out, sizeof out), 4);
    assert_memory_equal(out, "evil", 4);
    assert_int_equal(coil_to_executor(NULL, reverse, "live", 4, out, sizeof out), 4);
    assert_int_equal(coil_to_executor(executor, reverse, "", 0, NULL, 0), 0);
    assert_int_equal(coil_to_executor(executor, reverse, "live", 4, NULL, 4), -EINVAL);
    assert_int_equal(coil_to_executor(executor, reverse, "live", 4, out, 3), COIL_ELIMIT);
    assert_string_equal(coil_last_error()->message, "4 bytes do not fit");
    close_pool();
}

static coil_ret gate_of_bytes(void *in, size_t n, void *out, size_t room)
{
    (void)n, (void)room;
    struct gate *gate;
    memcpy(&gate, in, sizeof gate);
    (void)pass_gate(gate);
    memcpy(out, "late", 4);
    return 4;
}

static struct gate *shut;
static char untouched[4] = {'k', 'e', 'p', 't'};

static coil_ret to_shut_gate(void *arg)
{
    (void)arg;
    return coil_to_executor(executor, gate_of_bytes, &shut, sizeof shut, untouched,
                            sizeof untouched);
}

COIL_TEST(to_executor_cancelled_while_running_is_abandoned)
{
    struct gate gate = GATE_INIT;
    shut = &gate;
    open_pool(1);
    coil_task *t = coil_create_task(to_shut_gate, NULL);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&gate, 1);
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    assert_int_equal(gate_left(&gate), 0);
    gate_open(&gate);
    close_pool();
    assert_memory_equal(untouched, "kept", 4);
}

COIL_TEST(run_bytes_in_executor_refuses_nonsense)
{
    assert_int_equal(coil_join(coil_run_bytes_in_executor_at(NULL, 0, NULL, NULL, NULL, "x", 1, 1)),
                     -EINVAL);
    assert_int_equal(coil_to_executor(NULL, NULL, "x", 1, NULL, 1), -EINVAL);
    coil_thread_future *f = coil_executor_submit_bytes(NULL, NULL, "x", 1, 1);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "no executor"));
    coil_thread_future_unref(f);
}

static coil_ret nothing(void *in, size_t n, void *out, size_t room)
{
    (void)in, (void)n, (void)out, (void)room;
    return 0;
}

COIL_TEST_PLAIN(bytes_are_given_to_executors_by_tasks_and_for_loops)
{
    coil_future *f = coil_run_bytes_in_executor_at(NULL, 0, NULL, NULL, nothing, "x", 1, 1);
    assert_int_equal(coil_future_result(f), COIL_ENOLOOP);
    coil_unref(f);
    assert_int_equal(coil_to_executor(NULL, nothing, "x", 1, NULL, 0), COIL_ENOTASK);
}

COIL_TEST(run_bytes_in_executor_gives_a_future_that_owns_them)
{
    open_pool(1);
    coil_future *f = coil_loop_run_bytes_in_executor(NULL, executor, reverse, "ab", 2, 2);
    expect_bytes(coil_join(f), "ba");
    /* Arrived, and nobody took them. */
    f = coil_loop_run_bytes_in_executor(NULL, executor, reverse, "ab", 2, 2);
    while (!coil_future_done(f))
        assert_int_equal(coil_sleep(0), 0);
    coil_unref(f);
    /* Cancelled, and they come all the same. */
    f = coil_loop_run_bytes_in_executor(NULL, executor, reverse, "ab", 2, 2);
    (void)coil_future_cancel(f, NULL);
    coil_unref(f);
    close_pool();
}

COIL_TEST_MAIN()
