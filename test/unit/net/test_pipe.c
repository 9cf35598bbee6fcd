/* SPDX-License-Identifier: MIT
 *
 * test_pipe.c: transports on pipes: what may be one, each direction, a reader that goes away. */
#include "ear.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- helpers ---- */

/* A pipe of the backend's: imaginary where the kernel is. */
static void make_pipe(int fd[2])
{
    struct backend *b = coil__running_loop->backend;
    assert_int_equal(b->cls->calls.pipe(b, fd), 0);
}

static coil_transport *reads(struct ear *ear, int fd)
{
    coil_transport *t;
    void *arg;
    must(coil_loop_connect_read_pipe(NULL, ear_factory, ear, fd, &t, &arg));
    assert_ptr_equal(arg, ear);
    return t;
}

static coil_transport *writes(struct ear *ear, int fd)
{
    coil_transport *t;
    must(coil_loop_connect_write_pipe(NULL, ear_factory, ear, fd, &t, NULL));
    return t;
}

static void end(struct ear *ear, coil_transport *t)
{
    coil_transport_abort(t);
    ear_until_lost(ear);
    coil_transport_unref(t);
}

/* ---- both ends ---- */

COIL_TEST(pipe_carries_bytes_and_its_end)
{
    int fd[2];
    struct ear r = {.keep_open = 1}, w = {0};
    make_pipe(fd);
    coil_transport *tr = reads(&r, fd[0]), *tw = writes(&w, fd[1]);
    assert_true(coil_transport_is_reading(tr));
    assert_false(coil_transport_is_reading(tw));
    assert_false(coil_transport_can_write_eof(tr));
    assert_true(coil_transport_can_write_eof(tw));
    assert_null(coil_transport_sock(tr));
    assert_null(coil_transport_get_extra_info(tr, "peername"));
    assert_int_equal(coil_transport_fileno(tr), fd[0]);
    must(coil_transport_write(tw, "hello ", 6));
    struct iovec v[3] = {{(char[]){"pipe"}, 4}, {NULL, 0}, {(char[]){"s"}, 1}};
    must(coil_transport_writelines(tw, v, 3));
    ear_until(&r, "made data:hello pipes");
    must(coil_transport_write_eof(tw)); /* it has no other direction */
    assert_true(coil_transport_is_closing(tw));
    ear_until(&r, "made data:hello pipes eof lost:0");
    ear_until(&w, "made lost:0");
    assert_int_equal(coil_transport_fileno(tr), -1);
    coil_transport_unref(tr);
    coil_transport_unref(tw);
}

COIL_TEST(pipe_of_megabytes_goes_by_itself)
{
    enum { MUCH = 1 << 20 };
    int fd[2];
    struct ear r = {.keep = true}, w = {0};
    char *data = malloc(MUCH);
    for (size_t i = 0; i < MUCH; i++)
        data[i] = (char)(i % 251);
    make_pipe(fd);
    coil_transport *tr = reads(&r, fd[0]), *tw = writes(&w, fd[1]);
    must(coil_transport_write(tw, data, MUCH / 2));
    assert_int_equal(w.pauses, 1);
    struct iovec v[2] = {{data + MUCH / 2, MUCH / 4}, {data + MUCH / 4 * 3, MUCH / 4}};
    must(coil_transport_writelines(tw, v, 2));
    coil_transport_close(tw);
    ear_until(&r, "made eof lost:0");
    assert_int_equal(r.n, MUCH);
    assert_memory_equal(r.bytes, data, MUCH);
    assert_string_equal(w.log, "made lost:0");
    assert_int_equal(w.resumes, 1);
    free(r.bytes);
    free(data);
    coil_transport_unref(tr);
    coil_transport_unref(tw);
}

