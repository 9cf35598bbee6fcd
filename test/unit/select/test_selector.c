/* SPDX-License-Identifier: MIT
 *
 * test_selector.c: selectors of every kind, by CPython's test_selectors and beyond. */
#include "test.h"

#include "base/clock.h"
#include "base/sys.h"

#include <coil.h>

#include <math.h>
#include <sys/resource.h>

static const struct kind {
    const char *name;
    coil_selector *(*make)(void);
    bool epoll;
} kinds[] = {
    {"default", coil_default_selector_new, true},
    {"epoll", coil_epoll_selector_new, true},
    {"poll", coil_poll_selector_new, false},
    {"select", coil_select_selector_new, false},
};

/* A test of each kind: its body gets a selector, which is freed after it. */
#define EACH_KIND(fact)                                                  \
    static void fact##_of(const struct kind *kind, coil_selector *s);    \
    COIL_TEST_PLAIN(fact)                                                \
    {                                                                    \
        for (size_t k_ = 0; k_ < sizeof kinds / sizeof kinds[0]; k_++) { \
            coil_selector *s_ = kinds[k_].make();                        \
            assert_non_null(s_);                                         \
            fact##_of(&kinds[k_], s_);                                   \
            coil_selector_free(s_);                                      \
        }                                                                \
    }                                                                    \
    static void fact##_of(const struct kind *kind, coil_selector *s)

#define REFUSED(expected, call)                              \
    do {                                                     \
        (void)coil_fail(COIL_EUSER - 99, "nothing yet");     \
        assert_int_equal((call), (expected));                \
        assert_int_equal(last_code(), (coil_ret)(expected)); \
    } while (0)

/* What is registered beside the descriptors. */
static char w_both[] = "both", w_data[] = "data", w_new[] = "new", w_old[] = "old", w_one[] = "one",
            w_rd[] = "rd", w_two[] = "two", w_wr[] = "wr";

enum { RD = COIL_EVENT_READ, WR = COIL_EVENT_WRITE };

struct pair {
    int rd, wr;
};

/* Both ends can do both. */
static struct pair new_pair(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){fds[0], fds[1]};
}

static void close_pair(struct pair p)
{
    close(p.rd);
    close(p.wr);
}

static void expect_key(coil_selector *s, int fd, unsigned events, const void *data)
{
    coil_selector_key key;
    assert_int_equal(coil_selector_get_key(s, fd, &key), 0);
    assert_int_equal(key.fd, fd);
    assert_int_equal(key.events, events);
    assert_ptr_equal(key.data, data);
}

/* Exactly one is ready, this one, for these. */
static void expect_one(coil_selector *s, double timeout, int fd, unsigned events)
{
    coil_selector_ready ready[4];
    assert_int_equal(coil_selector_select(s, timeout, ready, 4), 1);
    assert_int_equal(ready[0].key.fd, fd);
    assert_int_equal(ready[0].events, events);
}

static void expect_none(coil_selector *s)
{
    coil_selector_ready ready[1];
    assert_int_equal(coil_selector_select(s, 0, ready, 1), 0);
}

/* ---- CPython's tests ---- */

EACH_KIND(selector_test_register)
{
    (void)kind;
    struct pair p = new_pair();
    assert_int_equal(coil_selector_register(s, p.rd, RD, w_data), 0);
    expect_key(s, p.rd, RD, w_data);
    REFUSED(-EEXIST, coil_selector_register(s, p.rd, RD, NULL));
    expect_key(s, p.rd, RD, w_data);
    REFUSED(-EINVAL, coil_selector_register(s, p.wr, 999999, NULL));
    REFUSED(-EINVAL, coil_selector_register(s, p.wr, 0, NULL));
    REFUSED(-EINVAL, coil_selector_register(s, -10, RD, NULL));
    assert_int_equal(coil_selector_get_map(s, NULL, 0), 1);
    close_pair(p);
}

EACH_KIND(selector_test_register_bad_fd)
{
    struct pair p = new_pair();
    close_pair(p);
    if (!kind->epoll)
        return; /* poll and select meet it when they look */
    REFUSED(-EBADF, coil_selector_register(s, p.rd, RD, NULL));
    REFUSED(-ENOENT, coil_selector_unregister(s, p.rd, NULL));
}

