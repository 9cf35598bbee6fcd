/* SPDX-License-Identifier: MIT
 *
 * fault_calls.c: the kernel's calls with a mistake in them: which errors each may give, and how a transfer is cut short.
 *
 *     sys_NAME --> coil__sys.NAME = failing_NAME --is it its turn? (fault.c)--> -error, or the real one
 *
 * Always true:
 *   - a call that fails has done nothing, but for close, which has closed, and an end of a connection, which is true;
 *   - the table is as it was found once coil__calls_mend returned.
 *
 * Any thread, as the calls themselves; the table is changed by the main thread while no other runs. Elsewhere: which
 * point is to fail (fault.c). */
#include "testing/fault_calls.h"

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
#include "base/sys.h"
#include "base/sys_names.h"
#include "base/thread.h"
#include "testing/fault_rings.h"

#include <errno.h>

#define OTHER_CALLS(X)                                                                            \
    X(int, fcntl, (int fd, int cmd, intptr_t arg), (fd, cmd, arg))                                \
    X(int, mmap, (size_t n, int prot, int flags, void **out), (n, prot, flags, out))              \
    X(int, epoll_pwait2, (int ep, struct epoll_event *ev, int n, int64_t ns), (ep, ev, n, ns))    \
    X(int, mmap_fd, (int fd, size_t n, int64_t at, void **out), (fd, n, at, out))                 \
    X(int, io_uring_setup, (unsigned n, struct io_uring_params *p), (n, p))                       \
    X(int, io_uring_enter,                                                                        \
      (int fd, unsigned submit, unsigned want, unsigned flags, const void *arg, size_t n),        \
      (fd, submit, want, flags, arg, n))                                                          \
    X(int, io_uring_register, (int fd, unsigned what, void *arg, unsigned n), (fd, what, arg, n)) \
    X(int, begin_child,                                                                           \
      (int (*main)(void *), void *arg, bool copy, void *stack, size_t n, int *out_pidfd),         \
      (main, arg, copy, stack, n, out_pidfd))                                                     \
    X(int, if_nametoindex, (const char *name), (name))

enum call {
#define X(type, name, params, args) CALL_##name,
    SYS_CALLS(X) OTHER_CALLS(X)
#undef X
        CALL_ring, /* a write of eight bytes: an eventfd's, which knows no error but an interruption */
    CALL_thread,      /* pthread_create */
    CALL_getaddrinfo, /* its errors as numbers of the kernel's */
    /* Requests to io_uring, whose completion tells the error. */
    CALL_uring_poll,
    CALL_uring_recv,
    CALL_uring_accept,
    CALL_uring_read,
    CALL_uring_write,
    CALL_uring_fsync,
    CALL_uring_openat,
    CALL_uring_close,
    CALLS
};
_Static_assert(CALLS < 256, "a call is a byte");

static const char *const call_names[] = {
#define X(type, name, params, args) #name,
    SYS_CALLS(X) OTHER_CALLS(X)
#undef X
        "ring",
    "thread",
    "getaddrinfo",
    "uring_poll",
    "uring_recv",
    "uring_accept",
    "uring_read",
    "uring_write",
    "uring_fsync",
    "uring_openat",
    "uring_close",
};
_Static_assert(sizeof call_names / sizeof call_names[0] == CALLS, "a name for each");

/* What each call may answer, and must be met with grace. EAGAIN of a transfer is not among them, nor of a ring, nor ENOTCONN
 * of getpeername: a kernel that says so and means nothing by it would owe an edge. A receive is not told an end that is none,
 * and a connect not that it was interrupted (it would go on by itself). Calls without a line cannot fail as we make them. */
