/* SPDX-License-Identifier: MIT
 *
 * selector.c: which of these descriptors are ready? By epoll, poll or select.
 *
 *     fd --> [ places ] --> keys[i] {fd, events, data}     one line for each registered descriptor
 *                           polls[i]                       the same lines as poll(2) wants them
 *
 * `places` is a table with open addressing, so that a descriptor's number may be large. Lines stand close
 * together: the last one moves into the place of one that goes.
 *
 * Always true:
 *   - every key has exactly one place; at least half of the places are empty;
 *   - there is room for an event of each key, so that select allocates nothing;
 *   - a registration that failed left nothing, here or in the kernel.
 *
 * One thread at a time. Elsewhere: how a loop waits (io/), which shares nothing with this. */
#include "base/clock.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"

#include <coil/select.h>

#include <limits.h>
#include <string.h>

struct selector_class {
    int (*open)(coil_selector *s);                               /* may be NULL */
    int (*add)(coil_selector *s, int fd, unsigned events);       /* may refuse */
    int (*change)(coil_selector *s, size_t i, unsigned events);  /* may refuse */
    void (*remove)(coil_selector *s, size_t i);                  /* line i is still there */
    int (*wait)(coil_selector *s, int64_t timeout_ns, size_t n); /* < 0: for ever; -errno */
    size_t (*collect)(coil_selector *s, int found, coil_selector_ready *out, size_t n);
};

struct coil_selector {
    const struct selector_class *cls;
    bool closed;
    size_t n, room; /* keys, and how many lines every table has */
    coil_selector_key *keys;
    uint32_t *places; /* 0: empty; else a line's number + 1 */
    unsigned bits;    /* there are 1 << bits places */
    size_t next;      /* poll, select: where to begin the next report, so that none is starved */

    int ep;                     /* epoll; -1 */
    struct epoll_event *events; /* epoll: what was found */
    struct pollfd *polls;       /* poll */
    fd_set in, out;             /* select: what is wanted, */
    fd_set in_now, out_now;     /* and what was found */
};

/* ---- the table ---- */

static size_t home_of(const coil_selector *s, int fd)
{
    return ((uint32_t)fd * UINT32_C(2654435769)) >> (32 - s->bits);
}

/* The place of fd, or the empty one where it would go. */
static size_t place_of(const coil_selector *s, int fd)
{
    size_t mask = ((size_t)1 << s->bits) - 1;
    size_t place = home_of(s, fd);
    while (s->places[place] && s->keys[s->places[place] - 1].fd != fd)
        place = (place + 1) & mask;
    return place;
}

/* The line of fd, or -1. */
static ptrdiff_t find(const coil_selector *s, int fd)
{
    return s->n ? (ptrdiff_t)s->places[place_of(s, fd)] - 1 : -1;
}

/* Empties a place, and moves those up that had to step over it. */
static void empty_place(coil_selector *s, size_t hole)
{
    size_t mask = ((size_t)1 << s->bits) - 1;
    for (size_t place = hole;;) {
        s->places[hole] = 0;
        size_t home;
        do {
            place = (place + 1) & mask;
            if (!s->places[place])
                return;
            home = home_of(s, s->keys[s->places[place] - 1].fd);
        } while (((place - home) & mask) < ((place - hole) & mask));
        s->places[hole] = s->places[place];
        hole = place;
    }
}

static int resize(void *table, size_t n, size_t size)
{
    void **at = table;
    void *bigger = coil__realloc(*at, n * size);
    if (!bigger)
        return -ENOMEM;
    *at = bigger;
    return 0;
}

static int make_room(coil_selector *s)
{
    if (s->n < s->room)
        return 0;
    size_t room = s->room ? 2 * s->room : 8;
    unsigned bits = s->room ? s->bits + 1 : 4;
    /* What has grown before a later one fails is larger than needed, and does no harm. */
    if (resize(&s->keys, room, sizeof *s->keys) < 0 ||
        (s->events && resize(&s->events, room, sizeof *s->events) < 0) ||
        (s->polls && resize(&s->polls, room, sizeof *s->polls) < 0))
        return -ENOMEM;
    uint32_t *places = coil__zalloc(sizeof *places << bits);
    if (!places)
        return -ENOMEM;
    coil__free(s->places);
    s->places = places;
    s->bits = bits;
    s->room = room;
    for (size_t i = 0; i < s->n; i++)
        s->places[place_of(s, s->keys[i].fd)] = (uint32_t)i + 1;
    return 0;
}

