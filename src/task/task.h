/* SPDX-License-Identifier: MIT
 *
 * task.h: futures and tasks as the floors above see them: how to wait, how to be woken.
 *
 *     coroutine calls coil__park(&wait) --> parked --coil__wake(&wait)--> ready ring --> goes on
 *                                             |
 *                                             +-- task cancelled --> wait->cls->cancel(wait)
 *
 * Everything that suspends does so through coil__park, with a `struct wait` in the parked frame: a
 * future, a sleep, a lock's waiter, an op. What a wait is waiting for is told by its class.
 *
 * Cancellation is CPython's, step for step: a cancel that finds the task parked is handed to the wait;
 * one that comes between the wake-up and the step wins (park returns -ECANCELED though w->woken is
 * true: pass on what you were given), unless the class says `keeps` (kernel ops, thread jobs): then the result is returned
 * and the cancel waits for the next wait.
 *
 * Always true:
 *   - a parked task is not in the ready ring; a woken one is in it exactly once;
 *   - a wait is woken at most once;
 *   - task code runs on its own stack, callbacks on the loop's. */
#ifndef COIL_TASK_TASK_H
#define COIL_TASK_TASK_H

#include "base/error.h"
#include "base/list.h"
#include "coro/coro.h"
#include "coro/frames.h"
#include "loop/loop.h"
#include "task/depth.h"

#include <coil/task.h>

#include <string.h>

struct wait;
struct task_part;
struct coil__task;

struct wait_class {
    const char *what; /* for people: "sleep", "lock", "recv" */
    /* The task is being cancelled while parked here and not woken. True: taken care of, the wait is or
     * will be woken with -ECANCELED (or, if `keeps`, with the result that was quicker). False: nothing
     * to cancel here, deliver the cancel at the next step. */
    bool (*cancel)(struct wait *w, const char *message);
    /* Where cancelling means nothing but cancelling one future: that one, so that a long chain of tasks
     * waiting for each other is walked and not climbed. Such a wait may be woken by anybody. May be NULL. */
    coil_future *(*passes)(const struct wait *w);
    /* The task is being unwound: leave every queue at once; the kernel is done with our memory when this
     * returns. NULL: nothing to leave but what the frame itself removes after park. */
    void (*abandon)(struct wait *w);
    bool keeps; /* a result beats a later cancel */
    /* One line about what it waits for: an fd and peer, a lock's owner, a deadline. May be NULL. */
    int (*describe)(const struct wait *w, char *out, size_t n);
    /* The same for who reads our memory: enum wait_shows, so many bytes from the wait (sight.h). */
    const char *also; /* which way of waiting for it: "put"; NULL: there is one only */
    uint8_t shows;
    uint16_t at;
    int16_t then;
};

struct wait {
    const struct wait_class *cls;
    coil_task *task; /* set by park, or before by wait_belongs */
    coil_loop *loop; /* the task's: waking touches nothing of a task that may be cold */
    coil_ret value;  /* what park will return */
    bool woken;
    bool cancel_asked; /* cls->cancel was called and said yes */
};

#define WAIT_INIT(class_ptr) \
    {                        \
        .cls = (class_ptr)   \
    }

/* What a task waits for, as people are told: "lock (held by Task-3)". NULL is a task that has not begun. */
void coil__wait_words(const struct wait *w, char *out, size_t size);

/* Suspend the current task until woken. Returns the wake-up's value, -ECANCELED, or COIL_EEXIT (the task is
 * being unwound). The caller has checked that there is a current task (coil__can_wait). */
COIL_MUST static inline coil_ret coil__park(struct wait *w);
/* The same for who has looked up the current task already, and said whose wait it is. */
COIL_MUST coil_ret coil__park_task(struct coil__task *t, struct wait *w);
/* Who wants to hear of every park in loops that are `watched` (tests of what a cancel there does); before it waits. */
extern void (*coil__park_hook)(struct coil__task *t);
/* And of every return of a task's function there; what it says instead. */
extern coil_ret (*coil__return_hook)(struct coil__task *t, coil_ret rc);

/* Queue the parked task for the next turn; `value` is what its park returns. */
void coil__wake(struct wait *w, coil_ret value);

