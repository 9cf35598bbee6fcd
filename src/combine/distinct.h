/* SPDX-License-Identifier: MIT
 *
 * distinct.h: which of many futures are the same one, and whether they may stand together.
 *
 * asyncio makes sets and dictionaries of its arguments; a few futures are compared one by one here,
 * many go through a hash table that lives for the length of the call. */
#ifndef COIL_COMBINE_DISTINCT_H
#define COIL_COMBINE_DISTINCT_H

#include "task/task.h"

#include <stdint.h>

#define DISTINCT_MAX ((size_t)1 << 28) /* futures in one call */

struct distinct {
    coil_future *const *futures;
    uint32_t *table; /* index + 1 of a future, 0: free; NULL: few enough to compare */
    size_t mask;
};

/* 0 or -ENOMEM (also for too many). */
int coil__distinct_init(struct distinct *d, coil_future *const *futures, size_t n);
void coil__distinct_fini(struct distinct *d);

/* The index of the first future that is the same as futures[i]. Ask for 0, 1, 2 ... in order. */
size_t coil__distinct_first(struct distinct *d, size_t i);

/* Are they futures, all of one loop? `*loop` may come in as NULL: then it becomes the first one's, or
 * stays NULL if none of them has a loop. 0, -EINVAL, COIL_EWRONGLOOP, or -ENOMEM for too many, recorded. */
int coil__check_members(coil_future *const *futures, size_t n, coil_loop **loop);

#endif
