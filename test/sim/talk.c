/* SPDX-License-Identifier: MIT
 *
 * talk.c: a client that says something to a server which says it back, and its ledger: a clean end means that all came
 * back, anything else comes after a correct beginning. */
#include "swarm.h"

coil_ret say_back(coil_reader *reader, coil_writer *writer, void *arg)
{
    char buf[5000];
    coil_ret rc;
    while ((rc = coil_reader_read(reader, buf, sizeof buf)) > 0) {
        rc = coil_writer_write(writer, buf, (size_t)rc);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(writer);
        if (coil_iserr(rc))
            break;
    }
    if (coil_iserr(rc)) { /* whoever reads must not take this for the end */
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        coil_sock_setsockopt(coil_writer_sock(writer), SOL_SOCKET, SO_LINGER, &at_once,
                             sizeof at_once);
        coil_writer_abort(writer);
    }
    return rc == COIL_EEXIT ? rc : 0;
}

coil_ret serve_until_stopped(coil_client_fn fn, const coil_server_opts *opts)
{
    struct host *host = host_here();
    coil_server *server;
    coil_ret rc = coil_start_server_with(fn, NULL, host->address, "7", opts, &server);
    if (coil_iserr(rc))
        return rc;
    rc = coil_event_wait(&host->stop);
    coil_server_close(server);
    coil_server_abort_clients(server);
    coil_ret closed = coil_server_wait_closed(server);
    coil_server_free(server);
    return coil_iserr(rc) ? rc : closed;
}

static coil_ret speak(void *arg)
{
    struct speech *s = arg;
    struct random random = {s->seed};
    char piece[4000];
    bool hurried = random_below(&random, 2);
    for (size_t at = 0; at < s->n;) {
        size_t n = 1 + random_below(&random, sizeof piece);
        n = n < s->n - at ? n : s->n - at;
        for (size_t i = 0; i < n; i++)
            piece[i] = word(s->id, at + i);
        coil_ret rc = coil_writer_write(s->writer, piece, n);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(s->writer);
        if (!coil_iserr(rc) && random_below(&random, 40) == 0)
            rc = coil_sleep(hurried ? random_below(&random, 3000) / 1000.0 : pause_s(&random) / 4);
        if (coil_iserr(rc))
            return rc;
        at += n;
    }
    return coil_writer_write_eof(s->writer);
}

struct sip {
    coil_reader *reader;
    void *buf;
    size_t n;
    coil_ret got; /* a task that returns with a cancel in its ears has no result */
};

static coil_ret sip(void *arg)
{
    struct sip *s = arg;
    return s->got = coil_reader_read(s->reader, s->buf, s->n);
}

/* By a task that is cancelled as soon as it waits, again and again: it has read nothing, or what it read is told. */
static coil_ret read_impatiently(coil_reader *reader, void *buf, size_t n)
{
    struct sip s = {reader, buf, n, 0};
    double wait = 0.0001;
    for (;;) {
        s.got = -ECANCELED;
        coil_task *task = coil_create_task(sip, &s);
        coil_ret rc = coil_sleep(0);
        coil_task_cancel(task, "impatience");
        coil_ret got = coil_join(task);
        got = got == -ECANCELED && s.got >= 0 ? s.got : got;
        if (coil_iserr(rc) || got != -ECANCELED || coil_task_cancelling(coil_current_task()) > 0)
            return coil_iserr(rc) ? rc : got;
        if (coil_iserr(rc = coil_sleep(wait)))
            return rc;
        wait = wait < patience() ? wait * 2 : wait;
    }
}

/* Some have heard enough before the end, and go in all forms. */
enum { HEARD_ENOUGH = -3001 };

/* What comes back, until the end; an error after a correct beginning. */
static coil_ret listen_to(const struct speech *s, coil_reader *reader, struct random *random)
{
    struct play *play = host_here()->play;
    coil_ret (*read)(coil_reader *, void *, size_t) = random_below(random, 8) ? coil_reader_read
                                                                              : read_impatiently;
    char buf[3000];
    size_t at = 0;
    coil_ret rc;
    while ((rc = read(reader, buf, 1 + random_below(random, sizeof buf))) > 0) {
        for (size_t i = 0; i < (size_t)rc; i++)
            if (at + i >= s->n || buf[i] != word(s->id, at + i))
                failed("%s: a byte came back that was not sent there", play->name);
        at += (size_t)rc;
        play->bytes += (size_t)rc;
        if (random_below(random, 50) == 0 && coil_iserr(rc = coil_sleep(0.5)))
            break;
        if (!run.calm && random_below(random, 60) == 0)
            return HEARD_ENOUGH;
    }
    if (rc == 0 && at != s->n && play->kills != s->kills && !s->end_proves_all)
        return -ECONNABORTED;
    if (rc == 0 && at != s->n)
        failed("%s: a clean end, and not all has come", play->name);
    return rc;
}

coil_ret converse(const char *address, const coil_connect_opts *opts, uint64_t seed,
                  double deadline_s)
{
    struct random random = {seed};
    struct speech s = {.kills = host_here()->play->kills, .end_proves_all = opts && opts->tls};
    s.id = random_u64(&random);
    s.seed = random_u64(&random);
    s.n = random_below(&random, 2) ? random_below(&random, 200) : random_below(&random, 200000);
    s.n = s.n < run.limits.bytes ? s.n : run.limits.bytes;
    coil_reader *reader;
    coil_writer *writer;
    coil_timeout(deadline, deadline_s);
    coil_ret rc = coil_open_connection_with(address, "7", opts, &reader, &writer);
    if (!coil_iserr(rc)) {
        s.writer = writer;
        coil_task_group(speaker);
        coil_group_create_task(&speaker, speak, &s);
        rc = coil_group_exit(&speaker, listen_to(&s, reader, &random));
        if (coil_iserr(rc) && rc != HEARD_ENOUGH)
            coil_writer_abort(writer);
        coil_ignore(coil_writer_finish(writer));
    }
    return coil_timeout_exit(&deadline, rc);
}

coil_ret after_talk(struct host *host, struct random *random, coil_ret rc)
{
    if (rc == 0)
        host->play->whole++;
    else
        host->play->broken++;
    note((uint64_t)rc);
    return rc == COIL_EEXIT ? rc : coil_sleep(pause_s(random));
}

coil_ret converse_often(struct host *host, const char *address, const coil_connect_opts *opts)
{
    struct random random = {host->seed};
    for (unsigned talks = talks_of(&random, 8); talks > 0 && !run.calm; talks--) {
        uint64_t seed = random_u64(&random);
        coil_ret rc = converse(address, opts, seed, patience() * (1 + random_below(&random, 120)));
        if (coil_iserr(rc = after_talk(host, &random, rc)))
            return rc;
    }
    return 0;
}
