/* SPDX-License-Identifier: MIT
 *
 * tls_load.c: ping-pong over many TLS connections: tls_load TARGET CONNECTIONS REQUESTS BYTES [fresh]
 *
 * Plain epoll and OpenSSL on the sockets, so that the generator favours nobody; it checks no certificate. `fresh`: a new
 * connection, with a whole handshake, for every request. Prints nothing; exit status 0 when every byte came back. */
#include "echo.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { STEP = 16384 };

struct connection {
    SSL *ssl; /* NULL: none now */
    int fd;
    size_t sent, got; /* of the message under way */
};

static SSL_CTX *ctx;
static char *message, scratch[STEP];
static size_t size;
static int ep, fresh;
static const char *target;

/* Is that only "not now"? Anything else ends the program. */
static void must_be_not_now(struct connection *c, int rc)
{
    int why = SSL_get_error(c->ssl, rc);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return;
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void open_one(struct connection *c)
{
    c->fd = echo_connect(target);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->ssl = SSL_new(ctx);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_connect_state(c->ssl);
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd,
              &(struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c});
}

static void close_one(struct connection *c)
{
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    close(c->fd);
    c->ssl = NULL;
}

/* As much as goes. */
static void push(struct connection *c)
{
    while (c->sent < size) {
        size_t room = size - c->sent < STEP ? size - c->sent : STEP;
        int n = SSL_write(c->ssl, message + c->sent, (int)room); /* which shakes hands first */
        if (n <= 0) {
            must_be_not_now(c, n);
            return;
        }
        c->sent += (size_t)n;
    }
}

/* What is there; true once the whole message came back. */
static int pull(struct connection *c)
{
    while (c->got < size) {
        size_t room = size - c->got < STEP ? size - c->got : STEP;
        int n = SSL_read(c->ssl, scratch, (int)room);
        if (n <= 0) {
            must_be_not_now(c, n);
            return 0;
        }
        if (memcmp(scratch, message + c->got, (size_t)n) != 0)
            exit(1);
        c->got += (size_t)n;
    }
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    int connections = atoi(argv[2]);
    long left = atol(argv[3]), out = 0;
    target = argv[1];
    size = (size_t)atol(argv[4]);
    fresh = argc > 5;
    ep = epoll_create1(0);
    signal(SIGPIPE, SIG_IGN);
    message = malloc(size);
    for (size_t i = 0; i < size; i++)
        message[i] = (char)(i * 2654435761u >> 24);
    ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        open_one(&all[i]);
        left--, out++;
    }
    while (out > 0) {
        struct epoll_event events[256];
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            ERR_clear_error();
            push(c);
            if (c->got == size || !pull(c))
                continue;
            out--;
            if (left <= 0)
                continue;
            left--, out++;
            c->sent = c->got = 0;
            if (fresh) {
                close_one(c);
                open_one(c); /* which brings an event */
            } else {
                push(c);
            }
        }
    }
    for (int i = 0; i < connections; i++)
        close_one(&all[i]);
    return 0;
}
