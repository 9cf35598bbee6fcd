/* SPDX-License-Identifier: MIT
 *
 * test_cancels.c: the terminal-after-cancel table: one row for each kind of operation, one column for each thing that a
 * kernel may say to a cancel and then do all the same.
 *
 *     row: begin the operation, cancel it (or close under it), look what became of it
 *     columns: answer 0, -ENOENT, -EALREADY x the request's own end x which completion comes first x late or at once
 *
 * What must hold in each: the operation had no effect, or its effect is kept: bytes go back into the stream, an accepted
 * connection is handed to the next accept or closed with the listener, what was sent is counted, a file that was
 * opened is told. And nothing is left: no request, no file, no descriptor, no memory. */
#include "../unit/io/world.h"
#include "test.h"

#include "vkernel.h"

#include <coil/error.h>

/* ---- columns ---- */

struct column {
    struct vkernel_cancel cancel;
    bool late;
};

static const struct {
    enum vkernel_answer answer;
    enum vkernel_outcome outcome;
} ways[] = {
    {ANSWER_0, OUTCOME_CANCELED},     {ANSWER_0, OUTCOME_EINTR},
    {ANSWER_ENOENT, OUTCOME_OWN},     {ANSWER_ENOENT, OUTCOME_CANCELED},
    {ANSWER_EALREADY, OUTCOME_OWN},   {ANSWER_EALREADY, OUTCOME_CANCELED},
    {ANSWER_EALREADY, OUTCOME_EINTR}, {ANSWER_EALREADY, OUTCOME_PARTIAL},
    {ANSWER_EALREADY, OUTCOME_ERROR},
};

static struct column column;
static struct vkernel_faults faults;
static const struct backend_class *const backends[] = {
    &coil__backend_uring, &coil__backend_uring_5_15, &coil__backend_epoll, &coil__backend_poll};

/* For a failure to say where it was. */
static char place[160];

#define here(condition)                                          \
    do {                                                         \
        if (!(condition))                                        \
            fail_msg("%s: %s does not hold", place, #condition); \
    } while (0)

typedef void row_fn(struct world *w);

static unsigned cancels; /* that the kernel was asked for, of one row */

static void play(row_fn *row, const char *name, const struct backend_class *cls)
{
    struct world w;
    snprintf(place, sizeof place, "%s on %s, answer %d, outcome %d%s%s", name, cls->name,
             (int)column.cancel.answer, (int)column.cancel.outcome,
             column.cancel.answer_last ? ", the answer last" : "", column.late ? ", late" : "");
    memset(&faults, 0, sizeof faults);
    vkernel_begin(1, &faults);
    assert_int_equal(world_try_open(&w, cls, 0), 0);
    vkernel_next_cancels(column.cancel);
    faults.late = column.late ? 1024 : 0;
    row(&w);
    faults.late = 0;
    for (int i = 0; i < 20; i++)
        turn(&w, NS_PER_MS);
    here(vkernel_orphans() == 0);
    world_close(&w);
    cancels += vkernel_counted()->cancels;
    const char *left = vkernel_end();
    if (left)
        fail_msg("%s: not home: %s", place, left);
}

/* `errors`: an error of its own is among what this kind of request may end with. */
static void each_column(row_fn *row, const char *name, bool errors)
{
    cancels = 0;
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++)
        for (size_t i = 0; i < sizeof ways / sizeof *ways * 4; i++) {
            column = (struct column){
                .cancel = {.set = true,
                           .answer = ways[i / 4].answer,
                           .outcome = ways[i / 4].outcome,
                           .answer_last = i & 1},
                .late = i & 2,
            };
            if (ways[i / 4].outcome != OUTCOME_ERROR || errors)
                play(row, name, backends[b]);
        }
    if (cancels == 0 && strcmp(name, "close") != 0) /* which is not to be cancelled */
        fail_msg("%s: the kernel was never asked to cancel anything", name);
}

