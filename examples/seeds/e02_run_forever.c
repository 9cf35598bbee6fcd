/* SPDX-License-Identifier: MIT
 *
 * e02_run_forever.c: a loop that runs for ever, until a done-callback stops it.
 *
 *     async def slow_operation():
 *         await asyncio.sleep(1)
 *         return 'Future is done!'
 *
 *     def got_result(future):
 *         print(future.result())
 *         loop.stop()
 *
 *     task = loop.create_task(slow_operation())
 *     task.add_done_callback(got_result)
 *     loop.run_forever()
 *
 * The stop takes effect when the batch of callbacks in which it was called has run. */
#include <coil.h>

#include <stdio.h>

static coil_ret slow_operation(void *unused)
{
    coil_ret rc = coil_sleep(1);
    if (coil_iserr(rc))
        return rc;
    return (coil_ret) "Future is done!";
}

static void got_result(coil_future *future, void *loop)
{
    coil_ret result = coil_future_result(future);
    if (!coil_iserr(result))
        puts((const char *)result);
    coil_loop_stop(loop);
}

int main(void)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    if (!loop)
        return coil_report(coil_last_error()->code);
    coil_set_event_loop(loop);

    coil_task *task = coil_create_task(slow_operation, NULL);
    coil_future_add_done_callback(task, got_result, loop);

    int rc = coil_loop_run_forever(loop);
    coil_unref(task);
    coil_loop_free(loop);
    return coil_report(rc);
}
