/* SPDX-License-Identifier: MIT
 *
 * symbols.h: names for addresses in this program's code. */
#ifndef COIL_BASE_SYMBOLS_H
#define COIL_BASE_SYMBOLS_H

#include <coil/debug.h>

/* What was found lately: the stacks of many tasks are made of a few functions. Zeroed at birth, given back by
 * forgetting it. */
enum { SYMBOLS_KEPT = 64 };
struct symbols {
    coil_frame kept[SYMBOLS_KEPT]; /* address NULL: nothing is kept there */
};

/* Is there code of the program's at this address? */
bool coil__symbols_is_code(const void *address);

/* 0, or -ENOENT: no code of this program is there; then only the address is set. `kept` may be NULL. */
int coil__symbols_find(struct symbols *kept, const void *address, coil_frame *out);

#endif
