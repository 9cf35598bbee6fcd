/* SPDX-License-Identifier: MIT
 *
 * inbox.c: the real inbox, with posters that come at every moment of its owner's sleep and of its end. */
#include "base/inbox.h"

#include "base/mem.h"

#include "loom.h"
#include "scenarios.h"

enum { POSTERS = 2, EACH = 2 };

static struct node {
    struct inbox_node node;
    unsigned taken;
    bool refused;
} nodes[POSTERS][EACH];
static struct inbox *inbox;

static void begin(void)
{
    loom_forget_fds();
    for (int p = 0; p < POSTERS; p++)
        for (int i = 0; i < EACH; i++)
            nodes[p][i] = (struct node){.taken = 0};
    loom_check(coil__inbox_new(&inbox) == 0);
}

/* Each once, and those of one poster in the order it posted them. */
static unsigned take(struct inbox_node *n)
{
    unsigned got = 0;
    for (; n; n = n->next, got++) {
        struct node *node = (struct node *)n;
        loom_check(node->taken == 0);
        node->taken = 1;
        for (int p = 0; p < POSTERS; p++)
            for (int i = 1; i < EACH; i++)
                loom_check(!nodes[p][i].taken || nodes[p][i - 1].taken || nodes[p][i - 1].refused);
    }
    return got;
}

static void post(void *arg)
{
    struct node *mine = arg;
    for (int i = 0; i < EACH; i++)
        loom_check(coil__inbox_post(inbox, &mine[i].node));
}

/* As the loop does: take, and sleep when there is nothing. */
static void sleeps_until_all_came(void)
{
    begin();
    for (int p = 0; p < POSTERS; p++)
        loom_thread(p ? "poster B" : "poster A", post, nodes[p]);
    for (unsigned got = 0; got < POSTERS * EACH;) {
        if (coil__inbox_fall_asleep(inbox)) {
            loom_wait_rung(inbox->wake_fd);
            coil__inbox_wake_up(inbox);
        }
        got += take(coil__inbox_take(inbox));
    }
    loom_join_all();
    loom_check(inbox_empty(inbox));
    loom_check(coil__inbox_close(inbox) == NULL);
    coil__inbox_unref(inbox);
    loom_check(loom_open_fds() == 0);
}

/* Who may post later holds a reference; a refused node stays the poster's. */
static void post_late(void *arg)
{
    struct node *mine = arg;
    for (int i = 0; i < EACH; i++)
        mine[i].refused = !coil__inbox_post(inbox, &mine[i].node);
    coil__inbox_unref(inbox);
}

static void closes_while_they_post(void)
{
    begin();
    for (int p = 0; p < POSTERS; p++) {
        coil__inbox_ref(inbox);
        loom_thread(p ? "poster B" : "poster A", post_late, nodes[p]);
    }
    if (coil__inbox_fall_asleep(inbox))
        coil__inbox_wake_up(inbox);
    take(coil__inbox_take(inbox));
    take(coil__inbox_close(inbox));
    coil__inbox_unref(inbox);
    loom_join_all();
    for (int p = 0; p < POSTERS; p++)
        for (int i = 0; i < EACH; i++)
            loom_check(nodes[p][i].taken + nodes[p][i].refused == 1);
    loom_check(loom_open_fds() == 0);
}

static bool own_is_held;

static void send(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        struct inbox_call *call = coil__inbox_call_new(inbox);
        loom_check(call && (call != &inbox->own || !own_is_held));
        own_is_held |= call == &inbox->own;
        call->owner = arg;
        loom_check(coil__inbox_post(inbox, &call->node));
    }
}

/* Calls are given back while others ask for one. */
static void calls_come_and_go(void)
{
    unsigned came[POSTERS] = {0};
    begin();
    own_is_held = false;
    for (int p = 0; p < POSTERS; p++)
        loom_thread(p ? "poster B" : "poster A", send, &came[p]);
    for (unsigned got = 0; got < POSTERS * EACH;) {
        struct inbox_node *n = coil__inbox_take(inbox);
        if (!n)
            loom_pause();
        for (struct inbox_node *next; n; n = next, got++) {
            struct inbox_call *call = (struct inbox_call *)n;
            next = n->next;
            ++*(unsigned *)call->owner;
            own_is_held &= call != &inbox->own;
            coil__inbox_call_free(inbox, call);
        }
    }
    loom_join_all();
    loom_check(came[0] == EACH && came[1] == EACH);
    loom_check(coil__inbox_close(inbox) == NULL);
    coil__inbox_unref(inbox);
}

const struct loom_scenario loom_scenarios[] = {
    {"a_call_of_an_inbox_is_one_posters_at_a_time", calls_come_and_go, 2},
    {"an_inbox_that_sleeps_is_woken_by_whoever_posts", sleeps_until_all_came, 3},
    {"an_inbox_that_closes_takes_or_refuses_every_node", closes_while_they_post, 3},
    {NULL, NULL, 0},
};
