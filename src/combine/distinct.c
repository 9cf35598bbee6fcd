/* SPDX-License-Identifier: MIT
 *
 * distinct.c: which of many futures are the same one.
 *
 * The table is open-addressed, at most half full, and never outlives the call that made it. */
#include "combine/distinct.h"

#include "base/mem.h"

enum { COMPARE_MAX = 16 }; /* up to here comparing is quicker than a table, and needs no memory */

int coil__distinct_init(struct distinct *d, coil_future *const *futures, size_t n)
{
    *d = (struct distinct){.futures = futures};
    if (n <= COMPARE_MAX)
        return 0;
    COIL_CHECK(n <= DISTINCT_MAX); /* coil__check_members has refused more */
    size_t capacity = 2 * COMPARE_MAX;
    while (capacity < 2 * n)
        capacity *= 2;
    d->table = coil__zalloc(capacity * sizeof *d->table);
    if (!d->table)
        return -ENOMEM;
    d->mask = capacity - 1;
    return 0;
}

void coil__distinct_fini(struct distinct *d)
{
    coil__free(d->table);
    d->table = NULL;
}

/* Addresses differ in their middle bits; multiplying brings those to the top. */
static size_t place_of(const struct distinct *d, const coil_future *future)
{
    return (size_t)(((uint64_t)(uintptr_t)future * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & d->mask;
}

size_t coil__distinct_first(struct distinct *d, size_t i)
{
    if (!d->table) {
        size_t first = 0;
        while (d->futures[first] != d->futures[i])
            first++;
        return first;
    }
    for (size_t at = place_of(d, d->futures[i]);; at = (at + 1) & d->mask) {
        if (!d->table[at]) {
            d->table[at] = (uint32_t)i + 1;
            return i;
        }
        size_t first = d->table[at] - 1;
        if (d->futures[first] == d->futures[i])
            return first;
    }
}

int coil__check_members(coil_future *const *futures, size_t n, coil_loop **loop)
{
    if (n > DISTINCT_MAX)
        return (int)coil__fail(-ENOMEM, "%zu futures are more than one call takes", n);
    if (n && !futures)
        return (int)coil__fail(-EINVAL, "there are no futures (NULL)");
    for (size_t i = 0; i < n; i++) {
        const coil_future *f = futures[i];
        if (!f)
            return (int)coil__fail(-EINVAL, "future %zu of %zu is NULL", i, n);
        if (f->immortal) /* stands in for what could not be made; it has no loop */
            continue;
        if (!*loop)
            *loop = f->loop;
        else if (f->loop != *loop)
            return (int)coil__fail(COIL_EWRONGLOOP, "future %zu of %zu belongs to a different loop",
                                   i, n);
    }
    return 0;
}
