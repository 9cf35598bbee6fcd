/* SPDX-License-Identifier: MIT
 *
 * test_transport_file.c: a file through a transport: in order, alone, and whatever happens meanwhile. */
#include "ear.h"

#include <coil/timeout.h>

#include <stdlib.h>
#include <unistd.h>

enum { MUCH = 1 << 20 };

/* ---- helpers ---- */

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i % 251);
}

/* An open file of the pattern, with no name. */
static int make_file(size_t n)
{
    char name[] = "/tmp/coil-test-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    unsigned char *data = malloc(n);
    for (size_t i = 0; i < n; i++)
        data[i] = byte_at(i);
    assert_int_equal(write(fd, data, n), n);
    free(data);
    return fd;
}

/* Receives until the end; after `skip` bytes the pattern, from `from` on. */
struct taking {
    coil_sock *sock;
    size_t skip, from, n;
};

static coil_ret take_all(void *arg)
{
    struct taking *t = arg;
    unsigned char buf[8192];
    coil_ret rc;
    while ((rc = coil_sock_recv(t->sock, buf, sizeof buf)) > 0)
        for (coil_ret i = 0; i < rc; i++, t->n++)
            if (t->n >= t->skip && buf[i] != byte_at(t->n - t->skip + t->from))
                return COIL_EUSER;
    return rc;
}

struct sending {
    coil_transport *t;
    int file;
    int64_t sent;
};

static coil_ret send_it(void *arg)
{
    struct sending *s = arg;
    return coil_loop_sendfile(NULL, s->t, s->file, 0, 0, 0, &s->sent);
}

static void done_with(coil_transport *t, coil_sock *peer, int file)
{
    coil_transport_unref(t);
    coil_sock_unref(peer);
    close(file);
}

/* ---- */

COIL_TEST(sendfile_comes_after_what_was_written_and_alone)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    char *before = calloc(1, MUCH);
    must(coil_transport_write(t, before, MUCH));
    assert_true(coil_transport_get_write_buffer_size(t) > 0);
    struct sending s = {.t = t, .file = make_file(MUCH)};
    coil_task *task = coil_create_task(send_it, &s);
    must(coil_sleep(0));
    assert_int_equal(coil_transport_write(t, "x", 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_transport_write_eof(t), COIL_EINVALIDSTATE);
    assert_int_equal(coil_loop_sendfile(NULL, t, s.file, 0, 0, 0, NULL), COIL_EINVALIDSTATE);
    wire_say(peer, "interrupting");
    wire_turns(3);
    assert_string_equal(ear.log, "made");
    struct taking taking = {.sock = peer, .skip = MUCH};
    coil_task *taker = coil_create_task(take_all, &taking);
    assert_int_equal(must(coil_join(task)), MUCH);
    assert_int_equal(s.sent, MUCH);
    ear_until(&ear, "made data:interrupting");
    must(coil_transport_write_eof(t));
    assert_int_equal(must(coil_join(taker)), 0);
    assert_int_equal(taking.n, 2 * MUCH);
    coil_transport_close(t);
    ear_until(&ear, "made data:interrupting lost:0");
    free(before);
    done_with(t, peer, s.file);
}

COIL_TEST(sendfile_takes_a_part_of_the_file)
{
    struct ear ear = {0};
    coil_transport *t;
    int64_t sent = 7;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    int file = make_file(10000);
    assert_int_equal(must(coil_loop_sendfile(NULL, t, file, 5000, 1000, 0, &sent)), 1000);
    assert_int_equal(sent, 1000);
    assert_int_equal(must(coil_loop_sendfile(NULL, t, file, 6000, 0, 0, NULL)), 4000);
    coil_transport_close(t);
    struct taking taking = {.sock = peer, .from = 5000};
    assert_int_equal(take_all(&taking), 0);
    assert_int_equal(taking.n, 5000);
    ear_until(&ear, "made lost:0");
    done_with(t, peer, file);
}

COIL_TEST(sendfile_is_finished_before_a_close)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    struct sending s = {.t = t, .file = make_file(MUCH)};
    coil_task *task = coil_create_task(send_it, &s);
    wire_turns(2);
    coil_transport_close(t);
    wire_turns(2);
    assert_string_equal(ear.log, "made");
    struct taking taking = {.sock = peer};
    assert_int_equal(take_all(&taking), 0);
    assert_int_equal(taking.n, MUCH);
    assert_int_equal(must(coil_join(task)), MUCH);
    ear_until(&ear, "made lost:0");
    done_with(t, peer, s.file);
}

