/* SPDX-License-Identifier: MIT
 *
 * test_loop.c: making a loop, finding the right one, asking it, closing it. */
#include "loop/loop.h"

#include "../loop/stage.h"
#include "base/sys.h"
#include "base/thread.h"

/* ---- which loop ---- */

PLAIN(loop_nobody_made_is_nobodys)
{
    FACT(coil_get_running_loop() == NULL);
    FACT(coil_get_event_loop() == NULL);
    FACT_ERROR(COIL_ENOLOOP, "no running event loop");
}

LOOP(loop_set_is_the_threads_and_not_running)
{
    FACT(coil_get_event_loop() == NULL); /* making one sets nothing */
    coil_set_event_loop(stage.loop);
    FACT(coil_get_event_loop() == stage.loop);
    FACT(coil_get_running_loop() == NULL);
    FACT_INT(coil_loop_call_soon(NULL, note_arg, TEXT("a"), NULL), 0); /* NULL means that one */
    coil_loop_stop(NULL);
    FACT_INT(coil_loop_run_forever(NULL), 0);
    FACT_TRACE("a");
    coil_set_event_loop(NULL);
    FACT(coil_get_event_loop() == NULL);
}

static void look(void *arg)
{
    FACT(coil_get_running_loop() == stage.loop);
    FACT(coil_get_event_loop() == stage.loop); /* running beats set */
    coil_set_event_loop(arg);
    FACT(coil_get_event_loop() == stage.loop);
    note("looked");
}

LOOP(loop_running_beats_the_one_that_was_set)
{
    coil_loop *other = stage_new_loop(true);
    coil_set_event_loop(other);
    soon(look, other);
    one_turn();
    FACT_TRACE("looked");
    FACT(coil_get_event_loop() == other);
    coil_loop_free(other);
    FACT(coil_get_event_loop() == NULL); /* a closed loop is nobody's current one */
}

static void look_elsewhere(void *arg)
{
    FACT(coil_get_event_loop() == NULL);
    coil_set_event_loop(arg);
    FACT(coil_get_event_loop() == arg);
    coil_set_event_loop(NULL);
}

LOOP(loop_set_is_set_for_one_thread_only)
{
    struct thread t;
    coil_set_event_loop(stage.loop);
    FACT_INT(coil__thread_start(&t, "test", look_elsewhere, stage.loop), 0);
    coil__thread_join(&t);
    FACT(coil_get_event_loop() == stage.loop);
}

/* ---- several loops ---- */

static void note_loop(void *arg)
{
    note("%s:%s", (const char *)arg, (const char *)coil_loop_data(NULL));
}

LOOP(loops_take_turns)
{
    coil_loop *other = stage_new_loop(true);
    coil_loop_set_data(stage.loop, TEXT("one"));
    coil_loop_set_data(other, TEXT("two"));
    for (int i = 0; i < 2; i++) {
        soon(note_loop, "a");
        FACT_INT(coil_loop_call_soon(other, note_loop, TEXT("b"), NULL), 0);
        one_turn();
        coil_loop_stop(other);
        FACT_INT(coil_loop_run_forever(other), 0);
    }
    FACT_TRACE("a:one b:two a:one b:two");
    coil_loop_free(other);
}

static void run_own_loop(void *arg)
{
    coil_loop *loop = stage_new_loop(true);
    *(coil_loop **)arg = loop;
    FACT_INT(coil_loop_call_soon(loop, stop_loop, loop, NULL), 0);
    FACT_INT(coil_loop_run_forever(loop), 0);
    coil_loop_free(loop);
}

LOOP(loops_run_in_threads_of_their_own)
{
    struct thread t[4];
    coil_loop *loops[4];
    for (int i = 0; i < 4; i++)
        FACT_INT(coil__thread_start(&t[i], "test", run_own_loop, &loops[i]), 0);
    one_turn();
    for (int i = 0; i < 4; i++)
        coil__thread_join(&t[i]);
}

static void run_this_loop(void *arg)
{
    FACT_INT(coil_loop_call_soon(arg, note_arg, TEXT("elsewhere"), NULL), 0);
    coil_loop_stop(arg);
    FACT_INT(coil_loop_run_forever(arg), 0);
}

LOOP(loop_may_be_run_by_one_thread_after_another)
{
    struct thread t;
    soon(note_arg, "here");
    one_turn();
    FACT_INT(coil__thread_start(&t, "test", run_this_loop, stage.loop), 0);
    coil__thread_join(&t);
    soon(note_arg, "here again");
    one_turn();
    FACT_TRACE("here elsewhere here again");
}

