/* SPDX-License-Identifier: MIT
 *
 * test_errgroup.c: errors that are kept, groups taken apart, and except*. story/error_groups.c has the same across
 * tasks. */
#include "test.h"

#include "base/error.h"
#include "base/mem.h"

#include <coil/error.h>

/* ---- making and describing ---- */

/* A kept error; the caller's. */
static const coil_error *made(coil_ret code, const char *words)
{
    coil_fail(code, "%s", words);
    return there(coil_error_ref(coil_last_error()));
}

/* A group of what it takes over. */
static const coil_error *grouped(const char *title, const coil_error *a, const coil_error *b,
                                 const coil_error *c)
{
    const coil_error *members[] = {a, b, c};
    const coil_error *group = coil_error_group(title, members, c ? 3 : b ? 2 : 1);
    for (int i = 0; i < 3; i++)
        coil_error_unref(members[i]);
    return there(group);
}

/* a, b, (c, a, (b)): codes -EIO, -EPIPE, -ENOENT by their letters a, b, c. */
static const coil_error *nest(void)
{
    const coil_error *innermost = grouped("innermost", made(-EPIPE, "b3"), NULL, NULL);
    const coil_error *inner = grouped("inner", made(-ENOENT, "c2"), made(-EIO, "a2"), innermost);
    return grouped("outer", made(-EIO, "a1"), made(-EPIPE, "b1"), inner);
}

static char *describe_into(char *at, const coil_error *e)
{
    if (!e->members_n)
        return at + sprintf(at, "%s", e->message);
    at += sprintf(at, "(");
    for (size_t i = 0; i < e->members_n; i++) {
        if (i)
            at += sprintf(at, " ");
        at = describe_into(at, e->members[i]);
    }
    return at + sprintf(at, ")");
}

/* "(a1 b1 (c2 a2 (b3)))"; "-" for none. */
static const char *shape(const coil_error *e)
{
    static char text[4][512];
    static int turn;
    char *out = text[++turn % 4];
    strcpy(out, "-");
    if (e)
        describe_into(out, e);
    return out;
}

static void assert_split(const coil_error *e, coil_ret code, const char *match, const char *rest)
{
    const coil_error *m = (void *)1, *r = (void *)1;
    assert_int_equal(coil_error_split(e, code, &m, &r), 0);
    assert_string_equal(shape(m), match);
    assert_string_equal(shape(r), rest);
    coil_error_unref(m);
    coil_error_unref(r);
}

/* ---- keeping ---- */

COIL_TEST_PLAIN(error_kept_outlives_the_next_failing_call)
{
    const coil_error *kept = made(-EIO, "the first");
    const coil_error *again = coil_error_ref(kept);
    assert_ptr_equal(again, kept); /* counted, not copied */
    coil_fail(-EPIPE, "the second");
    assert_string_equal(kept->message, "the first");
    assert_int_equal(coil_raise(kept), -EIO);
    assert_string_equal(coil_last_error()->message, "the first");
    coil_error_unref(again);
    assert_string_equal(kept->message, "the first");
    coil_error_unref(kept);
    coil_error_unref(NULL);
    assert_null(coil_error_ref(NULL));
    assert_int_equal(coil_raise(NULL), -EINVAL);
}

COIL_TEST_PLAIN(error_shown_without_a_record_can_be_kept)
{
    const coil_error *kept = there(coil_error_ref(coil__error_show(NULL, -ENOENT)));
    coil__error_show(NULL, -EIO);
    assert_int_equal(kept->code, -ENOENT);
    assert_string_equal(kept->message, coil_strerror(-ENOENT));
    coil_error_unref(kept);
}

/* ---- groups ---- */

