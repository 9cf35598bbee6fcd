/* SPDX-License-Identifier: MIT
 *
 * threads.c: blocking calls as ops: a queue of jobs and the threads that run them.
 *
 *     submit --> queue --> [ idle worker ] --run, finish--> idle again
 *                  |               ^
 *                  +-- nobody idle, room for more: start one
 *
 * Always true, whenever the lock is free:
 *   - a job is in the queue exactly while its state is QUEUED;
 *   - queued <= idle, or all threads that may be had are there;
 *   - if a job is queued and a worker sleeps, another one is on its way to the queue: woken, spinning, or about to take the
 *     lock. So no job waits while a thread sleeps for good;
 *   - a worker is in `alive` or in `ended`; one in `ended` touches the pool no more and only waits to be joined;
 *   - run and finish are called without the lock; after finish nobody here touches the job.
 *
 * An idle worker that was signalled still counts as idle until it took a job; the job it was
 * signalled for is still counted as queued, so the comparison of the two stays right.
 *
 * Only one worker is woken at a time, and whoever takes a job while others wait wakes the next. Many small jobs are so done
 * by the few workers that are awake anyway, and as many long ones as there are workers still run at once. With a spin one worker
 * of those that find the queue empty looks on for a while before it sleeps, and is as good as one that was woken.
 *
 * Any thread calls anything here. Elsewhere: signals are blocked in the threads (base/thread.c), what a result
 * wakes (base/inbox.c, through finish). */
#include "io/threads.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#include <coil/error.h>

#include <stdatomic.h>
#include <string.h>

struct worker {
    struct list link; /* pool.alive or pool.ended */
    struct pool *pool;
    struct thread thread;
    uintptr_t self; /* coil__thread_self() of it; 0 until it runs */
    bool detached;  /* nobody joins it: it frees itself */
};

struct pool {
    struct mutex lock;
    struct cond work;      /* a job was queued, or no more will come */
    struct cond none_left; /* `alive` became empty */
    struct list queue;     /* jobs, oldest first */
    struct list alive, ended;
    char name[16];
    unsigned threads, idle, threads_max;
    unsigned asleep; /* workers that wait for `work` */
    bool waking;     /* one of them was signalled, and has not come yet */
    size_t queued;
    _Atomic size_t running; /* these two without the lock, by the thread that ran the job */
    _Atomic uint64_t finished;
    uint64_t spin_ticks;   /* how long an idle worker looks on; 0: not at all */
    bool spinning;         /* one does */
    _Atomic unsigned news; /* what it looks at: changes with every job, and at the end */
    bool shut;             /* takes no more jobs */
    bool free;             /* given up: the last worker frees it */
    unsigned forks;        /* coil__thread_forks() when it was made */
};

/* The threads, and the lock that one of them may have held, stayed with the parent. Nothing is done to it here. */
static bool is_inherited(const struct pool *pool)
{
    return pool->forks != coil__thread_forks();
}

int coil__pool_new(struct pool **out, const char *name, unsigned threads_max)
{
    int err = coil__thread_count_forks();
    struct pool *pool = err ? NULL : coil__zalloc(sizeof *pool);
    if (!pool)
        return -ENOMEM;
    pool->forks = coil__thread_forks();
    coil__mutex_init(&pool->lock);
    coil__cond_init(&pool->work);
    coil__cond_init(&pool->none_left);
    list_init(&pool->queue);
    list_init(&pool->alive);
    list_init(&pool->ended);
    strncpy(pool->name, name, sizeof pool->name - 1);
    pool->threads_max = threads_max > 0 ? threads_max : 1;
    atomic_init(&pool->news, 0);
    atomic_init(&pool->running, 0);
    atomic_init(&pool->finished, 0);
    *out = pool;
    return 0;
}

void coil__pool_set_spin(struct pool *pool, uint64_t ticks)
{
    coil__mutex_lock(&pool->lock);
    pool->spin_ticks = ticks;
    coil__mutex_unlock(&pool->lock);
}

static void destroy(struct pool *pool)
{
    COIL_CHECK(list_empty(&pool->queue) && list_empty(&pool->alive));
    coil__mutex_fini(&pool->lock);
    coil__cond_fini(&pool->work);
    coil__cond_fini(&pool->none_left);
    coil__free(pool);
}

/* ---- the threads ---- */

