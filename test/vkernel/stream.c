/* SPDX-License-Identifier: MIT
 *
 * stream.c: sockets, pipes and eventfds of the virtual kernel: bytes and their ends, connections.
 *
 *     send --> peer's flow: [ arrived | flying ] --event, maybe in pieces--> edge IN --> recv --> edge OUT to who found none
 *
 * As Linux does it: bytes that came are read before an end or an error; a unix peer's close hangs up at once, also over
 * bytes that were not read; a TCP one only when both ends have shut; closing over unread bytes resets a TCP peer, and tells
 * a unix one ECONNRESET.
 *
 * One thread. Elsewhere: the calls (calls.c). */
#include "inside.h"

enum { ROOM = 65536, PIPE_ROOM = 4096 };

static bool is_pipe(const struct vfile *f)
{
    return f->kind == V_PIPE_IN || f->kind == V_PIPE_OUT;
}

static bool is_tcp(const struct vfile *f)
{
    return f->domain == AF_INET;
}

static void make_flow(struct vfile *f)
{
    f->in.room = is_pipe(f) ? PIPE_ROOM : vk.faults.room ? vk.faults.room : ROOM;
    f->in.p = malloc(f->in.room);
}

void stream_pair(struct vfile *a, struct vfile *b)
{
    make_flow(a);
    make_flow(b);
    a->peer = b;
    b->peer = a;
    a->connected = b->connected = true;
}

/* ---- what holds ---- */

static size_t room_in(const struct flow *in)
{
    return in->room - in->n - in->flying;
}

static bool has_room(struct vfile *f)
{
    return f->peer && room_in(&f->peer->in) >= (is_pipe(f) ? 1 : f->peer->in.room / 3);
}

static unsigned pipe_mask(struct vfile *f)
{
    if (f->kind == V_PIPE_IN)
        return (f->in.n ? POLLIN : 0) | (f->peer || f->in.flying || !f->in.end ? 0 : POLLHUP);
    if (!f->peer)
        return POLLOUT | POLLERR;
    if (has_room(f))
        return POLLOUT;
    f->peer->in.wanted = true;
    return 0;
}

static unsigned connection_mask(struct vfile *f)
{
    unsigned mask = 0;
    if (f->in.n)
        mask |= POLLIN;
    if (f->in.end || f->error)
        mask |= POLLIN | POLLRDHUP;
    if (f->in.end && (f->shut_out || (f->gone && !is_tcp(f))))
        mask |= POLLHUP;
    if (f->error)
        mask |= POLLERR | POLLHUP;
    if (has_room(f) || f->shut_out || f->gone || f->error)
        mask |= POLLOUT;
    else if (f->peer)
        f->peer->in.wanted = true;
    return mask;
}

unsigned stream_mask(struct vfile *f)
{
    if (is_pipe(f))
        return pipe_mask(f);
    if (f->kind == V_LISTENER)
        return f->backlog_n ? POLLIN : 0;
    if (f->connecting)
        return 0;
    if (!f->connected)
        return POLLOUT | POLLHUP | (f->error ? POLLERR | POLLIN | POLLRDHUP : 0);
    return connection_mask(f);
}

/* ---- bytes ---- */

static void wake_in(struct vfile *f, unsigned more)
{
    if ((more & POLLHUP) && f->in.n)
        vk.counts.hup_with_data++;
    vk_wake(f, POLLIN | more);
}

static void arrive(struct event *e)
{
    struct vfile *f = e->file;
    if (f->error)
        return; /* what was on its way when the connection was cut */
    f->in.n += e->n;
    f->in.flying -= e->n;
    wake_in(f, 0);
}

static void arrive_end(struct event *e)
{
    struct vfile *f = e->file;
    f->in.end = true;
    wake_in(f, POLLRDHUP | (stream_mask(f) & (POLLHUP | POLLOUT)));
}

/* Not before what was sent earlier. A pipe and a unix socket know no delay. */
static int64_t due_in(struct flow *in, const struct vfile *f)
{
    int64_t due = is_tcp(f) ? vk_when() : vk.now;
    if (due < in->last_due)
        due = in->last_due;
    return in->last_due = due;
}

