/* SPDX-License-Identifier: MIT
 *
 * processes.c: asyncio's own stories of subprocesses, by its names, and what each implies.
 *
 * A test that says shell_is_here() has no real child on `sim`: the story is told in virtual time. The others speak of what
 * only a real kernel has: environments, sessions, descriptors. */
#include "test.h"

#include "shell.h"

#include "base/sys.h"
#include "loop/loop.h"

#include <coil.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

/* ---- helpers ---- */

/* An error of a waiting call ends the test and says what it was. */
#define must(call)                                                         \
    __extension__({                                                        \
        coil_ret rc_ = (call);                                             \
        if (coil_iserr(rc_))                                               \
            fail_msg("%s: %s (%s)", #call, coil_errname(rc_),              \
                     coil_last_error() ? coil_last_error()->message : ""); \
        rc_;                                                               \
    })

#define PIPES(...) (&(coil_subprocess_opts){.size = sizeof(coil_subprocess_opts), __VA_ARGS__})

static coil_process *start(const char *const *argv, const coil_subprocess_opts *opts)
{
    coil_process *process;
    must(coil_create_subprocess_exec(argv, opts, &process));
    return process;
}

static coil_process *start_shell(const char *command, const coil_subprocess_opts *opts)
{
    coil_process *process;
    must(coil_create_subprocess_shell(command, opts, &process));
    return process;
}

static int end_of(coil_process *process)
{
    int code = 12345;
    must(coil_process_wait(process, &code));
    coil_process_unref(process);
    return code;
}

static int code_of(const coil_process *process)
{
    int code;
    assert_true(coil_process_returncode(process, &code));
    return code;
}

