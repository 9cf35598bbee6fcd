/* SPDX-License-Identifier: MIT
 *
 * coil/run.h: run a program: open a loop, run one coroutine, leave nothing behind.
 *
 *     int main(void) { return coil_report(coil_run(program, NULL)); }
 *
 * Four variables of the environment are read: COIL_BACKEND (auto, uring, epoll, poll, sim), COIL_DEBUG=1,
 * COIL_SEED (of the imaginary kernel) and COIL_VIRTUAL_TIME=1. */
#ifndef COIL_RUN_H
#define COIL_RUN_H

#include <coil/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Run fn(arg) as a task of a new loop; its result or error. At the end, whatever it was: tasks that are left
 * over are cancelled and waited for (an error of theirs is reported, not returned), the default executor's
 * threads are waited for (300 s), and the loop is closed.
 *
 *   Where:  a thread that runs no loop. A stack overflow in a task is told by name meanwhile.
 *   Errors: COIL_ERUNNING inside a running loop; -ENOMEM; -EINVAL for an unknown backend; COIL_EDEADLOCK when
 *           it is certain that nothing can ever wake the task again.
 *   asyncio: run */
COIL_API coil_ret coil_run(coil_fn fn, void *arg);

/* The same, with options; NULL means the defaults. */
COIL_API coil_ret coil_run_with(coil_fn fn, void *arg, const coil_run_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