#define ROW(name, errors)                       \
    static void name##_row(struct world *w);    \
    COIL_TEST_PLAIN(cancelled_##name)           \
    {                                           \
        each_column(name##_row, #name, errors); \
    }                                           \
    static void name##_row(struct world *w)

/* ---- helpers ---- */

/* As a reader does: try, else wait; for at most as long as something may come. */
static ssize_t read_one(struct world *w, int fd, void *p, size_t n)
{
    ssize_t got = w->calls->recv(w->b, fd, p, n, 0);
    if (got != -EAGAIN)
        return got;
    struct test_op r = recv_op(fd, p, n);
    submit(w, &r);
    for (int i = 0; i < 50 && !r.done; i++)
        turn(w, NS_PER_MS);
    if (!r.done) {
        here(cancel(w, &r) == 0);
        return -EAGAIN;
    }
    return (ssize_t)r.op.result;
}

static void fill(char *p, size_t n, size_t from)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(1 + (from + i) % 251);
}

/* Exactly these bytes, and then the end. */
static void expect_stream(struct world *w, int fd, size_t from, size_t n, bool ends)
{
    char buf[3000], want[3000];
    size_t at = 0;
    while (at < n) {
        ssize_t got = read_one(w, fd, buf, sizeof buf);
        here(got > 0 && (size_t)got <= n - at);
        fill(want, (size_t)got, from + at);
        here(memcmp(buf, want, (size_t)got) == 0);
        at += (size_t)got;
    }
    if (ends)
        here(read_one(w, fd, buf, sizeof buf) == 0);
}

static void peer_sends(int fd, size_t from, size_t n)
{
    char buf[3000];
    while (n > 0) {
        size_t part = n < sizeof buf ? n : sizeof buf;
        fill(buf, part, from);
        here(vkernel_send(fd, buf, part) == (ssize_t)part);
        from += part;
        n -= part;
    }
}

/* An owned end, and the peer that the test plays by itself. */
static void make_ends(struct world *w, int out[2], bool tcp)
{
    if (tcp)
        make_tcp(w, out);
    else
        make_pair(w, out);
    own(w, out[0]);
}

/* ---- recv ---- */

static void recv_cancelled(struct world *w, bool tcp, bool before)
{
    int fd[2];
    char buf[100];
    make_ends(w, fd, tcp);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    here(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0) == -EAGAIN);
    submit(w, &r);
    turn(w, 0);
    if (before)
        peer_sends(fd[1], 0, 300);
    here(cancel(w, &r) == 0 && r.done == 0);
    if (!before)
        peer_sends(fd[1], 0, 300);
    turn(w, 0);
    here(r.done == 0);
    expect_stream(w, fd[0], 0, 300, false);
    peer_sends(fd[1], 300, 50);
    close_fd(w, fd[1]);
    expect_stream(w, fd[0], 300, 50, true);
    close_fd(w, fd[0]);
}

ROW(recv_before_the_bytes, false)
{
    recv_cancelled(w, true, false);
}

ROW(recv_when_the_bytes_have_come, false)
{
    recv_cancelled(w, true, true);
}

ROW(recv_of_a_unix_stream, false)
{
    recv_cancelled(w, false, true);
}

/* The request itself is cancelled: nobody reads, and it stops after so many buffers. */
ROW(recv_that_nobody_reads, false)
{
    int fd[2];
    char buf[100];
    make_ends(w, fd, false);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    turn(w, 0);
    here(cancel(w, &r) == 0);
    for (size_t i = 0; i < 10; i++) {
        peer_sends(fd[1], i * 2048, 2048);
        turn(w, 0);
    }
    turn(w, NS_PER_MS);
    expect_stream(w, fd[0], 0, 20480, false);
    close_fd(w, fd[1]);
    expect_stream(w, fd[0], 20480, 0, true);
    close_fd(w, fd[0]);
}

