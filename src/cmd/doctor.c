/* SPDX-License-Identifier: MIT
 *
 * doctor.c: `coil doctor`: what coil finds on this machine, what it makes of it, and what could be better. */
#include "cmd/doctor.h"

#include "cmd/cmd.h"
#include "cmd/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_words[] = {"ok", "note", "problem"};

/* ---- for people ---- */

static void tell(const struct finding *f)
{
    printf("%-8s %-12s %s\n", state_words[f->state], f->name, f->text);
    if (f->advice)
        printf("%-8s %-12s   -> %s\n", "", "", f->advice);
}

/* ---- for programs ---- */

static void tell_json(const struct finding *f, bool first)
{
    printf("%s\n  {\"name\": \"%s\", \"state\": \"%s\", \"value\": ", first ? "" : ",", f->name,
           state_words[f->state]);
    json_string(f->value);
    fputs(", \"text\": ", stdout);
    json_string(f->text);
    fputs(", \"advice\": ", stdout);
    json_string(f->advice);
    putchar('}');
}

/* ---- the verb ---- */

static int examine(bool json)
{
    int counts[3] = {0}, told = 0;
    if (json)
        printf("{\"coil\": \"%s\", \"findings\": [", COIL_VERSION);
    for (const struct checkup *c = checkups; c->name; c++) {
        struct finding f = {.name = c->name};
        c->look(&f);
        if (f.text) {
            if (json)
                tell_json(&f, told == 0);
            else
                tell(&f);
            told++;
            counts[f.state]++;
        }
        free(f.value);
        free(f.text);
        free(f.advice);
    }
    if (json)
        printf("\n], \"notes\": %d, \"problems\": %d}\n", counts[FINDING_NOTE],
               counts[FINDING_PROBLEM]);
    else if (counts[FINDING_PROBLEM])
        printf("\ncoil %s does not work here: see what is marked as a problem\n", COIL_VERSION);
    else
        printf("\ncoil %s works here\n", COIL_VERSION);
    return counts[FINDING_PROBLEM] ? EXIT_TROUBLE : 0;
}

static int doctor(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
        return verb_help.run(2, (char *[]){argv[1], argv[0], NULL});
    if (argc == 1)
        return examine(false);
    if (argc == 2 && strcmp(argv[1], "--json") == 0)
        return examine(true);
    return complain(EXIT_USAGE, 0, "`%s` is not understood; coil doctor [--json]",
                    argv[strcmp(argv[1], "--json") == 0 ? 2 : 1]);
}

const struct verb verb_doctor = {
    .name = "doctor",
    .arguments = "[--json]",
    .summary = "Say what coil finds on this machine, and what could be better",
    .text =
        "A line for each thing: `ok`, `note` (it works, and could be better), or `problem` (coil\n"
        "needs it and does not have it), with what to do about it below. Limits are those of\n"
        "this process; a service may have others. The exit status is 1 if there is a problem.\n"
        "\n"
        "Nothing is changed. io_uring is tried only where `auto` would try it: not if\n"
        "COIL_BACKEND names another backend, nor under a seccomp filter.\n"
        "\n"
        "  --json             the same for programs\n"
        "  COIL_BACKEND       the backend to look at, as for any program\n",
    .run = doctor,
};
