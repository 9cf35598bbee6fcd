/* SPDX-License-Identifier: MIT
 *
 * sys.h: every kernel call the library makes.
 *
 * `sys_NAME` takes the arguments of NAME and returns its value, or -errno. In release builds each is
 * an inline around the libc call. With COIL_SYS_TABLE each goes through `coil__sys.NAME`, so that a
 * test can count, fail or replace it. A new kernel call is one line in SYS_CALLS.
 *
 * Any thread. Nothing else in the library calls the kernel (tools/tidy.py checks with nm). */
#ifndef COIL_BASE_SYS_H
#define COIL_BASE_SYS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h> /* renameat */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* libc has no names for these, or older ones have none; or its own would speak to every thread, which in a child
 * that still shares our memory are not its own. */
#define pidfd_open        coil__pidfd_open
#define pidfd_send_signal coil__pidfd_send_signal
#define close_range       coil__close_range
#define tgkill            coil__tgkill
#define set_own_uid       coil__set_own_uid
#define set_own_gid       coil__set_own_gid
#define set_own_groups    coil__set_own_groups
#define set_own_umask     coil__set_own_umask
int pidfd_open(pid_t pid, unsigned flags);
int pidfd_send_signal(int pidfd, int signo);
int close_range(unsigned first, unsigned last, unsigned flags);
int tgkill(pid_t pid, pid_t tid, int signo);
int set_own_uid(uid_t uid);
int set_own_gid(gid_t gid);
int set_own_groups(size_t n, const gid_t *groups);
int set_own_umask(mode_t mask);

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define SYS_UNDER_TSAN 1
/* Run the handlers that TSan keeps back, and hold further signals back until listen(). */
uint64_t coil__sys_hush(void);
void coil__sys_listen(uint64_t mask);
/* TSan's own looks at signals before it sleeps, and not again. */
#define ppoll coil__ppoll
int ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m);
#else
#define SYS_UNDER_TSAN 0
#endif

#if __has_feature(memory_sanitizer)
#define SYS_UNDER_MSAN 1
/* MSan does not watch libc's own of these, so that what they read would count as never written. */
#define getdents64 coil__getdents64
#define preadv2    coil__preadv2
ssize_t getdents64(int fd, void *b, size_t n);
ssize_t preadv2(int fd, const struct iovec *v, int n, off_t at, int flags);
#else
#define SYS_UNDER_MSAN 0
#endif

#ifndef __GLIBC__
/* musl has these since 1.2.5 only: sys.c asks the kernel itself. */
#define preadv2  coil__preadv2
#define pwritev2 coil__pwritev2
ssize_t preadv2(int fd, const struct iovec *v, int n, off_t at, int flags);
ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t at, int flags);
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif
#ifndef STATX_BASIC_STATS /* since 1.2.5, too */
#include <linux/stat.h>
#include <sys/syscall.h>
static inline int statx(int dir, const char *path, int flags, unsigned mask, struct statx *sx)
{
    return (int)syscall(SYS_statx, dir, path, flags, mask, sx);
}
#endif
#endif