/* Is there such a process, dead or alive, that is ours to wait for? */
static bool is_left(pid_t pid)
{
    siginfo_t info;
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static bool is_imaginary(void)
{
    return coil__running_loop->backend->cls == &coil__backend_sim;
}

static const char *const cat[] = {"cat", NULL};

/* ---- processes with streams ---- */

COIL_TEST(test_stdin_stdout)
{
    shell_is_here();
    coil_process *p = start(cat, PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    const char *data;
    size_t n;
    must(coil_writer_write(coil_process_stdin(p), "some data", 9));
    must(coil_writer_drain(coil_process_stdin(p)));
    coil_writer_close(coil_process_stdin(p));
    must(coil_reader_read_all(coil_process_stdout(p), 0, &data, &n));
    assert_string_equal(data, "some data");
    assert_null(coil_process_stderr(p));
    assert_int_equal(end_of(p), 0);
}

COIL_TEST(test_communicate)
{
    shell_is_here();
    coil_process *p = start(cat, PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    coil_process_output output;
    must(coil_process_communicate(p, "some data", 9, &output));
    assert_string_equal(output.out, "some data");
    assert_int_equal(output.out_n, 9);
    assert_null(output.err);
    assert_int_equal(code_of(p), 0);
    coil_process_unref(p);
}

COIL_TEST(test_communicate_none_input)
{
    shell_is_here();
    coil_process *p = start(cat, PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    coil_process_output output;
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_int_equal(output.out_n, 0);
    assert_int_equal(code_of(p), 0);
    coil_process_unref(p);
}

COIL_TEST(test_subprocess_communicate_stdout)
{
    shell_is_here();
    coil_process *p = start_shell("echo out; echo err >&2",
                                  PIPES(.out = COIL_PIPE, .err = COIL_DEVNULL));
    coil_process_output output;
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_string_equal(output.out, "out\n");
    assert_null(output.err);
    coil_process_unref(p);
}

/* Far more than the pipes hold, in three directions at a time. */
COIL_TEST(communicate_of_megabytes_both_ways_is_no_deadlock)
{
    enum { MUCH = 3 << 20 };
    shell_is_here();
    char *input = malloc(MUCH);
    for (size_t i = 0; i < MUCH; i++)
        input[i] = (char)(i % 251);
    coil_process *p = start(cat, PIPES(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE));
    coil_process_output output;
    must(coil_process_communicate(p, input, MUCH, &output));
    assert_int_equal(output.out_n, MUCH);
    assert_memory_equal(output.out, input, MUCH);
    assert_int_equal(output.err_n, 0);
    assert_int_equal(code_of(p), 0);
    coil_process_unref(p);
    p = start(SH("head -c 1000000 /dev/zero; exec 1>&-; echo err >&2; cat"),
              PIPES(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE));
    must(coil_process_communicate(p, input, MUCH, &output));
    assert_int_equal(output.out_n, 1000000);
    assert_true(output.err_n >= 4);
    coil_process_unref(p);
    free(input);
}

static coil_ret communicate_in_task(void *arg)
{
    return coil_process_communicate(arg, NULL, 0, NULL);
}

COIL_TEST(communicate_that_is_cancelled_loses_no_byte)
{
    shell_is_here();
    coil_process *p = start(SH("echo one; echo two >&2; exec sleep 1000"),
                            PIPES(.out = COIL_PIPE, .err = COIL_PIPE));
    const char *line;
    coil_task *t = coil_create_task(communicate_in_task, p);
    while (coil_reader_buffered(coil_process_stdout(p)) < 4 ||
           coil_reader_buffered(coil_process_stderr(p)) < 4)
        must(coil_sleep(0.001));
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    must(coil_reader_readline(coil_process_stdout(p), &line, NULL));
    assert_string_equal(line, "one\n");
    must(coil_reader_readline(coil_process_stderr(p), &line, NULL));
    assert_string_equal(line, "two\n");
    coil_process_unref(p);
}

COIL_TEST(test_shell)
{
    shell_is_here();
    assert_int_equal(end_of(start_shell("exit 7", NULL)), 7);
}

COIL_TEST(test_start_new_session)
{
    coil_process *p = start_shell("exit 8", PIPES(.start_new_session = true));
    assert_int_equal(end_of(p), 8);
    p = start_shell("read x", PIPES(.in = COIL_PIPE, .start_new_session = true));
    assert_int_equal(getsid(coil_process_pid(p)), coil_process_pid(p));
    coil_process_kill(p);
    assert_int_equal(end_of(p), -SIGKILL);
    p = start_shell("read x", PIPES(.in = COIL_PIPE, .new_process_group = true));
    assert_int_equal(getpgid(coil_process_pid(p)), coil_process_pid(p));
    coil_process *member = start_shell("read x", PIPES(.in = COIL_PIPE, .new_process_group = true,
                                                       .process_group = coil_process_pid(p)));
    assert_int_equal(getpgid(coil_process_pid(member)), coil_process_pid(p));
    coil_process_kill(p);
    coil_process_kill(member);
    assert_int_equal(end_of(p), -SIGKILL);
    assert_int_equal(end_of(member), -SIGKILL);
}

COIL_TEST(test_kill)
{
    shell_is_here();
    coil_process *p = start(SH("read x"), PIPES(.in = COIL_PIPE));
    must(coil_process_kill(p));
    assert_int_equal(end_of(p), -SIGKILL);
}

/* A shell that starts others, and is killed while the other still runs. */
COIL_TEST(test_kill_issue43884)
{
    shell_is_here();
    coil_process *p = start(SH("(read x) & read x; exit 3"), PIPES(.in = COIL_PIPE));
    must(coil_sleep(0));
    must(coil_process_send_signal(p, SIGKILL));
    assert_int_equal(end_of(p), -SIGKILL);
}

COIL_TEST(test_terminate)
{
    shell_is_here();
    coil_process *p = start(SH("read x"), PIPES(.in = COIL_PIPE));
    must(coil_process_terminate(p));
    assert_int_equal(end_of(p), -SIGTERM);
}

COIL_TEST(test_send_signal)
{
    shell_is_here();
    coil_process *p = start(SH("trap \"exit 5\" USR1; echo sleeping; read x"),
                            PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    const char *line;
    must(coil_reader_readline(coil_process_stdout(p), &line, NULL)); /* the trap is set */
    assert_string_equal(line, "sleeping\n");
    must(coil_process_send_signal(p, SIGUSR1));
    assert_int_equal(end_of(p), 5);
}

/* More than the pipe holds, to a program that has closed it. */
COIL_TEST(test_stdin_broken_pipe)
{
    enum { MUCH = 1 << 20 };
    shell_is_here();
    char *data = calloc(1, MUCH);
    coil_process *p = start(SH("exec 0<&-; echo closed; exec 1>&-"),
                            PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    const char *all;
    size_t n;
    must(coil_reader_read_all(coil_process_stdout(p), 0, &all, &n));
    coil_ret rc = coil_writer_write(coil_process_stdin(p), data, MUCH);
    if (rc == 0)
        rc = coil_writer_drain(coil_process_stdin(p));
    assert_true(rc == -EPIPE || rc == -ECONNRESET);
    assert_int_equal(end_of(p), 0);
    free(data);
}

COIL_TEST(test_communicate_ignore_broken_pipe)
{
    enum { MUCH = 1 << 20 };
    shell_is_here();
    char *data = calloc(1, MUCH);
    coil_process *p = start(SH("exec 0<&-; exit 3"), PIPES(.in = COIL_PIPE));
    must(coil_process_communicate(p, data, MUCH, NULL));
    assert_int_equal(code_of(p), 3);
    coil_process_unref(p);
    /* It dies in the midst of it. */
    p = start(SH("head -c 70000; exit 4"), PIPES(.in = COIL_PIPE, .out = COIL_DEVNULL));
    must(coil_process_communicate(p, data, MUCH, NULL));
    assert_int_equal(code_of(p), 4);
    coil_process_unref(p);
    free(data);
}

/* Nobody reads: the pipe fills and the program waits, however much it has to say. */
COIL_TEST(test_pause_reading)
{
    enum { MUCH = 400000 };
    shell_is_here();
    coil_process *p = start(SH("head -c 400000 /dev/zero"), PIPES(.out = COIL_PIPE));
    must(coil_sleep(0.01));
    assert_false(coil_process_returncode(p, NULL));
    assert_true(coil_reader_buffered(coil_process_stdout(p)) == 0);
    coil_process_output output;
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_int_equal(output.out_n, MUCH);
    coil_process_unref(p);
}

/* Our end of one child's input is in no other child: closing it ends the first one. */
COIL_TEST(test_stdin_not_inheritable)
{
    coil_process *first = start(cat, PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    coil_process *second = start(cat, PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    coil_process_output output;
    must(coil_process_communicate(first, "12345", 5, &output));
    assert_string_equal(output.out, "12345");
    assert_int_equal(code_of(first), 0);
    coil_process_unref(first);
    must(coil_process_communicate(second, "6", 1, &output));
    coil_process_unref(second);
}

COIL_TEST(test_empty_input)
{
    shell_is_here();
    coil_process *p = start(cat, PIPES(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE));
    coil_process_output output;
    must(coil_process_communicate(p, "", 0, &output));
    assert_string_equal(output.out, "");
    assert_string_equal(output.err, "");
    assert_int_equal(code_of(p), 0);
    coil_process_unref(p);
}

COIL_TEST(test_devnull_input)
{
    shell_is_here();
    coil_process *p = start(cat, PIPES(.in = COIL_DEVNULL, .out = COIL_PIPE));
    coil_process_output output;
    assert_null(coil_process_stdin(p));
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_int_equal(output.out_n, 0);
    coil_process_unref(p);
}

COIL_TEST(test_devnull_output)
{
    shell_is_here();
    coil_process *p = start(SH("echo out; echo err >&2; head -c 300000 /dev/zero"),
                            PIPES(.out = COIL_DEVNULL, .err = COIL_PIPE));
    coil_process_output output;
    assert_null(coil_process_stdout(p));
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_null(output.out);
    assert_string_equal(output.err, "err\n");
    coil_process_unref(p);
}

COIL_TEST(test_devnull_error)
{
    shell_is_here();
    coil_process *p = start(SH("echo out; echo err >&2"),
                            PIPES(.out = COIL_PIPE, .err = COIL_DEVNULL));
    coil_process_output output;
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_string_equal(output.out, "out\n");
    assert_null(output.err);
    coil_process_unref(p);
}

/* A descriptor of one's own, that stays one's own. */
COIL_TEST(test_devstdin_input)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), ends[2];
    coil_process *p = start(cat, PIPES(.in = fd, .out = COIL_PIPE));
    coil_process_output output;
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_int_equal(output.out_n, 0);
    coil_process_unref(p);
    assert_int_equal(close(fd), 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    p = start(SH("echo into a pipe"), PIPES(.out = ends[1], .err = COIL_STDOUT));
    close(ends[1]);
    char text[32] = "";
    assert_int_equal(end_of(p), 0);
    assert_int_equal(read(ends[0], text, sizeof text - 1), 12);
    assert_string_equal(text, "into a pipe\n");
    assert_int_equal(read(ends[0], text, 1), 0);
    close(ends[0]);
}

static coil_ret wait_in_task(void *arg)
{
    return coil_process_wait(arg, NULL);
}

COIL_TEST(test_cancel_process_wait)
{
    shell_is_here();
    coil_process *p = start(SH("read x"), PIPES(.in = COIL_PIPE));
    coil_task *t = coil_create_task(wait_in_task, p);
    must(coil_sleep(0));
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    assert_false(coil_process_returncode(p, NULL));
    must(coil_process_kill(p));
    assert_int_equal(end_of(p), -SIGKILL);
}

static coil_ret start_in_task(void *arg)
{
    coil_process **out = arg;
    return coil_create_subprocess_exec(SH("read x"), PIPES(.in = COIL_PIPE), out);
}

COIL_TEST(test_cancel_make_subprocess_transport_exec)
{
    shell_is_here();
    coil_process *p = NULL;
    coil_task *t = coil_create_task(start_in_task, &p);
    must(coil_sleep(0));
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    assert_null(p); /* nothing was started */
}

static coil_ret given_up(void *arg)
{
    pid_t *pid = arg;
    coil_process *p;
    coil_ret rc = coil_create_subprocess_exec(SH("exec sleep 1000"), PIPES(.in = COIL_PIPE), &p);
    if (rc < 0)
        return rc;
    *pid = coil_process_pid(p);
    coil_process_unref(p);
    return 0;
}

COIL_TEST(a_process_that_is_given_up_is_killed_and_no_zombie)
{
    pid_t pid = 0;
    must(given_up(&pid));
    for (int i = 0; i < 5000 && is_left(pid); i++)
        must(coil_sleep(0.001));
    assert_false(is_left(pid));
}

COIL_TEST_PLAIN(a_loop_that_closes_kills_and_reaps_its_children)
{
    pid_t pid = 0;
    must(coil_run(given_up, &pid));
    assert_true(pid > 0);
    assert_false(is_left(pid));
}

static coil_ret left_running(void *arg)
{
    coil_process **out = arg;
    return coil_create_subprocess_exec(SH("exec sleep 1000"), NULL, out);
}

COIL_TEST_PLAIN(a_process_may_outlive_its_loop_as_an_object)
{
    coil_process *p;
    int code;
    must(coil_run(left_running, &p));
    assert_true(coil_process_returncode(p, &code));
    assert_int_equal(code, -SIGKILL);
    assert_false(is_left(coil_process_pid(p)));
    assert_int_equal(coil_process_kill(p), -ESRCH);
    coil_process_unref(p);
}

COIL_TEST(test_popen_error)
{
    coil_process *p;
    const char *const argv[] = {"/no/such/program", NULL};
    assert_int_equal(coil_create_subprocess_exec(argv, NULL, &p), -ENOENT);
    assert_non_null(strstr(coil_last_error()->message, "/no/such/program"));
}

COIL_TEST(test_popen_error_with_stdin_pipe)
{
    coil_process *p;
    const char *const argv[] = {"no-such-program-anywhere", NULL};
    for (int i = 0; i < 20; i++)
        assert_int_equal(coil_create_subprocess_exec(
                             argv, PIPES(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE), &p),
                         -ENOENT);
}

/* What was written before the end is there after it. */
COIL_TEST(test_read_stdout_after_process_exit)
{
    shell_is_here();
    coil_process *p = start(SH("head -c 30000 /dev/zero; echo the end"), PIPES(.out = COIL_PIPE));
    const char *data;
    size_t n;
    must(coil_process_wait(p, NULL));
    must(coil_reader_read_all(coil_process_stdout(p), 0, &data, &n));
    assert_int_equal(n, 30008);
    assert_string_equal(data + 30000, "the end\n");
    coil_process_unref(p);
}

COIL_TEST(test_create_subprocess_exec_with_path)
{
    const char *const env[] = {"PATH=/nowhere:/bin", NULL}, *const bad[] = {"PATH=/nowhere", NULL};
    coil_process *p;
    assert_int_equal(
        end_of(start((const char *const[]){"sh", "-c", "exit 6", NULL}, PIPES(.env = env))), 6);
    assert_int_equal(
        coil_create_subprocess_exec((const char *const[]){"sh", NULL}, PIPES(.env = bad), &p),
        -ENOENT);
}

COIL_TEST(test_create_subprocess_env_shell)
{
    const char *const env[] = {"FOO=bar", NULL};
    coil_process *p = start_shell("echo $FOO", PIPES(.env = env, .out = COIL_PIPE));
    coil_process_output output;
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_string_equal(output.out, "bar\n");
    coil_process_unref(p);
}

COIL_TEST(test_create_subprocess_env_exec)
{
    const char *const env[] = {"FOO=baz", NULL};
    coil_process *p = start(SH("echo $FOO$HOME"), PIPES(.env = env, .out = COIL_PIPE));
    coil_process_output output;
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_string_equal(output.out, "baz\n");
    coil_process_unref(p);
}

COIL_TEST(test_subprocess_concurrent_wait)
{
    enum { WAITERS = 5 };
    shell_is_here();
    coil_process *p = start(SH("exit 3"), NULL);
    coil_task *tasks[WAITERS];
    for (int i = 0; i < WAITERS; i++)
        tasks[i] = coil_create_task(wait_in_task, p);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(coil_join(tasks[i]), 0);
    assert_int_equal(end_of(p), 3);
}

/* Signals to something that may just have ended, and then to what certainly has. */
COIL_TEST(test_subprocess_send_signal_race)
{
    shell_is_here();
    for (int i = 0; i < 20; i++) {
        coil_process *p = start(SH("kill -TERM $$"), NULL);
        for (int k = 0; k < i; k++)
            must(coil_sleep(0));
        coil_ret rc = coil_process_send_signal(p, SIGTERM);
        assert_true(rc == 0 || (rc == -ESRCH && coil_process_returncode(p, NULL)));
        must(coil_process_wait(p, NULL));
        assert_int_equal(coil_process_terminate(p), -ESRCH);
        assert_int_equal(coil_process_kill(p), -ESRCH);
        assert_int_equal(end_of(p), -SIGTERM);
    }
}

/* CPython's bug B11: it waited for the pipes as well. */
COIL_TEST(wait_returns_though_a_grandchild_holds_the_pipes)
{
    shell_is_here();
    /* A real shell gives what runs in the background another stdin; it has ours as 3. */
    coil_process *p = start(is_imaginary()
                                ? SH("(read x; echo grandchild) & exit 4")
                                : SH("exec 3<&0; (read x <&3; echo grandchild) & exit 4"),
                            PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    int code;
    const char *line;
    must(coil_process_wait(p, &code));
    assert_int_equal(code, 4);
    coil_writer_close(coil_process_stdin(p));
    must(coil_reader_readline(coil_process_stdout(p), &line, NULL));
    assert_string_equal(line, "grandchild\n");
    assert_int_equal(must(coil_reader_readline(coil_process_stdout(p), &line, NULL)), 0);
    coil_process_unref(p);
}

static char reported[160];

static void note_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    snprintf(reported, sizeof reported, "%s", context->message);
}

COIL_TEST(test_sigchld_child_reaped_elsewhere)
{
    reported[0] = '\0';
    coil_loop_set_exception_handler(NULL, note_report, NULL);
    coil_process *p = start(SH("read x; exit 3"), PIPES(.in = COIL_PIPE));
    must(coil_process_kill(p));
    while (waitpid(coil_process_pid(p), NULL, 0) < 0 && errno == EINTR)
        ;
    assert_int_equal(end_of(p), 255);
    assert_non_null(strstr(reported, "somebody else"));
}

/* ---- processes with a protocol ---- */

struct log {
    char text[512];
    char bytes[3][256];
    size_t n[3];
    coil_subprocess_transport *t;
    int lost, exited;
    coil_ret made_says;
    bool closes_when_made;
    bool only_counts;
    size_t total[3];
};

static void note(struct log *log, const char *word)
{
    if (log->text[0])
        strcat(log->text, " ");
    strcat(log->text, word);
}

static coil_ret made(coil_subprocess_transport *t, void *arg)
{
    struct log *log = arg;
    log->t = t;
    note(log, "made");
    if (log->closes_when_made)
        coil_subprocess_close(t);
    return log->made_says;
}

static void lost(coil_subprocess_transport *t, void *arg)
{
    struct log *log = arg;
    log->lost++;
    note(log, "lost");
    assert_true(coil_subprocess_is_closing(t));
    log->t = NULL;
}

static coil_ret pipe_data(coil_subprocess_transport *t, int fd, const void *data, size_t n,
                          void *arg)
{
    struct log *log = arg;
    assert_int_equal(log->lost, 0);
    log->total[fd] += n;
    if (log->only_counts)
        return 0;
    assert_true(log->n[fd] + n < sizeof log->bytes[fd]);
    memcpy(log->bytes[fd] + log->n[fd], data, n);
    log->n[fd] += n;
    return 0;
}

static void pipe_lost(coil_subprocess_transport *t, int fd, coil_ret error, void *arg)
{
    char word[32];
    struct log *log = arg;
    snprintf(word, sizeof word, "pipe%d%s%s", fd, error ? ":" : "",
             error ? coil_errname(error) : "");
    note(log, word);
    assert_int_equal(log->lost, 0);
}

static void process_exited(coil_subprocess_transport *t, void *arg)
{
    struct log *log = arg;
    log->exited++;
    note(log, "exited");
    assert_int_equal(log->lost, 0);
    assert_true(coil_subprocess_returncode(t, NULL));
}

static coil_ret log_factory(const coil_subprocess_protocol **out_protocol, void **out_arg,
                            void *arg)
{
    static const coil_subprocess_protocol protocol = {
        .size = sizeof protocol,
        .connection_made = made,
        .connection_lost = lost,
        .pipe_data_received = pipe_data,
        .pipe_connection_lost = pipe_lost,
        .process_exited = process_exited,
    };
    *out_protocol = &protocol;
    *out_arg = arg;
    return 0;
}

static coil_subprocess_transport *open_on(struct log *log, const char *const *argv,
                                          const coil_subprocess_opts *opts)
{
    coil_subprocess_transport *t;
    void *arg;
    must(coil_loop_subprocess_exec(NULL, log_factory, log, argv, opts, &t, &arg));
    assert_ptr_equal(arg, log);
    assert_true(strncmp(log->text, "made", 4) == 0);
    return t;
}

static void until_lost(struct log *log)
{
    for (int i = 0; !log->lost; i++) {
        if (i == 5000)
            fail_msg("heard \"%s\", and no end", log->text);
        must(coil_sleep(0.001));
    }
    assert_int_equal(log->exited, 1);
    must(coil_sleep(0.002)); /* nothing follows */
    assert_int_equal(log->lost, 1);
    assert_string_equal(log->text + strlen(log->text) - 5, " lost");
}

static int code_and_unref(coil_subprocess_transport *t)
{
    int code;
    assert_true(coil_subprocess_returncode(t, &code));
    coil_subprocess_unref(t);
    return code;
}

static void say(coil_subprocess_transport *t, const char *text)
{
    must(coil_transport_write(coil_subprocess_pipe_transport(t, 0), text, strlen(text)));
}

static void until_heard(struct log *log, int fd, const char *text)
{
    for (int i = 0; strcmp(log->bytes[fd], text) != 0; i++) {
        if (i == 5000)
            fail_msg("heard \"%s\", not \"%s\"", log->bytes[fd], text);
        must(coil_sleep(0.001));
    }
}

COIL_TEST(test_subprocess_exec)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(
        &log, cat, PIPES(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE));
    assert_true(coil_subprocess_pid(t) > 0);
    assert_false(coil_subprocess_returncode(t, NULL));
    say(t, "Python The Winner");
    until_heard(&log, 1, "Python The Winner");
    coil_subprocess_close(t);
    assert_true(coil_subprocess_is_closing(t));
    until_lost(&log);
    assert_int_equal(code_and_unref(t), -SIGKILL);
}

COIL_TEST(test_subprocess_interactive)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, cat, PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    say(t, "Python ");
    until_heard(&log, 1, "Python ");
    say(t, "The Winner");
    until_heard(&log, 1, "Python The Winner");
    must(coil_transport_write_eof(coil_subprocess_pipe_transport(t, 0)));
    until_lost(&log);
    assert_null(coil_subprocess_pipe_transport(t, 0));
    assert_null(coil_subprocess_pipe_transport(t, 2));
    assert_null(coil_subprocess_pipe_transport(t, 3));
    assert_int_equal(code_and_unref(t), 0);
}

COIL_TEST(test_subprocess_shell)
{
    struct log log = {0};
    coil_subprocess_transport *t;
    shell_is_here();
    must(coil_loop_subprocess_shell(NULL, log_factory, &log, "echo Python", PIPES(.out = COIL_PIPE),
                                    &t, NULL));
    until_lost(&log);
    assert_string_equal(log.bytes[1], "Python\n");
    assert_int_equal(code_and_unref(t), 0);
}

COIL_TEST(test_subprocess_exitcode)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, SH("exit 7"), NULL);
    until_lost(&log);
    assert_string_equal(log.text, "made exited lost");
    assert_int_equal(code_and_unref(t), 7);
}

COIL_TEST(test_subprocess_close_after_finish)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, SH("exit 7"), NULL);
    until_lost(&log);
    coil_subprocess_close(t);
    must(coil_sleep(0.001));
    assert_int_equal(log.lost, 1);
    assert_int_equal(code_and_unref(t), 7);
}

COIL_TEST(test_subprocess_kill)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, SH("read x"), PIPES(.in = COIL_PIPE));
    must(coil_subprocess_kill(t));
    until_lost(&log);
    assert_int_equal(coil_subprocess_kill(t), -ESRCH);
    assert_int_equal(code_and_unref(t), -SIGKILL);
}

