/* SPDX-License-Identifier: MIT
 *
 * coil/workers.h: a program on several processors: a loop on each of n threads, and messages between them.
 *
 *     static coil_ret serve(void *arg)     the main task of each; coil_worker_index() tells which one it is
 *
 *     int main(void) { return coil_report(coil_workers(0, serve, NULL)); }
 *
 * Each worker is a coil_run of its own. A task stays on the loop it was made on, and nothing of coil's is shared between
 * loops but the mailboxes: what a worker has made (tasks, futures, locks, queues, sockets) is its own, and memory that
 * several of them use is yours to guard. Servers share a port by `reuse_port`, each with a listener of its own; or
 * one worker accepts and hands descriptors over.
 *
 * asyncio has nothing like it. */
#ifndef COIL_WORKERS_H
#define COIL_WORKERS_H

#include <coil/task.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { COIL_WORKERS_MAX = 1024 };

/* All zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    const coil_run_opts *run; /* of each loop; NULL: the defaults */
    bool pin; /* each worker on a processor of its own; in turns where there are more workers */
    size_t mailbox; /* messages that wait for one worker, at most; made a power of two; 0: 1024 */
    coil_ret *results; /* what each worker's main task returned, as far as there is room; or NULL */
    size_t results_n;
    void (*drop)(
        void *data); /* of a message that nobody received, on its receiver's thread; or NULL */
} coil_workers_opts;

/* Run fn(arg) in n workers, each with a loop of its own: worker 0 on this thread, the others on threads that are made for
 * them (n = 0: one for each processor this process may use). Returns when all of them have ended as coil_run ends,
 * with every loop closed: 0, or the first error.
 *
 * They live and end together, as the tasks of a group. The first main task that fails has the others cancelled; one that was
 * cancelled is not a failure. Main tasks that return a value do not end the others.
 *
 * Ctrl-C is as in coil_run, when this is the main thread: the first cancels all main tasks, a second one ends all runs
 * after their current callbacks, a third one the program. Other signals come to worker 0's thread: the others have them
 * blocked.
 *
 *   Where:  a thread that runs no loop. A worker's thread has its signals blocked, as every thread of coil's.
 *   Errors: the first error of a main task; the record has the errors of all as members. COIL_EINTERRUPTED as coil_run.
 *           COIL_ERUNNING inside a running loop, another worker's too; -EINVAL without fn, and for more than
 *           COIL_WORKERS_MAX; -EAGAIN when a thread cannot be had; the kernel's, of a processor that cannot be had;
 *           -ENOMEM, and what else coil_run says. COIL_EDEADLOCK with one worker alone: where there are several, one of
 *           them may always be woken by another. */
COIL_API coil_ret coil_workers(unsigned n, coil_fn fn, void *arg);

/* The same, with options. */
COIL_API coil_ret coil_workers_with(unsigned n, coil_fn fn, void *arg,
                                    const coil_workers_opts *opts);

/* Cancel the main tasks of all workers, this one's too. If none fails, coil_workers returns 0. Twice is fine.
 *
 *   Where:  in a worker.
 *   Errors: COIL_EINVALIDSTATE elsewhere. */
COIL_API int coil_workers_cancel(void);

/* Which worker this is, from 0 on.
 *
 *   Where:  in a worker: in any task or callback of its loop.
 *   Errors: COIL_EINVALIDSTATE elsewhere. */
COIL_API int coil_worker_index(void);

/* How many workers there are. Errors: as coil_worker_index. */
COIL_API int coil_worker_count(void);

/* ---- messages ----
 *
 * Each worker has a mailbox with room for so many messages. It is open from before any main task begins until the worker's own
 * has ended; then what is in it is let go of: descriptors are closed, `drop` is told of data. What one worker sends to
 * another arrives in the order in which it was sent. A receiver that sleeps is woken once for all that came meanwhile. */

typedef struct {
    void *data;    /* what was sent */
    int fd;        /* a descriptor, yours now; -1: none */
    unsigned from; /* who sent it */
} coil_message;

/* Send a pointer to a worker, this one included; what is behind it is the receiver's from then on.
 *
 *   Suspends: while its mailbox is full, and then until half of it is free; in line with the others of this worker.
 *   Cancel:   returns -ECANCELED and it was not sent; when it was sent first, 0, and the cancel waits for the next waiting
 *             call.
 *   Owns:     nothing before it returns 0; on failure `data` is still yours.
 *   Where:    a task of a worker.
 *   Errors:   COIL_ECLOSED when that worker has ended; -EINVAL for a number that no worker has; COIL_EINVALIDSTATE outside
 *             of workers; -ENOMEM, COIL_ENOTASK. */
COIL_ASYNC coil_ret coil_worker_send(unsigned to, void *data);

/* The same without waiting; also in callbacks.
 *
 *   Where:  in a worker.
 *   Errors: COIL_EQUEUEFULL instead of waiting, also while tasks of this worker wait for room there. */
COIL_API int coil_worker_send_nowait(unsigned to, void *data);

/* Hand a descriptor over, with a pointer (NULL is fine): one that coil_loop_sock_accept gave, for example, which the
 * receiver makes a socket of by coil_sock_adopt. It must not be used here any more.
 *
 *   Suspends: as coil_worker_send.
 *   Cancel:   as coil_worker_send.
 *   Owns:     takes `fd` when it returns 0: somebody receives it, or it is closed with the mailbox. On failure it is
 *             still yours.
 *   Errors:   as coil_worker_send; -EBADF for what is not open, and for a descriptor of the imaginary kernel: each loop
 *             has a world of its own there. */
COIL_ASYNC coil_ret coil_worker_send_fd(unsigned to, int fd, void *data);
/* The same without waiting. Errors: as coil_worker_send_nowait; -EBADF. */
COIL_API int coil_worker_send_fd_nowait(unsigned to, int fd, void *data);

/* Receive messages of this worker: at least one, at most n. Returns how many.
 *
 *   Suspends: while there is none, in order of arrival.
 *   Cancel:   returns -ECANCELED, and none was taken; if some came first, these are returned, and the cancel waits for the
 *             next waiting call.
 *   Owns:     the descriptors are yours, and what the senders gave.
 *   Where:    a task of a worker.
 *   Errors:   COIL_ECLOSED once this worker's main task has ended; -EINVAL without room for one; COIL_EINVALIDSTATE outside
 *             of workers; COIL_ENOTASK. */
COIL_ASYNC coil_ret coil_worker_receive(coil_message *out_messages, size_t n);

/* The same without waiting: 0 when there is none, or when tasks wait for those that come.
 *
 *   Where:  in a worker.
 *   Errors: as coil_worker_receive. */
COIL_API coil_ret coil_worker_receive_nowait(coil_message *out_messages, size_t n);

#ifdef __cplusplus
}
#endif
#endif
