/* SPDX-License-Identifier: MIT
 *
 * fd_reuse.c: a socket is closed while somebody waits on it, and its number is taken at once by another file: no byte,
 * no readiness and no error of the one reaches the other, in whatever order things happen.
 *
 *     wait on A (n) --> [ an event of A is under way ] --> close A --> open B: the kernel gives it n again
 *                                                                        |
 *              who waited on A: -EBADF, or what was quicker              B: its own bytes, all of them
 *
 * The kernel gives out the lowest free number, so the reuse is certain, and asserted. */
#include "../unit/net/wire.h"

#include <sys/mman.h>
#include <unistd.h>

/* How somebody waits on the socket that is closed. */
enum old_wait { RECEIVING, SENDING, ACCEPTING, CONNECTING, OLD_WAITS };
/* What takes its number. */
enum newcomer { A_CONNECTION, A_LISTENER, A_PIPE, NEWCOMERS };

struct old {
    enum old_wait way;
    coil_sock *sock, *peer; /* peer: the other end, or the listener that a connect hangs at */
    coil_sock *crowd[4];    /* fill that listener's backlog */
    coil_address at;
    char buf[32];
    coil_sock *accepted;
    coil_task *task;
};

static coil_ret wait_on_it(void *arg)
{
    static char much[1 << 22];
    struct old *old = arg;
    switch (old->way) {
    case RECEIVING: return coil_sock_recv(old->sock, old->buf, sizeof old->buf);
    case SENDING: return coil_sock_sendall(old->sock, much, sizeof much, NULL);
    case ACCEPTING: return coil_sock_accept(old->sock, &old->accepted, NULL);
    default: return coil_sock_connect(old->sock, &old->at);
    }
}

/* Fills a backlog of none, so that the next one has to wait. */
static void crowd_a_listener(struct old *old)
{
    old->peer = wire_listen(0);
    must(coil_sock_getsockname(old->peer, &old->at));
    for (int i = 0; i < 4; i++) {
        must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &old->crowd[i]));
        coil_timeout(tm, 0.01);
        coil_ret rc = coil_timeout_exit(&tm, coil_sock_connect(old->crowd[i], &old->at));
        assert_true(rc == 0 || rc == -ETIMEDOUT);
        if (rc < 0)
            break;
    }
}

static void begin_old(struct old *old, enum old_wait way)
{
    memset(old, 0, sizeof *old);
    old->way = way;
    if (way == ACCEPTING) {
        old->sock = wire_listen(4);
        must(coil_sock_getsockname(old->sock, &old->at));
    } else if (way == CONNECTING) {
        crowd_a_listener(old);
        must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &old->sock));
    } else {
        wire_pair(&old->peer, &old->sock);
    }
    old->task = coil_create_task(wait_on_it, old);
    wire_turns(3);
    assert_false(coil_future_done(old->task));
}

/* Something happens to the old one that its loop has not seen yet when it is closed. */
static void disturb(struct old *old)
{
    static char bin[65536];
    ssize_t n;
    int fd = coil_sock_fileno(old->way == ACCEPTING ? old->sock : old->peer);
    struct backend *b = coil_get_running_loop()->backend;
    switch (old->way) {
    case RECEIVING: assert_int_equal(b->cls->calls.send(b, fd, "OLD BYTES", 9), 9); break;
    case SENDING: /* room for more */
        while ((n = b->cls->calls.recv(b, fd, bin, sizeof bin, 0)) > 0)
            ;
        break;
    case ACCEPTING: { /* a client that is never met; an imaginary one would take its time */
        int client = b->cls->calls.socket(b, AF_INET, SOCK_STREAM, 0);
        if (!wire_is_imaginary())
            (void)connect(client, (const struct sockaddr *)&old->at.storage, old->at.len);
        b->cls->calls.close(b, client);
        break;
    }
    default: /* room in the backlog, or none at all any more */ coil_sock_close(old->peer); break;
    }
}

