/* SPDX-License-Identifier: MIT
 *
 * heap.h: smallest first; equals leave in the order they came.
 *
 * A 4-ary heap of (key, seq, node): the keys stand inline, so sifting touches no node but to tell it
 * its new place. Nodes know their place, so any of them can be removed.
 *
 *               [0]
 *        [1] [2] [3] [4]
 *     [5..8] ...
 *
 * Always true: a node is in the heap (index is its place) or out (index == HEAP_OUT). */
#ifndef COIL_BASE_HEAP_H
#define COIL_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_OUT UINT32_MAX

struct heap_node {
    uint32_t index;
};

struct heap_entry {
    int64_t key;
    uint64_t seq;
    struct heap_node *node;
};

struct heap {
    struct heap_entry *at;
    uint32_t n, capacity;
};

static inline void heap_node_init(struct heap_node *node)
{
    node->index = HEAP_OUT;
}

static inline bool heap_has(const struct heap_node *node)
{
    return node->index != HEAP_OUT;
}

/* 0 or -ENOMEM, and then nothing changed. */
int coil__heap_push(struct heap *heap, struct heap_node *node, int64_t key, uint64_t seq);
/* Removing a node that is out does nothing. */
void coil__heap_remove(struct heap *heap, struct heap_node *node);
/* Room for n more, so that the next n pushes cannot fail. 0 or -ENOMEM. */
int coil__heap_reserve(struct heap *heap, uint32_t n);
void coil__heap_free(struct heap *heap);

static inline const struct heap_entry *heap_min(const struct heap *heap)
{
    return heap->n ? &heap->at[0] : NULL;
}

#endif
