/* SPDX-License-Identifier: MIT
 *
 * direct.c: the calls that never block, straight to the kernel.
 *
 * What each call must not forget stands here once: EINTR is retried, MSG_DONTWAIT keeps a descriptor that
 * somebody left blocking from stopping the loop, MSG_NOSIGNAL keeps a dead peer from killing the
 * program, new descriptors are non-blocking and close-on-exec.
 *
 * Runs on the loop's thread, but keeps nothing. Elsewhere: when a call is tried (readiness.c). */
#include "io/direct.h"

#include "base/sys.h"

#include <limits.h>
#include <stdatomic.h>

int coil__direct_socket(struct backend *b, int domain, int type, int proto)
{
    return sys_socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, proto);
}

int coil__direct_socketpair(struct backend *b, int domain, int type, int out_fds[2])
{
    return sys_socketpair(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out_fds);
}

int coil__direct_pipe(struct backend *b, int out_fds[2])
{
    return sys_pipe2(out_fds, O_NONBLOCK | O_CLOEXEC);
}

int coil__direct_bind(struct backend *b, int fd, const struct sockaddr *a, socklen_t n)
{
    return sys_bind(fd, a, n);
}

int coil__direct_listen(struct backend *b, int fd, int backlog)
{
    return sys_listen(fd, backlog);
}

int coil__direct_getsockopt(struct backend *b, int fd, int level, int name, void *v, socklen_t *n)
{
    return sys_getsockopt(fd, level, name, v, n);
}

int coil__direct_setsockopt(struct backend *b, int fd, int level, int name, const void *v,
                            socklen_t n)
{
    return sys_setsockopt(fd, level, name, v, n);
}

int coil__direct_getsockname(struct backend *b, int fd, struct sockaddr *a, socklen_t *n)
{
    return sys_getsockname(fd, a, n);
}

int coil__direct_getpeername(struct backend *b, int fd, struct sockaddr *a, socklen_t *n)
{
    return sys_getpeername(fd, a, n);
}

int coil__direct_shutdown(struct backend *b, int fd, int how)
{
    return sys_shutdown(fd, how);
}

int coil__direct_fchmod(struct backend *b, int fd, mode_t mode)
{
    return sys_fchmod(fd, mode);
}

int coil__direct_lstat(struct backend *b, const char *path, struct stat *out)
{
    return sys_lstat(path, out);
}

int coil__direct_chmod(struct backend *b, const char *path, mode_t mode)
{
    return sys_chmod(path, mode);
}

int coil__direct_unlink(struct backend *b, const char *path)
{
    return sys_unlink(path);
}

/* The value of `call`, made again for as long as a signal interrupts it. */
#define RETRY(type, call)      \
    do {                       \
        type rc_;              \
        do                     \
            rc_ = (call);      \
        while (rc_ == -EINTR); \
        return rc_;            \
    } while (0)

ssize_t coil__direct_sendv(int fd, const struct iovec *v, int n)
{
    /* The kernel refuses a longer vector; a partial send is always allowed. */
    struct msghdr hdr = {.msg_iov = (struct iovec *)(uintptr_t)v,
                         .msg_iovlen = (size_t)(n < IOV_MAX ? n : IOV_MAX)};
    return coil__direct_sendmsg(fd, &hdr, 0);
}

