/* SPDX-License-Identifier: MIT
 *
 * test_slow_edges.c: slow steps that end while the watcher looks, go on after it has told of them, have a limit of nothing; and
 * where such a step stands when that is hard to see.
 *
 * Nothing here depends on how long anything takes. */
#include "slow_steps.h"

#include <sys/syscall.h>
#include <sys/wait.h>

#if STAGE_TABLE

/* ---- the step ends meanwhile ---- */

static atomic_bool in_step, is_looked_at;
static pid_t loop_thread;
static uint64_t look_wanted; /* while it is taken the step ends; so many are over by then */

static bool sleeps_by_now(pid_t thread)
{
    char path[64], text[16] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)thread);
    int fd = coil__sys_real.openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    ssize_t n = coil__sys_real.read(fd, text, sizeof text - 1);
    coil__sys_real.close(fd);
    return n <= 0 || strncmp(text, "running", 7) != 0;
}

/* On the watcher's thread, which goes on with what it has read when the step is over and the loop's thread waits for it. */
static void say_when_over(char *text, size_t size)
{
    (void)text, (void)size;
    if (!in_step || looks() != look_wanted)
        return;
    const uint64_t *number = &stage.loop->step_number;
    uint64_t step = __atomic_load_n(number, __ATOMIC_ACQUIRE);
    is_looked_at = true;
    while (__atomic_load_n(number, __ATOMIC_ACQUIRE) == step)
        coil__thread_pause();
    while (!sleeps_by_now(loop_thread))
        coil__thread_pause();
}

static double limit_at_the_end; /* 0: as it is */

static coil_ret ends_when_looked_at(void *arg)
{
    (void)arg;
    look_wanted += looks();
    in_step = true;
    while (UNWIND_KNOWN && stage.loop->slow && !is_looked_at)
        continue;
    in_step = false;
    if (limit_at_the_end > 0)
        coil_loop_set_slow_callback_duration(stage.loop, limit_at_the_end);
    return 1;
}

static void end_at_look(unsigned n)
{
    look_wanted = n;
    in_step = is_looked_at = false;
    loop_thread = coil__sys_real.gettid();
    watch_place(say_when_over);
    run_task(ends_when_looked_at, "short");
}

SIGNALS(step_that_ends_while_it_is_looked_at_is_told_of_without_calls)
{
    limit_at_the_end = 0;
    end_at_look(0);
    if (sees_calls())
        FACT_HAS(heard.message, "Executing a step of short took ");
    FACT_TEXT(heard.calls, "");
    as_before();
}

static void end_at_the_second_look(void)
{
    end_at_look(1);
}

SIGNALS(step_that_ends_while_it_is_found_endless_is_not_called_so)
{
    static char words[32768];
    limit_at_the_end = 0;
    read_stderr(words, sizeof words, end_at_the_second_look);
    FACT(!strstr(words, "A step of short has been running"));
    if (sees_who_computes()) /* by the first look */
        FACT_HAS(heard.calls, "ends_when_looked_at");
    as_before();
}

SIGNALS(loop_is_freed_while_the_watcher_looks)
{
    limit_at_the_end = 3600; /* the step was quick, then, and nobody waits for the look */
    end_at_look(0);
    as_before();
    FACT_INT(heard.n, 0);
}

static atomic_bool counts;
static atomic_int glances; /* of the watcher at the clock */

/* In place of libc's. On the watcher's thread: between its reading of a step's number and its look whether that still runs. */
int clock_gettime(clockid_t clock, struct timespec *out)
{
    if (counts && coil__sys_real.gettid() != loop_thread) {
        const uint64_t *number = &stage.loop->step_number;
        uint64_t step = __atomic_load_n(number, __ATOMIC_ACQUIRE);
        is_looked_at = in_step;
        while (is_looked_at && __atomic_load_n(number, __ATOMIC_ACQUIRE) == step)
            coil__thread_pause();
        glances++; /* last: who counts them sets in_step for the next one */
    }
    return (int)syscall(SYS_clock_gettime, clock, out);
}

