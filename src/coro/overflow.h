/* SPDX-License-Identifier: MIT
 *
 * overflow.h: a coroutine that runs off its stack is told by name.
 *
 * Without this a stack overflow is a plain SIGSEGV. With it, one at a guard of ours first prints
 * which coroutine it was, how large its stack is and where it was made; then the signal kills the
 * process as it would have. Nothing is installed unless somebody asks. */
#ifndef COIL_CORO_OVERFLOW_H
#define COIL_CORO_OVERFLOW_H

/* Handles SIGSEGV and SIGBUS for the process, and gives the calling thread a stack to handle them
 * on. Counted: each install wants a remove, in the same thread. Returns 0 or an error. */
int coil__overflow_install(void);

/* The last remove puts the earlier handlers back, unless somebody else took the signals meanwhile.
 * */
void coil__overflow_remove(void);

/* In a child of fork that will not go on with what its parent's thread was in: all removes that this thread owes. */
void coil__overflow_forget(void);

#endif
