/* SPDX-License-Identifier: MIT
 *
 * test_rings.c: io_uring on the virtual kernel where a ring is refused, interrupted, made anew or used by another thread, and
 * where nobody wants what it brings. Elsewhere: other bad days (test_faults.c). */
#include "bad_day.h"

#include "base/memcheck.h"
#include "base/thread.h"
#include "io/uring.h"

#include <coil/error.h>

#if COIL_HAVE_URING

/* ---- what nobody wants ---- */

static int connected(struct world *w, struct sockaddr_storage *addr, socklen_t len)
{
    int fd = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    struct test_op c = connect_op(fd, addr, len);
    submit(w, &c);
    run_until(w, &c, 1);
    assert_int_equal(c.op.result, 0);
    return fd;
}

COIL_TEST_PLAIN(a_client_is_accepted_for_one_when_another_gave_up)
{
    struct world w;
    struct sockaddr_storage addr;
    socklen_t len;
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    int listener = make_listener(&w, &addr, &len, 8);
    own(&w, listener);
    struct test_op a[2] = {accept_op(listener), accept_op(listener)};
    a[0].op.flags = a[1].op.flags = OP_AHEAD;
    submit(&w, &a[0]);
    submit(&w, &a[1]);
    turns(&w, 3);
    unsigned cancels = vkernel_counted()->cancels;
    assert_int_equal(cancel(&w, &a[0]), 0);
    turns(&w, 3);
    assert_int_equal(vkernel_counted()->cancels, cancels); /* the request goes on */
    int client = connected(&w, &addr, len);
    run_until(&w, &a[1], 1);
    assert_true(a[1].op.result >= 0);
    assert_int_equal(a[0].done, 0);
    close_fd(&w, (int)a[1].op.result);
    close_fd(&w, client);
    close_fd(&w, listener);
    turns(&w, 5);
    end(&w);
}

/* One is accepted, and nobody asks for more: the kernel stops accepting at some point, and the others wait in the backlog,
 * where anybody sees them. */
COIL_TEST_PLAIN(a_listener_that_nobody_asks_leaves_clients_in_the_backlog)
{
    enum { CLIENTS = 80, AHEAD = 64 };
    struct world w;
    struct sockaddr_storage addr;
    socklen_t len;
    int client[CLIENTS], served;
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    int listener = make_listener(&w, &addr, &len, CLIENTS);
    own(&w, listener);
    struct test_op a = accept_op(listener);
    a.op.flags = OP_AHEAD;
    submit(&w, &a);
    turns(&w, 3);
    for (int i = 0; i < CLIENTS; i++)
        client[i] = connected(&w, &addr, len);
    turns(&w, 5);
    assert_int_equal(a.done, 1);
    assert_true(a.op.result >= 0);
    close_fd(&w, (int)a.op.result);
    int by_others = sys_accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    assert_true(by_others >= 0);
    sys_close(by_others);
    int n = 0;
    for (; (served = w.calls->accept(w.b, listener, NULL, NULL)) >= 0; n++)
        close_fd(&w, served);
    assert_int_equal(n, CLIENTS - 2); /* none is lost */
    for (int i = 0; i < CLIENTS; i++)
        close_fd(&w, client[i]);
    close_fd(&w, listener);
    turns(&w, 5);
    end(&w);
}

/* All in one turn, while one is asked for: they were accepted when it is known. */
COIL_TEST_PLAIN(clients_that_come_all_at_once_are_all_accepted)
{
    enum { CLIENTS = 80 };
    struct world w;
    struct sockaddr_storage addr;
    socklen_t len;
    int client[CLIENTS], served;
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    int listener = make_listener(&w, &addr, &len, CLIENTS);
    own(&w, listener);
    struct test_op a = accept_op(listener);
    a.op.flags = OP_AHEAD;
    submit(&w, &a);
    turns(&w, 3);
    for (int i = 0; i < CLIENTS; i++) {
        client[i] = w.calls->socket(w.b, AF_INET, SOCK_STREAM, 0);
        (void)sys_connect(client[i], (struct sockaddr *)&addr, len);
    }
    vkernel_pass(NS_PER_MS);
    run_until(&w, &a, 1);
    assert_true(a.op.result >= 0);
    close_fd(&w, (int)a.op.result);
    for (int n = 1; n < CLIENTS; n++) {
        served = w.calls->accept(w.b, listener, NULL, NULL);
        if (served == -EAGAIN) {
            a = accept_op(listener);
            submit(&w, &a);
            run_until(&w, &a, 1);
            served = (int)a.op.result;
        }
        assert_true(served >= 0);
        close_fd(&w, served);
    }
    for (int i = 0; i < CLIENTS; i++)
        close_fd(&w, client[i]);
    close_fd(&w, listener);
    turns(&w, 5);
    end(&w);
}

