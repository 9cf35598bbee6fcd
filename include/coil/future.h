/* SPDX-License-Identifier: MIT
 *
 * coil/future.h: a result that is not here yet.
 *
 *     PENDING --set_result / set_exception--> FINISHED
 *        |
 *        +------------------ cancel --------> CANCELLED
 *
 * Futures are counted: who creates one owns a reference and gives it back with coil_unref. Awaiting
 * borrows. Everything here belongs to the thread of the future's loop. */
#ifndef COIL_FUTURE_H
#define COIL_FUTURE_H

#include <coil/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

enum coil_future_state { COIL_FUTURE_PENDING, COIL_FUTURE_CANCELLED, COIL_FUTURE_FINISHED };

/* Called through the ready queue once the future is done, in the context of who added it. */
typedef void (*coil_done_fn)(coil_future *future, void *arg);

/* A pending future of this loop (NULL: the running or current one); never NULL: when it cannot be made, a failed
 * future stands in and the error is met at the await. One reference, yours. asyncio: loop.create_future */
#define coil_loop_create_future(loop) coil_create_future_at(__FILE__, __LINE__, (loop))
COIL_API coil_future *coil_create_future_at(const char *file, int line, coil_loop *loop);

/* Share and give back. unref accepts NULL. */
COIL_API coil_future *coil_ref(coil_future *future);
COIL_API void coil_unref(coil_future *future);

/* Which of the three. */
COIL_API enum coil_future_state coil_future_state(const coil_future *future);
/* asyncio: Future.done, Future.cancelled, Future.get_loop */
COIL_API bool coil_future_done(const coil_future *future);
COIL_API bool coil_future_cancelled(const coil_future *future);
COIL_API coil_loop *coil_future_get_loop(const coil_future *future);

/* The result, or the error it failed with; -ECANCELED when cancelled; COIL_EINVALIDSTATE while pending.
 * The failure counts as retrieved, and is what coil_last_error says next. asyncio: Future.result */
COIL_API coil_ret coil_future_result(coil_future *future);

/* The error a done future failed with, good while you hold the future; NULL if it has a result, or is
 * not done (then COIL_EINVALIDSTATE is recorded), and for a cancelled one the record of -ECANCELED.
 * asyncio: Future.exception */
COIL_API const coil_error *coil_future_exception(coil_future *future);

/* Finish it. A negative value in [-4095, -1] given to set_result is refused: that is set_exception's.
 *
 *   Errors: COIL_EINVALIDSTATE when it is done already, or is a task; -EINVAL for a code that is no error.
 *   asyncio: Future.set_result, Future.set_exception */
COIL_API int coil_future_set_result(coil_future *future, coil_ret value);
COIL_API int coil_future_set_exception(coil_future *future, coil_ret error);

/* A result that owns memory: free_result(value) runs when the last reference goes and nobody took the value
 * with result, await or gather. */
COIL_API void coil_future_set_free_result(coil_future *future, void (*free_result)(coil_ret value));

/* Cancel a pending future (a task: ask it to end). `message` may be NULL; it is copied. True if it had
 * an effect. asyncio: Future.cancel, Task.cancel */
COIL_API bool coil_future_cancel(coil_future *future, const char *message);

/* Call fn(future, arg) once done; at once queued if it is done already. Never called inside this call.
 *
 *   Owns:   the future keeps itself alive for the callback.
 *   Errors: -ENOMEM.
 *   asyncio: Future.add_done_callback */
COIL_API int coil_future_add_done_callback(coil_future *future, coil_done_fn fn, void *arg);
COIL_API int coil_future_add_done_callback_context(coil_future *future, coil_done_fn fn, void *arg,
                                                   coil_context *context);
/* Drop every callback with this fn and arg that is not queued yet; how many there were.
 * asyncio: Future.remove_done_callback */
COIL_API int coil_future_remove_done_callback(coil_future *future, coil_done_fn fn, void *arg);

/* Wait for a future, a task or a coroutine object, and get its result or its error.
 *
 *   Suspends: unless it is done; a coroutine object runs right here, in this task.
 *   Cancel:   cancels what is awaited too (use coil_shield against that); returns -ECANCELED.
 *   Owns:     nothing of a future; a coroutine object is consumed.
 *   Errors:   COIL_ENOTASK outside a task, COIL_EWRONGLOOP, COIL_ESELFAWAIT; for a coroutine object that
 *             somebody awaits already COIL_EINVALIDSTATE.
 *   asyncio:  await */
COIL_ASYNC coil_ret coil_await_future(coil_future *future);
COIL_ASYNC coil_ret coil_await_coro(coil_coro *coro);

/* Your own awaitable: anything with a function that waits. */
typedef struct coil_awaitable {
    coil_ret (*await)(struct coil_awaitable *self);
} coil_awaitable;
/* Wait for it in this task: calls its function.
 *
 *   Cancel:   whatever the function makes of it.
 *   asyncio:  object.__await__ */
COIL_ASYNC coil_ret coil_await_object(coil_awaitable *awaitable);

/* Wait, then give the reference back.
 *
 *   Cancel:   as await; the reference is given back all the same.
 *   asyncio:  await, and the variable goes out of scope */
COIL_ASYNC coil_ret coil_join(coil_future *future);

struct coil_gen;
/* Refuses a generator where a coroutine belongs: always COIL_ETYPE.
 *
 *   Cancel:   never waits. */
COIL_ASYNC coil_ret coil_await_generator(struct coil_gen *gen);

#ifndef __cplusplus
#define coil_await(awaitable)                       \
    _Generic((awaitable), coil_coro *               \
             : coil_await_coro, coil_awaitable *    \
             : coil_await_object, struct coil_gen * \
             : coil_await_generator, default        \
             : coil_await_future)(awaitable)
#endif

/* A future for any awaitable: a future is returned as it is with one reference more, a coroutine object or
 * your own awaitable becomes a task. One reference, yours; never NULL. asyncio: ensure_future */
COIL_API coil_future *coil_ensure_future_future(coil_future *future);
COIL_API coil_future *coil_ensure_future_coro(coil_coro *coro);
COIL_API coil_future *coil_ensure_future_object(coil_awaitable *awaitable);
#ifndef __cplusplus
#define coil_ensure_future(awaitable)                    \
    _Generic((awaitable), coil_coro *                    \
             : coil_ensure_future_coro, coil_awaitable * \
             : coil_ensure_future_object, default        \
             : coil_ensure_future_future)(awaitable)
#endif

#ifdef __cplusplus
}
#endif
#endif
