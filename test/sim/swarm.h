/* SPDX-License-Identifier: MIT
 *
 * swarm.h: random bad days for whole programs: what a program's file (play_*.c) and the driver know of each other.
 *
 *     play: one program, its clients          host: a loop of its own, 10.0.0.NUMBER of one imaginary world
 *
 *     [ play_proxy ]---hosts 1, 2 the servers, 3 .. the clients
 *     [ play_chat  ]---host 6 the server, 7 .. the guests             turned by one thread (hosts.c),
 *     ...                                                             disturbed by chaos.c, judged by swarm.c
 *
 * A run draws from its seed which plays there are, how hurried they are, which faults there are and how often. While the
 * clients are at it hosts are paused, cut off from each other, killed, switched off. Then the faults end (`calm`), and
 * everything must come to its end in bounded virtual time: clients end, a last client of each play is served
 * whole, programs end when they are told to, no descriptor is left, the books are in order.
 *
 * Each host has a seed of its own, so that what it wants to do stays the same when others are left out: that is how a
 * failure is made small (tools/sim.py). */
#ifndef TEST_SIM_SWARM_H
#define TEST_SIM_SWARM_H

#include "base/random.h"
#include "io/sim/sim.h"

#include <coil.h>

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct host;

/* What a host is there for. */
struct role {
    coil_fn program;              /* its main task; the argument is the host */
    bool serves;                  /* ends when it is told to (host.stop); else by itself */
    bool mortal;                  /* may be killed or switched off, and is switched on again */
    void (*equip)(struct host *); /* before the program begins; NULL: nothing to do */
};

struct play {
    const char *name;
    const char *port;             /* its servers listen there; NULL: nowhere */
    void (*begin)(struct play *); /* add the hosts; all that is static is as new */
    coil_fn last;      /* in the calm, on a host of its own: 0 if it was served whole; NULL: none */
    void (*end)(void); /* everything is over: are the books in order? NULL: nothing to do */

    /* of this run */
    bool plays;
    struct random random;
    struct host *first;            /* its first host */
    uint64_t kills;                /* of its hosts */
    uint64_t whole, broken, bytes; /* exchanges that ended well, or not; what was checked */
};

struct host {
    unsigned number;
    char address[16];
    const struct role *role;
    struct play *play;
    uint64_t seed;
    coil_loop *loop; /* NULL: switched off */
    coil_task *program;
    coil_event stop;
    int64_t paused_until, back_at;
    unsigned lives, pauses;
    unsigned done; /* the play's: what need not be done again in the next life */
};

/* What may be in a run; less of it makes a failure small. */
struct limits {
    unsigned faults, happenings; /* masks: 1 << enum sim_fault; 1 << enum happening */
    unsigned clients;            /* of a play */
    unsigned talks;              /* of a client, one after the other */
    unsigned bytes;              /* in one direction of one talk */
    unsigned chaos;              /* so many things happen */
    double seconds;              /* until the faults end */
};
enum happening { HAPPENS_CLOG, HAPPENS_PAUSE, HAPPENS_KILL, HAPPENS_NEW_FAULTS, HAPPENINGS };

enum pace { BRISK, SLOW, IDLE, PACES };

extern struct run {
    uint64_t seed;
    struct limits limits;
    enum pace pace;
    struct random random; /* of the driver; the kernel has its own */
    struct host hosts[SIM_HOSTS];
    unsigned hosts_n;        /* from 1 on */
    int64_t now_ns, stop_ns; /* when the programs are told to end */
    bool calm;               /* no faults any more */
    const char *failed;
    char failed_text[200];
    uint64_t trace;
    uint64_t kills, pauses, clogs, chaos, occasions;
    uint64_t handles,
        instants; /* callbacks and steps that ran; moments at which something happened */
    double traffic_s, idle_s; /* until the calm; in waits of more than a minute */
} run;

/* ---- swarm.c ---- */

/* The first failure of a run is the one that is told. */
void failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Into the trace, from any play: an outcome that must be the same again. */
void note(uint64_t what);
/* So long do those wait who have time: seconds, minutes or hours, as the run's pace is; short once it is calm. */
double pause_s(struct random *random);
/* The pace as a factor, for deadlines. */
double patience(void);
/* So many clients, talks, bytes, as the limits are. */
unsigned clients_of(struct play *play, unsigned most);
unsigned talks_of(struct random *random, unsigned most);

/* ---- hosts.c ---- */

struct host *host_add(struct play *play, const struct role *role);
struct host *host_here(void);
void host_switch_on(struct host *host);
void host_switch_off(struct host *host, bool silently);
struct backend *any_backend(void);
/* Turn everything until it is over; false if that takes longer than so much virtual time. */
bool until(bool (*over)(void), int64_t limit_ns, bool chaos);
bool clients_are_over(void);
bool programs_are_over(void);
/* What a failure looks like from inside. */
void hosts_show(void);
void hosts_be_calm(void);

/* ---- chaos.c ---- */

void set_faults(bool on);
void something_happens(void);
int64_t until_next_chaos_ns(void);
/* Who was switched off long enough, or whose program ended although it serves. */
void bring_back(bool all);

/* ---- talk.c: a talk with a server that says everything back ---- */

struct speech {
    uint64_t id, seed;
    size_t n;
    uint64_t kills; /* before; the kernel ends the streams of who is killed, as if all were well */
    bool end_proves_all; /* but this stream has an end of its own, which only the peer can make */
    coil_writer *writer;
};

/* The byte that stands there in what `id` says. */
static inline char word(uint64_t id, size_t at)
{
    return (char)(id * 131 + at * 7 + at / 255 + at / 65536);
}

/* 0: everything came back, and then the end; else an error after a correct beginning. */
coil_ret converse(const char *address, const coil_connect_opts *opts, uint64_t seed,
                  double deadline_s);
/* Several talks, with pauses: what a client of such a server does. */
/* What came of one talk is counted; then the host pauses. An error: it is over. */
coil_ret after_talk(struct host *host, struct random *random, coil_ret rc);
coil_ret converse_often(struct host *host, const char *address, const coil_connect_opts *opts);
/* The server's side. */
coil_ret say_back(coil_reader *reader, coil_writer *writer, void *arg);
/* Serve until told to end, then let no client stay. */
coil_ret serve_until_stopped(coil_client_fn fn, const coil_server_opts *opts);

#endif
