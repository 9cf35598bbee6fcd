/* SPDX-License-Identifier: MIT
 *
 * e03_fetch_data.c: a coroutine object, and what it comes to.
 *
 *     async def fetch_data():
 *         await asyncio.sleep(1)
 *         return "data"
 *
 * In Python the call fetch_data() only makes an object; here that is coil_coro_new. Everyday code in C
 * leaves it out and calls fetch_data(NULL), which is the `await` already. */
#include <coil.h>

#include <stdio.h>

static coil_ret fetch_data(void *unused)
{
    coil_ret rc = coil_sleep(1);
    if (coil_iserr(rc))
        return rc;
    return (coil_ret) "data";
}

static coil_ret async_main(void *unused)
{
    coil_coro *coro = coil_coro_new(fetch_data, NULL); /* nothing of it has run */
    coil_ret data = coil_await(coro);
    if (coil_iserr(data))
        return data;
    puts((const char *)data);
    return 0;
}

int main(void)
{
    return coil_report(coil_run(async_main, NULL));
}
