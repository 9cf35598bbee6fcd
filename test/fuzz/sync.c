/* SPDX-License-Identifier: MIT
 *
 * sync.c: a handful of tasks at one lock, one event, one semaphore and one queue, which also cancel each other, against
 * counters: permits and items are conserved, nobody overtakes, a cancel that met a wait is told, and in the end nobody
 * waits for what is true. */
#include "fuzz.h"

#include <coil.h>

enum { TASKS = 5, ITEMS = 1024, LIMIT_MAX = 3 };
enum place { NOWHERE, LOCK, EVENT, PERMIT, PUT, GET, REST };

struct story {
    struct input in;
    coil_lock lock;
    coil_event event;
    coil_semaphore permits;
    coil_queue queue;

    struct actor *holder; /* of the lock */
    bool bounded, over;   /* over: all that is left is to leave */
    intptr_t first, left; /* permits */
    size_t limit, put, got, sets, tickets;
    char item[ITEMS];
    uint16_t order[ITEMS]; /* of the items, as they went in */
    size_t made;
    struct actor {
        struct story *all;
        coil_task *task;
        enum place at; /* what it waits for, or might */
        size_t ticket; /* when it came there */
        bool cancelled, ended;
    } actor[TASKS];
};

static void arrive(struct actor *a, enum place at)
{
    HOLDS(!a->cancelled);
    a->at = at;
    a->ticket = ++a->all->tickets;
}

/* True: it was had. */
static bool leave(struct actor *a, coil_ret rc)
{
    HOLDS(rc == (a->cancelled ? -ECANCELED : 0));
    if (rc < 0)
        HOLDS(coil_task_uncancel(a->task) == 0);
    a->at = NOWHERE;
    a->cancelled = false;
    return rc == 0;
}

static void overtook_nobody(const struct actor *a, enum place at)
{
    for (const struct actor *b = a->all->actor; b < a->all->actor + TASKS; b++)
        HOLDS(b->at != at || b->cancelled || b->ticket > a->ticket);
}

static void take_or_give_lock(struct actor *a)
{
    struct story *s = a->all;
    if (s->holder == a) {
        s->holder = NULL;
        HOLDS(coil_lock_release(&s->lock) == 0);
        return;
    }
    arrive(a, LOCK);
    if (!leave(a, coil_lock_acquire(&s->lock)))
        return;
    HOLDS(!s->holder && coil_lock_locked(&s->lock));
    overtook_nobody(a, LOCK);
    s->holder = a;
}

static void wait_for_event(struct actor *a)
{
    struct story *s = a->all;
    size_t before = s->sets;
    bool was_set = coil_event_is_set(&s->event);
    arrive(a, EVENT);
    if (leave(a, coil_event_wait(&s->event)))
        HOLDS(was_set || s->sets > before);
}

static void take_permit(struct actor *a)
{
    struct story *s = a->all;
    arrive(a, PERMIT);
    if (!leave(a, coil_semaphore_acquire(&s->permits)))
        return;
    HOLDS(s->left > 0);
    overtook_nobody(a, PERMIT);
    s->left--;
}

/* For the limit a permit on its way to a waiter counts as taken, as in asyncio. */
static void give_permit(struct story *s)
{
    intptr_t on_their_way = 0;
    for (const struct actor *a = s->actor; a < s->actor + TASKS; a++)
        on_their_way += a->at == PERMIT;
    int rc = coil_semaphore_release(&s->permits);
    HOLDS(rc == 0 || (rc == -EINVAL && s->bounded && s->left >= s->first));
    HOLDS(rc < 0 || !s->bounded || s->left - on_their_way < s->first);
    s->left += rc == 0;
}

static void put(struct actor *a)
{
    struct story *s = a->all;
    if (s->made == ITEMS)
        return;
    size_t item = s->made++;
    arrive(a, PUT);
    if (!leave(a, coil_queue_put(&s->queue, &s->item[item])))
        return;
    s->order[s->put++] = (uint16_t)item;
    HOLDS(coil_queue_qsize(&s->queue) == s->put - s->got);
    HOLDS(s->limit == 0 || s->put - s->got <= s->limit);
}

