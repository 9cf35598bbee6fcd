/* SPDX-License-Identifier: MIT
 *
 * processes.c: subprocesses, signals, threads and pools of processes under faults. No zombie stays, no descriptor, no thread. */
#include "body.h"

#include "base/mem.h"
#include "shell.h"

#include <coil/pool.h>

#include <sys/wait.h>

#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* ---- subprocesses ---- */

static coil_ret talk_to(coil_process *p, const char *expected)
{
    coil_process_output output;
    int code = -1;
    coil_ret rc = coil_process_communicate(p, "words\n", 6, &output);
    if (rc == 0)
        rc = coil_process_wait(p, &code);
    leave_on_error(rc);
    assert_int_equal(output.out_n, strlen(expected));
    assert_memory_equal(output.out, expected, output.out_n);
    assert_int_equal(code, 3);
    return 0;
}

/* Nobody is left, whatever went wrong: who cannot be waited for is killed first. */
static void see_it_off(coil_process *p)
{
    int code;
    if (!coil_process_returncode(p, &code))
        (void)coil_process_kill(p);
    coil_process_unref(p);
}

static coil_ret communicate(void)
{
    static const char *const argv[] = {"/bin/sh", "-c", "read x; echo words and more; exit 3",
                                       NULL};
    const coil_subprocess_opts opts = {
        .size = sizeof opts, .in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_STDOUT};
    coil_process *p;
    leave_on_error(coil_create_subprocess_exec(argv, &opts, &p));
    coil_ret rc = talk_to(p, "words and more\n");
    see_it_off(p);
    return rc;
}

COIL_TEST(communicate_under_faults)
{
    shell_is_here();
    play(communicate);
}

static coil_ret wait_for_two(void)
{
    const coil_subprocess_opts opts = {.size = sizeof opts, .in = COIL_PIPE, .err = COIL_DEVNULL};
    coil_process *stays, *goes;
    int code = 0;
    leave_on_error(coil_create_subprocess_shell("read x", &opts, &stays));
    coil_ret rc = coil_create_subprocess_shell("exit 7", &opts, &goes);
    if (rc == 0) {
        rc = coil_process_wait(goes, &code);
        if (rc == 0 && code != 255) /* 255: its status could not be had */
            assert_int_equal(code, 7);
        see_it_off(goes);
    }
    if (rc == 0 && (rc = coil_process_terminate(stays)) == 0)
        rc = coil_process_wait(stays, &code);
    see_it_off(stays);
    return rc;
}

COIL_TEST(processes_under_faults)
{
    shell_is_here();
    play(wait_for_two);
}

/* ---- signals ---- */

static void count_one(void *arg)
{
    ++*(int *)arg;
}

static coil_ret handle_one(void)
{
    int heard = 0;
    coil_ret rc = coil_loop_add_signal_handler(NULL, SIGUSR1, count_one, &heard);
    leave_on_error(rc);
    (void)kill(getpid(), SIGUSR1);
    for (int i = 0; i < 100 && heard == 0 && rc == 0; i++)
        rc = coil_sleep(0.001);
    coil_ret removed = coil_loop_remove_signal_handler(NULL, SIGUSR1);
    leave_on_error(first_error(rc, removed));
    return heard == 1 ? 0 : -ETIMEDOUT;
}

COIL_TEST(signals_under_faults)
{
    play(handle_one);
}

/* ---- threads ---- */

static coil_ret add(void *arg)
{
    return (coil_ret)(intptr_t)arg + 1;
}

static coil_ret in_threads(void)
{
    coil_executor *executor = coil_thread_pool_executor_new(2, "faults");
    coil_ret rc = executor ? 0 : coil_last_error()->code;
    coil_future *futures[3];
    for (int i = 0; executor && i < 3; i++)
        futures[i] = coil_loop_run_in_executor(NULL, executor, add, (void *)(intptr_t)i, 0);
    for (int i = 0; executor && i < 3; i++) {
        coil_ret got = coil_await(futures[i]);
        if (got >= 0)
            assert_int_equal(got, i + 1);
        rc = first_error(rc, got);
        coil_unref(futures[i]);
    }
    if (executor)
        rc = first_error(rc, coil_executor_shutdown(executor, true, true));
    coil_executor_unref(executor);
    return first_error(rc, coil_loop_shutdown_default_executor(NULL, COIL_FOREVER));
}

COIL_TEST(threads_under_faults)
{
    play(in_threads);
}

static coil_ret call_back(void *arg)
{
    coil_ret rc = coil_sleep(0.001);
    return rc < 0 ? rc : (coil_ret)(intptr_t)arg;
}

/* A thread that asks the loop for something, and waits for that. */
static coil_ret ask_the_loop(void *arg)
{
    coil_thread_future *answer = coil_run_coroutine_threadsafe(arg, call_back, (void *)5);
    if (!answer)
        return coil_last_error()->code;
    coil_ret rc = coil_thread_future_result(answer, COIL_FOREVER);
    coil_thread_future_unref(answer);
    return rc;
}

static coil_ret from_a_thread(void)
{
    coil_ret rc = coil_to_thread(ask_the_loop, coil_get_running_loop());
    if (rc >= 0)
        assert_int_equal(rc, 5);
    return rc < 0 ? rc : 0;
}

COIL_TEST(threads_that_ask_under_faults)
{
    play(from_a_thread);
}

/* ---- pools of processes ---- */

static coil_ret reverse(void *in, size_t n, void *out, size_t room)
{
    for (size_t i = 0; i < n && i < room; i++)
        ((char *)out)[i] = ((char *)in)[n - 1 - i];
    return (coil_ret)n;
}

/* Each process counts its allocations for itself, and goes on from its parent's number: a worker that is ahead of its parent
 * can be short of memory while the parent has what it needs. */
static void allocate(int times)
{
    for (int i = 0; i < times; i++)
        coil__free(coil__alloc(1));
}

static coil_ret get_ahead(void *in, size_t n, void *out, size_t room)
{
    allocate(100);
    return reverse(in, n, out, room);
}

static coil_ret in_processes(void)
{
    const coil_process_pool_opts opts = {.size = sizeof opts, .max_workers = 1};
    char out[8];
    coil_executor *pool = coil_process_pool_executor_new(&opts);
    coil_ret rc = pool ? 0 : coil_last_error()->code;
    for (int i = 0; i < 2 && rc == 0; i++) {
        rc = coil_to_executor(pool, i ? reverse : get_ahead, "abc", 3, out, sizeof out);
        if (rc == 3) {
            assert_memory_equal(out, "cba", 3);
            rc = 0;
        }
    }
    allocate(110);      /* as many points as the worker had */
    if (pool && rc < 0) /* a job that nobody waits for any more would keep the end waiting */
        (void)coil_process_pool_kill_workers(pool);
    if (pool)
        rc = first_error(rc, coil_executor_shutdown(pool, true, true));
    coil_executor_unref(pool);
    return rc;
}

COIL_TEST(pools_of_processes_under_faults)
{
    play(in_processes);
}

COIL_TEST_MAIN()