/* ---- options ---- */

PLAIN(backend_is_chosen_by_name)
{
    static const char *const names[] = {"epoll", "poll", "sim"};
    for (int i = 0; i < 3; i++) {
        coil_run_opts opts = {.size = sizeof opts, .backend = names[i]};
        coil_loop *loop = coil_new_event_loop(&opts);
        FACT_TEXT(coil_loop_backend(loop), names[i]);
        coil_loop_free(loop);
    }
    coil_run_opts opts = {.size = sizeof opts, .backend = "kqueue"};
    FACT(coil_new_event_loop(&opts) == NULL);
    FACT_ERROR(-EINVAL, "no backend is called 'kqueue'");
    FACT_TEXT(coil_loop_backend(NULL), "");
}

PLAIN(backend_comes_from_the_environment_unless_named)
{
    const char *before = getenv("COIL_BACKEND");
    char *keep = before ? strdup(before) : NULL;
    setenv("COIL_BACKEND", "poll", 1);
    coil_loop *loop = coil_new_event_loop(NULL);
    FACT_TEXT(coil_loop_backend(loop), "poll");
    coil_loop_free(loop);
    coil_run_opts opts = {.size = sizeof opts, .backend = "epoll"};
    loop = coil_new_event_loop(&opts);
    FACT_TEXT(coil_loop_backend(loop), "epoll");
    coil_loop_free(loop);
    setenv("COIL_BACKEND", "nonsense", 1);
    FACT(coil_new_event_loop(NULL) == NULL);
    FACT_ERROR(-EINVAL, "nonsense");
    if (keep)
        setenv("COIL_BACKEND", keep, 1);
    else
        unsetenv("COIL_BACKEND");
    free(keep);
}

PLAIN(debug_comes_from_option_environment_or_call)
{
    unsetenv("COIL_DEBUG");
    coil_loop *loop = coil_new_event_loop(NULL);
    FACT(!coil_loop_get_debug(loop));
    coil_loop_set_debug(loop, true);
    FACT(coil_loop_get_debug(loop));
    coil_loop_free(loop);
    coil_run_opts opts = {.size = sizeof opts, .debug = true};
    loop = coil_new_event_loop(&opts);
    FACT(coil_loop_get_debug(loop));
    coil_loop_free(loop);
    setenv("COIL_DEBUG", "1", 1);
    loop = coil_new_event_loop(NULL);
    FACT(coil_loop_get_debug(loop));
    coil_loop_free(loop);
    unsetenv("COIL_DEBUG");
}

#if STAGE_TABLE
static int no_eventfd(unsigned value, int flags)
{
    (void)value, (void)flags;
    return -EMFILE;
}

PLAIN(new_loop_without_descriptors_says_so)
{
    coil__sys.eventfd = no_eventfd;
    FACT(coil_new_event_loop(NULL) == NULL);
    coil__sys.eventfd = coil__sys_real.eventfd;
    FACT_ERROR(-EMFILE, "");
}
#endif

/* ---- asking ---- */

static coil_ret wait_for_ever(void *arg)
{
    (void)arg;
    return coil_join(coil_loop_create_future(NULL));
}

LOOP(stats_tell_the_four_structures)
{
    int fds[2];
    coil_loop_stats_t s;
    FACT_INT(pipe(fds), 0);
    coil_loop_stats(stage.loop, &s);
    FACT_INT(s.size, sizeof s);
    FACT(!s.tasks && !s.ready && !s.fds && !s.timers && !s.turns && !s.callbacks);

    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *t = coil_create_task_opts(wait_for_ever, NULL, &opts);
    soon(note_arg, "a");
    later(5, note_arg, "b");
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], note_arg, NULL), 0);
    coil_loop_stats(stage.loop, &s);
    FACT_INT(s.tasks, 1);
    FACT_INT(s.ready, 2);
    FACT_INT(s.timers, 1);
    FACT_INT(s.fds, 1);
    FACT_INT(s.ops, 1);
    FACT_INT(s.stacks, 1);

    one_turn();
    coil_loop_stats(stage.loop, &s);
    FACT_INT(s.tasks, 1);
    FACT_INT(s.ready, 0);
    FACT_INT(s.turns, 1);
    FACT_INT(s.callbacks, 2);
    FACT_INT(s.switches, 1);

    coil_task_cancel(t, NULL);
    coil_unref(t);
    one_turn();
    coil_loop_remove_reader(stage.loop, fds[0]);
    coil_loop_stats(stage.loop, &s);
    FACT_INT(s.tasks, 0);
    FACT_INT(s.stacks, 0);
    FACT_INT(s.stacks_max, 1);
    FACT_INT(s.fds, 0);
    FACT_INT(s.ops, 0);
    FACT_INT(coil_loop_close(stage.loop), 0);
    coil_loop_stats(stage.loop, &s);
    FACT(!s.tasks && !s.ready && !s.fds && !s.timers);
    close(fds[0]);
    close(fds[1]);
    stage.log[0] = '\0';
}

