/* SPDX-License-Identifier: MIT
 *
 * 21_call_graph.c: who waits for whom, and where each of them stands.
 *
 * Look at: every future knows who awaits it, through await, gather, wait, shield and groups.
 * coil_capture_call_graph gives that as a tree, with the calls of each task; coil_print_call_graph(cook, NULL, stderr)
 * would print all of it with addresses and files, as asyncio does. Here we walk it ourselves, and say of each task
 * the function that it was made for: the outermost of its calls. */
#include <coil.h>

#include <stdio.h>

static coil_task *named(const char *name, coil_fn fn, void *arg)
{
    coil_task_opts opts = {.size = sizeof opts, .name = name};
    return coil_create_task_opts(fn, arg, &opts);
}

static coil_ret boil(void *arg)
{
    coil_ret rc = coil_sleep(3);
    printf("the soup is ready\n");
    return rc;
}

static coil_ret eat(void *cook)
{
    coil_ret rc = coil_await((coil_task *)cook);
    printf("%s eats\n", coil_task_get_name(coil_current_task()));
    return rc;
}

static coil_ret serve(void *cook)
{
    coil_task *guests[] = {named("Minji", eat, cook), named("Jun", eat, cook)};
    coil_ret rc = coil_gather(guests, 2, NULL, COIL_UNREF);
    printf("everybody has eaten\n");
    return rc;
}

static void show(const coil_call_graph *graph, int level)
{
    coil_frame frame = {.size = sizeof frame};
    if (graph->call_stack_n > 0)
        coil_frame_describe(graph->call_stack[0], &frame);
    printf("%*s%s is in %s, waiting for: %s\n", level * 4, "", coil_task_get_name(graph->future),
           frame.function, coil_task_waiting_on(graph->future));
    for (size_t i = 0; i < graph->awaited_by_n; i++)
        show(graph->awaited_by[i], level + 1);
}

/* A callback: the tasks are where they were. */
static void look_at(void *task)
{
    coil_call_graph_opts opts = {.size = sizeof opts, .limit = 1}; /* the outermost call alone */
    coil_call_graph *graph;
    if (coil_capture_call_graph((coil_task *)task, &opts, &graph) < 0)
        return;
    show(graph, 0);
    coil_call_graph_free(graph);
}

static coil_ret lunch(void *arg)
{
    coil_task *cook = named("the cook", boil, NULL);
    coil_ret rc = coil_loop_call_later(NULL, 1, look_at, cook, NULL);
    coil_ret served = coil_join(named("the waiter", serve, cook));
    coil_unref(cook);
    return rc ? rc : served;
}

int main(void)
{
    return coil_report(coil_run(lunch, NULL));
}
