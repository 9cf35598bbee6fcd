/* SPDX-License-Identifier: MIT
 *
 * test_test.c: the harness says what a test left behind, and survives tests that fail in the middle. */
#include "test.h"

#include "base/mem.h"
#include "loop/loop.h"

#include <coil.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

COIL_TEST_ENDS()

/* ---- what it says ---- */

/* The harness's word on one body. */
static const char *word_on(void (*body)(void), bool plain)
{
    static coil_test test;
    test = (coil_test){.name = "inner", .body = body, .plain = plain};
    test.opts = (coil_run_opts){.size = sizeof(coil_run_opts), .virtual_time = true};
    return coil_test_run(&test);
}

static void expect_word(void (*body)(void), bool plain, const char *part)
{
    const char *word = word_on(body, plain);
    if (!word || !strstr(word, part))
        fail_msg("it said '%s' and nothing of '%s'", word ? word : "all is well", part);
}

static void expect_well(void (*body)(void), bool plain)
{
    const char *word = word_on(body, plain);
    if (word)
        fail_msg("it said '%s'", word);
}

static void waits_an_hour(void)
{
    double before = coil_loop_time(NULL);
    assert_int_equal(coil_sleep(3600), 0);
    assert_true(coil_loop_time(NULL) - before >= 3600);
}

static void test_runs_in_virtual_time(void **state)
{
    expect_well(waits_an_hour, false);
}

static int kept_fd = -1;
static void leaves_descriptor(void)
{
    kept_fd = dup(0);
}

static void test_tells_open_descriptors(void **state)
{
    expect_word(leaves_descriptor, true, "1 descriptors more than before");
    close(kept_fd);
    expect_word(leaves_descriptor, false, "1 descriptors more than before");
    close(kept_fd);
}

static coil_ret sleeps(void *arg)
{
    return coil_sleep(1000);
}

static void leaves_task(void)
{
    coil_unref(coil_create_task(sleeps, NULL));
    coil_ignore(coil_sleep(0));
}

static void test_tells_tasks_left_behind(void **state)
{
    expect_word(leaves_task, false, "test_test.c:");
    expect_word(leaves_task, false, "was left behind, waiting for sleep");
}

static void leaves_many_tasks(void)
{
    for (int i = 0; i < 70; i++)
        coil_unref(coil_create_task(sleeps, NULL));
    coil_ignore(coil_sleep(0));
}

static void test_names_a_few_of_many_tasks_and_counts_the_others(void **state)
{
    expect_word(leaves_many_tasks, false, "waiting for sleep; and 67 more tasks");
}

static void leaves_cancelled_task(void)
{
    coil_task *task = coil_create_task(sleeps, NULL);
    coil_ignore(coil_sleep(0));
    coil_task_cancel(task, NULL);
    coil_unref(task);
}

static void test_accepts_a_cancelled_task_without_a_turn(void **state)
{
    expect_well(leaves_cancelled_task, false);
}

static coil_ret returns(void *arg)
{
    return 1;
}

static coil_task *kept_task;
static struct loop_part
    *kept_with_it; /* a pool stays as long as one of its stacks; for who looks for leaks */
static void leaves_reference(void)
{
    kept_with_it = coil__running_loop->parts[LOOP_PART_TASK];
    kept_task = coil_create_task(returns, NULL);
    assert_int_equal(coil_await(kept_task), 1);
}

static void test_tells_stacks_that_are_not_home(void **state)
{
    expect_word(leaves_reference, false, "1 stacks are not home");
}

static coil_ret fails(void *arg)
{
    return coil_fail(COIL_EUSER, "nobody looks at me");
}

static void leaves_error(void)
{
    coil_unref(coil_create_task(fails, NULL));
    coil_ignore(coil_sleep(0));
}

static void test_tells_what_the_loop_reported(void **state)
{
    expect_word(leaves_error, false, "never retrieved");
    expect_word(leaves_error, false, "nobody looks at me");
}