PLAIN(stats_without_a_loop_are_zeroes)
{
    coil_loop_stats_t s;
    memset(&s, 0xee, sizeof s);
    coil_loop_stats(NULL, &s);
    FACT_INT(s.size, sizeof s);
    FACT(!s.tasks && !s.ready && !s.fds && !s.timers && !s.turns);
}

LOOP(data_is_kept)
{
    int x;
    FACT(coil_loop_data(stage.loop) == NULL);
    coil_loop_set_data(stage.loop, &x);
    FACT(coil_loop_data(stage.loop) == &x);
    coil_loop_set_data(NULL, &x); /* no loop: nothing */
    FACT(coil_loop_data(NULL) == NULL);
}

LOOP(time_does_not_go_back)
{
    double a = now(), b = now();
    FACT(b >= a);
}

REAL(time_is_monotonic_and_goes_on)
{
    double a = now();
    usleep(2000);
    FACT(now() - a >= 0.002);
}

/* ---- the end ---- */

LOOP(close_twice_is_fine)
{
    FACT(!coil_loop_is_closed(stage.loop));
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT(coil_loop_is_closed(stage.loop));
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT(!coil_loop_is_running(stage.loop));
}

static void close_it(void *arg)
{
    FACT_INT(coil_loop_close(arg), COIL_ERUNNING);
    FACT_ERROR(COIL_ERUNNING, "Cannot close a running event loop");
    coil_loop_free(arg); /* refused as well: the loop is still there */
    FACT(coil_loop_is_running(arg));
    note("still here");
}

LOOP(close_while_it_runs_is_refused)
{
    soon(close_it, stage.loop);
    one_turn();
    FACT_TRACE("still here");
}

static struct backend_class of_another_thread;

static int belongs_to_another_thread(struct backend *b, int64_t timeout_ns)
{
    (void)b, (void)timeout_ns;
    return COIL_EWRONGTHREAD;
}

/* As io_uring says while operations on files are pending that another thread began. */
REAL(close_is_refused_while_the_kernel_answers_to_another_thread)
{
    one_turn();
    const struct backend_class *cls = stage.loop->backend->cls;
    of_another_thread = *cls;
    of_another_thread.wait = belongs_to_another_thread;
    stage.loop->backend->cls = &of_another_thread;
    FACT_INT(coil_loop_close(stage.loop), COIL_EWRONGTHREAD);
    FACT_ERROR(COIL_EWRONGTHREAD, "another thread's file operations");
    FACT(!coil_loop_is_closed(stage.loop));
    stage.loop->backend->cls = cls;
    soon(note_arg, "it still works");
    one_turn();
    FACT_TRACE("it still works");
    FACT_INT(coil_loop_close(stage.loop), 0);
}

LOOP(close_between_the_halves_of_a_turn_is_refused)
{
    FACT_INT(coil_loop_collect(stage.loop, 0), 0);
    FACT_INT(coil_loop_close(stage.loop), COIL_ERUNNING);
    FACT(coil_loop_dispatch(stage.loop) >= 0);
}

LOOP(close_drops_everything_and_runs_nothing)
{
    int fds[2];
    coil_handle *h;
    FACT_INT(pipe(fds), 0);
    FACT_INT(write(fds[1], "x", 1), 1);
    soon(note_arg, "a");
    later(0, note_arg, "b");
    later(1, note_arg, "c");
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, TEXT("d"), NULL), 0);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, TEXT("e"), &h), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], note_arg, TEXT("f")), 0);
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("");
    FACT(coil_handle_cancelled(h));
    coil_handle_unref(h);
    FACT(fcntl(fds[0], F_GETFD) != -1); /* what is not ours stays open */
    close(fds[0]);
    close(fds[1]);
}

PLAIN(free_closes_first_and_null_is_fine)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    FACT_INT(coil_loop_call_soon(loop, note_arg, TEXT("a"), NULL), 0);
    coil_loop_free(loop);
    coil_loop_free(NULL);
    FACT_INT(coil_loop_close(NULL), COIL_ENOLOOP);
    FACT_TRACE("");
}

