/* SPDX-License-Identifier: MIT
 *
 * net_as_cpython.c: what pins accepting, racing connects and sendfile in asyncio (T48, T51, T61), by the names it has
 * in test_selector_events.py, test_base_events.py, test_staggered.py and test_unix_events.py.
 *
 * What is mocked there is the kernel's refusal; here it comes from the table of kernel calls, where the backend uses that,
 * or from addresses that do not answer. */
#include "../unit/net/names.h"

#include "base/sys.h"

#include <coil.h>
#include <sys/mman.h>

/* ---- accepting (T48) ---- */

static coil_ret echo_a_line(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *line;
    size_t n;
    (void)arg;
    coil_ret rc = coil_reader_readline(reader, &line, &n);
    return coil_iserr(rc) ? rc : coil_writer_write(writer, line, n);
}

static coil_server *serve_later(coil_address *at)
{
    coil_server_opts opts = {.size = sizeof opts, .no_start = true};
    coil_server *server;
    must(coil_start_server_with(echo_a_line, NULL, "127.0.0.1", "0", &opts, &server));
    must(coil_server_sockname(server, 0, at));
    return server;
}

static coil_sock *client_of(const coil_address *at)
{
    coil_sock *sock;
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    must(coil_sock_connect(sock, at));
    return sock;
}

static void hear_the_echo(coil_sock *sock)
{
    wire_say(sock, "are you there?\n");
    wire_expect(sock, "are you there?\n");
    wire_expect_end(sock);
    coil_sock_unref(sock);
}

/* All that wait are taken in one turn. */
COIL_TEST(test_accept_connection_multiple)
{
    enum { BACKLOG = 100 };
    coil_sock *socks[BACKLOG];
    coil_address at;
    coil_server *server = serve_later(&at);
    for (int i = 0; i < BACKLOG; i++)
        socks[i] = client_of(&at);
    must(coil_sleep(0.1));
    must(coil_server_start_serving(server));
    while (coil_server_connections(server) == 0)
        must(coil_sleep(0));
    assert_int_equal(coil_server_connections(server), BACKLOG);
    for (int i = 0; i < BACKLOG; i++)
        hear_the_echo(socks[i]);
    must(coil_server_finish(server));
}

/* "Not now", though the listener was readable: it is not closed, and nobody is lost. */
static int refusals;

static int not_now(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    if (refusals == 1)
        return coil__sys_real.accept4(fd, a, n, flags);
    refusals++;
    return -EAGAIN;
}

COIL_TEST(test_accept_connection_retry)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_address at;
    coil_server *server = serve_later(&at);
    refusals = 0;
    coil__sys.accept4 = not_now;
    must(coil_server_start_serving(server));
    coil_sock *first = client_of(&at);
    wire_turns(3);
    /* The others accept inside the kernel, or in one of their own: there it comes by itself or not at all. */
    const char *backend = coil_loop_backend(NULL);
    if (strcmp(backend, "epoll") == 0 || strcmp(backend, "poll") == 0)
        assert_int_equal(refusals, 1);
    assert_true(coil_server_is_serving(server));
    coil_sock *second = client_of(&at);
    hear_the_echo(second);
    hear_the_echo(first);
    coil__sys.accept4 = coil__sys_real.accept4;
    assert_int_equal(reports.n, 0);
    must(coil_server_finish(server));
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

/* ---- happy eyeballs (T51) ---- */

static int lowest_free_number(void)
{
    coil_sock *sock;
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    int fd = coil_sock_fileno(sock);
    coil_sock_unref(sock);
    return fd;
}

