/* SPDX-License-Identifier: MIT
 *
 * kernel.c: the virtual kernel itself: begin and end, time, chance, numbers and files, the trace.
 *
 * Time stands still but for a microsecond a call, and for sleeps, which jump to the next event.
 *
 * One thread. Elsewhere: what files do (stream.c, watch.c, ring.c), the picture (vkernel.h). */
#include "inside.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct vk vk;

/* ---- chance and trace ---- */

struct vk_given vk_given;

uint32_t vk_draw(struct random *otherwise, uint32_t n)
{
    if (vk_given.at == vk_given.end)
        return random_below(otherwise, n);
    uint32_t drawn = *vk_given.at++;
    if (n > 256 && vk_given.at < vk_given.end)
        drawn = drawn << 8 | *vk_given.at++;
    return drawn % n;
}

uint32_t vk_below(uint32_t n)
{
    return vk_draw(&vk.random, n);
}

bool vk_chance(unsigned in_1024)
{
    return in_1024 && vk_below(1024) < in_1024;
}

static void hash_in(uint64_t x)
{
    for (int i = 0; i < 8; i++) {
        vk.hash = (vk.hash ^ (x & 0xff)) * UINT64_C(0x100000001b3);
        x >>= 8;
    }
}

int64_t vk_trace(const char *what, int64_t a, int64_t b, int64_t c)
{
    for (const char *s = what; *s; s++)
        hash_in((unsigned char)*s);
    hash_in((uint64_t)a);
    hash_in((uint64_t)b);
    hash_in((uint64_t)c);
    hash_in((uint64_t)vk.now);
    if (vk.traced)
        fprintf(stderr, "%12lld %s(%lld, %lld) = %lld\n", (long long)(vk.now / 1000), what,
                (long long)a, (long long)b, (long long)c);
    return c;
}

void vk_complain(const char *fmt, ...)
{
    size_t n = strlen(vk.wrong);
    if (n > 0 && n + 3 < sizeof vk.wrong)
        n += (size_t)snprintf(vk.wrong + n, sizeof vk.wrong - n, "; ");
    va_list args;
    va_start(args, fmt);
    vsnprintf(vk.wrong + n, sizeof vk.wrong - n, fmt, args);
    va_end(args);
}

/* ---- events ---- */

struct event *vk_at(int64_t due, void (*fn)(struct event *e), struct vfile *f)
{
    if (vk.events_n == vk.events_room) {
        vk.events_room = vk.events_room ? vk.events_room * 2 : 64;
        vk.events = realloc(vk.events, vk.events_room * sizeof *vk.events);
    }
    struct event *e = &vk.events[vk.events_n++];
    *e = (struct event){.due = due, .number = vk.next_number++, .fn = fn, .file = f};
    return e;
}

void vk_forget_events(const struct vfile *f, const struct vreq *req)
{
    for (size_t i = 0; i < vk.events_n;) {
        if ((f && vk.events[i].file == f) || (req && vk.events[i].req == req))
            vk.events[i] = vk.events[--vk.events_n];
        else
            i++;
    }
}

static struct event *first_event(void)
{
    struct event *first = NULL;
    for (size_t i = 0; i < vk.events_n; i++) {
        struct event *e = &vk.events[i];
        if (!first || e->due < first->due || (e->due == first->due && e->number < first->number))
            first = e;
    }
    return first;
}

static void run_due(void)
{
    struct event *first;
    while ((first = first_event()) && first->due <= vk.now) {
        struct event e = *first;
        *first = vk.events[--vk.events_n];
        e.fn(&e);
    }
}

int64_t vk_when(void)
{
    if (!vk_chance(vk.faults.late))
        return vk.now;
    return vk.now + vk_below((uint32_t)(vk.faults.late_ns ? vk.faults.late_ns : NS_PER_MS));
}

/* The network resets some connection, by chance. */
static void maybe_reset(void)
{
    if (!vk_chance(vk.faults.resets))
        return;
    int start = (int)vk_below(VKERNEL_FDS);
    for (int i = 0; i < VKERNEL_FDS; i++) {
        struct vfile *f = vk.table[(start + i) % VKERNEL_FDS];
        if (f && f->kind == V_SOCKET && f->domain == AF_INET && f->connected && f->peer) {
            stream_reset(f, ECONNRESET);
            return;
        }
    }
}

void vk_tick(void)
{
    if (vk.given && memcmp(&vk.faults, vk.given, sizeof vk.faults) != 0)
        vk.faults = *vk.given;
    vk.counts.calls++;
    vk.now += NS_PER_US;
    maybe_reset();
    run_due();
    rings_settle();
}

