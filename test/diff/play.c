/* SPDX-License-Identifier: MIT
 *
 * play.c: a script played on coil, by the public API alone.
 *
 *     start --> tasks: body --> play_block --> play_now | play_wait | play_nested --> play_block ...
 *                                  ^                                                      |
 *               callbacks: called -+  (statements that do not wait)                       tell
 *
 * oracle.py is the same program on asyncio: a change here is a change there. What both keep beside the library's own
 * objects: who owns which lock, which task was made of which body, and up to which task a future passes cancels on.
 *
 * Always true:
 *   - what a script has made stays alive until its end, so that a pointer in a trace's way is always good;
 *   - COIL_EEXIT ends every block at once and is told nobody: it comes when the script is over. */
#include "play.h"

#include <coil.h>

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    FOR_ALL = 100,
    ROUNDS = 30,
    OWNERS = LOCKS + 1,
    NOBODY = -1,
    MAIN = -2,
    REFS_MAX = ARGS_MAX
};

/* What a result is: NULL a number, else a list of n. */
struct shape {
    int n;
    const struct shape *members[REFS_MAX];
};

/* A statement for a callback. */
struct call {
    int statement, by;
};

struct text {
    char at[1024];
    size_t n;
};

static struct {
    const struct script *script;
    FILE *trace;
    bool over;
    double began;
    uint64_t first_turn;

    coil_task *tasks[TASKS];
    bool used[TASKS]; /* its body has been given to somebody */
    coil_future *futures[FUTURES];
    struct {
        coil_future *future;
        const struct shape *shape;
        int level; /* the lowest task that a cancel of it reaches */
    } slots[SLOTS];
    coil_handle *handles[SLOTS];
    struct {
        coil_future *future; /* NULL: empty */
        struct call *call;
    } callbacks[SLOTS];

    coil_lock locks[LOCKS];
    coil_condition conditions[CONDITIONS];
    coil_event events[EVENTS];
    coil_semaphore semaphores[SEMAPHORES];
    coil_barrier barrier;
    coil_queue queues[QUEUES];
    int owner[OWNERS]; /* of the locks and of C0's own: a task, or NOBODY */
    int counter;
    coil_timeout_scope timeouts[SCOPES];
    coil_group groups[SCOPES];
    bool timeout_known[SCOPES], group_known[SCOPES];

    struct kept {
        struct kept *next;
        coil_future *future; /* or NULL */
    } * kept;
} play;

static coil_ret play_block(int me, int first);

/* What cancel_with says. */
static const char *const messages[] = {"m0", "m1", "m2", "m3"};

/* ---- memory that lives as long as the script ---- */

static void *keep(size_t size, coil_future *future)
{
    struct kept *k = calloc(1, sizeof *k + size);
    if (!k)
        abort();
    *k = (struct kept){play.kept, future};
    play.kept = k;
    return k + 1;
}

static void drop_kept(void)
{
    for (struct kept *next, *k = play.kept; k; k = next) {
        next = k->next;
        coil_unref(k->future);
        free(k);
    }
}

/* ---- the trace ---- */

__attribute__((format(printf, 2, 3))) static void say(struct text *text, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text->at + text->n, sizeof text->at - text->n, fmt, args);
    va_end(args);
    text->n += (size_t)n < sizeof text->at - text->n ? (size_t)n : sizeof text->at - text->n - 1;
}

static void say_code(struct text *text, coil_ret rc)
{
    switch (rc) {
    case -ECANCELED: say(text, "cancelled"); return;
    case -ETIMEDOUT: say(text, "timeout"); return;
    case COIL_EINVALIDSTATE: say(text, "state"); return;
    case -EINVAL: say(text, "value"); return;
    case COIL_EBROKENBARRIER: say(text, "broken"); return;
    case COIL_EQUEUEFULL: say(text, "full"); return;
    case COIL_EQUEUEEMPTY: say(text, "empty"); return;
    case COIL_ESHUTDOWN: say(text, "shutdown"); return;
    case COIL_ESELFAWAIT: say(text, "self"); return;
    default: break;
    }
    if (rc <= COIL_EUSER && rc > COIL_EUSER - 100)
        say(text, "e%d", (int)(COIL_EUSER - rc));
    else
        say(text, "%s", coil_errname(rc));
}

/* An error and, where it is a group's, all of them. */
static void say_record(struct text *text, const coil_error *error)
{
    if (!error->members_n) {
        say_code(text, error->code);
        return;
    }
    say(text, "(");
    for (size_t i = 0; i < error->members_n; i++) {
        say(text, "%s", i ? " " : "");
        say_record(text, error->members[i]);
    }
    say(text, ")");
}

