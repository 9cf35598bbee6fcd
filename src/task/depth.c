/* SPDX-License-Identifier: MIT
 *
 * depth.c: how deep the stacks of each function's tasks went; debug mode.
 *
 *     task ends --> its stack comes home (coro/stack.c measures) --> [ function: most used, of how much ] --> nearly full? told once
 *
 * Loops that are in debug mode when their first task is made have such a table, until debug mode is switched off. Under
 * Valgrind there is none: it would have words to say of each one that is read.
 *
 * Always true:
 *   - without memory a function is left out, and nothing fails.
 *
 * Runs on the loop's thread. */
#include "task/depth.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "base/symbols.h"
#include "task/task.h"

#include <string.h>

enum { PLACES_MIN = 16, PLACES_MAX = 4096, KB = 1024 };

/* ---- the table ---- */

static struct depth *place_of(struct depths *d, coil_fn fn)
{
    size_t at = ((uintptr_t)fn >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    for (;; at++) {
        struct depth *place = &d->table[at & (d->places - 1)];
        if (!place->fn || place->fn == fn)
            return place;
    }
}

static bool grow(struct depths *d)
{
    struct depths larger = {.places = d->places ? d->places * 2 : PLACES_MIN, .n = d->n};
    if (larger.places > PLACES_MAX)
        return false;
    larger.table = coil__zalloc(larger.places * sizeof *larger.table);
    if (!larger.table)
        return false;
    for (size_t i = 0; i < d->places; i++)
        if (d->table[i].fn)
            *place_of(&larger, d->table[i].fn) = d->table[i];
    coil__free(d->table);
    *d = larger;
    return true;
}

/* NULL: there is no room. */
static struct depth *find_or_add(struct depths *d, coil_fn fn)
{
    struct depth *known = d->table ? place_of(d, fn) : NULL;
    if (known && known->fn)
        return known;
    if (d->n * 4 >= d->places * 3 && !grow(d) && d->n + 1 >= d->places)
        return NULL;
    struct depth *added = place_of(d, fn); /* the table may be another one */
    d->n++;
    added->fn = fn;
    return added;
}

/* ---- measured stacks ---- */

static void tell(struct task_part *part, const struct depth *d)
{
    coil_frame frame;
    char text[400];
    coil__symbols_find(NULL, (const void *)(uintptr_t)d->fn, &frame);
    snprintf(text, sizeof text,
             "The stack of %s is nearly full: %zu of %zu KiB were used; give its tasks a larger "
             "stack_size",
             frame.function[0] ? frame.function : "a task", (d->used + KB - 1) / KB, d->whole / KB);
    coil__loop_report(part->loop, "stack-nearly-full", text, 0, NULL, NULL);
}

static void stack_measured(const struct stack *stack, size_t used)
{
    struct task_part *part = container_of(stack->pool, struct task_part, stacks);
    const struct coil__task *t = stack->owner;
    const struct origin *origin = t ? future_origin(&t->future) : NULL;
    if (!origin || !t->started)
        return;
    struct depth *d = find_or_add(&part->depths, origin->body);
    if (!d)
        return;
    size_t whole = (stack_bytes(stack) + KB - 1) / KB * KB;
    d->tasks++;
    /* As a share: a function's tasks may have stacks of several sizes. */
    if (d->whole && (double)used / (double)whole <= (double)d->used / (double)d->whole)
        return;
    d->used = used;
    d->whole = whole;
    if (used > whole / 8 * 7 && !d->told) {
        d->told = true;
        struct depth told = *d; /* the handler may make tasks, and the table another */
        tell(part, &told);
    }
}

void coil__depths_begin(struct task_part *part)
{
    if (!part->stacks.on_valgrind)
        part->stacks.measured = stack_measured;
}

void coil__depths_end(struct task_part *part)
{
    part->stacks.measured = NULL;
    coil__free(part->depths.table);
    part->depths = (struct depths){.n = 0};
}

/* ---- the public call ---- */

/* Is a's stack the fuller one? Equals go by address, so that each has a rank of its own. */
static bool is_before(const struct depth *a, const struct depth *b)
{
    double share_a = (double)a->used / (double)a->whole;
    double share_b = (double)b->used / (double)b->whole;
    return share_a > share_b || (share_a >= share_b && (uintptr_t)a->fn < (uintptr_t)b->fn);
}

static const struct depth *ranked(const struct depths *d, size_t rank)
{
    const struct depth *last = NULL;
    if (rank >= d->n)
        return NULL;
    for (size_t r = 0; r <= rank; r++) {
        const struct depth *best = NULL;
        for (size_t i = 0; i < d->places; i++) {
            const struct depth *one = &d->table[i];
            if (one->fn && (!last || is_before(last, one)) && (!best || is_before(one, best)))
                best = one;
        }
        last = best;
    }
    return last;
}

int coil_loop_stack_use(coil_loop *loop, size_t rank, coil_stack_use *out)
{
    if (!out)
        return (int)coil__fail(-EINVAL, "there is no coil_stack_use to fill in (NULL)");
    loop = coil__loop_use_current(loop);
    if (!loop)
        return (int)coil_last_error()->code;
    struct task_part *part = loop->parts[LOOP_PART_TASK] ? coil__task_part(loop) : NULL;
    const struct depth *d = part ? ranked(&part->depths, rank) : NULL;
    if (!d)
        return (int)coil__fail(-ENOENT, "the stacks of %zu functions were measured",
                               part ? part->depths.n : 0);
    coil_stack_use use = {.size = out->size,
                          .fn = d->fn,
                          .used_bytes = d->used,
                          .stack_bytes = d->whole,
                          .tasks = d->tasks};
    size_t known = out->size > 0 && out->size < sizeof use ? out->size : sizeof use;
    memcpy(out, &use, known);
    return 0;
}