/* The cancel a plain wait has: wakes it with -ECANCELED. For wait_class.cancel. */
bool coil__wait_cancel_plain(struct wait *w, const char *message);

/* A wait for one op, both in the parked frame. */
struct op_wait {
    struct wait w;
    struct op op; /* kind, fd and arguments filled in by the caller; done is ours */
};
/* Submit the op and wait for its last word. `what` must be static. Returns the op's result, or -ECANCELED when
 * nothing was done. A result that was quicker than the cancel is returned, the cancel waits for the next wait. */
COIL_MUST coil_ret coil__op_await(struct op_wait *ow, const struct wait_class *cls);
/* The classes for it are made with these. */
bool coil__op_wait_cancel(struct wait *w, const char *message);
void coil__op_wait_abandon(struct wait *w);
#define OP_WAIT_CLASS(word)                                                               \
    {                                                                                     \
        .what = (word), .cancel = coil__op_wait_cancel, .abandon = coil__op_wait_abandon, \
        .keeps = true, .shows = SHOWS_FD, .at = offsetof(struct op_wait, op.fd)           \
    }

/* Give up one turn: a bare yield, as sleep(0) does. */
COIL_MUST coil_ret coil__yield(void);

/* ---- futures ---- */

/* How a kind of future differs. gather's and shield's outer futures, thread-linked futures, have their own. */
struct future_class {
    const char *name;
    /* coil_future_cancel of a pending one; NULL: become cancelled. */
    bool (*cancel)(coil_future *f, const char *message);
    /* The last reference went: free it and what hangs on it. `taken`: somebody took its value, or looked at its
     * error. NULL: nothing hangs on it. */
    void (*destroy)(coil_future *f, bool taken);
    /* The loop is closing, and every task of it is gone: let go of other futures, and of references to itself. NULL:
     * it has none. */
    void (*abandon)(coil_future *f);
};

/* A node in a future's callback list. In a frame (an await), in an upper floor's object, or allocated (add_done_callback). */
struct future_callback {
    struct list link;
    /* Called when the future is done, in the order of adding, from inside the finishing call: it may only
     * queue (a slot, a task). The node is unlinked before. */
    void (*fire)(struct future_callback *cb, coil_future *f);
    /* Who waits for the future through this node, NULL: nobody does. Not counted: the node leaves the list, or says
     * NULL, before that one goes. So a future's list tells who awaits it, to us and to whoever reads our memory. */
    coil_future *by;
};

struct coil_future {
    const struct future_class *cls;
    uint32_t refs;
    uint8_t state; /* enum coil_future_state */
    bool is_task;
    bool retrieved; /* somebody looked at the error, or took the value */
    bool immortal;  /* the thread's stand-in for what could not be made */
    coil_ret result;
    /* of a failed or cancelled one; counted, or a task's own slot; NULL: plain words */
    struct error_record *error;
    struct list callbacks; /* struct future_callback */
    void (*free_result)(coil_ret value);
    const char *file; /* where it was created */
    int line;
    int32_t origin;  /* debug mode: from here to its struct origin, in bytes; 0: it has none */
    struct list all; /* tasks: in their loop's list while not done; with cls->abandon: in outers */
    coil_loop *loop;
};

/* Debug mode: the calls that made something, the newest last. Made in a callback, or outside of the loop, it has none: the
 * bounds of a thread's own stack are not known. */
enum { ORIGIN_CALLS = 10 }; /* asyncio's DEBUG_STACK_DEPTH */
struct origin {
    coil_fn body; /* of a task: the function that runs in it */
    size_t n;
    const void *calls[ORIGIN_CALLS];
};
void coil__origin_fill(struct origin *origin, struct frame newest);
static inline const struct origin *future_origin(const coil_future *f)
{
    return f->origin ? (const struct origin *)((const char *)f + f->origin) : NULL;
}

/* In place, for upper floors that embed one; refs = 1. The class's destroy must free the memory around it. */
static inline void coil__future_init(coil_future *f, coil_loop *loop,
                                     const struct future_class *cls, const char *file, int line)
{
    *f = (coil_future){.cls = cls, .loop = loop, .refs = 1, .file = file, .line = line};
    list_init(&f->callbacks);
    list_init(&f->all);
}
/* Allocated; NULL when out of memory. `size` >= sizeof(coil_future), the rest is zeroed. */
coil_future *coil__future_new(coil_loop *loop, const struct future_class *cls, size_t size,
                              const char *file, int line);
