/* SPDX-License-Identifier: MIT
 *
 * call.c: coroutines started in a loop from another thread: run_coroutine_threadsafe.
 *
 *     other thread        loop's thread
 *     POSTED --inbox----> QUEUED --its slot--> RUNNING: a task --done--> ENDED, the thread future is set
 *        any moment: cancel makes the thread future CANCELLED and, while RUNNING, posts once more
 *
 * A call is the thread future and all that belongs to it. It has a reference for the caller, one for
 * the loop from the post until ENDED, and one for a posted cancel.
 *
 * Always true:
 *   - the stage changes on the loop's thread, under the future's lock;
 *   - from RUNNING on the call holds a room in the ring, so that the end of the task cannot go unheard.
 *
 * Elsewhere: what a thread future is (thread_future.c), when a loop closes (part.c). */
#include "base/check.h"
#include "base/mem.h"
#include "work/work.h"

#include <string.h>

enum stage { CALL_POSTED, CALL_QUEUED, CALL_RUNNING, CALL_ENDED };

struct call {
    coil_thread_future future;
    struct list of_loop; /* work_part.calls from QUEUED to ENDED */
    struct inbox_node node;
    coil_loop *loop; /* valid until ENDED */
    enum stage stage;
    bool cancel_told; /* under the lock, too: somebody tells the task, and nobody else does */
    coil_task *task;  /* counted; from RUNNING to ENDED */
    struct future_callback watch;
    struct context_map *map; /* the caller's, cloned; the slot's from QUEUED on */
    const char *file;
    int line;
    coil_fn fn;
    const void *arg;
    size_t copied;
    _Alignas(max_align_t) char args[];
};

static struct call *as_call(coil_thread_future *future)
{
    return (struct call *)future;
}

static void move(struct call *c, enum stage stage)
{
    coil__mutex_lock(&c->future.lock);
    COIL_CHECK(stage > c->stage);
    c->stage = stage;
    coil__mutex_unlock(&c->future.lock);
}

/* ---- the end ---- */

/* The loop is through with it. `error` is taken over. */
static void end(struct call *c, coil_ret result, struct error_record *error)
{
    bool had_task = c->task != NULL;
    move(c, CALL_ENDED);
    list_remove(&c->of_loop);
    coil__context_map_unref(c->map);
    c->map = NULL;
    if (had_task) {
        future_unwatch(&c->watch);
        coil_unref(c->task);
        c->task = NULL;
        loop_release(c->loop, 1);
    }
    if (result == -ECANCELED) {
        coil__error_unref(error);
        coil__thread_future_drop(&c->future);
    } else if (coil__thread_future_start(&c->future) == 1) {
        (void)coil__thread_future_finish(&c->future, result, error);
    } else {
        coil__error_unref(error); /* cancelled from outside: nobody is waiting for it */
    }
    coil_thread_future_unref(&c->future);
}

static void end_failed(struct call *c, coil_ret error)
{
    end(c, error, coil__error_capture(error));
}

static void end_with_task(struct call *c)
{
    coil_ret result = c->task->result;
    end(c, result, coil__future_take_error(c->task));
}

static void task_ended(void *arg)
{
    end_with_task(arg);
}

static void watch_fire(struct future_callback *cb, coil_future *f)
{
    struct call *c = container_of(cb, struct call, watch);
    loop_push(c->loop, task_ended, c, NULL);
}

/* ---- the beginning, on the loop's thread ---- */

static bool is_cancelled(struct call *c)
{
    return coil_thread_future_cancelled(&c->future);
}

/* Is there a task that has to be told that the future was cancelled? True to one who asks. */
static bool tells_cancel(struct call *c)
{
    coil__mutex_lock(&c->future.lock);
    bool tells = c->stage == CALL_RUNNING && c->future.state == COIL_THREAD_CANCELLED &&
                 !c->cancel_told;
    c->cancel_told |= tells;
    coil__mutex_unlock(&c->future.lock);
    return tells;
}

