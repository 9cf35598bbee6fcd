/* SPDX-License-Identifier: MIT
 *
 * version.c: `coil version`. */
#include "cmd/cmd.h"

#include <stdio.h>

static int version(int argc, char **argv)
{
    if (argc > 1)
        return complain(EXIT_USAGE, 0, "there is nothing to say about `%s`; coil version", argv[1]);
    printf("coil %s\n", COIL_VERSION);
    return 0;
}

const struct verb verb_version = {
    .name = "version",
    .arguments = "",
    .summary = "Print the version",
    .run = version,
};
