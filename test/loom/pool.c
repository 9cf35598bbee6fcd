/* SPDX-License-Identifier: MIT
 *
 * pool.c: the real job queue: submits, cancels and ends that meet its workers at every moment. */
#include "io/threads.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#include <coil/error.h>

#include "loom.h"
#include "scenarios.h"

static struct pool *pool;

static struct counted {
    struct job job;
    unsigned ran, finished, dropped, cancelled, refused;
} jobs[4];

static struct counted *of(struct job *job)
{
    return (struct counted *)job;
}

static void run(struct job *job)
{
    loom_step("a job's work");
    of(job)->ran++;
}

static void finish(struct job *job)
{
    loom_check(of(job)->ran == 1);
    of(job)->finished++;
}

static void drop(struct job *job)
{
    of(job)->dropped++;
}

static int64_t live;
static unsigned busy;

static void begin(unsigned threads)
{
    live = coil__mem_live();
    busy = coil__thread_busy();
    for (unsigned i = 0; i < 4; i++)
        jobs[i] = (struct counted){.job = {.run = run, .finish = finish}};
    loom_check(coil__pool_new(&pool, "loom", threads) == 0);
}

/* Every job met exactly one end. */
static void end(unsigned n)
{
    loom_join_all();
    for (unsigned i = 0; i < n; i++) {
        loom_check(jobs[i].finished + jobs[i].dropped + jobs[i].cancelled + jobs[i].refused == 1);
        loom_check(jobs[i].ran == jobs[i].finished);
    }
    loom_check(coil__thread_busy() == busy);
    loom_check(coil__mem_live() == live);
}

static void submit(void *arg)
{
    struct counted *c = arg;
    c->refused = coil__pool_submit(pool, &c->job) == COIL_ESHUTDOWN;
}

static void submit_and_cancel(void *arg)
{
    struct counted *c = arg;
    submit(c);
    if (!c->refused)
        c->cancelled = coil__pool_cancel(pool, &c->job);
}

/* No job waits while a worker sleeps for good: the join would never end. */
static void runs_every_job(void)
{
    begin(2);
    unsigned a = loom_thread("submitter", submit, &jobs[0]);
    submit(&jobs[1]);
    loom_check(!jobs[1].refused);
    loom_join(a);
    coil__pool_shutdown(pool, false, NULL);
    loom_check(coil__pool_join(pool, CLOCK_FOREVER));
    coil__pool_free(pool);
    end(2);
    loom_check(jobs[0].ran && jobs[1].ran);
}

static bool has_begun(void *c)
{
    return ((struct counted *)c)->ran > 0;
}

static void run_and_wait_for_the_other(struct job *job)
{
    run(job);
    loom_wait("the other job to begin", has_begun, &jobs[(of(job) - jobs) ^ 1]);
}

/* Each idle worker looks once more without the lock, as one does whose time is up at once. */
static void let_it_spin(void)
{
    coil__pool_set_spin(pool, 1);
}

/* Two threads may be had, so neither waits for the other to end. */
static void run_two_at_once(struct counted *two)
{
    two[0].job.run = two[1].job.run = run_and_wait_for_the_other;
    submit(&two[0]);
    submit(&two[1]);
}

static void end_pool(unsigned n)
{
    coil__pool_shutdown(pool, false, NULL);
    loom_check(coil__pool_join(pool, CLOCK_FOREVER));
    coil__pool_free(pool);
    end(n);
}

static void runs_two_at_once(void)
{
    begin(2);
    submit(&jobs[2]); /* its worker may be idle, or on its way there, when the others come */
    run_two_at_once(jobs);
    end_pool(3);
}

static bool both_ended(void *two)
{
    return ((struct counted *)two)[0].finished && ((struct counted *)two)[1].finished;
}

/* One spins and the other one sleeps, or is about to. */
static void runs_two_at_once_with_a_spinner(void)
{
    begin(2);
    let_it_spin();
    run_two_at_once(&jobs[2]);
    loom_wait("the first two to end", both_ended, &jobs[2]);
    run_two_at_once(jobs);
    loom_wait("the second two to end", both_ended, jobs); /* the pool's end would wake everybody */
    end_pool(4);
}

/* Who submits wakes nobody for a spinner, whose time may be over. */
static void runs_what_a_spinner_was_left(void)
{
    begin(1);
    let_it_spin();
    unsigned a = loom_thread("submitter", submit, &jobs[0]);
    submit(&jobs[1]);
    loom_join(a);
    coil__pool_shutdown(pool, false, NULL);
    loom_check(coil__pool_join(pool, CLOCK_FOREVER));
    coil__pool_free(pool);
    end(2);
    loom_check(jobs[0].ran && jobs[1].ran);
}

static void cancels_what_still_waits(void)
{
    begin(1);
    loom_thread("submitter", submit_and_cancel, &jobs[0]);
    submit_and_cancel(&jobs[1]);
    coil__pool_shutdown(pool, true, drop);
    loom_check(coil__pool_join(pool, CLOCK_FOREVER));
    loom_join_all(); /* who submits uses the pool */
    coil__pool_free(pool);
    end(2);
}

/* Given up with workers in it: the last of them frees it. */
static void frees_itself_when_given_up(void)
{
    begin(2);
    submit(&jobs[0]);
    submit(&jobs[1]);
    coil__pool_free(pool);
    end(2);
    loom_check(jobs[0].ran && jobs[1].ran);
}

/* A deadline may pass while workers run; they are not lost. */
static void may_be_left_at_a_deadline(void)
{
    begin(1);
    submit(&jobs[0]);
    coil__pool_shutdown(pool, false, NULL);
    (void)coil__pool_join(pool, 1);
    coil__pool_free(pool);
    end(1);
}

const struct loom_scenario loom_scenarios[] = {
    {"a_pool_runs_every_job_and_lets_no_job_wait_for_a_sleeper", runs_every_job, 3},
    {"a_pool_runs_as_many_jobs_at_once_as_it_may", runs_two_at_once, 3},
    {"a_pool_with_a_spinner_runs_as_many_jobs_at_once", runs_two_at_once_with_a_spinner, 2},
    {"a_pool_leaves_no_job_to_a_spinner_that_sleeps", runs_what_a_spinner_was_left, 3},
    {"a_pool_cancels_drops_or_runs_a_job_and_only_one_of_these", cancels_what_still_waits, 3},
    {"a_pool_given_up_is_freed_by_its_last_worker", frees_itself_when_given_up, 3},
    {"a_pool_that_is_joined_with_a_deadline_loses_nothing", may_be_left_at_a_deadline, 3},
    {0},
};
