/* SPDX-License-Identifier: MIT
 *
 * play_chat.c: examples/chat.c, compiled here with another main, and guests that count each other's lines.
 *
 *     guests --lines, /who, /quit--> [ chat ] --everybody's lines--> guests
 *
 * A guest comes under a new name each time, gHOSTxVISIT, and numbers its lines; what stands in a line follows from that. Ledger:
 * from each name the lines come without a gap, without one twice, with every letter. The answer to /who comes behind all that the
 * server had heard before: by then every line must have been heard of which its own guest knows that it was heard. */
#include "swarm.h"

#include "../../examples/program.h"
#include "program.h"

#include <stdlib.h>

int chat_main(int argc, char **argv);

#define main     chat_main
#define serve    chat_serve
#define client   chat_client
#define room     chat_room
#define converse chat_converse
#include "../../examples/chat.c"
#undef main
#undef serve
#undef client
#undef room
#undef converse
#undef printf
#undef fprintf

enum { VISITS_MAX = 64 };

static struct host *server;
static int heard_by_server[SIM_HOSTS]
                          [VISITS_MAX]; /* so many lines of this name, as its guest knows */

struct guest {
    struct host *host;
    struct random random;
    unsigned visit;
    coil_reader *reader;
    coil_writer *writer;
    int said, said_at_who;
    unsigned asked, answered; /* /who */
    coil_event news;
    bool over;                            /* nothing more is heard */
    int next[SIM_HOSTS][VISITS_MAX];      /* line of that name; -1: any */
    int must_hear[SIM_HOSTS][VISITS_MAX]; /* before the answer to /who: so many lines */
};

static int pad(char *out, unsigned host, unsigned visit, int number)
{
    int n = 1 + (int)(((unsigned)number * 37 + visit * 11 + host) % 600);
    for (int i = 0; i < n; i++)
        out[i] = (char)('a' + (number + i) % 26);
    out[n] = 0;
    return n;
}

/* ---- what a guest hears ---- */

static void hear_line_of(struct guest *g, unsigned host, unsigned visit, const char *text)
{
    char right[1000];
    char *rest;
    int number = (int)strtol(text, &rest, 10), *next = &g->next[host][visit];
    int n = pad(right, host, visit, number);
    if (number < 0 || *rest != ' ' || strncmp(rest + 1, right, (size_t)n) != 0 ||
        strcmp(rest + 1 + n, "\n") != 0)
        failed("chat: a line has other letters than it was said with");
    if (*next >= 0 && number < *next)
        failed("chat: line %d of g%ux%u came twice, or too late", number, host, visit);
    if (*next >= 0 && number > *next)
        failed("chat: line %d of g%ux%u did not come", *next, host, visit);
    *next = number + 1;
    server->play->bytes += strlen(text);
}

static void compare_with_others(struct guest *g)
{
    for (unsigned h = 0; h < SIM_HOSTS; h++)
        for (unsigned v = 0; v < VISITS_MAX; v++)
            if (g->next[h][v] >= 0 && g->next[h][v] < g->must_hear[h][v])
                failed("chat: line %d of g%ux%u was heard by the server, and did not come",
                       g->next[h][v], h, v);
    heard_by_server[g->host->number][g->visit] = g->said_at_who;
    g->answered++;
    coil_event_set(&g->news);
}

static void hear(struct guest *g, const char *line)
{
    unsigned host, visit;
    int n = 0;
    if (sscanf(line, "* g%ux%u has come%n", &host, &visit, &n) == 2 && n > 0)
        g->next[host % SIM_HOSTS][visit % VISITS_MAX] = 0;
    else if (strncmp(line, "* here:", 7) == 0)
        compare_with_others(g);
    else if (sscanf(line, "g%ux%u: %n", &host, &visit, &n) == 2 && n > 0 && host < SIM_HOSTS &&
             visit < VISITS_MAX)
        hear_line_of(g, host, visit, line + n);
    else if (strncmp(line, "* ", 2) != 0)
        failed("chat: a line that nobody said");
}

static coil_ret listen_to_all(void *arg)
{
    struct guest *g = arg;
    const char *line;
    size_t n;
    coil_ret rc;
    while ((rc = coil_reader_readline(g->reader, &line, &n)) > 0 && line[n - 1] == '\n') {
        hear(g, line);
        if (random_below(&g->random, 100) == 0 && coil_iserr(rc = coil_sleep(0.4)))
            break;
    }
    g->over = true; /* whoever waits for an answer waits in vain */
    coil_event_set(&g->news);
    return rc > 0 ? -ECONNABORTED : rc; /* in the middle of a line */
}

/* ---- what it says ---- */

static coil_ret say_text(struct guest *g, const char *text)
{
    coil_ret rc = coil_writer_write(g->writer, text, strlen(text));
    return coil_iserr(rc) ? rc : coil_writer_drain(g->writer);
}

