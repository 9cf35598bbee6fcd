/* SPDX-License-Identifier: MIT
 *
 * leaks.c: references that were never given back; debug mode.
 *
 *     future made, task ended --> part->kept --last unref--> gone
 *                                     '-- still here when coil_run ends: told
 *
 * Not kept are futures that stand for others, and eager tasks that ended before they ever waited.
 *
 * Runs on the loop's thread. */
#include "base/check.h"
#include "base/error.h"
#include "task/task.h"

#include <stdio.h>

enum { TOLD_MAX = 10 };

void coil__leaks_keep(coil_future *f)
{
    struct loop_part *p = f->loop->parts[LOOP_PART_TASK];
    COIL_DCHECK(!list_linked(&f->all)); /* a task is over once */
    list_push(&container_of(p, struct task_part, part)->kept, &f->all);
}

void coil__leaks_forget(struct task_part *part)
{
    while (list_pop(&part->kept))
        continue;
}

static void tell(coil_future *f)
{
    char text[400];
    snprintf(text, sizeof text,
             "A reference to %s%s was never given back (coil_unref, coil_join); created at %s:%d",
             f->is_task ? "task " : "a future", f->is_task ? as_task(f)->name : "",
             f->file ? f->file : "?", f->line);
    coil__future_report(f, "leaked-reference", text, 0, NULL);
}

void coil__leaks_tell(coil_loop *loop)
{
    struct loop_part *p = loop->parts[LOOP_PART_TASK];
    if (!p || !loop->debug)
        return;
    coil_future *some[TOLD_MAX];
    size_t n = 0, all = 0;
    LIST_FOREACH(link, &container_of(p, struct task_part, part)->kept) {
        if (n < TOLD_MAX) /* a handler may give them back */
            some[n++] = coil_ref(container_of(link, coil_future, all));
        all++;
    }
    for (size_t i = 0; i < n; i++) {
        tell(some[i]);
        coil_unref(some[i]);
    }
    char text[80];
    snprintf(text, sizeof text, "So were references to %zu others", all - n);
    if (all > n)
        coil__loop_report(loop, "leaked-reference", text, 0, NULL, NULL);
}
