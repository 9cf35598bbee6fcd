/* SPDX-License-Identifier: MIT
 *
 * deadlock.c: two tasks take two locks in opposite order, each waits for the other's. A third one ticks, so the loop
 * itself has something to do, and nobody reports a deadlock. */
#include <coil.h>

static coil_lock ledger, till;

static coil_ret take_both(coil_lock *first, coil_lock *second)
{
    coil_ret rc = coil_lock_acquire(first);
    if (rc == 0)
        rc = coil_sleep(0.01); /* long enough for the other one to take its first */
    if (rc == 0)
        rc = coil_lock_acquire(second);
    return rc;
}

static coil_ret clerk(void *arg)
{
    (void)arg;
    return take_both(&ledger, &till);
}

static coil_ret cashier(void *arg)
{
    (void)arg;
    return take_both(&till, &ledger);
}

static coil_ret clock_ticks(void *arg)
{
    coil_ret rc = 0;
    (void)arg;
    while (rc == 0)
        rc = coil_sleep(1);
    return rc;
}

static coil_ret program(void *arg)
{
    (void)arg;
    coil_task *both[] = {coil_create_task(clerk, NULL), coil_create_task(cashier, NULL)};
    coil_task_set_name(both[0], "clerk");
    coil_task_set_name(both[1], "cashier");
    coil_task *ticks = coil_create_task(clock_ticks, NULL);
    coil_task_set_name(ticks, "ticks");
    coil_unref(ticks);
    return coil_gather(both, 2, NULL, COIL_UNREF);
}

int main(void)
{
    return coil_report(coil_run(program, NULL));
}
