/* SPDX-License-Identifier: MIT
 *
 * current.c: which task is running, which there are, and what one is asked about itself.
 *
 * Nothing here changes what a task does. Runs on the loop's thread. */
#include "task/task.h"

#include <stdio.h>

coil_task *coil_current_task(void)
{
    struct coil__task *t = coil__current();
    return t ? &t->future : NULL;
}

bool coil_is_task(const coil_future *future)
{
    return future->is_task;
}

size_t coil_all_tasks(coil_loop *loop, coil_task **out, size_t capacity)
{
    if (!loop && !(loop = coil__running_loop))
        return 0;
    if (!loop->parts[LOOP_PART_TASK])
        return 0;
    struct task_part *part = coil__task_part(loop);
    size_t n = 0;
    LIST_FOREACH(link, &part->tasks) {
        if (n == capacity)
            break;
        out[n++] = coil_ref(container_of(link, coil_future, all));
    }
    return part->tasks_n;
}

const char *coil_task_get_name(const coil_task *task)
{
    return task->is_task ? ((const struct coil__task *)task)->name : "";
}

void coil_task_set_name(coil_task *task, const char *name)
{
    if (task->is_task && name)
        task_set_name(as_task(task), name);
}

coil_fn coil_task_get_fn(const coil_task *task, void **out_arg)
{
    const struct coil__task *t = (const struct coil__task *)task;
    if (out_arg)
        *out_arg = task->is_task ? t->arg : NULL;
    return task->is_task ? t->fn : NULL;
}

coil_context *coil_task_get_context(coil_task *task)
{
    if (!task->is_task)
        return NULL;
    struct coil__task *t = as_task(task);
    return t->shared_context ? t->shared_context : &t->context;
}

enum coil_task_state coil_task_state(const coil_task *task)
{
    if (task->state == COIL_FUTURE_CANCELLED)
        return COIL_TASK_CANCELLED;
    if (future_done(task))
        return COIL_TASK_DONE;
    return task == coil_current_task() ? COIL_TASK_RUNNING : COIL_TASK_PENDING;
}

const char *coil_task_waiting_on(const coil_task *task)
{
    const struct coil__task *t = (const struct coil__task *)task;
    return task->is_task && t->waiting && !t->waiting->woken ? t->waiting->cls->what : "";
}

void coil__wait_words(const struct wait *w, char *out, size_t size)
{
    char more[160];
    if (!w) {
        snprintf(out, size, "its first turn");
    } else if (!w->cls->describe) {
        snprintf(out, size, "%s", w->cls->what);
    } else {
        (void)w->cls->describe(w, more, sizeof more);
        snprintf(out, size, "%s (%s)", w->cls->what, more);
    }
}

void coil__since_words(const struct coil__task *t, char *out, size_t size)
{
    out[0] = '\0';
    if (!t->future.loop->debug || !t->waiting || !t->parked_ns)
        return;
    int64_t now = loop_now_ns(t->future.loop);
    snprintf(out, size, ", for %.1f s now",
             now > t->parked_ns ? (double)(now - t->parked_ns) / 1e9 : 0);
}

const char *coil_task_created_at(const coil_task *task, int *out_line)
{
    if (out_line)
        *out_line = task->line;
    return task->file ? task->file : "";
}
