/* SPDX-License-Identifier: MIT
 *
 * doctor.h: what `coil doctor` looks at (checkup.c), and how it tells it (doctor.c). */
#ifndef COIL_CMD_DOCTOR_H
#define COIL_CMD_DOCTOR_H

#include <stdbool.h>

enum finding_state {
    FINDING_OK,
    FINDING_NOTE,    /* coil works; something is slower or smaller than it could be */
    FINDING_PROBLEM, /* coil needs this and does not have it */
};

/* One thing that was looked at. */
struct finding {
    const char *name;
    enum finding_state state;
    char *value;  /* for programs: a number or a word; NULL: not known */
    char *text;   /* for people, without a full stop */
    char *advice; /* what to do about it; NULL: nothing */
};

/* Looks at one thing: fills in all but the name. A text that stays NULL means that there is nothing to say here. */
struct checkup {
    const char *name;
    void (*look)(struct finding *finding);
};

/* In the order in which they are told; ends in a NULL name. */
extern const struct checkup checkups[];

#endif
