/* SPDX-License-Identifier: MIT
 *
 * always_ready_stops_time.c: a watched descriptor that is ready all the time kept virtual time from
 * passing, so that no timer ever fell due. */
#include "test.h"

#include <coil.h>

#include <unistd.h>

static void count(void *arg)
{
    ++*(int *)arg;
}

COIL_TEST(virtual_time_passes_beside_a_writer_that_is_always_ready)
{
    int fds[2], calls = 0;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(coil_loop_add_writer(NULL, fds[1], count, &calls), 0);
    double before = coil_loop_time(NULL);
    assert_int_equal(coil_sleep(0.01), 0);
    assert_true(coil_loop_time(NULL) - before >= 0.01);
    assert_true(calls > 1);
    assert_int_equal(coil_loop_remove_writer(NULL, fds[1]), 1);
    close(fds[0]);
    close(fds[1]);
}

COIL_TEST_MAIN()
