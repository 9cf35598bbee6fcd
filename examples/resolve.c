/* SPDX-License-Identifier: MIT
 *
 * resolve.c: asks a name server for the addresses of many names at once, and believes little of what it hears.
 *
 *     resolve [-s ADDRESS:PORT]... [-n AT_ONCE] [-t SECONDS] [-r TRIES] [-4 | -6] [NAME]...
 *
 * Names come from the command line or, without any, from standard input, one a line; a row is printed for each, in
 * their order. Servers are those of /etc/resolv.conf unless -s names some.
 *
 *     names --window--> a task each --places--> A and AAAA, each a question:
 *         endpoint with a port of its own --sent--> datagram_received --checked--> the answer, a future
 *              no answer in time: the next server, another port, another id       cut short, or a flood: TCP
 *
 * What is checked before an answer counts: it comes from where the question went, has its id, is an answer, and
 * repeats the question. What is read from it: names go backwards when they jump, so they end; at most ADDRESSES_MAX
 * addresses are kept. All else is thrown away and waited on, until the time is up. Memory is bounded by AT_ONCE.
 *
 * Exit status: 0 if every name has an address, 1 if one has none, 2 for a bad command line. */
#include <coil.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    SERVERS_MAX = 3,
    ADDRESSES_MAX = 16,
    NAME_MAX_BYTES = 256, /* as text with its NUL; on the wire it is at most 255 */
    PACKET_MAX = 1232,    /* what we tell servers we take; fits everywhere unfragmented */
    TCP_MAX = 16384,
    QUERY_MAX = 12 + 255 + 4 + 11,
    CNAMES_MAX = 8,
    WRONG_MAX = 64, /* wrong answers to one question: somebody is guessing, so ask over TCP */
    A = 1,
    CNAME = 5,
    AAAA = 28,
};

/* What can become of a question, beside addresses. */
enum {
    NO_NAME = COIL_EUSER,
    NO_ADDRESS = COIL_EUSER - 1,
    NONSENSE = COIL_EUSER - 2,
    SERVER_FAILED = COIL_EUSER - 3,
    BAD_NAME = COIL_EUSER - 4,
    CUT = COIL_EUSER - 5, /* inside: ask over TCP */
};

static struct {
    coil_address servers[SERVERS_MAX];
    char hosts[SERVERS_MAX][COIL_ADDRESS_TEXT_MAX], ports[SERVERS_MAX][8];
    int servers_n, at_once, tries;
    double timeout;
    bool v4, v6;
} options = {.at_once = 100, .tries = 3, .timeout = 2, .v4 = true, .v6 = true};

static struct {
    int names, found, absent, failed, questions, again, tcp, wrong;
} total;

/* ---- the wire ---- */

static unsigned get16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static unsigned char *put16(unsigned char *p, unsigned value)
{
    p[0] = (unsigned char)(value >> 8);
    p[1] = (unsigned char)value;
    return p + 2;
}

/* "www.example.org" as labels. NULL: it is no name. */
static unsigned char *put_name(unsigned char *p, const char *name)
{
    size_t total_n = 0;
    while (*name) {
        size_t n = strcspn(name, ".");
        total_n += n + 1;
        if (n == 0 || n > 63 || total_n > 254)
            return NULL;
        *p++ = (unsigned char)n;
        memcpy(p, name, n);
        p += n;
        name += n;
        if (*name == '.')
            name++;
    }
    *p++ = 0;
    return total_n ? p : NULL;
}

struct packet {
    const unsigned char *bytes;
    size_t n;
};

/* Reads the name that begins at `at`, following its jumps, each of which must lead to before the last one: so it
 * ends. What is no letter, digit, '-' or '_' reads as '?', since this goes to a terminal. Returns where what follows
 * the name begins; 0: it is broken. */
static size_t get_name(struct packet m, size_t at, char out[NAME_MAX_BYTES])
{
    size_t used = 0, after = 0, bound = at;
    for (;;) {
        if (at >= m.n)
            return 0;
        size_t n = m.bytes[at];
        if (n >= 0xc0) {
            if (at + 2 > m.n)
                return 0;
            if (!after)
                after = at + 2;
            at = get16(m.bytes + at) & 0x3fff;
            if (at >= bound)
                return 0;
            bound = at;
            continue;
        }
        if (n > 63 || at + 1 + n > m.n || used + n + 1 >= NAME_MAX_BYTES)
            return 0;
        if (n == 0)
            break;
        if (used)
            out[used++] = '.';
        for (size_t i = 0; i < n; i++) {
            unsigned char c = m.bytes[at + 1 + i];
            out[used++] = isalnum(c) || c == '-' || c == '_' ? (char)c : '?';
        }
        at += 1 + n;
    }
    out[used] = 0;
    return after ? after : at + 1;
}

