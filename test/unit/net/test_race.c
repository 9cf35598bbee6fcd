/* SPDX-License-Identifier: MIT
 *
 * test_race.c: happy eyeballs: attempts that overlap, who wins, and that of the others nothing is left. */
#include "names.h"

#include "wire.h"

#include "net/connect.h"

/* ---- helpers ---- */

static int lowest_free_number(void)
{
    coil_sock *sock;
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    int fd = coil_sock_fileno(sock);
    coil_sock_unref(sock);
    return fd;
}

/* Virtual time goes on while we do not wait. */
static void pass_time(int64_t ns)
{
    struct clock *clock = &coil_get_running_loop()->clock;
    clock_advance_to(clock, clock_now_ns(clock) + ns);
}

static const coil_connect_opts soon = {
    .size = sizeof soon, .happy_eyeballs_delay = 0.25, .all_errors = true};

struct ends {
    coil_reader *r;
    coil_writer *w;
};

static struct ends connect_soon(void)
{
    struct ends e;
    must(coil_open_connection_with("several", "1", &soon, &e.r, &e.w));
    return e;
}

/* It is this one, and nobody else came. */
static void meet_and_part(struct ends *e, coil_sock *listener)
{
    coil_sock *peer;
    must(coil_sock_accept(listener, &peer, NULL));
    must(coil_writer_write(e->w, "it is me", 8));
    wire_expect(peer, "it is me");
    must(coil_writer_finish(e->w));
    coil_sock_unref(peer);
}

/* ---- who wins ---- */

COIL_TEST(race_next_begins_after_the_delay)
{
    list_begin();
    struct mute a = list_add_mute(), b = list_add_mute();
    coil_sock *live = list_add_live();
    int lowest = lowest_free_number();
    double before = coil_loop_time(NULL);
    struct ends e = connect_soon();
    double took = coil_loop_time(NULL) - before;
    assert_true(took >= 0.5 && took < 0.6);
    meet_and_part(&e, live);
    assert_int_equal(lowest_free_number(), lowest);
    free_mute(&a);
    free_mute(&b);
    coil_sock_unref(live);
}

COIL_TEST(race_next_begins_when_the_one_before_fails)
{
    list_begin();
    list_add_dead();
    list_add_dead();
    coil_sock *live = list_add_live();
    double before = coil_loop_time(NULL);
    struct ends e = connect_soon();
    assert_true(coil_loop_time(NULL) - before < 0.25);
    meet_and_part(&e, live);
    coil_sock_unref(live);
}

/* ---- what is left of the others ---- */

/* How many connections wait at this listener that go on; those that were given up are read to their end. */
static int alive_at(coil_sock *listener)
{
    int n = 0, fd;
    struct backend *b = sock_backend(listener);
    wire_turns(3); /* ends and resets are under way */
    while ((fd = b->cls->calls.accept(b, coil_sock_fileno(listener), NULL, NULL)) >= 0) {
        char byte;
        n += b->cls->calls.recv(b, fd, &byte, 1, 0) == -EAGAIN;
        b->cls->calls.close(b, fd);
    }
    return n;
}

COIL_TEST(race_of_many_leaves_one)
{
    static const coil_connect_opts at_once = {.size = sizeof at_once, .happy_eyeballs_delay = 1e-9};
    enum { N = 6 };
    coil_sock *live[N];
    int lowest = 0;
    list_begin();
    for (int i = 0; i < N; i++)
        live[i] = list_add_live();
    for (int round = 0; round < 10; round++) {
        lowest = lowest_free_number();
        struct ends e;
        must(coil_open_connection_with("several", "1", &at_once, &e.r, &e.w));
        int alive = 0;
        for (int i = 0; i < N; i++)
            alive += alive_at(live[i]);
        assert_int_equal(alive, 1);
        coil_ignore(coil_writer_finish(e.w));
        assert_int_equal(lowest_free_number(), lowest);
    }
    for (int i = 0; i < N; i++)
        coil_sock_unref(live[i]);
}