static void add_line(coil_selector *s, int fd, unsigned events, void *data)
{
    s->places[place_of(s, fd)] = (uint32_t)s->n + 1;
    s->keys[s->n] = (coil_selector_key){.fd = fd, .events = events, .data = data};
    s->n++;
}

static void remove_line(coil_selector *s, size_t i)
{
    s->cls->remove(s, i);
    empty_place(s, place_of(s, s->keys[i].fd));
    size_t last = --s->n;
    if (i != last) {
        s->places[place_of(s, s->keys[last].fd)] = (uint32_t)i + 1;
        s->keys[i] = s->keys[last];
    }
    if (s->next >= s->n)
        s->next = 0;
}

/* One line of a report. An error counts as both: the call that follows will meet it. */
static bool report(const coil_selector *s, size_t i, unsigned events, coil_selector_ready *out)
{
    *out = (coil_selector_ready){.key = s->keys[i], .events = events & s->keys[i].events};
    return out->events != 0;
}

/* ---- epoll ---- */

static uint32_t to_epoll(unsigned events)
{
    return (events & COIL_EVENT_READ ? (uint32_t)EPOLLIN : 0) |
           (events & COIL_EVENT_WRITE ? (uint32_t)EPOLLOUT : 0);
}

static int epoll_open(coil_selector *s)
{
    s->events = coil__alloc(sizeof *s->events); /* also an empty one has room for one event */
    if (!s->events)
        return -ENOMEM;
    s->ep = sys_epoll_create1(EPOLL_CLOEXEC);
    return s->ep < 0 ? s->ep : 0;
}

static int epoll_control(coil_selector *s, int op, int fd, unsigned events)
{
    struct epoll_event ev = {.events = to_epoll(events), .data.fd = fd};
    return sys_epoll_ctl(s->ep, op, fd, &ev);
}

static int epoll_add(coil_selector *s, int fd, unsigned events)
{
    int err = epoll_control(s, EPOLL_CTL_ADD, fd, events);
    if (err == -EPERM)
        return (int)coil__fail(err,
                               "epoll cannot watch descriptor %d, a regular file or directory; a "
                               "selector of poll takes it, and finds it always ready",
                               fd);
    /* The kernel watches what a closed and unregistered descriptor stood for under a copy of it. */
    if (err == -EEXIST)
        err = epoll_control(s, EPOLL_CTL_MOD, fd, events);
    return err < 0 ? (int)coil__fail(err, "epoll cannot watch descriptor %d: %s", fd,
                                     coil_strerror(err))
                   : 0;
}

static int epoll_change(coil_selector *s, size_t i, unsigned events)
{
    int fd = s->keys[i].fd, err = epoll_control(s, EPOLL_CTL_MOD, fd, events);
    return err < 0 ? (int)coil__fail(err, "descriptor %d was closed without being unregistered", fd)
                   : 0;
}

static void epoll_remove(coil_selector *s, size_t i)
{
    (void)epoll_control(s, EPOLL_CTL_DEL, s->keys[i].fd, 0); /* which may be closed already */
}

static int epoll_sleep(coil_selector *s, int64_t timeout_ns, size_t n)
{
    int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + (NS_PER_MS - 1)) / NS_PER_MS;
    if (n > s->n)
        n = s->n ? s->n : 1;
    return sys_epoll_wait(s->ep, s->events, n < INT_MAX ? (int)n : INT_MAX,
                          ms < INT_MAX ? (int)ms : INT_MAX);
}