static void end_old(struct old *old)
{
    coil_ret rc = coil_join(old->task);
    assert_int_equal(rc, -EBADF);
    for (size_t i = 0; i < sizeof old->buf; i++)
        assert_int_equal(old->buf[i], 0);
    assert_null(old->accepted);
    coil_sock_unref(old->sock);
    coil_sock_unref(old->peer);
    for (int i = 0; i < 4; i++)
        coil_sock_unref(old->crowd[i]);
}

/* ---- who takes the number ---- */

/* Made before the close: what takes every lower number that is free, and somebody to connect to. */
static struct {
    coil_sock *holders[32], *listener;
    coil_address at;
    int n;
} stage;

static void set_stage(int number)
{
    stage.n = 0;
    stage.listener = wire_listen(4);
    must(coil_sock_getsockname(stage.listener, &stage.at));
    for (;;) {
        coil_sock *sock;
        must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
        if (coil_sock_fileno(sock) > number) {
            coil_sock_unref(sock);
            return;
        }
        assert_true(stage.n < 32);
        stage.holders[stage.n++] = sock;
    }
}

static void strike_stage(void)
{
    coil_sock_unref(stage.listener);
    while (stage.n > 0)
        coil_sock_unref(stage.holders[--stage.n]);
}

static coil_ret say_later(void *sock)
{
    coil_ret rc = coil_sleep(0.01);
    return rc < 0 ? rc : coil_sock_sendall(sock, "NEW BYTES", 9, NULL);
}

static void use_connection(int number)
{
    coil_sock *it, *other;
    char text[32] = "";
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &it));
    assert_int_equal(coil_sock_fileno(it), number);
    must(coil_sock_connect(it, &stage.at));
    must(coil_sock_accept(stage.listener, &other, NULL));
    coil_task *saying = coil_create_task(say_later, other);
    assert_int_equal(must(coil_sock_recv(it, text, sizeof text)), 9);
    assert_memory_equal(text, "NEW BYTES", 9);
    must(coil_join(saying));
    wire_say(it, "answer");
    must(coil_sock_shutdown(it, SHUT_WR));
    wire_expect(other, "answer");
    wire_expect_end(other);
    coil_sock_unref(it);
    coil_sock_unref(other);
}

static coil_ret connect_later(void *address)
{
    coil_sock *sock;
    coil_ret rc = coil_sleep(0.01);
    if (rc == 0)
        rc = coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock);
    if (rc < 0)
        return rc;
    rc = coil_sock_connect(sock, address);
    if (rc == 0)
        rc = coil_sock_sendall(sock, "NEW BYTES", 9, NULL);
    coil_sock_unref(sock);
    return rc;
}

static void use_listener(int number)
{
    coil_sock *it = wire_listen(4), *taken;
    coil_address at;
    assert_int_equal(coil_sock_fileno(it), number);
    must(coil_sock_getsockname(it, &at));
    coil_task *calling = coil_create_task(connect_later, &at);
    must(coil_sock_accept(it, &taken, NULL));
    wire_expect(taken, "NEW BYTES");
    wire_expect_end(taken);
    must(coil_join(calling));
    coil_sock_unref(taken);
    coil_sock_unref(it);
}

/* A raw descriptor of somebody else's, whom coil never asked. */
static void use_pipe(int number)
{
    int ends[2];
    char text[16];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(ends[0], number);
    coil_timeout(tm, 5);
    coil_ret rc = coil_wait_fd(ends[0], COIL_READ);
    assert_int_equal(coil_timeout_exit(&tm, rc), -ETIMEDOUT); /* nothing of the old one's */
    assert_int_equal(write(ends[1], "NEW", 3), 3);
    assert_int_equal(must(coil_wait_fd(ends[0], COIL_READ)), COIL_READ);
    assert_int_equal(read(ends[0], text, sizeof text), 3);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(close(ends[1]), 0);
}

