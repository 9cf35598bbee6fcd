/* SPDX-License-Identifier: MIT
 *
 * datagram.c: messages: each arrives whole, after a latency, or not at all.
 *
 * A message under way belongs to nobody but its event; whom it reaches is decided when it arrives. A full
 * receiver drops it. Between unix sockets the sender waits instead: one that is connected is told when there
 * is room, one that sends by name is not, as in Linux. */
#include "io/sim/sim.h"

#include <errno.h>
#include <string.h>

#define PACKET_MAX  65507u
#define PACKETS_CAP ((size_t)208 * 1024) /* bytes that nobody read, a receiver */

struct packet {
    struct event event;
    struct list link; /* file.packets, once arrived */
    struct name from, to;
    int domain, from_fd;
    unsigned from_host;
    size_t n;
    uint8_t data[];
};

/* Room for any message, not only for a small one: who waits for it then succeeds. */
static bool has_room(const struct file *file)
{
    return file->packets_bytes + PACKET_MAX <= PACKETS_CAP;
}

/* Who is connected to this unix socket has news. */
static void stir_senders(struct sim *sim, const struct file *file)
{
    if (file->domain != AF_UNIX || file->local.len == 0)
        return;
    for (unsigned h = 0; h < SIM_HOSTS; h++) {
        const struct sim *host = sim->world->hosts[h];
        for (uint32_t i = 0; host && i < host->files_size; i++) {
            struct file *other = host->files[i];
            if (other && other->kind == FILE_DATAGRAM && other->state == STATE_CONNECTED &&
                coil__sim_name_same(&other->peer, &file->local))
                coil__sim_stir(other);
        }
    }
}

unsigned coil__sim_datagram_ready(struct sim *sim, struct file *file)
{
    bool in = !list_empty(&file->packets) || file->error || file->shut_in;
    bool out = true;
    if (file->domain == AF_UNIX && file->state == STATE_CONNECTED) {
        const struct file *receiver = coil__sim_find(sim, file, &file->peer);
        out = !receiver || has_room(receiver); /* with nobody there a send fails at once */
    }
    return (in ? OP_IN : 0) | (out ? OP_OUT : 0);
}

static void packet_free(struct sim *sim, struct packet *packet)
{
    coil__sim_event_fini(sim, &packet->event);
    coil__free(packet);
}

static void deliver(struct sim *sim, struct packet *packet, struct file *to)
{
    if (to->packets_bytes + packet->n > PACKETS_CAP || to->shut_in) {
        packet_free(sim, packet);
        return;
    }
    list_push(&to->packets, &packet->link);
    to->packets_bytes += packet->n + sizeof *packet;
    coil__sim_stir(to);
}

static void arrive(struct sim *sim, struct event *event)
{
    struct packet *packet = container_of(event, struct packet, event);
    unsigned to_host = coil__sim_host_of(packet->from_host, &packet->to);
    int64_t clogged_until = sim->world->clogged_until[packet->from_host][to_host];
    if (sim_now(sim) < clogged_until) {
        coil__sim_schedule(sim, event, clogged_until + coil__sim_latency_ns(sim));
        return;
    }
    coil__sim_note(sim, sim_now(sim), (int64_t)packet->n);
    struct file seen_from = {
        .kind = FILE_DATAGRAM, .domain = packet->domain, .type = SOCK_DGRAM, .local = packet->from};
    struct file *to = coil__sim_find(sim, &seen_from, &packet->to);
    if (to) {
        deliver(sim, packet, to);
        return;
    }
    /* Nobody there: a sender that is connected, and still the same, hears of it. */
    struct sim *host = sim->world->hosts[packet->from_host];
    struct file *from = host ? coil__sim_file(host, packet->from_fd) : NULL;
    if (from && from->kind == FILE_DATAGRAM && from->state == STATE_CONNECTED &&
        coil__sim_name_same(&from->peer, &packet->to)) {
        from->error = ECONNREFUSED;
        coil__sim_stir(from);
    }
    packet_free(sim, packet);
}

static int take_error(struct file *file)
{
    int err = -file->error;
    file->error = 0;
    return err;
}

/* Another one of the same, which takes its own time. Without memory there is none. */
static void duplicate(struct sim *sim, const struct packet *packet)
{
    struct packet *twin = coil__alloc(sizeof *twin + packet->n);
    if (!twin)
        return;
    memcpy(twin, packet, sizeof *twin + packet->n);
    list_init(&twin->link);
    if (coil__sim_event_init(sim, &twin->event, arrive) < 0) {
        coil__free(twin);
        return;
    }
    coil__sim_schedule(sim, &twin->event, sim_now(sim) + coil__sim_latency_ns(sim));
}

