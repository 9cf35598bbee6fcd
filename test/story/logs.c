/* SPDX-License-Identifier: MIT
 *
 * logs.c: what coil has to say goes to the program's hook, once, with its fields; without one to standard error. */
#include "test.h"

#include "base/thread.h"
#include "capture.h"

#include <coil.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The last record, as far as it is needed after the hook has returned. */
static struct {
    int n;
    coil_log_record record;
    char kind[32], message[1024], text[4096], task_name[64], file[256];
    uintptr_t thread;
    const char *arg;
} heard;

static void hear(const coil_log_record *record, void *arg)
{
    heard.n++;
    heard.record = *record;
    snprintf(heard.kind, sizeof heard.kind, "%s", record->kind);
    snprintf(heard.message, sizeof heard.message, "%s", record->message);
    snprintf(heard.text, sizeof heard.text, "%s", record->text);
    snprintf(heard.task_name, sizeof heard.task_name, "%s", record->task_name);
    snprintf(heard.file, sizeof heard.file, "%s", record->file ? record->file : "");
    heard.thread = coil__thread_self();
    heard.arg = arg;
}

static void hark(void)
{
    memset(&heard, 0, sizeof heard);
    if (coil_get_running_loop()) /* the harness has a handler of its own */
        coil_loop_set_exception_handler(NULL, NULL, NULL);
    coil_set_log(hear, (void *)(uintptr_t) "mine");
}

static void assert_heard(enum coil_log_level level, const char *kind, const char *words)
{
    coil_set_log(NULL, NULL);
    assert_int_equal(heard.n, 1);
    assert_string_equal(heard.kind, kind);
    assert_int_equal(heard.record.level, level);
    assert_non_null(strstr(heard.message, words));
    assert_null(strchr(heard.message, '\n'));
    assert_memory_equal(heard.text, "coil: ", 6);
    assert_non_null(strstr(heard.text, words));
    assert_int_equal(heard.text[strlen(heard.text) - 1], '\n');
}

/* ---- something to say ---- */

static coil_ret fails(void *arg)
{
    (void)arg;
    return coil_fail(COIL_EUSER, "disk 3 full");
}

static coil_ret waits(void *arg)
{
    return coil_await(arg);
}

static coil_ret lets_one_fail(void *name)
{
    coil_task_opts opts = {.size = sizeof opts, .name = name};
    coil_task *task = coil_create_task_opts(fails, NULL, &opts);
    coil_ret rc = coil_sleep(0);
    if (rc == 0)
        rc = coil_sleep(0);
    coil_unref(task);
    return rc;
}

static void drop_a_coroutine(void)
{
    coil_coro_free(coil_coro_new(fails, NULL));
}

/* ---- its fields ---- */

COIL_TEST(log_hears_of_an_error_nobody_looked_at)
{
    hark();
    assert_int_equal(lets_one_fail((void *)(uintptr_t) "writer"), 0);
    assert_heard(COIL_LOG_ERROR, "never-retrieved",
                 "Task exception was never retrieved: writer, created at ");
    assert_int_equal(heard.record.size, sizeof(coil_log_record));
    assert_ptr_equal(heard.record.loop, coil_get_running_loop());
    assert_non_null(heard.record.task);
    assert_ptr_equal(heard.record.future, heard.record.task);
    assert_string_equal(heard.task_name, "writer");
    assert_non_null(strstr(heard.file, "logs.c"));
    assert_true(heard.record.line > 0);
    assert_int_equal(heard.record.code, COIL_EUSER);
    assert_non_null(heard.record.error);
    assert_non_null(strstr(heard.text, "disk 3 full"));
    assert_string_equal(heard.arg, "mine");
    assert_int_equal(heard.thread, coil__thread_self());
}

COIL_TEST_PLAIN(log_hears_of_a_coroutine_that_was_never_awaited_without_a_loop)
{
    hark();
    drop_a_coroutine();
    assert_heard(COIL_LOG_WARNING, "never-awaited", "was never awaited, created at ");
    assert_null(heard.record.loop);
    assert_null(heard.record.task);
    assert_string_equal(heard.task_name, "");
    assert_non_null(strstr(heard.file, "logs.c"));
    assert_int_equal(heard.record.code, 0);
    assert_null(heard.record.error);
}

