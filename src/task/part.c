/* SPDX-License-Identifier: MIT
 *
 * part.c: what a loop keeps for its tasks: their stacks and the list of them; what it says of them to others.
 *
 * Runs on the loop's thread. Elsewhere: how it ends its tasks (task.c). */
#include "base/mem.h"
#include "task/depth.h"
#include "task/sight.h"
#include "task/task.h"

#include <string.h>

static void describe_stack(const struct stack *stack, struct stack_about *out)
{
    const struct coil__task *t = stack->owner; /* since before its first step */
    *out = (struct stack_about){.name = t->name, .file = t->future.file, .line = t->future.line};
}

static void part_stats(struct loop_part *p, coil_loop_stats_t *out)
{
    struct task_part *part = container_of(p, struct task_part, part);
    out->tasks = part->tasks_n;
    out->stacks = part->stacks.in_use;
    out->stacks_max = part->stacks.high_water;
}

int coil_loop_trim(coil_loop *loop)
{
    loop = coil__loop_use(loop);
    if (!loop)
        return (int)coil_last_error()->code;
    struct task_part *part = coil__task_part(loop);
    return part ? (int)coil__stack_pool_trim(&part->stacks, 0, 0) : (int)coil_last_error()->code;
}

static struct coil_context *part_context_of(const coil_exception_context *context)
{
    coil_task *task = context->task ? context->task : context->future;
    return task ? coil_task_get_context(task) : NULL;
}

/* What runs without it leaves its stack as it is. */
static void part_debug_ends(struct loop_part *p)
{
    coil__depths_end(container_of(p, struct task_part, part));
}

static void part_name(const coil_exception_context *context, coil_log_record *out)
{
    const coil_future *f = context->task ? context->task : context->future;
    if (!f)
        return;
    if (!out->file) {
        out->file = f->file;
        out->line = f->line;
    }
    if (f->is_task) {
        out->task = (coil_task *)(uintptr_t)f;
        out->task_name = ((const struct coil__task *)f)->name;
    }
}

static void part_release(struct loop_part *p)
{
    struct task_part *part = container_of(p, struct task_part, part);
    coil__depths_end(part);
    coil__leaks_forget(part);
    /* Finished tasks somebody still refers to live on their stacks: those stay mapped, and the pool with them. */
    if (coil__stack_pool_fini(&part->stacks) == 0)
        coil__free(part);
}

struct task_part *coil__task_part_make(coil_loop *loop)
{
    struct task_part *part = coil__zalloc(sizeof *part);
    if (!part) {
        coil__fail_plain(-ENOMEM);
        return NULL;
    }
    int err = coil__stack_pool_init(&part->stacks, loop->stack_size);
    if (err) {
        coil__free(part);
        coil__fail(err, "%zu bytes are no size for a stack", loop->stack_size);
        return NULL;
    }
    part->stacks.describe = describe_stack;
    if (loop->debug)
        coil__depths_begin(part);
    part->part = (struct loop_part){.layout = &coil__sight_tasks,
                                    .closing = coil__tasks_close,
                                    .stats = part_stats,
                                    .context_of = part_context_of,
                                    .name = part_name,
                                    .debug_ends = part_debug_ends,
                                    .release = part_release};
    part->loop = loop;
    memcpy(part->last_name, "Task-0", 7);
    part->last_digits = 1;
    list_init(&part->tasks);
    list_init(&part->callbacks);
    list_init(&part->outers);
    list_init(&part->kept);
    loop->parts[LOOP_PART_TASK] = &part->part;
    coil__asyncgens_init();
    return part;
}
