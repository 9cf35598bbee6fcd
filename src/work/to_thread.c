/* SPDX-License-Identifier: MIT
 *
 * to_thread.c: wait in place for a function that runs on a thread.
 *
 *     submit --> parked --thread: fn(arg), post--> inbox --> woken with the result
 *                  |
 *                  +-- cancelled, still queued: taken out, woken with -ECANCELED
 *                  +-- cancelled, running: stays parked; the result is kept, the cancel comes after
 *
 * Everything lies in the frame of the parked task. The thread writes the result there, posts the
 * node, and touches the frame no more; so the frame may end once the loop has handled the node, or
 * the work was taken out of the queue: never before.
 *
 * The loop's thread, but for on_thread and finished. Elsewhere: the copying form (link.c). */
#include "base/check.h"
#include "work/work.h"

#include <string.h>

struct to_thread {
    struct work work;
    struct wait wait;
    struct inbox_node node;
    struct inbox *inbox; /* counted; the work's, so that the post ends before it is gone */
    coil_loop *loop;
    coil_executor *executor; /* counted */
    bool ran;                /* fn was called: what it left in `error` counts */
    bool back;               /* the node has been handled, or the work taken out */
    bool unwound;            /* nobody is to be woken */
    struct error_record error;
    char owner[ERROR_NAME_MAX]; /* a copy: the task may be renamed meanwhile */
};

static struct to_thread *of_work(struct work *work)
{
    return container_of(work, struct to_thread, work);
}

static void on_thread(struct job *job)
{
    struct to_thread *t = of_work(container_of(job, struct work, job));
    coil__work_call(&t->work, t->executor);
    t->ran = true;
}

static void finished(struct job *job)
{
    struct to_thread *t = of_work(container_of(job, struct work, job));
    struct inbox *inbox = t->inbox;
    bool posted = coil__inbox_post(inbox, &t->node);
    COIL_CHECK(
        posted); /* a loop unwinds its tasks, and so waits for us, before it closes its inbox */
    coil__inbox_unref(inbox);
}

static void dropped(struct work *work)
{
    coil__context_map_unref(work->map);
    work->map = NULL;
    work->result = -ECANCELED;
    finished(&work->job);
}

static void arrives(struct inbox_node *node)
{
    struct to_thread *t = container_of(node, struct to_thread, node);
    t->loop->jobs--;
    t->back = true;
    if (!t->unwound)
        coil__wake(&t->wait, t->work.result);
}

/* True: it was queued, and is ours again. */
static bool take_out(struct to_thread *t)
{
    if (!t->executor->cls->cancel(t->executor, &t->work))
        return false;
    coil__context_map_unref(t->work.map);
    coil__inbox_unref(t->inbox);
    t->loop->jobs--;
    t->back = true;
    return true;
}

static bool cancel(struct wait *w, const char *message)
{
    struct to_thread *t = container_of(w, struct to_thread, wait);
    return take_out(t) && coil__wait_cancel_plain(w, message);
}

static bool is_back(void *arg)
{
    const struct to_thread *t = arg;
    return t->back;
}

static void abandon(struct wait *w)
{
    struct to_thread *t = container_of(w, struct to_thread, wait);
    t->unwound = true;
    if (!t->back && !take_out(t))
        coil__loop_settle(t->loop, is_back, t);
}

static const struct wait_class to_thread_class = {
    .what = "thread",
    .cancel = cancel,
    .abandon = abandon,
    .keeps = true,
};

static int submit(struct to_thread *t)
{
    coil_loop *loop = t->loop;
    struct context_map *map = context_capture();
    int err = coil__context_map_clone(map, &t->work.map);
    coil__context_map_unref(map);
    if (err)
        return (int)coil__fail_plain(err);
    err = coil__executor_use(loop, NULL, &t->executor);
    if (err)
        goto undo_map;
    t->inbox = coil__inbox_ref(loop->inbox);
    loop->jobs++;
    err = t->executor->cls->submit(t->executor, &t->work);
    if (err)
        goto undo_job;
    return 0;
undo_job:
    coil__fail(err, err == COIL_ESHUTDOWN ? "the executor was shut down and takes no more jobs"
                                          : "no thread could be started for a job");
    loop->jobs--;
    coil__inbox_unref(t->inbox);
    coil_executor_unref(t->executor);
undo_map:
    coil__context_map_unref(t->work.map);
    return err;
}

coil_ret coil_to_thread(coil_fn fn, void *arg)
{
    int err = coil__can_wait();
    if (err == 0)
        err = coil__work_check(fn != NULL, NULL, 0);
    if (err)
        return err;
    struct to_thread t = {
        .work = {.fn = fn, .arg = arg, .dropped = dropped},
        .wait = WAIT_INIT(&to_thread_class),
        .node.fn = arrives,
        .loop = coil__running_loop,
    };
    strncpy(t.owner, coil_task_get_name(&coil__current()->future), sizeof t.owner - 1);
    coil__error_init(&t.error, t.owner);
    t.work.slot = &t.error;
    t.work.job.run = on_thread;
    t.work.job.finish = finished;
    err = submit(&t);
    if (err)
        return err;

    coil_ret rc = coil__park(&t.wait);
    COIL_CHECK(t.back);
    if (t.ran && coil_iserr(rc))
        coil__error_restore(t.error.pub.code == rc ? &t.error : NULL, rc);
    coil__error_clear(&t.error);
    coil_executor_unref(t.executor);
    return rc;
}
