/* SPDX-License-Identifier: MIT
 *
 * calls.c: the system calls of the virtual kernel on sockets, pipes, eventfds and files.
 *
 * A number below VKERNEL_FD is the real kernel's: the call goes there.
 *
 * One thread. Elsewhere: what streams do (stream.c), what waits on them (watch.c, ring.c). */
#include "inside.h"

#include <sys/un.h>

#define CALL(fd, ...)                      \
    if (!is_virtual(fd))                   \
        return coil__sys_real.__VA_ARGS__; \
    vk_tick();                             \
    struct vfile *f = vk_file(fd);         \
    if (!f)                                \
    return -EBADF

/* A signal came first. */
static bool interrupted(void)
{
    if (!vk_chance(vk.faults.interrupts))
        return false;
    vk.counts.interrupted++;
    return true;
}

/* ---- bytes ---- */

static ssize_t v_recv(int fd, void *p, size_t n, int flags)
{
    CALL(fd, recv(fd, p, n, flags));
    if (interrupted())
        return vk_trace("recv", fd, (int64_t)n, -EINTR);
    return vk_trace("recv", fd, (int64_t)n, stream_recv(f, p, n, flags & MSG_PEEK));
}

static ssize_t v_send(int fd, const void *p, size_t n, int flags)
{
    CALL(fd, send(fd, p, n, flags));
    if (interrupted())
        return vk_trace("send", fd, (int64_t)n, -EINTR);
    return vk_trace("send", fd, (int64_t)n, stream_send(f, p, n));
}

static ssize_t move_vector(struct vfile *f, const struct iovec *v, size_t n, bool in, bool peek)
{
    ssize_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (v[i].iov_len == 0)
            continue;
        ssize_t got = in ? stream_recv(f, v[i].iov_base, v[i].iov_len, peek)
                         : stream_send(f, v[i].iov_base, v[i].iov_len);
        if (got < 0)
            return total ? total : got;
        total += got;
        if ((size_t)got < v[i].iov_len || peek)
            break;
    }
    return total;
}

static ssize_t v_recvmsg(int fd, struct msghdr *m, int flags)
{
    CALL(fd, recvmsg(fd, m, flags));
    if (interrupted())
        return vk_trace("recvmsg", fd, 0, -EINTR);
    m->msg_flags = 0;
    m->msg_namelen = 0;
    m->msg_controllen = 0;
    return vk_trace("recvmsg", fd, (int64_t)m->msg_iovlen,
                    move_vector(f, m->msg_iov, m->msg_iovlen, true, flags & MSG_PEEK));
}

static ssize_t v_sendmsg(int fd, const struct msghdr *m, int flags)
{
    CALL(fd, sendmsg(fd, m, flags));
    if (interrupted())
        return vk_trace("sendmsg", fd, 0, -EINTR);
    return vk_trace("sendmsg", fd, (int64_t)m->msg_iovlen,
                    move_vector(f, m->msg_iov, m->msg_iovlen, false, false));
}

static ssize_t count_read(struct vfile *f, void *p, size_t n)
{
    if (n < sizeof f->counter)
        return -EINVAL;
    if (!f->counter)
        return -EAGAIN;
    memcpy(p, &f->counter, sizeof f->counter);
    f->counter = 0;
    return sizeof f->counter;
}

static ssize_t count_write(struct vfile *f, const void *p, size_t n)
{
    uint64_t more;
    if (n < sizeof more)
        return -EINVAL;
    memcpy(&more, p, sizeof more);
    f->counter += more;
    vk_wake(f, POLLIN);
    return sizeof more;
}

static ssize_t disk_read(const struct disk *d, void *p, size_t n, int64_t at)
{
    size_t left = (uint64_t)at < d->n ? d->n - (size_t)at : 0;
    if (left > n)
        left = n;
    memcpy(p, d->p + (left ? at : 0), left);
    return (ssize_t)left;
}

