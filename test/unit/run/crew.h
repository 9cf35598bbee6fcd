/* SPDX-License-Identifier: MIT
 *
 * crew.h: what the tests of workers share.
 *
 * Bodies of workers run on threads of their own, where an assertion cannot end a test: they note what they saw, and the
 * test looks at it afterwards. */
#ifndef TEST_CREW_H
#define TEST_CREW_H

#include "test.h"

#include <coil.h>

#include <stdatomic.h>

enum { MAX = 8 };

/* Set by any worker whose expectation did not hold: the line. */
static atomic_int broken;

#define EXPECT(cond) ((cond) ? (void)0 : atomic_store(&broken, __LINE__))

#define WORKERS_TEST(name)                      \
    static void name##_body(void);              \
    COIL_TEST_PLAIN(name)                       \
    {                                           \
        atomic_store(&broken, 0);               \
        name##_body();                          \
        assert_int_equal(broken, 0); /* line */ \
    }                                           \
    static void name##_body(void)

static inline coil_ret run_with(unsigned n, coil_fn fn, void *arg, coil_ret *results,
                                size_t mailbox)
{
    coil_workers_opts opts = {
        .size = sizeof opts, .results = results, .results_n = results ? n : 0, .mailbox = mailbox};
    return coil_workers_with(n, fn, arg, &opts);
}

/* Of any sort; what a test counts. */
static atomic_int waiting;

static inline coil_ret waits_for_ever(void)
{
    coil_event never = {0};
    return coil_event_wait(&never);
}

/* When this returns, so many are there and wait. */
static inline coil_ret wait_until_waiting(int n)
{
    coil_ret rc = 0;
    while (rc == 0 && waiting < n)
        rc = coil_sleep(0);
    return rc;
}

#endif
