/* SPDX-License-Identifier: MIT
 *
 * test_task_as_cpython.c: four thousand random scripts of tasks, futures, callbacks and cancels, turn by
 * turn as in CPython.
 *
 *     seed --> script: up to 8 tasks, each a list of steps such as `await task 3`, `cancel task 1`
 *          --> trace:  "turn who step outcome", a line each     --> compared, 64 scripts at a time
 *
 * test_task_as_cpython.py makes the same scripts of the same seeds and plays them on asyncio; the table
 * is its output, from CPython 3.13.0. When a batch differs, look at one script on both sides:
 *
 *     TASK_SCRIPT=7 build/test/story_test_task_as_cpython prints       test_task_as_cpython.py 7
 *
 * The steps: y one turn; s sleep; w a coroutine that takes a turn; a await a future; t await a task;
 * c cancel a task; C cancelling; u uncancel; f e x set a future's result, its error, cancel it; F a new
 * future in place of a done one; k l call_soon, call_later; h cancel that; d add a done-callback; n N make
 * a task, an eager one; q look at a task; r R X return, fail, return cancelled; S G cancel a task, set a
 * future from a callback. No two timers are due at one time: CPython leaves open which comes first. */
#include "../unit/loop/stage.h"
#include "base/random.h"
#include "loop/loop.h"

enum { BATCH = 64, TASKS = 8, FUTURES = 3, HANDLES = 4, STEPS = 8, NOBODY = -1 };

static const char kinds[] = "yyyyssssaaaaattttttcccccCuufffexxFFFkklhddddnnnNNqrRXwwSSSG";

static const uint64_t cpython[] = {
    0x30c9585a66616475, 0x1a70ee21bf25114f, 0x19da47afd88a9a6c, 0x23a6dfb4c2e6e773,
    0x3c9c1338928f4651, 0x54175cc23a343218, 0x6619245e3598eb9f, 0x4fba74b2279992d7,
    0x636cda039b3856f1, 0x87579562a94a8fcf, 0xa440750554d97259, 0xf02112f7eece8af4,
    0xc9518264ea662785, 0x9b376c5e5ddf484e, 0xf937721ef6da32cf, 0x5ced607e4e98e4a2,
    0x768704418f3fa3f7, 0xfa8953224c7b797e, 0xbe08342fd4c46ec5, 0xc943d92c41a63470,
    0x3254b11bf4424179, 0x861ab3996aaa720b, 0x63dd53889abf2f39, 0x6672ced27abc27f6,
    0xa95a7c3073ac0bc8, 0x4e74ff149722cb5c, 0xf7fd5def73ffa424, 0x5fb54686d844adc0,
    0xe840e2142617b739, 0x5c6d544a3c4a53ca, 0x82ac57505301b2b3, 0x726b40d13992ec0c,
    0x3030ce1cde77ce17, 0x8758d4faea935cf7, 0x1cbe78dac03402ae, 0xa357b1e87fb7bc7f,
    0x388f9ac074566161, 0x033cafa6c32ac079, 0x721f63552d9b0533, 0x0e935d65cd8ad6dd,
    0xb77036a7198d9dad, 0x39f8b17d2bfa1cd7, 0x6b6a5ed1ed4ad5b5, 0x1619b7463b74261d,
    0x9f3acff8cb1d4fa9, 0xe83dd8e9cb3bc0a6, 0x54295ff1113411b1, 0x512da27812381beb,
    0xb8b0c3251b55ffdd, 0xb2741061b113c7e7, 0x112d424ac0cf94d3, 0xdaf5d210a617a692,
    0x124952ea5946cf96, 0x10c735c6ec9120e5, 0x4dd363e5bc275fb2, 0x25af63333e429b5f,
    0x1b7a8abecf408355, 0x6ebde5f16940d5e8, 0x3e94e9ea85f3ba90, 0x26e1e5a86126f4d8,
    0x11a70b7c4bea14b2, 0x2a9bc1d44e807455, 0xa50839a2aa570ffa, 0x40423514a21efc8a,
};

struct step {
    char kind;
    int a, b;
};

static struct {
    struct step steps[TASKS][STEPS];
    int steps_n[TASKS];
    coil_task *tasks[TASKS];
    int tasks_n, first;
    coil_future *futures[FUTURES];
    coil_handle *handles[HANDLES];
    int awaits[TASKS];
    int unique; /* timers so far, so that no two are due at once */
    uint64_t turn0;
    uint64_t digest;
    bool prints;
} play;

/* ---- the trace ---- */

