/* SPDX-License-Identifier: MIT
 *
 * frames.h: where a coroutine stands: the calls in it that have not returned, as addresses.
 *
 * They are found by frame pointers, which this library and its examples are built with. A function that was built without
 * one is passed over, or the walk ends there; it never leaves the stack.
 *
 *     innermost --> ... --> the owner's function | what called it: CORO_ENTRY, never told
 *
 * An address told lies within the call, not behind it, so that it belongs to the right line.
 *
 * Elsewhere: names for addresses (base/symbols.h). */
#ifndef COIL_CORO_FRAMES_H
#define COIL_CORO_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#include "coro/coro.h"

/* Where functions marked CORO_ENTRY lie; the linker knows. */
extern const char coil__entries[] __asm__("__start_coil_entry")
    __attribute__((weak, visibility("hidden")));
extern const char coil__entries_end[] __asm__("__stop_coil_entry")
    __attribute__((weak, visibility("hidden")));

struct frame {
    const struct coro *co; /* on whose stack */
    uintptr_t pc;          /* where it goes on */
    uintptr_t fp;          /* its frame pointer */
};

/* The frame that has called the function which asks: the running coroutine's innermost but for that one. */
__attribute__((always_inline)) static inline struct frame frames_here(void)
{
    return (struct frame){.co = coro_current(),
                          .pc = (uintptr_t)__builtin_return_address(0),
                          .fp = *(const uintptr_t *)__builtin_frame_address(0)};
}

/* The frame of a stopped coroutine that has called the switch. */
struct frame coil__frames_stopped(const struct coro *co);

/* The frames from there on outward, and those of the coroutines that drive it: without the first `skip`, up to
 * `capacity` of them, innermost first. Returns how many there are, but for the skipped ones. */
size_t coil__frames(struct frame from, size_t skip, const void **out, size_t capacity);

#endif
