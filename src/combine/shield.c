/* SPDX-License-Identifier: MIT
 *
 * shield.c: waiting for something without the power to cancel it.
 *
 *     inner done  --slot--> outer done                 the common way
 *     outer done  --slot--> inner still pending:       somebody cancelled outer
 *                           follow it only to report what it fails with
 *
 * Always true:
 *   - the inner future is kept as long as the shield, and the shield while it follows the inner one;
 *   - while the shield is pending the inner future is awaited by the task that made it, as long as that lives;
 *   - a shield that reports is one of at most one for each inner future, whoever else shielded it.
 *
 * Runs on the loop's thread. Elsewhere: the way through the ring (follow.c). */
#include "combine/distinct.h"
#include "combine/follow.h"
#include "combine/outer.h"

#include <coil/combine.h>

struct shield {
    coil_future outer; /* first: the class gets this */
    struct follower inner_done, outer_done;
    struct future_callback maker_done; /* the task that made us is over, and awaits nobody */
};

static void nobody_awaits(struct shield *s)
{
    future_unwatch(&s->maker_done);
    s->inner_done.cb.by = NULL;
}

static void maker_is_done(struct future_callback *cb, coil_future *task)
{
    (void)task;
    nobody_awaits(container_of(cb, struct shield, maker_done));
}

static void shield_destroy(coil_future *f, bool taken)
{
    struct shield *s = (struct shield *)f;
    future_unwatch(&s->maker_done);
    /* The value stays the inner one's to free, unless somebody took it from here. One that was set by hand is not the
     * inner one's, and that one may be gone. */
    if (taken && outer_has_value(f) && s->inner_done.state == FOLLOWER_TOLD)
        s->inner_done.future->retrieved = true;
    coil__unfollow(&s->inner_done);
    /* outer_done keeps the outer future, so it has ended before. */
    outer_free(f);
}

static void shield_abandon(coil_future *f)
{
    struct shield *s = (struct shield *)f;
    bool waits = s->inner_done.state == FOLLOWER_WAITING || s->inner_done.state == FOLLOWER_QUEUED;
    coil_ref(f);
    future_unwatch(&s->maker_done);
    coil__unfollow(&s->outer_done);
    if (waits) {
        coil__unfollow(&s->inner_done);
        coil_unref(f); /* the reference for the sake of that follower */
    }
    coil_unref(f);
}

static const struct future_class shield_class = {
    .name = "shield",
    .destroy = shield_destroy,
    .abandon = shield_abandon,
};

/* ---- the inner one ends first ---- */

static void copy_state(coil_future *outer, coil_future *inner)
{
    coil_ret result = inner->result;
    if (!coil_iserr(result))
        coil__future_finish(outer, result, NULL);
    else if (inner->state == COIL_FUTURE_CANCELLED)
        coil__future_finish(outer, -ECANCELED, coil__future_take_error(inner));
    else
        outer_fail(outer, result, coil__future_take_error(inner));
}

static void inner_told(struct follower *follower)
{
    struct shield *s = follower->owner;
    if (!future_done(&s->outer))
        copy_state(&s->outer, follower->future);
    coil_unref(&s->outer); /* the reference for the sake of this follower */
}

/* ---- the outer one ends first ---- */

static void report_told(struct follower *follower)
{
    struct shield *s = follower->owner;
    coil_future *inner = follower->future;
    if (outer_has_failed(inner)) {
        coil_ret code = inner->result;
        struct error_record *error = coil__future_take_error(inner);
        coil__loop_report(s->outer.loop, "shielded-error", "exception in shielded future", code,
                          coil__error_show(error, code), inner);
        coil__error_unref(error);
    }
    coil_unref(&s->outer);
}

/* Another shield that already reports for this future. */
static struct follower *find_reporter(coil_future *inner)
{
    LIST_FOREACH(link, &inner->callbacks) {
        struct follower *follower = container_of(container_of(link, struct future_callback, link),
                                                 struct follower, cb);
        if (coil__is_follower(&follower->cb) && follower->fn == report_told)
            return follower;
    }
    return NULL;
}

static void outer_told(struct follower *follower)
{
    struct shield *s = follower->owner;
    struct follower *inner = &s->inner_done;
    nobody_awaits(s);
    if (inner->state == FOLLOWER_WAITING) {
        struct follower *other = find_reporter(inner->future);
        if (other) {
            struct shield *old = other->owner;
            coil__unfollow(other);
            coil_unref(&old->outer);
        }
        /* To the end of the line, as one that is added now. */
        future_unwatch(&inner->cb);
        inner->fn = report_told;
        coil__future_watch(inner->future, &inner->cb);
    }
    coil__unfollow(follower);
}

/* ---- making one ---- */

static int shield_new(const char *file, int line, coil_future *inner, coil_future **out)
{
    coil_loop *loop = NULL;
    int err = coil__check_members(&inner, 1, &loop);
    if (err)
        return err;
    if (future_done(inner)) {
        *out = coil_ref(inner);
        return 0;
    }
    struct shield *s = (struct shield *)coil__future_new(loop, &shield_class, sizeof *s, file,
                                                         line);
    if (!s)
        return (int)coil__fail_plain(-ENOMEM);
    list_init(&s->maker_done.link);
    s->maker_done.fire = maker_is_done;
    if (coil__loop_hold(loop, 2) < 0) {
        coil_unref(&s->outer);
        return (int)coil__fail_plain(-ENOMEM);
    }
    coil_ref(&s->outer);
    coil_task *maker = coil_current_task();
    if (maker && (maker->loop != loop || maker == inner))
        maker = NULL;
    if (maker)
        coil__future_watch(maker, &s->maker_done);
    coil__follow(&s->inner_done, loop, inner, maker, inner_told, s);
    coil__follow(&s->outer_done, loop, &s->outer, NULL, outer_told, s);
    *out = &s->outer;
    return 0;
}

coil_future *coil_shield_future_at(const char *file, int line, coil_future *future)
{
    coil_future *outer;
    int err = shield_new(file, line, future, &outer);
    return err ? coil__future_failed(err) : outer;
}

coil_ret coil_shield(coil_future *future)
{
    coil_future *outer;
    coil_ret rc = coil__can_wait();
    if (rc == 0)
        rc = shield_new(__FILE__, __LINE__, future, &outer);
    if (coil_iserr(rc))
        return rc;
    rc = coil_await_future(outer);
    coil_unref(outer);
    return rc;
}
