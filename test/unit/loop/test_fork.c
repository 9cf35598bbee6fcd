/* SPDX-License-Identifier: MIT
 *
 * test_fork.c: a child of fork inherits no running loop, can do nothing to its parent's, and makes its
 * own. */
#include "loop/loop.h"

#include "../loop/stage.h"
#include "base/process.h"
#include "base/sys.h"

#include <coil/signal.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Runs fn in a child; 0 if every FACT held there. */
static int in_child(void (*fn)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        stage.broken = 0;
        fn();
        _exit(stage.broken ? 1 : 0);
    }
    int status;
    FACT(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static coil_ret sleep_a_second(void *arg)
{
    (void)arg;
    return coil_sleep(1);
}

static void make_and_run_a_loop(void)
{
    coil_loop *loop = stage_new_loop(true);
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    coil_task *t = coil_create_task_opts(sleep_a_second, NULL, &opts);
    FACT_INT(coil_loop_run_until_complete(loop, t), 0);
    coil_unref(t);
    coil_loop_free(loop);
}

/* ---- what the child may do ---- */

static int fds[2];

static void everything_is_refused(void)
{
    coil_loop *loop = stage.loop;
    coil_handle *h = NULL;
    FACT_INT(coil_loop_run_forever(loop), COIL_EWRONGTHREAD);
    FACT_ERROR(COIL_EWRONGTHREAD, "inherited by fork");
    FACT_INT(coil_loop_iterate(loop), COIL_EWRONGTHREAD);
    FACT_INT(coil_loop_call_soon(loop, note_arg, NULL, NULL), COIL_EWRONGTHREAD);
    FACT_INT(coil_loop_call_later(loop, 1, note_arg, NULL, &h), COIL_EWRONGTHREAD);
    FACT_INT(coil_loop_call_soon_threadsafe(loop, note_arg, NULL, NULL), COIL_EWRONGTHREAD);
    FACT_INT(coil_loop_call_soon_threadsafe(loop, note_arg, NULL, &h), COIL_EWRONGTHREAD);
    FACT_INT(coil_loop_add_reader(loop, fds[0], note_arg, NULL), COIL_EWRONGTHREAD);
    FACT_INT(coil_loop_remove_reader(loop, fds[0]), 0);
    coil_loop_forget_fd(loop, fds[0]);
    FACT_INT(coil_loop_fd(loop), COIL_EWRONGTHREAD);
    FACT_INT(coil_loop_close(loop), COIL_EWRONGTHREAD);
    coil_future *f = coil_loop_create_future(loop);
    FACT_INT(coil_future_result(f), COIL_EWRONGTHREAD);
    coil_unref(f);
    FACT(!coil_loop_is_closed(loop));
    make_and_run_a_loop();
}

static void read_and_note(void *arg)
{
    char c;
    FACT_INT(read(fds[0], &c, 1), 1);
    note_arg(arg);
}

static void parent_still_works(void)
{
    FACT_INT(write(fds[1], "x", 1), 1);
    later(0, note_arg, "timer");
    one_turn();
    FACT_TRACE("reader timer");
}

static void watch_pipe(void)
{
    FACT_INT(pipe(fds), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], read_and_note, TEXT("reader")), 0);
    one_turn();
}

static void unwatch_pipe(void)
{
    coil_loop_remove_reader(stage.loop, fds[0]);
    close(fds[0]);
    close(fds[1]);
}

LOOP(fork_child_can_do_nothing_with_its_parents_loop)
{
    watch_pipe();
    FACT_INT(in_child(everything_is_refused), 0);
    parent_still_works();
    unwatch_pipe();
}

static void let_go_and_make_another(void)
{
    int before = stage_open_fds();
    coil_loop_fork_child(stage.loop);
    FACT(coil_loop_is_closed(stage.loop));
    FACT(stage_open_fds() < before);
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_ECLOSED);
    FACT_INT(coil_loop_call_soon(stage.loop, note_arg, NULL, NULL), COIL_ECLOSED);
    FACT_INT(coil_loop_close(stage.loop), 0);
    coil_loop_fork_child(stage.loop); /* twice is fine */
    coil_loop_fork_child(NULL);
    make_and_run_a_loop();
}

LOOP(fork_child_lets_go_of_what_it_shares)
{
    watch_pipe();
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *t = coil_create_task_opts(sleep_a_second, NULL, &opts);
    one_turn();
    FACT_INT(in_child(let_go_and_make_another), 0);
    coil_loop_fork_child(stage.loop); /* in the parent: nothing */
    FACT(!coil_loop_is_closed(stage.loop));
    parent_still_works();
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 0);
    coil_unref(t);
    unwatch_pipe();
}

