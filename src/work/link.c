/* SPDX-License-Identifier: MIT
 *
 * link.c: futures of a loop that follow a thread future: wrap_future, run_in_executor.
 *
 *     [ thread future ] --done, any thread--> post --> inbox --> [ future ] is finished
 *             ^                                                      |
 *             '------------------------- cancel ---------------------'
 *
 * Between the two stands a `struct link`. It is on the thread future's list of callbacks, or on its
 * way through the inbox, or both sides have let go of it and it is freed. The future's side is the
 * loop's alone; the thread that fires it only posts.
 *
 * Always true:
 *   - link.future and followed.link point at each other, or both are NULL;
 *   - loop->jobs counts the links that may still post.
 *
 * The loop's thread, but for fire. Elsewhere: thread futures (thread_future.c), jobs (executor.c). */
#include "base/check.h"
#include "base/mem.h"
#include "work/work.h"

#include <string.h>

struct followed {
    coil_future future;
    struct link *link; /* NULL once it has arrived or was given up */
};

struct link {
    struct list of_loop; /* work_part.links while there is a future */
    struct thread_callback cb;
    struct inbox_node node;
    struct inbox *inbox;               /* counted; whoever posts gives it up */
    coil_loop *loop;                   /* valid as long as the inbox takes posts */
    coil_thread_future *thread_future; /* counted */
    coil_future *future;               /* counted, the loop's thread only; NULL: given up */
};

static struct followed *as_followed(coil_future *f)
{
    return (struct followed *)f;
}

static void free_link(struct link *link)
{
    coil_thread_future_unref(link->thread_future);
    coil__free(link);
}

/* On the thread that finished the thread future. */
static void fire(struct thread_callback *cb, coil_thread_future *thread_future)
{
    struct link *link = container_of(cb, struct link, cb);
    struct inbox *inbox = link->inbox;
    if (!coil__inbox_post(inbox, &link->node))
        free_link(link); /* the loop has closed, and let go of its side then */
    coil__inbox_unref(inbox);
}

/* The loop's side lets go; the future is given back last, since it may be the last reference. */
static void forget_future(struct link *link)
{
    coil_future *f = link->future;
    link->future = NULL;
    as_followed(f)->link = NULL;
    list_remove(&link->of_loop);
    coil_unref(f);
}

static void arrives(struct inbox_node *node)
{
    struct link *link = container_of(node, struct link, node);
    link->loop->jobs--;
    if (link->future) {
        struct error_record *error;
        coil_ret result = coil__thread_future_take(link->thread_future, &error);
        if (!future_done(link->future))
            coil__future_finish(link->future, result, error);
        else
            coil__error_unref(error);
        forget_future(link);
    }
    free_link(link);
}

/* Nobody waits for what the thread future will come to. */
static void give_up(struct link *link)
{
    forget_future(link);
    if (!coil__thread_future_unwatch(link->thread_future, &link->cb))
        return; /* it is on its way through the inbox */
    link->loop->jobs--;
    coil__inbox_unref(link->inbox);
    free_link(link);
}

static bool followed_cancel(coil_future *f, const char *message)
{
    struct link *link = as_followed(f)->link;
    if (!coil_thread_future_cancel(link->thread_future)) {
        if (link->thread_future->lent)
            return false; /* whoever waits keeps the memory of the running job alive by waiting on */
        if (f->free_result)
            coil_thread_future_set_free_result(link->thread_future, f->free_result);
    }
    coil__future_finish(f, -ECANCELED, coil__error_cancelled(message));
    give_up(link);
    return true;
}

static const struct future_class followed_class = {.name = "Future", .cancel = followed_cancel};

coil_future *coil__link_new(const char *file, int line, coil_loop *loop,
                            coil_thread_future *thread_future)
{
    struct work_part *part = coil__work_part(loop);
    if (!part)
        return coil__future_failed(-ENOMEM);
    struct link *link = coil__zalloc(sizeof *link);
    if (!link)
        goto no_memory;
    coil_future *f = coil__future_new(loop, &followed_class, sizeof(struct followed), file, line);
    if (!f)
        goto undo_link;
    link->cb.fire = fire;
    link->node.fn = arrives;
    link->inbox = coil__inbox_ref(loop->inbox);
    link->loop = loop;
    link->thread_future = coil_thread_future_ref(thread_future);
    link->future = coil_ref(f);
    as_followed(f)->link = link;
    coil__mutex_lock(&thread_future->lock);
    f->free_result = thread_future->free_result;
    coil__mutex_unlock(&thread_future->lock);
    list_push(&part->links, &link->of_loop);
    loop->jobs++;
    coil__thread_future_watch(thread_future, &link->cb);
    return f;

undo_link:
    coil__free(link);
no_memory:
    return coil__future_failed(coil__fail_plain(-ENOMEM));
}

