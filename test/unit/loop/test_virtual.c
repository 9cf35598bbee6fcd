/* SPDX-License-Identifier: MIT
 *
 * test_virtual.c: time that jumps, and the certainty that nothing will ever happen. */
#include "loop/loop.h"

#include "../loop/stage.h"
#include "base/thread.h"
#include "test.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/time.h>

static int64_t real_ms(void)
{
    return coil__clock_real_ns() / NS_PER_MS;
}

/* ---- the clock ---- */

TASK(clock_jumps_to_the_next_timer)
{
    int64_t began = real_ms();
    double before = now();
    FACT_INT(coil_sleep(365 * 24 * 3600.0), 0);
    FACT(about(now() - before, 365 * 24 * 3600.0));
    FACT(real_ms() - began < 5000);
    return 0;
}

static void note_time(void *arg)
{
    note("%s@%g", (const char *)arg, now());
}

LOOP(clock_shows_each_timer_its_own_time)
{
    later(1, note_time, "a");
    later(0.25, note_time, "b");
    later(1, note_time, "c");
    later(3600, note_time, "d");
    later(7200, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("b@0.25 a@1 c@1 d@3600");
}

static int left;

static void spin(void *arg)
{
    if (--left > 0)
        soon(spin, arg);
    else
        note_time(arg);
}

LOOP(clock_stands_still_while_anything_is_ready)
{
    left = 1000;
    soon(spin, "spun");
    later(0.001, note_time, "timer");
    later(1, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("spun@0 timer@0.001");
}

TASK(clock_is_the_same_in_each_run)
{
    for (int i = 0; i < 3; i++)
        FACT_INT(coil_sleep(0.1), 0);
    FACT(now() == 0.3 || about(now(), 0.3));
    FACT_INT((int64_t)(now() * 1e9 + 0.5), 300000000);
    return 0;
}

/* ---- somebody outside may still act ---- */

static void finish_job(void *arg)
{
    stage.loop->jobs--;
    note_arg(arg);
}

static void work(void *arg)
{
    usleep(5000);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, finish_job, arg, NULL), 0);
}

