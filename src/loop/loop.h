/* SPDX-License-Identifier: MIT
 *
 * loop.h: the loop as the floors above it see it.
 *
 *     op->done, inbox, due timers --+
 *     call_soon ------------------- +--> [ ready ring ] --this turn's batch--> fn(arg)
 *
 * The ready queue is a ring of slots (function, argument, context). Positions only grow, so whoever
 * queued a slot can take it back by its position; nothing is allocated for it. A turn runs exactly the
 * slots that stood there when it began.
 *
 * Always true:
 *   - head <= batch_end <= tail; slots in [head, batch_end) run in this turn;
 *   - nothing a user wrote runs inside collect: op->done and timer->fire only push slots;
 *   - the loop has not heard of tasks: upper floors hang their state on `parts` and are called back. */
#ifndef COIL_LOOP_LOOP_H
#define COIL_LOOP_LOOP_H

#include "base/check.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/heap.h"
#include "base/inbox.h"
#include "base/line.h"
#include "base/list.h"
#include "io/backend.h"
#include "loop/sight.h"

#include <coil/debug.h>
#include <coil/loop.h>

#include <errno.h>
#include <sys/types.h>

typedef void (*slot_fn)(void *arg);

struct slot {
    slot_fn fn;
    void *arg;
    struct context_map *map; /* captured; NULL: empty. Counted, the slot's. */
};

/* What an upper floor keeps for each loop. Made on first use, told of the end. */
enum {
    LOOP_PART_TASK,
    LOOP_PART_WORK,
    LOOP_PART_NET,
    LOOP_PART_FILE,
    LOOP_PART_PROC,
    LOOP_PART_RUN,
    LOOP_PARTS
};
struct loop_part {
    const struct sight_tasks *layout; /* the task floor's; NULL elsewhere */
    /* Before any task is unwound: wait for whoever works in a task's frame and cannot be stopped. May be NULL. */
    void (*settle)(struct loop_part *part, struct coil_loop *loop);
    /* The loop is closing, tasks first; the loop is current but does not turn. */
    void (*closing)(struct loop_part *part, struct coil_loop *loop);
    /* Adds this floor's numbers; may be NULL. */
    void (*stats)(struct loop_part *part, coil_loop_stats_t *out);
    /* The context variables of what a report speaks of, NULL if there are none; may be NULL. */
    struct coil_context *(*context_of)(const coil_exception_context *context);
    /* Debug mode is switched off; asked of tasks alone. */
    void (*debug_ends)(struct loop_part *part);
    /* Whom a report speaks of: fills in the task, its name, where it was made; may be NULL. */
    void (*name)(const coil_exception_context *context, coil_log_record *out);
    /* Last words: give your memory back. Nothing of the loop may be used. */
    void (*release)(struct loop_part *part);
};

/* What a slot that is more than a callback says of itself in debug mode. */
struct step_about {
    const char *name, *file;
    int line;
    const void *const *source; /* the calls that made it, the newest last; NULL: not known */
    size_t source_n;
};
struct step_class {
    size_t name_at; /* in the future: ERROR_NAME_MAX bytes */
    void (*describe)(const coil_future *future, struct step_about *out);
    /* Its step is over, at this time of the loop's clock: let go of it. True: that ran code of the program's. */
    bool (*over)(coil_future *future, int64_t now_ns);
};

struct error_record;

struct coil_loop {
    /* ---- the ready ring ---- */
    struct slot *ring;
    uint64_t head, batch_end, tail; /* positions; at ring[position & mask] */
    uint64_t mask;
    uint64_t held; /* room promised to those who may be queued later */

    bool running, stopping, closed;
    bool debug;
    bool watched;    /* debug mode, or somebody wants to hear of every park */
    bool every_turn; /* look at clock and kernel on each turn (sim, virtual time, debug) */
    bool may_batch;  /* coil__loop_run turns it, so batches may follow each other without a look */
    bool closing;    /* unwinding: the loop is current but does not turn */
    bool collected;  /* between coil_loop_collect and coil_loop_dispatch */
    bool embedded;   /* a host polls coil_loop_fd */
    bool until_future;   /* run_until_complete: a certain deadlock may be reported */
    uint8_t idle_turns;  /* turns since the last look at clock and kernel, or LOOK_NEXT */
    uint64_t look_ticks; /* clock_ticks() at that look */
    uint64_t look_every; /* ticks in 50 us */
    /* coil_loop_set_spin (spin.c); 0: it sleeps at once. */
    int64_t spin_ns;
    uint64_t spin_ticks;               /* the same */
    bool spins_for_jobs;               /* thread jobs have a processor beside this one */
    uint64_t poll_ticks;               /* spinning: from one look at the kernel to the next */
    uint64_t idle_for;                 /* ticks: what its waits last, by the last ones */
    coil_ret raised;                   /* coil_loop_raise; 0 */
    struct error_record *raised_error; /* what goes with it; NULL: the code's own words */
    struct coil_context hub_context;   /* what callbacks run in: the map their slot captured */

