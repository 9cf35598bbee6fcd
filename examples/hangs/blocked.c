/* SPDX-License-Identifier: MIT
 *
 * blocked.c: one task works without ever waiting, and nobody else gets a turn. */
#include <coil.h>

static coil_ret analyse(void *arg)
{
    volatile unsigned long n = 27;
    (void)arg;
    for (;;)
        n = n == 1 ? 27 : n % 2 ? 3 * n + 1 : n / 2;
    return 0;
}

static coil_ret heartbeat(void *arg)
{
    coil_ret rc = 0;
    (void)arg;
    while (rc == 0)
        rc = coil_sleep(0.1);
    return rc;
}

static coil_ret program(void *arg)
{
    (void)arg;
    coil_task *beat = coil_create_task(heartbeat, NULL);
    coil_task_set_name(beat, "heartbeat");
    coil_unref(beat);
    coil_task *work = coil_create_task(analyse, NULL);
    coil_task_set_name(work, "analyse");
    return coil_join(work);
}

int main(void)
{
    return coil_report(coil_run(program, NULL));
}
