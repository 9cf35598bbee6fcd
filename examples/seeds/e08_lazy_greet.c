/* SPDX-License-Identifier: MIT
 *
 * e08_lazy_greet.c: the four steps: define a coroutine, make a loop, hand it over, run to the end.
 *
 *     async def lazy_greet(msg, delay=1):
 *         await asyncio.sleep(delay)
 *         print(msg)
 *
 *     loop = asyncio.get_event_loop()
 *     loop.run_until_complete(lazy_greet("hello", 3))
 *     loop.close()
 *
 * Several arguments travel in a struct. */
#include <coil.h>

#include <stdio.h>

struct greeting {
    const char *msg;
    double delay;
};

static coil_ret lazy_greet(void *arg)
{
    const struct greeting *greeting = arg;
    coil_ret rc = coil_sleep(greeting->delay);
    if (coil_iserr(rc))
        return rc;
    puts(greeting->msg);
    return 0;
}

int main(void)
{
    struct greeting hello = {"hello", 3};

    coil_loop *loop = coil_new_event_loop(NULL);
    if (!loop)
        return coil_report(coil_last_error()->code);
    coil_ret rc = coil_loop_run_until_complete(loop, coil_coro_new(lazy_greet, &hello));
    coil_loop_free(loop);
    return coil_report(rc);
}
