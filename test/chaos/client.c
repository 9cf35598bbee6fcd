/* SPDX-License-Identifier: MIT
 *
 * client.c: chaos client FOLDER PROCESS SLOTS BACKEND: many conversations at a time, one after the other, each as a plan
 * says that is drawn for it.
 *
 * It keeps its half of the ledger. It ends when `stop` is set and what was begun is over; it prints nothing. */
#include "client.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static struct {
    unsigned process;
    uint32_t generation;
    coil_tls_context *tls;
} me;

/* ---- connecting ---- */

coil_ret connect_by(enum way way, unsigned server, coil_reader **out_reader,
                    coil_writer **out_writer)
{
    char text[300];
    const struct server_report *report = &shared->servers[server];
    if (way == WAY_UNIX) {
        path_in_folder(text, sizeof text, "socket", server + 1);
        return coil_open_unix_connection(text, NULL, out_reader, out_writer);
    }
    coil_connect_opts opts = {.size = sizeof opts};
    if (way == WAY_TLS) {
        opts.tls = me.tls;
        opts.server_hostname = "host.test";
    }
    snprintf(text, sizeof text, "%d", way == WAY_TLS ? report->tls_port : report->tcp_port);
    return coil_open_connection_with("127.0.0.1", text, &opts, out_reader, out_writer);
}

coil_ret connect_context(void)
{
    char path[300];
    path_in_folder(path, sizeof path, "root.pem", 0);
    coil_ret rc = coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS, &me.tls);
    if (!coil_iserr(rc))
        rc = coil_tls_context_load_verify_locations(me.tls, path, NULL);
    return rc;
}

coil_tls_context *client_tls(void)
{
    return me.tls;
}

/* ---- a conversation ---- */

static coil_ret send_frame(struct talk *t)
{
    if (t->writer)
        return frame_send(t->writer, &t->out);
    return coil_loop_sock_sendall(NULL, t->fd, &t->out, sizeof t->out.head + t->out.head.payload_n,
                                  NULL);
}

static void say_the_end(struct talk *t)
{
    t->half->finished = true;
    if (t->writer)
        coil_ignore(coil_writer_write_eof(t->writer));
    else
        shutdown(t->fd, SHUT_WR);
}

/* The frames after the first, until one cannot be sent. */
static coil_ret speak(void *arg)
{
    struct talk *t = arg;
    struct dice dice = {t->plan->seed ^ 1};
    coil_ret rc = 0;
    uint32_t last = t->plan->frames - (t->plan->conduct == CONDUCT_SILENT);
    for (uint32_t seq = 1; seq < last && !coil_iserr(rc); seq++) {
        frame_make(&t->out, t->id, seq, t->plan);
        t->half->sent = seq + 1;
        rc = send_frame(t);
        if (!coil_iserr(rc) && t->plan->conduct == CONDUCT_RESET_EARLY && one_in(&dice, 8))
            return 0;
        if (!coil_iserr(rc) && one_in(&dice, 60))
            rc = coil_sleep(below(&dice, 60) / 1e3);
    }
    t->spoke = !coil_iserr(rc);
    if (!t->spoke || t->plan->conduct == CONDUCT_RESET || t->plan->conduct == CONDUCT_RESET_EARLY ||
        t->plan->conduct == CONDUCT_SILENT)
        return 0;
    say_the_end(t);
    return 0;
}

/* What comes back, to its end. */
static coil_ret listen_to(struct talk *t)
{
    for (;;) {
        coil_ret rc = frame_receive(&t->in);
        if (rc != 1) {
            t->half->harm |= rc == COIL_EUSER ? HARM_CRC : 0;
            return rc;
        }
        uint32_t seq = t->half->acked;
        t->half->harm |= frame_harm(&t->in.frame, t->id, seq) |
                         (seq >= t->half->sent ? HARM_MORE : 0);
        if (t->half->harm)
            return COIL_EUSER;
        t->half->acked = seq + 1;
        if (t->plan->pace_us > 0 && coil_iserr(rc = coil_sleep(t->plan->pace_us / 1e6)))
            return rc;
        if (seq == 0 && t->only_first)
            return 0;
    }
}

static coil_ret first_echo(struct talk *t)
{
    t->only_first = true;
    coil_ret rc = listen_to(t);
    t->only_first = false;
    return rc;
}

/* It goes without a word of farewell, having made sure of what has arrived. */
static coil_ret speak_and_reset(struct talk *t)
{
    coil_ret rc = t->plan->greeted ? first_echo(t) : 0;
    if (coil_iserr(rc))
        return rc;
    coil_ignore(speak(t));
    if (t->spoke && t->plan->conduct == CONDUCT_RESET && all_is_out(t->writer, t->plan->way))
        t->half->sure = t->half->sent;
    return -ECONNABORTED;
}