COIL_TEST(pipe_that_is_read_may_not_be_written)
{
    int fd[2];
    struct ear r = {0}, w = {0};
    make_pipe(fd);
    coil_transport *tr = reads(&r, fd[0]), *tw = writes(&w, fd[1]);
    assert_int_equal(coil_transport_write(tr, "x", 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_transport_write_eof(tr), COIL_EINVALIDSTATE);
    coil_transport_pause_reading(tr);
    must(coil_transport_write(tw, "x", 1));
    coil_transport_pause_reading(tw);
    coil_transport_resume_reading(tw);
    wire_turns(3);
    assert_string_equal(r.log, "made");
    coil_transport_resume_reading(tr);
    ear_until(&r, "made data:x");
    end(&w, tw);
    ear_until(&r, "made data:x eof lost:0");
    coil_transport_unref(tr);
}

/* ---- the reader goes away ---- */

static volatile sig_atomic_t signals;

static void on_signal(int signo)
{
    signals++;
}

COIL_TEST(pipe_tells_when_its_reader_goes_away)
{
    int fd[2];
    struct ear r = {0}, w = {0};
    make_pipe(fd);
    coil_transport *tr = reads(&r, fd[0]), *tw = writes(&w, fd[1]);
    must(coil_transport_write(tw, "read", 4));
    ear_until(&r, "made data:read");
    wire_turns(3);
    assert_string_equal(w.log, "made"); /* that bytes are there is no end */
    end(&r, tr);
    ear_until(&w, "made lost:0");
    assert_int_equal(coil_transport_write(tw, "x", 1), -ECONNRESET);
    coil_transport_unref(tw);
}

COIL_TEST(pipe_whose_reader_goes_with_bytes_to_come_is_broken)
{
    enum { MUCH = 1 << 20 };
    int fd[2];
    struct ear r = {0}, w = {0};
    struct sigaction mine = {.sa_handler = on_signal}, before;
    sigaction(SIGPIPE, &mine, &before);
    signals = 0;
    make_pipe(fd);
    coil_transport *tr = reads(&r, fd[0]), *tw = writes(&w, fd[1]);
    coil_transport_pause_reading(tr);
    char *data = calloc(1, MUCH);
    must(coil_transport_write(tw, data, MUCH));
    wire_turns(3);
    end(&r, tr);
    ear_until(&w, "made lost:EPIPE");
    assert_int_equal(coil_transport_write(tw, "x", 1), -EPIPE);
    coil_transport_unref(tw);

    /* Written before anybody can have noticed. */
    struct ear w2 = {0};
    make_pipe(fd);
    tw = writes(&w2, fd[1]);
    coil__running_loop->backend->cls->calls.close(coil__running_loop->backend, fd[0]);
    assert_int_equal(coil_transport_write(tw, "x", 1), -EPIPE);
    ear_until(&w2, "made lost:EPIPE");
    coil_transport_unref(tw);
    assert_int_equal(signals, 0);
    sigaction(SIGPIPE, &before, NULL);
    free(data);
}

/* ---- what may be one ---- */

COIL_TEST(pipe_is_no_regular_file)
{
    char name[] = "/tmp/coil-test-XXXXXX";
    struct ear ear = {0};
    coil_transport *t;
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(coil_loop_connect_read_pipe(NULL, ear_factory, &ear, fd, &t, NULL), -EPERM);
    assert_int_equal(coil_loop_connect_write_pipe(NULL, ear_factory, &ear, fd, &t, NULL), -EPERM);
    assert_int_equal(close(fd), 0); /* it is still ours */
    assert_int_equal(coil_loop_connect_read_pipe(NULL, ear_factory, &ear, fd, &t, NULL), -EBADF);
    fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(coil_loop_connect_read_pipe(NULL, ear_factory, &ear, fd, &t, NULL), -EPERM);
    assert_int_equal(close(fd), 0);
    coil_sock *a, *b;
    wire_pair(&a, &b);
    assert_int_equal(
        coil_loop_connect_read_pipe(NULL, ear_factory, &ear, coil_sock_fileno(a), &t, NULL),
        COIL_EINVALIDSTATE);
    coil_sock_unref(a);
    coil_sock_unref(b);
    assert_string_equal(ear.log, "");
}

static coil_ret refuse(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    return COIL_EUSER;
}

COIL_TEST(pipe_taken_over_is_closed_when_it_comes_to_nothing)
{
    int fd[2];
    coil_transport *t;
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    assert_int_equal(coil_loop_connect_read_pipe(NULL, NULL, NULL, fd[0], &t, NULL), -EINVAL);
    assert_int_equal(coil_loop_connect_write_pipe(NULL, refuse, NULL, fd[1], &t, NULL), COIL_EUSER);
    assert_int_equal(fcntl(fd[0], F_GETFD), -1);
    assert_int_equal(fcntl(fd[1], F_GETFD), -1);
}

static void nobody_hears(void *arg)
{
    (void)arg;
}

/* It may not be had, whatever else is wrong with the call. */
COIL_TEST(pipe_of_somebody_else_is_left_open)
{
    struct ear ear = {0};
    coil_transport *t;
    int fd[2];
    assert_int_equal(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
    if (!wire_is_imaginary()) {
        must(coil_loop_add_reader(coil_get_running_loop(), fd[0], nobody_hears, NULL));
        assert_int_equal(coil_loop_connect_read_pipe(NULL, ear_factory, &ear, fd[0], &t, NULL),
                         -EBUSY);
        must(coil_loop_remove_reader(coil_get_running_loop(), fd[0]));
        assert_true(fcntl(fd[0], F_GETFD) >= 0);
    }
    close(fd[0]);
    close(fd[1]);

    coil_run_opts opts = {.size = sizeof opts};
    coil_loop *other = coil_new_event_loop(&opts);
    coil_sock *a, *b;
    wire_pair(&a, &b);
    int number = coil_sock_fileno(a);
    assert_int_equal(coil_loop_connect_read_pipe(other, ear_factory, &ear, number, &t, NULL),
                     COIL_EINVALIDSTATE);
    assert_int_equal(coil_loop_connect_write_pipe(NULL, NULL, NULL, number, &t, NULL),
                     COIL_EINVALIDSTATE);
    wire_say(a, "still there");
    wire_expect(b, "still there");
    coil_loop_free(other);
    coil_sock_unref(a);
    coil_sock_unref(b);
    assert_string_equal(ear.log, "");
}

COIL_TEST(pipe_of_the_kernel_is_made_non_blocking)
{
    int fd[2];
    struct ear r = {0}, w = {0};
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    coil_transport *tr = reads(&r, fd[0]), *tw = writes(&w, fd[1]);
    assert_true(fcntl(fd[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd[1], F_GETFL) & O_NONBLOCK);
    must(coil_transport_write(tw, "hello", 5));
    ear_until(&r, "made data:hello");
    end(&r, tr);
    ear_until(&w, "made lost:0");
    coil_transport_unref(tw);
}

COIL_TEST(pipe_may_be_a_character_device)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC), again = dup(fd);
    struct ear r = {0}, w = {0};
    coil_transport *tr = reads(&r, fd), *tw = writes(&w, again);
    must(coil_transport_write(tw, "into the void", 13));
    ear_until(&r, "made eof lost:0");
    wire_turns(3);
    assert_string_equal(w.log, "made");
    coil_transport_close(tw);
    ear_until(&w, "made lost:0");
    coil_transport_unref(tr);
    coil_transport_unref(tw);
}

COIL_TEST(pipe_may_be_a_terminal)
{
    struct ear r = {0}, w = {0};
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        skip();
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0);
    coil_transport *tr = reads(&r, master), *tw = writes(&w, terminal);
    must(coil_transport_write(tw, "prompt", 6));
    ear_until(&r, "made data:prompt");
    /* What is typed makes the terminal readable, and ends nothing. */
    assert_int_equal(write(master, "typed\n", 6), 6);
    wire_turns(5);
    assert_string_equal(w.log, "made");
    coil_transport_close(tw);
    ear_until(&w, "made lost:0");
    ear_until_lost(&r);
    assert_int_equal(r.error, -EIO); /* as Linux says that a terminal was left */
    coil_transport_unref(tr);
    coil_transport_unref(tw);
}

