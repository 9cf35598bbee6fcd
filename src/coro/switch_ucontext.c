/* SPDX-License-Identifier: MIT
 *
 * switch_ucontext.c: the register swap where no assembly was written, by libc's ucontext.
 *
 * The saved context is a local of coil__switch, so a stopped coroutine is one pointer here too.
 * Each switch saves and restores the signal mask by a system call: right, but some forty times
 * slower. */
#include "coro/switch.h"

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "base/check.h"

void coil__switch(void **save_sp, void *load_sp)
{
    ucontext_t here;
    ucontext_t *volatile saved =
        &here; /* it lives as long as the stop does, which compilers doubt */
    *save_sp = saved;
    COIL_CHECK(swapcontext(&here, load_sp) == 0);
}

/* makecontext passes ints, so two pointers come in halves. */
CORO_ENTRY static void start(unsigned fn_high, unsigned fn_low, unsigned self_high,
                             unsigned self_low)
{
    uintptr_t fn = (uintptr_t)(((uint64_t)fn_high << 32) | fn_low);
    uintptr_t self = (uintptr_t)(((uint64_t)self_high << 32) | self_low);
    ((void (*)(struct coro *))fn)((struct coro *)self);
    __builtin_trap();
}

void *coil__switch_make(void *low, void *top, void (*fn)(struct coro *self), struct coro *self)
{
    ucontext_t *first = (ucontext_t *)(((uintptr_t)top - sizeof(ucontext_t)) & ~(uintptr_t)63);
    COIL_CHECK(getcontext(first) == 0);
    first->uc_link = NULL;
    first->uc_stack.ss_sp = low;
    first->uc_stack.ss_size = (size_t)((char *)first - (char *)low);
    uint64_t f = (uintptr_t)fn, s = (uintptr_t)self;
    makecontext(first, (void (*)(void))start, 4, (unsigned)(f >> 32), (unsigned)f,
                (unsigned)(s >> 32), (unsigned)s);
    return first;
}
