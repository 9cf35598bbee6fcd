/* SPDX-License-Identifier: MIT
 *
 * test_asyncgen.c: which generators belong to a loop, and how they end; story/asyncgens.c has what Python's tests say.
 */
#include "test.h"

#include "base/mem.h"
#include "base/thread.h"
#include "coro/coro.h"
#include "coro/gen.h"
#include "loop/loop.h"

#include <coil.h>

/* ---- what is heard ---- */

static struct {
    int reports, complaints;
    coil_ret code;
    const coil_gen *gen;
    char kind[24], message[256], complaint[256];
} heard;

static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    heard.reports++;
    heard.code = context->code;
    heard.gen = context->asyncgen;
    snprintf(heard.kind, sizeof heard.kind, "%s", context->kind);
    snprintf(heard.message, sizeof heard.message, "%s", context->message);
}

static void listen_here(void)
{
    memset(&heard, 0, sizeof heard);
    coil_loop_set_exception_handler(NULL, hear, NULL);
}

static void hear_complaint(const coil_log_record *record, void *arg)
{
    heard.complaints++;
    snprintf(heard.complaint, sizeof heard.complaint, "%s", record->message);
}

static size_t driven(void)
{
    return coil__gen_driven(coil_get_running_loop()->inbox);
}

/* ---- bodies ---- */

struct life {
    int ended;       /* its last line was reached */
    coil_ret waited; /* what its clean-up's wait returned */
    uintptr_t thread;
};

static coil_ret yields_and_waits_at_the_end(coil_gen *self, void *arg)
{
    struct life *life = arg;
    coil_ret rc = 0;
    while (!coil_iserr(rc))
        rc = coil_gen_yield(self, 1);
    life->waited = coil_sleep(1);
    life->thread = coil__thread_self();
    life->ended++;
    return rc;
}

static coil_gen *begun(struct life *life)
{
    coil_gen *gen = coil_gen_new(yields_and_waits_at_the_end, life);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    return gen;
}

/* ---- whose it is ---- */

COIL_TEST(asyncgen_is_the_loops_from_its_first_step_to_its_last)
{
    struct life life = {0};
    coil_gen *gen = coil_gen_new(yields_and_waits_at_the_end, &life);
    assert_int_equal(driven(), 0);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(driven(), 1);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(driven(), 1);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(driven(), 0);
    coil_gen_unref(gen);
    gen = begun(&life); /* one that is dropped */
    coil_gen_unref(gen);
    assert_int_equal(driven(), 0);
}

static coil_ret count_up(coil_gen *self, void *arg)
{
    (void)arg;
    coil_ret rc = 0;
    for (intptr_t i = 1; !coil_iserr(rc); i++)
        rc = coil_gen_yield(self, i);
    return rc;
}

static coil_ret steps_once(void *gen)
{
    coil_ret value;
    return coil_gen_next(gen, &value) == 1 ? value : -EIO;
}

COIL_TEST_PLAIN(asyncgen_begun_outside_of_tasks_or_plain_outlives_the_loop)
{
    coil_gen *outside = coil_gen_new(count_up, NULL);
    coil_gen *plain = coil_gen_new_opts(
        count_up, NULL, &((coil_gen_opts){.size = sizeof(coil_gen_opts), .plain = true}));
    coil_gen *the_loops = coil_gen_new(count_up, NULL);
    coil_ret value;
    assert_int_equal(coil_gen_next(outside, NULL), 1);
    assert_int_equal(coil_run(steps_once, outside), 2);
    assert_int_equal(coil_run(steps_once, plain), 1);
    assert_int_equal(coil_run(steps_once, the_loops), 1);
    assert_int_equal(coil_gen_next(outside, &value), 1);
    assert_int_equal(value, 3);
    assert_int_equal(coil_gen_next(plain, &value), 1);
    assert_int_equal(value, 2);
    assert_int_equal(coil_gen_next(the_loops, &value), 0);
    coil_gen_unref(outside);
    coil_gen_unref(plain);
    coil_gen_unref(the_loops);
}

/* ---- shutting down ---- */

