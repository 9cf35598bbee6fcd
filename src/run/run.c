/* SPDX-License-Identifier: MIT
 *
 * run.c: open a loop, run one task, or several in turn, leave nothing behind.
 *
 *     new loop --> main task --> cancel and collect the others --> close generators --> join the threads --> close
 *
 * A runner is the same in three calls: the loop is made when it is first needed, and main tasks follow each other
 * on it. The way out is the same whatever the main task came to; its error is kept aside meanwhile, since
 * the thread's record speaks of the last failing call.
 *
 * The calling thread. Elsewhere: Ctrl-C (interrupt.c), what closing a loop does (loop/close.c). */
#include "run/run.h"

#include "base/env.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "coro/overflow.h"
#include "loop/loop.h"
#include "run/interrupt.h"
#include "run/quit.h"
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
                                      .fd = -1,
                                      .kind = "shutdown-error"};
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

/* ---- a runner ---- */

static const struct run_hooks no_hooks;

static void look(void (*hook)(coil_loop *loop, void *arg), coil_loop *loop, void *arg)
{
    if (hook)
        hook(loop, arg);
}

enum runner_state { RUNNER_NEW, RUNNER_OPEN, RUNNER_CLOSED };

/*     NEW --first use--> OPEN --close--> CLOSED          a close while NEW changes nothing */
struct coil_runner {
    enum runner_state state;
    coil_run_opts opts;    /* its backend is a copy */
    coil_loop *loop;       /* NULL unless OPEN */
    coil_context *context; /* what the runs share; NULL: each task gets a copy of its maker's */
    bool tells_overflow;
    struct interrupt interrupt;
    struct quit quit;
};

coil_runner *coil_runner_new(const coil_run_opts *opts)
{
    coil_run_opts own;
    opts = OPTS_READ(opts, own);
    size_t n = opts->backend ? strlen(opts->backend) + 1 : 0;
    coil_runner *runner = coil__zalloc(sizeof *runner + n);
    if (!runner) {
        coil__fail_plain(-ENOMEM);
        return NULL;
    }
    runner->opts = *opts;
    if (n)
        runner->opts.backend = memcpy(runner + 1, opts->backend, n);
    return runner;
}

static int open_runner(coil_runner *runner)
{
    if (runner->state == RUNNER_OPEN)
        return 0;
    if (runner->state == RUNNER_CLOSED)
        return (int)coil__fail(COIL_ECLOSED, "Runner is closed");
    coil_context *context = coil_copy_context();
    if (!context)
        return (int)coil__fail_plain(-ENOMEM);
    runner->loop = coil_new_event_loop(&runner->opts);
    if (!runner->loop) {
        coil_context_unref(context);
        return (int)coil_last_error()->code;
    }
    runner->context = context;
    runner->tells_overflow = !runner->opts.no_signals && coil__overflow_install() == 0;
    if (!runner->opts.no_signals && (runner->opts.quit_tree || coil__env_flag("COIL_QUIT_TREE")))
        coil__quit_install(&runner->quit, runner->loop);
    coil_set_event_loop(runner->loop);
    runner->state = RUNNER_OPEN;
    return 0;
}

coil_loop *coil_runner_get_loop(coil_runner *runner)
{
    if (!runner) {
        coil__fail(-EINVAL, "a runner is needed (NULL)");
        return NULL;
    }
    return open_runner(runner) < 0 ? NULL : runner->loop;
}

/* Nothing of `runner` is used when another loop runs here. */
static int may_run(const char *who, coil_fn fn)
{
    if (!fn)
        return (int)coil__fail(-EINVAL, "%s() needs a function", who);
    if (coil__running_loop)
        return (int)coil__fail(COIL_ERUNNING, "%s() cannot be called from a running event loop",
                               who);
    return 0;
}

