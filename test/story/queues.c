/* SPDX-License-Identifier: MIT
 *
 * queues.c: what asyncio's tests say of Queue, LifoQueue and PriorityQueue (test_queues.py), told again.
 *
 * T41. Items are small numbers in the clothes of pointers. What the originals run for all three classes
 * runs here for all three orders. Not here: a fractional maxsize (a limit is a whole number in coil), and
 * the texts of repr beyond the numbers in them. */
#include "play.h"

#include <coil/queue.h>

static coil_queue q;

static int by_number(const void *a, const void *b)
{
    return ((intptr_t)a > (intptr_t)b) - ((intptr_t)a < (intptr_t)b);
}

static void *item(intptr_t n)
{
    return (void *)n;
}

static void begin(int maxsize)
{
    q = (coil_queue)COIL_QUEUE(maxsize);
}

static void done(void)
{
    assert_int_equal(coil_queue_fini(&q), 0);
}

static const char *repr_queue(void)
{
    static char text[96];
    coil_queue_repr(&q, text, sizeof text);
    return text;
}

/* The item, or the error. */
static coil_ret get(void)
{
    void *it = NULL;
    coil_ret rc = coil_queue_get(&q, &it);
    return coil_iserr(rc) ? rc : (coil_ret)it;
}

static coil_ret get_nowait(void)
{
    void *it = NULL;
    int err = coil_queue_get_nowait(&q, &it);
    return err ? err : (coil_ret)it;
}

static coil_ret put(intptr_t n)
{
    return coil_queue_put(&q, item(n));
}

static int put_nowait(intptr_t n)
{
    return coil_queue_put_nowait(&q, item(n));
}

static coil_ret get_task(void *unused)
{
    return get();
}

static coil_ret put_task(void *it)
{
    return coil_queue_put(&q, it);
}

static coil_ret join_task(void *unused)
{
    return coil_queue_join(&q);
}

static coil_task *spawn_get(void)
{
    return spawn(get_task, NULL);
}

static coil_task *spawn_put(intptr_t n)
{
    return spawn(put_task, item(n));
}

/* ---- QueueBasicTests ---- */

PLAY(queue_repr_counts_who_waits_and_not_who_was_woken)
{
    begin(0);
    coil_task *woken = spawn_get(), *waiting = spawn_get(), *cancelled = spawn_get();
    turn();
    assert_string_equal(repr_queue(), "queue [maxsize=0, items:0, getters:3, putters:0, tasks:0]");
    assert_int_equal(put_nowait(7), 0);
    cancel(cancelled);
    assert_string_equal(repr_queue(), "queue [maxsize=0, items:1, getters:1, putters:0, tasks:1]");
    assert_int_equal(end_of(woken), 7);
    assert_int_equal(put_nowait(8), 0);
    assert_int_equal(end_of(waiting), 8);
    assert_int_equal(end_of(cancelled), -ECANCELED);
    done();
}

PLAY(basic_test_repr)
{
    begin(0);
    coil_task *getter = spawn_get();
    turn();
    assert_string_equal(repr_queue(), "queue [maxsize=0, items:0, getters:1, putters:0, tasks:0]");
    assert_int_equal(put_nowait(7), 0);
    assert_int_equal(end_of(getter), 7);
    done();

    begin(1);
    assert_int_equal(put_nowait(1), 0);
    coil_task *putter = spawn_put(2);
    turn();
    assert_string_equal(repr_queue(), "queue [maxsize=1, items:1, getters:0, putters:1, tasks:1]");
    assert_int_equal(get_nowait(), 1);
    assert_int_equal(end_of(putter), 0);
    done();
}

PLAY(basic_test_empty)
{
    begin(0);
    assert_true(coil_queue_empty(&q));
    assert_int_equal(put(1), 0);
    assert_true(!coil_queue_empty(&q));
    assert_int_equal(get(), 1);
    assert_true(coil_queue_empty(&q));
    done();
}

