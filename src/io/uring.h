/* SPDX-License-Identifier: MIT
 *
 * uring.h: what the files of the io_uring backend share; uring.c has the picture.
 *
 *     uring.c       requests, what they bring, arming, waiting
 *     uring_file.c  ops on files */
#ifndef COIL_IO_URING_H
#define COIL_IO_URING_H

#include "base/thread.h"
#include "io/provided.h"
#include "io/readiness.h"
#include "io/ring.h"

#if COIL_HAVE_URING

struct uring {
    struct readiness r; /* first */
    struct ring ring;
    struct provided provided;
    uintptr_t owner; /* the thread the ring belongs to */
    bool no_recv;    /* no stock of buffers, or no RECV that brings many */
    bool no_accept;
    bool wake_armed;
    uint32_t looks;   /* how often completions were taken */
    uint32_t holders; /* sockets that hold a buffer */
    /* the kernel found none left for a socket that holds none: since the last wait */
    uint32_t starved;
    bool short_of_buffers; /* the kernel found none left, since the last wait */
    size_t file_ops;       /* under way: the ring cannot change threads */
    struct list unsent;    /* of them, those that the ring had no room for, oldest first */
    /* Requests to be cancelled that the ring had no room to say so for: said at the next wait. */
    uint64_t *owed;
    uint32_t owed_n, owed_room;
};

static inline struct uring *uring_of_backend(struct backend *b)
{
    return container_of(b, struct uring, r.b);
}

/* In the low three bits; the file's generation and the descriptor stand above. An op on a file has the op's own
 * address there, whose low bits are 0: FOR_OP. */
enum purpose { FOR_OP, FOR_IN, FOR_OUT, FOR_RECV, FOR_ACCEPT, FOR_HUP, FOR_WAKE, FOR_CANCEL };

/* Is it the ring of this very thread? */
static inline bool uring_may_enter(const struct uring *u)
{
    return u->owner == coil__thread_self();
}

/* ---- uring.c ---- */

/* Ask that a request ends: now, or at the next wait where the kernel takes nothing now. False: not even that could be
 * remembered (short of memory); it is asked for again when its next completion shows that it goes on. */
bool coil__uring_cancel(struct uring *u, uint64_t user_data);
/* This request has ended, and its name may be another one's soon: what is owed of it is owed no more. */
void coil__uring_forget_owed(struct uring *u, uint64_t user_data);
/* The loop is turned by another thread now. 0 or why it cannot be. */
int coil__uring_change_thread(struct uring *u);

/* ---- uring_file.c ---- */

void coil__uring_file_submit(struct uring *u, struct op *op);
int coil__uring_file_cancel(struct uring *u, struct op *op);
/* At each wait: what found no room is asked for now. False: some of it still finds none. */
bool coil__uring_file_send(struct uring *u);
/* The kernel's word on it. */
void coil__uring_file_done(struct uring *u, struct op *op, int32_t result);

#endif
#endif
