/* SPDX-License-Identifier: MIT
 *
 * file.c: open files: made, counted, asked about, closed.
 *
 *     open --> [ open ] --close--> [ closing: no new calls ] --calls under way end--> closed
 *                 |                                                                      |
 *                 +-- last unref, loop's end ------------------------------------------> gone with its last reference
 *
 * Always true:
 *   - a call under way (begin ... end) holds a reference, and the descriptor outlives it: a thread never reads from
 *     a number that means another file by now;
 *   - fd >= 0 exactly while the file is in its part's list; a loop that closed has no open files;
 *   - only fifos and devices are left with O_NONBLOCK: those may never be ready. Regular files block, on a thread or
 *     in the backend, and RWF_NOWAIT is how the loop's thread looks at them.
 *
 * Runs on the loop's thread, but for what is called ..._on_thread. Elsewhere: reading and writing
 * (transfer.c), waiting (job.c). */
#include "file/file.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/memcheck.h"
#include "base/sys.h"
#include "io/direct.h"

#include <string.h>

coil_ret coil__file_told(coil_ret rc, const char *verb, const char *path)
{
    bool kernels = coil_iserr(rc) && rc > COIL_EINVALIDSTATE && rc != -ECANCELED;
    return kernels ? coil__fail(rc, "%s '%.100s': %s", verb, path, coil_strerror(rc)) : rc;
}

/* ---- calls under way ---- */

static int can_wait(const coil_file *file)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (coil_unlikely(coil__running_loop != file->loop))
        return (int)coil__fail(COIL_EWRONGLOOP, "this file belongs to a different event loop");
    return 0;
}

int coil__file_begin(coil_file *file, const char *verb)
{
    int err = can_wait(file);
    if (err < 0)
        return err;
    if (file->fd < 0 || file->closing)
        return (int)coil__fail(-EBADF, "%s '%.100s': the file is closed", verb, file->path);
    file->refs++;
    file->inflight++;
    return 0;
}

void coil__file_end(coil_file *file)
{
    if (--file->inflight == 0 && file->closer) {
        coil__wake(file->closer, 0);
        file->closer = NULL;
    }
    coil_file_unref(file);
}

/* ---- opening ---- */

int coil__file_open_now(const char *path, int flags, mode_t mode)
{
    /* Without O_NONBLOCK a fifo would wait for its other end, and nothing could end that. */
    flags |= O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd;
    do {
        fd = sys_openat(AT_FDCWD, path, flags, mode);
        if (fd == -EWOULDBLOCK)
            flags &= ~O_NONBLOCK; /* somebody has a lease on it, and is being told */
    } while (fd == -EINTR || (fd == -EWOULDBLOCK && !(flags & O_NONBLOCK)));
    return fd;
}

/* May it be read and written like a file: always ready, though it may take long? What the kernel has in memory
 * answers that, so it does not wait. */
bool coil__file_look(int fd)
{
    struct statx sx;
    int rc = sys_statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &sx);
    if (rc == 0)
        mem_is_defined(&sx, sizeof sx);
    if (rc == 0 && !S_ISREG(sx.stx_mode) && !S_ISDIR(sx.stx_mode) && !S_ISBLK(sx.stx_mode))
        return false;
    int flags = sys_fcntl(fd, F_GETFL, 0);
    if (flags >= 0 && (flags & O_NONBLOCK))
        (void)sys_fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    return true;
}

struct open_job {
    struct file_job job;
    int flags;
    mode_t mode;
    int fd; /* or -errno */
    bool plain;
};

static void open_on_thread(struct file_job *job)
{
    struct open_job *o = container_of(job, struct open_job, job);
    o->fd = coil__file_open_now(job->path, o->flags, o->mode);
    if (o->fd >= 0)
        o->plain = coil__file_look(o->fd);
}

static coil_ret open_by_thread(struct file_part *part, struct open_job *o)
{
    static const struct wait_class cls = FILE_JOB_CLASS("open");
    coil_ret rc = coil__file_job(part, &o->job, &cls);
    if (rc < 0 && o->fd >= 0)
        sys_close(o->fd); /* unwound */
    return rc < 0 ? rc : o->fd;
}

