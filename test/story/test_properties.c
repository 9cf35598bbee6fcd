/* SPDX-License-Identifier: MIT
 *
 * test_properties.c: ten properties of the engine that could not be added later. Each is what a foreign
 * loop, a binding or another completion-based kernel interface will lean on. */
#include "../unit/loop/stage.h"
#include "base/thread.h"
#include "loop/loop.h"
#include "task/task.h"

#include <coil/net.h>
#include <coil/stream.h>

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int calls;

static void count(void *arg)
{
    (void)arg;
    calls++;
}

static void count_done(coil_future *f, void *arg)
{
    (void)f, (void)arg;
    calls++;
}

static coil_ret count_steps(void *arg)
{
    calls++;
    if (arg)
        coil_ignore(coil_await((coil_future *)arg));
    calls++;
    return 0;
}

static coil_task *start(coil_fn fn, const void *arg)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    return coil_create_task_opts(fn, arg, &opts);
}

/* ---- 1. collect and dispatch are two; nothing is called back from inside an API call ---- */

LOOP(property_01_no_callback_runs_inside_a_call)
{
    int fds[2];
    coil_handle *h;
    FACT_INT(pipe(fds), 0);
    FACT_INT(write(fds[1], "x", 1), 1);
    calls = 0;
    coil_future *f = coil_loop_create_future(stage.loop), *g = coil_loop_create_future(stage.loop);
    coil_future *done = coil_loop_create_future(stage.loop);
    coil_task *t = start(count_steps, f), *u = start(count_steps, g);
    soon(count, NULL);
    later(0, count, NULL);
    later(-1, count, NULL);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, count, NULL, NULL), 0);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, count, NULL, &h), 0);
    coil_handle_cancel(h);
    coil_handle_unref(h);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], count, NULL), 0);
    FACT_INT(coil_future_add_done_callback(f, count_done, NULL), 0);
    FACT_INT(coil_future_add_done_callback(g, count_done, NULL), 0);
    FACT_INT(coil_future_set_result(done, 1), 0);
    FACT_INT(coil_future_add_done_callback(done, count_done, NULL), 0);
    FACT_INT(coil_future_set_result(f, 1), 0);
    FACT(coil_future_cancel(g, NULL));
    FACT(coil_task_cancel(u, NULL));
    coil_loop_stop(stage.loop);
    FACT_INT(calls, 0);
    FACT_INT(coil_loop_collect(stage.loop, 0), 0); /* waits, reaps, fires timers: all but calling */
    FACT_INT(calls, 0);
    FACT(coil_loop_dispatch(stage.loop) > 0);
    FACT(calls >= 8);
    FACT_INT(coil_loop_remove_reader(stage.loop, fds[0]), 1);
    coil_unref(f);
    coil_unref(g);
    coil_unref(done);
    coil_unref(t);
    coil_unref(u);
    one_turn();
    int before = calls;
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(calls, before);
    close(fds[0]);
    close(fds[1]);
}

/* ---- 2. nodes lie in their owners: an event allocates nothing ---- */

#if STAGE_TABLE
static int fds[2];

static coil_ret every_kind_of_event(void *arg)
{
    char c;
    (void)arg;
    for (int i = 0; i < 50; i++) {
        FACT_INT(coil_sleep(0), 0);
        FACT_INT(coil_sleep(0.001), 0);
        FACT_INT(write(fds[1], "x", 1), 1);
        FACT_INT(coil_wait_fd(fds[0], COIL_READ), COIL_READ);
        FACT_INT(read(fds[0], &c, 1), 1);
        soon(count, NULL);
        FACT_INT(coil_join(coil_create_task(count_steps, NULL)), 0);
    }
    return 0;
}

LOOP(property_02_an_event_allocates_nothing_once_warm)
{
    FACT_INT(pipe(fds), 0);
    coil_task *t = start(every_kind_of_event, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 0);
    coil_unref(t);
    int64_t tried = coil__mem_tried();
    t = start(every_kind_of_event, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 0);
    coil_unref(t);
    FACT_INT(coil__mem_tried() - tried, 0);
    coil_loop_forget_fd(stage.loop, fds[0]);
    close(fds[0]);
    close(fds[1]);
}
#endif

/* ---- 3. asyncio's order ---- */

static void queue_more(void *arg)
{
    note_arg(arg);
    soon(note_arg, "next");
    coil_loop_stop(NULL);
}

