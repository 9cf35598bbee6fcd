/* SPDX-License-Identifier: MIT
 *
 * test_stack.c: sizes, guards, reuse, pages given back, and kernels that refuse.
 *
 * Kernel calls are counted and refused through coil__sys; builds without that table skip what needs
 * it. The kernel itself is asked which pages are present and which may be read. */
#include "base/check.h"
#include "base/error.h"
#include "base/sys.h"
#include "coro/stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define KB ((size_t)1024)

static struct stack_pool pool;

static struct {
    int64_t mapped; /* bytes */
    int mmaps, munmaps, given_back, guards_madvise, guards_mprotect, huge_off;
    size_t refuse_above; /* mmaps larger than this fail; 0: none */
    int guard_error;     /* what MADV_GUARD_INSTALL answers, 0: the kernel's own answer */
    bool guard_pretends; /* it answers 0 and does nothing */
    int mprotect_error;
} sys;

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static int play_mmap(size_t n, int prot, int flags, void **out)
{
    if (sys.refuse_above && n > sys.refuse_above)
        return -ENOMEM;
    int err = coil__sys_real.mmap(n, prot, flags, out);
    sys.mmaps++;
    sys.mapped += err ? 0 : (int64_t)n;
    return err;
}
static int play_munmap(void *p, size_t n)
{
    int err = coil__sys_real.munmap(p, n);
    sys.munmaps++;
    sys.mapped -= err ? 0 : (int64_t)n;
    return err;
}
static int play_madvise(void *p, size_t n, int advice)
{
    sys.given_back += advice == MADV_DONTNEED;
    sys.huge_off += advice == MADV_NOHUGEPAGE;
    if (advice == MADV_GUARD_INSTALL) {
        sys.guards_madvise++;
        if (sys.guard_error || sys.guard_pretends)
            return sys.guard_error;
    }
    return coil__sys_real.madvise(p, n, advice);
}
static int play_mprotect(void *p, size_t n, int prot)
{
    sys.guards_mprotect++;
    return sys.mprotect_error ? sys.mprotect_error : coil__sys_real.mprotect(p, n, prot);
}
#define NEEDS_TABLE ((void)0)
#else
#define NEEDS_TABLE skip()
#endif

static int setup(void **state)
{
    memset(&sys, 0, sizeof sys);
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil__sys.mmap = play_mmap;
    coil__sys.munmap = play_munmap;
    coil__sys.madvise = play_madvise;
    coil__sys.mprotect = play_mprotect;
#endif
    return coil__stack_pool_init(&pool, 0);
}

static int teardown(void **state)
{
    size_t out = coil__stack_pool_fini(&pool);
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil__sys = coil__sys_real;
#endif
    return out == 0 && sys.mapped == 0 ? 0 : -1;
}

static struct stack *get(size_t size)
{
    struct stack *stack = NULL;
    COIL_CHECK(coil__stack_get(&pool, size, &stack) == 0);
    return stack;
}

/* Would reading this byte fault? The kernel is asked to read it for us. */
static bool readable(const char *at)
{
    int ends[2];
    COIL_CHECK(pipe2(ends, O_CLOEXEC) == 0);
#if COIL_VALGRIND
    VALGRIND_DISABLE_ERROR_REPORTING; /* that it may fault is the question */
#endif
    ssize_t n = write(ends[1], at, 1);
#if COIL_VALGRIND
    VALGRIND_ENABLE_ERROR_REPORTING;
#endif
    close(ends[0]);
    close(ends[1]);
    return n == 1;
}

/* How many pages of [low, high] take memory. */
static size_t pages_between(const char *low, const char *high)
{
    static unsigned char present[65536];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
    uintptr_t from = (uintptr_t)low, to = ((uintptr_t)high + page) & ~(page - 1);
    size_t pages = (to - from) / page;
    COIL_CHECK(pages <= sizeof present && mincore((void *)from, to - from, present) == 0);
    for (size_t i = 0; i < pages; i++)
        n += present[i] & 1;
    return n;
}

