/* SPDX-License-Identifier: MIT
 *
 * coil/loop.h: the event loop: callbacks, timers, descriptors, and the calls that turn it.
 *
 * One loop runs in a thread at a time. Calls that take a loop accept NULL for the running one. All of
 * them belong to the loop's own thread, but for those named *_threadsafe. Callbacks run on the loop's
 * own stack and may not wait; start a task for that. */
#ifndef COIL_LOOP_H
#define COIL_LOOP_H

#include <coil/context.h>
#include <coil/error.h>

#include <math.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As a timeout: none. */
#define COIL_FOREVER ((double)INFINITY)

typedef struct coil_loop coil_loop;
typedef struct coil_handle coil_handle;
typedef struct coil_future coil_future;
typedef struct coil_future coil_task; /* a task is a future */
typedef struct coil_coro coil_coro;
struct coil_gen;

typedef void (*coil_callback_fn)(void *arg);

/* How a loop is made; all zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    const char
        *backend;      /* "auto", "uring", "epoll", "poll", "sim"; NULL: COIL_BACKEND, else auto */
    bool debug;        /* also switched on by COIL_DEBUG=1 */
    bool virtual_time; /* the clock jumps when nothing but a timer can wake anyone */
    /* coil_run installs no handler and no stack-overflow report, debug mode takes no SIGRTMAX */
    bool no_signals;
    uint64_t seed;     /* of the imaginary kernel; 0: COIL_SEED, else 1 */
    size_t stack_size; /* of tasks that do not say; 0: 256 KB */
    bool quit_tree;    /* coil_run shows its tasks on SIGQUIT; also COIL_QUIT_TREE=1 */
    double spin;       /* seconds, at most 0.01: coil_loop_set_spin */
} coil_run_opts;

/* ---- which loop ---- */

/* The loop running in this thread, or NULL. asyncio: get_running_loop (which raises instead) */
COIL_API coil_loop *coil_get_running_loop(void);

/* The running loop, else the one set with coil_set_event_loop, else NULL with COIL_ENOLOOP recorded.
 * asyncio: get_event_loop (3.14) */
COIL_API coil_loop *coil_get_event_loop(void);

/* Make `loop` the thread's current one; NULL for none. Owns nothing. asyncio: set_event_loop */
COIL_API void coil_set_event_loop(coil_loop *loop);

/* A new loop, to be closed by coil_loop_close and then freed by coil_loop_free. NULL on failure, with
 * the error recorded: -ENOMEM, or -EINVAL for an unknown backend. Nothing is installed, started or
 * listened on. asyncio: new_event_loop */
COIL_API coil_loop *coil_new_event_loop(const coil_run_opts *opts);

/* ---- turning it ---- */

/* Turn until coil_loop_stop.
 *
 *   Errors: COIL_ERUNNING (this loop, or another one in this thread, runs already), COIL_ECLOSED, and
 *           whatever coil_loop_raise was given. -ENOMEM or the kernel's word when the backend fails.
 *   asyncio: loop.run_forever */
COIL_API int coil_loop_run_forever(coil_loop *loop);

/* Turn until the future is done; its result or error. Takes a coil_future, coil_task or coil_coro.
 *
 *   Owns:   nothing of a future; a coroutine object is consumed.
 *   Errors: as run_forever; COIL_ESTOPPED if stopped before; COIL_EDEADLOCK when it is certain that
 *           nothing can ever wake anyone, with the waiting tasks in the record.
 *   asyncio: loop.run_until_complete */
COIL_API coil_ret coil_loop_run_until_complete_future(coil_loop *loop, coil_future *future);
COIL_API coil_ret coil_loop_run_until_complete_coro(coil_loop *loop, coil_coro *coro);
#ifndef __cplusplus
#define coil_loop_run_until_complete(loop, awaitable)     \
    _Generic((awaitable), coil_coro *                     \
             : coil_loop_run_until_complete_coro, default \
             : coil_loop_run_until_complete_future)((loop), (awaitable))
#endif

/* End the run after the current batch of callbacks; before a run: make the next one a single turn.
 * asyncio: loop.stop */
COIL_API void coil_loop_stop(coil_loop *loop);

/* End the run after the current callback: the run returns `error`, what is queued stays queued, and
 * the loop may be run again. What a fatal exception does to asyncio's loop. */
