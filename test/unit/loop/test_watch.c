/* SPDX-License-Identifier: MIT
 *
 * test_watch.c: add_reader and add_writer: level, one a direction, replaced, removed, and what becomes
 * of them when the number is closed and reused. */
#include "loop/loop.h"

#include "../loop/stage.h"
#include "base/random.h"
#include "base/sys.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <termios.h>

static int fds[2];

static void open_pair(void)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void close_pair(void)
{
    close(fds[0]);
    close(fds[1]);
}

static void send_byte(void)
{
    FACT_INT(write(fds[1], "x", 1), 1);
}

static void drain(void)
{
    char buf[16];
    while (read(fds[0], buf, sizeof buf) > 0)
        ;
}

static void reader(int fd, coil_callback_fn fn, const char *arg)
{
    FACT_INT(coil_loop_add_reader(stage.loop, fd, fn, (void *)(uintptr_t)arg), 0);
}

static void writer(int fd, coil_callback_fn fn, const char *arg)
{
    FACT_INT(coil_loop_add_writer(stage.loop, fd, fn, (void *)(uintptr_t)arg), 0);
}

static size_t watched(void)
{
    coil_loop_stats_t s;
    coil_loop_stats(stage.loop, &s);
    return s.fds;
}

/* ---- level ---- */

LOOP(reader_is_called_in_every_turn_while_there_is_something)
{
    open_pair();
    reader(fds[0], note_arg, "in");
    one_turn();
    FACT_TRACE("");
    send_byte();
    one_turn();
    one_turn();
    FACT_TRACE("in in");
    drain();
    one_turn();
    FACT_TRACE("");
    send_byte();
    one_turn();
    FACT_TRACE("in");
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 1);
    one_turn();
    FACT_TRACE("");
    close_pair();
}

LOOP(reader_and_writer_of_one_descriptor_are_two)
{
    open_pair();
    reader(fds[0], note_arg, "in");
    writer(fds[0], note_arg, "out");
    FACT_INT(watched(), 1);
    one_turn();
    FACT_TRACE("out");
    send_byte();
    one_turn();
    FACT(strcmp(stage.log, "in out") == 0 || strcmp(stage.log, "out in") == 0);
    stage.log[0] = '\0';
    FACT_INT(coil_loop_remove_writer(stage.loop, fds[0]), 1);
    one_turn();
    FACT_TRACE("in");
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 1);
    FACT_INT(watched(), 0);
    close_pair();
}

LOOP(reader_hears_the_end_and_writer_the_error)
{
    open_pair();
    reader(fds[0], note_arg, "in");
    close(fds[1]);
    one_turn();
    FACT_TRACE("in");
    coil_loop_remove_reader(stage.loop, fds[0]);
    writer(fds[0], note_arg, "out");
    one_turn();
    FACT_TRACE("out");
    coil_loop_remove_writer(stage.loop, fds[0]);
    close(fds[0]);
}

LOOP(reader_added_again_replaces_the_first)
{
    open_pair();
    reader(fds[0], note_arg, "first");
    reader(fds[0], note_arg, "second");
    FACT_INT(watched(), 1);
    send_byte();
    one_turn();
    FACT_TRACE("second");
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 1);
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 0);
    close_pair();
}

/* ---- removing ---- */

static void read_and_remove(void *arg)
{
    note_arg(arg);
    drain();
    FACT_INT(coil_loop_remove_reader(NULL, fds[0]), 1);
    FACT_INT(coil_loop_remove_reader(NULL, fds[0]), 0);
}

LOOP(reader_may_remove_itself)
{
    open_pair();
    reader(fds[0], read_and_remove, "in");
    send_byte();
    one_turn();
    send_byte();
    one_turn();
    FACT_TRACE("in");
    close_pair();
}

static void replace(void *arg)
{
    note_arg(arg);
    reader(fds[0], note_arg, "new");
}

