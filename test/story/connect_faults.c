/* SPDX-License-Identifier: MIT
 *
 * connect_faults.c: connects that race, and a server on a unix socket, while one system call fails: the first, the
 * second, ... Whatever comes of it, it ends, everything is given back, and a file is left only if it was the
 * look at it, or its removal, that failed. */
#include "../unit/net/wire.h"
#include "faulty.h"

#include "net/connect.h"

#include <coil/combine.h>

/* ---- a race ---- */

/* One address where nobody listens, two that answer. */
static coil_ret race(void *unused)
{
    struct failures failures = {.n = 0};
    coil_addrinfo list[3] = {{0}};
    coil_sock *live[2] = {NULL, NULL}, *sock = NULL;
    coil_ret rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        list[i] = (coil_addrinfo){
            .next = i < 2 ? &list[i + 1] : NULL, .family = AF_INET, .type = SOCK_STREAM};
        rc = coil_address_parse("127.0.0.1", i ? "0" : "1", &list[i].address);
        if (rc < 0 || i == 0)
            continue;
        if ((rc = coil_sock_new(AF_INET, SOCK_STREAM, 0, &live[i - 1])) == 0 &&
            (rc = coil_sock_bind(live[i - 1], &list[i].address)) == 0 &&
            (rc = coil_sock_listen(live[i - 1], 5)) == 0)
            rc = coil_sock_getsockname(live[i - 1], &list[i].address);
    }
    if (rc == 0) {
        rc = coil__connect_race(list, NULL, 1, &failures, &sock);
        /* Two of three would do: only what is final ends it. */
        assert_true(rc == 0 || connect_is_final(rc));
        assert_true((rc == 0) == (sock != NULL));
    }
    coil_sock_unref(sock);
    coil_sock_unref(live[0]);
    coil_sock_unref(live[1]);
    for (size_t i = 0; i < failures.n; i++)
        coil__error_unref(failures.records[i]);
    return rc;
}

/* ---- a unix server ---- */

static char path[64];

static coil_ret answer(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *line;
    coil_ret rc = coil_reader_readline(reader, &line, NULL);
    return rc <= 0 ? rc : coil_writer_write(writer, line, (size_t)rc);
}

static coil_ret ask(void)
{
    coil_reader *r;
    coil_writer *w;
    coil_ret rc = coil_open_unix_connection(path, NULL, &r, &w);
    if (rc < 0)
        return rc;
    const char *line;
    rc = coil_writer_write(w, "hello\n", 6);
    if (rc == 0)
        rc = coil_reader_readline(r, &line, NULL);
    if (rc > 0)
        assert_string_equal(line, "hello\n");
    coil_ignore(coil_writer_finish(w));
    return rc;
}

static coil_ret converse(void *unused)
{
    coil_server_opts opts = {.size = sizeof opts, .unix_mode = 0666};
    coil_server *server;
    coil_ret rc = coil_start_unix_server(answer, NULL, path, &opts, &server);
    if (rc < 0)
        return rc;
    rc = ask();
    assert_int_equal(coil_server_finish(server), 0);
    return rc;
}

/* ---- again and again ---- */

static const int errors[] = {EINTR,      ENOMEM,      ENOBUFS,   EMFILE,      ENFILE, ENOSPC,
                             ECONNRESET, EPIPE,       EINVAL,    EBADF,       EIO,    ECONNABORTED,
                             EPERM,      ENETUNREACH, ETIMEDOUT, ECONNREFUSED};

static coil_ret in_time(void *fn)
{
    return coil_wait_for_call(*(coil_fn *)fn, NULL, 60.0);
}

static void with_error(coil_fn fn, int error, coil_ret good)
{
    int64_t live = coil__mem_live();
    for (long n = 1;; n++) {
        arm(n, error);
        coil_ret rc = wire_run(in_time, &fn);
        coil__sys = coil__sys_real;
        (void)unlink(path);
        if (coil__mem_live() != live)
            fail_msg("%s from call %ld: %ld blocks are not given back", coil_errname(-error), n,
                     (long)(coil__mem_live() - live));
        if (!kernel.failed) {
            assert_int_equal(rc, good);
            return;
        }
        if (rc == -ETIMEDOUT && error != ETIMEDOUT)
            fail_msg("%s from call %ld: it hangs", coil_errname(-error), n);
    }
}

COIL_TEST_PLAIN(each_system_call_of_a_race_fails_once)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        with_error(race, errors[i], 0);
}

COIL_TEST_PLAIN(each_system_call_of_a_unix_server_fails_once)
{
    char dir[] = "/tmp/coil-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    mode_t before = umask(077); /* so that chmod has something to do */
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        with_error(converse, errors[i], 6);
    umask(before);
    assert_int_equal(rmdir(dir), 0);
}

COIL_TEST_MAIN()
