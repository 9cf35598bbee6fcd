/* SPDX-License-Identifier: MIT
 *
 * new.c: `coil new NAME`: a folder with a small program, its test and its Makefile.
 *
 * Always true: the folder is new, or nothing was written. Its texts are in templates/echo/. */
#include "cmd/embedded.h"

#include "cmd/cmd.h"
#include "cmd/compiler.h"
#include "cmd/files.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NAME_MAX_BYTES = 64 };

/* ---- the name ---- */

/* Letters of ASCII only: the name becomes a file's and a target's of make. */
static bool fits(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (!first && ((c >= '0' && c <= '9') || c == '-' || c == '_'));
}

static int check_name(const char *name)
{
    static const char rule[] = "a project's name has letters, digits, - and _, a letter first";
    if (!*name)
        return complain(EXIT_USAGE, 0, "a name is missing; %s", rule);
    if (strlen(name) > NAME_MAX_BYTES)
        return complain(EXIT_USAGE, 0, "a project's name has %d characters at most",
                        (int)NAME_MAX_BYTES);
    for (const char *c = name; *c; c++) {
        if (fits(*c, c == name))
            continue;
        if (isprint((unsigned char)*c))
            return complain(EXIT_USAGE, 0, "`%s` will not do because of the `%c`; %s", name, *c,
                            rule);
        return complain(EXIT_USAGE, 0, "the name will not do because of a byte 0x%02x; %s",
                        (unsigned char)*c, rule);
    }
    return 0;
}

/* ---- the files ---- */

/* The text with the name in place of each "@NAME@". */
static char *filled_in(const char *text, const char *name)
{
    static const char mark[] = "@NAME@";
    char *filled = text_of("%s", "");
    for (const char *at; (at = strstr(text, mark)); text = at + sizeof mark - 1) {
        char *longer = text_of("%s%.*s%s", filled, (int)(at - text), text, name);
        free(filled);
        filled = longer;
    }
    char *whole = text_of("%s%s", filled, text);
    free(filled);
    return whole;
}

static int write_all(const char *folder, const char *name)
{
    for (const struct embedded_file *file = new_files; file->name; file++) {
        char *path = text_of("%s/%s", folder, file->name), *text = filled_in(file->text, name);
        int err = write_file(path, text, strlen(text), 0666);
        if (err)
            complain(0, -err, "cannot write %s; nothing is left of it", path);
        free(path);
        free(text);
        if (err)
            return EXIT_TROUBLE;
    }
    return 0;
}

static void tell(const char *folder, const char *name)
{
    printf("%s is made. Next:\n\n    cd %s\n    make test\n    make && build/%s\n", folder, folder,
           name);
    /* What is installed elsewhere is not found by itself. */
    if (strncmp(compiler_lib_folder(), "/usr/", 5) != 0)
        printf("\nShould pkg-config not find coil:\n\n    export PKG_CONFIG_PATH=%s/pkgconfig\n",
               compiler_lib_folder());
}

static int make_project(const char *folder, const char *name)
{
    if (mkdir(folder, 0777) < 0) {
        if (errno == EEXIST)
            return complain(EXIT_TROUBLE, 0, "%s is there already; choose another name", folder);
        if (errno == ENOENT)
            return complain(EXIT_TROUBLE, 0, "the folder that %s is to stand in does not exist",
                            folder);
        return complain(EXIT_TROUBLE, errno, "cannot make %s", folder);
    }
    int status = write_all(folder, name);
    if (status == 0)
        tell(folder, name);
    else
        remove_folder(folder);
    return status;
}

static int new (int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
        return verb_help.run(2, (char *[]){argv[1], argv[0], NULL});
    if (argc != 2)
        return complain(EXIT_USAGE, 0, "which name? coil new NAME");
    char *folder = text_of("%s", argv[1]);
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/')
        folder[--n] = '\0';
    const char *slash = strrchr(folder, '/'), *name = slash ? slash + 1 : folder;
    int status = check_name(name);
    if (status == 0)
        status = make_project(folder, name);
    free(folder);
    return status;
}

const struct verb verb_new = {
    .name = "new",
    .arguments = "NAME",
    .summary = "Make a folder with a small program, its tests and a Makefile",
    .text = "The program is a TCP server of two tasks; `make` builds it, `make test` tries it in\n"
            "virtual time. NAME may have folders before it, which must exist. It is made of\n"
            "letters, digits, - and _, a letter first, and must not exist yet.\n"
            "\n"
            "What is made needs make, pkg-config and a C compiler; its tests need cmocka.\n",
    .run = new,
};
