/* SPDX-License-Identifier: MIT
 *
 * ops.c: random ops on bare backends, on the virtual kernel: submitted, cancelled, closed under, on owned and raw
 * descriptors and on files, with three ways to sleep; a ledger of every byte.
 *
 *     each seed: a mix of faults --> random steps --> faults stop --> all that was sent is read --> nothing is left
 *
 * Where test_storm.c plays programs as users write them, this asks for what no program does, in any order. Elsewhere:
 * the seeds that are played (test_ops.c), and what a fuzzer draws instead (test/fuzz/ops.c). */
#include "ops.h"

#include "../unit/io/world.h"
#include "test.h"

#include "seeds.h"

#include "base/thread.h"

#include <coil/error.h>
#include <stdlib.h>

enum { LINES = 5, STEPS = 600, PIECE_MAX = 6000, SLOTS = 4, SLOT_SIZE = 1000 };

struct end {
    int fd;
    bool owned, shut;
    size_t sent, heard;
    struct test_op in, out, poll;
    char *in_buf, *out_buf; /* of their op while it is pending */
    int in_seen, out_seen, poll_seen;
};

struct slot { /* a part of the file, one op at a time */
    struct test_op t;
    char *buf; /* NULL: idle */
    char now[SLOT_SIZE];
    int seen;
    size_t n;
};

static struct world world;
static struct random chance;
static struct vkernel_faults faults;
static struct end ends[LINES][2];
static struct slot slots[SLOTS];
static int disk;
static bool embeds, threads;

static uint32_t below(uint32_t n)
{
    return vk_draw(&chance, n);
}

static char word(int line, int end, size_t at)
{
    return (char)(line * 37 + end * 101 + (int)(at * 7 + at / 255));
}

/* ---- what came of ops ---- */

static void heard(int line, int e, const char *p, size_t n)
{
    struct end *me = &ends[line][e];
    for (size_t i = 0; i < n; i++)
        if (p[i] != word(line, !e, me->heard + i))
            fail_msg("line %d, end %d: byte %zu is not what was sent", line, e, me->heard + i);
    me->heard += n;
}

static void received(int line, int e, int64_t rc, const char *p)
{
    struct end *me = &ends[line][e], *peer = &ends[line][!e];
    if (rc > 0)
        heard(line, e, p, (size_t)rc);
    else if (rc == 0 && (!peer->shut || me->heard != peer->sent))
        fail_msg("line %d, end %d: an end after %zu of %zu bytes", line, e, me->heard, peer->sent);
    else if (rc < 0 && rc != -EAGAIN && rc != -ENOMEM)
        fail_msg("line %d, end %d: receiving: %s", line, e, coil_errname(rc));
}

static void sent(int line, int e, int64_t rc)
{
    if (rc >= 0)
        ends[line][e].sent += (size_t)rc;
    else if (rc != -EAGAIN && rc != -ENOMEM)
        fail_msg("line %d, end %d: sending: %s", line, e, coil_errname(rc));
}

static void look_at(int line, int e)
{
    struct end *me = &ends[line][e];
    if (me->out_buf && me->out.done > me->out_seen) {
        me->out_seen = me->out.done;
        sent(line, e, me->out.op.result);
        free(me->out_buf);
        me->out_buf = NULL;
    }
    me->poll_seen = me->poll.done;
}

static void look_at_all(void)
{
    /* What was sent first: an end is judged by it. */
    for (int l = 0; l < LINES; l++)
        for (int e = 0; e < 2; e++)
            look_at(l, e);
    for (int l = 0; l < LINES; l++)
        for (int e = 0; e < 2; e++) {
            struct end *me = &ends[l][e];
            if (!me->in_buf || me->in.done == me->in_seen)
                continue;
            me->in_seen = me->in.done;
            received(l, e, me->in.op.result, me->in_buf);
            free(me->in_buf);
            me->in_buf = NULL;
        }
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &slots[i];
        int64_t rc = s->t.op.result;
        if (!s->buf || s->t.done == s->seen)
            continue;
        s->seen = s->t.done;
        if (rc < 0 && rc != -ECANCELED)
            fail_msg("slot %d: %s", i, coil_errname(rc));
        if (rc > 0 && s->t.op.kind == OP_PWRITE)
            memcpy(s->now, s->buf, (size_t)rc);
        if (rc > 0 && s->t.op.kind == OP_PREAD && memcmp(s->now, s->buf, (size_t)rc) != 0)
            fail_msg("slot %d: what was read is not what was written", i);
        free(s->buf);
        s->buf = NULL;
    }
}

/* ---- steps ---- */

static void step_recv(int line, int e)
{
    struct end *me = &ends[line][e];
    size_t n = 1 + below(PIECE_MAX);
    if (me->in_buf)
        return;
    char *buf = malloc(n);
    ssize_t rc = below(3) ? world.calls->recv(world.b, me->fd, buf, n, 0) : -EAGAIN;
    if (rc != -EAGAIN || below(8) == 0) {
        look_at_all();
        received(line, e, rc, buf);
        free(buf);
        return;
    }
    me->in = recv_op(me->fd, buf, n);
    me->in_seen = 0;
    me->in_buf = buf;
    submit(&world, &me->in);
}

