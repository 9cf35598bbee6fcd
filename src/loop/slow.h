/* SPDX-License-Identifier: MIT
 *
 * slow.h: a look at a step while it takes long.
 *
 * A step is what one slot of the ready ring runs: a callback, or a task until it waits.
 *
 *     loop's thread:   step 1 ---- step 2 ------------------------------- over --> report
 *     watcher:                 .      look at the stack (limit)      say that it goes on (10 limits)
 *
 * Always true:
 *   - a step costs the loop's thread some stores, and no system call;
 *   - the watcher only reads: what it finds is told by the loop's thread when the step is over.
 *
 * Debug mode alone, and never where time is virtual. Elsewhere: the words (report.c). */
#ifndef COIL_LOOP_SLOW_H
#define COIL_LOOP_SLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct coil_loop;
struct slow;

enum { SLOW_CALLS = 32 };

/* What was seen of a step. */
struct slow_look {
    size_t n;
    const void *calls[SLOW_CALLS]; /* where it stood, innermost first */
    const void *blocker; /* a call of libc's in which the kernel let the thread wait; NULL */
    int64_t cpu_ns;      /* processor time in the last `of_ns`; -1: not known */
    int64_t of_ns;
};

/* The loop's watcher, made if need be; NULL: there is none to be had. */
struct slow *coil__slow_watcher(struct coil_loop *loop);
/* Ends the watcher; NULL is fine. In a child of fork its thread is not there, and it is only forgotten. */
void coil__slow_stop(struct coil_loop *loop);

/* Around each step; NULL is fine. The second returns whether anything was seen of it, and what, if `out` is given. */
void coil__slow_begin(struct slow *s, int64_t now_ns);
bool coil__slow_end(struct slow *s, struct slow_look *out);

/* Tests: how many looks were taken. Any thread. */
uint64_t coil__slow_looks(const struct slow *s);

#endif
