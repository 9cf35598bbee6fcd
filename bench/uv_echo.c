/* SPDX-License-Identifier: MIT
 *
 * uv_echo.c: the same on libuv, the way its guide writes it: uv_echo tcp|unix BUFFER [messages]
 *
 * With `messages` each 64 bytes are answered by a write of their own. */
#include "echo.h"

#include <uv.h>

static size_t buf_n;
static int is_messages;

/* One that is being written belongs to the write; the next read needs another. Small ones go out at once. */
static void on_alloc(uv_handle_t *handle, size_t n, uv_buf_t *buf)
{
    static char *shared;
    (void)handle, (void)n;
    if (buf_n > 65536) {
        *buf = uv_buf_init(malloc(buf_n), (unsigned)buf_n);
        return;
    }
    if (!shared)
        shared = malloc(buf_n);
    *buf = uv_buf_init(shared, (unsigned)buf_n);
}

struct write {
    uv_write_t req;
    char *bytes; /* NULL: the shared ones */
};

static void on_written(uv_write_t *req, int status)
{
    struct write *w = (struct write *)req;
    (void)status;
    free(w->bytes);
    free(w);
}

/* What is written belongs to the write until it is done. */
static void answer_each(uv_stream_t *client, const char *bytes, size_t n)
{
    for (size_t at = 0, step; at < n; at += step) {
        step = n - at < 64 ? n - at : 64;
        struct write *w = malloc(sizeof *w);
        w->bytes = malloc(step);
        memcpy(w->bytes, bytes + at, step);
        uv_buf_t out = uv_buf_init(w->bytes, (unsigned)step);
        uv_write(&w->req, client, &out, 1, on_written);
    }
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_read(uv_stream_t *client, ssize_t n, const uv_buf_t *buf)
{
    char *own = buf_n > 65536 ? buf->base : NULL;
    if (n <= 0) {
        free(own);
        if (n < 0)
            uv_close((uv_handle_t *)client, on_closed);
        return;
    }
    if (is_messages) {
        answer_each(client, buf->base, (size_t)n);
        return;
    }
    struct write *w = malloc(sizeof *w);
    w->bytes = own;
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
    uv_write(&w->req, client, &out, 1, on_written);
}

static void on_client(uv_stream_t *server, int status)
{
    if (status < 0)
        return;
    int is_unix = server->type == UV_NAMED_PIPE;
    uv_stream_t *client = malloc(is_unix ? sizeof(uv_pipe_t) : sizeof(uv_tcp_t));
    if (is_unix)
        uv_pipe_init(server->loop, (uv_pipe_t *)client, 0);
    else
        uv_tcp_init(server->loop, (uv_tcp_t *)client);
    if (uv_accept(server, client) == 0) {
        if (!is_unix)
            uv_tcp_nodelay((uv_tcp_t *)client, 1);
        uv_read_start(client, on_alloc, on_read);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    is_messages = argc > 3;
    uv_loop_t *loop = uv_default_loop();
    static uv_tcp_t tcp;
    static uv_pipe_t pipe;
    int is_unix = strcmp(argv[1], "unix") == 0, fd = echo_listen(is_unix);
    buf_n = (size_t)atol(argv[2]);
    uv_tcp_init(loop, &tcp);
    uv_pipe_init(loop, &pipe, 0);
    if (is_unix ? uv_pipe_open(&pipe, fd) : uv_tcp_open(&tcp, fd))
        return 1;
    uv_stream_t *server = is_unix ? (uv_stream_t *)&pipe : (uv_stream_t *)&tcp;
    if (uv_listen(server, 1024, on_client) < 0)
        return 1;
    return uv_run(loop, UV_RUN_DEFAULT);
}
