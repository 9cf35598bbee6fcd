/* SPDX-License-Identifier: MIT
 *
 * test_transfer.c: bytes from and to files. */
#include "disk.h"

#include <coil/combine.h>
#include <sys/stat.h>

enum { BIG = (3 << 20) + 17 };

static char big[BIG];

/* ---- contents ---- */

static void round_trip(size_t n)
{
    coil_file *file = open_file(disk("there"), O_RDWR | O_CREAT | O_TRUNC);
    size_t written = 0;
    for (size_t i = 0; i < n; i++)
        big[i] = disk_byte(i);
    assert_int_equal(coil_file_write(file, big, n, &written), 0);
    assert_int_equal(written, n);
    assert_int_equal(coil_file_seek(file, 0, SEEK_SET, NULL), 0);
    memset(big, 0, sizeof big);
    assert_int_equal(coil_file_read(file, big, n), n);
    assert_true(disk_bytes_are(big, n, 0));
    assert_int_equal(coil_file_read(file, big, 10), 0);
    close_file(file);
}

DISK_TEST(transfer_brings_back_what_was_written)
{
    round_trip(1);
    round_trip(65536);
    round_trip(100000);
    round_trip(BIG);
    nothing_in_memory();
    round_trip(BIG);
}

DISK_TEST(transfer_at_offsets_leaves_the_position_alone)
{
    coil_file *file = open_file(disk_file("there", 300000), O_RDWR);
    char buf[100];
    int64_t at = -1;
    assert_int_equal(coil_file_read(file, buf, 50), 50);
    assert_int_equal(coil_file_pread(file, big, 200000, 70001), 200000);
    assert_true(disk_bytes_are(big, 200000, 70001));
    assert_int_equal(coil_file_pwrite(file, "hello", 5, 299998, NULL), 0);
    assert_int_equal(coil_file_tell(file, &at), 0);
    assert_int_equal(at, 50);
    assert_int_equal(coil_file_pread(file, buf, 100, 299997), 6);
    assert_true(disk_bytes_are(buf, 1, 299997));
    assert_memory_equal(buf + 1, "hello", 5);
    assert_int_equal(coil_file_pread(file, buf, 100, 300003), 0);
    close_file(file);
}

DISK_TEST(transfer_of_nothing_is_nothing)
{
    coil_file *file = open_file(disk_file("there", 10), O_RDWR);
    size_t written = 7;
    coil_loop_stats_t before = stats();
    assert_int_equal(coil_file_read(file, NULL, 0), 0);
    assert_int_equal(coil_file_pread(file, NULL, 0, 5), 0);
    assert_int_equal(coil_file_write(file, NULL, 0, &written), 0);
    assert_int_equal(written, 0);
    assert_int_equal(stats().switches, before.switches);
    close_file(file);
}

DISK_TEST(write_with_append_goes_to_the_end)
{
    coil_file *file = open_file(disk_file("log", 10), O_RDWR | O_APPEND);
    char buf[32];
    assert_int_equal(coil_file_write(file, "first", 5, NULL), 0);
    assert_int_equal(coil_file_pwrite(file, "second", 6, 0, NULL), 0);
    assert_int_equal(coil_file_pread(file, buf, sizeof buf, 10), 11);
    assert_memory_equal(buf, "firstsecond", 11);
    close_file(file);
}

DISK_TEST(transfer_refuses_places_that_no_file_has)
{
    coil_file *file = open_file(disk_file("there", 10), O_RDWR);
    char buf[4];
    size_t written = 9;
    assert_int_equal(coil_file_pread(file, buf, 4, -1), -EINVAL);
    assert_int_equal(coil_file_pread(file, buf, 4, -5), -EINVAL);
    assert_int_equal(coil_file_pread(file, buf, 4, INT64_MAX - 1), -EINVAL);
    assert_int_equal(coil_file_read(file, buf, SIZE_MAX), -EINVAL);
    assert_int_equal(coil_file_pwrite(file, buf, 4, -1, &written), -EINVAL);
    assert_int_equal(last_code(), -EINVAL);
    assert_int_equal(written, 0);
    close_file(file);
}

