/* SPDX-License-Identifier: MIT
 *
 * tooling.h: tells ASan, TSan and Valgrind which stack we stand on.
 *
 * A release build without them compiles all of this to nothing, except Valgrind's marks, which a
 * pool of stacks asks for once (tool_on_valgrind) and skips otherwise.
 *
 * MSan need not know: what it keeps of the running call (the shadow of arguments) is clean at each switch, whose
 * arguments are plain pointers.
 *
 * Switches are told in coro.h (coro_leave, coro_arrive), stacks here.
 *
 * Always true:
 *   - ASan hears start, swap, finish, in this order; a fake stack is given up only at the end;
 *   - a TSan fiber is destroyed by whoever runs next, never by itself. */
#ifndef COIL_CORO_TOOLING_H
#define COIL_CORO_TOOLING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/memcheck.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define COIL_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#else
#define COIL_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define COIL_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define COIL_TSAN 0
#endif

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>) && __has_include(<valgrind/memcheck.h>)
#define COIL_VALGRIND 1
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef COIL_VALGRIND
#define COIL_VALGRIND 0
#endif

/* Does a switch have to be told to anyone? */
#define COIL_CORO_TOOLED (COIL_ASAN || COIL_TSAN)

/* Sanitizers make frames larger; stacks grow with them. */
#ifdef COIL_MSAN
#define COIL_STACK_FACTOR ((size_t)4)
#else
#define COIL_STACK_FACTOR ((size_t)(COIL_CORO_TOOLED ? 4 : 1))
#endif

/* What a struct coro keeps for the tools. */
struct coro_tools {
#if COIL_ASAN
    void *fake_stack;   /* while it is stopped */
    const void *bottom; /* of a thread's own stack: learnt when it is first left */
    size_t size;
#endif
#if COIL_TSAN
    void *fiber;
#endif
    char unused; /* C wants a member */
};

/* ---- stacks ---- */

static inline bool tool_on_valgrind(void)
{
#if COIL_VALGRIND
    return RUNNING_ON_VALGRIND > 0;
#else
    return false;
#endif
}

/* A stack goes out to a coroutine. Returns Valgrind's number for it, where there is one. */
static inline unsigned tool_stack_out(void *low, void *high, bool on_valgrind)
{
    (void)low, (void)high, (void)on_valgrind;
#if COIL_ASAN
    __lsan_register_root_region(low, (size_t)((char *)high - (char *)low));
#endif
#if COIL_VALGRIND
    if (on_valgrind)
        return VALGRIND_STACK_REGISTER(low, high);
#endif
    return 0;
}

/* A stack comes home: what its frames poisoned is plain memory again. */
static inline void tool_stack_home(void *low, void *high, bool on_valgrind, unsigned number)
{
    (void)low, (void)high, (void)on_valgrind, (void)number;
#if COIL_ASAN
    __lsan_unregister_root_region(low, (size_t)((char *)high - (char *)low));
    __asan_unpoison_memory_region(low, (size_t)((char *)high - (char *)low));
#endif
#if COIL_VALGRIND
    if (on_valgrind) {
        VALGRIND_STACK_DEREGISTER(number);
        VALGRIND_MAKE_MEM_DEFINED(low, (size_t)((char *)high - (char *)low));
    }
#endif
}

/* Forget what is known of memory about to be unmapped. */
static inline void tool_unmapping(void *p, size_t n)
{
    (void)p, (void)n;
#if COIL_ASAN
    __asan_unpoison_memory_region(p, n);
#endif
}

#endif