static void tell(const char *who, char kind, int arg, const char *what)
{
    char line[64];
    snprintf(line, sizeof line, "%lu %s%c%d=%s\n", (unsigned long)(stage.loop->turns - play.turn0),
             who, kind, arg, what);
    for (const char *c = line; *c; c++)
        play.digest = (play.digest ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    if (play.prints)
        fputs(line, stdout);
}

static const char *number(intptr_t n)
{
    static char text[24];
    snprintf(text, sizeof text, "%ld", (long)n);
    return text;
}

static const char *outcome(coil_ret rc)
{
    return rc == -ECANCELED ? "cancelled" : coil_iserr(rc) ? "error" : number(rc);
}

static const char *state_of(coil_future *f)
{
    if (!coil_future_done(f))
        return "pending";
    return outcome(coil_future_result(f));
}

/* ---- callbacks ---- */

static void called_soon(void *arg)
{
    tell("!", 'k', (int)(intptr_t)arg, "");
}

static void called_later(void *arg)
{
    tell("!", 'l', (int)(intptr_t)arg, "");
}

static void called_done(coil_future *f, void *arg)
{
    (void)f;
    tell("!", 'd', (int)(intptr_t)arg, "");
}

static void cancel_from_callback(void *arg)
{
    int a = (int)(intptr_t)arg;
    tell("!", 'S', a, number(coil_task_cancel(play.tasks[a], NULL)));
}

static void set_from_callback(void *arg)
{
    int a = (int)(intptr_t)arg;
    coil_future *f = play.futures[a % FUTURES];
    if (!coil_future_done(f)) {
        FACT_INT(coil_future_set_result(f, a), 0);
        tell("!", 'G', a, "1");
    }
}

/* ---- a script ---- */

static coil_ret body(void *arg);

static int make(bool eager)
{
    if (play.tasks_n == TASKS)
        return -1;
    int i = play.tasks_n++;
    play.tasks[i] = NULL;
    coil_task_opts opts = {.size = sizeof opts, .eager = eager};
    play.tasks[i] = coil_create_task_opts(body, (void *)(intptr_t)i, &opts);
    return i;
}

static coil_ret nested(void *arg)
{
    coil_ret rc = coil_sleep(0);
    return coil_iserr(rc) ? rc : (coil_ret)arg;
}

static double delay(int b)
{
    return b + ++play.unique * 1e-6;
}

static bool comes_back(int a, int me)
{
    while (a != NOBODY && a != me)
        a = play.awaits[a];
    return a == me;
}

/* Steps that wait: true, and how it went. */
static bool step_waits(const struct step *s, int me, coil_ret *out)
{
    coil_task *task = s->a < play.tasks_n ? play.tasks[s->a] : NULL;
    switch (s->kind) {
    case 'y': *out = coil_sleep(0); return true;
    case 's': *out = coil_sleep(delay(s->b)); return true;
    case 'a': *out = coil_await(play.futures[s->a % FUTURES]); return true;
    case 'w': *out = coil_await(coil_coro_new(nested, (void *)1)); return true;
    case 't':
        if (!task || comes_back(s->a, me))
            return false;
        play.awaits[me] = s->a;
        *out = coil_await(task);
        play.awaits[me] = NOBODY;
        return true;
    default: return false;
    }
}

/* Steps that do not. */
static const char *step_now(const struct step *s, int me)
{
    coil_task *task = s->a < play.tasks_n ? play.tasks[s->a] : NULL, *self = coil_current_task();
    coil_future **f = &play.futures[s->a % FUTURES];
    coil_handle **h = &play.handles[s->a % HANDLES];
    void *arg = (void *)(intptr_t)s->a, *mine = (void *)(intptr_t)me;
    switch (s->kind) {
    case 'c': return task ? number(coil_task_cancel(task, NULL)) : "-";
    case 'C': return number(coil_task_cancelling(self));
    case 'u': return number(coil_task_uncancel(self));
    case 'f': return number(coil_future_set_result(*f, s->a) == 0);
    case 'e': return number(coil_future_set_exception(*f, COIL_EUSER) == 0);
    case 'x': return number(coil_future_cancel(*f, NULL));
    case 'F':
        if (!coil_future_done(*f))
            return "-";
        coil_future_exception(*f);
        coil_unref(*f);
        *f = coil_loop_create_future(NULL);
        return "1";
    case 'k': soon(called_soon, mine); return "-";
    case 'l':
        coil_handle_unref(*h);
        FACT_INT(coil_loop_call_later(NULL, delay(s->b), called_later, mine, h), 0);
        return "-";
    case 'h':
        if (!*h)
            return "-";
        coil_handle_cancel(*h);
        return "1";
    case 'd':
        if (!(s->b & 1) && !task)
            return "-";
        FACT_INT(coil_future_add_done_callback(s->b & 1 ? *f : task, called_done, mine), 0);
        return "1";
    case 'n':
    case 'N': return number(make(s->kind == 'N'));
    case 'q': return task ? state_of(task) : "-";
    case 'S':
        if (task)
            soon(cancel_from_callback, arg);
        return "-";
    case 'G': soon(set_from_callback, arg); return "-";
    default: return "-";
    }
}

static coil_ret body(void *arg)
{
    int me = (int)(intptr_t)arg;
    char who[8];
    snprintf(who, sizeof who, "%d", me);
    for (int i = 0; i < play.steps_n[me]; i++) {
        const struct step *s = &play.steps[me][i];
        coil_ret rc = 0;
        if (strchr("rRX", s->kind)) {
            tell(who, s->kind, s->a, "");
            return s->kind == 'r' ? s->a : coil_fail(s->kind == 'R' ? COIL_EUSER : -ECANCELED, "x");
        }
        if (step_waits(s, me, &rc)) {
            tell(who, s->kind, s->a, outcome(rc));
            if (coil_iserr(rc) && (s->b & 1))
                return rc;
        } else {
            tell(who, s->kind, s->a, step_now(s, me));
        }
    }
    return 50 + me;
}

static coil_ret main_task(void *arg)
{
    (void)arg;
    play.turn0 = stage.loop->turns;
    for (int i = 0; i < FUTURES; i++)
        play.futures[i] = coil_loop_create_future(NULL);
    for (int i = 0; i < play.first; i++)
        make(false);
    FACT_INT(coil_sleep(100), 0);
    /* Whoever is left waits for ever, or for another: cancel until all are gone. */
    for (int round = 0; round < 2 * TASKS; round++) {
        for (int i = 0; i < play.tasks_n; i++)
            if (!coil_future_done(play.tasks[i]))
                tell("m", 'c', i, number(coil_task_cancel(play.tasks[i], NULL)));
        FACT_INT(coil_sleep(10), 0);
    }
    for (int i = 0; i < play.tasks_n; i++)
        tell("m", 'q', i, state_of(play.tasks[i]));
    for (int i = 0; i < FUTURES; i++)
        tell("m", 'f', i, state_of(play.futures[i]));
    return 0;
}

static void forgive(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)loop, (void)c, (void)arg; /* errors that no script retrieved */
}

