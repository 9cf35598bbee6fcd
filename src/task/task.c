/* SPDX-License-Identifier: MIT
 *
 * task.c: a coroutine with a result: started, parked, woken, cancelled, finished, unwound.
 *
 *              create                     its turn
 *     (stack) --------> queued on ring ------------> running <---+
 *                            ^                         |  |      | a done await does not stop it
 *                            | coil__wake              |  +------+
 *                            +-------- parked <--------+ coil__park
 *                                                      |
 *                                            returns --+--> done: callbacks queued, stack given back
 *
 * The control block stands at the top of the task's own stack, so a parked task is one page.
 *
 * Who runs next when a task parks or ends: if the next slot of this batch is a task's step, that task,
 * straight from stack to stack; else the stack that turns the loop (the hub), since callbacks never
 * run on a task's stack. In debug mode also the hub where there is something to say of a step.
 *
 * Always true:
 *   - task_part.current is the task whose frames run, NULL on the hub;
 *   - the loop owns a reference to each task that is not done; the task gives it back as it leaves;
 *   - a task holds ROOMS places in the ready ring, so waking it cannot fail.
 *
 * Runs on the loop's thread. Elsewhere: futures (future.c), waiting for one (await.c), what a loop keeps for them (part.c). */
#include "task/task.h"

#include "base/mem.h"
#include "base/opts.h"
#include "base/probe.h"
#include "base/trace.h"

#include <stdio.h>
#include <string.h>

enum { ROOMS = 2 }; /* its step, and a slot that its wait queued before a cancel overtook it */

static void task_step(void *arg);

static struct task_part *part_of(const struct coil__task *t)
{
    return container_of(t->future.loop->parts[LOOP_PART_TASK], struct task_part, part);
}

/* That of the running loop, whose tasks alone run: asking a task for it would bring another cold line of it. */
static struct task_part *part_here(void)
{
    return container_of(coil__running_loop->parts[LOOP_PART_TASK], struct task_part, part);
}

/* ---- switching ---- */

/* Everything that follows the running task moves to `t`. Who calls this says task_run itself: inlined from here, the point costs
 * every creation of a task three moves. */
static struct coro *become(struct task_part *part, struct coil__task *t)
{
    part->current = t;
    coil__context_ptr = t->context_now;
    error_switch(&t->error);
    part->loop->switches++;
    return t->leaf;
}

static void become_hub(struct task_part *part)
{
    part->current = NULL;
    coil__context_ptr = &part->loop->hub_context;
    error_switch(NULL);
}

/* What a switch will look at there: tasks that come round seldom are cold. The slot may also be a callback's; a prefetch
 * goes nowhere it must not. */
static inline void prefetch_task(const void *slot_arg)
{
    __builtin_prefetch((const void *)((uintptr_t)slot_arg + offsetof(struct coil__task, leaf)));
}

/* ---- debug mode: whose step it is ---- */

static void describe_step(const coil_future *f, struct step_about *out)
{
    const struct origin *origin = future_origin(f);
    *out = (struct step_about){.name = ((const struct coil__task *)f)->name,
                               .file = f->file,
                               .line = f->line,
                               .source = origin ? origin->calls : NULL,
                               .source_n = origin ? origin->n : 0};
}

static bool step_is_over(coil_future *f, int64_t now_ns)
{
    struct coil__task *t = as_task(f);
    if (t->waiting)
        t->parked_ns = now_ns ? now_ns : 1; /* 0 is no time */
    if (f->refs > 1) {
        f->refs--;
        if (future_done(f))
            coil__leaks_keep(f);
        return false;
    }
    coil_unref(f);
    return true;
}

static const struct step_class task_steps = {
    .name_at = offsetof(struct coil__task, name), .describe = describe_step, .over = step_is_over};

/* The task is held until it is known whether the step took long. */
static inline void own_step(coil_loop *loop, struct coil__task *t)
{
    t->future.refs++;
    __atomic_store_n(&loop->step_class, &task_steps, __ATOMIC_RELAXED);
    __atomic_store_n(&loop->step_owner, &t->future, __ATOMIC_RELEASE);
}

