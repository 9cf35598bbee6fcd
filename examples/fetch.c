/* SPDX-License-Identifier: MIT
 *
 * fetch.c: gets many URLs at once and tells how each went: fetch [OPTION]... [URL]...
 *
 *     every URL is a task:  [ a place at its host ] -> [ one of TOTAL places ] -> connect, ask, read
 *
 * Only http, by HTTP/1.1; without URLs in its arguments it takes those of standard input, one a line. Bodies are
 * counted and thrown away. What to look at:
 *   - two semaphores bound what is under way, overall and for each host. The host's is taken first, so that
 *     a slow host's queue keeps nobody else waiting;
 *   - the time limit is a scope around one URL's own work (fetch_within), redirects included, waiting in line not.
 *     A host that hangs times out alone;
 *   - all tasks live in one group, and none of them fails: what went wrong is in its struct fetch.
 *
 * A URL that waits costs a parked task, some 8 KB. Parsing is llhttp's, as in httpd.c. */
#include <coil.h>

#include <getopt.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    TOTAL = 100,
    PER_HOST = 6,
    REDIRECTS_MAX = 5,
    HOST_BYTES = 256,
    PATH_BYTES = 2048,
    URL_BYTES = HOST_BYTES + PATH_BYTES + 16,
    CHUNK = 16384,
    BUCKETS = 256,
};
static const double TIME_LIMIT_S = 10;

/* How a URL ended. */
enum kind {
    GOOD,
    STATUS,
    BAD_URL,
    NO_NAME,
    NO_CONNECTION,
    RESET,
    CUT_OFF,
    TIMEOUT,
    NOT_HTTP,
    REDIRECTS,
    OTHER,
    KINDS
};
static const char *const kind_names[KINDS] = {
    "good",    "bad status", "not an http URL", "name not found",     "no connection", "reset",
    "cut off", "time limit", "not HTTP",        "too many redirects", "other trouble"};

/* Errors of our own; the rest are the kernel's and coil's. */
enum { EBADURL = COIL_EUSER, ENOTHTTP = COIL_EUSER - 1, EREDIRECTS = COIL_EUSER - 2 };

struct url {
    char host[HOST_BYTES], port[8], path[PATH_BYTES];
};

struct host {
    struct host *next;
    char name[HOST_BYTES + 8];
    coil_semaphore places;
};

struct fetch {
    struct fetcher *fetcher;
    const char *text; /* the URL as it was given */
    enum kind kind;
    int status;
    double seconds; /* of its own work */
    char words[160];

    /* the answer that is being read */
    llhttp_t parser;
    char field[16], location[URL_BYTES];
    size_t field_n, location_n;
    unsigned long long bytes;
    bool complete;
};

struct fetcher {
    int total, per_host;
    double time_limit;
    coil_semaphore places;
    struct host *hosts[BUCKETS];
    char **urls;
    size_t urls_n, done, running;
    size_t kinds[KINDS];
    unsigned long long bytes;
    double begin;
    bool bar; /* a progress bar on standard error, and lines for failures only */
};

/* ---- URLs ---- */

static bool copy_part(char *to, size_t size, const char *from, size_t n)
{
    if (n >= size)
        return false;
    memcpy(to, from, n);
    to[n] = 0;
    return true;
}

/* "host", "host:port" or "[::1]:port" of an URL. */
static bool parse_authority(const char *at, size_t n, struct url *url)
{
    const char *end = at + n, *host_end, *rest;
    if (n > 0 && *at == '[') {
        at++;
        host_end = memchr(at, ']', n - 1);
        if (!host_end)
            return false;
        rest = host_end + 1;
    } else {
        host_end = memchr(at, ':', n);
        rest = host_end = host_end ? host_end : end;
    }
    strcpy(url->port, "80");
    if (rest < end && (*rest != ':' || rest + 1 == end ||
                       !copy_part(url->port, sizeof url->port, rest + 1, (size_t)(end - rest - 1))))
        return false;
    size_t host_n = (size_t)(host_end - at);
    return host_n > 0 && !memchr(at, '@', n) && url->port[strspn(url->port, "0123456789")] == 0 &&
           copy_part(url->host, sizeof url->host, at, host_n);
}

/* "/a/./b/../c" becomes "/a/c"; what follows a '?' stays as it is. */
static void remove_dots(char *path)
{
    char *query = path + strcspn(path, "?"), *out = path;
    for (char *in = path; in < query;) {
        size_t n = 1 + strcspn(in + 1, "/?"); /* a step with the '/' before it */
        bool here = n == 2 && in[1] == '.', up = n == 3 && in[1] == '.' && in[2] == '.';
        if (!here && !up) {
            memmove(out, in, n);
            out += n;
        }
        if (up && out > path)
            while (*--out != '/')
                ;
        if ((here || up) && in + n == query)
            *out++ = '/';
        in += n;
    }
    memmove(out, query, strlen(query) + 1);
}