static void step_send(int line, int e)
{
    struct end *me = &ends[line][e];
    size_t n = 1 + below(PIECE_MAX);
    if (me->out_buf || me->shut)
        return;
    char *buf = malloc(n);
    for (size_t i = 0; i < n; i++)
        buf[i] = word(line, e, me->sent + i);
    ssize_t rc = below(3) ? world.calls->send(world.b, me->fd, buf, n) : -EAGAIN;
    if (rc != -EAGAIN || below(8) == 0) {
        sent(line, e, rc);
        free(buf);
        return;
    }
    me->out = send_op(me->fd, buf, n);
    me->out_seen = 0;
    me->out_buf = buf;
    submit(&world, &me->out);
}

static void step_poll(int line, int e)
{
    struct end *me = &ends[line][e];
    if (me->poll.op.state != OP_IDLE) {
        if (cancel(&world, &me->poll) == -EINPROGRESS)
            me->poll.op.flags = 0;
        return;
    }
    unsigned flags = me->owned ? (below(2) ? OP_AHEAD : 0) : below(2) ? OP_LEVEL : 0;
    unsigned events = flags & OP_AHEAD ? OP_IN : 1 + below(3);
    me->poll = poll_op(me->fd, events, flags);
    submit(&world, &me->poll);
}

/* A cancel that answers 0 had no effect: what it would have done is done by the next. */
static void step_cancel(int line, int e)
{
    struct end *me = &ends[line][e];
    bool in = below(2);
    struct test_op *t = in ? &me->in : &me->out;
    char **buf = in ? &me->in_buf : &me->out_buf;
    if (!*buf || cancel(&world, t) != 0)
        return;
    memset(*buf, 0x55, 1); /* it is ours again */
    free(*buf);
    *buf = NULL;
}

static void step_file(void)
{
    struct slot *s = &slots[below(SLOTS)];
    if (!backend_does_files(world.b))
        return;
    if (s->buf) {
        if (below(3) == 0 && cancel(&world, &s->t) == 0) { /* the kernel had not heard of it */
            free(s->buf);
            s->buf = NULL;
        }
        return;
    }
    s->n = 1 + below(SLOT_SIZE - 1);
    s->buf = malloc(s->n);
    for (size_t i = 0; i < s->n; i++)
        s->buf[i] = (char)below(256);
    s->t = (struct test_op){.op = {.done = on_done,
                                   .fd = disk,
                                   .kind = (uint8_t)(below(2) ? OP_PREAD : OP_PWRITE),
                                   .at = {s->buf, s->n, (int64_t)(s - slots) * SLOT_SIZE}}};
    s->seen = 0;
    submit(&world, &s->t);
}

/* As a loop that sleeps itself, or one that is asked by another loop's poll. */
static void step_wait(void)
{
    int fd = embeds ? world.cls->poll_fd(world.b) : -1;
    if (fd >= 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        struct timespec ms = {.tv_nsec = NS_PER_MS};
        (void)sys_ppoll(&p, 1, &ms, NULL);
        look_once(&world);
    } else {
        turn(&world, below(2) ? 0 : NS_PER_MS);
    }
    look_at_all();
}

static void turn_in_thread(void *arg)
{
    int *rc = arg;
    *rc = world.cls->wait(world.b, 0);
    if (*rc == 0)
        *rc = world.cls->wait(world.b, NS_PER_MS);
    vkernel_thread_ends();
}

/* The loop is turned by another thread for once, which ends. */
static void step_elsewhere(void)
{
    struct thread thread;
    int rc;
    assert_int_equal(coil__thread_start(&thread, "elsewhere", turn_in_thread, &rc), 0);
    coil__thread_join(&thread);
    assert_true(rc == 0 || rc == COIL_EWRONGTHREAD); /* file ops are under way */
    reap(&world);
    look_at_all();
}

static void step_reopen(int line);

static void step(void)
{
    int line = (int)below(LINES), e = (int)below(2);
    switch (below(12)) {
    case 0:
    case 1:
    case 2: step_recv(line, e); break;
    case 3:
    case 4: step_send(line, e); break;
    case 5: step_poll(line, e); break;
    case 6: step_cancel(line, e); break;
    case 7: step_file(); break;
    case 8:
        if (below(20) == 0)
            step_reopen(line);
        else if (threads && below(20) == 0)
            step_elsewhere();
        break;
    default: step_wait();
    }
}

/* ---- lines ---- */

