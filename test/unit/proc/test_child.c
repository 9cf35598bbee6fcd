/* SPDX-License-Identifier: MIT
 *
 * test_child.c: one child: watched with and without pidfds, signalled, reaped once. All of it by real children. */
#include "kids.h"
#include "test.h"

#include "base/memcheck.h"
#include "base/thread.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a kernel without pidfds ---- */

static int pidfd_error;

static int begin_without_pidfd(int (*child)(void *arg), void *arg, bool copy, void *stack, size_t n,
                               int *out_pidfd)
{
    int pid = coil__sys_real.begin_child(child, arg, copy, stack, n, out_pidfd);
    if (*out_pidfd >= 0)
        close(*out_pidfd);
    *out_pidfd = -1;
    return pid;
}

static int no_pidfd(pid_t pid, unsigned flags)
{
    return pidfd_error;
}

static void forget_pidfds(int error)
{
    pidfd_error = error;
    coil__sys.begin_child = begin_without_pidfd;
    coil__sys.pidfd_open = no_pidfd;
}

static void back_to_normal(void)
{
    coil__sys = coil__sys_real;
}

COIL_TEST(child_is_watched_by_a_thread_where_there_are_no_pidfds)
{
    const int errors[] = {-ENOSYS, -EPERM, -EMFILE};
    for (int i = 0; i < 3; i++) {
        forget_pidfds(errors[i]);
        unsigned threads = coil__thread_count();
        coil_process *a = kid("exit 3", NULL), *b = kid("read x", OPTS(.in = COIL_PIPE));
        assert_true(coil__thread_count() > threads);
        assert_int_equal(kid_ends(a), 3);
        must(coil_process_terminate(b));
        assert_int_equal(kid_ends(b), -SIGTERM);
        back_to_normal();
        assert_int_equal(coil__thread_count(), threads);
        assert_false(has_kids());
    }
}

static coil_ret start_and_leave(void *arg)
{
    coil_process **out = arg;
    return coil_create_subprocess_exec(SH("read x"), OPTS(.in = COIL_PIPE), out);
}

COIL_TEST_PLAIN(child_watched_by_a_thread_goes_with_its_loop)
{
    coil_process *p;
    int code;
    forget_pidfds(-ENOSYS);
    must(coil_run(start_and_leave, &p));
    back_to_normal();
    assert_true(coil_process_returncode(p, &code));
    assert_int_equal(code, -SIGKILL);
    coil_process_unref(p);
    assert_false(has_kids());
}

/* Kernels of 5.3 wait by number. */
static int waitid_by_number(idtype_t type, id_t id, siginfo_t *info, int options)
{
    return type == P_PID ? coil__sys_real.waitid(type, id, info, options) : -EINVAL;
}

static int no_signal_by_pidfd(int pidfd, int signo)
{
    return -ENOSYS;
}

COIL_TEST(child_is_reaped_and_signalled_by_number_on_older_kernels)
{
    coil__sys.waitid = waitid_by_number;
    coil__sys.pidfd_send_signal = no_signal_by_pidfd;
    assert_int_equal(kid_ends(kid("exit 9", NULL)), 9);
    coil_process *p = kid("read x", OPTS(.in = COIL_PIPE));
    must(coil_process_kill(p));
    assert_int_equal(kid_ends(p), -SIGKILL);
    back_to_normal();
    assert_false(has_kids());
}

/* A thread that cannot be had, after the program was started. */
COIL_TEST(child_that_cannot_be_watched_is_killed_and_reaped)
{
    coil_process *p;
    forget_pidfds(-ENOSYS);
    for (int n = 1;; n++) {
        coil__mem_fail_at(n, 0);
        int64_t tried = coil__mem_tried();
        coil_ret rc = coil_create_subprocess_exec(SH("read x"), OPTS(.in = COIL_PIPE), &p);
        tried = coil__mem_tried() - tried;
        coil__mem_fail_at(0, 0);
        if (rc == 0) {
            must(coil_process_kill(p));
            assert_int_equal(kid_ends(p), -SIGKILL);
            if (tried < n)
                break;
            continue;
        }
        assert_int_equal(rc, -ENOMEM);
        assert_false(has_kids());
    }
    back_to_normal();
}