static size_t epoll_collect(coil_selector *s, int found, coil_selector_ready *out, size_t n)
{
    size_t filled = 0;
    for (int k = 0; k < found && filled < n; k++) {
        uint32_t now = s->events[k].events;
        ptrdiff_t i = find(s, s->events[k].data.fd);
        if (i < 0)
            continue; /* unregistered after it was closed, while a copy of it is open */
        filled += report(s, (size_t)i,
                         (now & ~(uint32_t)EPOLLOUT ? COIL_EVENT_READ : 0u) |
                             (now & ~(uint32_t)EPOLLIN ? COIL_EVENT_WRITE : 0u),
                         &out[filled]);
    }
    return filled;
}

static const struct selector_class epoll_class = {
    .open = epoll_open,
    .add = epoll_add,
    .change = epoll_change,
    .remove = epoll_remove,
    .wait = epoll_sleep,
    .collect = epoll_collect,
};

/* ---- what poll and select share ---- */

static struct timespec *to_timespec(int64_t timeout_ns, struct timespec *ts)
{
    if (timeout_ns < 0)
        return NULL;
    *ts = (struct timespec){.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                            .tv_nsec = (long)(timeout_ns % NS_PER_S)};
    return ts;
}

/* Goes round all lines, from where the last report ended. */
static size_t collect_round(coil_selector *s, coil_selector_ready *out, size_t n,
                            unsigned (*events_of)(const coil_selector *s, size_t i))
{
    size_t filled = 0, i = s->next;
    for (size_t k = 0; k < s->n && filled < n; k++) {
        filled += report(s, i, events_of(s, i), &out[filled]);
        i = i + 1 < s->n ? i + 1 : 0;
    }
    s->next = i;
    return filled;
}

/* ---- poll ---- */

static short to_poll(unsigned events)
{
    return (short)((events & COIL_EVENT_READ ? POLLIN : 0) |
                   (events & COIL_EVENT_WRITE ? POLLOUT : 0));
}

static int poll_open(coil_selector *s)
{
    s->polls = coil__alloc(sizeof *s->polls);
    return s->polls ? 0 : -ENOMEM;
}

static int poll_add(coil_selector *s, int fd, unsigned events)
{
    s->polls[s->n] = (struct pollfd){.fd = fd, .events = to_poll(events)};
    return 0;
}

static int poll_change(coil_selector *s, size_t i, unsigned events)
{
    s->polls[i].events = to_poll(events);
    return 0;
}

static void poll_remove(coil_selector *s, size_t i)
{
    s->polls[i] = s->polls[s->n - 1];
}

static int poll_sleep(coil_selector *s, int64_t timeout_ns, size_t n)
{
    (void)n;
    struct timespec ts;
    return sys_ppoll(s->polls, s->n, to_timespec(timeout_ns, &ts), NULL);
}

static unsigned poll_events(const coil_selector *s, size_t i)
{
    int now = s->polls[i].revents;
    return (now & ~POLLOUT ? COIL_EVENT_READ : 0u) | (now & ~POLLIN ? COIL_EVENT_WRITE : 0u);
}

static size_t poll_collect(coil_selector *s, int found, coil_selector_ready *out, size_t n)
{
    (void)found;
    return collect_round(s, out, n, poll_events);
}

static const struct selector_class poll_class = {
    .open = poll_open,
    .add = poll_add,
    .change = poll_change,
    .remove = poll_remove,
    .wait = poll_sleep,
    .collect = poll_collect,
};

/* ---- select ---- */

static int select_want(coil_selector *s, int fd, unsigned events)
{
    FD_CLR(fd, &s->in);
    FD_CLR(fd, &s->out);
    if (events & COIL_EVENT_READ)
        FD_SET(fd, &s->in);
    if (events & COIL_EVENT_WRITE)
        FD_SET(fd, &s->out);
    return 0;
}

static int select_add(coil_selector *s, int fd, unsigned events)
{
    if (fd >= FD_SETSIZE)
        return (int)coil__fail(-EINVAL,
                               "select(2) watches descriptors below %d (FD_SETSIZE), not %d; take "
                               "a selector of poll or epoll",
                               FD_SETSIZE, fd);
    return select_want(s, fd, events);
}