static size_t pages_present(const struct stack *s)
{
    return pages_between(s->low, (const char *)s);
}

/* As if frames had gone down that far. */
static void touch(struct stack *s, size_t depth)
{
    memset(s->high - depth, 0x55, depth);
}

/* ---- sizes ---- */

static void each_size_gets_at_least_what_it_asks(void **state)
{
    static const size_t sizes[] = {1,      4096,    32768,   32769,   65536,   65537,   262144,
                                   262145, 1048576, 1048577, 8388608, 8388609, 33554432};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct stack *s = get(sizes[i]);
        assert_true((size_t)(s->high - s->low) + 2560 >= sizes[i] * COIL_STACK_FACTOR);
        assert_int_equal((uintptr_t)s->high % 64, 0);
        assert_ptr_equal(s->high, s);
        assert_null(s->owner);
        touch(s, 4096);
        s->low[0] = 1;
        coil__stack_put(s);
    }
}

static void size_0_is_the_pool_s_default(void **state)
{
    struct stack *s = get(0);
    assert_true(stack_bytes(s) > 250 * KB * COIL_STACK_FACTOR);
    assert_true(stack_bytes(s) <= 256 * KB * COIL_STACK_FACTOR);
    coil__stack_put(s);
    coil__stack_pool_fini(&pool);
    assert_int_equal(coil__stack_pool_init(&pool, 64 * KB), 0);
    s = get(0);
    assert_true(stack_bytes(s) <= 64 * KB * COIL_STACK_FACTOR);
    coil__stack_put(s);
    coil__stack_pool_fini(&pool);
    assert_int_equal(coil__stack_pool_init(&pool, 32 * 1024 * KB), 0);
    s = get(0);
    assert_true(stack_bytes(s) > 32 * 1023 * KB * COIL_STACK_FACTOR);
    coil__stack_put(s);
}

static void absurd_sizes_are_refused(void **state)
{
    struct stack_pool other;
    struct stack *s = NULL;
    static const size_t sizes[] = {STACK_SIZE_MAX + 1, (size_t)1 << 62, SIZE_MAX, SIZE_MAX / 4 + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(coil__stack_get(&pool, sizes[i], &s), -EINVAL);
        assert_int_equal(coil__stack_pool_init(&other, sizes[i]), -EINVAL);
    }
    assert_null(s);
}

static void a_size_above_the_classes_is_a_mapping_of_its_own(void **state)
{
    NEEDS_TABLE;
    struct stack *s = get(16 * 1024 * KB), *t = get(20 * 1024 * KB);
    assert_int_equal(sys.mmaps, 2);
    assert_false(readable(s->low - 1));
    assert_false(readable(coil__stack_guard(t)));
    coil__stack_put(s);
    assert_int_equal(sys.munmaps, 1);
    coil__stack_put_leaving(t); /* still stood upon */
    assert_int_equal(sys.munmaps, 1);
    assert_true(readable((char *)t));
    s = get(16 * 1024 * KB);
    assert_int_equal(sys.munmaps, 2);
    coil__stack_put(s);
}

static void tops_are_coloured(void **state)
{
    struct stack *s[16];
    for (int i = 0; i < 16; i++)
        s[i] = get(0);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < i; j++)
            assert_int_not_equal((uintptr_t)s[i] % 4096, (uintptr_t)s[j] % 4096);
    for (int i = 0; i < 16; i++)
        coil__stack_put(s[i]);
}

/* ---- what the owner puts on top ---- */

static void reserving_carves_aligned_bytes_off_the_top(void **state)
{
    struct stack *s = get(0);
    char *a = coil__stack_reserve(s, 100), *b = coil__stack_reserve(s, 1);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal((uintptr_t)b % 64, 0);
    assert_true(a + 100 <= (char *)s);
    assert_true(b + 1 <= a);
    assert_ptr_equal(s->high, b);
    coil__stack_put(s);
    assert_ptr_equal(get(0), s);
    assert_ptr_equal(s->high, s); /* gone with the owner */
    coil__stack_put(s);
}