COIL_TEST(shutdown_closes_all_at_once_and_lets_them_wait)
{
    enum { N = 50 };
    struct life life[N] = {{0}};
    coil_gen *gens[N];
    for (int i = 0; i < N; i++)
        gens[i] = begun(&life[i]);
    double before = coil_loop_time(NULL);
    assert_int_equal(coil_loop_shutdown_asyncgens(NULL), 0);
    double took = coil_loop_time(NULL) - before;
    assert_true(took >= 1 && took < 1.5);
    for (int i = 0; i < N; i++) {
        assert_int_equal(life[i].ended, 1);
        assert_int_equal(life[i].waited, 0);
        assert_int_equal(coil_gen_state(gens[i]), COIL_GEN_CLOSED);
        coil_gen_unref(gens[i]);
    }
    assert_int_equal(driven(), 0);
}

COIL_TEST(shutdown_tells_of_one_that_is_running_and_of_one_that_refuses)
{
    struct life life = {0};
    coil_gen *gen = begun(&life);
    coil_task *closing = coil_create_task((coil_fn)(uintptr_t)coil_gen_close, gen);
    assert_int_equal(coil_sleep(0), 0); /* it cleans up, and will for a second */
    listen_here();
    double before = coil_loop_time(NULL);
    assert_int_equal(coil_loop_shutdown_asyncgens(NULL), 0);
    assert_true(coil_loop_time(NULL) - before < 0.5);
    assert_int_equal(heard.reports, 1);
    assert_string_equal(heard.kind, "generator-error");
    assert_int_equal(heard.code, COIL_ERUNNING);
    assert_ptr_equal(heard.gen, gen);
    assert_int_equal(coil_join(closing), 0);
    assert_int_equal(life.ended, 1);
    coil_gen_unref(gen);
}

COIL_TEST(shutdown_makes_the_loop_tell_of_each_that_begins_later)
{
    struct life life = {0};
    listen_here();
    assert_int_equal(coil_loop_shutdown_asyncgens(NULL), 0);
    assert_int_equal(heard.reports, 0);
    coil_gen *gen = begun(&life);
    assert_int_equal(heard.reports, 1);
    assert_string_equal(heard.kind, "generator-error");
    assert_memory_equal(heard.message, "generator yields_and_waits_at_the_end (", 39);
    assert_non_null(strstr(heard.message, ") was begun after coil_loop_shutdown_asyncgens()"));
    assert_ptr_equal(heard.gen, gen);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(heard.reports, 1);                      /* once, at its first step */
    assert_int_equal(coil_loop_shutdown_asyncgens(NULL), 0); /* it can still be closed */
    assert_int_equal(life.ended, 1);
    coil_gen_unref(gen);
}

COIL_TEST(shutdown_cancelled_cancels_what_cleans_up_and_waits_for_it)
{
    struct life life[2] = {{0}};
    coil_gen *gens[] = {begun(&life[0]), begun(&life[1])};
    coil_task *task = coil_create_task((coil_fn)(uintptr_t)coil_loop_shutdown_asyncgens, NULL);
    assert_int_equal(coil_sleep(0.1), 0);
    double before = coil_loop_time(NULL);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_true(coil_loop_time(NULL) - before < 0.5);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(life[i].waited, -ECANCELED);
        assert_int_equal(life[i].ended, 1);
        coil_gen_unref(gens[i]);
    }
}

COIL_TEST_PLAIN(shutdown_is_for_tasks_of_the_loop)
{
    assert_int_equal(coil_loop_shutdown_asyncgens(NULL), COIL_ENOTASK);
}

static void shut_down_once(void *arg)
{
    (void)arg;
    struct life life[2] = {{0}};
    coil_gen *gens[] = {coil_gen_new(yields_and_waits_at_the_end, &life[0]),
                        coil_gen_new(yields_and_waits_at_the_end, &life[1])};
    int begun_n = 0;
    for (int i = 0; i < 2; i++)
        begun_n += coil_gen_next(gens[i], NULL) == 1;
    coil_ret rc = coil_loop_shutdown_asyncgens(NULL);
    assert_int_equal(rc, 0);
    assert_int_equal(life[0].ended + life[1].ended, begun_n); /* whatever was short */
    for (int i = 0; i < 2; i++)
        coil_gen_unref(gens[i]);
}

