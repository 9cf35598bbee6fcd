/* SPDX-License-Identifier: MIT
 *
 * transfer.c: bytes from and to open files.
 *
 *     read --> try now, 256 KiB at a time --what is not in memory--> an op, or a job on a thread: 1 MiB at a time
 *                       ^                                                        |
 *                       '--------------------- the rest ------------------------'
 *
 * Files are read and written at the kernel's position of them, or at an offset. The kernel guards its
 * position by a lock that it sleeps on, RWF_NOWAIT or not; so who uses the position has ours first.
 *
 * Always true:
 *   - the loop's thread copies at most NOW_MAX bytes between two looks at how long it has been at it;
 *   - a read that got something returns it: an error or a cancel that came after waits for the next call.
 *
 * Runs on the loop's thread, but for transfer_on_thread. Elsewhere: waiting (job.c). */
#include "file/file.h"

#include "base/error.h"
#include "base/sys.h"

enum {
    NOW_MAX = 256 << 10, /* copied on the spot in one call: some 30 us */
    STEP_MAX = 1 << 20,  /* between two looks whether somebody wants it to end */
};

struct transfer {
    struct file_job job;
    int fd;
    bool write;
    char *p;
    size_t n;
    int64_t offset; /* -1: the file's own position */
    int64_t result; /* bytes, or -errno when the first step failed */
    bool end;       /* the last step read nothing */
};

static ssize_t move(int fd, bool write, char *p, size_t n, int64_t offset, int flags)
{
    struct iovec v = {p, n};
    return write ? sys_pwritev2(fd, &v, 1, offset, flags) : sys_preadv2(fd, &v, 1, offset, flags);
}

static size_t at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

static int64_t after(int64_t offset, size_t done)
{
    return offset < 0 ? -1 : offset + (int64_t)done;
}

/* ---- on the spot ---- */

/* What the kernel has at hand; any error means: elsewhere. */
static ssize_t try_now(coil_file *file, const struct transfer *t)
{
    bool *worth = t->write ? &file->now_write : &file->now_read;
    if (!*worth)
        return -EAGAIN;
    ssize_t rc = move(t->fd, t->write, t->p, at_most(t->n, NOW_MAX), t->offset, RWF_NOWAIT);
    if (rc == -EOPNOTSUPP || rc == -ENOSYS)
        *worth = false;
    return rc;
}

/* ---- elsewhere ---- */

static void transfer_on_thread(struct file_job *job)
{
    struct transfer *t = container_of(job, struct transfer, job);
    size_t done = 0;
    ssize_t rc;
    do {
        do
            rc = move(t->fd, t->write, t->p + done, at_most(t->n - done, STEP_MAX),
                      after(t->offset, done), 0);
        while (rc == -EINTR);
        if (rc <= 0)
            break;
        done += (size_t)rc;
    } while (done < t->n && !atomic_load_explicit(&job->stop, memory_order_relaxed));
    t->end = rc == 0;
    t->result = done > 0 ? (int64_t)done : rc;
}

static coil_ret by_thread(coil_file *file, struct transfer *t)
{
    static const struct wait_class reading = FILE_JOB_CLASS("read"),
                                   writing = FILE_JOB_CLASS("write");
    t->job.call = transfer_on_thread;
    t->job.path = file->path;
    t->job.ran = false;
    coil_ret rc = coil__file_job(file->part, &t->job, t->write ? &writing : &reading);
    return rc < 0 ? rc : (coil_ret)t->result;
}

static coil_ret by_backend(coil_file *file, struct transfer *t)
{
    static const struct wait_class reading = FILE_OP_CLASS("read"),
                                   writing = FILE_OP_CLASS("write");
    struct file_op fo = {.path = file->path,
                         .op = {.kind = t->write ? OP_PWRITE : OP_PREAD,
                                .fd = t->fd,
                                .at = {t->p, at_most(t->n, STEP_MAX), t->offset}}};
    coil_ret rc = coil__file_op(&fo, t->write ? &writing : &reading);
    t->end = rc == 0;
    return rc;
}

static coil_ret elsewhere(coil_file *file, struct transfer *t)
{
    bool asks = backend_does_files(file->loop->backend);
    return asks ? by_backend(file, t) : by_thread(file, t);
}

/* ---- fifos and devices ---- */

/* -EBADF if it was closed meanwhile. */
static coil_ret until_ready(coil_file *file, bool write)
{
    static const struct wait_class reading = FILE_OP_CLASS("read"),
                                   writing = FILE_OP_CLASS("write");
    if (file->closing)
        return -EBADF;
    struct file_op fo = {
        .path = file->path,
        .op = {.kind = OP_POLL, .fd = file->fd, .events = (uint8_t)(write ? OP_OUT : OP_IN)}};
    return coil__file_op(&fo, write ? &writing : &reading);
}

/* Their descriptor does not block; but devices have been met that do not care, so only what RWF_NOWAIT is sure of
 * is done here. Writing to a fifo that nobody reads raises SIGPIPE, but not on our threads. */
