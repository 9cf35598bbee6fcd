/* SPDX-License-Identifier: MIT
 *
 * chaos.h: bad days on the real kernel: processes that talk, one that torments them, and the ledgers they leave.
 *
 *     supervisor --+-- server "steady": everything but kill -9        each a process; the supervisor started all of them
 *                  +-- server "victim": that too                      and touches no other
 *                  +-- clients, each with many connections
 *
 * A connection is a row of a table in a file that all have mapped. It has a half for each side, written by that side
 * alone, before the deed it tells of where the other side could see the deed; so a row is true whenever its writer is
 * killed. Nobody looks at the other's half while they talk; audit.c compares them afterwards.
 *
 * What a connection does is drawn by its client (a plan), and told to the server in the first frame. All is drawn from
 * seeds; when things happen is the kernel's choice, so a seed repeats the plans and the torments, not each step. */
#ifndef TEST_CHAOS_CHAOS_H
#define TEST_CHAOS_CHAOS_H

#include <coil.h>
#include <coil/tls.h>

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- drawing ---- */

struct dice {
    uint64_t state;
};

uint64_t roll(struct dice *dice);              /* any number */
uint32_t below(struct dice *dice, uint32_t n); /* less than n, which is above 0 */
uint64_t mix(uint64_t a, uint64_t b);          /* a seed from two */
static inline bool one_in(struct dice *dice, uint32_t n)
{
    return below(dice, n) == 0;
}

/* ---- what a connection is to do ---- */

enum way { WAY_TCP, WAY_UNIX, WAY_TLS, WAYS };

enum conduct {
    CONDUCT_PLAIN,       /* all is sent and comes back; a clean end on both sides */
    CONDUCT_SLOW,        /* the same, and the client reads slowly */
    CONDUCT_IMPATIENT,   /* the same, and both sides wait under deadlines that are too short */
    CONDUCT_BARE,        /* the same, and the client's socket is a plain descriptor */
    CONDUCT_SEND_FIRST,  /* the client ends its direction before it reads */
    CONDUCT_SERVER_ENDS, /* the server ends its direction first, and goes on reading */
    CONDUCT_RESET, /* the client resets when the server's kernel has all: none of it may be lost */
    CONDUCT_RESET_EARLY,   /* the client resets with data queued */
    CONDUCT_SERVER_RESETS, /* the server resets when the client's kernel has all */
    CONDUCT_SILENT,        /* the client says a part of a frame, is silent, and goes */
    CONDUCT_CUT,           /* TLS: the line is cut behind some byte, in the handshake or later */
    CONDUCT_GARBAGE,       /* TLS: bytes that are no hello */
    CONDUCT_HOLD, /* the supervisor's own: the server keeps it until it is told to release it */
    CONDUCTS
};

enum { HOLD_STILL, HOLD_READING, HOLD_WRITING, HOLD_WAITING, HOLDS };

extern const char *const conduct_names[CONDUCTS];
extern const char *const way_names[WAYS];

/* Of a connection. It goes to the server as the first frame's payload. */
struct plan {
    uint8_t way, conduct;
    bool by_pieces;  /* the server reads what comes, not what it asks for */
    bool greeted;    /* RESET: the client waits for the first echo before the rest */
    uint32_t frames; /* with the first one */
    uint32_t payload_max;
    uint32_t after;   /* SERVER_ENDS, SERVER_RESETS: frames echoed before; HOLD: HOLD_... */
    uint32_t hold_ms; /* the server waits so long before it reads on */
    uint32_t pace_us; /* SLOW: the client, between two reads */
    uint32_t cut;     /* SILENT: bytes of the last frame; CUT: bytes before the cut */
    uint64_t seed;
};

struct plan plan_draw(struct dice *dice);

/* ---- the ledgers ---- */

enum { END_NONE = 1 /* not yet; else 0 or an error */, SURE_NOTHING = 0 };

/* Counts are frames. The client writes `sent` before it writes, the server `echoed`; `received` and `acked` when a
 * frame was checked. */
struct client_half {
    _Atomic bool
        begun; /* all of the following is there: a client may be killed while it writes it */
    struct plan plan;
    uint32_t server;                    /* whose client it was */
    uint32_t process;                   /* slot of the client process ... */
    uint32_t generation;                /* ... and how often that had been killed */
    uint32_t kills_before, kills_after; /* of the server */
    _Atomic uint32_t sent, acked, sure; /* sure: the server's kernel has them */
    _Atomic bool finished;              /* all was sent, and the end is said next */
    _Atomic uint32_t harm;              /* what cannot be: HARM_... */
    _Atomic int32_t end;                /* how reading ended */
    _Atomic int32_t refused;            /* the connection never stood */
};

