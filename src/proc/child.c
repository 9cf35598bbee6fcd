/* SPDX-License-Identifier: MIT
 *
 * child.c: one child: started, signalled, watched until its end, reaped once.
 *
 *     start --> RUNS --pidfd readable, or its watcher posts--> slot: waitid --> exited()
 *                 |                                              |
 *                 +--loop closes: killed, waited for, reaped     +-- not over after all: watched again, by a thread
 *                                                                    if the pidfd could not be watched
 *
 * Always true:
 *   - a child is in its part's list until it has been reaped, and reaped by nobody but this file: until then its number
 *     cannot mean another process, so that a signal goes where it should with or without a pidfd;
 *   - while a real child runs, virtual time goes like real time: it may act at any moment.
 *
 * Runs on the loop's thread, but for watch_on_thread. Elsewhere: how it begins (spawn.c). */
#include "proc/proc.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/probe.h"
#include "base/sys.h"

#include <poll.h>
#include <stdio.h>

#ifdef __GLIBC__
#define BY_PIDFD P_PIDFD
#else
#define BY_PIDFD ((idtype_t)3)
#endif

enum { LAST_WAIT_S = 5 }; /* how long a closing loop waits for a killed child */

static struct backend *backend_of(const struct child *child)
{
    return child->loop->backend;
}

/* ---- its end ---- */

static int code_of(const siginfo_t *info)
{
    return info->si_code == CLD_EXITED ? info->si_status : -info->si_status;
}

static int wait_for(const struct child_id *id, siginfo_t *info, int options)
{
    int rc = -EINVAL;
    info->si_pid = 0;
    if (id->fd >= 0)
        rc = sys_waitid(BY_PIDFD, (id_t)id->fd, info, options);
    if (rc == -EINVAL) /* before Linux 5.4 */
        rc = sys_waitid(P_PID, (id_t)id->pid, info, options);
    return rc;
}

static int reap_real(const struct child_id *id, int options, int *out_code)
{
    siginfo_t info;
    int rc;
    do
        rc = wait_for(id, &info, WEXITED | options);
    while (rc == -EINTR);
    if (rc == 0 && info.si_pid == 0)
        return -EAGAIN;
    if (rc == 0)
        *out_code = code_of(&info);
    return rc;
}

static int reap(struct child *child, int *out_code)
{
    struct backend *b = backend_of(child);
    if (child->id.imaginary)
        return b->cls->children->reap(b, &child->id, out_code);
    return reap_real(&child->id, WNOHANG, out_code);
}

/* Nothing of it is left with the kernel. */
static void is_over(struct child *child, int rc, int code)
{
    struct backend *b = backend_of(child);
    child->exited = true;
    child->returncode = rc < 0 ? CHILD_LOST : code;
    list_remove(&child->link);
    loop_release(child->loop, 1);
    if (!child->id.imaginary)
        child->loop->wakers--;
    if (child->id.fd >= 0)
        (void)b->cls->calls.close(b, child->id.fd);
    child->id.fd = -1;
}

