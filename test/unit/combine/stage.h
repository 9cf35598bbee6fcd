/* SPDX-License-Identifier: MIT
 *
 * stage.h: a small stage for tests of combinators: a body that is the main task of a fresh loop.
 *
 *     STAGE(gather_keeps_the_order_of_its_arguments)
 *     {
 *         ... FACT(rc, 0); TRACE("0:go 2:end"); ...
 *         return 0;
 *     }
 *
 * Time is virtual, the backend is COIL_BACKEND's. A fact that does not hold is printed and fails the
 * test at its end: nothing jumps out of a coroutine. mark("x") notes x with the number of turns since the
 * first mark. What the loop's exception handler was told must be asked for with REPORTS. What a test
 * allocated must be home at its end. */
#ifndef TEST_COMBINE_STAGE_H
#define TEST_COMBINE_STAGE_H

#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"

#include <coil/combine.h>
#include <coil/group.h>
#include <coil/task.h>
#include <coil/timeout.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define STAGE(name)                         \
    static coil_ret name##_body(void *arg); \
    static void name(void **state)          \
    {                                       \
        (void)state;                        \
        stage_play(name##_body);            \
    }                                       \
    static coil_ret name##_body(void *arg)

static int stage_broken;     /* facts that did not hold */
static char stage_log[4096]; /* what mark() was told */
static char stage_reports
    [4096]; /* what the exception handler was told, the first word of each error's name */
static uint64_t stage_begun; /* the turn of the first mark */

#define FACT(value, expected) \
    stage_fact((intptr_t)(value), (intptr_t)(expected), __FILE__, __LINE__, #value)
#define TRUE(cond)        stage_fact(!!(cond), 1, __FILE__, __LINE__, #cond)
#define FALSE(cond)       stage_fact(!!(cond), 0, __FILE__, __LINE__, #cond)
#define TEXT(a, b)        stage_text((a), (b), __FILE__, __LINE__, #a)
#define TRACE(expected)   TEXT(stage_log, (expected))
#define REPORTS(expected) (TEXT(stage_reports, (expected)), (void)(stage_reports[0] = 0))

static inline void stage_fact(intptr_t value, intptr_t expected, const char *file, int line,
                              const char *what)
{
    if (value == expected)
        return;
    stage_broken++;
    print_error("%s:%d: %s is %ld, not %ld\n", file, line, what, (long)value, (long)expected);
}

static inline void stage_text(const char *a, const char *b, const char *file, int line,
                              const char *what)
{
    if (strcmp(a, b) == 0)
        return;
    stage_broken++;
    print_error("%s:%d: %s is\n    \"%s\", not\n    \"%s\"\n", file, line, what, a, b);
}

__attribute__((format(printf, 1, 2))) static inline void mark(const char *fmt, ...)
{
    uint64_t turn = coil__running_loop->turns;
    if (!stage_log[0])
        stage_begun = turn;
    size_t n = strlen(stage_log), room = sizeof stage_log - n;
    n += (size_t)snprintf(stage_log + n, room, "%s%d:", n ? " " : "", (int)(turn - stage_begun));
    va_list args;
    va_start(args, fmt);
    vsnprintf(stage_log + n, sizeof stage_log - n, fmt, args);
    va_end(args);
}

static inline void stage_reported(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    size_t n = strlen(stage_reports);
    snprintf(stage_reports + n, sizeof stage_reports - n, "[%s%s%s]", context->message,
             context->code ? " " : "", context->code ? coil_errname(context->code) : "");
}

static inline coil_loop *stage_loop(void)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    assert_non_null(loop);
    coil_loop_set_exception_handler(loop, stage_reported, NULL);
    stage_broken = 0;
    stage_log[0] = stage_reports[0] = 0;
    return loop;
}

static inline int64_t stage_live(void)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    return coil__mem_live();
#else
    return 0;
#endif
}

