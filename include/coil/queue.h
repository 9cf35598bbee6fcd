/* SPDX-License-Identifier: MIT
 *
 * coil/queue.h: items handed from tasks to tasks, in three orders, with a limit that makes producers wait.
 *
 *     coil_queue jobs = COIL_QUEUE(10);
 *
 *     producer:  rc = coil_queue_put(&jobs, job);         waits while ten are in it
 *     consumer:  rc = coil_queue_get(&jobs, &job);        waits while it is empty
 *                ... coil_queue_task_done(&jobs);
 *     main:      rc = coil_queue_join(&jobs);             waits until every job put was done
 *                coil_queue_fini(&jobs);
 *
 * Items are pointers; the queue never looks behind them. A queue is a plain value like a lock (coil/sync.h says
 * what that means: binding to a loop, threads, moving, COIL_EEXIT and COIL_ENOTASK), but it owns the memory
 * its items stand in: whoever made the queue gives that back with coil_queue_fini. Waiting allocates
 * nothing; putting may. */
#ifndef COIL_QUEUE_H
#define COIL_QUEUE_H

#include <coil/sync.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which of two items leaves a priority queue first: < 0 if it is a, > 0 if it is b; at 0 the one that came
 * first. Must not use the queue, and must say the same each time. */
typedef int (*coil_compare_fn)(const void *a, const void *b);

/* asyncio: Queue, LifoQueue, PriorityQueue */
typedef struct {
    intptr_t maxsize_;
    unsigned order_;
    coil_compare_fn compare_;
    void *priv_[21];
} coil_queue;

enum { COIL__QUEUE_FIFO, COIL__QUEUE_LIFO, COIL__QUEUE_PRIORITY };

/* First in first out; last in first out; smallest first by `compare`. `maxsize` is a whole number, 0 or
 * less for no limit; `coil_queue q = {0}` is COIL_QUEUE(0). */
#define COIL_QUEUE(maxsize)      COIL__VALUE((intptr_t)(maxsize), COIL__QUEUE_FIFO, 0, {0})
#define COIL_LIFO_QUEUE(maxsize) COIL__VALUE((intptr_t)(maxsize), COIL__QUEUE_LIFO, 0, {0})
#define COIL_PRIORITY_QUEUE(maxsize, compare) \
    COIL__VALUE((intptr_t)(maxsize), COIL__QUEUE_PRIORITY, (compare), {0})

/* Put an item in, waiting while the queue is full.
 *
 *   Suspends: until there is room, in order of arrival.
 *   Cancel:   returns -ECANCELED; the item was not put, and room that came free meanwhile goes to the next.
 *   Owns:     nothing; `item` stays yours and must outlive its stay in the queue.
 *   Where:    inside a task of the queue's own loop.
 *   Errors:   COIL_ESHUTDOWN once the queue is shut down; -ENOMEM, and then nothing changed; -EINVAL for a
 *             priority queue without compare; COIL_EWRONGLOOP.
 *   asyncio:  Queue.put */
COIL_ASYNC coil_ret coil_queue_put(coil_queue *queue, void *item);

/* Take an item out, waiting while the queue is empty.
 *
 *   Suspends: until there is an item, in order of arrival. (A task that comes when there is one takes it
 *             at once; who was woken for it then waits again.)
 *   Cancel:   returns -ECANCELED; every item stays, and another waiter is woken if there is one to have.
 *   Owns:     the item is yours; `out_item` may be NULL, and the item is dropped.
 *   Where:    inside a task of the queue's own loop.
 *   Errors:   COIL_ESHUTDOWN once the queue is shut down and empty; COIL_EWRONGLOOP.
 *   asyncio:  Queue.get */
COIL_ASYNC coil_ret coil_queue_get(coil_queue *queue, void **out_item);

/* The same without waiting; also in callbacks.
 *
 *   Errors:  COIL_EQUEUEFULL, COIL_EQUEUEEMPTY instead of waiting; else as put and get.
 *   asyncio: Queue.put_nowait, Queue.get_nowait */
COIL_API int coil_queue_put_nowait(coil_queue *queue, void *item);
COIL_API int coil_queue_get_nowait(coil_queue *queue, void **out_item);

/* Items in it; the limit it was made with; nothing in it; as many as the limit allows.
 * asyncio: Queue.qsize, Queue.maxsize, Queue.empty, Queue.full */
COIL_API size_t coil_queue_qsize(const coil_queue *queue);
COIL_API intptr_t coil_queue_maxsize(const coil_queue *queue);
COIL_API bool coil_queue_empty(const coil_queue *queue);
COIL_API bool coil_queue_full(const coil_queue *queue);

/* One item that was got is dealt with.
 *
 *   Errors:  -EINVAL when called more often than items were put.
 *   asyncio: Queue.task_done */
COIL_API int coil_queue_task_done(coil_queue *queue);

/* Wait until task_done was called for every item put.
 *
 *   Suspends: unless that is so already.
 *   Cancel:   returns -ECANCELED; nothing else.
 *   Where:    inside a task of the queue's own loop.
 *   Errors:   COIL_EWRONGLOOP.
 *   asyncio:  Queue.join */
COIL_ASYNC coil_ret coil_queue_join(coil_queue *queue);

/* No more puts: they fail at once, waiting ones too. Gets go on until the queue is empty, then fail. With
 * `immediate` it is emptied here, every item in it counting as done. Twice is fine.
 *
 *   Owns:    the queue lets go of the items; if they need freeing, take them with get_nowait instead.
 *   Errors:  debug mode: COIL_EWRONGTHREAD.
 *   asyncio: Queue.shutdown */
COIL_API int coil_queue_shutdown(coil_queue *queue, bool immediate);

/* Give the queue's memory back; called by whoever made it, when nobody uses it any more. Items still in
 * it are let go of. Afterwards it is a new, empty queue of the same kind. NULL is fine.
 *
 *   Errors:  COIL_EINVALIDSTATE while tasks wait in it; nothing is given back then.
 *   asyncio: the object is destroyed */
COIL_API int coil_queue_fini(coil_queue *queue);

/* What it is doing, as "queue [maxsize=2, items:1, getters:0, putters:0, tasks:1]"; cut to n bytes,
 * returns as snprintf does. asyncio: repr(queue) */
COIL_API int coil_queue_repr(const coil_queue *queue, char *out, size_t n);

#ifdef __cplusplus
}
#endif
#endif
