/* SPDX-License-Identifier: MIT
 *
 * mem.h: every allocation of the library goes through here, so that a test can fail the n-th one
 * and count what was not given back.
 *
 * Release builds call malloc directly. Builds with COIL_SYS_TABLE count and can fail (mem.c);
 * the counters are atomic since executor threads allocate too. */
#ifndef COIL_BASE_MEM_H
#define COIL_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
void *coil__alloc(size_t n);
void *coil__zalloc(size_t n);
void *coil__realloc(void *p, size_t n);
void coil__free(void *p);

/* What a test asks: blocks alive now, allocations tried so far. */
int64_t coil__mem_live(void);
int64_t coil__mem_tried(void);
/* Bytes alive now, as the allocator rounds them; and the most there were since the last restart. */
int64_t coil__mem_bytes(void);
int64_t coil__mem_peak(void);
void coil__mem_restart_peak(void);
/* Fail the n-th allocation from now on (1 = the next); with `all`, every one from there. 0 stops. */
void coil__mem_fail_at(int64_t n, int all);
/* Who wants to hear of each: from where it is asked for, how many were tried with it, and whether it fails. Any thread. */
extern void (*coil__mem_hook)(const void *site, int64_t nth, bool fails);
#else
static inline void *coil__alloc(size_t n)
{
    return malloc(n);
}
static inline void *coil__zalloc(size_t n)
{
    return calloc(1, n);
}
static inline void *coil__realloc(void *p, size_t n)
{
    return realloc(p, n);
}
static inline void coil__free(void *p)
{
    free(p);
}
#endif

#endif
