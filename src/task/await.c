/* SPDX-License-Identifier: MIT
 *
 * await.c: waiting for a future, a coroutine object, or anything else that can be waited for.
 *
 *     coil_await(f) --done already--> its result, without a switch
 *                   --pending-------> a node in f's callbacks --f finishes--> the task's step is queued
 *
 * Cancelling the waiting task cancels what it waits for, as asyncio does; a wait for a task is thus
 * handed down the chain.
 *
 * Runs on the loop's thread. */
#include "task/task.h"

#include <stdio.h>

struct future_wait {
    struct wait w;
    struct future_callback cb;
    coil_future *future; /* counted while waiting, so that it outlives its last owner */
};

static void future_is_done(struct future_callback *cb, coil_future *f)
{
    struct future_wait *fw = container_of(cb, struct future_wait, cb);
    (void)f;
    if (!fw->w.woken)
        coil__wake(&fw->w, 0);
}

static bool cancel_future(struct wait *w, const char *message)
{
    return coil_future_cancel(container_of(w, struct future_wait, w)->future, message);
}

static coil_future *awaited(const struct wait *w)
{
    return ((const struct future_wait *)w)->future; /* w is its first */
}

static void abandon_future(struct wait *w)
{
    future_unwatch(&container_of(w, struct future_wait, w)->cb);
}

static int describe_future(const struct wait *w, char *out, size_t n)
{
    const struct future_wait *fw = (const struct future_wait *)w;
    const coil_future *f = fw->future;
    if (f->is_task)
        return snprintf(out, n, "%s", ((const struct coil__task *)f)->name);
    return snprintf(out, n, "%s created at %s:%d", f->cls->name, f->file ? f->file : "?", f->line);
}

static const struct wait_class future_wait_class = {.what = "future",
                                                    .cancel = cancel_future,
                                                    .passes = awaited,
                                                    .abandon = abandon_future,
                                                    .describe = describe_future,
                                                    .shows = SHOWS_FUTURE,
                                                    .at = offsetof(struct future_wait, future)};

coil_ret coil_await_future(coil_future *future)
{
    int err = coil__can_wait();
    if (err)
        return err;
    if (!future)
        return coil__fail(-EINVAL, "there is no future to wait for (NULL)");
    if (future_done(future))
        return coil__future_take(future);
    struct coil__task *t = coil__current();
    if (future->loop != coil__running_loop)
        return coil__fail(COIL_EWRONGLOOP, "the future is attached to a different loop");
    if (future == &t->future)
        return coil__fail_plain(COIL_ESELFAWAIT);

    struct future_wait fw = {.w = WAIT_INIT(&future_wait_class),
                             .cb = {.fire = future_is_done, .by = &t->future},
                             .future = coil_ref(future)};
    wait_belongs(&fw.w, &t->future);
    list_push(&future->callbacks, &fw.cb.link); /* it is pending */
    coil_ret rc = coil__park_task(t, &fw.w);
    future_unwatch(&fw.cb);
    if (!coil_iserr(rc))
        rc = coil__future_take(future);
    coil_unref(future);
    return rc;
}

coil_ret coil_join(coil_future *future)
{
    coil_ret rc = coil_await_future(future);
    coil_unref(future);
    return rc;
}

coil_ret coil_await_object(coil_awaitable *awaitable)
{
    int err = coil__can_wait();
    if (err)
        return err;
    if (!awaitable || !awaitable->await)
        return coil__fail(COIL_ETYPE, "object can't be used in await: it has no await function");
    return awaitable->await(awaitable);
}

coil_ret coil_await_generator(struct coil_gen *gen)
{
    (void)gen;
    return coil__fail(COIL_ETYPE, "a generator is not a coroutine; wrap it with coil_gen_to_coro");
}
