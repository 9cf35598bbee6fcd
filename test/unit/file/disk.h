/* SPDX-License-Identifier: MIT
 *
 * disk.h: a directory of its own for each test of files, the ways an operation may run, and a kernel that can be
 * made to wait.
 *
 * `use_threads` and `use_ops` decide for the running loop, whatever its backend can do: the latter puts a backend in
 * place that does every operation on files, at once, or when `ops_let_go` is called. */
#ifndef TEST_FILE_DISK_H
#define TEST_FILE_DISK_H

#include "../work/gate.h"

#include "base/mem.h"
#include "base/sys.h"
#include "file/file.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- a directory ---- */

static char disk_dir[64];

/* The path of a name in it; good for eight calls. */
static inline const char *disk(const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", disk_dir, name);
    return path;
}

static inline void disk_make(void)
{
    coil__sys = coil__sys_real;
    snprintf(disk_dir, sizeof disk_dir, "/tmp/coil-file-XXXXXX");
    assert_non_null(mkdtemp(disk_dir));
}

/* How many names are in it. */
static inline int disk_names(void)
{
    int n = 0;
    DIR *dir = opendir(disk_dir);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    closedir(dir);
    return n;
}

/* Until no thread of the running loop's is at a file: some close what nobody waits for. */
static inline void disk_quiet(void)
{
    struct loop_part *part = coil__running_loop ? loop_part(coil__running_loop, LOOP_PART_FILE)
                                                : NULL;
    struct pool *pool = part ? container_of(part, struct file_part, part)->pool : NULL;
    for (struct pool_stats s = {.running = 1}; pool && s.running + s.queued > 0;) {
        coil__pool_stats(pool, &s);
        (void)poll(NULL, 0, s.running + s.queued > 0);
    }
}

/* And everything in it; folders only when empty. */
static inline void disk_remove(void)
{
    disk_quiet();
    coil__sys = coil__sys_real;
    DIR *dir = opendir(disk_dir);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        if (unlinkat(dirfd(dir), e->d_name, 0) < 0)
            (void)unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
    closedir(dir);
    assert_int_equal(rmdir(disk_dir), 0);
}

/* What byte n of a test file is. */
static inline char disk_byte(size_t n)
{
    return (char)(n * 31 + n / 251);
}

/* A file of n such bytes. */
static inline const char *disk_file(const char *name, size_t n)
{
    const char *path = disk(name);
    char *bytes = malloc(n + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = disk_byte(i);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
    free(bytes);
    return path;
}

static inline bool disk_bytes_are(const char *p, size_t n, size_t from)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != disk_byte(from + i))
            return false;
    return true;
}

/* ---- a kernel that has everything in memory, or nothing ---- */

static _Atomic int now_tries; /* calls with RWF_NOWAIT */

static inline ssize_t preadv2_has_all(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    now_tries += flags == RWF_NOWAIT;
    return coil__sys_real.preadv2(fd, v, n, at, 0);
}

static inline ssize_t preadv2_has_nothing(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    now_tries += flags == RWF_NOWAIT;
    return flags == RWF_NOWAIT ? -EAGAIN : coil__sys_real.preadv2(fd, v, n, at, 0);
}

static inline ssize_t pwritev2_has_no_room(int fd, const struct iovec *v, int n, off_t at,
                                           int flags)
{
    now_tries += flags == RWF_NOWAIT;
    return flags == RWF_NOWAIT ? -EAGAIN : coil__sys_real.pwritev2(fd, v, n, at, 0);
}

static inline void nothing_in_memory(void)
{
    now_tries = 0;
    coil__sys.preadv2 = preadv2_has_nothing;
    coil__sys.pwritev2 = pwritev2_has_no_room;
}

/* ---- threads that wait ---- */

static struct gate disk_gate;
static _Atomic int disk_skip; /* so many calls pass before the gate counts */

static inline void at_gate(void)
{
    if (atomic_fetch_sub(&disk_skip, 1) <= 0)
        (void)pass_gate(&disk_gate);
}

static inline ssize_t preadv2_waits(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    if (flags == RWF_NOWAIT)
        return -EAGAIN;
    at_gate();
    return coil__sys_real.preadv2(fd, v, n, at, 0);
}

static inline ssize_t pwritev2_waits(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    if (flags == RWF_NOWAIT)
        return -EAGAIN;
    at_gate();
    return coil__sys_real.pwritev2(fd, v, n, at, 0);
}

/* Calls that are at the gate, or have been. */
static inline int gate_entered(void)
{
    coil__mutex_lock(&disk_gate.lock);
    int entered = disk_gate.entered;
    coil__mutex_unlock(&disk_gate.lock);
    return entered;
}

/* From now on nothing is in memory, and reads and writes on threads wait at the gate, but for the first `skip`. */
static inline void disk_hold(int skip)
{
    disk_gate = (struct gate)GATE_INIT;
    disk_skip = skip;
    coil__sys.preadv2 = preadv2_waits;
    coil__sys.pwritev2 = pwritev2_waits;
}

/* ---- the ways ---- */

static struct backend_class with_ops; /* also where `does` is taken away */
static struct list ops_held;
static bool ops_hold;   /* do not finish them before ops_let_go */
static bool ops_refuse; /* a cancel comes too late: they are done */
static int ops_seen;

