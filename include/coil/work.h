/* SPDX-License-Identifier: MIT
 *
 * coil/work.h: blocking and heavy functions on threads, and futures that threads can wait for.
 *
 *     in a task      coil_to_thread                  wait here until fn(arg) returned on a thread
 *                    coil_loop_run_in_executor       the same as a future
 *     in a thread    coil_executor_submit            a thread future, whose result() blocks the thread
 *                    coil_run_coroutine_threadsafe   the same for a coroutine in somebody's loop
 *                    coil_executor_map               a function over many items, results in their order
 *                    coil_thread_wait                several thread futures at once
 *     in between     coil_wrap_future                a thread future becomes a future of a loop
 *
 * A function that runs on a thread cannot be stopped. A job that is still queued is taken out by a
 * cancel. A running one that was lent a pointer (`arg` not NULL, nothing copied) keeps those who
 * wait for it waiting until it has returned, and only then they learn of the cancel: the memory it
 * works on must not go away under it. One that was lent nothing is abandoned: its waiters go on at
 * once, it runs on, and what it returns is dropped. */
#ifndef COIL_WORK_H
#define COIL_WORK_H

#include <coil/combine.h>
#include <coil/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Runs functions on threads. Counted; any thread may use it. */
typedef struct coil_executor coil_executor;

/* A result that threads wait for; what concurrent.futures.Future is to asyncio.Future. Counted; any
 * thread may use it.
 *
 *     PENDING --> RUNNING --set_result / set_exception--> FINISHED
 *        |
 *        '------- cancel --> CANCELLED --a worker has seen it--> CANCELLED_AND_NOTIFIED */
typedef struct coil_thread_future coil_thread_future;

enum coil_thread_future_state {
    COIL_THREAD_PENDING,
    COIL_THREAD_RUNNING,
    COIL_THREAD_CANCELLED,
    COIL_THREAD_CANCELLED_AND_NOTIFIED,
    COIL_THREAD_FINISHED
};

/* Bytes that a function gave, in one block. */
typedef struct {
    void *data;
    size_t n;
} coil_bytes;

/* A function of n bytes, which it may change, that writes at most `room` bytes to `out` and says how many, or
 * returns an error. What it gets and gives is copied, so it can be called anywhere. */
typedef coil_ret (*coil_bytes_fn)(void *in, size_t n, void *out, size_t room);

COIL_API void coil_bytes_free(coil_bytes *bytes); /* NULL is fine */

/* ---- in a task ---- */

/* Call fn(arg) on a thread of the loop's default executor. fn sees a copy of the caller's context variables;
 * the error it leaves becomes the caller's.
 *
 *   Suspends: until fn has returned.
 *   Cancel:   while the job is queued it is taken out: -ECANCELED, fn was never called. Once it runs, its
 *             result is returned and the cancel waits for the next waiting call.
 *   Owns:     nothing, and allocates nothing; `arg` may live in the caller's frame.
 *   Errors:   COIL_ESHUTDOWN after coil_loop_shutdown_default_executor; -EAGAIN when no thread can be had;
 *             -EINVAL without fn; -ENOMEM; COIL_ENOTASK.
 *   asyncio:  to_thread */
COIL_ASYNC coil_ret coil_to_thread(coil_fn fn, void *arg);

/* The same with a copy of n bytes at `args`, which fn gets a pointer to.
 *
 *   Suspends: until fn has returned.
 *   Cancel:   returns -ECANCELED at once; a running job is abandoned.
 *   Errors:   as coil_to_thread; -EINVAL if n > 0 and args is NULL. */
COIL_ASYNC coil_ret coil_to_thread_copy(coil_fn fn, const void *args, size_t n);

/* Call fn on a copy of the n bytes at `in`, by `executor` (NULL: on a thread of the loop's default one); how many
 * bytes it gave, which are in `out`.
 *
 *   Suspends: until fn has returned.
 *   Cancel:   returns -ECANCELED at once; a running job is abandoned. `out` is untouched.
 *   Owns:     nothing; `in` may go while it waits, `out` is written at the end.
 *   Errors:   as coil_loop_run_in_executor; -EINVAL for n or room bytes that are NULL; -EMSGSIZE if fn claims more
 *             than there is room for, and of a process pool for what is more than its job_max.
 *   asyncio:  run_in_executor */
