/* SPDX-License-Identifier: MIT
 *
 * stack.h: the call stack of a task, in whatever state that is; and text about it. */
#ifndef COIL_DEBUG_STACK_H
#define COIL_DEBUG_STACK_H

#include "coro/frames.h"
#include "task/task.h"

#include <coil/debug.h>

/* The innermost calls of a task that have not returned, without the first `skip`, up to `capacity`. Returns how many there
 * are, but for the skipped ones. `here` is where the asking call came from: what the current task is shown from. */
size_t coil__stack_of(const coil_task *task, struct frame here, size_t skip, const void **out,
                      size_t capacity);

/* Text of any length into a buffer of any size: what does not fit is counted. */
struct text {
    char *out;
    size_t size, n; /* n: as snprintf returns it */
};
__attribute__((format(printf, 2, 3))) void coil__text_add(struct text *t, const char *fmt, ...);
/* In quotes, with what could spoil a line or a terminal as \xNN. */
void coil__text_quote(struct text *t, char quote, const char *words);

#endif
