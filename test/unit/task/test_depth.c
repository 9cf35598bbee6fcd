/* SPDX-License-Identifier: MIT
 *
 * test_depth.c: how deep stacks went, function by function, in debug mode. */
#include "task/depth.h"
#include "task/task.h"

#include "../loop/stage.h"

#include <coil/coroutine.h>
#include <coil/debug.h>

enum { KB = 1024 };

/* ---- tasks ---- */

__attribute__((noinline)) static int touch(size_t n)
{
    volatile char words[KB];
    for (size_t i = 0; i < sizeof words; i += 64)
        words[i] = 1;
    return (n > sizeof words ? touch(n - sizeof words) : 0) + words[0];
}

static coil_ret goes_deep(void *arg)
{
    return touch((size_t)arg) > 0;
}

static coil_ret stays_flat(void *arg)
{
    (void)arg;
    return coil_sleep(0);
}

/* Writes far below, and to nothing in between. */
static coil_ret leaps(void *arg)
{
    (void)arg;
    volatile char words[100 * KB];
    for (int i = 0; i < 64; i++)
        words[i] = 1;
    return words[0];
}

/* Each on a stack that was somebody's before. */
static void run(coil_fn fn, const void *arg, size_t stack_size)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .stack_size = stack_size};
    coil_task *task = coil_create_task_opts(fn, (void *)(uintptr_t)arg, &opts);
    (void)coil_loop_run_until_complete(stage.loop, task);
    coil_unref(task);
}

static bool on_valgrind(void)
{
    return tool_on_valgrind();
}

static coil_stack_use use_of(coil_fn fn)
{
    for (size_t rank = 0;; rank++) {
        coil_stack_use use = {.size = sizeof use};
        if (coil_loop_stack_use(stage.loop, rank, &use) < 0)
            return (coil_stack_use){.size = 0};
        if (use.fn == fn)
            return use;
    }
}

/* ---- what is told ---- */

LOOP(depth_is_told_function_by_function_the_fullest_first)
{
    coil_loop_set_debug(stage.loop, true);
    run(stays_flat, NULL, 0);
    run(goes_deep, TEXT(50 * KB), 0);
    run(stays_flat, NULL, 0);
    run(goes_deep, TEXT(20 * KB), 0); /* less than the other time */
    run(stays_flat, NULL, 0);
    if (on_valgrind())
        return;
    coil_stack_use first = {.size = sizeof first};
    FACT_INT(coil_loop_stack_use(stage.loop, 0, &first), 0);
    FACT(first.fn == goes_deep);
    FACT_INT(first.tasks, 2);
    FACT_INT(first.stack_bytes, 256 * KB * COIL_STACK_FACTOR);
    FACT(first.used_bytes < 64 * KB * COIL_STACK_FACTOR);
    if (!STAGE_ASAN) /* it may have what is large elsewhere, to see its use after a return */
        FACT(first.used_bytes > 50 * KB);
    coil_stack_use flat = use_of(stays_flat);
    FACT_INT(flat.tasks, 3);
    FACT(flat.used_bytes > 0 && flat.used_bytes < 16 * KB * COIL_STACK_FACTOR);
    FACT_INT(coil_loop_stack_use(stage.loop, 2, &first), -ENOENT);
    FACT_ERROR(-ENOENT, "the stacks of 2 functions were measured");
}

LOOP(depth_of_one_that_leaps_over_a_large_array_is_seen)
{
    coil_loop_set_debug(stage.loop, true);
    run(leaps, NULL, 0);
    run(stays_flat, NULL, 0);
    if (on_valgrind())
        return;
    FACT(use_of(leaps).used_bytes > 100 * KB);
    FACT(use_of(stays_flat).used_bytes < 16 * KB * COIL_STACK_FACTOR);
}

/* Long after the first ones, which are looked at closely. */
LOOP(depth_is_seen_at_any_time)
{
    coil_loop_set_debug(stage.loop, true);
    for (int i = 0; i < 200; i++)
        run(stays_flat, NULL, 0);
    run(goes_deep, TEXT(50 * KB), 0);
    for (int i = 0; i < 200; i++)
        run(stays_flat, NULL, 0);
    if (on_valgrind())
        return;
    if (COIL_STACK_FACTOR == 1) /* in sanitizers' frames much is never written to */
        FACT(use_of(goes_deep).used_bytes > 50 * KB);
    FACT(use_of(stays_flat).used_bytes < 16 * KB * COIL_STACK_FACTOR);
}

LOOP(depth_of_a_coroutine_object_is_its_functions)
{
    coil_loop_set_debug(stage.loop, true);
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_coro *coro = coil_coro_new(stays_flat, NULL);
    coil_task *task = coil_create_task_coro_at(__FILE__, __LINE__, coro, &opts);
    FACT_INT(coil_loop_run_until_complete(stage.loop, task), 0);
    coil_unref(task);
    if (!on_valgrind())
        FACT_INT(use_of(stays_flat).tasks, 1);
}

