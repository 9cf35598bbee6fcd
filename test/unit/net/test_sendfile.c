/* SPDX-License-Identifier: MIT
 *
 * test_sendfile.c: files through sockets, by the kernel and by reading and sending, through coil's sockets and
 * through plain numbers: each test goes all four ways where it can. */
#include "wire.h"

#include <signal.h>
#include <sys/mman.h>

enum { N = 3 << 20 };
static char data[N], got[N + 1];

static int make_file(size_t n)
{
    for (size_t i = 0; i < N; i++)
        data[i] = (char)(i * 7 + i / 251);
    int file = (int)must(memfd_create("file", MFD_CLOEXEC));
    for (size_t done = 0; done < n;)
        done += (size_t)must(write(file, data + done, n - done));
    return file;
}

/* ---- the four ways ---- */

enum { RAW = 1, BY_HAND = 2, WAYS = 4 };

/* One way out and its other end, which is a coil_sock always. */
struct way {
    int which;
    coil_sock *sock, *peer;
    int fd; /* RAW */
};

static const struct io_calls *calls(void)
{
    return &coil_get_running_loop()->backend->cls->calls;
}

static ssize_t no_sendfile(int out, int in, off_t *at, size_t n)
{
    (void)out, (void)in, (void)at, (void)n;
    return -ENOSYS;
}

static void open_way(struct way *way, int which)
{
    struct backend *b = coil_get_running_loop()->backend;
    *way = (struct way){.which = which, .fd = -1};
    if (which & RAW) {
        int fd[2];
        must(calls()->socketpair(b, AF_UNIX, SOCK_STREAM, fd));
        way->fd = fd[0];
        must(coil_sock_adopt(NULL, fd[1], &way->peer));
    } else {
        wire_pair(&way->sock, &way->peer);
        /* Or it would take the whole file at once. */
        static const int room = 64 * 1024;
        must(coil_sock_setsockopt(way->sock, SOL_SOCKET, SO_SNDBUF, &room, sizeof room));
    }
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil__sys.sendfile = which & BY_HAND ? no_sendfile : coil__sys_real.sendfile;
#endif
}

static void close_ours(struct way *way)
{
    struct backend *b = coil_get_running_loop()->backend;
    coil_sock_unref(way->sock);
    way->sock = NULL;
    if (way->fd >= 0)
        must(calls()->close(b, way->fd));
    way->fd = -1;
}

static void close_way(struct way *way)
{
    close_ours(way);
    coil_sock_unref(way->peer);
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil__sys.sendfile = coil__sys_real.sendfile;
#endif
}

static coil_ret send_with(struct way *way, int file, int64_t offset, int64_t count, unsigned flags,
                          int64_t *out_sent)
{
    return way->sock ? coil_sock_sendfile(way->sock, file, offset, count, flags, out_sent)
                     : coil_loop_sock_sendfile(NULL, way->fd, file, offset, count, flags, out_sent);
}

struct sending {
    struct way way;
    int file;
    int64_t offset, count, sent;
    coil_ret rc;
};

static coil_ret send_it(void *arg)
{
    struct sending *s = arg;
    s->sent = -1;
    return s->rc = send_with(&s->way, s->file, s->offset, s->count, 0, &s->sent);
}

/* Everything up to the end of the stream; how much. */
static size_t receive_all(coil_sock *sock)
{
    size_t have = 0;
    for (coil_ret rc; (rc = must(coil_sock_recv(sock, got + have, sizeof got - have))) > 0;)
        have += (size_t)rc;
    return have;
}

/* ---- the plain way ---- */

static void sends(int which, int64_t offset, int64_t count, size_t expected)
{
    struct sending s = {.file = make_file(N), .offset = offset, .count = count};
    open_way(&s.way, which);
    must(lseek(s.file, 17, SEEK_SET));
    coil_task *task = coil_create_task(send_it, &s);
    size_t have = 0;
    while (have < expected)
        have += (size_t)must(coil_sock_recv(s.way.peer, got + have, sizeof got - have));
    assert_int_equal(coil_join(task), expected);
    assert_int_equal(s.sent, expected);
    close_ours(&s.way);
    assert_int_equal(receive_all(s.way.peer), 0);
    assert_int_equal(have, expected);
    assert_memory_equal(got, data + offset, expected);
    assert_int_equal(must(lseek(s.file, 0, SEEK_CUR)), expected ? offset + (int64_t)expected : 17);
    close_way(&s.way);
    close(s.file);
}

