/* SPDX-License-Identifier: MIT
 *
 * call_graphs.c: asyncio's tests of the await graph and of a task's stack, by the names they have in test_graph.py and
 * test_tasks.py.
 *
 * A stack here shows every function of C that has not returned; compared are the test's own. */
#include "graph.h"

#include <coil.h>

static coil_task *named(coil_fn fn, const void *arg, const char *name)
{
    coil_task_opts opts = {.size = sizeof opts, .name = name};
    return coil_create_task_opts(fn, arg, &opts);
}

static void assert_tells(const char *words)
{
    if (!strstr(graph_text, words))
        fail_msg("\"%s\" does not stand in\n%s", words, graph_text);
}

/* ---- a group ---- */

FRAME coil_ret f_c5(void)
{
    look(NULL);
    CALLED(0);
}

FRAME coil_ret f_c4(void)
{
    coil_ret rc = coil_sleep(0);
    if (rc == 0)
        rc = f_c5();
    CALLED(rc);
}

FRAME coil_ret f_c3(void)
{
    CALLED(f_c4());
}

FRAME coil_ret f_c2(void *arg)
{
    (void)arg;
    CALLED(f_c3());
}

FRAME coil_ret f_await(void *future)
{
    CALLED(coil_await((coil_future *)future));
}

FRAME coil_ret f_main_of_group(void)
{
    coil_task_group(tg);
    coil_task_opts names[] = {{.size = sizeof names[0], .name = "c2_root"},
                              {.size = sizeof names[0], .name = "sub_main_1"},
                              {.size = sizeof names[0], .name = "sub_main_2"}};
    coil_task *task = coil_group_create_task_opts(&tg, f_c2, NULL, &names[0]);
    coil_group_create_task_opts(&tg, f_await, task, &names[1]);
    coil_group_create_task_opts(&tg, f_await, task, &names[2]);
    CALLED(coil_group_exit(&tg, 0));
}

COIL_TEST(test_stack_tgroup)
{
    assert_int_equal(f_main_of_group(), 0);
    assert_seen("T<c2_root>[look f_c5 f_c4 f_c3 f_c2]("
                "T<anon>[f_main_of_group test_stack_tgroup] "
                "T<sub_main_1>[f_await](T<anon>[f_main_of_group test_stack_tgroup]) "
                "T<sub_main_2>[f_await](T<anon>[f_main_of_group test_stack_tgroup]))");
    assert_tells(", in test_stack_tgroup()");
    assert_tells("* Task(name='c2_root', id=0x");
    assert_tells("\n  + Call stack:\n  |   File '");
    assert_tells("\n  + Awaited by:\n    * Task(name='Task-");
    assert_tells("\n      + Call stack:\n      |   File '");
    assert_tells("\n    * Task(name='sub_main_1', id=0x");
}

/* ---- a generator that waits ---- */

FRAME coil_ret f_gen_nested_call(void)
{
    look(NULL);
    CALLED(0);
}

FRAME coil_ret f_gen(coil_gen *self, void *arg)
{
    (void)arg;
    coil_ret rc = 0;
    for (int num = 0; num < 2 && rc == 0; num++) {
        rc = coil_gen_yield(self, num);
        if (rc == 0 && num == 1)
            rc = f_gen_nested_call();
    }
    CALLED(rc);
}

FRAME coil_ret f_main_of_gen(void)
{
    int rc;
    coil_gen *gen = coil_gen_new(f_gen, NULL);
    COIL_GEN_FOREACH(value, gen, rc)
    (void)value;
    coil_gen_unref(gen);
    CALLED(rc);
}

COIL_TEST(test_stack_async_gen)
{
    assert_int_equal(f_main_of_gen(), 0);
    assert_seen("T<anon>[look f_gen_nested_call f_gen f_main_of_gen test_stack_async_gen]");
    assert_tells(", in f_gen()");
}

/* ---- gather, shield, timeout, wait, a task ---- */

FRAME coil_ret f_deep(void)
{
    coil_ret rc = coil_sleep(0);
    look(NULL);
    CALLED(rc);
}

FRAME coil_ret f_c1(void *arg)
{
    (void)arg;
    coil_ret rc = coil_sleep(0);
    if (rc == 0)
        rc = f_deep();
    CALLED(rc);
}

FRAME coil_ret f_naps(void *times)
{
    coil_ret rc = 0;
    for (intptr_t i = 0; i < (intptr_t)times && rc == 0; i++)
        rc = coil_sleep(0);
    CALLED(rc);
}

FRAME coil_ret f_gather(void)
{
    coil_future *both[] = {coil_create_task(f_c1, NULL), coil_create_task(f_naps, (void *)1)};
    CALLED(coil_gather(both, 2, NULL, COIL_UNREF));
}

COIL_TEST(test_stack_gather)
{
    assert_int_equal(f_gather(), 0);
    assert_seen("T<anon>[look f_deep f_c1](T<anon>[f_gather test_stack_gather])");
}