COIL_TEST(shutdown_survives_failing_allocations)
{
    shut_down_once(NULL); /* what thread and loop keep is made once */
    coil_loop_set_exception_handler(NULL, hear, NULL);
    assert_true(sweep_allocations(shut_down_once, NULL) > 2);
}

COIL_TEST(shutdown_is_for_the_loop_that_runs)
{
    coil_loop *other = coil_new_event_loop(NULL);
    assert_int_equal(coil_loop_shutdown_asyncgens(other), COIL_EWRONGLOOP);
    assert_int_equal(coil_loop_shutdown_asyncgens(coil_get_running_loop()), 0);
    coil_loop_free(other);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static coil_ret returns_what_its_last_wait_does(coil_gen *self, void *arg)
{
    int *ended = arg;
    coil_ignore(coil_gen_yield(self, 1));
    coil_ret rc = coil_sleep(1);
    ++*ended;
    return rc;
}

/* Its first allocation fails: there is no room for a task for each generator. */
static coil_ret shuts_down_without_memory(void *arg)
{
    (void)arg;
    coil__mem_fail_at(1, 0);
    coil_ret rc = coil_loop_shutdown_asyncgens(NULL);
    coil__mem_fail_at(0, 0);
    return rc;
}

COIL_TEST(shutdown_cancelled_as_it_closes_one_after_the_other_closes_the_rest_and_says_so)
{
    int ended = 0;
    coil_gen *gens[2];
    for (int i = 0; i < 2; i++) {
        gens[i] = coil_gen_new(returns_what_its_last_wait_does, &ended);
        assert_int_equal(coil_gen_next(gens[i], NULL), 1);
    }
    listen_here();
    double before = coil_loop_time(NULL);
    coil_task *task = coil_create_task(shuts_down_without_memory, NULL);
    assert_int_equal(coil_sleep(0.5), 0);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_int_equal(ended, 2);
    double took = coil_loop_time(NULL) - before; /* the first one's half, all of the second's */
    assert_true(took > 1.4 && took < 1.6);
    assert_int_equal(heard.reports, 0); /* whoever is cancelled knows of it */
    for (int i = 0; i < 2; i++)
        coil_gen_unref(gens[i]);
}
#endif

static coil_ret closes_another_at_the_end(coil_gen *self, void *other)
{
    coil_ret rc = coil_gen_yield(self, 1);
    assert_int_equal(coil_gen_close(other), 0);
    return rc;
}

COIL_TEST(shutdown_by_eager_tasks_passes_by_what_one_of_them_has_closed)
{
    coil_gen *second = coil_gen_new(count_up, NULL);
    coil_gen *first = coil_gen_new(closes_another_at_the_end, second);
    assert_int_equal(coil_gen_next(first, NULL), 1);
    assert_int_equal(coil_gen_next(second, NULL), 1);
    listen_here();
    assert_int_equal(coil_loop_set_task_factory(NULL, coil_eager_task_factory, NULL), 0);
    assert_int_equal(coil_loop_shutdown_asyncgens(NULL), 0);
    assert_int_equal(coil_loop_set_task_factory(NULL, NULL, NULL), 0);
    assert_int_equal(coil_gen_state(first), COIL_GEN_CLOSED);
    assert_int_equal(coil_gen_state(second), COIL_GEN_CLOSED);
    assert_int_equal(heard.reports, 0);
    coil_gen_unref(first);
    coil_gen_unref(second);
}

/* ---- after the loop, and in other threads ---- */

static coil_task *makes_a_future(coil_loop *loop, const coil_task_recipe *recipe,
                                 const coil_task_opts *opts, void *arg)
{
    (void)recipe, (void)opts, (void)arg;
    return coil_loop_create_future(loop);
}

static coil_ret shuts_down_by_futures(void *gen)
{
    int err = coil_gen_next(gen, NULL);
    if (err < 0)
        return err;
    coil_loop_set_task_factory(NULL, makes_a_future, NULL);
    coil_loop_call_later(NULL, 1, (coil_callback_fn)(uintptr_t)coil_loop_stop,
                         coil_get_running_loop(), NULL);
    return coil_loop_shutdown_asyncgens(NULL);
}

/* The factory gave no tasks but futures that nobody finishes. */
COIL_TEST_PLAIN(asyncgen_whose_closing_never_ran_is_its_holders_when_the_loop_is_closed)
{
    struct life life = {0};
    coil_gen *gen = coil_gen_new(yields_and_waits_at_the_end, &life);
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, hear, NULL);
    memset(&heard, 0, sizeof heard);
    coil_task *task = coil_loop_create_task(loop, shuts_down_by_futures, gen);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(heard.reports, 1); /* the task that waited for it was pending */
    assert_true(coil_future_cancelled(task));
    coil_unref(task);
    coil_loop_free(loop);
    assert_int_equal(life.ended, 0);
    coil_gen_unref(gen);
    assert_int_equal(life.ended, 1);
    assert_int_equal(life.waited, COIL_EEXIT);
}