COIL_ASYNC coil_ret coil_to_executor(coil_executor *executor, coil_bytes_fn fn, const void *in,
                                     size_t n, void *out, size_t room);

/* ---- on a loop ---- */

/* A future for fn(args) on a thread of `executor` (NULL: the loop's default one, made when first
 * needed). Never NULL. One reference, yours.
 *
 *   Cancel:   of a queued job takes it out. Of a running one that was lent a pointer: has no effect yet, as if
 *             what is awaited refused, so that a cancelled task goes on waiting and then gets -ECANCELED;
 *             of another one: the future is cancelled, the job runs on.
 *   Owns:     with `copy` > 0 a copy of that many bytes at `args`; else `args` must outlive the job,
 *             which waiting for the future ensures.
 *   Where:    the loop's thread. fn has no context variables of its caller.
 *   Errors:   at the await: what fn returns, COIL_ESHUTDOWN, -EAGAIN (no thread can be had), -ENOMEM;
 *             -EINVAL without fn, or for `copy` bytes that are NULL.
 *   asyncio:  loop.run_in_executor */
#define coil_loop_run_in_executor(loop, executor, fn, args, copy) \
    coil_run_in_executor_at(__FILE__, __LINE__, (loop), (executor), (fn), (args), (copy))
COIL_API coil_future *coil_run_in_executor_at(const char *file, int line, coil_loop *loop,
                                              coil_executor *executor, coil_fn fn, const void *args,
                                              size_t copy);

/* The same for a function of bytes: the future's result is a `coil_bytes *`, of who takes it (coil_bytes_free).
 *
 *   Cancel:   of a queued job takes it out; of a running one: it runs on, and what it gives is dropped.
 *   Owns:     a copy of the n bytes at `in`.
 *   Where:    the loop's thread.
 *   Errors:   at the await: as above; -EMSGSIZE as coil_to_executor.
 *   asyncio:  loop.run_in_executor */
#define coil_loop_run_bytes_in_executor(loop, executor, fn, in, n, room) \
    coil_run_bytes_in_executor_at(__FILE__, __LINE__, (loop), (executor), (fn), (in), (n), (room))
COIL_API coil_future *coil_run_bytes_in_executor_at(const char *file, int line, coil_loop *loop,
                                                    coil_executor *executor, coil_bytes_fn fn,
                                                    const void *in, size_t n, size_t room);

/* Use this thread pool when none is named. The loop takes a reference; the one before is not shut down.
 *
 *   Errors: COIL_ETYPE for NULL and for what is no thread pool; COIL_ECLOSED; -ENOMEM.
 *   asyncio: loop.set_default_executor */
COIL_API int coil_loop_set_default_executor(coil_loop *loop, coil_executor *executor);

/* Refuse further jobs and wait until the default executor's threads have ended. When that takes longer than
 * `timeout` seconds, says so through the loop's exception handler and waits no more. coil_run does this at its end.
 *
 *   Suspends: until then; not at all if there are no threads.
 *   Cancel:   returns -ECANCELED; the executor stays shut down.
 *   Where:    a task of that loop.
 *   Errors:   -EINVAL for NaN, -ENOMEM, COIL_ENOTASK, COIL_EWRONGLOOP.
 *   asyncio:  loop.shutdown_default_executor */
COIL_ASYNC coil_ret coil_loop_shutdown_default_executor(coil_loop *loop, double timeout);

/* ---- executors ---- */

/* A pool that starts threads as they are needed, at most max_workers (0: processors + 4, at most 32), and names them.
 * One reference, yours. NULL when out of memory. asyncio: ThreadPoolExecutor */
COIL_API coil_executor *coil_thread_pool_executor_new(unsigned max_workers, const char *name);

/* Share and give back. With the last reference it takes no more jobs; what is queued still runs. */
COIL_API coil_executor *coil_executor_ref(coil_executor *executor);
COIL_API void coil_executor_unref(coil_executor *executor);

