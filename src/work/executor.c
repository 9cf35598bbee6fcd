/* SPDX-License-Identifier: MIT
 *
 * executor.c: what runs functions on threads, and thread futures for what it runs.
 *
 *     submit --> submission: [ thread future | work | copied arguments ] --> executor --> thread:
 *                start the future (or see that it was cancelled), call fn, finish the future
 *
 * A submission has two references from birth: the submitter's and the job's, which whoever ends the
 * job gives up: the thread after finish, the cancel that took it out of the queue, the shutdown that
 * dropped it.
 *
 * Any thread. Elsewhere: the queue and the threads (io/threads.c), a loop's default executor (part.c). */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "work/work.h"

#include <string.h>

/* ---- works ---- */

int coil__work_check(bool fn, const void *args, size_t copy)
{
    if (!fn)
        return (int)coil__fail(-EINVAL, "there is no function to call (NULL)");
    if (copy > 0 && !args)
        return (int)coil__fail(-EINVAL, "there are no arguments to copy (NULL)");
    return 0;
}

void coil__work_of_bytes(struct work *out, coil_bytes_fn fn, const void *in, size_t n, size_t room)
{
    /* Nothing is lent, also where nothing is copied. */
    *out = (struct work){
        .bytes_fn = fn, .room = room, .arg = n ? (void *)(uintptr_t)in : NULL, .copied = n};
}

/* ---- bytes ---- */

coil_bytes *coil__bytes_new(size_t n)
{
    coil_bytes *bytes = n < SIZE_MAX / 2 ? coil__alloc(sizeof *bytes + n) : NULL;
    if (bytes)
        *bytes = (coil_bytes){.data = bytes + 1, .n = n};
    return bytes;
}

coil_bytes *coil__bytes_cut(coil_bytes *bytes, size_t n)
{
    coil_bytes *cut = n < bytes->n ? coil__realloc(bytes, sizeof *bytes + n) : NULL;
    if (cut)
        bytes = cut;
    *bytes = (coil_bytes){.data = bytes + 1, .n = n};
    return bytes;
}

void coil_bytes_free(coil_bytes *bytes)
{
    coil__free(bytes);
}

static void free_bytes_result(coil_ret value)
{
    coil_bytes_free((coil_bytes *)value);
}

static coil_ret call_for_bytes(const struct work *work)
{
    coil_bytes *bytes = coil__bytes_new(work->room);
    if (!bytes)
        return coil__fail_plain(-ENOMEM);
    coil_ret n = work->bytes_fn(work->arg, work->copied, bytes->data, work->room);
    if (!coil_iserr(n) && (size_t)n > work->room)
        n = coil__bytes_too_many((size_t)n, work->room);
    if (coil_iserr(n)) {
        coil_bytes_free(bytes);
        return n;
    }
    return (coil_ret)coil__bytes_cut(bytes, (size_t)n);
}

coil_ret coil__bytes_too_many(size_t n, size_t room)
{
    return coil__fail(-EMSGSIZE, "the function says it wrote %zu bytes where there is room for %zu",
                      n, room);
}

/* ---- calling ---- */

/* Which executor's work this thread is running, the innermost. */
static _Thread_local const coil_executor *running;

static coil_ret call(coil_executor *executor, const struct work *work)
{
    if (executor->cls->call)
        return executor->cls->call(executor, work);
    return work->fn ? work->fn(work->arg) : call_for_bytes(work);
}

void coil__work_call(struct work *work, coil_executor *executor)
{
    const coil_executor *outer = running;
    struct coil_context context = {.map = work->map, .entered = true},
                        *outer_context = coil__context_ptr;
    struct error_record own, *slot = work->slot, *outer_slot = coil__error_slot_ptr;
    work->map = NULL;
    if (!slot) {
        coil__error_init(&own, NULL);
        slot = &own;
    }

    running = executor;
    coil__context_ptr = &context;
    error_switch(slot);
    work->result = call(executor, work);
    struct error_record *left = coil__error_slot();
    error_switch(slot);
    if (left != slot && coil_iserr(work->result)) /* fn ran a loop, which leaves the thread's own */
        coil__error_restore(left->pub.code == work->result ? left : NULL, work->result);
    if (slot == &own) {
        if (coil_iserr(work->result))
            work->error = coil__error_capture(work->result);
        coil__error_clear(&own);
    }
    error_switch(outer_slot);
    coil__context_ptr = outer_context;
    running = outer;
    coil__context_map_unref(context.map);
}

/* ---- thread pools ---- */

struct thread_pool {
    coil_executor executor;
    struct pool *pool;
};

static struct thread_pool *as_pool(coil_executor *executor)
{
    return (struct thread_pool *)executor;
}

static int pool_submit(coil_executor *executor, struct work *work)
{
    return coil__pool_submit(as_pool(executor)->pool, &work->job);
}