static void start(void *arg)
{
    struct call *c = arg;
    if (is_cancelled(c)) {
        end(c, -ECANCELED, NULL);
        return;
    }
    if (coil__loop_hold(c->loop, 1) < 0) {
        end_failed(c, coil__fail_plain(-ENOMEM));
        return;
    }
    coil_task_opts opts = {.size = sizeof opts, .loop = c->loop};
    coil_task *task = coil_create_task_at(c->file, c->line, c->fn, c->copied ? c->args : c->arg,
                                          c->copied, &opts);
    if (task->immortal) { /* it could not be made */
        loop_release(c->loop, 1);
        end_failed(c, task->result);
        return;
    }
    c->task = task;
    move(c, CALL_RUNNING);
    /* Whoever cancelled it before this saw no task to tell; who looks from now on, posts. */
    if (tells_cancel(c))
        coil_task_cancel(c->task, NULL);
    c->watch.fire = watch_fire;
    coil__future_watch(c->task, &c->watch);
}

static void arrives(struct inbox_node *node)
{
    struct call *c = container_of(node, struct call, node);
    coil_loop *loop = c->loop;
    if (loop->closing) {
        end_failed(c, coil__fail_plain(COIL_ECLOSED));
        return;
    }
    struct work_part *part = coil__work_part(loop);
    if (!part || loop_push_new(loop, start, c, c->map) < 0) {
        end_failed(c, coil__fail_plain(-ENOMEM));
        return;
    }
    c->map = NULL;
    list_push(&part->calls, &c->of_loop);
    move(c, CALL_QUEUED);
}

void coil__calls_close(struct work_part *part)
{
    while (!list_empty(&part->calls)) {
        struct call *c = container_of(list_first(&part->calls), struct call, of_loop);
        if (c->task && future_done(c->task))
            end_with_task(c);
        else
            end_failed(c, coil__fail(COIL_ECLOSED,
                                     "the event loop was closed before the coroutine began"));
    }
}

/* ---- cancelling, from any thread ---- */

static void cancel_arrives(struct inbox_node *node)
{
    struct call *c = container_of(node, struct call, node);
    if (c->stage == CALL_RUNNING)
        coil_task_cancel(c->task, NULL);
    coil_thread_future_unref(&c->future);
}

static void call_cancelled(coil_thread_future *future)
{
    struct call *c = as_call(future);
    if (!tells_cancel(c))
        return;
    /* The node has done its first errand, and a future is cancelled once. */
    c->node.fn = cancel_arrives;
    coil_thread_future_ref(future);
    if (!coil__inbox_post(future->home, &c->node))
        coil_thread_future_unref(future);
}

static void call_destroy(coil_thread_future *future)
{
    coil__thread_future_fini(future);
    coil__free(as_call(future));
}

static const struct thread_future_class call_class = {
    .cancelled = call_cancelled,
    .destroy = call_destroy,
};

/* ---- the caller's side ---- */

static struct call *new_call(coil_loop *loop, coil_fn fn, const void *arg, size_t copy)
{
    struct call *c = copy < SIZE_MAX / 2 ? coil__zalloc(sizeof *c + copy) : NULL;
    if (!c)
        return NULL;
    if (coil__context_map_clone(coil__context_current()->map, &c->map) < 0) {
        coil__free(c);
        return NULL;
    }
    coil__thread_future_init(&c->future, &call_class, 2);
    list_init(&c->of_loop);
    list_init(&c->watch.link);
    c->future.home = coil__inbox_ref(loop->inbox);
    c->node.fn = arrives;
    c->loop = loop;
    c->fn = fn;
    c->arg = arg;
    c->copied = copy;
    if (copy > 0)
        memcpy(c->args, arg, copy);
    return c;
}

coil_thread_future *coil_run_coroutine_threadsafe_at(const char *file, int line, coil_loop *loop,
                                                     coil_fn fn, const void *arg, size_t copy)
{
    int err = coil__work_check(fn != NULL, arg, copy);
    if (err == 0 && !loop && !(loop = coil_get_event_loop()))
        err = (int)coil__fail(COIL_ENOLOOP, "there is no event loop to run the coroutine");
    if (err < 0)
        return coil__thread_future_failed(err);
    struct call *c = new_call(loop, fn, arg, copy);
    if (!c)
        return coil__thread_future_no_memory();
    c->file = file;
    c->line = line;
    if (!coil__inbox_post(c->future.home, &c->node))
        end_failed(c, coil__fail_plain(COIL_ECLOSED));
    return &c->future;
}
