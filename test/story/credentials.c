/* SPDX-License-Identifier: MIT
 *
 * credentials.c: a program that gives up root has given it up, whatever its loop made before.
 *
 * The kernel judges an operation by whoever asks for it; but io_uring can be told to remember somebody else, a
 * kernel thread that submits would be one, and so would be a thread of ours that kept its own user. So a child of
 * this test opens and connects as root, through a loop that then has its ring and its threads, becomes nobody in
 * the midst of it, and tries the same again. */
#include "test.h"

#include <coil.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leave.h"

#define NOBODY 65534

/* What only root may touch, in a folder that everybody may enter. */
struct secrets {
    char dir[32], file[48], socket[48];
    int listener;
};

static void make_secrets(struct secrets *s)
{
    strcpy(s->dir, "/tmp/coil-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_int_equal(chmod(s->dir, 0755), 0);
    snprintf(s->file, sizeof s->file, "%s/secret", s->dir);
    int fd = open(s->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(s->socket, sizeof s->socket, "%s/socket", s->dir);
    strcpy(at.sun_path, s->socket);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(chmod(s->socket, 0600), 0);
    assert_int_equal(listen(s->listener, 8), 0);
}

static void remove_secrets(struct secrets *s)
{
    close(s->listener);
    unlink(s->file), unlink(s->socket), rmdir(s->dir);
}

/* ---- what is tried, as root and as nobody ---- */

static coil_ret open_file(const struct secrets *s)
{
    coil_file *file;
    coil_ret rc = coil_file_open(s->file, O_RDONLY, 0, &file);
    return rc < 0 ? rc : coil_file_close(file);
}

static coil_ret create_file(const struct secrets *s)
{
    char path[64];
    snprintf(path, sizeof path, "%s/new", s->dir);
    coil_ret rc = coil_write_file(path, "x", 1, 0600);
    return rc < 0 ? rc : coil_unlink(path);
}

static coil_ret connect_socket(const struct secrets *s)
{
    coil_reader *reader;
    coil_writer *writer;
    coil_ret rc = coil_open_unix_connection(s->socket, NULL, &reader, &writer);
    if (rc < 0)
        return rc;
    coil_writer_close(writer);
    coil_reader_unref(reader);
    coil_writer_unref(writer);
    return 0;
}

/* ---- the child ---- */

struct attempt {
    coil_ret (*try)(const struct secrets *s);
    const struct secrets *secrets;
};

static bool become_nobody(void)
{
    return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
           setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

enum { REFUSED = 40, ROOT_WAS_REFUSED, DID_NOT_CHANGE, NOBODY_WAS_LET_IN, FAILED_OTHERWISE };

static coil_ret before_and_after(void *arg)
{
    const struct attempt *a = arg;
    if (a->try(a->secrets) < 0)
        return ROOT_WAS_REFUSED;
    if (!become_nobody())
        return DID_NOT_CHANGE;
    coil_ret rc = a->try(a->secrets);
    return rc == -EACCES ? REFUSED : rc >= 0 ? NOBODY_WAS_LET_IN : FAILED_OTHERWISE;
}

static void is_refused_to_nobody(coil_ret (*try)(const struct secrets *s))
{
    if (geteuid() != 0) {
        print_message("only root can become somebody else\n");
        skip();
    }
    if (UNDER_TSAN) {
        print_message("TSan does not follow a child of fork\n");
        skip();
    }
    struct secrets secrets;
    make_secrets(&secrets);
    pid_t pid = fork();
    if (pid == 0)
        leave_child((int)coil_run(before_and_after, &(struct attempt){try, &secrets}));
    int status = 0;
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    remove_secrets(&secrets);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), REFUSED);
}

COIL_TEST_PLAIN(file_of_root_is_refused_once_root_is_given_up)
{
    is_refused_to_nobody(open_file);
}

COIL_TEST_PLAIN(file_in_a_folder_of_root_is_not_made_once_root_is_given_up)
{
    is_refused_to_nobody(create_file);
}

COIL_TEST_PLAIN(unix_socket_of_root_is_refused_once_root_is_given_up)
{
    const char *backend = getenv("COIL_BACKEND");
    if (backend && strcmp(backend, "sim") == 0) {
        print_message("an imaginary socket belongs to nobody\n");
        skip();
    }
    is_refused_to_nobody(connect_socket);
}

COIL_TEST_MAIN()
