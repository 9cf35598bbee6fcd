/* SPDX-License-Identifier: MIT
 *
 * test_factory.c: who makes a loop's tasks; story/tasks.c has what asyncio's tests say of it. */
#include "test.h"

#include "base/mem.h"

#include <coil.h>

static struct {
    int asked;
    coil_loop *loop;
    coil_task_recipe recipe;
    coil_task_opts opts;
    void *arg;
} seen;

static coil_task *look_and_make(coil_loop *loop, const coil_task_recipe *recipe,
                                const coil_task_opts *opts, void *arg)
{
    seen.asked++;
    seen.loop = loop;
    seen.recipe = *recipe;
    seen.opts = *opts;
    seen.arg = arg;
    return coil_task_new(loop, recipe, opts);
}

static void look(void *arg)
{
    memset(&seen, 0, sizeof seen);
    assert_int_equal(coil_loop_set_task_factory(NULL, look_and_make, arg), 0);
}

static coil_ret give(void *arg)
{
    return (coil_ret)arg;
}

static coil_ret give_sum(void *arg)
{
    const int *n = arg;
    coil_ret rc = coil_sleep(0);
    return coil_iserr(rc) ? rc : n[0] + n[1];
}

/* ---- one that is set ---- */

COIL_TEST(factory_is_handed_what_the_task_is_to_be)
{
    int data;
    coil_context *context = coil_context_new();
    coil_task_opts opts = {.size = sizeof opts, .name = "it", .context = context, .eager = true};
    look(&data);
    coil_task *task = coil_create_task_opts(give, (void *)7, &opts);
    assert_int_equal(seen.asked, 1);
    assert_ptr_equal(seen.loop, coil_get_running_loop());
    assert_ptr_equal(seen.opts.loop, seen.loop);
    assert_ptr_equal(seen.arg, &data);
    assert_true(seen.recipe.fn == give);
    assert_ptr_equal(seen.recipe.arg, (void *)7);
    assert_string_equal(seen.recipe.file, __FILE__);
    assert_string_equal(seen.opts.name, "it");
    assert_ptr_equal(seen.opts.context, context);
    assert_true(seen.opts.eager);
    assert_true(coil_future_done(task));
    assert_int_equal(coil_join(task), 7);
    coil_context_unref(context);
}

static coil_ret await_object(coil_awaitable *self)
{
    (void)self;
    return 4;
}

COIL_TEST(factory_is_asked_by_whatever_makes_a_task)
{
    int two[] = {40, 2};
    coil_awaitable object = {await_object};
    look(NULL);
    assert_int_equal(coil_join(coil_create_task(give, (void *)1)), 1);
    assert_int_equal(coil_join(coil_create_task_with(give_sum, two, sizeof two)), 42);
    assert_int_equal(seen.recipe.copy, sizeof two);
    assert_int_equal(coil_join(coil_loop_create_task(coil_get_running_loop(), give, (void *)2)), 2);
    assert_int_equal(coil_join(coil_create_task_coro(coil_coro_new(give, (void *)3))), 3);
    assert_int_equal(coil_join(coil_ensure_future(&object)), 4);
    assert_int_equal(seen.asked, 5);
    coil_task_group(g);
    coil_group_create_task(&g, give, (void *)5);
    assert_int_equal(coil_group_exit(&g, 0), 0);
    assert_int_equal(seen.asked, 6);
    coil_thread_future *thread = coil_run_coroutine_threadsafe(coil_get_running_loop(), give,
                                                               (void *)7);
    assert_int_equal(coil_join(coil_wrap_future(thread, NULL)), 7);
    coil_thread_future_unref(thread);
    assert_int_equal(seen.asked, 7);
    assert_int_equal(coil_loop_set_task_factory(NULL, NULL, NULL), 0);
    assert_int_equal(coil_join(coil_create_task(give, (void *)1)), 1);
    assert_int_equal(seen.asked, 7);
}

COIL_TEST(factory_is_not_asked_for_what_cannot_be_a_task)
{
    look(NULL);
    assert_int_equal(coil_join(coil_create_task(NULL, NULL)), -EINVAL);
    assert_int_equal(coil_join(coil_create_task_with(give, NULL, 8)), -EINVAL);
    assert_int_equal(seen.asked, 0);
}

