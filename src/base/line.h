/* SPDX-License-Identifier: MIT
 *
 * line.h: how much memory goes from one processor to another at a time; what two of them write stands so far apart. */
#ifndef COIL_BASE_LINE_H
#define COIL_BASE_LINE_H

#include "base/mem.h"

enum { CACHE_LINE = 64 };

/* Zeroed memory in lines of its own; NULL if there is none. The block is what coil__free takes. */
static inline void *zalloc_lines(size_t n, void **out_block)
{
    char *block = coil__zalloc(n + 2 * CACHE_LINE); /* the last line is nobody else's, either */
    *out_block = block;
    return block ? block + (-(uintptr_t)block & (CACHE_LINE - 1)) : NULL;
}

#endif