static ssize_t v_read(int fd, void *p, size_t n)
{
    CALL(fd, read(fd, p, n));
    if (interrupted())
        return vk_trace("read", fd, (int64_t)n, -EINTR);
    ssize_t rc = f->kind == V_EVENTFD ? count_read(f, p, n)
                 : f->kind == V_DISK  ? disk_read(f->disk, p, n, 0)
                                      : stream_recv(f, p, n, false);
    return vk_trace("read", fd, (int64_t)n, rc);
}

static ssize_t v_write(int fd, const void *p, size_t n)
{
    CALL(fd, write(fd, p, n));
    if (f->kind == V_EVENTFD)
        return vk_trace("write", fd, (int64_t)n, count_write(f, p, n));
    if (interrupted())
        return vk_trace("write", fd, (int64_t)n, -EINTR);
    return vk_trace("write", fd, (int64_t)n, stream_send(f, p, n));
}

static ssize_t v_pwritev2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    CALL(fd, pwritev2(fd, v, n, at, flags));
    if (vk.faults.linux_version && flags)
        return vk_trace("pwritev2", fd, flags, -EOPNOTSUPP); /* NOSIGNAL came with 6.18 */
    if (interrupted())
        return vk_trace("pwritev2", fd, n, -EINTR);
    return vk_trace("pwritev2", fd, n, move_vector(f, v, (size_t)n, false, false));
}

/* ---- making and closing ---- */

/* The number owns the file now; without one it is gone. */
static int numbered(struct vfile *f, int flags)
{
    f->nonblock = flags & SOCK_NONBLOCK;
    int fd = vk_number(f);
    if (fd < 0)
        vk_unref(f);
    return fd;
}

static int v_socket(int domain, int type, int proto)
{
    vk_tick();
    if ((domain != AF_INET && domain != AF_UNIX) || (type & 0xf) != SOCK_STREAM)
        return vk_trace("socket", domain, type, -EAFNOSUPPORT);
    struct vfile *f = vk_new(V_SOCKET);
    f->domain = domain;
    return (int)vk_trace("socket", domain, type, numbered(f, type));
}

static int two_ends(enum vkind first, enum vkind second, int domain, int flags, int out[2])
{
    struct vfile *a = vk_new(first), *b = vk_new(second);
    a->domain = b->domain = domain;
    stream_pair(a, b);
    int one = numbered(a, flags);
    if (one < 0) {
        vk_unref(b);
        return one;
    }
    int two = numbered(b, flags);
    if (two < 0) {
        vk_close(one);
        return two;
    }
    out[0] = one;
    out[1] = two;
    return 0;
}

static int v_socketpair(int domain, int type, int proto, int out[2])
{
    vk_tick();
    if (domain != AF_UNIX || (type & 0xf) != SOCK_STREAM)
        return -EAFNOSUPPORT;
    return (int)vk_trace("socketpair", domain, type,
                         two_ends(V_SOCKET, V_SOCKET, domain, type, out));
}

static int v_pipe2(int out[2], int flags)
{
    vk_tick();
    return (int)vk_trace("pipe", 0, 0, two_ends(V_PIPE_IN, V_PIPE_OUT, 0, flags & O_NONBLOCK, out));
}

static int v_eventfd(unsigned value, int flags)
{
    vk_tick();
    struct vfile *f = vk_new(V_EVENTFD);
    f->counter = value;
    return (int)vk_trace("eventfd", value, 0, numbered(f, flags));
}

static int v_close(int fd)
{
    if (!is_virtual(fd))
        return coil__sys_real.close(fd);
    vk_tick();
    int rc = vk_close(fd);
    if (rc == 0 && interrupted())
        rc = -EINTR; /* it is closed all the same */
    return (int)vk_trace("close", fd, 0, rc);
}

/* ---- names and connections ---- */

