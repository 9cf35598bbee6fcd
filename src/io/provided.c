/* SPDX-License-Identifier: MIT
 *
 * provided.c: the stock of buffers that the kernel receives into.
 *
 * The kernel reads a ring of (address, length, number) entries; whoever puts a buffer back writes one at the
 * tail. A buffer's number is its place in `buffers`, and tells its block: block k > 0 holds the numbers from
 * MIN << (k - 1) on.
 *
 * Always true: a buffer is in the kernel's ring, or `here`: held by exactly one watch.
 *
 * Runs on the loop's thread. Elsewhere: who holds which (uring.c). */
#include "io/provided.h"

#if COIL_HAVE_URING

#include "base/check.h"
#include "base/mem.h"
#include "base/memcheck.h"
#include "base/sys.h"

static unsigned block_of(uint32_t id)
{
    return id < PROVIDED_MIN ? 0 : 32 - (unsigned)__builtin_clz(id / PROVIDED_MIN);
}

static uint32_t block_start(unsigned block)
{
    return block == 0 ? 0 : (uint32_t)PROVIDED_MIN << (block - 1);
}

char *coil__provided_memory(const struct provided *p, uint16_t id)
{
    unsigned block = block_of(id);
    return p->blocks[block] + (size_t)(id - block_start(block)) * PROVIDED_STRIDE;
}

static void offer(struct provided *p, uint16_t id)
{
    struct io_uring_buf *entry = &p->ring->bufs[p->tail & (PROVIDED_MAX - 1)];
    entry->addr = (uint64_t)(uintptr_t)coil__provided_memory(p, id);
    entry->len = PROVIDED_SIZE;
    entry->bid = id;
    p->tail++;
    __atomic_store_n(&p->ring->tail, p->tail, __ATOMIC_RELEASE);
}

static bool add_block(struct provided *p, uint32_t n)
{
    struct provided_buffer *buffers = coil__realloc(p->buffers, (p->n + n) * sizeof *buffers);
    if (!buffers)
        return false;
    p->buffers = buffers;
    char *block = coil__alloc((size_t)n * PROVIDED_STRIDE);
    if (!block)
        return false;
    p->blocks[block_of(p->n)] = block;
    for (uint32_t i = 0; i < n; i++) {
        p->buffers[p->n].here = false;
        offer(p, (uint16_t)p->n++);
    }
    return true;
}

bool coil__provided_grow(struct provided *p)
{
    COIL_DCHECK(p->ring != NULL); /* who is short of buffers has a ring that takes them */
    return p->n < PROVIDED_MAX && add_block(p, p->n);
}

int coil__provided_attach(struct provided *p, int ring_fd)
{
    void *ring;
    p->ring_n = PROVIDED_MAX * sizeof(struct io_uring_buf);
    int err = sys_mmap(p->ring_n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &ring);
    if (err < 0)
        return err;
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)ring,
                                   .ring_entries = PROVIDED_MAX,
                                   .bgid = PROVIDED_GROUP};
    err = sys_io_uring_register(ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
    if (err < 0) {
        sys_munmap(ring, p->ring_n);
        return err;
    }
    p->ring = ring;
    p->ring_fd = ring_fd;
    p->tail = 0;
    for (uint32_t id = 0; id < p->n; id++)
        if (!p->buffers[id].here)
            offer(p, (uint16_t)id);
    if (p->n > 0 || add_block(p, PROVIDED_MIN))
        return 0;
    coil__provided_detach(p);
    return -ENOMEM;
}

void coil__provided_detach(struct provided *p)
{
    if (!p->ring)
        return;
    struct io_uring_buf_reg reg = {.bgid = PROVIDED_GROUP};
    (void)sys_io_uring_register(p->ring_fd, IORING_UNREGISTER_PBUF_RING, &reg, 1);
    sys_munmap(p->ring, p->ring_n);
    p->ring = NULL;
}

void coil__provided_close(struct provided *p)
{
    coil__provided_detach(p);
    for (unsigned i = 0; i < sizeof p->blocks / sizeof *p->blocks; i++)
        coil__free(p->blocks[i]);
    coil__free(p->buffers);
    *p = (struct provided){.ring_fd = -1};
}

void coil__provided_came(struct provided *p, uint16_t id, uint32_t n)
{
    COIL_CHECK(id < p->n && n <= PROVIDED_SIZE);
    mem_is_defined(coil__provided_memory(p, id), n);
    p->buffers[id] = (struct provided_buffer){.n = (uint16_t)n, .here = true};
}

void coil__provided_back(struct provided *p, uint16_t id)
{
    COIL_DCHECK(p->buffers[id].here);
    p->buffers[id].here = false;
    if (p->ring)
        offer(p, id);
}

#endif