static coil_ret open_by_backend(struct open_job *o)
{
    static const struct wait_class cls = FILE_OP_CLASS("open");
    struct file_op fo = {.path = o->job.path,
                         .op = {.kind = OP_OPENAT,
                                .fd = AT_FDCWD,
                                .open = {.path = o->job.path,
                                         .flags = o->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                                         .mode = o->mode}}};
    coil_ret rc = coil__file_op(&fo, &cls);
    if (rc < 0 && fo.op.result >= 0)
        sys_close((int)fo.op.result); /* unwound */
    if (rc >= 0)
        o->plain = coil__file_look((int)rc);
    return rc;
}

static coil_ret open_fd(struct file_part *part, struct open_job *o)
{
    if (backend_does_files(part->loop->backend)) {
        coil_ret rc = open_by_backend(o);
        if (rc != -EWOULDBLOCK)
            return rc; /* else a lease: a thread waits for it */
    }
    return open_by_thread(part, o);
}

static coil_file *file_new(struct file_part *part, const char *path)
{
    size_t n = strlen(path) + 1;
    coil_file *file = coil__zalloc(sizeof *file + n);
    if (!file)
        return NULL;
    memcpy(file->path, path, n);
    file->part = part;
    file->loop = part->loop;
    file->refs = 1;
    file->fd = -1;
    return file;
}

coil_ret coil_file_open(const char *path, int flags, mode_t mode, coil_file **out_file)
{
    struct file_part *part;
    int err = coil__file_part(path, &part);
    if (err < 0)
        return err;
    coil_file *file = file_new(part, path);
    if (!file)
        return coil__fail_plain(-ENOMEM);
    struct open_job o = {.job = {.call = open_on_thread, .path = path},
                         .flags = flags & ~O_NONBLOCK,
                         .mode = mode,
                         .fd = -1};
    coil_ret fd = open_fd(part, &o);
    if (fd < 0) {
        coil__free(file);
        return o.job.told ? fd : coil__file_told(fd, "open", path);
    }
    file->fd = (int)fd;
    file->waits = !o.plain;
    /* Direct I/O and synced writes wait for the disk, whatever RWF_NOWAIT says. */
    file->now_read = !(flags & O_DIRECT);
    file->now_write = !(flags & (O_DIRECT | O_DSYNC));
    list_push(&part->files, &file->link);
    *out_file = file;
    return 0;
}

/* ---- closing ---- */

/* From here on nobody but the caller knows of the descriptor. */
static int take_fd(coil_file *file)
{
    int fd = file->fd;
    file->fd = -1;
    list_remove(&file->link);
    return fd;
}

static void forget_fd(coil_file *file)
{
    struct backend *b = file->loop->backend;
    if (file->waits && b)
        b->cls->calls.forget(b, file->fd);
}

struct close_job {
    struct file_job job;
    int fd, rc;
};

static void close_on_thread(struct file_job *job)
{
    struct close_job *c = container_of(job, struct close_job, job);
    c->rc = coil__direct_close(c->fd);
}

static coil_ret close_by_thread(struct file_part *part, int fd, const char *path)
{
    static const struct wait_class cls = {.what = "close",
                                          .abandon = coil__file_job_abandon,
                                          .keeps = true,
                                          .describe = coil__file_job_describe};
    struct close_job c = {.job = {.call = close_on_thread, .path = path}, .fd = fd};
    coil_ret rc = coil__file_job(part, &c.job, &cls);
    if (!c.job.ran)
        c.rc = coil__direct_close(fd); /* no thread to be had, or unwound before its turn came */
    return rc == COIL_EEXIT ? rc : c.rc;
}

static coil_ret close_by_backend(int fd, const char *path)
{
    static const struct wait_class cls = {.what = "close",
                                          .abandon = coil__file_op_abandon,
                                          .keeps = true,
                                          .describe = coil__file_op_describe};
    struct file_op fo = {.path = path, .op = {.kind = OP_CLOSE, .fd = fd}};
    coil_ret rc = coil__file_op(&fo, &cls);
    return rc == -EINTR ? 0 : rc;
}