/* An absolute URL, or one relative to what *url holds. Its fragment is dropped. */
static coil_ret parse_url(const char *text, struct url *url)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p <= ' ' || *p == 0x7f) /* could end the request line early */
            return coil_fail(EBADURL, "a space or control character in the URL");
    size_t n = strcspn(text, "#");
    if (strncasecmp(text, "http://", 7) == 0 || strncmp(text, "//", 2) == 0) {
        size_t skip = text[0] == '/' ? 2 : 7;
        text += skip, n -= skip;
        size_t authority = strcspn(text, "/?#");
        if (!parse_authority(text, authority, url))
            return coil_fail(EBADURL, "no host, or no port, that could be read");
        text += authority, n -= authority;
        strcpy(url->path, "/");
    } else if (strcspn(text, ":") < strcspn(text, "/?#")) {
        return coil_fail(EBADURL, "only http:// is spoken here");
    } else if (!url->host[0]) {
        return coil_fail(EBADURL, "it does not begin with http://");
    }
    if (n == 0)
        return 0;
    size_t keep = 0; /* of the path that is there */
    if (text[0] == '?')
        keep = strcspn(url->path, "?");
    else if (text[0] != '/')
        for (size_t i = 0; url->path[i] && url->path[i] != '?'; i++)
            keep = url->path[i] == '/' ? i + 1 : keep;
    if (!copy_part(url->path + keep, sizeof url->path - keep, text, n))
        return coil_fail(EBADURL, "longer than %d bytes", PATH_BYTES);
    remove_dots(url->path);
    return 0;
}

static struct host *host_of(struct fetcher *f, const struct url *url)
{
    char name[HOST_BYTES + 8];
    snprintf(name, sizeof name, "%s:%s", url->host, url->port);
    unsigned hash = 5381;
    for (const char *p = name; *p; p++)
        hash = hash * 33 + (unsigned char)*p;
    struct host **at = &f->hosts[hash % BUCKETS];
    for (struct host *h = *at; h; h = h->next)
        if (strcasecmp(h->name, name) == 0)
            return h;
    struct host *host = calloc(1, sizeof *host);
    if (!host)
        return NULL;
    strcpy(host->name, name);
    host->places = (coil_semaphore)COIL_SEMAPHORE(f->per_host);
    host->next = *at;
    return *at = host;
}

/* ---- one answer ---- */

static int on_field(llhttp_t *p, const char *at, size_t n)
{
    struct fetch *fetch = p->data;
    size_t room = sizeof fetch->field - fetch->field_n;
    memcpy(fetch->field + fetch->field_n, at, n < room ? n : room);
    fetch->field_n += n < room ? n : room;
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct fetch *fetch = p->data;
    if (fetch->field_n != 8 || strncasecmp(fetch->field, "location", 8) != 0)
        return 0;
    if (fetch->location_n + n >= sizeof fetch->location)
        return HPE_USER;
    memcpy(fetch->location + fetch->location_n, at, n);
    fetch->location_n += n;
    fetch->location[fetch->location_n] = 0;
    return 0;
}

static int on_value_complete(llhttp_t *p)
{
    ((struct fetch *)p->data)->field_n = 0;
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct fetch *fetch = p->data;
    (void)at;
    fetch->bytes += n;
    fetch->fetcher->bytes += n;
    return 0;
}