static const int errors[CALLS][ERRORS_MAX] = {
    [CALL_read] = {EINTR, EIO, ENOMEM},
    [CALL_write] = {EINTR, EIO, EPIPE, ENOSPC, ENOMEM},
    [CALL_ring] = {EINTR},
    [CALL_pread] = {EINTR, EIO},
    [CALL_preadv2] = {EINTR, EIO, ENOMEM, EOPNOTSUPP},
    [CALL_pwritev2] = {EINTR, EIO, ENOSPC, EFBIG, EDQUOT, EOPNOTSUPP},
    [CALL_openat] = {EINTR, EMFILE, ENFILE, EACCES, ENOENT, ENOMEM},
    [CALL_readlinkat] = {ENOENT, EACCES},
    [CALL_fsync] = {EINTR, EIO, ENOSPC},
    [CALL_fdatasync] = {EINTR, EIO, ENOSPC},
    [CALL_recv] = {EINTR, ECONNRESET, ETIMEDOUT, ENOMEM},
    [CALL_recvmsg] = {EINTR, ECONNRESET, ETIMEDOUT, ENOMEM, ECONNREFUSED},
    [CALL_send] = {EINTR, EPIPE, ECONNRESET, ENOBUFS, ENOMEM},
    [CALL_sendmsg] = {EINTR, EPIPE, ECONNRESET, ENOBUFS, ENOMEM, EMSGSIZE},
    [CALL_sendfile] = {EINTR, EPIPE, ECONNRESET, ENOMEM, EIO, EINVAL},
    [CALL_lseek] = {ESPIPE},
    [CALL_socket] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EAFNOSUPPORT},
    [CALL_socketpair] = {EMFILE, ENFILE, ENOBUFS, ENOMEM},
    [CALL_pipe2] = {EMFILE, ENFILE, ENOMEM},
    [CALL_bind] = {EADDRINUSE, EACCES, EADDRNOTAVAIL},
    [CALL_listen] = {EADDRINUSE},
    [CALL_accept4] = {EINTR, ECONNABORTED, EPROTO, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM},
    [CALL_connect] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL, ENOMEM},
    [CALL_getsockopt] = {ENOPROTOOPT, ENOBUFS},
    [CALL_setsockopt] = {ENOPROTOOPT, ENOMEM, EPERM},
    [CALL_getsockname] = {ENOBUFS},
    [CALL_getpeername] = {ENOBUFS},
    [CALL_shutdown] = {ENOTCONN},
    [CALL_close] = {EINTR, EIO, ENOSPC},
    [CALL_fstat] = {EIO, EOVERFLOW},
    [CALL_lstat] = {EACCES, ENOENT},
    [CALL_unlink] = {EACCES, ENOENT},
    [CALL_chmod] = {EPERM, EROFS},
    [CALL_fchmod] = {EPERM, EROFS},
    [CALL_fstatat] = {EACCES, ENOENT},
    [CALL_statx] = {EACCES, ENOSYS, ENOMEM},
    [CALL_ftruncate] = {EINTR, EIO, EFBIG},
    [CALL_getdents64] = {EIO, ENOENT},
    [CALL_mkdirat] = {EACCES, ENOSPC, EMLINK},
    [CALL_unlinkat] = {EACCES, EBUSY, ENOENT},
    [CALL_renameat] = {EACCES, ENOSPC, EXDEV},
    [CALL_eventfd] = {EMFILE, ENFILE, ENOMEM},
    [CALL_epoll_create1] = {EMFILE, ENFILE, ENOMEM},
    [CALL_epoll_ctl] = {ENOSPC, ENOMEM, EEXIST, ENOENT},
    [CALL_epoll_wait] = {EINTR},
    [CALL_epoll_pwait2] = {EINTR, ENOSYS},
    [CALL_ppoll] = {EINTR, ENOMEM},
    [CALL_pselect] = {EINTR, ENOMEM},
    [CALL_mprotect] = {ENOMEM},
    [CALL_madvise] = {EINVAL, ENOMEM, EAGAIN},
    [CALL_sigaction] = {EINVAL},
    [CALL_sigaltstack] = {ENOMEM},
    [CALL_fork] = {EAGAIN, ENOMEM},
    [CALL_prctl] = {EINVAL},
    [CALL_waitid] = {EINTR, ECHILD},
    [CALL_kill] = {EPERM, ESRCH},
    [CALL_pidfd_open] = {ENOSYS, EMFILE, ENFILE, ENOMEM},
    [CALL_pidfd_send_signal] = {EPERM, ESRCH},
    [CALL_close_range] = {ENOSYS, EINVAL},
    [CALL_dup2] = {EINTR, EMFILE},
    [CALL_chdir] = {EACCES, ENOENT},
    [CALL_setsid] = {EPERM},
    [CALL_setpgid] = {EPERM},
    [CALL_set_own_uid] = {EPERM, EAGAIN},
    [CALL_set_own_gid] = {EPERM},
    [CALL_set_own_groups] = {EPERM, ENOMEM},
    [CALL_execve] = {EACCES, ENOENT, ENOMEM, ENOEXEC, E2BIG, ETXTBSY},
    [CALL_sigtimedwait] = {EINTR},
    [CALL_fcntl] = {EMFILE, EPERM},
    [CALL_mmap] = {ENOMEM, EAGAIN},
    [CALL_mmap_fd] = {ENOMEM, EAGAIN},
    [CALL_io_uring_setup] = {ENOSYS, EPERM, ENOMEM, EMFILE},
    [CALL_io_uring_enter] = {EINTR, EBUSY, EAGAIN, ETIME, ENXIO},
    [CALL_io_uring_register] = {EINVAL, ENOMEM, EBUSY},
    [CALL_if_nametoindex] = {ENODEV},
    [CALL_begin_child] = {EAGAIN, ENOMEM},
    [CALL_thread] = {EAGAIN},
    [CALL_getaddrinfo] = {EAGAIN, ENOMEM, EIO},
    /* EINVAL: of a poll that is woken for nothing (uring.c), and of receives and accepts by kernels that know no multishot. */
    [CALL_uring_poll] = {ENOMEM, EINVAL, ECANCELED},
    [CALL_uring_recv] = {EINTR, ENOMEM, ENOBUFS, EINVAL, EOPNOTSUPP, ECONNRESET, ETIMEDOUT},
    [CALL_uring_accept] = {EINTR, ECONNABORTED, EPROTO, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM,
                           EINVAL},
    [CALL_uring_read] = {EINTR, EIO, ENOMEM},
    [CALL_uring_write] = {EINTR, EIO, ENOSPC, EFBIG, EDQUOT, ENOMEM},
    [CALL_uring_fsync] = {EINTR, EIO, ENOSPC},
    [CALL_uring_openat] = {EINTR, EMFILE, ENFILE, EACCES, ENOENT, ENOMEM},
    [CALL_uring_close] = {EINTR, EIO, ENOSPC},
};

