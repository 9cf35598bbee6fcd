/* SPDX-License-Identifier: MIT
 *
 * vkernel.h: a virtual kernel behind the table of base/sys.h, under which the real epoll.c, poll.c, uring.c and
 * what they stand on run, the same way each time for one seed.
 *
 *     vkernel_begin(seed, faults) --> coil__sys.* --> [ descriptors | streams | epoll | rings | files ]
 *     ... a loop, or a bare backend, on any of the real backends ...
 *     vkernel_end() --> what is not home, in a sentence
 *
 * Its descriptors are numbers from VKERNEL_FD on, the lowest free one first; smaller ones go to the real kernel. What
 * the real kernel does "some time later" (bytes arrive, connections are made, work of io_uring is done) stands in one
 * queue of events, and time moves to the next of them when somebody sleeps. So a sleep for ever with an empty queue is a
 * wake-up that was lost, and fails the test at once.
 *
 * It models what Linux may do, not what it usually does. Faults are chances in 1024 of what is legal: a model that lies
 * finds bugs that do not exist.
 *
 * One thread at a time. Elsewhere: the parts (inside.h). */
#ifndef TEST_VKERNEL_H
#define TEST_VKERNEL_H

#include "base/random.h"
#include "base/sys.h"

#include <stdbool.h>
#include <stdint.h>

enum { VKERNEL_FD = 1000, VKERNEL_FDS = 256 };

/* All zero: a kernel on its best day. Chances are in 1024. */
struct vkernel_faults {
    unsigned linux_version; /* 515, 601, 613; 0: 613 */
    int setup_error;        /* io_uring_setup says this: -ENOSYS, -EPERM, -ENOMEM */
    uint32_t cq_entries; /* completions there is room for, 0: as asked; requests are half as many */
    uint32_t room;       /* bytes a stream holds, 0: 65536 */
    uint32_t fds_max;    /* descriptors there may be, 0: all */
    int64_t late_ns;     /* what comes late comes by as much at most; 0: 1 ms */

    unsigned late;       /* bytes, connections, work of io_uring come late */
    unsigned shuffle;    /* events, and completions of different requests, in another order */
    unsigned split;      /* bytes arrive in pieces; a send or a pipe's read takes a part */
    unsigned spurious;   /* an event of something that is not so */
    unsigned interrupts; /* EINTR, of calls and of sleeps */
    unsigned few;        /* a wait reports fewer events, an enter does less work, than it could */

    unsigned refuses;   /* enter says EAGAIN or EBUSY and takes nothing */
    unsigned part;      /* enter takes a part of the requests */
    unsigned ends;      /* what reports many times ends, and does not say MORE */
    unsigned no_buffer; /* ENOBUFS, though there are buffers */
    unsigned no_memory; /* a request ends with ENOMEM */
    unsigned races;     /* a cancel does not find its request idle: see struct vkernel_cancel */

    unsigned aborts; /* a connection dies in the backlog: ECONNABORTED, once */
    unsigned resets; /* each call: some connection is reset by the network */
};

/* What is drawn instead of chance, by the kernel and by who plays with it, while there is any: a fuzzer's input. */
extern struct vk_given {
    const uint8_t *at, *end;
} vk_given;
uint32_t vk_draw(struct random *otherwise, uint32_t n);

/* What a cancel says, and what becomes of the request. */
enum vkernel_answer { ANSWER_0, ANSWER_ENOENT, ANSWER_EALREADY };
enum vkernel_outcome {
    OUTCOME_CANCELED, /* -ECANCELED, nothing was done */
    OUTCOME_OWN,      /* its own result if there is one, else -ECANCELED */
    OUTCOME_PARTIAL,  /* a part of it */
    OUTCOME_EINTR,    /* nothing was done */
    OUTCOME_ERROR,    /* an error of its own: -EIO, -ECONNRESET */
};
struct vkernel_cancel {
    bool set;
    enum vkernel_answer answer;
    enum vkernel_outcome outcome;
    bool answer_last; /* the target's completion comes before the cancel's */
};

/* Replace the table. `faults` is read anew at each call: a test may change it while it runs. NULL: none. */
void vkernel_begin(uint64_t seed, const struct vkernel_faults *faults);
/* Put the real table back. NULL, or what is not home: open numbers, files, requests, memory, complaints; good until the
 * next begin. */
const char *vkernel_end(void);

/* From now on: for the table of cancels. */
void vkernel_next_cancels(struct vkernel_cancel how);
/* From now on no fault at all: what was begun must come to an end. */
void vkernel_calm(void);
/* Let this much time pass, with all that happens in it. */
void vkernel_pass(int64_t ns);

/* A hash of every call and its result, of every completion and event. */
uint64_t vkernel_trace_hash(void);
/* How often each thing happened: proof that a fault was there. */
struct vkernel_counts {
    unsigned calls, enters, completions, overflows, ended, no_buffers, refused, spurious, races,
        interrupted, work, cancels, hup_with_data;
};
const struct vkernel_counts *vkernel_counted(void);

/* Requests under way (those of a ring that is being torn down are not counted). */
unsigned vkernel_requests(void);
/* Requests that keep a file open which no number stands for any more. */
unsigned vkernel_orphans(void);
/* The calling thread ends, and with it the requests it has made: to be called as the last thing. Threads must take turns. */
void vkernel_thread_ends(void);
/* Another number for the same file, as dup(2); it is no coil descriptor. */
int vkernel_dup(int fd);
/* The connection is cut by the network: both ends get an error. */
void vkernel_reset(int fd);
/* A file of this name under "/vkernel/", or what is in it. */
void vkernel_disk_put(const char *name, const void *p, size_t n);
size_t vkernel_disk_get(const char *name, void *p, size_t n);
/* The test's own bytes, as another process would send and receive them; -errno or how many. */
ssize_t vkernel_send(int fd, const void *p, size_t n);
ssize_t vkernel_recv(int fd, void *p, size_t n);

#endif
