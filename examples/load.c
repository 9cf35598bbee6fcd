/* SPDX-License-Identifier: MIT
 *
 * load.c: many clients at once: load [-s SERVER_PID] [-w SECONDS] ADDRESS:PORT PATH CONNECTIONS SECONDS
 *
 * Each client is a task with one connection. First all of them connect, CONNECTING at a time, and wait at
 * a gate until the last one stands there; then each asks for PATH, again and again (with -w once in so many
 * seconds, the clients spread over them), and checks that what comes is whole. A ticker shows how it goes;
 * at the end there is a table. Exit status 1 if anything went wrong. Use it on your own machine only. */
#include "program.h"

#include <stdlib.h>

enum {
    CLIENTS_MAX = 20000,
    CONNECTING =
        500, /* at a time: more than a server's backlog would be lost, and tried again after a second */
    SLOTS = 64 * 32
};

struct load {
    char *host, *port, *path;
    int clients, server_pid;
    double seconds, pause;
    coil_semaphore connecting;
    coil_event gate; /* open once every client has connected, or failed to */
    int arrived;     /* of them */
    double begin, end;
    long requests, errors, connected;
    long long bytes;
    long rss_before_kb, rss_held_kb, rss_peak_kb;
    coil_ret first_error;
    char first_words[160];
    long histogram[SLOTS]; /* latencies: 32 steps for each doubling of a microsecond */
};

static int slot_of(double seconds)
{
    unsigned long us = (unsigned long)(seconds * 1e6);
    if (us < 32)
        return (int)us;
    int shift = 63 - __builtin_clzl(us) - 5;
    int slot = (shift + 1) * 32 + (int)((us >> shift) & 31);
    return slot < SLOTS ? slot : SLOTS - 1;
}

static double seconds_of(int slot)
{
    if (slot < 32)
        return slot / 1e6;
    int shift = slot / 32 - 1;
    return (double)((32ul + (unsigned long)slot % 32) << shift) / 1e6;
}

static double percentile(const struct load *load, double p)
{
    long want = (long)((double)load->requests * p), seen = 0;
    for (int i = 0; i < SLOTS; i++)
        if ((seen += load->histogram[i]) > want)
            return seconds_of(i);
    return 0;
}

static long rss_kb(int pid)
{
    char path[64], line[256];
    long kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = pid > 0 ? fopen(path, "re") : NULL;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb;
}

/* One request and its whole answer; the length of the body, or an error. */
static coil_ret ask(struct load *load, coil_reader *reader, coil_writer *writer)
{
    char request[512];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", load->path,
                     load->host);
    coil_ret rc = coil_writer_write(writer, request, (size_t)n);
    if (!coil_iserr(rc))
        rc = coil_writer_drain(writer);
    if (coil_iserr(rc))
        return rc;

    const char *line;
    size_t length = 0;
    bool first = true;
    do {
        rc = coil_reader_readline(reader, &line, NULL);
        if (coil_iserr(rc))
            return rc;
        if (rc == 0)
            return coil_fail(COIL_EINCOMPLETE, "the server closed the connection");
        if (first && strncmp(line, "HTTP/1.1 200", 12) != 0)
            return coil_fail(COIL_EUSER, "the server answered %.40s", line);
        first = false;
        if (strncasecmp(line, "content-length:", 15) == 0)
            length = strtoul(line + 15, NULL, 10);
    } while (line[0] != '\r');

    char chunk[4096];
    for (size_t left = length; left > 0; left -= (size_t)rc) {
        rc = coil_reader_read(reader, chunk, left < sizeof chunk ? left : sizeof chunk);
        if (coil_iserr(rc))
            return rc;
        if (rc == 0)
            return coil_fail(COIL_EINCOMPLETE, "%zu bytes of the body are missing", left);
    }
    return (coil_ret)length;
}

static coil_ret connect_and_wait(struct load *load, coil_reader **reader, coil_writer **writer)
{
    coil_ret rc;
    coil_with_semaphore(rc, &load->connecting)
    {
        rc = coil_open_connection(load->host, load->port, reader, writer);
    }
    load->connected += !coil_iserr(rc);
    if (++load->arrived == load->clients) {
        load->rss_held_kb = rss_kb(load->server_pid);
        load->begin = coil_loop_time(NULL);
        load->end = load->begin + load->seconds;
        coil_event_set(&load->gate);
    }
    return coil_iserr(rc) ? rc : coil_event_wait(&load->gate);
}

static coil_ret ask_again_and_again(struct load *load, int number, coil_reader *reader,
                                    coil_writer *writer)
{
    double next = load->begin + load->pause * number / load->clients;
    for (; next < load->end; next += load->pause) {
        double now = coil_loop_time(NULL);
        if (now >= load->end)
            break;
        coil_ret rc = load->pause > 0 ? coil_sleep(next - now) : 0;
        if (coil_iserr(rc))
            return rc;
        double asked = coil_loop_time(NULL);
        rc = ask(load, reader, writer);
        if (coil_iserr(rc))
            return rc;
        load->histogram[slot_of(coil_loop_time(NULL) - asked)]++;
        load->requests++;
        load->bytes += rc;
    }
    return 0;
}

