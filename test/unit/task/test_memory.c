/* SPDX-License-Identifier: MIT
 *
 * test_memory.c: every allocation of the loop's and the tasks' calls fails once: each call then says
 * -ENOMEM or does its work, what it promised is kept, nothing is lost or left behind. */
#include "task/task.h"

#include "../loop/stage.h"

#include <sys/socket.h>

#if STAGE_TABLE

enum { MANY = 200 }; /* enough to make each array grow */

static int succeeded; /* calls that promised something */
static int kept;      /* promises kept */

/* A call's answer: done, or no memory and that recorded. */
static bool ok(coil_ret rc, int line)
{
    if (rc == -ENOMEM) {
        stage_fact_int(coil_last_error()->code, -ENOMEM, __FILE__, line, "the record");
        return false;
    }
    if (rc == COIL_EEXIT)
        return false; /* the run itself had no memory, and the main task is unwound */
    stage_fact_int(coil_iserr(rc), 0, __FILE__, line, "the answer");
    return true;
}
#define OK(call)   ok((call), __LINE__)
#define MADE(call) (OK(call) ? (void)succeeded++ : (void)0)

static void keep(void *arg)
{
    (void)arg;
    kept++;
}

static void forgive(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)loop, (void)c, (void)arg; /* an error that nobody retrieved, for want of memory */
}

/* Runs the scene with its first allocation failing, its second, ... and once with all that follow
 * failing as well. */
static void sweep(void (*scene)(void))
{
    for (int all = 0; all < 2; all++) {
        for (int64_t n = 1;; n++) {
            int64_t live = coil__mem_live(), tried = coil__mem_tried();
            succeeded = kept = 0;
            stage.loop = NULL;
            coil__mem_fail_at(n, all);
            scene();
            coil__mem_fail_at(0, 0);
            coil_loop_free(stage.loop);
            stage.loop = NULL;
            if (!FACT_INT(kept, succeeded) || !FACT_INT(coil__mem_live() - live, 0) ||
                stage.broken) {
                print_error("when allocation %ld fails%s\n", (long)n,
                            all ? " and all after it" : "");
                return;
            }
            if (coil__mem_tried() - tried < n)
                break;
        }
    }
}

static bool open_loop(void)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    stage.loop = coil_new_event_loop(&opts);
    if (!stage.loop) {
        FACT_ERROR(-ENOMEM, "");
        return false;
    }
    coil_loop_set_exception_handler(stage.loop, forgive, NULL);
    return true;
}

/* Run until nothing is ready; memory is there again, so that promises can be kept. */
static void run_dry(void)
{
    coil_loop_stats_t s;
    coil__mem_fail_at(0, 0);
    do {
        coil_loop_stop(stage.loop);
        FACT_INT(coil_loop_run_forever(stage.loop), 0);
        coil_loop_stats(stage.loop, &s);
    } while (s.ready);
}

/* As above, while memory still fails. */
static void one_try(void)
{
    coil_loop_stop(stage.loop);
    OK(coil_loop_run_forever(stage.loop));
    coil_loop_stop(stage.loop);
    OK(coil_loop_run_forever(stage.loop));
}

/* ---- scenes of the loop ---- */

static const coil_contextvar color = COIL_CONTEXTVAR("color", NULL);

static void scene_callbacks(void)
{
    coil_handle *handles[MANY] = {NULL};
    if (!open_loop())
        return;
    coil_contextvar_token token;
    bool set = OK(coil_contextvar_set(&color, keep, &token));
    for (int i = 0; i < MANY; i++) {
        MADE(coil_loop_call_soon(stage.loop, keep, NULL, NULL));
        MADE(coil_loop_call_soon(stage.loop, keep, NULL, &handles[i]));
    }
    one_try();
    run_dry();
    for (int i = 0; i < MANY; i++)
        coil_handle_unref(handles[i]);
    if (set)
        FACT_INT(coil_contextvar_reset(&token), 0);
}

static void scene_timers(void)
{
    coil_handle *h = NULL;
    if (!open_loop())
        return;
    for (int i = 0; i < MANY; i++)
        MADE(coil_loop_call_later(stage.loop, i % 7, keep, NULL, NULL));
    if (OK(coil_loop_call_at(stage.loop, 3, keep, NULL, &h)))
        coil_handle_cancel(h);
    one_try();
    coil_handle_unref(h);
    run_dry();
    coil_loop_call_later(stage.loop, 10, stop_loop, stage.loop, NULL);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
}