/* The lock is held. There is something in the queue: does somebody have to be woken for it? True to one who asks, who lets go of
 * the lock and then signals `work`: woken before that, a worker on another processor would run into the lock. */
static bool must_wake(struct pool *pool)
{
    bool wake = pool->asleep > 0 && !pool->waking && !pool->spinning;
    pool->waking |= wake;
    return wake;
}

/* The lock is held, and held again on return. */
static void sleep_on(struct pool *pool)
{
    pool->asleep++;
    coil__cond_wait(&pool->work, &pool->lock);
    pool->asleep--;
    pool->waking = false; /* woken by nobody, it does for one who was */
}

/* The lock is held, and held again on return. */
static void run_one(struct pool *pool)
{
    struct job *job = container_of(list_pop(&pool->queue), struct job, link);
    job->state = JOB_TAKEN;
    pool->queued--;
    pool->idle--;
    atomic_fetch_add_explicit(&pool->running, 1, memory_order_relaxed);
    bool wake = pool->queued > 0 && must_wake(pool);
    coil__mutex_unlock(&pool->lock);
    if (wake)
        coil__cond_signal(&pool->work);

    job->run(job);
    atomic_fetch_sub_explicit(&pool->running, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->finished, 1, memory_order_relaxed);
    job->finish(job);          /* the job may be gone from here on */
    coil__thread_busy_add(-1); /* only now: finish() may have called into a loop */

    coil__mutex_lock(&pool->lock);
    pool->idle++;
}