static void read_byte(void *arg)
{
    char c;
    FACT_INT(read(*(int *)arg, &c, 1), 1);
    note("io");
}

LOOP(property_03_queued_then_io_then_timers_and_stop_finishes_the_turn)
{
    int p[2];
    FACT_INT(pipe(p), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, p[0], read_byte, &p[0]), 0);
    FACT_INT(write(p[1], "x", 1), 1);
    later(0, note_arg, "timer2");
    later(-1, note_arg, "timer1");
    soon(queue_more, "first");
    soon(note_arg, "second");
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("first second io timer1 timer2");
    one_turn();
    FACT_TRACE("next");
    coil_loop_remove_reader(stage.loop, p[0]);
    close(p[0]);
    close(p[1]);
}

/* ---- 4. bytes to be written are held, not copied, and released once ---- */

static void release(void *cookie)
{
    note("%s", (const char *)cookie);
}

TASK(property_04_a_write_holds_its_bytes_and_releases_them_once_from_the_loop)
{
    static char bytes[3000000];
    int pair[2];
    coil_sock *sock;
    coil_reader *reader;
    coil_writer *writer;
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    FACT_INT(coil_sock_adopt(NULL, pair[0], &sock), 0);
    FACT_INT(coil_open_connection_sock(sock, 0, &reader, &writer), 0);
    FACT_INT(coil_writer_write_owned(writer, "small", 5, release, TEXT("small")), 0);
    FACT_INT(coil_writer_write_owned(writer, bytes, sizeof bytes, release, TEXT("large")), 0);
    FACT_TRACE(""); /* never inside the call */
    pass();
    FACT_TRACE("small");
    bytes[sizeof bytes - 1] = 'z'; /* what is still held is read when it is sent */
    size_t got = 0;
    char last = 0;
    while (got < 5 + sizeof bytes) {
        static char buf[65536];
        ssize_t n = read(pair[1], buf, sizeof buf);
        if (n > 0) {
            got += (size_t)n;
            last = buf[n - 1];
        } else {
            FACT_TEXT(stage.log, "");
            pass();
        }
    }
    FACT_INT(last, 'z');
    pass();
    pass();
    FACT_TRACE("large");
    FACT_INT(coil_writer_finish(writer), 0); /* gives both faces back */
    FACT_TRACE("");
    close(pair[1]);
    return 0;
}

/* ---- 5. every cancel says whether the callback will still come ---- */

static int completions;
static int64_t completed_with;

static void completed(struct op *op)
{
    completions++;
    completed_with = op->result;
}

static void settle(struct backend *b)
{
    FACT_INT(b->cls->wait(b, 0), 0);
    for (struct op *op; (op = backend_reap(b));)
        op->done(op);
}

LOOP(property_05_a_cancel_says_whether_the_callback_will_come)
{
    int p[2];
    FACT_INT(pipe2(p, O_NONBLOCK), 0);
    FACT_INT(coil__loop_open_backend(stage.loop), 0);
    struct backend *b = stage.loop->backend;
    struct op op = {.kind = OP_POLL, .fd = p[0], .events = OP_IN, .done = completed};
    completions = 0;
    FACT_INT(b->cls->cancel(b, &op), -ENOENT); /* nothing was asked */

    b->cls->submit(b, &op);
    settle(b);
    int rc = b->cls->cancel(b, &op);
    FACT(rc == 0 || rc == -EINPROGRESS);
    settle(b);
    FACT_INT(completions, rc == 0 ? 0 : 1); /* 0: it will not come; else exactly once */
    FACT_INT(op.state, OP_IDLE);

    completions = 0;
    FACT_INT(write(p[1], "x", 1), 1);
    b->cls->submit(b, &op);
    FACT_INT(b->cls->wait(b, 0), 0); /* finished, and not reaped */
    FACT_INT(b->cls->cancel(b, &op), -EINPROGRESS);
    settle(b);
    FACT_INT(completions, 1);
    FACT_INT(completed_with, OP_IN); /* the result was quicker than the cancel */
    FACT_INT(b->cls->cancel(b, &op), -ENOENT);
    b->cls->calls.close(b, p[0]);
    close(p[1]);

    /* And of a callback: cancelled means that it never starts. */
    coil_handle *h;
    FACT_INT(coil_loop_call_soon(stage.loop, count, NULL, &h), 0);
    coil_handle_cancel(h);
    FACT(coil_handle_cancelled(h));
    coil_handle_unref(h);
}

