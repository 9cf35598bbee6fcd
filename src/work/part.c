/* SPDX-License-Identifier: MIT
 *
 * part.c: what this floor keeps for each loop: its default executor and its links to other threads.
 *
 * The default executor is made by the first job that names none. Once it was shut down there is no
 * other: a later job is refused. Closing the loop shuts it down without waiting; coil_run waits
 * before that (coil_loop_shutdown_default_executor).
 *
 *     shutdown: a thread of its own joins the pool --posts--> inbox --> the parked task is woken
 *
 * The loop's thread, but for join_main. Elsewhere: who runs the jobs (executor.c). */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "work/work.h"

#include <stdio.h>

/* ---- the part ---- */

static void closing(struct loop_part *p, struct coil_loop *loop)
{
    struct work_part *part = container_of(p, struct work_part, part);
    coil_executor *executor = part->executor;
    part->shut = true;
    part->executor = NULL;
    coil__calls_close(part);
    coil__links_close(part);
    if (executor)
        executor->cls->shutdown(executor, false);
    coil_executor_unref(executor);
}

/* A frame must not go while a job works on it. */
static void settle(struct loop_part *p, struct coil_loop *loop)
{
    (void)loop;
    coil__links_settle(container_of(p, struct work_part, part));
}

static void release(struct loop_part *p)
{
    coil__free(container_of(p, struct work_part, part));
}

struct work_part *coil__work_part(coil_loop *loop)
{
    struct loop_part *have = loop_part(loop, LOOP_PART_WORK);
    if (have)
        return container_of(have, struct work_part, part);
    struct work_part *part = coil__zalloc(sizeof *part);
    if (!part) {
        coil__fail_plain(-ENOMEM);
        return NULL;
    }
    part->part.settle = settle;
    part->part.closing = closing;
    part->part.release = release;
    part->loop = loop;
    list_init(&part->links);
    list_init(&part->calls);
    loop->parts[LOOP_PART_WORK] = &part->part;
    return part;
}

/* ---- the default executor ---- */

int coil__executor_use(coil_loop *loop, coil_executor *executor, coil_executor **out)
{
    if (!executor) {
        struct work_part *part = coil__work_part(loop);
        if (!part)
            return -ENOMEM;
        if (part->shut)
            return (int)coil__fail(COIL_ESHUTDOWN, "the default executor was shut down");
        if (!part->executor) {
            part->executor = coil_thread_pool_executor_new(0, NULL);
            if (!part->executor)
                return -ENOMEM;
            if (loop->spins_for_jobs)
                coil__executor_set_spin(part->executor, loop->spin_ticks);
        }
        executor = part->executor;
    }
    *out = coil_executor_ref(executor);
    return 0;
}

int coil_loop_set_default_executor(coil_loop *loop, coil_executor *executor)
{
    if (!(loop = coil__loop_use_current(loop)))
        return (int)coil_last_error()->code;
    if (!executor || !coil__executor_is_thread_pool(executor))
        return (int)coil__fail(COIL_ETYPE, "the default executor must be a thread pool");
    struct work_part *part = coil__work_part(loop);
    if (!part)
        return -ENOMEM;
    coil_executor *before = part->executor;
    part->executor = coil_executor_ref(executor);
    coil_executor_unref(before);
    return 0;
}

/* ---- its end ---- */

/* Shared by the parked task and the thread that joins; freed by whoever is the last to know of it. */
struct join {
    struct inbox_node node;
    struct inbox *inbox; /* counted */
    coil_loop *loop;
    coil_executor *executor; /* counted */
    int64_t deadline_ns;     /* of the real clock */
    struct thread thread;
    bool ended;        /* all threads have ended in time */
    struct wait *wait; /* of the parked task; NULL once it waits no more. The loop's thread only. */
};

static void free_join(struct join *j)
{
    coil_executor_unref(j->executor);
    coil__free(j);
}

static void join_main(void *arg)
{
    struct join *j = arg;
    struct inbox *inbox = j->inbox;
    j->ended = j->executor->cls->join(j->executor, j->deadline_ns);
    if (!coil__inbox_post(inbox, &j->node)) {
        coil__thread_detach(&j->thread); /* nobody is left to join this one */
        free_join(j);
    }
    coil__inbox_unref(inbox);
}

static void join_arrives(struct inbox_node *node)
{
    struct join *j = container_of(node, struct join, node);
    coil__thread_join(&j->thread);
    j->loop->jobs--;
    if (j->wait)
        coil__wake(j->wait, j->ended);
    free_join(j);
}

/* The frame that waits, and what it waits for. */
struct join_wait {
    struct wait wait;
    struct join *join;
};

static bool join_cancel(struct wait *w, const char *message)
{
    container_of(w, struct join_wait, wait)->join->wait = NULL;
    return coil__wait_cancel_plain(w, message);
}

static void join_abandon(struct wait *w)
{
    container_of(w, struct join_wait, wait)->join->wait = NULL;
}

static const struct wait_class join_class = {
    .what = "executor",
    .cancel = join_cancel,
    .abandon = join_abandon,
};

/* 1: all threads have ended; 0: not in time; or an error. */
static coil_ret wait_for_threads(coil_loop *loop, coil_executor *executor, int64_t deadline_ns)
{
    struct join *j = coil__zalloc(sizeof *j);
    if (!j)
        return coil__fail_plain(-ENOMEM);
    struct join_wait jw = {.wait = WAIT_INIT(&join_class), .join = j};
    j->node.fn = join_arrives;
    j->inbox = coil__inbox_ref(loop->inbox);
    j->loop = loop;
    j->executor = coil_executor_ref(executor);
    j->deadline_ns = deadline_ns;
    j->wait = &jw.wait;
    loop->jobs++;
    int err = coil__thread_start(&j->thread, "coil-join", join_main, j);
    if (err) {
        loop->jobs--;
        coil__inbox_unref(j->inbox);
        free_join(j);
        return coil__fail(err, "no thread could be started to join the default executor: %s",
                          coil_strerror(err));
    }
    return coil__park(&jw.wait);
}

coil_ret coil_loop_shutdown_default_executor(coil_loop *loop, double timeout)
{
    int err = coil__can_wait();
    if (err)
        return err;
    if (timeout != timeout)
        return coil__fail(-EINVAL, "a timeout must be a number");
    if (loop && loop != coil__running_loop)
        return coil__fail_plain(COIL_EWRONGLOOP);
    loop = coil__running_loop;
    struct work_part *part = coil__work_part(loop);
    if (!part)
        return -ENOMEM;
    part->shut = true;
    if (!part->executor)
        return 0;

    coil_executor *executor = coil_executor_ref(part->executor);
    executor->cls->shutdown(executor, false);
    int64_t now = coil__clock_real_ns();
    coil_ret rc = executor->cls->join(executor, now);
    if (rc == 0)
        rc = timeout > 0 ? wait_for_threads(loop, executor,
                                            clock_add(now, coil__clock_from_seconds(timeout)))
                         : 0;
    if (rc == 0) {
        char text[96];
        snprintf(text, sizeof text,
                 "The executor did not finish joining its threads within %g seconds.", timeout);
        coil__loop_report(loop, "threads-left", text, 0, NULL, NULL);
    }
    coil_executor_unref(executor);
    return coil_iserr(rc) ? rc : 0;
}
