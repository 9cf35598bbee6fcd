/* SPDX-License-Identifier: MIT
 *
 * process_storms.c: many children at a time that do different things, and tasks that treat them at random: talk to them, wait,
 * signal, give up, are cancelled; on the imaginary kernel with short reads and without descriptors now and then. What
 * was written comes back whole, how each ended is one of the ways it may have, and nothing is left in the end. */
#include "test.h"

#include "shell.h"

#include "base/random.h"
#include "io/sim/sim.h"
#include "loop/loop.h"

#include <coil.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

enum { ENTRANTS = 40, MUCH = 100000 };

struct entrant {
    uint64_t seed;
    bool cancelled, faults;
};

static bool is_imaginary(void)
{
    return coil__running_loop->backend->cls == &coil__backend_sim;
}

/* ---- what one does ---- */

/* Bytes go there and come back. */
static coil_ret talk(struct random *random, const struct entrant *e)
{
    static const coil_subprocess_opts pipes = {
        .size = sizeof pipes, .in = COIL_PIPE, .out = COIL_PIPE};
    coil_process *p;
    coil_process_output output;
    coil_ret rc = coil_create_subprocess_exec((const char *const[]){"cat", NULL}, &pipes, &p);
    if (rc < 0)
        return rc;
    size_t n = random_below(random, MUCH);
    char *data = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)random_u64(random);
    rc = coil_process_communicate(p, data, n, &output);
    if (rc == 0) {
        int code = -1;
        assert_int_equal(output.out_n, n);
        assert_memory_equal(output.out, data, n);
        assert_true(coil_process_returncode(p, &code));
        assert_int_equal(code, 0);
    }
    free(data);
    coil_process_unref(p);
    return rc;
}

/* One that waits for ever, and is ended. */
static coil_ret end_one(struct random *random, const struct entrant *e)
{
    static const coil_subprocess_opts pipes = {.size = sizeof pipes, .in = COIL_PIPE};
    const int signals[] = {SIGTERM, SIGKILL, SIGHUP};
    int signo = signals[random_below(random, 3)], code = 0;
    coil_process *p;
    coil_ret rc = coil_create_subprocess_exec(SH("read x; exit 3"), &pipes, &p);
    if (rc < 0)
        return rc;
    if (random_below(random, 2))
        rc = coil_sleep(random_below(random, 2) ? 0 : 0.001);
    if (rc == 0 && random_below(random, 4) == 0) /* the other way to end it */
        coil_writer_close(coil_process_stdin(p)), signo = 0;
    else if (rc == 0)
        rc = coil_process_send_signal(p, signo);
    if (rc == 0)
        rc = coil_process_wait(p, &code);
    if (rc == 0)
        assert_int_equal(code, signo ? -signo : 3);
    coil_process_unref(p);
    return rc;
}

/* Started, and given up at some moment. */
static coil_ret give_up(struct random *random, const struct entrant *e)
{
    static const char *const scripts[] = {"exit 1", "exec yes", "read x", "(sleep 0.01) & exit 2"};
    static const coil_subprocess_opts pipes = {
        .size = sizeof pipes, .in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE};
    coil_process *p;
    coil_ret rc = coil_create_subprocess_exec(SH(scripts[random_below(random, 4)]), &pipes, &p);
    if (rc < 0)
        return rc;
    for (uint32_t turns = random_below(random, 5); rc == 0 && turns > 0; turns--)
        rc = coil_sleep(0);
    coil_process_unref(p);
    return rc;
}

/* Read a little of what never ends; closing the pipe ends it. */
static coil_ret sip(struct random *random, const struct entrant *e)
{
    static const coil_subprocess_opts pipes = {.size = sizeof pipes, .out = COIL_PIPE};
    coil_process *p;
    char buf[4000];
    coil_ret rc = coil_create_subprocess_exec(SH("exec yes"), &pipes, &p);
    if (rc < 0)
        return rc;
    for (uint32_t reads = random_below(random, 20); rc >= 0 && reads > 0; reads--)
        rc = coil_reader_read(coil_process_stdout(p), buf, sizeof buf);
    coil_process_unref(p);
    return rc < 0 ? rc : 0;
}

