/* SPDX-License-Identifier: MIT
 *
 * test_lock.c: Lock, the line of waiters under it, and the blocks that hold something. */
#include "play.h"

#include "base/mem.h"
#include "task/task.h"

#include <coil/generator.h>
#include <coil/run.h>
#include <coil/sync.h>

static coil_lock lock;

static coil_ret acquire_note_release(void *tag)
{
    coil_ret rc = coil_lock_acquire(&lock);
    if (coil_iserr(rc)) {
        note("-%s", (char *)tag);
        return rc;
    }
    note("%s", (char *)tag);
    return coil_lock_release(&lock);
}

/* Takes the lock and lets `n` tasks named 1, 2, ... wait for it. */
static void hold_with_waiters(coil_task **tasks, int n)
{
    static const char *const tags[] = {"1", "2", "3", "4", "5"};
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    for (int i = 0; i < n; i++)
        tasks[i] = spawn(acquire_note_release, tags[i]);
    turn();
}

static void release(void)
{
    assert_int_equal(coil_lock_release(&lock), 0);
}

static void all_gone(coil_task **tasks, int n)
{
    for (int i = 0; i < n; i++)
        coil_ignore(end_of(tasks[i]));
    char text[64];
    coil_lock_repr(&lock, text, sizeof text);
    assert_string_equal(text, "lock [unlocked]");
}

PLAY(lock_cancelled_waiter_keeps_order)
{
    coil_task *t[4];
    hold_with_waiters(t, 4);
    cancel(t[1]);
    release();
    all_gone(t, 4);
    assert_trace("-2 1 3 4");
}

/* Every order in which three of three waiters can be cancelled, before or after the lock is given back,
 * with a turn between any two or not: all leave, and the lock is free. */
PLAY(lock_waiters_may_be_cancelled_in_every_order)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int order = 0; order < 6; order++) {
        for (int released_after = 0; released_after <= 3; released_after++) {
            for (int turns = 0; turns < 8; turns++) {
                coil_task *t[3];
                hold_with_waiters(t, 3);
                for (int i = 0; i <= 3; i++) {
                    if (i == released_after)
                        release();
                    if (i < 3)
                        cancel(t[orders[order][i]]);
                    if (i < 3 && (turns >> i & 1))
                        turn();
                }
                all_gone(t, 3);
            }
        }
    }
}

/* One of three is cancelled, at each place, before or after the grant: the two others get the lock. */
PLAY(lock_passes_a_cancelled_waiter_by_wherever_it_stands)
{
    for (int victim = 0; victim < 3; victim++) {
        for (int granted_first = 0; granted_first < 2; granted_first++) {
            coil_task *t[3];
            hold_with_waiters(t, 3);
            if (granted_first)
                release();
            cancel(t[victim]);
            if (!granted_first)
                release();
            for (int i = 0; i < 3; i++)
                assert_int_equal(end_of(t[i]), i == victim ? -ECANCELED : 0);
            assert_false(coil_lock_locked(&lock));
        }
    }
}

PLAY(lock_grant_overtaken_by_a_cancel_goes_to_the_next)
{
    coil_task *t[2];
    hold_with_waiters(t, 2);
    release();
    cancel(t[0]);
    turn();
    assert_trace("-1");
    turn();
    assert_trace("-1 2");
    all_gone(t, 2);
}

PLAY(lock_that_is_free_is_not_stolen_from_who_was_granted)
{
    coil_task *t[1];
    hold_with_waiters(t, 1);
    release();
    assert_false(coil_lock_locked(&lock));
    assert_int_equal(coil_lock_acquire(&lock), 0); /* waits its turn */
    assert_trace("1");
    release();
    all_gone(t, 1);
}

PLAY(lock_with_only_cancelled_waiters_is_taken_at_once)
{
    coil_task *t[2];
    hold_with_waiters(t, 2);
    cancel(t[0]);
    cancel(t[1]);
    release();
    uint64_t turns = coil__running_loop->turns;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    assert_int_equal(coil__running_loop->turns, turns);
    release();
    all_gone(t, 2);
}

PLAY(lock_waiting_allocates_nothing)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil_task *t[5];
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    for (int i = 0; i < 5; i++)
        t[i] = spawn(acquire_note_release, "x");
    int64_t tried = coil__mem_tried();
    turn();
    release();
    turn();
    assert_int_equal(coil__mem_tried(), tried);
    all_gone(t, 5);
#else
    print_message("the library does not count its memory: needs -Dsys_table=true\n");
    skip();
#endif
}

PLAY(lock_may_be_moved_while_nobody_waits)
{
    coil_task *t[1];
    hold_with_waiters(t, 1);
    release();
    all_gone(t, 1);
    coil_lock moved = lock;
    memset(&lock, 0xff, sizeof lock);
    assert_int_equal(coil_lock_acquire(&moved), 0);
    assert_int_equal(coil_lock_release(&moved), 0);
}

PLAY(lock_release_of_a_free_one_is_an_error_with_words)
{
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_release(&lock), COIL_EINVALIDSTATE);
    assert_int_equal(last_code(), COIL_EINVALIDSTATE);
    assert_string_equal(coil_last_error()->message, "the lock is not acquired");
}

