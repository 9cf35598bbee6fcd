/* SPDX-License-Identifier: MIT
 *
 * chat.c: a chat server for nc or telnet: chat ADDRESS:PORT
 *
 *     a line from ana --> say to all --+--> [ queue of bob ] --> bob's send_lines --> bob's connection
 *                                      +--> [ queue of eve ] --> eve's send_lines --> eve's connection
 *
 * Each client has two tasks: one reads what it says (serve), one sends what the others said
 * (send_lines). What to look at:
 *   - saying something never waits: it goes into the queues, and each sender waits for its own client;
 *   - a queue is bounded: who is QUEUE_LINES behind is dropped, and the others are told. So a slow client
 *     costs a fixed amount of memory and holds up nobody;
 *   - a line is stored once, counted, and lent to every writer (coil_writer_write_owned);
 *   - a client that is to go is cancelled; its own task then cleans up, in one place, whatever the reason.
 *
 * Elsewhere: proxy.c ends in the same way (SIGTERM) with a group in place of a server. */
#include "program.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>

enum {
    NAME_MAX_BYTES = 20,
    LINE_MAX_BYTES = 1000, /* of what a client says; longer is refused */
    QUEUE_LINES = 100      /* that a client may be behind */
};
static const double LOGIN_S = 60, DRAIN_S = 5;

/* Something that was said; shared by the queues and writers it stands in. */
struct line {
    int refs;
    size_t n;
    char text[];
};

struct room {
    struct client *clients; /* those that have a name, a list */
    size_t clients_n;
    bool stopping;
};

struct client {
    struct client *next, **back; /* in the room; back is NULL outside */
    struct room *room;
    coil_reader *reader;
    coil_writer *writer;
    coil_task *task; /* serves it; borrowed, it is us */
    char name[NAME_MAX_BYTES + 1];
    char text[LINE_MAX_BYTES + 2]; /* its last line */
    bool skipping;                 /* what comes is the rest of a line that was too long */
    coil_queue lines;              /* struct line, each with a reference */
    const char *dropped_as;        /* why it was told to go, or NULL */
};

/* ---- lines ---- */

static struct line *line_new(const char *format, va_list args)
    __attribute__((format(printf, 1, 0)));
static struct line *line_new(const char *format, va_list args)
{
    char text[LINE_MAX_BYTES + NAME_MAX_BYTES + 64];
    int n = vsnprintf(text, sizeof text - 1, format, args);
    size_t used = n < (int)sizeof text - 1 ? (size_t)n : sizeof text - 2;
    text[used++] = '\n';
    struct line *line = malloc(sizeof *line + used);
    if (line) {
        line->refs = 1;
        line->n = used;
        memcpy(line->text, text, used);
    }
    return line;
}

static void line_unref(void *cookie)
{
    struct line *line = cookie;
    if (line && --line->refs == 0)
        free(line);
}

/* ---- saying something ---- */

/* Tell it to go: its task finds out in the call it waits in. */
static void drop(struct client *c, const char *why)
{
    if (c->dropped_as)
        return;
    c->dropped_as = why;
    coil_task_cancel(c->task, why);
}

static void enqueue(struct client *c, struct line *line)
{
    if (c->dropped_as)
        return;
    line->refs++;
    if (coil_queue_put_nowait(&c->lines, line) < 0) {
        line_unref(line);
        drop(c, "too slow");
    }
}

/* To one client; to everyone but `but`, which may be NULL. Out of memory the line is lost. */
static void tell(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct client *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct line *line = line_new(format, args);
    va_end(args);
    if (line)
        enqueue(c, line);
    line_unref(line);
}