COIL_TEST_PLAIN(group_says_its_title_how_many_and_the_first)
{
    const coil_error *group = grouped("copying", made(-EIO, "disk 1"), made(-EPIPE, "b"), NULL);
    assert_int_equal(group->code, -EIO);
    assert_int_equal(group->members_n, 2);
    assert_string_equal(group->message, "copying (2), the first: disk 1");
    coil_error_unref(group);
    group = grouped("copying", made(-EIO, "disk 1"), NULL, NULL);
    assert_string_equal(group->message, "copying: disk 1");
    coil_error_unref(group);
    group = grouped("", made(-EIO, "disk 1"), NULL, NULL);
    assert_string_equal(group->message, "disk 1");
    coil_error_unref(group);
    const coil_error *e = made(-EIO, "disk 1");
    group = there(coil_error_group(NULL, &e, 1));
    assert_string_equal(group->message, "disk 1");
    coil_error_unref(group);
    coil_error_unref(e);
}

COIL_TEST_PLAIN(group_of_nothing_is_refused)
{
    const coil_error *none[] = {NULL};
    assert_null(coil_error_group("x", NULL, 3));
    assert_int_equal(last_code(), -EINVAL);
    assert_null(coil_error_group("x", none, 0));
    assert_null(coil_error_group("x", none, SIZE_MAX));
    assert_int_equal(last_code(), -EINVAL);
    assert_null(coil_error_group("x", none, 1));
    assert_null(coil_error_derive(NULL, none, 1));
    assert_int_equal(coil_error_split(NULL, -EIO, NULL, NULL), -EINVAL);
    assert_null(coil_error_subgroup(NULL, -EIO));
    assert_null(coil_error_subgroup_if(NULL, NULL, NULL));
}

COIL_TEST_PLAIN(derive_keeps_all_but_the_members)
{
    coil_fail(-ENODEV, "the root");
    coil_fail_from(-EIO, "in between");
    struct error_record *parts[] = {coil__error_capture(-EIO)};
    struct error_record *group = coil__error_group(-EIO, "title", parts, 1);
    struct error_record *root = coil__error_capture(-ENODEV);
    struct error_record *whole = coil__error_with_cause(group, -EIO, root);
    const coil_error *other = made(-EPIPE, "other");
    const coil_error *derived = there(coil_error_derive(&there(whole)->pub, &other, 1));
    assert_int_equal(derived->code, -EPIPE);
    assert_string_equal(derived->message, "title: other");
    assert_ptr_equal(derived->cause, whole->pub.cause);
    assert_int_equal(derived->members_n, 1);
    assert_ptr_equal(derived->members[0], other);
    coil_error_unref(derived);
    coil_error_unref(other);
    coil__error_unref(whole);
    coil__error_unref(root);
    coil__error_unref(group);
    coil_fail(-EIO, "the end");
}

COIL_TEST_PLAIN(derive_of_a_group_with_a_code_of_its_own_keeps_it)
{
    struct error_record *parts[] = {coil__error_with_cause(NULL, -EIO, NULL),
                                    coil__error_with_cause(NULL, -EPIPE, NULL)};
    struct error_record *group = coil__error_group(COIL_EGROUP, "all", parts, 2);
    const coil_error *sub = there(coil_error_subgroup(&there(group)->pub, -EPIPE));
    assert_int_equal(sub->code, COIL_EGROUP);
    assert_int_equal(sub->members_n, 1);
    coil_error_unref(sub);
    coil__error_unref(group);
}

/* ---- split ---- */

COIL_TEST_PLAIN(split_keeps_the_groups_in_which_things_stood)
{
    const coil_error *e = nest();
    assert_string_equal(shape(e), "(a1 b1 (c2 a2 (b3)))");
    assert_split(e, -EIO, "(a1 (a2))", "(b1 (c2 (b3)))");
    assert_split(e, -EPIPE, "(b1 ((b3)))", "(a1 (c2 a2))");
    assert_split(e, -ENOENT, "((c2))", "(a1 b1 (a2 (b3)))");
    coil_error_unref(e);
}

