/* SPDX-License-Identifier: MIT
 *
 * test_ops.c: the random ops of ops.c, seed after seed, on each backend. */
#include "ops.h"

#include "seeds.h"

enum { SEEDS = 200 };

COIL_TEST_PLAIN(ops_on_uring)
{
    seeds_play("ops_on_uring", SEEDS, ops_play, &coil__backend_uring);
}

COIL_TEST_PLAIN(ops_on_an_old_uring)
{
    seeds_play("ops_on_an_old_uring", SEEDS, ops_play, &coil__backend_uring_5_15);
}

COIL_TEST_PLAIN(ops_on_epoll)
{
    seeds_play("ops_on_epoll", SEEDS, ops_play, &coil__backend_epoll);
}

COIL_TEST_PLAIN(ops_on_poll)
{
    seeds_play("ops_on_poll", SEEDS, ops_play, &coil__backend_poll);
}

COIL_TEST_MAIN()
