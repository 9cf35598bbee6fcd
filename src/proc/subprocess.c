/* SPDX-License-Identifier: MIT
 *
 * subprocess.c: a child whose pipes and end are told to a protocol.
 *
 *     coil_subprocess_transport --+-- child: its end is process_exited
 *                                 +-- pipes[0..2] --> a coil_transport each, whose protocol is ours and hands on
 *
 *     NEW --slot: connection_made--> OPEN --process_exited, the last pipe_connection_lost--> slot: connection_lost
 *
 * The slot for connection_made is queued before the pipes' own, and before anything that tells of the end; what
 * stands on the ring first runs first, so nothing is told before it.
 *
 * Always true:
 *   - connection_made first and once, connection_lost last and once;
 *   - references: one until connection_lost, one while the slot is queued, one for each pipe that is not lost, one for
 *     each call that waits, and the user's.
 *
 * Runs on the loop's thread. Elsewhere: bytes (net/receive.c, net/outbox.c). */
#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "net/transport.h"
#include "proc/proc.h"
#include "sync/waiters.h"

#include <signal.h>

struct child_pipe {
    coil_subprocess_transport *owner;
    int fd;                    /* of the child: 0, 1 or 2 */
    coil_transport *transport; /* a reference; NULL: no pipe, or lost */
};

struct coil_subprocess_transport {
    struct child child;
    struct list link; /* proc_part.transports until it is lost */
    uint32_t refs;
    coil_subprocess_protocol calls; /* as far as its program knew it */
    void *arg;
    struct child_pipe pipes[3];
    bool made, closing, lost;
    bool queued; /* its slot is on the ready ring, where one room is held for it until it is lost */
    coil_ret made_error; /* of connection_made; 0 */
    struct error_record *words;
    struct waiters openers; /* who waits for connection_made */
};

static coil_subprocess_transport *transport_of(struct child *child)
{
    return container_of(child, coil_subprocess_transport, child);
}

/* ---- life ---- */

coil_subprocess_transport *coil_subprocess_ref(coil_subprocess_transport *transport)
{
    transport->refs++;
    return transport;
}

void coil_subprocess_unref(coil_subprocess_transport *transport)
{
    if (!transport || --transport->refs > 0)
        return;
    coil__context_map_unref(transport->child.map);
    coil__error_unref(transport->words);
    coil__free(transport);
}

static void run(void *arg);

static void kick(coil_subprocess_transport *t)
{
    if (t->queued || !t->child.loop)
        return;
    t->queued = true;
    coil_subprocess_ref(t);
    loop_push(t->child.loop, run, t, t->child.map ? coil__context_map_ref(t->child.map) : NULL);
}

/* ---- what the pipes tell ---- */

static coil_ret pipe_data(coil_transport *transport, const void *data, size_t n, void *arg)
{
    const struct child_pipe *pipe = arg;
    coil_subprocess_transport *t = pipe->owner;
    (void)transport;
    return t->calls.pipe_data_received ? t->calls.pipe_data_received(t, pipe->fd, data, n, t->arg)
                                       : 0;
}

static void pipe_lost(coil_transport *transport, coil_ret error, void *arg)
{
    struct child_pipe *pipe = arg;
    coil_subprocess_transport *t = pipe->owner;
    if (t->calls.pipe_connection_lost)
        t->calls.pipe_connection_lost(t, pipe->fd, error, t->arg);
    pipe->transport = NULL;
    coil_transport_unref(transport);
    kick(t);
    coil_subprocess_unref(t);
}

static void pipe_pause(coil_transport *transport, void *arg)
{
    const struct child_pipe *pipe = arg;
    (void)transport;
    if (pipe->owner->calls.pause_writing)
        pipe->owner->calls.pause_writing(pipe->owner, pipe->owner->arg);
}

static void pipe_resume(coil_transport *transport, void *arg)
{
    const struct child_pipe *pipe = arg;
    (void)transport;
    if (pipe->owner->calls.resume_writing)
        pipe->owner->calls.resume_writing(pipe->owner, pipe->owner->arg);
}