static coil_ret run_main(coil_runner *runner, coil_fn fn, void *arg, coil_context *context)
{
    int err = open_runner(runner);
    if (err)
        return err;
    coil_task_opts opts = {
        .size = sizeof opts, .loop = runner->loop, .context = context ? context : runner->context};
    coil_task *task = coil_create_task_at("coil_run", 0, fn, arg, 0, &opts);
    if (!runner->opts.no_signals)
        coil__interrupt_install(&runner->interrupt, runner->loop, task);
    coil_ret rc = coil_loop_run_until_complete_future(runner->loop, task);
    if (!runner->opts.no_signals)
        rc = coil__interrupt_remove(&runner->interrupt, rc);
    coil_unref(task);
    return rc;
}

coil_ret coil_runner_run_context(coil_runner *runner, coil_fn fn, void *arg, coil_context *context)
{
    if (!runner)
        return coil__fail(-EINVAL, "a runner is needed (NULL)");
    int err = may_run("coil_runner_run", fn);
    return err ? err : run_main(runner, fn, arg, context);
}

coil_ret coil_runner_run(coil_runner *runner, coil_fn fn, void *arg)
{
    return coil_runner_run_context(runner, fn, arg, NULL);
}

/* The copies of the parent's tasks cannot be ended here. */
static void let_go_after_fork(coil_runner *runner)
{
    coil__quit_remove(&runner->quit);
    coil_loop_fork_child(runner->loop);
    runner->loop = NULL; /* its memory is full of what the parent uses */
}

static void end_loop(coil_runner *runner, const struct run_hooks *hooks)
{
    cancel_leftovers(runner->loop);
    shut_down_asyncgens(runner->loop);
    shut_down_executor(runner->loop);
    coil__quit_remove(&runner->quit);
    look(hooks->all_ended, runner->loop, hooks->arg);
    coil_loop_close(runner->loop);
    coil__leaks_tell(runner->loop);
    coil_loop_free(runner->loop);
    runner->loop = NULL;
}

static void close_runner(coil_runner *runner, const struct run_hooks *hooks)
{
    if (runner->state != RUNNER_OPEN)
        return;
    runner->state = RUNNER_CLOSED;
    if (loop_inherited(runner->loop))
        let_go_after_fork(runner);
    else
        end_loop(runner, hooks);
    coil_context_unref(runner->context);
    coil_set_event_loop(NULL);
    if (runner->tells_overflow)
        coil__overflow_remove();
}

int coil_runner_close(coil_runner *runner)
{
    if (!runner || runner->state != RUNNER_OPEN)
        return 0;
    if (coil__running_loop)
        return (int)coil__fail(COIL_ERUNNING,
                               "a runner cannot be closed from a running event loop");
    close_runner(runner, &no_hooks);
    return 0;
}

void coil_runner_free(coil_runner *runner)
{
    if (!runner || coil_runner_close(runner) < 0)
        return;
    coil__free(runner);
}

/* ---- one run ---- */

static _Thread_local coil_runner *one_run; /* NULL: none; for who leaves it in the middle */

void coil__run_forget(void)
{
    coil__interrupt_forget();
    if (one_run)
        coil__quit_remove(&one_run->quit);
    coil__free(one_run);
    one_run = NULL;
}

coil_ret coil__run(coil_fn fn, void *arg, const coil_run_opts *opts, const struct run_hooks *hooks)
{
    if (!hooks)
        hooks = &no_hooks;
    int err = may_run("coil_run", fn);
    if (err)
        return err;
    coil_runner *runner = coil_runner_new(opts);
    if (!runner)
        return -ENOMEM;
    one_run = runner;
    coil_ret rc = run_main(runner, fn, arg, NULL);
    struct error_record *error = coil_iserr(rc) ? coil__error_capture(rc) : NULL;
    if (runner->loop)
        look(hooks->main_ended, runner->loop, hooks->arg);
    close_runner(runner, hooks);
    one_run = NULL;
    coil__free(runner);
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