COIL_TEST(log_hears_of_a_coroutine_that_was_never_awaited)
{
    hark();
    drop_a_coroutine();
    assert_heard(COIL_LOG_WARNING, "never-awaited", "was never awaited, created at ");
    assert_ptr_equal(heard.record.loop, coil_get_running_loop());
    assert_non_null(strstr(heard.file, "logs.c"));
}

COIL_TEST_PLAIN(log_hears_of_a_task_that_was_pending_when_its_loop_was_closed)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_future *f = coil_loop_create_future(loop);
    coil_unref(coil_loop_create_task(loop, waits, f));
    coil_loop_stop(loop);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    hark();
    assert_int_equal(coil_loop_close(loop), 0);
    assert_heard(COIL_LOG_ERROR, "destroyed-pending",
                 "Task was destroyed but it is pending! Task-1, ");
    assert_int_equal(heard.record.code, 0);
    assert_string_equal(heard.task_name, "Task-1");
    coil_unref(f);
    coil_loop_free(loop);
}

COIL_TEST_WITH(log_has_the_calls_that_made_it_in_debug_mode, .debug = true, .virtual_time = true)
{
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    hark();
    drop_a_coroutine();
    assert_heard(COIL_LOG_WARNING, "never-awaited", "was never awaited");
    assert_true(heard.record.source_stack_n > 0);
    assert_non_null(strstr(heard.text, "Object created at"));
}

/* ---- each kind ---- */

static coil_ret nothing_comes(void *arg)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_ret rc = coil_await(f);
    coil_unref(f);
    return rc;
}

COIL_TEST_PLAIN(log_hears_of_a_deadlock_that_is_not_printed)
{
    if (!deadlocks_are_certain())
        skip();
    hark();
    assert_int_equal(coil_run(nothing_comes, NULL), COIL_EDEADLOCK);
    assert_heard(COIL_LOG_INFO, "deadlock",
                 "nothing left can wake any task: Task-1 waits for future;");
    assert_int_equal(heard.record.code, COIL_EDEADLOCK);
    catch_stderr();
    coil_ret rc = coil_run(nothing_comes, NULL);
    assert_string_equal(caught(), "");
    assert_int_equal(rc, COIL_EDEADLOCK);
}

COIL_TEST_WITH(log_hears_of_a_slow_step, .debug = true, .virtual_time = true)
{
    coil_loop_set_slow_callback_duration(NULL, 0);
    hark();
    coil_ignore(coil_sleep(0));
    coil_set_log(NULL, NULL);
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    assert_true(heard.n > 0);
    assert_string_equal(heard.kind, "slow-step");
    assert_memory_equal(heard.message, "Executing a ", 12);
    assert_int_equal(heard.record.level, COIL_LOG_WARNING);
}

COIL_TEST_WITH(log_hears_of_a_group_that_was_left, .debug = true, .virtual_time = true)
{
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    coil_future *f = coil_loop_create_future(NULL);
    hark();
    {
        coil_task_group(group);
        (void)coil_group_create_task(&group, waits, f);
    }
    assert_heard(COIL_LOG_WARNING, "group-left", "was left by return; its children are cancelled");
    assert_non_null(strstr(heard.file, "logs.c"));
    assert_true(heard.record.line > 0);
    coil_unref(f);
}

COIL_TEST(log_hears_of_errors_in_a_group_that_was_left)
{
    hark();
    {
        coil_task_group(group);
        (void)coil_group_create_task(&group, fails, NULL);
        coil_ignore(coil_sleep(0));
    }
    assert_heard(COIL_LOG_ERROR, "group-errors", "errors in a group that was left by return");
}

COIL_TEST(log_hears_of_a_lock_that_was_given_back_twice)
{
    coil_lock lock = {0};
    hark();
    {
        coil_ret rc;
        coil_sync_scope scope __attribute__((unused))
        __attribute__((cleanup(coil_sync_leave))) = coil_lock_enter(&lock, &rc);
        assert_int_equal(rc, 0);
        assert_int_equal(coil_lock_release(&lock), 0);
    }
    assert_heard(COIL_LOG_ERROR, "given-back-twice",
                 "the block held something that was given back already");
    assert_string_equal(heard.task_name, coil_task_get_name(coil_current_task()));
}

