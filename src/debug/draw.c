/* SPDX-License-Identifier: MIT
 *
 * draw.c: draws the trees of who awaits whom.
 *
 * Any thread. Elsewhere: walking them (forest.c). */
#include "debug/draw.h"

#include "base/mem.h"
#include "debug/forest.h"

#include <errno.h>
#include <string.h>

enum { MARGIN_MAX = 4096, CALL_MAX = 512, SINCE_MAX = 40 };

struct pen {
    const struct drawing *d;
    char margin[MARGIN_MAX]; /* what lines begin with */
    size_t margin_n;
    size_t before[FOREST_DEEP + 2]; /* margin_n above each open task */
    size_t deep;
};

/* False: there is no room to go further to the right. */
static bool indent(struct pen *p, bool last)
{
    const char *more = last ? "    " : "│   ";
    size_t n = strlen(more);
    if (p->margin_n + n >= MARGIN_MAX)
        return false;
    memcpy(p->margin + p->margin_n, more, n + 1);
    p->margin_n += n;
    return true;
}

static void line(struct pen *p, bool last, const char *mark, const char *words)
{
    const struct drawing *d = p->d;
    d->put(d->arg, p->margin);
    d->put(d->arg, last ? "└── " : "├── ");
    d->put(d->arg, mark);
    d->put(d->arg, words);
    d->put(d->arg, "\n");
}

static bool is_public(struct pen *p, size_t task, size_t i)
{
    char words[CALL_MAX];
    p->d->call(p->d->arg, task, i, words, sizeof words);
    return strncmp(words, "coil_", 5) == 0 && words[5] != '_';
}

/* The innermost call that is told. */
static size_t innermost(struct pen *p, size_t task, size_t n)
{
    size_t i = 0;
    if (!p->d->parked(p->d->arg, task))
        return 0;
    while (i < n && !is_public(p, task, i))
        i++;
    if (i == n)
        return 0;
    while (i + 1 < n && is_public(p, task, i + 1)) /* they call each other, too */
        i++;
    return i;
}

static void draw_calls(struct pen *p, size_t task)
{
    char words[CALL_MAX + SINCE_MAX];
    size_t n = p->d->calls(p->d->arg, task), end = innermost(p, task, n);
    for (size_t i = n; i-- > end;) {
        p->d->call(p->d->arg, task, i, words, CALL_MAX);
        if (i == end)
            p->d->since(p->d->arg, task, words + strlen(words), SINCE_MAX);
        line(p, true, " ", words);
        if (!indent(p, true))
            return;
    }
}

static void enter(void *arg, size_t task, bool last, enum forest_place place)
{
    struct pen *p = arg;
    line(p, last, "(T) ", p->d->name(p->d->arg, task));
    p->before[p->deep++] = p->margin_n;
    indent(p, last);
    if (place == FOREST_HERE)
        draw_calls(p, task);
    else
        line(p, true, "... ", place == FOREST_ABOVE ? "(see above)" : "(too deep)");
}

static void leave(void *arg, size_t task, bool last)
{
    struct pen *p = arg;
    (void)task, (void)last;
    p->margin_n = p->before[--p->deep];
    p->margin[p->margin_n] = '\0';
}

static size_t awaiters(void *arg, size_t task, const size_t **out)
{
    const struct drawing *d = ((struct pen *)arg)->d;
    return d->awaiters(d->arg, task, out);
}

static void circle(void *arg)
{
    const struct drawing *d = ((struct pen *)arg)->d;
    d->put(d->arg, "A circle of tasks that await each other:\n");
}

int coil__draw(const struct drawing *d)
{
    struct pen *p = coil__zalloc(sizeof *p);
    if (!p)
        return -ENOMEM;
    p->d = d;
    struct forest f = {.n = d->n,
                       .arg = p,
                       .awaiters = awaiters,
                       .enter = enter,
                       .leave = leave,
                       .circle = circle};
    int err = coil__forest_walk(&f);
    coil__free(p);
    return err;
}
