/* SPDX-License-Identifier: MIT
 *
 * asyncgens.c: what Python's tests say of async generators (test_asyncgen.py, AsyncGenAsyncioTest), told again.
 *
 * Here a generator that waits is a generator that a task drives. Bodies write down what they saw; the
 * tests look at it. */
#include "test.h"

#include <coil.h>

enum { ZERO_DIVISION = COIL_EUSER - 7 };

/* What a body's clean-up is made of: it waits, then counts. */
static int wait_and_count(int *count)
{
    if (coil_iserr(coil_sleep(0.01)) || coil_iserr(coil_sleep(0.01)))
        return -1;
    return ++*count;
}

/* ---- iteration ---- */

static coil_ret three_with_sleeps(coil_gen *self, void *arg)
{
    coil_ret rc = 0;
    for (int i = 1; i <= 3 && !coil_iserr(rc); i++) {
        rc = coil_sleep(0.01);
        if (!coil_iserr(rc))
            rc = coil_gen_yield(self, i);
    }
    ++*(int *)arg;
    return coil_iserr(rc) ? rc : 0;
}

COIL_TEST(test_async_gen_asyncio_01)
{
    int done = 0, rc, sum = 0;
    coil_gen *gen = coil_gen_new(three_with_sleeps, &done);
    COIL_GEN_FOREACH(value, gen, rc)
    sum = 10 * sum + (int)value;
    assert_int_equal(rc, 0);
    assert_int_equal(sum, 123);
    assert_int_equal(done, 1);
    coil_gen_unref(gen);
}

static coil_ret raises_at_once(coil_gen *self, void *arg)
{
    (void)self, (void)arg;
    return coil_fail(ZERO_DIVISION, "division by zero");
}

COIL_TEST(test_async_gen_asyncio_03)
{
    coil_gen *gen = coil_gen_new(raises_at_once, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), ZERO_DIVISION);
    assert_int_equal(coil_gen_next(gen, NULL), 0); /* it is over */
    coil_gen_unref(gen);
}

/* ---- aclose ---- */

static coil_ret yields_while_cleaning_up(coil_gen *self, void *arg)
{
    (void)arg;
    coil_ignore(coil_gen_yield(self, 1));
    coil_ignore(coil_sleep(0.01));
    return coil_gen_yield(self, 12);
}

COIL_TEST(test_async_gen_asyncio_aclose_06)
{
    coil_gen *gen = coil_gen_new(yields_while_cleaning_up, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_close(gen), COIL_EINVALIDSTATE);
    assert_non_null(strstr(coil_last_error()->message, "ignored GeneratorExit"));
    coil_gen_unref(gen);
}

static coil_ret cleans_up_slowly(coil_gen *self, void *arg)
{
    coil_ret rc = coil_gen_yield(self, 1);
    wait_and_count(arg);
    return rc;
}

COIL_TEST(test_async_gen_asyncio_aclose_07)
{
    int done = 0;
    coil_gen *gen = coil_gen_new(cleans_up_slowly, &done);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    double before = coil_loop_time(NULL);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(done, 1);
    assert_true(coil_loop_time(NULL) - before >= 0.02);
    coil_gen_unref(gen);
}

struct aclose_08 {
    coil_future *future;
    int done;
};

static coil_ret would_wait_for_a_future(coil_gen *self, void *arg)
{
    struct aclose_08 *a = arg;
    coil_ret rc = coil_gen_yield(self, 1);
    if (!coil_iserr(rc))
        rc = coil_await(a->future);
    wait_and_count(&a->done);
    return rc;
}

COIL_TEST(test_async_gen_asyncio_aclose_08)
{
    struct aclose_08 a = {.future = coil_loop_create_future(NULL)};
    coil_gen *gen = coil_gen_new(would_wait_for_a_future, &a);
    coil_ret value;
    assert_int_equal(coil_gen_next(gen, &value), 1);
    assert_int_equal(value, 1);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(a.done, 1);
    assert_false(coil_future_done(a.future)); /* it was not waited for */
    coil_gen_unref(gen);
    coil_unref(a.future);
}

static coil_ret swallows_the_end(coil_gen *self, void *arg)
{
    coil_ignore(coil_gen_yield(self, 0));
    *(int *)arg = 1;
    return 0;
}

COIL_TEST(test_async_gen_asyncio_aclose_10)
{
    int done = 0;
    coil_gen *gen = coil_gen_new(swallows_the_end, &done);
    assert_int_equal(coil_gen_send(gen, 0, NULL), 1);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(done, 1);
    coil_gen_unref(gen);
}

static coil_ret swallows_the_end_and_yields(coil_gen *self, void *arg)
{
    coil_ignore(coil_gen_yield(self, 0));
    coil_ret rc = coil_gen_yield(self, 0);
    if (!coil_iserr(rc))
        ++*(int *)arg;
    return rc;
}

