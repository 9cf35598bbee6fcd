/* SPDX-License-Identifier: MIT
 *
 * 15_async_generator.c: a generator that waits, and what becomes of one that nobody finishes.
 *
 * Look at: nothing is new. A generator that a task drives may wait, and the task waits with it while others
 * run. One left in the middle is closed when the program ends, by coil_run: its yield returns an error, and it may
 * still wait while it says goodbye. `meter` has two readings to go when its reader has seen enough. */
#include <coil.h>

#include <stdio.h>

static coil_ret meter(coil_gen *self, void *unused)
{
    (void)unused;
    coil_ret rc = 0;
    for (int reading = 1; reading <= 5 && !coil_iserr(rc); reading++) {
        rc = coil_sleep(0.2);
        if (!coil_iserr(rc))
            rc = coil_gen_yield(self, reading * 10);
    }
    puts("meter: switching off");
    coil_ignore(coil_sleep(0.1));
    puts("meter: off");
    return coil_iserr(rc) ? rc : 0;
}

static coil_ret read_meter(void *gen)
{
    int rc, seen = 0;
    COIL_GEN_FOREACH(value, gen, rc)
    {
        printf("reader: %d\n", (int)value);
        if (++seen == 3)
            break;
    }
    return rc < 0 ? rc : 0;
}

static coil_ret tick(void *unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        coil_ret rc = coil_sleep(0.25);
        if (rc < 0)
            return rc;
        puts("clock: tick");
    }
    return 0;
}

static coil_ret both(void *gen)
{
    coil_task_group(g);
    coil_group_create_task(&g, read_meter, gen);
    coil_group_create_task(&g, tick, NULL);
    coil_ret rc = coil_group_exit(&g, 0);
    puts("main: done");
    return rc;
}

int main(void)
{
    coil_gen *gen = coil_gen_new(meter, NULL);
    coil_ret rc = coil_run(both, gen); /* closes it, since a task of its loop began it */
    printf("the generator has %s\n",
           coil_gen_state(gen) == COIL_GEN_CLOSED ? "ended" : "something left");
    coil_gen_unref(gen);
    return coil_report(rc);
}