PLAY(lock_may_be_released_by_another_task)
{
    coil_task *t[1];
    hold_with_waiters(t, 1);
    release(); /* main took it */
    assert_int_equal(end_of(t[0]), 0);
}

static void release_callback(void *unused)
{
    release();
    assert_int_equal(coil_lock_acquire(&lock), COIL_ENOTASK);
}

PLAY(lock_may_be_released_but_not_acquired_in_a_callback)
{
    coil_task *t[1];
    hold_with_waiters(t, 1);
    soon(release_callback, NULL);
    assert_int_equal(end_of(t[0]), 0);
    assert_trace("1");
}

COIL_TEST_PLAIN(lock_acquire_outside_of_any_loop_is_refused)
{
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_acquire(&lock), COIL_ENOTASK);
}

/* ---- who holds it ---- */

static const char *reason(coil_task *task)
{
    static char text[96];
    const struct wait *wait = as_task(task)->waiting;
    wait->cls->describe(wait, text, sizeof text);
    return text;
}

static coil_ret take_and_end(void *unused)
{
    return coil_lock_acquire(&lock);
}

PLAY(lock_tells_who_holds_it)
{
    coil_task *t[2];
    coil_task_set_name(coil_current_task(), "the main one");
    hold_with_waiters(t, 1);
    assert_string_equal(coil_task_waiting_on(t[0]), "lock");
    assert_string_equal(reason(t[0]), "held by the main one");
    release();
    all_gone(t, 1);

    assert_int_equal(end_of(spawn(take_and_end, NULL)), 0);
    t[0] = spawn(acquire_note_release, "1");
    turn();
    assert_non_null(strstr(reason(t[0]), "which has ended"));
    release();
    all_gone(t, 1);
}

/* ---- whose loop it is ---- */

static coil_ret wait_and_be_cancelled(void *unused)
{
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    soon(cancel_task, coil_current_task());
    assert_int_equal(coil_lock_acquire(&lock), -ECANCELED);
    return coil_lock_release(&lock);
}

static coil_ret use_in_another_loop(void *unused)
{
    assert_int_equal(coil_lock_acquire(&lock), 0); /* needs no loop */
    assert_int_equal(coil_lock_acquire(&lock), COIL_EWRONGLOOP);
    assert_true(coil_lock_locked(&lock));
    return coil_lock_release(&lock);
}

COIL_TEST_PLAIN(lock_belongs_to_the_loop_that_first_waited_for_it)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *one = coil_new_event_loop(&opts), *two = coil_new_event_loop(&opts);
    assert_int_equal(coil_loop_run_until_complete(one, coil_coro_new(wait_and_be_cancelled, NULL)),
                     0);
    assert_int_equal(coil_loop_run_until_complete(two, coil_coro_new(use_in_another_loop, NULL)),
                     0);
    coil_loop_free(one);
    coil_loop_free(two);
}

/* ---- loops that close ---- */

static void quiet(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

/* Runs `fn` for a few turns in a loop that is then closed under everybody's feet. */
static void close_under(coil_fn fn)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, quiet, NULL);
    play_trace[0] = '\0';
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(fn, NULL)), 0);
    coil_loop_free(loop);
}

static coil_ret hold_for_ever(void *unused)
{
    coil_ret rc;
    coil_with_lock(rc, &lock)
    {
        rc = coil_sleep(COIL_FOREVER);
        note("holder %d", (int)rc);
    }
    note(coil_lock_locked(&lock) ? "locked" : "free");
    return rc;
}

static coil_ret want_for_ever(void *unused)
{
    coil_ret rc;
    coil_with_lock(rc, &lock) note("never");
    note("waiter %d", (int)rc);
    return rc;
}

static coil_ret holder_then_waiters(void *unused)
{
    coil_unref(spawn(hold_for_ever, NULL));
    coil_unref(spawn(want_for_ever, NULL));
    coil_unref(spawn(want_for_ever, NULL));
    turn();
    turn();
    return 0;
}

/* Runs in the loop's last turn: the first in line is granted, and never runs. */
static void release_last(void *unused)
{
    release();
}

static coil_ret waiters_then_holder(void *unused)
{
    assert_int_equal(coil_lock_acquire(&lock), 0);
    coil_unref(spawn(want_for_ever, NULL));
    coil_unref(spawn(want_for_ever, NULL));
    turn();
    soon(release_last, NULL);
    return 0;
}

COIL_TEST_PLAIN(lock_line_is_left_when_the_loop_closes)
{
    close_under(holder_then_waiters);
    assert_trace("waiter -2011 waiter -2011 holder -2011 free");
    close_under(waiters_then_holder);
    assert_trace("waiter -2011 waiter -2011");
    assert_false(coil_lock_locked(&lock));
}

static coil_ret hold_and_count_the_ready(void *unused)
{
    coil_loop *loop = coil_get_running_loop();
    assert_int_equal(coil_lock_acquire(&lock), 0);
    coil_ret rc = coil_sleep(COIL_FOREVER);
    size_t ready = loop_ready(loop);
    release();
    note("%zu woken", loop_ready(loop) - ready);
    return rc;
}