COIL_TEST_PLAIN(split_parts_keep_their_words_and_go_by_their_first)
{
    const coil_error *e = nest(), *match, *rest;
    assert_int_equal(coil_error_split(e, -EIO, &match, &rest), 0);
    assert_string_equal(match->message, "outer (2), the first: a1");
    assert_int_equal(match->code, -EIO);
    assert_string_equal(match->members[1]->message, "inner: a2");
    assert_int_equal(rest->code, -EPIPE);
    assert_string_equal(rest->message, "outer (2), the first: b1");
    assert_string_equal(rest->members[1]->message, "inner (2), the first: c2");
    assert_ptr_equal(match->members[0], e->members[0]); /* shared, not copied */
    coil_error_unref(e);
    assert_string_equal(shape(match), "(a1 (a2))"); /* and outlives the whole */
    coil_error_unref(match);
    coil_error_unref(rest);
}

COIL_TEST_PLAIN(split_of_nothing_and_of_all_is_the_group_itself)
{
    const coil_error *e = nest(), *match, *rest;
    assert_int_equal(coil_error_split(e, -ENOMEM, &match, &rest), 0);
    assert_null(match);
    assert_ptr_equal(rest, e);
    coil_error_unref(rest);
    const coil_error *one = grouped("all", made(-EIO, "a1"),
                                    grouped("in", made(-EIO, "a2"), NULL, NULL), NULL);
    assert_int_equal(coil_error_split(one, -EIO, &match, &rest), 0);
    assert_ptr_equal(match, one);
    assert_null(rest);
    coil_error_unref(match);
    coil_error_unref(one);
    coil_error_unref(e);
}

COIL_TEST_PLAIN(split_never_takes_a_group_for_its_first_member)
{
    const coil_error *e = grouped("all", made(-EIO, "a"), made(-EPIPE, "b"), NULL);
    assert_int_equal(e->code, -EIO);
    assert_split(e, -EIO, "(a)", "(b)");
    coil_error_unref(e);
}

COIL_TEST_PLAIN(split_of_a_single_error_is_one_part_or_the_other)
{
    const coil_error *e = made(-EIO, "alone");
    assert_split(e, -EIO, "alone", "-");
    assert_split(e, -EPIPE, "-", "alone");
    coil_error_unref(e);
}

COIL_TEST_PLAIN(split_gives_only_the_parts_that_are_asked_for)
{
    const coil_error *group = grouped("both", made(-EIO, "a"), made(-EPIPE, "b"), NULL), *part;
    assert_int_equal(coil_error_split(group, -EIO, &part, NULL), 0);
    assert_string_equal(part->message, "both: a");
    coil_error_unref(part);
    assert_int_equal(coil_error_split(group, -EIO, NULL, &part), 0);
    assert_string_equal(part->message, "both: b");
    coil_error_unref(part);
    coil_error_unref(group);
}

COIL_TEST_PLAIN(split_of_the_last_error_leaves_it)
{
    const coil_error *group = grouped("g", made(-EIO, "a"), made(-EPIPE, "b"), NULL), *match;
    coil_raise(group);
    coil_error_unref(group);
    assert_int_equal(coil_error_split(coil_last_error(), -EPIPE, &match, NULL), 0);
    assert_string_equal(shape(coil_last_error()), "(a b)");
    coil_fail(-EINVAL, "another");
    assert_string_equal(shape(match), "(b)");
    coil_error_unref(match);
}

struct words {
    const char *letter;
    int asked, groups;
};

static bool begins_with(const coil_error *error, void *arg)
{
    struct words *w = arg;
    w->asked++;
    w->groups += error->members_n > 0;
    return strncmp(error->message, w->letter, 1) == 0;
}

COIL_TEST_PLAIN(split_by_a_function_asks_about_single_errors_in_order)
{
    const coil_error *e = nest(), *match, *rest;
    struct words w = {.letter = "b"};
    assert_int_equal(coil_error_split_if(e, begins_with, &w, &match, &rest), 0);
    assert_string_equal(shape(match), "(b1 ((b3)))");
    assert_string_equal(shape(rest), "(a1 (c2 a2))");
    assert_int_equal(w.asked, 5);
    assert_int_equal(w.groups, 0);
    coil_error_unref(match);
    coil_error_unref(rest);
    match = coil_error_subgroup_if(e, begins_with, &w);
    assert_string_equal(shape(match), "(b1 ((b3)))");
    coil_error_unref(match);
    assert_int_equal(coil_error_split_if(e, NULL, NULL, &match, &rest), -EINVAL);
    coil_error_unref(e);
}

