/* SPDX-License-Identifier: MIT
 *
 * thread_wait.c: a thread waits for several thread futures: concurrent.futures' wait and as_completed.
 *
 *     [ future ] --done, any thread--> seen: counted, put on the list of done ones --> the waiter wakes
 *
 * Both are a `struct watcher` with one node on each distinct future. A node that fires may do so while its
 * waiter gives up: whoever ends a watcher takes the nodes back, and waits for those that are firing.
 *
 * Always true:
 *   - a node has been seen, or hangs on its future, or is firing: exactly one of the three;
 *   - the watcher's lock is never held while a future's is taken.
 *
 * Any thread. Elsewhere: one future (thread_future.c); the same for tasks (combine/). */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "work/work.h"

#include <stdlib.h>
#include <string.h>

struct watcher {
    struct mutex lock;
    struct cond changed;
    struct list done; /* nodes that were seen, in that order; as_completed takes them off */
    size_t n, left;   /* distinct futures, and those not seen yet */
    bool failed;      /* one that was seen had an error */
    int64_t deadline_ns;
    struct watch_node *nodes; /* [n] */
};

struct watch_node {
    struct thread_callback cb;
    struct watcher *watcher;
    coil_thread_future *future; /* counted */
    struct list link;           /* watcher.done */
    bool seen;
};

/* ---- being told ---- */

static bool has_failed(coil_thread_future *future)
{
    return coil_thread_future_state(future) == COIL_THREAD_FINISHED && coil_iserr(future->result);
}

/* On the thread that finished the future; or on the waiter's, at once. */
static void seen(struct thread_callback *cb, coil_thread_future *future)
{
    struct watch_node *node = container_of(cb, struct watch_node, cb);
    struct watcher *w = node->watcher;
    bool failed = has_failed(future);
    coil__mutex_lock(&w->lock);
    node->seen = true;
    list_push(&w->done, &node->link);
    w->left--;
    w->failed |= failed;
    coil__cond_broadcast(&w->changed);
    coil__mutex_unlock(&w->lock); /* which may be gone from here on */
}

/* ---- beginning, ending ---- */

static int by_address(const void *a, const void *b)
{
    const struct watch_node *x = a, *y = b;
    uintptr_t m = (uintptr_t)x->future, n = (uintptr_t)y->future;
    return m < n ? -1 : m > n;
}

static int by_place(const void *a, const void *b)
{
    const struct watch_node *x = a, *y = b;
    return x->watcher < y->watcher ? -1 : x->watcher > y->watcher;
}

/* Each distinct future once, in the order of the arguments. */
static size_t sort_out(struct watch_node *nodes, coil_thread_future *const *futures, size_t n)
{
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++) /* `watcher` holds the place meanwhile */
        nodes[i] = (struct watch_node){.future = futures[i],
                                       .watcher = (struct watcher *)(uintptr_t)(i + 1)};
    qsort(nodes, n, sizeof *nodes, by_address);
    for (size_t i = 0; i < n; i++) {
        if (distinct > 0 && nodes[distinct - 1].future == nodes[i].future) {
            if (by_place(&nodes[i], &nodes[distinct - 1]) < 0)
                nodes[distinct - 1].watcher = nodes[i].watcher;
            continue;
        }
        nodes[distinct++] = nodes[i];
    }
    qsort(nodes, distinct, sizeof *nodes, by_place);
    return distinct;
}

static int check(coil_thread_future *const *futures, size_t n, double timeout)
{
    if (timeout != timeout)
        return (int)coil__fail(-EINVAL, "a timeout must be a number");
    if (n > 0 && !futures)
        return (int)coil__fail(-EINVAL, "there are no thread futures (NULL)");
    for (size_t i = 0; i < n; i++)
        if (!futures[i])
            return (int)coil__fail(-EINVAL, "there is no thread future at place %zu (NULL)", i);
    return 0;
}

/* 0 or -ENOMEM, recorded. */
static int begin(struct watcher *w, coil_thread_future *const *futures, size_t n, double timeout)
{
    *w = (struct watcher){.deadline_ns = INT64_MIN};
    if (n > 0) {
        w->nodes = n < SIZE_MAX / sizeof *w->nodes ? coil__alloc(n * sizeof *w->nodes) : NULL;
        if (!w->nodes)
            return (int)coil__fail_plain(-ENOMEM);
    }
    if (timeout > 0)
        w->deadline_ns = clock_add(coil__clock_real_ns(), coil__clock_from_seconds(timeout));
    coil__mutex_init(&w->lock);
    coil__cond_init(&w->changed);
    list_init(&w->done);
    w->n = w->left = n > 0 ? sort_out(w->nodes, futures, n) : 0;
    for (size_t i = 0; i < w->n; i++) {
        struct watch_node *node = &w->nodes[i];
        node->watcher = w;
        node->cb.fire = seen;
        list_init(&node->link);
        coil_thread_future_ref(node->future);
        coil__thread_future_watch(node->future, &node->cb);
    }
    return 0;
}