/* Full buffers in a row: it is cancelled for plain calls; small pieces bring it back. */
ROW(recv_in_bulk_and_back, false)
{
    int fd[2];
    make_ends(w, fd, true);
    size_t at = 0;
    for (int i = 0; i < 40; i++) {
        size_t n = i < 20 ? 2500 : 30;
        peer_sends(fd[1], at, n);
        expect_stream(w, fd[0], at, n, false);
        at += n;
    }
    close_fd(w, fd[1]);
    expect_stream(w, fd[0], at, 0, true);
    close_fd(w, fd[0]);
}

/* The end is seen beside the request, which is cancelled for plain calls. */
ROW(recv_when_the_peer_goes, false)
{
    int fd[2];
    char buf[100];
    make_ends(w, fd, false);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    turn(w, 0);
    peer_sends(fd[1], 0, 5000);
    close_fd(w, fd[1]);
    for (int i = 0; i < 5; i++)
        turn(w, NS_PER_MS);
    run_until(w, &r, 1);
    here(r.op.result == sizeof buf);
    expect_stream(w, fd[0], sizeof buf, 5000 - sizeof buf, true);
    close_fd(w, fd[0]);
}

ROW(recv_of_a_closed_descriptor, false)
{
    int fd[2];
    char buf[100];
    make_ends(w, fd, true);
    int hole = sys_eventfd(0, EFD_CLOEXEC); /* where the listener was */
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    turn(w, 0);
    peer_sends(fd[1], 0, 10);
    close_fd(w, fd[0]);
    run_until(w, &r, 1);
    here(r.op.result == -ECANCELED || r.op.result == 10);
    /* The number is another file's at once, and nothing of the first shows there. */
    int other[2];
    make_pair(w, other);
    here(other[0] == fd[0]);
    own(w, other[0]);
    here(read_one(w, other[0], buf, sizeof buf) == -EAGAIN);
    peer_sends(other[1], 7, 20);
    expect_stream(w, other[0], 7, 20, false);
    ssize_t end = vkernel_recv(fd[1], buf, sizeof buf);
    here(end == 0 || end == -ECONNRESET);
    here(sys_close(hole) == 0);
    close_fd(w, fd[1]);
    close_fd(w, other[0]);
    close_fd(w, other[1]);
}

ROW(recv_for_who_throws_the_bytes_away, false)
{
    int fd[2];
    char buf[100];
    make_ends(w, fd, true);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    turn(w, 0);
    peer_sends(fd[1], 0, 1000);
    here(cancel(w, &r) == 0);
    turn(w, NS_PER_MS);
    w->calls->discard(w->b, fd[0], 100000);
    here(read_one(w, fd[0], buf, sizeof buf) == -EAGAIN);
    peer_sends(fd[1], 1000, 50);
    expect_stream(w, fd[0], 1000, 50, false);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
}

ROW(recvmsg, false)
{
    int fd[2];
    char a[10], b[20];
    make_ends(w, fd, false);
    struct iovec v[2] = {{a, sizeof a}, {b, sizeof b}};
    struct msghdr hdr = {.msg_iov = v, .msg_iovlen = 2};
    struct test_op r = {.op = {.done = on_done, .fd = fd[0], .kind = OP_RECVMSG, .msg = {&hdr, 0}}};
    submit(w, &r);
    turn(w, 0);
    peer_sends(fd[1], 0, 100);
    here(cancel(w, &r) == 0 && r.done == 0);
    turn(w, NS_PER_MS);
    expect_stream(w, fd[0], 0, 100, false);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
}

/* ---- accept and connect ---- */

static struct test_op join(struct world *w, struct sockaddr_storage *addr, socklen_t len)
{
    int fd = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
    here(fd >= 0);
    own(w, fd);
    return connect_op(fd, addr, len);
}

static int accept_one(struct world *w, int listener)
{
    struct test_op a = accept_op(listener);
    a.op.flags = OP_AHEAD;
    submit(w, &a);
    for (int i = 0; i < 50 && !a.done; i++)
        turn(w, NS_PER_MS);
    if (a.done)
        return (int)a.op.result;
    here(cancel(w, &a) == 0);
    return -EAGAIN;
}