/* ---- one question ---- */

struct question {
    const char *name;
    int type;
    unsigned char query[QUERY_MAX];
    size_t query_n, asked_n; /* all of it; from byte 12 on so much is what an answer repeats */
    coil_address server;
    coil_future *answer; /* 0 once one was taken, or what the socket said */
    int wrong, broken;   /* answers thrown away in this try */

    coil_ret outcome; /* of the last answer that was taken */
    char addresses[ADDRESSES_MAX][INET6_ADDRSTRLEN];
    int addresses_n;
    char canonical[NAME_MAX_BYTES]; /* if it is another than `name` */
};

static int make_query(struct question *q)
{
    unsigned char *p = q->query;
    if (getrandom(p, 2, 0) != 2)
        return -errno;
    p = put16(p + 2, 0x0100); /* recursion desired */
    p = put16(put16(put16(put16(p, 1), 0), 0), 1);
    p = put_name(p, q->name);
    if (!p)
        return (int)coil_fail(BAD_NAME, "that is no name");
    p = put16(put16(p, (unsigned)q->type), 1);
    q->asked_n = (size_t)(p - q->query) - 12;
    *p++ = 0; /* EDNS: how much we take */
    p = put16(put16(p, 41), PACKET_MAX);
    memset(p, 0, 6);
    q->query_n = (size_t)(p + 6 - q->query);
    return 0;
}

/* Is it an answer to this very question? Case is no difference: servers may change it. */
static bool is_ours(const struct question *q, struct packet m)
{
    if (m.n < 12 + q->asked_n || memcmp(m.bytes, q->query, 2) != 0 || (m.bytes[2] & 0xf8) != 0x80 ||
        get16(m.bytes + 4) != 1)
        return false;
    for (size_t i = 12; i < 12 + q->asked_n; i++)
        if (tolower(m.bytes[i]) != tolower(q->query[i]))
            return false;
    return true;
}

/* Takes what it says. False: it is broken, and nothing of it counts. */
static bool parse_answer(struct question *q, struct packet m)
{
    unsigned rcode = m.bytes[3] & 15, answers = get16(m.bytes + 6);
    char wanted[NAME_MAX_BYTES], owner[NAME_MAX_BYTES];
    size_t at = get_name(m, 12, wanted), first = 0;
    q->addresses_n = 0;
    q->outcome = rcode == 3   ? coil_fail(NO_NAME, "no such name")
                 : rcode != 0 ? coil_fail(SERVER_FAILED, "the server says it failed")
                              : coil_fail(NO_ADDRESS, "no address");
    if (m.bytes[2] & 2) {
        q->outcome = CUT;
        return true;
    }
    if (!at)
        return false;
    first = at + 4;
    /* Once through the records for each alias in the chain. */
    for (int alias = 0; alias <= CNAMES_MAX; alias++) {
        bool moved = false;
        at = first;
        for (unsigned i = 0; i < answers; i++) {
            if (!(at = get_name(m, at, owner)) || at + 10 > m.n)
                return false;
            unsigned type = get16(m.bytes + at), class = get16(m.bytes + at + 2);
            size_t n = get16(m.bytes + at + 8), data = at + 10;
            if (n > m.n - data)
                return false;
            at = data + n;
            if (class != 1 || strcasecmp(owner, wanted) != 0)
                continue;
            size_t size = type == A ? 4 : type == AAAA ? 16 : n;
            if (n != size)
                return false;
            if (type == (unsigned)q->type && q->addresses_n < ADDRESSES_MAX)
                inet_ntop(type == A ? AF_INET : AF_INET6, m.bytes + data,
                          q->addresses[q->addresses_n++], INET6_ADDRSTRLEN);
            if (type == CNAME && !moved && !q->addresses_n) {
                if (!get_name((struct packet){m.bytes, data + n}, data, q->canonical))
                    return false;
                moved = true;
            }
        }
        if (q->addresses_n)
            q->outcome = 0;
        if (!moved || q->addresses_n)
            return true;
        strcpy(wanted, q->canonical);
    }
    return false; /* an alias of itself */
}

static bool read_answer(struct question *q, struct packet m)
{
    if (parse_answer(q, m))
        return true;
    q->addresses_n = 0;
    q->canonical[0] = 0;
    return false;
}

