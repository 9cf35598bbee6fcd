/* SPDX-License-Identifier: MIT
 *
 * uring_file.c: ops on files, each a request of its own.
 *
 * Its name is the op's address, and its memory is the kernel's until the last word (op.h). A cancel is only a request: what
 * was done before it is told. One that finds no room in the ring, because the kernel takes nothing now, waits for it in
 * `unsent`: that is no error of the file's.
 *
 * Always true: `file_ops` counts those under way; while there are any, the ring cannot change threads. Of these an op is
 * in `unsent` exactly while its link is linked.
 *
 * Runs on the loop's thread. Elsewhere: all other ops (uring.c), when a file is given to the backend (src/file/job.c). */
#include "io/uring.h"

#if COIL_HAVE_URING

#include "base/check.h"
#include "base/memcheck.h"

#include <coil/error.h>

#include <fcntl.h>

enum { PART_MAX = 1 << 30 }; /* the kernel's own limit is a page short of 2 GiB */

_Static_assert(_Alignof(struct op) >= 8, "an op's address has room for the purpose");

enum { FILE_CANCELLED = 1 }; /* in op.events, which ops on files do not need otherwise */

static void fill_in(struct io_uring_sqe *sqe, const struct op *op)
{
    sqe->fd = op->fd;
    sqe->user_data = (uint64_t)(uintptr_t)op;
    switch ((enum op_kind)op->kind) {
    case OP_PREAD:
    case OP_PWRITE:
        sqe->opcode = op->kind == OP_PREAD ? IORING_OP_READ : IORING_OP_WRITE;
        sqe->addr = (uint64_t)(uintptr_t)op->at.p;
        sqe->len = op->at.n < PART_MAX ? (uint32_t)op->at.n : PART_MAX;
        sqe->off = (uint64_t)op->at.offset;
        break;
    case OP_FSYNC:
        sqe->opcode = IORING_OP_FSYNC;
        sqe->fsync_flags = op->flags & OP_DATASYNC ? IORING_FSYNC_DATASYNC : 0;
        break;
    case OP_OPENAT:
        sqe->opcode = IORING_OP_OPENAT;
        sqe->addr = (uint64_t)(uintptr_t)op->open.path;
        sqe->len = op->open.mode;
        sqe->open_flags = (uint32_t)op->open.flags | O_CLOEXEC;
        break;
    default: sqe->opcode = IORING_OP_CLOSE;
    }
}

static void file_over(struct uring *u, struct op *op, int64_t result)
{
    op->result = result;
    op->state = OP_FINISHED;
    list_push(u->r.finished, &op->link);
}

/* Into the ring; false: not now. */
static bool file_start(struct uring *u, const struct op *op)
{
    struct io_uring_sqe *sqe = uring_may_enter(u) ? coil__ring_sqe(&u->ring) : NULL;
    if (sqe)
        fill_in(sqe, op);
    return sqe != NULL;
}

/* In the order they came; those that follow one that waits wait behind it. */
static void file_start_or_wait(struct uring *u, struct op *op)
{
    if (!list_empty(&u->unsent) || !file_start(u, op))
        list_push(&u->unsent, &op->link);
}

bool coil__uring_file_send(struct uring *u)
{
    struct list *l;
    while ((l = list_first(&u->unsent)) && file_start(u, container_of(l, struct op, link)))
        list_remove(l);
    return l == NULL;
}

static void file_count(struct uring *u, int n)
{
    u->file_ops += (size_t)n;
    u->r.b.pending += (size_t)n;
    u->r.b.real_pending += (size_t)n;
}

void coil__uring_file_submit(struct uring *u, struct op *op)
{
    COIL_DCHECK(op->state == OP_IDLE);
    list_init(&op->link);
    int err = uring_may_enter(u) ? 0 : coil__uring_change_thread(u);
    if (err < 0) {
        /* A close is made in any case. */
        file_over(u, op, op->kind == OP_CLOSE ? coil__direct_close(op->fd) : err);
        return;
    }
    op->state = OP_PENDING;
    op->events = 0;
    file_count(u, 1);
    file_start_or_wait(u, op);
}

int coil__uring_file_cancel(struct uring *u, struct op *op)
{
    if (op->state == OP_IDLE)
        return -ENOENT;
    if (op->state == OP_PENDING && op->kind != OP_CLOSE && list_linked(&op->link)) {
        list_remove(&op->link); /* the kernel has not heard of it */
        op->state = OP_IDLE;
        file_count(u, -1);
        return 0;
    }
    if (op->state == OP_PENDING && op->kind != OP_CLOSE) {
        op->events = FILE_CANCELLED;
        coil__uring_cancel(u, (uint64_t)(uintptr_t)op);
    }
    return -EINPROGRESS;
}

void coil__uring_file_done(struct uring *u, struct op *op, int32_t result)
{
    /* A close that was interrupted was made; a cancel interrupts what runs already. */
    if (result == -EINTR && op->kind == OP_CLOSE)
        result = 0;
    if (result == -EINTR && op->events == FILE_CANCELLED)
        result = -ECANCELED;
    if (result == -EINTR) {
        file_start_or_wait(u, op);
        return;
    }
    if (result > 0 && op->kind == OP_PREAD)
        mem_is_defined(op->at.p, (size_t)result);
    if (op->events == FILE_CANCELLED)
        coil__uring_forget_owed(u, (uint64_t)(uintptr_t)op);
    file_count(u, -1);
    file_over(u, op, result);
}

#endif