/* The thread's immortal failed future: await it to meet `error` (already recorded in the slot). */
coil_future *coil__future_failed(coil_ret error);

/* Finish it without asking who may; `error` (counted, taken over) goes with a failing or cancelled result. The future must be
 * pending. coil__future_finish(f, -ECANCELED, NULL) makes it cancelled. */
void coil__future_finish(coil_future *f, coil_ret result, struct error_record *error);

/* A report of the loop's that speaks of this future. */
void coil__future_report(coil_future *f, const char *kind, const char *message, coil_ret code,
                         const coil_error *error);

/* For loops that close, and futures that go while pending: callbacks that will never run. */
void coil__future_drop_queued(struct task_part *part);
void coil__future_abandon_outers(struct task_part *part);
void coil__future_drop_callbacks(coil_future *f);

/* Add a node; if the future is done already it fires at once. Holding ring room for it is the caller's business. */
void coil__future_watch(coil_future *f, struct future_callback *cb);
static inline void future_unwatch(struct future_callback *cb)
{
    list_remove(&cb->link);
}

/* Somebody waits for `f` who has no node of his own, and says so until he takes it back (awaited.c). */
void coil__edge_drop(struct future_callback *cb);

/* The result of a done one, as await returns it: the slot says what its error says, and it counts as retrieved. */
coil_ret coil__future_take(coil_future *f);

/* A counted record of why it failed (NULL: plain words), and the look counts as retrieval. */
struct error_record *coil__future_take_error(coil_future *f);

/* Whose wait it is: that of the current task, `task`. For who may be woken before it parks. */
static inline void wait_belongs(struct wait *w, coil_task *task)
{
    COIL_DCHECK(task->loop == coil__running_loop);
    w->task = task;
    w->loop = coil__running_loop;
}

static inline bool future_done(const coil_future *f)
{
    return f->state != COIL_FUTURE_PENDING;
}

/* ---- tasks ---- */

struct timeout_node; /* combine/timeout.c */

struct coil__task {
    coil_future future; /* first: a task is a future */
    struct coro coro;
    /* What a park and a switch look at stands in one cache line, with the end of `coro` (and the loop is the running one). */
    /* where to switch to: the task's own coroutine, or a generator it drives that waits */
    struct coro *leaf;
    struct coro *back;                /* eager first step: who to go back to at the first wait */
    struct wait *waiting;             /* NULL while it runs, and before the first step */
    struct coil_context *context_now; /* while parked: the context it was running in */
    void (*arm_scopes)(struct coil__task *t); /* NULL: no timeout scope to arm */
    bool must_cancel;                         /* deliver at the next step */
    bool started;
    bool in_cancel; /* a cancel is being handed down from here: meeting it again is a circle */
    /* made inside a call that tells how it went: not reported when destroyed pending */
    bool silent;

    struct stack *stack;
    coil_fn fn;
    void *arg;
    struct coil_context context;  /* its own copy ... */
    coil_context *shared_context; /* ... or the one it was given */
    char *cancel_message;         /* of the last cancel; NULL */
    struct list scopes;  /* open timeout scopes not yet armed: combine/ arms them when it parks */
    uint32_t cancelling; /* cancel requests outstanding */
    uint64_t number;     /* which one of its loop; the N of Task-N */
    int64_t parked_ns;   /* debug: since when */
    /* From here on nothing is zeroed at birth: words come when there is something to say. */
    char name[ERROR_NAME_MAX];
    struct error_record error; /* its last error; after the end, what it failed with */
};

#if !COIL_CORO_TOOLED
_Static_assert((offsetof(struct coil__task, coro) + offsetof(struct coro, sp)) / 64 ==
                   offsetof(struct coil__task, silent) / 64,
               "what a switch looks at is one line");
#endif

static inline struct coil__task *as_task(coil_future *f)
{
    return (struct coil__task *)f;
}

static inline void task_set_name(struct coil__task *t, const char *name)
{
    strncpy(t->name, name, sizeof t->name - 1);
    t->name[sizeof t->name - 1] = 0;
}

