/* SPDX-License-Identifier: MIT
 *
 * test_gen.c: generators: every rule of next, send, throw and close, and what ends them.
 *
 * Bodies assert nothing: a failed assertion would leave their stack by longjmp. They write down
 * what they saw and the tests look at it. After each test all stacks, allocations and mappings are
 * home. */
#include <coil/debug.h>
#include <coil/generator.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/thread.h"
#include "coro/coro.h"
#include "coro/gen.h"
#include "coro/stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- what bodies write down, and what is counted ---- */

static struct {
    coil_ret got[8];
    int got_n;
    int ran, cleaned;
    coil_ret extra;
    char kind[24], complaint[256];
    int complaints;
} saw;

/* Blocks alive, and bytes mapped since setup; both 0 where the build cannot count. */
static int64_t mem_before, mapped;

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static int64_t mem_now(void)
{
    return coil__mem_live();
}
static int counted_mmap(size_t n, int prot, int flags, void **out)
{
    int err = coil__sys_real.mmap(n, prot, flags, out);
    __atomic_fetch_add(&mapped, err ? 0 : (int64_t)n, __ATOMIC_RELAXED);
    return err;
}
static int counted_munmap(void *p, size_t n)
{
    int err = coil__sys_real.munmap(p, n);
    __atomic_fetch_sub(&mapped, err ? 0 : (int64_t)n, __ATOMIC_RELAXED);
    return err;
}
static int no_mmap(size_t n, int prot, int flags, void **out)
{
    return -ENOMEM;
}
#else
static int64_t mem_now(void)
{
    return 0;
}
#endif

static void note_complaint(const coil_log_record *record, void *arg)
{
    snprintf(saw.kind, sizeof saw.kind, "%s", record->kind);
    snprintf(saw.complaint, sizeof saw.complaint, "%s", record->message);
    saw.complaints++;
}

static int setup(void **state)
{
    /* What a thread makes once for its generators and keeps for its life comes before the count. */
    coil_gen_unref(coil_gen_new((coil_gen_fn)(uintptr_t)note_complaint, NULL));
    coil__gen_thread_fini();
    memset(&saw, 0, sizeof saw);
    coil_set_log(note_complaint, NULL);
    mem_before = mem_now();
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    mapped = 0;
    coil__sys.mmap = counted_mmap;
    coil__sys.munmap = counted_munmap;
#endif
    return 0;
}

static int teardown(void **state)
{
    coil_set_log(NULL, NULL);
    bool home = coil__gen_live() == 0 && coil__gen_thread_fini() == 0;
    home = home && coro_current() == coil__coro_main();
    return home && mem_now() == mem_before && mapped == 0 ? 0 : -1;
}

static void note(coil_ret value)
{
    if (saw.got_n < 8)
        saw.got[saw.got_n++] = value;
}

/* ---- bodies ---- */

/* Yields 1, 2, 3, noting what comes back, and returns 10; gives up at the first error. */
static coil_ret one_two_three(coil_gen *self, void *arg)
{
    saw.ran++;
    for (int i = 1; i <= 3; i++) {
        coil_ret sent = coil_gen_yield(self, i);
        note(sent);
        if (coil_iserr(sent)) {
            saw.cleaned++;
            return sent;
        }
    }
    return 10;
}

/* Answers each error with a yield of 100, three times. */
static coil_ret stubborn(coil_gen *self, void *arg)
{
    coil_ret sent = coil_gen_yield(self, 1);
    for (int i = 0; i < 3 && coil_iserr(sent); i++)
        sent = coil_gen_yield(self, 100);
    return coil_iserr(sent) ? sent : 7;
}

static coil_ret never_ends(coil_gen *self, void *arg)
{
    for (;;)
        coil_ignore(coil_gen_yield(self, 1));
    return 0;
}

static coil_ret echo(coil_gen *self, void *arg)
{
    coil_ret word = 0;
    while (!coil_iserr(word))
        word = coil_gen_yield(self, word);
    return word;
}

static coil_ret fails_at_once(coil_gen *self, void *arg)
{
    return coil_fail(COIL_EUSER, "disk %d full", 3);
}

static coil_ret returns_on_exit(coil_gen *self, void *arg)
{
    coil_ret sent = coil_gen_yield(self, 1);
    return sent == COIL_EEXIT ? *(coil_ret *)arg : 0;
}

