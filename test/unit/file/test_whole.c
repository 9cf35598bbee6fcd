/* SPDX-License-Identifier: MIT
 *
 * test_whole.c: files read and replaced in one go. */
#include "disk.h"

enum { BIG = (3 << 20) + 17 };
static char big[BIG];

/* ---- reading ---- */

DISK_TEST(read_file_brings_all_of_it_with_a_nul)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 100000, BIG};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *data = NULL;
        assert_int_equal(coil_read_file(disk_file("there", sizes[i]), 0, &data), sizes[i]);
        assert_true(disk_bytes_are(data, sizes[i], 0));
        assert_int_equal(data[sizes[i]], 0);
        coil_file_data_free(data);
    }
    coil_file_data_free(NULL);
}

DISK_TEST(read_file_of_what_does_not_know_its_size)
{
    char *data;
    coil_ret n = coil_read_file("/proc/self/status", 0, &data);
    assert_true(n > 100);
    assert_int_equal(strlen(data), n);
    assert_non_null(strstr(data, "Threads:"));
    coil_file_data_free(data);
}

DISK_TEST(read_file_of_more_than_allowed_is_refused)
{
    char *data = (char *)1;
    disk_file("there", 1000);
    assert_int_equal(coil_read_file(disk("there"), 999, &data), COIL_ELIMIT);
    said("read", disk("there"), "more than 999 bytes");
    assert_int_equal(coil_read_file("/proc/self/status", 10, &data), COIL_ELIMIT);
    assert_ptr_equal(data, (char *)1);
    assert_int_equal(coil_read_file(disk("there"), 1000, &data), 1000);
    coil_file_data_free(data);
}

DISK_TEST(read_file_of_what_has_no_end_is_refused)
{
    char *data;
    assert_int_equal(mkfifo(disk("fifo"), 0600), 0);
    assert_int_equal(coil_read_file(disk("fifo"), 0, &data), -EINVAL);
    assert_int_equal(coil_read_file("/dev/zero", 0, &data), -EINVAL);
    assert_int_equal(coil_read_file(disk_dir, 0, &data), -EISDIR);
    assert_int_equal(coil_read_file(disk("absent"), 0, &data), -ENOENT);
    said("open", disk("absent"), "No such file or directory");
}

static _Atomic int reads;
static int fail_at, fail_with;

static ssize_t read_breaks(int fd, void *p, size_t n)
{
    if (n == 8) /* the loop's own */
        return coil__sys_real.read(fd, p, n);
    return ++reads == fail_at ? -fail_with : coil__sys_real.read(fd, p, n < 100 ? n : 100);
}

DISK_TEST(read_file_takes_what_comes_and_errors_as_they_are)
{
    char *data;
    disk_file("there", 1000);
    for (fail_at = 1; fail_at <= 11; fail_at++) {
        coil__sys.read = read_breaks;
        fail_with = EINTR;
        reads = 0;
        assert_int_equal(coil_read_file(disk("there"), 0, &data), 1000);
        assert_true(disk_bytes_are(data, 1000, 0));
        coil_file_data_free(data);
        fail_with = EIO;
        reads = 0;
        assert_int_equal(coil_read_file(disk("there"), 0, &data), -EIO);
    }
    coil__sys = coil__sys_real;
}

static ssize_t read_waits(int fd, void *p, size_t n)
{
    if (n != 8)
        at_gate();
    return coil__sys_real.read(fd, p, n);
}

static coil_ret whole_read(void *arg)
{
    char *data;
    coil_ret *got = arg;
    *got = coil_read_file(disk("there"), 0, &data);
    if (*got >= 0)
        coil_file_data_free(data);
    return coil_sleep(0) == 0 ? 1 : 2;
}

