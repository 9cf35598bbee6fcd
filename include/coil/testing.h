/* SPDX-License-Identifier: MIT
 *
 * coil/testing.h: tests whose bodies may wait, in virtual time, that leave nothing behind.
 *
 *     #include <setjmp.h>
 *     #include <stdarg.h>
 *     #include <stddef.h>
 *     #include <cmocka.h>
 *     #include <coil/testing.h>
 *
 *     COIL_TEST(sleep_takes_its_time)
 *     {
 *         double before = coil_loop_time(NULL);
 *         assert_int_equal(coil_sleep(3600), 0);
 *         assert_true(coil_loop_time(NULL) - before >= 3600);
 *     }
 *
 *     COIL_TEST_MAIN()
 *
 * Each body is a task in a loop of its own, run as coil_run does on the backend of COIL_BACKEND; its time
 * jumps when nothing but a timer can wake anyone, so an hour takes no time. cmocka does the asserting and
 * prints TAP (CMOCKA_MESSAGE_OUTPUT=TAP). An assertion may fail in any task or callback of the loop.
 *
 * After each test these must be as they were, or it fails by name: open descriptors, coil's memory (where
 * the library counts it: -Dsys_table=true), threads, tasks, stacks. It also fails if the loop had to
 * report something and the test had set no exception handler of its own.
 *
 * With COIL_FAULT in the environment each test is run again and again, every time with one thing going wrong, in a child of
 * its own:
 *
 *     COIL_FAULT=cancel     the task that waits as the k-th is cancelled there, for each k
 *     COIL_FAULT=timeout    its time is up there, as if all that it does from there stood in a timeout scope
 *     COIL_FAULT=alloc      the k-th allocation of the library fails; alloc_all: and all that follow it
 *     COIL_FAULT=errno      the k-th kernel call of the library fails, with each error that it may give
 *     COIL_FAULT=short      the k-th transfer moves one byte
 *
 * What the body does with that, failing assertions included, is its own business. But the test fails if something crashes, or
 * if the body returns and something is left open or allocated; after an interrupted call (EINTR) it must pass as if nothing
 * had been. The failure says which case it was: COIL_FAULT=cancel:7 plays that one alone, and COIL_FAULT_HERE=1 with it
 * in the process itself, for a debugger. COIL_FAULT_MAX=20 tries at most twenty points of each test, evenly spread. With
 * COIL_FAULT_STRICT=1 a body must not wait for ever either, must not notice a short transfer, and must pass when it is played
 * again after the error. COIL_FAULT_SEEN=FILE is told what was reached and what was failed, and with
 * COIL_FAULT_FRESH=1 only that is tried which was not failed before by this program, nor by those whose failures
 * COIL_FAULT_SWEPT=FILE names (src/testing/fault_seen.h).
 *
 * cancel and timeout work in every build; the others need a library that was built with -Dsys_table=true. */
#ifndef COIL_TESTING_H
#define COIL_TESTING_H

#include <coil/error.h>
#include <coil/loop.h>

#include <dlfcn.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One test, as the macros declare it. */
typedef struct coil_test {
    const char *name;
    void (*body)(void);
    bool plain;         /* without a loop */
    coil_run_opts opts; /* of its loop */
    struct coil_test *next;
} coil_test;

