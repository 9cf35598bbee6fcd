/* SPDX-License-Identifier: MIT
 *
 * test_transport.c: TLS over transports and protocols. */
#include "stage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct end {
    coil_transport *t;
    char order[64]; /* M made, D data, E eof, L lost, P pause, R resume */
    size_t bytes;
    coil_ret error, made_says;
    const char *reply; /* to whatever comes */
    bool is_echo;
    coil_event changed;
};

static void mark(struct end *e, char what)
{
    size_t n = strlen(e->order);
    if (n + 1 < sizeof e->order && (n == 0 || e->order[n - 1] != what || what != 'D'))
        e->order[n] = what;
    coil_event_set(&e->changed);
}

static coil_ret end_made(coil_transport *t, void *arg)
{
    struct end *e = arg;
    e->t = coil_transport_ref(t);
    mark(e, 'M');
    assert_non_null(coil_transport_tls(t)); /* the handshake is over */
    assert_non_null(coil_transport_get_extra_info(t, "cipher"));
    return e->made_says;
}

static void end_lost(coil_transport *t, coil_ret error, void *arg)
{
    struct end *e = arg;
    (void)t;
    e->error = error;
    mark(e, 'L');
}

static coil_ret end_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    struct end *e = arg;
    e->bytes += n;
    mark(e, 'D');
    if (e->reply)
        return coil_transport_write(t, e->reply, strlen(e->reply));
    return e->is_echo ? coil_transport_write(t, data, n) : 0;
}

static coil_ret end_eof(coil_transport *t, void *arg)
{
    (void)t;
    mark(arg, 'E');
    return 1; /* which has no effect over TLS */
}

static void end_pause(coil_transport *t, void *arg)
{
    (void)t;
    mark(arg, 'P');
}

static void end_resume(coil_transport *t, void *arg)
{
    (void)t;
    mark(arg, 'R');
}

static const coil_protocol end_protocol = {.size = sizeof end_protocol,
                                           .connection_made = end_made,
                                           .connection_lost = end_lost,
                                           .data_received = end_data,
                                           .eof_received = end_eof,
                                           .pause_writing = end_pause,
                                           .resume_writing = end_resume};

static coil_ret make_end(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    *out_protocol = &end_protocol;
    *out_arg = arg;
    return 0;
}

static void until(struct end *e, char what)
{
    while (!strchr(e->order, what)) {
        coil_event_clear(&e->changed);
        assert_int_equal(coil_event_wait(&e->changed), 0);
    }
}

static void until_bytes(struct end *e, size_t n)
{
    while (e->bytes < n) {
        coil_event_clear(&e->changed);
        assert_int_equal(coil_event_wait(&e->changed), 0);
    }
}

struct scene {
    coil_tls_context *server_tls, *client_tls;
    coil_server *server;
    char port[8];
    struct end here, there;
};

static void serve(struct scene *s, coil_protocol_factory_fn factory)
{
    coil_server_opts opts = {.size = sizeof opts};
    s->server_tls = server_context(NULL);
    if (!s->client_tls)
        s->client_tls = client_context(0);
    opts.tls = s->server_tls;
    assert_int_equal(
        coil_loop_create_server(NULL, factory, &s->there, "127.0.0.1", "0", &opts, &s->server), 0);
    snprintf(s->port, sizeof s->port, "%d", coil_server_port(s->server));
}

static coil_ret call(struct scene *s)
{
    coil_connect_opts opts = {.size = sizeof opts, .tls = s->client_tls};
    return coil_loop_create_connection(NULL, make_end, &s->here, "127.0.0.1", s->port, &opts, NULL,
                                       NULL);
}

static void begin(struct scene *s)
{
    serve(s, make_end);
    assert_int_equal(call(s), 0);
    until(&s->there, 'M');
}

/* What they are told goes into our frame. */
static void stop(struct scene *s)
{
    if (s->here.t)
        until(&s->here, 'L');
    if (s->there.t)
        until(&s->there, 'L');
    coil_transport_unref(s->here.t);
    coil_transport_unref(s->there.t);
    assert_int_equal(coil_server_finish(s->server), 0);
    coil_tls_context_unref(s->server_tls);
    coil_tls_context_unref(s->client_tls);
}

