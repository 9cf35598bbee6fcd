/* SPDX-License-Identifier: MIT
 *
 * loop.c: making a loop, finding the right one, and the ring of what is ready.
 *
 * Always true of the ring: capacity >= what is queued + what is held, so that waking somebody who
 * holds room cannot fail for want of memory.
 *
 * Runs on the loop's thread, but for coil_loop_wakeup. Elsewhere: turning (turn.c), the end (close.c). */
#include "loop/loop.h"

#include "base/env.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/thread.h"
#include "loop/slow.h"

#include <string.h>

enum { RING_MIN = 64 };
#define SLOW_DEFAULT_NS (100 * NS_PER_MS)

_Thread_local struct coil_loop *coil__running_loop;
static _Thread_local struct coil_loop *current_loop; /* coil_set_event_loop */

/* ---- the ring ---- */

int coil__loop_grow_ring(struct coil_loop *loop, unsigned n)
{
    uint64_t need = loop->tail - loop->head + loop->held + n, capacity = loop->mask + 1;
    COIL_DCHECK(capacity < need);
    while (capacity < need)
        capacity *= 2;
    /* Cleared, because a turn looks ahead into slots that nobody has filled. */
    struct slot *ring = coil__zalloc(capacity * sizeof *ring);
    if (!ring)
        return -ENOMEM;
    for (uint64_t at = loop->head; at != loop->tail; at++)
        ring[at & (capacity - 1)] = loop->ring[at & loop->mask];
    coil__free(loop->ring);
    loop->ring = ring;
    loop->mask = capacity - 1;
    return 0;
}

static void do_nothing(void *arg)
{
    (void)arg;
}

bool coil__loop_unpush(struct coil_loop *loop, uint64_t position)
{
    COIL_DCHECK(position < loop->tail);
    if (position < loop->head)
        return false;
    struct slot *slot = &loop->ring[position & loop->mask];
    coil__context_map_unref(slot->map);
    *slot = (struct slot){.fn = do_nothing};
    return true;
}

/* ---- which loop ---- */

coil_loop *coil_get_running_loop(void)
{
    return coil__running_loop;
}

coil_loop *coil_get_event_loop(void)
{
    coil_loop *loop = coil__running_loop ? coil__running_loop : current_loop;
    if (!loop)
        coil__fail(COIL_ENOLOOP, "no running event loop, and none set for this thread");
    return loop;
}

void coil_set_event_loop(coil_loop *loop)
{
    current_loop = loop;
}

void coil__loop_unset(struct coil_loop *loop)
{
    if (current_loop == loop)
        current_loop = NULL;
}

unsigned coil__loop_forks;

/* In the child: no loop runs here, whatever its parent was doing. Who returns into the frames of one that did
 * finds that its run is over. */
static void forked(void)
{
    coil__loop_forks++;
    if (coil__running_loop)
        coil__running_loop->raised = COIL_EWRONGTHREAD;
    coil__running_loop = NULL;
    current_loop = NULL;
    coil__sight_forked();
    coil__slow_forked();
}

int coil__loop_say_inherited(void)
{
    return (int)coil__fail(COIL_EWRONGTHREAD, "this loop was inherited by fork; make a new one");
}

static struct coil_loop *usable(struct coil_loop *loop)
{
    if (coil_unlikely(loop->closed)) {
        coil__fail_plain(COIL_ECLOSED);
        return NULL;
    }
    if (coil_unlikely(loop_inherited(loop))) {
        coil__loop_say_inherited();
        return NULL;
    }
    if (coil_unlikely(loop->debug) && loop->running && loop->thread != coil__thread_self()) {
        coil__fail(COIL_EWRONGTHREAD,
                   "a call that belongs to the loop's own thread came from another one; use "
                   "coil_loop_call_soon_threadsafe");
        return NULL;
    }
    return loop;
}

struct coil_loop *coil__loop_find(struct coil_loop *loop)
{
    if (!loop && !(loop = coil__running_loop)) {
        coil__fail_plain(COIL_ENOLOOP);
        return NULL;
    }
    return usable(loop);
}

struct coil_loop *coil__loop_find_current(struct coil_loop *loop)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return NULL;
    return usable(loop);
}

/* ---- making one ---- */

