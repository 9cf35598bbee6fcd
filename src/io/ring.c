/* SPDX-License-Identifier: MIT
 *
 * ring.c: io_uring's two rings: making them, entering the kernel.
 *
 * The rings are memory shared with the kernel. Each side writes one end of each: we fill in requests and move
 * the request ring's tail, the kernel moves its head; completions the other way round. The index array between
 * the request ring and the requests is set once, one to one.
 *
 * Runs on the thread that opened the ring. Elsewhere: what the requests are (uring.c). */
#include "io/ring.h"

#if COIL_HAVE_URING

#include "base/clock.h"
#include "base/sys.h"

#include <string.h>

enum { REQUESTS = 256, COMPLETIONS = 4096 };

/* Given up one after the other where the kernel says EINVAL. DEFER_TASKRUN: work is done when we enter, not
 * whenever we are in the kernel. It needs SINGLE_ISSUER, which alone is of no use to us: another thread could
 * not take the buffers back from such a ring, but work that fills them would still be done. */
static const unsigned wishes[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_SUBMIT_ALL,
};
enum { WISHES = sizeof wishes / sizeof *wishes };

#define NEEDED                                                                  \
    (IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | \
     IORING_FEAT_FAST_POLL | IORING_FEAT_POLL_32BITS | IORING_FEAT_EXT_ARG |    \
     IORING_FEAT_RSRC_TAGS /* 5.13, as are polls that report more than once */)

static int set_up(struct ring *ring, struct io_uring_params *params)
{
    unsigned first = ring->level == RING_LINUX_5_15 ? WISHES : ring->pollable ? 1 : 0;
    for (unsigned i = first;; i++) {
        *params = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                           .cq_entries = COMPLETIONS};
        for (unsigned k = i; k < WISHES; k++)
            params->flags |= wishes[k];
        ring->flags = params->flags;
        int fd = sys_io_uring_setup(REQUESTS, params);
        if (fd != -EINVAL || i == WISHES)
            return fd;
    }
}

static void point_into(struct ring *ring, const struct io_uring_params *params)
{
    char *base = ring->rings;
    uint32_t *array = (uint32_t *)(base + params->sq_off.array);
    ring->sq_head = (uint32_t *)(base + params->sq_off.head);
    ring->sq_tail = (uint32_t *)(base + params->sq_off.tail);
    ring->sq_flags = (uint32_t *)(base + params->sq_off.flags);
    ring->sq_mask = params->sq_entries - 1;
    ring->cq_head = (uint32_t *)(base + params->cq_off.head);
    ring->cq_tail = (uint32_t *)(base + params->cq_off.tail);
    ring->cq_mask = params->cq_entries - 1;
    ring->cqes = (struct io_uring_cqe *)(base + params->cq_off.cqes);
    ring->tail = *ring->sq_tail;
    for (uint32_t i = 0; i < params->sq_entries; i++)
        array[i] = i;
}

int coil__ring_open(struct ring *ring, enum ring_level level, bool pollable)
{
    struct io_uring_params params;
    *ring = (struct ring){.fd = -1, .level = level, .pollable = pollable};
    int err, fd = set_up(ring, &params);
    if (fd < 0)
        return fd;
    err = -ENOSYS;
    if ((params.features & NEEDED) != NEEDED)
        goto undo_fd;

    size_t requests = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
    size_t completions = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    ring->rings_n = requests > completions ? requests : completions;
    err = sys_mmap_fd(fd, ring->rings_n, IORING_OFF_SQ_RING, &ring->rings);
    if (err < 0)
        goto undo_fd;
    ring->sqes_n = params.sq_entries * sizeof *ring->sqes;
    void *sqes;
    err = sys_mmap_fd(fd, ring->sqes_n, IORING_OFF_SQES, &sqes);
    if (err < 0)
        goto undo_rings;
    ring->sqes = sqes;
    point_into(ring, &params);
    ring->skips = level != RING_LINUX_5_15 && (params.features & IORING_FEAT_CQE_SKIP);
    ring->fd = fd;
    return 0;
undo_rings:
    sys_munmap(ring->rings, ring->rings_n);
undo_fd:
    sys_close(fd);
    return err;
}

void coil__ring_close(struct ring *ring)
{
    if (ring->fd < 0)
        return;
    sys_munmap(ring->sqes, ring->sqes_n);
    sys_munmap(ring->rings, ring->rings_n);
    sys_close(ring->fd);
    ring->fd = -1;
}

struct io_uring_sqe *coil__ring_sqe(struct ring *ring)
{
    if (ring_filled(ring) > ring->sq_mask) {
        (void)coil__ring_enter(ring, false, 0);
        if (ring_filled(ring) > ring->sq_mask)
            return NULL;
    }
    struct io_uring_sqe *sqe = &ring->sqes[ring->tail++ & ring->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

int coil__ring_enter(struct ring *ring, bool sleep, int64_t timeout_ns)
{
    struct {
        int64_t sec, nsec; /* the kernel's own 64-bit timespec, whatever libc's is */
    } ts = {timeout_ns / NS_PER_S, timeout_ns % NS_PER_S};
    struct io_uring_getevents_arg arg = {.ts = timeout_ns < 0 ? 0 : (uint64_t)(uintptr_t)&ts};
    unsigned flags = IORING_ENTER_GETEVENTS;
    if (sleep)
        flags |= IORING_ENTER_EXT_ARG;
    __atomic_store_n(ring->sq_tail, ring->tail, __ATOMIC_RELEASE);
    for (;;) {
        uint32_t filled = ring_filled(ring);
        int rc = sys_io_uring_enter(ring->fd, filled, sleep, flags, sleep ? &arg : NULL,
                                    sleep ? sizeof arg : 0);
        if (rc == -ETIME || rc == -EINTR)
            return 0;
        if (rc < 0)
            return rc;
        /* One that the kernel refused stopped the others (before 5.18), and the sleep. Its completion says
         * why. */
        if (rc == 0 || ring_filled(ring) == 0)
            return 0;
        sleep = sleep && !ring_peek(ring);
    }
}

int coil__ring_flush(struct ring *ring)
{
    int rc;
    do
        rc = sys_io_uring_enter(ring->fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
    while (rc == -EINTR);
    return rc < 0 ? rc : 0;
}

#endif
