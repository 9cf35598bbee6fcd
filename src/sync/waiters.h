/* SPDX-License-Identifier: MIT
 *
 * waiters.h: a line of parked tasks: fair, cancellable, nothing allocated.
 *
 *     struct waiters          in the waiting frames, a ring
 *     +---------+
 *     | first   |--> granted <-> cancelled <-> pending <-> granted <-> pending
 *     | pending |--------------------------------^
 *     +---------+
 *
 *     PENDING --coil__waiters_wake--> GRANTED    --its frame runs--> out of the line
 *        +------- task cancelled ---> CANCELLED  --its frame runs--> out of the line
 *
 * A waiter that was granted or cancelled keeps its place until its own frame runs again and takes it
 * out. In asyncio too it is the waiting coroutine that removes its future, and locks and semaphores
 * look at such waiters: one turn more or less and tasks would run in another order than there.
 *
 * Always true:
 *   - the order is that of arrival; `first` is NULL exactly when the line is empty, so zero is an empty
 *     line, and an empty line may be moved;
 *   - `pending` is the oldest PENDING one. It only moves forward, so finding it costs, summed over the
 *     life of a waiter, one step;
 *   - once a task has waited here the line belongs to that task's loop. The pointer is only compared,
 *     but while somebody waits: then that loop is alive. */
#ifndef COIL_SYNC_WAITERS_H
#define COIL_SYNC_WAITERS_H

#include "base/list.h"
#include "task/task.h"

enum waiter_state { WAITER_PENDING, WAITER_GRANTED, WAITER_CANCELLED };

struct waiters {
    struct waiter *first; /* in any state */
    struct waiter *pending;
    uint32_t n;           /* in the line, in any state */
    uint32_t cancelled_n; /* of these, CANCELLED */
    coil_loop *loop;      /* NULL: nobody ever waited */
};

struct waiter {
    struct wait wait; /* first, for waiter_line */
    struct list link; /* the ring; it has no head */
    struct waiters *line;
    enum waiter_state state;
};
_Static_assert(offsetof(struct waiter, wait) == 0, "a waiter is a wait");

/* For `describe`: the line this one stands in. */
static inline struct waiters *waiter_line(const struct wait *w)
{
    return ((const struct waiter *)w)->line;
}

/* For the `cancel` of the wait classes that are used here. */
bool coil__waiter_cancel(struct wait *w, const char *message);

/* Is the line the current task's to wait in? Binds it at the first time. 0 or COIL_EWRONGLOOP. */
int coil__waiters_bind(struct waiters *line, const char *what);

/* Stand in line until woken. Returns 0; -ECANCELED, and if `w->state` is WAITER_GRANTED then the
 * wake-up came too and the caller passes it on; COIL_EEXIT; or, without having waited, COIL_EWRONGLOOP and
 * whatever park fails with. The caller has asked coil__can_wait. */
COIL_MUST coil_ret coil__waiters_wait(struct waiters *line, struct waiter *w,
                                      const struct wait_class *cls);

/* Grant the oldest pending one its wish; it runs next turn. False if there is none, or if their loop is being
 * closed: then all of them are about to be unwound, and nobody needs waking. */
bool coil__waiters_wake(struct waiters *line);

/* May this thread wake somebody here? 0, or in debug mode COIL_EWRONGTHREAD. */
int coil__waiters_check_thread(const struct waiters *line);

/* Is anybody there who was not cancelled: about to run, or pending? */
static inline bool waiters_live(const struct waiters *line)
{
    return line->n > line->cancelled_n;
}

/* How many wait and were neither woken nor cancelled: those asyncio's queues have in their lists. */
unsigned coil__waiters_pending_n(const struct waiters *line);

/* Appends "[STATE, waiters:N]" to what `kind` is. As snprintf. */
int coil__waiters_repr(const struct waiters *line, const char *kind, const char *state, char *out,
                       size_t n);

#endif