/* The first one takes longer than the delay; the second wins, and the first is given up. */
COIL_TEST(test_first_timeout_second_successful)
{
    list_begin();
    struct mute slow = list_add_mute();
    coil_sock *live = list_add_live(), *peer;
    int lowest = lowest_free_number();
    const coil_connect_opts opts = {.size = sizeof opts, .happy_eyeballs_delay = 0.1};
    coil_reader *r;
    coil_writer *w;
    double before = coil_loop_time(NULL);
    must(coil_open_connection_with("two", "1", &opts, &r, &w));
    double took = coil_loop_time(NULL) - before;
    assert_true(took >= 0.1 && took < 0.2);
    must(coil_sock_accept(live, &peer, NULL));
    must(coil_writer_write(w, "Res: 1", 6));
    wire_expect(peer, "Res: 1");
    must(coil_writer_finish(w));
    coil_sock_unref(peer);
    assert_int_equal(lowest_free_number(), lowest); /* nothing is left of the first one */
    free_mute(&slow);
    coil_sock_unref(live);
}

/* Neither socket can be had, each for a reason of its own: both are told. */
static int sockets_refused;

static int refuse_socket(int domain, int type, int proto)
{
    (void)domain, (void)type, (void)proto;
    return sockets_refused++ == 0 ? -EMFILE : -ENOBUFS;
}

static coil_ret no_protocol(const coil_protocol **out, void **out_arg, void *arg)
{
    (void)out, (void)out_arg, (void)arg;
    return 0;
}

COIL_TEST(test_create_connection_multiple_errors)
{
    coil_transport *t;
    list_begin();
    list_add_dead();
    list_add_dead();
    if (coil_address_port(&addresses[0]) == coil_address_port(&addresses[1]))
        must(coil_address_parse("127.0.0.1", "1", &addresses[1]));
    sockets_refused = 0;
    coil__sys.socket = refuse_socket;
    coil_ret rc = coil_loop_create_connection(NULL, no_protocol, NULL, "example.com", "80", NULL,
                                              &t, NULL);
    coil__sys.socket = coil__sys_real.socket;
    const char *message = coil_last_error()->message, *begin = "Multiple exceptions: ";
    assert_memory_equal(message, begin, strlen(begin));
    if (wire_is_imaginary()) { /* that kernel is asked itself: two ports where nobody listens */
        assert_int_equal(rc, -ECONNREFUSED);
        assert_non_null(strstr(message, ", Connect call failed"));
        return;
    }
    assert_int_equal(rc, -EMFILE);
    assert_int_equal(sockets_refused, 2);
    const char *first = strstr(message, coil_strerror(-EMFILE));
    assert_non_null(first);
    assert_non_null(strstr(first, coil_strerror(-ENOBUFS)));
}

/* ---- sendfile (T61) ---- */

static int first_calls;

static ssize_t refuse_first_call(int out, int in, off_t *at, size_t n)
{
    (void)out, (void)in, (void)at, (void)n;
    first_calls++;
    return -EINVAL;
}

/* An error of the very first call means that the kernel cannot do it: nothing was sent, the file stands where it
 * stood, and the other way is open. */
COIL_TEST(test_sock_sendfile_os_error_first_call)
{
    enum { N = 1000 };
    char data[N], got[N];
    memset(data, 'x', N);
    int file = (int)must(memfd_create("file", MFD_CLOEXEC));
    assert_int_equal(write(file, data, N), N);
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    coil_sock *ours, *peer;
    wire_pair(&ours, &peer);
    int64_t sent = -1;
    first_calls = 0;
    coil__sys.sendfile = refuse_first_call;
    assert_int_equal(coil_sock_sendfile(ours, file, 0, N, COIL_SENDFILE_NO_FALLBACK, &sent),
                     -EOPNOTSUPP);
    assert_int_equal(sent, 0);
    assert_int_equal(lseek(file, 0, SEEK_CUR), 0);
    assert_int_equal(coil_sock_sendfile(ours, file, 0, N, 0, &sent), N);
    coil__sys.sendfile = coil__sys_real.sendfile;
    assert_int_equal(first_calls, wire_is_imaginary() ? 0 : 2);
    assert_int_equal(lseek(file, 0, SEEK_CUR), N);
    for (size_t n = 0; n < N;)
        n += (size_t)must(coil_sock_recv(peer, got + n, N - n));
    assert_memory_equal(got, data, N);
    coil_sock_unref(ours);
    coil_sock_unref(peer);
    close(file);
}

COIL_TEST_MAIN()