COIL_TEST(test_subprocess_terminate)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, SH("read x"), PIPES(.in = COIL_PIPE));
    must(coil_subprocess_terminate(t));
    until_lost(&log);
    assert_int_equal(code_and_unref(t), -SIGTERM);
}

COIL_TEST(test_subprocess_send_signal)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, SH("read x"), PIPES(.in = COIL_PIPE));
    must(coil_subprocess_send_signal(t, SIGHUP));
    until_lost(&log);
    assert_int_equal(code_and_unref(t), -SIGHUP);
}

COIL_TEST(test_subprocess_stderr)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, SH("echo out; echo err >&2; exit 2"),
                                           PIPES(.out = COIL_PIPE, .err = COIL_PIPE));
    until_lost(&log);
    assert_string_equal(log.bytes[1], "out\n");
    assert_string_equal(log.bytes[2], "err\n");
    assert_int_equal(code_and_unref(t), 2);
}

COIL_TEST(test_subprocess_stderr_redirect_to_stdout)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, SH("echo out; echo err >&2"),
                                           PIPES(.out = COIL_PIPE, .err = COIL_STDOUT));
    assert_null(coil_subprocess_pipe_transport(t, 2));
    until_lost(&log);
    assert_string_equal(log.bytes[1], "out\nerr\n");
    assert_int_equal(code_and_unref(t), 0);
}

