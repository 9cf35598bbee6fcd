/* SPDX-License-Identifier: MIT
 *
 * generate.c: the script of a seed.
 *
 * A script has a main family of statements and a second one, so that things meet: half of its statements are of the
 * first, a fifth of the second, the rest of any. Two in five have a meeting: several tasks wait for one thing. What makes sense only together (wait_condition inside the lock,
 * child inside a group) is written as a phrase. Delays are few, so that many timers fall due at once.
 *
 * The recorded traces are of these scripts: a change here makes other scripts, and `./dev diff record` is due. */
#include "script.h"

#include "base/random.h"

#include <string.h>

#define LENGTH(array) ((uint32_t)(sizeof(array) / sizeof *(array)))

/* A place where several tasks wait in line: how, and how one of them is woken. */
struct meeting {
    enum op waits, wakes;
    char kind;
};

static const struct meeting meetings[] = {
    {OP_get, OP_put_nowait, 'Q'},
    {OP_put, OP_get_nowait, 'Q'},
    {OP_join, OP_task_done, 'Q'},
    {OP_acquire, OP_release, 'L'},
    {OP_acquire, OP_release, 'S'},
    {OP_wait_event, OP_set_event, 'E'},
    {OP_wait_condition, OP_notify, 'C'},
    {OP_wait_barrier, OP_wait_barrier, 'B'},
    {OP_await, OP_set, 'f'},
    {OP_shield, OP_fail, 'f'},
};

struct maker {
    struct random random;
    struct script *script;
    const struct family *first, *second;
    const struct meeting *meeting; /* NULL: there is none */
    struct arg place;              /* where it is */
    int task;                      /* whose body it is */
    int depth;                     /* of blocks */
    int left;                      /* statements that may still be made */
    int *link;                     /* where the next one is linked in */
    bool placed[TASKS];            /* some statement starts it */
    int timeouts;                  /* how many there are so far */
    int groups;
};

/* Statements, each as often as it stands here. */
struct family {
    const enum op *ops;
    uint32_t n;
};
#define FAMILY(...)                                                              \
    {                                                                            \
        (const enum op[]){__VA_ARGS__}, LENGTH(((const enum op[]){__VA_ARGS__})) \
    }

static const struct family families[] = {
    FAMILY(OP_turn, OP_sleep, OP_sleep, OP_await, OP_await, OP_cancel, OP_cancel, OP_spawn,
           OP_spawn, OP_spawn_eager, OP_uncancel, OP_peek, OP_await_self, OP_call,
           OP_raise_cancelled, OP_try, OP_repeat, OP_return),
    FAMILY(OP_set, OP_set, OP_fail, OP_cancel, OP_await, OP_await, OP_renew, OP_peek, OP_callback,
           OP_callback, OP_callback_again, OP_callback_remove, OP_soon, OP_soon, OP_later, OP_later,
           OP_cancel_handle, OP_spawn, OP_turn),
    FAMILY(OP_gather, OP_gather, OP_gather_all, OP_shield, OP_shield, OP_wait, OP_wait_first,
           OP_wait_exception, OP_as_completed, OP_as_completed, OP_gather_future,
           OP_gather_future_all, OP_shield_future, OP_await, OP_cancel, OP_cancel_with, OP_spawn,
           OP_spawn, OP_set, OP_fail, OP_peek, OP_sleep, OP_turn),
    FAMILY(OP_timeout, OP_timeout, OP_timeout, OP_wait_for, OP_wait_for, OP_wait_for_call,
           OP_wait_for_call, OP_reschedule, OP_reschedule, OP_sleep, OP_sleep, OP_cancel_with,
           OP_turn, OP_await, OP_spawn, OP_uncancel, OP_later, OP_try),
    FAMILY(OP_group, OP_group, OP_group, OP_group, OP_child, OP_cancel, OP_cancel, OP_sleep,
           OP_raise, OP_turn, OP_timeout, OP_await, OP_call),
    FAMILY(OP_with, OP_with, OP_acquire, OP_release, OP_cancel, OP_turn, OP_sleep, OP_soon,
           OP_spawn, OP_look),
    FAMILY(OP_wait_event, OP_wait_event, OP_set_event, OP_clear_event, OP_wait_barrier,
           OP_wait_barrier, OP_wait_barrier, OP_reset_barrier, OP_abort_barrier, OP_cancel, OP_turn,
           OP_soon, OP_spawn, OP_repeat),
    FAMILY(OP_wait_condition, OP_wait_condition, OP_wait_count, OP_notify, OP_notify, OP_notify_all,
           OP_count, OP_cancel, OP_turn, OP_acquire, OP_release, OP_spawn, OP_later),
    FAMILY(OP_put, OP_put, OP_get, OP_get, OP_get, OP_get, OP_put_nowait, OP_put_nowait,
           OP_get_nowait, OP_task_done, OP_task_done, OP_join, OP_shutdown, OP_shutdown_now,
           OP_cancel, OP_turn, OP_soon, OP_spawn, OP_repeat),
};

