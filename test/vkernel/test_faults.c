/* SPDX-License-Identifier: MIT
 *
 * test_faults.c: single bad days of the kernel, one a test, on the virtual one: no room for requests or completions, an
 * end without MORE, no io_uring at all, leftovers of files that used to have a number. Elsewhere: all at once
 * (test_storm.c), cancels (test_cancels.c). */
#include "bad_day.h"

#include "base/thread.h"

#include <coil.h>
#include <coil/error.h>

/* ---- no io_uring ---- */

static coil_ret which(void *arg)
{
    snprintf(arg, 16, "%s", coil_loop_backend(NULL));
    return 0;
}

static void refused_with(int error)
{
    coil_run_opts opts = {.size = sizeof opts, .backend = "auto", .no_signals = true};
    char name[16] = "";
    faults = (struct vkernel_faults){.setup_error = error};
    vkernel_begin(1, &faults);
    assert_int_equal(coil_run_with(which, name, &opts), 0);
    assert_string_equal(name, "epoll");
    opts.backend = "uring"; /* named: then it is that or nothing */
    assert_int_equal(coil_run_with(which, name, &opts), error);
    assert_non_null(strstr(coil_last_error()->message, "uring"));
    assert_null(vkernel_end());
}

COIL_TEST_PLAIN(where_io_uring_is_refused_epoll_is_taken)
{
    refused_with(-ENOSYS);
    refused_with(-EPERM);
    refused_with(-ENOMEM);
}

/* ---- requests that find no room ---- */

/* The ring is full and the kernel takes nothing, while a descriptor closes. The requests that stand on it are cancelled
 * all the same, later: or the file stays open, and the peer never learns of it. */
static void closed_while_nothing_is_taken(const struct backend_class *cls, int n)
{
    enum { MANY = 100 };
    struct world w;
    static int fd[MANY][2];
    char buf[10];
    assert_true(n <= MANY);
    begin(&w, cls, (struct vkernel_faults){.cq_entries = 4});
    static struct test_op r[MANY];
    for (int i = 0; i < n; i++) {
        make_pair(&w, fd[i]);
        own(&w, fd[i][0]);
        r[i] = recv_op(fd[i][0], buf, sizeof buf);
        submit(&w, &r[i]);
    }
    turns(&w, 20 + 2 * n);
    faults.refuses = 1024;
    for (int i = 0; i < n; i++)
        close_fd(&w, fd[i][0]);
    faults.refuses = 0;
    turns(&w, 20 + 2 * n);
    assert_int_equal(vkernel_orphans(), 0);
    for (int i = 0; i < n; i++) {
        assert_int_equal(r[i].done, 1);
        assert_int_equal(vkernel_recv(fd[i][1], buf, sizeof buf), 0);
        close_fd(&w, fd[i][1]);
    }
    end(&w);
}

COIL_TEST_PLAIN(a_close_is_told_to_the_peer_though_the_ring_was_full)
{
    closed_while_nothing_is_taken(&coil__backend_uring, 8);
    closed_while_nothing_is_taken(&coil__backend_uring_5_15, 8);
}

COIL_TEST_PLAIN(a_hundred_closes_are_told_though_the_ring_was_full)
{
    closed_while_nothing_is_taken(&coil__backend_uring, 100);
    closed_while_nothing_is_taken(&coil__backend_uring_5_15, 100);
}

