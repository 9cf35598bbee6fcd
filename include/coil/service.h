/* SPDX-License-Identifier: MIT
 *
 * coil/service.h: a program as a service: sockets that were opened for it, and telling how it is.
 *
 * This is the protocol of systemd, which others speak too: three variables for the sockets, and lines of text to the
 * socket that NOTIFY_SOCKET names. No library is needed, and without a service manager every call does nothing.
 *
 *     coil_service_fd given;
 *     int n = coil_service_listen_fds(&given, 1);          1, or 0: open a socket of your own
 *     ...
 *     rc = coil_service_notify("READY=1");
 *     int asked = coil_service_watchdog(NULL);
 *
 * with a unit such as
 *
 *     [Service]
 *     Type=notify-reload
 *     ExecStart=/usr/local/bin/httpd 0.0.0.0:8000 /srv
 *     WatchdogSec=20
 *     Restart=on-failure                                                                                    */
#ifndef COIL_SERVICE_H
#define COIL_SERVICE_H

#include <coil/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what was opened for us ---- */

enum { COIL_SERVICE_NAME_MAX = 255 };

typedef struct {
    int fd;                               /* yours: for coil_sock_adopt, or to close */
    char name[COIL_SERVICE_NAME_MAX + 1]; /* FileDescriptorName=; "unknown" if it has none */
} coil_service_fd;

/* The descriptors that the service manager handed over (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES), in its order, and those
 * that an earlier run of the program had it keep (coil_service_store_fds). Returns how many; 0 without any, and if
 * they are another process's. They are made close-on-exec and the variables are removed, so that no child takes them
 * for its own: ask once.
 *
 *   Where:  before other threads read or set the environment.
 *   Errors: -E2BIG if there are more than `capacity`: nothing was taken, ask with more room. -EBADF for one that is
 *           not open, -EINVAL for variables that say nothing sensible; then the variables are removed as well. */
COIL_API int coil_service_listen_fds(coil_service_fd *out, int capacity);

/* ---- telling how we are ---- */

/* Tell the service manager lines of VARIABLE=VALUE, such as "READY=1", "STOPPING=1" or "MAINPID=4711\nREADY=1". Returns 1 if
 * they were sent, 0 if nobody wants to know.
 *
 *   Suspends: only while the manager's queue is full.
 *   Cancel:   returns -ECANCELED; nothing was sent.
 *   Where:    a task. The variable NOTIFY_SOCKET is read at each call.
 *   Errors:   -EINVAL for no text; -EAFNOSUPPORT for a NOTIFY_SOCKET that is neither a path nor an abstract name (vsock);
 *             the kernel's; COIL_ENOTASK when it would have to wait. */
COIL_ASYNC coil_ret coil_service_notify(const char *lines);

/* The same without waiting, from anywhere: -EAGAIN while the manager's queue is full. */
COIL_API int coil_service_notify_nowait(const char *lines);

/* Say in one line what the program does, for who asks (`systemctl status`). Line ends in it become spaces. Never waits;
 * results as of coil_service_notify_nowait. A status that could not be sent is only old. */
COIL_API int coil_service_status(const char *fmt, ...) COIL_PRINTF(1, 2);

/* The program reads its configuration anew (RELOADING=1, with the time that Type=notify-reload asks for); when it has, it says
 * READY=1 again.
 *
 *   Suspends, Cancel, Where, Errors: as coil_service_notify. */
COIL_ASYNC coil_ret coil_service_reloading(void);

/* Let the service manager keep up to 253 descriptors under a name, and hand them to the program's next run
 * (FileDescriptorStoreMax=). It has copies: ours stay open.
 *
 *   Suspends, Cancel, Where: as coil_service_notify.
 *   Errors:   as coil_service_notify; -EINVAL for a name that is empty, longer than 255 bytes, or has anything but
 *             printable ASCII without colons; -E2BIG for more descriptors; -EBADF. */
COIL_ASYNC coil_ret coil_service_store_fds(const char *name, const int *fds, size_t n);

/* It need not keep those of this name any longer.
 *
 *   Suspends, Cancel, Where, Errors: as coil_service_store_fds. */
COIL_ASYNC coil_ret coil_service_forget_fds(const char *name);

/* ---- the watchdog ---- */

/* If the service manager asked for signs of life (WatchdogSec=, by WATCHDOG_USEC and WATCHDOG_PID), give one now and from now on twice
 * as often as it wants them, from a timer of this loop: a loop that hangs gives none. They end with the loop.
 * Returns 1, or 0 if nobody asked. Twice is fine.
 *
 *   Where:  the loop's thread. A deadlock is not reported any more: the timer will always wake the loop.
 *   Errors: -EINVAL for an interval that is none; -ENOMEM, COIL_ENOLOOP, COIL_ECLOSED. */
COIL_API int coil_service_watchdog(coil_loop *loop);

#ifdef __cplusplus
}
#endif
#endif
