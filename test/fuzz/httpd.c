/* SPDX-License-Identifier: MIT
 *
 * httpd.c: examples/httpd.c, compiled here with another main, and a client that sends whatever comes to its mind in pieces:
 * it gets answers, or is let go, within the time that the server promises. */
#include "fuzz.h"

#include "../../examples/program.h"

#include "io/backend.h"
#include "loop/loop.h"

#include <sys/socket.h>

int httpd_main(int argc, char **argv);

#define main httpd_main
#include "../../examples/httpd.c"
#undef main

enum { BYTES = 65536, BOUND_S = 60 };

struct visit {
    struct input in;
    coil_sock *sock;
    char got[BYTES];
    size_t got_n;
    bool told_end;
};

/* Whole words, so that requests are met often; other bytes are sent as they are. */
static const char *const words[] = {
    "GET ",
    "HEAD ",
    "POST ",
    " HTTP/1.1\r\n",
    "Host: x\r\n",
    "\r\n",
    "Range: bytes=",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "/",
    "%2e",
    "../secret",
    "/a",
    "GET /a HTTP/1.1\r\n\r\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
enum { WORDS = sizeof words / sizeof *words };

static coil_ret send_all(void *arg)
{
    struct visit *v = arg;
    coil_ret rc = 0;
    while (rc >= 0 && v->in.at < v->in.end) {
        unsigned what = next(&v->in);
        char byte = (char)what;
        if (what >= 248) {
            HOLDS(coil_sleep(what - 247) == 0);
        } else if (what >= 128) {
            const char *word = words[what % WORDS];
            unsigned times = what % WORDS == WORDS - 1 ? next(&v->in) : 1;
            for (; rc >= 0 && times > 0; times--)
                rc = coil_sock_sendall(v->sock, word, strlen(word), NULL);
        } else {
            rc = coil_sock_sendall(v->sock, &byte, 1, NULL);
        }
    }
    if (rc >= 0)
        v->told_end = coil_sock_shutdown(v->sock, SHUT_WR) == 0;
    return 0;
}

static coil_ret receive_all(void *arg)
{
    struct visit *v = arg;
    char more[4096];
    coil_ret n;
    while ((n = coil_sock_recv(v->sock, more, sizeof more)) > 0) {
        size_t room = sizeof v->got - v->got_n, keep = (size_t)n < room ? (size_t)n : room;
        memcpy(v->got + v->got_n, more, keep);
        v->got_n += keep;
    }
    return 0;
}

/* Nothing but answers, each with its head whole. */
static void are_answers(const struct visit *v)
{
    HOLDS(v->got_n == 0 || (v->got_n > 13 && memcmp(v->got, "HTTP/1.1 ", 9) == 0));
    HOLDS(v->got_n == 0 || memmem(v->got, v->got_n, "\r\n\r\n", 4));
    HOLDS(!memmem(v->got, v->got_n, "secret", 6));
}

/* A file to be had, and beside the folder one that is not. */
static char top[256], www[300];

static void remove_site(void)
{
    static const char *const names[] = {"www/a", "secret"};
    char path[300];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", top, names[i]);
        unlink(path);
    }
    rmdir(www);
    rmdir(top);
}

static void make_file(const char *folder, const char *name, const char *text)
{
    char path[320];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    HOLDS(file && fputs(text, file) >= 0);
    fclose(file);
}

static void make_site(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(top, sizeof top, "%s/coil-fuzz-XXXXXX", tmp ? tmp : "/tmp");
    HOLDS(mkdtemp(top));
    snprintf(www, sizeof www, "%s/www", top);
    HOLDS(mkdir(www, 0700) == 0);
    make_file(www, "a", "hello");
    make_file(top, "secret", "secret");
    atexit(remove_site);
}

static coil_ret play(void *arg)
{
    struct visit *v = arg;
    struct backend *b = coil_get_running_loop()->backend;
    struct site site = {.root = open(www, O_DIRECTORY | O_RDONLY | O_CLOEXEC)};
    coil_reader *reader;
    coil_writer *writer;
    coil_sock *sock;
    int fd[2];
    HOLDS(site.root >= 0);
    HOLDS(b->cls->calls.socketpair(b, AF_UNIX, SOCK_STREAM, fd) == 0);
    HOLDS(coil_sock_adopt(NULL, fd[0], &sock) == 0 && coil_sock_adopt(NULL, fd[1], &v->sock) == 0);
    HOLDS(coil_open_connection_sock(sock, 0, &reader, &writer) == 0);
    double began = coil_loop_time(NULL);
    coil_task *sender = coil_create_task(send_all, v), *receiver = coil_create_task(receive_all, v);
    HOLDS(sender && receiver);
    coil_ret rc = serve(reader, writer, &site);
    HOLDS(rc == 0 || rc == -ECONNRESET);
    coil_ignore(coil_writer_finish(writer));
    HOLDS(coil_join(receiver) == 0 && coil_join(sender) == 0);
    HOLDS(!site.clients && site.connections == 1);
    HOLDS(coil_loop_time(NULL) - began < BOUND_S + 8.0 * 512);
    are_answers(v);
    coil_sock_unref(v->sock);
    close(site.root);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct visit v;
    if (!www[0])
        make_site();
    v = (struct visit){.in = {data, data + size}};
    fuzz_run_alone(play, &v);
    return 0;
}