COIL_TEST_PLAIN(factory_of_a_closed_loop_is_refused)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_loop_close(loop);
    assert_int_equal(coil_loop_set_task_factory(loop, look_and_make, NULL), COIL_ECLOSED);
    assert_null(coil_loop_get_task_factory(loop, NULL));
    coil_loop_free(loop);
    assert_int_equal(coil_loop_set_task_factory(NULL, look_and_make, NULL), COIL_ENOLOOP);
}

/* ---- ones of their own ---- */

struct wrapped {
    coil_fn fn;
    void *arg;
    int *left;
};

static coil_ret run_wrapped(void *arg)
{
    const struct wrapped *w = arg;
    coil_ret rc = w->fn(w->arg);
    ++*w->left;
    return rc;
}

/* As a tracer would. */
static coil_task *wrap(coil_loop *loop, const coil_task_recipe *recipe, const coil_task_opts *opts,
                       void *arg)
{
    struct wrapped w = {recipe->fn, (void *)(uintptr_t)recipe->arg, arg};
    coil_task_recipe own = *recipe;
    own.fn = run_wrapped;
    own.arg = &w;
    own.copy = sizeof w;
    return coil_task_new(loop, &own, opts);
}

COIL_TEST(factory_may_run_the_function_inside_one_of_its_own)
{
    int left = 0;
    coil_loop_set_task_factory(NULL, wrap, &left);
    assert_int_equal(coil_join(coil_create_task(give, (void *)7)), 7);
    assert_int_equal(coil_join(coil_create_task_coro(coil_coro_new(give, (void *)8))), 8);
    assert_int_equal(left, 2);
    coil_task *task = coil_create_task_coro(coil_coro_new(give, NULL)); /* it never begins */
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_int_equal(left, 2);
}

static coil_task *call_create_task(coil_loop *loop, const coil_task_recipe *recipe,
                                   const coil_task_opts *opts, void *arg)
{
    (void)loop;
    ++*(int *)arg;
    return coil_create_task_at(recipe->file, recipe->line, recipe->fn, recipe->arg, recipe->copy,
                               opts);
}

COIL_TEST(factory_that_calls_create_task_makes_a_task)
{
    int asked = 0;
    coil_loop_set_task_factory(NULL, call_create_task, &asked);
    assert_int_equal(coil_join(coil_create_task(give, (void *)7)), 7);
    assert_int_equal(asked, 1);
}

static coil_task *make_nothing(coil_loop *loop, const coil_task_recipe *recipe,
                               const coil_task_opts *opts, void *arg)
{
    (void)loop, (void)recipe, (void)opts, (void)arg;
    return NULL;
}

static coil_task *refuse(coil_loop *loop, const coil_task_recipe *recipe,
                         const coil_task_opts *opts, void *arg)
{
    coil_future *failed = coil_loop_create_future(loop);
    (void)recipe, (void)opts, (void)arg;
    coil_future_set_exception(failed, coil_fail(COIL_EUSER, "no more tasks today"));
    return failed;
}

COIL_TEST(factory_that_makes_nothing_or_fails_is_met_at_the_await)
{
    coil_loop_set_task_factory(NULL, make_nothing, NULL);
    assert_int_equal(coil_join(coil_create_task(give, NULL)), COIL_ETYPE);
    assert_int_equal(coil_join(coil_create_task_coro(coil_coro_new(give, NULL))), COIL_ETYPE);
    coil_loop_set_task_factory(NULL, refuse, NULL);
    assert_int_equal(coil_join(coil_create_task(give, NULL)), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "no more tasks today");
    coil_task_group(g);
    coil_group_create_task(&g, give, NULL);
    assert_int_equal(coil_group_exit(&g, 0), COIL_EUSER);
}

static coil_task *done_at_once(coil_loop *loop, const coil_task_recipe *recipe,
                               const coil_task_opts *opts, void *arg)
{
    coil_future *future = coil_loop_create_future(loop);
    (void)opts;
    coil_future_set_result(future, recipe->fn((void *)(uintptr_t)recipe->arg) + (coil_ret)arg);
    return future;
}