static coil_ret begins_two(void *arg)
{
    coil_gen **gens = arg;
    for (int i = 0; i < 2; i++)
        if (coil_gen_next(gens[i], NULL) != 1)
            return -EIO;
    return 0;
}

/* A loop that is closed without a shutdown leaves its generators to those who hold them. */
COIL_TEST_PLAIN(asyncgen_whose_loop_was_closed_is_unwound_by_its_last_reference)
{
    struct life life[2] = {{0}};
    coil_gen *gens[] = {coil_gen_new(yields_and_waits_at_the_end, &life[0]),
                        coil_gen_new(yields_and_waits_at_the_end, &life[1])};
    coil_loop *loop = coil_new_event_loop(NULL);
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(begins_two, gens)), 0);
    coil_loop_free(loop);
    assert_int_equal(life[0].ended, 0);
    coil_gen_unref(gens[0]);
    assert_int_equal(life[0].ended, 1);
    assert_int_equal(life[0].waited, COIL_EEXIT);
    assert_int_equal(coil_gen_next(gens[1], NULL), 1); /* or goes on, as a plain one */
    assert_int_equal(coil_gen_close(gens[1]), 0);
    assert_int_equal(life[1].waited, COIL_ENOTASK);
    coil_gen_unref(gens[1]);
}

static coil_ret drops(void *gen)
{
    coil_gen_unref(*(coil_gen **)gen);
    return 0;
}

COIL_TEST(asyncgen_dropped_in_another_thread_is_closed_by_its_loop_and_may_wait)
{
    struct life life = {0};
    coil_gen *gen = begun(&life);
    assert_int_equal(coil_to_thread(drops, &gen), 0);
    assert_int_equal(coil_sleep(2), 0);
    assert_int_equal(life.ended, 1);
    assert_int_equal(life.waited, 0);
    assert_int_equal(life.thread, coil__thread_self());
    assert_int_equal(coil__gen_live(), 0);
}

COIL_TEST(asyncgen_that_ended_and_is_dropped_in_another_thread_goes_home)
{
    struct life life = {0};
    coil_gen *gen = begun(&life);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(coil_to_thread(drops, &gen), 0);
    assert_int_equal(coil_sleep(1), 0);
    assert_int_equal(coil__gen_live(), 0);
    assert_int_equal(life.ended, 1);
}

COIL_TEST(asyncgen_dropped_elsewhere_is_closed_by_a_shutdown_that_is_quicker)
{
    struct life life = {0};
    coil_gen *gen = begun(&life);
    assert_int_equal(coil_to_thread(drops, &gen), 0);
    assert_int_equal(coil_loop_shutdown_asyncgens(NULL), 0);
    assert_int_equal(coil_sleep(2), 0);
    assert_int_equal(life.ended, 1);
    assert_int_equal(life.waited, 0);
    assert_int_equal(coil__gen_live(), 0);
}

static void drops_in_thread(void *arg)
{
    coil_gen_unref(arg);
}

/* This thread waits for it, so the loop hears of it in its next turn. */
static void drop_elsewhere(coil_gen *gen)
{
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "drops", drops_in_thread, gen), 0);
    coil__thread_join(&thread);
}