/* Then the kernel keeps nothing of a child that ends. What is ignored is inherited, also by a program. */
static bool ends_are_ignored(void)
{
    struct sigaction now;
    return sys_sigaction(SIGCHLD, NULL, &now) == 0 &&
           ((now.sa_flags & SA_NOCLDWAIT) ||
            (!(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_IGN));
}

static void say_lost(const struct child *child)
{
    char text[120];
    snprintf(text, sizeof text, "child process %d %s: its returncode is taken to be %d",
             (int)child->id.pid,
             ends_are_ignored() ? "ended while SIGCHLD is ignored here"
                                : "was waited for by somebody else",
             CHILD_LOST);
    coil__loop_report(child->loop, "child-lost", text, 0, NULL, NULL);
}

static void watch_again(struct child *child);

static void may_be_over(void *arg)
{
    struct child *child = arg;
    int code = 0, rc = reap(child, &code);
    if (rc == -EAGAIN) {
        watch_again(child);
        return;
    }
    is_over(child, rc, code);
    if (rc < 0)
        say_lost(child);
    child->cls->exited(child);
}

static void look(struct child *child)
{
    loop_push(child->loop, may_be_over, child,
              child->map ? coil__context_map_ref(child->map) : NULL);
}

/* ---- watching by descriptor ---- */

static void readable(struct op *op)
{
    struct child *child = container_of(op, struct child, op);
    if (!child->loop->closing)
        look(child);
}

static void watch(struct child *child)
{
    struct backend *b = backend_of(child);
    child->op = (struct op){.kind = OP_POLL, .events = OP_IN, .fd = child->id.fd, .done = readable};
    list_init(&child->op.link);
    b->cls->submit(b, &child->op);
}

/* ---- watching by thread ---- */

static void watcher_free(struct child_watcher *w)
{
    coil__inbox_unref(w->inbox);
    coil__free(w);
}

static void watch_on_thread(void *arg)
{
    struct child_watcher *w = arg;
    siginfo_t info;
    int rc;
    do /* it stays a zombie: who reaps it is who sends it signals */
        rc = sys_waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT);
    while (rc == -EINTR);
    (void)coil__inbox_post(w->inbox, &w->node);
}

static void watcher_came(struct inbox_node *node)
{
    struct child_watcher *w = container_of(node, struct child_watcher, node);
    struct child *child = w->child;
    if (child) {
        coil__thread_join(&w->thread);
        child->watcher = NULL;
        look(child);
    }
    watcher_free(w);
}

static int watch_by_thread(struct child *child)
{
    struct child_watcher *w = coil__zalloc(sizeof *w);
    if (!w)
        return -ENOMEM;
    w->node.fn = watcher_came;
    w->inbox = coil__inbox_ref(child->loop->inbox);
    w->child = child;
    w->pid = child->id.pid;
    int err = coil__thread_start(&w->thread, "coil-child", watch_on_thread, w);
    if (err < 0) {
        watcher_free(w);
        return err;
    }
    child->watcher = w;
    return 0;
}

/* It runs on. A descriptor that the kernel refused to watch would be refused again, and again, at once. */
static void watch_again(struct child *child)
{
    bool refused = child->op.result < 0 && child->op.result != -ECANCELED;
    if (child->id.imaginary || !refused || watch_by_thread(child) < 0)
        watch(child);
}

/* ---- starting ---- */

static coil_ret say(const struct child_plan *plan, coil_ret error, enum child_step step)
{
    static const char *const what[] = {
        [CHILD_STEP_STDIN] = "its stdin: ",
        [CHILD_STEP_STDOUT] = "its stdout: ",
        [CHILD_STEP_STDERR] = "its stderr: ",
        [CHILD_STEP_PASS] = "a descriptor to be passed on: ",
        [CHILD_STEP_GROUP] = "its process group or session: ",
        [CHILD_STEP_USER] = "its user or groups: ",
        [CHILD_STEP_START] = "",
        [CHILD_STEP_CWD] = "",
        [CHILD_STEP_EXEC] = "",
    };
    const char *words = coil_strerror(error);
    if (step == CHILD_STEP_CWD)
        return coil__fail(error, "run '%.60s' in '%.60s': %s", plan->file, plan->cwd, words);
    return coil__fail(error, "run '%.80s': %s%s", plan->file, what[step], words);
}

static int watch_real(struct child *child)
{
    if (child->id.fd < 0)
        child->id.fd = sys_pidfd_open(child->id.pid, 0);
    if (child->id.fd >= 0) {
        watch(child);
        return 0;
    }
    child->id.fd = -1;
    return watch_by_thread(child);
}

static int spawn(struct proc_part *part, struct child *child, const struct child_plan *plan,
                 enum child_step *out_step)
{
    struct backend *b = part->loop->backend;
    const struct imaginary_children *imaginary = b->cls->children;
    if (imaginary && imaginary->knows(b, plan->file)) {
        int err = imaginary->spawn(b, plan, &child->id, out_step);
        child->id.imaginary = true;
        if (err == 0)
            watch(child);
        return err;
    }
    int err = coil__spawn(part, plan, &child->id, out_step);
    if (err == 0 && (err = watch_real(child)) < 0) {
        int code;
        *out_step = CHILD_STEP_START;
        (void)sys_kill(child->id.pid, SIGKILL);
        (void)reap_real(&child->id, 0, &code);
    }
    return err;
}

