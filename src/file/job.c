/* SPDX-License-Identifier: MIT
 *
 * job.c: waiting for one operation on a file: done on a thread, or by the backend.
 *
 *     submit --> parked --thread: call(job), post--> inbox --> woken
 *                  |
 *                  +-- cancelled, still queued: taken out, woken with -ECANCELED
 *                  +-- cancelled, running: asked to stop, stays parked until it is over
 *
 * Always true:
 *   - job and op lie in the frame that waits, and that frame goes on only after the thread's, or the kernel's, last
 *     word: nobody writes to the caller's memory afterwards;
 *   - a job with a waiter counts in loop->jobs;
 *   - who has been cancelled already starts nothing that could be taken back.
 *
 * Runs on the loop's thread, but for on_thread and finished. Elsewhere: the threads (io/threads.c). */
#include "file/file.h"

#include "base/check.h"
#include "base/error.h"

#include <stdio.h>

static struct file_job *job_of_wait(const struct wait *w)
{
    return container_of((uintptr_t)w, struct file_job, wait);
}

/* A cancel that is outstanding comes first; left to park, it would race with the thread. */
static coil_ret cancelled_before(const struct wait_class *cls)
{
    return coil_unlikely(coil__current()->must_cancel) && cls->cancel ? coil__yield() : 0;
}

/* ---- jobs ---- */

static void on_thread(struct job *j)
{
    struct file_job *job = container_of(j, struct file_job, job);
    job->call(job);
    job->ran = true;
}

static void finished(struct job *j)
{
    struct file_job *job = container_of(j, struct file_job, job);
    struct inbox *inbox = job->inbox;
    bool posted = coil__inbox_post(inbox, &job->node);
    COIL_CHECK(
        posted); /* a loop unwinds its tasks, and so waits for us, before it closes its inbox */
    coil__inbox_unref(inbox);
}

static void arrives(struct inbox_node *node)
{
    struct file_job *job = container_of(node, struct file_job, node);
    job->part->loop->jobs--;
    job->back = true;
    if (!job->unwound)
        coil__wake(&job->wait, job->gave_up ? -ECANCELED : 0);
}

/* True: it was queued, and is ours again. */
static bool take_out(struct file_job *job)
{
    if (!coil__pool_cancel(job->part->pool, &job->job))
        return false;
    coil__inbox_unref(job->inbox);
    job->part->loop->jobs--;
    job->back = true;
    return true;
}

bool coil__file_job_cancel(struct wait *w, const char *message)
{
    struct file_job *job = job_of_wait(w);
    if (take_out(job))
        return coil__wait_cancel_plain(w, message);
    atomic_store_explicit(&job->stop, true, memory_order_relaxed);
    return false;
}

static bool is_back(void *arg)
{
    const struct file_job *job = arg;
    return job->back;
}

void coil__file_job_abandon(struct wait *w)
{
    struct file_job *job = job_of_wait(w);
    job->unwound = true;
    atomic_store_explicit(&job->stop, true, memory_order_relaxed);
    if (!job->back && !take_out(job))
        coil__loop_settle(job->part->loop, is_back, job);
}

int coil__file_job_describe(const struct wait *w, char *out, size_t n)
{
    return snprintf(out, n, "%s", job_of_wait(w)->path);
}

coil_ret coil__file_job(struct file_part *part, struct file_job *job, const struct wait_class *cls)
{
    coil_ret rc = cancelled_before(cls);
    if (rc < 0)
        return rc;
    coil_loop *loop = part->loop;
    struct pool *pool;
    int err = coil__file_pool(part, &pool);
    job->told = err < 0;
    if (err < 0)
        return coil__fail_plain(err);
    job->job = (struct job){.run = on_thread, .finish = finished};
    job->wait = (struct wait)WAIT_INIT(cls);
    job->node.fn = arrives;
    job->part = part;
    job->inbox = coil__inbox_ref(loop->inbox);
    loop->jobs++;
    err = coil__pool_submit(pool, &job->job);
    if (err < 0) {
        loop->jobs--;
        coil__inbox_unref(job->inbox);
        job->told = true;
        return coil__fail(err, "%s '%.100s': no thread could be started", cls->what, job->path);
    }
    rc = coil__park(&job->wait);
    COIL_CHECK(job->back);
    return rc;
}

/* ---- ops ---- */

static struct file_op *op_of_wait(const struct wait *w)
{
    return container_of((uintptr_t)w, struct file_op, wait);
}

static void op_done(struct op *op)
{
    struct file_op *fo = container_of(op, struct file_op, op);
    bool interrupted = op->result == -ECANCELED && !fo->cancelled; /* the file was closed */
    coil__wake(&fo->wait, interrupted ? -EBADF : (coil_ret)op->result);
}

bool coil__file_op_cancel(struct wait *w, const char *message)
{
    struct file_op *fo = op_of_wait(w);
    struct backend *b = w->task->loop->backend;
    fo->cancelled = true;
    if (b->cls->cancel(b, &fo->op) == 0)
        return coil__wait_cancel_plain(w, message);
    return true; /* done() comes, with -ECANCELED or with what was quicker */
}

static bool is_settled(void *arg)
{
    const struct file_op *fo = arg;
    return fo->wait.woken;
}

void coil__file_op_abandon(struct wait *w)
{
    if (w->woken)
        return;
    if (w->cls->cancel)
        (void)coil__file_op_cancel(w, NULL);
    coil__loop_settle(w->task->loop, is_settled, op_of_wait(w));
}

int coil__file_op_describe(const struct wait *w, char *out, size_t n)
{
    return snprintf(out, n, "%s", op_of_wait(w)->path);
}

coil_ret coil__file_op(struct file_op *fo, const struct wait_class *cls)
{
    fo->op.result = -ECANCELED;
    coil_ret rc = cancelled_before(cls);
    if (rc < 0)
        return rc;
    struct coil__task *t = coil__current();
    struct backend *b = t->future.loop->backend;
    fo->wait = (struct wait)WAIT_INIT(cls);
    wait_belongs(&fo->wait, &t->future);
    fo->op.done = op_done;
    list_init(&fo->op.link);
    backend_submit(b, &fo->op);
    return coil__park(&fo->wait);
}