COIL_TEST(asyncgen_that_came_home_is_closed_by_a_shutdown_before_its_own_task_runs)
{
    struct life life = {0};
    drop_elsewhere(begun(&life));
    assert_int_equal(coil_sleep(0), 0); /* it is home, and who is to close it stands behind us */
    double before = coil_loop_time(NULL);
    assert_int_equal(coil_loop_shutdown_asyncgens(NULL), 0);
    assert_true(coil_loop_time(NULL) - before > 0.9);
    assert_int_equal(life.ended, 1);
    assert_int_equal(life.waited, 0);
    assert_int_equal(coil__gen_live(), 0);
}

static coil_ret returns_what_it_is_told(coil_gen *self, void *rc)
{
    coil_ignore(coil_gen_yield(self, 1));
    return *(coil_ret *)rc;
}

COIL_TEST(asyncgen_dropped_elsewhere_that_fails_is_told_of_but_not_one_that_is_cancelled)
{
    static const coil_ret ends[] = {-EIO, -ECANCELED, 0};
    for (int i = 0; i < 3; i++) {
        coil_gen *gen = coil_gen_new(returns_what_it_is_told, &ends[i]);
        assert_int_equal(coil_gen_next(gen, NULL), 1);
        listen_here();
        drop_elsewhere(gen);
        assert_int_equal(coil_sleep(1), 0);
        assert_int_equal(coil__gen_live(), 0);
        assert_int_equal(heard.reports, ends[i] == -EIO);
        if (heard.reports) {
            assert_int_equal(heard.code, -EIO);
            assert_string_equal(heard.kind, "generator-error");
            assert_non_null(strstr(heard.message, "generator returns_what_it_is_told ("));
            assert_non_null(strstr(heard.message, ") failed while it was closed"));
        }
    }
}

struct drop_at_the_end {
    coil_gen *gen;
    struct thread thread;
};

static coil_ret drops_elsewhere_and_returns(void *arg)
{
    struct drop_at_the_end *d = arg;
    if (coil_gen_next(d->gen, NULL) != 1)
        return -EIO;
    if (coil__thread_start(&d->thread, "drops", drops_in_thread, d->gen) < 0)
        return -EAGAIN;
    coil__thread_join(&d->thread); /* posted, and the loop has no turn any more */
    return 0;
}

COIL_TEST_PLAIN(asyncgen_dropped_elsewhere_as_the_loop_closes_is_unwound)
{
    struct life life = {0};
    struct drop_at_the_end d = {.gen = coil_gen_new(yields_and_waits_at_the_end, &life)};
    coil_loop *loop = coil_new_event_loop(NULL);
    assert_int_equal(
        coil_loop_run_until_complete(loop, coil_coro_new(drops_elsewhere_and_returns, &d)), 0);
    coil_loop_free(loop);
    assert_int_equal(life.ended, 1);
    assert_int_equal(coil__gen_live(), 0);
}

static void make_and_lose(void *arg)
{
    coil_gen **gens = arg;
    for (int i = 0; i < 2; i++)
        coil_gen_unref(gens[i]);
}

/* Without a loop there is no way home; of one that is closed, neither. */
COIL_TEST_PLAIN(asyncgen_with_no_way_home_is_lost_and_said_so)
{
    struct life life[2] = {{0}};
    coil_gen *gens[] = {coil_gen_new(count_up, NULL),
                        coil_gen_new(yields_and_waits_at_the_end, &life[1])};
    coil_gen *spare = coil_gen_ref(gens[0]), *spare_2 = coil_gen_ref(gens[1]);
    coil_gen_unref(spare);
    coil_gen_unref(spare_2);
    coil_loop *loop = coil_new_event_loop(NULL);
    assert_int_equal(coil_gen_next(gens[0], NULL), 1);
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(steps_once, gens[1])), 1);
    coil_loop_free(loop);
    memset(&heard, 0, sizeof heard);
    coil_set_log(hear_complaint, NULL);
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "loses", make_and_lose, gens), 0);
    coil__thread_join(&thread);
    coil_set_log(NULL, NULL);
    assert_int_equal(heard.complaints, 2);
    assert_non_null(strstr(heard.complaint, "it is lost"));
    assert_int_equal(life[1].ended, 0);
    /* Nobody but this test could find them again. */
    for (int i = 0; i < 2; i++) {
        coil_gen_ref(gens[i]);
        coil_gen_unref(gens[i]);
    }
    assert_int_equal(coil__gen_live(), 0);
}

COIL_TEST_MAIN()
