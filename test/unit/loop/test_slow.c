/* SPDX-License-Identifier: MIT
 *
 * test_slow.c: what debug mode sees of a step while it takes long.
 *
 * Nothing here depends on how long anything takes: a step ends when the watcher has looked at it. */
#include "base/sys.h"
#include "base/thread.h"
#include "base/unwind.h"
#include "coro/tooling.h"
#include "loop/loop.h"
#include "loop/slow.h"

#include "../loop/stage.h"

#include <coil/debug.h>
#include <coil/generator.h>

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define LIMIT 0.001

/* ---- what was heard ---- */

static struct {
    const char
        *wanted; /* how messages begin that count: on a busy machine anything may take long */
    int n;
    char message[512]; /* the first one's */
    char calls[1024];  /* the outermost first, a space between any two */
    char makers[1024];
} heard;

static void add_names(char *out, size_t size, const void *const *calls, size_t n)
{
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        coil_frame frame = {.size = sizeof frame};
        (void)coil_frame_describe(calls[i], &frame);
        size_t at = strlen(out);
        snprintf(out + at, size - at, "%s%s", at ? " " : "",
                 frame.function[0] ? frame.function : "?");
    }
}

static void hear(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)loop, (void)arg;
    if (strncmp(c->message, heard.wanted, strlen(heard.wanted)) != 0 || heard.n++ > 0)
        return;
    snprintf(heard.message, sizeof heard.message, "%s", c->message);
    add_names(heard.calls, sizeof heard.calls, c->stack, c->stack_n);
    add_names(heard.makers, sizeof heard.makers, c->source_stack, c->source_stack_n);
}

/* ---- steps that end when they were looked at ---- */

static void watch_closely(coil_loop *loop)
{
    memset(&heard, 0, sizeof heard);
    heard.wanted = "Executing a step of ";
    coil_loop_set_exception_handler(loop, hear, NULL);
    coil_loop_set_debug(loop, true);
    coil_loop_set_slow_callback_duration(loop, LIMIT);
}

static uint64_t looks(void)
{
    return stage.loop->slow ? coil__slow_looks(stage.loop->slow) : 0;
}

static bool wanted_looks(uint64_t n)
{
    /* Valgrind's own stacks are nobody's, and where there is no watcher none is waited for. */
    return !stage.loop->slow || looks() >= n;
}

static int ends[2];
/* Looks. Set before the step begins, since there are two at each, and both may be over before it gets far. */
static uint64_t enough;
static atomic_bool waits;

/* Lets the step that waits for the pipe go on, once it was looked at while it waited. */
static void let_go(void *arg)
{
    (void)arg;
    while (!atomic_load(&waits))
        coil__thread_pause();
    while (!wanted_looks(enough))
        coil__thread_pause();
    if (!stage.loop->slow) /* nobody looks; too long it is to take all the same */
        usleep((useconds_t)(3e6 * LIMIT));
    COIL_CHECK(sys_write(ends[1], "x", 1) == 1);
}

static int polled, polled_errno;

__attribute__((noinline)) static void wait_in_poll(void)
{
    struct pollfd p = {.fd = ends[0], .events = POLLIN};
    errno = 0;
    atomic_store(&waits, true);
    polled = poll(&p, 1, -1);
    polled_errno = errno;
}

static coil_ret poller(void *arg)
{
    (void)arg;
    wait_in_poll();
    return polled;
}

__attribute__((noinline)) static void spin(void)
{
    while (!wanted_looks(enough))
        continue;
}

static coil_ret spinner(void *arg)
{
    (void)arg;
    spin();
    return 1;
}

static void run_task(coil_fn fn, const char *name)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = name};
    coil_task *task = coil_create_task_opts(fn, NULL, &opts);
    enough = looks() + 1;
    FACT_INT(coil_loop_run_until_complete(stage.loop, task), 1);
    coil_unref(task);
}

static void with_pipe(void (*body)(void))
{
    struct thread thread;
    COIL_CHECK(sys_pipe2(ends, O_CLOEXEC) == 0);
    atomic_store(&waits, false);
    enough = looks() + 1;
    /* Before the step: how long a thread takes to start is not what the step is to be seen in. */
    COIL_CHECK(coil__thread_start(&thread, "lets-go", let_go, NULL) == 0);
    body();
    coil__thread_join(&thread);
    close(ends[0]);
    close(ends[1]);
}

/* musl is built without the tables that a walk goes by, and static programs of its have none that can be found. */
static bool sees_calls(void)
{
#ifdef __GLIBC__
    return UNWIND_KNOWN && stage.loop->slow;
#else
    return false;
#endif
}

static bool sees_who_computes(void)
{
    return sees_calls() && !STAGE_TSAN;
}

/* ---- a step that waits in the kernel ---- */

static void poll_once(void)
{
    run_task(poller, "sleepy");
}