static void count_glances(void)
{
    loop_thread = coil__sys_real.gettid();
    in_step = is_looked_at = false;
    glances = 0;
    counts = true;
}

static void count_no_more(void)
{
    as_before();
    counts = false;
}

/* When the watcher has gone to sleep for as long as it may, any time is too long from then on. */
static void lower_the_limit(void)
{
    while (stage.loop->slow && glances < 2)
        coil__thread_pause();
    coil_loop_set_slow_callback_duration(stage.loop, LIMIT);
}

static coil_ret ends_at_a_glance(void *arg)
{
    (void)arg;
    lower_the_limit();
    in_step = true;
    while (stage.loop->slow && !is_looked_at)
        coil__thread_pause();
    in_step = false;
    coil_loop_set_slow_callback_duration(stage.loop, 3600);
    return 1;
}

static atomic_int opened; /* every look opens something in /proc */

static int count_opened(int dir, const char *path, int flags, mode_t mode)
{
    opened++;
    return coil__sys_real.openat(dir, path, flags, mode);
}

/* It has run for too long when the watcher comes to it, and is over before that looks. */
SIGNALS(step_that_ends_before_it_is_looked_at_is_not_looked_at)
{
    watch_closely(stage.loop);
    coil_loop_set_slow_callback_duration(stage.loop, 3600);
    count_glances();
    opened = 0;
    coil__sys.openat = count_opened;
    run_task(ends_at_a_glance, "ends");
    count_no_more(); /* and whatever the watcher has begun is done */
    FACT_INT(opened, 0);
}

static coil_ret lowers_the_limit(void *arg)
{
    (void)arg;
    lower_the_limit();
    spin();
    return 1;
}

SIGNALS(limit_that_is_lowered_is_heard_of_by_who_sleeps_for_the_old_one)
{
    watch_closely(stage.loop);
    coil_loop_set_slow_callback_duration(stage.loop, 3600);
    count_glances();
    run_task(lowers_the_limit, "lowered");
    FACT_INT(heard.n, 1);
    FACT_HAS(heard.message, "Executing a step of lowered took ");
    count_no_more();
}

/* ---- fork ---- */

static bool in_the_child;

/* The child comes back, too. */
static coil_ret forks_when_looked_at(void *arg)
{
    (void)arg;
    spin();
    fflush(NULL);
    pid_t pid = fork();
    in_the_child = pid == 0;
    if (pid > 0) {
        int status = -1;
        FACT(waitpid(pid, &status, 0) == pid);
        FACT_INT(status, 0);
    }
    return 1;
}

/* Nobody watches in the child: what was seen of the step is the parent's. */
SIGNALS(step_that_returns_in_a_child_of_fork_is_told_of_there_without_what_the_parent_saw)
{
    if (STAGE_TSAN) /* it takes what the parent's watcher has read for a race in the child, who has none */
        return;
    watch_closely(stage.loop);
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = "forks"};
    coil_task *task = coil_create_task_opts(forks_when_looked_at, NULL, &opts);
    enough = looks() + 1;
    coil_ret rc = coil_loop_run_until_complete(stage.loop, task);
    if (in_the_child)
        _exit(rc == COIL_EWRONGTHREAD && heard.n == 1 && !heard.calls[0] ? 0 : 1);
    FACT_INT(rc, 1);
    FACT_INT(heard.n, 1);
    /* A second look finds the parent in its wait; behind ASan's own waitpid nobody finds the way on. */
    if (sees_who_computes() && !STAGE_ASAN)
        FACT_HAS(heard.calls, "forks_when_looked_at");
    coil_unref(task);
}

/* ---- limits ---- */

static coil_ret spins_briefly(void *arg)
{
    (void)arg;
    spin();
    return 1;
}

REAL(limit_of_nothing_is_a_limit)
{
    watch_closely(stage.loop);
    coil_loop_set_slow_callback_duration(stage.loop, 0);
    run_task(spins_briefly, "brief");
    FACT_INT(heard.n, 1);
    if (sees_who_computes())
        FACT_HAS(heard.calls, "spins_briefly spin");
}