/* X(type, name, parameters, arguments) */
#define SYS_CALLS(X)                                                                               \
    X(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n))                                      \
    X(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))                               \
    X(ssize_t, pread, (int fd, void *b, size_t n, off_t at), (fd, b, n, at))                       \
    X(ssize_t, preadv2, (int fd, const struct iovec *v, int n, off_t at, int flags),               \
      (fd, v, n, at, flags))                                                                       \
    X(ssize_t, pwritev2, (int fd, const struct iovec *v, int n, off_t at, int flags),              \
      (fd, v, n, at, flags))                                                                       \
    X(int, openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))  \
    X(ssize_t, readlinkat, (int dir, const char *path, char *b, size_t n), (dir, path, b, n))      \
    X(int, fsync, (int fd), (fd))                                                                  \
    X(int, fdatasync, (int fd), (fd))                                                              \
    X(ssize_t, recv, (int fd, void *b, size_t n, int flags), (fd, b, n, flags))                    \
    X(ssize_t, send, (int fd, const void *b, size_t n, int flags), (fd, b, n, flags))              \
    X(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))                     \
    X(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))               \
    X(ssize_t, sendfile, (int out, int in, off_t *at, size_t n), (out, in, at, n))                 \
    X(off_t, lseek, (int fd, off_t at, int whence), (fd, at, whence))                              \
    X(int, socket, (int domain, int type, int proto), (domain, type, proto))                       \
    X(int, socketpair, (int domain, int type, int proto, int out[2]), (domain, type, proto, out))  \
    X(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))                      \
    X(int, listen, (int fd, int backlog), (fd, backlog))                                           \
    X(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))      \
    X(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))                   \
    X(int, getsockopt, (int fd, int level, int name, void *v, socklen_t *n),                       \
      (fd, level, name, v, n))                                                                     \
    X(int, setsockopt, (int fd, int level, int name, const void *v, socklen_t n),                  \
      (fd, level, name, v, n))                                                                     \
    X(int, getsockname, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))                    \
    X(int, getpeername, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))                    \
    X(int, shutdown, (int fd, int how), (fd, how))                                                 \
    X(int, close, (int fd), (fd))                                                                  \
    X(int, pipe2, (int out[2], int flags), (out, flags))                                           \
    X(int, fstat, (int fd, struct stat *st), (fd, st))                                             \
    X(int, lstat, (const char *path, struct stat *st), (path, st))                                 \
    X(int, unlink, (const char *path), (path))                                                     \
    X(int, chmod, (const char *path, mode_t mode), (path, mode))                                   \
    X(int, fchmod, (int fd, mode_t mode), (fd, mode))                                              \
    X(int, fstatat, (int dir, const char *path, struct stat *st, int flags),                       \
      (dir, path, st, flags))                                                                      \
    X(int, statx, (int dir, const char *path, int flags, unsigned mask, struct statx *sx),         \
      (dir, path, flags, mask, sx))                                                                \
    X(int, ftruncate, (int fd, off_t n), (fd, n))                                                  \
    X(ssize_t, getdents64, (int fd, void *b, size_t n), (fd, b, n))                                \
    X(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode))                   \
    X(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))                   \
    X(int, renameat, (int dir, const char *path, int to_dir, const char *to),                      \
      (dir, path, to_dir, to))                                                                     \
    X(int, eventfd, (unsigned value, int flags), (value, flags))                                   \
    X(int, epoll_create1, (int flags), (flags))                                                    \
    X(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))          \
    X(int, epoll_wait, (int ep, struct epoll_event *ev, int n, int ms), (ep, ev, n, ms))           \
    X(int, ppoll, (struct pollfd * p, nfds_t n, const struct timespec *t, const sigset_t *m),      \
      (p, n, t, m))                                                                                \
    X(int, pselect,                                                                                \
      (int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *t, const sigset_t *m),   \
      (n, in, out, ex, t, m))                                                                      \
    X(int, munmap, (void *p, size_t n), (p, n))                                                    \
    X(int, mprotect, (void *p, size_t n, int prot), (p, n, prot))                                  \
    X(int, madvise, (void *p, size_t n, int advice), (p, n, advice))                               \
    X(int, mincore, (void *p, size_t n, unsigned char *out), (p, n, out))                          \
    X(ssize_t, process_vm_readv,                                                                   \
      (pid_t pid, const struct iovec *to, unsigned long to_n, const struct iovec *from,            \
       unsigned long from_n, unsigned long flags),                                                 \
      (pid, to, to_n, from, from_n, flags))                                                        \
    X(pid_t, getpid, (void), ())                                                                   \
    X(pid_t, gettid, (void), ())                                                                   \
    X(int, sigaction, (int signo, const struct sigaction *a, struct sigaction *old),               \
      (signo, a, old))                                                                             \
    X(int, sigaltstack, (const stack_t *s, stack_t *old), (s, old))                                \
    X(int, sigprocmask, (int how, const sigset_t *set, sigset_t *old), (how, set, old))            \
    X(int, sigpending, (sigset_t * set), (set))                                                    \
    X(pid_t, fork, (void), ())                                                                     \
    X(pid_t, getppid, (void), ())                                                                  \
    X(int, prctl, (int what, unsigned long with), (what, with))                                    \
    X(int, waitid, (idtype_t type, id_t id, siginfo_t * info, int options),                        \
      (type, id, info, options))                                                                   \
    X(int, kill, (pid_t pid, int signo), (pid, signo))                                             \
    X(int, tgkill, (pid_t pid, pid_t tid, int signo), (pid, tid, signo))                           \
    X(int, pidfd_open, (pid_t pid, unsigned flags), (pid, flags))                                  \
    X(int, pidfd_send_signal, (int pidfd, int signo), (pidfd, signo))                              \
    X(int, close_range, (unsigned first, unsigned last, unsigned flags), (first, last, flags))     \
    X(int, dup2, (int from, int to), (from, to))                                                   \
    X(int, chdir, (const char *path), (path))                                                      \
    X(pid_t, setsid, (void), ())                                                                   \
    X(int, setpgid, (pid_t pid, pid_t group), (pid, group))                                        \
    X(int, set_own_uid, (uid_t uid), (uid))                                                        \
    X(int, set_own_gid, (gid_t gid), (gid))                                                        \
    X(int, set_own_groups, (size_t n, const gid_t *groups), (n, groups))                           \
    X(int, set_own_umask, (mode_t mask), (mask))                                                   \
    X(int, execve, (const char *path, char *const argv[], char *const envp[]), (path, argv, envp)) \
    X(int, sigtimedwait, (const sigset_t *set, siginfo_t *info, const struct timespec *t),         \
      (set, info, t))