/* next_up in debug mode: straight to the next task only if there is nothing to be said of this one. */
__attribute__((cold, noinline)) static struct coro *next_up_watched(struct task_part *part)
{
    coil_loop *loop = part->loop;
    coil_future *owner = loop->step_owner;
    if (loop->raised || loop->closing || !owner || owner->refs == 1 ||
        (loop->head == loop->batch_end && !coil__loop_next_batch(loop)))
        return part->hub;
    const struct slot *slot = &loop->ring[loop->head & loop->mask];
    if (slot->fn != task_step || !loop_step_follows(loop))
        return part->hub;
    struct coil__task *t = slot->arg;
    loop->head++;
    loop->callbacks++;
    uintptr_t later = (uintptr_t)loop->ring[(loop->head + 3) & loop->mask].arg;
    prefetch_task((const void *)later);
    __builtin_prefetch((const void *)(later + offsetof(struct coil__task, parked_ns)));
    (void)step_is_over(owner, loop_about_now(loop));
    own_step(loop, t);
    TRACE_POINT(task_run, "8@%0", "r"(t));
    return become(part, t);
}

/* Whom the leaving task hands over to. */
static inline struct coro *next_up(struct task_part *part)
{
    coil_loop *loop = part->loop;
    if (coil_unlikely(loop->raised || loop->debug || loop->closing))
        return loop->debug ? next_up_watched(part) : part->hub;
    if (loop->head == loop->batch_end && !coil__loop_next_batch(loop))
        return part->hub;
    const struct slot *slot = &loop->ring[loop->head & loop->mask];
    if (slot->fn != task_step)
        return part->hub;
    struct coil__task *t = slot->arg;
    loop->head++;
    loop->callbacks++;
    prefetch_task(loop->ring[(loop->head + 3) & loop->mask].arg);
    TRACE_POINT(task_run, "8@%0", "r"(t));
    return become(part, t);
}

/* On the hub, after a task that ended there: give back what it could not give back itself. */
static void bury(struct task_part *part)
{
    struct coil__task *t = part->departed;
    if (coil_likely(!t))
        return;
    part->departed = NULL;
    coil_unref(&t->future);
}

/* The hub runs a task until control comes back to the hub, by whatever way. */
static void task_step(void *arg)
{
    struct coil__task *t = arg;
    struct task_part *part = part_here();
    part->hub = coro_current();
    if (coil_unlikely(part->loop->debug))
        own_step(part->loop, t);
    TRACE_POINT(task_run, "8@%0", "r"(t));
    coil__coro_switch(become(part, t));
    become_hub(part);
    bury(part);
}

/* ---- parking ---- */

int coil__cannot_wait(void)
{
    struct coro *unwinding =
        coil__coro_unwinding(); /* a generator may be, where there is no task */
    if (!unwinding)
        return (int)coil__fail_plain(COIL_ENOTASK);
    coil__fail_plain(COIL_EEXIT);
    return (int)coil__coro_refuse(unwinding);
}

bool coil__wait_cancel_plain(struct wait *w, const char *message)
{
    (void)message;
    coil__wake(w, -ECANCELED);
    return true;
}

static bool hand_cancel_to(struct wait *w, const char *message)
{
    /* A kernel op or job is asked once; what else is pending is asked again, as asyncio does. */
    if (w->woken || (w->cancel_asked && w->cls->keeps) || !w->cls->cancel ||
        !w->cls->cancel(w, message))
        return false;
    w->cancel_asked = true;
    return true;
}

/* Seldom needed, before the task stops: open deadlines get their timers, a cancel that came while it ran is
 * handed to what it is about to wait for. */
