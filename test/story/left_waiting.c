/* SPDX-License-Identifier: MIT
 *
 * left_waiting.c: a loop is closed, and says of each task that is left what it waits for, and how that stands. */
#include "../unit/loop/stage.h"
#include "test.h"

#include <coil/combine.h>
#include <coil/group.h>
#include <coil/queue.h>
#include <coil/sync.h>

static char heard[4096];

static void hear(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)loop, (void)arg;
    size_t n = strlen(heard);
    snprintf(heard + n, sizeof heard - n, "%s\n", c->message);
}

static void begin(coil_fn fn, const void *arg, const char *name)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = name};
    coil_unref(coil_create_task_opts(fn, arg, &opts));
}

/* Everything that is ready runs; nobody waits for anything but what the test began. */
static void turns(int n)
{
    coil_loop_set_exception_handler(stage.loop, hear, NULL);
    heard[0] = '\0';
    while (n-- > 0)
        one_turn();
}

/* The loop ends, and has said this. */
#define LEFT(words) left((words), __FILE__, __LINE__)

static void left(const char *words, const char *file, int line)
{
    FACT_INT(coil_loop_close(stage.loop), 0);
    stage_fact_has(heard, words, file, line, "what is said of those who are left");
}

/* ---- task ---- */

static coil_ret sleep_five(void *arg)
{
    (void)arg;
    return coil_sleep(5);
}

LOOP(left_asleep_until_when)
{
    begin(sleep_five, NULL, "a");
    turns(1);
    char words[64];
    snprintf(words, sizeof words, "waiting on sleep (until %.6f)", coil_loop_time(stage.loop) + 5);
    LEFT(words);
}

static coil_ret await_it(void *future)
{
    return coil_await((coil_future *)future);
}

LOOP(left_waiting_for_a_future_made_here_or_nowhere)
{
    coil_future *f = coil_loop_create_future(stage.loop);
    coil_future *g = coil_create_future_at(NULL, 0, stage.loop);
    begin(await_it, f, "a");
    begin(await_it, g, "b");
    turns(1);
    LEFT("left_waiting.c:");
    FACT_HAS(heard, "waiting on future (Future created at ");
    FACT_HAS(heard, "waiting on future (Future created at ?:0)");
    coil_unref(f);
    coil_unref(g);
}

LOOP(left_waiting_for_a_task_by_its_name)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = "sleeper"};
    coil_task *t = coil_create_task_opts(sleep_five, NULL, &opts);
    begin(await_it, t, "a");
    turns(1);
    LEFT("waiting on future (sleeper)");
    coil_unref(t);
}

LOOP(left_without_a_place_where_it_was_made)
{
    coil_unref(coil_loop_create_task_at(NULL, 0, stage.loop, sleep_five, NULL));
    turns(1);
    LEFT("created at ?:0");
}

/* ---- sync ---- */

static coil_lock lock;

static coil_ret hold_and_sleep(void *arg)
{
    FACT_INT(coil_lock_acquire(&lock), 0);
    return sleep_five(arg);
}

static coil_ret take_and_end(void *arg)
{
    (void)arg;
    return coil_lock_acquire(&lock);
}

LOOP(left_waiting_for_a_lock_of_a_living_task)
{
    lock = (coil_lock)COIL_LOCK;
    begin(hold_and_sleep, NULL, "holder");
    begin(take_and_end, NULL, "a");
    turns(1);
    LEFT("waiting on lock (held by holder)");
}

LOOP(left_waiting_for_a_lock_of_a_task_that_ended)
{
    lock = (coil_lock)COIL_LOCK;
    begin(take_and_end, NULL, "holder");
    begin(take_and_end, NULL, "a");
    turns(1);
    LEFT("waiting on lock (held by task number 1, which has ended)");
}

static coil_ret take_release_and_stop(void *arg)
{
    FACT_INT(coil_lock_acquire(&lock), 0);
    FACT_INT(coil_sleep(0), 0);
    return coil_lock_release(arg);
}

LOOP(left_before_it_took_the_lock_that_is_free_now)
{
    lock = (coil_lock)COIL_LOCK;
    begin(take_release_and_stop, &lock, "holder");
    begin(take_and_end, NULL, "a");
    turns(2);
    LEFT("waiting on lock (free, about to be taken)");
}

static coil_ret wait_at_semaphore(void *semaphore)
{
    return coil_semaphore_acquire(semaphore);
}

static coil_ret wait_at_barrier(void *barrier)
{
    coil_ret rc = coil_barrier_wait(barrier);
    return rc < 0 ? rc : 0;
}

static coil_ret get_item(void *queue)
{
    void *item;
    return coil_queue_get(queue, &item);
}

static coil_ret put_item(void *queue)
{
    return coil_queue_put(queue, queue);
}