struct closer {
    struct wait wait;
    coil_file *file;
};

static void closer_leaves(struct wait *w)
{
    if (!w->woken)
        container_of(w, struct closer, wait)->file->closer = NULL;
}

/* Until the calls under way have ended. */
static coil_ret await_calls(coil_file *file)
{
    static const struct wait_class cls = {.what = "close", .abandon = closer_leaves, .keeps = true};
    if (file->inflight == 0)
        return 0;
    struct closer closer = {.wait = WAIT_INIT(&cls), .file = file};
    file->closer = &closer.wait;
    return coil__park(&closer.wait);
}

static coil_ret close_file(coil_file *file)
{
    file->closing = true;
    forget_fd(file); /* who waits for a fifo does so no more */
    coil_ret rc = await_calls(file);
    if (rc < 0)
        return rc;
    struct file_part *part = file->part;
    int fd = take_fd(file);
    rc = backend_does_files(file->loop->backend) ? close_by_backend(fd, file->path)
                                                 : close_by_thread(part, fd, file->path);
    return coil__file_told(rc, "close", file->path);
}

coil_ret coil_file_close(coil_file *file)
{
    if (!file)
        return 0;
    coil_ret rc = can_wait(file);
    if (rc == COIL_EWRONGLOOP)
        return rc;
    if (rc == 0 && (file->fd < 0 || file->closing))
        rc = coil__fail(-EBADF, "close '%.100s': it is closed already", file->path);
    if (rc == 0)
        rc = close_file(file);
    coil_file_unref(file);
    return rc;
}

coil_file *coil_file_ref(coil_file *file)
{
    file->refs++;
    return file;
}

static void drop_on_thread(struct job *job)
{
    (void)coil__direct_close(container_of(job, struct coil_file, drop)->fd);
}

static void dropped(struct job *job)
{
    coil__free(container_of(job, struct coil_file, drop));
}

/* Nobody waits: a thread closes it, and frees it. */
static void drop(coil_file *file)
{
    struct pool *pool;
    list_remove(&file->link);
    /* The threads, and the lock of their queue, stayed with the parent of a fork. */
    bool inherited = loop_inherited(file->loop);
    if (!inherited)
        forget_fd(file);
    file->drop = (struct job){.run = drop_on_thread, .finish = dropped};
    if (!inherited && coil__file_pool(file->part, &pool) == 0 &&
        coil__pool_submit(pool, &file->drop) == 0)
        return;
    drop_on_thread(&file->drop);
    dropped(&file->drop);
}

void coil_file_unref(coil_file *file)
{
    if (!file || --file->refs > 0)
        return;
    if (file->fd >= 0)
        drop(file);
    else
        coil__free(file);
}

int coil_file_fileno(const coil_file *file)
{
    return file->fd;
}

void coil__file_close_all(struct file_part *part)
{
    while (!list_empty(&part->files)) {
        coil_file *file = container_of(list_first(&part->files), coil_file, link);
        forget_fd(file);
        (void)coil__direct_close(take_fd(file));
    }
}

/* ---- what is asked of an open file ---- */

struct ask_job {
    struct file_job job;
    int fd;
    int64_t offset;
    int whence;
    struct stat *stat;
    int64_t result;
};

static coil_ret ask(coil_file *file, struct ask_job *a, void (*call)(struct file_job *job),
                    const struct wait_class *cls)
{
    a->job.call = call;
    a->job.path = file->path;
    a->fd = file->fd;
    coil_ret rc = coil__file_job(file->part, &a->job, cls);
    if (rc == 0 && a->result < 0)
        rc = coil__file_told((coil_ret)a->result, cls->what, file->path);
    return rc;
}

static void stat_on_thread(struct file_job *job)
{
    struct ask_job *a = container_of(job, struct ask_job, job);
    a->result = sys_fstat(a->fd, a->stat);
}