DISK_TEST(read_file_cancelled_stops_soon_and_keeps_nothing)
{
    coil_ret got = 0;
    disk_file("there", BIG);
    disk_hold(1);
    coil__sys.read = read_waits;
    coil_task *task = coil_create_task(whole_read, &got);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    coil_task_cancel(task, "enough");
    assert_int_equal(coil_sleep(0), 0);
    assert_false(coil_future_done(task));
    gate_open(&disk_gate);
    assert_int_equal(coil_join(task), 1);
    assert_int_equal(got, -ECANCELED);
    assert_int_equal(gate_entered(), 1);
}

/* ---- writing ---- */

static void file_is(const char *name, size_t n)
{
    char *data;
    assert_int_equal(coil_read_file(disk(name), 0, &data), n);
    assert_true(disk_bytes_are(data, n, 0));
    coil_file_data_free(data);
}

DISK_TEST(write_file_replaces_the_whole)
{
    struct stat before, after;
    for (size_t i = 0; i < BIG; i++)
        big[i] = disk_byte(i);
    assert_int_equal(coil_write_file(disk("there"), big, BIG, 0600), 0);
    file_is("there", BIG);
    assert_int_equal(coil_stat(disk("there"), &before), 0);
    assert_int_equal(coil_write_file(disk("there"), big, 10, 0640), 0);
    file_is("there", 10);
    assert_int_equal(coil_stat(disk("there"), &after), 0);
    assert_true(before.st_ino != after.st_ino);
    assert_int_equal(coil_write_file(disk("there"), NULL, 0, 0600), 0);
    file_is("there", 0);
    assert_int_equal(disk_names(), 1);
}

DISK_TEST(write_file_to_a_bare_name_is_beside_it)
{
    char here[512];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(disk_dir), 0);
    coil_ret rc = coil_write_file("bare", "hello", 5, 0600);
    int back = chdir(here);
    assert_int_equal(rc, 0);
    assert_int_equal(back, 0);
    assert_int_equal(disk_names(), 1);
    assert_int_equal(access(disk("bare"), R_OK), 0);
}

static char steps[16]; /* of the kernel's, in order */
static _Atomic int steps_n;
static char break_step;
static int break_with;

static bool step(char what)
{
    steps[steps_n++ % 15] = what;
    return what == break_step;
}

static ssize_t step_write(int fd, const void *p, size_t n)
{
    if (n == 8)
        return coil__sys_real.write(fd, p, n);
    return step('w') ? -break_with : coil__sys_real.write(fd, p, n);
}

static int step_fsync(int fd)
{
    return step('s') ? -break_with : coil__sys_real.fsync(fd);
}

static int step_close(int fd)
{
    int rc = coil__sys_real.close(fd);
    return step('c') ? -break_with : rc;
}

static int step_rename(int dir, const char *path, int to_dir, const char *to)
{
    return step('r') ? -break_with : coil__sys_real.renameat(dir, path, to_dir, to);
}

static coil_ret write_in_steps(char breaks, int error)
{
    memset(steps, 0, sizeof steps);
    steps_n = 0;
    break_step = breaks;
    break_with = error;
    coil__sys.write = step_write;
    coil__sys.fsync = step_fsync;
    coil__sys.close = step_close;
    coil__sys.renameat = step_rename;
    coil_ret rc = coil_write_file(disk("there"), "hello, file", 11, 0600);
    coil__sys = coil__sys_real;
    return rc;
}

DISK_TEST(write_file_syncs_before_it_renames)
{
    assert_int_equal(write_in_steps(0, 0), 0);
    assert_string_equal(steps, "wscr");
}

DISK_TEST(write_file_that_fails_leaves_things_as_they_were)
{
    static const struct {
        char step;
        const char *word;
    } all[] = {{'w', "write"}, {'s', "fsync"}, {'c', "close"}, {'r', "rename"}};
    disk_file("there", 10);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(write_in_steps(all[i].step, ENOSPC), -ENOSPC);
        said(all[i].word, disk("there"), "No space left on device");
        assert_int_equal(disk_names(), 1);
        file_is("there", 10);
    }
    assert_int_equal(coil_write_file(disk("absent/there"), "x", 1, 0600), -ENOENT);
    assert_int_equal(coil_write_file("", "x", 1, 0600), -ENOENT);
    assert_int_equal(disk_names(), 1);
}

