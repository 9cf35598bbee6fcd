/* SPDX-License-Identifier: MIT
 *
 * test_quit.c: SIGQUIT in coil_run, for programs that want it. */
#include "test.h"

#include "base/mem.h"
#include "base/thread.h"
#include "capture.h"

#include <coil.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void (*action(void))(int signo)
{
    struct sigaction now;
    assert_int_equal(sigaction(SIGQUIT, NULL, &now), 0);
    return now.sa_handler;
}

static void set_action(void (*handler)(int signo))
{
    struct sigaction act = {.sa_handler = handler};
    assert_int_equal(sigaction(SIGQUIT, &act, NULL), 0);
}

/* Who runs the tests in the background ignores SIGQUIT, as SIGINT. */
#define QUIT_TEST(name)                    \
    static void name##_body(void);         \
    COIL_TEST_PLAIN(name)                  \
    {                                      \
        struct sigaction before;           \
        sigaction(SIGQUIT, NULL, &before); \
        set_action(SIG_DFL);               \
        name##_body();                     \
        assert_true(action() == SIG_DFL);  \
        sigaction(SIGQUIT, &before, NULL); \
    }                                      \
    static void name##_body(void)

static const coil_run_opts wanted = {
    .size = sizeof wanted, .virtual_time = true, .quit_tree = true};
static const coil_run_opts unasked = {.size = sizeof unasked, .virtual_time = true};

/* Without a handler it would end us, and tell nothing. */
static void quit(void *arg)
{
    assert_false(action() == SIG_DFL);
    raise(SIGQUIT);
}

/* ---- what was printed ---- */

static const char *printed_by(coil_fn fn, const coil_run_opts *opts, coil_ret expected)
{
    catch_stderr();
    coil_ret rc = coil_run_with(fn, NULL, opts);
    caught();
    assert_int_equal(rc, expected);
    return printed;
}

/* ---- the tree ---- */

static coil_ret naps(void *arg)
{
    return coil_sleep(10);
}

static coil_task *named(const char *name, coil_fn fn, void *arg)
{
    coil_task_opts opts = {.size = sizeof opts, .name = name};
    return coil_create_task_opts(fn, arg, &opts);
}

static coil_ret gathers(void *arg)
{
    coil_task *both[] = {named("left", naps, NULL), named("right", naps, NULL)};
    return coil_gather(both, 2, NULL, COIL_UNREF);
}

static coil_ret is_quit_while_it_waits(void *arg)
{
    coil_loop_call_later(NULL, 1, quit, NULL, NULL);
    return gathers(NULL);
}

QUIT_TEST(quit_draws_the_tasks_and_the_program_goes_on)
{
    printed_by(is_quit_while_it_waits, &wanted, 0);
    /* Calls inside the library are its own business. */
    assert_non_null(strstr(printed, ": 3 tasks, 2 timers"));
    assert_non_null(strstr(printed, "\n└── (T) Task-1\n    └──  is_quit_while_it_waits\n"
                                    "        └──  gathers\n            └──  coil_gather\n"));
    const char *left = strstr(printed, "├── (T) left\n"),
               *right = strstr(printed, "└── (T) right\n");
    assert_true(left && right && left < right);
    assert_non_null(strstr(left, "└──  naps\n"));
    assert_null(strstr(printed, "other loop"));
    assert_int_equal(printed[strlen(printed) - 1], '\n');
}

static coil_ret is_quit_twice(void *arg)
{
    coil_loop_call_later(NULL, 1, quit, NULL, NULL);
    coil_loop_call_later(NULL, 2, quit, NULL, NULL);
    return coil_sleep(3);
}

QUIT_TEST(quit_draws_as_often_as_it_is_asked)
{
    printed_by(is_quit_twice, &wanted, 0);
    const char *first = strstr(printed, "└── (T) Task-1");
    assert_non_null(first);
    const char *second = strstr(first + 1, "└── (T) Task-1");
    assert_non_null(second);
    assert_null(strstr(second + 1, "└── (T) Task-1"));
}

static coil_ret is_quit_in_a_step(void *arg)
{
    quit(NULL);
    fprintf(stderr, "the step goes on\n");
    return coil_sleep(1);
}

QUIT_TEST(quit_in_a_step_says_whose_at_once)
{
    char own[32];
    snprintf(own, sizeof own, "`coil dump %d`", (int)getpid());
    printed_by(is_quit_in_a_step, &wanted, 0);
    const char *said = strstr(printed,
                              "coil: SIGQUIT while the loop is awake, in a step of Task-1, "
                              "created at coil_run:0; its tasks follow when it turns, ");
    const char *on = strstr(printed, "the step goes on\n"), *tree = strstr(printed, "(T) Task-1");
    assert_non_null(strstr(printed, own));
    assert_true(said && on && tree && said < on && on < tree);
}

