/* SPDX-License-Identifier: MIT
 *
 * test_slow_faults.c: what debug mode sees of a slow step where the kernel, or the program, lets it see little. The step is told of
 * all the same, once, and what is told is of that step.
 *
 * Nothing here depends on how long anything takes: a step ends when the watcher has looked at it, or while it does. */
#include "slow_steps.h"

#if STAGE_TABLE

/* ---- nobody watches ---- */

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

static void dawdle_unwatched(void)
{
    run_task(dawdler, "slow");
    FACT(stage.loop->slow == NULL);
    FACT_INT(heard.n, 1);
    FACT_TEXT(heard.calls, "");
    if (!tool_on_valgrind()) /* which has it */
        FACT(is_default(SIGRTMAX));
}

REAL(step_is_told_of_where_there_is_no_memory_for_a_watcher)
{
    one_turn(); /* what every loop needs is there */
    watch_closely(stage.loop);
    soon(note_arg, "ran");
    coil__mem_fail_at(1, 0);
    one_turn();
    coil__mem_fail_at(0, 0);
    FACT_TRACE("ran");
    if (!tool_on_valgrind()) /* where none is wanted */
        FACT(stage.loop->slow == NULL);
    dawdle_unwatched();
}

REAL(step_is_told_of_where_neither_signals_nor_threads_are_to_be_had)
{
    coil_loop_free(stage.loop);
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    stage.loop = coil_new_event_loop(&opts);
    coil__thread_hook = no_thread;
    watch_closely(stage.loop);
    dawdle_unwatched();
    as_before();
}

/* ---- /proc says little ---- */

static const char *refused;

static int open_but_for_one(int dir, const char *path, int flags, mode_t mode)
{
    return is_about(path, refused) ? -EACCES : coil__sys_real.openat(dir, path, flags, mode);
}

SIGNALS(step_is_told_of_without_calls_where_proc_does_not_say_where_it_stands)
{
    refused = "syscall";
    coil__sys.openat = open_but_for_one;
    watch_closely(stage.loop);
    with_pipe(poll_once);
    run_task(spinner, "busy");
    as_before();
    FACT_INT(heard.n, 2);
    FACT_TEXT(heard.calls, "");
}

SIGNALS(signal_is_not_sent_where_nobody_knows_whether_it_is_blocked)
{
    refused = "status";
    coil__sys.openat = open_but_for_one;
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    FACT_INT(heard.n, 1);
    FACT_TEXT(heard.calls, "");
    watch_closely(stage.loop);
    with_pipe(poll_once); /* which needs no signal */
    FACT_INT(heard.n, 1);
    if (sees_calls())
        FACT_HAS(heard.calls, "wait_in_poll");
    as_before();
}

/* As of a thread that waits for a page of a file. */
static void say_no_call(char *text, size_t size)
{
    unsigned long long sp, pc;
    if (sscanf(text, "%*d %*x %*x %*x %*x %*x %*x %llx %llx", &sp, &pc) == 2)
        snprintf(text, size, "-1 0x%llx 0x%llx\n", sp, pc);
}

REAL(step_that_waits_in_no_call_is_seen_where_it_stands)
{
    watch_place(say_no_call);
    with_pipe(poll_once);
    FACT_INT(heard.n, 1);
    if (sees_calls())
        FACT_HAS(heard.calls, "poller wait_in_poll");
    as_before();
}

static void say_nonsense(char *text, size_t size)
{
    snprintf(text, size, "elsewhere\n");
}

SIGNALS(step_is_told_of_without_calls_where_nobody_understands_what_proc_says)
{
    watch_place(say_nonsense);
    with_pipe(poll_once);
    run_task(spinner, "busy");
    as_before();
    FACT_INT(heard.n, 2);
    FACT_TEXT(heard.calls, "");
}

/* Each is another call, or none can be read the second time. */
static bool second_is_empty;

static void say_another_each_time(char *text, size_t size)
{
    size_t n = strlen(text);
    if (places_read % 2 == 0 && second_is_empty)
        text[0] = '\0';
    else
        snprintf(text + n, size - n, "%d", places_read);
}

SIGNALS(step_that_moves_on_between_calls_is_told_of_without_them)
{
    watch_place(say_another_each_time);
    for (int i = 0; i < 2; i++) {
        second_is_empty = i;
        watch_closely(stage.loop);
        with_pipe(poll_once);
        FACT_INT(heard.n, 1);
        FACT_TEXT(heard.calls, "");
    }
    as_before();
}

/* ---- memory cannot be read ---- */

static _Thread_local bool runs_the_loop;
static atomic_int copies, copy_refused;

static ssize_t copy_but_for_one(pid_t pid, const struct iovec *to, unsigned long to_n,
                                const struct iovec *from, unsigned long from_n, unsigned long flags)
{
    if (++copies == copy_refused)
        return -EFAULT;
    return coil__sys_real.process_vm_readv(pid, to, to_n, from, from_n, flags);
}

