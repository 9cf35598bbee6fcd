/* SPDX-License-Identifier: MIT
 *
 * supervisor.c: chaos run SECONDS CONNECTIONS SEED BACKEND [SOAK_SECONDS CSV]: two servers, some clients, a time of torments, a quiet time, and
 * the books are compared.
 *
 *     warm up -> baseline -> [ clients, torments -> all go on, clients end -> quiet -> audit ] -> SIGTERM
 *                            chaos does this once, a soak again and again
 *
 * Ends with 0, or with 1 and the command that repeats it. What it made is gone afterwards: its children die with it, its
 * folder is removed. */
#include "supervisor.h"

#include "ca.h"
#include "client.h"

#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

enum { SKIPPED = 77, SLOTS_EACH = 25, BREACHES_SHOWN = 20 };
static const double CLIENTS_END_S = 90, SERVERS_END_S = 60;

unsigned breaches;
static bool begun;

void breach(const char *format, ...)
{
    if (++breaches > BREACHES_SHOWN)
        return;
    va_list args;
    va_start(args, format);
    fputs("BREACH: ", stdout);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    fflush(stdout);
}

/* ---- the folder ---- */

static int make_folder(char *path, size_t n)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(path, n, "%s/coil-chaos-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(path) ? 0 : -errno;
}

static void remove_folder(void)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(folder);
}

/* ---- a round ---- */

static coil_ret start_clients(struct cast *cast, const struct options *options, struct dice *dice)
{
    static const char *const others[] = {"epoll", "poll"};
    unsigned each = options->connections / 8 > SLOTS_EACH ? options->connections / 8 : SLOTS_EACH;
    unsigned left = options->connections;
    coil_ret rc = 0;
    for (cast->clients_n = 0; left > 0 && !coil_iserr(rc); cast->clients_n++) {
        struct peer *p = &cast->clients[cast->clients_n];
        *p = (struct peer){.number = cast->clients_n, .slots = left < each ? left : each};
        uint32_t which = below(dice, 3);
        p->backend = which < 2 ? others[which] : options->backend;
        left -= p->slots;
        rc = peer_start(p);
    }
    return rc;
}

static coil_ret end_clients(struct cast *cast)
{
    coil_ret rc = 0;
    shared->stop = true;
    double end = coil_loop_time(NULL) + CLIENTS_END_S;
    for (unsigned i = 0; i < cast->clients_n && !coil_iserr(rc); i++) {
        double left = end - coil_loop_time(NULL);
        rc = peer_ends(&cast->clients[i], left > 1 ? left : 1);
    }
    return rc;
}

struct quiet {
    struct peer *server;
    const struct look *baseline;
    struct look *look;
};

static coil_ret quiet(void *arg)
{
    struct quiet *q = arg;
    return be_quiet(q->server, q->baseline, q->look);
}

static coil_ret all_quiet(struct cast *cast, const struct look *baseline, struct look *looks)
{
    coil_task_group(group);
    for (int i = 0; i < SERVERS; i++) {
        struct quiet one = {&cast->servers[i], &baseline[i], &looks[i]};
        coil_group_create_task_with(&group, quiet, &one, sizeof one);
    }
    return coil_group_exit(&group, 0);
}

static coil_ret one_round(struct cast *cast, const struct options *options, uint64_t seed,
                          const struct look *baseline, struct look *looks, struct tally *tally)
{
    struct dice dice = {seed};
    shared->seed = seed;
    shared->stop = false;
    coil_ret rc = start_clients(cast, options, &dice);
    if (!coil_iserr(rc))
        rc = torment(cast, options->seconds, roll(&dice));
    if (!coil_iserr(rc))
        rc = end_clients(cast);
    if (!coil_iserr(rc) && breaches == 0)
        rc = all_quiet(cast, baseline, looks);
    if (!coil_iserr(rc))
        audit(tally);
    return rc;
}

/* ---- the run ---- */

static coil_ret start_servers(struct cast *cast, const struct options *options,
                              struct look *baseline)
{
    coil_ret rc = connect_context();
    for (unsigned i = 0; i < SERVERS && !coil_iserr(rc); i++) {
        struct peer *server = &cast->servers[i];
        *server = (struct peer){.is_server = true, .number = i, .backend = options->backend};
        rc = peer_start(server);
        if (!coil_iserr(rc))
            rc = warm_up(server);
        if (!coil_iserr(rc))
            rc = look_at(server, &baseline[i]);
    }
    return rc;
}

static coil_ret end_servers(struct cast *cast)
{
    coil_ret rc = 0;
    for (unsigned i = 0; i < SERVERS && !coil_iserr(rc); i++) {
        struct peer *server = &cast->servers[i];
        if (server->process)
            coil_ignore(coil_process_terminate(server->process));
        rc = peer_ends(server, SERVERS_END_S);
    }
    return rc;
}

