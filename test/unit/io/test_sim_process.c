/* SPDX-License-Identifier: MIT
 *
 * test_sim_process.c: imaginary processes: steps, shared files, signals, ends. */
#include "world.h"

#include "io/sim/sim.h"

#include <signal.h>
#include <stdlib.h>

#define WORLD                        \
    struct world world, *w = &world; \
    assert_int_equal(world_try_open(w, &coil__backend_sim, 7), 0)

/* ---- programs ---- */

static void copy_step(struct sim_process *p)
{
    char buf[100];
    for (;;) {
        ssize_t n = coil__process_read(p, 0, buf, sizeof buf);
        if (n == -EAGAIN)
            return;
        if (n <= 0)
            break;
        assert_int_equal(coil__process_write(p, 1, buf, (size_t)n), n);
    }
    coil__process_exit(p, 3);
}

static void nap_step(struct sim_process *p)
{
    int64_t *until = coil__process_state(p);
    if (*until == 0)
        *until = coil__process_now_ns(p) + 3600 * NS_PER_S;
    if (coil__process_now_ns(p) >= *until)
        coil__process_exit(p, 0);
    else
        coil__process_sleep(p, *until - coil__process_now_ns(p));
}

static int caught;

static void catch_step(struct sim_process *p)
{
    coil__process_catch(p, SIGTERM);
    for (int signo; (signo = coil__process_caught(p));)
        caught = signo;
}

static void flood_step(struct sim_process *p)
{
    while (coil__process_write(p, 1, "flood", 5) == 5)
        ;
}

static ssize_t written, read_back;

/* Tries what it was given, each of which is no stream, and what it was not given. */
static void try_step(struct sim_process *p)
{
    char byte = 'x';
    written = coil__process_write(p, 1, &byte, 1);
    read_back = coil__process_read(p, 1, &byte, 1);
    assert_int_equal(coil__process_write(p, 9, &byte, 1), -EBADF);
    assert_int_equal(coil__process_read(p, 9, &byte, 1), -EBADF);
    coil__process_close(p, 9);
    coil__process_close(p, 1);
    assert_int_equal(coil__process_write(p, 1, &byte, 1), -EBADF);
    coil__process_exit(p, 0);
}

static const struct sim_program copy = {"copy", copy_step, 0};
static const struct sim_program tries = {"try", try_step, 0};
static const struct sim_program nap = {"nap", nap_step, sizeof(int64_t)};
static const struct sim_program catching = {"catch", catch_step, 0};
static const struct sim_program flood = {"flood", flood_step, 0};

static void fork_step(struct sim_process *p)
{
    assert_true(coil__process_fork(p, &copy, coil__process_argv(p)) > 0);
    coil__process_exit(p, 1);
}

static const struct sim_program forks = {"fork", fork_step, 0};

static void programs(struct world *w)
{
    const struct sim_program *all[] = {&copy, &nap, &catching, &flood, &forks, &tries};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_int_equal(coil__sim_program(w->b, all[i]), 0);
}

static int try_start(struct world *w, const char *file, int in, int out, struct child_id *child)
{
    const char *const argv[] = {file, NULL};
    const struct child_plan plan = {.file = file, .argv = argv, .fds = {in, out, CHILD_INHERITS}};
    enum child_step step;
    return w->cls->children->spawn(w->b, &plan, child, &step);
}

static struct child_id start(struct world *w, const char *file, int in, int out)
{
    struct child_id child;
    assert_true(w->cls->children->knows(w->b, file));
    assert_int_equal(try_start(w, file, in, out, &child), 0);
    return child;
}

static int end_of(struct world *w, const struct child_id *child)
{
    int code = 0;
    struct test_op over = poll_op(child->fd, OP_IN, 0);
    submit(w, &over);
    run_until(w, &over, 1);
    assert_int_equal(w->cls->children->reap(w->b, child, &code), 0);
    assert_int_equal(w->cls->children->reap(w->b, child, &code), -ECHILD);
    close_fd(w, child->fd);
    return code;
}

