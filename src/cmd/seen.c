/* SPDX-License-Identifier: MIT
 *
 * seen.c: finds the tables of loop/sight.h in a process, and follows them.
 *
 *     data segments --magic--> struct sight --> loops --> parts --> tasks --> waits, frames, who awaits
 *
 * The process may run meanwhile, so whatever is read is believed as little as the input of a stranger: lists are walked
 * so far and no farther, every step back must lead to where it came from, numbers are compared with what is possible. A loop whose list
 * of tasks was torn is read again, some times.
 *
 * Elsewhere: reading (peer.c), names (functions.c), what stands in line (objects.c), printing (look.c). */
#include "cmd/seen.h"

#include "cmd/cmd.h"
#include "cmd/objects.h"
#include "loop/sight.h"

#include <coil/net.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOPS_MAX = 4096,
    TASKS_MAX = 4 << 20,
    CALLS_MAX = 256,
    AWAITERS_MAX = 4096,
    HOPS_MAX = 64, /* from a task through futures that are none to who awaits them */
    TRIES = 5,
    SEARCH_MAX = 64 << 20, /* data of one file */
    CHUNK = 64 * 1024
};

struct reader {
    struct peer *p;
    struct sight sight;
    struct sight_tasks layout; /* of the loop at hand */
    uint64_t entries, entries_end;
    bool stacks;
    int pidfd; /* -1 */
};

/* ---- the table ---- */

static bool is_sight(struct peer *p, uint64_t at, struct sight *out)
{
    uint64_t self = peer_word(p, at + offsetof(struct sight, self));
    if (self != at)
        return false;
    uint32_t size = peer_u32(p, at + offsetof(struct sight, size));
    *out = (struct sight){.size = 0};
    return size <= 1 << 16 && peer_read(p, at, out, size < sizeof *out ? size : sizeof *out);
}

static bool search(struct peer *p, const struct peer_map *m, struct sight *out)
{
    static char chunk[CHUNK + sizeof(struct sight)];
    for (uint64_t at = m->from; at < m->to; at += CHUNK) {
        size_t n = m->to - at < sizeof chunk ? (size_t)(m->to - at) : sizeof chunk;
        if (!peer_read(p, at, chunk, n))
            continue;
        for (size_t i = 0; i + SIGHT_MAGIC_SIZE <= n; i += 8)
            if (memcmp(chunk + i, SIGHT_MAGIC, SIGHT_MAGIC_SIZE) == 0 && is_sight(p, at + i, out))
                return true;
    }
    return false;
}

static int find_sight(struct reader *r)
{
    for (size_t i = 0; i < r->p->maps_n; i++) {
        const struct peer_map *m = &r->p->maps[i];
        if (!m->readable || m->code || !m->path[0] || m->to - m->from > SEARCH_MAX ||
            !search(r->p, m, &r->sight))
            continue;
        if (r->sight.version == SIGHT_VERSION && r->sight.size >= sizeof r->sight)
            return 0;
        return complain(EXIT_TROUBLE, 0,
                        "its coil tells of itself in form %u, this one reads form %d; use the "
                        "command of its version",
                        r->sight.version, SIGHT_VERSION);
    }
    return complain(EXIT_TROUBLE, 0, "there is no coil in it (or one older than this command)");
}

/* ---- what a task waits for ---- */

