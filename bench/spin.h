/* SPDX-License-Identifier: MIT
 *
 * spin.h: whether this run is to spin before it sleeps: BENCH_SPIN, in seconds. */
#ifndef BENCH_SPIN_H
#define BENCH_SPIN_H

#include <stdlib.h>

static inline double bench_spin(void)
{
    const char *seconds = getenv("BENCH_SPIN");
    return seconds ? atof(seconds) : 0;
}

#endif
