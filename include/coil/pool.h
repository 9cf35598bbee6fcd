/* SPDX-License-Identifier: MIT
 *
 * coil/pool.h: heavy functions in processes of their own: an executor that a crash does not take along.
 *
 *     coil_executor *pool = coil_process_pool_executor_new(NULL);
 *     n = coil_to_executor(pool, compress_page, page, page_n, out, sizeof out);     in a task
 *     future = coil_executor_submit_bytes(pool, compress_page, page, page_n, room); in a thread
 *     coil_executor_shutdown(pool, true, false);
 *     coil_executor_unref(pool);
 *
 * All that <coil/work.h> does with executors it does with this one: submit, map, run_in_executor, shutdown, stats. What
 * goes in and comes out is copied: a job is a function of bytes, or a coil_fn with copied arguments or none, whose
 * result is one word.
 *
 * Making the pool forks one process, the zygote, which forks the workers when they are needed. So a worker is this
 * process as it was when the pool was made: make it early, before there are threads, since locks that another thread
 * holds at that moment stay locked in every worker. A job's function is one that the program, and the libraries it
 * had loaded by then, contain. Of descriptors a worker has 0 (/dev/null), 1 and 2; of signals it ignores SIGINT,
 * which a terminal sends to everybody, and takes the others' defaults. It has no loop: a job may run one of its own.
 * Standard output is flushed after each job. When this process dies, its zygotes and workers do.
 *
 * A job that is queued is taken out by a cancel. One that runs is abandoned by who waits, and runs on;
 * coil_process_pool_kill_workers ends it. */
#ifndef COIL_POOL_H
#define COIL_POOL_H

#include <coil/work.h>

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    size_t size;
    const char *name;             /* of the threads that mind the workers */
    unsigned max_workers;         /* at most 1024; 0: as many as there are processors */
    unsigned max_tasks_per_child; /* jobs, then another worker takes its place; 0: any number */
    coil_fn initializer;          /* called in each worker before its first job; NULL: none */
    const void *initargs;         /* what it gets a pointer to: a copy of so many bytes */
    size_t initargs_n;
    size_t job_max;    /* bytes a job may get, and give; 0: 64 MiB */
    size_t queued_max; /* jobs that may wait for a worker; 0: any number */
} coil_process_pool_opts;

/* A pool of processes; forks once, and waits some milliseconds for that. One reference, yours. NULL when it cannot be had;
 * the reason is the last error.
 *
 *   Owns:   a copy of initargs, and of the name.
 *   Where:  any thread; tasks as well.
 *   Errors: -EINVAL for more than 1024 workers, for initargs that are NULL, for an initializer that is not part of
 *           the program; -EAGAIN, -EMFILE, -ENOMEM.
 *   asyncio: concurrent.futures.ProcessPoolExecutor
 *
 * Jobs meet these errors beside those of their own:
 *   COIL_EBROKENPOOL  the worker that ran it was killed or left (another takes its place; the job is not run again); or
 *                     the initializer failed or the zygote was killed, and then the pool takes no more jobs;
 *   -EINVAL           a pointer was lent, which means nothing in another process, or the function is not one that
 *                     the workers have;
 *   -EMSGSIZE         more than job_max;
 *   COIL_EQUEUEFULL   queued_max jobs wait already. */
COIL_API coil_executor *coil_process_pool_executor_new(const coil_process_pool_opts *opts);

/* Shut it down, cancel what is queued, and end every worker at once, by SIGKILL, or by SIGTERM. Jobs that run fail with
 * COIL_EBROKENPOOL. Does not wait.
 *
 *   Where:  any thread.
 *   Errors: COIL_ETYPE for another kind of executor, -EINVAL for NULL.
 *   asyncio: ProcessPoolExecutor.kill_workers, terminate_workers */
COIL_API int coil_process_pool_kill_workers(coil_executor *pool);
COIL_API int coil_process_pool_terminate_workers(coil_executor *pool);

/* The workers there are now: the first `capacity` pids in `out` (NULL with 0). How many there are.
 *
 *   Errors: COIL_ETYPE for another kind of executor, -EINVAL for NULL. */
COIL_API coil_ret coil_process_pool_pids(coil_executor *pool, pid_t *out, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
