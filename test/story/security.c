/* SPDX-License-Identifier: MIT
 *
 * security.c: what SECURITY.md promises of a program that asked for nothing: it listens nowhere, starts
 * nothing, changes no signal, and leaves no descriptor to its children. */
#include "test.h"

#include <coil.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- what a process has, to be compared ---- */

static int threads(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* Sockets of this process that listen. */
static int listening(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        int listens = 0;
        socklen_t size = sizeof listens;
        if (getsockopt(atoi(entry->d_name), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0)
            n += listens;
    }
    closedir(dir);
    return n;
}

struct dispositions {
    struct sigaction of[65];
    sigset_t mask;
};

static void look_at_signals(struct dispositions *d)
{
    memset(d, 0, sizeof *d);
    for (int signo = 1; signo < 65; signo++)
        (void)sigaction(signo, NULL, &d->of[signo]);
    sigprocmask(SIG_BLOCK, NULL, &d->mask);
}

/* How many signals do something else. The two that libc keeps for itself are never told. */
static int changed(const struct dispositions *a, const struct dispositions *b)
{
    int n = memcmp(&a->mask, &b->mask, sizeof a->mask) != 0;
    for (int signo = 1; signo < 65; signo++)
        n += a->of[signo].sa_handler != b->of[signo].sa_handler;
    return n;
}

/* ---- nothing unasked ---- */

static coil_ret be_busy(void *arg)
{
    struct dispositions *inside = arg;
    coil_queue queue = COIL_QUEUE(1);
    coil_ret rc = coil_queue_put(&queue, arg);
    void *item;
    if (!coil_iserr(rc))
        rc = coil_queue_get(&queue, &item);
    coil_queue_fini(&queue);
    if (!coil_iserr(rc))
        rc = coil_sleep(0.001);
    look_at_signals(inside);
    return rc;
}

COIL_TEST_PLAIN(loop_starts_nothing_and_listens_nowhere)
{
    int threads_before = threads(), listening_before = listening();
    coil_loop *loop = coil_new_event_loop(NULL);
    assert_non_null(loop);
    struct dispositions inside;
    coil_task *task = coil_loop_create_task(loop, be_busy, &inside);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
    assert_int_equal(threads(), threads_before);
    assert_int_equal(listening(), listening_before); /* the loop is still open */
    coil_unref(task);
    coil_loop_close(loop);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(signals_stay_as_they_are_beside_a_bare_loop)
{
    struct dispositions before, inside, after;
    look_at_signals(&before);
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_task *task = coil_loop_create_task(loop, be_busy, &inside);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
    coil_unref(task);
    coil_loop_close(loop);
    coil_loop_free(loop);
    look_at_signals(&after);
    assert_int_equal(changed(&before, &inside), 0);
    assert_int_equal(changed(&before, &after), 0);
}

COIL_TEST_PLAIN(signals_stay_but_for_ctrl_c_and_the_overflow_report_of_run)
{
    struct dispositions before, inside, after;
    struct sigaction dfl = {.sa_handler = SIG_DFL}, own;
    sigaction(SIGINT, &dfl, &own); /* who runs the tests in the background ignores it */
    look_at_signals(&before);
    assert_int_equal(coil_run(be_busy, &inside), 0);
    look_at_signals(&after);
    sigaction(SIGINT, &own, NULL);
    assert_int_equal(changed(&before, &inside), 3);
    assert_ptr_not_equal(inside.of[SIGINT].sa_handler, before.of[SIGINT].sa_handler);
    assert_ptr_not_equal(inside.of[SIGSEGV].sa_handler, before.of[SIGSEGV].sa_handler);
    assert_ptr_not_equal(inside.of[SIGBUS].sa_handler, before.of[SIGBUS].sa_handler);
    assert_int_equal(changed(&before, &after), 0);
}

COIL_TEST_PLAIN(signals_stay_all_of_them_where_the_program_says_so)
{
    struct dispositions before, inside;
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    look_at_signals(&before);
    assert_int_equal(coil_run_with(be_busy, &inside, &opts), 0);
    assert_int_equal(changed(&before, &inside), 0);
}

/* ---- a peer that goes away is an error, not a signal ---- */

static coil_ret hang_up(coil_reader *reader, coil_writer *writer, void *arg)
{
    (void)reader, (void)arg;
    coil_writer_abort(writer);
    return 0;
}

COIL_TEST(sending_to_a_peer_that_is_gone_is_an_error_and_no_sigpipe)
{
    struct sigaction pipe_now;
    assert_int_equal(sigaction(SIGPIPE, NULL, &pipe_now), 0);
    assert_true(pipe_now.sa_handler == SIG_DFL); /* it would kill */
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    char port[8], byte;
    assert_int_equal(coil_start_server(hang_up, NULL, "127.0.0.1", "0", &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(coil_open_connection("127.0.0.1", port, &reader, &writer), 0);
    coil_ignore(coil_reader_read(reader, &byte, 1));
    int rc = 0;
    for (int i = 0; i < 100 && rc >= 0; i++)
        if ((rc = coil_writer_write(writer, "x", 1)) >= 0)
            rc = (int)coil_sleep(0.001);
    assert_true(rc == -EPIPE || rc == -ECONNRESET);
    coil_ignore(coil_writer_finish(writer));
    coil_server_close(server);
    assert_int_equal(coil_server_wait_closed(server), 0);
    coil_server_free(server);
}

/* ---- descriptors ---- */

static coil_ret nothing(void *arg)
{
    return (coil_ret)arg;
}

static coil_ret hold(coil_reader *reader, coil_writer *writer, void *arg)
{
    char byte;
    (void)writer, (void)arg;
    return coil_reader_read(reader, &byte, 1);
}

/* Open descriptors that a child would inherit. */
static int inherited(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        int fd = atoi(entry->d_name), flags = fcntl(fd, F_GETFD);
        n += entry->d_name[0] != '.' && flags >= 0 && !(flags & FD_CLOEXEC);
    }
    closedir(dir);
    return n;
}

COIL_TEST(cloexec_is_on_every_descriptor_of_a_busy_program)
{
    int before = inherited();
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    char port[8];
    assert_int_equal(coil_start_server(hold, NULL, "127.0.0.1", "0", &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(coil_open_connection("127.0.0.1", port, &reader, &writer), 0);
    assert_int_equal(coil_to_thread(nothing, NULL), 0);
    assert_int_equal(coil_sleep(0.001), 0);
    assert_int_equal(inherited(), before);
    assert_int_equal(coil_writer_finish(writer), 0);
    coil_server_close(server);
    assert_int_equal(coil_server_wait_closed(server), 0);
    coil_server_free(server);
}

COIL_TEST_MAIN()
