/* SPDX-License-Identifier: MIT
 *
 * coil/timeout.h: a deadline for a stretch of code, whatever it waits for.
 *
 *     coil_timeout(tm, 5.0);
 *     coil_ret rc = talk_to(peer);            // its waiting call returns -ECANCELED when time is up
 *     return coil_timeout_exit(&tm, rc);      // ... which becomes -ETIMEDOUT here, and only here
 *
 * A scope whose time is up cancels the task it was entered in, once, and takes that cancel back at its
 * end. Scopes nest; each answers for its own cancel only, so one from outside stays -ECANCELED.
 *
 * The scope lives in the frame that enters it and must not be moved. Left by `return` without exit, it
 * ends as well, but a -ECANCELED that is returned past it stays what it is. */
#ifndef COIL_TIMEOUT_H
#define COIL_TIMEOUT_H

#include <coil/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    void *priv_[12];
} coil_timeout_scope;

/* Enter a scope that lasts until the end of the block, at most `delay` seconds: COIL_FOREVER for no limit, <= 0
 * for a cancel in the next turn. */
#define coil_timeout(name, delay)                                         \
    coil_timeout_scope name __attribute__((cleanup(coil_timeout_leave))); \
    (void)coil_timeout_enter(&name, (delay))

/* The same with a point in time on coil_loop_time. */
#define coil_timeout_at(name, when)                                       \
    coil_timeout_scope name __attribute__((cleanup(coil_timeout_leave))); \
    (void)coil_timeout_enter_at(&name, (when))

/* What the macros call. A scope that cannot be kept cancels its task at once and exit says why, so the
 * result need not be looked at.
 *
 *   Owns:   nothing; the scope must be left before its frame is.
 *   Where:  inside a task.
 *   Errors: -EINVAL for a NaN, COIL_ENOTASK, -ENOMEM.
 *   asyncio: async with timeout(...), async with timeout_at(...) */
COIL_API int coil_timeout_enter(coil_timeout_scope *scope, double delay);
COIL_API int coil_timeout_enter_at(coil_timeout_scope *scope, double when);

/* Leave it with what the body came to: rc, or -ETIMEDOUT if rc is the -ECANCELED of this scope's own
 * cancel and no other is outstanding. An error that was made of that cancel (coil_fail_from) gets the
 * -ETIMEDOUT into its chain of causes. asyncio: Timeout.__aexit__ */
COIL_API COIL_MUST coil_ret coil_timeout_exit(coil_timeout_scope *scope, coil_ret rc);

/* The end of the block: as exit, for those who returned. After exit it does nothing. */
COIL_API void coil_timeout_leave(coil_timeout_scope *scope);

/* Its deadline on coil_loop_time; COIL_FOREVER for none. asyncio: Timeout.when */
COIL_API double coil_timeout_when(const coil_timeout_scope *scope);

/* Another deadline; COIL_FOREVER for none, one that has passed for the next turn.
 *
 *   Where:  the loop's thread, not only the scope's own task.
 *   Errors: COIL_EINVALIDSTATE when it was left or its time was up; -EINVAL for a NaN; -ENOMEM, and then the
 *           old deadline stands.
 *   asyncio: Timeout.reschedule */
COIL_API int coil_timeout_reschedule(coil_timeout_scope *scope, double when);

/* Was its time up before it was left? asyncio: Timeout.expired */
COIL_API bool coil_timeout_expired(const coil_timeout_scope *scope);

#ifdef __cplusplus
}
#endif
#endif
