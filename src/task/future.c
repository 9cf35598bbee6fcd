/* SPDX-License-Identifier: MIT
 *
 * future.c: a result that is not here yet.
 *
 *     PENDING --set_result / set_exception--> FINISHED --+
 *        |                                               +--> each callback is queued, in the order
 *        +------------------ cancel --------> CANCELLED -+    of adding
 *
 * Always true:
 *   - a future leaves PENDING once, through coil__future_finish;
 *   - nobody's callback runs inside a call that finishes a future: the nodes only queue;
 *   - an error nobody looked at is reported when the last reference goes.
 *
 * Runs on the thread of the future's loop. Elsewhere: waiting for one (await.c), tasks (task.c). */
#include "base/mem.h"
#include "base/thread.h"
#include "task/task.h"

#include <stdio.h>

/* ---- making ---- */

void coil__origin_fill(struct origin *origin, struct frame newest)
{
    const void *calls[ORIGIN_CALLS];
    size_t n = coil__frames(newest, 0, calls, ORIGIN_CALLS);
    origin->n = n < ORIGIN_CALLS ? n : ORIGIN_CALLS;
    for (size_t i = 0; i < origin->n; i++)
        origin->calls[i] = calls[origin->n - 1 - i];
}

static inline coil_future *new_of_size(coil_loop *loop, const struct future_class *cls, size_t size,
                                       const char *file, int line)
{
    /* The part's lists must exist before the first callback is queued. */
    if (!coil__task_part(loop))
        return NULL;
    coil_future *f = coil__zalloc(size);
    if (!f)
        return NULL;
    coil__future_init(f, loop, cls, file, line);
    if (cls->abandon)
        list_push(&coil__task_part(loop)->outers, &f->all);
    return f;
}

static const struct future_class plain_class = {.name = "Future"};

__attribute__((cold, noinline)) static coil_future *new_with_origin(coil_loop *loop,
                                                                    const struct future_class *cls,
                                                                    size_t size, const char *file,
                                                                    int line, struct frame newest)
{
    size_t behind = (size + 7) & ~(size_t)7;
    if (behind > INT32_MAX)
        return new_of_size(loop, cls, size, file, line);
    coil_future *f = new_of_size(loop, cls, behind + sizeof(struct origin), file, line);
    if (f) {
        f->origin = (int32_t)behind;
        coil__origin_fill((struct origin *)((char *)f + behind), newest);
        if (cls == &plain_class)
            coil__leaks_keep(f);
    }
    return f;
}

coil_future *coil__future_new(coil_loop *loop, const struct future_class *cls, size_t size,
                              const char *file, int line)
{
    COIL_DCHECK(size >= sizeof(coil_future));
    if (coil_unlikely(loop->debug))
        return new_with_origin(loop, cls, size, file, line, frames_here());
    return new_of_size(loop, cls, size, file, line);
}

static const struct future_class failed_class = {.name = "Future"};

coil_future *coil__future_failed(coil_ret error)
{
    static _Thread_local coil_future failed;
    if (!failed.cls) {
        coil__future_init(&failed, NULL, &failed_class, NULL, 0);
        failed.state = COIL_FUTURE_FINISHED;
        failed.immortal = true;
        failed.retrieved = true;
    }
    failed.result = error;
    return &failed;
}

coil_future *coil_create_future_at(const char *file, int line, coil_loop *loop)
{
    if (!(loop = coil__loop_use_current(loop)))
        return coil__future_failed(coil_last_error()->code);
    coil_future *f = coil__future_new(loop, &plain_class, sizeof *f, file, line);
    return f ? f : coil__future_failed(coil__fail_plain(-ENOMEM));
}

/* ---- counting ---- */

coil_future *coil_ref(coil_future *future)
{
    if (!future->immortal)
        future->refs++;
    return future;
}

void coil__future_report(coil_future *f, const char *kind, const char *message, coil_ret code,
                         const coil_error *error)
{
    coil_exception_context context = {.size = sizeof context,
                                      .message = message,
                                      .code = code,
                                      .error = error,
                                      .future = f,
                                      .task = f->is_task ? f : NULL,
                                      .fd = -1,
                                      .kind = kind};
    const struct origin *origin = future_origin(f);
    if (origin && origin->n > 0) {
        context.source_stack = origin->calls;
        context.source_stack_n = origin->n;
    }
    coil_loop_call_exception_handler(f->loop, &context);
}

static void report_unretrieved(coil_future *f)
{
    char text[128];
    if (f->is_task)
        snprintf(text, sizeof text, "Task exception was never retrieved: %s, created at %s:%d",
                 as_task(f)->name, f->file ? f->file : "?", f->line);
    else
        snprintf(text, sizeof text, "%s exception was never retrieved, created at %s:%d",
                 f->cls->name, f->file ? f->file : "?", f->line);
    coil__future_report(f, "never-retrieved", text, f->result,
                        coil__error_show(f->error, f->result));
}

