/* SPDX-License-Identifier: MIT
 *
 * mailbox.c: the real mailbox, with posters that come at every moment of its owner's sleep and of its end, and find it
 * full.
 *
 * What a loop and its inbox do for it here is a count: to tell the owner is to add one to `told`, and a poster waits for
 * room on `room`. */
#include "base/mailbox.h"

#include <coil/error.h>

#include "loom.h"
#include "scenarios.h"

enum { POSTERS = 2, EACH = 2 };

static struct mailbox box;
static unsigned told, room, taken[POSTERS], put[POSTERS], refused[POSTERS];

static void begin(size_t size)
{
    told = room = 0;
    for (int p = 0; p < POSTERS; p++)
        taken[p] = put[p] = refused[p] = 0;
    loom_check(coil__mailbox_init(&box, size) == 0);
}

static void end(void)
{
    loom_join_all();
    for (int p = 0; p < POSTERS; p++)
        loom_check(taken[p] == put[p]);
    coil__mailbox_fini(&box);
}

/* Each once, whole, and those of one poster in the order it put them. */
static size_t take(size_t n)
{
    struct mail mail[POSTERS * EACH];
    size_t got = coil__mailbox_take(&box, mail, n);
    for (size_t i = 0; i < got; i++) {
        unsigned *mine = &taken[mail[i].from];
        loom_check(mail[i].fd == (int)*mine && mail[i].data == mine);
        ++*mine;
    }
    if (got > 0 && coil__mailbox_was_crowded(&box))
        room++;
    return got;
}

static bool is_told(void *count)
{
    return *(unsigned *)count > 0;
}

static int put_one(unsigned p)
{
    int rc = coil__mailbox_put(&box,
                               &(struct mail){.data = &taken[p], .fd = (int)put[p], .from = p});
    if (rc >= 0)
        put[p]++;
    else
        refused[p]++;
    if (rc == MAILBOX_TELL)
        told++;
    return rc;
}

static void post(void *arg)
{
    for (int i = 0; i < EACH; i++)
        loom_check(put_one((unsigned)(uintptr_t)arg) >= 0);
}

/* Takes as a worker does: it waits when there is nothing. */
static void take_all(unsigned n)
{
    while (n > 0) {
        size_t got = take(n);
        n -= (unsigned)got;
        if (got == 0 && coil__mailbox_wait(&box)) {
            loom_wait("a message", is_told, &told);
            told = 0;
        }
    }
}

static void owner_sleeps_until_all_came(void)
{
    begin(POSTERS * EACH);
    for (uintptr_t p = 0; p < POSTERS; p++)
        loom_thread(p ? "poster B" : "poster A", post, (void *)p);
    take_all(POSTERS * EACH);
    end();
}

/* Waits for room when it is full. */
static void post_all(void *arg)
{
    unsigned p = (unsigned)(uintptr_t)arg;
    while (put[p] < EACH + 1) {
        int rc = put_one(p);
        if (rc == COIL_EQUEUEFULL && coil__mailbox_want_room(&box)) {
            loom_wait("room", is_told, &room);
            room = 0;
        }
    }
}

static void poster_sleeps_until_there_is_room(void)
{
    begin(2);
    loom_thread("poster A", post_all, (void *)0);
    take_all(EACH + 1);
    end();
}

static void post_late(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        int rc = put_one((unsigned)(uintptr_t)arg);
        loom_check(rc >= 0 || rc == COIL_ECLOSED);
    }
}

static void closes_while_they_post(void)
{
    begin(POSTERS * EACH);
    for (uintptr_t p = 0; p < POSTERS; p++)
        loom_thread(p ? "poster B" : "poster A", post_late, (void *)p);
    take(1);
    coil__mailbox_close(&box);
    while (take(POSTERS * EACH) > 0) {}
    loom_join_all();
    for (int p = 0; p < POSTERS; p++)
        loom_check(put[p] + refused[p] == EACH);
    end();
}

/* One waits for room that only the end can give it. */
static void post_until_closed(void *arg)
{
    for (;;) {
        int rc = put_one((unsigned)(uintptr_t)arg);
        if (rc == COIL_ECLOSED)
            return;
        if (rc == COIL_EQUEUEFULL && coil__mailbox_want_room(&box)) {
            loom_wait("room", is_told, &room);
            room = 0;
        }
    }
}

static void closes_while_one_waits_for_room(void)
{
    begin(2);
    loom_thread("poster A", post_until_closed, (void *)0);
    coil__mailbox_close(&box);
    while (take(2) > 0) {} /* and tells */
    end();
}

const struct loom_scenario loom_scenarios[] = {
    {"an_owner_that_sleeps_is_told_by_whoever_puts", owner_sleeps_until_all_came, 3},
    {"a_poster_that_waits_for_room_is_told", poster_sleeps_until_there_is_room, 3},
    {"a_mailbox_that_closes_takes_or_refuses_every_message", closes_while_they_post, 3},
    {"a_mailbox_that_closes_tells_who_waits_for_room", closes_while_one_waits_for_room, 3},
    {NULL, NULL, 0},
};