ssize_t coil__direct_recvmsg(int fd, struct msghdr *hdr, int flags)
{
    RETRY(ssize_t, sys_recvmsg(fd, hdr, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
}

ssize_t coil__direct_sendmsg(int fd, const struct msghdr *hdr, int flags)
{
    RETRY(ssize_t, sys_sendmsg(fd, hdr, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
}

ssize_t coil__direct_read(int fd, void *p, size_t n)
{
    RETRY(ssize_t, sys_read(fd, p, n));
}

/* Calls that know no MSG_NOSIGNAL: SIGPIPE is blocked for their time, and one that they raised is taken back; what
 * was pending before stays so. */
struct quiet {
    sigset_t before;
    bool blocked, theirs;
};

static void only_sigpipe(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGPIPE);
}

static int quiet_begin(struct quiet *q)
{
    sigset_t sigpipe, pending;
    only_sigpipe(&sigpipe);
    int rc = sys_sigprocmask(SIG_BLOCK, &sigpipe, &q->before);
    if (rc < 0)
        return rc;
    q->blocked = sigismember(&q->before, SIGPIPE) == 1;
    q->theirs = q->blocked && sys_sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    return 0;
}

/* `raised`: the call may have. */
static void quiet_end(const struct quiet *q, bool raised)
{
    static const struct timespec now = {0, 0};
    sigset_t sigpipe;
    only_sigpipe(&sigpipe);
    if (raised && !q->theirs)
        (void)sys_sigtimedwait(&sigpipe, NULL, &now);
    if (!q->blocked)
        (void)sys_sigprocmask(SIG_SETMASK, &q->before, NULL);
}

static ssize_t write_masked(int fd, const void *p, size_t n)
{
    struct quiet q;
    ssize_t rc = quiet_begin(&q);
    if (rc < 0)
        return rc;
    do
        rc = sys_write(fd, p, n);
    while (rc == -EINTR);
    quiet_end(&q, rc == -EPIPE);
    return rc;
}

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100 /* Linux 6.18 */
#endif

ssize_t coil__direct_write(int fd, const void *p, size_t n)
{
    /* Set by a device that knows no flags, too; then writing costs three calls, and is right all the same. */
    static atomic_bool no_flag;
    if (!atomic_load_explicit(&no_flag, memory_order_relaxed)) {
        struct iovec v = {(void *)(uintptr_t)p, n};
        ssize_t rc;
        do
            rc = sys_pwritev2(fd, &v, 1, -1, RWF_NOSIGNAL);
        while (rc == -EINTR);
        if (rc != -EOPNOTSUPP && rc != -ENOSYS && rc != -EINVAL)
            return rc;
        if (rc != -EINVAL)
            atomic_store_explicit(&no_flag, true, memory_order_relaxed);
    }
    return write_masked(fd, p, n);
}

/* sendfile(2) has no MSG_NOSIGNAL, and may raise the signal after it has sent something, too. It goes to this thread
 * alone, which holds it back and takes it; one that was pending before is somebody else's. */
ssize_t coil__direct_sendfile(int fd, int file, off_t *at, size_t n)
{
    struct quiet q;
    ssize_t rc = quiet_begin(&q);
    if (rc < 0)
        return rc;
    do
        rc = sys_sendfile(fd, file, at, n);
    while (rc == -EINTR);
    quiet_end(&q, true);
    return rc;
}

/* accept(2) hands over errors of the new connection; they say nothing about the listener. EOPNOTSUPP is
 * on the manual's list too, but it also means "not a listening kind of socket", for ever. */
static bool died_in_backlog(int err)
{
    switch (-err) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM: /* a firewall said no */
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH: return true;
    default: return false;
    }
}

int coil__direct_accept(int fd, struct sockaddr_storage *addr, socklen_t *len)
{
    /* The bound keeps an error that never ends (a seccomp filter's EPERM) from stopping the loop. */
    int rc = -EAGAIN;
    for (int i = 0; i < 64; i++) {
        socklen_t n = sizeof *addr;
        rc = sys_accept4(fd, (struct sockaddr *)addr, addr ? &n : NULL,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (rc >= 0 && addr)
            *len = n;
        if (rc >= 0 || !died_in_backlog(rc))
            break;
    }
    return rc;
}

int coil__direct_connect(int fd, const struct sockaddr_storage *addr, socklen_t len)
{
    int rc = sys_connect(fd, (const struct sockaddr *)addr, len);
    /* Interrupted, the attempt goes on without us; "already" is an earlier attempt going on. */
    return rc == -EINTR || rc == -EALREADY ? -EINPROGRESS : rc;
}

int coil__direct_connected(int fd, bool broken)
{
    int err = 0;
    socklen_t n = sizeof err;
    int rc = sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n);
    if (rc < 0)
        return rc;
    if (err)
        return -err;
    /* No error is not yet a connection: the wake-up may have been for nothing. */
    struct sockaddr_storage peer;
    n = sizeof peer;
    rc = sys_getpeername(fd, (struct sockaddr *)&peer, &n);
    if (rc != -ENOTCONN)
        return rc < 0 ? rc : 0;
    return broken ? -ECONNABORTED : -EAGAIN;
}

int coil__direct_close(int fd)
{
    int rc = sys_close(fd);
    return rc == -EINTR ? 0 : rc; /* Linux has closed it; a second try might hit somebody else's */
}
