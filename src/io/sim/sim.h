/* SPDX-License-Identifier: MIT
 *
 * sim.h: the inside of the imaginary kernel.
 *
 *     calls, ops --> files --> channels, packets --(latency)--> events --> files stirred --> ops finished
 *
 * Time is the loop's virtual clock; chance is one seeded generator; memory is all there is. Nothing
 * else enters, so that a seed is a whole story. Descriptors start at SIM_FD_BASE, and the lowest free
 * number is used again at once. What is below is real and goes to an embedded poll backend.
 *
 * Several loops of one thread may be hosts of one world (world.c); alone, each has a world of its own.
 *
 * Files of this folder, each one idea: sim.c the backend and its ops, calls.c its plain calls, events.c what happens
 * when, world.c several hosts, table.c descriptor numbers, names.c addresses, stream.c bytes, connect.c how two ends
 * meet, datagram.c messages, options.c socket options, process.c other programs. */
#ifndef COIL_IO_SIM_SIM_H
#define COIL_IO_SIM_SIM_H

#include "base/check.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/random.h"
#include "io/readiness.h"

#define SIM_FD_BASE (1 << 24)

struct sim;
struct file;

/* ---- what happens when ---- */

struct event {
    struct heap_node node;
    void (*fire)(struct sim *sim, struct event *event);
};

/* ---- names ---- */

struct name {
    struct sockaddr_storage addr;
    socklen_t len; /* 0: no name */
};

/* A path that was bound: it stays, as a file does, until it is unlinked, whatever becomes of the socket. */
struct node {
    struct list link; /* sim.nodes */
    struct name name;
    struct file *file; /* the socket; NULL once that is closed */
    uint64_t inode;
    mode_t mode;
};

/* ---- bytes on their way from one end to the other ---- */

enum { SEGMENTS_MAX = 16 };
enum segment_kind { SEGMENT_BYTES, SEGMENT_FIN, SEGMENT_RST };

struct segment {
    int64_t when_ns; /* of arrival; never earlier than that of the one before */
    size_t n;
    enum segment_kind kind;
};

/* One direction of a connection, or a pipe. The ring holds what arrived, then what is under way:
 *
 *     head --arrived--|--in segments--| used ...room... cap
 */
struct channel {
    struct file *reader, *writer; /* NULL once closed; with both gone the channel is freed */
    unsigned from, to;            /* hosts */
    struct event event;           /* the first segment arrives */
    uint8_t *ring;
    size_t size, head, used, arrived;
    size_t cap; /* the ring grows up to this */
    struct segment segments[SEGMENTS_MAX];
    unsigned segments_at, segments_n;
    bool instant; /* pipes and unix sockets: there is no way to be under */
    bool fin_sent, rst_sent, fin_arrived;
    bool cut; /* the reader broke: nothing arrives any more */
};

/* ---- open files ---- */

enum file_kind { FILE_STREAM, FILE_LISTENER, FILE_DATAGRAM, FILE_PIPE, FILE_PROCESS };

/*     FRESH --connect--> CONNECTING --event--> CONNECTED --RST--> RESET
 *       ^                     |
 *       +------ refused ------+                                              */
enum file_state { STATE_FRESH, STATE_CONNECTING, STATE_CONNECTED, STATE_RESET };

struct option {
    int level, name;
    socklen_t len;
    uint8_t value[16];
};

struct file {
    struct sim *sim; /* whose it is */
    enum file_kind kind;
    enum file_state state; /* of streams; a connected datagram socket is CONNECTED */
    int fd;                /* -1 while it waits to be accepted, and when only processes have it */
    bool had_fd;           /* it was accepted, or never had to be */
    uint32_t held;         /* by so many descriptors of processes */
    int domain, type;
    int error; /* SO_ERROR: positive, given once */
    bool owned, shut_in, shut_out;
    struct list ops;     /* in order of submission */
    uint32_t ops_n;      /* also counts level ops that fired and were not reaped */
    struct list stirred; /* in sim.stirred: something changed, try the ops */
    struct list bound;   /* in sim.bound: can be found by its local name */
    struct name local, peer;
    struct node *node; /* of a bound path, until that is unlinked; else NULL */
    mode_t mode;       /* what fchmod said before bind; SIM_UMASK is taken off */

    struct channel *in, *out;

    struct event connecting; /* the answer to our SYN */
    unsigned connect_tries;

    struct list accept_queue; /* of a listener: connected files, oldest first */
    struct list accept_link;  /* of such a file */
    int backlog, accept_n;

