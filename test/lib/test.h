/* SPDX-License-Identifier: MIT
 *
 * test.h: what a test includes first: cmocka, the harness, and our own helpers. */
#ifndef TEST_LIB_TEST_H
#define TEST_LIB_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <coil/testing.h>

/* Calls fn again and again, failing its first allocation, its second, ... until a call meets no failure.
 * What fn makes of the failures is its own business: it must give back what it took. Returns how many
 * allocations were failed; 0 where the library does not count them. */
int sweep_allocations(void (*fn)(void *arg), void *arg);

/* Emulators (and TSan) keep a thread of their own in the process, and what a thread may still do is never a deadlock:
 * what expects one is skipped if this, which says why, is false. */
bool deadlocks_are_certain(void);

/* No such thread was there from the start. */
bool process_began_alone(void);

/* TSan loses the order of stacks in a child of fork, and ends one of several threads that starts another. */
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

/* What a call gives only if it did not fail: a test to which it gave nothing has failed, and looks no further. */
#define there(p) ((__typeof__(p))must_be_there((p), #p " is there", __FILE__, __LINE__))
static inline void *must_be_there(const void *p, const char *words, const char *file, int line)
{
    _assert_true(p != NULL, words, file, line);
    return (void *)(uintptr_t)p;
}

/* cmocka's would crash on a text or bytes that are not there. */
static inline void same_text(const char *a, const char *b, const char *words, const char *file,
                             int line)
{
    _assert_true(a && b, words, file, line);
    _assert_string_equal(a, b, file, line);
}
static inline void same_memory(const void *a, const void *b, size_t n, const char *words,
                               const char *file, int line)
{
    _assert_true((a && b) || n == 0, words, file, line);
    if (n)
        _assert_memory_equal(a, b, n, file, line);
}
#undef assert_string_equal
#define assert_string_equal(a, b) \
    same_text((const char *)(a), (const char *)(b), #a " and " #b " are there", __FILE__, __LINE__)
#undef assert_memory_equal
#define assert_memory_equal(a, b, n) \
    same_memory((a), (b), (n), #a " and " #b " are there", __FILE__, __LINE__)

/* The code of the last error, for assertions. */
#define last_code() (coil_last_error() ? coil_last_error()->code : 0)

#endif
