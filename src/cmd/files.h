/* SPDX-License-Identifier: MIT
 *
 * files.h: small services round files and text, for the command. Out of memory, they say so and exit:
 * the command holds nothing that would be lost. */
#ifndef COIL_CMD_FILES_H
#define COIL_CMD_FILES_H

#include <stddef.h>
#include <sys/types.h>

/* Formatted text of its own; free it. Never NULL. */
char *text_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* As realloc, never NULL. */
void *grown(void *memory, size_t bytes);

/* A list of words that ends in NULL, as exec wants it. {0} is an empty one. */
struct words {
    char **list; /* NULL while empty */
    size_t n;
};
void words_add(struct words *words, const char *word);
/* Every word of a text, at blanks; NULL is an empty text. */
void words_split(struct words *words, const char *text);
void words_free(struct words *words);

/* The whole file with a NUL behind it, to be freed. 0 or -errno. */
int read_file(const char *path, char **out_text, size_t *out_n);
/* A new file with this text. 0 or -errno. */
int write_file(const char *path, const char *text, size_t n, mode_t mode);

/* Make the folder and those above it, for the user only. 0 or -errno. */
int make_folders(const char *path);
/* Remove a folder with the plain files in it, as far as it goes. */
void remove_folder(const char *path);

#endif