/* ---- nearly full ---- */

LOOP(stack_that_is_nearly_full_is_told_of_once)
{
    coil_loop_set_debug(stage.loop, true);
    if (on_valgrind() || COIL_STACK_FACTOR > 1) /* sanitizers' frames are of any size */
        return;
    run(goes_deep, TEXT(54 * KB), 64 * KB);
    FACT_TEXT(stage.report.kind, "stack-nearly-full");
    FACT_HAS(stage.report.message, "The stack of goes_deep is nearly full: ");
    FACT_REPORT(" of 64 KiB were used; give its tasks a larger stack_size");
    run(goes_deep, TEXT(55 * KB), 64 * KB); /* even fuller */
    FACT_INT(stage.report.n, 0);
    FACT(use_of(goes_deep).used_bytes > 56 * KB);
}

LOOP(stack_that_is_half_full_is_not_told_of)
{
    coil_loop_set_debug(stage.loop, true);
    for (int i = 0; i < 50; i++)
        run(goes_deep, TEXT(30 * KB), 64 * KB);
    FACT_INT(stage.report.n, 0);
}

/* ---- where nothing is measured ---- */

LOOP(depth_is_not_measured_without_debug_mode)
{
    run(goes_deep, TEXT(56 * KB), 64 * KB);
    coil_stack_use use = {.size = sizeof use};
    FACT_INT(coil_loop_stack_use(stage.loop, 0, &use), -ENOENT);
    /* What ran until now has left its stacks as they are. */
    coil_loop_set_debug(stage.loop, true);
    run(stays_flat, NULL, 0);
    FACT_INT(coil_loop_stack_use(stage.loop, 0, &use), -ENOENT);
    FACT_INT(coil_loop_stack_use(stage.loop, 0, NULL), -EINVAL);
}

LOOP(depth_is_forgotten_when_debug_mode_ends)
{
    coil_loop_set_debug(stage.loop, true);
    run(stays_flat, NULL, 0);
    coil_loop_set_debug(stage.loop, false);
    run(stays_flat, NULL, 0);
    coil_stack_use use = {.size = sizeof use};
    FACT_INT(coil_loop_stack_use(stage.loop, 0, &use), -ENOENT);
}

LOOP(depth_goes_into_as_much_of_a_structure_as_the_caller_has)
{
    coil_loop_set_debug(stage.loop, true);
    run(stays_flat, NULL, 0);
    coil_stack_use use = {.size = offsetof(coil_stack_use, used_bytes), .used_bytes = 7};
    if (on_valgrind())
        return;
    FACT_INT(coil_loop_stack_use(stage.loop, 0, &use), 0);
    FACT(use.fn == stays_flat);
    FACT_INT(use.used_bytes, 7);
}

LOOP(depth_needs_a_loop_that_ran_tasks)
{
    coil_stack_use use = {.size = sizeof use};
    FACT_INT(coil_loop_stack_use(NULL, 0, &use), COIL_ENOLOOP);
    FACT_INT(coil_loop_stack_use(stage.loop, 0, &use), -ENOENT);
    FACT_ERROR(-ENOENT, "the stacks of 0 functions were measured");
}

LOOP(depth_goes_into_all_of_a_structure_whose_size_nobody_set)
{
    coil_loop_set_debug(stage.loop, true);
    run(stays_flat, NULL, 0);
    coil_stack_use use = {.size = 0};
    if (on_valgrind())
        return;
    FACT_INT(coil_loop_stack_use(stage.loop, 0, &use), 0);
    FACT_INT(use.size, 0);
    FACT(use.fn == stays_flat);
    FACT_INT(use.tasks, 1);
}

LOOP(depth_is_not_measured_where_valgrind_would_have_words_for_it)
{
    struct task_part *part = coil__task_part(stage.loop);
    bool before = part->stacks.on_valgrind;
    part->stacks.on_valgrind = true;
    coil__depths_begin(part);
    FACT(part->stacks.measured == NULL);
    part->stacks.on_valgrind = before;
}

/* ---- many functions ---- */

/* A task whose stack comes home again and again, each time as if another function had run on it. */
static coil_task *home_comer;

static void comes_home(uintptr_t fn, size_t used)
{
    struct origin *origin = (struct origin *)(uintptr_t)future_origin(home_comer);
    coil_fn before = origin->body;
    origin->body = (coil_fn)fn;
    coil__task_part(stage.loop)->stacks.measured(as_task(home_comer)->stack, used);
    origin->body = before;
}

static coil_ret parks(void *arg)
{
    (void)arg;
    return coil_sleep(60);
}

