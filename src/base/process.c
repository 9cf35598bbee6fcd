/* SPDX-License-Identifier: MIT
 *
 * process.c: the number of this process, on a page that the kernel wipes in each child.
 *
 * The handlers of fork() do not run for a bare clone(), so they cannot tell; getpid can, and is a call each time.
 * No locks: a child of a bare clone would find one held for ever. */
#include "base/process.h"

#include "base/sys.h"

#include <sys/mman.h>

/* These stay 0. */
static _Atomic unsigned untried; /* nobody has asked for such a page yet */
static _Atomic unsigned refused; /* there is none: everybody asks the kernel */

_Atomic(_Atomic unsigned *) coil__process_mark = &untried;
static _Atomic unsigned last; /* of this process or a parent: a child has a copy of its own */

static _Atomic unsigned *ask_for_page(void)
{
    void *page;
    if (sys_mmap(sizeof untried, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &page) < 0)
        return &refused;
    /* Emulators that know nothing of it say yes to any advice. */
    if (sys_madvise(page, sizeof untried, MADV_WIPEONFORK) == 0 &&
        sys_madvise(page, sizeof untried, -1) < 0)
        return page;
    sys_munmap(page, sizeof untried);
    return &refused;
}

/* The first answer holds for everybody. */
static _Atomic unsigned *make_mark(void)
{
    _Atomic unsigned *mine = ask_for_page(), *first = &untried;
    if (atomic_compare_exchange_strong(&coil__process_mark, &first, mine))
        return mine;
    if (mine != &refused)
        sys_munmap(mine, sizeof *mine);
    return first;
}

unsigned coil__process_number_slow(void)
{
    _Atomic unsigned *mark = atomic_load(&coil__process_mark);
    if (mark == &untried)
        mark = make_mark();
    if (mark == &refused)
        return (unsigned)sys_getpid();
    unsigned n = 0, mine = atomic_fetch_add(&last, 1) + 1;
    return atomic_compare_exchange_strong(mark, &n, mine) ? mine : n;
}
