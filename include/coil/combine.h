/* SPDX-License-Identifier: MIT
 *
 * coil/combine.h: waiting for several things at once, or for one of them for so long.
 *
 * All of these take futures, hence tasks; a coroutine object becomes one with coil_ensure_future. They
 * borrow what they are given unless COIL_UNREF says otherwise, and keep it alive while they need it. The
 * futures of one call belong to one loop. The same future given twice counts once and answers at both
 * places. */
#ifndef COIL_COMBINE_H
#define COIL_COMBINE_H

#include <coil/future.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    COIL_RETURN_EXCEPTIONS = 1u << 0, /* errors are results like others */
    /* Take the caller's references, one for each argument, whatever happens; but none when there are more
     * of them than memory can hold. */
    COIL_UNREF = 1u << 1
};

/* Wait for all of them; results in the order of the arguments. `out_results` may be NULL.
 *
 *   Suspends: until all are done or, without COIL_RETURN_EXCEPTIONS, one has failed; not at all if that
 *             is so already. After the first failure the others run on, and count as looked at.
 *   Cancel:   cancels all of them, waits for that, returns -ECANCELED; nothing if all had ended.
 *   Errors:   the first one's error, -ECANCELED for a cancelled one; COIL_EWRONGLOOP, COIL_ENOTASK,
 *             -EINVAL, -ENOMEM, and then none of them was touched.
 *   asyncio:  await gather(...) */
COIL_ASYNC coil_ret coil_gather(coil_future *const *futures, size_t n, coil_ret *out_results,
                                unsigned flags);

/* The future asyncio's gather returns: its result is a `const coil_ret *`, n results that live as long as
 * the future. Cancelling it cancels all that are not done; it then fails with -ECANCELED once they
 * are. One reference, yours; never NULL. asyncio: gather */
#define coil_gather_future(futures, n, flags) \
    coil_gather_future_at(__FILE__, __LINE__, (futures), (n), (flags))
COIL_API coil_future *coil_gather_future_at(const char *file, int line, coil_future *const *futures,
                                            size_t n, unsigned flags);

enum coil_when {
    COIL_ALL_COMPLETED,
    COIL_FIRST_COMPLETED,
    COIL_FIRST_EXCEPTION /* a cancelled one does not count; if none fails, all */
};

/* Wait until enough of them are done, or for `timeout` seconds; how many of the n are done now. Running
 * out of time is no error. `out_done[i]` tells of futures[i]; it may be NULL.
 *
 *   Suspends: at least for two turns, also if all are done.
 *   Cancel:   returns -ECANCELED; the futures are not touched.
 *   Errors:   -EINVAL for n == 0, for a NaN and an unknown `when`; COIL_EWRONGLOOP, COIL_ENOTASK, -ENOMEM.
 *   asyncio:  wait */
COIL_ASYNC coil_ret coil_wait(coil_future *const *futures, size_t n, double timeout,
                              enum coil_when when, bool *out_done);

/* Wait for one for at most `timeout` seconds, then cancel it and wait for its end; its result, or
 * -ETIMEDOUT. One that answers the cancel with a value or another error has that returned.
 *
 *   Suspends: unless it is done.
 *   Cancel:   cancels it too; returns -ECANCELED.
 *   Errors:   its own; -ETIMEDOUT; -EINVAL for a NaN; COIL_EWRONGLOOP, COIL_ENOTASK, -ENOMEM.
 *   asyncio:  wait_for */
COIL_ASYNC coil_ret coil_wait_for(coil_future *future, double timeout);

/* Call fn(arg) here, in this task; its waiting calls return -ECANCELED when the time is up, and what it
 * then returns as -ECANCELED becomes -ETIMEDOUT. With no time left fn is not called.
 *
 *   Suspends: as fn does; with no time left for three turns, as asyncio does.
 *   Cancel:   is fn's to see.
 *   Errors:   as coil_wait_for.
 *   asyncio:  wait_for, given a coroutine */
COIL_ASYNC coil_ret coil_wait_for_call(coil_fn fn, void *arg, double timeout);

/* Wait for it, and leave it alone if this task is cancelled meanwhile. If it then fails, the loop's
 * exception handler is told.
 *
 *   Suspends: unless it is done.
 *   Cancel:   returns -ECANCELED; `future` runs on.
 *   Errors:   its own, also -ECANCELED if somebody else cancels it; COIL_EWRONGLOOP, COIL_ENOTASK, -ENOMEM.
 *   asyncio:  await shield(...) */
COIL_ASYNC coil_ret coil_shield(coil_future *future);

/* The future asyncio's shield returns: cancelling it leaves the one inside alone. One that is done is
 * returned as it is. One reference, yours; never NULL. asyncio: shield */
#define coil_shield_future(future) coil_shield_future_at(__FILE__, __LINE__, (future))
COIL_API coil_future *coil_shield_future_at(const char *file, int line, coil_future *future);

/* Futures in the order in which they finish:
 *
 *     coil_as_completed it;
 *     rc = coil_as_completed_init(&it, futures, n, 5.0);
 *     while (rc == 0 && (rc = coil_as_completed_next(&it, &future)) > 0)
 *         rc = handle(coil_future_result(future));
 *     coil_as_completed_close(&it);
 */
typedef struct {
    void *priv_[6];
} coil_as_completed;

/* Start watching them. After `timeout` seconds those that are not done yet are dropped.
 *
 *   Owns:   keeps the futures alive until closed; on failure there is nothing to close.
 *   Where:  the loop's thread; also outside of tasks.
 *   Errors: -EINVAL for a NaN; COIL_EWRONGLOOP, COIL_ENOLOOP, -ENOMEM.
 *   asyncio: as_completed */
COIL_API int coil_as_completed_init(coil_as_completed *it, coil_future *const *futures, size_t n,
                                    double timeout);

/* The next one that is done: 1 and the future itself (borrowed, good until closed), 0 after the last.
 *
 *   Suspends: until there is one; several tasks may ask, and are served in order of asking.
 *   Cancel:   returns -ECANCELED; nothing is lost, the next call goes on where this one stood.
 *   Errors:   -ETIMEDOUT, once for each that was dropped; COIL_ENOTASK.
 *   asyncio:  async for ... in as_completed(...) */
COIL_ASYNC coil_ret coil_as_completed_next(coil_as_completed *it, coil_future **out_future);

/* Let go of them; they run on. Whoever still waits in next gets 0. Twice, or zeroed, is fine. */
COIL_API void coil_as_completed_close(coil_as_completed *it);

#ifdef __cplusplus
}
#endif
#endif
