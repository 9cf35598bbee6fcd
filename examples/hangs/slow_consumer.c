/* SPDX-License-Identifier: MIT
 *
 * slow_consumer.c: three producers, one consumer that takes its time over each item. The queue is full, and the producers stand. */
#include <coil.h>

static coil_queue orders = COIL_QUEUE(10);

static coil_ret produce(void *arg)
{
    coil_ret rc = 0;
    while (rc >= 0)
        rc = coil_queue_put(&orders, arg);
    return rc;
}

static coil_ret write_to_disk(void)
{
    return coil_sleep(600); /* what it waits for is slow */
}

static coil_ret consume(void *arg)
{
    coil_ret rc = 0;
    void *order;
    (void)arg;
    while (rc >= 0 && (rc = coil_queue_get(&orders, &order)) >= 0)
        rc = write_to_disk();
    return rc;
}

static coil_ret program(void *arg)
{
    static const char *const names[] = {"north", "south", "west"};
    (void)arg;
    for (int i = 0; i < 3; i++) {
        coil_task *producer = coil_create_task(produce, (void *)(uintptr_t)names[i]);
        coil_task_set_name(producer, names[i]);
        coil_unref(producer);
    }
    coil_task *consumer = coil_create_task(consume, NULL);
    coil_task_set_name(consumer, "consumer");
    return coil_join(consumer);
}

int main(void)
{
    return coil_report(coil_run(program, NULL));
}
