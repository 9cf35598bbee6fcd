/* SPDX-License-Identifier: MIT
 *
 * quit.h: SIGQUIT shows what the tasks of a run do, if the program wants it. */
#ifndef COIL_RUN_QUIT_H
#define COIL_RUN_QUIT_H

#include "loop/signal.h"

/* In memory that outlives the loop's last turn. */
struct quit {
    struct catcher catcher;
    uint64_t position; /* in the ring while queued */
    bool queued;
    bool installed;
};

/* From now on SIGQUIT draws the tasks of the loop on standard error. Does nothing unless this is the main thread and SIGQUIT has its
 * default action. */
void coil__quit_install(struct quit *q, coil_loop *loop);
/* No more. The loop is still there. */
void coil__quit_remove(struct quit *q);

#endif
