/* SPDX-License-Identifier: MIT
 *
 * turn.c: one turn of the loop: wait and reap, then run what is queued.
 *
 *     collect:  wait --> ops done --> inbox --> due timers --> [ batch fixed ]
 *     dispatch: run the batch; what it queues is the next batch
 *
 * While work is ready a turn need not look at clock and kernel: batches follow each other for at most
 * 61 turns or 50 us (coil__loop_next_batch), so a descriptor or timer is late by no more than that and
 * one callback.
 *
 * Virtual time stands still while anything runs. When nothing is ready it jumps to the next timer or imaginary event,
 * unless somebody outside may still act: thread jobs are waited for in real time, real descriptors get a
 * grace (the kernel's own loopback work may lag by a moment).
 *
 * A deadlock is certain when the loop is asked to run until a future is done, and would sleep for ever:
 * nothing ready, no timer, no op, no job, no waker, no signal handler, and no thread in the process but this one and idle
 * ones of coil's own. Then, and only then, collect says COIL_EDEADLOCK. (Other threads are looked at a few times more.)
 *
 * Runs on the loop's thread. Elsewhere: the ring and its rooms (loop.c), timers (timer.c), spinning before the sleep
 * (spin.c). */
#include "base/error.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/thread.h"
#include "base/trace.h"
#include "loop/loop.h"
#include "loop/slow.h"

enum { TURNS_WITHOUT_LOOK = 61 };
#define LOOK_AFTER_NS    (50 * NS_PER_US)
#define WAIT_MAX_NS      (24 * 3600 * NS_PER_S) /* as asyncio: a day, then look again */
#define DOUBT_MAX_NS     (8 * NS_PER_S)
#define VIRTUAL_GRACE_NS (10 * NS_PER_MS)
#define VIRTUAL_TURN_NS  (10 * NS_PER_US) /* what a turn takes that only serves ready descriptors */
#define LIMIT_JUMP       INT64_C(-1)      /* do not sleep, but let virtual time jump */

/* ---- waiting ---- */

/* Nanoseconds until the next timer, -1 for ever, 0 if overdue. */
static int64_t until_timer(const struct coil_loop *loop)
{
    const struct heap_entry *first = heap_min(&loop->timers);
    if (!first)
        return -1;
    int64_t now_ns = loop_now_ns(loop);
    int64_t left = first->key > now_ns ? clock_add(first->key, -now_ns) : 0;
    return left > WAIT_MAX_NS ? WAIT_MAX_NS : left;
}

/* Can nobody wake this loop but a thread that is not ours? */
static bool nothing_is_under_way(struct coil_loop *loop)
{
    return loop->until_future && !loop->backend->pending && !loop_something_came(loop) &&
           !loop->jobs && !loop->wakers && list_empty(&loop->signals) && !coil__thread_busy();
}

static bool deadlock_is_certain(struct coil_loop *loop)
{
    /* A thread that has ended since may have posted before. */
    return nothing_is_under_way(loop) && coil__thread_in_process() == 1 + coil__thread_count() &&
           !loop_something_came(loop);
}

static int wait_asleep(struct coil_loop *loop, int64_t timeout_ns)
{
    if (!coil__inbox_fall_asleep(loop->inbox))
        return loop->backend->cls->wait(loop->backend, 0);
    TRACE_POINT(loop_sleep, "8@%0 -8@%1", "r"(loop), "r"(timeout_ns));
    int err = loop->backend->cls->wait(loop->backend, timeout_ns);
    coil__inbox_wake_up(loop->inbox);
    return err;
}

/* A thread that was joined is counted by the kernel for a while yet. So who would sleep for ever, if that one is all that
 * speaks against a deadlock, looks again, ever later: after 1, 8, 64, 512 ms and 4 s. */
static int sleep_for_ever_or_give_up(struct coil_loop *loop)
{
    for (int64_t nap = NS_PER_MS; nothing_is_under_way(loop); nap *= 8) {
        if (deadlock_is_certain(loop))
            return (int)coil__fail(COIL_EDEADLOCK, "nothing left can wake any task");
        if (nap > DOUBT_MAX_NS)
            break;
        int err = wait_asleep(loop, nap);
        if (err || loop_something_came(loop))
            return err;
    }
    return wait_asleep(loop, -1);
}

/* To look at all threads of the process takes some microseconds, so it is done once nothing came of spinning. */
static int sleep_or_give_up(struct coil_loop *loop, int64_t timeout_ns)
{
    return timeout_ns < 0 ? sleep_for_ever_or_give_up(loop) : wait_asleep(loop, timeout_ns);
}