COIL_TEST(sendfile_is_cut_by_an_abort_and_by_a_reset)
{
    for (int resets = 0; resets < 2; resets++) {
        struct ear ear = {0};
        coil_transport *t;
        coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
        wire_narrow(coil_transport_sock(t));
        struct sending s = {.t = t, .file = make_file(8 * MUCH)};
        coil_task *task = coil_create_task(send_it, &s);
        wire_turns(2);
        if (resets)
            wire_reset(peer);
        else
            coil_transport_abort(t);
        coil_ret rc = coil_join(task);
        assert_true(rc == -ECONNRESET || rc == -EPIPE);
        assert_true(s.sent < 8 * MUCH);
        ear_until_lost(&ear);
        assert_int_equal(resets ? ear.error != 0 : ear.error == 0, 1);
        done_with(t, resets ? NULL : peer, s.file);
    }
}

COIL_TEST(sendfile_cancelled_leaves_the_transport)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    struct sending s = {.t = t, .file = make_file(8 * MUCH)};
    coil_task *task = coil_create_task(send_it, &s);
    wire_turns(3);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    wire_say(peer, "still there?");
    ear_until(&ear, "made data:still there?");
    must(coil_transport_write_eof(t));
    struct taking taking = {.sock = peer};
    assert_int_equal(take_all(&taking), 0);
    assert_int_equal(taking.n, s.sent);
    coil_transport_close(t);
    ear_until(&ear, "made data:still there? lost:0");
    done_with(t, peer, s.file);
}

COIL_TEST(sendfile_cancelled_before_its_turn_sends_nothing)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_narrow(coil_transport_sock(t));
    char *before = calloc(1, MUCH);
    must(coil_transport_write(t, before, MUCH));
    struct sending s = {.t = t, .file = make_file(MUCH), .sent = 1};
    coil_task *task = coil_create_task(send_it, &s);
    wire_turns(2);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_int_equal(s.sent, 0);
    must(coil_transport_write(t, "x", 1)); /* may be written again */
    coil_transport_abort(t);
    ear_until_lost(&ear);
    free(before);
    done_with(t, peer, s.file);
}

COIL_TEST(sendfile_refuses_what_it_cannot_do)
{
    struct ear ear = {0}, w = {0};
    coil_transport *t, *tw;
    int fd[2], file = make_file(10);
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    assert_int_equal(coil_loop_sendfile(NULL, t, file, -1, 0, 0, NULL), -EINVAL);
    assert_int_equal(coil_loop_sendfile(NULL, t, 12345, 0, 0, 0, NULL), -EBADF);
    coil_loop *other = coil_new_event_loop(NULL);
    assert_int_equal(coil_loop_sendfile(other, t, file, 0, 0, 0, NULL), COIL_EWRONGLOOP);
    coil_loop_free(other);
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    must(coil_loop_connect_write_pipe(NULL, ear_factory, &w, fd[1], &tw, NULL));
    assert_int_equal(coil_loop_sendfile(NULL, tw, file, 0, 0, 0, NULL), -EOPNOTSUPP);
    close(fd[0]);
    ear_until_lost(&w);
    coil_transport_unref(tw);
    must(coil_transport_write_eof(t));
    assert_int_equal(coil_loop_sendfile(NULL, t, file, 0, 0, 0, NULL), COIL_EINVALIDSTATE);
    coil_transport_close(t);
    ear_until_lost(&ear);
    done_with(t, peer, file);
}

static coil_ret leave(void *arg)
{
    struct sending *s = arg;
    struct ear *ear = calloc(1, sizeof *ear);
    coil_sock *peer = ear_wire(&ear_protocol, ear, &s->t);
    wire_narrow(coil_transport_sock(s->t));
    coil_unref(coil_create_task(send_it, s));
    wire_turns(3);
    coil_sock_unref(peer);
    coil_transport_unref(s->t);
    free(ear);
    coil_loop_raise(NULL, COIL_EUSER); /* nothing is called any more */
    return 0;
}

COIL_TEST_PLAIN(loop_closes_over_a_file_on_its_way)
{
    struct sending s = {.file = make_file(8 * MUCH)};
    assert_int_equal(wire_run(leave, &s), COIL_EUSER);
    close(s.file);
}

COIL_TEST_MAIN()
