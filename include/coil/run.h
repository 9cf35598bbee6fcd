/* SPDX-License-Identifier: MIT
 *
 * coil/run.h: run a program: open a loop, run one coroutine, leave nothing behind.
 *
 *     int main(void) { return coil_report(coil_run(program, NULL)); }
 *
 * Five variables of the environment are read: COIL_BACKEND (auto, uring, epoll, poll, sim), COIL_DEBUG=1,
 * COIL_SEED (of the imaginary kernel), COIL_VIRTUAL_TIME=1 and COIL_QUIT_TREE=1. */
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
 * Ctrl-C, that is SIGINT, cancels this task; a second one ends the run as soon as the current callback returns; a
 * third one does what SIGINT does without us. So it is in the main thread, as long as the task runs, and if SIGINT has
 * its default action.
 *
 * With COIL_QUIT_TREE=1, or `quit_tree` in the options, SIGQUIT (Ctrl-\) ends nothing: the tasks are drawn on standard error,
 * as coil_loop_print_tree does, and the program goes on. If a step is under way, which may be one that never ends, it is said
 * at once whose; the drawing comes when the loop turns. So it is in the main thread, until the loop is closed, and if SIGQUIT
 * has its default action; a program that asks for SIGQUIT itself gets it instead.
 *
 *   Where:  a thread that runs no loop. A stack overflow in a task is told by name meanwhile.
 *   Errors: COIL_EINTERRUPTED when Ctrl-C ended it: the task was cancelled by nothing else, or the run was ended. A
 *           task that returns something else in spite of it is right. COIL_ERUNNING inside a running loop; -ENOMEM;
 *           -EINVAL for an unknown backend; COIL_EDEADLOCK when it is certain that nothing can ever wake the task
 *           again.
 *   asyncio: run */
COIL_API coil_ret coil_run(coil_fn fn, void *arg);

/* The same, with options; NULL means the defaults. */
COIL_API coil_ret coil_run_with(coil_fn fn, void *arg, const coil_run_opts *opts);

/* Several runs on one loop, which is made when it is first needed. What a run leaves behind goes on in the next
 * one; coil_runner_close ends it as coil_run does. */
typedef struct coil_runner coil_runner;

/* A runner whose loop will have these options (NULL: the defaults); they are copied. NULL when out of memory.
 * asyncio: Runner */
COIL_API coil_runner *coil_runner_new(const coil_run_opts *opts);

/* Run fn(arg) as a task of the runner's loop; its result or error. All runs share one context, a copy of that of who
 * first used the runner: what one sets, the next one sees. run_context: in `context` instead (NULL: as above).
 *
 *   Where:  a thread that runs no loop, the same each time.
 *   Errors: as coil_run; COIL_ECLOSED once the runner is closed.
 *   asyncio: Runner.run */
COIL_API coil_ret coil_runner_run(coil_runner *runner, coil_fn fn, void *arg);
COIL_API coil_ret coil_runner_run_context(coil_runner *runner, coil_fn fn, void *arg,
                                          coil_context *context);

/* The runner's loop, made now if need be; borrowed. NULL when it cannot be had, with the reason recorded.
 * asyncio: Runner.get_loop */
COIL_API coil_loop *coil_runner_get_loop(coil_runner *runner);

/* End what is left over, as at the end of coil_run, and close the loop. Before the first use this does nothing, and
 * twice is fine. In a child of fork it lets go of the parent's loop (coil_loop_fork_child).
 *
 *   Errors: COIL_ERUNNING inside a running loop.
 *   asyncio: Runner.close */
COIL_API int coil_runner_close(coil_runner *runner);

/* Give the runner up; closes it first if need be. NULL is fine. */
COIL_API void coil_runner_free(coil_runner *runner);

#ifdef __cplusplus
}
#endif
#endif
