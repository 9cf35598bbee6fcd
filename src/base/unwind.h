/* SPDX-License-Identifier: MIT
 *
 * unwind.h: walks up a stack of which somebody made a copy, by the tables that compilers write for exceptions.
 *
 *     registers, copy of the stack --unwind_outward--> the caller's --unwind_outward--> ... --> no more
 *
 * So code without frame pointers, as libc's, is walked as well. Whose stack it is may go on meanwhile.
 *
 * Elsewhere: the walk along frame pointers, for the own stack and for parked ones (coro/frames.h). */
#ifndef COIL_BASE_UNWIND_H
#define COIL_BASE_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is there an unwinder for this machine? */
#if defined(__x86_64__)
#define UNWIND_KNOWN 1
#else
#define UNWIND_KNOWN 0
#endif

enum { UNWIND_WORDS = 8192 };

/* What stood at `from` and above. */
struct stack_copy {
    uintptr_t from;
    size_t n; /* words that were there */
    uintptr_t words[UNWIND_WORDS];
};

struct unwind {
    const struct stack_copy *stack;
    uintptr_t pc, sp, fp;
    bool knows_fp;
    bool inner;         /* stopped at `pc`, rather than in a call that returns there */
    uintptr_t function; /* where the function begins that `pc` is in; 0: not known yet */
    uintptr_t object;   /* where what it was loaded from lies */
};

/* Copies this process's own stack from `sp` up, as far as there is memory; a word of it at least, or false. Never faults. Safe in
 * a signal handler. */
bool coil__stack_copy(struct stack_copy *out, uintptr_t sp);

/* Where the program itself was loaded, as `object` below. */
uintptr_t coil__unwind_program(void);

/* Fills in `function` and `object`. False: no table knows this code. */
bool coil__unwind_find(struct unwind *u);

/* To the caller's frame; false: it is the outermost, or nobody knows where the caller's is. */
bool coil__unwind_outward(struct unwind *u);

#endif
