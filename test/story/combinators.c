/* SPDX-License-Identifier: MIT
 *
 * combinators.c: asyncio's tests of gather, wait, shield and as_completed, by the names they have in
 * test_tasks. */
#include "../unit/combine/stage.h"

enum { ZERO_DIVISION = COIL_EUSER, RUNTIME_ERROR = COIL_EUSER - 1 };

static double now(void)
{
    return coil_loop_time(NULL);
}

static bool about(double a, double b)
{
    return fabs(a - b) < 1e-6;
}

static void unref_all(coil_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_unref(futures[i]);
}

static void make_futures(coil_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        futures[i] = new_future();
}

static int called;

static void count_call(coil_future *future, void *arg)
{
    (void)future, (void)arg;
    called++;
}

/* ---- gather ---- */

static void check_success(unsigned flags)
{
    coil_future *abc[3];
    make_futures(abc, 3);
    coil_future *g = coil_gather_future(abc, 3, flags);
    called = 0;
    FACT(coil_future_add_done_callback(g, count_call, NULL), 0);
    FACT(coil_future_set_result(abc[1], 1), 0);
    FACT(coil_future_set_result(abc[0], 2), 0);
    turns(3);
    FACT(called, 0);
    FALSE(coil_future_done(g));
    FACT(coil_future_set_result(abc[2], 3), 0);
    turns(3);
    FACT(called, 1);
    const coil_ret *results = (const coil_ret *)coil_future_result(g);
    TRUE(results[0] == 2 && results[1] == 1 && results[2] == 3);
    coil_unref(g);
    unref_all(abc, 3);
}

STAGE(test_success)
{
    check_success(0);
    return 0;
}

STAGE(test_result_exception_success)
{
    check_success(COIL_RETURN_EXCEPTIONS);
    return 0;
}

STAGE(test_one_exception)
{
    coil_future *f[5];
    make_futures(f, 5);
    coil_future *g = coil_gather_future(f, 5, 0);
    called = 0;
    FACT(coil_future_add_done_callback(g, count_call, NULL), 0);
    FACT(coil_future_set_result(f[0], 1), 0);
    FACT(coil_future_set_exception(f[1], ZERO_DIVISION), 0);
    turns(3);
    FACT(called, 1);
    FACT(coil_future_exception(g)->code, ZERO_DIVISION);
    /* Does nothing. */
    FACT(coil_future_set_result(f[2], 3), 0);
    coil_future_cancel(f[3], NULL);
    FACT(coil_future_set_exception(f[4], RUNTIME_ERROR), 0);
    turns(3);
    FACT(called, 1);
    coil_unref(g);
    unref_all(f, 5);
    return 0;
}

STAGE(test_return_exceptions)
{
    coil_future *f[4];
    make_futures(f, 4);
    coil_future *g = coil_gather_future(f, 4, COIL_RETURN_EXCEPTIONS);
    FACT(coil_future_set_result(f[1], 1), 0);
    FACT(coil_future_set_exception(f[2], ZERO_DIVISION), 0);
    FACT(coil_future_set_result(f[0], 3), 0);
    turns(3);
    FALSE(coil_future_done(g));
    FACT(coil_future_set_exception(f[3], RUNTIME_ERROR), 0);
    turns(3);
    const coil_ret *results = (const coil_ret *)coil_future_result(g);
    TRUE(results[0] == 3 && results[1] == 1);
    TRUE(results[2] == ZERO_DIVISION && results[3] == RUNTIME_ERROR);
    coil_unref(g);
    unref_all(f, 4);
    return 0;
}

STAGE(test_one_cancellation)
{
    coil_future *f[5];
    make_futures(f, 5);
    coil_future *g = coil_gather_future(f, 5, 0);
    FACT(coil_future_set_result(f[0], 1), 0);
    coil_future_cancel(f[1], NULL);
    turns(3);
    TRUE(coil_future_done(g));
    FALSE(coil_future_cancelled(g));
    FACT(coil_future_exception(g)->code, -ECANCELED);
    /* Does nothing. */
    FACT(coil_future_set_result(f[2], 3), 0);
    coil_future_cancel(f[3], NULL);
    FACT(coil_future_set_exception(f[4], RUNTIME_ERROR), 0);
    turns(3);
    coil_unref(g);
    unref_all(f, 5);
    return 0;
}

