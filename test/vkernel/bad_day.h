/* SPDX-License-Identifier: MIT
 *
 * bad_day.h: a backend on the virtual kernel, of which a test says what goes wrong. */
#ifndef TEST_VKERNEL_BAD_DAY_H
#define TEST_VKERNEL_BAD_DAY_H

#include "../unit/io/world.h"
#include "test.h"

#include "vkernel.h"

static struct vkernel_faults faults;

static inline void begin(struct world *w, const struct backend_class *cls,
                         struct vkernel_faults with)
{
    faults = with;
    vkernel_begin(1, &faults);
    assert_int_equal(world_try_open(w, cls, 0), 0);
}

static inline void end(struct world *w)
{
    world_close(w);
    const char *left = vkernel_end();
    if (left)
        fail_msg("not home: %s", left);
}

static inline void turns(struct world *w, int n)
{
    for (int i = 0; i < n; i++)
        turn(w, NS_PER_MS);
}

static inline ssize_t read_one(struct world *w, int fd, void *p, size_t n)
{
    ssize_t got = w->calls->recv(w->b, fd, p, n, 0);
    if (got != -EAGAIN)
        return got;
    struct test_op r = recv_op(fd, p, n);
    submit(w, &r);
    run_until(w, &r, 1);
    return (ssize_t)r.op.result;
}

#endif