PLAY(basic_test_full)
{
    begin(0);
    assert_true(!coil_queue_full(&q));
    begin(1);
    assert_int_equal(put(1), 0);
    assert_true(coil_queue_full(&q));
    done();
}

/* Puts 1, 3, 2 and gets them. */
static void order_is(intptr_t a, intptr_t b, intptr_t c)
{
    assert_int_equal(put(1), 0);
    assert_int_equal(put(3), 0);
    assert_int_equal(put(2), 0);
    assert_int_equal(get(), a);
    assert_int_equal(get(), b);
    assert_int_equal(get(), c);
    done();
}

PLAY(basic_test_order)
{
    begin(0);
    order_is(1, 3, 2);
}

PLAY(lifo_test_order)
{
    q = (coil_queue)COIL_LIFO_QUEUE(0);
    order_is(2, 3, 1);
}

PLAY(priority_test_order)
{
    q = (coil_queue)COIL_PRIORITY_QUEUE(0, by_number);
    order_is(1, 2, 3);
}

static coil_ret put_three(void *unused)
{
    for (int i = 0; i < 3; i++) {
        coil_ret rc = put(i);
        if (coil_iserr(rc))
            return rc;
        note("%d", i);
    }
    return 0;
}

PLAY(basic_test_maxsize)
{
    begin(2);
    assert_int_equal(coil_queue_maxsize(&q), 2);
    coil_task *t = spawn(put_three, NULL);
    turn();
    turn();
    assert_trace("0 1");
    assert_int_equal(get(), 0);
    turn();
    assert_trace("0 1 2");
    assert_int_equal(get(), 1);
    assert_int_equal(get(), 2);
    assert_true(coil_future_done(t));
    assert_int_equal(end_of(t), 0);
    done();
}

/* ---- QueueGetTests ---- */

PLAY(get_test_blocking_get)
{
    begin(0);
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(get(), 1);
    done();
}

PLAY(get_test_get_with_putters)
{
    begin(1);
    assert_int_equal(put(1), 0);
    coil_task *putter = spawn_put(2);
    turn();
    assert_int_equal(get(), 1);
    turn();
    assert_true(coil_future_done(putter));
    assert_int_equal(end_of(putter), 0);
    done();
}

static coil_event started;

static coil_ret start_and_get(void *unused)
{
    coil_event_set(&started);
    coil_ret rc = get();
    note("finished");
    return rc;
}

static void put_1(void *unused)
{
    assert_int_equal(put_nowait(1), 0);
}

PLAY(get_test_blocking_get_wait)
{
    begin(0);
    started = (coil_event)COIL_EVENT;
    coil_task *t = spawn(start_and_get, NULL);
    assert_int_equal(coil_event_wait(&started), 0);
    assert_trace("");
    later(0.01, put_1, NULL);
    assert_int_equal(end_of(t), 1);
    assert_trace("finished");
    done();
}

PLAY(get_test_nonblocking_get)
{
    begin(0);
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(get_nowait(), 1);
    done();
}

PLAY(get_test_nonblocking_get_exception)
{
    begin(0);
    assert_int_equal(get_nowait(), COIL_EQUEUEEMPTY);
}

PLAY(get_test_get_cancelled_race)
{
    begin(0);
    coil_task *t1 = spawn_get();
    coil_task *t2 = spawn_get();
    turn();
    cancel(t1);
    turn();
    assert_true(coil_future_done(t1));
    assert_int_equal(put(1), 0);
    turn();
    assert_int_equal(end_of(t2), 1);
    assert_int_equal(end_of(t1), -ECANCELED);
    done();
}

PLAY(get_test_get_with_waiting_putters)
{
    begin(1);
    coil_task *a = spawn_put(1);
    coil_task *b = spawn_put(2);
    assert_int_equal(get(), 1);
    assert_int_equal(get(), 2);
    assert_int_equal(end_of(a), 0);
    assert_int_equal(end_of(b), 0);
    done();
}

static coil_ret consume_five(void *unused)
{
    for (int i = 0; i < 5; i++) {
        coil_ret rc = get();
        if (coil_iserr(rc))
            return rc;
    }
    return 0;
}