static int wait_spinning(struct coil_loop *loop, int64_t timeout_ns)
{
    uint64_t began = clock_ticks();
    int64_t began_ns = coil__clock_real_ns();
    int came = coil__loop_spin(loop, timeout_ns);
    if (came == 0) {
        int64_t left = timeout_ns - (coil__clock_real_ns() - began_ns);
        came = sleep_or_give_up(loop, timeout_ns < 0 ? -1 : left > 0 ? left : 0);
    }
    coil__loop_was_idle(loop, clock_ticks() - began);
    return came < 0 ? came : 0;
}

static int wait_real(struct coil_loop *loop, bool busy, int64_t limit_ns)
{
    if (busy || limit_ns <= 0)
        return loop->backend->cls->wait(loop->backend, 0);
    int64_t timeout = until_timer(loop);
    if (timeout == 0)
        return loop->backend->cls->wait(loop->backend, 0);
    if (timeout < 0 || (limit_ns < timeout))
        timeout = limit_ns == CLOCK_FOREVER ? -1 : limit_ns;
    return loop->spin_ns ? wait_spinning(loop, timeout) : sleep_or_give_up(loop, timeout);
}

/* Did nothing come but callbacks of descriptors that are ready all the time? */
static bool only_watches_came(struct coil_loop *loop)
{
    LIST_FOREACH(link, &loop->backend->finished)
        if (!op_continues(container_of(link, struct op, link)))
            return false;
    return inbox_empty(loop->inbox);
}

/* When something will happen by itself in virtual time. */
static int64_t next_virtual_ns(const struct coil_loop *loop)
{
    const struct heap_entry *first = heap_min(&loop->timers);
    int64_t timer = first ? first->key : CLOCK_FOREVER;
    int64_t event = loop->backend ? loop->backend->cls->next_event_ns(loop->backend)
                                  : CLOCK_FOREVER;
    return event < timer ? event : timer;
}

static int wait_virtual(struct coil_loop *loop, bool busy, int64_t limit_ns)
{
    struct backend *b = loop->backend;
    int err = b->cls->wait(b, 0);
    if (err || busy || limit_ns == 0)
        return err;
    if (loop_something_came(loop)) {
        /* A writer that is always ready would keep time from passing at all. */
        if (only_watches_came(loop))
            clock_advance_to(&loop->clock, clock_add(loop->clock.virtual_ns, VIRTUAL_TURN_NS));
        return 0;
    }

    int64_t target = next_virtual_ns(loop), event = b->cls->next_event_ns(b);
    if (limit_ns == LIMIT_JUMP) {
        if (target == CLOCK_FOREVER || loop->jobs || loop->wakers)
            return 0;
        clock_advance_to(&loop->clock, target);
        return b->cls->wait(b, 0);
    }
    if (limit_ns != CLOCK_FOREVER && clock_add(loop->clock.virtual_ns, limit_ns) < target)
        target = clock_add(loop->clock.virtual_ns, limit_ns);
    int64_t left = target == CLOCK_FOREVER ? -1 : clock_add(target, -loop->clock.virtual_ns);
    if (left == 0)
        return 0;
    if (loop->jobs || loop->wakers || target == CLOCK_FOREVER) {
        /* Somebody outside may act, and takes real time to do so. */
        int64_t before = coil__clock_real_ns();
        err = sleep_or_give_up(loop, left);
        int64_t now = clock_add(loop->clock.virtual_ns, coil__clock_real_ns() - before);
        clock_advance_to(&loop->clock, now < target ? now : target);
        return err;
    }
    if (b->real_pending) {
        err = wait_asleep(loop, left < VIRTUAL_GRACE_NS ? left : VIRTUAL_GRACE_NS);
        if (err || loop_something_came(loop))
            return err;
    }
    clock_advance_to(&loop->clock, target);
    return event <= target ? b->cls->wait(b, 0) : 0;
}

/* ---- the two halves ---- */

void coil__loop_drain_inbox(struct coil_loop *loop)
{
    struct inbox_node *node = coil__inbox_take(loop->inbox);
    while (node) {
        struct inbox_node *next = node->next;
        node->fn(node);
        node = next;
    }
}

/* A turn begins: it will run what stands in the ring between these positions. */
static inline void turn_begins(struct coil_loop *loop)
{
    loop->batch_end = loop->tail;
    loop->turns++;
    TRACE_POINT(loop_turn, "8@%0 8@%1 8@%2 8@%3", "r"(loop), "o"(loop->turns), "o"(loop->head),
                "o"(loop->batch_end));
}

static void reap(struct coil_loop *loop)
{
    for (struct op *op; (op = backend_reap(loop->backend));) {
        TRACE_POINT(op_done, "8@%0 -4@%1 1@%2 -8@%3", "r"(op), "o"(op->fd), "o"(op->kind),
                    "o"(op->result));
        op->done(op);
    }
    coil__loop_drain_inbox(loop);
}