/* Call fn(args) on a thread. Never NULL: when it cannot be done, the future has failed with the
 * reason. One reference, yours.
 *
 *   Owns:   with `copy` > 0 a copy of that many bytes at `args`; else `args` must outlive the job.
 *   Where:  any thread.
 *   Errors: in the future: COIL_ESHUTDOWN, -EAGAIN when not one thread can be had, -ENOMEM; COIL_EWRONGTHREAD for an
 *           executor that was inherited by fork, whose threads stayed with the parent; -EINVAL without an executor or
 *           fn, or for `copy` bytes that are NULL.
 *   asyncio: Executor.submit */
COIL_API coil_thread_future *coil_executor_submit(coil_executor *executor, coil_fn fn,
                                                  const void *args, size_t copy);

/* The same for a function of bytes: the result is a `coil_bytes *`, of who takes it; nobody took it, it is freed.
 *
 *   Owns:   a copy of the n bytes at `in`.
 *   Where:  any thread.
 *   Errors: in the future: as coil_executor_submit; -EMSGSIZE as coil_to_executor.
 *   asyncio: Executor.submit */
COIL_API coil_thread_future *coil_executor_submit_bytes(coil_executor *executor, coil_bytes_fn fn,
                                                        const void *in, size_t n, size_t room);

/* fn(item) for each of n items of `item_size` bytes, results in the order of the items:
 *
 *     coil_executor_map_results it;
 *     rc = coil_executor_map(&it, executor, fn, items, n, sizeof items[0], NULL);
 *     while (rc == 0 && (rc = coil_executor_map_next(&it, &value)) > 0)
 *         rc = use(value);
 *     coil_executor_map_close(&it);
 */
typedef struct {
    void *priv_[4];
} coil_executor_map_results;

typedef struct {
    size_t size;
    double timeout;    /* seconds from the call; 0: none, less: what is not done is late */
    size_t chunksize;  /* so many items make one job; 0: 1 */
    size_t buffersize; /* at most so many jobs ahead of next; 0: all at once */
} coil_executor_map_opts;

/* Submit them. Each call gets a copy of its item.
 *
 *   Owns:   nothing of the items, but with a buffersize `items` must stay until closed; holds the executor. On
 *           failure there is nothing to close.
 *   Where:  any thread.
 *   Errors: -EINVAL without executor, fn or items, for NaN and items without a size; what the executor does not
 *           accept; -ENOMEM.
 *   asyncio: Executor.map */
COIL_API int coil_executor_map(coil_executor_map_results *it, coil_executor *executor, coil_fn fn,
                               const void *items, size_t n, size_t item_size,
                               const coil_executor_map_opts *opts);

/* Block this thread until the next item's result is there: 1 and the value, 0 after the last. An error of fn comes in
 * its place, and then it is closed.
 *
 *   Where:  any thread, one at a time; in a task it stops the loop.
 *   Errors: fn's; -ETIMEDOUT when the time is up; whatever kept the job from being run. */
COIL_API coil_ret coil_executor_map_next(coil_executor_map_results *it, coil_ret *out_value);

/* Cancel what is queued and let go of the rest. Twice, or zeroed, is fine. */
COIL_API void coil_executor_map_close(coil_executor_map_results *it);

/* Take no more jobs; with `cancel_futures` cancel what is queued, else it still runs; with `wait` block until
 * the threads have ended. Twice, and NULL, are fine.
 *
 *   Where:  any thread; in a task it stops the loop while it waits.
 *   Errors: COIL_EDEADLOCK: a thread of the pool cannot wait for itself (the rest is done all the same).
 *   asyncio: Executor.shutdown */
COIL_API int coil_executor_shutdown(coil_executor *executor, bool wait, bool cancel_futures);
/* The same, blocking at most `timeout` seconds.
 *
 *   Errors: -ETIMEDOUT: some job still runs. -EINVAL for NaN. */
COIL_API int coil_executor_shutdown_within(coil_executor *executor, double timeout,
                                           bool cancel_futures);

typedef struct {
    size_t size;
    const char *kind; /* "threads" */
    unsigned threads, idle, threads_max;
    size_t queued, running; /* jobs */
    uint64_t finished;      /* jobs, since it was made */
} coil_executor_stats_t;