LOOP(clock_waits_for_a_threads_job)
{
    struct thread t;
    stage.loop->jobs++;
    FACT_INT(coil__thread_start(&t, "test", work, TEXT("job")), 0);
    later(30, note_arg, "timer");
    later(31, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    coil__thread_join(&t);
    FACT_TRACE("job timer");
    FACT(about(now(), 31));
}

LOOP(clock_moves_by_the_time_a_job_takes)
{
    struct thread t;
    stage.loop->jobs++;
    FACT_INT(coil__thread_start(&t, "test", work, TEXT("job")), 0);
    later(0.0001, note_arg, "early timer");
    later(100, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    coil__thread_join(&t);
    FACT_HAS(stage.log, "early timer"); /* which is first is the machine's affair */
    FACT_HAS(stage.log, "job");
    FACT(about(now(), 100));
    stage.log[0] = '\0';
}

static void read_and_stop(void *arg)
{
    char c;
    FACT_INT(read(*(int *)arg, &c, 1), 1);
    note(now() < 0.001 ? "read at once" : "read late");
    coil_loop_remove_reader(NULL, *(int *)arg);
}

LOOP(clock_looks_at_real_descriptors_before_it_jumps)
{
    int fds[2];
    FACT_INT(pipe(fds), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], read_and_stop, &fds[0]), 0);
    FACT_INT(write(fds[1], "x", 1), 1);
    later(10, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("read at once");
    close(fds[0]);
    close(fds[1]);
}

/* ---- outside of turns ---- */

static struct backend_class with_an_event;
static int64_t event_ns;
static int settled_n;

static int64_t the_event_ns(struct backend *b)
{
    (void)b;
    return event_ns;
}

static int look_or_sleep(struct backend *b, int64_t timeout_ns)
{
    (void)b;
    note(timeout_ns == 0 ? "looks" : "sleeps");
    if (now() >= 7 && event_ns != CLOCK_FOREVER)
        event_ns = CLOCK_FOREVER;
    else
        settled_n++;
    return 0;
}

static bool is_settled(void *arg)
{
    (void)arg;
    return settled_n > 0;
}

/* As a loop that is closed waits for the kernel's last word on what its tasks had asked for. */
LOOP(settling_goes_to_the_next_event_and_does_not_sleep)
{
    one_turn();
    const struct backend_class *cls = stage.loop->backend->cls;
    with_an_event = *cls;
    with_an_event.next_event_ns = the_event_ns;
    with_an_event.wait = look_or_sleep;
    stage.loop->backend->cls = &with_an_event;
    settled_n = 0;
    event_ns = 7 * NS_PER_S;
    coil__loop_settle(stage.loop, is_settled, NULL);
    stage.loop->backend->cls = cls;
    FACT_TRACE("looks looks"); /* at the event, and when there is none in sight */
    FACT(about(now(), 7));
}

/* ---- nothing left can wake anyone ---- */

static coil_future *never;

static coil_ret wait_for_never(void *arg)
{
    (void)arg;
    return coil_await(never);
}

static void deadlock_of_two_tasks(void)
{
    if (!deadlocks_are_certain())
        return;
    never = coil_loop_create_future(stage.loop);
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = "alice"};
    coil_task *a = coil_create_task_opts(wait_for_never, NULL, &opts);
    opts.name = "bob";
    coil_task *b = coil_create_task_opts(wait_for_never, NULL, &opts);
    FACT_INT(coil_loop_run_until_complete(stage.loop, a), COIL_EDEADLOCK);
    FACT_ERROR(COIL_EDEADLOCK, "alice waits for future; bob waits for future;");
    FACT(!coil_loop_is_running(stage.loop));
    /* Nothing is lost: it goes on when somebody does something. */
    FACT_INT(coil_future_set_result(never, 7), 0);
    FACT_INT(coil_loop_run_until_complete(stage.loop, a), 7);
    FACT_INT(coil_loop_run_until_complete(stage.loop, b), 7);
    coil_unref(a);
    coil_unref(b);
    coil_unref(never);
}

LOOP(deadlock_names_who_waits_for_what)
{
    deadlock_of_two_tasks();
}

REAL(deadlock_is_certain_by_the_real_clock_as_well)
{
    deadlock_of_two_tasks();
}

static int leave_pipe[2];
static const struct backend_class *own_class;

static void *leaves_when_told(void *arg)
{
    char c;
    FACT(read(leave_pipe[0], &c, 1) == 1);
    return arg;
}

static int tell_it_to_leave(struct backend *b, int64_t timeout_ns)
{
    static bool told;
    if (timeout_ns != 0 && !told) {
        told = true;
        FACT(write(leave_pipe[1], "", 1) == 1);
    }
    return own_class->wait(b, timeout_ns);
}

/* The loop has fallen asleep since the thread might have woken it, and nobody tells that it ended. */
REAL(deadlock_is_certain_once_the_last_thread_has_left)
{
    pthread_t t;
    if (!deadlocks_are_certain())
        return;
    one_turn(); /* the backend is open */
    FACT(pipe(leave_pipe) == 0);
    FACT_INT(pthread_create(&t, NULL, leaves_when_told, NULL), 0);
    own_class = stage.loop->backend->cls;
    struct backend_class tells = *own_class;
    tells.wait = tell_it_to_leave;
    stage.loop->backend->cls = &tells;
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_EDEADLOCK);
    stage.loop->backend->cls = own_class;
    coil_unref(f);
    FACT_INT(pthread_join(t, NULL), 0);
    close(leave_pipe[0]);
    close(leave_pipe[1]);
}

LOOP(deadlock_without_tasks)
{
    if (!deadlocks_are_certain())
        return;
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_EDEADLOCK);
    FACT_ERROR(COIL_EDEADLOCK, "there are no tasks");
    coil_unref(f);
}

static coil_future *promised;

static void keep_promise(void *arg)
{
    note_arg(arg);
    FACT_INT(coil_future_set_result(promised, 1), 0);
}

