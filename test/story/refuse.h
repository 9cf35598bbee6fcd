/* SPDX-License-Identifier: MIT
 *
 * refuse.h: words for tests of what the library refuses: the code, and the record that says it too. */
#ifndef TEST_STORY_REFUSE_H
#define TEST_STORY_REFUSE_H

#include "test.h"

#include <coil.h>

#include <limits.h>

/* The call returns this error, and it is the last one on record. */
#define REFUSED(expected, call)                                                      \
    do {                                                                             \
        (void)coil_fail(COIL_EUSER - 99, "nothing yet");                             \
        coil_ret refused_ = (coil_ret)(call);                                        \
        if (refused_ != (coil_ret)(expected) || last_code() != (expected))           \
            fail_msg("%s: %s, with %s on record; not %s", #call,                     \
                     coil_iserr(refused_) ? coil_errname(refused_) : "no error",     \
                     coil_errname(last_code()), coil_errname((coil_ret)(expected))); \
    } while (0)

/* The same of a future that was given instead of one that could not be made. */
#define REFUSED_FUTURE(expected, call)                                      \
    do {                                                                    \
        coil_future *given_ = (call);                                       \
        assert_non_null(given_);                                            \
        assert_true(coil_future_done(given_));                              \
        assert_int_equal(last_code(), (coil_ret)(expected));                \
        assert_int_equal(coil_future_result(given_), (coil_ret)(expected)); \
        coil_unref(given_);                                                 \
    } while (0)

#define REFUSED_THREAD_FUTURE(expected, call)                                         \
    do {                                                                              \
        coil_thread_future *given_ = (call);                                          \
        assert_non_null(given_);                                                      \
        assert_int_equal(coil_thread_future_result(given_, 0), (coil_ret)(expected)); \
        assert_int_equal(last_code(), (coil_ret)(expected));                          \
        coil_thread_future_unref(given_);                                             \
    } while (0)

static inline coil_ret give(void *arg)
{
    return (coil_ret)arg;
}

static inline void no_callback(void *arg)
{
    (void)arg;
}

static inline void no_done(coil_future *future, void *arg)
{
    (void)future, (void)arg;
}

/* A generator of so many values. */
static inline coil_ret count_down(coil_gen *self, void *arg)
{
    coil_ret rc = 0;
    for (intptr_t n = (intptr_t)arg; n > 0 && rc == 0; n--)
        rc = coil_gen_yield(self, n);
    return rc;
}

/* A coroutine that takes an item. */
static inline coil_ret get_one(void *queue)
{
    void *item;
    return coil_queue_get(queue, &item);
}

/* A task of this loop, run to its end. */
static inline coil_ret in_loop(coil_loop *loop, coil_fn fn, void *arg)
{
    coil_task *task = coil_loop_create_task(loop, fn, arg);
    coil_ret rc = coil_loop_run_until_complete(loop, task);
    coil_unref(task);
    return rc;
}

static inline coil_loop *new_virtual_loop(bool debug)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true, .debug = debug};
    coil_loop *loop = coil_new_event_loop(&opts);
    assert_non_null(loop);
    return loop;
}

#endif