static coil_ret steps_itself(coil_gen *self, void *arg)
{
    coil_ret value;
    note(coil_gen_next(self, &value));
    note(coil_gen_send(self, 1, &value));
    note(coil_gen_throw(self, -EIO, &value));
    note(coil_gen_close(self));
    return 0;
}

/* ---- next ---- */

static void new_runs_nothing(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CREATED);
    assert_int_equal(saw.ran, 0);
    coil_gen_unref(gen);
    assert_int_equal(saw.ran, 0);
}

static void next_yields_then_finishes_with_the_return_value(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    coil_ret value = -1;
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(coil_gen_next(gen, &value), 1);
        assert_int_equal(value, i);
        assert_int_equal(coil_gen_state(gen), COIL_GEN_SUSPENDED);
    }
    assert_int_equal(coil_gen_next(gen, &value), 0);
    assert_int_equal(value, 10);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CLOSED);
    assert_int_equal(saw.got[0], 0);
    coil_gen_unref(gen);
}

static void next_after_the_end_gives_0_with_value_0(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    coil_ret value;
    while (coil_gen_next(gen, &value) == 1)
        ;
    for (int i = 0; i < 3; i++) {
        value = 99;
        assert_int_equal(coil_gen_next(gen, &value), 0);
        assert_int_equal(value, 0);
    }
    assert_int_equal(coil_gen_send(gen, 5, &value), 0);
    assert_int_equal(saw.ran, 1);
    coil_gen_unref(gen);
}

static void next_gives_the_error_once_then_finished(void **state)
{
    coil_gen *gen = coil_gen_new(fails_at_once, NULL);
    coil_ret value = 99;
    assert_int_equal(coil_gen_next(gen, &value), COIL_EUSER);
    assert_int_equal(value, 99);
    assert_string_equal(coil_last_error()->message, "disk 3 full");
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CLOSED);
    assert_int_equal(coil_gen_next(gen, &value), 0);
    coil_gen_unref(gen);
}

static void next_needs_no_place_for_the_value(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
}

static void locals_survive_between_steps(void **state)
{
    coil_gen *a = coil_gen_new(one_two_three, NULL), *b = coil_gen_new(one_two_three, NULL);
    coil_ret x, y;
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(coil_gen_next(a, &x), 1);
        assert_int_equal(coil_gen_next(b, &y), 1);
        assert_int_equal(x, i);
        assert_int_equal(y, i);
    }
    coil_gen_unref(a);
    coil_gen_unref(b);
}

static coil_ret yields_an_error_code(coil_gen *self, void *arg)
{
    return coil_gen_yield(self, -EIO);
}

static void an_error_code_may_be_yielded(void **state)
{
    coil_gen *gen = coil_gen_new(yields_an_error_code, NULL);
    coil_ret value;
    assert_int_equal(coil_gen_next(gen, &value), 1);
    assert_int_equal(value, -EIO);
    assert_int_equal(coil_gen_next(gen, &value), 0);
    coil_gen_unref(gen);
}

/* ---- send ---- */

static void send_is_the_value_of_the_yield(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    coil_ret value;
    assert_int_equal(coil_gen_next(gen, &value), 1);
    assert_int_equal(coil_gen_send(gen, 42, &value), 1);
    assert_int_equal(value, 2);
    assert_int_equal(saw.got[0], 42);
    coil_gen_unref(gen);
}

static void send_of_a_value_to_a_just_started_one_is_a_type_error(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    coil_ret value = 99;
    assert_int_equal(coil_gen_send(gen, 1, &value), COIL_ETYPE);
    assert_int_equal(value, 99);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CREATED);
    assert_int_equal(coil_gen_send(gen, 0, &value), 1);
    assert_int_equal(value, 1);
    coil_gen_unref(gen);
}

static void send_of_an_error_word_is_refused(void **state)
{
    coil_gen *gen = coil_gen_new(echo, NULL);
    coil_ret value;
    assert_int_equal(coil_gen_next(gen, &value), 1);
    assert_int_equal(coil_gen_send(gen, -1, &value), -EINVAL);
    assert_int_equal(coil_gen_send(gen, -4095, &value), -EINVAL);
    assert_int_equal(coil_gen_send(gen, -4096, &value), 1);
    assert_int_equal(value, -4096);
    coil_gen_unref(gen);
}