/* What is owed to a file op that has ended meanwhile must not hit the next one at its address. */
COIL_TEST_PLAIN(a_cancel_that_waited_for_room_does_not_hit_another)
{
    struct world w;
    int fd[2];
    char buf[8];
    /* There completions come without an enter. */
    begin(&w, &coil__backend_uring_5_15, (struct vkernel_faults){.cq_entries = 2, .late = 1024});
    vkernel_disk_put("disk", "01234567", 8);
    int file = sys_openat(AT_FDCWD, "/vkernel/disk", O_RDONLY, 0);
    make_pair(&w, fd);
    struct test_op t = {.op = {.done = on_done, .fd = file, .kind = OP_PREAD, .at = {buf, 8, 0}}};
    submit(&w, &t);
    turn(&w, 0);
    faults.refuses = 1024;
    struct test_op fill = poll_op(fd[0], OP_IN, 0); /* the one place for a request is taken */
    submit(&w, &fill);
    turn(&w, 0);
    assert_int_equal(cancel(&w, &t), -EINPROGRESS);
    vkernel_pass(10 * NS_PER_MS);
    for (int i = 0; i < 5 && !t.done; i++)
        turn(&w, 0);
    assert_int_equal(t.done, 1); /* it was quicker */
    assert_int_equal(t.op.result, 8);
    faults.refuses = 0;
    memset(buf, 0, sizeof buf);
    submit(&w, &t);
    run_until(&w, &t, 2);
    assert_int_equal(t.op.result, 8);
    assert_memory_equal(buf, "01234567", 8);
    assert_int_equal(cancel(&w, &fill), 0);
    turns(&w, 5);
    sys_close(file);
    close_fd(&w, fd[0]);
    close_fd(&w, fd[1]);
    end(&w);
}

/* A loop that is always busy never sleeps; what overflowed reaches it all the same. */
COIL_TEST_PLAIN(completions_that_overflowed_reach_who_never_sleeps)
{
    struct world w;
    int fd[12][2];
    struct test_op p[12];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){.cq_entries = 2});
    for (int i = 0; i < 12; i++) {
        make_pair(&w, fd[i]);
        own(&w, fd[i][0]);
        p[i] = poll_op(fd[i][0], OP_IN, 0);
        submit(&w, &p[i]);
    }
    turns(&w, 10);
    for (int i = 0; i < 12; i++)
        assert_int_equal(vkernel_send(fd[i][1], "x", 1), 1);
    for (int i = 0; i < 12; i++)
        look_once(&w);
    for (int i = 0; i < 12; i++)
        assert_int_equal(p[i].done, 1);
    assert_true(vkernel_counted()->overflows > 0);
    for (int i = 0; i < 12; i++) {
        close_fd(&w, fd[i][0]);
        close_fd(&w, fd[i][1]);
    }
    end(&w);
}

/* The ring is made anew while bytes and a connection that the kernel has handed over stand where there was no room. */
static void turn_once(void *arg)
{
    struct world *w = arg;
    (void)w->cls->wait(w->b, 0);
    vkernel_thread_ends();
}

COIL_TEST_PLAIN(what_overflowed_outlives_a_change_of_threads)
{
    struct world w;
    struct sockaddr_storage addr;
    socklen_t len;
    int fd[2];
    char buf[6];
    static char text[6000], heard[6000];
    /* A ring that does its work whenever the kernel is entered. */
    begin(&w, &coil__backend_uring, (struct vkernel_faults){.cq_entries = 2});
    assert_true(w.cls->poll_fd(w.b) >= 0);
    int listener = make_listener(&w, &addr, &len, 8);
    own(&w, listener);
    make_pair(&w, fd);
    own(&w, fd[0]);
    struct test_op a = accept_op(listener), r = recv_op(fd[0], buf, sizeof buf);
    a.op.flags = OP_AHEAD;
    submit(&w, &a);
    submit(&w, &r);
    turns(&w, 10);
    assert_int_equal(cancel(&w, &r), 0);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7 + i / 256);
    assert_int_equal(vkernel_send(fd[1], text, sizeof text), sizeof text);
    int client = w.calls->socket(w.b, AF_INET, SOCK_STREAM, 0);
    assert_int_equal(sys_connect(client, (struct sockaddr *)&addr, len), -EINPROGRESS);
    vkernel_pass(NS_PER_MS);
    assert_true(sys_fcntl(client, F_GETFD, 0) >= 0);
    assert_true(vkernel_counted()->overflows > 0);
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "another", turn_once, &w), 0);
    coil__thread_join(&thread);
    for (size_t at = 0; at < sizeof heard;) {
        ssize_t got = read_one(&w, fd[0], heard + at, sizeof heard - at);
        assert_true(got > 0);
        at += (size_t)got;
    }
    assert_memory_equal(heard, text, sizeof text);
    run_until(&w, &a, 1);
    assert_true(a.op.result >= 0);
    close_fd(&w, (int)a.op.result);
    close_fd(&w, client);
    close_fd(&w, listener);
    close_fd(&w, fd[0]);
    close_fd(&w, fd[1]);
    turns(&w, 5);
    end(&w);
}