static void settle(struct question *q, coil_ret rc)
{
    if (coil_iserr(rc))
        coil_future_set_exception(q->answer, rc);
    else
        coil_future_set_result(q->answer, rc);
}

static coil_ret received(coil_datagram_transport *transport, const void *data, size_t n,
                         const coil_address *from, void *arg)
{
    struct question *q = arg;
    (void)transport;
    if (coil_future_done(q->answer))
        return 0;
    struct packet m = {data, n};
    bool from_there = from->len == q->server.len &&
                      memcmp(&from->storage, &q->server.storage, from->len) == 0;
    if (from_there && n <= PACKET_MAX && is_ours(q, m)) {
        if (read_answer(q, m)) {
            settle(q, 0);
            return 0;
        }
        q->broken++;
    }
    total.wrong++;
    if (++q->wrong >= WRONG_MAX)
        settle(q, coil_fail(CUT, "a flood of wrong answers"));
    return 0;
}

static void heard_error(coil_datagram_transport *transport, coil_ret error, void *arg)
{
    struct question *q = arg;
    (void)transport;
    if (!coil_future_done(q->answer))
        settle(q, error);
}

static const coil_datagram_protocol asking = {
    .size = sizeof asking, .datagram_received = received, .error_received = heard_error};
static const coil_datagram_protocol nobody = {.size = sizeof nobody};

/* The kernel gives the endpoint a port at random, and lets nothing in but what comes from the server. */
static coil_ret ask_over_udp(struct question *q)
{
    coil_datagram_opts opts = {.size = sizeof opts, .remote_address = &q->server};
    coil_datagram_transport *transport;
    q->wrong = q->broken = 0;
    q->answer = coil_loop_create_future(NULL);
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &asking, q, &opts, &transport);
    if (rc == 0) {
        rc = coil_datagram_transport_sendto(transport, q->query, q->query_n, NULL);
        if (rc == 0) {
            coil_timeout(tm, options.timeout);
            rc = coil_timeout_exit(&tm, coil_await(q->answer));
        }
        /* It may outlive this frame by a turn, so it must not speak to it any more. */
        coil_datagram_transport_set_protocol(transport, &nobody, NULL);
        coil_datagram_transport_abort(transport);
        coil_datagram_transport_unref(transport);
    }
    if (coil_future_done(q->answer))
        coil_future_exception(q->answer); /* looked at, whoever was first */
    coil_unref(q->answer);
    if (rc == -ETIMEDOUT)
        return q->broken ? coil_fail(NONSENSE, "the answer makes no sense")
                         : coil_fail(-ETIMEDOUT, "no answer in time");
    return rc;
}

static coil_ret talk_over_tcp(struct question *q, coil_reader *reader, coil_writer *writer)
{
    unsigned char head[2], *bytes = NULL;
    put16(head, (unsigned)q->query_n);
    coil_ret rc = coil_writer_write(writer, head, 2);
    if (rc == 0)
        rc = coil_writer_write(writer, q->query, q->query_n);
    if (rc == 0)
        rc = coil_reader_readexactly(reader, head, 2, NULL);
    if (coil_iserr(rc))
        return rc;
    struct packet m = {NULL, get16(head)};
    if (m.n > TCP_MAX || !(bytes = malloc(m.n + 1)))
        return coil_fail(NONSENSE, "an answer of %zu bytes is too much", m.n);
    m.bytes = bytes;
    rc = coil_reader_readexactly(reader, bytes, m.n, NULL);
    if (!coil_iserr(rc))
        rc = is_ours(q, m) && read_answer(q, m) && q->outcome != CUT
                 ? 0
                 : coil_fail(NONSENSE, "the answer makes no sense");
    free(bytes);
    return rc;
}

static coil_ret ask_over_tcp(struct question *q, int server)
{
    coil_reader *reader;
    coil_writer *writer;
    total.tcp++;
    coil_timeout(tm, options.timeout);
    coil_ret rc = coil_open_connection(options.hosts[server], options.ports[server], &reader,
                                       &writer);
    if (!coil_iserr(rc)) {
        rc = talk_over_tcp(q, reader, writer);
        coil_writer_close(writer);
        coil_writer_unref(writer);
        coil_reader_unref(reader);
    }
    rc = coil_timeout_exit(&tm, rc);
    if (rc == COIL_EINCOMPLETE || rc == -ECONNRESET)
        return coil_fail(NONSENSE, "the server hangs up in the middle of its answer");
    return rc == -ETIMEDOUT ? coil_fail(rc, "no answer in time, over TCP") : rc;
}

