/* SPDX-License-Identifier: MIT
 *
 * context.c: context variables.
 *
 * A map is a small sorted array of (variable, value), immutable and counted. Programs have a handful of variables, so a set
 * copies the array; a lookup is a binary search. The maps of one thread are counted without atomics; coil__context_map_clone
 * makes one for another thread. */
#include "base/context.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/thread.h"

#include <string.h>

struct binding {
    const coil_contextvar *var;
    void *value;
};

struct context_map {
    unsigned refs;
    unsigned n;
    struct binding at[]; /* sorted by the variable's address */
};

_Thread_local struct coil_context *coil__context_ptr;
static _Thread_local struct coil_context thread_context;

/* The thread's own map is given back when the thread ends. */
static void drop_thread_context(void *arg)
{
    struct coil_context *c = arg;
    coil__context_map_unref(c->map);
    c->map = NULL;
}

struct coil_context *coil__context_current(void)
{
    return coil__context_ptr ? coil__context_ptr : &thread_context;
}

struct context_map *coil__context_map_ref(struct context_map *map)
{
    map->refs++;
    return map;
}

void coil__context_map_unref(struct context_map *map)
{
    if (map && --map->refs == 0)
        coil__free(map);
}

static struct context_map *new_map(unsigned n)
{
    struct context_map *map = coil__alloc(sizeof *map + n * sizeof map->at[0]);
    if (map)
        *map = (struct context_map){.refs = 1, .n = n};
    return map;
}

int coil__context_map_clone(const struct context_map *map, struct context_map **out)
{
    *out = NULL;
    if (!map)
        return 0;
    struct context_map *copy = new_map(map->n);
    if (!copy)
        return -ENOMEM;
    memcpy(copy->at, map->at, map->n * sizeof map->at[0]);
    *out = copy;
    return 0;
}

/* Where `var` is or belongs; *out_found says which. */
static unsigned find(const struct context_map *map, const coil_contextvar *var, bool *out_found)
{
    unsigned low = 0, high = map ? map->n : 0;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (map->at[mid].var == var) {
            *out_found = true;
            return mid;
        }
        if ((uintptr_t)map->at[mid].var < (uintptr_t)var)
            low = mid + 1;
        else
            high = mid;
    }
    *out_found = false;
    return low;
}

/* A new map with `var` bound (or, with bind false, gone). NULL for an empty result, -ENOMEM told apart by the return. */
static int map_change(const struct context_map *map, const coil_contextvar *var, bool bind,
                      void *value, struct context_map **out)
{
    bool found;
    unsigned i = find(map, var, &found), n = map ? map->n : 0;
    unsigned new_n = n + (bind && !found) - (!bind && found);
    *out = NULL;
    if (new_n == 0)
        return 0;
    struct context_map *next = new_map(new_n);
    if (!next)
        return -ENOMEM;
    if (i > 0)
        memcpy(next->at, map->at, i * sizeof next->at[0]);
    unsigned from = i + found, to = i;
    if (bind)
        next->at[to++] = (struct binding){var, value};
    if (n > from)
        memcpy(next->at + to, map->at + from, (n - from) * sizeof next->at[0]);
    *out = next;
    return 0;
}

void *coil_contextvar_get(const coil_contextvar *var)
{
    bool found;
    const struct context_map *map = coil__context_current()->map;
    unsigned i = find(map, var, &found);
    return found ? map->at[i].value : var->default_value;
}

static int change_current(const coil_contextvar *var, bool bind, void *value)
{
    static struct thread_key key;
    struct coil_context *c = coil__context_current();
    struct context_map *next;
    if (c == &thread_context && !c->map) {
        int err = coil__thread_at_exit(&key, drop_thread_context, c);
        if (err)
            return (int)coil__fail_plain(err);
    }
    if (map_change(c->map, var, bind, value, &next) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    coil__context_map_unref(c->map);
    c->map = next;
    return 0;
}

int coil_contextvar_set(const coil_contextvar *var, void *value, coil_contextvar_token *out_token)
{
    bool found;
    const struct context_map *map = coil__context_current()->map;
    unsigned i = find(map, var, &found);
    coil_contextvar_token token = {
        .var = var, .was_set = found, .old_value = found ? map->at[i].value : NULL};
    int err = change_current(var, true, value);
    if (err == 0 && out_token)
        *out_token = token;
    return err;
}

int coil_contextvar_reset(coil_contextvar_token *token)
{
    if (!token->var || token->used)
        return (int)coil__fail(COIL_EINVALIDSTATE, "the token has already been used once");
    int err = change_current(token->var, token->was_set, token->old_value);
    if (err == 0)
        token->used = true;
    return err;
}

coil_context *coil_context_new(void)
{
    coil_context *c = coil__zalloc(sizeof *c);
    if (c)
        c->refs = 1;
    else
        coil__fail_plain(-ENOMEM);
    return c;
}

coil_context *coil_copy_context(void)
{
    coil_context *c = coil_context_new();
    if (c)
        c->map = context_capture();
    return c;
}

coil_context *coil_context_ref(coil_context *context)
{
    if (context->refs++ == 0 && context->pin)
        context->pin(context, true);
    return context;
}

void coil_context_unref(coil_context *context)
{
    if (!context || context->refs == 0 || --context->refs > 0)
        return;
    if (context->pin) {
        context->pin(context, false);
        return;
    }
    coil__context_map_unref(context->map);
    coil__free(context);
}

coil_ret coil_context_run(coil_context *context, coil_fn fn, void *arg)
{
    struct coil_context *before = coil__context_ptr;
    if (!context)
        return coil__fail(-EINVAL, "there is no context (NULL)");
    if (context->entered || context == before)
        return coil__fail(COIL_ERUNNING, "the context is already entered");
    if (!fn)
        return coil__fail(-EINVAL, "there is no function to run (NULL)");
    coil_context_ref(context); /* fn may drop the last one */
    context->entered = true;
    coil__context_ptr = context;
    coil_ret rc = fn(arg);
    /* fn may have waited: the task floor brought `context` back with us, and now we put back the outer one. */
    coil__context_ptr = before;
    context->entered = false;
    coil_context_unref(context);
    return rc;
}

bool coil_context_get(const coil_context *context, const coil_contextvar *var, void **out_value)
{
    bool found;
    unsigned i = find(context->map, var, &found);
    *out_value = found ? context->map->at[i].value : var->default_value;
    return found;
}