coil_loop *coil_new_event_loop(const coil_run_opts *opts)
{
    coil_run_opts own;
    opts = OPTS_READ(opts, own);
    const struct backend_class *cls;
    int err = coil__backend_choose(opts->backend, &cls);
    if (err)
        return NULL;
    static _Atomic int asked;
    coil_loop *loop = coil__zalloc(sizeof *loop);
    if (!loop || coil__thread_at_fork(&asked, forked) < 0)
        goto undo_loop;
    if (coil__loop_set_spin(loop, opts->spin) < 0) {
        coil__free(loop);
        return NULL;
    }
    loop->ring = coil__zalloc(RING_MIN * sizeof *loop->ring);
    if (!loop->ring)
        goto undo_loop;
    err = coil__inbox_new(&loop->inbox);
    if (err)
        goto undo_ring;

    loop->mask = RING_MIN - 1;
    loop->backend_class = cls;
    loop->backend_next = coil__backend_after(opts->backend, cls);
    list_init(&loop->watches);
    list_init(&loop->signals);
    list_init(&loop->handles);
    list_init(&loop->free_handles);
    loop->debug = loop->watched = opts->debug || coil__env_flag("COIL_DEBUG");
    loop->clock.is_virtual = opts->virtual_time || coil__env_flag("COIL_VIRTUAL_TIME") ||
                             cls == &coil__backend_sim;
    loop->every_turn = loop->clock.is_virtual;
    loop->seed = opts->seed ? opts->seed : coil__env_number("COIL_SEED", 1);
    loop->stack_size = opts->stack_size;
    loop->no_signals = opts->no_signals;
    coil__loop_set_slow(loop, SLOW_DEFAULT_NS);
    loop->look_every = coil__clock_ticks_in(50 * NS_PER_US);
    if (loop->debug)
        coil__loop_time_steps(loop);
    loop->thread = coil__thread_self();
    loop->pid = sys_getpid();
    loop->process = process_number();
    loop->forks = coil__loop_forks;
    coil__sight_add(loop);
    return loop;

undo_ring:
    coil__free(loop->ring);
    coil__free(loop);
    coil__fail_plain(err);
    return NULL;
undo_loop:
    coil__free(loop);
    coil__fail_plain(-ENOMEM);
    return NULL;
}

int coil__loop_open_backend(struct coil_loop *loop)
{
    if (coil_likely(loop->backend != NULL))
        return 0;
    struct backend_opts opts = {
        .clock = &loop->clock, .wake_fd = loop->inbox->wake_fd, .seed = loop->seed};
    int err = loop->backend_class->open(&loop->backend, &opts);
    if (err && err != -ENOMEM && loop->backend_next) {
        loop->backend_class = loop->backend_next;
        loop->backend_next = NULL;
        err = loop->backend_class->open(&loop->backend, &opts);
    }
    if (err)
        return (int)coil__fail(err, "the %s backend could not be opened: %s",
                               loop->backend_class->name, coil_strerror(err));
    return 0;
}

/* ---- small answers ---- */

void coil_loop_stop(coil_loop *loop)
{
    if (loop || (loop = coil_get_event_loop()))
        loop->stopping = true;
}

void coil_loop_raise(coil_loop *loop, coil_ret error)
{
    if ((!loop && !(loop = coil_get_event_loop())) || loop->raised || loop->closed)
        return;
    loop->raised = coil_iserr(error) ? error : -EINVAL;
    loop->raised_error = coil__error_capture(loop->raised);
}

bool coil_loop_is_running(const coil_loop *loop)
{
    return (loop || (loop = coil_get_event_loop())) && loop->running;
}

bool coil_loop_is_closed(const coil_loop *loop)
{
    return (loop || (loop = coil_get_event_loop())) && loop->closed;
}

double coil_loop_time(coil_loop *loop)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return NAN;
    return (double)loop_now_ns(loop) / 1e9;
}

void coil_loop_wakeup(coil_loop *loop)
{
    /* Maybe in a signal handler: no words for a missing loop. */
    if (loop || (loop = coil__running_loop))
        coil__inbox_ring(loop->inbox);
}

void coil_loop_set_debug(coil_loop *loop, bool debug)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return;
    if (debug && !loop->debug)
        coil__loop_time_steps(loop);
    if (!debug && loop->parts[LOOP_PART_TASK])
        loop->parts[LOOP_PART_TASK]->debug_ends(loop->parts[LOOP_PART_TASK]);
    loop->debug = debug;
    loop->watched |= debug;
}

bool coil_loop_get_debug(const coil_loop *loop)
{
    return (loop || (loop = coil_get_event_loop())) && loop->debug;
}

void coil_loop_set_slow_callback_duration(coil_loop *loop, double seconds)
{
    if ((loop || (loop = coil_get_event_loop())) && seconds == seconds)
        coil__loop_set_slow(loop, coil__clock_from_seconds(seconds));
}

const char *coil_loop_backend(coil_loop *loop)
{
    return loop || (loop = coil_get_event_loop()) ? loop->backend_class->name : "";
}

void coil_loop_set_data(coil_loop *loop, void *data)
{
    if (loop || (loop = coil_get_event_loop()))
        loop->data = data;
}

void *coil_loop_data(coil_loop *loop)
{
    return loop || (loop = coil_get_event_loop()) ? loop->data : NULL;
}

void coil_loop_stats(coil_loop *loop, coil_loop_stats_t *out)
{
    *out = (coil_loop_stats_t){.size = sizeof *out};
    if (!loop && !(loop = coil_get_event_loop()))
        return;
    out->ready = loop_ready(loop);
    out->timers = loop->timers.n;
    out->jobs = loop->jobs;
    out->turns = loop->turns;
    out->callbacks = loop->callbacks;
    out->switches = loop->switches;
    out->spins = loop->spins;
    out->spins_in_vain = loop->spins_in_vain;
    if (loop->backend) {
        out->fds = loop->backend->fds;
        out->ops = loop->backend->pending;
    }
    for (int i = 0; i < LOOP_PARTS; i++)
        if (loop->parts[i] && loop->parts[i]->stats)
            loop->parts[i]->stats(loop->parts[i], out);
}