static coil_ret race_in_task(void *arg)
{
    struct ends e;
    coil_ret rc = coil_open_connection_with("several", "1", arg, &e.r, &e.w);
    return rc < 0 ? rc : coil_writer_finish(e.w);
}

/* Both are connected in the same moment: the loop was busy when the answers came. */
COIL_TEST(race_tie_has_one_winner)
{
    static coil_connect_opts at_once = {.size = sizeof at_once, .happy_eyeballs_delay = 1e-9};
    if (!wire_is_imaginary())
        return; /* the real kernel's moments cannot be chosen */
    list_begin();
    coil_sock *a = list_add_live(), *b = list_add_live(), *peer;
    int lowest = lowest_free_number();
    coil_task *task = coil_create_task(race_in_task, &at_once);
    while (lowest_free_number() < lowest + 2)
        must(coil_sleep(1e-6)); /* the way is 10 us or more: both are on it, no answer is there */
    pass_time(NS_PER_S);
    must(coil_join(task));
    must(coil_sock_accept(a, &peer, NULL));
    coil_sock_unref(peer);
    must(coil_sock_accept(b, &peer, NULL));
    coil_sock_unref(peer);
    assert_int_equal(lowest_free_number(), lowest);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(race_cancelled_at_any_turn_leaks_nothing)
{
    static coil_connect_opts opts = {.size = sizeof opts, .happy_eyeballs_delay = 0.002};
    list_begin();
    struct mute mute = list_add_mute();
    list_add_dead();
    coil_sock *live = list_add_live();
    int lowest = lowest_free_number(), cancelled = 0;
    for (int turns = 0; turns < 16; turns++) {
        coil_task *task = coil_create_task(race_in_task, &opts);
        for (int i = 0; i < turns; i++)
            must(coil_sleep(turns % 2 ? 0 : 0.0005));
        coil_task_cancel(task, NULL);
        coil_ret rc = coil_join(task);
        assert_true(rc == 0 || rc == -ECANCELED);
        cancelled += rc == -ECANCELED;
        assert_int_equal(lowest_free_number(), lowest);
        alive_at(live);
    }
    assert_true(cancelled > 0);
    free_mute(&mute);
    coil_sock_unref(live);
}

/* The connection stands, and then, before its task has run, comes the cancel: it is the next wait's. */
static coil_ret race_and_wait(void *arg)
{
    struct ends e;
    must(coil_open_connection_with("several", "1", arg, &e.r, &e.w));
    assert_int_equal(coil_sleep(0), -ECANCELED);
    must(coil_writer_finish(e.w));
    return 7;
}

static bool has_news(coil_task *task)
{
    const struct wait *waiting = as_task(task)->waiting;
    return waiting && strcmp(waiting->cls->what, "connect") == 0 && waiting->woken;
}

COIL_TEST(race_won_beats_a_cancel_in_the_same_turn)
{
    static coil_connect_opts opts = {.size = sizeof opts, .happy_eyeballs_delay = 10};
    list_begin();
    coil_sock *live = list_add_live();
    int lowest = lowest_free_number();
    for (int i = 0; i < 64; i++) {
        coil_task *task = coil_create_task(race_and_wait, &opts);
        while (!coil_future_done(task) && !has_news(task)) {
            must(coil_sleep(0)); /* queued before anything that comes, so it sees it first */
            pass_time(1000);
        }
        if (has_news(task)) {
            coil_task_cancel(task, NULL);
            assert_int_equal(coil_join(task), 7);
            assert_int_equal(lowest_free_number(), lowest);
            coil_sock_unref(live);
            return;
        }
        coil_task_cancel(task, NULL);
        coil_ignore(coil_join(task));
    }
    fail_msg("the moment between the connection and its task's step was never met");
}

/* The loop closes while three attempts are under way and one is not begun. */
static struct mute mutes[4];

static coil_ret begin_a_race(void *arg)
{
    list_begin();
    for (int i = 0; i < 4; i++)
        mutes[i] = list_add_mute();
    coil_task *racing = coil_create_task(race_in_task, arg);
    must(coil_sleep(0.25));
    assert_string_equal(coil_task_waiting_on(racing), "connect");
    coil_unref(racing);
    return 7;
}

COIL_TEST_PLAIN(race_ends_with_its_loop)
{
    static coil_connect_opts opts = {.size = sizeof opts, .happy_eyeballs_delay = 0.1};
    assert_int_equal(wire_run(begin_a_race, &opts), 7);
    for (int i = 0; i < 4; i++)
        free_mute(&mutes[i]);
}

/* Its own loop is its own imaginary kernel, so the listeners are made here. Addresses ask no resolver. */
static coil_ret race_or_not(void *arg)
{
    struct failures failures = {.n = 0};
    coil_addrinfo list[3] = {{0}};
    coil_sock *live[2] = {NULL, NULL}, *sock = NULL;
    coil_ret rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        list[i] = (coil_addrinfo){.next = i < 2 ? &list[i + 1] : NULL, .type = SOCK_STREAM};
        list[i].family = AF_INET;
        rc = coil_address_parse("127.0.0.1", i ? "0" : "1", &list[i].address);
        if (rc < 0 || i == 0)
            continue;
        if ((rc = coil_sock_new(AF_INET, SOCK_STREAM, 0, &live[i - 1])) == 0 &&
            (rc = coil_sock_bind(live[i - 1], &list[i].address)) == 0 &&
            (rc = coil_sock_listen(live[i - 1], 5)) == 0)
            rc = coil_sock_getsockname(live[i - 1], &list[i].address);
    }
    if (rc == 0)
        rc = coil__connect_race(list, NULL, 1, &failures, &sock);
    assert_true(rc == 0 || rc == -ENOMEM || rc == -ENOBUFS);
    *(int *)arg += rc == 0;
    coil_sock_unref(sock);
    coil_sock_unref(live[0]);
    coil_sock_unref(live[1]);
    for (size_t i = 0; i < failures.n; i++)
        coil__error_unref(failures.records[i]);
    return rc;
}

