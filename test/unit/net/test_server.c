/* SPDX-License-Identifier: MIT
 *
 * test_server.c: servers: a task for each client, running out of descriptors, closing in every order. */
#include "wire.h"

#include "scarcity.h"

#include "base/sys_names.h"
#include "io/sim/sim.h"

#include <coil/context.h>

/* ---- helpers ---- */

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *arg)
{
    char buf[4096];
    for (;;) {
        coil_ret n = coil_reader_read(reader, buf, sizeof buf);
        if (n <= 0)
            return n;
        coil_ret rc = coil_writer_write(writer, buf, (size_t)n);
        if (rc < 0 || (rc = coil_writer_drain(writer)) < 0)
            return rc;
    }
}

static coil_server *serve(coil_client_fn fn, void *arg)
{
    coil_server *server;
    must(coil_start_server(fn, arg, "127.0.0.1", "0", &server));
    return server;
}

static const char *port_of(coil_server *server)
{
    static char text[8];
    snprintf(text, sizeof text, "%u", (unsigned)must(coil_server_port(server)) & 0xffff);
    return text;
}

struct client {
    coil_reader *r;
    coil_writer *w;
};

static struct client call(coil_server *server)
{
    struct client c;
    must(coil_open_connection("127.0.0.1", port_of(server), &c.r, &c.w));
    return c;
}

static void say(struct client *c, const char *text)
{
    must(coil_writer_write(c->w, text, strlen(text)));
}

static void hears(struct client *c, const char *text)
{
    const char *line;
    must(coil_reader_readline(c->r, &line, NULL));
    assert_string_equal(line, text);
}

static void hang_up(struct client *c)
{
    coil_ignore(coil_writer_finish(c->w));
}

static void end_server(coil_server *server)
{
    coil_server_close(server);
    must(coil_server_wait_closed(server));
    coil_server_free(server);
}

/* ---- serving ---- */

COIL_TEST(server_serves)
{
    coil_server *server = serve(echo, NULL);
    assert_true(coil_server_is_serving(server));
    assert_int_equal(coil_server_sockets(server), 1);
    struct client a = call(server), b = call(server);
    say(&a, "from a\n");
    say(&b, "from b\n");
    hears(&b, "from b\n");
    hears(&a, "from a\n");
    assert_int_equal(coil_server_connections(server), 2);
    hang_up(&a);
    hang_up(&b);
    end_server(server);
}

static coil_ret greet(coil_reader *reader, coil_writer *writer, void *arg)
{
    return coil_writer_write(writer, arg, strlen(arg));
}

COIL_TEST(server_closes_when_the_function_returns)
{
    static char greeting[] = "welcome\n";
    coil_server *server = serve(greet, greeting);
    struct client c = call(server);
    hears(&c, "welcome\n");
    hears(&c, "");
    assert_true(coil_reader_at_eof(c.r));
    hang_up(&c);
    end_server(server);
}

static coil_ret greet_and_finish(coil_reader *reader, coil_writer *writer, void *arg)
{
    coil_ret rc = coil_writer_write(writer, "bye\n", 4);
    return rc < 0 ? rc : coil_writer_finish(writer); /* borrowed: nothing is taken */
}

COIL_TEST(server_function_may_finish)
{
    coil_server *server = serve(greet_and_finish, NULL);
    struct client c = call(server);
    hears(&c, "bye\n");
    hang_up(&c);
    end_server(server);
}

static coil_writer *kept;

static coil_ret keep(coil_reader *reader, coil_writer *writer, void *arg)
{
    kept = coil_writer_ref(writer);
    return 0;
}

COIL_TEST(server_function_may_keep_a_face)
{
    coil_server *server = serve(keep, NULL);
    struct client c = call(server);
    hears(&c, "");
    hang_up(&c);
    end_server(server);
    assert_non_null(kept);
    assert_true(coil_writer_is_closing(kept));
    assert_non_null(coil_writer_get_extra_info(kept, "peername"));
    coil_writer_unref(kept);
}

