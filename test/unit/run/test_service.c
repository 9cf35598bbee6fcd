/* SPDX-License-Identifier: MIT
 *
 * test_service.c: what a service says to its manager, and what it takes from it. The manager is a socket of the test's. */
#include "leave.h"
#include "test.h"

#include "base/mem.h"

#include <coil.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- a manager ---- */

static int manager = -1;

/* An abstract name of its own, and NOTIFY_SOCKET set to it. */
static void manager_listens(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    socklen_t n = sizeof a;
    char name[sizeof a.sun_path + 1];
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(manager >= 0);
    assert_int_equal(bind(manager, (struct sockaddr *)&a, sizeof a.sun_family), 0);
    assert_int_equal(getsockname(manager, (struct sockaddr *)&a, &n), 0);
    int length = (int)(n - offsetof(struct sockaddr_un, sun_path)) - 1;
    snprintf(name, sizeof name, "@%.*s", length, a.sun_path + 1);
    setenv("NOTIFY_SOCKET", name, 1);
}

static void manager_goes(void)
{
    close(manager);
    manager = -1;
    unsetenv("NOTIFY_SOCKET");
}

/* The next message, "" if there is none; `out_fd` gets a descriptor that came along, or -1. */
static const char *heard_with(int *out_fd)
{
    static char text[4096];
    _Alignas(struct cmsghdr) char room[CMSG_SPACE(4 * sizeof(int))];
    struct iovec v = {.iov_base = text, .iov_len = sizeof text - 1};
    struct msghdr hdr = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    *out_fd = -1;
    ssize_t n = recvmsg(manager, &hdr, MSG_CMSG_CLOEXEC);
    text[n > 0 ? n : 0] = '\0';
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&hdr) : NULL;
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(out_fd, CMSG_DATA(c), sizeof *out_fd);
    return text;
}

static const char *heard(void)
{
    int fd;
    const char *text = heard_with(&fd);
    assert_int_equal(fd, -1);
    return text;
}

/* ---- telling ---- */

