/* SPDX-License-Identifier: MIT
 *
 * script.h: the language of the differential runner: little programs of tasks that both coil and CPython can play.
 *
 *     script 7 level 13
 *     with S0=2 S1=1 B0=2 Q0=fifo:1 Q1=priority:0 start=2
 *     task 0
 *         timeout T0 4 !{
 *             await t1
 *         }
 *         callback K0 f1 : cancel t1
 *     task 1
 *         with L0 {
 *             sleep 8 !
 *         }
 *         return 3
 *
 * A line is a statement: its name, its arguments, then perhaps `!`, which means that an error of this statement ends
 * the block it stands in; without it the error is told and the block goes on. `{ ... }` is a block of its own
 * (`try` has two: `} finally {`), `: STATEMENT` one to be carried out by a callback. Arguments are a letter and a
 * number, or a number:
 *
 *     t task   f future   a what gather_future or shield_future made   k slot of a callback   h slot of a handle
 *     L lock   C condition (C0 has a lock of its own, C1 shares L0)   E event   S semaphore (S1 is bounded)
 *     B barrier   Q queue   T timeout scope   G group   a number: a value, a count, or quarters of a second (- none)
 *
 * Task n runs body n, at most once: whoever spawns it, calls it or makes it a child first. The tasks below
 * `start` are spawned at the beginning. The end of every script is the same and stands in no script: after 100
 * seconds whoever is left is cancelled, every 10 seconds again, until all are done.
 *
 * The players pass over what cannot be done (`-` in the trace): there is no such task or slot yet, the body is taken.
 * They also pass over what would let a cancel go round in a circle: in ways that pass a cancel on, task n waits only for
 * tasks with higher numbers. */
#ifndef TEST_DIFF_SCRIPT_H
#define TEST_DIFF_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    TASKS = 8,
    FUTURES = 4,
    SLOTS = 4, /* of each kind: a, h, k */
    LOCKS = 2,
    CONDITIONS = 2,
    EVENTS = 2,
    SEMAPHORES = 2,
    QUEUES = 2,
    SCOPES = 24, /* timeouts, and groups */
    ARGS_MAX = 6,
    STATEMENTS_MAX = 600,
    DEPTH_MAX = 12,
    NONE = -1,
};

/* What a statement is: may a callback carry it out, may it wait, has it a block, does it end one? */
enum kind { NOW, WAITS, BLOCK, ENDS };

/* Name, arguments, kind. Arguments are letters as above, with n a number, d quarters of a second, D the same or `-`;
 * r is one of t f a, R one or more of them (the last thing), o is what can be acquired: L C S. */
#define STATEMENTS(X)               \
    X(spawn, "t", NOW)              \
    X(spawn_eager, "t", NOW)        \
    X(child, "Gt", NOW)             \
    X(cancel, "r", NOW)             \
    X(cancel_with, "rn", NOW)       \
    X(uncancel, "t", NOW)           \
    X(peek, "r", NOW)               \
    X(set, "fn", NOW)               \
    X(fail, "fn", NOW)              \
    X(renew, "f", NOW)              \
    X(soon, "h:", NOW)              \
    X(later, "hd:", NOW)            \
    X(cancel_handle, "h", NOW)      \
    X(callback, "kr:", NOW)         \
    X(callback_again, "k", NOW)     \
    X(callback_remove, "k", NOW)    \
    X(release, "o", NOW)            \
    X(set_event, "E", NOW)          \
    X(clear_event, "E", NOW)        \
    X(notify, "Cn", NOW)            \
    X(notify_all, "C", NOW)         \
    X(count, "", NOW)               \
    X(put_nowait, "Qn", NOW)        \
    X(get_nowait, "Q", NOW)         \
    X(task_done, "Q", NOW)          \
    X(shutdown, "Q", NOW)           \
    X(shutdown_now, "Q", NOW)       \
    X(reschedule, "TD", NOW)        \
    X(gather_future, "aR", NOW)     \
    X(gather_future_all, "aR", NOW) \
    X(shield_future, "ar", NOW)     \
    X(look, "", NOW)                \
    X(turn, "", WAITS)              \
    X(sleep, "d", WAITS)            \
    X(await, "r", WAITS)            \
    X(await_self, "", WAITS)        \
    X(call, "t", WAITS)             \
    X(acquire, "o", WAITS)          \
    X(wait_event, "E", WAITS)       \
    X(wait_condition, "C", WAITS)   \
    X(wait_count, "Cn", WAITS)      \
    X(wait_barrier, "B", WAITS)     \
    X(reset_barrier, "B", WAITS)    \
    X(abort_barrier, "B", WAITS)    \
    X(put, "Qn", WAITS)             \
    X(get, "Q", WAITS)              \
    X(join, "Q", WAITS)             \
    X(gather, "R", WAITS)           \
    X(gather_all, "R", WAITS)       \
    X(shield, "r", WAITS)           \
    X(wait, "DR", WAITS)            \
    X(wait_first, "DR", WAITS)      \
    X(wait_exception, "DR", WAITS)  \
    X(wait_for, "Dr", WAITS)        \
    X(as_completed, "nDR", WAITS)   \
    X(wait_for_call, "D", BLOCK)    \
    X(timeout, "TD", BLOCK)         \
    X(group, "G", BLOCK)            \
    X(with, "o", BLOCK)             \
    X(try, "", BLOCK)               \
    X(repeat, "n", BLOCK)           \
    X(return, "n", ENDS)            \
    X(raise, "n", ENDS)             \
    X(raise_cancelled, "", ENDS)

enum op {
#define X(name, args, kind) OP_##name,
    STATEMENTS(X)
#undef X
        OPS
};

struct op_info {
    const char *name, *args;
    enum kind kind;
};
extern const struct op_info ops[OPS];

struct arg {
    char kind; /* its letter; 'n' a number, '-' none */
    int n;
};

struct statement {
    enum op op;
    bool ends_block; /* `!` */
    int args_n;
    struct arg args[ARGS_MAX];
    int inner; /* the first of its block, or the one for the callback; NONE */
    int other; /* the first of the block behind `finally`; NONE */
    int next;  /* in the same block; NONE */
};

enum order { FIFO, LIFO, PRIORITY };

struct script {
    uint64_t seed;
    int level; /* of asyncio: 13 is Python 3.13, 11 leaves out what differs in 3.11 */
    int permits[SEMAPHORES], parties;
    struct {
        enum order order;
        int maxsize;
    } queue[QUEUES];
    int start;       /* so many tasks are spawned at the beginning */
    int body[TASKS]; /* the first statement of each; NONE: empty */
    int tasks;
    struct statement statements[STATEMENTS_MAX];
    int statements_n;
};

/* The letter of an item of an array, such as 3 of "t". */
static inline struct arg arg_of(char kind, int n)
{
    return (struct arg){kind, n};
}

/* How many there are of what this letter stands for. */
int script_count_of(char letter);

/* A new statement at the end of the pool; NONE if it is full. */
int script_add(struct script *script, enum op op);

/* Reads one script from `text`. NULL, or what is wrong, with the line it is in. */
const char *script_parse(struct script *script, const char *text, int *out_line);

/* Writes it as script_parse reads it. */
void script_print(const struct script *script, FILE *out);

/* One statement without its block, as in the script. */
void script_print_statement(const struct script *script, const struct statement *s, char *out,
                            size_t size);

/* generate.c: the script of a seed. The same everywhere and always: the recorded traces depend on it. */
void script_generate(struct script *script, uint64_t seed, int level);

#endif