DISK_TEST(transfer_the_wrong_way_is_an_error_that_names_the_file)
{
    char buf[4] = "abc";
    coil_file *file = open_file(disk_file("there", 10), O_WRONLY);
    assert_int_equal(coil_file_read(file, buf, 4), -EBADF);
    said("read", disk("there"), "Bad file descriptor");
    close_file(file);
    file = open_file(disk("there"), O_RDONLY);
    assert_int_equal(coil_file_write(file, buf, 4, NULL), -EBADF);
    close_file(file);
    file = open_file(disk_dir, O_RDONLY);
    assert_int_equal(coil_file_read(file, buf, 4), -EISDIR);
    close_file(file);
}

/* ---- what is in memory ---- */

COIL_TEST(read_in_memory_takes_one_call_no_thread_and_no_switch)
{
    disk_make();
    coil_file *file = open_file(disk_file("there", 1000), O_RDONLY);
    char buf[100];
    /* Only now, so that what opened it, and is about to be idle, is in the numbers. */
    coil_loop_stats_t before = stats();
    unsigned threads = coil__thread_count();
    int64_t tried = coil__mem_tried();
    now_tries = 0;
    coil__sys.preadv2 = preadv2_has_all;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(coil_file_read(file, buf, 100), 100);
        assert_true(disk_bytes_are(buf, 100, i * 100));
    }
    assert_int_equal(coil_file_pread(file, buf, 100, 950), 50);
    assert_int_equal(now_tries, 5 + 2); /* a short one asks whether that was the end */
    assert_int_equal(stats().turns, before.turns);
    assert_int_equal(stats().switches, before.switches);
    assert_int_equal(coil__thread_count(), threads);
    assert_int_equal(coil__mem_tried(), tried);
    close_file(file);
    disk_remove();
}

DISK_TEST(read_of_what_is_not_in_memory_waits_elsewhere)
{
    coil_file *file = open_file(disk_file("there", 1000), O_RDONLY);
    char buf[100];
    nothing_in_memory();
    coil_loop_stats_t before = stats();
    assert_int_equal(coil_file_read(file, buf, 100), 100);
    assert_true(disk_bytes_are(buf, 100, 0));
    assert_int_equal(now_tries, 1);
    assert_true(stats().switches > before.switches);
    close_file(file);
}

static ssize_t preadv2_has_seven(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    struct iovec seven = {v->iov_base, v->iov_len < 7 ? v->iov_len : 7};
    bool now = flags == RWF_NOWAIT;
    if (now && now_tries++ % 3 == 2)
        return -EAGAIN;
    return coil__sys_real.preadv2(fd, now ? &seven : v, n, at, 0);
}

DISK_TEST(read_of_what_is_partly_in_memory_is_whole)
{
    coil_file *file = open_file(disk_file("there", 500), O_RDONLY);
    char buf[400];
    now_tries = 0;
    coil__sys.preadv2 = preadv2_has_seven;
    assert_int_equal(coil_file_read(file, buf, 400), 400);
    assert_true(disk_bytes_are(buf, 400, 0));
    assert_int_equal(coil_file_pread(file, buf, 400, 300), 200);
    assert_true(disk_bytes_are(buf, 200, 300));
    close_file(file);
}

static ssize_t preadv2_has_no_flags(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    now_tries += flags == RWF_NOWAIT;
    return flags ? -EOPNOTSUPP : coil__sys_real.preadv2(fd, v, n, at, 0);
}

DISK_TEST(file_system_that_cannot_say_is_asked_once)
{
    coil_file *file = open_file(disk_file("there", 500), O_RDONLY);
    char buf[100];
    now_tries = 0;
    coil__sys.preadv2 = preadv2_has_no_flags;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(coil_file_read(file, buf, 100), 100);
        assert_true(disk_bytes_are(buf, 100, i * 100));
    }
    assert_int_equal(now_tries, 1);
    close_file(file);
}

static ssize_t preadv2_never_now(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    now_tries += flags != 0;
    return coil__sys_real.preadv2(fd, v, n, at, 0);
}

static ssize_t pwritev2_never_now(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    now_tries += flags != 0;
    return coil__sys_real.pwritev2(fd, v, n, at, 0);
}

