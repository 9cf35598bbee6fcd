/* SPDX-License-Identifier: MIT
 *
 * debug_mode.c: a program that does nothing wrong is told nothing in debug mode; and the words for two readers of one socket.
 *
 * What each other mistake is told with stands in the test of its own: reports of tasks (unit/task/test_reports.c), slow steps
 * (unit/loop/test_slow.c), stacks (unit/task/test_depth.c), references (unit/run/test_leaks.c), threads (bad_input_threads.c). */
#include "test.h"

#include <coil.h>
#include <string.h>
#include <sys/socket.h>

static int reports;
static char last[512];

static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    reports++;
    strncpy(last, context->message, sizeof last - 1);
}

/* ---- two readers of one socket ---- */

static coil_sock *near_end, *far_end;

static void make_pair(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(coil_sock_adopt(NULL, pair[0], &near_end), 0);
    assert_int_equal(coil_sock_adopt(NULL, pair[1], &far_end), 0);
}

static coil_ret receives(void *arg)
{
    char byte;
    (void)arg;
    return coil_sock_recv(near_end, &byte, 1);
}

static coil_ret sends(void *arg)
{
    (void)arg;
    return coil_sock_sendall(far_end, "xy", 2, NULL);
}

COIL_TEST_WITH(two_readers_of_one_socket_are_told_what_is_wrong, .debug = true,
               .virtual_time = true)
{
    make_pair();
    coil_task *first = coil_create_task(receives, NULL);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(receives(NULL), COIL_ERUNNING);
    assert_non_null(strstr(coil_last_error()->message, "another coroutine is already waiting"));
    assert_non_null(strstr(coil_last_error()->message, " on this socket"));
    assert_int_equal(sends(NULL), 0);
    assert_int_equal(coil_join(first), 1);
    coil_sock_unref(near_end);
    coil_sock_unref(far_end);
}

COIL_TEST_WITH(readers_one_after_the_other_are_fine, .debug = true, .virtual_time = true)
{
    make_pair();
    coil_task *sender = coil_create_task(sends, NULL);
    assert_int_equal(receives(NULL), 1);
    assert_int_equal(receives(NULL), 1);
    assert_int_equal(coil_join(sender), 0);
    coil_sock_unref(near_end);
    coil_sock_unref(far_end);
}

/* ---- a program that does nothing wrong ---- */

static coil_lock lock;

static coil_ret takes_turns(void *arg)
{
    for (int i = 0; i < 10; i++) {
        coil_ret rc = coil_lock_acquire(&lock);
        if (rc < 0)
            return rc;
        rc = coil_sleep(0.01);
        coil_lock_release(&lock);
        if (rc < 0)
            return rc;
    }
    return (coil_ret)arg;
}

static coil_ret fails(void *arg)
{
    (void)arg;
    return coil_fail(-EIO, "as it should");
}

static coil_ret sleeps(void *arg)
{
    (void)arg;
    return coil_sleep(3600);
}

static coil_ret lives_well(void *arg)
{
    (void)arg;
    coil_loop_set_exception_handler(NULL, hear, NULL);
    coil_task *two[] = {coil_create_task(takes_turns, NULL), coil_create_task(takes_turns, NULL)};
    assert_int_equal(coil_gather(two, 2, NULL, COIL_UNREF), 0);
    assert_int_equal(coil_join(coil_create_task(fails, NULL)), -EIO);
    assert_int_equal(coil_wait_for_call(sleeps, NULL, 1), -ETIMEDOUT);

    coil_task *task = coil_create_task(sleeps, NULL);
    assert_int_equal(coil_sleep(0), 0);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);

    coil_group group = coil_group_begin();
    for (int i = 0; i < 50; i++)
        coil_unref(coil_ref(coil_group_create_task(&group, takes_turns, NULL)));
    assert_int_equal(coil_group_exit(&group, 0), 0);

    make_pair();
    assert_int_equal(sends(NULL), 0);
    assert_int_equal(receives(NULL), 1);
    coil_sock_unref(near_end);
    coil_sock_unref(far_end);
    return 0;
}

COIL_TEST_PLAIN(program_that_does_nothing_wrong_is_told_nothing)
{
    reports = 0;
    last[0] = '\0';
    coil_run_opts opts = {.size = sizeof opts, .debug = true, .virtual_time = true};
    assert_int_equal(coil_run_with(lives_well, NULL, &opts), 0);
    assert_string_equal(last, "");
    assert_int_equal(reports, 0);
}

COIL_TEST_MAIN()
