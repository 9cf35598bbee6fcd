/* SPDX-License-Identifier: MIT
 *
 * forest.h: who awaits whom, from those that nobody awaits down to those that await nobody. */
#ifndef COIL_DEBUG_FOREST_H
#define COIL_DEBUG_FOREST_H

#include <stdbool.h>
#include <stddef.h>

enum { FOREST_DEEP = 200 }; /* tasks below each other that are walked */

enum forest_place {
    FOREST_HERE, /* its own subtree follows */
    FOREST_ABOVE, /* it was there before: who awaits two of those who await it would double it at each level */
    FOREST_CUT, /* too deep */
};

/* Tasks are numbers from 0. The functions get `arg`. */
struct forest {
    size_t n;
    void *arg;
    /* The tasks that await this one; returns how many. */
    size_t (*awaiters)(void *arg, size_t task, const size_t **out);
    /* Come to a task; `last`: of those that the one above awaits. Those it awaits come next, then `leave`. */
    void (*enter)(void *arg, size_t task, bool last, enum forest_place place);
    void (*leave)(void *arg, size_t task, bool last);
    /* The next tree begins with any one of a circle, which nobody outside awaits. */
    void (*circle)(void *arg);
};

/* 0 or -ENOMEM, and then it saw nothing. */
int coil__forest_walk(const struct forest *f);

#endif
