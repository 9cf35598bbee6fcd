/* SPDX-License-Identifier: MIT
 *
 * test_file.c: open files: made, asked about, closed, given up. */
#include "disk.h"

#include <sys/wait.h>

/* ---- opening ---- */

DISK_TEST(open_failed_names_the_file)
{
    coil_file *file = (coil_file *)1;
    assert_int_equal(coil_file_open(disk("absent"), O_RDONLY, 0, &file), -ENOENT);
    assert_int_equal(last_code(), -ENOENT);
    said("open", disk("absent"), "No such file or directory");
    assert_ptr_equal(file, (coil_file *)1);
    assert_int_equal(coil_file_open(disk_file("there", 1), O_RDWR | O_CREAT | O_EXCL, 0600, &file),
                     -EEXIST);
    assert_int_equal(coil_file_open(disk("there/below"), O_RDONLY, 0, &file), -ENOTDIR);
    assert_int_equal(coil_file_open("", O_RDONLY, 0, &file), -ENOENT);
}

DISK_TEST(open_of_a_name_that_is_too_long_is_refused)
{
    coil_file *file;
    static char name[6000];
    memset(name, 'x', sizeof name - 1);
    assert_int_equal(coil_file_open(name, O_RDONLY, 0, &file), -ENAMETOOLONG);
    assert_int_equal(last_code(), -ENAMETOOLONG);
}

DISK_TEST(open_file_is_not_inherited_and_blocks)
{
    coil_file *file = open_file(disk("there"), O_RDWR | O_CREAT | O_NONBLOCK);
    int fd = coil_file_fileno(file);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    close_file(file);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

DISK_TEST(open_takes_the_mode)
{
    coil_file *file;
    struct stat st;
    assert_int_equal(coil_file_open(disk("there"), O_WRONLY | O_CREAT, 0640, &file), 0);
    assert_int_equal(coil_file_stat(file, &st), 0);
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(st.st_mode & 0777, 0640 & ~mask);
    close_file(file);
}

DISK_TEST(open_of_a_fifo_does_not_wait_for_its_other_end)
{
    coil_file *file;
    assert_int_equal(mkfifo(disk("fifo"), 0600), 0);
    assert_int_equal(coil_file_open(disk("fifo"), O_WRONLY, 0, &file), -ENXIO);
    file = open_file(disk("fifo"), O_RDONLY);
    char byte;
    assert_int_equal(coil_file_read(file, &byte, 1), 0);
    close_file(file);
}

static int leased; /* times that a lease was in the way */

static int openat_meets_a_lease(int dir, const char *path, int flags, mode_t mode)
{
    if (flags & O_NONBLOCK) {
        leased++;
        return -EWOULDBLOCK;
    }
    return coil__sys_real.openat(dir, path, flags, mode);
}

KERNEL_TEST(open_of_a_leased_file_waits_for_the_lease)
{
    leased = 0;
    disk_file("there", 10);
    coil__sys.openat = openat_meets_a_lease;
    close_file(open_file(disk("there"), O_RDONLY));
    assert_in_range(leased, 1, 2);
}

DISK_TEST(file_without_a_path_is_refused)
{
    coil_file *file;
    coil_dir *dir;
    struct stat st;
    char *data;
    assert_int_equal(coil_file_open(NULL, O_RDONLY, 0, &file), -EINVAL);
    assert_string_equal(coil_last_error()->message, "a path is needed");
    assert_int_equal(coil_dir_open(NULL, &dir), -EINVAL);
    assert_int_equal(coil_stat(NULL, &st), -EINVAL);
    assert_int_equal(coil_rename(disk("there"), NULL), -EINVAL);
    assert_int_equal(coil_read_file(NULL, 0, &data), -EINVAL);
    assert_int_equal(coil_write_file(NULL, "", 0, 0600), -EINVAL);
}

/* ---- cancelled while opening ---- */

static _Atomic int opened;

static int openat_waits(int dir, const char *path, int flags, mode_t mode)
{
    at_gate();
    int fd = coil__sys_real.openat(dir, path, flags, mode);
    opened += fd >= 0;
    return fd;
}

static void hold_opens(void)
{
    disk_hold(0);
    opened = 0;
    coil__sys.openat = openat_waits;
}

struct opening {
    const char *path;
    coil_file *file;
    coil_ret got, after;
};

static coil_ret open_then_sleep(void *arg)
{
    struct opening *o = arg;
    o->got = coil_file_open(o->path, O_RDONLY, 0, &o->file);
    o->after = coil_sleep(0);
    return o->got == 0 ? coil_file_close(o->file) : 0;
}

THREAD_TEST(open_cancelled_while_running_returns_the_file)
{
    struct opening o = {.path = disk_file("there", 10)};
    hold_opens();
    coil_task *task = coil_create_task(open_then_sleep, &o);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    assert_string_equal(coil_task_waiting_on(task), "open");
    coil_task_cancel(task, NULL);
    gate_open(&disk_gate);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(o.got, 0);
    assert_int_equal(o.after, -ECANCELED);
}

THREAD_TEST(open_cancelled_while_queued_opens_nothing)
{
    struct opening o[COIL_FILE_THREADS + 1];
    coil_task *tasks[COIL_FILE_THREADS + 1];
    const char *path = disk_file("there", 10);
    hold_opens();
    for (int i = 0; i <= COIL_FILE_THREADS; i++) {
        o[i] = (struct opening){.path = path};
        tasks[i] = coil_create_task(open_then_sleep, &o[i]);
    }
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, COIL_FILE_THREADS);
    coil_task_cancel(tasks[COIL_FILE_THREADS], NULL);
    assert_int_equal(coil_join(tasks[COIL_FILE_THREADS]), 0);
    assert_int_equal(o[COIL_FILE_THREADS].got, -ECANCELED);
    assert_int_equal(gate_entered(), COIL_FILE_THREADS); /* a maximum, too */
    gate_open(&disk_gate);
    for (int i = 0; i < COIL_FILE_THREADS; i++)
        assert_int_equal(coil_join(tasks[i]), 0);
    assert_int_equal(opened, COIL_FILE_THREADS);
}

