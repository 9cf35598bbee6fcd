/* SPDX-License-Identifier: MIT
 *
 * play_datagrams.c: messages that are lost, doubled and overtaken on their way, and a protocol that gets each through once.
 *
 *     clients --message N, again until it is acknowledged--> [ book: an endpoint ] --acknowledged N--> client
 *
 * Ledger: what arrives was sent, whole and by whom it says; in all no more arrives than was sent and doubled by the kernel; what a
 * client was told is in the book is there, once, and nothing is there that was not sent. The book outlives its host, as a
 * disk does. */
#include "swarm.h"

#include <netinet/in.h>
#include <stdlib.h>

enum { MESSAGES_MAX = 16, BYTES_MAX = 60000 };

struct message {
    uint32_t host, number, n, is_answer;
    char bytes[];
};

static struct host *server;
static struct {
    uint32_t written, acknowledged,
        begun; /* messages of that host, which come one after the other */
} book[SIM_HOSTS];
static uint64_t sent, arrived;
static char frame[sizeof(struct message) + BYTES_MAX];

static struct message *make(uint32_t host, uint32_t number, uint32_t n, bool is_answer)
{
    struct message *m = (struct message *)(void *)frame;
    *m = (struct message){host, number, n, is_answer};
    for (uint32_t i = 0; i < n; i++)
        m->bytes[i] = word(host * 64 + number, i);
    return m;
}

/* What may be believed of something that arrived; false: it is not whole, which is a failure. */
static bool is_whole(const struct message *m, size_t n, bool is_answer)
{
    arrived++;
    bool whole = n >= sizeof *m && m->n == n - sizeof *m && m->host < SIM_HOSTS &&
                 m->is_answer == is_answer;
    for (uint32_t i = 0; whole && i < m->n; i++)
        whole = m->bytes[i] == word(m->host * 64 + m->number, i);
    if (!whole)
        failed("datagrams: one arrived that was not sent so");
    if (arrived > sent + coil__sim_faults(any_backend(), SIM_DUPLICATE))
        failed("datagrams: more arrived than were sent");
    server->play->bytes += n;
    return whole;
}

/* ---- the book ---- */

static coil_ret message_came(coil_datagram_transport *transport, const void *data, size_t n,
                             const coil_address *from, void *arg)
{
    const struct message *m = data;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&from->storage;
    if (!is_whole(m, n, false))
        return 0;
    if ((ntohl(in->sin_addr.s_addr) & 0xff) != m->host)
        failed("datagrams: one came from another host than it was sent by");
    if (m->number > book[m->host].begun || m->number > book[m->host].written + 1)
        failed("datagrams: a message came before its time");
    if (m->number == book[m->host].written + 1)
        book[m->host].written++;
    m = make(m->host, m->number, 4, true);
    int rc = coil_datagram_transport_sendto(transport, m, sizeof *m + m->n, from);
    sent += rc == 0;
    return 0;
}

static void error_came(coil_datagram_transport *transport, coil_ret error, void *arg)
{
    if (error == -ENOBUFS) /* it did not leave, and counts too much: harmless */
        note((uint64_t)error);
}

static void is_lost(coil_datagram_transport *transport, coil_ret error, void *arg)
{
    coil_event_set(arg);
}

static coil_ret server_program(void *arg)
{
    static const coil_datagram_protocol protocol = {.size = sizeof protocol,
                                                    .datagram_received = message_came,
                                                    .error_received = error_came,
                                                    .connection_lost = is_lost};
    struct host *host = arg;
    coil_event lost = COIL_EVENT;
    coil_datagram_opts opts = {
        .size = sizeof opts, .local_host = host->address, .local_port = "53"};
    coil_datagram_transport *transport;
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &protocol, &lost, &opts, &transport);
    if (coil_iserr(rc))
        return rc;
    rc = coil_event_wait(&host->stop);
    coil_datagram_transport_close(transport);
    coil_ret closed = coil_event_wait(&lost);
    coil_datagram_transport_unref(transport);
    return coil_iserr(rc) ? rc : closed;
}

/* ---- a client ---- */

