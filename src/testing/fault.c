/* SPDX-License-Identifier: MIT
 *
 * fault.c: one point after the other fails, each in a child of its own; fault.h has the picture.
 *
 * What can fail, by the word that COIL_FAULT begins with:
 *   alloc, alloc_all   the k-th allocation; every one from there
 *   errno              the k-th kernel call, with each error that call may give (`errors` below)
 *   short              the k-th transfer moves one byte
 *   cancel             the task that parks as the k-th is cancelled, as if by another
 *
 * The first three need a library that counts (-Dsys_table=true); cancel works in every build.
 *
 * Always true: the parent only counts, forks and judges; the shared page is all it learns from a child.
 *
 * The program's main thread; the wrappers of kernel calls also run on coil's threads. */
#include "testing/fault.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/env.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "task/task.h"

#include <coil/task.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    POINTS_MAX = 16384, /* of one test; beyond them they are only counted */
    FOUND_MAX = 8,      /* cases told of one test */
    IDLE_MS = 600,      /* a child that neither runs nor wakes for so long is stuck */
    LATE_MS = 60000,
    ASSERTED = 100,
};

enum kind { NONE, ALLOC, ALLOC_ALL, ERRNO, SHORT, CANCEL, KINDS };
static const char *const kind_names[KINDS] = {"", "alloc", "alloc_all", "errno", "short", "cancel"};

/* What a child tells. */
struct told {
    _Atomic unsigned points;
    unsigned char calls[POINTS_MAX]; /* errno, short: which call each was */
    char not_home[1024];             /* what a body that returned left behind; or nothing */
};

static struct {
    enum kind kind;
    unsigned long only; /* this point alone; 0: all */
    int only_error;
    unsigned long most; /* so many points of a test, evenly spread; 0: all */
    bool strict;
    bool read;
} asked;

static struct told *told; /* shared with the child */
static struct {
    bool child;
    unsigned long point; /* 0: count */
    int error;
    int call; /* that the point is known to be, -1: any; threads may come in another order this time */
    int64_t tried; /* allocations before the body */
} now;

static void read_request(void)
{
    const char *text = coil__env_text("COIL_FAULT");
    asked.read = true;
    if (!text)
        return;
    size_t n = strcspn(text, ":");
    for (int kind = ALLOC; kind < KINDS; kind++)
        if (strlen(kind_names[kind]) == n && memcmp(text, kind_names[kind], n) == 0)
            asked.kind = (enum kind)kind;
    if (asked.kind == NONE) {
        fprintf(stderr, "COIL_FAULT=%s: it begins with alloc, alloc_all, errno, short or cancel\n",
                text);
        exit(2);
    }
#if !defined(COIL_SYS_TABLE) || !COIL_SYS_TABLE
    if (asked.kind != CANCEL) {
        fprintf(stderr, "COIL_FAULT=%s needs a libcoil that was built with -Dsys_table=true\n",
                text);
        exit(2);
    }
#endif
    char *end = NULL;
    if (text[n] == ':')
        asked.only = strtoul(text + n + 1, &end, 10);
    if (end && *end == ':')
        asked.only_error = (int)strtol(end + 1, NULL, 10);
    asked.most = coil__env_number("COIL_FAULT_MAX", 0);
    asked.strict = coil__env_flag("COIL_FAULT_STRICT");
}

bool coil__fault_asked(void)
{
    if (!asked.read)
        read_request();
    return asked.kind != NONE;
}

bool coil__fault_in_child(void)
{
    return now.child;
}

/* Nobody may notice that it happened. */
static bool is_invisible(int error)
{
    return (asked.kind == SHORT && asked.strict) || (asked.kind == ERRNO && error == EINTR);
}

bool coil__fault_excuses(void)
{
    return now.child && now.point > 0 && !is_invisible(now.error);
}

/* ---- a point is reached ---- */

