/* SPDX-License-Identifier: MIT
 *
 * main.c: the command `coil`: finds the verb and hands over. */
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>

const struct verb *const all_verbs[] = {&verb_run,     &verb_new,  &verb_shell,  &verb_ps,
                                        &verb_pstree,  &verb_dump, &verb_doctor, &verb_help,
                                        &verb_version, NULL};

static const char *current_verb = "";

const struct verb *find_verb(const char *name)
{
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
        return &verb_help;
    if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0)
        return &verb_version;
    for (const struct verb *const *verb = all_verbs; *verb; verb++) {
        if (strcmp((*verb)->name, name) == 0)
            return *verb;
    }
    return NULL;
}

int complain(int status, int error, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "coil%s%s: ", *current_verb ? " " : "", current_verb);
    vfprintf(stderr, fmt, args);
    va_end(args);
    if (error)
        fprintf(stderr, ": %s", strerror(error));
    fputc('\n', stderr);
    return status;
}

int main(int argc, char **argv)
{
    char shell[] = "shell", *alone[] = {argv[0], shell, NULL};
    if (argc < 2) {
        argc = 2;
        argv = alone;
    }
    const struct verb *verb = find_verb(argv[1]);
    if (!verb)
        return complain(EXIT_USAGE, 0, "there is no verb `%s`; `coil help` lists them", argv[1]);
    current_verb = verb->name;
    int status = verb->run(argc - 1, argv + 1);
    if (status == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        return complain(EXIT_TROUBLE, 0, "the output could not be written");
    return status;
}