static coil_ret produce_five(void *unused)
{
    for (int i = 0; i < 5; i++) {
        coil_ret rc = put(i);
        if (coil_iserr(rc))
            return rc;
    }
    return 0;
}

PLAY(get_test_why_are_getters_waiting)
{
    begin(1);
    coil_task *producer = spawn(produce_five, NULL);
    coil_task *consumer = spawn(consume_five, NULL);
    assert_int_equal(end_of(producer), 0);
    assert_int_equal(end_of(consumer), 0);
    done();
}

PLAY(get_test_cancelled_getters_not_being_held_in_self_getters)
{
    begin(5);
    coil_task *t = spawn_get();
    later(0.1, cancel_task, t);
    assert_int_equal(end_of(t), -ECANCELED);
    assert_string_equal(repr_queue(), "queue [maxsize=5, items:0, getters:0, putters:0, tasks:0]");
    done();
}

/* ---- QueuePutTests ---- */

PLAY(put_test_blocking_put)
{
    begin(0);
    assert_int_equal(put(1), 0);
    assert_int_equal(get(), 1);
    done();
}

static coil_ret start_and_put_two(void *unused)
{
    coil_event_set(&started);
    coil_ret rc = put(1);
    if (!coil_iserr(rc))
        rc = put(2);
    note("finished");
    return rc;
}

static void get_1(void *unused)
{
    assert_int_equal(get_nowait(), 1);
}

PLAY(put_test_blocking_put_wait)
{
    begin(1);
    started = (coil_event)COIL_EVENT;
    later(0.01, get_1, NULL);
    coil_task *t = spawn(start_and_put_two, NULL);
    assert_int_equal(coil_event_wait(&started), 0);
    assert_trace("");
    assert_int_equal(end_of(t), 0);
    assert_trace("finished");
    done();
}

PLAY(put_test_nonblocking_put)
{
    begin(0);
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(get_nowait(), 1);
    done();
}

PLAY(put_test_get_cancel_drop_one_pending_reader)
{
    begin(0);
    coil_task *reader = spawn_get();
    turn();
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(put_nowait(2), 0);
    cancel(reader);
    coil_ret got = end_of(reader);
    if (got == -ECANCELED)
        got = end_of(spawn_get());
    assert_int_equal(got, 1); /* with 2, the first one was dropped */
    done();
}

PLAY(put_test_get_cancel_drop_many_pending_readers)
{
    begin(0);
    coil_task *r1 = spawn_get();
    coil_task *r2 = spawn_get();
    coil_task *r3 = spawn_get();
    turn();
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(put_nowait(2), 0);
    cancel(r1);
    assert_int_equal(end_of(r1), -ECANCELED);
    coil_ret two = end_of(r2), three = end_of(r3);
    assert_true((two == 1 && three == 2) || (two == 2 && three == 1));
    done();
}

PLAY(put_test_put_cancel_drop)
{
    begin(1);
    assert_int_equal(put_nowait(1), 0);
    coil_task *writer = spawn_put(2);
    turn();
    assert_int_equal(get_nowait(), 1);
    cancel(writer);
    coil_ret rc = end_of(writer);
    if (rc == -ECANCELED)
        rc = end_of(spawn_put(2));
    assert_int_equal(rc, 0);
    assert_int_equal(get_nowait(), 2);
    assert_int_equal(coil_queue_qsize(&q), 0);
    done();
}

PLAY(put_test_nonblocking_put_exception)
{
    begin(1);
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(put_nowait(2), COIL_EQUEUEFULL);
    done();
}

PLAY(put_test_put_cancelled)
{
    begin(0);
    coil_task *t = spawn_put(1);
    assert_int_equal(get(), 1);
    assert_true(coil_future_done(t));
    assert_int_equal(end_of(t), 0);
    done();
}