COIL_TEST_PLAIN(split_keeps_causes)
{
    coil_fail(-ENODEV, "the root");
    coil_fail_from(-EIO, "a");
    const coil_error *a = coil_error_ref(coil_last_error());
    const coil_error *e = grouped("g", a, made(-EPIPE, "b"), NULL);
    const coil_error *match = there(coil_error_subgroup(e, -EIO));
    assert_string_equal(there(match->members[0]->cause)->message, "the root");
    assert_split(e, -ENODEV, "-", "(a b)"); /* a cause is no member */
    coil_error_unref(match);
    coil_error_unref(e);
}

COIL_TEST_PLAIN(groups_in_groups_for_ever_keep_the_outer_ones)
{
    const coil_error *e = made(-EIO, "core");
    for (int i = 0; i < 10000; i++)
        e = grouped("g", e, NULL, NULL);
    int levels = 0;
    for (const coil_error *down = e; down->members_n; down = down->members[0])
        levels++;
    assert_in_range(levels, 16, ERROR_LEVELS_MAX);
    char text[16384];
    assert_in_range(coil_error_format(e, text, sizeof text), 100, sizeof text - 1);
    coil_error_unref(e);
}

/* ---- as text ---- */

COIL_TEST_PLAIN(format_draws_a_tree)
{
    coil_fail(-ENODEV, "gone");
    coil_fail_from(-EIO, "a");
    const coil_error *a = coil_error_ref(coil_last_error());
    const coil_error *inner = grouped("in", made(-ENOENT, "c"), made(-EIO, "d"), NULL);
    const coil_error *e = grouped("all", a, inner, made(-EPIPE, "b"));
    char text[2048], lines[2048] = "";
    size_t n = coil_error_format(e, text, sizeof text);
    assert_int_equal(n, strlen(text));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) { /* without places */
        char *place = strstr(line, " (/") ? strstr(line, " (/") : strstr(line, " (.");
        if (place)
            *place = 0;
        strcat(strcat(lines, line), "\n");
    }
    assert_string_equal(lines, "EIO: all (3), the first: a\n"
                               "  |- EIO: a\n"
                               "  |  caused by ENODEV: gone\n"
                               "  |- ENOENT: in (2), the first: c\n"
                               "  |  |- ENOENT: c\n"
                               "  |  `- EIO: d\n"
                               "  `- EPIPE: b\n");
    coil_error_unref(e);
}

COIL_TEST_PLAIN(format_says_how_long_it_is_and_cuts)
{
    const coil_error *e = grouped("all", made(-EIO, "a"), made(-EPIPE, "b"), NULL);
    char text[512], little[8];
    size_t n = coil_error_format(e, text, sizeof text);
    assert_int_equal(coil_error_format(e, NULL, 0), n);
    assert_int_equal(coil_error_format(e, little, sizeof little), n);
    assert_string_equal(little, "EIO: al");
    assert_int_equal(coil_error_format(NULL, little, sizeof little), 0);
    assert_string_equal(little, "");
    coil_error_unref(e);
}

/* ---- except* ---- */

static coil_ret fail_with(const coil_error *e)
{
    coil_ret rc = coil_raise(e);
    coil_error_unref(e);
    return rc;
}

