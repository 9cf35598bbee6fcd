/* SPDX-License-Identifier: MIT
 *
 * loom.c: one run after the other, each by a list of choices.
 *
 *     run 1:  0 0 0 0 0          whoever runs goes on, the first choice everywhere
 *     run 2:  0 0 0 0 1          the last place with another choice left takes it; what follows is 0 again
 *     ...                        until no place has one
 *
 * Always true:
 *   - exactly one thread runs; it gives the turn away only in loom_step, loom_wait and at its end;
 *   - a run is a function of its choices: nothing in a scenario may depend on addresses, time or earlier runs;
 *   - `spent` counts switches away from a thread that could have gone on; past the bound there is no choice there.
 *
 * Runs on one thread. Elsewhere: what a mutex, a condition, a thread and an eventfd are here (thread.c, kernel.c). */
#include "loom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { THREADS_MAX = 8, STACK = 64 * 1024, STEPS_MAX = 2000, SPURIOUS_MAX = 1 };

struct fiber {
    ucontext_t at;
    char *stack;
    const char *name;
    void (*fn)(void *arg);
    void *arg;
    bool (*waits_for)(void *arg); /* NULL: it can go on */
    void *waits_arg;
    const char *doing; /* the step before which it stands */
    bool ended;
};

struct choice {
    unsigned taken, n;
};

static struct {
    unsigned bound;
    struct fiber fibers[THREADS_MAX];
    unsigned fibers_n, self;
    struct choice choices[STEPS_MAX];
    unsigned at, known; /* where this run is; how many choices are given */
    unsigned spent, spurious;
    struct {
        unsigned thread;
        const char *what;
    } trace[STEPS_MAX];
    unsigned trace_n;
    uint64_t runs, steps;
    bool failed;
    char why[512];
    ucontext_t outside;
} loom;

unsigned loom_self(void)
{
    return loom.self;
}

void loom_fail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(loom.why, sizeof loom.why, fmt, args);
    va_end(args);
    loom.failed = true;
    setcontext(&loom.outside);
    abort();
}

unsigned loom_choose(const char *what, unsigned n)
{
    if (n < 2)
        return 0;
    if (loom.at == STEPS_MAX)
        loom_fail("this scenario does not end: %u choices, the last about %s", STEPS_MAX, what);
    struct choice *c = &loom.choices[loom.at];
    if (loom.at == loom.known) {
        *c = (struct choice){.taken = 0, .n = n};
        loom.known++;
    } else if (c->n != n) {
        loom_fail("the same choices led elsewhere (%s: %u then, %u now)", what, c->n, n);
    }
    loom.at++;
    return c->taken;
}

bool loom_fails_for_nothing(void)
{
    if (loom.spurious == SPURIOUS_MAX || loom_choose("a weak exchange", 2) == 0)
        return false;
    loom.spurious++;
    return true;
}

/* ---- who runs ---- */

static bool can_run(const struct fiber *f)
{
    return !f->ended && (!f->waits_for || f->waits_for(f->waits_arg));
}

static void switch_to(unsigned next)
{
    unsigned from = loom.self;
    if (next == from)
        return;
    loom.self = next;
    swapcontext(&loom.fibers[from].at, &loom.fibers[next].at);
}

static void say_stuck(void)
{
    char *at = loom.why;
    size_t left = sizeof loom.why;
    int n = snprintf(at, left, "nobody can go on:");
    for (unsigned i = 0; i < loom.fibers_n; i++) {
        at += n, left -= (size_t)n;
        if (left < 80)
            break;
        n = loom.fibers[i].ended ? 0
                                 : snprintf(at, left, " %s waits for %.40s;", loom.fibers[i].name,
                                            loom.fibers[i].doing);
    }
    loom.failed = true;
    setcontext(&loom.outside);
}

/* Who is next? The present one stands first in the list if it can go on. */
static void give_way(void)
{
    unsigned list[THREADS_MAX], n = 0;
    bool mine = can_run(&loom.fibers[loom.self]);
    if (mine)
        list[n++] = loom.self;
    for (unsigned i = 0; i < loom.fibers_n; i++)
        if (i != loom.self && can_run(&loom.fibers[i]))
            list[n++] = i;
    if (n == 0)
        say_stuck();
    unsigned chosen = mine && loom.spent == loom.bound ? 0 : loom_choose("who runs next", n);
    if (mine && chosen != 0)
        loom.spent++;
    switch_to(list[chosen]);
}

