/* SPDX-License-Identifier: MIT
 *
 * test_context.c: context variables without a loop: set, reset, copy, run; what a thread keeps. */
#include "base/context.h"

#include "../loop/stage.h"
#include "base/thread.h"

static const coil_contextvar color = COIL_CONTEXTVAR("color", (void *)(uintptr_t) "none");
static const coil_contextvar size = COIL_CONTEXTVAR("size", NULL);

static const char *get(const coil_contextvar *var)
{
    return coil_contextvar_get(var);
}

static void set(const coil_contextvar *var, const char *value, coil_contextvar_token *token)
{
    FACT_INT(coil_contextvar_set(var, (void *)(uintptr_t)value, token), 0);
}

static void reset(coil_contextvar_token *token)
{
    FACT_INT(coil_contextvar_reset(token), 0);
}

PLAIN(contextvar_unset_has_its_default)
{
    FACT_TEXT(get(&color), "none");
    FACT(get(&size) == NULL);
}

PLAIN(contextvar_set_and_reset)
{
    coil_contextvar_token a, b;
    set(&color, "red", &a);
    FACT_TEXT(get(&color), "red");
    FACT(!a.was_set && a.var == &color);
    set(&color, "blue", &b);
    FACT(b.was_set);
    FACT_TEXT(b.old_value, "red");
    reset(&b);
    FACT_TEXT(get(&color), "red");
    reset(&a);
    FACT_TEXT(get(&color), "none");
}

PLAIN(contextvar_reset_may_skip_levels)
{
    coil_contextvar_token a, b;
    set(&color, "red", &a);
    set(&color, "blue", &b);
    reset(&a);
    FACT_TEXT(get(&color), "none");
    reset(&b); /* puts back what was before its own set */
    FACT_TEXT(get(&color), "red");
    coil_contextvar_token c;
    set(&color, "x", &c);
    c.was_set = false;
    reset(&c);
}

PLAIN(contextvar_token_works_once)
{
    coil_contextvar_token a;
    set(&color, "red", &a);
    reset(&a);
    FACT_INT(coil_contextvar_reset(&a), COIL_EINVALIDSTATE);
    FACT_ERROR(COIL_EINVALIDSTATE, "already been used");
    FACT_TEXT(get(&color), "none");
    coil_contextvar_token never = {0};
    FACT_INT(coil_contextvar_reset(&never), COIL_EINVALIDSTATE);
}

PLAIN(contextvar_may_be_set_to_null_and_is_set_then)
{
    coil_contextvar_token a;
    void *value = &a;
    set(&color, NULL, &a);
    FACT(get(&color) == NULL);
    coil_context *copy = coil_copy_context();
    FACT(coil_context_get(copy, &color, &value));
    FACT(value == NULL);
    coil_context_unref(copy);
    reset(&a);
}

PLAIN(contextvars_by_the_hundred_do_not_mix)
{
    static coil_contextvar vars[100];
    static coil_contextvar_token tokens[100];
    for (int i = 0; i < 100; i++)
        set(&vars[i * 37 % 100], &"0123456789"[i % 10], &tokens[i]);
    for (int i = 0; i < 100; i++)
        FACT_INT(*get(&vars[i * 37 % 100]), '0' + i % 10);
    for (int i = 0; i < 100; i += 2)
        reset(&tokens[i]);
    for (int i = 0; i < 100; i++)
        FACT(i % 2 ? *get(&vars[i * 37 % 100]) == '0' + i % 10 : !get(&vars[i * 37 % 100]));
    for (int i = 1; i < 100; i += 2)
        reset(&tokens[i]);
}

/* ---- contexts ---- */

static coil_ret paint(void *arg)
{
    note("%s", get(&color));
    set(&color, arg, NULL);
    note("%s", get(&color));
    return 42;
}

PLAIN(context_run_keeps_what_was_set_inside)
{
    void *value;
    coil_context *c = coil_context_new();
    FACT(!coil_context_get(c, &color, &value));
    FACT_TEXT(value, "none");
    FACT_INT(coil_context_run(c, paint, (void *)(uintptr_t) "red"), 42);
    FACT_TEXT(get(&color), "none"); /* and does not leak out */
    FACT(coil_context_get(c, &color, &value));
    FACT_TEXT(value, "red");
    FACT_INT(coil_context_run(c, paint, (void *)(uintptr_t) "blue"), 42);
    FACT_TRACE("none red red blue");
    coil_context_unref(c);
}

PLAIN(context_new_is_empty_and_a_copy_is_not)
{
    coil_contextvar_token a;
    void *value;
    set(&color, "red", &a);
    coil_context *empty = coil_context_new(), *copy = coil_copy_context();
    FACT(!coil_context_get(empty, &color, &value));
    FACT(coil_context_get(copy, &color, &value));
    FACT_TEXT(value, "red");
    coil_context_run(empty, paint, (void *)(uintptr_t) "blue");
    FACT_TRACE("none blue");
    set(&color, "green", NULL); /* a copy is a copy */
    FACT(coil_context_get(copy, &color, &value));
    FACT_TEXT(value, "red");
    coil_context_unref(empty);
    coil_context_unref(copy);
    reset(&a);
}

static coil_ret run_again(void *arg)
{
    coil_ret rc = coil_context_run(arg, paint, NULL);
    FACT_ERROR(COIL_ERUNNING, "already entered");
    return rc;
}

PLAIN(context_cannot_be_entered_twice)
{
    coil_context *c = coil_context_new();
    FACT_INT(coil_context_run(c, run_again, c), COIL_ERUNNING);
    FACT_TRACE("");
    FACT_INT(coil_context_run(c, paint, (void *)(uintptr_t) "red"), 42); /* it was left again */
    FACT_TRACE("none red");
    coil_context_unref(c);
}

