/* SPDX-License-Identifier: MIT
 *
 * test_store.c: where the items of a queue stand, against a slow and simple model of it. */
#include "test.h"

#include "base/random.h"
#include "sync/store.h"

/* An item is a key and a number that tells equal keys apart. */
static int by_key(const void *a, const void *b)
{
    intptr_t x = (intptr_t)a >> 20, y = (intptr_t)b >> 20;
    return (x > y) - (x < y);
}

static intptr_t model[4096];
static int model_n;

static intptr_t model_get(unsigned order)
{
    int at = 0;
    if (order == COIL__QUEUE_LIFO)
        at = model_n - 1;
    if (order == COIL__QUEUE_PRIORITY)
        for (int i = 1; i < model_n; i++)
            if (model[i] >> 20 < model[at] >> 20)
                at = i;
    intptr_t item = model[at];
    memmove(&model[at], &model[at + 1], (size_t)(--model_n - at) * sizeof *model);
    return item;
}

static void storm(unsigned order, uint64_t seed, int most)
{
    struct store s = {0};
    struct random r = {seed};
    model_n = 0;
    bool filling = true;
    for (intptr_t step = 0; step < 4000; step++) {
        if (s.n == 0)
            filling = true;
        if (s.n == (size_t)most)
            filling = false;
        if (random_below(&r, 4) < (filling ? 3u : 1u) || s.n == 0) {
            intptr_t item = (intptr_t)random_below(&r, 8) << 20 | step;
            assert_int_equal(coil__store_put(&s, order, by_key, (void *)item), 0);
            model[model_n++] = item;
        } else {
            assert_int_equal((intptr_t)coil__store_get(&s, order, by_key), model_get(order));
        }
        assert_int_equal(s.n, model_n);
    }
    coil__store_free(&s);
}

COIL_TEST_PLAIN(store_gives_items_back_in_the_order_it_promises)
{
    for (unsigned order = COIL__QUEUE_FIFO; order <= COIL__QUEUE_PRIORITY; order++)
        for (uint64_t seed = 1; seed <= 8; seed++)
            storm(order, seed, seed % 2 ? 20 : 1500);
}

COIL_TEST_PLAIN(store_emptied_after_growing_large_gives_its_memory_back)
{
    struct store s = {0};
    for (intptr_t i = 0; i < 5000; i++)
        assert_int_equal(coil__store_put(&s, COIL__QUEUE_FIFO, NULL, (void *)i), 0);
    for (intptr_t i = 0; i < 5000; i++)
        assert_int_equal((intptr_t)coil__store_get(&s, COIL__QUEUE_FIFO, NULL), i);
    assert_int_equal(s.capacity, 0);
    assert_int_equal(coil__store_put(&s, COIL__QUEUE_FIFO, NULL, NULL), 0);
    assert_null(coil__store_get(&s, COIL__QUEUE_FIFO, NULL));
    assert_int_not_equal(s.capacity, 0);
    coil__store_free(&s);
}

COIL_TEST_MAIN()