struct server_half {
    uint32_t epoch; /* how often this server had been killed */
    _Atomic bool met;
    _Atomic bool finished;
    _Atomic uint32_t received, echoed, sure;
    _Atomic uint32_t harm;
    _Atomic int32_t end;
};

enum {
    HARM_CRC = 1u << 0,
    HARM_ORDER = 1u << 1,  /* lost, doubled, or out of order */
    HARM_OTHERS = 1u << 2, /* another connection's */
    HARM_MORE = 1u << 3,   /* more came than was ever sent */
    HARM_LATE = 1u << 4    /* something took so long that it never ends */
};

struct connection {
    struct client_half client __attribute__((aligned(64)));
    struct server_half server __attribute__((aligned(64)));
};

enum { SERVERS = 2, STEADY = 0, VICTIM = 1, CLIENT_PROCESSES_MAX = 64, CONNECTIONS_MAX = 1 << 18 };

/* What a server tells of itself; one process writes it at a time. */
struct server_report {
    _Atomic uint32_t kills; /* by the supervisor, before it kills */
    _Atomic bool up;        /* by the supervisor */
    _Atomic int32_t tcp_port, tls_port;
    _Atomic uint64_t counted_signals, other_signals;
    _Atomic uint64_t children, children_over, children_wrong;
    _Atomic uint64_t ticks, ticks_early, reports;
    coil_loop_stats_t stats; /* when it was last asked */
    _Atomic uint64_t heap_bytes;
};

struct shared {
    uint64_t seed;
    uint32_t connections;               /* at a time */
    _Atomic bool stop;                  /* clients end what they do, and begin nothing */
    _Atomic int64_t realtime_offset_ns; /* how wrong everybody's clock is */
    struct server_report servers[SERVERS];
    struct {
        _Atomic uint32_t kills;
    } clients[CLIENT_PROCESSES_MAX];
    _Atomic uint32_t next; /* row of the table */
    struct connection table[CONNECTIONS_MAX];
};

extern struct shared *shared; /* NULL before shared_open */
extern char folder[256];      /* where everything of a run lies */

int shared_open(const char *in_folder, bool create);
void path_in_folder(char *out, size_t n, const char *name, unsigned number);

/* ---- frames ---- */

enum { FRAME_PAYLOAD_MAX = 16384 };

struct frame_header {
    uint32_t crc; /* CRC32C of all that follows */
    uint32_t payload_n;
    uint64_t id; /* row of the table */
    uint32_t seq;
    uint32_t magic;
};

struct frame {
    struct frame_header head;
    uint8_t payload[FRAME_PAYLOAD_MAX];
};

/* The frame of that number; the whole of it is returned as its length. */
size_t frame_make(struct frame *frame, uint64_t id, uint32_t seq, const struct plan *plan);

/* How frames are read. */
struct receiver {
    coil_reader *reader; /* NULL: from `fd` */
    int fd;
    struct dice dice;
    bool by_pieces, impatient;
    size_t have; /* bytes of `frame` that are there */
    struct frame frame;
    uint64_t deadlines; /* how often one passed */
};

/* The next frame, whole, but unchecked beyond its length and CRC. 1; 0 at a clean end; an error; COIL_EUSER for a frame
 * that is none. */
COIL_ASYNC coil_ret frame_receive(struct receiver *receiver);
/* HARM_... of a frame that should be this one. */
uint32_t frame_harm(const struct frame *frame, uint64_t id, uint32_t seq);

/* Write it, and wait until the peer takes some. */
COIL_ASYNC coil_ret frame_send(coil_writer *writer, const struct frame *frame);

/* Wait until the peer's kernel has all that was written. False if that takes too long, or an error comes. */
bool all_is_out(coil_writer *writer, enum way way);
/* Close so that the peer is told of a reset (where its kind of socket has that). */
void reset(coil_writer *writer);

/* ---- the roles ---- */

int server_main(int argc, char **argv);
int client_main(int argc, char **argv);
int child_main(int argc, char **argv);
int supervisor_main(int argc, char **argv);

/* Die with the process that started us, whatever happens to it. */
void die_with_parent(void);

#endif