    struct list packets; /* of a datagram socket, oldest first */
    size_t packets_bytes;

    struct sim_process *process; /* whose descriptor this is; else NULL */

    struct option options[16];
    unsigned options_n;
};

/* ---- faults: drawn from the seed, none by default ---- */

enum sim_fault {
    SIM_SHORT_IO,      /* a transfer moves less than it could */
    SIM_NO_DESCRIPTOR, /* EMFILE */
    SIM_NO_BUFFER,     /* ENOBUFS */
    SIM_RESET,         /* a connection breaks when bytes arrive */
    SIM_LOSS,          /* a message does not arrive */
    SIM_DUPLICATE,     /* a message arrives twice */
    SIM_REFUSED,       /* nobody seems to listen */
    SIM_LATE,          /* a call that could succeed says EAGAIN; the op that follows succeeds */
    SIM_SLOW,          /* a latency is a thousand times as long */
    SIM_OVERTAKEN,     /* what is to be cancelled, and could be done, was done already */
    SIM_FAULTS
};

/* ---- the world: what several hosts share; a backend by itself has one of its own ---- */

enum { SIM_HOSTS = 64 };

struct sim_world {
    unsigned refs; /* of hosts */
    struct random random;
    struct heap events;
    uint64_t events_seq;
    uint32_t events_holders; /* each has room in the heap */
    struct list bound, nodes;
    uint64_t inodes;                             /* so many were given out */
    int pids;                                    /* likewise */
    uint32_t ephemeral;                          /* the port given out last */
    struct sim *hosts[SIM_HOSTS];                /* by number, NULL: none */
    int64_t clogged_until[SIM_HOSTS][SIM_HOSTS]; /* nothing gets from one to the other before */
    uint16_t fault_chance[SIM_FAULTS];           /* in 65,536ths */
    uint64_t faults[SIM_FAULTS];                 /* so many were there */
    uint64_t trace;                              /* a hash of everything that happened */
};

struct sim {
    struct backend b;      /* first */
    struct backend *inner; /* for real descriptors; its finished ops go to b.finished */
    struct sim_world *world;
    unsigned host; /* its number in the world; 0: it is alone there */
    bool dead;     /* was killed, and is being unwound */
    struct list stirred;
    struct list processes;
    const struct sim_program **programs;
    size_t programs_n;

    struct file **files; /* by number, NULL where free */
    uint32_t files_size, files_n, files_lowest, files_max;
    size_t pending, watched; /* ops on imaginary files; files that have any */
};

static inline struct sim *sim_of(struct backend *b)
{
    return container_of(b, struct sim, b);
}

static inline bool sim_is_real(int fd)
{
    return fd < SIM_FD_BASE;
}

static inline bool sim_is_socket(const struct file *file)
{
    return file->kind != FILE_PIPE && file->kind != FILE_PROCESS;
}

static inline int64_t sim_now(struct sim *sim)
{
    return clock_now_ns(sim->b.clock);
}

/* Draws nothing where the chance is nil, so that a new kind of fault does not change old stories. */
static inline bool sim_fault(struct sim *sim, enum sim_fault fault)
{
    struct sim_world *world = sim->world;
    if (coil_likely(!world->fault_chance[fault]) ||
        random_below(&world->random, 65536) >= world->fault_chance[fault])
        return false;
    world->faults[fault]++;
    return true;
}

/* For tests. */
void coil__sim_limit_files(struct backend *b, uint32_t files_max);
void coil__sim_set_fault(struct backend *b, enum sim_fault fault, uint16_t chance);
uint64_t coil__sim_trace(struct backend *b);

/* Several hosts, for tests (world.c). `b`, on which nothing is open yet, becomes host 1 to 63 of the world in which
 * `other` is (NULL: of its own): it has its own descriptors and processes, and is called 10.0.0.HOST. Names, time
 * and chance are the world's; who turns the loops moves their clocks together. */
void coil__sim_join(struct backend *b, unsigned host, struct backend *other);
/* Nothing that is sent from one host arrives at the other before that time: it waits, in order. */
void coil__sim_clog(struct backend *b, unsigned from, unsigned to, int64_t until_ns);
/* The host's programs are killed: its sockets close at once, whatever they still wanted to do. Silently: the machine is
 * switched off, nobody is told. What its programs try from now on, as they are unwound, fails. */
void coil__sim_kill(struct backend *b, bool silently);
/* How often this fault was there. */
uint64_t coil__sim_faults(struct backend *b, enum sim_fault fault);

