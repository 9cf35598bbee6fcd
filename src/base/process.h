/* SPDX-License-Identifier: MIT
 *
 * process.h: is this still the process that made this object?
 *
 *     object->process = process_number();             when it is made
 *     object->process != process_number()             a child has it now, by fork or by a bare clone()
 *
 * Two loads, where the kernel wipes a page for its children (Linux 4.14), else a call of getpid.
 * Any thread, any time. */
#ifndef COIL_BASE_PROCESS_H
#define COIL_BASE_PROCESS_H

#include "base/check.h"

#include <stdatomic.h>

/* 0 stands there in a child that has not asked yet. */
extern _Atomic(_Atomic unsigned *) coil__process_mark;
unsigned coil__process_number_slow(void);

/* Another one than any process before this one in the line of its parents has. */
static inline unsigned process_number(void)
{
    _Atomic unsigned *mark = atomic_load_explicit(&coil__process_mark, memory_order_acquire);
    unsigned n = atomic_load_explicit(mark, memory_order_relaxed);
    return coil_likely(n) ? n : coil__process_number_slow();
}

#endif
