/* SPDX-License-Identifier: MIT
 *
 * graph.h: call graphs in a line, for tests.
 *
 *     T<c2_root>[look f_c4 f_c2](T<anon>[f_main test_x] T<sub>[f_c1](T<anon>[f_main test_x]))
 *
 * A task is T<its name>, T<anon> if it was given none; another future is F. In brackets stand the functions of the test
 * that it is in, innermost first: `look`, and those whose names begin with `f_` or `test_`. In parentheses who
 * awaits it, in the order of that text. ... stands where some were left out. */
#ifndef TEST_LIB_GRAPH_H
#define TEST_LIB_GRAPH_H

#include "test.h"

#include <coil/debug.h>
#include <stdlib.h>

/* A function that a test wants to see in a stack: a frame of its own, and none of its calls is the last thing it does. */
#define FRAME __attribute__((noinline)) static
#define CALLED(rc)                              \
    do {                                        \
        coil_ret called_rc = (rc);              \
        __asm__ volatile("" : "+r"(called_rc)); \
        return called_rc;                       \
    } while (0)

static inline bool graph_function_counts(const char *name)
{
    return strncmp(name, "f_", 2) == 0 || strncmp(name, "test_", 5) == 0 ||
           strcmp(name, "look") == 0;
}

static inline void graph_add(char *out, size_t size, const char *words)
{
    size_t n = strlen(out);
    snprintf(out + n, size - n, "%s", words);
}

static inline void graph_add_stack(char *out, size_t size, const void *const *stack, size_t n)
{
    const char *before = "[";
    for (size_t i = 0; i < n; i++) {
        coil_frame frame = {.size = sizeof frame};
        assert_int_equal(coil_frame_describe(stack[i], &frame), 0);
        if (!graph_function_counts(frame.function))
            continue;
        graph_add(out, size, before);
        graph_add(out, size, frame.function);
        before = " ";
    }
    graph_add(out, size, *before == '[' ? "[]" : "]");
}

enum { GRAPH_TEXT = 1024 };

static int graph_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void graph_words(const coil_call_graph *g, char *out, size_t size)
{
    const char *name = coil_task_get_name(g->future);
    if (coil_is_task(g->future)) {
        graph_add(out, size, "T<");
        graph_add(out, size, strchr(name, '-') ? "anon" : name);
        graph_add(out, size, ">");
    } else {
        graph_add(out, size, "F");
    }
    if (g->call_stack_n > 0)
        graph_add_stack(out, size, g->call_stack, g->call_stack_n);
    if (g->awaited_by_n == 0 && !g->cut)
        return;
    char(*lines)[GRAPH_TEXT] = calloc(g->awaited_by_n + 1, sizeof *lines);
    for (size_t i = 0; i < g->awaited_by_n; i++)
        graph_words(g->awaited_by[i], lines[i], sizeof lines[i]);
    qsort(lines, g->awaited_by_n, sizeof *lines, graph_order);
    if (g->cut)
        strcpy(lines[g->awaited_by_n], "...");
    for (size_t i = 0; i < g->awaited_by_n + g->cut; i++) {
        graph_add(out, size, i ? " " : "(");
        graph_add(out, size, lines[i]);
    }
    graph_add(out, size, ")");
    free(lines);
}

/* What was seen, as a line and as the library prints it. */
static char graph_seen[GRAPH_TEXT], graph_text[65536];

/* Looks at a future, or with NULL at the current task, from here. */
__attribute__((noinline, unused)) static void look(coil_future *future)
{
    coil_call_graph *graph;
    assert_int_equal(coil_capture_call_graph(future, NULL, &graph), 0);
    graph_seen[0] = '\0';
    graph_words(graph, graph_seen, sizeof graph_seen);
    coil_call_graph_free(graph);
    assert_true(coil_format_call_graph(future, NULL, graph_text, sizeof graph_text) > 0);
}

#define assert_seen(expected) assert_string_equal(graph_seen, (expected))

#endif
