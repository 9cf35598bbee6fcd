/* SPDX-License-Identifier: MIT
 *
 * semaphore.c: Semaphore and BoundedSemaphore.
 *
 * `value` counts the permits nobody has. Waking a waiter takes one out for it; if a cancel overtakes the
 * waiter before its step, it puts the permit back. A permit released while others are already on their
 * way stays in `value`, and they hand it on as they leave the line: so two in the line never swap.
 *
 * Always true: value + waiters granted + permits taken = first value + permits released.
 *
 * Runs on the loop's thread. Elsewhere: the line (waiters.c), the blocks (lock.c). */
#include "base/probe.h"
#include "sync/waiters.h"

#include <coil/sync.h>
#include <inttypes.h>
#include <stdio.h>

struct semaphore {
    intptr_t value;
    intptr_t unbound; /* ~bound; 0: none, since no bound is -1 */
    struct waiters waiters;
};
_Static_assert(sizeof(struct semaphore) <= sizeof(coil_semaphore), "coil_semaphore is too small");
_Static_assert(_Alignof(struct semaphore) <= _Alignof(coil_semaphore),
               "coil_semaphore is not aligned");
_Static_assert(offsetof(struct semaphore, value) == offsetof(coil_semaphore, value_), "value");
_Static_assert(offsetof(struct semaphore, unbound) == offsetof(coil_semaphore, unbound_),
               "unbound");

static int describe(const struct wait *wait, char *out, size_t n)
{
    const struct semaphore *s = container_of(waiter_line(wait), struct semaphore, waiters);
    return snprintf(out, n, "%" PRIdPTR " permits free, %u in line", s->value, s->waiters.n);
}

static const struct wait_class semaphore_wait = {
    .what = "semaphore",
    .cancel = coil__waiter_cancel,
    .describe = describe,
    .shows = SHOWS_OBJECT,
    .at = offsetof(struct waiter, line),
    .then = -(int)offsetof(struct semaphore, waiters),
};

static int check(const struct semaphore *s)
{
    if (s->value < 0)
        return (int)coil__fail(-EINVAL, "a semaphore cannot begin with %" PRIdPTR " permits",
                               s->value);
    return 0;
}

static bool locked(const struct semaphore *s)
{
    return s->value <= 0 || waiters_live(&s->waiters);
}

static bool wake_next(struct semaphore *s)
{
    if (!coil__waiters_wake(&s->waiters))
        return false;
    s->value--;
    return true;
}

COIL_ASYNC coil_ret coil_semaphore_acquire(coil_semaphore *public)
{
    struct semaphore *s = (struct semaphore *)public;
    int err = coil__can_wait();
    if (err < 0 || (err = check(s)) < 0)
        return err;
    if (!locked(s)) {
        s->value--;
        return 0;
    }
    struct waiter w = {.state = WAITER_PENDING};
    coil_ret rc = coil__waiters_wait(&s->waiters, &w, &semaphore_wait);
    if (coil_iserr(rc) && w.state == WAITER_GRANTED) {
        COIL_PROBE("a permit of a cancelled task goes back");
        s->value++;
    }
    while (s->value > 0 && wake_next(s)) {}
    return coil_iserr(rc) ? rc : 0;
}

int coil_semaphore_release(coil_semaphore *public)
{
    struct semaphore *s = (struct semaphore *)public;
    int err = check(s);
    if (err < 0 || (err = coil__waiters_check_thread(&s->waiters)) < 0)
        return err;
    if (s->unbound && s->value >= ~s->unbound)
        return (int)coil__fail(-EINVAL, "the bounded semaphore was released too many times");
    if (s->value == INTPTR_MAX)
        return (int)coil__fail_plain(-EOVERFLOW);
    s->value++;
    wake_next(s);
    return 0;
}

bool coil_semaphore_locked(const coil_semaphore *semaphore)
{
    return locked((const struct semaphore *)semaphore);
}

int coil_semaphore_repr(const coil_semaphore *public, char *out, size_t n)
{
    const struct semaphore *s = (const struct semaphore *)public;
    char state[48] = "locked";
    if (!locked(s))
        snprintf(state, sizeof state, "unlocked, value:%" PRIdPTR, s->value);
    return coil__waiters_repr(&s->waiters, "semaphore", state, out, n);
}

static int release_semaphore(void *semaphore)
{
    return coil_semaphore_release(semaphore);
}

COIL_ASYNC coil_sync_scope coil_semaphore_enter(coil_semaphore *semaphore, coil_ret *out_rc)
{
    *out_rc = coil_semaphore_acquire(semaphore);
    if (coil_iserr(*out_rc))
        return (coil_sync_scope){0};
    return (coil_sync_scope){semaphore, release_semaphore};
}
