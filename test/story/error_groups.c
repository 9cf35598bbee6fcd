/* SPDX-License-Identifier: MIT
 *
 * error_groups.c: errors of several tasks on their way through groups, gather and reports, and taken apart where they
 * arrive (unit/base/test_errgroup.c has the rules). T34. */
#include "test.h"

#include <coil.h>
#include <unistd.h>

enum { SPOILT = COIL_EUSER - 1, LOST = COIL_EUSER - 2 };

static coil_ret fail_at_once(void *code)
{
    return coil_fail((coil_ret)code, "code %d", (int)(coil_ret)code);
}

/* Two at once: neither is told of the other in time to be cancelled. */
static coil_ret inner_group(void *unused)
{
    coil_task_group(g);
    coil_group_create_task(&g, fail_at_once, (void *)(intptr_t)SPOILT);
    coil_group_create_task(&g, fail_at_once, (void *)(intptr_t)-EIO);
    return coil_group_exit(&g, 0);
}

static coil_ret fails_when_cancelled(void *unused)
{
    coil_ret rc = coil_sleep(60);
    return coil_iserr(rc) ? coil_fail_from(LOST, "cleaning up failed") : 0;
}

static coil_ret outer_group(void *unused)
{
    coil_task_group(g);
    coil_group_create_task(&g, inner_group, NULL);
    coil_group_create_task(&g, fails_when_cancelled, NULL);
    return coil_group_exit(&g, 0);
}

/* ((SPOILT EIO) LOST) */
static void assert_whole(const coil_error *e)
{
    assert_int_equal(e->members_n, 2);
    assert_int_equal(e->members[0]->members_n, 2);
    assert_int_equal(e->members[0]->members[0]->code, SPOILT);
    assert_int_equal(e->members[0]->members[1]->code, -EIO);
    assert_int_equal(e->members[1]->code, LOST);
    assert_int_equal(there(e->members[1]->cause)->code, -ECANCELED);
}

COIL_TEST(nested_groups_arrive_whole)
{
    assert_int_equal(outer_group(NULL), SPOILT);
    assert_whole(coil_last_error());
    assert_int_equal(coil_join(coil_create_task(outer_group, NULL)), SPOILT);
    assert_whole(coil_last_error());
}

COIL_TEST(nested_groups_arrive_whole_through_gather)
{
    coil_task *tasks[] = {coil_create_task(outer_group, NULL), coil_create_task(outer_group, NULL)};
    coil_ret results[2];
    assert_int_equal(coil_gather(tasks, 2, NULL, 0), SPOILT);
    assert_whole(coil_last_error());
    assert_int_equal(coil_gather(tasks, 2, results, COIL_RETURN_EXCEPTIONS), 0);
    assert_int_equal(results[1], SPOILT);
    const coil_error *match = there(coil_error_subgroup(coil_future_exception(tasks[1]), -EIO));
    assert_int_equal(match->members[0]->members[0]->code, -EIO);
    coil_unref(tasks[0]);
    coil_unref(tasks[1]);
    assert_int_equal(match->members[0]->members_n, 1); /* it outlives the task */
    coil_error_unref(match);
}

static coil_ret answers_two(void *unused)
{
    coil_try(t, outer_group(NULL));
    COIL_EXCEPT(part, t, SPOILT)
        assert_int_equal(part->members_n, 1);
    COIL_EXCEPT(part, t, LOST)
        assert_int_equal(coil_sleep(1), 0); /* a handler may wait */
    return coil_try_exit(&t);
}

COIL_TEST(what_nobody_answers_goes_on)
{
    assert_int_equal(coil_join(coil_create_task(answers_two, NULL)), -EIO);
    const coil_error *e = coil_last_error();
    assert_int_equal(e->members_n, 1);
    assert_int_equal(e->members[0]->members_n, 1);
    assert_string_equal(e->members[0]->members[0]->message, "code -5");
}

static coil_ret in_a_timeout(void *unused)
{
    coil_timeout(tm, 1);
    coil_task_group(g);
    coil_group_create_task(&g, fails_when_cancelled, NULL);
    coil_group_create_task(&g, fails_when_cancelled, NULL);
    return coil_timeout_exit(&tm, coil_group_exit(&g, 0));
}

static coil_ret fails_otherwise_when_cancelled(void *unused)
{
    coil_ret rc = coil_sleep(60);
    return coil_iserr(rc) ? coil_fail(SPOILT, "and that for itself") : 0;
}

