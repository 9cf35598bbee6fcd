/* SPDX-License-Identifier: MIT
 *
 * test_spawn.c: what a child gets and what it does not: descriptors, signals, directory, ids; and what failed. All of it
 * by real children. */
#include "kids.h"

#include "base/memcheck.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const open_fds = "for f in /proc/self/fd/*; do echo ${f##*/}; done";

/* ---- descriptors ---- */

COIL_TEST(child_has_three_descriptors_whatever_the_program_has)
{
    char text[256];
    int loose = open("/dev/null", O_RDONLY); /* somebody forgot O_CLOEXEC */
    assert_true(loose > 2);
    /* The shell itself has one: the directory it reads. */
    kid_says(open_fds, OPTS(.in = COIL_PIPE, .err = COIL_PIPE), text, sizeof text);
    assert_string_equal(text, "0\n1\n2\n3\n");
    close(loose);
}

COIL_TEST(child_inherits_loose_descriptors_if_so_asked)
{
    char text[256], number[16];
    int loose = fcntl(0, F_DUPFD, 50), tight = fcntl(0, F_DUPFD_CLOEXEC, 60);
    kid_says(open_fds, OPTS(.in = COIL_PIPE, .inherit_fds = true), text, sizeof text);
    snprintf(number, sizeof number, "\n%d\n", loose);
    assert_non_null(strstr(text, number));
    snprintf(number, sizeof number, "\n%d\n", tight);
    assert_null(strstr(text, number));
    close(loose);
    close(tight);
}

COIL_TEST(child_is_passed_descriptors_under_their_numbers)
{
    int ends[2], far;
    char text[32] = "", script[64];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    far = fcntl(ends[1], F_DUPFD_CLOEXEC, 9);
    assert_true(far >= 9);
    close(ends[1]);
    snprintf(script, sizeof script, "echo through >&%d", far);
    const int pass[] = {far};
    if (far == 9) /* dash knows one digit */
        assert_int_equal(kid_ends(kid(script, OPTS(.pass_fds = pass, .pass_fds_n = 1))), 0);
    assert_int_equal(fcntl(far, F_GETFD), FD_CLOEXEC); /* here nothing changed */
    close(far);
    if (far == 9)
        assert_int_equal(read(ends[0], text, sizeof text), 8);
    close(ends[0]);
}

/* Numbers that are wanted for each other. */
COIL_TEST(child_may_have_its_descriptors_crossed)
{
    int a[2], b[2];
    char text[16] = "";
    int in = dup(0), out = dup(1);
    assert_int_equal(pipe2(a, O_CLOEXEC), 0);
    assert_int_equal(pipe2(b, O_CLOEXEC), 0);
    assert_int_equal(dup2(a[1], 0), 0); /* our 0 is a writing end, our 1 a reading one */
    assert_int_equal(dup2(b[0], 1), 1);
    assert_int_equal(write(b[1], "crossed\n", 8), 8);
    close(b[1]);
    int writes = fcntl(0, F_DUPFD_CLOEXEC, 3);
    coil_process *p;
    coil_ret rc = coil_create_subprocess_exec((const char *const[]){"cat", NULL},
                                              OPTS(.in = 1, .out = writes), &p);
    assert_int_equal(dup2(in, 0), 0);
    assert_int_equal(dup2(out, 1), 1);
    must(rc);
    assert_int_equal(kid_ends(p), 0);
    assert_int_equal(read(a[0], text, sizeof text), 8);
    assert_memory_equal(text, "crossed\n", 8);
    close(writes), close(in), close(out), close(a[0]), close(a[1]), close(b[0]);
}

