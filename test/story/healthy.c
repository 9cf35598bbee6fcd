/* SPDX-License-Identifier: MIT
 *
 * healthy.c: programs that do what coil could complain of as it should be done: nothing is said, in debug mode either.
 *
 * Each program runs twice, without debug mode and with it, from its first task to the closing of its loop. No record may
 * reach the log, whatever its kind and level, and nothing may be printed. docs/guide/when-it-hangs.md says which kinds
 * each of them stands for. Slow steps are told by the real clock, so that they are left to unit/loop/test_slow. */
#include "../unit/net/ear.h"

#include "base/thread.h"
#include "capture.h"
#include "shell.h"

#include <coil.h>

#include <signal.h>
#include <unistd.h>

static struct {
    int n;
    char first[1024];
} heard;

static void hear(const coil_log_record *record, void *arg)
{
    (void)arg;
    if (heard.n++ == 0)
        snprintf(heard.first, sizeof heard.first, "%s: %s", record->kind, record->message);
}

static coil_ret begin(void *body)
{
    coil_loop_set_slow_callback_duration(NULL, 1e6);
    (*(void (**)(void))body)();
    return 0;
}

static void lives(void (*body)(void), bool debug)
{
    coil_run_opts opts = {.size = sizeof opts, .debug = debug, .virtual_time = true};
    memset(&heard, 0, sizeof heard);
    coil_set_log(hear, NULL);
    catch_stderr();
    coil_ret rc = coil_run_with(begin, &body, &opts);
    caught();
    coil_set_log(NULL, NULL);
    if (coil_iserr(rc))
        fail_msg("%s: %s", coil_errname(rc), coil_last_error()->message);
    assert_string_equal(heard.first, "");
    assert_int_equal(heard.n, 0);
    assert_string_equal(printed, "");
}

