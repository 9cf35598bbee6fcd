/* SPDX-License-Identifier: MIT
 *
 * sight.c: the list of all loops of the process, and the table for those who read it from outside.
 *
 * Any thread. */
#include "loop/sight.h"

#include "base/thread.h"
#include "loop/loop.h"

static struct mutex lock = MUTEX_INIT;
static struct list loops = LIST_INIT(loops);

/* Somebody may have been in the middle of the list when the parent forked; and its loops are none of ours. */
void coil__sight_forked(void)
{
    coil__mutex_init(&lock);
    list_init(&loops);
}

#define AT(field)      ((uint32_t)offsetof(struct coil_loop, field))
#define IN(type, name) ((uint32_t)offsetof(struct type, name))

/* Not const: it lies where data is, which is what readers look through and what a core file holds. */
static struct sight sight __attribute__((used)) = {
    .magic = SIGHT_MAGIC,
    .self = &sight,
    .version = SIGHT_VERSION,
    .size = sizeof(struct sight),
    .loops = &loops,
    .loop =
        {
            .link = AT(everywhere),
            .head = AT(head),
            .tail = AT(tail),
            .running = AT(running),
            .debug = AT(debug),
            .is_virtual = AT(clock.is_virtual),
            .virtual_ns = AT(clock.virtual_ns),
            .timers_n = AT(timers.n),
            .backend_class = AT(backend_class),
            .backend = AT(backend),
            .jobs = AT(jobs),
            .wakers = AT(wakers),
            .signals = AT(signals),
            .parts = AT(parts),
            .thread_id = AT(thread_id),
            .turns = AT(turns),
            .pid = AT(pid),
            .backend_pending = IN(backend, pending),
            .backend_fds = IN(backend, fds),
            .class_name = IN(backend_class, name),
            .task_part = LOOP_PART_TASK,
            .part_layout = IN(loop_part, layout),
        },
};

void coil__sight_add(struct coil_loop *loop)
{
    coil__mutex_lock(&lock);
    list_push(&loops, &loop->everywhere);
    coil__mutex_unlock(&lock);
}

size_t coil__sight_count(void)
{
    size_t n = 0;
    coil__mutex_lock(&lock);
    LIST_FOREACH(link, &loops)
        n++;
    coil__mutex_unlock(&lock);
    return n;
}

void coil__sight_remove(struct coil_loop *loop)
{
    COIL_CHECK(
        !loop_inherited(loop)); /* one that is is not closed, and the list has forgotten it */
    coil__mutex_lock(&lock);
    list_remove(&loop->everywhere);
    coil__mutex_unlock(&lock);
}