/* Counts it; is it the one that is to fail? */
static bool reached(unsigned char call)
{
    unsigned n = atomic_fetch_add(&told->points, 1) + 1;
    if (n <= POINTS_MAX)
        told->calls[n - 1] = call;
    return n == now.point && (now.call < 0 || now.call == call);
}

static void at_park(struct coil__task *task)
{
    if (reached(0))
        coil_task_cancel(&task->future, NULL);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE

#define OTHER_CALLS(X)                                                                            \
    X(int, fcntl, (int fd, int cmd, intptr_t arg), (fd, cmd, arg))                                \
    X(int, mmap, (size_t n, int prot, int flags, void **out), (n, prot, flags, out))              \
    X(int, epoll_pwait2, (int ep, struct epoll_event *ev, int n, int64_t ns), (ep, ev, n, ns))    \
    X(int, mmap_fd, (int fd, size_t n, int64_t at, void **out), (fd, n, at, out))                 \
    X(int, io_uring_setup, (unsigned n, struct io_uring_params *p), (n, p))                       \
    X(int, io_uring_enter,                                                                        \
      (int fd, unsigned submit, unsigned want, unsigned flags, const void *arg, size_t n),        \
      (fd, submit, want, flags, arg, n))                                                          \
    X(int, io_uring_register, (int fd, unsigned what, void *arg, unsigned n), (fd, what, arg, n)) \
    X(int, begin_child,                                                                           \
      (int (*main)(void *), void *arg, bool copy, void *stack, size_t n, int *out_pidfd),         \
      (main, arg, copy, stack, n, out_pidfd))

enum call {
#define X(type, name, params, args) CALL_##name,
    SYS_CALLS(X) OTHER_CALLS(X)
#undef X
        CALL_ring, /* a write of eight bytes: an eventfd's, which knows no error but an interruption */
    CALLS
};
_Static_assert(CALLS < 256, "a call is a byte");

static const char *const call_names[] = {
#define X(type, name, params, args) #name,
    SYS_CALLS(X) OTHER_CALLS(X)
#undef X
        "ring",
};

/* What each call may answer, and must be met with grace. EAGAIN is not among them, nor ENOTCONN of getpeername: a kernel
 * that says so and means nothing by it would owe an edge. */
static const int errors[CALLS][8] = {
    [CALL_read] = {EINTR, EIO},
    [CALL_write] = {EINTR, EIO, EPIPE, ENOSPC},
    [CALL_ring] = {EINTR},
    [CALL_readv] = {EINTR, EIO},
    [CALL_writev] = {EINTR, EPIPE},
    [CALL_pread] = {EINTR, EIO},
    [CALL_preadv2] = {EINTR, EIO, EOPNOTSUPP},
    [CALL_pwritev2] = {EINTR, EIO, ENOSPC},
    [CALL_openat] = {EMFILE, ENFILE, EACCES, ENOMEM},
    [CALL_fsync] = {EINTR, EIO},
    [CALL_fdatasync] = {EINTR, EIO},
    [CALL_recv] = {EINTR, ECONNRESET, ETIMEDOUT, ENOMEM},
    [CALL_recvmsg] = {EINTR, ECONNRESET, ENOMEM},
    [CALL_send] = {EINTR, EPIPE, ECONNRESET, ENOBUFS},
    [CALL_sendmsg] = {EINTR, EPIPE, ECONNRESET, ENOBUFS},
    [CALL_sendfile] = {EINTR, EPIPE, EINVAL},
    [CALL_lseek] = {ESPIPE},
    [CALL_socket] = {EMFILE, ENFILE, ENOBUFS, EAFNOSUPPORT},
    [CALL_socketpair] = {EMFILE, ENFILE, ENOBUFS},
    [CALL_pipe2] = {EMFILE, ENFILE},
    [CALL_bind] = {EADDRINUSE, EACCES},
    [CALL_listen] = {EADDRINUSE},
    [CALL_accept4] = {EINTR, ECONNABORTED, EPROTO, EMFILE, ENFILE, ENOBUFS, EPERM},
    [CALL_connect] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL},
    [CALL_getsockopt] = {ENOPROTOOPT, ENOBUFS},
    [CALL_setsockopt] = {ENOPROTOOPT, ENOMEM},
    [CALL_getsockname] = {ENOBUFS},
    [CALL_getpeername] = {ENOBUFS},
    [CALL_shutdown] = {ENOTCONN},
    [CALL_close] = {EINTR, EIO},
    [CALL_fstat] = {EIO},
    [CALL_lstat] = {EACCES},
    [CALL_statx] = {EACCES, ENOSYS},
    [CALL_unlink] = {EACCES},
    [CALL_getdents64] = {EIO},
    [CALL_eventfd] = {EMFILE, ENOMEM},
    [CALL_epoll_create1] = {EMFILE, ENOMEM},
    [CALL_epoll_ctl] = {ENOSPC, ENOMEM},
    [CALL_epoll_wait] = {EINTR},
    [CALL_epoll_pwait2] = {EINTR, ENOSYS},
    [CALL_ppoll] = {EINTR},
    [CALL_pselect] = {EINTR},
    [CALL_mmap] = {ENOMEM},
    [CALL_mmap_fd] = {ENOMEM},
    [CALL_mprotect] = {ENOMEM},
    [CALL_madvise] = {EINVAL},
    [CALL_io_uring_setup] = {ENOSYS, EPERM, ENOMEM},
    [CALL_io_uring_enter] = {EINTR, EBUSY, EAGAIN},
    [CALL_io_uring_register] = {EINVAL, ENOMEM},
    [CALL_begin_child] = {EAGAIN, ENOMEM},
    [CALL_waitid] = {EINTR},
    [CALL_pidfd_open] = {ENOSYS, EMFILE},
    [CALL_pidfd_send_signal] = {EPERM},
};