/* The program finds its output closed. */
COIL_TEST(test_subprocess_close_client_stream)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, SH("exec yes"),
                                           PIPES(.out = COIL_PIPE, .err = COIL_PIPE));
    coil_transport_pause_reading(coil_subprocess_pipe_transport(t, 1));
    must(coil_sleep(0.001));
    coil_transport_close(coil_subprocess_pipe_transport(t, 1));
    until_lost(&log);
    assert_int_equal(code_and_unref(t), -SIGPIPE);
}

COIL_TEST(test_subprocess_wait_no_same_group)
{
    struct log log = {0};
    coil_subprocess_transport *t = open_on(&log, SH("exit 7"), PIPES(.start_new_session = true));
    until_lost(&log);
    assert_int_equal(code_and_unref(t), 7);
}

COIL_TEST(test_subprocess_exec_invalid_args)
{
    struct log log = {0};
    coil_subprocess_transport *t;
    const char *const nothing[] = {NULL};
    assert_int_equal(coil_loop_subprocess_exec(NULL, log_factory, &log, NULL, NULL, &t, NULL),
                     -EINVAL);
    assert_int_equal(coil_loop_subprocess_exec(NULL, log_factory, &log, nothing, NULL, &t, NULL),
                     -EINVAL);
    assert_int_equal(coil_loop_subprocess_exec(NULL, NULL, &log, cat, NULL, &t, NULL), -EINVAL);
    assert_int_equal(coil_loop_subprocess_exec(NULL, log_factory, &log, cat,
                                               PIPES(.out = COIL_STDOUT), &t, NULL),
                     -EINVAL);
    assert_string_equal(log.text, "");
}