static coil_ret is_quit_in_a_callback(void *arg)
{
    coil_loop_call_soon(NULL, quit, NULL, NULL);
    return coil_sleep(1);
}

QUIT_TEST(quit_in_a_callback_says_so)
{
    printed_by(is_quit_in_a_callback, &wanted, 0);
    assert_non_null(strstr(printed, "while the loop is awake, outside of tasks; "));
    assert_non_null(strstr(printed, "(T) Task-1"));
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static coil_ret is_quit_without_memory(void *arg)
{
    coil_ret rc = coil_sleep(1); /* what a sleep needs is there from now on */
    if (rc < 0)
        return rc;
    coil__mem_fail_at(1, 1);
    quit(NULL);
    rc = coil_sleep(1);
    coil__mem_fail_at(0, 0);
    return rc < 0 ? rc : coil_sleep(1);
}

QUIT_TEST(quit_without_memory_says_so_and_the_program_goes_on)
{
    printed_by(is_quit_without_memory, &wanted, 0);
    assert_non_null(strstr(printed, "\ncoil: SIGQUIT: there is no memory to draw the tasks\n"));
    assert_null(strstr(printed, "(T)"));
}
#endif

static coil_ret leaves_one_behind(void *arg)
{
    coil_unref(named("left behind", naps, NULL));
    return coil_sleep(0);
}

static coil_ret ends_late(void *arg)
{
    coil_ret rc = coil_sleep(100);
    coil_loop_call_later(NULL, 1, quit, NULL, NULL);
    coil_ignore(coil_sleep(2));
    return rc;
}

static coil_ret leaves_one_that_ends_late(void *arg)
{
    coil_unref(named("late", ends_late, NULL));
    return coil_sleep(0);
}

QUIT_TEST(quit_shows_what_a_run_waits_for_at_its_end)
{
    printed_by(leaves_one_that_ends_late, &wanted, 0);
    assert_non_null(strstr(printed, ": 1 task, "));
    assert_non_null(strstr(printed, "└── (T) late\n    └──  ends_late\n"));
}

QUIT_TEST(quit_that_nobody_presses_prints_nothing)
{
    assert_string_equal(printed_by(leaves_one_behind, &wanted, 0), "");
}

/* ---- who gets it ---- */

static void (*seen_action)(int signo);

static coil_ret looks(void *arg)
{
    seen_action = action();
    return 0;
}

QUIT_TEST(quit_is_left_alone_unless_asked_for)
{
    assert_int_equal(coil_run_with(looks, NULL, &unasked), 0);
    assert_true(seen_action == SIG_DFL);
    coil_run_opts none = {.size = sizeof none, .quit_tree = true, .no_signals = true};
    assert_int_equal(coil_run_with(looks, NULL, &none), 0);
    assert_true(seen_action == SIG_DFL);
    coil_run_opts older = {.size = offsetof(coil_run_opts, quit_tree), .quit_tree = true};
    assert_int_equal(coil_run_with(looks, NULL, &older), 0);
    assert_true(seen_action == SIG_DFL);
}

QUIT_TEST(quit_is_left_alone_by_a_bare_loop)
{
    coil_loop *loop = coil_new_event_loop(&wanted);
    coil_task *task = coil_loop_create_task(loop, looks, NULL);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
    assert_true(seen_action == SIG_DFL);
    coil_unref(task);
    coil_loop_free(loop);
}

QUIT_TEST(quit_can_be_asked_for_by_the_environment)
{
    setenv("COIL_QUIT_TREE", "1", 1);
    int rc = (int)coil_run_with(looks, NULL, &unasked);
    setenv("COIL_QUIT_TREE", "0", 1);
    void (*on)(int) = seen_action;
    int rc_0 = (int)coil_run_with(looks, NULL, &unasked);
    unsetenv("COIL_QUIT_TREE");
    assert_int_equal(rc, 0);
    assert_int_equal(rc_0, 0);
    assert_true(on != SIG_DFL && on != SIG_IGN);
    assert_true(seen_action == SIG_DFL);
}

QUIT_TEST(quit_that_is_ignored_or_handled_stays_so)
{
    set_action(SIG_IGN);
    assert_int_equal(coil_run_with(looks, NULL, &wanted), 0);
    assert_true(seen_action == SIG_IGN);
    set_action(SIG_DFL);
}

static int own_calls;

static void own_handler(void *arg)
{
    own_calls++;
}

static coil_ret asks_itself(void *arg)
{
    coil_ret rc = coil_loop_add_signal_handler(NULL, SIGQUIT, own_handler, NULL);
    quit(NULL);
    if (rc == 0)
        rc = coil_sleep(1);
    coil_loop_remove_signal_handler(NULL, SIGQUIT);
    quit(NULL);
    return rc < 0 ? rc : coil_sleep(1);
}

QUIT_TEST(quit_goes_to_the_program_that_asks_for_it_itself)
{
    own_calls = 0;
    printed_by(asks_itself, &wanted, 0);
    assert_int_equal(own_calls, 1);
    const char *first = strstr(printed, "(T) Task-1");
    assert_non_null(first);
    assert_null(strstr(first + 1, "(T) Task-1"));
}

static void run_elsewhere(void *arg)
{
    (void)!coil_run_with(looks, NULL, &wanted);
}

QUIT_TEST(quit_is_the_main_threads)
{
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "runs", run_elsewhere, NULL), 0);
    coil__thread_join(&thread);
    assert_true(seen_action == SIG_DFL);
}

