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
 * Runs on the loop's thread. Elsewhere: its calls and the table (calls.c), the map of this folder (sim.h). */
#include "io/sim/sim.h"

#include <errno.h>

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

void coil__sim_sync_counts(struct sim *sim)
{
    sim->b.real_pending = sim->inner->pending;
    sim->b.pending = sim->pending + sim->inner->pending;
    sim->b.fds = sim->watched + sim->inner->fds;
}

/* ---- open and close ---- */

int coil__sim_open(struct backend **out, const struct backend_opts *opts)
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

void coil__sim_close(struct backend *b)
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

ssize_t coil__sim_receive(struct sim *sim, struct file *file, struct msghdr *hdr, int flags)
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

ssize_t coil__sim_transmit(struct sim *sim, struct file *file, const struct msghdr *hdr)
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

ssize_t coil__sim_recv_flat(struct sim *sim, struct file *file, void *p, size_t n, int flags)
{
    struct iovec v = {p, n};
    struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1};
    return coil__sim_receive(sim, file, &hdr, flags);
}

ssize_t coil__sim_send_flat(struct sim *sim, struct file *file, const void *p, size_t n)
{
    struct iovec v = {(void *)(uintptr_t)p, n};
    struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1};
    return coil__sim_transmit(sim, file, &hdr);
}

static int64_t attempt(struct sim *sim, struct file *file, struct op *op, unsigned ready)
{
    if (op->kind != OP_POLL && op->kind != OP_READ && op->kind != OP_WRITE && !sim_is_socket(file))
        return -ENOTSOCK;
    switch ((enum op_kind)op->kind) {
    case OP_POLL: return op->events & ready;
    case OP_RECV: return coil__sim_recv_flat(sim, file, op->buf.p, op->buf.n, op->buf.flags);
    case OP_READ: return coil__sim_recv_flat(sim, file, op->buf.p, op->buf.n, 0);
    case OP_SEND:
    case OP_WRITE: return coil__sim_send_flat(sim, file, op->buf.p, op->buf.n);
    case OP_SENDV: {
        struct msghdr hdr = {.msg_iov = (struct iovec *)(uintptr_t)op->vec.v,
                             .msg_iovlen = (size_t)op->vec.n};
        return coil__sim_transmit(sim, file, &hdr);
    }
    case OP_RECVMSG: return coil__sim_receive(sim, file, op->msg.hdr, op->msg.flags);
    case OP_SENDMSG: return coil__sim_transmit(sim, file, op->msg.hdr);
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

void coil__sim_fail_all(struct sim *sim, struct file *file, int err)
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

void coil__sim_submit(struct backend *b, struct op *op)
{
    struct sim *sim = sim_of(b);
    if (sim_is_real(op->fd)) {
        sim->inner->cls->submit(sim->inner, op);
        coil__sim_sync_counts(sim);
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
    coil__sim_sync_counts(sim);
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

int coil__sim_cancel(struct backend *b, struct op *op)
{
    struct sim *sim = sim_of(b);
    int rc = 0;
    if (op->state == OP_IDLE)
        return -ENOENT;
    if (sim_is_real(op->fd)) {
        rc = sim->inner->cls->cancel(sim->inner, op);
    } else {
        if ((op->state == OP_FINISHED && !op_continues(op)) || is_overtaken(sim, op))
            return -EINPROGRESS;
        list_remove(&op->link);
        op->state = OP_IDLE;
        fewer(sim, coil__sim_file(sim, op->fd));
    }
    coil__sim_sync_counts(sim);
    return rc;
}

void coil__sim_rearm(struct backend *b, struct op *op)
{
    struct sim *sim = sim_of(b);
    if (sim_is_real(op->fd)) {
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

int coil__sim_wait(struct backend *b, int64_t timeout_ns)
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
    coil__sim_sync_counts(sim);
    return rc;
}

int coil__sim_poll_fd(struct backend *b)
{
    return -ENOTSUP; /* nothing real becomes readable when something imaginary happens */
}

int64_t coil__sim_next_event_ns(struct backend *b)
{
    struct sim *sim = sim_of(b);
    if (!list_empty(&sim->stirred))
        return sim_now(sim);
    const struct heap_entry *first = heap_min(&sim->world->events);
    return first ? first->key : CLOCK_FOREVER;
}

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
