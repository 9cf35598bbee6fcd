/* SPDX-License-Identifier: MIT
 *
 * until.c: turning a loop until one future is done.
 *
 * Runs on the thread that becomes the loop's. */
#include "base/log.h"
#include "task/task.h"

#include <stdio.h>

struct until {
    struct future_callback cb;
    coil_loop *loop;
    uint64_t position;
    bool fired;
};

static void stop_now(void *arg)
{
    coil_loop_stop(((struct until *)arg)->loop);
}

static void until_done(struct future_callback *cb, coil_future *f)
{
    struct until *u = container_of(cb, struct until, cb);
    (void)f;
    loop_push(u->loop, stop_now, u, NULL);
    u->position = loop_last_position(u->loop);
    u->fired = true;
}

/* What a task waits for; where somebody holds it, who. */
static const char *what_of(const struct coil__task *t, char *out, size_t n)
{
    if (t->waiting->cls->shows != SHOWS_OWNER)
        return t->waiting->cls->what;
    coil__wait_words(t->waiting, out, n);
    return out;
}

/* Who waits for what: the first few tasks, in the record's words. */
static coil_ret name_the_waiting(coil_loop *loop)
{
    char text[ERROR_TEXT_MAX], what[ERROR_TEXT_MAX], since[40];
    int n = snprintf(text, sizeof text, "nothing left can wake any task:");
    struct task_part *part = coil__task_part(loop);
    LIST_FOREACH(link, &part->tasks) {
        const struct coil__task *t = container_of(link, struct coil__task, future.all);
        if (n >= (int)sizeof text)
            break;
        COIL_CHECK(t->waiting); /* whose turn it is is no deadlock */
        coil__since_words(t, since, sizeof since);
        n += snprintf(text + n, sizeof text - (size_t)n, " %s waits for %s%s;", t->name,
                      what_of(t, what, sizeof what), since);
    }
    if (part->tasks_n == 0)
        snprintf(text + n, sizeof text - (size_t)n,
                 " there are no tasks, and the future is still pending");
    coil_ret rc = coil__fail(COIL_EDEADLOCK, "%s", text);
    const coil_error *error = coil_last_error();
    char line[ERROR_TEXT_MAX + 16];
    snprintf(line, sizeof line, "coil: %s\n", error->message);
    /* The caller is told and may print it: to a hook only. */
    coil__log(&(coil_log_record){.size = sizeof(coil_log_record),
                                 .level = COIL_LOG_INFO,
                                 .kind = "deadlock",
                                 .message = error->message,
                                 .text = line,
                                 .loop = loop,
                                 .task_name = "",
                                 .code = rc,
                                 .error = error});
    return rc;
}

coil_ret coil_loop_run_until_complete_future(coil_loop *loop, coil_future *future)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return COIL_ENOLOOP;
    if (loop->closed)
        return coil__fail_plain(COIL_ECLOSED);
    if (!future)
        return coil__fail(-EINVAL, "there is no future to run for (NULL)");
    if (future->immortal)
        return coil__future_take(future);
    if (future->loop != loop)
        return coil__fail(COIL_EWRONGLOOP, "the future is attached to a different loop");
    if (coil__loop_hold(loop, 1) < 0)
        return coil__fail_plain(-ENOMEM);

    struct until u = {.cb = {.fire = until_done}, .loop = loop};
    coil_ref(future);
    coil__future_watch(future, &u.cb);
    bool before = loop->until_future; /* a run inside a run is refused, and must leave no trace */
    loop->until_future = true;
    coil_ret rc = coil__loop_run(loop);
    loop->until_future = before;
    future_unwatch(&u.cb);
    if (u.fired)
        coil__loop_unpush(loop, u.position);
    loop_release(loop, 1);
    if (rc == COIL_EDEADLOCK)
        rc = name_the_waiting(loop);
    else if (rc == 0)
        rc = future_done(future) ? coil__future_take(future) : coil__fail_plain(COIL_ESTOPPED);
    coil_unref(future);
    return rc;
}

coil_ret coil_loop_run_until_complete_coro(coil_loop *loop, coil_coro *coro)
{
    if (!loop && !(loop = coil_get_event_loop())) {
        coil_coro_close(coro);
        return COIL_ENOLOOP;
    }
    if (loop->running || coil__running_loop) {
        coil_coro_close(coro);
        return coil__fail(COIL_ERUNNING, "This event loop is already running");
    }
    coil_task *task = coil_create_task_coro_at(
        NULL, 0, coro, &(coil_task_opts){.size = sizeof(coil_task_opts), .loop = loop});
    /* Whatever becomes of it, the caller hears it from us. */
    if (task->is_task)
        as_task(task)->silent = true;
    coil_ret rc = coil_loop_run_until_complete_future(loop, task);
    if (future_done(task))
        task->retrieved = true;
    coil_unref(task);
    return rc;
}
