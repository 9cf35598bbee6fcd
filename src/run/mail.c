/* SPDX-License-Identifier: MIT
 *
 * mail.c: messages between workers: who waits for one, who waits for room.
 *
 *     send --> [ mailbox of the receiver ] --> receive
 *                 |  full: the task waits in a room of its worker, for that receiver
 *                 |  the first put after the receiver began to wait: its node goes to the receiver's inbox, and so to
 *                 |  its ring; the puts that follow cost nothing but the put
 *                 '--a take after somebody asked for room: the nodes of all rooms that asked go to their workers' inboxes
 *
 * What arrives is given to the tasks that wait, in their order, and what they send is put for them: a message is never
 * between two owners. So a cancel that comes later waits for the next waiting call, as with the kernel's ops.
 *
 * Nodes are told in the middle of collecting (loop/turn.c), where nothing but waking may be done, and that is all they do.
 *
 * Any worker's thread, each on its own part; what others may touch is atomic, or in the mailbox (base/mailbox.h). */
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "run/workers.h"
#include "task/task.h"

#include <stdio.h>

_Static_assert(sizeof(coil_message) == sizeof(struct mail) &&
                   offsetof(coil_message, data) == offsetof(struct mail, data) &&
                   offsetof(coil_message, fd) == offsetof(struct mail, fd) &&
                   offsetof(coil_message, from) == offsetof(struct mail, from),
               "a message is a mail");

_Thread_local struct worker *coil__this_worker;

/* The worker that asks, or NULL and the reason recorded. */
static struct worker *here(void)
{
    struct worker *w = coil__this_worker;
    if (!w || !w->loop || coil__running_loop != w->loop) {
        coil__fail(COIL_EINVALIDSTATE, "this is no worker of coil_workers()");
        return NULL;
    }
    if (loop_inherited(w->loop)) {
        coil__loop_say_inherited();
        return NULL;
    }
    return w;
}

int coil_worker_index(void)
{
    const struct worker *w = here();
    return w ? (int)w->index : (int)coil_last_error()->code;
}

int coil_worker_count(void)
{
    const struct worker *w = here();
    return w ? (int)w->crew->n : (int)coil_last_error()->code;
}

/* ---- who waits ---- */

struct receiver {
    struct wait wait;
    struct list link; /* in its worker's `receivers` */
    coil_message *out;
    size_t room, got;
};

struct sender {
    struct wait wait;
    struct list link; /* in the room's `senders` */
    struct mail mail;
    unsigned to;
};

static bool cancel_receiver(struct wait *w, const char *message)
{
    list_remove(&container_of(w, struct receiver, wait)->link);
    return coil__wait_cancel_plain(w, message);
}

static bool cancel_sender(struct wait *w, const char *message)
{
    list_remove(&container_of(w, struct sender, wait)->link);
    return coil__wait_cancel_plain(w, message);
}

static int describe_sender(const struct wait *w, char *out, size_t n)
{
    return snprintf(out, n, "room for a message to worker %u",
                    ((const struct sender *)w)->to); /* w is its first */
}

static const struct wait_class receiver_class = {
    .what = "message", .cancel = cancel_receiver, .keeps = true};
static const struct wait_class sender_class = {
    .what = "worker", .cancel = cancel_sender, .describe = describe_sender, .keeps = true};

/* Another worker may end the wait: virtual time does not jump over that. What was done stands, also if the task is unwound
 * before it hears of it: a message has one owner. */
static coil_ret park(const struct worker *w, struct wait *wait, struct list *link)
{
    bool others = w->crew->n > 1;
    w->loop->wakers += others;
    coil_ret rc = coil__park(wait);
    w->loop->wakers -= others;
    list_remove(link);
    return rc == COIL_EEXIT && wait->woken && !coil_iserr(wait->value) ? wait->value : rc;
}

/* ---- making room ---- */

/* Of every worker that asked. */
static void tell_of_room(struct worker *w)
{
    for (unsigned i = 0; i < w->crew->n; i++) {
        struct worker *from = &w->crew->workers[i];
        struct room *room = atomic_load_explicit(&from->rooms[w->index], memory_order_acquire);
        if (room && atomic_exchange_explicit(&room->asked, false, memory_order_acq_rel))
            coil__inbox_post(from->inbox, &room->node);
    }
}

static size_t take(struct worker *w, coil_message *out, size_t n)
{
    size_t got = coil__mailbox_take(&w->mailbox, (struct mail *)(void *)out, n);
    if (got > 0 && coil__mailbox_was_crowded(&w->mailbox))
        tell_of_room(w);
    return got;
}