PLAY(put_test_put_cancelled_race)
{
    begin(1);
    coil_task *a = spawn_put(1);
    coil_task *b = spawn_put(2);
    coil_task *c = spawn_put(9);
    turn();
    assert_true(coil_future_done(a));
    assert_true(!coil_future_done(b));
    cancel(c);
    turn();
    assert_true(coil_future_done(c));
    assert_int_equal(get_nowait(), 1);
    turn();
    assert_int_equal(get_nowait(), 2);
    assert_int_equal(end_of(b), 0);
    assert_int_equal(end_of(a), 0);
    assert_int_equal(end_of(c), -ECANCELED);
    done();
}

PLAY(put_test_put_with_waiting_getters)
{
    begin(0);
    coil_task *t = spawn_get();
    turn();
    assert_int_equal(put(1), 0);
    assert_int_equal(end_of(t), 1);
    done();
}

static coil_ret get_all_there_are(void *unused)
{
    turn();
    for (size_t n = coil_queue_qsize(&q); n > 0; n--)
        assert_true(!coil_iserr(get_nowait()));
    return 0;
}

PLAY(put_test_why_are_putters_waiting)
{
    begin(2);
    coil_task *t[] = {spawn(get_all_there_are, NULL), spawn_put(0), spawn_put(1), spawn_put(2),
                      spawn_put(3)};
    for (int i = 0; i < 5; i++)
        assert_int_equal(end_of(t[i]), 0);
    done();
}

PLAY(put_test_cancelled_puts_not_being_held_in_self_putters)
{
    begin(1);
    assert_int_equal(put_nowait(1), 0);
    coil_task *t = spawn_put(1);
    turn();
    assert_string_equal(repr_queue(), "queue [maxsize=1, items:1, getters:0, putters:1, tasks:1]");
    cancel(t);
    assert_int_equal(end_of(t), -ECANCELED);
    assert_string_equal(repr_queue(), "queue [maxsize=1, items:1, getters:0, putters:0, tasks:1]");
    done();
}

PLAY(put_test_cancelled_put_silence_value_error_exception)
{
    begin(1);
    assert_int_equal(put_nowait(1), 0);
    coil_task *t = spawn_put(1);
    turn();
    assert_int_equal(get_nowait(), 1);
    cancel(t);
    assert_int_equal(end_of(t), -ECANCELED);
    done();
}

/* ---- QueueJoinTests, QueueShutdownTests, and the same for the other two ---- */

static void for_each_order(void (*story)(void))
{
    q = (coil_queue)COIL_QUEUE(0);
    story();
    q = (coil_queue)COIL_LIFO_QUEUE(0);
    story();
    q = (coil_queue)COIL_PRIORITY_QUEUE(0, by_number);
    story();
}

static void underflow(void)
{
    assert_int_equal(coil_queue_task_done(&q), -EINVAL);
}

PLAY(join_test_task_done_underflow)
{
    for_each_order(underflow);
}

static bool running;
static intptr_t sum;

static coil_ret worker(void *unused)
{
    while (running) {
        coil_ret rc = get();
        if (coil_iserr(rc))
            return rc;
        sum += rc;
        assert_int_equal(coil_queue_task_done(&q), 0);
    }
    return 0;
}

