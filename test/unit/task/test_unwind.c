/* SPDX-License-Identifier: MIT
 *
 * test_unwind.c: what happens to suspended tasks when their loop is closed: their waiting calls return
 * COIL_EEXIT and they walk out, children before parents. */
#include "task/task.h"

#include "../loop/stage.h"
#include "base/sys.h"

#include <sys/socket.h>

static int reports;
static char last_kind[24], last_report[256];

static void count_reports(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)loop, (void)arg;
    reports++;
    snprintf(last_kind, sizeof last_kind, "%s", c->kind);
    snprintf(last_report, sizeof last_report, "%s", c->message);
}

static coil_task *start(coil_fn fn, const void *arg)
{
    reports = 0;
    coil_loop_set_exception_handler(stage.loop, count_reports, NULL);
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    return coil_create_task_opts(fn, arg, &opts);
}

static void close_loop(void)
{
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT(coil_get_running_loop() == NULL);
    FACT(coil_current_task() == NULL);
}

/* ---- where tasks stand ---- */

static coil_ret sleeper(void *arg)
{
    note("%s", coil_errname(coil_sleep(1)));
    (void)arg;
    return 0;
}

LOOP(unwound_in_a_sleep)
{
    coil_task *t = start(sleeper, NULL);
    one_turn();
    close_loop();
    FACT_TRACE("COIL_EEXIT");
    FACT_INT(reports, 1);
    FACT(coil_future_cancelled(t)); /* whatever it returned */
    FACT_INT(coil_future_result(t), -ECANCELED);
    coil_unref(t);
}

static coil_ret yielder(void *arg)
{
    (void)arg;
    note("%s", coil_errname(coil_sleep(0)));
    return 0;
}

LOOP(unwound_when_already_queued_to_run)
{
    coil_unref(start(yielder, NULL));
    one_turn();
    close_loop();
    FACT_TRACE("COIL_EEXIT");
}

LOOP(unwound_with_its_sleep_over_but_not_run)
{
    coil_task *t = start(sleeper, NULL);
    one_turn();
    FACT_INT(coil_loop_collect(stage.loop, 5), 0); /* the timer is due and its slot queued */
    coil_loop_raise(stage.loop, -EIO);
    FACT_INT(coil_loop_dispatch(stage.loop), -EIO);
    close_loop();
    FACT_TRACE("COIL_EEXIT");
    coil_unref(t);
}

static coil_future *future;

static coil_ret waiter(void *arg)
{
    (void)arg;
    note("%s", coil_errname(coil_await(future)));
    return 0;
}

LOOP(unwound_in_an_await_leaves_the_future_alone)
{
    future = coil_loop_create_future(stage.loop);
    coil_unref(start(waiter, NULL));
    one_turn();
    close_loop();
    FACT_TRACE("COIL_EEXIT");
    FACT(!coil_future_done(future));
    coil_unref(future);
}

LOOP(unwound_when_what_it_awaits_is_done_but_it_has_not_run)
{
    future = coil_loop_create_future(stage.loop);
    coil_unref(start(waiter, NULL));
    one_turn();
    FACT_INT(coil_future_set_result(future, 1), 0);
    close_loop();
    FACT_TRACE("COIL_EEXIT");
    coil_unref(future);
}

static coil_ret cancelled_and_unwound(void *arg)
{
    (void)arg;
    note("%s", coil_errname(coil_sleep(100)));
    note("%s", coil_errname(coil_sleep(100)));
    return 0;
}

LOOP(unwound_with_a_cancel_on_its_way)
{
    coil_task *t = start(cancelled_and_unwound, NULL);
    one_turn();
    coil_task_cancel(t, "x");
    close_loop();
    FACT_TRACE("COIL_EEXIT COIL_EEXIT");
    coil_unref(t);
}

static int pair[2];

static coil_ret fd_waiter(void *arg)
{
    (void)arg;
    note("%s", coil_errname(coil_wait_fd(pair[0], COIL_READ)));
    return 0;
}

LOOP(unwound_in_a_kernel_operation)
{
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    coil_unref(start(fd_waiter, NULL));
    one_turn();
    one_turn();
    close_loop();
    FACT_TRACE("COIL_EEXIT");
    close(pair[0]);
    close(pair[1]);
}

LOOP(unwound_with_its_kernel_operation_finished)
{
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    coil_unref(start(fd_waiter, NULL));
    one_turn();
    FACT_INT(write(pair[1], "x", 1), 1);
    FACT_INT(coil_loop_collect(stage.loop, 1), 0);
    coil_loop_raise(stage.loop, -EIO);
    FACT_INT(coil_loop_dispatch(stage.loop), -EIO);
    close_loop();
    FACT_TRACE("COIL_EEXIT");
    close(pair[0]);
    close(pair[1]);
}

#if STAGE_TABLE
static int failing_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
    return op == EPOLL_CTL_DEL ? coil__sys_real.epoll_ctl(ep, op, fd, ev) : -ENOSPC;
}