EACH_KIND(selector_test_unregister)
{
    (void)kind;
    struct pair p = new_pair();
    coil_selector_key key;
    assert_int_equal(coil_selector_register(s, p.rd, RD, w_data), 0);
    assert_int_equal(coil_selector_unregister(s, p.rd, &key), 0);
    assert_int_equal(key.fd, p.rd);
    assert_string_equal(key.data, "data");
    REFUSED(-ENOENT, coil_selector_unregister(s, 99999, NULL));
    REFUSED(-ENOENT, coil_selector_unregister(s, p.rd, NULL));
    REFUSED(-EINVAL, coil_selector_unregister(s, -1, NULL));
    close_pair(p);
}

EACH_KIND(selector_test_unregister_after_fd_close)
{
    (void)kind;
    struct pair p = new_pair();
    assert_int_equal(coil_selector_register(s, p.rd, RD, NULL), 0);
    assert_int_equal(coil_selector_register(s, p.wr, WR, NULL), 0);
    close_pair(p);
    assert_int_equal(coil_selector_unregister(s, p.rd, NULL), 0);
    assert_int_equal(coil_selector_unregister(s, p.wr, NULL), 0);
}

EACH_KIND(selector_test_unregister_after_fd_close_and_reuse)
{
    (void)kind;
    struct pair p = new_pair(), other = new_pair();
    assert_int_equal(coil_selector_register(s, p.rd, RD, NULL), 0);
    assert_int_equal(coil_selector_register(s, p.wr, WR, NULL), 0);
    assert_int_equal(dup2(other.rd, p.rd), p.rd);
    assert_int_equal(dup2(other.wr, p.wr), p.wr);
    assert_int_equal(coil_selector_unregister(s, p.rd, NULL), 0);
    assert_int_equal(coil_selector_unregister(s, p.wr, NULL), 0);
    close_pair(p);
    close_pair(other);
}

EACH_KIND(selector_test_modify)
{
    (void)kind;
    struct pair p = new_pair();
    assert_int_equal(coil_selector_register(s, p.rd, RD, NULL), 0);
    assert_int_equal(coil_selector_modify(s, p.rd, WR, NULL), 0);
    expect_key(s, p.rd, WR, NULL);
    expect_one(s, 0, p.rd, WR);
    assert_int_equal(coil_selector_modify(s, p.rd, WR, w_data), 0);
    expect_key(s, p.rd, WR, w_data);
    assert_int_equal(coil_selector_modify(s, p.rd, RD, w_both), 0);
    expect_key(s, p.rd, RD, w_both);
    expect_none(s);
    REFUSED(-ENOENT, coil_selector_modify(s, 999, RD, NULL));
    REFUSED(-EINVAL, coil_selector_modify(s, p.rd, 8, NULL));
    expect_key(s, p.rd, RD, w_both);
    close_pair(p);
}

static int refuse_change(int ep, int op, int fd, struct epoll_event *ev)
{
    return op == EPOLL_CTL_MOD ? -EBADF : coil__sys_real.epoll_ctl(ep, op, fd, ev);
}

COIL_TEST_PLAIN(selector_test_modify_unregister)
{
    struct pair p = new_pair();
    coil_selector *s = coil_epoll_selector_new();
    assert_int_equal(coil_selector_register(s, p.rd, RD, NULL), 0);
    coil__sys.epoll_ctl = refuse_change;
    REFUSED(-EBADF, coil_selector_modify(s, p.rd, WR, NULL));
    coil__sys.epoll_ctl = coil__sys_real.epoll_ctl;
    assert_int_equal(coil_selector_get_map(s, NULL, 0), 0);
    assert_int_equal(coil_selector_register(s, p.rd, WR, NULL), 0);
    coil_selector_free(s);
    close_pair(p);
}