/* Its numbers now, from any thread. */
COIL_API void coil_executor_stats(coil_executor *executor, coil_executor_stats_t *out);

/* ---- thread futures ---- */

/* A pending one, to be finished with set_result or set_exception. One reference, yours; never NULL: out of
 * memory, a failed one stands in. asyncio: concurrent.futures.Future() */
COIL_API coil_thread_future *coil_thread_future_new(void);

/* Share and give back. unref accepts NULL. */
COIL_API coil_thread_future *coil_thread_future_ref(coil_thread_future *future);
COIL_API void coil_thread_future_unref(coil_thread_future *future);

/* The result or the error, blocking this thread until it is there or `timeout` seconds have passed. In a task,
 * await coil_wrap_future instead: this stops the whole loop (debug mode says so).
 *
 *   Errors: its own; -ECANCELED; -ETIMEDOUT; -EINVAL for NaN; COIL_EDEADLOCK when only the loop that
 *           runs in this very thread could finish it.
 *   asyncio: concurrent.futures.Future.result */
COIL_API coil_ret coil_thread_future_result(coil_thread_future *future, double timeout);

/* The error it failed with, waiting as result does; good while you hold the future. NULL if it has a result, or
 * could not be waited for (then the reason is recorded); for a cancelled one the record of -ECANCELED.
 * asyncio: concurrent.futures.Future.exception */
COIL_API const coil_error *coil_thread_future_exception(coil_thread_future *future, double timeout);

/* asyncio: concurrent.futures.Future.done, cancelled, running */
COIL_API bool coil_thread_future_done(coil_thread_future *future);
COIL_API bool coil_thread_future_cancelled(coil_thread_future *future);
COIL_API bool coil_thread_future_running(coil_thread_future *future);
COIL_API enum coil_thread_future_state coil_thread_future_state(coil_thread_future *future);

/* Cancel a pending one: a queued job is taken out, a coroutine's task is cancelled. False once a job runs or
 * it is finished. asyncio: concurrent.futures.Future.cancel */
COIL_API bool coil_thread_future_cancel(coil_thread_future *future);

/* Call fn(future, arg) once it is done: on the thread that finishes it, or at once here if it is
 * done already.
 *
 *   Errors: -ENOMEM; -EINVAL without fn.
 *   asyncio: concurrent.futures.Future.add_done_callback */
typedef void (*coil_thread_done_fn)(coil_thread_future *future, void *arg);
COIL_API int coil_thread_future_add_done_callback(coil_thread_future *future,
                                                  coil_thread_done_fn fn, void *arg);

/* For who works on one of coil_thread_future_new: 1, now it is running; 0, it was cancelled, drop the work.
 *
 *   Errors: COIL_EINVALIDSTATE if it is running or finished, or not made by coil_thread_future_new.
 *   asyncio: concurrent.futures.Future.set_running_or_notify_cancel */
COIL_API int coil_thread_future_set_running_or_notify_cancel(coil_thread_future *future);

/* Finish one of coil_thread_future_new.
 *
 *   Errors: COIL_EINVALIDSTATE when it is done, or somebody else's to finish; -EINVAL for a code that is none
 *           (set_exception) or is one (set_result).
 *   asyncio: concurrent.futures.Future.set_result, set_exception */
COIL_API int coil_thread_future_set_result(coil_thread_future *future, coil_ret value);
COIL_API int coil_thread_future_set_exception(coil_thread_future *future, coil_ret error);

/* A result that owns memory: free_result(value) runs, on whatever thread gives up the last
 * reference, when nobody took the value. */
COIL_API void coil_thread_future_set_free_result(coil_thread_future *future,
                                                 void (*free_result)(coil_ret value));

/* ---- several of them ---- */

/* Block this thread until enough of them are done, or for `timeout` seconds; how many of the n are done now, 0 for
 * none of none. Running out of time is no error. `out_done[i]` tells of futures[i]; it may be NULL. A cancelled one is
 * done, and with COIL_FIRST_EXCEPTION counts as no exception. The same future given twice answers at both places.
 *
 *   Owns:   nothing; holds the futures until it returns.
 *   Where:  any thread; in a task it stops the loop: wait for coil_wrap_future's with coil_wait there.
 *   Errors: -EINVAL for NaN, NULL and an unknown `when`; COIL_EDEADLOCK when only the loop that runs in this
 *           very thread could finish what is waited for; -ENOMEM.
 *   asyncio: concurrent.futures.wait */
