/* SPDX-License-Identifier: MIT
 *
 * sim.c: the imaginary kernel as a backend.
 *
 *     submit, events --> file stirred --wait: try its ops--> b.finished --> reap
 *
 * Always true:
 *   - an imaginary op that could finish now belongs to a file in `stirred`;
 *   - wait first lets happen what is due at the virtual now, and never sleeps for imaginary reasons: it is
 *     the loop that moves the clock to next_event_ns;
 *   - ops on real descriptors (below SIM_FD_BASE) go to the embedded poll backend, and only they count
 *     as real_pending.
 *
 * Runs on the loop's thread. Elsewhere: the map of this folder (sim.h). */
#include "io/sim/sim.h"

#include <coil/error.h>

#include <errno.h>
#include <string.h>

#define BATCH 16 /* ops of one file in one wait */

void coil__sim_note(struct sim *sim, int64_t what, int64_t number)
{
    sim->world->trace = (sim->world->trace ^ (uint64_t)what) * UINT64_C(0x100000001b3);
    sim->world->trace = (sim->world->trace ^ (uint64_t)number) * UINT64_C(0x100000001b3);
}

void coil__sim_stir(struct file *file)
{
    if (file->held > 0)
        coil__sim_wake_holders(file);
    if (file->ops_n > 0 && !list_linked(&file->stirred))
        list_push(&file->sim->stirred, &file->stirred);
}

/* After anything that may have changed them. */
static void sync_counts(struct sim *sim)
{
    sim->b.real_pending = sim->inner->pending;
    sim->b.pending = sim->pending + sim->inner->pending;
    sim->b.fds = sim->watched + sim->inner->fds;
}

static bool is_real(int fd)
{
    return fd < SIM_FD_BASE;
}

/* ---- open and close ---- */

static int sim_open(struct backend **out, const struct backend_opts *opts)
{
    struct sim *sim = coil__zalloc(sizeof *sim);
    if (!sim)
        return -ENOMEM;
    sim->b = (struct backend){.cls = &coil__backend_sim, .clock = opts->clock, .kernel_fd = -1};
    list_init(&sim->b.finished);
    list_init(&sim->stirred);
    list_init(&sim->processes);
    sim->files_max = 65536;
    int err = -ENOMEM;
    sim->world = coil__sim_world_new(opts->seed ? opts->seed : 1);
    if (!sim->world)
        goto undo_sim;
    sim->world->hosts[0] = sim;
    err = coil__backend_poll.open(&sim->inner, opts);
    if (err < 0)
        goto undo_world;
    coil__readiness_redirect(sim->inner, &sim->b.finished);
    *out = &sim->b;
    return 0;
undo_world:
    coil__sim_world_leave(sim);
undo_sim:
    coil__free(sim);
    return err;
}

static void sim_close(struct backend *b)
{
    if (!b)
        return;
    struct sim *sim = sim_of(b);
    coil__sim_processes_end(sim);
    /* The real kernel closes what a process leaves open; so does this one. */
    for (uint32_t i = 0; i < sim->files_size; i++)
        if (sim->files[i])
            coil__sim_file_close(sim, sim->files[i]);
    coil__sim_world_leave(sim);
    coil__backend_poll.close(sim->inner);
    coil__free(sim->files);
    coil__free(sim);
}

/* ---- ops ---- */

static unsigned ready_now(struct sim *sim, struct file *file)
{
    switch (file->kind) {
    case FILE_LISTENER: return list_empty(&file->accept_queue) ? 0 : OP_IN;
    case FILE_DATAGRAM: return coil__sim_datagram_ready(sim, file);
    case FILE_PROCESS: return coil__sim_process_ready(file);
    case FILE_STREAM:
    case FILE_PIPE: break;
    }
    return coil__sim_stream_ready(file);
}

static bool is_socket(const struct file *file)
{
    return file->kind != FILE_PIPE && file->kind != FILE_PROCESS;
}