/* ---- receiving ---- */

/* False if there is something already. */
static bool expect_mail(struct worker *w)
{
    if (!w->mail_expected)
        w->mail_expected = coil__mailbox_wait(&w->mailbox);
    return w->mail_expected;
}

static void deliver(struct worker *w)
{
    struct list *link;
    do {
        while ((link = list_first(&w->receivers))) {
            struct receiver *r = container_of(link, struct receiver, link);
            r->got = take(w, r->out, r->room);
            if (r->got == 0)
                break;
            list_remove(link);
            coil__wake(&r->wait, (coil_ret)r->got);
        }
    } while (link && !expect_mail(w));
}

static void mail_came(struct inbox_node *node)
{
    struct worker *w = container_of(node, struct worker, mail_node);
    w->mail_expected = false;
    if (!w->mail_closed)
        deliver(w);
}

/* What there is for who asks now, or why there is nothing for him. */
static coil_ret receive_now(struct worker *w, coil_message *out, size_t n)
{
    if (!out || !n)
        return coil__fail(-EINVAL, "a message needs room (NULL, or for none)");
    if (w->mail_closed)
        return coil__fail(COIL_ECLOSED, "the main task of worker %u has ended", w->index);
    return list_empty(&w->receivers) ? (coil_ret)take(w, out, n) : 0;
}

coil_ret coil_worker_receive_nowait(coil_message *out_messages, size_t n)
{
    struct worker *w = here();
    return w ? receive_now(w, out_messages, n) : coil_last_error()->code;
}

coil_ret coil_worker_receive(coil_message *out_messages, size_t n)
{
    int err = coil__can_wait();
    if (err)
        return err;
    struct worker *w = here();
    if (!w)
        return coil_last_error()->code;
    coil_ret rc;
    do
        rc = receive_now(w, out_messages, n);
    while (rc == 0 && !expect_mail(w));
    if (rc)
        return rc;

    struct receiver r = {.wait = WAIT_INIT(&receiver_class), .out = out_messages, .room = n};
    list_push(&w->receivers, &r.link);
    rc = park(w, &r.wait, &r.link);
    if (rc == COIL_ECLOSED)
        return coil__fail(rc, "the main task of worker %u has ended", w->index);
    return rc;
}

/* ---- sending ---- */

static int put(struct worker *to, const struct mail *mail)
{
    int rc = coil__mailbox_put(&to->mailbox, mail);
    if (rc != MAILBOX_TELL)
        return rc;
    coil__inbox_post(
        to->inbox,
        &to->mail_node); /* refused where that loop is closed: it closes its mailbox then */
    return 0;
}

/* False if there is room already. */
static bool expect_room(struct room *room)
{
    if (room->expected)
        return true;
    room->expected = true;
    atomic_store_explicit(&room->asked, true, memory_order_release);
    return coil__mailbox_want_room(&room->to->mailbox);
}

/* Puts for those who wait, in their order. */
static void use_room(struct room *room)
{
    struct list *link;
    do {
        while ((link = list_first(&room->senders))) {
            struct sender *s = container_of(link, struct sender, link);
            int rc = put(room->to, &s->mail);
            if (rc == COIL_EQUEUEFULL)
                break;
            list_remove(link);
            coil__wake(&s->wait, rc);
        }
    } while (link && !expect_room(room));
}

static void room_came(struct inbox_node *node)
{
    struct room *room = container_of(node, struct room, node);
    room->expected = false;
    use_room(room);
}

static struct room *room_of(const struct worker *from, const struct worker *to)
{
    return atomic_load_explicit(&from->rooms[to->index], memory_order_relaxed);
}

static struct room *make_room(struct worker *from, struct worker *to)
{
    struct room *room = coil__zalloc(sizeof *room);
    if (!room)
        return NULL;
    room->from = from;
    room->to = to;
    room->node.fn = room_came;
    atomic_init(&room->asked, false);
    list_init(&room->senders);
    atomic_store_explicit(&from->rooms[to->index], room, memory_order_release);
    return room;
}

/* Behind those who wait, if there are any. */
static int put_in_line(const struct worker *w, struct worker *to, const struct mail *mail)
{
    const struct room *room = room_of(w, to);
    if (room && !list_empty(&room->senders))
        return COIL_EQUEUEFULL;
    return put(to, mail);
}