static coil_ret two_in_a_timeout(const coil_fn *fns)
{
    coil_timeout(tm, 1);
    coil_task_group(g);
    coil_group_create_task(&g, fns[0], NULL);
    coil_group_create_task(&g, fns[1], NULL);
    return coil_timeout_exit(&tm, coil_group_exit(&g, 0));
}

COIL_TEST(group_in_a_timeout_changes_the_members_that_were_cancelled)
{
    const coil_fn mixed[] = {fails_otherwise_when_cancelled, fails_when_cancelled};
    assert_int_equal(two_in_a_timeout(mixed), SPOILT);
    assert_null(coil_last_error()->members[0]->cause);
    assert_int_equal(there(coil_last_error()->members[1]->cause)->code, -ETIMEDOUT);
    const coil_fn others[] = {fails_otherwise_when_cancelled, fails_otherwise_when_cancelled};
    assert_int_equal(two_in_a_timeout(others), SPOILT);
    assert_null(coil_last_error()->members[0]->cause);
    assert_null(coil_last_error()->members[1]->cause);
}

COIL_TEST(group_in_a_timeout_keeps_its_words_and_gets_its_causes)
{
    assert_int_equal(in_a_timeout(NULL), LOST);
    const coil_error *e = coil_last_error();
    assert_string_equal(e->message,
                        "unhandled errors in a group (2), the first: cleaning up failed");
    assert_int_equal(there(e->members[1]->cause)->code, -ETIMEDOUT);
    const coil_error *kept = coil_error_ref(e);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_raise(kept), LOST);
    coil_error_unref(kept);
}

/* What standard error is told while `fn` runs. */
static void capture(void (*fn)(void), char *out, size_t size)
{
    fflush(stderr);
    FILE *file = tmpfile();
    int before = dup(2);
    assert_true(file && before >= 0);
    dup2(fileno(file), 2);
    fn();
    fflush(stderr);
    dup2(before, 2);
    close(before);
    rewind(file);
    size_t n = fread(out, 1, size - 1, file);
    out[n] = 0;
    fclose(file);
}

static void tell_the_loop(void)
{
    coil_ret rc = outer_group(NULL);
    coil_exception_context context = {.size = sizeof context,
                                      .message = "something went wrong",
                                      .code = rc,
                                      .error = coil_last_error(),
                                      .fd = -1};
    coil_loop_default_exception_handler(NULL, &context);
}

static void report_it(void)
{
    assert_int_equal(coil_report(outer_group(NULL)), 1);
}

static void assert_tree(const char *text)
{
    static const char *const lines[] = {
        "unhandled errors in a group (2), the first: ",
        "\n  |- COIL_EUSER: unhandled errors in a group (2), the first: code -3002",
        "\n  |  |- COIL_EUSER: code -3002 (",
        "\n  |  `- EIO: code -5 (",
        "\n  `- COIL_EUSER: cleaning up failed (",
        "\n     caused by ECANCELED: ",
    };
    const char *at = text;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *found = strstr(at, lines[i]);
        if (!found)
            fail_msg("\"%s\" does not stand in its place in:\n%s", lines[i], text);
        at = found + 1;
    }
}

COIL_TEST(reports_draw_the_tree)
{
    char text[4096];
    capture(report_it, text, sizeof text);
    assert_ptr_equal(strstr(text, "coil: COIL_EUSER: "), text);
    assert_tree(text);
    capture(tell_the_loop, text, sizeof text);
    assert_ptr_equal(strstr(text, "coil: something went wrong\n  COIL_EUSER: "), text);
    assert_tree(text);
}

static void tell_much(void)
{
    const coil_error *one, *all[100];
    coil_fail(-EIO, "%0120d", 1);
    one = coil_error_ref(coil_last_error());
    for (int i = 0; i < 100; i++)
        all[i] = one;
    const coil_error *group = coil_error_group("many", all, 100);
    coil_exception_context context = {
        .size = sizeof context, .message = "x", .code = -EIO, .error = group, .fd = -1};
    coil_loop_default_exception_handler(NULL, &context);
    coil_error_unref(group);
    coil_error_unref(one);
}

COIL_TEST(report_that_is_too_long_is_cut_at_its_end)
{
    char text[16384];
    capture(tell_much, text, sizeof text);
    size_t n = strlen(text);
    assert_in_range(n, 2000, 8000);
    assert_string_equal(text + n - 4, "...\n");
}

COIL_TEST_MAIN()