/* Until that number is acknowledged, or the time is up; others are late answers to what was asked before. */
static coil_ret wait_for_answer(coil_sock *sock, uint32_t host, uint32_t number)
{
    char buf[200];
    for (;;) {
        coil_ret rc = coil_sock_recv(sock, buf, sizeof buf);
        if (coil_iserr(rc))
            return rc;
        const struct message *m = (const struct message *)(const void *)buf;
        if (!is_whole(m, (size_t)rc, true) || m->host != host || m->number > number)
            failed("datagrams: an answer to what nobody asked");
        if (m->number == number)
            return 0;
    }
}

/* Again and again, ever more slowly, until it is through. */
static coil_ret get_through(coil_sock *sock, uint32_t host, uint32_t number, uint32_t n)
{
    double wait = 0.2;
    for (unsigned tries = 0;; tries++) {
        const struct message *m = make(host, number, n, false);
        coil_ret rc = coil_sock_send(sock, m, sizeof *m + m->n);
        sent += rc >= 0;
        if (!coil_iserr(rc)) {
            coil_timeout(patient, wait);
            rc = coil_timeout_exit(&patient, wait_for_answer(sock, host, number));
        }
        if (rc == 0 || rc == COIL_EEXIT)
            return rc;
        if (rc != -ETIMEDOUT && rc != -ECONNREFUSED && rc != -ENOBUFS)
            failed("datagrams: %s", coil_strerror(rc));
        if (run.calm && tries > 60)
            failed("datagrams: nobody answers, although all is calm");
        if (rc != -ETIMEDOUT && coil_iserr(rc = coil_sleep(wait)))
            return rc;
        wait = wait * 2 < 10 * patience() ? wait * 2 : 10 * patience();
        wait = run.calm && wait > 5 ? 5 : wait;
    }
}

static coil_ret open_sock(coil_sock **out)
{
    coil_address address;
    coil_ret rc = coil_address_parse(server->address, "53", &address);
    if (!coil_iserr(rc))
        rc = coil_sock_new(AF_INET, SOCK_DGRAM, 0, out);
    if (!coil_iserr(rc) && coil_iserr(rc = coil_sock_connect(*out, &address)))
        coil_sock_unref(*out);
    return rc;
}

static coil_ret send_messages(struct random *random, uint32_t host, unsigned n)
{
    coil_sock *sock;
    coil_ret rc;
    while ((rc = open_sock(&sock)) == -EMFILE)
        if (coil_iserr(rc = coil_sleep(1)))
            return rc;
    for (; n > 0 && !coil_iserr(rc); n--) {
        uint32_t size = random_below(random, random_below(random, 4) ? 2000 : BYTES_MAX);
        uint32_t number = ++book[host].begun;
        rc = get_through(sock, host, number, size < run.limits.bytes ? size : run.limits.bytes);
        if (rc == 0) {
            book[host].acknowledged = number;
            server->play->whole++;
            rc = coil_sleep(run.calm ? 0 : pause_s(random));
        }
    }
    coil_sock_unref(sock);
    return rc;
}

static coil_ret client_program(void *arg)
{
    struct host *host = arg;
    struct random random = {host->seed};
    coil_ret rc = 0;
    for (unsigned talks = talks_of(&random, 6); talks > 0 && !run.calm && rc >= 0; talks--)
        rc = send_messages(&random, host->number, 1 + random_below(&random, MESSAGES_MAX));
    return rc;
}

static coil_ret last_client(void *arg)
{
    const struct host *host = arg;
    struct random random = {run.seed};
    return send_messages(&random, host->number, 4);
}

static void begin(struct play *play)
{
    static const struct role server_role = {.program = server_program,
                                            .serves = true,
                                            .mortal = true},
                             client = {.program = client_program};
    memset(book, 0, sizeof book);
    sent = arrived = 0;
    server = host_add(play, &server_role);
    for (unsigned n = clients_of(play, 5); n > 0; n--)
        host_add(play, &client);
}

static void end(void)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        if (book[i].written < book[i].acknowledged || book[i].written > book[i].begun)
            failed("datagrams: the book has %u messages of host %u, who was told of %u",
                   book[i].written, i, book[i].acknowledged);
}

struct play play_datagrams = {.name = "datagrams", .begin = begin, .last = last_client, .end = end};