static ssize_t receive(struct sim *sim, struct file *file, struct msghdr *hdr, int flags)
{
    if (file->kind == FILE_PROCESS)
        return -EINVAL;
    if (file->kind == FILE_LISTENER)
        return -ENOTCONN;
    if (file->kind == FILE_DATAGRAM)
        return coil__sim_datagram_recv(sim, file, hdr, flags);
    ssize_t total = 0;
    for (size_t i = 0; i < (size_t)hdr->msg_iovlen; i++) {
        struct iovec *v = &hdr->msg_iov[i];
        ssize_t n = coil__sim_stream_recv(sim, file, v->iov_base, v->iov_len, flags);
        if (n < 0)
            return total > 0 ? total : n;
        total += n;
        if ((size_t)n < v->iov_len || (flags & MSG_PEEK))
            break;
    }
    hdr->msg_namelen = 0;
    hdr->msg_controllen = 0;
    hdr->msg_flags = 0;
    return total;
}

static ssize_t transmit(struct sim *sim, struct file *file, const struct msghdr *hdr)
{
    if (file->kind == FILE_PROCESS)
        return -EINVAL;
    if (file->kind == FILE_LISTENER)
        return -ENOTCONN;
    if (hdr->msg_controllen > 0)
        return -EOPNOTSUPP; /* no descriptors are passed here */
    if (file->kind == FILE_DATAGRAM)
        return coil__sim_datagram_send(sim, file, hdr);
    ssize_t total = 0;
    for (size_t i = 0; i < (size_t)hdr->msg_iovlen; i++) {
        const struct iovec *v = &hdr->msg_iov[i];
        ssize_t n = coil__sim_stream_send(sim, file, v->iov_base, v->iov_len);
        if (n < 0)
            return total > 0 ? total : n;
        total += n;
        if ((size_t)n < v->iov_len)
            break;
    }
    return total;
}

static ssize_t recv_flat(struct sim *sim, struct file *file, void *p, size_t n, int flags)
{
    struct iovec v = {p, n};
    struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1};
    return receive(sim, file, &hdr, flags);
}

static ssize_t send_flat(struct sim *sim, struct file *file, const void *p, size_t n)
{
    struct iovec v = {(void *)(uintptr_t)p, n};
    struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1};
    return transmit(sim, file, &hdr);
}

static int64_t attempt(struct sim *sim, struct file *file, struct op *op, unsigned ready)
{
    if (op->kind != OP_POLL && op->kind != OP_READ && op->kind != OP_WRITE && !is_socket(file))
        return -ENOTSOCK;
    switch ((enum op_kind)op->kind) {
    case OP_POLL: return op->events & ready;
    case OP_RECV: return recv_flat(sim, file, op->buf.p, op->buf.n, op->buf.flags);
    case OP_READ: return recv_flat(sim, file, op->buf.p, op->buf.n, 0);
    case OP_SEND:
    case OP_WRITE: return send_flat(sim, file, op->buf.p, op->buf.n);
    case OP_SENDV: {
        struct msghdr hdr = {.msg_iov = (struct iovec *)(uintptr_t)op->vec.v,
                             .msg_iovlen = (size_t)op->vec.n};
        return transmit(sim, file, &hdr);
    }
    case OP_RECVMSG: return receive(sim, file, op->msg.hdr, op->msg.flags);
    case OP_SENDMSG: return transmit(sim, file, op->msg.hdr);
    case OP_ACCEPT: return coil__sim_accept(sim, file, op->to.addr, &op->to.len);
    case OP_CONNECT: return coil__sim_connected(sim, file);
    case OP_PREAD:
    case OP_PWRITE:
    case OP_FSYNC:
    case OP_OPENAT:
    case OP_CLOSE: break; /* were not taken */
    }
    return -EINVAL;
}

static void fewer(struct sim *sim, struct file *file)
{
    COIL_DCHECK(file->ops_n > 0 && sim->pending > 0);
    sim->pending--;
    if (--file->ops_n == 0)
        sim->watched--;
}

/* The op is in nobody's list. */
static void finished(struct sim *sim, struct op *op, int64_t result)
{
    op->result = result;
    op->state = OP_FINISHED;
    list_push(&sim->b.finished, &op->link);
    coil__sim_note(sim, op->fd, result);
}

static void finish(struct sim *sim, struct file *file, struct op *op, int64_t result)
{
    list_remove(&op->link);
    finished(sim, op, result);
    if (!op_continues(op))
        fewer(sim, file);
}

