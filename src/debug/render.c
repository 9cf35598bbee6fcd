/* SPDX-License-Identifier: MIT
 *
 * render.c: a call graph as text, in the form of asyncio's.
 *
 * Runs on the thread of the future's loop. Elsewhere: capturing it (graph.c). */
#include "base/error.h"
#include "base/mem.h"
#include "base/symbols.h"
#include "debug/graph.h"

/* Where we are in the tree: the nodes from the root down, and which awaiter of each comes next. */
struct path {
    const coil_call_graph *at[COIL_CALL_GRAPH_DEEP + 1];
    size_t next[COIL_CALL_GRAPH_DEEP + 1];
    size_t n;
};

struct rendering {
    struct text text;
    struct symbols *symbols; /* NULL: no memory for it; slower */
    struct path path;
};

static void begin_line(struct rendering *r)
{
    size_t level = r->path.n - 1;
    if (r->text.n > 0)
        coil__text_add(&r->text, "\n");
    coil__text_add(&r->text, "%*s", (int)(level * 4), "");
}

static void add_head(struct rendering *r, const coil_call_graph *g)
{
    begin_line(r);
    if (coil_is_task(g->future)) {
        coil__text_add(&r->text, "* Task(name=");
        coil__text_quote(&r->text, '\'', coil_task_get_name(g->future));
        coil__text_add(&r->text, ", id=%p)", (void *)g->future);
    } else {
        coil__text_add(&r->text, "* Future(id=%p)", (void *)g->future);
    }
    if (g->call_stack_n > 0) {
        begin_line(r);
        coil__text_add(&r->text, "  + Call stack:");
    }
}

static void add_call(struct rendering *r, const void *address)
{
    coil_frame frame;
    coil__symbols_find(r->symbols, address, &frame);
    begin_line(r);
    coil__text_add(&r->text, "  |   File ");
    coil__text_quote(&r->text, '\'', frame.file);
    coil__text_add(&r->text, ", at %#zx, in %s()", frame.file_address,
                   frame.function[0] ? frame.function : "?");
}

static void enter(struct rendering *r, const coil_call_graph *g)
{
    r->path.at[r->path.n] = g;
    r->path.next[r->path.n++] = 0;
    add_head(r, g);
    for (size_t i = 0; i < g->call_stack_n; i++)
        add_call(r, g->call_stack[i]);
    if (g->awaited_by_n > 0 || g->cut) {
        begin_line(r);
        coil__text_add(&r->text, "  + Awaited by:");
    }
}

static void leave(struct rendering *r, const coil_call_graph *g)
{
    if (g->cut) {
        begin_line(r);
        coil__text_add(&r->text, "    ...");
    }
    r->path.n--;
}

static void render(struct rendering *r, const coil_call_graph *root)
{
    enter(r, root);
    while (r->path.n > 0) {
        const coil_call_graph *g = r->path.at[r->path.n - 1];
        size_t next = r->path.next[r->path.n - 1]++;
        if (next < g->awaited_by_n)
            enter(r, g->awaited_by[next]);
        else
            leave(r, g);
    }
}

/* Into `out`, and how long it is; `out` NULL and 0: only how long. */
static coil_ret format(const coil_call_graph *graph, char *out, size_t size)
{
    if (size > 0)
        out[0] = '\0';
    if (!graph)
        return 0;
    struct rendering *r = coil__alloc(sizeof *r);
    if (!r)
        return coil__fail_plain(-ENOMEM);
    r->text = (struct text){.out = out, .size = size};
    r->path.n = 0;
    r->symbols = coil__zalloc(sizeof *r->symbols);
    render(r, graph);
    coil_ret n = (coil_ret)r->text.n;
    coil__free(r->symbols);
    coil__free(r);
    return n;
}

coil_ret coil_format_call_graph(coil_future *future, const coil_call_graph_opts *opts, char *out,
                                size_t size)
{
    coil_call_graph *graph;
    if (!out && size > 0)
        return coil__fail(-EINVAL, "there is no place for %zu bytes of text (NULL)", size);
    int err = coil__graph_capture(future, opts, frames_here(), &graph);
    if (err)
        return err;
    coil_ret n = format(graph, out, size);
    coil_call_graph_free(graph);
    return n;
}

static coil_ret print(const coil_call_graph *graph, FILE *file)
{
    coil_ret n = format(graph, NULL, 0);
    char *text = n > 0 ? coil__alloc((size_t)n + 1) : NULL;
    if (n <= 0)
        return n;
    if (!text)
        return coil__fail_plain(-ENOMEM);
    n = format(graph, text, (size_t)n + 1);
    if (n > 0)
        fprintf(file, "%s\n", text);
    coil__free(text);
    return n < 0 ? n : 0;
}

int coil_print_call_graph(coil_future *future, const coil_call_graph_opts *opts, FILE *file)
{
    coil_call_graph *graph;
    int err = coil__graph_capture(future, opts, frames_here(), &graph);
    if (err)
        return err;
    coil_ret rc = print(graph, file ? file : stdout);
    coil_call_graph_free(graph);
    return (int)rc;
}