FRAME coil_ret f_shield(coil_fn fn)
{
    coil_task *task = coil_create_task(fn, NULL);
    coil_ret rc = coil_shield(task);
    coil_unref(task);
    CALLED(rc);
}

COIL_TEST(test_stack_shield)
{
    assert_int_equal(f_shield(f_c1), 0);
    assert_seen("T<anon>[look f_deep f_c1](T<anon>[f_shield test_stack_shield])");
}

FRAME coil_ret f_c1_timed(void *arg)
{
    coil_timeout(tm, 1);
    coil_ret rc = f_c1(arg);
    CALLED(coil_timeout_exit(&tm, rc));
}

COIL_TEST(test_stack_timeout)
{
    assert_int_equal(f_shield(f_c1_timed), 0);
    assert_seen("T<anon>[look f_deep f_c1 f_c1_timed](T<anon>[f_shield test_stack_timeout])");
}

FRAME coil_ret f_wait(coil_task **tasks)
{
    coil_ret rc;
    do
        rc = coil_wait(tasks, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL);
    while (rc >= 0 && rc < 2);
    CALLED(rc);
}

COIL_TEST(test_stack_wait)
{
    coil_task *tasks[] = {coil_create_task(f_c1_timed, NULL), coil_create_task(f_naps, (void *)3)};
    assert_int_equal(f_wait(tasks), 2);
    assert_int_equal(coil_join(tasks[0]), 0);
    assert_int_equal(coil_join(tasks[1]), 0);
    assert_seen("T<anon>[look f_deep f_c1 f_c1_timed](T<anon>[f_wait test_stack_wait])");
}

FRAME coil_ret f_c2_of_task(void)
{
    CALLED(coil_join(named(f_c1, NULL, "there there")));
}

COIL_TEST(test_stack_task)
{
    assert_int_equal(f_c2_of_task(), 0);
    assert_seen("T<there there>[look f_deep f_c1](T<anon>[f_c2_of_task test_stack_task])");
}

/* ---- a future that two await ---- */

FRAME coil_ret f_a1(void *future)
{
    CALLED(f_await(future));
}

FRAME coil_ret f_main_of_future(coil_future *fut)
{
    coil_task_group(tg);
    coil_task_opts a = {.size = sizeof a, .name = "task A"},
                   b = {.size = sizeof b, .name = "task B"};
    coil_group_create_task_opts(&tg, f_a1, fut, &a);
    coil_group_create_task_opts(&tg, f_await, fut, &b);
    assert_int_equal(f_naps((void *)5), 0);
    look(fut);
    assert_int_equal(coil_future_set_result(fut, 0), 0);
    CALLED(coil_group_exit(&tg, 0));
}

COIL_TEST(test_stack_future)
{
    coil_future *fut = coil_loop_create_future(NULL);
    assert_int_equal(f_main_of_future(fut), 0);
    coil_unref(fut);
    /* The main task runs: it stands where it asked. */
    assert_seen("F("
                "T<task A>[f_await f_a1](T<anon>[look f_main_of_future test_stack_future]) "
                "T<task B>[f_await](T<anon>[look f_main_of_future test_stack_future]))");
    assert_memory_equal(graph_text, "* Future(id=0x", 14);
}

/* ---- a task's own stack ---- */

static coil_task *whose;

static void stack_words(char *out, size_t size, size_t capacity)
{
    const void *stack[64];
    size_t n = coil_task_get_stack(whose, stack, capacity);
    out[0] = '\0';
    graph_add_stack(out, size, stack, n < capacity ? n : capacity);
}

FRAME coil_ret f_bar(void)
{
    char words[256], printed[8192] = "";
    stack_words(words, sizeof words, 64);
    assert_string_equal(words, "[f_foo f_bar]");
    /* The newest one: who asks. */
    const void *newest;
    coil_frame frame = {.size = sizeof frame};
    assert_true(coil_task_get_stack(whose, &newest, 1) >= 2);
    assert_int_equal(coil_frame_describe(newest, &frame), 0);
    assert_string_equal(frame.function, "f_bar");

    FILE *file = fmemopen(printed, sizeof printed, "w");
    coil_task_print_stack(whose, 1, file);
    fclose(file);
    const char *head = "Stack for <Task pending name='T' created at ";
    assert_memory_equal(printed, head, strlen(head));
    assert_non_null(strstr(printed, "> (most recent call last):\n  File \""));
    assert_non_null(strstr(printed, ", in f_bar\n"));
    assert_null(strstr(printed, "f_foo"));
    CALLED(0);
}

FRAME coil_ret f_foo(void *arg)
{
    (void)arg;
    CALLED(f_bar());
}

COIL_TEST(test_get_stack)
{
    whose = named(f_foo, NULL, "T");
    assert_int_equal(coil_join(whose), 0);
}

COIL_TEST_MAIN()
