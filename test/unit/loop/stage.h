/* SPDX-License-Identifier: MIT
 *
 * stage.h: where the tests of base, loop and task play.
 *
 *     PLAIN(name) { ... }      no loop is made
 *     LOOP(name) { ... }       stage.loop is a fresh one, not running; virtual time
 *     REAL(name) { ... }       the same by the real clock; skipped on the imaginary kernel, which has none
 *     TASK(name) { ... }       the body is the main task of such a loop, and returns 0
 *
 * A FACT that does not hold is noted with its line and fails the test at its end: nothing jumps out
 * of a coroutine. After each test the blocks allocated and the descriptors open are counted; all must
 * be home. A report of the loop (the exception handler's) that the test did not ask for fails it too. */
#ifndef TEST_STAGE_H
#define TEST_STAGE_H

#include "base/mem.h"
#include "coro/gen.h"

#include <coil/generator.h>
#include <coil/task.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_THREAD__)
#define STAGE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STAGE_TSAN 1
#endif
#endif
#ifndef STAGE_TSAN
#define STAGE_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define STAGE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STAGE_ASAN 1
#endif
#endif
#ifndef STAGE_ASAN
#define STAGE_ASAN 0
#endif

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
#define STAGE_TABLE 1
#else
#define STAGE_TABLE 0
static inline int64_t coil__mem_live(void)
{
    return 0;
}
#endif

/* What the exception handler was told last, copied. */
struct stage_report {
    int n; /* since the last look */
    char kind[24], message[256], words[256];
    coil_ret code;
    const void *future, *task, *handle;
    int fd;
};

static struct {
    coil_loop *loop;
    int broken;     /* facts that did not hold */
    char log[8192]; /* what note() was told, a space between any two */
    struct stage_report report;
    int64_t blocks;
    int fds;
} stage;

/* ---- facts ---- */

#define FACT(cond)           stage_fact(!!(cond), __FILE__, __LINE__, #cond)
#define FACT_INT(a, b)       stage_fact_int((intptr_t)(a), (intptr_t)(b), __FILE__, __LINE__, #a)
#define FACT_TEXT(a, b)      stage_fact_text((a), (b), __FILE__, __LINE__, #a)
#define FACT_HAS(a, b)       stage_fact_has((a), (b), __FILE__, __LINE__, #a)
#define FACT_TRACE(expected) (FACT_TEXT(stage.log, (expected)), stage.log[0] = '\0')
/* The last error of whoever runs has this code and these words in it. */
#define FACT_ERROR(code, words) stage_fact_error((code), (words), __FILE__, __LINE__)
/* Exactly one report came since the last look, with these words in its message. */
#define FACT_REPORT(words) stage_fact_report((words), __FILE__, __LINE__)

static inline bool stage_fact(bool holds, const char *file, int line, const char *what)
{
    if (!holds) {
        stage.broken++;
        print_error("%s:%d: does not hold: %s\n", file, line, what);
    }
    return holds;
}

static inline bool stage_fact_int(intptr_t a, intptr_t b, const char *file, int line,
                                  const char *what)
{
    if (a != b) {
        stage.broken++;
        print_error("%s:%d: %s is %ld, not %ld\n", file, line, what, (long)a, (long)b);
    }
    return a == b;
}

static inline bool stage_fact_text(const char *a, const char *b, const char *file, int line,
                                   const char *what)
{
    if (a && strcmp(a, b) == 0)
        return true;
    stage.broken++;
    print_error("%s:%d: %s is \"%s\", not \"%s\"\n", file, line, what, a ? a : "(NULL)", b);
    return false;
}

static inline bool stage_fact_has(const char *a, const char *b, const char *file, int line,
                                  const char *what)
{
    if (a && strstr(a, b))
        return true;
    stage.broken++;
    print_error("%s:%d: %s is \"%s\", which has no \"%s\"\n", file, line, what, a ? a : "(NULL)",
                b);
    return false;
}

static inline void stage_fact_error(coil_ret code, const char *words, const char *file, int line)
{
    const coil_error *e = coil_last_error();
    if (stage_fact(e != NULL, file, line, "there is a last error")) {
        stage_fact_int(e->code, code, file, line, "the last error's code");
        stage_fact_has(e->message, words, file, line, "the last error's message");
    }
}

static inline void stage_fact_report(const char *words, const char *file, int line)
{
    stage_fact_int(stage.report.n, 1, file, line, "the number of reports");
    stage_fact_has(stage.report.n ? stage.report.message : "(no report)", words, file, line,
                   "the report");
    stage.report.n = 0;
}

/* ---- a log ---- */

__attribute__((format(printf, 1, 2))) static inline void note(const char *fmt, ...)
{
    size_t n = strlen(stage.log);
    if (n && n + 1 < sizeof stage.log)
        stage.log[n++] = ' ';
    va_list args;
    va_start(args, fmt);
    vsnprintf(stage.log + n, sizeof stage.log - n, fmt, args);
    va_end(args);
}