LOOP(reader_may_replace_itself)
{
    open_pair();
    reader(fds[0], replace, "old");
    send_byte();
    one_turn();
    one_turn();
    FACT_TRACE("old new");
    coil_loop_remove_reader(stage.loop, fds[0]);
    close_pair();
}

static void remove_other(void *arg)
{
    note("remove");
    coil_loop_remove_reader(NULL, *(int *)arg);
}

LOOP(reader_removed_when_ready_but_not_run_does_not_run)
{
    int other[2];
    open_pair();
    FACT_INT(pipe(other), 0);
    FACT_INT(write(other[1], "x", 1), 1);
    send_byte();
    /* Whichever is called first removes the other. */
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], remove_other, &other[0]), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, other[0], remove_other, &fds[0]), 0);
    one_turn();
    FACT_TRACE("remove");
    coil_loop_remove_reader(stage.loop, fds[0]);
    coil_loop_remove_reader(stage.loop, other[0]);
    close(other[0]);
    close(other[1]);
    close_pair();
}

LOOP(reader_removed_before_its_first_turn)
{
    open_pair();
    send_byte();
    reader(fds[0], note_arg, "in");
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 1);
    one_turn();
    FACT_TRACE("");
    close_pair();
}

LOOP(remove_of_what_was_never_added_is_nothing)
{
    FACT_INT(coil_loop_remove_reader(stage.loop, 0), 0);
    FACT_INT(coil_loop_remove_writer(stage.loop, 1), 0);
    FACT_INT(coil_loop_remove_reader(stage.loop, -1), 0);
    FACT_INT(coil_loop_remove_writer(stage.loop, 1000000), 0);
    coil_loop_forget_fd(stage.loop, -1);
    coil_loop_forget_fd(stage.loop, 1000000);
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(coil_loop_remove_reader(stage.loop, 0), 0); /* also on a closed loop */
    FACT_INT(coil_loop_remove_writer(stage.loop, 0), 0);
    coil_loop_forget_fd(stage.loop, 0);
}

/* ---- numbers that are closed and reused ---- */

LOOP(descriptor_removed_then_closed_and_reused_is_watched_anew)
{
    open_pair();
    reader(fds[0], note_arg, "old");
    one_turn();
    coil_loop_remove_reader(stage.loop, fds[0]);
    close(fds[1]);
    int old = fds[0], peer[2];
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, peer), 0);
    FACT_INT(dup2(peer[0], old), old); /* another file behind the number */
    close(peer[0]);
    reader(old, note_arg, "new");
    one_turn();
    FACT_TRACE("");
    FACT_INT(write(peer[1], "x", 1), 1);
    one_turn();
    FACT_TRACE("new");
    coil_loop_remove_reader(stage.loop, old);
    close(old);
    close(peer[1]);
}

LOOP(descriptor_forgotten_before_its_close_is_gone)
{
    open_pair();
    reader(fds[0], note_arg, "in");
    writer(fds[0], note_arg, "out");
    one_turn();
    FACT_TRACE("out");
    coil_loop_forget_fd(stage.loop, fds[0]);
    FACT_INT(watched(), 0);
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 0);
    send_byte();
    one_turn();
    FACT_TRACE("");
    close_pair();
}

LOOP(descriptor_replaced_by_dup2_behind_our_back_may_be_added_again)
{
    int peer[2];
    open_pair();
    reader(fds[0], note_arg, "old");
    one_turn();
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, peer), 0);
    FACT_INT(dup2(peer[0], fds[0]), fds[0]); /* nobody told the loop */
    close(peer[0]);
    reader(fds[0], note_arg, "new");
    FACT_INT(write(peer[1], "x", 1), 1);
    one_turn();
    FACT_TRACE("new");
    coil_loop_remove_reader(stage.loop, fds[0]);
    close_pair();
    close(peer[1]);
}

/* ---- refused ---- */

