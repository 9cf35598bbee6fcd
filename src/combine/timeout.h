/* SPDX-License-Identifier: MIT
 *
 * timeout.h: what this folder shares of timeouts.
 *
 * Elsewhere: the promise to users (coil/timeout.h). */
#ifndef COIL_COMBINE_TIMEOUT_H
#define COIL_COMBINE_TIMEOUT_H

#include <coil/timeout.h>

/* A -ECANCELED that was a timeout's own becomes `code`, with the cancel as its cause. Returns code. */
coil_ret coil__timeout_convert(coil_ret code);

#endif
