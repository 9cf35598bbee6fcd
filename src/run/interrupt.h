/* SPDX-License-Identifier: MIT
 *
 * interrupt.h: Ctrl-C while a main task runs. */
#ifndef COIL_RUN_INTERRUPT_H
#define COIL_RUN_INTERRUPT_H

#include "loop/signal.h"

#include <coil/task.h>

/* In memory that outlives the run. */
struct interrupt {
    struct catcher catcher;
    coil_task *task;
    uint64_t position; /* in the ring while queued */
    bool queued;
    bool installed;
    bool asked; /* the task was asked to end */
};

/* From now on SIGINT ends `task`. Does nothing unless this is the main thread and SIGINT has its default action. */
void coil__interrupt_install(struct interrupt *in, coil_loop *loop, coil_task *task);

/* SIGINT does again what it did before. Returns what the run comes to: rc, or COIL_EINTERRUPTED if it was SIGINT alone
 * that ended it. One that came too late to end anything is sent
 * again, unless the task was cancelled anyway. */
coil_ret coil__interrupt_remove(struct interrupt *in, coil_ret rc);

/* The run was left in the middle, by a longjmp. */
void coil__interrupt_forget(void);

#endif