static void use(enum newcomer newcomer, int number)
{
    switch (newcomer) {
    case A_CONNECTION: use_connection(number); break;
    case A_LISTENER: use_listener(number); break;
    default:
        if (!wire_is_imaginary())
            use_pipe(number);
    }
}

/* ---- every order ---- */

/* Who waited is heard before the newcomer is used or after it; the other end goes first or stays. */
COIL_TEST(no_byte_of_a_closed_socket_reaches_the_next_with_its_number)
{
    for (int i = 0; i < OLD_WAITS * NEWCOMERS * 8; i++) {
        enum old_wait way = (enum old_wait)(i / (NEWCOMERS * 8));
        enum newcomer newcomer = (enum newcomer)(i / 8 % NEWCOMERS);
        bool disturbed = i & 1, heard_first = i & 2, peer_goes_first = i & 4;
        struct old old;
        begin_old(&old, way);
        if (disturbed)
            disturb(&old);
        int number = coil_sock_fileno(old.sock);
        if (peer_goes_first)
            coil_sock_close(old.peer);
        set_stage(number);
        coil_sock_close(old.sock);
        if (heard_first)
            assert_int_equal(coil_join(coil_ref(old.task)), -EBADF);
        use(newcomer, number);
        end_old(&old);
        strike_stage();
    }
}

/* The same for streams, whose sending goes on by itself. */
COIL_TEST(no_byte_of_an_aborted_stream_reaches_the_next_with_its_number)
{
    static char much[1 << 20];
    memset(much, 'o', sizeof much);
    for (int i = 0; i < 8; i++) {
        bool drains = i & 1, peer_speaks = i & 2, as_listener = i & 4;
        coil_reader *r;
        coil_writer *w;
        coil_sock *peer = wire_stream(0, &r, &w);
        int number = coil_sock_fileno(coil_writer_sock(w));
        for (int n = 0; n < 8; n++)
            must(coil_writer_write(w, much, sizeof much));
        coil_task *draining = drains ? coil_create_task((coil_fn)coil_writer_drain, w) : NULL;
        wire_turns(3);
        if (peer_speaks)
            wire_say(peer, "OLD BYTES");
        set_stage(number);
        coil_writer_abort(w);
        must(coil_writer_wait_closed(w));
        use(as_listener ? A_LISTENER : A_CONNECTION, number);
        if (draining)
            must(coil_join(draining)); /* as in asyncio: nothing is left to wait for */
        strike_stage();
        coil_sock_unref(peer);
        must(coil_writer_finish(w));
    }
}

struct file_sending {
    coil_sock *sock;
    int file;
};

static coil_ret send_file(void *arg)
{
    struct file_sending *s = arg;
    return coil_sock_sendfile(s->sock, s->file, 0, 0, 0, NULL);
}

static void empty(struct backend *b, int fd)
{
    static char bin[65536];
    while (b->cls->calls.recv(b, fd, bin, sizeof bin, 0) > 0)
        ;
}

/* There is room again, and the one who sends has been told so or not yet, when the socket is closed. */
COIL_TEST(no_byte_of_a_file_reaches_the_next_with_its_number)
{
    enum { MUCH = 16 << 20 };
    struct backend *b = coil_get_running_loop()->backend;
    for (int turns = 0; turns < 5; turns++) {
        int old[2], next[2];
        char byte;
        struct file_sending s = {.file = (int)must(memfd_create("file", MFD_CLOEXEC))};
        must(ftruncate(s.file, MUCH));
        must(b->cls->calls.socketpair(b, AF_UNIX, SOCK_STREAM, old));
        must(coil_sock_adopt(NULL, old[0], &s.sock));
        coil_task *task = coil_create_task(send_file, &s);
        wire_turns(10);
        assert_false(coil_future_done(task));
        set_stage(old[0]);
        empty(b, old[1]);
        for (int i = 0; i < turns; i++)
            must(coil_sleep(0));
        coil_sock_close(s.sock);
        must(b->cls->calls.socketpair(b, AF_UNIX, SOCK_STREAM, next));
        assert_int_equal(next[0], old[0]);
        assert_int_equal(coil_join(task), -EBADF);
        assert_int_equal(b->cls->calls.recv(b, next[1], &byte, 1, 0), -EAGAIN);
        strike_stage();
        b->cls->calls.close(b, next[0]);
        b->cls->calls.close(b, next[1]);
        b->cls->calls.close(b, old[1]);
        coil_sock_unref(s.sock);
        close(s.file);
    }
}