static void reserving_too_much_is_refused(void **state)
{
    struct stack *s = get(0);
    char *high = s->high;
    assert_null(coil__stack_reserve(s, stack_bytes(s)));
    assert_null(coil__stack_reserve(s, (size_t)(s->high - s->low) - 8 * KB + 1));
    assert_null(coil__stack_reserve(s, SIZE_MAX));
    assert_null(coil__stack_reserve(s, SIZE_MAX - 63));
    assert_ptr_equal(s->high, high);
    assert_non_null(coil__stack_reserve(s, (size_t)(s->high - s->low) - 16 * KB));
    coil__stack_put(s);
}

/* ---- guards ---- */

static void below_each_stack_lies_a_guard(void **state)
{
    static const size_t sizes[] = {32 * KB, 64 * KB, 256 * KB, 1024 * KB, 8192 * KB, 9000 * KB};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct stack *s = get(sizes[i]), *t = get(sizes[i]);
        size_t guard = (size_t)(s->low - coil__stack_guard(s));
        assert_true(guard >= (sizes[i] <= 64 * KB ? 16 : 64) * KB);
        assert_true(readable(s->low));
        assert_false(readable(s->low - 1));
        assert_false(readable(coil__stack_guard(s)));
        assert_false(readable(t->low - 1));
        coil__stack_put(s);
        coil__stack_put(t);
    }
}

static void a_guard_stays_when_pages_go(void **state)
{
    struct stack *s = get(0);
    touch(s, 8 * KB);
    coil__stack_put(s);
    assert_int_equal(coil__stack_pool_trim(&pool, 0, 0), 1);
    assert_ptr_equal(get(0), s);
    assert_true(readable(s->low));
    assert_false(readable(s->low - 1));
    coil__stack_put(s);
}

static void guards_fall_back_to_mprotect(void **state)
{
    NEEDS_TABLE;
    struct stack *s[8];
    sys.guard_error = -EINVAL; /* Linux before 6.13, or locked memory */
    for (int i = 0; i < 8; i++)
        s[i] = get(0);
    assert_int_equal(sys.guards_madvise, 1); /* asked once */
    assert_int_equal(sys.guards_mprotect, 8);
    for (int i = 0; i < 8; i++) {
        assert_false(readable(s[i]->low - 1));
        assert_true(readable(s[i]->low));
        coil__stack_put(s[i]);
    }
}

static void a_guard_that_does_not_guard_is_found_out(void **state)
{
    NEEDS_TABLE;
    sys.guard_pretends = true; /* as emulators do */
    struct stack *s = get(0), *t = get(64 * KB), *u = get(9000 * KB);
    assert_int_equal(sys.guards_madvise, 1);
    assert_int_equal(sys.guards_mprotect, 3);
    assert_false(readable(s->low - 1));
    assert_false(readable(t->low - 1));
    assert_false(readable(u->low - 1));
    coil__stack_put(s);
    coil__stack_put(t);
    coil__stack_put(u);
}

static void no_guard_means_no_stack_and_names_the_limit(void **state)
{
    NEEDS_TABLE;
    struct stack *first = get(0), *s = NULL;
    sys.guard_error = -EINVAL;
    sys.mprotect_error = -ENOMEM;
    for (int i = 0; i < 3; i++)
        assert_int_equal(coil__stack_get(&pool, 0, &s), -ENOMEM);
    assert_null(s);
    assert_non_null(strstr(coil_last_error()->message, "vm.max_map_count"));
    assert_int_equal(coil__stack_get(&pool, 9000 * KB, &s), -ENOMEM);
    assert_int_equal(pool.in_use, 1);
    coil__stack_put(first);
    assert_ptr_equal(get(0), first); /* warm ones still go out */
    sys.mprotect_error = 0;
    s = get(0);
    assert_false(readable(s->low - 1));
    coil__stack_put(s);
    coil__stack_put(first);
}

/* ---- reuse ---- */