#if STAGE_TABLE
static pid_t another_pid(void)
{
    return 1;
}

/* As in a child of a bare clone, which no fork handler was told of: the page is wiped, or getpid says something else. */
static void be_another_process(bool another)
{
    static unsigned before;
    if (another)
        before = atomic_exchange(coil__process_mark, 0);
    else
        atomic_store(coil__process_mark, before);
    coil__sys.getpid = another ? another_pid : coil__sys_real.getpid;
}

LOOP(fork_child_whom_nobody_told_is_refused_and_may_let_go)
{
    be_another_process(true);
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_EWRONGTHREAD);
    FACT_INT(coil_loop_close(stage.loop), COIL_EWRONGTHREAD);
    be_another_process(false);
    one_turn();
}

static void let_go_of_its_parents_run(void)
{
    int before = stage_open_fds();
    coil_loop_fork_child(stage.loop);
    FACT(stage_open_fds() < before); /* the wake-up's; there was no backend yet */
    FACT(coil_get_running_loop() == NULL);
    FACT(coil_loop_is_closed(stage.loop));
    make_and_run_a_loop();
}

LOOP(fork_child_lets_go_of_a_loop_that_never_turned)
{
    FACT_INT(in_child(let_go_of_its_parents_run), 0);
    one_turn();
}

/* fork's handlers do not run. */
static void clone_in_callback(void *arg)
{
    (void)arg;
    fflush(NULL);
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    FACT(pid >= 0);
    if (pid == 0) {
        stage.broken = 0;
        FACT(coil_get_running_loop() == stage.loop);
        let_go_of_its_parents_run();
        _exit(stage.broken ? 1 : 0);
    }
    int status;
    FACT(waitpid(pid, &status, 0) == pid);
    FACT_INT(status, 0);
}

LOOP(fork_child_of_a_bare_clone_leaves_its_parents_run)
{
    if (STAGE_TSAN || STAGE_ASAN) /* they have to be told of new processes, too */
        return;
    soon(clone_in_callback, NULL);
    one_turn();
    FACT(coil_get_running_loop() == NULL);
}
#endif

/* ---- inside a run ---- */

static void nothing_runs_here(void)
{
    FACT(coil_get_running_loop() == NULL);
    FACT(coil_get_event_loop() == NULL);
    FACT(coil_current_task() == NULL);
    FACT_INT(coil_sleep(0), COIL_ENOTASK);
    coil_loop_fork_child(stage.loop);
    make_and_run_a_loop();
}

static void fork_in_callback(void *arg)
{
    (void)arg;
    FACT_INT(in_child(nothing_runs_here), 0);
    FACT(coil_get_running_loop() == stage.loop);
}

LOOP(fork_in_a_callback_shares_no_running_loop)
{
    coil_set_event_loop(stage.loop);
    watch_pipe();
    soon(fork_in_callback, NULL);
    one_turn();
    parent_still_works();
    unwatch_pipe();
    coil_set_event_loop(NULL);
}

static coil_ret fork_in_task(void *arg)
{
    FACT_INT(coil_sleep(0.5), 0);
    fork_in_callback(arg);
    FACT(coil_current_task() != NULL);
    return coil_sleep(0.5);
}

LOOP(fork_in_a_task_shares_no_current_task)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *t = coil_create_task_opts(fork_in_task, NULL, &opts);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 0);
    coil_unref(t);
}

/* ---- children that do not leave ---- */

static bool in_the_child;

static void fork_and_return(void *arg)
{
    (void)arg;
    fflush(NULL);
    pid_t pid = fork();
    FACT(pid >= 0);
    in_the_child = pid == 0;
    if (pid > 0) {
        int status;
        FACT(waitpid(pid, &status, 0) == pid);
        FACT_INT(status, 0);
    }
}

/* The child comes back here too. */
static void child_leaves_with(int rc)
{
    if (!in_the_child)
        return;
    FACT_INT(rc, COIL_EWRONGTHREAD);
    FACT_ERROR(COIL_EWRONGTHREAD, "inherited by fork");
    FACT_TRACE("");
    FACT(coil_get_running_loop() == NULL);
    make_and_run_a_loop();
    _exit(stage.broken ? 1 : 0);
}

LOOP(fork_child_that_returns_from_a_callback_leaves_its_parents_run)
{
    watch_pipe();
    stage.broken = 0;
    soon(fork_and_return, NULL);
    soon(note_arg, "next");
    soon(stop_loop, stage.loop);
    int rc = coil_loop_run_forever(stage.loop);
    child_leaves_with(rc);
    FACT_INT(rc, 0);
    FACT_TRACE("next");
    parent_still_works();
    unwatch_pipe();
}

