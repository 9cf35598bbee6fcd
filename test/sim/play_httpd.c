/* SPDX-License-Identifier: MIT
 *
 * play_httpd.c: examples/httpd.c, compiled here with another main, and clients that know every byte of its files.
 *
 *     clients --requests, some at once, some in pieces--> [ httpd ] --> files of a folder that is made here
 *
 * What it may leave to a thread it does at once: files are real, and threads have no place in the story.
 * Ledger: a status, a length or a byte other than the file's is a failure whatever happens; an answer that breaks off is one only
 * in the calm, since its length tells the client. */
#include "swarm.h"

#include "../../examples/program.h"
#include "program.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

int httpd_main(int argc, char **argv);

#undef coil_to_thread
#define coil_to_thread(fn, arg) fn(arg)
#define main                    httpd_main
#define serve                   httpd_serve
#include "../../examples/httpd.c"
#undef main
#undef serve
#undef printf
#undef fprintf

/* ---- the site ---- */

static const size_t sizes[] = {0, 1, 700, 5000, 70000, 300000};
enum { FILES = sizeof sizes / sizeof *sizes };
static char folder[256];
static struct host *server;

static char file_byte(unsigned file, size_t at)
{
    return word(file * 31 + 7, at);
}

static void file_path(char *path, size_t n, unsigned file)
{
    snprintf(path, n, "%s/f%u", folder, file);
}

static void remove_site(void)
{
    char path[300];
    for (unsigned i = 0; i < FILES; i++) {
        file_path(path, sizeof path, i);
        unlink(path);
    }
    rmdir(folder);
}

static void make_site(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/coil-swarm-XXXXXX", tmp ? tmp : "/tmp");
    COIL_CHECK(mkdtemp(folder));
    atexit(remove_site);
    for (unsigned i = 0; i < FILES; i++) {
        char path[300];
        file_path(path, sizeof path, i);
        FILE *f = fopen(path, "w");
        COIL_CHECK(f);
        for (size_t at = 0; at < sizes[i]; at++)
            putc(file_byte(i, at), f);
        COIL_CHECK(fclose(f) == 0);
    }
}

static coil_ret server_program(void *arg)
{
    const struct host *host = arg;
    char own[24], name[] = "httpd";
    snprintf(own, sizeof own, "%s:80", host->address);
    char *argv[] = {name, own, folder, NULL};
    return httpd_main(3, argv);
}

/* ---- a client ---- */

struct request {
    unsigned file; /* FILES: there is none of that name */
    bool head, last;
    size_t from, length; /* of the file; a part if `part` */
    bool part;
};

struct visit {
    coil_reader *reader;
    coil_writer *writer;
    struct random random;
    bool slow; /* some 10,000 bytes, and a rest, longer than the server lingers */
};

static struct request request_new(struct random *random, bool last)
{
    struct request r = {.file = random_below(random, FILES + 1), .last = last};
    r.head = random_below(random, 6) == 0;
    if (r.file == FILES)
        return r;
    r.length = sizes[r.file];
    if (r.length > 1 && random_below(random, 4) == 0) {
        r.part = true;
        r.from = random_below(random, (uint32_t)r.length);
        r.length = 1 + random_below(random, (uint32_t)(r.length - r.from));
    }
    return r;
}

static coil_ret ask(struct visit *v, const struct request *r)
{
    char text[200];
    int n = snprintf(text, sizeof text, "%s /f%u HTTP/1.1\r\nHost: x\r\n", r->head ? "HEAD" : "GET",
                     r->file);
    if (r->part)
        n += snprintf(text + n, sizeof text - (size_t)n, "Range: bytes=%zu-%zu\r\n", r->from,
                      r->from + r->length - 1);
    n += snprintf(text + n, sizeof text - (size_t)n, "%s\r\n",
                  r->last ? "Connection: close\r\n" : "");
    /* In one piece, or in two with a moment between. */
    int first = random_below(&v->random, 8) ? n : (int)random_below(&v->random, (uint32_t)n);
    coil_ret rc = coil_writer_write(v->writer, text, (size_t)first);
    if (!coil_iserr(rc) && first < n) {
        rc = coil_sleep(random_below(&v->random, run.calm ? 4000 : 12000) / 1000.0);
        if (!coil_iserr(rc))
            rc = coil_writer_write(v->writer, text + first, (size_t)(n - first));
    }
    return coil_iserr(rc) ? rc : coil_writer_drain(v->writer);
}

static coil_ret read_body(struct visit *v, const struct request *r)
{
    char buf[8000];
    for (size_t at = 0; at < r->length;) {
        size_t n = 1 + random_below(&v->random, sizeof buf);
        n = n < r->length - at ? n : r->length - at;
        coil_ret rc = coil_reader_read(v->reader, buf, n);
        if (rc <= 0)
            return rc ? rc : -ECONNABORTED;
        for (size_t i = 0; i < (size_t)rc; i++)
            if (buf[i] != file_byte(r->file, r->from + at + i))
                failed("httpd: a byte that the file does not have there");
        at += (size_t)rc;
        server->play->bytes += (size_t)rc;
        double rest = v->slow ? (at / 10000 != (at - (size_t)rc) / 10000 ? 2 : 0)
                              : (random_below(&v->random, 60) ? 0 : 0.7);
        if (rest > 0 && coil_iserr(rc = coil_sleep(rest)))
            return rc;
    }
    return 0;
}

