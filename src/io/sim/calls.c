/* SPDX-License-Identifier: MIT
 *
 * calls.c: the imaginary kernel's plain calls, and the table of the backend.
 *
 *     call --a real descriptor--> the embedded poll backend
 *          --an imaginary one--> its file, or -EBADF --> names, connect, stream, datagram, options
 *
 * Always true:
 *   - a call never waits: where there is nothing yet it says -EAGAIN, and the caller submits an op;
 *   - it ends no ops but those on a descriptor that is closed or forgotten; others it stirs, for the next wait;
 *   - a call and an op that do the same go through the same functions (sim.c), but only a call may be SIM_LATE.
 *
 * Runs on the loop's thread. Elsewhere: the ops (sim.c), what each call promises (io/backend.h). */
#include "io/sim/sim.h"

#include <coil/error.h>

#include <errno.h>

/* `return` the real kernel's answer where the descriptor is real. */
#define REAL(call, ...)                                              \
    do {                                                             \
        if (sim_is_real(fd)) {                                       \
            struct backend *inner = sim_of(b)->inner;                \
            return inner->cls->calls.call(inner, fd, ##__VA_ARGS__); \
        }                                                            \
    } while (0)

/* The imaginary file, or `return` -EBADF. */
#define FILE_OR_EBADF()                          \
    struct sim *sim = sim_of(b);                 \
    struct file *file = coil__sim_file(sim, fd); \
    if (!file)                                   \
    return -EBADF

#define SOCKET_OR_ERROR()     \
    FILE_OR_EBADF();          \
    if (!sim_is_socket(file)) \
    return -ENOTSOCK

static int make(struct sim *sim, enum file_kind kind, int domain, int type, struct file **out)
{
    int err = coil__sim_file_new(sim, kind, domain, type, out);
    if (err < 0)
        return err;
    int fd = coil__sim_file_install(sim, *out);
    if (fd < 0)
        coil__free(*out);
    return fd;
}

static int call_socket(struct backend *b, int domain, int type, int proto)
{
    struct file *file;
    type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX)
        return -EAFNOSUPPORT;
    if (type != SOCK_STREAM && type != SOCK_DGRAM)
        return -EPROTONOSUPPORT;
    return make(sim_of(b), type == SOCK_STREAM ? FILE_STREAM : FILE_DATAGRAM, domain, type, &file);
}

static int make_pair(struct sim *sim, enum file_kind kind, int domain, int type, int out_fds[2])
{
    struct file *x, *y;
    int a = make(sim, kind, domain, type, &x);
    if (a < 0)
        return a;
    int c = make(sim, kind, domain, type, &y);
    if (c < 0) {
        coil__sim_file_close(sim, x);
        return c;
    }
    /* A pipe is read at the first end and written at the second. */
    int err = coil__sim_channels_new(sim, y, x, kind != FILE_PIPE, true);
    if (err < 0) {
        coil__sim_file_close(sim, x);
        coil__sim_file_close(sim, y);
        return err;
    }
    x->state = y->state = STATE_CONNECTED;
    out_fds[0] = a;
    out_fds[1] = c;
    return 0;
}

static int call_socketpair(struct backend *b, int domain, int type, int out_fds[2])
{
    type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (domain != AF_UNIX)
        return -EOPNOTSUPP;
    if (type != SOCK_STREAM)
        return -EPROTONOSUPPORT;
    return make_pair(sim_of(b), FILE_STREAM, domain, type, out_fds);
}

static int call_pipe(struct backend *b, int out_fds[2])
{
    return make_pair(sim_of(b), FILE_PIPE, 0, 0, out_fds);
}

static int call_bind(struct backend *b, int fd, const struct sockaddr *a, socklen_t n)
{
    REAL(bind, a, n);
    SOCKET_OR_ERROR();
    return coil__sim_bind(sim, file, a, n);
}