REAL(step_that_waits_in_the_kernel_is_seen_there)
{
    watch_closely(stage.loop);
    with_pipe(poll_once);
    FACT_INT(heard.n, 1);
    FACT_HAS(heard.message, "Executing a step of sleepy took ");
    FACT_HAS(heard.message, "; it was created at ");
    FACT_HAS(heard.message, "test_slow.c:");
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

static coil_ret poll_in_generator(coil_gen *gen, void *arg)
{
    (void)gen, (void)arg;
    wait_in_poll();
    return 0;
}

static coil_ret driver(void *arg)
{
    (void)arg;
    coil_ret value;
    coil_gen *gen = coil_gen_new(poll_in_generator, NULL);
    int more = coil_gen_next(gen, &value);
    coil_gen_unref(gen);
    return more + 1;
}

static void drive_once(void)
{
    run_task(driver, "drives");
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

/* Valgrind keeps SIGRTMAX for itself, and nobody watches there: a step that waits to be looked at ends at once. */
static void real_but_for_valgrind(void (*body)(void))
{
    if (tool_on_valgrind()) {
        print_message("Valgrind has the signal, and nobody looks there\n");
        skip();
    }
    stage_loop(body, false);
}
#define SIGNALS(name) STAGE_TEST(name, void, void, real_but_for_valgrind(name##_body))

static bool is_default(int signo)
{
    struct sigaction now;
    return sys_sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

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

static bool stderr_has(const char *words)
{
    static char text[32768];
    ssize_t n = pread(2, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return n < 0 || strstr(text, words);
}

/* Until these words are said of it. On a slow machine something else may have been told of before. */
static void endless(void *words)
{
    if (!stage.loop->slow)
        usleep((useconds_t)(3e6 * LIMIT));
    while (stage.loop->slow && !stderr_has(words))
        coil__thread_pause();
}

static const char *of_the_task; /* what is to be said of it */

static coil_ret endless_task(void *arg)
{
    (void)arg;
    endless(TEXT(of_the_task));
    return 1;
}

static void read_stderr(char *out, size_t size, void (*body)(void))
{
    FILE *file = tmpfile();
    int before = dup(2);
    dup2(fileno(file), 2);
    body();
    fflush(stderr);
    dup2(before, 2);
    close(before);
    rewind(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void run_endless(void)
{
    run_task(endless_task, "stuck");
    soon(endless, TEXT("A callback has been running for "));
    one_turn();
}

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

/* ---- bad days ---- */

#if STAGE_TABLE
static int no_thread(void)
{
    return -EAGAIN;
}

static coil_ret dawdler(void *arg)
{
    (void)arg;
    struct timespec t = {0, 2000000};
    nanosleep(&t, NULL);
    return 1;
}

REAL(step_is_told_of_at_its_end_where_nobody_watches)
{
    coil__thread_hook = no_thread;
    watch_closely(stage.loop);
    run_task(dawdler, "slow");
    coil__thread_hook = NULL;
    FACT(stage.loop->slow == NULL);
    FACT_INT(heard.n, 1);
    FACT_HAS(heard.message, "Executing a step of slow took 0.");
    FACT_TEXT(heard.calls, "");
}

static ssize_t no_memory_read(pid_t pid, const struct iovec *to, unsigned long to_n,
                              const struct iovec *from, unsigned long from_n, unsigned long flags)
{
    (void)pid, (void)to, (void)to_n, (void)from, (void)from_n, (void)flags;
    return -EPERM;
}

SIGNALS(step_is_told_of_without_calls_where_memory_cannot_be_copied)
{
    coil__sys.process_vm_readv = no_memory_read;
    watch_closely(stage.loop);
    with_pipe(poll_once);
    run_task(spinner, "busy");
    coil_loop_free(stage.loop);
    stage.loop = NULL;
    coil__sys.process_vm_readv = coil__sys_real.process_vm_readv;
    FACT_INT(heard.n, 2);
    FACT_TEXT(heard.calls, "");
}

SIGNALS(step_that_does_not_end_stays_a_tasks_where_memory_cannot_be_copied)
{
    static char words[32768];
    coil__sys.process_vm_readv = no_memory_read;
    of_the_task = "A step of a task has been running for ";
    watch_closely(stage.loop);
    read_stderr(words, sizeof words, run_endless);
    if (stage.loop->slow)
        FACT_HAS(words, of_the_task);
    coil_loop_free(stage.loop); /* and its watcher */
    stage.loop = NULL;
    coil__sys.process_vm_readv = coil__sys_real.process_vm_readv;
}
#endif

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
#if STAGE_TABLE
        cmocka_unit_test(step_is_told_of_at_its_end_where_nobody_watches),
        cmocka_unit_test(step_is_told_of_without_calls_where_memory_cannot_be_copied),
        cmocka_unit_test(step_that_does_not_end_stays_a_tasks_where_memory_cannot_be_copied),
#endif
        cmocka_unit_test(loops_of_two_threads_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
