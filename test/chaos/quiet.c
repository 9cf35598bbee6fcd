/* SPDX-License-Identifier: MIT
 *
 * quiet.c: the supervisor as a client: each kind of conversation once at the beginning; at the end, whether a server
 * is as it was then, and whether it rests.
 *
 * It rests if it takes less than 2 % of a core over 2 s: with clients that have gone, hung up, or say nothing; without
 * descriptors, while clients ask; and with nobody there. */
#include "client.h"
#include "supervisor.h"

enum {
    TIMERS = 1, /* the task that counts time has one, or has just been woken by it */
    HANGING = WAYS * HOLDS * 3,
    ASKING = 4,
    HEAP_TOLERANCE = 128 * 1024,
    HEAP_TOLERANCE_EACH = 1024, /* of the connections at a time: lists of free things */
    CHILDREN = 8,
    WARM_CONVERSATIONS = 24
};
static const double REST_S = 2, BUSY_MAX = 0.02, BACK_S = 60;

/* ---- looking ---- */

coil_ret look_at(struct peer *server, struct look *look)
{
    coil_ret rc = peer_command(server, "tell");
    if (coil_iserr(rc))
        return rc;
    const struct server_report *r = &shared->servers[server->number];
    pid_t pid = coil_process_pid(server->process);
    *look = (struct look){.descriptors = proc_descriptors(pid),
                          .tasks = r->stats.tasks,
                          .timers = r->stats.timers,
                          .fds = r->stats.fds,
                          .ops = r->stats.ops,
                          .jobs = r->stats.jobs,
                          .stacks_max = r->stats.stacks_max,
                          .heap_bytes = r->heap_bytes,
                          .anonymous_kb = proc_anonymous_kb(pid)};
    return 0;
}

static bool is_back(const struct look *now, const struct look *then)
{
    return now->descriptors == then->descriptors && now->tasks == then->tasks &&
           now->timers <= TIMERS && now->fds == then->fds && now->ops == then->ops &&
           now->jobs == then->jobs &&
           now->heap_bytes <= then->heap_bytes + HEAP_TOLERANCE +
                                  HEAP_TOLERANCE_EACH * (uint64_t)shared->connections;
}

/* As long as something goes on it may take its time: on a busy machine hundreds of children do. */
static coil_ret wait_until_back(struct peer *server, const struct look *then, struct look *now)
{
    const struct server_report *r = &shared->servers[server->number];
    uint64_t before = UINT64_MAX;
    double limit = 0;
    coil_ret rc;
    while ((rc = look_at(server, now)) == 0 && !is_back(now, then)) {
        uint64_t state = mix(mix(now->tasks, (uint64_t)now->descriptors), r->children_over);
        if (state != before)
            limit = coil_loop_time(NULL) + BACK_S;
        before = state;
        if (coil_loop_time(NULL) > limit || (rc = coil_sleep(0.1)) != 0)
            break;
    }
    if (rc == 0 && !is_back(now, then))
        breach("server %u (%s) does not get back to how it was\n"
               "    then: %d descriptors, %zu tasks, %zu timers, %zu watched, %zu ops, %zu jobs, "
               "%llu bytes\n"
               "    now:  %d descriptors, %zu tasks, %zu timers, %zu watched, %zu ops, %zu jobs, "
               "%llu bytes",
               server->number, server->backend, then->descriptors, then->tasks, then->timers,
               then->fds, then->ops, then->jobs, (unsigned long long)then->heap_bytes,
               now->descriptors, now->tasks, now->timers, now->fds, now->ops, now->jobs,
               (unsigned long long)now->heap_bytes);
    return rc;
}

/* Nothing is to be done: is nothing done? */
static coil_ret must_rest(struct peer *server, const char *when)
{
    pid_t pid = coil_process_pid(server->process);
    int64_t before = proc_cpu_ns(pid);
    coil_ret rc = coil_sleep(REST_S);
    double busy = (double)(proc_cpu_ns(pid) - before) / 1e9 / REST_S;
    if (rc == 0 && busy > BUSY_MAX)
        breach("server %u (%s) takes %.1f %% of a core %s", server->number, server->backend,
               busy * 100, when);
    return rc;
}

/* ---- clients of the supervisor's own ---- */

static struct client_half *row(unsigned server, const struct plan *plan, uint64_t *out_id)
{
    *out_id = atomic_fetch_add(&shared->next, 1);
    struct client_half *half = &shared->table[*out_id].client;
    half->plan = *plan;
    half->server = server;
    half->kills_before = half->kills_after = shared->servers[server].kills;
    half->end = END_NONE;
    half->begun = true;
    return half;
}

static coil_ret converse_with(struct peer *server, const struct plan *plan)
{
    struct talk *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->half = row(server->number, plan, &t->id);
    t->plan = &t->half->plan;
    coil_ret rc = connect_by(plan->way, server->number, &t->reader, &t->writer);
    if (!coil_iserr(rc)) {
        rc = converse(t);
        coil_ignore(coil_writer_finish(t->writer));
    }
    t->half->end = (int32_t)rc;
    free(t);
    return rc;
}

