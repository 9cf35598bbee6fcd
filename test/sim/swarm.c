/* SPDX-License-Identifier: MIT
 *
 * swarm.c: runs, one seed after the other: swarm FIRST [COUNT] [OPTION=VALUE]...
 *
 * swarm.h says what a run is. Each one is made twice and must be the same story. Prints, a line each, for tools/sim.py: the
 * seed that begins, what came of it, and what failed. With `once` a run is made once, for a debugger.
 *
 * Options make less of a run: plays=NAME,NAME faults=MASK happenings=MASK clients=N talks=N bytes=N chaos=N
 * seconds=S; `trace` tells each seed's trace. */
#include "swarm.h"

#include "base/probe.h"
#include "loop/loop.h"

#include <stdarg.h>
#include <stdlib.h>

extern struct play play_proxy, play_datagrams, play_queue, play_chat, play_superv, play_httpd,
    play_tls;

/* NULL: what that needs is not here. */
static struct play *const plays[] = {
    &play_proxy, &play_datagrams, &play_queue, &play_chat, &play_superv,
#ifdef SWARM_HTTPD
    &play_httpd,
#else
    NULL,
#endif
#ifdef SWARM_TLS
    &play_tls,
#else
    NULL,
#endif
};
enum { PLAYS = sizeof plays / sizeof *plays };

struct run run;
static struct limits limits = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 1e9};
static const char *plays_wanted; /* NULL: all */

static struct {
    uint64_t runs, runs_of[PLAYS], whole[PLAYS], broken[PLAYS], bytes[PLAYS];
    uint64_t faults, kills, pauses, clogs, handles, instants, trace;
    double simulated_s, traffic_s, idle_s;
} sum;

/* ---- what the plays ask ---- */

void failed(const char *format, ...)
{
    if (run.failed)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(run.failed_text, sizeof run.failed_text, format, args);
    va_end(args);
    run.failed = run.failed_text;
}

void note(uint64_t what)
{
    run.trace = (run.trace ^ what) * UINT64_C(0x100000001b3);
}

double patience(void)
{
    static const double factor[PACES] = {1, 60, 1000};
    return factor[run.pace];
}

double pause_s(struct random *random)
{
    double s = random_below(random, 20000) / 1000.0;
    return run.calm ? s : s * patience();
}

unsigned clients_of(struct play *play, unsigned most)
{
    unsigned n = 1 + random_below(&play->random, most);
    return n < run.limits.clients ? n : run.limits.clients;
}

unsigned talks_of(struct random *random, unsigned most)
{
    unsigned n = 1 + random_below(random, most);
    return n < run.limits.talks ? n : run.limits.talks;
}

/* ---- a run ---- */

static bool is_wanted(const char *name)
{
    const char *at = plays_wanted ? strstr(plays_wanted, name) : name;
    return at && (!plays_wanted || ((at == plays_wanted || at[-1] == ',') &&
                                    (at[strlen(name)] == ',' || !at[strlen(name)])));
}

/* One play, or two, or now and then three; each has chance of its own. */
static void cast(void)
{
    unsigned n = random_below(&run.random, 4);
    n = n == 3 ? 3 : n == 2 ? 2 : 1;
    uint32_t chosen = 0;
    while (n-- > 0)
        chosen |= 1u << random_below(&run.random, PLAYS);
    uint32_t wanted = 0;
    for (unsigned i = 0; i < PLAYS; i++)
        wanted |= plays[i] && is_wanted(plays[i]->name) ? 1u << i : 0;
    if (!(chosen &
          wanted)) /* asked for by name, they come in every run; else the proxy stands in */
        chosen = plays_wanted ? wanted : 1;
    for (unsigned i = 0; i < PLAYS; i++) {
        struct play *play = plays[i];
        if (!play)
            continue;
        play->plays = chosen & wanted & (1u << i);
        play->random.state = run.seed * UINT64_C(0xd1342543de82ef95) + i;
        play->first = NULL;
        play->kills = play->whole = play->broken = play->bytes = 0;
        if (play->plays)
            play->begin(play);
    }
    for (unsigned i = 1; i < run.hosts_n; i++)
        host_switch_on(&run.hosts[i]);
}

static coil_ret last_program(void *arg)
{
    const struct host *host = arg;
    /* Ways that are clogged still open within 20 s. */
    coil_ret rc = coil_sleep(60);
    if (rc == 0 && (rc = host->play->last(arg)) != 0 && rc != COIL_EEXIT)
        failed("%s: faults are over, and a client is not served: %s", host->play->name,
               coil_strerror(rc));
    return 0;
}

