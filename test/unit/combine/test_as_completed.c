/* SPDX-License-Identifier: MIT
 *
 * test_as_completed.c: futures handed out in the order in which they finish. */
#include "stage.h"

STAGE(as_completed_of_nothing_ends_at_once)
{
    coil_as_completed it;
    coil_future *f = NULL;
    FACT(coil_as_completed_init(&it, NULL, 0, 1), 0);
    FACT(coil_as_completed_next(&it, &f), 0);
    FACT(coil__running_loop->timers.n, 0);
    coil_as_completed_close(&it);
    coil_as_completed_close(&it);
    return 0;
}

STAGE(as_completed_gives_the_futures_themselves)
{
    coil_task *three[] = {sleeper(NULL, 0.3, 3), sleeper(NULL, 0.1, 1), sleeper(NULL, 0.2, -EIO)};
    coil_future *f;
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, three, 3, COIL_FOREVER), 0);
    for (int i = 0; i < 3; i++)
        coil_unref(three[i]); /* kept by the iterator */
    FACT(coil_as_completed_next(&it, &f), 1);
    TRUE(f == three[1]);
    FACT(coil_as_completed_next(&it, &f), 1);
    TRUE(f == three[2]);
    FACT(coil_future_result(f), -EIO);
    FACT(coil_as_completed_next(&it, &f), 1);
    TRUE(f == three[0]);
    FACT(coil_as_completed_next(&it, &f), 0);
    FACT(coil_as_completed_next(&it, &f), 0);
    coil_as_completed_close(&it);
    return 0;
}

STAGE(as_completed_merges_duplicates)
{
    coil_future *a = done_future(1), *b = done_future(2), *f;
    coil_future *many[] = {a, b, a, a, b};
    coil_as_completed it;
    int n = 0;
    FACT(coil_as_completed_init(&it, many, 5, COIL_FOREVER), 0);
    while (coil_as_completed_next(&it, &f) > 0)
        n++;
    FACT(n, 2);
    coil_as_completed_close(&it);
    coil_unref(a);
    coil_unref(b);
    return 0;
}

STAGE(as_completed_hands_out_those_that_are_done_in_the_order_of_the_arguments)
{
    coil_future *three[] = {done_future(1), done_future(2), done_future(3)}, *f;
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, three, 3, COIL_FOREVER), 0);
    for (int i = 0; i < 3; i++) {
        FACT(coil_as_completed_next(&it, &f), 1);
        TRUE(f == three[i]);
    }
    coil_as_completed_close(&it);
    for (int i = 0; i < 3; i++)
        coil_unref(three[i]);
    return 0;
}

STAGE(as_completed_drops_the_late_ones)
{
    coil_task *two[] = {sleeper(NULL, 0.1, 1), sleeper(NULL, 5, 2)};
    coil_future *f;
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, two, 2, 1), 0);
    FACT(coil_as_completed_next(&it, &f), 1);
    FACT(coil_as_completed_next(&it, &f), -ETIMEDOUT);
    FACT(coil_as_completed_next(&it, &f), 0);
    FALSE(coil_future_done(two[1]));
    coil_as_completed_close(&it);
    FACT(coil_join(two[0]), 1);
    FACT(coil_join(two[1]), 2);
    return 0;
}

STAGE(as_completed_whose_time_is_not_used_stops_its_timer)
{
    coil_future *f = done_future(1), *g;
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, &f, 1, 1000), 0);
    FACT(coil_as_completed_next(&it, &g), 1);
    FACT(coil__running_loop->timers.n, 0);
    coil_as_completed_close(&it);
    coil_unref(f);
    return 0;
}

STAGE(as_completed_cancelled_loses_nothing)
{
    coil_task *t = sleeper(NULL, 1, 7);
    coil_future *f;
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, &t, 1, COIL_FOREVER), 0);
    coil_loop_call_soon(NULL, cancel_it, coil_current_task(), NULL);
    FACT(coil_as_completed_next(&it, &f), -ECANCELED);
    FACT(coil_task_uncancel(coil_current_task()), 0);
    FACT(coil_as_completed_next(&it, &f), 1);
    FACT(coil_future_result(f), 7);
    FACT(coil_as_completed_next(&it, &f), 0);
    coil_as_completed_close(&it);
    coil_unref(t);
    return 0;
}

static coil_ret ask_one(void *it)
{
    coil_future *f;
    coil_ret rc = coil_as_completed_next(it, &f);
    return rc == 1 ? coil_future_result(f) : rc;
}

STAGE(as_completed_serves_askers_in_order)
{
    coil_task *two[] = {sleeper(NULL, 0.2, 20), sleeper(NULL, 0.1, 10)};
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, two, 2, COIL_FOREVER), 0);
    coil_task *askers[] = {coil_create_task(ask_one, &it), coil_create_task(ask_one, &it),
                           coil_create_task(ask_one, &it)};
    coil_ret got[3];
    FACT(coil_gather(askers, 3, got, COIL_UNREF), 0);
    FACT(got[0], 10);
    FACT(got[1], 20);
    FACT(got[2], 0);
    coil_as_completed_close(&it);
    coil_unref(two[0]);
    coil_unref(two[1]);
    return 0;
}

