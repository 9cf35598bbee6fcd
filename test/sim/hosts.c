/* SPDX-License-Identifier: MIT
 *
 * hosts.c: the hosts of a run: switched on and off, turned in an order drawn from the seed, moved in time together.
 *
 * One thread turns all loops, each once a round; a host that is paused is not turned. When a round did nothing anywhere, time
 * moves to what comes first: a timer, an event of the kernel's, the end of a pause, the next bad thing. */
#include "swarm.h"

#include "loop/loop.h"

#include <time.h>

enum { ROUNDS_MAX = 20000000 };

struct host *host_here(void)
{
    return coil_loop_data(coil_get_running_loop());
}

struct backend *any_backend(void)
{
    for (unsigned i = 1; i < run.hosts_n; i++)
        if (run.hosts[i].loop)
            return run.hosts[i].loop->backend;
    return NULL;
}

/* ---- on and off ---- */

struct host *host_add(struct play *play, const struct role *role)
{
    COIL_CHECK(run.hosts_n < SIM_HOSTS);
    struct host *host = &run.hosts[run.hosts_n];
    *host = (struct host){
        .number = run.hosts_n++, .role = role, .play = play, .seed = random_u64(&play->random)};
    snprintf(host->address, sizeof host->address, "10.0.0.%u", host->number);
    if (!play->first)
        play->first = host;
    return host;
}

/* A server tells when it cannot accept, or gave up sending to a client for want of memory; it does so by design. Anything else is
 * somebody's mistake. */
static void reported(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    const struct host *host = arg;
    const char *message = context->message ? context->message : "?";
    if (!strstr(message, "out of system resource") && context->code != -ENOBUFS)
        failed("%s: the loop reports: %s", host->play->name, message);
}

static void ignore(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

void host_switch_on(struct host *h)
{
    coil_run_opts opts = {
        .size = sizeof opts, .backend = "sim", .virtual_time = true, .seed = run.seed};
    struct backend *other = any_backend();
    coil_loop *loop = coil_new_event_loop(&opts);
    COIL_CHECK(loop && coil__loop_open_backend(loop) == 0);
    loop->clock.virtual_ns = run.now_ns;
    coil__sim_join(loop->backend, h->number, other);
    coil_loop_set_data(loop, h);
    coil_loop_set_exception_handler(loop, reported, h);
    h->loop = loop;
    h->stop = (coil_event)COIL_EVENT;
    h->paused_until = h->back_at = 0;
    h->lives++;
    if (h->role->equip)
        h->role->equip(h);
    coil_task_opts task_opts = {.size = sizeof task_opts, .loop = loop, .name = "program"};
    h->program = coil_create_task_opts(h->role->program, h, &task_opts);
}

void host_switch_off(struct host *h, bool silently)
{
    coil_loop_set_exception_handler(h->loop, ignore, NULL);
    coil__sim_kill(h->loop->backend, silently);
    coil_unref(h->program);
    coil_loop_free(h->loop);
    h->loop = NULL;
    h->program = NULL;
}

/* ---- time ---- */

/* One turn for each that is not paused, in some order. */
static bool turn_all(void)
{
    bool active = false;
    unsigned first = random_below(&run.random, run.hosts_n);
    for (unsigned i = 0; i < run.hosts_n; i++) {
        struct host *h = &run.hosts[(first + i) % run.hosts_n];
        if (!h->loop || h->paused_until > run.now_ns)
            continue;
        COIL_CHECK(coil_loop_collect(h->loop, 0) == 0);
        int n = coil_loop_dispatch(h->loop);
        run.handles += (uint64_t)n;
        note((uint64_t)n);
        if (n > 0 || loop_ready(h->loop) > 0 || !list_empty(&sim_of(h->loop->backend)->stirred))
            active = true;
    }
    return active;
}

static int64_t next_ns(int64_t otherwise)
{
    int64_t next = otherwise;
    for (unsigned i = 1; i < run.hosts_n; i++) {
        const struct host *h = &run.hosts[i];
        int64_t at = CLOCK_FOREVER;
        if (!h->loop)
            continue;
        if (h->paused_until > run.now_ns) {
            at = h->paused_until;
        } else {
            const struct heap_entry *timer = heap_min(&h->loop->timers);
            int64_t event = h->loop->backend->cls->next_event_ns(h->loop->backend);
            at = timer && timer->key < event ? timer->key : event;
        }
        next = at < next ? at : next;
    }
    return next;
}

static void move_to(int64_t when_ns)
{
    if (when_ns > run.now_ns + 60 * NS_PER_S)
        run.idle_s += clock_to_seconds(when_ns - run.now_ns);
    if (when_ns > run.now_ns)
        run.now_ns = when_ns;
    run.instants++;
    for (unsigned i = 1; i < run.hosts_n; i++)
        if (run.hosts[i].loop)
            clock_advance_to(&run.hosts[i].loop->clock, run.now_ns);
}

bool until(bool (*over)(void), int64_t limit_ns, bool chaos)
{
    int64_t end = run.now_ns + limit_ns, next_chaos = chaos ? run.now_ns : CLOCK_FOREVER;
    for (long rounds = 0; !over() && !run.failed; rounds++) {
        if (rounds > ROUNDS_MAX || run.now_ns > end)
            return false;
        if (chaos)
            bring_back(false);
        if (run.now_ns >= next_chaos) {
            something_happens();
            next_chaos = run.now_ns + until_next_chaos_ns();
        }
        if (!turn_all())
            move_to(next_ns(next_chaos < end ? next_chaos : end + 1));
    }
    return true;
}

/* In place of the C library's, also for OpenSSL, which signs what it says of time: the hour must be the story's. */
time_t time(time_t *out)
{
    time_t now = 1800000000 + (time_t)(run.now_ns / NS_PER_S);
    if (out)
        *out = now;
    return now;
}

/* ---- where everybody stands ---- */

static bool are_over(bool serves)
{
    for (unsigned i = 1; i < run.hosts_n; i++) {
        const struct host *h = &run.hosts[i];
        if (h->role->serves == serves && (h->loop ? !coil_future_done(h->program) : h->back_at > 0))
            return false;
    }
    return true;
}

bool clients_are_over(void)
{
    return are_over(false);
}

bool programs_are_over(void)
{
    return are_over(true);
}

void hosts_be_calm(void)
{
    for (unsigned i = 1; i < run.hosts_n; i++)
        run.hosts[i].paused_until = 0;
}

void hosts_show(void)
{
    for (unsigned i = 1; i < run.hosts_n; i++) {
        const struct host *h = &run.hosts[i];
        if (!h->loop)
            continue;
        coil_loop_stats_t stats = {.size = sizeof stats};
        coil_loop_stats(h->loop, &stats);
        printf("host %u (%s, %s) at %.3f s: %zu tasks, %zu ready, %zu timers, %zu ops; program %s "
               "on %s, "
               "%zu files\n",
               i, h->play->name, h->role->serves ? "serves" : "client",
               clock_to_seconds(h->loop->clock.virtual_ns), stats.tasks, stats.ready, stats.timers,
               stats.ops, coil_future_done(h->program) ? "over" : "waits",
               coil_future_done(h->program) ? "-" : coil_task_waiting_on(h->program),
               (size_t)sim_of(h->loop->backend)->files_n);
    }
}