COIL_TEST_PLAIN(except_answers_kind_by_kind)
{
    char seen[64] = "";
    coil_try(t, fail_with(nest()));
    COIL_EXCEPT(part, t, -EIO)
        strcat(strcat(seen, shape(part)), " ");
    COIL_EXCEPT(part, t, -EIO) /* they are gone */
        strcat(seen, "again ");
    coil_fail(-EINVAL, "what handlers do in between");
    struct words w = {.letter = "b"};
    COIL_EXCEPT_IF(part, t, begins_with, &w)
        strcat(seen, shape(part));
    assert_string_equal(seen, "(a1 (a2)) (b1 ((b3)))");
    assert_int_equal(coil_try_exit(&t), -ENOENT);
    assert_string_equal(shape(coil_last_error()), "((c2))");
    coil_fail(-EIO, "the end");
}

COIL_TEST_PLAIN(except_that_answers_all_leaves_nothing)
{
    coil_try(t, fail_with(grouped("g", made(-EIO, "a"), made(-EPIPE, "b"), NULL)));
    COIL_EXCEPT(part, t, -EIO)
        assert_int_equal(part->members_n, 1);
    COIL_EXCEPT(part, t, -EPIPE)
        assert_int_equal(part->members_n, 1);
    assert_int_equal(coil_try_exit(&t), 0);
}

COIL_TEST_PLAIN(except_gets_a_single_error_as_a_group)
{
    int ran = 0;
    coil_try(t, coil_fail(-EIO, "alone"));
    COIL_EXCEPT(part, t, -EIO) {
        assert_int_equal(part->members_n, 1);
        assert_string_equal(part->members[0]->message, "alone");
        ran++;
    }
    assert_int_equal(ran, 1);
    assert_int_equal(coil_try_exit(&t), 0);
    coil_try(u, coil_fail(-EIO, "alone"));
    COIL_EXCEPT(part, u, -EPIPE)
        ran++;
    assert_int_equal(ran, 1);
    assert_null(coil_try_except_if(&u, NULL, NULL)); /* no function answers nothing */
    assert_int_equal(coil_try_exit(&u), -EIO);
    assert_int_equal(coil_last_error()->members_n, 0); /* and leaves it as it was */
}

COIL_TEST_PLAIN(except_of_a_value_runs_nothing_and_keeps_it)
{
    coil_try(t, 42);
    COIL_EXCEPT(part, t, -EIO)
        fail_msg("%s", part->message);
    assert_int_equal(coil_try_exit(&t), 42);
    assert_int_equal(coil_try_exit(&t), 0); /* left already */
}

COIL_TEST_PLAIN(except_errors_of_handlers_join_what_is_left)
{
    coil_try(t, fail_with(nest()));
    COIL_EXCEPT(part, t, -EIO)
        coil_try_raise(&t, coil_fail(COIL_EUSER, "first"));
    COIL_EXCEPT(part, t, -EPIPE)
        assert_int_equal(coil_try_raise(&t, coil_fail(COIL_EUSER - 1, "second")), COIL_EUSER - 1);
    assert_int_equal(coil_try_raise(&t, 7), 7);
    assert_int_equal(coil_try_exit(&t), COIL_EUSER);
    assert_string_equal(shape(coil_last_error()), "(first second ((c2)))");
    coil_fail(-EIO, "the end");
}

static coil_ret returns_from_a_handler(void)
{
    coil_try(t, fail_with(nest()));
    COIL_EXCEPT(part, t, -EIO)
        return (coil_ret)part->members_n;
    return coil_try_exit(&t);
}

COIL_TEST_PLAIN(except_left_by_return_gives_everything_back)
{
    assert_int_equal(returns_from_a_handler(), 2);
    coil_fail(-EIO, "the end");
}

/* ---- what hangs on the last error, and is all that keeps it ---- */

COIL_TEST_PLAIN(cause_or_member_of_the_last_error_may_be_raised)
{
    coil_fail(COIL_EUSER - 1, "the reason");
    coil_fail_from(COIL_EUSER - 2, "the outcome");
    assert_int_equal(coil_raise(coil_last_error()->cause), COIL_EUSER - 1);
    assert_string_equal(coil_last_error()->message, "the reason");
    assert_null(coil_last_error()->cause);

    const coil_error *group = grouped("two", made(-EIO, "a"), made(-EPIPE, "b"), NULL);
    assert_int_equal(coil_raise(group), -EIO);
    coil_error_unref(group);
    assert_int_equal(coil_raise(coil_last_error()->members[1]), -EPIPE);
    assert_string_equal(coil_last_error()->message, "b");
    assert_int_equal(coil_last_error()->members_n, 0);
}