EACH_KIND(selector_test_close)
{
    (void)kind;
    struct pair p = new_pair();
    coil_selector_key key;
    coil_selector_ready ready;
    assert_int_equal(coil_selector_register(s, p.rd, RD, NULL), 0);
    coil_selector_close(s);
    coil_selector_close(s);
    REFUSED(COIL_ECLOSED, coil_selector_register(s, p.rd, RD, NULL));
    REFUSED(COIL_ECLOSED, coil_selector_unregister(s, p.rd, NULL));
    REFUSED(COIL_ECLOSED, coil_selector_modify(s, p.rd, RD, NULL));
    REFUSED(COIL_ECLOSED, coil_selector_get_key(s, p.rd, &key));
    REFUSED(COIL_ECLOSED, coil_selector_get_map(s, NULL, 0));
    REFUSED(COIL_ECLOSED, coil_selector_select(s, 0, &ready, 1));
    REFUSED(COIL_ECLOSED, coil_selector_fileno(s));
    close_pair(p);
}

EACH_KIND(selector_test_get_key)
{
    (void)kind;
    struct pair p = new_pair();
    coil_selector_key key;
    assert_int_equal(coil_selector_register(s, p.rd, RD, w_data), 0);
    expect_key(s, p.rd, RD, w_data);
    REFUSED(-ENOENT, coil_selector_get_key(s, 999999, &key));
    REFUSED(-EINVAL, coil_selector_get_key(s, -1, &key));
    close_pair(p);
}

EACH_KIND(selector_test_get_map)
{
    (void)kind;
    struct pair p = new_pair();
    coil_selector_key keys[2] = {{.fd = -1}, {.fd = -1}};
    assert_int_equal(coil_selector_get_map(s, keys, 2), 0);
    assert_int_equal(coil_selector_register(s, p.rd, RD, w_data), 0);
    assert_int_equal(coil_selector_get_map(s, keys, 2), 1);
    assert_int_equal(keys[0].fd, p.rd);
    assert_string_equal(keys[0].data, "data");
    assert_int_equal(coil_selector_register(s, p.wr, WR, NULL), 0);
    keys[1].fd = -1;
    assert_int_equal(coil_selector_get_map(s, keys, 1), 2);
    assert_int_equal(keys[1].fd, -1);
    close_pair(p);
}

EACH_KIND(selector_test_select)
{
    (void)kind;
    struct pair p = new_pair();
    assert_int_equal(coil_selector_register(s, p.rd, RD, w_rd), 0);
    assert_int_equal(coil_selector_register(s, p.wr, WR, w_wr), 0);
    expect_one(s, COIL_FOREVER, p.wr, WR);
    assert_int_equal(write(p.wr, "spam", 4), 4);
    coil_selector_ready ready[4];
    assert_int_equal(coil_selector_select(s, COIL_FOREVER, ready, 4), 2);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(ready[i].key.data, ready[i].key.fd == p.rd ? "rd" : "wr");
        assert_int_equal(ready[i].events, ready[i].key.fd == p.rd ? RD : WR);
    }
    close_pair(p);
}

EACH_KIND(selector_test_select_read_write)
{
    (void)kind;
    struct pair p = new_pair();
    assert_int_equal(coil_selector_register(s, p.rd, RD | WR, NULL), 0);
    expect_one(s, 0, p.rd, WR);
    assert_int_equal(write(p.wr, "x", 1), 1);
    expect_one(s, 0, p.rd, RD | WR);
    close_pair(p);
}

COIL_TEST_PLAIN(selector_test_fileno)
{
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        coil_selector *s = kinds[k].make();
        struct pair p = new_pair();
        if (kinds[k].epoll) {
            int fd = coil_selector_fileno(s);
            assert_true(fd >= 0);
            assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
            /* Ready when something in it is. */
            struct pollfd outer = {.fd = fd, .events = POLLIN};
            assert_int_equal(coil_selector_register(s, p.rd, RD, NULL), 0);
            assert_int_equal(poll(&outer, 1, 0), 0);
            assert_int_equal(write(p.wr, "x", 1), 1);
            assert_int_equal(poll(&outer, 1, 0), 1);
        } else {
            REFUSED(-EOPNOTSUPP, coil_selector_fileno(s));
        }
        coil_selector_free(s);
        close_pair(p);
    }
}

