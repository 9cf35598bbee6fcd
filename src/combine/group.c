/* SPDX-License-Identifier: MIT
 *
 * group.c: tasks that live and end together.
 *
 *     begin --> OPEN --exit: children left--> DRAINING --the last one ended--> OVER
 *                 \__________ exit: none left ________________________________/
 *     aborting (at any time before OVER): a child failed, the body failed, coil_group_cancel, an outside cancel
 *
 * The order of asyncio is kept step by step: a child's end is told a turn later; the first error cancels
 * the siblings, then the parent; on leaving, the group takes that cancel back, and what is outstanding
 * then came from outside.
 *
 * Each child has a node, made before the child so that a failing child needs no memory: it follows the
 * task, then, if the task failed, stays as the place of its error.
 *
 * Always true:
 *   - a node is in `children` while its task is not known to be done, else in `errors`, else gone;
 *   - nobody but the parent's frame ends a group, and not before `children` is empty or (unwinding)
 *     every node has let go of it;
 *   - the links are set up at the first use, when the group has got to where it stays.
 *
 * Runs on the loop's thread. Elsewhere: the way through the ring (follow.c). */
#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "base/probe.h"
#include "combine/follow.h"

#include <coil/group.h>

#include <stdio.h>

struct group {
    struct list children, errors; /* struct child, through link */
    struct coil__task *parent;    /* NULL: not begun inside a task */
    struct wait *draining;        /* the parked parent's */
    coil_ret not_made; /* what kept a child from being made, if there was no node to say it; 0 */
    struct error_record *not_made_error;
    uint64_t errors_n;
    const char *file; /* where it was begun */
    int line;
    bool exiting;
    bool over;
    bool aborting;
    bool parent_cancelled; /* we have cancelled the parent and owe it an uncancel */
    bool linked;           /* the lists are set up */
};

_Static_assert(sizeof(struct group) <= sizeof(coil_group), "a group must fit its public form");
_Static_assert(_Alignof(struct group) <= _Alignof(coil_group), "and stand where it stands");

struct child {
    struct list link;
    struct group *group;
    struct follower follower;
    coil_ret code;              /* in errors: what it failed with ... */
    struct error_record *error; /* ... and the words */
};

static struct group *open_up(coil_group *group)
{
    struct group *g = (struct group *)group;
    if (!g->linked) {
        list_init(&g->children);
        list_init(&g->errors);
        g->linked = true;
    }
    return g;
}

coil_group coil_group_begin_at(const char *file, int line)
{
    coil_group group = {{NULL}};
    struct group *g = (struct group *)&group;
    g->file = file;
    g->line = line;
    g->parent = coil__current();
    return group;
}

/* ---- children ---- */

static void cancel_children(struct group *g)
{
    g->aborting = true;
    LIST_FOREACH(link, &g->children) {
        coil_future *task = container_of(link, struct child, link)->follower.future;
        coil_future_cancel(task, NULL);
    }
}

/* Once: whoever is here has begun the abort. */
static void cancel_parent(struct group *g)
{
    COIL_DCHECK(!g->parent_cancelled);
    g->parent_cancelled = true;
    coil_task_cancel(&g->parent->future, NULL);
}

static void free_child(struct child *c)
{
    list_remove(&c->link);
    coil__unfollow(&c->follower);
    coil__error_unref(c->error);
    coil__free(c);
}

/* It is not a child any more, but the place of an error. */
static void child_failed(struct child *c)
{
    struct group *g = c->group;
    coil_future *task = c->follower.future;
    c->code = task->result;
    c->error = coil__future_take_error(task);
    list_push(&g->errors, &c->link);
    g->errors_n++;
    coil__unfollow(&c->follower);
    if (!g->aborting) {
        cancel_children(g);
        cancel_parent(g);
    }
}

static void child_told(struct follower *follower)
{
    struct child *c = follower->owner;
    struct group *g = c->group;
    const coil_future *task = follower->future;
    list_remove(&c->link);
    /* First the wake-up: a cancel that follows finds the parent woken, and is not lost. */
    if (list_empty(&g->children) && g->draining && !g->draining->woken)
        coil__wake(g->draining, 0);
    if (task->state == COIL_FUTURE_FINISHED && coil_iserr(task->result))
        child_failed(c);
    else
        free_child(c);
}

