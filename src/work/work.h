/* SPDX-License-Identifier: MIT
 *
 * work.h: what the files of this floor share, and what another kind of executor must offer.
 *
 *     to_thread ------------------------------------ struct work --+
 *     coil_executor_submit --> submission (thread future + work) --+--> executor --> threads
 *     run_in_executor --> link --> submission                      |
 *
 * A `struct work` is one function to be run elsewhere. It lies in the frame of a parked task or in a
 * submission; an executor links it and allocates nothing for it.
 *
 * Always true:
 *   - who waits for a work's thread holds nothing of the thread's: the thread posts to the inbox and
 *     touches the work no more;
 *   - a work that runs, or may yet run, is alive: parked frames wait for it, submissions are counted. */
#ifndef COIL_WORK_WORK_H
#define COIL_WORK_WORK_H

#include "base/list.h"
#include "base/thread.h"
#include "io/threads.h"
#include "task/task.h"

#include <coil/work.h>

#include <stdatomic.h>

/* ---- works and executors ---- */

struct work {
    struct job job;         /* run and finish are set by the kind of work */
    coil_fn fn;             /* one of the two */
    coil_bytes_fn bytes_fn; /* with room for `room` bytes; its result is a coil_bytes */
    size_t room;
    void *arg;
    size_t copied; /* bytes at `arg` that the work owns; 0: lent, or NULL */
    struct context_map
        *map; /* what fn runs in; the work's own, shared with no other thread; may be NULL */
    struct error_record *slot; /* where fn's errors go; NULL: captured into `error` */
    coil_ret result;
    struct error_record *error;
    void (*dropped)(struct work *work); /* taken out by a shutdown, on the thread that shuts down */
};

/* May it be: a function, and arguments if they are to be copied? 0 or -EINVAL, recorded. */
int coil__work_check(bool fn, const void *args, size_t copy);
/* What coil__submission_new is asked for a function of bytes. */
void coil__work_of_bytes(struct work *out, coil_bytes_fn fn, const void *in, size_t n, size_t room);

/* Does it use memory of somebody who waits for it? */
static inline bool work_lent(const struct work *work)
{
    return work->arg != NULL && work->copied == 0;
}

/* fn(arg) in its own context and with its own error slot; on the thread that `executor` found for it. */
void coil__work_call(struct work *work, coil_executor *executor);

/* Room for n bytes; NULL when out of memory. */
coil_bytes *coil__bytes_new(size_t n);
/* Keeps the first n of them. */
coil_bytes *coil__bytes_cut(coil_bytes *bytes, size_t n);
/* -EMSGSIZE, recorded: a function says that it wrote more than it may. */
coil_ret coil__bytes_too_many(size_t n, size_t room);

struct executor_class {
    const char *kind;
    /* Can it run this? 0, or an error, recorded. NULL: it can. */
    int (*accepts)(coil_executor *executor, const struct work *work);
    /* The function called somewhere else than in this thread, which `run` came to; its result or error, recorded.
     * NULL: it is called in this thread. */
    coil_ret (*call)(coil_executor *executor, const struct work *work);
    /* 0: job.run and then job.finish will be called on another thread. COIL_ESHUTDOWN, -EAGAIN, -ENOMEM. */
    int (*submit)(coil_executor *executor, struct work *work);
    /* True: it was queued, is not any more, and nothing of it will be called. */
    bool (*cancel)(coil_executor *executor, struct work *work);
    /* No more work; with `cancel_queued`, `dropped` is called for each that did not start. */
    void (*shutdown)(coil_executor *executor, bool cancel_queued);
    /* Wait for the threads of one that was shut down; false if some run on. */
    bool (*join)(coil_executor *executor, int64_t deadline_ns);
    void (*stats)(coil_executor *executor, coil_executor_stats_t *out);
    /* The last reference went: shut down and free. */
    void (*destroy)(coil_executor *executor);
};

struct coil_executor {
    const struct executor_class *cls;
    _Atomic unsigned refs;
};

bool coil__executor_is_thread_pool(const coil_executor *executor);
/* Of a thread pool: coil__pool_set_spin. */
void coil__executor_set_spin(coil_executor *executor, uint64_t ticks);
/* Does the caller run in a work of this executor? */
bool coil__executor_runs_here(const coil_executor *executor);

/* ---- thread futures ---- */

struct thread_callback {
    struct list link;
    /* Once, on the thread that finished the future, without its lock; owns the node from then on. */
    void (*fire)(struct thread_callback *cb, coil_thread_future *future);
};