EACH_KIND(selector_test_selector)
{
    enum { PAIRS = 12 };
    (void)kind;
    struct pair pairs[PAIRS];
    bool written[PAIRS] = {false};
    int served = 0;
    for (int i = 0; i < PAIRS; i++) {
        pairs[i] = new_pair();
        assert_int_equal(coil_selector_register(s, pairs[i].rd, RD, &pairs[i]), 0);
        assert_int_equal(coil_selector_register(s, pairs[i].wr, WR, &pairs[i]), 0);
    }
    while (served < PAIRS) {
        coil_selector_ready ready[2 * PAIRS];
        int n = coil_selector_select(s, COIL_FOREVER, ready, 2 * PAIRS);
        assert_true(n > 0);
        for (int i = 0; i < n; i++) {
            struct pair *p = ready[i].key.data;
            if (ready[i].events & WR) {
                assert_false(written[p - pairs]);
                written[p - pairs] = true;
                assert_int_equal(write(p->wr, " This is a test.", 16), 16);
                assert_int_equal(coil_selector_unregister(s, p->wr, NULL), 0);
            } else {
                char text[32];
                assert_int_equal(read(p->rd, text, sizeof text), 16);
                assert_int_equal(coil_selector_unregister(s, p->rd, NULL), 0);
                served++;
            }
        }
    }
    assert_int_equal(coil_selector_get_map(s, NULL, 0), 0);
    for (int i = 0; i < PAIRS; i++)
        close_pair(pairs[i]);
}

EACH_KIND(selector_test_empty_select)
{
    (void)kind;
    expect_none(s);
    coil_selector_ready ready;
    assert_int_equal(coil_selector_select(s, 0.001, &ready, 1), 0);
}

EACH_KIND(selector_test_timeout)
{
    (void)kind;
    struct pair p = new_pair();
    coil_selector_ready ready;
    assert_int_equal(coil_selector_register(s, p.wr, WR, NULL), 0);
    expect_one(s, 3600, p.wr, WR);
    assert_int_equal(coil_selector_unregister(s, p.wr, NULL), 0);

    assert_int_equal(coil_selector_register(s, p.rd, RD, NULL), 0);
    assert_int_equal(coil_selector_select(s, 0, &ready, 1), 0);
    assert_int_equal(coil_selector_select(s, -1, &ready, 1), 0);
    assert_int_equal(coil_selector_select(s, -INFINITY, &ready, 1), 0);
    int64_t begun = coil__clock_real_ns();
    assert_int_equal(coil_selector_select(s, 0.0004, &ready, 1), 0);
    assert_true(coil__clock_real_ns() - begun >= 400 * NS_PER_US);
    REFUSED(-EINVAL, coil_selector_select(s, NAN, &ready, 1));
    close_pair(p);
}

/* What the kernel is asked: the first calls are interrupted by a signal, the last finds nothing. */
static int waits;
static int64_t asked_ns;

static int interrupted(int64_t ns)
{
    if (waits == 0)
        asked_ns = ns;
    return ++waits < 3 ? -EINTR : 0;
}

static int epoll_interrupted(int ep, struct epoll_event *ev, int n, int ms)
{
    (void)ep, (void)ev, (void)n;
    return interrupted(ms * NS_PER_MS);
}

static int poll_interrupted(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m)
{
    (void)p, (void)n, (void)m;
    return interrupted(t ? t->tv_sec * NS_PER_S + t->tv_nsec : -1);
}

static int select_interrupted(int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *t,
                              const sigset_t *m)
{
    (void)n, (void)in, (void)out, (void)ex, (void)m;
    return interrupted(t ? t->tv_sec * NS_PER_S + t->tv_nsec : -1);
}

EACH_KIND(selector_test_select_interrupt_noraise)
{
    coil_selector_ready ready;
    coil__sys.epoll_wait = epoll_interrupted;
    coil__sys.ppoll = poll_interrupted;
    coil__sys.pselect = select_interrupted;
    waits = 0;
    int64_t begun = coil__clock_real_ns();
    int rc = coil_selector_select(s, 0.0002, &ready, 1);
    int64_t took = coil__clock_real_ns() - begun;
    coil__sys = coil__sys_real;
    assert_int_equal(rc, 0);
    assert_true(waits >= 3);
    assert_true(took >= 200 * NS_PER_US);
    /* epoll knows milliseconds only, and is never asked for less than there is to wait. */
    if (kind->epoll)
        assert_int_equal(asked_ns, NS_PER_MS);
    else
        assert_in_range(asked_ns, 1, 200 * NS_PER_US);
}

