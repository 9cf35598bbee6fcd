/* SPDX-License-Identifier: MIT
 *
 * test_graph.c: who awaits whom, through everything that waits, and what ends it; captured, formatted and printed. */
#include "graph.h"

#include <coil.h>
#include <pthread.h>

static coil_task *named(coil_fn fn, const void *arg, const char *name)
{
    coil_task_opts opts = {.size = sizeof opts, .name = name};
    return coil_create_task_opts(fn, arg, &opts);
}

static void turns(int n)
{
    while (n-- > 0)
        assert_int_equal(coil_sleep(0), 0);
}

static void finish(coil_future *f)
{
    assert_int_equal(coil_future_set_result(f, 0), 0);
    coil_unref(f);
}

FRAME coil_ret f_waits(void *future)
{
    CALLED(coil_await((coil_future *)future));
}

/* Without stacks: who awaits this future, and on. */
static void see(coil_future *f)
{
    const coil_call_graph_opts opts = {.size = sizeof opts, .no_stack = true};
    coil_call_graph *graph;
    assert_int_equal(coil_capture_call_graph(f, &opts, &graph), 0);
    graph_seen[0] = '\0';
    graph_words(graph, graph_seen, sizeof graph_seen);
    coil_call_graph_free(graph);
}

/* ---- what awaits ---- */

COIL_TEST(await_is_seen_while_it_lasts)
{
    coil_future *f = coil_loop_create_future(NULL);
    see(f);
    assert_seen("F");
    coil_task *a = named(f_waits, f, "a"), *b = named(f_waits, a, "b"), *c = named(f_waits, f, "c");
    turns(1);
    see(f);
    assert_seen("F(T<a>(T<b>) T<c>)");
    coil_task_cancel(c, NULL); /* which cancels the future */
    see(f);
    assert_seen("F");
    assert_int_equal(coil_join(a), -ECANCELED);
    assert_int_equal(coil_join(b), -ECANCELED);
    assert_int_equal(coil_join(c), -ECANCELED);
    coil_unref(f);
}

static coil_ret waits_for_all(void *futures)
{
    return coil_gather(futures, 2, NULL, 0);
}

static coil_ret waits_for_set(void *futures)
{
    return coil_wait(futures, 2, 1, COIL_ALL_COMPLETED, NULL);
}

static coil_ret shields(void *future)
{
    return coil_shield(future);
}

static coil_ret waits_so_long(void *future)
{
    return coil_wait_for(future, 1);
}

static coil_ret takes_as_they_come(void *futures)
{
    coil_as_completed it;
    coil_future *done;
    coil_ret rc = coil_as_completed_init(&it, futures, 2, COIL_FOREVER);
    while (!coil_iserr(rc) && (rc = coil_as_completed_next(&it, &done)) > 0)
        ;
    coil_as_completed_close(&it);
    return rc;
}

COIL_TEST(each_way_of_waiting_says_who_waits_where_asyncio_says_it)
{
    coil_future *f[] = {coil_loop_create_future(NULL), coil_loop_create_future(NULL)};
    coil_task *tasks[] = {named(waits_for_all, f, "gather"), named(waits_for_set, f, "wait"),
                          named(shields, f[0], "shield"), named(waits_so_long, f[0], "wait_for"),
                          named(takes_as_they_come, f, "as_completed")};
    turns(1);
    see(f[0]);
    assert_seen("F(T<gather> T<shield> T<wait> T<wait_for>)");
    see(f[1]);
    assert_seen("F(T<gather> T<wait>)");
    finish(f[0]);
    turns(1);
    see(f[1]);
    assert_seen("F(T<gather> T<wait>)");
    finish(f[1]);
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++)
        assert_false(coil_iserr(coil_join(tasks[i])));
}

