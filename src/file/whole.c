/* SPDX-License-Identifier: MIT
 *
 * whole.c: a file read or replaced in one go: one job from opening to closing.
 *
 *     read:   open --> look --> read ... --> close
 *     write:  open DIR/.coil-NUMBER --> write ... --> fsync --> close --> rename
 *
 * Always true:
 *   - a job that fails, or is stopped, gives back what it took: descriptor, memory, the file of the other name;
 *   - a job that was stopped before its last step did nothing anybody could see.
 *
 * Runs on the loop's thread, but for what is called ..._on_thread, and what that calls. Elsewhere: waiting (job.c). */
#include "file/file.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "io/direct.h"

#include <stdio.h>
#include <string.h>

enum {
    STEP_MAX = 1 << 20, /* between two looks whether somebody wants it to end */
    FIRST_ROOM = 4096,  /* for a file that does not say how long it is */
    NAMES_MAX = 100,    /* tried before it is said that they are all taken */
};

static bool stopped(struct file_job *job)
{
    return job->gave_up = atomic_load_explicit(&job->stop, memory_order_relaxed);
}

/* ---- reading ---- */

struct read_job {
    struct file_job job;
    size_t max;       /* 0: none */
    const char *step; /* what failed */
    char *data;
    size_t n, room; /* room: without the NUL */
    coil_ret rc;
};

static int grow(struct read_job *r, size_t room)
{
    char *data = coil__realloc(r->data, room + 1);
    if (!data)
        return -ENOMEM;
    r->data = data;
    r->room = room;
    return 0;
}

/* How much there is, as far as the file knows. */
static int look_on_thread(struct read_job *r, int fd)
{
    struct stat st;
    int rc = sys_fstat(fd, &st);
    if (rc < 0)
        return rc;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size < 0 || (uint64_t)st.st_size >= PTRDIFF_MAX)
        return -EFBIG;
    if (r->max && (size_t)st.st_size > r->max)
        return COIL_ELIMIT;
    /* One byte more, so that the end is met without growing. */
    return grow(r, st.st_size > 0 ? (size_t)st.st_size + 1 : FIRST_ROOM);
}

static int fill_on_thread(struct read_job *r, int fd)
{
    while (!stopped(&r->job)) {
        if (r->n == r->room && grow(r, r->room * 2) < 0)
            return -ENOMEM;
        size_t n = r->room - r->n;
        ssize_t rc = sys_read(fd, r->data + r->n, n < STEP_MAX ? n : STEP_MAX);
        if (rc == -EINTR)
            continue;
        if (rc <= 0)
            return (int)rc;
        r->n += (size_t)rc;
        if (r->max && r->n > r->max)
            return COIL_ELIMIT;
    }
    return -ECANCELED;
}

static void read_on_thread(struct file_job *job)
{
    struct read_job *r = container_of(job, struct read_job, job);
    r->step = "open";
    int fd = coil__file_open_now(job->path, O_RDONLY, 0);
    r->rc = fd;
    if (fd < 0)
        return;
    r->step = "read";
    r->rc = look_on_thread(r, fd);
    if (r->rc == 0)
        r->rc = fill_on_thread(r, fd);
    (void)coil__direct_close(fd); /* nothing was written that could be lost */
    if (r->rc == 0) {
        r->data[r->n] = 0;
        return;
    }
    coil__free(r->data);
    r->data = NULL;
}

static coil_ret read_told(const struct read_job *r)
{
    const char *path = r->job.path;
    if (r->rc == COIL_ELIMIT)
        return coil__fail(COIL_ELIMIT, "read '%.100s': more than %zu bytes", path, r->max);
    if (r->rc == -EINVAL)
        return coil__fail(-EINVAL, "read '%.100s': it is not a file that has an end", path);
    return coil__file_told(r->rc, r->step, path);
}

coil_ret coil_read_file(const char *path, size_t max, char **out_data)
{
    static const struct wait_class cls = FILE_JOB_CLASS("read");
    struct file_part *part;
    int err = coil__file_part(path, &part);
    if (err < 0)
        return err;
    struct read_job r = {.job = {.call = read_on_thread, .path = path}, .max = max};
    coil_ret rc = coil__file_job(part, &r.job, &cls);
    if (rc == 0)
        rc = read_told(&r);
    if (rc < 0) {
        coil__free(r.data); /* unwound */
        return rc;
    }
    *out_data = r.data;
    return (coil_ret)r.n;
}

