/* SPDX-License-Identifier: MIT
 *
 * seeds.h: how the random tests on the virtual kernel draw their faults, go through seeds, and say what failed.
 *
 * COIL_VKERNEL_SEEDS=N runs N seeds a backend, COIL_VKERNEL_SEED=S begins with that one; a failure says how it is played
 * again. COIL_VKERNEL_HASHES=1 prints the hash of each seed's trace, to be compared between builds;
 * COIL_VKERNEL_TRACE=1 prints every call. */
#ifndef TEST_VKERNEL_SEEDS_H
#define TEST_VKERNEL_SEEDS_H

#include "test.h"

#include "vkernel.h"

#include "base/clock.h"
#include "base/random.h"

#include <errno.h>
#include <stdlib.h>

/* ---- a mix of faults: each is there or not, and rare or frequent ---- */

static inline unsigned mix_maybe(struct random *random)
{
    static const unsigned chances[] = {10, 50, 200, 600};
    return random_below(random, 3) ? 0 : chances[random_below(random, 4)];
}

/* Faults that no user should notice. */
static inline struct vkernel_faults mix_of_faults(struct random *r)
{
    static const unsigned versions[] = {0, 515, 601, 613};
    static const uint32_t few[] = {0, 0, 2, 4, 8, 32}, rooms[] = {0, 0, 100, 1000, 4000};
    struct vkernel_faults mix = {0};
    mix.linux_version = versions[random_below(r, 4)];
    mix.cq_entries = few[random_below(r, 6)];
    mix.room = rooms[random_below(r, 5)];
    mix.late = mix_maybe(r);
    mix.late_ns = 1 + random_below(r, 3 * NS_PER_MS);
    mix.shuffle = mix_maybe(r);
    mix.split = mix_maybe(r);
    mix.spurious = mix_maybe(r);
    mix.interrupts = mix_maybe(r);
    mix.few = mix_maybe(r);
    mix.refuses = mix_maybe(r);
    mix.part = mix_maybe(r);
    mix.ends = mix_maybe(r);
    mix.no_buffer = mix_maybe(r);
    mix.races = mix_maybe(r);
    return mix;
}

/* ---- seeds ---- */

static struct {
    uint64_t seed;
    const char *test; /* NULL: none runs */
} seed_now;

static inline void seed_say_replay(void)
{
    if (seed_now.test)
        fprintf(stderr, "replay: COIL_VKERNEL_SEED=%llu COIL_VKERNEL_SEEDS=1 %s %s\n",
                (unsigned long long)seed_now.seed, program_invocation_name, seed_now.test);
}

static inline uint64_t seed_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static inline uint64_t seed_count(uint64_t otherwise)
{
    return seed_number("COIL_VKERNEL_SEEDS", otherwise);
}

/* Play `n` seeds (or what the environment says) of this test; `play` returns the trace's hash. */
static inline void seeds_play(const char *test, uint64_t n,
                              uint64_t (*play)(const void *backend, uint64_t seed),
                              const void *backend)
{
    static bool tells;
    uint64_t first = seed_number("COIL_VKERNEL_SEED", 1);
    if (!tells)
        atexit(seed_say_replay);
    tells = true;
    for (uint64_t seed = first; seed < first + seed_count(n); seed++) {
        seed_now.seed = seed;
        seed_now.test = test;
        uint64_t hash = play(backend, seed);
        seed_now.test = NULL;
        if (getenv("COIL_VKERNEL_HASHES"))
            printf("%s %llu %016llx\n", test, (unsigned long long)seed, (unsigned long long)hash);
    }
}

#endif
