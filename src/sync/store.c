/* SPDX-License-Identifier: MIT
 *
 * store.c: where the items of a queue stand.
 *
 * store.h has the picture. Knows nothing of tasks. Elsewhere: who waits for room or items (queue.c). */
#include "sync/store.h"

#include "base/check.h"
#include "base/mem.h"

#include <string.h>

enum {
    CAPACITY_FIRST = 8,
    CAPACITY_KEPT = 1024 /* an emptied store that grew beyond gives its memory back */
};

static size_t item_size(unsigned order)
{
    return order == COIL__QUEUE_PRIORITY ? sizeof(struct ranked) : sizeof(void *);
}

static int grow(struct store *s, unsigned order)
{
    size_t capacity = s->capacity ? s->capacity * 2 : CAPACITY_FIRST;
    COIL_CHECK(capacity <= PTRDIFF_MAX / item_size(order)); /* half of that was in memory */
    void *array = coil__realloc(s->items, capacity * item_size(order));
    if (!array)
        return -ENOMEM;
    s->items = array;
    /* A full ring that does not begin at 0 continues behind its old end. */
    if (order == COIL__QUEUE_FIFO)
        memcpy(s->items + s->capacity, s->items, s->head * sizeof *s->items);
    s->capacity = capacity;
    return 0;
}

static bool before(const struct ranked *a, const struct ranked *b, coil_compare_fn compare)
{
    int order = compare(a->item, b->item);
    return order < 0 || (order == 0 && a->number < b->number);
}

static void heap_put(struct store *s, coil_compare_fn compare, void *item)
{
    struct ranked moving = {item, s->number++};
    size_t at = s->n++;
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!before(&moving, &s->ranked[parent], compare))
            break;
        s->ranked[at] = s->ranked[parent];
        at = parent;
    }
    s->ranked[at] = moving;
}

static void *heap_get(struct store *s, coil_compare_fn compare)
{
    void *item = s->ranked[0].item;
    struct ranked moving = s->ranked[--s->n];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->n)
            break;
        if (child + 1 < s->n && before(&s->ranked[child + 1], &s->ranked[child], compare))
            child++;
        if (!before(&s->ranked[child], &moving, compare))
            break;
        s->ranked[at] = s->ranked[child];
        at = child;
    }
    s->ranked[at] = moving;
    return item;
}

int coil__store_put(struct store *s, unsigned order, coil_compare_fn compare, void *item)
{
    if (s->n == s->capacity && grow(s, order) < 0)
        return -ENOMEM;
    if (order == COIL__QUEUE_PRIORITY)
        heap_put(s, compare, item);
    else
        s->items[(s->head + s->n++) & (s->capacity - 1)] = item;
    return 0;
}

void *coil__store_get(struct store *s, unsigned order, coil_compare_fn compare)
{
    COIL_DCHECK(s->n > 0);
    void *item;
    if (order == COIL__QUEUE_PRIORITY) {
        item = heap_get(s, compare);
    } else if (order == COIL__QUEUE_LIFO) {
        item = s->items[--s->n];
    } else {
        item = s->items[s->head];
        s->head = (s->head + 1) & (s->capacity - 1);
        s->n--;
    }
    if (s->n == 0 && s->capacity > CAPACITY_KEPT)
        coil__store_free(s);
    return item;
}

void coil__store_free(struct store *s)
{
    coil__free(s->items);
    *s = (struct store){.number = s->number};
}