COIL_TEST(transports_speak_tls)
{
    struct scene s = {.there = {.is_echo = true}};
    begin(&s);
    assert_int_equal(coil_transport_write(s.here.t, "hello", 5), 0);
    until_bytes(&s.here, 5);
    coil_transport_close(s.here.t);
    until(&s.here, 'L');
    until(&s.there, 'L');
    assert_string_equal(s.here.order, "MDL");
    assert_string_equal(s.there.order, "MDEL");
    assert_int_equal(s.here.error, 0);
    assert_int_equal(s.there.error, 0);
    stop(&s);
}

COIL_TEST(much_goes_through_transports_and_pauses_at_the_marks)
{
    struct scene s = {.there = {.is_echo = false}};
    static char block[3000000];
    size_t high, low;
    begin(&s);
    coil_transport_get_write_buffer_limits(s.here.t, &high, &low);
    assert_int_equal(high, 512 * 1024);
    assert_int_equal(coil_transport_write(s.here.t, block, sizeof block), 0);
    assert_string_equal(s.here.order, "MP");
    until_bytes(&s.there, sizeof block);
    until(&s.here, 'R');
    assert_string_equal(s.here.order, "MPR");
    coil_transport_close(s.here.t);
    until(&s.there, 'L');
    stop(&s);
    assert_int_equal(s.there.bytes, sizeof block);
}

COIL_TEST(paused_transport_delivers_nothing_until_it_is_resumed)
{
    struct scene s = {0};
    begin(&s);
    coil_transport_pause_reading(s.there.t);
    assert_int_equal(coil_transport_write(s.here.t, "hello", 5), 0);
    assert_int_equal(coil_sleep(1), 0);
    assert_int_equal(s.there.bytes, 0);
    coil_transport_resume_reading(s.there.t);
    until_bytes(&s.there, 5);
    coil_transport_close(s.here.t);
    until(&s.there, 'L');
    stop(&s);
}

COIL_TEST(truncation_is_told_to_a_protocol)
{
    struct scene s = {0};
    begin(&s);
    assert_int_equal(coil_transport_write(s.here.t, "hello", 5), 0);
    until_bytes(&s.there, 5);
    assert_int_equal(coil_sock_shutdown(coil_transport_sock(s.here.t), SHUT_WR), 0);
    until(&s.there, 'L');
    assert_string_equal(s.there.order, "MDL");
    assert_int_equal(s.there.error, COIL_ETLSEOF);
    coil_transport_abort(s.here.t);
    until(&s.here, 'L');
    stop(&s);
}

COIL_TEST(aborted_transport_is_lost_at_once)
{
    struct scene s = {0};
    static char block[24000000];
    begin(&s);
    coil_transport_pause_reading(s.there.t);
    assert_int_equal(coil_transport_write(s.here.t, block, sizeof block), 0);
    assert_int_equal(coil_sleep(0.1), 0);
    coil_transport_abort(s.here.t);
    until(&s.here, 'L');
    assert_string_equal(s.here.order, "MPL");
    assert_int_equal(s.here.error, 0);
    coil_transport_abort(s.there.t);
    until(&s.there, 'L');
    stop(&s);
}

COIL_TEST(client_that_is_not_let_in_has_no_protocol)
{
    struct scene s = {.client_tls = NULL};
    assert_int_equal(coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS, &s.client_tls), 0);
    serve(&s, make_end);
    assert_int_equal(call(&s), COIL_ETLSCERT);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_string_equal(s.here.order, "");
    assert_string_equal(s.there.order, "");
    assert_int_equal(coil_server_connections(s.server), 0);
    stop(&s);
}

COIL_TEST(connection_made_that_fails_after_a_handshake_is_told)
{
    struct scene s = {.here = {.made_says = COIL_EUSER}};
    serve(&s, make_end);
    assert_int_equal(call(&s), COIL_EUSER);
    until(&s.here, 'L');
    until(&s.there, 'L');
    assert_string_equal(s.here.order, "ML");
    stop(&s);
}

static coil_ret refuse(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    (void)out_protocol, (void)out_arg, (void)arg;
    return COIL_EUSER;
}

static int heard;
static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    heard += context->code == COIL_EUSER;
}

