/* SPDX-License-Identifier: MIT
 *
 * coil/select.h: which of these descriptors are ready? Needs no loop, and no other part of coil.
 *
 *     coil_selector *selector = coil_default_selector_new();
 *     coil_selector_register(selector, fd, COIL_EVENT_READ, connection);
 *     coil_selector_ready ready[16];
 *     int n = coil_selector_select(selector, 1.5, ready, 16);
 *     for (int i = 0; i < n; i++)
 *         serve(ready[i].key.data, ready[i].events);
 *     coil_selector_free(selector);
 *
 * Readiness is level: a descriptor is reported as long as it is ready. A selector is one thread's at a time. */
#ifndef COIL_SELECT_H
#define COIL_SELECT_H

#include <coil/error.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { COIL_EVENT_READ = 1u << 0, COIL_EVENT_WRITE = 1u << 1 };

typedef struct coil_selector coil_selector;

/* What was registered. asyncio: selectors.SelectorKey (fileobj and fd are one here) */
typedef struct {
    int fd;
    unsigned events; /* COIL_EVENT_READ, COIL_EVENT_WRITE or both */
    void *data;      /* the caller's */
} coil_selector_key;

/* One line of what select found. */
typedef struct {
    coil_selector_key key;
    unsigned events; /* of those it was registered for */
} coil_selector_ready;

/* The best there is: epoll, else poll. NULL when it cannot be had; the reason is the last error.
 *
 *   Errors: -EMFILE, -ENFILE, -ENOMEM.
 *   asyncio: selectors.DefaultSelector */
COIL_API coil_selector *coil_default_selector_new(void);

/* By epoll(7): takes regular files for an error (-EPERM); costs the same however many wait. Else as above.
 * asyncio: selectors.EpollSelector */
COIL_API coil_selector *coil_epoll_selector_new(void);

/* By poll(2): any descriptor, at a cost for each; holds none of its own. NULL when out of memory.
 * asyncio: selectors.PollSelector */
COIL_API coil_selector *coil_poll_selector_new(void);

/* By select(2): descriptors below FD_SETSIZE (1024) only. NULL when out of memory.
 * asyncio: selectors.SelectSelector */
COIL_API coil_selector *coil_select_selector_new(void);

/* Watch a descriptor.
 *
 *   Owns:   nothing; the descriptor and `data` stay the caller's.
 *   Errors: -EEXIST if it is registered (KeyError); -EINVAL for a negative one, for no or unknown events, and
 *           with select(2) for one it cannot hold (ValueError); -EBADF and -EPERM of epoll, which then
 *           watches nothing new; COIL_ECLOSED; -ENOMEM.
 *   asyncio: BaseSelector.register */
COIL_API int coil_selector_register(coil_selector *selector, int fd, unsigned events, void *data);

/* Watch it no more; what it was is in *out_key, which may be NULL. Fine for one that has been closed meanwhile; but if a
 * copy of that is open, epoll goes on looking at it, and a select that waits while it is ready uses up a processor.
 *
 *   Errors: -ENOENT if it is not registered (KeyError); -EINVAL for a negative one; COIL_ECLOSED.
 *   asyncio: BaseSelector.unregister */
COIL_API int coil_selector_unregister(coil_selector *selector, int fd, coil_selector_key *out_key);

/* Watch it for other events, with other data; with the same events the kernel is not asked.
 *
 *   Errors: as unregister and register. What the kernel refuses (-EBADF, -ENOENT: it was closed) is not
 *           registered any more.
 *   asyncio: BaseSelector.modify */
COIL_API int coil_selector_modify(coil_selector *selector, int fd, unsigned events, void *data);

/* Block this thread until a descriptor is ready or `timeout` seconds have passed (COIL_FOREVER: no limit; 0 and
 * less: do not wait), never less. How many lines of `out` were filled: 0 when the time came first. An error or a
 * hang-up is reported as ready for whatever the descriptor is registered for. If more are ready than `capacity`,
 * the others come first the next time. Signals do not end it.
 *
 *   Where:  any thread, one at a time; in a task it stops the loop: use coil_wait_fd.
 *   Errors: -EINVAL for NaN, for no room; -EBADF of select(2) for one that was closed and not unregistered
 *           (epoll forgets it, poll reports it as ready); COIL_ECLOSED.
 *   asyncio: BaseSelector.select */
COIL_API int coil_selector_select(coil_selector *selector, double timeout, coil_selector_ready *out,
                                  size_t capacity);

/* What a descriptor is registered with.
 *
 *   Errors: -ENOENT (KeyError), -EINVAL, COIL_ECLOSED.
 *   asyncio: BaseSelector.get_key */
COIL_API int coil_selector_get_key(const coil_selector *selector, int fd,
                                   coil_selector_key *out_key);

/* Everything that is registered, in no order: the first `capacity` of it in `out` (NULL with 0). How many there are.
 *
 *   Errors: COIL_ECLOSED.
 *   asyncio: BaseSelector.get_map */
COIL_API coil_ret coil_selector_get_map(const coil_selector *selector, coil_selector_key *out,
                                        size_t capacity);

/* The descriptor of epoll, to be polled by somebody else; not to be closed.
 *
 *   Errors: -EOPNOTSUPP of the other kinds; COIL_ECLOSED.
 *   asyncio: EpollSelector.fileno */
COIL_API int coil_selector_fileno(const coil_selector *selector);

/* Forget everything and give the kernel's part back; what is asked later is refused. Twice is fine.
 * asyncio: BaseSelector.close */
COIL_API void coil_selector_close(coil_selector *selector);

/* Close and free. NULL is fine. */
COIL_API void coil_selector_free(coil_selector *selector);

#ifdef __cplusplus
}
#endif
#endif
