/* SPDX-License-Identifier: MIT
 *
 * given_up_sending_and_kept_reading.c: a connection whose bytes this machine could not send, for want of memory in a
 * thousand turns, was kept open for what its peer might still say. The peer knew nothing of it, waited for the answer, and so
 * did its reader, for ever. (After a broken pipe the peer is gone, and reading comes to an end by itself.) */
#include "../unit/net/wire.h"

#include "io/sim/sim.h"

static ssize_t no_memory_to_send(int fd, const void *p, size_t n, int flags)
{
    (void)fd, (void)p, (void)n, (void)flags;
    return -ENOBUFS;
}

static coil_ret read_one(void *reader)
{
    char byte;
    return coil_reader_read(reader, &byte, 1);
}

COIL_TEST(who_cannot_send_for_want_of_memory_reads_no_more)
{
    coil_reader *r;
    coil_writer *w;
    char byte;
    coil_sock *peer = wire_stream(0, &r, &w);
    coil_task *reader = coil_create_task(read_one, r);
    wire_turns(3);
    coil__sys.send = no_memory_to_send;
    if (wire_is_imaginary())
        coil__sim_set_fault(coil__running_loop->backend, SIM_NO_BUFFER, UINT16_MAX);
    must(coil_writer_write(w, "answer", 6));
    assert_int_equal(coil_join(reader), -ENOBUFS);
    if (wire_is_imaginary())
        coil__sim_set_fault(coil__running_loop->backend, SIM_NO_BUFFER, 0);
    coil__sys.send = coil__sys_real.send;
    /* The peer learns of it; and that the answer is missing, not that there is none. */
    assert_int_equal(coil_sock_recv(peer, &byte, 1), -ECONNRESET);
    coil_ignore(coil_writer_finish(w));
    coil_sock_unref(peer);
}

COIL_TEST_MAIN()
