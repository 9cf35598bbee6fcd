/* SPDX-License-Identifier: MIT
 *
 * mem.c: allocations that count themselves and fail on request; in builds with COIL_SYS_TABLE only.
 *
 * Called from any thread; only the counters are shared, and they are atomic. */
#include "base/mem.h"

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>

static _Atomic int64_t live, tried, fail_at, bytes, peak;
static _Atomic int fail_all;

void (*coil__mem_hook)(const void *site, int64_t nth, bool fails);

static bool is_its_turn(void)
{
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

/* Counts one attempt; true if it is to fail. */
static bool must_fail(const void *site)
{
    int64_t nth = atomic_fetch_add_explicit(&tried, 1, memory_order_relaxed) + 1;
    bool fails = is_its_turn();
    if (coil__mem_hook)
        coil__mem_hook(site, nth, fails);
    return fails;
}

static void add_bytes(size_t n)
{
    int64_t now = atomic_fetch_add_explicit(&bytes, (int64_t)n, memory_order_relaxed) + (int64_t)n,
            most = atomic_load_explicit(&peak, memory_order_relaxed);
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now))
        ;
}

static void *counted(void *p)
{
    if (p) {
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
        add_bytes(malloc_usable_size(p));
    }
    return p;
}

void *coil__alloc(size_t n)
{
    return must_fail(__builtin_return_address(0)) ? NULL : counted(malloc(n));
}

void *coil__zalloc(size_t n)
{
    return must_fail(__builtin_return_address(0)) ? NULL : counted(calloc(1, n));
}

void *coil__realloc(void *p, size_t n)
{
    if (must_fail(__builtin_return_address(0)))
        return NULL;
    if (!p)
        return counted(malloc(n));
    size_t before = malloc_usable_size(p);
    p = realloc(p, n);
    if (p) {
        add_bytes(malloc_usable_size(p));
        atomic_fetch_sub_explicit(&bytes, (int64_t)before, memory_order_relaxed);
    }
    return p;
}

void coil__free(void *p)
{
    if (p) {
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&bytes, (int64_t)malloc_usable_size(p), memory_order_relaxed);
    }
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

int64_t coil__mem_bytes(void)
{
    return atomic_load_explicit(&bytes, memory_order_relaxed);
}

int64_t coil__mem_peak(void)
{
    return atomic_load_explicit(&peak, memory_order_relaxed);
}

void coil__mem_restart_peak(void)
{
    atomic_store(&peak, coil__mem_bytes());
}

void coil__mem_fail_at(int64_t n, int all)
{
    atomic_store_explicit(&fail_all, all, memory_order_relaxed);
    atomic_store_explicit(&fail_at, n, memory_order_relaxed);
}
#endif