DISK_TEST(file_whose_io_waits_for_the_disk_is_never_tried_on_the_spot)
{
    static _Alignas(4096) char page[4096];
    now_tries = 0;
    coil__sys.preadv2 = preadv2_never_now;
    coil__sys.pwritev2 = pwritev2_never_now;
    coil_file *file = open_file(disk("synced"), O_WRONLY | O_CREAT | O_DSYNC);
    assert_int_equal(coil_file_write(file, page, sizeof page, NULL), 0);
    close_file(file);
    coil_ret rc = coil_file_open(disk("synced"), O_RDWR | O_DIRECT, 0, &file);
    if (rc == 0) { /* not every file system has it */
        assert_int_equal(coil_file_read(file, page, sizeof page), sizeof page);
        assert_int_equal(coil_file_pwrite(file, page, sizeof page, 0, NULL), 0);
        close_file(file);
    }
    assert_int_equal(now_tries, 0);
}

static coil_ret count_turns(void *arg)
{
    int *turns = arg;
    while (coil_sleep(0) == 0)
        ++*turns;
    return 0;
}

DISK_TEST(reader_that_always_finds_it_is_no_monopoly)
{
    coil_file *file = open_file(disk_file("there", BIG), O_RDONLY);
    int turns = 0;
    coil_task *other = coil_create_task(count_turns, &turns);
    coil__sys.preadv2 = preadv2_has_all;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(coil_file_pread(file, big, 10, 0), 10);
    assert_in_range(turns, 10, 20);
    turns = 0;
    assert_int_equal(coil_file_pread(file, big, BIG, 0), BIG);
    assert_in_range(turns, 2, 4);
    coil_task_cancel(other, NULL);
    assert_int_equal(coil_join(other), 0);
    close_file(file);
}

static coil_ret read_until_cancelled(void *arg)
{
    coil_ret rc;
    while ((rc = coil_file_pread(arg, big, 10, 0)) == 10)
        ;
    return rc;
}

DISK_TEST(reader_that_always_finds_it_can_be_cancelled)
{
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    coil__sys.preadv2 = preadv2_has_all;
    coil_task *task = coil_create_task(read_until_cancelled, file);
    assert_int_equal(coil_sleep(0), 0);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    close_file(file);
}

/* ---- cancelled ---- */

/* So many readers that the last one must wait for a thread. */
static void fill_threads(coil_file *file, struct reading *r, coil_task **tasks)
{
    static char bufs[COIL_FILE_THREADS][8];
    for (int i = 0; i < COIL_FILE_THREADS; i++) {
        r[i] = (struct reading){.file = file, .p = bufs[i], .n = 8};
        tasks[i] = coil_create_task(read_then_sleep, &r[i]);
    }
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, COIL_FILE_THREADS);
}

static void join_all(coil_task **tasks, int n)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(coil_join(tasks[i]), 0);
}

THREAD_TEST(read_cancelled_while_queued_did_nothing)
{
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    struct reading held[COIL_FILE_THREADS];
    coil_task *tasks[COIL_FILE_THREADS];
    char buf[8] = "before", *at = buf;
    struct reading r = {.file = file, .p = at, .n = 8, .offset = -1};
    disk_hold(0);
    fill_threads(file, held, tasks);
    coil_task *task = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    assert_string_equal(coil_task_waiting_on(task), "read");
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(r.got, -ECANCELED);
    gate_open(&disk_gate);
    join_all(tasks, COIL_FILE_THREADS);
    assert_string_equal(buf, "before");
    int64_t position;
    assert_int_equal(coil_file_tell(file, &position), 0);
    assert_int_equal(position, 0);
    close_file(file);
}

THREAD_TEST(read_cancelled_while_running_keeps_its_frame_and_its_result)
{
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    char buf[8] = "";
    struct reading r = {.file = file, .p = buf, .n = 8, .offset = 10};
    disk_hold(0);
    coil_task *task = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    coil_task_cancel(task, NULL);
    for (int i = 0; i < 5; i++)
        assert_int_equal(coil_sleep(0.001), 0);
    assert_false(coil_future_done(task));
    gate_open(&disk_gate);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(r.got, 8);
    assert_true(disk_bytes_are(buf, 8, 10));
    assert_int_equal(r.after, -ECANCELED);
    close_file(file);
}