static void hundred_items(void)
{
    for (int i = 0; i < 100; i++)
        assert_int_equal(put_nowait(i), 0);
    running = true;
    sum = 0;
    coil_task *workers[] = {spawn(worker, NULL), spawn(worker, NULL)};
    assert_int_equal(coil_queue_join(&q), 0);
    assert_int_equal(sum, 4950);
    running = false;
    for (int i = 0; i < 2; i++)
        assert_int_equal(put_nowait(0), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(end_of(workers[i]), 0);
    done();
}

PLAY(join_test_task_done)
{
    for_each_order(hundred_items);
}

static void join_twice(void)
{
    assert_int_equal(coil_queue_join(&q), 0);
    assert_int_equal(coil_queue_join(&q), 0);
}

PLAY(join_test_join_empty_queue)
{
    for_each_order(join_twice);
}

PLAY(join_test_format)
{
    begin(0);
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(put_nowait(2), 0);
    get_1(NULL);
    assert_string_equal(repr_queue(), "queue [maxsize=0, items:1, getters:0, putters:0, tasks:2]");
    done();
}

PLAY(shutdown_test_format)
{
    begin(0);
    assert_int_equal(coil_queue_shutdown(&q, false), 0);
    assert_string_equal(repr_queue(),
                        "queue [maxsize=0, items:0, getters:0, putters:0, tasks:0, shutdown]");
}

/* Nothing goes in, nothing comes out. */
static void all_refused(void)
{
    assert_int_equal(put(1), COIL_ESHUTDOWN);
    assert_int_equal(put_nowait(1), COIL_ESHUTDOWN);
    assert_int_equal(get(), COIL_ESHUTDOWN);
    assert_int_equal(get_nowait(), COIL_ESHUTDOWN);
}

static void shutdown_empty(void)
{
    coil_task *getter = spawn_get();
    turn();
    assert_int_equal(coil_queue_shutdown(&q, false), 0);
    assert_int_equal(coil_queue_qsize(&q), 0);
    assert_int_equal(coil_queue_join(&q), 0);
    turn();
    assert_true(coil_future_done(getter));
    assert_int_equal(end_of(getter), COIL_ESHUTDOWN);
    all_refused();
    done();
}

PLAY(shutdown_test_shutdown_empty)
{
    for_each_order(shutdown_empty);
}

static void shutdown_nonempty(void)
{
    q.maxsize_ = 1;
    assert_int_equal(put_nowait(5), 0);
    coil_task *joiner = spawn(join_task, NULL);
    coil_task *putter = spawn_put(6);
    turn();
    assert_true(!coil_future_done(putter));

    assert_int_equal(coil_queue_shutdown(&q, false), 0);
    assert_int_equal(coil_queue_qsize(&q), 1);
    turn();
    assert_true(coil_future_done(putter));
    assert_int_equal(end_of(putter), COIL_ESHUTDOWN);

    assert_int_equal(get(), 5);
    turn();
    assert_true(!coil_future_done(joiner));
    all_refused();

    assert_int_equal(coil_queue_task_done(&q), 0);
    turn();
    assert_true(coil_future_done(joiner));
    assert_int_equal(end_of(joiner), 0);
    assert_int_equal(coil_queue_task_done(&q), -EINVAL);
    done();
}

PLAY(shutdown_test_shutdown_nonempty)
{
    for_each_order(shutdown_nonempty);
}

static void shutdown_immediate(void)
{
    assert_int_equal(put_nowait(5), 0);
    coil_task *joiner = spawn(join_task, NULL);
    assert_int_equal(coil_queue_shutdown(&q, true), 0);
    assert_int_equal(coil_queue_qsize(&q), 0);
    turn();
    assert_true(coil_future_done(joiner));
    assert_int_equal(end_of(joiner), 0);
    all_refused();
    assert_int_equal(coil_queue_task_done(&q), -EINVAL);
    done();
}

PLAY(shutdown_test_shutdown_immediate)
{
    for_each_order(shutdown_immediate);
}

static void shutdown_immediate_with_unfinished(void)
{
    assert_int_equal(put_nowait(5), 0);
    assert_int_equal(put_nowait(5), 0);
    coil_task *joiner = spawn(join_task, NULL);
    assert_int_equal(get(), 5);
    assert_int_equal(coil_queue_shutdown(&q, true), 0);
    assert_int_equal(coil_queue_qsize(&q), 0);
    turn();
    assert_true(!coil_future_done(joiner));
    all_refused();

    assert_int_equal(coil_queue_task_done(&q), 0);
    assert_int_equal(coil_queue_task_done(&q), -EINVAL);
    turn();
    assert_true(coil_future_done(joiner));
    assert_int_equal(end_of(joiner), 0);
    done();
}

PLAY(shutdown_test_shutdown_immediate_with_unfinished)
{
    for_each_order(shutdown_immediate_with_unfinished);
}

COIL_TEST_MAIN()