__attribute__((cold)) static void before_parking(struct coil__task *t, struct wait *w)
{
    if (t->arm_scopes)
        t->arm_scopes(t);
    if (t->must_cancel && hand_cancel_to(w, t->cancel_message)) {
        COIL_PROBE("a task that was cancelled begins to wait");
        t->must_cancel = false;
    }
}

/* What park returns when something was cancelled or is being unwound. */
__attribute__((cold)) static coil_ret cut_short(struct coil__task *t, const struct wait *w)
{
    if (coil__coro_unwinding() != NULL)
        return coil__fail_plain(COIL_EEXIT);
    if (w->cls->keeps && w->value != -ECANCELED) {
        /* What was done stands; a cancel that asked for it waits for the next wait. */
        if (w->cancel_asked) {
            COIL_PROBE("a cancel comes after what it should cancel");
            t->must_cancel = true;
        }
        return w->value;
    }
    if (!t->must_cancel && w->value != -ECANCELED)
        return w->value;
    t->must_cancel = false;
    return coil__fail(-ECANCELED, "%s", t->cancel_message ? t->cancel_message : "cancelled");
}

void (*coil__park_hook)(struct coil__task *t);
coil_ret (*coil__return_hook)(struct coil__task *t, coil_ret rc);

__attribute__((cold)) static void watch_parking(struct coil__task *t)
{
    coil_loop *loop = t->future.loop;
    if (loop->debug && t->back) /* else when its step is over */
        t->parked_ns = loop_now_ns(loop);
    if (coil__park_hook)
        coil__park_hook(t);
}

__attribute__((noinline)) coil_ret coil__park_task(struct coil__task *t, struct wait *w)
{
    struct task_part *part = part_here();
    COIL_DCHECK(part == part_of(t));

    t->waiting = w;
    if (coil_unlikely(part->loop->watched))
        watch_parking(t);
    if (coil_unlikely(t->arm_scopes || t->must_cancel))
        before_parking(t, w);

    struct coro *leaf = coil__coro_now;
    TRACE_STORE(task_park, "8@%2 8@%3", t->leaf, leaf, "r"(t), "r"(w)); /* t->leaf = leaf; */
    t->context_now = coil__context_ptr;
    struct coro *to = t->back;
    if (coil_likely(!to))
        to = next_up(part);
    else
        t->back = NULL;
    if (to != leaf) /* the next one may be this very task */
        coro_switch_from(leaf, to);

    t->waiting = NULL;
    if (coil_unlikely(t->must_cancel || w->cancel_asked || w->value == -ECANCELED ||
                      coil__coro_unwinding()))
        return cut_short(t, w);
    return w->value;
}

void coil__wake(struct wait *w, coil_ret value)
{
    COIL_DCHECK(!w->woken);
    w->woken = true;
    w->value = value;
    loop_push(w->loop, task_step, as_task(w->task), NULL);
}

coil_ret coil__yield(void)
{
    static const struct wait_class bare = {.what = "its next turn"};
    /* Woken from the start, so nobody ever writes to it, and it can be everybody's. */
    static const struct wait next_turn = {.cls = &bare, .woken = true};
    struct coil__task *t = coil__current();
    if (coil_unlikely(!t || coil__coro_unwinding()))
        return coil__cannot_wait();
    loop_push(coil__running_loop, task_step, t, NULL);
    return coil__park_task(t, (struct wait *)(uintptr_t)&next_turn);
}

/* ---- the end of a task ---- */

static inline void forget_message(struct coil__task *t)
{
    if (coil_likely(!t->cancel_message))
        return;
    coil__free(t->cancel_message);
    t->cancel_message = NULL;
}

static bool task_cancel(coil_future *f, const char *message);
static void task_destroy(coil_future *f, bool taken);

static const struct future_class task_class = {
    .name = "Task", .cancel = task_cancel, .destroy = task_destroy};

/* Everything but the stack. */
static inline void undo_task(struct coil__task *t)
{
    if (t->shared_context)
        coil_context_unref(t->shared_context);
    if (t->context.map)
        coil__context_map_unref(t->context.map);
    t->context.map = NULL;
    error_fini(&t->error);
    forget_message(t);
}

