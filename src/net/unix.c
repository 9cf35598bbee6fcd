/* SPDX-License-Identifier: MIT
 *
 * unix.c: connecting and binding to names of this machine: paths and abstract names.
 *
 *     path --is a socket there?--> unlink --> fchmod, bind: the file is born --> chmod --> listen (server.c)
 *                                                                                            |
 *     close: is it still that inode? --> unlink --> close <----------------------------------+
 *
 * The file's permissions decide who may connect, and a bound socket refuses everybody until it listens. So they are
 * final before that, and not even at its birth is the file more open than asked for.
 *
 * Always true: a file is removed only if it is a socket (before binding), or the very inode that was made here.
 *
 * Runs on the loop's thread. Elsewhere: names as addresses (address.c), listening (server.c). */
#include "net/unix.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "base/sys.h"
#include "net/connect.h"
#include "net/socket.h"

#include <string.h>

/* Between two looks at a backlog that is full: nobody tells us when it is not. */
#define RETRY_MIN_S 0.001
#define RETRY_MAX_S 0.064

struct socket_file {
    dev_t device;
    ino_t inode;
    pid_t pid; /* a child of fork must not remove its parent's */
    char path[];
};

/* ---- connecting ---- */

coil_ret coil__unix_connect(const char *path, coil_sock **out)
{
    coil_address to;
    coil_sock *sock;
    int err = coil__can_wait();
    if (err == 0)
        err = coil_address_unix(path, path ? strlen(path) : 0, &to);
    if (err == 0)
        err = coil_sock_new(AF_UNIX, SOCK_STREAM, 0, &sock);
    if (err < 0)
        return err;
    coil_ret rc = coil_sock_connect(sock, &to);
    for (double delay = RETRY_MIN_S; rc == -EAGAIN;) {
        rc = coil_sleep(delay);
        if (rc == 0)
            rc = coil_sock_connect(sock, &to);
        delay = delay < RETRY_MAX_S ? delay * 2 : delay;
    }
    if (rc < 0)
        coil_sock_unref(sock);
    else
        *out = sock;
    return rc;
}

coil_ret coil_open_unix_connection(const char *path, const coil_connect_opts *opts,
                                   coil_reader **out_reader, coil_writer **out_writer)
{
    coil_connect_opts own;
    opts = OPTS_READ(opts, own);
    coil_sock *sock;
    coil_ret rc = coil__tls_check(opts, NULL);
    if (rc == 0)
        rc = coil__unix_connect(path, &sock);
    return rc < 0 ? rc : coil__open_stream(sock, opts, NULL, out_reader, out_writer);
}

/* ---- the file ---- */

/* What it cannot remove is met by bind, whose error says more. */
void coil__unix_remove_stale(struct backend *b, const char *path)
{
    struct stat st;
    if (b->cls->calls.lstat(b, path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)b->cls->calls.unlink(b, path);
}

void coil__socket_file_remove(coil_sock *sock, struct socket_file *file)
{
    struct backend *b = sock_backend(sock);
    struct stat st;
    if (sock->fd >= 0 && file->pid == sys_getpid() &&
        b->cls->calls.lstat(b, file->path, &st) == 0 && st.st_ino == file->inode &&
        st.st_dev == file->device)
        (void)b->cls->calls.unlink(b, file->path);
    coil__free(file);
}

static struct socket_file *file_new(const char *path, const struct stat *st)
{
    size_t n = strlen(path) + 1;
    struct socket_file *file = coil__zalloc(sizeof *file + n);
    if (!file)
        return NULL;
    file->device = st->st_dev;
    file->inode = st->st_ino;
    file->pid = sys_getpid();
    memcpy(file->path, path, n);
    return file;
}

/* It is bound: the file is there. Without permissions to set, one that has gone already is nobody's business. */
static int take_file(struct backend *b, const char *path, const coil_server_opts *opts,
                     struct bound *bound)
{
    struct stat st;
    int err = b->cls->calls.lstat(b, path, &st);
    if (err < 0)
        return opts->unix_mode ? (int)coil__fail_plain(err) : 0;
    bound->file = file_new(path, &st);
    if (!bound->file) {
        (void)b->cls->calls.unlink(b, path); /* nobody will know of it */
        return (int)coil__fail_plain(-ENOMEM);
    }
    /* What the umask took away at birth. */
    if (opts->unix_mode && (st.st_mode & 07777) != opts->unix_mode &&
        (err = b->cls->calls.chmod(b, path, opts->unix_mode)) < 0)
        return (int)coil__fail(err, "permissions %o of unix socket %s: %s", opts->unix_mode, path,
                               coil_strerror(err));
    return 0;
}

/* ---- binding ---- */

static int bind_file(coil_sock *sock, const char *path, const coil_address *at,
                     const coil_server_opts *opts, struct bound *bound)
{
    struct backend *b = sock_backend(sock);
    bool named = *path != '@';
    int err = 0;
    if (named)
        coil__unix_remove_stale(b, path);
    if (named && opts->unix_mode)
        err = b->cls->calls.fchmod(b, sock->fd, opts->unix_mode);
    if (err == 0)
        err = coil_sock_bind(sock, at);
    if (err == -EADDRINUSE)
        return (int)coil__fail(err, "Address %s is already in use", path);
    if (err < 0)
        return (int)coil__fail(err, "error while attempting to bind on address %s: %s", path,
                               coil_strerror(err));
    return named ? take_file(b, path, opts, bound) : 0;
}

int coil__bind_unix(const char *path, const coil_server_opts *opts, struct bound_list *out)
{
    coil_address at;
    int err = coil_address_unix(path, path ? strlen(path) : 0, &at);
    if (err < 0)
        return err;
    if (opts->unix_mode & ~0777u)
        return (int)coil__fail(-EINVAL, "permissions %o of a unix socket", opts->unix_mode);
    struct bound_list list = {.v = coil__zalloc(sizeof *list.v), .n = 1};
    if (!list.v)
        return (int)coil__fail_plain(-ENOMEM);
    err = coil_sock_new(AF_UNIX, SOCK_STREAM, 0, &list.v[0].sock);
    if (err == 0)
        err = bind_file(list.v[0].sock, path, &at, opts, &list.v[0]);
    if (err < 0) {
        coil__bound_free(&list);
        return err;
    }
    if (opts->no_cleanup_socket) {
        coil__free(list.v[0].file);
        list.v[0].file = NULL;
    }
    *out = list;
    return 0;
}