static inline int64_t op_do(const struct op *op)
{
    struct iovec v = {op->at.p, op->at.n};
    switch (op->kind) {
    case OP_PREAD: return sys_preadv2(op->fd, &v, 1, op->at.offset, 0);
    case OP_PWRITE: return sys_pwritev2(op->fd, &v, 1, op->at.offset, 0);
    case OP_FSYNC: return op->flags & OP_DATASYNC ? sys_fdatasync(op->fd) : sys_fsync(op->fd);
    case OP_OPENAT:
        return sys_openat(op->fd, op->open.path, op->open.flags | O_CLOEXEC, op->open.mode);
    case OP_CLOSE: return sys_close(op->fd);
    default: return -EINVAL;
    }
}

static inline void op_finish(struct backend *b, struct op *op, int64_t result)
{
    op->result = result;
    op->state = OP_FINISHED;
    list_push(&b->finished, &op->link);
}

static const struct backend_class *ops_below;

static inline void ops_submit(struct backend *b, struct op *op)
{
    if (!op_is_file(op)) {
        ops_below->submit(b, op);
        return;
    }
    ops_seen++;
    list_init(&op->link);
    if (!ops_hold) {
        op_finish(b, op, op_do(op));
        return;
    }
    op->state = OP_PENDING;
    b->pending++;
    list_push(&ops_held, &op->link);
}

static inline int ops_cancel(struct backend *b, struct op *op)
{
    if (!op_is_file(op))
        return ops_below->cancel(b, op);
    if (op->state == OP_IDLE)
        return -ENOENT;
    if (op->state == OP_FINISHED)
        return -EINPROGRESS;
    list_remove(&op->link);
    b->pending--;
    if (ops_refuse) {
        op_finish(b, op, op_do(op));
        return -EINPROGRESS;
    }
    if (ops_seen % 2) { /* both answers are right */
        op_finish(b, op, -ECANCELED);
        return -EINPROGRESS;
    }
    op->state = OP_IDLE;
    return 0;
}

static inline void ops_let_go(void)
{
    struct backend *b = coil__running_loop->backend;
    struct list *l;
    ops_hold = false;
    while ((l = list_pop(&ops_held))) {
        struct op *op = container_of(l, struct op, link);
        b->pending--;
        op_finish(b, op, op_do(op));
    }
}

static inline void use_class(void)
{
    struct backend *b = coil__running_loop->backend;
    if (b->cls != &with_ops)
        ops_below = b->cls;
    with_ops = *ops_below;
    b->cls = &with_ops;
}

static inline void use_threads(void)
{
    use_class();
    with_ops.does_files = false;
}

static inline void use_ops(void)
{
    use_class();
    with_ops.does_files = true;
    with_ops.submit = ops_submit;
    with_ops.cancel = ops_cancel;
    list_init(&ops_held);
    ops_hold = ops_refuse = false;
    ops_seen = 0;
}

static inline void one_way(void (*body)(void))
{
    disk_make();
    body();
    disk_remove();
}

/* By threads and by ops, both on a kernel that the test may replace. */
static inline void each_way_of_ours(void (*body)(void))
{
    use_threads();
    one_way(body);
    use_ops();
    one_way(body);
}

/* And the way that the loop's backend would go. */
static inline void each_way(void (*body)(void))
{
    each_way_of_ours(body);
    coil__running_loop->backend->cls = ops_below;
    one_way(body);
}

#define DISK_TEST(name)            \
    static void name##_body(void); \
    COIL_TEST(name)                \
    {                              \
        each_way(name##_body);     \
    }                              \
    static void name##_body(void)

/* What it makes of the kernel's calls, a ring's kernel would not notice. */
#define KERNEL_TEST(name)              \
    static void name##_body(void);     \
    COIL_TEST(name)                    \
    {                                  \
        each_way_of_ours(name##_body); \
    }                                  \
    static void name##_body(void)

/* With threads only, in a directory of its own. */
#define THREAD_TEST(name)          \
    static void name##_body(void); \
    COIL_TEST(name)                \
    {                              \
        use_threads();             \
        one_way(name##_body);      \
    }                              \
    static void name##_body(void)

/* ---- asking ---- */

static inline coil_loop_stats_t stats(void)
{
    coil_loop_stats_t s;
    coil_loop_stats(NULL, &s);
    return s;
}

/* The last error's words are "verb 'path': reason". */
static inline void said(const char *verb, const char *path, const char *reason)
{
    char words[256];
    snprintf(words, sizeof words, "%s '%s': %s", verb, path, reason);
    assert_string_equal(coil_last_error()->message, words);
}

static inline coil_file *open_file(const char *path, int flags)
{
    coil_file *file;
    assert_int_equal(coil_file_open(path, flags, 0600, &file), 0);
    return file;
}

static inline void close_file(coil_file *file)
{
    assert_int_equal(coil_file_close(file), 0);
}

/* A read that a task makes, and what came of it. */
struct reading {
    coil_file *file;
    char *p;
    size_t n;
    int64_t offset;      /* < 0: at the file's own position */
    coil_ret got, after; /* after: what the next waiting call returned */
    bool over;
};

static inline coil_ret read_then_sleep(void *arg)
{
    struct reading *r = arg;
    r->got = r->offset < 0 ? coil_file_read(r->file, r->p, r->n)
                           : coil_file_pread(r->file, r->p, r->n, r->offset);
    r->after = coil_sleep(0);
    r->over = true;
    return 0;
}

struct writing {
    coil_file *file;
    const char *p;
    size_t n;
    int64_t offset;
    coil_ret got, after;
    size_t written;
};

static inline coil_ret write_then_sleep(void *arg)
{
    struct writing *w = arg;
    w->got = w->offset < 0 ? coil_file_write(w->file, w->p, w->n, &w->written)
                           : coil_file_pwrite(w->file, w->p, w->n, w->offset, &w->written);
    w->after = coil_sleep(0);
    return 0;
}

#endif