static int refusals;

static int no_more_watches(int ep, int op, int fd, struct epoll_event *ev)
{
    if (op == EPOLL_CTL_DEL)
        return coil__sys_real.epoll_ctl(ep, op, fd, ev);
    refusals++;
    return -ENOSPC;
}

/* /proc/sys/fs/epoll/max_user_watches: it is not asked for again and again. */
COIL_TEST(child_that_the_loop_cannot_watch_is_watched_by_a_thread)
{
    int hold[2];
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    refusals = 0;
    coil__sys.epoll_ctl = no_more_watches;
    coil_process *p = kid("read x; exit 4", OPTS(.in = hold[0]));
    for (int i = 0; i < 50; i++)
        must(coil_sleep(0));
    coil__sys.epoll_ctl = coil__sys_real.epoll_ctl;
    assert_in_range(refusals, 0, 3); /* other backends do not ask epoll */
    close(hold[0]);
    close(hold[1]);
    assert_int_equal(kid_ends(p), 4);
    assert_false(has_kids());
}

/* ---- reaped once, and only when it is over ---- */

static int not_yet; /* so often a descriptor that is readable means nothing */

static int waitid_later(idtype_t type, id_t id, siginfo_t *info, int options)
{
    if (not_yet > 0 && (options & WNOHANG)) {
        not_yet--;
        info->si_pid = 0;
        return 0;
    }
    return coil__sys_real.waitid(type, id, info, options);
}

COIL_TEST(child_that_is_not_over_after_all_is_watched_again)
{
    not_yet = 3;
    coil__sys.waitid = waitid_later;
    assert_int_equal(kid_ends(kid("exit 4", NULL)), 4);
    back_to_normal();
    assert_int_equal(not_yet, 0);
}

static int interrupted;

static int waitid_interrupted(idtype_t type, id_t id, siginfo_t *info, int options)
{
    return interrupted-- > 0 ? -EINTR : coil__sys_real.waitid(type, id, info, options);
}

COIL_TEST(child_is_reaped_over_interruptions)
{
    interrupted = 2;
    coil__sys.waitid = waitid_interrupted;
    assert_int_equal(kid_ends(kid("exit 4", NULL)), 4);
    back_to_normal();
}

/* ---- signals ---- */

COIL_TEST(signals_that_are_none_are_refused)
{
    shell_is_here();
    coil_process *p = kid("read x", OPTS(.in = COIL_PIPE));
    assert_int_equal(coil_process_send_signal(p, 1000), -EINVAL);
    assert_int_equal(coil_process_send_signal(p, -1), -EINVAL);
    must(coil_process_send_signal(p, 0)); /* it is there */
    must(coil_process_kill(p));
    must(coil_process_kill(p)); /* its end may not be known yet */
    assert_int_equal(kid_ends(p), -SIGKILL);
}

static char reported[200], reported_kind[24];

static void note_words(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    snprintf(reported, sizeof reported, "%s", context->message);
    snprintf(reported_kind, sizeof reported_kind, "%s", context->kind);
}

static long signals_by_number;

static int count_kill(pid_t pid, int signo)
{
    signals_by_number++;
    return coil__sys_real.kill(pid, signo);
}

/* The number of a process that somebody else waited for may be another's by now. */
COIL_TEST(a_signal_never_goes_to_a_number_that_was_used_again)
{
    if (memcheck_watches())
        skip();
    char wanted[120];
    reported[0] = reported_kind[0] = '\0';
    coil_loop_set_exception_handler(NULL, note_words, NULL);
    coil_process *p = kid("read x", OPTS(.in = COIL_PIPE));
    snprintf(wanted, sizeof wanted,
             "child process %d was waited for by somebody else: its returncode is taken to be 255",
             (int)coil_process_pid(p));
    signals_by_number = 0;
    coil__sys.kill = count_kill;
    must(coil_process_kill(p));
    while (waitpid(coil_process_pid(p), NULL, 0) < 0 && errno == EINTR)
        ;
    assert_int_equal(coil_process_kill(p), -ESRCH);
    back_to_normal();
    assert_int_equal(signals_by_number, 0);
    assert_int_equal(kid_ends(p), 255);
    assert_string_equal(reported_kind, "child-lost");
    assert_string_equal(reported, wanted);
}