static int select_change(coil_selector *s, size_t i, unsigned events)
{
    return select_want(s, s->keys[i].fd, events);
}

static void select_remove(coil_selector *s, size_t i)
{
    (void)select_want(s, s->keys[i].fd, 0);
}

/* select(2) says that one of them is closed, not which. */
static int name_the_closed(const coil_selector *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (sys_fcntl(s->keys[i].fd, F_GETFD, 0) == -EBADF)
            return (int)coil__fail(-EBADF, "descriptor %d was closed without being unregistered",
                                   s->keys[i].fd);
    return (int)coil__fail_plain(-EBADF);
}

static int select_sleep(coil_selector *s, int64_t timeout_ns, size_t n)
{
    (void)n;
    int highest = -1;
    for (size_t i = 0; i < s->n; i++)
        if (s->keys[i].fd > highest)
            highest = s->keys[i].fd;
    s->in_now = s->in;
    s->out_now = s->out;
    struct timespec ts;
    int rc = sys_pselect(highest + 1, &s->in_now, &s->out_now, NULL, to_timespec(timeout_ns, &ts),
                         NULL);
    return rc == -EBADF ? name_the_closed(s) : rc;
}

static unsigned select_events(const coil_selector *s, size_t i)
{
    int fd = s->keys[i].fd;
    return (FD_ISSET(fd, &s->in_now) ? COIL_EVENT_READ : 0u) |
           (FD_ISSET(fd, &s->out_now) ? COIL_EVENT_WRITE : 0u);
}

static size_t select_collect(coil_selector *s, int found, coil_selector_ready *out, size_t n)
{
    (void)found;
    return collect_round(s, out, n, select_events);
}

static const struct selector_class select_class = {
    .add = select_add,
    .change = select_change,
    .remove = select_remove,
    .wait = select_sleep,
    .collect = select_collect,
};

/* ---- making, ending ---- */

static coil_selector *make(const struct selector_class *cls)
{
    int err = -ENOMEM;
    coil_selector *s = coil__zalloc(sizeof *s);
    if (!s)
        goto failed;
    s->cls = cls;
    s->ep = -1;
    err = cls->open ? cls->open(s) : 0;
    if (err < 0)
        goto undo_selector;
    return s;

undo_selector:
    s->ep = -1;
    coil_selector_free(s);
failed:
    coil__fail_plain(err);
    return NULL;
}

coil_selector *coil_epoll_selector_new(void)
{
    return make(&epoll_class);
}

coil_selector *coil_poll_selector_new(void)
{
    return make(&poll_class);
}

coil_selector *coil_select_selector_new(void)
{
    return make(&select_class);
}

coil_selector *coil_default_selector_new(void)
{
    coil_selector *s = make(&epoll_class);
    return s || coil_last_error()->code != -ENOSYS ? s : make(&poll_class);
}

void coil_selector_close(coil_selector *s)
{
    if (!s)
        return;
    if (s->ep >= 0)
        sys_close(s->ep);
    s->ep = -1;
    s->closed = true;
    s->n = s->room = 0;
    coil__free(s->keys);
    coil__free(s->places);
    coil__free(s->events);
    coil__free(s->polls);
    s->keys = NULL;
    s->places = NULL;
    s->events = NULL;
    s->polls = NULL;
}

void coil_selector_free(coil_selector *s)
{
    coil_selector_close(s);
    coil__free(s);
}

/* ---- the public calls ---- */

static int check(const coil_selector *s)
{
    if (!s)
        return (int)coil__fail(-EINVAL, "there is no selector (NULL)");
    return s->closed ? (int)coil__fail(COIL_ECLOSED, "the selector is closed") : 0;
}

static int check_fd(const coil_selector *s, int fd)
{
    int err = check(s);
    if (!err && fd < 0)
        err = (int)coil__fail(-EINVAL, "%d is no descriptor", fd);
    return err;
}

