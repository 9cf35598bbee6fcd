/* test.c: each body runs in a task of a loop of its own. Time jumps when all wait, so minutes take no time; and
 * what a test leaves behind (descriptors, tasks, stacks) makes it fail. */
#include "echo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <coil/testing.h>
#include <cmocka.h>

static struct echo echo;
static coil_server *server;
static coil_reader *reader;
static coil_writer *writer;

static void connect_to_a_new_server(void)
{
    char port[16]; /* 0 lets the kernel choose a free one */
    echo = (struct echo){0};
    coil_assert_ok(coil_start_server(echo_client, &echo, "127.0.0.1", "0", &server));
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    coil_assert_ok(coil_open_connection("127.0.0.1", port, &reader, &writer));
}

static void leave(void)
{
    coil_assert_ok(coil_writer_finish(writer));
    coil_server_close(server);
    coil_assert_ok(coil_server_wait_closed(server));
    coil_server_free(server);
    assert_int_equal(echo.clients, 0);
}

static void expect_back(const char *line)
{
    const char *answer;
    coil_assert_ok(coil_writer_write(writer, line, strlen(line)));
    assert_int_equal(coil_reader_readline(reader, &answer, NULL), (coil_ret)strlen(line));
    assert_string_equal(answer, line);
}

COIL_TEST(lines_come_back)
{
    connect_to_a_new_server();
    expect_back("one\n");
    expect_back("two\n");
    assert_int_equal(echo.clients, 1);
    assert_int_equal(echo.lines, 2);
    leave();
}

COIL_TEST(a_last_line_needs_no_newline)
{
    char answer[8];
    connect_to_a_new_server();
    coil_assert_ok(coil_writer_write(writer, "end", 3));
    coil_assert_ok(coil_writer_write_eof(writer));
    assert_int_equal(coil_reader_readexactly(reader, answer, 3, NULL), 3);
    leave();
}

COIL_TEST(a_report_comes_every_ten_seconds)
{
    echo = (struct echo){0};
    coil_assert_error(coil_wait_for_call(echo_report, &echo, 35), -ETIMEDOUT);
    assert_int_equal(echo.reports, 3);
}

COIL_TEST_MAIN()
