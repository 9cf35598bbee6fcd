/* SPDX-License-Identifier: MIT
 *
 * notify.c: telling a service manager how we are, and that we are.
 *
 *     lines --one datagram--> NOTIFY_SOCKET, a path or @abstract name
 *
 *     watchdog: timer --due--> ping: WATCHDOG=1, next timer          one a loop, at half the interval
 *
 * Each message has a socket of its own, as the manager knows the sender by what the kernel says of him, and one a
 * minute is no load. A full queue is asked again at intervals (docs/decisions/0016).
 *
 * The loop's thread, but for what the header allows from anywhere. Elsewhere: what the manager gave us (inherited.c). */
#include "base/env.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "io/direct.h"
#include "loop/loop.h"

#include <coil/net.h>
#include <coil/service.h>
#include <coil/task.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RETRY_MIN_S 0.001
#define RETRY_MAX_S 0.032
enum { STATUS_MAX = 1024, FDS_MAX = 253 /* SCM_MAX_FD of the kernel */ };

/* ---- one message ---- */

struct message {
    const char *lines;
    const int *fds;
    size_t n;
};

/* 1: `out` is set; 0: nobody wants to know. */
static int manager(coil_address *out)
{
    const char *name = coil__env_text("NOTIFY_SOCKET");
    if (!name)
        return 0;
    if (name[0] != '/' && name[0] != '@')
        return (int)coil__fail(
            -EAFNOSUPPORT,
            "NOTIFY_SOCKET=%s: only paths and abstract names of unix sockets can be told", name);
    int err = coil_address_unix(name, strlen(name), out);
    return err ? err : 1;
}

static void attach(struct msghdr *hdr, char *room, const struct message *m)
{
    hdr->msg_control = room;
    hdr->msg_controllen = CMSG_SPACE(m->n * sizeof *m->fds);
    struct cmsghdr *c = CMSG_FIRSTHDR(hdr);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(m->n * sizeof *m->fds);
    memcpy(CMSG_DATA(c), m->fds, m->n * sizeof *m->fds);
}

static int transmit(const struct message *m, const coil_address *to)
{
    _Alignas(struct cmsghdr) char room[CMSG_SPACE(FDS_MAX * sizeof *m->fds)] = {
        0}; /* its padding is sent, too */
    struct iovec v = {.iov_base = (void *)(uintptr_t)m->lines, .iov_len = strlen(m->lines)};
    struct msghdr hdr = {.msg_name = (void *)(uintptr_t)&to->storage,
                         .msg_namelen = to->len,
                         .msg_iov = &v,
                         .msg_iovlen = 1};
    if (m->n)
        attach(&hdr, room, m);
    int fd = sys_socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    ssize_t sent = coil__direct_sendmsg(fd, &hdr, 0);
    (void)coil__direct_close(fd);
    return sent < 0 ? (int)sent : 1;
}

static int tell(const struct message *m)
{
    coil_address to;
    int err = manager(&to);
    if (err <= 0)
        return err;
    err = transmit(m, &to);
    return err < 0
               ? (int)coil__fail(err, "the service manager was not told: %s", coil_strerror(err))
               : err;
}

/* Asks again while the queue is full. */
static coil_ret tell_patiently(const struct message *m)
{
    coil_ret rc = tell(m);
    for (double delay = RETRY_MIN_S; rc == -EAGAIN;) {
        rc = coil_sleep(delay);
        if (rc == 0)
            rc = tell(m);
        delay = delay < RETRY_MAX_S ? delay * 2 : delay;
    }
    return rc;
}

static int no_text(void)
{
    return (int)coil__fail(-EINVAL, "there is nothing to tell the service manager");
}

coil_ret coil_service_notify(const char *lines)
{
    if (!lines || !*lines)
        return no_text();
    return tell_patiently(&(struct message){.lines = lines});
}

int coil_service_notify_nowait(const char *lines)
{
    if (!lines || !*lines)
        return no_text();
    return tell(&(struct message){.lines = lines});
}

int coil_service_status(const char *fmt, ...)
{
    char text[STATUS_MAX] = "STATUS=";
    size_t at = strlen(text);
    if (!fmt)
        return no_text();
    va_list args;
    va_start(args, fmt);
    vsnprintf(text + at, sizeof text - at, fmt, args);
    va_end(args);
    for (char *c = text + at; *c; c++)
        if (*c == '\n') /* what follows would be a variable of its own */
            *c = ' ';
    return coil_service_notify_nowait(text);
}

coil_ret coil_service_reloading(void)
{
    char text[64];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)(coil__clock_real_ns() / 1000));
    return coil_service_notify(text);
}

