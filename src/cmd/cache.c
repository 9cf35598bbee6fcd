/* SPDX-License-Identifier: MIT
 *
 * cache.c: compiled programs, kept by what they were made of.
 *
 * What was not used for longest goes first when the whole grows over COIL_CACHE_BYTES. */
#include "cmd/cache.h"

#include "cmd/compiler.h"
#include "cmd/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES_MAX         (64u << 20) /* unless COIL_CACHE_BYTES says otherwise */
#define ABANDONED_SECONDS 3600        /* a program takes less to make */

/* ---- the folder ---- */

char *cache_folder(void)
{
    const char *home = getenv("XDG_CACHE_HOME");
    if (home && *home == '/') /* the specification says to ignore relative ones */
        return text_of("%s/coil", home);
    home = getenv("HOME");
    return home && *home == '/' ? text_of("%s/.cache/coil", home) : NULL;
}

int cache_make(const char *cache)
{
    struct stat st;
    int err = make_folders(cache);
    if (err)
        return err;
    if (stat(cache, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    /* Programs from a folder that somebody else can write to are somebody else's programs. */
    if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
        return -EPERM;
    return access(cache, W_OK) < 0 ? -errno : 0;
}

/* Is it there, and safe to take programs from? */
static bool is_ours(const char *cache)
{
    struct stat st;
    return stat(cache, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* ---- keys ---- */

/* The digest of key and included files; of a missing one, that it is missing. */
static void second_key(char out[DIGEST_TEXT], const char *key, const struct words *paths)
{
    struct digest d;
    digest_init(&d);
    digest_string(&d, key);
    for (size_t i = 0; i < paths->n; i++) {
        char *text = NULL;
        size_t n = 0;
        read_file(paths->list[i], &text, &n);
        digest_string(&d, paths->list[i]);
        digest_field(&d, text, n);
        free(text);
    }
    digest_text(&d, out);
}

/* The list is the paths, each with a NUL behind it. */
static char *deps_path(const char *cache, const char *key)
{
    return text_of("%s/%s.deps", cache, key);
}

/* Written in the folder of a program in the making, so that what a death half-way leaves goes with it. */
static int write_deps(const char *folder, const char *path, const struct words *paths)
{
    char *text = grown(NULL, 1), *temporary = text_of("%s/list", folder);
    size_t n = 0;
    for (size_t i = 0; i < paths->n; i++) {
        size_t more = strlen(paths->list[i]) + 1;
        text = grown(text, n + more);
        memcpy(text + n, paths->list[i], more);
        n += more;
    }
    int err = write_file(temporary, text, n, 0600);
    if (!err && rename(temporary, path) < 0)
        err = -errno;
    free(temporary);
    free(text);
    return err;
}

static int read_deps(const char *path, struct words *out_paths)
{
    char *text;
    size_t n;
    int err = read_file(path, &text, &n);
    if (err)
        return err;
    for (size_t at = 0; at < n; at += strlen(text + at) + 1)
        words_add(out_paths, text + at);
    free(text);
    return 0;
}

char *cache_find(const char *cache, const char *key, const char *name)
{
    char *list = deps_path(cache, key), *program = NULL;
    struct words paths = {0};
    if (is_ours(cache) && read_deps(list, &paths) == 0) {
        char second[DIGEST_TEXT];
        second_key(second, key, &paths);
        char *folder = text_of("%s/%s", cache, second);
        utimensat(AT_FDCWD, list, NULL, 0);
        utimensat(AT_FDCWD, folder, NULL, 0);
        program = text_of("%s/%s", folder, name);
        free(folder);
    }
    words_free(&paths);
    free(list);
    return program;
}

/* ---- keeping ---- */

char *cache_begin(const char *cache)
{
    char *folder = text_of("%s/new-XXXXXX", cache);
    if (mkdtemp(folder))
        return folder;
    int err = errno;
    free(folder);
    errno = err;
    return NULL;
}

static bool is_later(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

/* Did one of them change since then? The compiler may have read it before or after. */
static bool any_changed(const struct words *paths, struct timespec since)
{
    for (size_t i = 0; i < paths->n; i++) {
        struct stat st;
        if (stat(paths->list[i], &st) < 0 || is_later(st.st_ctim, since))
            return true;
    }
    return false;
}

struct kept {
    char *path;
    struct timespec used;
    uint64_t bytes;
    bool is_folder;
};

static int by_use(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    return is_later(x->used, y->used) ? 1 : is_later(y->used, x->used) ? -1 : 0;
}

/* What a thing in the cache takes up; false if it is none of ours, or just went. */
static bool look_at(struct kept *kept, const char *cache, const char *entry)
{
    struct stat st;
    size_t n = strlen(entry);
    bool is_list = n > 5 && strcmp(entry + n - 5, ".deps") == 0;
    bool is_new = strncmp(entry, "new-", 4) == 0;
    if (!is_list && !is_new && n != DIGEST_TEXT - 1)
        return false;
    kept->path = text_of("%s/%s", cache, entry);
    if (lstat(kept->path, &st) < 0 || S_ISDIR(st.st_mode) == is_list) {
        free(kept->path);
        return false;
    }
    kept->used = st.st_mtim;
    kept->is_folder = !is_list;
    kept->bytes = (uint64_t)st.st_size;
    if (is_new) {
        if (time(NULL) - st.st_mtim.tv_sec > ABANDONED_SECONDS)
            remove_folder(kept->path);
        free(kept->path);
        return false;
    }
    if (kept->is_folder) {
        DIR *folder = opendir(kept->path);
        for (struct dirent *file; folder && (file = readdir(folder));) {
            if (fstatat(dirfd(folder), file->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                S_ISREG(st.st_mode))
                kept->bytes += (uint64_t)st.st_size;
        }
        if (folder)
            closedir(folder);
    }
    return true;
}

static uint64_t bytes_max(void)
{
    const char *value = getenv("COIL_CACHE_BYTES");
    char *end;
    if (!value || *value < '0' || *value > '9')
        return BYTES_MAX;
    uint64_t n = strtoull(value, &end, 10);
    return *end ? BYTES_MAX : n;
}

/* The newest stays, however large it is: it is about to run. */
static void drop_what_is_too_much(const char *cache)
{
    struct kept *all = NULL;
    size_t n = 0;
    uint64_t bytes = 0;
    DIR *folder = opendir(cache);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        struct kept kept;
        if (!look_at(&kept, cache, entry->d_name))
            continue;
        all = grown(all, (n + 1) * sizeof *all);
        all[n++] = kept;
        bytes += kept.bytes;
    }
    if (folder)
        closedir(folder);
    if (n > 0)
        qsort(all, n, sizeof *all, by_use);
    for (size_t i = 0; i < n; i++) {
        if (bytes > bytes_max() && i + 2 < n) { /* the newest two: a program and its list */
            if (all[i].is_folder)
                remove_folder(all[i].path);
            else
                unlink(all[i].path);
            bytes -= all[i].bytes;
        }
        free(all[i].path);
    }
    free(all);
}

int cache_keep(const char *cache, const char *key, const char *folder, struct timespec begun)
{
    char *rule_path = text_of("%s/deps", folder), *list = deps_path(cache, key), *home = NULL,
         *rule = NULL;
    size_t rule_n;
    struct words paths = {0};
    int err = read_file(rule_path, &rule, &rule_n);
    if (err)
        goto out;
    compiler_deps(&paths, rule);
    if (paths.n == 0 || any_changed(&paths, begun)) {
        err = -EAGAIN;
        goto out;
    }
    err = write_deps(folder, list, &paths);
    if (err)
        goto out;
    unlink(rule_path);
    char second[DIGEST_TEXT];
    second_key(second, key, &paths);
    home = text_of("%s/%s", cache, second);
    if (rename(folder, home) == 0) {
        utimensat(AT_FDCWD, home, NULL, 0);
        drop_what_is_too_much(cache);
    } else if (errno == ENOTEMPTY || errno == EEXIST) {
        remove_folder(folder); /* another process was quicker, with the same contents */
    } else {
        err = -errno;
    }
out:
    words_free(&paths);
    free(rule);
    free(rule_path);
    free(list);
    free(home);
    return err;
}
