/* SPDX-License-Identifier: MIT
 *
 * spawn.c: from a plan to a process of the real kernel.
 *
 *     signals blocked --> begin_child: same memory, own stack, parent stands still
 *                            |
 *                            +--> child_main: descriptors, directory, ids, signals --> execve
 *                            |         +-- failed: which step and errno go into a pipe, exit
 *     read the pipe: empty, since execve closed it --> it runs
 *
 * The child shares our memory, so it starts as fast for a program of a gigabyte as for a small one; one that becomes
 * another user has a copy. It allocates
 * nothing, takes no lock and changes nothing that is not on its own stack; everything it needs is prepared before. The
 * pipe tells what failed also where the child's memory is a copy (under sanitizers, Valgrind, emulators).
 *
 * Always true:
 *   - a failed spawn leaves no process: it is reaped here;
 *   - the child has the descriptors that the plan names and no other, also of other spawns on other threads: all others
 *     are close-on-exec in it;
 *   - which file is run is decided by execve alone; nobody looks before.
 *
 * Runs on the loop's thread; child_main in the child. */
#include "proc/proc.h"

#include "base/mem.h"
#include "base/sys.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1u << 2)
#endif

/* What the child reads; it writes none of it. */
struct spawn {
    const struct child_plan *plan;
    const char *paths; /* what to try, one after the other: NUL-terminated, to an empty one */
    char *const *argv, *const *env;
    int tell; /* the pipe's writing end */
};

struct failure {
    int step;  /* enum child_step */
    int error; /* -errno */
};

/* ---- in the child ---- */

static void fail(const struct spawn *s, enum child_step step, int error)
{
    struct failure failure = {.step = (int)step, .error = error};
    while (sys_write(s->tell, &failure, sizeof failure) == -EINTR)
        ;
    coil__sys_end_child(127);
}

/* From a number that is wanted for something else. Returns the new one. */
static int out_of_the_way(const struct spawn *s, int fd, enum child_step step)
{
    int moved = sys_fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (moved < 0)
        fail(s, step, moved);
    return moved;
}

