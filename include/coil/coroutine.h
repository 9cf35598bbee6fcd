/* SPDX-License-Identifier: MIT
 *
 * coil/coroutine.h: the coroutine object: a function and its argument that nobody runs yet.
 *
 * Everyday code never needs it: `await f(x)` is the plain call f(x), and coil_create_task takes the
 * function itself. It exists for what asyncio does with coroutine objects: passing one around, making
 * a task of it later, being told that it was never awaited. */
#ifndef COIL_COROUTINE_H
#define COIL_COROUTINE_H

#include <coil/future.h>

#ifdef __cplusplus
extern "C" {
#endif

enum coil_coro_state {
    COIL_CORO_CREATED,
    COIL_CORO_RUNNING,
    COIL_CORO_SUSPENDED,
    COIL_CORO_CLOSED
};

/* A coroutine object; nothing of fn runs. NULL when out of memory. Consumed by the await, task or run
 * that takes it, else closed with coil_coro_close. asyncio: calling an async def */
#define coil_coro_new(fn, arg) coil_coro_new_at(__FILE__, __LINE__, #fn, (fn), (arg))
COIL_API coil_coro *coil_coro_new_at(const char *file, int line, const char *name, coil_fn fn,
                                     void *arg);

/* Free one that nothing took; reports "coroutine ... was never awaited". NULL is fine.
 * asyncio: the object is destroyed */
COIL_API void coil_coro_free(coil_coro *coro);
/* The same without the report. asyncio: coroutine.close */
COIL_API void coil_coro_close(coil_coro *coro);
COIL_API enum coil_coro_state coil_coro_state(const coil_coro *coro);

struct coil_gen;
/* The old way: a generator driven as a coroutine. Each future it yields is waited for and given back, and what
 * comes of it is sent in (an error is thrown in); yielding 0 gives up one turn; its return value is the
 * coroutine's. NULL when out of memory.
 *
 *   Owns:    the generator's reference, whatever happens.
 *   asyncio: @asyncio.coroutine, up to Python 3.10 */
COIL_API coil_coro *coil_gen_to_coro(struct coil_gen *gen);

#ifdef __cplusplus
}
#endif
#endif
