/* SPDX-License-Identifier: MIT
 *
 * process.c: a child whose pipes are streams.
 *
 *     coil_process --+-- child: its end wakes `waiting`
 *                    +-- conns[0]: we hold both faces, users see the writer
 *                    +-- conns[1], [2]: users see the reader; the connection closes with the end of the stream
 *
 * Always true:
 *   - references: the users', one while the child runs, one for each call that waits in here;
 *   - with the users' last reference to one that runs, it is killed; the memory goes when it is reaped;
 *   - the end of the process and the end of its pipes are two things: who waits for one does not wait for the
 *     other.
 *
 * Runs on the loop's thread. Elsewhere: how it is run (child.c, spawn.c), what flows (net/). */
#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "base/probe.h"
#include "net/stream.h"
#include "proc/proc.h"
#include "sync/waiters.h"

#include <coil/group.h>

#include <signal.h>
#include <stdio.h>

struct coil_process {
    struct child child;
    uint32_t refs, users;        /* of `refs`, those that keep it from being killed */
    struct connection *conns[3]; /* NULL: no pipe */
    struct waiters waiting;
};

static coil_process *process_of(struct child *child)
{
    return container_of(child, coil_process, child);
}

/* ---- life ---- */

static void close_pipe(struct connection *conn)
{
    if (!conn)
        return;
    coil__connection_close(conn);
    coil_writer_unref(&conn->writer);
    coil_reader_unref(&conn->reader);
}

/* Now, not in a later turn: what could not be run leaves no descriptor behind. */
static void drop_pipe(struct connection *conn)
{
    if (!conn)
        return;
    coil__connection_abort(conn);
    coil_sock_close(conn->sock);
    close_pipe(conn);
}

static void unref(coil_process *process)
{
    if (--process->refs == 0)
        coil__free(process);
}

static void exited(struct child *child)
{
    coil_process *process = process_of(child);
    while (coil__waiters_wake(&process->waiting))
        ;
    unref(process);
}

static void loop_closes(struct child *child)
{
    unref(process_of(child));
}

static const struct child_class process_class = {.exited = exited, .loop_closes = loop_closes};

static void report_unclosed(const coil_process *process)
{
    char text[80];
    snprintf(text, sizeof text, "process %d was given up while it runs: it is killed",
             (int)process->child.id.pid);
    coil__loop_report(process->child.loop, "unclosed", text, 0, NULL, NULL);
}

/* Nobody can ask for it any more. */
static void abandon(coil_process *process)
{
    if (!process->child.exited && process->child.loop && process->child.loop->debug &&
        !process->child.loop->closing)
        report_unclosed(process);
    coil__child_kill(&process->child);
    for (int i = 0; i < 3; i++)
        close_pipe(process->conns[i]);
}

coil_process *coil_process_ref(coil_process *process)
{
    process->refs++;
    process->users++;
    return process;
}

void coil_process_unref(coil_process *process)
{
    if (!process)
        return;
    if (--process->users == 0)
        abandon(process);
    unref(process);
}

/* ---- making ---- */

static int connect_pipes(coil_process *process, struct child_pipes *pipes, size_t limit)
{
    for (int i = 0; i < 3; i++) {
        if (!pipes->socks[i])
            continue;
        int err = coil__connection_new(pipes->socks[i], limit, &process->conns[i]);
        if (err < 0)
            return err;
        pipes->socks[i] = NULL; /* the connection's */
        process->conns[i]->one_way = i > 0;
    }
    return 0;
}

static coil_ret start(struct proc_part *part, coil_process *process, struct child_plan *plan,
                      const coil_subprocess_opts *opts)
{
    struct child_pipes pipes;
    coil_ret rc = coil__pipes_open(part->loop, opts, plan, &pipes);
    if (rc < 0)
        return rc;
    rc = connect_pipes(process, &pipes, opts->limit);
    if (rc == 0)
        rc = coil__child_start(part, &process->child, &process_class, plan);
    coil__pipes_drop(&pipes); /* what is still ours of them */
    if (rc < 0)
        for (int i = 0; i < 3; i++)
            drop_pipe(process->conns[i]);
    return rc;
}