int coil__loop_collect(struct coil_loop *loop, int64_t limit_ns)
{
    int err = coil__loop_open_backend(loop);
    if (err)
        return err;
    bool busy = loop_ready(loop) > 0 || loop->stopping || loop->raised;
    err = loop->clock.is_virtual ? wait_virtual(loop, busy, limit_ns)
                                 : wait_real(loop, busy, limit_ns);
    if (err < 0)
        return err;
    reap(loop);
    coil__timers_fire(loop);
    turn_begins(loop);
    loop->idle_turns = 0;
    loop->look_ticks = clock_ticks();
    __atomic_store_n(&loop->step_ticks, loop->look_ticks, __ATOMIC_RELAXED);
    return 0;
}

bool coil__loop_next_batch(struct coil_loop *loop)
{
    if (loop->head != loop->batch_end || loop->head == loop->tail || !loop->may_batch ||
        loop->stopping || loop->raised || loop->every_turn)
        return false;
    if (++loop->idle_turns >= TURNS_WITHOUT_LOOK ||
        clock_ticks() - loop->look_ticks > loop->look_every)
        return false;
    turn_begins(loop);
    return true;
}

static void run_slot(struct coil_loop *loop)
{
    struct slot slot = loop->ring[loop->head++ & loop->mask];
    /* The argument is usually a task or handle that is cold: ask for the ones to come while this runs. */
    __builtin_prefetch(loop->ring[(loop->head + 3) & loop->mask].arg);
    loop->hub_context.map = slot.map;
    loop->callbacks++;
    if (coil_unlikely(loop->debug))
        coil__loop_run_timed(loop, slot.fn, slot.arg);
    else
        slot.fn(slot.arg);
    if (coil_unlikely(loop->hub_context.map != NULL)) {
        coil__context_map_unref(loop->hub_context.map);
        loop->hub_context.map = NULL;
    }
}

int coil__loop_dispatch(struct coil_loop *loop)
{
    uint64_t before = loop->callbacks;
    struct coil_context *outer = coil__context_ptr;
    coil__context_ptr = &loop->hub_context;
    if (coil_unlikely(loop->debug))
        coil__slow_watch(loop);
    while (loop->head != loop->batch_end && !loop->raised)
        run_slot(loop);
    coil__context_ptr = outer;
    return (int)(loop->callbacks - before);
}

/* ---- running ---- */

/* May this thread run this loop now? */
static int may_run(struct coil_loop *loop)
{
    if (loop->closed)
        return (int)coil__fail_plain(COIL_ECLOSED);
    if (loop_inherited(loop) || loop->process != process_number()) /* a bare clone() tells nobody */
        return coil__loop_say_inherited();
    if (loop->running)
        return (int)coil__fail(COIL_ERUNNING, "This event loop is already running");
    if (coil__running_loop)
        return (int)coil__fail(COIL_ERUNNING,
                               "Cannot run the event loop while another loop is running");
    return 0;
}

int coil__loop_enter(struct coil_loop *loop)
{
    int err = may_run(loop);
    if (err)
        return err;
    loop->running = true;
    if (coil_unlikely(!loop->thread_id || loop->thread != coil__thread_self()))
        loop->thread_id = sys_gettid();
    loop->thread = coil__thread_self();
    coil__running_loop = loop;
    return 0;
}

void coil__loop_leave(struct coil_loop *loop)
{
    loop->running = false;
    coil__running_loop = NULL;
    if (coil_unlikely(loop->slow != NULL))
        coil__slow_leave();
}

/* What coil_loop_raise was given, with its words; 0 if nothing. */
static int take_raised(struct coil_loop *loop)
{
    int err = (int)loop->raised;
    if (err)
        coil__error_restore(loop->raised_error, err);
    coil__error_unref(loop->raised_error);
    loop->raised = 0;
    loop->raised_error = NULL;
    return err;
}

int coil__loop_run(struct coil_loop *loop)
{
    int err = coil__loop_enter(loop);
    if (err)
        return err;
    loop->may_batch = true;
    do {
        err = coil__loop_collect(loop, CLOCK_FOREVER);
        if (err)
            break;
        do
            coil__loop_dispatch(loop);
        while (coil__loop_next_batch(loop));
    } while (!loop->stopping && !loop->raised);
    loop->may_batch = false;
    loop->stopping = false;
    coil__loop_leave(loop);
    if (loop_inherited(loop))
        return coil__loop_say_inherited();
    return err ? err : take_raised(loop);
}

