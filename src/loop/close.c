/* SPDX-License-Identifier: MIT
 *
 * close.c: the end of a loop: everything it holds is given back, in an order that never pulls the
 * ground from under a frame that is still to unwind.
 *
 *     tasks unwind --> children, connections, files --> thread pools --> handles, watches, signals
 *       --> inbox --> ring --> backend
 *
 * While closing, the loop is current but does not turn: op->done and inbox nodes are still handled (a
 * frame may wait for the kernel's last word), slots are queued and never run.
 *
 * Runs on the thread that closes, which becomes the loop's. */
#include "base/error.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/thread.h"
#include "loop/loop.h"
#include "loop/slow.h"

/* Tasks first: their frames use everything else. */
static const int closing_order[LOOP_PARTS] = {LOOP_PART_TASK, LOOP_PART_PROC, LOOP_PART_NET,
                                              LOOP_PART_FILE, LOOP_PART_WORK, LOOP_PART_RUN};

static void drop_ready(struct coil_loop *loop)
{
    while (loop->head != loop->tail) {
        struct slot *slot = &loop->ring[loop->head++ & loop->mask];
        coil__context_map_unref(slot->map);
        slot->map = NULL;
    }
    loop->batch_end = loop->head;
}

static void drop_inbox(struct coil_loop *loop)
{
    /* Nodes own memory, so each is handled; what it queues goes with the rest of the ring. */
    struct inbox_node *node = coil__inbox_close(loop->inbox);
    while (node) {
        struct inbox_node *next = node->next;
        node->fn(node);
        node = next;
    }
}

int coil_loop_close(coil_loop *loop)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return COIL_ENOLOOP;
    if (loop->running)
        return (int)coil__fail(COIL_ERUNNING, "Cannot close a running event loop");
    if (loop->closed || loop->closing)
        return 0;
    if (loop_inherited(loop) || loop->process != process_number())
        return coil__loop_say_inherited(); /* coil_loop_fork_child is for that */

    /* While ops on files are under way, the kernel tells their end to the thread that began them alone. */
    if (loop->backend && !loop->clock.is_virtual &&
        loop->backend->cls->wait(loop->backend, 0) == COIL_EWRONGTHREAD)
        return (int)coil__fail(COIL_EWRONGTHREAD, "another thread's file operations are pending");

    struct coil_loop *outer = coil__running_loop;
    coil__slow_stop(loop);
    loop->closing = true;
    loop->thread = coil__thread_self();
    coil__running_loop = loop;
    for (int i = 0; i < LOOP_PARTS; i++) {
        struct loop_part *part = loop->parts[i];
        if (part && part->settle)
            part->settle(part, loop);
    }
    for (int i = 0; i < LOOP_PARTS; i++) {
        struct loop_part *part = loop->parts[closing_order[i]];
        if (part)
            part->closing(part, loop);
    }
    coil__handles_drop(loop);
    coil__watches_drop(loop);
    coil__signals_drop(loop);
    drop_inbox(loop);
    drop_ready(loop);
    coil__running_loop = outer;
    coil__loop_unset(loop);

    if (loop->backend) {
        struct op *op;
        while ((op = backend_reap(loop->backend)))
            op->done(op);
        drop_ready(loop);
        loop->backend->cls->close(loop->backend);
        loop->backend = NULL;
    }
    coil__heap_free(&loop->timers);
    coil__free(loop->ring);
    loop->ring = NULL;
    loop->mask = 0;
    loop->head = loop->tail = loop->batch_end = 0;
    coil__context_map_unref(loop->hub_context.map);
    loop->hub_context.map = NULL;
    coil__error_unref(loop->raised_error);
    loop->raised_error = NULL;
    loop->closing = false;
    loop->closed = true;
    coil__sight_remove(loop);
    return 0;
}

void coil_loop_free(coil_loop *loop)
{
    if (!loop || coil_loop_close(loop) < 0)
        return;
    for (int i = LOOP_PARTS - 1; i >= 0; i--)
        if (loop->parts[i])
            loop->parts[i]->release(loop->parts[i]);
    coil__inbox_unref(loop->inbox);
    coil__free(loop);
}

void coil_loop_fork_child(coil_loop *loop)
{
    if (!loop || loop->closed || loop->process == process_number())
        return;
    if (coil__running_loop == loop)
        coil__running_loop = NULL;
    /* The descriptors are shared with the parent: only our numbers for them go. Memory is the child's
     * copy; nothing in it is run, unwound or given back, since that would act on what the parent
     * still uses. */
    if (loop->backend && loop->backend->kernel_fd >= 0)
        sys_close(loop->backend->kernel_fd);
    sys_close(loop->inbox->wake_fd);
    loop->inbox->wake_fd = -1;
    loop->running = false;
    loop->closed = true;
}