struct io_uring_params; /* of <linux/io_uring.h>, which few files need */

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE

struct sys_table {
#define X(type, name, params, args) type(*name) params; /* returns the value or -errno */
    SYS_CALLS(X)
#undef X
    int (*fcntl)(int fd, int cmd, intptr_t arg);
    int (*mmap)(size_t n, int prot, int flags, void **out);
    int (*epoll_pwait2)(int ep, struct epoll_event *ev, int n, int64_t timeout_ns);
    int (*mmap_fd)(int fd, size_t n, int64_t at, void **out);
    int (*io_uring_setup)(unsigned entries, struct io_uring_params *params);
    int (*io_uring_enter)(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                          size_t arg_n);
    int (*io_uring_register)(int fd, unsigned what, void *arg, unsigned n);
    int (*if_nametoindex)(const char *name);
    int (*begin_child)(int (*main)(void *arg), void *arg, bool copy, void *stack, size_t n,
                       int *out_pidfd);
};
extern struct sys_table coil__sys;
extern const struct sys_table coil__sys_real; /* to put it back */

#define X(type, name, params, args)      \
    static inline type sys_##name params \
    {                                    \
        return coil__sys.name args;      \
    }
SYS_CALLS(X)
#undef X
static inline int sys_fcntl(int fd, int cmd, intptr_t arg)
{
    return coil__sys.fcntl(fd, cmd, arg);
}
static inline int sys_mmap(size_t n, int prot, int flags, void **out)
{
    return coil__sys.mmap(n, prot, flags, out);
}
static inline int sys_epoll_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    return coil__sys.epoll_pwait2(ep, ev, n, timeout_ns);
}
static inline int sys_mmap_fd(int fd, size_t n, int64_t at, void **out)
{
    return coil__sys.mmap_fd(fd, n, at, out);
}
static inline int sys_io_uring_setup(unsigned entries, struct io_uring_params *params)
{
    return coil__sys.io_uring_setup(entries, params);
}
static inline int sys_io_uring_enter(int fd, unsigned submit, unsigned want, unsigned flags,
                                     const void *arg, size_t arg_n)
{
    return coil__sys.io_uring_enter(fd, submit, want, flags, arg, arg_n);
}
static inline int sys_io_uring_register(int fd, unsigned what, void *arg, unsigned n)
{
    return coil__sys.io_uring_register(fd, what, arg, n);
}
static inline int sys_if_nametoindex(const char *name)
{
    return coil__sys.if_nametoindex(name);
}
static inline int sys_begin_child(int (*main)(void *arg), void *arg, bool copy, void *stack,
                                  size_t n, int *out_pidfd)
{
    return coil__sys.begin_child(main, arg, copy, stack, n, out_pidfd);
}

