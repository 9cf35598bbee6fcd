/* SPDX-License-Identifier: MIT
 *
 * test_frames.c: stacks walked up: real ones, stopped and running, and made-up ones that lie. */
#include "coro/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- real ones ---- */

static struct stack_pool pool;

struct player {
    struct coro co;
    struct coro *back;
    int depth;
    size_t seen;
    const void *frames[64];
};

/* Sees `depth` frames of this function, in which the deepest one does what is to be done there. */
__attribute__((noinline)) static int dive(struct player *p, int depth)
{
    int rc = 0;
    if (depth > 1)
        rc = dive(p, depth - 1);
    else if (p->back)
        coil__coro_switch(p->back);
    else
        p->seen = coil__frames(frames_here(), 0, p->frames, 64);
    __asm__ volatile("" : "+r"(rc));
    return rc;
}

CORO_ENTRY static void play(struct coro *co)
{
    struct player *p = (struct player *)co;
    struct coro *main = coil__coro_main();
    dive(p, p->depth);
    coil__coro_exit_to(main);
}

static void begin(struct player *p, int depth, bool stops)
{
    struct stack *stack;
    memset(p, 0, sizeof *p);
    assert_int_equal(coil__stack_get(&pool, 0, &stack), 0);
    coil__coro_make(&p->co, stack, play);
    p->depth = depth;
    p->back = stops ? coro_current() : NULL;
    coil__coro_switch(&p->co);
}

/* How many of the frames lie in a function (no larger than 16 KB, also with what sanitizers add). */
static size_t within(const struct player *p, size_t n, uintptr_t function)
{
    size_t in = 0;
    for (size_t i = 0; i < n; i++)
        in += (uintptr_t)p->frames[i] >= function && (uintptr_t)p->frames[i] < function + 16384;
    return in;
}

static void stopped_coroutine_shows_its_calls_and_not_who_called_it(void **state)
{
    (void)state;
    struct player p;
    for (int depth = 1; depth < 20; depth += 3) {
        begin(&p, depth, true);
        size_t n = coil__frames(coil__frames_stopped(&p.co), 0, p.frames, 64);
        assert_int_equal(n, depth);
        assert_int_equal(within(&p, n, (uintptr_t)dive), depth);
        coil__coro_switch(&p.co);
        coil__stack_put(p.co.stack);
    }
}

static void running_coroutine_shows_its_calls_from_who_asks(void **state)
{
    (void)state;
    struct player p;
    begin(&p, 5, false);
    /* frames_here leaves out the function that asks: the innermost dive. */
    assert_int_equal(p.seen, 4);
    assert_int_equal(within(&p, p.seen, (uintptr_t)dive), 4);
    coil__stack_put(p.co.stack);
}

static void frames_are_skipped_from_the_inside_and_counted_beyond_the_room(void **state)
{
    (void)state;
    struct player p;
    const void *some[4] = {NULL};
    begin(&p, 10, true);
    struct frame from = coil__frames_stopped(&p.co);
    assert_int_equal(coil__frames(from, 0, p.frames, 64), 10);
    assert_int_equal(coil__frames(from, 7, some, 4), 3);
    assert_memory_equal(some, &p.frames[7], 3 * sizeof some[0]);
    assert_int_equal(coil__frames(from, 2, some, 4), 8);
    assert_memory_equal(some, &p.frames[2], sizeof some);
    assert_int_equal(coil__frames(from, 11, some, 4), 0);
    assert_int_equal(coil__frames(from, 0, NULL, 0), 10);
    coil__coro_switch(&p.co);
    coil__stack_put(p.co.stack);
}

static void coroutine_that_drives_another_comes_after_it(void **state)
{
    (void)state;
    struct player inner, outer;
    begin(&outer, 3, true);
    begin(&inner, 2, true);
    inner.co.resumer = &outer.co;
    size_t n = coil__frames(coil__frames_stopped(&inner.co), 0, inner.frames, 64);
    assert_int_equal(n, 5);
    inner.co.resumer = NULL;
    coil__coro_switch(&inner.co);
    coil__coro_switch(&outer.co);
    coil__stack_put(inner.co.stack);
    coil__stack_put(outer.co.stack);
}

static void threads_own_stack_has_no_frames(void **state)
{
    (void)state;
    const void *some[4];
    assert_int_equal(coil__frames(frames_here(), 0, some, 4), 0);
}

/* ---- made-up ones ---- */

static struct {
    uintptr_t words[64];
    struct stack stack;
} made;
static struct coro liar;

static uintptr_t at(size_t word)
{
    return (uintptr_t)made.words + word * sizeof made.words[0];
}

static size_t walk(uintptr_t fp)
{
    const void *out[64];
    made.stack.low = (char *)made.words;
    made.stack.high = (char *)&made.stack;
    liar.stack = &made.stack;
    return coil__frames((struct frame){.co = &liar, .pc = 0x1000, .fp = fp}, 0, out, 64);
}

static void frame_pointer_that_leaves_the_stack_ends_the_walk(void **state)
{
    (void)state;
    static const uintptr_t nonsense[] = {
        0, 1, 8, 4096, UINTPTR_MAX, UINTPTR_MAX - 7, UINTPTR_MAX / 2 + 1};
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++)
        assert_int_equal(walk(nonsense[i]), 1);
    assert_int_equal(walk(at(0) - 8), 1);
    assert_int_equal(walk(at(63)), 1); /* the second word is no longer in it */
    assert_int_equal(walk(at(64)), 1);
    assert_int_equal(walk(at(3) + 4), 1); /* not aligned */
}

static void frame_pointer_that_goes_back_or_in_circles_ends_the_walk(void **state)
{
    (void)state;
    memset(made.words, 0, sizeof made.words);
    made.words[10] = at(20), made.words[11] = 0x2000;
    made.words[20] = at(10), made.words[21] = 0x3000;
    assert_int_equal(walk(at(10)), 3);
    made.words[20] = at(20);
    assert_int_equal(walk(at(10)), 3);
    made.words[20] = at(30), made.words[21] = 0; /* goes on nowhere */
    assert_int_equal(walk(at(10)), 2);
}

static void any_words_at_all_are_walked_within_the_stack(void **state)
{
    (void)state;
    srand(1);
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < 64; i++)
            made.words[i] = rand() % 3 ? at((size_t)rand() % 70) : (uintptr_t)rand();
        assert_true(walk(at((size_t)rand() % 64)) <= 64);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_coroutine_shows_its_calls_and_not_who_called_it),
        cmocka_unit_test(running_coroutine_shows_its_calls_from_who_asks),
        cmocka_unit_test(frames_are_skipped_from_the_inside_and_counted_beyond_the_room),
        cmocka_unit_test(coroutine_that_drives_another_comes_after_it),
        cmocka_unit_test(threads_own_stack_has_no_frames),
        cmocka_unit_test(frame_pointer_that_leaves_the_stack_ends_the_walk),
        cmocka_unit_test(frame_pointer_that_goes_back_or_in_circles_ends_the_walk),
        cmocka_unit_test(any_words_at_all_are_walked_within_the_stack),
    };
    coil__stack_pool_init(&pool, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    coil__stack_pool_fini(&pool);
    return failed;
}
