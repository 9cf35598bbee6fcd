/* SPDX-License-Identifier: MIT
 *
 * inbox.h: any thread posts, one thread collects.
 *
 *     thread A --post--+
 *     thread B --post--+--> [ newest ... oldest ] --take--> oldest first, on the loop's thread
 *
 * The inbox outlives its loop: whoever may post later (a thread job, a handle given to another
 * thread) holds a reference to the inbox, never to the loop. After close a post is refused.
 *
 * Waking costs one eventfd write per sleep: the sleeper sets `asleep`, looks into the inbox once
 * more, and only then blocks; a poster pushes first and then takes the flag. One of the two always
 * sees the other.
 *
 * Always true:
 *   - a node is in at most one inbox, and taken exactly once;
 *   - what is here is in lines of its own: others look at it while the loop is busy with what it has beside it;
 *   - the eventfd lives as long as the inbox, so a late ring never hits a reused descriptor. */
#ifndef COIL_BASE_INBOX_H
#define COIL_BASE_INBOX_H

#include "base/line.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct inbox_node {
    struct inbox_node *next;
    void (*fn)(struct inbox_node *node); /* on the loop's thread; owns the node from then on */
};

/* A callback that somebody sends (loop/handle.c). */
struct inbox_call {
    struct inbox_node node;
    void *owner; /* the loop */
    void (*fn)(void *arg);
    void *arg;
    struct context_map *map;
    _Atomic bool taken; /* of the inbox's own one */
};

struct inbox {
    _Atomic(struct inbox_node *) head; /* newest first, or the closed mark */
    _Atomic int refs;
    _Atomic bool asleep;
    int wake_fd; /* eventfd, non-blocking */
    void *block; /* the memory that this lies in */
    _Alignas(CACHE_LINE) struct inbox_call own;
};

/* Returns 0, -ENOMEM, or what eventfd says. One reference, the caller's. */
int coil__inbox_new(struct inbox **out);
struct inbox *coil__inbox_ref(struct inbox *inbox);
void coil__inbox_unref(struct inbox *inbox);

/* Any thread. False once the inbox is closed: the node is still the caller's. */
bool coil__inbox_post(struct inbox *inbox, struct inbox_node *node);

/* For who posts: the inbox's own call while nobody else has it, else one that is allocated; NULL without memory. What one
 * processor allocates and another one frees takes the two of them longer than all the rest of a post. */
struct inbox_call *coil__inbox_call_new(struct inbox *inbox);
/* Any thread; it is in no inbox. */
void coil__inbox_call_free(struct inbox *inbox, struct inbox_call *call);

/* Any thread, also a signal handler: make the loop's next sleep end at once. */
void coil__inbox_ring(struct inbox *inbox);

/* The loop's thread: everything posted so far, oldest first; NULL if nothing. */
struct inbox_node *coil__inbox_take(struct inbox *inbox);

static inline bool inbox_empty(struct inbox *inbox)
{
    return atomic_load_explicit(&inbox->head, memory_order_acquire) == NULL;
}

/* About to block: false if something has arrived, and then the caller must not block. */
bool coil__inbox_fall_asleep(struct inbox *inbox);
void coil__inbox_wake_up(struct inbox *inbox);

/* No post succeeds from here on. Returns what was still in it, oldest first. */
struct inbox_node *coil__inbox_close(struct inbox *inbox);

#endif
