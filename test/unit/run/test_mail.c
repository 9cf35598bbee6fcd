/* SPDX-License-Identifier: MIT
 *
 * test_mail.c: what workers send each other: messages and descriptors, and what becomes of those that nobody receives. */
#include "crew.h"

#include <sys/socket.h>
#include <unistd.h>

/* ---- messages ---- */

enum { MANY = 5000 };

/* Worker 0 sends numbers to all, the others send them back, and each side waits for the other all the time. */
static coil_ret send_numbers(void *arg)
{
    unsigned n = (unsigned)coil_worker_count();
    for (uintptr_t i = 1; i <= *(uintptr_t *)arg; i++)
        for (unsigned to = 1; to < n; to++) {
            coil_ret rc = coil_worker_send(to, (void *)i);
            if (rc)
                return rc;
        }
    return 0;
}

static coil_ret send_back(void)
{
    for (uintptr_t next = 1;;) {
        coil_message some[7];
        coil_ret n = coil_worker_receive(some, 7);
        if (n < 0)
            return n;
        for (coil_ret i = 0; i < n; i++, next++) {
            EXPECT(some[i].from == 0 && some[i].fd == -1 && some[i].data == (void *)next);
            coil_ret rc = coil_worker_send(0, some[i].data);
            if (rc)
                return rc;
        }
    }
}

static coil_ret talk_of(uintptr_t count)
{
    if (coil_worker_index() > 0)
        return send_back();
    coil_task_group(group);
    coil_group_create_task(&group, send_numbers, &count);
    uintptr_t next[MAX] = {0};
    coil_ret rc = 0;
    for (uintptr_t left = count * (uintptr_t)(coil_worker_count() - 1); left > 0 && rc >= 0;) {
        coil_message some[5];
        rc = coil_worker_receive(some, 5);
        for (coil_ret i = 0; i < rc; i++, left--)
            EXPECT(some[i].from > 0 && some[i].data == (void *)++next[some[i].from]);
    }
    rc = coil_group_exit(&group, coil_iserr(rc) ? rc : 0);
    return rc ? rc : coil_workers_cancel();
}

static coil_ret talk(void *arg)
{
    return talk_of(arg ? *(uintptr_t *)arg : 3);
}

WORKERS_TEST(messages_arrive_once_and_in_order)
{
    uintptr_t count = MANY;
    static const size_t sizes[] = {2, 16, 1024};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(run_with(2, talk, &count, NULL, sizes[i]), 0);
        assert_int_equal(run_with(4, talk, &count, NULL, sizes[i]), 0);
    }
}

static coil_ret fills_its_own(void *arg)
{
    (void)arg;
    coil_message some[8];
    EXPECT(coil_worker_receive_nowait(some, 8) == 0);
    for (uintptr_t i = 0; i < 4; i++)
        EXPECT(coil_worker_send_nowait(0, (void *)i) == 0);
    EXPECT(coil_worker_send_nowait(0, NULL) == COIL_EQUEUEFULL && last_code() == COIL_EQUEUEFULL);
    EXPECT(coil_worker_send_nowait(1, NULL) == -EINVAL);
    EXPECT(coil_worker_receive_nowait(NULL, 1) == -EINVAL);
    EXPECT(coil_worker_receive(some, 0) == -EINVAL);
    EXPECT(coil_worker_receive_nowait(some, 8) == 4);
    EXPECT(some[3].data == (void *)3 && some[3].from == 0);
    return coil_worker_send(0, NULL); /* what is left in it goes with it */
}

WORKERS_TEST(mailbox_that_is_full_says_so)
{
    assert_int_equal(run_with(1, fills_its_own, NULL, NULL, 4), 0);
}

static coil_ret sends_one(void *data)
{
    return coil_worker_send(0, data);
}