static void task_destroy(coil_future *f, bool taken)
{
    (void)taken;
    struct coil__task *t = as_task(f);
    COIL_DCHECK(!f->error || f->error == &t->error);
    undo_task(t);
    coil__stack_put(t->stack);
}

/* The coroutine returned rc: become done. */
static void finish(struct coil__task *t, coil_ret rc)
{
    struct task_part *part = part_of(t);
    list_remove(&t->future.all);
    part->tasks_n--;
    loop_release(part->loop, ROOMS);
    if (coil_unlikely((t->must_cancel && !coil_iserr(rc)) || t->coro.unwinding)) {
        /* CPython: a cancel that came during the last step wins over the return value. One that was
         * unwound was destroyed, whatever it returns. */
        if (t->future.free_result && !coil_iserr(rc))
            t->future.free_result(rc);
        rc = -ECANCELED;
        coil__fail(rc, "%s", t->cancel_message ? t->cancel_message : "cancelled");
    }
    t->must_cancel = false;
    struct error_record *error = NULL;
    if (coil_iserr(rc)) {
        if (t->error.pub.code != rc)
            coil__fail_plain(rc);
        error = &t->error;
    }
    TRACE_POINT(task_done, "8@%0 -8@%1", "r"(t), "r"(rc));
    coil__future_finish(&t->future, rc, error);
}

/* Leaves a stack that will never be stood on again. */
static _Noreturn void leave_for_good(struct coil__task *t)
{
    struct task_part *part = part_of(t);
    coil_future *f = &t->future;
    struct coro *to = t->back;
    bool quiet = (!coil_iserr(f->result) && !f->free_result) || f->state == COIL_FUTURE_CANCELLED;
    /* Nobody has run since it was done. */
    COIL_DCHECK(!f->retrieved && list_empty(&f->callbacks));
    /* In an eager first step the creator's reference is still to be handed out. */
    COIL_CHECK(!to || f->refs > 1);
    if (f->refs > 1) {
        f->refs--;
        if (!to)
            to = next_up(part);
    } else if (quiet) {
        /* Nobody holds it and nothing is to be said: home at once. Nothing takes a stack before we are off it. */
        struct stack *stack = t->stack;
        error_switch(NULL);
        undo_task(t);
        to = next_up(part);
        coil__stack_put_leaving(stack);
    } else {
        /* Reports and free_result are not for this stack. */
        part->departed = t;
        to = part->hub;
    }
    coil__coro_exit_to(to);
}

/* It was asked to end, and does as if it had not been. */
static void report_swallowed(struct coil__task *t)
{
    char text[400];
    snprintf(text, sizeof text,
             "A cancel was swallowed by %s, created at %s:%d: it was asked to end, and returned no "
             "error; pass -ECANCELED on, or take the request back (coil_task_uncancel)",
             t->name, t->future.file ? t->future.file : "?", t->future.line);
    coil__future_report(&t->future, "swallowed-cancel", text, 0, NULL);
}

__attribute__((cold, noinline)) static coil_ret watch_return(struct coil__task *t, coil_ret rc)
{
    if (coil__return_hook)
        rc = coil__return_hook(t, rc);
    if (t->future.loop->debug && t->cancelling > 0 && !t->must_cancel && !t->coro.unwinding &&
        !coil_iserr(rc))
        report_swallowed(t);
    return rc;
}

CORO_ENTRY static void task_entry(struct coro *co)
{
    struct coil__task *t = container_of(co, struct coil__task, coro);
    /* Cancelled before its first step: the body sees nothing. */
    coil_ret rc = -ECANCELED;
    if (t->must_cancel) {
        t->must_cancel = false;
        coil__fail(rc, "%s", t->cancel_message ? t->cancel_message : "cancelled");
    } else {
        t->started = true;
        rc = t->fn(t->arg);
        if (coil_unlikely(t->future.loop->watched))
            rc = watch_return(t, rc);
    }
    finish(t, rc);
    leave_for_good(t);
}