static void say_error(struct text *text, coil_ret rc)
{
    const coil_error *last = coil_last_error();
    if (last && last->code == rc)
        say_record(text, last);
    else
        say_code(text, rc);
}

static void say_value(struct text *text, const struct shape *shape, coil_ret rc)
{
    if (coil_iserr(rc)) {
        say_code(text, rc);
    } else if (!shape) {
        say(text, "%ld", (long)rc);
    } else {
        const coil_ret *results = (const coil_ret *)rc;
        say(text, "[");
        for (int i = 0; i < shape->n; i++) {
            say(text, "%s", i ? " " : "");
            say_value(text, shape->members[i], results[i]);
        }
        say(text, "]");
    }
}

static void say_outcome(struct text *text, const struct shape *shape, coil_ret rc)
{
    if (coil_iserr(rc))
        say_error(text, rc);
    else
        say_value(text, shape, rc);
}

static void say_ok(struct text *text, coil_ret rc)
{
    if (coil_iserr(rc))
        say_error(text, rc);
    else
        say(text, "ok");
}

/* Which of the owners this lock has; NONE for what is no lock. */
static int owner_slot(struct arg arg)
{
    if (arg.kind == 'L')
        return arg.n;
    if (arg.kind == 'C')
        return arg.n == 0 ? LOCKS : 0;
    return NONE;
}

/* The words of the cancel that ended this wait. Those that come out of a future are not told: difference 44. */
static void say_words(struct text *text, coil_ret rc)
{
    for (size_t i = 0; rc == -ECANCELED && i < sizeof messages / sizeof *messages; i++)
        if (strcmp(coil_last_error()->message, messages[i]) == 0)
            say(text, ":%s", messages[i]);
}

/* The state of an object, as its repr has it. */
static void say_state(struct text *text, struct arg arg)
{
    char repr[128] = "";
    switch (arg.kind) {
    case 'L': coil_lock_repr(&play.locks[arg.n], repr, sizeof repr); break;
    case 'C': coil_condition_repr(&play.conditions[arg.n], repr, sizeof repr); break;
    case 'E': coil_event_repr(&play.events[arg.n], repr, sizeof repr); break;
    case 'S': coil_semaphore_repr(&play.semaphores[arg.n], repr, sizeof repr); break;
    case 'B': coil_barrier_repr(&play.barrier, repr, sizeof repr); break;
    case 'Q': coil_queue_repr(&play.queues[arg.n], repr, sizeof repr); break;
    default: return;
    }
    const char *bracket = strchr(repr, '[');
    say(text, " %c%d%s", arg.kind, arg.n, bracket ? bracket : "[?]");
    int slot = owner_slot(arg);
    if (slot != NONE && play.owner[slot] != NOBODY)
        say(text, " by t%d", play.owner[slot]);
}

static void tell(const char *sign, int who, const char *what, const char *outcome,
                 const struct statement *s)
{
    if (play.over)
        return;
    coil_loop_stats_t stats;
    coil_loop_stats(NULL, &stats);
    struct text text = {.n = 0};
    say(&text, "%llu@%g ", (unsigned long long)(stats.turns - play.first_turn),
        4 * (coil_loop_time(NULL) - play.began));
    if (who == MAIN)
        say(&text, "%sm", sign);
    else
        say(&text, "%st%d", sign, who);
    say(&text, " %s%s", what, outcome);
    coil_task *current = coil_current_task();
    if (current && coil_task_cancelling(current))
        say(&text, " c%d", coil_task_cancelling(current));
    for (int i = 0; s && i < s->args_n; i++)
        say_state(&text, s->args[i]);
    fprintf(play.trace, "%s\n", text.at);
}

static void tell_statement(const char *sign, int who, const struct statement *s,
                           const struct text *outcome)
{
    char what[192], how[sizeof outcome->at + 4];
    script_print_statement(play.script, s, what, sizeof what);
    snprintf(how, sizeof how, "%s%s", outcome ? " = " : " ...", outcome ? outcome->at : "");
    tell(sign, who, what, how, s);
}

/* ---- what arguments stand for ---- */

static coil_future *future_of(struct arg arg)
{
    switch (arg.kind) {
    case 't': return play.tasks[arg.n];
    case 'f': return play.futures[arg.n];
    case 'a': return play.slots[arg.n].future;
    default: return NULL;
    }
}

