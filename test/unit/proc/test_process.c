/* SPDX-License-Identifier: MIT
 *
 * test_process.c: processes as objects: what is refused, who holds what for how long, what is told. */
#include "kids.h"

#include <coil/timeout.h>

#include <fcntl.h>
#include <unistd.h>

static int open_here(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- what is refused ---- */

COIL_TEST(process_of_nonsense_is_refused_by_name)
{
    coil_process *p = NULL;
    const int low[] = {2};
    const char *const nothing[] = {NULL};
    assert_int_equal(coil_create_subprocess_exec(NULL, NULL, &p), -EINVAL);
    assert_int_equal(coil_create_subprocess_exec(nothing, NULL, &p), -EINVAL);
    assert_int_equal(coil_create_subprocess_shell(NULL, NULL, &p), -EINVAL);
    assert_int_equal(coil_create_subprocess_exec(SH("exit 0"), OPTS(.in = COIL_STDOUT), &p),
                     -EINVAL);
    assert_int_equal(coil_create_subprocess_exec(SH("exit 0"), OPTS(.out = COIL_STDOUT), &p),
                     -EINVAL);
    assert_int_equal(
        coil_create_subprocess_exec(SH("exit 0"), OPTS(.in = COIL_PIPE, .err = -4), &p), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "err"));
    assert_int_equal(
        coil_create_subprocess_exec(SH("exit 0"), OPTS(.pass_fds = low, .pass_fds_n = 1), &p),
        -EINVAL);
    assert_int_equal(
        coil_create_subprocess_exec(SH("exit 0"),
                                    OPTS(.start_new_session = true, .new_process_group = true), &p),
        -EINVAL);
    assert_int_equal(coil_create_subprocess_exec(
                         SH("exit 0"), OPTS(.new_process_group = true, .process_group = -5), &p),
                     -EINVAL);
    assert_int_equal(
        coil_create_subprocess_exec(SH("exit 0"),
                                    OPTS(.new_process_group = true, .process_group = 1 << 22), &p),
        -EPERM);
    assert_non_null(strstr(coil_last_error()->message, "group"));
    assert_null(p);
    assert_false(has_kids());
}

/* A program that was built before a field was there. */
COIL_TEST(process_options_of_an_older_program)
{
    coil_subprocess_opts old = {.size = offsetof(coil_subprocess_opts, limit), .out = COIL_PIPE};
    old.cwd = "/no/such/place";
    coil_process_output output;
    coil_process *p = kid("echo fine", &old);
    must(coil_process_communicate(p, NULL, 0, &output));
    assert_string_equal(output.out, "fine\n");
    coil_process_unref(p);
}

static coil_process *found_outside;
static coil_ret said_outside[3];

static void from_a_callback(void *arg)
{
    coil_process *p;
    said_outside[0] = coil_create_subprocess_exec(SH("exit 0"), NULL, &p);
    said_outside[1] = coil_process_wait(found_outside, NULL);
    said_outside[2] = coil_process_communicate(found_outside, NULL, 0, NULL);
}

COIL_TEST(process_calls_that_wait_are_for_tasks)
{
    shell_is_here();
    found_outside = kid("read x", OPTS(.in = COIL_PIPE));
    assert_int_equal(coil_loop_call_soon(NULL, from_a_callback, NULL, NULL), 0);
    must(coil_sleep(0.001));
    for (int i = 0; i < 3; i++)
        assert_int_equal(said_outside[i], COIL_ENOTASK);
    must(coil_process_kill(found_outside)); /* that one does not wait */
    assert_int_equal(kid_ends(found_outside), -SIGKILL);
}

static coil_ret ask_from_another_loop(void *arg)
{
    assert_int_equal(coil_process_wait(arg, NULL), COIL_EWRONGLOOP);
    assert_int_equal(coil_process_communicate(arg, NULL, 0, NULL), COIL_EWRONGLOOP);
    return 0;
}

static coil_ret leave_one(void *arg)
{
    coil_process **out = arg;
    *out = kid("read x", OPTS(.in = COIL_PIPE));
    return 0;
}

COIL_TEST_PLAIN(process_of_another_loop_is_not_waited_for)
{
    coil_process *p;
    must(coil_run(leave_one, &p));
    must(coil_run(ask_from_another_loop, p));
    coil_process_unref(p);
}

COIL_TEST(process_without_a_pipe_takes_no_input)
{
    shell_is_here();
    coil_process *p = kid("exit 0", NULL);
    assert_int_equal(coil_process_communicate(p, "x", 1, NULL), -EINVAL);
    must(coil_process_communicate(p, NULL, 0, NULL));
    coil_process_unref(p);
    coil_process_unref(NULL);
}

static coil_ret read_one(void *arg)
{
    const char *line;
    return coil_reader_readline(coil_process_stdout(arg), &line, NULL);
}

COIL_TEST(process_whose_output_somebody_reads_is_not_communicated_with)
{
    shell_is_here();
    coil_process *p = kid("read x; exit 3", OPTS(.in = COIL_PIPE, .out = COIL_PIPE));
    coil_task *reads = coil_create_task(read_one, p);
    must(coil_sleep(0));
    assert_int_equal(coil_process_communicate(p, NULL, 0, NULL), COIL_ERUNNING);
    assert_int_equal(coil_join(reads), 0);
    assert_int_equal(kid_ends(p), 3);
}

/* ---- who holds what ---- */

