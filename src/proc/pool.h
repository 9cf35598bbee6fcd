/* SPDX-License-Identifier: MIT
 *
 * pool.h: what a process pool, its zygote and its workers say to each other.
 *
 *     pool  --zygote_request (a worker's end of its socket with it)-->  zygote  --fork-->  worker
 *           <----------------------- zygote_answer -------------------
 *     pool  --job_head, bytes----------------------------------------------------------->  worker
 *           <----------------------------------------------- job_answer, words, bytes----
 *
 * All of them are one program in one memory layout, so structures and addresses of functions go as they are; what a
 * job may have scribbled over is checked. */
#ifndef COIL_PROC_POOL_H
#define COIL_PROC_POOL_H

#include "base/sys.h"

#include <coil/pool.h>

/* ---- the zygote ---- */

enum zygote_what {
    ZYGOTE_FORK,   /* a worker for the descriptor that comes along: its pid */
    ZYGOTE_SIGNAL, /* `signo` to `pid`, if it still is a worker */
    ZYGOTE_REAP    /* kill `pid` if it still runs, and say how it ended */
};

struct zygote_request {
    int32_t what, pid, signo;
};

struct zygote_answer {
    int32_t rc;           /* a pid, 0 or -errno */
    int32_t code, status; /* of siginfo_t: how it ended */
};

/* All that the child needs to know; it lives in the parent's memory, hence in a copy of it. */
struct zygote_plan {
    int control;          /* the child's end */
    pid_t parent;         /* who forked it */
    unsigned max_workers; /* not reaped */
    coil_fn initializer;
    void *initargs;
    size_t job_max;
    bool watched; /* the zygote's own: it has its parent's pidfd */
};

/* The child of the fork, all signals blocked: becomes the zygote. Says one answer when it is ready, or why it cannot be. */
_Noreturn void coil__zygote_main(struct zygote_plan *plan);

/* ---- a worker ---- */

enum { JOB_MAGIC = 0x636f696c };

/* Then n bytes. With none of the functions: the answer to how the initializer fared is asked for by nobody, it comes. */
struct job_head {
    uint32_t magic;
    uint32_t padding;
    coil_fn fn; /* one of the two */
    coil_bytes_fn bytes_fn;
    uint64_t n, room;
};

/* Then the words of an error, then n bytes. A worker's first is what its initializer came to. */
struct job_answer {
    uint32_t magic;
    uint32_t words_n;
    int64_t result;
    uint64_t n;
};

/* All of it; 0 or -errno, -EPIPE for an end. */
int coil__pool_send(int fd, const void *head, size_t head_n, const void *more, size_t more_n);
int coil__pool_receive(int fd, void *out, size_t n);

#endif