static void reports_without_an_error(void)
{
    coil_exception_context context = {.size = sizeof context, .message = "somebody complains"};
    coil_loop_call_exception_handler(NULL, &context);
}

static void test_tells_what_is_no_error_too(void **state)
{
    assert_string_equal(word_on(reports_without_an_error, false),
                        "the loop reported: somebody complains");
}

static void waits_for_ever(void)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_ret rc = coil_join(f);
    (void)rc;
}

static void test_tells_a_deadlock(void **state)
{
    if (!deadlocks_are_certain())
        skip();
    expect_word(waits_for_ever, false, "COIL_EDEADLOCK");
}

static coil_lock never_released;
static void asserts_when_its_wait_is_given_up(void)
{
    never_released = (coil_lock){0};
    assert_int_equal(coil_lock_acquire(&never_released), 0);
    assert_int_equal(coil_lock_acquire(&never_released), 0);
}

static bool tells_only_the_deadlock(void)
{
    const char *word = word_on(asserts_when_its_wait_is_given_up, false);
    return word &&
           strncmp(word, "it ended with COIL_EDEADLOCK: nothing left can wake any task: ", 62) ==
               0 &&
           strstr(word, "waits for lock") && !strstr(word, "; 1 ") &&
           !word_on(waits_an_hour, false);
}

/* The deadlock is the news; that the body was cancelled for it, and what it says of that, is not. In a child, since a task
 * that an assertion gave up is lost memory. */
static void test_tells_a_deadlock_and_not_what_comes_of_it(void **state)
{
    /* Where cmocka is linked in, an assertion jumps at once. */
    if (!deadlocks_are_certain() || !dlsym(RTLD_NEXT, "_fail"))
        skip();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(tells_only_the_deadlock() ? 0 : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static coil_executor *kept_executor;
static void leaves_thread(void)
{
    kept_executor = coil_thread_pool_executor_new(1, "kept");
    coil_thread_future *f = coil_executor_submit(kept_executor, returns, NULL, 0);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), 1);
    coil_thread_future_unref(f);
}

