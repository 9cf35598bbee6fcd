/* SPDX-License-Identifier: MIT
 *
 * lent_buffers_pile_up.c: a writer that lends its buffers to a peer which takes everything at once never had
 * to wait in drain, so that no release ever came and megabytes piled up. */
#include "test.h"

#include <coil.h>

enum { PIECE = 32768, PIECES = 200 };

static char piece[PIECE];

struct lent {
    size_t now, most, released;
};

static void take_back(void *cookie)
{
    struct lent *lent = cookie;
    lent->now -= PIECE;
    lent->released++;
}

static coil_ret swallow(coil_reader *reader, coil_writer *writer, void *arg)
{
    char bin[4096];
    coil_ret n;
    (void)writer, (void)arg;
    while ((n = coil_reader_read(reader, bin, sizeof bin)) > 0)
        ;
    return n;
}

COIL_TEST(lent_buffers_are_bounded_by_the_high_mark)
{
    struct lent lent = {0};
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    char port[8];
    assert_int_equal(coil_start_server(swallow, NULL, "127.0.0.1", "0", &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(coil_open_connection("127.0.0.1", port, &reader, &writer), 0);
    for (int i = 0; i < PIECES; i++) {
        assert_int_equal(coil_writer_write_owned(writer, piece, PIECE, take_back, &lent), 0);
        lent.now += PIECE;
        if (lent.now > lent.most)
            lent.most = lent.now;
        assert_int_equal(coil_writer_drain(writer), 0);
    }
    assert_true(lent.most <= 65536 + PIECE);
    assert_int_equal(coil_writer_finish(writer), 0);
    assert_int_equal(lent.released, PIECES);
    coil_server_close(server);
    assert_int_equal(coil_server_wait_closed(server), 0);
    coil_server_free(server);
}

COIL_TEST_MAIN()
