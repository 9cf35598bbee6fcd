/* SPDX-License-Identifier: MIT
 *
 * test_queue.c: Queue, LifoQueue and PriorityQueue. */
#include "play.h"

#include "base/mem.h"
#include "task/task.h"

#include <coil/queue.h>

static coil_queue q;

static void *item(intptr_t n)
{
    return (void *)n;
}

static int put_nowait(intptr_t n)
{
    return coil_queue_put_nowait(&q, item(n));
}

static coil_ret get_nowait(void)
{
    void *it = NULL;
    int err = coil_queue_get_nowait(&q, &it);
    return err ? err : (coil_ret)it;
}

static coil_ret get_and_note(void *tag)
{
    void *it = NULL;
    coil_ret rc = coil_queue_get(&q, &it);
    note("%s:%d", (char *)tag, (int)(rc ? rc : (intptr_t)it));
    return rc;
}

static coil_ret put_task(void *it)
{
    coil_ret rc = coil_queue_put(&q, it);
    note("%d:%d", (int)(intptr_t)it, (int)rc);
    return rc;
}

static void done(void)
{
    assert_int_equal(coil_queue_fini(&q), 0);
}

PLAY(queue_put_waits_when_full_and_in_order)
{
    q = (coil_queue)COIL_QUEUE(1);
    assert_int_equal(put_nowait(1), 0);
    coil_task *t[] = {spawn(put_task, item(2)), spawn(put_task, item(3))};
    turn();
    assert_string_equal(coil_task_waiting_on(t[0]), "queue");
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(get_nowait(), i);
        turn();
    }
    assert_trace("2:0 3:0");
    for (int i = 0; i < 2; i++)
        assert_int_equal(end_of(t[i]), 0);
    done();
}

/* Two getters woken for two items; one is cancelled before its step: the third has its item. */
PLAY(queue_item_of_a_cancelled_getter_goes_to_the_next)
{
    for (int victim = 0; victim < 3; victim++) {
        q = (coil_queue)COIL_QUEUE(0);
        coil_task *t[] = {spawn(get_and_note, "a"), spawn(get_and_note, "b"),
                          spawn(get_and_note, "c")};
        turn();
        assert_int_equal(put_nowait(1), 0);
        assert_int_equal(put_nowait(2), 0);
        cancel(t[victim]);
        for (int i = 0; i < 3; i++)
            assert_int_equal(end_of(t[i]), i == victim ? -ECANCELED : 0);
        assert_true(coil_queue_empty(&q));
        done();
    }
}

PLAY(queue_room_of_a_cancelled_putter_goes_to_the_next)
{
    for (int victim = 0; victim < 3; victim++) {
        q = (coil_queue)COIL_QUEUE(2);
        assert_int_equal(put_nowait(8), 0);
        assert_int_equal(put_nowait(9), 0);
        coil_task *t[] = {spawn(put_task, item(1)), spawn(put_task, item(2)),
                          spawn(put_task, item(3))};
        turn();
        assert_int_equal(get_nowait(), 8);
        assert_int_equal(get_nowait(), 9);
        cancel(t[victim]);
        for (int i = 0; i < 3; i++)
            assert_int_equal(end_of(t[i]), i == victim ? -ECANCELED : 0);
        for (int i = 0; i < 3; i++)
            if (i != victim)
                assert_int_equal(get_nowait(), i + 1);
        done();
    }
}

PLAY(queue_item_may_be_taken_before_the_woken_getter_runs)
{
    q = (coil_queue)COIL_QUEUE(0);
    coil_task *t = spawn(get_and_note, "a");
    turn();
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(get_nowait(), 1);
    turn();
    assert_false(coil_future_done(t)); /* it waits again */
    assert_int_equal(put_nowait(2), 0);
    assert_int_equal(end_of(t), 0);
    assert_trace("a:2");
    done();
}

static void put_in_callback(void *n)
{
    assert_int_equal(coil_queue_put_nowait(&q, n), 0);
    assert_int_equal(coil_queue_put(&q, n), COIL_ENOTASK);
    assert_int_equal(coil_queue_get(&q, NULL), COIL_ENOTASK);
    assert_int_equal(coil_queue_join(&q), COIL_ENOTASK);
}

PLAY(queue_may_be_fed_by_callbacks)
{
    q = (coil_queue)COIL_QUEUE(0);
    soon(put_in_callback, item(5));
    assert_int_equal(coil_queue_get(&q, NULL), 0);
    done();
}