COIL_TEST(awaiter_that_waits_in_several_ways_stands_there_once)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_future *outer = coil_shield_future(f), *both = coil_gather_future(&f, 1, 0);
    see(f);
    assert_seen("F(T<anon>)");
    assert_int_equal(coil_future_add_to_awaited_by(f, coil_current_task()), 0);
    see(f);
    assert_seen("F(T<anon>)");
    finish(f);
    assert_int_equal(coil_join(outer), 0);
    assert_false(coil_iserr(coil_join(both)));
}

/* ---- what ends it ---- */

COIL_TEST(gather_that_has_failed_awaits_nobody)
{
    coil_future *f[] = {coil_loop_create_future(NULL), coil_loop_create_future(NULL)};
    coil_future *g = coil_gather_future(f, 2, 0);
    see(f[1]);
    assert_seen("F(T<anon>)");
    assert_int_equal(coil_future_set_exception(f[0], COIL_EUSER), 0);
    assert_int_equal(coil_await(g), COIL_EUSER);
    see(f[1]);
    assert_seen("F");
    coil_unref(g);
    coil_unref(f[0]);
    finish(f[1]);
}

COIL_TEST(wait_that_is_over_awaits_nobody)
{
    coil_future *f = coil_loop_create_future(NULL);
    bool done;
    assert_int_equal(coil_wait(&f, 1, 1, COIL_ALL_COMPLETED, &done), 0);
    see(f);
    assert_seen("F");
    finish(f);
}

static coil_ret shields_and_lives_on(void *future)
{
    coil_ret rc = coil_shield(future);
    if (rc == -ECANCELED)
        rc = coil_sleep(1);
    return rc;
}

COIL_TEST(shield_that_was_cancelled_awaits_nobody)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = named(shields_and_lives_on, f, "shield");
    turns(1);
    see(f);
    assert_seen("F(T<shield>)");
    coil_task_cancel(t, NULL);
    turns(2);
    assert_string_equal(coil_task_waiting_on(t), "sleep");
    see(f);
    assert_seen("F");
    assert_int_equal(coil_join(t), 0);
    finish(f);
}

static coil_future *made[2];

static coil_ret makes_and_goes(void *arg)
{
    coil_future **f = arg;
    made[0] = coil_gather_future(f, 2, 0);
    made[1] = coil_shield_future(f[2]);
    see(f[0]);
    assert_seen("F(T<maker>(T<anon>))");
    see(f[2]);
    assert_seen("F(T<maker>(T<anon>))");
    return 0;
}

COIL_TEST(who_made_a_gather_or_shield_and_has_ended_awaits_nobody)
{
    coil_future *f[3];
    for (int i = 0; i < 3; i++)
        f[i] = coil_loop_create_future(NULL);
    assert_int_equal(coil_join(named(makes_and_goes, f, "maker")), 0);
    /* Its stack is somebody else's now. */
    coil_task *other = named(f_waits, f[0], "other");
    turns(1);
    see(f[0]);
    assert_seen("F(T<other>)");
    see(f[1]);
    assert_seen("F");
    see(f[2]);
    assert_seen("F");
    for (int i = 0; i < 3; i++)
        finish(f[i]);
    assert_int_equal(coil_join(other), 0);
    assert_false(coil_iserr(coil_join(made[0])));
    assert_int_equal(coil_join(made[1]), 0);
}

static void make_in_callback(void *future)
{
    made[0] = coil_gather_future((coil_future **)future, 1, 0);
    made[1] = coil_shield_future(*(coil_future **)future);
}

COIL_TEST(gather_and_shield_made_in_a_callback_are_nobodys)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_loop_call_soon(NULL, make_in_callback, &f, NULL);
    turns(1);
    see(f);
    assert_seen("F");
    finish(f);
    assert_false(coil_iserr(coil_join(made[0])));
    assert_int_equal(coil_join(made[1]), 0);
}

COIL_TEST(group_awaits_its_children_from_their_birth)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task_group(g);
    coil_task_opts opts = {.size = sizeof opts, .name = "child"};
    coil_task *child = coil_ref(coil_group_create_task_opts(&g, f_waits, f, &opts));
    see(child);
    assert_seen("T<child>(T<anon>)");
    turns(1);
    finish(f);
    assert_int_equal(coil_group_exit(&g, 0), 0);
    see(child);
    assert_seen("T<child>");
    coil_unref(child);
}