COIL_TEST(factory_may_return_any_future)
{
    coil_loop_set_task_factory(NULL, done_at_once, (void *)100);
    coil_task *task = coil_create_task(give, (void *)7);
    assert_false(coil_is_task(task));
    assert_string_equal(coil_task_get_name(task), "");
    assert_false(coil_task_cancel(task, NULL));
    assert_int_equal(coil_join(task), 107);
    assert_int_equal(coil_join(coil_create_task_coro(coil_coro_new(give, (void *)8))), 108);
    coil_task_group(g);
    coil_group_create_task(&g, give, NULL);
    assert_int_equal(coil_group_exit(&g, 0), 0);
}

/* ---- eager ones ---- */

static coil_ret make_another(void *arg)
{
    coil_task *inner = coil_create_task(give, arg);
    bool was_eager = coil_future_done(inner);
    coil_ret rc = coil_join(inner);
    return was_eager ? rc : -EIO;
}

COIL_TEST(eager_factory_makes_every_task_eager_but_those_that_ask)
{
    assert_int_equal(coil_loop_set_task_factory(NULL, coil_eager_task_factory, NULL), 0);
    coil_task *task = coil_create_task(give, (void *)7);
    assert_true(coil_future_done(task));
    assert_int_equal(coil_join(task), 7);
    task = coil_create_task_opts(
        give, (void *)8, &((coil_task_opts){.size = sizeof(coil_task_opts), .no_eager = true}));
    assert_false(coil_future_done(task));
    assert_int_equal(coil_join(task), 8);
    /* One that is made in an eager task's first step, inside the factory as it were. */
    assert_int_equal(coil_join(coil_create_task(make_another, (void *)9)), 9);
    task = coil_create_task_coro(coil_coro_new(give, (void *)10));
    assert_true(coil_future_done(task));
    assert_int_equal(coil_join(task), 10);
}

COIL_TEST(eager_factory_hands_on_to_the_constructor_it_was_given)
{
    coil_task_factory constructor = {look_and_make, &constructor}, nothing = {NULL, NULL};
    memset(&seen, 0, sizeof seen);
    coil_loop_set_task_factory(NULL, coil_eager_task_factory, &constructor);
    assert_int_equal(coil_join(coil_create_task(give, (void *)7)), 7);
    assert_int_equal(seen.asked, 1);
    assert_ptr_equal(seen.arg, &constructor);
    assert_true(seen.opts.eager);
    coil_loop_set_task_factory(NULL, coil_eager_task_factory, &nothing);
    assert_int_equal(coil_join(coil_create_task(give, NULL)), COIL_ETYPE);
}

static coil_ret greet(coil_reader *reader, coil_writer *writer, void *arg)
{
    (void)reader;
    (*(int *)arg)++;
    return coil_writer_write(writer, "hi", 2);
}

static coil_ret serve_one(int *served)
{
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    char port[8], got[2];
    if (coil_start_server(greet, served, "127.0.0.1", "0", &server) < 0)
        return -EIO;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    coil_ret rc = coil_open_connection("127.0.0.1", port, &reader, &writer);
    if (!coil_iserr(rc)) {
        rc = coil_reader_readexactly(reader, got, 2, NULL);
        coil_ignore(coil_writer_finish(writer));
    }
    coil_ignore(coil_server_finish(server));
    return rc;
}

COIL_TEST(server_serves_under_any_factory)
{
    int served = 0;
    coil_loop_set_task_factory(NULL, coil_eager_task_factory, NULL);
    assert_int_equal(serve_one(&served), 2);
    look(NULL);
    assert_int_equal(serve_one(&served), 2);
    assert_int_equal(served, 2);
    assert_true(seen.asked >= 1);
    assert_true(seen.opts.no_eager);
}

static void make_one(void *arg)
{
    (void)arg;
    coil_ret rc = coil_join(coil_create_task_coro(coil_coro_new(give, (void *)7)));
    assert_true(rc == 7 || rc == -ENOMEM || rc == -EINVAL);
}

COIL_TEST(factories_survive_failing_allocations)
{
    make_one(NULL);
    coil_loop_set_task_factory(NULL, coil_eager_task_factory, NULL);
    assert_true(sweep_allocations(make_one, NULL) > 1);
}

COIL_TEST_MAIN()
