/* SPDX-License-Identifier: MIT
 *
 * e13_before_run.c: what asyncio.run does, by hand, as it was done before Python 3.7.
 *
 *     loop = asyncio.get_event_loop()
 *     loop.run_until_complete(first_coroutine())
 *     loop.close()
 *
 * The first coroutine becomes a task. What it calls, down to the sleep, is a chain on the task's own stack, and the
 * whole chain stops and goes on together. */
#include <coil.h>

#include <stdio.h>

static coil_ret third_coroutine(void)
{
    puts("    third_coroutine: sleeps, and the whole chain with it");
    return coil_sleep(1);
}

static coil_ret second_coroutine(void)
{
    puts("  second_coroutine: calls the third");
    coil_ret rc = third_coroutine();
    puts("  second_coroutine: goes on");
    return rc;
}

static coil_ret first_coroutine(void *unused)
{
    puts("first_coroutine: calls the second");
    coil_ret rc = second_coroutine();
    puts("first_coroutine: returns, and its task is done");
    return rc;
}

int main(void)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    if (!loop)
        return coil_report(coil_last_error()->code);
    coil_ret rc = coil_loop_run_until_complete(loop, coil_coro_new(first_coroutine, NULL));
    coil_loop_free(loop);
    return coil_report(rc);
}