COIL_TEST(server_on_every_address)
{
    coil_server *server;
    must(coil_start_server(echo, NULL, NULL, NULL, &server));
    size_t n = coil_server_sockets(server);
    assert_true(n == 1 || n == 2); /* a machine without IPv6 has one */
    coil_address at;
    for (size_t i = 0; i < n; i++) {
        must(coil_server_sockname(server, i, &at));
        assert_true(coil_address_port(&at) > 0);
    }
    assert_int_equal(coil_server_sockname(server, n, &at), -EINVAL);
    struct client c = call(server);
    say(&c, "x\n");
    hears(&c, "x\n");
    hang_up(&c);
    end_server(server);
}

static coil_contextvar var = COIL_CONTEXTVAR("var", NULL);
static void *seen;

static coil_ret look_at_var(coil_reader *reader, coil_writer *writer, void *arg)
{
    seen = coil_contextvar_get(&var);
    return 0;
}

COIL_TEST(server_clients_begin_with_the_starters_context)
{
    int value;
    must(coil_contextvar_set(&var, &value, NULL));
    coil_server *server = serve(look_at_var, NULL);
    must(coil_contextvar_set(&var, NULL, NULL));
    struct client c = call(server);
    hears(&c, "");
    assert_ptr_equal(seen, &value);
    hang_up(&c);
    end_server(server);
}

/* ---- errors of clients ---- */

static coil_ret failing(coil_reader *reader, coil_writer *writer, void *arg)
{
    return coil_fail(*(coil_ret *)arg, "the handler's own words");
}

COIL_TEST(server_reports_what_a_client_failed_with)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_ret code = COIL_EUSER;
    coil_server *server = serve(failing, &code);
    struct client c = call(server);
    hears(&c, "");
    hang_up(&c);
    assert_int_equal(reports.n, 1);
    assert_int_equal(reports.code, COIL_EUSER);
    assert_string_equal(reports.kind, "client-error");
    assert_string_equal(reports.message, "Unhandled exception in client_connected_cb");
    code = -ECANCELED; /* no report */
    c = call(server);
    hears(&c, "");
    hang_up(&c);
    assert_int_equal(reports.n, 1);
    end_server(server);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

struct left {
    coil_server *server;
    struct client c[3];
};

static coil_ret start_and_leave(void *arg)
{
    struct left *left = arg;
    left->server = serve(echo, NULL);
    for (int i = 0; i < 3; i++)
        left->c[i] = call(left->server);
    say(&left->c[0], "x\n");
    hears(&left->c[0], "x\n");
    return 0;
}

COIL_TEST_PLAIN(loop_closes_over_a_server)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, wire_hear_nothing, NULL);
    coil_set_event_loop(loop);
    struct left left;
    coil_task *task = coil_create_task(start_and_leave, &left);
    must(coil_loop_run_until_complete(loop, task));
    coil_unref(task);
    coil_loop_close(loop);
    assert_false(coil_server_is_serving(left.server));
    assert_int_equal(coil_server_sockets(left.server), 0);
    coil_loop_free(loop);
    coil_server_free(left.server);
    for (int i = 0; i < 3; i++) {
        coil_writer_unref(left.c[i].w);
        coil_reader_unref(left.c[i].r);
    }
}

/* ---- closing ---- */

/* T49, test_server::TestServer2::test_wait_closed_basic: not before it is closed, not before the last client. */
static coil_ret wait_closed(void *arg)
{
    return coil_server_wait_closed(arg);
}

COIL_TEST(wait_closed_close_first)
{
    coil_server *server = serve(echo, NULL);
    struct client c = call(server);
    say(&c, "x\n");
    hears(&c, "x\n");
    coil_task *task = coil_create_task(wait_closed, server);
    wire_turns(2);
    assert_false(coil_future_done(task));
    coil_server_close(server);
    assert_false(coil_server_is_serving(server));
    wire_turns(2);
    assert_false(coil_future_done(task)); /* close keeps connections */
    say(&c, "still\n");
    hears(&c, "still\n");
    hang_up(&c);
    must(coil_join(task));
    must(coil_server_wait_closed(server));
    coil_server_free(server);
}

