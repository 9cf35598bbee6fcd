/* SPDX-License-Identifier: MIT
 *
 * coil/task.h: a coroutine with a result, driven by the loop.
 *
 * A task is a future; whatever takes a future takes a task. It starts in the next turn, in the order of
 * creation, and runs until it waits. Its loop keeps it alive while it runs. */
#ifndef COIL_TASK_H
#define COIL_TASK_H

#include <coil/coroutine.h>
#include <coil/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    const char *name;      /* copied, cut at 31 bytes; default "Task-N" */
    size_t stack_size;     /* bytes; 0: the loop's default (256 KB) */
    bool eager;            /* run at once, inside the create call, until it first waits */
    coil_loop *loop;       /* NULL: the running one, else the thread's current one */
    coil_context *context; /* run in this very context; NULL: in a copy of the creator's */
    void (*free_result)(coil_ret value); /* for a result that owns memory and that nobody took */
    bool no_eager; /* not even where the loop's task factory would; asyncio: eager_start=False */
} coil_task_opts;

/* Start a task. Never NULL: when it cannot be made, a failed future stands in and the error is met at the
 * await. One reference, yours.
 *
 *   Owns:   `arg` stays yours and must outlive the task; with `copy` > 0 that many bytes are copied to the
 *           top of the task's own stack, and the function gets a pointer to the copy.
 *   Errors: at the await: -ENOMEM, COIL_ENOLOOP, COIL_ECLOSED; -EINVAL without a function, for an absurd stack
 *           size, for `copy` bytes that are NULL or more than the stack holds.
 *   asyncio: create_task, loop.create_task */
COIL_API coil_task *coil_create_task_at(const char *file, int line, coil_fn fn, const void *arg,
                                        size_t copy, const coil_task_opts *opts);
#define coil_create_task(fn, arg) coil_create_task_at(__FILE__, __LINE__, (fn), (arg), 0, NULL)
#define coil_create_task_with(fn, args, n) \
    coil_create_task_at(__FILE__, __LINE__, (fn), (args), (n), NULL)
#define coil_create_task_opts(fn, arg, opts) \
    coil_create_task_at(__FILE__, __LINE__, (fn), (arg), 0, (opts))

/* The same on a given loop, which need not run yet. asyncio: loop.create_task */
#define coil_loop_create_task(loop, fn, arg) \
    coil_loop_create_task_at(__FILE__, __LINE__, (loop), (fn), (arg))
COIL_API coil_task *coil_loop_create_task_at(const char *file, int line, coil_loop *loop,
                                             coil_fn fn, const void *arg);

/* The same from a coroutine object, which is consumed whatever happens. */
COIL_API coil_task *coil_create_task_coro_at(const char *file, int line, coil_coro *coro,
                                             const coil_task_opts *opts);
#define coil_create_task_coro(coro) coil_create_task_coro_at(__FILE__, __LINE__, (coro), NULL)

/* ---- task factories ---- */

/* What a task is made of; `size` is that of this struct. A task of a coroutine object has a function of coil's and the
 * object as its argument. */
typedef struct {
    size_t size;
    const char *file; /* where it was asked for */
    int line;
    coil_fn fn;
    const void *arg;
    size_t copy; /* bytes at `arg` to be copied onto the task's stack; 0: `arg` itself is passed */
} coil_task_recipe;

/* Makes the tasks of a loop, all but those that coil needs for itself: whatever starts a task asks it.
 * It gets the options it was called with, and may pass others on; it returns a task (coil_task_new makes one), or
 * any other future, with one reference, the caller's. It may not wait. Inside it coil_create_task is as if
 * no factory were set. */
typedef coil_task *(*coil_task_factory_fn)(coil_loop *loop, const coil_task_recipe *recipe,
                                           const coil_task_opts *opts, void *arg);

/* Let `factory` make this loop's tasks; NULL restores coil_task_new.
 *
 *   Owns:   nothing; `arg` comes back with each call.
 *   Errors: COIL_ENOLOOP, COIL_ECLOSED, -ENOMEM; debug mode: COIL_EWRONGTHREAD. A factory that returns NULL is
 *           met at the await, as COIL_ETYPE.
 *   asyncio: loop.set_task_factory, loop.get_task_factory */
COIL_API int coil_loop_set_task_factory(coil_loop *loop, coil_task_factory_fn factory, void *arg);
/* The one that was set, or NULL. */
COIL_API coil_task_factory_fn coil_loop_get_task_factory(coil_loop *loop, void **out_arg);

