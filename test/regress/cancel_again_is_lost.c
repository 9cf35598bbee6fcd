/* SPDX-License-Identifier: MIT
 *
 * cancel_again_is_lost.c: a task that awaits one that shrugs a cancel off, and is cancelled again: the
 * second cancel was kept for the waiting task instead of being handed down like the first. */
#include "test.h"

#include <coil.h>

static coil_ret shrug_once(void *arg)
{
    int *seen = arg;
    for (int i = 0; i < 2; i++) {
        coil_ret rc = coil_sleep(3600);
        if (rc == -ECANCELED)
            ++*seen;
    }
    return 5;
}

static coil_ret await_it(void *task)
{
    return coil_await((coil_task *)task);
}

COIL_TEST(cancel_that_comes_again_is_handed_down_again)
{
    int seen = 0;
    coil_task *inner = coil_create_task(shrug_once, &seen),
              *outer = coil_create_task(await_it, inner);
    assert_int_equal(coil_sleep(1), 0);
    assert_true(coil_task_cancel(outer, NULL));
    assert_int_equal(coil_sleep(1), 0);
    assert_int_equal(seen, 1);
    assert_false(coil_future_done(inner));
    assert_true(coil_task_cancel(outer, NULL));
    assert_int_equal(coil_join(outer), 5);
    assert_int_equal(seen, 2);
    coil_unref(inner);
}

COIL_TEST_MAIN()