/* The per-loop state of this floor; made when the first task is. */
struct task_part {
    struct loop_part part;
    coil_loop *loop;
    struct coil__task *current;
    struct coro *hub; /* the coroutine that turns the loop (a thread's own stack) */
    /* finished: the loop's reference is still to be given back, on the loop's stack */
    struct coil__task *departed;
    struct coil__task *stubborn; /* would not unwind: to be reported, on the loop's stack */
    struct list tasks;           /* live ones, in order of creation, through future.all */
    struct list callbacks;       /* done-callbacks that are on the ready ring */
    /* futures that stand for others, to be told of the end, through future.all */
    struct list outers;
    struct list
        kept; /* debug mode: whoever is referred to from outside, through future.all (leaks.c) */
    size_t tasks_n;
    bool asyncgens_shut;          /* coil_loop_shutdown_asyncgens was called */
    bool in_factory;              /* it is being asked; tasks are made without it */
    coil_task_factory_fn factory; /* NULL: the constructor */
    void *factory_arg;
    char last_name[ERROR_NAME_MAX]; /* "Task-7", the last one given */
    unsigned last_digits;
    uint64_t number;
    struct stack_pool stacks;
    struct depths depths; /* debug mode */
};

/* Made when it is first asked for; NULL without memory, recorded. */
struct task_part *coil__task_part_make(coil_loop *loop);
static inline struct task_part *coil__task_part(coil_loop *loop)
{
    struct loop_part *p = loop->parts[LOOP_PART_TASK];
    return coil_likely(p != NULL) ? container_of(p, struct task_part, part)
                                  : coil__task_part_make(loop);
}
/* The loop closes: all its tasks are unwound. For loop_part.closing. */
void coil__tasks_close(struct loop_part *part, coil_loop *loop);

/* The constructor; with `ask`, the loop's factory is, if there is one. Never NULL. */
coil_task *coil__task_make(const coil_task_recipe *recipe, const coil_task_opts *opts, bool ask);
coil_task *coil__task_by_factory(struct task_part *part, const coil_task_recipe *recipe,
                                 const coil_task_opts *opts);

/* ---- generators that belong to a loop (asyncgen.c) ---- */

/* Tells the floor below; once is enough. */
void coil__asyncgens_init(void);
/* From now on each one that begins is reported. Returns how many there are. */
size_t coil__asyncgens_shut(coil_loop *loop);
/* Those that another thread has let go of are unwound. */
void coil__asyncgens_closing(coil_loop *loop);
/* "generator NAME (FILE:LINE) WHAT", to the exception handler. */
void coil__asyncgen_report(coil_loop *loop, struct coil_gen *gen, const char *what, coil_ret code,
                           const coil_error *error);

/* What a task's function will be, also where it was made of a coroutine object. */
coil_fn coil__task_body(const struct coil__task *t);
coil_fn coil__body_of(coil_fn fn, const void *arg);
/* Debug mode: this one is referred to; who still is when coil_run ends is told of. */
void coil__leaks_keep(coil_future *f);
void coil__leaks_tell(coil_loop *loop);
void coil__leaks_forget(struct task_part *part);
/* ", for 3.2 s now", of a parked task in debug mode; else "". */
void coil__since_words(const struct coil__task *t, char *out, size_t size);

/* The current task of the running loop, or NULL. */
static inline struct coil__task *coil__current(void)
{
    coil_loop *loop = coil__running_loop;
    struct loop_part *part = loop ? loop->parts[LOOP_PART_TASK] : NULL;
    return part ? container_of(part, struct task_part, part)->current : NULL;
}

/* Inlined: the innermost frame of a parked task is coil__park_task's and no other (debug/stack.c). */
__attribute__((always_inline)) static inline coil_ret coil__park(struct wait *w)
{
    struct coil__task *t = coil__current();
    wait_belongs(w, &t->future);
    return coil__park_task(t, w);
}

/* May the caller wait here? 0, COIL_ENOTASK outside a task, COIL_EEXIT while being unwound (counted).
 * Asked by each waiting call, so the usual answer is found without a call. */
int coil__cannot_wait(void);
static inline int coil__can_wait(void)
{
    if (coil_likely(coil__current() && !coil__coro_unwinding()))
        return 0;
    return coil__cannot_wait();
}

#endif
