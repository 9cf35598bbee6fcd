/* SPDX-License-Identifier: MIT
 *
 * audit.c: both halves of each connection, beside each other, when nobody writes any more.
 *
 *     acked <= echoed <= received <= sent          always, whoever was killed: what was acknowledged was received, once
 *     a clean end means all of it                  on TLS even when a process was killed
 *     what was sure before a reset was received
 *     an end that is not clean has somebody who did it: the plan, or a kill
 *
 * Where a process is killed the kernel ends its TCP and unix connections as if all were well. A unix socket has no reset
 * as long as its closer has read everything. */
#include "supervisor.h"

static bool must_be_whole(const struct plan *plan)
{
    switch (plan->conduct) {
    case CONDUCT_PLAIN:
    case CONDUCT_SLOW:
    case CONDUCT_IMPATIENT:
    case CONDUCT_BARE:
    case CONDUCT_SEND_FIRST:
    case CONDUCT_SERVER_ENDS: return true;
    default: return false;
    }
}

static bool client_was_killed(const struct client_half *c)
{
    return shared->clients[c->process].kills > c->generation;
}

/* While they talked, or before it had come to what was sent to it. */
static bool server_was_killed(const struct connection *row)
{
    const struct client_half *c = &row->client;
    const struct server_half *s = &row->server;
    bool came_to_it = s->met && s->end != END_NONE;
    uint32_t after = c->end == END_NONE || !came_to_it ? shared->servers[c->server].kills
                                                       : c->kills_after;
    return after != c->kills_before;
}

/* May this side's peer seem to have ended well, though it has not? */
static bool may_seem_clean(const struct plan *plan, bool peer_was_killed, bool peer_resets)
{
    return plan->way != WAY_TLS && (peer_was_killed || (plan->way == WAY_UNIX && peer_resets));
}

static const char *wrong_end(const struct connection *row, bool client_killed, bool server_killed)
{
    const struct client_half *c = &row->client;
    const struct server_half *s = &row->server;
    const struct plan *plan = &c->plan;
    bool resets = plan->conduct == CONDUCT_RESET || plan->conduct == CONDUCT_RESET_EARLY;
    if (s->met && s->end == 0 && !(c->finished && s->received == c->sent) &&
        !may_seem_clean(plan, client_killed, resets))
        return "the server took for a clean end what was none";
    if (c->end == 0 && !c->refused && plan->conduct != CONDUCT_SILENT &&
        plan->conduct != CONDUCT_GARBAGE && !(s->finished && c->acked == s->echoed) &&
        !may_seem_clean(plan, server_killed, plan->conduct == CONDUCT_SERVER_RESETS))
        return "the client took for a clean end what was none";
    if (c->sure > s->received && !server_killed)
        return "what had arrived before the client's reset was lost";
    if (s->sure > c->acked && !client_killed)
        return "what had arrived before the server's reset was lost";
    return NULL;
}

static const char *not_whole(const struct connection *row)
{
    const struct client_half *c = &row->client;
    const struct server_half *s = &row->server;
    uint32_t echoes = c->plan.conduct == CONDUCT_SERVER_ENDS ? c->plan.after : c->plan.frames;
    if (c->end != 0 || s->end != 0)
        return "it broke, and nobody had done anything";
    if (c->sent != c->plan.frames || s->received != c->sent || s->echoed != echoes ||
        c->acked != echoes)
        return "both ends were clean, and not all has come";
    return NULL;
}

/* What is wrong with a connection; NULL: nothing. */
static const char *wrong(const struct connection *row)
{
    const struct client_half *c = &row->client;
    const struct server_half *s = &row->server;
    bool client_killed = client_was_killed(c), server_killed = server_was_killed(row);
    if (c->harm & HARM_LATE)
        return "the server kept somebody waiting for ever";
    if (c->harm || s->harm)
        return "a frame came that was not sent so, or not then";
    if (c->acked > s->echoed || s->echoed > s->received || s->received > c->sent)
        return "the counts of both sides cannot be";
    if (c->end == END_NONE && !client_killed)
        return "the client's part never ended";
    if (s->met && s->end == END_NONE && shared->servers[c->server].kills == s->epoch)
        return "the server's part never ended";
    if (c->refused && !server_killed)
        return "it was refused, and a server was there";
    const char *end = wrong_end(row, client_killed, server_killed);
    if (end || client_killed || server_killed || !must_be_whole(&c->plan))
        return end;
    return not_whole(row);
}

static void show(uint32_t id, const struct connection *row, const char *what)
{
    const struct client_half *c = &row->client;
    const struct server_half *s = &row->server;
    breach("connection %u (%s, %s, server %u): %s\n"
           "    client: sent %u of %u, acked %u, sure %u, finished %d, harm %x, end %s%s\n"
           "    server: met %d, received %u, echoed %u, sure %u, finished %d, harm %x, end %s\n"
           "    plan: after %u, cut %u, hold %u ms, payload %u, greeted %d",
           id, way_names[c->plan.way], conduct_names[c->plan.conduct], c->server, what, c->sent,
           c->plan.frames, c->acked, c->sure, c->finished, c->harm,
           c->end == END_NONE ? "none" : coil_errname(c->end), c->refused ? ", refused" : "",
           s->met, s->received, s->echoed, s->sure, s->finished, s->harm,
           s->end == END_NONE ? "none" : coil_errname(s->end), c->plan.after, c->plan.cut,
           c->plan.hold_ms, c->plan.payload_max, c->plan.greeted);
}

void audit(struct tally *tally)
{
    uint32_t n = shared->next < CONNECTIONS_MAX ? shared->next : CONNECTIONS_MAX;
    for (uint32_t id = 0; id < n; id++) {
        const struct connection *row = &shared->table[id];
        const struct client_half *c = &row->client;
        if ((!c->begun && !row->server.met) || c->plan.conduct == CONDUCT_HOLD)
            continue;
        tally->connections++;
        tally->by_conduct[c->plan.conduct]++;
        tally->frames += row->server.received + c->acked;
        if (c->end == 0 && row->server.end == 0)
            tally->whole++;
        else
            tally->broken++;
        const char *what = wrong(row);
        if (what)
            show(id, row, what);
    }
    memset(shared->table, 0, n * sizeof shared->table[0]);
    shared->next = 0;
}