COIL_TEST(child_of_a_program_without_stdio)
{
    int kept[3];
    char text[16] = "";
    int ends[2];
    for (int i = 0; i < 3; i++)
        kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 20);
    for (int i = 0; i < 3; i++)
        close(i);
    /* Whatever is opened meanwhile has the small numbers. */
    int made = pipe2(ends, O_CLOEXEC);
    coil_process *p = NULL;
    coil_ret rc = coil_create_subprocess_exec(
        SH("echo all the same"), OPTS(.in = COIL_PIPE, .out = ends[1], .err = COIL_STDOUT), &p);
    coil_ret waited = rc < 0 ? rc : coil_process_wait(p, NULL);
    coil_process_unref(p);
    coil_ret turned = coil_sleep(0);
    int in = fcntl(ends[0], F_DUPFD_CLOEXEC, 20);
    close(ends[0]);
    close(ends[1]);
    for (int i = 0; i < 3; i++) {
        dup2(kept[i], i);
        close(kept[i]);
    }
    assert_int_equal(made, 0);
    must(rc);
    must(waited);
    must(turned);
    assert_true(read(in, text, sizeof text) >= 13);
    assert_memory_equal(text, "all the same\n", 13);
    close(in);
}

COIL_TEST(child_finds_a_closed_descriptor_named)
{
    coil_process *p;
    const int pass[] = {987};
    assert_int_equal(coil_create_subprocess_exec(SH("exit 0"), OPTS(.out = 987), &p), -EBADF);
    assert_non_null(strstr(coil_last_error()->message, "stdout"));
    assert_int_equal(
        coil_create_subprocess_exec(SH("exit 0"), OPTS(.pass_fds = pass, .pass_fds_n = 1), &p),
        -EBADF);
    assert_non_null(strstr(coil_last_error()->message, "passed on"));
    assert_false(has_kids());
}

/* The lowest number there is: the next pipe would have it. */
COIL_TEST(child_gets_no_pipe_of_ours_for_a_descriptor_that_was_closed)
{
    coil_process *p;
    int fd = dup(0);
    close(fd);
    assert_int_equal(coil_create_subprocess_exec(
                         SH("exit 0"), OPTS(.in = COIL_PIPE, .out = fd, .err = COIL_PIPE), &p),
                     -EBADF);
    assert_int_equal(coil_create_subprocess_exec(
                         SH("exit 0"), OPTS(.in = COIL_PIPE, .pass_fds = &fd, .pass_fds_n = 1), &p),
                     -EBADF);
}

/* The same of 1 and 2, in a program that has none. */
COIL_TEST(child_gets_no_pipe_of_ours_for_an_output_that_was_closed)
{
    coil_process *p = NULL;
    coil_ret rc[3];
    int saved = fcntl(1, F_DUPFD_CLOEXEC, 20);
    close(1);
    rc[0] = coil_create_subprocess_exec(SH("exit 0"), OPTS(.in = COIL_PIPE, .err = 1), &p);
    rc[1] = coil_create_subprocess_exec(SH("exit 0"), OPTS(.in = COIL_PIPE, .err = COIL_STDOUT),
                                        &p);
    rc[2] = coil_create_subprocess_exec(SH("exit 0"), OPTS(.in = 1, .out = COIL_PIPE), &p);
    dup2(saved, 1);
    close(saved);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rc[i], -EBADF);
    assert_false(has_kids());
}

/* Kernels before 5.11 cannot mark them all at once. */
static int no_close_range(unsigned first, unsigned last, unsigned flags)
{
    return -ENOSYS;
}

COIL_TEST(child_has_three_descriptors_on_an_old_kernel)
{
    char text[256];
    int loose = open("/dev/null", O_RDONLY);
    coil__sys.close_range = no_close_range;
    kid_says(open_fds, OPTS(.in = COIL_PIPE), text, sizeof text);
    coil__sys.close_range = coil__sys_real.close_range;
    assert_string_equal(text, "0\n1\n2\n3\n");
    close(loose);
}

COIL_TEST(child_blocks_on_its_pipes_as_programs_expect)
{
    char text[256];
    /* O_NONBLOCK is 04000. */
    kid_says("while read k v; do case $k in flags:) echo $v;; esac; done </proc/self/fdinfo/1",
             OPTS(.in = COIL_PIPE), text, sizeof text);
    assert_int_equal(strtol(text, NULL, 8) & O_NONBLOCK, 0);
}