static int level_of(struct arg arg)
{
    return arg.kind == 't' ? arg.n : arg.kind == 'a' ? play.slots[arg.n].level : FOR_ALL;
}

static const struct shape *shape_of(struct arg arg)
{
    return arg.kind == 'a' ? play.slots[arg.n].shape : NULL;
}

struct refs {
    coil_future *futures[REFS_MAX];
    const struct shape
        *shapes[REFS_MAX]; /* as they are now: a slot may be filled anew while somebody waits */
    size_t n;
    bool all; /* none of them is missing */
    int level;
};

/* The futures among the arguments. */
static struct refs refs_of(const struct statement *s, int first)
{
    struct refs refs = {.all = true, .level = FOR_ALL};
    for (int i = first; i < s->args_n; i++) {
        refs.shapes[refs.n] = shape_of(s->args[i]);
        refs.futures[refs.n] = future_of(s->args[i]);
        refs.all = refs.all && refs.futures[refs.n];
        refs.n++;
        if (level_of(s->args[i]) < refs.level)
            refs.level = level_of(s->args[i]);
    }
    return refs;
}

static const struct shape *shape_of_all(const struct refs *refs)
{
    struct shape *shape = keep(sizeof *shape, NULL);
    shape->n = (int)refs->n;
    for (size_t i = 0; i < refs->n; i++)
        shape->members[i] = refs->shapes[i];
    return shape;
}

static double seconds(struct arg arg)
{
    return arg.kind == '-' ? COIL_FOREVER : arg.n / 4.0;
}

/* ---- tasks ---- */

static coil_ret body(void *arg)
{
    int me = (int)(intptr_t)arg;
    tell("", me, "begins", "", NULL);
    coil_ret rc = play_block(me, play.script->body[me]);
    rc = rc == 0 ? 50 + me : rc;
    struct text end = {.n = 0};
    say(&end, " = ");
    say_outcome(&end, NULL, rc);
    tell("", me, "ends", end.at, NULL);
    return rc;
}

static bool spawn(int n, bool eager)
{
    if (play.used[n] || n >= play.script->tasks)
        return false;
    play.used[n] = true;
    coil_task_opts opts = {.size = sizeof opts, .eager = eager};
    /* An eager one runs before its pointer is known, to both players. */
    play.tasks[n] = coil_create_task_opts(body, (void *)(intptr_t)n, &opts);
    return true;
}

static const char *spawn_child(coil_group *group, int n)
{
    if (play.used[n] || n >= play.script->tasks)
        return "-";
    coil_task *task = coil_group_create_task(group, body, (void *)(intptr_t)n);
    if (coil_future_done(task))
        return "refused";
    play.used[n] = true;
    play.tasks[n] = coil_ref(task);
    return "ok";
}

/* ---- statements that do not wait ---- */

static coil_ret play_now(const char *sign, int who, const struct statement *s);

static void called(void *arg)
{
    struct call *call = arg;
    coil_ignore(play_now("!", call->by, &play.script->statements[call->statement]));
}

static void called_done(coil_future *future, void *arg)
{
    called(arg);
}

static struct call *call_for(int by, const struct statement *s)
{
    struct call *call = keep(sizeof *call, NULL);
    *call = (struct call){s->inner, by};
    return call;
}

static void set_handle(int n, coil_handle *handle)
{
    coil_handle_unref(play.handles[n]);
    play.handles[n] = handle;
}

static void set_slot(int n, coil_future *future, const struct shape *shape, int level)
{
    keep(0, future);
    play.slots[n].future = future;
    play.slots[n].shape = shape;
    play.slots[n].level = level;
}

static void peek(struct text *out, struct arg arg)
{
    coil_future *future = future_of(arg);
    if (!future)
        say(out, "-");
    else if (!coil_future_done(future))
        say(out, "pending");
    else
        say_outcome(out, shape_of(arg), coil_future_result(future));
    if (future && coil_is_task(future))
        say(out, " c%d", coil_task_cancelling(future));
}

static void look(struct text *out)
{
    for (const char *letter = "LCESBQ"; *letter; letter++)
        for (int i = 0; i < script_count_of(*letter); i++)
            say_state(out, arg_of(*letter, i));
    say(out, " count:%d", play.counter);
}

