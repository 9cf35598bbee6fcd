/* SPDX-License-Identifier: MIT
 *
 * connect.c: how two ends meet: listen, connect, accept.
 *
 *     connect --latency--> is there a listener? --yes--> [ accept queue ] --accept--> a descriptor
 *                              |        |
 *                              no       queue full: the SYN is lost, try again later
 *                              v
 *                         ECONNREFUSED
 *
 * Unix sockets meet at once; there a full queue is EAGAIN. */
#include "io/sim/sim.h"

#include <errno.h>
#include <string.h>

#define SYN_TRIES 6
#define SYN_RETRY NS_PER_S /* doubled each time */

int coil__sim_listen(struct sim *sim, struct file *file, int backlog)
{
    if (file->kind == FILE_DATAGRAM)
        return -EOPNOTSUPP;
    if (file->kind == FILE_STREAM && file->state != STATE_FRESH)
        return -EINVAL;
    if (file->local.len == 0) {
        if (file->domain == AF_UNIX)
            return -EINVAL;
        int err = coil__sim_autobind(sim, file, NULL);
        if (err < 0)
            return err;
    }
    file->kind = FILE_LISTENER;
    file->backlog = backlog < 0 ? 0 : backlog > 4096 ? 4096 : backlog;
    coil__sim_stir(file);
    return 0;
}

/* Makes the other end of `client` and puts it into the listener's queue. */
static int meet(struct sim *sim, struct file *client, struct file *listener, bool instant)
{
    struct file *end;
    int err = coil__sim_file_new(listener->sim, FILE_STREAM, listener->domain, SOCK_STREAM, &end);
    if (err < 0)
        return err;
    end->options_n = listener->options_n;
    memcpy(end->options, listener->options, sizeof end->options);
    err = coil__sim_channels_new(sim, client, end, true, instant);
    if (err < 0) {
        coil__free(end);
        return err;
    }
    client->state = end->state = STATE_CONNECTED;
    end->local = client->peer;
    end->peer = client->local;
    list_push(&listener->accept_queue, &end->accept_link);
    listener->accept_n++;
    coil__sim_stir(listener);
    return 0;
}

static void fail(struct sim *sim, struct file *file, int err)
{
    file->state = STATE_FRESH;
    file->error = err;
    file->peer.len = 0;
    coil__sim_stir(file);
}

/* There and back. */
static bool way_is_clogged(const struct sim *sim, const struct file *file)
{
    unsigned here = file->sim->host;
    unsigned there = coil__sim_host_of(here, &file->peer);
    int64_t now = clock_now_ns(sim->b.clock);
    return sim->world->clogged_until[here][there] > now ||
           sim->world->clogged_until[there][here] > now;
}

static void syn_answered(struct sim *sim, struct event *event)
{
    struct file *file = container_of(event, struct file, connecting);
    struct file *listener = coil__sim_unreachable(&file->peer)
                                ? NULL
                                : coil__sim_find(sim, file, &file->peer);
    coil__sim_note(sim, sim_now(sim), file->fd);
    if (coil__sim_unreachable(&file->peer) || way_is_clogged(sim, file)) {
        if (file->connect_tries < SYN_TRIES)
            goto again;
        fail(sim, file, ETIMEDOUT);
        return;
    }
    if (!listener || sim_fault(sim, SIM_REFUSED)) {
        fail(sim, file, ECONNREFUSED);
        return;
    }
    if (listener->accept_n <= listener->backlog && meet(sim, file, listener, false) == 0) {
        coil__sim_stir(file);
        return;
    }
    if (file->connect_tries == SYN_TRIES) {
        fail(sim, file, ETIMEDOUT);
        return;
    }
again:
    coil__sim_schedule(sim, &file->connecting, sim_now(sim) + (SYN_RETRY << file->connect_tries++));
}

int coil__sim_connect(struct sim *sim, struct file *file, const void *a, socklen_t n)
{
    struct name to = {0};
    if (file->kind == FILE_PIPE)
        return -ENOTSOCK;
    if (file->kind == FILE_LISTENER)
        return -EISCONN;
    int err = coil__sim_destination(file, a, n, &to);
    if (err < 0)
        return err;
    if (file->kind == FILE_DATAGRAM) {
        err = coil__sim_autobind(sim, file, &to);
        if (err < 0)
            return err;
        if (file->domain == AF_UNIX && !coil__sim_find(sim, file, &to))
            return coil__sim_nobody(sim, &to);
        file->peer = to;
        file->state = STATE_CONNECTED;
        return 0;
    }
    if (file->state == STATE_CONNECTING)
        return -EINPROGRESS;
    if (file->state != STATE_FRESH)
        return -EISCONN;
    file->error = 0;
    if (file->domain == AF_UNIX) {
        struct file *listener = coil__sim_find(sim, file, &to);
        if (!listener)
            return coil__sim_nobody(sim, &to);
        if (listener->kind != FILE_LISTENER)
            return -ECONNREFUSED;
        if (listener->accept_n > listener->backlog)
            return -EAGAIN;
        file->peer = to;
        return meet(sim, file, listener, true);
    }
    err = coil__sim_autobind(sim, file, &to);
    if (err < 0)
        return err;
    if (!file->connecting.fire) {
        err = coil__sim_event_init(sim, &file->connecting, syn_answered);
        if (err < 0)
            return err;
    }
    file->peer = to;
    file->state = STATE_CONNECTING;
    file->connect_tries = 0;
    coil__sim_schedule(sim, &file->connecting, sim_now(sim) + coil__sim_latency_ns(sim));
    return -EINPROGRESS;
}

int coil__sim_connected(struct sim *sim, struct file *file)
{
    if (file->state == STATE_CONNECTING)
        return -EAGAIN;
    if (file->error) {
        int err = -file->error;
        file->error = 0;
        return err;
    }
    return file->state == STATE_FRESH ? -ECONNABORTED : 0;
}

int coil__sim_accept(struct sim *sim, struct file *file, struct sockaddr_storage *addr,
                     socklen_t *len)
{
    if (file->kind == FILE_DATAGRAM)
        return -EOPNOTSUPP;
    if (file->kind != FILE_LISTENER)
        return -EINVAL;
    struct list *first = list_first(&file->accept_queue);
    if (!first)
        return -EAGAIN;
    struct file *end = container_of(first, struct file, accept_link);
    int fd = coil__sim_file_install(sim, end);
    if (fd < 0)
        return fd;
    list_remove(&end->accept_link);
    file->accept_n--;
    socklen_t n = sizeof *addr;
    if (addr)
        coil__sim_name_copy(&end->peer, end->domain, addr, &n);
    if (addr && len)
        *len = n;
    return fd;
}

void coil__sim_listener_close(struct sim *sim, struct file *file)
{
    struct list *l;
    while ((l = list_pop(&file->accept_queue))) /* they are reset: nobody will ever serve them */
        coil__sim_file_close(sim, container_of(l, struct file, accept_link));
}
