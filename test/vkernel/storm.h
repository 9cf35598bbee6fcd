/* SPDX-License-Identifier: MIT
 *
 * storm.h: what the programs of a storm (programs.c) share with who plays it (test_storm.c).
 *
 * Every choice is drawn from `storm.random`, in the order tasks run, so that a seed is a whole story. */
#ifndef TEST_VKERNEL_STORM_H
#define TEST_VKERNEL_STORM_H

#include "test.h"

#include "vkernel.h"

#include "base/clock.h"
#include "base/random.h"

#include <coil.h>
#include <stdlib.h>
#include <unistd.h>

enum { MESSAGE_MAX = 20000 };

struct storm {
    struct random random;
    struct vkernel_faults faults;
    bool disturbed; /* connections may fail: what was read is a beginning */
    coil_server *server;
    unsigned complete, failed, cancelled;
};
extern struct storm storm;

static inline uint32_t below(uint32_t n)
{
    return random_below(&storm.random, n);
}

/* The mix of faults must explain an error. */
void must_be_explained(coil_ret rc);

/* ---- programs: tasks that end by themselves, with a ledger each ---- */

/* The client function of storm.server: an echo that loses its patience now and then. */
coil_ret echo(coil_reader *reader, coil_writer *writer, void *arg);
/* One connection to it, n bytes there and back. */
coil_ret converse(unsigned who, size_t n);
/* `arg`: unsigned, who. Some conversations. */
coil_ret client(void *arg);
/* Both ends of a unix pair write and read. */
coil_ret pair(void *arg);
/* A pipe that is not coil's, waited for and read by plain calls. */
coil_ret raw_pipe(void *arg);
/* A listener and those who knock, accepts and connects given up in the middle. */
coil_ret doors(void *arg);
/* Callbacks: a transport that echoes, stops reading now and then, and one that speaks to it. */
coil_ret callbacks(void *arg);

#endif