COIL_TEST(wait_closed_clients_first)
{
    coil_server *server = serve(echo, NULL);
    struct client c = call(server);
    say(&c, "x\n");
    hears(&c, "x\n");
    coil_task *task = coil_create_task(wait_closed, server);
    hang_up(&c);
    wire_turns(5);
    assert_int_equal(coil_server_connections(server), 0);
    assert_false(coil_future_done(task));
    coil_server_close(server);
    must(coil_join(task));
    coil_server_free(server);
}

/* test_wait_closed_race: the last client goes in the turn in which the server closes. */
COIL_TEST(wait_closed_race)
{
    for (int turns = 0; turns < 6; turns++) {
        coil_server *server = serve(echo, NULL);
        struct client c = call(server);
        say(&c, "x\n");
        hears(&c, "x\n");
        coil_task *task = coil_create_task(wait_closed, server);
        must(coil_sleep(0));
        coil_writer_close(c.w);
        for (int i = 0; i < turns; i++)
            must(coil_sleep(0));
        coil_server_close(server);
        must(coil_join(task));
        hang_up(&c);
        coil_server_free(server);
    }
}

COIL_TEST(close_clients_and_abort_clients)
{
    for (int abort = 0; abort < 2; abort++) {
        coil_server *server = serve(echo, NULL);
        struct client c[5];
        for (int i = 0; i < 5; i++) {
            c[i] = call(server);
            say(&c[i], "x\n");
            hears(&c[i], "x\n");
        }
        coil_server_close(server);
        if (abort)
            coil_server_abort_clients(server);
        else
            coil_server_close_clients(server);
        must(coil_server_wait_closed(server));
        for (int i = 0; i < 5; i++) {
            hears(&c[i], "");
            hang_up(&c[i]);
        }
        coil_server_free(server);
    }
}

COIL_TEST(wait_closed_wakes_all_who_wait)
{
    coil_server *server = serve(echo, NULL);
    struct client c = call(server);
    coil_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = coil_create_task(wait_closed, server);
    wire_turns(2);
    coil_task_cancel(tasks[1], NULL); /* alone, and changes nothing for the others */
    assert_int_equal(coil_join(tasks[1]), -ECANCELED);
    assert_true(coil_server_is_serving(server));
    coil_server_close(server);
    hang_up(&c);
    must(coil_join(tasks[0]));
    must(coil_join(tasks[2]));
    must(coil_join(tasks[3]));
    uint64_t before = coil_get_running_loop()->switches;
    must(coil_server_wait_closed(server));
    assert_int_equal(coil_get_running_loop()->switches, before); /* at once, from then on */
    coil_server_free(server);
}

COIL_TEST(close_clients_is_not_the_servers_end)
{
    coil_server *server = serve(echo, NULL);
    coil_server_close_clients(server);
    coil_server_abort_clients(server);
    struct client c = call(server);
    say(&c, "x\n");
    hears(&c, "x\n");
    coil_server_close_clients(server);
    coil_server_close_clients(server);
    hears(&c, "");
    hang_up(&c);
    assert_true(coil_server_is_serving(server));
    c = call(server);
    say(&c, "y\n");
    hears(&c, "y\n");
    hang_up(&c);
    end_server(server);
}

static coil_ret flood(coil_reader *reader, coil_writer *writer, void *arg)
{
    static char block[1 << 20];
    for (int i = 0; i < 32; i++)
        if (coil_writer_write(writer, block, sizeof block) < 0)
            break;
    return coil_writer_wait_closed(writer);
}

static void wait_a_while_for(coil_task *task)
{
    for (int i = 0; i < 10; i++)
        wire_turns(1);
    assert_false(coil_future_done(task));
}