/* ---- signals ---- */

static void handler(int signo)
{
    (void)signo;
}

/* A mask as /proc shows it. */
static uint64_t mask_of(const char *which)
{
    char script[128], text[64];
    snprintf(script, sizeof script,
             "while read k v; do case $k in %s:) echo $v;; esac; done </proc/self/status", which);
    kid_says(script, OPTS(.in = COIL_DEVNULL), text, sizeof text);
    return strtoull(text, NULL, 16);
}

COIL_TEST(child_has_no_signal_blocked_or_caught)
{
    sigset_t some, before;
    struct sigaction mine = {.sa_handler = handler}, ignored = {.sa_handler = SIG_IGN}, usr1, usr2,
                     pipe;
    sigemptyset(&some);
    sigaddset(&some, SIGTERM);
    sigaddset(&some, SIGCHLD);
    sigprocmask(SIG_BLOCK, &some, &before);
    sigaction(SIGUSR1, &mine, &usr1);
    sigaction(SIGUSR2, &ignored, &usr2);
    sigaction(SIGPIPE, &ignored, &pipe);
    uint64_t blocked = mask_of("SigBlk"), caught = mask_of("SigCgt"), ignores = mask_of("SigIgn");
    sigset_t after;
    sigprocmask(SIG_SETMASK, &before, &after);
    sigaction(SIGUSR1, &usr1, NULL);
    sigaction(SIGUSR2, &usr2, NULL);
    sigaction(SIGPIPE, &pipe, NULL);
    assert_int_equal(blocked, 0);
    assert_int_equal(caught & (1u << (SIGUSR1 - 1)), 0);
    assert_int_equal(ignores & (1u << (SIGUSR2 - 1)), 1u << (SIGUSR2 - 1)); /* as nohup wants it */
    assert_int_equal(ignores & (1u << (SIGPIPE - 1)), 0);
    assert_true(sigismember(&after, SIGTERM) == 1); /* ours is as it was */
    assert_true(sigismember(&after, SIGUSR1) == 0);
}

/* ---- directory, ids ---- */

COIL_TEST(child_runs_in_its_directory)
{
    char text[64];
    kid_says("pwd", OPTS(.cwd = "/proc"), text, sizeof text);
    assert_string_equal(text, "/proc\n");
    coil_process *p;
    assert_int_equal(coil_create_subprocess_exec(SH("pwd"), OPTS(.cwd = "/no/such/place"), &p),
                     -ENOENT);
    assert_non_null(strstr(coil_last_error()->message, "/no/such/place"));
    assert_int_equal(coil_create_subprocess_exec(SH("pwd"), OPTS(.cwd = "/dev/null"), &p),
                     -ENOTDIR);
    assert_false(has_kids());
}

COIL_TEST(child_has_the_umask_it_was_given)
{
    char text[16];
    mode_t ours = umask(022);
    kid_says("umask", OPTS(.set_umask = true, .umask = 0), text, sizeof text);
    assert_string_equal(text, "0000\n");
    kid_says("umask", OPTS(.umask = 077), text, sizeof text); /* not asked for */
    assert_string_equal(text, "0022\n");
    umask(ours);
}

COIL_TEST(child_becomes_another_user)
{
    char text[64];
    const gid_t groups[] = {1234, 5678};
    const coil_subprocess_opts *opts = OPTS(.set_user = true, .user = 65534, .set_group = true,
                                            .group = 65533, .set_extra_groups = true,
                                            .extra_groups = groups, .extra_groups_n = 2);
    if (geteuid() != 0) {
        coil_process *p;
        assert_int_equal(coil_create_subprocess_exec(SH("id"), opts, &p), -EPERM);
        assert_non_null(strstr(coil_last_error()->message, "user"));
        return;
    }
    kid_says("echo $(id -u) $(id -g) $(id -G)", opts, text, sizeof text);
    assert_string_equal(text, "65534 65533 65533 1234 5678\n");
    assert_int_equal(getuid(), 0);
}