static bool begin_coming_home(void)
{
    coil_loop_set_debug(stage.loop, true);
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    home_comer = coil_create_task_opts(parks, NULL, &opts);
    one_turn();
    return !on_valgrind();
}

static void end_coming_home(void)
{
    FACT_INT(coil_loop_run_until_complete(stage.loop, home_comer), 0);
    coil_unref(home_comer);
}

/* Addresses of functions, of which none is called. */
static uintptr_t nth(size_t n)
{
    return 0x10000 + 48 * n;
}

LOOP(depth_of_many_functions_is_kept_up_to_a_limit)
{
    enum { MANY = 5000, KEPT = 4095 };
    coil_stack_use use = {.size = sizeof use};
    if (begin_coming_home()) {
        for (size_t i = 0; i < MANY; i++)
            comes_home(nth(i), 3000);
        FACT_INT(coil_loop_stack_use(stage.loop, KEPT, &use), -ENOENT);
        FACT_ERROR(-ENOENT, "the stacks of 4095 functions were measured");
        /* Who is known is found among so many; who is not, is left out. */
        comes_home(nth(0), 3001);
        comes_home(nth(KEPT - 1), 4000);
        comes_home(nth(KEPT), 5000);
        static const size_t known[] = {KEPT - 1, 0, 1, 2};
        for (size_t i = 0; i < 4; i++) {
            FACT_INT(coil_loop_stack_use(stage.loop, i, &use), 0);
            FACT_INT((uintptr_t)use.fn, nth(known[i]));
            FACT_INT(use.tasks, i < 2 ? 2 : 1);
        }
    }
    end_coming_home();
}

LOOP(depth_of_equals_has_an_order)
{
    coil_stack_use use = {.size = sizeof use};
    if (begin_coming_home()) {
        static const size_t order[] = {3, 1, 4, 0, 2};
        for (size_t i = 0; i < 5; i++)
            comes_home(nth(order[i]), 3000);
        for (size_t i = 0; i < 5; i++) {
            FACT_INT(coil_loop_stack_use(stage.loop, i, &use), 0);
            FACT_INT((uintptr_t)use.fn, nth(i));
        }
    }
    end_coming_home();
}

LOOP(stack_of_a_function_without_a_name_is_told_of_as_a_tasks)
{
    if (begin_coming_home()) {
        comes_home(nth(0), 255 * KB * COIL_STACK_FACTOR);
        FACT_REPORT("The stack of a task is nearly full: ");
    }
    end_coming_home();
}

#if STAGE_TABLE
/* A function that finds no room is left out; the next time there may be some. */
LOOP(depth_without_memory_leaves_functions_out)
{
    if (begin_coming_home()) {
        coil__mem_fail_at(1, 1);
        comes_home(nth(0), 3000); /* there is no table yet */
        coil__mem_fail_at(0, 0);
        FACT_INT(use_of((coil_fn)nth(0)).tasks, 0);
        comes_home(nth(0), 3000);
        coil__mem_fail_at(1, 1);
        for (size_t i = 1; i < 20; i++)
            comes_home(nth(i), 3000);
        coil__mem_fail_at(0, 0);
        FACT_INT(use_of((coil_fn)nth(14)).tasks, 1); /* as many as there are places, but for one */
        FACT_INT(use_of((coil_fn)nth(15)).tasks, 0);
        comes_home(nth(15), 3000);
        FACT_INT(use_of((coil_fn)nth(15)).tasks, 1);
        FACT_INT(use_of((coil_fn)nth(14)).tasks, 1);
    }
    end_coming_home();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depth_is_told_function_by_function_the_fullest_first),
        cmocka_unit_test(depth_of_one_that_leaps_over_a_large_array_is_seen),
        cmocka_unit_test(depth_is_seen_at_any_time),
        cmocka_unit_test(depth_of_a_coroutine_object_is_its_functions),
        cmocka_unit_test(stack_that_is_nearly_full_is_told_of_once),
        cmocka_unit_test(stack_that_is_half_full_is_not_told_of),
        cmocka_unit_test(depth_is_not_measured_without_debug_mode),
        cmocka_unit_test(depth_is_forgotten_when_debug_mode_ends),
        cmocka_unit_test(depth_goes_into_as_much_of_a_structure_as_the_caller_has),
        cmocka_unit_test(depth_needs_a_loop_that_ran_tasks),
        cmocka_unit_test(depth_goes_into_all_of_a_structure_whose_size_nobody_set),
        cmocka_unit_test(depth_is_not_measured_where_valgrind_would_have_words_for_it),
        cmocka_unit_test(depth_of_many_functions_is_kept_up_to_a_limit),
        cmocka_unit_test(depth_of_equals_has_an_order),
        cmocka_unit_test(stack_of_a_function_without_a_name_is_told_of_as_a_tasks),
#if STAGE_TABLE
        cmocka_unit_test(depth_without_memory_leaves_functions_out),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
