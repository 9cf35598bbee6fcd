/* SPDX-License-Identifier: MIT
 *
 * coil/file.h: files and directories that do not stop the loop.
 *
 *     coil_file *log;
 *     coil_ret rc = coil_file_open("app.log", O_WRONLY | O_CREAT | O_APPEND, 0644, &log);
 *     if (rc == 0)
 *         rc = coil_file_write(log, line, strlen(line), NULL);
 *     ...
 *     rc = coil_file_close(log);
 *
 * What the kernel has in memory is read on the spot. Everything else is done by the kernel while the task
 * waits, where the loop's backend can ask it to, or by threads: at most COIL_FILE_THREADS a loop, started
 * when first needed, for files alone. Which of the three it was cannot be told from the results.
 *
 * Every call that waits may return COIL_ENOTASK (outside a task), COIL_EEXIT (the task is being unwound),
 * -ENOMEM, and -EAGAIN when not even one thread can be had. The kernel's errors come with a record that names
 * the path: "open '/etc/app': No such file or directory".
 *
 * A cancel takes back what has not begun: -ECANCELED, and nothing was done. What runs in the kernel is
 * waited for, because the kernel uses the caller's memory; its result is returned, and the cancel waits for
 * the next waiting call. Long transfers stop soon: each call says how it tells how far it came. */
#ifndef COIL_FILE_H
#define COIL_FILE_H

#include <coil/task.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { COIL_FILE_THREADS = 4 }; /* how many file operations of a loop run on threads at a time */

/* ---- open files ---- */

/* An open file of one loop. Counted, so that a file may be closed while others hold it: the descriptor
 * goes, their calls say -EBADF, and the memory stays until the last reference. */
typedef struct coil_file coil_file;

/* Open a file. `flags` and `mode` are those of open(2); O_CLOEXEC and O_NOCTTY are added. A fifo or a device
 * is opened without waiting for whoever is at its other end.
 *
 *   Suspends: while the kernel looks the path up.
 *   Cancel:   returns -ECANCELED and nothing was opened; a file that was open first is returned, and the
 *             cancel waits for the next waiting call.
 *   Owns:     one reference, yours: coil_file_close.
 *   Errors:   the kernel's (-ENOENT, -EACCES, -ENAMETOOLONG, ...; -ENXIO for a fifo that nobody reads, opened
 *             to write). */
COIL_ASYNC coil_ret coil_file_open(const char *path, int flags, mode_t mode, coil_file **out_file);

/* Close it and give your reference back, whatever is returned (but for COIL_EWRONGLOOP). Calls that are under way on it
 * come to their end first, those that wait for a fifo return -EBADF, and so does every later call.
 *
 *   Suspends: until the kernel has closed it.
 *   Cancel:   does not stop it; the cancel waits for the next waiting call.
 *   Where:    inside a task of the file's loop. Elsewhere (COIL_ENOTASK, COIL_EEXIT) it does what coil_file_unref
 *             does. NULL is fine.
 *   Errors:   the kernel's: what could not be written earlier (-EIO, -ENOSPC, -EDQUOT). The file is closed all
 *             the same. -EBADF if somebody else closed it before. */
COIL_ASYNC coil_ret coil_file_close(coil_file *file);

/* Share and give back, for clean-up paths: the last one closes it on a thread, where nobody hears of
 * errors. NULL is fine. A loop that closes has closed its files.
 *
 *   Where: the loop's thread; neither waits. */
COIL_API coil_file *coil_file_ref(coil_file *file);
COIL_API void coil_file_unref(coil_file *file);

/* The descriptor, still coil's: for locks, advice and options. -1 once closed. Where: anywhere. */
COIL_API int coil_file_fileno(const coil_file *file);

/* Read n bytes at the file's own position, which moves on. Returns how many: fewer than n at the end of the
 * file, when an error or a cancel came after the first bytes (the next call meets the error again, the
 * cancel waits for it), and of fifos and devices, which give what they have. 0 is the end, or n = 0.
 *
 *   Suspends: if the kernel must fetch them. What it has in memory costs one call and no switch; a reader that
 *             always finds it gives others a turn every so often. Tasks that use the position of one file
 *             take turns, in order of arrival.
 *   Cancel:   returns -ECANCELED and nothing was read; bytes that came first are returned, and the cancel
 *             waits for the next waiting call.
 *   Where:    inside a task of the file's loop.
 *   Errors:   the kernel's (-EIO, -EISDIR, -EBADF if it was opened to write, or is closed). */