/* ---- creation ---- */

/* "Task-9" becomes "Task-10": counting in decimal, since a name is made for each spawn and hardly ever read. */
static void next_name(struct task_part *part)
{
    char *digits = part->last_name + 5, *last = digits + part->last_digits - 1;
    while (last >= digits && *last == '9')
        *last-- = '0';
    if (last >= digits) {
        ++*last;
        return;
    }
    memmove(digits + 1, digits, part->last_digits++);
    *digits = '1';
}

/* Would not unwind: its frames stay for ever, and it is over. */
static void abandon(struct coro *co)
{
    struct coil__task *t = container_of(co, struct coil__task, coro);
    struct task_part *part = part_of(t);
    struct coro *hub = part->hub;
    finish(t, -ECANCELED);
    t->future.refs++; /* whatever else happens, its memory is never reused */
    part->stubborn = t;
    coil__stack_abandon(t->stack);
    coil__coro_exit_to(hub);
}

static void run_eagerly(struct task_part *part, struct coil__task *t)
{
    TRACE_POINT(task_run, "8@%0", "r"(t));
    struct coil__task *creator = part->current;
    struct coil_context *context = coil__context_ptr;
    struct error_record *slot = coil__error_slot_ptr;
    bool in_factory = part->in_factory;
    part->in_factory = false;
    t->back = coro_current();
    coil__coro_switch(become(part, t));
    part->in_factory = in_factory;
    part->current = creator;
    coil__context_ptr = context;
    error_switch(slot);
}

/* Who refers to a task's own context refers to the task: it lies in there. */
static void pin_context(struct coil_context *context, bool on)
{
    struct coil__task *t = container_of(context, struct coil__task, context);
    if (on)
        coil_ref(&t->future);
    else
        coil_unref(&t->future);
}

/* On top of its own stack, if there is room. */
__attribute__((cold, noinline)) static void keep_origin(struct coil__task *t, struct stack *stack,
                                                        struct frame newest, coil_fn body)
{
    struct origin *origin = coil__stack_reserve(stack, sizeof *origin);
    if (!origin)
        return;
    t->future.origin = (int32_t)((char *)origin - (char *)t);
    origin->body = body;
    coil__origin_fill(origin, newest);
}

