/* SPDX-License-Identifier: MIT
 *
 * test_subprocess.c: processes whose pipes are told to a protocol: what it hears, and what is refused. */
#include "kids.h"

/* ---- a protocol that counts ---- */

struct counts {
    coil_subprocess_transport *t;
    int pauses, resumes, exits, losts;
    bool paused;
};

static coil_ret made(coil_subprocess_transport *t, void *arg)
{
    ((struct counts *)arg)->t = t;
    return 0;
}

static void paused(coil_subprocess_transport *t, void *arg)
{
    struct counts *c = arg;
    assert_ptr_equal(c->t, t);
    assert_false(c->paused);
    c->paused = true;
    c->pauses++;
}

static void resumed(coil_subprocess_transport *t, void *arg)
{
    struct counts *c = arg;
    assert_ptr_equal(c->t, t);
    assert_true(c->paused);
    c->paused = false;
    c->resumes++;
}

static void exited(coil_subprocess_transport *t, void *arg)
{
    (void)t;
    ((struct counts *)arg)->exits++;
}

static void lost(coil_subprocess_transport *t, void *arg)
{
    (void)t;
    ((struct counts *)arg)->losts++;
}

static const coil_subprocess_protocol counting = {.size = sizeof counting,
                                                  .connection_made = made,
                                                  .process_exited = exited,
                                                  .connection_lost = lost,
                                                  .pause_writing = paused,
                                                  .resume_writing = resumed};

static coil_ret make_counting(const coil_subprocess_protocol **out_protocol, void **out_arg,
                              void *arg)
{
    *out_protocol = &counting;
    *out_arg = arg;
    return 0;
}

static coil_ret make_deaf(const coil_subprocess_protocol **out_protocol, void **out_arg, void *arg)
{
    static const coil_subprocess_protocol deaf = {.size = sizeof deaf};
    *out_protocol = &deaf;
    *out_arg = arg;
    return 0;
}

static coil_ret make_none(const coil_subprocess_protocol **out_protocol, void **out_arg, void *arg)
{
    (void)out_protocol, (void)out_arg, (void)arg;
    return 0;
}

/* ---- tests ---- */

COIL_TEST(subprocess_tells_when_to_pause_and_resume_writing)
{
    static char much[1 << 20];
    struct counts c = {0};
    coil_subprocess_transport *t;
    must(coil_loop_subprocess_exec(NULL, make_counting, &c, SH("cat >/dev/null"),
                                   OPTS(.in = COIL_PIPE), &t, NULL));
    coil_transport *in = coil_subprocess_pipe_transport(t, 0);
    must(coil_transport_write(in, much, sizeof much));
    must(coil_transport_write_eof(in));
    while (!c.losts)
        must(coil_sleep(0.001));
    assert_int_equal(c.pauses, 1);
    assert_int_equal(c.resumes, 1);
    assert_int_equal(c.exits, 1);
    coil_subprocess_unref(t);
}

COIL_TEST(subprocess_without_callbacks_runs_all_the_same)
{
    static char much[1 << 20];
    coil_subprocess_transport *t;
    int code = -1;
    must(coil_loop_subprocess_shell(
        NULL, make_deaf, NULL, "echo x; echo y >&2; cat >/dev/null; exit 7",
        OPTS(.in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE), &t, NULL));
    assert_null(coil_subprocess_pipe_transport(t, -1));
    assert_null(coil_subprocess_pipe_transport(t, 3));
    coil_transport *in = coil_subprocess_pipe_transport(t, 0);
    must(coil_transport_write(in, much, sizeof much)); /* nobody hears that it is too much */
    must(coil_transport_write_eof(in));
    while (!coil_subprocess_returncode(t, &code))
        must(coil_sleep(0.001));
    assert_int_equal(code, 7);
    while (coil_subprocess_pipe_transport(t, 1) || coil_subprocess_pipe_transport(t, 2))
        must(coil_sleep(0.001));
    coil_subprocess_unref(t);
    coil_subprocess_unref(NULL);
}

COIL_TEST(subprocess_of_a_factory_that_makes_no_protocol_is_killed)
{
    coil_subprocess_transport *t = NULL;
    assert_int_equal(coil_loop_subprocess_exec(NULL, make_none, NULL, SH("read x"),
                                               OPTS(.in = COIL_PIPE), &t, NULL),
                     -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "made no protocol"));
    assert_null(t);
    until_no_kids();
}

COIL_TEST(subprocess_is_made_in_the_loop_that_runs)
{
    coil_run_opts opts = {.size = sizeof opts};
    coil_loop *other = coil_new_event_loop(&opts);
    coil_subprocess_transport *t = NULL;
    assert_int_equal(
        coil_loop_subprocess_exec(other, make_deaf, NULL, SH("exit 0"), NULL, &t, NULL),
        COIL_EWRONGLOOP);
    assert_int_equal(coil_loop_subprocess_shell(other, make_deaf, NULL, "exit 0", NULL, &t, NULL),
                     COIL_EWRONGLOOP);
    assert_int_equal(coil_loop_subprocess_shell(NULL, make_deaf, NULL, NULL, NULL, &t, NULL),
                     -EINVAL);
    assert_int_equal(coil_loop_subprocess_exec(NULL, NULL, NULL, SH("exit 0"), NULL, &t, NULL),
                     -EINVAL);
    assert_null(t);
    coil_loop_free(other);
    assert_false(has_kids());
}

COIL_TEST_MAIN()