/* ---- what is run ---- */

static void make_file(char *path, const char *name, const char *text, mode_t mode)
{
    snprintf(path + strlen(path), 32, "/%s", name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

COIL_TEST(program_is_looked_for_along_the_path_it_will_have)
{
    char one[64] = "/tmp/coil-test-XXXXXX", two[64] = "/tmp/coil-test-XXXXXX", path[256];
    assert_non_null(mkdtemp(one));
    assert_non_null(mkdtemp(two));
    char file_one[128], file_two[128];
    strcpy(file_one, one);
    strcpy(file_two, two);
    make_file(file_one, "prog", "#!/bin/sh\nexit 1\n", 0644); /* may not be run */
    make_file(file_two, "prog", "#!/bin/sh\nexit 22\n", 0755);
    snprintf(path, sizeof path, "PATH=/no/such/place:%s:%s/:", one, two);
    const char *env[] = {path, NULL};
    const char *const argv[] = {"prog", NULL};
    coil_process *p;
    must(coil_create_subprocess_exec(argv, OPTS(.env = env), &p));
    assert_int_equal(kid_ends(p), 22);
    /* Alone, the one that may not be run is what is told. */
    if (geteuid() != 0 || access(file_one, X_OK) != 0) {
        snprintf(path, sizeof path, "PATH=%s:/no/such/place", one);
        assert_int_equal(coil_create_subprocess_exec(argv, OPTS(.env = env), &p), -EACCES);
    }
    /* A place that leads in circles, or has a name that is too long, is none. */
    char circle[128], wide[600];
    snprintf(circle, sizeof circle, "%s/circle", one);
    assert_int_equal(symlink("circle", circle), 0);
    snprintf(wide, sizeof wide, "PATH=/%0*d:%s:%s", 300, 0, circle, two);
    const char *wide_env[] = {wide, NULL};
    must(coil_create_subprocess_exec(argv, OPTS(.env = wide_env), &p));
    assert_int_equal(kid_ends(p), 22);
    snprintf(path, sizeof path, "PATH=%s:/no/such/place", circle);
    assert_int_equal(coil_create_subprocess_exec(argv, OPTS(.env = env), &p), -ELOOP);
    unlink(circle);
    /* An empty place is the current directory. */
    snprintf(path, sizeof path, "PATH=");
    must(coil_create_subprocess_exec(argv, OPTS(.env = env, .cwd = two), &p));
    assert_int_equal(kid_ends(p), 22);
    /* What it is called is one thing, which file it is another. */
    must(coil_create_subprocess_exec((const char *const[]){"nick", NULL},
                                     OPTS(.executable = file_two), &p));
    assert_int_equal(kid_ends(p), 22);
    unlink(file_one), unlink(file_two), rmdir(one), rmdir(two);
}

COIL_TEST(what_cannot_be_run_says_why)
{
    char dir[64] = "/tmp/coil-test-XXXXXX", file[128];
    coil_process *p;
    assert_non_null(mkdtemp(dir));
    strcpy(file, dir);
    make_file(file, "text", "no program\n", 0755);
    assert_int_equal(coil_create_subprocess_exec((const char *const[]){file, NULL}, NULL, &p),
                     -ENOEXEC);
    assert_int_equal(coil_create_subprocess_exec((const char *const[]){dir, NULL}, NULL, &p),
                     -EACCES);
    assert_int_equal(coil_create_subprocess_exec((const char *const[]){"", NULL}, NULL, &p),
                     -ENOENT);
    strcat(file, "/under");
    assert_int_equal(coil_create_subprocess_exec((const char *const[]){file, NULL}, NULL, &p),
                     -ENOTDIR);
    file[strlen(file) - 6] = '\0';
    unlink(file);
    rmdir(dir);
    assert_false(has_kids());
    if (memcheck_watches()) /* it dies of an execve that fails late */
        return;
    /* One argument may have 128 KiB. */
    char *much = malloc(300000);
    memset(much, 'x', 299999);
    much[299999] = '\0';
    assert_int_equal(
        coil_create_subprocess_exec((const char *const[]){"true", much, NULL}, NULL, &p), -E2BIG);
    assert_non_null(strstr(coil_last_error()->message, "true"));
    const char *const env[] = {much, NULL};
    assert_int_equal(coil_create_subprocess_exec(SH("exit 0"), OPTS(.env = env), &p), -E2BIG);
    free(much);
    assert_false(has_kids());
}

static ssize_t interrupted_once(int fd, const void *data, size_t n)
{
    coil__sys.write = coil__sys_real.write;
    return -EINTR;
}

COIL_TEST(what_cannot_be_run_says_why_over_an_interruption)
{
    coil_process *p;
    coil__sys.write = interrupted_once; /* the child's only one, and our first */
    coil_ret rc = coil_create_subprocess_exec((const char *const[]){"/no/such/program", NULL}, NULL,
                                              &p);
    coil__sys = coil__sys_real;
    assert_int_equal(rc, -ENOENT);
    assert_false(has_kids());
}

/* ---- one failure at every call ---- */

static struct {
    long calls, fails_at;
    int error;
} kernel;

static bool must_fail(void)
{
    return ++kernel.calls == kernel.fails_at;
}

#define FAILING(type, name, params, args)                              \
    static type failing_##name params                                  \
    {                                                                  \
        return must_fail() ? -kernel.error : coil__sys_real.name args; \
    }
FAILING(int, socketpair, (int domain, int type, int proto, int out[2]), (domain, type, proto, out))
FAILING(int, pipe2, (int out[2], int flags), (out, flags))
FAILING(int, fcntl, (int fd, int cmd, intptr_t arg), (fd, cmd, arg))
FAILING(int, mmap, (size_t n, int prot, int flags, void **out), (n, prot, flags, out))
FAILING(int, sigprocmask, (int how, const sigset_t *set, sigset_t *old), (how, set, old))
FAILING(int, begin_child,
        (int (*child)(void *arg), void *arg, bool copy, void *stack, size_t n, int *out_pidfd),
        (child, arg, copy, stack, n, out_pidfd))
FAILING(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))
FAILING(int, dup2, (int from, int to), (from, to))
FAILING(int, chdir, (const char *path), (path))
FAILING(int, openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))