/* Whoever comes while a server ends is let in or not; nothing is asked for, but that nothing of it is left. */
static coil_ret latecomer_program(void *arg)
{
    const struct host *host = arg;
    struct random random = {host->seed};
    coil_ret rc = 0;
    for (int i = 0; i < 10 && rc != COIL_EEXIT; i++) {
        coil_reader *reader;
        coil_writer *writer;
        coil_timeout(patient, 2);
        rc = coil_open_connection(host->play->first->address, host->play->port, &reader, &writer);
        if (rc == 0)
            coil_writer_abort(writer);
        if (rc == 0)
            coil_ignore(coil_writer_finish(writer));
        rc = coil_timeout_exit(&patient, rc);
        if (rc != COIL_EEXIT)
            rc = coil_sleep(random_below(&random, 300) / 1e6);
    }
    return 0;
}

static bool time_has_come(void)
{
    return run.now_ns >= run.stop_ns;
}

/* In the middle of latecomers, and now and then short of descriptors. */
static void stop_all(void)
{
    static const struct role latecomer = {.program = latecomer_program};
    unsigned n = run.hosts_n;
    for (unsigned i = 0; i < PLAYS && !run.failed; i++)
        if (plays[i] && plays[i]->plays && plays[i]->port)
            host_add(plays[i], &latecomer);
    for (unsigned i = n; i < run.hosts_n; i++)
        host_switch_on(&run.hosts[i]);
    if (random_below(&run.random, 4) == 0 && (run.limits.faults >> SIM_NO_DESCRIPTOR & 1))
        coil__sim_set_fault(any_backend(), SIM_NO_DESCRIPTOR, 20000);
    if (random_below(&run.random, 4) && (run.limits.faults >> SIM_OVERTAKEN & 1)) {
        coil__sim_set_fault(any_backend(), SIM_OVERTAKEN, 40000);
        coil__sim_set_fault(any_backend(), SIM_LATE, 40000);
    }
    run.stop_ns = run.now_ns + (int64_t)random_below(&run.random, 2000) * NS_PER_US;
    if (!run.failed)
        until(time_has_come, NS_PER_S, false);
    for (unsigned i = 1; i < run.hosts_n; i++)
        if (run.hosts[i].role->serves)
            coil_event_set(&run.hosts[i].stop);
    if (!run.failed && !until(clients_are_over, 60 * NS_PER_S, false))
        failed("the last latecomer does not end");
}

/* When everybody who came is gone, one more client of each play. */
static void calm_down(void)
{
    static const struct role last = {.program = last_program};
    run.calm = true;
    set_faults(false);
    hosts_be_calm();
    bring_back(true);
    int64_t limit_ns = coil__clock_from_seconds(900 + 150 * patience());
    if (!run.failed && !until(clients_are_over, limit_ns, false))
        failed("faults are over, and a client does not end");
    bring_back(true);
    unsigned n = run.hosts_n;
    for (unsigned i = 0; i < PLAYS; i++)
        if (plays[i] && plays[i]->plays && plays[i]->last)
            host_add(plays[i], &last);
    for (unsigned i = n; i < run.hosts_n; i++)
        host_switch_on(&run.hosts[i]);
    if (!run.failed && !until(clients_are_over, limit_ns, false))
        failed("faults are over, and the last client does not end");
    stop_all();
    if (!run.failed && !until(programs_are_over, limit_ns, false))
        failed("a program does not end when it is told to");
}

static void look_at_the_books(void)
{
    for (unsigned i = 1; i < run.hosts_n && !run.failed; i++)
        if (run.hosts[i].loop && sim_of(run.hosts[i].loop->backend)->files_n > 0)
            failed("%s: a descriptor is left", run.hosts[i].play->name);
    for (unsigned i = 0; i < PLAYS && !run.failed; i++)
        if (plays[i] && plays[i]->plays && plays[i]->end)
            plays[i]->end();
    for (unsigned i = 0; i < PLAYS; i++) {
        if (!plays[i])
            continue;
        note(plays[i]->whole);
        note(plays[i]->broken);
        note(plays[i]->bytes);
    }
    note(coil__sim_trace(any_backend()));
}

static void one_run(uint64_t seed)
{
    memset(&run, 0, sizeof run);
    run.seed = seed;
    run.limits = limits;
    run.random.state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    run.hosts_n = 1;
    static const enum pace paces[] = {BRISK, BRISK, SLOW, IDLE};
    run.pace = paces[random_below(&run.random, 4)];
    cast();
    set_faults(true);
    double most_s = 1800 * patience();
    until(clients_are_over,
          coil__clock_from_seconds(most_s < run.limits.seconds ? most_s : run.limits.seconds),
          true);
    run.traffic_s = clock_to_seconds(run.now_ns);
    calm_down();
    if (run.failed && getenv("SWARM_SHOW"))
        hosts_show();
    look_at_the_books();
}