static int v_bind(int fd, const struct sockaddr *a, socklen_t n)
{
    CALL(fd, bind(fd, a, n));
    if (f->domain == AF_INET) {
        uint16_t port = ntohs(((const struct sockaddr_in *)(const void *)a)->sin_port);
        f->port = port ? port : vk.next_port++;
    } else {
        snprintf(f->name, sizeof f->name, "%s", a->sa_data + !a->sa_data[0]);
    }
    return (int)vk_trace("bind", fd, f->port, 0);
}

static int v_listen(int fd, int backlog)
{
    CALL(fd, listen(fd, backlog));
    int most = (int)(sizeof f->backlog / sizeof *f->backlog);
    f->kind = V_LISTENER;
    f->backlog_max = (unsigned)(backlog < 1 ? 1 : backlog > most ? most : backlog);
    return (int)vk_trace("listen", fd, backlog, 0);
}

static void tell_name(const struct vfile *f, uint16_t port, const char *name, struct sockaddr *a,
                      socklen_t *n)
{
    struct sockaddr_storage out;
    memset(&out, 0, sizeof out);
    out.ss_family = (sa_family_t)f->domain;
    socklen_t size = sizeof(struct sockaddr_in);
    if (f->domain == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&out;
        in->sin_port = htons(port);
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else {
        memcpy(((struct sockaddr *)&out)->sa_data + 1, name, strlen(name));
        size = (socklen_t)(sizeof out.ss_family + (*name ? 1 + strlen(name) : 0));
    }
    memcpy(a, &out, *n < size ? *n : size);
    *n = size;
}

static int v_getsockname(int fd, struct sockaddr *a, socklen_t *n)
{
    CALL(fd, getsockname(fd, a, n));
    tell_name(f, f->port, f->name, a, n);
    return 0;
}

static int v_getpeername(int fd, struct sockaddr *a, socklen_t *n)
{
    CALL(fd, getpeername(fd, a, n));
    if (!f->connected || (f->domain == AF_INET && f->error))
        return (int)vk_trace("getpeername", fd, 0, -ENOTCONN);
    tell_name(f, f->peer_port, f->peer ? f->peer->name : "", a, n);
    return (int)vk_trace("getpeername", fd, 0, 0);
}

static int v_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    CALL(fd, accept4(fd, a, n, flags));
    struct vfile *served;
    if (interrupted())
        return (int)vk_trace("accept", fd, 0, -EINTR);
    if (f->backlog_n) { /* a number first, as the kernel does: EMFILE leaves it in the backlog */
        int number = vk_number(f);
        if (number < 0)
            return (int)vk_trace("accept", fd, 0, number);
        vk.table[number - VKERNEL_FD] = NULL;
        f->numbers--;
    }
    int rc = stream_accept(f, &served);
    if (rc == 0) {
        rc = numbered(served, flags);
        if (a)
            tell_name(served, served->peer_port, "", a, n);
    }
    return (int)vk_trace("accept", fd, 0, rc);
}

static int v_connect(int fd, const struct sockaddr *a, socklen_t n)
{
    CALL(fd, connect(fd, a, n));
    return (int)vk_trace("connect", fd, 0, stream_connect(f, a, n));
}

static int v_shutdown(int fd, int how)
{
    CALL(fd, shutdown(fd, how));
    return (int)vk_trace("shutdown", fd, how, stream_shutdown(f, how));
}

static int v_getsockopt(int fd, int level, int name, void *v, socklen_t *n)
{
    CALL(fd, getsockopt(fd, level, name, v, n));
    int value = 0;
    if (f->kind != V_SOCKET && f->kind != V_LISTENER)
        return -ENOTSOCK;
    if (level == SOL_SOCKET && name == SO_TYPE)
        value = SOCK_STREAM;
    else if (level == SOL_SOCKET && name == SO_DOMAIN)
        value = f->domain;
    else if (level == SOL_SOCKET && name == SO_PROTOCOL)
        value = f->domain == AF_INET ? IPPROTO_TCP : 0;
    else if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        value = f->kind == V_LISTENER;
    if (level == SOL_SOCKET && name == SO_ERROR) {
        value = f->error;
        f->error = 0;
        if (value) {
            f->in.end = f->connected;
            f->gone = f->shut_out = true;
        }
        vk_trace("so_error", fd, 0, value);
    }
    memcpy(v, &value, sizeof value);
    *n = sizeof value;
    return 0;
}

