/* SPDX-License-Identifier: MIT
 *
 * run.c: open a loop, run one task, leave nothing behind.
 *
 *     new loop --> main task --> cancel and collect the others --> close generators --> join the threads --> close
 *
 * The way out is the same whatever the main task came to; its error is kept aside meanwhile, since
 * the thread's record speaks of the last failing call.
 *
 * The calling thread. Elsewhere: what closing a loop does (loop/close.c). */
#include "run/run.h"

#include "base/env.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "coro/overflow.h"
#include "loop/loop.h"
#include "task/task.h"
#include "work/work.h"

#include <coil/generator.h>

#include <string.h>

#define JOIN_THREADS_S 300.0 /* asyncio.constants.THREAD_JOIN_TIMEOUT */
enum { FEW_TASKS = 64 };

/* ---- leftovers ---- */

static void report_error_of(coil_loop *loop, coil_task *task)
{
    const coil_error *error = coil_future_cancelled(task) ? NULL : coil_future_exception(task);
    if (!error)
        return;
    coil_exception_context context = {.size = sizeof context,
                                      .message = "unhandled exception during coil_run() shutdown",
                                      .code = error->code,
                                      .error = error,
                                      .future = task,
                                      .task = task,
                                      .fd = -1};
    coil_loop_call_exception_handler(loop, &context);
}

/* A task that will not end keeps nobody: closing the loop unwinds it. */
static void collect(coil_loop *loop, coil_task *const *tasks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_task_cancel(tasks[i], NULL);
    for (size_t i = 0; i < n; i++) {
        if (!coil_future_done(tasks[i]))
            (void)coil_loop_run_until_complete_future(loop, tasks[i]);
        if (!coil_future_done(tasks[i]))
            break;
    }
    for (size_t i = 0; i < n; i++) {
        if (coil_future_done(tasks[i]))
            report_error_of(loop, tasks[i]);
        coil_unref(tasks[i]);
    }
}

/* As asyncio: those that live now; what they start while they end is left to the closing. */
static void cancel_leftovers(coil_loop *loop)
{
    coil_task *few[FEW_TASKS];
    size_t n = coil_all_tasks(loop, few, FEW_TASKS);
    if (n <= FEW_TASKS) {
        collect(loop, few, n);
        return;
    }
    coil_task **all = coil__alloc(n * sizeof *all);
    if (!all) { /* without memory the others are unwound */
        collect(loop, few, FEW_TASKS);
        return;
    }
    for (size_t i = 0; i < FEW_TASKS; i++)
        coil_unref(few[i]);
    coil_all_tasks(loop, all, n);
    collect(loop, all, n);
    coil__free(all);
}

static void run_to_its_end(coil_loop *loop, coil_fn fn)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = loop, .name = "coil_run shutdown"};
    coil_task *task = coil_create_task_opts(fn, NULL, &opts);
    (void)coil_loop_run_until_complete_future(loop, task);
    coil_unref(task);
}

static coil_ret close_asyncgens(void *arg)
{
    (void)arg;
    return coil_loop_shutdown_asyncgens(NULL);
}

static void shut_down_asyncgens(coil_loop *loop)
{
    if (coil__asyncgens_shut(loop) > 0)
        run_to_its_end(loop, close_asyncgens);
}

static coil_ret join_threads(void *arg)
{
    (void)arg;
    return coil_loop_shutdown_default_executor(NULL, JOIN_THREADS_S);
}

static void shut_down_executor(coil_loop *loop)
{
    struct loop_part *part = loop_part(loop, LOOP_PART_WORK);
    if (!part || !container_of(part, struct work_part, part)->executor)
        return;
    run_to_its_end(loop, join_threads);
}

/* ---- the whole ---- */

static void look(void (*hook)(coil_loop *loop, void *arg), coil_loop *loop, void *arg)
{
    if (hook)
        hook(loop, arg);
}

coil_ret coil__run(coil_fn fn, void *arg, const coil_run_opts *opts, const struct run_hooks *hooks)
{
    static const struct run_hooks no_hooks;
    if (!hooks)
        hooks = &no_hooks;
    if (!fn)
        return coil__fail(-EINVAL, "coil_run() needs a function");
    if (coil__running_loop)
        return coil__fail(COIL_ERUNNING, "coil_run() cannot be called from a running event loop");

    coil_run_opts own;
    opts = OPTS_READ(opts, own);
    coil_loop *loop = coil_new_event_loop(opts);
    if (!loop)
        return coil_last_error()->code;
    bool tells_overflow = !opts->no_signals && coil__overflow_install() == 0;
    coil_set_event_loop(loop);

    coil_task_opts task_opts = {.size = sizeof task_opts, .loop = loop};
    coil_task *task = coil_create_task_at("coil_run", 0, fn, arg, 0, &task_opts);
    coil_ret rc = coil_loop_run_until_complete_future(loop, task);
    struct error_record *error = coil_iserr(rc) ? coil__error_capture(rc) : NULL;
    coil_unref(task);

    look(hooks->main_ended, loop, hooks->arg);
    cancel_leftovers(loop);
    shut_down_asyncgens(loop);
    shut_down_executor(loop);
    look(hooks->all_ended, loop, hooks->arg);
    coil_loop_close(loop);
    coil_loop_free(loop);
    coil_set_event_loop(NULL);
    if (tells_overflow)
        coil__overflow_remove();

    if (coil_iserr(rc))
        coil__error_restore(error, rc);
    coil__error_unref(error);
    return rc;
}

coil_ret coil_run_with(coil_fn fn, void *arg, const coil_run_opts *opts)
{
    return coil__run(fn, arg, opts, NULL);
}

coil_ret coil_run(coil_fn fn, void *arg)
{
    return coil__run(fn, arg, NULL, NULL);
}
