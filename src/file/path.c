/* SPDX-License-Identifier: MIT
 *
 * path.c: what is done to names: each one call of the kernel's, on a thread.
 *
 * Runs on the loop's thread, but for what is called ..._on_thread. Elsewhere: waiting (job.c). */
#include "file/file.h"

#include "base/sys.h"

struct path_job {
    struct file_job job; /* its path is the first name */
    const char *to;
    mode_t mode;
    struct stat *stat;
    int rc;
};

static coil_ret on_path(struct path_job *p, const char *path, void (*call)(struct file_job *job),
                        const struct wait_class *cls)
{
    struct file_part *part;
    int err = coil__file_part(path, &part);
    if (err < 0)
        return err;
    p->job.call = call;
    p->job.path = path;
    coil_ret rc = coil__file_job(part, &p->job, cls);
    return rc < 0 ? rc : coil__file_told(p->rc, cls->what, path);
}

static struct path_job *of_job(struct file_job *job)
{
    return container_of(job, struct path_job, job);
}

static void stat_on_thread(struct file_job *job)
{
    struct path_job *p = of_job(job);
    do
        p->rc = sys_fstatat(AT_FDCWD, job->path, p->stat, 0);
    while (p->rc == -EINTR);
}

coil_ret coil_stat(const char *path, struct stat *out_stat)
{
    static const struct wait_class cls = FILE_JOB_CLASS("stat");
    struct stat st;
    struct path_job p = {.stat = &st};
    coil_ret rc = on_path(&p, path, stat_on_thread, &cls);
    if (rc == 0)
        *out_stat = st;
    return rc;
}

static void mkdir_on_thread(struct file_job *job)
{
    of_job(job)->rc = sys_mkdirat(AT_FDCWD, job->path, of_job(job)->mode);
}

coil_ret coil_mkdir(const char *path, mode_t mode)
{
    static const struct wait_class cls = FILE_JOB_CLASS("mkdir");
    struct path_job p = {.mode = mode};
    return on_path(&p, path, mkdir_on_thread, &cls);
}

static void rmdir_on_thread(struct file_job *job)
{
    of_job(job)->rc = sys_unlinkat(AT_FDCWD, job->path, AT_REMOVEDIR);
}

coil_ret coil_rmdir(const char *path)
{
    static const struct wait_class cls = FILE_JOB_CLASS("rmdir");
    struct path_job p = {0};
    return on_path(&p, path, rmdir_on_thread, &cls);
}

static void unlink_on_thread(struct file_job *job)
{
    of_job(job)->rc = sys_unlinkat(AT_FDCWD, job->path, 0);
}

coil_ret coil_unlink(const char *path)
{
    static const struct wait_class cls = FILE_JOB_CLASS("unlink");
    struct path_job p = {0};
    return on_path(&p, path, unlink_on_thread, &cls);
}

static void rename_on_thread(struct file_job *job)
{
    of_job(job)->rc = sys_renameat(AT_FDCWD, job->path, AT_FDCWD, of_job(job)->to);
}

coil_ret coil_rename(const char *from, const char *to)
{
    if (!to)
        from = NULL; /* both are needed */
    static const struct wait_class cls = FILE_JOB_CLASS("rename");
    struct path_job p = {.to = to};
    return on_path(&p, from, rename_on_thread, &cls);
}
