/* SPDX-License-Identifier: MIT
 *
 * supervisor.h: what the supervisor's files know of each other. */
#ifndef TEST_CHAOS_SUPERVISOR_H
#define TEST_CHAOS_SUPERVISOR_H

#include "chaos.h"

/* ---- the run ---- */

struct options {
    unsigned seconds;     /* of torment in each round */
    unsigned connections; /* at a time */
    uint64_t seed;
    const char *backend; /* the servers'; clients take one or another */
    double soak_s;       /* 0: one round; else rounds for so long, each with a seed of its own */
    const char *csv;     /* of a soak: where its samples go */
};

/* Say that something is not as it must be. */
void breach(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern unsigned breaches;

/* ---- processes (peers.c) ---- */

/* A server or a client process. */
struct peer {
    bool is_server;
    unsigned number, slots; /* slots: of a client, connections at a time */
    const char *backend;
    coil_process *process; /* NULL: does not run */
    coil_lock talking;     /* one command at a time */
    bool down;             /* killed, and not ready again */
    bool busy;             /* somebody stops or kills it */
    uint32_t killed;
    uint64_t counted_signals; /* sent to this process */
};

COIL_ASYNC coil_ret peer_start(struct peer *peer);
/* Have a server do something, and wait until it has. An error when it was killed meanwhile. */
COIL_ASYNC coil_ret peer_command(struct peer *peer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
COIL_ASYNC coil_ret peer_kill_and_restart(struct peer *peer);
/* Wait for its end, which must be a clean one; it is killed after so long. */
COIL_ASYNC coil_ret peer_ends(struct peer *peer, double limit_s);
/* Has it ended although nobody told it to? */
bool peer_is_gone(const struct peer *peer);
void peer_free(struct peer *peer);

/* ---- what can be seen of a process from outside (proc.c) ---- */

int proc_descriptors(pid_t pid);
long proc_anonymous_kb(pid_t pid); /* memory of its own */
int64_t proc_cpu_ns(pid_t pid);
int proc_children(pid_t pid, int *out_zombies);

/* ---- torments (torment.c) ---- */

struct torment_counts {
    unsigned long stops, client_kills, server_kills, hogs, storms, signals, clock_steps;
};
extern struct torment_counts torments;

struct cast {
    struct peer servers[SERVERS];
    struct peer clients[CLIENT_PROCESSES_MAX];
    unsigned clients_n;
};

/* For so long; everybody runs again when it returns. */
COIL_ASYNC coil_ret torment(struct cast *cast, double seconds, uint64_t seed);

/* ---- ledgers (audit.c) ---- */

struct tally {
    unsigned long connections, whole, broken, frames;
    unsigned long by_conduct[CONDUCTS];
};
/* Compare the halves of every row, tell of what cannot be, add up, and begin a new table. */
void audit(struct tally *tally);

/* ---- quiet (quiet.c) ---- */

/* How a server looks when nothing is going on. */
struct look {
    int descriptors;
    size_t tasks, timers, fds, ops, jobs;
    size_t stacks_max;
    uint64_t heap_bytes;
    long anonymous_kb;
};

/* Each kind of conversation once, so that what is made at first use is made. */
COIL_ASYNC coil_ret warm_up(struct peer *server);
COIL_ASYNC coil_ret look_at(struct peer *server, struct look *out_look);
/* Does a server get back to how it looked, and cost nothing: with nobody there, with clients that hang, without
 * descriptors? Tells of breaches. */
COIL_ASYNC coil_ret be_quiet(struct peer *server, const struct look *baseline,
                             struct look *out_look);

/* ---- samples of a long run (soak.c) ---- */

enum { SERIES_DESCRIPTORS, SERIES_HEAP, SERIES_ANONYMOUS, SERIES_TASKS, SERIES_STACKS, SERIES };
extern const char *const series_names[SERIES];

/* Does a series rise, by more than `tolerance` over its length? `out_growth`: by how much. */
bool rises(const double *sample, size_t n, double tolerance, double *out_growth);

/* Note how a server looks after a round; false when out of memory. */
bool sample_take(const struct look *look, unsigned long connections);
/* Judge them, tell of breaches, and write them to a file (NULL: nowhere). */
void samples_judge(const char *csv);

#endif