static void get(struct actor *a)
{
    struct story *s = a->all;
    void *item;
    arrive(a, GET);
    if (!leave(a, coil_queue_get(&s->queue, &item)))
        return;
    HOLDS(s->got < s->put && item == &s->item[s->order[s->got]]);
    s->got++;
    HOLDS(coil_queue_qsize(&s->queue) == s->put - s->got);
}

static void cancel(struct actor *a, unsigned which)
{
    struct actor *b = &a->all->actor[which % TASKS];
    if (b->at != NOWHERE && !b->cancelled) {
        HOLDS(coil_task_cancel(b->task, NULL));
        b->cancelled = true;
    }
}

static void rest(struct actor *a)
{
    arrive(a, REST);
    leave(a, coil_sleep(0));
}

static void act(struct actor *a, unsigned what)
{
    struct story *s = a->all;
    switch (what % 12) {
    case 0:
    case 1: take_or_give_lock(a); return;
    case 2: wait_for_event(a); return;
    case 3:
        s->sets++;
        HOLDS(coil_event_set(&s->event) == 0);
        return;
    case 4: coil_event_clear(&s->event); return;
    case 5: take_permit(a); return;
    case 6: give_permit(s); return;
    case 7: put(a); return;
    case 8: get(a); return;
    case 9: rest(a); return;
    default: cancel(a, what / 12); return;
    }
}

static coil_ret play_one(void *arg)
{
    struct actor *a = arg;
    struct story *s = a->all;
    while (!s->over && s->in.at < s->in.end)
        act(a, next(&s->in));
    if (s->holder == a)
        take_or_give_lock(a);
    a->ended = true;
    return 0;
}

static bool may_wait(const struct story *s, enum place at)
{
    switch (at) {
    case LOCK: return s->holder;
    case EVENT: return !coil_event_is_set(&s->event);
    case PERMIT: return s->left == 0;
    case PUT: return s->limit > 0 && s->put - s->got == s->limit;
    case GET: return s->put == s->got;
    default: return false;
    }
}

static coil_ret play(void *arg)
{
    struct story *s = arg;
    for (size_t i = 0; i < TASKS; i++) {
        s->actor[i].all = s;
        s->actor[i].task = coil_create_task(play_one, &s->actor[i]);
        HOLDS(s->actor[i].task);
    }
    /* Time moves only when nobody can. */
    HOLDS(coil_sleep(0.001) == 0);
    for (struct actor *a = s->actor; a < s->actor + TASKS; a++)
        HOLDS(a->ended || may_wait(s, a->at));
    s->over = true;
    for (struct actor *a = s->actor; a < s->actor + TASKS; a++) {
        if (!a->ended) {
            a->cancelled = true;
            HOLDS(coil_task_cancel(a->task, NULL));
        }
    }
    for (size_t i = 0; i < TASKS; i++)
        HOLDS(coil_join(s->actor[i].task) == 0);
    HOLDS(!coil_lock_locked(&s->lock) && coil_semaphore_locked(&s->permits) == (s->left == 0));
    for (void *item; s->got < s->put; s->got++)
        HOLDS(coil_queue_get_nowait(&s->queue, &item) == 0 && item == &s->item[s->order[s->got]]);
    HOLDS(coil_queue_empty(&s->queue));
    coil_queue_fini(&s->queue);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct story s;
    memset(&s, 0, sizeof s);
    s.in = (struct input){data, data + size};
    unsigned first = next(&s.in);
    s.left = s.first = first % 4;
    s.bounded = first / 4 % 2;
    s.limit = first / 8 % (LIMIT_MAX + 1);
    s.permits = s.bounded ? (coil_semaphore)COIL_BOUNDED_SEMAPHORE(s.first)
                          : (coil_semaphore)COIL_SEMAPHORE(s.first);
    s.queue = (coil_queue)COIL_QUEUE(s.limit);
    fuzz_run(play, &s);
    return 0;
}
