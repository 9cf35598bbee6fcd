/* SPDX-License-Identifier: MIT
 *
 * objects.c: which lock, event or queue it is, and who else waits for it.
 *
 * Such an object is a plain value of the program, wherever it put it: a variable has a name; what lies in the frame of a task is
 * said to be on its stack; of the rest there is only the address.
 *
 * Elsewhere: finding them (seen.c), names (functions.c). */
#include "cmd/objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A task that stands in a line; or that has a stack below its own address. */
struct entry {
    uint64_t at;
    size_t place;
};

static int by_address(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* The task whose stack this address lies on; NULL. */
static const struct seen_task *stack_owner(const struct seen_loop *l, const struct entry *tasks,
                                           uint64_t address)
{
    size_t low = 0,
           high = l->tasks_n; /* a task lies above its own stack, and below the next one's */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (tasks[middle].at <= address)
            low = middle + 1;
        else
            high = middle;
    }
    const struct seen_task *t = low < l->tasks_n ? &l->tasks[tasks[low].place] : NULL;
    return t && t->stack_low && address >= t->stack_low ? t : NULL;
}

static void name_one(const struct seen_loop *l, const struct entry *tasks, struct functions *f,
                     struct peer *p, struct seen_task *t)
{
    functions_variable(f, p, t->object, t->which, sizeof t->which);
    if (t->which[0])
        return;
    const struct seen_task *owner = stack_owner(l, tasks, t->object);
    if (owner)
        snprintf(t->which, sizeof t->which, "0x%llx on the stack of %s",
                 (unsigned long long)t->object, owner->name);
    else
        snprintf(t->which, sizeof t->which, "0x%llx", (unsigned long long)t->object);
}

/* Those of one line know of each other. */
static void introduce(struct seen_loop *l, const struct entry *line, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct seen_task *t = &l->tasks[line[i].place];
        size_t k = 0;
        for (size_t other = 0; other < n && k < SEEN_ALSO; other++)
            if (other != i)
                t->also[k++] = line[other].place;
        t->also_n = n - 1;
    }
}

static size_t collect(const struct seen_loop *l, struct entry *lines, struct entry *tasks)
{
    size_t n = 0;
    for (size_t i = 0; i < l->tasks_n; i++) {
        const struct seen_task *t = &l->tasks[i];
        tasks[i] = (struct entry){t->at, i};
        if (t->state == SEEN_WAITING && t->in_line)
            lines[n++] = (struct entry){t->in_line, i};
    }
    qsort(tasks, l->tasks_n, sizeof *tasks, by_address);
    qsort(lines, n, sizeof *lines, by_address);
    return n;
}

void objects_name(struct seen_loop *l, struct functions *f, struct peer *p)
{
    struct entry *lines = malloc((2 * l->tasks_n + 1) * sizeof *lines);
    if (!lines)
        return;
    struct entry *tasks = lines + l->tasks_n;
    size_t n = collect(l, lines, tasks);
    for (size_t i = 0, end; i < n; i = end) {
        struct seen_task *first = &l->tasks[lines[i].place];
        name_one(l, tasks, f, p, first);
        for (end = i + 1; end < n && lines[end].at == lines[i].at; end++)
            memcpy(l->tasks[lines[end].place].which, first->which, sizeof first->which);
        introduce(l, lines + i, end - i);
    }
    free(lines);
}
