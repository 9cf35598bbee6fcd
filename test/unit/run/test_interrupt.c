/* SPDX-License-Identifier: MIT
 *
 * test_interrupt.c: Ctrl-C in coil_run and in runners. By CPython's names where it has the same test. */
#include "test.h"

#include <coil.h>

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void set_action(void (*handler)(int signo))
{
    struct sigaction act = {.sa_handler = handler};
    assert_int_equal(sigaction(SIGINT, &act, NULL), 0);
}

static bool has_action(void (*handler)(int signo))
{
    struct sigaction now;
    return sigaction(SIGINT, NULL, &now) == 0 && now.sa_handler == handler;
}

/* Without a handler it would end us, and tell nothing. */
static void press_ctrl_c(void)
{
    assert_false(has_action(SIG_DFL));
    raise(SIGINT);
}

/* Who runs the tests in the background ignores SIGINT. */
#define CTRL_C_TEST(name)                 \
    static void name##_body(void);        \
    COIL_TEST_PLAIN(name)                 \
    {                                     \
        struct sigaction before;          \
        sigaction(SIGINT, NULL, &before); \
        set_action(SIG_DFL);              \
        name##_body();                    \
        sigaction(SIGINT, &before, NULL); \
    }                                     \
    static void name##_body(void)

static const coil_run_opts in_virtual_time = {.size = sizeof in_virtual_time, .virtual_time = true};

static coil_ret run_it(coil_fn fn, void *arg)
{
    return coil_run_with(fn, arg, &in_virtual_time);
}

static void interrupt_self(void *arg)
{
    press_ctrl_c();
}

static void interrupt_later(double delay)
{
    assert_int_equal(coil_loop_call_later(NULL, delay, interrupt_self, NULL, NULL), 0);
}

