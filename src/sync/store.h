/* SPDX-License-Identifier: MIT
 *
 * store.h: where the items of a queue stand: one growing array, used in three ways.
 *
 *     FIFO      [ . . c d e . ]        a ring: head, and n items from there
 *     LIFO      [ a b c . . . ]        a stack: the n-th is the next to leave
 *     PRIORITY  [ smallest first ]     a binary heap; equals by the number they got on arrival
 *
 * Always true: the array has room for a power of two of items, or is not there yet (all zero). */
#ifndef COIL_SYNC_STORE_H
#define COIL_SYNC_STORE_H

#include <coil/queue.h>

struct ranked {
    void *item;
    uint64_t number;
};

struct store {
    union {
        void **items;          /* FIFO and LIFO */
        struct ranked *ranked; /* PRIORITY */
    };
    size_t n, capacity;
    size_t head;     /* FIFO */
    uint64_t number; /* PRIORITY: what the next one gets */
};

/* 0 or -ENOMEM, and then nothing changed. `order` is one of COIL__QUEUE_FIFO, ... */
int coil__store_put(struct store *s, unsigned order, coil_compare_fn compare, void *item);
/* There must be one. */
void *coil__store_get(struct store *s, unsigned order, coil_compare_fn compare);
/* Drops all items and gives the memory back. */
void coil__store_free(struct store *s);

#endif
