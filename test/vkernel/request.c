/* SPDX-License-Identifier: MIT
 *
 * request.c: io_uring of the virtual kernel: what each request does, and how it is cancelled.
 *
 *     submitted --> waits on its file --told--> work --> completion with MORE --> waits
 *                        |                        |
 *                     cancel: dying            completion without MORE: gone
 *                        `--event--> work --> its last word, whatever the cancel had answered
 *
 * A request keeps its file open. Memory that was lent to it is the kernel's until the last word: what will be written is
 * scribbled over at once, what is read must not change.
 *
 * One thread. Elsewhere: the rings (ring.c). */
#include "inside.h"

#include <coil/error.h>

enum { TURNS_MAX = 32 }; /* of one RECV before others have their turn */

static bool is_old(void)
{
    return vk.faults.linux_version && vk.faults.linux_version < 600;
}

/* For people: user_data may be an address, which has no place in the hash. */
static void note(const char *what, uint64_t user_data)
{
    if (vk.traced)
        fprintf(stderr, "             %s %llx\n", what, (unsigned long long)user_data);
}

/* ---- life ---- */

void request_drop(struct vreq *q)
{
    struct vfile *f = q->file;
    note("ends", q->sqe.user_data);
    list_remove(&q->link);
    list_remove(&q->work);
    list_remove(&q->waiter.link);
    vk_forget_events(NULL, q);
    free(q);
    vk_unref(f);
}

static void complete(struct vreq *q, int64_t res, uint32_t flags)
{
    ring_post(q->ring, q->sqe.user_data, (int32_t)res, flags, true);
    request_drop(q);
}

static void to_work(struct vreq *q)
{
    struct vring *r = q->ring;
    if (list_linked(&q->work))
        return;
    list_push(&r->work, &q->work);
    if (r->flags & IORING_SETUP_TASKRUN_FLAG)
        *r->sq_flags |= IORING_SQ_TASKRUN;
    if (r->file)
        vk_wake(r->file, POLLIN);
}

static void work_is_due(struct event *e)
{
    to_work(e->req);
}

static void work_at(struct vreq *q, int64_t due)
{
    if (due <= vk.now)
        to_work(q);
    else
        vk_at(due, work_is_due, NULL)->req = q;
}

static void told(struct waiter *w, unsigned mask)
{
    struct vreq *q = container_of(w, struct vreq, waiter);
    if (q->dying || q->ring->closing)
        return; /* and who was woken exclusively keeps it to himself */
    bool first = !q->mask;
    q->mask |= mask & w->wants;
    if (first)
        work_at(q, vk_when());
}

static void wait_for(struct vreq *q, unsigned wants)
{
    q->waiting = true;
    q->waiter.wants = wants | POLLERR | POLLHUP;
    list_push(&q->file->waiters, &q->waiter.link);
}

/* This one goes on. False: it ended with that, and is gone. */
static bool report(struct vreq *q, int64_t res, uint32_t flags)
{
    if (vk_chance(vk.faults.ends)) {
        vk.counts.ended++;
        complete(q, res, flags);
        return false;
    }
    if (ring_post(q->ring, q->sqe.user_data, (int32_t)res, flags | IORING_CQE_F_MORE, false))
        return true;
    vk.counts.ended++;
    complete(q, res, flags); /* no room: the last word is kept, and there is no more */
    return false;
}

/* ---- POLL ---- */

static void poll_work(struct vreq *q)
{
    unsigned mask = q->mask;
    q->mask = 0;
    if (!q->multi)
        complete(q, mask, 0);
    else
        (void)report(q, mask, 0);
}

static void poll_begin(struct vreq *q)
{
    unsigned wants = q->sqe.poll32_events & 0xffff;
    q->multi = q->sqe.len & IORING_POLL_ADD_MULTI;
    if (q->file->kind == V_DISK) {
        complete(q, -EOPNOTSUPP, 0);
        return;
    }
    if (vk_chance(vk.faults.no_memory)) {
        complete(q, -ENOMEM, 0);
        return;
    }
    wait_for(q, wants);
    unsigned mask = vk_mask(q->file) & q->waiter.wants;
    if (!mask)
        return;
    if (!q->multi)
        complete(q, mask, 0);
    else
        (void)report(q, mask, 0);
}

