/* SPDX-License-Identifier: MIT
 *
 * names.c: what Tab knows.
 *
 * The headers are read when somebody first asks: what they declare and define, without what stands in comments. */
#include "cmd/names.h"

#include "cmd/compiler.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct words public_names; /* sorted, none twice */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort(struct words *words)
{
    if (words->n == 0)
        return;
    qsort(words->list, words->n, sizeof *words->list, by_name);
    size_t kept = 1;
    for (size_t i = 1; i < words->n; i++) {
        if (strcmp(words->list[i], words->list[kept - 1]) == 0)
            free(words->list[i]);
        else
            words->list[kept++] = words->list[i];
    }
    words->n = kept;
    words->list[kept] = NULL;
}

/* Guards of headers, and what starts like the library's inside, are for nobody. */
static void add_if_public(const char *name)
{
    size_t n = strlen(name);
    bool is_coils = strncmp(name, "coil_", 5) == 0 || strncmp(name, "COIL_", 5) == 0;
    if (is_coils && n > 5 && name[5] != '_' && strcmp(name + n - 2, "_H") != 0)
        words_add(&public_names, name);
}

static void read_header(const char *path)
{
    char *text;
    size_t n;
    if (read_file(path, &text, &n) < 0)
        return;
    struct tokens tokens;
    tokens_of(&tokens, text);
    for (size_t i = 0; i < tokens.n; i++) {
        char *word = token_text(&tokens, i), name[64];
        if (tokens.list[i].kind == TOKEN_WORD)
            add_if_public(word);
        else if (sscanf(word, "# define %63[A-Za-z0-9_]", name) == 1)
            add_if_public(name);
        free(word);
    }
    tokens_free(&tokens);
    free(text);
}

static void read_headers(void)
{
    char *folder = text_of("%s/coil", compiler_include_folder());
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        char *path = text_of("%s/%s", folder, entry->d_name);
        read_header(path);
        free(path);
    }
    if (dir)
        closedir(dir);
    free(folder);
    sort(&public_names);
}

static void add_if_matching(struct words *out, const char *name, const char *prefix)
{
    if (name && strncmp(name, prefix, strlen(prefix)) == 0 && strncmp(name, "coil_shell_", 11) != 0)
        words_add(out, name);
}

void names_matching(struct words *out, const struct session *session,
                    const char *const *shell_words, const char *prefix)
{
    if (public_names.n == 0)
        read_headers();
    for (const char *const *word = shell_words; *word; word++)
        add_if_matching(out, *word, prefix);
    if (*prefix == ':')
        return;
    for (size_t i = 0; i < public_names.n; i++)
        add_if_matching(out, public_names.list[i], prefix);
    for (size_t i = 0; i < session->n; i++)
        add_if_matching(out, session->list[i].name, prefix);
    sort(out);
}