coil_task *coil__task_make(const coil_task_recipe *recipe, const coil_task_opts *opts, bool ask)
{
    coil_fn fn = recipe->fn;
    const void *arg = recipe->arg;
    size_t copy = recipe->copy;
    coil_loop *loop = coil__loop_use_current(opts->loop);
    if (!loop)
        return coil__future_failed(coil_last_error()->code);
    if (!fn)
        return coil__future_failed(coil__fail(-EINVAL, "a task needs a function"));
    if (copy && !arg)
        return coil__future_failed(coil__fail(-EINVAL, "there are no arguments to copy (NULL)"));
    if (loop->closing)
        return coil__future_failed(
            coil__fail(COIL_ECLOSED, "the event loop is closing; no task can start"));
    struct task_part *part = coil__task_part(loop);
    if (!part)
        return coil__future_failed(coil_last_error()->code);
    if (coil_unlikely(part->factory && ask && !part->in_factory))
        return coil__task_by_factory(part, recipe, opts);

    int err = coil__loop_hold(loop, ROOMS);
    if (err)
        return coil__future_failed(coil__fail_plain(err));
    struct stack *stack;
    err = coil__stack_get(&part->stacks, opts->stack_size, &stack);
    if (err)
        goto undo_hold;
    struct coil__task *t = coil__stack_reserve(stack, sizeof *t);
    COIL_CHECK(t != NULL); /* the smallest stack has room for it */
    void *args = copy ? coil__stack_reserve(stack, copy) : NULL;
    if (copy && !args) {
        err = (int)coil__fail(-EINVAL, "%zu bytes of arguments leave no room on a stack of %zu",
                              copy, stack_bytes(stack));
        goto undo_stack;
    }
    coil__future_init(&t->future, loop, &task_class, recipe->file, recipe->line);
    t->future.is_task = true;
    t->future.refs = 2; /* the caller's and, until it is done, the loop's */
    t->future.free_result = opts->free_result;
    if (coil_unlikely(loop->debug))
        keep_origin(t, stack, frames_here(), coil__body_of(fn, arg));
    coil__coro_make(&t->coro, stack, task_entry);
    /* What the two made stands first; zeroed is what lies between that and the words. */
    memset(&t->leaf, 0, offsetof(struct coil__task, name) - offsetof(struct coil__task, leaf));
    t->fn = fn;
    t->stack = stack;
    t->coro.abandon = abandon;
    t->leaf = &t->coro;
    if (copy) {
        memcpy(args, arg, copy);
        t->arg = args;
    } else {
        t->arg = (void *)(uintptr_t)arg;
    }
    stack->owner = t;
    list_init(&t->scopes);
    t->number = ++part->number;
    next_name(part);
    if (opts->name)
        task_set_name(t, opts->name);
    else
        memcpy(t->name, part->last_name, sizeof t->name);
    coil__error_init(&t->error, t->name);
    if (opts->context) {
        t->shared_context = coil_context_ref(opts->context);
        t->context_now = t->shared_context;
    } else {
        t->context.map = context_capture();
        t->context.pin = pin_context;
        t->context_now = &t->context;
    }
    list_push(&part->tasks, &t->future.all);
    part->tasks_n++;
    TRACE_POINT(task_spawn, "8@%0 8@%1", "r"(t), "o"(t->fn));

    if (opts->eager && !opts->no_eager && loop == coil__running_loop) {
        run_eagerly(part, t);
    } else {
        loop_push(loop, task_step, t, NULL);
    }
    return &t->future;

undo_stack:
    coil__stack_put(stack);
undo_hold:
    loop_release(loop, ROOMS);
    COIL_DCHECK(coil_last_error()->code == err);
    return coil__future_failed(err);
}

coil_task *coil_create_task_at(const char *file, int line, coil_fn fn, const void *arg, size_t copy,
                               const coil_task_opts *opts)
{
    static const coil_task_opts defaults;
    coil_task_opts own;
    const coil_task_recipe recipe = {sizeof recipe, file, line, fn, arg, copy};
    return coil__task_make(&recipe, opts ? OPTS_READ(opts, own) : &defaults, true);
}

coil_task *coil_loop_create_task_at(const char *file, int line, coil_loop *loop, coil_fn fn,
                                    const void *arg)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    return coil_create_task_at(file, line, fn, arg, 0, &opts);
}

/* ---- cancelling ---- */

static void count_cancel(struct coil__task *t, const char *message)
{
    t->cancelling++;
    /* A cancel that is on its way already keeps its words. */
    if (t->waiting && t->waiting->woken && t->waiting->value == -ECANCELED)
        return;
    forget_message(t);
    if (message) { /* without memory the cancel goes on without its words */
        size_t n = strlen(message) + 1;
        if ((t->cancel_message = coil__alloc(n)))
            memcpy(t->cancel_message, message, n);
    }
}

/* The task that this one waits for and that a cancel is handed to; NULL: it waits for something else. */
static struct coil__task *next_in_chain(const struct coil__task *t)
{
    const struct wait *w = t->waiting;
    coil_future *f = w && w->cls->passes ? w->cls->passes(w) : NULL;
    return f && f->is_task && !future_done(f) ? as_task(f) : NULL;
}

