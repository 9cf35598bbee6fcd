/* SPDX-License-Identifier: MIT
 *
 * clock.h: the only door to time.
 *
 * A `struct clock` is one loop's idea of now, in nanoseconds. A real one is CLOCK_MONOTONIC, read
 * afresh each time. A virtual one stands still until somebody moves it (loop/loop.c and io/sim do, when nothing but
 * time can wake anyone), so a program that sleeps for an hour takes no time and the same time in
 * each run. Durations arithmetic saturates: forever plus a day is forever. */
#ifndef COIL_BASE_CLOCK_H
#define COIL_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_FOREVER INT64_MAX
#define NS_PER_S      INT64_C(1000000000)
#define NS_PER_MS     INT64_C(1000000)
#define NS_PER_US     INT64_C(1000)

struct clock {
    bool is_virtual;
    int64_t virtual_ns; /* now, where is_virtual */
};

/* CLOCK_MONOTONIC. */
int64_t coil__clock_real_ns(void);

/* How long this thread of the process (0: the calling one) has had a processor; -1: nobody says. */
int64_t coil__clock_cpu_ns(int thread_id);

static inline int64_t clock_now_ns(const struct clock *c)
{
    return c->is_virtual ? c->virtual_ns : coil__clock_real_ns();
}

static inline void clock_advance_to(struct clock *c, int64_t when_ns)
{
    if (c->is_virtual && when_ns > c->virtual_ns)
        c->virtual_ns = when_ns;
}

/* Cheap, unscaled, per-CPU-model ticks: good only for "was that more than about 50 us". They stand still in a build whose
 * instructions are counted, so that there are as many on a slow machine as on a fast one. */
static inline uint64_t clock_ticks(void)
{
#if defined(COIL_STILL_TICKS)
    return 0;
#elif defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
    return (uint64_t)coil__clock_real_ns();
#endif
}

/* CLOCK_MONOTONIC and the ticks at one moment: of three tries the quickest, for who is interrupted between two readings takes
 * one for the other's moment, which may be milliseconds away. */
void coil__clock_both(int64_t *out_ns, uint64_t *out_ticks);

/* Ticks in `ns` nanoseconds, measured once at the first call. */
uint64_t coil__clock_ticks_in(int64_t ns);

/* when + delay, saturating at both ends. */
static inline int64_t clock_add(int64_t when_ns, int64_t delay_ns)
{
    int64_t sum;
    if (__builtin_add_overflow(when_ns, delay_ns, &sum))
        return delay_ns > 0 ? CLOCK_FOREVER : INT64_MIN;
    return sum;
}

/* Seconds to nanoseconds, rounded up so that nothing is early; saturating; NaN must be refused before. */
int64_t coil__clock_from_seconds(double seconds);

static inline double clock_to_seconds(int64_t ns)
{
    return ns == CLOCK_FOREVER ? __builtin_inf() : (double)ns / 1e9;
}

#endif
