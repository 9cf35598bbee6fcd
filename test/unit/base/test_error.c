/* SPDX-License-Identifier: MIT
 *
 * test_error.c: codes and their words; the record of an error: written, captured, shared, restored,
 * chained, grouped, printed. */
#include "base/error.h"

#include "../loop/stage.h"
#include "base/thread.h"

/* ---- codes ---- */

PLAIN(error_values_and_errors_do_not_meet)
{
    FACT(!coil_iserr(0) && !coil_iserr(1) && !coil_iserr(INTPTR_MAX) && !coil_iserr(INTPTR_MIN));
    FACT(coil_iserr(-1) && coil_iserr(-4095) && !coil_iserr(-4096));
    int on_stack;
    FACT(!coil_iserr((coil_ret)&on_stack));
}

PLAIN(error_every_own_code_has_a_name_and_a_sentence)
{
    for (coil_ret code = COIL_EGROUP; code <= COIL_EINVALIDSTATE; code++) {
        FACT_HAS(coil_errname(code), "COIL_E");
        FACT(strcmp(coil_strerror(code), "unknown error") != 0);
        for (coil_ret other = COIL_EGROUP; other < code; other++)
            FACT(strcmp(coil_errname(code), coil_errname(other)) != 0);
    }
    FACT_TEXT(coil_errname(COIL_ELIMIT), "COIL_ELIMIT");
    FACT_TEXT(coil_errname(-ENOENT), "ENOENT");
    FACT_TEXT(coil_strerror(-ENOENT), "No such file or directory");
    FACT_TEXT(coil_strerror(-ECANCELED), "cancelled");
    FACT_TEXT(coil_strerror(-ETIMEDOUT), "timed out");
    FACT_TEXT(coil_errname(COIL_EUSER - 5), "COIL_EUSER");
    FACT_TEXT(coil_strerror(COIL_EUSER - 5), "an error of the program");
}

PLAIN(error_kernels_numbers_have_the_kernels_names)
{
    int named = 0;
    for (int number = 0; number < 4096; number++) {
        const char *name = coil__errno_name(number);
        named += name != NULL;
        FACT(!name || coil_iserr(-number));
#ifdef __GLIBC__ /* it knows them all */
        const char *theirs = strerrorname_np(number ? number : 4095);
        FACT(!name == !theirs && (!name || strcmp(name, theirs) == 0));
#endif
    }
    FACT(named > 100 && !coil__errno_name(-1) && !coil__errno_name(1 << 20));
    FACT_TEXT(coil__errno_name(EAGAIN), "EAGAIN");
}

PLAIN(error_any_number_has_some_words)
{
    static const coil_ret codes[] = {0,     1,     -4095, -4000, -4001,      -2999,     -2000,
                                     -1999, -3000, -134,  -4096, INTPTR_MAX, INTPTR_MIN};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        FACT(coil_errname(codes[i]) && *coil_errname(codes[i]));
        FACT(coil_strerror(codes[i]) && *coil_strerror(codes[i]));
    }
    FACT_TEXT(coil_strerror(0), "success");
    FACT_TEXT(coil_strerror(-4001), "unknown error");
}

/* ---- the last error ---- */

PLAIN(fail_records_what_where_and_who)
{
    int line = __LINE__ + 1;
    FACT_INT(coil_fail(COIL_EUSER, "disk %d full", 3), COIL_EUSER);
    const coil_error *e = coil_last_error();
    FACT_INT(e->code, COIL_EUSER);
    FACT_TEXT(e->message, "disk 3 full");
    FACT_HAS(e->file, "test_error.c");
    FACT_INT(e->line, line);
    FACT_TEXT(e->task, "");
    FACT(e->cause == NULL && e->members == NULL && e->members_n == 0);
}

PLAIN(fail_with_a_value_that_is_no_error_is_einval)
{
    FACT_INT(coil_fail(0, "x"), -EINVAL);
    FACT_INT(coil_fail(7, "x"), -EINVAL);
    FACT_INT(coil_fail(-5000, "x"), -EINVAL);
    FACT_INT(coil_fail_from(7, "x"), -EINVAL);
    FACT_ERROR(-EINVAL, "x");
}