static coil_ret fails_when_cancelled(void *arg)
{
    coil_ret rc = coil_sleep(1000);
    return rc == -ECANCELED ? coil_fail(COIL_EUSER, "cannot end well") : rc;
}

static coil_ret leaves_one(void *arg)
{
    coil_unref(coil_create_task(fails_when_cancelled, NULL));
    return coil_sleep(0);
}

COIL_TEST_PLAIN(log_hears_of_what_fails_while_a_run_ends)
{
    hark();
    assert_int_equal(coil_run(leaves_one, NULL), 0);
    assert_heard(COIL_LOG_ERROR, "shutdown-error",
                 "unhandled exception during coil_run() shutdown");
    assert_string_equal(heard.task_name, "Task-2");
}

static coil_ret shields(void *inner)
{
    return coil_shield(inner);
}

COIL_TEST(log_hears_of_a_shielded_future_that_failed_after_its_waiter_had_gone)
{
    coil_future *inner = coil_loop_create_future(NULL);
    coil_task *outer = coil_create_task(shields, inner);
    coil_ignore(coil_sleep(0));
    coil_task_cancel(outer, NULL);
    assert_int_equal(coil_join(outer), -ECANCELED);
    hark();
    assert_int_equal(coil_future_set_exception(inner, COIL_EUSER), 0);
    coil_ignore(coil_sleep(0));
    assert_heard(COIL_LOG_ERROR, "shielded-error", "exception in shielded future");
    assert_int_equal(heard.record.code, COIL_EUSER);
    assert_ptr_equal(heard.record.future, inner);
    assert_null(heard.record.task);
    coil_unref(inner);
}

COIL_TEST_WITH(log_hears_of_a_loop_that_waits_for_a_thread, .debug = true, .virtual_time = true)
{
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    coil_executor *executor = coil_thread_pool_executor_new(1, "waits");
    assert_non_null(executor);
    hark();
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    assert_heard(COIL_LOG_WARNING, "blocking-wait", "the loop stands still while its thread waits");
    coil_executor_unref(executor);
}

COIL_TEST_WITH(log_hears_of_a_writer_that_was_given_up_open, .debug = true, .virtual_time = true)
{
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    int pair[2];
    coil_sock *sock;
    coil_reader *reader;
    coil_writer *writer;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(coil_sock_adopt(NULL, pair[0], &sock), 0);
    assert_int_equal(coil_open_connection_sock(sock, 0, &reader, &writer), 0);
    coil_reader_unref(reader);
    hark();
    coil_writer_unref(writer);
    assert_heard(COIL_LOG_WARNING, "unclosed", "unclosed StreamWriter");
    coil_ignore(coil_sleep(0));
    close(pair[1]);
}

COIL_TEST(log_hears_of_what_a_program_reports)
{
    hark();
    coil_loop_call_exception_handler(
        NULL, &(coil_exception_context){
                  .size = sizeof(coil_exception_context), .message = "odd", .fd = -1});
    assert_heard(COIL_LOG_WARNING, "exception", "odd");
    hark();
    coil_loop_call_exception_handler(
        NULL, &(coil_exception_context){.size = sizeof(coil_exception_context),
                                        .message = "odder",
                                        .fd = -1,
                                        .kind = "own",
                                        .file = "own.c",
                                        .line = 7});
    assert_heard(COIL_LOG_WARNING, "own", "odder");
    assert_string_equal(heard.file, "own.c");
    assert_int_equal(heard.record.line, 7);
}

static coil_ret one(coil_gen *self, void *arg)
{
    return coil_gen_yield(self, 1);
}

static uintptr_t loser;

static void lose(void *gen)
{
    loser = coil__thread_self();
    coil_gen_unref(gen);
}

