/* SPDX-License-Identifier: MIT
 *
 * elsewhere.h: a call made in another thread, and what it said. */
#ifndef TEST_LIB_ELSEWHERE_H
#define TEST_LIB_ELSEWHERE_H

#include "test.h"

#include "base/thread.h"

struct errand {
    int (*fn)(void);
    int said;
};

static inline void run_errand(void *arg)
{
    struct errand *e = arg;
    e->said = e->fn();
}

static inline int elsewhere(int (*fn)(void))
{
    struct errand e = {.fn = fn};
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "elsewhere", run_errand, &e), 0);
    coil__thread_join(&thread);
    return e.said;
}

#endif