static int release(struct arg arg)
{
    int slot = owner_slot(arg);
    int err = arg.kind == 'L'   ? coil_lock_release(&play.locks[arg.n])
              : arg.kind == 'C' ? coil_condition_release(&play.conditions[arg.n])
                                : coil_semaphore_release(&play.semaphores[arg.n]);
    if (err == 0 && slot != NONE)
        play.owner[slot] = NOBODY;
    return err;
}

/* Futures, tasks and callbacks: true if `s` is about them. */
static bool now_futures(int who, const struct statement *s, struct text *out, coil_ret *rc)
{
    int a = s->args_n > 0 ? s->args[0].n : 0, b = s->args_n > 1 ? s->args[1].n : 0;
    coil_future *future = s->args_n > 0 ? future_of(s->args[0]) : NULL;
    struct refs refs;
    switch (s->op) {
    case OP_spawn:
    case OP_spawn_eager: say(out, spawn(a, s->op == OP_spawn_eager) ? "ok" : "-"); return true;
    case OP_child:
        say(out, "%s", play.group_known[a] ? spawn_child(&play.groups[a], b) : "-");
        return true;
    case OP_cancel:
    case OP_cancel_with:
        if (future)
            say(out, "%d", coil_future_cancel(future, s->op == OP_cancel ? NULL : messages[b % 4]));
        else
            say(out, "-");
        return true;
    case OP_uncancel:
        if (play.tasks[a])
            say(out, "%d", coil_task_uncancel(play.tasks[a]));
        else
            say(out, "-");
        return true;
    case OP_peek: peek(out, s->args[0]); return true;
    case OP_set: say_ok(out, *rc = coil_future_set_result(play.futures[a], b)); return true;
    case OP_fail:
        say_ok(out, *rc = coil_future_set_exception(play.futures[a],
                                                    coil_fail(COIL_EUSER - b, "failed")));
        return true;
    case OP_renew:
        if (!coil_future_done(play.futures[a])) {
            say(out, "-");
            return true;
        }
        play.futures[a] = coil_loop_create_future(NULL);
        keep(0, play.futures[a]);
        say(out, "ok");
        return true;
    case OP_gather_future:
    case OP_gather_future_all:
        refs = refs_of(s, 1);
        if (refs.all)
            set_slot(a,
                     coil_gather_future(refs.futures, refs.n,
                                        s->op == OP_gather_future_all ? COIL_RETURN_EXCEPTIONS : 0),
                     shape_of_all(&refs), refs.level);
        say(out, refs.all ? "ok" : "-");
        return true;
    case OP_shield_future:
        refs = refs_of(s, 1);
        if (refs.all) {
            /* One that is done is returned as it is, and stays what it is to a cancel. */
            int level = coil_future_done(refs.futures[0]) ? refs.level : FOR_ALL;
            set_slot(a, coil_shield_future(refs.futures[0]), refs.shapes[0], level);
        }
        say(out, refs.all ? "ok" : "-");
        return true;
    case OP_callback:
        if (!(future = future_of(s->args[1]))) {
            say(out, "-");
            return true;
        }
        play.callbacks[a].future = future;
        play.callbacks[a].call = call_for(who, s);
        *rc = coil_future_add_done_callback(future, called_done, play.callbacks[a].call);
        say_ok(out, *rc);
        return true;
    case OP_callback_again:
        if (play.callbacks[a].future)
            say_ok(out, *rc = coil_future_add_done_callback(play.callbacks[a].future, called_done,
                                                            play.callbacks[a].call));
        else
            say(out, "-");
        return true;
    case OP_callback_remove:
        if (play.callbacks[a].future)
            say(out, "%d",
                coil_future_remove_done_callback(play.callbacks[a].future, called_done,
                                                 play.callbacks[a].call));
        else
            say(out, "-");
        return true;
    default: return false;
    }
}

