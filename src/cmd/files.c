/* SPDX-License-Identifier: MIT
 *
 * files.c: small services round files and text, for the command. */
#include "cmd/files.h"

#include "cmd/cmd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- text ---- */

static void *some(void *memory)
{
    if (!memory)
        exit(complain(EXIT_TROUBLE, ENOMEM, "no memory"));
    return memory;
}

void *grown(void *memory, size_t bytes)
{
    return some(realloc(memory, bytes));
}

char *text_of(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    return some(text);
}

void words_add(struct words *words, const char *word)
{
    words->list = grown(words->list, (words->n + 2) * sizeof *words->list);
    words->list[words->n++] = some(strdup(word));
    words->list[words->n] = NULL;
}

void words_split(struct words *words, const char *text)
{
    if (!text)
        return;
    char *copy = some(strdup(text)), *rest = copy;
    for (char *word; (word = strsep(&rest, " \t\n"));) {
        if (*word)
            words_add(words, word);
    }
    free(copy);
}

void words_free(struct words *words)
{
    for (size_t i = 0; i < words->n; i++)
        free(words->list[i]);
    free(words->list);
    *words = (struct words){0};
}

/* ---- files ---- */

static int read_all(int fd, char **out_text, size_t *out_n)
{
    char *text = NULL;
    size_t n = 0, room = 0;
    for (;;) {
        if (n == room)
            text = grown(text, (room = room ? 2 * room : 16384) + 1);
        ssize_t got = read(fd, text + n, room - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int err = -errno;
            free(text);
            return err;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    *out_text = text;
    *out_n = n;
    return 0;
}

int read_file(const char *path, char **out_text, size_t *out_n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = read_all(fd, out_text, out_n);
    close(fd);
    return err;
}

int write_file(const char *path, const char *text, size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode), err = 0;
    if (fd < 0)
        return -errno;
    while (n > 0 && !err) {
        ssize_t put = write(fd, text, n);
        if (put < 0 && errno != EINTR)
            err = -errno;
        else if (put > 0)
            text += put, n -= (size_t)put;
    }
    if (close(fd) < 0 && !err)
        err = -errno;
    return err;
}

int make_folders(const char *path)
{
    char *part = text_of("%s", path);
    int err = 0;
    for (char *slash = strchr(part + 1, '/'); !err; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            err = -errno;
        if (!slash)
            break;
        *slash = '/';
    }
    free(part);
    return err;
}

void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    if (folder) {
        for (struct dirent *entry; (entry = readdir(folder));)
            unlinkat(dirfd(folder), entry->d_name, 0); /* "." and ".." refuse */
        closedir(folder);
    }
    rmdir(path);
}