/* ---- what comes too late ---- */

COIL_TEST_PLAIN(buffers_of_sockets_that_closed_come_back)
{
    struct world w;
    int fd[2];
    char buf[10];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){0});
    vkernel_next_cancels(
        (struct vkernel_cancel){.set = true, .answer = ANSWER_EALREADY, .outcome = OUTCOME_OWN});
    for (int i = 0; i < 200; i++) {
        make_pair(&w, fd);
        own(&w, fd[0]);
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(&w, &r);
        turn(&w, 0);
        assert_int_equal(vkernel_send(fd[1], "late", 4), 4);
        close_fd(&w, fd[0]);
        turns(&w, 3);
        close_fd(&w, fd[1]);
    }
    assert_int_equal(vkernel_counted()->no_buffers, 0);
    end(&w);
}

/* A copy of the descriptor lives elsewhere, and the kernel goes on reporting it under the old number. */
static void stale_report(const struct backend_class *cls)
{
    struct world w;
    int fd[2], other[2];
    begin(&w, cls, (struct vkernel_faults){0});
    make_pair(&w, fd);
    struct test_op p = poll_op(fd[0], OP_IN, 0), q;
    submit(&w, &p);
    turn(&w, 0);
    assert_int_equal(cancel(&w, &p), 0);
    int copy = vkernel_dup(fd[0]);
    assert_int_equal(sys_close(fd[0]), 0); /* behind our back */
    make_pair(&w, other);
    assert_int_equal(other[0], fd[0]);
    q = poll_op(other[0], OP_IN, 0);
    submit(&w, &q);
    turn(&w, 0);
    assert_int_equal(vkernel_send(fd[1], "x", 1), 1);
    turns(&w, 10);
    assert_int_equal(q.done, 0);
    assert_int_equal(vkernel_send(other[1], "x", 1), 1);
    run_until(&w, &q, 1);
    vkernel_recv(copy, &p, 1);
    sys_close(copy);
    close_fd(&w, fd[1]);
    close_fd(&w, other[0]);
    close_fd(&w, other[1]);
    turns(&w, 5);
    end(&w);
}

COIL_TEST_PLAIN(a_report_of_the_file_that_had_the_number_is_no_report)
{
    stale_report(&coil__backend_epoll);
    stale_report(&coil__backend_uring);
    stale_report(&coil__backend_uring_5_15);
    stale_report(&coil__backend_poll);
}

/* ---- cancels that miss ---- */

/* A request that has work waiting is not found by a cancel, and lives on (liburing issue 1375). It must not be left at
 * that: the end of a stream would never be seen. */
COIL_TEST_PLAIN(an_end_is_seen_though_the_cancel_missed)
{
    struct world w;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        int fd[2];
        char buf[100];
        faults = (struct vkernel_faults){.shuffle = 512};
        vkernel_begin(seed, &faults);
        assert_int_equal(world_try_open(&w, &coil__backend_uring, 0), 0);
        make_pair(&w, fd);
        own(&w, fd[0]);
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(&w, &r);
        turn(&w, 0);
        faults.races = faults.few = 1024;
        assert_int_equal(vkernel_send(fd[1], "last words", 10), 10);
        close_fd(&w, fd[1]);
        run_until(&w, &r, 1);
        assert_int_equal(r.op.result, 10);
        submit(&w, &r);
        for (int i = 0; i < 100 && r.done < 2; i++)
            turn(&w, NS_PER_MS);
        if (r.done < 2)
            fail_msg("seed %d: the end never came", (int)seed);
        assert_int_equal(r.op.result, 0);
        faults.races = faults.few = 0;
        close_fd(&w, fd[0]);
        turns(&w, 10);
        end(&w);
    }
}