/* Nobody awaits a child that could not be made, so it counts as one that failed. */
static void child_not_made(struct group *g, struct child *c, coil_ret code)
{
    if (c) {
        c->code = code;
        c->error = coil__error_capture(code);
        list_push(&g->errors, &c->link);
        g->errors_n++;
    } else {
        COIL_DCHECK(!g->not_made); /* after the first of them nobody may create */
        g->not_made = code;
        g->not_made_error = coil__error_capture(code);
        g->errors_n++;
    }
    if (!g->aborting) {
        cancel_children(g);
        cancel_parent(g);
    }
}

/* 0, or why no child can start now. */
static coil_ret may_create(const struct group *g)
{
    if (!g->parent)
        return coil__fail(COIL_ENOTASK, "a group can only be begun inside a task");
    if (g->over || (g->exiting && list_empty(&g->children)))
        return coil__fail(COIL_EINVALIDSTATE, "the group is finished");
    if (g->aborting)
        return coil__fail(COIL_ESHUTDOWN, "the group is shutting down");
    return 0;
}

/* What makes the child: a function, or a coroutine object. */
struct recipe {
    const char *file;
    int line;
    coil_fn fn;
    const void *arg;
    size_t copy;
    coil_coro *coro; /* instead of fn; consumed */
    const coil_task_opts *opts;
};

/* Refused before it is made: what another loop has been given would still have its first turn there. */
static coil_task *make(const struct recipe *r, const coil_loop *loop)
{
    coil_task_opts own;
    const coil_loop *asked = r->opts ? OPTS_READ(r->opts, own)->loop : NULL;
    if (asked && asked != loop) {
        coil_coro_close(r->coro);
        return coil__future_failed(
            coil__fail(COIL_EWRONGLOOP, "a group's children live on its own loop"));
    }
    return r->coro ? coil_create_task_coro_at(r->file, r->line, r->coro, r->opts)
                   : coil_create_task_at(r->file, r->line, r->fn, r->arg, r->copy, r->opts);
}

static coil_task *create(struct group *g, const struct recipe *r)
{
    coil_ret err = may_create(g);
    if (err) {
        coil_coro_close(r->coro);
        return coil__future_failed(err);
    }
    coil_loop *loop = g->parent->future.loop;
    struct child *c = coil__zalloc(sizeof *c);
    if (!c || coil__loop_hold(loop, 1) < 0) {
        coil_coro_close(r->coro);
        coil__free(c);
        err = coil__fail_plain(-ENOMEM);
        child_not_made(g, NULL, err);
        return coil__future_failed(err);
    }
    list_init(&c->link);
    c->group = g;
    coil_task *task = make(r, loop);
    if (task->immortal || task->loop != loop) {
        err = task->immortal
                  ? task->result
                  : coil__fail(COIL_EWRONGLOOP, "a group's children live on its own loop");
        if (!task->immortal)
            coil_future_cancel(task, NULL);
        coil_unref(task);
        loop_release(loop, 1);
        child_not_made(g, c, err);
        return coil__future_failed(err);
    }
    /* Also one that has ended in its eager first step is told of a turn later: its error must not
     * cancel us in the middle of the body's own step. */
    list_push(&g->children, &c->link);
    coil__follow(&c->follower, loop, task, &g->parent->future, child_told, c);
    if (g->aborting && !future_done(task)) /* it has cancelled the group from its eager step */
        coil_future_cancel(task, NULL);
    coil_unref(task); /* the follower has its own */
    return task;
}

coil_task *coil_group_create_task_at(const char *file, int line, coil_group *group, coil_fn fn,
                                     const void *arg, size_t copy, const coil_task_opts *opts)
{
    return create(open_up(group), &(struct recipe){file, line, fn, arg, copy, NULL, opts});
}

coil_task *coil_group_create_task_coro_at(const char *file, int line, coil_group *group,
                                          coil_coro *coro, const coil_task_opts *opts)
{
    return create(open_up(group),
                  &(struct recipe){.file = file, .line = line, .coro = coro, .opts = opts});
}

/* ---- draining ---- */

static int describe(const struct wait *w, char *out, size_t size);