/* Run the body to its end; it must return 0. */
static inline void stage_play(coil_fn body)
{
    int64_t live = stage_live();
    coil_loop *loop = stage_loop();
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    coil_task *task = coil_create_task_opts(body, NULL, &opts);
    coil_ret rc = coil_loop_run_until_complete_future(loop, task);
    if (coil_iserr(rc))
        coil_report(rc);
    coil_unref(task);
    coil_loop_free(loop);
    coil__error_clear(coil__error_slot()); /* the last error keeps what it speaks of */
    assert_int_equal(rc, 0);
    assert_string_equal(stage_reports, "");
    assert_int_equal(stage_broken, 0);
    assert_int_equal(stage_live(), live);
}

/* The body returns 0 and leaves tasks behind, which the loop's end unwinds. */
static inline void stage_leave(coil_fn body)
{
    int64_t live = stage_live();
    coil_loop *loop = stage_loop();
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    coil_task *task = coil_create_task_opts(body, NULL, &opts);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
    coil_unref(task);
    coil_loop_free(loop);
    assert_int_equal(stage_live(), live);
    assert_int_equal(stage_broken, 0);
}

/* ---- words ---- */

static inline void turns(int n)
{
    while (n-- > 0)
        FACT(coil_sleep(0), 0);
}

static inline void mark_text(void *text)
{
    mark("%s", (const char *)text);
}

/* Mark in the next turn. */
static inline void soon(const char *text)
{
    FACT(coil_loop_call_soon(NULL, mark_text, (void *)(uintptr_t)text, NULL), 0);
}

static inline void mark_done(coil_future *future, void *text)
{
    (void)future;
    mark("%s", (const char *)text);
}

static inline void on_done(coil_future *future, const char *text)
{
    FACT(coil_future_add_done_callback(future, mark_done, (void *)(uintptr_t)text), 0);
}

static inline void finish_with_one(void *future)
{
    if (!coil_future_done(future))
        FACT(coil_future_set_result(future, 1), 0);
}

static inline void cancel_it(void *future)
{
    coil_future_cancel(future, NULL);
}

static inline coil_future *new_future(void)
{
    return coil_loop_create_future(NULL);
}

static inline coil_future *done_future(coil_ret value)
{
    coil_future *f = coil_loop_create_future(NULL);
    FACT(coil_iserr(value) ? coil_future_set_exception(f, value) : coil_future_set_result(f, value),
         0);
    return f;
}

/* A task that gives up its turn some times, marking each, then returns; or sleeps, marking a cancel. */
struct steps {
    const char *name; /* NULL: silent */
    int n;
    coil_ret result;
    double sleep; /* instead of n turns */
};

static inline coil_ret take_steps(void *arg)
{
    const struct steps *s = (const struct steps *)arg;
    if (s->sleep != 0) {
        coil_ret rc = coil_sleep(s->sleep);
        if (rc == -ECANCELED && s->name)
            mark("%sc", s->name);
        return coil_iserr(rc) ? rc : s->result;
    }
    if (s->name)
        mark("%s", s->name);
    for (int i = 1; i <= s->n; i++) {
        coil_ret rc = coil_sleep(0);
        if (coil_iserr(rc))
            return rc;
        if (s->name)
            mark("%s%d", s->name, i);
    }
    return coil_iserr(s->result) ? coil_fail(s->result, "%s failed", s->name ? s->name : "it")
                                 : s->result;
}

static inline coil_task *walk(const char *name, int n, coil_ret result)
{
    struct steps s = {name, n, result, 0};
    return coil_create_task_with(take_steps, &s, sizeof s);
}

static inline coil_task *sleeper(const char *name, double delay, coil_ret result)
{
    struct steps s = {name, 0, result, delay};
    return coil_create_task_with(take_steps, &s, sizeof s);
}

static inline coil_task *walk_in(coil_group *g, const char *name, int n, coil_ret result)
{
    struct steps s = {name, n, result, 0};
    return coil_group_create_task_with(g, take_steps, &s, sizeof s);
}

static inline coil_task *sleeper_in(coil_group *g, const char *name, double delay, coil_ret result)
{
    struct steps s = {name, 0, result, delay};
    return coil_group_create_task_with(g, take_steps, &s, sizeof s);
}

/* As if something computed for so long. */
static inline void busy(double seconds)
{
    coil_loop *loop = coil__running_loop;
    clock_advance_to(&loop->clock, clock_add(loop_now_ns(loop), coil__clock_from_seconds(seconds)));
}

#endif
