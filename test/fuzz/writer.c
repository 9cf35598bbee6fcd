/* SPDX-License-Identifier: MIT
 *
 * writer.c: writes of every kind, drains and the ways to end, to a peer that reads when it likes: it gets what was written,
 * in order, and all of it unless somebody broke off; what was lent comes back once, and not within the call. */
#include "fuzz.h"

#include "io/backend.h"
#include "loop/loop.h"

#include <sys/socket.h>

enum { PIECES = 4, LENT_MAX = 64, BYTES_MAX = 1 << 18 };

static char text[BYTES_MAX]; /* all that is ever written */

struct line {
    struct input in;
    coil_sock *peer;
    coil_reader *reader;
    coil_writer *writer;
    size_t written, received;
    bool eof, closed, broken, in_call; /* broken: not all of it has to arrive */
    bool saw_end;                      /* the peer, and no error */
    size_t lent_n;
    struct loan {
        struct line *all;
        char *data;
        size_t n;
        unsigned released;
    } lent[LENT_MAX];
};

static char *bytes(size_t from, size_t n)
{
    char *data = malloc(n ? n : 1);
    HOLDS(data);
    memcpy(data, text + from, n);
    return data;
}

static size_t size_of_piece(struct line *l)
{
    unsigned byte = next(&l->in);
    size_t n = byte < 128 ? byte : (size_t)(byte - 127) * 512;
    return n < BYTES_MAX - l->written ? n : 0;
}

/* What a write said: taken, or refused for a reason. */
static void was(struct line *l, int rc, size_t n)
{
    HOLDS(rc <= 0);
    if (rc == 0) {
        HOLDS(!l->eof || n == 0);
        l->written += n;
    } else {
        HOLDS(l->eof || l->closed || l->broken);
    }
}

static void write_plain(struct line *l)
{
    size_t n = size_of_piece(l);
    char *data = bytes(l->written, n);
    was(l, coil_writer_write(l->writer, data, n), n);
    memset(data, 0, n);
    free(data);
}

static void write_lines(struct line *l)
{
    struct iovec piece[PIECES];
    size_t pieces = next(&l->in) % (PIECES + 1), n = 0;
    for (size_t i = 0; i < pieces; i++) {
        size_t more = size_of_piece(l) / PIECES;
        piece[i] = (struct iovec){bytes(l->written + n, more), more};
        n += more;
    }
    was(l, coil_writer_writelines(l->writer, piece, pieces), n);
    while (pieces-- > 0) {
        memset(piece[pieces].iov_base, 0, piece[pieces].iov_len);
        free(piece[pieces].iov_base);
    }
}

static void come_back(void *cookie)
{
    struct loan *loan = cookie;
    HOLDS(loan->released++ == 0 && !loan->all->in_call);
    memset(loan->data, 0, loan->n);
    free(loan->data);
}

static void write_lent(struct line *l)
{
    if (l->lent_n == LENT_MAX)
        return;
    struct loan *loan = &l->lent[l->lent_n];
    size_t n = size_of_piece(l);
    *loan = (struct loan){.all = l, .data = bytes(l->written, n), .n = n};
    l->in_call = true;
    int rc = coil_writer_write_owned(l->writer, loan->data, n, come_back, loan);
    l->in_call = false;
    was(l, rc, n);
    if (rc == 0)
        l->lent_n++;
    else
        free(loan->data);
}

static void drain(struct line *l)
{
    coil_ret rc = coil_writer_drain(l->writer);
    HOLDS(rc == 0 || (rc < 0 && (l->closed || l->broken)));
}

static void set_marks(struct line *l)
{
    ssize_t high = next(&l->in) * 64, low = next(&l->in) * 64;
    int rc = coil_writer_set_write_buffer_limits(l->writer, high, low);
    HOLDS(low > high ? rc == -EINVAL : rc == 0 || l->closed || l->broken);
}

static void act(struct line *l)
{
    unsigned what = next(&l->in);
    switch (what % 16) {
    case 0:
    case 1:
    case 2: write_plain(l); return;
    case 3:
    case 4: write_lines(l); return;
    case 5:
    case 6:
    case 7: write_lent(l); return;
    case 8:
    case 9: drain(l); return;
    case 10: set_marks(l); return;
    case 11:
    case 12: HOLDS(coil_sleep(what / 16 * 0.001) == 0); return;
    case 13:
        if (coil_writer_write_eof(l->writer) == 0)
            l->eof = true;
        else
            HOLDS(l->closed || l->broken);
        return;
    case 14:
        if (what < 64) {
            l->closed = l->broken = true;
            coil_writer_abort(l->writer);
        } else {
            l->closed = true;
            coil_writer_close(l->writer);
        }
        return;
    default:
        if (what < 64) { /* the peer goes */
            l->broken = true;
            coil_sock_close(l->peer);
        }
    }
}

static coil_ret receive(void *arg)
{
    struct line *l = arg;
    static char buf[32768];
    coil_ret n = 1;
    while (n > 0) {
        unsigned how = next(&l->in);
        HOLDS(coil_sleep(how % 4 * 0.001) == 0);
        n = coil_sock_recv(l->peer, buf, how & 4 ? 1 + how * 16 : sizeof buf);
        if (n > 0) {
            HOLDS((size_t)n <= l->written - l->received);
            HOLDS(memcmp(buf, text + l->received, (size_t)n) == 0);
            l->received += (size_t)n;
        }
    }
    l->saw_end = n == 0;
    return 0;
}

static void open_line(struct line *l)
{
    struct backend *b = coil_get_running_loop()->backend;
    coil_sock *sock;
    int fd[2];
    HOLDS(b->cls->calls.socketpair(b, AF_UNIX, SOCK_STREAM, fd) == 0);
    HOLDS(coil_sock_adopt(NULL, fd[0], &sock) == 0 && coil_sock_adopt(NULL, fd[1], &l->peer) == 0);
    HOLDS(coil_open_connection_sock(sock, 0, &l->reader, &l->writer) == 0);
}

static coil_ret play(void *arg)
{
    struct line *l = arg;
    open_line(l);
    coil_task *peer = coil_create_task(receive, l);
    HOLDS(peer);
    for (int acts = 0; acts < 200 && l->in.at < l->in.end; acts++)
        act(l);
    coil_ret rc = coil_writer_finish(l->writer);
    HOLDS(rc == 0 || l->broken);
    HOLDS(coil_join(peer) == 0);
    HOLDS(l->broken || (l->saw_end && l->received == l->written));
    HOLDS(coil_sleep(0) == 0);
    for (size_t i = 0; i < l->lent_n; i++)
        HOLDS(l->lent[i].released == 1);
    coil_sock_unref(l->peer);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct line l;
    for (size_t i = 0; text[BYTES_MAX - 1] == 0 && i < BYTES_MAX; i++)
        text[i] = (char)(i * 7 + i / 251);
    l = (struct line){.in = {data, data + size}};
    fuzz_run_alone(play, &l);
    return 0;
}