COIL_TEST(test_subprocess_shell_invalid_args)
{
    struct log log = {0};
    coil_subprocess_transport *t;
    coil_process *p;
    assert_int_equal(coil_loop_subprocess_shell(NULL, log_factory, &log, NULL, NULL, &t, NULL),
                     -EINVAL);
    assert_int_equal(coil_create_subprocess_shell(NULL, NULL, &p), -EINVAL);
    assert_string_equal(log.text, "");
}

COIL_TEST(test_close_kill_running)
{
    struct log log = {.closes_when_made = true};
    shell_is_here();
    coil_subprocess_transport *t = open_on(&log, SH("exec sleep 1000"), PIPES(.in = COIL_PIPE));
    until_lost(&log);
    assert_int_equal(code_and_unref(t), -SIGKILL);
}

/* One whose end is known already gets no signal, though its pipe is still open. */
COIL_TEST(test_close_dont_kill_finished)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(
        &log, is_imaginary() ? SH("(read x) & exit 6") : SH("exec 3<&0; (read x <&3) & exit 6"),
        PIPES(.in = COIL_PIPE, .out = COIL_PIPE));
    for (int i = 0; !log.exited && i < 5000; i++)
        must(coil_sleep(0.001));
    assert_string_equal(log.text, "made exited");
    coil_subprocess_close(t);
    until_lost(&log);
    assert_int_equal(code_and_unref(t), 6);
}

