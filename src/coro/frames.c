/* SPDX-License-Identifier: MIT
 *
 * frames.c: walks up the stack of a coroutine, stopped or running.
 *
 * On x86-64 and aarch64 a frame pointer points at two words: the caller's frame pointer, and where the caller
 * goes on. What is read may be anything where some function keeps no frame pointer, so each step is checked: upward, and
 * within the stack.
 *
 * Runs in the thread of the coroutine. Changes nothing. */
#include "coro/frames.h"

#if defined(COIL_SWITCH_UCONTEXT)
#include <ucontext.h>
#endif

static bool is_entry(uintptr_t address)
{
    return address >= (uintptr_t)coil__entries && address < (uintptr_t)coil__entries_end;
}

/* Return addresses may be signed, in the bits that no address of ours has. */
static uintptr_t plain(uintptr_t pc)
{
#if defined(__aarch64__)
    pc &= ((uintptr_t)1 << 48) - 1;
#endif
    return pc;
}

/* Outward; false where the walk ends. The words between are no variables of anyone's, so sanitizers have nothing to say of them. */
READS_ANY_MEMORY static bool outward(struct frame *f)
{
    const struct stack *stack = f->co->stack;
    if (!stack || f->fp % sizeof(uintptr_t) != 0 || f->fp < (uintptr_t)stack->low ||
        f->fp > (uintptr_t)stack->high - 2 * sizeof(uintptr_t))
        return false;
    const uintptr_t *words = (const uintptr_t *)f->fp;
    uintptr_t fp = words[0];
    f->pc = plain(words[1]);
    if (f->pc == 0)
        return false;
    /* A frame pointer that is none ends the walk after this frame. */
    f->fp = fp > f->fp ? fp : 0;
    return true;
}

READS_ANY_MEMORY struct frame coil__frames_stopped(const struct coro *co)
{
    struct frame f = {.co = co};
#if defined(COIL_SWITCH_UCONTEXT)
    const ucontext_t *saved = co->sp;
#if defined(__x86_64__)
    f.pc = (uintptr_t)saved->uc_mcontext.gregs[REG_RIP];
    f.fp = (uintptr_t)saved->uc_mcontext.gregs[REG_RBP];
    outward(&f); /* that was coil__switch itself */
#elif defined(__aarch64__)
    f.pc = (uintptr_t)saved->uc_mcontext.pc;
    f.fp = (uintptr_t)saved->uc_mcontext.regs[29];
    outward(&f);
#else
    (void)saved; /* what its frames look like is not known */
#endif
#elif defined(__x86_64__)
    const uintptr_t *saved = co->sp; /* switch_x86_64.S */
    f.fp = saved[5];
    f.pc = saved[6];
#elif defined(__aarch64__)
    const uintptr_t *saved = co->sp; /* switch_aarch64.S */
    f.fp = saved[0];
    f.pc = plain(saved[1]);
#endif
    return f;
}

size_t coil__frames(struct frame from, size_t skip, const void **out, size_t capacity)
{
    size_t n = 0;
    struct frame f = from;
    f.pc = plain(f.pc);
    while (f.co && f.co->stack) {
        bool more = f.pc != 0;
        for (; more && !is_entry(f.pc - 1); more = outward(&f)) {
            if (skip > 0) {
                skip--;
                continue;
            }
            if (n < capacity)
                out[n] = (const void *)(f.pc - 1);
            n++;
        }
        const struct coro *driver = f.co->resumer;
        if (!driver || !driver->stack)
            break;
        f = coil__frames_stopped(driver);
    }
    return n;
}