/* ---- tests ---- */

static void a_program_is_fed_and_ends_with_its_input(void **state)
{
    WORLD;
    int in[2], out[2], code;
    char buf[16] = "";
    programs(w);
    assert_int_equal(w->calls->pipe(w->b, in), 0);
    assert_int_equal(w->calls->pipe(w->b, out), 0);
    struct child_id child = start(w, "copy", in[0], out[1]);
    close_fd(w, in[0]); /* the child has them still */
    close_fd(w, out[1]);
    struct test_op r = {
        .op = {.done = on_done, .fd = out[0], .kind = OP_READ, .buf = {buf, 16, 0}}};
    submit(w, &r);
    assert_int_equal(w->calls->write(w->b, in[1], "through", 7), 7);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 7);
    assert_string_equal(buf, "through");
    assert_int_equal(w->cls->children->reap(w->b, &child, &code), -EAGAIN);
    close_fd(w, in[1]);
    assert_int_equal(end_of(w, &child), 3);
    assert_int_equal(w->calls->read(w->b, out[0], buf, 16), 0);
    close_fd(w, out[0]);
    world_close(w);
}

static void a_program_sleeps_in_virtual_time(void **state)
{
    WORLD;
    programs(w);
    int64_t before = w->clock.virtual_ns;
    struct child_id child = start(w, "nap", CHILD_NULL, CHILD_NULL);
    assert_int_equal(end_of(w, &child), 0);
    assert_true(w->clock.virtual_ns - before >= 3600 * NS_PER_S);
    world_close(w);
}

static void signals_end_a_program_or_are_caught(void **state)
{
    WORLD;
    programs(w);
    const struct imaginary_children *children = w->cls->children;
    struct child_id plain = start(w, "nap", CHILD_NULL, CHILD_NULL);
    assert_int_equal(children->kill(w->b, &plain, 0), 0);
    assert_int_equal(children->kill(w->b, &plain, 65), -EINVAL);
    assert_int_equal(children->kill(w->b, &plain, SIGSTOP), 0);
    assert_int_equal(children->kill(w->b, &plain, SIGCONT), 0);
    assert_int_equal(children->kill(w->b, &plain, SIGTERM), 0);
    assert_int_equal(children->kill(w->b, &plain, SIGTERM), 0); /* not reaped yet */
    assert_int_equal(end_of(w, &plain), -SIGTERM);

    struct child_id deaf = start(w, "catch", CHILD_NULL, CHILD_NULL);
    struct test_op over = poll_op(deaf.fd, OP_IN, 0);
    submit(w, &over);
    caught = 0;
    turn(w, NS_PER_S);
    assert_int_equal(children->kill(w->b, &deaf, SIGTERM), 0);
    for (int i = 0; i < 10 && !caught; i++)
        turn(w, NS_PER_S);
    assert_int_equal(caught, SIGTERM);
    assert_int_equal(over.done, 0);
    assert_int_equal(cancel(w, &over), 0);
    assert_int_equal(children->kill(w->b, &deaf, SIGKILL), 0);
    assert_int_equal(end_of(w, &deaf), -SIGKILL);
    world_close(w);
}

static void signals_that_mean_nothing_by_themselves_are_ignored(void **state)
{
    WORLD;
    static const int ignored[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
    int code;
    programs(w);
    struct child_id child = start(w, "nap", CHILD_NULL, CHILD_NULL);
    turn(w, NS_PER_S);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        assert_int_equal(w->cls->children->kill(w->b, &child, ignored[i]), 0);
        turn(w, NS_PER_S);
        assert_int_equal(w->cls->children->reap(w->b, &child, &code), -EAGAIN);
    }
    assert_int_equal(w->cls->children->kill(w->b, &child, -1), -EINVAL);
    assert_int_equal(w->cls->children->kill(w->b, &child, SIGKILL), 0);
    turn(w, NS_PER_S);
    assert_int_equal(w->cls->children->reap(w->b, &child, &code), 0);
    assert_int_equal(w->cls->children->kill(w->b, &child, SIGKILL), -ESRCH);
    close_fd(w, child.fd);
    world_close(w);
}

