/* SPDX-License-Identifier: MIT
 *
 * loops.c: what asyncio's tests say of running, stopping and closing a loop (test_events.py,
 * test_base_events.py), told again, and what the sources say of its queues.
 *
 * T01, T02, T06, T07, T08, T58. */
#include "play.h"

#include "loop/loop.h"

#include <coil.h>
#include <sys/wait.h>
#include <unistd.h>

static coil_loop *loop;

static void begin(void)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    loop = coil_new_event_loop(&opts);
    assert_non_null(loop);
    play_trace[0] = '\0';
}

static void done(void)
{
    coil_loop_free(loop);
}

static void on_loop(coil_callback_fn fn, const void *arg)
{
    assert_int_equal(coil_loop_call_soon(loop, fn, (void *)(uintptr_t)arg, NULL), 0);
}

static void note_text(void *text)
{
    note("%s", (char *)text);
}

static void note_and_again(void *text)
{
    note("%s", (char *)text);
    on_loop(note_text, "again");
}

static void stop(void *unused)
{
    coil_loop_stop(loop);
}

COIL_TEST_PLAIN(test_call_soon)
{
    begin();
    on_loop(note_and_again, "1");
    on_loop(note_text, "2");
    on_loop(stop, NULL);
    on_loop(note_text, "3");
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_trace("1 2 3"); /* the batch to its end; what it queued waits */
    coil_loop_stop(loop);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_trace("1 2 3 again");
    done();
}

COIL_TEST_PLAIN(test_run_forever_pre_stopped)
{
    coil_loop_stats_t stats;
    begin();
    coil_loop_stop(loop);
    assert_int_equal(coil_loop_run_forever(loop), 0); /* one pass that does not sleep */
    coil_loop_stats(loop, &stats);
    assert_int_equal(stats.turns, 1);
    done();
}

static coil_ret stop_and_sleep(void *unused)
{
    coil_loop_stop(NULL);
    return coil_sleep(0.1);
}

COIL_TEST_PLAIN(test_run_until_complete_stopped)
{
    begin();
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(stop_and_sleep, NULL)),
                     COIL_ESTOPPED);
    assert_string_equal(coil_last_error()->message, "Event loop stopped before Future completed");
    done();
}

static coil_ret sleep_and_note(void *name)
{
    coil_ret rc = coil_sleep(((char *)name)[0] == 'a' ? 0.1 : 0.2);
    note("%s:%s", (char *)name, coil_iserr(rc) ? coil_errname(rc) : "0");
    return rc;
}

static void show_stopper(void *unused)
{
    coil_loop_raise(NULL, coil_fail(COIL_EUSER, "show stopper"));
}

/* The first run is ended by force; its future ends inside the second one, and must not stop that. */
COIL_TEST_PLAIN(test_run_until_complete_loop_orphan_future_close_loop)
{
    begin();
    on_loop(show_stopper, NULL);
    assert_int_equal(
        coil_loop_run_until_complete(loop, coil_coro_new(sleep_and_note, (void *)(uintptr_t) "a")),
        COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "show stopper");
    assert_int_equal(
        coil_loop_run_until_complete(loop, coil_coro_new(sleep_and_note, (void *)(uintptr_t) "b")),
        0);
    assert_trace("a:0 b:0");
    done();
}

static coil_ret raise_fatal(void *unused)
{
    coil_loop_raise(NULL, COIL_EUSER);
    return 0;
}

COIL_TEST_PLAIN(test_run_until_complete_baseexception)
{
    begin();
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(raise_fatal, NULL)),
                     COIL_EUSER);
    /* No stop is left behind: the next run goes on until it is told. */
    assert_int_equal(coil_loop_call_later(loop, 5, stop, NULL, NULL), 0);
    assert_int_equal(coil_loop_call_later(loop, 1, note_text, (void *)(uintptr_t) "1", NULL), 0);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_trace("1");
    done();
}

static coil_ret give_42(void *unused)
{
    return 42;
}

static void run_again(void *out)
{
    coil_coro *coro = coil_coro_new(give_42, NULL);
    *(coil_ret *)out = coil_loop_run_until_complete(loop, coro);
}

COIL_TEST_PLAIN(test_run_until_complete_nesting)
{
    coil_ret rc = 0;
    begin();
    on_loop(run_again, &rc);
    on_loop(stop, NULL);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_int_equal(rc, COIL_ERUNNING);
    done();
}

/* S014, S066, S073: what it takes, what it returns, and again. */
COIL_TEST_PLAIN(run_until_complete_takes_a_future_a_task_or_a_coroutine)
{
    begin();
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(give_42, NULL)), 42);
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    coil_task *task = coil_create_task_opts(give_42, NULL, &opts);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 42);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 42); /* done already */
    coil_unref(task);
    coil_future *future = coil_loop_create_future(loop);
    assert_int_equal(coil_future_set_exception(future, COIL_EUSER), 0);
    assert_int_equal(coil_loop_run_until_complete(loop, future), COIL_EUSER);
    coil_unref(future);
    done();
}

static coil_ret note_word(void *text)
{
    note("%s", (char *)text);
    return 0;
}

