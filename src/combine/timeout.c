/* SPDX-License-Identifier: MIT
 *
 * timeout.c: deadlines that are scopes.
 *
 *     CLEAR --enter--> ACTIVE --time, a turn--> EXPIRING --exit--> EXPIRED
 *                        |  \                      ^
 *                        |   +-- cannot be kept ---+
 *                        +------- exit -----------------------> LEFT
 *
 * Most scopes end before their task ever waits, so a timer is set only when the task parks; its place
 * among equal deadlines is taken on entering, as if it had been set then.
 *
 * Expiring means: the scope has cancelled its task, once. On leaving it takes that back (uncancel); if
 * no more cancels are outstanding than on entering, an -ECANCELED that comes out of the body was its own.
 *
 * Always true:
 *   - a scope is in its task's list while it has a deadline that no timer knows yet;
 *   - a scope that has been left is known to nobody;
 *   - a scope that cannot be kept (no memory, no number) expires at once, and says why.
 *
 * Runs on the loop's thread. Elsewhere: when the list is asked (coil__park), counting (coil_task_cancel). */
#include "combine/timeout.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/probe.h"
#include "combine/follow.h"

#include <coil/timeout.h>

#include <stddef.h>

enum scope_state { SCOPE_CLEAR, SCOPE_ACTIVE, SCOPE_EXPIRING, SCOPE_EXPIRED, SCOPE_LEFT };

struct scope {
    struct list link; /* in the task's scopes, while not armed */
    struct alarm alarm;
    struct coil__task *task; /* NULL: entered where no task is */
    int64_t when_ns;         /* CLOCK_FOREVER: none */
    uint64_t seq;            /* our place among equal deadlines */
    uint32_t cancelling;     /* outstanding when we were entered */
    int16_t error;           /* what our cancel becomes on exit */
    uint8_t state;
};

_Static_assert(sizeof(struct scope) <= sizeof(coil_timeout_scope),
               "a scope must fit its public form");
_Static_assert(_Alignof(struct scope) <= _Alignof(coil_timeout_scope), "and stand where it stands");

static struct scope *open_up(coil_timeout_scope *public_scope)
{
    return (struct scope *)public_scope;
}

static const struct scope *look_into(const coil_timeout_scope *public_scope)
{
    return (const struct scope *)public_scope;
}

/* ---- expiring ---- */

static void expire(struct scope *s)
{
    s->state = SCOPE_EXPIRING;
    coil_task_cancel(&s->task->future, NULL);
}

static void time_is_up(struct alarm *a)
{
    expire(container_of(a, struct scope, alarm));
}

/* ---- arming ---- */

static void arm(struct scope *s)
{
    if (coil__alarm_set(&s->alarm, s->when_ns, s->seq) < 0) {
        s->error = -ENOMEM;
        coil__alarm_now(&s->alarm);
    }
}

/* The task is about to park. */
static void arm_scopes(struct coil__task *t)
{
    for (struct list *link; (link = list_pop(&t->scopes));)
        arm(container_of(link, struct scope, link));
    t->arm_scopes = NULL;
}

static void arm_later(struct scope *s)
{
    list_push(&s->task->scopes, &s->link);
    s->task->arm_scopes = arm_scopes;
}

/* The alarm has its room; what has passed already is for the next turn, in its place among callbacks. */
static void set_deadline(struct scope *s, int64_t now_ns)
{
    s->seq = loop_timer_seq(s->task->future.loop);
    if (s->when_ns <= now_ns)
        coil__alarm_now(&s->alarm);
    else if (coil__current() == s->task)
        arm_later(s);
    else
        arm(s); /* the task may be parked already */
}

/* ---- entering ---- */

static int enter(struct scope *s, bool absolute, double seconds)
{
    *s = (struct scope){.state = SCOPE_ACTIVE, .error = -ETIMEDOUT, .when_ns = CLOCK_FOREVER};
    list_init(&s->link);
    s->task = coil__current();
    if (!s->task) {
        s->error = COIL_ENOTASK;
        return (int)coil__fail(COIL_ENOTASK, "a timeout can only be used inside a task");
    }
    coil_loop *loop = s->task->future.loop;
    s->cancelling = s->task->cancelling;
    int err = 0;
    if (seconds != seconds)
        err = (int)coil__fail(-EINVAL, "a timeout must be a number of seconds, not NaN");
    else if (seconds == COIL_FOREVER)
        return 0;
    else if (coil__alarm_init(&s->alarm, loop, time_is_up) < 0)
        err = (int)coil__fail_plain(-ENOMEM);
    if (err) {
        s->error = (int16_t)err;
        expire(s);
        return err;
    }
    int64_t now_ns = loop_now_ns(loop);
    s->when_ns = coil__clock_from_seconds(seconds);
    if (!absolute)
        s->when_ns = clock_add(now_ns, s->when_ns);
    set_deadline(s, now_ns);
    return 0;
}

int coil_timeout_enter(coil_timeout_scope *scope, double delay)
{
    return enter(open_up(scope), false, delay);
}

