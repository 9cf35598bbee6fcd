/* SPDX-License-Identifier: MIT
 *
 * ring.c: io_uring of the virtual kernel: the rings in ordinary memory, setup, enter, register.
 *
 *     enter: [ take requests ] --> [ do work: what woke requests bring ] --> [ flush what overflowed ] --> sleep
 *
 * Work is done in enter alone with DEFER_TASKRUN, and otherwise at the beginning of any call. Completions that find
 * no room are kept and come with a later enter (NODROP), in their order.
 *
 * One thread. Elsewhere: what requests do (request.c). */
#include "inside.h"

enum { AT_SQ_HEAD = 0, AT_SQ_TAIL = 64, AT_SQ_FLAGS = 128, AT_CQ_HEAD = 192, AT_CQ_TAIL = 256 };
enum { AT_ARRAY = 320 };

#define FLAGS_5_15 (IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP)
#define FLAGS_6_1                                                       \
    (FLAGS_5_15 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | \
     IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
#define FEATURES_5_15                                                           \
    (IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | \
     IORING_FEAT_FAST_POLL | IORING_FEAT_POLL_32BITS | IORING_FEAT_EXT_ARG |    \
     IORING_FEAT_RSRC_TAGS)

static bool is_old(void)
{
    return vk.faults.linux_version && vk.faults.linux_version < 600;
}

static struct vring *ring_at(int fd)
{
    struct vfile *f = vk_file(fd);
    return f && f->kind == V_RING ? f->ring : NULL;
}

/* ---- setup ---- */

static uint32_t power_of_two(uint32_t n)
{
    uint32_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

static void lay_out(struct vring *r, struct io_uring_params *p)
{
    uint32_t at_cqes = (AT_ARRAY + r->sq_entries * 4 + 63) & ~63u;
    r->rings_n = at_cqes + r->cq_entries * sizeof(struct io_uring_cqe);
    r->rings = calloc(1, r->rings_n);
    r->sqes = calloc(r->sq_entries, sizeof *r->sqes);
    r->sq_head = (uint32_t *)(void *)(r->rings + AT_SQ_HEAD);
    r->sq_tail = (uint32_t *)(void *)(r->rings + AT_SQ_TAIL);
    r->sq_flags = (uint32_t *)(void *)(r->rings + AT_SQ_FLAGS);
    r->cq_head = (uint32_t *)(void *)(r->rings + AT_CQ_HEAD);
    r->cq_tail = (uint32_t *)(void *)(r->rings + AT_CQ_TAIL);
    r->sq_array = (uint32_t *)(void *)(r->rings + AT_ARRAY);
    r->cqes = (struct io_uring_cqe *)(void *)(r->rings + at_cqes);
    p->sq_entries = r->sq_entries;
    p->cq_entries = r->cq_entries;
    p->sq_off.head = AT_SQ_HEAD;
    p->sq_off.tail = AT_SQ_TAIL;
    p->sq_off.flags = AT_SQ_FLAGS;
    p->sq_off.array = AT_ARRAY;
    p->cq_off.head = AT_CQ_HEAD;
    p->cq_off.tail = AT_CQ_TAIL;
    p->cq_off.cqes = at_cqes;
    p->features = is_old() ? FEATURES_5_15 : FEATURES_5_15 | IORING_FEAT_CQE_SKIP;
}

static int set_up(unsigned entries, struct io_uring_params *p)
{
    if (vk.faults.setup_error)
        return vk.faults.setup_error;
    if (!p)
        return -EFAULT;
    if (p->flags & ~(is_old() ? FLAGS_5_15 : FLAGS_6_1))
        return -EINVAL;
    struct vfile *f = vk_new(V_RING);
    struct vring *r = calloc(1, sizeof *r);
    f->ring = r;
    r->file = f;
    r->owner = coil__thread_self();
    r->flags = p->flags;
    r->cq_entries = power_of_two(vk.faults.cq_entries ? vk.faults.cq_entries : p->cq_entries);
    r->sq_entries = power_of_two(entries);
    if (r->sq_entries > r->cq_entries / 2)
        r->sq_entries = r->cq_entries / 2 ? r->cq_entries / 2 : 1;
    list_init(&r->reqs);
    list_init(&r->work);
    list_push(&vk.rings, &r->link);
    lay_out(r, p);
    int fd = vk_number(f);
    if (fd < 0)
        vk_unref(f);
    return fd;
}

static int v_setup(unsigned entries, struct io_uring_params *p)
{
    vk_tick();
    return (int)vk_trace("setup", entries, p ? p->flags : 0, set_up(entries, p));
}

static int v_mmap_fd(int fd, size_t n, int64_t at, void **out)
{
    struct vring *r = ring_at(fd);
    if (!is_virtual(fd))
        return coil__sys_real.mmap_fd(fd, n, at, out);
    if (!r)
        return -EBADF;
    *out = at == (int64_t)IORING_OFF_SQES ? (void *)r->sqes : (void *)r->rings;
    if (n > (at == (int64_t)IORING_OFF_SQES ? r->sq_entries * sizeof *r->sqes : r->rings_n))
        return -EINVAL;
    r->mapped++;
    return 0;
}

static int v_munmap(void *p, size_t n)
{
    LIST_FOREACH(l, &vk.rings) {
        struct vring *r = container_of(l, struct vring, link);
        if (p == r->rings || p == (void *)r->sqes) {
            r->mapped--;
            return 0;
        }
    }
    return coil__sys_real.munmap(p, n);
}

static void tear_down(struct event *e)
{
    struct vring *r = e->ring;
    struct list *l;
    while ((l = list_first(&r->reqs)))
        request_drop(container_of(l, struct vreq, link));
    if (r->mapped)
        vk_complain("the memory of a ring is still mapped");
    list_remove(&r->link);
    free(r->rings);
    free(r->sqes);
    free(r->overflow);
    free(r);
}

/* Closed; what is under way is given up in the kernel's own time, and holds its files until then. */
void ring_release(struct vfile *f)
{
    struct vring *r = f->ring;
    r->closing = true;
    r->file = NULL;
    vk_at(vk.now + 50 * NS_PER_US + (vk_when() - vk.now), tear_down, NULL)->ring = r;
}

/* ---- completions ---- */

static uint32_t posted(const struct vring *r)
{
    return *r->cq_tail - *r->cq_head;
}

unsigned ring_mask(struct vring *r)
{
    return posted(r) || r->overflow_n || !list_empty(&r->work) ? POLLIN : 0;
}

static void put(struct vring *r, const struct io_uring_cqe *cqe)
{
    r->cqes[*r->cq_tail & (r->cq_entries - 1)] = *cqe;
    ++*r->cq_tail;
}

bool ring_post(struct vring *r, uint64_t user_data, int32_t res, uint32_t flags, bool spare)
{
    struct io_uring_cqe cqe = {.user_data = user_data, .res = res, .flags = flags};
    if (r->closing)
        return true;
    bool fits = r->overflow_n == 0 && posted(r) < r->cq_entries;
    if (!fits && !spare)
        return false;
    vk.counts.completions++;
    vk_trace("completion", (int64_t)(user_data & 7), flags, res);
    if (fits) {
        put(r, &cqe);
    } else {
        if (r->overflow_n == r->overflow_room) {
            r->overflow_room = r->overflow_room ? r->overflow_room * 2 : 16;
            r->overflow = realloc(r->overflow, r->overflow_room * sizeof *r->overflow);
        }
        r->overflow[r->overflow_n++] = cqe;
        *r->sq_flags |= IORING_SQ_CQ_OVERFLOW;
        vk.counts.overflows++;
    }
    vk_wake(r->file, POLLIN);
    return true;
}

static void flush(struct vring *r)
{
    size_t n = 0;
    while (n < r->overflow_n && posted(r) < r->cq_entries)
        put(r, &r->overflow[n++]);
    r->overflow_n -= n;
    if (n > 0)
        memmove(r->overflow, r->overflow + n, r->overflow_n * sizeof *r->overflow);
    if (!r->overflow_n)
        *r->sq_flags &= ~IORING_SQ_CQ_OVERFLOW;
}

/* ---- work ---- */

bool ring_wants_now(const struct vring *r)
{
    return !(r->flags & IORING_SETUP_DEFER_TASKRUN);
}

void ring_do_work(struct vring *r, bool all)
{
    struct list todo, *l;
    list_init(&todo);
    list_splice(&todo, &r->work);
    LIST_FOREACH(it, &todo) {
        if (vk_chance(vk.faults.shuffle)) {
            list_remove(it);
            list_push_front(&todo, it);
        }
    }
    while ((l = list_pop(&todo))) {
        vk.counts.work++;
        request_work(container_of(l, struct vreq, work));
        if (!all && vk_chance(vk.faults.few))
            break;
    }
    list_splice(&todo, &r->work);
    list_splice(&r->work, &todo);
    if (list_empty(&r->work))
        *r->sq_flags &= ~IORING_SQ_TASKRUN;
    else if (r->flags & IORING_SETUP_TASKRUN_FLAG)
        *r->sq_flags |= IORING_SQ_TASKRUN;
}

void rings_settle(void)
{
    LIST_FOREACH(l, &vk.rings) {
        struct vring *r = container_of(l, struct vring, link);
        if (!r->closing && ring_wants_now(r) && !list_empty(&r->work))
            ring_do_work(r, false);
    }
}

/* Some request that waits is woken for nothing. */
static void wake_for_nothing(struct vring *r)
{
    uint32_t n = 0;
    LIST_FOREACH(l, &r->reqs)
        n++;
    if (n == 0 || !vk_chance(vk.faults.spurious))
        return;
    n = vk_below(n);
    LIST_FOREACH(l, &r->reqs) {
        struct vreq *q = container_of(l, struct vreq, link);
        if (n-- > 0)
            continue;
        unsigned mask = q->waiter.wants & (POLLIN | POLLOUT);
        if (q->waiting && mask) {
            vk.counts.spurious++;
            vk_trace("spurious", q->sqe.fd, mask, 0);
            q->waiter.told(&q->waiter, mask);
        }
        return;
    }
}

/* ---- enter ---- */

static bool something_for(void *arg)
{
    struct vring *r = arg;
    return posted(r) || r->overflow_n || !list_empty(&r->work);
}

static unsigned take_requests(struct vring *r, unsigned most)
{
    unsigned taken = 0;
    bool go_on = true;
    while (taken < most && *r->sq_head != *r->sq_tail && go_on) {
        uint32_t index = r->sq_array[*r->sq_head & (r->sq_entries - 1)];
        struct io_uring_sqe sqe = r->sqes[index];
        memset(&r->sqes[index], 0xdb, sizeof sqe); /* it was taken, and is read no more */
        ++*r->sq_head;
        taken++;
        go_on = request_submit(r, &sqe);
    }
    return taken;
}

static int sleep_in(struct vring *r, int64_t timeout_ns)
{
    int64_t until = timeout_ns < 0 ? CLOCK_FOREVER : clock_add(vk.now, timeout_ns);
    if (vk_chance(vk.faults.interrupts)) {
        vk.counts.interrupted++;
        return -EINTR;
    }
    while (!posted(r)) {
        int64_t left = until == CLOCK_FOREVER ? -1 : until - vk.now;
        if (!vk_sleep(left, something_for, r))
            return -ETIME;
        ring_do_work(r, false);
        flush(r);
    }
    return 0;
}

static int64_t timeout_of(const void *arg)
{
    const struct io_uring_getevents_arg *a = arg;
    const struct {
        int64_t sec, nsec;
    } *ts = (const void *)(uintptr_t)a->ts;
    return ts ? ts->sec * NS_PER_S + ts->nsec : -1;
}

static int enter(struct vring *r, unsigned submit, unsigned want, unsigned flags, const void *arg)
{
    vk.counts.enters++;
    if ((r->flags & IORING_SETUP_SINGLE_ISSUER) && r->owner != coil__thread_self())
        return -EEXIST;
    if (submit && vk_chance(vk.faults.refuses)) {
        vk.counts.refused++;
        return vk_chance(512) ? -EAGAIN : -EBUSY;
    }
    if (submit && r->overflow_n && is_old()) {
        flush(r);
        if (r->overflow_n)
            return -EBUSY;
    }
    unsigned most = submit;
    if (submit > 1 && vk_chance(vk.faults.part))
        most = 1 + vk_below(submit - 1);
    unsigned taken = take_requests(r, most);
    if (taken < submit)
        return (int)taken;
    if (!(flags & IORING_ENTER_GETEVENTS))
        return (int)taken;
    wake_for_nothing(r);
    ring_do_work(r, false);
    flush(r);
    int rc = want && (flags & IORING_ENTER_EXT_ARG) ? sleep_in(r, timeout_of(arg)) : 0;
    return taken ? (int)taken : rc;
}

static int v_enter(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                   size_t arg_n)
{
    struct vring *r = ring_at(fd);
    if (!is_virtual(fd))
        return coil__sys_real.io_uring_enter(fd, submit, want, flags, arg, arg_n);
    vk_tick();
    return (int)vk_trace("enter", submit, want, r ? enter(r, submit, want, flags, arg) : -EBADF);
}

void vkernel_thread_ends(void)
{
    LIST_FOREACH(l, &vk.rings) {
        struct vring *r = container_of(l, struct vring, link);
        LIST_FOREACH(it, &r->reqs) {
            struct vreq *q = container_of(it, struct vreq, link);
            if (!r->closing && q->submitter == coil__thread_self())
                request_orphaned(q);
        }
    }
}

/* ---- the stock of buffers ---- */

static void check_stock(const struct vring *r, uint16_t tail)
{
    uint8_t seen[8192] = {0};
    for (uint16_t at = r->bufs_head; at != tail; at++) {
        uint16_t id = r->bufs->bufs[at & (r->bufs_n - 1)].bid;
        if (id / 8 < sizeof seen && (seen[id / 8] & 1u << id % 8)) {
            vk_complain("buffer %u was given to the kernel twice", id);
            return;
        }
        seen[id / 8] |= (uint8_t)(1u << id % 8);
    }
}

struct io_uring_buf *ring_buffer(struct vring *r)
{
    if (!r->bufs)
        return NULL;
    uint16_t tail = __atomic_load_n(&r->bufs->tail, __ATOMIC_ACQUIRE);
    if (tail == r->bufs_head)
        return NULL;
    check_stock(r, tail);
    return &r->bufs->bufs[r->bufs_head & (r->bufs_n - 1)];
}

void ring_took_buffer(struct vring *r)
{
    r->bufs_head++;
}

static int v_register(int fd, unsigned what, void *arg, unsigned n)
{
    struct vring *r = ring_at(fd);
    const struct io_uring_buf_reg *reg = arg;
    if (!is_virtual(fd))
        return coil__sys_real.io_uring_register(fd, what, arg, n);
    vk_tick();
    if (!r)
        return -EBADF;
    if (is_old() || (what != IORING_REGISTER_PBUF_RING && what != IORING_UNREGISTER_PBUF_RING))
        return (int)vk_trace("register", what, n, -EINVAL);
    if (what == IORING_REGISTER_PBUF_RING && vk_chance(vk.faults.no_memory))
        return (int)vk_trace("register", what, n, -ENOMEM);
    r->bufs = what == IORING_REGISTER_PBUF_RING
                  ? (struct io_uring_buf_ring *)(uintptr_t)reg->ring_addr
                  : NULL;
    r->bufs_n = reg->ring_entries;
    r->bufs_head = 0;
    return (int)vk_trace("register", what, n, 0);
}

void ring_install(void)
{
    coil__sys.io_uring_setup = v_setup;
    coil__sys.io_uring_enter = v_enter;
    coil__sys.io_uring_register = v_register;
    coil__sys.mmap_fd = v_mmap_fd;
    coil__sys.munmap = v_munmap;
}