static void note(const char *what)
{
    struct fiber *f = &loom.fibers[loom.self];
    f->doing = what;
    if (loom.trace_n == STEPS_MAX)
        loom_fail("this scenario does not end: %u steps, the last %s", STEPS_MAX, what);
    loom.steps++;
    give_way();
    loom.trace[loom.trace_n].thread = loom.self;
    loom.trace[loom.trace_n++].what = what;
}

void loom_step(const char *what)
{
    if (loom.fibers_n > 1)
        note(what);
}

void loom_wait(const char *what, bool (*is_so)(void *arg), void *arg)
{
    struct fiber *f = &loom.fibers[loom.self];
    f->waits_for = is_so;
    f->waits_arg = arg;
    note(what);
    f->waits_for = NULL;
}

static bool somebody_moved(void *since)
{
    return loom.trace_n != *(unsigned *)since;
}

void loom_pause(void)
{
    unsigned since = loom.trace_n;
    loom_wait("a pause", somebody_moved, &since);
}

/* ---- threads ---- */

static void fiber_main(void)
{
    struct fiber *f = &loom.fibers[loom.self];
    f->fn(f->arg);
    f->ended = true;
    f->doing = "nothing more";
    give_way();
    abort(); /* nobody runs one that has ended */
}

unsigned loom_thread(const char *name, void (*fn)(void *arg), void *arg)
{
    if (loom.fibers_n == THREADS_MAX)
        loom_fail("more than %d threads", THREADS_MAX);
    struct fiber *f = &loom.fibers[loom.fibers_n];
    char *stack = f->stack ? f->stack : malloc(STACK);
    *f = (struct fiber){
        .stack = stack, .name = name, .fn = fn, .arg = arg, .doing = "its beginning"};
    getcontext(&f->at);
    f->at.uc_stack.ss_sp = stack;
    f->at.uc_stack.ss_size = STACK;
    f->at.uc_link = NULL;
    makecontext(&f->at, fiber_main, 0);
    loom.fibers_n++;
    loom_step("the start of a thread");
    return (unsigned)(f - loom.fibers);
}

static bool has_ended(void *fiber)
{
    return ((struct fiber *)fiber)->ended;
}

void loom_join(unsigned thread)
{
    loom_wait("a thread to end", has_ended, &loom.fibers[thread]);
}

static bool others_ended(void *arg)
{
    (void)arg;
    for (unsigned i = 1; i < loom.fibers_n; i++)
        if (!loom.fibers[i].ended)
            return false;
    return true;
}

void loom_join_all(void)
{
    loom_wait("all others to end", others_ended, NULL);
}

/* ---- run after run ---- */

static void (*scenario_now)(void);

static void run_scenario(void *arg)
{
    (void)arg;
    scenario_now();
    for (unsigned i = 1; i < loom.fibers_n; i++)
        loom_check(loom.fibers[i].ended);
    setcontext(&loom.outside);
}

/* False when no place has another choice left. */
static bool next_choices(void)
{
    while (loom.known > 0) {
        struct choice *c = &loom.choices[loom.known - 1];
        if (++c->taken < c->n)
            return true;
        loom.known--;
    }
    return false;
}

static void run_once(void)
{
    loom.at = loom.trace_n = loom.spent = loom.spurious = 0;
    loom.fibers_n = loom.self = 0;
    loom.runs++;
    volatile bool back = false; /* the context returns twice */
    getcontext(&loom.outside);
    if (back)
        return;
    back = true;
    struct fiber *f = &loom.fibers[0];
    loom_thread("scenario", run_scenario, NULL);
    setcontext(&f->at);
}

struct loom_result loom_explore(void (*scenario)(void), unsigned preemptions)
{
    loom.bound = preemptions;
    loom.known = 0;
    loom.runs = loom.steps = 0;
    loom.failed = false;
    scenario_now = scenario;
    do {
        run_once();
    } while (!loom.failed && next_choices());
    return (struct loom_result){
        .failed = loom.failed, .why = loom.why, .orders = loom.runs, .steps = loom.steps};
}

void loom_tell_steps(void)
{
    for (unsigned i = 0; i < loom.trace_n; i++)
        printf("#   %-12s %s\n", loom.fibers[loom.trace[i].thread].name, loom.trace[i].what);
}
