/* SPDX-License-Identifier: MIT
 *
 * test_runner.c: several runs on one loop. By CPython's names where it has the same test. */
#include "test.h"

#include <coil.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static coil_ret done(void *arg)
{
    coil_ret rc = coil_sleep(0);
    return coil_iserr(rc) ? rc : (coil_ret)(intptr_t)arg;
}

static void *number(intptr_t n)
{
    return (void *)n;
}

static coil_ret which_loop(void *out)
{
    *(coil_loop **)out = coil_get_running_loop();
    return 0;
}

COIL_TEST_PLAIN(test_run)
{
    coil_loop *loop = NULL;
    coil_runner *runner = coil_runner_new(NULL);
    assert_int_equal(coil_runner_run(runner, done, number(42)), 42);
    assert_int_equal(coil_runner_run(runner, which_loop, &loop), 0);
    assert_ptr_equal(coil_runner_get_loop(runner), loop);
    assert_ptr_equal(coil_get_event_loop(), loop);
    coil_runner_free(runner);
    assert_null(coil_get_event_loop());
}

static coil_ret look_at_debug(void *arg)
{
    return coil_loop_get_debug(NULL);
}

COIL_TEST_PLAIN(test_debug)
{
    coil_run_opts opts = {.size = sizeof opts, .debug = true};
    coil_runner *runner = coil_runner_new(&opts);
    opts.debug = false; /* they were copied */
    assert_int_equal(coil_runner_run(runner, look_at_debug, NULL), 1);
    coil_runner_free(runner);
}

COIL_TEST_PLAIN(test_non_debug)
{
    coil_runner *runner = coil_runner_new(NULL);
    assert_int_equal(coil_runner_run(runner, look_at_debug, NULL), 0);
    coil_runner_free(runner);
}

COIL_TEST_PLAIN(test_custom_factory)
{
    char name[] = "sim";
    coil_run_opts opts = {.size = sizeof opts, .backend = name};
    coil_runner *runner = coil_runner_new(&opts);
    name[0] = 'S';
    assert_string_equal(coil_loop_backend(coil_runner_get_loop(runner)), "sim");
    coil_runner_free(runner);
}

COIL_TEST_PLAIN(test_explicit_close)
{
    coil_runner *runner = coil_runner_new(NULL);
    assert_int_equal(coil_runner_close(runner), 0); /* nothing is open: it may still be used */
    assert_non_null(coil_runner_get_loop(runner));
    assert_int_equal(coil_runner_close(runner), 0);
    assert_null(coil_runner_get_loop(runner));
    assert_int_equal(last_code(), COIL_ECLOSED);
    assert_string_equal(coil_last_error()->message, "Runner is closed");
    assert_int_equal(coil_runner_run(runner, done, NULL), COIL_ECLOSED);
    coil_runner_free(runner);
}

COIL_TEST_PLAIN(test_double_close)
{
    coil_runner *runner = coil_runner_new(NULL);
    assert_non_null(coil_runner_get_loop(runner));
    assert_int_equal(coil_runner_close(runner), 0);
    assert_int_equal(coil_runner_close(runner), 0);
    coil_runner_free(runner);
    coil_runner_free(NULL);
}

static coil_ret run_inside(void *runner)
{
    assert_int_equal(coil_runner_run(runner, done, NULL), COIL_ERUNNING);
    assert_non_null(strstr(coil_last_error()->message, "from a running event loop"));
    assert_int_equal(coil_runner_close(runner), COIL_ERUNNING);
    coil_runner_free(runner); /* refused as well: it goes on */
    return 5;
}

COIL_TEST_PLAIN(test_recursive_run)
{
    coil_runner *runner = coil_runner_new(NULL);
    assert_int_equal(coil_runner_run(runner, run_inside, runner), 5);
    coil_runner_free(runner);
}

COIL_TEST_PLAIN(test_run_non_coro)
{
    coil_runner *runner = coil_runner_new(NULL);
    assert_int_equal(coil_runner_run(runner, NULL, NULL), -EINVAL);
    coil_runner_free(runner);
    assert_int_equal(coil_runner_run(NULL, done, NULL), -EINVAL);
    assert_null(coil_runner_get_loop(NULL));
    assert_int_equal(last_code(), -EINVAL);
}

