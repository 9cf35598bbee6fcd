/* SPDX-License-Identifier: MIT
 *
 * conversations.c: streams, tasks and sockets under faults: what most programs do. */
#include "../unit/net/wire.h"
#include "body.h"

/* ---- streams: a server that shouts, a client that asks twice ---- */

static coil_ret shout(coil_reader *reader, coil_writer *writer, void *arg)
{
    char *line;
    size_t n;
    (void)arg;
    for (;;) {
        const char *got;
        coil_ret rc = coil_reader_readline(reader, &got, &n);
        if (rc <= 0)
            return rc;
        line = strdup(got);
        for (char *c = line; line && *c; c++)
            *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
        rc = line ? coil_writer_write(writer, line, (size_t)rc) : -ENOMEM;
        free(line);
        if (rc == 0)
            rc = coil_writer_drain(writer);
        leave_on_error(rc);
    }
}

static coil_ret ask(coil_reader *r, coil_writer *w)
{
    static const char *const lines[] = {"hello\n", "and goodbye\n"}, *const answers[] = {
                                                                         "HELLO\n",
                                                                         "AND GOODBYE\n"};
    for (int i = 0; i < 2; i++) {
        struct iovec pieces[2] = {{(void *)(uintptr_t)lines[i], 3},
                                  {(void *)(uintptr_t)(lines[i] + 3), strlen(lines[i]) - 3}};
        const char *answer;
        leave_on_error(coil_writer_writelines(w, pieces, 2));
        leave_on_error(coil_writer_drain(w));
        coil_ret n = coil_reader_readline(r, &answer, NULL);
        leave_on_error(n);
        if (n == 0)
            return -ECONNRESET;                  /* it met an error of its own */
        assert_string_equal(answer, answers[i]); /* what comes is whole, whatever goes wrong */
    }
    return 0;
}

static coil_ret over_streams(void)
{
    coil_server *server;
    coil_reader *r;
    coil_writer *w;
    char port[8];
    leave_on_error(coil_start_server(shout, NULL, "127.0.0.1", "0", &server));
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server) & 0xffff);
    coil_ret rc = coil_open_connection("127.0.0.1", port, &r, &w);
    if (rc == 0) {
        rc = ask(r, w);
        coil_ret closed = coil_writer_finish(w);
        rc = rc < 0 ? rc : closed;
    }
    coil_server_abort_clients(server);
    coil_ret finished = coil_server_finish(server);
    return rc < 0 ? rc : finished;
}

COIL_TEST(streams_under_faults)
{
    play(over_streams);
}

/* ---- tasks: a group around a queue, guarded by a lock and a semaphore ---- */

struct workshop {
    coil_queue jobs;
    coil_lock lock;
    coil_semaphore two;
    int made, taken;
};

static coil_ret make_jobs(void *arg)
{
    struct workshop *shop = arg;
    coil_ret rc = 0;
    for (int i = 0; i < 5 && rc == 0; i++) {
        rc = coil_queue_put(&shop->jobs, shop);
        shop->made += rc == 0;
    }
    coil_queue_shutdown(&shop->jobs, false);
    return rc;
}

static coil_ret take_jobs(void *arg)
{
    struct workshop *shop = arg;
    for (;;) {
        void *job;
        coil_ret rc = coil_queue_get(&shop->jobs, &job);
        if (rc == COIL_ESHUTDOWN)
            return 0;
        leave_on_error(rc);
        shop->taken++; /* it is ours, whatever becomes of us */
        if ((rc = coil_semaphore_acquire(&shop->two)) == 0) {
            if ((rc = coil_lock_acquire(&shop->lock)) == 0) {
                rc = coil_sleep(0.001);
                coil_lock_release(&shop->lock);
            }
            coil_semaphore_release(&shop->two);
        }
        leave_on_error(rc);
    }
}