    /* ---- the world ---- */
    struct clock clock;
    struct backend *backend; /* NULL until the first turn, and after close */
    const struct backend_class *backend_class;
    const struct backend_class
        *backend_next; /* if that one cannot be opened; NULL: that is an error */
    size_t jobs;       /* thread jobs that will post to the inbox when done */
    size_t wakers; /* other things that will wake it from outside; virtual time waits for them */
    uint64_t seed;

    /* ---- what threads that post look at, apart from what each turn writes ---- */
    char apart1[CACHE_LINE];
    struct inbox *inbox;
    unsigned forks; /* coil__loop_forks when it was made */
    char apart2[CACHE_LINE];

    /* ---- timers ---- */
    struct heap timers;
    uint64_t timer_seq;

    struct loop_part *parts[LOOP_PARTS];
    struct list watches; /* add_reader, add_writer */
    struct list signals; /* add_signal_handler; they may wake it, virtual time waits for none */
    struct list handles; /* live call_later/call_soon handles, so that close can cancel them */
    struct list free_handles;
    unsigned free_handles_n;

    coil_exception_handler_fn on_exception;
    void *on_exception_arg;
    bool reporting;      /* inside on_exception */
    int64_t slow_ns;     /* the watcher reads it, too */
    uint64_t slow_ticks; /* somewhat less than that */
    struct slow *slow;   /* debug: its watcher; NULL: none, or not yet */
    bool slow_refused;   /* there is none to be had */
    bool no_signals;
    /* Whose step runs: it is held until that was judged; NULL: a mere callback's. The watcher reads it, too. */
    coil_future *step_owner;
    const struct step_class *step_class;
    uint64_t step_number; /* odd: one runs; the watcher reads it */
    /* Debug: readings of the clock are dear, so steps are timed by ticks. */
    uint64_t step_ticks; /* when the last step ended, or the batch began */
    uint64_t base_ticks; /* at base_ns ... */
    int64_t base_ns; /* ... of the real clock; at most a millisecond ago when a step has ended */
    uint64_t first_ticks; /* the same when debug mode began: over so long ticks are well known */
    int64_t first_ns;

    uintptr_t thread; /* who turns it (or made it) */
    pid_t pid; /* of the process that made it, for whoever looks in from outside; and its number: */
    unsigned process;
    size_t stack_size;
    void *data;
    struct list everywhere;  /* all loops of the process (sight.c) */
    pid_t thread_id;         /* of `thread`, as the kernel counts; 0: it never ran */
    struct coil_loop *outer; /* what coil_get_running_loop said before this one ran */

    uint64_t turns, callbacks, switches, spins, spins_in_vain;
};

extern _Thread_local struct coil_loop *coil__running_loop;

/* How often this process is the child of a fork that happened while coil was in use: a loop that was made
 * at another count belongs to a parent, who goes on using what it shares with us. */
extern unsigned coil__loop_forks;
static inline bool loop_inherited(const struct coil_loop *loop)
{
    return loop->forks != coil__loop_forks;
}
/* Records COIL_EWRONGTHREAD and returns it. */
int coil__loop_say_inherited(void);

/* Nothing speaks against using it; NULL is fine. In debug mode the thread is looked at, elsewhere. */
static inline bool loop_usable(const struct coil_loop *loop)
{
    return coil_likely(loop && !loop->closed && !loop->debug && !loop_inherited(loop));
}

/* The loop to use for a public call: `loop`, else the running one; NULL with COIL_ENOLOOP, COIL_ECLOSED
 * or (debug) COIL_EWRONGTHREAD recorded. The usual answer is found without a call. */
struct coil_loop *coil__loop_find(struct coil_loop *loop);
static inline struct coil_loop *coil__loop_use(struct coil_loop *loop)
{
    struct coil_loop *use = loop ? loop : coil__running_loop;
    return loop_usable(use) ? use : coil__loop_find(loop);
}
/* As above, but falls back to the thread's current loop (coil_set_event_loop). */
struct coil_loop *coil__loop_find_current(struct coil_loop *loop);
static inline struct coil_loop *coil__loop_use_current(struct coil_loop *loop)
{
    struct coil_loop *use = loop ? loop : coil__running_loop;
    return loop_usable(use) ? use : coil__loop_find_current(loop);
}

