/* SPDX-License-Identifier: MIT
 *
 * e07_awaitables.c: everything one can wait for, and how the kinds are related.
 *
 *     Awaitable
 *      ├── Coroutine          what calling an `async def` gives
 *      └── Future             a result to come
 *           └── Task          a future that runs a coroutine
 *
 * coil_await takes each of them. A coil_task is a coil_future, so whatever takes a future takes a task. */
#include <coil.h>

#include <stdio.h>

static coil_ret nap(void *result)
{
    coil_ret rc = coil_sleep(0.1);
    return coil_iserr(rc) ? rc : (coil_ret)result;
}

static coil_ret nap_of_our_own(coil_awaitable *self)
{
    return nap((void *)1);
}

static void arrive(void *future)
{
    coil_future_set_result(future, 3);
}

static coil_ret async_main(void *unused)
{
    puts("Awaitable");
    puts(" ├── Coroutine");
    puts(" └── Future");
    puts("      └── Task");

    coil_awaitable awaitable = {nap_of_our_own};
    printf("awaitable: %d\n", (int)coil_await(&awaitable));

    coil_coro *coro = coil_coro_new(nap, (void *)2);
    printf("coroutine: %d\n", (int)coil_await(coro));

    coil_future *future = coil_loop_create_future(NULL);
    coil_loop_call_later(NULL, 0.1, arrive, future, NULL);
    printf("future: %d\n", (int)coil_join(future));

    coil_task *task = coil_create_task(nap, (void *)4);
    printf("task: %d\n", (int)coil_join(task));
    return 0;
}

int main(void)
{
    return coil_report(coil_run(async_main, NULL));
}
