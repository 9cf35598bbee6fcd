/* SPDX-License-Identifier: MIT
 *
 * reset_is_told_as_an_end.c: a reader and a writer of one stream both waited when the peer reset it. The kernel gave the
 * reset to the receive, and EPIPE to the send; the send's completion was worked off first, and made EPIPE the error
 * of the connection. So the reader was told of EPIPE, and when it asked again, of an end of the stream: as after EPIPE
 * an end has come before the reset. What the reset cut off then looked complete. */
#include "../unit/net/wire.h"

static coil_ret read_one(void *reader)
{
    char byte;
    return coil_reader_read(reader, &byte, 1);
}

static coil_ret write_on(void *writer)
{
    static char piece[65536];
    coil_ret rc;
    while ((rc = coil_writer_write(writer, piece, sizeof piece)) >= 0)
        if ((rc = coil_writer_drain(writer)) < 0)
            break;
    return rc;
}

COIL_TEST(a_reset_is_no_end_whoever_was_told_of_it)
{
    for (int reader_first = 0; reader_first < 2; reader_first++) {
        coil_reader *r;
        coil_writer *w;
        coil_sock *peer = wire_stream(0, &r, &w);
        coil_task *reader = reader_first ? coil_create_task(read_one, r) : NULL;
        coil_task *writer = coil_create_task(write_on, w);
        wire_turns(30);
        if (!reader)
            reader = coil_create_task(read_one, r);
        wire_turns(3);
        wire_reset(peer);
        assert_int_equal(coil_join(reader), -ECONNRESET);
        coil_ret rc = coil_join(writer);
        assert_true(rc == -ECONNRESET ||
                    rc == -EPIPE); /* whatever it was told, if it was told first */
        assert_int_equal(read_one(r), -ECONNRESET);
        assert_false(coil_reader_at_eof(r));
        assert_int_equal(there(coil_reader_exception(r))->code, -ECONNRESET);
        assert_int_equal(coil_writer_finish(w), -ECONNRESET);
    }
}

COIL_TEST_MAIN()
