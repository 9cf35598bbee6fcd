/* SPDX-License-Identifier: MIT
 *
 * wait.c: parked until enough of some futures are done, or for so long.
 *
 *     member done --slot--> counted --enough--> task woken
 *     time is up  --slot----------------------> task woken
 *
 * Members are neither cancelled nor looked at. Everything stands in the parked frame, or in memory that the frame
 * owns; what is still queued when the task goes on is taken back.
 *
 * Runs on the loop's thread. Elsewhere: the way through the ring (follow.c), one future (wait_for.c). */
#include "combine/distinct.h"
#include "combine/follow.h"
#include "combine/outer.h"

#include <coil/combine.h>

#include <stdio.h>

enum { IN_FRAME = 4 }; /* so many members need no memory */

struct wait_set {
    struct wait wait; /* first: describe gets this */
    enum coil_when when;
    size_t n;    /* distinct members */
    size_t left; /* of which are not counted yet */
    struct alarm alarm;
    struct follower *followers; /* [n]; in_frame, or allocated */
    struct follower in_frame[IN_FRAME];
};

/* ---- being told ---- */

static int describe(const struct wait *w, char *out, size_t size)
{
    const struct wait_set *set = (const struct wait_set *)w;
    return snprintf(out, size, "%zu of %zu futures are done", set->n - set->left, set->n);
}

static const struct wait_class wait_set_class = {
    .what = "wait",
    .cancel = coil__wait_cancel_plain,
    .describe = describe,
};

static void enough(struct wait_set *set)
{
    coil__alarm_end(&set->alarm);
    if (!set->wait.woken)
        coil__wake(&set->wait, 0);
}

/* Asking counts as looking, as in asyncio. */
static bool is_exception(coil_future *f)
{
    outer_mark_retrieved(f);
    return outer_has_failed(f);
}

static void member_told(struct follower *follower)
{
    struct wait_set *set = follower->owner;
    set->left--;
    if (set->left == 0 || set->when == COIL_FIRST_COMPLETED ||
        (set->when == COIL_FIRST_EXCEPTION && is_exception(follower->future)))
        enough(set);
}

static void time_is_up(struct alarm *a)
{
    enough(container_of(a, struct wait_set, alarm));
}

/* ---- setting it up ---- */

/* The followers, not started, with each distinct future in one. */
static int sort_out(struct wait_set *set, coil_future *const *futures, size_t n)
{
    struct distinct d;
    if (coil__distinct_init(&d, futures, n) < 0)
        return -ENOMEM;
    set->followers = n <= IN_FRAME ? set->in_frame : coil__zalloc(n * sizeof *set->followers);
    if (set->followers)
        for (size_t i = 0; i < n; i++)
            if (coil__distinct_first(&d, i) == i)
                set->followers[set->n++].future = futures[i];
    coil__distinct_fini(&d);
    return set->followers ? 0 : -ENOMEM;
}

static int start(struct wait_set *set, coil_loop *loop, double timeout)
{
    /* The timer first: asyncio asks for it before it looks at the members. */
    if (timeout != COIL_FOREVER) {
        int64_t when_ns = clock_add(loop_now_ns(loop), coil__clock_from_seconds(timeout));
        int err = coil__alarm_init(&set->alarm, loop, time_is_up);
        if (err == 0)
            err = coil__alarm_set(&set->alarm, when_ns, loop_timer_seq(loop));
        if (err)
            return err;
    }
    if (coil__loop_hold(loop, (unsigned)set->n) < 0)
        return -ENOMEM;
    set->left = set->n;
    coil_future *by = coil_current_task();
    for (size_t i = 0; i < set->n; i++)
        coil__follow(&set->followers[i], loop, set->followers[i].future, by, member_told, set);
    return 0;
}

static void finish(struct wait_set *set)
{
    coil__alarm_end(&set->alarm);
    for (size_t i = 0; i < set->n; i++)
        coil__unfollow(&set->followers[i]);
    if (set->followers != set->in_frame)
        coil__free(set->followers);
}

coil_ret coil_wait(coil_future *const *futures, size_t n, double timeout, enum coil_when when,
                   bool *out_done)
{
    if (n == 0)
        return coil__fail(-EINVAL, "there is nothing to wait for: the set of futures is empty");
    if (when != COIL_ALL_COMPLETED && when != COIL_FIRST_COMPLETED && when != COIL_FIRST_EXCEPTION)
        return coil__fail(-EINVAL, "an unknown condition to wait for: %d", (int)when);
    if (timeout != timeout)
        return coil__fail(-EINVAL, "a timeout must be a number of seconds, not NaN");
    coil_ret rc = coil__can_wait();
    coil_loop *loop = coil__running_loop;
    if (rc == 0)
        rc = coil__check_members(futures, n, &loop);
    if (rc)
        return rc;

    struct wait_set set = {.wait = WAIT_INIT(&wait_set_class), .when = when};
    rc = sort_out(&set, futures, n);
    if (rc == 0)
        rc = start(&set, loop, timeout);
    if (rc)
        coil__fail_plain(rc);
    else
        rc = coil__park(&set.wait);

    coil_ret done = 0;
    if (rc == 0) /* the caller's references may have gone, ours have not yet */
        for (size_t i = 0; i < n; i++) {
            bool is_done = future_done(futures[i]);
            done += is_done;
            if (out_done)
                out_done[i] = is_done;
        }
    finish(&set);
    return rc ? rc : done;
}
