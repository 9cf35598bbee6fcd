/* SPDX-License-Identifier: MIT
 *
 * workers.h: the workers of one coil_workers, between the files that run them and those that carry their messages.
 *
 *     crew --+-- worker 0: the thread that called, its loop, its mailbox     supervises the others
 *            +-- worker 1: a thread, its loop, its mailbox
 *            +-- ...
 *
 * Always true:
 *   - the crew lives until every thread of it has ended, so whoever is in a worker may look at all of them;
 *   - a node of ours is posted to a loop by who has taken the flag that says so, and the flag is free again when the
 *     node has arrived: so it is never in two places;
 *   - what has no lock and is no atomic is touched by its own worker's thread alone. */
#ifndef COIL_RUN_WORKERS_H
#define COIL_RUN_WORKERS_H

#include "base/inbox.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/thread.h"
#include "loop/loop.h"

#include <coil/workers.h>

struct crew;
struct worker;
struct error_record;

/* Where tasks of one worker wait to send to another: made when the first of them finds it full. */
struct room {
    struct worker *from, *to;
    struct inbox_node node; /* for from's loop: there is room */
    _Atomic bool asked;     /* whoever takes this from true to false posts the node */
    bool expected;          /* asked, or the node is on its way */
    struct list senders;
};

/* What the others want of a worker; it only grows. */
enum worker_end { WORKER_GOES_ON, WORKER_IS_CANCELLED, WORKER_IS_ENDED };

struct worker {
    struct crew *crew;
    unsigned index;
    struct thread thread; /* not of worker 0 */
    bool started;         /* the thread; worker 0's loop alone looks */

    coil_loop *loop; /* NULL before it runs */
    coil_task *task; /* its main task, while that runs */
    coil_ret result; /* of the main task, or what kept it from being run */
    struct error_record *error;
    bool has_result;
    bool was_cancelled; /* as the others want it */
    unsigned
        failed; /* it was the so-manieth to fail, from 1; 0: it did not. Under the crew's lock. */

    /* ---- its end ---- */
    struct inbox
        *inbox; /* its loop's, counted; NULL before it runs. Under the lock, or by who was told. */
    enum worker_end end; /* under the lock */
    bool end_told;       /* end_node is posted, or its slot queued; under the lock */
    struct inbox_node end_node;
    struct inbox_node over_node; /* for worker 0: this one's thread has done all it does */

    /* ---- messages ---- */
    struct mailbox mailbox;
    struct inbox_node mail_node; /* posted by whom the mailbox says to tell */
    bool mail_expected;          /* the mailbox knows that we wait, or the node is on its way */
    bool mail_closed;
    struct list receivers;
    _Atomic(struct room *) *rooms; /* to each of the others; NULL: nobody ever waited */
};

struct crew {
    unsigned n;
    coil_fn fn;
    void *arg;
    coil_workers_opts opts;
    struct thread_cpus cpus; /* for pinning */
    struct mutex lock;
    unsigned failures; /* under the lock */
    /* ---- worker 0's ---- */
    unsigned left;       /* threads that are not over */
    struct wait *parked; /* of the supervising task */
    struct worker workers[];
};

/* Whose thread this is; NULL: no worker's. */
extern _Thread_local struct worker *coil__this_worker;

/* Before any thread runs, and when none does any more. 0 or -ENOMEM; a half-made one may be ended. */
int coil__mail_init(struct worker *w);
void coil__mail_fini(struct worker *w);
/* On its own thread: the mailbox takes no more, and what is in it is let go of. Twice is fine. */
void coil__mail_close(struct worker *w);

#endif
