/* SPDX-License-Identifier: MIT
 *
 * 08_lock.c: one at a time with a lock, two at a time with a semaphore.
 *
 * Look at: between two waiting calls nobody interferes, so most data needs no lock at all. Only what must
 * hold across a wait does: `careless` reads the balance, waits, and writes back what is no longer
 * true. The blocks of coil_with_lock and coil_with_semaphore give back what they hold however they are left. */
#include <coil.h>

#include <stdio.h>

static int balance;
static coil_lock lock = COIL_LOCK;
static coil_semaphore desks = COIL_SEMAPHORE(2);

static coil_ret careless(void *unused)
{
    int before = balance;
    coil_ret rc = coil_sleep(0.1); /* say, asking the bank */
    if (!coil_iserr(rc))
        balance = before + 10;
    return rc;
}

static coil_ret careful(void *unused)
{
    coil_ret rc;
    coil_with_lock(rc, &lock)
    {
        rc = careless(NULL);
    }
    return rc;
}

static coil_ret at_a_desk(void *name)
{
    coil_ret rc;
    coil_with_semaphore(rc, &desks)
    {
        printf("%s sits down\n", (const char *)name);
        rc = coil_sleep(1);
        printf("%s gets up\n", (const char *)name);
    }
    return rc;
}

static coil_ret five_times(coil_fn deposit)
{
    balance = 0;
    coil_task_group(group);
    for (int i = 0; i < 5; i++)
        coil_group_create_task(&group, deposit, NULL);
    return coil_group_exit(&group, 0);
}

static coil_ret bank(void *unused)
{
    coil_ret rc = five_times(careless);
    if (coil_iserr(rc))
        return rc;
    printf("careless: %d\n", balance);
    rc = five_times(careful);
    if (coil_iserr(rc))
        return rc;
    printf("careful: %d\n", balance);

    coil_task_group(group);
    coil_group_create_task(&group, at_a_desk, "ada");
    coil_group_create_task(&group, at_a_desk, "bob");
    coil_group_create_task(&group, at_a_desk, "cyd");
    return coil_group_exit(&group, 0);
}

int main(void)
{
    return coil_report(coil_run(bank, NULL));
}
