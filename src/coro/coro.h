/* SPDX-License-Identifier: MIT
 *
 * coro.h: a coroutine is a stack that can pause.
 *
 * Nothing here knows of loops, tasks or generators: they stand on this floor and decide who runs
 * next.
 *
 *     make --> [stopped] --switch to it--> [running] --switch to another--> [stopped] ...
 *                                              '-----exit_to another-----> gone
 *
 * Always true:
 *   - exactly one coroutine runs in a thread; the thread's own stack counts as one
 *     (coil__coro_main);
 *   - whoever is not running has its registers on its own stack and `sp` pointing at them;
 *   - a coroutine runs only in the thread that made its stack;
 *   - an entry function never returns: it ends in coil__coro_exit_to.
 *
 * The stack of a finished coroutine: it goes home (coil__stack_put) after somebody else runs, or
 * with coil__stack_put_leaving as the last thing before coil__coro_exit_to. A struct coro may live
 * on its own stack (coil__stack_reserve) and then goes with it.
 *
 * Unwinding (what happens to a stopped coroutine nobody wants any more): coro_unwind it; every
 * waiting call it makes asks coil__coro_unwinding and returns coil__coro_refuse instead
 * of waiting. */
#ifndef COIL_CORO_CORO_H
#define COIL_CORO_CORO_H

#include <coil/error.h>

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"
#include "base/sys.h"
#include "coro/stack.h"
#include "coro/switch.h"
#include "coro/tooling.h"

#define CORO_REFUSALS_MAX 1000

/* The thread's own words are reached by one load, also from a shared library. */
#define CORO_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))

struct coro {
    struct stack *stack;  /* NULL: a thread's own */
    struct coro *resumer; /* who drives it and gets control back (a generator); else NULL */
    void (*entry)(struct coro *self);
    void (*abandon)(struct coro *self); /* leaves for good once it refused to unwind too often */
    unsigned refusals;                  /* waiting calls made while unwinding */
    bool unwinding;
#if COIL_CORO_TOOLED
    struct coro_tools tools;
#endif
    /* Its registers, while it is stopped. Last: of a task, beside what else a switch looks at. */
    void *sp;
};

extern CORO_THREAD_LOCAL struct coro *coil__coro_now; /* NULL until the thread first asks */

/* The thread's own stack as a coroutine. */
struct coro *coil__coro_main(void);

/* Who runs in this thread. */
static inline struct coro *coro_current(void)
{
    struct coro *now = coil__coro_now;
    return coil_likely(now != NULL) ? now : coil__coro_main();
}

/* Sets `co` up so that the first switch to it calls entry(co). `co` need not be zeroed. */
void coil__coro_make(struct coro *co, struct stack *stack, void (*entry)(struct coro *self));

/* Lets go of a coroutine that will not run (again): one never started, or abandoned. One that left
 * by coil__coro_exit_to needs no drop. */
void coil__coro_drop(struct coro *co);

/* What the one who leaves tells the one who arrives. */
#if COIL_ASAN
extern CORO_THREAD_LOCAL struct coro
    *coil__coro_left_own; /* a thread's own stack: learn its bounds */
#endif
#if COIL_TSAN
extern CORO_THREAD_LOCAL void *coil__coro_left_fiber; /* its coroutine is gone: destroy it */
#endif

/* Right before the swap and right after it. Inlined because TSan counts each function's entry and
 * return on the fiber it believes in, and these two change it. */
__attribute__((always_inline)) static inline void coro_leave(struct coro *from, struct coro *to,
                                                             bool for_good)
{
    (void)from, (void)to, (void)for_good;
#if COIL_ASAN
    const void *bottom = to->stack ? to->stack->low : to->tools.bottom;
    size_t size = to->stack ? (size_t)((char *)to->stack - to->stack->low) : to->tools.size;
    coil__coro_left_own = from->stack ? NULL : from;
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->tools.fake_stack, bottom, size);
#endif
#if COIL_TSAN
    coil__coro_left_fiber = for_good ? from->tools.fiber : NULL;
    /* A signal's handler waits for the next libc call of the fiber that it met, and who is parked makes none. */
    uint64_t mask = coil__sys_hush();
    __tsan_switch_to_fiber(to->tools.fiber, 0);
    coil__sys_listen(mask);
#endif
}

__attribute__((always_inline)) static inline void coro_arrive(struct coro *self)
{
    (void)self;
#if COIL_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(self->tools.fake_stack, &bottom, &size);
    if (coil__coro_left_own) {
        coil__coro_left_own->tools.bottom = bottom;
        coil__coro_left_own->tools.size = size;
    }
#endif
#if COIL_TSAN
    if (coil__coro_left_fiber) {
        __tsan_destroy_fiber(coil__coro_left_fiber);
        coil__coro_left_fiber = NULL;
    }
#endif
}

/* Stops the running coroutine, which is `from`, and runs `to`; returns when someone switches back. Always inlined, so
 * that nothing but the swap itself stands above the caller: a return predicts well only if all who
 * stop, stop at one place. errno is not kept. */
__attribute__((always_inline)) static inline void coro_switch_from(struct coro *from,
                                                                   struct coro *to)
{
    COIL_DCHECK(from == coil__coro_now && to != from && to->sp != NULL);
    coil__coro_now = to;
    coro_leave(from, to, false);
    coil__switch(&from->sp, to->sp);
    coro_arrive(from);
}

/* The same for who does not know who runs. */
__attribute__((always_inline)) static inline void coil__coro_switch(struct coro *to)
{
    coro_switch_from(coro_current(), to);
}

/* The last switch of a finished coroutine; it must never be switched to again. Inlined for the return
 * predictor's sake, too: one call more on the way out, and it is one off for all who run next. */
__attribute__((always_inline)) _Noreturn static inline void coil__coro_exit_to(struct coro *to)
{
    struct coro *from = coil__coro_now;
    COIL_CHECK(from->stack != NULL && to != from);
    coil__coro_now = to;
    coro_leave(from, to, true);
    coil__switch(&from->sp, to->sp); /* where it stops is of no use to anyone */
    __builtin_unreachable();
}

/* How many coroutines of this thread are being unwound, one inside another: nearly always none, and then nobody need ask
 * whose stack this is. */
extern CORO_THREAD_LOCAL unsigned coil__coro_unwinds;

/* Runs a stopped coroutine that is to end, from where it or one that it drives stopped (`leaf`); returns when it has
 * ended or was abandoned. */
__attribute__((always_inline)) static inline void coro_unwind(struct coro *co, struct coro *leaf)
{
    co->unwinding = true;
    coil__coro_unwinds++;
    coil__coro_switch(leaf);
    coil__coro_unwinds--;
}

/* The coroutine that is being unwound, be it the running one or one that drives it; else NULL. */
static inline struct coro *coil__coro_unwinding(void)
{
    if (coil_likely(coil__coro_unwinds == 0))
        return NULL;
    struct coro *co = coil__coro_now;
    while (co && !co->unwinding)
        co = co->resumer;
    return co;
}

/* What a waiting call returns inside an unwinding coroutine: COIL_EEXIT. The call after the
 * thousandth does not return: co->abandon is called, the stack is left as it is. */
coil_ret coil__coro_refuse(struct coro *co);

#endif
