/* SPDX-License-Identifier: MIT
 *
 * thread_future.c: a result that threads wait for.
 *
 *     PENDING --start--> RUNNING --finish--> FINISHED ---+
 *        |                                               +--> waiters wake, callbacks are called here
 *        +---- cancel --> CANCELLED ---------------------+
 *                             '--seen by a worker--> CANCELLED_AND_NOTIFIED
 *
 * Always true:
 *   - it becomes done once, and from then on result and error do not change;
 *   - a callback is taken off the list under the lock and fired without it, so that whoever removes one
 *     knows whether it was in time;
 *   - who finishes it holds a reference while doing so.
 *
 * Any thread. Elsewhere: futures that an executor finishes (executor.c) or a loop (call.c). */
#include "base/check.h"
#include "base/clock.h"
#include "base/inbox.h"
#include "base/mem.h"
#include "work/work.h"

/* ---- making, counting ---- */

void coil__thread_future_init(coil_thread_future *future, const struct thread_future_class *cls,
                              unsigned refs)
{
    *future = (coil_thread_future){.cls = cls};
    atomic_init(&future->refs, refs);
    coil__mutex_init(&future->lock);
    coil__cond_init(&future->changed);
    list_init(&future->callbacks);
}

static void plain_destroy(coil_thread_future *future)
{
    coil__thread_future_fini(future);
    coil__free(future);
}

static const struct thread_future_class plain_class = {.destroy = plain_destroy, .by_hand = true};
static const struct thread_future_class nobodys_class;

coil_thread_future *coil__thread_future_no_memory(void)
{
    static coil_thread_future future = {
        .cls = &nobodys_class,
        .lock = MUTEX_INIT,
        .state = COIL_THREAD_FINISHED,
        .result = -ENOMEM,
        .callbacks = LIST_INIT(future.callbacks),
    };
    coil__fail_plain(-ENOMEM);
    return &future;
}

coil_thread_future *coil_thread_future_new(void)
{
    coil_thread_future *future = coil__alloc(sizeof *future);
    if (!future)
        return coil__thread_future_no_memory();
    coil__thread_future_init(future, &plain_class, 1);
    return future;
}

coil_thread_future *coil__thread_future_failed(coil_ret error)
{
    struct error_record *why = coil__error_capture(error);
    coil_thread_future *future = coil_thread_future_new();
    if (future->cls == &nobodys_class)
        coil__error_unref(why);
    else
        (void)coil__thread_future_finish(future, error, why);
    coil__error_restore(future->error, future->result);
    return future;
}

coil_thread_future *coil_thread_future_ref(coil_thread_future *future)
{
    if (future->cls != &nobodys_class)
        atomic_fetch_add_explicit(&future->refs, 1, memory_order_relaxed);
    return future;
}

void coil_thread_future_unref(coil_thread_future *future)
{
    if (!future || future->cls == &nobodys_class)
        return;
    if (atomic_fetch_sub_explicit(&future->refs, 1, memory_order_acq_rel) == 1)
        future->cls->destroy(future);
}

/* One add_done_callback. */
struct done_callback {
    struct thread_callback cb;
    coil_thread_done_fn fn;
    void *arg;
};

static void done_fire(struct thread_callback *cb, coil_thread_future *future)
{
    struct done_callback *done = container_of(cb, struct done_callback, cb);
    done->fn(future, done->arg);
    coil__free(done);
}

void coil__thread_future_fini(coil_thread_future *future)
{
    /* One that was never finished takes its callbacks along; other nodes hold a reference. */
    for (struct list *link; (link = list_pop(&future->callbacks));) {
        struct thread_callback *cb = container_of(link, struct thread_callback, link);
        COIL_CHECK(cb->fire == done_fire);
        coil__free(container_of(cb, struct done_callback, cb));
    }
    if (future->free_result && !future->taken && future->state == COIL_THREAD_FINISHED &&
        !coil_iserr(future->result))
        future->free_result(future->result);
    coil__error_unref(future->error);
    coil__inbox_unref(future->home);
    coil__mutex_fini(&future->lock);
    coil__cond_fini(&future->changed);
}

/* ---- asking ---- */

/* The lock is held. */
static bool is_done(const coil_thread_future *future)
{
    return future->state >= COIL_THREAD_CANCELLED;
}

enum coil_thread_future_state coil_thread_future_state(coil_thread_future *future)
{
    coil__mutex_lock(&future->lock);
    enum coil_thread_future_state state = (enum coil_thread_future_state)future->state;
    coil__mutex_unlock(&future->lock);
    return state;
}

bool coil_thread_future_done(coil_thread_future *future)
{
    return coil_thread_future_state(future) >= COIL_THREAD_CANCELLED;
}