static coil_ret no_more(void *arg)
{
    (void)arg;
    return 0;
}

LOOP(closed_loop_says_so_to_every_call)
{
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(coil_loop_fd(stage.loop), COIL_ECLOSED);
    coil_loop_stop(stage.loop);
    coil_loop_raise(stage.loop, -EIO);
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_ECLOSED);
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT(f != NULL);
    FACT_INT(coil_future_result(f), COIL_ECLOSED);
    coil_unref(f);
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *t = coil_create_task_opts(wait_for_ever, NULL, &opts);
    FACT_INT(coil_future_result(t), COIL_ECLOSED);
    coil_unref(t);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_ECLOSED);
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(wait_for_ever, NULL)),
             COIL_ECLOSED);
    FACT(coil_loop_time(stage.loop) >= 0);
    FACT_INT(coil_all_tasks(stage.loop, NULL, 0), 0);
}

LOOP(null_is_the_threads_own_loop)
{
    void *who = NULL;
    coil_set_event_loop(stage.loop);
    FACT(!coil_loop_is_running(NULL));
    FACT(!coil_loop_is_closed(NULL));
    coil_loop_set_debug(NULL, true);
    FACT(coil_loop_get_debug(NULL));
    coil_loop_set_debug(NULL, false);
    FACT(!coil_loop_get_debug(NULL));
    coil_loop_set_slow_callback_duration(NULL, 0.5);
    coil_loop_set_data(NULL, &who);
    FACT(coil_loop_data(stage.loop) == &who);
    coil_loop_set_exception_handler(NULL, stage_hears, &who);
    FACT(coil_loop_get_exception_handler(NULL, NULL) == stage_hears);
    FACT(coil_loop_get_exception_handler(NULL, &who) == stage_hears && who == &who);
    FACT_INT(coil_loop_call_soon_context(NULL, note_arg, TEXT("soon"), NULL, NULL), 0);
    FACT_INT(coil_loop_call_soon_context(NULL, NULL, NULL, NULL, NULL), -EINVAL);
    FACT(coil_loop_timeout(NULL) == 0);
    FACT_INT(coil_loop_collect(NULL, 0), 0);
    FACT_INT(coil_loop_dispatch(NULL), 1);
    FACT_TRACE("soon");
    FACT_INT(coil_loop_iterate(NULL), 0);
    coil_loop_stop(NULL);
    FACT_INT(coil_loop_run_forever(NULL), 0);
    int fd = coil_loop_fd(NULL);
    FACT(fd >= 0 || fd == -ENOTSUP);
    FACT_INT(coil_loop_run_until_complete(NULL, coil_coro_new(no_more, NULL)), 0);
    FACT_INT(coil_loop_close(NULL), 0);
    FACT(coil_loop_is_closed(stage.loop));
    FACT(coil_get_event_loop() == NULL); /* one that is closed is nobody's */
}

PLAIN(null_without_a_loop_is_refused_or_nothing)
{
    void *who = &who;
    FACT(!coil_loop_is_running(NULL));
    FACT(!coil_loop_is_closed(NULL));
    FACT(!coil_loop_get_debug(NULL));
    coil_loop_set_slow_callback_duration(NULL, 0.5);
    FACT(coil_loop_get_exception_handler(NULL, &who) == NULL);
    FACT_INT(coil_loop_call_soon_context(NULL, note_arg, NULL, NULL, NULL), COIL_ENOLOOP);
    FACT(coil_loop_timeout(NULL) == 0);
    FACT_INT(coil_loop_fd(NULL), COIL_ENOLOOP);
    FACT_INT(coil_loop_close(NULL), COIL_ENOLOOP);
    FACT_INT(coil_loop_run_until_complete(NULL, coil_coro_new(no_more, NULL)), COIL_ENOLOOP);
}

LOOP(handle_of_a_closed_loop_may_be_cancelled_in_debug_mode)
{
    coil_handle *h;
    coil_loop_set_debug(stage.loop, true);
    FACT_INT(coil_loop_call_soon(stage.loop, note_arg, NULL, &h), 0);
    FACT_INT(coil_loop_close(stage.loop), 0);
    coil_handle_cancel(h);
    FACT(coil_handle_cancelled(h));
    coil_handle_unref(h);
}

