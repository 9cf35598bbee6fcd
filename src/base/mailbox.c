/* SPDX-License-Identifier: MIT
 *
 * mailbox.c: a ring of places, each with the number of the put whose turn it is.
 *
 *     place i of n:   i --put i--> i + 1 --take i--> i + n --put i + n--> i + n + 1 ...
 *
 * A put takes a number from `tail`, if the place of that number is free, and then has the place for itself: there is
 * one exchange between posters and none with the owner. A poster that is held up between the two leaves a hole. The
 * owner stops there, and the poster tells it when it goes on, for it looks at `waits` after it has filled the hole. */
#include "base/mailbox.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/thread.h"

#include <coil/error.h>

int coil__mailbox_init(struct mailbox *m, size_t size)
{
    size_t n = MAILBOX_SIZE_MIN;
    while (n < size && n < MAILBOX_SIZE_MAX)
        n *= 2;
    m->places = coil__zalloc(n * sizeof *m->places);
    if (!m->places)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        atomic_init(&m->places[i].turn, i);
    m->mask = n - 1;
    m->head = 0;
    atomic_init(&m->tail, 0);
    atomic_init(&m->waits, false);
    atomic_init(&m->crowded, false);
    return 0;
}

void coil__mailbox_fini(struct mailbox *m)
{
    coil__free(m->places);
    m->places = NULL;
}

static struct mailbox_place *place_of(const struct mailbox *m, uint64_t number)
{
    return &m->places[number & m->mask];
}

/* A number behind the one whose turn it is: the place still holds what was put a round ago. */
static bool is_full(uint64_t turn, uint64_t number)
{
    return (int64_t)(turn - number) < 0;
}

int coil__mailbox_put(struct mailbox *m, const struct mail *mail)
{
    uint64_t at = atomic_load_explicit(&m->tail, memory_order_relaxed);
    struct mailbox_place *place;
    for (;;) {
        if (at & MAILBOX_CLOSED)
            return COIL_ECLOSED;
        place = place_of(m, at);
        uint64_t turn = atomic_load_explicit(&place->turn, memory_order_acquire);
        if (is_full(turn, at))
            return COIL_EQUEUEFULL;
        if (turn != at) /* another poster was quicker */
            at = atomic_load_explicit(&m->tail, memory_order_relaxed);
        else if (atomic_compare_exchange_weak_explicit(&m->tail, &at, at + 1, memory_order_relaxed,
                                                       memory_order_relaxed))
            break;
    }
    place->mail = *mail;
    /* seq_cst on both sides: either this sees `waits`, or the owner's second look sees the place filled. */
    (void)atomic_exchange_explicit(&place->turn, at + 1, memory_order_seq_cst);
    return atomic_load_explicit(&m->waits, memory_order_seq_cst) &&
                   atomic_exchange_explicit(&m->waits, false, memory_order_acq_rel)
               ? MAILBOX_TELL
               : 0;
}

bool coil__mailbox_want_room(struct mailbox *m)
{
    /* An exchange, as the owner's: the later of the two sees what the other did before. */
    (void)atomic_exchange_explicit(&m->crowded, true, memory_order_acq_rel);
    uint64_t at = atomic_load_explicit(&m->tail, memory_order_relaxed);
    return !(at & MAILBOX_CLOSED) &&
           is_full(atomic_load_explicit(&place_of(m, at)->turn, memory_order_acquire), at);
}

bool coil__mailbox_was_crowded(struct mailbox *m)
{
    uint64_t tail = atomic_load_explicit(&m->tail, memory_order_relaxed) & ~MAILBOX_CLOSED;
    if (tail - m->head > (m->mask + 1) / 2)
        return false;
    return atomic_exchange_explicit(&m->crowded, false, memory_order_acq_rel);
}

static bool is_filled(struct mailbox *m, memory_order order)
{
    return atomic_load_explicit(&place_of(m, m->head)->turn, order) == m->head + 1;
}

size_t coil__mailbox_take(struct mailbox *m, struct mail *out, size_t n)
{
    size_t got = 0;
    for (; got < n && is_filled(m, memory_order_acquire); got++) {
        struct mailbox_place *place = place_of(m, m->head);
        out[got] = place->mail;
        atomic_store_explicit(&place->turn, m->head + m->mask + 1, memory_order_release);
        m->head++;
    }
    return got;
}

bool coil__mailbox_wait(struct mailbox *m)
{
    (void)atomic_exchange_explicit(&m->waits, true, memory_order_seq_cst);
    if (!is_filled(m, memory_order_seq_cst))
        return true;
    /* If a poster has taken the flag meanwhile, it will tell. */
    return !atomic_exchange_explicit(&m->waits, false, memory_order_acq_rel);
}

void coil__mailbox_close(struct mailbox *m)
{
    uint64_t end = atomic_fetch_add_explicit(&m->tail, MAILBOX_CLOSED, memory_order_acq_rel);
    COIL_CHECK(!(end & MAILBOX_CLOSED));
    /* Who has a number already will fill the place in a moment. */
    for (uint64_t at = m->head; at != end; at++)
        while (atomic_load_explicit(&place_of(m, at)->turn, memory_order_acquire) != at + 1)
            coil__thread_pause();
}