/* The rest of them. */
static void now_others(int who, const struct statement *s, struct text *out, coil_ret *rc)
{
    int a = s->args_n > 0 ? s->args[0].n : 0, b = s->args_n > 1 ? s->args[1].n : 0;
    coil_handle *handle = NULL;
    void *item;
    switch (s->op) {
    case OP_soon:
        say_ok(out, *rc = coil_loop_call_soon(NULL, called, call_for(who, s), &handle));
        set_handle(a, handle);
        break;
    case OP_later:
        *rc = coil_loop_call_later(NULL, seconds(s->args[1]), called, call_for(who, s), &handle);
        say_ok(out, *rc);
        set_handle(a, handle);
        break;
    case OP_cancel_handle:
        if (!play.handles[a]) {
            say(out, "-");
            break;
        }
        say(out, "%d", coil_handle_cancelled(play.handles[a]));
        coil_handle_cancel(play.handles[a]);
        break;
    case OP_release: say_ok(out, *rc = release(s->args[0])); break;
    case OP_set_event: say_ok(out, *rc = coil_event_set(&play.events[a])); break;
    case OP_clear_event:
        coil_event_clear(&play.events[a]);
        say(out, "ok");
        break;
    case OP_notify: say_ok(out, *rc = coil_condition_notify(&play.conditions[a], (size_t)b)); break;
    case OP_notify_all: say_ok(out, *rc = coil_condition_notify_all(&play.conditions[a])); break;
    case OP_count: say(out, "%d", ++play.counter); break;
    case OP_put_nowait:
        say_ok(out, *rc = coil_queue_put_nowait(&play.queues[a], (void *)(intptr_t)b));
        break;
    case OP_get_nowait:
        *rc = coil_queue_get_nowait(&play.queues[a], &item);
        say_outcome(out, NULL, *rc ? *rc : (coil_ret)item);
        break;
    case OP_task_done: say_ok(out, *rc = coil_queue_task_done(&play.queues[a])); break;
    case OP_shutdown: say_ok(out, *rc = coil_queue_shutdown(&play.queues[a], false)); break;
    case OP_shutdown_now: say_ok(out, *rc = coil_queue_shutdown(&play.queues[a], true)); break;
    case OP_reschedule:
        if (!play.timeout_known[a]) {
            say(out, "-");
            break;
        }
        *rc = coil_timeout_reschedule(
            &play.timeouts[a],
            s->args[1].kind == '-' ? COIL_FOREVER : coil_loop_time(NULL) + seconds(s->args[1]));
        say_ok(out, *rc);
        break;
    case OP_look: look(out); break;
    default: abort();
    }
}

static coil_ret play_now(const char *sign, int who, const struct statement *s)
{
    struct text out = {.n = 0};
    coil_ret rc = 0;
    if (play.over)
        return 0;
    if (!now_futures(who, s, &out, &rc))
        now_others(who, s, &out, &rc);
    tell_statement(sign, who, s, &out);
    return rc;
}

/* ---- statements that wait ---- */

static coil_ret acquire(int me, struct arg arg)
{
    int slot = owner_slot(arg);
    coil_ret rc = arg.kind == 'L'   ? coil_lock_acquire(&play.locks[arg.n])
                  : arg.kind == 'C' ? coil_condition_acquire(&play.conditions[arg.n])
                                    : coil_semaphore_acquire(&play.semaphores[arg.n]);
    if (rc == 0 && slot != NONE)
        play.owner[slot] = me;
    return rc;
}

static coil_ret counted(void *arg)
{
    return play.counter >= (int)(intptr_t)arg;
}

/* While it waits it does not own the lock; afterwards it does, if anybody does. */
static coil_ret wait_condition(int me, const struct statement *s)
{
    coil_condition *condition = &play.conditions[s->args[0].n];
    int *owner = &play.owner[owner_slot(s->args[0])];
    if (!coil_condition_locked(condition) && s->op == OP_wait_condition)
        return coil_condition_wait(condition);
    if (s->op == OP_wait_count &&
        (counted((void *)(intptr_t)s->args[1].n) || !coil_condition_locked(condition)))
        return coil_condition_wait_for(condition, counted, (void *)(intptr_t)s->args[1].n);
    *owner = NOBODY;
    coil_ret rc = s->op == OP_wait_condition
                      ? coil_condition_wait(condition)
                      : coil_condition_wait_for(condition, counted, (void *)(intptr_t)s->args[1].n);
    *owner = me;
    return rc;
}

static coil_ret wait_in_objects(int me, const struct statement *s, struct text *out)
{
    void *item = NULL;
    coil_ret rc;
    int n = s->args[0].n;
    switch (s->op) {
    case OP_acquire: say_ok(out, rc = acquire(me, s->args[0])); break;
    case OP_wait_event: say_ok(out, rc = coil_event_wait(&play.events[n])); break;
    case OP_wait_condition:
    case OP_wait_count: say_ok(out, rc = wait_condition(me, s)); break;
    case OP_wait_barrier: say_outcome(out, NULL, rc = coil_barrier_wait(&play.barrier)); break;
    case OP_reset_barrier: say_ok(out, rc = coil_barrier_reset(&play.barrier)); break;
    case OP_abort_barrier: say_ok(out, rc = coil_barrier_abort(&play.barrier)); break;
    case OP_put:
        say_ok(out, rc = coil_queue_put(&play.queues[n], (void *)(intptr_t)s->args[1].n));
        break;
    case OP_get:
        rc = coil_queue_get(&play.queues[n], &item);
        say_outcome(out, NULL, rc ? rc : (coil_ret)item);
        break;
    case OP_join: say_ok(out, rc = coil_queue_join(&play.queues[n])); break;
    default: abort();
    }
    return rc;
}