static int on_message_complete(llhttp_t *p)
{
    if (p->status_code / 100 == 1)
        return 0; /* "100 Continue": the answer is still to come */
    ((struct fetch *)p->data)->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static coil_ret read_answer(struct fetch *fetch, coil_reader *reader)
{
    char chunk[CHUNK];
    while (!fetch->complete) {
        coil_ret n = coil_reader_read(reader, chunk, sizeof chunk);
        if (coil_iserr(n))
            return n;
        enum llhttp_errno e = n > 0 ? llhttp_execute(&fetch->parser, chunk, (size_t)n)
                                    : llhttp_finish(&fetch->parser);
        if (fetch->complete)
            break;
        if (n == 0)
            return coil_fail(COIL_EINCOMPLETE, "the connection ended before the answer");
        if (e != HPE_OK)
            return coil_fail(ENOTHTTP, "%s", llhttp_get_error_reason(&fetch->parser));
    }
    return fetch->parser.status_code;
}

/* One request and its answer's status. */
static coil_ret ask(struct fetch *fetch, const struct url *url)
{
    llhttp_init(&fetch->parser, HTTP_RESPONSE, &settings);
    fetch->parser.data = fetch;
    fetch->field_n = fetch->location_n = 0;
    fetch->bytes = 0;
    fetch->complete = false;

    coil_reader *reader;
    coil_writer *writer;
    coil_ret rc = coil_open_connection(url->host, url->port, &reader, &writer);
    if (coil_iserr(rc))
        return rc;
    char request[URL_BYTES + 128];
    bool v6 = strchr(url->host, ':');
    int n = snprintf(
        request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: coil-fetch\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n",
        url->path, v6 ? "[" : "", url->host, v6 ? "]" : "", url->port);
    rc = coil_writer_write(writer, request, (size_t)n);
    if (!coil_iserr(rc))
        rc = read_answer(fetch, reader);
    coil_writer_abort(writer); /* nothing is left to send, and what else comes is not wanted */
    coil_ignore(coil_writer_finish(writer));
    return rc;
}

/* ---- one URL ---- */

static bool is_redirect(coil_ret status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Ask once the host and the total have a place, with what is left of the time. */
static coil_ret ask_in_turn(struct fetch *fetch, const struct url *url)
{
    struct fetcher *f = fetch->fetcher;
    struct host *host = host_of(f, url);
    if (!host)
        return -ENOMEM;
    coil_ret rc;
    coil_with_semaphore(rc, &host->places)
    {
        coil_with_semaphore(rc, &f->places)
        {
            double begin = coil_loop_time(NULL);
            f->running++;
            coil_timeout(limit, f->time_limit - fetch->seconds);
            rc = coil_timeout_exit(&limit, ask(fetch, url));
            f->running--;
            fetch->seconds += coil_loop_time(NULL) - begin;
        }
    }
    return rc;
}

static coil_ret follow(struct fetch *fetch)
{
    struct url url = {0};
    coil_ret rc = parse_url(fetch->text, &url);
    for (int hops = 0; !coil_iserr(rc); hops++) {
        rc = ask_in_turn(fetch, &url);
        if (!is_redirect(rc) || fetch->location_n == 0)
            break;
        if (hops == REDIRECTS_MAX)
            return coil_fail(EREDIRECTS, "more than %d, the last one to %s", REDIRECTS_MAX,
                             fetch->location);
        rc = parse_url(fetch->location, &url);
    }
    return rc;
}

static enum kind kind_of(coil_ret rc)
{
    switch (rc) {
    case EBADURL: return BAD_URL;
    case ENOTHTTP: return NOT_HTTP;
    case EREDIRECTS: return REDIRECTS;
    case COIL_EINCOMPLETE: return CUT_OFF;
    case COIL_EGAI: return NO_NAME;
    case -ETIMEDOUT: return TIMEOUT;
    case -ECONNRESET: return RESET;
    case -EPIPE: return RESET;
    case -ECONNREFUSED: return NO_CONNECTION;
    case -ENETUNREACH: return NO_CONNECTION;
    case -EHOSTUNREACH: return NO_CONNECTION;
    default: return coil_iserr(rc) ? OTHER : rc >= 200 && rc < 400 ? GOOD : STATUS;
    }
}

static void print_line(const struct fetch *fetch)
{
    if (fetch->fetcher->bar && fetch->kind == GOOD)
        return;
    if (fetch->fetcher->bar)
        fprintf(stderr, "\r\033[K");
    if (fetch->kind == GOOD || fetch->kind == STATUS)
        printf("%d  %s  %llu bytes in %.3f s\n", fetch->status, fetch->text, fetch->bytes,
               fetch->seconds);
    else
        printf("---  %s  %s after %.3f s: %s\n", fetch->text, kind_names[fetch->kind],
               fetch->seconds, fetch->words);
    fflush(stdout);
}

static coil_ret fetch_url(void *arg)
{
    struct fetch *fetch = arg;
    struct fetcher *f = fetch->fetcher;
    coil_ret rc = follow(fetch);
    if (rc == -ECANCELED || rc == COIL_EEXIT)
        return rc;
    fetch->kind = kind_of(rc);
    if (coil_iserr(rc))
        snprintf(fetch->words, sizeof fetch->words, "%s", coil_last_error()->message);
    else
        fetch->status = (int)rc;
    f->kinds[fetch->kind]++;
    f->done++;
    print_line(fetch);
    return 0;
}

/* ---- all of them ---- */

static void draw_bar(const struct fetcher *f)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    size_t full = f->done * WIDTH / f->urls_n;
    memset(bar, '.', WIDTH);
    memset(bar, '#', full);
    bar[WIDTH] = 0;
    double seconds = coil_loop_time(NULL) - f->begin;
    fprintf(stderr, "\r\033[K[%s] %zu of %zu, %zu under way, %zu failed, %.1f MB, %.0f s", bar,
            f->done, f->urls_n, f->running, f->done - f->kinds[GOOD], (double)f->bytes / 1e6,
            seconds);
}

static coil_ret show_progress(void *arg)
{
    for (;;) {
        draw_bar(arg);
        coil_ret rc = coil_sleep(0.1);
        if (coil_iserr(rc))
            return rc;
    }
}

static coil_ret fetch_all(struct fetcher *f)
{
    coil_task_group(urls);
    for (size_t i = 0; i < f->urls_n; i++) {
        struct fetch fetch = {.fetcher = f, .text = f->urls[i]};
        coil_group_create_task_with(&urls, fetch_url, &fetch, sizeof fetch);
    }
    return coil_group_exit(&urls, 0);
}

static coil_ret main_task(void *arg)
{
    struct fetcher *f = arg;
    f->begin = coil_loop_time(NULL);
    coil_task *progress = f->bar ? coil_create_task(show_progress, f) : NULL;
    coil_ret rc = fetch_all(f);
    if (progress) {
        coil_task_cancel(progress, NULL);
        coil_ignore(coil_join(progress));
        draw_bar(f);
        fprintf(stderr, "\n");
    }
    printf("fetch: %zu of %zu good, %llu bytes in %.2f s (%s)\n", f->kinds[GOOD], f->urls_n,
           f->bytes, coil_loop_time(NULL) - f->begin, coil_loop_backend(NULL));
    for (int kind = GOOD + 1; kind < KINDS; kind++)
        if (f->kinds[kind] > 0)
            printf("  %5zu %s\n", f->kinds[kind], kind_names[kind]);
    for (int i = 0; i < BUCKETS; i++)
        for (struct host *next, *h = f->hosts[i]; h; h = next) {
            next = h->next;
            free(h);
        }
    return rc;
}

/* The lines of standard input; ours until the program ends. */
static bool read_urls(struct fetcher *f)
{
    char *line = NULL;
    size_t size = 0, room = 0;
    ssize_t n;
    while ((n = getline(&line, &size, stdin)) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        if (!line[0])
            continue;
        if (f->urls_n == room) {
            room = room ? 2 * room : 64;
            char **more = realloc(f->urls, room * sizeof *more);
            if (!more)
                return false;
            f->urls = more;
        }
        if (!(f->urls[f->urls_n++] = strdup(line)))
            return false;
    }
    free(line);
    return true;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: fetch [-t SECONDS] [-n TOTAL] [-p PER_HOST] [URL]...\n"
            "  -t SECONDS   for each URL, redirects included (%g)\n"
            "  -n TOTAL     under way at once (%d)\n"
            "  -p PER_HOST  of these, at one host (%d)\n"
            "without a URL: those of standard input, one a line. Exit status 0: all were good; 1: "
            "not all\n",
            TIME_LIMIT_S, TOTAL, PER_HOST);
    return 2;
}