/* S045: two generators exchange messages; each counts on what the other sent. */
static coil_ret adds_one(coil_gen *self, void *arg)
{
    coil_ret word = coil_gen_yield(self, 0);
    while (!coil_iserr(word))
        word = coil_gen_yield(self, word + 1);
    return word;
}

static coil_ret doubles(coil_gen *self, void *arg)
{
    coil_gen *other = arg;
    coil_ret word = coil_gen_yield(self, 0);
    while (!coil_iserr(word)) {
        coil_ret answer;
        int rc = coil_gen_send(other, word * 2, &answer);
        word = rc < 0 ? rc : coil_gen_yield(self, answer);
    }
    return word;
}

static void two_generators_ping_pong_through_send(void **state)
{
    coil_gen *pong = coil_gen_new(adds_one, NULL), *ping = coil_gen_new(doubles, pong);
    coil_ret word = 1;
    assert_int_equal(coil_gen_next(pong, NULL), 1);
    assert_int_equal(coil_gen_next(ping, NULL), 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(coil_gen_send(ping, word, &word), 1);
    assert_int_equal(word, 2047); /* ten times 2n + 1 */
    coil_gen_unref(ping);
    coil_gen_unref(pong);
}

/* ---- throw ---- */

static void throw_raises_at_the_yield_and_comes_back(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    coil_ret value = 99;
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_throw(gen, -EIO, &value), -EIO);
    assert_int_equal(value, 99);
    assert_int_equal(saw.got[0], -EIO);
    assert_int_equal(coil_last_error()->code, -EIO);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CLOSED);
    coil_gen_unref(gen);
}

static void throw_gives_the_next_yield_when_dealt_with(void **state)
{
    coil_gen *gen = coil_gen_new(stubborn, NULL);
    coil_ret value;
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_throw(gen, -EIO, &value), 1);
    assert_int_equal(value, 100);
    assert_int_equal(coil_gen_next(gen, &value), 0);
    assert_int_equal(value, 7);
    coil_gen_unref(gen);
}

static void throw_into_a_created_one_finishes_it_unrun(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    coil_ret value;
    assert_int_equal(coil_gen_throw(gen, COIL_EUSER, &value), COIL_EUSER);
    assert_int_equal(saw.ran, 0);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CLOSED);
    assert_int_equal(coil_gen_next(gen, &value), 0);
    coil_gen_unref(gen);
}

static void throw_into_a_closed_one_comes_back(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(coil_gen_throw(gen, -EPIPE, NULL), -EPIPE);
    assert_int_equal(coil_last_error()->code, -EPIPE);
    coil_gen_unref(gen);
}

static void throw_keeps_the_words_of_the_error(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_throw(gen, coil_fail(COIL_EUSER, "no paper"), NULL), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "no paper");
    coil_gen_unref(gen);
}

static void throw_of_no_error_is_a_type_error(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    assert_int_equal(coil_gen_throw(gen, 5, NULL), COIL_ETYPE);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CREATED);
    coil_gen_unref(gen);
}

/* ---- close ---- */

static void close_raises_exit_at_the_yield(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(saw.got[0], COIL_EEXIT);
    assert_int_equal(saw.cleaned, 1);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CLOSED);
    coil_gen_unref(gen);
    assert_int_equal(saw.cleaned, 1);
}

static void close_is_clean_when_it_returns_a_value(void **state)
{
    coil_ret answer = 5;
    coil_gen *gen = coil_gen_new(returns_on_exit, &answer);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_close(gen), 0);
    coil_gen_unref(gen);
}

static void close_gives_the_error_it_raises_instead(void **state)
{
    coil_ret answer = -EIO;
    coil_gen *gen = coil_gen_new(returns_on_exit, &answer);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_close(gen), -EIO);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CLOSED);
    coil_gen_unref(gen);
}

static void close_of_one_that_yields_again_is_an_error(void **state)
{
    coil_gen *gen = coil_gen_new(stubborn, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_close(gen), COIL_EINVALIDSTATE);
    assert_string_equal(coil_last_error()->message, "generator ignored GeneratorExit");
    assert_int_equal(coil_gen_state(gen), COIL_GEN_SUSPENDED);
    coil_gen_unref(gen);
    assert_int_equal(saw.complaints, 0);
}

static void close_does_nothing_when_finished_or_never_started(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(saw.ran, 0);
    assert_int_equal(coil_gen_next(gen, NULL), 0);
    assert_int_equal(saw.ran, 0);
    coil_gen_unref(gen);
    assert_int_equal(coil_gen_close(NULL), 0);
}

