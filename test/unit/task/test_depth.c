/* SPDX-License-Identifier: MIT
 *
 * test_depth.c: how deep stacks went, function by function, in debug mode. */
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