COIL_TEST_PLAIN(words_of_a_cause_or_member_of_the_last_error_may_be_quoted)
{
    coil_fail(COIL_EUSER - 1, "the reason");
    coil_fail_from(COIL_EUSER - 2, "the outcome");
    coil_fail(COIL_EUSER - 3, "for %s", there(coil_last_error()->cause)->message);
    assert_string_equal(coil_last_error()->message, "for the reason");

    const coil_error *group = grouped("two", made(-EIO, "a"), made(-EPIPE, "b"), NULL);
    assert_int_equal(coil_raise(group), -EIO);
    coil_error_unref(group);
    coil__fail(-EINVAL, "not %s", coil_last_error()->members[1]->message);
    assert_string_equal(coil_last_error()->message, "not b");
}

static void quote_a_cause(void *arg)
{
    (void)arg;
    coil_fail(COIL_EUSER - 1, "the reason");
    coil_fail_from(COIL_EUSER - 2, "the outcome");
    const coil_error *cause = coil_last_error()->cause; /* NULL without memory */
    const char *why = cause ? cause->message : "the reason";
    coil_fail_from(COIL_EUSER - 3, "for %s", why);
    assert_string_equal(coil_last_error()->message, "for the reason");
    coil_fail(-EIO, "the end");
}

COIL_TEST_PLAIN(words_of_a_cause_may_be_quoted_without_memory)
{
    assert_true(sweep_allocations(quote_a_cause, NULL) > 1);
}

/* ---- memory ---- */

static void take_apart(void *arg)
{
    const coil_error *e = arg, *match = NULL, *rest = NULL;
    int rc = coil_error_split(e, -EIO, &match, &rest);
    if (rc == 0) {
        assert_string_equal(shape(match), "(a1 (a2))");
        assert_string_equal(shape(rest), "(b1 (c2 (b3)))");
    } else {
        assert_int_equal(rc, -ENOMEM);
        assert_null(match);
        assert_null(rest);
    }
    coil_error_unref(match);
    coil_error_unref(rest);
    coil_try(t, coil_raise(e));
    COIL_EXCEPT(part, t, -EIO)
        (void)coil_try_raise(&t, -EINVAL);
    rc = (int)coil_try_exit(&t);
    assert_true(coil_iserr(rc)); /* no error is lost */
    coil_fail(-EIO, "the end");
}

/* A group that lacks its members would be an error that nobody is told of. */
static void group_and_except_one(void *arg)
{
    const coil_error *e = arg, *group = coil_error_group("one", &e, 1);
    if (group)
        assert_int_equal(group->members_n, 1);
    else
        assert_int_equal(coil_last_error()->code, -ENOMEM);
    coil_error_unref(group);
    bool told = false;
    coil_try(t, coil_raise(e));
    COIL_EXCEPT(part, t, -EIO) {
        assert_int_equal(part->members_n, 1);
        told = true;
    }
    assert_int_equal(coil_try_exit(&t), told ? 0 : -EIO);
    coil_fail(-EIO, "the end");
}

COIL_TEST_PLAIN(groups_are_whole_or_there_is_no_memory)
{
    const coil_error *e = made(-EIO, "e");
    assert_true(sweep_allocations(group_and_except_one, (void *)(uintptr_t)e) > 4);
    coil_error_unref(e);
}

COIL_TEST_PLAIN(split_and_except_survive_failing_allocations)
{
    const coil_error *e = nest();
    assert_true(sweep_allocations(take_apart, (void *)(uintptr_t)e) > 6);
    coil_error_unref(e);
}

COIL_TEST_MAIN()
