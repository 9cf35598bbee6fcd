/* SPDX-License-Identifier: MIT
 *
 * signal.h: who catches a signal, for the floors above.
 *
 * A catcher is told through its loop's inbox, so a signal stands in one queue with what other threads post. It is
 * lent to the handler, which may run in any thread, until coil__signal_let_go has returned. */
#ifndef COIL_LOOP_SIGNAL_H
#define COIL_LOOP_SIGNAL_H

#include "loop/loop.h"

struct catcher {
    struct inbox_node
        node; /* node.fn is told, on the loop's thread, when there is something to take */
    coil_loop *loop;
    int signo;
    _Atomic unsigned came;  /* and nobody took yet; node.fn is called when it leaves 0 */
    unsigned most;          /* further ones are those that wait already */
    _Atomic unsigned total; /* in all, if... */
    unsigned
        lasts; /* ...only so many are caught: what comes then does what it did before; 0: all */
    /* Also called by the handler itself, each time, in whatever thread and in the middle of anything; NULL: nothing is to
     * be done there. */
    void (*at_once)(struct catcher *c);
    bool yields;            /* another catcher may stand before this one */
    struct catcher *behind; /* who catches when this one lets go; NULL: nobody */
};

/* From now on c is told of this signal. 0; -EBUSY, -ENOMEM or what the kernel says, recorded. */
int coil__signal_catch(struct catcher *c);

/* No more. When this returns node.fn has been told of what came before, and the memory is the caller's again. */
void coil__signal_let_go(struct catcher *c);

/* Takes one of those that came; returns how many still wait. */
unsigned coil__signal_take(struct catcher *c);

/* Does the process do with this signal what it does when nobody asked for anything? */
bool coil__signal_is_default(int signo);

/* As if the kernel had delivered it. False if nobody catches it. Any thread. */
bool coil__signal_deliver(int signo);

/* The name in words such as "signal 15 (SIGTERM)", in `text`. */
const char *coil__signal_name(int signo, char text[static 32]);

#endif
