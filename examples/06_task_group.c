/* SPDX-License-Identifier: MIT
 *
 * 06_task_group.c: tasks that live and end together, one of which fails.
 *
 * Look at: no task outlives its group. When one fails, the others are cancelled, clean up and end, and only
 * then does coil_group_exit return: the first error's code, with a record that lists every failure. What
 * coil_fail says travels along, with the place it was said at. */
#include <coil.h>

#include <stdio.h>

#define E_DISK (COIL_EUSER - 0)

struct copy {
    int disk;
    double seconds;
};

static coil_ret copy_disk(void *arg)
{
    const struct copy *copy = arg;
    coil_ret rc = coil_sleep(copy->seconds);
    if (rc == -ECANCELED)
        printf("disk %d: stopped half-way, and cleaned up\n", copy->disk);
    if (coil_iserr(rc))
        return rc;
    if (copy->disk == 2)
        return coil_fail(E_DISK, "disk %d is full", copy->disk);
    printf("disk %d: done\n", copy->disk);
    return 0;
}

static coil_ret copy_all(void)
{
    static struct copy copies[] = {{1, 1}, {2, 2}, {3, 3}};
    coil_task_group(group);
    for (int i = 0; i < 3; i++)
        coil_group_create_task(&group, copy_disk, &copies[i]);
    return coil_group_exit(&group, 0);
}

static coil_ret backup(void *unused)
{
    coil_ret rc = copy_all();
    if (rc != E_DISK)
        return rc;

    const coil_error *error = coil_last_error();
    printf("the group has ended: %s\n", error->message);
    for (size_t i = 0; i < error->members_n; i++)
        printf("  failed in %s: %s\n", error->members[i]->task, error->members[i]->message);
    return 0;
}

int main(void)
{
    return coil_report(coil_run(backup, NULL));
}