COIL_TEST(test_subprocess_protocol_events)
{
    struct log log = {0};
    shell_is_here();
    coil_subprocess_transport *t = open_on(
        &log, SH("echo out; echo err >&2; exit 3"),
        PIPES(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE));
    until_lost(&log);
    assert_non_null(strstr(log.text, "pipe0"));
    assert_non_null(strstr(log.text, "pipe1"));
    assert_non_null(strstr(log.text, "pipe2"));
    assert_string_equal(log.bytes[1], "out\n");
    assert_string_equal(log.bytes[2], "err\n");
    assert_int_equal(code_and_unref(t), 3);
}

/* Far more than is read in one turn, by a program that is over long before. */
COIL_TEST(what_a_process_wrote_is_told_before_its_connection_is_lost)
{
    shell_is_here();
    for (int i = 0; i < 5; i++) {
        struct log log = {.only_counts = true};
        coil_subprocess_transport *t = open_on(
            &log, SH("head -c 300000 /dev/zero; echo err >&2; kill -KILL $$"),
            PIPES(.out = COIL_PIPE, .err = COIL_PIPE));
        if (i % 2) { /* it ends, and nobody has read yet */
            coil_transport_pause_reading(coil_subprocess_pipe_transport(t, 2));
            while (!log.exited)
                must(coil_sleep(0.001));
            coil_transport_resume_reading(coil_subprocess_pipe_transport(t, 2));
        }
        until_lost(&log);
        assert_int_equal(log.total[1], 300000);
        assert_int_equal(log.total[2], 4);
        assert_int_equal(code_and_unref(t), -SIGKILL);
    }
}