static uint64_t now_ns(const struct reader *r, uint64_t loop)
{
    struct timespec ts;
    if (peer_u8(r->p, loop + r->sight.loop.is_virtual))
        return peer_word(r->p, loop + r->sight.loop.virtual_ns);
    if (!r->p->pid)
        return 0; /* a core does not tell the time */
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A copy of the descriptor is asked for its addresses; the process does not notice. */
static void tell_fd(struct reader *r, int fd, char *out, size_t size)
{
    int n = snprintf(out, size, "fd %d", fd);
    int copy = r->pidfd >= 0 && fd >= 0 ? (int)syscall(SYS_pidfd_getfd, r->pidfd, fd, 0) : -1;
    if (copy < 0)
        return;
    coil_address peer = {.len = sizeof peer.storage}, own = peer;
    char text[COIL_ADDRESS_TEXT_MAX];
    if (getpeername(copy, (struct sockaddr *)&peer.storage, &peer.len) == 0) {
        coil_address_format(&peer, text, sizeof text);
        snprintf(out + n, size - (size_t)n, ", peer %s", text);
    } else if (getsockname(copy, (struct sockaddr *)&own.storage, &own.len) == 0) {
        coil_address_format(&own, text, sizeof text);
        snprintf(out + n, size - (size_t)n, ", at %s", text);
    }
    close(copy);
    peer_clean(out);
}

static void tell_future(struct reader *r, uint64_t future, char *out, size_t size)
{
    const struct sight_tasks *l = &r->layout;
    char file[128];
    if (peer_u8(r->p, future + l->future.is_task)) {
        peer_text(r->p, future + l->task.name, out, size);
        return;
    }
    peer_text(r->p, peer_word(r->p, future + l->future.file), file, sizeof file);
    snprintf(out, size, "made at %s:%u", *file ? file : "?",
             peer_u32(r->p, future + l->future.line));
}

static void tell_wait(struct reader *r, uint64_t loop, uint64_t wait, struct seen_task *t)
{
    const struct sight_tasks *l = &r->layout;
    uint64_t cls = peer_word(r->p, wait + l->wait.cls);
    peer_text(r->p, peer_word(r->p, cls + l->wait.class_what), t->what, sizeof t->what);
    uint64_t also = peer_word(r->p, cls + l->class_also);
    if (also)
        peer_text(r->p, also, t->detail, sizeof t->detail);
    uint16_t at = 0;
    int16_t then = 0;
    peer_read(r->p, cls + l->wait.class_at, &at, sizeof at);
    peer_read(r->p, cls + l->wait.class_then, &then, sizeof then);
    uint64_t there = wait + at, now;
    int64_t left;
    switch (peer_u8(r->p, cls + l->wait.class_shows)) {
    case SHOWS_FD: tell_fd(r, (int)peer_u32(r->p, there), t->detail, sizeof t->detail); break;
    case SHOWS_WHEN:
        now = now_ns(r, loop);
        left = (int64_t)(peer_word(r->p, there) - now);
        if (peer_word(r->p, there) == INT64_MAX)
            snprintf(t->detail, sizeof t->detail, "for ever");
        else if (now)
            snprintf(t->detail, sizeof t->detail, left < 0 ? "%.3f s overdue" : "%.3f s left",
                     (double)(left < 0 ? -left : left) / 1e9);
        break;
    case SHOWS_FUTURE:
        t->waits_at = peer_word(r->p, there);
        tell_future(r, t->waits_at, t->detail, sizeof t->detail);
        break;
    case SHOWS_OWNER: /* its name comes when all are known */
        t->in_line = t->object = peer_word(r->p, there);
        t->waits_number = peer_word(r->p, peer_word(r->p, there) + (uint64_t)then);
        break;
    case SHOWS_OBJECT:
        t->in_line = peer_word(r->p, there);
        t->object = t->in_line + (uint64_t)then;
        break;
    case SHOWS_PID:
        snprintf(t->detail, sizeof t->detail, "pid %u",
                 peer_u32(r->p, peer_word(r->p, there) + (uint64_t)then));
        break;
    default: break;
    }
}

/* For how long it waits already; -1: nobody kept it. */
static int64_t waited_ns(struct reader *r, uint64_t loop, uint64_t task)
{
    uint64_t since = peer_word(r->p, task + r->layout.task.parked_ns), now = now_ns(r, loop);
    bool known = peer_u8(r->p, loop + r->sight.loop.debug) && now && since;
    return !known ? -1 : now > since ? (int64_t)(now - since) : 0;
}

/* ---- where it stands ---- */

static void add_call(struct seen_task *t, uint64_t pc)
{
    if (t->calls_n % 8 == 0) {
        uint64_t *calls = realloc(t->calls, (t->calls_n + 8) * sizeof *calls);
        if (!calls)
            return;
        t->calls = calls;
    }
    t->calls[t->calls_n++] = pc;
}

static uint64_t plain(uint64_t pc)
{
#if defined(__aarch64__)
    pc &= (UINT64_C(1) << 48) - 1; /* it may be signed */
#endif
    return pc;
}

/* Outward along the frame pointers, within the stack of this coroutine and of those that drive it. */
static void walk(struct reader *r, struct seen_task *t, uint64_t co, uint64_t pc, uint64_t fp,
                 size_t skip)
{
    const struct sight_tasks *l = &r->layout;
    for (int drivers = 0; co && drivers < HOPS_MAX; drivers++) {
        uint64_t stack = peer_word(r->p, co + l->coro.stack);
        uint64_t low = peer_word(r->p, stack + l->coro.stack_low);
        uint64_t high = peer_word(r->p, stack + l->coro.stack_high);
        while (pc && t->calls_n < CALLS_MAX && stack) {
            const struct peer_map *m = peer_map_of(r->p, pc - 1);
            if ((pc - 1 >= r->entries && pc - 1 < r->entries_end) || !m || !m->code)
                break;
            if (skip > 0)
                skip--;
            else
                add_call(t, pc - 1);
            uint64_t words[2];
            if (fp % 8 || fp < low || fp + 16 > high || !peer_read(r->p, fp, words, sizeof words))
                break;
            pc = plain(words[1]);
            fp = words[0] > fp ? words[0] : 0;
        }
        co = peer_word(r->p, co + l->coro.resumer);
        uint64_t sp = co ? peer_word(r->p, co + l->coro.sp) : 0;
        if (!sp || l->coro.saved_pc < 0)
            return;
        fp = peer_word(r->p, sp + 8 * (uint64_t)l->coro.saved_fp);
        pc = plain(peer_word(r->p, sp + 8 * (uint64_t)l->coro.saved_pc));
    }
}

static void read_calls(struct reader *r, pid_t tid, struct seen_task *t)
{
    const struct sight_tasks *l = &r->layout;
    uint64_t pc, fp, leaf = peer_word(r->p, t->at + l->task.leaf);
    if (t->state == SEEN_NEW) {
        add_call(t, t->fn);
    } else if (t->state == SEEN_RUNNING) {
        /* `leaf` is of its last wait; a generator that it drives now is not known. */
        if (tid && peer_registers(r->p, tid, &pc, &fp))
            walk(r, t, t->at + l->task.coro, pc + 1, fp, 0);
    } else if (l->coro.saved_pc >= 0) {
        uint64_t sp = peer_word(r->p, leaf + l->coro.sp);
        walk(r, t, leaf, plain(peer_word(r->p, sp + 8 * (uint64_t)l->coro.saved_pc)),
             peer_word(r->p, sp + 8 * (uint64_t)l->coro.saved_fp), 1);
    }
}

/* ---- tasks ---- */

static void read_task(struct reader *r, uint64_t loop, uint64_t at, uint64_t current, pid_t tid,
                      struct seen_task *t)
{
    const struct sight_tasks *l = &r->layout;
    *t = (struct seen_task){.at = at, .number = peer_word(r->p, at + l->task.number)};
    peer_text(r->p, at + l->task.name, t->name,
              l->task.name_size < sizeof t->name ? l->task.name_size : sizeof t->name);
    peer_text(r->p, peer_word(r->p, at + l->future.file), t->file, sizeof t->file);
    t->line = (int)peer_u32(r->p, at + l->future.line);
    t->fn = peer_word(r->p, at + l->task.fn);
    t->cancelling = peer_u8(r->p, at + l->task.must_cancel) != 0;
    t->cancels = peer_u32(r->p, at + l->task_cancelling);
    uint64_t wait = peer_word(r->p, at + l->task.waiting);
    if (at == current)
        t->state = SEEN_RUNNING;
    else if (!peer_u8(r->p, at + l->task.started))
        t->state = SEEN_NEW;
    else if (!wait || peer_u8(r->p, wait + l->wait.woken))
        t->state = SEEN_READY;
    else
        t->state = SEEN_WAITING;
    if (wait && t->state != SEEN_RUNNING)
        tell_wait(r, loop, wait, t);
    t->waits_ns = t->state == SEEN_WAITING ? waited_ns(r, loop, at) : -1;
    if (r->stacks)
        read_calls(r, tid, t);
    uint64_t stack = peer_word(r->p, at + l->task.coro + l->coro.stack);
    t->stack_low = stack ? peer_word(r->p, stack + l->coro.stack_low) : 0;
}

static void free_tasks(struct seen_loop *l)
{
    for (size_t i = 0; i < l->tasks_n; i++) {
        free(l->tasks[i].calls);
        free(l->tasks[i].awaited_by);
    }
    free(l->tasks);
    l->tasks = NULL;
    l->tasks_n = 0;
}

/* False: the list led astray. */
static bool read_tasks(struct reader *r, struct seen_loop *l, uint64_t part)
{
    uint64_t head = part + r->layout.part.tasks, last = head, link = peer_word(r->p, head);
    uint64_t current = peer_word(r->p, part + r->layout.part.current);
    while (link != head) {
        if (l->tasks_n == TASKS_MAX || peer_word(r->p, link + sizeof(uint64_t)) != last)
            return false;
        if ((l->tasks_n & (l->tasks_n - 1)) == 0) {
            size_t room = l->tasks_n ? 2 * l->tasks_n : 1;
            struct seen_task *tasks = realloc(l->tasks, room * sizeof *tasks);
            if (!tasks)
                return false;
            l->tasks = tasks;
        }
        read_task(r, l->at, link - r->layout.future.all, current, l->tid, &l->tasks[l->tasks_n++]);
        last = link;
        link = peer_word(r->p, link);
    }
    return true;
}

static void read_all_tasks(struct reader *r, struct seen_loop *l)
{
    uint64_t part = peer_word(r->p, l->at + r->sight.loop.parts +
                                        r->sight.loop.task_part * sizeof(uint64_t));
    uint64_t layout = part ? peer_word(r->p, part + r->sight.loop.part_layout) : 0;
    if (!layout || !peer_read(r->p, layout, &r->layout, sizeof r->layout) ||
        r->layout.version != SIGHT_VERSION)
        return; /* no task was ever made */
    r->entries = (uint64_t)(uintptr_t)r->layout.entries;
    r->entries_end = (uint64_t)(uintptr_t)r->layout.entries_end;
    for (int i = 0; i < TRIES; i++) {
        free_tasks(l);
        if (i > 0)
            peer_refresh(r->p);
        l->torn = !read_tasks(r, l, part);
        if (!l->torn)
            return;
    }
}

/* ---- who awaits whom ---- */

struct known {
    uint64_t at;
    size_t place;
};

static int by_address(const void *a, const void *b)
{
    const struct known *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static bool find_known(const struct known *all, size_t n, uint64_t at, size_t *out)
{
    struct known key = {.at = at};
    const struct known *found = n ? bsearch(&key, all, n, sizeof *all, by_address) : NULL;
    if (found)
        *out = found->place;
    return found != NULL;
}

static void add_awaiter(struct seen_task *t, size_t place)
{
    for (size_t i = 0; i < t->awaited_by_n && i < 16; i++)
        if (t->awaited_by[i] == place)
            return;
    if ((t->awaited_by_n & (t->awaited_by_n - 1)) == 0) {
        size_t room = t->awaited_by_n ? 2 * t->awaited_by_n : 1;
        size_t *more = realloc(t->awaited_by, room * sizeof *more);
        if (!more)
            return;
        t->awaited_by = more;
    }
    t->awaited_by[t->awaited_by_n++] = place;
}

/* Those in the list of callbacks that wait; through gather's futures and the like to tasks. */
static void follow(struct reader *r, uint64_t future, const struct known *known, size_t n,
                   struct seen_task *t, int hops)
{
    const struct sight_tasks *l = &r->layout;
    uint64_t head = future + l->future.callbacks, link = peer_word(r->p, head), last = head;
    for (int i = 0; i < AWAITERS_MAX && link && link != head; i++) {
        if (peer_word(r->p, link + sizeof(uint64_t)) != last)
            return;
        uint64_t by = peer_word(r->p, link - l->future.callback_link + l->future.callback_by);
        size_t place;
        if (by && find_known(known, n, by, &place))
            add_awaiter(t, place);
        else if (by && hops < HOPS_MAX && !peer_u8(r->p, by + l->future.is_task))
            follow(r, by, known, n, t, hops + 1);
        last = link;
        link = peer_word(r->p, link);
    }
}

static void read_awaiters(struct reader *r, struct seen_loop *l)
{
    struct known *known = l->tasks_n ? malloc(l->tasks_n * sizeof *known) : NULL;
    if (!known)
        return;
    for (size_t i = 0; i < l->tasks_n; i++)
        known[i] = (struct known){l->tasks[i].at, i};
    qsort(known, l->tasks_n, sizeof *known, by_address);
    for (size_t i = 0; i < l->tasks_n; i++) {
        struct seen_task *t = &l->tasks[i];
        follow(r, t->at, known, l->tasks_n, t, 0);
        t->waits_on = SEEN_NOBODY;
        if (t->state == SEEN_WAITING && t->waits_at)
            find_known(known, l->tasks_n, t->waits_at, &t->waits_on);
    }
    free(known);
}

/* Who holds what they wait for. */
static void name_owners(struct seen_loop *l)
{
    for (size_t i = 0; i < l->tasks_n; i++) {
        struct seen_task *t = &l->tasks[i];
        if (!t->waits_number || t->state != SEEN_WAITING)
            continue;
        size_t low = 0, high = l->tasks_n; /* numbers grow along the list */
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (l->tasks[middle].number < t->waits_number)
                low = middle + 1;
            else
                high = middle;
        }
        bool found = low < l->tasks_n && l->tasks[low].number == t->waits_number;
        if (found)
            t->waits_on = low;
        snprintf(t->detail, sizeof t->detail, "held by %s",
                 found ? l->tasks[low].name : "a task that has ended");
    }
}

size_t seen_circle(struct seen_loop *l, size_t *from, size_t *out, size_t room)
{
    for (; *from < l->tasks_n; ++*from) {
        size_t at = *from, walk = *from + 1, n = 0;
        while (at != SEEN_NOBODY && !l->tasks[at].mark) {
            l->tasks[at].mark = walk;
            at = l->tasks[at].waits_on;
        }
        if (at == SEEN_NOBODY || l->tasks[at].mark != walk)
            continue;
        /* Each waits for one at most, so whoever comes to a place of its own walk goes in a circle. */
        for (size_t here = at; n == 0 || here != at; here = l->tasks[here].waits_on) {
            if (n < room)
                out[n] = here;
            n++;
        }
        ++*from;
        return n;
    }
    for (size_t i = 0; i < l->tasks_n; i++)
        l->tasks[i].mark = 0;
    return 0;
}

/* ---- loops ---- */

static void read_loop(struct reader *r, uint64_t at, struct seen_loop *l)
{
    *l = (struct seen_loop){.at = at, .tid = (pid_t)peer_u32(r->p, at + r->sight.loop.thread_id)};
    uint64_t cls = peer_word(r->p, at + r->sight.loop.backend_class);
    uint64_t backend = peer_word(r->p, at + r->sight.loop.backend);
    peer_text(r->p, peer_word(r->p, cls + r->sight.loop.class_name), l->backend, sizeof l->backend);
    l->running = peer_u8(r->p, at + r->sight.loop.running) != 0;
    l->debug = peer_u8(r->p, at + r->sight.loop.debug) != 0;
    l->is_virtual = peer_u8(r->p, at + r->sight.loop.is_virtual) != 0;
    l->ready = peer_word(r->p, at + r->sight.loop.tail) - peer_word(r->p, at + r->sight.loop.head);
    l->timers = peer_u32(r->p, at + r->sight.loop.timers_n);
    l->jobs = peer_word(r->p, at + r->sight.loop.jobs);
    l->wakers = peer_word(r->p, at + r->sight.loop.wakers);
    l->turns = peer_word(r->p, at + r->sight.loop.turns);
    l->signals = peer_word(r->p, at + r->sight.loop.signals) != at + r->sight.loop.signals;
    if (backend) {
        l->ops = peer_word(r->p, backend + r->sight.loop.backend_pending);
        l->fds = peer_word(r->p, backend + r->sight.loop.backend_fds);
    }
    read_all_tasks(r, l);
    read_awaiters(r, l);
    name_owners(l);
}

bool seen_is_stuck(const struct seen_loop *l)
{
    return l->running && l->tasks_n > 0 && !l->torn && !l->ready && !l->ops && !l->jobs &&
           !l->wakers && !l->timers && !l->signals;
}

static int read_loops(struct reader *r, struct seen *s)
{
    uint64_t head = (uint64_t)(uintptr_t)r->sight.loops, last = head, link = peer_word(r->p, head);
    while (link && link != head && s->loops_n < LOOPS_MAX &&
           peer_word(r->p, link + sizeof(uint64_t)) == last) {
        uint64_t at = link - r->sight.loop.link;
        struct seen_loop *loops = realloc(s->loops, (s->loops_n + 1) * sizeof *loops);
        if (!loops)
            return complain(EXIT_TROUBLE, ENOMEM, "cannot look");
        s->loops = loops;
        read_loop(r, at, &s->loops[s->loops_n++]);
        objects_name(&s->loops[s->loops_n - 1], &s->functions, r->p);
        last = link;
        link = peer_word(r->p, link);
    }
    return 0;
}

int seen_read(struct seen *s, struct peer *p, bool stacks)
{
    *s = (struct seen){0};
    struct reader r = {.p = p, .stacks = stacks, .pidfd = -1};
    int status = find_sight(&r);
    if (status)
        return status;
    if (p->pid)
        r.pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    status = read_loops(&r, s);
    if (r.pidfd >= 0)
        close(r.pidfd);
    return status;
}

void seen_free(struct seen *s)
{
    for (size_t i = 0; i < s->loops_n; i++)
        free_tasks(&s->loops[i]);
    free(s->loops);
    functions_free(&s->functions);
}
