/* SPDX-License-Identifier: MIT
 *
 * fd_limit.c: two hundred connections to a process that may have 64 descriptors. It serves as many as it can, rests
 * instead of spinning, and serves the others when descriptors come free.
 *
 *     this process: 200 plain sockets ----> child: a server under RLIMIT_NOFILE = 64
 *          asks all of them, waits for every answer            tells what it cost, through a pipe
 *
 * The child's time is real: what it spends is the question. On the imaginary kernel the same happens in one process,
 * with a limit of its own. */
#include "../unit/net/wire.h"

#include "coro/tooling.h"
#include "io/sim/sim.h"

#include <coil/run.h>

#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { CONNECTIONS = 200, DESCRIPTORS = 64 };

/* ---- the server, wherever it runs ---- */

struct storm {
    int served, most_at_once;
    int reports, reports_of_others;
    long accepts; /* calls of accept4 */
};

static long accepts;

static int counting_accept(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    accepts++;
    return coil__sys_real.accept4(fd, a, n, flags);
}

static void count_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    struct storm *storm = arg;
    (void)loop;
    if (context->code == -EMFILE)
        storm->reports++;
    else
        storm->reports_of_others++;
}

static coil_server *the_server;

static coil_ret answer_once(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct storm *storm = arg;
    const char *line;
    int now = (int)coil_server_connections(the_server);
    storm->most_at_once = now > storm->most_at_once ? now : storm->most_at_once;
    coil_ret rc = coil_reader_readline(reader, &line, NULL);
    if (rc > 0)
        rc = coil_writer_write(writer, line, (size_t)rc);
    storm->served += rc == 0;
    return rc;
}

static void start(struct storm *storm)
{
    coil_server_opts opts = {.size = sizeof opts, .backlog = CONNECTIONS};
    coil_loop_set_exception_handler(NULL, count_report, storm);
    must(coil_start_server_with(answer_once, storm, "127.0.0.1", "0", &opts, &the_server));
}

static void stop(void)
{
    coil_server_close(the_server);
    must(coil_server_wait_closed(the_server));
    coil_server_free(the_server);
}

/* ---- in a child ---- */

struct account {
    struct storm storm;
    double cpu, wall; /* from the first client to the last */
    coil_ret rc;
};

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static coil_ret serve_until_told(void *arg)
{
    const int *ends = arg; /* what we read, what we write */
    struct account account = {.rc = 0};
    start(&account.storm);
    int32_t port = coil_server_port(the_server);
    if (write(ends[1], &port, sizeof port) != sizeof port)
        return -EIO;
    must(coil_wait_fd(ends[0], COIL_READ)); /* the storm begins */
    char byte;
    if (read(ends[0], &byte, 1) != 1)
        return -EIO;
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    must(coil_wait_fd(ends[0], COIL_READ)); /* it is over */
    account.cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    account.wall = seconds(CLOCK_MONOTONIC) - wall;
    account.storm.accepts = accepts;
    stop();
    return write(ends[1], &account, sizeof account) == sizeof account ? 0 : -EIO;
}

static void be_child(int ends[2])
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = DESCRIPTORS;
    setrlimit(RLIMIT_NOFILE, &limit);
    coil__sys.accept4 = counting_accept;
    _exit(coil_run(serve_until_told, ends) == 0 ? 0 : 1);
}

static void read_whole(int fd, void *p, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t rc = read(fd, (char *)p + got, n - got);
        if (rc <= 0)
            fail_msg("the child is gone");
        got += (size_t)rc;
    }
}

