/* SPDX-License-Identifier: MIT
 *
 * quit.c: SIGQUIT (Ctrl-\) shows what the tasks do, and the program goes on.
 *
 *     signal --> in the handler: is the loop in a step? say which     (it may never end)
 *           `--> inbox --> ready queue --> the tree on standard error
 *
 * A handler can say little: it may have come in the middle of anything. On the loop's own thread it can say which task is
 * in its step, since that one stands still meanwhile. The tree waits until the loop turns; of a step that
 * does not end `coil dump` shows more from outside.
 *
 * The loop's thread, which is the program's main one. Elsewhere: catching a signal (loop/signal.c), the tree
 * (debug/tree.c). */
#include "run/quit.h"

#include "base/sys.h"
#include "base/thread.h"
#include "task/task.h"

#include <coil/debug.h>
#include <stdio.h>
#include <string.h>

/* ---- in the handler ---- */

struct words {
    size_t n;
    char s[400];
};

/* Room is left for a newline. What a terminal would obey does not get there. */
static void add(struct words *w, const char *s)
{
    for (; *s && w->n < sizeof w->s - 1; s++)
        w->s[w->n++] = (unsigned char)*s < ' ' || *s == 127 ? '?' : *s;
}

static void add_number(struct words *w, unsigned value)
{
    char digits[12];
    size_t i = sizeof digits - 1;
    digits[i] = '\0';
    do
        digits[--i] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    add(w, digits + i);
}

static void add_step(struct words *w, const struct coil__task *t)
{
    if (!t) {
        add(w, "outside of tasks");
        return;
    }
    add(w, "in a step of ");
    add(w, t->name);
    if (t->future.file) {
        add(w, ", created at ");
        add(w, t->future.file);
        add(w, ":");
        add_number(w, (unsigned)t->future.line);
    }
}

/* Only reads what its own thread writes, and writes to descriptor 2. */
static void came(struct catcher *c)
{
    const coil_loop *loop = c->loop;
    if (coil__thread_self() != loop->thread || coil__running_loop != loop ||
        atomic_load(&loop->inbox->asleep))
        return;
    struct words w = {0};
    add(&w, "coil: SIGQUIT while the loop is awake, ");
    add_step(&w, coil__current());
    add(&w, "; its tasks follow when it turns, `coil dump ");
    add_number(&w, (unsigned)sys_getpid());
    add(&w, "` shows them now");
    w.s[w.n++] = '\n';
    (void)sys_write(2, w.s, w.n);
}

/* ---- on the loop ---- */

static void push(struct quit *q);

static void show(void *arg)
{
    struct quit *q = arg;
    q->queued = false;
    if (coil__signal_take(&q->catcher) > 0)
        push(q);
    if (coil_loop_print_tree(q->catcher.loop, stderr) < 0)
        fputs("coil: SIGQUIT: there is no memory to draw the tasks\n", stderr);
}

static void push(struct quit *q)
{
    q->queued = true;
    loop_push(q->catcher.loop, show, q, NULL);
    q->position = loop_last_position(q->catcher.loop);
}

static void told(struct inbox_node *node)
{
    push(container_of(node, struct quit, catcher.node));
}

void coil__quit_install(struct quit *q, coil_loop *loop)
{
    *q = (struct quit){.catcher = {.node.fn = told,
                                   .loop = loop,
                                   .signo = SIGQUIT,
                                   .most = 1,
                                   .yields = true,
                                   .at_once = came}};
    if (sys_gettid() != sys_getpid() || !coil__signal_is_default(SIGQUIT) ||
        coil__loop_hold(loop, 1) < 0)
        return;
    q->installed = coil__signal_catch(&q->catcher) == 0;
    if (!q->installed)
        loop_release(loop, 1);
}

void coil__quit_remove(struct quit *q)
{
    if (!q->installed)
        return;
    q->installed = false;
    coil__signal_let_go(&q->catcher);
    if (q->queued)
        coil__loop_unpush(q->catcher.loop, q->position);
    loop_release(q->catcher.loop, 1);
}
