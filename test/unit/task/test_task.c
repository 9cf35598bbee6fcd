/* SPDX-License-Identifier: MIT
 *
 * test_task.c: what a task is: made, named, stepped, asked, ended; its arguments, stack and result. */
#include "task/task.h"

#include "../loop/stage.h"

static coil_ret give(void *arg)
{
    return (coil_ret)arg;
}

static coil_task *start_opts(coil_fn fn, const void *arg, coil_task_opts opts)
{
    opts.size = sizeof opts;
    opts.loop = stage.loop;
    return coil_create_task_opts(fn, arg, &opts);
}

static coil_task *start(coil_fn fn, const void *arg)
{
    return start_opts(fn, arg, (coil_task_opts){0});
}

static coil_ret run(coil_task *t)
{
    coil_ret rc = coil_loop_run_until_complete(stage.loop, t);
    coil_unref(t);
    return rc;
}

/* ---- starting ---- */

static coil_ret note_and_yield(void *arg)
{
    note("%s1", (const char *)arg);
    FACT_INT(coil_sleep(0), 0);
    note("%s2", (const char *)arg);
    return 0;
}

LOOP(task_starts_in_the_next_turn_in_order_of_creation)
{
    coil_task *a = start(note_and_yield, "a"), *b = start(note_and_yield, "b");
    soon(note_arg, "callback");
    coil_task *c = start(note_and_yield, "c");
    FACT_TRACE("");
    one_turn();
    FACT_TRACE("a1 b1 callback c1");
    one_turn();
    FACT_TRACE("a2 b2 c2");
    FACT(coil_future_done(a) && coil_future_done(b) && coil_future_done(c));
    coil_unref(a);
    coil_unref(b);
    coil_unref(c);
}

static coil_ret spawn_three(void *arg)
{
    (void)arg;
    coil_task *t[3];
    note("main");
    for (int i = 0; i < 3; i++)
        t[i] = coil_create_task(note_and_yield, TEXT(i == 0 ? "x" : i == 1 ? "y" : "z"));
    note("created");
    for (int i = 0; i < 3; i++)
        FACT_INT(coil_join(t[i]), 0);
    return 0;
}

LOOP(task_that_creates_others_runs_on)
{
    FACT_INT(run(start(spawn_three, NULL)), 0);
    FACT_TRACE("main created x1 y1 z1 x2 y2 z2");
}

LOOP(task_is_kept_alive_by_its_loop)
{
    coil_unref(start(note_and_yield, "a"));
    one_turn();
    one_turn();
    FACT_TRACE("a1 a2");
}

LOOP(task_without_a_function_is_refused)
{
    coil_task *t = start(NULL, NULL);
    FACT_INT(coil_future_result(t), -EINVAL);
    FACT_ERROR(-EINVAL, "a task needs a function");
    coil_unref(t);
}

PLAIN(task_without_a_loop_is_refused)
{
    coil_task *t = coil_create_task(give, NULL);
    FACT(coil_future_done(t));
    FACT_INT(coil_future_result(t), COIL_ENOLOOP);
    coil_unref(t);
    FACT(coil_current_task() == NULL);
    FACT_INT(coil_all_tasks(NULL, NULL, 0), 0);
    FACT_INT(coil_sleep(0), COIL_ENOTASK);
    FACT_INT(coil_sleep(1), COIL_ENOTASK);
    FACT_ERROR(COIL_ENOTASK, "only a task can wait");
    FACT_INT(coil_wait_fd(0, COIL_READ), COIL_ENOTASK);
}

/* ---- asking ---- */

static coil_ret look_at_itself(void *arg)
{
    coil_task *me = coil_current_task();
    FACT(me == *(coil_task **)arg);
    FACT_INT(coil_task_state(me), COIL_TASK_RUNNING);
    FACT_INT(coil_future_state(me), COIL_FUTURE_PENDING);
    FACT_TEXT(coil_task_waiting_on(me), "");
    FACT_INT(coil_sleep(1), 0);
    FACT(coil_current_task() == me);
    return 5;
}

static void no_task_here(void *arg)
{
    FACT(coil_current_task() == NULL);
    FACT_INT(coil_sleep(0), COIL_ENOTASK);
    FACT_INT(coil_task_state(*(coil_task **)arg), COIL_TASK_PENDING);
    FACT_TEXT(coil_task_waiting_on(*(coil_task **)arg), "sleep");
}

