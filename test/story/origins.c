/* SPDX-License-Identifier: MIT
 *
 * origins.c: in debug mode a report tells the calls that made what it speaks of: CPython's tests of that, of test_futures.py
 * and test_tasks.py, and what else is promised. */
#include "graph.h"

#include <coil.h>
#include <unistd.h>

#define DEBUG_TEST(name) COIL_TEST_WITH(name, .debug = true, .virtual_time = true)

/* What the exception handler was told. */
static char message[256], made_by[GRAPH_TEXT];
static size_t calls_told;

static void told(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    snprintf(message, sizeof message, "%s", context->message);
    calls_told = context->source_stack_n;
    made_by[0] = '\0';
    graph_add_stack(made_by, sizeof made_by, context->source_stack, context->source_stack_n);
}

/* However slow the machine is, nothing else is reported. */
static void listen_to_reports(void)
{
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    message[0] = made_by[0] = '\0';
    calls_told = 0;
    coil_loop_set_exception_handler(NULL, told, NULL);
}

#define assert_told(words, made)                   \
    do {                                           \
        assert_non_null(strstr(message, (words))); \
        assert_string_equal(made_by, (made));      \
    } while (0)

/* ---- futures ---- */

FRAME coil_ret f_makes_future(void)
{
    coil_future *f = coil_loop_create_future(NULL);
    CALLED((coil_ret)f);
}

DEBUG_TEST(test_future_source_traceback)
{
    listen_to_reports();
    coil_future *f = (coil_future *)f_makes_future();
    assert_int_equal(coil_future_set_exception(f, COIL_EUSER), 0);
    coil_unref(f);
    assert_told("Future exception was never retrieved, created at ",
                "[test_future_source_traceback f_makes_future]");
}

FRAME coil_ret f_gathers(coil_future *f)
{
    coil_future *g = coil_gather_future(&f, 1, 0);
    CALLED((coil_ret)g);
}

DEBUG_TEST(origin_of_a_gather_is_known_too)
{
    listen_to_reports();
    coil_future *f = (coil_future *)f_makes_future(), *g = (coil_future *)f_gathers(f);
    assert_int_equal(coil_future_set_exception(f, COIL_EUSER), 0);
    assert_int_equal(coil_sleep(0), 0);
    coil_unref(g);
    assert_told("gather exception was never retrieved", "[f_gathers]");
    coil_unref(f);
}

/* ---- tasks ---- */

static coil_ret fails(void *arg)
{
    (void)arg;
    return coil_fail(COIL_EUSER, "it broke");
}

FRAME coil_ret f_makes_task(coil_fn fn)
{
    char copied[64] = "as much as this";
    coil_task *t = coil_create_task_with(fn, copied, sizeof copied);
    CALLED((coil_ret)t);
}

DEBUG_TEST(test_task_source_traceback)
{
    listen_to_reports();
    coil_task *t = (coil_task *)f_makes_task(fails);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_sleep(0), 0);
    coil_unref(t);
    assert_told("Task exception was never retrieved: Task-",
                "[test_task_source_traceback f_makes_task]");
}

FRAME coil_ret f_dives(intptr_t depth)
{
    CALLED(depth > 0 ? f_dives(depth - 1) : f_makes_task(fails));
}

DEBUG_TEST(origin_is_ten_calls_the_newest_ones)
{
    listen_to_reports();
    coil_task *t = (coil_task *)f_dives(30);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_sleep(0), 0);
    coil_unref(t);
    assert_int_equal(calls_told, 10);
    assert_told("",
                "[f_dives f_dives f_dives f_dives f_dives f_dives f_dives f_dives f_makes_task]");
}

static coil_ret sleeps(void *arg)
{
    (void)arg;
    return coil_sleep(1);
}

FRAME coil_ret f_maker(void *arg)
{
    (void)arg;
    coil_unref((coil_task *)f_makes_task(sleeps));
    CALLED(0);
}

/* The task that made it is long gone when the report comes. */
static coil_ret main_of_loop(void *arg)
{
    (void)arg;
    listen_to_reports();
    coil_ret rc = coil_join(coil_create_task(f_maker, NULL));
    return rc ? rc : coil_sleep(0);
}

