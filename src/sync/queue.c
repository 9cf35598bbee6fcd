/* SPDX-License-Identifier: MIT
 *
 * queue.c: Queue, LifoQueue and PriorityQueue: who waits for items, for room, for the work to be done.
 *
 *     putters --room--> [ store ] --items--> getters       unfinished reaches 0 --> joiners
 *
 * A wake-up is a hint, not a hand-over: an item put wakes one getter and stays in the store until that
 * one runs. Who comes first takes it; who finds nothing waits again, at the end of the line.
 *
 * Always true:
 *   - each put wakes one getter and each get one putter, if any waits;
 *   - who was woken and leaves without taking (cancelled, no memory) wakes the next in its stead;
 *   - unfinished = items put - task_done - items dropped by an immediate shutdown.
 *
 * Runs on the loop's thread. Elsewhere: the line (waiters.c), the order of items (store.c). */
#include "base/probe.h"
#include "sync/store.h"
#include "sync/waiters.h"

#include <inttypes.h>
#include <stdio.h>

struct queue {
    intptr_t maxsize;
    unsigned order;
    coil_compare_fn compare;
    struct store store;
    struct waiters getters, putters, joiners;
    size_t unfinished;
    bool is_shutdown;
};
_Static_assert(sizeof(struct queue) <= sizeof(coil_queue), "coil_queue is too small");
_Static_assert(_Alignof(struct queue) <= _Alignof(coil_queue), "coil_queue is not aligned");
_Static_assert(offsetof(struct queue, maxsize) == offsetof(coil_queue, maxsize_), "maxsize");
_Static_assert(offsetof(struct queue, order) == offsetof(coil_queue, order_), "order");
_Static_assert(offsetof(struct queue, compare) == offsetof(coil_queue, compare_), "compare");

static int describe_get(const struct wait *wait, char *out, size_t n)
{
    return snprintf(out, n, "an item, %u in line", waiter_line(wait)->n);
}

static int describe_put(const struct wait *wait, char *out, size_t n)
{
    const struct queue *q = container_of(waiter_line(wait), struct queue, putters);
    return snprintf(out, n, "room among %" PRIdPTR " items, %u in line", q->maxsize,
                    waiter_line(wait)->n);
}

static int describe_join(const struct wait *wait, char *out, size_t n)
{
    const struct queue *q = container_of(waiter_line(wait), struct queue, joiners);
    return snprintf(out, n, "%zu unfinished items", q->unfinished);
}

#define QUEUE_WAIT_CLASS(word, line_)                                                \
    {                                                                                \
        .what = "queue", .cancel = coil__waiter_cancel, .describe = describe_##word, \
        .also = #word, .shows = SHOWS_OBJECT, .at = offsetof(struct waiter, line),   \
        .then = -(int)offsetof(struct queue, line_)                                  \
    }
static const struct wait_class get_wait = QUEUE_WAIT_CLASS(get, getters);
static const struct wait_class put_wait = QUEUE_WAIT_CLASS(put, putters);
static const struct wait_class join_wait = QUEUE_WAIT_CLASS(join, joiners);

static struct queue *queue_of(coil_queue *queue)
{
    return (struct queue *)queue;
}

static bool full(const struct queue *q)
{
    return q->maxsize > 0 && q->store.n >= (size_t)q->maxsize;
}

static void wake_all(struct waiters *line)
{
    while (coil__waiters_wake(line)) {}
}

/* May the calling thread wake whoever may have to be woken? */
static int check_thread(const struct queue *q)
{
    int err = coil__waiters_check_thread(&q->getters);
    if (err == 0)
        err = coil__waiters_check_thread(&q->putters);
    if (err == 0)
        err = coil__waiters_check_thread(&q->joiners);
    return err;
}

