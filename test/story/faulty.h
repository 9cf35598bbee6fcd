/* SPDX-License-Identifier: MIT
 *
 * faulty.h: a kernel that fails once: arm(n, error), and the n-th of the calls below says so. Put coil__sys_real back
 * into coil__sys afterwards. */
#ifndef TEST_STORY_FAULTY_H
#define TEST_STORY_FAULTY_H

#include "base/sys.h"

static struct {
    long calls, fails_at;
    int error;
    bool failed;
} kernel;

static bool must_fail(void)
{
    if (++kernel.calls != kernel.fails_at)
        return false;
    kernel.failed = true;
    return true;
}

#define FAILING(type, name, params, args)                              \
    static type failing_##name params                                  \
    {                                                                  \
        return must_fail() ? -kernel.error : coil__sys_real.name args; \
    }
FAILING(int, socket, (int domain, int type, int proto), (domain, type, proto))
FAILING(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAILING(int, listen, (int fd, int backlog), (fd, backlog))
FAILING(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
FAILING(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAILING(int, getsockopt, (int fd, int level, int name, void *v, socklen_t *n),
        (fd, level, name, v, n))
FAILING(int, setsockopt, (int fd, int level, int name, const void *v, socklen_t n),
        (fd, level, name, v, n))
FAILING(ssize_t, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
FAILING(ssize_t, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))
FAILING(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
FAILING(int, shutdown, (int fd, int how), (fd, how))
FAILING(int, getpeername, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
FAILING(int, lstat, (const char *path, struct stat *st), (path, st))
FAILING(int, unlink, (const char *path), (path))
FAILING(int, chmod, (const char *path, mode_t mode), (path, mode))
FAILING(int, fchmod, (int fd, mode_t mode), (fd, mode))
FAILING(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))

static void arm(long n, int error)
{
    kernel.calls = 0;
    kernel.fails_at = n;
    kernel.error = error;
    kernel.failed = false;
    coil__sys.socket = failing_socket;
    coil__sys.bind = failing_bind;
    coil__sys.listen = failing_listen;
    coil__sys.accept4 = failing_accept4;
    coil__sys.connect = failing_connect;
    coil__sys.getsockopt = failing_getsockopt;
    coil__sys.setsockopt = failing_setsockopt;
    coil__sys.recv = failing_recv;
    coil__sys.send = failing_send;
    coil__sys.sendmsg = failing_sendmsg;
    coil__sys.shutdown = failing_shutdown;
    coil__sys.getpeername = failing_getpeername;
    coil__sys.lstat = failing_lstat;
    coil__sys.unlink = failing_unlink;
    coil__sys.chmod = failing_chmod;
    coil__sys.fchmod = failing_fchmod;
    coil__sys.epoll_ctl = failing_epoll_ctl;
}

#endif