static void accept_cancelled(struct world *w, bool closes)
{
    struct sockaddr_storage addr;
    socklen_t len;
    char buf[10];
    int listener = make_listener(w, &addr, &len, 8);
    own(w, listener);
    struct test_op a = accept_op(listener), c = join(w, &addr, len);
    a.op.flags = OP_AHEAD;
    here(w->calls->accept(w->b, listener, NULL, NULL) == -EAGAIN);
    submit(w, &a);
    turn(w, 0);
    submit(w, &c);
    vkernel_pass(NS_PER_MS * 3); /* it stands in the backlog now */
    here(cancel(w, &a) == 0 && a.done == 0);
    turn(w, NS_PER_MS);
    here(a.done == 0);
    run_until(w, &c, 1);
    here(c.op.result == 0);
    if (closes) {
        close_fd(w, listener);
        for (int i = 0; i < 20; i++)
            turn(w, NS_PER_MS);
        /* Whoever had it, it is closed: the client is told. */
        ssize_t end = read_one(w, c.op.fd, buf, sizeof buf);
        here(end == 0 || end == -ECONNRESET);
    } else {
        int fd = accept_one(w, listener);
        here(fd >= 0);
        here(accept_one(w, listener) == -EAGAIN);
        here(vkernel_send(fd, "hi", 2) == 2);
        here(read_one(w, c.op.fd, buf, sizeof buf) == 2);
        close_fd(w, fd);
        close_fd(w, listener);
    }
    close_fd(w, c.op.fd);
}

ROW(accept_goes_to_the_next_accept, false)
{
    accept_cancelled(w, false);
}

ROW(accept_goes_with_the_listener, false)
{
    accept_cancelled(w, true);
}

ROW(connect, false)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = make_listener(w, &addr, &len, 8);
    own(w, listener);
    struct test_op c = join(w, &addr, len);
    submit(w, &c);
    turn(w, 0);
    here(c.done || cancel(w, &c) == 0);
    close_fd(w, c.op.fd);
    /* It was made or it was not; if it was, it is at an end. */
    char buf[10];
    int fd = accept_one(w, listener);
    if (fd >= 0) {
        own(w, fd);
        ssize_t end = read_one(w, fd, buf, sizeof buf);
        here(end == 0 || end == -ECONNRESET);
        close_fd(w, fd);
    }
    close_fd(w, listener);
}

/* ---- send ---- */

static void send_cancelled(struct world *w, enum op_kind kind)
{
    int fd[2];
    char piece[3000], buf[3000];
    size_t sent = 0, heard = 0;
    make_ends(w, fd, kind != OP_SENDV);
    for (;;) {
        fill(piece, sizeof piece, sent);
        ssize_t rc = w->calls->send(w->b, fd[0], piece, sizeof piece);
        if (rc == -EAGAIN)
            break;
        here(rc > 0);
        sent += (size_t)rc;
    }
    fill(piece, sizeof piece, sent);
    struct iovec v = {piece, sizeof piece};
    struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1};
    struct test_op s = send_op(fd[0], piece, sizeof piece);
    s.op.kind = (uint8_t)kind;
    if (kind == OP_SENDV) {
        s.op.vec.v = &v;
        s.op.vec.n = 1;
    } else if (kind == OP_SENDMSG) {
        s.op.msg.hdr = &hdr;
        s.op.msg.flags = 0;
    }
    submit(w, &s);
    turn(w, 0);
    here(!s.done);
    vkernel_pass(5 * NS_PER_MS);
    ssize_t first = vkernel_recv(fd[1], buf, 1000); /* not yet room enough to be told */
    here(first == 1000);
    if (cancel(w, &s) != 0)
        run_until(w, &s, 1);
    sent += s.done && s.op.result > 0 ? (size_t)s.op.result : 0;
    memset(piece, 0x55, sizeof piece); /* it is ours again */
    for (heard = 1000;;) {
        turn(w, NS_PER_MS);
        ssize_t got = vkernel_recv(fd[1], buf, sizeof buf);
        if (got == -EAGAIN)
            break;
        fill(piece, (size_t)got, heard);
        here(memcmp(buf, piece, (size_t)got) == 0);
        heard += (size_t)got;
    }
    here(heard == sent);
    here(w->calls->send(w->b, fd[0], "x", 1) == 1);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
}