COIL_TEST_PLAIN(log_is_called_in_the_thread_that_has_something_to_say)
{
    coil_gen *gen = coil_gen_new(one, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    coil_gen *spare = coil_gen_ref(gen);
    coil_gen_unref(spare);
    hark();
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "loses", lose, gen), 0);
    coil__thread_join(&thread);
    assert_heard(COIL_LOG_WARNING, "generator-lost", "was released by another thread; it is lost");
    assert_int_equal(heard.thread, loser);
    assert_int_not_equal(heard.thread, coil__thread_self());
    assert_non_null(strstr(heard.file, "logs.c"));
    coil_gen_ref(gen); /* nobody but this test could find it again */
    coil_gen_unref(gen);
}

/* ---- nothing to say ---- */

static coil_ret naps(void *arg)
{
    return coil_sleep(1);
}

/* Something of each of what could be complained about, as it should be done. */
static coil_ret lives_well(void *arg)
{
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    coil_lock lock = {0};
    coil_ret rc = coil_lock_acquire(&lock);
    if (rc < 0)
        return rc;
    coil_lock_release(&lock);
    if (coil_join(coil_create_task(fails, NULL)) != COIL_EUSER)
        return COIL_EUSER - 1;
    if ((rc = coil_await(coil_coro_new(naps, NULL))) < 0)
        return rc;
    coil_gen *gen = coil_gen_new(one, NULL);
    coil_ignore(coil_gen_next(gen, NULL));
    coil_gen_unref(gen);
    coil_unref(coil_create_task(naps, NULL)); /* the run ends it */
    coil_task_group(group);
    (void)coil_group_create_task(&group, naps, NULL);
    return coil_group_exit(&group, 0);
}

static void assert_silent(bool debug)
{
    coil_run_opts opts = {.size = sizeof opts, .debug = debug, .virtual_time = true};
    hark();
    catch_stderr();
    coil_ret rc = coil_run_with(lives_well, NULL, &opts);
    coil_set_log(NULL, NULL);
    assert_string_equal(caught(), "");
    assert_int_equal(rc, 0);
    assert_string_equal(heard.message, "");
    assert_int_equal(heard.n, 0);
}

COIL_TEST_PLAIN(log_is_silent_in_a_healthy_program)
{
    assert_silent(false);
    assert_silent(true);
}

/* ---- the hook itself ---- */

COIL_TEST_PLAIN(log_is_printed_without_a_hook_as_its_text_says)
{
    hark();
    drop_a_coroutine();
    coil_set_log(NULL, NULL);
    catch_stderr();
    drop_a_coroutine();
    assert_string_equal(caught(), heard.text);
    assert_int_equal(heard.n, 1);
}

COIL_TEST_PLAIN(log_with_a_hook_prints_nothing)
{
    hark();
    catch_stderr();
    drop_a_coroutine();
    coil_set_log(NULL, NULL);
    assert_string_equal(caught(), "");
}

static void hear_and_print(const coil_log_record *record, void *arg)
{
    hear(record, arg);
    coil_default_log(record);
}

COIL_TEST_PLAIN(log_can_be_printed_by_the_hook)
{
    memset(&heard, 0, sizeof heard);
    coil_set_log(hear_and_print, NULL);
    catch_stderr();
    drop_a_coroutine();
    coil_set_log(NULL, NULL);
    assert_string_equal(caught(), heard.text);
}

static int others;

static void hear_nothing(const coil_log_record *record, void *arg)
{
    others++;
}

COIL_TEST_PLAIN(log_goes_to_the_hook_that_was_set_last)
{
    void *arg;
    hark();
    assert_ptr_equal(coil_get_log(&arg), hear);
    assert_string_equal(arg, "mine");
    coil_set_log(hear_nothing, NULL);
    assert_ptr_equal(coil_get_log(NULL), hear_nothing);
    others = 0;
    drop_a_coroutine();
    assert_int_equal(others, 1);
    assert_int_equal(heard.n, 0);
    coil_set_log(NULL, NULL);
    assert_null(coil_get_log(NULL));
}

static void say_more(const coil_log_record *record, void *arg)
{
    hear(record, arg);
    drop_a_coroutine();
}

COIL_TEST_PLAIN(log_of_what_a_hook_does_is_printed)
{
    memset(&heard, 0, sizeof heard);
    coil_set_log(say_more, NULL);
    catch_stderr();
    drop_a_coroutine();
    coil_set_log(NULL, NULL);
    assert_string_equal(caught(), heard.text);
    assert_int_equal(heard.n, 1);
}

