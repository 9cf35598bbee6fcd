/* SPDX-License-Identifier: MIT
 *
 * mem.c: allocations that count themselves and fail on request; in builds with COIL_SYS_TABLE only.
 *
 * Called from any thread; only the counters are shared, and they are atomic. */
#include "base/mem.h"

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
#include <stdatomic.h>
#include <stdbool.h>

static _Atomic int64_t live, tried, fail_at;
static _Atomic int fail_all;

/* Counts one attempt; true if it is to fail. */
static bool must_fail(void)
{
    atomic_fetch_add_explicit(&tried, 1, memory_order_relaxed);
    int64_t left = atomic_load_explicit(&fail_at, memory_order_relaxed);
    if (left == 0)
        return false;
    if (left > 1) {
        atomic_fetch_sub_explicit(&fail_at, 1, memory_order_relaxed);
        return false;
    }
    if (!atomic_load_explicit(&fail_all, memory_order_relaxed))
        atomic_store_explicit(&fail_at, 0, memory_order_relaxed);
    return true;
}

static void *counted(void *p)
{
    if (p)
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return p;
}

void *coil__alloc(size_t n)
{
    return must_fail() ? NULL : counted(malloc(n));
}

void *coil__zalloc(size_t n)
{
    return must_fail() ? NULL : counted(calloc(1, n));
}

void *coil__realloc(void *p, size_t n)
{
    if (must_fail())
        return NULL;
    return p ? realloc(p, n) : counted(malloc(n));
}

void coil__free(void *p)
{
    if (p)
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    free(p);
}

int64_t coil__mem_live(void)
{
    return atomic_load_explicit(&live, memory_order_relaxed);
}

int64_t coil__mem_tried(void)
{
    return atomic_load_explicit(&tried, memory_order_relaxed);
}

void coil__mem_fail_at(int64_t n, int all)
{
    atomic_store_explicit(&fail_all, all, memory_order_relaxed);
    atomic_store_explicit(&fail_at, n, memory_order_relaxed);
}
#endif
