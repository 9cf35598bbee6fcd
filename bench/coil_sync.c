/* SPDX-License-Identifier: MIT
 *
 * coil_sync.c: what two tasks hand to each other; modes of coil_micro.c. */
#include "coil_micro.h"

#include <coil.h>

static long turns;

/* Runs both in one loop until both have ended. */
static void two(coil_fn first, coil_fn second, void *arg)
{
    coil_task *tasks[2] = {coil_create_task(first, arg), coil_create_task(second, arg)};
    coil_ignore(coil_gather(tasks, 2, NULL, COIL_UNREF));
}

/* ---- a queue: n items go through ---- */

static coil_ret put_all(void *queue)
{
    for (long i = 0; i < turns; i++)
        coil_ignore(coil_queue_put(queue, queue));
    return 0;
}

static coil_ret get_all(void *queue)
{
    void *item;
    for (long i = 0; i < turns; i++)
        coil_ignore(coil_queue_get(queue, &item));
    return 0;
}

static void through_queue(long n, long room)
{
    coil_queue queue = COIL_QUEUE(room);
    turns = n;
    two(put_all, get_all, &queue);
    coil_queue_fini(&queue);
}

static void queue(long n, long size)
{
    through_queue(n, 128);
}

static void queue_one(long n, long size)
{
    through_queue(n, 1);
}

/* ---- what one task has at a time: n times it goes to the other ---- */

/* Waits once while it holds the lock, so that the other stands in line; from then on each release hands it over. */
static coil_ret lock_again(void *lock)
{
    coil_ret rc = coil_lock_acquire(lock);
    coil_ignore(coil_sleep(0));
    for (long i = 0; rc == 0 && i < turns / 2; i++) {
        coil_lock_release(lock);
        rc = coil_lock_acquire(lock);
    }
    coil_lock_release(lock);
    return rc;
}

static void lock(long n, long size)
{
    coil_lock lock = {0};
    turns = n;
    two(lock_again, lock_again, &lock);
}

static coil_ret acquire_again(void *semaphore)
{
    coil_ret rc = coil_semaphore_acquire(semaphore);
    coil_ignore(coil_sleep(0));
    for (long i = 0; rc == 0 && i < turns / 2; i++) {
        coil_semaphore_release(semaphore);
        rc = coil_semaphore_acquire(semaphore);
    }
    coil_semaphore_release(semaphore);
    return rc;
}

static void semaphore(long n, long size)
{
    coil_semaphore semaphore = COIL_SEMAPHORE(1);
    turns = n;
    two(acquire_again, acquire_again, &semaphore);
}

const struct micro_mode coil_sync_modes[] = {
    {"queue", queue}, {"queue_one", queue_one}, {"lock", lock}, {"semaphore", semaphore},
    {NULL, NULL},
};
