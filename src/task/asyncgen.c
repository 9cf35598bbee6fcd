/* SPDX-License-Identifier: MIT
 *
 * asyncgen.c: generators that belong to a loop, because one of its tasks made their first step.
 *
 * A generator that waits needs no more than a task that drives it. What is here is for the others' sake: the
 * loop can find those that nobody finished, and one whose last reference went in another thread is ended
 * where it can be, by a task.
 *
 * Always true: whoever is handed a generator (coil__gen_take) has the only way to it that a loop had, so it is
 * ended once.
 *
 * Runs on the loop's thread. Elsewhere: the list of them (coro/gen.c), closing all (combine/asyncgens.c). */
#include "coro/gen.h"
#include "task/task.h"

#include <stdio.h>

void coil__asyncgen_report(coil_loop *loop, coil_gen *gen, const char *what, coil_ret code,
                           const coil_error *error)
{
    char text[256];
    int line;
    const char *file = coil__gen_made_at(gen, &line);
    snprintf(text, sizeof text, "generator %s (%s:%d) %s", coil_gen_name(gen), file, line, what);
    coil_exception_context context = {.size = sizeof context,
                                      .message = text,
                                      .code = code,
                                      .error = error,
                                      .fd = -1,
                                      .asyncgen = gen,
                                      .kind = "generator-error",
                                      .file = file,
                                      .line = line};
    coil_loop_call_exception_handler(loop, &context);
}

/* ---- the first step ---- */

static struct inbox *begins(coil_gen *gen)
{
    struct coil__task *t = coil__current();
    coil_loop *loop = t ? t->future.loop : NULL;
    if (!loop || loop->closing)
        return NULL;
    if (coil__task_part(loop)->asyncgens_shut)
        coil__asyncgen_report(loop, gen, "was begun after coil_loop_shutdown_asyncgens()", 0, NULL);
    return loop->inbox;
}

/* ---- orphans ---- */

static void close_for_good(coil_loop *loop, coil_gen *gen)
{
    int rc = coil_gen_close(gen);
    if (rc < 0 && rc != -ECANCELED)
        coil__asyncgen_report(loop, gen, "failed while it was closed", rc, coil_last_error());
    coil_gen_unref(gen);
}

/* One task an orphan, each takes the first that is left: coil_loop_shutdown_asyncgens may have been quicker. */
static coil_ret close_an_orphan(void *arg)
{
    coil_loop *loop = arg;
    coil_gen *gen = coil__gen_take(loop->inbox, true);
    if (gen)
        close_for_good(loop, gen);
    return 0;
}

static void orphaned(void)
{
    coil_loop *loop = coil__running_loop;
    if (loop->closing) {
        coil__asyncgens_closing(loop);
        return;
    }
    /* Without memory it stays an orphan, until another one comes or the loop ends. */
    coil_task_opts opts = {.size = sizeof opts, .name = "closes a generator", .loop = loop};
    const coil_task_recipe recipe = {sizeof recipe, __FILE__, __LINE__, close_an_orphan, loop, 0};
    coil_unref(coil_task_new(loop, &recipe, &opts));
}

void coil__asyncgens_closing(coil_loop *loop)
{
    for (coil_gen *gen; (gen = coil__gen_take(loop->inbox, true));)
        coil_gen_unref(gen);
}

/* ---- */

void coil__asyncgens_init(void)
{
    static const struct gen_hooks hooks = {.begins = begins, .orphaned = orphaned};
    atomic_store_explicit(&coil__gen_hooks, &hooks, memory_order_release);
}

size_t coil__asyncgens_shut(coil_loop *loop)
{
    struct task_part *part = coil__task_part(loop);
    if (part)
        part->asyncgens_shut = true;
    return coil__gen_driven(loop->inbox);
}
