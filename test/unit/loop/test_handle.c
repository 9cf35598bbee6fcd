/* SPDX-License-Identifier: MIT
 *
 * test_handle.c: call_soon, call_later, call_at, and the handles they give out: cancelled while timed,
 * queued, running, done; counted; their contexts. */
#include "loop/loop.h"

#include "../loop/stage.h"

#include <math.h>

static coil_handle *handle;

static coil_handle *soon_handle(coil_callback_fn fn, const void *arg)
{
    coil_handle *h = NULL;
    FACT_INT(coil_loop_call_soon(stage.loop, fn, (void *)(uintptr_t)arg, &h), 0);
    return h;
}

static coil_handle *later_handle(double delay, coil_callback_fn fn, const void *arg)
{
    coil_handle *h = NULL;
    FACT_INT(coil_loop_call_later(stage.loop, delay, fn, (void *)(uintptr_t)arg, &h), 0);
    return h;
}

static coil_loop_stats_t stats(void)
{
    coil_loop_stats_t s;
    coil_loop_stats(stage.loop, &s);
    return s;
}

static void run_for(double seconds)
{
    coil_handle *h = later_handle(seconds, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    coil_handle_unref(h);
}

/* ---- contexts ---- */

static coil_contextvar colour = COIL_CONTEXTVAR("colour", NULL);

static void note_colour(void *arg)
{
    (void)arg;
    note("%s", (char *)coil_contextvar_get(&colour));
}

LOOP(handle_gives_the_context_its_callback_runs_in)
{
    static char red[] = "red", blue[] = "blue";
    coil_contextvar_token token;
    FACT_INT(coil_contextvar_set(&colour, red, &token), 0);
    coil_handle *h = soon_handle(note_colour, NULL);
    coil_context *context = coil_handle_get_context(h);
    void *value;
    FACT(coil_context_get(context, &colour, &value) && value == red);
    FACT(coil_handle_get_context(h) == context);
    /* It is the very context: what is set in it is seen. */
    FACT_INT(coil_contextvar_set(&colour, blue, NULL), 0);
    coil_handle *other = NULL;
    FACT_INT(coil_loop_call_soon_context(stage.loop, note_colour, NULL, context, &other), 0);
    FACT(coil_handle_get_context(other) == context);
    one_turn();
    FACT_TRACE("red red");
    FACT(coil_handle_get_context(h) == NULL);
    coil_handle *cancelled = later_handle(1, note_colour, NULL);
    FACT(coil_handle_get_context(cancelled) != NULL);
    coil_handle_cancel(cancelled);
    FACT(coil_handle_get_context(cancelled) == NULL);
    coil_handle_unref(h);
    coil_handle_unref(other);
    coil_handle_unref(cancelled);
    FACT_INT(coil_contextvar_reset(&token), 0);
}

/* ---- cancelling ---- */

LOOP(handle_cancelled_while_queued_never_runs)
{
    soon(note_arg, "a");
    coil_handle *h = soon_handle(note_arg, "b");
    soon(note_arg, "c");
    FACT(!coil_handle_cancelled(h));
    coil_handle_cancel(h);
    FACT(coil_handle_cancelled(h));
    coil_handle_cancel(h);
    one_turn();
    FACT_TRACE("a c");
    coil_handle_unref(h);
}

static void cancel_it(void *arg)
{
    note("cancel");
    coil_handle_cancel(*(coil_handle **)arg);
}

LOOP(handle_cancelled_by_one_before_it_in_the_same_batch)
{
    soon(cancel_it, &handle);
    handle = soon_handle(note_arg, "b");
    soon(note_arg, "c");
    one_turn();
    FACT_TRACE("cancel c");
    FACT(coil_handle_cancelled(handle));
    coil_handle_unref(handle);
}

LOOP(handle_cancelled_while_timed_leaves_the_heap_at_once)
{
    coil_handle *h = later_handle(1, note_arg, "b");
    FACT_INT(stats().timers, 1);
    coil_handle_cancel(h);
    FACT_INT(stats().timers, 0);
    FACT(coil_handle_cancelled(h));
    run_for(2);
    FACT_TRACE("");
    coil_handle_unref(h);
}

LOOP(handle_cancelled_when_due_but_not_run)
{
    later(1, cancel_it, &handle);
    handle = later_handle(1, note_arg, "b"); /* due in the same turn, queued behind */
    later(1, note_arg, "c");
    run_for(2);
    FACT_TRACE("cancel c");
    coil_handle_unref(handle);
}

static void cancel_self(void *arg)
{
    coil_handle_cancel(*(coil_handle **)arg);
    note("%d", coil_handle_cancelled(*(coil_handle **)arg));
}

LOOP(handle_cancelled_while_it_runs_or_after_is_too_late_and_fine)
{
    handle = soon_handle(cancel_self, &handle);
    one_turn();
    FACT_TRACE("0");
    coil_handle_cancel(handle);
    FACT(!coil_handle_cancelled(handle)); /* it ran */
    coil_handle_unref(handle);
    handle = later_handle(0, cancel_self, &handle);
    one_turn();
    FACT_TRACE("0");
    coil_handle_cancel(handle);
    coil_handle_unref(handle);
    coil_handle_cancel(NULL);
    coil_handle_unref(NULL);
}

LOOP(handle_cancel_of_many_timers_keeps_the_others)
{
    enum { N = 500 };
    static coil_handle *all[N];
    for (int i = 0; i < N; i++)
        all[i] = later_handle((i * 7919 % N) + 1, note_arg, i % 3 ? "x" : "y");
    for (int i = 0; i < N; i++)
        if (i % 3)
            coil_handle_cancel(all[i]);
    FACT_INT(stats().timers, (N + 2) / 3);
    run_for(N + 1);
    int n = 0;
    for (const char *c = stage.log; *c; c++)
        n += *c == 'y' ? 1 : *c == 'x' ? 1000 : 0;
    FACT_INT(n, (N + 2) / 3);
    for (int i = 0; i < N; i++)
        coil_handle_unref(all[i]);
    stage.log[0] = '\0';
}

/* ---- references ---- */

LOOP(handle_given_back_does_not_cancel)
{
    coil_handle_unref(soon_handle(note_arg, "a"));
    coil_handle_unref(later_handle(1, note_arg, "b"));
    run_for(2);
    FACT_TRACE("a b");
}

LOOP(handle_outlives_its_run_and_the_loops_close)
{
    coil_handle *a = soon_handle(note_arg, "a"), *b = later_handle(1, note_arg, "b");
    coil_handle *same = coil_handle_ref(b);
    FACT(same == b);
    one_turn();
    coil_handle *c = soon_handle(note_arg, "c");
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("a");
    FACT(!coil_handle_cancelled(a));
    FACT(coil_handle_cancelled(b) && coil_handle_cancelled(c)); /* dropped, they never run */
    coil_handle_cancel(b);
    coil_handle_unref(a);
    coil_handle_unref(b);
    coil_handle_unref(same);
    coil_handle_unref(c);
}

LOOP(handle_memory_is_reused)
{
    coil_handle_unref(soon_handle(note_arg, "a"));
    one_turn();
    int64_t blocks = coil__mem_live();
    for (int i = 0; i < 100; i++) {
        coil_handle_unref(soon_handle(note_arg, "b"));
        one_turn();
    }
    FACT_INT(coil__mem_live() - blocks, 0);
    stage.log[0] = '\0';
}

/* ---- times ---- */

LOOP(timers_run_in_order_of_deadline_then_of_asking)
{
    later(3, note_arg, "3a");
    later(1, note_arg, "1a");
    later(2, note_arg, "2");
    later(1, note_arg, "1b");
    later(3, note_arg, "3b");
    later(1, note_arg, "1c");
    run_for(4);
    FACT_TRACE("1a 1b 1c 2 3a 3b");
}

LOOP(timers_in_the_past_run_in_order_of_deadline)
{
    later(-1, note_arg, "-1");
    later(-3, note_arg, "-3");
    later(0, note_arg, "0");
    later(-2, note_arg, "-2");
    later(-INFINITY, note_arg, "never");
    one_turn();
    FACT_TRACE("never -3 -2 -1 0");
}

LOOP(timers_by_the_hundred_with_one_deadline_keep_their_order)
{
    static char names[100][4];
    char expected[400] = "";
    for (int i = 0; i < 100; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        later(1, note_arg, names[i]);
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), i ? " %d" : "%d",
                 i);
    }
    run_for(2);
    FACT_TRACE(expected);
}