THREAD_TEST(read_cancelled_between_two_steps_tells_what_it_has)
{
    coil_file *file = open_file(disk_file("there", BIG), O_RDONLY);
    struct reading r = {.file = file, .p = big, .n = BIG, .offset = 0};
    disk_hold(1);
    memset(big, 0, sizeof big);
    coil_task *task = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    coil_task_cancel(task, NULL);
    gate_open(&disk_gate);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(r.got, 2 << 20);
    assert_true(disk_bytes_are(big, 2 << 20, 0));
    assert_int_equal(big[2 << 20], 0);
    assert_int_equal(r.after, -ECANCELED);
    close_file(file);
}

static coil_ret read_with_a_cancel_outstanding(void *arg)
{
    struct reading *r = arg;
    coil_task_cancel(coil_current_task(), "no more");
    coil_ret rc = coil_file_pread(r->file, r->p, r->n, 0);
    assert_int_equal(rc, -ECANCELED);
    assert_string_equal(coil_last_error()->message, "no more");
    r->over = true;
    return 0;
}

DISK_TEST(read_with_a_cancel_outstanding_starts_nothing)
{
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    char buf[8] = "before";
    struct reading r = {.file = file, .p = buf, .n = 8};
    nothing_in_memory();
    assert_int_equal(coil_join(coil_create_task(read_with_a_cancel_outstanding, &r)), 0);
    assert_true(r.over);
    assert_string_equal(buf, "before");
    close_file(file);
}

THREAD_TEST(write_cancelled_says_how_much_was_written)
{
    coil_file *file = open_file(disk("there"), O_RDWR | O_CREAT);
    for (size_t i = 0; i < BIG; i++)
        big[i] = disk_byte(i);
    struct writing w = {.file = file, .p = big, .n = BIG, .offset = -1};
    disk_hold(1);
    coil_task *task = coil_create_task(write_then_sleep, &w);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    coil_task_cancel(task, NULL);
    gate_open(&disk_gate);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(w.got, -ECANCELED);
    assert_int_equal(w.after, 0);
    assert_int_equal(w.written, 2 << 20);
    struct stat st;
    int64_t position;
    assert_int_equal(coil_file_stat(file, &st), 0);
    assert_int_equal(st.st_size, 2 << 20);
    assert_int_equal(coil_file_tell(file, &position), 0);
    assert_int_equal(position, 2 << 20);
    close_file(file);
}

THREAD_TEST(write_that_was_whole_beats_the_cancel)
{
    coil_file *file = open_file(disk("there"), O_RDWR | O_CREAT);
    struct writing w = {.file = file, .p = "hello", .n = 5};
    disk_hold(0);
    coil_task *task = coil_create_task(write_then_sleep, &w);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    coil_task_cancel(task, NULL);
    gate_open(&disk_gate);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(w.got, 0);
    assert_int_equal(w.written, 5);
    assert_int_equal(w.after, -ECANCELED);
    close_file(file);
}

COIL_TEST(ops_cancelled_end_once_and_keep_what_was_quicker)
{
    disk_make();
    use_ops();
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    char buf[8];
    nothing_in_memory();
    for (int i = 0; i < 8; i++) {
        struct reading r = {.file = file, .p = buf, .n = 8, .offset = -1};
        ops_hold = true;
        ops_refuse = i >= 4;
        strcpy(buf, "before");
        coil_task *task = coil_create_task(read_then_sleep, &r);
        assert_int_equal(coil_sleep(0), 0);
        assert_string_equal(coil_task_waiting_on(task), "read");
        coil_task_cancel(task, NULL);
        ops_let_go();
        assert_int_equal(coil_join(task), 0);
        if (ops_refuse) {
            assert_int_equal(r.got, 8);
            assert_true(disk_bytes_are(buf, 8, (size_t)(i - 4) * 8));
            assert_int_equal(r.after, -ECANCELED);
        } else {
            assert_int_equal(r.got, -ECANCELED);
            assert_string_equal(buf, "before");
            assert_int_equal(r.after, 0);
        }
    }
    close_file(file);
    disk_remove();
}

static int asked_to_end;

static int count_and_cancel(struct backend *b, struct op *op)
{
    asked_to_end += op_is_file(op);
    return ops_cancel(b, op);
}

