/* SPDX-License-Identifier: MIT
 *
 * signals.c: what asyncio's tests say of signals, told again: test_events.py (test_signal_*), test_unix_events.py
 * (SelectorEventLoopSignalTests, TestFork); then floods, several loops, and storms of all of it.
 *
 * T56, T58. */
#include "play.h"

#include "base/mem.h"
#include "base/thread.h"

#include <coil.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_default(int signo)
{
    struct sigaction now;
    return sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

static void note_text(void *text)
{
    note("%s", (const char *)text);
}

static void handle(int signo, const char *text)
{
    assert_int_equal(coil_loop_add_signal_handler(NULL, signo, note_text, (void *)(uintptr_t)text),
                     0);
}

/* ---- test_events.py ---- */

PLAY(test_add_signal_handler)
{
    assert_int_equal(coil_loop_add_signal_handler(NULL, -1, note_text, NULL), -EINVAL);
    assert_int_equal(coil_loop_add_signal_handler(NULL, NSIG, note_text, NULL), -EINVAL);
    assert_int_equal(coil_loop_add_signal_handler(NULL, SIGKILL, note_text, NULL), -EINVAL);
    assert_int_equal(coil_loop_remove_signal_handler(NULL, NSIG), -EINVAL);
    assert_int_equal(coil_loop_remove_signal_handler(NULL, SIGKILL), 0);

    handle(SIGUSR1, "caught");
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    turn();
    turn();
    assert_trace("caught");
    assert_int_equal(coil_loop_remove_signal_handler(NULL, SIGUSR1), 1);
    assert_true(is_default(SIGUSR1));
    assert_int_equal(coil_loop_remove_signal_handler(NULL, SIGUSR1), 0);
}

static coil_event caught;

static void set_caught(void *arg)
{
    note("caught");
    coil_event_set(&caught);
}

/* By the interval timer: the loop stands in the kernel when it comes, on the imaginary one as well. */
PLAY(test_signal_handling_while_selecting)
{
    struct itimerval soon_after = {.it_value = {.tv_usec = 10000}};
    caught = (coil_event){0};
    assert_int_equal(coil_loop_add_signal_handler(NULL, SIGALRM, set_caught, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &soon_after, NULL), 0);
    assert_int_equal(coil_event_wait(&caught), 0);
    assert_trace("caught");
}

PLAY(test_signal_handling_args)
{
    handle(SIGUSR1, "some");
    handle(SIGUSR2, "args");
    raise(SIGUSR1);
    raise(SIGUSR2);
    turn();
    turn();
    assert_trace("some args");
}

/* ---- test_unix_events.py ---- */

PLAY(test_check_signal)
{
    assert_int_equal(coil_loop_add_signal_handler(NULL, 0, note_text, NULL), -EINVAL);
    assert_int_equal(coil_loop_add_signal_handler(NULL, NSIG + 1, note_text, NULL), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "there is no signal"));
}

PLAY(test_handle_signal_no_handler)
{
    assert_int_equal(coil_loop_remove_signal_handler(NULL, SIGUSR1), 0);
    turn();
    assert_trace("");
}

static void remove_it(void *arg)
{
    assert_int_equal(coil_loop_remove_signal_handler(NULL, SIGUSR2), 1);
    note("removed");
}

/* It waits for its turn when its handler goes. */
PLAY(test_handle_signal_cancelled_handler)
{
    assert_int_equal(coil_loop_add_signal_handler(NULL, SIGUSR1, remove_it, NULL), 0);
    handle(SIGUSR2, "never");
    raise(SIGUSR1);
    raise(SIGUSR2);
    turn();
    turn();
    assert_trace("removed");
    assert_true(is_default(SIGUSR2));
}

PLAY(test_add_signal_handler_setup_error)
{
    assert_int_equal(coil_loop_add_signal_handler(NULL, SIGRTMIN - 1, note_text, NULL), -EINVAL);
    assert_int_equal(coil_loop_remove_signal_handler(NULL, SIGRTMIN - 1),
                     0); /* nothing was left behind */
}

PLAY(test_remove_signal_handler)
{
    handle(SIGHUP, "hup");
    handle(SIGUSR1, "usr1");
    assert_int_equal(coil_loop_remove_signal_handler(NULL, SIGHUP), 1);
    assert_true(is_default(SIGHUP));
    assert_false(is_default(SIGUSR1));
    raise(SIGUSR1);
    turn();
    turn();
    assert_trace("usr1");
}

static coil_ret leave_handlers(void *arg)
{
    handle(SIGHUP, "hup");
    handle(SIGUSR1, "usr1");
    return is_default(SIGHUP);
}