static int call_listen(struct backend *b, int fd, int backlog)
{
    REAL(listen, backlog);
    SOCKET_OR_ERROR();
    return coil__sim_listen(sim, file, backlog);
}

static int call_getsockopt(struct backend *b, int fd, int level, int name, void *v, socklen_t *n)
{
    REAL(getsockopt, level, name, v, n);
    SOCKET_OR_ERROR();
    return coil__sim_getsockopt(sim, file, level, name, v, n);
}

static int call_setsockopt(struct backend *b, int fd, int level, int name, const void *v,
                           socklen_t n)
{
    REAL(setsockopt, level, name, v, n);
    SOCKET_OR_ERROR();
    return coil__sim_setsockopt(sim, file, level, name, v, n);
}

static int call_getsockname(struct backend *b, int fd, struct sockaddr *a, socklen_t *n)
{
    REAL(getsockname, a, n);
    SOCKET_OR_ERROR();
    coil__sim_name_copy(&file->local, file->domain, a, n);
    return 0;
}

static int call_getpeername(struct backend *b, int fd, struct sockaddr *a, socklen_t *n)
{
    REAL(getpeername, a, n);
    SOCKET_OR_ERROR();
    if (file->state != STATE_CONNECTED)
        return -ENOTCONN;
    coil__sim_name_copy(&file->peer, file->domain, a, n);
    return 0;
}

static int call_shutdown(struct backend *b, int fd, int how)
{
    REAL(shutdown, how);
    SOCKET_OR_ERROR();
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        return -EINVAL;
    return coil__sim_stream_shutdown(sim, file, how);
}

static int call_fchmod(struct backend *b, int fd, mode_t mode)
{
    REAL(fchmod, mode);
    SOCKET_OR_ERROR();
    (void)sim;
    file->mode = mode & 07777;
    return 0;
}

static int call_lstat(struct backend *b, const char *path, struct stat *out)
{
    return coil__sim_lstat(sim_of(b), path, out);
}

static int call_chmod(struct backend *b, const char *path, mode_t mode)
{
    return coil__sim_chmod(sim_of(b), path, mode);
}

static int call_unlink(struct backend *b, const char *path)
{
    return coil__sim_unlink(sim_of(b), path);
}

static int call_own(struct backend *b, int fd)
{
    REAL(own);
    FILE_OR_EBADF();
    if (file->ops_n > 0)
        return -EBUSY;
    file->owned = true;
    return 0;
}

static int call_watchable(struct backend *b, int fd)
{
    REAL(watchable);
    FILE_OR_EBADF();
    (void)sim;
    return file->owned ? COIL_EINVALIDSTATE : 0;
}

static bool call_owns(struct backend *b, int fd)
{
    REAL(owns);
    struct file *file = coil__sim_file(sim_of(b), fd);
    return file && file->owned;
}

static void call_forget(struct backend *b, int fd)
{
    struct sim *sim = sim_of(b);
    struct file *file = coil__sim_file(sim, fd);
    if (sim_is_real(fd))
        sim->inner->cls->calls.forget(sim->inner, fd);
    else if (file && !file->owned)
        coil__sim_fail_all(sim, file, -ECANCELED);
    coil__sim_sync_counts(sim);
}

static int call_close(struct backend *b, int fd)
{
    if (sim_is_real(fd)) {
        struct sim *real = sim_of(b);
        int rc = real->inner->cls->calls.close(real->inner, fd);
        coil__sim_sync_counts(real);
        return rc;
    }
    FILE_OR_EBADF();
    coil__sim_fail_all(sim, file, -ECANCELED);
    coil__sim_file_close(sim, file);
    coil__sim_sync_counts(sim);
    return 0;
}

/* What would succeed a moment later: the caller submits an op, as for what has not come yet. */
#define OR_LATE()                 \
    if (sim_fault(sim, SIM_LATE)) \
    return -EAGAIN

