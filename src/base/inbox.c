/* SPDX-License-Identifier: MIT
 *
 * inbox.c: a lock-free stack that posters push to and one thread empties whole.
 *
 * Taking everything at once and never popping single nodes means there is no ABA problem.
 *
 * Who writes a flag and then looks whether the other side has done something writes it by an exchange, here as in mailbox.c. A
 * store in the order of seq_cst would do, and is the same instruction on x86. But QEMU, running a program of aarch64 on x86, lets the
 * load after such a store (stlr, ldar) overtake it, and then both sides sleep. */
#include "base/inbox.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/sys.h"

static struct inbox_node closed_mark;

int coil__inbox_new(struct inbox **out)
{
    void *block;
    struct inbox *inbox = zalloc_lines(sizeof *inbox, &block);
    if (!inbox)
        return -ENOMEM;
    int fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        coil__free(block);
        return fd;
    }
    inbox->block = block;
    inbox->wake_fd = fd;
    atomic_init(&inbox->refs, 1);
    *out = inbox;
    return 0;
}

struct inbox *coil__inbox_ref(struct inbox *inbox)
{
    atomic_fetch_add_explicit(&inbox->refs, 1, memory_order_relaxed);
    return inbox;
}

void coil__inbox_unref(struct inbox *inbox)
{
    if (!inbox || atomic_fetch_sub_explicit(&inbox->refs, 1, memory_order_acq_rel) > 1)
        return;
    sys_close(inbox->wake_fd);
    coil__free(inbox->block);
}

struct inbox_call *coil__inbox_call_new(struct inbox *inbox)
{
    /* Asked by the exchange alone: a look before it would have the line come twice. */
    if (!atomic_exchange_explicit(&inbox->own.taken, true, memory_order_acquire))
        return &inbox->own;
    return coil__alloc(sizeof(struct inbox_call));
}

void coil__inbox_call_free(struct inbox *inbox, struct inbox_call *call)
{
    if (call == &inbox->own)
        atomic_store_explicit(&call->taken, false, memory_order_release);
    else
        coil__free(call);
}

void coil__inbox_ring(struct inbox *inbox)
{
    int saved = errno; /* this may run inside a signal handler */
    uint64_t one = 1;
    ssize_t rc;
    do
        rc = sys_write(inbox->wake_fd, &one, sizeof one);
    while (rc == -EINTR);
    /* EAGAIN means the counter is full, and then the sleeper is awake already. */
    errno = saved;
}

bool coil__inbox_post(struct inbox *inbox, struct inbox_node *node)
{
    struct inbox_node *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    do {
        if (head == &closed_mark) {
            /* Who is refused sees what the loop did before it closed. */
            (void)atomic_load_explicit(&inbox->head, memory_order_acquire);
            return false;
        }
        node->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&inbox->head, &head, node, memory_order_seq_cst,
                                                    memory_order_relaxed));
    /* seq_cst on both sides: either this sees `asleep`, or the sleeper's second look sees the node. */
    if (atomic_load_explicit(&inbox->asleep, memory_order_seq_cst) &&
        atomic_exchange_explicit(&inbox->asleep, false, memory_order_acq_rel))
        coil__inbox_ring(inbox);
    return true;
}

static struct inbox_node *oldest_first(struct inbox_node *newest)
{
    struct inbox_node *done = NULL;
    while (newest) {
        struct inbox_node *next = newest->next;
        newest->next = done;
        done = newest;
        newest = next;
    }
    return done;
}

struct inbox_node *coil__inbox_take(struct inbox *inbox)
{
    if (inbox_empty(inbox))
        return NULL;
    return oldest_first(atomic_exchange_explicit(&inbox->head, NULL, memory_order_acquire));
}

bool coil__inbox_fall_asleep(struct inbox *inbox)
{
    (void)atomic_exchange_explicit(&inbox->asleep, true, memory_order_seq_cst);
    if (atomic_load_explicit(&inbox->head, memory_order_seq_cst) == NULL)
        return true;
    coil__inbox_wake_up(inbox);
    return false;
}

void coil__inbox_wake_up(struct inbox *inbox)
{
    atomic_store_explicit(&inbox->asleep, false, memory_order_relaxed);
}

struct inbox_node *coil__inbox_close(struct inbox *inbox)
{
    struct inbox_node *rest = atomic_exchange_explicit(&inbox->head, &closed_mark,
                                                       memory_order_acq_rel);
    COIL_CHECK(rest != &closed_mark);
    return oldest_first(rest);
}
