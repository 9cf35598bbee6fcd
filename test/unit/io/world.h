/* SPDX-License-Identifier: MIT
 *
 * world.h: a backend for a test to play on, and a small loop that turns it.
 *
 * `world_open` takes the backend COIL_BACKEND names, or the one given; the test runner goes through
 * them all. `world_close` checks that everything came home: ops, memory, descriptors. */
#ifndef TEST_UNIT_IO_WORLD_H
#define TEST_UNIT_IO_WORLD_H

#include "base/clock.h"
#include "base/inbox.h"
#include "base/mem.h"
#include "base/sys.h"
#include "io/backend.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

struct world {
    struct backend *b;
    const struct backend_class *cls;
    const struct io_calls *calls;
    struct clock clock;
    struct inbox *inbox;
    int64_t live; /* allocations before */
    int open_fds; /* descriptors before */
};

/* An op of a test: counts its completions. */
struct test_op {
    struct op op;
    int done;
    int order; /* of the last completion among all: 1, 2, ... */
};

static int completions;

static inline void on_done(struct op *op)
{
    struct test_op *t = container_of(op, struct test_op, op);
    t->done++;
    t->order = ++completions;
}

static inline int count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static inline int world_try_open(struct world *w, const struct backend_class *cls, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->open_fds = count_fds();
    w->live = coil__mem_live();
    w->cls = cls;
    w->calls = &w->cls->calls;
    w->clock.is_virtual = w->cls == &coil__backend_sim;
    w->clock.virtual_ns = 1000 * NS_PER_S;
    int err = coil__inbox_new(&w->inbox);
    if (err < 0)
        return err;
    struct backend_opts opts = {.clock = &w->clock, .wake_fd = w->inbox->wake_fd, .seed = seed};
    err = w->cls->open(&w->b, &opts);
    if (err < 0)
        coil__inbox_unref(w->inbox);
    completions = 0;
    return err;
}

static inline void world_open(struct world *w)
{
    const struct backend_class *cls;
    assert_int_equal(coil__backend_choose(NULL, &cls), 0);
    assert_int_equal(world_try_open(w, cls, 0), 0);
}

static inline void world_close(struct world *w)
{
    assert_int_equal(w->b->pending, 0);
    assert_int_equal(w->b->real_pending, 0);
    assert_null(backend_reap(w->b));
    w->cls->close(w->b);
    coil__inbox_unref(w->inbox);
    assert_int_equal(coil__mem_live(), w->live);
    assert_int_equal(count_fds(), w->open_fds);
}

static inline bool is_sim(struct world *w)
{
    return w->cls == &coil__backend_sim;
}

static inline int reap(struct world *w)
{
    int n = 0;
    struct op *op;
    while ((op = backend_reap(w->b))) {
        op->done(op);
        n++;
    }
    return n;
}

/* Look, do not sleep. */
static inline int look_once(struct world *w)
{
    assert_int_equal(w->cls->wait(w->b, 0), 0);
    return reap(w);
}

/* One turn of a loop whose next timer is `limit_ns` away: how many ops came. */
static inline int turn(struct world *w, int64_t limit_ns)
{
    if (!w->clock.is_virtual) {
        assert_int_equal(w->cls->wait(w->b, limit_ns), 0);
        return reap(w);
    }
    /* A turn takes time, or one that is always busy would stop the clock. */
    clock_advance_to(&w->clock, w->clock.virtual_ns + NS_PER_US);
    int n = look_once(w);
    if (n)
        return n;
    int64_t next = w->cls->next_event_ns(w->b), limit = clock_add(w->clock.virtual_ns, limit_ns);
    if (next > limit && w->b->real_pending) {
        assert_int_equal(w->cls->wait(w->b, limit_ns), 0);
        return reap(w);
    }
    clock_advance_to(&w->clock, next < limit ? next : limit);
    return look_once(w);
}

/* Turn until the op has completed `n` times; fails where nothing comes for long. */
static inline void run_until(struct world *w, struct test_op *t, int n)
{
    int64_t give_up = coil__clock_real_ns() + 20 * NS_PER_S;
    for (int i = 0; t->done < n; i++) {
        turn(w, NS_PER_S);
        assert_true(coil__clock_real_ns() < give_up && (i < 100000 || !w->clock.is_virtual));
    }
    assert_int_equal(t->done, n);
}

/* Nothing completes, however long one waits. */
static inline void assert_quiet(struct world *w)
{
    int waits = is_sim(w) ? 100 : 3;
    for (int i = 0; i < waits; i++)
        assert_int_equal(turn(w, 2 * NS_PER_MS), 0);
}

static inline struct test_op recv_op(int fd, void *p, size_t n)
{
    return (struct test_op){.op = {.done = on_done, .fd = fd, .kind = OP_RECV, .buf = {p, n, 0}}};
}

static inline struct test_op send_op(int fd, const void *p, size_t n)
{
    return (struct test_op){
        .op = {.done = on_done, .fd = fd, .kind = OP_SEND, .buf = {(void *)(uintptr_t)p, n, 0}}};
}

static inline struct test_op poll_op(int fd, unsigned events, unsigned flags)
{
    return (struct test_op){.op = {.done = on_done,
                                   .fd = fd,
                                   .kind = OP_POLL,
                                   .events = (uint8_t)events,
                                   .flags = (uint8_t)flags}};
}

static inline struct test_op accept_op(int fd)
{
    return (struct test_op){.op = {.done = on_done, .fd = fd, .kind = OP_ACCEPT}};
}

static inline struct test_op connect_op(int fd, struct sockaddr_storage *addr, socklen_t len)
{
    return (struct test_op){
        .op = {.done = on_done, .fd = fd, .kind = OP_CONNECT, .to = {addr, len}}};
}

static inline void submit(struct world *w, struct test_op *t)
{
    w->cls->submit(w->b, &t->op);
}

static inline int cancel(struct world *w, struct test_op *t)
{
    return w->cls->cancel(w->b, &t->op);
}

static inline void close_fd(struct world *w, int fd)
{
    assert_int_equal(w->calls->close(w->b, fd), 0);
}

static inline void own(struct world *w, int fd)
{
    assert_int_equal(w->calls->own(w->b, fd), 0);
}

static inline void make_pair(struct world *w, int out[2])
{
    assert_int_equal(w->calls->socketpair(w->b, AF_UNIX, SOCK_STREAM, out), 0);
}

/* A listener on a free port of the loopback, and its name. */
static inline int make_listener(struct world *w, struct sockaddr_storage *addr, socklen_t *len,
                                int backlog)
{
    int fd = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(w->calls->bind(w->b, fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(w->calls->listen(w->b, fd, backlog), 0);
    *len = sizeof *addr;
    assert_int_equal(w->calls->getsockname(w->b, fd, (struct sockaddr *)addr, len), 0);
    return fd;
}

/* A TCP connection over the loopback. */
static inline void make_tcp(struct world *w, int out[2])
{
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = make_listener(w, &addr, &len, 8);
    out[0] = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
    assert_true(out[0] >= 0);
    struct test_op c = connect_op(out[0], &addr, len), a = accept_op(listener);
    submit(w, &a);
    submit(w, &c);
    run_until(w, &c, 1);
    assert_int_equal(c.op.result, 0);
    while (!a.done)
        turn(w, NS_PER_S);
    assert_true(a.op.result >= 0);
    out[1] = (int)a.op.result;
    close_fd(w, listener);
}

#endif