/* A program, for tests: `step` is called when the process begins, and again whenever something it has tried may go
 * better, or its time has come; it does what it can and returns. `state_size` zeroed bytes are its own. The structure
 * outlives the backend. */
struct sim_process;
struct sim_program {
    const char *file; /* as it will be called */
    void (*step)(struct sim_process *p);
    size_t state_size;
};
/* From now on who runs this file gets that. 0 or -ENOMEM. */
int coil__sim_program(struct backend *b, const struct sim_program *program);

/* What a step may do. After the end, by exit or by a signal, nothing more. */
const char *const *coil__process_argv(const struct sim_process *p);
void *coil__process_state(struct sim_process *p);
/* As read and write of descriptors that do not block; a write to a closed pipe is a SIGPIPE, too. */
ssize_t coil__process_read(struct sim_process *p, int fd, void *buf, size_t n);
ssize_t coil__process_write(struct sim_process *p, int fd, const void *buf, size_t n);
void coil__process_close(struct sim_process *p, int fd);
/* Another step after so long, if none comes before. */
void coil__process_sleep(struct sim_process *p, int64_t ns);
int64_t coil__process_now_ns(const struct sim_process *p);
void coil__process_exit(struct sim_process *p, int status);
void coil__process_raise(struct sim_process *p, int signo);
bool coil__process_is_over(const struct sim_process *p);
/* That signal is a step from now on, and is told by `caught`: one that came, or 0. */
void coil__process_catch(struct sim_process *p, int signo);
int coil__process_caught(struct sim_process *p);
/* A process that has all the descriptors this one has, and no parent who waits. Its pid, or -ENOMEM. */
int coil__process_fork(struct sim_process *p, const struct sim_program *program,
                       const char *const *argv);

/* sim.c: something happened to the file; its ops are tried in the next wait of its host. */
void coil__sim_stir(struct file *file);
void coil__sim_note(struct sim *sim, int64_t what, int64_t number);
/* After anything that may have changed how many ops are pending, on how many descriptors. */
void coil__sim_sync_counts(struct sim *sim);
/* All ops on the file end so, those too that fired and are not reaped yet. */
void coil__sim_fail_all(struct sim *sim, struct file *file, int err);
/* What is done at once, by an op or by a call; of files of any kind. */
ssize_t coil__sim_receive(struct sim *sim, struct file *file, struct msghdr *hdr, int flags);
ssize_t coil__sim_transmit(struct sim *sim, struct file *file, const struct msghdr *hdr);
ssize_t coil__sim_recv_flat(struct sim *sim, struct file *file, void *p, size_t n, int flags);
ssize_t coil__sim_send_flat(struct sim *sim, struct file *file, const void *p, size_t n);
/* As backend.h has them; the table is in calls.c. */
int coil__sim_open(struct backend **out, const struct backend_opts *opts);
void coil__sim_close(struct backend *b);
void coil__sim_submit(struct backend *b, struct op *op);
int coil__sim_cancel(struct backend *b, struct op *op);
int coil__sim_wait(struct backend *b, int64_t timeout_ns);
int coil__sim_poll_fd(struct backend *b);
void coil__sim_rearm(struct backend *b, struct op *op);
int64_t coil__sim_next_event_ns(struct backend *b);

/* world.c. */
struct sim_world *coil__sim_world_new(uint64_t seed);
void coil__sim_world_leave(struct sim *sim);
/* Which host has this address? `own`: what is no host's is everywhere. */
unsigned coil__sim_host_of(unsigned own, const struct name *name);
/* Its own address, in place of another host's. */
void coil__sim_own_address(const struct sim *sim, struct name *name);

/* events.c. Who holds an event has room for it, so scheduling cannot fail. */
int coil__sim_event_init(struct sim *sim, struct event *event,
                         void (*fire)(struct sim *, struct event *));
void coil__sim_event_fini(struct sim *sim, struct event *event);
void coil__sim_schedule(struct sim *sim, struct event *event, int64_t when_ns);
void coil__sim_run_due(struct sim *sim);
int64_t coil__sim_latency_ns(struct sim *sim);

/* table.c. */
int coil__sim_file_new(struct sim *sim, enum file_kind kind, int domain, int type,
                       struct file **out);
/* Gives it the lowest free number: that, or -EMFILE, -ENOMEM. */
int coil__sim_file_install(struct sim *sim, struct file *file);
struct file *coil__sim_file(struct sim *sim, int fd); /* NULL if no such */
/* What close(2) does: the number is free and, unless a process has the file too, the peer is told. Pending ops must
 * have been ended. */