/* Who does not read keeps the server: closing sends what was written, aborting drops it. */
COIL_TEST(close_clients_sends_what_was_written_and_abort_clients_drops_it)
{
    coil_server *server = serve(flood, NULL);
    struct client c = call(server);
    wire_turns(3);
    coil_task *task = coil_create_task(wait_closed, server);
    coil_server_close(server);
    coil_server_close_clients(server);
    wait_a_while_for(task);
    assert_int_equal(coil_server_connections(server), 1);
    coil_server_abort_clients(server);
    must(coil_join(task));
    assert_int_equal(coil_server_connections(server), 0);
    hang_up(&c);
    coil_server_free(server);
}

static coil_ret finish(void *arg)
{
    return coil_server_finish(arg);
}

COIL_TEST(finish_closes_waits_and_frees)
{
    must(coil_server_finish(NULL));
    coil_server *server = serve(echo, NULL);
    assert_ptr_equal(coil_server_get_loop(server), coil_get_running_loop());
    struct client c = call(server);
    say(&c, "x\n");
    hears(&c, "x\n");
    coil_task *task = coil_create_task(finish, server);
    wait_a_while_for(task);
    hang_up(&c);
    must(coil_join(task));

    server = serve(echo, NULL);
    c = call(server);
    say(&c, "x\n");
    hears(&c, "x\n");
    task = coil_create_task(finish, server);
    wire_turns(1);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    say(&c, "still\n"); /* connections go on */
    hears(&c, "still\n");
    hang_up(&c);
    wire_turns(3);
}

/* A client function that leaves the work to somebody else. */
struct handed_on {
    coil_reader *reader;
    coil_writer *writer;
};

static coil_ret hand_on(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct handed_on h = {coil_reader_ref(reader), coil_writer_ref(writer)};
    *(struct handed_on *)arg = h;
    return coil_writer_wait_closed(writer);
}

COIL_TEST(server_function_may_hand_the_connection_on)
{
    struct handed_on h = {NULL, NULL};
    coil_server *server = serve(hand_on, &h);
    struct client c = call(server);
    say(&c, "work\n");
    while (!h.writer)
        wire_turns(1);
    const char *line;
    must(coil_reader_readline(h.reader, &line, NULL));
    must(coil_writer_write(h.writer, line, strlen(line)));
    hears(&c, "work\n");
    must(coil_writer_finish(h.writer));
    hears(&c, "");
    hang_up(&c);
    end_server(server);
}

COIL_TEST(free_keeps_connections)
{
    coil_server *server = serve(echo, NULL);
    struct client c = call(server);
    say(&c, "x\n");
    hears(&c, "x\n");
    coil_server_free(server);
    say(&c, "y\n");
    hears(&c, "y\n");
    hang_up(&c);
    wire_turns(3);
}

static coil_ret forever(void *arg)
{
    return coil_server_serve_forever(arg);
}

COIL_TEST(serve_forever_cancelled_closes_and_waits)
{
    coil_server *server = serve(echo, NULL);
    struct client c = call(server);
    say(&c, "x\n");
    hears(&c, "x\n");
    coil_task *task = coil_create_task(forever, server);
    wire_turns(2);
    assert_int_equal(coil_server_serve_forever(server), COIL_ERUNNING);
    coil_task_cancel(task, "time to go");
    wire_turns(3);
    assert_false(coil_server_is_serving(server));
    assert_false(coil_future_done(task));
    hang_up(&c);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "time to go");
    assert_int_equal(coil_server_serve_forever(server), COIL_EINVALIDSTATE);
    coil_server_free(server);
}

COIL_TEST(serve_forever_ends_when_closed)
{
    coil_server *server = serve(echo, NULL);
    coil_task *task = coil_create_task(forever, server);
    wire_turns(2);
    coil_server_close(server);
    assert_int_equal(coil_join(task), -ECANCELED);
    coil_server_free(server);
}

COIL_TEST(start_serving_later)
{
    coil_server_opts opts = {
        .size = sizeof opts, .no_start = true, .keep_alive = true, .reuse_port = true};
    coil_server *server;
    must(coil_start_server_with(echo, NULL, "127.0.0.1", "0", &opts, &server));
    assert_false(coil_server_is_serving(server));
    struct client c = call(server); /* the backlog takes it */
    say(&c, "x\n");
    wire_turns(3);
    assert_int_equal(coil_server_connections(server), 0);
    must(coil_server_start_serving(server));
    must(coil_server_start_serving(server));
    hears(&c, "x\n");
    hang_up(&c);
    end_server(server);
}

