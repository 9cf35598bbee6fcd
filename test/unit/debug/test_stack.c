/* SPDX-License-Identifier: MIT
 *
 * test_stack.c: the stack of a task in each state that a task can be in, and how it is printed. */
#include "graph.h"

#include <coil.h>

static char words[GRAPH_TEXT];

/* The stack of a task, oldest first: the newest `capacity` of it. Returns how many there are in all. */
__attribute__((noinline)) static size_t see(coil_task *task, size_t capacity)
{
    const void *stack[256];
    assert_true(capacity <= 256);
    memset(stack, 0xaa, sizeof stack);
    size_t n = coil_task_get_stack(task, stack, capacity);
    words[0] = '\0';
    graph_add_stack(words, sizeof words, stack, n < capacity ? n : capacity);
    return n;
}

#define assert_stack(task, expected)            \
    do {                                        \
        see((task), 256);                       \
        assert_string_equal(words, (expected)); \
    } while (0)

FRAME coil_ret f_waits(void *future)
{
    CALLED(coil_await((coil_future *)future));
}

FRAME coil_ret f_outer(void *future)
{
    CALLED(f_waits(future));
}

/* ---- each state ---- */

COIL_TEST(stack_before_the_first_step_is_the_function)
{
    coil_task *t = coil_create_task(f_outer, NULL);
    assert_int_equal(see(t, 256), 1);
    assert_string_equal(words, "[f_outer]");
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
}

COIL_TEST(stack_of_a_coroutine_object_is_that_of_its_function)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = coil_create_task_coro(coil_coro_new(f_outer, f));
    assert_int_equal(see(t, 256), 1);
    assert_string_equal(words, "[f_outer]");
    assert_int_equal(coil_sleep(0), 0);
    size_t n = see(t, 256);
    assert_string_equal(words, "[f_outer f_waits]");
    coil_task *plain = coil_create_task(f_outer, f);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(see(plain, 256), n); /* and nothing of ours in it */
    assert_int_equal(coil_future_set_result(f, 3), 0);
    assert_int_equal(coil_join(t), 3);
    assert_int_equal(coil_join(plain), 3);
    coil_unref(f);
}

COIL_TEST(stack_of_a_parked_task_ends_in_the_call_that_waits)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = coil_create_task(f_outer, f);
    assert_int_equal(coil_sleep(0), 0);
    assert_stack(t, "[f_outer f_waits]");
    const void *newest;
    coil_frame frame = {.size = sizeof frame};
    assert_true(coil_task_get_stack(t, &newest, 1) >= 3);
    assert_int_equal(coil_frame_describe(newest, &frame), 0);
    assert_string_equal(frame.function, "coil_await_future");
    assert_int_equal(coil_future_set_result(f, 0), 0);
    assert_stack(t, "[f_outer f_waits]"); /* woken, and still there */
    assert_int_equal(coil_await(t), 0);
    assert_int_equal(see(t, 256), 0); /* done */
    coil_unref(t);
    coil_unref(f);
}

COIL_TEST(stack_shows_the_newest_where_there_is_no_room_for_all)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = coil_create_task(f_outer, f);
    assert_int_equal(coil_sleep(0), 0);
    size_t all = see(t, 256);
    assert_int_equal(see(t, 0), all);
    assert_int_equal(see(t, all - 1), all);
    assert_string_equal(words, "[f_waits]"); /* the oldest one is left out */
    assert_int_equal(see(t, all), all);
    assert_string_equal(words, "[f_outer f_waits]");
    assert_int_equal(coil_task_get_stack(t, NULL, 0), all);
    coil_future_cancel(f, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    coil_unref(f);
}

FRAME coil_ret f_looks_at_itself(void *arg)
{
    (void)arg;
    assert_stack(coil_current_task(), "[f_looks_at_itself]");
    CALLED(0);
}

COIL_TEST(stack_of_the_current_task_begins_with_who_asks)
{
    assert_int_equal(coil_join(coil_create_task(f_looks_at_itself, NULL)), 0);
}

/* Made inside f_begins_another, which stands still meanwhile. */
static coil_task *first, *second;