ROW(send, false)
{
    send_cancelled(w, OP_SEND);
}

ROW(sendv, false)
{
    send_cancelled(w, OP_SENDV);
}

ROW(sendmsg, false)
{
    send_cancelled(w, OP_SENDMSG);
}

/* ---- polls, pipes ---- */

static void poll_cancelled(struct world *w, unsigned flags)
{
    int fd[2];
    make_pair(w, fd);
    struct test_op p = poll_op(fd[0], OP_IN, flags);
    submit(w, &p);
    turn(w, 0);
    peer_sends(fd[1], 0, 10);
    here(cancel(w, &p) == 0 && p.done == 0);
    for (int i = 0; i < 10; i++)
        turn(w, NS_PER_MS);
    here(p.done == 0);
    struct test_op again = poll_op(fd[0], OP_IN | OP_OUT, 0);
    submit(w, &again);
    run_until(w, &again, 1);
    here(again.op.result & OP_IN);
    w->calls->forget(w->b, fd[0]);
    here(sys_close(fd[0]) == 0);
    /* Another file behind the number. */
    int other[2];
    make_pair(w, other);
    here(other[0] == fd[0]);
    struct test_op next = poll_op(other[0], OP_IN, 0);
    submit(w, &next);
    for (int i = 0; i < 10; i++)
        turn(w, NS_PER_MS);
    here(next.done == 0);
    peer_sends(other[1], 0, 1);
    run_until(w, &next, 1);
    close_fd(w, other[0]);
    close_fd(w, other[1]);
    close_fd(w, fd[1]);
}

ROW(poll_of_a_raw_descriptor, false)
{
    poll_cancelled(w, 0);
}

ROW(level_poll_of_a_raw_descriptor, false)
{
    poll_cancelled(w, OP_LEVEL);
}

ROW(read_of_a_pipe, false)
{
    int fd[2];
    char buf[10];
    here(w->calls->pipe(w->b, fd) == 0);
    own(w, fd[0]);
    struct test_op r = {
        .op = {.done = on_done, .fd = fd[0], .kind = OP_READ, .buf = {buf, sizeof buf, 0}}};
    submit(w, &r);
    turn(w, 0);
    here(sys_write(fd[1], "hello", 5) == 5);
    here(cancel(w, &r) == 0 && r.done == 0);
    turn(w, NS_PER_MS);
    here(w->calls->read(w->b, fd[0], buf, sizeof buf) == 5);
    close_fd(w, fd[1]);
    struct test_op end = {
        .op = {.done = on_done, .fd = fd[0], .kind = OP_READ, .buf = {buf, sizeof buf, 0}}};
    submit(w, &end);
    run_until(w, &end, 1);
    here(end.op.result == 0);
    close_fd(w, fd[0]);
}

ROW(write_to_a_pipe, false)
{
    int fd[2];
    static char block[5000], back[5000];
    here(w->calls->pipe(w->b, fd) == 0);
    own(w, fd[1]);
    ssize_t wrote = w->calls->write(w->b, fd[1], block, sizeof block);
    here(wrote > 0 && wrote < (ssize_t)sizeof block);
    struct test_op t = {
        .op = {.done = on_done, .fd = fd[1], .kind = OP_WRITE, .buf = {block, 100, 0}}};
    submit(w, &t);
    turn(w, 0);
    here(vkernel_recv(fd[0], back, 1) == 1);
    here(cancel(w, &t) == 0 && t.done == 0);
    turn(w, NS_PER_MS);
    here(vkernel_recv(fd[0], back, sizeof back) == wrote - 1);
    here(vkernel_recv(fd[0], back, sizeof back) == -EAGAIN);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
}

/* ---- files ---- */

static bool does_files(struct world *w)
{
    return backend_does_files(w->b);
}