COIL_ASYNC coil_ret coil_file_read(coil_file *file, void *buf, size_t n);

/* The same at `offset`; the file's own position neither counts nor moves, and others may do so at the same time.
 *
 *   Cancel: as coil_file_read.
 *   Errors: as coil_file_read; -EINVAL for a negative offset, -ESPIPE for what has no positions. */
COIL_ASYNC coil_ret coil_file_pread(coil_file *file, void *buf, size_t n, int64_t offset);

/* Write all n bytes at the file's own position, which moves on; with O_APPEND at the end. 0, or an error.
 * `out_written` (may be NULL) says how many were written, also after an error or a cancel.
 *
 *   Suspends: until the kernel has them, which is not yet the disk: coil_file_fsync. Two tasks that write to
 *             one file take turns, in order of arrival, each with all its bytes.
 *   Cancel:   returns -ECANCELED; out_written bytes were written.
 *   Where:    inside a task of the file's loop.
 *   Errors:   the kernel's (-ENOSPC, -EDQUOT, -EFBIG, -EIO, -EPIPE; -EBADF if it was opened to read, or is closed). */
COIL_ASYNC coil_ret coil_file_write(coil_file *file, const void *buf, size_t n,
                                    size_t *out_written);

/* The same at `offset`, or at the end with O_APPEND. The file's own position neither counts nor moves, and
 * others may do so at the same time.
 *
 *   Cancel: as coil_file_write.
 *   Errors: as coil_file_write; -EINVAL for a negative offset, -ESPIPE for what has no positions. */
COIL_ASYNC coil_ret coil_file_pwrite(coil_file *file, const void *buf, size_t n, int64_t offset,
                                     size_t *out_written);

/* Move the file's own position: SEEK_SET, SEEK_CUR, SEEK_END and the like, of lseek(2). `out_position` (may be
 * NULL) is where it is then. coil_file_tell only asks. 0, or an error.
 *
 *   Suspends: while others use the position; for anything but SEEK_SET and SEEK_CUR also for the kernel.
 *   Cancel:   returns -ECANCELED and the position is where it was, or it moved and the cancel waits.
 *   Errors:   -EINVAL for a place before the beginning, -ESPIPE for what has no positions, -EBADF once closed. */
COIL_ASYNC coil_ret coil_file_seek(coil_file *file, int64_t offset, int whence,
                                   int64_t *out_position);
COIL_ASYNC coil_ret coil_file_tell(coil_file *file, int64_t *out_position);

/* Wait until everything written to the file is on the disk; fdatasync leaves out what reading it back does not need
 * (times). 0, or an error.
 *
 *   Suspends: until the disk says so.
 *   Cancel:   returns -ECANCELED if it has not begun; one that runs is waited for, and the cancel waits.
 *   Errors:   the kernel's. After one (-EIO, -ENOSPC) the kernel may have dropped what it could not write, and
 *             the next fsync says nothing of it: write it again, or give up.
 *             -EBADF once closed. */
COIL_ASYNC coil_ret coil_file_fsync(coil_file *file);
COIL_ASYNC coil_ret coil_file_fdatasync(coil_file *file);

/* What the kernel knows of an open file, as fstat(2); and make it that long, as ftruncate(2). 0, or an error.
 *
 *   Suspends: on a thread.
 *   Cancel:   returns -ECANCELED if it has not begun; one that runs is waited for, and the cancel waits.
 *   Errors:   the kernel's; -EBADF once closed. */
COIL_ASYNC coil_ret coil_file_stat(coil_file *file, struct stat *out_stat);
COIL_ASYNC coil_ret coil_file_truncate(coil_file *file, int64_t size);

/* ---- whole files ---- */