COIL_TEST(pipe_open_both_ways_is_its_own_reader)
{
    char name[] = "/tmp/coil-test-XXXXXX";
    int fd = mkstemp(name);
    close(fd);
    unlink(name);
    assert_int_equal(mkfifo(name, 0600), 0);
    fd = open(name, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    assert_true(fd >= 0);
    unlink(name);
    struct ear w = {0};
    coil_transport *tw = writes(&w, fd);
    must(coil_transport_write(tw, "to nobody", 9)); /* makes it readable */
    wire_turns(5);
    assert_string_equal(w.log, "made");
    end(&w, tw);
}

COIL_TEST(pipe_may_be_a_socket)
{
    struct backend *b = coil__running_loop->backend;
    int fd[2];
    struct ear r = {0}, w = {0};
    assert_int_equal(b->cls->calls.socketpair(b, AF_UNIX, SOCK_STREAM, fd), 0);
    coil_transport *tw = writes(&w, fd[1]), *tr = reads(&r, fd[0]);
    must(coil_transport_write(tw, "hello", 5));
    ear_until(&r, "made data:hello");
    assert_non_null(coil_transport_sock(tr));
    /* What the reader says is not listened to, but no end either. */
    assert_int_equal(sock_calls(tr->sock)->send(b, fd[0], "x", 1), 1);
    wire_turns(3);
    assert_string_equal(w.log, "made");
    must(coil_transport_write(tw, "more", 4));
    ear_until(&r, "made data:hello data:more");
    end(&w, tw);
    ear_until_lost(&r);
    coil_transport_unref(tr);

    struct ear w2 = {0};
    assert_int_equal(b->cls->calls.socketpair(b, AF_UNIX, SOCK_STREAM, fd), 0);
    tw = writes(&w2, fd[1]);
    wire_turns(2);
    b->cls->calls.close(b, fd[0]);
    ear_until(&w2, "made lost:0");
    coil_transport_unref(tw);
}

/* ---- the loop closes, memory ---- */

static coil_ret leave(void *arg)
{
    int fd[2];
    struct ear *ears = arg;
    make_pipe(fd);
    coil_transport *tr = reads(&ears[0], fd[0]), *tw = writes(&ears[1], fd[1]);
    coil_transport_pause_reading(tr);
    char *data = calloc(1, 1 << 20);
    must(coil_transport_write(tw, data, 1 << 20));
    free(data);
    coil_transport_unref(tr);
    coil_transport_unref(tw);
    return 0;
}

COIL_TEST_PLAIN(loop_closes_over_pipes)
{
    struct ear ears[2] = {0};
    assert_int_equal(wire_run(leave, ears), 0);
    assert_string_equal(ears[0].log, "made");
    assert_string_equal(ears[1].log, "made");
}

static coil_ret pipe_or_not(void *arg)
{
    int fd[2];
    struct ear r = {0}, w = {0};
    coil_transport *tr, *tw;
    struct backend *b = coil__running_loop->backend;
    coil_ret rc = b->cls->calls.pipe(b, fd);
    if (rc < 0)
        return rc;
    rc = coil_loop_connect_read_pipe(NULL, ear_factory, &r, fd[0], &tr, NULL);
    if (rc < 0) {
        b->cls->calls.close(b, fd[1]);
        return rc;
    }
    rc = coil_loop_connect_write_pipe(NULL, ear_factory, &w, fd[1], &tw, NULL);
    if (rc == 0) {
        rc = coil_transport_write(tw, "hello", 5);
        coil_transport_close(tw);
        coil_transport_unref(tw);
    }
    for (int i = 0; i < 1000 && !(r.lost && (w.lost || !*w.log)); i++)
        coil_ignore(coil_sleep(0.001));
    assert_int_equal(r.lost, 1);
    coil_transport_unref(tr);
    return rc;
}

static void pipe_in_a_loop(void *arg)
{
    coil_ret rc = wire_run(pipe_or_not, NULL);
    assert_true(rc <= 0);
}

COIL_TEST_PLAIN(pipe_survives_failing_allocations)
{
    assert_int_equal(wire_run(pipe_or_not, NULL), 0);
    assert_true(sweep_allocations(pipe_in_a_loop, NULL) > 5);
}

COIL_TEST_MAIN()