static coil_ret create(const char *const *argv, const char *command,
                       const coil_subprocess_opts *given, coil_process **out)
{
    coil_subprocess_opts own;
    const coil_subprocess_opts *opts = OPTS_READ(given, own);
    const char *shell_argv[4];
    struct child_plan plan;
    struct proc_part *part;
    coil_ret rc = coil__child_plan(argv, command, shell_argv, opts, &plan);
    if (rc == 0)
        rc = coil__yield();
    if (rc == 0)
        rc = coil__proc_part(coil__running_loop, &part);
    if (rc < 0)
        return rc;
    coil_process *process = coil__zalloc(sizeof *process);
    if (!process)
        return coil__fail_plain(-ENOMEM);
    rc = start(part, process, &plan, opts);
    if (rc < 0) {
        COIL_PROBE("a program cannot be begun");
        coil__free(process);
        return rc;
    }
    process->refs = 2;
    process->users = 1;
    *out = process;
    return 0;
}

coil_ret coil_create_subprocess_exec(const char *const *argv, const coil_subprocess_opts *opts,
                                     coil_process **out_process)
{
    int err = coil__can_wait();
    return err < 0 ? err : create(argv, NULL, opts, out_process);
}

coil_ret coil_create_subprocess_shell(const char *command, const coil_subprocess_opts *opts,
                                      coil_process **out_process)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (!command)
        return coil__fail(-EINVAL, "there is no command to run");
    return create(NULL, command, opts, out_process);
}

/* ---- asking ---- */

coil_writer *coil_process_stdin(coil_process *process)
{
    return process->conns[0] ? &process->conns[0]->writer : NULL;
}

coil_reader *coil_process_stdout(coil_process *process)
{
    return process->conns[1] ? &process->conns[1]->reader : NULL;
}

coil_reader *coil_process_stderr(coil_process *process)
{
    return process->conns[2] ? &process->conns[2]->reader : NULL;
}

pid_t coil_process_pid(const coil_process *process)
{
    return process->child.id.pid;
}

bool coil_process_returncode(const coil_process *process, int *out_returncode)
{
    if (process->child.exited && out_returncode)
        *out_returncode = process->child.returncode;
    return process->child.exited;
}

/* ---- signals ---- */

int coil_process_send_signal(coil_process *process, int signo)
{
    return coil__child_signal(&process->child, signo);
}

int coil_process_terminate(coil_process *process)
{
    return coil__child_signal(&process->child, SIGTERM);
}

int coil_process_kill(coil_process *process)
{
    return coil__child_signal(&process->child, SIGKILL);
}

/* ---- waiting ---- */

static int can_wait(const coil_process *process)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (process->child.loop != coil__running_loop)
        return (int)coil__fail(COIL_EWRONGLOOP, "this process belongs to a different event loop");
    return 0;
}

static int describe(const struct wait *w, char *out, size_t n)
{
    const coil_process *process = container_of((uintptr_t)waiter_line(w), coil_process, waiting);
    return snprintf(out, n, "process %d", (int)process->child.id.pid);
}

static const struct wait_class exit_class = {.what = "process",
                                             .cancel = coil__waiter_cancel,
                                             .describe = describe,
                                             .shows = SHOWS_PID,
                                             .at = offsetof(struct waiter, line),
                                             .then = (int)offsetof(coil_process, child.id.pid) -
                                                     (int)offsetof(coil_process, waiting)};

/* The caller keeps the process. */
static coil_ret wait_exited(coil_process *process)
{
    coil_ret rc = 0;
    while (rc == 0 && !process->child.exited) {
        struct waiter waiter;
        rc = coil__waiters_wait(&process->waiting, &waiter, &exit_class);
    }
    return rc;
}