/* A program may be started so: its children end all the same, and it is told why nobody knows how. */
COIL_TEST(child_ends_where_ends_are_ignored)
{
    if (!process_began_alone() && !UNDER_TSAN)
        return; /* an emulator does not pass on to the kernel that the signal is ignored */
    struct sigaction ignored[] = {{.sa_handler = SIG_IGN},
                                  {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT}},
                     before;
    coil_process *p;
    coil_loop_set_exception_handler(NULL, note_words, NULL);
    for (int i = 0; i < 4; i++) {
        if (i > 1)
            forget_pidfds(-ENOSYS);
        sigaction(SIGCHLD, &ignored[i % 2], &before);
        reported[0] = reported_kind[0] = '\0';
        p = kid("exit 3", NULL);
        int code = kid_ends(p);
        coil_ret rc = coil_create_subprocess_exec((const char *const[]){"/no/such/program", NULL},
                                                  NULL, &p);
        sigaction(SIGCHLD, &before, NULL);
        back_to_normal();
        assert_int_equal(code, 255);
        assert_string_equal(reported_kind, "child-lost");
        assert_memory_equal(reported, "child process ", 14);
        assert_non_null(strstr(reported, " ended while SIGCHLD is ignored here: its returncode is "
                                         "taken to be 255"));
        assert_int_equal(rc, -ENOENT);
        assert_false(has_kids());
    }
}

static int waitid_never(idtype_t type, id_t id, siginfo_t *info, int options)
{
    info->si_pid = 0;
    return 0;
}

static coil_ret leave_one_that_stays(void *out)
{
    coil_loop_set_exception_handler(NULL, note_words, NULL);
    return start_and_leave(out);
}

/* As one that sleeps in the kernel for good: nobody is kept from going on. */
COIL_TEST_PLAIN(child_that_does_not_end_when_its_loop_is_closed_is_told_of)
{
    coil_process *p;
    char wanted[80];
    int code;
    reported[0] = reported_kind[0] = '\0';
    coil__sys.waitid = waitid_never;
    must(coil_run(leave_one_that_stays, &p));
    back_to_normal();
    snprintf(wanted, sizeof wanted, "child process %d was killed and does not end",
             (int)coil_process_pid(p));
    assert_string_equal(reported_kind, "child-lost");
    assert_string_equal(reported, wanted);
    assert_true(coil_process_returncode(p, &code));
    assert_int_equal(code, 255);
    assert_int_equal(waitpid(coil_process_pid(p), NULL, 0), coil_process_pid(p));
    coil_process_unref(p);
    assert_false(has_kids());
}

/* ---- what the loop keeps ---- */

COIL_TEST(child_that_has_ended_is_nothing_to_the_loop)
{
    coil_loop *loop = coil__running_loop;
    size_t held = loop->held, wakers = loop->wakers, pending = loop->backend->pending;
    coil_process *p = kid("read x", OPTS(.in = COIL_PIPE));
    assert_int_equal(loop->wakers, wakers + 1); /* it may do something at any time */
    must(coil_process_kill(p));
    assert_int_equal(kid_ends(p), -SIGKILL);
    must(coil_sleep(0.001));
    assert_int_equal(loop->wakers, wakers);
    assert_int_equal(loop->held, held);
    assert_int_equal(loop->backend->pending, pending);
}

/* ---- after a fork ---- */

COIL_TEST(child_of_fork_has_no_hand_on_our_children)
{
    coil_process *p = kid("read x", OPTS(.in = COIL_PIPE));
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        bool refused = coil_process_kill(p) == COIL_EWRONGTHREAD;
        coil_process_unref(p);
        _exit(refused ? 7 : 1);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    must(coil_sleep(0.01));
    assert_false(coil_process_returncode(p, NULL));
    must(coil_process_terminate(p));
    assert_int_equal(kid_ends(p), -SIGTERM);
}

COIL_TEST_MAIN()