static const struct wait_class group_class = {
    .what = "group",
    .cancel = coil__wait_cancel_plain,
    .describe = describe,
};

struct group_wait {
    struct wait wait; /* first: describe gets this */
    const struct group *group;
};

static int describe(const struct wait *w, char *out, size_t size)
{
    const struct group *g = ((const struct group_wait *)w)->group;
    size_t n = 0;
    LIST_FOREACH(link, &g->children)
        n++;
    return snprintf(out, size, "%zu children, begun at %s:%d", n, g->file, g->line);
}

/* Parks until the last child has ended: 0, -ECANCELED, or COIL_EEXIT. */
static coil_ret wait_for_children(struct group *g)
{
    coil_ret rc = coil__can_wait();
    if (rc)
        return rc;
    struct group_wait w = {.wait = WAIT_INIT(&group_class), .group = g};
    g->draining = &w.wait;
    rc = coil__park(&w.wait);
    g->draining = NULL;
    return rc;
}

/* The frame goes while children live on (it is being unwound): they are cancelled, and forget us. */
static void let_go(struct group *g)
{
    for (struct list *link; (link = list_first(&g->children));) {
        struct child *c = container_of(link, struct child, link);
        coil_future_cancel(c->follower.future, NULL);
        free_child(c);
    }
}

static void drop_errors(struct group *g)
{
    for (struct list *link; (link = list_first(&g->errors));)
        free_child(container_of(link, struct child, link));
    coil__error_unref(g->not_made_error);
    g->not_made_error = NULL;
    g->not_made = 0;
    g->errors_n = 0;
}

/* A cancel was delivered here that is not ours to keep: the next waiting call gets it, without its words, as in
 * asyncio. */
static void deliver_later(struct coil__task *t)
{
    if (t->cancelling == 0)
        return;
    coil_task_uncancel(&t->future);
    coil_task_cancel(&t->future, NULL);
}

/* ---- the errors of all ---- */

/* One member of the record; never without its code, if there is memory at all. */
static struct error_record *member(coil_ret code, struct error_record *error)
{
    return error ? coil__error_share(error) : coil__error_with_cause(NULL, code, NULL);
}

/* Makes the last error speak of all; returns the first one's code. */
static coil_ret fail_together(struct group *g)
{
    struct child *first = list_empty(&g->errors) ? NULL
                                                 : container_of(g->errors.next, struct child, link);
    coil_ret code = first ? first->code : g->not_made;
    struct error_record *error = first ? first->error : g->not_made_error;
    struct error_record **members = coil__alloc(g->errors_n * sizeof *members), *all = NULL;
    size_t n = 0;
    if (members) {
        LIST_FOREACH(link, &g->errors) {
            const struct child *c = container_of(link, struct child, link);
            members[n++] = member(c->code, c->error);
        }
        if (g->not_made)
            members[n++] = member(g->not_made, g->not_made_error);
        all = coil__error_group(code, "unhandled errors in a group", members, n);
        coil__free(members);
    }
    coil__error_restore(all ? all : error, code);
    coil__error_unref(all);
    return code;
}

/* ---- leaving ---- */

/* What the body came to, while we wait for the others. */
struct outcome {
    coil_ret rc;
    struct error_record *error; /* of an rc that failed, or of the cancel that came later */
    bool cancelled;             /* a cancel shall go on to whoever left the group */
    bool cancelled_again;       /* one came while we drained */
};

static void body_failed(struct group *g, struct outcome *o)
{
    struct child *c = coil__zalloc(sizeof *c);
    if (c) {
        list_init(&c->link);
        c->code = o->rc;
        c->error = coil__error_share(o->error);
        list_push(&g->errors, &c->link);
        g->errors_n++;
    } else if (!g->not_made) {
        /* No memory for it to stand in line; it is said all the same. */
        g->not_made = o->rc;
        g->not_made_error = coil__error_share(o->error);
        g->errors_n++;
    }
}

