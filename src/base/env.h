/* SPDX-License-Identifier: MIT
 *
 * env.h: what the environment says; docs/env.md lists the variables. */
#ifndef COIL_BASE_ENV_H
#define COIL_BASE_ENV_H

#include <stdbool.h>
#include <stdint.h>

/* Set, and neither empty nor "0". */
bool coil__env_flag(const char *name);
/* Its value; NULL if unset or empty. Good until somebody changes the environment. */
const char *coil__env_text(const char *name);
void coil__env_unset(const char *name);
/* A decimal number; `otherwise` if unset or not a number. */
uint64_t coil__env_number(const char *name, uint64_t otherwise);

#endif
