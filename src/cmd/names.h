/* SPDX-License-Identifier: MIT
 *
 * names.h: what Tab knows: coil's names, as its headers have them, those of the session, and the shell's words. */
#ifndef COIL_CMD_NAMES_H
#define COIL_CMD_NAMES_H

#include "cmd/session.h"

/* Those that begin with `prefix`, sorted, none twice. */
void names_matching(struct words *out, const struct session *session,
                    const char *const *shell_words, const char *prefix);

#endif
