/* SPDX-License-Identifier: MIT
 *
 * outer.h: futures that stand for others (gather's, shield's): small things they have in common.
 *
 * A value that owns memory stays its own future's to free, unless somebody took it from the outer one. */
#ifndef COIL_COMBINE_OUTER_H
#define COIL_COMBINE_OUTER_H

#include "base/error.h"
#include "base/mem.h"
#include "task/task.h"

static inline bool outer_has_value(const coil_future *f)
{
    return f->state == COIL_FUTURE_FINISHED && !coil_iserr(f->result);
}

static inline bool outer_has_failed(const coil_future *f)
{
    return f->state == COIL_FUTURE_FINISHED && coil_iserr(f->result);
}

/* An error that somebody else was told of instead. */
static inline void outer_mark_retrieved(coil_future *inner)
{
    if (outer_has_failed(inner) && !inner->immortal)
        inner->retrieved = true;
}

/* Fails, also with -ECANCELED: an inner future that was cancelled, or a cancel that was passed on, is an
 * error of the outer one and does not make it a cancelled future. */
static inline void outer_fail(coil_future *outer, coil_ret code, struct error_record *error)
{
    coil__future_finish(outer, code, error);
    outer->state = COIL_FUTURE_FINISHED;
}

/* The end of destroy. */
static inline void outer_free(coil_future *f)
{
    coil__error_unref(f->error);
    coil__free(f);
}

#endif