/* A server that takes no more clients for now leaves them in the backlog. */
COIL_TEST_PLAIN(a_listener_that_nobody_asks_is_stopped_though_the_cancel_missed)
{
    struct world w;
    struct sockaddr_storage addr;
    socklen_t len;
    enum { CLIENTS = 100 };
    unsigned most = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        int fds[CLIENTS];
        faults = (struct vkernel_faults){0};
        vkernel_begin(seed, &faults);
        assert_int_equal(world_try_open(&w, &coil__backend_uring, 0), 0);
        int listener = make_listener(&w, &addr, &len, 64);
        own(&w, listener);
        struct test_op a = accept_op(listener);
        a.op.flags = OP_AHEAD;
        submit(&w, &a);
        turn(&w, 0);
        for (int i = 0; i < CLIENTS; i++) {
            fds[i] = w.calls->socket(w.b, AF_INET, SOCK_STREAM, 0);
            assert_int_equal(sys_connect(fds[i], (struct sockaddr *)&addr, len), -EINPROGRESS);
            if (i == 0) { /* it has work waiting now */
                vkernel_pass(NS_PER_MS);
                faults.races = 1024;
                assert_int_equal(cancel(&w, &a), 0);
            }
            turn(&w, 100 * NS_PER_US);
        }
        turns(&w, 20);
        /* What it accepted by itself has numbers; the rest stands in the backlog, or still knocks. */
        int next = sys_eventfd(0, 0);
        assert_true(next >= 0);
        unsigned accepted = (unsigned)(next - listener - CLIENTS - 1);
        if (accepted > 8)
            fail_msg("seed %d: %u connections were accepted, and nobody asked", (int)seed,
                     accepted);
        most = accepted > most ? accepted : most;
        sys_close(next);
        for (int i = 0; i < CLIENTS; i++)
            close_fd(&w, fds[i]);
        faults.races = 0;
        close_fd(&w, listener);
        turns(&w, 20);
        end(&w);
    }
    assert_true(most > 0); /* the cancel did miss */
}

/* ---- ends without MORE ---- */

static void rings_again_and_again(const struct backend_class *cls)
{
    struct world w;
    uint64_t one = 1;
    begin(&w, cls, (struct vkernel_faults){.ends = 1024});
    for (int i = 0; i < 10; i++) {
        assert_int_equal(sys_write(w.inbox->wake_fd, &one, sizeof one), 8);
        /* A sleep for ever: the kernel fails the test if it is not woken. */
        assert_int_equal(w.cls->wait(w.b, -1), 0);
    }
    end(&w);
}

COIL_TEST_PLAIN(the_bell_is_heard_though_each_report_is_the_last)
{
    rings_again_and_again(&coil__backend_uring);
    rings_again_and_again(&coil__backend_uring_5_15);
}

static bool rings(struct world *w)
{
    struct pollfd p = {.fd = w->inbox->wake_fd, .events = POLLIN};
    struct timespec now = {0, 0};
    return sys_ppoll(&p, 1, &now, NULL) == 1;
}

/* The ring was full when the bell was to be armed again, and then the kernel took all, and slept. */
static void rings_though_there_was_no_room(const struct backend_class *cls)
{
    struct world w;
    uint64_t one = 1;
    int fd[2];
    for (uint64_t seed = 1; seed <= 100; seed++) {
        faults = (struct vkernel_faults){.cq_entries = 2, .ends = 1024};
        vkernel_begin(seed, &faults);
        assert_int_equal(world_try_open(&w, cls, 0), 0);
        make_pair(&w, fd);
        faults.refuses = 512;
        for (int i = 0; i < 20; i++) {
            struct test_op p = poll_op(fd[0], OP_IN, 0);
            submit(&w, &p);
            look_once(&w);
            assert_int_equal(sys_write(w.inbox->wake_fd, &one, sizeof one), 8);
            do
                assert_int_equal(w.cls->wait(w.b, -1), 0);
            while (rings(&w));
            assert_int_equal(cancel(&w, &p), 0);
        }
        faults.refuses = 0;
        close_fd(&w, fd[0]);
        close_fd(&w, fd[1]);
        turns(&w, 5);
        end(&w);
    }
}