/* Its frame is the kernel's until the last word, and that is one, however often the task is cancelled meanwhile. */
COIL_TEST(op_whose_task_is_cancelled_twice_is_asked_to_end_once)
{
    disk_make();
    use_ops();
    with_ops.cancel = count_and_cancel;
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    char buf[8];
    for (int i = 0; i < 2; i++) {
        struct reading r = {.file = file, .p = buf, .n = 8, .offset = -1};
        nothing_in_memory();
        asked_to_end = 0;
        ops_hold = true;
        ops_refuse = i == 1;
        ops_seen = 0; /* so that its cancel is answered later */
        coil_task *task = coil_create_task(read_then_sleep, &r);
        assert_int_equal(coil_sleep(0), 0);
        coil_task_cancel(task, NULL);
        coil_task_cancel(task, NULL);
        assert_int_equal(asked_to_end, 1);
        assert_int_equal(coil_join(task), 0);
        assert_int_equal(r.got, ops_refuse ? 8 : -ECANCELED);
        assert_int_equal(r.after, ops_refuse ? -ECANCELED : 0);
    }
    ops_hold = false;
    close_file(file);
    disk_remove();
}

COIL_TEST(ops_of_a_long_read_cancelled_keep_the_first_bytes)
{
    disk_make();
    use_ops();
    coil_file *file = open_file(disk_file("there", BIG), O_RDONLY);
    for (int i = 0; i < 2; i++) {
        struct reading r = {.file = file, .p = big, .n = BIG};
        nothing_in_memory();
        ops_hold = true;
        coil_task *task = coil_create_task(read_then_sleep, &r);
        assert_int_equal(coil_sleep(0), 0);
        ops_let_go();
        ops_hold = true;
        for (int j = 0; j < 5; j++)
            assert_int_equal(coil_sleep(0), 0);
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), 0);
        assert_int_equal(r.got, 1 << 20);
        assert_int_equal(r.after, -ECANCELED);
        ops_hold = false;
        ops_seen++; /* the other answer to the cancel */
    }
    close_file(file);
    disk_remove();
}

/* ---- seen from outside ---- */

static void tells_path(coil_task *task, const char *path)
{
    char text[128];
    const struct wait *wait = as_task(task)->waiting;
    assert_int_equal(wait->cls->describe(wait, text, sizeof text), strlen(path));
    assert_string_equal(text, path);
}

COIL_TEST(task_that_waits_for_a_file_tells_which)
{
    disk_make();
    use_threads();
    coil_file *file = open_file(disk_file("there", 100), O_RDONLY);
    char buf[8];
    struct reading r = {.file = file, .p = buf, .n = 8};
    disk_hold(0);
    coil_task *task = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    tells_path(task, disk("there"));
    gate_open(&disk_gate);
    assert_int_equal(coil_join(task), 0);

    use_ops();
    ops_hold = true;
    task = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    tells_path(task, disk("there"));
    ops_let_go();
    assert_int_equal(coil_join(task), 0);
    close_file(file);
    disk_remove();
}

/* ---- errors ---- */

static _Atomic int calls;
static int fail_at, fail_with;

/* The fail_at-th call that may wait fails; those before are short. */
static ssize_t preadv2_breaks(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    struct iovec some = {v->iov_base, v->iov_len < 100 ? v->iov_len : 100};
    if (flags)
        return -EAGAIN;
    return ++calls == fail_at ? -fail_with : coil__sys_real.preadv2(fd, &some, n, at, 0);
}

static ssize_t pwritev2_breaks(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    struct iovec some = {v->iov_base, v->iov_len < 100 ? v->iov_len : 100};
    if (flags)
        return -EAGAIN;
    return ++calls >= fail_at ? -fail_with : coil__sys_real.pwritev2(fd, &some, n, at, 0);
}

static void break_at(int call, int error)
{
    calls = 0;
    fail_at = call;
    fail_with = error;
    coil__sys.preadv2 = preadv2_breaks;
    coil__sys.pwritev2 = pwritev2_breaks;
}

THREAD_TEST(read_interrupted_by_a_signal_goes_on)
{
    coil_file *file = open_file(disk_file("there", 1000), O_RDONLY);
    char buf[1000];
    for (int i = 1; i < 12; i++) {
        break_at(i, EINTR);
        assert_int_equal(coil_file_pread(file, buf, 1000, 0), 1000);
        assert_true(disk_bytes_are(buf, 1000, 0));
    }
    close_file(file);
}