bool coil_thread_future_cancelled(coil_thread_future *future)
{
    enum coil_thread_future_state state = coil_thread_future_state(future);
    return state == COIL_THREAD_CANCELLED || state == COIL_THREAD_CANCELLED_AND_NOTIFIED;
}

bool coil_thread_future_running(coil_thread_future *future)
{
    return coil_thread_future_state(future) == COIL_THREAD_RUNNING;
}

void coil_thread_future_set_free_result(coil_thread_future *future,
                                        void (*free_result)(coil_ret value))
{
    if (future->cls == &nobodys_class)
        return;
    coil__mutex_lock(&future->lock);
    future->free_result = free_result;
    coil__mutex_unlock(&future->lock);
}

/* ---- waiting ---- */

bool coil__thread_future_is_of_this_loop(const coil_thread_future *future)
{
    return coil__running_loop && coil__running_loop->inbox == future->home;
}

int coil__thread_future_say_deadlock(void)
{
    return (int)coil__fail(COIL_EDEADLOCK,
                           "this thread runs the loop that is to finish the future; "
                           "await coil_wrap_future(future, NULL)");
}

int coil__thread_future_say_blocking(void)
{
    coil_loop *loop = coil__running_loop;
    if (loop && loop->debug)
        coil__loop_report(loop, "blocking-wait",
                          "the loop stands still while its thread waits for a thread future; await "
                          "coil_wrap_future(future, NULL)",
                          0, NULL, NULL);
    return 0;
}

/* About to block: would that keep a loop from turning? An error if it is the one we wait for. The lock
 * is not held. */
static int may_block(coil_thread_future *future)
{
    return coil__thread_future_is_of_this_loop(future) ? coil__thread_future_say_deadlock()
                                                       : coil__thread_future_say_blocking();
}

/* 0 once the future is done. */
static int wait_done(coil_thread_future *future, double timeout)
{
    if (timeout != timeout)
        return (int)coil__fail(-EINVAL, "a timeout must be a number");
    if (coil_thread_future_done(future))
        return 0;
    if (timeout <= 0)
        return (int)coil__fail_plain(-ETIMEDOUT);
    int err = may_block(future);
    if (err)
        return err;

    int64_t deadline = clock_add(coil__clock_real_ns(), coil__clock_from_seconds(timeout));
    coil__mutex_lock(&future->lock);
    future->waiters++;
    while (!is_done(future) && coil__cond_wait_until(&future->changed, &future->lock, deadline))
        ;
    future->waiters--;
    err = is_done(future) ? 0 : -ETIMEDOUT;
    coil__mutex_unlock(&future->lock);
    return err ? (int)coil__fail_plain(err) : 0;
}

void coil__thread_future_join(coil_thread_future *future)
{
    coil__mutex_lock(&future->lock);
    future->waiters++;
    while (!is_done(future))
        coil__cond_wait(&future->changed, &future->lock);
    future->waiters--;
    coil__mutex_unlock(&future->lock);
}

/* What it has come to; it is done. */
static coil_ret outcome(coil_thread_future *future)
{
    coil__mutex_lock(&future->lock);
    coil_ret result = future->state == COIL_THREAD_FINISHED ? future->result : -ECANCELED;
    future->taken = true;
    coil__mutex_unlock(&future->lock);
    return result;
}

coil_ret coil__thread_future_take(coil_thread_future *future, struct error_record **out_error)
{
    coil_ret result = outcome(future);
    *out_error = coil__error_share(future->error);
    return result;
}

coil_ret coil_thread_future_result(coil_thread_future *future, double timeout)
{
    int err = wait_done(future, timeout);
    if (err)
        return err;
    coil_ret result = outcome(future);
    return coil_iserr(result) ? coil__error_restore(future->error, result) : result;
}

const coil_error *coil_thread_future_exception(coil_thread_future *future, double timeout)
{
    if (wait_done(future, timeout) < 0)
        return NULL;
    coil__mutex_lock(&future->lock);
    coil_ret result = future->state == COIL_THREAD_FINISHED ? future->result : -ECANCELED;
    coil__mutex_unlock(&future->lock);
    return coil_iserr(result) ? coil__error_show(future->error, result) : NULL;
}

/* ---- callbacks ---- */

void coil__thread_future_watch(coil_thread_future *future, struct thread_callback *cb)
{
    list_init(&cb->link);
    coil__mutex_lock(&future->lock);
    bool done = is_done(future);
    if (!done)
        list_push(&future->callbacks, &cb->link);
    coil__mutex_unlock(&future->lock);
    if (done)
        cb->fire(cb, future);
}

bool coil__thread_future_unwatch(coil_thread_future *future, struct thread_callback *cb)
{
    coil__mutex_lock(&future->lock);
    bool in_time = list_linked(&cb->link);
    list_remove(&cb->link);
    coil__mutex_unlock(&future->lock);
    return in_time;
}