static struct sys_table real; /* what the test would have called */
static const struct sys_names *const real_names = &coil__sys_names_real;

#define X(type, name, params, args)                                                            \
    static type failing_##name params                                                          \
    {                                                                                          \
        return coil__fault_reached(CALL_##name) ? (type)-coil__fault_error() : real.name args; \
    }
SYS_CALLS(X)
OTHER_CALLS(X)
#undef X

/* A connection that is said to be over is over, in both directions, and at the other end: who was told so by a send may leave
 * the rest to the next receive. */
static ssize_t broken(int fd)
{
    int error = coil__fault_error(), type = 0;
    socklen_t len = sizeof type;
    if ((error == EPIPE || error == ECONNRESET || error == ETIMEDOUT) &&
        real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM)
        (void)real.shutdown(fd, SHUT_RDWR);
    return -error;
}

static ssize_t failing_receiving(int fd, void *b, size_t n, int flags)
{
    return coil__fault_reached(CALL_recv) ? broken(fd) : real.recv(fd, b, n, flags);
}

static ssize_t failing_receiving_message(int fd, struct msghdr *m, int flags)
{
    return coil__fault_reached(CALL_recvmsg) ? broken(fd) : real.recvmsg(fd, m, flags);
}

static ssize_t failing_sending(int fd, const void *b, size_t n, int flags)
{
    return coil__fault_reached(CALL_send) ? broken(fd) : real.send(fd, b, n, flags);
}

static ssize_t failing_sending_message(int fd, const struct msghdr *m, int flags)
{
    return coil__fault_reached(CALL_sendmsg) ? broken(fd) : real.sendmsg(fd, m, flags);
}

static ssize_t failing_sending_file(int out, int in, off_t *at, size_t n)
{
    return coil__fault_reached(CALL_sendfile) ? broken(out) : real.sendfile(out, in, at, n);
}

/* A descriptor is closed whatever close says. */
static int failing_closing(int fd)
{
    bool fails = coil__fault_reached(CALL_close);
    int rc = real.close(fd);
    return fails ? -coil__fault_error() : rc;
}

static ssize_t failing_writing(int fd, const void *b, size_t n)
{
    return coil__fault_reached(n == sizeof(uint64_t) ? CALL_ring : CALL_write)
               ? -coil__fault_error()
               : real.write(fd, b, n);
}

static int failing_thread(void)
{
    return coil__fault_reached(CALL_thread) ? -coil__fault_error() : 0;
}

static int failing_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                               struct addrinfo **out, int *out_errno)
{
    if (!coil__fault_reached(CALL_getaddrinfo))
        return real_names->getaddrinfo(host, port, hints, out, out_errno);
    *out_errno = coil__fault_error();
    return *out_errno == EAGAIN ? EAI_AGAIN : *out_errno == ENOMEM ? EAI_MEMORY : EAI_SYSTEM;
}