/* Debug mode: does this call come from a thread that the loop does not run in? Then COIL_EWRONGTHREAD is
 * recorded. */
static inline bool loop_is_foreign(struct coil_loop *loop)
{
    return coil_unlikely(loop->debug) && !loop->closed && !coil__loop_find(loop);
}

/* The backend, made if need be. 0 or an error. */
int coil__loop_open_backend(struct coil_loop *loop);

/* ---- the ready ring ---- */

/* Make room for n more beside what is queued and held. */
int coil__loop_grow_ring(struct coil_loop *loop, unsigned n);

/* Whoever may be queued later (a parked task, a timer, a done-callback) holds room for it from birth,
 * so that waking cannot fail for want of memory. Only new work (call_soon) can be refused. */
static inline int coil__loop_hold(struct coil_loop *loop, unsigned n) /* 0 or -ENOMEM */
{
    if (coil_unlikely(loop->tail - loop->head + loop->held + n > loop->mask + 1) &&
        coil__loop_grow_ring(loop, n) < 0)
        return -ENOMEM;
    loop->held += n;
    return 0;
}
static inline void loop_release(struct coil_loop *loop, unsigned n)
{
    loop->held -= n;
}

/* Queue fn(arg) for the next turn, in room that the caller holds. `map` is taken over. */
static inline void loop_push(struct coil_loop *loop, slot_fn fn, void *arg, struct context_map *map)
{
    COIL_DCHECK(loop->tail - loop->head <= loop->mask);
    loop->ring[loop->tail++ & loop->mask] = (struct slot){fn, arg, map};
}

/* The same without holding room: 0 or -ENOMEM, and then nothing is queued and `map` is still yours. */
static inline int loop_push_new(struct coil_loop *loop, slot_fn fn, void *arg,
                                struct context_map *map)
{
    if (coil_unlikely(loop->tail - loop->head + loop->held > loop->mask) &&
        coil__loop_grow_ring(loop, 1) < 0)
        return -ENOMEM;
    loop_push(loop, fn, arg, map);
    return 0;
}

/* The position the last push got. */
static inline uint64_t loop_last_position(const struct coil_loop *loop)
{
    return loop->tail - 1;
}

/* Take a queued slot back: it stays in the ring and does nothing. True if it had not run yet. */
bool coil__loop_unpush(struct coil_loop *loop, uint64_t position);

static inline size_t loop_ready(const struct coil_loop *loop)
{
    return (size_t)(loop->tail - loop->head);
}

/* ---- timers ---- */

/*     IDLE --start--> in the heap --due--> fire(timer): pushes a slot, and the timer is IDLE again */
struct timer {
    struct heap_node node;
    void (*fire)(struct timer *timer);
};

static inline void timer_init(struct timer *timer, void (*fire)(struct timer *))
{
    heap_node_init(&timer->node);
    timer->fire = fire;
}

/* A place among equal deadlines, to be used later by coil__timer_start_seq. */
static inline uint64_t loop_timer_seq(struct coil_loop *loop)
{
    return loop->timer_seq++;
}

/* 0 or -ENOMEM. `when_ns` is on the loop's clock. */
int coil__timer_start(struct coil_loop *loop, struct timer *timer, int64_t when_ns);
int coil__timer_start_seq(struct coil_loop *loop, struct timer *timer, int64_t when_ns,
                          uint64_t seq);
void coil__timer_stop(struct coil_loop *loop, struct timer *timer);

static inline int64_t loop_now_ns(const struct coil_loop *loop)
{
    return clock_now_ns(&loop->clock);
}

/* Fire what is due, in order of (when, sequence). */
void coil__timers_fire(struct coil_loop *loop);

/* A public time as a deadline: 0, or -EINVAL for NaN. */
int coil__deadline_after(struct coil_loop *loop, double delay, int64_t *out_when_ns);

/* ---- turning ---- */

/* Sleep at most until the next timer (and `limit_ns`; CLOCK_FOREVER: no limit), reap, drain the inbox,
 * fire due timers, fix the batch. Calls nothing back. 0 or an error; COIL_EDEADLOCK as loop.c explains. */