coil_ret warm_up(struct peer *server)
{
    coil_ret rc = 0;
    for (unsigned i = 0; i < WARM_CONVERSATIONS && !coil_iserr(rc); i++) {
        static const uint8_t conducts[] = {CONDUCT_PLAIN, CONDUCT_IMPATIENT, CONDUCT_SEND_FIRST};
        struct plan plan = {.way = (uint8_t)(i % WAYS),
                            .conduct = conducts[i / WAYS % 3],
                            .frames = 12,
                            .payload_max = i % 2 ? FRAME_PAYLOAD_MAX / 4 : 200,
                            .by_pieces = i % 4 < 2,
                            .seed = mix(shared->seed, i)};
        rc = converse_with(server, &plan);
    }
    if (!coil_iserr(rc))
        rc = peer_command(server, "storm %d 1", CHILDREN);
    if (coil_iserr(rc))
        breach("server %u (%s) does not serve on a quiet day: %s", server->number, server->backend,
               coil_strerror(rc));
    struct server_report *r = &shared->servers[server->number];
    double limit = coil_loop_time(NULL) + BACK_S;
    while (!coil_iserr(rc) && r->children_over < CHILDREN && coil_loop_time(NULL) < limit)
        rc = coil_sleep(0.05);
    return coil_iserr(rc) ? rc : coil_sleep(0.2);
}

/* ---- clients that hang ---- */

struct hanging {
    coil_reader *reader;
    coil_writer *writer;
};

/* One of every kind: the server reads, writes, has waited for the descriptor, or does nothing; the client has ended its direction, reset, or is silent. */
static coil_ret hang_up(unsigned server, unsigned kind, struct hanging *out)
{
    struct plan plan = {.way = (uint8_t)(kind % WAYS),
                        .conduct = CONDUCT_HOLD,
                        .frames = 1,
                        .after = kind / WAYS % HOLDS,
                        .seed = kind};
    uint64_t id;
    struct client_half *half = row(server, &plan, &id);
    struct frame *frame = malloc(sizeof *frame);
    coil_ret rc = frame ? connect_by(plan.way, server, &out->reader, &out->writer) : -ENOMEM;
    if (!coil_iserr(rc)) {
        frame_make(frame, id, 0, &plan);
        half->sent = 1;
        rc = frame_send(out->writer, frame);
    }
    free(frame);
    double limit = coil_loop_time(NULL) + BACK_S;
    while (!coil_iserr(rc) && !shared->table[id].server.met && coil_loop_time(NULL) < limit)
        rc = coil_sleep(0.005);
    if (coil_iserr(rc))
        return rc;
    switch (kind / WAYS / HOLDS) {
    case 0: return coil_writer_write_eof(out->writer);
    case 1: reset(out->writer); return 0;
    default: return 0;
    }
}

static coil_ret rest_with_hanging_clients(struct peer *server)
{
    struct hanging clients[HANGING] = {{0}};
    coil_ret rc = peer_command(server, "keep");
    unsigned n = 0;
    while (n < HANGING && !coil_iserr(rc))
        rc = hang_up(server->number, n, &clients[n]), n++;
    if (!coil_iserr(rc))
        rc = coil_sleep(0.3);
    if (!coil_iserr(rc))
        rc = must_rest(server, "while clients hang");
    while (n-- > 0) {
        coil_writer_abort(clients[n].writer);
        coil_ignore(coil_writer_finish(clients[n].writer));
    }
    coil_ret released = peer_command(server, "release");
    return coil_iserr(rc) ? rc : released;
}

static coil_ret rest_without_descriptors(struct peer *server)
{
    struct hanging clients[ASKING] = {{0}};
    coil_ret rc = peer_command(server, "hoard");
    for (unsigned i = 0; i < ASKING && !coil_iserr(rc); i++)
        rc = connect_by(WAY_TCP, server->number, &clients[i].reader, &clients[i].writer);
    if (!coil_iserr(rc))
        rc = must_rest(server, "without descriptors, while clients ask");
    coil_ret given = peer_command(server, "give back");
    for (unsigned i = 0; i < ASKING; i++) {
        coil_writer_abort(clients[i].writer);
        coil_ignore(coil_writer_finish(clients[i].writer));
    }
    return coil_iserr(rc) ? rc : given;
}

/* ---- all of it ---- */

static void look_at_counts(const struct peer *server)
{
    const struct server_report *r = &shared->servers[server->number];
    if (r->counted_signals != server->counted_signals)
        breach("server %u (%s) was sent %llu real-time signals, and counted %llu", server->number,
               server->backend, (unsigned long long)server->counted_signals,
               (unsigned long long)r->counted_signals);
    if (r->children_wrong > 0)
        breach("server %u: %llu children did not end as they should", server->number,
               (unsigned long long)r->children_wrong);
    if (server->killed == 0 && r->children != r->children_over)
        breach("server %u: of %llu children %llu ended", server->number,
               (unsigned long long)r->children, (unsigned long long)r->children_over);
    if (r->ticks_early > 0)
        breach("server %u: %llu timers were early", server->number,
               (unsigned long long)r->ticks_early);
    if (r->reports > 0)
        breach("server %u: the loop told of %llu troubles", server->number,
               (unsigned long long)r->reports);
    int zombies = 0, children = proc_children(coil_process_pid(server->process), &zombies);
    if (children != 0)
        breach("server %u still has %d children, %d of them zombies", server->number, children,
               zombies);
}

coil_ret be_quiet(struct peer *server, const struct look *baseline, struct look *out_look)
{
    coil_ret rc = wait_until_back(server, baseline, out_look);
    if (!coil_iserr(rc))
        rc = rest_with_hanging_clients(server);
    if (!coil_iserr(rc))
        rc = rest_without_descriptors(server);
    if (!coil_iserr(rc))
        rc = wait_until_back(server, baseline, out_look);
    if (!coil_iserr(rc))
        rc = must_rest(server, "with nobody there");
    if (!coil_iserr(rc))
        look_at_counts(server);
    return rc;
}
