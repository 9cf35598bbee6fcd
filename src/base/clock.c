/* SPDX-License-Identifier: MIT
 *
 * clock.c: CLOCK_MONOTONIC, and seconds turned into nanoseconds and back. Any thread. */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

int64_t coil__clock_real_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t coil__clock_cpu_ns(int thread_id)
{
    struct timespec ts;
    clockid_t clock = CLOCK_THREAD_CPUTIME_ID;
    if (thread_id) /* as the kernel numbers the clocks of threads: a thread's, of its time as scheduled */
        clock = (clockid_t)(~(unsigned)thread_id << 3 | 4 | 2);
    if (clock_gettime(clock, &ts) < 0)
        return -1;
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t coil__clock_from_seconds(double seconds)
{
    double ns = seconds * 1e9;
    if (ns >= 9.2e18)
        return CLOCK_FOREVER;
    if (ns <= -9.2e18)
        return INT64_MIN;
    int64_t whole = (int64_t)ns; /* towards zero; ceil() would be a call on plain x86-64 */
    return whole + ((double)whole < ns);
}

void coil__clock_both(int64_t *out_ns, uint64_t *out_ticks)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t before = coil__clock_real_ns();
        uint64_t ticks = clock_ticks();
        int64_t took = coil__clock_real_ns() - before;
        if (took >= least)
            continue;
        least = took;
        *out_ns = before + took / 2;
        *out_ticks = ticks;
    }
}

uint64_t coil__clock_ticks_in(int64_t ns)
{
    /* the same whoever measures it, so a race costs only a second measurement */
    static _Atomic uint64_t per_ms;
    uint64_t rate = atomic_load_explicit(&per_ms, memory_order_relaxed);
    if (rate == 0) {
        int64_t t0 = 0, t1 = 0;
        uint64_t k0 = 0, k1 = 0;
        coil__clock_both(&t0, &k0);
        do
            coil__clock_both(&t1, &k1);
        while (t1 - t0 < 20 * NS_PER_US);
        rate = (k1 - k0) * (uint64_t)NS_PER_MS / (uint64_t)(t1 - t0);
        if (rate == 0)
            rate = 1;
        atomic_store_explicit(&per_ms, rate, memory_order_relaxed);
    }
    return rate * (uint64_t)ns / (uint64_t)NS_PER_MS;
}