FRAME coil_ret f_third(void *arg)
{
    (void)arg;
    assert_stack(first, "[f_begins_another]");
    assert_stack(second, "[f_begins_a_third]");
    assert_stack(coil_current_task(), "[f_third]");
    CALLED(coil_sleep(0));
}

FRAME coil_ret f_begins_a_third(void *arg)
{
    (void)arg;
    second = coil_current_task();
    coil_task_opts opts = {.size = sizeof opts, .eager = true};
    CALLED(coil_join(coil_create_task_opts(f_third, NULL, &opts)));
}

FRAME coil_ret f_begins_another(void *arg)
{
    (void)arg;
    first = coil_current_task();
    coil_task_opts opts = {.size = sizeof opts, .eager = true};
    CALLED(coil_join(coil_create_task_opts(f_begins_a_third, NULL, &opts)));
}

COIL_TEST(stack_of_a_task_that_begins_an_eager_one_is_where_it_does)
{
    assert_int_equal(coil_join(coil_create_task(f_begins_another, NULL)), 0);
}

FRAME coil_ret f_waits_in_generator(coil_gen *self, void *future)
{
    coil_ret rc = f_waits(future);
    if (rc == 0)
        rc = coil_gen_yield(self, 1);
    CALLED(rc);
}

FRAME coil_ret f_outer_generator(coil_gen *self, void *future)
{
    coil_gen *inner = coil_gen_new(f_waits_in_generator, future);
    coil_ret rc = coil_gen_yield_from(self, inner, NULL);
    coil_gen_unref(inner);
    CALLED(rc);
}

FRAME coil_ret f_drives(void *future)
{
    coil_gen *gen = coil_gen_new(f_outer_generator, future);
    coil_ret value, rc = coil_gen_next(gen, &value);
    coil_gen_unref(gen);
    CALLED(rc);
}

COIL_TEST(stack_goes_through_generators_that_wait)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = coil_create_task(f_drives, f);
    assert_int_equal(coil_sleep(0), 0);
    assert_stack(t, "[f_drives f_outer_generator f_waits_in_generator f_waits]");
    assert_int_equal(coil_future_set_result(f, 0), 0);
    assert_int_equal(coil_join(t), 1);
    coil_unref(f);
}

/* A task that begins an eager one from within a generator stands in the generator. */
FRAME coil_ret f_begins_in_generator(coil_gen *self, void *arg)
{
    (void)self, (void)arg;
    first = coil_current_task();
    coil_task_opts opts = {.size = sizeof opts, .eager = true};
    coil_task *t = coil_create_task_opts(f_looks_at_itself, NULL, &opts);
    CALLED(coil_join(t));
}

FRAME coil_ret f_sees_the_generator(void *arg)
{
    (void)arg;
    assert_stack(first, "[f_drives_one f_eager_in_generator]");
    CALLED(0);
}

FRAME coil_ret f_eager_in_generator(coil_gen *self, void *arg)
{
    (void)self, (void)arg;
    first = coil_current_task();
    coil_task_opts opts = {.size = sizeof opts, .eager = true};
    CALLED(coil_join(coil_create_task_opts(f_sees_the_generator, NULL, &opts)));
}

FRAME coil_ret f_drives_one(void *fn)
{
    coil_gen *gen = coil_gen_new(fn == NULL ? f_eager_in_generator : f_begins_in_generator, NULL);
    coil_ret rc = coil_gen_next(gen, NULL);
    coil_gen_unref(gen);
    CALLED(rc);
}

COIL_TEST(stack_of_a_task_that_begins_an_eager_one_in_a_generator)
{
    assert_int_equal(coil_join(coil_create_task(f_drives_one, NULL)), 0);
    assert_int_equal(coil_join(coil_create_task(f_drives_one, words)), 0);
}

COIL_TEST(stack_of_what_is_no_task_is_empty)
{
    coil_future *f = coil_loop_create_future(NULL);
    assert_int_equal(see(f, 256), 0);
    coil_unref(f);
    assert_int_equal(see(NULL, 256), 0);
    coil_task *t = coil_create_task(NULL, NULL); /* could not be made */
    assert_int_equal(see(t, 256), 0);
}

static void see_the_task(void *task)
{
    assert_null(coil_current_task());
    see(task, 256);
}