static void clear_stage(void)
{
    for (int fault = 0; fault < SIM_FAULTS; fault++)
        sum.faults += coil__sim_faults(any_backend(), (enum sim_fault)fault);
    for (unsigned i = 1; i < run.hosts_n; i++)
        if (run.hosts[i].loop)
            host_switch_off(&run.hosts[i], false);
}

static void add_up(void)
{
    sum.runs++;
    for (unsigned i = 0; i < PLAYS; i++) {
        if (!plays[i])
            continue;
        sum.runs_of[i] += plays[i]->plays;
        sum.whole[i] += plays[i]->whole;
        sum.broken[i] += plays[i]->broken;
        sum.bytes[i] += plays[i]->bytes;
    }
    sum.kills += run.kills, sum.pauses += run.pauses, sum.clogs += run.clogs;
    sum.handles += run.handles, sum.instants += run.instants;
    sum.simulated_s += clock_to_seconds(run.now_ns);
    sum.traffic_s += run.traffic_s, sum.idle_s += run.idle_s;
    sum.trace = (sum.trace ^ run.trace) * UINT64_C(0x100000001b3);
}

/* ---- the program ---- */

/* One line, which tools/sim.py adds up. */
static void tell_sum(void)
{
    printf(
        "sum {\"runs\": %llu, \"simulated\": %.0f, \"traffic\": %.0f, \"idle\": %.0f, \"handles\": "
        "%llu, "
        "\"instants\": %llu, \"faults\": %llu, \"kills\": %llu, \"pauses\": %llu, \"clogs\": %llu, "
        "\"trace\": \"%016llx\", \"plays\": {",
        (unsigned long long)sum.runs, sum.simulated_s, sum.traffic_s, sum.idle_s,
        (unsigned long long)sum.handles, (unsigned long long)sum.instants,
        (unsigned long long)sum.faults, (unsigned long long)sum.kills,
        (unsigned long long)sum.pauses, (unsigned long long)sum.clogs,
        (unsigned long long)sum.trace);
    const char *comma = "";
    for (unsigned i = 0; i < PLAYS; i++) {
        if (!plays[i])
            continue;
        printf("%s\"%s\": [%llu, %llu, %llu, %llu]", comma, plays[i]->name,
               (unsigned long long)sum.runs_of[i], (unsigned long long)sum.whole[i],
               (unsigned long long)sum.broken[i], (unsigned long long)sum.bytes[i]);
        comma = ", ";
    }
    printf("}, \"probes\": {");
    comma = "";
    for (const struct probe *p = coil__probes(); p; p = p->next, comma = ", ")
        printf("%s\"%s\": %llu", comma, p->name, (unsigned long long)p->count);
    printf("}}\n");
}

static bool read_option(const char *word)
{
    const struct {
        const char *name;
        unsigned *value;
    } numbers[] = {{"faults=", &limits.faults},   {"happenings=", &limits.happenings},
                   {"clients=", &limits.clients}, {"talks=", &limits.talks},
                   {"bytes=", &limits.bytes},     {"chaos=", &limits.chaos}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strncmp(word, numbers[i].name, strlen(numbers[i].name)) == 0) {
            *numbers[i].value = (unsigned)strtoul(word + strlen(numbers[i].name), NULL, 0);
            return true;
        }
    if (strncmp(word, "seconds=", 8) == 0)
        limits.seconds = strtod(word + 8, NULL);
    else if (strncmp(word, "plays=", 6) == 0)
        plays_wanted = word + 6;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, count = 1;
    bool once = false, tell_trace = false;
    int failures = 0;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "once") == 0) {
            once = true;
        } else if (strcmp(argv[i], "trace") == 0) {
            tell_trace = true;
        } else if (argv[i][0] >= '0' && argv[i][0] <= '9') {
            count = strtoull(argv[i], NULL, 0);
        } else if (!read_option(argv[i])) {
            fprintf(stderr, "swarm: no such option: %s\n", argv[i]);
            return 2;
        }
    }
    unsetenv("NOTIFY_SOCKET"); /* a service manager is none of theirs */
    for (uint64_t seed = first; seed < first + count; seed++) {
        printf("seed %llu\n", (unsigned long long)seed);
        fflush(stdout);
        one_run(seed);
        uint64_t trace = run.trace;
        add_up();
        char why[sizeof run.failed_text] = "";
        if (run.failed)
            strcpy(why, run.failed);
        clear_stage();
        if (!once && !*why) {
            uint64_t faults = sum.faults;
            one_run(seed); /* the same story counts once */
            clear_stage();
            sum.faults = faults;
            if (run.trace != trace)
                strcpy(why, "the same seed gave another story");
        }
        if (tell_trace)
            printf("trace %llu %016llx\n", (unsigned long long)seed, (unsigned long long)trace);
        if (*why) {
            printf("FAILED %llu %s\n", (unsigned long long)seed, why);
            failures++;
        }
    }
    tell_sum();
    return failures ? 1 : 0;
}
