/* SPDX-License-Identifier: MIT
 *
 * coroutine.c: the coroutine object: made, awaited, never awaited.
 *
 *     CREATED --await, task, run--> RUNNING / SUSPENDED --its function returns--> freed
 *        |
 *        +-- free: "was never awaited"; close: silently
 *
 * Runs on the loop's thread; making and freeing one needs no loop. */
#include "base/log.h"
#include "base/mem.h"
#include "task/task.h"

#include <coil/generator.h>

#include <stdio.h>

/* On the task that is to run a coroutine object. */
struct coro_watch {
    struct future_callback cb;
    coil_coro *coro; /* good unless begun */
    bool begun;
};

struct coil_coro {
    coil_fn fn;
    void *arg;
    const char *name, *file;
    int line;
    bool taken;
    bool traced;              /* it has an origin */
    struct coro_watch *watch; /* of the task it was made; NULL: awaited where it was */
    coil_gen *gen;            /* counted, where it drives one; it is `arg` too */
    struct coil__task *task;  /* who runs it, while that is known */
    struct origin origin[];   /* one in debug mode, else none */
};

coil_coro *coil_coro_new_at(const char *file, int line, const char *name, coil_fn fn, void *arg)
{
    bool traced = coil__running_loop && coil__running_loop->debug;
    coil_coro *c = fn ? coil__zalloc(sizeof *c + traced * sizeof c->origin[0]) : NULL;
    if (!c) {
        coil__fail(fn ? -ENOMEM : -EINVAL, fn ? "out of memory" : "a coroutine needs a function");
        return NULL;
    }
    *c = (coil_coro){
        .fn = fn, .arg = arg, .name = name, .file = file, .line = line, .traced = traced};
    if (traced)
        coil__origin_fill(c->origin, frames_here());
    return c;
}

static void free_coro(coil_coro *coro)
{
    coil_gen_unref(coro->gen);
    coil__free(coro);
}

void coil_coro_close(coil_coro *coro)
{
    if (coro && !coro->taken)
        free_coro(coro);
}

void coil_coro_free(coil_coro *coro)
{
    if (!coro || coro->taken)
        return;
    char text[160];
    snprintf(text, sizeof text, "coroutine '%s' was never awaited, created at %s:%d", coro->name,
             coro->file, coro->line);
    coil_loop *loop = coil__running_loop;
    coil_exception_context context = {.size = sizeof context,
                                      .message = text,
                                      .fd = -1,
                                      .kind = "never-awaited",
                                      .file = coro->file,
                                      .line = coro->line};
    if (coro->traced) {
        context.source_stack = coro->origin->calls;
        context.source_stack_n = coro->origin->n;
    }
    if (loop)
        coil_loop_call_exception_handler(loop, &context);
    else
        coil__log_line("never-awaited", text, coro->file, coro->line);
    free_coro(coro);
}

enum coil_coro_state coil_coro_state(const coil_coro *coro)
{
    if (!coro)
        return COIL_CORO_CLOSED;
    if (!coro->task) /* also when it is booked: nothing of it ran */
        return COIL_CORO_CREATED;
    return coro->task == coil__current() ? COIL_CORO_RUNNING : COIL_CORO_SUSPENDED;
}

/* Its body, wherever it runs; the object goes when it returns. Inlined, so that a task's stack has no frame of ours. */
__attribute__((always_inline)) static inline coil_ret run_coro(coil_coro *coro)
{
    coro->task = coil__current();
    coil_ret rc = coro->fn(coro->arg);
    free_coro(coro);
    return rc;
}

/* What a task made of one calls. */
CORO_ENTRY static coil_ret coro_entry(void *arg)
{
    coil_coro *coro = arg;
    if (coro->watch)
        coro->watch->begun = true;
    return run_coro(coro);
}

coil_fn coil__body_of(coil_fn fn, const void *arg)
{
    return fn == coro_entry ? ((const coil_coro *)arg)->fn : fn;
}

coil_fn coil__task_body(const struct coil__task *t)
{
    return coil__body_of(t->fn, t->arg);
}

static int take(coil_coro *coro)
{
    if (!coro)
        return (int)coil__fail(-EINVAL, "there is no coroutine (NULL)");
    if (coro->taken)
        return (int)coil__fail(COIL_EINVALIDSTATE, "coroutine is being awaited already");
    coro->taken = true;
    return 0;
}

coil_ret coil_await_coro(coil_coro *coro)
{
    int err = coil__can_wait();
    if (!err)
        err = take(coro);
    else
        coil_coro_close(coro);
    return err ? err : run_coro(coro);
}

/* The task of a coroutine object that was cancelled before its first step never ran run_coro. */
static void coro_task_done(struct future_callback *cb, coil_future *f)
{
    struct coro_watch *watch = container_of(cb, struct coro_watch, cb);
    /* A factory may have made no task of it; what it made knows when it is through with the coroutine. */
    if (!watch->begun && f->is_task)
        free_coro(watch->coro);
    else if (!watch->begun)
        watch->coro->watch = NULL;
    coil__free(watch);
}

coil_task *coil_create_task_coro_at(const char *file, int line, coil_coro *coro,
                                    const coil_task_opts *opts)
{
    int err = take(coro);
    if (err)
        return coil__future_failed(err);
    struct coro_watch *watch = coil__alloc(sizeof *watch);
    if (!watch) {
        free_coro(coro);
        return coil__future_failed(coil__fail_plain(-ENOMEM));
    }
    *watch = (struct coro_watch){.cb = {.fire = coro_task_done}, .coro = coro};
    coro->watch = watch;
    /* An eager task may be over before it can be watched; that it has begun is all the watch asks. */
    coil_task *task = coil_create_task_at(file, line, coro_entry, coro, 0, opts);
    if (task->immortal) {
        if (!watch->begun)
            free_coro(coro);
        coil__free(watch);
    } else {
        coil__future_watch(task, &watch->cb);
    }
    return task;
}

/* ---- generators as coroutines ---- */

static coil_ret drive_generator(void *arg)
{
    coil_gen *gen = arg;
    coil_ret value = 0;
    int rc = coil_gen_next(gen, &value);
    while (rc == 1) {
        coil_ret sent = coil_iserr(value)
                            ? coil__fail(COIL_ETYPE, "a coroutine yields futures or 0")
                        : value ? coil_join((coil_future *)value)
                                : coil_sleep(0);
        rc = coil_iserr(sent) ? coil_gen_throw(gen, sent, &value)
                              : coil_gen_send(gen, sent, &value);
    }
    return rc < 0 ? rc : value;
}

coil_coro *coil_gen_to_coro(struct coil_gen *gen)
{
    if (!gen) {
        coil__fail(-EINVAL, "there is no generator (NULL)");
        return NULL;
    }
    coil_coro *coro = coil_coro_new_at("a generator", 0, coil_gen_name(gen), drive_generator, gen);
    if (coro)
        coro->gen = gen;
    else
        coil_gen_unref(gen);
    return coro;
}

/* ---- ensure_future ---- */

coil_future *coil_ensure_future_future(coil_future *future)
{
    return future ? coil_ref(future)
                  : coil__future_failed(coil__fail(-EINVAL, "there is no future (NULL)"));
}

coil_future *coil_ensure_future_coro(coil_coro *coro)
{
    return coil_create_task_coro(coro);
}

static coil_ret await_object(void *arg)
{
    return coil_await_object(arg);
}

coil_future *coil_ensure_future_object(coil_awaitable *awaitable)
{
    return coil_create_task(await_object, awaitable);
}