/* The body is the program's first task. */
#define HEALTHY(name)               \
    static void name##_lives(void); \
    COIL_TEST_PLAIN(name)           \
    {                               \
        lives(name##_lives, false); \
        lives(name##_lives, true);  \
    }                               \
    static void name##_lives(void)

/* ---- tasks, futures and coroutine objects ---- */

static coil_ret naps(void *arg)
{
    (void)arg;
    return coil_sleep(1);
}

static coil_ret fails(void *arg)
{
    (void)arg;
    return coil_fail(COIL_EUSER, "disk 3 full");
}

static coil_ret cleans_up_and_goes(void *arg)
{
    coil_ret rc = naps(arg);
    coil_ignore(coil_sleep(1));
    return rc;
}

static coil_ret takes_the_request_back(void *arg)
{
    coil_ret rc = naps(arg);
    if (rc == -ECANCELED)
        coil_task_uncancel(coil_current_task());
    return coil_sleep(1);
}

static coil_ret cancelled(coil_fn fn)
{
    coil_task *task = coil_create_task(fn, NULL);
    must(coil_sleep(0));
    assert_true(coil_task_cancel(task, NULL));
    return coil_join(task);
}

HEALTHY(nothing_is_said_of_tasks_that_end_as_they_are_asked_to)
{
    assert_int_equal(coil_join(coil_create_task(naps, NULL)), 0);
    assert_int_equal(coil_join(coil_create_task(fails, NULL)), COIL_EUSER);
    assert_int_equal(cancelled(cleans_up_and_goes), -ECANCELED);
    assert_int_equal(cancelled(takes_the_request_back), 0);
    coil_task *looked_at = coil_create_task(fails, NULL);
    must(coil_sleep(0));
    must(coil_sleep(0));
    assert_string_equal(there(coil_future_exception(looked_at))->message, "disk 3 full");
    coil_unref(looked_at);
    coil_task *dropped = coil_create_task(fails, NULL);
    coil_task_cancel(dropped, NULL); /* before its first step */
    coil_unref(dropped);
    coil_unref(coil_create_task(cleans_up_and_goes, NULL)); /* the run ends these two */
    coil_unref(coil_create_task(naps, NULL));
    must(coil_sleep(0));
}

HEALTHY(nothing_is_said_of_futures_whose_errors_are_taken)
{
    coil_future *f = coil_loop_create_future(NULL), *held = coil_ref(f);
    must(coil_future_set_exception(f, COIL_EUSER));
    assert_int_equal(coil_await(f), COIL_EUSER);
    coil_unref(held);
    coil_unref(f);
    f = coil_loop_create_future(NULL);
    coil_future_cancel(f, NULL);
    coil_unref(f);
    coil_task *both[] = {coil_create_task(fails, NULL), coil_create_task(naps, NULL)};
    assert_int_equal(coil_gather(both, 2, NULL, COIL_UNREF), COIL_EUSER);
    assert_int_equal(coil_wait_for_call(naps, NULL, 0.5), -ETIMEDOUT);
}

HEALTHY(nothing_is_said_of_coroutine_objects_that_are_awaited_or_closed)
{
    must(coil_await(coil_coro_new(naps, NULL)));
    must(coil_join(coil_create_task_coro(coil_coro_new(naps, NULL))));
    coil_coro_close(coil_coro_new(naps, NULL));
}

/* ---- groups, shields and locks ---- */

static coil_ret waits(void *future)
{
    return coil_await(future);
}

HEALTHY(nothing_is_said_of_groups_that_are_left_by_their_exit)
{
    coil_task_group(good);
    (void)coil_group_create_task(&good, naps, NULL);
    must(coil_group_exit(&good, 0));
    coil_task_group(bad);
    (void)coil_group_create_task(&bad, fails, NULL);
    (void)coil_group_create_task(&bad, naps, NULL);
    assert_int_equal(coil_group_exit(&bad, 0), COIL_EUSER);
    coil_task_group(over); /* left by return, but its children have ended */
    (void)coil_group_create_task(&over, naps, NULL);
    must(coil_sleep(2));
}

HEALTHY(nothing_is_said_of_shields_whose_waiters_hear_the_end)
{
    coil_task *inner = coil_create_task(fails, NULL);
    assert_int_equal(coil_shield(inner), COIL_EUSER);
    coil_unref(inner);
    coil_future *f = coil_loop_create_future(NULL);
    coil_future *outer = coil_shield_future(f);
    coil_task *waiter = coil_create_task(waits, outer);
    must(coil_sleep(0));
    coil_task_cancel(waiter, NULL);
    assert_int_equal(coil_join(waiter), -ECANCELED);
    must(coil_future_set_result(f, 5)); /* it goes on, and well */
    must(coil_sleep(0));
    coil_unref(outer);
    coil_unref(f);
}

HEALTHY(nothing_is_said_of_blocks_that_give_back_once)
{
    coil_lock lock = {0};
    coil_semaphore permits = COIL_SEMAPHORE(1);
    coil_condition news = COIL_CONDITION(&lock);
    coil_ret rc;
    coil_with_lock(rc, &lock) must(coil_sleep(1));
    must(rc);
    coil_with_semaphore(rc, &permits) must(coil_sleep(1));
    must(rc);
    coil_with_condition(rc, &news)
    {
        must(coil_condition_notify_all(&news));
        coil_condition_release(&news); /* given back in the middle, and taken again */
        must(coil_sleep(1));
        must(coil_condition_acquire(&news));
    }
    must(rc);
    assert_false(coil_lock_locked(&lock));
}

/* ---- callbacks in contexts of their own ---- */

static void counts(void *arg)
{
    ++*(int *)arg;
}

static void counts_done(coil_future *f, void *arg)
{
    (void)f;
    ++*(int *)arg;
}

HEALTHY(nothing_is_said_of_callbacks_whose_contexts_are_free)
{
    int n = 0;
    coil_context *context = coil_context_new();
    coil_future *f = coil_loop_create_future(NULL);
    must(coil_future_add_done_callback_context(f, counts_done, &n, context));
    must(coil_loop_call_soon_context(NULL, counts, &n, context, NULL));
    must(coil_loop_call_later_context(NULL, 0.5, counts, &n, context, NULL));
    must(coil_future_set_result(f, 0));
    must(coil_sleep(1));
    assert_int_equal(n, 3);
    coil_unref(f);
    coil_context_unref(context);
}

/* ---- descriptors, streams, transports, endpoints ---- */

HEALTHY(nothing_is_said_of_descriptors_that_are_watched_until_they_are_closed)
{
    int ends[2], n = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    must(coil_loop_add_reader(NULL, ends[0], counts, &n));
    must(coil_loop_add_writer(NULL, ends[0], counts, &n));
    assert_int_equal(write(ends[1], "x", 1), 1);
    while (n < 4)
        must(coil_sleep(0.001));
    assert_int_equal(coil_loop_remove_reader(NULL, ends[0]), 1);
    assert_int_equal(coil_loop_remove_writer(NULL, ends[0]), 1);
    close(ends[0]);
    close(ends[1]);
    must(coil_sleep(1));
}

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *line;
    coil_ret n;
    (void)arg;
    while ((n = coil_reader_readline(reader, &line, NULL)) > 0) {
        coil_ret rc = coil_writer_write(writer, line, (size_t)n);
        if (rc < 0 || (rc = coil_writer_drain(writer)) < 0)
            return rc;
    }
    return n;
}

static void talk(const char *port)
{
    coil_reader *r;
    coil_writer *w;
    const char *line;
    must(coil_open_connection("127.0.0.1", port, &r, &w));
    for (int i = 0; i < 3; i++) {
        must(coil_writer_write(w, "hello\n", 6));
        assert_int_equal(must(coil_reader_readline(r, &line, NULL)), 6);
    }
    must(coil_writer_finish(w));
}

HEALTHY(nothing_is_said_of_a_server_whose_clients_come_and_go)
{
    coil_server *server;
    char port[8];
    must(coil_start_server(echo, NULL, "127.0.0.1", "0", &server));
    snprintf(port, sizeof port, "%d", (int)must(coil_server_port(server)));
    for (int i = 0; i < 3; i++)
        talk(port);
    must(coil_server_finish(server));
}

static coil_ret says_it_again(struct ear *ear, const char *data, size_t n)
{
    return coil_transport_write(ear->t, data, n);
}

HEALTHY(nothing_is_said_of_a_server_of_protocols)
{
    struct ear here = {0}, there = {.on_data = says_it_again};
    coil_server *server;
    coil_transport *t;
    char port[8];
    must(coil_loop_create_server(NULL, ear_factory, &there, "127.0.0.1", "0", NULL, &server));
    snprintf(port, sizeof port, "%d", (int)must(coil_server_port(server)));
    must(coil_loop_create_connection(NULL, ear_factory, &here, "127.0.0.1", port, NULL, &t, NULL));
    must(coil_transport_write(t, "hello", 5));
    ear_until(&here, "made data:hello");
    coil_transport_close(t);
    ear_until_lost(&here);
    ear_until_lost(&there);
    coil_transport_unref(t);
    must(coil_server_finish(server));
}

static coil_ret datagram_came(coil_datagram_transport *t, const void *data, size_t n,
                              const coil_address *from, void *arg)
{
    (void)t, (void)data, (void)n, (void)from;
    ++*(int *)arg;
    return 0;
}

static const coil_datagram_protocol counting = {.size = sizeof counting,
                                                .datagram_received = datagram_came};

HEALTHY(nothing_is_said_of_endpoints_that_are_closed)
{
    int came = 0, unused = 0;
    coil_address at;
    coil_datagram_transport *a, *b;
    coil_datagram_opts local = {.size = sizeof local, .local_host = "127.0.0.1", .local_port = "0"};
    must(coil_loop_create_datagram_endpoint(NULL, &counting, &came, &local, &a));
    must(coil_sock_getsockname(coil_datagram_transport_sock(a), &at));
    coil_datagram_opts remote = {.size = sizeof remote, .remote_address = &at};
    must(coil_loop_create_datagram_endpoint(NULL, &counting, &unused, &remote, &b));
    must(coil_datagram_transport_sendto(b, "x", 1, NULL));
    while (!came)
        must(coil_sleep(0.001));
    coil_datagram_transport_close(a);
    coil_datagram_transport_close(b);
    must(coil_sleep(1));
    coil_datagram_transport_unref(a);
    coil_datagram_transport_unref(b);
}

/* ---- generators ---- */

static coil_ret counts_to_three(coil_gen *self, void *arg)
{
    coil_ret rc = 0;
    (void)arg;
    for (int i = 1; i <= 3 && !coil_iserr(rc); i++)
        rc = coil_gen_yield(self, i);
    return coil_iserr(rc) ? rc : 0;
}

static coil_ret naps_in_between(coil_gen *self, void *arg)
{
    coil_ret rc = counts_to_three(self, arg);
    coil_ignore(coil_sleep(1)); /* to clean up takes a while */
    return rc;
}

static coil_gen *begun(coil_gen_fn fn)
{
    coil_gen *gen = coil_gen_new(fn, NULL);
    assert_int_equal(coil_gen_next(gen, NULL), 1);
    return gen;
}

static coil_ret has_one_of_its_own(void *arg)
{
    (void)arg;
    coil_gen *gen = coil_gen_new(counts_to_three, NULL);
    coil_ret rc = coil_gen_next(gen, NULL);
    coil_gen_unref(gen);
    return rc == 1 ? 0 : rc;
}

static coil_ret drops(void *gen)
{
    coil_gen_unref(gen);
    return 0;
}

HEALTHY(nothing_is_said_of_generators_that_are_finished_closed_or_dropped)
{
    coil_gen *gen = begun(counts_to_three);
    while (must(coil_gen_next(gen, NULL)) == 1)
        continue;
    coil_gen_unref(gen);
    gen = begun(naps_in_between);
    must(coil_gen_close(gen));
    coil_gen_unref(gen);
    coil_gen_unref(begun(counts_to_three));
    coil_gen_unref(coil_gen_new(counts_to_three, NULL)); /* never begun */
    must(coil_to_thread(has_one_of_its_own, NULL));
    must(coil_to_thread(drops, begun(naps_in_between))); /* it goes home, and ends there */
    must(coil_sleep(2));
    gen = begun(naps_in_between);
    must(coil_loop_shutdown_asyncgens(NULL));
    coil_gen_unref(gen);
}

/* ---- children ---- */

static coil_process *kid(const char *script, const coil_subprocess_opts *opts)
{
    coil_process *process;
    must(coil_create_subprocess_exec(SH(script), opts, &process));
    return process;
}

static int end_of(coil_process *process)
{
    int code = 12345;
    must(coil_process_wait(process, &code));
    coil_process_unref(process);
    return code;
}

HEALTHY(nothing_is_said_of_children_that_are_waited_for)
{
    const coil_subprocess_opts piped = {.size = sizeof piped, .in = COIL_PIPE};
    shell_is_here();
    assert_int_equal(end_of(kid("exit 3", NULL)), 3);
    coil_process *reads = kid("read x", &piped);
    must(coil_process_terminate(reads));
    assert_int_equal(end_of(reads), -SIGTERM);
    coil_process_output output;
    coil_process *cat = kid(
        "cat", &(coil_subprocess_opts){.size = sizeof piped, .in = COIL_PIPE, .out = COIL_PIPE});
    must(coil_process_communicate(cat, "hello", 5, &output));
    assert_int_equal(output.out_n, 5);
    assert_int_equal(end_of(cat), 0);
}

/* ---- threads ---- */

static coil_ret seven(void *arg)
{
    (void)arg;
    return 7;
}

/* In a thread: waiting there keeps no loop from turning. */
static coil_ret asks_the_loop(void *loop)
{
    coil_thread_future *f = coil_run_coroutine_threadsafe(loop, seven, NULL);
    coil_ret rc = coil_thread_future_result(f, COIL_FOREVER);
    coil_thread_future_unref(f);
    return rc;
}

static coil_ret ends_the_pool(void *executor)
{
    return coil_executor_shutdown(executor, true, false);
}

HEALTHY(nothing_is_said_of_threads_that_are_awaited_and_end_in_time)
{
    coil_executor *executor = coil_thread_pool_executor_new(2, "own");
    assert_int_equal(coil_to_thread(seven, NULL), 7);
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, NULL, seven, NULL, 0)), 7);
    assert_int_equal(coil_to_thread(asks_the_loop, coil_get_running_loop()), 7);
    coil_thread_future *f = coil_executor_submit(executor, seven, NULL, 0);
    assert_int_equal(coil_join(coil_wrap_future(f, NULL)), 7);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), 7); /* it is done: no wait */
    coil_thread_future_unref(f);
    must(coil_to_thread(ends_the_pool, executor));
    coil_executor_unref(executor);
    must(coil_loop_shutdown_default_executor(NULL, COIL_FOREVER));
}

COIL_TEST_MAIN()