COIL_TEST_PLAIN(origin_of_a_task_that_is_destroyed_pending)
{
    const coil_run_opts opts = {.size = sizeof opts, .debug = true, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_set_event_loop(loop);
    coil_task *t = coil_create_task(main_of_loop, NULL);
    assert_int_equal(coil_loop_run_until_complete(loop, t), 0);
    coil_unref(t);
    coil_loop_close(loop);
    coil_loop_free(loop);
    assert_told("Task was destroyed but it is pending!", "[f_maker f_makes_task]");
}

/* ---- coroutine objects ---- */

FRAME coil_ret f_makes_coroutine(void)
{
    coil_coro *coro = coil_coro_new(sleeps, NULL);
    CALLED((coil_ret)coro);
}

DEBUG_TEST(origin_of_a_coroutine_that_was_never_awaited)
{
    listen_to_reports();
    coil_coro_free((coil_coro *)f_makes_coroutine());
    assert_told("coroutine 'sleeps' was never awaited", "[f_makes_coroutine]");
    assert_true(calls_told >= 1);
}

/* ---- where there is none ---- */

static void make_in_callback(void *arg)
{
    *(coil_task **)arg = (coil_task *)f_makes_task(fails);
}

DEBUG_TEST(what_a_callback_makes_has_its_file_and_line_alone)
{
    coil_task *t = NULL;
    listen_to_reports();
    coil_loop_call_soon(NULL, make_in_callback, &t, NULL);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_sleep(0), 0);
    coil_unref(t);
    assert_told("origins.c:", "[]");
    assert_int_equal(calls_told, 0);
}

/* Its arguments are as large as its stack allows, so there is no room to note anything. (Nor to run: it never does.) */
COIL_TEST_PLAIN(origin_of_a_task_that_fills_its_stack_is_left_out)
{
    enum { TOO_MUCH = 1 << 20, STEP = 32 };
    coil_run_opts opts = {.size = sizeof opts, .debug = true, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_set_event_loop(loop);
    listen_to_reports();
    char *args = calloc(1, TOO_MUCH);
    coil_task_opts small = {.size = sizeof small, .loop = loop, .stack_size = 1};
    coil_task *t;
    for (size_t n = TOO_MUCH;; n -= STEP) {
        t = coil_create_task_at(__FILE__, __LINE__, fails, args, n, &small);
        if (coil_future_get_loop(t))
            break;
    }
    free(args);
    coil_unref(t);
    coil_loop_free(loop);
    assert_told("Task was destroyed but it is pending", "[]");
}

COIL_TEST(origins_are_kept_in_debug_mode_only)
{
    listen_to_reports();
    coil_task *t = (coil_task *)f_makes_task(fails);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_sleep(0), 0);
    coil_unref(t);
    assert_told("Task exception was never retrieved", "[]");
    coil_loop_set_debug(NULL, true);
    coil_future *f = (coil_future *)f_makes_future();
    coil_loop_set_debug(NULL, false);
    assert_int_equal(coil_future_set_exception(f, COIL_EUSER), 0);
    coil_unref(f);
    assert_told("Future exception was never retrieved", "[f_makes_future]");
    coil_coro_free((coil_coro *)f_makes_coroutine());
    assert_told("coroutine 'sleeps' was never awaited", "[]");
}

/* ---- printed ---- */

static char printed[8192];

DEBUG_TEST(origin_is_printed_below_the_error)
{
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
    FILE *file = tmpfile();
    fflush(stderr);
    int kept = dup(2);
    dup2(fileno(file), 2);
    coil_future *f = (coil_future *)f_makes_future();
    assert_int_equal(coil_future_set_exception(f, COIL_EUSER), 0);
    coil_unref(f);
    fflush(stderr);
    dup2(kept, 2);
    close(kept);
    rewind(file);
    printed[fread(printed, 1, sizeof printed - 1, file)] = '\0';
    fclose(file);
    const char *head = "coil: Future exception was never retrieved, created at ";
    assert_memory_equal(printed, head, strlen(head));
    const char *error = strstr(printed, "\n  COIL_EUSER"),
               *made = strstr(printed,
                              "\n  Object created at (most recent call last):\n    File \""),
               *user = strstr(printed, ", in f_makes_future\n"),
               *newest = strstr(printed, ", in coil_create_future_at\n");
    assert_true(error && made && user && newest);
    assert_true(error < made && made < user && user < newest);
}

COIL_TEST_MAIN()