static void the_last_returned_goes_out_first(void **state)
{
    struct stack *a = get(0), *b = get(0), *c = get(0);
    coil__stack_put(a);
    coil__stack_put(c);
    coil__stack_put(b);
    assert_ptr_equal(get(0), b);
    assert_ptr_equal(get(0), c);
    assert_ptr_equal(get(0), a);
    coil__stack_put(a);
    coil__stack_put(b);
    coil__stack_put(c);
}

static void a_warm_stack_costs_no_system_call(void **state)
{
    NEEDS_TABLE;
    coil__stack_put(get(0));
    int before = sys.mmaps + sys.munmaps + sys.given_back + sys.guards_madvise +
                 sys.guards_mprotect + sys.huge_off;
    for (int i = 0; i < 1000; i++) {
        struct stack *s = get(0);
        touch(s, 4 * KB);
        coil__stack_put(s);
    }
    assert_int_equal(sys.mmaps + sys.munmaps + sys.given_back + sys.guards_madvise +
                         sys.guards_mprotect + sys.huge_off,
                     before);
}

static void ten_thousand_stacks_take_few_mappings(void **state)
{
    NEEDS_TABLE;
    static struct stack *s[10000];
    for (int i = 0; i < 10000; i++) {
        s[i] = get(64 * KB);
        *(int *)coil__stack_reserve(s[i], sizeof(int)) = i;
    }
    assert_true(sys.mmaps <= 12);
    assert_int_equal(sys.huge_off, sys.mmaps);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(*(int *)s[i]->high, i);
        coil__stack_put(s[i]);
    }
    struct stack_stats stats;
    coil__stack_pool_stats(&pool, &stats);
    assert_int_equal(stats.made, 10000);
    assert_int_equal(stats.in_use, 0);
    assert_int_equal(stats.high_water, 10000);
    assert_int_equal(stats.idle, 10000);
    assert_int_equal(stats.cold, 0);
}

/* ---- pages ---- */

static void a_stack_touches_one_page_before_it_is_used(void **state)
{
    struct stack *s = get(0);
    assert_int_equal(pages_present(s), 1);
    coil__stack_put(s);
}

static void few_deep_stacks_keep_their_pages_many_do_not(void **state)
{
    struct stack *s[40];
    for (int i = 0; i < 40; i++) {
        s[i] = get(0);
        touch(s[i], 100 * KB * COIL_STACK_FACTOR);
    }
    for (int i = 0; i < 40; i++)
        coil__stack_put(s[i]);
    size_t kept = 0;
    for (int i = 0; i < 40; i++) {
        size_t n = pages_present(s[i]);
        assert_true(n > 0); /* the head and the warm part stay */
        kept += n > 20 * COIL_STACK_FACTOR;
    }
    assert_int_equal(kept, 16);
}

static void a_lone_deep_stack_is_not_given_back_each_time(void **state)
{
    NEEDS_TABLE;
    for (int i = 0; i < 100; i++) {
        struct stack *s = get(0);
        touch(s, 100 * KB * COIL_STACK_FACTOR);
        coil__stack_put(s);
    }
    assert_int_equal(sys.given_back, 0);
}

static void trim_gives_back_all_but_the_warmest(void **state)
{
    struct stack *s[10];
    struct stack_stats stats;
    for (int i = 0; i < 10; i++)
        s[i] = get(0);
    const char *low = s[0]->low;
    for (int i = 0; i < 10; i++)
        coil__stack_put(s[i]);
    assert_int_equal(coil__stack_pool_trim(&pool, 8, 0), 2);
    assert_int_equal(coil__stack_pool_trim(&pool, 3, 4), 4); /* no more than told */
    assert_int_equal(coil__stack_pool_trim(&pool, 3, 0), 1);
    assert_int_equal(coil__stack_pool_trim(&pool, 3, 0), 0);
    coil__stack_pool_stats(&pool, &stats);
    assert_int_equal(stats.idle, 3);
    assert_int_equal(stats.cold, 7);
    assert_int_equal(pages_between(low, (char *)s[0]), 0);
    assert_ptr_equal(get(0), s[9]); /* the warm ones are the last returned */
    coil__stack_put(s[9]);
}

