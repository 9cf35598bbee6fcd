/* SPDX-License-Identifier: MIT
 *
 * test_run.c: what coil_run does around the program it runs. */
#include "test.h"

#include <coil.h>
#include <signal.h>
#include <stdlib.h>

static coil_ret nothing(void *arg)
{
    return 0;
}

static coil_ret pass_on(void *arg)
{
    return (coil_ret)(intptr_t)arg;
}

static void *number(intptr_t n)
{
    return (void *)n;
}

COIL_TEST_PLAIN(run_hands_the_argument_over_and_the_value_back)
{
    assert_int_equal(coil_run(pass_on, number(17)), 17);
    assert_int_equal(coil_run_with(pass_on, number(18), NULL), 18);
}

/* ---- the error comes home ---- */

static coil_ret fails_again(void *arg)
{
    coil_ret rc = coil_sleep(1000);
    return rc == -ECANCELED ? coil_fail(-EIO, "while ending") : rc;
}

static void no_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

static coil_ret fails_and_leaves(void *arg)
{
    coil_loop_set_exception_handler(NULL, no_report, NULL);
    coil_unref(coil_create_task(fails_again, NULL));
    coil_ret rc = coil_sleep(0);
    coil_fail(COIL_EUSER - 1, "the cause");
    return coil_iserr(rc) ? rc : coil_fail_from(COIL_EUSER, "the error");
}

COIL_TEST_PLAIN(run_tells_the_programs_error_and_not_that_of_the_way_out)
{
    assert_int_equal(coil_run(fails_and_leaves, NULL), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "the error");
    assert_string_equal(there(coil_last_error()->cause)->message, "the cause");
}

static coil_ret waits_for_nobody(void *arg)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_ret rc = coil_join(f);
    *(coil_ret *)arg = rc;
    return rc;
}

COIL_TEST_PLAIN(run_that_can_never_go_on_says_so_and_unwinds)
{
    if (!deadlocks_are_certain())
        skip();
    coil_ret inside = 0;
    assert_int_equal(coil_run(waits_for_nobody, &inside), COIL_EDEADLOCK);
    assert_non_null(strstr(coil_last_error()->message, "Task-1"));
    assert_int_equal(inside, -ECANCELED);
}

COIL_TEST_PLAIN(run_with_an_unknown_backend_is_refused)
{
    coil_run_opts opts = {.size = sizeof opts, .backend = "abacus"};
    assert_int_equal(coil_run_with(nothing, NULL, &opts), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "abacus"));
}

/* ---- the way out ---- */

static coil_ret sleeps(void *arg)
{
    coil_ret rc = coil_sleep(1000);
    ++*(int *)arg;
    return rc;
}

static coil_ret leaves_many(void *arg)
{
    for (int i = 0; i < 200; i++)
        coil_unref(coil_create_task(sleeps, arg));
    return coil_sleep(0);
}

COIL_TEST_PLAIN(run_ends_any_number_of_leftovers)
{
    int ended = 0;
    assert_int_equal(coil_run(leaves_many, &ended), 0);
    assert_int_equal(ended, 200);
}

static coil_ret defies(void *arg)
{
    for (;;) {
        coil_future *never = coil_loop_create_future(NULL);
        coil_ret rc = coil_join(never);
        if (rc != -ECANCELED)
            return rc;
    }
}

static int unwound;
static void count_pending(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    unwound += strstr(context->message, "destroyed but it is pending") != NULL;
}

static coil_ret leaves_a_defier(void *arg)
{
    coil_loop_set_exception_handler(NULL, count_pending, NULL);
    coil_unref(coil_create_task(defies, NULL));
    return coil_sleep(0);
}

COIL_TEST_PLAIN(run_unwinds_a_leftover_that_will_not_end)
{
    if (!deadlocks_are_certain()) /* that it will not end is a deadlock */
        skip();
    unwound = 0;
    assert_int_equal(coil_run(leaves_a_defier, NULL), 0);
    assert_int_equal(unwound, 1);
}

static coil_ret starts_thread(void *arg)
{
    return coil_to_thread(pass_on, number(1));
}

COIL_TEST_PLAIN(run_ends_the_threads_of_the_default_executor)
{
    assert_int_equal(coil_run(starts_thread, NULL), 1); /* the harness counts threads */
}

static coil_ret fails_with_words(void *arg)
{
    return coil_fail(COIL_EUSER, "in a loop of a thread of a loop");
}