static void arm(long n, int error)
{
    kernel.calls = 0;
    kernel.fails_at = n;
    kernel.error = error;
    coil__sys.socketpair = failing_socketpair;
    coil__sys.pipe2 = failing_pipe2;
    coil__sys.fcntl = failing_fcntl;
    coil__sys.mmap = failing_mmap;
    coil__sys.sigprocmask = failing_sigprocmask;
    coil__sys.begin_child = failing_begin_child;
    coil__sys.epoll_ctl = failing_epoll_ctl;
    coil__sys.dup2 = failing_dup2;
    coil__sys.chdir = failing_chdir;
    coil__sys.openat = failing_openat;
}

static void disarm(void)
{
    coil__sys = coil__sys_real;
}

static int open_here(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* At each of them once: an error and nothing left, or it was survived. */
COIL_TEST(spawn_survives_a_failure_of_each_call)
{
    long failures = 0;
    coil_process *p;
    assert_int_equal(kid_ends(kid("exit 0", NULL)), 0);
    must(coil_sleep(0.001));
    int before = open_here();
    for (long n = 1;; n++) {
        arm(n, n % 2 ? EMFILE : ENOMEM);
        coil_ret rc = coil_create_subprocess_exec(
            SH("echo x; exit 5"),
            OPTS(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_DEVNULL, .cwd = "/"), &p);
        long calls = kernel.calls;
        disarm();
        if (rc < 0) {
            failures++;
            assert_true(rc == -EMFILE || rc == -ENOMEM);
            assert_int_equal(open_here(), before); /* at once, not in some later turn */
            assert_false(has_kids());
        } else {
            assert_int_equal(kid_ends(p), 5);
            until_no_kids();
            must(coil_sleep(0.001));
        }
        if (rc >= 0 && calls < n)
            break;
    }
    assert_true(failures >= 8);
}

static void spawn_once(void *arg)
{
    coil_process *p;
    coil_ret rc = coil_create_subprocess_exec(
        SH("exit 5"), OPTS(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE), &p);
    assert_true(rc == 0 || rc == -ENOMEM);
    if (rc == 0)
        assert_int_equal(kid_ends(p), 5);
    for (int i = 0; i < 3; i++)
        coil_ignore(coil_sleep(0));
    (void)arg;
}

static coil_ret spawn_in_task(void *arg)
{
    spawn_once(arg);
    return 0;
}

/* ---- the same with a protocol ---- */

static int protocols, losses;

static void lost(coil_subprocess_transport *t, void *arg)
{
    losses++;
}

static coil_ret factory(const coil_subprocess_protocol **out_protocol, void **out_arg, void *arg)
{
    static const coil_subprocess_protocol protocol = {.size = sizeof protocol,
                                                      .connection_lost = lost};
    *out_protocol = &protocol;
    protocols++;
    return 0;
}

static coil_ret connect_pipes(void)
{
    coil_subprocess_transport *t;
    coil_ret rc = coil_loop_subprocess_exec(
        NULL, factory, NULL, SH("echo x; exit 5"),
        OPTS(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE), &t, NULL);
    if (rc == 0)
        coil_subprocess_unref(t);
    return rc;
}

/* Who was made is told of the end. */
COIL_TEST(subprocess_survives_a_failure_of_each_call)
{
    long failures = 0;
    protocols = losses = 0;
    must(connect_pipes());
    for (int i = 0; i < 5000 && losses < protocols; i++)
        must(coil_sleep(0.001));
    int before = open_here();
    for (long n = 1;; n++) {
        arm(n, n % 2 ? EMFILE : ENOMEM);
        coil_ret rc = connect_pipes();
        long calls = kernel.calls;
        disarm();
        failures += rc < 0;
        assert_true(rc == 0 || rc == -EMFILE || rc == -ENOMEM);
        for (int i = 0; i < 5000 && losses < protocols; i++)
            must(coil_sleep(0.001));
        assert_int_equal(losses, protocols);
        assert_int_equal(open_here(), before);
        assert_false(has_kids());
        if (rc == 0 && calls < n)
            break;
    }
    assert_true(failures >= 8);
}

static coil_ret connect_in_task(void *arg)
{
    coil_ret rc = connect_pipes();
    assert_true(rc == 0 || rc == -ENOMEM);
    for (int i = 0; i < 5000 && losses < protocols; i++)
        coil_ignore(coil_sleep(0.001));
    assert_int_equal(losses, protocols);
    return 0;
}

static void hear_nothing(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context, (void)arg;
}

static void run_in_a_loop(coil_fn fn)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    if (!loop)
        return;
    coil_loop_set_exception_handler(loop, hear_nothing, NULL);
    coil_task *task = NULL;
    coil_set_event_loop(loop);
    task = coil_create_task(fn, NULL);
    coil_ignore(coil_loop_run_until_complete(loop, task));
    coil_unref(task);
    coil_loop_free(loop);
}

static void spawn_in_a_loop(void *arg)
{
    run_in_a_loop(spawn_in_task);
}

static void connect_in_a_loop(void *arg)
{
    run_in_a_loop(connect_in_task);
}

COIL_TEST_PLAIN(subprocess_survives_failing_allocations)
{
    assert_true(sweep_allocations(connect_in_a_loop, NULL) > 5);
    assert_false(has_kids());
}

COIL_TEST_PLAIN(spawn_survives_failing_allocations)
{
    assert_true(sweep_allocations(spawn_in_a_loop, NULL) > 5);
    assert_false(has_kids());
}

COIL_TEST_MAIN()