int coil_thread_future_add_done_callback(coil_thread_future *future, coil_thread_done_fn fn,
                                         void *arg)
{
    if (!fn)
        return (int)coil__fail(-EINVAL, "there is no function to call back (NULL)");
    if (coil_thread_future_done(future)) {
        fn(future, arg);
        return 0;
    }
    struct done_callback *done = coil__alloc(sizeof *done);
    if (!done)
        return (int)coil__fail_plain(-ENOMEM);
    *done = (struct done_callback){.cb.fire = done_fire, .fn = fn, .arg = arg};
    coil__thread_future_watch(future, &done->cb);
    return 0;
}

/* ---- moving on ---- */

/* Tells everybody that it is done. The lock is held, and free on return. */
static void announce(coil_thread_future *future)
{
    if (future->waiters)
        coil__cond_broadcast(&future->changed);
    for (struct list *link; (link = list_pop(&future->callbacks));) {
        struct thread_callback *cb = container_of(link, struct thread_callback, link);
        coil__mutex_unlock(&future->lock);
        cb->fire(cb, future);
        coil__mutex_lock(&future->lock);
    }
    coil__mutex_unlock(&future->lock);
}

int coil__thread_future_start(coil_thread_future *future)
{
    int answer = COIL_EINVALIDSTATE;
    coil__mutex_lock(&future->lock);
    switch ((enum coil_thread_future_state)future->state) {
    case COIL_THREAD_PENDING:
        future->state = COIL_THREAD_RUNNING;
        answer = 1;
        break;
    case COIL_THREAD_CANCELLED:
        future->state = COIL_THREAD_CANCELLED_AND_NOTIFIED;
        answer = 0;
        break;
    case COIL_THREAD_RUNNING:
    case COIL_THREAD_CANCELLED_AND_NOTIFIED:
    case COIL_THREAD_FINISHED: break;
    }
    coil__mutex_unlock(&future->lock);
    return answer;
}

int coil__thread_future_finish(coil_thread_future *future, coil_ret result,
                               struct error_record *error)
{
    coil__mutex_lock(&future->lock);
    if (is_done(future)) {
        coil__mutex_unlock(&future->lock);
        coil__error_unref(error);
        return COIL_EINVALIDSTATE;
    }
    future->result = result;
    future->error = error;
    future->state = COIL_THREAD_FINISHED;
    announce(future);
    return 0;
}

void coil__thread_future_drop(coil_thread_future *future)
{
    coil__mutex_lock(&future->lock);
    bool was_done = is_done(future);
    if (!was_done || future->state == COIL_THREAD_CANCELLED)
        future->state = COIL_THREAD_CANCELLED_AND_NOTIFIED;
    if (was_done)
        coil__mutex_unlock(&future->lock);
    else
        announce(future);
}

bool coil_thread_future_cancel(coil_thread_future *future)
{
    coil__mutex_lock(&future->lock);
    if (future->state != COIL_THREAD_PENDING) {
        bool cancelled = is_done(future) && future->state != COIL_THREAD_FINISHED;
        coil__mutex_unlock(&future->lock);
        return cancelled;
    }
    future->state = COIL_THREAD_CANCELLED;
    coil__mutex_unlock(&future->lock);
    /* First those who would work on it, so that a callback finds the job gone from the queue. */
    if (future->cls->cancelled)
        future->cls->cancelled(future);
    coil__mutex_lock(&future->lock);
    announce(future);
    return true;
}

/* ---- by hand ---- */

static int may_finish(coil_thread_future *future)
{
    return future->cls->by_hand
               ? 0
               : (int)coil__fail(COIL_EINVALIDSTATE,
                                 "this future is finished by whoever runs its job");
}

static int already(int err)
{
    return err < 0 ? (int)coil__fail(err, "the thread future is done, or running, already") : err;
}

int coil_thread_future_set_running_or_notify_cancel(coil_thread_future *future)
{
    int err = may_finish(future);
    return err ? err : already(coil__thread_future_start(future));
}

int coil_thread_future_set_result(coil_thread_future *future, coil_ret value)
{
    int err = may_finish(future);
    if (err)
        return err;
    if (coil_iserr(value))
        return (int)coil__fail(
            -EINVAL, "a value in [-4095, -1] is an error: use coil_thread_future_set_exception");
    return already(coil__thread_future_finish(future, value, NULL));
}

int coil_thread_future_set_exception(coil_thread_future *future, coil_ret error)
{
    int err = may_finish(future);
    if (err)
        return err;
    if (!coil_iserr(error))
        return (int)coil__fail(-EINVAL, "%ld is not an error code", (long)error);
    return already(coil__thread_future_finish(future, error, coil__error_capture(error)));
}
