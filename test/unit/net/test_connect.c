/* SPDX-License-Identifier: MIT
 *
 * test_connect.c: from a name to a connection: its addresses in order, and how their errors are combined. The
 * resolver is replaced by one with a list. */
#include "names.h"

#include "wire.h"

/* ---- tests ---- */

COIL_TEST(connect_takes_the_first_that_answers)
{
    list_begin();
    list_add_dead();
    coil_sock *listener = list_add_live();
    coil_reader *r;
    coil_writer *w;
    must(coil_open_connection("several", "1", &r, &w));
    coil_sock *peer;
    must(coil_sock_accept(listener, &peer, NULL));
    must(coil_writer_write(w, "hi", 2));
    wire_expect(peer, "hi");
    must(coil_writer_finish(w));
    coil_sock_unref(peer);
    coil_sock_unref(listener);
}

COIL_TEST(connect_one_error_is_itself)
{
    list_begin();
    list_add_dead();
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(coil_open_connection("one", "1", &r, &w), -ECONNREFUSED);
    const char *message = coil_last_error()->message;
    assert_true(strncmp(message, "Connect call failed 127.0.0.1:", 30) == 0);
    assert_null(strstr(message, "Multiple"));
}

COIL_TEST(connect_same_errors_are_the_first)
{
    list_begin();
    list_add_dead();
    list_add(&addresses[0]);
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(coil_open_connection("same", "1", &r, &w), -ECONNREFUSED);
    assert_null(strstr(coil_last_error()->message, "Multiple"));
}

COIL_TEST(connect_different_errors_are_listed)
{
    list_begin();
    list_add_dead();
    list_add_dead();
    if (coil_address_port(&addresses[0]) == coil_address_port(&addresses[1]))
        must(coil_address_parse("127.0.0.1", "1", &addresses[1]));
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(coil_open_connection("different", "1", &r, &w), -ECONNREFUSED);
    const char *message = coil_last_error()->message;
    assert_true(strncmp(message, "Multiple exceptions: Connect call failed", 40) == 0);
    assert_non_null(strstr(message, ", Connect call failed"));
}

COIL_TEST(connect_all_errors_as_a_group)
{
    list_begin();
    list_add_dead();
    list_add_dead();
    coil_reader *r;
    coil_writer *w;
    coil_connect_opts opts = {.size = sizeof opts, .all_errors = true};
    assert_int_equal(coil_open_connection_with("all", "1", &opts, &r, &w), COIL_EGROUP);
    const coil_error *error = coil_last_error();
    assert_ptr_equal(strstr(error->message, "create_connection failed (2), the first: Connect"),
                     error->message);
    assert_int_equal(error->members_n, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(error->members[i]->code, -ECONNREFUSED);
}

/* A resolver may say many; the errors of the first are kept. */
COIL_TEST(connect_of_very_many_addresses_keeps_the_first_errors)
{
    enum { KEPT = 16 };
    coil_reader *r;
    coil_writer *w;
    coil_connect_opts opts = {.size = sizeof opts, .all_errors = true};
    coil_sock *bound[2]; /* they have their ports, and do not listen */
    coil_address at;
    list_begin();
    for (int i = 0; i < 2; i++) {
        must(coil_address_parse("127.0.0.1", "0", &at));
        must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &bound[i]));
        must(coil_sock_bind(bound[i], &at));
    }
    for (int i = 0; i < KEPT + 4; i++) {
        must(coil_sock_getsockname(bound[i % 2], &at));
        list_add(&at);
    }
    assert_int_equal(coil_open_connection_with("many", "1", &opts, &r, &w), COIL_EGROUP);
    assert_int_equal(coil_last_error()->members_n, KEPT);
    opts.all_errors = false;
    assert_int_equal(coil_open_connection_with("many", "1", &opts, &r, &w), -ECONNREFUSED);
    assert_non_null(strstr(coil_last_error()->message, "Multiple exceptions"));
    coil_sock_unref(bound[0]);
    coil_sock_unref(bound[1]);
}

