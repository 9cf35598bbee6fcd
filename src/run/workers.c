/* SPDX-License-Identifier: MIT
 *
 * workers.c: n loops on n threads, which live and end together.
 *
 *     coil_workers --coil_run--> supervise --task--> body of worker 0 --> fn(arg)
 *                                    |--thread--> coil_run --> body of worker 1 --> fn(arg)
 *                                    '--thread--> ...             |
 *                                  parks until the task and all threads are over
 *
 * Worker 0's loop is turned by the thread that called, and goes on until the last worker is over: Ctrl-C comes to it
 * (run/interrupt.c), as a cancel of the supervising task, which hands it to the main task of each worker. Each of them
 * is cancelled by its own thread: a node in its loop's inbox says that it shall.
 *
 * A main task that fails says so before its worker's loop is closed, so that the others end at the same time and not one
 * after the other.
 *
 * Each function runs on the thread of the worker it gets; those that get the crew say which. Elsewhere: messages (mail.c). */
#include "run/workers.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "run/run.h"
#include "task/task.h"

#include <stdio.h>

/* ---- ending them ---- */

/* Any worker's thread: all of them shall come to this end, unless they have come further. */
static void end_all(struct crew *crew, enum worker_end end)
{
    coil__mutex_lock(&crew->lock);
    for (unsigned i = 0; i < crew->n; i++) {
        struct worker *w = &crew->workers[i];
        if (w->end >= end)
            continue;
        w->end = end;
        if (w->inbox && !w->end_told)
            w->end_told = coil__inbox_post(w->inbox, &w->end_node);
    }
    coil__mutex_unlock(&crew->lock);
}

static void end_now(void *arg)
{
    struct worker *w = arg;
    coil__mutex_lock(&w->crew->lock);
    enum worker_end end = w->end;
    w->end_told = false;
    coil__mutex_unlock(&w->crew->lock);
    if (w->task && !w->was_cancelled) {
        w->was_cancelled = true;
        coil_task_cancel(w->task, "the workers end");
    }
    /* Worker 0's run is ended by the interrupt itself. */
    if (end == WORKER_IS_ENDED && w->index > 0)
        coil_loop_raise(w->loop, COIL_EINTERRUPTED);
}

/* Told in the middle of collecting: what it does is done in its turn. The room was held when the worker began. */
static void end_told(struct inbox_node *node)
{
    struct worker *w = container_of(node, struct worker, end_node);
    loop_push(w->loop, end_now, w, NULL);
}

/* What came of its main task, once. A failure ends the others. */
static void has_result(struct worker *w, coil_ret result)
{
    if (w->has_result)
        return;
    w->has_result = true;
    w->result = result;
    if (!coil_iserr(result) || result == -ECANCELED)
        return;
    coil__mutex_lock(&w->crew->lock);
    /* Whose run was ended by force did not fail. */
    bool failed = !(result == COIL_EINTERRUPTED || result == COIL_EEXIT) ||
                  w->end != WORKER_IS_ENDED;
    if (failed)
        w->failed = ++w->crew->failures;
    coil__mutex_unlock(&w->crew->lock);
    if (failed) {
        w->error = coil__error_capture(result);
        end_all(w->crew, WORKER_IS_CANCELLED);
    }
}

/* ---- one worker ---- */

/* Its loop is known from now on. 0 or -ENOMEM. */
static int begin(struct worker *w)
{
    coil_loop *loop = coil__running_loop;
    if (coil__loop_hold(loop, 1) < 0) /* given back with the loop */
        return (int)coil__fail_plain(-ENOMEM);
    coil__this_worker = w;
    w->loop = loop;
    coil__mutex_lock(&w->crew->lock);
    w->inbox = coil__inbox_ref(loop->inbox);
    coil__mutex_unlock(&w->crew->lock);
    return 0;
}

static bool may_go_on(struct worker *w)
{
    coil__mutex_lock(&w->crew->lock);
    bool goes_on = w->end == WORKER_GOES_ON;
    coil__mutex_unlock(&w->crew->lock);
    return goes_on;
}

static coil_ret body(void *arg)
{
    struct worker *w = arg;
    coil_ret rc = w->index == 0 ? 0 : begin(w);
    w->task = coil_current_task();
    if (rc == 0)
        rc = may_go_on(w) ? w->crew->fn(w->crew->arg) : coil__fail(-ECANCELED, "the workers end");
    w->task = NULL;
    has_result(w, rc);
    coil__mail_close(w);
    return rc;
}

