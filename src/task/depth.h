/* SPDX-License-Identifier: MIT
 *
 * depth.h: how deep the stacks of each function's tasks went; debug mode. */
#ifndef COIL_TASK_DEPTH_H
#define COIL_TASK_DEPTH_H

#include "coro/stack.h"

#include <coil/debug.h>

/* One function's. */
struct depth {
    coil_fn fn;         /* NULL: a free place */
    size_t used, whole; /* of the stack that was used most, for its size */
    uint64_t tasks;
    bool told; /* that one was nearly full */
};

struct depths {
    struct depth *table; /* by hash; NULL: none yet */
    size_t places, n;
};

struct task_part;

/* From now on each stack that comes home is measured. */
void coil__depths_begin(struct task_part *part);
void coil__depths_end(struct task_part *part);

#endif
