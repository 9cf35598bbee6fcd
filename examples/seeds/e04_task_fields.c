/* SPDX-License-Identifier: MIT
 *
 * e04_task_fields.c: what a task knows of itself before its first step, and the states it goes through.
 *
 *     class Task:
 *         def __init__(self, coro, loop):
 *             self.coro = coro
 *             self._loop = loop
 *             self._state = 'PENDING'
 *             self._result = None
 *             self._exception = None
 *
 * Stored are three states: pending, cancelled and finished. That a task is RUNNING is worked out (it is its
 * loop's current one), and so is DONE; coil_task_state answers in those words. */
#include <coil.h>

#include <stdio.h>

static const char *state_name(const coil_task *task)
{
    switch (coil_task_state(task)) {
    case COIL_TASK_PENDING: return "PENDING";
    case COIL_TASK_RUNNING: return "RUNNING";
    case COIL_TASK_DONE: return "DONE";
    case COIL_TASK_CANCELLED: return "CANCELLED";
    }
    return "?";
}

static coil_ret fetch_data(void *unused)
{
    printf("in its first step : %s\n", state_name(coil_current_task()));
    coil_ret rc = coil_sleep(1);
    if (coil_iserr(rc))
        return rc;
    return (coil_ret) "data";
}

static void show(coil_task *task)
{
    bool running_loop = coil_future_get_loop(task) == coil_get_running_loop();
    coil_ret result = coil_future_result(task);
    printf("coro       : %s\n", coil_task_get_fn(task, NULL) == fetch_data ? "fetch_data" : "?");
    printf("_loop      : %s\n", running_loop ? "the running loop" : "?");
    printf("_state     : %s\n", state_name(task));
    printf("_result    : %s\n", result == COIL_EINVALIDSTATE ? "None" : "?");
    printf("_exception : %s\n", coil_future_exception(task) ? "?" : "None");
}

static coil_ret async_main(void *unused)
{
    coil_task *task = coil_create_task(fetch_data, NULL);
    show(task);
    coil_ret rc = coil_await(task);
    printf("at its end        : %s\n", state_name(task));
    coil_unref(task);
    if (coil_iserr(rc))
        return rc;

    task = coil_create_task(fetch_data, NULL);
    coil_task_cancel(task, NULL);
    rc = coil_await(task);
    printf("cancelled         : %s\n", state_name(task));
    coil_unref(task);
    return rc == -ECANCELED ? 0 : rc;
}

int main(void)
{
    return coil_report(coil_run(async_main, NULL));
}