static coil_ret pin(const struct worker *w)
{
    int err = w->crew->opts.pin ? coil__thread_pin(&w->crew->cpus, w->index) : 0;
    return err ? coil__fail(err, "worker %u cannot be pinned to a processor: %s", w->index,
                            coil_strerror(err))
               : 0;
}

static void thread_main(void *arg)
{
    struct worker *w = arg;
    struct worker *first = &w->crew->workers[0];
    coil_ret rc = pin(w);
    if (rc == 0)
        rc = coil__run(body, w, w->crew->opts.run, NULL);
    has_result(w, rc); /* what kept the main task from being run, if it was not */
    coil__mail_close(w);
    coil__thread_busy_add(-1);
    coil__inbox_post(first->inbox, &w->over_node);
}

/* ---- worker 0 supervises ---- */

static const struct wait_class workers_class = {.what = "workers",
                                                .cancel = coil__wait_cancel_plain};

static void wake_supervisor(struct crew *crew)
{
    if (crew->parked && !crew->parked->woken)
        coil__wake(crew->parked, 0);
}

static void thread_is_over(struct inbox_node *node)
{
    struct worker *w = container_of(node, struct worker, over_node);
    w->crew->left--;
    wake_supervisor(w->crew);
}

struct main_watch {
    struct future_callback cb;
    struct crew *crew;
};

static void main_is_over(struct future_callback *cb, coil_future *f)
{
    (void)f;
    wake_supervisor(container_of(cb, struct main_watch, cb)->crew);
}

static void start_threads(struct crew *crew)
{
    for (unsigned i = 1; i < crew->n; i++) {
        struct worker *w = &crew->workers[i];
        char name[24];
        snprintf(name, sizeof name, "worker %u", i);
        /* While one runs, no deadlock of another is certain. */
        coil__thread_busy_add(1);
        int err = coil__thread_start(&w->thread, name, thread_main, w);
        if (err == 0) {
            w->started = true;
            crew->left++;
            continue;
        }
        coil__thread_busy_add(-1);
        has_result(
            w, coil__fail(err, "the thread of worker %u cannot be had: %s", i, coil_strerror(err)));
        coil__mail_close(w);
    }
}

/* Parks until something has happened: 0, -ECANCELED, COIL_EEXIT. */
static coil_ret wait_for_end(struct crew *crew, coil_future *main_task)
{
    struct wait wait = WAIT_INIT(&workers_class);
    struct main_watch watch = {.cb = {.fire = main_is_over, .by = coil_current_task()},
                               .crew = crew};
    list_init(&watch.cb.link);
    if (!future_done(main_task))
        coil__future_watch(main_task, &watch.cb);
    crew->parked = &wait;
    coil_ret rc = coil__park(&wait);
    crew->parked = NULL;
    future_unwatch(&watch.cb);
    return rc;
}

static coil_ret supervise(void *arg)
{
    struct crew *crew = arg;
    struct worker *first = &crew->workers[0];
    coil_ret rc = begin(first);
    if (rc)
        return rc;
    coil_task *main_task = coil_create_task(body, first);
    if (coil_iserr(rc = main_task->immortal ? main_task->result : 0))
        has_result(first, rc);
    else
        start_threads(crew);

    unsigned cancels = 0;
    while (!future_done(main_task) || crew->left > 0) {
        rc = wait_for_end(crew, main_task);
        if (rc == COIL_EEXIT)
            break;
        if (rc == -ECANCELED)
            end_all(crew, cancels++ == 0 ? WORKER_IS_CANCELLED : WORKER_IS_ENDED);
    }
    if (future_done(main_task) &&
        !main_task->immortal) /* it may have been cancelled before it began */
        has_result(first, coil__future_take(main_task));
    coil_unref(main_task);
    return cancels ? coil__fail(-ECANCELED, "cancelled") : 0;
}

/* ---- all of it ---- */

static void fini(struct crew *crew)
{
    for (unsigned i = 0; i < crew->n; i++) {
        struct worker *w = &crew->workers[i];
        coil__mail_fini(w);
        coil__inbox_unref(w->inbox);
        coil__error_unref(w->error);
    }
    coil__mutex_fini(&crew->lock);
    coil__free(crew);
}