static bool pool_cancel(coil_executor *executor, struct work *work)
{
    return coil__pool_cancel(as_pool(executor)->pool, &work->job);
}

static void pool_dropped(struct job *job)
{
    struct work *work = container_of(job, struct work, job);
    work->dropped(work);
}

static void pool_shutdown(coil_executor *executor, bool cancel_queued)
{
    coil__pool_shutdown(as_pool(executor)->pool, cancel_queued, pool_dropped);
}

static bool pool_join(coil_executor *executor, int64_t deadline_ns)
{
    return coil__pool_join(as_pool(executor)->pool, deadline_ns);
}

static void pool_stats(coil_executor *executor, coil_executor_stats_t *out)
{
    struct pool_stats stats;
    coil__pool_stats(as_pool(executor)->pool, &stats);
    out->threads = stats.threads;
    out->idle = stats.idle;
    out->threads_max = stats.threads_max;
    out->queued = stats.queued;
    out->running = stats.running;
    out->finished = stats.finished;
}

static void pool_destroy(coil_executor *executor)
{
    struct thread_pool *pool = as_pool(executor);
    coil__pool_free(pool->pool);
    coil__free(pool);
}

static const struct executor_class pool_class = {
    .kind = "threads",
    .submit = pool_submit,
    .cancel = pool_cancel,
    .shutdown = pool_shutdown,
    .join = pool_join,
    .stats = pool_stats,
    .destroy = pool_destroy,
};

void coil__executor_set_spin(coil_executor *executor, uint64_t ticks)
{
    COIL_DCHECK(executor->cls == &pool_class);
    coil__pool_set_spin(as_pool(executor)->pool, ticks);
}

bool coil__executor_is_thread_pool(const coil_executor *executor)
{
    return executor->cls == &pool_class;
}

coil_executor *coil_thread_pool_executor_new(unsigned max_workers, const char *name)
{
    if (max_workers == 0) {
        max_workers = coil__thread_cpus() + 4;
        if (max_workers > 32)
            max_workers = 32;
    }
    struct thread_pool *pool = coil__zalloc(sizeof *pool);
    if (!pool)
        goto no_memory;
    if (coil__pool_new(&pool->pool, name ? name : "coil-worker", max_workers) < 0)
        goto undo_pool;
    pool->executor.cls = &pool_class;
    atomic_init(&pool->executor.refs, 1);
    return &pool->executor;

undo_pool:
    coil__free(pool);
no_memory:
    coil__fail_plain(-ENOMEM);
    return NULL;
}

/* ---- executors ---- */

coil_executor *coil_executor_ref(coil_executor *executor)
{
    atomic_fetch_add_explicit(&executor->refs, 1, memory_order_relaxed);
    return executor;
}

void coil_executor_unref(coil_executor *executor)
{
    if (executor && atomic_fetch_sub_explicit(&executor->refs, 1, memory_order_acq_rel) == 1)
        executor->cls->destroy(executor);
}

bool coil__executor_runs_here(const coil_executor *executor)
{
    return running == executor;
}

/* After the shutdown: wait for the threads. */
static int join_until(coil_executor *executor, int64_t deadline_ns)
{
    if (coil__executor_runs_here(executor))
        return (int)coil__fail(COIL_EDEADLOCK,
                               "a thread of the executor cannot wait for the executor's threads");
    if (coil__running_loop && coil__running_loop->debug)
        coil__loop_report(coil__running_loop, "blocking-wait",
                          "the loop stands still while its thread waits for an executor's threads",
                          0, NULL, NULL);
    return executor->cls->join(executor, deadline_ns) ? 0 : (int)coil__fail_plain(-ETIMEDOUT);
}

int coil_executor_shutdown(coil_executor *executor, bool wait, bool cancel_futures)
{
    if (!executor)
        return 0;
    executor->cls->shutdown(executor, cancel_futures);
    return wait ? join_until(executor, CLOCK_FOREVER) : 0;
}

int coil_executor_shutdown_within(coil_executor *executor, double timeout, bool cancel_futures)
{
    if (timeout != timeout)
        return (int)coil__fail(-EINVAL, "a timeout must be a number");
    if (!executor)
        return 0;
    int64_t deadline = coil__clock_real_ns();
    if (timeout > 0)
        deadline = clock_add(deadline, coil__clock_from_seconds(timeout));
    executor->cls->shutdown(executor, cancel_futures);
    return join_until(executor, deadline);
}

void coil_executor_stats(coil_executor *executor, coil_executor_stats_t *out)
{
    *out = (coil_executor_stats_t){.size = sizeof *out, .kind = executor->cls->kind};
    executor->cls->stats(executor, out);
}

/* ---- submissions ---- */

struct submission {
    coil_thread_future future;
    struct work work;
    coil_executor *executor; /* counted */
    bool ran;
    _Alignas(max_align_t) char args[];
};

