/* SPDX-License-Identifier: MIT
 *
 * barriers.c: what asyncio's tests say of Barrier (test_locks.py: BarrierTests), told again.
 *
 * T40. The originals gather N tasks running one coroutine function; so does `crowd` here. */
#include "play.h"

#include <coil/sync.h>

enum { N = 5 };

static coil_barrier barrier;

static const char *repr_barrier(void)
{
    static char text[64];
    coil_barrier_repr(&barrier, text, sizeof text);
    return text;
}

static bool is(const char *state)
{
    return strstr(repr_barrier(), state) != NULL;
}

static int count, counted_1, counted_2, counted_3;

static void begin(int parties)
{
    barrier = (coil_barrier)COIL_BARRIER(parties);
    count = counted_1 = counted_2 = counted_3 = 0;
}

static void crowd_come(coil_task **tasks, int n, coil_fn fn)
{
    for (int i = 0; i < n; i++)
        tasks[i] = spawn(fn, NULL);
}

/* All of them end without an error; `ends` (NULL: who cares) gets what they returned. */
static void crowd_gone(coil_task **tasks, int n, coil_ret *ends)
{
    for (int i = 0; i < n; i++) {
        coil_ret end = end_of(tasks[i]);
        assert_true(!coil_iserr(end));
        if (ends)
            ends[i] = end;
    }
}

static void crowd(int n, coil_fn fn, coil_ret *ends)
{
    coil_task *tasks[16];
    crowd_come(tasks, n, fn);
    crowd_gone(tasks, n, ends);
}

static void is_quiet(void)
{
    assert_int_equal(coil_barrier_n_waiting(&barrier), 0);
    assert_true(!coil_barrier_broken(&barrier));
    assert_true(!is("resetting"));
}

static coil_ret wait_once(void *unused)
{
    return coil_barrier_wait(&barrier);
}

static coil_ret reset(void *unused)
{
    return coil_barrier_reset(&barrier);
}

static coil_ret abort_it(void *unused)
{
    return coil_barrier_abort(&barrier);
}

PLAY(barrier_test_barrier)
{
    begin(N);
    assert_true(is("filling"));
}

PLAY(barrier_test_repr)
{
    begin(N);
    assert_string_equal(repr_barrier(), "barrier [filling, waiters:0/5]");
    coil_task *waiters[9];
    int n = 0;
    for (int i = 0; i < 2; i++)
        waiters[n++] = spawn(wait_once, NULL);
    turn();
    assert_string_equal(repr_barrier(), "barrier [filling, waiters:2/5]");
    while (n < N)
        waiters[n++] = spawn(wait_once, NULL);
    turn();
    assert_string_equal(repr_barrier(), "barrier [draining, waiters:0/5]");
    for (int i = 0; i < 2; i++)
        waiters[n++] = spawn(wait_once, NULL);
    turn();
    assert_int_equal(coil_barrier_reset(&barrier), 0);
    assert_string_equal(repr_barrier(), "barrier [resetting, waiters:0/5]");
    for (int i = 0; i < 2; i++)
        waiters[n++] = spawn(wait_once, NULL);
    turn();
    assert_int_equal(coil_barrier_abort(&barrier), 0);
    assert_string_equal(repr_barrier(), "barrier [broken]");
    assert_true(coil_barrier_broken(&barrier));
    for (int i = 0; i < n; i++)
        coil_ignore(end_of(waiters[i]));
}

PLAY(barrier_test_barrier_parties)
{
    begin(0);
    assert_int_equal(coil_barrier_wait(&barrier), -EINVAL);
    begin(-4);
    assert_int_equal(coil_barrier_wait(&barrier), -EINVAL);
    assert_int_equal(coil_barrier_reset(&barrier), -EINVAL);
    assert_int_equal(coil_barrier_abort(&barrier), -EINVAL);
    assert_int_equal(coil_barrier_parties(&barrier), 0);
    begin(N);
    assert_int_equal(coil_barrier_parties(&barrier), N);
}

static coil_ret wait_and_count(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (!coil_iserr(rc))
        counted_1++;
    return rc;
}

PLAY(barrier_test_context_manager)
{
    begin(3);
    crowd(3, wait_and_count, NULL);
    assert_int_equal(counted_1, 3);
    is_quiet();
}

PLAY(barrier_test_filling_one_task)
{
    begin(1);
    assert_int_equal(coil_barrier_wait(&barrier), 0);
    is_quiet();
}

PLAY(barrier_test_filling_one_task_twice)
{
    begin(1);
    coil_task *t1 = spawn(wait_once, NULL);
    turn();
    assert_int_equal(coil_barrier_n_waiting(&barrier), 0);
    coil_task *t2 = spawn(wait_once, NULL);
    turn();
    assert_true(coil_future_done(t1) && coil_future_done(t2));
    assert_int_equal(end_of(t1), 0);
    assert_int_equal(end_of(t2), 0);
    is_quiet();
}