/* A loop that runs fn(arg) until it waits at the gate, and is closed then. */
static void close_while_held(coil_fn fn, void *arg)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    assert_int_equal(coil__loop_open_backend(loop), 0);
    struct backend_class without = *loop->backend->cls;
    without.does_files = false;
    loop->backend->cls = &without;
    coil_loop_set_exception_handler(loop, ignore_report, NULL);
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    coil_unref(coil_create_task_opts(fn, arg, &opts));
    while (gate_entered() == 0)
        assert_true(coil_loop_iterate(loop) >= 0);
    struct thread opener;
    assert_int_equal(coil__thread_start(&opener, "opener", open_later, &disk_gate), 0);
    assert_int_equal(coil_loop_close(loop), 0);
    coil__thread_join(&opener);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(open_running_when_the_loop_closes_leaks_nothing)
{
    disk_make();
    struct opening o = {.path = disk_file("there", 10)};
    hold_opens();
    close_while_held(open_then_sleep, &o);
    assert_int_equal(o.got, COIL_EEXIT);
    assert_int_equal(opened, 1);
    disk_remove();
}

static coil_ret open_by_ops(void *arg)
{
    use_ops();
    ops_hold = ops_refuse = true;
    return open_then_sleep(arg);
}

COIL_TEST_PLAIN(open_by_the_kernel_when_the_loop_closes_leaks_nothing)
{
    disk_make();
    for (int late = 0; late < 3;
         late++) { /* the kernel was quicker; was not, and says so in two ways */
        struct opening o = {.path = disk_file("there", 10)};
        coil_loop *loop = begun_loop(NULL, open_by_ops, &o);
        assert_int_equal(loop->backend->pending, 1);
        ops_refuse = late == 0;
        ops_seen = late;
        coil_loop_free(loop);
        assert_int_equal(o.got, COIL_EEXIT);
    }
    disk_remove();
}

static coil_ret open_and_read(void *arg)
{
    struct reading *r = arg;
    coil_ret rc = coil_file_open(disk("there"), O_RDONLY, 0, &r->file);
    if (rc < 0)
        return rc;
    coil_ignore(read_then_sleep(r));
    coil_file_unref(r->file);
    return 0;
}

COIL_TEST_PLAIN(read_running_when_the_loop_closes_holds_the_closing)
{
    disk_make();
    disk_file("there", 100);
    char buf[100] = "";
    struct reading r = {.p = buf, .n = 100, .offset = 0};
    disk_hold(0);
    close_while_held(open_and_read, &r);
    assert_int_equal(r.got, COIL_EEXIT);
    assert_true(disk_bytes_are(buf, 100, 0)); /* the thread was waited for */
    disk_remove();
}

/* ---- closing ---- */