static coil_ret throw_away(struct visit *v, size_t n)
{
    char bin[256];
    while (n > 0) {
        coil_ret rc = coil_reader_read(v->reader, bin, n < sizeof bin ? n : sizeof bin);
        if (rc <= 0)
            return rc ? rc : -ECONNABORTED;
        n -= (size_t)rc;
    }
    return 0;
}

static coil_ret read_answer(struct visit *v, const struct request *r)
{
    const char *view;
    size_t n;
    coil_ret rc = coil_reader_readuntil(v->reader, "\r\n\r\n", 4, &view, &n);
    if (coil_iserr(rc))
        return rc;
    unsigned status = 0;
    size_t length = 0;
    const char *at = strstr(view, "Content-Length: ");
    if (sscanf(view, "HTTP/1.1 %u ", &status) != 1 || !at ||
        sscanf(at, "Content-Length: %zu", &length) != 1)
        failed("httpd: that is no answer");
    if (status == 408)
        return -ETIMEDOUT; /* the request was on its way for too long */
    unsigned right = r->file == FILES ? 404 : r->part ? 206 : 200;
    if (status != right || (right != 404 && length != r->length))
        failed("httpd: %u with %zu bytes, not %u with %zu", status, length, right, r->length);
    if (r->head)
        return 0;
    return right == 404 ? throw_away(v, length) : read_body(v, r);
}

static coil_ret ask_and_read(struct visit *v, bool dawdles)
{
    unsigned left = talks_of(&v->random, 6);
    while (left > 0) {
        struct request requests[3];
        unsigned n = 1 + random_below(&v->random, 3);
        n = n < left ? n : left;
        left -= n;
        for (unsigned i = 0; i < n; i++) {
            requests[i] = request_new(&v->random, left == 0 && i == n - 1);
            coil_ret rc = ask(v, &requests[i]);
            if (coil_iserr(rc))
                return rc;
        }
        for (unsigned i = 0; i < n; i++) {
            coil_ret rc = read_answer(v, &requests[i]);
            if (coil_iserr(rc))
                return rc;
            server->play->whole++;
        }
        coil_ret rc = coil_sleep(dawdles ? pause_s(&v->random) : 0);
        if (coil_iserr(rc))
            return rc;
    }
    char more;
    coil_ret rc = coil_reader_read(v->reader, &more, 1);
    if (rc > 0)
        failed("httpd: something comes behind the last answer");
    return rc;
}

static coil_ret visit(uint64_t seed, bool dawdles, double deadline_s)
{
    struct visit v = {.random = {seed}};
    coil_timeout(deadline, deadline_s);
    coil_ret rc = coil_open_connection(server->address, "80", &v.reader, &v.writer);
    if (!coil_iserr(rc)) {
        rc = ask_and_read(&v, dawdles);
        if (coil_iserr(rc))
            coil_writer_abort(v.writer);
        coil_ignore(coil_writer_finish(v.writer));
    }
    return coil_timeout_exit(&deadline, rc);
}

static coil_ret client_program(void *arg)
{
    struct host *host = arg;
    struct random random = {host->seed};
    for (unsigned talks = talks_of(&random, 8); talks > 0 && !run.calm; talks--) {
        uint64_t seed = random_u64(&random);
        coil_ret rc = visit(seed, true, patience() * (1 + random_below(&random, 120)));
        if (rc != 0)
            host->play->broken++;
        note((uint64_t)rc);
        if (rc == COIL_EEXIT || coil_iserr(rc = coil_sleep(pause_s(&random))))
            return rc;
    }
    return 0;
}

/* Whoever takes his time still gets all of the last answer. */
static coil_ret read_slowly(void)
{
    struct visit v = {.random = {run.seed}, .slow = true};
    struct request big = {.file = FILES - 1, .length = sizes[FILES - 1], .last = true};
    coil_ret rc = coil_open_connection(server->address, "80", &v.reader, &v.writer);
    if (coil_iserr(rc))
        return rc;
    rc = ask(&v, &big);
    if (!coil_iserr(rc))
        rc = read_answer(&v, &big);
    coil_ignore(coil_writer_finish(v.writer));
    return rc;
}

static coil_ret last_client(void *host)
{
    coil_ret rc = visit(run.seed, false, 600);
    return rc ? rc : read_slowly();
}

static void begin(struct play *play)
{
    static const struct role server_role = {.program = server_program,
                                            .serves = true,
                                            .mortal = true},
                             client = {.program = client_program};
    if (!folder[0])
        make_site();
    server = host_add(play, &server_role);
    for (unsigned n = clients_of(play, 6); n > 0; n--)
        host_add(play, &client);
}

struct play play_httpd = {.name = "httpd", .port = "80", .begin = begin, .last = last_client};