COIL_TEST(connect_from_a_local_address)
{
    coil_sock *listener = wire_listen(5), *peer;
    coil_address at, from;
    must(coil_sock_getsockname(listener, &at));
    char port[8], text[COIL_ADDRESS_TEXT_MAX];
    snprintf(port, sizeof port, "%u", (unsigned)coil_address_port(&at) & 0xffff);
    coil_connect_opts opts = {.size = sizeof opts, .local_host = "127.0.0.5", .limit = 100};
    coil_reader *r;
    coil_writer *w;
    must(coil_open_connection_with("127.0.0.1", port, &opts, &r, &w));
    must(coil_sock_accept(listener, &peer, &from));
    coil_address_format(&from, text, sizeof text);
    assert_true(strncmp(text, "127.0.0.5:", 10) == 0);
    must(coil_writer_finish(w));
    coil_sock_unref(peer);

    opts.local_host = NULL; /* any address of ours, and this port, which is taken */
    opts.local_port = port;
    assert_int_equal(coil_open_connection_with("127.0.0.1", port, &opts, &r, &w), -EADDRINUSE);
    opts.local_port = NULL;

    opts.local_host = "::1"; /* another family, whatever this machine has */
    assert_int_equal(coil_open_connection_with("127.0.0.1", port, &opts, &r, &w), -EADDRNOTAVAIL);
    assert_non_null(strstr(coil_last_error()->message, "no matching local address"));
    opts.local_host = "198.51.100.7";
    if (!wire_is_imaginary()) {
        assert_int_equal(coil_open_connection_with("127.0.0.1", port, &opts, &r, &w),
                         -EADDRNOTAVAIL);
        assert_non_null(strstr(coil_last_error()->message, "error while attempting to bind"));
    }
    coil_sock_unref(listener);
}

static coil_ret connect_in_task(void *arg)
{
    coil_reader *r;
    coil_writer *w;
    coil_ret rc = coil_open_connection("127.0.0.1", arg, &r, &w);
    return rc < 0 ? rc : coil_writer_finish(w);
}

COIL_TEST(connect_cancelled_at_any_turn_leaks_nothing)
{
    coil_sock *listener = wire_listen(50);
    coil_address at;
    must(coil_sock_getsockname(listener, &at));
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)coil_address_port(&at) & 0xffff);
    for (int turns = 0; turns < 10; turns++) {
        coil_task *task = coil_create_task(connect_in_task, port);
        for (int i = 0; i < turns; i++)
            must(coil_sleep(turns % 2 ? 0 : 0.0001));
        coil_task_cancel(task, NULL);
        coil_ret rc = coil_join(task);
        assert_true(rc == 0 || rc == -ECANCELED);
    }
    coil_sock_unref(listener);
}

/* A host that never answers: the deadline is ours to set. */
COIL_TEST(connect_with_a_deadline)
{
    coil_reader *r;
    coil_writer *w;
    if (!wire_is_imaginary())
        return; /* where packets go astray in the real network is not for a test to know */
    double before = coil_loop_time(NULL);
    coil_timeout(deadline, 0.5);
    coil_ret rc = coil_timeout_exit(&deadline, coil_open_connection("192.0.2.1", "80", &r, &w));
    assert_int_equal(rc, -ETIMEDOUT);
    assert_true(coil_loop_time(NULL) - before < 0.6);
}

COIL_TEST(connect_names_are_refused_and_never_cut)
{
    coil_reader *r;
    coil_writer *w;
    char host[300], port[100];
    memset(host, 'h', sizeof host);
    host[256] = 0;
    memset(port, 'p', sizeof port);
    port[sizeof port - 1] = 0;
    list_begin(); /* a resolver that would take anything */
    coil_sock *live = list_add_live();
    assert_int_equal(coil_open_connection(host, "1", &r, &w), -ENAMETOOLONG);
    assert_int_equal(coil_open_connection("x", port, &r, &w), -ENAMETOOLONG);
    coil_connect_opts opts = {.size = sizeof opts, .local_host = host};
    assert_int_equal(coil_open_connection_with("x", "1", &opts, &r, &w), -ENAMETOOLONG);
    opts.local_host = "127.0.0.1";
    opts.local_port = port;
    assert_int_equal(coil_open_connection_with("x", "1", &opts, &r, &w), -ENAMETOOLONG);
    coil_sock_unref(live);
}

COIL_TEST_PLAIN(connect_outside_a_task_is_refused)
{
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(coil_open_connection("127.0.0.1", "1", &r, &w), COIL_ENOTASK);
}

COIL_TEST_MAIN()