DISK_TEST(close_ends_it_for_all_who_hold_it)
{
    coil_file *file = coil_file_ref(open_file(disk_file("there", 10), O_RDWR));
    struct stat st;
    char buf[4];
    close_file(file);
    assert_int_equal(coil_file_fileno(file), -1);
    assert_int_equal(coil_file_read(file, buf, 4), -EBADF);
    said("read", disk("there"), "the file is closed");
    assert_int_equal(coil_file_write(file, buf, 4, NULL), -EBADF);
    assert_int_equal(coil_file_fsync(file), -EBADF);
    assert_int_equal(coil_file_stat(file, &st), -EBADF);
    assert_int_equal(coil_file_truncate(file, 0), -EBADF);
    assert_int_equal(coil_file_seek(file, 0, SEEK_SET, NULL), -EBADF);
    (void)coil_file_ref(file);
    assert_int_equal(coil_file_close(file), -EBADF);
    coil_file_unref(file);
    assert_int_equal(coil_file_close(NULL), 0);
    coil_file_unref(NULL);
}

static int close_says_eio(int fd)
{
    int rc = coil__sys_real.close(fd);
    return rc < 0 ? rc : -EIO;
}

static int close_says_eintr(int fd)
{
    int rc = coil__sys_real.close(fd);
    return rc < 0 ? rc : -EINTR;
}

KERNEL_TEST(close_returns_what_the_kernel_says)
{
    coil_file *file = open_file(disk("there"), O_RDWR | O_CREAT);
    coil__sys.close = close_says_eio;
    coil_ret rc = coil_file_close(file);
    coil__sys = coil__sys_real;
    assert_int_equal(rc, -EIO);
    said("close", disk("there"), coil_strerror(-EIO));
    file = open_file(disk("there"), O_RDWR);
    coil__sys.close = close_says_eintr;
    rc = coil_file_close(file);
    coil__sys = coil__sys_real;
    assert_int_equal(rc, 0);
}

static coil_ret close_it(void *arg)
{
    return coil_file_close(arg);
}

THREAD_TEST(close_waits_for_calls_under_way)
{
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    char buf[100], late[10];
    struct reading r = {.file = file, .p = buf, .n = 100, .offset = -1},
                   s = {.file = file, .p = late, .n = 10, .offset = -1};
    disk_hold(0);
    coil_task *reader = coil_create_task(read_then_sleep, &r);
    coil_task *second = coil_create_task(read_then_sleep, &s); /* waits for the position */
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    coil_task *closer = coil_create_task(close_it, file);
    assert_int_equal(coil_sleep(0.001), 0);
    assert_string_equal(coil_task_waiting_on(closer), "close");
    assert_true(coil_file_fileno(file) >= 0); /* the number is not free for others */
    assert_int_equal(coil_file_pread(file, late, 1, 0), -EBADF);
    assert_false(r.over);
    gate_open(&disk_gate);
    assert_int_equal(coil_join(closer), 0);
    assert_int_equal(coil_join(reader), 0);
    assert_int_equal(coil_join(second), 0);
    assert_int_equal(r.got, 100);
    assert_int_equal(s.got, 0); /* the end */
}

