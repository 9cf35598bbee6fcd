/* SPDX-License-Identifier: MIT
 *
 * sys.c: the kernel calls that are more than a line, and the table that test builds go through. */
#include "base/sys.h"

#include "base/memcheck.h"

#include <net/if.h>
#include <sched.h>
#include <sys/syscall.h>

int coil__sys_real_mmap(size_t n, int prot, int flags, void **out);
int coil__sys_real_epoll_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns);
int coil__sys_real_mmap_fd(int fd, size_t n, int64_t at, void **out);
int coil__sys_real_io_uring_setup(unsigned entries, struct io_uring_params *params);
int coil__sys_real_io_uring_enter(int fd, unsigned submit, unsigned want, unsigned flags,
                                  const void *arg, size_t arg_n);
int coil__sys_real_io_uring_register(int fd, unsigned what, void *arg, unsigned n);
int coil__sys_real_if_nametoindex(const char *name);
int coil__sys_real_begin_child(int (*main)(void *arg), void *arg, bool copy, void *stack, size_t n,
                               int *out_pidfd);

/* A child that shares our memory is nothing that a sanitizer could follow: theirs is a copy. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COIL_COPIES_CHILDREN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define COIL_COPIES_CHILDREN 1
#endif
#endif
#if SYS_UNDER_TSAN
#include <linux/io_uring.h>
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif

#ifndef __GLIBC__
/* The kernel takes the place in two halves; on 64 bits the first holds all of it. */
ssize_t preadv2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    return syscall(SYS_preadv2, fd, v, (long)n, (long)at, (long)((int64_t)at >> 32), (long)flags);
}

ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    return syscall(SYS_pwritev2, fd, v, (long)n, (long)at, (long)((int64_t)at >> 32), (long)flags);
}
#endif

#if SYS_UNDER_MSAN
ssize_t getdents64(int fd, void *b, size_t n)
{
    ssize_t got = syscall(SYS_getdents64, fd, b, n);
    if (got > 0)
        mem_is_defined(b, (size_t)got);
    return got;
}

ssize_t preadv2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    ssize_t got = syscall(SYS_preadv2, fd, v, (long)n, (long)at, 0L, (long)flags);
    size_t left = got > 0 ? (size_t)got : 0;
    for (int i = 0; left > 0; i++) {
        size_t here = left < v[i].iov_len ? left : v[i].iov_len;
        mem_is_defined(v[i].iov_base, here);
        left -= here;
    }
    return got;
}
#endif

/* A pointer has no room for -errno, so the address goes through `out`. */
int coil__sys_real_mmap(size_t n, int prot, int flags, void **out)
{
    void *p = mmap(NULL, n, prot, flags, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    *out = p;
    return 0;
}

#if SYS_UNDER_TSAN
/* TSan runs the handler of a signal at the next libc call, and a sleep that is none would outlast it. So before
 * such a sleep those that came are taken and others held back: they come in the sleep, or after it. */
static uint64_t set_mask(uint64_t mask)
{
    uint64_t before = 0;
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, sizeof mask);
    return before;
}

uint64_t coil__sys_hush(void)
{
    uint64_t before = set_mask(~UINT64_C(0));
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* a libc call */
    return before;
}

void coil__sys_listen(uint64_t mask)
{
    (void)set_mask(mask);
}

int ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m)
{
    struct timespec left; /* the kernel writes to it */
    uint64_t mask = coil__sys_hush();
    if (t)
        left = *t;
    long r = syscall(SYS_ppoll, p, n, t ? &left : NULL, m ? (const void *)m : &mask, sizeof mask);
    int saved = errno;
    coil__sys_listen(mask);
    coil__sys_listen(coil__sys_hush());
    errno = saved;
    return (int)r;
}

static long sleep_in_pwait2(int ep, struct epoll_event *ev, int n, const void *ts)
{
    uint64_t mask = coil__sys_hush();
    long r = syscall(SYS_epoll_pwait2, ep, ev, n, ts, &mask, sizeof mask);
    int saved = errno;
    coil__sys_listen(mask);
    coil__sys_listen(coil__sys_hush()); /* the handlers of those that came in the sleep */
    errno = saved;
    return r;
}