static coil_ret fork_and_return_from_a_task(void *arg)
{
    FACT_INT(coil_sleep(1), 0);
    fork_and_return(arg);
    return in_the_child ? coil_sleep(1) : 5;
}

static coil_ret say_next(void *arg)
{
    FACT_INT(coil_sleep(1), 0);
    note("next");
    return 0;
}

LOOP(fork_child_that_returns_from_a_task_leaves_its_parents_run)
{
    if (STAGE_TSAN) /* it loses the order of stacks in a child */
        return;
    watch_pipe();
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *t = coil_create_task_opts(fork_and_return_from_a_task, NULL, &opts);
    coil_task *other = coil_create_task_opts(say_next, NULL, &opts);
    coil_ret rc = coil_loop_run_until_complete(stage.loop, t);
    child_leaves_with((int)rc);
    FACT_INT(rc, 5);
    FACT_INT(coil_loop_run_until_complete(stage.loop, other), 0);
    FACT_TRACE("next");
    coil_unref(t);
    coil_unref(other);
    parent_still_works();
    unwatch_pipe();
}

#if STAGE_TABLE
static int rung;

static ssize_t count_writes(int fd, const void *p, size_t n)
{
    rung++;
    return coil__sys_real.write(fd, p, n);
}

static void nobody_is_rung_for(void)
{
    coil__sys.write = count_writes;
    FACT(coil_loop_timeout(stage.loop) == 0);
    FACT_INT(rung, 0);
}

LOOP(fork_child_that_asks_how_long_an_embedded_loop_may_sleep_touches_nothing)
{
    (void)coil_loop_fd(stage.loop);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, TEXT("posted"), NULL), 0);
    FACT_INT(in_child(nobody_is_rung_for), 0);
    one_turn();
    FACT_TRACE("posted");
}
#endif

#if defined(__GLIBC__) && !SYS_UNDER_TSAN
/* Ours comes before the C library's, so that it may be short of memory. (ThreadSanitizer asks it before it is ready.) */
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);
static bool no_memory_for_forks;

int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return no_memory_for_forks ? ENOMEM : __register_atfork(prepare, parent, child, NULL);
}

/* The first of all: whoever is told once is told for good. */
PLAIN(fork_that_nobody_would_hear_of_is_met_by_refusing_loops_and_signals)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    no_memory_for_forks = true;
    FACT(coil_new_event_loop(&opts) == NULL);
    FACT_ERROR(-ENOMEM, "");
    no_memory_for_forks = false;
    coil_loop *loop = coil_new_event_loop(&opts);
    FACT(loop != NULL);
    no_memory_for_forks = true;
    FACT_INT(coil_loop_add_signal_handler(loop, SIGUSR1, note_arg, NULL), -ENOMEM);
    no_memory_for_forks = false;
    FACT_INT(coil_loop_add_signal_handler(loop, SIGUSR1, note_arg, NULL), 0);
    coil_loop_free(loop);
}
#endif

LOOP(fork_child_that_returns_into_an_embedded_loop_touches_nothing)
{
    (void)coil_loop_fd(stage.loop); /* from then on the end of a turn tells the kernel things */
    soon(fork_and_return, NULL);
    soon(note_arg, "next");
    int rc = coil_loop_iterate(stage.loop);
    child_leaves_with(rc);
    FACT_INT(rc, 2);
    FACT_TRACE("next");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#if defined(__GLIBC__) && !SYS_UNDER_TSAN
        cmocka_unit_test(fork_that_nobody_would_hear_of_is_met_by_refusing_loops_and_signals),
#endif
        cmocka_unit_test(fork_child_can_do_nothing_with_its_parents_loop),
        cmocka_unit_test(fork_child_lets_go_of_what_it_shares),
#if STAGE_TABLE
        cmocka_unit_test(fork_child_whom_nobody_told_is_refused_and_may_let_go),
        cmocka_unit_test(fork_child_lets_go_of_a_loop_that_never_turned),
        cmocka_unit_test(fork_child_of_a_bare_clone_leaves_its_parents_run),
#endif
        cmocka_unit_test(fork_in_a_callback_shares_no_running_loop),
        cmocka_unit_test(fork_in_a_task_shares_no_current_task),
        cmocka_unit_test(fork_child_that_returns_from_a_callback_leaves_its_parents_run),
        cmocka_unit_test(fork_child_that_returns_from_a_task_leaves_its_parents_run),
#if STAGE_TABLE
        cmocka_unit_test(fork_child_that_asks_how_long_an_embedded_loop_may_sleep_touches_nothing),
#endif
        cmocka_unit_test(fork_child_that_returns_into_an_embedded_loop_touches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