STAGE(test_result_exception_one_cancellation)
{
    coil_future *f[6];
    make_futures(f, 6);
    coil_future *g = coil_gather_future(f, 6, COIL_RETURN_EXCEPTIONS);
    FACT(coil_future_set_result(f[0], 1), 0);
    FACT(coil_future_set_exception(f[1], ZERO_DIVISION), 0);
    coil_future_cancel(f[2], NULL);
    turns(3);
    FALSE(coil_future_done(g));
    FACT(coil_future_set_result(f[3], 3), 0);
    coil_future_cancel(f[4], NULL);
    FACT(coil_future_set_exception(f[5], RUNTIME_ERROR), 0);
    const coil_ret *r = (const coil_ret *)coil_await(g);
    TRUE(r[0] == 1 && r[1] == ZERO_DIVISION && r[2] == -ECANCELED);
    TRUE(r[3] == 3 && r[4] == -ECANCELED && r[5] == RUNTIME_ERROR);
    coil_unref(g);
    unref_all(f, 6);
    return 0;
}

STAGE(test_duplicate_coroutines)
{
    coil_task *c = walk(NULL, 0, 7), *d = walk(NULL, 0, 8);
    coil_task *four[] = {c, c, d, c};
    coil_ret r[4];
    FACT(coil_gather(four, 4, r, 0), 0);
    TRUE(r[0] == 7 && r[1] == 7 && r[2] == 8 && r[3] == 7);
    coil_unref(c);
    coil_unref(d);
    return 0;
}

static int proof;

/* Counts one when the future is done. */
static coil_ret inner(void *future)
{
    coil_ret rc = coil_await((coil_future *)future);
    if (!coil_iserr(rc))
        proof++;
    return rc;
}

static coil_ret inner_fails(void *future)
{
    coil_ret rc = coil_await((coil_future *)future);
    return coil_iserr(rc) ? rc : coil_fail(RUNTIME_ERROR, "should not be ignored");
}

static coil_future *gatherer;

static coil_ret outer_gathers(void *children)
{
    gatherer = coil_gather_future(children, 2, 0);
    coil_ret rc = coil_await(gatherer);
    if (!coil_iserr(rc))
        proof += 100;
    return rc;
}

STAGE(test_cancellation_broadcast)
{
    proof = 0;
    coil_future *waiter = new_future();
    coil_task *children[] = {coil_create_task(inner, waiter), coil_create_task(inner, waiter)};
    coil_task *f = coil_create_task(outer_gathers, children);
    turns(1);
    TRUE(coil_task_cancel(f, NULL));
    FACT(coil_join(f), -ECANCELED);
    FALSE(coil_future_cancel(gatherer, NULL));
    TRUE(coil_future_cancelled(waiter));
    TRUE(coil_future_cancelled(children[0]));
    TRUE(coil_future_cancelled(children[1]));
    turns(1);
    FACT(proof, 0);
    coil_unref(gatherer);
    coil_unref(waiter);
    unref_all(children, 2);
    return 0;
}

static coil_ret outer_of_two_failing(void *arg)
{
    coil_future **ab = arg;
    coil_task *two[] = {coil_create_task(inner_fails, ab[0]), coil_create_task(inner_fails, ab[1])};
    return coil_gather(two, 2, NULL, COIL_UNREF);
}

STAGE(test_exception_marking)
{
    coil_future *ab[2];
    make_futures(ab, 2);
    coil_task *f = coil_create_task(outer_of_two_failing, ab);
    turns(2);
    FACT(coil_future_set_result(ab[0], 1), 0);
    turns(1);
    FACT(coil_future_set_result(ab[1], 1), 0);
    turns(3);
    FACT(coil_future_exception(f)->code, RUNTIME_ERROR);
    coil_unref(f);
    unref_all(ab, 2);
    return 0;
}

static bool cancel_result;

static void cancelling_callback(coil_future *future, void *gather)
{
    (void)future;
    cancel_result = coil_future_cancel(gather, NULL);
}

static coil_ret await_child(void *future)
{
    return coil_await((coil_future *)future);
}