COIL_TEST_PLAIN(the_bell_is_heard_though_there_was_no_room_to_ask_for_it)
{
    rings_though_there_was_no_room(&coil__backend_uring);
    rings_though_there_was_no_room(&coil__backend_uring_5_15);
}

/* The kernel takes no request while completions stand over (Linux 5.15), and more are asked for than there is room. */
static void files_of_a_full_ring(const struct backend_class *cls, bool interrupts)
{
    enum { N = 40 };
    struct world w;
    static char buf[N][8];
    static struct test_op t[N];
    begin(&w, cls, (struct vkernel_faults){.linux_version = 515, .cq_entries = 8});
    faults.interrupts = interrupts ? 400 : 0;
    faults.late = interrupts ? 1024 : 0;
    vkernel_disk_put("disk", "01234567", 8);
    int file = sys_openat(AT_FDCWD, "/vkernel/disk", O_RDONLY, 0);
    for (int i = 0; i < N; i++) {
        t[i] = (struct test_op){
            .op = {.done = on_done, .fd = file, .kind = OP_PREAD, .at = {buf[i], 8, 0}}};
        submit(&w, &t[i]);
    }
    for (int i = 0; i < N; i++) {
        run_until(&w, &t[i], 1);
        assert_int_equal(t[i].op.result, 8);
        assert_memory_equal(buf[i], "01234567", 8);
    }
    faults.interrupts = 0;
    sys_close(file);
    end(&w);
}

COIL_TEST_PLAIN(files_are_read_though_the_ring_was_full)
{
    files_of_a_full_ring(&coil__backend_uring_5_15, false);
    files_of_a_full_ring(&coil__backend_uring, false);
    files_of_a_full_ring(&coil__backend_uring_5_15, true);
}

COIL_TEST_PLAIN(every_read_and_accept_works_though_each_completion_is_the_last)
{
    struct world w;
    struct sockaddr_storage addr;
    socklen_t len;
    char buf[10];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){.ends = 1024});
    int listener = make_listener(&w, &addr, &len, 8);
    own(&w, listener);
    for (int i = 0; i < 10; i++) {
        struct test_op a = accept_op(listener);
        a.op.flags = OP_AHEAD;
        submit(&w, &a);
        int fd = w.calls->socket(w.b, AF_INET, SOCK_STREAM, 0);
        struct test_op c = connect_op(fd, &addr, len);
        submit(&w, &c);
        run_until(&w, &a, 1);
        int served = (int)a.op.result;
        own(&w, served);
        for (int k = 0; k < 5; k++) {
            assert_int_equal(vkernel_send(fd, "hello", 5), 5);
            assert_int_equal(read_one(&w, served, buf, sizeof buf), 5);
        }
        close_fd(&w, fd);
        assert_int_equal(read_one(&w, served, buf, sizeof buf), 0);
        close_fd(&w, served);
    }
    assert_true(vkernel_counted()->ended > 0);
    close_fd(&w, listener);
    end(&w);
}

/* ---- no buffers ---- */

COIL_TEST_PLAIN(nothing_is_lost_in_a_storm_without_buffers)
{
    struct world w;
    int fd[2];
    char buf[100], want[100];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){.no_buffer = 700});
    make_tcp(&w, fd);
    own(&w, fd[0]);
    for (int i = 0; i < 200; i++) {
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        memset(want, i, sizeof want);
        submit(&w, &r);
        turn(&w, 0);
        assert_int_equal(vkernel_send(fd[1], want, sizeof want), sizeof want);
        run_until(&w, &r, 1);
        assert_int_equal(r.op.result, sizeof want);
        assert_memory_equal(buf, want, sizeof want);
    }
    assert_true(vkernel_counted()->no_buffers > 10);
    close_fd(&w, fd[1]);
    assert_int_equal(read_one(&w, fd[0], buf, sizeof buf), 0);
    close_fd(&w, fd[0]);
    end(&w);
}