/* A process may have no right to so many. */
static bool raise_limit(rlim_t n, struct rlimit *out_before)
{
    getrlimit(RLIMIT_NOFILE, out_before);
    struct rlimit limit = *out_before;
    if (limit.rlim_cur < n)
        limit.rlim_cur = n;
    return limit.rlim_cur <= limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

EACH_KIND(selector_test_above_fd_setsize)
{
    struct rlimit before;
    if (!raise_limit(FD_SETSIZE + 8, &before))
        return;
    struct pair p = new_pair();
    int high = dup2(p.rd, FD_SETSIZE + 3), last = dup2(p.rd, FD_SETSIZE - 1);
    assert_true(high > FD_SETSIZE && last == FD_SETSIZE - 1);
    assert_int_equal(write(p.wr, "x", 1), 1);
    if (strcmp(kind->name, "select") == 0) {
        REFUSED(-EINVAL, coil_selector_register(s, high, RD, NULL));
        assert_non_null(strstr(coil_last_error()->message, "FD_SETSIZE"));
        assert_int_equal(coil_selector_register(s, last, RD, NULL), 0);
        expect_one(s, 0, last, RD);
    } else {
        assert_int_equal(coil_selector_register(s, high, RD, NULL), 0);
        expect_one(s, 0, high, RD);
    }
    close(high);
    close(last);
    close_pair(p);
    setrlimit(RLIMIT_NOFILE, &before);
}

EACH_KIND(selector_test_register_file)
{
    FILE *file = tmpfile();
    if (kind->epoll) {
        REFUSED(-EPERM, coil_selector_register(s, fileno(file), RD, NULL));
        assert_int_equal(coil_selector_get_map(s, NULL, 0), 0);
        coil_selector_key key;
        REFUSED(-ENOENT, coil_selector_get_key(s, fileno(file), &key));
    } else {
        assert_int_equal(coil_selector_register(s, fileno(file), RD, NULL), 0);
        expect_one(s, 0, fileno(file), RD);
    }
    fclose(file);
}

/* ---- beyond ---- */

EACH_KIND(selector_hang_up_is_reported_as_what_was_asked_for)
{
    (void)kind;
    struct pair p = new_pair();
    assert_int_equal(coil_selector_register(s, p.rd, RD, NULL), 0);
    close(p.wr);
    expect_one(s, COIL_FOREVER, p.rd, RD);
    assert_int_equal(coil_selector_modify(s, p.rd, WR, NULL), 0);
    expect_one(s, COIL_FOREVER, p.rd, WR);
    assert_int_equal(coil_selector_modify(s, p.rd, RD | WR, NULL), 0);
    expect_one(s, COIL_FOREVER, p.rd, RD | WR);
    close(p.rd);
}

/* The error condition of a pipe without a reader, of one registered for reading only. */
EACH_KIND(selector_error_is_reported_as_what_was_asked_for)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[0]);
    assert_int_equal(coil_selector_register(s, fds[1], RD, NULL), 0);
    expect_one(s, COIL_FOREVER, fds[1], RD);
    close(fds[1]);
    (void)kind;
}

EACH_KIND(selector_closed_descriptor_is_met_as_the_kind_meets_it)
{
    struct pair p = new_pair();
    coil_selector_ready ready;
    assert_int_equal(coil_selector_register(s, p.rd, RD | WR, NULL), 0);
    close_pair(p);
    if (kind->epoll) {
        expect_none(s);
    } else if (strcmp(kind->name, "poll") == 0) {
        expect_one(s, 0, p.rd, RD | WR);
    } else {
        REFUSED(-EBADF, coil_selector_select(s, 0, &ready, 1));
        char expected[32];
        snprintf(expected, sizeof expected, "descriptor %d", p.rd);
        assert_non_null(strstr(coil_last_error()->message, expected));
    }
    assert_int_equal(coil_selector_unregister(s, p.rd, NULL), 0);
    expect_none(s);
}

