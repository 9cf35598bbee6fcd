/* SPDX-License-Identifier: MIT
 *
 * e10_one_line.c: getting a loop and running a coroutine on it, all in one line.
 *
 *     @asyncio.coroutine
 *     def some_coroutine():
 *         ...
 *
 *     loop = asyncio.get_event_loop().run_until_complete(some_coroutine())
 *
 * What the variable named `loop` receives is no loop: it is what the coroutine returned. */
#include <coil.h>

#include <stdio.h>

static coil_ret some_coroutine(coil_gen *self, void *unused)
{
    puts("some_coroutine runs");
    return (coil_ret) "what some_coroutine returned";
}

int main(void)
{
    coil_loop *made = coil_new_event_loop(NULL);
    if (!made)
        return coil_report(coil_last_error()->code);
    coil_set_event_loop(made);

    coil_ret loop = coil_loop_run_until_complete(
        coil_get_event_loop(), coil_gen_to_coro(coil_gen_new(some_coroutine, NULL)));
    if (!coil_iserr(loop))
        printf("loop is %s\n", (const char *)loop);
    coil_loop_free(made);
    return coil_report(loop);
}