/* ---- io_uring's requests ---- */

#if COIL_HAVE_URING
static enum call call_of(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_POLL_ADD: return CALL_uring_poll;
    case IORING_OP_RECV: return CALL_uring_recv;
    case IORING_OP_ACCEPT: return CALL_uring_accept;
    case IORING_OP_READ: return CALL_uring_read;
    case IORING_OP_WRITE: return CALL_uring_write;
    case IORING_OP_FSYNC: return CALL_uring_fsync;
    case IORING_OP_OPENAT: return CALL_uring_openat;
    case IORING_OP_CLOSE: return CALL_uring_close;
    default: return CALLS; /* a cancel: what it says is not listened to */
    }
}

/* As with calls: what it did though it failed. */
static int request_turn(const struct io_uring_sqe *sqe)
{
    enum call call = call_of(sqe);
    if (call == CALLS || !coil__fault_reached(call))
        return 0;
    if (call == CALL_uring_close)
        (void)real.close(sqe->fd);
    return call == CALL_uring_recv ? (int)-broken(sqe->fd) : coil__fault_error();
}

static int failing_setting_up(unsigned n, struct io_uring_params *params)
{
    int fd = failing_io_uring_setup(n, params);
    coil__rings_made(fd, params);
    return fd;
}

static int failing_mapping(int fd, size_t n, int64_t at, void **out)
{
    int rc = failing_mmap_fd(fd, n, at, out);
    if (rc == 0)
        coil__rings_mapped(fd, at, *out);
    return rc;
}

static int failing_entering(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                            size_t n)
{
    if (coil__fault_reached(CALL_io_uring_enter))
        return -coil__fault_error();
    coil__rings_spoil(fd, submit, request_turn);
    int rc = real.io_uring_enter(fd, submit, want, flags, arg, n);
    coil__rings_answer(fd);
    return rc;
}

static void fail_requests(void)
{
    coil__sys.io_uring_setup = failing_setting_up;
    coil__sys.mmap_fd = failing_mapping;
    coil__sys.io_uring_enter = failing_entering;
}
#else
static void fail_requests(void)
{
}
#endif

static struct sys_names failing_names;

void coil__calls_fail(void)
{
    real = coil__sys;
    failing_names = *real_names;
    failing_names.getaddrinfo = failing_getaddrinfo;
    coil__sys_names = &failing_names;
    coil__thread_hook = failing_thread;
#define X(type, name, params, args) coil__sys.name = failing_##name;
    SYS_CALLS(X)
    OTHER_CALLS(X)
#undef X
    coil__sys.recv = failing_receiving;
    coil__sys.recvmsg = failing_receiving_message;
    coil__sys.send = failing_sending;
    coil__sys.sendmsg = failing_sending_message;
    coil__sys.sendfile = failing_sending_file;
    coil__sys.close = failing_closing;
    coil__sys.write = failing_writing;
    fail_requests();
}