/* ---- said by hand ---- */

static coil_future *seen_from_elsewhere[2];

static coil_ret takes_back_an_edge(void *arg)
{
    (void)arg;
    coil_future_discard_from_awaited_by(seen_from_elsewhere[0], seen_from_elsewhere[1]);
    return coil_last_error() ? coil_last_error()->code : 0;
}

COIL_TEST_WITH(edge_is_not_for_other_threads_to_take_back, .debug = true, .virtual_time = true)
{
    coil_future *f = coil_loop_create_future(NULL), *w = coil_loop_create_future(NULL);
    seen_from_elsewhere[0] = f;
    seen_from_elsewhere[1] = w;
    assert_int_equal(coil_future_add_to_awaited_by(f, w), 0);
    assert_int_equal(coil_to_thread(takes_back_an_edge, NULL), COIL_EWRONGTHREAD);
    see(f);
    assert_seen("F(F)");
    coil_unref(f);
    coil_unref(w);
}

COIL_TEST(edge_lasts_until_it_is_taken_back)
{
    coil_future *f = coil_loop_create_future(NULL), *w = coil_loop_create_future(NULL);
    assert_int_equal(coil_future_add_to_awaited_by(f, w), 0);
    assert_int_equal(coil_future_add_to_awaited_by(f, w), 0); /* once is enough */
    see(f);
    assert_seen("F(F)");
    coil_future_discard_from_awaited_by(f, w);
    see(f);
    assert_seen("F");
    coil_future_discard_from_awaited_by(f, w);
    coil_future_discard_from_awaited_by(w, f);
    finish(f);
    finish(w);
}

COIL_TEST(edge_ends_with_either_of_the_two)
{
    for (int which = 0; which < 4; which++) {
        coil_future *f = coil_loop_create_future(NULL), *w = coil_loop_create_future(NULL);
        assert_int_equal(coil_future_add_to_awaited_by(f, w), 0);
        coil_future *goes = which % 2 ? f : w, *stays = which % 2 ? w : f;
        if (which < 2)
            finish(goes);
        else
            coil_unref(goes); /* pending as it is */
        see(stays);
        assert_seen("F");
        coil_unref(stays);
    }
}

COIL_TEST(edge_of_a_task_ends_with_its_function)
{
    coil_future *f = coil_loop_create_future(NULL), *gate = coil_loop_create_future(NULL);
    coil_task *t = named(f_waits, gate, "t");
    assert_int_equal(coil_future_add_to_awaited_by(f, t), 0);
    turns(1);
    see(f);
    assert_seen("F(T<t>)");
    finish(gate);
    assert_int_equal(coil_join(t), 0);
    see(f);
    assert_seen("F");
    coil_unref(f);
}

COIL_TEST(edge_between_what_cannot_be_is_refused)
{
    coil_future *f = coil_loop_create_future(NULL), *done = coil_loop_create_future(NULL);
    assert_int_equal(coil_future_add_to_awaited_by(f, NULL), -EINVAL);
    assert_int_equal(coil_future_add_to_awaited_by(NULL, f), -EINVAL);
    assert_int_equal(coil_future_add_to_awaited_by(f, f), COIL_ESELFAWAIT);
    coil_future_discard_from_awaited_by(NULL, f);
    coil_future_discard_from_awaited_by(f, NULL);
    assert_int_equal(coil_future_set_result(done, 0), 0);
    assert_int_equal(coil_future_add_to_awaited_by(f, done), 0);
    assert_int_equal(coil_future_add_to_awaited_by(done, f), 0);
    see(f);
    assert_seen("F");
    see(done);
    assert_seen("F");
    coil_future *not_made = coil_create_task(NULL, NULL);
    assert_int_equal(coil_future_add_to_awaited_by(f, not_made), 0);
    coil_future_discard_from_awaited_by(not_made, f);
    coil_unref(f);
    coil_unref(done);
}

