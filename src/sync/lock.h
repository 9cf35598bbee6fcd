/* SPDX-License-Identifier: MIT
 *
 * lock.h: a lock from the inside, for the condition that stands on one. */
#ifndef COIL_SYNC_LOCK_H
#define COIL_SYNC_LOCK_H

#include "sync/waiters.h"

#include <coil/sync.h>

struct lock {
    struct waiters waiters;
    uint64_t owner; /* number of the task that took it, for reports and unwinding; 0: nobody */
    bool locked;
};
_Static_assert(sizeof(struct lock) <= sizeof(coil_lock), "coil_lock is too small");
_Static_assert(_Alignof(struct lock) <= _Alignof(coil_lock), "coil_lock is not aligned");

static inline struct lock *lock_of(coil_lock *lock)
{
    return (struct lock *)lock;
}

static inline const struct lock *lock_of_const(const coil_lock *lock)
{
    return (const struct lock *)lock;
}

/* The current task, being unwound, takes back a lock it gave up to wait: if it is free. Never waits. */
void coil__lock_retake(coil_lock *lock);

#endif