static void test_tells_threads_that_still_run(void **state)
{
    expect_word(leaves_thread, true, "1 threads still run");
    assert_int_equal(coil_executor_shutdown(kept_executor, true, false), 0);
    coil_executor_unref(kept_executor);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static void *kept_block;
static void leaves_memory(void)
{
    kept_block = coil__alloc(10);
}

static void test_tells_memory_not_given_back(void **state)
{
    expect_word(leaves_memory, true, "1 blocks of memory were not given back");
    coil__free(kept_block);
}
#endif

/* ---- what it survives ---- */

static void fails_in_main_task(void)
{
    coil_ignore(coil_sleep(0));
    assert_int_equal(1, 2);
}

static coil_ret fails_here(void *arg)
{
    assert_string_equal("in a child", "in its parent");
    return 0;
}

static void fails_in_child_task(void)
{
    coil_task *task = coil_create_task(fails_here, NULL);
    coil_ignore(coil_sleep(10));
    coil_unref(task);
}

static void fails_while_others_wait(void)
{
    coil_task *task = coil_create_task(sleeps, NULL);
    coil_ignore(coil_sleep(0));
    coil_unref(task);
    fail_msg("with another task parked");
}

static void fail_now(void *arg)
{
    fail_msg("in a callback");
}

static void fails_in_callback(void)
{
    assert_int_equal(coil_loop_call_soon(NULL, fail_now, NULL, NULL), 0);
    coil_ignore(coil_sleep(10));
}

static void fails_plainly(void)
{
    assert_true(false);
}

static void fails_with_words(void)
{
    coil_assert_ok(7);
    coil_assert_error(coil_fail(-EIO, "a disk"), -EIO);
    coil_assert_ok(coil_fail(-EIO, "the disk is gone"));
}

static void fails_with_another_error(void)
{
    coil_assert_error(coil_fail(-EIO, "the disk is gone"), -ENOENT);
}

static void fails_with_a_value(void)
{
    coil_assert_error(7, COIL_ESHUTDOWN);
}

static void skips(void)
{
    skip();
}

static void passes(void)
{
    coil_ignore(coil_sleep(1));
}

static void run_case(void **state)
{
    coil_test test = {.name = "inner", .body = *(void (**)(void))state};
    test.opts = (coil_run_opts){.size = sizeof(coil_run_opts), .virtual_time = true};
    test.plain = test.body == fails_plainly;
    const char *word = coil_test_run(&test);
    if (word)
        fail_msg("%s", word);
}

static int after_case(void **state)
{
    coil_test_recover();
    return 0;
}

#define CASE(fn)                                                 \
    {                                                            \
#fn, run_case, NULL, after_case, (void *)(uintptr_t)(fn) \
    }

/* In a process of its own: cmocka's runner does not nest. Its output and exit status. */
static int run_group(char *out, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        const struct CMUnitTest cases[] = {
            CASE(fails_in_main_task),
            CASE(passes),
            CASE(fails_in_child_task),
            CASE(fails_while_others_wait),
            CASE(skips),
            CASE(fails_in_callback),
            CASE(fails_plainly),
            CASE(passes),
            CASE(fails_with_words),
            CASE(fails_with_another_error),
            CASE(fails_with_a_value),
        };
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        close(fds[0]);
        close(fds[1]);
        setenv("CMOCKA_MESSAGE_OUTPUT", "TAP", 1);
        int failed = cmocka_run_group_tests(cases, NULL, NULL);
        fflush(NULL);
        _exit(failed);
    }
    close(fds[1]);
    size_t n = 0;
    for (ssize_t got; n + 1 < size && (got = read(fds[0], out + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    out[n] = 0;
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_line(const char *text, const char *line)
{
    if (!strstr(text, line))
        fail_msg("no '%s' in:\n%s", line, text);
}

static void test_survives_failures_anywhere(void **state)
{
    static char out[16384];
    int failed = run_group(out, sizeof out);
    expect_line(out, "not ok 1 - fails_in_main_task");
    expect_line(out, "1 != 0x2");
    expect_line(out, "ok 2 - passes");
    expect_line(out, "not ok 3 - fails_in_child_task");
    expect_line(out, "in its parent");
    expect_line(out, "not ok 4 - fails_while_others_wait");
    expect_line(out, "5 # SKIP skips");
    expect_line(out, "not ok 6 - fails_in_callback");
    expect_line(out, "not ok 7 - fails_plainly");
    expect_line(out, "ok 8 - passes");
    expect_line(out, "coil_fail(-EIO, \"the disk is gone\"): EIO: the disk is gone");
    expect_line(out,
                "coil_fail(-EIO, \"the disk is gone\"): not ENOENT, but EIO: the disk is gone");
    expect_line(out, "7: not COIL_ESHUTDOWN, but 7");
    expect_line(out, "not ok 11 - fails_with_a_value");
    assert_int_equal(failed, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_in_virtual_time),
        cmocka_unit_test(test_tells_open_descriptors),
        cmocka_unit_test(test_tells_tasks_left_behind),
        cmocka_unit_test(test_names_a_few_of_many_tasks_and_counts_the_others),
        cmocka_unit_test(test_tells_what_is_no_error_too),
        cmocka_unit_test(test_accepts_a_cancelled_task_without_a_turn),
        cmocka_unit_test(test_tells_stacks_that_are_not_home),
        cmocka_unit_test(test_tells_what_the_loop_reported),
        cmocka_unit_test(test_tells_a_deadlock),
        cmocka_unit_test(test_tells_a_deadlock_and_not_what_comes_of_it),
        cmocka_unit_test(test_tells_threads_that_still_run),
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
        cmocka_unit_test(test_tells_memory_not_given_back),
#endif
        cmocka_unit_test(test_survives_failures_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
