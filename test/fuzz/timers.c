/* SPDX-License-Identifier: MIT
 *
 * timers.c: timers set and cancelled at random, also by timers, against a list: none early, none twice, none after its
 * cancel, none lost, and in the order of their times. */
#include "fuzz.h"

#include <coil.h>

enum { TIMERS = 128 };

struct timers {
    struct input in;
    size_t n, due;
    double last; /* when the one that fired last was due */
    struct timer {
        struct timers *all;
        coil_handle *handle;
        double when;
        enum { WAITS, FIRED, CANCELLED } state;
    } timer[TIMERS];
};

static void fire(void *arg);

/* Some timers more, or some fewer. */
static void change(struct timers *all, unsigned times)
{
    while (times-- > 0) {
        unsigned what = next(&all->in);
        if (what % 3 == 0 && all->n > 0) {
            struct timer *t = &all->timer[next(&all->in) % all->n];
            coil_handle_cancel(t->handle);
            if (t->state == WAITS) {
                t->state = CANCELLED;
                all->due--;
            }
        } else if (all->n < TIMERS) {
            struct timer *t = &all->timer[all->n++];
            t->all = all;
            t->when = coil_loop_time(NULL) + 0.001 * (1 + what / 3 % 32);
            HOLDS(coil_loop_call_at(NULL, t->when, fire, t, &t->handle) == 0);
            all->due++;
        }
    }
}

static void fire(void *arg)
{
    struct timer *t = arg;
    struct timers *all = t->all;
    HOLDS(t->state == WAITS);
    HOLDS(coil_loop_time(NULL) >= t->when - 1e-9); /* the loop counts nanoseconds */
    HOLDS(t->when >= all->last - 1e-9);
    all->last = t->when;
    t->state = FIRED;
    all->due--;
    change(all, next(&all->in) % 4);
}

static coil_ret play(void *arg)
{
    struct timers *all = arg;
    change(all, next(&all->in) % 64);
    while (all->due > 0)
        HOLDS(coil_sleep(0.05) == 0);
    for (size_t i = 0; i < all->n; i++) {
        HOLDS(all->timer[i].state != WAITS);
        coil_handle_unref(all->timer[i].handle);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct timers all = {.in = {data, data + size}};
    fuzz_run(play, &all);
    return 0;
}