/* Until the watcher has met it; then any time is too long. */
static coil_ret is_met(void *arg)
{
    (void)arg;
    struct slow_look look;
    while (stage.loop->slow && !coil__slow_seen(stage.loop->slow, stage.loop->step_number, &look))
        continue;
    coil_loop_set_slow_callback_duration(stage.loop, 0);
    return 1;
}

static coil_ret is_not_met(void *arg)
{
    (void)arg;
    coil_loop_set_slow_callback_duration(stage.loop, 0);
    return 1;
}

SIGNALS(step_is_told_of_by_what_was_seen_of_it_and_of_no_other)
{
    watch_closely(stage.loop);
    run_task(spinner, "busy");
    heard.n = 0;
    coil_loop_set_slow_callback_duration(stage.loop, 0.05);
    heard.wanted = "Executing a step of met ";
    run_task(is_met, "met");
    FACT_INT(heard.n, 1);
    FACT(!strstr(heard.calls, "spin"));
    if (stage.loop->slow)
        FACT_HAS(heard.message, ", computing for 0.");
    heard.n = 0;
    coil_loop_set_slow_callback_duration(stage.loop, 0.05);
    heard.wanted = "Executing a step of strange ";
    run_task(is_not_met, "strange");
    FACT_INT(heard.n, 1);
    FACT(!strstr(heard.calls, "spin") && !strstr(heard.calls, "is_met"));
}

static coil_ret goes_on_when_told_of(void *arg)
{
    coil_ret rc = endless_task(arg);
    for (int i = 0; i < 500; i++)
        coil__thread_pause(); /* some limits more */
    return rc;
}

static void run_on(void)
{
    run_task(goes_on_when_told_of, "stuck");
}

SIGNALS(step_that_does_not_end_is_told_of_once)
{
    static char words[32768];
    of_the_task = " has been running for ";
    watch_closely(stage.loop);
    read_stderr(words, sizeof words, run_on);
    const char *first = strstr(words, of_the_task);
    if (stage.loop->slow)
        FACT(first && !strstr(first + 1, of_the_task));
}

/* ---- where it stands ---- */

__attribute__((noinline)) static int wait_below(int n)
{
    volatile int below = 0;
    if (n > 0)
        below = wait_below(n - 1);
    else
        wait_in_poll();
    return below + 1;
}

static coil_ret waits_deep(void *arg)
{
    (void)arg;
    return wait_below(2 * SLOW_CALLS) > 0;
}

static void wait_deep(void)
{
    run_task(waits_deep, "deep");
}

static size_t count_words(const char *text)
{
    size_t n = *text != '\0';
    for (; *text; text++)
        n += *text == ' ';
    return n;
}

REAL(step_that_stands_deep_is_told_of_with_its_innermost_calls)
{
    watch_closely(stage.loop);
    with_pipe(wait_deep);
    FACT_INT(heard.n, 1);
    if (!sees_calls())
        return;
    FACT_INT(count_words(heard.calls), SLOW_CALLS);
    FACT_HAS(heard.calls, "wait_below wait_in_poll ");
    FACT(!strstr(heard.calls, "waits_deep"));
}

#if UNWIND_KNOWN
/* A compiler at run time writes no tables for what it makes, either. */
void call_without_tables(void (*fn)(void));
__asm__(".text\n"
        ".type call_without_tables, @function\n"
        "call_without_tables:\n"
        "    subq $8, %rsp\n"
        "    call *%rdi\n"
        "    addq $8, %rsp\n"
        "    ret\n"
        ".size call_without_tables, . - call_without_tables\n");

static coil_ret waits_without_tables(void *arg)
{
    (void)arg;
    call_without_tables(wait_in_poll);
    return 1;
}

static void wait_without_tables(void)
{
    run_task(waits_without_tables, "made");
}

REAL(calls_are_told_up_to_code_that_nobody_knows)
{
    watch_closely(stage.loop);
    with_pipe(wait_without_tables);
    FACT_INT(heard.n, 1);
    if (sees_calls())
        FACT_HAS(heard.calls, "wait_in_poll");
    FACT(!strstr(heard.calls, "waits_without_tables"));
}
#endif

