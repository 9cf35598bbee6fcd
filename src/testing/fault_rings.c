/* SPDX-License-Identifier: MIT
 *
 * fault_rings.c: io_uring's requests with a mistake in them; fault_rings.h has the picture.
 *
 * Always true: what the kernel finds in the rings is well formed; a request that fails has done nothing.
 *
 * A ring is its own thread's; its place in the table is, too, as long as it is open. */
#include "testing/fault_rings.h"

#if COIL_HAVE_URING

#include <string.h>

enum { RINGS_MAX = 1024 }; /* descriptors; a ring beyond them does not fail */

/* Where the parts of a ring lie; all NULL: none has this number. */
struct parts {
    struct io_sqring_offsets sq;
    struct io_cqring_offsets cq;
    char *rings;
    struct io_uring_sqe *sqes;
};

static struct parts parts[RINGS_MAX];
static struct {
    int fd, error; /* error 0: none is under way */
    uint64_t user_data;
} spoilt;

static uint32_t *word(const struct parts *p, uint32_t offset)
{
    return (uint32_t *)(p->rings + offset);
}

static struct parts *parts_of(int fd)
{
    return fd >= 0 && fd < RINGS_MAX ? &parts[fd] : NULL;
}

void coil__rings_made(int fd, const struct io_uring_params *params)
{
    struct parts *p = parts_of(fd);
    if (p)
        *p = (struct parts){.sq = params->sq_off, .cq = params->cq_off};
}

void coil__rings_mapped(int fd, int64_t at, void *memory)
{
    struct parts *p = parts_of(fd);
    if (p && at == (int64_t)IORING_OFF_SQ_RING)
        p->rings = memory;
    else if (p && at == (int64_t)IORING_OFF_SQES)
        p->sqes = memory;
}

void coil__rings_spoil(int fd, unsigned n, int (*turn)(const struct io_uring_sqe *sqe))
{
    const struct parts *p = parts_of(fd);
    if (!p || !p->rings || !p->sqes)
        return;
    uint32_t head = __atomic_load_n(word(p, p->sq.head), __ATOMIC_ACQUIRE);
    uint32_t mask = *word(p, p->sq.ring_mask);
    for (uint32_t i = 0; i < n; i++) {
        struct io_uring_sqe *sqe = &p->sqes[word(p, p->sq.array)[(head + i) & mask]];
        int error = turn(sqe);
        if (!error)
            continue;
        spoilt.fd = fd;
        spoilt.error = error;
        spoilt.user_data = sqe->user_data;
        memset(sqe, 0, sizeof *sqe);
        sqe->opcode = IORING_OP_NOP;
        sqe->user_data = spoilt.user_data;
    }
}

void coil__rings_answer(int fd)
{
    const struct parts *p = parts_of(fd);
    if (!spoilt.error || spoilt.fd != fd || !p || !p->rings)
        return;
    uint32_t head = *word(p, p->cq.head), mask = *word(p, p->cq.ring_mask);
    uint32_t tail = __atomic_load_n(word(p, p->cq.tail), __ATOMIC_ACQUIRE);
    struct io_uring_cqe *cqes = (struct io_uring_cqe *)(p->rings + p->cq.cqes);
    /* The last of that name: an earlier one may be of a request before it. */
    while (tail != head) {
        struct io_uring_cqe *cqe = &cqes[--tail & mask];
        if (cqe->user_data != spoilt.user_data || cqe->res != 0 || cqe->flags != 0)
            continue;
        cqe->res = -spoilt.error;
        spoilt.error = 0;
        return;
    }
}

#endif