static const coil_protocol pipe_protocol = {
    .size = sizeof pipe_protocol,
    .connection_lost = pipe_lost,
    .data_received = pipe_data,
    .pause_writing = pipe_pause,
    .resume_writing = pipe_resume,
};

static coil_ret pipe_factory(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    *out_protocol = &pipe_protocol;
    *out_arg = arg;
    return 0;
}

/* ---- what the child tells ---- */

static void tell_exited(coil_subprocess_transport *t)
{
    if (t->calls.process_exited)
        t->calls.process_exited(t, t->arg);
    kick(t);
}

static void exited(struct child *child)
{
    if (transport_of(child)->made) /* else begin tells it */
        tell_exited(transport_of(child));
}

static void nothing_more(struct child *child)
{
    (void)child; /* coil__subprocess_loop_closes is next */
}

static const struct child_class subprocess_class = {.exited = exited, .loop_closes = nothing_more};

/* Its protocol failed to be made: it is killed, and nobody hears of it. */
static void unheard(struct child *child)
{
    coil_subprocess_unref(transport_of(child));
}

static const struct child_class unheard_class = {.exited = unheard, .loop_closes = unheard};

/* ---- the slot ---- */

static bool has_pipes(const coil_subprocess_transport *t)
{
    return t->pipes[0].transport || t->pipes[1].transport || t->pipes[2].transport;
}

static void begin(coil_subprocess_transport *t)
{
    t->made = true;
    coil_ret rc = t->calls.connection_made ? t->calls.connection_made(t, t->arg) : 0;
    if (rc < 0) {
        t->made_error = rc;
        t->words = coil__error_capture(rc);
        coil_subprocess_close(t);
    }
    while (coil__waiters_wake(&t->openers))
        ;
    if (t->child.exited)
        tell_exited(t);
}

/* The loop has nothing to do with it any more. */
static void forget_loop(coil_subprocess_transport *t, coil_loop *loop)
{
    list_remove(&t->link);
    loop_release(loop, 1);
}

static void run(void *arg)
{
    coil_subprocess_transport *t = arg;
    t->queued = false;
    if (!t->made) {
        begin(t);
    } else if (t->child.exited && !has_pipes(t) && !t->lost) {
        t->lost = t->closing = true;
        forget_loop(t, t->child.loop);
        if (t->calls.connection_lost)
            t->calls.connection_lost(t, t->arg);
        coil_subprocess_unref(t);
    }
    coil_subprocess_unref(t);
}

/* ---- making ---- */

static coil_ret connect_pipes(coil_subprocess_transport *t, struct child_pipes *pipes)
{
    for (int i = 0; i < 3; i++) {
        if (!pipes->socks[i])
            continue;
        struct child_pipe *pipe = &t->pipes[i];
        int err = coil__transport_new(pipes->socks[i], &pipe->transport);
        if (err < 0)
            return err;
        pipes->socks[i] = NULL; /* the transport's */
        pipe->transport->kind = i == 0 ? TRANSPORT_WRITES : TRANSPORT_READS;
        pipe->transport->watched = i == 0;
    }
    return 0;
}

/* Nothing was told of them. */
static void drop_pipes(coil_subprocess_transport *t)
{
    for (int i = 0; i < 3; i++) {
        if (t->pipes[i].transport)
            coil__transport_forsake(t->pipes[i].transport);
        t->pipes[i].transport = NULL;
    }
}

/* Told to the protocol from here on: who has it may not be lost without a word. */
static void open_pipes(coil_subprocess_transport *t)
{
    for (int i = 0; i < 3; i++) {
        struct child_pipe *pipe = &t->pipes[i];
        if (!pipe->transport)
            continue;
        transport_ref(pipe->transport);
        coil_subprocess_ref(t);
        (void)coil__transport_equip(pipe->transport, pipe_factory, pipe);
    }
}

