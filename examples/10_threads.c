/* SPDX-License-Identifier: MIT
 *
 * 10_threads.c: functions that block, on threads, while the loop goes on.
 *
 * Look at: `resize` knows nothing of coroutines; called in a task it would stop them all. coil_to_thread
 * waits for it here; coil_loop_run_in_executor makes a future of it, so that several run at a time. The
 * ticker shows that the loop is alive meanwhile. */
#include <coil.h>

#include <stdio.h>
#include <unistd.h>

static coil_ret resize(void *picture)
{
    usleep(100 * 1000); /* blocks its thread */
    return *(const int *)picture * 10;
}

static coil_ret tick(void *ticks)
{
    for (;;) {
        coil_ret rc = coil_sleep(0.01);
        if (coil_iserr(rc))
            return rc;
        ++*(int *)ticks;
    }
}

static coil_ret on_threads(void)
{
    int pictures[] = {1, 2, 3, 4};
    coil_ret rc = coil_to_thread(resize, &pictures[0]);
    if (coil_iserr(rc))
        return rc;
    printf("one: %d\n", (int)rc);

    coil_future *jobs[3];
    coil_ret sizes[3];
    for (int i = 0; i < 3; i++)
        jobs[i] = coil_loop_run_in_executor(NULL, NULL, resize, &pictures[i + 1], 0);
    rc = coil_gather(jobs, 3, sizes, COIL_UNREF);
    if (!coil_iserr(rc))
        printf("three: %d %d %d\n", (int)sizes[0], (int)sizes[1], (int)sizes[2]);
    return rc;
}

static coil_ret album(void *unused)
{
    int ticks = 0;
    coil_task *ticker = coil_create_task(tick, &ticks);
    coil_ret rc = on_threads();
    coil_task_cancel(ticker, NULL);
    coil_ignore(coil_join(ticker));
    printf("the loop %s meanwhile\n", ticks > 0 ? "went on" : "stood still");
    return rc;
}

int main(void)
{
    return coil_report(coil_run(album, NULL));
}