/* ---- 6. no state of the process ---- */

static coil_ret nap(void *arg)
{
    (void)arg;
    return coil_sleep(0.5);
}

static coil_ret busy(void *arg)
{
    coil_ret rc = nap(arg);
    return rc < 0 ? rc : coil_join(coil_create_task(nap, NULL));
}

static void *run_a_loop(void *arg)
{
    (void)arg;
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_task_opts task_opts = {.size = sizeof task_opts, .loop = loop};
    coil_task *t = coil_create_task_opts(busy, NULL, &task_opts);
    coil_ret rc = coil_loop_run_until_complete(loop, t);
    coil_unref(t);
    coil_loop_free(loop);
    return (void *)rc;
}

static size_t signals_of_the_process(struct sigaction *out)
{
    size_t n = 0;
    for (int signo = 1; signo < NSIG; signo++)
        if (sigaction(signo, NULL, &out[n]) == 0)
            n++;
    return n;
}

PLAIN(property_06_a_loop_touches_nothing_of_the_process)
{
    static struct sigaction before[NSIG], after[NSIG];
    sigset_t mask_before, mask_after;
    size_t n = signals_of_the_process(before);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    unsigned threads = coil__thread_count();
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        FACT_INT(pthread_create(&t[i], NULL, run_a_loop, NULL), 0);
    FACT(run_a_loop(NULL) == NULL);
    for (int i = 0; i < 3; i++) {
        void *rc;
        pthread_join(t[i], &rc);
        FACT(rc == NULL);
    }
    FACT_INT(coil__thread_count(), threads); /* no threads unasked */
    FACT_INT(signals_of_the_process(after), n);
    for (size_t i = 0; i < n; i++)
        FACT(before[i].sa_handler == after[i].sa_handler &&
             before[i].sa_flags == after[i].sa_flags);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    for (int signo = 1; signo < NSIG; signo++)
        FACT_INT(sigismember(&mask_after, signo), sigismember(&mask_before, signo));
}

/* ---- 7. callbacks run on the thread's own stack; the core needs no coroutine ---- */

static const char *outside;
static size_t furthest;

static void where_am_i(void *arg)
{
    char here;
    ptrdiff_t distance = outside - &here;
    size_t away = (size_t)(distance < 0 ? -distance : distance);
    if (away > furthest)
        furthest = away;
    if (arg)
        coil_loop_stop(NULL);
}

static void where_is_done(coil_future *f, void *arg)
{
    (void)f;
    where_am_i(arg);
}

static coil_ret look(void *arg)
{
    soon(where_am_i, NULL); /* queued by a task, run between two tasks */
    FACT_INT(coil_sleep(0), 0);
    FACT_INT(coil_future_set_result(arg, 1), 0);
    return coil_sleep(0);
}

LOOP(property_07_callbacks_run_on_the_threads_own_stack)
{
    char here;
    coil_loop_stats_t s;
    outside = &here;
    furthest = 0;
    soon(where_am_i, NULL);
    later(1, where_am_i, NULL);
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_add_done_callback(f, where_is_done, NULL), 0);
    later(2, where_am_i, "stop");
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    coil_loop_stats(stage.loop, &s);
    FACT_INT(s.stacks_max, 0); /* a program of callbacks has no coroutine at all */
    FACT_INT(s.switches, 0);
    coil_task *a = start(look, f), *b = start(count_steps, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, a), 0);
    FACT_INT(coil_loop_run_until_complete(stage.loop, b), 0);
    one_turn();
    FACT(STAGE_ASAN || furthest < 16384); /* AddressSanitizer keeps locals elsewhere */
    coil_unref(a);
    coil_unref(b);
    coil_unref(f);
}

/* ---- 8. the close of a descriptor can be told ---- */