/* ---- misuse ---- */

static void re_entry_while_running_is_an_error(void **state)
{
    coil_gen *gen = coil_gen_new(steps_itself, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 0);
    assert_int_equal(saw.got_n, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(saw.got[i], COIL_ERUNNING);
    coil_gen_unref(gen);
}

static coil_ret yields_through_another(coil_gen *self, void *arg)
{
    note(coil_gen_yield(arg, 1));
    return 0;
}

static void yield_from_outside_its_stack_is_an_error(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    coil_gen *other = coil_gen_new(yields_through_another, gen);
    assert_int_equal(coil_gen_yield(gen, 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_gen_yield(NULL, 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_gen_yield_from(gen, other, NULL), COIL_EINVALIDSTATE);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil_gen_next(other, NULL), 0);
    assert_int_equal(saw.got[0], COIL_EINVALIDSTATE);
    coil_gen_unref(other);
    coil_gen_unref(gen);
}

static void no_generator_is_an_error_not_a_crash(void **state)
{
    assert_int_equal(coil_gen_next(NULL, NULL), -EINVAL);
    assert_int_equal(coil_gen_send(NULL, 1, NULL), -EINVAL);
    assert_int_equal(coil_gen_throw(NULL, -EIO, NULL), -EINVAL);
    assert_int_equal(coil_gen_state(NULL), COIL_GEN_CLOSED);
    assert_string_equal(coil_gen_name(NULL), "");
    assert_null(coil_gen_ref(NULL));
    coil_gen_unref(NULL);
}

static void bad_options_are_met_at_the_first_step(void **state)
{
    coil_gen_opts huge = {.size = sizeof huge, .stack_size = SIZE_MAX};
    coil_gen *gens[] = {
        coil_gen_new((coil_gen_fn)NULL, NULL),
        coil_gen_new_opts(echo, NULL, &huge),
        coil_gen_new_with(echo, "", (size_t)1 << 30),
        coil_gen_new_with(echo, "", SIZE_MAX),
    };
    for (size_t i = 0; i < sizeof gens / sizeof gens[0]; i++) {
        assert_non_null(gens[i]);
        assert_int_equal(coil_gen_state(gens[i]), COIL_GEN_CLOSED);
        assert_int_equal(coil_gen_next(gens[i], NULL), -EINVAL);
        assert_int_equal(coil_gen_throw(gens[i], -EIO, NULL), -EINVAL);
        assert_int_equal(coil_gen_close(gens[i]), 0);
        coil_gen_unref(coil_gen_ref(gens[i]));
        coil_gen_unref(gens[i]);
    }
}

static void run_in_thread(void *arg)
{
    coil_gen *gen = arg;
    note(coil_gen_next(gen, NULL));
    note(coil_gen_close(gen));
    coil_gen *mine = coil_gen_new(one_two_three, NULL);
    note(coil_gen_next(mine, NULL));
    coil_gen_unref(mine);
}

static void another_thread_may_not_step_it_but_has_its_own(void **state)
{
    struct thread thread;
    coil_gen *gen = coil_gen_new(echo, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    assert_int_equal(coil__thread_start(&thread, "other", run_in_thread, gen), 0);
    coil__thread_join(&thread);
    assert_int_equal(saw.got[0], COIL_EWRONGTHREAD);
    assert_int_equal(saw.got[1], COIL_EWRONGTHREAD);
    assert_int_equal(saw.got[2], 1);
    assert_int_equal(saw.cleaned, 1);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
}

/* ---- the end of a suspended one ---- */

static void unref_unwinds_a_suspended_one(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_ref(gen);
    coil_gen_unref(gen);
    assert_int_equal(saw.cleaned, 0);
    coil_gen_unref(gen);
    assert_int_equal(saw.cleaned, 1);
    assert_int_equal(saw.got[0], COIL_EEXIT);
    assert_int_equal(saw.complaints, 0);
}

static coil_ret waits_while_unwound(coil_gen *self, void *arg)
{
    coil_ret sent = coil_gen_yield(self, 1);
    struct coro *unwound = coil__coro_unwinding(); /* as a waiting call asks */
    note(unwound ? coil__coro_refuse(unwound) : 0);
    note(coil_gen_yield(self, 2));
    return sent;
}

static void waits_and_yields_are_refused_while_unwound(void **state)
{
    coil_gen *gen = coil_gen_new(waits_while_unwound, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
    assert_int_equal(saw.got[0], COIL_EEXIT);
    assert_int_equal(saw.got[1], COIL_EEXIT);
}

static coil_ret drives_while_unwound(coil_gen *self, void *arg)
{
    coil_ret sent = coil_gen_yield(self, 1);
    coil_gen *inner = coil_gen_new(waits_while_unwound, NULL);
    note(coil_gen_next(inner, NULL));
    note(coil_gen_next(inner, NULL)); /* its waits are refused for our sake, its yields are not */
    coil_gen_unref(inner);
    return sent;
}

static void what_an_unwound_one_drives_may_yield_but_not_wait(void **state)
{
    coil_gen *gen = coil_gen_new(drives_while_unwound, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
    assert_int_equal(saw.got[0], 1);
    assert_int_equal(saw.got[1], COIL_EEXIT);
    assert_int_equal(saw.got[2], 1);
    assert_int_equal(saw.got[3], COIL_EEXIT);
}

static void an_error_while_unwound_is_reported(void **state)
{
    coil_ret answer = -EIO;
    coil_gen_opts opts = {.size = sizeof opts, .name = "sensor"};
    coil_gen *gen = coil_gen_new_opts(returns_on_exit, &answer, &opts);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
    assert_int_equal(saw.complaints, 1);
    assert_string_equal(saw.kind, "generator-error");
    assert_memory_equal(saw.complaint, "generator sensor (", 18);
    assert_non_null(strstr(saw.complaint, "test_gen.c:"));
    assert_non_null(strstr(saw.complaint, ") raised EIO while it was unwound: "));
}

/* In a thread of its own: the lost stack stays mapped for ever, with the pool it belongs to. */
static void lose_one(void *arg)
{
    coil_gen *gen = coil_gen_new(never_ends, NULL);
    note(coil_gen_next(gen, NULL));
    coil_gen_unref(gen);
    note((coil_ret)coil__gen_live());
    gen = coil_gen_new(one_two_three, NULL);
    note(coil_gen_next(gen, NULL));
    coil_gen_unref(gen);
}

static void one_that_refuses_to_end_is_abandoned_and_reported(void **state)
{
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "other", lose_one, NULL), 0);
    coil__thread_join(&thread);
    assert_int_equal(saw.got[0], 1);
    assert_int_equal(saw.got[1], 0);
    assert_int_equal(saw.got[2], 1);
    assert_int_equal(saw.complaints, 1);
    assert_string_equal(saw.kind, "generator-error");
    assert_memory_equal(saw.complaint, "generator never_ends (", 22);
    assert_non_null(strstr(saw.complaint, "test_gen.c:"));
    assert_non_null(
        strstr(saw.complaint, ") was told to end and went on 1000 times; its stack is abandoned"));
    mem_before = mem_now(); /* lost on purpose */
    mapped = 0;
}

/* What a thread keeps for its generators is lost with them; checkers of leaks find it here. */
static struct stack_pool *lost_pool;

static void leave_two(void *arg)
{
    coil_gen *gen = NULL;
    for (int i = 0; i < 2; i++) {
        gen = coil_gen_new(one_two_three, NULL);
        note(coil_gen_next(gen, NULL));
    }
    lost_pool = ((struct coro *)gen)->stack->pool; /* a generator begins with its coroutine */
}

static void what_a_thread_leaves_behind_is_told_of_at_its_end(void **state)
{
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "other", leave_two, NULL), 0);
    coil__thread_join(&thread);
    assert_int_equal(saw.got[1], 1);
    assert_int_equal(lost_pool->in_use, 2);
    assert_int_equal(saw.complaints, 1);
    assert_string_equal(saw.kind, "generator-lost");
    assert_string_equal(saw.complaint, "a thread ends with 2 generators that were never released");
    mem_before = mem_now(); /* lost on purpose */
    mapped = 0;
}

static coil_ret drops_its_own_last_reference(coil_gen *self, void *arg)
{
    coil_gen_unref(self);
    coil_ret sent = coil_gen_yield(self, 3);
    note(sent);
    return sent;
}

static void the_last_reference_may_go_while_it_runs(void **state)
{
    coil_gen *gen = coil_gen_new(drops_its_own_last_reference, NULL);
    coil_ret value;
    assert_int_equal(coil_gen_next(gen, &value), 1);
    assert_int_equal(value, 3);
    assert_int_equal(saw.got[0], COIL_EEXIT);
    assert_int_equal(coil__gen_live(), 0);
}

/* ---- idioms ---- */

static void foreach_runs_for_each_value(void **state)
{
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    int rc, sum = 0;
    COIL_GEN_FOREACH(value, gen, rc)
    sum += (int)value;
    assert_int_equal(rc, 0);
    assert_int_equal(sum, 6);
    coil_gen_unref(gen);
}

static void foreach_tells_an_error_and_a_break(void **state)
{
    coil_gen *gen = coil_gen_new(fails_at_once, NULL);
    int rc, n = 0;
    COIL_GEN_FOREACH(value, gen, rc)
    n += (int)value;
    assert_int_equal(rc, COIL_EUSER);
    assert_int_equal(n, 0);
    coil_gen_unref(gen);
    gen = coil_gen_new(one_two_three, NULL);
    COIL_GEN_FOREACH(value, gen, rc)
    if (value == 2)
        break;
    assert_int_equal(rc, 1);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
}

/* A tree walk: each level drives a generator for the level below. */
static coil_ret walk(coil_gen *self, void *arg)
{
    int depth = *(int *)arg, rc;
    if (depth == 0)
        return 0;
    int below = depth - 1;
    coil_gen *inner = coil_gen_new_with(walk, &below, sizeof below);
    COIL_GEN_FOREACH(value, inner, rc)
    if ((rc = (int)coil_gen_yield(self, value)) < 0)
        break;
    coil_gen_unref(inner);
    saw.cleaned += rc < 0;
    return rc < 0 ? rc : coil_gen_yield(self, depth);
}

static void generators_nest(void **state)
{
    int depth = 20, rc, expected = 1;
    coil_gen *gen = coil_gen_new(walk, &depth);
    COIL_GEN_FOREACH(value, gen, rc)
    assert_int_equal(value, expected++);
    assert_int_equal(rc, 0);
    assert_int_equal(expected, 21);
    coil_gen_unref(gen);
}

static void unwinding_an_outer_one_unwinds_what_it_holds(void **state)
{
    int depth = 20;
    coil_gen *gen = coil_gen_new(walk, &depth);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
    assert_int_equal(saw.cleaned, 19);
}

struct pair {
    long a, b;
};

static coil_ret sums_its_arguments(coil_gen *self, void *arg)
{
    struct pair *p = arg;
    return coil_gen_yield(self, (uintptr_t)p % 16 == 0 ? p->a + p->b : -1);
}

static void copied_arguments_outlive_the_caller_s(void **state)
{
    struct pair pair = {20, 22};
    coil_ret value;
    coil_gen *gen = coil_gen_new_with(sums_its_arguments, &pair, sizeof pair);
    memset(&pair, 0xee, sizeof pair);
    assert_int_equal(coil_gen_next(gen, &value), 1);
    assert_int_equal(value, 42);
    coil_gen_unref(gen);
}

static void the_name_is_the_function_s_or_the_one_given(void **state)
{
    char name[] = "a name that is longer than thirty-one bytes are";
    coil_gen_opts opts = {.size = sizeof opts, .name = name, .stack_size = 64 << 10};
    coil_gen *a = coil_gen_new(one_two_three, NULL), *b = coil_gen_new_opts(echo, NULL, &opts);
    name[0] = 'A';
    assert_string_equal(coil_gen_name(a), "one_two_three");
    assert_string_equal(coil_gen_name(b), "a name that is longer than thir");
    coil_gen_unref(a);
    coil_gen_unref(b);
}

/* ---- yield from ---- */

static coil_ret delegates(coil_gen *self, void *arg)
{
    coil_ret result = 0;
    int rc = coil_gen_yield_from(self, arg, &result);
    note(rc);
    note(result);
    return rc < 0 ? rc : result;
}

static void yield_from_passes_values_and_the_return(void **state)
{
    coil_gen *inner = coil_gen_new(one_two_three, NULL), *outer = coil_gen_new(delegates, inner);
    coil_ret value;
    assert_int_equal(coil_gen_next(outer, &value), 1);
    assert_int_equal(value, 1);
    assert_int_equal(coil_gen_send(outer, 42, &value), 1);
    assert_int_equal(value, 2);
    assert_int_equal(saw.got[0], 42);
    assert_int_equal(coil_gen_next(outer, &value), 1);
    assert_int_equal(coil_gen_next(outer, &value), 0);
    assert_int_equal(value, 10);
    coil_gen_unref(outer);
    coil_gen_unref(inner);
}

static void yield_from_throws_into_the_inner_one(void **state)
{
    coil_gen *inner = coil_gen_new(stubborn, NULL), *outer = coil_gen_new(delegates, inner);
    coil_ret value;
    assert_int_equal(coil_gen_next(outer, &value), 1);
    assert_int_equal(coil_gen_throw(outer, -EIO, &value), 1);
    assert_int_equal(value, 100);
    assert_int_equal(coil_gen_next(outer, &value), 0);
    assert_int_equal(value, 7);
    coil_gen_unref(outer);
    coil_gen_unref(inner);
}

static void yield_from_passes_the_inner_one_s_error(void **state)
{
    coil_gen *inner = coil_gen_new(fails_at_once, NULL), *outer = coil_gen_new(delegates, inner);
    assert_int_equal(coil_gen_next(outer, NULL), COIL_EUSER);
    coil_gen_unref(outer);
    coil_gen_unref(inner);
}

static void yield_from_closes_the_inner_one_first(void **state)
{
    coil_gen *inner = coil_gen_new(one_two_three, NULL), *outer = coil_gen_new(delegates, inner);
    assert_int_equal(coil_gen_next(outer, NULL), 1);
    assert_int_equal(coil_gen_close(outer), 0);
    assert_int_equal(coil_gen_state(inner), COIL_GEN_CLOSED);
    assert_int_equal(saw.cleaned, 1);
    assert_int_equal(saw.got[1], COIL_EEXIT);
    coil_gen_unref(outer);
    coil_gen_unref(inner);
}

static void yield_from_tells_when_the_inner_one_will_not_close(void **state)
{
    coil_gen *inner = coil_gen_new(stubborn, NULL), *outer = coil_gen_new(delegates, inner);
    assert_int_equal(coil_gen_next(outer, NULL), 1);
    assert_int_equal(coil_gen_close(outer), COIL_EINVALIDSTATE);
    assert_int_equal(coil_gen_state(outer), COIL_GEN_CLOSED);
    coil_gen_unref(outer);
    coil_gen_unref(inner);
}

/* ---- waiting inside ---- */

static struct coro waiting_place; /* who waits, as a task floor would remember it */
static struct coro *waiting;

static coil_ret waits_in_the_middle(coil_gen *self, void *arg)
{
    waiting = coro_current();
    coil__coro_switch(coil__coro_main()); /* park: the ground runs other things */
    return coil_gen_yield(self, 5);
}

static void drives_it(struct coro *self)
{
    coil_gen *gen = coil_gen_new(waits_in_the_middle, NULL);
    coil_ret value = 0;
    note(coil_gen_next(gen, &value));
    note(value);
    coil_gen_unref(gen);
    coil__coro_exit_to(coil__coro_main());
}

static void one_driven_from_a_coroutine_may_wait(void **state)
{
    struct stack_pool pool;
    struct stack *stack;
    assert_int_equal(coil__stack_pool_init(&pool, 0), 0);
    assert_int_equal(coil__stack_get(&pool, 0, &stack), 0);
    coil__coro_make(&waiting_place, stack, drives_it);
    coil__coro_switch(&waiting_place);
    assert_int_equal(saw.got_n, 0);
    assert_ptr_not_equal(waiting, &waiting_place);
    assert_ptr_equal(waiting->resumer, &waiting_place);
    coil_gen *other = coil_gen_new(one_two_three, NULL); /* meanwhile */
    assert_int_equal(coil_gen_next(other, NULL), 1);
    coil_gen_unref(other);
    coil__coro_switch(waiting);
    assert_int_equal(saw.got[1], 1);
    assert_int_equal(saw.got[2], 5);
    coil__stack_put(stack);
    assert_int_equal(coil__stack_pool_fini(&pool), 0);
}

/* ---- memory ---- */

static void no_memory_is_met_at_the_first_step_and_loses_nothing(void **state)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil__mem_fail_at(1, 0);
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    coil__mem_fail_at(0, 0);
    assert_non_null(gen);
    assert_int_equal(coil_gen_next(gen, NULL), -ENOMEM);
    coil_gen_unref(gen);
    gen = coil_gen_new(one_two_three, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
#else
    skip();
#endif
}

static void no_mapping_is_met_at_the_first_step(void **state)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil__sys.mmap = no_mmap;
    coil_gen *gen = coil_gen_new(one_two_three, NULL);
    coil__sys.mmap = counted_mmap;
    assert_non_null(strstr(coil_last_error()->message, "vm.max_map_count"));
    assert_int_equal(coil_gen_next(gen, NULL), -ENOMEM);
    coil_gen_unref(gen);
#else
    skip();
#endif
}

