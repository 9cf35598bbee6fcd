/* SPDX-License-Identifier: MIT
 *
 * e14_gather.c: two sleeps at the same time, their results in order, and how long it all took.
 *
 *     async def sleep(sec):
 *         await asyncio.sleep(sec)
 *         return sec
 *
 *     async def main():
 *         tasks = [asyncio.create_task(sleep(sec)) for sec in [1, 2]]
 *         return await asyncio.gather(*tasks)
 *
 *     result = loop.run_until_complete(main())
 *     print('result : {}'.format(result))
 *     print('total time : {0:.2f} sec'.format(end - start))
 *
 * A second and two seconds, waited for together, are two seconds. */
#include <coil.h>

#include <stdio.h>

static coil_ret sleep_for(void *arg)
{
    int sec = *(const int *)arg;
    coil_ret rc = coil_sleep(sec);
    return coil_iserr(rc) ? rc : sec;
}

static coil_ret async_main(void *results)
{
    static const int sec_list[] = {1, 2};
    coil_task *tasks[2];
    for (int i = 0; i < 2; i++)
        tasks[i] = coil_create_task(sleep_for, &sec_list[i]);
    return coil_gather(tasks, 2, results, COIL_UNREF);
}

int main(void)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    if (!loop)
        return coil_report(coil_last_error()->code);
    double start = coil_loop_time(loop);

    coil_ret result[2];
    coil_ret rc = coil_loop_run_until_complete(loop, coil_coro_new(async_main, result));
    coil_loop_close(loop);

    double end = coil_loop_time(loop);
    coil_loop_free(loop);
    if (coil_iserr(rc))
        return coil_report(rc);
    printf("result : [%d, %d]\n", (int)result[0], (int)result[1]);
    printf("total time : %.2f sec\n", end - start);
    return 0;
}
