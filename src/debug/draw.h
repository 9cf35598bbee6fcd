/* SPDX-License-Identifier: MIT
 *
 * draw.h: who awaits whom as text, in the form of `python -m asyncio pstree`:
 *
 *     └── (T) Task-1
 *         └──  program
 *             └──  coil_gather
 *                 ├── (T) reader
 *                 │   └──  read_all
 *                 └── (T) writer
 *
 * Below a task stand its calls, the outermost first, and below the innermost the tasks that it awaits. Of a task that is parked
 * the innermost is the call of coil's that the program made, such as coil_gather: what that calls is coil's business. Behind it
 * stands since when the task waits there, where that is known: "coil_gather, for 1.5 s now". */
#ifndef COIL_DEBUG_DRAW_H
#define COIL_DEBUG_DRAW_H

#include <stdbool.h>
#include <stddef.h>

/* Tasks are numbers from 0. The functions get `arg`. */
struct drawing {
    size_t n;
    void *arg;
    size_t (*awaiters)(void *arg, size_t task, const size_t **out); /* as in struct forest */
    const char *(*name)(void *arg, size_t task);
    size_t (*calls)(void *arg, size_t task); /* how many */
    bool (*parked)(void *arg, size_t task);  /* it does not run at the moment */
    /* The words for one of them, 0 the innermost; its name comes first. */
    void (*call)(void *arg, size_t task, size_t i, char *out, size_t n);
    void (*since)(void *arg, size_t task, char *out, size_t n); /* ", for 1.5 s now", or "" */
    void (*put)(void *arg, const char *text);
};

/* 0 or -ENOMEM, and then nothing was drawn. */
int coil__draw(const struct drawing *d);

#endif