struct client {
    struct load *load;
    int number;
};

static coil_ret client(void *arg)
{
    const struct client *c = arg;
    struct load *load = c->load;
    coil_reader *reader;
    coil_writer *writer = NULL;
    coil_ret rc = connect_and_wait(load, &reader, &writer);
    if (!coil_iserr(rc))
        rc = ask_again_and_again(load, c->number, reader, writer);
    if (coil_iserr(rc) && rc != -ECANCELED && load->errors++ == 0) {
        load->first_error = rc;
        snprintf(load->first_words, sizeof load->first_words, "%s", coil_last_error()->message);
    }
    coil_ignore(coil_writer_finish(writer)); /* NULL is fine: it never connected */
    return 0;
}

static coil_ret show(void *arg)
{
    struct load *load = arg;
    bool tty = isatty(STDERR_FILENO);
    for (;;) {
        coil_ret rc = coil_sleep(0.25);
        if (coil_iserr(rc))
            return rc;
        long kb = rss_kb(load->server_pid);
        if (kb > load->rss_peak_kb)
            load->rss_peak_kb = kb;
        double gone = load->begin > 0 ? coil_loop_time(NULL) - load->begin : 0;
        if (tty)
            fprintf(stderr, "\r  %5.1f of %.0f s   %6ld connected   %9ld requests   %ld errors ",
                    gone, load->seconds, load->connected, load->requests, load->errors);
    }
}

/* What one more connection costs the server, in KB. */
static double each_kb(const struct load *load, long kb)
{
    return (double)(kb - load->rss_before_kb) / (double)load->connected;
}

static void print_table(const struct load *load, double took)
{
    printf("  backend            %s\n", coil_loop_backend(NULL));
    printf("  held at once       %ld of %d connections\n", load->connected, load->clients);
    printf("  requests           %ld (%.0f each second)\n", load->requests,
           (double)load->requests / took);
    printf("  bytes received     %.1f MB\n", (double)load->bytes / 1e6);
    printf("  errors             %ld\n", load->errors);
    printf("  latency            p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms\n",
           percentile(load, 0.50) * 1e3, percentile(load, 0.99) * 1e3,
           percentile(load, 0.999) * 1e3);
    if (load->rss_held_kb > 0 && load->connected > 0)
        printf("  server memory      %.1f KB a connection held, %.1f KB a connection under load "
               "(%ld, %ld, %ld KB)\n",
               each_kb(load, load->rss_held_kb), each_kb(load, load->rss_peak_kb),
               load->rss_before_kb, load->rss_held_kb, load->rss_peak_kb);
}

static coil_ret main_task(void *arg)
{
    struct load *load = arg;
    load->rss_before_kb = rss_kb(load->server_pid);
    coil_task *ticker = coil_create_task(show, load);
    coil_task **clients = calloc((size_t)load->clients, sizeof *clients);
    if (!clients)
        return -ENOMEM;
    for (int i = 0; i < load->clients; i++) {
        struct client c = {load, i};
        clients[i] = coil_create_task_with(client, &c, sizeof c);
    }
    coil_ret rc = coil_gather(clients, (size_t)load->clients, NULL,
                              COIL_RETURN_EXCEPTIONS | COIL_UNREF);
    free(clients);
    coil_task_cancel(ticker, NULL);
    coil_ignore(coil_join(ticker));
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%78s\r", "");
    if (coil_iserr(rc))
        return rc;

    print_table(load, coil_loop_time(NULL) - load->begin);
    if (load->errors)
        return coil_fail(load->first_error, "%ld errors; the first one: %s", load->errors,
                         load->first_words);
    return 0;
}

int main(int argc, char **argv)
{
    static struct load load = {.connecting = COIL_SEMAPHORE(CONNECTING)};
    int option;
    bool good = true;
    while ((option = getopt(argc, argv, "s:w:")) != -1) {
        if (option == 's')
            load.server_pid = atoi(optarg);
        else if (option == 'w')
            load.pause = atof(optarg);
        else
            good = false;
    }
    char **words = argv + optind;
    if (good && argc - optind == 4 && split_address(words[0], &load.host, &load.port)) {
        load.path = words[1];
        load.clients = atoi(words[2]);
        load.seconds = atof(words[3]);
    }
    if (load.clients < 1 || load.clients > CLIENTS_MAX || !(load.seconds > 0) ||
        !(load.pause >= 0)) {
        fprintf(stderr,
                "usage: load [-s SERVER_PID] [-w SECONDS] ADDRESS:PORT PATH CONNECTIONS SECONDS\n"
                "-w: each client asks once in so many seconds, not as fast as it can\n");
        return 2;
    }
    raise_descriptor_limit();
    coil_run_opts opts = {.size = sizeof opts, .stack_size = 65536};
    return coil_report(coil_run_with(main_task, &load, &opts));
}