/* ---- what the kernel may not receive by itself ---- */

COIL_TEST_PLAIN(a_peek_that_waits_takes_nothing)
{
    struct world w;
    int fd[2];
    char buf[8] = "";
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    make_pair(&w, fd);
    own(&w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    r.op.buf.flags = MSG_PEEK;
    submit(&w, &r);
    turns(&w, 3);
    assert_int_equal(r.done, 0);
    assert_int_equal(readiness_find(&uring_of_backend(w.b)->r, fd[0])->in, IN_POLL);
    assert_int_equal(vkernel_send(fd[1], "abc", 3), 3);
    run_until(&w, &r, 1);
    assert_int_equal(r.op.result, 3);
    assert_memory_equal(buf, "abc", 3);
    memset(buf, 0, sizeof buf);
    assert_int_equal(read_one(&w, fd[0], buf, sizeof buf), 3);
    assert_memory_equal(buf, "abc", 3);
    close_fd(&w, fd[0]);
    close_fd(&w, fd[1]);
    turns(&w, 5);
    end(&w);
}

static struct test_op recvmsg_op(int fd, struct msghdr *hdr)
{
    return (struct test_op){
        .op = {.done = on_done, .fd = fd, .kind = OP_RECVMSG, .msg = {.hdr = hdr}}};
}

/* The RECV of one who gave up is under way still: a message is what it brings. */
COIL_TEST_PLAIN(a_message_waits_for_bytes_that_the_kernel_receives)
{
    struct world w;
    int fd[2];
    char buf[8] = "", left[2] = "", right[8] = "";
    struct iovec v[2] = {{left, sizeof left}, {right, sizeof right}};
    struct msghdr hdr = {.msg_iov = v, .msg_iovlen = 2};
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    make_tcp(&w, fd);
    own(&w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf), m = recvmsg_op(fd[0], &hdr);
    submit(&w, &r);
    turns(&w, 3);
    assert_int_equal(cancel(&w, &r), 0);
    assert_int_equal(w.calls->recvmsg(w.b, fd[0], &hdr, 0), -EAGAIN);
    submit(&w, &m);
    turns(&w, 3);
    assert_int_equal(m.done, 0);
    assert_int_equal(vkernel_send(fd[1], "abc", 3), 3);
    run_until(&w, &m, 1);
    assert_int_equal(m.op.result, 3);
    assert_memory_equal(left, "ab", 2);
    assert_memory_equal(right, "c", 1);
    vkernel_reset(fd[0]);
    turns(&w, 3);
    submit(&w, &m);
    run_until(&w, &m, 2);
    assert_int_equal(m.op.result, -ECONNRESET);
    close_fd(&w, fd[0]);
    close_fd(&w, fd[1]);
    turns(&w, 5);
    end(&w);
}

/* ---- enters that do not do what they should ---- */

static int (*real_enter)(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                         size_t arg_n);
static unsigned enters, refusals;
static int refusal;

/* Each second one goes to the kernel. */
static int interrupted_first(int fd, unsigned submit, unsigned want, unsigned flags,
                             const void *arg, size_t arg_n)
{
    return enters++ % 2 == 0 ? -EINTR : real_enter(fd, submit, want, flags, arg, arg_n);
}

static int does_nothing(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                        size_t arg_n)
{
    (void)fd, (void)submit, (void)want, (void)flags, (void)arg, (void)arg_n;
    enters++;
    return 0;
}

/* The next ones, as many as `refusals`. */
static int refused(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                   size_t arg_n)
{
    enters++;
    if (refusals == 0)
        return real_enter(fd, submit, want, flags, arg, arg_n);
    refusals--;
    return refusal;
}

static void enter_by(int (*fn)(int, unsigned, unsigned, unsigned, const void *, size_t))
{
    real_enter = coil__sys.io_uring_enter;
    coil__sys.io_uring_enter = fn;
    enters = 0;
}

static void enter_as_before(void)
{
    coil__sys.io_uring_enter = real_enter;
}

/* It says that there is work, and does none. */
COIL_TEST_PLAIN(a_close_does_not_wait_for_ever_for_work_of_the_kernels)
{
    struct world w;
    int fd[2];
    char buf[8];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    make_pair(&w, fd);
    own(&w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(&w, &r);
    turns(&w, 3);
    uint32_t *flags = uring_of_backend(w.b)->ring.sq_flags;
    *flags |= IORING_SQ_TASKRUN;
    enter_by(does_nothing);
    close_fd(&w, fd[0]);
    assert_true(enters > 1 && enters < 1000);
    enter_as_before();
    *flags &= ~(uint32_t)IORING_SQ_TASKRUN;
    turns(&w, 5);
    assert_int_equal(r.done, 1);
    assert_int_equal(vkernel_orphans(), 0); /* by the next enters, then */
    close_fd(&w, fd[1]);
    turns(&w, 5);
    end(&w);
}

COIL_TEST_PLAIN(completions_that_overflowed_come_though_enters_are_interrupted)
{
    enum { N = 12 };
    struct world w;
    int fd[N][2];
    struct test_op p[N];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){.cq_entries = 2});
    for (int i = 0; i < N; i++) {
        make_pair(&w, fd[i]);
        own(&w, fd[i][0]);
        p[i] = poll_op(fd[i][0], OP_IN, 0);
        submit(&w, &p[i]);
    }
    turns(&w, 10);
    for (int i = 0; i < N; i++)
        assert_int_equal(vkernel_send(fd[i][1], "x", 1), 1);
    enter_by(interrupted_first);
    look_once(&w); /* the first enter, in vain */
    look_once(&w);
    enter_as_before();
    assert_true(vkernel_counted()->overflows > 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(p[i].done, 1);
        close_fd(&w, fd[i][0]);
        close_fd(&w, fd[i][1]);
    }
    end(&w);
}