LOOP(unwound_with_the_kernels_last_word_still_to_be_heard)
{
    if (strcmp(coil_loop_backend(stage.loop), "epoll") != 0)
        return; /* only there a host's question finishes an op between two turns */
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    FACT(coil_loop_fd(stage.loop) >= 0);
    coil_unref(start(fd_waiter, NULL));
    coil__sys.epoll_ctl = failing_ctl;
    one_turn();
    FACT(coil_loop_timeout(stage.loop) == 0); /* its op was refused, and nobody was told yet */
    coil__sys.epoll_ctl = coil__sys_real.epoll_ctl;
    close_loop();
    FACT_TRACE("COIL_EEXIT");
    close(pair[0]);
    close(pair[1]);
}
#endif

/* ---- what they may do on their way out ---- */

static coil_ret busy_leaver(void *arg)
{
    (void)arg;
    coil_ret rc = coil_sleep(1);
    FACT_INT(rc, COIL_EEXIT);
    FACT_ERROR(COIL_EEXIT, "unwound");
    FACT(coil_current_task() != NULL);
    FACT(coil_get_running_loop() == stage.loop);
    /* Every waiting call says so again, at once. */
    FACT_INT(coil_sleep(0), COIL_EEXIT);
    FACT_INT(coil_await(future), COIL_EEXIT);
    FACT_INT(coil_wait_fd(0, COIL_READ), COIL_EEXIT);
    FACT_INT(coil_await(coil_coro_new(sleeper, NULL)), COIL_EEXIT); /* consumed, not run */
    coil_task *t = coil_create_task(sleeper, NULL);
    FACT_INT(coil_future_result(t), COIL_ECLOSED);
    coil_unref(t);
    FACT_INT(coil_loop_call_soon(NULL, note_arg, TEXT("never"), NULL), 0);
    FACT_INT(coil_loop_call_later(NULL, 0, note_arg, TEXT("never"), NULL), 0);
    coil_future *f = coil_loop_create_future(NULL);
    FACT_INT(coil_future_set_result(f, 5), 0);
    FACT_INT(coil_future_result(f), 5);
    coil_unref(f);
    FACT_INT(coil_future_set_result(future, 1), 0); /* wakes nobody who could run */
    note("left");
    return coil_fail(COIL_EUSER, "on the way out");
}

static void is_not_called(coil_future *f, void *arg)
{
    (void)f, (void)arg;
    note("called");
}

LOOP(unwound_task_may_use_the_loop_but_not_wait)
{
    future = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_add_done_callback(future, is_not_called, NULL), 0);
    coil_unref(start(waiter, NULL));
    coil_unref(start(busy_leaver, NULL));
    one_turn();
    close_loop();
    FACT_TRACE("left COIL_EEXIT");
    FACT_INT(reports, 2); /* its error was the unwinding's, and is not reported */
    coil_unref(future);
}

static coil_ret cancel_the_other(void *arg)
{
    coil_ret rc = coil_sleep(100);
    coil_task_cancel(*(coil_task **)arg, NULL);
    FACT_INT(rc, COIL_EEXIT);
    note("canceller");
    return rc;
}

LOOP(unwound_task_may_cancel_others)
{
    coil_task *t = start(sleeper, NULL);
    coil_unref(start(cancel_the_other, &t));
    one_turn();
    close_loop();
    FACT_TRACE("canceller COIL_EEXIT");
    coil_unref(t);
}

/* ---- order ---- */

static coil_ret child(void *arg)
{
    coil_ret rc = coil_sleep(100);
    note("%s", (const char *)arg);
    return rc;
}

static coil_ret parent(void *arg)
{
    coil_task *a = coil_create_task(child, TEXT("child1")),
              *b = coil_create_task(child, TEXT("child2"));
    coil_ret rc = coil_await(a);
    FACT(coil_future_done(a) && coil_future_done(b)); /* the children went first */
    coil_unref(a);
    coil_unref(b);
    note("%s", (const char *)arg);
    return rc;
}

LOOP(unwound_children_before_parents)
{
    coil_unref(start(parent, TEXT("parent")));
    one_turn();
    one_turn();
    close_loop();
    FACT_TRACE("child2 child1 parent");
    FACT_INT(reports, 3);
}

/* ---- those who will not go ---- */

static int refused;

static coil_ret stubborn(void *arg)
{
    (void)arg;
    refused = 0;
    while (coil_sleep(1) != 0)
        refused++;
    return 0;
}

LOOP(unwound_in_vain_a_thousand_times_is_given_up)
{
    coil_unref(start(stubborn, NULL));
    one_turn();
    close_loop();
    FACT(refused >= 1000 && refused <= 1001);
    FACT_INT(reports, 2);
    FACT_TEXT(last_kind, "will-not-end");
    FACT_HAS(last_report, "Task-1, created at ");
    FACT_HAS(last_report, ", would not end: it went on waiting 1000 times after COIL_EEXIT; its "
                          "stack is lost");
}