PLAY(barrier_test_filling_task_by_task)
{
    begin(3);
    coil_task *t[3];
    for (int i = 0; i < 3; i++) {
        t[i] = spawn(wait_once, NULL);
        turn();
        if (i < 2) {
            assert_int_equal(coil_barrier_n_waiting(&barrier), i + 1);
            assert_true(is("filling"));
        }
    }
    crowd_gone(t, 3, NULL);
    is_quiet();
}

static coil_ret wait_twice(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (coil_iserr(rc))
        return rc;
    counted_1++;
    rc = coil_barrier_wait(&barrier);
    if (!coil_iserr(rc))
        counted_2++;
    return rc;
}

PLAY(barrier_test_filling_tasks_wait_twice)
{
    begin(N);
    crowd(N, wait_twice, NULL);
    assert_int_equal(counted_1, N);
    assert_int_equal(counted_2, N);
    is_quiet();
}

PLAY(barrier_test_filling_tasks_check_return_value)
{
    begin(N);
    coil_ret ends[N];
    bool seen[N] = {false};
    crowd(N, wait_twice, ends);
    assert_int_equal(counted_1, N);
    assert_int_equal(counted_2, N);
    for (int i = 0; i < N; i++) {
        assert_true(ends[i] >= 0 && ends[i] < N && !seen[ends[i]]);
        if (ends[i] >= 0 && ends[i] < N)
            seen[ends[i]] = true;
    }
    is_quiet();
}

static coil_ret wait_and_look(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    note("%s", is("draining") ? "draining" : "filling");
    return rc;
}

PLAY(barrier_test_draining_state)
{
    begin(N);
    crowd(N, wait_and_look, NULL);
    assert_trace("draining draining draining draining filling");
    is_quiet();
}

static coil_barrier others;

static coil_ret two_wait_again(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (coil_iserr(rc))
        return rc;
    /* Two come back at once; the three others wait for each other first. */
    if (count++ >= 2 && coil_iserr(rc = coil_barrier_wait(&others)))
        return rc;
    return coil_barrier_wait(&barrier);
}

PLAY(barrier_test_blocking_tasks_while_draining)
{
    begin(N);
    others = (coil_barrier)COIL_BARRIER(N - 2);
    crowd(N, two_wait_again, NULL);
    is_quiet();
}

PLAY(barrier_test_filling_tasks_cancel_one)
{
    begin(3);
    coil_task *t1 = spawn(wait_and_count, NULL);
    turn();
    assert_int_equal(coil_barrier_n_waiting(&barrier), 1);
    coil_task *rest[3] = {spawn(wait_and_count, NULL)};
    turn();
    assert_int_equal(coil_barrier_n_waiting(&barrier), 2);

    cancel(t1);
    turn();
    assert_int_equal(coil_barrier_n_waiting(&barrier), 1);
    assert_int_equal(end_of(t1), -ECANCELED);

    rest[1] = spawn(wait_and_count, NULL);
    turn();
    assert_int_equal(coil_barrier_n_waiting(&barrier), 2);
    rest[2] = spawn(wait_and_count, NULL);
    crowd_gone(rest, 3, NULL);
    assert_int_equal(counted_1, 3);
    is_quiet();
}

PLAY(barrier_test_reset_barrier)
{
    begin(1);
    coil_task *t = spawn(reset, NULL);
    turn();
    assert_int_equal(end_of(t), 0);
    is_quiet();
}

static coil_ret wait_and_count_broken(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (rc == COIL_EBROKENBARRIER)
        counted_1++;
    return 0;
}

PLAY(barrier_test_reset_barrier_while_tasks_waiting)
{
    begin(N);
    coil_task *tasks[N];
    crowd_come(tasks, N - 1, wait_and_count_broken);
    turn();
    tasks[N - 1] = spawn(reset, NULL);
    crowd_gone(tasks, N, NULL);
    assert_int_equal(counted_1, N - 1);
    is_quiet();
}

static coil_ret reset_at_the_third(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (rc == COIL_EBROKENBARRIER)
        counted_1++;
    else if (++count == N - N / 2) /* so N/2 are still inside */
        return coil_barrier_reset(&barrier);
    return 0;
}

PLAY(barrier_test_reset_barrier_when_tasks_half_draining)
{
    begin(N);
    crowd(N, reset_at_the_third, NULL);
    assert_int_equal(counted_1, N / 2);
    is_quiet();
}

static coil_ret half_block_then_reset(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (rc == COIL_EBROKENBARRIER) {
        counted_1++;
    } else if (++count > N / 2) {
        if (coil_iserr(rc = coil_barrier_reset(&barrier)))
            return rc;
    } else {
        rc = coil_barrier_wait(&barrier);
        if (rc == COIL_EBROKENBARRIER)
            counted_2++;
        return 0;
    }
    return coil_barrier_wait(&barrier);
}

PLAY(barrier_test_reset_barrier_when_tasks_half_draining_half_blocking)
{
    begin(N);
    crowd(N, half_block_then_reset, NULL);
    assert_int_equal(counted_1, N / 2);
    assert_int_equal(counted_2, 0);
    is_quiet();
}