static coil_ret take_as_completed(int me, const struct statement *s, const struct refs *refs,
                                  struct text *out)
{
    coil_as_completed it;
    coil_ret rc = coil_as_completed_init(&it, refs->futures, refs->n, seconds(s->args[1]));
    for (int taken = 0; rc == 0 && taken < s->args[0].n; taken++) {
        coil_future *next = NULL;
        rc = coil_as_completed_next(&it, &next);
        if (rc == 0) {
            say(out, "no more ");
            break;
        }
        if (coil_iserr(rc))
            break;
        size_t i = 0;
        while (refs->futures[i] != next)
            i++;
        struct text item = {.n = 0};
        say(&item, " next %zu: ", i);
        say_outcome(&item, refs->shapes[i], coil_future_result(next));
        tell("", me, "as_completed", item.at, NULL);
        rc = 0;
    }
    coil_as_completed_close(&it);
    say_ok(out, rc);
    return rc;
}

static coil_ret wait_set(const struct statement *s, const struct refs *refs, struct text *out)
{
    bool done[REFS_MAX] = {false};
    enum coil_when when = s->op == OP_wait         ? COIL_ALL_COMPLETED
                          : s->op == OP_wait_first ? COIL_FIRST_COMPLETED
                                                   : COIL_FIRST_EXCEPTION;
    coil_ret rc = coil_wait(refs->futures, refs->n, seconds(s->args[0]), when, done);
    if (coil_iserr(rc)) {
        say_error(out, rc);
        return rc;
    }
    say(out, "done ");
    for (size_t i = 0; i < refs->n; i++)
        say(out, "%d", done[i]);
    return 0;
}

static coil_ret wait_for_futures(int me, const struct statement *s, const struct refs *refs,
                                 struct text *out)
{
    coil_ret results[REFS_MAX], rc;
    switch (s->op) {
    case OP_await: say_outcome(out, refs->shapes[0], rc = coil_await(refs->futures[0])); break;
    case OP_shield: say_outcome(out, refs->shapes[0], rc = coil_shield(refs->futures[0])); break;
    case OP_wait_for:
        rc = coil_wait_for(refs->futures[0], seconds(s->args[0]));
        say_outcome(out, refs->shapes[0], rc);
        break;
    case OP_gather:
    case OP_gather_all:
        rc = coil_gather(refs->futures, refs->n, results,
                         s->op == OP_gather_all ? COIL_RETURN_EXCEPTIONS : 0);
        if (coil_iserr(rc))
            say_error(out, rc);
        else
            say_value(out, shape_of_all(refs), (coil_ret)results);
        break;
    case OP_as_completed: return take_as_completed(me, s, refs, out);
    default: return wait_set(s, refs, out);
    }
    return rc;
}

/* Where the futures begin among the arguments of a statement that waits for them; NONE for others. Those that pass a
 * cancel on may be asked only by tasks with lower numbers. */
static int futures_at(enum op op, bool *out_cancels)
{
    *out_cancels = op == OP_await || op == OP_wait_for || op == OP_gather || op == OP_gather_all;
    switch (op) {
    case OP_await:
    case OP_shield:
    case OP_gather:
    case OP_gather_all: return 0;
    case OP_wait_for:
    case OP_wait:
    case OP_wait_first:
    case OP_wait_exception: return 1;
    case OP_as_completed: return 2;
    default: return NONE;
    }
}