/* Every child is done: what the group comes to. */
static coil_ret conclude(struct group *g, struct outcome *o)
{
    struct coil__task *t = g->parent;
    if (g->parent_cancelled) {
        if (coil_task_uncancel(&t->future) == 0)
            o->cancelled = false;
        else if (!o->cancelled)
            o->cancelled =
                o->cancelled_again; /* what is left is not ours, and must not be dropped */
    }
    if (o->cancelled && !g->errors_n) {
        coil__error_restore(o->error, -ECANCELED);
        return -ECANCELED;
    }
    bool failed = coil_iserr(o->rc) && o->rc != -ECANCELED;
    if (failed && o->rc == COIL_EEXIT && !g->errors_n) {
        coil__error_restore(o->error, o->rc);
        return o->rc;
    }
    if (failed)
        body_failed(g, o);
    if (g->errors_n) {
        deliver_later(t);
        return fail_together(g);
    }
    return coil_iserr(o->rc) ? 0 : o->rc;
}

static void keep_cancel(struct outcome *o)
{
    coil__error_unref(o->error);
    o->error = coil__error_capture(-ECANCELED);
}

coil_ret coil_group_exit(coil_group *group, coil_ret rc)
{
    struct group *g = open_up(group);
    if (!g->parent)
        return coil_iserr(rc) ? rc
                              : coil__fail(COIL_ENOTASK, "a group can only be begun inside a task");
    if (g->over || g->exiting || coil__current() != g->parent)
        return coil__fail(COIL_EINVALIDSTATE, g->exiting
                                                  ? "the group was left already"
                                                  : "a group is left by the task that began it");
    struct outcome o = {.rc = rc, .cancelled = rc == -ECANCELED};
    g->exiting = true;
    if (coil_iserr(rc)) {
        o.error = coil__error_capture(rc);
        if (!g->aborting)
            cancel_children(g);
    }
    while (!list_empty(&g->children)) {
        coil_ret waited = wait_for_children(g);
        if (waited == COIL_EEXIT) {
            let_go(g);
            o.rc = COIL_EEXIT;
            break;
        }
        if (waited == -ECANCELED) {
            COIL_PROBE("a group is cancelled while it waits for its children");
            o.cancelled_again = true;
            if (!coil_iserr(rc) && !o.cancelled)
                keep_cancel(&o);
            if (!g->aborting) {
                o.cancelled = true;
                cancel_children(g);
            }
        }
    }
    rc = conclude(g, &o);
    coil__error_unref(o.error);
    drop_errors(g);
    g->over = true;
    return rc;
}

static void report_left(struct group *g)
{
    char text[ERROR_TEXT_MAX];
    if (!g->parent->future.loop->debug)
        return;
    snprintf(text, sizeof text,
             "the group begun at %s:%d was left by return; its children are cancelled", g->file,
             g->line);
    coil_exception_context context = {.size = sizeof context,
                                      .message = text,
                                      .fd = -1,
                                      .kind = "group-left",
                                      .file = g->file,
                                      .line = g->line};
    coil_loop_call_exception_handler(g->parent->future.loop, &context);
}

void coil_group_leave(coil_group *group)
{
    struct group *g = open_up(group);
    if (!g->parent || g->over || g->exiting)
        return;
    /* `return coil_fail(...)` has been evaluated: its words must not be ours. */
    struct error_record *slot = coil__error_slot();
    coil_ret said = slot->pub.code;
    struct error_record *kept = said ? coil__error_capture(said) : NULL;
    bool cancelled = false;

    g->exiting = true;
    if (!list_empty(&g->children))
        report_left(g);
    if (!g->aborting)
        cancel_children(g);
    while (!list_empty(&g->children)) {
        coil_ret waited = wait_for_children(g);
        if (waited == COIL_EEXIT)
            let_go(g);
        else if (waited == -ECANCELED)
            cancelled = true;
    }
    if (g->parent_cancelled)
        coil_task_uncancel(&g->parent->future);
    if (cancelled)
        deliver_later(g->parent);
    if (g->errors_n) {
        coil_ret code = fail_together(g);
        coil__loop_report(g->parent->future.loop, "group-errors",
                          "errors in a group that was left by return", code, coil_last_error(),
                          NULL);
    }
    drop_errors(g);
    g->over = true;
    if (said)
        coil__error_restore(kept, said);
    coil__error_unref(kept);
}

void coil_group_cancel(coil_group *group)
{
    struct group *g = open_up(group);
    if (!g->parent || g->over || g->aborting || (g->exiting && list_empty(&g->children)))
        return;
    cancel_children(g);
    cancel_parent(g);
}
