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
 *   - a step costs the loop's thread two stores and a reading of the processor's ticks;
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

/* Before a batch, on the thread that runs it: there is a watcher, if one is to be had. */
void coil__slow_watch(struct coil_loop *loop);
/* This thread runs the loop no longer. */
void coil__slow_leave(void);
/* Ends the watcher, if there is one. */
void coil__slow_stop(struct coil_loop *loop);

/* In the child of a fork: who held the lock, and who watched, are the parent's. */
void coil__slow_forked(void);

/* What was seen of the step of this number, which has just ended; false: nothing. NULL is fine. */
bool coil__slow_seen(struct slow *s, uint64_t step, struct slow_look *out);

/* Tests: how many looks were taken. Any thread. */
uint64_t coil__slow_looks(const struct slow *s);

#endif
