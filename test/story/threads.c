/* SPDX-License-Identifier: MIT
 *
 * threads.c: what asyncio's tests say of threads, told again: test_threads.py (ToThreadTests), the executor tests
 * of test_events.py and test_base_events.py, the wrap_future tests of test_futures.py, and
 * test_tasks.py (RunCoroutineThreadsafeTests).
 *
 * S004, S035, S050, S064, S065, T54, T55. */
#include "test.h"

#include "base/thread.h"

#include <coil.h>
#include <stdatomic.h>

/* ---- ToThreadTests ---- */

static coil_ret sum(void *arg)
{
    const int *n = arg;
    return n[0] + n[1];
}

COIL_TEST(test_to_thread)
{
    int n[] = {40, 2};
    assert_int_equal(coil_to_thread(sum, n), 42);
}

static coil_ret raise_test(void *arg)
{
    return coil_fail(COIL_EUSER, "test");
}

COIL_TEST(test_to_thread_exception)
{
    assert_int_equal(coil_to_thread(raise_test, NULL), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "test");
}

static coil_ret count(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    return 0;
}

COIL_TEST(test_to_thread_once)
{
    _Atomic int calls = 0;
    assert_int_equal(coil_to_thread(count, (void *)(uintptr_t)&calls), 0);
    assert_int_equal(calls, 1);
}

static coil_ret count_in_thread(void *arg)
{
    return coil_to_thread(count, arg);
}

COIL_TEST(test_to_thread_concurrent)
{
    _Atomic int calls = 0;
    coil_future *futures[10];
    for (int i = 0; i < 10; i++)
        futures[i] = coil_create_task(count_in_thread, (void *)(uintptr_t)&calls);
    assert_int_equal(coil_gather(futures, 10, NULL, COIL_UNREF), 0);
    assert_int_equal(calls, 10);
}

static char none[] = "none", parrot[] = "parrot";
static coil_contextvar test_ctx = COIL_CONTEXTVAR("test_ctx", none);

static coil_ret get_ctx(void *arg)
{
    *(char **)arg = coil_contextvar_get(&test_ctx);
    return 0;
}

COIL_TEST(test_to_thread_contextvars)
{
    char *result = NULL;
    assert_int_equal(coil_contextvar_set(&test_ctx, parrot, NULL), 0);
    assert_int_equal(coil_to_thread(get_ctx, &result), 0);
    assert_ptr_equal(result, parrot);
}

/* ---- run_in_executor ---- */

static coil_ret thread_id(void *arg)
{
    return (coil_ret)coil__thread_self();
}

COIL_TEST(test_run_in_executor)
{
    coil_ret id = coil_join(coil_loop_run_in_executor(NULL, NULL, thread_id, NULL, 0));
    assert_int_not_equal(id, (coil_ret)coil__thread_self());
}

static coil_ret nap_50_ms(void *arg)
{
    coil_thread_future *never = coil_thread_future_new();
    coil_ret rc = coil_thread_future_result(never, 0.05);
    coil_thread_future_unref(never);
    return rc;
}

static coil_ret shut_down(void *arg)
{
    return coil_loop_shutdown_default_executor(NULL, COIL_FOREVER);
}

COIL_TEST_PLAIN(test_run_in_executor_cancel)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_set_event_loop(loop);
    coil_future *f = coil_loop_run_in_executor(loop, NULL, nap_50_ms, NULL, 0);
    assert_true(coil_future_cancel(f, NULL));
    coil_task *task = coil_create_task(shut_down, NULL);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
    coil_unref(task);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_true(coil_future_cancelled(f));
    coil_unref(f);
    coil_loop_free(loop);
    coil_set_event_loop(NULL);
}

COIL_TEST(test_set_default_executor_error)
{
    assert_int_equal(coil_loop_set_default_executor(NULL, NULL), COIL_ETYPE);
}

static char report[160];
static void note_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    snprintf(report, sizeof report, "%s", context->message);
}

COIL_TEST(test_shutdown_default_executor_timeout)
{
    coil_loop_set_exception_handler(NULL, note_report, NULL);
    coil_future *f = coil_loop_run_in_executor(NULL, NULL, nap_50_ms, NULL, 0);
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, 0.01), 0);
    assert_non_null(strstr(report, "did not finish joining"));
    assert_int_equal(coil_join(f), -ETIMEDOUT);
}

/* ---- wrap_future ---- */

