/* SPDX-License-Identifier: MIT
 *
 * server.c: chaos server FOLDER NUMBER BACKEND: echoes frames on a TCP port, a unix socket and a TLS port.
 *
 *     commands on stdin, a line each, answered by a line      hog MS | hoard | give back | storm N SEED | tell | keep | release
 *
 * It plays its part of each plan, and keeps its half of the ledger. It ends on SIGTERM; that is clean only if nobody
 * is left. Its tasks: this one, one that counts time, and one for each client and child.
 *
 * Elsewhere: children (storm.c). */
#include "server.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { HOARD_MAX = 65536, BACKLOG = 2048 };

static struct {
    unsigned number;
    struct server_report *report;
    uint32_t epoch;
    coil_event stop, release;
    coil_tls_context *tls;
    coil_server *servers[WAYS];
    int hoard[HOARD_MAX];
    unsigned hoard_n;
} me;

/* ---- a client ---- */

struct visit {
    struct server_half *half;
    struct plan plan;
    uint64_t id;
    coil_writer *writer;
    bool mute; /* writing failed, or was ended: reading goes on */
    struct receiver in;
};

static void answer(struct visit *v)
{
    if (v->mute)
        return;
    v->half->echoed++;
    if (coil_iserr(frame_send(v->writer, &v->in.frame)))
        v->mute = true;
    if (v->plan.conduct == CONDUCT_SERVER_ENDS && v->half->echoed == v->plan.after && !v->mute) {
        v->mute = true;
        v->half->finished = true;
        coil_ignore(coil_writer_write_eof(v->writer));
    }
}

/* From the first frame, which is there, to the end of what the client says. 0: a clean one. */
static coil_ret converse(struct visit *v)
{
    coil_ret rc = 1;
    for (uint32_t seq = 0; rc == 1; seq++) {
        v->half->harm |= frame_harm(&v->in.frame, v->id, seq);
        if (v->half->harm)
            return COIL_EUSER;
        v->half->received = seq + 1;
        answer(v);
        if (v->plan.conduct == CONDUCT_SERVER_RESETS && v->half->received == v->plan.after) {
            if (!v->mute && all_is_out(v->writer, v->plan.way))
                v->half->sure = v->half->echoed;
            return -ECONNABORTED;
        }
        if (seq == 0 && v->plan.hold_ms > 0 && coil_iserr(rc = coil_sleep(v->plan.hold_ms / 1e3)))
            return rc;
        rc = frame_receive(&v->in);
        if (rc == COIL_EUSER)
            v->half->harm |= HARM_CRC;
    }
    return rc;
}

/* Wait for the client by a descriptor of our own. It stays open, and nobody waits for it any more. */
static coil_ret wait_by_descriptor(coil_writer *writer, int *out_fd)
{
    *out_fd = fcntl(coil_sock_fileno(coil_writer_sock(writer)), F_DUPFD_CLOEXEC, 3);
    coil_ret rc = coil_wait_fd(*out_fd, COIL_READ);
    return rc > 0 ? 0 : rc;
}

/* Keep the connection, in one state or another, and cost nothing. */
static coil_ret hold(struct visit *v)
{
    answer(v);
    char buf[512] = {0};
    coil_ret rc = 1;
    while (rc > 0 && v->plan.after == HOLD_READING)
        rc = coil_reader_read(v->in.reader, buf, sizeof buf);
    while (rc >= 0 && v->plan.after == HOLD_WRITING) {
        rc = coil_writer_write(v->writer, buf, sizeof buf);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(v->writer);
    }
    int fd = -1;
    if (v->plan.after == HOLD_WAITING)
        rc = wait_by_descriptor(v->writer, &fd);
    if (rc != COIL_EEXIT)
        rc = coil_event_wait(&me.release);
    coil_loop_forget_fd(NULL, fd);
    close(fd);
    return rc;
}