/* Does its job use memory that somebody who waits for it may hold? */
static bool keeps_frames(const struct link *link)
{
    return link->thread_future->lent && !future_done(link->future) &&
           !list_empty(&link->future->callbacks);
}

void coil__links_settle(struct work_part *part)
{
    /* What fires now only posts: the list stays as it is. */
    LIST_FOREACH(l, &part->links) {
        struct link *link = container_of(l, struct link, of_loop);
        if (keeps_frames(link) && !coil_thread_future_cancel(link->thread_future))
            coil__thread_future_join(link->thread_future);
    }
}

void coil__links_close(struct work_part *part)
{
    while (!list_empty(&part->links)) {
        struct link *link = container_of(list_first(&part->links), struct link, of_loop);
        /* What it was lent may have gone with the frames that were unwound. */
        if (link->thread_future->lent)
            (void)coil_thread_future_cancel(link->thread_future);
        give_up(link);
    }
}

/* ---- the public calls ---- */

coil_future *coil_wrap_future_at(const char *file, int line, coil_thread_future *thread_future,
                                 coil_loop *loop)
{
    if (!(loop = coil__loop_use_current(loop)))
        return coil__future_failed(coil_last_error()->code);
    if (!thread_future)
        return coil__future_failed(coil__fail(-EINVAL, "there is no thread future (NULL)"));
    return coil__link_new(file, line, loop, thread_future);
}

/* `ask` as coil__submission_new takes it. */
static coil_future *run_in_executor(const char *file, int line, coil_loop *loop,
                                    coil_executor *executor, const struct work *ask)
{
    int err = coil__executor_use(loop, executor, &executor);
    if (err) {
        coil__context_map_unref(ask->map);
        return coil__future_failed(err);
    }
    coil_thread_future *job = coil__submission_new(executor, ask);
    coil_executor_unref(executor);
    if (!job)
        return coil__future_failed(coil_last_error()->code);
    coil_future *f = coil__link_new(file, line, loop, job);
    if (f->immortal)
        coil__submission_forgo(job);
    else
        coil__submission_start(job);
    coil_thread_future_unref(job);
    return f;
}

coil_future *coil_run_in_executor_at(const char *file, int line, coil_loop *loop,
                                     coil_executor *executor, coil_fn fn, const void *args,
                                     size_t copy)
{
    if (!(loop = coil__loop_use_current(loop)))
        return coil__future_failed(coil_last_error()->code);
    int err = coil__work_check(fn != NULL, args, copy);
    if (err < 0)
        return coil__future_failed(err);
    return run_in_executor(
        file, line, loop, executor,
        &(struct work){.fn = fn, .arg = (void *)(uintptr_t)args, .copied = copy});
}

coil_future *coil_run_bytes_in_executor_at(const char *file, int line, coil_loop *loop,
                                           coil_executor *executor, coil_bytes_fn fn,
                                           const void *in, size_t n, size_t room)
{
    if (!(loop = coil__loop_use_current(loop)))
        return coil__future_failed(coil_last_error()->code);
    int err = coil__work_check(fn != NULL, in, n);
    if (err < 0)
        return coil__future_failed(err);
    struct work ask;
    coil__work_of_bytes(&ask, fn, in, n, room);
    return run_in_executor(file, line, loop, executor, &ask);
}

coil_ret coil_to_executor(coil_executor *executor, coil_bytes_fn fn, const void *in, size_t n,
                          void *out, size_t room)
{
    int err = coil__can_wait();
    if (err)
        return err;
    if (room > 0 && !out)
        return coil__fail(-EINVAL, "there is no room for the answer (NULL)");
    coil_ret rc = coil_join(
        coil_run_bytes_in_executor_at(NULL, 0, NULL, executor, fn, in, n, room));
    if (coil_iserr(rc))
        return rc;
    coil_bytes *bytes = (coil_bytes *)rc;
    rc = (coil_ret)bytes->n;
    if (rc > 0)
        memcpy(out, bytes->data, bytes->n);
    coil_bytes_free(bytes);
    return rc;
}

coil_ret coil_to_thread_copy(coil_fn fn, const void *args, size_t n)
{
    int err = coil__can_wait();
    if (err == 0)
        err = coil__work_check(fn != NULL, args, n);
    if (err)
        return err;
    struct context_map *map, *now = context_capture();
    err = coil__context_map_clone(now, &map);
    coil__context_map_unref(now);
    if (err)
        return coil__fail_plain(err);
    return coil_join(run_in_executor(
        NULL, 0, coil__running_loop, NULL,
        &(struct work){.fn = fn, .arg = (void *)(uintptr_t)args, .copied = n, .map = map}));
}