static void arm_more(void *arg)
{
    (void)arg;
    note("first");
    later(0, note_arg, "now");
    later(1, note_arg, "in a second");
    soon(note_arg, "soon");
}

LOOP(timers_set_in_a_callback_wait_for_the_next_turn)
{
    later(1, arm_more, NULL);
    later(1, note_arg, "second");
    run_for(3);
    FACT_TRACE("first second soon now in a second");
}

LOOP(timer_says_when)
{
    coil_handle *h = later_handle(2.5, note_arg, "x"), *s = soon_handle(note_arg, "y"), *at;
    FACT(about(coil_handle_when(h), now() + 2.5));
    FACT(isnan(coil_handle_when(s)));
    FACT_INT(coil_loop_call_at(stage.loop, 7.25, note_arg, (void *)(uintptr_t) "z", &at), 0);
    FACT(about(coil_handle_when(at), 7.25));
    coil_handle_cancel(at);
    FACT(about(coil_handle_when(at), 7.25)); /* also afterwards */
    coil_handle_cancel(h);
    coil_handle_cancel(s);
    coil_handle_unref(h);
    coil_handle_unref(s);
    coil_handle_unref(at);
}

LOOP(call_at_is_on_the_loops_clock)
{
    coil_handle *h;
    double start = now();
    FACT_INT(coil_loop_call_at(stage.loop, start + 5, stop_loop, stage.loop, &h), 0);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT(about(now(), start + 5));
    coil_handle_unref(h);
}