/* ---- RECV ---- */

static bool more_to_see(const struct vfile *f)
{
    if (f->in.n || (f->domain == AF_INET && f->in.end && !f->error))
        return true;
    /* It knew not how much stands in a unix socket, and looked. */
    return f->domain == AF_UNIX && vk.faults.linux_version && vk.faults.linux_version < 613;
}

/* One buffer's worth, or what there is to say without one. `most`: 0: as much as fits. */
static int64_t receive(struct vreq *q, size_t most, uint32_t *flags)
{
    *flags = 0;
    struct io_uring_buf *buf = ring_buffer(q->ring);
    if (!buf || vk_chance(vk.faults.no_buffer)) {
        vk.counts.no_buffers++;
        return -ENOBUFS;
    }
    char *p = (char *)(uintptr_t)buf->addr;
    size_t n = most && most < buf->len ? most : buf->len;
    ssize_t got = stream_recv(q->file, p, n, false);
    if (got > 0 || (got == 0 && vk_chance(512))) {
        memset(p + got, 0xdb, buf->len - (size_t)got);
        *flags = IORING_CQE_F_BUFFER | (uint32_t)buf->bid << IORING_CQE_BUFFER_SHIFT;
        ring_took_buffer(q->ring);
    }
    return got;
}

static void recv_work(struct vreq *q)
{
    q->mask = 0;
    for (int i = 0; i < TURNS_MAX; i++) {
        uint32_t flags;
        int64_t got = receive(q, 0, &flags);
        if (got == -EAGAIN)
            return;
        if (got <= 0) {
            complete(q, got, flags);
            return;
        }
        if (!report(q, got, flags) || !more_to_see(q->file))
            return;
    }
    q->mask = POLLIN;
    to_work(q);
}

static void recv_begin(struct vreq *q)
{
    if (is_old() || !(q->sqe.flags & IOSQE_BUFFER_SELECT) ||
        !(q->sqe.ioprio & IORING_RECV_MULTISHOT) || q->sqe.len || q->sqe.addr) {
        complete(q, -EINVAL, 0);
        return;
    }
    q->multi = true;
    wait_for(q, POLLIN | POLLRDHUP);
    if (!(q->sqe.ioprio & IORING_RECVSEND_POLL_FIRST) || (vk_mask(q->file) & q->waiter.wants))
        recv_work(q);
}

/* ---- ACCEPT ---- */

static int64_t take_connection(struct vreq *q)
{
    struct vfile *served;
    if (!q->file->backlog_n)
        return q->file->kind == V_LISTENER ? -EAGAIN : -EINVAL;
    /* A number first: EMFILE leaves the connection where it is. */
    int fd = vk_number(q->file);
    if (fd < 0)
        return fd;
    vk.table[fd - VKERNEL_FD] = NULL;
    q->file->numbers--;
    int rc = stream_accept(q->file, &served);
    if (rc < 0)
        return rc;
    served->nonblock = q->sqe.accept_flags & SOCK_NONBLOCK;
    return vk_number(served);
}

static void accept_work(struct vreq *q)
{
    q->mask = 0;
    for (;;) {
        int64_t fd = take_connection(q);
        if (fd == -EAGAIN)
            return;
        if (fd < 0) {
            complete(q, fd, 0);
            return;
        }
        if (!report(q, fd, 0))
            return;
    }
}

static void accept_begin(struct vreq *q)
{
    if (is_old() && q->sqe.ioprio) {
        complete(q, -EINVAL, 0);
        return;
    }
    q->multi = true;
    q->waiter.exclusive = true;
    wait_for(q, POLLIN);
    accept_work(q);
}

/* ---- files ---- */

static uint64_t sum_of(const struct io_uring_sqe *sqe)
{
    uint64_t sum = 1;
    const unsigned char *p = (const unsigned char *)(uintptr_t)sqe->addr;
    for (size_t i = 0; sqe->opcode == IORING_OP_WRITE && i < sqe->len; i++)
        sum = sum * 31 + p[i];
    return sum;
}

