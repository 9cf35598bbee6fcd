/* SPDX-License-Identifier: MIT
 *
 * files.c: files and directories under faults. What was written is there whole, or an error was told. */
#include "body.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64], path[128], other[128];

/* A folder of its own, made and cleared away without coil. */
static void play_in_a_folder(coil_ret (*body)(void))
{
    snprintf(folder, sizeof folder, "/tmp/coil-fault-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a", folder);
    snprintf(other, sizeof other, "%s/b", folder);
    coil_ret rc = body();
    (void)unlink(path);
    (void)unlink(other);
    (void)rmdir(other);
    /* A fault may have kept a name of coil's own here. */
    bool gone = rmdir(folder) == 0;
    if (coil__fault_excuses())
        return;
    assert_int_equal(rc, 0);
    assert_true(gone);
}

/* ---- a file, piece by piece ---- */

static coil_ret write_and_read(coil_file *file)
{
    struct stat st;
    char buf[32];
    size_t written;
    int64_t at;
    leave_on_error(coil_file_write(file, "a few words", 11, &written));
    assert_int_equal(written, 11);
    leave_on_error(coil_file_pwrite(file, "A", 1, 0, &written));
    leave_on_error(coil_file_fsync(file));
    leave_on_error(coil_file_fdatasync(file));
    leave_on_error(coil_file_seek(file, 2, SEEK_SET, &at));
    coil_ret n = coil_file_read(file, buf, 3);
    leave_on_error(n);
    if (n == 3)
        assert_memory_equal(buf, "few", 3);
    n = coil_file_pread(file, buf, sizeof buf, 0);
    leave_on_error(n);
    if (n == 11)
        assert_memory_equal(buf, "A few words", 11);
    leave_on_error(coil_file_truncate(file, 5));
    leave_on_error(coil_file_stat(file, &st));
    assert_int_equal(st.st_size, 5);
    return coil_file_tell(file, &at);
}

static coil_ret one_file(void)
{
    coil_file *file;
    leave_on_error(coil_file_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600, &file));
    coil_ret rc = write_and_read(file);
    coil_ret closed = coil_file_close(file);
    if (closed < 0)
        coil_file_unref(file);
    return first_error(rc, closed);
}

COIL_TEST(a_file_under_faults)
{
    play_in_a_folder(one_file);
}

/* ---- whole files: the old one or the new one, and nothing in between ---- */

static coil_ret whole_file(void)
{
    char *data;
    leave_on_error(coil_write_file(path, "old", 3, 0600));
    coil_ret wrote = coil_write_file(path, "new, and longer", 15, 0600);
    coil_ret n = coil_read_file(path, 100, &data);
    leave_on_error(n);
    if (n == 3)
        assert_string_equal(data, "old");
    else
        assert_string_equal(data, "new, and longer");
    if (wrote == 0)
        assert_int_equal(n, 15);
    coil_file_data_free(data);
    return wrote;
}

COIL_TEST(whole_files_under_faults)
{
    play_in_a_folder(whole_file);
}

/* ---- names ---- */

static coil_ret list_folder(int *out_n)
{
    coil_dir *dir;
    coil_dirent entry;
    coil_ret rc;
    *out_n = 0;
    leave_on_error(coil_dir_open(folder, &dir));
    while ((rc = coil_dir_next(dir, &entry)) > 0)
        ++*out_n;
    coil_dir_close(dir);
    return rc;
}

static coil_ret names(void)
{
    struct stat st;
    int n;
    leave_on_error(coil_write_file(path, "x", 1, 0600));
    leave_on_error(coil_rename(path, other));
    leave_on_error(coil_mkdir(path, 0700));
    coil_ret rc = coil_stat(other, &st);
    if (rc == 0) {
        assert_int_equal(st.st_size, 1);
        rc = list_folder(&n);
        if (rc == 0)
            assert_int_equal(n, 2);
    }
    coil_ret removed = coil_rmdir(path);
    if (removed < 0)
        (void)rmdir(path);
    return first_error(first_error(rc, removed), coil_unlink(other));
}

COIL_TEST(names_under_faults)
{
    play_in_a_folder(names);
}

COIL_TEST_MAIN()