static void destroy(coil_future *f)
{
    bool taken = f->retrieved;
    /* The handler may look at the future, so it is whole and held while that runs. */
    f->refs = 1;
    if (f->state == COIL_FUTURE_FINISHED && !f->retrieved) {
        f->retrieved = true;
        if (coil_iserr(f->result))
            report_unretrieved(f);
        else if (f->free_result)
            f->free_result(f->result);
    }
    if (--f->refs > 0)
        return;
    if (coil_unlikely(!list_empty(&f->callbacks)))
        coil__future_drop_callbacks(f);
    list_remove(&f->all);
    if (f->cls->destroy) {
        f->cls->destroy(f, taken);
        return;
    }
    coil__error_unref(f->error);
    coil__free(f);
}

void coil_unref(coil_future *future)
{
    if (!future || future->immortal)
        return;
    COIL_DCHECK(future->refs > 0);
    if (--future->refs == 0)
        destroy(future);
}

/* ---- asking ---- */

enum coil_future_state coil_future_state(const coil_future *future)
{
    return (enum coil_future_state)future->state;
}

bool coil_future_done(const coil_future *future)
{
    return future_done(future);
}

bool coil_future_cancelled(const coil_future *future)
{
    return future->state == COIL_FUTURE_CANCELLED;
}

coil_loop *coil_future_get_loop(const coil_future *future)
{
    return future->loop;
}

coil_ret coil__future_take(coil_future *f)
{
    f->retrieved = true;
    /* The stand-in's words are those of whatever failed last, if that was the same. */
    if (coil_iserr(f->result) && !(f->immortal && coil__error_slot()->pub.code == f->result))
        coil__error_restore(f->error, f->result);
    return f->result;
}

coil_ret coil_future_result(coil_future *future)
{
    if (!future_done(future))
        return coil__fail(COIL_EINVALIDSTATE, "Result is not set.");
    return coil__future_take(future);
}

const coil_error *coil_future_exception(coil_future *future)
{
    if (!future_done(future)) {
        coil__fail(COIL_EINVALIDSTATE, "Exception is not set.");
        return NULL;
    }
    if (!coil_iserr(future->result))
        return NULL;
    future->retrieved = true;
    return coil__error_show(future->error, future->result);
}

struct error_record *coil__future_take_error(coil_future *f)
{
    f->retrieved = true;
    return coil__error_share(f->error);
}

void coil_future_set_free_result(coil_future *future, void (*free_result)(coil_ret value))
{
    if (!future->immortal)
        future->free_result = free_result;
}

/* ---- finishing ---- */

void coil__future_finish(coil_future *f, coil_ret result, struct error_record *error)
{
    COIL_CHECK(!future_done(f));
    f->result = result;
    f->error = error;
    f->state = result == -ECANCELED ? COIL_FUTURE_CANCELLED : COIL_FUTURE_FINISHED;
    /* A callback that is fired may add nothing here: it only queues. */
    for (struct list *link; (link = list_pop(&f->callbacks));) {
        struct future_callback *cb = container_of(link, struct future_callback, link);
        cb->fire(cb, f);
    }
}

static int may_set(coil_future *f)
{
    if (f->is_task)
        return (int)coil__fail(COIL_EINVALIDSTATE,
                               "Task does not support set_result or set_exception");
    if (future_done(f))
        return (int)coil__fail(COIL_EINVALIDSTATE, "the future is done already");
    return coil__loop_use(f->loop) ? 0 : (int)coil_last_error()->code;
}

int coil_future_set_result(coil_future *future, coil_ret value)
{
    int err = may_set(future);
    if (err)
        return err;
    if (coil_iserr(value))
        return (int)coil__fail(-EINVAL,
                               "a value in [-4095, -1] is an error: use coil_future_set_exception");
    coil__future_finish(future, value, NULL);
    return 0;
}

int coil_future_set_exception(coil_future *future, coil_ret error)
{
    int err = may_set(future);
    if (err)
        return err;
    if (!coil_iserr(error))
        return (int)coil__fail(-EINVAL, "%ld is not an error code", (long)error);
    if (error == -ECANCELED)
        return (int)coil__fail(-EINVAL, "to cancel a future, use coil_future_cancel");
    coil__future_finish(future, error, coil__error_capture(error));
    return 0;
}