/* Whatever came meanwhile, it goes on when it is told to. */
static void a_program_that_was_stopped_does_nothing_until_it_goes_on(void **state)
{
    WORLD;
    int in[2], out[2];
    char buf[4];
    programs(w);
    assert_int_equal(w->calls->pipe(w->b, in), 0);
    assert_int_equal(w->calls->pipe(w->b, out), 0);
    struct child_id child = start(w, "copy", in[0], out[1]);
    turn(w, NS_PER_S); /* it sleeps until there is something to read */
    assert_int_equal(w->cls->children->kill(w->b, &child, SIGSTOP), 0);
    assert_int_equal(w->cls->children->kill(w->b, &child, SIGCONT), 0);
    assert_int_equal(w->cls->children->kill(w->b, &child, SIGSTOP), 0);
    assert_int_equal(w->calls->write(w->b, in[1], "x", 1), 1);
    turn(w, NS_PER_S);
    assert_int_equal(w->calls->read(w->b, out[0], buf, 4), -EAGAIN);
    assert_int_equal(w->cls->children->kill(w->b, &child, SIGCONT), 0);
    turn(w, NS_PER_S);
    assert_int_equal(w->calls->read(w->b, out[0], buf, 4), 1);
    close_fd(w, in[1]);
    assert_int_equal(end_of(w, &child), 3);
    close_fd(w, in[0]);
    close_fd(w, out[0]);
    close_fd(w, out[1]);
    world_close(w);
}

static void a_socket_without_another_end_is_no_stream_for_a_program(void **state)
{
    WORLD;
    programs(w);
    int types[] = {SOCK_STREAM, SOCK_DGRAM};
    for (int i = 0; i < 3; i++) {
        int fd = w->calls->socket(w->b, AF_INET, types[i % 2], 0);
        if (i == 2)
            assert_int_equal(w->calls->listen(w->b, fd, 1), 0);
        struct child_id child = start(w, "try", CHILD_NULL, fd);
        written = read_back = 1;
        assert_int_equal(end_of(w, &child), 0);
        assert_int_equal(written, -ENOTCONN);
        assert_int_equal(read_back, -ENOTCONN);
        close_fd(w, fd);
    }
    world_close(w);
}

static void a_process_is_only_waited_for_through_its_descriptor(void **state)
{
    WORLD;
    char byte = 0;
    programs(w);
    struct child_id child = start(w, "nap", CHILD_NULL, CHILD_NULL);
    struct test_op r = {
        .op = {.done = on_done, .fd = child.fd, .kind = OP_READ, .buf = {&byte, 1, 0}}};
    assert_int_equal(w->calls->write(w->b, child.fd, &byte, 1), -EINVAL);
    assert_int_equal(w->calls->read(w->b, child.fd, &byte, 1), -EINVAL);
    assert_int_equal(w->cls->children->kill(w->b, &child, SIGKILL), 0);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, -EINVAL);
    assert_int_equal(end_of(w, &child), -SIGKILL);
    world_close(w);
}

static void a_program_whose_reader_goes_dies_of_it(void **state)
{
    WORLD;
    int out[2];
    programs(w);
    assert_int_equal(w->calls->pipe(w->b, out), 0);
    struct child_id child = start(w, "flood", CHILD_NULL, out[1]);
    close_fd(w, out[1]);
    turn(w, NS_PER_S);
    close_fd(w, out[0]);
    assert_int_equal(end_of(w, &child), -SIGPIPE);
    world_close(w);
}