static coil_ret in_a_group(void)
{
    struct workshop shop = {.jobs = COIL_QUEUE(2), .lock = COIL_LOCK, .two = COIL_SEMAPHORE(2)};
    coil_task_group(group);
    coil_group_create_task(&group, take_jobs, &shop);
    coil_group_create_task(&group, take_jobs, &shop);
    coil_group_create_task(&group, make_jobs, &shop);
    coil_ret rc = coil_group_exit(&group, 0);
    /* Items, permits and the lock: nothing is lost or there twice. */
    assert_int_equal(shop.made, shop.taken + (int)coil_queue_qsize(&shop.jobs));
    assert_false(coil_lock_locked(&shop.lock));
    assert_false(coil_semaphore_locked(&shop.two));
    assert_int_equal(coil_queue_fini(&shop.jobs), 0);
    return rc;
}

COIL_TEST(a_group_under_faults)
{
    play(in_a_group);
}

/* ---- combinators, timeouts, threads ---- */

static coil_ret sleep_a_little(void *arg)
{
    coil_ret rc = coil_sleep(0.01);
    return rc < 0 ? rc : (coil_ret)(intptr_t)arg;
}

static coil_ret add(void *arg)
{
    return (coil_ret)(intptr_t)arg + 1;
}

static coil_ret together(void)
{
    coil_task *tasks[3];
    for (int i = 0; i < 3; i++)
        tasks[i] = coil_create_task(sleep_a_little, (void *)(intptr_t)(i + 1));
    coil_ret rc = coil_wait_for(tasks[0], 1);
    if (rc >= 0)
        rc = coil_shield(tasks[1]);
    coil_ret timed = coil_wait_for(tasks[2], 0.001);
    for (int i = 0; i < 3; i++) {
        coil_future_cancel(tasks[i], NULL);
        coil_ignore(coil_await(tasks[i]));
        coil_unref(tasks[i]);
    }
    if (rc >= 0)
        rc = coil_to_thread(add, (void *)(intptr_t)41);
    leave_on_error(rc);
    if (timed < 0 && timed != -ETIMEDOUT)
        return timed;
    return 0;
}

COIL_TEST(combinators_under_faults)
{
    play(together);
}

/* ---- datagrams, pairs, a file ---- */

static coil_ret by_datagram(void)
{
    coil_address at, from;
    coil_sock *sock;
    char buf[16];
    leave_on_error(coil_address_parse("127.0.0.1", "0", &at));
    leave_on_error(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &sock));
    coil_ret rc = coil_sock_bind(sock, &at);
    if (rc == 0)
        rc = coil_sock_getsockname(sock, &at);
    if (rc == 0)
        rc = coil_sock_sendto(sock, "ping", 4, &at);
    if (rc >= 0)
        rc = coil_sock_recvfrom(sock, buf, sizeof buf, &from);
    coil_sock_unref(sock);
    return rc < 0 ? rc : 0;
}

COIL_TEST(datagrams_under_faults)
{
    play(by_datagram);
}

static coil_ret over_a_pair(void)
{
    coil_sock *a, *b;
    char buf[64];
    leave_on_error(wire_try_pair(&a, &b));
    coil_ret rc = coil_sock_sendall(a, "a few words", 11, NULL);
    for (size_t got = 0; rc >= 0 && got < 11; got += (size_t)rc)
        if ((rc = coil_sock_recv(b, buf + got, sizeof buf - got)) == 0)
            rc = -ECONNRESET;
    coil_sock_unref(a);
    coil_sock_unref(b);
    return rc < 0 ? rc : 0;
}

COIL_TEST(sockets_under_faults)
{
    play(over_a_pair);
}

static coil_ret generate(coil_gen *gen, void *arg)
{
    for (coil_ret i = 0; i < 3; i++)
        leave_on_error(coil_gen_yield(gen, i));
    return 0;
}

static coil_ret by_generator(void)
{
    coil_gen *gen = coil_gen_new(generate, NULL);
    coil_ret value, rc = gen ? 0 : -ENOMEM;
    while (gen && (rc = coil_gen_next(gen, &value)) > 0)
        ;
    coil_gen_unref(gen);
    return rc;
}

COIL_TEST(generators_under_faults)
{
    play(by_generator);
}

COIL_TEST_MAIN()