bool coil_future_cancel(coil_future *future, const char *message)
{
    if (future_done(future) || loop_is_foreign(future->loop))
        return false;
    if (future->cls->cancel)
        return future->cls->cancel(future, message);
    coil__future_finish(future, -ECANCELED, coil__error_cancelled(message));
    return true;
}

/* ---- callbacks ---- */

void coil__future_watch(coil_future *f, struct future_callback *cb)
{
    list_init(&cb->link);
    if (future_done(f))
        cb->fire(cb, f);
    else
        list_push(&f->callbacks, &cb->link);
}

/* One add_done_callback. Holds a room in the ring from birth, and the future from when it is queued. */
struct done_callback {
    struct future_callback cb;
    struct list link; /* task_part.callbacks while queued */
    coil_loop *loop;
    coil_future *future; /* counted once queued */
    coil_done_fn fn;
    void *arg;
    struct context_map *map;
    coil_context *context;
};

static void free_callback(struct done_callback *d)
{
    coil__context_map_unref(d->map);
    coil_context_unref(d->context);
    loop_release(d->loop, 1);
    coil__free(d);
}

static coil_ret call_done(void *arg)
{
    struct done_callback *d = arg;
    d->fn(d->future, d->arg);
    return 0;
}

static void done_run(void *arg)
{
    struct done_callback *d = arg;
    list_remove(&d->link);
    if (d->context) {
        coil_ret rc = coil_context_run(d->context, call_done, d);
        if (coil_iserr(rc))
            coil__future_report(d->future, "callback-not-run",
                                "a done-callback was not run: its context is already entered", rc,
                                NULL);
    } else {
        d->loop->hub_context.map = d->map;
        d->map = NULL;
        d->fn(d->future, d->arg);
    }
    coil_unref(d->future);
    free_callback(d);
}

static void done_fire(struct future_callback *cb, coil_future *f)
{
    struct done_callback *d = container_of(cb, struct done_callback, cb);
    if (d->loop->closing || d->loop->closed) {
        free_callback(d); /* nothing of what is queued now will run */
        return;
    }
    d->future = coil_ref(f);
    list_push(&coil__task_part(d->loop)->callbacks, &d->link);
    loop_push(d->loop, done_run, d, NULL);
}

/* The loop is closing: futures that stand for others would wait for ever, and keep what they wait for. */
void coil__future_abandon_outers(struct task_part *part)
{
    for (struct list *link; (link = list_pop(&part->outers));) {
        coil_future *f = container_of(link, coil_future, all);
        f->cls->abandon(f);
    }
}

/* The loop is closing: what was queued will not run. */
void coil__future_drop_queued(struct task_part *part)
{
    for (struct list *link; (link = list_pop(&part->callbacks));) {
        struct done_callback *d = container_of(link, struct done_callback, link);
        coil_unref(d->future);
        free_callback(d);
    }
}

/* The future goes, and will never be done. */
void coil__future_drop_callbacks(coil_future *f)
{
    LIST_FOREACH(link, &f->callbacks) {
        struct future_callback *cb = container_of(link, struct future_callback, link);
        list_remove(link);
        if (cb->fire == done_fire)
            free_callback(container_of(cb, struct done_callback, cb));
        else /* who awaits it in any other way holds it */
            coil__edge_drop(cb);
    }
}

int coil_future_add_done_callback_context(coil_future *future, coil_done_fn fn, void *arg,
                                          coil_context *context)
{
    coil_loop *loop = coil__loop_use_current(future->loop);
    if (!loop)
        return (int)coil_last_error()->code;
    if (!fn)
        return (int)coil__fail(-EINVAL, "a done-callback needs a function (NULL)");
    if (coil__loop_hold(loop, 1) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    struct done_callback *d = coil__zalloc(sizeof *d);
    if (!d) {
        loop_release(loop, 1);
        return (int)coil__fail_plain(-ENOMEM);
    }
    d->cb.fire = done_fire;
    d->loop = loop;
    d->fn = fn;
    d->arg = arg;
    if (context)
        d->context = coil_context_ref(context);
    else
        d->map = context_capture();
    coil__future_watch(future, &d->cb);
    return 0;
}

int coil_future_add_done_callback(coil_future *future, coil_done_fn fn, void *arg)
{
    return coil_future_add_done_callback_context(future, fn, arg, NULL);
}

int coil_future_remove_done_callback(coil_future *future, coil_done_fn fn, void *arg)
{
    int n = 0;
    LIST_FOREACH(link, &future->callbacks) {
        struct future_callback *cb = container_of(link, struct future_callback, link);
        struct done_callback *d = container_of(cb, struct done_callback, cb);
        if (cb->fire != done_fire || d->fn != fn || d->arg != arg)
            continue;
        list_remove(link);
        free_callback(d);
        n++;
    }
    return n;
}