/* ---- who sleeps on the descriptor ---- */

/* Under Valgrind it can be slept on from the beginning. */
static bool needs_another_ring(void)
{
    if (memcheck_watches())
        print_message("the first ring will do here\n");
    return !memcheck_watches();
}

static bool shows(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct timespec now = {0, 0};
    return sys_ppoll(&p, 1, &now, NULL) == 1;
}

/* The first enter is interrupted, and has taken nothing: whoever sleeps next would miss what it was to ask for. */
COIL_TEST_PLAIN(what_is_asked_for_before_a_sleep_on_the_descriptor_is_asked_again_when_interrupted)
{
    struct world w;
    int fd[2];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    int kernel_fd = w.cls->poll_fd(w.b);
    assert_true(kernel_fd >= VKERNEL_FD);
    make_pair(&w, fd);
    struct test_op p = poll_op(fd[0], OP_IN, 0);
    submit(&w, &p);
    enter_by(interrupted_first);
    assert_int_equal(w.cls->poll_fd(w.b), kernel_fd);
    enter_as_before();
    assert_true(enters >= 2);
    assert_int_equal(vkernel_send(fd[1], "x", 1), 1);
    assert_true(shows(kernel_fd));
    look_once(&w);
    assert_int_equal(p.done, 1);
    close_fd(&w, fd[0]);
    close_fd(&w, fd[1]);
    turns(&w, 5);
    end(&w);
}