COIL_API coil_ret coil_thread_wait(coil_thread_future *const *futures, size_t n, double timeout,
                                   enum coil_when when, bool *out_done);

/* Thread futures in the order in which they finish:
 *
 *     coil_thread_as_completed it;
 *     rc = coil_thread_as_completed_init(&it, futures, n, 5.0);
 *     while (rc == 0 && (rc = coil_thread_as_completed_next(&it, &future)) > 0)
 *         rc = handle(coil_thread_future_result(future, 0));
 *     coil_thread_as_completed_close(&it);
 */
typedef struct {
    void *priv_[4];
} coil_thread_as_completed;

/* Start watching them; `timeout` runs from here. Those that are done already come first, in the order given.
 *
 *   Owns:   keeps the futures alive until closed; on failure there is nothing to close.
 *   Where:  any thread.
 *   Errors: -EINVAL for NaN and NULL; -ENOMEM.
 *   asyncio: concurrent.futures.as_completed */
COIL_API int coil_thread_as_completed_init(coil_thread_as_completed *it,
                                           coil_thread_future *const *futures, size_t n,
                                           double timeout);

/* Block this thread until the next one is done: 1 and the future itself (borrowed, good until closed), 0 after the
 * last. One given twice comes once.
 *
 *   Where:  any thread, one at a time; in a task it stops the loop.
 *   Errors: -ETIMEDOUT when the time is up, and then it is closed; COIL_EDEADLOCK as coil_thread_wait. */
COIL_API coil_ret coil_thread_as_completed_next(coil_thread_as_completed *it,
                                                coil_thread_future **out_future);

/* Let go of them; they run on. Twice, or zeroed, is fine. */
COIL_API void coil_thread_as_completed_close(coil_thread_as_completed *it);

/* ---- between threads and loops ---- */

/* Start fn(arg) as a task of `loop`, from another thread. Never NULL; one reference, yours. The task sees a copy of
 * the caller's context variables. Cancelling the future cancels the task, and does not wait for it.
 *
 *   Owns:   nothing: `arg` must outlive the coroutine, and a cancel or a timeout of result() does not wait
 *           for it; _with copies n bytes to the task's own stack.
 *   Where:  any thread; `loop` must not be freed meanwhile.
 *   Errors: in the future: the coroutine's own; COIL_ECLOSED if the loop is closed before it could end;
 *           whatever kept the task from being made; -EINVAL without fn, or for n bytes that are NULL.
 *   asyncio: run_coroutine_threadsafe */
#define coil_run_coroutine_threadsafe(loop, fn, arg) \
    coil_run_coroutine_threadsafe_at(__FILE__, __LINE__, (loop), (fn), (arg), 0)
#define coil_run_coroutine_threadsafe_with(loop, fn, args, n) \
    coil_run_coroutine_threadsafe_at(__FILE__, __LINE__, (loop), (fn), (args), (n))
COIL_API coil_thread_future *coil_run_coroutine_threadsafe_at(const char *file, int line,
                                                              coil_loop *loop, coil_fn fn,
                                                              const void *arg, size_t copy);

/* A future of `loop` (NULL: the running one) that follows a thread future: its result arrives in the loop, and
 * cancelling either one cancels the other. Never NULL. One reference, yours; takes one of its own on
 * `thread_future`.
 *
 *   Where:    the loop's thread.
 *   Errors:   at the await: as the thread future; -EINVAL for NULL; -ENOMEM, COIL_ENOLOOP, COIL_ECLOSED.
 *   asyncio:  wrap_future */
#define coil_wrap_future(thread_future, loop) \
    coil_wrap_future_at(__FILE__, __LINE__, (thread_future), (loop))
COIL_API coil_future *coil_wrap_future_at(const char *file, int line,
                                          coil_thread_future *thread_future, coil_loop *loop);

#ifdef __cplusplus
}
#endif
#endif