static void serve(struct sim *sim, struct file *file)
{
    unsigned stuck = 0;
    int left = BATCH;
    LIST_FOREACH(l, &file->ops) {
        struct op *op = container_of(l, struct op, link);
        unsigned ready = ready_now(sim, file);
        unsigned want = op_directions(op) & ~stuck;
        if (!want || (op->kind != OP_CONNECT && !(want & ready)))
            continue;
        if (left-- == 0) {
            coil__sim_stir(file);
            break;
        }
        int64_t rc = attempt(sim, file, op, want & ready);
        if (rc == -EAGAIN)
            stuck |= want;
        else
            finish(sim, file, op, rc);
    }
}

static void fail_all(struct sim *sim, struct file *file, int err)
{
    LIST_FOREACH(l, &file->ops)
        finish(sim, file, container_of(l, struct op, link), err);
    LIST_FOREACH(l, &sim->b.finished) {
        struct op *op = container_of(l, struct op, link);
        if (op->fd == file->fd && op_continues(op)) { /* fired, and not reaped yet */
            op->result = err;
            fewer(sim, file);
        }
    }
}

static void sim_submit(struct backend *b, struct op *op)
{
    struct sim *sim = sim_of(b);
    if (is_real(op->fd)) {
        sim->inner->cls->submit(sim->inner, op);
        sync_counts(sim);
        return;
    }
    COIL_DCHECK(op->state == OP_IDLE);
    list_init(&op->link);
    struct file *file = coil__sim_file(sim, op->fd);
    int64_t rc = -EOPNOTSUPP;
    if (op_is_file(op))
        goto done;
    rc = -EBADF;
    if (!file)
        goto done;
    rc = -EINVAL;
    if (op_directions(op) == 0 || ((op->flags & OP_LEVEL) && op->kind != OP_POLL))
        goto done;
    rc = 0;
    if ((op->kind == OP_RECV || op->kind == OP_READ) && op->buf.n == 0)
        goto done;
    if (op->kind == OP_CONNECT &&
        (rc = coil__sim_connect(sim, file, op->to.addr, op->to.len)) != -EINPROGRESS)
        goto done;

    op->state = OP_PENDING;
    list_push(&file->ops, &op->link);
    sim->pending++;
    if (file->ops_n++ == 0)
        sim->watched++;
    coil__sim_stir(file);
    sync_counts(sim);
    return;
done:
    finished(sim, op, rc);
}

/* As io_uring may say of an op that was ready when its cancel came. */
static bool is_overtaken(struct sim *sim, struct op *op)
{
    if (op->state != OP_PENDING || op_continues(op) || !sim_fault(sim, SIM_OVERTAKEN))
        return false;
    serve(sim, coil__sim_file(sim, op->fd));
    return op->state == OP_FINISHED;
}

static int sim_cancel(struct backend *b, struct op *op)
{
    struct sim *sim = sim_of(b);
    int rc = 0;
    if (op->state == OP_IDLE)
        return -ENOENT;
    if (is_real(op->fd)) {
        rc = sim->inner->cls->cancel(sim->inner, op);
    } else {
        if ((op->state == OP_FINISHED && !op_continues(op)) || is_overtaken(sim, op))
            return -EINPROGRESS;
        list_remove(&op->link);
        op->state = OP_IDLE;
        fewer(sim, coil__sim_file(sim, op->fd));
    }
    sync_counts(sim);
    return rc;
}

static void sim_rearm(struct backend *b, struct op *op)
{
    struct sim *sim = sim_of(b);
    if (is_real(op->fd)) {
        sim->inner->cls->rearm(sim->inner, op);
        return;
    }
    struct file *file = coil__sim_file(sim, op->fd);
    op->state = OP_PENDING;
    list_push(&file->ops, &op->link);
    coil__sim_stir(file);
}

static void serve_stirred(struct sim *sim)
{
    struct list todo, *l;
    list_init(&todo);
    list_splice(&todo, &sim->stirred);
    while ((l = list_pop(&todo)))
        serve(sim, container_of(l, struct file, stirred));
}