COIL_API void coil_loop_raise(coil_loop *loop, coil_ret error);

/* asyncio: loop.is_running, loop.is_closed */
COIL_API bool coil_loop_is_running(const coil_loop *loop);
COIL_API bool coil_loop_is_closed(const coil_loop *loop);

/* Close: pending tasks are reported and unwound (their waiting calls return COIL_EEXIT), callbacks and timers are
 * dropped, descriptors given back. The object stays valid, every later call says COIL_ECLOSED.
 *
 *   Errors: COIL_ERUNNING while it runs; COIL_EWRONGTHREAD while operations on files are under way that began in
 *           another thread's run (io_uring tells their end to that thread alone). Closing twice is fine.
 *   asyncio: loop.close */
COIL_API int coil_loop_close(coil_loop *loop);

/* Give the object up; closes it first if need be. NULL is fine. No reference to one of its futures or
 * handles may be used afterwards. */
COIL_API void coil_loop_free(coil_loop *loop);

/* ---- callbacks ---- */

/* Seconds on the loop's own clock: monotonic, or virtual. asyncio: loop.time */
COIL_API double coil_loop_time(coil_loop *loop);

/* Call fn(arg) in the next turn, after everything queued before. With `out` you get a handle (one
 * reference, yours) to cancel it; without, no object is made.
 *
 *   Where:  the loop's thread. The callback sees the caller's context variables.
 *   Errors: COIL_ECLOSED, COIL_ENOLOOP, -ENOMEM; debug mode: COIL_EWRONGTHREAD.
 *   asyncio: loop.call_soon */
COIL_API int coil_loop_call_soon(coil_loop *loop, coil_callback_fn fn, void *arg,
                                 coil_handle **out);

/* As coil_loop_call_soon, in `context` (NULL: a copy of the caller's). */
COIL_API int coil_loop_call_soon_context(coil_loop *loop, coil_callback_fn fn, void *arg,
                                         coil_context *context, coil_handle **out);

/* As coil_loop_call_soon, from any thread; wakes the loop. The handle may be cancelled from any thread:
 * cancel waits while the callback runs elsewhere, and a cancelled one never starts.
 *
 *   Errors: COIL_ECLOSED, -ENOMEM.
 *   asyncio: loop.call_soon_threadsafe */
COIL_API int coil_loop_call_soon_threadsafe(coil_loop *loop, coil_callback_fn fn, void *arg,
                                            coil_handle **out);

/* As above, in a copy of `context` (NULL: of the caller's) as it is now: a context object itself stays in its
 * thread. asyncio: loop.call_soon_threadsafe(..., context=) */
COIL_API int coil_loop_call_soon_threadsafe_context(coil_loop *loop, coil_callback_fn fn, void *arg,
                                                    const coil_context *context, coil_handle **out);

/* Make the loop's current or next sleep end at once. Any thread, also a signal handler. */
COIL_API void coil_loop_wakeup(coil_loop *loop);

/* Call fn(arg) after `delay` seconds (call_at: at `when` on coil_loop_time). Never early; a delay <= 0 is the
 * next turn; equal times run in the order they were asked for.
 *
 *   Errors: -EINVAL for NaN; COIL_ECLOSED, COIL_ENOLOOP, -ENOMEM.
 *   asyncio: loop.call_later, loop.call_at */
COIL_API int coil_loop_call_later(coil_loop *loop, double delay, coil_callback_fn fn, void *arg,
                                  coil_handle **out);
COIL_API int coil_loop_call_at(coil_loop *loop, double when, coil_callback_fn fn, void *arg,
                               coil_handle **out);
COIL_API int coil_loop_call_later_context(coil_loop *loop, double delay, coil_callback_fn fn,
                                          void *arg, coil_context *context, coil_handle **out);
COIL_API int coil_loop_call_at_context(coil_loop *loop, double when, coil_callback_fn fn, void *arg,
                                       coil_context *context, coil_handle **out);

/* Never run it. Function, argument and context are dropped at once. Too late, or twice, is fine.
 * asyncio: Handle.cancel */