static void set_stdio(struct spawn *s)
{
    int from[3];
    if (s->tell < 3)
        s->tell = out_of_the_way(s, s->tell, CHILD_STEP_START);
    for (int i = 0; i < 3; i++) {
        enum child_step step = CHILD_STEP_STDIN + (unsigned)i;
        from[i] = s->plan->fds[i];
        if (from[i] == CHILD_NULL) {
            from[i] = sys_openat_again(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
            if (from[i] < 0)
                fail(s, step, from[i]);
        }
        if (from[i] >= 0 && from[i] < 3)
            from[i] = out_of_the_way(s, from[i], step);
    }
    for (int i = 0; i < 3; i++) {
        if (from[i] == CHILD_INHERITS)
            continue;
        int rc = sys_dup2_again(from[i], i); /* the copy is not close-on-exec */
        if (rc < 0)
            fail(s, CHILD_STEP_STDIN + (unsigned)i, rc);
    }
}

/* Kernels before 5.11: one by one. */
static void mark_listed(void)
{
    char bytes[2048] __attribute__((aligned(8)));
    int dir = sys_openat_again(AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    ssize_t n;
    while (dir >= 0 && (n = sys_getdents64(dir, bytes, sizeof bytes)) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct dirent *entry = (const struct dirent *)(const void *)(bytes + at);
            int fd = 0;
            const char *p = entry->d_name;
            for (; *p >= '0' && *p <= '9'; p++)
                fd = fd * 10 + (*p - '0');
            if (p > entry->d_name && fd > 2)
                (void)sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
            at += entry->d_reclen;
        }
    }
}

static void choose_descriptors(const struct spawn *s)
{
    if (!s->plan->inherit_fds && sys_close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0)
        mark_listed();
    for (size_t i = 0; i < s->plan->pass_fds_n; i++) {
        int rc = sys_fcntl(s->plan->pass_fds[i], F_SETFD, 0);
        if (rc < 0)
            fail(s, CHILD_STEP_PASS, rc);
    }
}

static void choose_ids(const struct spawn *s)
{
    const struct child_plan *plan = s->plan;
    int rc = 0;
    if (plan->new_session)
        rc = sys_setsid();
    if (rc >= 0 && plan->new_group)
        rc = sys_setpgid(0, plan->group);
    if (rc < 0)
        fail(s, CHILD_STEP_GROUP, rc);
    if (plan->set_umask)
        (void)sys_set_own_umask(plan->umask);
    /* The right to change the others goes with the user. */
    if (plan->set_groups)
        rc = sys_set_own_groups(plan->groups_n, plan->groups);
    if (rc >= 0 && plan->set_gid)
        rc = sys_set_own_gid(plan->gid);
    if (rc >= 0 && plan->set_uid)
        rc = sys_set_own_uid(plan->uid);
    if (rc < 0)
        fail(s, CHILD_STEP_USER, rc);
}

/* A handler must not run here, in memory that is not ours; so they go before anything is unblocked. What is ignored stays
 * so (nohup), but for what this library and its programs have reason to ignore. */
static void reset_signals(void)
{
    struct sigaction was, usual = {.sa_handler = SIG_DFL};
    for (int signo = 1; signo < NSIG; signo++) {
        if (sys_sigaction(signo, NULL, &was) < 0)
            continue;
        bool ignored = !(was.sa_flags & SA_SIGINFO) && was.sa_handler == SIG_IGN;
        bool reset = signo == SIGPIPE || signo == SIGXFSZ;
        if ((was.sa_flags & SA_SIGINFO) || (was.sa_handler != SIG_DFL && (!ignored || reset)))
            (void)sys_sigaction(signo, &usual, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    (void)sys_sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Says this of the place, not of a program that stands there: there may be one further on. */
static bool is_of_the_place(int error)
{
    switch (error) {
    case -ENOENT:
    case -ENOTDIR:
    case -EACCES: /* also of one that may not be run, as the shell does */
    case -ELOOP:
    case -ENAMETOOLONG:
    case -ENODEV: /* these three of network disks */
    case -ESTALE:
    case -ETIMEDOUT: return true;
    default: return false;
    }
}

/* What is told is what went wrong first, if not just that nothing is there. */
static int run(const struct spawn *s)
{
    int error = -ENOENT;
    for (const char *path = s->paths; *path; path += strlen(path) + 1) {
        int rc = sys_execve(path, s->argv, s->env);
        if (!is_of_the_place(rc))
            return rc;
        if (error == -ENOENT || error == -ENOTDIR)
            error = rc;
    }
    return error;
}

static int child_main(void *arg)
{
    struct spawn s = *(const struct spawn *)arg;
    set_stdio(&s);
    choose_descriptors(&s);
    choose_ids(&s);
    if (s.plan->cwd) {
        int rc = sys_chdir(s.plan->cwd);
        if (rc < 0)
            fail(&s, CHILD_STEP_CWD, rc);
    }
    reset_signals();
    fail(&s, CHILD_STEP_EXEC, run(&s));
    return 127;
}

/* ---- before ---- */

static const char *path_of(char *const *env)
{
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return "/bin:/usr/bin";
}

/* Every path that may be it, in order. NULL: no memory. */
static char *paths_of(const char *file, char *const *env)
{
    bool plain = strchr(file, '/') || !*file;
    const char *dirs = plain ? "" : path_of(env);
    size_t places = 1, name = strlen(file);
    for (const char *p = dirs; *p; p++)
        places += *p == ':';
    char *paths = coil__alloc(strlen(dirs) + places * (name + 2) + 1), *at = paths;
    if (!paths)
        return NULL;
    for (;;) {
        size_t n = strcspn(dirs, ":");
        memcpy(at, dirs, n);
        at += n;
        if (n > 0 && at[-1] != '/') /* an empty one is the current directory */
            *at++ = '/';
        memcpy(at, file, name + 1);
        at += name + 1;
        if (!dirs[n])
            break;
        dirs += n + 1;
    }
    *at = '\0';
    return paths;
}

static int stack_of(struct proc_part *part, void **out)
{
    int err = 0;
    if (!part->stack)
        err = sys_mmap(CHILD_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                       &part->stack);
    *out = part->stack;
    return err;
}

/* ---- after ---- */

static void reap_failed(pid_t pid)
{
    siginfo_t info;
    int rc;
    do
        rc = sys_waitid(P_PID, (id_t)pid, &info, WEXITED);
    while (rc == -EINTR);
}

/* What the child had to say; nothing, if its program runs. */
static bool told_of_failure(int fd, struct failure *out)
{
    ssize_t n;
    do
        n = sys_read(fd, out, sizeof *out);
    while (n == -EINTR);
    return n == sizeof *out;
}

static int begin(struct proc_part *part, struct spawn *s, struct child_id *out)
{
    sigset_t all, before;
    void *stack;
    int err = stack_of(part, &stack);
    if (err < 0)
        return err;
    sigfillset(&all);
    err = sys_sigprocmask(SIG_SETMASK, &all, &before);
    if (err < 0)
        return err;
    /* Whoever may look into a process of that user's is not to see our memory. */
    bool copy = s->plan->set_uid || s->plan->set_gid || s->plan->set_groups;
    int pid = sys_begin_child(child_main, s, copy, stack, CHILD_STACK, &out->fd);
    (void)sys_sigprocmask(SIG_SETMASK, &before, NULL);
    out->pid = pid;
    return pid < 0 ? pid : 0;
}

static int begin_and_listen(struct proc_part *part, struct spawn *s, struct child_id *out,
                            enum child_step *out_step)
{
    int tell[2];
    struct failure failure;
    int err = sys_pipe2(tell, O_CLOEXEC);
    if (err < 0)
        return err;
    s->tell = tell[1];
    err = begin(part, s, out);
    (void)sys_close(tell[1]);
    if (err == 0 && told_of_failure(tell[0], &failure)) {
        reap_failed(out->pid);
        if (out->fd >= 0)
            (void)sys_close(out->fd);
        *out_step = (enum child_step)failure.step;
        err = failure.error;
    }
    (void)sys_close(tell[0]);
    return err;
}

int coil__spawn(struct proc_part *part, const struct child_plan *plan, struct child_id *out,
                enum child_step *out_step)
{
    /* execve changes neither; its type is older than const. */
    struct spawn s = {.plan = plan, .argv = (char *const *)(uintptr_t)plan->argv};
    s.env = plan->env ? (char *const *)(uintptr_t)plan->env : coil__sys_environ();
    *out = (struct child_id){.fd = -1};
    *out_step = CHILD_STEP_START;
    char *paths = paths_of(plan->file, s.env);
    if (!paths)
        return -ENOMEM;
    s.paths = paths;
    int err = begin_and_listen(part, &s, out, out_step);
    coil__free(paths);
    return err;
}