/* Tasks of one worker, in line for one mailbox. */
static coil_ret waits_in_line(void *arg)
{
    (void)arg;
    coil_task *tasks[3];
    coil_message some[8];
    EXPECT(coil_worker_send_nowait(0, (void *)1) == 0);
    EXPECT(coil_worker_send_nowait(0, (void *)2) == 0);
    for (uintptr_t i = 0; i < 3; i++)
        tasks[i] = coil_create_task(sends_one, (void *)(i + 3));
    coil_ret rc = coil_sleep(0);
    coil_task_cancel(tasks[1], NULL);
    EXPECT(coil_worker_receive_nowait(some, 2) == 2 && some[1].data == (void *)2);
    /* There is room, and it is theirs who wait. */
    EXPECT(coil_worker_send_nowait(0, (void *)9) == COIL_EQUEUEFULL);
    EXPECT(coil_join(tasks[0]) == 0);
    EXPECT(coil_join(tasks[1]) == -ECANCELED);
    EXPECT(coil_join(tasks[2]) == 0);
    EXPECT(coil_worker_receive(some, 8) == 2);
    EXPECT(some[0].data == (void *)3 && some[1].data == (void *)5);
    return rc;
}

WORKERS_TEST(mailbox_gives_room_in_order_of_arrival)
{
    coil_run_opts every_turn = {.size = sizeof every_turn, .debug = true};
    coil_workers_opts opts = {.size = sizeof opts, .run = &every_turn, .mailbox = 2};
    assert_int_equal(run_with(1, waits_in_line, NULL, NULL, 2), 0);
    assert_int_equal(coil_workers_with(1, waits_in_line, NULL, &opts), 0);
}

static coil_ret receives_one(void *out)
{
    return coil_worker_receive(out, 1);
}

static coil_ret cancels_receivers(void *arg)
{
    (void)arg;
    coil_message a = {.fd = -1}, b = a;
    coil_task *first = coil_create_task(receives_one, &a);
    coil_task *second = coil_create_task(receives_one, &b);
    coil_ret rc = coil_sleep(0);
    coil_task_cancel(first, NULL);
    EXPECT(coil_worker_send(0, (void *)1) == 0); /* comes before its step */
    EXPECT(coil_join(first) == -ECANCELED);
    EXPECT(coil_join(second) == 1 && b.data == (void *)1);
    /* One that was given a message before it was cancelled keeps it; the cancel is for its next wait, and there is none. */
    first = coil_create_task(receives_one, &a);
    rc = rc ? rc : coil_sleep(0);
    EXPECT(coil_worker_send(0, (void *)2) == 0);
    while (!rc && coil_worker_receive_nowait(&b, 1) == 0 && !coil_future_done(first))
        rc = coil_sleep(0);
    EXPECT(coil_join(first) == 1 && a.data == (void *)2);
    /* A timeout leaves everything where it was. */
    EXPECT(coil_wait_for_call(receives_one, &a, 0.001) == -ETIMEDOUT);
    EXPECT(coil_worker_send(0, (void *)3) == 0);
    EXPECT(coil_worker_receive(&a, 1) == 1 && a.data == (void *)3);
    return rc;
}

WORKERS_TEST(receiver_that_is_cancelled_loses_no_message)
{
    coil_run_opts every_turn = {.size = sizeof every_turn, .debug = true};
    coil_workers_opts opts = {.size = sizeof opts, .run = &every_turn};
    assert_int_equal(run_with(1, cancels_receivers, NULL, NULL, 0), 0);
    assert_int_equal(coil_workers_with(1, cancels_receivers, NULL, &opts), 0);
}

/* ---- the end of a mailbox ---- */

static atomic_int dropped;

static void count_dropped(void *data)
{
    EXPECT(data != NULL);
    atomic_fetch_add(&dropped, 1);
}

/* Worker 1 ends at once. Worker 0 sends until it is told so. */
static coil_ret sends_to_who_has_ended(void *arg)
{
    (void)arg;
    if (coil_worker_index() == 1)
        return 0;
    coil_ret rc;
    while ((rc = coil_worker_send(1, &dropped)) == 0)
        waiting++;
    EXPECT(rc == COIL_ECLOSED);
    EXPECT(coil_worker_send_nowait(1, NULL) == COIL_ECLOSED && last_code() == COIL_ECLOSED);
    return 0;
}