COIL_TEST(connection_made_that_fails_kills_and_is_told)
{
    struct log log = {.made_says = COIL_EUSER};
    coil_subprocess_transport *t = NULL;
    shell_is_here();
    assert_int_equal(coil_loop_subprocess_exec(NULL, log_factory, &log, SH("exec sleep 1000"),
                                               PIPES(.in = COIL_PIPE), &t, NULL),
                     COIL_EUSER);
    until_lost(&log);
    assert_null(t);
}

static coil_ret unwilling(const coil_subprocess_protocol **out_protocol, void **out_arg, void *arg)
{
    return COIL_EUSER;
}

COIL_TEST(a_factory_that_fails_leaves_no_process)
{
    coil_subprocess_transport *t;
    assert_int_equal(coil_loop_subprocess_exec(NULL, unwilling, NULL, SH("exec sleep 1000"),
                                               PIPES(.in = COIL_PIPE, .out = COIL_PIPE), &t, NULL),
                     COIL_EUSER);
    siginfo_t info;
    for (int i = 0; i < 5000 && waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0; i++)
        must(coil_sleep(0.001));
    assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1);
}

static coil_ret connect_in_task(void *arg)
{
    return coil_loop_subprocess_exec(NULL, log_factory, arg, SH("read x"), PIPES(.in = COIL_PIPE),
                                     NULL, NULL);
}