COIL_TEST_PLAIN(test_close)
{
    assert_int_equal(coil_run(leave_handlers, NULL), 0);
    assert_true(is_default(SIGHUP) && is_default(SIGUSR1));
}

/* ---- TestFork ---- */

static int status_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* A child that keeps its parent's handler and dies of the signal all the same; the parent hears nothing. */
PLAY(test_fork_signal_handling)
{
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    handle(SIGTERM, "parent");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(write(ready[1], "x", 1) != 1 || pause());
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(kill(pid, SIGTERM), 0);
    int status = status_of(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    turn();
    turn();
    assert_trace("");
    raise(SIGTERM);
    turn();
    turn();
    assert_trace("parent");
    close(ready[0]);
    close(ready[1]);
}

static coil_ret forty_two(void *arg)
{
    coil_ret rc = coil_sleep(0.01);
    return coil_iserr(rc) ? rc : 42;
}

PLAY(test_fork_asyncio_run)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit((int)coil_run(forty_two, NULL));
    int status = status_of(pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    assert_int_equal(coil_sleep(0.01), 0);
}

/* ---- signals that a test sends ---- */

static void raise_by_hand(void *signo)
{
    assert_int_equal(coil_test_raise((int)(intptr_t)signo), 0);
}

PLAY(signal_of_a_test_is_as_one_of_the_kernels)
{
    assert_int_equal(coil_test_raise(SIGTERM), -ESRCH); /* and nobody died of it */
    assert_int_equal(coil_test_raise(SIGKILL), -ESRCH);
    assert_int_equal(coil_test_raise(0), -ESRCH);
    caught = (coil_event){0};
    assert_int_equal(coil_loop_add_signal_handler(NULL, SIGTERM, set_caught, NULL), 0);
    later(3600, raise_by_hand, (void *)(intptr_t)SIGTERM);
    double before = coil_loop_time(NULL);
    assert_int_equal(coil_event_wait(&caught), 0);
    assert_true(coil_loop_time(NULL) - before >= 3600);
    assert_true(coil_loop_time(NULL) - before < 3601);
    assert_trace("caught");
}

/* ---- floods ---- */

enum { MANY = 1000000 };

static void count_one(void *n)
{
    ++*(long *)n;
}

/* Standard signals are one while they wait, and while the program looks the other way they cost nothing. */
PLAY(a_million_signals_at_a_time_are_one)
{
    long n = 0;
    assert_int_equal(coil_loop_add_signal_handler(NULL, SIGUSR1, count_one, &n), 0);
    int64_t memory = coil__mem_live();
    pid_t self = getpid();
    for (int i = 0; i < MANY; i++)
        kill(self, SIGUSR1);
    assert_int_equal(coil__mem_live(), memory);
    turn();
    turn();
    assert_int_equal(n, 1);
}

/* Real-time signals are counted; other callbacks have their turns between them. */
PLAY(a_hundred_thousand_real_time_signals_are_all_there)
{
    long n = 0, turns = 0;
    assert_int_equal(coil_loop_add_signal_handler(NULL, SIGRTMIN, count_one, &n), 0);
    int64_t memory = coil__mem_live();
    for (int i = 0; i < MANY / 10; i++)
        raise(SIGRTMIN);
    assert_int_equal(coil__mem_live(), memory);
    for (; n < MANY / 10; turns++)
        turn();
    assert_true(turns >= MANY / 10 - 1);
    assert_int_equal(n, MANY / 10);
}

struct flood {
    pthread_t thread;
    atomic_bool over;
    int signo;
};

static void *flood(void *arg)
{
    struct flood *f = arg;
    for (int i = 0; i < MANY / 20; i++)
        kill(getpid(), f->signo);
    atomic_store(&f->over, true);
    return NULL;
}

/* From two other threads, while the loop works: tasks and timers go on, and the last signal is seen. */
PLAY(a_flood_of_signals_holds_nobody_up)
{
    /* There signals are held back round a switch, and one that the kernel still has when the handlers are removed does
     * what it does by default. */
    if (UNDER_TSAN)
        skip();
    static struct flood floods[2] = {{.signo = SIGUSR1}, {.signo = SIGUSR2}};
    long n[2] = {0};
    int64_t memory = coil__mem_live();
    for (int i = 0; i < 2; i++) {
        floods[i].over = false;
        assert_int_equal(coil_loop_add_signal_handler(NULL, floods[i].signo, count_one, &n[i]), 0);
        assert_int_equal(pthread_create(&floods[i].thread, NULL, flood, &floods[i]), 0);
    }
    int naps = 0;
    while (!atomic_load(&floods[0].over) || !atomic_load(&floods[1].over)) {
        assert_int_equal(coil_sleep(0.0001), 0);
        naps++;
    }
    pthread_join(floods[0].thread, NULL);
    pthread_join(floods[1].thread, NULL);
    assert_true(naps > 0);
    long before[2] = {n[0], n[1]};
    raise(SIGUSR1);
    raise(SIGUSR2);
    turn();
    turn();
    for (int i = 0; i < 2; i++) {
        assert_true(n[i] > before[i]);
        assert_int_equal(coil_loop_remove_signal_handler(NULL, floods[i].signo), 1);
    }
    assert_true(coil__mem_live() - memory < 1 << 16);
}

/* ---- loops in several threads ---- */

struct member {
    pthread_t thread;
    int signo;
    bool was_there;
    coil_ret rc;
};

static pthread_barrier_t all_there;

static void stop(void *future)
{
    coil_future_set_result(future, 1);
}

static coil_ret wait_for_ones_signal(void *arg)
{
    struct member *m = arg;
    coil_future *f = coil_loop_create_future(NULL);
    int err = coil_loop_add_signal_handler(NULL, m->signo, stop, f);
    m->was_there = true;
    pthread_barrier_wait(&all_there);
    if (err) {
        coil_unref(f);
        return err;
    }
    coil_ret rc = coil_await(f);
    coil_loop_remove_signal_handler(NULL, m->signo);
    coil_unref(f);
    return rc;
}

static void *be_a_member(void *arg)
{
    struct member *m = arg;
    m->rc = coil_run(wait_for_ones_signal, m);
    if (!m->was_there) /* the others are not kept waiting */
        pthread_barrier_wait(&all_there);
    return NULL;
}

COIL_TEST_PLAIN(loops_in_several_threads_each_have_their_signal)
{
    struct member members[] = {
        {.signo = SIGUSR1}, {.signo = SIGUSR2}, {.signo = SIGHUP}, {.signo = SIGRTMIN}};
    pthread_barrier_init(&all_there, NULL, 5);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&members[i].thread, NULL, be_a_member, &members[i]), 0);
    pthread_barrier_wait(&all_there);
    for (int i = 3; i >= 0; i--)
        if (!is_default(members[i].signo)) /* else it would end us, and be no answer */
            kill(getpid(), members[i].signo);
    for (int i = 0; i < 4; i++) {
        pthread_join(members[i].thread, NULL);
        assert_int_equal(members[i].rc, 1);
        assert_true(is_default(members[i].signo));
    }
    pthread_barrier_destroy(&all_there);
}