static _Atomic int taken;

static int openat_finds_it_taken(int dir, const char *path, int flags, mode_t mode)
{
    return (flags & O_EXCL) && ++taken <= 3 ? -EEXIST
                                            : coil__sys_real.openat(dir, path, flags, mode);
}

DISK_TEST(write_file_takes_a_name_that_is_free)
{
    taken = 0;
    coil__sys.openat = openat_finds_it_taken;
    assert_int_equal(coil_write_file(disk("there"), "x", 1, 0600), 0);
    assert_int_equal(taken, 4);
    taken = -1000;
    assert_int_equal(coil_write_file(disk("there"), "x", 1, 0600), -EEXIST);
    coil__sys = coil__sys_real;
}

static coil_ret whole_write(void *arg)
{
    coil_ret *got = arg;
    *got = coil_write_file(disk("there"), big, BIG, 0600);
    return coil_sleep(0) == 0 ? 1 : 2;
}

static ssize_t write_waits(int fd, const void *p, size_t n)
{
    if (n != 8)
        at_gate();
    return coil__sys_real.write(fd, p, n);
}

static int fsync_waits(int fd)
{
    at_gate();
    return coil__sys_real.fsync(fd);
}

static int rename_waits(int dir, const char *path, int to_dir, const char *to)
{
    at_gate();
    return coil__sys_real.renameat(dir, path, to_dir, to);
}

static coil_ret cancel_at_the_gate(coil_ret *got)
{
    coil_task *task = coil_create_task(whole_write, got);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    coil_task_cancel(task, NULL);
    gate_open(&disk_gate);
    return coil_join(task);
}

DISK_TEST(write_file_cancelled_leaves_things_as_they_were)
{
    coil_ret got = 0;
    disk_file("there", 10);
    disk_hold(1);
    coil__sys.write = write_waits;
    assert_int_equal(cancel_at_the_gate(&got), 1);
    assert_int_equal(got, -ECANCELED);
    coil__sys = coil__sys_real;
    disk_hold(0);
    coil__sys.fsync = fsync_waits;
    assert_int_equal(cancel_at_the_gate(&got), 1);
    assert_int_equal(got, -ECANCELED);
    coil__sys = coil__sys_real;
    file_is("there", 10);
    assert_int_equal(disk_names(), 1);
}

DISK_TEST(write_file_cancelled_too_late_is_done)
{
    coil_ret got = 0;
    for (size_t i = 0; i < BIG; i++)
        big[i] = disk_byte(i);
    disk_hold(0);
    coil__sys.renameat = rename_waits;
    assert_int_equal(cancel_at_the_gate(&got), 2);
    assert_int_equal(got, 0);
    coil__sys = coil__sys_real;
    file_is("there", BIG);
}

/* ---- memory ---- */

static coil_ret use_whole(void *arg)
{
    char *data;
    coil_ret rc = coil_write_file(disk("there"), "hello", 5, 0600);
    if (rc == 0)
        rc = coil_read_file(disk("there"), 100, &data);
    if (rc >= 0)
        coil_file_data_free(data);
    if (rc >= 0)
        rc = coil_read_file("/proc/self/smaps", 0, &data); /* grows */
    if (rc >= 0)
        coil_file_data_free(data);
    return rc;
}

static void run_whole(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    coil_ret rc = coil_run_with(use_whole, NULL, &opts);
    if (rc <= 4096 && rc != -ENOMEM && rc != -EAGAIN)
        fail_msg("%s", coil_errname(rc));
}

COIL_TEST_PLAIN(whole_files_survive_each_failing_allocation)
{
    disk_make();
    (void)sweep_allocations(run_whole, NULL);
    assert_in_range(disk_names(), 0, 1);
    disk_remove();
}

COIL_TEST_MAIN()