int coil__loop_collect(struct coil_loop *loop, int64_t limit_ns);
/* Run the batch. Returns how many slots ran. */
int coil__loop_dispatch(struct coil_loop *loop);

/* Something is due already: look at the clock before the next batch. */
enum { LOOK_NEXT = 100 };
static inline void loop_look_next(struct coil_loop *loop)
{
    loop->idle_turns = LOOK_NEXT;
}

/* Called by whoever stands at the end of a batch with work still queued: may the next batch start at
 * once, without a look at clock and kernel? Then it has started. At most 61 turns or 50 us in a row. */
bool coil__loop_next_batch(struct coil_loop *loop);

/* Mark the loop as the one that runs in this thread, and the reverse. 0 or why it may not. */
int coil__loop_enter(struct coil_loop *loop);
void coil__loop_leave(struct coil_loop *loop);

/* Run until `stop` (coil_loop_stop, raise). The one driver under run_forever and run_until_complete. */
int coil__loop_run(struct coil_loop *loop);

/* Tell the nodes that were posted so far. They only push slots, so this may be done at any time. */
void coil__loop_drain_inbox(struct coil_loop *loop);

/* Op reaping outside of a turn, for unwinding: waits until `*pending` falls to 0. */
void coil__loop_settle(struct coil_loop *loop, bool (*settled)(void *arg), void *arg);
/* The same, until the backend has let go of this op. */
void coil__loop_settle_op(struct coil_loop *loop, struct op *op);

/* ---- the end ---- */

/* No thread-current loop of this thread is `loop` any more. */
void coil__loop_unset(struct coil_loop *loop);
/* Handles and watches let go of everything; their callbacks never run. */
void coil__handles_drop(struct coil_loop *loop);
void coil__watches_drop(struct coil_loop *loop);
/* Its signals do again what they did before. */
void coil__signals_drop(struct coil_loop *loop);

/* ---- reports ---- */

/* A step is slow from `ns` on. */
void coil__loop_set_slow(struct coil_loop *loop, int64_t ns);
int coil__loop_set_spin(struct coil_loop *loop, double seconds);
/* Look for work without sleeping, if that pays; for not much longer than timeout_ns (-1: for ever). 1: something came, 0: nothing
 * did, or an error of the backend's. */
int coil__loop_spin(struct coil_loop *loop, int64_t timeout_ns);
/* A wait is over, spinning and sleeping: so long it lasted. */
void coil__loop_was_idle(struct coil_loop *loop, uint64_t ticks);

/* Also without asking the kernel: who closes a socket finishes what waits on it. */
static inline bool loop_something_came(const struct coil_loop *loop)
{
    return !list_empty(&loop->backend->finished) || !inbox_empty(loop->inbox);
}
/* Debug mode begins: from here on steps are timed. */
void coil__loop_time_steps(struct coil_loop *loop);
/* Run fn(arg) and, if it took long, say so (debug mode). */
void coil__loop_run_timed(struct coil_loop *loop, slot_fn fn, void *arg);

/* Says that a step (of a task, unless "") runs so long and goes on; on the watcher's thread. */
struct slow_look;
void coil__loop_report_endless(struct coil_loop *loop, const char *task, int64_t so_long_ns,
                               const struct slow_look *look);

/* The loop's time to a millisecond, when a step has just ended. */
static inline int64_t loop_about_now(struct coil_loop *loop)
{
    if (loop->clock.is_virtual)
        return loop->clock.virtual_ns;
    if (loop->step_ticks - loop->base_ticks > loop->look_every * 20) {
        loop->base_ns = coil__clock_real_ns();
        loop->base_ticks = loop->step_ticks;
    }
    return loop->base_ns;
}

/* Instead of run_timed's end and beginning, where one task's step follows another's. The next one must own it. False: the
 * hub has to judge this one. */
static inline bool loop_step_follows(struct coil_loop *loop)
{
    uint64_t ticks = clock_ticks();
    if (ticks - loop->step_ticks >= loop->slow_ticks)
        return false;
    __atomic_store_n(&loop->step_ticks, ticks, __ATOMIC_RELAXED);
    __atomic_store_n(&loop->step_number, loop->step_number + 2, __ATOMIC_RELEASE);
    return true;
}

/* Which trouble (the kinds of coil/debug.h), a message, and optionally an error and the future concerned. */
void coil__loop_report(struct coil_loop *loop, const char *kind, const char *message, coil_ret code,
                       const coil_error *error, coil_future *future);

static inline struct loop_part *loop_part(struct coil_loop *loop, int which)
{
    return loop->parts[which];
}

#endif
