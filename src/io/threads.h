/* SPDX-License-Identifier: MIT
 *
 * threads.h: blocking calls as ops: a queue of jobs and the threads that run them.
 *
 *     submit --> [ queued ] --a thread--> running --> finished: job->finish(job) on that thread
 *                    |
 *                    +-- cancel: taken out, never runs, finish() not called
 *
 * finish() posts to an inbox or sets a thread-side future; it must not block. Threads are started as
 * needed, up to a maximum, and keep waiting for work; nothing is started before the first submit.
 * Any thread may submit and cancel. In a child of fork nothing is left of a pool: jobs are refused, and its end waits
 * for nobody. */
#ifndef COIL_IO_THREADS_H
#define COIL_IO_THREADS_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum job_state { JOB_IDLE, JOB_QUEUED, JOB_TAKEN };

struct job {
    struct list link;             /* the pool's while queued */
    void (*run)(struct job *job); /* on a pool thread */
    void (*finish)(
        struct job *job); /* on the same thread, after run; the job is the owner's again */
    int state;            /* under the pool's lock */
};

struct pool;
struct pool_stats {
    unsigned threads, idle, threads_max;
    size_t queued, running;
    uint64_t finished;
};

/* Threads are called `name`. Returns 0 or -ENOMEM. */
int coil__pool_new(struct pool **out, const char *name, unsigned threads_max);
/* An idle thread looks for the next job so many clock_ticks() before it sleeps; 0, as at first: it sleeps at once. */
void coil__pool_set_spin(struct pool *pool, uint64_t ticks);
/* 0, COIL_ESHUTDOWN, COIL_EWRONGTHREAD in a child of fork, or -EAGAIN (-ENOMEM) when not even one thread could be
 * started. */
int coil__pool_submit(struct pool *pool, struct job *job);
/* True: the job was still queued and will not run. */
bool coil__pool_cancel(struct pool *pool, struct job *job);
/* Refuse new jobs; with `cancel_queued` take out queued ones, calling dropped(job) for each, else they
 * still run. Does not wait. */
void coil__pool_shutdown(struct pool *pool, bool cancel_queued, void (*dropped)(struct job *job));
/* After shutdown: wait for the threads until `deadline_ns` of the real clock. False if some still run,
 * which is so at once for a caller that is one of them. */
bool coil__pool_join(struct pool *pool, int64_t deadline_ns);
/* Gives the pool up: freed here, or by its last thread if some still run. */
void coil__pool_free(struct pool *pool);
void coil__pool_stats(struct pool *pool, struct pool_stats *out);

#endif