static coil_ret play_wait(int me, const struct statement *s)
{
    struct text out = {.n = 0};
    bool cancels;
    int first = futures_at(s->op, &cancels);
    struct refs refs = first == NONE ? (struct refs){.all = true} : refs_of(s, first);
    coil_ret rc = 0;
    int callee = s->op == OP_call ? s->args[0].n : NONE;
    if (!refs.all || (cancels && refs.level <= me) ||
        (callee != NONE && (callee <= me || callee >= play.script->tasks || play.used[callee]))) {
        say(&out, "-");
        tell_statement("", me, s, &out);
        return 0;
    }
    tell_statement("", me, s, NULL);
    switch (s->op) {
    case OP_turn: say_ok(&out, rc = coil_sleep(0)); break;
    case OP_sleep: say_ok(&out, rc = coil_sleep(seconds(s->args[0]))); break;
    case OP_await_self: say_ok(&out, rc = coil_await(coil_current_task())); break;
    case OP_call:
        play.used[callee] = true;
        say_outcome(&out, NULL, rc = play_block(me, play.script->body[callee]));
        break;
    default:
        rc = first == NONE ? wait_in_objects(me, s, &out) : wait_for_futures(me, s, &refs, &out);
    }
    if (first == NONE && s->op != OP_call)
        say_words(&out, rc);
    if (rc != COIL_EEXIT)
        tell_statement("", me, s, &out);
    return rc;
}

/* ---- statements with a block ---- */

struct block {
    int me, first;
};

static coil_ret block_call(void *arg)
{
    struct block *block = arg;
    return play_block(block->me, block->first);
}

static coil_ret play_try(int me, const struct statement *s)
{
    coil_ret rc = play_block(me, s->inner);
    if (rc == COIL_EEXIT)
        return rc;
    coil_ret second = play_block(me, s->other);
    if (coil_iserr(second))
        return second;
    /* What failed meanwhile has taken the record's place. */
    return coil_iserr(rc) ? coil_fail(rc, "from try") : rc;
}

static coil_ret play_with(int me, const struct statement *s)
{
    coil_ret rc = acquire(me, s->args[0]);
    if (coil_iserr(rc))
        return rc;
    rc = play_block(me, s->inner);
    int err = release(s->args[0]);
    return err && rc != COIL_EEXIT ? err : rc;
}

static coil_ret play_nested(int me, const struct statement *s)
{
    struct text out = {.n = 0};
    coil_ret rc = 0;
    int n = s->args_n ? s->args[0].n : 0;
    tell_statement("", me, s, NULL);
    switch (s->op) {
    case OP_wait_for_call:
        rc = coil_wait_for_call(block_call, &(struct block){me, s->inner}, seconds(s->args[0]));
        break;
    case OP_timeout:
        play.timeout_known[n] = true;
        coil_ignore(coil_timeout_enter(&play.timeouts[n], seconds(s->args[1])));
        rc = play_block(me, s->inner);
        rc = coil_timeout_exit(&play.timeouts[n], rc);
        break;
    case OP_group:
        play.group_known[n] = true;
        play.groups[n] = coil_group_begin();
        rc = play_block(me, s->inner);
        rc = coil_group_exit(&play.groups[n], rc);
        break;
    case OP_with: rc = play_with(me, s); break;
    case OP_try: rc = play_try(me, s); break;
    case OP_repeat:
        for (int i = 0; i < n && !coil_iserr(rc); i++)
            rc = play_block(me, s->inner);
        break;
    default: abort();
    }
    if (rc == COIL_EEXIT)
        return rc;
    say_ok(&out, rc);
    if (s->op == OP_timeout)
        say(&out, " expired:%d", coil_timeout_expired(&play.timeouts[n]));
    tell_statement("", me, s, &out);
    return rc;
}

/* ---- a script ---- */

static coil_ret play_end(int me, const struct statement *s)
{
    struct text out = {.n = 0};
    tell_statement("", me, s, &out);
    switch (s->op) {
    case OP_return: return s->args[0].n;
    case OP_raise: return coil_fail(COIL_EUSER - s->args[0].n, "raised");
    default: return coil_fail(-ECANCELED, "raised");
    }
}

/* What it came to: the error that ended it, the value it returned, else 0. */
static coil_ret play_block(int me, int first)
{
    for (int i = first; i != NONE && !play.over; i = play.script->statements[i].next) {
        const struct statement *s = &play.script->statements[i];
        coil_ret rc;
        switch (ops[s->op].kind) {
        case NOW: rc = play_now("", me, s); break;
        case WAITS: rc = play_wait(me, s); break;
        case BLOCK: rc = play_nested(me, s); break;
        default: return play_end(me, s);
        }
        if (coil_iserr(rc) && (s->ends_block || rc == COIL_EEXIT))
            return rc;
    }
    return play.over ? COIL_EEXIT : 0;
}

static int by_number(const void *a, const void *b)
{
    return ((intptr_t)a > (intptr_t)b) - ((intptr_t)a < (intptr_t)b);
}

