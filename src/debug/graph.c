/* SPDX-License-Identifier: MIT
 *
 * graph.c: who awaits a future, and who awaits those, captured.
 *
 *     future.callbacks --node with `by`--> the task that waits --its own callbacks--> ... --> a task nobody awaits
 *
 * The graph is told as a tree, as asyncio tells it: who awaits two of the futures stands in it twice.
 *
 * Always true:
 *   - nodes are made in the order of their distance, so that a limit leaves out the farthest;
 *   - a future that is among its own awaiters is left out there, and the node says so (`cut`);
 *   - nothing here calls itself: chains are as long as programs make them, and our stack may be small.
 *
 * Runs on the thread of the future's loop. Elsewhere: the text (render.c), who says `by` (task/task.h). */
#include "debug/graph.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"

#include <stdlib.h>

struct node {
    coil_call_graph graph; /* first: what a user holds is its address */
    struct node *parent;   /* NULL: the root */
    struct node *next;     /* in the order of making */
    unsigned level;
};

struct capture {
    coil_call_graph_opts opts;
    struct frame here;
    struct node *first, *last;
    size_t nodes_n;
};

/* ---- one node ---- */

/* limit > 0 keeps the outermost n, < 0 the innermost: asyncio's slices. */
static void cut_stack(coil_call_graph *g, int limit)
{
    size_t n = limit < 0 ? -(size_t)limit : (size_t)limit;
    if (limit == 0 || n >= g->call_stack_n)
        return;
    if (limit > 0)
        memmove((void *)g->call_stack, (const void *)(g->call_stack + g->call_stack_n - n),
                n * sizeof *g->call_stack);
    g->call_stack_n = n;
}

static int add_stack(const struct capture *c, coil_call_graph *g)
{
    if (c->opts.no_stack)
        return 0;
    size_t skip = c->opts.depth > 1 ? (size_t)c->opts.depth - 1 : 0;
    size_t n = coil__stack_of(g->future, c->here, skip, NULL, 0);
    if (n == 0)
        return 0;
    g->call_stack = coil__alloc(n * sizeof *g->call_stack);
    if (!g->call_stack)
        return -ENOMEM;
    g->call_stack_n = coil__stack_of(g->future, c->here, skip, g->call_stack, n);
    cut_stack(g, c->opts.limit);
    return 0;
}

static struct node *new_node(struct capture *c, coil_future *future, struct node *parent)
{
    struct node *node = coil__zalloc(sizeof *node);
    if (!node)
        return NULL;
    node->graph.future = coil_ref(future);
    node->parent = parent;
    node->level = parent ? parent->level + 1 : 0;
    if (c->last)
        c->last->next = node;
    else
        c->first = node;
    c->last = node;
    c->nodes_n++;
    return add_stack(c, &node->graph) < 0 ? NULL : node;
}

/* ---- who awaits it ---- */

static bool is_on_the_way(const struct node *node, const coil_future *future)
{
    while (node && node->graph.future != future)
        node = node->parent;
    return node != NULL;
}

static int by_address(const void *a, const void *b)
{
    coil_future *const *x = a, *const *y = b;
    return (*x > *y) - (*x < *y);
}

/* Each once, though it may wait by several nodes. In place; returns how many are left. */
static size_t distinct(coil_future **futures, size_t n)
{
    if (n < 2)
        return n;
    qsort(futures, n, sizeof *futures, by_address);
    size_t kept = 1;
    for (size_t i = 1; i < n; i++)
        if (futures[i] != futures[kept - 1])
            futures[kept++] = futures[i];
    return kept;
}

static size_t count_nodes(const coil_future *f)
{
    size_t n = 0;
    LIST_FOREACH(link, &f->callbacks)
        n += container_of(link, struct future_callback, link)->by != NULL;
    return n;
}

/* The awaiters of a future, allocated; NULL: none, or no memory. In the order in which they began to wait, unless one
 * of them waits by several nodes. */
static int collect(const coil_future *f, coil_future ***out, size_t *out_n)
{
    size_t n = count_nodes(f);
    *out = NULL;
    *out_n = 0;
    if (n == 0)
        return 0;
    coil_future **by = coil__alloc(2 * n * sizeof *by);
    if (!by)
        return -ENOMEM;
    n = 0;
    LIST_FOREACH(link, &f->callbacks) {
        struct future_callback *cb = container_of(link, struct future_callback, link);
        /* A task that would not unwind is done, and has left its nodes behind. */
        if (cb->by && !future_done(cb->by))
            by[n++] = cb->by;
    }
    coil_future **sorted = by + n;
    memcpy(sorted, by, n * sizeof *by);
    size_t kept = distinct(sorted, n);
    if (kept < n)
        memcpy(by, sorted, kept * sizeof *by);
    *out = by;
    *out_n = kept;
    return 0;
}

static int add_awaiters(struct capture *c, struct node *node)
{
    coil_call_graph *g = &node->graph;
    coil_future **by;
    size_t n;
    if (collect(g->future, &by, &n) < 0)
        return -ENOMEM;
    int err = 0;
    if (n > 0 && node->level < COIL_CALL_GRAPH_DEEP) {
        g->awaited_by = coil__alloc(n * sizeof *g->awaited_by);
        err = g->awaited_by ? 0 : -ENOMEM;
    }
    for (size_t i = 0; !err && i < n; i++) {
        if (!g->awaited_by || c->nodes_n == COIL_CALL_GRAPH_MAX || is_on_the_way(node, by[i])) {
            g->cut = true;
            continue;
        }
        struct node *awaiter = new_node(c, by[i], node);
        if (awaiter)
            g->awaited_by[g->awaited_by_n++] = &awaiter->graph;
        else
            err = -ENOMEM;
    }
    coil__free(by);
    return err;
}

/* ---- the whole ---- */

void coil_call_graph_free(coil_call_graph *graph)
{
    for (struct node *node = (struct node *)graph, *next; node; node = next) {
        next = node->next;
        coil__free((void *)node->graph.call_stack);
        coil__free(node->graph.awaited_by);
        coil_unref(node->graph.future);
        coil__free(node);
    }
}

int coil__graph_capture(coil_future *future, const coil_call_graph_opts *opts, struct frame here,
                        coil_call_graph **out)
{
    coil_call_graph_opts own;
    struct capture c = {.opts = *OPTS_READ(opts, own), .here = here};
    if (!future && !coil__running_loop)
        return (int)coil__fail(COIL_ENOLOOP,
                               "there is no running event loop, and no future was given");
    if (!future)
        future = coil_current_task();
    if (!future) {
        *out = NULL;
        return 0;
    }
    if (!future_done(future) && loop_is_foreign(future->loop))
        return (int)coil__fail_plain(COIL_EWRONGTHREAD);
    int err = new_node(&c, future, NULL) ? 0 : -ENOMEM;
    for (struct node *node = c.first; !err && node; node = node->next)
        err = add_awaiters(&c, node);
    if (err) {
        coil_call_graph_free(c.first ? &c.first->graph : NULL);
        return (int)coil__fail_plain(err);
    }
    *out = &c.first->graph;
    return 0;
}

int coil_capture_call_graph(coil_future *future, const coil_call_graph_opts *opts,
                            coil_call_graph **out_graph)
{
    if (!out_graph)
        return (int)coil__fail(-EINVAL, "there is no place for the graph (NULL)");
    return coil__graph_capture(future, opts, frames_here(), out_graph);
}