static void say(struct room *room, const struct client *but, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void say(struct room *room, const struct client *but, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct line *line = line_new(format, args);
    va_end(args);
    for (struct client *c = line ? room->clients : NULL; c; c = c->next)
        if (c != but)
            enqueue(c, line);
    line_unref(line);
}

/* ---- a client ---- */

/* Sends what stands in the queue, line by line, until that is shut down and empty. */
static coil_ret send_lines(void *arg)
{
    struct client *c = arg;
    for (;;) {
        void *line;
        coil_ret rc = coil_queue_get(&c->lines, &line);
        if (coil_iserr(rc))
            return rc == COIL_ESHUTDOWN ? 0 : rc;
        const struct line *l = line;
        rc = coil_writer_write_owned(c->writer, l->text, l->n, line_unref, line);
        if (coil_iserr(rc))
            line_unref(line);
        else
            rc = coil_writer_drain(c->writer);
        if (coil_iserr(rc))
            return rc;
    }
}

/* Throw away the n bytes that are in the reader already. */
static coil_ret skip(struct client *c, size_t n)
{
    char bin[1024];
    while (n > 0) {
        coil_ret got = coil_reader_read(c->reader, bin, n < sizeof bin ? n : sizeof bin);
        if (got <= 0)
            return got;
        n -= (size_t)got;
    }
    return 0;
}

/* The next line, into c->text: without spaces at its end, and with nothing in it that could change a terminal.
 * Its length, 0 at the end of the stream. Empty lines and those that are too long are passed over. */
static coil_ret read_line(struct client *c)
{
    for (;;) {
        const char *view;
        size_t n;
        coil_ret rc = coil_reader_readuntil(c->reader, "\n", 1, &view, &n);
        if (rc == COIL_EINCOMPLETE && n == 0)
            return 0;
        if (rc == COIL_ELIMIT) {
            c->skipping = true;
            rc = skip(c, n);
            if (coil_iserr(rc))
                return rc;
            continue;
        }
        if (coil_iserr(rc) && rc != COIL_EINCOMPLETE) /* the last line may lack its end */
            return rc;
        if (c->skipping) {
            c->skipping = false;
            tell(c, "* longer than %d bytes: nobody heard that", LINE_MAX_BYTES);
            continue;
        }
        while (n > 0 && isspace((unsigned char)view[n - 1]))
            n--;
        for (size_t i = 0; i < n; i++)
            c->text[i] = (unsigned char)view[i] < ' ' || view[i] == 0x7f ? '?' : view[i];
        c->text[n] = 0;
        if (n > 0)
            return (coil_ret)n;
    }
}

static const char *name_trouble(const struct room *room, const char *name)
{
    size_t n = strlen(name);
    if (n > NAME_MAX_BYTES)
        return "that is too long";
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '-')
            return "letters, digits, - and _ please";
    for (const struct client *c = room->clients; c; c = c->next)
        if (strcasecmp(c->name, name) == 0)
            return "that name is taken";
    return NULL;
}

/* 1: it has a name and stands in the room; 0: it left. */
static coil_ret log_in(struct client *c)
{
    coil_ret rc;
    tell(c, "* your name?");
    while ((rc = read_line(c)) > 0) {
        const char *trouble = name_trouble(c->room, c->text);
        if (!trouble)
            break;
        tell(c, "* %s; your name?", trouble);
    }
    if (rc <= 0)
        return rc;
    strcpy(c->name, c->text);
    c->next = c->room->clients;
    c->back = &c->room->clients;
    if (c->next)
        c->next->back = &c->next;
    c->room->clients = c;
    c->room->clients_n++;
    tell(c, "* welcome, %s; %zu here; /who, /quit", c->name, c->room->clients_n);
    say(c->room, c, "* %s has come", c->name);
    return 1;
}

static void leave_room(struct client *c, coil_ret rc)
{
    if (!c->back)
        return;
    *c->back = c->next;
    if (c->next)
        c->next->back = c->back;
    c->room->clients_n--;
    const char *why = coil_iserr(rc) ? "connection lost" : "bye";
    if (c->dropped_as)
        why = c->dropped_as;
    printf("chat: %s left: %s\n", c->name, why);
    fflush(stdout);
    if (!c->room->stopping)
        say(c->room, NULL, "* %s has left (%s)", c->name, why);
}

/* As many names to a line as fit: a full room must not fill the queue of who asks. */
static void who(struct client *c)
{
    char names[LINE_MAX_BYTES] = "";
    size_t n = 0;
    for (const struct client *other = c->room->clients; other; other = other->next) {
        if (n + NAME_MAX_BYTES + 2 > sizeof names) {
            tell(c, "* here:%s", names);
            n = 0;
        }
        n += (size_t)sprintf(names + n, " %s", other->name);
    }
    tell(c, "* here:%s", names);
}