/* ---- what has no end ---- */

COIL_TEST(circle_is_cut_where_it_closes)
{
    coil_future *a = coil_loop_create_future(NULL), *b = coil_loop_create_future(NULL);
    coil_task *t = named(f_waits, a, "t");
    assert_int_equal(coil_future_add_to_awaited_by(a, b), 0);
    assert_int_equal(coil_future_add_to_awaited_by(b, a), 0);
    turns(1);
    see(a);
    assert_seen("F(F(...) T<t>)");
    see(b);
    assert_seen("F(F(T<t> ...))");
    finish(a);
    finish(b);
    assert_int_equal(coil_join(t), 0);
}

COIL_TEST(long_chain_is_cut_at_its_far_end)
{
    enum { LONG = COIL_CALL_GRAPH_DEEP + 50 };
    coil_task *tasks[LONG];
    coil_future *f = coil_loop_create_future(NULL);
    for (int i = 0; i < LONG; i++)
        tasks[i] = coil_create_task(f_waits, i ? tasks[i - 1] : f);
    turns(1);
    coil_call_graph *graph;
    assert_int_equal(coil_capture_call_graph(f, NULL, &graph), 0);
    int levels = 0;
    const coil_call_graph *g = graph;
    for (; g->awaited_by_n == 1; g = g->awaited_by[0], levels++)
        assert_false(g->cut);
    assert_int_equal(levels, COIL_CALL_GRAPH_DEEP);
    assert_true(g->cut);
    coil_call_graph_free(graph);
    static char text[1 << 20];
    assert_in_range(coil_format_call_graph(f, NULL, text, sizeof text), 1, sizeof text - 1);
    assert_string_equal(text + strlen(text) - 4, " ...");
    finish(f);
    for (int i = 0; i < LONG; i++)
        assert_int_equal(coil_join(tasks[i]), 0);
}

COIL_TEST(crowd_is_cut_at_its_maximum)
{
    enum { MANY = COIL_CALL_GRAPH_MAX + 10 };
    static coil_future *waiters[MANY];
    coil_future *f = coil_loop_create_future(NULL);
    for (int i = 0; i < MANY; i++) {
        waiters[i] = coil_loop_create_future(NULL);
        assert_int_equal(coil_future_add_to_awaited_by(f, waiters[i]), 0);
    }
    coil_call_graph *graph;
    assert_int_equal(coil_capture_call_graph(f, NULL, &graph), 0);
    assert_int_equal(graph->awaited_by_n, COIL_CALL_GRAPH_MAX - 1);
    assert_true(graph->cut);
    coil_call_graph_free(graph);
    finish(f);
    for (int i = 0; i < MANY; i++)
        coil_unref(waiters[i]);
}

/* ---- what is asked for ---- */

__attribute__((noinline)) static size_t depth_seen(int depth, int limit, bool no_stack, char *out,
                                                   size_t size)
{
    const coil_call_graph_opts opts = {
        .size = sizeof opts, .depth = depth, .limit = limit, .no_stack = no_stack};
    coil_call_graph *graph;
    assert_int_equal(coil_capture_call_graph(NULL, &opts, &graph), 0);
    out[0] = '\0';
    graph_add_stack(out, size, graph->call_stack, graph->call_stack_n);
    size_t n = graph->call_stack_n;
    coil_call_graph_free(graph);
    return n;
}