ssize_t coil__sim_datagram_send(struct sim *sim, struct file *file, const struct msghdr *hdr)
{
    struct name to = file->peer;
    int err = 0;
    if (hdr->msg_namelen > 0)
        err = coil__sim_destination(file, hdr->msg_name, hdr->msg_namelen, &to);
    else if (to.len == 0)
        err = -EDESTADDRREQ;
    if (err < 0)
        return err;
    if (file->error)
        return take_error(file);
    if (file->shut_out)
        return -EPIPE;
    size_t n = 0;
    for (size_t i = 0; i < (size_t)hdr->msg_iovlen; i++)
        n += hdr->msg_iov[i].iov_len;
    if (n > PACKET_MAX)
        return -EMSGSIZE;
    if (sim_fault(sim, SIM_NO_BUFFER))
        return -ENOBUFS;
    err = coil__sim_autobind(sim, file, &to);
    if (err < 0)
        return err;

    struct file *receiver = NULL;
    if (file->domain == AF_UNIX) {
        receiver = coil__sim_find(sim, file, &to);
        if (!receiver)
            return hdr->msg_namelen > 0 ? coil__sim_nobody(sim, &to) : -ECONNREFUSED;
        if (receiver->state == STATE_CONNECTED &&
            !coil__sim_name_same(&receiver->peer, &file->local))
            return -EPERM; /* it listens to somebody else */
        if (receiver->packets_bytes + n > PACKETS_CAP)
            return -EAGAIN;
    }
    struct packet *packet = coil__alloc(sizeof *packet + n);
    if (!packet)
        return -ENOMEM;
    err = coil__sim_event_init(sim, &packet->event, arrive);
    if (err < 0) {
        coil__free(packet);
        return err;
    }
    list_init(&packet->link);
    packet->from = coil__sim_source(sim, file, &to);
    packet->to = to;
    packet->domain = file->domain;
    packet->from_fd = file->fd;
    packet->from_host = file->sim->host;
    packet->n = n;
    uint8_t *at = packet->data;
    for (size_t i = 0; i < (size_t)hdr->msg_iovlen; i++) {
        if (hdr->msg_iov[i].iov_len)
            memcpy(at, hdr->msg_iov[i].iov_base, hdr->msg_iov[i].iov_len);
        at += hdr->msg_iov[i].iov_len;
    }
    if (receiver) {
        deliver(sim, packet, receiver);
        return (ssize_t)n;
    }
    if (coil__sim_unreachable(&to) || sim->dead || sim_fault(sim, SIM_LOSS)) {
        packet_free(sim, packet);
        return (ssize_t)n;
    }
    coil__sim_schedule(sim, &packet->event, sim_now(sim) + coil__sim_latency_ns(sim));
    if (sim_fault(sim, SIM_DUPLICATE))
        duplicate(sim, packet);
    return (ssize_t)n;
}

ssize_t coil__sim_datagram_recv(struct sim *sim, struct file *file, struct msghdr *hdr, int flags)
{
    struct list *first = list_first(&file->packets);
    if (!first) {
        if (file->error)
            return take_error(file);
        return file->shut_in ? 0 : -EAGAIN;
    }
    struct packet *packet = container_of(first, struct packet, link);
    size_t done = 0;
    for (size_t i = 0; i < (size_t)hdr->msg_iovlen && done < packet->n; i++) {
        size_t n = hdr->msg_iov[i].iov_len;
        if (n > packet->n - done)
            n = packet->n - done;
        if (n)
            memcpy(hdr->msg_iov[i].iov_base, packet->data + done, n);
        done += n;
    }
    hdr->msg_flags = done < packet->n ? MSG_TRUNC : 0;
    hdr->msg_controllen = 0;
    if (hdr->msg_name && packet->from.len == 0)
        hdr->msg_namelen = 0; /* who has no name of his own tells none */
    else if (hdr->msg_name)
        coil__sim_name_copy(&packet->from, file->domain, hdr->msg_name, &hdr->msg_namelen);
    ssize_t result = (ssize_t)(flags & MSG_TRUNC ? packet->n : done);
    if (!(flags & MSG_PEEK)) {
        bool was_full = !has_room(file);
        list_remove(&packet->link);
        file->packets_bytes -= packet->n + sizeof *packet;
        packet_free(sim, packet);
        if (was_full && has_room(file))
            stir_senders(sim, file);
    }
    return result;
}

void coil__sim_datagram_close(struct sim *sim, struct file *file)
{
    struct list *l;
    while ((l = list_pop(&file->packets)))
        packet_free(sim, container_of(l, struct packet, link));
    if (file->kind == FILE_DATAGRAM)
        stir_senders(sim, file);
}