static void open_line(int line)
{
    int fd[2];
    if (below(2)) {
        make_pair(&world, fd);
    } else {
        struct sockaddr_storage addr;
        socklen_t len;
        int listener = make_listener(&world, &addr, &len, 1);
        fd[0] = world.calls->socket(world.b, AF_INET, SOCK_STREAM, 0);
        assert_int_equal(sys_connect(fd[0], (struct sockaddr *)&addr, len), -EINPROGRESS);
        vkernel_pass(20 * NS_PER_MS);
        do
            fd[1] = world.calls->accept(world.b, listener, NULL, NULL);
        while (fd[1] == -EINTR);
        assert_true(fd[1] >= 0);
        close_fd(&world, listener);
    }
    for (int e = 0; e < 2; e++) {
        ends[line][e] = (struct end){.fd = fd[e], .owned = below(4) > 0};
        if (ends[line][e].owned)
            own(&world, fd[e]);
    }
}

static void take_back(struct test_op *t, char **buf)
{
    if (*buf && cancel(&world, t) == 0) {
        free(*buf);
        *buf = NULL;
    }
}

static void finish_poll(struct end *me)
{
    if (me->poll.op.state != OP_IDLE)
        (void)cancel(&world, &me->poll);
}

static void close_end(struct end *me)
{
    if (!me->owned) {
        world.calls->forget(world.b, me->fd);
        int rc = sys_close(me->fd);
        assert_true(rc == 0 || rc == -EINTR);
    } else {
        int rc = world.calls->close(world.b, me->fd);
        assert_int_equal(rc, 0);
    }
}

/* Closed in the middle: what is pending ends, and new files have the numbers at once. */
static void step_reopen(int line)
{
    struct end *me = ends[line];
    for (int e = 0; e < 2; e++)
        close_end(&me[e]);
    reap(&world);
    for (int e = 0; e < 2; e++) {
        assert_true(!me[e].in_buf || me[e].in.done);
        assert_true(!me[e].out_buf || me[e].out.done);
        assert_int_equal(me[e].poll.op.state, OP_IDLE);
        free(me[e].in_buf);
        free(me[e].out_buf);
    }
    memset(me, 0, sizeof ends[line]);
    open_line(line);
}

/* All that is on its way, to the end. */
static void read_to_the_end(int line, int e)
{
    struct end *me = &ends[line][e], *peer = &ends[line][!e];
    for (int i = 0; me->heard < peer->sent || !me->in_buf || me->in.done == me->in_seen; i++) {
        if (!me->in_buf) {
            me->in_buf = malloc(PIECE_MAX);
            me->in = recv_op(me->fd, me->in_buf, PIECE_MAX);
            me->in_seen = 0;
            submit(&world, &me->in);
        }
        turn(&world, NS_PER_MS);
        bool ended = me->in.done > me->in_seen && me->in.op.result == 0;
        look_at_all();
        if (ended)
            break;
        if (i > 5000)
            fail_msg("line %d, end %d: only %zu of %zu bytes came, and no end", line, e, me->heard,
                     peer->sent);
    }
    if (me->heard != peer->sent)
        fail_msg("line %d, end %d: %zu of %zu bytes came", line, e, me->heard, peer->sent);
}

static void bring_to_an_end(void)
{
    vkernel_calm();
    for (int l = 0; l < LINES; l++)
        for (int e = 0; e < 2; e++) {
            struct end *me = &ends[l][e];
            take_back(&me->out, &me->out_buf);
            finish_poll(me);
            reap(&world);
            look_at_all();
            me->shut = true;
            assert_int_equal(sys_shutdown(me->fd, SHUT_WR), 0);
        }
    for (int l = 0; l < LINES; l++)
        for (int e = 0; e < 2; e++)
            read_to_the_end(l, e);
    for (int i = 0; i < 50; i++) {
        turn(&world, NS_PER_MS);
        look_at_all();
    }
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].buf)
            fail_msg("slot %d: it never ends", i);
    for (int l = 0; l < LINES; l++)
        for (int e = 0; e < 2; e++)
            close_end(&ends[l][e]);
    for (int i = 0; i < 20; i++)
        turn(&world, NS_PER_MS);
    if (vkernel_orphans())
        fail_msg("%u requests keep files open that were closed", vkernel_orphans());
}

/* ---- a run ---- */

static void choose_faults(void)
{
    faults = mix_of_faults(&chance);
    embeds = below(3) == 0;
    threads = below(4) == 0;
}

uint64_t ops_play(const void *cls, uint64_t seed)
{
    static char blank[SLOTS * SLOT_SIZE];
    chance.state = seed * 7919 + 5;
    choose_faults();
    memset(slots, 0, sizeof slots);
    memset(ends, 0, sizeof ends);
    vkernel_begin(seed, &faults);
    assert_int_equal(world_try_open(&world, cls, 0), 0);
    vkernel_disk_put("disk", blank, sizeof blank);
    disk = sys_openat(AT_FDCWD, "/vkernel/disk", O_RDWR, 0);
    for (int l = 0; l < LINES; l++)
        open_line(l);
    bool given = vk_given.at < vk_given.end;
    for (int i = 0; i < STEPS && (!given || vk_given.at < vk_given.end); i++)
        step();
    bring_to_an_end();
    (void)sys_close(disk);
    world_close(&world);
    const char *left = vkernel_end();
    if (left)
        fail_msg("not home: %s", left);
    return vkernel_trace_hash();
}
