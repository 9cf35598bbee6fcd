/* SPDX-License-Identifier: MIT
 *
 * thread_future.c: the real thread future: finished, cancelled, waited for and watched at the same time. */
#include "base/clock.h"
#include "base/mem.h"
#include "work/work.h"

#include <coil/work.h>

#include "loom.h"
#include "scenarios.h"

static coil_thread_future *future;
static unsigned fired, refused;
static int64_t live;

static void begin(void)
{
    fired = refused = 0;
    live = coil__mem_live();
    future = coil_thread_future_new();
}

static void end(void)
{
    loom_join_all();
    loom_check(coil_thread_future_done(future));
    coil_thread_future_unref(future);
    loom_check(coil__mem_live() == live);
}

static void on_done(coil_thread_future *f, void *arg)
{
    (void)arg;
    loom_check(coil_thread_future_done(f));
    fired++;
}

/* As a worker does: announced as running unless a cancel was quicker. */
static void work(void *arg)
{
    (void)arg;
    if (coil__thread_future_start(future) == 1)
        loom_check(coil__thread_future_finish(future, 42, NULL) == 0);
    else
        refused++;
}

static bool cancelled;

static void cancel(void *arg)
{
    (void)arg;
    cancelled = coil_thread_future_cancel(future);
}

static void wait_for(void *arg)
{
    (void)arg;
    coil__thread_future_join(future);
    loom_check(coil_thread_future_done(future));
}

static void cancelled_or_finished_never_both(void)
{
    begin();
    loom_check(coil_thread_future_add_done_callback(future, on_done, NULL) == 0);
    loom_thread("worker", work, NULL);
    loom_thread("canceller", cancel, NULL);
    wait_for(NULL);
    loom_join_all();
    loom_check(coil_thread_future_cancelled(future) == cancelled);
    loom_check(refused == (cancelled ? 1 : 0));
    loom_check(fired == 1);
    end();
}

static void everybody_who_waits_is_woken(void)
{
    begin();
    loom_thread("waiter A", wait_for, NULL);
    loom_thread("waiter B", wait_for, NULL);
    work(NULL);
    end();
}

/* ---- a callback taken back ---- */

static struct thread_callback watcher;

static void fire(struct thread_callback *cb, coil_thread_future *f)
{
    (void)cb, (void)f;
    loom_step("a callback");
    fired++;
}

static void unwatched_or_fired_never_both(void)
{
    begin();
    watcher = (struct thread_callback){.fire = fire};
    coil__thread_future_watch(future, &watcher);
    loom_thread("worker", work, NULL);
    bool in_time = coil__thread_future_unwatch(future, &watcher);
    loom_join_all();
    loom_check(fired == (in_time ? 0 : 1));
    end();
}

/* Added while it becomes done: fired once, by whoever comes later. */
static void add(void *arg)
{
    (void)arg;
    loom_check(coil_thread_future_add_done_callback(future, on_done, NULL) == 0);
}

static void added_late_is_fired_once(void)
{
    begin();
    loom_thread("worker", work, NULL);
    loom_thread("adder", add, NULL);
    add(NULL);
    loom_join_all();
    loom_check(fired == 2);
    end();
}

/* The last reference may go on any thread, also while another waits no more. */
static void let_go(void *arg)
{
    (void)arg;
    loom_check(coil__thread_future_start(future) == 1);
    loom_check(coil__thread_future_finish(future, 7, NULL) == 0);
    coil_thread_future_unref(future);
}

static void freed_by_the_last_reference(void)
{
    begin();
    coil_thread_future_ref(future);
    coil_thread_future_ref(future);
    loom_thread("worker", let_go, NULL);
    wait_for(NULL);
    coil_thread_future_unref(future);
    end();
}

const struct loom_scenario loom_scenarios[] = {
    {"a_thread_future_is_cancelled_or_finished_and_never_both", cancelled_or_finished_never_both,
     3},
    {"a_thread_future_wakes_everybody_who_waits", everybody_who_waits_is_woken, 4},
    {"a_watch_is_taken_back_in_time_or_fired", unwatched_or_fired_never_both, 4},
    {"a_callback_added_while_it_becomes_done_is_fired_once", added_late_is_fired_once, 3},
    {"a_thread_future_is_freed_by_the_last_reference", freed_by_the_last_reference, 4},
    {0},
};
