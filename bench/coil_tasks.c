/* SPDX-License-Identifier: MIT
 *
 * coil_tasks.c: tasks that yield, are born, end, are awaited and wait for each other; modes of coil_micro.c. */
#include "coil_micro.h"

#include <coil.h>

static coil_ret nothing(void *arg)
{
    return (coil_ret)arg;
}

/* ---- yield ---- */

static coil_ret yielder(void *arg)
{
    for (long i = (long)(intptr_t)arg; i > 0; i--)
        coil_ignore(coil_sleep(0));
    return 0;
}

/* Three frames of a user's code above the wait: each saves registers, and each return must be predicted. */
__attribute__((noinline)) static coil_ret third_frame(long *count)
{
    coil_ret rc = coil_sleep(0);
    *count += 1;
    return rc;
}

__attribute__((noinline)) static coil_ret second_frame(long *count)
{
    coil_ret rc = third_frame(count);
    *count += 1;
    return rc;
}

__attribute__((noinline)) static coil_ret first_frame(long *count)
{
    coil_ret rc = second_frame(count);
    *count += 1;
    return rc;
}

static coil_ret deep_yielder(void *arg)
{
    long count = 0;
    for (long i = (long)(intptr_t)arg; i > 0; i--)
        coil_ignore(first_frame(&count));
    return count;
}

static void yields(coil_fn fn, long tasks_n, long n)
{
    coil_task *tasks[1000];
    for (long i = 0; i < tasks_n; i++)
        tasks[i] = coil_create_task(fn, (void *)(intptr_t)(n / tasks_n));
    coil_ignore(coil_gather(tasks, (size_t)tasks_n, NULL, COIL_UNREF));
}

static void switch2(long n, long size)
{
    yields(yielder, 2, n);
}

static void switch1000(long n, long size)
{
    yields(yielder, 1000, n);
}

static void deep2(long n, long size)
{
    yields(deep_yielder, 2, n);
}

static void deep1000(long n, long size)
{
    yields(deep_yielder, 1000, n);
}

/* ---- born and joined ---- */

static void spawn(long n, long size)
{
    for (long i = 0; i < n; i++)
        coil_ignore(coil_join(coil_create_task(nothing, NULL)));
}

static void spawn_batch(long n, long size)
{
    coil_task *tasks[1000];
    for (long i = 0; i < n; i += 1000) {
        for (int k = 0; k < 1000; k++)
            tasks[k] = coil_create_task(nothing, NULL);
        for (int k = 0; k < 1000; k++)
            coil_ignore(coil_join(tasks[k]));
    }
}

static void gather(long n, long size)
{
    coil_task *tasks[1000];
    coil_ret results[1000];
    for (long i = 0; i < n; i += 1000) {
        for (int k = 0; k < 1000; k++)
            tasks[k] = coil_create_task(nothing, NULL);
        coil_ignore(coil_gather(tasks, 1000, results, COIL_UNREF));
    }
}

static void group(long n, long size)
{
    for (long i = 0; i < n; i += 1000) {
        coil_task_group(g);
        for (int k = 0; k < 1000; k++)
            coil_group_create_task(&g, nothing, NULL);
        coil_ignore(coil_group_exit(&g, 0));
    }
}

static void await_done(long n, long size)
{
    coil_future *future = coil_loop_create_future(NULL);
    coil_future_set_result(future, 1);
    for (long i = 0; i < n; i++)
        coil_ignore(coil_await(future));
    coil_unref(future);
}

/* ---- parked ---- */

static coil_ret sleeper(void *arg)
{
    return coil_sleep(3600);
}

/* Each sleeps on a timer of its own, on a guarded stack of the smallest class. */
static void parked(long n, long size)
{
    coil_task_opts opts = {.size = sizeof opts, .stack_size = 65536};
    struct micro_memory before = micro_memory();
    for (long i = 0; i < n; i++)
        coil_unref(coil_create_task_opts(sleeper, NULL, &opts));
    coil_loop_stats_t stats = {.size = sizeof stats};
    do {
        coil_ignore(coil_sleep(0));
        coil_loop_stats(NULL, &stats);
    } while (stats.timers < (size_t)n && stats.tasks > (size_t)n);
    if (stats.timers < (size_t)n)
        micro_fail("tasks could not be made: no room for their stacks");
    micro_parked(n, before);
}

/* ---- growth: SIZE things at a time ---- */

/* The first to be done ends the measuring: deaths are another row's. */
static coil_ret measured_yielder(void *arg)
{
    coil_ret rc = yielder(arg);
    micro_stop();
    return rc;
}

static void grow_yield(long n, long size)
{
    coil_task **tasks = malloc((size_t)size * sizeof *tasks);
    coil_task_opts opts = {.size = sizeof opts, .stack_size = 65536};
    for (long i = 0; i < size; i++)
        tasks[i] = coil_create_task_opts(measured_yielder, (void *)(intptr_t)(n / size + 1), &opts);
    coil_ignore(coil_sleep(0)); /* all of them have begun */
    micro_start();
    coil_ignore(coil_gather(tasks, (size_t)size, NULL, COIL_UNREF));
    free(tasks);
}

static void spawn_all(coil_task **tasks, long size)
{
    coil_task_opts opts = {.size = sizeof opts, .stack_size = 65536};
    for (long k = 0; k < size; k++)
        tasks[k] = coil_create_task_opts(nothing, NULL, &opts);
    for (long k = 0; k < size; k++)
        coil_ignore(coil_join(tasks[k]));
}

/* The first round makes the stacks; then they are there. */
static void grow_spawn(long n, long size)
{
    coil_task **tasks = malloc((size_t)size * sizeof *tasks);
    spawn_all(tasks, size);
    micro_start();
    for (long i = 0; i < n; i += size)
        spawn_all(tasks, size);
    free(tasks);
}

const struct micro_mode coil_task_modes[] = {
    {"switch2", switch2},   {"switch1000", switch1000}, {"deep2", deep2},
    {"deep1000", deep1000}, {"spawn", spawn},           {"spawn_batch", spawn_batch},
    {"gather", gather},     {"group", group},           {"await_done", await_done},
    {"parked", parked},     {"grow_yield", grow_yield}, {"grow_spawn", grow_spawn},
    {NULL, NULL},
};