static void set_up(void)
{
    const struct script *script = play.script;
    for (int i = 0; i < FUTURES; i++) {
        play.futures[i] = coil_loop_create_future(NULL);
        keep(0, play.futures[i]);
    }
    for (int i = 0; i < OWNERS; i++)
        play.owner[i] = NOBODY;
    play.conditions[1] = (coil_condition)COIL_CONDITION(&play.locks[0]);
    play.semaphores[0] = (coil_semaphore)COIL_SEMAPHORE(script->permits[0]);
    play.semaphores[1] = (coil_semaphore)COIL_BOUNDED_SEMAPHORE(script->permits[1]);
    play.barrier = (coil_barrier)COIL_BARRIER(script->parties);
    for (int i = 0; i < QUEUES; i++) {
        int maxsize = script->queue[i].maxsize;
        play.queues[i] = script->queue[i].order == FIFO ? (coil_queue)COIL_QUEUE(maxsize)
                         : script->queue[i].order == LIFO
                             ? (coil_queue)COIL_LIFO_QUEUE(maxsize)
                             : (coil_queue)COIL_PRIORITY_QUEUE(maxsize, by_number);
    }
}

/* A statement of the end of all scripts. */
static void end_with(enum op op, struct arg arg)
{
    struct statement s = {.op = op, .args_n = arg.kind != 0, .args = {arg}, .inner = NONE};
    coil_ignore(play_now("", MAIN, &s));
}

static bool somebody_is_left(void)
{
    for (int i = 0; i < TASKS; i++)
        if (play.tasks[i] && !coil_future_done(play.tasks[i]))
            return true;
    return false;
}

/* Whoever waits for ever is cancelled, and who waits for a lock gets it. */
static void get_everybody_out(void)
{
    for (int i = 0; i < TASKS; i++)
        if (play.tasks[i] && !coil_future_done(play.tasks[i]))
            end_with(OP_cancel, arg_of('t', i));
    for (int i = 0; i < LOCKS; i++)
        if (coil_lock_locked(&play.locks[i]))
            end_with(OP_release, arg_of('L', i));
    if (coil_condition_locked(&play.conditions[0]))
        end_with(OP_release, arg_of('C', 0));
}

static coil_ret play_all(void *arg)
{
    coil_loop_stats_t stats;
    coil_loop_stats(NULL, &stats);
    play.first_turn = stats.turns;
    play.began = coil_loop_time(NULL);
    set_up();
    for (int i = 0; i < play.script->start; i++)
        spawn(i, false);
    coil_ret rc = coil_sleep(100);
    for (int round = 0; rc == 0 && round < ROUNDS && somebody_is_left(); round++) {
        get_everybody_out();
        rc = coil_sleep(10);
    }
    for (int i = 0; i < TASKS; i++)
        if (play.tasks[i])
            end_with(OP_peek, arg_of('t', i));
    for (int i = 0; i < FUTURES; i++)
        end_with(OP_peek, arg_of('f', i));
    for (int i = 0; i < SLOTS; i++)
        if (play.slots[i].future)
            end_with(OP_peek, arg_of('a', i));
    end_with(OP_look, arg_of(0, 0));
    play.over = true;
    return rc;
}

static void unheard(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    /* Errors that no task of the script looked at. */
}

char *play_script(const struct script *script)
{
    memset(&play, 0, sizeof play);
    play.script = script;
    char *trace = NULL;
    size_t n = 0;
    play.trace = open_memstream(&trace, &n);
    coil_run_opts opts = {
        .size = sizeof opts, .backend = "sim", .virtual_time = true, .stack_size = 128 * 1024};
    coil_loop *loop = coil_new_event_loop(&opts);
    if (!play.trace || !loop)
        abort();
    coil_loop_set_exception_handler(loop, unheard, NULL);
    coil_ret rc = coil_loop_run_until_complete(loop, coil_coro_new(play_all, NULL));
    play.over = true;
    if (coil_iserr(rc))
        fprintf(play.trace, "the run ended: %s\n", coil_errname(rc));
    coil_ignore(coil_loop_close(loop));
    for (int i = 0; i < TASKS; i++)
        coil_unref(play.tasks[i]);
    for (int i = 0; i < SLOTS; i++)
        coil_handle_unref(play.handles[i]);
    for (int i = 0; i < QUEUES; i++)
        coil_ignore(coil_queue_fini(&play.queues[i]));
    drop_kept();
    coil_loop_free(loop);
    fclose(play.trace);
    return trace;
}
