/* SPDX-License-Identifier: MIT
 *
 * files.c: a day with files: one conversation of everything, whose system calls fail one after the other and which
 * is cancelled at each turn; storms; files beside timers, sockets and jobs. */
#include "../unit/file/disk.h"

#include "base/random.h"

#include <coil/combine.h>
#include <coil/timeout.h>

/* ---- the conversation ---- */

enum { SIZE = 70000 };

struct talk {
    char *p; /* SIZE bytes, the kernel's as long as a call is under way */
    size_t names;
};

static coil_ret write_and_read(coil_file *file, struct talk *talk)
{
    struct stat st;
    int64_t at;
    for (size_t i = 0; i < SIZE; i++)
        talk->p[i] = disk_byte(i);
    coil_ret rc = coil_file_write(file, talk->p, SIZE, NULL);
    if (rc == 0)
        rc = coil_file_pwrite(file, "tail", 4, SIZE, NULL);
    if (rc == 0)
        rc = coil_file_fdatasync(file);
    if (rc == 0)
        rc = coil_file_seek(file, -4, SEEK_END, &at);
    if (rc == 0 && at != SIZE)
        rc = COIL_EUSER;
    if (rc == 0)
        rc = coil_file_read(file, talk->p, 4);
    if (rc == 4)
        rc = coil_file_truncate(file, SIZE);
    if (rc == 0)
        rc = coil_file_stat(file, &st);
    if (rc == 0 && st.st_size != SIZE)
        rc = COIL_EUSER;
    if (rc == 0)
        rc = coil_file_pread(file, talk->p, SIZE, 0);
    if (rc == SIZE && !disk_bytes_are(talk->p, SIZE, 0))
        rc = COIL_EUSER;
    return rc < 0 ? rc : rc == SIZE ? coil_file_fsync(file) : 1; /* 1: cut short by a cancel */
}

static coil_ret list_names(struct talk *talk)
{
    coil_dir *dir;
    coil_dirent entry;
    coil_ret rc = coil_dir_open(disk_dir, &dir);
    if (rc < 0)
        return rc;
    while ((rc = coil_dir_next(dir, &entry)) == 1)
        talk->names++;
    coil_dir_close(dir);
    return rc;
}

static coil_ret replace_and_read(struct talk *talk)
{
    char *data;
    coil_ret rc = coil_write_file(disk("whole"), talk->p, SIZE, 0600);
    if (rc == 0)
        rc = coil_read_file(disk("whole"), SIZE, &data);
    if (rc < 0)
        return rc;
    rc = rc == SIZE && memcmp(data, talk->p, SIZE) == 0 ? 0 : COIL_EUSER;
    coil_file_data_free(data);
    return rc;
}

static coil_ret converse(void *arg)
{
    struct talk *talk = arg;
    struct stat st;
    coil_file *file;
    coil_ret rc = coil_mkdir(disk("folder"), 0700);
    if (rc == 0)
        rc = coil_file_open(disk("folder/a"), O_RDWR | O_CREAT | O_TRUNC, 0600, &file);
    if (rc < 0)
        return rc;
    rc = write_and_read(file, talk);
    if (rc == 0) {
        rc = coil_file_close(file);
    } else {
        coil_file_unref(file);
        return rc;
    }
    if (rc == 0)
        rc = coil_rename(disk("folder/a"), disk("b"));
    if (rc == 0)
        rc = coil_stat(disk("b"), &st);
    if (rc == 0)
        rc = coil_unlink(disk("b"));
    if (rc == 0)
        rc = coil_rmdir(disk("folder"));
    if (rc == 0)
        rc = replace_and_read(talk);
    return rc < 0 ? rc : list_names(talk);
}

static void clean_up(void)
{
    (void)unlink(disk("folder/a"));
    (void)rmdir(disk("folder"));
    (void)unlink(disk("b"));
    (void)unlink(disk("whole"));
    assert_int_equal(disk_names(), 0);
}

/* ---- a kernel that fails once ---- */

static struct {
    _Atomic long calls;
    long fails_at;
    int error;
    _Atomic bool failed;
} kernel;

static bool must_fail(void)
{
    if (++kernel.calls != kernel.fails_at)
        return false;
    kernel.failed = true;
    return true;
}

