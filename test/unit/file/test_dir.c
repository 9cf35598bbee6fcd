/* SPDX-License-Identifier: MIT
 *
 * test_dir.c: names and directories. */
#include "disk.h"

/* ---- names ---- */

DISK_TEST(names_are_made_changed_and_taken_away)
{
    struct stat st;
    assert_int_equal(coil_mkdir(disk("folder"), 0700), 0);
    assert_int_equal(coil_stat(disk("folder"), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    disk_file("folder/one", 42);
    assert_int_equal(coil_rename(disk("folder/one"), disk("two")), 0);
    assert_int_equal(coil_stat(disk("two"), &st), 0);
    assert_int_equal(st.st_size, 42);
    assert_int_equal(symlink("two", disk("link")), 0);
    assert_int_equal(coil_stat(disk("link"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(coil_unlink(disk("two")), 0);
    assert_int_equal(coil_stat(disk("link"), &st), -ENOENT);
    assert_int_equal(coil_rmdir(disk("folder")), 0);
    assert_int_equal(coil_stat(disk("folder"), &st), -ENOENT);
}

DISK_TEST(names_that_fail_are_told)
{
    struct stat st = {.st_size = 77};
    disk_file("there", 1);
    assert_int_equal(coil_stat(disk("absent"), &st), -ENOENT);
    assert_int_equal(st.st_size, 77);
    said("stat", disk("absent"), "No such file or directory");
    assert_int_equal(coil_mkdir(disk("there"), 0700), -EEXIST);
    said("mkdir", disk("there"), "File exists");
    assert_int_equal(coil_rmdir(disk("there")), -ENOTDIR);
    said("rmdir", disk("there"), "Not a directory");
    assert_int_equal(coil_unlink(disk("absent")), -ENOENT);
    said("unlink", disk("absent"), "No such file or directory");
    assert_int_equal(coil_rename(disk("absent"), disk("there")), -ENOENT);
    said("rename", disk("absent"), "No such file or directory");
}

static int mkdir_waits(int dir, const char *path, mode_t mode)
{
    at_gate();
    return coil__sys_real.mkdirat(dir, path, mode);
}

struct making {
    const char *path;
    coil_ret got, after;
};

static coil_ret make_then_sleep(void *arg)
{
    struct making *m = arg;
    m->got = coil_mkdir(m->path, 0700);
    m->after = coil_sleep(0);
    return 0;
}

DISK_TEST(names_cancelled_are_done_or_not)
{
    struct making m[COIL_FILE_THREADS + 1];
    coil_task *tasks[COIL_FILE_THREADS + 1];
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    disk_hold(0);
    coil__sys.mkdirat = mkdir_waits;
    for (int i = 0; i <= COIL_FILE_THREADS; i++) {
        m[i] = (struct making){.path = disk(names[i])};
        tasks[i] = coil_create_task(make_then_sleep, &m[i]);
    }
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, COIL_FILE_THREADS);
    for (int i = 0; i <= COIL_FILE_THREADS; i++)
        coil_task_cancel(tasks[i], NULL);
    gate_open(&disk_gate);
    for (int i = 0; i <= COIL_FILE_THREADS; i++) {
        bool last = i == COIL_FILE_THREADS;
        assert_int_equal(coil_join(tasks[i]), 0);
        assert_int_equal(m[i].got, last ? -ECANCELED : 0);
        assert_int_equal(m[i].after, last ? 0 : -ECANCELED);
        assert_int_equal(access(m[i].path, F_OK), last ? -1 : 0);
    }
}

/* ---- directories ---- */

DISK_TEST(directory_tells_a_thousand_names_once_each)
{
    enum { N = 1000 };
    static char seen[N];
    char name[32];
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "entry-%04d", i);
        if (i % 10 == 0)
            assert_int_equal(mkdir(disk(name), 0700), 0);
        else
            close(open(disk(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    coil_dir *dir;
    coil_dirent entry;
    coil_ret rc;
    int n = 0;
    assert_int_equal(coil_dir_open(disk_dir, &dir), 0);
    while ((rc = coil_dir_next(dir, &entry)) == 1) {
        int i = atoi(entry.name + 6);
        assert_memory_equal(entry.name, "entry-", 6);
        assert_in_range(i, 0, N - 1);
        assert_int_equal(seen[i]++, 0);
        if (entry.type != DT_UNKNOWN)
            assert_int_equal(entry.type, i % 10 == 0 ? DT_DIR : DT_REG);
        n++;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(n, N);
    assert_int_equal(coil_dir_next(dir, &entry), 0);
    coil_dir_close(dir);
    coil_dir_close(NULL);
}

DISK_TEST(directory_that_is_empty_has_no_names)
{
    coil_dir *dir;
    coil_dirent entry;
    assert_int_equal(coil_dir_open(disk_dir, &dir), 0);
    assert_int_equal(coil_dir_next(dir, &entry), 0);
    coil_dir_close(dir);
}

DISK_TEST(directory_that_is_none_is_refused)
{
    coil_dir *dir = (coil_dir *)1;
    assert_int_equal(coil_dir_open(disk("absent"), &dir), -ENOENT);
    said("open", disk("absent"), "No such file or directory");
    assert_int_equal(coil_dir_open(disk_file("there", 1), &dir), -ENOTDIR);
    assert_ptr_equal(dir, (coil_dir *)1);
}

static _Atomic int batches;
static int broken_batch;

static ssize_t small_batches(int fd, void *p, size_t n)
{
    return ++batches == broken_batch ? -EIO : coil__sys_real.getdents64(fd, p, n < 100 ? n : 100);
}

DISK_TEST(directory_that_breaks_says_so)
{
    coil_dir *dir;
    coil_dirent entry;
    coil_ret rc;
    int n = 0;
    for (char name[2] = "a"; name[0] < 'k'; name[0]++)
        disk_file(name, 1);
    coil__sys.getdents64 = small_batches;
    batches = 0;
    broken_batch = 1;
    assert_int_equal(coil_dir_open(disk_dir, &dir), -EIO);
    batches = 0;
    broken_batch = 3;
    assert_int_equal(coil_dir_open(disk_dir, &dir), 0);
    while ((rc = coil_dir_next(dir, &entry)) == 1)
        n++;
    assert_int_equal(rc, -EIO);
    said("readdir", disk_dir, coil_strerror(-EIO));
    while ((rc = coil_dir_next(dir, &entry)) == 1)
        n++;
    assert_int_equal(rc, 0);
    assert_int_equal(n, 10); /* what the broken batch would have held comes after it */
    coil_dir_close(dir);
    coil__sys = coil__sys_real;
}

static ssize_t batch_waits(int fd, void *p, size_t n)
{
    at_gate();
    return coil__sys_real.getdents64(fd, p, n < 100 ? n : 100);
}

struct listing {
    coil_dir *dir;
    coil_ret got;
    int n;
};

static coil_ret list_all(void *arg)
{
    struct listing *l = arg;
    coil_dirent entry;
    while ((l->got = coil_dir_next(l->dir, &entry)) == 1)
        l->n++;
    return 0;
}

DISK_TEST(directory_closed_while_somebody_reads_it)
{
    struct listing l = {0};
    coil_dirent entry;
    for (char name[2] = "a"; name[0] < 'k'; name[0]++)
        disk_file(name, 1);
    disk_hold(1);
    coil__sys.getdents64 = batch_waits;
    assert_int_equal(coil_dir_open(disk_dir, &l.dir), 0);
    coil_task *task = coil_create_task(list_all, &l);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    assert_int_equal(coil_dir_next(l.dir, &entry), COIL_ERUNNING);
    coil_dir_close(l.dir);
    gate_open(&disk_gate);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(l.got, -EBADF);
    coil__sys = coil__sys_real;
}

static coil_ret next_with_a_cancel_outstanding(void *arg)
{
    coil_dirent entry;
    coil_task_cancel(coil_current_task(), NULL);
    coil_ret rc;
    int n = 0;
    while ((rc = coil_dir_next(arg, &entry)) == 1)
        n++;
    assert_int_equal(rc, -ECANCELED); /* at the second batch */
    while ((rc = coil_dir_next(arg, &entry)) == 1)
        n++;
    assert_int_equal(rc, 0);
    return n;
}

DISK_TEST(directory_loses_no_name_to_a_cancel)
{
    coil_dir *dir;
    for (char name[2] = "a"; name[0] < 'k'; name[0]++)
        disk_file(name, 1);
    broken_batch = 0;
    coil__sys.getdents64 = small_batches;
    assert_int_equal(coil_dir_open(disk_dir, &dir), 0);
    assert_int_equal(coil_join(coil_create_task(next_with_a_cancel_outstanding, dir)), 10);
    coil_dir_close(dir);
    coil__sys = coil__sys_real;
}

/* ---- memory ---- */

static coil_ret use_dirs(void *arg)
{
    coil_dir *dir;
    coil_dirent entry;
    coil_ret rc = coil_dir_open(disk_dir, &dir);
    if (rc < 0)
        return rc;
    while ((rc = coil_dir_next(dir, &entry)) == 1)
        ;
    coil_dir_close(dir);
    if (rc == 0)
        rc = coil_mkdir(disk("folder"), 0700);
    return rc < 0 ? rc : coil_rmdir(disk("folder"));
}

static void run_dirs(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    coil_ret rc = coil_run_with(use_dirs, NULL, &opts);
    assert_true(rc == 0 || rc == -ENOMEM || rc == -EAGAIN || rc == -EEXIST);
}

static coil_ret ask_foreign(void *arg)
{
    coil_dirent entry;
    assert_int_equal(coil_dir_next(arg, &entry), COIL_EWRONGLOOP);
    return 0;
}

static void run_ask_foreign(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true};
    assert_int_equal(coil_run_with(ask_foreign, arg, &opts), 0);
}

DISK_TEST(directory_of_another_loop_is_refused)
{
    coil_dir *dir;
    coil_dirent entry;
    struct thread thread;
    assert_int_equal(coil_dir_open(disk(""), &dir), 0);
    assert_int_equal(coil__thread_start(&thread, "other", run_ask_foreign, dir), 0);
    coil__thread_join(&thread);
    assert_true(coil_dir_next(dir, &entry) >= 0);
    coil_dir_close(dir);
}

static coil_ret open_root(void *arg)
{
    return coil_dir_open("/", arg);
}

static coil_ret ask_left_over(void *arg)
{
    coil_dirent entry;
    return coil_dir_next(arg, &entry);
}

COIL_TEST_PLAIN(directory_is_closed_with_its_loop)
{
    coil_dir *dir;
    assert_int_equal(coil_run(open_root, &dir), 0);
    assert_int_equal(coil_run(ask_left_over, dir), -EBADF);
    assert_non_null(strstr(coil_last_error()->message, "its loop has closed"));
    coil_dir_close(dir);
}

COIL_TEST_PLAIN(directories_survive_each_failing_allocation)
{
    disk_make();
    (void)sweep_allocations(run_dirs, NULL);
    disk_remove();
}

COIL_TEST_MAIN()