COIL_TEST_PLAIN(a_descriptor_that_cannot_be_slept_on_is_an_error_and_nothing_is_lost)
{
    struct world w;
    int fd[2];
    char buf[8];
    if (!needs_another_ring())
        return;
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    make_pair(&w, fd);
    own(&w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(&w, &r);
    turns(&w, 3);
    faults.setup_error = -ENOMEM; /* another ring would be needed */
    assert_int_equal(w.cls->poll_fd(w.b), -ENOMEM);
    faults.setup_error = 0;
    refusals = 1;
    refusal = -ENXIO;
    int kernel_fd = w.cls->poll_fd(w.b);
    assert_true(kernel_fd >= VKERNEL_FD);
    enter_by(refused);
    assert_int_equal(w.cls->poll_fd(w.b), -ENXIO);
    assert_int_equal(enters, 1); /* it says so each time: no use to ask again */
    enter_as_before();
    assert_int_equal(w.cls->poll_fd(w.b), kernel_fd);
    assert_int_equal(vkernel_send(fd[1], "abc", 3), 3);
    assert_true(shows(kernel_fd));
    run_until(&w, &r, 1);
    assert_int_equal(r.op.result, 3);
    close_fd(&w, fd[0]);
    close_fd(&w, fd[1]);
    turns(&w, 5);
    end(&w);
}

/* Another ring is needed, and files' ops are under way in this one; more than there is room for. */
static void files_before_a_descriptor(const struct backend_class *cls, int64_t meanwhile_ns)
{
    enum { N = 6 };
    struct world w;
    char buf[N][8];
    struct test_op t[N];
    begin(&w, cls, (struct vkernel_faults){.cq_entries = 4, .late = 1024});
    vkernel_disk_put("disk", "01234567", 8);
    int file = sys_openat(AT_FDCWD, "/vkernel/disk", O_RDONLY, 0);
    faults.refuses = meanwhile_ns ? 0 : 1024; /* then the ring stays full */
    for (int i = 0; i < N; i++) {
        t[i] = (struct test_op){
            .op = {.done = on_done, .fd = file, .kind = OP_PREAD, .at = {buf[i], 8, 0}}};
        submit(&w, &t[i]);
    }
    (void)w.cls->wait(w.b, 0);
    faults.refuses = 0;
    vkernel_pass(meanwhile_ns);
    assert_true(sys_fcntl(w.inbox->wake_fd, F_GETFD, 0) >= 0);
    refusals = meanwhile_ns ? 1 : 2; /* when there is no room, and then */
    refusal = -ENXIO;
    enter_by(refused);
    assert_int_equal(w.cls->poll_fd(w.b), -ENXIO);
    enter_as_before();
    faults.refuses = 700;
    assert_true(w.cls->poll_fd(w.b) >= VKERNEL_FD);
    faults.refuses = 0;
    reap(&w);
    for (int i = 0; i < N; i++) {
        assert_int_equal(t[i].done, 1); /* before the ring went */
        assert_int_equal(t[i].op.result, 8);
        assert_memory_equal(buf[i], "01234567", 8);
    }
    sys_close(file);
    end(&w);
}

COIL_TEST_PLAIN(files_are_read_to_the_end_before_the_ring_is_another)
{
    if (!needs_another_ring())
        return;
    files_before_a_descriptor(&coil__backend_uring, 0);
    files_before_a_descriptor(&coil__backend_uring_5_15, 0);
    files_before_a_descriptor(&coil__backend_uring_5_15, 10 * NS_PER_MS);
}

/* ---- another thread ---- */

static int said[2];

static void wait_and_ask(void *arg)
{
    struct world *w = arg;
    said[0] = w->cls->wait(w->b, 0);
    said[1] = w->cls->poll_fd(w->b);
    vkernel_thread_ends();
}

static void in_another_thread(struct world *w, void (*fn)(void *arg))
{
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "another", fn, w), 0);
    coil__thread_join(&thread);
}

/* The other thread finds that the read was interrupted. It cannot ask again; who owns the ring does. */
COIL_TEST_PLAIN(a_file_op_that_another_thread_finds_interrupted_is_asked_again)
{
    struct world w;
    char buf[8];
    /* There completions come without an enter. */
    begin(&w, &coil__backend_uring_5_15, (struct vkernel_faults){.late = 1024});
    vkernel_disk_put("disk", "01234567", 8);
    int file = sys_openat(AT_FDCWD, "/vkernel/disk", O_RDONLY, 0);
    struct test_op t = {.op = {.done = on_done, .fd = file, .kind = OP_PREAD, .at = {buf, 8, 0}}};
    submit(&w, &t);
    look_once(&w);
    faults.interrupts = 1024;
    vkernel_pass(10 * NS_PER_MS);
    assert_true(sys_fcntl(w.inbox->wake_fd, F_GETFD, 0) >= 0);
    faults.interrupts = 0;
    assert_true(vkernel_counted()->interrupted > 0);
    in_another_thread(&w, wait_and_ask);
    assert_int_equal(said[0], COIL_EWRONGTHREAD);
    assert_int_equal(said[1], COIL_EWRONGTHREAD);
    assert_int_equal(t.done, 0);
    run_until(&w, &t, 1);
    assert_int_equal(t.op.result, 8);
    assert_memory_equal(buf, "01234567", 8);
    sys_close(file);
    end(&w);
}

static void wait_once(void *arg)
{
    struct world *w = arg;
    said[0] = w->cls->wait(w->b, 0);
    reap(w);
    vkernel_thread_ends();
}

/* Where there was no room for what was received, and the kernel gives it only when the stock has no ring any more: all bytes are
 * there, and their buffers come back to the next ring. */