static struct sys_table real; /* what the test would have called */

#define X(type, name, params, args)                                      \
    static type failing_##name params                                    \
    {                                                                    \
        return reached(CALL_##name) ? (type)-now.error : real.name args; \
    }
SYS_CALLS(X)
OTHER_CALLS(X)
#undef X

/* A descriptor is closed whatever close says. */
static int failing_closing(int fd)
{
    bool fails = reached(CALL_close);
    int rc = real.close(fd);
    return fails ? -now.error : rc;
}

static ssize_t failing_writing(int fd, const void *b, size_t n)
{
    return reached(n == sizeof(uint64_t) ? CALL_ring : CALL_write) ? -now.error
                                                                   : real.write(fd, b, n);
}

static void fail_calls(void)
{
#define X(type, name, params, args) coil__sys.name = failing_##name;
    SYS_CALLS(X)
    OTHER_CALLS(X)
#undef X
    coil__sys.close = failing_closing;
    coil__sys.write = failing_writing;
}

/* ---- short transfers ----
 *
 * A socket's receives are not cut: the kernel hands over what it has, and a short one that leaves something behind would owe
 * an edge. The imaginary kernel has real short ones (io/sim). */

/* Of a descriptor whose bytes may come in any pieces, and more than one of them? An eventfd's eight may not. */
static size_t cut(enum call call, int fd, size_t n)
{
    int type = SOCK_STREAM;
    socklen_t len = sizeof type;
    if (n < 2 || n == sizeof(uint64_t) || !reached((unsigned char)call))
        return n;
    (void)real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len); /* no socket: a pipe or a file */
    return type == SOCK_STREAM ? 1 : n;
}

static size_t total(const struct iovec *v, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i].iov_len;
    return sum;
}

/* The first byte of the pieces. */
static struct iovec first_byte(const struct iovec *v)
{
    while (v->iov_len == 0)
        v++;
    return (struct iovec){.iov_base = v->iov_base, .iov_len = 1};
}

