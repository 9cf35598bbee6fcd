/* SPDX-License-Identifier: MIT
 *
 * fault_calls.h: the kernel's calls, one of which fails or moves one byte. Libraries with a table of calls only.
 *
 * A call is a small number; an error is an errno. Elsewhere: who asks for it (fault.c). */
#ifndef COIL_TESTING_FAULT_CALLS_H
#define COIL_TESTING_FAULT_CALLS_H

#include <stdbool.h>

enum { ERRORS_MAX = 12 }; /* of one call */

/* fault.c: a call begins. Is it the one that is to fail? With what? */
bool coil__fault_reached(unsigned call);
int coil__fault_error(void);

/* From now on calls ask, and fail; or transfers ask, and are short; or all is as before. */
void coil__calls_fail(void);
void coil__calls_shorten(void);
void coil__calls_mend(void);

/* The i-th error that this call may give and must be met with grace; 0: no more. */
int coil__calls_error(unsigned call, unsigned i);
const char *coil__calls_name(unsigned call); /* "": there is none with this number */

#endif
