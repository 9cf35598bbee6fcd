/* SPDX-License-Identifier: MIT
 *
 * sync_ledger.c: storms of tasks that are cancelled at random, and the books afterwards.
 *
 * A seed decides who does what, who is cancelled in which turn. At each step and at the end: nobody is
 * in a lock that is not his, no permit is lost or made, each item put is got exactly once. */
#include "play.h"

#include "base/random.h"

#include <coil/queue.h>
#include <coil/sync.h>

enum { SEEDS = 40, TASKS = 12, ROUNDS = 12 };

static struct random dice;

static bool one_in(uint32_t n)
{
    return random_below(&dice, n) == 0;
}

/* Some turns of work, which a cancel may cut short. */
static coil_ret work(void)
{
    coil_ret rc = 0;
    for (uint32_t turns = random_below(&dice, 3); turns > 0 && !coil_iserr(rc); turns--)
        rc = coil_sleep(0);
    return rc;
}

/* Runs `fn` in TASKS tasks and cancels them at random until all are over. */
static void storm(coil_fn fn)
{
    coil_task *tasks[TASKS];
    for (int i = 0; i < TASKS; i++)
        tasks[i] = spawn(fn, NULL);
    int left = TASKS;
    while (left > 0) {
        turn();
        left = 0;
        for (int i = 0; i < TASKS; i++) {
            left += !coil_future_done(tasks[i]);
            if (one_in(6))
                cancel(tasks[i]);
        }
    }
    for (int i = 0; i < TASKS; i++)
        coil_ignore(end_of(tasks[i]));
}

/* ---- a lock ---- */

static coil_lock lock;
static int inside, entered;

static coil_ret use_lock(void *unused)
{
    for (int round = 0; round < ROUNDS; round++) {
        coil_ret rc;
        coil_with_lock(rc, &lock)
        {
            assert_int_equal(inside++, 0);
            entered++;
            rc = work();
            inside--;
        }
        if (!coil_iserr(rc))
            rc = work();
    }
    return 0;
}

PLAY(ledger_of_a_lock)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        dice.state = seed;
        lock = (coil_lock)COIL_LOCK;
        inside = entered = 0;
        storm(use_lock);
        assert_true(entered > TASKS);
        char text[64];
        coil_lock_repr(&lock, text, sizeof text);
        assert_string_equal(text, "lock [unlocked]");
    }
}

/* ---- a semaphore ---- */

static coil_semaphore semaphore;
static int permits;

static coil_ret use_semaphore(void *unused)
{
    for (int round = 0; round < ROUNDS; round++) {
        coil_ret rc;
        coil_with_semaphore(rc, &semaphore)
        {
            inside++;
            entered++;
            assert_true(inside <= permits);
            rc = work();
            inside--;
        }
        if (!coil_iserr(rc))
            rc = work();
    }
    return 0;
}

PLAY(ledger_of_a_semaphore)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        dice.state = seed;
        permits = 1 + (int)random_below(&dice, 4);
        semaphore = (coil_semaphore)COIL_BOUNDED_SEMAPHORE(permits);
        inside = entered = 0;
        storm(use_semaphore);
        assert_true(entered > TASKS);
        char text[64], expected[64];
        coil_semaphore_repr(&semaphore, text, sizeof text);
        snprintf(expected, sizeof expected, "semaphore [unlocked, value:%d]", permits);
        assert_string_equal(text, expected);
    }
}

/* ---- a condition: tokens in a bowl ---- */

static coil_condition condition;
static int bowl, made, taken;

static coil_ret bowl_has_one(void *unused)
{
    return bowl > 0;
}

static coil_ret make_or_take(void *unused)
{
    for (int round = 0; round < ROUNDS; round++) {
        coil_ret rc;
        coil_with_condition(rc, &condition)
        {
            assert_int_equal(inside++, 0);
            if (one_in(2)) {
                bowl++;
                made++;
                assert_int_equal(coil_condition_notify(&condition, 1), 0);
                rc = work();
                inside--;
            } else {
                inside--;
                rc = coil_condition_wait_for(&condition, bowl_has_one, NULL);
                assert_int_equal(inside, 0);
                if (!coil_iserr(rc)) {
                    bowl--;
                    taken++;
                }
            }
        }
    }
    return 0;
}

PLAY(ledger_of_a_condition)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        dice.state = seed;
        condition = (coil_condition){0};
        inside = bowl = made = taken = 0;
        storm(make_or_take);
        assert_int_equal(made - taken, bowl);
        assert_true(bowl >= 0 && taken > 0);
        char text[64];
        coil_condition_repr(&condition, text, sizeof text);
        assert_string_equal(text, "condition [unlocked]");
    }
}

/* A notification is not lost: while there are tokens nobody sleeps for ever. Takers are cancelled at
 * random, each token is announced once; in the end the takers that are left have as many as there were. */

