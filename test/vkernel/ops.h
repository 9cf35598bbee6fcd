/* SPDX-License-Identifier: MIT
 *
 * ops.h: one run of random ops on the virtual kernel (ops.c). */
#ifndef TEST_VKERNEL_OPS_H
#define TEST_VKERNEL_OPS_H

#include "vkernel.h"

#include "io/backend.h"

/* `cls` is a struct backend_class. What is drawn comes from `vk_given` while there is any, and then from the seed; with
 * something given, steps end with it. Fails the test that runs; returns the trace's hash. */
uint64_t ops_play(const void *cls, uint64_t seed);

#endif
