/* SPDX-License-Identifier: MIT
 *
 * e11_task_in_coroutine.c: a coroutine that schedules another one, and waits for it.
 *
 *     @asyncio.coroutine
 *     def some_coroutine():
 *         ...
 *         yield from asyncio.Task(another_coroutine())
 *         ...
 *
 * Both are generators in the old style: a future that the outer one yields is waited for by the task that
 * drives it, and its result comes back from the yield. In the new style the yield is coil_join(task). */
#include <coil.h>

#include <stdio.h>

static coil_ret another_coroutine(coil_gen *self, void *unused)
{
    puts("  another_coroutine begins");
    coil_ret rc = coil_sleep(1);
    puts("  another_coroutine ends");
    return rc;
}

static coil_ret some_coroutine(coil_gen *self, void *unused)
{
    puts("some_coroutine begins");
    coil_coro *another = coil_gen_to_coro(coil_gen_new(another_coroutine, NULL));
    coil_task *task = coil_create_task_coro(another);
    puts("some_coroutine has scheduled it, and waits");
    coil_ret rc = coil_gen_yield(self, (coil_ret)task); /* hands over the reference too */
    puts("some_coroutine ends");
    return rc;
}

int main(void)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    if (!loop)
        return coil_report(coil_last_error()->code);
    coil_coro *coro = coil_gen_to_coro(coil_gen_new(some_coroutine, NULL));
    coil_ret rc = coil_loop_run_until_complete(loop, coro);
    coil_loop_free(loop);
    return coil_report(rc);
}