/* Unregistered after it was closed, while a copy keeps its file open: epoll goes on watching that. */
EACH_KIND(selector_copy_of_a_closed_descriptor_is_nobodys)
{
    (void)kind;
    struct pair p = new_pair();
    int copy = dup(p.rd);
    assert_int_equal(coil_selector_register(s, p.rd, RD, w_old), 0);
    close(p.rd);
    assert_int_equal(coil_selector_unregister(s, p.rd, NULL), 0);
    assert_int_equal(write(p.wr, "x", 1), 1);
    expect_none(s);
    /* The same number for the same file. */
    assert_int_equal(dup2(copy, p.rd), p.rd);
    assert_int_equal(coil_selector_register(s, p.rd, RD, w_new), 0);
    expect_one(s, 0, p.rd, RD);
    expect_key(s, p.rd, RD, w_new);
    close(copy);
    close_pair(p);
}

static int count_of_calls;
static int counting_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
    count_of_calls++;
    return coil__sys_real.epoll_ctl(ep, op, fd, ev);
}

COIL_TEST_PLAIN(selector_new_data_alone_costs_no_call)
{
    struct pair p = new_pair();
    coil_selector *s = coil_epoll_selector_new();
    assert_int_equal(coil_selector_register(s, p.rd, RD, w_one), 0);
    coil__sys.epoll_ctl = counting_ctl;
    count_of_calls = 0;
    assert_int_equal(coil_selector_modify(s, p.rd, RD, w_two), 0);
    assert_int_equal(count_of_calls, 0);
    assert_int_equal(coil_selector_modify(s, p.rd, WR, w_two), 0);
    assert_int_equal(count_of_calls, 1);
    coil__sys = coil__sys_real;
    expect_key(s, p.rd, WR, w_two);
    coil_selector_free(s);
    close_pair(p);
}

EACH_KIND(selector_with_little_room_starves_nobody)
{
    enum { N = 5 };
    (void)kind;
    struct pair pairs[N];
    int seen[N] = {0};
    for (int i = 0; i < N; i++) {
        pairs[i] = new_pair();
        assert_int_equal(coil_selector_register(s, pairs[i].wr, WR, &seen[i]), 0);
    }
    for (int round = 0; round < N; round++) {
        coil_selector_ready ready[2];
        assert_int_equal(coil_selector_select(s, 0, ready, 2), 2);
        ++*(int *)ready[0].key.data;
        ++*(int *)ready[1].key.data;
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(seen[i], 2);
        close_pair(pairs[i]);
    }
}

/* Against a plain table, over numbers that meet each other's places. */
EACH_KIND(selector_keeps_its_book_over_many_changes)
{
    enum { N = 200 };
    (void)kind;
    struct pair p = new_pair();
    int fds[N];
    bool there[N] = {false};
    size_t count = 0;
    uint32_t dice = 7;
    for (int i = 0; i < N; i++)
        fds[i] = dup(p.wr);
    for (int step = 0; step < 20000; step++) {
        dice = dice * 1664525 + 1013904223;
        int i = (int)(dice >> 16) % N;
        if (there[i]) {
            coil_selector_key key;
            assert_int_equal(coil_selector_unregister(s, fds[i], &key), 0);
            assert_ptr_equal(key.data, &fds[i]);
            assert_int_equal(coil_selector_unregister(s, fds[i], NULL), -ENOENT);
            count--;
        } else {
            assert_int_equal(coil_selector_register(s, fds[i], WR, &fds[i]), 0);
            count++;
        }
        there[i] = !there[i];
        assert_int_equal(coil_selector_get_map(s, NULL, 0), count);
    }
    coil_selector_ready ready[N];
    assert_int_equal(coil_selector_select(s, 0, ready, N), count);
    for (size_t k = 0; k < count; k++) {
        const int *fd = ready[k].key.data;
        assert_true(there[fd - fds]);
        assert_int_equal(*fd, ready[k].key.fd);
        there[fd - fds] = false; /* each once */
    }
    for (int i = 0; i < N; i++)
        close(fds[i]);
    close_pair(p);
}