bool vk_sleep(int64_t timeout_ns, bool (*ready)(void *arg), void *arg)
{
    int64_t until = timeout_ns < 0 ? CLOCK_FOREVER : clock_add(vk.now, timeout_ns);
    for (;;) {
        run_due();
        if (ready(arg))
            return true;
        const struct event *first = first_event();
        int64_t next = first ? first->due : CLOCK_FOREVER;
        if (next == CLOCK_FOREVER && until == CLOCK_FOREVER)
            fail_msg("seed %llu: a sleep for ever, and nothing is under way: a wake-up was lost",
                     (unsigned long long)vk.seed);
        if (next > until) {
            vk.now = until;
            return false;
        }
        vk.now = next;
    }
}

void vkernel_pass(int64_t ns)
{
    int64_t until = vk.now + ns;
    const struct event *first;
    run_due();
    while ((first = first_event()) && first->due <= until) {
        vk.now = first->due > vk.now ? first->due : vk.now;
        run_due();
    }
    vk.now = until;
}

/* ---- numbers and files ---- */

bool is_virtual(int fd)
{
    return fd >= VKERNEL_FD && fd < VKERNEL_FD + VKERNEL_FDS;
}

struct vfile *vk_file(int fd)
{
    return is_virtual(fd) ? vk.table[fd - VKERNEL_FD] : NULL;
}

struct vfile *vk_new(enum vkind kind)
{
    struct vfile *f = calloc(1, sizeof *f);
    f->kind = kind;
    f->refs = 1;
    list_init(&f->waiters);
    list_init(&f->items);
    list_init(&f->ready);
    list_push(&vk.files, &f->link);
    return f;
}

void vk_unref(struct vfile *f)
{
    if (!f || --f->refs > 0)
        return;
    epoll_file_gone(f);
    vk_forget_events(f, NULL);
    switch (f->kind) {
    case V_EPOLL: epoll_release(f); break;
    case V_RING: ring_release(f); break;
    case V_EVENTFD:
    case V_DISK: break;
    default: stream_release(f);
    }
    if (!list_empty(&f->waiters))
        vk_complain("somebody waits on a file that is gone");
    list_remove(&f->link);
    free(f->in.p);
    free(f);
}

int vk_number(struct vfile *f)
{
    uint32_t max = vk.faults.fds_max ? vk.faults.fds_max : VKERNEL_FDS;
    for (int i = 0; i < VKERNEL_FDS && i < (int)max; i++) {
        if (!vk.table[i]) {
            vk.table[i] = f;
            f->numbers++;
            return VKERNEL_FD + i;
        }
    }
    return -EMFILE;
}

int vk_close(int fd)
{
    struct vfile *f = vk_file(fd);
    if (!f)
        return -EBADF;
    vk.table[fd - VKERNEL_FD] = NULL;
    f->numbers--;
    vk_unref(f);
    return 0;
}

int vkernel_dup(int fd)
{
    struct vfile *f = vk_file(fd);
    int copy = f ? vk_number(f) : -EBADF;
    if (copy >= 0)
        f->refs++;
    return copy;
}

unsigned vk_mask(struct vfile *f)
{
    switch (f->kind) {
    case V_EVENTFD: return (f->counter ? POLLIN : 0) | POLLOUT;
    case V_EPOLL: return epoll_mask(f);
    case V_RING: return ring_mask(f->ring);
    case V_DISK: return POLLIN | POLLOUT;
    default: return stream_mask(f);
    }
}

void vk_wake(struct vfile *f, unsigned mask)
{
    bool one = false;
    LIST_FOREACH(l, &f->waiters) {
        struct waiter *w = container_of(l, struct waiter, link);
        if (!(w->wants & mask) || (w->exclusive && one))
            continue;
        one |= w->exclusive;
        w->told(w, mask);
    }
}

/* ---- disks ---- */

void vkernel_disk_put(const char *name, const void *p, size_t n)
{
    for (size_t i = 0; i < sizeof vk.disks / sizeof *vk.disks; i++) {
        struct disk *d = &vk.disks[i];
        if (d->name[0] && strcmp(d->name, name) != 0)
            continue;
        free(d->p);
        snprintf(d->name, sizeof d->name, "%s", name);
        d->p = malloc(n + 1);
        memcpy(d->p, p, n);
        d->n = n;
        return;
    }
    vk_complain("no room for one more file");
}