COIL_TEST(sendfile_sends_a_whole_file)
{
    for (int which = 0; which < WAYS; which++)
        sends(which, 0, 0, N);
}

COIL_TEST(sendfile_sends_a_part)
{
    for (int which = 0; which < WAYS; which++) {
        sends(which, 1000, 1, 1);
        sends(which, 1234, 1 << 20, 1 << 20);
        sends(which, N - 5, 0, 5);
    }
}

COIL_TEST(sendfile_ends_where_the_file_does)
{
    for (int which = 0; which < WAYS; which++) {
        sends(which, N - 10, 1000, 10);
        sends(which, N, 0, 0);
    }
    int file = make_file(0);
    struct way way;
    for (int which = 0; which < WAYS; which++) {
        open_way(&way, which);
        assert_int_equal(must(send_with(&way, file, 0, 0, 0, NULL)), 0);
        assert_int_equal(must(send_with(&way, file, (int64_t)1 << 40, 7, 0, NULL)), 0);
        close_way(&way);
    }
    close(file);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static int sendfiles, preads;

static ssize_t counted_sendfile(int out, int in, off_t *at, size_t n)
{
    sendfiles++;
    return coil__sys_real.sendfile(out, in, at, n);
}

static ssize_t counted_pread(int fd, void *p, size_t n, off_t at)
{
    preads++;
    assert_true(n <= 256 * 1024);
    return coil__sys_real.pread(fd, p, n, at);
}

COIL_TEST(sendfile_is_the_kernels_where_it_can_be)
{
    int file = make_file(1000);
    for (int which = 0; which <= RAW; which++) {
        struct way way;
        open_way(&way, which);
        coil__sys.sendfile = counted_sendfile;
        coil__sys.pread = counted_pread;
        sendfiles = preads = 0;
        assert_int_equal(must(send_with(&way, file, 0, 0, 0, NULL)), 1000);
        assert_int_equal(sendfiles, wire_is_imaginary() ? 0 : 2);
        assert_int_equal(preads, wire_is_imaginary() ? 2 : 0);
        coil__sys.pread = coil__sys_real.pread;
        close_way(&way);
    }
    close(file);
}

COIL_TEST(sendfile_without_the_kernel_is_refused_if_so_asked)
{
    int file = make_file(1000);
    for (int which = BY_HAND; which < WAYS; which++) {
        struct way way;
        int64_t sent = -1;
        open_way(&way, which);
        assert_int_equal(send_with(&way, file, 0, 0, COIL_SENDFILE_NO_FALLBACK, &sent),
                         -EOPNOTSUPP);
        assert_int_equal(sent, 0);
        assert_non_null(strstr(coil_last_error()->message, "the kernel cannot send this file"));
        close_ours(&way);
        assert_int_equal(receive_all(way.peer), 0);
        close_way(&way);
    }
    close(file);
}

/* What goes wrong after the first byte is an error: the rest is not sent in another way. */
static int sendfile_left;

static ssize_t sendfile_that_breaks(int out, int in, off_t *at, size_t n)
{
    if (sendfile_left-- == 0)
        return -EINVAL;
    return coil__sys_real.sendfile(out, in, at, n < 1000 ? n : 1000);
}

COIL_TEST(sendfile_that_breaks_later_is_not_begun_anew)
{
    if (wire_is_imaginary())
        skip();
    int file = make_file(N);
    struct way way;
    int64_t sent = -1;
    open_way(&way, 0);
    sendfile_left = 3;
    coil__sys.sendfile = sendfile_that_breaks;
    assert_int_equal(send_with(&way, file, 0, 0, 0, &sent), -EINVAL);
    assert_int_equal(sent, 3000);
    assert_int_equal(must(lseek(file, 0, SEEK_CUR)), 3000);
    close_ours(&way);
    assert_int_equal(receive_all(way.peer), 3000);
    close_way(&way);
    close(file);
}

static ssize_t bad_disk(int fd, void *p, size_t n, off_t at)
{
    (void)p, (void)n;
    return at ? -EIO : coil__sys_real.pread(fd, p, 100, at);
}

COIL_TEST(sendfile_tells_of_a_bad_disk)
{
    int file = make_file(1000);
    for (int which = BY_HAND; which < WAYS; which++) {
        struct way way;
        int64_t sent = -1;
        open_way(&way, which);
        coil__sys.pread = bad_disk;
        assert_int_equal(send_with(&way, file, 0, 0, 0, &sent), -EIO);
        coil__sys.pread = coil__sys_real.pread;
        assert_int_equal(sent, 100);
        assert_int_equal(must(lseek(file, 0, SEEK_CUR)), 100);
        close_way(&way);
    }
    close(file);
}
#endif

/* ---- ends before the end ---- */

COIL_TEST(sendfile_cancelled_says_how_far)
{
    for (int which = 0; which < WAYS; which++) {
        struct sending s = {.file = make_file(N), .offset = 10};
        open_way(&s.way, which);
        coil_task *task = coil_create_task(send_it, &s);
        must(coil_sleep(0.05));
        bool waits = !coil_future_done(task);
        if (!wire_is_imaginary() || (which & RAW))
            assert_true(waits);
        if (waits && !(which & BY_HAND) && !wire_is_imaginary())
            assert_string_equal(coil_task_waiting_on(task), "sendfile");
        coil_task_cancel(task, NULL);
        coil_ret rc = coil_join(task);
        assert_true(waits ? rc == -ECANCELED : rc > 0);
        assert_true(s.sent > 0 && s.sent < N);
        assert_int_equal(must(lseek(s.file, 0, SEEK_CUR)), 10 + s.sent);
        close_ours(&s.way);
        assert_int_equal(receive_all(s.way.peer), s.sent);
        assert_memory_equal(got, data + 10, (size_t)s.sent);
        close_way(&s.way);
        close(s.file);
    }
}

static coil_ret send_then_sleep(void *arg)
{
    coil_ret rc = send_it(arg);
    return rc < 0 ? rc : coil_sleep(100);
}

COIL_TEST(sendfile_cancelled_at_any_turn_says_how_far)
{
    for (int which = 0; which < WAYS; which++) {
        for (int turns = 0; turns < 8; turns++) {
            struct sending s = {.file = make_file(N), .sent = 0};
            open_way(&s.way, which);
            coil_task *task = coil_create_task(send_then_sleep, &s);
            size_t have = 0;
            for (int i = 0; i < turns; i++) {
                must(coil_sleep(0));
                if (i == 4)
                    have = (size_t)must(coil_sock_recv(s.way.peer, got, 60000));
            }
            coil_task_cancel(task, NULL);
            assert_int_equal(coil_join(task), -ECANCELED);
            close_ours(&s.way);
            have += receive_all(s.way.peer);
            assert_int_equal(have, s.sent > 0 ? s.sent : 0);
            close_way(&s.way);
            close(s.file);
        }
    }
}

/* And no SIGPIPE kills the program. */
COIL_TEST(sendfile_to_a_peer_that_goes_says_how_far)
{
    for (int which = 0; which < WAYS; which++) {
        struct sending s = {.file = make_file(N)};
        open_way(&s.way, which);
        coil_task *task = coil_create_task(send_it, &s);
        must(coil_sock_recv(s.way.peer, got, 1000));
        coil_sock_close(s.way.peer);
        coil_ret rc = coil_join(task);
        assert_true(rc == -EPIPE || rc == -ECONNRESET);
        assert_true(s.sent >= 1000 && s.sent < N);
        rc = send_with(&s.way, s.file, 0, 0, 0, &s.sent);
        assert_true(rc == -EPIPE || rc == -ECONNRESET);
        assert_int_equal(s.sent, 0);
        close_way(&s.way);
        close(s.file);
    }
}

COIL_TEST(sendfile_on_a_socket_that_is_closed_meanwhile)
{
    struct sending s = {.file = make_file(N)};
    open_way(&s.way, 0);
    coil_task *task = coil_create_task(send_it, &s);
    must(coil_sleep(0.01));
    coil_sock_close(s.way.sock);
    assert_int_equal(coil_join(task), -EBADF);
    assert_true(s.sent > 0 && s.sent < N);
    assert_int_equal(send_with(&s.way, s.file, 0, 0, 0, NULL), -EBADF);
    close_way(&s.way);
    close(s.file);
}

static coil_ret send_and_close(void *arg)
{
    struct sending *s = arg;
    coil_ret rc = send_it(s);
    close_ours(&s->way);
    return rc;
}

COIL_TEST(sendfile_of_a_file_that_shrinks_sends_what_there_is)
{
    for (int which = 0; which < WAYS; which++) {
        struct sending s = {.file = make_file(N)};
        open_way(&s.way, which);
        coil_task *task = coil_create_task(send_and_close, &s);
        must(coil_sleep(0.01));
        must(ftruncate(s.file, N / 2));
        size_t have = receive_all(s.way.peer);
        assert_int_equal(coil_join(task), have);
        assert_true(have >= N / 2 && have < N); /* more if the kernel had more before */
        assert_int_equal(s.sent, have);
        assert_memory_equal(got, data, have);
        close_way(&s.way);
        close(s.file);
    }
}

/* ---- others ---- */

COIL_TEST(sendfile_one_sender_at_a_time)
{
    for (int which = 0; which < WAYS; which += BY_HAND) {
        struct sending s = {.file = make_file(N)};
        open_way(&s.way, which);
        coil_task *task = coil_create_task(send_it, &s);
        must(coil_sleep(0));
        assert_int_equal(coil_sock_send(s.way.sock, "x", 1), COIL_ERUNNING);
        assert_int_equal(coil_sock_sendfile(s.way.sock, s.file, 0, 0, 0, NULL), COIL_ERUNNING);
        wire_say(s.way.peer, "the other way is free");
        wire_expect(s.way.sock, "the other way is free");
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), -ECANCELED);
        close_way(&s.way);
        close(s.file);
    }
}

