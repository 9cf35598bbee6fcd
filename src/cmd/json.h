/* SPDX-License-Identifier: MIT
 *
 * json.h: words as JSON. */
#ifndef COIL_CMD_JSON_H
#define COIL_CMD_JSON_H

/* In quotes, to standard output; NULL is null. */
void json_string(const char *text);

#endif
