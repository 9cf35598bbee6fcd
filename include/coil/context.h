/* SPDX-License-Identifier: MIT
 *
 * coil/context.h: context variables: values that follow a task and whatever it starts.
 *
 * Each task runs in a copy of its creator's context; call_soon, call_later and done-callbacks capture
 * the caller's. What a task sets does not leak out. asyncio: the contextvars module. */
#ifndef COIL_CONTEXT_H
#define COIL_CONTEXT_H

#include <coil/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coil_context coil_context;

/* A variable; usually static, and it must outlive every context it was set in. */
typedef struct {
    const char *name;
    void *default_value;
} coil_contextvar;
#define COIL_CONTEXTVAR(name, default_value) \
    {                                        \
        (name), (default_value)              \
    }

/* What was before a set; for coil_contextvar_reset. */
typedef struct {
    const coil_contextvar *var;
    void *old_value;
    bool was_set, used;
} coil_contextvar_token;

/* The value in the current context, or the variable's default. asyncio: ContextVar.get */
COIL_API void *coil_contextvar_get(const coil_contextvar *var);

/* Set the value in the current context; `out_token` may be NULL.
 *
 *   Owns:   nothing; `value` stays yours and must outlive its stay in any context.
 *   Errors: -ENOMEM, and then nothing changed.
 *   asyncio: ContextVar.set */
COIL_API int coil_contextvar_set(const coil_contextvar *var, void *value,
                                 coil_contextvar_token *out_token);

/* Put back what was before the set that made this token.
 *
 *   Errors: COIL_EINVALIDSTATE if the token was used already; -ENOMEM.
 *   asyncio: ContextVar.reset */
COIL_API int coil_contextvar_reset(coil_contextvar_token *token);

/* A new empty context; one reference, yours. NULL when out of memory. asyncio: Context() */
COIL_API coil_context *coil_context_new(void);

/* A copy of the current context; one reference, yours. NULL when out of memory. asyncio: copy_context */
COIL_API coil_context *coil_copy_context(void);

/* Share and give back. NULL is accepted by unref. */
COIL_API coil_context *coil_context_ref(coil_context *context);
COIL_API void coil_context_unref(coil_context *context);

/* Run fn(arg) in this context; what it sets stays in the context. Inside a task fn may wait.
 *
 *   Errors: COIL_ERUNNING if the context is entered already; -EINVAL without a context or a function; else
 *           what fn returns.
 *   asyncio: Context.run */
COIL_API coil_ret coil_context_run(coil_context *context, coil_fn fn, void *arg);

/* The value in that context; false (and the default) if it is not set there. asyncio: Context.get */
COIL_API bool coil_context_get(const coil_context *context, const coil_contextvar *var,
                               void **out_value);

#ifdef __cplusplus
}
#endif
#endif