static coil_ret take_one(void *unused)
{
    coil_ret rc;
    coil_with_condition(rc, &condition)
    {
        rc = coil_condition_wait_for(&condition, bowl_has_one, NULL);
        if (!coil_iserr(rc)) {
            bowl--;
            taken++;
        }
    }
    return rc;
}

PLAY(ledger_of_notifications)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        dice.state = seed;
        condition = (coil_condition){0};
        bowl = taken = 0;
        coil_task *takers[TASKS];
        int cancelled = 0;
        for (int i = 0; i < TASKS; i++)
            takers[i] = spawn(take_one, NULL);
        turn();
        for (int i = 0; i < TASKS / 2; i++) {
            coil_ret rc;
            coil_with_condition(rc, &condition)
            {
                bowl++;
                assert_int_equal(coil_condition_notify(&condition, 1), 0);
            }
            assert_int_equal(rc, 0);
            int victim = (int)random_below(&dice, TASKS);
            if (cancelled < TASKS / 2 && !coil_future_done(takers[victim]) &&
                coil_task_cancelling(takers[victim]) == 0) {
                cancel(takers[victim]);
                cancelled++;
            }
            if (one_in(2))
                turn();
        }
        for (int i = 0; i < 2 * TASKS; i++)
            turn();
        assert_int_equal(bowl, 0);
        assert_int_equal(taken, TASKS / 2);
        for (int i = 0; i < TASKS; i++)
            cancel(takers[i]);
        for (int i = 0; i < TASKS; i++)
            coil_ignore(end_of(takers[i]));
    }
}

/* ---- a queue ---- */

enum { ITEMS_MAX = TASKS * ROUNDS };

static coil_queue queue;
static intptr_t items;
static signed char whereabouts[ITEMS_MAX + 1]; /* 1 put, 2 got */

static int by_number(const void *a, const void *b)
{
    return ((intptr_t)a > (intptr_t)b) - ((intptr_t)a < (intptr_t)b);
}

static void got(void *item)
{
    intptr_t number = (intptr_t)item;
    assert_true(number >= 1 && number <= items);
    assert_int_equal(whereabouts[number], 1);
    whereabouts[number] = 2;
    assert_int_equal(coil_queue_task_done(&queue), 0);
}

static coil_ret put_or_get(void *unused)
{
    for (int round = 0; round < ROUNDS; round++) {
        coil_ret rc;
        void *item;
        if (one_in(2)) {
            /* Nobody can have it before put returns: no other task runs between the two. */
            intptr_t number = ++items;
            whereabouts[number] = 1;
            rc = coil_queue_put(&queue, (void *)number);
            if (coil_iserr(rc))
                whereabouts[number] = 0;
        } else {
            rc = coil_queue_get(&queue, &item);
            if (!coil_iserr(rc))
                got(item);
        }
        if (!coil_iserr(rc))
            rc = work();
    }
    return 0;
}

static void books_of_the_queue(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        dice.state = seed;
        queue.maxsize_ = random_below(&dice, 4);
        items = 0;
        memset(whereabouts, 0, sizeof whereabouts);
        storm(put_or_get);
        void *item;
        while (coil_queue_get_nowait(&queue, &item) == 0)
            got(item);
        for (intptr_t number = 1; number <= items; number++)
            assert_int_not_equal(whereabouts[number], 1);
        assert_int_equal(coil_queue_join(&queue), 0);
        assert_int_equal(coil_queue_fini(&queue), 0);
    }
}

PLAY(ledger_of_a_queue)
{
    queue = (coil_queue)COIL_QUEUE(0);
    books_of_the_queue();
}

PLAY(ledger_of_a_lifo_queue)
{
    queue = (coil_queue)COIL_LIFO_QUEUE(0);
    books_of_the_queue();
}

PLAY(ledger_of_a_priority_queue)
{
    queue = (coil_queue)COIL_PRIORITY_QUEUE(0, by_number);
    books_of_the_queue();
}

/* ---- a barrier ---- */

static coil_barrier barrier;
static int parties, arrived;

static coil_ret meet(void *unused)
{
    for (int round = 0; round < ROUNDS; round++) {
        coil_ret rc = coil_barrier_wait(&barrier);
        if (!coil_iserr(rc)) {
            assert_true(rc < parties);
            arrived++;
        }
        if (!coil_iserr(rc))
            rc = work();
    }
    return 0;
}

/* A cancel may keep one of a round from hearing of it, but never adds one to it, and the barrier is
 * whole again when all are gone. */
PLAY(ledger_of_a_barrier)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        dice.state = seed;
        parties = 1 + (int)random_below(&dice, 4);
        barrier = (coil_barrier)COIL_BARRIER(parties);
        arrived = 0;
        storm(meet);
        assert_true(arrived > 0);
        char text[64], expected[64];
        coil_barrier_repr(&barrier, text, sizeof text);
        snprintf(expected, sizeof expected, "barrier [filling, waiters:0/%d]", parties);
        assert_string_equal(text, expected);
    }
}

COIL_TEST_MAIN()
