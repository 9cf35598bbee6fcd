/* SPDX-License-Identifier: MIT
 *
 * check.h: the assertions.
 *
 * COIL_CHECK guards what only our own mistake can break and stays in every build; COIL_DCHECK is for
 * hot paths and exists only where COIL_DEBUG_CHECKS is set. A user's mistake is never a check: it is
 * an error code. */
#ifndef COIL_BASE_CHECK_H
#define COIL_BASE_CHECK_H

/* Says what broke and where, then aborts. */
_Noreturn void coil__check_failed(const char *file, int line, const char *what);

#define COIL_CHECK(cond) \
    (__builtin_expect(!!(cond), 1) ? (void)0 : coil__check_failed(__FILE__, __LINE__, #cond))

#if defined(COIL_DEBUG_CHECKS) && COIL_DEBUG_CHECKS
#define COIL_DCHECK(cond) COIL_CHECK(cond)
#else
#define COIL_DCHECK(cond) ((void)sizeof(!!(cond)))
#endif

#define coil_likely(x)   __builtin_expect(!!(x), 1)
#define coil_unlikely(x) __builtin_expect(!!(x), 0)

#endif