KERNEL_TEST(read_that_fails_names_the_file)
{
    char buf[10];
    coil_file *file = open_file(disk_file("there", 1000), O_RDONLY);
    break_at(1, EIO);
    assert_int_equal(coil_file_read(file, buf, 10), -EIO);
    said("read", disk("there"), coil_strerror(-EIO));
    assert_int_equal(coil_file_read(file, buf, 10), 10);
    assert_true(disk_bytes_are(buf, 10, 0));
    close_file(file);
}

KERNEL_TEST(read_that_fails_after_the_first_bytes_returns_them)
{
    char buf[1000];
    coil_file *file = open_file(disk_file("there", 1000), O_RDONLY);
    break_at(3, EIO);
    coil_ret rc = coil_file_read(file, buf, 1000);
    /* On a thread the step is tried again at once: this error comes once only. */
    assert_true(rc == 200 || rc == 1000);
    assert_true(disk_bytes_are(buf, (size_t)rc, 0));
    close_file(file);
}

static ssize_t preadv2_is_broken(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    struct iovec some = {v->iov_base, v->iov_len < 100 ? v->iov_len : 100};
    if (flags)
        return -EAGAIN;
    return at >= 200 ? -EIO : coil__sys_real.preadv2(fd, &some, n, at, 0);
}

KERNEL_TEST(read_up_to_a_broken_place_meets_it_the_next_time)
{
    char buf[1000];
    coil_file *file = open_file(disk_file("there", 1000), O_RDONLY);
    coil__sys.preadv2 = preadv2_is_broken;
    assert_int_equal(coil_file_pread(file, buf, 1000, 0), 200);
    assert_int_equal(coil_file_pread(file, buf, 800, 200), -EIO);
    close_file(file);
}

KERNEL_TEST(write_to_a_full_disk_says_how_far_it_came)
{
    coil_file *file = open_file(disk("there"), O_RDWR | O_CREAT);
    size_t written = 0;
    memset(big, 'x', 1000);
    break_at(4, ENOSPC);
    assert_int_equal(coil_file_write(file, big, 1000, &written), -ENOSPC);
    assert_int_equal(written, 300);
    said("write", disk("there"), "No space left on device");
    break_at(1, ENOSPC);
    assert_int_equal(coil_file_pwrite(file, big, 1000, 0, &written), -ENOSPC);
    assert_int_equal(written, 0);
    close_file(file);
}

static ssize_t pwritev2_does_nothing(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    return 0;
}

KERNEL_TEST(write_without_progress_is_an_error)
{
    coil_file *file = open_file(disk("there"), O_RDWR | O_CREAT);
    coil__sys.pwritev2 = pwritev2_does_nothing;
    assert_int_equal(coil_file_write(file, "hello", 5, NULL), -EIO);
    close_file(file);
}

/* ---- several tasks, one file ---- */

struct share {
    coil_file *file;
    size_t piece, got;
    char seen[1000];
};

static coil_ret take_pieces(void *arg)
{
    struct share *share = arg;
    char buf[100];
    coil_ret n;
    while ((n = coil_file_read(share->file, buf, share->piece)) > 0) {
        for (size_t at = 0; at < sizeof share->seen; at += share->piece)
            if (disk_bytes_are(buf, (size_t)n, at))
                share->seen[at]++;
        share->got += (size_t)n;
    }
    return n;
}

DISK_TEST(readers_of_one_file_get_each_piece_once)
{
    struct share share = {.file = open_file(disk_file("there", 1000), O_RDONLY), .piece = 50};
    coil_task *tasks[6];
    for (int way = 0; way < 2; way++) {
        for (int i = 0; i < 6; i++)
            tasks[i] = coil_create_task(take_pieces, &share);
        join_all(tasks, 6);
        assert_int_equal(share.got, 1000);
        for (size_t at = 0; at < 1000; at += 50)
            assert_int_equal(share.seen[at], way + 1);
        share.got = 0;
        assert_int_equal(coil_file_seek(share.file, 0, SEEK_SET, NULL), 0);
        nothing_in_memory();
    }
    close_file(share.file);
}

struct line {
    coil_file *file;
    char letter;
};