COIL_TEST(process_whose_output_has_ended_holds_no_descriptor)
{
    coil_process *kids[40];
    const char *data;
    size_t n;
    assert_int_equal(kid_ends(kid("exit 0", NULL)), 0);
    must(coil_sleep(0.001));
    int before = open_here();
    for (int i = 0; i < 40; i++) {
        kids[i] = kid("echo x", OPTS(.out = COIL_PIPE));
        must(coil_reader_read_all(coil_process_stdout(kids[i]), 0, &data, &n));
        must(coil_process_wait(kids[i], NULL));
    }
    must(coil_sleep(0.001));
    assert_int_equal(open_here(), before);
    for (int i = 0; i < 40; i++)
        coil_process_unref(kids[i]);
}

static coil_ret wait_for(void *arg)
{
    int code = 0;
    coil_ret rc = coil_process_wait(arg, &code);
    return rc < 0 ? rc : -code;
}

COIL_TEST(process_given_up_while_somebody_waits_for_it)
{
    shell_is_here();
    coil_process *p = kid("exec sleep 1000", NULL);
    coil_task *waits = coil_create_task(wait_for, p);
    must(coil_sleep(0));
    coil_process_unref(p); /* and so it is killed */
    assert_int_equal(coil_join(waits), SIGKILL);
}

COIL_TEST(process_is_shared_until_the_last_one_lets_go)
{
    shell_is_here();
    coil_process *p = kid("read x", OPTS(.in = COIL_PIPE));
    assert_ptr_equal(coil_process_ref(p), p);
    coil_process_unref(p);
    must(coil_sleep(0.01));
    assert_false(coil_process_returncode(p, NULL));
    must(coil_process_terminate(p));
    assert_int_equal(kid_ends(p), -SIGTERM);
}

COIL_TEST(process_reader_may_outlive_the_process)
{
    shell_is_here();
    coil_process *p = kid("echo last words; exit 2", OPTS(.out = COIL_PIPE));
    coil_reader *r = coil_reader_ref(coil_process_stdout(p));
    const char *line;
    must(coil_reader_readline(r, &line, NULL));
    assert_string_equal(line, "last words\n");
    assert_int_equal(kid_ends(p), 2);
    must(coil_sleep(0));
    assert_int_equal(coil_reader_readline(r, &line, NULL), 0);
    coil_reader_unref(r);
}

static coil_ret many(void *arg)
{
    coil_process *p;
    int code;
    coil_ret rc = coil_create_subprocess_exec(SH("echo x; read x; exit 3"),
                                              OPTS(.in = COIL_PIPE, .out = COIL_PIPE), &p);
    if (rc < 0)
        return rc;
    rc = coil_process_communicate(p, NULL, 0, NULL);
    if (rc == 0)
        rc = coil_process_wait(p, &code);
    coil_process_unref(p);
    return rc < 0 ? rc : code;
}

COIL_TEST(three_hundred_processes_at_a_time)
{
    enum { MANY = 300 };
    shell_is_here();
    coil_future *tasks[MANY];
    coil_ret codes[MANY];
    for (int i = 0; i < MANY; i++)
        tasks[i] = coil_create_task(many, NULL);
    must(coil_gather(tasks, MANY, codes, COIL_UNREF));
    for (int i = 0; i < MANY; i++)
        assert_int_equal(codes[i], 3);
    assert_false(has_kids());
}

/* ---- what is told ---- */

static char reported[160], reported_kind[24];

static void note_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    snprintf(reported, sizeof reported, "%s", context->message);
    snprintf(reported_kind, sizeof reported_kind, "%s", context->kind);
}

COIL_TEST_WITH(process_given_up_while_it_runs_is_reported_in_debug_mode, .debug = true,
               .virtual_time = true)
{
    coil_loop_set_exception_handler(NULL, note_report, NULL);
    coil_loop_set_slow_callback_duration(
        NULL, 1e6); /* to start a process may take long, and be reported */
    reported[0] = '\0';
    shell_is_here();
    assert_int_equal(kid_ends(kid("exit 0", NULL)), 0);
    assert_string_equal(reported, "");
    char wanted[80];
    coil_process *reads = kid("read x", OPTS(.in = COIL_PIPE));
    snprintf(wanted, sizeof wanted, "process %d was given up while it runs: it is killed",
             (int)coil_process_pid(reads));
    coil_process_unref(reads);
    assert_string_equal(reported_kind, "unclosed");
    assert_string_equal(reported, wanted);
}

static coil_ret communicate(void *arg)
{
    coil_process_output output;
    return coil_process_communicate(arg, NULL, 0, &output);
}

/* Nobody may take what was read until then for all of it. */
COIL_TEST(communicate_says_so_when_its_own_task_is_cancelled)
{
    int hold[2];
    coil_task *tasks[3], *talk;
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    coil_process *p = kid("read x; echo o; echo e >&2",
                          OPTS(.in = hold[0], .out = COIL_PIPE, .err = COIL_PIPE));
    talk = coil_create_task(communicate, p);
    must(coil_sleep(0));
    must(coil_sleep(0));
    assert_int_equal(coil_all_tasks(NULL, tasks, 3), 3);
    for (int i = 0; i < 3; i++) {
        if (tasks[i] != talk && tasks[i] != coil_current_task())
            assert_true(coil_task_cancel(tasks[i], NULL));
        coil_unref(tasks[i]);
    }
    must(coil_sleep(0));
    close(hold[0]);
    close(hold[1]);
    assert_int_equal(coil_join(talk), -ECANCELED);
    kid_ends(p);
}

COIL_TEST(process_that_hangs_meets_a_deadline)
{
    shell_is_here();
    coil_process *p = kid("read x", OPTS(.in = COIL_PIPE));
    coil_timeout(deadline, 0.01);
    assert_int_equal(coil_timeout_exit(&deadline, coil_process_wait(p, NULL)), -ETIMEDOUT);
    must(coil_process_kill(p));
    assert_int_equal(kid_ends(p), -SIGKILL);
}

COIL_TEST_MAIN()
