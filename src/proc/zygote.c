/* SPDX-License-Identifier: MIT
 *
 * zygote.c: the child that a process pool forks when it is made, and the workers that it forks.
 *
 *     [ fork by the pool ] --> clean up --> ready: answer requests --+--> parent gone: kill all, leave
 *                                              |  fork
 *                                              +--> worker: initializer, then job after job until its socket ends
 *
 * The zygote exists so that workers are forked by a process with one thread and nothing in its hands, whatever the
 * parent has become meanwhile. It runs on a stack of its own, since the pool may have been made in a task.
 *
 * Always true of the zygote:
 *   - it has one thread and no descriptor but 0, 1, 2, the control socket, the parent's pidfd, and for each worker that
 *     is alive a copy of its socket;
 *   - a pid in `children` that is `alive` was not reaped: it can be nobody else's;
 *   - signals are blocked but while it sleeps, and then only SIGCHLD does anything.
 *
 * A worker dies with the zygote (PR_SET_PDEATHSIG), the zygote when its parent does (pidfd, or the end of the control
 * socket). Elsewhere: what asks (pool.c). */
#include "base/check.h"
#include "base/context.h"
#include "base/error.h"
#include "base/mem.h"
#include "coro/coro.h"
#include "coro/overflow.h"
#include "proc/pool.h"

#include <poll.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/prctl.h>

#define STACK_BYTES ((size_t)8 << 20) /* what a thread has */

enum {
    CONTROL = 3,
    PARENT = 4
}; /* the zygote's descriptors, after 0, 1, 2; a worker's socket is CONTROL, too */

/* ---- talking ---- */

int coil__pool_send(int fd, const void *head, size_t head_n, const void *more, size_t more_n)
{
    struct iovec v[2] = {{(void *)(uintptr_t)head, head_n}, {(void *)(uintptr_t)more, more_n}};
    struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
    while (v[0].iov_len + v[1].iov_len > 0) {
        ssize_t sent = sys_sendmsg(fd, &m, MSG_NOSIGNAL);
        if (sent == -EINTR)
            continue;
        if (sent < 0)
            return (int)sent;
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)sent < v[i].iov_len ? (size_t)sent : v[i].iov_len;
            if (part == 0)
                continue; /* of nothing, which may be NULL */
            v[i].iov_base = (char *)v[i].iov_base + part;
            v[i].iov_len -= part;
            sent -= (ssize_t)part;
        }
    }
    return 0;
}