static coil_ret wait_broken_wait(void *unused)
{
    if (coil_barrier_wait(&barrier) == COIL_EBROKENBARRIER)
        counted_1++;
    coil_ret rc = coil_barrier_wait(&barrier);
    if (!coil_iserr(rc))
        counted_2++;
    return rc;
}

static coil_ret wait_and_count_2(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (!coil_iserr(rc))
        counted_2++;
    return rc;
}

PLAY(barrier_test_reset_barrier_while_tasks_waiting_and_waiting_again)
{
    begin(N);
    coil_task *tasks[N + 1];
    crowd_come(tasks, N - 1, wait_broken_wait);
    tasks[N - 1] = spawn(reset, NULL);
    turn();
    tasks[N] = spawn(wait_and_count_2, NULL);
    crowd_gone(tasks, N + 1, NULL);
    assert_int_equal(counted_1, N - 1);
    assert_int_equal(counted_2, N);
    is_quiet();
}

static coil_ret last_one_resets(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (coil_iserr(rc))
        return rc;
    if (++count == N) {
        if (coil_iserr(rc = coil_barrier_reset(&barrier)) ||
            coil_iserr(rc = coil_barrier_wait(&barrier)))
            return rc;
    } else if (!coil_iserr(coil_barrier_wait(&barrier))) {
        counted_1++;
    } else {
        counted_2++;
    }
    rc = coil_barrier_wait(&barrier);
    if (!coil_iserr(rc))
        counted_3++;
    return rc;
}

PLAY(barrier_test_reset_barrier_while_tasks_draining)
{
    begin(N);
    crowd(N, last_one_resets, NULL);
    assert_int_equal(counted_1, N - 1);
    assert_int_equal(counted_2, 0);
    assert_int_equal(counted_3, N);
    is_quiet();
}

PLAY(barrier_test_abort_barrier)
{
    begin(1);
    coil_task *t = spawn(abort_it, NULL);
    turn();
    assert_int_equal(end_of(t), 0);
    assert_int_equal(coil_barrier_n_waiting(&barrier), 0);
    assert_true(coil_barrier_broken(&barrier));
}

static coil_ret half_block_then_abort(void *unused)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (rc == COIL_EBROKENBARRIER)
        counted_1++;
    else if (++count > N / 2)
        return coil_barrier_abort(&barrier);
    else if (coil_barrier_wait(&barrier) == COIL_EBROKENBARRIER)
        counted_2++;
    return 0;
}

PLAY(barrier_test_abort_barrier_when_tasks_half_draining_half_blocking)
{
    begin(N);
    crowd(N, half_block_then_abort, NULL);
    assert_true(coil_barrier_broken(&barrier));
    assert_int_equal(counted_1, N / 2);
    assert_int_equal(counted_2, N - N / 2 - 1);
    assert_int_equal(coil_barrier_n_waiting(&barrier), 0);
    assert_true(!is("resetting"));
}

/* One of them stumbles after the first round and aborts; the others find out in the second. */
static coil_ret stumble(void)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    if (rc == N / 2)
        return coil_barrier_abort(&barrier);
    if (!coil_iserr(rc))
        rc = coil_barrier_wait(&barrier);
    if (!coil_iserr(rc))
        counted_1++;
    else if (rc == COIL_EBROKENBARRIER)
        counted_2++;
    return 0;
}

static coil_ret stumble_once(void *unused)
{
    return stumble();
}

PLAY(barrier_test_abort_barrier_when_exception)
{
    begin(N);
    crowd(N, stumble_once, NULL);
    assert_true(coil_barrier_broken(&barrier));
    assert_int_equal(counted_1, 0);
    assert_int_equal(counted_2, N - 1);
    assert_int_equal(coil_barrier_n_waiting(&barrier), 0);
}

static coil_ret stumble_and_repair(void *unused)
{
    coil_ret rc = stumble();
    if (coil_iserr(rc))
        return rc;
    /* Everybody is out before the reset, and nobody comes in before it is done. */
    rc = coil_barrier_wait(&others);
    if (rc == N / 2)
        rc = coil_barrier_reset(&barrier);
    if (!coil_iserr(rc))
        rc = coil_barrier_wait(&others);
    if (!coil_iserr(rc))
        rc = coil_barrier_wait(&barrier);
    if (!coil_iserr(rc))
        counted_3++;
    return rc;
}

PLAY(barrier_test_abort_barrier_when_exception_then_resetting)
{
    begin(N);
    others = (coil_barrier)COIL_BARRIER(N);
    crowd(N, stumble_and_repair, NULL);
    assert_true(!coil_barrier_broken(&barrier));
    assert_int_equal(counted_1, 0);
    assert_int_equal(counted_2, N - 1);
    assert_int_equal(counted_3, N);
    assert_int_equal(coil_barrier_n_waiting(&barrier), 0);
}

COIL_TEST_MAIN()