static coil_ret act(void *arg)
{
    static coil_ret (*const acts[])(struct random *, const struct entrant *) = {talk, end_one,
                                                                                give_up, sip};
    const struct entrant *e = arg;
    struct random random = {e->seed};
    return acts[random_below(&random, 4)](&random, e);
}

/* ---- a storm ---- */

static int lowest_free_number(void)
{
    struct backend *b = coil__running_loop->backend;
    int fd[2];
    assert_int_equal(b->cls->calls.pipe(b, fd), 0);
    b->cls->calls.close(b, fd[0]);
    b->cls->calls.close(b, fd[1]);
    return fd[0];
}

static bool has_kids(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void one_storm(uint64_t seed, bool faults)
{
    struct backend *b = coil__running_loop->backend;
    struct random random = {seed};
    static struct entrant entrants[ENTRANTS];
    coil_task *tasks[ENTRANTS];
    int lowest = lowest_free_number();
    if (faults) {
        coil__sim_set_fault(b, SIM_NO_DESCRIPTOR, 4000);
        coil__sim_set_fault(b, SIM_SHORT_IO, 10000);
    }
    for (int i = 0; i < ENTRANTS; i++) {
        entrants[i] = (struct entrant){.seed = random_u64(&random), .faults = faults};
        tasks[i] = coil_create_task(act, &entrants[i]);
    }
    for (int i = 0; i < ENTRANTS / 3; i++) {
        uint32_t which = random_below(&random, ENTRANTS);
        assert_int_equal(coil_sleep(random_below(&random, 2) ? 0 : 0.0005), 0);
        entrants[which].cancelled = true;
        coil_task_cancel(tasks[which], NULL);
    }
    for (int i = 0; i < ENTRANTS; i++) {
        coil_ret rc = coil_join(tasks[i]);
        if (rc != 0 && !(rc == -ECANCELED && entrants[i].cancelled) && !(rc == -EMFILE && faults))
            fail_msg("seed %lu: %s", (unsigned long)seed, coil_errname(rc));
    }
    if (faults) {
        coil__sim_set_fault(b, SIM_NO_DESCRIPTOR, 0);
        coil__sim_set_fault(b, SIM_SHORT_IO, 0);
    }
    for (int i = 0; i < 5000 && lowest_free_number() != lowest; i++)
        assert_int_equal(coil_sleep(0.001), 0);
    for (int i = 0; i < 5000 && has_kids(); i++)
        assert_int_equal(coil_sleep(0.001), 0);
    assert_int_equal(lowest_free_number(), lowest);
    assert_false(has_kids());
}

COIL_TEST(storm_of_processes)
{
    shell_is_here();
    int rounds = is_imaginary() ? 200 : 3;
    for (int seed = 1; seed <= rounds; seed++)
        one_storm((uint64_t)seed, false);
}

COIL_TEST(storm_of_processes_and_faults)
{
    if (!is_imaginary())
        return; /* the real kernel's descriptors do not run out by chance */
    shell_is_here();
    for (int seed = 1; seed <= 200; seed++)
        one_storm((uint64_t)seed * 7919, true);
}

/* Nobody waits for anything: the loop ends in the midst of it. */
static coil_ret leave(void *arg)
{
    static struct entrant entrants[ENTRANTS];
    struct random random = {*(uint64_t *)arg};
    shell_is_here();
    for (int i = 0; i < ENTRANTS; i++) {
        entrants[i] = (struct entrant){.seed = random_u64(&random)};
        coil_unref(coil_create_task(act, &entrants[i]));
    }
    for (uint32_t turns = random_below(&random, 12); turns > 0; turns--)
        coil_ignore(coil_sleep(0.0001));
    return 0;
}

COIL_TEST_PLAIN(storm_that_the_loop_does_not_outlive)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
        assert_int_equal(coil_run_with(leave, &seed, &opts), 0);
        assert_false(has_kids());
    }
}

COIL_TEST_MAIN()