static const coil_contextvar counter = COIL_CONTEXTVAR("counter", NULL);

static coil_ret count(void *arg)
{
    intptr_t old = (intptr_t)coil_contextvar_get(&counter);
    int err = coil_contextvar_set(&counter, number(old + 1), NULL);
    return err ? err : old;
}

COIL_TEST_PLAIN(test_run_keeps_context)
{
    coil_runner *runner = coil_runner_new(NULL);
    assert_int_equal(coil_runner_run(runner, count, NULL), 0);
    assert_int_equal(coil_runner_run(runner, count, NULL), 1);
    coil_context *own = coil_context_new();
    assert_int_equal(coil_runner_run_context(runner, count, NULL, own), 0);
    assert_int_equal(coil_runner_run_context(runner, count, NULL, own), 1);
    coil_context_unref(own);
    assert_int_equal(coil_runner_run(runner, count, NULL), 2);
    coil_runner_free(runner);
    assert_ptr_equal(coil_contextvar_get(&counter), NULL);
}

static coil_ret twice(void *arg)
{
    for (int i = 0; i < 2; i++) {
        ++*(int *)arg;
        coil_ret rc = coil_sleep(1);
        if (coil_iserr(rc))
            return rc;
    }
    return 0;
}

static coil_ret leave(void *arg)
{
    coil_unref(coil_create_task(twice, arg));
    return coil_sleep(0);
}

static coil_ret wait_a_while(void *arg)
{
    return coil_sleep(1.5);
}

COIL_TEST_PLAIN(runner_goes_on_with_what_a_run_left)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    int steps = 0;
    coil_runner *runner = coil_runner_new(&opts);
    assert_int_equal(coil_runner_run(runner, leave, &steps), 0);
    assert_int_equal(steps, 1);
    assert_int_equal(coil_runner_run(runner, wait_a_while, NULL), 0);
    assert_int_equal(steps, 2);
    coil_runner_free(runner); /* cancels it in its second sleep */
    assert_int_equal(steps, 2);
}

COIL_TEST_PLAIN(runner_with_an_unknown_backend_says_so_at_its_first_use)
{
    coil_run_opts opts = {.size = sizeof opts, .backend = "abacus"};
    coil_runner *runner = coil_runner_new(&opts);
    assert_non_null(runner);
    assert_int_equal(coil_runner_run(runner, done, NULL), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "abacus"));
    coil_runner_free(runner);
}

static void use_a_runner(void *arg)
{
    coil_runner *runner = coil_runner_new(NULL);
    if (!runner)
        return;
    coil_ret rc = coil_runner_run(runner, done, number(3));
    assert_true(rc == 3 || rc == -ENOMEM);
    coil_runner_free(runner);
}

COIL_TEST_PLAIN(runner_without_memory_says_so)
{
    (void)sweep_allocations(use_a_runner, NULL);
}

COIL_TEST_PLAIN(runner_in_a_child_of_fork_lets_go)
{
    coil_runner *runner = coil_runner_new(NULL);
    assert_int_equal(coil_runner_run(runner, done, number(1)), 1);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int wrong = coil_runner_run(runner, done, number(1)) != COIL_EWRONGTHREAD;
        wrong += coil_runner_close(runner) != 0;
        coil_runner_free(runner);
        runner = coil_runner_new(NULL);
        wrong += coil_runner_run(runner, done, number(2)) != 2;
        coil_runner_free(runner);
        _exit(wrong);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(coil_runner_run(runner, done, number(3)), 3);
    coil_runner_free(runner);
}

static coil_ret fork_and_return(void *pid)
{
    *(pid_t *)pid = fork();
    return 6;
}

COIL_TEST_PLAIN(run_whose_child_returns_ends_there_too)
{
    pid_t pid = -1;
    if (UNDER_TSAN)
        skip();
    fflush(NULL);
    coil_ret rc = coil_run(fork_and_return, &pid);
    if (pid == 0)
        _exit(rc != COIL_EWRONGTHREAD || coil_run(done, number(2)) != 2);
    assert_int_equal(rc, 6);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

COIL_TEST_MAIN()