/* ---- descriptors to keep ---- */

static bool is_name(const char *name)
{
    size_t n = 0;
    for (; name && name[n]; n++)
        if (name[n] < ' ' || name[n] > '~' || name[n] == ':')
            return false;
    return n > 0 && n <= COIL_SERVICE_NAME_MAX;
}

static coil_ret tell_of_fds(const char *what, const char *name, const int *fds, size_t n)
{
    char lines[COIL_SERVICE_NAME_MAX + 64];
    if (!is_name(name))
        return coil__fail(-EINVAL, "this is no name for descriptors");
    snprintf(lines, sizeof lines, "%s=1\nFDNAME=%s", what, name);
    return tell_patiently(&(struct message){.lines = lines, .fds = fds, .n = n});
}

coil_ret coil_service_store_fds(const char *name, const int *fds, size_t n)
{
    if (!fds || n == 0)
        return coil__fail(-EINVAL, "there are no descriptors to keep");
    if (n > FDS_MAX)
        return coil__fail(-E2BIG, "at most %d descriptors at a time", FDS_MAX);
    for (size_t i = 0; i < n;
         i++) /* the message's own socket might get the number of one that is closed */
        if (sys_fcntl(fds[i], F_GETFD, 0) < 0)
            return coil__fail(-EBADF, "descriptor %d is not open", fds[i]);
    return tell_of_fds("FDSTORE", name, fds, n);
}

coil_ret coil_service_forget_fds(const char *name)
{
    return tell_of_fds("FDSTOREREMOVE", name, NULL, 0);
}

/* ---- the watchdog ---- */

struct run_part {
    struct loop_part part;
    coil_loop *loop;
    struct timer timer;
    int64_t every_ns;
};

/* A ping that cannot be sent is followed by another one in time: they come twice as often as they must. */
static void ping(void *arg)
{
    struct run_part *part = arg;
    int64_t next = clock_add(loop_now_ns(part->loop), part->every_ns);
    (void)coil_service_notify_nowait("WATCHDOG=1");
    if (coil__timer_start(part->loop, &part->timer, next) < 0)
        loop_push(part->loop, ping, part, NULL); /* no memory: we live all the same */
}

static void ping_due(struct timer *timer)
{
    struct run_part *part = container_of(timer, struct run_part, timer);
    loop_push(part->loop, ping, part, NULL);
}

static void closing(struct loop_part *p, coil_loop *loop)
{
    coil__timer_stop(loop, &container_of(p, struct run_part, part)->timer);
}

static void release(struct loop_part *p)
{
    coil__free(container_of(p, struct run_part, part));
}

/* What the manager wants, in nanoseconds; 0 if nothing, or nothing of this process. */
static int interval(int64_t *out_ns)
{
    const char *text = coil__env_text("WATCHDOG_USEC");
    *out_ns = 0;
    if (!text || coil__env_number("WATCHDOG_PID", (uint64_t)sys_getpid()) != (uint64_t)sys_getpid())
        return 0;
    uint64_t us = coil__env_number("WATCHDOG_USEC", 0);
    if (us == 0 || us > INT64_MAX / 1000)
        return (int)coil__fail(-EINVAL, "WATCHDOG_USEC=%s makes no sense", text);
    *out_ns = (int64_t)us * 1000;
    return 0;
}

static int start_watchdog(coil_loop *loop, int64_t every_ns)
{
    struct run_part *part = coil__zalloc(sizeof *part);
    if (!part)
        return (int)coil__fail_plain(-ENOMEM);
    if (coil__loop_hold(loop, 1) < 0)
        goto undo_part;
    part->part = (struct loop_part){.closing = closing, .release = release};
    part->loop = loop;
    part->every_ns = every_ns;
    timer_init(&part->timer, ping_due);
    if (coil__timer_start(loop, &part->timer, clock_add(loop_now_ns(loop), every_ns)) < 0)
        goto undo_room;
    loop->parts[LOOP_PART_RUN] = &part->part;
    (void)coil_service_notify_nowait("WATCHDOG=1");
    return 1;
undo_room:
    loop_release(loop, 1);
undo_part:
    coil__free(part);
    return (int)coil__fail_plain(-ENOMEM);
}

int coil_service_watchdog(coil_loop *loop)
{
    int64_t ns;
    if (!(loop = coil__loop_use_current(loop)))
        return (int)coil_last_error()->code;
    if (loop_part(loop, LOOP_PART_RUN))
        return 1;
    int err = interval(&ns);
    return err || ns == 0 ? err : start_watchdog(loop, ns / 2);
}