LOOP(watching_what_cannot_be_watched_is_refused)
{
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    FACT_INT(coil_loop_add_reader(stage.loop, -1, note_arg, NULL), -EBADF);
    FACT_INT(coil_loop_add_reader(stage.loop, 987, note_arg, NULL), -EBADF);
    FACT_ERROR(-EBADF, "descriptor 987");
    FACT_INT(coil_loop_add_reader(stage.loop, file, note_arg, NULL), -EPERM);
    FACT_INT(coil_loop_add_writer(stage.loop, file, note_arg, NULL), -EPERM);
    FACT_ERROR(-EPERM, "cannot be watched");
    FACT_INT(coil_loop_add_reader(stage.loop, 0, NULL, NULL), -EINVAL);
    FACT_INT(watched(), 0);
    close(file);
    one_turn();
}

LOOP(watching_a_descriptor_that_coil_owns_is_refused)
{
    open_pair();
    FACT_INT(coil__loop_open_backend(stage.loop), 0);
    struct backend *b = stage.loop->backend;
    FACT_INT(b->cls->calls.own(b, fds[0]), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], note_arg, NULL), COIL_EINVALIDSTATE);
    FACT_ERROR(COIL_EINVALIDSTATE, "coil socket");
    FACT_INT(b->cls->calls.close(b, fds[0]), 0);
    close(fds[1]);
}

LOOP(watching_on_a_closed_loop_is_refused)
{
    open_pair();
    reader(fds[0], note_arg, "in");
    send_byte();
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], note_arg, NULL), COIL_ECLOSED);
    FACT_INT(coil_loop_add_writer(stage.loop, fds[0], note_arg, NULL), COIL_ECLOSED);
    close_pair();
}

PLAIN(watching_without_a_loop_is_refused)
{
    FACT_INT(coil_loop_add_reader(NULL, 0, note_arg, NULL), COIL_ENOLOOP);
    FACT_INT(coil_loop_remove_reader(NULL, 0), 0);
    coil_loop_forget_fd(NULL, 0);
}

/* ---- context ---- */

static const coil_contextvar color = COIL_CONTEXTVAR("color", (void *)(uintptr_t) "none");

static void note_color(void *arg)
{
    (void)arg;
    note("%s", (const char *)coil_contextvar_get(&color));
    FACT_INT(coil_contextvar_set(&color, (void *)(uintptr_t) "changed", NULL), 0);
}

LOOP(reader_sees_the_context_it_was_added_in)
{
    coil_contextvar_token token;
    open_pair();
    FACT_INT(coil_contextvar_set(&color, (void *)(uintptr_t) "red", &token), 0);
    reader(fds[0], note_color, NULL);
    FACT_INT(coil_contextvar_reset(&token), 0);
    send_byte();
    one_turn();
    one_turn();
    FACT_TRACE("red red");
    coil_loop_remove_reader(stage.loop, fds[0]);
    close_pair();
}

/* ---- a descriptor that fails while it is watched ---- */

static int heard, nested;

static void hear_and_clean_up(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)arg;
    heard++;
    note("%s", coil_errname(c->code));
    FACT_TEXT(c->message, "a watched descriptor failed; its callback is removed");
    FACT_TEXT(c->kind, "watch-error");
    FACT_INT(c->fd, fds[0]);
    /* What anybody would do here, and it must be safe. */
    coil_loop_remove_reader(loop, fds[0]);
    nested += coil_current_task() != NULL;
    FACT(coil_get_running_loop() == loop);
}

LOOP(watch_that_fails_is_reported_once_from_the_ready_queue)
{
    const char *backend = coil_loop_backend(stage.loop);
    if (strcmp(backend, "epoll") == 0 || strncmp(backend, "uring", 5) == 0)
        return; /* epoll lets go of a closed descriptor without a word; io_uring keeps the file itself */
    open_pair();
    coil_loop_set_exception_handler(stage.loop, hear_and_clean_up, NULL);
    reader(fds[0], note_arg, "in");
    one_turn();
    close(fds[0]); /* a mistake of the program's */
    heard = 0;
    FACT_INT(coil_loop_collect(stage.loop, 0), 0);
    FACT_INT(heard, 0); /* collect calls nothing back */
    FACT(coil_loop_dispatch(stage.loop) >= 0);
    FACT_INT(heard, 1);
    one_turn();
    FACT_INT(heard, 1);
    FACT_TRACE("EBADF");
    FACT_INT(watched(), 0);
    close(fds[1]);
}

