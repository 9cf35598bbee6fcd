/* SPDX-License-Identifier: MIT
 *
 * 14_files.c: files that do not stop the loop.
 *
 * Look at: two tasks write to one log, and each line is whole; what a file cannot do comes with its path
 * in the words. */
#include <coil.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static coil_ret note(void *log)
{
    static const char line[] = "one line, never half of one\n";
    coil_ret rc = 0;
    for (int i = 0; i < 100 && rc == 0; i++)
        rc = coil_file_write(log, line, sizeof line - 1, NULL);
    return rc;
}

static coil_ret keep_a_log(const char *path)
{
    coil_file *log;
    coil_ret rc = coil_file_open(path, O_WRONLY | O_CREAT | O_APPEND, 0600, &log);
    if (rc < 0)
        return rc;
    coil_future *both[] = {coil_create_task(note, log), coil_create_task(note, log)};
    rc = coil_gather(both, 2, NULL, COIL_UNREF);
    if (rc == 0)
        rc = coil_file_fsync(log);
    coil_ret closed = coil_file_close(log); /* may tell what could not be written */
    return rc < 0 ? rc : closed;
}

static coil_ret clear(const char *path)
{
    coil_dir *dir;
    coil_dirent entry;
    coil_ret rc = coil_dir_open(path, &dir);
    if (rc < 0)
        return rc;
    while ((rc = coil_dir_next(dir, &entry)) == 1 && (rc = coil_unlink(entry.name)) == 0)
        printf("%s is gone\n", entry.name);
    coil_dir_close(dir);
    return rc;
}

static coil_ret office(void *unused)
{
    char *text;
    coil_ret rc = keep_a_log("log");
    if (rc == 0)
        rc = coil_read_file("log", 1 << 20, &text);
    if (rc < 0)
        return rc;
    printf("%d bytes, %s", (int)rc, strrchr(text, 'o'));
    rc = coil_write_file("log", text, 28, 0600); /* in one step, for whoever looks */
    coil_file_data_free(text);

    struct stat st;
    if (rc == 0 && (rc = coil_stat("log", &st)) == 0)
        printf("%d bytes\n", (int)st.st_size);
    if (coil_stat("ledger", &st) < 0)
        printf("%s\n", coil_last_error()->message);
    return rc == 0 ? clear(".") : rc;
}

int main(void)
{
    char dir[] = "/tmp/coil-files-XXXXXX";
    if (!mkdtemp(dir) || chdir(dir) < 0)
        return 1;
    coil_ret rc = coil_run(office, NULL);
    rmdir(dir);
    return coil_report(rc);
}