void coil__sim_file_close(struct sim *sim, struct file *file);
/* A process closes it. */
void coil__sim_file_release(struct sim *sim, struct file *file);

/* names.c. */
int coil__sim_bind(struct sim *sim, struct file *file, const struct sockaddr *a, socklen_t n);
int coil__sim_autobind(struct sim *sim, struct file *file, const struct name *towards);
int coil__sim_name_check(struct file *file, const void *a, socklen_t n, struct name *out);
/* Where something is sent: no host in particular is this machine. */
int coil__sim_destination(struct file *file, const void *a, socklen_t n, struct name *out);
/* Whom a datagram comes from: of who is bound to every address, from the one that faces the receiver. */
struct name coil__sim_source(struct sim *sim, const struct file *file, const struct name *to);
/* Who would get what is sent to this name? NULL if nobody. */
struct file *coil__sim_find(struct sim *sim, struct file *from, const struct name *to);
/* What the kernel says of a unix name that coil__sim_find does not find. */
int coil__sim_nobody(struct sim *sim, const struct name *to);
/* The socket that had this node is closed. */
void coil__sim_node_leave(struct file *file);
void coil__sim_nodes_free(struct sim_world *world);
enum { SIM_UMASK = 022 };
int coil__sim_lstat(struct sim *sim, const char *path, struct stat *out);
int coil__sim_chmod(struct sim *sim, const char *path, mode_t mode);
int coil__sim_unlink(struct sim *sim, const char *path);
bool coil__sim_unreachable(const struct name *to);
/* The name as a socket of `domain` sees it: an IPv4 one inside IPv6 is mapped. */
struct name coil__sim_name_seen_by(int domain, const struct name *name);
void coil__sim_name_copy(const struct name *name, int domain, void *out, socklen_t *len);
bool coil__sim_name_same(const struct name *a, const struct name *b);
uint16_t coil__sim_name_port(const struct name *name);

/* stream.c. */
int coil__sim_channels_new(struct sim *sim, struct file *a, struct file *b, bool both,
                           bool instant);
ssize_t coil__sim_stream_recv(struct sim *sim, struct file *file, void *p, size_t n, int flags);
ssize_t coil__sim_stream_send(struct sim *sim, struct file *file, const void *p, size_t n);
int coil__sim_stream_shutdown(struct sim *sim, struct file *file, int how);
void coil__sim_stream_close(struct sim *sim, struct file *file);
/* Its channels are cut off; the peer is told, or not. */
void coil__sim_stream_sever(struct sim *sim, struct file *file, bool silently);
unsigned coil__sim_stream_ready(struct file *file);
bool coil__sim_channel_set_cap(struct channel *c, size_t cap);

/* connect.c. */
int coil__sim_listen(struct sim *sim, struct file *file, int backlog);
int coil__sim_connect(struct sim *sim, struct file *file, const void *a, socklen_t n);
int coil__sim_connected(struct sim *sim, struct file *file); /* -EAGAIN: not decided */
int coil__sim_accept(struct sim *sim, struct file *file, struct sockaddr_storage *addr,
                     socklen_t *len);
void coil__sim_listener_close(struct sim *sim, struct file *file);

/* datagram.c. */
ssize_t coil__sim_datagram_send(struct sim *sim, struct file *file, const struct msghdr *hdr);
ssize_t coil__sim_datagram_recv(struct sim *sim, struct file *file, struct msghdr *hdr, int flags);
unsigned coil__sim_datagram_ready(struct sim *sim, struct file *file);
void coil__sim_datagram_close(struct sim *sim, struct file *file);

/* process.c. */
extern const struct imaginary_children coil__sim_children;
void coil__sim_wake_holders(const struct file *file);
unsigned coil__sim_process_ready(const struct file *file);
void coil__sim_process_close(struct file *file);
void coil__sim_processes_end(struct sim *sim);
/* All of them, by SIGKILL. */
void coil__sim_processes_kill(struct sim *sim);

/* options.c. */
int coil__sim_setsockopt(struct sim *sim, struct file *file, int level, int name, const void *v,
                         socklen_t n);
int coil__sim_getsockopt(struct sim *sim, struct file *file, int level, int name, void *v,
                         socklen_t *n);
/* An int option as it was set, else `otherwise`. */
int coil__sim_option(const struct file *file, int level, int name, int otherwise);

#endif
