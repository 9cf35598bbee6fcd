/* SPDX-License-Identifier: MIT
 *
 * tree.c: the tasks of a loop of this process, drawn as `coil pstree` draws those of another one.
 *
 *     task.callbacks --by--> gather's future --by--> ... --> the task that awaits
 *
 * Runs on the loop's thread. Elsewhere: drawing (draw.c), where a task stands (stack.c), reading another process (cmd/). */
#include "base/error.h"
#include "base/mem.h"
#include "base/symbols.h"
#include "debug/draw.h"
#include "debug/stack.h"
#include "loop/sight.h"

#include <stdlib.h>
#include <string.h>

enum {
    CALLS_MAX = 64,  /* of a task that are drawn, the innermost */
    FUTURES_MAX = 64 /* between a task and those that await it */
};

struct known {
    const coil_future *task;
    size_t place;
};

struct tree {
    coil_loop *loop;
    size_t n;
    const struct coil__task **tasks; /* in the order of their making */
    struct known *known;             /* the same by address */
    size_t *awaiters,
        *first; /* awaiters[first[i] .. first[i + 1]): the places of those that await task i */
    size_t awaiters_n, awaiters_room;
    struct frame here;
    struct symbols *symbols; /* NULL: no memory for it; slower */
    const void *calls[CALLS_MAX];
    char name[ERROR_NAME_MAX];
    FILE *file;
    size_t text_n; /* of `text`, not yet in the file */
    char text[4096];
};

/* ---- who awaits whom ---- */

static int by_address(const void *a, const void *b)
{
    const struct known *x = a, *y = b;
    return (x->task > y->task) - (x->task < y->task);
}