COIL_TEST(factory_that_fails_after_a_handshake_hangs_up)
{
    struct scene s = {0};
    coil_loop_set_exception_handler(NULL, hear, NULL);
    heard = 0;
    serve(&s, refuse);
    assert_int_equal(call(&s), 0);
    until(&s.here, 'L');
    assert_int_equal(heard, 1);
    assert_string_equal(s.there.order, "");
    stop(&s);
}

static coil_ret calling(void *arg)
{
    return call(arg);
}

COIL_TEST(cancelled_handshake_leaves_no_transport)
{
    struct scene s = {0};
    coil_server *silent;
    serve(&s, make_end);
    /* One that never accepts: the kernel does. */
    coil_server_opts opts = {.size = sizeof opts, .no_start = true};
    assert_int_equal(
        coil_loop_create_server(NULL, make_end, &s.there, "127.0.0.1", "0", &opts, &silent), 0);
    snprintf(s.port, sizeof s.port, "%d", coil_server_port(silent));
    coil_task *t = coil_create_task(calling, &s);
    assert_int_equal(coil_sleep(1), 0);
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    assert_string_equal(s.here.order, "");
    assert_int_equal(coil_server_finish(silent), 0);
    stop(&s);
}

COIL_TEST(sock_that_is_connected_already_speaks_tls)
{
    struct scene s = {0};
    coil_sock *sock;
    coil_address to;
    serve(&s, make_end);
    assert_int_equal(coil_server_sockname(s.server, 0, &to), 0);
    assert_int_equal(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock), 0);
    assert_int_equal(coil_sock_connect(sock, &to), 0);
    coil_connect_opts opts = {
        .size = sizeof opts, .tls = s.client_tls, .server_hostname = "localhost"};
    assert_int_equal(
        coil_loop_create_connection_sock_with(NULL, make_end, &s.here, sock, &opts, NULL, NULL), 0);
    until(&s.there, 'M');
    coil_transport_close(s.here.t);
    until(&s.there, 'L');
    stop(&s);
}

COIL_TEST(unix_transport_speaks_tls)
{
    struct scene s = {.there = {.is_echo = true}};
    char name[64];
    s.server_tls = server_context(NULL);
    s.client_tls = client_context(0);
    coil_server_opts opts = {.size = sizeof opts, .tls = s.server_tls};
    coil_connect_opts connect = {
        .size = sizeof connect, .tls = s.client_tls, .server_hostname = "localhost"};
    snprintf(name, sizeof name, "@coil-tls-transport-%d", (int)getpid());
    assert_int_equal(coil_loop_create_unix_server(NULL, make_end, &s.there, name, &opts, &s.server),
                     0);
    assert_int_equal(
        coil_loop_create_unix_connection_with(NULL, make_end, &s.here, name, &connect, NULL, NULL),
        0);
    assert_int_equal(coil_transport_write(s.here.t, "hello", 5), 0);
    until_bytes(&s.here, 5);
    coil_transport_close(s.here.t);
    until(&s.there, 'L');
    stop(&s);
}

/* ---- buffers of the protocol's own ---- */

struct own {
    char buf[100];
    size_t bytes;
    coil_event lost;
};

static coil_ret own_get(coil_transport *t, size_t hint, void **out, void *arg)
{
    (void)t, (void)hint;
    *out = ((struct own *)arg)->buf;
    return sizeof((struct own *)arg)->buf;
}

static coil_ret own_updated(coil_transport *t, size_t n, void *arg)
{
    (void)t;
    ((struct own *)arg)->bytes += n;
    return 0;
}

static void own_lost(coil_transport *t, coil_ret error, void *arg)
{
    (void)t;
    assert_int_equal(error, 0);
    coil_event_set(&((struct own *)arg)->lost);
}

static coil_ret make_own(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    static const coil_protocol own_protocol = {.size = sizeof own_protocol,
                                               .get_buffer = own_get,
                                               .buffer_updated = own_updated,
                                               .connection_lost = own_lost};
    *out_protocol = &own_protocol;
    *out_arg = arg;
    return 0;
}