#define SHORT_PLAIN(name, buffer)                           \
    static ssize_t short_##name(int fd, buffer p, size_t n) \
    {                                                       \
        return real.name(fd, p, cut(CALL_##name, fd, n));   \
    }
SHORT_PLAIN(read, void *)
SHORT_PLAIN(write, const void *)

static ssize_t short_send(int fd, const void *p, size_t n, int flags)
{
    return real.send(fd, p, cut(CALL_send, fd, n), flags);
}

static ssize_t short_pread(int fd, void *p, size_t n, off_t at)
{
    return real.pread(fd, p, cut(CALL_pread, fd, n), at);
}

static ssize_t short_sendfile(int out, int in, off_t *at, size_t n)
{
    return real.sendfile(out, in, at, cut(CALL_sendfile, out, n));
}

#define SHORT_VECTOR(name)                                            \
    static ssize_t short_##name(int fd, const struct iovec *v, int n) \
    {                                                                 \
        size_t all = total(v, (size_t)n);                             \
        if (cut(CALL_##name, fd, all) == all)                         \
            return real.name(fd, v, n);                               \
        struct iovec one = first_byte(v);                             \
        return real.name(fd, &one, 1);                                \
    }
SHORT_VECTOR(readv)
SHORT_VECTOR(writev)

#define SHORT_AT(name)                                                                     \
    static ssize_t short_##name(int fd, const struct iovec *v, int n, off_t at, int flags) \
    {                                                                                      \
        size_t all = total(v, (size_t)n);                                                  \
        if (cut(CALL_##name, fd, all) == all)                                              \
            return real.name(fd, v, n, at, flags);                                         \
        struct iovec one = first_byte(v);                                                  \
        return real.name(fd, &one, 1, at, flags);                                          \
    }
SHORT_AT(preadv2)
SHORT_AT(pwritev2)

static ssize_t short_sendmsg(int fd, const struct msghdr *m, int flags)
{
    size_t all = total(m->msg_iov, m->msg_iovlen);
    if (cut(CALL_sendmsg, fd, all) == all)
        return real.sendmsg(fd, m, flags);
    struct msghdr less = *m;
    struct iovec one = first_byte(m->msg_iov);
    less.msg_iov = &one;
    less.msg_iovlen = 1;
    return real.sendmsg(fd, &less, flags);
}

static void shorten_transfers(void)
{
    coil__sys.read = short_read;
    coil__sys.write = short_write;
    coil__sys.readv = short_readv;
    coil__sys.writev = short_writev;
    coil__sys.pread = short_pread;
    coil__sys.preadv2 = short_preadv2;
    coil__sys.pwritev2 = short_pwritev2;
    coil__sys.send = short_send;
    coil__sys.sendmsg = short_sendmsg;
    coil__sys.sendfile = short_sendfile;
}

static void arm_table(void)
{
    real = coil__sys;
    now.tried = coil__mem_tried();
    if (asked.kind == ALLOC || asked.kind == ALLOC_ALL)
        coil__mem_fail_at((int64_t)now.point, asked.kind == ALLOC_ALL);
    else if (asked.kind == ERRNO)
        fail_calls();
    else if (asked.kind == SHORT)
        shorten_transfers();
}

static void disarm_table(void)
{
    coil__sys = real;
    if (asked.kind == ALLOC || asked.kind == ALLOC_ALL) {
        coil__mem_fail_at(0, 0);
        atomic_store(&told->points, (unsigned)(coil__mem_tried() - now.tried));
    }
}

/* Which errors the call at this point may give: the i-th, 0 for no more. */
static int error_of(unsigned long point, unsigned i)
{
    return i < 8 && point <= POINTS_MAX ? errors[told->calls[point - 1]][i] : 0;
}

static const char *name_of(unsigned char call)
{
    return call_names[call];
}
#else
static void arm_table(void)
{
}
static void disarm_table(void)
{
}
static int error_of(unsigned long point, unsigned i)
{
    return 0;
}
static const char *name_of(unsigned char call)
{
    return "";
}
#endif

/* ---- the child ---- */

void coil__fault_arm(void)
{
    if (!now.child)
        return;
    if (asked.kind == CANCEL)
        coil__park_hook = at_park;
    else
        arm_table();
}

void coil__fault_disarm(void)
{
    if (!now.child)
        return;
    coil__park_hook = NULL;
    if (asked.kind != CANCEL)
        disarm_table();
}

void coil__fault_asserted(void)
{
    coil__sys_end_child(ASSERTED);
}

static _Noreturn void be_the_child(coil_test *test, const char *(*run)(coil_test *test),
                                   unsigned long point, int error, int call)
{
    /* cmocka would take a crash for a failed test, and go on with the next. */
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    const struct sigaction plain = {.sa_handler = SIG_DFL};
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        (void)sys_sigaction(crashes[i], &plain, NULL);
    if (!asked.only) {
        int nowhere = sys_openat(AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC, 0);
        (void)sys_dup2(nowhere, STDOUT_FILENO);
        (void)sys_dup2(nowhere, STDERR_FILENO);
        (void)sys_close(nowhere);
    }
    now.child = true;
    now.point = point;
    now.error = error;
    now.call = call;
    const char *not_home = run(test);
    if (not_home)
        snprintf(told->not_home, sizeof told->not_home, "%s", not_home);
    coil__sys_end_child(0);
}

/* ---- the parent ---- */

struct outcome {
    bool crashed, stuck, asserted;
    bool unborn; /* there was no child */
    int signo;
};

static bool read_text(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, size - 1, file) : 0;
    if (file)
        fclose(file);
    text[n] = 0;
    return n > 0;
}

/* How often the main thread of a process went to sleep, which whoever waits for ever does no more, and the ticks of CPU of all
 * its threads. */
static unsigned long long activity_of(pid_t pid)
{
    char path[64], text[4096];
    unsigned long long user = 0, system = 0, slept = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_text(path, text, sizeof text)) {
        const char *after_name = strrchr(text, ')');
        if (after_name)
            (void)sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                         &user, &system);
    }
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (read_text(path, text, sizeof text)) {
        const char *line = strstr(text, "\nvoluntary_ctxt_switches:");
        if (line)
            slept = strtoull(line + strlen("\nvoluntary_ctxt_switches:"), NULL, 10);
    }
    return user + system + slept;
}

/* Waits for its end; one that only waits itself, or lasts too long, is killed. */
static struct outcome wait_for(pid_t pid)
{
    struct outcome o = {0};
    const struct timespec pause = {.tv_nsec = 300000};
    int64_t began = coil__clock_real_ns(), last_change = began;
    unsigned long long seen = activity_of(pid);
    siginfo_t info;
    for (unsigned round = 1;; round++) {
        memset(&info, 0, sizeof info);
        if (sys_waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid == pid)
            break;
        (void)sys_ppoll(NULL, 0, &pause, NULL);
        if (round % 64)
            continue;
        int64_t at = coil__clock_real_ns();
        unsigned long long active = activity_of(pid);
        if (active != seen) {
            seen = active;
            last_change = at;
        }
        if (at - last_change > IDLE_MS * NS_PER_MS || at - began > LATE_MS * NS_PER_MS) {
            o.stuck = true;
            (void)sys_kill(pid, SIGKILL);
        }
    }
    o.asserted = info.si_code == CLD_EXITED && info.si_status == ASSERTED;
    o.crashed = !o.stuck && !o.asserted && (info.si_code != CLD_EXITED || info.si_status != 0);
    o.signo = info.si_code == CLD_EXITED ? 0 : info.si_status;
    return o;
}

static struct outcome try_point(coil_test *test, const char *(*run)(coil_test *test),
                                unsigned long point, int error, int call)
{
    atomic_store(&told->points, 0);
    told->not_home[0] = 0;
    fflush(stdout);
    fflush(stderr);
    pid_t pid = sys_fork();
    if (pid == 0)
        be_the_child(test, run, point, error, call);
    return pid < 0 ? (struct outcome){.unborn = true} : wait_for(pid);
}

static struct {
    char text[2048];
    unsigned n;
} found;

COIL_PRINTF(1, 2) static void note(const char *fmt, ...)
{
    if (found.n++ >= FOUND_MAX)
        return;
    size_t n = strlen(found.text);
    if (n > 0 && n + 3 < sizeof found.text)
        n += (size_t)snprintf(found.text + n, sizeof found.text - n, "; ");
    va_list args;
    va_start(args, fmt);
    vsnprintf(found.text + n, sizeof found.text - n, fmt, args);
    va_end(args);
}

static void judge(const struct outcome *o, unsigned long point, int error, unsigned char call)
{
    char where[96];
    if (asked.kind == ERRNO)
        snprintf(where, sizeof where, "errno:%lu:%d (%s of %s)", point, error, coil_errname(-error),
                 name_of(call));
    else if (asked.kind == SHORT)
        snprintf(where, sizeof where, "short:%lu (%s)", point, name_of(call));
    else
        snprintf(where, sizeof where, "%s:%lu", kind_names[asked.kind], point);
    if (o->unborn)
        note("%s: no child could be started", where);
    else if (o->crashed)
        note("%s: %s", where, o->signo ? strsignal(o->signo) : "it exits by itself");
    else if (o->stuck && (asked.strict || is_invisible(error)))
        note("%s: it waits for ever", where);
    else if (o->asserted && is_invisible(error))
        note("%s: it was noticed", where);
    else if (told->not_home[0] && !o->stuck && !o->asserted)
        note("%s: %s", where, told->not_home);
}

struct sums {
    unsigned long points, cases, asserted, stuck;
};

static void sweep_point(coil_test *test, const char *(*run)(coil_test *test), unsigned long point,
                        const unsigned char *calls, struct sums *sums)
{
    unsigned char call = point <= POINTS_MAX ? calls[point - 1] : 0;
    for (unsigned i = 0; i < 8; i++) {
        told->calls[0] = call;
        int error = asked.kind == ERRNO ? error_of(1, i) : 0;
        if ((asked.kind == ERRNO && !error) || (asked.only_error && error != asked.only_error))
            continue;
        struct outcome o = try_point(test, run, point, error, asked.kind == ERRNO ? call : -1);
        judge(&o, point, error, call);
        sums->cases++;
        sums->asserted += o.asserted;
        sums->stuck += o.stuck;
        if (asked.kind != ERRNO)
            break;
    }
}

const char *coil__fault_sweep(coil_test *test, const char *(*run)(coil_test *test))
{
    struct sums sums = {0};
    found.n = 0;
    found.text[0] = 0;
    if (!told) {
        void *page;
        if (sys_mmap(sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, &page) < 0)
            return "no memory for what a child has to tell";
        told = page;
    }
    if (asked.only &&
        coil__env_flag(
            "COIL_FAULT_HERE")) /* for a debugger: no child, and it ends with this test */
        be_the_child(test, run, asked.only, asked.only_error, -1);
    struct outcome clean = try_point(test, run, 0, 0, -1);
    if (clean.unborn || clean.crashed || clean.stuck || clean.asserted || told->not_home[0]) {
        fprintf(stderr, "# fault %s: %s: it does not pass by itself in a child of fork\n",
                kind_names[asked.kind], test->name);
        return NULL;
    }
    sums.points = atomic_load(&told->points);
    static unsigned char calls[POINTS_MAX];
    memcpy(calls, told->calls, POINTS_MAX);
    unsigned long step = asked.most && sums.points > asked.most
                             ? (sums.points + asked.most - 1) / asked.most
                             : 1;
    for (unsigned long point = asked.only ? asked.only : 1 + sums.points % step;
         point <= sums.points; point += step) {
        sweep_point(test, run, point, calls, &sums);
        if (asked.only)
            break;
    }
    fprintf(stderr,
            "# fault %s: %s: %lu points, %lu cases, %lu met an assertion, %lu waited for ever, %u "
            "found\n",
            kind_names[asked.kind], test->name, sums.points, sums.cases, sums.asserted, sums.stuck,
            found.n);
    return found.n ? found.text : NULL;
}
