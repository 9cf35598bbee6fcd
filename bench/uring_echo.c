/* SPDX-License-Identifier: MIT
 *
 * uring_echo.c: the least an echo server can do on io_uring: uring_echo tcp|unix BUFFER
 *
 * One request receives again and again, into a ring of buffers; what came is sent from its buffer, which goes back when
 * that is done; one system call a turn submits, runs the kernel's part and waits (DEFER_TASKRUN). A connection has
 * one message under way at a time, which is what a ping-pong needs: more would want a queue. */
#include "echo.h"

#include <liburing.h>
#include <unistd.h>

enum { BUFFERS = 512, QUEUE = 4096, GROUP = 0 };
enum what { ACCEPT, RECV, SEND };

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *memory;
static unsigned buf_n;

static uint64_t tag(enum what what, int fd, unsigned buffer)
{
    return (uint64_t)what << 56 | (uint64_t)buffer << 32 | (uint32_t)fd;
}

static struct io_uring_sqe *request(uint64_t user_data)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    sqe->user_data = user_data;
    return sqe;
}

static void receive(int fd)
{
    struct io_uring_sqe *sqe = request(0);
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    sqe->user_data = tag(RECV, fd, 0);
}

static void accept_more(int listener)
{
    struct io_uring_sqe *sqe = request(0);
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, 0);
    sqe->user_data = tag(ACCEPT, listener, 0);
}

static void give_back(unsigned buffer)
{
    io_uring_buf_ring_add(buffers, memory + (size_t)buffer * buf_n, buf_n, (unsigned short)buffer,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void received(const struct io_uring_cqe *cqe, int fd)
{
    int more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    if (cqe->res <= 0 && cqe->res != -ENOBUFS) {
        close(fd);
        return;
    }
    if (!more)
        receive(fd);
    if (cqe->res <= 0)
        return;
    unsigned buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    struct io_uring_sqe *sqe = request(0);
    io_uring_prep_send(sqe, fd, memory + (size_t)buffer * buf_n, (size_t)cqe->res, MSG_WAITALL);
    sqe->user_data = tag(SEND, fd, buffer);
}

static void handle(const struct io_uring_cqe *cqe, int is_unix)
{
    static const int one = 1;
    int fd = (int)(uint32_t)cqe->user_data;
    switch ((enum what)(cqe->user_data >> 56)) {
    case ACCEPT:
        if (cqe->res >= 0) {
            if (!is_unix)
                setsockopt(cqe->res, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            receive(cqe->res);
        }
        if (!(cqe->flags & IORING_CQE_F_MORE))
            accept_more(fd);
        break;
    case RECV: received(cqe, fd); break;
    case SEND: give_back(cqe->user_data >> 32 & 0xffff); break;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int is_unix = strcmp(argv[1], "unix") == 0;
    buf_n = (unsigned)atol(argv[2]);
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                                     .cq_entries = 4 * QUEUE};
    if (io_uring_queue_init_params(QUEUE, &ring, &params) < 0)
        return 1;
    void *place;
    if (posix_memalign(&place, 4096, BUFFERS * sizeof(struct io_uring_buf)) != 0)
        return 1;
    buffers = place;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)place, .ring_entries = BUFFERS, .bgid = GROUP};
    if (io_uring_register_buf_ring(&ring, &reg, 0) < 0)
        return 1;
    io_uring_buf_ring_init(buffers);
    memory = malloc((size_t)BUFFERS * buf_n);
    for (unsigned i = 0; i < BUFFERS; i++)
        give_back(i);
    int listener = echo_listen(is_unix);
    accept_more(listener);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;
        if (io_uring_submit_and_wait(&ring, 1) < 0)
            return 1;
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            handle(cqe, is_unix);
            n++;
        }
        io_uring_cq_advance(&ring, n);
    }
}