static int check_events(unsigned events)
{
    if (events == 0 || events & ~(COIL_EVENT_READ | COIL_EVENT_WRITE))
        return (int)coil__fail(
            -EINVAL, "events are COIL_EVENT_READ, COIL_EVENT_WRITE or both, not %#x", events);
    return 0;
}

/* The line of fd, or -ENOENT. */
static ptrdiff_t line_of(const coil_selector *s, int fd)
{
    int err = check_fd(s, fd);
    if (err)
        return err;
    ptrdiff_t i = find(s, fd);
    return i < 0 ? (int)coil__fail(-ENOENT, "descriptor %d is not registered", fd) : i;
}

int coil_selector_register(coil_selector *s, int fd, unsigned events, void *data)
{
    int err = check_fd(s, fd);
    if (!err)
        err = check_events(events);
    if (err)
        return err;
    if (find(s, fd) >= 0)
        return (int)coil__fail(-EEXIST, "descriptor %d is registered already", fd);
    if (make_room(s) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    err = s->cls->add(s, fd, events);
    if (err)
        return err;
    add_line(s, fd, events, data);
    return 0;
}

int coil_selector_unregister(coil_selector *s, int fd, coil_selector_key *out_key)
{
    ptrdiff_t i = line_of(s, fd);
    if (i < 0)
        return (int)i;
    if (out_key)
        *out_key = s->keys[i];
    remove_line(s, (size_t)i);
    return 0;
}

int coil_selector_modify(coil_selector *s, int fd, unsigned events, void *data)
{
    ptrdiff_t i = line_of(s, fd);
    int err = i < 0 ? (int)i : check_events(events);
    if (err)
        return err;
    if (s->keys[i].events != events)
        err = s->cls->change(s, (size_t)i, events);
    if (err) {
        remove_line(s, (size_t)i);
        return err;
    }
    s->keys[i].events = events;
    s->keys[i].data = data;
    return 0;
}

int coil_selector_select(coil_selector *s, double timeout, coil_selector_ready *out,
                         size_t capacity)
{
    int err = check(s);
    if (err)
        return err;
    if (timeout != timeout)
        return (int)coil__fail(-EINVAL, "a timeout must be a number");
    if (!out || capacity == 0)
        return (int)coil__fail(-EINVAL, "there is no room for what is ready");
    if (capacity > INT_MAX)
        capacity = INT_MAX;

    int64_t deadline = INT64_MIN;
    if (timeout > 0)
        deadline = clock_add(coil__clock_real_ns(), coil__clock_from_seconds(timeout));
    for (;;) {
        int64_t left = 0;
        if (deadline == CLOCK_FOREVER)
            left = -1;
        else if (timeout > 0 && (left = deadline - coil__clock_real_ns()) < 0)
            left = 0;
        int found = s->cls->wait(s, left, capacity);
        if (found > 0)
            found = (int)s->cls->collect(s, found, out, capacity);
        /* Again after a signal, after a sleep that was all that fits into the kernel's argument, and where the kernel
         * knew only of what is registered no more. */
        if (found == -EINTR || (found == 0 && left != 0))
            continue;
        if (found < 0 && coil_iserr(found) && found != -EBADF)
            coil__fail_plain(found);
        return found;
    }
}

int coil_selector_get_key(const coil_selector *s, int fd, coil_selector_key *out_key)
{
    ptrdiff_t i = line_of(s, fd);
    if (i < 0)
        return (int)i;
    *out_key = s->keys[i];
    return 0;
}

coil_ret coil_selector_get_map(const coil_selector *s, coil_selector_key *out, size_t capacity)
{
    int err = check(s);
    if (err)
        return err;
    if (out && s->n)
        memcpy(out, s->keys, (capacity < s->n ? capacity : s->n) * sizeof *out);
    return (coil_ret)s->n;
}

int coil_selector_fileno(const coil_selector *s)
{
    int err = check(s);
    if (err)
        return err;
    return s->ep >= 0 ? s->ep
                      : (int)coil__fail(-EOPNOTSUPP, "only a selector of epoll has a descriptor");
}