#if STAGE_TABLE
static int failing_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
    return op == EPOLL_CTL_DEL ? coil__sys_real.epoll_ctl(ep, op, fd, ev) : -ENOSPC;
}

LOOP(watch_that_the_kernel_refuses_is_reported)
{
    if (strcmp(coil_loop_backend(stage.loop), "epoll") != 0)
        return;
    open_pair();
    coil_loop_set_exception_handler(stage.loop, hear_and_clean_up, NULL);
    FACT_INT(coil__loop_open_backend(stage.loop), 0);
    coil__sys.epoll_ctl = failing_ctl;
    heard = 0;
    reader(fds[0], note_arg, "in");
    FACT_INT(coil_loop_collect(stage.loop, 0), 0);
    FACT_INT(heard, 0);
    FACT(coil_loop_dispatch(stage.loop) >= 0);
    coil__sys.epoll_ctl = coil__sys_real.epoll_ctl;
    FACT_INT(heard, 1);
    FACT_TRACE("ENOSPC");
    one_turn();
    close_pair();
}

static void remove_reader(void *arg)
{
    (void)arg;
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 1);
}

LOOP(watch_that_the_kernel_refuses_may_go_before_it_is_told)
{
    if (strcmp(coil_loop_backend(stage.loop), "epoll") != 0)
        return;
    open_pair();
    coil_loop_set_exception_handler(stage.loop, hear_and_clean_up, NULL);
    FACT_INT(coil__loop_open_backend(stage.loop), 0);
    coil__sys.epoll_ctl = failing_ctl;
    heard = 0;
    soon(remove_reader, NULL); /* runs before the report */
    reader(fds[0], note_arg, "in");
    one_turn();
    coil__sys.epoll_ctl = coil__sys_real.epoll_ctl;
    one_turn();
    FACT_INT(heard, 0);
    FACT_INT(watched(), 0);
    close_pair();
}
#endif

/* ---- many ---- */

static int terminal, master;

static void change_mode(void *arg)
{
    int *left = arg;
    struct termios mode;
    FACT_INT(tcgetattr(terminal, &mode), 0);
    mode.c_lflag ^= ICANON;
    FACT_INT(tcsetattr(terminal, TCSANOW, &mode), 0); /* who waits is woken, for nothing */
    if (--*left > 0)
        FACT_INT(coil_loop_call_later(stage.loop, 0.001, change_mode, left, NULL), 0);
    else
        FACT_INT(write(master, "\n", 1), 1);
}

static void note_and_stop(void *arg)
{
    note_arg(arg);
    coil_loop_stop(stage.loop);
}