/* B10: a connection half accepted while the server closes, at each turn. */
COIL_TEST(close_races_with_accepting)
{
    for (int turns = 0; turns < 8; turns++) {
        coil_server *server = serve(echo, NULL);
        enum { N = 4 };
        coil_sock *socks[N];
        coil_address at;
        must(coil_server_sockname(server, 0, &at));
        for (int i = 0; i < N; i++) {
            must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &socks[i]));
            must(coil_sock_connect(socks[i], &at));
        }
        for (int i = 0; i < turns; i++)
            must(coil_sleep(0));
        coil_server_close(server);
        if (turns % 2)
            coil_server_free(server);
        for (int i = 0; i < N; i++)
            coil_sock_unref(socks[i]);
        wire_turns(5);
        if (turns % 2 == 0) {
            must(coil_server_wait_closed(server));
            coil_server_free(server);
        }
    }
}

/* ---- out of descriptors (T48) ---- */

/* No descriptor until there are some again. */
static void run_out(void)
{
    struct backend *b = coil_get_running_loop()->backend;
    if (wire_is_imaginary())
        coil__sim_limit_files(b, sim_of(b)->files_n);
    else
        assert_true(descriptors_run_out());
}

static void have_some_again(void)
{
    struct backend *b = coil_get_running_loop()->backend;
    if (wire_is_imaginary())
        coil__sim_limit_files(b, 1000);
    else
        assert_true(descriptors_are_back());
}

static coil_sock *socket_for(coil_server *server, coil_address *at)
{
    coil_sock *sock;
    must(coil_server_sockname(server, 0, at));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    return sock;
}

COIL_TEST(accept_rests_when_descriptors_run_out)
{
    if (!descriptors_can_run_out(coil_loop_backend(NULL)))
        return;
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_server *server = serve(echo, NULL);
    coil_address at;
    coil_sock *sock = socket_for(server, &at);
    run_out();
    must(coil_sock_connect(sock, &at));
    double begun = coil_loop_time(NULL);
    wire_turns(5);
    assert_int_equal(reports.n, 1);
    assert_int_equal(reports.code, -EMFILE);
    assert_string_equal(reports.kind, "accept-error");
    assert_string_equal(reports.message, "socket.accept() out of system resource");
    coil_loop_stats_t before, after;
    coil_loop_stats(NULL, &before);
    must(coil_sleep(0.9));
    coil_loop_stats(NULL, &after);
    assert_int_equal(reports.n, 1);
    assert_true(after.turns - before.turns < 10); /* it rests, and does not spin */
    must(coil_sleep(0.5));
    assert_int_equal(reports.n, 2); /* tried again after a second */
    have_some_again();
    wire_say(sock, "patience\n");
    wire_expect(sock, "patience\n");
    assert_true(coil_loop_time(NULL) - begun >= 2);
    assert_int_equal(reports.n, 2);
    coil_sock_unref(sock);
    end_server(server);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

COIL_TEST(close_while_accepting_rests)
{
    if (!descriptors_can_run_out(coil_loop_backend(NULL)))
        return;
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_server *server = serve(echo, NULL);
    coil_address at;
    coil_sock *sock = socket_for(server, &at);
    run_out();
    must(coil_sock_connect(sock, &at));
    wire_turns(5);
    have_some_again();
    assert_int_equal(reports.n, 1);
    end_server(server);
    coil_sock_unref(sock);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

static void close_server(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    coil_server_close(*(coil_server **)arg);
}

COIL_TEST(close_from_the_report_of_a_failed_accept)
{
    if (!descriptors_can_run_out(coil_loop_backend(NULL)))
        return;
    coil_server *server = serve(echo, NULL);
    coil_loop_set_exception_handler(NULL, close_server, &server);
    coil_address at;
    coil_sock *sock = socket_for(server, &at);
    run_out();
    must(coil_sock_connect(sock, &at));
    must(coil_server_wait_closed(server));
    have_some_again();
    coil_server_free(server);
    coil_sock_unref(sock);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

/* ---- addresses that are taken ---- */

static struct addrinfo *resolved;
static int resolve_as_told(const char *host, const char *port, const struct addrinfo *hints,
                           struct addrinfo **out, int *out_errno)
{
    *out = resolved;
    return 0;
}
static void keep_them(struct addrinfo *list)
{
}
static const struct sys_names told = {.getaddrinfo = resolve_as_told, .freeaddrinfo = keep_them};

/* Two addresses, the second of which is taken or not this machine's. */
static void start_on_two(const char *second, coil_ret expected, size_t sockets)
{
    coil_sock *first = wire_listen(1), *taken = NULL;
    coil_address at[2];
    must(coil_sock_getsockname(first, &at[0]));
    coil_sock_unref(first); /* a port that was free a moment ago */
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)coil_address_port(&at[0]) & 0xffff);
    must(coil_address_parse(second, port, &at[1]));
    if (expected < 0) {
        must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &taken));
        must(coil_sock_bind(taken, &at[1]));
        must(coil_sock_listen(taken, 1));
    }
    struct addrinfo list[2];
    for (int i = 0; i < 2; i++)
        list[i] = (struct addrinfo){.ai_family = AF_INET,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_addr = (struct sockaddr *)&at[i].storage,
                                    .ai_addrlen = at[i].len,
                                    .ai_next = i == 0 ? &list[1] : NULL};
    resolved = list;
    coil__sys_names = &told;
    coil_server *server = NULL;
    coil_ret rc = coil_start_server(echo, NULL, "told", port, &server);
    coil__sys_names = &coil__sys_names_real;
    assert_int_equal(rc, expected);
    if (rc == 0)
        assert_int_equal(coil_server_sockets(server), sockets);
    else
        assert_non_null(
            strstr(coil_last_error()->message, "error while attempting to bind on address"));
    coil_server_free(server);
    coil_sock_unref(taken);
    /* Nothing stayed bound. */
    coil_sock *again;
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &again));
    must(coil_sock_bind(again, &at[0]));
    coil_sock_unref(again);
}

