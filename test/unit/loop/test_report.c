/* SPDX-License-Identifier: MIT
 *
 * test_report.c: the exception handler, the handler of handlers, and callbacks that took too long. */
#include "loop/loop.h"
#include "loop/slow.h"

#include "../loop/stage.h"
#include "capture.h"

#include <time.h>

static int calls;
static coil_exception_context got;

static void keep(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    FACT(loop == stage.loop);
    FACT_TEXT(arg, "mine");
    memcpy(&got, context, sizeof got);
    calls++;
}

LOOP(handler_gets_the_context_as_it_was_given)
{
    int handle, protocol, transport;
    coil_error error = {.code = COIL_EUSER, .message = "words", .task = ""};
    coil_exception_context context;
    memset(&context, 0, sizeof context); /* it is compared as bytes */
    context.size = sizeof context;
    context.message = "trouble";
    context.code = COIL_EUSER;
    context.error = &error;
    context.handle = (void *)&handle;
    context.protocol = &protocol;
    context.transport = &transport;
    context.fd = 17;
    memset(&got, 0, sizeof got);
    calls = 0;
    coil_loop_set_exception_handler(stage.loop, keep, (void *)(uintptr_t) "mine");
    coil_loop_call_exception_handler(stage.loop, &context);
    FACT_INT(calls, 1);
    FACT(memcmp(&got, &context, sizeof got) == 0);
}

LOOP(handler_is_what_was_set)
{
    void *arg = NULL;
    coil_loop_set_exception_handler(stage.loop, keep, (void *)(uintptr_t) "mine");
    FACT(coil_loop_get_exception_handler(stage.loop, &arg) == keep);
    FACT_TEXT(arg, "mine");
    FACT(coil_loop_get_exception_handler(stage.loop, NULL) == keep);
    coil_loop_set_exception_handler(stage.loop, NULL, NULL);
    FACT(coil_loop_get_exception_handler(stage.loop, &arg) == NULL);
}

static void report(const char *message, coil_ret code, const coil_error *error)
{
    coil_exception_context context = {
        .size = sizeof context, .message = message, .code = code, .error = error, .fd = -1};
    coil_loop_call_exception_handler(stage.loop, &context);
}

LOOP(handler_missing_prints_message_and_error)
{
    coil_error error = {
        .code = COIL_EUSER, .message = "words", .file = "x.c", .line = 7, .task = "Task-1"};
    coil_loop_set_exception_handler(stage.loop, NULL, NULL);
    catch_stderr();
    report("trouble", COIL_EUSER, &error);
    FACT_TEXT(caught(), "coil: trouble\n  COIL_EUSER: words (x.c:7, Task-1)\n");
    catch_stderr();
    report("trouble", -EIO, NULL);
    char wanted[80];
    snprintf(wanted, sizeof wanted, "coil: trouble\n  EIO: %s\n", coil_strerror(-EIO));
    FACT_TEXT(caught(), wanted);
    catch_stderr();
    report("trouble", 0, &error); /* whose code is the error's, then */
    FACT_TEXT(caught(), "coil: trouble\n  COIL_EUSER: words (x.c:7, Task-1)\n");
    catch_stderr();
    report("only words", 0, NULL);
    FACT_TEXT(caught(), "coil: only words\n");
    catch_stderr();
    report(NULL, 0, NULL);
    FACT_HAS(caught(), "Unhandled exception in event loop");
}

LOOP(handler_default_survives_words_without_end)
{
    static char words[5000];
    memset(words, 'x', sizeof words - 1);
    coil_error error = {
        .code = COIL_EUSER, .message = words, .file = words, .line = 7, .task = words};
    coil_loop_set_exception_handler(stage.loop, NULL, NULL);
    catch_stderr();
    report(words, COIL_EUSER, &error);
    report("short", COIL_EUSER, &error);
    FACT_HAS(caught(), "coil: xxxx");
    size_t n = strlen(printed);
    FACT(n > 0 && printed[n - 1] == '\n');
    FACT_HAS(printed, "x...\n  COIL_EUSER: xxxx"); /* a long message leaves room for the error */
}

static void report_again(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context, (void)arg;
    calls++;
    report("inner trouble", 0, NULL);
}

LOOP(handler_in_trouble_itself_falls_back_to_printing)
{
    calls = 0;
    coil_loop_set_exception_handler(stage.loop, report_again, NULL);
    catch_stderr();
    report("outer trouble", 0, NULL);
    FACT_TEXT(caught(), "coil: inner trouble\n");
    FACT_INT(calls, 1);
    catch_stderr();
    report("outer trouble", 0, NULL); /* and works again afterwards */
    FACT_TEXT(caught(), "coil: inner trouble\n");
    FACT_INT(calls, 2);
}