static int v_setsockopt(int fd, int level, int name, const void *v, socklen_t n)
{
    CALL(fd, setsockopt(fd, level, name, v, n));
    return 0;
}

/* ---- the rest ---- */

static int v_fcntl(int fd, int cmd, intptr_t arg)
{
    CALL(fd, fcntl(fd, cmd, arg));
    switch (cmd) {
    case F_GETFD: return FD_CLOEXEC;
    case F_GETFL: return O_RDWR | (f->nonblock ? O_NONBLOCK : 0);
    case F_SETFL: f->nonblock = arg & O_NONBLOCK; return 0;
    case F_DUPFD_CLOEXEC: return vkernel_dup(fd);
    default: return 0;
    }
}

static int v_fstat(int fd, struct stat *st)
{
    CALL(fd, fstat(fd, st));
    memset(st, 0, sizeof *st);
    st->st_mode = f->kind == V_DISK                               ? S_IFREG
                  : f->kind == V_PIPE_IN || f->kind == V_PIPE_OUT ? S_IFIFO
                  : f->kind == V_SOCKET || f->kind == V_LISTENER  ? S_IFSOCK
                                                                  : 0;
    st->st_size = f->disk ? (off_t)f->disk->n : 0;
    return 0;
}

static int v_openat(int dir, const char *path, int flags, mode_t mode)
{
    if (strncmp(path, "/vkernel/", 9) != 0)
        return coil__sys_real.openat(dir, path, flags, mode);
    vk_tick();
    for (size_t i = 0; i < sizeof vk.disks / sizeof *vk.disks; i++) {
        if (strcmp(vk.disks[i].name, path + 9) != 0)
            continue;
        struct vfile *f = vk_new(V_DISK);
        f->disk = &vk.disks[i];
        return (int)vk_trace("openat", 0, 0, numbered(f, 0));
    }
    return (int)vk_trace("openat", 0, 0, -ENOENT);
}

static ssize_t v_sendfile(int out, int in, off_t *at, size_t n)
{
    if (!is_virtual(out) && !is_virtual(in))
        return coil__sys_real.sendfile(out, in, at, n);
    return -EINVAL; /* read and send */
}

void calls_install(void)
{
    coil__sys.recv = v_recv;
    coil__sys.send = v_send;
    coil__sys.recvmsg = v_recvmsg;
    coil__sys.sendmsg = v_sendmsg;
    coil__sys.read = v_read;
    coil__sys.write = v_write;
    coil__sys.pwritev2 = v_pwritev2;
    coil__sys.socket = v_socket;
    coil__sys.socketpair = v_socketpair;
    coil__sys.pipe2 = v_pipe2;
    coil__sys.eventfd = v_eventfd;
    coil__sys.close = v_close;
    coil__sys.bind = v_bind;
    coil__sys.listen = v_listen;
    coil__sys.getsockname = v_getsockname;
    coil__sys.getpeername = v_getpeername;
    coil__sys.accept4 = v_accept4;
    coil__sys.connect = v_connect;
    coil__sys.shutdown = v_shutdown;
    coil__sys.getsockopt = v_getsockopt;
    coil__sys.setsockopt = v_setsockopt;
    coil__sys.fcntl = v_fcntl;
    coil__sys.fstat = v_fstat;
    coil__sys.openat = v_openat;
    coil__sys.sendfile = v_sendfile;
}