int coil_loop_run_forever(coil_loop *loop)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return COIL_ENOLOOP;
    return coil__loop_run(loop);
}

void coil__loop_settle(struct coil_loop *loop, bool (*settled)(void *arg), void *arg)
{
    while (!settled(arg)) {
        /* Only the backend and the inbox can settle anything; neither runs a user's code. */
        if (!list_empty(&loop->backend->finished) || !coil__inbox_fall_asleep(loop->inbox)) {
            reap(loop);
            continue;
        }
        bool imaginary = loop->clock.is_virtual && !loop->jobs;
        if (imaginary && loop->backend->cls->next_event_ns(loop->backend) != CLOCK_FOREVER)
            clock_advance_to(&loop->clock, loop->backend->cls->next_event_ns(loop->backend));
        (void)loop->backend->cls->wait(loop->backend, imaginary ? 0 : -1);
        coil__inbox_wake_up(loop->inbox);
    }
}

static bool op_is_idle(void *op)
{
    return ((struct op *)op)->state == OP_IDLE;
}

void coil__loop_settle_op(struct coil_loop *loop, struct op *op)
{
    coil__loop_settle(loop, op_is_idle, op);
}

/* ---- embedding ---- */

/* The host sleeps in its own poll, where we have no second look: the kernel must know of every op, a
 * post from another thread must ring, and what came already rings now. */
static void host_sleeps(struct coil_loop *loop)
{
    (void)loop->backend->cls->poll_fd(loop->backend);
    if (!coil__inbox_fall_asleep(loop->inbox))
        coil__inbox_ring(loop->inbox);
}

static int collect(coil_loop *loop, int64_t limit)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return COIL_ENOLOOP;
    if (loop->collected)
        return (int)coil__fail(COIL_EINVALIDSTATE,
                               "what was collected has not been dispatched yet");
    int err = coil__loop_enter(loop);
    if (err)
        return err;
    err = coil__loop_collect(loop, limit);
    if (err)
        coil__loop_leave(loop);
    else
        loop->collected = true;
    return err;
}

int coil_loop_collect(coil_loop *loop, double timeout)
{
    int64_t limit = 0;
    if (timeout != timeout)
        return (int)coil__fail(-EINVAL, "a timeout must be a number");
    if (timeout > 0)
        limit = coil__clock_from_seconds(timeout);
    return collect(loop, limit);
}

int coil_loop_dispatch(coil_loop *loop)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return COIL_ENOLOOP;
    if (!loop->collected)
        return (int)coil__fail(COIL_EINVALIDSTATE,
                               "nothing was collected; call coil_loop_collect first");
    if (coil__running_loop != loop)
        return (int)coil__fail(COIL_EWRONGTHREAD, "another thread collected; it must dispatch");
    loop->collected = false; /* from here on a callback that asks for this is refused */
    __atomic_store_n(&loop->step_ticks, clock_ticks(), __ATOMIC_RELAXED);
    int n = coil__loop_dispatch(loop);
    loop->stopping = false;
    coil__loop_leave(loop);
    if (loop_inherited(loop))
        return coil__loop_say_inherited();
    if (loop->embedded)
        host_sleeps(loop);
    int err = take_raised(loop);
    return err ? err : n;
}

int coil_loop_iterate(coil_loop *loop)
{
    int err = collect(loop, LIMIT_JUMP);
    return err ? err : coil_loop_dispatch(loop);
}

double coil_loop_timeout(coil_loop *loop)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return 0;
    if (loop->embedded && !loop->closed && !loop_inherited(loop))
        host_sleeps(loop);
    if (loop_ready(loop) || loop->stopping || loop->raised || !inbox_empty(loop->inbox) ||
        (loop->backend && !list_empty(&loop->backend->finished)))
        return 0;
    if (loop->clock.is_virtual) /* its time only moves when it is turned */
        return next_virtual_ns(loop) == CLOCK_FOREVER ? COIL_FOREVER : 0;
    int64_t left = until_timer(loop);
    return left < 0 ? COIL_FOREVER : clock_to_seconds(left);
}

int coil_loop_fd(coil_loop *loop)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return COIL_ENOLOOP;
    int err = loop->closed           ? (int)coil__fail_plain(COIL_ECLOSED)
              : loop_inherited(loop) ? coil__loop_say_inherited()
                                     : coil__loop_open_backend(loop);
    if (err)
        return err;
    int fd = loop->backend->cls->poll_fd(loop->backend);
    loop->embedded = fd >= 0;
    if (loop->embedded)
        host_sleeps(loop);
    else
        coil__fail(fd, "the %s backend has no descriptor to poll; call coil_loop_iterate often",
                   loop->backend->cls->name);
    return fd;
}