static void one_race(void *arg)
{
    (void)wire_run(race_or_not, arg);
}

COIL_TEST_PLAIN(race_survives_failing_allocations)
{
    int done = 0;
    sweep_allocations(one_race, &done);
    assert_true(done >= 1);
}

/* ---- errors ---- */

static bool member_begins(const coil_error *error, size_t i, const coil_address *at)
{
    char text[COIL_ADDRESS_TEXT_MAX], words[COIL_ADDRESS_TEXT_MAX + 32];
    coil_address_format(at, text, sizeof text);
    snprintf(words, sizeof words, "Connect call failed %s:", text);
    return i < error->members_n && strncmp(error->members[i]->message, words, strlen(words)) == 0;
}

COIL_TEST(race_errors_are_in_order_of_the_addresses)
{
    if (!wire_is_imaginary())
        return; /* the real kernel takes minutes to give up */
    list_begin();
    list_add_text("192.0.2.1", "80"); /* fails last */
    list_add_dead();
    list_add_dead();
    struct ends e;
    assert_int_equal(coil_open_connection_with("none", "1", &soon, &e.r, &e.w), COIL_EGROUP);
    const coil_error *error = coil_last_error();
    assert_int_equal(error->members_n, 3);
    assert_int_equal(error->members[0]->code, -ETIMEDOUT);
    assert_int_equal(error->members[1]->code, -ECONNREFUSED);
    for (size_t i = 0; i < 3; i++)
        assert_true(member_begins(error, i, &addresses[i]));

    coil_connect_opts opts = soon;
    opts.all_errors = false;
    assert_int_equal(coil_open_connection_with("none", "1", &opts, &e.r, &e.w), -ETIMEDOUT);
    assert_int_equal(strncmp(coil_last_error()->message, "Multiple exceptions: Connect", 28), 0);
}