COIL_TEST(test_cancel_post_init)
{
    shell_is_here();
    for (int turns = 0; turns < 4; turns++) {
        struct log log = {0};
        coil_task *t = coil_create_task(connect_in_task, &log);
        for (int i = 0; i < turns; i++)
            must(coil_sleep(0));
        bool asked = coil_task_cancel(t, NULL);
        coil_ret rc = coil_join(t);
        assert_int_equal(rc, asked ? -ECANCELED : 0);
        for (int i = 0; log.text[0] && !log.lost && i < 5000; i++) {
            if (rc == 0 && log.t)
                coil_subprocess_close(log.t);
            must(coil_sleep(0.001));
        }
        assert_true(log.lost == 1 || !log.text[0]);
    }
}

static coil_ret left_with_a_grandchild(void *arg)
{
    struct log *log = arg;
    coil_ret rc = coil_loop_subprocess_exec(NULL, log_factory, log,
                                            SH("exec 3<&0; (read x <&3) & exit 6"),
                                            PIPES(.in = COIL_PIPE, .out = COIL_PIPE), NULL, NULL);
    for (int i = 0; rc == 0 && !log->exited && i < 5000; i++)
        rc = coil_sleep(0.001);
    return rc;
}

COIL_TEST_PLAIN(a_loop_that_closes_lets_go_of_transports)
{
    struct log log = {0};
    must(coil_run(left_with_a_grandchild, &log));
    assert_int_equal(log.exited, 1);
    assert_int_equal(log.lost, 0);
    log = (struct log){0};
    must(coil_run(connect_in_task, &log));
    assert_string_equal(log.text, "made");
}

COIL_TEST_MAIN()
