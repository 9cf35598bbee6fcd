/* SPDX-License-Identifier: MIT
 *
 * ear.h: a protocol that writes down what it is told, and may be told what to do then.
 *
 *     struct ear ear = {0};
 *     coil_transport *t = ear_on(sock, &ear);
 *     ...
 *     assert_string_equal(ear.log, "made data:hello eof lost:0");
 */
#ifndef TEST_NET_EAR_H
#define TEST_NET_EAR_H

#include "wire.h"

#include "net/transport.h"

struct ear {
    char log[1024];
    char *bytes; /* all that came, if asked to keep it */
    size_t n, size;
    bool keep; /* the bytes, and not in the log */
    coil_transport *t;
    int pauses, resumes, lost;
    coil_ret error;     /* of connection_lost */
    char words[160];    /* of that */
    bool inside;        /* a callback runs */
    bool must_not;      /* none may be called now */
    coil_ret keep_open; /* what eof_received returns */
    coil_ret made_says, data_says;
    void (*on_made)(struct ear *ear);
    coil_ret (*on_data)(struct ear *ear, const char *data, size_t n);
    void (*on_eof)(struct ear *ear);
    void (*on_lost)(struct ear *ear);
    void (*on_pause)(struct ear *ear);
    void (*on_resume)(struct ear *ear);
    void *more; /* the test's own */

    /* As a buffered protocol. */
    char room[32];
    coil_ret room_says; /* 0: the size of `room` */
    void (*on_room)(struct ear *ear);
};

__attribute__((format(printf, 2, 3))) static inline void ear_note(struct ear *ear, const char *fmt,
                                                                  ...)
{
    size_t n = strlen(ear->log);
    if (n && n + 1 < sizeof ear->log)
        ear->log[n++] = ' ';
    va_list args;
    va_start(args, fmt);
    vsnprintf(ear->log + n, sizeof ear->log - n, fmt, args);
    va_end(args);
}

static inline struct ear *ear_of(coil_transport *t, void *arg)
{
    struct ear *ear = arg;
    assert_false(ear->must_not);
    assert_null(coil_current_task()); /* callbacks run on the loop's own stack */
    ear->t = t;
    return ear;
}

static inline coil_ret ear_made(coil_transport *t, void *arg)
{
    struct ear *ear = ear_of(t, arg);
    ear_note(ear, "made");
    if (ear->on_made)
        ear->on_made(ear);
    return ear->made_says;
}

static inline void ear_lost(coil_transport *t, coil_ret error, void *arg)
{
    struct ear *ear = ear_of(t, arg);
    ear_note(ear, "lost:%s", error ? coil_errname(error) : "0");
    ear->lost++;
    ear->error = error;
    if (error)
        snprintf(ear->words, sizeof ear->words, "%s", coil_last_error()->message);
    assert_true(coil_transport_is_closing(t));
    if (ear->on_lost)
        ear->on_lost(ear);
}

static inline void ear_take(struct ear *ear, const char *data, size_t n)
{
    assert_true(n > 0);
    if (!ear->keep) {
        ear_note(ear, "data:%.*s", (int)n, data);
        return;
    }
    if (ear->n + n > ear->size) {
        ear->size = 2 * (ear->n + n);
        ear->bytes = realloc(ear->bytes, ear->size);
    }
    memcpy(ear->bytes + ear->n, data, n);
    ear->n += n;
}

static inline coil_ret ear_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    struct ear *ear = ear_of(t, arg);
    ear_take(ear, data, n);
    return ear->on_data ? ear->on_data(ear, data, n) : ear->data_says;
}

static inline coil_ret ear_eof(coil_transport *t, void *arg)
{
    struct ear *ear = ear_of(t, arg);
    ear_note(ear, "eof");
    if (ear->on_eof)
        ear->on_eof(ear);
    return ear->keep_open;
}

/* These two may come from within a write, which may be a task's. */
static inline void ear_pause(coil_transport *t, void *arg)
{
    struct ear *ear = arg;
    assert_int_equal(ear->pauses, ear->resumes);
    ear->pauses++;
    ear->t = t;
    if (ear->on_pause)
        ear->on_pause(ear);
}

static inline void ear_resume(coil_transport *t, void *arg)
{
    struct ear *ear = ear_of(t, arg);
    ear->resumes++;
    assert_int_equal(ear->pauses, ear->resumes);
    if (ear->on_resume)
        ear->on_resume(ear);
}

static inline coil_ret ear_room(coil_transport *t, size_t hint, void **out_buffer, void *arg)
{
    struct ear *ear = ear_of(t, arg);
    assert_true(hint > 0);
    *out_buffer = ear->room;
    if (ear->on_room)
        ear->on_room(ear);
    return ear->room_says ? ear->room_says : (coil_ret)sizeof ear->room;
}

static inline coil_ret ear_filled(coil_transport *t, size_t n, void *arg)
{
    struct ear *ear = ear_of(t, arg);
    assert_true(n <= sizeof ear->room);
    ear_note(ear, "filled:%.*s", (int)n, ear->room);
    return ear->on_data ? ear->on_data(ear, ear->room, n) : ear->data_says;
}

static const coil_protocol ear_protocol = {
    .size = sizeof ear_protocol,
    .connection_made = ear_made,
    .connection_lost = ear_lost,
    .data_received = ear_data,
    .eof_received = ear_eof,
    .pause_writing = ear_pause,
    .resume_writing = ear_resume,
};
static const coil_protocol ear_buffered = {
    .size = sizeof ear_buffered,
    .connection_made = ear_made,
    .connection_lost = ear_lost,
    .eof_received = ear_eof,
    .get_buffer = ear_room,
    .buffer_updated = ear_filled,
    .pause_writing = ear_pause,
    .resume_writing = ear_resume,
};

/* The factory of one ear: its argument. */
static inline coil_ret ear_factory(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    *out_protocol = &ear_protocol;
    *out_arg = arg;
    return 0;
}

/* A transport on a connected socket; one reference. connection_made is still to come. */
static inline coil_transport *ear_on(coil_sock *sock, const coil_protocol *protocol,
                                     struct ear *ear)
{
    coil_transport *t;
    must(coil_transport_open(sock, protocol, ear, &t));
    return t;
}

/* A transport at one end, a bare socket at the other, and connection_made has been called. */
static inline coil_sock *ear_wire(const coil_protocol *protocol, struct ear *ear,
                                  coil_transport **out)
{
    coil_sock *ours, *peer;
    wire_pair(&ours, &peer);
    *out = ear_on(ours, protocol, ear);
    assert_string_equal(ear->log, "");
    must(coil_sleep(0));
    return peer;
}

/* Waits until the log says so: some seconds of the loop's time, then it is a failure. */
static inline void ear_until(struct ear *ear, const char *log)
{
    for (int i = 0; strcmp(ear->log, log) != 0; i++) {
        if (i == 5000)
            fail_msg("heard \"%s\", not \"%s\"", ear->log, log);
        must(coil_sleep(0.001));
    }
}

static inline void ear_until_lost(struct ear *ear)
{
    for (int i = 0; !ear->lost; i++) {
        if (i == 5000)
            fail_msg("heard \"%s\", and no end", ear->log);
        must(coil_sleep(0.001));
    }
}

#endif