/* The lock is held. */
static void tell(struct pool *pool)
{
    atomic_store_explicit(&pool->news, atomic_load_explicit(&pool->news, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* The lock is held, and held again on return: then the queue says what came. */
static void look_on(struct pool *pool)
{
    unsigned seen = atomic_load_explicit(&pool->news, memory_order_relaxed);
    uint64_t ticks = pool->spin_ticks, began = clock_ticks();
    pool->spinning = true;
    coil__mutex_unlock(&pool->lock);
    do
        thread_relax();
    while (atomic_load_explicit(&pool->news, memory_order_relaxed) == seen &&
           clock_ticks() - began < ticks);
    coil__mutex_lock(&pool->lock);
    pool->spinning = false;
}

static void worker_main(void *arg)
{
    struct worker *worker = arg;
    struct pool *pool = worker->pool;
    bool looked_on = false;

    coil__mutex_lock(&pool->lock);
    worker->self = coil__thread_self();
    for (;;) {
        if (!list_empty(&pool->queue)) {
            run_one(pool);
            looked_on = false;
        } else if (pool->shut) {
            break;
        } else if (pool->spin_ticks && !pool->spinning && !looked_on) {
            look_on(pool);
            looked_on = true;
        } else {
            sleep_on(pool);
        }
    }

    pool->threads--;
    pool->idle--;
    list_remove(&worker->link);
    bool detached = worker->detached;
    if (!detached)
        list_push(&pool->ended, &worker->link);
    if (pool->threads == 0)
        coil__cond_broadcast(&pool->none_left);
    bool last = pool->free && pool->threads == 0;
    coil__mutex_unlock(&pool->lock);

    /* A worker that is joined belongs to the joiner now, pool and all. */
    if (detached)
        coil__free(worker);
    if (last)
        destroy(pool);
}

/* The lock is held, which also keeps the new thread from running ahead of `worker->thread`. */
static int start_one(struct pool *pool)
{
    struct worker *worker = coil__zalloc(sizeof *worker);
    if (!worker)
        return -ENOMEM;
    worker->pool = pool;
    int err = coil__thread_start(&worker->thread, pool->name, worker_main, worker);
    if (err < 0) {
        coil__free(worker);
        return err;
    }
    list_push(&pool->alive, &worker->link);
    pool->threads++;
    pool->idle++; /* on its way to the queue */
    return 0;
}

static void join_ended(struct list *ended)
{
    struct list *l;
    while ((l = list_pop(ended))) {
        struct worker *worker = container_of(l, struct worker, link);
        coil__thread_join(&worker->thread);
        coil__free(worker);
    }
}

/* ---- the jobs ---- */

int coil__pool_submit(struct pool *pool, struct job *job)
{
    int err = 0;
    bool wake = false;
    if (is_inherited(pool))
        return COIL_EWRONGTHREAD;
    coil__mutex_lock(&pool->lock);
    if (pool->shut) {
        err = COIL_ESHUTDOWN;
        goto out;
    }
    if (pool->queued + 1 > pool->idle && pool->threads < pool->threads_max) {
        err = start_one(pool);
        if (err < 0 && pool->threads == 0)
            goto out;
        err = 0; /* the threads there are will come to it */
    }
    list_init(&job->link);
    list_push(&pool->queue, &job->link);
    job->state = JOB_QUEUED;
    pool->queued++;
    coil__thread_busy_add(1);
    tell(pool);
    wake = must_wake(pool);
out:
    coil__mutex_unlock(&pool->lock);
    if (wake)
        coil__cond_signal(&pool->work); /* the pool is there: its owner is who submits */
    return err;
}

/* The lock is held. */
static void take_out(struct pool *pool, struct job *job)
{
    list_remove(&job->link);
    job->state = JOB_IDLE;
    pool->queued--;
    coil__thread_busy_add(-1);
}

bool coil__pool_cancel(struct pool *pool, struct job *job)
{
    if (is_inherited(pool))
        return false;
    coil__mutex_lock(&pool->lock);
    bool queued = job->state == JOB_QUEUED;
    if (queued)
        take_out(pool, job);
    coil__mutex_unlock(&pool->lock);
    return queued;
}

/* ---- the end ---- */

void coil__pool_shutdown(struct pool *pool, bool cancel_queued, void (*dropped)(struct job *job))
{
    struct list out;
    if (is_inherited(pool))
        return;
    list_init(&out);
    coil__mutex_lock(&pool->lock);
    pool->shut = true;
    while (cancel_queued && !list_empty(&pool->queue)) {
        struct job *job = container_of(list_first(&pool->queue), struct job, link);
        take_out(pool, job);
        list_push(&out, &job->link);
    }
    tell(pool);
    coil__cond_broadcast(&pool->work);
    coil__mutex_unlock(&pool->lock);

    struct list *l;
    while ((l = list_pop(&out)))
        if (dropped)
            dropped(container_of(l, struct job, link));
}

/* The lock is held. */
static bool is_worker(struct pool *pool)
{
    uintptr_t self = coil__thread_self();
    LIST_FOREACH(l, &pool->alive)
        if (container_of(l, struct worker, link)->self == self)
            return true;
    return false;
}

bool coil__pool_join(struct pool *pool, int64_t deadline_ns)
{
    struct list ended;
    if (is_inherited(pool))
        return true;
    list_init(&ended);
    coil__mutex_lock(&pool->lock);
    COIL_DCHECK(pool->shut);
    if (!is_worker(pool))
        while (pool->threads > 0)
            if (!coil__cond_wait_until(&pool->none_left, &pool->lock, deadline_ns))
                break;
    bool all = pool->threads == 0;
    list_splice(&ended, &pool->ended);
    coil__mutex_unlock(&pool->lock);
    join_ended(&ended);
    return all;
}

void coil__pool_free(struct pool *pool)
{
    if (!pool || is_inherited(pool))
        return;
    struct list ended;
    list_init(&ended);
    coil__mutex_lock(&pool->lock);
    pool->shut = true;
    pool->free = true;
    LIST_FOREACH(l, &pool->alive) {
        struct worker *worker = container_of(l, struct worker, link);
        coil__thread_detach(&worker->thread);
        worker->detached = true;
    }
    list_splice(&ended, &pool->ended);
    bool now = pool->threads == 0;
    tell(pool);
    coil__cond_broadcast(&pool->work);
    coil__mutex_unlock(&pool->lock);

    join_ended(&ended); /* none of them is this thread: it would be in `alive` */
    if (now)
        destroy(pool);
}

void coil__pool_stats(struct pool *pool, struct pool_stats *out)
{
    if (is_inherited(pool)) {
        *out = (struct pool_stats){.threads_max = pool->threads_max};
        return;
    }
    coil__mutex_lock(&pool->lock);
    *out = (struct pool_stats){
        .threads = pool->threads,
        .idle = pool->idle,
        .threads_max = pool->threads_max,
        .queued = pool->queued,
        .running = atomic_load_explicit(&pool->running, memory_order_relaxed),
        .finished = atomic_load_explicit(&pool->finished, memory_order_relaxed),
    };
    coil__mutex_unlock(&pool->lock);
}