static bool task_cancel(coil_future *f, const char *message)
{
    struct coil__task *first = as_task(f), *t = first, *next;
    TRACE_POINT(task_cancel, "8@%0 8@%1", "r"(f), "r"(message));
    if (t->in_cancel) {
        /* It came round in a circle through something that is no task: somebody must wake, once. */
        COIL_DCHECK(t->waiting && t->waiting->cls->passes);
        if (!t->waiting->woken)
            coil__wake(t->waiting, -ECANCELED);
        else
            t->must_cancel = true;
        return true;
    }
    for (;; message = t->cancel_message, t = next) {
        count_cancel(t, message);
        t->in_cancel = true;
        if (!t->waiting || t->waiting->woken) {
            if (t->waiting)
                COIL_PROBE("a task is cancelled between its waking and its turn");
            t->must_cancel = true;
            break;
        }
        next = next_in_chain(t);
        if (!next) {
            t->must_cancel |= !hand_cancel_to(t->waiting, t->cancel_message);
            break;
        }
        t->waiting->cancel_asked = true;
        if (next->in_cancel) {
            coil__wake(t->waiting,
                       -ECANCELED); /* a circle: the last one wakes, the others follow */
            break;
        }
    }
    for (t = first; t && t->in_cancel; t = next_in_chain(t))
        t->in_cancel = false;
    return true;
}

bool coil_task_cancel(coil_task *task, const char *message)
{
    return coil_future_cancel(task, message);
}

int coil_task_cancelling(const coil_task *task)
{
    return task->is_task ? (int)((const struct coil__task *)task)->cancelling : 0;
}

int coil_task_uncancel(coil_task *task)
{
    if (!task->is_task)
        return 0;
    struct coil__task *t = as_task(task);
    if (t->cancelling > 0 && --t->cancelling == 0)
        t->must_cancel = false;
    return (int)t->cancelling;
}

/* ---- unwinding ---- */

static const char *file_of(const struct coil__task *t)
{
    return t->future.file ? t->future.file : "?";
}

static void unwind(struct task_part *part, struct coil__task *t)
{
    char text[512], words[200], since[40];
    if (!t->silent) {
        coil__wait_words(t->waiting, words, sizeof words);
        coil__since_words(t, since, sizeof since);
        snprintf(text, sizeof text,
                 "Task was destroyed but it is pending! %s, created at %s:%d, waiting on %s%s",
                 t->name, file_of(t), t->future.line, words, since);
        coil__future_report(&t->future, "destroyed-pending", text, 0, NULL);
    }

    part->hub = coro_current();
    if (!t->started) {
        /* Nothing of it ran, so there is nothing to unwind. */
        coil__coro_drop(&t->coro);
        finish(t, -ECANCELED);
        coil_unref(&t->future);
        return;
    }
    COIL_CHECK(t->waiting != NULL); /* a loop that runs is not closed */
    if (!t->waiting->woken && t->waiting->cls->abandon)
        t->waiting->cls->abandon(t->waiting);
    TRACE_POINT(task_run, "8@%0", "r"(t));
    coro_unwind(&t->coro, become(part, t));
    become_hub(part);
    bury(part);
    if (part->stubborn) {
        part->stubborn = NULL;
        snprintf(text, sizeof text,
                 "%s, created at %s:%d, would not end: it went on waiting %d times after "
                 "COIL_EEXIT; its stack is lost",
                 t->name, file_of(t), t->future.line, CORO_REFUSALS_MAX);
        coil__future_report(&t->future, "will-not-end", text, COIL_EEXIT, NULL);
    }
}

void coil__tasks_close(struct loop_part *p, coil_loop *loop)
{
    struct task_part *part = container_of(p, struct task_part, part);
    /* Children were created after their parents: the newest first. */
    struct coil_context *outer = coil__context_ptr;
    struct error_record *slot =
        coil__error_slot_ptr; /* the closer's: it may be a task of another loop */
    while (!list_empty(&part->tasks)) {
        struct coil__task *t = container_of(part->tasks.prev, struct coil__task, future.all);
        unwind(part, t);
    }
    coil__asyncgens_closing(loop);
    coil__context_ptr = outer;
    error_switch(slot);
    coil__future_abandon_outers(part);
    coil__future_drop_queued(part);
}
