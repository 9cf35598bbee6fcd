/* SPDX-License-Identifier: MIT
 *
 * race.c: several attempts to connect at a time, the first that succeeds is kept ("happy eyeballs").
 *
 *     address 1 |-----------------------------------------> closed: lost
 *     address 2         |--------------------> connected: the winner, kept
 *     address 3                 |---> refused
 *     address 4                      |-------------------> closed: lost
 *               |-delay-|-delay-|    ^ at once: the one before has failed
 *
 * No tasks: an attempt is a socket and an op. The frame that races parks between events and does all that
 * closes or starts something; an op that is done only leaves its result and wakes that frame.
 *
 * Always true:
 *   - the array of racers outlives every op in it: nobody leaves before the backend's last word on each;
 *   - a racer has a socket from its start until the end of the race; at the end each is closed, but for a
 *     winner that is handed out. A cancel hands nobody out;
 *   - the first to succeed is the winner, and no other ever becomes it.
 *
 * Runs on the loop's thread. Elsewhere: the order of the addresses, what failures amount to (connect.c). */
#include "base/error.h"
#include "base/mem.h"
#include "net/connect.h"
#include "net/socket.h"

#include <stdio.h>

/*     RUNNING --op done--> CONNECTED or FAILED
 *        +-----ended-----> FAILED                */
enum racer_state { RACER_FAILED, RACER_RUNNING, RACER_CONNECTED };

struct racer {
    struct race *race;
    enum racer_state state;
    coil_sock *sock; /* NULL: it could not even be made */
    coil_address to;
    struct op op;
    coil_ret code;              /* what it failed with */
    struct error_record *error; /* its words, if they are not those of a failed connect */
};

struct race {
    const coil_addrinfo *next; /* the address to be tried next; NULL: all have started */
    const coil_addrinfo *locals;
    struct net_part *part;
    int64_t delay_ns;
    struct timer timer;
    bool delay_over;
    struct wait *waiting; /* NULL: nobody needs waking */
    struct racer *winner; /* NULL: nobody has connected */
    size_t n, running;
    struct racer racers[]; /* in the order of starting */
};

static struct backend *backend_of(const struct race *race)
{
    return race->part->loop->backend;
}

/* ---- what happens ---- */

static void news(struct race *race)
{
    if (race->waiting && !race->waiting->woken)
        coil__wake(race->waiting, 0);
}

static void connect_done(struct op *op)
{
    struct racer *r = container_of(op, struct racer, op);
    struct race *race = r->race;
    race->running--;
    r->code = (coil_ret)op->result;
    r->state = r->code < 0 ? RACER_FAILED : RACER_CONNECTED;
    if (r->state == RACER_CONNECTED && !race->winner)
        race->winner = r;
    news(race);
}

static void delay_passed(struct timer *timer)
{
    struct race *race = container_of(timer, struct race, timer);
    race->delay_over = true;
    news(race);
}

/* ---- the end of attempts ---- */

/* After this the rest have no effect; those whose last word is still to come stay RUNNING. */
static void end_attempts(struct race *race)
{
    struct backend *b = backend_of(race);
    for (size_t i = 0; i < race->n; i++) {
        struct racer *r = &race->racers[i];
        if (r->state == RACER_RUNNING && b->cls->cancel(b, &r->op) == 0) {
            r->state = RACER_FAILED;
            r->code = -ECANCELED;
            race->running--;
        }
    }
}

static bool all_ended(void *arg)
{
    return ((const struct race *)arg)->running == 0;
}

/* ---- waiting ---- */

struct race_wait {
    struct wait wait; /* first: the class's functions get this */
    struct race *race;
};

/* The frame is being unwound, and nobody must wake it. */
static void abandon_race(struct wait *wait)
{
    struct race *race = ((struct race_wait *)wait)->race;
    race->waiting = NULL;
    end_attempts(race);
    coil__loop_settle(race->part->loop, all_ended, race);
}

static int describe_race(const struct wait *wait, char *out, size_t n)
{
    const struct race *race = ((const struct race_wait *)wait)->race;
    return snprintf(out, n, "%zu of %zu attempts", race->running, race->n);
}

/* An event that came before a cancel is looked at first; the cancel comes with the next wait. */
static const struct wait_class race_class = {
    .what = "connect",
    .cancel = coil__wait_cancel_plain,
    .abandon = abandon_race,
    .keeps = true,
    .describe = describe_race,
};

/* It is over, and only the kernel's last words are missing: a cancel is for later. */
static const struct wait_class drain_class = {
    .what = "connect",
    .abandon = abandon_race,
    .keeps = true,
    .describe = describe_race,
};

