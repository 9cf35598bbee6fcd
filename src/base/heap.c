/* SPDX-License-Identifier: MIT
 *
 * heap.c: the 4-ary heap: four children a node halve the height of a binary one and keep siblings on
 * one or two cache lines.
 *
 * Runs on its owner's thread. */
#include "base/heap.h"

#include "base/check.h"
#include "base/mem.h"

#include <errno.h>

static bool before(const struct heap_entry *a, const struct heap_entry *b)
{
    return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static void place(struct heap *heap, uint32_t i, struct heap_entry entry)
{
    heap->at[i] = entry;
    entry.node->index = i;
}

static void sift_up(struct heap *heap, uint32_t i, struct heap_entry entry)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / 4;
        if (!before(&entry, &heap->at[parent]))
            break;
        place(heap, i, heap->at[parent]);
        i = parent;
    }
    place(heap, i, entry);
}

static void sift_down(struct heap *heap, uint32_t i, struct heap_entry entry)
{
    for (;;) {
        uint32_t first = 4 * i + 1, end = first + 4, least = first;
        if (first >= heap->n)
            break;
        if (end > heap->n)
            end = heap->n;
        for (uint32_t c = first + 1; c < end; c++)
            if (before(&heap->at[c], &heap->at[least]))
                least = c;
        if (!before(&heap->at[least], &entry))
            break;
        place(heap, i, heap->at[least]);
        i = least;
    }
    place(heap, i, entry);
}

int coil__heap_reserve(struct heap *heap, uint32_t n)
{
    if (heap->capacity - heap->n >= n)
        return 0;
    uint32_t capacity = heap->capacity ? heap->capacity : 32;
    while (capacity - heap->n < n) {
        if (capacity > UINT32_MAX / 4)
            return -ENOMEM;
        capacity *= 2;
    }
    struct heap_entry *at = coil__realloc(heap->at, capacity * sizeof *at);
    if (!at)
        return -ENOMEM;
    heap->at = at;
    heap->capacity = capacity;
    return 0;
}

int coil__heap_push(struct heap *heap, struct heap_node *node, int64_t key, uint64_t seq)
{
    COIL_DCHECK(!heap_has(node));
    if (coil_unlikely(heap->n == heap->capacity)) {
        int err = coil__heap_reserve(heap, 1);
        if (err)
            return err;
    }
    sift_up(heap, heap->n++, (struct heap_entry){key, seq, node});
    return 0;
}

void coil__heap_remove(struct heap *heap, struct heap_node *node)
{
    uint32_t i = node->index;
    if (i == HEAP_OUT)
        return;
    COIL_DCHECK(i < heap->n && heap->at[i].node == node);
    node->index = HEAP_OUT;
    if (i == --heap->n)
        return;
    struct heap_entry last = heap->at[heap->n];
    if (i > 0 && before(&last, &heap->at[(i - 1) / 4]))
        sift_up(heap, i, last);
    else
        sift_down(heap, i, last);
}

void coil__heap_free(struct heap *heap)
{
    coil__free(heap->at);
    *heap = (struct heap){0};
}
