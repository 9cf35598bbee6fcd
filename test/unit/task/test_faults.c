/* SPDX-License-Identifier: MIT
 *
 * test_faults.c: every kernel call that a loop with tasks makes fails once, each kind for itself: what
 * was asked for answers with an error or works all the same, nothing hangs, nothing is left behind. */
#include "task/task.h"

#include "../loop/stage.h"
#include "base/sys.h"
#include "base/thread.h"

#include <sys/socket.h>

#if STAGE_TABLE

/* The error nobody else gives. */
#define FAULT (-EREMOTEIO)

static int64_t calls_left; /* the fault comes when this reaches 0 */
static bool faulted;

static bool strikes(void)
{
    if (calls_left <= 0 || --calls_left > 0)
        return false;
    faulted = true;
    return true;
}

#define FAULTY(type, name, params, args)                           \
    static type faulty_##name params                               \
    {                                                              \
        return strikes() ? (type)FAULT : coil__sys_real.name args; \
    }

FAULTY(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n))
FAULTY(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
FAULTY(int, fstat, (int fd, struct stat *st), (fd, st))
FAULTY(int, fcntl, (int fd, int cmd, intptr_t arg), (fd, cmd, arg))
FAULTY(int, eventfd, (unsigned value, int flags), (value, flags))
FAULTY(int, epoll_create1, (int flags), (flags))
FAULTY(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))
FAULTY(int, epoll_wait, (int ep, struct epoll_event *ev, int n, int ms), (ep, ev, n, ms))
FAULTY(int, epoll_pwait2, (int ep, struct epoll_event *ev, int n, int64_t ns), (ep, ev, n, ns))
FAULTY(int, ppoll, (struct pollfd * p, nfds_t n, const struct timespec *t, const sigset_t *m),
       (p, n, t, m))
FAULTY(int, mmap, (size_t n, int prot, int flags, void **out), (n, prot, flags, out))
FAULTY(int, mmap_fd, (int fd, size_t n, int64_t at, void **out), (fd, n, at, out))
FAULTY(int, io_uring_setup, (unsigned n, struct io_uring_params *params), (n, params))
FAULTY(int, io_uring_enter,
       (int fd, unsigned submit, unsigned want, unsigned flags, const void *arg, size_t arg_n),
       (fd, submit, want, flags, arg, arg_n))
FAULTY(int, io_uring_register, (int fd, unsigned what, void *arg, unsigned n), (fd, what, arg, n))
FAULTY(int, mprotect, (void *p, size_t n, int prot), (p, n, prot))
FAULTY(int, madvise, (void *p, size_t n, int advice), (p, n, advice))

/* ---- the scene ---- */

static int pair[2];

static coil_ret reader(void *arg)
{
    char c;
    (void)arg;
    coil_ret rc = coil_wait_fd(pair[0], COIL_READ);
    if (rc == COIL_READ)
        (void)!read(pair[0], &c, 1);
    return rc;
}

static coil_ret writer(void *arg)
{
    (void)arg;
    coil_ret rc = coil_wait_fd(pair[1], COIL_WRITE);
    if (rc == COIL_WRITE)
        (void)!write(pair[1], "x", 1);
    return rc;
}

static coil_ret sleeper(void *arg)
{
    return coil_sleep((double)(intptr_t)arg);
}

static void nothing(void *arg)
{
    (void)arg;
}

static coil_ret main_task(void *arg)
{
    (void)arg;
    coil_task *r = coil_create_task(reader, NULL), *w = coil_create_task(writer, NULL);
    coil_task *s = coil_create_task(sleeper, (void *)1);
    coil_loop_call_soon_threadsafe(stage.loop, nothing, NULL, NULL);
    coil_loop_add_reader(NULL, pair[1], nothing, NULL);
    coil_ignore(coil_sleep(1));
    coil_loop_remove_reader(NULL, pair[1]);
    coil_loop_wakeup(NULL);
    coil_task_opts big = {.size = sizeof big, .stack_size = 1 << 20};
    coil_ignore(coil_join(coil_create_task_opts(sleeper, NULL, &big)));
    coil_ignore(coil_sleep(1));
    coil_task_cancel(r, NULL);
    coil_task_cancel(w, NULL);
    coil_ret ends[] = {coil_join(r), coil_join(w), coil_join(s)};
    for (int i = 0; i < 3; i++)
        FACT(!coil_iserr(ends[i]) || ends[i] == FAULT || ends[i] == -ECANCELED ||
             ends[i] == -ENOMEM || ends[i] == COIL_EEXIT);
    return 0;
}

