/* SPDX-License-Identifier: MIT
 *
 * watch.c: epoll and ppoll of the virtual kernel.
 *
 *     file changes --told--> item on the ready list --wait: does anything hold?--> event
 *                                ^                                |
 *                                +---------- level: again --------+   edge: not until the next change
 *
 * An item belongs to a pair of number and file, and goes when the file does, not the number: a copy elsewhere keeps it,
 * and it goes on reporting.
 *
 * One thread. Elsewhere: what holds (vk_mask). */
#include "inside.h"

struct item {
    struct list link, ready; /* epoll's items; its ready list */
    struct waiter waiter;
    struct vfile *ep, *file;
    int fd;
    uint32_t events;
    epoll_data_t data;
    bool off; /* ONESHOT, and it was shot */
};

static void told(struct waiter *w, unsigned mask)
{
    struct item *i = container_of(w, struct item, waiter);
    if (i->off || list_linked(&i->ready))
        return;
    list_push(&i->ep->ready, &i->ready);
    vk_wake(i->ep, POLLIN);
}

unsigned epoll_mask(struct vfile *f)
{
    return list_empty(&f->ready) ? 0 : POLLIN;
}

static void drop(struct item *i)
{
    list_remove(&i->link);
    list_remove(&i->ready);
    list_remove(&i->waiter.link);
    free(i);
}

void epoll_release(struct vfile *f)
{
    struct list *l;
    while ((l = list_first(&f->items)))
        drop(container_of(l, struct item, link));
}

void epoll_file_gone(struct vfile *f)
{
    LIST_FOREACH(l, &f->waiters) {
        struct waiter *w = container_of(l, struct waiter, link);
        if (w->told == told)
            drop(container_of(w, struct item, waiter));
    }
}

static struct item *find(struct vfile *ep, const struct vfile *file, int fd)
{
    LIST_FOREACH(l, &ep->items) {
        struct item *i = container_of(l, struct item, link);
        if (i->file == file && i->fd == fd)
            return i;
    }
    return NULL;
}

/* The masks of poll and epoll are the same bits. */
static void set(struct item *i, const struct epoll_event *ev)
{
    i->events = ev->events | EPOLLERR | EPOLLHUP;
    i->data = ev->data;
    i->off = false;
    i->waiter.wants = i->events & 0xffff;
    if (vk_mask(i->file) & i->waiter.wants)
        told(&i->waiter, 0);
}

static int control(struct vfile *ep, int op, int fd, const struct epoll_event *ev)
{
    struct vfile *file = vk_file(fd);
    if (!file)
        return is_virtual(fd) ? -EBADF : -EPERM; /* real ones are not ours to watch */
    if (file->kind == V_DISK)
        return -EPERM;
    struct item *i = find(ep, file, fd);
    if (op == EPOLL_CTL_ADD ? i != NULL : i == NULL)
        return i ? -EEXIST : -ENOENT;
    if (op == EPOLL_CTL_ADD && vk_chance(vk.faults.no_memory))
        return -ENOMEM;
    if (op == EPOLL_CTL_DEL) {
        drop(i);
        return 0;
    }
    if (op == EPOLL_CTL_ADD) {
        i = calloc(1, sizeof *i);
        list_init(&i->ready);
        i->ep = ep;
        i->file = file;
        i->fd = fd;
        i->waiter.told = told;
        list_push(&ep->items, &i->link);
        list_push(&file->waiters, &i->waiter.link);
    }
    set(i, ev);
    return 0;
}

static int v_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
    if (!is_virtual(ep))
        return coil__sys_real.epoll_ctl(ep, op, fd, ev);
    vk_tick();
    struct vfile *f = vk_file(ep);
    int rc = !f ? -EBADF : f->kind != V_EPOLL ? -EINVAL : control(f, op, fd, ev);
    return (int)vk_trace("epoll_ctl", op, fd, rc);
}

static int v_epoll_create1(int flags)
{
    vk_tick();
    struct vfile *f = vk_new(V_EPOLL);
    int fd = vk_number(f);
    if (fd < 0)
        vk_unref(f);
    return (int)vk_trace("epoll_create", 0, 0, fd);
}

static bool any_ready(void *arg)
{
    struct vfile *ep = arg;
    LIST_FOREACH(l, &ep->ready) {
        struct item *i = container_of(l, struct item, ready);
        if (vk_mask(i->file) & i->waiter.wants)
            return true;
        list_remove(&i->ready);
    }
    return false;
}

static void shuffle_ready(struct vfile *ep)
{
    LIST_FOREACH(l, &ep->ready) {
        if (vk_chance(vk.faults.shuffle)) {
            list_remove(l);
            list_push_front(&ep->ready, l);
        }
    }
}

static bool report(struct item *i, struct epoll_event *ev)
{
    unsigned mask = vk_mask(i->file) & i->waiter.wants;
    list_remove(&i->ready);
    if (!mask)
        return false;
    vk_trace("event", i->fd, mask, 0);
    *ev = (struct epoll_event){.events = mask, .data = i->data};
    if (i->events & EPOLLONESHOT)
        i->off = true;
    return true;
}

