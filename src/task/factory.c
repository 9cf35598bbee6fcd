/* SPDX-License-Identifier: MIT
 *
 * factory.c: who makes a loop's tasks: the constructor, or a factory that somebody has set.
 *
 *     coil_create_task and its like --none set--------> the constructor (coil__task_make)
 *                                   --factory(recipe)-> its word, which is the constructor's in the end
 *
 * Always true: while a factory runs, no task is made by it but those it asks the constructor for; inside it
 * coil_create_task is the constructor. The body of an eager task is not inside it.
 *
 * Runs on the loop's thread. Elsewhere: making a task (task.c). */
#include "base/opts.h"
#include "task/task.h"

int coil_loop_set_task_factory(coil_loop *loop, coil_task_factory_fn factory, void *arg)
{
    loop = coil__loop_use_current(loop);
    if (!loop)
        return (int)coil_last_error()->code;
    struct task_part *part = coil__task_part(loop);
    if (!part)
        return (int)coil_last_error()->code;
    part->factory = factory;
    part->factory_arg = factory ? arg : NULL;
    return 0;
}

coil_task_factory_fn coil_loop_get_task_factory(coil_loop *loop, void **out_arg)
{
    loop = coil__loop_use_current(loop);
    struct task_part *part = loop ? coil__task_part(loop) : NULL;
    if (!part)
        return NULL;
    if (out_arg)
        *out_arg = part->factory_arg;
    return part->factory;
}

coil_task *coil__task_by_factory(struct task_part *part, const coil_task_recipe *recipe,
                                 const coil_task_opts *opts)
{
    coil_task_opts full = *opts;
    full.size = sizeof full;
    full.loop = part->loop;
    part->in_factory = true;
    coil_task *task = part->factory(part->loop, recipe, &full, part->factory_arg);
    part->in_factory = false;
    return task ? task
                : coil__future_failed(coil__fail(COIL_ETYPE, "the task factory returned no task"));
}

coil_task *coil_task_new(coil_loop *loop, const coil_task_recipe *recipe,
                         const coil_task_opts *opts)
{
    coil_task_recipe own_recipe;
    coil_task_opts own = {0};
    if (!recipe)
        return coil__future_failed(coil__fail(-EINVAL, "a task needs a recipe"));
    recipe = OPTS_READ(recipe, own_recipe);
    if (opts)
        own = *OPTS_READ(opts, own);
    if (loop)
        own.loop = loop;
    return coil__task_make(recipe, &own, false);
}

coil_task *coil_eager_task_factory(coil_loop *loop, const coil_task_recipe *recipe,
                                   const coil_task_opts *opts, void *arg)
{
    const coil_task_factory *constructor = arg;
    if (constructor && !constructor->fn)
        return coil__future_failed(
            coil__fail(COIL_ETYPE, "the constructor of an eager task factory has no function"));
    coil_task_opts own = {0};
    if (opts)
        own = *OPTS_READ(opts, own);
    own.size = sizeof own;
    own.eager = !own.no_eager;
    return constructor ? constructor->fn(loop, recipe, &own, constructor->arg)
                       : coil_task_new(loop, recipe, &own);
}