static int init(struct crew **out, unsigned n, const coil_workers_opts *opts)
{
    struct crew *crew = coil__zalloc(sizeof *crew + n * sizeof crew->workers[0]);
    if (!crew)
        return (int)coil__fail_plain(-ENOMEM);
    crew->n = n;
    crew->opts = *opts;
    coil__mutex_init(&crew->lock);
    int err = opts->pin ? coil__thread_cpus_get(&crew->cpus) : 0;
    for (unsigned i = 0; i < n && err == 0; i++) {
        struct worker *w = &crew->workers[i];
        w->crew = crew;
        w->index = i;
        w->result = -ECANCELED;
        w->end_node.fn = end_told;
        w->over_node.fn = thread_is_over;
        err = coil__mail_init(w);
    }
    if (err) {
        fini(crew);
        return (int)coil__fail_plain(err);
    }
    *out = crew;
    return 0;
}

static void join_threads(struct crew *crew)
{
    for (unsigned i = 1; i < crew->n; i++)
        if (crew->workers[i].started)
            coil__thread_join(&crew->workers[i].thread);
}

static const struct worker *nth_failed(const struct crew *crew, unsigned nth)
{
    const struct worker *w = crew->workers;
    while (w->failed != nth)
        w++;
    return w;
}

/* Makes the last error speak of all that failed; returns the first one's code. */
static coil_ret fail_together(const struct crew *crew)
{
    const struct worker *first = nth_failed(crew, 1);
    struct error_record **members = coil__alloc(crew->failures * sizeof *members), *all = NULL;
    if (members) {
        for (unsigned i = 0; i < crew->failures; i++) {
            const struct worker *w = nth_failed(crew, i + 1);
            members[i] = w->error ? coil__error_share(w->error)
                                  : coil__error_with_cause(NULL, w->result, NULL);
        }
        all = coil__error_group(first->result, "unhandled errors in workers", members,
                                crew->failures);
        coil__free(members);
    }
    coil__error_restore(all ? all : first->error, first->result);
    coil__error_unref(all);
    return first->result;
}

/* On the thread that called. `rc` is what worker 0's run came to. */
static coil_ret run_crew(struct crew *crew)
{
    unsigned forks = coil__loop_forks;
    struct worker *before = coil__this_worker;
    coil_ret rc = pin(&crew->workers[0]);
    if (rc == 0)
        rc = coil__run(supervise, crew, crew->opts.run, NULL);
    coil__this_worker = before;
    if (coil__loop_forks != forks)
        return rc; /* the child of a fork: threads and loops are its parent's */
    struct error_record *error = coil_iserr(rc) ? coil__error_capture(rc) : NULL;
    end_all(crew, rc == COIL_EINTERRUPTED ? WORKER_IS_ENDED : WORKER_IS_CANCELLED);
    join_threads(crew);
    if (crew->opts.pin)
        (void)coil__thread_pin(NULL, 0);
    for (size_t i = 0; i < crew->opts.results_n && i < crew->n; i++)
        crew->opts.results[i] = crew->workers[i].result;
    coil__mail_close(&crew->workers[0]);
    if (crew->failures > 0)
        rc = fail_together(crew);
    else if (coil_iserr(rc))
        coil__error_restore(error, rc);
    coil__error_unref(error);
    fini(crew);
    return rc;
}

coil_ret coil_workers_with(unsigned n, coil_fn fn, void *arg, const coil_workers_opts *opts)
{
    coil_workers_opts own;
    opts = OPTS_READ(opts, own);
    if (!fn)
        return coil__fail(-EINVAL, "coil_workers() needs a function");
    if (coil__running_loop)
        return coil__fail(COIL_ERUNNING,
                          "coil_workers() cannot be called from a running event loop");
    if (n == 0)
        n = coil__thread_cpus();
    if (n > COIL_WORKERS_MAX)
        return coil__fail(-EINVAL, "%u workers, and there may be %d", n, COIL_WORKERS_MAX);
    if (opts->results_n && !opts->results)
        return coil__fail(-EINVAL, "there is no place for %zu results (NULL)", opts->results_n);
    struct crew *crew = NULL; /* so that gcc sees what init promises */
    int err = init(&crew, n, opts);
    if (err)
        return err;
    crew->fn = fn;
    crew->arg = arg;
    return run_crew(crew);
}

coil_ret coil_workers(unsigned n, coil_fn fn, void *arg)
{
    return coil_workers_with(n, fn, arg, NULL);
}

int coil_workers_cancel(void)
{
    int me = coil_worker_index();
    if (me < 0)
        return me;
    end_all(coil__this_worker->crew, WORKER_IS_CANCELLED);
    return 0;
}