STAGE(test_cancel_gather_1)
{
    coil_future *f = new_future();
    coil_task *child = coil_create_task(await_child, f);
    coil_future *g = coil_gather_future(&child, 1, COIL_UNREF);
    turns(1);
    cancel_result = true;
    FACT(coil_future_add_done_callback(f, cancelling_callback, g), 0);
    FACT(coil_future_set_result(f, 42), 0);
    FACT(((const coil_ret *)coil_await(g))[0], 42);
    FALSE(cancel_result); /* the child had just ended */
    FALSE(coil_future_cancelled(g));
    coil_unref(g);
    coil_unref(f);
    return 0;
}

static coil_ret gather_again_and_again(void *arg)
{
    for (double time = 0; time <= 1; time += 0.05) {
        coil_task *t = sleeper(NULL, 0.05, 0);
        coil_ret rc = coil_gather(&t, 1, NULL, COIL_UNREF | COIL_RETURN_EXCEPTIONS);
        if (coil_iserr(rc))
            return rc;
    }
    return 0;
}

STAGE(test_cancel_gather_2)
{
    const char *messages[] = {NULL, "my message", "5"};
    for (int i = 0; i < 3; i++) {
        coil_task *t = coil_create_task(gather_again_and_again, NULL);
        FACT(coil_sleep(0.2), 0);
        coil_task_cancel(t, messages[i]);
        FACT(coil_join(t), -ECANCELED);
        TEXT(coil_last_error()->message, messages[i] ? messages[i] : "cancelled");
    }
    return 0;
}

/* ---- wait ---- */