static void scene_posts(void)
{
    coil_handle *handles[MANY] = {NULL};
    if (!open_loop())
        return;
    coil_contextvar_token token;
    bool set = OK(coil_contextvar_set(&color, keep, &token));
    for (int i = 0; i < MANY; i++) {
        MADE(coil_loop_call_soon_threadsafe(stage.loop, keep, NULL, NULL));
        MADE(coil_loop_call_soon_threadsafe(stage.loop, keep, NULL, &handles[i]));
    }
    one_try(); /* the ring may not grow while they arrive: they come again */
    run_dry();
    for (int i = 0; i < MANY; i++)
        coil_handle_unref(handles[i]);
    if (set)
        FACT_INT(coil_contextvar_reset(&token), 0);
}

static int pair[2];

static void read_one(void *arg)
{
    char c;
    (void)arg;
    kept += read(pair[0], &c, 1) == 1;
}

static void scene_readers(void)
{
    if (!open_loop())
        return;
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    bool watched = OK(coil_loop_add_reader(stage.loop, pair[0], read_one, NULL));
    /* A second one that cannot be had leaves the first. */
    OK(coil_loop_add_reader(stage.loop, pair[0], read_one, NULL));
    OK(coil_loop_add_writer(stage.loop, pair[0], keep, NULL));
    coil_loop_remove_writer(stage.loop, pair[0]);
    one_try();
    run_dry();
    coil_loop_stats_t s;
    coil_loop_stats(stage.loop, &s); /* the backend may have refused it, and reported that */
    if (watched && s.fds) {
        FACT_INT(write(pair[1], "x", 1), 1);
        succeeded++;
        kept = 0;
        run_dry();
        FACT_INT(coil_loop_remove_reader(stage.loop, pair[0]), 1);
    } else {
        kept = succeeded;
    }
    coil_loop_forget_fd(stage.loop, pair[0]);
    close(pair[0]);
    close(pair[1]);
}

static void raise_it(void *arg)
{
    (void)arg;
    coil_loop_raise(NULL, coil_fail(COIL_EUSER, "words"));
}

static void scene_raise(void)
{
    if (!open_loop())
        return;
    if (!OK(coil_loop_call_soon(stage.loop, raise_it, NULL, NULL)))
        return;
    coil_ret rc = coil_loop_run_forever(stage.loop);
    FACT(rc == COIL_EUSER || rc == -ENOMEM);
}

/* ---- scenes of futures and tasks ---- */

static void done(coil_future *f, void *arg)
{
    (void)f, (void)arg;
    kept++;
}

static bool got(coil_future *f)
{
    if (coil_future_get_loop(f))
        return true;
    FACT_INT(coil_future_result(f), -ENOMEM);
    coil_unref(f);
    return false;
}

static void scene_futures(void)
{
    if (!open_loop())
        return;
    for (int i = 0; i < 3; i++) {
        coil_future *f = coil_loop_create_future(stage.loop);
        if (!got(f))
            continue;
        for (int k = 0; k < MANY; k++)
            MADE(coil_future_add_done_callback(f, done, NULL));
        if (i == 0)
            FACT_INT(coil_future_set_result(f, 1), 0);
        else if (i == 1)
            FACT_INT(coil_future_set_exception(f, coil_fail(COIL_EUSER, "words")), 0);
        else
            FACT(coil_future_cancel(f, "message"));
        coil_ret rc = coil_future_result(f);
        FACT_INT(rc, i == 0 ? 1 : i == 1 ? COIL_EUSER : -ECANCELED);
        FACT(coil_future_exception(f) == NULL || *coil_future_exception(f)->message);
        coil_unref(f);
    }
    run_dry();
}

static coil_ret work(void *arg)
{
    coil_ret rc = coil_sleep((double)(intptr_t)arg);
    kept++;
    return rc;
}

static coil_ret awaiter(void *arg)
{
    coil_ret rc = coil_await((coil_future *)arg);
    kept++;
    return rc;
}

static void scene_tasks(void)
{
    coil_task *tasks[MANY];
    int n = 0;
    if (!open_loop())
        return;
    for (int i = 0; i < MANY; i++) {
        coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
        coil_task *t = n && i % 4 == 3
                           ? coil_create_task_opts(awaiter, tasks[n - 1], &opts)
                           : coil_create_task_opts(work, (void *)(intptr_t)(i % 3), &opts);
        if (!got(t))
            continue;
        succeeded++;
        tasks[n++] = t;
    }
    one_try();
    run_dry();
    coil_loop_call_later(stage.loop, 10, stop_loop, stage.loop, NULL);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    for (int i = 0; i < n; i++) {
        FACT(coil_future_done(tasks[i]));
        OK(coil_future_result(tasks[i])); /* a sleep without memory for its timer says so */
        coil_unref(tasks[i]);
    }
}