static coil_ret serve(coil_reader *reader, coil_writer *writer, void *way)
{
    struct visit v = {.writer = writer, .in = {.reader = reader, .dice = {me.epoch}}};
    coil_ret rc = frame_receive(&v.in);
    uint64_t id = v.in.frame.head.id;
    if (rc != 1 || v.in.frame.head.payload_n != sizeof v.plan || id >= CONNECTIONS_MAX) {
        reset(writer); /* cut before it has said who it is */
        return rc == COIL_EEXIT ? rc : 0;
    }
    memcpy(&v.plan, v.in.frame.payload, sizeof v.plan);
    v.id = id;
    v.half = &shared->table[id].server;
    if (atomic_exchange(&v.half->met, true))
        v.half->harm |= HARM_ORDER;
    v.half->epoch = me.epoch;
    v.half->end = END_NONE;
    v.in.by_pieces = v.plan.by_pieces;
    v.in.impatient = v.plan.conduct == CONDUCT_IMPATIENT;
    v.in.dice.state = v.plan.seed;
    rc = v.plan.conduct == CONDUCT_HOLD ? hold(&v) : converse(&v);
    if (rc == 0)
        v.half->finished = true;
    else
        reset(writer);
    v.half->end = (int32_t)rc;
    return rc == COIL_EEXIT ? rc : 0;
}

/* ---- what is always going on ---- */