static coil_ret run_inside(void *arg)
{
    return coil_run(fails_with_words, NULL);
}

static coil_ret runs_inside_a_job(void *arg)
{
    coil_ret rc = coil_to_thread(run_inside, NULL);
    assert_string_equal(coil_last_error()->message, "in a loop of a thread of a loop");
    rc = coil_join(coil_loop_run_in_executor(NULL, NULL, run_inside, NULL, 0));
    assert_string_equal(coil_last_error()->message, "in a loop of a thread of a loop");
    return rc;
}

COIL_TEST_PLAIN(run_in_a_thread_of_another_run_keeps_its_error)
{
    assert_int_equal(coil_run(runs_inside_a_job, NULL), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "in a loop of a thread of a loop");
}

static coil_ret stops(void *arg)
{
    coil_loop_stop(NULL);
    return coil_sleep(1000);
}

COIL_TEST_PLAIN(run_that_is_stopped_says_so)
{
    assert_int_equal(coil_run(stops, NULL), COIL_ESTOPPED);
}

/* ---- options and the environment ---- */

static coil_ret backend_is(void *arg)
{
    return strcmp(coil_loop_backend(NULL), arg) == 0;
}

static coil_ret hour(void *arg)
{
    return coil_sleep(3600);
}

static void with_variable(const char *name, const char *value, coil_fn fn, void *arg,
                          coil_ret expected)
{
    char *before = getenv(name);
    before = before ? strdup(before) : NULL;
    setenv(name, value, 1);
    coil_ret rc = coil_run(fn, arg);
    if (before)
        setenv(name, before, 1);
    else
        unsetenv(name);
    free(before);
    assert_int_equal(rc, expected);
}

static coil_ret debug_is(void *arg)
{
    return coil_loop_get_debug(coil_get_running_loop());
}

COIL_TEST_PLAIN(run_reads_the_environment)
{
    char poll[] = "poll";
    with_variable("COIL_BACKEND", "poll", backend_is, poll, 1);
    with_variable("COIL_BACKEND", "abacus", backend_is, poll, -EINVAL);
    with_variable("COIL_DEBUG", "1", debug_is, NULL, 1);
    with_variable("COIL_DEBUG", "0", debug_is, NULL, 0);
    with_variable("COIL_VIRTUAL_TIME", "1", hour, NULL, 0);
}

COIL_TEST_PLAIN(run_options_go_before_the_environment)
{
    char poll[] = "poll";
    coil_run_opts opts = {.size = sizeof opts, .backend = "poll", .virtual_time = true};
    assert_int_equal(coil_run_with(backend_is, poll, &opts), 1);
    assert_int_equal(coil_run_with(hour, NULL, &opts), 0);
}

static coil_ret handler_is_ours(void *arg)
{
    struct sigaction now;
    sigaction(SIGSEGV, NULL, &now);
    return memcmp(&now.sa_sigaction, arg, sizeof now.sa_sigaction) != 0;
}

COIL_TEST_PLAIN(run_tells_stack_overflows_meanwhile_unless_told_not_to)
{
    struct sigaction before, after;
    sigaction(SIGSEGV, NULL, &before);
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    assert_int_equal(coil_run_with(handler_is_ours, &before.sa_sigaction, &opts), 0);
    opts.no_signals = false;
    assert_int_equal(coil_run_with(handler_is_ours, &before.sa_sigaction, &opts), 1);
    sigaction(SIGSEGV, NULL, &after);
    assert_memory_equal(&before.sa_sigaction, &after.sa_sigaction, sizeof before.sa_sigaction);
}

/* ---- without memory ---- */

static coil_ret whole_program(void *arg)
{
    int ended = 0;
    coil_task *task = coil_create_task(sleeps, &ended);
    coil_ret rc = coil_sleep(1);
    coil_task_cancel(task, NULL);
    coil_ret rc2 = coil_join(task);
    return coil_iserr(rc) ? rc : rc2 == -ECANCELED ? 0 : rc2;
}

static void run_program(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_ret rc = coil_run_with(whole_program, NULL, &opts);
    assert_true(rc == 0 || rc == -ENOMEM);
}

COIL_TEST_PLAIN(run_survives_each_failing_allocation)
{
    (void)sweep_allocations(run_program, NULL);
}

COIL_TEST_MAIN()
