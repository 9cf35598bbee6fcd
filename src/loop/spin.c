/* SPDX-License-Identifier: MIT
 *
 * spin.c: looking for work for a while before the loop sleeps, where the program asked for it.
 *
 * To sleep and be woken takes a thread some 10 to 50 us, an answer that comes sooner is met awake. It costs a
 * processor, so it is done only while it pays:
 *
 *     idle for less than two limits, by the average of the last waits --> spin, then sleep
 *     for longer                                                      --> sleep at once
 *
 * (Two, since a wait that was slept through is longer by the waking.) Each wait counts a quarter, and none for more than eight
 * limits. So one long wait ends the spinning, and a few short ones bring it back; a loop with nothing to do costs nothing but
 * one limit.
 *
 * The loop is awake meanwhile: a post from another thread rings nobody, it is seen in the inbox.
 *
 * Runs on the loop's thread. */
#include "base/clock.h"
#include "base/cpus.h"
#include "base/error.h"
#include "base/thread.h"
#include "loop/loop.h"

enum { PAYS = 2, WEIGHT = 4, LONGEST = PAYS * WEIGHT };

#define SPIN_MAX_S 0.01
/* A look at the kernel may be a call of a few hundred nanoseconds, in which nobody looks into the inbox. */
#define POLL_EVERY_NS 300

int coil__loop_set_spin(struct coil_loop *loop, double seconds)
{
    if (!(seconds >= 0 && seconds <= SPIN_MAX_S))
        return (int)coil__fail(-EINVAL, "a loop may spin for 0 to %g seconds before it sleeps",
                               SPIN_MAX_S);
    int64_t ns = coil__clock_from_seconds(seconds);
    /* With one processor the others work only while it sleeps. Where this thread is pinned is another matter: who it waits for
     * may run on the others. */
    loop->spin_ns = ns && coil__cpus_there() > 1 ? ns : 0;
    /* But threads of this process have no others, if the process was given one only. */
    loop->spins_for_jobs = loop->spin_ns && coil__thread_cpus() > 1;
    loop->spin_ticks = coil__clock_ticks_in(loop->spin_ns);
    loop->poll_ticks = coil__clock_ticks_in(POLL_EVERY_NS);
    loop->idle_for = 0;
    return 0;
}

void coil__loop_was_idle(struct coil_loop *loop, uint64_t ticks)
{
    uint64_t longest = LONGEST * loop->spin_ticks;
    if (ticks > longest)
        ticks = longest;
    loop->idle_for = loop->idle_for - loop->idle_for / WEIGHT + ticks / WEIGHT;
}

/* Whether something came, or an error. */
static int look(struct coil_loop *loop)
{
    int err = loop->backend->cls->wait(loop->backend, 0);
    if (err || loop_something_came(loop))
        return err ? err : 1;
    uint64_t began = clock_ticks();
    do {
        thread_relax();
        if (!inbox_empty(loop->inbox))
            return 1;
    } while (clock_ticks() - began < loop->poll_ticks);
    return 0;
}

int coil__loop_spin(struct coil_loop *loop, int64_t timeout_ns)
{
    uint64_t began = clock_ticks(), ticks = loop->spin_ticks, now;
    if (loop->idle_for >= PAYS * ticks || (loop->jobs && !loop->spins_for_jobs))
        return 0;
    if (timeout_ns >= 0 && timeout_ns < loop->spin_ns)
        ticks = (uint64_t)((double)ticks * (double)timeout_ns / (double)loop->spin_ns);
    loop->spins++;
    int came;
    do {
        came = look(loop);
        now = clock_ticks();
    } while (came == 0 && now - began < ticks);
    loop->spins_in_vain += came == 0;
    return came;
}

int coil_loop_set_spin(coil_loop *loop, double seconds)
{
    if (!(loop = coil__loop_use_current(loop)))
        return (int)coil_last_error()->code;
    return coil__loop_set_spin(loop, seconds);
}