/* A part of a frame, and nothing for a while; then a close (0), or an error to reset with. */
static coil_ret stay_silent(struct talk *t)
{
    coil_ret rc = first_echo(t);
    if (coil_iserr(rc))
        return rc;
    frame_make(&t->out, t->id, 1, t->plan);
    if (t->plan->cut == 0)
        t->half->finished = true;
    rc = coil_writer_write(t->writer, &t->out, t->plan->cut);
    if (!coil_iserr(rc))
        rc = coil_sleep(t->plan->hold_ms / 50.0);
    return coil_iserr(rc) ? rc : (t->plan->seed & 1) && t->plan->cut ? -ECONNABORTED : 0;
}

coil_ret converse(struct talk *t)
{
    t->in = (struct receiver){.reader = t->reader,
                              .fd = t->fd,
                              .by_pieces = t->plan->seed & 2,
                              .impatient = t->plan->conduct == CONDUCT_IMPATIENT,
                              .dice = {t->plan->seed ^ 2}};
    frame_make(&t->out, t->id, 0, t->plan);
    t->half->sent = 1;
    coil_ret rc = send_frame(t);
    switch (t->plan->conduct) {
    case CONDUCT_RESET:
    case CONDUCT_RESET_EARLY:
        rc = coil_iserr(rc) ? rc : speak_and_reset(t);
        reset(t->writer);
        return rc;
    case CONDUCT_SILENT:
        rc = coil_iserr(rc) ? rc : stay_silent(t);
        if (coil_iserr(rc))
            reset(t->writer);
        return rc;
    case CONDUCT_SEND_FIRST: coil_ignore(speak(t)); return listen_to(t);
    }
    coil_task_group(speaker);
    coil_group_create_task(&speaker, speak, t);
    rc = listen_to(t);
    if (coil_iserr(rc))
        coil_group_cancel(&speaker);
    return coil_group_exit(&speaker, rc);
}

/* ---- slots ---- */

/* A row of the table; NULL when there is none left. */
static struct client_half *begin(const struct plan *plan, unsigned server, uint32_t kills,
                                 uint64_t *out_id)
{
    uint32_t id = atomic_fetch_add(&shared->next, 1);
    if (id >= CONNECTIONS_MAX) {
        shared->next = CONNECTIONS_MAX;
        return NULL;
    }
    struct client_half *half = &shared->table[id].client;
    half->plan = *plan;
    half->server = server;
    half->process = me.process;
    half->generation = me.generation;
    half->kills_before = kills;
    half->end = END_NONE;
    half->begun = true;
    *out_id = id;
    return half;
}

static coil_ret converse_once(struct talk *t)
{
    if (t->plan->conduct == CONDUCT_GARBAGE)
        return speak_garbage(t);
    if (t->plan->conduct == CONDUCT_BARE)
        return converse_bare(t);
    if (t->plan->conduct == CONDUCT_CUT)
        return converse_cut(t);
    coil_ret rc = connect_by(t->plan->way, t->half->server, &t->reader, &t->writer);
    if (coil_iserr(rc)) {
        t->half->refused = (int32_t)rc;
        return rc;
    }
    rc = converse(t);
    if (coil_iserr(rc))
        coil_writer_abort(t->writer);
    coil_ignore(coil_writer_finish(t->writer));
    return rc;
}

static coil_ret slot(void *seed)
{
    struct dice dice = {(uint64_t)(uintptr_t)seed};
    struct talk *t = calloc(1, sizeof *t);
    coil_ret rc = t ? 0 : -ENOMEM;
    while (!shared->stop && rc != COIL_EEXIT && rc != -ECANCELED && rc != -ENOMEM) {
        unsigned server = below(&dice, SERVERS);
        struct plan plan = plan_draw(&dice);
        rc = coil_sleep(below(&dice, 50) / 1e3);
        /* In this order: a server that is killed is down first, and then counted. */
        uint32_t kills = shared->servers[server].kills;
        if (coil_iserr(rc) || !shared->servers[server].up)
            continue;
        memset(t, 0, sizeof *t);
        t->half = begin(&plan, server, kills, &t->id);
        if (!t->half)
            break;
        t->plan = &t->half->plan;
        rc = converse_once(t);
        t->half->kills_after = shared->servers[server].kills;
        t->half->end = (int32_t)rc;
    }
    free(t);
    return rc == COIL_EEXIT ? rc : 0;
}

static coil_ret program(void *slots)
{
    coil_ret rc = connect_context();
    coil_task_group(group);
    uint64_t seed = mix(shared->seed, mix(me.process, me.generation));
    for (unsigned i = 0; i < (unsigned)(uintptr_t)slots && !coil_iserr(rc); i++)
        coil_group_create_task(&group, slot, (void *)(uintptr_t)mix(seed, i));
    rc = coil_group_exit(&group, rc);
    coil_tls_context_unref(me.tls);
    return rc;
}

int client_main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    me.process = (unsigned)atoi(argv[1]);
    me.generation = shared->clients[me.process].kills;
    coil_run_opts opts = {.size = sizeof opts, .backend = argv[3]};
    return coil_report(
        coil_run_with(program, (void *)(uintptr_t)strtoul(argv[2], NULL, 10), &opts));
}