LOOP(timer_far_away_is_kept)
{
    coil_handle *a = later_handle(1e9, note_arg, "in 31 years"),
                *b = later_handle(1e300, note_arg, "b"),
                *c = later_handle(COIL_FOREVER, note_arg, "c");
    FACT(isinf(coil_handle_when(b)) && isinf(coil_handle_when(c)));
    run_for(1e8);
    FACT_TRACE("");
    FACT_INT(stats().timers, 3);
    run_for(1e9);
    FACT_TRACE("in 31 years");
    FACT_INT(stats().timers, 2);
    coil_handle_unref(a);
    coil_handle_unref(b);
    coil_handle_unref(c);
}

REAL(timer_is_never_early)
{
    for (int i = 1; i <= 20; i++) {
        double before = now(), delay = i * 0.000137;
        run_for(delay);
        FACT(now() >= before + delay);
    }
}

/* ---- what is refused ---- */

LOOP(call_with_nan_or_without_a_function_is_refused)
{
    coil_handle *h = NULL;
    FACT_INT(coil_loop_call_later(stage.loop, NAN, note_arg, NULL, &h), -EINVAL);
    FACT_ERROR(-EINVAL, "NaN");
    FACT_INT(coil_loop_call_at(stage.loop, NAN, note_arg, NULL, &h), -EINVAL);
    FACT_INT(coil_loop_call_soon(stage.loop, NULL, NULL, &h), -EINVAL);
    FACT_INT(coil_loop_call_soon(stage.loop, NULL, NULL, NULL), -EINVAL);
    FACT_INT(coil_loop_call_later(stage.loop, 1, NULL, NULL, &h), -EINVAL);
    FACT_INT(coil_loop_call_at(stage.loop, 1, NULL, NULL, NULL), -EINVAL);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, NULL, NULL, NULL), -EINVAL);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, NULL, NULL, &h), -EINVAL);
    FACT_ERROR(-EINVAL, "function");
    FACT(h == NULL); /* outputs are written on success only */
    one_turn();
}

PLAIN(call_without_a_loop_is_refused)
{
    coil_handle *h = NULL;
    FACT_INT(coil_loop_call_soon(NULL, note_arg, NULL, NULL), COIL_ENOLOOP);
    FACT_INT(coil_loop_call_later(NULL, 1, note_arg, NULL, &h), COIL_ENOLOOP);
    FACT_INT(coil_loop_call_at(NULL, 1, note_arg, NULL, &h), COIL_ENOLOOP);
    FACT_INT(coil_loop_call_soon_threadsafe(NULL, note_arg, NULL, &h), COIL_ENOLOOP);
    FACT(h == NULL);
    FACT(isnan(coil_loop_time(NULL)));
}