STAGE(as_completed_asker_cancelled_as_it_is_served_passes_it_on)
{
    coil_future *f = new_future(), *g = new_future();
    coil_future *both[] = {f, g};
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, both, 2, COIL_FOREVER), 0);
    coil_task *first = coil_create_task(ask_one, &it), *second = coil_create_task(ask_one, &it);
    turns(1);
    FACT(coil_future_set_result(f, 5), 0);
    turns(1); /* told: the first is woken and still to run */
    coil_task_cancel(first, NULL);
    FACT(coil_join(first), -ECANCELED);
    FACT(coil_join(second), 5);
    coil_as_completed_close(&it);
    coil_unref(f);
    coil_unref(g);
    return 0;
}

STAGE(as_completed_asker_cancelled_before_it_is_served_is_passed_over)
{
    coil_future *f = new_future(), *g = new_future();
    coil_future *both[] = {f, g};
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, both, 2, COIL_FOREVER), 0);
    coil_task *first = coil_create_task(ask_one, &it), *second = coil_create_task(ask_one, &it);
    turns(1);
    FACT(coil_future_set_result(f, 5), 0);
    coil_task_cancel(first,
                     NULL); /* it is woken by that, and runs after the iterator was told of f */
    FACT(coil_join(first), -ECANCELED);
    FACT(coil_join(second), 5);
    coil_as_completed_close(&it);
    coil_unref(f);
    coil_unref(g);
    return 0;
}

STAGE(as_completed_closed_lets_its_askers_go)
{
    coil_future *f = new_future();
    coil_future *both[] = {f, f};
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, both, 1, 100), 0);
    coil_task *asker = coil_create_task(ask_one, &it);
    turns(1);
    coil_as_completed_close(&it);
    FACT(coil_join(asker), 0);
    FACT(coil__running_loop->timers.n, 0);
    FACT(coil_future_set_result(f, 5), 0);
    turns(2);
    coil_unref(f);
    return 0;
}

STAGE(as_completed_closed_lets_several_askers_go)
{
    coil_future *f[] = {new_future(), new_future()};
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, f, 2, COIL_FOREVER), 0);
    coil_task *askers[] = {coil_create_task(ask_one, &it), coil_create_task(ask_one, &it)};
    turns(1);
    coil_as_completed_close(&it);
    for (int i = 0; i < 2; i++) {
        FACT(coil_join(askers[i]), 0);
        coil_unref(f[i]);
    }
    return 0;
}

STAGE(as_completed_closed_early_takes_back_what_is_queued)
{
    coil_future *f = done_future(1);
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, &f, 1, 0), 0);
    coil_as_completed_close(&it);
    turns(2);
    coil_unref(f);
    return 0;
}

STAGE(as_completed_refuses_nan_and_null)
{
    coil_as_completed it;
    coil_future *f = NULL;
    FACT(coil_as_completed_init(&it, &f, 0, NAN), -EINVAL);
    FACT(coil_as_completed_init(&it, &f, 1, 1), -EINVAL);
    FACT(coil_as_completed_next(&it, &f), 0);
    coil_as_completed_close(&it);
    return 0;
}

static coil_ret ask_for_ever(void *arg)
{
    coil_future *f = new_future(), *got;
    coil_as_completed it;
    coil_ret rc = coil_as_completed_init(&it, &f, 1, COIL_FOREVER);
    if (rc == 0)
        rc = coil_as_completed_next(&it, &got);
    coil_as_completed_close(&it);
    coil_unref(f);
    return rc;
}

static coil_ret leave_an_asker_behind(void *arg)
{
    coil_unref(coil_create_task(ask_for_ever, NULL));
    turns(2);
    return 0;
}

static void as_completed_is_unwound_with_its_task(void **state)
{
    (void)state;
    stage_leave(leave_an_asker_behind);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(as_completed_of_nothing_ends_at_once),
        T(as_completed_gives_the_futures_themselves),
        T(as_completed_merges_duplicates),
        T(as_completed_hands_out_those_that_are_done_in_the_order_of_the_arguments),
        T(as_completed_drops_the_late_ones),
        T(as_completed_whose_time_is_not_used_stops_its_timer),
        T(as_completed_cancelled_loses_nothing),
        T(as_completed_serves_askers_in_order),
        T(as_completed_asker_cancelled_as_it_is_served_passes_it_on),
        T(as_completed_asker_cancelled_before_it_is_served_is_passed_over),
        T(as_completed_closed_lets_its_askers_go),
        T(as_completed_closed_lets_several_askers_go),
        T(as_completed_closed_early_takes_back_what_is_queued),
        T(as_completed_refuses_nan_and_null),
        T(as_completed_is_unwound_with_its_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