int coil__pool_receive(int fd, void *out, size_t n)
{
    for (char *at = out; n > 0;) {
        ssize_t got = sys_recv(fd, at, n, MSG_WAITALL);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? (int)got : -EPIPE;
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

/* ---- both: leaving the parent's things behind ---- */

static void close_one_by_one(unsigned first)
{
    _Alignas(8) char entries[2048];
    int dir = sys_openat_again(AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    ssize_t n;
    while (dir >= 0 && (n = sys_getdents64(dir, entries, sizeof entries)) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *entry = (const void *)&entries[at];
            int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);
            if (fd >= (int)first && fd != dir)
                sys_close(fd);
            at += entry->d_reclen;
        }
    if (dir >= 0)
        sys_close(dir);
}

static void close_from(unsigned first)
{
    if (sys_close_range(first, ~0u, 0) < 0)
        close_one_by_one(first);
}

static void on_child(int signo)
{
    (void)signo; /* the sleep has ended, which is all */
}

/* As after exec: handlers are gone, ignored signals stay ignored. */
static void default_signals(void)
{
    struct sigaction now, other = {.sa_handler = SIG_DFL};
    for (int signo = 1; signo < NSIG; signo++)
        if (sys_sigaction(signo, NULL, &now) == 0 &&
            (now.sa_flags & SA_SIGINFO || now.sa_handler != SIG_IGN || signo == SIGCHLD))
            (void)sys_sigaction(signo, &other, NULL);
    other.sa_handler = SIG_IGN;
    (void)sys_sigaction(SIGINT, &other, NULL);
}

static void unblock_all(void)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sys_sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- a worker ---- */

/* Once the rest of it is in, the job is called; the answer's bytes are the caller's. */
static void answer(struct job_answer *a, coil_ret result, size_t n)
{
    const coil_error *e = coil_iserr(result) ? coil_last_error() : NULL;
    const char *words = e && e->code == result ? e->message : "";
    *a = (struct job_answer){
        .magic = JOB_MAGIC, .words_n = (uint32_t)strlen(words), .result = result, .n = n};
    if (coil__pool_send(CONTROL, a, sizeof *a, words, a->words_n) < 0)
        coil__sys_end_child(1); /* nobody is there any more */
}

/* False: the parent wants no more. */
static bool one_job(const struct zygote_plan *plan)
{
    struct job_head head;
    struct job_answer a;
    if (coil__pool_receive(CONTROL, &head, sizeof head) < 0)
        return false;
    if (head.magic != JOB_MAGIC || head.n > plan->job_max || head.room > plan->job_max)
        return false; /* not the parent's words: somebody wrote to our socket */
    char *in = coil__alloc(head.n + 1);
    char *out = coil__alloc(head.room + 1);
    coil_ret rc;
    if (!in || !out) {
        coil__fail_plain(-ENOMEM);
        answer(&a, -ENOMEM, 0);
        return false; /* what was to follow is not worth reading: another worker takes our place */
    }
    if (coil__pool_receive(CONTROL, in, head.n) < 0)
        return false;
    coil__error_clear(coil__error_slot()); /* what an earlier job left */
    if (head.fn)
        rc = head.fn(head.n ? in : NULL);
    else
        rc = head.bytes_fn(head.n ? in : NULL, head.n, out, head.room);
    if (!head.fn && !coil_iserr(rc) && (uint64_t)rc > head.room)
        rc = coil__fail(-EMSGSIZE,
                        "the function says it wrote %zu bytes where there is room for %zu",
                        (size_t)rc, (size_t)head.room);
    size_t n = head.fn || coil_iserr(rc) ? 0 : (size_t)rc;
    fflush(stdout);
    answer(&a, rc, n);
    bool sent = coil__pool_send(CONTROL, out, n, NULL, 0) == 0;
    coil__free(in);
    coil__free(out);
    return sent;
}

_Noreturn static void worker_main(const struct zygote_plan *plan, int fd, pid_t zygote)
{
    (void)sys_prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sys_getppid() != zygote)
        coil__sys_end_child(1); /* it died before it could take us along */
    (void)sys_prctl(PR_SET_NAME, (unsigned long)"coil-worker");
    if (fd != CONTROL && sys_dup2_again(fd, CONTROL) < 0)
        coil__sys_end_child(1);
    close_from(CONTROL + 1);
    (void)sys_fcntl(CONTROL, F_SETFD, FD_CLOEXEC); /* not for a program that a job starts */
    default_signals();
    unblock_all();

    coil_ret rc = plan->initializer ? plan->initializer(plan->initargs) : 0;
    fflush(stdout);
    struct job_answer a;
    answer(&a, coil_iserr(rc) ? rc : 0, 0);
    while (!coil_iserr(rc) && one_job(plan))
        ;
    coil__sys_end_child(0);
}

/* ---- the zygote ---- */

struct child {
    pid_t pid; /* 0: no child */
    bool alive;
    int fd;               /* a copy of its end of the socket, while it is alive */
    int32_t code, status; /* how it ended, once it has */
};

static struct child *find(struct child *children, unsigned n, pid_t pid)
{
    for (unsigned i = 0; i < n; i++)
        if (children[i].pid == pid)
            return &children[i];
    return NULL;
}

static int wait_for(const struct child *child, siginfo_t *out, int flags)
{
    int rc;
    while ((rc = sys_waitid(P_PID, (id_t)child->pid, out, WEXITED | flags)) == -EINTR)
        ;
    return rc;
}

/* Waits for it; with `now` only if it has ended already. The pool hears of the end at once, also when a child of the
 * worker still has the socket: that is what our copy is for. It hears before the number of the process is free: who sees
 * that there is no such process may count on the pool not to give it a job. */
static void reap(struct child *child, bool now)
{
    siginfo_t info = {.si_pid = 0};
    if (wait_for(child, &info, WNOWAIT | (now ? WNOHANG : 0)) < 0 || info.si_pid == 0)
        return;
    (void)sys_shutdown(child->fd, SHUT_RDWR);
    sys_close(child->fd);
    (void)wait_for(child, &info, 0);
    child->alive = false;
    child->code = info.si_code;
    child->status = info.si_status;
}

/* `fd` is taken over; or it is why there is none. */
static int begin_worker(const struct zygote_plan *plan, struct child *slot, int fd)
{
    pid_t self = sys_getpid(), pid = fd < 0 ? fd : slot ? sys_fork() : -EINVAL;
    if (pid == 0)
        worker_main(plan, fd, self);
    if (pid > 0)
        *slot = (struct child){.pid = pid, .alive = true, .fd = fd};
    else if (fd >= 0)
        sys_close(fd);
    return pid;
}

static struct zygote_answer obey(const struct zygote_plan *plan, struct child *children,
                                 const struct zygote_request *request, int fd)
{
    struct zygote_answer a = {.rc = -EINVAL};
    struct child *child = request->pid > 0 ? find(children, plan->max_workers, request->pid) : NULL;
    switch (request->what) {
    case ZYGOTE_FORK: a.rc = begin_worker(plan, find(children, plan->max_workers, 0), fd); break;
    case ZYGOTE_SIGNAL:
        a.rc = child && child->alive ? sys_kill(child->pid, request->signo) : -ESRCH;
        break;
    case ZYGOTE_REAP:
        if (!child) {
            a.rc = -ESRCH;
            break;
        }
        if (child->alive) {
            (void)sys_kill(child->pid, SIGKILL);
            reap(child, false);
        }
        a = (struct zygote_answer){.code = child->code, .status = child->status};
        child->pid = 0;
        break;
    default: break;
    }
    return a;
}

/* One request with the descriptor that came along; -EMFILE if it found no place here, or another error for none. False:
 * the parent is gone. */
static bool next_request(struct zygote_request *out, int *out_fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec v = {out, sizeof *out};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    while ((n = sys_recvmsg(CONTROL, &m, MSG_CMSG_CLOEXEC)) == -EINTR)
        ;
    *out_fd = n > 0 && (m.msg_flags & MSG_CTRUNC) ? -EMFILE : -EINVAL;
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(out_fd, CMSG_DATA(c), sizeof *out_fd);
    return n == (ssize_t)sizeof *out;
}

static void serve(const struct zygote_plan *plan, struct child *children)
{
    sigset_t all_but_child;
    sigfillset(&all_but_child);
    sigdelset(&all_but_child, SIGCHLD);
    struct pollfd fds[2] = {{.fd = CONTROL, .events = POLLIN},
                            {.fd = plan->watched ? PARENT : -1, .events = POLLIN}};
    for (;;) {
        int rc = sys_ppoll(fds, 2, NULL, &all_but_child);
        for (unsigned i = 0; i < plan->max_workers; i++)
            if (children[i].pid && children[i].alive)
                reap(&children[i], true);
        if (rc == -EINTR)
            continue;
        if (rc < 0 || (fds[1].revents & POLLIN))
            return;
        struct zygote_request request;
        int fd;
        if (!next_request(&request, &fd))
            return;
        struct zygote_answer a = obey(plan, children, &request, fd);
        if (coil__pool_send(CONTROL, &a, sizeof a, NULL, 0) < 0)
            return;
    }
}

/* 0 or -errno; the descriptors stand where they are to be. */
static int settle(struct zygote_plan *plan)
{
    int rc;
    __fpurge(stdout); /* what the parent had not written is the parent's */
    coil__overflow_forget();
    default_signals();
    struct sigaction child = {.sa_handler = on_child};
    (void)sys_sigaction(SIGCHLD, &child, NULL);
    (void)sys_prctl(PR_SET_NAME, (unsigned long)"coil-zygote");

    if (plan->control != CONTROL && (rc = sys_dup2_again(plan->control, CONTROL)) < 0)
        return rc;
    plan->control = CONTROL;
    close_from(CONTROL + 1);
    int parent = sys_pidfd_open(plan->parent, 0); /* before 5.3 the end of the socket must do */
    if (parent >= 0 && parent != PARENT) {
        rc = sys_dup2_again(parent, PARENT);
        sys_close(parent);
        if (rc < 0)
            return rc;
    }
    plan->watched = parent >= 0;
    if (sys_getppid() != plan->parent)
        return -ESRCH;
    int null = sys_openat_again(AT_FDCWD, "/dev/null", O_RDWR, 0); /* it may stay where it is */
    if (null < 0)
        return null;
    for (int fd = 0; fd <= 2; fd++)
        if (null != fd && (fd == 0 || sys_fcntl(fd, F_GETFD, 0) < 0))
            (void)sys_dup2_again(null, fd);
    if (null > 2)
        sys_close(null);
    return 0;
}

/* On its own stack; never leaves. */
static struct zygote_plan *the_plan;

static void zygote_entry(struct coro *self)
{
    (void)self;
    struct zygote_plan *plan = the_plan;
    struct child *children = coil__zalloc(plan->max_workers * sizeof *children);
    struct zygote_answer ready = {.rc = children ? settle(plan) : -ENOMEM};
    if (coil__pool_send(plan->control, &ready, sizeof ready, NULL, 0) == 0 && ready.rc == 0)
        serve(plan, children);
    for (unsigned i = 0; children && i < plan->max_workers; i++)
        if (children[i].pid && children[i].alive) {
            (void)sys_kill(children[i].pid, SIGKILL);
            reap(&children[i], false);
        }
    coil__sys_end_child(0);
}

_Noreturn void coil__zygote_main(struct zygote_plan *plan)
{
    static struct stack_pool pool;
    static struct coro zygote;
    struct stack *stack;
    /* Nothing of what the parent's thread was in the middle of goes on here. */
    error_switch(NULL);
    coil__context_ptr = NULL;
    the_plan = plan;
    struct zygote_answer why = {.rc = coil__stack_pool_init(&pool, STACK_BYTES)};
    if (why.rc == 0)
        why.rc = coil__stack_get(&pool, STACK_BYTES, &stack);
    if (why.rc == 0) {
        coil__coro_make(&zygote, stack, zygote_entry);
        coil__coro_switch(&zygote);
    }
    (void)coil__pool_send(plan->control, &why, sizeof why, NULL, 0);
    coil__sys_end_child(1);
}
