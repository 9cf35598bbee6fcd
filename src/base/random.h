/* SPDX-License-Identifier: MIT
 *
 * random.h: the door to randomness: a seeded generator for everything that need not be secret.
 *
 * splitmix64: tiny, good enough for shuffles and delays, and the same on every machine, so that a
 * seed is a whole story. Not for keys. */
#ifndef COIL_BASE_RANDOM_H
#define COIL_BASE_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};

/* A seed from the kernel. */
uint64_t coil__random_seed(void);

static inline uint64_t random_u64(struct random *r)
{
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* In [0, n), n > 0; the bias of the multiply is below 2^-32 for the n used here. */
static inline uint32_t random_below(struct random *r, uint32_t n)
{
    return (uint32_t)(((random_u64(r) >> 32) * n) >> 32);
}

#endif