static int call(int32_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* All of them connect, then all of them ask, then each waits for its answer. */
static void rage(int32_t port)
{
    int socks[CONNECTIONS];
    char answer[16];
    for (int i = 0; i < CONNECTIONS; i++)
        socks[i] = call(port);
    /* Those in the backlog are in the kernel's hands, the others in its tasks': nothing happens for a moment. */
    (void)poll(NULL, 0, 300);
    for (int i = 0; i < CONNECTIONS; i++)
        assert_int_equal(write(socks[i], "me too\n", 7), 7);
    for (int i = 0; i < CONNECTIONS; i++) {
        read_whole(socks[i], answer, 7);
        assert_memory_equal(answer, "me too\n", 7);
        assert_int_equal(read(socks[i], answer, 1), 0);
        close(socks[i]);
    }
}

static void check(const struct account *account)
{
    const struct storm *storm = &account->storm;
    assert_int_equal(storm->served, CONNECTIONS);
    assert_int_equal(storm->reports_of_others, 0);
    assert_true(storm->most_at_once > DESCRIPTORS / 2);
    assert_true(storm->most_at_once < DESCRIPTORS);
    /* A rest of a second each time: as many reports as waves, and two calls a client at most, one that finds it
     * and one that finds no other (where they come one by one). */
    assert_in_range(storm->reports, 1, 10);
    assert_true(storm->accepts <= 2 * CONNECTIONS + 8 * storm->reports);
    if (account->cpu > account->wall / 3)
        fail_msg("%.3f s of processor time in %.3f s", account->cpu, account->wall);
}

COIL_TEST_PLAIN(two_hundred_connections_under_a_limit_of_64_descriptors)
{
    const char *backend = getenv("COIL_BACKEND");
    if (backend && strcmp(backend, "sim") == 0)
        return; /* the next test is for that one */
    if (tool_on_valgrind()) {
        puts("skipped: Valgrind closes what was accepted beyond the limit, and says EMFILE");
        skip();
    }
    int to_child[2], from_child[2];
    assert_int_equal(pipe2(to_child, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from_child, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(to_child[1]);
        close(from_child[0]);
        be_child((int[]){to_child[0], from_child[1]});
    }
    close(to_child[0]);
    close(from_child[1]);

    int32_t port;
    struct account account;
    read_whole(from_child[0], &port, sizeof port);
    assert_int_equal(write(to_child[1], "!", 1), 1);
    rage(port);
    assert_int_equal(write(to_child[1], "!", 1), 1);
    read_whole(from_child[0], &account, sizeof account);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    close(to_child[1]);
    close(from_child[0]);
    assert_int_equal(status, 0);
    check(&account);
}

/* ---- on the imaginary kernel, and wherever accept4 can be made to fail ---- */

static int descriptors_left;

static int scarce_accept(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    accepts++;
    if (descriptors_left == 0)
        return -EMFILE;
    int rc = coil__sys_real.accept4(fd, a, n, flags);
    descriptors_left -= rc >= 0;
    return rc;
}

static void allow(int n)
{
    struct backend *b = coil_get_running_loop()->backend;
    if (wire_is_imaginary())
        coil__sim_limit_files(b, sim_of(b)->files_n + (uint32_t)n);
    descriptors_left = n;
}

COIL_TEST(a_server_that_is_short_of_descriptors_rests_and_recovers)
{
    if (strcmp(coil_loop_backend(NULL), "uring") == 0) {
        puts("skipped: io_uring accepts without accept4; the test above is for it, too");
        skip();
    }
    struct storm storm = {0};
    coil_sock *socks[CONNECTIONS];
    coil_address at;
    start(&storm);
    must(coil_server_sockname(the_server, 0, &at));
    coil__sys.accept4 = scarce_accept;
    accepts = 0;
    for (int i = 0; i < CONNECTIONS; i++)
        must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &socks[i]));
    allow(DESCRIPTORS);
    for (int i = 0; i < CONNECTIONS; i++)
        must(coil_sock_connect(socks[i], &at));
    must(coil_sleep(0.5));
    assert_int_equal(coil_server_connections(the_server), DESCRIPTORS);
    assert_int_equal(storm.reports, 1);

    /* Nobody goes, for a minute: a try each second, and nothing else. */
    coil_loop_stats_t before, after;
    long tries = accepts;
    coil_loop_stats(NULL, &before);
    must(coil_sleep(60));
    coil_loop_stats(NULL, &after);
    assert_in_range(storm.reports, 55, 65);
    assert_true(after.turns - before.turns < 400);
    assert_true(accepts - tries < 70);

    /* They are served, go, and the others come. */
    for (int i = 0; i < CONNECTIONS; i++)
        wire_say(socks[i], "me too\n");
    for (int i = 0; i < CONNECTIONS; i++) {
        if (i % DESCRIPTORS == 0)
            allow(DESCRIPTORS);
        wire_expect(socks[i], "me too\n");
        wire_expect_end(socks[i]);
    }
    assert_int_equal(storm.served, CONNECTIONS);
    for (int i = 0; i < CONNECTIONS; i++)
        coil_sock_unref(socks[i]);
    coil__sys.accept4 = coil__sys_real.accept4;
    stop();
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

static int forbidden;

static int forbidden_accept(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    return forbidden-- > 0 ? -ENOSYS : coil__sys_real.accept4(fd, a, n, flags);
}

static void hear_of_accept(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    int *heard = arg;
    (void)loop;
    assert_string_equal(c->message, "Accept failed on a socket");
    assert_string_equal(c->kind, "accept-error");
    assert_int_equal(c->code, -ENOSYS);
    ++*heard;
}

COIL_TEST(a_server_whose_accept_fails_says_so_and_goes_on)
{
    if (wire_is_imaginary() || strcmp(coil_loop_backend(NULL), "uring") == 0) {
        puts("skipped: accept4 is not what accepts here");
        skip();
    }
    struct storm storm = {0};
    int heard = 0;
    coil_sock *sock;
    coil_address at;
    start(&storm);
    coil_loop_set_exception_handler(NULL, hear_of_accept, &heard);
    forbidden = 1;
    coil__sys.accept4 = forbidden_accept;
    must(coil_server_sockname(the_server, 0, &at));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    must(coil_sock_connect(sock, &at));
    wire_say(sock, "me too\n");
    wire_expect(sock, "me too\n"); /* after the rest */
    wire_expect_end(sock);
    assert_int_equal(heard, 1);
    coil_sock_unref(sock);
    coil__sys.accept4 = coil__sys_real.accept4;
    stop();
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

COIL_TEST_MAIN()