/* What a callback does. */
static const struct family for_callbacks = FAMILY(
    OP_spawn, OP_spawn, OP_spawn_eager, OP_child, OP_cancel, OP_cancel, OP_cancel_with, OP_uncancel,
    OP_peek, OP_set, OP_set, OP_fail, OP_renew, OP_cancel_handle, OP_callback_remove, OP_release,
    OP_release, OP_set_event, OP_clear_event, OP_notify, OP_notify_all, OP_count, OP_put_nowait,
    OP_get_nowait, OP_task_done, OP_shutdown, OP_reschedule, OP_reschedule, OP_gather_future,
    OP_shield_future, OP_look);

static uint32_t below(struct maker *m, int n)
{
    return random_below(&m->random, (uint32_t)n);
}

static bool chance(struct maker *m, int percent)
{
    return below(m, 100) < (uint32_t)percent;
}

/* ---- arguments ---- */

static struct arg a_delay(struct maker *m)
{
    static const int delays[] = {0, 1, 1, 2, 2, 2, 3, 4, 4, 6, 8, -1};
    return arg_of('n', delays[below(m, LENGTH(delays))]);
}

static struct arg a_limit(struct maker *m)
{
    return chance(m, 15) ? arg_of('-', 0) : a_delay(m);
}

/* Mostly a later task: the ones that may be waited for in every way. */
static struct arg a_task(struct maker *m)
{
    int n = m->script->tasks, later = n - m->task - 1;
    if (later > 0 && chance(m, 75))
        return arg_of('t', m->task + 1 + (int)below(m, later));
    return arg_of('t', (int)below(m, n));
}

/* The tasks that nothing starts so far. */
static int find_free(const struct maker *m, int *out_tasks)
{
    int n = 0;
    for (int i = m->script->start; i < m->script->tasks; i++)
        if (!m->placed[i] && i != m->task)
            out_tasks[n++] = i;
    return n;
}

/* Mostly one of those. */
static struct arg a_task_to_start(struct maker *m)
{
    int free[TASKS], n = find_free(m, free);
    if (!n || chance(m, 15))
        return a_task(m);
    int chosen = free[below(m, n)];
    m->placed[chosen] = true;
    return arg_of('t', chosen);
}

static struct arg a_ref(struct maker *m)
{
    uint32_t x = below(m, 100);
    return x < 60   ? a_task(m)
           : x < 88 ? arg_of('f', (int)below(m, FUTURES))
                    : arg_of('a', (int)below(m, SLOTS));
}

static struct arg a_scope(struct maker *m, char letter)
{
    int n = letter == 'T' ? m->timeouts : m->groups;
    return arg_of(letter, (int)below(m, n ? n : 1));
}

static struct arg an_arg(struct maker *m, char spec)
{
    static const char to_acquire[] = "LLLCSSS";
    switch (spec) {
    case 'n': return arg_of('n', (int)below(m, 4));
    case 'd': return a_delay(m);
    case 'D': return a_limit(m);
    case 't': return a_task(m);
    case 'r':
    case 'R': return a_ref(m);
    case 'T':
    case 'G': return a_scope(m, spec);
    case 'o': spec = to_acquire[below(m, LENGTH(to_acquire) - 1)]; break;
    default: break;
    }
    /* The first of its kind more often, so that things meet. */
    int n = script_count_of(spec);
    return arg_of(spec, chance(m, 50) ? 0 : (int)below(m, n));
}

/* ---- statements ---- */

static bool is_left_out(const struct maker *m, enum op op)
{
    if (m->script->level >= 13)
        return false;
    switch (op) {
    case OP_spawn_eager:
    case OP_shutdown:
    case OP_shutdown_now:
    case OP_as_completed:
    case OP_wait_for:
    case OP_wait_for_call:
    case OP_wait_condition:
    case OP_wait_count:
    case OP_group:
    case OP_child:
    case OP_gather:
    case OP_gather_all:
    case OP_gather_future:
    case OP_gather_future_all:
    case OP_timeout:
    case OP_reschedule:
    case OP_wait_barrier:
    case OP_reset_barrier:
    case OP_abort_barrier:
    case OP_uncancel: return true;
    default: return false;
    }
}