/* Whatever is missing, the calls that are told go from the innermost outward without a hole. */
REAL(step_is_told_of_whichever_piece_of_it_cannot_be_copied)
{
    coil__sys.process_vm_readv = copy_but_for_one;
    for (int n = 1; n == 1 || copies >= n - 1; n++) {
        watch_closely(stage.loop);
        copies = 0;
        copy_refused = n;
        with_pipe(drive_once);
        FACT_INT(heard.n, 1);
        const char *inner = strstr(heard.calls, "poll_in_generator wait_in_poll ");
        FACT(inner || !strstr(heard.calls, "driver"));
        FACT(inner || !strstr(heard.calls, "poll_in_generator"));
        if (n > 100 || !sees_calls())
            break;
    }
    FACT(copies < 100);
    as_before();
}

/* ---- the signal ---- */

static int told_nobody(pid_t pid, pid_t thread, int signo)
{
    (void)pid, (void)thread, (void)signo;
    return 0;
}

static int refuses_to_tell(pid_t pid, pid_t thread, int signo)
{
    (void)pid, (void)thread, (void)signo;
    return -EAGAIN;
}

SIGNALS(step_is_told_of_without_calls_where_the_signal_does_not_come)
{
    coil__sys.tgkill = refuses_to_tell;
    for (int i = 0; i < 2; i++) {
        watch_closely(stage.loop);
        run_task(spinner, "busy");
        FACT_INT(heard.n, 1);
        FACT_TEXT(heard.calls, "");
        coil__sys.tgkill = told_nobody; /* for the next look; the watcher sleeps */
        coil_loop_free(stage.loop);
        stage.loop = stage_new_loop(false);
    }
    as_before();
}

static atomic_bool handler_began, given_up;

/* Says that it could not, and the handler has begun. */
static int tell_and_deny(pid_t pid, pid_t thread, int signo)
{
    int err = coil__sys_real.tgkill(pid, thread, signo);
    while (err == 0 && !handler_began)
        coil__thread_pause();
    given_up = true;
    return err < 0 ? err : -EAGAIN;
}

static ssize_t copy_slowly(pid_t pid, const struct iovec *to, unsigned long to_n,
                           const struct iovec *from, unsigned long from_n, unsigned long flags)
{
    if (runs_the_loop) {
        handler_began = true;
        while (!given_up)
            coil__thread_pause();
        for (int i = 0; i < 20; i++) /* so that there is something to wait for */
            coil__thread_pause();
    }
    return coil__sys_real.process_vm_readv(pid, to, to_n, from, from_n, flags);
}

SIGNALS(handler_that_has_begun_is_waited_for)
{
    handler_began = given_up = false;
    runs_the_loop = true;
    coil__sys.tgkill = tell_and_deny;
    coil__sys.process_vm_readv = copy_slowly;
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    FACT_INT(heard.n, 1);
    if (sees_who_computes())
        FACT_HAS(heard.calls, "spinner spin");
    as_before();
    runs_the_loop = false;
}

static bool has_the_signal(void)
{
    if (stage.loop->slow && !is_default(SIGRTMAX))
        return true;
    print_message("the signal is not coil's here\n");
    return false;
}

SIGNALS(signal_that_nobody_asked_for_changes_nothing)
{
    watch_closely(stage.loop);
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    soon(note_arg, "before");
    one_turn();
    if (!has_the_signal())
        return;
    errno = EXDEV;
    raise(SIGRTMAX); /* this thread runs no step now */
    FACT_INT(errno, EXDEV);
    soon((coil_callback_fn)(void (*)(void))raise, (void *)(intptr_t)SIGRTMAX);
    soon(note_arg, "after");
    one_turn();
    FACT_TRACE("before after");
    FACT_INT(looks(), 0);
}

static void take_for_the_program(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    heard.n += 100;
}

static void plain_for_the_program(int signo)
{
    (void)signo;
    heard.n += 100;
}

static struct sigaction programs;

static coil_ret takes_the_signal(void *arg)
{
    sys_sigaction(SIGRTMAX, &programs, NULL);
    return spinner(arg);
}

/* Whoever has an action for it: coil neither sends it nor gives it back. */
static void take_meanwhile(struct sigaction with)
{
    struct sigaction after, none = {.sa_handler = SIG_DFL};
    programs = with;
    watch_closely(stage.loop);
    run_task(takes_the_signal, "busy");
    FACT_INT(heard.n, 1);
    FACT_TEXT(heard.calls, "");
    coil_loop_free(stage.loop);
    sys_sigaction(SIGRTMAX, &none, &after);
    FACT(after.sa_sigaction == with.sa_sigaction);
    stage.loop = stage_new_loop(false);
}

SIGNALS(signal_that_the_program_takes_meanwhile_is_its_own)
{
    take_meanwhile((struct sigaction){.sa_handler = plain_for_the_program});
    take_meanwhile(
        (struct sigaction){.sa_sigaction = take_for_the_program, .sa_flags = SA_SIGINFO});
}

