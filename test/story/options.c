/* SPDX-License-Identifier: MIT
 *
 * options.c: programs that were built against other headers: every structure of options is read as far as the
 * program knew it, and as far as this library does. docs/decisions/0015. */
#include "../unit/net/wire.h"
#include "refuse.h"

/* What an older program has behind its own fields is its next variable. */
#define JUNK SIZE_MAX

/* The structure as a newer library has it: its program counts fields that we have never heard of. */
#define NEWER(type)      \
    struct {             \
        type known;      \
        char beyond[64]; \
    }

static coil_ret own_name(void *arg)
{
    snprintf(arg, 32, "%s", coil_task_get_name(coil_current_task()));
    return 0;
}

static coil_ret nobody(coil_reader *reader, coil_writer *writer, void *arg)
{
    (void)reader, (void)writer, (void)arg;
    return 0;
}

/* ---- tasks ---- */

static void expect_name(const coil_task_opts *opts, const char *expected)
{
    char name[32] = "";
    assert_int_equal(coil_join(coil_create_task_opts(own_name, name, opts)), 0);
    if (expected)
        assert_string_equal(name, expected);
    else
        assert_memory_equal(name, "Task-", 5);

    name[0] = 0;
    coil_group group = coil_group_begin();
    coil_task *child = coil_ref(coil_group_create_task_opts(&group, own_name, name, opts));
    assert_int_equal(coil_group_exit(&group, 0), 0);
    assert_int_equal(coil_join(child), 0);
    if (expected)
        assert_string_equal(name, expected);

    assert_int_equal(coil_join(coil_create_task_coro_at(__FILE__, __LINE__,
                                                        coil_coro_new(own_name, name), opts)),
                     0);
}

COIL_TEST(options_of_a_task_are_read_as_far_as_an_older_program_knew_them)
{
    coil_task_opts opts = {.size = offsetof(coil_task_opts, stack_size),
                           .name = "older",
                           .stack_size = JUNK,
                           .eager = true,
                           .loop = (coil_loop *)JUNK,
                           .context = (coil_context *)JUNK};
    expect_name(&opts, "older");
    opts.size = offsetof(coil_task_opts, name);
    opts.name = (const char *)JUNK;
    expect_name(&opts, NULL);
}

COIL_TEST(options_of_a_task_are_read_as_far_as_they_are_known_here)
{
    NEWER(coil_task_opts) opts = {.known = {.size = sizeof opts, .name = "newer"}};
    memset(opts.beyond, 0xff, sizeof opts.beyond);
    expect_name(&opts.known, "newer");
    opts.known.size = SIZE_MAX;
    expect_name(&opts.known, "newer");
    opts.known.size = 0; /* who forgets it means what he was compiled with: ours */
    expect_name(&opts.known, "newer");
}

/* ---- generators, loops ---- */

COIL_TEST_PLAIN(options_of_a_generator_are_read_as_far_as_known_to_both)
{
    coil_gen_opts older = {
        .size = offsetof(coil_gen_opts, stack_size), .name = "older", .stack_size = JUNK};
    coil_gen *gen = coil_gen_new_opts(count_down, (void *)1, &older);
    assert_string_equal(coil_gen_name(gen), "older");
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen_unref(gen);
    older.size = offsetof(coil_gen_opts, name);
    gen = coil_gen_new_opts(count_down, (void *)1, &older);
    assert_string_equal(coil_gen_name(gen), "count_down");
    coil_gen_unref(gen);

    NEWER(coil_gen_opts) newer = {.known = {.size = sizeof newer, .name = "newer"}};
    memset(newer.beyond, 0xff, sizeof newer.beyond);
    gen = coil_gen_new_opts(count_down, (void *)1, &newer.known);
    assert_string_equal(coil_gen_name(gen), "newer");
    coil_gen_unref(gen);
    newer.known.size = 0;
    gen = coil_gen_new_opts(count_down, (void *)1, &newer.known);
    assert_string_equal(coil_gen_name(gen), "newer");
    coil_gen_unref(gen);
}

