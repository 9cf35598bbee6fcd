/* SPDX-License-Identifier: MIT
 *
 * forest.c: walks the trees of who awaits whom.
 *
 * What is known is who awaits each task. Turned round, each task has the list of those that it awaits:
 *
 *     first[i] .. first[i + 1]  --> in `awaits`: the tasks that task i awaits
 *
 * Always true:
 *   - each task's subtree is walked once;
 *   - every task is come to, unless it lies too deep: what no root reaches goes in circles;
 *   - nothing here calls itself: chains are as long as programs make them, and our stack may be small.
 *
 * Any thread. Elsewhere: drawing (draw.c); the tasks of this process (tree.c) and of another one (cmd/). */
#include "debug/forest.h"

#include "base/mem.h"

#include <errno.h>

struct walk {
    const struct forest *f;
    size_t *first, *awaits;
    size_t *stack; /* of reach() */
    bool *reached, *drawn;
    size_t path[FOREST_DEEP],
        next[FOREST_DEEP]; /* from the root down; whom to go to next, in `awaits` */
    bool last[FOREST_DEEP];
    size_t deep;
};

static size_t count_edges(const struct forest *f)
{
    const size_t *by;
    size_t edges = 0;
    for (size_t i = 0; i < f->n; i++)
        edges += f->awaiters(f->arg, i, &by);
    return edges;
}

static void turn_round(struct walk *w)
{
    const struct forest *f = w->f;
    const size_t *by;
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = f->awaiters(f->arg, i, &by); k-- > 0;)
            w->first[by[k] + 2]++;
    for (size_t i = 2; i < f->n + 2; i++)
        w->first[i] += w->first[i - 1];
    /* Each list is filled from its beginning, which so becomes the next one's. */
    for (size_t i = 0; i < f->n; i++) {
        size_t n = f->awaiters(f->arg, i, &by);
        for (size_t k = 0; k < n; k++)
            w->awaits[w->first[by[k] + 1]++] = i;
    }
}

static void reach(struct walk *w, size_t root)
{
    size_t n = 0;
    w->stack[n++] = root;
    w->reached[root] = true;
    while (n > 0) {
        size_t at = w->stack[--n];
        for (size_t i = w->first[at]; i < w->first[at + 1]; i++) {
            if (w->reached[w->awaits[i]])
                continue;
            w->reached[w->awaits[i]] = true;
            w->stack[n++] = w->awaits[i];
        }
    }
}

static void enter(struct walk *w, size_t task, bool last)
{
    const struct forest *f = w->f;
    enum forest_place place = w->drawn[task]           ? FOREST_ABOVE
                              : w->deep == FOREST_DEEP ? FOREST_CUT
                                                       : FOREST_HERE;
    f->enter(f->arg, task, last, place);
    if (place != FOREST_HERE) {
        f->leave(f->arg, task, last);
        return;
    }
    w->drawn[task] = true;
    w->path[w->deep] = task;
    w->next[w->deep] = w->first[task];
    w->last[w->deep++] = last;
}

static void walk_tree(struct walk *w, size_t root)
{
    reach(w, root);
    enter(w, root, true);
    while (w->deep > 0) {
        size_t at = w->deep - 1, end = w->first[w->path[at] + 1], next = w->next[at]++;
        if (next < end) {
            enter(w, w->awaits[next], next + 1 == end);
        } else {
            w->f->leave(w->f->arg, w->path[at], w->last[at]);
            w->deep--;
        }
    }
}

static void walk_all(struct walk *w)
{
    const struct forest *f = w->f;
    const size_t *by;
    for (size_t i = 0; i < f->n; i++)
        if (f->awaiters(f->arg, i, &by) == 0)
            walk_tree(w, i);
    for (size_t i = 0; i < f->n; i++) {
        if (w->reached[i])
            continue;
        f->circle(f->arg);
        walk_tree(w, i);
    }
}

int coil__forest_walk(const struct forest *f)
{
    int err = -ENOMEM;
    size_t n = f->n + 2;
    struct walk *w = coil__zalloc(sizeof *w);
    if (!w)
        return err;
    w->f = f;
    w->first = coil__zalloc(n * sizeof *w->first);
    w->awaits = coil__alloc((count_edges(f) + 1) * sizeof *w->awaits);
    w->stack = coil__alloc(n * sizeof *w->stack);
    w->reached = coil__zalloc(2 * n);
    if (w->first && w->awaits && w->stack && w->reached) {
        w->drawn = w->reached + n;
        turn_round(w);
        walk_all(w);
        err = 0;
    }
    coil__free(w->reached);
    coil__free(w->stack);
    coil__free(w->awaits);
    coil__free(w->first);
    coil__free(w);
    return err;
}
