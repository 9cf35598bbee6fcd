/* SPDX-License-Identifier: MIT
 *
 * stack.c: where a task stands.
 *
 *     not begun          its function, about to be called
 *     parked             what it called, down to the call that waits; in a generator, that one's first
 *     the current task   from whoever asks
 *     in between         it has begun an eager task, and goes on when that one waits: as if parked
 *     done               nothing
 *
 * Runs on the thread of the task's loop. Elsewhere: walking a stack (coro/frames.h), names (symbols.h). */
#include "debug/stack.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/symbols.h"

#include <stdarg.h>

/* Who stands at the bottom of it: the coroutine that drives all others. */
static struct coro *bottom_of(struct coro *co)
{
    while (co->resumer)
        co = co->resumer;
    return co;
}

/* The coroutine that a task was running when it began an eager one; NULL: it did not. */
static const struct coro *left_for_another(const struct coil__task *t)
{
    const struct coil__task *running = coil__current();
    while (running && running->back) {
        struct coro *bottom = bottom_of(running->back);
        if (bottom == &t->coro)
            return running->back;
        if (!bottom->stack) /* the hub */
            return NULL;
        running = container_of(bottom, struct coil__task, coro);
    }
    return NULL;
}

/* Where the walk begins; co is NULL where there is nothing to walk. */
static struct frame innermost(const struct coil__task *t, struct frame here, size_t *skip)
{
    if (t == coil__current())
        return here;
    *skip = 0;
    const struct coro *left = t->waiting ? NULL : left_for_another(t);
    if (left)
        return coil__frames_stopped(left);
    if (!t->waiting)
        return (struct frame){.co = NULL};
    *skip = 1; /* coil__park_task */
    return coil__frames_stopped(t->leaf);
}

size_t coil__stack_of(const coil_task *task, struct frame here, size_t skip, const void **out,
                      size_t capacity)
{
    if (!task->is_task || future_done(task) || loop_is_foreign(task->loop))
        return 0;
    const struct coil__task *t = (const struct coil__task *)task;
    if (!t->started) {
        if (capacity > 0)
            out[0] = (const void *)(uintptr_t)coil__task_body(t);
        return 1;
    }
    struct frame from = innermost(t, here, &skip);
    size_t n = coil__frames(from, skip, out, capacity);
    /* What lies beyond a frame that is none is nothing. */
    for (size_t i = 0; i < n && i < capacity; i++)
        if (!coil__symbols_is_code(out[i]))
            return i;
    return n;
}

/* ---- the public calls ---- */

/* Allocated, all of them, innermost first; NULL without memory or if there are none. */
static const void **whole_stack(const coil_task *task, struct frame here, size_t *out_n)
{
    size_t n = coil__stack_of(task, here, 0, NULL, 0);
    const void **all = n ? coil__alloc(n * sizeof *all) : NULL;
    *out_n = all ? coil__stack_of(task, here, 0, all, n) : 0;
    return all;
}

size_t coil_task_get_stack(coil_task *task, const void **out_addresses, size_t capacity)
{
    if (!task)
        return 0;
    if (!out_addresses)
        capacity = 0;
    size_t n;
    const void **all = whole_stack(task, frames_here(), &n);
    for (size_t i = 0; i < n && i < capacity; i++)
        out_addresses[(n < capacity ? n : capacity) - 1 - i] = all[i];
    coil__free((void *)all);
    return n;
}

static void print_task(const coil_task *task, FILE *file)
{
    static const char *const states[] = {"pending", "cancelled", "finished"};
    char words[512];
    struct text t = {.out = words, .size = sizeof words};
    const char *name = coil_task_get_name(task);
    coil__text_add(&t, "<%s %s", task->cls->name, states[task->state]);
    if (*name) {
        coil__text_add(&t, " name=");
        coil__text_quote(&t, '\'', name);
    }
    if (task->file)
        coil__text_add(&t, " created at %s:%d", task->file, task->line);
    fprintf(file, "%s>", words);
}

static void print_error(const coil_task *task, FILE *file)
{
    char words[2048];
    if (coil_error_format(coil__error_show(task->error, task->result), words, sizeof words) > 0)
        fprintf(file, "%s\n", words);
}

void coil_task_print_stack(coil_task *task, size_t limit, FILE *file)
{
    if (!task)
        return;
    if (!file)
        file = stdout;
    size_t n;
    const void **all = whole_stack(task, frames_here(), &n);
    bool failed = task->state == COIL_FUTURE_FINISHED && coil_iserr(task->result);
    fputs(n ? "Stack for " : failed ? "Traceback for " : "No stack for ", file);
    print_task(task, file);
    fputs(n || failed ? " (most recent call last):\n" : "\n", file);
    for (size_t i = limit && limit < n ? limit : n; i-- > 0;) {
        coil_frame frame;
        coil__symbols_find(NULL, all[i], &frame);
        fprintf(file, "  File \"%s\", at %#zx, in %s\n", frame.file, frame.file_address,
                frame.function[0] ? frame.function : "?");
    }
    if (failed)
        print_error(task, file);
    coil__free((void *)all);
}

/* ---- text ---- */

void coil__text_add(struct text *t, const char *fmt, ...)
{
    size_t room = t->n < t->size ? t->size - t->n : 0;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(room ? t->out + t->n : NULL, room, fmt, args);
    va_end(args);
    t->n += n > 0 ? (size_t)n : 0;
}

void coil__text_quote(struct text *t, char quote, const char *words)
{
    coil__text_add(t, "%c", quote);
    for (const char *c = words; *c; c++) {
        unsigned char u = (unsigned char)*c;
        if (u < ' ' || u == 127)
            coil__text_add(t, "\\x%02x", u);
        else
            coil__text_add(t, u == (unsigned char)quote || u == '\\' ? "\\%c" : "%c", u);
    }
    coil__text_add(t, "%c", quote);
}
