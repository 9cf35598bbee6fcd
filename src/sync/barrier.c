/* SPDX-License-Identifier: MIT
 *
 * barrier.c: Barrier: a gate that opens when enough tasks stand before it.
 *
 * coil/sync.h draws the states. Everything happens under a condition of the barrier's own: who comes
 * takes its lock, counts itself in, and waits for the state to change; who leaves counts itself out,
 * and the last one makes the barrier ready for the next round.
 *
 * Always true:
 *   - `count` tasks are between counting in and counting out;
 *   - draining and resetting end when count reaches 0, and nobody counts in meanwhile;
 *   - a cancelled task counts itself out like any other.
 *
 * Runs on the loop's thread. Elsewhere: the condition (condition.c). */
#include "sync/condition.h"

#include <inttypes.h>
#include <stdio.h>

enum barrier_state { FILLING, DRAINING, RESETTING, BROKEN };
enum { IN_FILLING = 1 << FILLING, IN_DRAINING = 1 << DRAINING, IN_RESETTING = 1 << RESETTING };

struct barrier {
    intptr_t parties;
    coil_condition condition;
    intptr_t count;
    enum barrier_state state;
};
_Static_assert(sizeof(struct barrier) <= sizeof(coil_barrier), "coil_barrier is too small");
_Static_assert(_Alignof(struct barrier) <= _Alignof(coil_barrier), "coil_barrier is not aligned");
_Static_assert(offsetof(struct barrier, parties) == offsetof(coil_barrier, parties_), "parties");

static const char *const state_names[] = {"filling", "draining", "resetting", "broken"};

static int describe(const struct wait *wait, char *out, size_t n)
{
    struct condition *condition = container_of(waiter_line(wait), struct condition, waiters);
    const struct barrier *b = container_of(condition, struct barrier, condition);
    return snprintf(out, n, "%s, %" PRIdPTR " of %" PRIdPTR " there", state_names[b->state],
                    b->count, b->parties);
}

static const struct wait_class barrier_wait = {
    .what = "barrier",
    .cancel = coil__waiter_cancel,
    .describe = describe,
    .shows = SHOWS_OBJECT,
    .at = offsetof(struct waiter, line),
    .then = -(int)(offsetof(struct barrier, condition) + offsetof(struct condition, waiters)),
};

/* With the lock held: wait while the state is one of these. */
static COIL_MUST coil_ret wait_while(struct barrier *b, unsigned states)
{
    while ((1u << b->state) & states) {
        coil_ret rc = coil__condition_wait_as(&b->condition, &barrier_wait);
        if (coil_iserr(rc))
            return rc;
    }
    return 0;
}

static void change(struct barrier *b, enum barrier_state state)
{
    b->state = state;
    /* The lock is held, but by a task that is unwound and lost it; then nobody needs to hear. */
    (void)coil_condition_notify_all(&b->condition);
}

/* With the lock held: wait for one's turn, count in, wait for the others, count out. */
static COIL_MUST coil_ret pass(struct barrier *b)
{
    coil_ret rc = wait_while(b, IN_DRAINING | IN_RESETTING);
    if (coil_iserr(rc))
        return rc;
    if (b->state == BROKEN)
        return coil__fail(COIL_EBROKENBARRIER, "the barrier was aborted");

    intptr_t index = b->count++;
    if (b->count == b->parties)
        change(b, DRAINING);
    else
        rc = wait_while(b, IN_FILLING);
    if (!coil_iserr(rc) && (b->state == RESETTING || b->state == BROKEN))
        rc = coil__fail(COIL_EBROKENBARRIER, "the barrier was reset or aborted");
    if (--b->count == 0)
        change(b, b->state == BROKEN ? BROKEN : FILLING);
    return coil_iserr(rc) ? rc : index;
}

static COIL_MUST coil_ret begin(struct barrier *b)
{
    if (b->parties < 1)
        return coil__fail(-EINVAL, "a barrier needs at least one party, not %" PRIdPTR, b->parties);
    return coil_condition_acquire(&b->condition);
}

COIL_ASYNC coil_ret coil_barrier_wait(coil_barrier *public)
{
    struct barrier *b = (struct barrier *)public;
    coil_ret rc = begin(b);
    if (coil_iserr(rc))
        return rc;
    rc = pass(b);
    coil_condition_release(&b->condition);
    return rc;
}

COIL_ASYNC coil_ret coil_barrier_reset(coil_barrier *public)
{
    struct barrier *b = (struct barrier *)public;
    coil_ret rc = begin(b);
    if (coil_iserr(rc))
        return rc;
    change(b, b->count > 0 ? RESETTING : FILLING);
    coil_condition_release(&b->condition);
    return 0;
}

COIL_ASYNC coil_ret coil_barrier_abort(coil_barrier *public)
{
    struct barrier *b = (struct barrier *)public;
    coil_ret rc = begin(b);
    if (coil_iserr(rc))
        return rc;
    change(b, BROKEN);
    coil_condition_release(&b->condition);
    return 0;
}

size_t coil_barrier_parties(const coil_barrier *barrier)
{
    intptr_t parties = ((const struct barrier *)barrier)->parties;
    return parties > 0 ? (size_t)parties : 0;
}

size_t coil_barrier_n_waiting(const coil_barrier *public)
{
    const struct barrier *b = (const struct barrier *)public;
    return b->state == FILLING ? (size_t)b->count : 0;
}

bool coil_barrier_broken(const coil_barrier *barrier)
{
    return ((const struct barrier *)barrier)->state == BROKEN;
}

int coil_barrier_repr(const coil_barrier *public, char *out, size_t n)
{
    const struct barrier *b = (const struct barrier *)public;
    if (b->state == BROKEN)
        return snprintf(out, n, "barrier [broken]");
    return snprintf(out, n, "barrier [%s, waiters:%zu/%zu]", state_names[b->state],
                    coil_barrier_n_waiting(public), coil_barrier_parties(public));
}