LOOP(call_on_a_closed_loop_is_refused)
{
    coil_handle *h = NULL;
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(coil_loop_call_soon(stage.loop, note_arg, NULL, NULL), COIL_ECLOSED);
    FACT_INT(coil_loop_call_soon(stage.loop, note_arg, NULL, &h), COIL_ECLOSED);
    FACT_INT(coil_loop_call_later(stage.loop, 1, note_arg, NULL, &h), COIL_ECLOSED);
    FACT_INT(coil_loop_call_at(stage.loop, 1, note_arg, NULL, &h), COIL_ECLOSED);
    FACT_ERROR(COIL_ECLOSED, "Event loop is closed");
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, NULL, NULL), COIL_ECLOSED);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, NULL, &h), COIL_ECLOSED);
    FACT(h == NULL);
}

/* ---- contexts ---- */

static const coil_contextvar color = COIL_CONTEXTVAR("color", (void *)(uintptr_t) "none");

static void set_color(const char *value, coil_contextvar_token *token)
{
    FACT_INT(coil_contextvar_set(&color, (void *)(uintptr_t)value, token), 0);
}

static void note_color(void *arg)
{
    note("%s", (const char *)coil_contextvar_get(&color));
    if (arg)
        set_color(arg, NULL);
}

LOOP(callback_sees_the_context_of_who_asked)
{
    coil_contextvar_token token;
    coil_handle *h;
    set_color("red", &token);
    soon(note_color, NULL);
    later(0, note_color, NULL);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_color, NULL, NULL), 0);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_color, NULL, &h), 0);
    FACT_INT(coil_contextvar_reset(&token), 0);
    one_turn();
    FACT_TRACE("red red red red");
    soon(note_color, NULL);
    one_turn();
    FACT_TRACE("none");
    coil_handle_unref(h);
}

LOOP(callback_keeps_what_it_sets_to_itself)
{
    soon(note_color, "red");
    soon(note_color, "blue");
    coil_handle *h = soon_handle(note_color, "green");
    one_turn();
    FACT_TRACE("none none none");
    soon(note_color, NULL);
    one_turn();
    FACT_TRACE("none");
    FACT_TEXT(coil_contextvar_get(&color), "none");
    coil_handle_unref(h);
}

LOOP(callbacks_given_one_context_share_it)
{
    void *value;
    coil_context *c = coil_context_new();
    FACT_INT(
        coil_loop_call_soon_context(stage.loop, note_color, (void *)(uintptr_t) "red", c, NULL), 0);
    FACT_INT(
        coil_loop_call_at_context(stage.loop, 0, note_color, (void *)(uintptr_t) "blue", c, NULL),
        0);
    one_turn();
    FACT_TRACE("none red");
    FACT(coil_context_get(c, &color, &value));
    FACT_TEXT(value, "blue");
    FACT_INT(coil_loop_call_soon_context(stage.loop, note_color, NULL, c, &handle), 0);
    coil_context_unref(c); /* the handle holds it */
    one_turn();
    FACT_TRACE("blue");
    coil_handle_unref(handle);
}

static void set_and_ask(void *arg)
{
    (void)arg;
    set_color("inner", NULL);
    soon(note_color, NULL);
}

LOOP(callback_hands_its_context_on)
{
    soon(set_and_ask, NULL);
    one_turn();
    one_turn();
    FACT_TRACE("inner");
}

static void ask_for_own_context(void *arg)
{
    coil_context *context = coil_handle_get_context(handle);
    note(context == arg ? "as expected" : "another");
}

LOOP(handle_of_a_running_callback_has_the_context_it_was_given)
{
    coil_context *c = coil_context_new();
    FACT_INT(coil_loop_call_soon_context(stage.loop, ask_for_own_context, c, c, &handle), 0);
    one_turn();
    FACT(coil_handle_get_context(handle) == NULL);
    coil_handle_unref(handle);
    handle = soon_handle(ask_for_own_context, NULL); /* captured, and in use: there is no object */
    one_turn();
    coil_handle_unref(handle);
    FACT_TRACE("as expected as expected");
    coil_context_unref(c);
}

static coil_ret never_run(void *arg)
{
    note("never");
    return (coil_ret)arg;
}

static void ask_in_the_same(void *arg)
{
    FACT_INT(coil_loop_call_soon_context(stage.loop, note_color, NULL, arg, NULL), 0);
    coil_loop_stop(stage.loop);
    FACT_INT(coil_context_run(arg, never_run, NULL), COIL_ERUNNING);
}

