/* SPDX-License-Identifier: MIT
 *
 * raw_tls_blocking.c: the least a TLS echo server can do: a thread for each client, and OpenSSL on its blocking socket:
 * raw_tls_blocking BUFFER CERT KEY THREADS. What coil_tls_echo.c is measured against.
 *
 * The threads are there from the beginning, so that no CPU time goes with one that has ended. */
#include "echo.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static int listener;
static size_t buf_n;
static SSL_CTX *ctx;

/* 0: the client said its end. */
static int echo(SSL *ssl, char *buf)
{
    int n;
    while ((n = SSL_read(ssl, buf, (int)buf_n)) > 0)
        if (SSL_write(ssl, buf, n) != n)
            return -1;
    return SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static void *serve(void *arg)
{
    char *buf = malloc(buf_n);
    int one = 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        SSL *ssl = SSL_new(ctx);
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1 && echo(ssl, buf) == 0)
            SSL_shutdown(ssl);
        SSL_free(ssl);
        close(fd);
    }
    return arg;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    buf_n = (size_t)atol(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    ctx = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(ctx, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, argv[3], SSL_FILETYPE_PEM) != 1)
        return 1;
    listener = echo_listen(0);
    fcntl(listener, F_SETFL, 0); /* it shall block */
    for (int i = atoi(argv[4]); i > 0; i--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL) != 0)
            return 1;
    }
    for (;;)
        pause();
}
