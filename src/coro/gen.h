/* SPDX-License-Identifier: MIT
 *
 * gen.h: what the rest of the library knows of a thread's generators.
 *
 * Elsewhere: the promise to users (coil/generator.h). */
#ifndef COIL_CORO_GEN_H
#define COIL_CORO_GEN_H

#include <stddef.h>

/* How many generators of this thread hold a stack. */
size_t coil__gen_live(void);

/* Gives back all that the thread keeps for generators, if none is left; it comes again when the
 * next one is made. Returns how many are left. The end of a thread does this by itself. */
size_t coil__gen_thread_fini(void);

#endif