static void keep_promise_elsewhere(void *arg)
{
    usleep(5000);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, keep_promise, arg, NULL), 0);
}

LOOP(deadlock_is_not_certain_while_another_thread_lives)
{
    struct thread t;
    promised = coil_loop_create_future(stage.loop);
    FACT_INT(coil__thread_start(&t, "test", keep_promise_elsewhere, TEXT("thread")), 0);
    /* One of coil's own threads that is busy; the job queue says so in earnest. */
    coil__thread_busy_add(1);
    FACT_INT(coil_loop_run_until_complete(stage.loop, promised), 1);
    coil__thread_busy_add(-1);
    coil__thread_join(&t);
    FACT_TRACE("thread");
    coil_unref(promised);
}

static void *foreign_thread(void *arg)
{
    keep_promise_elsewhere(arg);
    return NULL;
}

LOOP(deadlock_is_not_certain_while_a_foreign_thread_lives)
{
    pthread_t t;
    promised = coil_loop_create_future(stage.loop);
    FACT_INT(pthread_create(&t, NULL, foreign_thread, TEXT("foreign")), 0);
    FACT_INT(coil_loop_run_until_complete(stage.loop, promised), 1);
    pthread_join(t, NULL);
    FACT_TRACE("foreign");
    coil_unref(promised);
}

static void (*as_threads_are_counted)(void);

/* Ours comes before the C library's: much may happen while somebody counts threads. */
DIR *opendir(const char *name)
{
    void (*then)(void) = as_threads_are_counted;
    as_threads_are_counted = NULL;
    if (then)
        then();
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? NULL : fdopendir(fd);
}

static void a_thread_posts_and_ends(void)
{
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, keep_promise, TEXT("just in time"), NULL),
             0);
}

LOOP(deadlock_is_not_certain_when_somebody_posts_while_threads_are_counted)
{
    if (!deadlocks_are_certain())
        return;
    promised = coil_loop_create_future(stage.loop);
    as_threads_are_counted = a_thread_posts_and_ends;
    FACT_INT(coil_loop_run_until_complete(stage.loop, promised), 1);
    FACT_TRACE("just in time");
    coil_unref(promised);
}

LOOP(deadlock_is_not_certain_while_a_timer_is_set)
{
    promised = coil_loop_create_future(stage.loop);
    later(1e6, keep_promise, "timer");
    FACT_INT(coil_loop_run_until_complete(stage.loop, promised), 1);
    FACT_TRACE("timer");
    coil_unref(promised);
}

static void read_and_keep(void *arg)
{
    coil_loop_remove_reader(NULL, *(int *)arg);
    keep_promise(TEXT("reader"));
}

static int fds[2];

static void write_late(void *arg)
{
    (void)arg;
    usleep(3000);
    FACT_INT(write(fds[1], "x", 1), 1);
}

LOOP(deadlock_is_not_certain_while_a_descriptor_is_watched)
{
    struct thread t;
    FACT_INT(pipe(fds), 0);
    promised = coil_loop_create_future(stage.loop);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], read_and_keep, &fds[0]), 0);
    FACT_INT(coil__thread_start(&t, "test", write_late, NULL), 0);
    FACT_INT(coil_loop_run_until_complete(stage.loop, promised), 1);
    coil__thread_join(&t);
    FACT_TRACE("reader");
    coil_unref(promised);
    close(fds[0]);
    close(fds[1]);
}

static coil_loop *to_stop;

static void stop_by_signal(int signo)
{
    (void)signo;
    coil_loop_stop(to_stop);
    coil_loop_wakeup(to_stop);
}

LOOP(deadlock_is_not_certain_while_a_signal_may_come)
{
    struct sigaction old, act = {.sa_handler = stop_by_signal};
    struct itimerval soon_after = {.it_value = {.tv_usec = 5000}};
    coil_future *f = coil_loop_create_future(stage.loop);
    to_stop = stage.loop;
    stage.loop->wakers++; /* as somebody who handles signals says */
    sigaction(SIGALRM, &act, &old);
    setitimer(ITIMER_REAL, &soon_after, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_ESTOPPED);
    sigaction(SIGALRM, &old, NULL);
    stage.loop->wakers--;
    coil_unref(f);
}