PLAY(queue_join_may_block_again)
{
    q = (coil_queue)COIL_QUEUE(0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(coil_queue_join(&q), 0);
        assert_int_equal(put_nowait(1), 0);
        assert_int_equal(get_nowait(), 1);
        soon(cancel_task, coil_current_task());
        assert_int_equal(coil_queue_join(&q), -ECANCELED);
        assert_int_equal(coil_queue_task_done(&q), 0);
    }
    assert_int_equal(coil_queue_task_done(&q), -EINVAL);
    done();
}

static int by_tens(const void *a, const void *b)
{
    return (int)((intptr_t)a / 10 - (intptr_t)b / 10);
}

PLAY(queue_by_priority_keeps_equals_in_order)
{
    q = (coil_queue)COIL_PRIORITY_QUEUE(0, by_tens);
    static const int in[] = {21, 11, 29, 13, 12, 20, 11}, out[] = {11, 13, 12, 11, 21, 29, 20};
    for (int i = 0; i < 7; i++)
        assert_int_equal(put_nowait(in[i]), 0);
    for (int i = 0; i < 7; i++)
        assert_int_equal(get_nowait(), out[i]);
    done();
}

PLAY(queue_by_priority_without_compare_is_refused)
{
    q = (coil_queue)COIL_PRIORITY_QUEUE(0, NULL);
    assert_int_equal(put_nowait(1), -EINVAL);
    assert_int_equal(coil_queue_put(&q, NULL), -EINVAL);
    assert_int_equal(get_nowait(), COIL_EQUEUEEMPTY);
}