/* A line that nobody is to hear. */
static coil_ret say_too_much(struct guest *g)
{
    char line[LINE_MAX_BYTES * 2];
    memset(line, '#', sizeof line);
    strcpy(line + sizeof line - 2, "\n");
    return say_text(g, line);
}

static coil_ret say_lines(struct guest *g, unsigned n)
{
    coil_ret rc = 0;
    for (; n > 0 && !coil_iserr(rc); n--) {
        char line[1000];
        int at = sprintf(line, "%d ", g->said);
        at += pad(line + at, g->host->number, g->visit, g->said);
        strcpy(line + at, "\n");
        rc = say_text(g, line);
        g->said++;
        if (!coil_iserr(rc) && random_below(&g->random, 60) == 0)
            rc = say_too_much(g);
    }
    return rc;
}

static coil_ret ask_who(struct guest *g)
{
    memcpy(g->must_hear, heard_by_server, sizeof heard_by_server);
    g->said_at_who = g->said;
    g->asked++;
    coil_event_clear(&g->news);
    coil_ret rc = say_text(g, "/who\n");
    while (!coil_iserr(rc) && g->answered < g->asked)
        rc = g->over ? -ECONNABORTED : coil_event_wait(&g->news);
    return coil_iserr(rc) ? rc : 0;
}

static coil_ret talk(struct guest *g, bool dawdles)
{
    char name[32];
    snprintf(name, sizeof name, "g%ux%u\n", g->host->number, g->visit);
    coil_ret rc = say_text(g, name);
    for (unsigned n = talks_of(&g->random, 8); n > 0 && !coil_iserr(rc); n--) {
        rc = say_lines(g, random_below(&g->random, 30));
        if (!coil_iserr(rc) && random_below(&g->random, 2))
            rc = ask_who(g);
        if (!coil_iserr(rc) && dawdles)
            rc = coil_sleep(pause_s(&g->random));
    }
    if (!coil_iserr(rc))
        rc = ask_who(g);
    if (coil_iserr(rc) || random_below(&g->random, 2))
        return coil_iserr(rc) ? rc : say_text(g, "/quit\n");
    rc = say_text(g, "/quit"); /* the last line may lack its end */
    return coil_iserr(rc) ? rc : coil_writer_write_eof(g->writer);
}

/* 0: everything that was asked was answered, and then the server let go of us. */
static coil_ret speak_and_listen(struct guest *g, bool dawdles)
{
    coil_task *listener = coil_create_task(listen_to_all, g);
    coil_ret rc = talk(g, dawdles);
    if (coil_iserr(rc))
        coil_task_cancel(listener, NULL);
    coil_ret ended = coil_join(listener);
    return coil_iserr(rc) ? rc : ended;
}

/* By a reset: an end would have the server say the beginning of a line that was under way. */
static void break_off(coil_writer *writer)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    coil_sock_setsockopt(coil_writer_sock(writer), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    coil_writer_abort(writer);
}

static coil_ret visit(struct host *host, uint64_t seed, bool dawdles, double deadline_s)
{
    struct guest *g = calloc(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    *g = (struct guest){.host = host, .random = {seed}, .visit = host->done++};
    memset(g->next, -1, sizeof g->next);
    coil_timeout(deadline, deadline_s);
    coil_ret rc = coil_open_connection(server->address, "6667", &g->reader, &g->writer);
    if (!coil_iserr(rc)) {
        rc = speak_and_listen(g, dawdles);
        if (coil_iserr(rc))
            break_off(g->writer);
        coil_ignore(coil_writer_finish(g->writer));
    }
    rc = coil_timeout_exit(&deadline, rc);
    free(g);
    return rc;
}

static coil_ret guest_program(void *arg)
{
    struct host *host = arg;
    struct random random = {host->seed};
    for (unsigned talks = talks_of(&random, 8); talks > 0 && !run.calm; talks--) {
        uint64_t seed = random_u64(&random);
        coil_ret rc = visit(host, seed, true, patience() * (1 + random_below(&random, 240)));
        if (coil_iserr(rc = after_talk(host, &random, rc)))
            return rc;
    }
    return 0;
}

static coil_ret last_guest(void *host)
{
    return visit(host, run.seed, false, 600);
}

static coil_ret server_program(void *arg)
{
    const struct host *host = arg;
    char own[24], name[] = "chat";
    snprintf(own, sizeof own, "%s:6667", host->address);
    char *argv[] = {name, own, NULL};
    return chat_main(2, argv);
}

static void begin(struct play *play)
{
    static const struct role server_role = {.program = server_program,
                                            .serves = true,
                                            .mortal = true},
                             guest = {.program = guest_program};
    memset(heard_by_server, 0, sizeof heard_by_server);
    server = host_add(play, &server_role);
    for (unsigned n = 1 + clients_of(play, 6); n > 0; n--)
        host_add(play, &guest);
}

struct play play_chat = {.name = "chat", .port = "6667", .begin = begin, .last = last_guest};