COIL_API void coil_handle_cancel(coil_handle *handle);
/* asyncio: Handle.cancelled */
COIL_API bool coil_handle_cancelled(const coil_handle *handle);
/* The context the callback will run in, borrowed from the handle; NULL once it ran or was cancelled, or out of
 * memory. Where: the loop's thread. asyncio: Handle.get_context */
COIL_API coil_context *coil_handle_get_context(coil_handle *handle);
/* When a call_later or call_at is due, in seconds on the loop's clock; NaN for others.
 * asyncio: TimerHandle.when */
COIL_API double coil_handle_when(const coil_handle *handle);
/* Share and give back; giving back does not cancel. unref accepts NULL. */
COIL_API coil_handle *coil_handle_ref(coil_handle *handle);
COIL_API void coil_handle_unref(coil_handle *handle);

/* ---- descriptors ---- */

/* Call fn(arg) in every turn in which fd is readable (writable), until removed. A second call for the
 * same fd and direction replaces the first.
 *
 *   Owns:   nothing; remove before you close the fd, or call coil_loop_forget_fd.
 *   Errors: -EBADF, -EPERM (regular files cannot be waited for), COIL_EINVALIDSTATE (fd belongs to a
 *           coil socket), COIL_ECLOSED, COIL_ENOLOOP, -ENOMEM.
 *   asyncio: loop.add_reader, loop.add_writer */
COIL_API int coil_loop_add_reader(coil_loop *loop, int fd, coil_callback_fn fn, void *arg);
COIL_API int coil_loop_add_writer(coil_loop *loop, int fd, coil_callback_fn fn, void *arg);
/* 1 if something was removed, else 0 (also on a closed loop). asyncio: loop.remove_reader, remove_writer */
COIL_API int coil_loop_remove_reader(coil_loop *loop, int fd);
COIL_API int coil_loop_remove_writer(coil_loop *loop, int fd);
/* Drop whatever the loop remembers of this number; call before closing a descriptor you used here. */
COIL_API void coil_loop_forget_fd(coil_loop *loop, int fd);

/* ---- when something goes wrong ---- */

/* What is known of a trouble nobody can be told of otherwise; unknown pointers are NULL. */
typedef struct {
    size_t size;
    const char *message;
    coil_ret code;           /* 0 if there is no error, only a message */
    const coil_error *error; /* the exception */
    coil_future *future;
    coil_task *task;
    coil_handle *handle;
    void *protocol, *transport; /* a coil_protocol, a coil_transport */
    int fd;                     /* of a socket, or -1 */
    struct coil_gen *asyncgen;  /* a generator that a task drove */
    /* debug mode: the calls that made the future or coroutine, the newest last; coil_frame_describe (coil/debug.h) */
    const void *const *source_stack;
    size_t source_stack_n;
    const char *kind; /* one word for it, as in coil_log_record (coil/debug.h); NULL: "exception" */
    const char *file; /* where what it speaks of was made; NULL: where the future was */
    int line;
    /* debug mode, of a step that took long: the calls it was in meanwhile, the newest last */
    const void *const *stack;
    size_t stack_n;
} coil_exception_context;

typedef void (*coil_exception_handler_fn)(coil_loop *loop, const coil_exception_context *context,
                                          void *arg);

/* Tell `fn` of troubles instead of printing them; NULL restores printing. It runs in the context of
 * the task or handle concerned. asyncio: loop.set_exception_handler */
COIL_API void coil_loop_set_exception_handler(coil_loop *loop, coil_exception_handler_fn fn,
                                              void *arg);
COIL_API coil_exception_handler_fn coil_loop_get_exception_handler(coil_loop *loop, void **out_arg);
/* Report a trouble as the loop itself does. asyncio: loop.call_exception_handler */
COIL_API void coil_loop_call_exception_handler(coil_loop *loop,
                                               const coil_exception_context *context);
/* Give it to the log (coil_set_log), which prints it to standard error. asyncio: loop.default_exception_handler */
COIL_API void coil_loop_default_exception_handler(coil_loop *loop,
                                                  const coil_exception_context *context);

