/* SPDX-License-Identifier: MIT
 *
 * stack.h: stacks for coroutines: mapped in bulk, guarded, reused.
 *
 * A pool (one a loop, one a thread for generators) has a class for each size. A class maps arenas
 * of many slots and hands slots out, the last one returned first. One slot, addresses growing to
 * the right:
 *
 *     | guard | low ....... the coroutine's frames <-- high | reserved | struct stack | colour |
 *
 * `struct stack` stands at the top of its own slot, and what the owner reserves just below it, so
 * that a coroutine with its control block and arguments is one page. Tops are moved by a colour,
 * 128 bytes times slot % 16, so that they do not fight for the same cache sets.
 *
 * Always true:
 *   - a stack that is handed out has a guard below it; when no more guards can be had, the answer
 *     is -ENOMEM and never an unguarded stack;
 *   - a slot's guard is made once and stays, whatever pages come and go;
 *   - taking and returning a warm stack makes no system call and allocates nothing.
 *
 * A pool belongs to one thread. Elsewhere: who stands on a stack (coro.h), who says that one was
 * too small (overflow.h). */
#ifndef COIL_CORO_STACK_H
#define COIL_CORO_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coro/tooling.h"

#define STACK_CLASSES      5
#define STACK_SIZE_DEFAULT ((size_t)256 << 10)
#define STACK_SIZE_MAX     ((size_t)1 << 30) /* more than that is somebody's mistake */

struct stack_pool;
struct stack_arena;

struct stack {
    struct stack_pool *pool;
    struct stack_arena *arena;
    struct stack *next; /* in the idle list */
    char *low;          /* the lowest usable byte; the guard ends here */
    char *high;         /* where frames begin; reserving lowers it */
    void *owner;        /* the owner's own: whatever pool->describe needs to name it */
    uint32_t slot;
    uint32_t valgrind_number;
    uint8_t class_index; /* STACK_CLASSES: larger than all classes, a mapping of its own */
    bool deep;           /* came home with pages below the keep line touched */
    bool unasked;        /* measured: came home, and nobody asked how deep it has pages */
};

/* What an overflow report can say of a stack's owner; NULL and 0 where not known. */
struct stack_about {
    const char *name;
    const char *file; /* where it was made */
    int line;
};

struct stack_stats {
    size_t made;       /* slots that were ever handed out and still exist */
    size_t in_use;     /* handed out now */
    size_t high_water; /* most ever handed out at once */
    size_t idle;       /* waiting with their pages */
    size_t cold;       /* waiting without */
    size_t abandoned;  /* never coming home */
};

struct stack_class {
    struct stack *idle; /* last returned first */
    size_t size, guard; /* of a slot; it is guard + size long */
    size_t idle_n;
    size_t deep_n; /* of the idle ones, how many are deep */
    size_t cold_n;
    struct stack_arena *arenas; /* newest first; only the newest has slots never used */
};

struct stack_pool {
    struct stack_class classes[STACK_CLASSES];
    struct stack_class own;    /* sizes above the largest class: one mapping each, never kept */
    struct stack_class *usual; /* what size 0 means */
    size_t in_use, high_water, made, abandoned;
    size_t idle_max; /* warm stacks kept in each class; 0: as many as were ever out at once */
    struct stack_arena *leaving; /* an own mapping somebody still stood on when it came home */
    bool guards_by_mprotect;     /* the kernel has no MADV_GUARD_INSTALL, or memory is locked */
    bool guards_proven;          /* the other kind was seen to guard */
    bool on_valgrind;
    /* Says whose stack this is. Called from a signal handler: it may only read. NULL: nobody knows.
     * */
    void (*describe)(const struct stack *stack, struct stack_about *out_about);
    /* Told of each stack that comes home how much of it was used at most, in bytes from its top, the first page in any case: then stacks are cleaned as well, and
     * all must have been since the pool was new. NULL: not measured. */
    void (*measured)(const struct stack *stack, size_t used);
    unsigned careful, unasked; /* so many are all asked for; so many were not */
};

/* `default_size` is what a size of 0 gets; 0: 256 KB. Maps nothing yet. -EINVAL: an absurd size. */
int coil__stack_pool_init(struct stack_pool *pool, size_t default_size);

/* Unmaps everything. Returns how many stacks are not home (abandoned ones aside): their arenas stay
 * mapped, and the pool must then stay where it is until they come home. */
size_t coil__stack_pool_fini(struct stack_pool *pool);

/* A stack with at least `size` bytes, 2.5 KB at the top aside; size 0: the pool's default. What it
 * holds is not zeroed. -EINVAL: beyond STACK_SIZE_MAX. -ENOMEM: no memory, or no more mappings for
 * guards (the record says which sysctl). */
int coil__stack_get(struct stack_pool *pool, size_t size, struct stack **out_stack);

/* Takes a stack back that nobody stands on. */
void coil__stack_put(struct stack *stack);

/* Takes a stack back that the caller stands on: legal only as the last thing before
 * coil__coro_exit_to, since the next coil__stack_get may hand it out again. */
void coil__stack_put_leaving(struct stack *stack);

/* The coroutine on it will never run again and was not unwound: its memory stays as it is for ever.
 * */
void coil__stack_abandon(struct stack *stack);

/* Carves n bytes off the top, 64-byte aligned, before a coroutine is made on it. NULL: too little
 * would remain (8 KB). */
void *coil__stack_reserve(struct stack *stack, size_t n);

/* Gives the pages of idle stacks back, but for `keep` stacks in each class, at most `max` of them
 * (0: all); returns how many. For a loop that is about to sleep. */
size_t coil__stack_pool_trim(struct stack_pool *pool, size_t keep, size_t max);

/* How much of it was ever touched since its pages were new, in bytes from the top. Slow: it looks
 * at each word. */
size_t coil__stack_used(const struct stack *stack);

void coil__stack_pool_stats(const struct stack_pool *pool, struct stack_stats *out_stats);

/* The whole of it, as its owner asked for it. */
static inline size_t stack_bytes(const struct stack *stack)
{
    return (size_t)((const char *)stack + sizeof *stack - stack->low);
}

/* The lowest byte of the guard. */
char *coil__stack_guard(const struct stack *stack);

#endif