coil_ret coil_file_stat(coil_file *file, struct stat *out_stat)
{
    static const struct wait_class cls = FILE_JOB_CLASS("stat");
    struct stat st;
    struct ask_job a = {.stat = &st};
    coil_ret rc = coil__file_begin(file, cls.what);
    if (rc < 0)
        return rc;
    rc = ask(file, &a, stat_on_thread, &cls);
    if (rc == 0)
        *out_stat = st;
    coil__file_end(file);
    return rc;
}

static void truncate_on_thread(struct file_job *job)
{
    struct ask_job *a = container_of(job, struct ask_job, job);
    do
        a->result = sys_ftruncate(a->fd, a->offset);
    while (a->result == -EINTR);
}

coil_ret coil_file_truncate(coil_file *file, int64_t size)
{
    static const struct wait_class cls = FILE_JOB_CLASS("truncate");
    struct ask_job a = {.offset = size};
    coil_ret rc = coil__file_begin(file, cls.what);
    if (rc < 0)
        return rc;
    rc = ask(file, &a, truncate_on_thread, &cls);
    coil__file_end(file);
    return rc;
}

static void sync_on_thread(struct file_job *job)
{
    struct ask_job *a = container_of(job, struct ask_job, job);
    do
        a->result = a->whence ? sys_fdatasync(a->fd) : sys_fsync(a->fd);
    while (a->result == -EINTR);
}

static coil_ret sync_by_backend(coil_file *file, bool datasync)
{
    static const struct wait_class cls = FILE_OP_CLASS("fsync");
    struct file_op fo = {.path = file->path, .op = {.kind = OP_FSYNC, .fd = file->fd}};
    fo.op.flags = datasync ? OP_DATASYNC : 0;
    return coil__file_told(coil__file_op(&fo, &cls), "fsync", file->path);
}

static coil_ret sync_file(coil_file *file, bool datasync)
{
    static const struct wait_class cls = FILE_JOB_CLASS("fsync");
    struct ask_job a = {.whence = datasync};
    coil_ret rc = coil__file_begin(file, cls.what);
    if (rc < 0)
        return rc;
    rc = backend_does_files(file->loop->backend) ? sync_by_backend(file, datasync)
                                                 : ask(file, &a, sync_on_thread, &cls);
    coil__file_end(file);
    return rc;
}

coil_ret coil_file_fsync(coil_file *file)
{
    return sync_file(file, false);
}

coil_ret coil_file_fdatasync(coil_file *file)
{
    return sync_file(file, true);
}

/* ---- the position ---- */

static void seek_on_thread(struct file_job *job)
{
    struct ask_job *a = container_of(job, struct ask_job, job);
    a->result = sys_lseek(a->fd, a->offset, a->whence);
}

/* The caller has the position's lock. */
static coil_ret seek(coil_file *file, int64_t offset, int whence, int64_t *out_position)
{
    static const struct wait_class cls = FILE_JOB_CLASS("seek");
    struct ask_job a = {.fd = file->fd, .offset = offset, .whence = whence};
    coil_ret rc = 0;
    if (whence == SEEK_SET || whence == SEEK_CUR) {
        seek_on_thread(&a.job); /* arithmetic, on whatever thread */
        if (a.result < 0)
            rc = coil__file_told((coil_ret)a.result, cls.what, file->path);
    } else {
        rc = ask(file, &a, seek_on_thread, &cls); /* the size may have to come over a network */
    }
    if (rc == 0 && out_position)
        *out_position = a.result;
    return rc;
}

coil_ret coil_file_seek(coil_file *file, int64_t offset, int whence, int64_t *out_position)
{
    coil_ret rc = coil__file_begin(file, "seek");
    if (rc < 0)
        return rc;
    rc = coil_lock_acquire(&file->position);
    if (rc == 0) {
        rc = seek(file, offset, whence, out_position);
        (void)coil_lock_release(&file->position);
    }
    coil__file_end(file);
    return rc;
}

coil_ret coil_file_tell(coil_file *file, int64_t *out_position)
{
    return coil_file_seek(file, 0, SEEK_CUR, out_position);
}