COIL_TEST(start_fails_as_a_whole)
{
    start_on_two("127.0.0.2", -EADDRINUSE, 0);
}

COIL_TEST(start_skips_foreign_addresses_and_doubles)
{
    start_on_two("198.51.100.7", 0, wire_is_imaginary() ? 2 : 1); /* for documentation: nobody's */
    start_on_two("127.0.0.1", 0, 1);
}

COIL_TEST(start_refuses_nonsense)
{
    coil_server *server;
    assert_int_equal(coil_start_server(NULL, NULL, "127.0.0.1", "0", &server), -EINVAL);
    assert_int_equal(coil_start_server(echo, NULL, "127.0.0.1", "65536", &server), -EINVAL);
    if (!wire_is_imaginary())
        assert_int_equal(coil_start_server(echo, NULL, "198.51.100.7", "0", &server),
                         -EADDRNOTAVAIL);
}

/* ---- many ---- */

struct one_of_many {
    coil_server *server;
    int n;
};

static coil_ret talk(void *arg)
{
    struct one_of_many *o = arg;
    coil_reader *r;
    coil_writer *w;
    char text[32];
    coil_ret rc = coil_open_connection("127.0.0.1", port_of(o->server), &r, &w);
    if (rc < 0)
        return rc;
    for (int i = 0; rc >= 0 && i < 3; i++) {
        int n = snprintf(text, sizeof text, "%d says %d\n", o->n, i);
        rc = coil_writer_write(w, text, (size_t)n);
        const char *line;
        if (rc >= 0)
            rc = coil_reader_readline(r, &line, NULL);
        if (rc >= 0 && strcmp(line, text) != 0)
            rc = coil_fail(COIL_EUSER, "wrong echo");
    }
    coil_ret end = coil_writer_finish(w);
    return rc < 0 ? rc : end;
}

