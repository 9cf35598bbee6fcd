/* SPDX-License-Identifier: MIT
 *
 * test_leaks.c: references that were never given back are told of when coil_run ends, in debug mode. */
#include "test.h"

#include <coil.h>
#include <stdio.h>
#include <string.h>

static struct {
    int n;
    char words[4096];
} heard;

static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    heard.n++;
    assert_string_equal(context->kind, "leaked-reference");
    size_t n = strlen(heard.words);
    snprintf(heard.words + n, sizeof heard.words - n, "%s\n", context->message);
    coil_unref(
        context->task); /* what a task stands on is given back before the loop is, or never */
}

static void run(coil_fn fn, void *arg, bool debug)
{
    memset(&heard, 0, sizeof heard);
    coil_run_opts opts = {.size = sizeof opts, .debug = debug};
    assert_int_equal(coil_run_with(fn, arg, &opts), 0);
}

static coil_ret nothing(void *arg)
{
    (void)arg;
    return 0;
}

static coil_future *kept[20];

static coil_ret keeps_references(void *arg)
{
    (void)arg;
    coil_loop_set_exception_handler(NULL, hear, NULL);
    coil_task *task = coil_create_task(nothing, NULL);
    coil_task_set_name(task, "forgotten");
    kept[0] = coil_loop_create_future(NULL);
    if (!coil_loop_get_debug(NULL))
        coil_unref(task); /* nobody will say a word */
    return coil_sleep(0);
}

static void give_back(void)
{
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        coil_unref(kept[i]);
        kept[i] = NULL;
    }
}

COIL_TEST_PLAIN(references_that_were_never_given_back_are_told_of_in_debug_mode)
{
    run(keeps_references, NULL, true);
    assert_int_equal(heard.n, 2);
    assert_non_null(strstr(heard.words, "A reference to task forgotten was never given back "
                                        "(coil_unref, coil_join); created at "));
    assert_non_null(strstr(heard.words, "A reference to a future was never given back "));
    assert_non_null(strstr(heard.words, "test_leaks.c:"));
    give_back();
}

COIL_TEST_PLAIN(references_are_not_counted_without_debug_mode)
{
    run(keeps_references, NULL, false);
    assert_int_equal(heard.n, 0);
    give_back();
}

static coil_ret keeps_many(void *arg)
{
    (void)arg;
    coil_loop_set_exception_handler(NULL, hear, NULL);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        kept[i] = coil_loop_create_future(NULL);
    return 0;
}

COIL_TEST_PLAIN(references_that_are_many_are_told_in_a_few_words)
{
    run(keeps_many, NULL, true);
    assert_int_equal(heard.n, 11);
    assert_non_null(strstr(heard.words, "So were references to 10 others\n"));
    give_back();
}

static coil_ret lives_well(void *arg)
{
    (void)arg;
    coil_loop_set_exception_handler(NULL, hear, NULL);
    coil_task *two[] = {coil_create_task(nothing, NULL), coil_create_task(nothing, NULL)};
    coil_ret rc = coil_gather(two, 2, NULL, COIL_UNREF);
    coil_future *future = coil_loop_create_future(NULL);
    coil_future_set_result(future, 0);
    if (rc == 0)
        rc = coil_join(future);
    coil_unref(coil_create_task(nothing, NULL));
    coil_group group = coil_group_begin();
    coil_group_create_task(&group, nothing, NULL);
    coil_ret left = coil_group_exit(&group, 0);
    return rc ? rc : left;
}

COIL_TEST_PLAIN(references_that_were_given_back_are_not_told_of)
{
    run(lives_well, NULL, true);
    assert_int_equal(heard.n, 0);
}

COIL_TEST_MAIN()