FRAME coil_ret f_inner(void)
{
    char out[GRAPH_TEXT];
    size_t all = depth_seen(0, 0, false, out, sizeof out);
    assert_string_equal(out, "[f_inner f_middle f_outer]");
    assert_int_equal(depth_seen(1, 0, false, out, sizeof out), all);
    assert_int_equal(depth_seen(3, 0, false, out, sizeof out), all - 2);
    assert_string_equal(out, "[f_middle f_outer]");
    assert_int_equal(depth_seen(1000, 0, false, out, sizeof out), 0);
    /* asyncio: limit > 0 are the outermost, < 0 the innermost. */
    assert_int_equal(depth_seen(2, 2, false, out, sizeof out), 2);
    assert_string_equal(out, "[f_middle f_outer]");
    assert_int_equal(depth_seen(2, -2, false, out, sizeof out), 2);
    assert_string_equal(out, "[f_inner f_middle]");
    assert_int_equal(depth_seen(2, 1000, false, out, sizeof out), all - 1);
    assert_int_equal(depth_seen(2, INT32_MIN, false, out, sizeof out), all - 1);
    assert_int_equal(depth_seen(0, 0, true, out, sizeof out), 0);
    CALLED(0);
}

FRAME coil_ret f_middle(void)
{
    CALLED(f_inner());
}

FRAME coil_ret f_outer(void *arg)
{
    (void)arg;
    CALLED(f_middle());
}

COIL_TEST(depth_and_limit_choose_the_calls)
{
    assert_int_equal(coil_join(coil_create_task(f_outer, NULL)), 0);
}

COIL_TEST(depth_is_of_the_current_task_alone)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = named(f_waits, f, "t");
    turns(1);
    const coil_call_graph_opts opts = {.size = sizeof opts, .depth = 50};
    coil_call_graph *graph;
    assert_int_equal(coil_capture_call_graph(t, &opts, &graph), 0);
    graph_seen[0] = '\0';
    graph_words(graph, graph_seen, sizeof graph_seen);
    assert_seen("T<t>[f_waits]");
    coil_call_graph_free(graph);
    finish(f);
    assert_int_equal(coil_join(t), 0);
}

static coil_call_graph *of_callback;
static coil_ret formatted;

static void capture_in_callback(void *arg)
{
    (void)arg;
    assert_int_equal(coil_capture_call_graph(NULL, NULL, &of_callback), 0);
    formatted = coil_format_call_graph(NULL, NULL, NULL, 0);
}

COIL_TEST(callback_has_no_current_task_to_show)
{
    of_callback = (coil_call_graph *)&formatted;
    formatted = 1;
    coil_loop_call_soon(NULL, capture_in_callback, NULL, NULL);
    turns(1);
    assert_null(of_callback);
    assert_int_equal(formatted, 0);
    coil_call_graph_free(NULL);
}

COIL_TEST(graph_and_text_need_a_place)
{
    assert_int_equal(coil_capture_call_graph(NULL, NULL, NULL), -EINVAL);
    assert_int_equal(coil_format_call_graph(NULL, NULL, NULL, 10), -EINVAL);
    assert_true(coil_format_call_graph(NULL, NULL, NULL, 0) > 0);
    assert_true(coil_task_get_stack(coil_current_task(), NULL, 10) > 0);
}

COIL_TEST_PLAIN(graph_outside_of_a_loop_needs_a_future)
{
    coil_call_graph *graph = NULL;
    assert_int_equal(coil_capture_call_graph(NULL, NULL, &graph), COIL_ENOLOOP);
    assert_null(graph);
    assert_int_equal(coil_format_call_graph(NULL, NULL, NULL, 0), COIL_ENOLOOP);
    assert_int_equal(coil_print_call_graph(NULL, NULL, stderr), COIL_ENOLOOP);
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_future *f = coil_loop_create_future(loop);
    assert_int_equal(coil_capture_call_graph(f, NULL, &graph), 0);
    assert_ptr_equal(graph->future, f);
    coil_call_graph_free(graph);
    coil_unref(f);
    coil_loop_free(loop);
}

static void *in_another_thread(void *future)
{
    coil_call_graph *graph = NULL;
    intptr_t rc = coil_capture_call_graph(future, NULL, &graph);
    return (void *)rc;
}