COIL_TEST_PLAIN(options_of_a_run_are_read_as_far_as_known_to_both)
{
    coil_run_opts older = {
        .size = offsetof(coil_run_opts, stack_size), .virtual_time = true, .stack_size = JUNK};
    assert_int_equal(coil_run_with(give, (void *)3, &older), 3);
    coil_loop *loop = coil_new_event_loop(&older);
    assert_int_equal(in_loop(loop, give, (void *)4), 4);
    coil_loop_free(loop);
    older.size = offsetof(coil_run_opts, backend);
    older.backend = (const char *)JUNK;
    assert_int_equal(coil_run_with(give, (void *)5, &older), 5);

    NEWER(coil_run_opts) newer = {.known = {.size = sizeof newer, .backend = "not one"}};
    memset(newer.beyond, 0xff, sizeof newer.beyond);
    REFUSED(-EINVAL, coil_run_with(give, NULL, &newer.known));
    newer.known.size = 0;
    REFUSED(-EINVAL, coil_run_with(give, NULL, &newer.known));
}

/* ---- reports ---- */

static coil_exception_context heard;

static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    heard = *context;
}

COIL_TEST(reports_of_an_older_program_are_told_with_every_field)
{
    coil_loop_set_exception_handler(NULL, hear, NULL);
    coil_exception_context older = {.size = offsetof(coil_exception_context, error),
                                    .message = "told",
                                    .error = (const coil_error *)JUNK,
                                    .task = (coil_task *)JUNK,
                                    .fd = 7};
    coil_loop_call_exception_handler(NULL, &older);
    assert_string_equal(heard.message, "told");
    assert_null(heard.error);
    assert_null(heard.task);
    assert_int_equal(heard.fd, -1);
    assert_int_equal(heard.size, sizeof heard);
    older.size = sizeof older;
    older.error = NULL;
    older.task = NULL;
    coil_loop_call_exception_handler(NULL, &older);
    assert_int_equal(heard.fd, 7);
}

/* ---- names and connections ---- */

COIL_TEST(options_of_names_are_read_as_far_as_known_to_both)
{
    coil_addrinfo *list;
    coil_getaddrinfo_opts older = {
        .size = offsetof(coil_getaddrinfo_opts, family), .family = AF_INET6, .flags = -1};
    assert_int_equal(coil_getaddrinfo("127.0.0.1", "1", &older, &list), 1);
    coil_freeaddrinfo(list);
    NEWER(coil_getaddrinfo_opts) newer = {.known = {.size = sizeof newer, .type = SOCK_DGRAM}};
    memset(newer.beyond, 0xff, sizeof newer.beyond);
    for (int i = 0; i < 2; i++, newer.known.size = 0) {
        assert_int_equal(coil_getaddrinfo("127.0.0.1", "1", &newer.known, &list), 1);
        assert_int_equal(list->type, SOCK_DGRAM);
        coil_freeaddrinfo(list);
    }
}

COIL_TEST(options_of_servers_and_connections_are_read_as_far_as_known_to_both)
{
    coil_server *server;
    coil_server_opts older_server = {.size = offsetof(coil_server_opts, family),
                                     .family = 4711,
                                     .flags = -1,
                                     .backlog = INT_MIN,
                                     .no_start = true,
                                     .client_stack_size = JUNK};
    assert_int_equal(coil_start_server_with(nobody, NULL, "127.0.0.1", "0", &older_server, &server),
                     0);
    assert_true(coil_server_is_serving(server));

    coil_reader *reader;
    coil_writer *writer;
    char port[8], byte;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    coil_connect_opts older = {.size = offsetof(coil_connect_opts, family),
                               .family = 4711,
                               .local_host = (const char *)JUNK,
                               .local_port = (const char *)JUNK};
    assert_int_equal(coil_open_connection_with("127.0.0.1", port, &older, &reader, &writer), 0);
    assert_int_equal(coil_reader_read(reader, &byte, 1), 0); /* it was served */
    assert_int_equal(coil_writer_finish(writer), 0);
    coil_server_close(server);
    assert_int_equal(coil_server_wait_closed(server), 0);
    coil_server_free(server);

    NEWER(coil_server_opts) newer = {.known = {.size = sizeof newer, .no_start = true}};
    memset(newer.beyond, 0xff, sizeof newer.beyond);
    for (int i = 0; i < 2; i++, newer.known.size = 0) {
        assert_int_equal(
            coil_start_server_with(nobody, NULL, "127.0.0.1", "0", &newer.known, &server), 0);
        assert_false(coil_server_is_serving(server));
        coil_server_free(server);
    }
}