static bool starts_a_task(enum op op)
{
    return op == OP_spawn || op == OP_spawn_eager || op == OP_call || op == OP_child;
}

static void fill_args(struct maker *m, struct statement *s)
{
    for (const char *spec = ops[s->op].args; *spec && *spec != ':'; spec++) {
        s->args[s->args_n++] = *spec == 't' && starts_a_task(s->op) ? a_task_to_start(m)
                                                                    : an_arg(m, *spec);
        while (*spec == 'R' && s->args_n < ARGS_MAX && chance(m, 50))
            s->args[s->args_n++] = a_ref(m);
    }
}

/* A statement of this kind at the end of the block; NULL if the script is full. */
static struct statement *add(struct maker *m, enum op op)
{
    int i = m->left > 0 ? script_add(m->script, op) : NONE;
    if (i == NONE)
        return NULL;
    m->left--;
    *m->link = i;
    struct statement *s = &m->script->statements[i];
    m->link = &s->next;
    s->ends_block = ops[op].kind != ENDS && chance(m, ops[op].kind == NOW ? 8 : 40);
    return s;
}

static void make_callback(struct maker *m, struct statement *s)
{
    enum op op;
    do
        op = for_callbacks.ops[below(m, (int)for_callbacks.n)];
    while (is_left_out(m, op));
    s->inner = script_add(m->script, op);
    if (s->inner != NONE)
        fill_args(m, &m->script->statements[s->inner]);
}

static void make_statements(struct maker *m, int n);

/* The block of `s`, from *link on. */
static void make_block(struct maker *m, int *link, int n)
{
    int *after = m->link;
    m->link = link;
    m->depth++;
    make_statements(m, n);
    m->depth--;
    m->link = after;
}

static void add_with_arg(struct maker *m, enum op op, struct arg arg)
{
    struct statement *s = add(m, op);
    if (!s)
        return;
    fill_args(m, s);
    s->args[0] = arg;
}

/* with C { wait_condition C } and the like: what needs the lock, in the lock. */
static void make_in_lock(struct maker *m, enum op op, struct arg condition)
{
    struct statement *with = add(m, OP_with);
    if (!with)
        return;
    with->args[with->args_n++] = condition;
    int *after = m->link;
    m->link = &with->inner;
    if (op != OP_wait_condition && op != OP_wait_count && chance(m, 40))
        add_with_arg(m, OP_count, (struct arg){0});
    add_with_arg(m, op, condition);
    if (chance(m, 20))
        add_with_arg(m, OP_cancel, arg_of('t', (int)below(m, m->script->tasks)));
    if (chance(m, 30))
        make_block(m, m->link, 1);
    m->link = after;
}

static void make_group(struct maker *m)
{
    int number = m->groups;
    struct statement *group = number < SCOPES ? add(m, OP_group) : NULL;
    if (!group)
        return;
    m->groups++;
    group->args[group->args_n++] = arg_of('G', number);
    int *after = m->link;
    m->link = &group->inner;
    for (uint32_t children = 1 + below(m, 3); children > 0; children--) {
        int free[TASKS];
        struct statement *child = find_free(m, free) || chance(m, 20) ? add(m, OP_child) : NULL;
        if (!child)
            break;
        child->args[child->args_n++] = arg_of('G', number);
        child->args[child->args_n++] = a_task_to_start(m);
    }
    m->depth++;
    make_statements(m, (int)below(m, 3));
    m->depth--;
    m->link = after;
}

static bool wakes_somebody(enum op op)
{
    switch (op) {
    case OP_set:
    case OP_fail:
    case OP_release:
    case OP_set_event:
    case OP_put:
    case OP_put_nowait:
    case OP_get:
    case OP_get_nowait:
    case OP_task_done:
    case OP_wait_barrier: return true;
    default: return false;
    }
}