static struct submission *of_job(struct job *job)
{
    return container_of(container_of(job, struct work, job), struct submission, work);
}

static void submission_run(struct job *job)
{
    struct submission *s = of_job(job);
    s->ran = coil__thread_future_start(&s->future) == 1;
    if (s->ran)
        coil__work_call(&s->work, s->executor);
}

/* The job's reference goes, whichever way it ended. */
static void let_go(struct submission *s)
{
    coil__context_map_unref(s->work.map);
    s->work.map = NULL;
    coil_thread_future_unref(&s->future);
}

void coil__submission_forgo(coil_thread_future *future)
{
    let_go((struct submission *)future);
}

static void submission_finish(struct job *job)
{
    struct submission *s = of_job(job);
    if (s->ran)
        (void)coil__thread_future_finish(&s->future, s->work.result, s->work.error);
    let_go(s);
}

static void submission_dropped(struct work *work)
{
    struct submission *s = container_of(work, struct submission, work);
    coil__thread_future_drop(&s->future);
    let_go(s);
}

static void submission_cancelled(coil_thread_future *future)
{
    struct submission *s = (struct submission *)future;
    if (!s->executor->cls->cancel(s->executor, &s->work))
        return; /* a thread has it already, sees the cancel and lets go */
    (void)coil__thread_future_start(future);
    let_go(s);
}

static void submission_destroy(coil_thread_future *future)
{
    struct submission *s = (struct submission *)future;
    coil_executor *executor = s->executor;
    coil__thread_future_fini(future);
    coil__free(s);
    coil_executor_unref(executor);
}

static const struct thread_future_class submission_class = {
    .cancelled = submission_cancelled,
    .destroy = submission_destroy,
};

coil_thread_future *coil__submission_new(coil_executor *executor, const struct work *ask)
{
    size_t copy = ask->copied;
    struct submission *s = NULL;
    if (!executor->cls->accepts || executor->cls->accepts(executor, ask) == 0) {
        s = copy < SIZE_MAX / 2 ? coil__zalloc(sizeof *s + copy) : NULL;
        if (!s)
            coil__fail_plain(-ENOMEM);
    }
    if (!s) {
        coil__context_map_unref(ask->map);
        return NULL;
    }
    coil__thread_future_init(&s->future, &submission_class, 2);
    s->executor = coil_executor_ref(executor);
    s->work = *ask;
    s->work.dropped = submission_dropped;
    s->work.job.run = submission_run;
    s->work.job.finish = submission_finish;
    if (copy > 0) {
        memcpy(s->args, ask->arg, copy);
        s->work.arg = s->args;
    }
    if (ask->bytes_fn)
        s->future.free_result = free_bytes_result;
    s->future.lent = work_lent(&s->work);
    return &s->future;
}

void coil__submission_start(coil_thread_future *future)
{
    struct submission *s = (struct submission *)future;
    int err = s->executor->cls->submit(s->executor, &s->work);
    if (!err)
        return;
    if (err == COIL_ESHUTDOWN)
        coil__fail(err, "the executor was shut down and takes no more jobs");
    else if (err == COIL_EWRONGTHREAD)
        coil__fail(err, "this executor was inherited by fork; make a new one");
    else if (err == COIL_EQUEUEFULL)
        coil__fail(err, "as many jobs wait for a worker as the executor lets wait");
    else
        coil__fail(err, "no thread could be started for a job: %s", coil_strerror(err));
    (void)coil__thread_future_finish(future, err, coil__error_capture(err));
    let_go(s);
}

coil_thread_future *coil__submit(coil_executor *executor, const struct work *ask)
{
    coil_thread_future *future = coil__submission_new(executor, ask);
    if (!future)
        return coil__thread_future_failed(coil_last_error()->code);
    coil__submission_start(future);
    return future;
}

coil_thread_future *coil_executor_submit(coil_executor *executor, coil_fn fn, const void *args,
                                         size_t copy)
{
    int err = executor ? coil__work_check(fn != NULL, args, copy)
                       : (int)coil__fail(-EINVAL, "there is no executor (NULL)");
    if (err < 0)
        return coil__thread_future_failed(err);
    return coil__submit(executor,
                        &(struct work){.fn = fn, .arg = (void *)(uintptr_t)args, .copied = copy});
}

coil_thread_future *coil_executor_submit_bytes(coil_executor *executor, coil_bytes_fn fn,
                                               const void *in, size_t n, size_t room)
{
    int err = executor ? coil__work_check(fn != NULL, in, n)
                       : (int)coil__fail(-EINVAL, "there is no executor (NULL)");
    if (err < 0)
        return coil__thread_future_failed(err);
    struct work ask;
    coil__work_of_bytes(&ask, fn, in, n, room);
    return coil__submit(executor, &ask);
}