/* S009, S068: what is booked before the loop runs waits for it. */
COIL_TEST_PLAIN(work_queued_before_the_run_is_done_in_the_run)
{
    begin();
    coil_unref(coil_loop_create_task(loop, note_word, "task"));
    on_loop(note_text, "callback");
    assert_trace("");
    coil_loop_stop(loop);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_trace("task callback");
    done();
}

static coil_ret turn_and_time(void *out)
{
    coil_loop_stats_t stats;
    coil_loop_stats(NULL, &stats);
    *(double *)out = coil_loop_time(NULL);
    return (coil_ret)stats.turns;
}

/* S104: a task that is alone is run at once, also when a timer stands far off. */
COIL_TEST_PLAIN(lone_task_runs_in_the_first_turn_without_sleeping)
{
    begin();
    double before = coil_loop_time(loop), then = 0;
    assert_int_equal(coil_loop_call_later(loop, 100, note_text, (void *)(uintptr_t) "far", NULL),
                     0);
    assert_in_range(coil_loop_run_until_complete(loop, coil_coro_new(turn_and_time, &then)), 0, 1);
    assert_true(then - before < 1);
    assert_trace("");
    done();
}

COIL_TEST_PLAIN(slow_callbacks_are_those_of_a_tenth_of_a_second_unless_told)
{
    begin();
    assert_int_equal(loop->slow_ns, 100000000);
    done();
}

static coil_ret nap(void *unused)
{
    return coil_sleep(1);
}

/* S078, S117, S125: with nothing queued the loop sleeps; it takes few turns for a long time. */
COIL_TEST_PLAIN(loop_sleeps_while_everybody_waits)
{
    coil_loop_stats_t stats;
    begin();
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(nap, NULL)), 0);
    coil_loop_stats(loop, &stats);
    assert_true(stats.turns <= 5);
    done();
}

static coil_ret nap_in_group(void *group)
{
    coil_task_group(g);
    for (int i = 0; i < 10; i++)
        coil_group_create_task(&g, nap, NULL);
    return coil_group_exit(&g, 0);
}

/* S049, S055: waits overlap, in one thread. */
COIL_TEST_PLAIN(ten_waits_of_a_second_take_a_second)
{
    begin();
    double before = coil_loop_time(loop);
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(nap_in_group, NULL)), 0);
    double took = coil_loop_time(loop) - before;
    assert_true(took >= 1 && took < 1.1);
    done();
}

/* ---- contexts that are named ---- */

static const coil_contextvar color = COIL_CONTEXTVAR("color", (void *)(uintptr_t) "none");

static void note_color(void *paint)
{
    note("%s", (char *)coil_contextvar_get(&color));
    if (paint)
        assert_int_equal(coil_contextvar_set(&color, paint, NULL), 0);
}

COIL_TEST_PLAIN(timers_given_one_context_share_it)
{
    char red[] = "red", blue[] = "blue";
    coil_context *context = coil_context_new();
    begin();
    assert_int_equal(coil_loop_call_later_context(loop, 1, note_color, red, context, NULL), 0);
    assert_int_equal(
        coil_loop_call_at_context(loop, coil_loop_time(loop) + 2, note_color, blue, context, NULL),
        0);
    assert_int_equal(coil_loop_call_later_context(loop, 3, note_color, NULL, NULL, NULL), 0);
    assert_int_equal(coil_loop_call_later(loop, 4, stop, NULL, NULL), 0);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_trace("none red none");
    coil_context_unref(context);
    done();
}

/* Another thread may change its context afterwards: what travels is a copy. */
COIL_TEST_PLAIN(threadsafe_call_takes_a_copy_of_the_context_it_is_given)
{
    char red[] = "red", blue[] = "blue";
    coil_contextvar_token token;
    begin();
    assert_int_equal(coil_contextvar_set(&color, red, &token), 0);
    coil_context *context = coil_copy_context();
    assert_int_equal(coil_contextvar_reset(&token), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            coil_loop_call_soon_threadsafe_context(loop, note_color, blue, context, NULL), 0);
    on_loop(stop, NULL);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_trace("red red"); /* neither sees what the other one set */
    void *value;
    assert_true(coil_context_get(context, &color, &value));
    assert_string_equal(value, "red");
    coil_context_unref(context);
    done();
}

/* ---- fork ---- */

static void fork_and_look(void *out)
{
    pid_t pid = fork();
    if (pid == 0) {
        /* The child inherited the loop's memory, but no running loop. */
        int wrong = coil_loop_run_forever(loop) == 0;
        coil_loop_fork_child(loop);
        wrong += !coil_loop_is_closed(loop) || coil_get_running_loop();
        wrong += coil_loop_run_forever(loop) != COIL_ECLOSED;
        wrong += coil_run(give_42, NULL) != 42; /* and may run one of its own */
        _exit(wrong);
    }
    assert_int_equal(waitpid(pid, out, 0), pid);
    note("parent");
}

COIL_TEST_PLAIN(test_fork_not_share_event_loop)
{
    int status = -1;
    begin();
    on_loop(fork_and_look, &status);
    on_loop(stop, NULL);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_trace("parent"); /* the parent's loop goes on */
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(give_42, NULL)), 42);
    done();
}

COIL_TEST_MAIN()
