/* SPDX-License-Identifier: MIT
 *
 * stdatomic.h: stands before the compiler's own when a source is built for the interleaving checker: another thread may run
 * before every access.
 *
 * The operations are sequentially consistent whatever order was asked for: the checker tries interleavings, and
 * ThreadSanitizer looks at the orders. */
#ifndef TEST_LOOM_STDATOMIC_H
#define TEST_LOOM_STDATOMIC_H

#include_next <stdatomic.h>
#include <stdbool.h>

void loom_step(const char *what);
bool loom_fails_for_nothing(void);

#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit
#undef atomic_compare_exchange_weak_explicit

#ifdef __clang__
#define LOOM_LOAD(p)        __c11_atomic_load(p, __ATOMIC_SEQ_CST)
#define LOOM_STORE(p, v)    __c11_atomic_store(p, v, __ATOMIC_SEQ_CST)
#define LOOM_EXCHANGE(p, v) __c11_atomic_exchange(p, v, __ATOMIC_SEQ_CST)
#define LOOM_ADD(p, v)      __c11_atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define LOOM_SUB(p, v)      __c11_atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST)
#define LOOM_CAS(p, expected, v) \
    __c11_atomic_compare_exchange_strong(p, expected, v, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#else
#define LOOM_LOAD(p)        __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define LOOM_STORE(p, v)    __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
#define LOOM_EXCHANGE(p, v) __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define LOOM_ADD(p, v)      __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define LOOM_SUB(p, v)      __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST)
#define LOOM_CAS(p, expected, v) \
    __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#endif

#define atomic_load_explicit(p, order)         (loom_step("load of " #p), LOOM_LOAD(p))
#define atomic_store_explicit(p, v, order)     (loom_step("store to " #p), LOOM_STORE(p, v))
#define atomic_exchange_explicit(p, v, order)  (loom_step("exchange of " #p), LOOM_EXCHANGE(p, v))
#define atomic_fetch_add_explicit(p, v, order) (loom_step("addition to " #p), LOOM_ADD(p, v))
#define atomic_fetch_sub_explicit(p, v, order) (loom_step("subtraction from " #p), LOOM_SUB(p, v))
#define atomic_load(p)                         atomic_load_explicit(p, 0)
#define atomic_store(p, v)                     atomic_store_explicit(p, v, 0)
#define atomic_fetch_add(p, v)                 atomic_fetch_add_explicit(p, v, 0)
#define atomic_fetch_sub(p, v)                 atomic_fetch_sub_explicit(p, v, 0)
/* A weak one may fail for nothing. */
#define atomic_compare_exchange_weak_explicit(p, expected, v, yes, no) \
    (loom_step("exchange of " #p " if equal"),                         \
     loom_fails_for_nothing() ? (*(expected) = LOOM_LOAD(p), false) : LOOM_CAS(p, expected, v))

#endif
