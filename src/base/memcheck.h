/* SPDX-License-Identifier: MIT
 *
 * memcheck.h: tells Valgrind and MemorySanitizer of bytes that the kernel wrote where they could not see
 * it. Nothing in builds without them. */
#ifndef COIL_BASE_MEMCHECK_H
#define COIL_BASE_MEMCHECK_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define COIL_MSAN 1
#include <sanitizer/msan_interface.h>
#endif
#endif

/* A function that reads words which are no variables of anyone's. (gcc has no MSan to tell.) */
#if defined(__clang__)
#define READS_ANY_MEMORY __attribute__((no_sanitize("address", "memory", "thread")))
#else
#define READS_ANY_MEMORY __attribute__((no_sanitize("address", "thread")))
#endif

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#define COIL_MEMCHECK 1
#include <valgrind/memcheck.h>
#endif
#endif

static inline void mem_is_defined(const void *p, size_t n)
{
#ifdef COIL_MSAN
    __msan_unpoison(p, n);
#endif
#ifdef COIL_MEMCHECK
    (void)VALGRIND_MAKE_MEM_DEFINED(p, n);
#endif
    (void)p, (void)n;
}

static inline bool memcheck_watches(void)
{
#ifdef COIL_MEMCHECK
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}

#endif