static void making_from_a_warm_pool_allocates_nothing(void **state)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil_gen_unref(coil_gen_new(echo, NULL));
    int64_t tried = coil__mem_tried();
    coil__sys.mmap = no_mmap;
    for (int i = 0; i < 100; i++) {
        coil_gen *gen = coil_gen_new(echo, NULL);
        assert_int_equal(coil_gen_next(gen, NULL), 1);
        coil_gen_unref(gen);
    }
    coil__sys.mmap = counted_mmap;
    assert_int_equal(coil__mem_tried(), tried);
#else
    skip();
#endif
}

static void a_thousand_at_once(void **state)
{
    static coil_gen *gens[1000];
    for (int i = 0; i < 1000; i++)
        gens[i] = coil_gen_new(echo, NULL);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(coil_gen_next(gens[i], NULL), 1);
    for (int i = 0; i < 1000; i++) {
        coil_ret value;
        assert_int_equal(coil_gen_send(gens[i], i, &value), 1);
        assert_int_equal(value, i);
    }
    assert_int_equal(coil__gen_live(), 1000);
    for (int i = 0; i < 1000; i++)
        coil_gen_unref(gens[i]);
}

int main(void)
{
#define T(fact) cmocka_unit_test_setup_teardown(fact, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(new_runs_nothing),
        T(next_yields_then_finishes_with_the_return_value),
        T(next_after_the_end_gives_0_with_value_0),
        T(next_gives_the_error_once_then_finished),
        T(next_needs_no_place_for_the_value),
        T(locals_survive_between_steps),
        T(an_error_code_may_be_yielded),
        T(send_is_the_value_of_the_yield),
        T(send_of_a_value_to_a_just_started_one_is_a_type_error),
        T(send_of_an_error_word_is_refused),
        T(two_generators_ping_pong_through_send),
        T(throw_raises_at_the_yield_and_comes_back),
        T(throw_gives_the_next_yield_when_dealt_with),
        T(throw_into_a_created_one_finishes_it_unrun),
        T(throw_into_a_closed_one_comes_back),
        T(throw_keeps_the_words_of_the_error),
        T(throw_of_no_error_is_a_type_error),
        T(close_raises_exit_at_the_yield),
        T(close_is_clean_when_it_returns_a_value),
        T(close_gives_the_error_it_raises_instead),
        T(close_of_one_that_yields_again_is_an_error),
        T(close_does_nothing_when_finished_or_never_started),
        T(re_entry_while_running_is_an_error),
        T(yield_from_outside_its_stack_is_an_error),
        T(no_generator_is_an_error_not_a_crash),
        T(bad_options_are_met_at_the_first_step),
        T(another_thread_may_not_step_it_but_has_its_own),
        T(unref_unwinds_a_suspended_one),
        T(waits_and_yields_are_refused_while_unwound),
        T(what_an_unwound_one_drives_may_yield_but_not_wait),
        T(an_error_while_unwound_is_reported),
        T(one_that_refuses_to_end_is_abandoned_and_reported),
        T(what_a_thread_leaves_behind_is_told_of_at_its_end),
        T(the_last_reference_may_go_while_it_runs),
        T(foreach_runs_for_each_value),
        T(foreach_tells_an_error_and_a_break),
        T(generators_nest),
        T(unwinding_an_outer_one_unwinds_what_it_holds),
        T(copied_arguments_outlive_the_caller_s),
        T(the_name_is_the_function_s_or_the_one_given),
        T(yield_from_passes_values_and_the_return),
        T(yield_from_throws_into_the_inner_one),
        T(yield_from_passes_the_inner_one_s_error),
        T(yield_from_closes_the_inner_one_first),
        T(yield_from_tells_when_the_inner_one_will_not_close),
        T(one_driven_from_a_coroutine_may_wait),
        T(no_memory_is_met_at_the_first_step_and_loses_nothing),
        T(no_mapping_is_met_at_the_first_step),
        T(making_from_a_warm_pool_allocates_nothing),
        T(a_thousand_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