/* Make a task of a recipe, whatever the loop's factory. Never NULL. `opts` may be NULL; `loop` goes before theirs.
 *
 *   Errors: as coil_create_task.
 *   asyncio: Task(coro, loop=, ...) */
COIL_API coil_task *coil_task_new(coil_loop *loop, const coil_task_recipe *recipe,
                                  const coil_task_opts *opts);

/* A factory whose tasks are all eager, but for those that ask not to be (no_eager). `arg` is NULL, or a
 * coil_task_factory that makes them of the options so changed.
 *
 *     coil_loop_set_task_factory(NULL, coil_eager_task_factory, NULL);
 *
 *   asyncio: eager_task_factory; create_eager_task_factory(constructor) with an `arg` */
typedef struct {
    coil_task_factory_fn fn;
    void *arg;
} coil_task_factory;
COIL_API coil_task *coil_eager_task_factory(coil_loop *loop, const coil_task_recipe *recipe,
                                            const coil_task_opts *opts, void *arg);

/* ---- looking ---- */

/* The task that runs now, or NULL in callbacks and outside of loops. Borrowed. asyncio: current_task */
COIL_API coil_task *coil_current_task(void);

/* The tasks of this loop (NULL: the running one) that are not done; fills up to `capacity`, each with a
 * reference that is yours, and returns how many there are. asyncio: all_tasks */
COIL_API size_t coil_all_tasks(coil_loop *loop, coil_task **out, size_t capacity);

/* Is this future a task? */
COIL_API bool coil_is_task(const coil_future *future);

/* Names are at most 31 bytes, longer ones are cut. asyncio: Task.get_name, Task.set_name */
COIL_API const char *coil_task_get_name(const coil_task *task);
COIL_API void coil_task_set_name(coil_task *task, const char *name);

/* Ask the task to end: the waiting call it stands in, or its next one, returns -ECANCELED. Each call counts
 * one in `cancelling`. False if it is done. asyncio: Task.cancel */
COIL_API bool coil_task_cancel(coil_task *task, const char *message);

/* How many cancels are outstanding; take one back. At 0 a cancel not yet delivered is dropped.
 * asyncio: Task.cancelling, Task.uncancel */
COIL_API int coil_task_cancelling(const coil_task *task);
COIL_API int coil_task_uncancel(coil_task *task);

/* What runs: the function and argument the task was made of; its context; all borrowed.
 * asyncio: Task.get_coro, Task.get_context */
COIL_API coil_fn coil_task_get_fn(const coil_task *task, void **out_arg);
COIL_API coil_context *coil_task_get_context(coil_task *task);

/* The seeds' view of a task's state: pending, running (it is the current task), done or cancelled. */
enum coil_task_state { COIL_TASK_PENDING, COIL_TASK_RUNNING, COIL_TASK_DONE, COIL_TASK_CANCELLED };
COIL_API enum coil_task_state coil_task_state(const coil_task *task);

/* One word for what a parked task waits for ("sleep", "future", "lock", "recv", ...), "" if it is not
 * parked. Never NULL. */
COIL_API const char *coil_task_waiting_on(const coil_task *task);
/* Where it was created; `out_line` may be NULL. */
COIL_API const char *coil_task_created_at(const coil_task *task, int *out_line);

/* Wait for `delay` seconds; 0 lets everything else that is ready run once.
 *
 *   Suspends: always, also for 0 or less.
 *   Cancel:   returns -ECANCELED at once.
 *   Errors:   -EINVAL for NaN, COIL_ENOTASK outside a task, -ENOMEM.
 *   asyncio:  sleep */
COIL_ASYNC coil_ret coil_sleep(double delay);

/* Wait until fd is readable, writable or in error; which, as a mask of COIL_READ and COIL_WRITE.
 *
 *   Suspends: until then, at least for one turn.
 *   Cancel:   returns -ECANCELED; nothing was read or written.
 *   Owns:     nothing; closing fd while a task waits for it is an error of the caller.
 *   Errors:   -EINVAL for other events, -EBADF (also when it is forgotten meanwhile: coil_loop_forget_fd), -EPERM
 *             (regular files), COIL_ENOTASK, -ENOMEM.
 *   asyncio:  add_reader and a future */
enum { COIL_READ = 1 << 0, COIL_WRITE = 1 << 1 };
COIL_ASYNC coil_ret coil_wait_fd(int fd, unsigned events);

#ifdef __cplusplus
}
#endif
#endif
