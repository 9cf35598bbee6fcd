/* SPDX-License-Identifier: MIT
 *
 * errgroup.c: errors that are kept, and groups of them taken apart by what they hold.
 *
 *     group of A, B, (group of A, C)  --split by A-->  match: A, (A)     rest: B, (C)
 *
 * Records are immutable and counted: a part shares what it does not change, and a group of which all or nothing
 * matches is that part itself. A group's own code is its first member's, so what is matched is its leaves, at any depth.
 *
 * A try scope is except*: what a call failed with, less what each handler took, plus what handlers raise.
 *
 * Any thread; a scope belongs to the frame it stands in. Elsewhere: records (error.c). */
#include "base/error.h"
#include "base/mem.h"

#include <string.h>

/* ---- one error ---- */

const coil_error *coil_error_ref(const coil_error *error)
{
    if (!error)
        return NULL;
    struct error_record *r = coil__error_share(error_record_of(error));
    return r ? &r->pub : NULL;
}

void coil_error_unref(const coil_error *error)
{
    if (error)
        coil__error_unref(error_record_of(error));
}

coil_ret coil_raise(const coil_error *error)
{
    if (!error)
        return coil__fail(-EINVAL, "there is no error to raise (NULL)");
    return coil__error_restore(error_record_of(error), error->code);
}

/* ---- groups ---- */

/* Takes over the members. NULL without memory, also for the list of them: a group that does not say what it is of is none. */
static struct error_record *whole_group(coil_ret code, const char *title,
                                        struct error_record *const *members, size_t n)
{
    struct error_record *group = coil__error_group(code, title, members, n);
    if (group && group->pub.members_n == 0) {
        coil__error_unref(group);
        group = NULL;
    }
    return group;
}

/* Shares them: NULL without memory for the list. */
static struct error_record **share_all(const coil_error *const *members, size_t n)
{
    struct error_record **shared = coil__alloc(n * sizeof *shared);
    for (size_t i = 0; shared && i < n; i++)
        shared[i] = members[i] ? coil__error_share(error_record_of(members[i])) : NULL;
    return shared;
}

static const coil_error *group_of(const coil_error *like, const char *title,
                                  const coil_error *const *members, size_t n)
{
    if (!members || n == 0 || n > SIZE_MAX / sizeof *members || !members[0]) {
        coil__fail(-EINVAL, "a group needs at least one error");
        return NULL;
    }
    struct error_record **shared = share_all(members, n), *r = NULL;
    if (shared && like)
        r = coil__error_derive(error_record_of(like), shared, n);
    else if (shared)
        r = whole_group(members[0]->code, title ? title : "", shared, n);
    coil__free(shared);
    if (!r)
        coil__fail_plain(-ENOMEM);
    return r ? &r->pub : NULL;
}

const coil_error *coil_error_group(const char *message, const coil_error *const *members, size_t n)
{
    return group_of(NULL, message, members, n);
}

const coil_error *coil_error_derive(const coil_error *group, const coil_error *const *members,
                                    size_t n)
{
    if (!group) {
        coil__fail(-EINVAL, "there is no group to derive from (NULL)");
        return NULL;
    }
    return group_of(group, NULL, members, n);
}

/* ---- splitting ---- */

struct matcher {
    coil_ret code; /* unless there is a function */
    coil_error_match_fn fn;
    void *arg;
};

struct parts {
    struct error_record *match, *rest; /* counted; NULL: nothing */
};

static bool matches(const struct matcher *m, const struct error_record *r)
{
    return m->fn ? m->fn(&r->pub, m->arg) : r->pub.code == m->code;
}

static int split(struct error_record *r, const struct matcher *m, struct parts *out);

/* What the members' parts on one side come to: nothing, the group itself, or a group of them. Takes them over. */
static int side(struct error_record *r, struct error_record **parts, struct error_record **out)
{
    size_t n = r->pub.members_n, some = 0, same = 0;
    for (size_t i = 0; i < n; i++) {
        some += parts[i] != NULL;
        same += parts[i] == error_record_of(r->pub.members[i]);
    }
    if (same < n) {
        *out = some ? coil__error_derive(r, parts, n) : NULL;
        return some && !*out ? -ENOMEM : 0;
    }
    for (size_t i = 0; i < n; i++)
        coil__error_unref(parts[i]);
    *out = coil__error_share(r);
    return *out ? 0 : -ENOMEM;
}

static int split_group(struct error_record *r, const struct matcher *m, struct parts *out)
{
    size_t n = r->pub.members_n;
    struct error_record **match = coil__zalloc(2 * n * sizeof *match);
    if (!match)
        return -ENOMEM;
    struct error_record **rest = match + n;
    int err = 0;
    for (size_t i = 0; i < n && !err; i++) {
        struct parts p = {NULL, NULL};
        err = split(error_record_of(r->pub.members[i]), m, &p);
        match[i] = p.match;
        rest[i] = p.rest;
    }
    if (err) {
        for (size_t i = 0; i < 2 * n; i++)
            coil__error_unref(match[i]);
    } else {
        int err_match = side(r, match, &out->match), err_rest = side(r, rest, &out->rest);
        err = err_match ? err_match : err_rest;
    }
    coil__free(match);
    return err;
}

/* Either both parts are there, or there was no memory and neither is. */
static int split(struct error_record *r, const struct matcher *m, struct parts *out)
{
    int err = 0;
    if (r->pub.members_n) {
        err = split_group(r, m, out);
    } else {
        struct error_record **to = matches(m, r) ? &out->match : &out->rest;
        *to = coil__error_share(r);
        err = *to ? 0 : -ENOMEM;
    }
    if (err) {
        coil__error_unref(out->match);
        coil__error_unref(out->rest);
        *out = (struct parts){NULL, NULL};
    }
    return err;
}