REAL(reader_of_a_terminal_outlives_changes_of_its_mode)
{
    int changes = 4;
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    FACT(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    FACT(terminal >= 0);
    reader(terminal, note_and_stop, "in");
    change_mode(&changes);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("in");
    FACT_INT(coil_loop_remove_reader(stage.loop, terminal), 1);
    close(terminal);
    close(master);
}

LOOP(readers_by_the_hundred)
{
    enum { N = 100 };
    static int pairs[N][2];
    for (int i = 0; i < N; i++) {
        FACT_INT(pipe2(pairs[i], O_NONBLOCK), 0);
        reader(pairs[i][0], note_arg, "x");
    }
    FACT_INT(watched(), N);
    for (int i = 0; i < N; i += 3)
        FACT_INT(write(pairs[i][1], "x", 1), 1);
    one_turn();
    int n = 0;
    for (const char *c = stage.log; *c; c++)
        n += *c == 'x';
    FACT_INT(n, (N + 2) / 3);
    for (int i = 0; i < N; i += 2)
        FACT_INT(coil_loop_remove_reader(stage.loop, pairs[i][0]), 1);
    FACT_INT(watched(), N / 2);
    FACT_INT(coil_loop_close(stage.loop), 0); /* lets go of the rest */
    for (int i = 0; i < N; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
}

/* ---- any order of everything: poll(2) says what must be called ---- */

enum { PAIRS = 10, DIRECTIONS = 2 };

static struct model {
    int fd, peer;
    bool watched[DIRECTIONS];
    int expected[DIRECTIONS], called[DIRECTIONS];
} model[PAIRS];

static void called_in(void *arg)
{
    ((struct model *)arg)->called[0]++;
}

static void called_out(void *arg)
{
    ((struct model *)arg)->called[1]++;
}

static void open_one(struct model *m)
{
    int two[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, two), 0);
    *m = (struct model){.fd = two[0], .peer = two[1]};
}

static void watch_one(struct model *m, int direction, bool on)
{
    int rc;
    if (on)
        rc = direction ? coil_loop_add_writer(stage.loop, m->fd, called_out, m)
                       : coil_loop_add_reader(stage.loop, m->fd, called_in, m);
    else
        rc = direction ? coil_loop_remove_writer(stage.loop, m->fd)
                       : coil_loop_remove_reader(stage.loop, m->fd);
    FACT_INT(rc, on ? 0 : m->watched[direction]);
    m->watched[direction] = on;
}

static void do_something(struct random *r)
{
    static char bytes[1 << 20];
    struct model *m = &model[random_below(r, PAIRS)];
    switch (random_below(r, 8)) {
    case 0:
    case 1: watch_one(m, (int)random_below(r, 2), true); break;
    case 2: watch_one(m, (int)random_below(r, 2), false); break;
    case 3: (void)!send(m->peer, bytes, 1, MSG_NOSIGNAL); break;
    case 4:
        (void)!send(m->fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        break; /* until it is not writable */
    case 5:
        while (read(random_below(r, 2) ? m->fd : m->peer, bytes, sizeof bytes) > 0)
            ;
        break;
    case 6: shutdown(m->peer, SHUT_WR); break;
    case 7: /* closed as the header asks for, or replaced by the next file under the same number */
        if (random_below(r, 2)) {
            coil_loop_forget_fd(stage.loop, m->fd);
        } else {
            watch_one(m, 0, false);
            watch_one(m, 1, false);
        }
        close(m->fd);
        close(m->peer);
        open_one(m);
        break;
    }
}

static void expect_what_poll_says(void)
{
    for (int i = 0; i < PAIRS; i++) {
        struct model *m = &model[i];
        struct pollfd p = {.fd = m->fd, .events = POLLIN | POLLOUT};
        assert_true(poll(&p, 1, 0) >= 0);
        m->expected[0] = m->watched[0] && (p.revents & (POLLIN | POLLHUP | POLLERR));
        m->expected[1] = m->watched[1] && (p.revents & (POLLOUT | POLLHUP | POLLERR));
        m->called[0] = m->called[1] = 0;
    }
}

LOOP(watches_agree_with_poll_whatever_happens)
{
    struct random r = {20240229};
    for (int i = 0; i < PAIRS; i++)
        open_one(&model[i]);
    for (int round = 0; round < 3000 && !stage.broken; round++) {
        for (uint32_t n = random_below(&r, 4); n > 0; n--)
            do_something(&r);
        expect_what_poll_says();
        one_turn();
        for (int i = 0; i < PAIRS; i++)
            for (int d = 0; d < DIRECTIONS; d++)
                if (!FACT_INT(model[i].called[d], model[i].expected[d]))
                    print_error("round %d, pair %d, %s\n", round, i, d ? "out" : "in");
    }
    for (int i = 0; i < PAIRS; i++) {
        coil_loop_forget_fd(stage.loop, model[i].fd);
        close(model[i].fd);
        close(model[i].peer);
    }
}

static void read_one(void *arg)
{
    char c;
    FACT_INT(read(*(int *)arg, &c, 1), 1);
    note("read");
}

static void raise_now(void *arg)
{
    (void)arg;
    coil_loop_raise(stage.loop, COIL_EUSER);
}

/* Its callback is still in the ring when the kernel reports it again. */
LOOP(reader_that_waits_for_its_callback_is_not_queued_twice)
{
    FACT_INT(pipe(fds), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], read_one, &fds[0]), 0);
    one_turn();
    FACT_INT(write(fds[1], "x", 1), 1);
    soon(raise_now, NULL);
    FACT_INT(coil_loop_iterate(stage.loop), COIL_EUSER); /* what is behind it stays */
    FACT_INT(coil_loop_iterate(stage.loop), 1);
    FACT_INT(coil_loop_iterate(stage.loop), 0);
    FACT_TRACE("read");
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 1);
    close(fds[0]);
    close(fds[1]);
}