/* Until somebody gives an answer that is one. */
static coil_ret ask(void *arg)
{
    struct question *q = arg;
    coil_ret rc = 0;
    for (int try = 0; try < options.tries; try++) {
        int server = try % options.servers_n;
        q->server = options.servers[server];
        if ((rc = make_query(q)) < 0) /* a new id each time */
            return rc;
        total.questions++;
        total.again += try > 0;
        rc = ask_over_udp(q);
        if (rc == CUT || (rc == 0 && q->outcome == CUT))
            rc = ask_over_tcp(q, server);
        if (rc == -ECANCELED || (rc == 0 && q->outcome != SERVER_FAILED))
            break;
    }
    return rc;
}

/* ---- one name ---- */

struct row {
    char name[NAME_MAX_BYTES];
    struct question q4, q6;
    double took;
    bool done;
    char words[160]; /* of what went wrong */
    coil_ret rc;
    struct row *next;
};

static struct row *first_row, **end_of_rows = &first_row;
static coil_semaphore places, window;

static void print_row(const struct row *r)
{
    printf("%-32s %7.1f ms  ", r->name, r->took * 1e3);
    const struct question *both[] = {&r->q4, &r->q6};
    const char *between = "";
    for (int i = 0; i < 2 && r->rc == 0; i++)
        if (both[i]->addresses_n && both[i]->canonical[0]) {
            printf("%s -> ", both[i]->canonical);
            break;
        }
    for (int i = 0; i < 2 && r->rc == 0; i++)
        for (int n = 0; n < both[i]->addresses_n; n++, between = ", ")
            printf("%s%s", between, both[i]->addresses[n]);
    puts(r->rc ? r->words : "");
}

/* The rows at the front that are finished. */
static void print_rows(void)
{
    while (first_row && first_row->done) {
        struct row *r = first_row;
        first_row = r->next;
        if (!first_row)
            end_of_rows = &first_row;
        print_row(r);
        total.names++;
        total.found += r->rc == 0;
        total.absent += r->rc == NO_NAME || r->rc == NO_ADDRESS;
        total.failed += r->rc && r->rc != NO_NAME && r->rc != NO_ADDRESS;
        free(r);
        coil_semaphore_release(&window);
    }
    fflush(stdout);
    if (isatty(2) && !isatty(1))
        fprintf(stderr, "\r%d names", total.names);
}

/* What two questions without an address come to: no name beats a failure, which beats no address. */
static int rank(coil_ret rc)
{
    return rc == NO_NAME ? 2 : rc == NO_ADDRESS ? 0 : 1;
}

static coil_ret ask_both(struct row *r)
{
    struct question *questions[2];
    coil_task *tasks[2];
    coil_ret results[2];
    size_t n = 0, worst = 0;
    if (options.v4)
        questions[n++] = &r->q4;
    if (options.v6)
        questions[n++] = &r->q6;
    for (size_t i = 0; i < n; i++)
        tasks[i] = coil_create_task(ask, questions[i]);
    coil_ret rc = coil_gather(tasks, n, results, COIL_RETURN_EXCEPTIONS);
    if (rc == 0 && !r->q4.addresses_n && !r->q6.addresses_n) {
        for (size_t i = 0; i < n; i++) {
            if (results[i] == 0)
                results[i] = questions[i]->outcome;
            if (rank(results[i]) > rank(results[worst]))
                worst = i;
        }
        rc = results[worst];
        if (coil_iserr(coil_future_result(tasks[worst]))) /* and its words */
            rc = coil_await(tasks[worst]);
    }
    for (size_t i = 0; i < n; i++)
        coil_unref(tasks[i]);
    return rc;
}

static const char *words_of(coil_ret rc)
{
    const coil_error *last = coil_last_error();
    switch (rc) {
    case NO_NAME: return "no such name";
    case NO_ADDRESS: return "no address";
    case SERVER_FAILED: return "the server says it failed";
    default: return last && last->code == rc ? last->message : coil_strerror(rc);
    }
}

static coil_ret resolve(void *arg)
{
    struct row *r = arg;
    double before = coil_loop_time(NULL);
    coil_ret rc = ask_both(r);
    r->rc = rc;
    snprintf(r->words, sizeof r->words, "%s", rc ? words_of(rc) : "");
    r->took = coil_loop_time(NULL) - before;
    r->done = true;
    coil_semaphore_release(&places);
    if (rc != -ECANCELED)
        print_rows();
    return rc == -ECANCELED ? rc : 0;
}