COIL_TEST(service_without_a_manager_tells_nobody)
{
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(coil_service_notify("READY=1"), 0);
    assert_int_equal(coil_service_notify_nowait("READY=1"), 0);
    assert_int_equal(coil_service_status("fine"), 0);
    assert_int_equal(coil_service_reloading(), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    assert_int_equal(coil_service_notify("READY=1"), 0);
    unsetenv("NOTIFY_SOCKET");
}

COIL_TEST(service_tells_its_manager)
{
    manager_listens();
    assert_int_equal(coil_service_notify("READY=1\nMAINPID=12"), 1);
    assert_string_equal(heard(), "READY=1\nMAINPID=12");
    assert_int_equal(coil_service_notify_nowait("STOPPING=1"), 1);
    assert_string_equal(heard(), "STOPPING=1");
    assert_string_equal(heard(), "");
    manager_goes();
}

COIL_TEST(service_tells_a_manager_that_has_a_path)
{
    char dir[] = "/tmp/coil-service-XXXXXX";
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    assert_non_null(mkdtemp(dir));
    snprintf(a.sun_path, sizeof a.sun_path, "%s/notify", dir);
    setenv("NOTIFY_SOCKET", a.sun_path, 1);
    assert_int_equal(coil_service_notify("READY=1"), -ENOENT);
    assert_non_null(strstr(coil_last_error()->message, "the service manager was not told"));
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(manager, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(coil_service_notify("READY=1"), 1);
    assert_string_equal(heard(), "READY=1");
    close(manager);
    assert_int_equal(coil_service_notify("READY=1"), -ECONNREFUSED);
    unlink(a.sun_path);
    rmdir(dir);
    unsetenv("NOTIFY_SOCKET");
}

COIL_TEST(service_refuses_what_it_cannot_tell)
{
    manager_listens();
    assert_int_equal(coil_service_notify(NULL), -EINVAL);
    assert_int_equal(coil_service_notify(""), -EINVAL);
    assert_int_equal(coil_service_notify_nowait(NULL), -EINVAL);
    assert_int_equal(coil_service_notify_nowait(""), -EINVAL);
    assert_int_equal(coil_service_status(NULL), -EINVAL);
    assert_string_equal(heard(), "");
    manager_goes();
    setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
    assert_int_equal(coil_service_notify("READY=1"), -EAFNOSUPPORT);
    assert_non_null(strstr(coil_last_error()->message, "vsock:2:1234"));
    char long_name[300] = "/";
    memset(long_name + 1, 'x', sizeof long_name - 2);
    setenv("NOTIFY_SOCKET", long_name, 1);
    assert_int_equal(coil_service_notify("READY=1"), -ENAMETOOLONG);
    unsetenv("NOTIFY_SOCKET");
}

COIL_TEST(service_status_is_one_line)
{
    manager_listens();
    assert_int_equal(coil_service_status("%d clients, the last\nMAINPID=1", 12), 1);
    assert_string_equal(heard(), "STATUS=12 clients, the last MAINPID=1");
    char long_text[3000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    assert_int_equal(coil_service_status("%s", long_text), 1);
    assert_int_equal(strlen(heard()), 1023);
    manager_goes();
}

COIL_TEST(service_that_reloads_says_since_when)
{
    struct timespec ts;
    long long us;
    char rest;
    manager_listens();
    assert_int_equal(coil_service_reloading(), 1);
    clock_gettime(CLOCK_MONOTONIC, &ts); /* the kernel's clock, whatever the loop's is */
    long long now = (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
    assert_int_equal(sscanf(heard(), "RELOADING=1\nMONOTONIC_USEC=%lld%c", &us, &rest), 1);
    assert_true(us <= now && now - us < 60000000);
    manager_goes();
}

static int fill(void)
{
    int n = 0;
    while (coil_service_notify_nowait("STATUS=filling") == 1)
        n++;
    assert_int_equal(last_code(), -EAGAIN);
    return n;
}

static void hear_one(void *arg)
{
    assert_string_equal(heard(), "STATUS=filling");
}

COIL_TEST(service_waits_for_room_in_the_managers_queue)
{
    manager_listens();
    int n = fill();
    assert_true(n > 0);
    double before = coil_loop_time(NULL);
    assert_int_equal(coil_loop_call_later(NULL, 5, hear_one, NULL, NULL), 0);
    assert_int_equal(coil_service_notify("READY=1"), 1);
    assert_true(coil_loop_time(NULL) - before >= 5);
    assert_true(coil_loop_time(NULL) - before < 6);
    while (--n > 0)
        assert_string_equal(heard(), "STATUS=filling");
    assert_string_equal(heard(), "READY=1");
    manager_goes();
}

static coil_ret tell_ready(void *arg)
{
    return coil_service_notify("READY=1");
}

COIL_TEST(service_that_waits_for_room_may_be_cancelled)
{
    manager_listens();
    int n = fill();
    coil_task *t = coil_create_task(tell_ready, NULL);
    assert_int_equal(coil_sleep(1), 0);
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    while (n-- > 0)
        assert_string_equal(heard(), "STATUS=filling");
    assert_string_equal(heard(), "");
    manager_goes();
}

/* ---- descriptors to keep ---- */

COIL_TEST(service_has_descriptors_kept)
{
    int ends[2], got;
    char c;
    manager_listens();
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(coil_service_store_fds("pipe end", &ends[0], 1), 1);
    assert_string_equal(heard_with(&got), "FDSTORE=1\nFDNAME=pipe end");
    assert_true(got >= 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(read(got, &c, 1), 1); /* it is that pipe */
    close(got);
    assert_int_equal(coil_service_forget_fds("pipe end"), 1);
    assert_string_equal(heard(), "FDSTOREREMOVE=1\nFDNAME=pipe end");

    assert_int_equal(coil_service_store_fds("pipe", NULL, 1), -EINVAL);
    assert_int_equal(coil_service_store_fds("pipe", ends, 0), -EINVAL);
    assert_int_equal(coil_service_store_fds("pipe", ends, 254), -E2BIG);
    assert_int_equal(coil_service_store_fds(NULL, ends, 1), -EINVAL);
    assert_int_equal(coil_service_store_fds("", ends, 1), -EINVAL);
    assert_int_equal(coil_service_store_fds("a:b", ends, 1), -EINVAL);
    assert_int_equal(coil_service_store_fds("a\nMAINPID=1", ends, 1), -EINVAL);
    char long_name[300];
    memset(long_name, 'x', sizeof long_name);
    long_name[256] = '\0';
    assert_int_equal(coil_service_store_fds(long_name, ends, 1), -EINVAL);
    long_name[255] = '\0';
    assert_int_equal(coil_service_store_fds(long_name, ends, 1), 1);
    assert_int_equal(strlen(heard_with(&got)), strlen("FDSTORE=1\nFDNAME=") + 255);
    close(got);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(coil_service_store_fds("closed", ends, 1), -EBADF);
    manager_goes();
}

/* ---- the watchdog ---- */

static void watchdog(const char *usec, const char *pid)
{
    if (usec)
        setenv("WATCHDOG_USEC", usec, 1);
    else
        unsetenv("WATCHDOG_USEC");
    if (pid)
        setenv("WATCHDOG_PID", pid, 1);
    else
        unsetenv("WATCHDOG_PID");
}

COIL_TEST(watchdog_is_told_twice_as_often_as_it_asks)
{
    manager_listens();
    char own[16];
    snprintf(own, sizeof own, "%d", (int)getpid());
    watchdog("20000000", own);
    assert_int_equal(coil_service_watchdog(NULL), 1);
    assert_string_equal(heard(), "WATCHDOG=1");       /* at once */
    assert_int_equal(coil_service_watchdog(NULL), 1); /* it is there already */
    assert_string_equal(heard(), "");
    for (int i = 0; i < 100; i++) {
        assert_int_equal(coil_sleep(9.99), 0);
        assert_string_equal(heard(), "");
        assert_int_equal(coil_sleep(0.01), 0);
        assert_string_equal(heard(), "WATCHDOG=1");
    }
    watchdog(NULL, NULL);
    manager_goes(); /* the pings go on until the loop ends; nobody hears them */
    assert_int_equal(coil_sleep(100), 0);
}

COIL_TEST(watchdog_that_nobody_asked_for_is_none)
{
    manager_listens();
    watchdog(NULL, NULL);
    assert_int_equal(coil_service_watchdog(NULL), 0);
    watchdog("1000000", "1"); /* asked of another process */
    assert_int_equal(coil_service_watchdog(NULL), 0);
    watchdog("0", NULL);
    assert_int_equal(coil_service_watchdog(NULL), -EINVAL);
    watchdog("soon", NULL);
    assert_int_equal(coil_service_watchdog(NULL), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "WATCHDOG_USEC=soon"));
    assert_string_equal(heard(), "");
    watchdog(NULL, NULL);
    manager_goes();
}

static void start_watchdog(void *arg)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    if (!loop)
        return;
    int rc = coil_service_watchdog(loop);
    assert_true(rc == 1 || rc == -ENOMEM);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(watchdog_without_memory_says_so)
{
    watchdog("1000000", NULL);
    (void)sweep_allocations(start_watchdog, NULL);
    assert_int_equal(coil_service_watchdog(NULL), COIL_ENOLOOP);
    watchdog(NULL, NULL);
}

/* ---- what was opened for us ---- */

/* fn runs in a child whose descriptors from 3 on are n pipes' ends, and whose variables are these. 0 if it is content. */
static int in_child(int (*fn)(void), int n, const char *pid, const char *fds, const char *names)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int ends[2];
        char own[16];
        if (pipe(ends) < 0)
            leave_child(101);
        int high = fcntl(ends[0], F_DUPFD, 100);
        for (int fd = 3; fd < 90; fd++)
            close(fd);
        for (int i = 0; i < n; i++)
            dup2(high, 3 + i);
        snprintf(own, sizeof own, "%d", (int)getpid());
        setenv("LISTEN_PID", pid ? pid : own, 1);
        setenv("LISTEN_FDS", fds, 1);
        if (names)
            setenv("LISTEN_FDNAMES", names, 1);
        leave_child(fn());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static bool variables_are_gone(void)
{
    return !getenv("LISTEN_PID") && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES");
}

/* Each thing that is wrong has its own number. */
static int take_three(void)
{
    coil_service_fd fds[8];
    if (coil_service_listen_fds(fds, 2) != -E2BIG || variables_are_gone())
        return 1;
    if (coil_service_listen_fds(NULL, 8) != -E2BIG || variables_are_gone() ||
        !strstr(coil_last_error()->message, "room for 0"))
        return 8;
    if (fcntl(3, F_GETFD) != 0) /* nothing was taken */
        return 2;
    if (coil_service_listen_fds(fds, 8) != 3)
        return 3;
    if (fds[0].fd != 3 || fds[1].fd != 4 || fds[2].fd != 5)
        return 4;
    if (strcmp(fds[0].name, "http") || strcmp(fds[1].name, "unknown") ||
        strcmp(fds[2].name, "admin"))
        return 5;
    for (int fd = 3; fd < 6; fd++)
        if (fcntl(fd, F_GETFD) != FD_CLOEXEC)
            return 6;
    if (!variables_are_gone())
        return 7;
    return coil_service_listen_fds(fds, 8) != 0; /* they are taken */
}

COIL_TEST_PLAIN(descriptors_handed_over_are_taken_once)
{
    assert_int_equal(in_child(take_three, 3, NULL, "3", "http::admin"), 0);
}

static int take_unnamed(void)
{
    coil_service_fd fds[2];
    return coil_service_listen_fds(fds, 2) != 2 || strcmp(fds[0].name, "unknown") ||
           strcmp(fds[1].name, "unknown");
}

COIL_TEST_PLAIN(descriptors_handed_over_without_names_are_taken)
{
    assert_int_equal(in_child(take_unnamed, 2, NULL, "2", NULL), 0);
    char long_name[400];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(in_child(take_unnamed, 2, NULL, "2", long_name), 0);
}

static int take_nothing(void)
{
    coil_service_fd fds[2];
    return coil_service_listen_fds(fds, 2) != 0 || !variables_are_gone() ||
           fcntl(3, F_GETFD) != 0; /* whose it is, it is not ours */
}

COIL_TEST_PLAIN(descriptors_handed_to_another_process_are_left_alone)
{
    assert_int_equal(in_child(take_nothing, 1, "1", "1", NULL), 0);
}

static int take_nonsense(void)
{
    coil_service_fd fds[2];
    return coil_service_listen_fds(fds, 2) != -EINVAL || !variables_are_gone();
}

COIL_TEST_PLAIN(descriptors_of_variables_without_sense_are_refused)
{
    assert_int_equal(in_child(take_nonsense, 1, NULL, "many", NULL), 0);
    assert_int_equal(in_child(take_nonsense, 1, NULL, "99999999999", NULL), 0);
    assert_int_equal(in_child(take_nonsense, 1, "me", "1", NULL), 0);
}

static int take_closed(void)
{
    coil_service_fd fds[2];
    return coil_service_listen_fds(fds, 2) != -EBADF || !variables_are_gone() ||
           !strstr(coil_last_error()->message, "descriptor 4");
}

COIL_TEST_PLAIN(descriptors_handed_over_must_be_open)
{
    assert_int_equal(in_child(take_closed, 1, NULL, "2", NULL), 0);
}

COIL_TEST_PLAIN(descriptors_that_nobody_handed_over_are_none)
{
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    coil_service_fd fd;
    assert_int_equal(coil_service_listen_fds(&fd, 1), 0);
    assert_int_equal(coil_service_listen_fds(NULL, 0), 0);
}

COIL_TEST_MAIN()