coil_ret coil_process_wait(coil_process *process, int *out_returncode)
{
    int err = can_wait(process);
    if (err < 0)
        return err;
    process->refs++;
    coil_ret rc = wait_exited(process);
    if (rc == 0 && out_returncode)
        *out_returncode = process->child.returncode;
    unref(process);
    return rc;
}

/* ---- communicate ---- */

enum { FEED_PIECE = 64 * 1024 };

/* What a program does not want, it need not take. */
static coil_ret taken(coil_ret rc)
{
    return rc == -EPIPE || rc == -ECONNRESET ? 0 : rc;
}

struct feed {
    coil_writer *writer;
    const char *input;
    size_t n;
    bool over; /* not cancelled */
};

static coil_ret feed(void *arg)
{
    struct feed *f = arg;
    coil_ret rc = 0;
    for (size_t at = 0, n; rc == 0 && at < f->n; at += n) {
        n = f->n - at < FEED_PIECE ? f->n - at : FEED_PIECE;
        rc = coil_writer_write(f->writer, f->input + at, n);
        if (rc == 0)
            rc = coil_writer_drain(f->writer);
    }
    coil_writer_close(f->writer);
    rc = taken(rc);
    f->over = rc == 0;
    return rc;
}

struct drink {
    coil_reader *reader;
    const char *data;
    size_t n;
    bool over;
};

static coil_ret drink(void *arg)
{
    struct drink *d = arg;
    coil_ret rc = coil_reader_read_all(d->reader, 0, &d->data, &d->n);
    d->over = rc >= 0;
    return rc < 0 ? rc : 0;
}

/* All at once; a task for each but the last. A task that somebody cancels, having found it among all, is no error of the
 * group's, and yet what it was to do was not done. */
static coil_ret exchange(struct feed *f, struct drink *out, struct drink *err)
{
    struct {
        coil_fn fn;
        void *arg;
    } jobs[3];
    int n = 0;
    f->over = !f->writer || f->n == 0;
    out->over = !out->reader;
    err->over = !err->reader;
    if (f->writer && f->n == 0)
        coil_writer_close(f->writer);
    else if (f->writer)
        jobs[n].fn = feed, jobs[n++].arg = f;
    if (err->reader)
        jobs[n].fn = drink, jobs[n++].arg = err;
    if (out->reader)
        jobs[n].fn = drink, jobs[n++].arg = out;
    if (n <= 1)
        return n == 0 ? 0 : jobs[0].fn(jobs[0].arg);
    coil_task_group(group);
    coil_ret rc = 0;
    for (int i = 0; i < n - 1; i++)
        coil_group_create_task(&group, jobs[i].fn, jobs[i].arg);
    rc = jobs[n - 1].fn(jobs[n - 1].arg);
    rc = coil_group_exit(&group, rc);
    if (rc == 0 && !(f->over && out->over && err->over))
        rc = coil__fail_plain(-ECANCELED);
    return rc;
}

coil_ret coil_process_communicate(coil_process *process, const void *input, size_t n,
                                  coil_process_output *out_output)
{
    int err = can_wait(process);
    if (err < 0)
        return err;
    if (input && n > 0 && !process->conns[0])
        return coil__fail(-EINVAL,
                          "there is input, and no pipe to the process: `in` was not COIL_PIPE");
    struct feed f = {.writer = coil_process_stdin(process), .input = input, .n = input ? n : 0};
    struct drink d_out = {.reader = coil_process_stdout(process)};
    struct drink d_err = {.reader = coil_process_stderr(process)};
    coil_process_ref(process);
    coil_ret rc = exchange(&f, &d_out, &d_err);
    if (rc == 0)
        rc = wait_exited(process);
    if (rc == 0 && out_output)
        *out_output = (coil_process_output){
            .out = d_out.data, .out_n = d_out.n, .err = d_err.data, .err_n = d_err.n};
    coil_process_unref(process);
    return rc;
}