static int64_t disk_read(struct disk *d, const struct io_uring_sqe *sqe, size_t n)
{
    size_t left = sqe->off < d->n ? d->n - (size_t)sqe->off : 0;
    if (left > n)
        left = n;
    memcpy((void *)(uintptr_t)sqe->addr, d->p + (left ? sqe->off : 0), left);
    return (int64_t)left;
}

static int64_t disk_write(struct disk *d, const struct io_uring_sqe *sqe, size_t n)
{
    size_t end = (size_t)sqe->off + n;
    if (end > d->n) {
        d->p = realloc(d->p, end + 1);
        memset(d->p + d->n, 0, end - d->n);
        d->n = end;
    }
    memcpy(d->p + sqe->off, (const void *)(uintptr_t)sqe->addr, n);
    return (int64_t)n;
}

/* `half`: as much as that is done. */
static int64_t run_file(struct vreq *q, bool half)
{
    const struct io_uring_sqe *sqe = &q->sqe;
    size_t n = half ? (sqe->len + 1) / 2 : sqe->len;
    if (sum_of(sqe) != q->sum)
        vk_complain("the bytes of a write changed while the kernel had them");
    switch (sqe->opcode) {
    case IORING_OP_READ: return q->file->disk ? disk_read(q->file->disk, sqe, n) : -EINVAL;
    case IORING_OP_WRITE: return q->file->disk ? disk_write(q->file->disk, sqe, n) : -EINVAL;
    case IORING_OP_OPENAT:
        return coil__sys.openat(sqe->fd, (const char *)(uintptr_t)sqe->addr, (int)sqe->open_flags,
                                sqe->len);
    case IORING_OP_CLOSE: return vk_close(sqe->fd);
    default: return 0; /* FSYNC */
    }
}

static void file_begin(struct vreq *q)
{
    q->async = true;
    q->sum = sum_of(&q->sqe);
    if (q->sqe.opcode == IORING_OP_READ)
        memset((void *)(uintptr_t)q->sqe.addr, 0xdb, q->sqe.len);
    int64_t due = vk_when();
    if (due <= vk.now)
        complete(q, run_file(q, false), 0); /* it was in memory */
    else
        work_at(q, due);
}

static void file_work(struct vreq *q)
{
    uint8_t opcode = q->sqe.opcode;
    if (opcode != IORING_OP_CLOSE && vk_chance(vk.faults.interrupts)) {
        vk.counts.interrupted++;
        complete(q, -EINTR, 0);
        return;
    }
    bool moves = opcode == IORING_OP_READ || opcode == IORING_OP_WRITE;
    complete(q, run_file(q, moves && vk_chance(vk.faults.split)), 0);
}

/* ---- cancel ---- */

static void last_word(struct vreq *q)
{
    uint32_t flags = 0;
    int64_t res = -EAGAIN;
    bool half = q->outcome == OUTCOME_PARTIAL;
    if (q->outcome == OUTCOME_OWN || half) {
        switch (q->sqe.opcode) {
        case IORING_OP_POLL_ADD: res = vk_mask(q->file) & q->waiter.wants; break;
        case IORING_OP_RECV: res = receive(q, half ? (q->file->in.n + 1) / 2 : 0, &flags); break;
        case IORING_OP_ACCEPT: res = take_connection(q); break;
        default: res = run_file(q, half); break;
        }
        if (q->sqe.opcode == IORING_OP_POLL_ADD && res == 0)
            res = -EAGAIN;
    }
    if (q->outcome == OUTCOME_EINTR)
        res = -EINTR;
    if (q->outcome == OUTCOME_ERROR)
        res = q->async ? -EIO : -ECONNRESET;
    complete(q, res == -EAGAIN ? -ECANCELED : res, flags);
}

static struct vreq *find(struct vring *r, uint64_t user_data)
{
    LIST_FOREACH(l, &r->reqs) {
        struct vreq *q = container_of(l, struct vreq, link);
        if (q->sqe.user_data == user_data && !q->dying)
            return q;
    }
    return NULL;
}