/* ---- short transfers ----
 *
 * A socket's receives are not cut: the kernel hands over what it has, and a short one that leaves something behind would owe
 * an edge. The imaginary kernel has real short ones (io/sim). */

/* Of a descriptor whose bytes may come in any pieces, and more than one of them? An eventfd's eight may not. */
static size_t cut(enum call call, int fd, size_t n)
{
    int type = SOCK_STREAM;
    socklen_t len = sizeof type;
    if (n < 2 || n == sizeof(uint64_t) || !coil__fault_reached(call))
        return n;
    (void)real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len); /* no socket: a pipe or a file */
    return type == SOCK_STREAM ? 1 : n;
}

static size_t total(const struct iovec *v, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i].iov_len;
    return sum;
}

/* The first byte of the pieces. */
static struct iovec first_byte(const struct iovec *v)
{
    while (v->iov_len == 0)
        v++;
    return (struct iovec){.iov_base = v->iov_base, .iov_len = 1};
}

#define SHORT_PLAIN(name, buffer)                           \
    static ssize_t short_##name(int fd, buffer p, size_t n) \
    {                                                       \
        return real.name(fd, p, cut(CALL_##name, fd, n));   \
    }
SHORT_PLAIN(read, void *)
SHORT_PLAIN(write, const void *)

static ssize_t short_send(int fd, const void *p, size_t n, int flags)
{
    return real.send(fd, p, cut(CALL_send, fd, n), flags);
}

static ssize_t short_pread(int fd, void *p, size_t n, off_t at)
{
    return real.pread(fd, p, cut(CALL_pread, fd, n), at);
}

static ssize_t short_sendfile(int out, int in, off_t *at, size_t n)
{
    return real.sendfile(out, in, at, cut(CALL_sendfile, out, n));
}

#define SHORT_AT(name)                                                                     \
    static ssize_t short_##name(int fd, const struct iovec *v, int n, off_t at, int flags) \
    {                                                                                      \
        size_t all = total(v, (size_t)n);                                                  \
        if (cut(CALL_##name, fd, all) == all)                                              \
            return real.name(fd, v, n, at, flags);                                         \
        struct iovec one = first_byte(v);                                                  \
        return real.name(fd, &one, 1, at, flags);                                          \
    }
SHORT_AT(preadv2)
SHORT_AT(pwritev2)

static ssize_t short_sendmsg(int fd, const struct msghdr *m, int flags)
{
    size_t all = total(m->msg_iov, m->msg_iovlen);
    if (cut(CALL_sendmsg, fd, all) == all)
        return real.sendmsg(fd, m, flags);
    struct msghdr less = *m;
    struct iovec one = first_byte(m->msg_iov);
    less.msg_iov = &one;
    less.msg_iovlen = 1;
    return real.sendmsg(fd, &less, flags);
}

void coil__calls_shorten(void)
{
    real = coil__sys;
    coil__sys.read = short_read;
    coil__sys.write = short_write;
    coil__sys.pread = short_pread;
    coil__sys.preadv2 = short_preadv2;
    coil__sys.pwritev2 = short_pwritev2;
    coil__sys.send = short_send;
    coil__sys.sendmsg = short_sendmsg;
    coil__sys.sendfile = short_sendfile;
}

void coil__calls_mend(void)
{
    coil__sys = real;
    coil__sys_names = real_names;
    coil__thread_hook = NULL;
}

int coil__calls_error(unsigned call, unsigned i)
{
    return call < CALLS && i < ERRORS_MAX ? errors[call][i] : 0;
}

const char *coil__calls_name(unsigned call)
{
    return call < CALLS ? call_names[call] : "";
}
#endif