static ssize_t call_recv(struct backend *b, int fd, void *p, size_t n, int flags)
{
    REAL(recv, p, n, flags);
    SOCKET_OR_ERROR();
    OR_LATE();
    return coil__sim_recv_flat(sim, file, p, n, flags);
}

static void call_discard(struct backend *b, int fd, size_t n)
{
    char bin[4096];
    ssize_t got;
    for (size_t left = n; left > 0; left -= (size_t)got) {
        got = call_recv(b, fd, bin, left < sizeof bin ? left : sizeof bin, 0);
        if (got <= 0)
            break;
    }
}

static ssize_t call_send(struct backend *b, int fd, const void *p, size_t n)
{
    REAL(send, p, n);
    SOCKET_OR_ERROR();
    OR_LATE();
    return coil__sim_send_flat(sim, file, p, n);
}

static ssize_t call_sendv(struct backend *b, int fd, const struct iovec *v, int n)
{
    REAL(sendv, v, n);
    SOCKET_OR_ERROR();
    OR_LATE();
    struct msghdr hdr = {.msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n};
    return coil__sim_transmit(sim, file, &hdr);
}

static ssize_t call_recvmsg(struct backend *b, int fd, struct msghdr *hdr, int flags)
{
    REAL(recvmsg, hdr, flags);
    SOCKET_OR_ERROR();
    return coil__sim_receive(sim, file, hdr, flags);
}

static ssize_t call_sendmsg(struct backend *b, int fd, const struct msghdr *hdr)
{
    REAL(sendmsg, hdr);
    SOCKET_OR_ERROR();
    return coil__sim_transmit(sim, file, hdr);
}

static ssize_t call_read(struct backend *b, int fd, void *p, size_t n)
{
    REAL(read, p, n);
    FILE_OR_EBADF();
    OR_LATE();
    return coil__sim_recv_flat(sim, file, p, n, 0);
}

static ssize_t call_write(struct backend *b, int fd, const void *p, size_t n)
{
    REAL(write, p, n);
    FILE_OR_EBADF();
    OR_LATE();
    return coil__sim_send_flat(sim, file, p, n);
}

static int call_accept(struct backend *b, int fd, struct sockaddr_storage *addr, socklen_t *len)
{
    REAL(accept, addr, len);
    SOCKET_OR_ERROR();
    OR_LATE();
    return coil__sim_accept(sim, file, addr, len);
}

static ssize_t call_sendfile(struct backend *b, int fd, int from, off_t *at, size_t n)
{
    REAL(sendfile, from, at, n);
    FILE_OR_EBADF();
    (void)sim;
    return -EINVAL; /* files are real, and this socket is not */
}

const struct backend_class coil__backend_sim = {
    .name = "sim",
    .open = coil__sim_open,
    .close = coil__sim_close,
    .submit = coil__sim_submit,
    .cancel = coil__sim_cancel,
    .wait = coil__sim_wait,
    .poll_fd = coil__sim_poll_fd,
    .rearm = coil__sim_rearm,
    .next_event_ns = coil__sim_next_event_ns,
    .children = &coil__sim_children,
    .calls =
        {
            .socket = call_socket,
            .socketpair = call_socketpair,
            .pipe = call_pipe,
            .bind = call_bind,
            .listen = call_listen,
            .getsockopt = call_getsockopt,
            .setsockopt = call_setsockopt,
            .getsockname = call_getsockname,
            .getpeername = call_getpeername,
            .shutdown = call_shutdown,
            .fchmod = call_fchmod,
            .lstat = call_lstat,
            .chmod = call_chmod,
            .unlink = call_unlink,
            .own = call_own,
            .close = call_close,
            .watchable = call_watchable,
            .owns = call_owns,
            .forget = call_forget,
            .recv = call_recv,
            .send = call_send,
            .sendv = call_sendv,
            .recvmsg = call_recvmsg,
            .sendmsg = call_sendmsg,
            .accept = call_accept,
            .read = call_read,
            .write = call_write,
            .discard = call_discard,
            .sendfile = call_sendfile,
        },
};