static void forgive(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)loop, (void)c, (void)arg;
}

static void scene(void)
{
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    stage.loop = coil_new_event_loop(&opts);
    if (stage.loop) {
        coil_loop_set_exception_handler(stage.loop, forgive, NULL);
        coil_task_opts task_opts = {.size = sizeof task_opts, .loop = stage.loop};
        coil_task *t = coil_create_task_opts(main_task, NULL, &task_opts);
        coil_ret rc = coil_loop_run_until_complete(stage.loop, t);
        if (coil_future_get_loop(t) && !coil_future_done(t)) {
            FACT_INT(rc, FAULT); /* the run itself met it; and can be run again */
            FACT_INT(coil_loop_run_until_complete(stage.loop, t), 0);
        } else {
            FACT(rc == 0 || rc == FAULT || rc == -ENOMEM);
        }
        coil_unref(t);
        coil_loop_free(stage.loop);
        stage.loop = NULL;
    } else {
        FACT_INT(coil_last_error()->code, FAULT);
    }
    close(pair[0]);
    close(pair[1]);
}

/* Fails the first call of this kind, the second, ... until the scene makes fewer. */
static void sweep(const char *what)
{
    for (int64_t n = 1; n < 1000; n++) {
        int64_t blocks = coil__mem_live();
        int descriptors = stage_open_fds();
        calls_left = n;
        faulted = false;
        scene();
        calls_left = 0;
        FACT_INT(coil__mem_live() - blocks, 0);
        FACT_INT(stage_open_fds() - descriptors, 0);
        if (stage.broken) {
            print_error("when call %ld of %s fails\n", (long)n, what);
            return;
        }
        if (!faulted)
            return;
    }
    FACT(!"the scene comes to an end");
}

#define FAULTS(name)                          \
    PLAIN(scene_survives_each_failing_##name) \
    {                                         \
        coil__sys.name = faulty_##name;       \
        sweep(#name);                         \
        coil__sys.name = coil__sys_real.name; \
    }

FAULTS(read)
FAULTS(write)
FAULTS(fstat)
FAULTS(fcntl)
FAULTS(eventfd)
FAULTS(epoll_create1)
FAULTS(epoll_ctl)
FAULTS(epoll_wait)
FAULTS(epoll_pwait2)
FAULTS(ppoll)
FAULTS(mmap)
FAULTS(mmap_fd)
FAULTS(io_uring_setup)
FAULTS(io_uring_enter)
FAULTS(io_uring_register)
FAULTS(mprotect)
FAULTS(madvise)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scene_survives_each_failing_read),
        cmocka_unit_test(scene_survives_each_failing_write),
        cmocka_unit_test(scene_survives_each_failing_fstat),
        cmocka_unit_test(scene_survives_each_failing_fcntl),
        cmocka_unit_test(scene_survives_each_failing_eventfd),
        cmocka_unit_test(scene_survives_each_failing_epoll_create1),
        cmocka_unit_test(scene_survives_each_failing_epoll_ctl),
        cmocka_unit_test(scene_survives_each_failing_epoll_wait),
        cmocka_unit_test(scene_survives_each_failing_epoll_pwait2),
        cmocka_unit_test(scene_survives_each_failing_ppoll),
        cmocka_unit_test(scene_survives_each_failing_mmap),
        cmocka_unit_test(scene_survives_each_failing_mmap_fd),
        cmocka_unit_test(scene_survives_each_failing_io_uring_setup),
        cmocka_unit_test(scene_survives_each_failing_io_uring_enter),
        cmocka_unit_test(scene_survives_each_failing_io_uring_register),
        cmocka_unit_test(scene_survives_each_failing_mprotect),
        cmocka_unit_test(scene_survives_each_failing_madvise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
int main(void)
{
    puts("this build does not go through a table of kernel calls");
    return 77;
}
#endif