PLAIN(fail_cuts_long_words_and_says_so)
{
    char words[1000];
    memset(words, 'x', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    coil_fail(COIL_EUSER, "%s", words);
    const char *message = coil_last_error()->message;
    size_t n = strlen(message);
    FACT(n < sizeof words && n >= 100);
    FACT_TEXT(message + n - 3, "...");
    words[n] = '\0'; /* exactly as much as fits is not cut */
    coil_fail(COIL_EUSER, "%s", words);
    FACT_TEXT(coil_last_error()->message, words);
}

PLAIN(fail_may_quote_the_last_error)
{
    coil_fail(COIL_EUSER, "the disk is full");
    coil_fail(COIL_EUSER - 1, "cannot save: %s", coil_last_error()->message);
    FACT_ERROR(COIL_EUSER - 1, "cannot save: the disk is full");
    coil_fail_from(COIL_EUSER - 2, "%s, so no report", coil_last_error()->message);
    FACT_ERROR(COIL_EUSER - 2, "cannot save: the disk is full, so no report");
    coil__fail(-EIO, "(%s)", coil_last_error()->message);
    FACT_ERROR(-EIO, "(cannot save: the disk is full, so no report)");
}

PLAIN(fail_from_keeps_the_cause)
{
    coil_fail(-ENOENT, "no such disk");
    FACT_INT(coil_fail_from(COIL_EUSER, "cannot save"), COIL_EUSER);
    const coil_error *e = coil_last_error();
    FACT_TEXT(e->message, "cannot save");
    FACT(e->cause != NULL);
    FACT_INT(e->cause->code, -ENOENT);
    FACT_TEXT(e->cause->message, "no such disk");
    coil_fail_from(COIL_EUSER - 1, "cannot work");
    FACT_TEXT(coil_last_error()->cause->cause->message, "no such disk");
    coil_fail(-EIO, "another story");
    FACT(coil_last_error()->cause == NULL);
}

static int depth_of(const coil_error *e)
{
    int n = 0;
    for (; e; e = e->cause)
        n++;
    return n;
}

PLAIN(fail_from_for_ever_keeps_the_last_few_causes)
{
    /* A daemon that retries for months: each failure names the last one as its cause. */
    coil_fail(-EIO, "the first");
    int64_t live = 0;
    for (int i = 0; i < 100000; i++) {
        coil_fail_from(COIL_EUSER, "try %d", i);
        if (i == 100)
            live = coil__mem_live();
    }
    FACT(coil__mem_live() - live < 50);
    FACT(depth_of(coil_last_error()) >= 2);
    FACT_TEXT(coil_last_error()->message, "try 99999");
    FACT_TEXT(coil_last_error()->cause->message, "try 99998");
    coil_fail(-EIO, "the end");
}

PLAIN(fail_needs_no_memory)
{
#if STAGE_TABLE
    coil__mem_fail_at(1, 1);
    FACT_INT(coil_fail(COIL_EUSER, "out of %s", "everything"), COIL_EUSER);
    FACT_TEXT(coil_last_error()->message, "out of everything");
    FACT_INT(coil_fail_from(COIL_EUSER - 1, "so be it"), COIL_EUSER - 1);
    FACT_TEXT(coil_last_error()->message, "so be it");
    FACT(coil_last_error()->cause == NULL); /* lost, and the rest still speaks */
    coil__mem_fail_at(0, 0);
#else
    skip();
#endif
}

static void fail_elsewhere(void *arg)
{
    FACT(coil_last_error() == NULL);
    coil_fail(-EIO, "elsewhere");
    *(bool *)arg = coil_last_error()->code == -EIO;
}

PLAIN(last_error_is_of_this_thread)
{
    bool seen = false;
    struct thread t;
    coil_fail(COIL_EUSER, "here");
    FACT_INT(coil__thread_start(&t, "test", fail_elsewhere, &seen), 0);
    coil__thread_join(&t);
    FACT(seen);
    FACT_ERROR(COIL_EUSER, "here");
}

static void chain_elsewhere(void *arg)
{
    (void)arg;
    coil_fail(-EIO, "one");
    coil_fail_from(COIL_EUSER, "two");
}

PLAIN(last_error_of_a_thread_is_freed_with_it)
{
    struct thread t;
    int64_t live = coil__mem_live();
    FACT_INT(coil__thread_start(&t, "test", chain_elsewhere, NULL), 0);
    coil__thread_join(&t);
    FACT_INT(coil__mem_live() - live, 0);
}

/* ---- slots and counted records ---- */

PLAIN(error_slot_switches_with_who_runs)
{
    struct error_record slot;
    coil__error_init(&slot, "worker");
    coil_fail(-EIO, "mine");
    error_switch(&slot);
    FACT(coil_last_error() == NULL);
    coil_fail(COIL_EUSER, "the worker's");
    FACT_TEXT(coil_last_error()->task, "worker");
    error_switch(NULL);
    FACT_ERROR(-EIO, "mine");
    FACT_TEXT(slot.pub.message, "the worker's");
    coil__error_clear(&slot);
    FACT_INT(slot.pub.code, 0);
}

PLAIN(error_captured_outlives_its_slot)
{
    struct error_record slot;
    coil__error_init(&slot, "worker");
    error_switch(&slot);
    coil_fail(-EIO, "lost");
    coil_fail_from(COIL_EUSER, "given up");
    struct error_record *r = coil__error_capture(COIL_EUSER);
    coil__error_clear(&slot);
    memset(&slot, 0xee, sizeof slot);
    error_switch(NULL);
    FACT_TEXT(r->pub.message, "given up");
    FACT_TEXT(r->pub.task, "worker");
    FACT_TEXT(r->pub.cause->message, "lost");
    coil__error_unref(r);
}

PLAIN(error_captured_for_another_code_has_that_codes_words)
{
    coil_fail(-EIO, "something else");
    struct error_record *r = coil__error_capture(-ETIMEDOUT);
    FACT_INT(r->pub.code, -ETIMEDOUT);
    FACT_TEXT(r->pub.message, "timed out");
    FACT(r->pub.cause == NULL && r->pub.file == NULL);
    coil__error_unref(r);
}

PLAIN(error_share_counts_a_counted_one_and_copies_a_slot)
{
    struct error_record slot;
    coil__error_init(&slot, "worker");
    error_switch(&slot);
    coil_fail(COIL_EUSER, "words");
    error_switch(NULL);
    struct error_record *copy = coil__error_share(&slot), *same = coil__error_share(copy);
    FACT(copy != &slot && same == copy);
    coil__error_clear(&slot);
    coil__error_unref(copy);
    FACT_TEXT(same->pub.message, "words");
    coil__error_unref(same);
    FACT(coil__error_share(NULL) == NULL);
    coil__error_unref(NULL);
}

PLAIN(error_restore_makes_the_slot_say_it_again)
{
    coil_fail(-ENOENT, "why");
    coil_fail_from(COIL_EUSER, "what");
    struct error_record *r = coil__error_capture(COIL_EUSER);
    coil_fail(-EIO, "noise");
    FACT_INT(coil__error_restore(r, COIL_EUSER), COIL_EUSER);
    FACT_ERROR(COIL_EUSER, "what");
    FACT_TEXT(coil_last_error()->cause->message, "why");
    FACT_INT(coil__error_restore(r, COIL_EUSER), COIL_EUSER); /* over itself */
    coil__error_unref(r);
    FACT_TEXT(coil_last_error()->cause->message, "why");
    FACT_INT(coil__error_restore(NULL, -EPIPE), -EPIPE);
    FACT_ERROR(-EPIPE, "Broken pipe");
    FACT(coil_last_error()->cause == NULL);
}

PLAIN(error_restore_leaves_the_slot_its_owner)
{
    struct error_record slot;
    coil__error_init(&slot, "child");
    error_switch(&slot);
    coil_fail(COIL_EUSER, "the child's");
    struct error_record *r = coil__error_capture(COIL_EUSER);
    coil__error_clear(&slot);
    coil__error_init(&slot, "parent");
    coil__error_restore(r, COIL_EUSER);
    coil__error_unref(r);
    FACT_TEXT(coil_last_error()->task, "child"); /* where it happened */
    coil_fail(-EIO, "the parent's");
    FACT_TEXT(coil_last_error()->task, "parent");
    error_switch(NULL);
    coil__error_clear(&slot);
}

PLAIN(error_cancelled_carries_its_message)
{
    FACT(coil__error_cancelled(NULL) == NULL);
    struct error_record *r = coil__error_cancelled("because");
    FACT_INT(r->pub.code, -ECANCELED);
    FACT_TEXT(r->pub.message, "because");
    coil__error_unref(r);
    char words[1000];
    memset(words, 'x', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    r = coil__error_cancelled(words);
    FACT_TEXT(r->pub.message + strlen(r->pub.message) - 3, "...");
    coil__error_unref(r);
}

PLAIN(error_show_always_has_something_to_show)
{
    struct error_record *r = coil__error_cancelled("because");
    FACT_TEXT(coil__error_show(r, -ECANCELED)->message, "because");
    coil__error_unref(r);
    FACT_INT(coil__error_show(NULL, -EIO)->code, -EIO);
    FACT_TEXT(coil__error_show(NULL, -EIO)->message, coil_strerror(-EIO));
}

PLAIN(error_with_cause_copies_and_links)
{
    struct error_record *r = coil__error_cancelled("outer"), *why = coil__error_cancelled("inner");
    struct error_record *both = coil__error_with_cause(r, -ECANCELED, why);
    coil__error_unref(r);
    coil__error_unref(why);
    FACT_TEXT(both->pub.message, "outer");
    FACT_TEXT(both->pub.cause->message, "inner");
    struct error_record *plain = coil__error_with_cause(NULL, -ETIMEDOUT, both);
    coil__error_unref(both);
    FACT_TEXT(plain->pub.message, "timed out");
    FACT_TEXT(plain->pub.cause->cause->message, "inner");
    struct error_record *alone = coil__error_with_cause(plain, -ETIMEDOUT, NULL);
    coil__error_unref(plain);
    FACT_TEXT(alone->pub.cause->message, "outer");
    coil__error_unref(alone);
}

static struct error_record *made(coil_ret code, const char *words)
{
    coil_fail(code, "%s", words);
    return coil__error_capture(code);
}

PLAIN(error_group_lists_its_members)
{
    struct error_record *members[] = {made(-EIO, "first"), NULL, made(COIL_EUSER, "second")};
    struct error_record *g = coil__error_group(-EIO, "two of three failed", members, 3);
    FACT_INT(g->pub.code, -EIO);
    FACT_TEXT(g->pub.message, "two of three failed (2), the first: first");
    FACT_INT(g->pub.members_n, 2);
    FACT_TEXT(g->pub.members[0]->message, "first");
    FACT_TEXT(g->pub.members[1]->message, "second");

    /* Groups nest, and travel with their members. */
    struct error_record *outer = coil__error_group(COIL_EGROUP, "all", &g, 1);
    coil__error_restore(outer, COIL_EGROUP);
    coil__error_unref(outer);
    FACT_TEXT(coil_last_error()->members[0]->members[1]->message, "second");
    coil_fail(-EIO, "the end");
}

PLAIN(error_group_without_memory_still_gives_its_members_back)
{
#if STAGE_TABLE
    for (int n = 1; n <= 2; n++) {
        struct error_record *members[] = {made(-EIO, "first"), made(COIL_EUSER, "second")};
        coil__mem_fail_at(n, 0);
        struct error_record *g = coil__error_group(-EIO, "failed", members, 2);
        coil__mem_fail_at(0, 0);
        FACT(n == 1 ? g == NULL : g && g->pub.members_n == 0);
        coil__error_unref(g);
    }
#else
    skip();
#endif
}

PLAIN(error_records_without_memory_are_plain_words)
{
#if STAGE_TABLE
    struct error_record *r = made(COIL_EUSER, "words"), *group, *members[] = {made(-EIO, "a")};
    group = coil__error_group(COIL_EGROUP, "g", members, 1);
    coil__mem_fail_at(1, 1);
    FACT(coil__error_capture(COIL_EUSER) == NULL);
    FACT(coil__error_cancelled("because") == NULL);
    FACT(coil__error_with_cause(r, COIL_EUSER, r) == NULL);
    FACT_INT(coil__error_restore(r, COIL_EUSER), COIL_EUSER); /* into a slot: needs none */
    FACT_ERROR(COIL_EUSER, "words");
    FACT_INT(coil__error_restore(group, COIL_EGROUP), COIL_EGROUP);
    FACT_ERROR(COIL_EGROUP, "g");
    FACT_INT(coil_last_error()->members_n, 0);
    coil__mem_fail_at(0, 0);
    coil__error_unref(r);
    coil__error_unref(group);
#else
    skip();
#endif
}

/* ---- the report ---- */

static char printed[4096];

/* Standard error goes to a file meanwhile. */
static int report(coil_ret rc)
{
    FILE *file = tmpfile();
    fflush(stderr);
    int old = dup(2);
    dup2(fileno(file), 2);
    int status = coil_report(rc);
    fflush(stderr);
    dup2(old, 2);
    close(old);
    rewind(file);
    size_t n = fread(printed, 1, sizeof printed - 1, file);
    printed[n] = '\0';
    fclose(file);
    return status;
}

PLAIN(report_returns_an_exit_status)
{
    FACT_INT(report(0), 0);
    FACT_INT(report(12), 0);
    FACT_TEXT(printed, "");
    FACT_INT(report(-ECANCELED), 130);
    FACT_INT(report(-EIO), 1);
    char wanted[80];
    snprintf(wanted, sizeof wanted, "coil: EIO: %s\n", coil_strerror(-EIO));
    FACT_TEXT(printed, wanted);
}

PLAIN(report_prints_words_causes_and_members)
{
    struct error_record *members[] = {made(-EIO, "first"), made(COIL_EUSER, "second")};
    struct error_record *g = coil__error_group(-EIO, "two failed", members, 2);
    coil__error_restore(g, -EIO);
    coil__error_unref(g);
    coil_fail_from(COIL_EUSER - 1, "given up");
    FACT_INT(report(COIL_EUSER - 1), 1);
    FACT_HAS(printed, "coil: COIL_EUSER: given up (");
    FACT_HAS(printed, "test_error.c:");
    FACT_HAS(printed, "\n  caused by EIO: two failed (2), the first: first\n    |- EIO: first (");
    FACT_HAS(printed, "\n    `- COIL_EUSER: second (");
    coil_fail(-EIO, "the end");
}

PLAIN(report_of_another_code_does_not_quote_the_last_error)
{
    coil_fail(COIL_EUSER, "irrelevant");
    FACT_INT(report(-ENOENT), 1);
    FACT_TEXT(printed, "coil: ENOENT: No such file or directory\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_values_and_errors_do_not_meet),
        cmocka_unit_test(error_every_own_code_has_a_name_and_a_sentence),
        cmocka_unit_test(error_kernels_numbers_have_the_kernels_names),
        cmocka_unit_test(error_any_number_has_some_words),
        cmocka_unit_test(fail_records_what_where_and_who),
        cmocka_unit_test(fail_with_a_value_that_is_no_error_is_einval),
        cmocka_unit_test(fail_cuts_long_words_and_says_so),
        cmocka_unit_test(fail_may_quote_the_last_error),
        cmocka_unit_test(fail_from_keeps_the_cause),
        cmocka_unit_test(fail_from_for_ever_keeps_the_last_few_causes),
        cmocka_unit_test(fail_needs_no_memory),
        cmocka_unit_test(last_error_is_of_this_thread),
        cmocka_unit_test(last_error_of_a_thread_is_freed_with_it),
        cmocka_unit_test(error_slot_switches_with_who_runs),
        cmocka_unit_test(error_captured_outlives_its_slot),
        cmocka_unit_test(error_captured_for_another_code_has_that_codes_words),
        cmocka_unit_test(error_share_counts_a_counted_one_and_copies_a_slot),
        cmocka_unit_test(error_restore_makes_the_slot_say_it_again),
        cmocka_unit_test(error_restore_leaves_the_slot_its_owner),
        cmocka_unit_test(error_cancelled_carries_its_message),
        cmocka_unit_test(error_show_always_has_something_to_show),
        cmocka_unit_test(error_with_cause_copies_and_links),
        cmocka_unit_test(error_group_lists_its_members),
        cmocka_unit_test(error_group_without_memory_still_gives_its_members_back),
        cmocka_unit_test(error_records_without_memory_are_plain_words),
        cmocka_unit_test(report_returns_an_exit_status),
        cmocka_unit_test(report_prints_words_causes_and_members),
        cmocka_unit_test(report_of_another_code_does_not_quote_the_last_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
