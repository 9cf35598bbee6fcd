/* SPDX-License-Identifier: MIT
 *
 * test_task_context.c: context variables and tasks: a copy each, shared on request, kept across waits. */
#include "task/task.h"

#include "../loop/stage.h"

static const coil_contextvar color = COIL_CONTEXTVAR("color", TEXT("none"));

static const char *get(void)
{
    return coil_contextvar_get(&color);
}

static void set(const char *value)
{
    FACT_INT(coil_contextvar_set(&color, TEXT(value), NULL), 0);
}

static coil_ret note_set_sleep_note(void *arg)
{
    note("%s", get());
    set(arg);
    FACT_INT(coil_sleep(1), 0);
    note("%s", get());
    return 0;
}

TASK(task_runs_in_a_copy_of_its_creators_context)
{
    set("main");
    coil_task *a = coil_create_task(note_set_sleep_note, TEXT("a"));
    set("changed"); /* after the copy was made */
    coil_task *b = coil_create_task(note_set_sleep_note, TEXT("b"));
    FACT_INT(coil_join(a), 0);
    FACT_INT(coil_join(b), 0);
    FACT_TRACE("main changed a b"); /* each keeps its own across its waits */
    FACT_TEXT(get(), "changed");
    return 0;
}

TASK(tasks_given_one_context_share_it)
{
    void *value;
    coil_context *c = coil_context_new();
    coil_task_opts opts = {.size = sizeof opts, .context = c};
    coil_task *a = coil_create_task_opts(note_set_sleep_note, TEXT("a"), &opts);
    coil_task *b = coil_create_task_opts(note_set_sleep_note, TEXT("b"), &opts);
    FACT(coil_task_get_context(a) == c);
    coil_context_unref(c); /* they hold it */
    FACT_INT(coil_join(a), 0);
    FACT(coil_context_get(c, &color, &value));
    FACT_TEXT(value, "b");
    FACT_INT(coil_join(b), 0);
    FACT_TRACE("none a b b");
    FACT_TEXT(get(), "none");
    return 0;
}

TASK(context_of_a_task_may_be_looked_into)
{
    void *value;
    coil_task *t = coil_create_task(note_set_sleep_note, TEXT("inside"));
    FACT(!coil_context_get(coil_task_get_context(t), &color, &value));
    pass();
    FACT(coil_context_get(coil_task_get_context(t), &color, &value));
    FACT_TEXT(value, "inside");
    FACT_INT(coil_join(t), 0);
    stage.log[0] = '\0';
    return 0;
}

/* ---- a task's own context, given to others (asyncio: context=task.get_context()) ---- */

static coil_ret note_color(void *arg)
{
    note("%s", get());
    if (arg)
        set(arg);
    return 0;
}

static void note_color_callback(void *arg)
{
    note_color(arg);
}

static void note_color_done(coil_future *f, void *arg)
{
    (void)f;
    note_color(arg);
}

TASK(context_of_a_task_may_be_given_to_another)
{
    coil_task *owner = coil_create_task(note_color, TEXT("owner"));
    FACT_INT(coil_await(owner), 0);
    coil_task_opts opts = {.size = sizeof opts, .context = coil_task_get_context(owner)};
    coil_task *t = coil_create_task_opts(note_color, TEXT("other"), &opts);
    FACT(coil_task_get_context(t) == coil_task_get_context(owner));
    coil_unref(owner); /* kept alive by who uses its context */
    FACT_INT(coil_await(t), 0);
    FACT_TRACE("none owner");
    coil_unref(t);
    return 0;
}

TASK(context_of_a_task_may_be_given_to_callbacks)
{
    coil_handle *h;
    coil_task *owner = coil_create_task(note_color, TEXT("owner"));
    FACT_INT(coil_await(owner), 0);
    coil_context *c = coil_task_get_context(owner);
    FACT_INT(coil_loop_call_soon_context(NULL, note_color_callback, TEXT("soon"), c, NULL), 0);
    FACT_INT(coil_loop_call_at_context(NULL, now() + 1, note_color_callback, TEXT("at"), c, &h), 0);
    coil_future *f = coil_loop_create_future(NULL);
    FACT_INT(coil_future_add_done_callback_context(f, note_color_done, TEXT("done"), c), 0);
    coil_unref(owner);
    FACT_INT(coil_future_set_result(f, 1), 0);
    FACT_INT(coil_sleep(2), 0);
    FACT_TRACE("none owner soon done");
    coil_handle_unref(h);
    coil_unref(f);
    return 0;
}

TASK(context_of_a_task_is_counted)
{
    void *value;
    coil_task *owner = coil_create_task(note_color, TEXT("owner"));
    FACT_INT(coil_await(owner), 0);
    coil_context *c = coil_context_ref(coil_task_get_context(owner));
    coil_context *same = coil_context_ref(c);
    FACT(same == c);
    coil_unref(owner);
    FACT(coil_context_get(c, &color, &value)); /* the context holds its task */
    FACT_TEXT(value, "owner");
    coil_context_unref(c);
    FACT_INT(coil_context_run(same, note_color, NULL), 0);
    FACT_TRACE("none owner");
    coil_context_unref(same);
    return 0;
}

static coil_ret drop_own_context(void *arg)
{
    coil_context *c = coil_context_ref(coil_task_get_context(coil_current_task()));
    set("x");
    FACT_INT(coil_sleep(1), 0);
    coil_context_unref(c);
    FACT_TEXT(get(), "x");
    return (coil_ret)arg;
}