/* ---- all of them ---- */

static char **names; /* of the command line; NULL: standard input */

/* On a thread, since standard input may be somebody who types. 1, or 0 at its end. */
static coil_ret read_name(void *out)
{
    char *name = out;
    do {
        if (!fgets(name, NAME_MAX_BYTES, stdin))
            return 0;
        name[strcspn(name, " \t\r\n")] = 0;
    } while (!name[0]);
    return 1;
}

static coil_ret next_name(char out[NAME_MAX_BYTES])
{
    if (!names)
        return coil_to_thread(read_name, out);
    if (!*names)
        return 0;
    snprintf(out, NAME_MAX_BYTES, "%s", *names++);
    return 1;
}

static coil_ret resolve_all(void *unused)
{
    (void)unused;
    char name[NAME_MAX_BYTES];
    coil_task_group(g);
    coil_ret rc;
    while ((rc = next_name(name)) > 0) {
        struct row *r = calloc(1, sizeof *r);
        if (!r || (rc = coil_semaphore_acquire(&window)) < 0 ||
            (rc = coil_semaphore_acquire(&places)) < 0) {
            rc = r ? rc : -ENOMEM;
            free(r);
            break;
        }
        memcpy(r->name, name, sizeof r->name);
        r->q4 = (struct question){.name = r->name, .type = A};
        r->q6 = (struct question){.name = r->name, .type = AAAA};
        *end_of_rows = r;
        end_of_rows = &r->next;
        coil_group_create_task(&g, resolve, r);
    }
    return coil_group_exit(&g, rc);
}

static bool add_server(const char *host, const char *port)
{
    int n = options.servers_n;
    if (n == SERVERS_MAX || coil_address_parse(host, port, &options.servers[n]) < 0)
        return false;
    snprintf(options.hosts[n], sizeof options.hosts[n], "%s", host);
    snprintf(options.ports[n], sizeof options.ports[n], "%s", port);
    options.servers_n++;
    return true;
}

static bool add_server_text(char *text)
{
    char *colon = strrchr(text, ':');
    if (!colon)
        return add_server(text, "53");
    *colon = 0;
    if (text[0] == '[' && colon > text && colon[-1] == ']') {
        colon[-1] = 0;
        text++;
    }
    return add_server(text, colon + 1);
}

static void read_resolv_conf(void)
{
    char line[256], host[COIL_ADDRESS_TEXT_MAX];
    FILE *file = fopen("/etc/resolv.conf", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "nameserver %60s", host) == 1)
            add_server(host, "53");
    if (file)
        fclose(file);
}

static int usage(void)
{
    fputs("usage: resolve [-s ADDRESS:PORT]... [-n AT_ONCE] [-t SECONDS] [-r TRIES] [-4 | -6] "
          "[NAME]...\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    for (int opt; (opt = getopt(argc, argv, "s:n:t:r:46")) != -1;) {
        switch (opt) {
        case 's':
            if (!add_server_text(optarg))
                return usage();
            break;
        case 'n': options.at_once = atoi(optarg); break;
        case 't': options.timeout = atof(optarg); break;
        case 'r': options.tries = atoi(optarg); break;
        case '4': options.v6 = false; break;
        case '6': options.v4 = false; break;
        default: return usage();
        }
    }
    if (!options.servers_n)
        read_resolv_conf();
    if (!options.servers_n || options.at_once < 1 || options.tries < 1 || !(options.timeout > 0) ||
        !(options.v4 || options.v6))
        return usage();
    names = optind < argc ? argv + optind : NULL;
    places = (coil_semaphore)COIL_SEMAPHORE(options.at_once);
    window = (coil_semaphore)COIL_SEMAPHORE((size_t)options.at_once * 16);

    coil_ret rc = coil_run(resolve_all, NULL);
    while (first_row) { /* an error, or Ctrl-C, left them */
        struct row *r = first_row;
        first_row = r->next;
        free(r);
    }
    if (coil_iserr(rc))
        return coil_report(rc);
    fprintf(stderr,
            "%s%d names: %d found, %d not there, %d failed; %d questions, %d asked again, "
            "%d over TCP, %d wrong answers thrown away\n",
            isatty(2) && !isatty(1) ? "\r" : "", total.names, total.found, total.absent,
            total.failed, total.questions, total.again, total.tcp, total.wrong);
    return total.found == total.names ? 0 : 1;
}
