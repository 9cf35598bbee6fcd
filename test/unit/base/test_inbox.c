/* SPDX-License-Identifier: MIT
 *
 * test_inbox.c: many threads post, one collects, and a sleeper is rung once. */
#include "base/inbox.h"

#include "../loop/stage.h"
#include "base/clock.h"
#include "base/sys.h"
#include "base/thread.h"

#include <poll.h>

enum { POSTERS = 4, POSTS = 5000 };

struct letter {
    struct inbox_node node;
    int poster, number;
};

static struct inbox *box;

static uint64_t rings(void)
{
    uint64_t n = 0;
    return sys_read(box->wake_fd, &n, sizeof n) == (ssize_t)sizeof n ? n : 0;
}

static void open_box(void)
{
    assert_int_equal(coil__inbox_new(&box), 0);
}

static void close_box(void)
{
    coil__inbox_close(box);
    coil__inbox_unref(box);
}

PLAIN(inbox_hands_out_the_oldest_first)
{
    struct letter letters[3];
    open_box();
    FACT(inbox_empty(box));
    FACT(coil__inbox_take(box) == NULL);
    for (int i = 0; i < 3; i++) {
        letters[i].number = i;
        FACT(coil__inbox_post(box, &letters[i].node));
    }
    FACT(!inbox_empty(box));
    struct inbox_node *node = coil__inbox_take(box);
    for (int i = 0; i < 3; i++, node = node->next)
        FACT(node == &letters[i].node);
    FACT(node == NULL);
    FACT(inbox_empty(box));
    close_box();
}

PLAIN(inbox_rings_only_a_sleeper_and_only_once)
{
    struct letter a, b;
    open_box();
    FACT(coil__inbox_post(box, &a.node));
    FACT_INT(rings(), 0);                /* nobody sleeps */
    FACT(!coil__inbox_fall_asleep(box)); /* something is there: may not */
    coil__inbox_take(box);
    FACT(coil__inbox_fall_asleep(box));
    FACT(coil__inbox_post(box, &a.node));
    FACT(coil__inbox_post(box, &b.node));
    FACT_INT(rings(), 1);
    coil__inbox_wake_up(box);
    FACT(coil__inbox_take(box) != NULL);
    close_box();
}

PLAIN(inbox_ring_by_hand_keeps_errno)
{
    open_box();
    errno = 12345;
    coil__inbox_ring(box);
    FACT_INT(errno, 12345);
    FACT_INT(rings(), 1);
    close_box();
}

PLAIN(inbox_closed_refuses_and_gives_back_the_rest)
{
    struct letter a, b, c;
    open_box();
    coil__inbox_post(box, &a.node);
    coil__inbox_post(box, &b.node);
    struct inbox_node *rest = coil__inbox_close(box);
    FACT(rest == &a.node && rest->next == &b.node && rest->next->next == NULL);
    FACT(!coil__inbox_post(box, &c.node));
    coil__inbox_unref(box);
}

PLAIN(inbox_descriptor_lives_as_long_as_the_last_reference)
{
    open_box();
    int fd = box->wake_fd;
    coil__inbox_ref(box);
    coil__inbox_close(box);
    coil__inbox_unref(box);
    FACT(fcntl(fd, F_GETFD) != -1);
    coil__inbox_ring(box);
    FACT_INT(rings(), 1);
    coil__inbox_unref(box);
    FACT(fcntl(fd, F_GETFD) == -1);
    coil__inbox_unref(NULL);
}

#if STAGE_TABLE
static int no_eventfd(unsigned value, int flags)
{
    (void)value, (void)flags;
    return -EMFILE;
}
#endif

PLAIN(inbox_new_says_what_it_could_not_get)
{
#if STAGE_TABLE
    struct inbox *none = NULL;
    coil__mem_fail_at(1, 0);
    FACT_INT(coil__inbox_new(&none), -ENOMEM);
    coil__mem_fail_at(0, 0);
    coil__sys.eventfd = no_eventfd;
    FACT_INT(coil__inbox_new(&none), -EMFILE);
    coil__sys.eventfd = coil__sys_real.eventfd;
    FACT(none == NULL);
#else
    skip();
#endif
}

/* ---- with threads ---- */

struct poster {
    struct thread thread;
    struct letter letters[POSTS];
    int number, refused;
};

static void post_all(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < POSTS; i++) {
        p->letters[i].poster = p->number;
        p->letters[i].number = i;
        if (!coil__inbox_post(box, &p->letters[i].node))
            p->refused++;
    }
    coil__inbox_unref(box);
}

static struct poster *posters;

static void start_posters(void)
{
    posters = calloc(POSTERS, sizeof *posters);
    for (int i = 0; i < POSTERS; i++) {
        posters[i].number = i;
        coil__inbox_ref(box);
        FACT_INT(coil__thread_start(&posters[i].thread, "poster", post_all, &posters[i]), 0);
    }
}

static void join_posters(void)
{
    for (int i = 0; i < POSTERS; i++)
        coil__thread_join(&posters[i].thread);
}