COIL_TEST(buffered_protocols_get_all_however_small_their_buffer)
{
    struct scene s = {0};
    struct own own = {.bytes = 0};
    static char block[100001];
    s.server_tls = server_context(NULL);
    s.client_tls = client_context(0);
    coil_server_opts opts = {.size = sizeof opts, .tls = s.server_tls};
    assert_int_equal(
        coil_loop_create_server(NULL, make_own, &own, "127.0.0.1", "0", &opts, &s.server), 0);
    snprintf(s.port, sizeof s.port, "%d", coil_server_port(s.server));
    assert_int_equal(call(&s), 0);
    assert_int_equal(coil_transport_write(s.here.t, block, sizeof block), 0);
    coil_transport_close(s.here.t);
    assert_int_equal(coil_event_wait(&own.lost), 0);
    assert_int_equal(own.bytes, sizeof block);
    until(&s.here, 'L');
    stop(&s);
}

/* ---- files ---- */

COIL_TEST(files_go_through_tls_transports_by_reading_and_writing)
{
    struct scene s = {0};
    char path[] = "/tmp/coil-tls-XXXXXX";
    static char block[1000000];
    int64_t sent = -1;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, block, sizeof block), sizeof block);
    begin(&s);
    assert_int_equal(coil_loop_sendfile(NULL, s.here.t, fd, 0, 0, COIL_SENDFILE_NO_FALLBACK, &sent),
                     -EOPNOTSUPP);
    assert_int_equal(sent, 0);
    assert_int_equal(coil_loop_sendfile(NULL, s.here.t, fd, 1, 0, 0, &sent), sizeof block - 1);
    assert_int_equal(sent, sizeof block - 1);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), sizeof block);
    until_bytes(&s.there, sizeof block - 1);
    assert_int_equal(coil_loop_sendfile(NULL, s.here.t, fd, 10, 100, 0, NULL), 100);
    until_bytes(&s.there, sizeof block + 99);
    coil_transport_close(s.here.t);
    until(&s.there, 'L');
    stop(&s);
    assert_int_equal(s.there.bytes, sizeof block + 99);
    close(fd);
}

COIL_TEST(file_on_its_way_when_the_peer_goes_ends_with_an_error)
{
    struct scene s = {0};
    char path[] = "/tmp/coil-tls-XXXXXX";
    int64_t sent = -1;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(ftruncate(fd, 64 << 20), 0);
    begin(&s);
    coil_transport_pause_reading(s.there.t);
    coil_transport_abort(s.there.t);
    assert_true(coil_loop_sendfile(NULL, s.here.t, fd, 0, 0, 0, &sent) < 0);
    assert_true(sent >= 0 && sent < 64 << 20);
    until(&s.here, 'L');
    stop(&s);
    close(fd);
}

struct on_its_way {
    coil_transport *t;
    int fd;
    int64_t sent;
};

static coil_ret send_file(void *arg)
{
    struct on_its_way *w = arg;
    return coil_loop_sendfile(NULL, w->t, w->fd, 0, 0, 0, &w->sent);
}

COIL_TEST(file_on_its_way_when_we_abort_ends_with_an_error)
{
    struct scene s = {0};
    char path[] = "/tmp/coil-tls-XXXXXX";
    struct on_its_way way = {.fd = mkstemp(path)};
    assert_true(way.fd >= 0);
    unlink(path);
    assert_int_equal(ftruncate(way.fd, 64 << 20), 0);
    begin(&s);
    way.t = s.here.t;
    coil_transport_pause_reading(s.there.t);
    coil_task *task = coil_create_task(send_file, &way);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_false(coil_future_done(task)); /* it waits for room */
    coil_transport_abort(s.here.t);
    assert_true(coil_join(task) < 0);
    assert_true(way.sent > 0 && way.sent < 64 << 20);
    until(&s.here, 'L');
    coil_transport_abort(s.there.t);
    stop(&s);
    close(way.fd);
}

COIL_TEST(file_that_cannot_be_read_leaves_the_connection_as_it_was)
{
    struct scene s = {0};
    char path[] = "/tmp/coil-tls-XXXXXX", byte = 'x';
    int64_t sent = -1;
    close(mkstemp(path));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, &byte, 1), 1);
    begin(&s);
    assert_int_equal(coil_loop_sendfile(NULL, s.here.t, fd, 0, 0, 0, &sent), -EBADF);
    assert_int_equal(sent, 0);
    assert_int_equal(coil_transport_write(s.here.t, "still here", 10), 0);
    until_bytes(&s.there, 10);
    coil_transport_close(s.here.t);
    until(&s.there, 'L');
    stop(&s);
    close(fd);
}

COIL_TEST_MAIN()