int coil_queue_put_nowait(coil_queue *public, void *item)
{
    struct queue *q = queue_of(public);
    int err = check_thread(q);
    if (err < 0)
        return err;
    if (q->order == COIL__QUEUE_PRIORITY && !q->compare)
        return (int)coil__fail(-EINVAL, "a priority queue needs a compare function");
    if (q->is_shutdown)
        return (int)coil__fail_plain(COIL_ESHUTDOWN);
    if (full(q))
        return (int)coil__fail_plain(COIL_EQUEUEFULL);
    if (coil__store_put(&q->store, q->order, q->compare, item) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    q->unfinished++;
    coil__waiters_wake(&q->getters);
    return 0;
}

int coil_queue_get_nowait(coil_queue *public, void **out_item)
{
    struct queue *q = queue_of(public);
    int err = check_thread(q);
    if (err < 0)
        return err;
    if (!q->store.n)
        return (int)coil__fail_plain(q->is_shutdown ? COIL_ESHUTDOWN : COIL_EQUEUEEMPTY);
    void *item = coil__store_get(&q->store, q->order, q->compare);
    if (out_item)
        *out_item = item;
    coil__waiters_wake(&q->putters);
    return 0;
}

COIL_ASYNC coil_ret coil_queue_put(coil_queue *public, void *item)
{
    struct queue *q = queue_of(public);
    int err = coil__can_wait();
    if (err < 0)
        return err;
    while (full(q)) {
        if (q->is_shutdown)
            return coil__fail_plain(COIL_ESHUTDOWN);
        struct waiter w = {.state = WAITER_PENDING};
        coil_ret rc = coil__waiters_wait(&q->putters, &w, &put_wait);
        if (coil_iserr(rc)) {
            if (!full(q) && w.state == WAITER_GRANTED) {
                COIL_PROBE("room for a cancelled putter goes to the next");
                coil__waiters_wake(&q->putters);
            }
            return rc;
        }
    }
    err = coil_queue_put_nowait(public, item);
    /* Out of memory, perhaps after being woken: the room is still there for the next one. */
    if (err == -ENOMEM)
        coil__waiters_wake(&q->putters);
    return err;
}

COIL_ASYNC coil_ret coil_queue_get(coil_queue *public, void **out_item)
{
    struct queue *q = queue_of(public);
    int err = coil__can_wait();
    if (err < 0)
        return err;
    while (!q->store.n) {
        if (q->is_shutdown)
            return coil__fail_plain(COIL_ESHUTDOWN);
        struct waiter w = {.state = WAITER_PENDING};
        coil_ret rc = coil__waiters_wait(&q->getters, &w, &get_wait);
        if (coil_iserr(rc)) {
            if (q->store.n && w.state == WAITER_GRANTED) {
                COIL_PROBE("an item for a cancelled getter goes to the next");
                coil__waiters_wake(&q->getters);
            }
            return rc;
        }
    }
    return coil_queue_get_nowait(public, out_item);
}

size_t coil_queue_qsize(const coil_queue *queue)
{
    return ((const struct queue *)queue)->store.n;
}

intptr_t coil_queue_maxsize(const coil_queue *queue)
{
    return queue->maxsize_;
}

bool coil_queue_empty(const coil_queue *queue)
{
    return coil_queue_qsize(queue) == 0;
}

bool coil_queue_full(const coil_queue *queue)
{
    return full((const struct queue *)queue);
}

int coil_queue_task_done(coil_queue *public)
{
    struct queue *q = queue_of(public);
    int err = check_thread(q);
    if (err < 0)
        return err;
    if (!q->unfinished)
        return (int)coil__fail(-EINVAL, "task_done was called too many times");
    if (--q->unfinished == 0)
        wake_all(&q->joiners);
    return 0;
}

COIL_ASYNC coil_ret coil_queue_join(coil_queue *public)
{
    struct queue *q = queue_of(public);
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (!q->unfinished)
        return 0;
    struct waiter w;
    return coil__waiters_wait(&q->joiners, &w, &join_wait);
}

int coil_queue_shutdown(coil_queue *public, bool immediate)
{
    struct queue *q = queue_of(public);
    int err = check_thread(q);
    if (err < 0)
        return err;
    q->is_shutdown = true;
    if (immediate) {
        q->unfinished -= q->store.n < q->unfinished ? q->store.n : q->unfinished;
        coil__store_free(&q->store);
        if (!q->unfinished)
            wake_all(&q->joiners);
    }
    wake_all(&q->getters);
    wake_all(&q->putters);
    return 0;
}

int coil_queue_fini(coil_queue *public)
{
    if (!public)
        return 0;
    struct queue *q = queue_of(public);
    unsigned waiting = q->getters.n + q->putters.n + q->joiners.n;
    if (waiting)
        return (int)coil__fail(COIL_EINVALIDSTATE, "%u tasks wait in the queue", waiting);
    coil__store_free(&q->store);
    *q = (struct queue){.maxsize = q->maxsize, .order = q->order, .compare = q->compare};
    return 0;
}

int coil_queue_repr(const coil_queue *public, char *out, size_t n)
{
    const struct queue *q = (const struct queue *)public;
    return snprintf(
        out, n, "queue [maxsize=%" PRIdPTR ", items:%zu, getters:%u, putters:%u, tasks:%zu%s]",
        q->maxsize, q->store.n, coil__waiters_pending_n(&q->getters),
        coil__waiters_pending_n(&q->putters), q->unfinished, q->is_shutdown ? ", shutdown" : "");
}
