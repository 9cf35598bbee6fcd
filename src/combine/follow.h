/* SPDX-License-Identifier: MIT
 *
 * follow.h: being told, through the ready ring, that a future is done or that a time has come.
 *
 *     future done --> slot queued --next turn--> fn(follower)     asyncio's add_done_callback
 *     time come   --> slot queued --this turn--> fn(alarm)        asyncio's call_at
 *
 * Everything in this folder waits for several things at once and stands on these two. The way through
 * the ring is asyncio's, so that what happens in which turn is asyncio's too.
 *
 * Always true:
 *   - a follower or alarm that is not NONE has one room on the ring, so that being told cannot fail;
 *   - after unfollow or end, fn is not called any more, even if its slot was queued already;
 *   - a follower keeps its future alive from follow to unfollow. */
#ifndef COIL_COMBINE_FOLLOW_H
#define COIL_COMBINE_FOLLOW_H

#include "task/task.h"

#include <coil/future.h>

/*     NONE --follow-> WAITING --future done--> QUEUED --turn--> TOLD
 *       ^                 |                        |              |
 *       +-----------------+---------- end ---------+--------------+          */
enum follower_state { FOLLOWER_NONE, FOLLOWER_WAITING, FOLLOWER_QUEUED, FOLLOWER_TOLD };

struct follower {
    struct future_callback cb;
    coil_future *future; /* counted */
    coil_loop *loop;     /* whose ring */
    void (*fn)(struct follower *follower);
    void *owner;       /* for fn */
    uint64_t position; /* of the slot, while QUEUED */
    enum follower_state state;
};

/* Call fn(follower) a turn after the future is done; at once queued if it is done already. The caller has held
 * a room (coil__loop_hold), which passes to the follower. `by`: who waits for the future in this way, as
 * future_callback.by; NULL: nobody does. */
void coil__follow(struct follower *follower, coil_loop *loop, coil_future *future, coil_future *by,
                  void (*fn)(struct follower *follower), void *owner);
/* Only keep the future, as one that was TOLD does; needs no room. */
void coil__follow_keep(struct follower *follower, coil_future *future);
/* Is this callback one of ours? */
bool coil__is_follower(const struct future_callback *cb);
/* Forget it, in whatever state; a zeroed follower is fine. */
void coil__unfollow(struct follower *follower);

/*     NONE --init--> IDLE --set--> SET --time--> QUEUED --turn--> NONE
 *       ^              |            |               |
 *       +--------------+---- end ---+---------------+                        */
enum alarm_state { ALARM_NONE, ALARM_IDLE, ALARM_SET, ALARM_QUEUED };

struct alarm {
    struct timer timer;
    coil_loop *loop;
    void (*fn)(struct alarm *a);
    uint64_t position; /* of the slot, while QUEUED */
    enum alarm_state state;
};

/* Takes a room: 0 or -ENOMEM. */
int coil__alarm_init(struct alarm *a, coil_loop *loop, void (*fn)(struct alarm *a));
/* Call fn(a) at that time; `seq` is its place among equals. 0 or -ENOMEM, and then it stays IDLE. */
int coil__alarm_set(struct alarm *a, int64_t when_ns, uint64_t seq);
/* Call fn(a) in the next turn. */
void coil__alarm_now(struct alarm *a);
/* Forget it, in whatever state; a zeroed alarm is fine. */
void coil__alarm_end(struct alarm *a);

#endif