/* ---- another loop sleeps for us ---- */

/* It asks for the descriptor and then sleeps on it, for ever: what it was asked for by then must wake it. */
static void sleep_on_descriptor(const struct backend_class *cls, unsigned refuses)
{
    struct world w;
    int fd[3][2];
    char buf[10];
    for (uint64_t seed = 1; seed <= 60; seed++) {
        faults = (struct vkernel_faults){.cq_entries = 4, .linux_version = seed % 2 ? 601 : 613};
        vkernel_begin(seed, &faults);
        assert_int_equal(world_try_open(&w, cls, 0), 0);
        for (int i = 0; i < 3; i++) {
            make_pair(&w, fd[i]);
            own(&w, fd[i][0]);
        }
        faults.refuses = refuses;
        faults.ends = 300;
        faults.late = 300;
        for (int i = 0; i < 30; i++) {
            int which = i % 3;
            struct test_op r = recv_op(fd[which][0], buf, sizeof buf);
            submit(&w, &r);
            while (!r.done) {
                struct pollfd p = {.fd = w.cls->poll_fd(w.b), .events = POLLIN};
                assert_true(p.fd >= VKERNEL_FD);
                (void)vkernel_send(fd[which][1], "x", 1);
                while (sys_ppoll(&p, 1, NULL, NULL) != 1)
                    ;
                look_once(&w);
            }
            assert_true(r.op.result > 0);
        }
        faults.refuses = faults.ends = faults.late = 0;
        for (int i = 0; i < 3; i++) {
            close_fd(&w, fd[i][0]);
            close_fd(&w, fd[i][1]);
        }
        turns(&w, 10);
        end(&w);
    }
}

COIL_TEST_PLAIN(who_sleeps_on_the_descriptor_misses_nothing)
{
    sleep_on_descriptor(&coil__backend_epoll, 0);
    sleep_on_descriptor(&coil__backend_uring, 0);
    sleep_on_descriptor(&coil__backend_uring, 500);
    sleep_on_descriptor(&coil__backend_uring_5_15, 500);
}

/* ---- another ring in the middle ---- */

/* Somebody wants to poll our descriptor: the ring is made anew, while the old one is torn down in the kernel's own
 * time, and still stands in the listener's queue. */
COIL_TEST_PLAIN(connections_and_bytes_outlive_a_change_of_rings)
{
    struct world w;
    struct sockaddr_storage addr;
    socklen_t len;
    int fd[2];
    char buf[100];
    begin(&w, &coil__backend_uring, (struct vkernel_faults){.late = 0});
    int listener = make_listener(&w, &addr, &len, 8);
    own(&w, listener);
    make_tcp(&w, fd);
    own(&w, fd[0]);
    struct test_op a = accept_op(listener), r = recv_op(fd[0], buf, 1);
    a.op.flags = OP_AHEAD;
    submit(&w, &a);
    submit(&w, &r);
    turn(&w, 0);
    assert_int_equal(vkernel_send(fd[1], "abc", 3), 3);
    assert_true(w.cls->poll_fd(w.b) >= VKERNEL_FD);
    int client = w.calls->socket(w.b, AF_INET, SOCK_STREAM, 0);
    struct test_op c = connect_op(client, &addr, len);
    submit(&w, &c);
    while (!a.done || !r.done || !c.done)
        assert_int_equal((w.cls->wait(w.b, -1), reap(&w), 0), 0);
    assert_int_equal(r.op.result, 1);
    assert_int_equal(read_one(&w, fd[0], buf + 1, 10), 2);
    assert_memory_equal(buf, "abc", 3);
    close_fd(&w, (int)a.op.result);
    close_fd(&w, client);
    close_fd(&w, listener);
    close_fd(&w, fd[0]);
    close_fd(&w, fd[1]);
    end(&w);
}

COIL_TEST_MAIN()