static void deliver(struct vfile *to, size_t n)
{
    if (due_in(&to->in, to) <= vk.now) {
        struct event e = {.file = to, .n = n};
        arrive(&e);
    } else {
        vk_at(to->in.last_due, arrive, to)->n = n;
    }
}

static void deliver_end(struct vfile *to)
{
    to->in.end_sent = true;
    if (due_in(&to->in, to) <= vk.now) {
        struct event e = {.file = to};
        arrive_end(&e);
    } else {
        vk_at(to->in.last_due, arrive_end, to);
    }
}

static int told_error(struct vfile *f)
{
    int error = f->error;
    f->error = 0;
    if (error) { /* from then on it is just over */
        f->in.end = f->gone = true;
        f->shut_out = true;
    }
    return -error;
}

ssize_t stream_send(struct vfile *f, const void *p, size_t n)
{
    if (f->error)
        return told_error(f);
    if (f->kind == V_PIPE_IN)
        return -EBADF;
    if (f->connecting)
        return -EAGAIN;
    if (!f->connected)
        return is_pipe(f) ? -EPIPE : f->gone || f->shut_out ? -EPIPE : -ENOTCONN;
    if (f->shut_out || !f->peer)
        return -EPIPE;
    struct flow *in = &f->peer->in;
    size_t part = room_in(in);
    if (n > part || part == 0)
        in->wanted = true;
    if (part == 0)
        return -EAGAIN;
    if (part > n)
        part = n;
    if (part > 1 && vk_chance(vk.faults.split))
        part = 1 + vk_below((uint32_t)part - 1);
    memcpy(in->p + in->n + in->flying, p, part);
    in->flying += part;
    for (size_t left = part; left > 0;) {
        size_t piece = left;
        if (left > 1 && vk_chance(vk.faults.split))
            piece = 1 + vk_below((uint32_t)left - 1);
        deliver(f->peer, piece);
        left -= piece;
    }
    return (ssize_t)part;
}

static void made_room(struct vfile *f)
{
    if (!f->in.wanted || !f->peer || !has_room(f->peer))
        return;
    f->in.wanted = false;
    vk_wake(f->peer, POLLOUT);
}

ssize_t stream_recv(struct vfile *f, void *p, size_t n, bool peek)
{
    if (f->kind == V_PIPE_OUT)
        return -EBADF;
    if (f->kind == V_LISTENER)
        return is_tcp(f) ? -ENOTCONN : -EINVAL;
    size_t part = f->in.n < n ? f->in.n : n;
    if (part == 0 && n > 0) {
        if (f->error)
            return told_error(f);
        if (f->in.end)
            return 0;
        return f->connected || f->connecting ? -EAGAIN : -ENOTCONN;
    }
    if (is_pipe(f) && part > 1 && vk_chance(vk.faults.split))
        part = 1 + vk_below((uint32_t)part - 1);
    memcpy(p, f->in.p, part);
    if (!peek) {
        memmove(f->in.p, f->in.p + part, f->in.n + f->in.flying - part);
        f->in.n -= part;
        made_room(f);
    }
    return (ssize_t)part;
}

/* ---- ends ---- */

int stream_shutdown(struct vfile *f, int how)
{
    if (f->kind == V_LISTENER)
        return 0;
    if (!f->connected)
        return -ENOTCONN;
    if (how != SHUT_RD && !f->shut_out) {
        f->shut_out = true;
        if (f->peer)
            deliver_end(f->peer);
        if (f->in.end)
            vk_wake(f, POLLHUP);
    }
    if (how != SHUT_WR) {
        f->in.end = true;
        wake_in(f, POLLRDHUP | (f->shut_out ? POLLHUP : 0));
    }
    return 0;
}