coil_ret coil__child_start(struct proc_part *part, struct child *child,
                           const struct child_class *cls, const struct child_plan *plan)
{
    enum child_step step = CHILD_STEP_START;
    coil_loop *loop = part->loop;
    child->cls = cls;
    child->loop = loop;
    list_init(&child->link);
    int err = coil__loop_hold(loop, 1);
    if (err == 0 && (err = spawn(part, child, plan, &step)) < 0)
        loop_release(loop, 1);
    if (err < 0)
        return say(plan, err, step);
    list_push(&part->children, &child->link);
    if (!child->id.imaginary)
        loop->wakers++;
    return 0;
}

/* ---- signals ---- */

static int send_signal(struct child *child, int signo)
{
    struct backend *b = backend_of(child);
    if (child->id.imaginary)
        return b->cls->children->kill(b, &child->id, signo);
    int rc = -ENOSYS;
    if (child->id.fd >= 0)
        rc = sys_pidfd_send_signal(child->id.fd, signo);
    if (rc == -ENOSYS || rc == -EPERM) /* a filter's word, or the kernel's, who will say it again */
        rc = sys_kill(child->id.pid, signo);
    return rc;
}

int coil__child_signal(struct child *child, int signo)
{
    if (child->exited) {
        COIL_PROBE("a signal comes too late for its process");
        return (int)coil__fail(-ESRCH, "process %d has ended", (int)child->id.pid);
    }
    if (!child->loop)
        return (int)coil__fail_plain(COIL_ECLOSED);
    if (!coil__loop_use(child->loop))
        return (int)coil_last_error()->code;
    int rc = send_signal(child, signo);
    if (rc < 0)
        return (int)coil__fail(rc, "signal %d to process %d: %s", signo, (int)child->id.pid,
                               coil_strerror(rc));
    return 0;
}

void coil__child_kill(struct child *child)
{
    /* A child of fork has a copy of all this, and no right to the processes. */
    if (child->loop && !child->exited && !loop_inherited(child->loop))
        (void)send_signal(child, SIGKILL);
}

/* ---- the loop closes ---- */

static bool op_is_idle(void *op)
{
    return ((struct op *)op)->state == OP_IDLE;
}

static void stop_watching(struct child *child)
{
    struct backend *b = backend_of(child);
    if (child->watcher) { /* the kill ends it; its node is handled later, for its memory */
        coil__thread_join(&child->watcher->thread);
        child->watcher->child = NULL;
        child->watcher = NULL;
        return;
    }
    if (b->cls->cancel(b, &child->op) == -EINPROGRESS)
        coil__loop_settle(child->loop, op_is_idle, &child->op);
}

/* What sleeps in the kernel for good, on a dead network disk, say, cannot be killed: it is reported and left. */
static int wait_for_the_last(struct child *child, int *out_code)
{
    if (!child->id.imaginary && child->id.fd >= 0) {
        const struct timespec limit = {.tv_sec = LAST_WAIT_S};
        struct pollfd p = {.fd = child->id.fd, .events = POLLIN};
        (void)sys_ppoll(&p, 1, &limit, NULL);
    }
    int rc = reap(child, out_code);
    if (rc == -EAGAIN) {
        char text[80];
        snprintf(text, sizeof text, "child process %d was killed and does not end",
                 (int)child->id.pid);
        coil__loop_report(child->loop, "child-lost", text, 0, NULL, NULL);
    }
    return rc;
}

void coil__child_loop_closes(struct child *child)
{
    int code = 0;
    stop_watching(child);
    int rc = wait_for_the_last(child, &code);
    is_over(child, rc, code);
    child->loop = NULL;
    child->cls->loop_closes(child);
}