static coil_ret write_lines(void *arg)
{
    struct line *line = arg;
    char text[1000];
    memset(text, line->letter, sizeof text);
    for (int i = 0; i < 5; i++) {
        coil_ret rc = coil_file_write(line->file, text, sizeof text, NULL);
        if (rc < 0)
            return rc;
    }
    return 0;
}

KERNEL_TEST(writers_of_one_file_write_whole_pieces)
{
    coil_file *file = open_file(disk("there"), O_RDWR | O_CREAT);
    struct line lines[4];
    coil_task *tasks[4];
    break_at(1 << 30, 0); /* a hundred bytes at a time */
    for (int i = 0; i < 4; i++) {
        lines[i] = (struct line){file, (char)('a' + i)};
        tasks[i] = coil_create_task(write_lines, &lines[i]);
    }
    join_all(tasks, 4);
    coil__sys = coil__sys_real;
    assert_int_equal(coil_file_pread(file, big, BIG, 0), 20000);
    for (int i = 0; i < 20; i++)
        for (int j = 1; j < 1000; j++)
            assert_int_equal(big[i * 1000 + j], big[i * 1000]);
    close_file(file);
}

THREAD_TEST(position_that_is_in_use_does_not_stop_the_loop)
{
    coil_file *file = open_file(disk_file("there", 1000), O_RDONLY);
    char first[10], second[10], third[10];
    struct reading a = {.file = file, .p = first, .n = 10, .offset = -1},
                   b = {.file = file, .p = second, .n = 10, .offset = -1};
    disk_hold(0);
    coil_task *tasks[2] = {coil_create_task(read_then_sleep, &a),
                           coil_create_task(read_then_sleep, &b)};
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&disk_gate, 1);
    assert_int_equal(coil_sleep(0.001), 0);
    coil__sys.preadv2 = preadv2_has_all;
    assert_int_equal(coil_file_pread(file, third, 10, 500), 10); /* needs no position */
    assert_false(a.over || b.over);
    gate_open(&disk_gate);
    join_all(tasks, 2);
    assert_true(disk_bytes_are(first, 10, 0) && disk_bytes_are(second, 10, 10));
    close_file(file);
}

/* ---- fifos and devices ---- */