LOOP(task_tells_what_it_is)
{
    coil_task *t = NULL;
    void *arg;
    int line, made = __LINE__ + 1;
    t = coil_create_task_opts(look_at_itself, &t, (&(coil_task_opts){.loop = stage.loop}));
    FACT(coil_is_task(t));
    FACT(coil_future_get_loop(t) == stage.loop);
    FACT(coil_task_get_fn(t, &arg) == look_at_itself && arg == &t);
    FACT(coil_task_get_fn(t, NULL) == look_at_itself);
    FACT_HAS(coil_task_created_at(t, &line), "test_task.c");
    FACT_INT(line, made);
    FACT_INT(coil_task_state(t), COIL_TASK_PENDING);
    FACT_TEXT(coil_task_waiting_on(t), "");
    one_turn();
    soon(no_task_here, &t);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 5);
    FACT_INT(coil_task_state(t), COIL_TASK_DONE);
    FACT_INT(coil_future_state(t), COIL_FUTURE_FINISHED);
    coil_unref(t);
}

LOOP(task_names)
{
    coil_task *a = start(give, NULL), *b = start(give, NULL);
    FACT_TEXT(coil_task_get_name(a), "Task-1");
    FACT_TEXT(coil_task_get_name(b), "Task-2");
    coil_task_set_name(a, "worker");
    FACT_TEXT(coil_task_get_name(a), "worker");
    coil_task_set_name(a, NULL); /* no name: nothing */
    FACT_TEXT(coil_task_get_name(a), "worker");
    coil_task_set_name(a, "0123456789012345678901234567890123456789");
    FACT_TEXT(coil_task_get_name(a), "0123456789012345678901234567890");
    coil_task *c = start_opts(give, NULL, (coil_task_opts){.name = "named"});
    FACT_TEXT(coil_task_get_name(c), "named");
    coil_task *d = start_opts(give, NULL, (coil_task_opts){.name = ""});
    FACT_TEXT(coil_task_get_name(d), "");
    coil_task *e = start(give, NULL);
    FACT_TEXT(coil_task_get_name(e), "Task-5"); /* names do not stop the count */
    one_turn();
    coil_unref(a);
    coil_unref(b);
    coil_unref(c);
    coil_unref(d);
    coil_unref(e);
}

LOOP(tasks_numbered_far_keep_their_names_apart)
{
    char expected[32];
    for (int i = 1; i <= 1200; i++) {
        coil_task *t = start(give, NULL);
        snprintf(expected, sizeof expected, "Task-%d", i);
        FACT_TEXT(coil_task_get_name(t), expected);
        coil_unref(t);
        if (i % 100 == 0)
            one_turn();
    }
}

static coil_ret note_all(void *arg)
{
    coil_task *all[8];
    size_t n = coil_all_tasks(NULL, all, 8);
    FACT_INT(n, (intptr_t)arg);
    for (size_t i = 0; i < n && i < 8; i++) {
        note("%s", coil_task_get_name(all[i]));
        coil_unref(all[i]);
    }
    return 0;
}

LOOP(all_tasks_lists_those_that_are_not_done)
{
    coil_task *a = start_opts(note_and_yield, "a", (coil_task_opts){.name = "first"});
    coil_task *b = start_opts(give, NULL, (coil_task_opts){.name = "over"});
    coil_task *c = start_opts(note_all, (void *)2, (coil_task_opts){.name = "lister"});
    FACT_INT(coil_all_tasks(stage.loop, NULL, 0), 3);
    coil_task *two[2] = {NULL, NULL};
    FACT_INT(coil_all_tasks(stage.loop, two, 1), 3); /* fills no more than there is room for */
    FACT(two[0] == a && two[1] == NULL);
    coil_unref(two[0]);
    one_turn();
    FACT_TRACE("a1 first lister");
    one_turn();
    FACT_INT(coil_all_tasks(stage.loop, NULL, 0), 0);
    coil_unref(a);
    coil_unref(b);
    coil_unref(c);
    stage.log[0] = '\0';
}

LOOP(task_cannot_be_finished_by_hand)
{
    coil_task *t = start(give, (void *)3);
    FACT_INT(coil_future_set_result(t, 1), COIL_EINVALIDSTATE);
    FACT_ERROR(COIL_EINVALIDSTATE, "Task does not support set_result");
    FACT_INT(coil_future_set_exception(t, -EIO), COIL_EINVALIDSTATE);
    FACT_INT(run(t), 3);
}

/* ---- arguments and stacks ---- */

struct args {
    int a;
    char text[100];
    double d;
};

static coil_ret read_args(void *arg)
{
    const struct args *args = arg;
    FACT((uintptr_t)args % _Alignof(max_align_t) == 0);
    FACT_INT(coil_sleep(1), 0);
    FACT_TEXT(args->text, "hello");
    FACT(args->d == 2.5);
    return args->a;
}

static coil_task *start_with(int a)
{
    struct args args = {.a = a, .text = "hello", .d = 2.5};
    coil_task *t = coil_create_task_at(__FILE__, __LINE__, read_args, &args, sizeof args,
                                       &(coil_task_opts){.loop = stage.loop});
    memset(&args, 0xee, sizeof args); /* the caller's are gone */
    return t;
}

