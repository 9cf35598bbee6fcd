/* SPDX-License-Identifier: MIT
 *
 * net_faults.c: one whole conversation, again and again: its first system call fails, its second, ... with each of
 * the errors a kernel may give. Whatever comes of it, it ends, and everything is given back.
 *
 * EAGAIN is not among them: a kernel that says so and means nothing by it would owe an edge. */
#include "../unit/net/wire.h"
#include "faulty.h"

#include <coil/combine.h>

/* ---- the conversation ---- */

static coil_ret answer(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *line;
    coil_ret rc = coil_reader_readline(reader, &line, NULL);
    if (rc <= 0)
        return rc;
    char head[] = "you said ";
    struct iovec v[2] = {{head, 9}, {(void *)(uintptr_t)line, (size_t)rc}};
    rc = coil_writer_writelines(writer, v, 2);
    return rc < 0 ? rc : coil_writer_write_eof(writer);
}

static coil_ret ask(coil_server *server)
{
    char port[8];
    coil_reader *r;
    coil_writer *w;
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server) & 0xffff);
    coil_ret rc = coil_open_connection("127.0.0.1", port, &r, &w);
    if (rc < 0)
        return rc;
    const char *data;
    rc = coil_writer_write(w, "hello\n", 6);
    if (rc == 0)
        rc = coil_reader_read_all(r, 0, &data, NULL);
    if (rc > 0) {
        assert_int_equal(rc, 15);
        assert_string_equal(data, "you said hello\n");
    }
    coil_ignore(coil_writer_finish(w));
    return rc;
}

static coil_ret converse(void *arg)
{
    coil_server *server;
    coil_ret rc = coil_start_server(answer, NULL, "127.0.0.1", "0", &server);
    if (rc < 0)
        return rc;
    rc = ask(server);
    coil_server_close(server);
    assert_int_equal(coil_server_wait_closed(server), 0);
    coil_server_free(server);
    return rc;
}

static coil_ret converse_in_time(void *arg)
{
    return coil_wait_for_call(converse, arg, 60.0);
}

static void with_error(int error)
{
    int64_t live = coil__mem_live();
    for (long n = 1;; n++) {
        arm(n, error);
        coil_ret rc = wire_run(converse_in_time, NULL);
        coil__sys = coil__sys_real;
        if (coil__mem_live() != live)
            fail_msg("%s from call %ld: %ld blocks are not given back", coil_errname(-error), n,
                     (long)(coil__mem_live() - live));
        if (!kernel.failed) {
            assert_int_equal(rc, 15);
            return;
        }
        if (rc == -ETIMEDOUT && error != ETIMEDOUT)
            fail_msg("%s from call %ld: it hangs", coil_errname(-error), n);
    }
}

COIL_TEST_PLAIN(each_system_call_fails_once)
{
    static const int errors[] = {EINTR,  ENOMEM,       ENOBUFS, EMFILE,      ENFILE,
                                 ENOSPC, ECONNRESET,   EPIPE,   EINVAL,      EBADF,
                                 EIO,    ECONNABORTED, EPERM,   ENETUNREACH, ETIMEDOUT};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        with_error(errors[i]);
}

COIL_TEST_MAIN()