/* A packet with a bad sum: it wakes, and there is nothing. */
static int spurious(struct vfile *ep, struct epoll_event *ev)
{
    uint32_t n = 0;
    LIST_FOREACH(l, &ep->items)
        n++;
    if (n == 0 || !vk_chance(vk.faults.spurious))
        return 0;
    n = vk_below(n);
    LIST_FOREACH(l, &ep->items) {
        struct item *i = container_of(l, struct item, link);
        if (n-- > 0)
            continue;
        uint32_t mask = i->events & (EPOLLIN | EPOLLOUT);
        if (i->off || list_linked(&i->ready) || !mask)
            return 0;
        vk.counts.spurious++;
        vk_trace("spurious", i->fd, mask, 0);
        *ev = (struct epoll_event){.events = mask, .data = i->data};
        if (i->events & EPOLLONESHOT)
            i->off = true;
        return 1;
    }
    return 0;
}

static int wait_for(struct vfile *ep, struct epoll_event *ev, int max, int64_t timeout_ns)
{
    int n = spurious(ep, ev);
    if (timeout_ns != 0 && vk_chance(vk.faults.interrupts)) {
        vk.counts.interrupted++;
        return n ? n : -EINTR;
    }
    if (n == 0 && timeout_ns != 0)
        (void)vk_sleep(timeout_ns, any_ready, ep);
    shuffle_ready(ep);
    if (max > 1 && vk_chance(vk.faults.few))
        max = 1;
    struct list again;
    list_init(&again);
    LIST_FOREACH(l, &ep->ready) {
        struct item *i = container_of(l, struct item, ready);
        if (n >= max)
            break;
        if (!report(i, &ev[n]))
            continue;
        n++;
        if (!(i->events & (EPOLLET | EPOLLONESHOT)))
            list_push(&again, &i->ready);
    }
    list_splice(&ep->ready, &again);
    return n;
}

static int v_epoll_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    if (!is_virtual(ep))
        return coil__sys_real.epoll_pwait2(ep, ev, n, timeout_ns);
    vk_tick();
    if (vk.faults.linux_version && vk.faults.linux_version < 600)
        return (int)vk_trace("epoll_pwait2", ep, timeout_ns, -ENOSYS);
    struct vfile *f = vk_file(ep);
    return (int)vk_trace("epoll_pwait2", ep, timeout_ns,
                         f ? wait_for(f, ev, n, timeout_ns) : -EBADF);
}

static int v_epoll_wait(int ep, struct epoll_event *ev, int n, int ms)
{
    if (!is_virtual(ep))
        return coil__sys_real.epoll_wait(ep, ev, n, ms);
    vk_tick();
    struct vfile *f = vk_file(ep);
    return (int)vk_trace("epoll_wait", ep, ms,
                         f ? wait_for(f, ev, n, ms < 0 ? -1 : ms * NS_PER_MS) : -EBADF);
}

/* ---- ppoll ---- */

struct polled {
    struct pollfd *p;
    nfds_t n;
    int found;
};

static bool look(void *arg)
{
    struct polled *a = arg;
    a->found = 0;
    for (nfds_t i = 0; i < a->n; i++) {
        struct pollfd *p = &a->p[i];
        struct vfile *f = vk_file(p->fd);
        unsigned wants = (unsigned short)p->events | POLLERR | POLLHUP;
        p->revents = p->fd < 0 ? 0 : !f ? POLLNVAL : (short)(vk_mask(f) & wants);
        a->found += p->revents != 0;
    }
    return a->found > 0;
}

static int v_ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m)
{
    bool ours = false;
    for (nfds_t i = 0; i < n; i++)
        ours |= is_virtual(p[i].fd);
    if (!ours)
        return coil__sys_real.ppoll(p, n, t, m);
    vk_tick();
    struct polled a = {.p = p, .n = n};
    int64_t timeout = t ? (int64_t)t->tv_sec * NS_PER_S + t->tv_nsec : -1;
    if (vk_chance(vk.faults.interrupts)) {
        vk.counts.interrupted++;
        return (int)vk_trace("ppoll", (int64_t)n, timeout, -EINTR);
    }
    if (!look(&a) && timeout != 0)
        (void)vk_sleep(timeout, look, &a);
    if (!a.found && n > 1 && vk_chance(vk.faults.spurious)) {
        struct pollfd *one = &p[1 + vk_below((uint32_t)n - 1)];
        one->revents = one->events & (POLLIN | POLLOUT);
        a.found = one->revents != 0;
        vk.counts.spurious += (unsigned)a.found;
    }
    return (int)vk_trace("ppoll", (int64_t)n, timeout, a.found);
}

void watch_install(void)
{
    coil__sys.epoll_create1 = v_epoll_create1;
    coil__sys.epoll_ctl = v_epoll_ctl;
    coil__sys.epoll_wait = v_epoll_wait;
    coil__sys.epoll_pwait2 = v_epoll_pwait2;
    coil__sys.ppoll = v_ppoll;
}