static coil_ret when_ready(coil_file *file, struct transfer *t)
{
    for (;;) {
        coil_ret rc = t->write ? -EAGAIN : try_now(file, t);
        t->end = rc == 0;
        bool certain = !t->write && file->now_read;
        if (rc < 0 && !(rc == -EAGAIN && certain)) {
            rc = by_thread(file, t);
            if (rc == -EAGAIN && !t->job.ran)
                return rc; /* no thread to be had */
        }
        if (rc != -EAGAIN)
            return rc;
        rc = until_ready(file, t->write);
        if (rc < 0)
            return rc;
    }
}

/* ---- all of it ---- */

/* The next bytes, wherever they come from: how many, or an error. */
static coil_ret some(coil_file *file, struct transfer *t)
{
    struct file_part *part = file->part;
    coil_ret rc = file_breathe(part, coil__current());
    if (rc < 0)
        return rc;
    if (file->waits) {
        rc = when_ready(file, t);
    } else {
        rc = try_now(file, t);
        if (rc < 0)
            return elsewhere(file, t);
        t->end = rc == 0;
    }
    file_effort(part, rc > 0 ? (size_t)rc : 0);
    return rc;
}

static coil_ret check(coil_file *file, size_t n, int64_t offset, const char *verb)
{
    if (offset < -1 || n > PTRDIFF_MAX || (offset > 0 && (size_t)(INT64_MAX - offset) < n))
        return coil__fail(-EINVAL, "%s '%.100s': no place for a file to have bytes", verb,
                          file->path);
    return 0;
}

/* What it came to, for the caller. */
static coil_ret told(coil_file *file, const struct transfer *t, coil_ret rc)
{
    return rc < 0 && !t->job.told ? coil__file_told(rc, t->write ? "write" : "read", file->path)
                                  : rc;
}

static coil_ret read_all(coil_file *file, char *p, size_t n, int64_t offset)
{
    struct transfer t = {.fd = file->fd};
    size_t done = 0;
    coil_ret rc = 0;
    while (done < n && !t.end) {
        t.p = p + done;
        t.n = n - done;
        t.offset = after(offset, done);
        rc = some(file, &t);
        if (rc < 0)
            break;
        done += (size_t)rc;
        /* A fifo gives what it has; a cancel that had to wait need not wait for more. */
        if (file->waits || coil__current()->must_cancel)
            break;
    }
    if (done == 0 || rc == COIL_EEXIT)
        return told(file, &t, rc);
    if (rc == -ECANCELED)
        coil__current()->must_cancel = true; /* for the next waiting call */
    return (coil_ret)done;
}

static coil_ret write_all(coil_file *file, const char *p, size_t n, int64_t offset, size_t *done)
{
    struct transfer t = {.fd = file->fd, .write = true};
    while (*done < n) {
        t.p = (char *)(uintptr_t)p + *done;
        t.n = n - *done;
        t.offset = after(offset, *done);
        coil_ret rc = some(file, &t);
        if (rc == 0)
            rc = -EIO; /* the kernel owes progress or a reason */
        if (rc < 0)
            return told(file, &t, rc);
        *done += (size_t)rc;
    }
    return 0;
}

/* ---- the public calls ---- */

coil_ret coil_file_read(coil_file *file, void *buf, size_t n)
{
    coil_ret rc = coil__file_begin(file, "read");
    if (rc < 0)
        return rc;
    rc = check(file, n, -1, "read");
    bool turns = !file->waits; /* what has no position is read by whoever comes */
    if (rc == 0 && turns)
        rc = coil_lock_acquire(&file->position);
    if (rc == 0) {
        rc = read_all(file, buf, n, -1);
        if (turns)
            (void)coil_lock_release(&file->position);
    }
    coil__file_end(file);
    return rc;
}

coil_ret coil_file_pread(coil_file *file, void *buf, size_t n, int64_t offset)
{
    coil_ret rc = coil__file_begin(file, "read");
    if (rc < 0)
        return rc;
    rc = check(file, n, offset == -1 ? -2 : offset, "read");
    if (rc == 0)
        rc = read_all(file, buf, n, offset);
    coil__file_end(file);
    return rc;
}

static coil_ret write_at(coil_file *file, const void *buf, size_t n, int64_t offset, size_t *done)
{
    coil_ret rc = coil__file_begin(file, "write");
    if (rc < 0)
        return rc;
    rc = check(file, n, offset, "write");
    if (rc == 0 && offset < 0)
        rc = coil_lock_acquire(&file->position);
    if (rc == 0) {
        rc = write_all(file, buf, n, offset, done);
        if (offset < 0)
            (void)coil_lock_release(&file->position);
    }
    coil__file_end(file);
    return rc;
}

coil_ret coil_file_write(coil_file *file, const void *buf, size_t n, size_t *out_written)
{
    size_t done = 0;
    coil_ret rc = write_at(file, buf, n, -1, &done);
    if (out_written)
        *out_written = done;
    return rc;
}

coil_ret coil_file_pwrite(coil_file *file, const void *buf, size_t n, int64_t offset,
                          size_t *out_written)
{
    size_t done = 0;
    coil_ret rc = write_at(file, buf, n, offset == -1 ? -2 : offset, &done);
    if (out_written)
        *out_written = done;
    return rc;
}
