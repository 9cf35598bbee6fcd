/* SPDX-License-Identifier: MIT
 *
 * context.h: context variables from the inside.
 *
 * A context holds a map; maps are immutable and counted, so copying a context copies a pointer, and
 * setting a variable makes a new map. Whoever runs has a current context; a bare callback captures
 * only the map of its maker, NULL while no variable was ever set, and then costs nothing.
 *
 * One thread at a time: what goes to another thread is cloned. */
#ifndef COIL_BASE_CONTEXT_H
#define COIL_BASE_CONTEXT_H

#include <coil/context.h>

struct context_map;

struct coil_context {
    struct context_map *map; /* NULL: empty */
    unsigned refs;           /* of an embedded one: those besides its owner's */
    bool entered;            /* running somewhere up the stack; entering again is an error */
    /* NULL: allocated. Embedded in something: the first reference keeps that alive, the last lets it go. */
    void (*pin)(struct coil_context *context, bool on);
};

/* The context of what runs in this thread now; NULL means the thread's own. */
extern _Thread_local struct coil_context *coil__context_ptr;
struct coil_context *coil__context_current(void);

struct context_map *coil__context_map_ref(struct context_map *map);
void coil__context_map_unref(struct context_map *map);

/* The current map with a reference more; NULL (empty) costs two loads. */
static inline struct context_map *context_capture(void)
{
    struct coil_context *c = coil__context_ptr;
    if (!c)
        c = coil__context_current();
    return c->map ? coil__context_map_ref(c->map) : NULL;
}

/* A map that shares nothing with `map`, for another thread. 0 or -ENOMEM; NULL clones to NULL. */
int coil__context_map_clone(const struct context_map *map, struct context_map **out);

#endif