static int add_awaiter(struct tree *t, size_t task, size_t awaiter)
{
    for (size_t i = t->first[task]; i < t->awaiters_n; i++)
        if (t->awaiters[i] == awaiter)
            return 0;
    if (t->awaiters_n == t->awaiters_room) {
        size_t room = t->awaiters_room ? 2 * t->awaiters_room : 64;
        size_t *more = coil__realloc(t->awaiters, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        t->awaiters = more;
        t->awaiters_room = room;
    }
    t->awaiters[t->awaiters_n++] = awaiter;
    return 0;
}

/* Through gather's futures and the like to tasks. */
static int find_awaiters(struct tree *t, size_t task)
{
    const coil_future *todo[FUTURES_MAX];
    size_t n = 0;
    todo[n++] = &t->tasks[task]->future;
    while (n > 0) {
        const coil_future *f = todo[--n];
        LIST_FOREACH(link, &f->callbacks) {
            const coil_future *by = container_of(link, struct future_callback, link)->by;
            struct known key = {.task = by};
            const struct known *found = by ? bsearch(&key, t->known, t->n, sizeof key, by_address)
                                           : NULL;
            if (found && add_awaiter(t, task, found->place) < 0)
                return -ENOMEM;
            if (by && !found && !by->is_task && n < FUTURES_MAX)
                todo[n++] = by;
        }
    }
    return 0;
}

/* 0 or -ENOMEM; what was taken is given back by the caller. */
static int collect(struct tree *t)
{
    struct task_part *part = coil__task_part(t->loop);
    if (!part)
        return -ENOMEM;
    size_t room = part->tasks_n + 1;
    t->tasks = coil__alloc(room * sizeof(struct coil__task *));
    t->known = coil__alloc(room * sizeof *t->known);
    t->first = coil__zalloc(room * sizeof *t->first);
    if (!t->tasks || !t->known || !t->first)
        return -ENOMEM;
    LIST_FOREACH(link, &part->tasks) {
        const struct coil__task *task = container_of(link, struct coil__task, future.all);
        if (t->n == part->tasks_n)
            break;
        t->known[t->n] = (struct known){&task->future, t->n};
        t->tasks[t->n++] = task;
    }
    qsort(t->known, t->n, sizeof *t->known, by_address);
    int err = 0;
    for (size_t i = 0; i < t->n && !err; i++) {
        t->first[i] = t->awaiters_n;
        err = find_awaiters(t, i);
        t->first[i + 1] = t->awaiters_n;
    }
    return err;
}

/* ---- drawing ---- */

static size_t awaiters(void *arg, size_t task, const size_t **out)
{
    struct tree *t = arg;
    size_t n = t->first[task + 1] - t->first[task];
    *out = n ? t->awaiters + t->first[task]
             : NULL; /* where nobody awaits anybody there is no list at all */
    return n;
}

/* Without what a terminal would obey. */
static const char *name(void *arg, size_t task)
{
    struct tree *t = arg;
    snprintf(t->name, sizeof t->name, "%s", t->tasks[task]->name);
    for (char *c = t->name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    return t->name;
}

/* Those of one task, for `call`, which is asked for them next. */
static size_t calls(void *arg, size_t task)
{
    struct tree *t = arg;
    size_t n = coil__stack_of(&t->tasks[task]->future, t->here, 0, t->calls, CALLS_MAX);
    return n < CALLS_MAX ? n : CALLS_MAX;
}

static bool parked(void *arg, size_t task)
{
    return ((struct tree *)arg)->tasks[task] != coil__current();
}

static void call(void *arg, size_t task, size_t i, char *out, size_t n)
{
    struct tree *t = arg;
    coil_frame frame;
    (void)task;
    coil__symbols_find(t->symbols, t->calls[i], &frame);
    if (frame.function[0])
        snprintf(out, n, "%s", frame.function);
    else
        snprintf(out, n, "%#zx", frame.file_address);
}

static void since(void *arg, size_t task, char *out, size_t n)
{
    const struct coil__task *t = ((struct tree *)arg)->tasks[task];
    out[0] = '\0';
    if (t->waiting && !t->waiting->woken)
        coil__since_words(t, out, n);
}

static void flush(struct tree *t)
{
    fwrite(t->text, 1, t->text_n, t->file);
    t->text_n = 0;
}

static void put(void *arg, const char *text)
{
    struct tree *t = arg;
    for (size_t n = strlen(text), part; n > 0; n -= part, text += part) {
        part = sizeof t->text - t->text_n < n ? sizeof t->text - t->text_n : n;
        memcpy(t->text + t->text_n, text, part);
        t->text_n += part;
        if (t->text_n == sizeof t->text)
            flush(t);
    }
}

static void put_number(struct tree *t, const char *before, size_t n, const char *one,
                       const char *many)
{
    char words[80];
    if (n == 0)
        return;
    snprintf(words, sizeof words, "%s%zu %s", before, n, n == 1 ? one : many);
    put(t, words);
}

/* As `coil ps` says it. */
static void put_loop(struct tree *t)
{
    coil_loop_stats_t s = {.size = sizeof s};
    char words[160];
    coil_loop_stats(t->loop, &s);
    snprintf(words, sizeof words, "loop %p, thread %d, %s%s%s: %zu %s", (void *)t->loop,
             (int)t->loop->thread_id, t->loop->backend_class->name,
             t->loop->clock.is_virtual ? ", virtual time" : "",
             t->loop->debug ? ", debug mode" : "", t->n, t->n == 1 ? "task" : "tasks");
    put(t, words);
    put_number(t, ", ", s.ready, "callback ready", "callbacks ready");
    put_number(t, ", ", s.timers, "timer", "timers");
    put_number(t, ", ", s.ops, "operation", "operations");
    put_number(t, ", ", s.fds, "descriptor", "descriptors");
    put_number(t, ", ", s.jobs, "thread job", "thread jobs");
    put(t, "\n");
    size_t others = coil__sight_count() - 1;
    put_number(t, "  There are ", others, "other loop", "other loops");
    if (others > 0)
        put(t, " in this program.\n");
}

static int print(struct tree *t)
{
    struct drawing d = {.arg = t,
                        .awaiters = awaiters,
                        .name = name,
                        .calls = calls,
                        .parked = parked,
                        .call = call,
                        .since = since,
                        .put = put};
    int err = collect(t);
    if (!err) {
        put_loop(t);
        d.n = t->n;
        err = coil__draw(&d);
        flush(t);
    }
    coil__free(t->awaiters);
    coil__free(t->first);
    coil__free(t->known);
    coil__free(t->tasks);
    return err;
}

int coil_loop_print_tree(coil_loop *loop, FILE *file)
{
    if (!(loop = coil__loop_use_current(loop)))
        return (int)coil_last_error()->code;
    struct tree *t = coil__zalloc(sizeof *t);
    if (!t)
        return (int)coil__fail_plain(-ENOMEM);
    t->loop = loop;
    t->file = file ? file : stdout;
    t->here = frames_here();
    t->symbols = coil__zalloc(sizeof *t->symbols);
    int err = print(t);
    coil__free(t->symbols);
    coil__free(t);
    return err ? (int)coil__fail_plain(err) : 0;
}