static coil_ret put_or_wait(struct worker *w, struct worker *to, const struct mail *mail)
{
    int rc;
    struct room *room;
    do {
        rc = put_in_line(w, to, mail);
        if (rc != COIL_EQUEUEFULL)
            return rc;
        room = room_of(w, to);
        if (!room && !(room = make_room(w, to)))
            return -ENOMEM;
    } while (!expect_room(room));

    struct sender s = {.wait = WAIT_INIT(&sender_class), .mail = *mail, .to = to->index};
    list_push(&room->senders, &s.link);
    return park(w, &s.wait, &s.link);
}

/* Who sends to whom, or NULL and the reason recorded. */
static struct worker *sender_to(unsigned to, struct worker **out_to)
{
    struct worker *w = here();
    if (!w)
        return NULL;
    if (to >= w->crew->n) {
        coil__fail(-EINVAL, "there is no worker %u, only %u from 0 on", to, w->crew->n);
        return NULL;
    }
    *out_to = &w->crew->workers[to];
    return w;
}

static coil_ret told(coil_ret rc, unsigned to)
{
    if (rc == COIL_ECLOSED)
        return coil__fail(rc, "worker %u has ended", to);
    if (rc == COIL_EQUEUEFULL)
        return coil__fail(rc, "the mailbox of worker %u is full", to);
    return rc == -ENOMEM ? coil__fail_plain(rc) : rc;
}

static coil_ret send_waiting(unsigned to, int fd, void *data)
{
    int err = coil__can_wait();
    if (err)
        return err;
    struct worker *target, *w = sender_to(to, &target);
    if (!w)
        return coil_last_error()->code;
    return told(put_or_wait(w, target, &(struct mail){data, fd, w->index}), to);
}

static int send_now(unsigned to, int fd, void *data)
{
    struct worker *target, *w = sender_to(to, &target);
    if (!w)
        return (int)coil_last_error()->code;
    return (int)told(put_in_line(w, target, &(struct mail){data, fd, w->index}), to);
}

/* An imaginary descriptor is none to fcntl. */
static int check_fd(int fd)
{
    if (fd >= 0 && sys_fcntl(fd, F_GETFD, 0) >= 0)
        return 0;
    return (int)coil__fail(-EBADF, "descriptor %d is not open, or not of the real kernel", fd);
}

coil_ret coil_worker_send(unsigned to, void *data)
{
    return send_waiting(to, -1, data);
}

int coil_worker_send_nowait(unsigned to, void *data)
{
    return send_now(to, -1, data);
}

coil_ret coil_worker_send_fd(unsigned to, int fd, void *data)
{
    int err = check_fd(fd);
    return err ? err : send_waiting(to, fd, data);
}

int coil_worker_send_fd_nowait(unsigned to, int fd, void *data)
{
    int err = check_fd(fd);
    return err ? err : send_now(to, fd, data);
}

/* ---- beginning and end ---- */

enum { MAILBOX_DEFAULT = 1024 };

int coil__mail_init(struct worker *w)
{
    w->mail_node.fn = mail_came;
    list_init(&w->receivers);
    w->rooms = coil__zalloc(w->crew->n * sizeof *w->rooms);
    size_t size = w->crew->opts.mailbox;
    return w->rooms ? coil__mailbox_init(&w->mailbox, size ? size : MAILBOX_DEFAULT) : -ENOMEM;
}

void coil__mail_fini(struct worker *w)
{
    for (unsigned i = 0; w->rooms && i < w->crew->n; i++)
        coil__free(atomic_load_explicit(&w->rooms[i], memory_order_relaxed));
    coil__free(w->rooms);
    coil__mailbox_fini(&w->mailbox);
}

static void drop(const struct worker *w, const coil_message *messages, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (messages[i].fd >= 0)
            sys_close(messages[i].fd);
        if (messages[i].data && w->crew->opts.drop)
            w->crew->opts.drop(messages[i].data);
    }
}

void coil__mail_close(struct worker *w)
{
    if (w->mail_closed)
        return;
    w->mail_closed = true;
    coil__mailbox_close(&w->mailbox);
    coil_message some[16];
    size_t n;
    while ((n = take(w, some, sizeof some / sizeof some[0])) > 0) /* who waits for room is told */
        drop(w, some, n);
    for (struct list *link; (link = list_pop(&w->receivers));)
        coil__wake(&container_of(link, struct receiver, link)->wait, COIL_ECLOSED);
}