static long sleep_in_enter(int fd, unsigned submit, unsigned want, unsigned flags,
                           const struct io_uring_getevents_arg *arg)
{
    uint64_t mask = coil__sys_hush();
    struct io_uring_getevents_arg ours = *arg;
    ours.sigmask = (uint64_t)(uintptr_t)&mask;
    ours.sigmask_sz = sizeof mask;
    long r = syscall(SYS_io_uring_enter, fd, submit, want, flags, &ours, sizeof ours);
    int saved = errno;
    coil__sys_listen(mask);
    coil__sys_listen(coil__sys_hush());
    errno = saved;
    return r;
}
#endif

int coil__sys_real_epoll_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
#ifdef SYS_epoll_pwait2
    struct {
        int64_t sec, nsec; /* the kernel's own 64-bit timespec, whatever libc's is */
    } ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};
#if SYS_UNDER_TSAN
    long r = sleep_in_pwait2(ep, ev, n, timeout_ns < 0 ? NULL : &ts);
#else
    long r = syscall(SYS_epoll_pwait2, ep, ev, n, timeout_ns < 0 ? NULL : &ts, NULL, (size_t)0);
#endif
    if (r > 0)
        mem_is_defined(ev, (size_t)r * sizeof *ev);
    return r < 0 ? -errno : (int)r;
#else
    (void)ep, (void)ev, (void)n, (void)timeout_ns;
    return -ENOSYS;
#endif
}

int coil__sys_real_mmap_fd(int fd, size_t n, int64_t at, void **out)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)at);
    if (p == MAP_FAILED)
        return -errno;
    if (!memcheck_watches()) /* which would miss the mapping in a child */
        (void)madvise(p, n, MADV_DONTFORK);
    *out = p;
    return 0;
}

/* libc has no names for these. */
int coil__sys_real_io_uring_setup(unsigned entries, struct io_uring_params *params)
{
#ifdef SYS_io_uring_setup
    long r = syscall(SYS_io_uring_setup, entries, params);
    return r < 0 ? -errno : (int)r;
#else
    (void)entries, (void)params;
    return -ENOSYS;
#endif
}

int coil__sys_real_io_uring_enter(int fd, unsigned submit, unsigned want, unsigned flags,
                                  const void *arg, size_t arg_n)
{
#ifdef SYS_io_uring_enter
#if SYS_UNDER_TSAN
    long r = flags & IORING_ENTER_EXT_ARG
                 ? sleep_in_enter(fd, submit, want, flags, arg)
                 : syscall(SYS_io_uring_enter, fd, submit, want, flags, arg, arg_n);
#else
    long r = syscall(SYS_io_uring_enter, fd, submit, want, flags, arg, arg_n);
#endif
    return r < 0 ? -errno : (int)r;
#else
    (void)fd, (void)submit, (void)want, (void)flags, (void)arg, (void)arg_n;
    return -ENOSYS;
#endif
}

int coil__sys_real_io_uring_register(int fd, unsigned what, void *arg, unsigned n)
{
#ifdef SYS_io_uring_register
    long r = syscall(SYS_io_uring_register, fd, what, arg, n);
    return r < 0 ? -errno : (int)r;
#else
    (void)fd, (void)what, (void)arg, (void)n;
    return -ENOSYS;
#endif
}

int coil__sys_real_if_nametoindex(const char *name)
{
    unsigned index = if_nametoindex(name);
    return index ? (int)index : -errno;
}

/* ---- processes ---- */

int pidfd_open(pid_t pid, unsigned flags)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, flags);
#else
    (void)pid, (void)flags;
    errno = ENOSYS;
    return -1;
#endif
}

int pidfd_send_signal(int pidfd, int signo)
{
#ifdef SYS_pidfd_send_signal
    if (memcheck_watches()) { /* which does not know it, and says so at length */
        errno = ENOSYS;
        return -1;
    }
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0u);
#else
    (void)pidfd, (void)signo;
    errno = ENOSYS;
    return -1;
