/* SPDX-License-Identifier: MIT
 *
 * swarm.c: random bad days: swarm FIRST COUNT [-v]
 *
 *     host 3.. clients --+
 *     host 4..           +--> host 2: examples/proxy.c --> host 1: an echo server        all on io/sim, one world
 *
 * Every run draws from its seed which faults there are and how often, which hosts are paused, cut off from each other,
 * killed or switched off, and when. A client checks every byte that comes back against what it sent: a clean end
 * means all of it, anything else a correct beginning. Then the faults end, and everything must come to its end in bounded
 * virtual time: a last client is served whole, SIGTERM ends the programs, no descriptor is left. Each run is made
 * twice, and must be the same story. A failure prints the command that repeats it.
 *
 * The programs are those of examples/, compiled here with another main. One thread turns all loops, in an order drawn
 * from the seed; a host that is paused is not turned. */
#include "base/random.h"
#include "io/sim/sim.h"
#include "loop/loop.h"

#include <coil.h>

#include <stdio.h>
#include <stdlib.h>

/* ---- a host, as the programs see it ---- */

struct host {
    unsigned number;
    coil_loop *loop; /* NULL: switched off */
    coil_task *program;
    coil_event stop;
    int64_t paused_until, back_at;
};

static struct host *host_here(void)
{
    return coil_loop_data(coil_get_running_loop());
}

#include "../../examples/program.h"
static int host_stop_signal(coil_callback_fn fn, void *arg)
{
    return 0; /* nobody sends a second one */
}
static int host_stop_signals(void)
{
    return 0;
}
int proxy_main(int argc, char **argv);

#define catch_stop_signals       host_stop_signals
#define on_stop_signal           host_stop_signal
#define wait_for_stop_signal()   coil_event_wait(&host_here()->stop)
#define raise_descriptor_limit() 1000
#define printf(...)              ((void)0)
#define fprintf(...)             ((void)0)
#define main                     proxy_main
#define coil_run(fn, arg)        fn(arg) /* main is in a task already */
#define coil_report(rc)          ((int)(rc))
#define serve                    proxy_serve
#include "../../examples/proxy.c"
#undef main
#undef coil_run
#undef coil_report
#undef printf
#undef fprintf
#undef serve

enum {
    ECHO = 1,
    PROXY = 2,
    FIRST_CLIENT = 3,
    CLIENTS_MAX_HERE = 6,
    HOSTS = 16,
    ROUNDS_MAX = 4000000
};

static struct {
    uint64_t seed;
    struct random random; /* of the driver; the kernel has its own */
    struct host hosts[HOSTS];
    unsigned hosts_n;
    int64_t now_ns;
    bool calm; /* no faults any more */
    const char *failed;
    uint64_t bytes, whole, broken, kills, pauses, clogs, faults;
} run;

static unsigned allowed = ~0u; /* which faults may be, by bit: SIM_SHORT_IO is 1 */
static uint64_t trace;
static double simulated_s, traffic_s;

static void failed(const char *what)
{
    if (!run.failed)
        run.failed = what;
}

static uint32_t below(uint32_t n)
{
    return random_below(&run.random, n);
}

/* ---- the echo server, and a client with its ledger ---- */

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *arg)
{
    char buf[5000];
    coil_ret rc;
    while ((rc = coil_reader_read(reader, buf, sizeof buf)) > 0) {
        rc = coil_writer_write(writer, buf, (size_t)rc);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(writer);
        if (coil_iserr(rc))
            break;
    }
    if (coil_iserr(rc))
        reset(writer); /* whoever reads must not take this for the end */
    return rc == COIL_EEXIT ? rc : 0;
}

static coil_ret echo_program(void *arg)
{
    coil_server *server;
    coil_ret rc = coil_start_server(echo, NULL, "10.0.0.1", "7", &server);
    if (coil_iserr(rc))
        return rc;
    rc = coil_event_wait(&host_here()->stop);
    coil_server_close(server);
    coil_server_abort_clients(server);
    coil_ret closed = coil_server_wait_closed(server);
    coil_server_free(server);
    return coil_iserr(rc) ? rc : closed;
}

static coil_ret proxy_program(void *arg)
{
    char own[] = "10.0.0.2:7", backend[] = "10.0.0.1", port[] = "7", name[] = "proxy";
    char *argv[] = {name, own, backend, port, NULL};
    return proxy_main(4, argv);
}

static char word(uint64_t id, size_t at)
{
    return (char)(id * 131 + at * 7 + at / 255 + at / 65536);
}

struct speech {
    uint64_t id, seed;
    size_t n;
    uint64_t kills; /* before; the kernel ends the streams of who is killed, as if all were well */
    coil_writer *writer;
};

