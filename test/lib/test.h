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

/* The code of the last error, for assertions. */
#define last_code() (coil_last_error() ? coil_last_error()->code : 0)

#endif
