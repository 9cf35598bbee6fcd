/* SPDX-License-Identifier: MIT
 *
 * full_ring.c: the ready ring is full and there is no memory for a larger one. What would need a room there is refused with
 * -ENOMEM and leaves nothing behind; what holds a room already goes on. */
#include "../unit/loop/stage.h"
#include "base/sys.h"
#include "loop/loop.h"
#include "test.h"

#include <coil/combine.h>
#include <coil/group.h>
#include <coil/signal.h>
#include <coil/timeout.h>

#if STAGE_TABLE

/* Until it is emptied, with an allocation or two before the ring's own that succeed. */
static unsigned fill_ring(int before)
{
    coil_loop *loop = stage.loop;
    unsigned rooms = (unsigned)(loop->mask + 1 - (loop->tail - loop->head) - loop->held);
    FACT_INT(coil__loop_hold(loop, rooms), 0);
    coil__mem_fail_at(before + 1, 1);
    return rooms;
}

static void empty_ring(unsigned rooms)
{
    coil__mem_fail_at(0, 0);
    loop_release(stage.loop, rooms);
}

/* The call, with the ring full meanwhile. */
#define WHEN_FULL(before, result, call)      \
    do {                                     \
        unsigned rooms_ = fill_ring(before); \
        intptr_t came_ = (intptr_t)(call);   \
        empty_ring(rooms_);                  \
        FACT_INT(came_, (result));           \
        FACT_INT(last_code(), (result));     \
    } while (0)

static void never_told(coil_future *f, void *arg)
{
    (void)f, (void)arg;
    note("told");
}

LOOP(full_ring_refuses_callbacks)
{
    int fds[2];
    coil_handle *h = NULL;
    FACT_INT(pipe(fds), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], note_arg, TEXT("reader")),
             0); /* the backend is open */
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 1);
    WHEN_FULL(0, -ENOMEM, coil_loop_call_soon(stage.loop, note_arg, TEXT("soon"), NULL));
    WHEN_FULL(1, -ENOMEM, coil_loop_call_soon(stage.loop, note_arg, TEXT("soon"), &h));
    WHEN_FULL(0, -ENOMEM, coil_loop_call_later(stage.loop, 1, note_arg, TEXT("later"), NULL));
    WHEN_FULL(0, -ENOMEM, coil_loop_add_reader(stage.loop, fds[0], note_arg, TEXT("reader")));
    WHEN_FULL(0, -ENOMEM,
              coil_loop_add_signal_handler(stage.loop, SIGUSR1, note_arg, TEXT("signal")));
    coil_future *f = coil_loop_create_future(stage.loop);
    WHEN_FULL(0, -ENOMEM, coil_future_add_done_callback(f, never_told, NULL));
    WHEN_FULL(0, -ENOMEM, coil_loop_run_until_complete(stage.loop, f));
    coil_unref(f);
    one_turn();
    FACT_TRACE("");
    close(fds[0]);
    close(fds[1]);
}

static coil_ret sleep_one(void *arg)
{
    (void)arg;
    return coil_sleep(1);
}

LOOP(full_ring_makes_no_task)
{
    unsigned rooms = fill_ring(0);
    coil_task *t = coil_loop_create_task(stage.loop, sleep_one, NULL);
    empty_ring(rooms);
    FACT_INT(coil_future_result(t), -ENOMEM);
    coil_unref(t);
}

TASK(full_ring_refuses_what_waits_for_several)
{
    (void)arg;
    coil_task *two[] = {coil_create_task(sleep_one, NULL), coil_create_task(sleep_one, NULL)};
    coil_as_completed it;
    pass();
    WHEN_FULL(1, -ENOMEM, coil_gather(two, 2, NULL, 0));
    WHEN_FULL(0, -ENOMEM, coil_wait(two, 2, COIL_FOREVER, COIL_ALL_COMPLETED, NULL));
    WHEN_FULL(1, -ENOMEM, coil_shield(two[0]));
    WHEN_FULL(0, -ENOMEM, coil_wait_for(two[0], 0));
    WHEN_FULL(0, -ENOMEM, coil_wait_for_call(sleep_one, NULL, 0));
    WHEN_FULL(1, -ENOMEM, coil_as_completed_init(&it, two, 2, COIL_FOREVER));
    FACT_INT(coil_gather(two, 2, NULL, COIL_UNREF), 0); /* none of it has touched them */
    return 0;
}

/* A deadline that cannot be kept is one that has passed: what was waited for is cancelled. */
TASK(full_ring_waits_for_nothing_without_its_deadline)
{
    (void)arg;
    coil_task *t = coil_create_task(sleep_one, NULL);
    pass();
    WHEN_FULL(0, -ENOMEM, coil_wait_for(t, 5));
    FACT(coil_future_cancelled(t));
    coil_unref(t);
    return 0;
}

TASK(full_ring_keeps_the_deadline_there_was)
{
    (void)arg;
    coil_timeout(scope, 5);
    WHEN_FULL(0, -ENOMEM, coil_timeout_reschedule(&scope, 1));
    FACT(about(coil_timeout_when(&scope), now() + 5));
    FACT_INT(coil_timeout_exit(&scope, coil_sleep(4)), 0);
    return 0;
}

TASK(full_ring_starts_no_deadline)
{
    (void)arg;
    coil_timeout(scope, 5);
    coil_ret rc;
    unsigned rooms = fill_ring(0);
    rc = coil_sleep(1);
    empty_ring(rooms);
    FACT_INT(rc, -ENOMEM);
    FACT_INT(coil_timeout_exit(&scope, 0), 0);
    return 0;
}

TASK(full_ring_makes_no_child_of_a_group)
{
    (void)arg;
    coil_group group = coil_group_begin();
    unsigned rooms = fill_ring(1);
    coil_task *t = coil_group_create_task(&group, sleep_one, NULL);
    empty_ring(rooms);
    FACT_INT(coil_future_result(t), -ENOMEM);
    FACT_INT(coil_group_exit(&group, coil_sleep(1)), -ENOMEM);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_ring_refuses_callbacks),
        cmocka_unit_test(full_ring_makes_no_task),
        cmocka_unit_test(full_ring_refuses_what_waits_for_several),
        cmocka_unit_test(full_ring_waits_for_nothing_without_its_deadline),
        cmocka_unit_test(full_ring_keeps_the_deadline_there_was),
        cmocka_unit_test(full_ring_starts_no_deadline),
        cmocka_unit_test(full_ring_makes_no_child_of_a_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
int main(void)
{
    puts("needs the table of kernel calls");
    return 77;
}
#endif
