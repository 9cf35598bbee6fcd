/* SPDX-License-Identifier: MIT
 *
 * server_outlived_by_a_client.c: wait_closed returned while a client's function was still running on what
 * the server's owner had lent it. */
#include "test.h"

#include <coil.h>

struct seen {
    int begun, ended;
};

static coil_ret linger(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct seen *seen = arg;
    seen->begun++;
    coil_writer_abort(writer);
    (void)reader;
    coil_ret rc = coil_sleep(60);
    seen->ended++;
    return rc;
}

COIL_TEST(server_is_closed_when_its_client_functions_have_returned)
{
    struct seen seen = {0};
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    char port[8], byte;
    assert_int_equal(coil_start_server(linger, &seen, "127.0.0.1", "0", &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(coil_open_connection("127.0.0.1", port, &reader, &writer), 0);
    assert_true(coil_reader_read(reader, &byte, 1) <= 0);
    assert_int_equal(seen.begun, 1);
    coil_server_close(server);
    assert_int_equal(coil_server_wait_closed(server), 0);
    assert_int_equal(seen.ended, 1);
    coil_server_free(server);
    coil_ignore(coil_writer_finish(writer));
}

COIL_TEST_MAIN()