static int split_for(const coil_error *error, const struct matcher *m, const coil_error **out_match,
                     const coil_error **out_rest)
{
    struct parts p = {NULL, NULL};
    if (!error)
        return (int)coil__fail(-EINVAL, "there is no error to split (NULL)");
    if (split(error_record_of(error), m, &p) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    if (out_match)
        *out_match = p.match ? &p.match->pub : NULL;
    else
        coil__error_unref(p.match);
    if (out_rest)
        *out_rest = p.rest ? &p.rest->pub : NULL;
    else
        coil__error_unref(p.rest);
    return 0;
}

int coil_error_split(const coil_error *error, coil_ret code, const coil_error **out_match,
                     const coil_error **out_rest)
{
    return split_for(error, &(struct matcher){.code = code}, out_match, out_rest);
}

int coil_error_split_if(const coil_error *error, coil_error_match_fn fn, void *arg,
                        const coil_error **out_match, const coil_error **out_rest)
{
    if (!fn)
        return (int)coil__fail(-EINVAL, "there is no function to choose by (NULL)");
    return split_for(error, &(struct matcher){.fn = fn, .arg = arg}, out_match, out_rest);
}

const coil_error *coil_error_subgroup(const coil_error *error, coil_ret code)
{
    const coil_error *match = NULL;
    (void)coil_error_split(error, code, &match, NULL);
    return match;
}

const coil_error *coil_error_subgroup_if(const coil_error *error, coil_error_match_fn fn, void *arg)
{
    const coil_error *match = NULL;
    (void)coil_error_split_if(error, fn, arg, &match, NULL);
    return match;
}

/* ---- except* ---- */

struct attempt {
    coil_ret rc;                 /* what the call returned; 0 once all of its error was taken */
    struct error_record *left;   /* of an rc that failed; NULL: no memory, its code's own words */
    struct error_record *raised; /* a group of what handlers raised, or NULL */
};

_Static_assert(sizeof(struct attempt) <= sizeof(coil_try_scope), "it must fit its public form");
_Static_assert(_Alignof(struct attempt) <= _Alignof(coil_try_scope), "and stand where it stands");

coil_try_scope coil_try_begin(coil_ret rc)
{
    coil_try_scope scope = {{NULL}};
    struct attempt *a = (struct attempt *)&scope;
    a->rc = rc;
    if (coil_iserr(rc))
        a->left = coil__error_capture(rc);
    return scope;
}

/* A group even if it is one error by itself, so that a handler can walk the members. Takes `r` over. */
static struct error_record *as_group(struct error_record *r)
{
    return r->pub.members_n ? r : whole_group(r->pub.code, "", &r, 1);
}

static const coil_error *take(struct attempt *a, const struct matcher *m)
{
    struct parts p = {NULL, NULL};
    if (!a->left || split(a->left, m, &p) < 0 || !p.match) {
        coil__error_unref(p.rest);
        return NULL;
    }
    struct error_record *part = as_group(p.match);
    if (!part) {
        coil__error_unref(p.rest);
        return NULL;
    }
    coil__error_unref(a->left);
    a->left = p.rest;
    a->rc = p.rest ? p.rest->pub.code : 0;
    return &part->pub;
}

const coil_error *coil_try_except(coil_try_scope *scope, coil_ret code)
{
    return take((struct attempt *)scope, &(struct matcher){.code = code});
}

const coil_error *coil_try_except_if(coil_try_scope *scope, coil_error_match_fn fn, void *arg)
{
    return fn ? take((struct attempt *)scope, &(struct matcher){.fn = fn, .arg = arg}) : NULL;
}

/* The members of `r` (NULL: none) and one more, taken over, as one group. NULL without memory. */
static struct error_record *and_one(struct error_record *r, struct error_record *more)
{
    size_t n = r ? r->pub.members_n : 0;
    struct error_record **all = coil__alloc((n + 1) * sizeof *all), *group = NULL;
    if (!all) {
        coil__error_unref(more);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        all[i] = coil__error_share(error_record_of(r->pub.members[i]));
    all[n] = more;
    group = whole_group(all[0] ? all[0]->pub.code : more->pub.code, "raised while handling", all,
                        n + 1);
    coil__free(all);
    return group;
}

coil_ret coil_try_raise(coil_try_scope *scope, coil_ret rc)
{
    struct attempt *a = (struct attempt *)scope;
    if (!coil_iserr(rc))
        return rc;
    struct error_record *more = coil__error_capture(rc);
    struct error_record *raised = more ? and_one(a->raised, more) : NULL;
    if (raised) {
        coil__error_unref(a->raised);
        a->raised = raised;
    } else if (!coil_iserr(a->rc)) {
        a->rc = rc; /* without memory its code, at least */
    }
    return rc;
}

coil_ret coil_try_exit(coil_try_scope *scope)
{
    struct attempt *a = (struct attempt *)scope;
    coil_ret rc = a->rc;
    if (a->raised && a->left) {
        struct error_record *all = and_one(a->raised, coil__error_share(a->left));
        if (all) {
            coil__error_unref(a->raised);
            a->raised = all;
        }
    }
    struct error_record *last = a->raised ? a->raised : a->left;
    if (last)
        rc = last->pub.code;
    if (coil_iserr(rc))
        coil__error_restore(last, rc);
    coil_try_leave(scope);
    return rc;
}

void coil_try_leave(coil_try_scope *scope)
{
    struct attempt *a = (struct attempt *)scope;
    coil__error_unref(a->raised);
    coil__error_unref(a->left);
    *a = (struct attempt){0};
}