static int64_t monotonic_ns(void)
{
    struct timespec ts;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* No timer may be early, whatever happens to the time of day. */
static coil_ret tick(void *arg)
{
    struct dice dice = {me.epoch};
    coil_ret rc = 0;
    while (!coil_iserr(rc)) {
        int64_t begun = monotonic_ns(), ns = (1 + below(&dice, 200)) * INT64_C(1000000);
        rc = coil_sleep((double)ns / 1e9);
        if (!coil_iserr(rc) && monotonic_ns() - begun < ns)
            me.report->ticks_early++;
        me.report->ticks++;
    }
    return rc;
}

static void counted_signal(void *arg)
{
    me.report->counted_signals++;
}
static void other_signal(void *arg)
{
    me.report->other_signals++;
}
static void stop_signal(void *arg)
{
    coil_event_set(&me.stop);
}

static int catch_signals(void)
{
    static const int others[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH};
    int err = coil_loop_add_signal_handler(NULL, SIGTERM, stop_signal, NULL);
    if (!err)
        err = coil_loop_add_signal_handler(NULL, SIGRTMIN, counted_signal, NULL);
    for (unsigned i = 0; i < sizeof others / sizeof others[0] && !err; i++)
        err = coil_loop_add_signal_handler(NULL, others[i], other_signal, NULL);
    return err;
}

/* Being out of descriptors is what a hoard is for; anything else the loop tells of is a breach. */
static void told(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    if (context->code == -EMFILE || context->code == -ENFILE)
        return;
    me.report->reports++;
    coil_loop_default_exception_handler(loop, context);
}

/* ---- commands ---- */

static void hoard(void)
{
    int fd;
    while (me.hoard_n < HOARD_MAX && (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        me.hoard[me.hoard_n++] = fd;
}

static void give_back(void)
{
    while (me.hoard_n > 0)
        close(me.hoard[--me.hoard_n]);
}

static coil_ret give_back_later(void *seconds)
{
    coil_ret rc = coil_sleep(*(double *)seconds);
    give_back();
    return rc;
}

static void tell(void)
{
    me.report->stats.size = sizeof me.report->stats;
    coil_loop_stats(NULL, &me.report->stats);
    /* What pools keep of the last peak is no leak, but would hide one. */
    (void)coil_loop_trim(NULL);
    (void)malloc_trim(0);
    /* With what libc maps by itself: whether a large block is mapped depends on what was freed before it. */
    struct mallinfo2 heap = mallinfo2();
    me.report->heap_bytes = heap.uordblks + heap.hblkhd;
}

static void obey(const char *line, coil_group *group)
{
    unsigned n;
    unsigned long long seed;
    if (sscanf(line, "hog %u", &n) == 1) {
        double seconds = n / 1e3;
        hoard();
        coil_group_create_task_with(group, give_back_later, &seconds, sizeof seconds);
    } else if (sscanf(line, "storm %u %llu", &n, &seed) == 2) {
        storm(group, me.report, n, seed);
    } else if (strcmp(line, "hoard\n") == 0) {
        hoard();
    } else if (strcmp(line, "give back\n") == 0) {
        give_back();
    } else if (strcmp(line, "tell\n") == 0) {
        tell();
    } else if (strcmp(line, "release\n") == 0) {
        coil_event_set(&me.release);
    } else if (strcmp(line, "keep\n") == 0) {
        coil_event_clear(&me.release);
    }
    puts("done");
    fflush(stdout);
}

static coil_ret obey_all(void *arg)
{
    coil_sock *sock;
    coil_reader *reader;
    coil_writer *writer;
    coil_ret rc = coil_sock_adopt(NULL, STDIN_FILENO, &sock);
    if (coil_iserr(rc))
        return rc;
    rc = coil_open_connection_sock(sock, 0, &reader, &writer);
    if (coil_iserr(rc))
        return rc;
    coil_task_group(group);
    const char *line;
    while ((rc = coil_reader_readline(reader, &line, NULL)) > 0)
        obey(line, &group);
    coil_event_set(&me.stop); /* nobody is there any more */
    rc = coil_group_exit(&group, rc);
    coil_ignore(coil_writer_finish(writer));
    return rc;
}

/* ---- the program ---- */

static coil_ret listen_on_all(void)
{
    char path[300], key[300];
    path_in_folder(path, sizeof path, "good.pem", 0);
    path_in_folder(key, sizeof key, "good.key", 0);
    coil_ret rc = coil_tls_context_new(COIL_TLS_SERVER, &me.tls);
    if (!coil_iserr(rc))
        rc = coil_tls_context_load_cert_chain(me.tls, path, key, NULL);
    if (coil_iserr(rc))
        return rc;
    coil_server_opts opts = {.size = sizeof opts, .backlog = BACKLOG};
    rc = coil_start_server_with(serve, NULL, "127.0.0.1", "0", &opts, &me.servers[WAY_TCP]);
    if (coil_iserr(rc))
        return rc;
    path_in_folder(path, sizeof path, "socket", me.number + 1);
    rc = coil_start_unix_server(serve, NULL, path, &opts, &me.servers[WAY_UNIX]);
    if (coil_iserr(rc))
        return rc;
    opts.tls = me.tls;
    rc = coil_start_server_with(serve, NULL, "127.0.0.1", "0", &opts, &me.servers[WAY_TLS]);
    if (coil_iserr(rc))
        return rc;
    me.report->tcp_port = coil_server_port(me.servers[WAY_TCP]);
    me.report->tls_port = coil_server_port(me.servers[WAY_TLS]);
    return 0;
}

static coil_ret program(void *arg)
{
    coil_loop_set_exception_handler(NULL, told, NULL);
    coil_ret rc = catch_signals();
    if (!coil_iserr(rc))
        rc = listen_on_all();
    if (coil_iserr(rc))
        return rc;
    coil_task_group(group);
    coil_group_create_task(&group, tick, NULL);
    coil_group_create_task(&group, obey_all, NULL);
    puts("ready");
    fflush(stdout);
    rc = coil_event_wait(&me.stop);
    for (int i = 0; i < WAYS; i++)
        coil_server_close(me.servers[i]);
    coil_group_cancel(&group);
    coil_ret ended = coil_group_exit(&group, rc);
    for (int i = 0; i < WAYS; i++)
        coil_ignore(coil_server_finish(me.servers[i]));
    coil_tls_context_unref(me.tls);
    give_back();
    return ended;
}

int server_main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    me.number = (unsigned)atoi(argv[1]);
    me.report = &shared->servers[me.number];
    me.epoch = me.report->kills;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t enough = 256 + 3 * (rlim_t)shared->connections;
    limit.rlim_cur = enough < limit.rlim_max ? enough : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    coil_run_opts opts = {.size = sizeof opts, .backend = argv[2], .no_signals = true};
    return coil_report(coil_run_with(program, NULL, &opts));
}