static struct vkernel_cancel choose(void)
{
    struct vkernel_cancel plain = {.answer = ANSWER_0}, how = vk.cancel;
    if (how.set || !vk_chance(vk.faults.races))
        return how.set ? how : plain;
    vk.counts.races++;
    how.answer = vk_chance(512) ? ANSWER_EALREADY : ANSWER_ENOENT;
    how.outcome = vk_chance(768) ? OUTCOME_OWN : OUTCOME_CANCELED;
    how.answer_last = vk_chance(512);
    return how;
}

static void cancel(struct vring *r, const struct io_uring_sqe *sqe)
{
    static const int answers[] = {
        [ANSWER_0] = 0, [ANSWER_ENOENT] = -ENOENT, [ANSWER_EALREADY] = -EALREADY};
    int answer = -ENOENT;
    struct vreq *q = find(r, sqe->addr);
    /* One that reports many times, and has work waiting, stands in no list that a cancel looks through. */
    if (q && q->multi && list_linked(&q->work) && vk_chance(vk.faults.races / 2)) {
        vk.counts.races++;
        q = NULL;
    }
    vk.counts.cancels++;
    note(q ? "cancels" : "cancels in vain", sqe->addr);
    if (q) {
        struct vkernel_cancel how = choose();
        answer = answers[how.answer];
        q->dying = true;
        q->outcome = how.outcome;
        list_remove(&q->work);
        vk_forget_events(NULL, q);
        vk_trace("cancelled", q->sqe.opcode, how.outcome, answer);
        if (how.answer_last)
            last_word(q);
        else
            work_at(q, vk_when());
    }
    if (answer < 0 || !(sqe->flags & IOSQE_CQE_SKIP_SUCCESS))
        ring_post(r, sqe->user_data, answer, 0, true);
}

/* What a thread of the kernel's does already goes on. */
void request_orphaned(struct vreq *q)
{
    if (q->dying || q->async)
        return;
    q->dying = true;
    q->outcome = OUTCOME_CANCELED;
    list_remove(&q->work);
    vk_forget_events(NULL, q);
    last_word(q);
}

/* ---- submit, and work ---- */

void request_work(struct vreq *q)
{
    if (q->dying)
        last_word(q);
    else if (q->async)
        file_work(q);
    else if (q->sqe.opcode == IORING_OP_RECV)
        recv_work(q);
    else if (q->sqe.opcode == IORING_OP_ACCEPT)
        accept_work(q);
    else
        poll_work(q);
}

static void begin(struct vreq *q)
{
    switch (q->sqe.opcode) {
    case IORING_OP_POLL_ADD: poll_begin(q); break;
    case IORING_OP_RECV: recv_begin(q); break;
    case IORING_OP_ACCEPT: accept_begin(q); break;
    default: file_begin(q);
    }
}

bool request_submit(struct vring *r, const struct io_uring_sqe *sqe)
{
    bool fails_alone = r->flags & IORING_SETUP_SUBMIT_ALL;
    bool needs_file = true;
    vk_trace("request", sqe->opcode, sqe->fd, sqe->ioprio);
    switch (sqe->opcode) {
    case IORING_OP_ASYNC_CANCEL: cancel(r, sqe); return true;
    case IORING_OP_OPENAT:
    case IORING_OP_CLOSE: needs_file = false; break;
    case IORING_OP_POLL_ADD:
    case IORING_OP_RECV:
    case IORING_OP_ACCEPT:
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_FSYNC: break;
    default: vk_complain("a request of kind %u", sqe->opcode); return fails_alone;
    }
    struct vfile *f = vk_file(sqe->fd);
    if (needs_file && !f) {
        ring_post(r, sqe->user_data, -EBADF, 0, true);
        return fails_alone;
    }
    struct vreq *q = calloc(1, sizeof *q);
    q->ring = r;
    q->submitter = coil__thread_self();
    q->sqe = *sqe;
    note("begins", sqe->user_data);
    q->waiter.told = told;
    q->file = needs_file ? f : NULL;
    if (q->file)
        q->file->refs++;
    list_init(&q->work);
    list_init(&q->waiter.link);
    list_push(&r->reqs, &q->link);
    begin(q);
    return true;
}
