/* SPDX-License-Identifier: MIT
 *
 * wrong.c: bodies with one mistake each, and a healthy one: what a sweep must find, and must not (test/script/fault.sh). */
#include "test.h"

#include "base/mem.h"
#include "base/sys.h"

#include <coil/file.h>
#include <coil/future.h>
#include <coil/task.h>

#include <fcntl.h>

COIL_TEST(it_is_healthy)
{
    void *p = coil__alloc(8);
    coil__free(p);
    coil_ignore(coil_sleep(1));
}

COIL_TEST_PLAIN(it_forgets_the_first_when_the_second_fails)
{
    void *p = coil__alloc(8), *q = coil__alloc(8);
    if (!q)
        return;
    coil__free(p);
    coil__free(q);
}

COIL_TEST_PLAIN(it_keeps_a_descriptor_when_the_second_fails)
{
    int one = sys_eventfd(0, EFD_CLOEXEC), other = sys_eventfd(0, EFD_CLOEXEC);
    if (other < 0)
        return;
    sys_close(one);
    sys_close(other);
}

COIL_TEST_PLAIN(it_believes_in_memory)
{
    char *p = coil__alloc(8);
    *(volatile char *)p = 1;
    coil__free(p);
}

COIL_TEST_PLAIN(it_is_taken_aback_by_an_interruption)
{
    char byte = 0;
    int ends[2];
    assert_int_equal(sys_pipe2(ends, O_CLOEXEC), 0);
    coil_ret sent = sys_write(ends[1], "a", 1),
             got = sent == 1 ? sys_read(ends[0], &byte, 1) : sent;
    sys_close(ends[0]);
    sys_close(ends[1]);
    assert_int_equal(got, 1);
}

/* What a future holds is given to who waits, and to nobody if a deadline comes in between. */
static coil_ret hand_over(void *arg)
{
    void *p = coil__alloc(8);
    if (!p || coil_future_set_result(arg, (coil_ret)(intptr_t)p) < 0)
        coil__free(p);
    return 0;
}

COIL_TEST(it_loses_what_came_with_the_deadline)
{
    coil_future *future = coil_loop_create_future(NULL);
    coil_task *giver = coil_create_task(hand_over, future);
    coil_ret rc = coil_await(future);
    if (rc > 0)
        coil__free((void *)(intptr_t)rc);
    coil_unref(future);
    coil_task_cancel(giver, NULL);
    coil_unref(giver);
}

static coil_ret wake_if_there_is_memory(void *arg)
{
    void *p = coil__alloc(8);
    if (p)
        coil_future_set_result(arg, 0);
    coil__free(p);
    return 0;
}

COIL_TEST(it_wakes_nobody_without_memory)
{
    coil_future *future = coil_loop_create_future(NULL);
    if (!coil_future_done(future))
        coil_unref(coil_create_task(wake_if_there_is_memory, future));
    assert_int_equal(coil_join(future), 0);
}

/* On io_uring the file is opened by a request, and what its completion says is true. */
COIL_TEST(it_believes_that_it_was_opened)
{
    coil_file *file = NULL;
    int before = (int)coil_file_open("/dev/null", O_RDONLY, 0, &file);
    if (before == -EMFILE)
        (void)sys_eventfd(0, EFD_CLOEXEC);
    else if (before == 0)
        coil_ignore(coil_file_close(file));
}

static bool met_before;

COIL_TEST(it_remembers_an_error_for_ever)
{
    assert_false(met_before);
    met_before = coil_iserr(coil_sleep(1));
}

COIL_TEST(it_never_passes)
{
    assert_int_equal(coil_sleep(1), 1);
}

COIL_TEST_MAIN()