LOOP(property_08_a_descriptor_that_is_forgotten_may_be_closed_and_reused)
{
    int p[2], q[2];
    for (int round = 0; round < 20; round++) {
        FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p), 0);
        FACT_INT(coil_loop_add_reader(stage.loop, p[0], note_arg, TEXT("old")), 0);
        one_turn();
        int keep = dup(p[0]); /* the old file lives on elsewhere */
        coil_loop_forget_fd(stage.loop, p[0]);
        FACT_INT(close(p[0]), 0);
        FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, q), 0);
        FACT_INT(q[0], p[0]); /* the number again, for another file */
        FACT_INT(coil_loop_add_reader(stage.loop, q[0], note_arg, TEXT("new")), 0);
        FACT_INT(write(p[1], "x", 1), 1); /* something for the old one */
        one_turn();
        FACT_TRACE("");
        FACT_INT(write(q[1], "x", 1), 1);
        one_turn();
        FACT_TRACE("new");
        FACT_INT(coil_loop_remove_reader(stage.loop, q[0]), 1);
        close(q[0]);
        close(q[1]);
        close(p[1]);
        close(keep);
    }
}

static coil_ret forget_it(void *fd)
{
    coil_loop_forget_fd(NULL, *(int *)fd);
    return 0;
}

/* As a bad descriptor: nobody has cancelled anything. */
TASK(property_08_who_waits_for_a_descriptor_that_is_forgotten_is_told)
{
    int p[2];
    FACT_INT(pipe(p), 0);
    coil_task *t = start(forget_it, &p[0]);
    FACT_INT(coil_wait_fd(p[0], COIL_READ), -EBADF);
    FACT_INT(coil_last_error()->code, -EBADF);
    coil_unref(t);
    close(p[0]);
    close(p[1]);
    return 0;
}

/* ---- 9. fork ---- */

LOOP(property_09_a_child_of_fork_lets_go_and_begins_anew)
{
    FACT_INT(coil__loop_open_backend(stage.loop), 0);
    pid_t pid = fork();
    if (pid == 0) {
        stage.broken = 0;
        FACT_INT(coil_loop_run_forever(stage.loop), COIL_EWRONGTHREAD);
        coil_loop_fork_child(stage.loop);
        FACT(coil_loop_is_closed(stage.loop));
        FACT(run_a_loop(NULL) == NULL);
        _exit(stage.broken);
    }
    int status = -1;
    FACT(waitpid(pid, &status, 0) == pid);
    FACT_INT(status, 0);
    soon(note_arg, "parent");
    one_turn();
    FACT_TRACE("parent");
}

/* ---- 10. errors are -errno ---- */

TASK(property_10_errors_of_the_kernel_are_its_own_numbers)
{
    FACT_INT(coil_loop_add_reader(NULL, -1, count, NULL), -EBADF);
    FACT_INT(coil_wait_fd(-1, COIL_READ), -EBADF);
    FACT_INT(coil_last_error()->code, -EBADF);
    FACT_TEXT(coil_errname(-EBADF), "EBADF");
    FACT_INT(coil_sleep(__builtin_nan("")), -EINVAL);
    coil_future *f = coil_loop_create_future(NULL);
    coil_future_cancel(f, NULL);
    FACT_INT(coil_join(f), -ECANCELED);
    coil_sock *sock;
    FACT_INT(coil_sock_adopt(NULL, -1, &sock), -EBADF);
#if STAGE_TABLE
    coil__mem_fail_at(1, 0);
    FACT_INT(coil_loop_call_soon(NULL, count, NULL, &(coil_handle *){NULL}), -ENOMEM);
    coil__mem_fail_at(0, 0);
#endif
    /* None of coil's own numbers is one of the kernel's. */
    for (coil_ret code = COIL_EINTERRUPTED; code <= COIL_EINVALIDSTATE; code++)
        FACT(coil__errno_name((int)-code) == NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(property_01_no_callback_runs_inside_a_call),
#if STAGE_TABLE
        cmocka_unit_test(property_02_an_event_allocates_nothing_once_warm),
#endif
        cmocka_unit_test(property_03_queued_then_io_then_timers_and_stop_finishes_the_turn),
        cmocka_unit_test(property_04_a_write_holds_its_bytes_and_releases_them_once_from_the_loop),
        cmocka_unit_test(property_05_a_cancel_says_whether_the_callback_will_come),
        cmocka_unit_test(property_06_a_loop_touches_nothing_of_the_process),
        cmocka_unit_test(property_07_callbacks_run_on_the_threads_own_stack),
        cmocka_unit_test(property_08_a_descriptor_that_is_forgotten_may_be_closed_and_reused),
        cmocka_unit_test(property_08_who_waits_for_a_descriptor_that_is_forgotten_is_told),
        cmocka_unit_test(property_09_a_child_of_fork_lets_go_and_begins_anew),
        cmocka_unit_test(property_10_errors_of_the_kernel_are_its_own_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
