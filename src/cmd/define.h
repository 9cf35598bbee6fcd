/* SPDX-License-Identifier: MIT
 *
 * define.h: names of a session that come and go (session.c), for the translation (translate.c). */
#ifndef COIL_CMD_DEFINE_H
#define COIL_CMD_DEFINE_H

#include "cmd/session.h"

/* The name is about to be defined anew: drop it, and what was made of it, whose names go into `lost`. */
void session_forget(struct session *session, enum known_kind kind, const char *name,
                    struct words *lost);

/* Takes over name, text and count. */
void session_add(struct session *session, enum known_kind kind, char *name, char *text,
                 char *count);

#endif