struct thread_future_class {
    /* A cancel has just made it CANCELLED: pass it on. Any thread, no lock held; may be NULL. */
    void (*cancelled)(coil_thread_future *future);
    /* The last reference went. Frees the memory. */
    void (*destroy)(coil_thread_future *future);
    bool by_hand; /* finished through the public calls */
};

struct coil_thread_future {
    const struct thread_future_class *cls;
    _Atomic unsigned refs; /* 0: the static one that stands in when there is no memory */
    struct mutex lock;     /* over all that follows, as far as it changes */
    struct cond changed;
    unsigned waiters;   /* threads blocked in `changed` */
    uint8_t state;      /* enum coil_thread_future_state */
    bool taken;         /* somebody got the result */
    bool lent;          /* a job that uses memory of who waits for it */
    struct inbox *home; /* of the loop that alone can finish it, counted; NULL: none */
    coil_ret result;
    struct error_record *error; /* counted */
    struct list callbacks;
    void (*free_result)(coil_ret value);
};

void coil__thread_future_init(coil_thread_future *future, const struct thread_future_class *cls,
                              unsigned refs);
void coil__thread_future_fini(coil_thread_future *future);
/* A new one that has failed with the last error, which was `error`. */
coil_thread_future *coil__thread_future_failed(coil_ret error);
/* The one that stands in when there is no memory for another. */
coil_thread_future *coil__thread_future_no_memory(void);

/* As the public calls, for those who may: whatever class it has. `error` is taken over. finish answers
 * COIL_EINVALIDSTATE if it was done, and then has freed nothing but the error. */
int coil__thread_future_start(coil_thread_future *future);
int coil__thread_future_finish(coil_thread_future *future, coil_ret result,
                               struct error_record *error);
/* Cancelled by who would have worked on it: no `cancelled` hook. Nothing happens if it is done. */
void coil__thread_future_drop(coil_thread_future *future);

/* Add a callback; fires at once if the future is done. */
void coil__thread_future_watch(coil_thread_future *future, struct thread_callback *cb);
/* Remove it; false if it has been fired, or is about to be. */
bool coil__thread_future_unwatch(coil_thread_future *future, struct thread_callback *cb);

/* Can only the loop that runs in this thread finish it? */
bool coil__thread_future_is_of_this_loop(const coil_thread_future *future);
/* What blocking would do to the loop of this thread: COIL_EDEADLOCK, recorded; 0, and a word in debug mode. */
int coil__thread_future_say_deadlock(void);
int coil__thread_future_say_blocking(void);

/* Block until it is done, whatever loop stands still meanwhile. */
void coil__thread_future_join(coil_thread_future *future);

/* What a done one has come to: the result (-ECANCELED for a cancelled one) and a counted record. */
coil_ret coil__thread_future_take(coil_thread_future *future, struct error_record **out_error);

/* ---- submissions ---- */

/* A thread future for a work that `executor` is to run; not started. `ask` says what: the functions, arg, copied and
 * room of it count, and its map, which is taken over whatever happens. NULL when it cannot be, with the reason
 * recorded. Two references: the caller's and the job's. */
coil_thread_future *coil__submission_new(coil_executor *executor, const struct work *ask);
/* The same, started; never NULL. */
coil_thread_future *coil__submit(coil_executor *executor, const struct work *ask);
/* Hands it to its executor; a refusal becomes its error. Gives up the job's reference then. */
void coil__submission_start(coil_thread_future *future);
/* It will not be started: gives up the job's reference. */
void coil__submission_forgo(coil_thread_future *future);

/* ---- of one loop ---- */

struct work_part {
    struct loop_part part;
    coil_loop *loop;
    coil_executor *executor; /* the default one; NULL until needed and after the end. Counted. */
    bool shut;               /* no default executor any more */
    struct list links;       /* futures that follow a thread future: struct link */
    struct list calls;       /* coroutines started from other threads: struct call */
};

/* The loop's part, made if need be; NULL with -ENOMEM recorded. */
struct work_part *coil__work_part(coil_loop *loop);

/* A counted reference to `executor`, or for NULL to the loop's default one, made if need be. 0,
 * COIL_ESHUTDOWN or -ENOMEM, recorded. */
int coil__executor_use(coil_loop *loop, coil_executor *executor, coil_executor **out);

/* A future of the loop that follows `thread_future`; never NULL. */
coil_future *coil__link_new(const char *file, int line, coil_loop *loop,
                            coil_thread_future *thread_future);

/* The loop closes. First, before tasks are unwound: jobs that use memory of somebody who waits for them come to
 * their end. Later: every future here lets go of its thread future, and the coroutines called from other threads
 * are told that this was the end. */
void coil__links_settle(struct work_part *part);
void coil__links_close(struct work_part *part);
void coil__calls_close(struct work_part *part);

#endif
