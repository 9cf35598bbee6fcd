/* SPDX-License-Identifier: MIT
 *
 * direct.h: the calls that never block, straight to the kernel; every real backend's `calls` has them. */
#ifndef COIL_IO_DIRECT_H
#define COIL_IO_DIRECT_H

#include "base/check.h"
#include "base/sys.h"
#include "io/backend.h"

int coil__direct_socket(struct backend *b, int domain, int type, int proto);
int coil__direct_socketpair(struct backend *b, int domain, int type, int out_fds[2]);
int coil__direct_pipe(struct backend *b, int out_fds[2]);
int coil__direct_bind(struct backend *b, int fd, const struct sockaddr *a, socklen_t n);
int coil__direct_listen(struct backend *b, int fd, int backlog);
int coil__direct_getsockopt(struct backend *b, int fd, int level, int name, void *v, socklen_t *n);
int coil__direct_setsockopt(struct backend *b, int fd, int level, int name, const void *v,
                            socklen_t n);
int coil__direct_getsockname(struct backend *b, int fd, struct sockaddr *a, socklen_t *n);
int coil__direct_getpeername(struct backend *b, int fd, struct sockaddr *a, socklen_t *n);
int coil__direct_shutdown(struct backend *b, int fd, int how);
int coil__direct_fchmod(struct backend *b, int fd, mode_t mode);
int coil__direct_lstat(struct backend *b, const char *path, struct stat *out);
int coil__direct_chmod(struct backend *b, const char *path, mode_t mode);
int coil__direct_unlink(struct backend *b, const char *path);

/* The fields of a struct io_calls that are these, word for word; those that make descriptors are not. */
#define DIRECT_CALLS                                                                               \
    .bind = coil__direct_bind, .listen = coil__direct_listen,                                      \
    .getsockopt = coil__direct_getsockopt, .setsockopt = coil__direct_setsockopt,                  \
    .getsockname = coil__direct_getsockname, .getpeername = coil__direct_getpeername,              \
    .shutdown = coil__direct_shutdown, .fchmod = coil__direct_fchmod, .lstat = coil__direct_lstat, \
    .chmod = coil__direct_chmod, .unlink = coil__direct_unlink

/* One try of the kernel's side of an op. They are retried over EINTR, never wait, never raise SIGPIPE, and
 * make descriptors that are non-blocking and close-on-exec. -EAGAIN: not ready. */
static inline ssize_t direct_recv(int fd, void *p, size_t n, int flags)
{
    ssize_t rc;
    do
        rc = sys_recv(fd, p, n, flags | MSG_DONTWAIT);
    while (coil_unlikely(rc == -EINTR));
    return rc;
}
static inline ssize_t direct_send(int fd, const void *p, size_t n, int flags)
{
    ssize_t rc;
    do
        rc = sys_send(fd, p, n, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    while (coil_unlikely(rc == -EINTR));
    return rc;
}
ssize_t coil__direct_sendv(int fd, const struct iovec *v, int n);
ssize_t coil__direct_recvmsg(int fd, struct msghdr *hdr, int flags);
ssize_t coil__direct_sendmsg(int fd, const struct msghdr *hdr, int flags);
ssize_t coil__direct_read(int fd, void *p, size_t n);
ssize_t coil__direct_write(int fd, const void *p, size_t n);
/* A file's bytes, from *at on. */
ssize_t coil__direct_sendfile(int fd, int file, off_t *at, size_t n);
/* Connections that died in the backlog are passed over. */
int coil__direct_accept(int fd, struct sockaddr_storage *addr, socklen_t *len);
/* Starts connecting. -EINPROGRESS: coil__direct_connected tells the outcome. */
int coil__direct_connect(int fd, const struct sockaddr_storage *addr, socklen_t len);
/* `broken`: the descriptor polled HUP or ERR. */
int coil__direct_connected(int fd, bool broken);
/* The descriptor is gone whatever comes back. */
int coil__direct_close(int fd);

#endif