/* Submitted, handed over, cancelled; its last word. */
static int64_t cancelled_file_op(struct world *w, struct test_op *t)
{
    faults.late = 1024; /* else it is done before it can be cancelled */
    submit(w, t);
    turn(w, 0);
    here(t->done || cancel(w, t) == -EINPROGRESS);
    run_until(w, t, 1);
    faults.late = column.late ? 1024 : 0;
    return t->op.result;
}

/* Nothing was done, or it was, and is told. */
static bool is_told(int64_t rc)
{
    switch (column.cancel.outcome) {
    case OUTCOME_CANCELED:
    case OUTCOME_EINTR: return rc == -ECANCELED;
    case OUTCOME_ERROR: return rc == -EIO;
    default: return rc >= 0;
    }
}

static int open_disk(void)
{
    int fd = sys_openat(AT_FDCWD, "/vkernel/disk", O_RDWR, 0);
    here(fd >= 0);
    return fd;
}

ROW(pread, true)
{
    if (!does_files(w))
        return;
    vkernel_disk_put("disk", "0123456789", 10);
    int fd = open_disk();
    char *buf = malloc(8); /* so that a late word shows as a use after free */
    struct test_op t = {.op = {.done = on_done, .fd = fd, .kind = OP_PREAD, .at = {buf, 8, 1}}};
    int64_t rc = cancelled_file_op(w, &t);
    here(is_told(rc) && (rc < 0 || rc == (column.cancel.outcome == OUTCOME_PARTIAL ? 4 : 8)));
    if (rc > 0)
        here(memcmp(buf, "12345678", (size_t)rc) == 0);
    free(buf);
    here(sys_close(fd) == 0);
}

ROW(pwrite, true)
{
    if (!does_files(w))
        return;
    static const char before[] = "0123456789";
    char now[16], *buf = malloc(8);
    memcpy(buf, "ABCDEFGH", 8);
    vkernel_disk_put("disk", before, 10);
    int fd = open_disk();
    struct test_op t = {.op = {.done = on_done, .fd = fd, .kind = OP_PWRITE, .at = {buf, 8, 0}}};
    int64_t rc = cancelled_file_op(w, &t);
    here(is_told(rc) && (rc < 0 || rc == (column.cancel.outcome == OUTCOME_PARTIAL ? 4 : 8)));
    free(buf);
    here(vkernel_disk_get("disk", now, sizeof now) == 10);
    size_t done = rc > 0 ? (size_t)rc : 0;
    here(memcmp(now, "ABCDEFGH", done) == 0);
    here(memcmp(now + done, before + done, 10 - done) == 0);
    here(sys_close(fd) == 0);
}

ROW(fsync, true)
{
    if (!does_files(w))
        return;
    vkernel_disk_put("disk", "x", 1);
    int fd = open_disk();
    struct test_op t = {.op = {.done = on_done, .fd = fd, .kind = OP_FSYNC}};
    int64_t rc = cancelled_file_op(w, &t);
    here(is_told(rc));
    here(sys_close(fd) == 0);
}

ROW(openat, true)
{
    if (!does_files(w))
        return;
    char *path = malloc(32);
    strcpy(path, "/vkernel/disk");
    vkernel_disk_put("disk", "x", 1);
    struct test_op t = {.op = {.done = on_done,
                               .fd = AT_FDCWD,
                               .kind = OP_OPENAT,
                               .open = {.path = path, .flags = O_RDONLY, .mode = 0}}};
    int64_t rc = cancelled_file_op(w, &t);
    free(path);
    here(is_told(rc));
    if (rc >= 0)
        here(sys_close((int)rc) == 0);
}

/* Not to be cancelled: it is made, whatever is said. */
ROW(close, false)
{
    if (!does_files(w))
        return;
    vkernel_disk_put("disk", "x", 1);
    int fd = open_disk();
    struct test_op t = {.op = {.done = on_done, .fd = fd, .kind = OP_CLOSE}};
    here(cancelled_file_op(w, &t) == 0);
    here(sys_close(fd) == -EBADF);
}

COIL_TEST_MAIN()