static void to_default(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)arg;
    calls++;
    coil_loop_default_exception_handler(loop, context);
}

static coil_ret logged;

static void keep_code(const coil_log_record *record, void *arg)
{
    (void)arg;
    logged = record->code;
}

LOOP(report_has_the_code_of_its_error_where_it_has_none_of_its_own)
{
    coil_error error = {.code = COIL_EUSER, .message = "words", .task = ""};
    coil_loop_set_exception_handler(stage.loop, NULL, NULL);
    coil_set_log(keep_code, NULL);
    report("trouble", 0, &error);
    FACT_INT(logged, COIL_EUSER);
    report("trouble", -EIO, &error);
    FACT_INT(logged, -EIO);
    report("trouble", 0, NULL);
    FACT_INT(logged, 0);
    coil_set_log(NULL, NULL);
}

LOOP(handler_may_hand_on_to_the_default)
{
    calls = 0;
    coil_loop_set_exception_handler(stage.loop, to_default, NULL);
    catch_stderr();
    report("trouble", 0, NULL);
    FACT_TEXT(caught(), "coil: trouble\n");
    FACT_INT(calls, 1);
}

static void raise_it(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)context, (void)arg;
    coil_loop_raise(loop, COIL_EUSER);
}

static void report_trouble(void *arg)
{
    (void)arg;
    report("fatal trouble", -EIO, NULL);
}

LOOP(handler_may_end_the_run)
{
    coil_loop_set_exception_handler(stage.loop, raise_it, NULL);
    soon(report_trouble, NULL);
    soon(note_arg, "after");
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_EUSER);
    FACT_TRACE("");
    one_turn();
    FACT_TRACE("after");
}

PLAIN(handler_without_a_loop_is_nothing)
{
    coil_exception_context context = {.size = sizeof context, .message = "trouble", .fd = -1};
    coil_loop_call_exception_handler(NULL, &context);
    coil_loop_set_exception_handler(NULL, keep, NULL);
    FACT(coil_loop_get_exception_handler(NULL, NULL) == NULL);
}

/* ---- slow callbacks ---- */

static void dawdle(void *arg)
{
    struct timespec t = {0, *(long *)arg};
    nanosleep(&t, NULL);
}

static void quick(void *arg)
{
    (void)arg;
}

LOOP(slow_callback_is_reported_in_debug_mode_only)
{
    static long ms5 = 5000000;
    coil_loop_set_slow_callback_duration(stage.loop, 0.004);
    soon(dawdle, &ms5);
    one_turn();
    FACT_INT(stage.report.n, 0);
    coil_loop_set_debug(stage.loop, true);
    FACT(coil_loop_get_debug(stage.loop));
    soon(dawdle, &ms5);
    one_turn();
    FACT_TEXT(stage.report.kind, "slow-step");
    FACT_REPORT("Executing a callback took "); /* how long it took is the machine's business */
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    soon(dawdle, &ms5);
    one_turn();
    FACT_INT(stage.report.n, 0);
    coil_loop_set_slow_callback_duration(stage.loop, 0);
    soon(quick, NULL);
    one_turn();
    FACT_REPORT("Executing a callback");
}

static coil_ret step(void *arg)
{
    (void)arg;
    return 0;
}

static void run_named(const char *name)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = name};
    coil_task *task = coil_create_task_opts(step, NULL, &opts);
    one_turn();
    coil_unref(task);
}

LOOP(slow_step_is_told_from_a_slow_callback)
{
    coil_loop_set_debug(stage.loop, true);
    coil_loop_set_slow_callback_duration(stage.loop, 0); /* everything is slow */
    run_named("tortoise");
    FACT_REPORT("Executing a step of tortoise took");
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    run_named("hare");
    coil_loop_set_slow_callback_duration(stage.loop, 0);
    soon(quick, NULL); /* after the hare's step, and not the hare */
    one_turn();
    FACT_REPORT("Executing a callback took");
}

/* Ticks are counted by a length that was measured in a hurry; the clock has the last word. */
LOOP(slow_callback_is_judged_by_the_clock_where_ticks_say_too_much)
{
    coil_loop_set_debug(stage.loop, true);
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    stage.loop->slow_ticks = 0;
    soon(quick, NULL);
    one_turn();
    FACT_INT(stage.report.n, 0);
}

LOOP(slow_callback_duration_may_be_less_than_nothing_or_more_than_a_day)
{
    coil_loop_set_debug(stage.loop, true);
    coil_loop_set_slow_callback_duration(stage.loop, 1e6);
    soon(quick, NULL);
    one_turn();
    FACT_INT(stage.report.n, 0);
    coil_loop_set_slow_callback_duration(stage.loop, -1);
    soon(quick, NULL);
    one_turn();
    FACT_REPORT("Executing a callback took ");
}

