/* SPDX-License-Identifier: MIT
 *
 * run.h: coil_run with places to look in, for the test harness. */
#ifndef COIL_RUN_RUN_H
#define COIL_RUN_RUN_H

#include <coil/run.h>

struct run_hooks {
    /* The main task has ended; what it left is still there. */
    void (*main_ended)(coil_loop *loop, void *arg);
    /* All tasks have ended, the loop is about to be closed. */
    void (*all_ended)(coil_loop *loop, void *arg);
    void *arg;
};

/* coil_run_with; hooks may be NULL. */
coil_ret coil__run(coil_fn fn, void *arg, const coil_run_opts *opts, const struct run_hooks *hooks);

/* It was left in the middle, by a longjmp: what it installed goes, and the loop is nobody's. */
void coil__run_forget(void);

#endif