COIL_TEST(test_async_gen_asyncio_aclose_11)
{
    int done = 0;
    coil_gen *gen = coil_gen_new(swallows_the_end_and_yields, &done);
    assert_int_equal(coil_gen_send(gen, 0, NULL), 1);
    assert_int_equal(coil_gen_close(gen), COIL_EINVALIDSTATE);
    assert_int_equal(done, 0);
    coil_gen_unref(gen);
}

static coil_ret sleeps_and_crashes(void *arg)
{
    (void)arg;
    coil_ret rc = coil_sleep(0.01);
    return coil_iserr(rc) ? rc : coil_fail(ZERO_DIVISION, "division by zero");
}

static coil_ret awaits_a_task_at_the_end(coil_gen *self, void *arg)
{
    coil_task *task = coil_create_task(sleeps_and_crashes, NULL);
    coil_ret rc = coil_gen_yield(self, 1);
    if (coil_join(task) == ZERO_DIVISION)
        *(int *)arg = 1;
    return rc;
}

COIL_TEST(test_async_gen_asyncio_aclose_12)
{
    int done = 0;
    coil_gen *gen = coil_gen_new(awaits_a_task_at_the_end, &done);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(done, 1);
    coil_gen_unref(gen);
}

COIL_TEST(test_async_gen_aclose_twice_with_different_coros)
{
    int done = 0;
    coil_gen *gen = coil_gen_new(three_with_sleeps, &done);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(done, 0);
    coil_gen_unref(gen);
}

COIL_TEST(test_async_gen_aclose_after_exhaustion)
{
    int done = 0, rc;
    coil_gen *gen = coil_gen_new(three_with_sleeps, &done);
    COIL_GEN_FOREACH(value, gen, rc)
    (void)value;
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(done, 1);
    coil_gen_unref(gen);
}

/* ---- asend, athrow ---- */

static coil_ret doubles_what_is_sent(coil_gen *self, void *arg)
{
    coil_ret rc = coil_sleep(0.01);
    if (!coil_iserr(rc))
        rc = coil_gen_yield(self, 1);
    if (rc == ZERO_DIVISION) {
        rc = coil_sleep(0.01);
        rc = coil_iserr(rc) ? rc : 1000;
    }
    if (!coil_iserr(rc) && !coil_iserr(coil_sleep(0.01)))
        rc = coil_gen_yield(self, rc * 2);
    wait_and_count(arg);
    return coil_iserr(rc) ? rc : 0;
}

COIL_TEST(test_async_gen_asyncio_asend_01)
{
    int done = 0;
    coil_ret value;
    coil_gen *gen = coil_gen_new(doubles_what_is_sent, &done);
    assert_int_equal(coil_gen_send(gen, 0, &value), 1);
    assert_int_equal(value, 1);
    assert_int_equal(coil_gen_send(gen, 100, &value), 1);
    assert_int_equal(value, 200);
    assert_int_equal(coil_gen_send(gen, 0, &value), 0);
    assert_int_equal(done, 1);
    coil_gen_unref(gen);
}

COIL_TEST(test_async_gen_asyncio_athrow_01)
{
    int done = 0;
    coil_ret value;
    coil_gen *gen = coil_gen_new(doubles_what_is_sent, &done);
    assert_int_equal(coil_gen_next(gen, &value), 1);
    assert_int_equal(coil_gen_throw(gen, ZERO_DIVISION, &value), 1);
    assert_int_equal(value, 2000);
    assert_int_equal(coil_gen_next(gen, &value), 0);
    assert_int_equal(done, 1);
    coil_gen_unref(gen);
}

static void cancel_future(void *future)
{
    coil_future_cancel(future, NULL);
}

static coil_ret answers_with_a_wait_that_is_cancelled(coil_gen *self, void *arg)
{
    coil_ret rc = coil_gen_yield(self, 1);
    if (rc == ZERO_DIVISION) {
        coil_future *future = coil_loop_create_future(NULL);
        coil_loop_call_later(NULL, 0.005, cancel_future, future, NULL);
        rc = coil_join(future);
    }
    wait_and_count(arg);
    return rc;
}

COIL_TEST(test_async_gen_asyncio_athrow_02)
{
    int done = 0;
    coil_gen *gen = coil_gen_new(answers_with_a_wait_that_is_cancelled, &done);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_throw(gen, ZERO_DIVISION, NULL), -ECANCELED);
    assert_int_equal(done, 1);
    coil_gen_unref(gen);
}

COIL_TEST(test_async_gen_asyncio_athrow_03)
{
    int done = 0;
    coil_gen *gen = coil_gen_new(swallows_the_end, &done);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_throw(gen, ZERO_DIVISION, NULL), 0); /* it ended without one */
    assert_int_equal(done, 1);
    coil_gen_unref(gen);
}

/* ---- two who drive one ---- */

struct pair {
    coil_gen *gen;
    int done;
};