static void sum_up(const struct options *options, const struct tally *t, const struct look *then,
                   const struct look *now)
{
    printf("chaos: %s: %u s, %u connections at a time, seed %llu: %lu connections, %lu of them "
           "whole, %lu frames checked; %lu stops, %lu clients and %lu servers killed, %lu times "
           "without descriptors, %lu storms, %llu children, %lu signals, %lu steps of the clock; "
           "%u breaches\n",
           options->backend, options->seconds, options->connections,
           (unsigned long long)options->seed, t->connections, t->whole, t->frames, torments.stops,
           torments.client_kills, torments.server_kills, torments.hogs, torments.storms,
           (unsigned long long)(shared->servers[0].children + shared->servers[1].children),
           torments.signals, torments.clock_steps, breaches);
    for (int i = 0; i < CONDUCTS; i++)
        if (t->by_conduct[i] > 0)
            printf("%s %lu%s", conduct_names[i], t->by_conduct[i],
                   i < CONDUCT_GARBAGE ? ", " : "\n");
    printf("the steady server: %d descriptors, %llu bytes of heap, %ld KiB; at the beginning %d, "
           "%llu, %ld\n",
           now->descriptors, (unsigned long long)now->heap_bytes, now->anonymous_kb,
           then->descriptors, (unsigned long long)then->heap_bytes, then->anonymous_kb);
}

/* One round, or one after the other; a breach ends them. */
static coil_ret all_rounds(struct cast *cast, const struct options *options,
                           const struct look *baseline, struct look *looks, struct tally *tally)
{
    double end = coil_loop_time(NULL) + options->soak_s;
    coil_ret rc = 0;
    for (unsigned round = 0; !coil_iserr(rc) && breaches == 0; round++) {
        uint64_t seed = round == 0 ? options->seed : mix(options->seed, round);
        rc = one_round(cast, options, seed, baseline, looks, tally);
        if (!coil_iserr(rc) && !sample_take(&looks[STEADY], tally->connections))
            rc = -ENOMEM;
        if (coil_loop_time(NULL) >= end)
            break;
        fprintf(stderr, "soak: %s: round %u (seed %llu) is over, %.0f s left; %lu connections\n",
                options->backend, round, (unsigned long long)seed, end - coil_loop_time(NULL),
                tally->connections);
    }
    if (options->soak_s > 0)
        samples_judge(options->csv);
    return rc;
}

static void end_it(void *task)
{
    coil_task_cancel(task, NULL);
}

static coil_ret program(void *arg)
{
    const struct options *options = arg;
    begun = true;
    coil_ignore(coil_loop_add_signal_handler(NULL, SIGTERM, end_it, coil_current_task()));
    struct cast *cast = calloc(1, sizeof *cast);
    struct look baseline[SERVERS], looks[SERVERS] = {{0}};
    struct tally tally = {0}, warm = {0};
    coil_ret rc = cast ? start_servers(cast, options, baseline) : -ENOMEM;
    if (!coil_iserr(rc))
        audit(&warm);
    if (!coil_iserr(rc) && breaches == 0)
        rc = all_rounds(cast, options, baseline, looks, &tally);
    if (!coil_iserr(rc) && breaches == 0)
        rc = end_servers(cast);
    if (!coil_iserr(rc))
        sum_up(options, &tally, &baseline[STEADY], &looks[STEADY]);
    for (unsigned i = 0; cast && i < CLIENT_PROCESSES_MAX; i++)
        peer_free(&cast->clients[i]);
    for (unsigned i = 0; cast && i < SERVERS; i++)
        peer_free(&cast->servers[i]);
    coil_tls_context_unref(client_tls());
    free(cast);
    return rc;
}

int supervisor_main(int argc, char **argv)
{
    if (argc != 5 && argc != 7)
        return 2;
    struct options options = {.seconds = (unsigned)strtoul(argv[1], NULL, 10),
                              .connections = (unsigned)strtoul(argv[2], NULL, 10),
                              .seed = strtoull(argv[3], NULL, 10),
                              .backend = argv[4],
                              .soak_s = argc > 5 ? strtod(argv[5], NULL) : 0,
                              .csv = argc > 5 ? argv[6] : NULL};
    char path[sizeof folder];
    int err = make_folder(path, sizeof path);
    if (!err)
        err = shared_open(path, true);
    if (err) {
        fprintf(stderr, "chaos: no folder: %s\n", coil_strerror(err));
        return 2;
    }
    ca_make(folder);
    /* What a thread's cache of malloc keeps counts as used, and there is ever more of it: that is no leak. */
    setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
    shared->seed = options.seed;
    shared->connections = options.connections;
    coil_run_opts opts = {.size = sizeof opts, .backend = options.backend};
    coil_ret rc = coil_run_with(program, &options, &opts);
    unsigned long long seed = shared->seed; /* of the last round */
    remove_folder();
    if (!begun) {
        printf("chaos: %s cannot be had here: %s\n", options.backend, coil_strerror(rc));
        return SKIPPED;
    }
    if (coil_iserr(rc) || breaches > 0)
        printf("repeat: COIL_BACKEND=%s ./dev chaos %u %u %llu\n", options.backend, options.seconds,
               options.connections, seed);
    return coil_iserr(rc) ? coil_report(rc) : breaches > 0;
}