#define COIL_TEST_DECLARE(name_, ...)                                                  \
    static void name_(void);                                                           \
    static coil_test coil_test_##name_ = {.name = #name_, .body = name_, __VA_ARGS__}; \
    __attribute__((constructor)) static void coil_test_add_##name_(void)               \
    {                                                                                  \
        coil_test_add(&coil_test_##name_);                                             \
    }                                                                                  \
    static void name_(void)

/* A test whose body runs in a task, in virtual time. */
#define COIL_TEST(name) COIL_TEST_WITH(name, .virtual_time = true)

/* The same with options of one's own: COIL_TEST_WITH(name, .debug = true, .virtual_time = true). */
#define COIL_TEST_WITH(name, ...) \
    COIL_TEST_DECLARE(name, .opts = {.size = sizeof(coil_run_opts), __VA_ARGS__})

/* A test without a loop; the same things are counted afterwards. */
#define COIL_TEST_PLAIN(name) COIL_TEST_DECLARE(name, .plain = true)

/* The tests of this program, in the order they stand in the file. */
COIL_API void coil_test_add(coil_test *test);

/* Keep those that have one of the program's arguments in their name (all, if it has none); the first
 * of them, and how many. */
COIL_API coil_test *coil_test_select(int argc, char *const *argv, size_t *out_n);

/* Run one test. NULL if all is home afterwards, else what is not, in a sentence that is good until the
 * next one. Does not return if an assertion fails: then call coil_test_recover. */
COIL_API const char *coil_test_run(coil_test *test);

/* After a test that was left in the middle by a longjmp: this thread runs no loop any more. What the
 * test had is not given back. Harmless otherwise. */
COIL_API void coil_test_recover(void);

/* End a test from where the caller stands, by real_end(file, line), a function of cmocka's that jumps: from a task
 * only after the loop was closed, on the program's own stack, so that the jump crosses no other. */
COIL_API void coil_test_end(void *real_end, const char *file, int line) __attribute__((noreturn));

/* The call returns no error, or the test fails with the error's name and words, where assert_int_equal would say
 * 0xffffffffffffff83. Evaluates `call` once. */
#define coil_assert_ok(call)                                                                   \
    do {                                                                                       \
        coil_ret coil_rc_ = (call);                                                            \
        if (coil_iserr(coil_rc_))                                                              \
            fail_msg("%s: %s: %s", #call, coil_errname(coil_rc_), coil_last_error()->message); \
    } while (0)

/* The call returns this error, or the test fails with what it returned instead. */
#define coil_assert_error(call, code)                                           \
    do {                                                                        \
        coil_ret coil_rc_ = (call), coil_code_ = (code);                        \
        if (coil_rc_ != coil_code_ && coil_iserr(coil_rc_))                     \
            fail_msg("%s: not %s, but %s: %s", #call, coil_errname(coil_code_), \
                     coil_errname(coil_rc_), coil_last_error()->message);       \
        else if (coil_rc_ != coil_code_)                                        \
            fail_msg("%s: not %s, but %lld", #call, coil_errname(coil_code_),   \
                     (long long)coil_rc_);                                      \
    } while (0)

/* As if the kernel had delivered this signal: the loop that handles it calls back in its next turn, and SIGINT ends a run
 * as Ctrl-C does. No action is asked for and nobody is killed.
 *
 *   Where:  any thread.
 *   Errors: -ESRCH if no loop handles it. */
COIL_API int coil_test_raise(int signo);

/* Where cmocka is a shared library a program's own _fail and _skip stand before it. */
#define COIL_TEST_ENDS()                                                        \
    __attribute__((weak)) void _fail(const char *const file, const int line)    \
    {                                                                           \
        coil_test_end(dlsym((void *)-1L /* RTLD_NEXT */, "_fail"), file, line); \
    }                                                                           \
    __attribute__((weak)) void _skip(const char *const file, const int line)    \
    {                                                                           \
        coil_test_end(dlsym((void *)-1L, "_skip"), file, line);                 \
    }

/* The program, a line of its own without a semicolon. Its arguments choose tests by a part of their name. */
#define COIL_TEST_MAIN()                                                                 \
    COIL_TEST_ENDS()                                                                     \
    static void coil_test_one(void **state)                                              \
    {                                                                                    \
        const char *not_home = coil_test_run((coil_test *)*state);                       \
        if (not_home)                                                                    \
            fail_msg("%s", not_home);                                                    \
    }                                                                                    \
    static int coil_test_after(void **state)                                             \
    {                                                                                    \
        (void)state;                                                                     \
        coil_test_recover();                                                             \
        return 0;                                                                        \
    }                                                                                    \
    int main(int argc, char **argv)                                                      \
    {                                                                                    \
        size_t n;                                                                        \
        coil_test *test = coil_test_select(argc, argv, &n);                              \
        struct CMUnitTest *cases = (struct CMUnitTest *)calloc(n + 1, sizeof *cases);    \
        for (size_t i = 0; cases && i < n; i++, test = test->next) {                     \
            cases[i].name = test->name;                                                  \
            cases[i].test_func = coil_test_one;                                          \
            cases[i].teardown_func = coil_test_after;                                    \
            cases[i].initial_state = test;                                               \
        }                                                                                \
        int failed = cases ? _cmocka_run_group_tests(argv[0], cases, n, NULL, NULL) : 1; \
        free(cases);                                                                     \
        return failed;                                                                   \
    }

#ifdef __cplusplus
}
#endif
#endif