static void cold_slots_go_out_before_new_ones(void **state)
{
    NEEDS_TABLE;
    struct stack *s[10];
    struct stack_stats stats;
    for (int i = 0; i < 10; i++)
        s[i] = get(0);
    for (int i = 0; i < 10; i++)
        coil__stack_put(s[i]);
    coil__stack_pool_trim(&pool, 0, 0);
    int guards = sys.guards_madvise + sys.guards_mprotect;
    for (int i = 0; i < 10; i++)
        s[i] = get(0);
    assert_int_equal(sys.guards_madvise + sys.guards_mprotect, guards); /* they were still there */
    coil__stack_pool_stats(&pool, &stats);
    assert_int_equal(stats.made, 10);
    assert_int_equal(stats.cold, 0);
    for (int i = 0; i < 10; i++)
        coil__stack_put(s[i]);
}

static void idle_max_bounds_what_stays_warm(void **state)
{
    struct stack *s[10];
    struct stack_stats stats;
    pool.idle_max = 4;
    for (int i = 0; i < 10; i++)
        s[i] = get(0);
    for (int i = 0; i < 10; i++)
        coil__stack_put(s[i]);
    coil__stack_pool_stats(&pool, &stats);
    assert_int_equal(stats.idle, 4);
    assert_int_equal(stats.cold, 6);
}

static void used_tells_how_deep_it_went(void **state)
{
    struct stack *s = get(0);
    size_t before = coil__stack_used(s);
    assert_true(before < 4 * KB);
    touch(s, 50 * KB);
    assert_true(coil__stack_used(s) >= 50 * KB);
    assert_true(coil__stack_used(s) < 51 * KB);
    coil__stack_put(s);
}

/* ---- refusals of the kernel ---- */

static void no_mapping_is_enomem_and_loses_nothing(void **state)
{
    NEEDS_TABLE;
    struct stack *s = NULL;
    sys.refuse_above = 1;
    assert_int_equal(coil__stack_get(&pool, 0, &s), -ENOMEM);
    assert_non_null(strstr(coil_last_error()->message, "vm.max_map_count"));
    assert_int_equal(coil__stack_get(&pool, 9000 * KB, &s), -ENOMEM);
    assert_null(s);
    assert_int_equal(pool.in_use, 0);
    sys.refuse_above = 0;
    coil__stack_put(get(0));
    coil__stack_put(get(9000 * KB));
}

static void a_tight_address_space_gets_smaller_arenas(void **state)
{
    NEEDS_TABLE;
    struct stack *s[5], *none = NULL;
    sys.refuse_above = 400 * KB * COIL_STACK_FACTOR; /* room for one slot */
    for (int i = 0; i < 5; i++)
        s[i] = get(0);
    assert_int_equal(sys.mmaps, 5);
    sys.refuse_above = 1;
    assert_int_equal(coil__stack_get(&pool, 0, &none), -ENOMEM);
    for (int i = 0; i < 5; i++)
        coil__stack_put(s[i]);
}

/* ---- the end ---- */

static void fini_tells_how_many_are_out_and_leaves_them_mapped(void **state)
{
    struct stack *s[20];
    for (int i = 0; i < 20; i++) /* two arenas */
        s[i] = get(0);
    for (int i = 0; i < 18; i++)
        coil__stack_put(s[i]);
    assert_int_equal(coil__stack_pool_fini(&pool), 2);
    assert_true(readable(s[18]->low));
    coil__stack_put(s[18]);
    assert_int_equal(coil__stack_pool_fini(&pool), 1);
    const char *low = s[19]->low;
    assert_true(readable(low));
    coil__stack_put(s[19]);
    assert_int_equal(coil__stack_pool_fini(&pool), 0);
    assert_false(readable(low));
}