SIGNALS(signal_that_the_program_has_with_more_words_is_left_alone)
{
    struct sigaction own = {.sa_sigaction = take_for_the_program, .sa_flags = SA_SIGINFO};
    struct sigaction before, after;
    sys_sigaction(SIGRTMAX, &own, &before);
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    FACT_INT(heard.n, 1);
    FACT_TEXT(heard.calls, "");
    coil_loop_free(stage.loop);
    stage.loop = NULL;
    sys_sigaction(SIGRTMAX, &before, &after);
    FACT(after.sa_sigaction == take_for_the_program);
}

static atomic_bool actions_hidden;

static int hide_actions(int signo, const struct sigaction *to, struct sigaction *out)
{
    if (signo == SIGRTMAX && actions_hidden)
        return -EINVAL;
    return coil__sys_real.sigaction(signo, to, out);
}

static coil_ret hides_actions(void *arg)
{
    actions_hidden = true;
    coil_ret rc = spinner(arg);
    actions_hidden = false;
    return rc;
}

SIGNALS(signal_whose_action_nobody_can_ask_for_is_not_used)
{
    coil__sys.sigaction = hide_actions;
    watch_closely(stage.loop);
    run_task(hides_actions, "busy");
    FACT_INT(heard.n, 1);
    FACT_TEXT(heard.calls, "");
    coil_loop_free(stage.loop);
    FACT(is_default(SIGRTMAX)); /* taken, and given back */
    actions_hidden = true;
    stage.loop = stage_new_loop(false);
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    actions_hidden = false;
    FACT(is_default(SIGRTMAX));
    FACT_INT(heard.n, 1);
    FACT_TEXT(heard.calls, "");
    as_before();
}

/* ---- the thread's number ---- */

/* As where processes are numbered anew: by the number that the thread believes to have, its clock is not to be had. */
enum { STRANGE = 0x3ffffff0 };
static pid_t real_number;

static pid_t strange_number(void)
{
    return runs_the_loop ? STRANGE : coil__sys_real.gettid();
}

static int open_by_real_number(int dir, const char *path, int flags, mode_t mode)
{
    char real[64];
    int number = 0, n = 0;
    if (sscanf(path, "/proc/self/task/%d%n", &number, &n) == 1 && number == STRANGE) {
        snprintf(real, sizeof real, "/proc/self/task/%d%s", real_number, path + n);
        path = real;
    }
    return coil__sys_real.openat(dir, path, flags, mode);
}

static int tell_by_real_number(pid_t pid, pid_t thread, int signo)
{
    return coil__sys_real.tgkill(pid, thread == STRANGE ? real_number : thread, signo);
}

SIGNALS(step_is_seen_where_its_processor_time_is_not_known)
{
    runs_the_loop = true;
    real_number = coil__sys_real.gettid();
    coil__sys.gettid = strange_number;
    coil__sys.openat = open_by_real_number;
    coil__sys.tgkill = tell_by_real_number;
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    FACT_INT(heard.n, 1);
    FACT_HAS(heard.message, "Executing a step of busy took ");
    FACT(!strstr(heard.message, "computing for"));
    if (sees_who_computes())
        FACT_HAS(heard.calls, "spinner spin");
    as_before();
    runs_the_loop = false;
}

#else
PLAIN(nothing_can_be_replaced_in_this_build)
{
    print_message("the table of calls is not there\n");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#if STAGE_TABLE
        cmocka_unit_test(step_is_told_of_at_its_end_where_nobody_watches),
        cmocka_unit_test(step_is_told_of_without_calls_where_memory_cannot_be_copied),
        cmocka_unit_test(step_that_does_not_end_stays_a_tasks_where_memory_cannot_be_copied),
        cmocka_unit_test(step_is_told_of_where_there_is_no_memory_for_a_watcher),
        cmocka_unit_test(step_is_told_of_where_neither_signals_nor_threads_are_to_be_had),
        cmocka_unit_test(step_is_told_of_without_calls_where_proc_does_not_say_where_it_stands),
        cmocka_unit_test(signal_is_not_sent_where_nobody_knows_whether_it_is_blocked),
        cmocka_unit_test(step_that_waits_in_no_call_is_seen_where_it_stands),
        cmocka_unit_test(step_is_told_of_without_calls_where_nobody_understands_what_proc_says),
        cmocka_unit_test(step_that_moves_on_between_calls_is_told_of_without_them),
        cmocka_unit_test(step_is_told_of_whichever_piece_of_it_cannot_be_copied),
        cmocka_unit_test(step_is_told_of_without_calls_where_the_signal_does_not_come),
        cmocka_unit_test(handler_that_has_begun_is_waited_for),
        cmocka_unit_test(signal_that_nobody_asked_for_changes_nothing),
        cmocka_unit_test(signal_that_the_program_takes_meanwhile_is_its_own),
        cmocka_unit_test(signal_that_the_program_has_with_more_words_is_left_alone),
        cmocka_unit_test(signal_whose_action_nobody_can_ask_for_is_not_used),
        cmocka_unit_test(step_is_seen_where_its_processor_time_is_not_known),
#else
        cmocka_unit_test(nothing_can_be_replaced_in_this_build),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
