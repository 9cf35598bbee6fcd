/* SPDX-License-Identifier: MIT
 *
 * fault_seen.h: what a sweep has come by, and what it has failed, for a statement of how complete it was (tools/fault.py).
 *
 * The file of COIL_FAULT_SEEN has a line for each:
 *
 *     anchor ADDRESS             of coil__fault_sweep, so that addresses can be told from the program's file
 *     site ADDRESS STATE         an allocation returns to there; STATE is `reached` or `failed`
 *     wait STATE WORDS           a task waited for that
 *     call NAME STATE            a kernel call; `unseen` as well
 *     pair NAME ERRNO STATE      with that error: `unseen` or `failed`
 *
 * The file of COIL_FAULT_SWEPT says what other programs have failed already, and need not be failed again (tools/sweep.py):
 *
 *     site DISTANCE              of an allocation in this program, from coil__fault_sweep
 *     wait WORDS
 *     pair NAME ERRNO
 *
 * The parent of the sweep. Elsewhere: what a child tells (fault.c). */
#ifndef COIL_TESTING_FAULT_SEEN_H
#define COIL_TESTING_FAULT_SEEN_H

#include <stdbool.h>

/* An allocation (code) or a wait (its word) was come by, or was failed. */
void coil__seen_site(const void *site, bool failed);
void coil__seen_wait(const char *word, bool failed);
/* A kernel call was, with error 0; or it failed with `error`. */
void coil__seen_call(unsigned call, int error);

/* It did not come when it was its turn to fail: it is another thread's or process's. That is tried so many times. */
enum { MISSES_MAX = 64 };
void coil__seen_missed(const void *at);

/* Once, at the beginning: what COIL_FAULT_SWEPT names. A file that cannot be read ends the program. */
void coil__seen_read(void);

/* Was it failed before, in any test of this program, or by another one (or is it given up)? Of a place, or of a call with an error. */
bool coil__seen_failed(const void *at);
bool coil__seen_failed_with(unsigned call, int error);

/* All that was seen so far, into the file; nothing without COIL_FAULT_SEEN. */
void coil__seen_write(void);

#endif
