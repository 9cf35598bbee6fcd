/* SPDX-License-Identifier: MIT
 *
 * uv_echo.c: the same on libuv, the way its guide writes it. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static void on_alloc(uv_handle_t *handle, size_t n, uv_buf_t *buf)
{
    static char shared[16384];
    (void)handle, (void)n;
    *buf = uv_buf_init(shared, sizeof shared);
}

static void on_written(uv_write_t *req, int status)
{
    (void)status;
    free(req);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_read(uv_stream_t *client, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0) {
        uv_close((uv_handle_t *)client, on_closed);
        return;
    }
    if (n == 0)
        return;
    uv_write_t *req = malloc(sizeof *req);
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
    uv_write(req, client, &out, 1, on_written);
}

static void on_client(uv_stream_t *server, int status)
{
    if (status < 0)
        return;
    uv_tcp_t *client = malloc(sizeof *client);
    uv_tcp_init(server->loop, client);
    if (uv_accept(server, (uv_stream_t *)client) == 0) {
        uv_tcp_nodelay(client, 1);
        uv_read_start((uv_stream_t *)client, on_alloc, on_read);
    }
}

int main(void)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t server;
    struct sockaddr_in addr;
    int len = sizeof addr;
    uv_tcp_init(loop, &server);
    uv_ip4_addr("127.0.0.1", 0, &addr);
    uv_tcp_bind(&server, (struct sockaddr *)&addr, 0);
    if (uv_listen((uv_stream_t *)&server, 1024, on_client) < 0)
        return 1;
    uv_tcp_getsockname(&server, (struct sockaddr *)&addr, &len);
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