static coil_ret run_in(void *arg)
{
    set(&color, "outer", NULL);
    coil_context_run(arg, paint, (void *)(uintptr_t) "inner");
    note("%s", get(&color));
    return 0;
}

PLAIN(context_runs_nest)
{
    coil_context *outer = coil_context_new(), *inner = coil_context_new();
    FACT_INT(coil_context_run(outer, run_in, inner), 0);
    FACT_TRACE("none inner outer");
    FACT_TEXT(get(&color), "none");
    coil_context_unref(outer);
    coil_context_unref(inner);
}

static coil_ret fail_inside(void *arg)
{
    (void)arg;
    set(&color, "red", NULL);
    return coil_fail(-EIO, "inside");
}

PLAIN(context_run_returns_the_error_and_leaves)
{
    coil_context *c = coil_context_new();
    FACT_INT(coil_context_run(c, fail_inside, NULL), -EIO);
    FACT_ERROR(-EIO, "inside");
    FACT_TEXT(get(&color), "none");
    FACT_INT(coil_context_run(c, paint, (void *)(uintptr_t) "x"), 42);
    FACT_TRACE("red x");
    coil_context_unref(c);
}

PLAIN(context_run_without_a_function_is_refused)
{
    coil_context *c = coil_context_new();
    FACT_INT(coil_context_run(c, NULL, NULL), -EINVAL);
    FACT_INT(coil_context_run(c, paint, TEXT("x")), 42);
    FACT_TRACE("none x");
    coil_context_unref(c);
}

static coil_ret drop_it(void *arg)
{
    coil_context_unref(arg);
    return 7;
}

PLAIN(context_lives_while_it_runs)
{
    coil_context *c = coil_context_new();
    FACT_INT(coil_context_run(c, drop_it, c), 7);
}

PLAIN(context_is_counted)
{
    coil_context *c = coil_context_new();
    FACT(coil_context_ref(c) == c);
    coil_context_unref(c);
    FACT_INT(coil_context_run(c, paint, (void *)(uintptr_t) "red"), 42);
    FACT_TRACE("none red");
    coil_context_unref(c);
    coil_context_unref(NULL);
}

PLAIN(context_map_clone_shares_nothing)
{
    coil_contextvar_token a;
    struct context_map *clone;
    FACT_INT(coil__context_map_clone(NULL, &clone), 0);
    FACT(clone == NULL);
    set(&color, "red", &a);
    struct context_map *map = context_capture();
    FACT_INT(coil__context_map_clone(map, &clone), 0);
    FACT(clone && clone != map);
    coil__context_map_unref(map);
    struct coil_context c = {.map = clone, .refs = 2};
    void *value;
    FACT(coil_context_get(&c, &color, &value));
    FACT_TEXT(value, "red");
    coil__context_map_unref(clone);
    reset(&a);
}

/* ---- memory ---- */

PLAIN(contextvar_without_memory_changes_nothing)
{
#if STAGE_TABLE
    coil_contextvar_token a, b;
    set(&color, "red", &a);
    coil__mem_fail_at(1, 0);
    FACT_INT(coil_contextvar_set(&color, (void *)(uintptr_t) "blue", &b), -ENOMEM);
    FACT_TEXT(get(&color), "red");
    FACT_ERROR(-ENOMEM, "");
    set(&color, "blue", &b);
    coil__mem_fail_at(1, 0);
    FACT_INT(coil_contextvar_reset(&b), -ENOMEM);
    FACT_TEXT(get(&color), "blue");
    reset(&b); /* the token is as good as before */
    FACT_TEXT(get(&color), "red");
    coil__mem_fail_at(1, 1);
    FACT(coil_context_new() == NULL);
    FACT(coil_copy_context() == NULL);
    FACT_INT(coil_contextvar_reset(&a), 0); /* back to nothing needs none */
    coil__mem_fail_at(0, 0);
#else
    skip();
#endif
}

/* ---- threads ---- */

static void set_in_thread(void *arg)
{
    (void)arg;
    FACT_TEXT(get(&color), "none"); /* a thread begins with an empty context */
    set(&color, "red", NULL);
    set(&size, "big", NULL);
    FACT_TEXT(get(&color), "red");
}

PLAIN(context_of_a_thread_is_its_own_and_freed_with_it)
{
    struct thread t;
    coil_contextvar_token a;
    set(&color, "main", &a);
    int64_t before = coil__mem_live();
    FACT_INT(coil__thread_start(&t, "test", set_in_thread, NULL), 0);
    coil__thread_join(&t);
    FACT_INT(coil__mem_live() - before, 0);
    FACT_TEXT(get(&color), "main");
    reset(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contextvar_unset_has_its_default),
        cmocka_unit_test(contextvar_set_and_reset),
        cmocka_unit_test(contextvar_reset_may_skip_levels),
        cmocka_unit_test(contextvar_token_works_once),
        cmocka_unit_test(contextvar_may_be_set_to_null_and_is_set_then),
        cmocka_unit_test(contextvars_by_the_hundred_do_not_mix),
        cmocka_unit_test(context_run_keeps_what_was_set_inside),
        cmocka_unit_test(context_new_is_empty_and_a_copy_is_not),
        cmocka_unit_test(context_cannot_be_entered_twice),
        cmocka_unit_test(context_runs_nest),
        cmocka_unit_test(context_run_returns_the_error_and_leaves),
        cmocka_unit_test(context_run_without_a_function_is_refused),
        cmocka_unit_test(context_lives_while_it_runs),
        cmocka_unit_test(context_is_counted),
        cmocka_unit_test(context_map_clone_shares_nothing),
        cmocka_unit_test(contextvar_without_memory_changes_nothing),
        cmocka_unit_test(context_of_a_thread_is_its_own_and_freed_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