PLAY(queue_of_zeros_has_no_limit)
{
    q = (coil_queue){0};
    for (int i = 0; i < 100; i++)
        assert_int_equal(put_nowait(i), 0);
    assert_false(coil_queue_full(&q));
    assert_int_equal(coil_queue_maxsize(&q), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(get_nowait(), i);
    done();
    q = (coil_queue)COIL_QUEUE(-3);
    assert_int_equal(put_nowait(1), 0);
    assert_false(coil_queue_full(&q));
    assert_int_equal(coil_queue_maxsize(&q), -3);
    done();
}

PLAY(queue_that_is_waited_in_cannot_be_ended)
{
    q = (coil_queue)COIL_QUEUE(0);
    coil_task *t = spawn(get_and_note, "a");
    turn();
    assert_int_equal(coil_queue_fini(&q), COIL_EINVALIDSTATE);
    assert_string_equal(coil_last_error()->message, "1 tasks wait in the queue");
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(end_of(t), 0);
    done();
    done();
    assert_int_equal(coil_queue_fini(NULL), 0);
}

PLAY(queue_can_be_used_anew_after_its_end)
{
    q = (coil_queue)COIL_LIFO_QUEUE(2);
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(coil_queue_shutdown(&q, false), 0);
    done();
    assert_int_equal(put_nowait(2), 0);
    assert_int_equal(put_nowait(3), 0);
    assert_int_equal(put_nowait(4), COIL_EQUEUEFULL);
    assert_int_equal(get_nowait(), 3);
    done();
}

PLAY(queue_shutdown_wakes_everyone_who_waits)
{
    q = (coil_queue)COIL_QUEUE(1);
    assert_int_equal(put_nowait(7), 0);
    coil_task *putters[] = {spawn(put_task, item(1)), spawn(put_task, item(2))};
    turn();
    assert_int_equal(coil_queue_shutdown(&q, false), 0);
    assert_int_equal(coil_queue_shutdown(&q, false), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(end_of(putters[i]), COIL_ESHUTDOWN);
    assert_int_equal(get_nowait(), 7);
    assert_int_equal(get_nowait(), COIL_ESHUTDOWN);
    done();

    q = (coil_queue)COIL_QUEUE(1);
    coil_task *getters[] = {spawn(get_and_note, "a"), spawn(get_and_note, "b")};
    turn();
    assert_int_equal(coil_queue_shutdown(&q, true), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(end_of(getters[i]), COIL_ESHUTDOWN);
    done();
}

static void describe(coil_task *task, const char *expected)
{
    char text[64];
    const struct wait *wait = as_task(task)->waiting;
    wait->cls->describe(wait, text, sizeof text);
    assert_string_equal(text, expected);
}

static coil_ret join_task(void *unused)
{
    return coil_queue_join(&q);
}

PLAY(queue_tells_what_is_waited_for)
{
    q = (coil_queue)COIL_QUEUE(1);
    coil_task *getter = spawn(get_and_note, "a");
    turn();
    describe(getter, "an item, 1 in line");
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(put_nowait(2), COIL_EQUEUEFULL);
    assert_int_equal(end_of(getter), 0);
    assert_int_equal(put_nowait(2), 0);
    coil_task *putter = spawn(put_task, item(3)), *joiner = spawn(join_task, NULL);
    turn();
    describe(putter, "room among 1 items, 1 in line");
    describe(joiner, "2 unfinished items");
    assert_int_equal(coil_queue_shutdown(&q, true), 0);
    assert_int_equal(end_of(putter), COIL_ESHUTDOWN);
    assert_int_equal(coil_queue_task_done(&q), 0);
    assert_int_equal(end_of(joiner), 0);
    done();
}

/* ---- memory ---- */

static int refused;

static void fill_and_drain(void *unused)
{
    int in = 0;
    for (int i = 0; i < 40; i++) {
        int err = put_nowait(i);
        if (err == -ENOMEM) {
            refused++;
            assert_int_equal(last_code(), -ENOMEM);
            assert_int_equal(coil_queue_qsize(&q), in);
            assert_int_equal(put_nowait(i), 0); /* only one allocation fails */
        }
        in++;
    }
    for (int i = 0; i < 40; i++) {
        assert_int_equal(get_nowait(), i);
        assert_int_equal(coil_queue_task_done(&q), 0);
    }
    done();
}

PLAY(queue_put_without_memory_changes_nothing)
{
    q = (coil_queue)COIL_QUEUE(0);
    refused = 0;
    int failed = sweep_allocations(fill_and_drain, NULL);
    assert_int_equal(failed, refused);
}

PLAY(queue_room_of_a_putter_without_memory_goes_to_the_next)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    /* Eight items fill the store. The limit is raised by hand, so the putter that is on its way needs a
     * larger one. */
    q = (coil_queue)COIL_QUEUE(8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(put_nowait(i), 0);
    coil_task *t[] = {spawn(put_task, item(11)), spawn(put_task, item(12))};
    turn();
    assert_int_equal(get_nowait(), 0);
    assert_int_equal(put_nowait(8), 0);
    q.maxsize_ = 9;
    coil__mem_fail_at(1, 0);
    turn();
    coil__mem_fail_at(0, 0);
    assert_int_equal(end_of(t[0]), -ENOMEM);
    assert_int_equal(end_of(t[1]), 0);
    for (int i = 1; i <= 8; i++)
        assert_int_equal(get_nowait(), i);
    assert_int_equal(get_nowait(), 12);
    done();
#else
    print_message("the library does not count its memory: needs -Dsys_table=true\n");
    skip();
#endif
}

PLAY(queue_waiting_allocates_nothing)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    q = (coil_queue)COIL_QUEUE(1);
    assert_int_equal(put_nowait(1), 0);
    coil_task *t[] = {spawn(put_task, item(2)), spawn(put_task, item(3)), spawn(join_task, NULL)};
    int64_t tried = coil__mem_tried();
    turn();
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(get_nowait(), i);
        assert_int_equal(coil_queue_task_done(&q), 0);
        turn();
    }
    assert_int_equal(coil__mem_tried(), tried);
    for (int i = 0; i < 3; i++)
        assert_int_equal(end_of(t[i]), 0);
    done();
#else
    print_message("the library does not count its memory: needs -Dsys_table=true\n");
    skip();
#endif
}

/* ---- loops and threads ---- */

static void quiet(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

static coil_ret leave_all_waiting(void *unused)
{
    coil_unref(spawn(get_and_note, "a"));
    coil_unref(spawn(get_and_note, "b"));
    turn();
    assert_int_equal(put_nowait(1), 0);
    assert_int_equal(get_nowait(), 1);
    coil_unref(spawn(join_task, NULL));
    turn();
    return 0;
}

COIL_TEST_PLAIN(queue_lines_are_left_when_the_loop_closes)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, quiet, NULL);
    play_trace[0] = '\0';
    q = (coil_queue)COIL_QUEUE(0);
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(leave_all_waiting, NULL)), 0);
    coil_loop_free(loop);
    assert_trace("b:-2011 a:-2011");
    done();
}

COIL_TEST_MAIN()
