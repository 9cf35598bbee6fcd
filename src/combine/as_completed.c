/* SPDX-License-Identifier: MIT
 *
 * as_completed.c: futures handed out in the order in which they finish.
 *
 *     member done --slot--> [ finished ] --next--> whoever asks, in order of asking
 *     time is up  --slot--> the others are dropped; each leaves a gap, which next tells as -ETIMEDOUT
 *
 * Always true:
 *   - each distinct member leaves exactly one item in `finished`: itself or a gap;
 *   - at most `unasked` more calls of next get an item; one that is cancelled gives its claim back;
 *   - askers that are parked hold the memory, so that close may come from elsewhere meanwhile.
 *
 * Runs on the loop's thread. Elsewhere: the way through the ring (follow.c). */
#include "base/error.h"
#include "base/mem.h"
#include "combine/distinct.h"
#include "combine/follow.h"

#include <coil/combine.h>

#include <stdio.h>

struct members {
    coil_loop *loop;
    size_t n;        /* distinct members */
    size_t pending;  /* not told, not dropped */
    size_t unasked;  /* items nobody has a claim to yet */
    size_t put, got; /* places in `finished` */
    bool closed;
    struct alarm alarm;
    struct list askers;     /* struct asker, parked, in order of asking */
    size_t asking;          /* calls of next that are parked, or woken and still to run */
    coil_future **finished; /* [n]; NULL: a gap */
    struct follower followers[];
};

struct asker {
    struct wait wait; /* first: describe gets this */
    struct list link;
    const struct members *m;
    bool granted; /* woken for an item, not by a cancel */
};

/* What the public form holds. */
struct iterator {
    struct members *m;
};
_Static_assert(sizeof(struct iterator) <= sizeof(coil_as_completed), "must fit its public form");

static struct members **open_up(coil_as_completed *it)
{
    return &((struct iterator *)it)->m;
}

/* ---- items ---- */

static void wake_next(struct members *m)
{
    for (struct list *link; (link = list_pop(&m->askers));) {
        struct asker *a = container_of(link, struct asker, link);
        if (!a->wait.woken) {
            a->granted = true;
            coil__wake(&a->wait, 0);
            return;
        }
    }
}

static void put(struct members *m, coil_future *f)
{
    m->finished[m->put++] = f;
    wake_next(m);
}

static void member_told(struct follower *follower)
{
    struct members *m = follower->owner;
    if (--m->pending == 0)
        coil__alarm_end(&m->alarm);
    put(m, follower->future);
}

static void time_is_up(struct alarm *alarm)
{
    struct members *m = container_of(alarm, struct members, alarm);
    for (size_t i = 0; i < m->n; i++) {
        if (m->followers[i].state == FOLLOWER_TOLD)
            continue;
        coil__unfollow(&m->followers[i]);
        put(m, NULL);
    }
    m->pending = 0;
}

/* ---- making and closing ---- */

static void free_members(struct members *m)
{
    coil__alarm_end(&m->alarm);
    for (size_t i = 0; i < m->n; i++)
        coil__unfollow(&m->followers[i]);
    coil__free(m);
}

/* Members that are done already are told of in the next turn, as asyncio does. */
static int start(struct members *m, coil_future *const *futures, size_t n, double timeout)
{
    struct distinct d;
    if (coil__distinct_init(&d, futures, n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (coil__distinct_first(&d, i) == i)
            m->followers[m->n++].future = futures[i];
    coil__distinct_fini(&d);

    if (m->n > 0 && timeout != COIL_FOREVER) {
        int64_t when_ns = clock_add(loop_now_ns(m->loop), coil__clock_from_seconds(timeout));
        int err = coil__alarm_init(&m->alarm, m->loop, time_is_up);
        if (err == 0)
            err = coil__alarm_set(&m->alarm, when_ns, loop_timer_seq(m->loop));
        if (err)
            return err;
    }
    if (coil__loop_hold(m->loop, (unsigned)m->n) < 0)
        return -ENOMEM;
    m->pending = m->unasked = m->n;
    for (size_t i = 0; i < m->n; i++)
        coil__follow(&m->followers[i], m->loop, m->followers[i].future, NULL, member_told, m);
    return 0;
}

int coil_as_completed_init(coil_as_completed *it, coil_future *const *futures, size_t n,
                           double timeout)
{
    struct members **place = open_up(it), *m;
    coil_loop *loop = NULL;
    *place = NULL;
    if (timeout != timeout)
        return (int)coil__fail(-EINVAL, "a timeout must be a number of seconds, not NaN");
    int err = coil__check_members(futures, n, &loop);
    if (err)
        return err;
    loop = coil__loop_use_current(loop);
    if (!loop)
        return (int)coil_last_error()->code;
    m = coil__zalloc(sizeof *m + n * (sizeof m->followers[0] + sizeof m->finished[0]));
    if (!m)
        return (int)coil__fail_plain(-ENOMEM);
    m->loop = loop;
    m->finished = (coil_future **)&m->followers[n];
    list_init(&m->askers);
    err = start(m, futures, n, timeout);
    if (err) {
        free_members(m);
        return (int)coil__fail_plain(err);
    }
    *place = m;
    return 0;
}

void coil_as_completed_close(coil_as_completed *it)
{
    struct members **place = open_up(it), *m = *place;
    if (!m)
        return;
    *place = NULL;
    m->closed = true;
    m->unasked = 0;
    while (!list_empty(&m->askers))
        wake_next(m);
    if (m->asking == 0)
        free_members(m); /* else the last asker does */
}

/* ---- asking ---- */

static int describe(const struct wait *w, char *out, size_t size)
{
    const struct members *m = ((const struct asker *)w)->m;
    return snprintf(out, size, "the next of %zu futures", m->pending);
}

static const struct wait_class asker_class = {
    .what = "as_completed",
    .cancel = coil__wait_cancel_plain,
    .describe = describe,
};

/* Parks until there may be an item. What a cancelled asker was woken for goes to the next one. */
static coil_ret ask(struct members *m)
{
    struct asker a = {.wait = WAIT_INIT(&asker_class), .m = m};
    list_push(&m->askers, &a.link);
    m->asking++;
    coil_ret rc = coil__park(&a.wait);
    m->asking--;
    list_remove(&a.link);
    if (rc && a.granted && m->got < m->put)
        wake_next(m);
    return rc;
}

coil_ret coil_as_completed_next(coil_as_completed *it, coil_future **out_future)
{
    struct members *m = *open_up(it);
    coil_ret rc = coil__can_wait();
    if (rc)
        return rc;
    if (!m || m->unasked == 0)
        return 0;
    m->unasked--;
    while (rc == 0 && !m->closed && m->got == m->put)
        rc = ask(m);
    if (m->closed) {
        if (m->asking == 0)
            free_members(m);
        return rc;
    }
    if (rc) {
        m->unasked++;
        return rc;
    }
    coil_future *f = m->finished[m->got++];
    if (!f)
        return coil__fail(-ETIMEDOUT, "it was not done in time");
    *out_future = f;
    return 1;
}