/* A callback that writes down its argument, a string. */
static inline void note_arg(void *arg)
{
    note("%s", (const char *)arg);
}

/* ---- loops ---- */

static inline void stage_hears(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)loop, (void)arg;
    struct stage_report *r = &stage.report;
    r->n++;
    snprintf(r->kind, sizeof r->kind, "%s", c->kind ? c->kind : "");
    snprintf(r->message, sizeof r->message, "%s", c->message ? c->message : "");
    snprintf(r->words, sizeof r->words, "%s", c->error ? c->error->message : "");
    r->code = c->code;
    r->future = c->future;
    r->task = c->task;
    r->handle = c->handle;
    r->fd = c->fd;
}

static inline coil_loop *stage_new_loop(bool virtual_time)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = virtual_time};
    coil_loop *loop = coil_new_event_loop(&opts);
    assert_non_null(loop);
    coil_loop_set_exception_handler(loop, stage_hears, NULL);
    return loop;
}

static inline int stage_open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}

static inline void stage_begin(void)
{
    coil_fail(-EXDEV, "an error from before the test"); /* the last one may have causes */
    stage.broken = 0;
    stage.log[0] = '\0';
    stage.report = (struct stage_report){0};
    stage.blocks = coil__mem_live();
    stage.fds = stage_open_fds();
}

static inline void stage_end(void)
{
    if (stage.loop) {
        coil_loop_free(stage.loop);
        stage.loop = NULL;
    }
    if (stage.report.n) {
        stage.broken++;
        print_error("nobody expected the report \"%s\"\n", stage.report.message);
    }
    coil_fail(-EXDEV, "an error from after the test");
    FACT(coil_get_running_loop() == NULL);
    FACT_INT(coil__gen_thread_fini(),
             0); /* what the thread keeps for generators; none may be left */
    FACT_INT(coil__mem_live() - stage.blocks, 0);
    FACT_INT(stage_open_fds() - stage.fds, 0);
    assert_int_equal(stage.broken, 0);
}

static inline void stage_plain(void (*body)(void))
{
    stage_begin();
    body();
    stage_end();
}

static inline void stage_needs_clock(void)
{
    const char *backend = getenv("COIL_BACKEND");
    if (backend && strcmp(backend, "sim") == 0) {
        print_message("the imaginary kernel has no real clock\n");
        skip();
    }
}

static inline void stage_loop(void (*body)(void), bool virtual_time)
{
    if (!virtual_time)
        stage_needs_clock();
    stage_begin();
    stage.loop = stage_new_loop(virtual_time);
    body();
    stage_end();
}

static inline void stage_task(coil_fn body, bool virtual_time)
{
    if (!virtual_time)
        stage_needs_clock();
    stage_begin();
    stage.loop = stage_new_loop(virtual_time);
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = "main"};
    coil_task *task = coil_create_task_opts(body, NULL, &opts);
    coil_ret rc = coil_loop_run_until_complete(stage.loop, task);
    if (coil_iserr(rc))
        coil_report(rc);
    coil_unref(task);
    FACT_INT(rc, 0);
    stage_end();
}

#define STAGE_TEST(name, returns, param, ...) \
    static returns name##_body(param);        \
    static void name(void **cmocka_state)     \
    {                                         \
        (void)cmocka_state;                   \
        __VA_ARGS__;                          \
    }                                         \
    static returns name##_body(param)

#define PLAIN(name)     STAGE_TEST(name, void, void, stage_plain(name##_body))
#define LOOP(name)      STAGE_TEST(name, void, void, stage_loop(name##_body, true))
#define REAL(name)      STAGE_TEST(name, void, void, stage_loop(name##_body, false))
#define TASK(name)      STAGE_TEST(name, coil_ret, void *arg, stage_task(name##_body, true))
#define REAL_TASK(name) STAGE_TEST(name, coil_ret, void *arg, stage_task(name##_body, false))

/* ---- words ---- */

/* A string as the argument of something that takes a void pointer. */
#define TEXT(literal) ((void *)(uintptr_t)(literal))

static inline void soon(coil_callback_fn fn, const void *arg)
{
    FACT_INT(coil_loop_call_soon(stage.loop, fn, (void *)(uintptr_t)arg, NULL), 0);
}

static inline void later(double delay, coil_callback_fn fn, const void *arg)
{
    FACT_INT(coil_loop_call_later(stage.loop, delay, fn, (void *)(uintptr_t)arg, NULL), 0);
}

static inline void stop_loop(void *arg)
{
    coil_loop_stop(arg);
}

/* Run until nothing more than this turn's work is left to do: one turn, select(0). */
static inline void one_turn(void)
{
    coil_loop_stop(stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
}

/* Let everything that is ready run once. */
static inline void pass(void)
{
    FACT_INT(coil_sleep(0), 0);
}

static inline double now(void)
{
    return coil_loop_time(stage.loop);
}

static inline bool about(double a, double b)
{
    return a - b < 1e-6 && b - a < 1e-6;
}

#endif
