/* SPDX-License-Identifier: MIT
 *
 * rare.c: what conversations do not come by, under faults: sets too large for a frame, a datagram that comes twice, a ring that is
 * full, a kernel without guards, a file that is not in memory. */
#include "body.h"

#include "base/sys.h"
#include "io/backend.h"
#include "io/sim/sim.h"
#include "loop/loop.h"

#include <coil/datagram.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static bool runs_on(const char *backend)
{
    return strcmp(coil_loop_backend(NULL), backend) == 0;
}

/* ---- a set that is too large for the frame ---- */

static coil_ret sleep_a_little(void *arg)
{
    return coil_sleep((double)(uintptr_t)arg / 1000);
}

static coil_ret many_at_once(void)
{
    enum { N = 9 };
    coil_task *tasks[N];
    for (size_t i = 0; i < N; i++)
        tasks[i] = coil_create_task(sleep_a_little, (void *)i);
    coil_ret rc = coil_wait(tasks, N, COIL_FOREVER, COIL_ALL_COMPLETED, NULL);
    for (size_t i = 0; i < N; i++) {
        coil_task_cancel(tasks[i], NULL);
        coil_unref(tasks[i]);
    }
    return rc < 0    ? rc
           : rc == N ? 0
                     : -ECANCELED; /* one that was not done had no memory, or was cancelled */
}

COIL_TEST(many_at_once_under_faults)
{
    play(many_at_once);
}

/* ---- a datagram that comes twice ---- */

struct ear {
    coil_event heard;
    int n;
};

static coil_ret ear_hears(coil_datagram_transport *t, const void *data, size_t n,
                          const coil_address *from, void *arg)
{
    struct ear *ear = arg;
    (void)t, (void)from;
    assert_memory_equal(data, "twice", n);
    ear->n++;
    coil_event_set(&ear->heard);
    return 0;
}

static const coil_datagram_protocol ear_protocol = {.size = sizeof ear_protocol,
                                                    .datagram_received = ear_hears};

static coil_ret speak(coil_datagram_transport *listener, struct ear *ear)
{
    coil_sock *speaker;
    coil_address at;
    coil_timeout_scope scope;
    leave_on_error(coil_sock_getsockname(coil_datagram_transport_sock(listener), &at));
    leave_on_error(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &speaker));
    coil_ret rc = coil_sock_sendto(speaker, "twice", 5, &at);
    coil_sock_unref(speaker);
    leave_on_error(rc);
    leave_on_error(coil_timeout_enter(&scope, 1)); /* datagrams may be lost */
    return coil_timeout_exit(&scope, coil_event_wait(&ear->heard));
}

static coil_ret heard_twice(void)
{
    const coil_datagram_opts opts = {
        .size = sizeof opts, .local_host = "127.0.0.1", .local_port = "0"};
    static struct ear ear; /* a callback may come after a cancelled wait for it */
    coil_datagram_transport *t;
    ear = (struct ear){.heard = COIL_EVENT};
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &ear_protocol, &ear, &opts, &t);
    leave_on_error(rc);
    rc = speak(t, &ear);
    coil_datagram_transport_close(t);
    coil_datagram_transport_unref(t);
    coil_ignore(coil_sleep(0.001));
    return rc;
}

COIL_TEST(heard_twice_under_faults)
{
    struct backend *b = coil__running_loop->backend;
    if (runs_on("sim"))
        coil__sim_set_fault(b, SIM_DUPLICATE, UINT16_MAX);
    play(heard_twice);
}

/* ---- a ring that is full ---- */

static int (*entering)(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                       size_t n);

static int takes_nothing(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                         size_t n)
{
    return submit ? -EBUSY : entering(fd, submit, want, flags, arg, n);
}

static coil_ret wait_for_ring(void *arg)
{
    return coil_wait_fd((int)(intptr_t)arg, COIL_READ);
}

/* Each round leaves two requests in the ring: for the wait, and for its cancel. */
static coil_ret wait_in_vain(int fd)
{
    coil_task *t = coil_create_task(wait_for_ring, (void *)(intptr_t)fd);
    coil_ret rc = coil_sleep(0);
    rc = first_error(rc, coil_sleep(0));
    coil_task_cancel(t, NULL);
    coil_ret ended = coil_join(t);
    return rc < 0 ? rc : ended == -ECANCELED ? 0 : ended;
}

static coil_ret cancelled_while_full(int fd, int other)
{
    enum { ROUNDS = 150 };
    coil_task *armed = coil_create_task(wait_for_ring, (void *)(intptr_t)other);
    coil_ret rc = coil_sleep(0.001);
    entering = coil__sys.io_uring_enter;
    coil__sys.io_uring_enter = takes_nothing;
    for (int i = 0; i < ROUNDS && rc == 0; i++)
        rc = wait_in_vain(fd);
    coil_task_cancel(armed, NULL);
    coil_ret ended = coil_join(armed);
    coil__sys.io_uring_enter = entering;
    if (rc == 0)
        rc = coil_sleep(0.001);
    return rc < 0 ? rc : ended == -ECANCELED ? 0 : ended;
}

static coil_ret a_full_ring(void)
{
    if (!runs_on("uring"))
        return 0;
    int fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    leave_on_error(fd);
    int other = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    coil_ret rc = other < 0 ? other : cancelled_while_full(fd, other);
    sys_close(fd);
    if (other >= 0)
        sys_close(other);
    return rc;
}

COIL_TEST(a_full_ring_under_faults)
{
    play(a_full_ring);
}

/* ---- a file that is not in memory ---- */

static ssize_t (*reading)(int fd, const struct iovec *v, int n, off_t at, int flags);

static ssize_t is_not_in_memory(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    return flags & RWF_NOWAIT ? -EAGAIN : reading(fd, v, n, at, flags);
}

static coil_ret read_from_disk(void)
{
    coil_file *file;
    char magic[4];
    leave_on_error(coil_file_open("/proc/self/exe", O_RDONLY, 0, &file));
    coil_ret n = coil_file_pread(file, magic, sizeof magic, 0);
    if (n == sizeof magic)
        assert_memory_equal(magic, "\177ELF", 4);
    coil_ret rc = coil_file_close(file);
    return n < 0 ? n : rc;
}

COIL_TEST(read_from_disk_under_faults)
{
    reading = coil__sys.preadv2;
    coil__sys.preadv2 = is_not_in_memory;
    play(read_from_disk);
    coil__sys.preadv2 = reading;
}

/* ---- a kernel that knows no guards ---- */

static int (*advising)(void *p, size_t n, int advice);

static int knows_no_guards(void *p, size_t n, int advice)
{
    return advice == 102 /* MADV_GUARD_INSTALL */ ? -EINVAL : advising(p, n, advice);
}

static coil_ret await_one(void *arg)
{
    return coil_join(coil_create_task(sleep_a_little, arg));
}

static coil_ret guards_by_mprotect(void)
{
    return coil_run(await_one, NULL);
}

COIL_TEST_PLAIN(guards_by_mprotect_under_faults)
{
    advising = coil__sys.madvise;
    coil__sys.madvise = knows_no_guards;
    play(guards_by_mprotect);
    coil__sys.madvise = advising;
}

COIL_TEST_MAIN()