static coil_ret run_again(void *arg)
{
    coil_future *f = coil_loop_create_future(NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_ERUNNING);
    coil_unref(f);
    return coil_await((coil_future *)arg);
}

LOOP(deadlock_is_still_seen_after_a_run_inside_a_run_was_refused)
{
    if (!deadlocks_are_certain())
        return;
    coil_future *f = coil_loop_create_future(stage.loop);
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *t = coil_create_task_opts(run_again, f, &opts);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), COIL_EDEADLOCK);
    FACT_INT(coil_future_set_result(f, 3), 0);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 3);
    coil_unref(t);
    coil_unref(f);
}

static void stop_late(void *arg)
{
    usleep(3000);
    FACT_INT(coil_loop_call_soon_threadsafe(arg, stop_loop, arg, NULL), 0);
}

LOOP(deadlock_is_never_reported_by_run_forever)
{
    struct thread t;
    FACT_INT(coil__thread_start(&t, "test", stop_late, stage.loop), 0);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    coil__thread_join(&t);
}

LOOP(clock_of_an_iteration_does_not_jump_while_a_job_runs)
{
    later(30, note_arg, "timer");
    stage.loop->jobs++;
    FACT_INT(coil_loop_iterate(stage.loop), 0);
    FACT(about(now(), 0));
    stage.loop->jobs--;
    stage.loop->wakers++;
    FACT_INT(coil_loop_iterate(stage.loop), 0);
    FACT(about(now(), 0));
    stage.loop->wakers--;
    FACT_INT(coil_loop_iterate(stage.loop), 1);
    FACT(about(now(), 30));
    FACT_TRACE("timer");
}

LOOP(clock_has_no_way_to_go_to_a_timer_that_is_due)
{
    coil_handle *h;
    FACT_INT(coil_loop_call_at(stage.loop, now(), note_arg, TEXT("due"), &h), 0);
    FACT_INT(coil_loop_collect(stage.loop, 5), 0);
    FACT(about(now(), 0));
    FACT_INT(coil_loop_dispatch(stage.loop), 1);
    FACT_TRACE("due");
    coil_handle_unref(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_jumps_to_the_next_timer),
        cmocka_unit_test(clock_shows_each_timer_its_own_time),
        cmocka_unit_test(clock_stands_still_while_anything_is_ready),
        cmocka_unit_test(clock_is_the_same_in_each_run),
        cmocka_unit_test(clock_waits_for_a_threads_job),
        cmocka_unit_test(clock_moves_by_the_time_a_job_takes),
        cmocka_unit_test(clock_looks_at_real_descriptors_before_it_jumps),
        cmocka_unit_test(deadlock_names_who_waits_for_what),
        cmocka_unit_test(deadlock_is_certain_by_the_real_clock_as_well),
        cmocka_unit_test(deadlock_is_certain_once_the_last_thread_has_left),
        cmocka_unit_test(deadlock_without_tasks),
        cmocka_unit_test(deadlock_is_not_certain_while_another_thread_lives),
        cmocka_unit_test(deadlock_is_not_certain_while_a_foreign_thread_lives),
        cmocka_unit_test(settling_goes_to_the_next_event_and_does_not_sleep),
        cmocka_unit_test(deadlock_is_not_certain_when_somebody_posts_while_threads_are_counted),
        cmocka_unit_test(deadlock_is_not_certain_while_a_timer_is_set),
        cmocka_unit_test(deadlock_is_not_certain_while_a_descriptor_is_watched),
        cmocka_unit_test(deadlock_is_not_certain_while_a_signal_may_come),
        cmocka_unit_test(deadlock_is_still_seen_after_a_run_inside_a_run_was_refused),
        cmocka_unit_test(deadlock_is_never_reported_by_run_forever),
        cmocka_unit_test(clock_of_an_iteration_does_not_jump_while_a_job_runs),
        cmocka_unit_test(clock_has_no_way_to_go_to_a_timer_that_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