static void hear_once(const coil_log_record *record, void *arg)
{
    hear(record, arg);
    assert_ptr_equal(coil_get_log(NULL), hear_once);
    coil_set_log(hear_nothing, NULL);
}

COIL_TEST_PLAIN(log_can_be_changed_by_the_hook)
{
    memset(&heard, 0, sizeof heard);
    others = 0;
    coil_set_log(hear_once, NULL);
    drop_a_coroutine();
    drop_a_coroutine();
    coil_set_log(NULL, NULL);
    assert_int_equal(heard.n, 1);
    assert_int_equal(others, 1);
}

static void spoil_errno(const coil_log_record *record, void *arg)
{
    errno = EDOM;
}

COIL_TEST_PLAIN(log_keeps_errno)
{
    coil_set_log(spoil_errno, NULL);
    errno = ERANGE;
    drop_a_coroutine();
    int now = errno;
    coil_set_log(NULL, NULL);
    assert_int_equal(now, ERANGE);
}

static void handle(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    others++;
    assert_string_equal(context->kind, "never-awaited");
}

COIL_TEST(log_hears_nothing_of_what_the_loops_handler_took)
{
    others = 0;
    hark();
    coil_loop_set_exception_handler(NULL, handle, NULL);
    drop_a_coroutine();
    coil_set_log(NULL, NULL);
    assert_int_equal(others, 1);
    assert_int_equal(heard.n, 0);
}

/* ---- threads ---- */

static _Atomic int running_now, overlaps, calls;

static void one_at_a_time(const coil_log_record *record, void *arg)
{
    if (atomic_fetch_add(&running_now, 1) > 0)
        atomic_fetch_add(&overlaps, 1);
    coil__thread_pause();
    atomic_fetch_add(&calls, 1);
    atomic_fetch_sub(&running_now, 1);
}

static void drop_many(void *arg)
{
    for (int i = 0; i < 200; i++)
        drop_a_coroutine();
}

COIL_TEST_PLAIN(log_hook_is_called_by_one_thread_at_a_time)
{
    struct thread threads[4];
    overlaps = calls = 0;
    coil_set_log(one_at_a_time, NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(coil__thread_start(&threads[i], "drops", drop_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        coil__thread_join(&threads[i]);
    coil_set_log(NULL, NULL);
    assert_int_equal(overlaps, 0);
    assert_int_equal(calls, 800);
}

static _Atomic int hook_began, hook_ends, hook_ended;

static void lasts(const coil_log_record *record, void *arg)
{
    hook_began = 1;
    while (!hook_ends)
        coil__thread_pause();
    for (int i = 0; i < 1000; i++)
        coil__thread_pause();
    hook_ended = 1;
}

static void drop_one(void *arg)
{
    drop_a_coroutine();
}

COIL_TEST_PLAIN(log_hook_that_was_replaced_has_ended)
{
    struct thread thread;
    hook_began = hook_ends = hook_ended = 0;
    coil_set_log(lasts, NULL);
    assert_int_equal(coil__thread_start(&thread, "drops", drop_one, NULL), 0);
    while (!hook_began)
        coil__thread_pause();
    hook_ends = 1;
    coil_set_log(NULL, NULL);
    int ended = hook_ended;
    coil__thread_join(&thread);
    assert_int_equal(ended, 1);
}

COIL_TEST_PLAIN(log_works_in_a_child_of_fork_while_a_thread_is_inside)
{
    if (UNDER_TSAN)
        skip();
    struct thread thread;
    hook_began = hook_ends = hook_ended = 0;
    coil_set_log(lasts, NULL);
    assert_int_equal(coil__thread_start(&thread, "drops", drop_one, NULL), 0);
    while (!hook_began)
        coil__thread_pause();
    pid_t pid = fork();
    if (pid == 0) {
        hark();
        drop_a_coroutine();
        if (heard.n == 1)
            raise(SIGKILL); /* what the other thread held is nobody's here, and no leak */
        _exit(1);
    }
    hook_ends = 1;
    coil__thread_join(&thread);
    coil_set_log(NULL, NULL);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

COIL_TEST_MAIN()
