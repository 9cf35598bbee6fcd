/* SPDX-License-Identifier: MIT
 *
 * backends.c: a program finds the backend it should, under real restrictions: seccomp filters in a process of
 * its own. Elsewhere: every answer the kernel may give (unit/io/test_choose.c). */
#include "test.h"

#include "base/sys.h"

#include <coil.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SETUP_NUMBER = 425 }; /* io_uring_setup, on every architecture */

/* From here on io_uring_setup does `action`. False: this kernel has no filters. */
static bool filter_io_uring(uint32_t action)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SETUP_NUMBER, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static coil_ret echo_once(void *arg)
{
    coil_sock *a, *b;
    int fds[2];
    char buf[4];
    (void)arg;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    coil_ret rc = coil_sock_adopt(NULL, fds[0], &a);
    if (rc < 0)
        return rc;
    rc = coil_sock_adopt(NULL, fds[1], &b);
    if (rc < 0)
        return rc;
    rc = coil_sock_sendall(a, "ping", 4, NULL);
    if (rc == 0)
        rc = coil_sock_recv(b, buf, sizeof buf);
    coil_sock_unref(a);
    coil_sock_unref(b);
    return rc == 4 ? 0 : -EIO;
}

/* What the child found, as its exit status. */
enum { FINE = 0, NO_FILTER = 40, WRONG_BACKEND = 41, DID_NOT_RUN = 42, NOT_REFUSED = 43 };

static const char *want;

static coil_ret look_and_echo(void *arg)
{
    if (want && strcmp(coil_loop_backend(NULL), want) != 0)
        return -EXDEV;
    return echo_once(arg);
}

static int run_auto(void)
{
    unsetenv("COIL_BACKEND");
    coil_ret rc = coil_run(look_and_echo, NULL);
    return rc == 0 ? FINE : rc == -EXDEV ? WRONG_BACKEND : DID_NOT_RUN;
}

static int run_named(void)
{
    setenv("COIL_BACKEND", "uring", 1);
    coil_ret rc = coil_run(look_and_echo, NULL);
    return rc == -EPERM ? FINE : rc == 0 ? NOT_REFUSED : DID_NOT_RUN;
}

/* In a child: `run` behind a filter that answers with `action`. */
static int behind(uint32_t action, int (*run)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(filter_io_uring(action) ? run() : NO_FILTER);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status)); /* a signal is what the filter kills with */
    if (WEXITSTATUS(status) == NO_FILTER) {
        print_message("this kernel takes no seccomp filter\n");
        skip();
    }
    return WEXITSTATUS(status);
}

/* The filter kills whoever asks for io_uring: auto must not ask. */
static void auto_does_not_touch_io_uring_behind_a_filter(void **state)
{
    want = "epoll";
    assert_int_equal(behind(SECCOMP_RET_KILL_PROCESS, run_auto), FINE);
    assert_int_equal(behind(SECCOMP_RET_ERRNO | EPERM, run_auto), FINE);
}

static void a_backend_that_was_named_and_is_refused_is_an_error(void **state)
{
    want = NULL;
    assert_int_equal(behind(SECCOMP_RET_ERRNO | EPERM, run_named), FINE);
}

static int refuse_memory(unsigned entries, struct io_uring_params *params)
{
    return params ? -EPERM : coil__sys_real.io_uring_setup(entries, params);
}

/* The probe went well and the ring itself does not: no word of it, and epoll. */
static void auto_falls_back_when_the_ring_cannot_be_made(void **state)
{
    char *named = getenv("COIL_BACKEND") ? strdup(getenv("COIL_BACKEND")) : NULL;
    unsetenv("COIL_BACKEND");
    want = "epoll";
    coil__sys.io_uring_setup = refuse_memory;
    coil_ret rc = coil_run(look_and_echo, NULL);
    coil__sys = coil__sys_real;
    if (named)
        setenv("COIL_BACKEND", named, 1);
    free(named);
    assert_int_equal(rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_does_not_touch_io_uring_behind_a_filter),
        cmocka_unit_test(a_backend_that_was_named_and_is_refused_is_an_error),
        cmocka_unit_test(auto_falls_back_when_the_ring_cannot_be_made),
    };
    return cmocka_run_group_tests_name("story/backends", tests, NULL, NULL);
}
