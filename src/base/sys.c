/* SPDX-License-Identifier: MIT
 *
 * sys.c: the kernel calls that are more than a line, and the table that test builds go through. */
#include "base/sys.h"

#include <sys/syscall.h>

int coil__sys_real_mmap(size_t n, int prot, int flags, void **out);
int coil__sys_real_epoll_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns);
int coil__sys_real_io_uring_setup(unsigned entries, void *params);

/* A pointer has no room for -errno, so the address goes through `out`. */
int coil__sys_real_mmap(size_t n, int prot, int flags, void **out)
{
    void *p = mmap(NULL, n, prot, flags, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    *out = p;
    return 0;
}

int coil__sys_real_epoll_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
#ifdef SYS_epoll_pwait2
    struct {
        int64_t sec, nsec; /* the kernel's own 64-bit timespec, whatever libc's is */
    } ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    long r = syscall(SYS_epoll_pwait2, ep, ev, n, timeout_ns < 0 ? NULL : &ts, NULL, (size_t)0);
    return r < 0 ? -errno : (int)r;
#else
    (void)ep, (void)ev, (void)n, (void)timeout_ns;
    return -ENOSYS;
#endif
}

int coil__sys_real_io_uring_setup(unsigned entries, void *params)
{
#ifdef SYS_io_uring_setup
    long r = syscall(SYS_io_uring_setup, entries, params);
    return r < 0 ? -errno : (int)r;
#else
    (void)entries, (void)params;
    return -ENOSYS;
#endif
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
#define REAL                                                          \
    {                                                                 \
        SYS_CALLS(X).fcntl = real_fcntl, .mmap = coil__sys_real_mmap, \
        .epoll_pwait2 = coil__sys_real_epoll_pwait2,                  \
        .io_uring_setup = coil__sys_real_io_uring_setup,              \
    }
const struct sys_table coil__sys_real = REAL;
struct sys_table coil__sys = REAL;
#undef X
#endif
