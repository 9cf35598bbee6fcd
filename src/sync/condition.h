/* SPDX-License-Identifier: MIT
 *
 * condition.h: a condition from the inside, for the barrier that stands on one. */
#ifndef COIL_SYNC_CONDITION_H
#define COIL_SYNC_CONDITION_H

#include "sync/waiters.h"

#include <coil/sync.h>

struct condition {
    coil_lock *lock; /* NULL: own */
    struct waiters waiters;
    coil_lock own;
};
_Static_assert(sizeof(struct condition) <= sizeof(coil_condition), "coil_condition is too small");
_Static_assert(_Alignof(struct condition) <= _Alignof(coil_condition),
               "coil_condition is not aligned");
_Static_assert(offsetof(struct condition, lock) == offsetof(coil_condition, lock_), "lock");

/* coil_condition_wait under another name for what is waited for. */
COIL_MUST coil_ret coil__condition_wait_as(coil_condition *condition, const struct wait_class *cls);

#endif
