/* SPDX-License-Identifier: MIT
 *
 * frame.c: frames: made, sent, received and checked; the same on both sides.
 *
 * A frame's size and payload follow from its connection and its number, so that nothing but the right bytes is right.
 * Its CRC is over everything behind it. */
#include "chaos.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

enum { FRAME_MAGIC = 0x6c696f63 };
static const double OUT_S = 3;

/* ---- CRC32C, a byte at a time ---- */

static uint32_t crc32c(uint32_t crc, const void *data, size_t n)
{
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value >> 1 ^ (value & 1 ? 0x82f63b78u : 0);
            table[i] = value;
        }
    const uint8_t *byte = data;
    crc = ~crc;
    while (n-- > 0)
        crc = crc >> 8 ^ table[(crc ^ *byte++) & 255];
    return ~crc;
}

static uint32_t frame_crc(const struct frame *frame)
{
    return crc32c(0, &frame->head.payload_n,
                  sizeof frame->head - sizeof frame->head.crc + frame->head.payload_n);
}

/* ---- making and checking ---- */

size_t frame_make(struct frame *frame, uint64_t id, uint32_t seq, const struct plan *plan)
{
    struct dice dice = {mix(plan->seed, seq)};
    frame->head = (struct frame_header){.id = id, .seq = seq, .magic = FRAME_MAGIC};
    if (seq == 0) {
        frame->head.payload_n = sizeof *plan;
        memcpy(frame->payload, plan, sizeof *plan);
    } else {
        frame->head.payload_n = below(&dice, plan->payload_max + 1);
        for (uint32_t at = 0; at < frame->head.payload_n; at += 8) {
            uint64_t word = roll(&dice);
            memcpy(frame->payload + at, &word, 8);
        }
    }
    frame->head.crc = frame_crc(frame);
    return sizeof frame->head + frame->head.payload_n;
}

uint32_t frame_harm(const struct frame *frame, uint64_t id, uint32_t seq)
{
    return (frame->head.id != id ? HARM_OTHERS : 0) | (frame->head.seq != seq ? HARM_ORDER : 0);
}

/* ---- receiving ---- */

static coil_ret read_once(struct receiver *r, void *to, size_t n)
{
    return r->reader ? coil_reader_read(r->reader, to, n) : coil_loop_sock_recv(NULL, r->fd, to, n);
}

/* Deadlines that often pass: whatever came meanwhile must be there afterwards. */
static coil_ret read_some(struct receiver *r, void *to, size_t n)
{
    if (!r->impatient)
        return read_once(r, to, n);
    for (;;) {
        coil_timeout(deadline, below(&r->dice, 3000) / 1e6);
        coil_ret rc = coil_timeout_exit(&deadline, read_once(r, to, n));
        if (rc != -ETIMEDOUT)
            return rc;
        r->deadlines++;
    }
}

/* Have at least so many bytes of the frame. 1; 0 at the end; an error. */
static coil_ret fill(struct receiver *r, size_t need)
{
    uint8_t *frame = (uint8_t *)&r->frame;
    while (r->have < need) {
        size_t n = need - r->have;
        coil_ret rc;
        if (r->by_pieces || r->impatient || !r->reader) {
            rc = read_some(r, frame + r->have, 1 + below(&r->dice, (uint32_t)n));
        } else {
            size_t got = 0;
            rc = coil_reader_readexactly(r->reader, frame + r->have, n, &got);
            if (rc == COIL_EINCOMPLETE) {
                r->have += got;
                rc = 0;
            }
        }
        if (rc <= 0)
            return rc;
        r->have += (size_t)rc;
    }
    return 1;
}

coil_ret frame_receive(struct receiver *r)
{
    r->have = 0;
    coil_ret rc = fill(r, sizeof r->frame.head);
    if (rc == 1) {
        if (r->frame.head.magic != FRAME_MAGIC || r->frame.head.payload_n > FRAME_PAYLOAD_MAX)
            return COIL_EUSER;
        rc = fill(r, sizeof r->frame.head + r->frame.head.payload_n);
    }
    if (rc == 0 && r->have > 0)
        return COIL_EINCOMPLETE;
    if (rc == 1 && frame_crc(&r->frame) != r->frame.head.crc)
        return COIL_EUSER;
    return rc;
}

/* ---- sending ---- */

coil_ret frame_send(coil_writer *writer, const struct frame *frame)
{
    coil_ret rc = coil_writer_write(writer, frame, sizeof frame->head + frame->head.payload_n);
    return coil_iserr(rc) ? rc : coil_writer_drain(writer);
}

bool all_is_out(coil_writer *writer, enum way way)
{
    double limit = coil_loop_time(NULL) + OUT_S;
    while (coil_loop_time(NULL) < limit && !coil_writer_is_closing(writer)) {
        int queued = 0;
        /* A unix socket's bytes are with the peer at once; what it counts is what the peer has not read. */
        if (way != WAY_UNIX &&
            ioctl(coil_sock_fileno(coil_writer_sock(writer)), SIOCOUTQ, &queued) < 0)
            return false;
        if (queued == 0 && coil_writer_get_write_buffer_size(writer) == 0)
            return true;
        if (coil_iserr(coil_sleep(0.002)))
            return false;
    }
    return false;
}

void reset(coil_writer *writer)
{
    struct linger none = {.l_onoff = 1};
    coil_ignore(
        coil_sock_setsockopt(coil_writer_sock(writer), SOL_SOCKET, SO_LINGER, &none, sizeof none));
    coil_writer_abort(writer);
}