THREAD_TEST(close_cancelled_goes_on)
{
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    int fd = coil_file_fileno(file);
    char buf[100];
    struct reading r = {.file = file, .p = buf, .n = 100};
    disk_hold(0);
    coil_task *reader = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    coil_task *closer = coil_create_task(close_it, file);
    assert_int_equal(coil_sleep(0), 0);
    coil_task_cancel(closer, NULL);
    assert_int_equal(coil_sleep(0), 0);
    assert_false(coil_future_done(closer));
    gate_open(&disk_gate);
    assert_int_equal(coil_join(closer),
                     -ECANCELED); /* of a task that was cancelled and returned 0 */
    assert_int_equal(coil_join(reader), 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static coil_ret close_with_a_cancel_outstanding(void *arg)
{
    coil_task_cancel(coil_current_task(), NULL);
    coil_ret rc = coil_file_close(arg);
    assert_int_equal(coil_sleep(0), -ECANCELED);
    return rc;
}

DISK_TEST(close_with_a_cancel_outstanding_closes)
{
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    int fd = coil_file_fileno(file);
    assert_int_equal(coil_join(coil_create_task(close_with_a_cancel_outstanding, file)), 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static coil_ret hold_and_close(void *arg)
{
    coil_file *file;
    coil_ret rc = coil_file_open(disk("there"), O_RDONLY, 0, &file);
    if (rc < 0)
        return rc;
    coil__sys.close = arg;
    rc = coil_file_close(file);
    coil__sys.close = coil__sys_real.close;
    return rc;
}

static int close_waits(int fd)
{
    at_gate();
    return coil__sys_real.close(fd);
}

COIL_TEST_PLAIN(close_running_when_the_loop_closes_is_waited_for)
{
    disk_make();
    disk_file("there", 100);
    disk_hold(0);
    close_while_held(hold_and_close, close_waits);
    coil__sys = coil__sys_real;
    assert_int_equal(gate_left(&disk_gate), 1);
    disk_remove();
}

DISK_TEST(unref_of_the_last_closes_in_the_background)
{
    coil_file *file = coil_file_ref(open_file(disk_file("there", 10), O_RDWR));
    int fd = coil_file_fileno(file);
    coil_file_unref(file);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    coil_file_unref(file);
    disk_quiet();
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

THREAD_TEST(unref_while_somebody_reads_waits_for_him)
{
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    char buf[100];
    struct reading r = {.file = file, .p = buf, .n = 100};
    disk_hold(0);
    coil_task *reader = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    coil_file_unref(file);
    gate_open(&disk_gate);
    assert_int_equal(coil_join(reader), 0);
    assert_int_equal(r.got, 100);
    assert_true(disk_bytes_are(buf, 100, 0));
}

struct kept {
    coil_file *file;
    coil_dir *dir;
};

static coil_ret keep_open(void *arg)
{
    struct kept *kept = arg;
    coil_ret rc = coil_file_open(disk("there"), O_RDWR, 0, &kept->file);
    return rc < 0 ? rc : coil_dir_open(disk_dir, &kept->dir);
}

COIL_TEST_PLAIN(file_outlives_its_loop_and_is_closed)
{
    disk_make();
    disk_file("there", 10);
    struct kept kept;
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    assert_int_equal(coil_run_with(keep_open, &kept, &opts), 0);
    assert_int_equal(coil_file_fileno(kept.file), -1);
    coil_file_unref(kept.file);
    coil_dir_close(kept.dir);
    disk_remove();
}

/* ---- what is asked ---- */

DISK_TEST(file_tells_its_size_and_takes_another)
{
    coil_file *file = open_file(disk_file("there", 1000), O_RDWR);
    struct stat st;
    char buf[10];
    assert_int_equal(coil_file_stat(file, &st), 0);
    assert_int_equal(st.st_size, 1000);
    assert_int_equal(coil_file_truncate(file, 10), 0);
    assert_int_equal(coil_file_stat(file, &st), 0);
    assert_int_equal(st.st_size, 10);
    assert_int_equal(coil_file_truncate(file, 20), 0);
    assert_int_equal(coil_file_pread(file, buf, 10, 15), 5);
    assert_int_equal(buf[0], 0);
    assert_int_equal(coil_file_truncate(file, -1), -EINVAL);
    said("truncate", disk("there"), "Invalid argument");
    close_file(file);
}

DISK_TEST(file_position_moves_as_told)
{
    coil_file *file = open_file(disk_file("there", 1000), O_RDWR);
    int64_t at = 0;
    assert_int_equal(coil_file_seek(file, 100, SEEK_SET, &at), 0);
    assert_int_equal(at, 100);
    assert_int_equal(coil_file_seek(file, -30, SEEK_CUR, &at), 0);
    assert_int_equal(at, 70);
    assert_int_equal(coil_file_seek(file, -1, SEEK_END, &at), 0);
    assert_int_equal(at, 999);
    assert_int_equal(coil_file_tell(file, &at), 0);
    assert_int_equal(at, 999);
    assert_int_equal(coil_file_seek(file, INT64_C(5) << 32, SEEK_SET, &at), 0);
    assert_int_equal(at, INT64_C(5) << 32);
    assert_int_equal(coil_file_seek(file, -1, SEEK_SET, &at), -EINVAL);
    said("seek", disk("there"), "Invalid argument");
    assert_int_equal(at, INT64_C(5) << 32);
    close_file(file);
}

static _Atomic int syncs, datasyncs;

static int fsync_counts(int fd)
{
    syncs++;
    return coil__sys_real.fsync(fd);
}

static int fdatasync_fails(int fd)
{
    datasyncs++;
    return -EIO;
}

KERNEL_TEST(file_is_synced)
{
    syncs = datasyncs = 0;
    coil_file *file = open_file(disk_file("there", 1000), O_RDWR);
    coil__sys.fsync = fsync_counts;
    coil__sys.fdatasync = fdatasync_fails;
    assert_int_equal(coil_file_fsync(file), 0);
    assert_int_equal(syncs, 1);
    assert_int_equal(coil_file_fdatasync(file), -EIO);
    said("fsync", disk("there"), coil_strerror(-EIO));
    assert_int_equal(datasyncs, 1);
    close_file(file);
}

/* ---- who may ---- */

COIL_TEST_PLAIN(file_outside_a_task_is_refused)
{
    coil_file *file;
    struct stat st;
    char *data;
    coil_dir *dir;
    assert_int_equal(coil_file_open("/dev/null", O_RDONLY, 0, &file), COIL_ENOTASK);
    assert_int_equal(coil_stat("/", &st), COIL_ENOTASK);
    assert_int_equal(coil_read_file("/dev/null", 0, &data), COIL_ENOTASK);
    assert_int_equal(coil_dir_open("/", &dir), COIL_ENOTASK);
}

static void close_in_a_callback(void *arg)
{
    assert_int_equal(coil_file_close(arg), COIL_ENOTASK);
}

DISK_TEST(close_in_a_callback_gives_it_up_all_the_same)
{
    coil_file *file = open_file(disk_file("there", 10), O_RDONLY);
    int fd = coil_file_fileno(file);
    assert_int_equal(coil_loop_call_soon(NULL, close_in_a_callback, file, NULL), 0);
    assert_int_equal(coil_sleep(0), 0);
    disk_quiet();
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static coil_ret use_foreign(void *arg)
{
    char byte;
    assert_int_equal(coil_file_read(arg, &byte, 1), COIL_EWRONGLOOP);
    return coil_file_close(arg);
}

static void run_foreign(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    assert_int_equal(coil_run_with(use_foreign, arg, &opts), COIL_EWRONGLOOP);
}

DISK_TEST(file_of_another_loop_is_refused)
{
    coil_file *file = open_file(disk_file("there", 10), O_RDONLY);
    char byte;
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "other", run_foreign, file), 0);
    coil__thread_join(&thread);
    assert_int_equal(coil_file_read(file, &byte, 1), 1);
    close_file(file);
}

DISK_TEST(file_in_a_child_of_fork_is_refused_and_closed)
{
    coil_file *file = open_file(disk_file("there", 10), O_RDONLY);
    int fd = coil_file_fileno(file);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        bool good = coil_file_read(file, &byte, 1) == COIL_ENOTASK;
        coil_file_unref(file);
        good = good && fcntl(fd, F_GETFD) == -1;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close_file(file);
}

/* ---- memory ---- */

static coil_ret use_files(void *arg)
{
    coil_file *file;
    char buf[64];
    coil_ret rc = coil_file_open(disk("there"), O_RDWR | O_CREAT, 0600, &file);
    if (rc < 0)
        return rc;
    coil__sys.preadv2 = preadv2_has_nothing;
    rc = coil_file_write(file, "hello", 5, NULL);
    if (rc == 0)
        rc = coil_file_pread(file, buf, 64, 0);
    if (rc == 5)
        rc = coil_file_fsync(file);
    if (rc < 0)
        coil_file_unref(file);
    else
        rc = coil_file_close(file);
    return rc;
}

static void run_files(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    coil_ret rc = coil_run_with(use_files, NULL, &opts);
    assert_true(rc == 0 || rc == -ENOMEM || rc == -EAGAIN);
}

COIL_TEST_PLAIN(file_survives_each_failing_allocation)
{
    disk_make();
    (void)sweep_allocations(run_files, NULL);
    disk_remove();
}

static coil_ret read_once(void *arg)
{
    char byte;
    return coil_file_pread(arg, &byte, 1, 0);
}

THREAD_TEST(file_allocates_nothing_for_reads_and_writes_once_threads_wait)
{
    coil_file *file = open_file(disk_file("there", 100), O_RDWR);
    nothing_in_memory();
    coil_task *tasks[COIL_FILE_THREADS];
    disk_hold(0);
    for (int i = 0; i < COIL_FILE_THREADS; i++)
        tasks[i] = coil_create_task(read_once, file);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, COIL_FILE_THREADS); /* every thread is there now */
    gate_open(&disk_gate);
    for (int i = 0; i < COIL_FILE_THREADS; i++)
        assert_int_equal(coil_join(tasks[i]), 1);
    char buf[10];
    int64_t tried = coil__mem_tried();
    for (int i = 0; i < 10; i++) {
        assert_int_equal(coil_file_pread(file, buf, 10, 0), 10);
        assert_int_equal(coil_file_pwrite(file, buf, 10, 0, NULL), 0);
        assert_int_equal(coil_file_fdatasync(file), 0);
    }
    assert_int_equal(coil__mem_tried(), tried);
    close_file(file);
}

COIL_TEST_MAIN()
