/* SPDX-License-Identifier: MIT
 *
 * e01_generator_coroutine.c: a task made of a generator, and a callback that is told when it is done.
 *
 * The Python it follows is from the days before `async def` (it runs up to Python 3.10):
 *
 *     @asyncio.coroutine
 *     def slow_operation():
 *         yield from asyncio.sleep(1)
 *         return 'Future is done!'
 *
 *     task = loop.create_task(slow_operation())
 *     task.add_done_callback(got_result)          # prints future.result()
 *     loop.run_until_complete(task)
 *
 * The decorator is coil_gen_to_coro. Calling the decorated function runs nothing: it makes an object, and
 * the task made of that object is what the loop starts. */
#include <coil.h>

#include <stdio.h>

static coil_ret slow_operation(coil_gen *self, void *unused)
{
    coil_ret rc = coil_sleep(1); /* the generator waits, and whoever drives it waits with it */
    if (coil_iserr(rc))
        return rc;
    return (coil_ret) "Future is done!";
}

static void got_result(coil_future *future, void *unused)
{
    coil_ret result = coil_future_result(future);
    if (!coil_iserr(result))
        puts((const char *)result);
}

int main(void)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    if (!loop)
        return coil_report(coil_last_error()->code);
    coil_set_event_loop(loop);

    coil_coro *coro = coil_gen_to_coro(coil_gen_new(slow_operation, NULL));
    coil_task *task = coil_create_task_coro(coro);
    coil_future_add_done_callback(task, got_result, NULL);

    coil_ret rc = coil_loop_run_until_complete(loop, task);
    coil_unref(task);
    coil_loop_free(loop);
    return coil_report(rc);
}