LOOP(context_of_a_running_callback_cannot_be_entered_again)
{
    coil_context *c = coil_context_new();
    FACT_INT(coil_loop_call_soon_context(stage.loop, ask_in_the_same, c, c, NULL), 0);
    one_turn();
    one_turn();
    FACT_TRACE("none");
    coil_context_unref(c);
}

LOOP(handle_cancelled_lets_go_of_its_context_at_once)
{
    coil_contextvar_token token;
    set_color("red", &token);
    int64_t blocks = coil__mem_live();
    coil_handle *a = soon_handle(note_color, NULL), *b = later_handle(1, note_color, NULL);
    FACT_INT(coil_contextvar_reset(&token), 0);
    coil_handle_cancel(a);
    coil_handle_cancel(b);
    /* Two handles (and the timers' array) are what is left; the map they shared is gone. */
    FACT(coil__mem_live() <= blocks + 2);
    coil_handle_unref(a);
    coil_handle_unref(b);
}

LOOP(handle_posted_and_arrived_gives_its_context)
{
    coil_handle *h;
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, TEXT("posted"), &h), 0);
    FACT(coil_handle_get_context(h) != NULL);
    FACT_INT(coil_loop_collect(stage.loop, 0), 0); /* it stands in the ring */
    FACT(coil_handle_get_context(h) != NULL);
    FACT_INT(coil_loop_dispatch(stage.loop), 1);
    FACT(coil_handle_get_context(h) == NULL);
    FACT_TRACE("posted");
    coil_handle_unref(h);
}

#if STAGE_TABLE
LOOP(handle_has_no_context_to_give_without_memory)
{
    coil_handle *h;
    FACT_INT(coil_loop_call_soon(stage.loop, note_arg, TEXT("soon"), &h), 0);
    coil__mem_fail_at(1, 0);
    coil_context *none = coil_handle_get_context(h);
    coil__mem_fail_at(0, 0);
    FACT(none == NULL);
    FACT(coil_handle_get_context(h) != NULL); /* and later it has */
    one_turn();
    FACT_TRACE("soon");
    coil_handle_unref(h);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handle_gives_the_context_its_callback_runs_in),
        cmocka_unit_test(handle_cancelled_while_queued_never_runs),
        cmocka_unit_test(handle_cancelled_by_one_before_it_in_the_same_batch),
        cmocka_unit_test(handle_cancelled_while_timed_leaves_the_heap_at_once),
        cmocka_unit_test(handle_cancelled_when_due_but_not_run),
        cmocka_unit_test(handle_cancelled_while_it_runs_or_after_is_too_late_and_fine),
        cmocka_unit_test(handle_cancel_of_many_timers_keeps_the_others),
        cmocka_unit_test(handle_given_back_does_not_cancel),
        cmocka_unit_test(handle_outlives_its_run_and_the_loops_close),
        cmocka_unit_test(handle_memory_is_reused),
        cmocka_unit_test(timers_run_in_order_of_deadline_then_of_asking),
        cmocka_unit_test(timers_in_the_past_run_in_order_of_deadline),
        cmocka_unit_test(timers_by_the_hundred_with_one_deadline_keep_their_order),
        cmocka_unit_test(timers_set_in_a_callback_wait_for_the_next_turn),
        cmocka_unit_test(timer_says_when),
        cmocka_unit_test(call_at_is_on_the_loops_clock),
        cmocka_unit_test(timer_far_away_is_kept),
        cmocka_unit_test(timer_is_never_early),
        cmocka_unit_test(call_with_nan_or_without_a_function_is_refused),
        cmocka_unit_test(call_without_a_loop_is_refused),
        cmocka_unit_test(call_on_a_closed_loop_is_refused),
        cmocka_unit_test(callback_sees_the_context_of_who_asked),
        cmocka_unit_test(callback_keeps_what_it_sets_to_itself),
        cmocka_unit_test(callbacks_given_one_context_share_it),
        cmocka_unit_test(callback_hands_its_context_on),
        cmocka_unit_test(handle_of_a_running_callback_has_the_context_it_was_given),
        cmocka_unit_test(context_of_a_running_callback_cannot_be_entered_again),
        cmocka_unit_test(handle_cancelled_lets_go_of_its_context_at_once),
        cmocka_unit_test(handle_posted_and_arrived_gives_its_context),
#if STAGE_TABLE
        cmocka_unit_test(handle_has_no_context_to_give_without_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