/* ---- a storm ---- */

/* Handlers come, go and change while signals fall, children are made and die: every callback belongs to a handler
 * that is there, and in the end all actions are what they were. */
struct storm {
    bool on[4];
    long calls[4], stray;
    unsigned state;
};
static struct storm storm;
static const int storm_signals[4] = {0, 1, 2, 3};

static int signo_of(int i)
{
    return i < 2 ? (i ? SIGUSR2 : SIGUSR1) : SIGRTMIN + i;
}

static void storm_call(void *arg)
{
    int i = *(const int *)arg;
    storm.calls[i]++;
    storm.stray += !storm.on[i];
}

static unsigned draw(unsigned n)
{
    storm.state = storm.state * 1664525 + 1013904223;
    return (storm.state >> 16) % n;
}

static void storm_child(void)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 4; i++)
            if (!is_default(signo_of(i)) && storm.on[i])
                _exit(1);
        _exit(0);
    }
    assert_int_equal(status_of(pid), 0);
}

PLAY(storm_of_signals_and_handlers)
{
    for (unsigned seed = 1; seed <= 20; seed++) {
        storm = (struct storm){.state = seed};
        for (int step = 0; step < 500; step++) {
            int i = (int)draw(4);
            switch (draw(6)) {
            case 0:
            case 1:
                if (storm.on[i])
                    raise(signo_of(i));
                break;
            case 2:
                assert_int_equal(coil_loop_add_signal_handler(NULL, signo_of(i), storm_call,
                                                              (void *)(uintptr_t)&storm_signals[i]),
                                 0);
                storm.on[i] = true;
                break;
            case 3:
                assert_int_equal(coil_loop_remove_signal_handler(NULL, signo_of(i)), storm.on[i]);
                storm.on[i] = false;
                assert_true(is_default(signo_of(i)));
                break;
            case 4: turn(); break;
            default:
                if (draw(40) == 0)
                    storm_child();
            }
        }
        for (int i = 0; i < 4; i++)
            coil_loop_remove_signal_handler(NULL, signo_of(i));
        turn();
        assert_int_equal(storm.stray, 0);
        assert_true(storm.calls[0] + storm.calls[1] + storm.calls[2] + storm.calls[3] > 10);
    }
}

COIL_TEST_MAIN()