int main(int argc, char **argv)
{
    static struct fetcher f = {.total = TOTAL, .per_host = PER_HOST, .time_limit = TIME_LIMIT_S};
    int option;
    while ((option = getopt(argc, argv, "t:n:p:")) != -1) {
        switch (option) {
        case 't': f.time_limit = atof(optarg); break;
        case 'n': f.total = atoi(optarg); break;
        case 'p': f.per_host = atoi(optarg); break;
        default: return usage();
        }
    }
    if (!(f.time_limit > 0) || f.total < 1 || f.per_host < 1)
        return usage();
    f.urls = argv + optind;
    f.urls_n = (size_t)(argc - optind);
    bool from_stdin = f.urls_n == 0;
    if (from_stdin) {
        f.urls = NULL;
        if (!read_urls(&f)) {
            perror("fetch");
            return 1;
        }
    }
    f.places = (coil_semaphore)COIL_SEMAPHORE(f.total);
    f.bar = isatty(STDERR_FILENO) && f.urls_n > 0;
    coil_run_opts opts = {.size = sizeof opts, .stack_size = 65536};
    int status = coil_report(coil_run_with(main_task, &f, &opts));
    for (size_t i = 0; from_stdin && i < f.urls_n; i++)
        free(f.urls[i]);
    if (from_stdin)
        free(f.urls);
    return status ? status : f.kinds[GOOD] < f.urls_n;
}