COIL_TEST(server_with_a_thousand_clients)
{
    enum { N = 1000 };
    coil_server *server;
    /* They all come in one turn: with less room the kernel drops some, and they try again for many seconds. */
    coil_server_opts opts = {.size = sizeof opts, .backlog = N};
    must(coil_start_server_with(echo, NULL, "127.0.0.1", "0", &opts, &server));
    struct one_of_many *o = calloc(N, sizeof *o);
    coil_task **tasks = calloc(N, sizeof *tasks);
    for (int i = 0; i < N; i++) {
        o[i] = (struct one_of_many){server, i};
        tasks[i] = coil_create_task(talk, &o[i]);
    }
    for (int i = 0; i < N; i++)
        must(coil_join(tasks[i]));
    end_server(server);
    free(tasks);
    free(o);
}

/* T48, test_accept_connection_multiple: all that wait are taken in one turn (as far as the backlog goes). */
COIL_TEST(accept_takes_all_that_wait)
{
    enum { N = 30 };
    coil_server_opts opts = {.size = sizeof opts, .no_start = true};
    coil_server *server;
    coil_address at;
    coil_sock *socks[N];
    must(coil_start_server_with(echo, NULL, "127.0.0.1", "0", &opts, &server));
    for (int i = 0; i < N; i++) {
        socks[i] = socket_for(server, &at);
        must(coil_sock_connect(socks[i], &at));
    }
    must(coil_sleep(0.1));
    must(coil_server_start_serving(server));
    while (coil_server_connections(server) == 0)
        must(coil_sleep(0));
    assert_int_equal(coil_server_connections(server), N);
    for (int i = 0; i < N; i++)
        coil_sock_unref(socks[i]);
    end_server(server);
}

/* ---- tasks cancelled before they began ---- */

static coil_ret cancel_newcomer(void *arg)
{
    for (bool cancelled = false; !cancelled;) {
        coil_task *all[8];
        must(coil_sleep(0.0001));
        size_t n = coil_all_tasks(NULL, all, 8);
        for (size_t i = 0; i < n && i < 8; i++) {
            if (all[i] != coil_current_task() && all[i] != arg) {
                coil_task_cancel(all[i], NULL);
                cancelled = true;
            }
            coil_unref(all[i]);
        }
    }
    return 0;
}

/* What has a task must be given back even if the task never ran. */
COIL_TEST(client_task_cancelled_before_its_first_step)
{
    coil_server *server = serve(echo, NULL);
    coil_task *killer = coil_create_task(cancel_newcomer, coil_current_task());
    struct client c = call(server);
    must(coil_join(killer));
    wire_turns(3);
    hears(&c, "");
    hang_up(&c);
    end_server(server);
}

/* ---- memory ---- */

static coil_ret echo_once(void *arg)
{
    coil_server *server = NULL;
    coil_reader *r = NULL;
    coil_writer *w = NULL;
    coil_ret rc = coil_start_server(echo, NULL, "127.0.0.1", "0", &server);
    if (rc == 0)
        rc = coil_open_connection("127.0.0.1", port_of(server), &r, &w);
    const char *line = "";
    if (rc == 0 && (rc = coil_writer_write(w, "x\n", 2)) == 0)
        rc = coil_reader_readline(r, &line, NULL);
    if (rc == 2)
        assert_string_equal(line, "x\n");
    if (w)
        coil_ignore(coil_writer_finish(w));
    if (server) {
        coil_server_close(server);
        coil_ret closed = coil_server_wait_closed(server);
        assert_int_equal(closed, 0);
        coil_server_free(server);
    }
    return rc;
}

static void echo_or_not(void *arg)
{
    int *done = arg;
    coil_ret rc = wire_run(echo_once, NULL);
    *done += rc == 2;
    assert_true(rc == 2 || rc == -ENOMEM || rc == 0 || rc == -ECONNRESET);
}

COIL_TEST_PLAIN(server_survives_failing_allocations)
{
    int done = 0;
    sweep_allocations(echo_or_not, &done);
    assert_true(done >= 1);
}

COIL_TEST_MAIN()
