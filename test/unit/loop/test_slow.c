/* SPDX-License-Identifier: MIT
 *
 * test_slow.c: what debug mode sees of a step while it takes long.
 *
 * Nothing here depends on how long anything takes: a step ends when the watcher has looked at it. */
#include "slow_steps.h"

/* ---- a step that waits in the kernel ---- */

REAL(step_that_waits_in_the_kernel_is_seen_there)
{
    watch_closely(stage.loop);
    with_pipe(poll_once);
    FACT_INT(heard.n, 1);
    FACT_HAS(heard.message, "Executing a step of sleepy took ");
    FACT_HAS(heard.message, "; it was created at ");
    FACT_HAS(heard.message, "slow_steps.h:");
    if (!sees_calls())
        return;
    FACT_HAS(heard.message, ", computing for 0.");
    FACT_HAS(heard.message, ", blocked in poll()");
    if (!STAGE_ASAN && !STAGE_TSAN) /* theirs come in between */
        FACT_TEXT(heard.calls, "poller wait_in_poll poll");
    FACT_HAS(heard.calls, "poller wait_in_poll ");
}

REAL(step_that_waits_in_the_kernel_is_not_interrupted)
{
    watch_closely(stage.loop);
    for (int i = 0; i < 5; i++)
        with_pipe(poll_once);
    FACT_INT(polled, 1);
    FACT_INT(polled_errno, 0);
}

static void poll_callback(void *arg)
{
    (void)arg;
    wait_in_poll();
}

static void poll_in_callback(void)
{
    soon(poll_callback, NULL);
    one_turn();
}

REAL(callback_that_waits_in_the_kernel_is_seen_there)
{
    watch_closely(stage.loop);
    heard.wanted = "Executing a callback";
    with_pipe(poll_in_callback);
    FACT(heard.n > 0);
    FACT_HAS(heard.message, "Executing a callback took ");
    FACT(!strstr(heard.message, "created at"));
    if (!sees_calls())
        return;
    FACT_HAS(heard.message, ", blocked in poll()");
    FACT(strncmp(heard.calls, "poll_callback wait_in_poll ", 27) == 0);
}

REAL(generator_that_waits_in_the_kernel_is_seen_with_who_drives_it)
{
    watch_closely(stage.loop);
    with_pipe(drive_once);
    FACT_INT(heard.n, 1);
    if (!sees_calls())
        return;
    const char *outer = strstr(heard.calls, "driver"), *inner = strstr(heard.calls, "poll_in_gen");
    FACT(outer && inner && outer < inner);
}

/* ---- a step that computes ---- */

SIGNALS(step_that_computes_is_seen_there)
{
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    FACT_INT(heard.n, 1);
    FACT_HAS(heard.message, "Executing a step of busy took ");
    FACT(!strstr(heard.message, "blocked"));
    if (sees_who_computes())
        FACT_HAS(heard.calls, "spinner spin");
    coil_loop_free(stage.loop);
    stage.loop = NULL;
    FACT(is_default(SIGRTMAX));
}

static void own_handler(int signo)
{
    (void)signo;
    heard.n += 100;
}

SIGNALS(signal_of_the_programs_own_is_left_alone)
{
    struct sigaction own = {.sa_handler = own_handler}, before, after;
    sys_sigaction(SIGRTMAX, &own, &before);
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    FACT_INT(heard.n, 1); /* told at its end, as ever */
    FACT_TEXT(heard.calls, "");
    coil_loop_free(stage.loop);
    stage.loop = NULL;
    sys_sigaction(SIGRTMAX, &before, &after);
    FACT(after.sa_handler == own_handler);
}

SIGNALS(signal_is_not_sent_to_who_blocks_it)
{
    sigset_t set, before, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX);
    sys_sigprocmask(SIG_BLOCK, &set, &before);
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    FACT_INT(heard.n, 1);
    FACT_TEXT(heard.calls, "");
    sys_sigpending(&pending);
    FACT(!sigismember(&pending, SIGRTMAX));
    sys_sigprocmask(SIG_SETMASK, &before, NULL);
}

SIGNALS(signal_is_not_taken_where_the_options_say_so)
{
    coil_loop_free(stage.loop);
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    stage.loop = coil_new_event_loop(&opts);
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    FACT(is_default(SIGRTMAX));
    FACT_INT(heard.n, 1);
    FACT_TEXT(heard.calls, "");
}

/* ---- a step that does not end ---- */

/* Some emulators' programs cannot. */
static bool reads_itself(void)
{
    int here = 1, copy = 0;
    struct iovec to = {&copy, sizeof copy}, from = {&here, sizeof here};
    return sys_process_vm_readv(sys_getpid(), &to, 1, &from, 1, 0) == sizeof here;
}