LOOP(arguments_are_copied_to_the_tasks_own_stack)
{
    coil_task *t[10];
    for (int i = 0; i < 10; i++)
        t[i] = start_with(i);
    for (int i = 0; i < 10; i++)
        FACT_INT(run(t[i]), i);
}

static coil_ret sum_bytes(void *arg)
{
    const unsigned char *p = arg;
    coil_ret sum = 0;
    for (int i = 0; i < 30000; i++)
        sum += p[i];
    return sum;
}

LOOP(arguments_may_be_large_but_must_fit)
{
    static unsigned char bytes[16 << 20];
    memset(bytes, 1, 30000);
    coil_task_opts opts = {.loop = stage.loop};
    FACT_INT(run(coil_create_task_at(__FILE__, __LINE__, sum_bytes, bytes, 30000, &opts)), 30000);
    coil_task *t = coil_create_task_at(__FILE__, __LINE__, sum_bytes, bytes, sizeof bytes, &opts);
    FACT_INT(coil_future_result(t), -EINVAL);
    FACT_ERROR(-EINVAL, "leave no room");
    coil_unref(t);
    t = coil_create_task_at(__FILE__, __LINE__, sum_bytes, bytes, SIZE_MAX, &opts);
    FACT_INT(coil_future_result(t), -EINVAL);
    coil_unref(t);
    one_turn();
}

/* Fills `n` bytes of stack. */
static coil_ret __attribute__((noinline)) dig(size_t n)
{
    volatile char room[1024];
    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 7;
    coil_ret rc = n > sizeof room ? dig(n - sizeof room) : coil_sleep(0);
    return rc + (room[512] - 7);
}

static coil_ret dig_deep(void *arg)
{
    return dig((size_t)(uintptr_t)arg);
}

LOOP(stack_size_is_what_was_asked_for)
{
    coil_task *deep = start_opts(dig_deep, (void *)(uintptr_t)(3 << 20),
                                 (coil_task_opts){.stack_size = 8 << 20});
    coil_task *usual = start(dig_deep, (void *)(uintptr_t)(64 << 10));
    coil_task *small = start_opts(dig_deep, (void *)(uintptr_t)1024,
                                  (coil_task_opts){.stack_size = 1});
    FACT_INT(run(deep), 0);
    FACT_INT(run(usual), 0);
    FACT_INT(run(small), 0);
    coil_task *absurd = start_opts(give, NULL, (coil_task_opts){.stack_size = SIZE_MAX / 2});
    FACT_INT(coil_future_result(absurd), -EINVAL);
    coil_unref(absurd);
}

PLAIN(stack_size_of_a_loop_is_its_tasks_default)
{
    coil_run_opts opts = {.size = sizeof opts, .stack_size = 4 << 20, .virtual_time = true};
    stage.loop = coil_new_event_loop(&opts);
    FACT_INT(run(start(dig_deep, (void *)(uintptr_t)(2 << 20))), 0);
    coil_loop_free(stage.loop);
    opts.stack_size = SIZE_MAX / 2;
    stage.loop = coil_new_event_loop(&opts);
    coil_task *t = start(give, NULL);
    FACT_INT(coil_future_result(t), -EINVAL);
    FACT_ERROR(-EINVAL, "no size for a stack");
    coil_unref(t);
    FACT(coil_loop_create_future(stage.loop) != NULL);
}

static coil_loop_stats_t stats(void)
{
    coil_loop_stats_t s;
    coil_loop_stats(stage.loop, &s);
    return s;
}

LOOP(stacks_are_reused)
{
    for (int i = 0; i < 100; i++)
        FACT_INT(run(start(give, (void *)(intptr_t)i)), i);
    FACT_INT(stats().stacks, 0);
    FACT(stats().stacks_max <= 2);
    int64_t blocks = coil__mem_live();
    for (int i = 0; i < 100; i++)
        coil_unref(start(give, NULL));
    one_turn();
    for (int i = 0; i < 100; i++)
        coil_unref(start(give, NULL));
    one_turn();
    FACT_INT(stats().stacks, 0);
    FACT(stats().stacks_max <= 101);
    FACT(coil__mem_live() - blocks <= 2); /* spawning allocates nothing once warm */
}

LOOP(tasks_by_the_thousand)
{
    enum { N = 2000 };
    static coil_task *all[N];
    for (int i = 0; i < N; i++)
        all[i] = start(dig_deep, (void *)(uintptr_t)100);
    FACT_INT(coil_all_tasks(stage.loop, NULL, 0), N);
    one_turn();
    one_turn();
    for (int i = 0; i < N; i++) {
        FACT_INT(coil_future_result(all[i]), 0);
        coil_unref(all[i]);
    }
}

/* ---- results ---- */

