/* SPDX-License-Identifier: MIT
 *
 * random.c: where a seed comes from when nobody gave one. Any thread. */
#include "base/random.h"

#include "base/clock.h"

#include <sys/random.h>

uint64_t coil__random_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = (uint64_t)coil__clock_real_ns(); /* early boot: not secret, only different */
    return seed;
}