#endif
}

int close_range(unsigned first, unsigned last, unsigned flags)
{
#ifdef SYS_close_range
    return (int)syscall(SYS_close_range, first, last, flags);
#else
    (void)first, (void)last, (void)flags;
    errno = ENOSYS;
    return -1;
#endif
}

int tgkill(pid_t pid, pid_t tid, int signo)
{
    return (int)syscall(SYS_tgkill, pid, tid, signo);
}

int set_own_uid(uid_t uid)
{
    return (int)syscall(SYS_setuid, uid);
}

int set_own_gid(gid_t gid)
{
    return (int)syscall(SYS_setgid, gid);
}

int set_own_groups(size_t n, const gid_t *groups)
{
    return (int)syscall(SYS_setgroups, n, groups);
}

int set_own_umask(mode_t mask)
{
    return (int)umask(mask);
}

#ifdef COIL_COPIES_CHILDREN
int coil__sys_real_begin_child(int (*main)(void *arg), void *arg, bool copy, void *stack, size_t n,
                               int *out_pidfd)
{
    (void)copy, (void)stack, (void)n;
    *out_pidfd = -1;
    pid_t pid = fork();
    if (pid == 0)
        coil__sys_end_child(main(arg));
    return pid < 0 ? -errno : pid;
}
#else
int coil__sys_real_begin_child(int (*main)(void *arg), void *arg, bool copy, void *stack, size_t n,
                               int *out_pidfd)
{
    const int flags = (copy ? 0 : CLONE_VM | CLONE_VFORK) | SIGCHLD;
    char *top = (char *)stack + n;
    *out_pidfd = -1; /* and a kernel that does not know the flag leaves it so */
    int pid = clone(main, top, flags | CLONE_PIDFD, arg, out_pidfd);
    if (pid < 0 && (errno == EINVAL || errno == EPERM || errno == ENOSYS)) {
        *out_pidfd = -1;
        pid = clone(main, top, flags, arg);
    }
    return pid < 0 ? -errno : pid;
}
#endif

void coil__sys_end_child(int status)
{
    if (memcheck_watches()) /* whose own last acts would write out what the parent has in its buffers */
        (void)kill(getpid(), SIGKILL);
    _exit(status);
}

char *const *coil__sys_environ(void)
{
    return environ;
}

ssize_t coil__sys_text(const char *path, char *text, size_t size)
{
    int fd = sys_openat_again(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    size_t n = 0;
    ssize_t got;
    do {
        got = sys_read(fd, text + n, size - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    } while (got > 0 || got == -EINTR);
    text[n] = '\0';
    (void)sys_close(fd);
    return got < 0 ? got : (ssize_t)n;
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
#define X(type, name, params, args) \
    static type real_##name params  \
    {                               \
        type r = name args;         \
        return r < 0 ? -errno : r;  \
    }
SYS_CALLS(X)
#undef X
static int real_fcntl(int fd, int cmd, intptr_t arg)
{
    int r = fcntl(fd, cmd, arg);
    return r < 0 ? -errno : r;
}

#define X(type, name, params, args) .name = real_##name,
#define REAL                                                                            \
    {                                                                                   \
        SYS_CALLS(X).fcntl = real_fcntl, .mmap = coil__sys_real_mmap,                   \
        .epoll_pwait2 = coil__sys_real_epoll_pwait2, .mmap_fd = coil__sys_real_mmap_fd, \
        .io_uring_setup = coil__sys_real_io_uring_setup,                                \
        .io_uring_enter = coil__sys_real_io_uring_enter,                                \
        .io_uring_register = coil__sys_real_io_uring_register,                          \
        .if_nametoindex = coil__sys_real_if_nametoindex,                                \
        .begin_child = coil__sys_real_begin_child,                                      \
    }
const struct sys_table coil__sys_real = REAL;
struct sys_table coil__sys = REAL;
#undef X
#endif
