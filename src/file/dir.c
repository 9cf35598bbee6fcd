/* SPDX-License-Identifier: MIT
 *
 * dir.c: what is in a directory, a batch of names at a time.
 *
 *     open, next --job: getdents64--> [ batch | used ... ] --next--> one name after the other
 *
 * Always true:
 *   - the batch is the thread's while a job runs (busy), and the caller's otherwise;
 *   - at <= n <= sizeof batch, and at a place where an entry begins;
 *   - a directory that is closed while busy is freed by the call that was under way.
 *
 * Runs on the loop's thread, but for what is called ..._on_thread. Elsewhere: waiting (job.c). */
#include "file/file.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "io/direct.h"

#include <dirent.h>
#include <string.h>

enum { BATCH = 16384 }; /* some hundred names */

struct coil_dir {
    struct list link;       /* file_part.dirs while it is open */
    struct file_part *part; /* good while it is open */
    coil_loop *loop;        /* good while it is open */
    int fd;                 /* -1: the loop has closed it */
    bool busy;              /* a task waits for the next batch */
    bool closed;            /* to be freed when it is not busy any more */
    bool end;
    size_t at, n; /* in the batch */
    _Alignas(struct dirent64) char batch[BATCH];
    char path[]; /* as it was opened, for people */
};

struct dir_job {
    struct file_job job;
    coil_dir *dir;
    int rc;
};

static int fetch_on_thread(coil_dir *dir)
{
    ssize_t n;
    do
        n = sys_getdents64(dir->fd, dir->batch, sizeof dir->batch);
    while (n == -EINTR);
    if (n < 0)
        return (int)n;
    dir->at = 0;
    dir->n = (size_t)n;
    dir->end = n == 0;
    return 0;
}

static void next_on_thread(struct file_job *job)
{
    struct dir_job *d = container_of(job, struct dir_job, job);
    d->rc = fetch_on_thread(d->dir);
}

/* The first batch comes along. */
static void open_on_thread(struct file_job *job)
{
    struct dir_job *d = container_of(job, struct dir_job, job);
    int fd = coil__file_open_now(job->path, O_RDONLY | O_DIRECTORY, 0);
    d->rc = fd;
    if (fd < 0)
        return;
    d->dir->fd = fd;
    d->rc = fetch_on_thread(d->dir);
}

static void free_dir(coil_dir *dir)
{
    if (dir->fd >= 0)
        (void)coil__direct_close(dir->fd); /* nothing of it is written, so this does not wait */
    coil__free(dir);
}

coil_ret coil_dir_open(const char *path, coil_dir **out_dir)
{
    static const struct wait_class cls = FILE_JOB_CLASS("open");
    struct file_part *part;
    int err = coil__file_part(path, &part);
    if (err < 0)
        return err;
    size_t n = strlen(path) + 1;
    coil_dir *dir = coil__zalloc(sizeof *dir + n);
    if (!dir)
        return coil__fail_plain(-ENOMEM);
    memcpy(dir->path, path, n);
    dir->part = part;
    dir->loop = part->loop;
    dir->fd = -1;
    struct dir_job d = {.job = {.call = open_on_thread, .path = path}, .dir = dir};
    coil_ret rc = coil__file_job(part, &d.job, &cls);
    if (rc == 0)
        rc = coil__file_told(d.rc, cls.what, path);
    if (rc < 0) {
        free_dir(dir);
        return rc;
    }
    list_push(&part->dirs, &dir->link);
    *out_dir = dir;
    return 0;
}

static coil_ret fetch(coil_dir *dir)
{
    static const struct wait_class cls = FILE_JOB_CLASS("readdir");
    struct dir_job d = {.job = {.call = next_on_thread, .path = dir->path}, .dir = dir};
    dir->busy = true;
    coil_ret rc = coil__file_job(dir->part, &d.job, &cls);
    dir->busy = false;
    if (rc == 0)
        rc = coil__file_told(d.rc, cls.what, dir->path);
    if (!dir->closed)
        return rc;
    free_dir(dir);
    return rc < 0 ? rc : coil__fail(-EBADF, "the directory was closed meanwhile");
}

/* The next entry of the batch; NULL at its end. */
static const struct dirent64 *take(coil_dir *dir)
{
    while (dir->at < dir->n) {
        const struct dirent64 *e = (const struct dirent64 *)(const void *)(dir->batch + dir->at);
        COIL_CHECK(e->d_reclen > 0 && e->d_reclen <= dir->n - dir->at);
        dir->at += e->d_reclen;
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return e;
    }
    return NULL;
}

static coil_ret may_ask(const coil_dir *dir)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (dir->fd < 0)
        return coil__fail(-EBADF, "readdir '%.100s': its loop has closed", dir->path);
    if (coil__running_loop != dir->loop)
        return coil__fail(COIL_EWRONGLOOP, "this directory belongs to a different event loop");
    if (dir->busy)
        return coil__fail(COIL_ERUNNING, "another task waits for the next name already");
    return 0;
}

coil_ret coil_dir_next(coil_dir *dir, coil_dirent *out_entry)
{
    coil_ret rc = may_ask(dir);
    const struct dirent64 *e = NULL;
    while (rc == 0 && !dir->end && !(e = take(dir)))
        rc = fetch(dir);
    if (rc < 0 || !e)
        return rc;
    *out_entry = (coil_dirent){.name = e->d_name, .type = e->d_type};
    return 1;
}

void coil_dir_close(coil_dir *dir)
{
    if (!dir)
        return;
    list_remove(&dir->link);
    if (dir->busy)
        dir->closed = true;
    else
        free_dir(dir);
}

void coil__dir_close_all(struct file_part *part)
{
    while (!list_empty(&part->dirs)) {
        coil_dir *dir = container_of(list_first(&part->dirs), coil_dir, link);
        list_remove(&dir->link);
        (void)coil__direct_close(dir->fd);
        dir->fd = -1;
    }
}