static void make_statement(struct maker *m, enum op op)
{
    if ((op == OP_wait_condition || op == OP_wait_count || op == OP_notify ||
         op == OP_notify_all) &&
        chance(m, 85)) {
        make_in_lock(m, op, an_arg(m, 'C'));
        return;
    }
    if (op == OP_group) {
        make_group(m);
        return;
    }
    if (op == OP_timeout && m->timeouts == SCOPES)
        return;
    struct statement *s = add(m, op);
    if (!s)
        return;
    if (op == OP_timeout) {
        s->args[s->args_n++] = arg_of('T', m->timeouts++);
        s->args[s->args_n++] = a_limit(m);
    } else if (op == OP_repeat) {
        s->args[s->args_n++] = arg_of('n', 2 + (int)below(m, 2));
    } else {
        fill_args(m, s);
    }
    if (strchr(ops[op].args, ':'))
        make_callback(m, s);
    if (ops[op].kind == BLOCK)
        make_block(m, &s->inner, 1 + (int)below(m, 3));
    if (op == OP_try)
        make_block(m, &s->other, 1 + (int)below(m, 2));
    /* A wake-up and a cancel in one turn: which of the two comes first is most of what there is to get wrong. */
    if (wakes_somebody(op) && chance(m, 25)) {
        struct statement *cancel = add(m, chance(m, 70) ? OP_cancel : OP_cancel_with);
        if (cancel) {
            fill_args(m, cancel);
            cancel->args[0] = arg_of('t', (int)below(m, m->script->tasks));
        }
    }
    /* What was acquired is given back, mostly. */
    if (op == OP_acquire && chance(m, 80)) {
        struct arg what = s->args[0];
        if (chance(m, 60))
            make_statement(m, chance(m, 50) ? OP_turn : OP_sleep);
        add_with_arg(m, OP_release, what);
    }
    if (op == OP_get && chance(m, 40))
        add_with_arg(m, OP_task_done, s->args[0]);
}

static enum op an_op(struct maker *m)
{
    /* Cancels belong everywhere. */
    if (chance(m, 8))
        return chance(m, 50) ? OP_cancel : OP_cancel_with;
    uint32_t x = below(m, 100);
    const struct family *family = x < 50   ? m->first
                                  : x < 70 ? m->second
                                           : &families[below(m, LENGTH(families))];
    return family->ops[below(m, (int)family->n)];
}

/* A task comes to the meeting, or wakes somebody there, who may be cancelled meanwhile. */
static void meet(struct maker *m, bool wakes)
{
    enum op op = wakes ? m->meeting->wakes : m->meeting->waits;
    if (m->place.kind == 'C')
        make_in_lock(m, op, m->place);
    else
        add_with_arg(m, op, m->place);
    if (wakes && chance(m, 50))
        add_with_arg(m, OP_cancel, arg_of('t', (int)below(m, m->script->tasks)));
}

static void make_statements(struct maker *m, int n)
{
    while (n-- > 0) {
        if (m->meeting && chance(m, 12)) {
            meet(m, true);
            continue;
        }
        enum op op = an_op(m);
        bool too_deep = ops[op].kind == BLOCK && m->depth >= 3;
        /* An end in the middle makes the rest of the block idle. */
        bool too_soon = ops[op].kind == ENDS && n > 0 && chance(m, 80);
        if (!too_deep && !too_soon && !is_left_out(m, op))
            make_statement(m, op);
    }
    if (chance(m, 12))
        make_statement(m, chance(m, 50)   ? OP_raise
                          : chance(m, 80) ? OP_return
                                          : OP_raise_cancelled);
}

void script_generate(struct script *script, uint64_t seed, int level)
{
    memset(script, 0, sizeof *script);
    script->seed = seed;
    script->level = level;
    struct maker m = {.random = {seed}, .script = script};
    script->tasks = 3 + (int)below(&m, TASKS - 2);
    script->start = 1 + (int)below(&m, 3);
    for (int i = 0; i < SEMAPHORES; i++)
        script->permits[i] = (int)below(&m, 3);
    script->parties = 1 + (int)below(&m, 3);
    for (int i = 0; i < QUEUES; i++) {
        script->queue[i].order = (enum order)below(&m, 3);
        script->queue[i].maxsize = (int)below(&m, 3);
    }
    m.first = &families[below(&m, LENGTH(families))];
    m.second = &families[below(&m, LENGTH(families))];
    m.meeting = chance(&m, 40) ? &meetings[below(&m, LENGTH(meetings))] : NULL;
    if (m.meeting && is_left_out(&m, m.meeting->waits))
        m.meeting = NULL;
    if (m.meeting)
        m.place = an_arg(&m, m.meeting->kind);
    for (int i = 0; i < TASKS; i++)
        script->body[i] = NONE;
    for (int i = 0; i < script->tasks; i++) {
        m.task = i;
        m.left = 24;
        m.link = &script->body[i];
        if (m.meeting && chance(&m, 60))
            meet(&m, false);
        make_statements(&m, 2 + (int)below(&m, 7));
    }
}