static coil_ret take_protocol(coil_subprocess_transport *t, coil_subprocess_factory_fn factory,
                              void *arg)
{
    const coil_subprocess_protocol *protocol = NULL;
    coil_subprocess_protocol own;
    void *protocol_arg = NULL;
    coil_ret rc = factory(&protocol, &protocol_arg, arg);
    if (rc >= 0 && !protocol)
        rc = coil__fail(-EINVAL, "the factory made no protocol");
    if (rc < 0)
        return rc;
    t->calls = *OPTS_READ(protocol, own);
    t->arg = protocol_arg;
    return 0;
}

static coil_ret start(struct proc_part *part, coil_subprocess_transport *t, struct child_plan *plan,
                      const coil_subprocess_opts *opts)
{
    struct child_pipes pipes;
    coil_ret rc = coil__pipes_open(part->loop, opts, plan, &pipes);
    if (rc < 0)
        return rc;
    rc = connect_pipes(t, &pipes);
    if (rc == 0)
        rc = coil__child_start(part, &t->child, &subprocess_class, plan);
    coil__pipes_drop(&pipes); /* what is still ours of them */
    if (rc < 0)
        drop_pipes(t);
    return rc;
}

static coil_subprocess_transport *transport_new(coil_loop *loop)
{
    coil_subprocess_transport *t = coil__zalloc(sizeof *t);
    if (!t)
        return NULL;
    if (coil__loop_hold(loop, 1) < 0) {
        coil__free(t);
        return NULL;
    }
    t->refs = 1;
    list_init(&t->link);
    t->child.map = context_capture();
    for (int i = 0; i < 3; i++)
        t->pipes[i] = (struct child_pipe){.owner = t, .fd = i};
    return t;
}

static const struct wait_class open_class = {.what = "connection_made",
                                             .cancel = coil__waiter_cancel};

static coil_ret wait_made(coil_subprocess_transport *t)
{
    coil_ret rc = 0;
    while (rc == 0 && !t->made) {
        struct waiter waiter;
        rc = coil__waiters_wait(&t->openers, &waiter, &open_class);
    }
    return rc == 0 && t->made_error ? coil__error_restore(t->words, t->made_error) : rc;
}

/* It runs. */
static coil_ret introduce(coil_subprocess_transport *t, coil_subprocess_factory_fn factory,
                          void *arg, coil_subprocess_transport **out_transport,
                          void **out_protocol_arg)
{
    coil_ret rc = take_protocol(t, factory, arg);
    if (rc < 0) {
        drop_pipes(t);
        forget_loop(t, t->child.loop);
        t->child.cls = &unheard_class;
        coil__child_kill(&t->child);
        if (t->child.exited)
            coil_subprocess_unref(t);
        return rc;
    }
    coil_subprocess_ref(t);
    kick(t);
    open_pipes(t);
    rc = wait_made(t);
    if (rc < 0)
        coil_subprocess_close(t);
    else if (out_protocol_arg)
        *out_protocol_arg = t->arg;
    if (rc < 0 || !out_transport)
        coil_subprocess_unref(t);
    else
        *out_transport = t;
    return rc;
}

static coil_ret may_create(const coil_loop *loop, coil_subprocess_factory_fn factory)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (loop && loop != coil__running_loop)
        return coil__fail(COIL_EWRONGLOOP, "processes are made in the running event loop");
    return factory ? 0 : coil__fail(-EINVAL, "a transport needs a protocol factory");
}

struct asked {
    coil_subprocess_factory_fn factory;
    void *arg;
    const char *const *argv;
    const char *command;
    const coil_subprocess_opts *opts;
};

static coil_ret create(const struct asked *asked, coil_subprocess_transport **out_transport,
                       void **out_protocol_arg)
{
    coil_subprocess_opts own;
    const coil_subprocess_opts *opts = OPTS_READ(asked->opts, own);
    const char *shell_argv[4];
    struct child_plan plan;
    struct proc_part *part;
    coil_ret rc = coil__child_plan(asked->argv, asked->command, shell_argv, opts, &plan);
    if (rc == 0)
        rc = coil__yield();
    if (rc == 0)
        rc = coil__proc_part(coil__running_loop, &part);
    if (rc < 0)
        return rc;
    coil_subprocess_transport *t = transport_new(part->loop);
    if (!t)
        return coil__fail_plain(-ENOMEM);
    rc = start(part, t, &plan, opts);
    if (rc < 0) {
        forget_loop(t, part->loop);
        coil_subprocess_unref(t);
        return rc;
    }
    list_push(&part->transports, &t->link);
    return introduce(t, asked->factory, asked->arg, out_transport, out_protocol_arg);
}

