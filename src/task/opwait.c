/* SPDX-License-Identifier: MIT
 *
 * opwait.c: waiting for one request to the kernel, and for a descriptor to be ready.
 *
 * The op lies in the parked frame, so the task stays parked until the backend's last word on it,
 * cancelled or not.
 *
 * Runs on the loop's thread. */
#include "task/task.h"

static void op_is_done(struct op *op)
{
    struct op_wait *ow = container_of(op, struct op_wait, op);
    coil_ret rc = (coil_ret)op->result;
    if (coil_unlikely(rc == -ECANCELED) && !ow->w.cancel_asked)
        rc = -EBADF; /* nobody asked for the end of it: the descriptor was forgotten, or closed */
    coil__wake(&ow->w, rc);
}

bool coil__op_wait_cancel(struct wait *w, const char *message)
{
    struct op_wait *ow = container_of(w, struct op_wait, w);
    struct backend *b = w->task->loop->backend;
    (void)message;
    if (b->cls->cancel(b, &ow->op) == 0)
        coil__wake(w, -ECANCELED);
    return true; /* else done() comes, with -ECANCELED or with what was quicker */
}

static bool op_settled(void *arg)
{
    const struct op_wait *ow = arg;
    return ow->w.woken;
}

void coil__op_wait_abandon(struct wait *w)
{
    struct op_wait *ow = container_of(w, struct op_wait, w);
    coil__op_wait_cancel(w, NULL);
    coil__loop_settle(w->task->loop, op_settled, ow);
}

coil_ret coil__op_await(struct op_wait *ow, const struct wait_class *cls)
{
    COIL_DCHECK(coil__can_wait() == 0);
    struct coil__task *t = coil__current();
    struct backend *b = coil__running_loop->backend;
    ow->w = (struct wait)WAIT_INIT(cls);
    wait_belongs(&ow->w, &t->future);
    ow->op.done = op_is_done;
    list_init(&ow->op.link);
    backend_submit(b, &ow->op);
    return coil__park(&ow->w);
}

static const struct wait_class fd_class = OP_WAIT_CLASS("fd");

coil_ret coil_wait_fd(int fd, unsigned events)
{
    if (!events || (events & ~(unsigned)(COIL_READ | COIL_WRITE)))
        return coil__fail(-EINVAL, "wait for COIL_READ, COIL_WRITE or both");
    int err = coil__can_wait();
    if (err)
        return err;
    struct backend *b = coil__running_loop->backend;
    err = b->cls->calls.watchable(b, fd);
    if (err)
        return coil__fail(err, "descriptor %d cannot be waited for: %s", fd, coil_strerror(err));
    struct op_wait ow = {.op = {.kind = OP_POLL, .fd = fd}};
    ow.op.events = (uint8_t)((events & COIL_READ ? OP_IN : 0) | (events & COIL_WRITE ? OP_OUT : 0));
    coil_ret rc = coil__op_await(&ow, &fd_class);
    if (rc < 0)
        return coil_last_error() && coil_last_error()->code == rc ? rc : coil__fail_plain(rc);
    return (rc & OP_IN ? COIL_READ : 0) | (rc & OP_OUT ? COIL_WRITE : 0);
}
