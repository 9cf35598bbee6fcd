/* SPDX-License-Identifier: MIT
 *
 * ring.h: io_uring's two rings, driven by hand: requests in, completions out.
 *
 *     coil__ring_sqe --> [ requests ] --enter--> kernel --> [ completions ] --> ring_peek, ring_next
 *
 * Always true:
 *   - a request that was filled in is handed over by the next enter, or stays until one succeeds;
 *   - completions are never dropped: what does not fit is kept by the kernel and comes with a later enter
 *     (`ring_needs_enter` says so);
 *   - the ring belongs to the thread that opened it: no other one may enter.
 *
 * Nothing is used that Linux 6.1 does not have; on older kernels flags are given up one by one. */
#ifndef COIL_IO_RING_H
#define COIL_IO_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_include)
#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
/* Headers of 6.1 or later have everything we name. */
#ifdef IORING_SETUP_DEFER_TASKRUN
#define COIL_HAVE_URING 1
#endif
#endif
#endif
#ifndef COIL_HAVE_URING
#define COIL_HAVE_URING 0
#endif

#if COIL_HAVE_URING

/* Kernels whose features can be asked for, so that the ways round what they lack are tested on newer ones. */
enum ring_level { RING_LINUX_5_15, RING_LINUX_6_1 };

struct ring {
    int fd; /* -1: not open */
    enum ring_level level;
    bool pollable;
    unsigned flags; /* IORING_SETUP_ that the kernel took */
    bool skips;     /* it knows requests whose success needs no completion */
    void *rings;
    size_t rings_n;
    struct io_uring_sqe *sqes;
    size_t sqes_n;
    uint32_t *sq_head, *sq_tail, *sq_flags;
    uint32_t sq_mask, tail; /* `tail`: ours; the kernel is told by enter */
    uint32_t *cq_head, *cq_tail;
    uint32_t cq_mask;
    struct io_uring_cqe *cqes;
};

/* 0; -ENOSYS where io_uring is missing or too old (before 5.13), -EPERM where it is not allowed, -ENOMEM... */
/* `pollable`: its descriptor wakes who polls it. With DEFER_TASKRUN it does not, or not always (6.18): what is due
 * waits for our next enter. */
int coil__ring_open(struct ring *ring, enum ring_level level, bool pollable);
/* Whatever is under way is given up by the kernel, in its own time. */
void coil__ring_close(struct ring *ring);

/* An empty request to be filled in; NULL: no room, and the kernel takes none now. */
struct io_uring_sqe *coil__ring_sqe(struct ring *ring);

/* Hand over what was filled in, let the kernel finish what it can, and with `sleep` wait until something
 * completes, or `timeout_ns` passed (< 0: for ever). 0 or -errno; what went wrong leaves the requests where
 * they are. */
int coil__ring_enter(struct ring *ring, bool sleep, int64_t timeout_ns);

/* Completions that found no room come as far as there is room now; nothing is handed over. 0 or -errno (-EEXIST: another
 * thread's ring, of those that are entered by one alone). */
int coil__ring_flush(struct ring *ring);

/* Requests that the kernel has not taken yet. */
static inline uint32_t ring_filled(const struct ring *ring)
{
    return ring->tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
}

/* Is there a reason to enter, beside sleeping? */
static inline bool ring_needs_enter(const struct ring *ring)
{
    return ring_filled(ring) || (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) &
                                 (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

/* Did the last enter leave work undone? Told only with IORING_SETUP_TASKRUN_FLAG. */
static inline bool ring_has_work(const struct ring *ring)
{
    return __atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN;
}

static inline bool ring_overflown(const struct ring *ring)
{
    return __atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW;
}

/* The oldest completion, or NULL; good until ring_next. */
static inline const struct io_uring_cqe *ring_peek(const struct ring *ring)
{
    uint32_t head = *ring->cq_head;
    if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
        return NULL;
    return &ring->cqes[head & ring->cq_mask];
}

static inline void ring_next(struct ring *ring)
{
    __atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
}

#endif
#endif
