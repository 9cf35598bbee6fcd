/* SPDX-License-Identifier: MIT
 *
 * test_trim.c: after a peak of tasks the memory of their stacks goes back to the kernel when it is asked for. */
#include "play.h"

#include <coil/loop.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TASKS = 40 };

static char *page; /* of some task's stack */

/* Is it in memory? `otherwise` where that cannot be asked. */
static bool resident(bool otherwise)
{
    unsigned char there;
    return mincore(page, 1, &there) < 0 ? otherwise : there & 1;
}

static coil_ret note_page(void *arg)
{
    (void)arg;
    volatile char here = 1;
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    page = (char *)((uintptr_t)__builtin_frame_address(0) / size * size);
    coil_ret rc = coil_sleep(0);
    return rc < 0 ? rc : here;
}

static void peak(void)
{
    coil_task *t[TASKS];
    for (int i = 0; i < TASKS; i++)
        t[i] = spawn(note_page, NULL);
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(end_of(t[i]), 1);
}

PLAY(trim_gives_back_what_no_task_uses)
{
    peak();
    assert_true(resident(true));
    int given = coil_loop_trim(NULL);
    assert_true(given >= TASKS);
    assert_false(resident(false));
    assert_int_equal(coil_loop_trim(coil_get_running_loop()), 0);
    peak();
    assert_true(coil_loop_trim(NULL) >= TASKS);
}

static coil_ret trim_between(void *arg)
{
    (void)arg;
    volatile char mine[4096];
    for (size_t i = 0; i < sizeof mine; i++)
        mine[i] = 7;
    int given = coil_loop_trim(NULL);
    for (size_t i = 0; i < sizeof mine; i++)
        assert_int_equal(mine[i], 7);
    return given;
}

PLAY(trim_leaves_the_stacks_in_use_alone)
{
    coil_task *waits = spawn(note_page, NULL);
    turn();
    coil_loop_trim(NULL);
    coil_task *trims = spawn(trim_between, NULL);
    assert_int_equal(end_of(waits), 1); /* its stack is idle when the other one trims, or not yet */
    assert_true(end_of(trims) >= 0);
}

COIL_TEST_PLAIN(trim_without_a_loop_says_so)
{
    assert_int_equal(coil_loop_trim(NULL), COIL_ENOLOOP);
}

COIL_TEST_PLAIN(trim_of_a_loop_that_had_no_task_gives_nothing)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    assert_int_equal(coil_loop_trim(loop), 0);
    coil_loop_free(loop);
}

COIL_TEST_MAIN()