static void a_grandchild_keeps_the_pipe(void **state)
{
    WORLD;
    int in[2], out[2];
    char buf[8] = "";
    programs(w);
    assert_int_equal(w->calls->socketpair(w->b, AF_UNIX, SOCK_STREAM, in), 0);
    assert_int_equal(w->calls->pipe(w->b, out), 0);
    struct child_id child = start(w, "fork", in[1], out[1]);
    close_fd(w, in[1]);
    close_fd(w, out[1]);
    assert_int_equal(end_of(w, &child), 1);
    assert_int_equal(w->calls->read(w->b, out[0], buf, 8), -EAGAIN);
    assert_int_equal(w->calls->send(w->b, in[0], "on", 2), 2);
    struct test_op r = {.op = {.done = on_done, .fd = out[0], .kind = OP_READ, .buf = {buf, 8, 0}}};
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 2);
    assert_int_equal(w->calls->shutdown(w->b, in[0], SHUT_WR), 0);
    submit(w, &r);
    run_until(w, &r, 2);
    assert_int_equal(r.op.result, 0);
    assert_int_equal(w->calls->recv(w->b, in[0], buf, 8, 0), 0); /* an end, no reset */
    close_fd(w, in[0]);
    close_fd(w, out[0]);
    world_close(w);
}

static void what_runs_at_the_end_goes_with_its_kernel(void **state)
{
    WORLD;
    int in[2];
    programs(w);
    assert_int_equal(w->calls->pipe(w->b, in), 0);
    (void)start(w, "copy", in[0], CHILD_INHERITS);
    struct child_id forgotten = start(w, "nap", CHILD_NULL, CHILD_NULL);
    close_fd(w, forgotten.fd);
    turn(w, NS_PER_S);
    world_close(w);
}

static void a_spawn_that_fails_leaves_nothing(void **state)
{
    WORLD;
    struct child_id child;
    programs(w);
    assert_false(w->cls->children->knows(w->b, "nothing"));
    assert_int_equal(try_start(w, "copy", 12345, CHILD_NULL, &child), -EBADF);
    const char *const argv[] = {"copy", NULL};
    struct child_plan plan = {
        .file = "copy", .argv = argv, .cwd = "/home", .fds = {CHILD_NULL, CHILD_NULL, CHILD_NULL}};
    enum child_step step = CHILD_STEP_START;
    assert_int_equal(w->cls->children->spawn(w->b, &plan, &child, &step), -ENOENT);
    assert_int_equal(step, CHILD_STEP_CWD);
    plan.cwd = "/";
    plan.pass_fds = (const int[]){12345};
    plan.pass_fds_n = 1;
    assert_int_equal(w->cls->children->spawn(w->b, &plan, &child, &step), -EBADF);
    assert_int_equal(step, CHILD_STEP_PASS);
    coil__sim_limit_files(w->b, 0);
    assert_int_equal(try_start(w, "copy", CHILD_NULL, CHILD_NULL, &child), -EMFILE);
    coil__sim_limit_files(w->b, 100);
    for (int n = 1; n < 4; n++) {
        coil__mem_fail_at(n, 0);
        int rc = try_start(w, "nap", CHILD_NULL, CHILD_NULL, &child);
        coil__mem_fail_at(0, 0);
        if (rc == 0) {
            assert_int_equal(w->cls->children->kill(w->b, &child, SIGKILL), 0);
            assert_int_equal(end_of(w, &child), -SIGKILL);
        } else {
            assert_int_equal(rc, -ENOMEM);
        }
    }
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_is_fed_and_ends_with_its_input),
        cmocka_unit_test(a_program_sleeps_in_virtual_time),
        cmocka_unit_test(signals_end_a_program_or_are_caught),
        cmocka_unit_test(signals_that_mean_nothing_by_themselves_are_ignored),
        cmocka_unit_test(a_program_that_was_stopped_does_nothing_until_it_goes_on),
        cmocka_unit_test(a_socket_without_another_end_is_no_stream_for_a_program),
        cmocka_unit_test(a_process_is_only_waited_for_through_its_descriptor),
        cmocka_unit_test(a_program_whose_reader_goes_dies_of_it),
        cmocka_unit_test(a_grandchild_keeps_the_pipe),
        cmocka_unit_test(what_runs_at_the_end_goes_with_its_kernel),
        cmocka_unit_test(a_spawn_that_fails_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