/* ---- protocols ---- */

static int datagrams_heard;

static coil_ret hear_datagram(coil_datagram_transport *transport, const void *data, size_t n,
                              const coil_address *from, void *arg)
{
    (void)transport, (void)data, (void)n, (void)from, (void)arg;
    datagrams_heard++;
    return 0;
}

COIL_TEST(callbacks_of_an_older_protocol_are_those_it_knew)
{
    datagrams_heard = 0;
    coil_datagram_protocol older;
    memset(&older, 0xff,
           sizeof older); /* what lies behind it is somebody else's, and never called */
    older.size = offsetof(coil_datagram_protocol, error_received);
    older.connection_made = NULL;
    older.datagram_received = hear_datagram;
    coil_datagram_transport *transport;
    coil_datagram_opts opts = {.size = offsetof(coil_datagram_opts, sock),
                               .local_host = "127.0.0.1",
                               .sock = (coil_sock *)JUNK};
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &older, NULL, &opts, &transport), 0);
    assert_ptr_equal(coil_datagram_transport_get_protocol(transport, NULL), &older);
    coil_address own;
    assert_int_equal(coil_sock_getsockname(coil_datagram_transport_sock(transport), &own), 0);
    assert_int_equal(coil_datagram_transport_sendto(transport, "x", 1, &own), 0);
    for (int i = 0; i < 100 && datagrams_heard == 0; i++)
        assert_int_equal(coil_sleep(0.01), 0);
    assert_int_equal(datagrams_heard, 1);
    coil_datagram_transport_close(transport); /* and connection_lost is not one of them */
    assert_int_equal(coil_sleep(0.01), 0);
    coil_datagram_transport_unref(transport);
}

static coil_ret keep_bytes(coil_transport *transport, const void *data, size_t n, void *arg)
{
    (void)transport;
    snprintf(arg, 32, "%.*s", (int)n, (const char *)data);
    return 0;
}

static coil_ret give_protocol(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    static char bytes[32];
    *out_protocol = arg;
    *out_arg = bytes;
    return 0;
}

/* A transport of that protocol, given in every way there is: it hears the bytes, and nothing else is called. */
static void hear_bytes_by(coil_protocol *protocol)
{
    for (int way = 0; way < 3; way++) {
        static const coil_protocol nothing = {.size = sizeof nothing};
        char own[32] = "";
        void *arg = own;
        coil_sock *ours, *peer;
        coil_transport *transport;
        wire_pair(&ours, &peer);
        if (way == 0)
            assert_int_equal(coil_transport_open(ours, protocol, arg, &transport), 0);
        else if (way == 1)
            assert_int_equal(coil_loop_create_connection_sock(NULL, give_protocol, protocol, ours,
                                                              &transport, &arg),
                             0);
        else
            assert_int_equal(coil_transport_open(ours, &nothing, NULL, &transport), 0);
        if (way == 2)
            assert_int_equal(coil_transport_set_protocol(transport, protocol, arg), 0);
        assert_ptr_equal(coil_transport_get_protocol(transport, NULL), protocol);
        assert_int_equal(coil_sock_sendall(peer, "hello", 5, NULL), 0);
        assert_int_equal(coil_sleep(0.01), 0);
        assert_string_equal(arg, "hello");
        coil_sock_unref(peer);
        assert_int_equal(coil_sleep(0.01), 0);
        assert_true(coil_transport_is_closing(transport));
        coil_transport_unref(transport);
    }
}

COIL_TEST(callbacks_of_an_older_stream_protocol_are_those_it_knew)
{
    coil_protocol older;
    memset(&older, 0xff, sizeof older);
    older.size = offsetof(coil_protocol, eof_received);
    older.connection_made = NULL;
    older.connection_lost = NULL;
    older.data_received = keep_bytes;
    hear_bytes_by(&older);
    NEWER(coil_protocol) newer = {.known = {.size = sizeof newer, .data_received = keep_bytes}};
    memset(newer.beyond, 0xff, sizeof newer.beyond);
    hear_bytes_by(&newer.known);
    newer.known.size = 0;
    hear_bytes_by(&newer.known);
}

COIL_TEST_MAIN()
