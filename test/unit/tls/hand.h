/* SPDX-License-Identifier: MIT
 *
 * hand.h: a peer by hand: a layer driven by the test over a plain stream, so that it does what coil never would. */
#ifndef TEST_UNIT_TLS_HAND_H
#define TEST_UNIT_TLS_HAND_H

#include "stage.h"
#include "tls/openssl.h"

struct hand {
    coil_reader *r;
    coil_writer *w;
    coil_tls *tls;
    char in[8192];
};

static inline SSL *ssl_of(const struct hand *h)
{
    return ((struct layer *)(uintptr_t)h->tls)->ssl;
}

static inline void hand_open_to(struct hand *h, const struct stage *s, const char *name)
{
    assert_int_equal(coil_open_connection("127.0.0.1", s->port, &h->r, &h->w), 0);
    assert_int_equal(s->client_tls->cls->open(s->client_tls, name, &h->tls), 0);
}

static inline void hand_open(struct hand *h, const struct stage *s)
{
    hand_open_to(h, s, "localhost");
}

static inline void hand_close(struct hand *h)
{
    h->tls->cls->free(h->tls);
    coil_writer_abort(h->w);
    coil_ignore(coil_writer_finish(h->w));
}

static inline coil_ret hand_flush(struct hand *h)
{
    const void *p;
    size_t n = h->tls->cls->output(h->tls, &p);
    coil_ret rc = n > 0 ? coil_writer_write(h->w, p, n) : 0;
    h->tls->cls->taken(h->tls);
    return rc;
}

/* Bytes of the peer's; 0 at the end. */
static inline coil_ret hand_feed(struct hand *h)
{
    coil_ret n = coil_reader_read(h->r, h->in, sizeof h->in);
    if (n > 0)
        h->tls->cls->feed(h->tls, h->in, (size_t)n);
    return n;
}

static inline coil_ret hand_shake(struct hand *h)
{
    for (;;) {
        coil_ret rc = h->tls->cls->handshake(h->tls);
        coil_ignore(hand_flush(h));
        if (rc != 0)
            return rc;
        rc = hand_feed(h);
        if (rc <= 0)
            return rc < 0 ? rc : COIL_ETLSEOF;
    }
}

static inline coil_ret hand_read(struct hand *h, char *buf, size_t n)
{
    for (;;) {
        coil_ret rc = h->tls->cls->decrypt(h->tls, buf, n);
        coil_ignore(hand_flush(h));
        if (rc != -EAGAIN)
            return rc;
        rc = hand_feed(h);
        if (rc <= 0)
            return rc < 0 ? rc : COIL_ETLSEOF;
    }
}

static inline void hand_say(struct hand *h, const char *text)
{
    assert_int_equal(h->tls->cls->encrypt(h->tls, text, strlen(text)), 0);
    coil_ignore(hand_flush(h));
}

#endif