coil_ret coil_loop_subprocess_exec(coil_loop *loop, coil_subprocess_factory_fn factory, void *arg,
                                   const char *const *argv, const coil_subprocess_opts *opts,
                                   coil_subprocess_transport **out_transport,
                                   void **out_protocol_arg)
{
    coil_ret rc = may_create(loop, factory);
    struct asked asked = {.factory = factory, .arg = arg, .argv = argv, .opts = opts};
    return rc < 0 ? rc : create(&asked, out_transport, out_protocol_arg);
}

coil_ret coil_loop_subprocess_shell(coil_loop *loop, coil_subprocess_factory_fn factory, void *arg,
                                    const char *command, const coil_subprocess_opts *opts,
                                    coil_subprocess_transport **out_transport,
                                    void **out_protocol_arg)
{
    coil_ret rc = may_create(loop, factory);
    if (rc == 0 && !command)
        rc = coil__fail(-EINVAL, "there is no command to run");
    struct asked asked = {.factory = factory, .arg = arg, .command = command, .opts = opts};
    return rc < 0 ? rc : create(&asked, out_transport, out_protocol_arg);
}

/* ---- asking, signals ---- */

pid_t coil_subprocess_pid(const coil_subprocess_transport *transport)
{
    return transport->child.id.pid;
}

bool coil_subprocess_returncode(const coil_subprocess_transport *transport, int *out_returncode)
{
    if (transport->child.exited && out_returncode)
        *out_returncode = transport->child.returncode;
    return transport->child.exited;
}

coil_transport *coil_subprocess_pipe_transport(coil_subprocess_transport *transport, int fd)
{
    return fd < 0 || fd > 2 ? NULL : transport->pipes[fd].transport;
}

int coil_subprocess_send_signal(coil_subprocess_transport *transport, int signo)
{
    return coil__child_signal(&transport->child, signo);
}

int coil_subprocess_terminate(coil_subprocess_transport *transport)
{
    return coil__child_signal(&transport->child, SIGTERM);
}

int coil_subprocess_kill(coil_subprocess_transport *transport)
{
    return coil__child_signal(&transport->child, SIGKILL);
}

/* ---- closing ---- */

void coil_subprocess_close(coil_subprocess_transport *transport)
{
    if (transport->closing)
        return;
    transport->closing = true;
    for (int i = 0; i < 3; i++)
        if (transport->pipes[i].transport)
            coil_transport_close(transport->pipes[i].transport);
    coil__child_kill(&transport->child);
}

bool coil_subprocess_is_closing(const coil_subprocess_transport *transport)
{
    return transport->closing;
}

/* ---- the loop closes ---- */

/* Its child has been reaped, and the pipes are about to go. Nothing is called. */
static void take_down(coil_subprocess_transport *t, coil_loop *loop)
{
    coil_subprocess_ref(t);
    forget_loop(t, loop);
    t->child.loop = NULL;
    t->lost = t->closing = true;
    for (int i = 0; i < 3; i++) {
        if (!t->pipes[i].transport)
            continue;
        coil_transport_unref(t->pipes[i].transport);
        t->pipes[i].transport = NULL;
        coil_subprocess_unref(t);
    }
    if (t->queued)
        coil_subprocess_unref(t);
    coil_subprocess_unref(t); /* the one until it is lost */
    coil_subprocess_unref(t);
}

void coil__subprocess_loop_closes(struct proc_part *part)
{
    while (!list_empty(&part->transports))
        take_down(container_of(list_first(&part->transports), coil_subprocess_transport, link),
                  part->loop);
}