static coil_ret nothing_comes(void *arg)
{
    coil_event never = {0};
    return coil_event_wait(&never);
}

QUIT_TEST(quit_wakes_nobody_a_deadlock_is_one)
{
    if (!deadlocks_are_certain())
        skip();
    assert_int_equal(coil_run_with(nothing_comes, NULL, &wanted), COIL_EDEADLOCK);
}

QUIT_TEST(quit_is_the_runners_until_it_is_closed)
{
    coil_runner *runner = coil_runner_new(&wanted);
    assert_int_equal(coil_runner_run(runner, looks, NULL), 0);
    assert_true(seen_action != SIG_DFL && action() == seen_action);
    coil_runner_free(runner);
    assert_true(action() == SIG_DFL);
}

/* ---- the tree, without a signal ---- */

static coil_ret draws_itself(void *file)
{
    coil_unref(named("other", naps, NULL));
    coil_ret rc = coil_sleep(0);
    return rc < 0 ? rc : coil_loop_print_tree(NULL, file);
}

COIL_TEST_PLAIN(print_tree_shows_who_asks_from_where_it_asks)
{
    char text[2048];
    FILE *file = tmpfile();
    assert_int_equal(coil_run_with(draws_itself, file, &unasked), 0);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_non_null(
        strstr(text, "\n└── (T) Task-1\n    └──  draws_itself\n└── (T) other\n    └──  naps\n"));
}

static coil_ret draws_later(void *file)
{
    coil_unref(named("other", naps, NULL));
    coil_ret rc = coil_sleep(2.5);
    return rc < 0 ? rc : coil_loop_print_tree(NULL, file);
}

/* What a run that sleeps for a while in virtual time draws of itself. */
static const char *drawn_later(bool debug)
{
    static char text[2048];
    coil_run_opts opts = {.size = sizeof opts, .debug = debug, .virtual_time = true};
    FILE *file = tmpfile();
    assert_int_equal(coil_run_with(draws_later, file, &opts), 0);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

COIL_TEST_PLAIN(print_tree_in_debug_mode_tells_since_when)
{
    const char *text = drawn_later(true), *since = strstr(text, "s now");
    assert_non_null(strstr(text, "└── (T) Task-1\n    └──  draws_later\n")); /* it runs */
    assert_non_null(strstr(text, ", for 2.5 s now\n"));
    assert_null(strstr(since + 1, "s now"));
    assert_null(strstr(drawn_later(false), "s now"));
}

static void prints(void *file)
{
    int err = coil_loop_print_tree(NULL, file);
    assert_true(err == 0 || err == -ENOMEM);
}

static coil_ret prints_without_memory(void *file)
{
    coil_unref(named("other", gathers, NULL));
    coil_ret rc = coil_sleep(0);
    if (rc == 0)
        sweep_allocations(prints, file);
    return rc;
}

COIL_TEST_PLAIN(print_tree_survives_failing_allocations)
{
    FILE *file = fopen("/dev/null", "w");
    assert_int_equal(coil_run_with(prints_without_memory, file, &unasked), 0);
    fclose(file);
}

COIL_TEST_PLAIN(print_tree_without_a_loop_says_so)
{
    coil_set_event_loop(NULL);
    assert_int_equal(coil_loop_print_tree(NULL, NULL), COIL_ENOLOOP);
}

COIL_TEST_MAIN()