LOOP(debug_mode_that_is_on_does_not_begin_again)
{
    coil_loop_set_debug(stage.loop, true);
    uint64_t began = stage.loop->first_ticks;
    coil_loop_set_debug(stage.loop, true);
    FACT(stage.loop->first_ticks == began);
    coil_loop_set_debug(stage.loop, false);
    coil_loop_set_debug(stage.loop, true);
    FACT(stage.loop->first_ticks != began);
}

/* As libc calls its own. */
void libc_waits(void) __asm__("__libc_waits");
void libc_waits(void)
{
}

static void say_what_blocks(const void *blocker)
{
    struct slow_look look = {.blocker = blocker, .cpu_ns = -1};
    coil__loop_report_endless(stage.loop, "stuck", NS_PER_S, &look);
}

LOOP(blocking_call_has_the_name_that_everybody_calls_it_by)
{
    catch_stderr();
    say_what_blocks((const void *)((uintptr_t)libc_waits + 1));
    FACT_HAS(caught(), "goes on; nothing else runs meanwhile, blocked in waits()\n");
    catch_stderr();
    say_what_blocks((const void *)(uintptr_t)16); /* nobody's */
    FACT_HAS(caught(), "goes on; nothing else runs meanwhile\n");
}

LOOP(slow_callback_duration_refuses_nan)
{
    coil_loop_set_debug(stage.loop, true);
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    coil_loop_set_slow_callback_duration(stage.loop, (double)NAN);
    soon(quick, NULL);
    one_turn();
    FACT_INT(stage.report.n, 0);
}

LOOP(handler_is_told_of_a_descriptor_by_whoever_knew_of_it)
{
    coil_exception_context context = {.message = "trouble", .fd = 17};
    coil_loop_set_exception_handler(stage.loop, keep, TEXT("mine"));
    context.size = offsetof(coil_exception_context, fd) + sizeof context.fd;
    coil_loop_call_exception_handler(stage.loop, &context);
    FACT_INT(got.fd, 17);
    FACT_INT(got.size, sizeof got);
    context.size = offsetof(coil_exception_context, fd);
    coil_loop_call_exception_handler(stage.loop, &context);
    FACT_INT(got.fd, -1);
}

LOOP(handler_default_prints_stacks_that_nobody_can_name)
{
    static const void *nowhere[200];
    for (int i = 0; i < 200; i++)
        nowhere[i] = (const void *)(uintptr_t)16;
    coil_exception_context context = {.size = sizeof context,
                                      .message = "trouble",
                                      .fd = -1,
                                      .source_stack = nowhere,
                                      .source_stack_n = 1};
    coil_loop_set_exception_handler(stage.loop, NULL, NULL);
    catch_stderr();
    coil_loop_call_exception_handler(stage.loop, &context);
    FACT_HAS(caught(), ", in ?\n");
    context.source_stack_n = 200; /* more than a report has room for */
    catch_stderr();
    coil_loop_call_exception_handler(stage.loop, &context);
    FACT_HAS(caught(), "...\n");
    FACT_INT(strlen(printed), 4095);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handler_gets_the_context_as_it_was_given),
        cmocka_unit_test(handler_is_what_was_set),
        cmocka_unit_test(handler_missing_prints_message_and_error),
        cmocka_unit_test(handler_default_survives_words_without_end),
        cmocka_unit_test(handler_in_trouble_itself_falls_back_to_printing),
        cmocka_unit_test(handler_may_hand_on_to_the_default),
        cmocka_unit_test(handler_may_end_the_run),
        cmocka_unit_test(handler_without_a_loop_is_nothing),
        cmocka_unit_test(slow_callback_is_reported_in_debug_mode_only),
        cmocka_unit_test(slow_step_is_told_from_a_slow_callback),
        cmocka_unit_test(slow_callback_duration_refuses_nan),
        cmocka_unit_test(handler_is_told_of_a_descriptor_by_whoever_knew_of_it),
        cmocka_unit_test(handler_default_prints_stacks_that_nobody_can_name),
        cmocka_unit_test(slow_callback_is_judged_by_the_clock_where_ticks_say_too_much),
        cmocka_unit_test(slow_callback_duration_may_be_less_than_nothing_or_more_than_a_day),
        cmocka_unit_test(blocking_call_has_the_name_that_everybody_calls_it_by),
        cmocka_unit_test(report_has_the_code_of_its_error_where_it_has_none_of_its_own),
        cmocka_unit_test(debug_mode_that_is_on_does_not_begin_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