static coil_ret close_other(void *arg)
{
    coil_fail(COIL_EUSER, "before");
    FACT_INT(coil_loop_close(arg), 0);
    FACT_ERROR(COIL_EUSER, "before"); /* a task's last error is its own, whatever was unwound */
    FACT(coil_current_task() != NULL);
    FACT(coil_get_running_loop() == stage.loop);
    FACT_INT(coil_sleep(0), 0);
    coil_fail(COIL_EUSER, "after");
    FACT_TEXT(coil_last_error()->task, "closer");
    return 0;
}

static coil_ret fail_when_unwound(void *arg)
{
    coil_ret rc = wait_for_ever(arg);
    note("%s", coil_errname(rc));
    return coil_fail(-EIO, "unwound");
}

LOOP(close_of_another_loop_inside_a_task)
{
    coil_loop *other = stage_new_loop(true);
    coil_task_opts opts = {.size = sizeof opts, .loop = other, .name = "victim"};
    coil_unref(coil_create_task_opts(fail_when_unwound, NULL, &opts));
    coil_loop_stop(other);
    FACT_INT(coil_loop_run_forever(other), 0);
    opts.loop = stage.loop, opts.name = "closer";
    coil_task *t = coil_create_task_opts(close_other, other, &opts);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 0);
    FACT_TRACE("COIL_EEXIT");
    FACT_REPORT("victim");
    coil_unref(t);
    coil_loop_free(other);
}

static void note_close(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)arg, (void)c;
    /* While a loop closes, its handler may use it and meets no surprise. */
    FACT_INT(coil_loop_close(loop), 0);
    FACT_INT(coil_loop_run_forever(loop), COIL_ERUNNING);
    FACT_INT(coil_loop_call_soon(loop, note_arg, TEXT("never"), NULL), 0);
    FACT_INT(coil_loop_call_later(loop, 0, note_arg, TEXT("never"), NULL), 0);
    FACT_INT(coil_loop_call_soon_threadsafe(loop, note_arg, TEXT("never"), NULL), 0);
    coil_future *f = coil_loop_create_future(loop);
    FACT_INT(coil_future_set_result(f, 1), 0);
    coil_unref(f);
    coil_task *t = coil_create_task(wait_for_ever, NULL);
    FACT_INT(coil_future_result(t), COIL_ECLOSED);
    coil_unref(t);
    note("reported");
}

LOOP(handler_may_use_the_loop_while_it_closes)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_loop_set_exception_handler(stage.loop, note_close, NULL);
    coil_unref(coil_create_task_opts(wait_for_ever, NULL, &opts));
    one_turn();
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("reported");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loop_nobody_made_is_nobodys),
        cmocka_unit_test(loop_set_is_the_threads_and_not_running),
        cmocka_unit_test(loop_running_beats_the_one_that_was_set),
        cmocka_unit_test(loop_set_is_set_for_one_thread_only),
        cmocka_unit_test(loops_take_turns),
        cmocka_unit_test(loops_run_in_threads_of_their_own),
        cmocka_unit_test(loop_may_be_run_by_one_thread_after_another),
        cmocka_unit_test(backend_is_chosen_by_name),
        cmocka_unit_test(backend_comes_from_the_environment_unless_named),
        cmocka_unit_test(debug_comes_from_option_environment_or_call),
#if STAGE_TABLE
        cmocka_unit_test(new_loop_without_descriptors_says_so),
#endif
        cmocka_unit_test(stats_tell_the_four_structures),
        cmocka_unit_test(stats_without_a_loop_are_zeroes),
        cmocka_unit_test(data_is_kept),
        cmocka_unit_test(time_does_not_go_back),
        cmocka_unit_test(time_is_monotonic_and_goes_on),
        cmocka_unit_test(close_twice_is_fine),
        cmocka_unit_test(close_while_it_runs_is_refused),
        cmocka_unit_test(close_is_refused_while_the_kernel_answers_to_another_thread),
        cmocka_unit_test(close_between_the_halves_of_a_turn_is_refused),
        cmocka_unit_test(close_drops_everything_and_runs_nothing),
        cmocka_unit_test(free_closes_first_and_null_is_fine),
        cmocka_unit_test(closed_loop_says_so_to_every_call),
        cmocka_unit_test(null_is_the_threads_own_loop),
        cmocka_unit_test(null_without_a_loop_is_refused_or_nothing),
        cmocka_unit_test(handle_of_a_closed_loop_may_be_cancelled_in_debug_mode),
        cmocka_unit_test(close_of_another_loop_inside_a_task),
        cmocka_unit_test(handler_may_use_the_loop_while_it_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