static coil_ret one_step(void *arg)
{
    coil_ret value;
    int rc = coil_gen_next(((struct pair *)arg)->gen, &value);
    return rc == 1 ? value : rc;
}

COIL_TEST(test_async_gen_asend_throw_concurrent_with_send)
{
    struct pair p = {.done = 0};
    p.gen = coil_gen_new(three_with_sleeps, &p.done);
    coil_task *first = coil_create_task(one_step, &p);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_gen_state(p.gen), COIL_GEN_RUNNING); /* it waits, on that task's behalf */
    assert_int_equal(coil_gen_next(p.gen, NULL), COIL_ERUNNING);
    assert_non_null(strstr(coil_last_error()->message, "already"));
    assert_int_equal(coil_gen_send(p.gen, 5, NULL), COIL_ERUNNING);
    assert_int_equal(coil_gen_throw(p.gen, ZERO_DIVISION, NULL), COIL_ERUNNING);
    assert_int_equal(coil_gen_close(p.gen), COIL_ERUNNING);
    assert_int_equal(coil_join(first), 1); /* undisturbed */
    coil_ret value;
    assert_int_equal(coil_gen_next(p.gen, &value), 1);
    assert_int_equal(value, 2);
    assert_int_equal(coil_gen_close(p.gen), 0);
    coil_gen_unref(p.gen);
}

/* ---- the end of the loop ---- */

static coil_ret waits_then_yields(coil_gen *self, void *arg)
{
    coil_ret rc = coil_sleep(1);
    if (!coil_iserr(rc))
        rc = coil_gen_yield(self, 1);
    coil_ignore(coil_sleep(0));
    ++*(int *)arg;
    return rc;
}

static coil_ret iterates(void *finalized)
{
    int rc;
    coil_gen *gen = coil_gen_new(waits_then_yields, finalized);
    COIL_GEN_FOREACH(value, gen, rc)
    (void)value;
    coil_gen_unref(gen);
    return rc;
}

COIL_TEST(test_async_gen_asyncio_shutdown_01)
{
    int finalized = 0;
    coil_task *tasks[] = {coil_create_task(iterates, &finalized),
                          coil_create_task(iterates, &finalized)};
    assert_int_equal(coil_sleep(0.1), 0);
    for (int i = 0; i < 2; i++)
        coil_task_cancel(tasks[i], NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(coil_join(tasks[i]), -ECANCELED);
    assert_int_equal(coil_loop_shutdown_asyncgens(NULL), 0);
    assert_int_equal(finalized, 2);
}

struct told {
    coil_gen *gen;
    int n, finalized;
    coil_ret code;
    bool about_it;
    char message[200];
};

static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    struct told *told = arg;
    told->n++;
    told->code = context->error ? context->error->code : context->code;
    told->about_it = context->asyncgen == told->gen;
    snprintf(told->message, sizeof told->message, "%s", context->message);
}

static coil_ret one_and_two(coil_gen *self, void *arg)
{
    coil_ret rc = coil_gen_yield(self, 1);
    if (!coil_iserr(rc))
        rc = coil_gen_yield(self, 2);
    if (!coil_iserr(coil_sleep(0.01))) /* the clean-up may wait, since a task does it */
        ++((struct told *)arg)->finalized;
    return rc;
}

static coil_ret one_and_two_and_crash(coil_gen *self, void *arg)
{
    (void)arg;
    coil_ret rc = coil_gen_yield(self, 1);
    if (!coil_iserr(rc))
        rc = coil_gen_yield(self, 2);
    return coil_fail(ZERO_DIVISION, "division by zero");
}

static coil_ret leaves_it_in_the_middle(void *arg)
{
    struct told *told = arg;
    coil_loop_set_exception_handler(NULL, hear, told);
    return coil_gen_next(told->gen, NULL) == 1 ? 0 : -EIO;
}

COIL_TEST_PLAIN(test_async_gen_asyncio_shutdown_02)
{
    struct told told = {.n = 0};
    told.gen = coil_gen_new(one_and_two, &told);
    assert_int_equal(coil_run(leaves_it_in_the_middle, &told), 0);
    assert_int_equal(told.n, 0);
    assert_int_equal(told.finalized, 1);
    assert_int_equal(coil_gen_state(told.gen), COIL_GEN_CLOSED);
    coil_gen_unref(told.gen);
}

COIL_TEST_PLAIN(test_async_gen_asyncio_shutdown_exception_01)
{
    struct told told = {.n = 0};
    told.gen = coil_gen_new(one_and_two_and_crash, NULL);
    assert_int_equal(coil_run(leaves_it_in_the_middle, &told), 0);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.code, ZERO_DIVISION);
    assert_true(told.about_it);
    assert_non_null(strstr(told.message, "one_and_two_and_crash ("));
    assert_non_null(strstr(told.message, "failed while it was closed"));
    coil_gen_unref(told.gen);
}

COIL_TEST_MAIN()