static coil_ret want_after_a_turn(void *unused)
{
    turn();
    return want_for_ever(NULL);
}

static coil_ret waiter_older_than_the_holder(void *unused)
{
    coil_unref(spawn(want_after_a_turn, NULL));
    coil_unref(spawn(hold_and_count_the_ready, NULL));
    turn();
    turn();
    return 0;
}

COIL_TEST_PLAIN(lock_released_while_the_loop_closes_wakes_nobody)
{
    close_under(waiter_older_than_the_holder);
    assert_trace("0 woken waiter -2011");
    assert_false(coil_lock_locked(&lock));
}

/* ---- blocks ---- */

static coil_ret leave_by_return(void)
{
    coil_ret rc;
    coil_with_lock(rc, &lock) return 5;
    return rc;
}

PLAY(block_gives_the_lock_back_however_it_is_left)
{
    coil_ret rc;
    int rounds = 0;
    lock = (coil_lock)COIL_LOCK;
    coil_with_lock(rc, &lock)
    {
        assert_int_equal(rc, 0);
        assert_true(coil_lock_locked(&lock));
    }
    assert_false(coil_lock_locked(&lock));

    assert_int_equal(leave_by_return(), 5);
    assert_false(coil_lock_locked(&lock));

    for (int i = 0; i < 2; i++) {
        coil_with_lock(rc, &lock)
        {
            if (i == 0)
                break;
            continue;
        }
        rounds++;
        assert_false(coil_lock_locked(&lock));
    }
    assert_int_equal(rounds, 2);

    coil_with_lock(rc, &lock) goto out;
out:
    assert_false(coil_lock_locked(&lock));
}

PLAY(block_does_not_run_when_the_lock_was_not_had)
{
    coil_task *t[1];
    hold_with_waiters(t, 0);
    t[0] = spawn(want_for_ever, NULL);
    turn();
    cancel(t[0]);
    assert_int_equal(end_of(t[0]), -ECANCELED);
    assert_trace("waiter -125");
    release();
}

static coil_ret hear_of;

static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    hear_of = context->code;
}

PLAY(block_whose_lock_was_given_back_already_is_reported)
{
    coil_ret rc;
    lock = (coil_lock)COIL_LOCK;
    hear_of = 0;
    coil_loop_set_exception_handler(coil_get_running_loop(), hear, NULL);
    coil_with_lock(rc, &lock)
    {
        release();
    }
    assert_int_equal(rc, 0);
    assert_int_equal(hear_of, COIL_EINVALIDSTATE);
}

static coil_ret yields_in_a_block(coil_gen *self, void *gives_back)
{
    coil_ret rc;
    coil_with_lock(rc, &lock)
    {
        rc = coil_gen_yield(self, 1);
        if (gives_back)
            release();
    }
    return rc;
}

static coil_ret takes_a_step(void *gen)
{
    return coil_gen_next(gen, NULL);
}

PLAY(block_in_a_generator_that_is_dropped_gives_the_lock_back)
{
    lock = (coil_lock)COIL_LOCK;
    coil_gen *gen = coil_gen_new(yields_in_a_block, NULL);
    assert_int_equal(end_of(spawn(takes_a_step, gen)), 1); /* taken by a task that is over */
    assert_true(coil_lock_locked(&lock));
    coil_gen_unref(gen);
    assert_false(coil_lock_locked(&lock));
}

PLAY(block_in_a_dropped_generator_whose_lock_was_given_back_already_is_reported)
{
    lock = (coil_lock)COIL_LOCK;
    hear_of = 0;
    coil_loop_set_exception_handler(coil_get_running_loop(), hear, NULL);
    coil_gen *gen = coil_gen_new(yields_in_a_block, &lock);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
    assert_int_equal(hear_of, COIL_EINVALIDSTATE);
}

/* With nobody to report to in the second round. */
COIL_TEST_PLAIN(block_in_a_generator_that_is_dropped_outside_of_tasks_gives_the_lock_back)
{
    for (int given_back = 0; given_back < 2; given_back++) {
        lock = (coil_lock)COIL_LOCK;
        coil_gen_opts plain = {.size = sizeof plain, .plain = true};
        coil_gen *gen = coil_gen_new_opts(yields_in_a_block, given_back ? &lock : NULL, &plain);
        assert_int_equal(coil_run(takes_a_step, gen), 1);
        assert_true(coil_lock_locked(&lock));
        coil_gen_unref(gen);
        assert_false(coil_lock_locked(&lock));
    }
}

PLAY(blocks_may_stand_in_each_other)
{
    coil_ret rc, inner;
    lock = (coil_lock)COIL_LOCK;
    coil_semaphore permits = COIL_SEMAPHORE(1);
    coil_with_lock(rc, &lock) coil_with_semaphore(inner, &permits)
        assert_true(coil_lock_locked(&lock) && coil_semaphore_locked(&permits));
    assert_false(coil_lock_locked(&lock) || coil_semaphore_locked(&permits));
    assert_int_equal(rc, 0);
    assert_int_equal(inner, 0);
}

COIL_TEST_MAIN()
