/* SPDX-License-Identifier: MIT
 *
 * gate.h: a job that stays on its thread until the test lets it go. */
#ifndef TEST_WORK_GATE_H
#define TEST_WORK_GATE_H

#include "test.h"

#include "base/clock.h"
#include "base/thread.h"

#include <coil.h>

struct gate {
    struct mutex lock;
    struct cond changed;
    int entered, left; /* jobs */
    bool open;
};

#define GATE_INIT                                                   \
    {                                                               \
        .lock = MUTEX_INIT, .changed = { PTHREAD_COND_INITIALIZER } \
    }

/* The job: in, wait until the gate is open, out; 7. */
static inline coil_ret pass_gate(void *arg)
{
    struct gate *gate = arg;
    coil__mutex_lock(&gate->lock);
    gate->entered++;
    coil__cond_broadcast(&gate->changed);
    while (!gate->open)
        coil__cond_wait(&gate->changed, &gate->lock);
    gate->left++;
    coil__mutex_unlock(&gate->lock);
    return 7;
}

/* The same for a copied argument: a pointer to the gate. */
static inline coil_ret pass_gate_at(void *arg)
{
    return pass_gate(*(struct gate **)arg);
}

static inline void gate_open(struct gate *gate)
{
    coil__mutex_lock(&gate->lock);
    gate->open = true;
    coil__cond_broadcast(&gate->changed);
    coil__mutex_unlock(&gate->lock);
}

/* Until n jobs are in, or have been. */
static inline void gate_await(struct gate *gate, int n)
{
    coil__mutex_lock(&gate->lock);
    while (gate->entered < n)
        coil__cond_wait(&gate->changed, &gate->lock);
    coil__mutex_unlock(&gate->lock);
}

static inline int gate_left(struct gate *gate)
{
    coil__mutex_lock(&gate->lock);
    int left = gate->left;
    coil__mutex_unlock(&gate->lock);
    return left;
}

/* For a thread: opens it while others are in the midst of what they do. */
static inline void open_later(void *arg)
{
    struct gate *gate = arg;
    coil__mutex_lock(&gate->lock);
    (void)coil__cond_wait_until(&gate->changed, &gate->lock,
                                coil__clock_real_ns() + 20 * NS_PER_MS);
    coil__mutex_unlock(&gate->lock);
    gate_open(gate);
}

/* A coil_callback_fn. */
static inline void gate_open_callback(void *arg)
{
    gate_open(arg);
}

/* A pool of one thread, which the gate's job holds. */
static inline coil_executor *held_pool(struct gate *gate, coil_thread_future **out_job)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, "held");
    *out_job = coil_executor_submit(executor, pass_gate, gate, 0);
    gate_await(gate, 1);
    return executor;
}

static inline void end_pool(coil_executor *executor, struct gate *gate, coil_thread_future *job)
{
    gate_open(gate);
    assert_int_equal(coil_thread_future_result(job, COIL_FOREVER), 7);
    coil_thread_future_unref(job);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_executor_unref(executor);
}

static inline void ignore_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

/* A loop whose task, fn(arg), has begun; its default executor, or NULL. */
static inline coil_loop *begun_loop(coil_executor *executor, coil_fn fn, void *arg)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_loop_set_exception_handler(loop, ignore_report, NULL);
    if (executor)
        assert_int_equal(coil_loop_set_default_executor(loop, executor), 0);
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    coil_unref(coil_create_task_opts(fn, arg, &opts));
    assert_int_equal(coil_loop_iterate(loop), 1);
    return loop;
}

/* The loop closes while the job of its task is queued behind one that holds the pool. */
static inline void close_with_queued_job(coil_fn fn, void *arg)
{
    struct gate holding = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&holding, &held);
    coil_loop *loop = begun_loop(executor, fn, arg);
    assert_int_equal(coil_loop_close(loop), 0);
    coil_loop_free(loop);
    end_pool(executor, &holding, held);
}

static inline coil_ret return_arg(void *arg)
{
    return (coil_ret)(intptr_t)arg;
}

static inline coil_ret fail_with_words(void *arg)
{
    return coil_fail(COIL_EUSER - 5, "disk %d is full", (int)(intptr_t)arg);
}

static inline void *number(intptr_t n)
{
    return (void *)n;
}

#endif