static void scene_cancelled_tasks(void)
{
    coil_task *tasks[8];
    int n = 0;
    if (!open_loop())
        return;
    for (int i = 0; i < 8; i++) {
        coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
        coil_task *t = coil_create_task_opts(work, (void *)1, &opts);
        if (got(t))
            tasks[n++] = t;
    }
    one_try();
    for (int i = 0; i < n; i++)
        if (!coil_future_done(tasks[i]))
            FACT(coil_task_cancel(tasks[i], "a message of some length"));
    one_try();
    run_dry();
    for (int i = 0; i < n; i++) {
        coil_ret rc = coil_future_result(tasks[i]);
        FACT(rc == -ECANCELED || rc == -ENOMEM);
        coil_unref(tasks[i]);
    }
    kept = succeeded;
}

static coil_ret fail_with_cause(void *arg)
{
    (void)arg;
    coil_fail(-EIO, "cause");
    return coil_fail_from(COIL_EUSER, "words");
}

static coil_ret look_at_args(void *arg)
{
    return *(int *)arg;
}

static coil_ret main_task(void *arg)
{
    (void)arg;
    coil_coro *c = coil_coro_new(work, NULL);
    if (!c)
        FACT_ERROR(-ENOMEM, "");
    else
        OK(coil_await(c));
    coil_coro *d = coil_coro_new(work, NULL);
    if (d) {
        coil_task *t = coil_create_task_coro(d);
        OK(coil_join(t));
    }
    coil_task *failing = coil_create_task(fail_with_cause, NULL);
    coil_ret rc = coil_join(failing);
    FACT(rc == -ENOMEM || rc == COIL_EUSER || rc == COIL_EEXIT);
    if (rc == COIL_EUSER)
        FACT_ERROR(COIL_EUSER, "words"); /* also when its causes are lost */
    if (OK(coil_wait_fd(pair[1], COIL_WRITE)))
        note("x");
    int args[100] = {1};
    OK(coil_join(coil_create_task_with(look_at_args, args, sizeof args)));
    coil_task_opts opts = {.size = sizeof opts, .eager = true};
    OK(coil_join(coil_create_task_opts(work, NULL, &opts)));
    coil_context *context = coil_copy_context();
    if (context) {
        opts.context = context;
        OK(coil_join(coil_create_task_opts(work, NULL, &opts)));
        coil_context_unref(context);
    }
    return 0;
}

static void scene_main(void)
{
    if (!open_loop())
        return;
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    coil_coro *c = coil_coro_new(main_task, NULL);
    if (c)
        OK(coil_loop_run_until_complete(stage.loop, c));
    coil__mem_fail_at(0, 0);
    run_dry();
    stage.log[0] = '\0';
    kept = succeeded;
    close(pair[0]);
    close(pair[1]);
}

static coil_ret sleeper(void *arg)
{
    (void)arg;
    coil_ret rc = coil_sleep(100);
    coil_fail_from(COIL_EUSER, "on the way out");
    return rc;
}

static void scene_close(void)
{
    if (!open_loop())
        return;
    for (int i = 0; i < 20; i++) {
        coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
        coil_unref(coil_create_task_opts(sleeper, NULL, &opts));
        coil_loop_call_soon(stage.loop, keep, NULL, NULL);
        coil_loop_call_later(stage.loop, 50, keep, NULL, NULL);
        coil_loop_call_soon_threadsafe(stage.loop, keep, NULL, NULL);
    }
    one_try();
    FACT_INT(coil_loop_close(stage.loop), 0); /* needs no memory */
    kept = succeeded;
}

#define SCENE(name, scene) \
    PLAIN(name)            \
    {                      \
        sweep(scene);      \
    }

SCENE(memory_fails_under_callbacks, scene_callbacks)
SCENE(memory_fails_under_timers, scene_timers)
SCENE(memory_fails_under_calls_from_threads, scene_posts)
SCENE(memory_fails_under_readers, scene_readers)
SCENE(memory_fails_under_raise, scene_raise)
SCENE(memory_fails_under_futures, scene_futures)
SCENE(memory_fails_under_tasks, scene_tasks)
SCENE(memory_fails_under_cancelled_tasks, scene_cancelled_tasks)
SCENE(memory_fails_under_awaits, scene_main)
SCENE(memory_fails_under_close, scene_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_fails_under_callbacks),
        cmocka_unit_test(memory_fails_under_timers),
        cmocka_unit_test(memory_fails_under_calls_from_threads),
        cmocka_unit_test(memory_fails_under_readers),
        cmocka_unit_test(memory_fails_under_raise),
        cmocka_unit_test(memory_fails_under_futures),
        cmocka_unit_test(memory_fails_under_tasks),
        cmocka_unit_test(memory_fails_under_cancelled_tasks),
        cmocka_unit_test(memory_fails_under_awaits),
        cmocka_unit_test(memory_fails_under_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
int main(void)
{
    puts("this build does not count allocations");
    return 77;
}
#endif
