/* SPDX-License-Identifier: MIT
 *
 * sight.h: how this process looks to who reads its memory: `coil ps`, a debugger, a reader of core files.
 *
 *     data segment: [ struct sight ]--loops--> loop <-> loop ...
 *                                               `--parts[task_part]--layout--> [ struct sight_tasks ]
 *
 * The reader has another build of coil than its target, or no headers at all. So what it needs to know of structures stands
 * in the target: it looks through the data segments for the magic and believes it where `self` is its address; the tables
 * say at how many bytes from the beginning of each structure a field lies.
 *
 * A list (base/list.h) is two words, next and prev, in each link and in its head.
 *
 * Always true:
 *   - reading is enough: nothing in the target runs, stops, listens or is told;
 *   - fields are only ever added at the end of the tables, or `version` grows.
 *
 * The tables are written once, by the compiler. The list of loops changes under a lock that readers do not take: they must
 * be ready for anything. Elsewhere: the reader (cmd/). */
#ifndef COIL_LOOP_SIGHT_H
#define COIL_LOOP_SIGHT_H

#include "base/list.h"

#include <stdint.h>

#define SIGHT_MAGIC "\177coil:sight\n\001\002\003"
enum { SIGHT_VERSION = 1, SIGHT_MAGIC_SIZE = 16 };

/* ---- loops ---- */

struct sight {
    char magic[SIGHT_MAGIC_SIZE];
    const struct sight *self;
    uint32_t version, size;
    const struct list *loops; /* of each loop's `link` */

    struct {
        uint32_t link, head, tail, running, debug, is_virtual, virtual_ns, timers_n, backend_class,
            backend, jobs, wakers, signals, parts, thread_id, turns, pid;
        uint32_t backend_pending, backend_fds, class_name;
        uint32_t task_part;   /* which of `parts` */
        uint32_t part_layout; /* in a part: its struct sight_tasks */
    } loop;
};

/* ---- tasks ---- */

/* What stands `at` bytes from a wait, for who cannot call its `describe`. */
enum wait_shows {
    SHOWS_NOTHING,
    SHOWS_FD,     /* an int: a descriptor */
    SHOWS_WHEN,   /* an int64_t: a time on the loop's clock, in ns */
    SHOWS_FUTURE, /* a pointer to a future */
    /* A pointer to an object; `then` bytes from there the number (uint64_t) of a task that holds it; 0: nobody. */
    SHOWS_OWNER,
    SHOWS_PID, /* a pointer; `then` bytes from there a process number (pid_t) */
    SHOWS_OBJECT, /* a pointer to a line of waiters; `then` bytes from there begins the object that a user has */
};

struct sight_tasks {
    uint32_t version, size;
    struct {
        uint32_t tasks, current; /* the head of the list of live ones, through future.all */
    } part;
    struct {
        uint32_t all, state, is_task, callbacks, file, line;
        uint32_t callback_link, callback_by; /* in a node of `callbacks` */
    } future;
    struct {
        uint32_t name, name_size, number, waiting, leaf, coro, fn, started, must_cancel, parked_ns;
    } task;
    struct {
        uint32_t cls, woken, class_what, class_shows, class_at, class_then;
    } wait;
    struct {
        uint32_t sp, stack, resumer, stack_low, stack_high;
        int32_t saved_fp, saved_pc; /* words from `sp`; -1: not known */
    } coro;
    const char *entries, *entries_end; /* code that no caller ever called: a stack ends there */
    uint32_t task_cancelling; /* a uint32_t: cancel requests that it did not follow, or not yet */
    uint32_t class_also;
};

/* Among the loops of this process, from now on; and no more. */
struct coil_loop;
void coil__sight_add(struct coil_loop *loop);
void coil__sight_remove(struct coil_loop *loop);
/* How many there are. */
size_t coil__sight_count(void);
/* In the child of a fork. */
void coil__sight_forked(void);

#endif