COIL_TEST_WITH(graph_asked_for_in_another_thread_is_refused_in_debug_mode, .debug = true,
               .virtual_time = true)
{
    pthread_t thread;
    void *rc;
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    assert_int_equal(pthread_create(&thread, NULL, in_another_thread, coil_current_task()), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal((intptr_t)rc, COIL_EWRONGTHREAD);
}

/* ---- what holds ---- */

COIL_TEST(graph_holds_its_futures)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = named(f_waits, f, "t");
    turns(1);
    coil_call_graph *graph;
    assert_int_equal(coil_capture_call_graph(f, NULL, &graph), 0);
    finish(f);
    assert_int_equal(coil_join(t), 0);
    turns(1);
    assert_true(coil_future_done(graph->future));
    assert_string_equal(coil_task_get_name(graph->awaited_by[0]->future), "t");
    coil_call_graph_free(graph);
}

static void capture_and_format(void *future)
{
    coil_call_graph *graph;
    int err = coil_capture_call_graph(future, NULL, &graph);
    if (err)
        assert_int_equal(err, -ENOMEM);
    else
        coil_call_graph_free(graph);
    char text[4096];
    coil_ret n = coil_format_call_graph(future, NULL, text, sizeof text);
    assert_true(n > 0 || n == -ENOMEM);
    FILE *file = fmemopen(text, sizeof text, "w");
    err = coil_print_call_graph(future, NULL, file);
    assert_true(err == 0 || err == -ENOMEM);
    fclose(file);
    const void *stack[8];
    assert_true(coil_task_get_stack(coil_current_task(), stack, 8) < 100);
}

static void say_by_hand(void *future)
{
    int err = coil_future_add_to_awaited_by(future, coil_current_task());
    assert_true(err == 0 || err == -ENOMEM);
    coil_future_discard_from_awaited_by(future, coil_current_task());
}

COIL_TEST(graph_survives_failing_allocations)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *a = named(f_waits, f, "a"), *b = named(f_waits, a, "b");
    turns(1);
    sweep_allocations(capture_and_format, f);
    sweep_allocations(say_by_hand, f);
    finish(f);
    assert_int_equal(coil_join(a), 0);
    assert_int_equal(coil_join(b), 0);
}

/* ---- text ---- */

COIL_TEST(format_says_how_long_it_is_and_cuts_what_does_not_fit)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = named(f_waits, f, "t");
    turns(1);
    static char whole[65536], part[65536];
    coil_ret n = coil_format_call_graph(f, NULL, NULL, 0);
    assert_in_range(n, 100, sizeof whole - 1);
    assert_int_equal(coil_format_call_graph(f, NULL, whole, sizeof whole), n);
    assert_int_equal(strlen(whole), n);
    for (size_t size = 1; size <= (size_t)n; size += 37) {
        memset(part, 'x', sizeof part);
        assert_int_equal(coil_format_call_graph(f, NULL, part, size), n);
        assert_int_equal(strlen(part), size - 1);
        assert_memory_equal(part, whole, size - 1);
        assert_int_equal(part[size], 'x');
    }
    finish(f);
    assert_int_equal(coil_join(t), 0);
}

COIL_TEST(print_is_format_and_a_newline)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = named(f_waits, f, "it's \x1b[1m");
    turns(1);
    static char formatted_text[65536], printed[65536];
    coil_ret n = coil_format_call_graph(f, NULL, formatted_text, sizeof formatted_text);
    FILE *file = fmemopen(printed, sizeof printed, "w");
    assert_int_equal(coil_print_call_graph(f, NULL, file), 0);
    fclose(file);
    assert_memory_equal(printed, formatted_text, n);
    assert_string_equal(printed + n, "\n");
    assert_non_null(strstr(printed, "\n  + Awaited by:\n    * Task(name='it\\'s \\x1b[1m', id=0x"));
    assert_non_null(strstr(printed, "\n      + Call stack:\n      |   File '"));
    assert_non_null(strstr(printed, ", in f_waits()"));
    finish(f);
    assert_int_equal(coil_join(t), 0);
}

COIL_TEST_MAIN()