static void play_seed(uint64_t seed)
{
    struct random r = {seed};
    uint64_t digest = play.digest;
    bool prints = play.prints;
    memset(&play, 0, sizeof play);
    play.digest = digest, play.prints = prints;
    play.first = 2 + (int)random_below(&r, 4);
    for (int t = 0; t < TASKS; t++) {
        play.awaits[t] = NOBODY;
        play.steps_n[t] = 1 + (int)random_below(&r, STEPS);
        for (int i = 0; i < play.steps_n[t]; i++) {
            struct step *s = &play.steps[t][i];
            s->kind = kinds[random_below(&r, sizeof kinds - 1)];
            s->a = (int)random_below(&r, TASKS);
            s->b = (int)random_below(&r, 4);
        }
    }
    stage.loop = stage_new_loop(true);
    coil_loop_set_exception_handler(stage.loop, forgive, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(main_task, NULL)), 0);
    for (int i = 0; i < play.tasks_n; i++)
        coil_unref(play.tasks[i]);
    for (int i = 0; i < FUTURES; i++)
        coil_unref(play.futures[i]);
    for (int i = 0; i < HANDLES; i++)
        coil_handle_unref(play.handles[i]);
    coil_loop_free(stage.loop);
    stage.loop = NULL;
}

PLAIN(tasks_and_futures_do_what_they_do_in_cpython)
{
    for (uint64_t batch = 0; batch < sizeof cpython / sizeof *cpython && !stage.broken; batch++) {
        play.digest = UINT64_C(0xcbf29ce484222325);
        for (uint64_t seed = batch * BATCH; seed < (batch + 1) * BATCH; seed++)
            play_seed(seed);
        if (play.digest != cpython[batch]) {
            stage.broken++;
            print_error("one of the scripts %lu to %lu goes another way\n",
                        (unsigned long)(batch * BATCH), (unsigned long)((batch + 1) * BATCH - 1));
        }
    }
}

int main(void)
{
    const char *one = getenv("TASK_SCRIPT");
    if (one) {
        play.prints = true;
        play_seed(strtoull(one, NULL, 10));
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_and_futures_do_what_they_do_in_cpython),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
