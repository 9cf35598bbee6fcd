/* SPDX-License-Identifier: MIT
 *
 * part.c: what this floor keeps for each loop: made on first use, taken apart when the loop closes.
 *
 * Runs on the loop's thread. Elsewhere: what becomes of children then (child.c). */
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "proc/proc.h"

static void proc_closing(struct loop_part *p, struct coil_loop *loop)
{
    struct proc_part *part = container_of(p, struct proc_part, part);
    (void)loop;
    /* All are told to go before one is waited for. */
    LIST_FOREACH(link, &part->children)
        coil__child_kill(container_of(link, struct child, link));
    while (!list_empty(&part->children))
        coil__child_loop_closes(container_of(list_first(&part->children), struct child, link));
    coil__subprocess_loop_closes(part);
    if (part->stack)
        (void)sys_munmap(part->stack, CHILD_STACK);
    part->stack = NULL;
}

static void proc_release(struct loop_part *p)
{
    coil__free(container_of(p, struct proc_part, part));
}

int coil__proc_part(coil_loop *loop, struct proc_part **out)
{
    struct loop_part *p = loop_part(loop, LOOP_PART_PROC);
    if (loop->closing)
        return (int)coil__fail_plain(COIL_ECLOSED);
    if (p) {
        *out = container_of(p, struct proc_part, part);
        return 0;
    }
    struct proc_part *part = coil__zalloc(sizeof *part);
    if (!part)
        return (int)coil__fail_plain(-ENOMEM);
    part->part.closing = proc_closing;
    part->part.release = proc_release;
    part->loop = loop;
    list_init(&part->children);
    list_init(&part->transports);
    loop->parts[LOOP_PART_PROC] = &part->part;
    *out = part;
    return 0;
}