COIL_TEST_PLAIN(selector_of_nobody_is_refused)
{
    coil_selector_ready ready;
    REFUSED(-EINVAL, coil_selector_register(NULL, 0, RD, NULL));
    REFUSED(-EINVAL, coil_selector_select(NULL, 0, &ready, 1));
    REFUSED(-EINVAL, coil_selector_fileno(NULL));
    coil_selector *s = coil_poll_selector_new();
    REFUSED(-EINVAL, coil_selector_select(s, 0, NULL, 1));
    REFUSED(-EINVAL, coil_selector_select(s, 0, &ready, 0));
    coil_selector_free(s);
    coil_selector_free(NULL);
    coil_selector_close(NULL);
}

static int no_epoll(int flags)
{
    (void)flags;
    return -ENOSYS;
}

static int no_descriptors(int flags)
{
    (void)flags;
    return -EMFILE;
}

COIL_TEST_PLAIN(selector_by_default_is_polls_where_there_is_no_epoll)
{
    coil__sys.epoll_create1 = no_epoll;
    coil_selector *s = coil_default_selector_new();
    assert_non_null(s);
    assert_int_equal(coil_selector_fileno(s), -EOPNOTSUPP);
    coil_selector_free(s);
    assert_null(coil_epoll_selector_new());
    assert_int_equal(last_code(), -ENOSYS);
    coil__sys.epoll_create1 = no_descriptors;
    assert_null(coil_default_selector_new());
    assert_int_equal(last_code(), -EMFILE);
    coil__sys = coil__sys_real;
}

static void fill_one(void *arg)
{
    const struct kind *kind = arg;
    struct pair p = new_pair();
    int fds[40], n = 0;
    coil_selector *s = kind->make();
    for (; s && n < 40; n++) {
        fds[n] = dup(p.wr);
        int err = coil_selector_register(s, fds[n], WR, NULL);
        if (err) {
            assert_int_equal(err, -ENOMEM);
            assert_int_equal(coil_selector_get_map(s, NULL, 0), n);
            assert_int_equal(coil_selector_register(s, fds[n], WR, NULL), 0);
        }
    }
    coil_selector_ready ready[64];
    if (s)
        assert_int_equal(coil_selector_select(s, 0, ready, 64), 40);
    coil_selector_free(s);
    while (n > 0)
        close(fds[--n]);
    close_pair(p);
}

COIL_TEST_PLAIN(selector_without_memory_loses_nothing)
{
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        assert_true(sweep_allocations(fill_one, (void *)(uintptr_t)&kinds[k]) > 0);
}

/* The kernel goes on telling of a descriptor that was closed and unregistered, if a copy of it is open. */
EACH_KIND(select_tells_of_what_is_registered_beside_what_was)
{
    struct pair old = new_pair(), p = new_pair();
    assert_int_equal(coil_selector_register(s, old.rd, RD, w_old), 0);
    assert_int_equal(write(old.wr, "x", 1), 1);
    int copy = fcntl(old.rd, F_DUPFD_CLOEXEC, 0);
    close(old.rd);
    assert_int_equal(coil_selector_unregister(s, old.rd, NULL), 0);
    assert_int_equal(coil_selector_register(s, p.wr, WR, w_new), 0);
    coil_selector_ready ready;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(coil_selector_select(s, COIL_FOREVER, &ready, 1), 1);
        assert_ptr_equal(ready.key.data, w_new);
    }
    assert_int_equal(coil_selector_modify(s, p.wr, RD, w_new), 0);
    double began = (double)coil__clock_real_ns() / 1e9;
    assert_int_equal(coil_selector_select(s, 0.01, &ready, 1), 0);
    assert_true((double)coil__clock_real_ns() / 1e9 - began >= 0.01); /* no less than it said */
    assert_int_equal(coil_selector_select(s, 0, &ready, 1), 0);
    (void)kind;
    close(copy);
    close(old.wr);
    close_pair(p);
}

COIL_TEST_MAIN()