COIL_TEST_PLAIN(test_wrap_future)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_executor *ex = coil_thread_pool_executor_new(1, NULL);
    coil_thread_future *f1 = coil_executor_submit(ex, thread_id, NULL, 0);
    coil_future *f2 = coil_wrap_future(f1, loop);
    assert_int_not_equal(coil_loop_run_until_complete(loop, f2), (coil_ret)coil__thread_self());
    assert_int_equal(coil_executor_shutdown(ex, true, false), 0);
    coil_executor_unref(ex);
    coil_thread_future_unref(f1);
    coil_unref(f2);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(test_wrap_future_without_loop)
{
    coil_thread_future *f1 = coil_thread_future_new();
    assert_int_equal(coil_future_result(coil_wrap_future(f1, NULL)), COIL_ENOLOOP);
    coil_thread_future_unref(f1);
}

COIL_TEST(test_wrap_future_use_running_loop)
{
    coil_thread_future *f1 = coil_thread_future_new();
    coil_future *f2 = coil_wrap_future(f1, NULL);
    assert_ptr_equal(coil_future_get_loop(f2), coil_get_running_loop());
    coil_future_cancel(f2, NULL);
    coil_unref(f2);
    coil_thread_future_unref(f1);
}

COIL_TEST(test_wrap_future_cancel)
{
    coil_thread_future *f1 = coil_thread_future_new();
    coil_future *f2 = coil_wrap_future(f1, NULL);
    coil_future_cancel(f2, NULL);
    assert_int_equal(coil_sleep(0), 0);
    assert_true(coil_thread_future_cancelled(f1));
    assert_true(coil_future_cancelled(f2));
    coil_unref(f2);
    coil_thread_future_unref(f1);
}

COIL_TEST(test_wrap_future_cancel2)
{
    coil_thread_future *f1 = coil_thread_future_new();
    coil_future *f2 = coil_wrap_future(f1, NULL);
    assert_int_equal(coil_thread_future_set_result(f1, 42), 0);
    coil_future_cancel(f2, NULL);
    assert_int_equal(coil_sleep(0), 0);
    assert_false(coil_thread_future_cancelled(f1));
    assert_int_equal(coil_thread_future_result(f1, 0), 42);
    assert_true(coil_future_cancelled(f2));
    coil_unref(f2);
    coil_thread_future_unref(f1);
}

/* ---- RunCoroutineThreadsafeTests ---- */

struct add {
    coil_loop *loop;
    int a, b;
    bool fail, cancel;
    double timeout;
};

/* Wait 0.05 seconds and return a + b. */
static coil_ret add(void *arg)
{
    const struct add *n = arg;
    coil_ret rc = coil_sleep(0.05);
    if (coil_iserr(rc))
        return rc;
    if (n->fail)
        return coil_fail(COIL_EUSER, "Fail!");
    if (n->cancel) {
        coil_task_cancel(coil_current_task(), NULL);
        rc = coil_sleep(0);
    }
    return coil_iserr(rc) ? rc : n->a + n->b;
}

/* Run the add coroutine in the event loop, from a thread. */
static coil_ret target(void *arg)
{
    const struct add *n = arg;
    coil_thread_future *f = coil_run_coroutine_threadsafe_with(n->loop, add, n, sizeof *n);
    coil_ret rc = coil_thread_future_result(f, n->timeout);
    if (!coil_thread_future_done(f))
        coil_thread_future_cancel(f);
    coil_thread_future_unref(f);
    return rc;
}

static coil_ret run_target(struct add n)
{
    n.loop = coil_get_running_loop();
    n.a = 1;
    n.b = 2;
    return coil_join(coil_loop_run_in_executor(NULL, NULL, target, &n, sizeof n));
}

COIL_TEST(test_run_coroutine_threadsafe)
{
    assert_int_equal(run_target((struct add){.timeout = COIL_FOREVER}), 3);
}

COIL_TEST(test_run_coroutine_threadsafe_with_exception)
{
    assert_int_equal(run_target((struct add){.timeout = COIL_FOREVER, .fail = true}), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "Fail!");
}

COIL_TEST(test_run_coroutine_threadsafe_with_timeout)
{
    assert_int_equal(run_target((struct add){.timeout = 0}), -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(coil_sleep(0), 0);
    coil_task *tasks[2];
    size_t n = coil_all_tasks(NULL, tasks, 2);
    for (size_t i = 0; i < n; i++)
        coil_unref(tasks[i]);
    assert_int_equal(n, 1); /* this one: add has been cancelled */
}

COIL_TEST(test_run_coroutine_threadsafe_task_cancelled)
{
    assert_int_equal(run_target((struct add){.timeout = COIL_FOREVER, .cancel = true}), -ECANCELED);
}

COIL_TEST_MAIN()
