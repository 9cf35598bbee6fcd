/* SPDX-License-Identifier: MIT
 *
 * interrupt.c: the first, the second and the third Ctrl-C.
 *
 *     1   the main task is cancelled, and its clean-up code runs
 *     2   the run ends after the current callback (coil_loop_raise); what is left is cancelled and collected
 *     3   does what SIGINT did before, that is, it kills: the way out of a program that never comes back to its loop
 *
 * The run that was ended says COIL_EINTERRUPTED, if the main task was cancelled by nothing else. One that returned a
 * result in spite of it keeps the result.
 *
 * The loop's thread, which is the program's main one; the counting is the handler's (loop/signal.c). */
#include "run/interrupt.h"

#include "base/error.h"
#include "base/sys.h"

enum { LAST_CAUGHT = 2 };

/* Set while one is installed: only the main thread has them, and runs do not nest. */
static struct interrupt *installed_one;

static void push(struct interrupt *in);

static void interrupted(void *arg)
{
    struct interrupt *in = arg;
    in->queued = false;
    if (coil_future_done(in->task))
        return; /* too late for this run: it waits for coil__interrupt_remove */
    if (coil__signal_take(&in->catcher) > 0)
        push(in);
    if (!in->asked) {
        in->asked = true;
        coil_task_cancel(in->task, "SIGINT");
        return;
    }
    coil__fail_plain(COIL_EINTERRUPTED);
    coil_loop_raise(in->catcher.loop, COIL_EINTERRUPTED);
}

static void push(struct interrupt *in)
{
    in->queued = true;
    loop_push(in->catcher.loop, interrupted, in, NULL);
    in->position = loop_last_position(in->catcher.loop);
}

static void told(struct inbox_node *node)
{
    push(container_of(node, struct interrupt, catcher.node));
}

void coil__interrupt_install(struct interrupt *in, coil_loop *loop, coil_task *task)
{
    *in = (struct interrupt){.task = task,
                             .catcher = {.node.fn = told,
                                         .loop = loop,
                                         .signo = SIGINT,
                                         .most = LAST_CAUGHT,
                                         .lasts = LAST_CAUGHT,
                                         .yields = true}};
    if (sys_gettid() != sys_getpid() || !coil__signal_is_default(SIGINT) ||
        coil__loop_hold(loop, 1) < 0)
        return;
    in->installed = coil__signal_catch(&in->catcher) == 0;
    if (in->installed)
        installed_one = in;
    else
        loop_release(loop, 1);
}

coil_ret coil__interrupt_remove(struct interrupt *in, coil_ret rc)
{
    if (!in->installed)
        return rc;
    coil__signal_let_go(&in->catcher);
    in->installed = false;
    installed_one = NULL;
    if (in->queued)
        coil__loop_unpush(in->catcher.loop, in->position);
    loop_release(in->catcher.loop, 1);
    bool cancelled = coil_future_cancelled(in->task);
    if (in->asked && cancelled && coil_task_uncancel(in->task) == 0)
        rc = coil__fail_plain(COIL_EINTERRUPTED);
    /* Who pressed the keys wanted an end, and that is what a cancelled program comes to. */
    if (atomic_load(&in->catcher.came) && !cancelled && rc != COIL_EINTERRUPTED)
        (void)raise(SIGINT);
    return rc;
}

void coil__interrupt_forget(void)
{
    if (installed_one)
        (void)coil__interrupt_remove(installed_one, COIL_EINTERRUPTED);
}