/* Read a whole file into memory; at most `max` bytes (0: as many as it has). Returns how many. Behind them
 * stands a NUL that is not counted.
 *
 *   Suspends: on a thread, from opening to closing.
 *   Cancel:   returns -ECANCELED, soon, and there are no data.
 *   Owns:     the data are yours: coil_file_data_free.
 *   Errors:   the kernel's; COIL_ELIMIT for a file of more than `max` bytes; -EINVAL for what is not a file with an
 *             end (a fifo, a device: open those); -EISDIR; -ENOMEM. */
COIL_ASYNC coil_ret coil_read_file(const char *path, size_t max, char **out_data);
/* Give the data back. NULL is fine. */
COIL_API void coil_file_data_free(char *data);

/* Make `path` a file of these n bytes, in one step for whoever looks: they are written to a file of another
 * name in the same directory (".coil-" and sixteen digits), which is synced and then renamed. So a reader, and a
 * machine that loses its power, has the old file or the new one, each whole; which of the two is
 * certain only once the directory was synced. It is a new file: with `mode` less the umask, the caller's,
 * and in the place of a symbolic link, not behind it. 0, or an error.
 *
 *   Suspends: on a thread, from opening to renaming.
 *   Cancel:   returns -ECANCELED, soon, and `path` is as it was; once renamed it returns 0, and the cancel waits.
 *   Owns:     nothing; `data` is used until it returns.
 *   Errors:   the kernel's; `path` is as it was, and the other file is gone. */
COIL_ASYNC coil_ret coil_write_file(const char *path, const void *data, size_t n, mode_t mode);

/* ---- names ---- */

/* What the kernel knows of the file behind a path, as stat(2): of what a symbolic link leads to. 0, or an error.
 *
 *   Suspends: on a thread.
 *   Cancel:   returns -ECANCELED if it has not begun; one that runs is waited for, and the cancel waits.
 *   Errors:   the kernel's. */
COIL_ASYNC coil_ret coil_stat(const char *path, struct stat *out_stat);

/* Make a directory, take an empty one away, take a file's name away, give it another name (taking the place of a
 * file that has it), as mkdir(2), rmdir(2), unlink(2), rename(2). 0, or an error.
 *
 *   Suspends: on a thread.
 *   Cancel:   returns -ECANCELED if it has not begun, and nothing was done; one that runs is waited for, and
 *             the cancel waits.
 *   Errors:   the kernel's. */
COIL_ASYNC coil_ret coil_mkdir(const char *path, mode_t mode);
COIL_ASYNC coil_ret coil_rmdir(const char *path);
COIL_ASYNC coil_ret coil_unlink(const char *path);
COIL_ASYNC coil_ret coil_rename(const char *from, const char *to);

/* ---- directories ---- */

typedef struct coil_dir coil_dir;

/* One name in a directory. */
typedef struct {
    const char *name;
    unsigned char
        type; /* DT_REG, DT_DIR, DT_LNK, ... of <dirent.h>; DT_UNKNOWN where the file system does not say */
} coil_dirent;

/* Open a directory to read what is in it.
 *
 *   Suspends: on a thread.
 *   Cancel:   returns -ECANCELED and nothing was opened; a directory that was open first is returned, and the
 *             cancel waits.
 *   Owns:     the directory is yours: coil_dir_close.
 *   Errors:   the kernel's (-ENOENT, -ENOTDIR, -EACCES, ...). */
COIL_ASYNC coil_ret coil_dir_open(const char *path, coil_dir **out_dir);

/* The next name, in no order, "." and ".." left out. Returns 1 with an entry, 0 at the end. What is made or taken away
 * meanwhile may come or not.
 *
 *   Suspends: for each batch of some hundred names, on a thread.
 *   Cancel:   returns -ECANCELED, and no name is lost: the next call has it.
 *   Owns:     the entry is the directory's, good until the next call.
 *   Where:    inside a task of the directory's loop, one at a time.
 *   Errors:   the kernel's; COIL_ERUNNING while another task waits for the next name; -EBADF once the loop
 *             has closed. */
COIL_ASYNC coil_ret coil_dir_next(coil_dir *dir, coil_dirent *out_entry);

/* Close it. While a task waits for the next name that call comes to its end first. NULL is fine.
 *
 *   Where: the loop's thread; does not wait. */
COIL_API void coil_dir_close(coil_dir *dir);

#ifdef __cplusplus
}
#endif
#endif