static int sim_wait(struct backend *b, int64_t timeout_ns)
{
    struct sim *sim = sim_of(b);
    coil__sim_run_due(sim);
    serve_stirred(sim);
    if (!list_empty(&sim->b.finished) || !list_empty(&sim->stirred))
        timeout_ns = 0;
    if (!b->clock->is_virtual && timeout_ns != 0) {
        /* By a real clock (a test, an embedder) the imaginary events come when they come. */
        const struct heap_entry *first = heap_min(&sim->world->events);
        int64_t left = first ? first->key - sim_now(sim) : -1;
        if (first && (timeout_ns < 0 || left < timeout_ns))
            timeout_ns = left > 0 ? left : 0;
    }
    int rc = 0;
    if (timeout_ns != 0 || sim->inner->pending > 0)
        rc = sim->inner->cls->wait(sim->inner, timeout_ns);
    sync_counts(sim);
    return rc;
}

static int sim_poll_fd(struct backend *b)
{
    return -ENOTSUP; /* nothing real becomes readable when something imaginary happens */
}

static int64_t sim_next_event_ns(struct backend *b)
{
    struct sim *sim = sim_of(b);
    if (!list_empty(&sim->stirred))
        return sim_now(sim);
    const struct heap_entry *first = heap_min(&sim->world->events);
    return first ? first->key : CLOCK_FOREVER;
}

/* ---- calls ---- */

/* `return` the real kernel's answer where the descriptor is real. */
#define REAL(call, ...)                                              \
    do {                                                             \
        if (is_real(fd)) {                                           \
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

#define SOCKET_OR_ERROR() \
    FILE_OR_EBADF();      \
    if (!is_socket(file)) \
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
    if (is_real(fd))
        sim->inner->cls->calls.forget(sim->inner, fd);
    else if (file && !file->owned)
        fail_all(sim, file, -ECANCELED);
    sync_counts(sim);
}

static int call_close(struct backend *b, int fd)
{
    if (is_real(fd)) {
        struct sim *real = sim_of(b);
        int rc = real->inner->cls->calls.close(real->inner, fd);
        sync_counts(real);
        return rc;
    }
    FILE_OR_EBADF();
    fail_all(sim, file, -ECANCELED);
    coil__sim_file_close(sim, file);
    sync_counts(sim);
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
    return recv_flat(sim, file, p, n, flags);
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
    return send_flat(sim, file, p, n);
}

static ssize_t call_sendv(struct backend *b, int fd, const struct iovec *v, int n)
{
    REAL(sendv, v, n);
    SOCKET_OR_ERROR();
    OR_LATE();
    struct msghdr hdr = {.msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n};
    return transmit(sim, file, &hdr);
}

static ssize_t call_recvmsg(struct backend *b, int fd, struct msghdr *hdr, int flags)
{
    REAL(recvmsg, hdr, flags);
    SOCKET_OR_ERROR();
    return receive(sim, file, hdr, flags);
}

static ssize_t call_sendmsg(struct backend *b, int fd, const struct msghdr *hdr)
{
    REAL(sendmsg, hdr);
    SOCKET_OR_ERROR();
    return transmit(sim, file, hdr);
}

static ssize_t call_read(struct backend *b, int fd, void *p, size_t n)
{
    REAL(read, p, n);
    FILE_OR_EBADF();
    OR_LATE();
    return recv_flat(sim, file, p, n, 0);
}

static ssize_t call_write(struct backend *b, int fd, const void *p, size_t n)
{
    REAL(write, p, n);
    FILE_OR_EBADF();
    OR_LATE();
    return send_flat(sim, file, p, n);
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
    .open = sim_open,
    .close = sim_close,
    .submit = sim_submit,
    .cancel = sim_cancel,
    .wait = sim_wait,
    .poll_fd = sim_poll_fd,
    .rearm = sim_rearm,
    .next_event_ns = sim_next_event_ns,
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

/* ---- for tests ---- */

void coil__sim_limit_files(struct backend *b, uint32_t files_max)
{
    sim_of(b)->files_max = files_max;
}

void coil__sim_set_fault(struct backend *b, enum sim_fault fault, uint16_t chance)
{
    sim_of(b)->world->fault_chance[fault] = chance;
}

uint64_t coil__sim_trace(struct backend *b)
{
    return sim_of(b)->world->trace;
}