/* asyncio: loop.set_debug, loop.get_debug */
COIL_API void coil_loop_set_debug(coil_loop *loop, bool debug);
COIL_API bool coil_loop_get_debug(const coil_loop *loop);
/* Debug mode reports callbacks and task steps that take this many seconds or more; default 0.1. On x86-64 the report
 * has the calls that such a step was in (`stack`), seen while it still ran, the libc call in which it was blocked, and how much of
 * the time it computed. One that goes on for ten times as long is told of on standard error meanwhile. A thread
 * looks; a step that computes gets SIGRTMAX for that, unless the program has a use for it or `no_signals` is set.
 * asyncio: loop.slow_callback_duration */
COIL_API void coil_loop_set_slow_callback_duration(coil_loop *loop, double seconds);

/* When there is nothing to do, look for work for at most this many seconds before sleeping; 0, the default: sleep at once. What
 * comes meanwhile is answered without the 10 to 50 us that falling asleep and being woken take, at the price of a processor
 * that is busy. So it is done only as long as it pays: as soon as the waits last longer than twice `seconds` on the average, the loop
 * sleeps at once, until they are short again. 0.00005 is a good start. The threads of a default executor that is made later do so,
 * too. Where there is one processor only, and in virtual time, nothing spins; nor for thread jobs where the process may use one
 * only. A thread that is pinned to one of several spins.
 *
 *   Errors: -EINVAL if it is no number from 0 to 0.01.
 *   asyncio has no such call. */
COIL_API int coil_loop_set_spin(coil_loop *loop, double seconds);

/* ---- numbers ---- */

typedef struct {
    size_t size;
    size_t tasks;                        /* live tasks */
    size_t ready;                        /* callbacks and steps in the ready queue */
    size_t fds;                          /* descriptors watched */
    size_t timers;                       /* pending timers */
    size_t ops;                          /* requests at the kernel */
    size_t jobs;                         /* thread jobs queued or running for this loop */
    uint64_t turns, callbacks, switches; /* since the loop was made */
    size_t stacks, stacks_max;           /* in use now; most ever in use */
    uint64_t spins,
        spins_in_vain; /* coil_loop_set_spin: before a sleep; without finding anything */
} coil_loop_stats_t;

/* The loop's structures, by size. asyncio has no such call; the four queues of its lore are the first
 * four fields. */
COIL_API void coil_loop_stats(coil_loop *loop, coil_loop_stats_t *out);
/* Give the memory of stacks that no task uses back to the kernel. A loop keeps what the most tasks at a time needed (16 KiB and
 * less each, of a few that went deeper all of it), since they will likely come again; whoever knows better calls this after a
 * peak. Returns how many stacks gave something; COIL_ENOLOOP, COIL_EWRONGTHREAD in debug mode. asyncio has no such call. */
COIL_API int coil_loop_trim(coil_loop *loop);
COIL_API const char *coil_loop_backend(coil_loop *loop);

/* Yours to use: one pointer a loop, for bindings and tests. */
COIL_API void coil_loop_set_data(coil_loop *loop, void *data);
COIL_API void *coil_loop_data(coil_loop *loop);

/* ---- embedding coil in another loop ---- */

/* A descriptor that polls readable when coil has I/O to look at; -ENOTSUP on backends that have none
 * (poll, sim): then ask coil_loop_timeout and iterate often. Ask again when another thread has turned the loop: on
 * io_uring the old number is closed then. */
COIL_API int coil_loop_fd(coil_loop *loop);
/* Poll for at most this many seconds (0: work is ready; COIL_FOREVER). Ask again before every poll. */
COIL_API double coil_loop_timeout(coil_loop *loop);
/* One turn that never sleeps. Returns the number of callbacks and steps run, or an error. */
COIL_API int coil_loop_iterate(coil_loop *loop);

/* One turn in two halves, for hosts with a lock to drop while sleeping: collect may sleep up to `timeout`
 * seconds and calls nothing back; dispatch runs what was collected. Between the two the loop counts as
 * running. Both return 0 or more, or an error. */
COIL_API int coil_loop_collect(coil_loop *loop, double timeout);
COIL_API int coil_loop_dispatch(coil_loop *loop);

/* After fork, in the child: the loop lets go of everything it shares with the parent and is closed
 * without touching it. Every other call on a loop inherited by fork says COIL_EWRONGTHREAD, and so does the run
 * that a child returns into. It may make and run loops of its own. */
COIL_API void coil_loop_fork_child(coil_loop *loop);

#ifdef __cplusplus
}
#endif
#endif
