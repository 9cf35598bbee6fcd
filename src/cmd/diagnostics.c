/* SPDX-License-Identifier: MIT
 *
 * diagnostics.c: what the compiler says of an entry, as its author should read it.
 *
 * A message is a line and the indented ones below it: the source line, and the mark under it. */
#include "cmd/diagnostics.h"

#include "cmd/files.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text with every `what` taken out. */
static char *without(const char *text, const char *what)
{
    char *left = grown(NULL, strlen(text) + 1), *to = left;
    size_t n = strlen(what);
    while (*text) {
        if (strncmp(text, what, n) == 0)
            text += n;
        else
            *to++ = *text++;
    }
    *to = '\0';
    return left;
}

static size_t message_length(const char *text)
{
    const char *end = text;
    do {
        end += strcspn(end, "\n");
        end += *end == '\n';
    } while (*end == ' ');
    return (size_t)(end - text);
}

static bool is_for_nobody(const char *message)
{
    static const char *const patterns[] = {"coil_shell_entry", ": At top level", " generated.",
                                           "compilation terminated", "being treated as errors"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        if (strstr(message, patterns[i]))
            return true;
    }
    return false;
}

static bool was_said(const struct words *messages, const char *message)
{
    for (size_t i = 0; i < messages->n; i++) {
        if (strcmp(messages->list[i], message) == 0)
            return true;
    }
    return false;
}

char *diagnostics_for_user(const char *said, const char *folder)
{
    char *prefix = text_of("%s/", folder), *text = without(said, prefix), *out = NULL;
    struct words messages = {0};
    size_t n;
    FILE *to = open_memstream(&out, &n);
    for (const char *p = text; *p;) {
        size_t length = message_length(p);
        char *message = text_of("%.*s", (int)length, p);
        if (!is_for_nobody(message) && !was_said(&messages, message)) {
            words_add(&messages, message);
            fputs(message, to);
        }
        free(message);
        p += length;
    }
    fclose(to);
    words_free(&messages);
    free(prefix);
    free(text);
    return out;
}
