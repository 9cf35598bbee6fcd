/* SPDX-License-Identifier: MIT
 *
 * pstree.c: `coil pstree`: who awaits whom in another program.
 *
 * Elsewhere: looking (seen.c), words (look.c). The form is that of `python -m asyncio pstree`. */
#include "cmd/look.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEEP = 200 }; /* levels of a tree that are drawn */

struct tree {
    struct target *target;
    struct seen_loop *loop;
    size_t *first, *awaits;  /* whom each task awaits: awaits[first[i] .. first[i + 1]) */
    bool last[2 * DEEP + 2]; /* of each level that is open: is this its last child? */
};

static void branch(const struct tree *t, size_t level, bool last)
{
    for (size_t i = 1; i < level; i++)
        printf("%s", t->last[i] ? "    " : "│   ");
    printf("%s", last ? "└── " : "├── ");
}

/* The calls as one branch from the outermost in, and below the innermost whom it awaits. */
static void draw(struct tree *t, size_t place, size_t level, bool last)
{
    struct seen_task *task = &t->loop->tasks[place];
    size_t n = t->first[place + 1] - t->first[place];
    char name[96];
    branch(t, level, last);
    printf("(T) %s\n", task->name);
    t->last[level] = last;
    if (task->mark || level >= DEEP) {
        branch(t, level + 1, true);
        printf("%s\n", task->mark ? "... (see above)" : "... (too deep)");
        return;
    }
    task->mark =
        true; /* drawn once: who awaits two of those who await it would double it at each level */
    for (size_t i = task->calls_n; i-- > 0 && level + 1 < 2 * DEEP;) {
        look_call(t->target, task->calls[i], name, sizeof name);
        branch(t, ++level, true);
        printf(" %s\n", name);
        t->last[level] = true;
    }
    for (size_t i = 0; i < n; i++)
        draw(t, t->awaits[t->first[place] + i], level + 1, i + 1 == n);
}

/* Turns "awaited by" round. */
static bool turn_round(struct tree *t)
{
    size_t n = t->loop->tasks_n, edges = 0;
    for (size_t i = 0; i < n; i++)
        edges += t->loop->tasks[i].awaited_by_n;
    t->first = calloc(n + 2, sizeof *t->first);
    t->awaits = calloc(edges + 1, sizeof *t->awaits);
    if (!t->first || !t->awaits)
        return false;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < t->loop->tasks[i].awaited_by_n; k++)
            t->first[t->loop->tasks[i].awaited_by[k] + 2]++;
    for (size_t i = 2; i < n + 2; i++)
        t->first[i] += t->first[i - 1];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < t->loop->tasks[i].awaited_by_n; k++)
            t->awaits[t->first[t->loop->tasks[i].awaited_by[k] + 1]++] = i;
    return true;
}

static void reach(struct tree *t, size_t place, char *reached)
{
    /* By hand: chains are as long as programs make them. */
    size_t *stack = malloc((t->loop->tasks_n + 1) * sizeof *stack), n = 0;
    if (!stack)
        return;
    stack[n++] = place;
    reached[place] = 1;
    while (n > 0) {
        size_t at = stack[--n];
        for (size_t i = t->first[at]; i < t->first[at + 1]; i++)
            if (!reached[t->awaits[i]]) {
                reached[t->awaits[i]] = 1;
                stack[n++] = t->awaits[i];
            }
    }
    free(stack);
}

static int print_tree(struct target *target)
{
    for (size_t i = 0; i < target->seen.loops_n; i++) {
        struct tree t = {.target = target, .loop = &target->seen.loops[i]};
        size_t n = t.loop->tasks_n;
        look_print_loop(t.loop);
        char *reached = calloc(n + 1, 1);
        if (!turn_round(&t) || !reached)
            return complain(EXIT_TROUBLE, ENOMEM, "cannot draw");
        for (size_t k = 0; k < n; k++) {
            if (t.loop->tasks[k].awaited_by_n == 0) {
                reach(&t, k, reached);
                draw(&t, k, 1, true);
            }
        }
        for (size_t k = 0; k < n; k++) {
            if (!reached[k]) { /* nobody outside awaits any of them: they wait for each other */
                printf("A circle of tasks that await each other:\n");
                reach(&t, k, reached);
                draw(&t, k, 1, true);
            }
        }
        free(reached);
        free(t.first);
        free(t.awaits);
    }
    return 0;
}

/* ---- the verb ---- */

static int pstree(int argc, char **argv)
{
    return look_at(argc, argv, false, print_tree);
}

const struct verb verb_pstree = {
    .name = "pstree",
    .arguments = "PID | --core FILE",
    .summary = "Draw who awaits whom in a program",
    .text = LOOK_HOW,
    .run = pstree,
};