SIGNALS(step_that_does_not_end_is_told_of_meanwhile)
{
    static char words[32768];
    of_the_task = reads_itself() ? "A step of stuck has been running for "
                                 : "A step of a task has been running for ";
    watch_closely(stage.loop);
    read_stderr(words, sizeof words, run_endless);
    FACT_INT(heard.n, 1); /* and again when it has ended */
    if (stage.loop->slow) {
        FACT_HAS(words, of_the_task);
        FACT_HAS(words, "coil: A callback has been running for ");
        FACT_HAS(words, " seconds and goes on; nothing else runs meanwhile");
    }
    if (sees_who_computes()) {
        FACT_HAS(words, "\n  Stack while it ran (most recent call last):\n");
        FACT_HAS(words, ", in endless_task\n");
    }
}

/* ---- who is not told of ---- */

static coil_ret healthy(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        FACT_INT(coil_sleep(0), 0);
    return 1;
}

static coil_ret sleeps_long(void *arg)
{
    (void)arg;
    FACT_INT(coil_sleep(3600), 0);
    return 1;
}

REAL(steps_that_are_quick_are_not_told_of)
{
    watch_closely(stage.loop);
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    run_task(healthy, "quick");
    FACT_INT(heard.n, 0);
}

LOOP(waiting_in_virtual_time_is_no_slow_step)
{
    watch_closely(stage.loop);
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    run_task(sleeps_long, "patient");
    FACT_INT(heard.n, 0);
    FACT(stage.loop->slow == NULL);
}

SIGNALS(nobody_watches_without_debug_mode)
{
    run_task(healthy, "quick");
    FACT(stage.loop->slow == NULL);
    FACT(is_default(SIGRTMAX));
}

/* ---- several loops ---- */

static char told_of[2][512];
static _Atomic int met;

static void keep_message(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)loop;
    snprintf(arg, sizeof told_of[0], "%s", c->message);
    add_names((char *)arg + strlen(arg), sizeof told_of[0] - strlen(arg), c->stack, c->stack_n);
}

__attribute__((noinline)) static coil_ret first_waits(void *arg)
{
    struct slow *slow = ((coil_loop *)arg)->slow;
    met++;
    while (met < 2 || (slow && coil__slow_looks(slow) < 1))
        continue;
    return 0;
}

__attribute__((noinline)) static coil_ret second_waits(void *arg)
{
    struct slow *slow = ((coil_loop *)arg)->slow;
    met++;
    while (met < 2 || (slow && coil__slow_looks(slow) < 1))
        continue;
    return 1;
}

static void one_of_two(void *arg)
{
    int which = (int)(intptr_t)arg;
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_loop_set_exception_handler(loop, keep_message, told_of[which]);
    coil_loop_set_debug(loop, true);
    coil_loop_set_slow_callback_duration(loop, LIMIT);
    coil_task_opts opts = {.size = sizeof opts, .loop = loop, .name = which ? "second" : "first"};
    coil_task *task = coil_create_task_opts(which ? second_waits : first_waits, loop, &opts);
    (void)coil_loop_run_until_complete(loop, task);
    coil_unref(task);
    coil_loop_free(loop);
}

SIGNALS(loops_of_two_threads_are_told_apart)
{
    struct thread threads[2];
    met = 0;
    for (intptr_t i = 0; i < 2; i++)
        COIL_CHECK(coil__thread_start(&threads[i], "loop", one_of_two, (void *)i) == 0);
    for (int i = 0; i < 2; i++)
        coil__thread_join(&threads[i]);
    FACT_HAS(told_of[0], "a step of first took");
    FACT_HAS(told_of[1], "a step of second took");
    FACT(!strstr(told_of[0], "second_waits") && !strstr(told_of[1], "first_waits"));
    FACT(is_default(SIGRTMAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(step_that_waits_in_the_kernel_is_seen_there),
        cmocka_unit_test(step_that_waits_in_the_kernel_is_not_interrupted),
        cmocka_unit_test(callback_that_waits_in_the_kernel_is_seen_there),
        cmocka_unit_test(generator_that_waits_in_the_kernel_is_seen_with_who_drives_it),
        cmocka_unit_test(step_that_computes_is_seen_there),
        cmocka_unit_test(signal_of_the_programs_own_is_left_alone),
        cmocka_unit_test(signal_is_not_sent_to_who_blocks_it),
        cmocka_unit_test(signal_is_not_taken_where_the_options_say_so),
        cmocka_unit_test(step_that_does_not_end_is_told_of_meanwhile),
        cmocka_unit_test(steps_that_are_quick_are_not_told_of),
        cmocka_unit_test(waiting_in_virtual_time_is_no_slow_step),
        cmocka_unit_test(nobody_watches_without_debug_mode),
        cmocka_unit_test(loops_of_two_threads_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