WORKERS_TEST(messages_to_who_has_ended_are_refused_or_dropped)
{
    for (int i = 0; i < 50; i++) {
        dropped = waiting = 0;
        coil_workers_opts opts = {.size = sizeof opts, .mailbox = 2, .drop = count_dropped};
        assert_int_equal(coil_workers_with(2, sends_to_who_has_ended, NULL, &opts), 0);
        assert_int_equal(dropped, waiting);
    }
}

struct pair {
    int theirs, ours;
};

static bool ended(int fd)
{
    char c;
    return recv(fd, &c, 1, MSG_DONTWAIT) == 0;
}

/* Worker 1 has one in its mailbox, and another one refused. */
static coil_ret hands_to_who_has_ended(void *arg)
{
    const struct pair *pairs = arg;
    if (coil_worker_index() == 1) {
        return wait_until_waiting(1); /* it ends without having received */
    }
    EXPECT(coil_worker_send_fd(1, pairs[0].theirs, NULL) == 0);
    waiting = 1;
    while (!ended(pairs[0].ours)) {
        coil_ret rc = coil_sleep(0.001);
        if (rc)
            return rc;
    }
    EXPECT(coil_worker_send_fd(1, pairs[1].theirs, NULL) == COIL_ECLOSED);
    EXPECT(coil_worker_send_fd_nowait(1, pairs[1].theirs, NULL) == COIL_ECLOSED);
    EXPECT(coil_worker_send_fd_nowait(1, -1, NULL) == -EBADF);
    EXPECT(coil_worker_send_fd(1, 1 << 25, NULL) == -EBADF);
    EXPECT(!ended(pairs[1].ours)); /* it is still ours */
    return 0;
}

static void make_pair(struct pair *pair)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *pair = (struct pair){fds[0], fds[1]};
}

WORKERS_TEST(descriptors_of_who_has_ended_are_closed)
{
    struct pair pairs[2];
    for (int i = 0; i < 2; i++)
        make_pair(&pairs[i]);
    waiting = 0;
    assert_int_equal(coil_workers(2, hands_to_who_has_ended, pairs), 0);
    close(pairs[0].ours);
    close(pairs[1].ours);
    close(pairs[1].theirs);
}

/* Worker 0 hands over an end of a pair, worker 1 answers on it. */
static coil_ret answers(void *arg)
{
    struct pair *pair = arg;
    coil_sock *sock;
    char text[8] = "";
    if (coil_worker_index() == 0) {
        coil_ret rc = coil_sock_adopt(NULL, pair->ours, &sock);
        if (rc < 0)
            return rc;
        rc = coil_worker_send_fd(1, pair->theirs, pair);
        if (rc == 0)
            rc = coil_sock_recv(sock, text, sizeof text);
        EXPECT(rc == 5 && memcmp(text, "hello", 5) == 0);
    } else {
        coil_message m;
        coil_ret rc = coil_worker_receive(&m, 1);
        if (rc < 0)
            return rc;
        EXPECT(rc == 1 && m.from == 0 && m.data == pair && m.fd == pair->theirs);
        rc = coil_sock_adopt(NULL, m.fd, &sock);
        if (rc < 0)
            return rc;
        EXPECT(coil_sock_sendall(sock, "hello", 5, NULL) == 0);
    }
    coil_sock_unref(sock);
    return 0;
}

WORKERS_TEST(descriptor_handed_over_goes_on_in_the_other_loop)
{
    struct pair pair;
    make_pair(&pair);
    assert_int_equal(coil_workers(2, answers, &pair), 0);
}

/* ---- without memory ---- */

static void start_talkers(void *arg)
{
    coil_ret rc = run_with(2, talk, arg, NULL, 2);
    assert_true(rc == 0 || rc == -ENOMEM);
    coil_fail(COIL_EUSER, "the last error does not hold those of workers any more");
}

WORKERS_TEST(workers_without_memory_say_so)
{
    assert_true(sweep_allocations(start_talkers, NULL) >= 0);
}

COIL_TEST_MAIN()