static coil_ret swallow(void *arg)
{
    static char bin[1 << 20];
    for (;;) {
        coil_ret rc = coil_sock_recv(arg, bin, sizeof bin);
        if (rc <= 0)
            return rc;
    }
}

static coil_ret count_turns(void *arg)
{
    for (int *n = arg;; ++*n) {
        coil_ret rc = coil_sleep(0);
        if (rc < 0)
            return rc;
    }
}

COIL_TEST(sendfile_leaves_room_for_others)
{
    int file = make_file(N);
    must(ftruncate(file, 16 << 20)); /* zeros that take no room */
    for (int which = 0; which < WAYS; which++) {
        struct way way;
        if (wire_is_imaginary() && !(which & RAW))
            continue; /* who never sleeps keeps that network from moving */
        open_way(&way, which);
        int turns = 0;
        coil_task *counter = coil_create_task(count_turns, &turns);
        coil_task *reader = coil_create_task(swallow, way.peer);
        assert_int_equal(must(send_with(&way, file, 0, 0, 0, NULL)), 16 << 20);
        assert_true(turns >= 12); /* a megabyte each */
        close_ours(&way);
        must(coil_join(reader));
        coil_task_cancel(counter, NULL);
        coil_ignore(coil_join(counter));
        close_way(&way);
    }
    close(file);
}