size_t vkernel_disk_get(const char *name, void *p, size_t n)
{
    for (size_t i = 0; i < sizeof vk.disks / sizeof *vk.disks; i++) {
        const struct disk *d = &vk.disks[i];
        if (strcmp(d->name, name) == 0) {
            memcpy(p, d->p, d->n < n ? d->n : n);
            return d->n;
        }
    }
    return 0;
}

/* ---- begin and end ---- */

static void forget_all(void)
{
    for (size_t i = 0; i < sizeof vk.disks / sizeof *vk.disks; i++)
        free(vk.disks[i].p);
    free(vk.events);
    /* Of a test that was left in the middle nothing more is given back. */
    vk = (struct vk){.on = false};
}

void vkernel_begin(uint64_t seed, const struct vkernel_faults *faults)
{
    forget_all();
    vk.seed = seed;
    vk.given = faults;
    if (faults)
        vk.faults = *faults;
    vk.random.state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    vk.now = 1000 * NS_PER_S;
    vk.hash = UINT64_C(0xcbf29ce484222325);
    vk.traced = getenv("COIL_VKERNEL_TRACE") != NULL;
    vk.next_port = 20000;
    vk.on = true;
    list_init(&vk.files);
    list_init(&vk.rings);
    coil__sys = coil__sys_real;
    calls_install();
    watch_install();
    ring_install();
}

void vkernel_calm(void)
{
    unsigned version = vk.faults.linux_version;
    vk.given = NULL;
    vk.faults = (struct vkernel_faults){.linux_version = version, .room = vk.faults.room};
}

static const char *what_is_not_home(void)
{
    size_t numbers = 0, files = 0;
    int first = -1;
    vk.text[0] = 0;
    for (int i = 0; i < VKERNEL_FDS; i++) {
        numbers += vk.table[i] != NULL;
        if (vk.table[i] && first < 0)
            first = VKERNEL_FD + i;
    }
    LIST_FOREACH(l, &vk.files)
        files++;
    if (numbers)
        snprintf(vk.text, sizeof vk.text, "%zu descriptors are open, %d of kind %d first; ",
                 numbers, first, (int)vk.table[first - VKERNEL_FD]->kind);
    else if (files)
        snprintf(vk.text, sizeof vk.text, "%zu files are open without a number; ", files);
    else if (!list_empty(&vk.rings))
        snprintf(vk.text, sizeof vk.text, "a ring lives; ");
    size_t n = strlen(vk.text);
    snprintf(vk.text + n, sizeof vk.text - n, "%s", vk.wrong);
    return vk.text[0] ? vk.text : NULL;
}

const char *vkernel_end(void)
{
    if (!vk.on)
        return "there was no kernel";
    vkernel_calm();
    vkernel_pass(60 * NS_PER_S); /* rings are torn down in their own time */
    coil__sys = coil__sys_real;
    vk.on = false;
    return what_is_not_home();
}

void vkernel_next_cancels(struct vkernel_cancel how)
{
    vk.cancel = how;
}

uint64_t vkernel_trace_hash(void)
{
    return vk.hash;
}

const struct vkernel_counts *vkernel_counted(void)
{
    return &vk.counts;
}

unsigned vkernel_requests(void)
{
    unsigned n = 0;
    LIST_FOREACH(l, &vk.rings) {
        struct vring *r = container_of(l, struct vring, link);
        LIST_FOREACH(q, &r->reqs)
            n += !r->closing;
    }
    return n;
}

unsigned vkernel_orphans(void)
{
    unsigned n = 0;
    LIST_FOREACH(l, &vk.rings) {
        struct vring *r = container_of(l, struct vring, link);
        LIST_FOREACH(q, &r->reqs) {
            const struct vreq *req = container_of(q, struct vreq, link);
            if (r->closing || !req->file || req->file->numbers > 0)
                continue;
            vk_trace("orphan", req->sqe.opcode, req->sqe.fd, 0);
            n++;
        }
    }
    return n;
}

void vkernel_reset(int fd)
{
    struct vfile *f = vk_file(fd);
    if (f)
        stream_reset(f, ECONNRESET);
}

ssize_t vkernel_send(int fd, const void *p, size_t n)
{
    struct vfile *f = vk_file(fd);
    return f ? stream_send(f, p, n) : -EBADF;
}

ssize_t vkernel_recv(int fd, void *p, size_t n)
{
    struct vfile *f = vk_file(fd);
    return f ? stream_recv(f, p, n, false) : -EBADF;
}