/* Until something happens: 0, -ECANCELED, COIL_EEXIT. */
static coil_ret wait_for_news(struct race *race, const struct wait_class *cls)
{
    struct race_wait w = {.wait = WAIT_INIT(cls), .race = race};
    race->part->busy = NULL;
    race->waiting = &w.wait;
    coil_ret rc = coil__park(&w.wait);
    race->waiting = NULL;
    return rc;
}

/* No attempt is under way any more when this returns. */
static void drain(struct race *race)
{
    end_attempts(race);
    while (race->running > 0 && !coil__coro_unwinding())
        if (wait_for_news(race, &drain_class) < 0)
            break;
    coil__loop_settle(race->part->loop, all_ended, race);
}

/* ---- racing ---- */

/* 0: it runs, or has failed and says so. An error: the race is over. */
static coil_ret start_next(struct race *race)
{
    const coil_addrinfo *ai = race->next;
    struct racer *r = &race->racers[race->n++];
    race->next = ai->next;
    r->race = race;
    r->to = ai->address;
    r->code = coil__connect_socket(ai, race->locals, &r->sock);
    if (connect_is_final(r->code))
        return r->code;
    if (r->code < 0) {
        r->error = coil__error_capture(r->code);
        return 0;
    }
    race->delay_over = false;
    coil__timer_stop(race->part->loop, &race->timer);
    int64_t until = clock_add(loop_now_ns(race->part->loop), race->delay_ns);
    if (race->next && coil__timer_start(race->part->loop, &race->timer, until) < 0)
        return coil__fail_plain(-ENOMEM);
    struct backend *b = backend_of(race);
    r->state = RACER_RUNNING;
    race->running++;
    r->op.kind = OP_CONNECT;
    r->op.fd = r->sock->fd;
    r->op.done = connect_done;
    r->op.to.addr = &r->to.storage;
    r->op.to.len = r->to.len;
    backend_submit(b, &r->op);
    return 0;
}

static bool next_is_due(const struct race *race)
{
    return race->next &&
           (race->delay_over || !race->n || race->racers[race->n - 1].state == RACER_FAILED);
}

/* 0: there is a winner. COIL_EGROUP: all have failed. Else what ended the race before. */
static coil_ret run(struct race *race)
{
    for (;;) {
        while (!race->winner && next_is_due(race)) {
            coil_ret rc = start_next(race);
            if (rc < 0)
                return rc;
        }
        if (race->winner)
            return 0;
        if (race->running == 0)
            return COIL_EGROUP;
        coil_ret rc = wait_for_news(race, &race_class);
        if (rc < 0)
            return rc;
    }
}

/* In the order of the addresses, whichever failed first. */
static void tell_failures(struct race *race, struct failures *failures)
{
    for (size_t i = 0; i < race->n; i++) {
        struct racer *r = &race->racers[i];
        if (!r->error)
            coil__sock_connect_failed(&r->to, r->code);
        coil__failures_add(failures, r->code, r->error ? r->error : coil__error_capture(r->code));
        r->error = NULL;
    }
}

static struct race *race_new(struct net_part *part, const coil_addrinfo *list)
{
    size_t n = 0;
    for (const coil_addrinfo *ai = list; ai; ai = ai->next)
        n++;
    struct race *race = coil__zalloc(sizeof *race + n * sizeof(struct racer));
    if (!race)
        return NULL;
    race->part = part;
    race->next = list;
    timer_init(&race->timer, delay_passed);
    return race;
}

coil_ret coil__connect_race(const coil_addrinfo *list, const coil_addrinfo *locals,
                            int64_t delay_ns, struct failures *failures, coil_sock **out)
{
    struct net_part *part;
    int err = coil__net_part(coil__running_loop, &part);
    if (err < 0)
        return err;
    struct race *race = race_new(part, list);
    if (!race)
        return coil__fail_plain(-ENOMEM);
    race->locals = locals;
    race->delay_ns = delay_ns;
    coil_ret rc = run(race);
    coil__timer_stop(part->loop, &race->timer);
    struct racer *kept = rc == 0 ? race->winner : NULL;
    drain(race);
    if (rc == COIL_EGROUP)
        tell_failures(race, failures);
    if (kept) {
        coil__sock_keep_peer(kept->sock, &kept->to);
        *out = kept->sock;
        kept->sock = NULL;
    }
    for (size_t i = 0; i < race->n; i++) {
        coil_sock_unref(race->racers[i].sock);
        coil__error_unref(race->racers[i].error);
    }
    coil__free(race);
    return rc;
}