#define FAILING(type, name, params, args)                              \
    static type failing_##name params                                  \
    {                                                                  \
        return must_fail() ? -kernel.error : coil__sys_real.name args; \
    }
FAILING(int, openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))
FAILING(int, statx, (int dir, const char *path, int flags, unsigned mask, struct statx *sx),
        (dir, path, flags, mask, sx))
FAILING(int, fcntl, (int fd, int cmd, intptr_t arg), (fd, cmd, arg))
FAILING(ssize_t, preadv2, (int fd, const struct iovec *v, int n, off_t at, int flags),
        (fd, v, n, at, flags))
FAILING(ssize_t, pwritev2, (int fd, const struct iovec *v, int n, off_t at, int flags),
        (fd, v, n, at, flags))
FAILING(int, fsync, (int fd), (fd))
FAILING(int, fdatasync, (int fd), (fd))
FAILING(int, ftruncate, (int fd, off_t n), (fd, n))
FAILING(off_t, lseek, (int fd, off_t at, int whence), (fd, at, whence))
FAILING(int, fstat, (int fd, struct stat *st), (fd, st))
FAILING(int, fstatat, (int dir, const char *path, struct stat *st, int flags),
        (dir, path, st, flags))
FAILING(ssize_t, getdents64, (int fd, void *p, size_t n), (fd, p, n))
FAILING(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode))
FAILING(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
FAILING(int, renameat, (int dir, const char *path, int to_dir, const char *to),
        (dir, path, to_dir, to))

/* The number is free whatever it says. */
static int failing_close(int fd)
{
    int rc = coil__sys_real.close(fd);
    return must_fail() ? -kernel.error : rc;
}

/* Those of eight bytes are the loop's own. */
static ssize_t failing_read(int fd, void *p, size_t n)
{
    return n != 8 && must_fail() ? -kernel.error : coil__sys_real.read(fd, p, n);
}

static ssize_t failing_write(int fd, const void *p, size_t n)
{
    return n != 8 && must_fail() ? -kernel.error : coil__sys_real.write(fd, p, n);
}

static void arm(long n, int error)
{
    kernel.calls = 0;
    kernel.fails_at = n;
    kernel.error = error;
    kernel.failed = false;
    coil__sys.openat = failing_openat;
    coil__sys.statx = failing_statx;
    coil__sys.fcntl = failing_fcntl;
    coil__sys.preadv2 = failing_preadv2;
    coil__sys.pwritev2 = failing_pwritev2;
    coil__sys.fsync = failing_fsync;
    coil__sys.fdatasync = failing_fdatasync;
    coil__sys.ftruncate = failing_ftruncate;
    coil__sys.lseek = failing_lseek;
    coil__sys.fstat = failing_fstat;
    coil__sys.fstatat = failing_fstatat;
    coil__sys.getdents64 = failing_getdents64;
    coil__sys.mkdirat = failing_mkdirat;
    coil__sys.unlinkat = failing_unlinkat;
    coil__sys.renameat = failing_renameat;
    coil__sys.close = failing_close;
    coil__sys.read = failing_read;
    coil__sys.write = failing_write;
}

static bool by_ops; /* the loop's backend is to do what it can */

static coil_ret converse_this_way(void *arg)
{
    if (by_ops)
        use_ops();
    else
        use_threads();
    return converse(arg);
}

static coil_ret run_talk(void)
{
    static char bytes[SIZE];
    struct talk talk = {.p = bytes};
    coil_run_opts opts = {.size = sizeof opts, .no_signals = true, .virtual_time = true};
    coil_ret rc = coil_run_with(converse_this_way, &talk, &opts);
    if (rc == 0)
        assert_int_equal(talk.names, 1);
    return rc;
}

static int open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void with_error(int error)
{
    int64_t live = coil__mem_live();
    int fds = open_fds();
    for (long n = 1;; n++) {
        arm(n, error);
        coil_ret rc = run_talk();
        coil__sys = coil__sys_real;
        if (coil__mem_live() != live)
            fail_msg("%s from call %ld: %ld blocks are not given back", coil_errname(-error), n,
                     (long)(coil__mem_live() - live));
        if (open_fds() != fds)
            fail_msg("%s from call %ld: %d descriptors are open", coil_errname(-error), n,
                     open_fds() - fds);
        if (rc == 1 || rc == COIL_EUSER)
            fail_msg("%s from call %ld: wrong contents", coil_errname(-error), n);
        if (rc < 0 && rc != -error)
            fail_msg("%s from call %ld: became %s", coil_errname(-error), n, coil_errname(rc));
        clean_up();
        if (!kernel.failed) {
            assert_int_equal(rc, 0);
            assert_true(n > 20);
            return;
        }
    }
}

COIL_TEST_PLAIN(each_system_call_fails_once)
{
    static const int errors[] = {EINTR,  EIO,   ENOSPC, EDQUOT, EMFILE,    ENFILE,    ENOMEM,
                                 EACCES, EROFS, EPERM,  ESTALE, ETIMEDOUT, EOPNOTSUPP};
    disk_make();
    for (int way = 0; way < 2; way++) {
        by_ops = way == 1;
        for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
            if (!(by_ops &&
                  errors[i] == EINTR)) /* a backend tries again, that of the test does not */
                with_error(errors[i]);
    }
    disk_remove();
}

/* ---- cancelled at each turn ---- */

/* The bytes belong to the task as long as it runs, and to nobody afterwards. */
static void cancel_at_turn(int turn, int *ended_before)
{
    char *bytes = malloc(SIZE);
    assert_non_null(bytes);
    struct talk talk = {.p = bytes};
    coil_task *task = coil_create_task(converse, &talk);
    int i = 0;
    for (; i < turn && !coil_future_done(task); i++)
        assert_int_equal(coil_sleep(0), 0);
    *ended_before += coil_future_done(task);
    coil_task_cancel(task, NULL);
    coil_ret rc = coil_join(task);
    assert_true(rc == 0 || rc == -ECANCELED);
    memset(bytes, 'n', SIZE);
    for (i = 0; i < 3; i++)
        assert_int_equal(coil_sleep(0), 0);
    for (i = 0; i < SIZE; i++)
        assert_int_equal(bytes[i], 'n');
    free(bytes);
    clean_up();
}

DISK_TEST(cancelled_at_any_turn_nothing_is_lost)
{
    int ended = 0;
    for (int turn = 0; ended < 3; turn = turn < 40 ? turn + 1 : turn * 9 / 8)
        cancel_at_turn(turn, &ended);
    assert_int_equal(ended, 3);
    assert_int_equal(stats().jobs, 0);
}

/* ---- a storm ---- */

enum { STORM_TASKS = 12, STORM_ROUNDS = 30 };

struct sailor {
    int number;
    int good, cancelled;
};

/* Four share a file; each has a place in it, where nobody else's letter may appear. */
static coil_ret sail(void *arg)
{
    struct sailor *s = arg;
    char name[16], path[512], piece[3000], back[3000];
    snprintf(name, sizeof name, "sea-%d", s->number % 3);
    snprintf(path, sizeof path, "%s", disk(name)); /* disk's own are soon another task's */
    for (int i = 0; i < STORM_ROUNDS; i++) {
        coil_file *file;
        coil_ret rc = coil_file_open(path, O_RDWR | O_CREAT, 0600, &file);
        if (rc == 0) {
            memset(piece, 'a' + s->number, sizeof piece);
            rc = coil_file_pwrite(file, piece, sizeof piece, s->number * 4000, NULL);
            if (rc == 0)
                rc = coil_file_pread(file, back, sizeof back, s->number * 4000);
            if (rc > 0)
                for (coil_ret j = 0; j < rc; j++)
                    assert_int_equal(back[j], piece[j]);
            if (i % 2)
                coil_file_unref(file);
            else
                coil_ignore(coil_file_close(file));
        }
        assert_true(rc >= 0 || rc == -ECANCELED);
        s->good += rc >= 0;
        s->cancelled += rc < 0;
    }
    return 0;
}

DISK_TEST(storm_of_cancels_leaves_nothing_behind)
{
    struct sailor crew[STORM_TASKS];
    coil_task *tasks[STORM_TASKS];
    struct random random = {.state = 7};
    bool over = false;
    for (int i = 0; i < STORM_TASKS; i++) {
        crew[i] = (struct sailor){.number = i};
        tasks[i] = coil_create_task(sail, &crew[i]);
    }
    while (!over) {
        coil_task *task = tasks[random_below(&random, STORM_TASKS)];
        assert_int_equal(coil_sleep(0), 0);
        if (!coil_future_done(task) && random_below(&random, 300) == 0) {
            coil_task_cancel(task, NULL);
            coil_task_uncancel(task);
        }
        over = true;
        for (int i = 0; i < STORM_TASKS; i++)
            over = over && coil_future_done(tasks[i]);
    }
    int good = 0;
    for (int i = 0; i < STORM_TASKS; i++) {
        assert_int_equal(coil_join(tasks[i]), 0);
        assert_int_equal(crew[i].good + crew[i].cancelled, STORM_ROUNDS);
        good += crew[i].good;
    }
    assert_true(good > 0);
    assert_int_equal(stats().jobs, 0);
}

/* ---- beside the rest ---- */

static coil_ret echo_once(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *line;
    coil_ret rc = coil_reader_readline(reader, &line, NULL);
    return rc <= 0 ? rc : coil_writer_write(writer, line, (size_t)rc);
}

static coil_ret ask_the_server(void *arg)
{
    coil_server *server;
    coil_reader *r;
    coil_writer *w;
    char port[8];
    const char *line;
    coil_ret rc = coil_start_server(echo_once, NULL, "127.0.0.1", "0", &server);
    if (rc < 0)
        return rc;
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server) & 0xffff);
    rc = coil_open_connection("127.0.0.1", port, &r, &w);
    if (rc == 0) {
        rc = coil_writer_write(w, "hello\n", 6);
        if (rc == 0)
            rc = coil_reader_readline(r, &line, NULL);
        coil_ignore(coil_writer_finish(w));
    }
    coil_server_close(server);
    coil_ignore(coil_server_wait_closed(server));
    coil_server_free(server);
    return rc;
}