#else

#define X(type, name, params, args)      \
    static inline type sys_##name params \
    {                                    \
        type r = name args;              \
        return r < 0 ? -errno : r;       \
    }
SYS_CALLS(X)
#undef X
static inline int sys_fcntl(int fd, int cmd, intptr_t arg)
{
    int r = fcntl(fd, cmd, arg);
    return r < 0 ? -errno : r;
}
int coil__sys_real_mmap(size_t n, int prot, int flags, void **out);
static inline int sys_mmap(size_t n, int prot, int flags, void **out)
{
    return coil__sys_real_mmap(n, prot, flags, out);
}
/* Nanoseconds, negative = for ever; -ENOSYS on kernels before 5.11. */
int coil__sys_real_epoll_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns);
static inline int sys_epoll_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    return coil__sys_real_epoll_pwait2(ep, ev, n, timeout_ns);
}
/* Shared, readable and writable, not in a child of fork. */
int coil__sys_real_mmap_fd(int fd, size_t n, int64_t at, void **out);
static inline int sys_mmap_fd(int fd, size_t n, int64_t at, void **out)
{
    return coil__sys_real_mmap_fd(fd, n, at, out);
}
/* -ENOSYS where the kernel, or the libc this was built with, knows no io_uring. */
int coil__sys_real_io_uring_setup(unsigned entries, struct io_uring_params *params);
static inline int sys_io_uring_setup(unsigned entries, struct io_uring_params *params)
{
    return coil__sys_real_io_uring_setup(entries, params);
}
int coil__sys_real_io_uring_enter(int fd, unsigned submit, unsigned want, unsigned flags,
                                  const void *arg, size_t arg_n);
static inline int sys_io_uring_enter(int fd, unsigned submit, unsigned want, unsigned flags,
                                     const void *arg, size_t arg_n)
{
    return coil__sys_real_io_uring_enter(fd, submit, want, flags, arg, arg_n);
}
int coil__sys_real_io_uring_register(int fd, unsigned what, void *arg, unsigned n);
static inline int sys_io_uring_register(int fd, unsigned what, void *arg, unsigned n)
{
    return coil__sys_real_io_uring_register(fd, what, arg, n);
}
/* -ENODEV: no such network interface. */
int coil__sys_real_if_nametoindex(const char *name);
static inline int sys_if_nametoindex(const char *name)
{
    return coil__sys_real_if_nametoindex(name);
}
/* A child process that runs main(arg) on this stack and ends by execve or sys_end_child, while we stand still; its
 * memory is ours, or with `copy` (and under sanitizers) a copy of it; main changes none of it, and gets no signal if we
 * block all. Returns its pid; *out_pidfd, close-on-exec,
 * is -1 where the kernel gives none. */
int coil__sys_real_begin_child(int (*main)(void *arg), void *arg, bool copy, void *stack, size_t n,
                               int *out_pidfd);
static inline int sys_begin_child(int (*main)(void *arg), void *arg, bool copy, void *stack,
                                  size_t n, int *out_pidfd)
{
    return coil__sys_real_begin_child(main, arg, copy, stack, n, out_pidfd);
}

#endif

/* The two that a signal may interrupt, made again then. */
static inline int sys_openat_again(int dir, const char *path, int flags, mode_t mode)
{
    int fd;
    while ((fd = sys_openat(dir, path, flags, mode)) == -EINTR)
        ;
    return fd;
}
static inline int sys_dup2_again(int from, int to)
{
    int fd;
    while ((fd = sys_dup2(from, to)) == -EINTR)
        ;
    return fd;
}

/* The beginning of a file as text; what does not fit is cut off. Returns the length or -errno. */
ssize_t coil__sys_text(const char *path, char *text, size_t size);

/* Ends such a child: nothing of the parent's is flushed or called. */
__attribute__((noreturn)) void coil__sys_end_child(int status);

/* The environment, as execve takes it. */
char *const *coil__sys_environ(void);

#endif