static coil_ret patient(void *arg)
{
    (void)arg;
    for (refused = 0; refused < 1000; refused++)
        if (coil_sleep(1) == 0)
            return 0;
    note("went");
    return 0;
}

LOOP(unwound_after_a_thousand_refusals_may_still_go)
{
    coil_unref(start(patient, NULL));
    one_turn();
    close_loop();
    FACT_TRACE("went");
    FACT_INT(reports, 1);
}

/* ---- generators ---- */

static coil_ret waiting_gen(coil_gen *self, void *arg)
{
    (void)arg;
    coil_ret sent = coil_gen_yield(self, 1);
    FACT_INT(sent, 0);
    coil_ret rc = coil_sleep(100);
    note("gen:%s", coil_errname(rc));
    return rc;
}

static coil_ret gen_driver(void *arg)
{
    coil_ret value = 0;
    (void)arg;
    coil_gen *gen = coil_gen_new(waiting_gen, NULL);
    FACT_INT(coil_gen_next(gen, &value), 1);
    FACT_INT(value, 1);
    int rc = coil_gen_next(gen, &value); /* parks inside the generator */
    note("driver:%s", coil_errname(rc));
    coil_gen_unref(gen);
    return 0;
}

LOOP(unwound_inside_a_generator)
{
    coil_unref(start(gen_driver, NULL));
    one_turn();
    close_loop();
    FACT_TRACE("gen:COIL_EEXIT driver:COIL_EEXIT");
}

static coil_ret suspended_gen(coil_gen *self, void *arg)
{
    (void)arg;
    note("yield:%s", coil_errname(coil_gen_yield(self, 1)));
    return 0;
}

static coil_ret gen_holder(void *arg)
{
    coil_ret value;
    (void)arg;
    coil_gen *gen = coil_gen_new(suspended_gen, NULL);
    FACT_INT(coil_gen_next(gen, &value), 1);
    coil_ret rc = coil_sleep(100);
    coil_gen_unref(gen); /* unwinds it in turn */
    note("holder:%s", coil_errname(rc));
    return 0;
}

LOOP(unwound_holder_of_a_suspended_generator)
{
    coil_unref(start(gen_holder, NULL));
    one_turn();
    close_loop();
    FACT_TRACE("yield:COIL_EEXIT holder:COIL_EEXIT");
}

/* ---- contexts, nested calls ---- */

static const coil_contextvar color = COIL_CONTEXTVAR("color", TEXT("none"));

static coil_ret in_context(void *arg)
{
    FACT_INT(coil_contextvar_set(&color, arg, NULL), 0);
    coil_ret rc = coil_sleep(100);
    note("%s", (const char *)coil_contextvar_get(&color));
    return rc;
}

static coil_ret context_runner(void *arg)
{
    coil_context *c = coil_context_new();
    coil_ret rc = coil_context_run(c, in_context, arg);
    coil_context_unref(c);
    note("%s", (const char *)coil_contextvar_get(&color));
    return rc;
}

LOOP(unwound_task_keeps_its_context)
{
    coil_unref(start(context_runner, TEXT("red")));
    one_turn();
    close_loop();
    FACT_TRACE("red none");
}

LOOP(unwound_by_free_as_well)
{
    coil_unref(start(sleeper, NULL));
    one_turn();
    coil_loop_free(stage.loop);
    stage.loop = NULL;
    FACT_TRACE("COIL_EEXIT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unwound_in_a_sleep),
        cmocka_unit_test(unwound_when_already_queued_to_run),
        cmocka_unit_test(unwound_with_its_sleep_over_but_not_run),
        cmocka_unit_test(unwound_in_an_await_leaves_the_future_alone),
        cmocka_unit_test(unwound_when_what_it_awaits_is_done_but_it_has_not_run),
        cmocka_unit_test(unwound_with_a_cancel_on_its_way),
        cmocka_unit_test(unwound_in_a_kernel_operation),
        cmocka_unit_test(unwound_with_its_kernel_operation_finished),
#if STAGE_TABLE
        cmocka_unit_test(unwound_with_the_kernels_last_word_still_to_be_heard),
#endif
        cmocka_unit_test(unwound_task_may_use_the_loop_but_not_wait),
        cmocka_unit_test(unwound_task_may_cancel_others),
        cmocka_unit_test(unwound_children_before_parents),
        cmocka_unit_test(unwound_in_vain_a_thousand_times_is_given_up),
        cmocka_unit_test(unwound_after_a_thousand_refusals_may_still_go),
        cmocka_unit_test(unwound_inside_a_generator),
        cmocka_unit_test(unwound_holder_of_a_suspended_generator),
        cmocka_unit_test(unwound_task_keeps_its_context),
        cmocka_unit_test(unwound_by_free_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