static coil_ret use_a_file(void *arg)
{
    char *data;
    coil_ret rc = coil_write_file(disk("there"), "hello\n", 6, 0600);
    if (rc == 0)
        rc = coil_read_file(disk("there"), 0, &data);
    if (rc >= 0)
        coil_file_data_free(data);
    return rc;
}

static coil_ret sleep_an_hour(void *arg)
{
    return coil_sleep(3600);
}

static coil_ret add_up(void *arg)
{
    return 40 + 2;
}

static coil_ret add_up_elsewhere(void *arg)
{
    return coil_to_thread(add_up, NULL);
}

DISK_TEST(files_timers_sockets_and_jobs_share_one_loop)
{
    coil_future *all[] = {
        coil_create_task(use_a_file, NULL), coil_create_task(ask_the_server, NULL),
        coil_create_task(sleep_an_hour, NULL), coil_create_task(add_up_elsewhere, NULL)};
    static const coil_ret expected[] = {6, 6, 0, 42};
    for (int i = 0; i < 4; i++)
        assert_int_equal(coil_join(all[i]), expected[i]);
}

static coil_ret read_a_byte(void *arg)
{
    char byte;
    return coil_file_pread(arg, &byte, 1, 0);
}

THREAD_TEST(files_that_hang_hold_up_nothing_but_files)
{
    enum { N = COIL_FILE_THREADS + 3 };
    coil_file *file = open_file(disk_file("there", 10), O_RDONLY);
    coil_task *tasks[N];
    disk_hold(0);
    for (int i = 0; i < N; i++)
        tasks[i] = coil_create_task(read_a_byte, file);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, COIL_FILE_THREADS);
    assert_int_equal(coil_to_thread(add_up, NULL), 42);
    assert_int_equal(ask_the_server(NULL), 6);
    coil_addrinfo *list;
    coil_getaddrinfo_opts opts = {.size = sizeof opts, .flags = 0};
    if (coil_getaddrinfo("localhost", "80", &opts, &list) > 0)
        coil_freeaddrinfo(list);
    gate_open(&disk_gate);
    for (int i = 0; i < N; i++)
        assert_int_equal(coil_join(tasks[i]), 1);
    close_file(file);
}

DISK_TEST(jobs_that_hang_hold_up_no_file)
{
    struct gate gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&gate, &held);
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    coil_task *job = coil_create_task(add_up_elsewhere, NULL);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(use_a_file(NULL), 6);
    assert_false(coil_future_done(job));
    end_pool(executor, &gate, held);
    assert_int_equal(coil_join(job), 42);
    executor = coil_thread_pool_executor_new(1, NULL);
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    coil_executor_unref(executor);
}

COIL_TEST_MAIN()