static void end(struct watcher *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct watch_node *node = &w->nodes[i];
        if (!coil__thread_future_unwatch(node->future, &node->cb)) {
            coil__mutex_lock(&w->lock);
            while (!node->seen)
                coil__cond_wait(&w->changed, &w->lock);
            coil__mutex_unlock(&w->lock);
        }
        coil_thread_future_unref(node->future);
    }
    coil__mutex_fini(&w->lock);
    coil__cond_fini(&w->changed);
    coil__free(w->nodes);
}

/* ---- wait ---- */

/* The lock is held. */
static bool enough(const struct watcher *w, enum coil_when when)
{
    return w->left == 0 || (when == COIL_FIRST_COMPLETED && w->left < w->n) ||
           (when == COIL_FIRST_EXCEPTION && w->failed);
}

/* About to block: can it end? 0, or COIL_EDEADLOCK, recorded; the lock is not held. */
static int may_block(struct watcher *w, enum coil_when when)
{
    size_t ours = 0, others = 0;
    for (size_t i = 0; i < w->n; i++) {
        coil_thread_future *future = w->nodes[i].future;
        if (coil_thread_future_done(future))
            continue;
        if (coil__thread_future_is_of_this_loop(future))
            ours++;
        else
            others++;
    }
    return ours > 0 && (when == COIL_ALL_COMPLETED || others == 0)
               ? coil__thread_future_say_deadlock()
               : coil__thread_future_say_blocking();
}

coil_ret coil_thread_wait(coil_thread_future *const *futures, size_t n, double timeout,
                          enum coil_when when, bool *out_done)
{
    if (when != COIL_ALL_COMPLETED && when != COIL_FIRST_COMPLETED && when != COIL_FIRST_EXCEPTION)
        return coil__fail(-EINVAL, "an unknown condition to wait for: %d", (int)when);
    struct watcher w;
    int err = check(futures, n, timeout);
    if (err == 0)
        err = begin(&w, futures, n, timeout);
    if (err)
        return err;

    coil__mutex_lock(&w.lock);
    bool ready = enough(&w, when);
    coil__mutex_unlock(&w.lock);
    if (!ready && timeout > 0)
        err = may_block(&w, when);
    coil__mutex_lock(&w.lock);
    while (err == 0 && !enough(&w, when) &&
           coil__cond_wait_until(&w.changed, &w.lock, w.deadline_ns))
        ;
    coil__mutex_unlock(&w.lock);

    coil_ret done = 0;
    for (size_t i = 0; i < n && err == 0; i++) { /* the nodes still hold the futures */
        bool is_done = coil_thread_future_done(futures[i]);
        done += is_done;
        if (out_done)
            out_done[i] = is_done;
    }
    end(&w);
    return err ? err : done;
}

/* ---- as_completed ---- */

_Static_assert(sizeof(coil_thread_as_completed) >= sizeof(struct watcher *), "it holds a pointer");

static struct watcher **watcher_of(coil_thread_as_completed *it)
{
    return (struct watcher **)&it->priv_[0];
}

int coil_thread_as_completed_init(coil_thread_as_completed *it, coil_thread_future *const *futures,
                                  size_t n, double timeout)
{
    *it = (coil_thread_as_completed){{0}}; /* closing is fine, whatever happens */
    int err = check(futures, n, timeout);
    if (err)
        return err;
    struct watcher *w = coil__alloc(sizeof *w);
    if (!w)
        return (int)coil__fail_plain(-ENOMEM);
    err = begin(w, futures, n, timeout);
    if (err) {
        coil__free(w);
        return err;
    }
    *it = (coil_thread_as_completed){{w}};
    return 0;
}

/* The lock is held. */
static struct watch_node *take(struct watcher *w)
{
    struct list *link = list_pop(&w->done);
    return link ? container_of(link, struct watch_node, link) : NULL;
}

coil_ret coil_thread_as_completed_next(coil_thread_as_completed *it,
                                       coil_thread_future **out_future)
{
    struct watcher *w = it ? *watcher_of(it) : NULL;
    if (!w)
        return 0;
    coil__mutex_lock(&w->lock);
    struct watch_node *node = take(w);
    if (!node && w->left > 0) {
        coil__mutex_unlock(&w->lock);
        int err = w->deadline_ns > coil__clock_real_ns() ? may_block(w, COIL_FIRST_COMPLETED) : 0;
        if (err)
            return err;
        coil__mutex_lock(&w->lock);
        while (!(node = take(w)) && w->left > 0 &&
               coil__cond_wait_until(&w->changed, &w->lock, w->deadline_ns))
            ;
    }
    size_t left = w->left;
    coil__mutex_unlock(&w->lock);
    if (node) {
        *out_future = node->future;
        return 1;
    }
    if (left == 0)
        return 0;
    size_t n = w->n;
    coil_thread_as_completed_close(it);
    return coil__fail(-ETIMEDOUT, "%zu (of %zu) futures unfinished", left, n);
}

void coil_thread_as_completed_close(coil_thread_as_completed *it)
{
    struct watcher *w = it ? *watcher_of(it) : NULL;
    if (!w)
        return;
    *watcher_of(it) = NULL;
    end(w);
    coil__free(w);
}
