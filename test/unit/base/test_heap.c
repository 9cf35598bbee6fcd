/* SPDX-License-Identifier: MIT
 *
 * test_heap.c: smallest first, equals in order; played against a sorted list. */
#include "base/heap.h"

#include "../loop/stage.h"
#include "base/random.h"

struct item {
    struct heap_node node;
    int64_t key;
    uint64_t seq;
};

static bool before(const struct item *a, const struct item *b)
{
    return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static void check_shape(const struct heap *heap)
{
    for (uint32_t i = 0; i < heap->n; i++) {
        const struct heap_entry *e = &heap->at[i], *parent = &heap->at[i ? (i - 1) / 4 : 0];
        if (!FACT(e->node->index == i) || !FACT(i == 0 || parent->key <= e->key))
            return;
    }
}

static struct item *pop(struct heap *heap)
{
    const struct heap_entry *first = heap_min(heap);
    if (!first)
        return NULL;
    struct item *item = (struct item *)((char *)first->node - offsetof(struct item, node));
    coil__heap_remove(heap, &item->node);
    return item;
}

PLAIN(heap_empty_has_no_smallest)
{
    struct heap heap = {0};
    FACT(heap_min(&heap) == NULL);
    coil__heap_free(&heap);
}

PLAIN(heap_equals_leave_in_the_order_they_came)
{
    struct heap heap = {0};
    struct item items[50];
    for (int i = 0; i < 50; i++) {
        heap_node_init(&items[i].node);
        FACT_INT(coil__heap_push(&heap, &items[i].node, 7, (uint64_t)i), 0);
    }
    for (int i = 0; i < 50; i++)
        FACT(pop(&heap) == &items[i]);
    coil__heap_free(&heap);
}

PLAIN(heap_removing_one_that_is_out_does_nothing)
{
    struct heap heap = {0};
    struct item a;
    heap_node_init(&a.node);
    FACT(!heap_has(&a.node));
    coil__heap_remove(&heap, &a.node);
    FACT_INT(coil__heap_push(&heap, &a.node, 1, 1), 0);
    FACT(heap_has(&a.node));
    coil__heap_remove(&heap, &a.node);
    FACT(!heap_has(&a.node));
    coil__heap_remove(&heap, &a.node);
    FACT_INT(heap.n, 0);
    coil__heap_free(&heap);
}

PLAIN(heap_orders_the_ends_of_the_number_line)
{
    struct heap heap = {0};
    static const int64_t keys[] = {0, INT64_MAX, INT64_MIN, -1, 1};
    struct item items[5];
    for (int i = 0; i < 5; i++) {
        heap_node_init(&items[i].node);
        FACT_INT(coil__heap_push(&heap, &items[i].node, keys[i], (uint64_t)i), 0);
    }
    static const int order[] = {2, 3, 0, 4, 1};
    for (int i = 0; i < 5; i++)
        FACT(pop(&heap) == &items[order[i]]);
    coil__heap_free(&heap);
}

/* A sorted array is the model: pushes, removals of any node and pops must agree with it. */
static void play_model(uint64_t seed, int rounds, uint32_t keys)
{
    enum { N = 200 };
    struct random random = {seed};
    struct heap heap = {0};
    static struct item items[N];
    struct item *model[N];
    int n = 0;
    uint64_t seq = 0;
    for (int i = 0; i < N; i++)
        heap_node_init(&items[i].node);
    for (int round = 0; round < rounds && !stage.broken; round++) {
        struct item *item = &items[random_below(&random, N)];
        if (heap_has(&item->node)) {
            int at = 0;
            while (model[at] != item)
                at++;
            if (random_below(&random, 3) == 0) { /* the smallest instead */
                at = 0;
                item = model[0];
                FACT(pop(&heap) == item);
            } else {
                coil__heap_remove(&heap, &item->node);
            }
            memmove(model + at, model + at + 1, (size_t)(--n - at) * sizeof *model);
        } else {
            item->key = (int64_t)random_below(&random, keys) - (int64_t)keys / 2;
            item->seq = seq++;
            FACT_INT(coil__heap_push(&heap, &item->node, item->key, item->seq), 0);
            int at = n++;
            for (; at > 0 && before(item, model[at - 1]); at--)
                model[at] = model[at - 1];
            model[at] = item;
        }
        FACT_INT(heap.n, n);
        FACT(n == 0 ? heap_min(&heap) == NULL : heap_min(&heap)->node == &model[0]->node);
        check_shape(&heap);
    }
    for (int i = 0; i < n; i++)
        FACT(pop(&heap) == model[i]);
    FACT(pop(&heap) == NULL);
    coil__heap_free(&heap);
    if (stage.broken)
        print_error("seed %lu\n", (unsigned long)seed);
}

PLAIN(heap_agrees_with_a_sorted_list)
{
    for (uint64_t seed = 1; seed <= 20 && !stage.broken; seed++) {
        play_model(seed, 1000, 1000000);
        play_model(seed + 100, 1000, 4); /* mostly equals */
    }
}

PLAIN(heap_reserve_promises_the_pushes_that_follow)
{
#if STAGE_TABLE
    struct heap heap = {0};
    struct item items[100];
    FACT_INT(coil__heap_reserve(&heap, 100), 0);
    coil__mem_fail_at(1, 1);
    for (int i = 0; i < 100; i++) {
        heap_node_init(&items[i].node);
        FACT_INT(coil__heap_push(&heap, &items[i].node, i, 0), 0);
    }
    coil__mem_fail_at(0, 0);
    coil__heap_free(&heap);
#else
    skip();
#endif
}

PLAIN(heap_push_without_memory_changes_nothing)
{
#if STAGE_TABLE
    struct heap heap = {0};
    struct item items[200];
    int n = 0;
    coil__mem_fail_at(2, 1); /* the first growth goes through, the second does not */
    for (;; n++) {
        heap_node_init(&items[n].node);
        if (coil__heap_push(&heap, &items[n].node, -n, 0) < 0)
            break;
    }
    coil__mem_fail_at(0, 0);
    FACT(n > 0);
    FACT(!heap_has(&items[n].node));
    FACT_INT(heap.n, n);
    check_shape(&heap);
    while (n > 0)
        FACT(pop(&heap) == &items[--n]);
    coil__heap_free(&heap);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_empty_has_no_smallest),
        cmocka_unit_test(heap_equals_leave_in_the_order_they_came),
        cmocka_unit_test(heap_removing_one_that_is_out_does_nothing),
        cmocka_unit_test(heap_orders_the_ends_of_the_number_line),
        cmocka_unit_test(heap_agrees_with_a_sorted_list),
        cmocka_unit_test(heap_reserve_promises_the_pushes_that_follow),
        cmocka_unit_test(heap_push_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
