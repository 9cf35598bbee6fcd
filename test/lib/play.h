/* SPDX-License-Identifier: MIT
 *
 * play.h: words for tests in which several tasks act together and the order of things matters.
 *
 *     PLAY(lock_wakes_in_order)
 *     {
 *         coil_task *t = spawn(waiter, "1");
 *         turn();                                it stands at its first wait now
 *         ...
 *         assert_int_equal(end_of(t), 0);
 *         assert_trace("1");                     what note() was told since the test began
 *     }
 *
 * A PLAY is a COIL_TEST with an empty trace. */
#ifndef TEST_LIB_PLAY_H
#define TEST_LIB_PLAY_H

#include "test.h"

#include <coil/task.h>

#define PLAY(name)                  \
    static void name##_scene(void); \
    COIL_TEST(name)                 \
    {                               \
        play_trace[0] = '\0';       \
        name##_scene();             \
    }                               \
    static void name##_scene(void)

static char play_trace[8192];

#define assert_trace(expected) assert_string_equal(play_trace, (expected))

/* Adds words to the trace, after a space. */
__attribute__((format(printf, 1, 2), unused)) static void note(const char *fmt, ...)
{
    size_t n = strlen(play_trace);
    if (n && n + 1 < sizeof play_trace)
        play_trace[n++] = ' ';
    va_list args;
    va_start(args, fmt);
    vsnprintf(play_trace + n, sizeof play_trace - n, fmt, args);
    va_end(args);
}

/* Let everything that is ready run once. */
static inline void turn(void)
{
    assert_int_equal(coil_sleep(0), 0);
}

static inline coil_task *spawn(coil_fn fn, const void *arg)
{
    return coil_create_task(fn, arg);
}

/* How it ended: a result or an error; waits for that and lets go of it. */
static inline coil_ret end_of(coil_task *task)
{
    return coil_join(task);
}

static inline void cancel(coil_task *task)
{
    coil_task_cancel(task, NULL);
}

/* The same as a callback. */
static inline void cancel_task(void *task)
{
    coil_task_cancel(task, NULL);
}

static inline void soon(coil_callback_fn fn, void *arg)
{
    assert_int_equal(coil_loop_call_soon(NULL, fn, arg, NULL), 0);
}

static inline void later(double delay, coil_callback_fn fn, void *arg)
{
    assert_int_equal(coil_loop_call_later(NULL, delay, fn, arg, NULL), 0);
}

#endif