/* Until it leaves: 0, or the error that ended it. */
static coil_ret converse(struct client *c)
{
    coil_timeout(deadline, LOGIN_S);
    coil_ret rc = coil_timeout_exit(&deadline, log_in(c));
    while (rc > 0 && (rc = read_line(c)) > 0) {
        if (strcmp(c->text, "/quit") == 0)
            return 0;
        if (strcmp(c->text, "/who") == 0)
            who(c);
        else if (c->text[0] == '/')
            tell(c, "* /who and /quit is all I know");
        else
            say(c->room, c, "%s: %s", c->name, c->text);
    }
    return rc;
}

/* Both tasks of a client, from its first line to its last. The group ends the other one when the connection
 * fails in either direction. */
static coil_ret converse_and_flush(struct client *c)
{
    coil_task_group(sender);
    coil_group_create_task(&sender, send_lines, c);
    coil_ret rc = converse(c);
    leave_room(c, rc);
    if (c->dropped_as) {
        coil_task_uncancel(c->task); /* that has done its work */
        if (c->room->stopping)
            rc = 0;
    }
    coil_queue_shutdown(&c->lines, false);
    coil_timeout(deadline, DRAIN_S); /* for what it did not read yet */
    rc = coil_group_exit(&sender, rc);
    if (!coil_iserr(rc)) {
        coil_writer_close(c->writer);
        rc = coil_writer_wait_closed(c->writer);
    }
    return coil_timeout_exit(&deadline, rc);
}

static coil_ret serve(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct client c = {
        .room = arg,
        .reader = reader,
        .writer = writer,
        .task = coil_current_task(),
        .lines = COIL_QUEUE(QUEUE_LINES),
    };
    coil_writer_set_write_buffer_limits(writer, 0, 0); /* what waits, waits in the queue */
    coil_ret rc = converse_and_flush(&c);
    if (coil_iserr(rc))
        coil_writer_abort(writer);
    void *line;
    while (coil_queue_get_nowait(&c.lines, &line) == 0)
        line_unref(line);
    coil_queue_fini(&c.lines);
    return rc == COIL_EEXIT ? rc : 0; /* a client's fault is no trouble of ours */
}

/* ---- the program ---- */

struct args {
    char *host, *port;
};

static coil_ret main_task(void *arg)
{
    const struct args *args = arg;
    struct room room = {0};
    coil_server *server;
    coil_server_opts opts = {
        .size = sizeof opts, .limit = LINE_MAX_BYTES, .client_stack_size = 65536};
    coil_ret rc = catch_stop_signals();
    if (!coil_iserr(rc))
        rc = coil_start_server_with(serve, &room, args->host, args->port, &opts, &server);
    if (coil_iserr(rc))
        return rc;
    printf("chat: listening on %s:%d (%s)\n", args->host, coil_server_port(server),
           coil_loop_backend(NULL));
    fflush(stdout);

    coil_ret why = wait_for_stop_signal();
    coil_server_close(server);
    say(&room, NULL, "* the server is going down");
    room.stopping = true;
    for (struct client *c = room.clients; c; c = c->next)
        drop(c, "the server is going down");
    coil_timeout(deadline, DRAIN_S);
    rc = coil_timeout_exit(&deadline, coil_server_wait_closed(server));
    if (coil_iserr(rc)) { /* those without a name yet, and those that do not read */
        coil_server_abort_clients(server);
        rc = coil_server_wait_closed(server);
    }
    coil_server_free(server);
    return coil_iserr(why) ? why : rc;
}

int main(int argc, char **argv)
{
    struct args args;
    if (argc != 2 || !split_address(argv[1], &args.host, &args.port)) {
        fprintf(stderr, "usage: chat ADDRESS:PORT\n"
                        "then, for each guest: nc ADDRESS PORT; port 0 for a free one\n");
        return 2;
    }
    raise_descriptor_limit();
    return coil_report(coil_run(main_task, &args));
}