/* ---- what is refused ---- */

static void expect_words(coil_ret rc, coil_ret code, const char *words)
{
    assert_int_equal(rc, code);
    if (!strstr(coil_last_error()->message, words))
        fail_msg("\"%s\" does not say \"%s\"", coil_last_error()->message, words);
}

COIL_TEST(sendfile_refuses_by_name)
{
    int file = make_file(10), folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), pipe_fd[2];
    must(pipe2(pipe_fd, O_CLOEXEC));
    for (int which = 0; which <= RAW; which++) {
        struct way way;
        int64_t sent = -1;
        open_way(&way, which);
        expect_words(send_with(&way, file, -1, 0, 0, &sent), -EINVAL, "offset must be 0 or more");
        assert_int_equal(sent, 0);
        expect_words(send_with(&way, file, 0, -1, 0, &sent), -EINVAL, "count must be 0");
        expect_words(send_with(&way, file, 2, INT64_MAX, 0, &sent), -EOVERFLOW, "beyond any file");
        expect_words(send_with(&way, file, 0, 0, 64, &sent), -EINVAL, "no such flag");
        expect_words(send_with(&way, folder, 0, 0, 0, &sent), -EINVAL, "needs a regular file");
        expect_words(send_with(&way, pipe_fd[0], 0, 0, 0, &sent), -EINVAL, "needs a regular file");
        expect_words(send_with(&way, -1, 0, 0, 0, &sent), -EBADF, "the file");
        assert_int_equal(must(send_with(&way, file, INT64_MAX, 0, 0, &sent)), 0);
        close_way(&way);
    }
    coil_sock *udp;
    must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &udp));
    expect_words(coil_sock_sendfile(udp, file, 0, 0, 0, NULL), -EINVAL, "only SOCK_STREAM");
    int fd = coil_sock_fileno(udp);
    expect_words(coil_loop_sock_sendfile(NULL, fd, file, 0, 0, 0, NULL), COIL_EINVALIDSTATE,
                 "belongs to a coil socket");
    coil_sock_unref(udp);
    fd = (int)must(calls()->socket(coil_get_running_loop()->backend, AF_INET, SOCK_DGRAM, 0));
    expect_words(coil_loop_sock_sendfile(NULL, fd, file, 0, 0, 0, NULL), -EINVAL,
                 "only SOCK_STREAM");
    must(calls()->close(coil_get_running_loop()->backend, fd));
    assert_int_equal(coil_loop_sock_sendfile(NULL, pipe_fd[1], file, 0, 0, 0, NULL), -EINVAL);
    assert_int_equal(coil_loop_sock_sendfile(NULL, -1, file, 0, 0, 0, NULL), -EBADF);
    close(folder);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    close(file);
}