static coil_ret speak(void *arg)
{
    struct speech *s = arg;
    struct random random = {s->seed};
    char piece[4000];
    for (size_t at = 0; at < s->n;) {
        size_t n = 1 + random_below(&random, sizeof piece);
        n = n < s->n - at ? n : s->n - at;
        for (size_t i = 0; i < n; i++)
            piece[i] = word(s->id, at + i);
        coil_ret rc = coil_writer_write(s->writer, piece, n);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(s->writer);
        if (!coil_iserr(rc) && random_below(&random, 40) == 0)
            rc = coil_sleep(random_below(&random, 3000) / 1000.0);
        if (coil_iserr(rc))
            return rc;
        at += n;
    }
    return coil_writer_write_eof(s->writer);
}

/* What comes back, until the end; an error after a correct beginning. */
static coil_ret listen_to(const struct speech *s, coil_reader *reader, struct random *random)
{
    char buf[3000];
    size_t at = 0;
    coil_ret rc;
    while ((rc = coil_reader_read(reader, buf, 1 + random_below(random, sizeof buf))) > 0) {
        for (size_t i = 0; i < (size_t)rc; i++)
            if (at + i >= s->n || buf[i] != word(s->id, at + i))
                failed("a byte came back that was not sent there");
        at += (size_t)rc;
        run.bytes += (size_t)rc;
        if (random_below(random, 50) == 0 && coil_iserr(rc = coil_sleep(0.5)))
            break;
    }
    if (rc == 0 && at != s->n && run.kills != s->kills)
        return -ECONNABORTED;
    if (rc == 0 && at != s->n)
        failed("a clean end, and not all has come");
    return rc;
}

static coil_ret converse(uint64_t seed, double deadline_s)
{
    struct random random = {seed};
    struct speech s = {.kills = run.kills};
    s.id = random_u64(&random);
    s.seed = random_u64(&random);
    s.n = random_below(&random, 2) ? random_below(&random, 200) : random_below(&random, 200000);
    coil_reader *reader;
    coil_writer *writer;
    coil_timeout(deadline, deadline_s);
    coil_ret rc = coil_open_connection("10.0.0.2", "7", &reader, &writer);
    if (!coil_iserr(rc)) {
        s.writer = writer;
        coil_task_group(speaker);
        coil_group_create_task(&speaker, speak, &s);
        rc = coil_group_exit(&speaker, listen_to(&s, reader, &random));
        if (coil_iserr(rc))
            coil_writer_abort(writer);
        coil_ignore(coil_writer_finish(writer));
    }
    return coil_timeout_exit(&deadline, rc);
}

static coil_ret client_program(void *arg)
{
    struct random random = {(uint64_t)(uintptr_t)arg};
    for (int talks = 1 + (int)random_below(&random, 8); talks > 0 && !run.calm; talks--) {
        uint64_t seed = random_u64(&random);
        coil_ret rc = converse(seed, 1 + random_below(&random, 120));
        if (rc == 0)
            run.whole++;
        else
            run.broken++;
        if (rc == COIL_EEXIT || coil_iserr(rc = coil_sleep(random_below(&random, 20))))
            return rc;
    }
    return 0;
}

static coil_ret last_client(void *arg)
{
    /* Ways that are clogged still open within 20 s. */
    if (coil_sleep(60) == 0 && converse(run.seed, 600) != 0)
        failed("faults are over, and a client is not served");
    return 0;
}

/* ---- hosts ---- */

static void switch_on(struct host *h, coil_fn program, void *arg)
{
    coil_run_opts opts = {
        .size = sizeof opts, .backend = "sim", .virtual_time = true, .seed = run.seed};
    struct backend *other = NULL;
    for (unsigned i = 1; i < run.hosts_n; i++)
        if (run.hosts[i].loop)
            other = run.hosts[i].loop->backend;
    coil_loop *loop = coil_new_event_loop(&opts);
    COIL_CHECK(loop && coil__loop_open_backend(loop) == 0);
    loop->clock.virtual_ns = run.now_ns;
    coil__sim_join(loop->backend, h->number, other);
    coil_loop_set_data(loop, h);
    h->loop = loop;
    h->stop = (coil_event)COIL_EVENT;
    h->paused_until = h->back_at = 0;
    coil_task_opts task_opts = {.size = sizeof task_opts, .loop = loop, .name = "program"};
    h->program = coil_create_task_opts(program, arg, &task_opts);
}

