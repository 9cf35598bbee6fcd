/* SPDX-License-Identifier: MIT
 *
 * e05_blocking.c: heavy work inside a coroutine stops everything else; on a thread it does not.
 *
 *     async def bad_practice():
 *         return [i ** 2 for i in range(10000000)]           # blocks the event loop
 *
 *     async def good_practice():
 *         return await loop.run_in_executor(None, compute_squares)
 *
 * A heart beats every 100 ms while each of them works; the largest gap between two beats tells. Its
 * length goes to standard error, for it differs from run to run; with COIL_DEBUG=1 the loop itself
 * reports the step that took so long. The work squares numbers for half a second by the clock on the
 * wall, which goes on in virtual time too. */
#include <coil.h>

#include <stdio.h>
#include <time.h>

#define WORK_SECONDS 0.5

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static coil_ret compute_squares(void *unused)
{
    volatile unsigned long square;
    double end = now() + WORK_SECONDS;
    for (unsigned long i = 0; i % 1000 || now() < end; i++)
        square = i * i;
    (void)square;
    return 0;
}

static coil_ret bad_practice(void *unused)
{
    return compute_squares(NULL); /* no other coroutine runs until it returns */
}

static coil_ret good_practice(void *unused)
{
    return coil_join(coil_loop_run_in_executor(NULL, NULL, compute_squares, NULL, 0));
}

static coil_ret heartbeat(void *largest_gap)
{
    double *largest = largest_gap;
    for (;;) {
        double last = now();
        coil_ret rc = coil_sleep(0.1);
        if (coil_iserr(rc))
            return rc;
        if (now() - last > *largest)
            *largest = now() - last;
    }
}

static coil_ret beside_a_heart(const char *name, coil_fn practice)
{
    double largest = 0;
    coil_task *heart = coil_create_task(heartbeat, &largest);
    coil_ret rc = coil_sleep(0.25);
    if (!coil_iserr(rc))
        rc = practice(NULL);
    if (!coil_iserr(rc))
        rc = coil_sleep(0.25);
    coil_task_cancel(heart, NULL);
    coil_ignore(coil_join(heart));
    if (coil_iserr(rc))
        return rc;

    fprintf(stderr, "%s: the largest gap between two heartbeats was %.2f s\n", name, largest);
    printf("%s: the heart %s\n", name,
           largest >= WORK_SECONDS ? "stopped for as long as the work took" : "went on beating");
    return 0;
}

static coil_ret async_main(void *unused)
{
    coil_ret rc = beside_a_heart("bad_practice", bad_practice);
    return coil_iserr(rc) ? rc : beside_a_heart("good_practice", good_practice);
}

int main(void)
{
    return coil_report(coil_run(async_main, NULL));
}