/* A plain socket that blocks would stop the loop. */
COIL_TEST(sendfile_refuses_a_blocking_socket)
{
    int fd[2], file = make_file(10);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd));
    expect_words(coil_loop_sock_sendfile(NULL, fd[0], file, 0, 0, 0, NULL), -EINVAL,
                 "must be non-blocking");
    close(fd[0]);
    close(fd[1]);
    close(file);
}

/* ---- memory ---- */

struct attempt {
    struct way *way;
    int file, made;
};

static void send_or_not(void *arg)
{
    struct attempt *a = arg;
    int64_t sent = -1;
    coil_ret rc = send_with(a->way, a->file, 0, 0, 0, &sent);
    assert_true(rc == 1000 || rc == -ENOMEM);
    a->made += rc == 1000;
    for (int64_t have = 0; have < sent;) {
        do
            rc = coil_sock_recv(a->way->peer, got, (size_t)(sent - have));
        while (rc == -ENOMEM);
        have += must(rc);
    }
}

COIL_TEST(sendfile_survives_failing_allocations)
{
    int file = make_file(1000);
    for (int which = 0; which < WAYS; which++) {
        struct way way;
        open_way(&way, which);
        struct attempt a = {.way = &way, .file = file};
        send_or_not(&a);
        int failed = sweep_allocations(send_or_not, &a);
        assert_true(a.made >= 2);
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
        if (which & BY_HAND)
            assert_true(failed >= 1);
#endif
        (void)failed;
        close_way(&way);
    }
    close(file);
}

static struct sending left;

static coil_ret leave_sending(void *arg)
{
    left = (struct sending){.file = make_file(N)};
    open_way(&left.way, *(int *)arg);
    coil_unref(coil_create_task(send_it, &left));
    return coil_sleep(0.01);
}

COIL_TEST_PLAIN(sendfile_is_unwound_with_its_loop)
{
    for (int which = 0; which < WAYS; which++) {
        assert_int_equal(wire_run(leave_sending, &which), 0);
        assert_true(left.rc == COIL_EEXIT || left.rc > 0);
        assert_true(left.sent > 0);
        assert_int_equal(lseek(left.file, 0, SEEK_CUR), left.sent);
        close(left.file);
        coil_sock_unref(left.way.sock);
        coil_sock_unref(left.way.peer);
        if (left.way.fd >= 0 && left.way.fd < 1 << 24)
            close(left.way.fd);
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
        coil__sys.sendfile = coil__sys_real.sendfile;
#endif
    }
}

COIL_TEST_MAIN()