int coil_timeout_enter_at(coil_timeout_scope *scope, double when)
{
    return enter(open_up(scope), true, when);
}

/* ---- leaving ---- */

/* A counted copy of `r` in whose chain of causes, which is never long (ERROR_CAUSES_MAX), the first -ECANCELED is
 * said to be what it was: a -ETIMEDOUT because of it. NULL if there is none, or no memory. */
static struct error_record *with_timeout_in_chain(struct error_record *r)
{
    if (!r->pub.cause)
        return NULL;
    struct error_record *cause = error_record_of(r->pub.cause), *changed;
    if (cause->pub.code == -ECANCELED)
        changed = coil__error_with_cause(NULL, -ETIMEDOUT, cause);
    else
        changed = with_timeout_in_chain(cause);
    if (!changed)
        return NULL;
    struct error_record *copy = coil__error_with_cause(r, r->pub.code, changed);
    coil__error_unref(changed);
    return copy;
}

/* The same for the members of a group. */
static struct error_record *with_timeout_in_members(struct error_record *r)
{
    size_t n = r->pub.members_n, changed = 0;
    struct error_record **members = n ? coil__alloc(n * sizeof *members) : NULL;
    if (!members)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        struct error_record *member = error_record_of(r->pub.members[i]);
        members[i] = with_timeout_in_chain(member);
        if (members[i])
            changed++;
        else
            members[i] = coil__error_share(member);
    }
    struct error_record *group = NULL;
    if (changed) {
        group = coil__error_derive(r, members, n);
    } else {
        for (size_t i = 0; i < n; i++)
            coil__error_unref(members[i]);
    }
    coil__free(members);
    return group;
}

/* rc came out of a body that our cancel had hit. */
static void tell_of_timeout(coil_ret rc)
{
    struct error_record *slot = coil__error_slot();
    if (slot->pub.code != rc)
        return;
    struct error_record *r = with_timeout_in_chain(slot);
    if (!r)
        r = with_timeout_in_members(slot);
    if (r)
        coil__error_restore(r, rc);
    coil__error_unref(r);
}

coil_ret coil__timeout_convert(coil_ret code)
{
    struct error_record *cause = coil__error_capture(-ECANCELED);
    struct error_record *r = coil__error_with_cause(NULL, code, cause);
    coil__error_restore(r, code);
    coil__error_unref(r);
    coil__error_unref(cause);
    return code;
}

coil_ret coil_timeout_exit(coil_timeout_scope *scope, coil_ret rc)
{
    struct scope *s = open_up(scope);
    if (s->state != SCOPE_ACTIVE && s->state != SCOPE_EXPIRING)
        return rc;
    coil__alarm_end(&s->alarm);
    list_remove(&s->link);
    if (s->state == SCOPE_ACTIVE) {
        s->state = SCOPE_LEFT;
        return s->error == COIL_ENOTASK && !coil_iserr(rc)
                   ? coil__fail(COIL_ENOTASK, "a timeout can only be used inside a task")
                   : rc;
    }
    s->state = SCOPE_EXPIRED;
    if ((uint32_t)coil_task_uncancel(&s->task->future) <= s->cancelling) {
        if (rc == -ECANCELED)
            return coil__timeout_convert(s->error);
        if (coil_iserr(rc))
            tell_of_timeout(rc);
    } else {
        COIL_PROBE("a time limit and a cancel from outside meet");
    }
    if (s->error == -EINVAL && !coil_iserr(rc)) /* a mistake that did no harm is still one */
        return coil__fail(-EINVAL, "a timeout must be a number of seconds, not NaN");
    return rc;
}

void coil_timeout_leave(coil_timeout_scope *scope)
{
    coil_ignore(coil_timeout_exit(scope, 0));
}

/* ---- looking and changing ---- */

double coil_timeout_when(const coil_timeout_scope *scope)
{
    return clock_to_seconds(look_into(scope)->when_ns);
}

bool coil_timeout_expired(const coil_timeout_scope *scope)
{
    const struct scope *s = look_into(scope);
    return (s->state == SCOPE_EXPIRING || s->state == SCOPE_EXPIRED) && s->error == -ETIMEDOUT;
}

int coil_timeout_reschedule(coil_timeout_scope *scope, double when)
{
    struct scope *s = open_up(scope);
    if (s->state != SCOPE_ACTIVE || !s->task)
        return (int)coil__fail(COIL_EINVALIDSTATE, "a timeout that is over cannot be changed");
    if (when != when)
        return (int)coil__fail(-EINVAL, "a time must be a number of seconds, not NaN");

    struct alarm alarm = {.state = ALARM_NONE};
    if (when != COIL_FOREVER && coil__alarm_init(&alarm, s->task->future.loop, time_is_up) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    list_remove(&s->link);
    coil__alarm_end(&s->alarm);
    s->alarm = alarm; /* idle or none: nobody points at it yet */
    s->when_ns = when == COIL_FOREVER ? CLOCK_FOREVER : coil__clock_from_seconds(when);
    if (when != COIL_FOREVER)
        set_deadline(s, loop_now_ns(s->task->future.loop));
    return 0;
}