static void ignore(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

static void switch_off(struct host *h, bool silently)
{
    coil_loop_set_exception_handler(h->loop, ignore, NULL);
    coil__sim_kill(h->loop->backend, silently);
    coil_unref(h->program);
    coil_loop_free(h->loop);
    h->loop = NULL;
    h->program = NULL;
}

/* One turn for each that is not paused, in some order. */
static bool turn_all(void)
{
    bool active = false;
    unsigned first = below(run.hosts_n);
    for (unsigned i = 0; i < run.hosts_n; i++) {
        struct host *h = &run.hosts[(first + i) % run.hosts_n];
        if (!h->loop || h->paused_until > run.now_ns)
            continue;
        COIL_CHECK(coil_loop_collect(h->loop, 0) == 0);
        int n = coil_loop_dispatch(h->loop);
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
    if (when_ns > run.now_ns)
        run.now_ns = when_ns;
    for (unsigned i = 1; i < run.hosts_n; i++)
        if (run.hosts[i].loop)
            clock_advance_to(&run.hosts[i].loop->clock, run.now_ns);
}

static struct backend *any(void)
{
    for (unsigned i = 1; i < run.hosts_n; i++)
        if (run.hosts[i].loop)
            return run.hosts[i].loop->backend;
    return NULL;
}

static bool clients_are_over(void)
{
    for (unsigned i = FIRST_CLIENT; i < run.hosts_n; i++)
        if (run.hosts[i].loop && !coil_future_done(run.hosts[i].program))
            return false;
    return true;
}

static bool programs_are_over(void)
{
    return coil_future_done(run.hosts[PROXY].program) && coil_future_done(run.hosts[ECHO].program);
}

/* ---- chaos ---- */

static void set_faults(bool on)
{
    /* A third of the kinds, each with a rate of its own. */
    for (int fault = 0; fault < SIM_FAULTS; fault++) {
        static const uint16_t most[SIM_FAULTS] = {40000, 3000,  2000,  100, 20000,
                                                  20000, 10000, 30000, 3000};
        uint16_t chance = below(3) == 0 ? (uint16_t)below(most[fault]) : 0;
        coil__sim_set_fault(any(), (enum sim_fault)fault,
                            on && (allowed >> fault & 1) ? chance : 0);
    }
}

static void something_happens(void)
{
    struct host *h = &run.hosts[1 + below(run.hosts_n - 1)];
    int64_t for_ns = (int64_t)(1 + below(20000)) * NS_PER_MS;
    switch (below(6)) {
    case 0:
    case 1: /* a random part of the ways is clogged, and opens again in another order */
        for (unsigned i = 1; i < run.hosts_n; i++)
            if (below(2)) {
                coil__sim_clog(any(), i, h->number, run.now_ns + below(20000) * NS_PER_MS);
                run.clogs++;
            }
        break;
    case 2:
    case 3:
        h->paused_until = run.now_ns + for_ns;
        run.pauses++;
        break;
    case 4:
        if (h->loop && h->number < FIRST_CLIENT) {
            bool silently = below(2);
            run.kills++;
            switch_off(h, silently);
            h->back_at = run.now_ns + for_ns;
        }
        break;
    case 5: set_faults(true); break;
    }
}

static void bring_back(bool all)
{
    for (unsigned i = ECHO; i <= PROXY; i++)
        if (!run.hosts[i].loop && (all || run.hosts[i].back_at <= run.now_ns))
            switch_on(&run.hosts[i], i == ECHO ? echo_program : proxy_program, NULL);
        else if (run.hosts[i].loop && coil_future_done(run.hosts[i].program) &&
                 (all || run.hosts[i].back_at <= run.now_ns)) {
            /* It failed to start, for want of a descriptor: again, as a supervisor would. */
            run.kills++;
            switch_off(&run.hosts[i], false);
            switch_on(&run.hosts[i], i == ECHO ? echo_program : proxy_program, NULL);
            run.hosts[i].back_at = run.now_ns + NS_PER_S;
        }
}

/* Turn everything until it is over; false if that takes longer than so much virtual time. */
static bool until(bool (*over)(void), int64_t limit_ns, bool chaos)
{
    int64_t end = run.now_ns + limit_ns, next_chaos = chaos ? run.now_ns : CLOCK_FOREVER;
    for (long rounds = 0; !over(); rounds++) {
        if (rounds > ROUNDS_MAX || run.now_ns > end)
            return false;
        if (chaos)
            bring_back(false);
        if (run.now_ns >= next_chaos) {
            something_happens();
            next_chaos = run.now_ns + (int64_t)(1 + below(5000)) * NS_PER_MS;
        }
        if (!turn_all())
            move_to(next_ns(next_chaos < end ? next_chaos : end + 1));
    }
    return true;
}

/* What a failure looks like from outside. */
static void show(void)
{
    for (unsigned i = 1; i < run.hosts_n; i++) {
        struct host *h = &run.hosts[i];
        if (!h->loop)
            continue;
        coil_loop_stats_t stats = {.size = sizeof stats};
        coil_loop_stats(h->loop, &stats);
        printf("host %u at %.3f s: %zu tasks, %zu ready, %zu timers, %zu ops; program %s on %s, "
               "%zu files\n",
               i, clock_to_seconds(h->loop->clock.virtual_ns), stats.tasks, stats.ready,
               stats.timers, stats.ops, coil_future_done(h->program) ? "over" : "waits",
               coil_future_done(h->program) ? "-" : coil_task_waiting_on(h->program),
               (size_t)sim_of(h->loop->backend)->files_n);
    }
}

static void one_run(uint64_t seed)
{
    memset(&run, 0, sizeof run);
    run.seed = seed;
    run.random.state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    run.hosts_n = FIRST_CLIENT + 1 + below(CLIENTS_MAX_HERE);
    for (unsigned i = 0; i < run.hosts_n; i++)
        run.hosts[i].number = i;
    for (unsigned i = 1; i < run.hosts_n; i++)
        switch_on(&run.hosts[i],
                  i == ECHO    ? echo_program
                  : i == PROXY ? proxy_program
                               : client_program,
                  (void *)(uintptr_t)random_u64(&run.random));
    set_faults(true);
    until(clients_are_over, 1800 * NS_PER_S, true);
    traffic_s += clock_to_seconds(run.now_ns);

    run.calm = true;
    set_faults(false);
    for (unsigned i = 1; i < run.hosts_n; i++)
        run.hosts[i].paused_until = 0;
    bring_back(true);
    if (!until(clients_are_over, 900 * NS_PER_S, false))
        failed("faults are over, and a client does not end");
    bring_back(true);
    struct host *h = &run.hosts[FIRST_CLIENT];
    switch_off(h, false);
    switch_on(h, last_client, NULL);
    if (!run.failed && !until(clients_are_over, 900 * NS_PER_S, false)) {
        show();
        failed("faults are over, and the last client does not end");
    }
    for (unsigned i = ECHO; i <= PROXY; i++) {
        coil_event_set(&run.hosts[i].stop);
    }
    if (!run.failed && !until(programs_are_over, 900 * NS_PER_S, false))
        failed("a program does not end when it is told to");
    for (unsigned i = 1; i < run.hosts_n && !run.failed; i++)
        if (run.hosts[i].loop && sim_of(run.hosts[i].loop->backend)->files_n > 0)
            failed("a descriptor is left");
    trace = coil__sim_trace(any());
    for (int fault = 0; fault < SIM_FAULTS; fault++)
        run.faults += coil__sim_faults(any(), (enum sim_fault)fault);
    simulated_s += clock_to_seconds(run.now_ns);
    for (unsigned i = 1; i < run.hosts_n; i++)
        if (run.hosts[i].loop)
            switch_off(&run.hosts[i], false);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 100;
    if (argc > 3)
        allowed = (unsigned)strtoul(argv[3], NULL, 0);
    uint64_t bytes = 0, whole = 0, broken = 0, kills = 0, pauses = 0, clogs = 0, faults = 0,
             all = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        one_run(seed);
        uint64_t once = trace;
        const char *why = run.failed;
        bytes += run.bytes, whole += run.whole, broken += run.broken, faults += run.faults;
        kills += run.kills, pauses += run.pauses, clogs += run.clogs;
        double simulated = simulated_s, traffic = traffic_s;
        one_run(seed);
        simulated_s = simulated, traffic_s = traffic; /* the same story counts once */
        if (!why && trace != once)
            why = "the same seed gave another story";
        all = (all ^ once) * UINT64_C(0x100000001b3);
        if (why) {
            printf("FAILED seed %llu: %s\nrepeat: ./dev sim --replay %llu\n",
                   (unsigned long long)seed, why, (unsigned long long)seed);
            return 1;
        }
    }
    printf("%llu runs from seed %llu, each twice: %.0f s simulated (%.0f s of them under faults), "
           "%llu faults, %llu kills, "
           "%llu pauses, %llu clogs; %llu exchanges whole, %llu broken off, %llu bytes; trace "
           "%016llx\n",
           (unsigned long long)count, (unsigned long long)first, simulated_s, traffic_s,
           (unsigned long long)faults, (unsigned long long)kills, (unsigned long long)pauses,
           (unsigned long long)clogs, (unsigned long long)whole, (unsigned long long)broken,
           (unsigned long long)bytes, (unsigned long long)all);
    return 0;
}