static coil_ret join_queue(void *queue)
{
    return coil_queue_join(queue);
}

LOOP(left_in_line_for_what_others_have)
{
    coil_semaphore semaphore = COIL_SEMAPHORE(0);
    coil_barrier barrier = COIL_BARRIER(3);
    coil_queue empty = COIL_QUEUE(0), full = COIL_QUEUE(1);
    FACT_INT(coil_queue_put_nowait(&full, &full), 0);
    begin(wait_at_semaphore, &semaphore, "a");
    begin(wait_at_barrier, &barrier, "b");
    begin(get_item, &empty, "c");
    begin(put_item, &full, "d");
    begin(join_queue, &full, "e");
    turns(1);
    LEFT("waiting on semaphore (0 permits free, 1 in line)");
    FACT_HAS(heard, "waiting on barrier (filling, 1 of 3 there)");
    FACT_HAS(heard, "waiting on queue (an item, 1 in line)");
    FACT_HAS(heard, "waiting on queue (room among 1 items, 1 in line)");
    FACT_HAS(heard, "waiting on queue (1 unfinished items)");
    FACT_INT(coil_queue_fini(&full), 0);
}

/* ---- combine ---- */

static coil_ret leave_a_group(void *arg)
{
    coil_group group = coil_group_begin();
    (void)coil_group_create_task(&group, sleep_five, arg);
    (void)coil_group_create_task(&group, sleep_five, arg);
    return coil_group_exit(&group, 0);
}

static coil_ret wait_for_one_of_two(void *arg)
{
    coil_task *two[] = {coil_create_task(sleep_five, arg), coil_create_task(sleep_five, arg)};
    coil_ret rc = coil_wait(two, 2, COIL_FOREVER, COIL_FIRST_COMPLETED, NULL);
    coil_unref(two[0]);
    coil_unref(two[1]);
    return rc;
}

static coil_ret next_of_two(void *arg)
{
    coil_task *two[] = {coil_create_task(sleep_five, arg), coil_create_task(sleep_five, arg)};
    coil_as_completed it;
    coil_future *f;
    FACT_INT(coil_as_completed_init(&it, two, 2, COIL_FOREVER), 0);
    coil_ret rc = coil_as_completed_next(&it, &f);
    coil_as_completed_close(&it);
    coil_unref(two[0]);
    coil_unref(two[1]);
    return rc;
}

LOOP(left_waiting_for_several)
{
    begin(leave_a_group, NULL, "a");
    begin(wait_for_one_of_two, NULL, "b");
    begin(next_of_two, NULL, "c");
    turns(2);
    LEFT("waiting on group (2 children, begun at ");
    FACT_HAS(heard, "waiting on wait (0 of 2 futures are done)");
    FACT_HAS(heard, "waiting on as_completed (the next of 2 futures)");
}

/* ---- a deadlock ---- */

static coil_lock first, second;

static coil_ret takes_two(coil_lock *one, coil_lock *other)
{
    coil_ret rc = coil_lock_acquire(one);
    if (rc == 0)
        rc = coil_sleep(0);
    return rc == 0 ? coil_lock_acquire(other) : rc;
}

static coil_ret clerk(void *arg)
{
    (void)arg;
    return takes_two(&first, &second);
}

static coil_ret cashier(void *arg)
{
    (void)arg;
    return takes_two(&second, &first);
}

LOOP(deadlock_names_who_holds_the_locks)
{
    if (!deadlocks_are_certain())
        return;
    first = second = (coil_lock){0};
    begin(cashier, NULL, "cashier");
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = "clerk"};
    coil_task *task = coil_create_task_opts(clerk, NULL, &opts);
    FACT_INT(coil_loop_run_until_complete(stage.loop, task), COIL_EDEADLOCK);
    FACT_ERROR(COIL_EDEADLOCK,
               "cashier waits for lock (held by clerk); clerk waits for lock (held by cashier);");
    coil_loop_set_exception_handler(stage.loop, hear, NULL);
    FACT_INT(coil_loop_close(stage.loop), 0);
    coil_unref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(left_asleep_until_when),
        cmocka_unit_test(left_waiting_for_a_future_made_here_or_nowhere),
        cmocka_unit_test(left_waiting_for_a_task_by_its_name),
        cmocka_unit_test(left_without_a_place_where_it_was_made),
        cmocka_unit_test(left_waiting_for_a_lock_of_a_living_task),
        cmocka_unit_test(left_waiting_for_a_lock_of_a_task_that_ended),
        cmocka_unit_test(left_before_it_took_the_lock_that_is_free_now),
        cmocka_unit_test(left_in_line_for_what_others_have),
        cmocka_unit_test(left_waiting_for_several),
        cmocka_unit_test(deadlock_names_who_holds_the_locks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
