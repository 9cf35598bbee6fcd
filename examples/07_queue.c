/* SPDX-License-Identifier: MIT
 *
 * 07_queue.c: a producer, two consumers, and a queue between them.
 *
 * Look at: there is room for two jobs, so the producer waits when the consumers are behind. coil_queue_join
 * waits until each job that was put has been dealt with (task_done), not merely taken. After the shutdown a
 * get on the empty queue fails, which is how the consumers learn that there is no more to come. */
#include <coil.h>

#include <stdio.h>

static coil_queue jobs = COIL_QUEUE(2);

static coil_ret produce(void)
{
    static int numbers[] = {1, 2, 3, 4, 5, 6};
    for (int i = 0; i < 6; i++) {
        coil_ret rc = coil_queue_put(&jobs, &numbers[i]);
        if (coil_iserr(rc))
            return rc;
        printf("put %d\n", numbers[i]);
    }
    return coil_queue_join(&jobs);
}

static coil_ret consume(void *name)
{
    for (;;) {
        void *job;
        coil_ret rc = coil_queue_get(&jobs, &job);
        if (rc == COIL_ESHUTDOWN)
            return 0;
        if (!coil_iserr(rc))
            rc = coil_sleep(1);
        if (coil_iserr(rc))
            return rc;
        printf("%s has done %d\n", (const char *)name, *(int *)job);
        coil_queue_task_done(&jobs);
    }
}

static coil_ret workshop(void *unused)
{
    coil_task_group(group);
    coil_group_create_task(&group, consume, "anna");
    coil_group_create_task(&group, consume, "  ben");
    coil_ret rc = produce();
    coil_queue_shutdown(&jobs, false);
    rc = coil_group_exit(&group, rc);
    coil_queue_fini(&jobs);
    return rc;
}

int main(void)
{
    return coil_report(coil_run(workshop, NULL));
}