void coil_file_data_free(char *data)
{
    coil__free(data);
}

/* ---- writing ---- */

struct write_job {
    struct file_job job;
    const char *data;
    size_t n;
    mode_t mode;
    struct random random;
    char *other;      /* the other file's path, the number still to come */
    size_t prefix_n;  /* of it, up to the number */
    const char *step; /* what failed */
    int rc;
};

enum { NUMBER_N = 16 };

/* A file of a name that nobody has: descriptor or -errno. */
static int create_on_thread(struct write_job *w)
{
    int fd = -EEXIST;
    for (int i = 0; i < NAMES_MAX && fd == -EEXIST; i++) {
        snprintf(w->other + w->prefix_n, NUMBER_N + 1, "%016llx",
                 (unsigned long long)random_u64(&w->random));
        fd = sys_openat_again(AT_FDCWD, w->other,
                              O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, w->mode);
    }
    return fd;
}

static int put_on_thread(struct write_job *w, int fd)
{
    size_t done = 0;
    while (done < w->n && !stopped(&w->job)) {
        size_t n = w->n - done;
        ssize_t rc = sys_write(fd, w->data + done, n < STEP_MAX ? n : STEP_MAX);
        if (rc == -EINTR)
            continue;
        if (rc <= 0)
            return rc < 0 ? (int)rc : -EIO;
        done += (size_t)rc;
    }
    return stopped(&w->job) ? -ECANCELED : 0;
}

static int sync_on_thread(struct write_job *w, int fd)
{
    int rc;
    w->step = "fsync";
    do
        rc = sys_fsync(fd);
    while (rc == -EINTR);
    return rc < 0 ? rc : stopped(&w->job) ? -ECANCELED : 0;
}

static void write_on_thread(struct file_job *job)
{
    struct write_job *w = container_of(job, struct write_job, job);
    w->step = "open";
    int fd = create_on_thread(w);
    w->rc = fd;
    if (fd < 0)
        return;
    w->step = "write";
    w->rc = put_on_thread(w, fd);
    if (w->rc == 0)
        w->rc = sync_on_thread(w, fd);
    int closed = coil__direct_close(fd);
    if (w->rc == 0 && closed < 0) {
        w->step = "close";
        w->rc = closed;
    }
    if (w->rc == 0) {
        w->step = "rename";
        w->rc = sys_renameat(AT_FDCWD, w->other, AT_FDCWD, job->path);
    }
    if (w->rc < 0)
        (void)sys_unlinkat(AT_FDCWD, w->other, 0);
}

/* "DIR/.coil-" and room for the number. */
static int name_other(struct write_job *w)
{
    static const char name[] = ".coil-";
    const char *slash = strrchr(w->job.path, '/');
    size_t dir_n = slash ? (size_t)(slash - w->job.path) + 1 : 0;
    w->other = coil__alloc(dir_n + sizeof name + NUMBER_N);
    if (!w->other)
        return (int)coil__fail_plain(-ENOMEM);
    memcpy(w->other, w->job.path, dir_n);
    memcpy(w->other + dir_n, name, sizeof name);
    w->prefix_n = dir_n + sizeof name - 1;
    return 0;
}

coil_ret coil_write_file(const char *path, const void *data, size_t n, mode_t mode)
{
    static const struct wait_class cls = FILE_JOB_CLASS("write");
    struct file_part *part;
    int err = coil__file_part(path, &part);
    if (err < 0)
        return err;
    struct write_job w = {.job = {.call = write_on_thread, .path = path},
                          .data = data,
                          .n = n,
                          .mode = mode,
                          .random.state = random_u64(&part->random)};
    err = name_other(&w);
    if (err < 0)
        return err;
    coil_ret rc = coil__file_job(part, &w.job, &cls);
    if (rc == 0)
        rc = coil__file_told(w.rc, w.step, path);
    coil__free(w.other);
    return rc;
}