static void an_abandoned_one_is_not_waited_for(void **state)
{
    struct stack *s = get(0);
    struct stack_stats stats;
    coil__stack_abandon(s);
    coil__stack_pool_stats(&pool, &stats);
    assert_int_equal(stats.abandoned, 1);
    assert_int_equal(stats.in_use, 0);
    struct stack *t = get(0);
    assert_ptr_not_equal(t, s);
    coil__stack_put(t);
    assert_int_equal(coil__stack_pool_fini(&pool), 0);
    assert_true(readable(s->low)); /* whoever points into it may go on doing so */
    sys.mapped = 0;
}

static void every_ending_accepts_nothing(void **state)
{
    struct stack_pool none = {0};
    coil__stack_put(NULL);
    assert_int_equal(coil__stack_pool_fini(NULL), 0);
    assert_int_equal(coil__stack_pool_fini(&none), 0);
    assert_int_equal(coil__stack_pool_trim(&pool, 0, 0), 0);
}

/* ---- many sizes at random, against a model ---- */

static void a_storm_of_gets_and_puts_keeps_everything_apart(void **state)
{
    static struct stack *held[300];
    static const size_t sizes[] = {0, 32 * KB, 64 * KB, 256 * KB, 1024 * KB, 9000 * KB};
    uint64_t seed = 12345;
    size_t n = 0;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned dice = (unsigned)(seed >> 33);
        if (dice % 1000 == 0)
            coil__stack_pool_trim(&pool, dice / 1000 % 8, dice / 8000 % 16);
        if (n == 0 || (dice % 2 && n < 300)) {
            unsigned pick = dice / 2 % 40;
            struct stack *s = get(sizes[pick < 5 ? pick : pick == 39 ? 5 : 0]);
            uintptr_t *mark = coil__stack_reserve(s, sizeof *mark);
            *mark = (uintptr_t)s ^ seed;
            s->owner = (void *)(uintptr_t)seed;
            if (dice % 16 == 0)
                touch(s, 20 * KB); /* below what is reserved */
            held[n++] = s;
        } else {
            size_t which = dice / 2 % n;
            struct stack *s = held[which];
            uintptr_t mark = *(uintptr_t *)(void *)s->high;
            assert_int_equal(mark, (uintptr_t)s ^ (uintptr_t)s->owner);
            held[which] = held[--n];
            coil__stack_put(s);
        }
    }
    assert_int_equal(pool.in_use, n);
    while (n > 0)
        coil__stack_put(held[--n]);
}

int main(void)
{
#define T(fact) cmocka_unit_test_setup_teardown(fact, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(each_size_gets_at_least_what_it_asks),
        T(size_0_is_the_pool_s_default),
        T(absurd_sizes_are_refused),
        T(a_size_above_the_classes_is_a_mapping_of_its_own),
        T(tops_are_coloured),
        T(reserving_carves_aligned_bytes_off_the_top),
        T(reserving_too_much_is_refused),
        T(below_each_stack_lies_a_guard),
        T(a_guard_stays_when_pages_go),
        T(guards_fall_back_to_mprotect),
        T(a_guard_that_does_not_guard_is_found_out),
        T(no_guard_means_no_stack_and_names_the_limit),
        T(the_last_returned_goes_out_first),
        T(a_warm_stack_costs_no_system_call),
        T(ten_thousand_stacks_take_few_mappings),
        T(a_stack_touches_one_page_before_it_is_used),
        T(few_deep_stacks_keep_their_pages_many_do_not),
        T(a_lone_deep_stack_is_not_given_back_each_time),
        T(trim_gives_back_all_but_the_warmest),
        T(cold_slots_go_out_before_new_ones),
        T(idle_max_bounds_what_stays_warm),
        T(used_tells_how_deep_it_went),
        T(no_mapping_is_enomem_and_loses_nothing),
        T(a_tight_address_space_gets_smaller_arenas),
        T(fini_tells_how_many_are_out_and_leaves_them_mapped),
        T(an_abandoned_one_is_not_waited_for),
        T(every_ending_accepts_nothing),
        T(a_storm_of_gets_and_puts_keeps_everything_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