COIL_TEST_PLAIN(bytes_that_come_between_two_rings_are_there_and_so_are_their_buffers)
{
    struct world w;
    int fd[2];
    static char text[6000], heard[6000];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){.cq_entries = 2});
    assert_true(w.cls->poll_fd(w.b) >= 0);
    make_pair(&w, fd);
    own(&w, fd[0]);
    struct test_op r = recv_op(fd[0], heard, sizeof heard);
    submit(&w, &r);
    turns(&w, 10);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7 + i / 256);
    assert_int_equal(vkernel_send(fd[1], text, sizeof text), sizeof text);
    vkernel_pass(NS_PER_MS);
    assert_true(sys_fcntl(fd[0], F_GETFD, 0) >= 0);
    assert_true(vkernel_counted()->overflows > 0);
    refusal = -EBUSY;
    refusals = 100;
    enter_by(refused);
    look_once(&w); /* what had room */
    assert_int_equal(r.done, 1);
    size_t at = (size_t)r.op.result;
    assert_true(at < sizeof heard);
    r.op.buf.p = heard + at;
    r.op.buf.n = sizeof heard - at;
    submit(&w, &r);
    refusals = 2; /* what the other thread asks of the old ring before it has a new one */
    in_another_thread(&w, wait_once);
    enter_as_before();
    assert_int_equal(said[0], 0);
    run_until(&w, &r, 2);
    assert_int_equal(r.op.result, sizeof heard - at);
    assert_memory_equal(heard, text, sizeof text);
    turns(&w, 3);
    const struct provided *stock = &uring_of_backend(w.b)->provided;
    for (uint32_t i = 0; i < stock->n; i++)
        assert_false(stock->buffers[i].here);
    close_fd(&w, fd[0]);
    close_fd(&w, fd[1]);
    turns(&w, 5);
    end(&w);
}

/* ---- no memory ---- */

/* The ring is full, and not even a note can be made that a request is to be cancelled. It shows when the file has something to say,
 * and is cancelled then. */
COIL_TEST_PLAIN(a_request_that_could_not_be_cancelled_is_when_it_shows)
{
    struct world w;
    int fd[2], other[2];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){.cq_entries = 2});
    make_pair(&w, fd);
    make_pair(&w, other);
    own(&w, fd[0]);
    struct test_op p = poll_op(fd[0], OP_IN, 0), fill = poll_op(other[0], OP_IN, 0);
    submit(&w, &p);
    turns(&w, 5);
    faults.refuses = 1024;
    submit(&w, &fill); /* the one place for a request is taken */
    look_once(&w);
    coil__mem_fail_at(1, 1);
    close_fd(&w, fd[0]);
    coil__mem_fail_at(0, 0);
    faults.refuses = 0;
    turns(&w, 5);
    assert_int_equal(p.done, 1);
    assert_true(vkernel_orphans() > 0);
    assert_int_equal(vkernel_send(fd[1], "x", 1), 1);
    turns(&w, 5);
    assert_int_equal(vkernel_orphans(), 0);
    assert_int_equal(cancel(&w, &fill), 0);
    close_fd(&w, fd[1]);
    close_fd(&w, other[0]);
    close_fd(&w, other[1]);
    turns(&w, 5);
    end(&w);
}

COIL_TEST_PLAIN(the_stock_of_buffers_has_an_end_and_survives_want_of_memory)
{
    struct world w;
    int fd[2];
    char buf[8];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    struct provided *stock = &uring_of_backend(w.b)->provided;
    uint32_t n = stock->n;
    for (int at = 1; at <= 2; at++) {
        coil__mem_fail_at(at, 0);
        assert_false(coil__provided_grow(stock));
        coil__mem_fail_at(0, 0);
        assert_int_equal(stock->n, n);
    }
    while (coil__provided_grow(stock)) {
        assert_int_equal(stock->n, 2 * n);
        n = stock->n;
    }
    assert_int_equal(n, PROVIDED_MAX);
    assert_int_equal(stock->n, n);
    make_pair(&w, fd);
    own(&w, fd[0]);
    assert_int_equal(vkernel_send(fd[1], "abc", 3), 3);
    assert_int_equal(read_one(&w, fd[0], buf, sizeof buf), 3);
    close_fd(&w, fd[0]);
    close_fd(&w, fd[1]);
    turns(&w, 5);
    end(&w);
}

#endif

COIL_TEST_MAIN()
