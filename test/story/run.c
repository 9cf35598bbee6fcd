/* SPDX-License-Identifier: MIT
 *
 * run.c: what asyncio's tests say of run() (test_runners.py: RunTests), told again.
 *
 * T57, and the first two rows of the API table. */
#include "test.h"

#include <coil.h>

static coil_ret return_42(void *arg)
{
    coil_ret rc = coil_sleep(0);
    return coil_iserr(rc) ? rc : 42;
}

COIL_TEST_PLAIN(test_asyncio_run_return)
{
    assert_int_equal(coil_run(return_42, NULL), 42);
}

static coil_ret raise_spam(void *arg)
{
    coil_ret rc = coil_sleep(0);
    return coil_iserr(rc) ? rc : coil_fail(COIL_EUSER, "spam");
}

COIL_TEST_PLAIN(test_asyncio_run_raises)
{
    assert_int_equal(coil_run(raise_spam, NULL), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "spam");
}

COIL_TEST_PLAIN(test_asyncio_run_only_coro)
{
    assert_int_equal(coil_run(NULL, NULL), -EINVAL);
}

static coil_ret get_debug(void *arg)
{
    return coil_loop_get_debug(coil_get_running_loop());
}

COIL_TEST_PLAIN(test_asyncio_run_debug)
{
    coil_run_opts opts = {.size = sizeof opts, .debug = true};
    assert_int_equal(coil_run_with(get_debug, NULL, &opts), 1);
    opts.debug = false;
    assert_int_equal(coil_run_with(get_debug, NULL, &opts), 0);
}

static coil_ret run_again(void *arg)
{
    return coil_run(return_42, NULL);
}

COIL_TEST_PLAIN(test_asyncio_run_from_running_loop)
{
    assert_int_equal(coil_run(run_again, NULL), COIL_ERUNNING);
    assert_non_null(strstr(coil_last_error()->message, "cannot be called from a running"));
}

static coil_ret leftover_got;
static coil_ret leftover(void *arg)
{
    leftover_got = coil_sleep(0.1);
    return leftover_got;
}

static coil_ret leave_task(void *arg)
{
    coil_fn fn = *(coil_fn *)arg;
    coil_unref(coil_create_task(fn, NULL));
    coil_ret rc = coil_sleep(0);
    return coil_iserr(rc) ? rc : 123;
}

COIL_TEST_PLAIN(test_asyncio_run_cancels_hanging_tasks)
{
    coil_fn fn = leftover;
    leftover_got = 0;
    assert_int_equal(coil_run(leave_task, &fn), 123);
    assert_int_equal(leftover_got, -ECANCELED);
}

static struct {
    int n;
    char message[128], error[64];
    bool named_task;
} reported;

static void note_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    reported.n++;
    reported.named_task = context->task != NULL && coil_future_done(context->task);
    snprintf(reported.message, sizeof reported.message, "%s", context->message);
    snprintf(reported.error, sizeof reported.error, "%s", context->error->message);
}

static coil_ret divide_when_cancelled(void *arg)
{
    coil_ret rc = coil_sleep(0.1);
    return rc == -ECANCELED ? coil_fail(COIL_EUSER, "division by zero") : rc;
}

static coil_ret leave_task_noted(void *arg)
{
    coil_loop_set_exception_handler(NULL, note_report, NULL);
    return leave_task(arg);
}

COIL_TEST_PLAIN(test_asyncio_run_reports_hanging_tasks_errors)
{
    coil_fn fn = divide_when_cancelled;
    memset(&reported, 0, sizeof reported);
    assert_int_equal(coil_run(leave_task_noted, &fn), 123);
    assert_int_equal(reported.n, 1);
    assert_string_equal(reported.message, "unhandled exception during coil_run() shutdown");
    assert_string_equal(reported.error, "division by zero");
    assert_true(reported.named_task);
}

static coil_ret is_current_loop(void *arg)
{
    return coil_get_event_loop() == coil_get_running_loop();
}

COIL_TEST_PLAIN(test_asyncio_run_set_event_loop)
{
    assert_int_equal(coil_run(is_current_loop, NULL), 1);
    assert_null(coil_get_event_loop());
}

COIL_TEST_MAIN()