static void cut(struct vfile *f, int error)
{
    f->error = error;
    f->gone = true;
    f->in.flying = 0;
    f->connecting = false;
    vk_forget_events(f, NULL);
    wake_in(f, POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
}

void stream_reset(struct vfile *f, int error)
{
    struct vfile *peer = f->peer;
    vk_trace("reset", f->port, f->peer_port, error);
    if (peer) {
        peer->peer = f->peer = NULL;
        cut(peer, error);
    }
    cut(f, error);
}

static void arrive_reset(struct event *e)
{
    cut(e->file, ECONNRESET);
}

static void release_connection(struct vfile *f)
{
    struct vfile *peer = f->peer;
    if (!peer)
        return;
    bool unread = f->in.n || (is_tcp(f) && f->in.flying);
    peer->peer = f->peer = NULL;
    peer->gone = !is_tcp(f) || unread;
    if (is_pipe(f) && f->kind == V_PIPE_IN) {
        vk_wake(peer, POLLOUT | POLLERR);
        return;
    }
    if (unread && !is_pipe(f)) {
        if (due_in(&peer->in, peer) <= vk.now)
            cut(peer, ECONNRESET);
        else
            vk_at(peer->in.last_due, arrive_reset, peer);
        return;
    }
    if (!f->shut_out)
        deliver_end(peer);
    else if (!is_tcp(f))
        wake_in(peer, POLLHUP | POLLOUT);
    peer->gone = true;
    /* Who waited for room waits no longer: what is sent meets an error. */
    vk_wake(peer, POLLOUT | (is_tcp(f) ? 0 : POLLHUP));
}

void stream_release(struct vfile *f)
{
    for (unsigned i = 0; i < f->backlog_n; i++) {
        struct vfile *client = f->backlog[i]->peer;
        if (client)
            stream_reset(client, ECONNRESET);
        vk_unref(f->backlog[i]);
    }
    release_connection(f);
}

/* ---- connections ---- */

static struct vfile *find_listener(const struct sockaddr *a)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;
    LIST_FOREACH(l, &vk.files) {
        struct vfile *f = container_of(l, struct vfile, link);
        if (f->kind != V_LISTENER || f->domain != a->sa_family)
            continue;
        if (is_tcp(f) ? f->port == ntohs(in->sin_port)
                      : strncmp(f->name, a->sa_data + !a->sa_data[0], sizeof f->name) == 0)
            return f;
    }
    return NULL;
}

static void join_backlog(struct vfile *f, struct vfile *listener)
{
    struct vfile *served = vk_new(V_SOCKET);
    served->domain = f->domain;
    served->port = listener->port;
    served->peer_port = f->port;
    f->peer_port = listener->port;
    stream_pair(f, served);
    listener->backlog[listener->backlog_n++] = served;
    vk_wake(listener, POLLIN);
}

static bool is_full(const struct vfile *listener)
{
    return listener->backlog_n >= listener->backlog_max;
}

static void connect_later(struct event *e)
{
    struct vfile *f = e->file;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)e->n)};
    struct vfile *listener = find_listener((const struct sockaddr *)&to);
    if (listener && is_full(listener)) { /* the SYN is sent again */
        vk_at(vk.now + NS_PER_MS, connect_later, f)->n = e->n;
        return;
    }
    f->connecting = false;
    if (listener) {
        join_backlog(f, listener);
        vk_wake(f, POLLOUT);
    } else {
        f->error = ECONNREFUSED;
        vk_wake(f, POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
    }
}

int stream_connect(struct vfile *f, const struct sockaddr *a, socklen_t n)
{
    if (f->connected)
        return -EISCONN;
    if (f->connecting)
        return -EALREADY;
    if (f->error)
        return told_error(f);
    if (is_tcp(f)) {
        f->connecting = true;
        if (!f->port)
            f->port = vk.next_port++;
        vk_at(vk_when() + 10 * NS_PER_US, connect_later, f)->n = ntohs(
            ((const struct sockaddr_in *)(const void *)a)->sin_port);
        return -EINPROGRESS;
    }
    struct vfile *listener = find_listener(a);
    if (!listener)
        return -ECONNREFUSED;
    if (is_full(listener))
        return -EAGAIN;
    join_backlog(f, listener);
    return 0;
}

int stream_accept(struct vfile *f, struct vfile **out)
{
    if (f->kind != V_LISTENER)
        return -EINVAL;
    if (!f->backlog_n)
        return -EAGAIN;
    struct vfile *served = f->backlog[0];
    memmove(f->backlog, f->backlog + 1, --f->backlog_n * sizeof *f->backlog);
    if (is_tcp(f) && vk_chance(vk.faults.aborts)) {
        if (served->peer)
            stream_reset(served, ECONNRESET);
        vk_unref(served);
        return -ECONNABORTED;
    }
    *out = served;
    return 0;
}