static void drive_in_callback(void *arg)
{
    (void)driver(arg);
}

static void drive_from_a_callback(void)
{
    soon(drive_in_callback, NULL);
    one_turn();
}

REAL(generator_that_waits_in_the_kernel_is_seen_with_the_callback_that_drives_it)
{
    watch_closely(stage.loop);
    heard.wanted = "Executing a callback";
    with_pipe(drive_from_a_callback);
    FACT(heard.n > 0);
    if (!sees_calls())
        return;
    FACT_HAS(heard.calls, "driver");
    FACT_HAS(heard.calls, "poll_in_generator wait_in_poll ");
    FACT_INT(strncmp(heard.calls, "drive_in_callback ", 18), 0);
}

/* ---- through another library ---- */

static int own_output;

/* Into a pipe that is full. */
static coil_ret prints(void *arg)
{
    (void)arg;
    atomic_store(&waits, true);
    print_message("this line waits");
    return 1;
}

static void empty_when_looked_at(void *arg)
{
    static char bytes[65536];
    (void)arg;
    while (!atomic_load(&waits) || !wanted_looks(enough))
        coil__thread_pause();
    if (!stage.loop->slow)
        usleep((useconds_t)(3e6 * LIMIT));
    while (sys_read(ends[0], bytes, sizeof bytes) > 0)
        continue;
}

/* cmocka calls libc, which waits. */
SIGNALS(call_that_waits_is_named_through_another_library)
{
    struct thread thread;
    watch_closely(stage.loop);
    fflush(stdout);
    COIL_CHECK(sys_pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    while (sys_write(ends[1], "xxxxxxxxxxxxxxxx", 16) > 0)
        continue;
    fcntl(ends[0], F_SETFL, 0);
    fcntl(ends[1], F_SETFL, 0);
    own_output = dup(1);
    dup2(ends[1], 1);
    close(ends[1]);
    atomic_store(&waits, false);
    enough = looks() + 1;
    COIL_CHECK(coil__thread_start(&thread, "empties", empty_when_looked_at, NULL) == 0);
    run_task(prints, "talks");
    fflush(stdout);
    dup2(own_output, 1); /* and the other end is closed */
    coil__thread_join(&thread);
    close(own_output);
    close(ends[0]);
    FACT_INT(heard.n, 1);
    if (sees_calls() && !STAGE_ASAN && !STAGE_TSAN) /* theirs come in between */
        FACT_HAS(heard.message, ", blocked in ");
    if (sees_calls())
        FACT_HAS(heard.calls, "prints");
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
        cmocka_unit_test(step_that_ends_while_it_is_looked_at_is_told_of_without_calls),
        cmocka_unit_test(step_that_ends_while_it_is_found_endless_is_not_called_so),
        cmocka_unit_test(loop_is_freed_while_the_watcher_looks),
        cmocka_unit_test(step_that_ends_before_it_is_looked_at_is_not_looked_at),
        cmocka_unit_test(limit_that_is_lowered_is_heard_of_by_who_sleeps_for_the_old_one),
        cmocka_unit_test(
            step_that_returns_in_a_child_of_fork_is_told_of_there_without_what_the_parent_saw),
        cmocka_unit_test(limit_of_nothing_is_a_limit),
        cmocka_unit_test(step_is_told_of_by_what_was_seen_of_it_and_of_no_other),
        cmocka_unit_test(step_that_does_not_end_is_told_of_once),
        cmocka_unit_test(step_that_stands_deep_is_told_of_with_its_innermost_calls),
#if UNWIND_KNOWN
        cmocka_unit_test(calls_are_told_up_to_code_that_nobody_knows),
#endif
        cmocka_unit_test(
            generator_that_waits_in_the_kernel_is_seen_with_the_callback_that_drives_it),
        cmocka_unit_test(call_that_waits_is_named_through_another_library),
#else
        cmocka_unit_test(nothing_can_be_replaced_in_this_build),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