/* Waiters that are cancelled in the same turn as the close, and sockets that are given up by the one who waits. */
COIL_TEST(a_cancel_and_a_close_in_one_turn_leave_the_number_free)
{
    for (int way = 0; way < OLD_WAITS; way++)
        for (int cancel_first = 0; cancel_first < 2; cancel_first++) {
            struct old old;
            begin_old(&old, (enum old_wait)way);
            int number = coil_sock_fileno(old.sock);
            set_stage(number);
            if (cancel_first)
                coil_task_cancel(old.task, NULL);
            coil_sock_close(old.sock);
            if (!cancel_first)
                coil_task_cancel(old.task, NULL);
            use(A_CONNECTION, number);
            strike_stage();
            coil_ret rc = coil_join(old.task);
            assert_true(rc == -ECANCELED || rc == -EBADF);
            coil_sock_unref(old.sock);
            coil_sock_unref(old.peer);
            for (int i = 0; i < 4; i++)
                coil_sock_unref(old.crowd[i]);
        }
}

/* Numbers that go round: sixteen connections, of which a random one is replaced again and again while all talk. */
struct talker {
    coil_sock *a, *b;
    uint32_t id, said, heard;
};

static coil_ret listen_to(void *arg)
{
    struct talker *t = arg;
    for (;;) {
        uint32_t words[16];
        coil_ret rc = coil_sock_recv(t->b, words, sizeof words);
        if (rc <= 0)
            return rc;
        assert_int_equal(rc % (coil_ret)sizeof *words, 0);
        for (coil_ret i = 0; i < rc / (coil_ret)sizeof *words; i++) {
            assert_int_equal(words[i] >> 16, t->id);
            assert_int_equal(words[i] & 0xffff, t->heard++);
        }
    }
}

COIL_TEST(numbers_that_go_round_never_mix_what_is_said)
{
    enum { TALKERS = 16, ROUNDS = 400 };
    struct talker talkers[TALKERS] = {{0}};
    coil_task *listening[TALKERS];
    uint32_t seed = 1;
    for (uint32_t i = 0; i < TALKERS + ROUNDS; i++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t at = i < TALKERS ? i : seed >> 16 & (TALKERS - 1);
        struct talker *t = &talkers[at];
        if (i >= TALKERS) {
            bool from_behind = seed >> 20 & 1;
            if (from_behind)
                coil_sock_close(t->a);
            coil_sock_close(t->b);
            coil_sock_close(t->a);
            assert_int_equal(coil_join(listening[at]), -EBADF);
            coil_sock_unref(t->a);
            coil_sock_unref(t->b);
        }
        *t = (struct talker){.id = i + 1};
        wire_pair(&t->a, &t->b);
        listening[at] = coil_create_task(listen_to, t);
        for (int n = 0; n < TALKERS; n++) {
            struct talker *speaker = &talkers[n];
            if (!speaker->a)
                continue;
            uint32_t word = speaker->id << 16 | speaker->said++;
            wire_send(speaker->a, &word, sizeof word);
        }
    }
    for (int i = 0; i < TALKERS; i++) {
        must(coil_sock_shutdown(talkers[i].a, SHUT_WR));
        must(coil_join(listening[i]));
        assert_int_equal(talkers[i].heard, talkers[i].said);
        coil_sock_unref(talkers[i].a);
        coil_sock_unref(talkers[i].b);
    }
}

COIL_TEST_MAIN()
