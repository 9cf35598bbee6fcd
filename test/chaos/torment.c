/* SPDX-License-Identifier: MIT
 *
 * torment.c: what is done to servers and clients while they talk: a new thing every few hundredths of a second, each in a
 * task of its own.
 *
 * Nobody but our own children is touched, and nothing of the machine: the wrong time of day is an offset that the
 * programs add to what the kernel says (clock.c). */
#include "supervisor.h"

#include <signal.h>

struct torment_counts torments;

struct deed {
    struct peer *peer;
    struct dice dice;
};

/* ---- deeds; each a task ---- */

static coil_ret stop_for_a_while(void *arg)
{
    struct deed *d = arg;
    if (d->peer->busy || !d->peer->process)
        return 0;
    d->peer->busy = true;
    torments.stops++;
    int err = coil_process_send_signal(d->peer->process, SIGSTOP);
    coil_ret rc = coil_sleep((10 + below(&d->dice, 600)) / 1e3);
    if (!err)
        err = coil_process_send_signal(d->peer->process, SIGCONT);
    if (err)
        breach("a process cannot be stopped, or go on: %s", coil_strerror(err));
    d->peer->busy = false;
    return rc;
}

static coil_ret kill_one(void *arg)
{
    struct deed *d = arg;
    if (d->peer->busy || !d->peer->process)
        return 0;
    d->peer->busy = true;
    if (d->peer->is_server)
        torments.server_kills++;
    else
        torments.client_kills++;
    coil_ret rc = peer_kill_and_restart(d->peer);
    d->peer->busy = false;
    return rc;
}

/* A command that was cut short by a kill is nobody's fault; peer_command has told of all else. */
static coil_ret only_cancel(coil_ret rc)
{
    return rc == COIL_EEXIT || rc == -ECANCELED ? rc : 0;
}

static coil_ret take_descriptors(void *arg)
{
    struct deed *d = arg;
    torments.hogs++;
    return only_cancel(peer_command(d->peer, "hog %u", 50 + below(&d->dice, 1000)));
}

static coil_ret begin_storm(void *arg)
{
    struct deed *d = arg;
    torments.storms++;
    unsigned children = 20 + below(&d->dice, one_in(&d->dice, 5) ? 300 : 60);
    return only_cancel(
        peer_command(d->peer, "storm %u %llu", children, (unsigned long long)roll(&d->dice)));
}

static coil_ret flood(void *arg)
{
    static const int others[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH};
    struct deed *d = arg;
    unsigned n = 100 + below(&d->dice, 2000);
    bool counted = one_in(&d->dice, 2);
    uint32_t killed = d->peer->killed;
    for (unsigned i = 0; i < n; i++) {
        if (d->peer->killed != killed || !d->peer->process || d->peer->busy)
            break;
        int signo = counted ? SIGRTMIN : others[below(&d->dice, 4)];
        if (coil_process_send_signal(d->peer->process, signo) != 0)
            break;
        d->peer->counted_signals += counted;
        torments.signals++;
        coil_ret rc = i % 100 == 99 ? coil_sleep(0) : 0;
        if (coil_iserr(rc))
            return rc;
    }
    return 0;
}

static void step_clock(struct dice *dice)
{
    /* Half a day at most: certificates stay good. */
    int64_t seconds = (int64_t)below(dice, 86400) - 43200;
    shared->realtime_offset_ns = one_in(dice, 4) ? 0 : seconds * 1000000000;
    torments.clock_steps++;
}

/* ---- which, and when ---- */

static void something_happens(struct cast *cast, coil_group *group, struct dice *dice)
{
    struct deed d = {.dice = {roll(dice)}};
    struct peer *server = &cast->servers[below(dice, SERVERS)];
    struct peer *client = &cast->clients[below(dice, cast->clients_n)];
    coil_fn fn = NULL;
    uint32_t what = below(dice, 100);
    if (what < 22)
        d.peer = one_in(dice, 2) ? server : client, fn = stop_for_a_while;
    else if (what < 29)
        d.peer = client, fn = kill_one;
    else if (what < 34)
        d.peer = &cast->servers[VICTIM], fn = kill_one;
    else if (what < 39)
        d.peer = server, fn = take_descriptors;
    else if (what < 46)
        d.peer = server, fn = begin_storm;
    else if (what < 66)
        d.peer = server, fn = flood;
    else if (what < 76)
        step_clock(dice);
    if (fn)
        coil_group_create_task_with(group, fn, &d, sizeof d);
}

static bool somebody_is_gone(struct cast *cast)
{
    const struct peer *gone = NULL;
    for (unsigned i = 0; i < SERVERS; i++)
        gone = peer_is_gone(&cast->servers[i]) ? &cast->servers[i] : gone;
    for (unsigned i = 0; i < cast->clients_n; i++)
        gone = peer_is_gone(&cast->clients[i]) ? &cast->clients[i] : gone;
    int status = 0;
    if (gone && coil_process_returncode(gone->process, &status))
        breach("%s %u (%s) ended by itself, with %d", gone->is_server ? "server" : "client",
               gone->number, gone->backend, status);
    return gone;
}

static void show_progress(const struct cast *cast, double left)
{
    fprintf(stderr,
            "chaos: %s: %3.0f s left, %u connections, %lu stops, %lu + %lu kills, %lu without "
            "descriptors, %lu storms, %lu signals, %u breaches\n",
            cast->servers[0].backend, left, shared->next, torments.stops, torments.client_kills,
            torments.server_kills, torments.hogs, torments.storms, torments.signals, breaches);
}

coil_ret torment(struct cast *cast, double seconds, uint64_t seed)
{
    struct dice dice = {seed};
    double begun = coil_loop_time(NULL), shown = begun, now;
    coil_ret rc = 0;
    coil_task_group(group);
    while ((now = coil_loop_time(NULL)) - begun < seconds && !coil_iserr(rc) && breaches == 0) {
        if (somebody_is_gone(cast))
            break;
        something_happens(cast, &group, &dice);
        if (now - shown > 5) {
            show_progress(cast, begun + seconds - now);
            shown = now;
        }
        rc = coil_sleep((5 + below(&dice, 150)) / 1e3);
    }
    rc = coil_group_exit(&group, rc);
    shared->realtime_offset_ns = 0;
    return rc;
}