LOOP(result_is_what_the_function_returned)
{
    int x = 0;
    FACT(run(start(give, &x)) == (coil_ret)&x);
    FACT_INT(run(start(give, NULL)), 0);
    FACT_INT(run(start(give, (void *)-5000)), -5000); /* no error: out of their range */
    FACT_INT(run(start(give, (void *)(intptr_t)-EIO)), -EIO);
    FACT_ERROR(-EIO, coil_strerror(-EIO));
}

static coil_ret fail_with_words(void *arg)
{
    coil_fail(-ENOENT, "no such thing");
    return coil_fail_from(COIL_EUSER, "cannot %s", (const char *)arg);
}

LOOP(error_comes_with_its_words_cause_and_task)
{
    coil_task *t = start_opts(fail_with_words, "go on", (coil_task_opts){.name = "walker"});
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), COIL_EUSER);
    const coil_error *last = coil_last_error(), *of_task = coil_future_exception(t);
    FACT_TEXT(last->message, "cannot go on");
    FACT_TEXT(last->task, "walker");
    FACT_TEXT(last->cause->message, "no such thing");
    FACT_TEXT(of_task->message, "cannot go on");
    FACT_HAS(of_task->file, "test_task.c");
    coil_unref(t);
    FACT_TEXT(coil_last_error()->cause->message, "no such thing"); /* a copy, not a pointer */
}

static int freed;

static void count_free(coil_ret value)
{
    FACT_INT(value, 77);
    FACT(coil_current_task() == NULL); /* on the loop's stack */
    freed++;
}

static coil_task *start_owning(coil_fn fn, void *arg)
{
    return start_opts(fn, arg, (coil_task_opts){.free_result = count_free});
}

static coil_ret ignore_cancel(void *arg)
{
    coil_ignore(coil_sleep(1));
    return (coil_ret)arg;
}

static coil_ret cancel_self_and_give(void *arg)
{
    coil_task_cancel(coil_current_task(), NULL);
    return (coil_ret)arg;
}

LOOP(result_that_owns_memory_is_freed_when_nobody_took_it)
{
    freed = 0;
    coil_unref(start_owning(give, (void *)77)); /* nobody holds it when it ends */
    one_turn();
    FACT_INT(freed, 1);
    coil_task *t = start_owning(give, (void *)77);
    one_turn();
    FACT_INT(freed, 1);
    coil_unref(t);
    FACT_INT(freed, 2);
    FACT_INT(run(start_owning(give, (void *)77)), 77); /* taken */
    FACT_INT(freed, 2);
    t = start_owning(give, (void *)77);
    coil_task_cancel(t, NULL); /* never ran, gave nothing */
    one_turn();
    coil_unref(t);
    FACT_INT(freed, 2);
    t = start_owning(ignore_cancel, (void *)77);
    one_turn();
    FACT(coil_task_cancel(t, NULL));
    one_turn();
    FACT_INT(coil_future_state(t), COIL_FUTURE_FINISHED); /* it gave one all the same */
    coil_unref(t);
    FACT_INT(freed, 3);
}

static int dropped;

static void count_drop(coil_ret value)
{
    FACT_INT(value, 77);
    dropped++;
}

LOOP(result_that_a_late_cancel_overtook_is_freed)
{
    dropped = 0;
    coil_task *t = start_opts(cancel_self_and_give, (void *)77,
                              (coil_task_opts){.free_result = count_drop});
    one_turn();
    FACT(coil_future_cancelled(t));
    coil_unref(t);
    FACT_INT(dropped, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(task_starts_in_the_next_turn_in_order_of_creation),
        cmocka_unit_test(task_that_creates_others_runs_on),
        cmocka_unit_test(task_is_kept_alive_by_its_loop),
        cmocka_unit_test(task_without_a_function_is_refused),
        cmocka_unit_test(task_without_a_loop_is_refused),
        cmocka_unit_test(task_tells_what_it_is),
        cmocka_unit_test(task_names),
        cmocka_unit_test(tasks_numbered_far_keep_their_names_apart),
        cmocka_unit_test(all_tasks_lists_those_that_are_not_done),
        cmocka_unit_test(task_cannot_be_finished_by_hand),
        cmocka_unit_test(arguments_are_copied_to_the_tasks_own_stack),
        cmocka_unit_test(arguments_may_be_large_but_must_fit),
        cmocka_unit_test(stack_size_is_what_was_asked_for),
        cmocka_unit_test(stack_size_of_a_loop_is_its_tasks_default),
        cmocka_unit_test(stacks_are_reused),
        cmocka_unit_test(tasks_by_the_thousand),
        cmocka_unit_test(result_is_what_the_function_returned),
        cmocka_unit_test(error_comes_with_its_words_cause_and_task),
        cmocka_unit_test(result_that_owns_memory_is_freed_when_nobody_took_it),
        cmocka_unit_test(result_that_a_late_cancel_overtook_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