PLAIN(inbox_loses_nothing_and_keeps_each_posters_order)
{
    open_box();
    start_posters();
    int seen = 0, next[POSTERS] = {0};
    while (seen < POSTERS * POSTS && !stage.broken) {
        struct inbox_node *node = coil__inbox_take(box);
        if (!node) { /* sleep as a loop does: a lost ring would hang here */
            if (!coil__inbox_fall_asleep(box))
                continue;
            struct pollfd p = {.fd = box->wake_fd, .events = POLLIN};
            FACT_INT(poll(&p, 1, 30000), 1);
            coil__inbox_wake_up(box);
            rings();
            continue;
        }
        for (; node; node = node->next, seen++) {
            const struct letter *l = (const struct letter *)node;
            FACT_INT(l->number, next[l->poster]);
            next[l->poster]++;
        }
    }
    join_posters();
    FACT(inbox_empty(box));
    close_box();
    free(posters);
}

PLAIN(inbox_closed_meanwhile_takes_each_letter_or_refuses_it)
{
    open_box();
    start_posters();
    int taken = 0;
    for (int i = 0; i < 20; i++)
        for (struct inbox_node *node = coil__inbox_take(box); node; node = node->next)
            taken++;
    for (struct inbox_node *node = coil__inbox_close(box); node; node = node->next)
        taken++;
    coil__inbox_unref(box); /* the posters hold theirs */
    join_posters();
    int refused = 0;
    for (int i = 0; i < POSTERS; i++)
        refused += posters[i].refused;
    FACT_INT(taken + refused, POSTERS * POSTS);
    free(posters);
}

/* ---- calls ---- */

PLAIN(inbox_has_a_call_of_its_own_that_one_at_a_time_may_use)
{
    open_box();
    int64_t before = coil__mem_live();
    struct inbox_call *own = coil__inbox_call_new(box), *more[2];
    FACT(own == &box->own);
    FACT_INT(coil__mem_live(), before);
    for (int i = 0; i < 2; i++) {
        more[i] = coil__inbox_call_new(box);
        FACT(more[i] && more[i] != own);
    }
    coil__inbox_call_free(box, more[0]);
    coil__inbox_call_free(box, own);
    FACT(coil__inbox_call_new(box) == own);
    coil__inbox_call_free(box, own);
    coil__inbox_call_free(box, more[1]);
    FACT_INT(coil__mem_live(), before);
    close_box();
}

PLAIN(inbox_call_without_memory_is_none)
{
#if STAGE_TABLE
    open_box();
    struct inbox_call *own = coil__inbox_call_new(box);
    coil__mem_fail_at(1, 0);
    FACT(coil__inbox_call_new(box) == NULL);
    coil__mem_fail_at(0, 0);
    coil__inbox_call_free(box, own);
    close_box();
#else
    skip();
#endif
}

/* Who looks at it does not meet what its owner writes elsewhere. */
PLAIN(inbox_begins_a_line_of_memory)
{
    open_box();
    FACT_INT((uintptr_t)box % CACHE_LINE, 0);
    FACT_INT((uintptr_t)&box->own % CACHE_LINE, 0);
    FACT((char *)box + sizeof *box <= (char *)box->block + sizeof *box + CACHE_LINE);
    close_box();
}

static _Atomic int holders;

/* Takes the box's own call for a moment, again and again. */
static void borrow(void *arg)
{
    int *others = arg;
    for (int i = 0; i < POSTS; i++) {
        struct inbox_call *call = coil__inbox_call_new(box);
        if (call == &box->own) {
            FACT_INT(atomic_fetch_add(&holders, 1), 0);
            FACT_INT(atomic_fetch_sub(&holders, 1), 1);
        } else {
            ++*others;
        }
        coil__inbox_call_free(box, call);
    }
}

PLAIN(inbox_own_call_is_never_two_threads_own)
{
    struct thread all[POSTERS];
    int others[POSTERS] = {0};
    open_box();
    for (int i = 0; i < POSTERS; i++)
        FACT_INT(coil__thread_start(&all[i], "test", borrow, &others[i]), 0);
    for (int i = 0; i < POSTERS; i++)
        coil__thread_join(&all[i]);
    FACT_INT(holders, 0);
    FACT(coil__inbox_call_new(box) == &box->own);
    close_box();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inbox_hands_out_the_oldest_first),
        cmocka_unit_test(inbox_rings_only_a_sleeper_and_only_once),
        cmocka_unit_test(inbox_ring_by_hand_keeps_errno),
        cmocka_unit_test(inbox_closed_refuses_and_gives_back_the_rest),
        cmocka_unit_test(inbox_descriptor_lives_as_long_as_the_last_reference),
        cmocka_unit_test(inbox_new_says_what_it_could_not_get),
        cmocka_unit_test(inbox_loses_nothing_and_keeps_each_posters_order),
        cmocka_unit_test(inbox_closed_meanwhile_takes_each_letter_or_refuses_it),
        cmocka_unit_test(inbox_has_a_call_of_its_own_that_one_at_a_time_may_use),
        cmocka_unit_test(inbox_call_without_memory_is_none),
        cmocka_unit_test(inbox_begins_a_line_of_memory),
        cmocka_unit_test(inbox_own_call_is_never_two_threads_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