/* The kernel's refusal is found when a host asks for the descriptor, and nobody collects it. */
LOOP(reader_of_a_closed_descriptor_may_go_before_it_is_told)
{
    FACT_INT(pipe(fds), 0);
    (void)coil_loop_fd(stage.loop);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], note_arg, TEXT("reader")), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[1], note_arg, TEXT("other")), 0);
    close(fds[0]);
    close(fds[1]);
    (void)coil_loop_timeout(stage.loop);
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 1);
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[1]), 1);
    coil_loop_iterate(stage.loop);
    FACT_TRACE("");
}

LOOP(reader_of_a_closed_descriptor_may_go_with_the_loop)
{
    FACT_INT(pipe(fds), 0);
    (void)coil_loop_fd(stage.loop);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], note_arg, TEXT("reader")), 0);
    close(fds[0]);
    (void)coil_loop_timeout(stage.loop);
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("");
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_is_called_in_every_turn_while_there_is_something),
        cmocka_unit_test(reader_and_writer_of_one_descriptor_are_two),
        cmocka_unit_test(reader_hears_the_end_and_writer_the_error),
        cmocka_unit_test(reader_added_again_replaces_the_first),
        cmocka_unit_test(reader_may_remove_itself),
        cmocka_unit_test(reader_may_replace_itself),
        cmocka_unit_test(reader_removed_when_ready_but_not_run_does_not_run),
        cmocka_unit_test(reader_removed_before_its_first_turn),
        cmocka_unit_test(remove_of_what_was_never_added_is_nothing),
        cmocka_unit_test(descriptor_removed_then_closed_and_reused_is_watched_anew),
        cmocka_unit_test(descriptor_forgotten_before_its_close_is_gone),
        cmocka_unit_test(descriptor_replaced_by_dup2_behind_our_back_may_be_added_again),
        cmocka_unit_test(watching_what_cannot_be_watched_is_refused),
        cmocka_unit_test(watching_a_descriptor_that_coil_owns_is_refused),
        cmocka_unit_test(watching_on_a_closed_loop_is_refused),
        cmocka_unit_test(watching_without_a_loop_is_refused),
        cmocka_unit_test(reader_sees_the_context_it_was_added_in),
        cmocka_unit_test(watch_that_fails_is_reported_once_from_the_ready_queue),
#if STAGE_TABLE
        cmocka_unit_test(watch_that_the_kernel_refuses_is_reported),
        cmocka_unit_test(watch_that_the_kernel_refuses_may_go_before_it_is_told),
#endif
        cmocka_unit_test(reader_of_a_terminal_outlives_changes_of_its_mode),
        cmocka_unit_test(readers_by_the_hundred),
        cmocka_unit_test(watches_agree_with_poll_whatever_happens),
        cmocka_unit_test(reader_that_waits_for_its_callback_is_not_queued_twice),
        cmocka_unit_test(reader_of_a_closed_descriptor_may_go_before_it_is_told),
        cmocka_unit_test(reader_of_a_closed_descriptor_may_go_with_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
