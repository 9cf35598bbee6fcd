/* SPDX-License-Identifier: MIT
 *
 * seen.h: the loops and tasks of another process, as its memory has them. */
#ifndef COIL_CMD_SEEN_H
#define COIL_CMD_SEEN_H

#include "cmd/functions.h"
#include "cmd/peer.h"

#define SEEN_NOBODY SIZE_MAX
enum { SEEN_ALSO = 3 };

enum seen_state { SEEN_NEW, SEEN_RUNNING, SEEN_READY, SEEN_WAITING };

struct seen_task {
    uint64_t at; /* its address: its id */
    uint64_t number;
    uint64_t fn; /* its function's address */
    char name[33];
    char file[128]; /* where it was made; "": not known */
    int line;
    enum seen_state state;
    bool cancelling;  /* a cancel will be delivered when it goes on */
    unsigned cancels; /* how many were asked for and not taken back */
    char what[64];    /* what it waits for, or will: "sleep", "recv" */
    char detail[160]; /* which one; "" */
    int64_t waits_ns; /* for how long already; -1: not known (only debug mode keeps it) */
    uint64_t
        object; /* the lock, event, queue or the like that it waits for; 0: it waits for nothing of that kind */
    uint64_t in_line; /* the line of waiters that it stands in: a queue has several */
    char which[80];   /* that object, in words: "orders", "0x7ffd2a10 on the stack of Task-1"; "" */
    size_t also[SEEN_ALSO]; /* places of others in that line, the first ones */
    size_t also_n;          /* how many others there are */
    uint64_t stack_low;     /* the lowest byte of its stack, which ends below `at`; 0: not known */
    uint64_t *calls;        /* addresses within its calls, innermost first */
    size_t calls_n;
    size_t *awaited_by; /* places in the loop's tasks */
    size_t awaited_by_n;
    uint64_t waits_at;     /* the task whose end it waits for; 0 */
    uint64_t waits_number; /* the number of the task that holds what it waits for; 0 */
    size_t waits_on;       /* the place of either; SEEN_NOBODY */
    size_t mark;           /* whoever walks along uses it; 0 */
};

struct seen_loop {
    uint64_t at;
    pid_t tid; /* of its thread; 0: it never ran */
    char backend[32];
    bool running, debug, is_virtual, signals;
    uint64_t ready, ops, fds, jobs, wakers, turns;
    uint32_t timers;
    struct seen_task *tasks; /* in the order of their making */
    size_t tasks_n;
    bool torn; /* it changed faster than it could be read: some may be missing */
};

struct seen {
    struct seen_loop *loops;
    size_t loops_n;
    struct functions functions;
};

/* 0, or an exit status after saying why. `stacks`: with the calls of each task. */
int seen_read(struct seen *s, struct peer *p, bool stacks);
void seen_free(struct seen *s);

/* The next circle of tasks each of which waits for the next one's end, or for what that one holds: writes up to `room` places, returns
 * how many there are; 0: no more. `*from` is 0 at first. */
size_t seen_circle(struct seen_loop *l, size_t *from, size_t *out, size_t room);

/* Is nothing left that could wake this loop? */
bool seen_is_stuck(const struct seen_loop *l);

#endif