COIL_TEST(stack_is_seen_from_a_callback_too)
{
    coil_task *t = coil_create_task(f_outer, coil_current_task());
    coil_loop_call_soon(NULL, see_the_task, t, NULL);
    assert_int_equal(coil_sleep(0), 0);
    assert_string_equal(words, "[f_outer f_waits]");
    coil_task_cancel(t, NULL);
    coil_unref(t);
    assert_int_equal(coil_sleep(0), -ECANCELED); /* it awaited us, and its cancel is handed on */
}

/* ---- one that is deep ---- */

FRAME coil_ret f_dives(void *depth)
{
    intptr_t left = (intptr_t)depth;
    CALLED(left > 0 ? f_dives((void *)(left - 1)) : coil_sleep(1));
}

COIL_TEST(stack_of_hundreds_of_calls_is_seen_whole)
{
    enum { DEEP = 600 };
    static const void *stack[2 * DEEP];
    coil_task *t = coil_create_task(f_dives, (void *)(intptr_t)DEEP);
    assert_int_equal(coil_sleep(0), 0);
    size_t n = coil_task_get_stack(t, stack, 2 * DEEP);
    assert_true(n > DEEP && n < DEEP + 5);
    coil_frame frame = {.size = sizeof frame};
    for (size_t i = 0; i <= DEEP; i += 100) {
        assert_int_equal(coil_frame_describe(stack[i], &frame), 0);
        assert_string_equal(frame.function, "f_dives");
    }
    assert_int_equal(coil_join(t), 0);
}

/* ---- printed ---- */

static char printed[16384];

static void print(coil_task *task, size_t limit)
{
    memset(printed, 0, sizeof printed);
    FILE *file = fmemopen(printed, sizeof printed - 1, "w");
    coil_task_print_stack(task, limit, file);
    fclose(file);
}

static void assert_begins(const char *begin)
{
    if (strncmp(printed, begin, strlen(begin)) != 0)
        fail_msg("does not begin with \"%s\":\n%s", begin, printed);
}

static coil_ret fails(void *arg)
{
    (void)arg;
    return coil_fail(COIL_EUSER, "it broke");
}

COIL_TEST(printed_stack_has_a_head_and_a_line_for_each_call)
{
    coil_task_opts opts = {.size = sizeof opts, .name = "it's\n\\"};
    coil_future *f = coil_loop_create_future(NULL);
    coil_task *t = coil_create_task_opts(f_outer, f, &opts);
    assert_int_equal(coil_sleep(0), 0);
    print(t, 0);
    assert_begins("Stack for <Task pending name='it\\'s\\x0a\\\\' created at ");
    assert_non_null(strstr(printed, "> (most recent call last):\n  File \""));
    const char *outer = strstr(printed, ", in f_outer\n"),
               *inner = strstr(printed, ", in f_waits\n");
    assert_true(outer && inner && outer < inner);
    print(t, 1);
    assert_null(strstr(printed, "f_outer"));
    assert_non_null(strstr(printed, ", in coil_await_future\n"));
    assert_int_equal(coil_future_set_result(f, 0), 0);
    assert_int_equal(coil_await(t), 0);
    print(t, 0);
    assert_begins("No stack for <Task finished name=");
    assert_int_equal(printed[strlen(printed) - 2], '>');
    coil_unref(t);
    coil_unref(f);
}

COIL_TEST(printed_stack_of_a_task_that_failed_is_its_error)
{
    coil_task *t = coil_create_task(fails, NULL);
    assert_int_equal(coil_await(t), COIL_EUSER);
    print(t, 0);
    assert_begins("Traceback for <Task finished name='Task-");
    assert_non_null(strstr(printed, "> (most recent call last):\n"));
    assert_non_null(strstr(printed, "it broke"));
    assert_non_null(strstr(printed, "test_stack.c"));
    coil_unref(t);
    t = coil_create_task(f_outer, NULL);
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_await(t), -ECANCELED);
    print(t, 0);
    assert_begins("No stack for <Task cancelled name='Task-");
    coil_unref(t);
    print(NULL, 0);
    assert_string_equal(printed, "");
}

COIL_TEST_MAIN()