COIL_TEST(race_errors_of_one_address_or_all_alike)
{
    list_begin();
    list_add_dead();
    coil_connect_opts opts = soon;
    opts.all_errors = false;
    struct ends e;
    assert_int_equal(coil_open_connection_with("one", "1", &opts, &e.r, &e.w), -ECONNREFUSED);
    assert_null(strstr(coil_last_error()->message, "Multiple"));
    list_add(&addresses[0]);
    assert_int_equal(coil_open_connection_with("same", "1", &opts, &e.r, &e.w), -ECONNREFUSED);
    assert_null(strstr(coil_last_error()->message, "Multiple"));
}

COIL_TEST(race_without_a_local_address_says_so)
{
    list_begin();
    coil_sock *live = list_add_live();
    coil_connect_opts opts = soon;
    opts.local_host = "::1";
    opts.all_errors = false;
    struct ends e;
    assert_int_equal(coil_open_connection_with("several", "1", &opts, &e.r, &e.w), -EADDRNOTAVAIL);
    assert_non_null(strstr(coil_last_error()->message, "no matching local address"));
    opts.local_host = "127.0.0.9";
    must(coil_open_connection_with("several", "1", &opts, &e.r, &e.w));
    assert_int_equal(strncmp(there(coil_writer_get_extra_info(e.w, "sockname")), "127.0.0.9:", 10),
                     0);
    must(coil_writer_finish(e.w));
    coil_sock_unref(live);
}

COIL_TEST(race_delay_must_be_a_time)
{
    static const double bad[] = {-1, -0.25, __builtin_nan("")};
    struct ends e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        coil_connect_opts opts = {.size = sizeof opts, .happy_eyeballs_delay = bad[i]};
        assert_int_equal(coil_open_connection_with("127.0.0.1", "1", &opts, &e.r, &e.w), -EINVAL);
    }
}

/* ---- in which order ---- */

/* Four of IPv4, then two of IPv6; nobody listens. Expects the errors in this order of list places. */
static void expect_order(const coil_connect_opts *opts, const char *places)
{
    list_begin();
    for (int i = 0; i < 4; i++) {
        list_add_dead();
        if (i == 1)
            list_add_text("::1", "1");
    }
    list_add_text("::1", "2");
    struct ends e;
    assert_int_equal(coil_open_connection_with("none", "1", opts, &e.r, &e.w), COIL_EGROUP);
    const coil_error *error = coil_last_error();
    assert_int_equal(error->members_n, 6);
    for (size_t i = 0; i < 6; i++)
        assert_true(member_begins(error, i, &addresses[places[i] - '0']));
}

static bool has_ipv6(void)
{
    coil_sock *sock;
    int err = coil_sock_new(AF_INET6, SOCK_STREAM, 0, &sock);
    if (err == 0)
        coil_sock_unref(sock);
    return err == 0;
}

COIL_TEST(interleave_lets_families_take_turns)
{
    if (!has_ipv6())
        return; /* a machine without IPv6 has nothing to take turns with */
    coil_connect_opts opts = soon;
    /* 0 1 3 4 are IPv4, 2 5 IPv6. */
    expect_order(&opts, "021534");
    opts.interleave = 1;
    expect_order(&opts, "021534");
    opts.interleave = 2;
    expect_order(&opts, "012354");
    opts.interleave = 4;
    expect_order(&opts, "013425");
    opts.interleave = 100;
    expect_order(&opts, "013425");
    opts.interleave = -1;
    expect_order(&opts, "012345");
    opts.happy_eyeballs_delay = 0; /* one after the other, in the same orders */
    opts.interleave = 0;
    expect_order(&opts, "012345");
    opts.interleave = 1;
    expect_order(&opts, "021534");
}

COIL_TEST_MAIN()
