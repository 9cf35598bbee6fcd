/* SPDX-License-Identifier: MIT
 *
 * coro.c: make, enter, leave, finish.
 *
 * Runs in any thread; a coroutine stays in one. Elsewhere: the contract (coro.h), the swap
 * itself (switch_<cpu>.S), stacks (stack.c). */
#include "coro/coro.h"

#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/sys.h"

CORO_THREAD_LOCAL struct coro *coil__coro_now;
CORO_THREAD_LOCAL unsigned coil__coro_unwinds;
static CORO_THREAD_LOCAL struct coro own; /* the thread's own stack */

struct coro *coil__coro_main(void)
{
    if (!coil__coro_now) {
        coil__coro_now = &own;
#if COIL_TSAN
        own.tools.fiber = __tsan_get_current_fiber();
#endif
    }
    return &own;
}

#if COIL_ASAN
CORO_THREAD_LOCAL struct coro *coil__coro_left_own;
#endif
#if COIL_TSAN
CORO_THREAD_LOCAL void *coil__coro_left_fiber;
#endif

#if COIL_CORO_TOOLED
CORO_ENTRY static void begin(struct coro *self)
{
    coro_arrive(self);
    self->entry(self);
    COIL_CHECK(!"a coroutine's entry returned");
}

#endif

void coil__coro_make(struct coro *co, struct stack *stack, void (*entry)(struct coro *self))
{
    void (*first)(struct coro *) = entry;
    *co = (struct coro){.stack = stack, .entry = entry};
#if COIL_TSAN
    co->tools.fiber = __tsan_create_fiber(0);
    COIL_CHECK(co->tools.fiber != NULL); /* without memory TSan ends the program by itself */
#endif
#if COIL_CORO_TOOLED
    first = begin;
#endif
    COIL_DCHECK((uintptr_t)stack->high % 16 == 0);
    co->sp = coil__switch_make(stack->low, stack->high, first, co);
}

void coil__coro_drop(struct coro *co)
{
    (void)co;
#if COIL_TSAN
    if (co->tools.fiber && co->stack)
        __tsan_destroy_fiber(co->tools.fiber);
    co->tools.fiber = NULL;
#endif
}

coil_ret coil__coro_refuse(struct coro *co)
{
    if (++co->refusals > CORO_REFUSALS_MAX && co->abandon) {
        co->abandon(co);
        COIL_CHECK(!"an abandoned coroutine came back");
    }
    return COIL_EEXIT;
}
