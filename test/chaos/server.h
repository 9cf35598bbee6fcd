/* SPDX-License-Identifier: MIT
 *
 * server.h: what the server's files know of each other. */
#ifndef TEST_CHAOS_SERVER_H
#define TEST_CHAOS_SERVER_H

#include "chaos.h"

/* Begin so many children, some at a time, as tasks of the group; each ends as it was told to, or is counted as wrong. */
void storm(coil_group *group, struct server_report *report, unsigned children, uint64_t seed);

#endif