TASK(context_of_a_task_may_be_counted_by_itself)
{
    FACT_INT(coil_join(coil_create_task(drop_own_context, (void *)3)), 3);
    coil_unref(coil_create_task(drop_own_context, NULL)); /* and nobody else holds it */
    FACT_INT(coil_sleep(2), 0);
    return 0;
}

/* ---- running in a context, and waiting there ---- */

TASK(context_run_inside_a_task_may_wait)
{
    coil_context *c = coil_context_new();
    set("outer");
    coil_task *t = coil_create_task(note_set_sleep_note, TEXT("task"));
    FACT_INT(coil_context_run(c, note_set_sleep_note, TEXT("run")), 0);
    FACT_TEXT(get(), "outer");
    FACT_INT(coil_join(t), 0);
    FACT_TRACE("none outer run task");
    coil_context_unref(c);
    return 0;
}

static coil_ret enter_too(void *arg)
{
    coil_ret rc = coil_context_run(arg, note_color, NULL);
    FACT_ERROR(COIL_ERUNNING, "already entered");
    return rc;
}

TASK(context_that_a_parked_task_is_in_cannot_be_entered)
{
    coil_context *c = coil_context_new();
    coil_task *t = coil_create_task(enter_too, c);
    FACT_INT(coil_context_run(c, note_set_sleep_note, TEXT("x")), 0);
    FACT_INT(coil_join(t), COIL_ERUNNING);
    FACT_INT(coil_context_run(c, note_color, NULL), 0);
    FACT_TRACE("none x x");
    coil_context_unref(c);
    return 0;
}

TASK(context_of_the_running_task_cannot_be_entered)
{
    FACT_INT(coil_context_run(coil_task_get_context(coil_current_task()), note_color, NULL),
             COIL_ERUNNING);
    FACT_TRACE("");
    return 0;
}

static void callback_in_entered(void *arg)
{
    note_arg(arg);
}

TASK(callback_whose_context_is_entered_is_reported_and_not_run)
{
    coil_context *c = coil_context_new();
    coil_handle *h;
    FACT_INT(coil_loop_call_soon_context(NULL, callback_in_entered, TEXT("never"), c, &h), 0);
    FACT_INT(coil_context_run(c, note_set_sleep_note, TEXT("x")), 0);
    FACT_TRACE("none x");
    FACT_INT(stage.report.code, COIL_ERUNNING);
    FACT_TEXT(stage.report.kind, "callback-not-run");
    FACT(stage.report.handle == h);
    coil_handle_unref(h);
    FACT_REPORT("a callback was not run: its context is already entered");
    coil_context_unref(c);
    return 0;
}

/* ---- what is started from where ---- */

static coil_ret start_another(void *arg)
{
    set(arg);
    coil_task *t = coil_create_task(note_color, NULL);
    soon(note_color_callback, NULL);
    later(1, note_color_callback, NULL);
    coil_future *f = coil_loop_create_future(NULL);
    FACT_INT(coil_future_add_done_callback(f, note_color_done, NULL), 0);
    set("later");
    FACT_INT(coil_future_set_result(f, 1), 0);
    coil_unref(f);
    FACT_INT(coil_sleep(2), 0);
    return coil_join(t);
}

TASK(whatever_is_started_sees_what_its_maker_saw_then)
{
    FACT_INT(coil_join(coil_create_task(start_another, TEXT("maker"))), 0);
    FACT_TRACE("maker maker maker maker");
    FACT_TEXT(get(), "none");
    return 0;
}

static coil_ret generator_body(coil_gen *self, void *arg)
{
    (void)arg;
    note("%s", get());
    set("generator");
    coil_ret sent = coil_gen_yield(self, 1);
    note("%s", get());
    FACT_INT(coil_sleep(1), 0);
    note("%s", get());
    return sent;
}

TASK(generator_runs_in_the_context_of_who_drives_it)
{
    coil_ret value;
    set("driver");
    coil_gen *gen = coil_gen_new(generator_body, NULL);
    FACT_INT(coil_gen_next(gen, &value), 1);
    FACT_TEXT(get(), "generator"); /* what it sets is set here: it has no context of its own */
    set("driver again");
    FACT_INT(coil_gen_next(gen, &value), 0);
    FACT_TRACE("driver driver again driver again");
    coil_gen_unref(gen);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(task_runs_in_a_copy_of_its_creators_context),
        cmocka_unit_test(tasks_given_one_context_share_it),
        cmocka_unit_test(context_of_a_task_may_be_looked_into),
        cmocka_unit_test(context_of_a_task_may_be_given_to_another),
        cmocka_unit_test(context_of_a_task_may_be_given_to_callbacks),
        cmocka_unit_test(context_of_a_task_is_counted),
        cmocka_unit_test(context_of_a_task_may_be_counted_by_itself),
        cmocka_unit_test(context_run_inside_a_task_may_wait),
        cmocka_unit_test(context_that_a_parked_task_is_in_cannot_be_entered),
        cmocka_unit_test(context_of_the_running_task_cannot_be_entered),
        cmocka_unit_test(callback_whose_context_is_entered_is_reported_and_not_run),
        cmocka_unit_test(whatever_is_started_sees_what_its_maker_saw_then),
        cmocka_unit_test(generator_runs_in_the_context_of_who_drives_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
