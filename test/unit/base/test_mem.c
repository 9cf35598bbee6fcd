/* SPDX-License-Identifier: MIT
 *
 * test_mem.c: allocations that are counted and fail on request. */
#include "base/mem.h"

#include "../loop/stage.h"

#if STAGE_TABLE
PLAIN(mem_counts_what_lives)
{
    int64_t live = coil__mem_live(), tried = coil__mem_tried();
    void *a = coil__alloc(10), *b = coil__zalloc(10), *c = coil__realloc(NULL, 10);
    FACT_INT(coil__mem_live() - live, 3);
    FACT_INT(coil__mem_tried() - tried, 3);
    c = coil__realloc(c, 1000);
    FACT_INT(coil__mem_live() - live, 3);
    coil__free(a);
    coil__free(b);
    coil__free(c);
    coil__free(NULL);
    FACT_INT(coil__mem_live() - live, 0);
}

PLAIN(mem_counts_bytes_and_the_most_there_were)
{
    int64_t before = coil__mem_bytes();
    void *a = coil__alloc(1000), *b = coil__realloc(NULL, 1000);
    FACT(coil__mem_bytes() - before >= 2000);
    b = coil__realloc(b, 9000);
    FACT(coil__mem_bytes() - before >= 10000);
    coil__free(b);
    FACT(coil__mem_bytes() - before < 9000);
    FACT(coil__mem_peak() - before >= 10000);
    coil__mem_restart_peak();
    FACT(coil__mem_peak() == coil__mem_bytes());
    coil__free(a);
    FACT_INT(coil__mem_bytes() - before, 0);
    FACT(coil__mem_peak() - before >= 1000);
}

PLAIN(mem_zalloc_is_zeroed)
{
    static const char zeroes[4096];
    char *p = coil__zalloc(sizeof zeroes);
    FACT(memcmp(p, zeroes, sizeof zeroes) == 0);
    coil__free(p);
}

PLAIN(mem_fail_at_fails_exactly_the_nth)
{
    coil__mem_fail_at(3, 0);
    void *a = coil__alloc(1), *b = coil__zalloc(1), *c = coil__alloc(1), *d = coil__alloc(1);
    FACT(a && b && !c && d);
    coil__free(a);
    coil__free(b);
    coil__free(d);
}

PLAIN(mem_fail_at_with_all_fails_every_one_from_there)
{
    coil__mem_fail_at(2, 1);
    void *a = coil__alloc(1), *b = coil__alloc(1), *c = coil__zalloc(1);
    FACT(a && !b && !c);
    FACT(coil__realloc(a, 100) == NULL); /* and then the old block is still there */
    coil__mem_fail_at(0, 0);
    FACT((b = coil__alloc(1)) != NULL);
    coil__free(a);
    coil__free(b);
}
#else
PLAIN(mem_is_plain_malloc_here)
{
    void *p = coil__zalloc(1);
    FACT(p != NULL);
    coil__free(p);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#if STAGE_TABLE
        cmocka_unit_test(mem_counts_what_lives),
        cmocka_unit_test(mem_counts_bytes_and_the_most_there_were),
        cmocka_unit_test(mem_zalloc_is_zeroed),
        cmocka_unit_test(mem_fail_at_fails_exactly_the_nth),
        cmocka_unit_test(mem_fail_at_with_all_fails_every_one_from_there),
#else
        cmocka_unit_test(mem_is_plain_malloc_here),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
