/* SPDX-License-Identifier: MIT
 *
 * help.c: `coil help`: the verbs, or one of them. */
#include "cmd/cmd.h"

#include <stdio.h>

static int help_verb(const char *name)
{
    const struct verb *verb = find_verb(name);
    if (!verb)
        return complain(EXIT_USAGE, 0, "there is no verb `%s`; `coil help` lists them", name);
    printf("usage: coil %s%s%s\n\n%s.\n", verb->name, *verb->arguments ? " " : "", verb->arguments,
           verb->summary);
    if (verb->text)
        printf("\n%s", verb->text);
    return 0;
}

static int help(int argc, char **argv)
{
    if (argc > 2)
        return complain(EXIT_USAGE, 0, "one verb at a time: coil help [VERB]");
    if (argc == 2)
        return help_verb(argv[1]);
    printf("usage: coil [VERB [ARGUMENT]...]\n\n");
    for (const struct verb *const *verb = all_verbs; *verb; verb++)
        printf("  %-8s %-27s %s\n", (*verb)->name, (*verb)->arguments, (*verb)->summary);
    printf("\n`coil help VERB` tells more, and so does the manual page coil(1).\n");
    return 0;
}

const struct verb verb_help = {
    .name = "help",
    .arguments = "[VERB]",
    .summary = "List the verbs, or explain one",
    .run = help,
};
