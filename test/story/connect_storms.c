/* SPDX-License-Identifier: MIT
 *
 * connect_storms.c: many races to connect at a time, each to a random list of addresses: some answer, some refuse, some
 * say nothing; with random delays, cancels and deadlines, and on the imaginary kernel without descriptors now and
 * then. Whoever wins talks to an address of its list that answers; whoever loses had none, or was
 * disturbed; and every descriptor is home in the end. */
#include "../unit/net/wire.h"

#include "base/random.h"
#include "io/sim/sim.h"
#include "net/connect.h"

enum { LIVE = 3, RACES = 60, LIST = 6 };

/* ---- the addresses ---- */

enum kind { ANSWERS, REFUSES, SAYS_NOTHING, KINDS };

struct world {
    coil_server *servers[LIVE];
    coil_address live[LIVE], dead, mute;
    coil_sock *mute_listener, *mute_inside; /* its backlog is full */
    bool faults;
};

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *arg)
{
    char buf[64];
    coil_ret n;
    while ((n = coil_reader_read(reader, buf, sizeof buf)) > 0)
        if ((n = coil_writer_write(writer, buf, (size_t)n)) < 0)
            break;
    return n;
}

static void make_world(struct world *w)
{
    for (int i = 0; i < LIVE; i++) {
        must(coil_start_server(echo, NULL, "127.0.0.1", "0", &w->servers[i]));
        must(coil_server_sockname(w->servers[i], 0, &w->live[i]));
    }
    coil_sock *sock = wire_listen(1);
    must(coil_sock_getsockname(sock, &w->dead));
    coil_sock_unref(sock);
    w->mute_listener = wire_listen(0);
    must(coil_sock_getsockname(w->mute_listener, &w->mute));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &w->mute_inside));
    must(coil_sock_connect(w->mute_inside, &w->mute));
}

static void free_world(struct world *w)
{
    for (int i = 0; i < LIVE; i++)
        must(coil_server_finish(w->servers[i]));
    coil_sock_unref(w->mute_inside);
    coil_sock_unref(w->mute_listener);
}

/* ---- one race ---- */

struct entrant {
    const struct world *world;
    uint64_t seed;
    coil_addrinfo list[LIST];
    size_t n, of_kind[KINDS];
    bool cancelled;
};

static void make_list(struct entrant *e, struct random *random)
{
    e->n = 1 + random_below(random, LIST);
    for (size_t i = 0; i < e->n; i++) {
        enum kind kind = (enum kind)random_below(random, KINDS);
        e->of_kind[kind]++;
        e->list[i] = (coil_addrinfo){.next = i + 1 < e->n ? &e->list[i + 1] : NULL,
                                     .family = AF_INET,
                                     .type = SOCK_STREAM,
                                     .address = kind == ANSWERS
                                                    ? e->world->live[random_below(random, LIVE)]
                                                : kind == REFUSES ? e->world->dead
                                                                  : e->world->mute};
    }
}

/* It is an address of the list, and somebody is there. */
static coil_ret talk(struct entrant *e, coil_sock *sock)
{
    coil_address peer;
    must(coil_sock_getpeername(sock, &peer));
    bool found = false;
    for (size_t i = 0; i < e->n; i++)
        found = found ||
                memcmp(&peer.storage, &e->list[i].address.storage, sizeof(struct sockaddr_in)) == 0;
    assert_true(found);
    char answer[4];
    coil_ret rc = coil_sock_sendall(sock, "ping", 4, NULL);
    for (size_t got = 0; rc >= 0 && got < 4; got += (size_t)rc) {
        rc = coil_sock_recv(sock, answer + got, 4 - got);
        if (rc == 0)
            return e->world->faults ? -EPIPE : -EPROTO; /* a server without descriptors */
    }
    if (rc >= 0)
        assert_memory_equal(answer, "ping", 4);
    return rc < 0 ? rc : 0;
}

static coil_ret race(void *arg)
{
    static const int64_t delays[] = {1, 30 * NS_PER_US, 300 * NS_PER_US, 10 * NS_PER_MS};
    struct entrant *e = arg;
    struct random random = {e->seed};
    struct failures failures = {.n = 0};
    coil_sock *sock = NULL;
    make_list(e, &random);
    coil_timeout(deadline, 3);
    coil_ret rc = coil__connect_race(e->list, NULL, delays[random_below(&random, 4)], &failures,
                                     &sock);
    assert_true((rc == 0) == (sock != NULL));
    if (rc == 0)
        rc = talk(e, sock);
    coil_sock_unref(sock);
    assert_true(rc == COIL_EGROUP ? failures.n == e->n : failures.n == 0);
    for (size_t i = 0; i < failures.n; i++)
        coil__error_unref(failures.records[i]);
    return coil_timeout_exit(&deadline, rc);
}

static void judge(const struct entrant *e, coil_ret rc)
{
    if (e->world->faults || (rc == -ECANCELED && e->cancelled))
        return;
    if (e->of_kind[ANSWERS])
        assert_int_equal(rc, 0);
    else if (e->of_kind[SAYS_NOTHING])
        assert_int_equal(rc, -ETIMEDOUT);
    else
        assert_int_equal(rc, COIL_EGROUP);
}

/* ---- the storm ---- */

static int lowest_free_number(void)
{
    coil_sock *sock;
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    int fd = coil_sock_fileno(sock);
    coil_sock_unref(sock);
    return fd;
}

static void one_storm(uint64_t seed, bool faults)
{
    struct random random = {seed};
    struct world world = {.faults = faults};
    int lowest = lowest_free_number();
    make_world(&world);
    if (faults)
        coil__sim_set_fault(coil_get_running_loop()->backend, SIM_NO_DESCRIPTOR, 6000);
    static struct entrant entrants[RACES];
    coil_task *tasks[RACES];
    for (int i = 0; i < RACES; i++) {
        entrants[i] = (struct entrant){.world = &world, .seed = random_u64(&random)};
        tasks[i] = coil_create_task(race, &entrants[i]);
        if (random_below(&random, 3) == 0)
            must(coil_sleep(random_below(&random, 2) ? 0 : 0.0001));
    }
    for (int i = 0; i < RACES / 3; i++) {
        struct entrant *e = &entrants[random_below(&random, RACES)];
        must(coil_sleep(random_below(&random, 2) ? 0 : 0.00005));
        e->cancelled = true;
        coil_task_cancel(tasks[e - entrants], NULL);
    }
    for (int i = 0; i < RACES; i++)
        judge(&entrants[i], coil_join(tasks[i]));
    if (faults)
        coil__sim_set_fault(coil_get_running_loop()->backend, SIM_NO_DESCRIPTOR, 0);
    free_world(&world);
    assert_int_equal(lowest_free_number(), lowest);
}

COIL_TEST(storm_of_races)
{
    struct wire_reports reports; /* a client that goes is an error of its function */
    wire_listen_to_reports(&reports);
    int rounds = wire_is_imaginary() ? 100 : 2;
    for (int seed = 1; seed <= rounds; seed++)
        one_storm((uint64_t)seed, false);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

COIL_TEST(storm_of_races_and_faults)
{
    struct wire_reports reports;
    if (!wire_is_imaginary())
        return; /* the real kernel's descriptors do not run out by chance */
    wire_listen_to_reports(&reports);
    for (int seed = 1; seed <= 100; seed++)
        one_storm((uint64_t)seed * 7919, true);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

COIL_TEST_MAIN()