/* How a child that calls fn and leaves with what it returns comes to its end. */
static int end_of_child(int (*fn)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- the first ---- */

static coil_ret never_stands_still(void *arg)
{
    coil_ret rc;
    for (int turns = 0; (rc = coil_sleep(0)) == 0; turns++)
        if (turns == 10)
            press_ctrl_c();
    assert_int_equal(rc, -ECANCELED);
    return rc;
}

CTRL_C_TEST(test_interrupt_call_soon)
{
    coil_runner *runner = coil_runner_new(
        NULL); /* by the real clock: virtual time would stand still as well */
    assert_int_equal(coil_runner_run(runner, never_stands_still, NULL), COIL_EINTERRUPTED);
    assert_string_equal(coil_last_error()->message, "interrupted from the keyboard");
    coil_runner_free(runner);
    assert_true(has_action(SIG_DFL));
}

static coil_ret sleeps(void *arg)
{
    interrupt_later(0.1);
    coil_ret rc = coil_sleep(10);
    *(bool *)arg = rc == -ECANCELED && coil_loop_time(NULL) < 10;
    return rc;
}

CTRL_C_TEST(test_interrupt_wait)
{
    bool was_cancelled = false;
    assert_int_equal(run_it(sleeps, &was_cancelled), COIL_EINTERRUPTED);
    assert_true(was_cancelled);
    assert_true(has_action(SIG_DFL));
}

static coil_ret cancels_and_interrupts(void *task)
{
    coil_ret rc = coil_sleep(0);
    coil_task_cancel(task, NULL);
    press_ctrl_c();
    return rc;
}

static coil_ret is_cancelled_as_well(void *arg)
{
    coil_unref(coil_create_task(cancels_and_interrupts, coil_current_task()));
    return coil_sleep(10);
}

CTRL_C_TEST(test_interrupt_cancelled_task)
{
    assert_int_equal(run_it(is_cancelled_as_well, NULL), -ECANCELED);
}

static coil_ret cleans_up_and_returns(void *arg)
{
    interrupt_later(1);
    coil_ret rc = coil_sleep(10);
    assert_int_equal(rc, -ECANCELED);
    assert_int_equal(coil_sleep(1), 0); /* the cancel was one */
    return 7;
}

CTRL_C_TEST(interrupted_run_that_returns_all_the_same_is_right)
{
    assert_int_equal(run_it(cleans_up_and_returns, NULL), 7);
}

static coil_ret fails_in_its_clean_up(void *arg)
{
    interrupt_later(1);
    coil_ret rc = coil_sleep(10);
    return rc == -ECANCELED ? coil_fail(-EIO, "the disk is full") : rc;
}

CTRL_C_TEST(interrupted_run_that_fails_tells_its_own_error)
{
    assert_int_equal(run_it(fails_in_its_clean_up, NULL), -EIO);
    assert_string_equal(coil_last_error()->message, "the disk is full");
}

static void *send_from_a_thread(void *arg)
{
    if (!has_action(SIG_DFL))
        kill(getpid(), SIGINT);
    return NULL;
}

static coil_ret waits_in_the_kernel(void *arg)
{
    pthread_t *t = arg;
    assert_int_equal(pthread_create(t, NULL, send_from_a_thread, NULL), 0);
    return coil_join(coil_loop_create_future(NULL));
}

CTRL_C_TEST(interrupt_ends_the_wait_in_the_kernel)
{
    pthread_t t;
    coil_ret rc = coil_run(waits_in_the_kernel, &t);
    pthread_join(t, NULL);
    assert_int_equal(rc, COIL_EINTERRUPTED);
}

CTRL_C_TEST(interrupted_runner_may_run_again)
{
    bool was_cancelled = false;
    coil_runner *runner = coil_runner_new(&in_virtual_time);
    assert_int_equal(coil_runner_run(runner, sleeps, &was_cancelled), COIL_EINTERRUPTED);
    assert_true(has_action(SIG_DFL)); /* between two runs */
    assert_int_equal(coil_runner_run(runner, cleans_up_and_returns, NULL), 7);
    assert_int_equal(coil_runner_run(runner, sleeps, &was_cancelled), COIL_EINTERRUPTED);
    coil_runner_free(runner);
}

/* ---- the second ---- */

static coil_ret hears_nothing(void *arg)
{
    int *cancels = arg;
    interrupt_later(1);
    interrupt_later(2);
    while (*cancels < 2) {
        coil_ret rc = coil_sleep(100);
        *cancels += rc == -ECANCELED;
    }
    return 7;
}

CTRL_C_TEST(interrupted_twice_the_run_ends_at_once)
{
    int cancels = 0;
    assert_int_equal(run_it(hears_nothing, &cancels), COIL_EINTERRUPTED);
    assert_int_equal(cancels, 2); /* the second when what was left was collected */
}

static coil_ret interrupted_twice_at_a_time(void *arg)
{
    press_ctrl_c();
    press_ctrl_c();
    return coil_sleep(10);
}

CTRL_C_TEST(interrupted_twice_at_a_time_it_ends_as_well)
{
    assert_int_equal(run_it(interrupted_twice_at_a_time, NULL), COIL_EINTERRUPTED);
}

/* ---- the third ---- */

static coil_ret never_comes_back(void *arg)
{
    press_ctrl_c();
    press_ctrl_c();
    press_ctrl_c();
    _exit(99);
}

static int run_what_never_comes_back(void)
{
    return coil_run(never_comes_back, NULL) != 0;
}

CTRL_C_TEST(interrupted_three_times_the_program_dies)
{
    assert_int_equal(end_of_child(run_what_never_comes_back), 1000 + SIGINT);
}

static coil_ret ends_as_it_is_interrupted(void *arg)
{
    press_ctrl_c();
    return 7;
}

static int run_what_ends_as_it_is_interrupted(void)
{
    return (int)coil_run(ends_as_it_is_interrupted, NULL);
}

/* As it would have a moment later. */
CTRL_C_TEST(interrupt_that_comes_too_late_for_the_run_is_the_programs)
{
    assert_int_equal(end_of_child(run_what_ends_as_it_is_interrupted), 1000 + SIGINT);
}

static void ends_main(void *future)
{
    press_ctrl_c(); /* told in the next turn, in which the task ends */
    coil_future_set_result(future, 7);
}

static coil_ret ends_in_the_turn_of_the_interrupt(void *arg)
{
    coil_future *f = coil_loop_create_future(NULL);
    assert_int_equal(coil_loop_call_soon(NULL, ends_main, f, NULL), 0);
    return coil_join(f);
}

static int run_what_ends_in_the_turn_of_the_interrupt(void)
{
    return (int)coil_run(ends_in_the_turn_of_the_interrupt, NULL);
}

CTRL_C_TEST(interrupt_in_the_turn_in_which_the_run_ends_is_not_lost)
{
    assert_int_equal(end_of_child(run_what_ends_in_the_turn_of_the_interrupt), 1000 + SIGINT);
}

/* ---- whose SIGINT it is ---- */

static int handled;

static void handle(int signo)
{
    handled++;
}

static coil_ret look_at_action(void *handler)
{
    struct sigaction now;
    sigaction(SIGINT, NULL, &now);
    return memcmp(&now.sa_handler, handler, sizeof now.sa_handler) == 0;
}

static coil_ret raise_and_sleep(void *arg)
{
    press_ctrl_c();
    return coil_sleep(1);
}

CTRL_C_TEST(interrupts_that_are_ignored_or_handled_stay_so)
{
    void (*action)(int signo) = SIG_IGN;
    set_action(SIG_IGN);
    assert_int_equal(run_it(look_at_action, &action), 1);
    assert_int_equal(run_it(raise_and_sleep, NULL), 0);
    handled = 0;
    action = handle;
    set_action(handle);
    assert_int_equal(run_it(look_at_action, &action), 1);
    assert_int_equal(run_it(raise_and_sleep, NULL), 0);
    assert_int_equal(handled, 1);
    assert_true(has_action(handle));
}

CTRL_C_TEST(interrupts_are_left_alone_where_the_program_says_so)
{
    void (*action)(int signo) = SIG_DFL;
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    assert_int_equal(coil_run_with(look_at_action, &action, &opts), 1);
    assert_int_equal(coil_run_with(look_at_action, &action, NULL), 0);
    assert_true(has_action(SIG_DFL));
}

static void *run_in_a_thread(void *out)
{
    void (*action)(int signo) = SIG_DFL;
    *(coil_ret *)out = coil_run(look_at_action, &action);
    return NULL;
}

CTRL_C_TEST(test_signal_install_not_supported_ok)
{
    pthread_t t;
    coil_ret left_alone = 0;
    assert_int_equal(pthread_create(&t, NULL, run_in_a_thread, &left_alone), 0);
    pthread_join(t, NULL);
    assert_int_equal(left_alone, 1);
}

static void count_one(void *arg)
{
    ++*(int *)arg;
}

static coil_ret handles_it_itself_for_a_while(void *arg)
{
    int *count = arg;
    assert_int_equal(coil_loop_add_signal_handler(NULL, SIGINT, count_one, count), 0);
    press_ctrl_c();
    assert_int_equal(coil_sleep(1), 0);
    press_ctrl_c();
    assert_int_equal(coil_sleep(1), 0);
    assert_int_equal(*count, 2);
    assert_int_equal(coil_loop_remove_signal_handler(NULL, SIGINT), 1);
    press_ctrl_c();
    return coil_sleep(1);
}

CTRL_C_TEST(interrupts_handled_by_the_program_are_its_own)
{
    int count = 0;
    assert_int_equal(run_it(handles_it_itself_for_a_while, &count), COIL_EINTERRUPTED);
    assert_int_equal(count, 2);
    assert_true(has_action(SIG_DFL));
}

static coil_ret takes_it_twice(void *arg)
{
    set_action(handle);
    assert_int_equal(coil_loop_add_signal_handler(NULL, SIGINT, count_one, arg), 0);
    raise(SIGINT);
    return coil_sleep(1);
}

CTRL_C_TEST(interrupts_are_the_programs_though_it_had_another_handler_for_them)
{
    int count = 0;
    handled = 0;
    assert_int_equal(run_it(takes_it_twice, &count), 0);
    assert_int_equal(handled, 0);
    assert_int_equal(count, 1);
    assert_true(has_action(handle));
}

static coil_ret handles_it_from_now_on(void *count)
{
    return coil_loop_add_signal_handler(NULL, SIGINT, count_one, count);
}

CTRL_C_TEST(interrupts_handled_by_the_program_are_so_in_the_next_run)
{
    int count = 0;
    coil_runner *runner = coil_runner_new(&in_virtual_time);
    assert_int_equal(coil_runner_run(runner, handles_it_from_now_on, &count), 0);
    assert_int_equal(coil_runner_run(runner, raise_and_sleep, NULL), 0);
    assert_int_equal(count, 1);
    coil_runner_free(runner);
    assert_true(has_action(SIG_DFL));
}

static coil_ret forks(void *out)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        raise(SIGINT);
        _exit(0);
    }
    int *status = out;
    assert_int_equal(waitpid(pid, status, 0), pid);
    return coil_sleep(1);
}

CTRL_C_TEST(interrupt_of_a_child_is_the_childs)
{
    int status = 0;
    assert_int_equal(run_it(forks, &status), 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

COIL_TEST_PLAIN(interrupted_program_reports_it_by_its_status_alone)
{
    assert_int_equal(coil_report(COIL_EINTERRUPTED), 130);
}

COIL_TEST_MAIN()