STAGE(test_wait)
{
    double t0 = now();
    coil_task *ab[] = {sleeper(NULL, 0.1, 0), sleeper(NULL, 0.15, 0)};
    FACT(coil_wait(ab, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 2);
    TRUE(about(now() - t0, 0.15));
    FACT(coil_wait(ab, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 2);
    TRUE(about(now() - t0, 0.15));
    unref_all(ab, 2);
    return 0;
}

STAGE(test_wait_first_completed)
{
    double t0 = now();
    bool done[2];
    coil_task *ab[] = {sleeper(NULL, 10, 0), sleeper(NULL, 0.1, 0)};
    FACT(coil_wait(ab, 2, COIL_FOREVER, COIL_FIRST_COMPLETED, done), 1);
    TRUE(!done[0] && done[1]);
    TRUE(about(now() - t0, 0.1));
    FACT(coil_wait(ab, 2, COIL_FOREVER, COIL_ALL_COMPLETED, done), 2);
    unref_all(ab, 2);
    return 0;
}

STAGE(test_wait_really_done)
{
    coil_task *ba[] = {walk(NULL, 2, 0), walk(NULL, 1, 0)};
    FACT(coil_wait(ba, 2, COIL_FOREVER, COIL_FIRST_COMPLETED, NULL), 2);
    unref_all(ba, 2);
    return 0;
}

STAGE(test_wait_first_exception)
{
    double t0 = now();
    bool done[2];
    coil_task *ba[] = {walk(NULL, 0, ZERO_DIVISION), sleeper(NULL, 10, 0)};
    FACT(coil_wait(ba, 2, COIL_FOREVER, COIL_FIRST_EXCEPTION, done), 1);
    TRUE(done[0] && !done[1]);
    TRUE(about(now(), t0));
    FACT(coil_wait(ba, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 2);
    unref_all(ba, 2);
    return 0;
}

STAGE(test_wait_first_exception_in_wait)
{
    double t0 = now();
    bool done[2];
    coil_task *ba[] = {sleeper(NULL, 0.01, ZERO_DIVISION), sleeper(NULL, 10, 0)};
    FACT(coil_wait(ba, 2, COIL_FOREVER, COIL_FIRST_EXCEPTION, done), 1);
    TRUE(done[0] && !done[1]);
    TRUE(about(now() - t0, 0.01));
    FACT(coil_wait(ba, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 2);
    unref_all(ba, 2);
    return 0;
}

STAGE(test_wait_with_exception)
{
    double t0 = now();
    coil_task *ba[] = {sleeper(NULL, 0.15, ZERO_DIVISION), sleeper(NULL, 0.1, 0)};
    for (int i = 0; i < 2; i++) {
        FACT(coil_wait(ba, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 2);
        TRUE(about(now() - t0, 0.15));
    }
    FACT(coil_future_exception(ba[0])->code, ZERO_DIVISION);
    unref_all(ba, 2);
    return 0;
}

STAGE(test_wait_with_timeout)
{
    double t0 = now();
    bool done[2];
    coil_task *ab[] = {sleeper(NULL, 0.1, 0), sleeper(NULL, 0.15, 0)};
    FACT(coil_wait(ab, 2, 0.11, COIL_ALL_COMPLETED, done), 1);
    TRUE(done[0] && !done[1]);
    TRUE(about(now() - t0, 0.11));
    FACT(coil_wait(ab, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 2);
    unref_all(ab, 2);
    return 0;
}

STAGE(test_wait_concurrent_complete)
{
    double t0 = now();
    bool done[2];
    coil_task *ab[] = {sleeper(NULL, 0.1, 0), sleeper(NULL, 0.15, 0)};
    turns(1); /* there, the loop of the test makes both due at once: a, then the timeout */
    FACT(coil_wait(ab, 2, 0.1, COIL_ALL_COMPLETED, done), 1);
    TRUE(done[0] && !done[1]);
    TRUE(about(now() - t0, 0.1));
    FACT(coil_wait(ab, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL), 2);
    unref_all(ab, 2);
    return 0;
}

static coil_ret outer_waits(void *waiter)
{
    coil_task *t = coil_create_task(inner, waiter);
    coil_ret rc = coil_wait(&t, 1, COIL_FOREVER, COIL_ALL_COMPLETED, NULL);
    coil_unref(t);
    if (!coil_iserr(rc))
        proof += 100;
    return rc;
}

STAGE(test_yield_wait_does_not_shield_cancel)
{
    proof = 0;
    coil_future *waiter = new_future();
    coil_task *f = coil_create_task(outer_waits, waiter);
    turns(2);
    coil_task_cancel(f, NULL);
    FACT(coil_join(f), -ECANCELED);
    FACT(coil_future_set_result(waiter, 1), 0);
    turns(1);
    FACT(proof, 1);
    coil_unref(waiter);
    return 0;
}

/* ---- shield ---- */

static coil_ret outer_shields(void *waiter)
{
    coil_task *t = coil_create_task(inner, waiter);
    coil_ret rc = coil_shield(t);
    coil_unref(t);
    if (!coil_iserr(rc))
        proof += 100;
    return rc;
}

STAGE(test_shield_effect)
{
    proof = 0;
    coil_future *waiter = new_future();
    coil_task *f = coil_create_task(outer_shields, waiter);
    turns(2);
    coil_task_cancel(f, NULL);
    FACT(coil_join(f), -ECANCELED);
    FACT(coil_future_set_result(waiter, 1), 0);
    turns(1);
    FACT(proof, 1);
    coil_unref(waiter);
    return 0;
}

STAGE(test_shield_cancel_inner)
{
    coil_future *f = new_future(), *s = coil_shield_future(f);
    turns(1);
    coil_future_cancel(f, NULL);
    turns(1);
    TRUE(coil_future_cancelled(s));
    coil_unref(s);
    coil_unref(f);
    return 0;
}

STAGE(test_shield_gather)
{
    coil_future *two[2];
    make_futures(two, 2);
    coil_future *parent = coil_gather_future(two, 2, 0), *outer = coil_shield_future(parent);
    turns(1);
    coil_future_cancel(outer, NULL);
    turns(1);
    TRUE(coil_future_cancelled(outer));
    FACT(coil_future_set_result(two[0], 1), 0);
    FACT(coil_future_set_result(two[1], 2), 0);
    turns(1);
    const coil_ret *r = (const coil_ret *)coil_future_result(parent);
    TRUE(r[0] == 1 && r[1] == 2);
    coil_unref(outer);
    coil_unref(parent);
    unref_all(two, 2);
    return 0;
}

STAGE(test_gather_shield)
{
    coil_future *two[2];
    make_futures(two, 2);
    coil_future *inners[] = {coil_shield_future(two[0]), coil_shield_future(two[1])};
    coil_future *parent = coil_gather_future(inners, 2, 0);
    turns(1);
    coil_future_cancel(parent, NULL);
    turns(1);
    FACT(coil_future_exception(parent)->code, -ECANCELED);
    TRUE(coil_future_cancelled(inners[0]));
    TRUE(coil_future_cancelled(inners[1]));
    FACT(coil_future_set_result(two[0], 1), 0);
    FACT(coil_future_set_result(two[1], 2), 0);
    turns(1);
    coil_unref(parent);
    unref_all(inners, 2);
    unref_all(two, 2);
    return 0;
}

/* ---- as_completed ---- */

STAGE(test_as_completed_same_tasks_in_as_out)
{
    coil_task *tasks[] = {sleeper(NULL, 0.2, 2), sleeper(NULL, 0.1, 1), done_future(3)};
    bool seen[3] = {false};
    coil_future *f;
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, tasks, 3, COIL_FOREVER), 0);
    while (coil_as_completed_next(&it, &f) > 0)
        for (int i = 0; i < 3; i++)
            if (f == tasks[i])
                seen[i] = true;
    TRUE(seen[0] && seen[1] && seen[2]);
    coil_as_completed_close(&it);
    unref_all(tasks, 3);
    return 0;
}

STAGE(test_as_completed_with_timeout)
{
    coil_task *ab[] = {sleeper(NULL, 0.1, 1), sleeper(NULL, 0.15, 2)};
    double t0 = now();
    coil_future *f;
    coil_as_completed it;
    FACT(coil_as_completed_init(&it, ab, 2, 0.12), 0);
    FACT(coil_as_completed_next(&it, &f), 1);
    FACT(coil_future_result(f), 1);
    TRUE(about(now() - t0, 0.1));
    FACT(coil_as_completed_next(&it, &f), -ETIMEDOUT);
    TRUE(about(now() - t0, 0.12));
    FACT(coil_as_completed_next(&it, &f), 0);
    coil_as_completed_close(&it);
    FACT(coil_gather(ab, 2, NULL, COIL_UNREF), 0);
    return 0;
}

STAGE(test_as_completed_resume_iterator)
{
    coil_task *five[5];
    for (int i = 0; i < 5; i++)
        five[i] = sleeper(NULL, 0.01 * (i + 1), i);
    coil_future *f;
    coil_as_completed it;
    int n = 0;
    FACT(coil_as_completed_init(&it, five, 5, COIL_FOREVER), 0);
    while (n < 2 && coil_as_completed_next(&it, &f) > 0)
        FACT(coil_future_result(f), n++);
    FACT(n, 2);
    while (coil_as_completed_next(&it, &f) > 0)
        FACT(coil_future_result(f), n++);
    FACT(n, 5);
    coil_as_completed_close(&it);
    unref_all(five, 5);
    return 0;
}

STAGE(test_as_completed_duplicate_coroutines)
{
    coil_task *ham = walk(NULL, 0, 1), *spam = walk(NULL, 0, 2), *f;
    coil_task *three[] = {ham, ham, spam};
    coil_as_completed it;
    coil_ret sum = 0;
    FACT(coil_as_completed_init(&it, three, 3, COIL_FOREVER), 0);
    while (coil_as_completed_next(&it, &f) > 0)
        sum = sum * 10 + coil_future_result(f);
    FACT(sum, 12);
    coil_as_completed_close(&it);
    coil_unref(ham);
    coil_unref(spam);
    return 0;
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_success),
        T(test_result_exception_success),
        T(test_one_exception),
        T(test_return_exceptions),
        T(test_one_cancellation),
        T(test_result_exception_one_cancellation),
        T(test_duplicate_coroutines),
        T(test_cancellation_broadcast),
        T(test_exception_marking),
        T(test_cancel_gather_1),
        T(test_cancel_gather_2),
        T(test_wait),
        T(test_wait_first_completed),
        T(test_wait_really_done),
        T(test_wait_first_exception),
        T(test_wait_first_exception_in_wait),
        T(test_wait_with_exception),
        T(test_wait_with_timeout),
        T(test_wait_concurrent_complete),
        T(test_yield_wait_does_not_shield_cancel),
        T(test_shield_effect),
        T(test_shield_cancel_inner),
        T(test_shield_gather),
        T(test_gather_shield),
        T(test_as_completed_same_tasks_in_as_out),
        T(test_as_completed_with_timeout),
        T(test_as_completed_resume_iterator),
        T(test_as_completed_duplicate_coroutines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