static coil_file *open_fifo(int *out_other, bool to_read)
{
    assert_int_equal(mkfifo(disk("fifo"), 0600), 0);
    *out_other = open(disk("fifo"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(*out_other >= 0);
    return open_file(disk("fifo"), to_read ? O_RDONLY : O_WRONLY);
}

DISK_TEST(fifo_is_read_when_it_has_something_and_gives_that)
{
    int other;
    char buf[100];
    coil_file *file = open_fifo(&other, true);
    struct reading r = {.file = file, .p = buf, .n = 100, .offset = -1};
    coil_task *task = coil_create_task(read_then_sleep, &r);
    for (int i = 0; i < 3; i++)
        assert_int_equal(coil_sleep(0.001), 0);
    assert_false(r.over);
    assert_string_equal(coil_task_waiting_on(task), "read");
    /* The thread that found nothing comes back, sooner or later; one that waited in the read would not. */
    for (int i = 0; i < 5000 && stats().jobs > 0; i++)
        assert_int_equal(coil_sleep(0.001), 0);
    assert_int_equal(stats().jobs, 0);
    assert_int_equal(write(other, "hello", 5), 5);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(r.got, 5);
    assert_memory_equal(buf, "hello", 5);
    close_file(file);
    close(other);
}

DISK_TEST(fifo_read_can_be_cancelled)
{
    int other;
    char buf[100];
    coil_file *file = open_fifo(&other, true);
    struct reading r = {.file = file, .p = buf, .n = 100, .offset = -1};
    coil_task *task = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(r.got, -ECANCELED);
    assert_int_equal(r.after, 0);
    close_file(file);
    close(other);
}

DISK_TEST(fifo_closed_under_its_reader_says_so)
{
    int other;
    char buf[100];
    coil_file *file = open_fifo(&other, true);
    struct reading r = {.file = file, .p = buf, .n = 100, .offset = -1};
    coil_task *task = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    close_file(file);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(r.got, -EBADF);
    assert_int_equal(r.after, 0);
    close(other);
}

static coil_ret close_it(void *arg)
{
    return coil_file_close(arg);
}

DISK_TEST(fifo_closed_under_its_reader_swallows_no_cancel)
{
    int other;
    char buf[100];
    for (int turns = 0; turns < 4; turns++) {
        coil_file *file = open_fifo(&other, true);
        struct reading r = {.file = file, .p = buf, .n = 100, .offset = -1};
        coil_task *reader = coil_create_task(read_then_sleep, &r);
        for (int i = 0; i < 3; i++)
            assert_int_equal(coil_sleep(0.001), 0);
        coil_task *closer = coil_create_task(close_it, file);
        for (int i = 0; i < turns; i++)
            assert_int_equal(coil_sleep(0), 0);
        bool over = r.over;
        coil_task_cancel(reader, NULL);
        assert_int_equal(coil_join(reader), 0);
        assert_int_equal(coil_join(closer), 0);
        if (r.got == -ECANCELED)
            assert_int_equal(r.after, 0);
        else
            assert_int_equal(r.after, over ? 0 : -ECANCELED);
        assert_true(r.got == -ECANCELED || r.got == -EBADF);
        close(other);
        assert_int_equal(unlink(disk("fifo")), 0);
    }
}

DISK_TEST(fifo_is_written_as_it_has_room)
{
    int other;
    coil_file *file = open_fifo(&other, false);
    struct writing w = {.file = file, .p = big, .n = 200000, .offset = -1};
    char buf[5000];
    size_t got = 0;
    for (size_t i = 0; i < w.n; i++)
        big[i] = disk_byte(i);
    coil_task *task = coil_create_task(write_then_sleep, &w);
    for (int i = 0; i < 100000 && got < w.n; i++) {
        ssize_t n = read(other, buf, sizeof buf);
        if (n > 0) {
            assert_true(disk_bytes_are(buf, (size_t)n, got));
            got += (size_t)n;
        }
        assert_int_equal(coil_sleep(n > 0 ? 0 : 0.0001), 0);
    }
    assert_int_equal(got, w.n);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(w.got, 0);
    assert_int_equal(w.written, w.n);
    close_file(file);
    close(other);
}

DISK_TEST(fifo_is_read_and_written_through_one_file)
{
    char buf[10];
    assert_int_equal(mkfifo(disk("fifo"), 0600), 0);
    coil_file *file = open_file(disk("fifo"), O_RDWR);
    struct reading r = {.file = file, .p = buf, .n = 10, .offset = -1};
    coil_task *task = coil_create_task(read_then_sleep, &r);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_file_write(file, "hello", 5, NULL), 0);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(r.got, 5);
    close_file(file);
}

DISK_TEST(fifo_on_a_kernel_that_cannot_say_is_read_on_threads)
{
    int other;
    char buf[10];
    coil_file *file = open_fifo(&other, true);
    struct reading r = {.file = file, .p = buf, .n = 10, .offset = -1};
    coil__sys.preadv2 = preadv2_has_no_flags;
    coil_task *task = coil_create_task(read_then_sleep, &r);
    for (int i = 0; i < 20; i++)
        assert_int_equal(coil_sleep(0.001), 0);
    assert_false(r.over);
    for (int i = 0; i < 5000 && stats().jobs > 0; i++)
        assert_int_equal(coil_sleep(0.001), 0);
    assert_int_equal(stats().jobs, 0); /* none waits for it */
    assert_int_equal(write(other, "hello", 5), 5);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(r.got, 5);
    close_file(file);
    close(other);
}

DISK_TEST(fifo_that_nobody_reads_breaks_without_a_signal)
{
    int other;
    coil_file *file = open_fifo(&other, false);
    close(other);
    assert_int_equal(coil_file_write(file, "hello", 5, NULL), -EPIPE);
    said("write", disk("fifo"), "Broken pipe");
    close_file(file);
}

DISK_TEST(device_is_read_and_written)
{
    char buf[100] = {1};
    coil_file *file = open_file("/dev/zero", O_RDWR);
    assert_int_equal(coil_file_read(file, buf, 100), 100);
    assert_int_equal(buf[0], 0);
    assert_int_equal(coil_file_write(file, buf, 100, NULL), 0);
    close_file(file);
}

COIL_TEST_MAIN()
