/* SPDX-License-Identifier: MIT
 *
 * load.c: many clients at once: load ADDRESS:PORT PATH CONNECTIONS SECONDS [SERVER_PID]
 *
 * Each client is a task that asks for PATH over one kept-alive connection, again and again, and checks
 * that what comes is whole. A ticker shows how it goes; at the end there is a table. Exit status 1 if
 * anything went wrong. Use it on your own machine only. */
#include <coil.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { CLIENTS_MAX = 20000, SLOTS = 64 * 32 };

struct load {
    char *host, *port, *path;
    int clients, server_pid;
    double seconds, begin, end;
    long requests, errors, connected;
    long long bytes;
    long rss_before_kb, rss_peak_kb;
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

static coil_ret client(void *arg)
{
    struct load *load = arg;
    coil_reader *reader;
    coil_writer *writer = NULL;
    coil_ret rc = coil_open_connection(load->host, load->port, &reader, &writer);
    if (!coil_iserr(rc)) {
        load->connected++;
        while (coil_loop_time(NULL) < load->end) {
            double asked = coil_loop_time(NULL);
            rc = ask(load, reader, writer);
            if (coil_iserr(rc))
                break;
            load->histogram[slot_of(coil_loop_time(NULL) - asked)]++;
            load->requests++;
            load->bytes += rc;
        }
    }
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
        double gone = coil_loop_time(NULL) - load->begin;
        if (tty)
            fprintf(stderr, "\r  %5.1f of %.0f s   %6ld connected   %9ld requests   %ld errors ",
                    gone, load->seconds, load->connected, load->requests, load->errors);
    }
}

static coil_ret main_task(void *arg)
{
    struct load *load = arg;
    load->rss_before_kb = rss_kb(load->server_pid);
    load->begin = coil_loop_time(NULL);
    load->end = load->begin + load->seconds;
    coil_task *ticker = coil_create_task(show, load);
    coil_task **clients = calloc((size_t)load->clients, sizeof *clients);
    if (!clients)
        return -ENOMEM;
    coil_task_opts opts = {.size = sizeof opts, .stack_size = 65536};
    for (int i = 0; i < load->clients; i++)
        clients[i] = coil_create_task_opts(client, load, &opts);
    coil_ret rc = coil_gather(clients, (size_t)load->clients, NULL,
                              COIL_RETURN_EXCEPTIONS | COIL_UNREF);
    free(clients);
    coil_task_cancel(ticker, NULL);
    coil_ignore(coil_join(ticker));
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%78s\r", "");
    if (coil_iserr(rc))
        return rc;

    double took = coil_loop_time(NULL) - load->begin;
    printf("  backend            %s\n", coil_loop_backend(NULL));
    printf("  connections        %ld of %d\n", load->connected, load->clients);
    printf("  requests           %ld (%.0f each second)\n", load->requests,
           (double)load->requests / took);
    printf("  bytes received     %.1f MB\n", (double)load->bytes / 1e6);
    printf("  errors             %ld\n", load->errors);
    printf("  latency p50        %.2f ms\n", percentile(load, 0.50) * 1e3);
    printf("  latency p99        %.2f ms\n", percentile(load, 0.99) * 1e3);
    if (load->rss_peak_kb > 0 && load->connected > 0)
        printf("  server memory      %.1f KB for each connection (%ld KB before, %ld KB at its "
               "peak)\n",
               (double)(load->rss_peak_kb - load->rss_before_kb) / (double)load->connected,
               load->rss_before_kb, load->rss_peak_kb);
    if (load->errors)
        return coil_fail(load->first_error, "%ld errors; the first one: %s", load->errors,
                         load->first_words);
    return 0;
}

int main(int argc, char **argv)
{
    static struct load load;
    char *colon = argc == 5 || argc == 6 ? strrchr(argv[1], ':') : NULL;
    load.clients = colon ? atoi(argv[3]) : 0;
    load.seconds = colon ? atof(argv[4]) : 0;
    if (!colon || load.clients < 1 || load.clients > CLIENTS_MAX || !(load.seconds > 0)) {
        fprintf(stderr, "usage: load ADDRESS:PORT PATH CONNECTIONS SECONDS [SERVER_PID]\n");
        return 2;
    }
    *colon = 0;
    load.host = argv[1];
    load.port = colon + 1;
    load.path = argv[2];
    load.server_pid = argc == 6 ? atoi(argv[5]) : 0;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return coil_report(coil_run(main_task, &load));
}
