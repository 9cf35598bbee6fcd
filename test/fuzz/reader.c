/* SPDX-License-Identifier: MIT
 *
 * reader.c: reads of every kind, fed in random pieces, against a plain array that is searched from its start. */
#include "fuzz.h"

#include <coil.h>

enum { BYTES = 512 };

struct stream {
    struct input in;
    coil_reader *reader;
    char text[BYTES]; /* all that will ever be fed */
    size_t n, fed, read;
};

/* The other end: random pieces, then the end. */
static coil_ret feed(void *arg)
{
    struct stream *s = arg;
    while (s->fed < s->n) {
        size_t piece = 1 + next(&s->in) % 7;
        if (piece > s->n - s->fed)
            piece = s->n - s->fed;
        HOLDS(coil_reader_feed_data(s->reader, s->text + s->fed, piece) == 0);
        s->fed += piece;
        if (next(&s->in) % 2)
            coil_ignore(coil_sleep(0));
    }
    return coil_reader_feed_eof(s->reader);
}

/* How many bytes a match of sep ends after, from where we are; 0 if none follows. */
static size_t match(const struct stream *s, const char *sep, size_t n)
{
    for (size_t end = s->read + n; end <= s->n; end++)
        if (memcmp(s->text + end - n, sep, n) == 0)
            return end - s->read;
    return 0;
}

static void is_next(struct stream *s, const char *data, size_t n)
{
    HOLDS(n <= s->n - s->read && memcmp(data, s->text + s->read, n) == 0);
    s->read += n;
}

static void read_once(struct stream *s)
{
    unsigned what = next(&s->in);
    size_t left = s->n - s->read, n = 1 + what / 4 % 16, got;
    char buf[16];
    const char *view;
    coil_ret rc;
    switch (what % 4) {
    case 0:
        rc = coil_reader_read(s->reader, buf, n);
        HOLDS(rc >= 0 && (size_t)rc <= n && (rc == 0) == (left == 0));
        is_next(s, buf, (size_t)rc);
        return;
    case 1:
        rc = coil_reader_readexactly(s->reader, buf, n, &got);
        HOLDS(n <= left ? rc == (coil_ret)n && got == n : rc == COIL_EINCOMPLETE && got == left);
        is_next(s, buf, got);
        return;
    case 2: {
        size_t line = match(s, "\n", 1);
        rc = coil_reader_readline(s->reader, &view, &got);
        HOLDS(rc == (coil_ret)(line ? line : left) && got == (size_t)rc && view[got] == 0);
        is_next(s, view, got);
        return;
    }
    default: {
        char sep[4];
        size_t sep_n = 1 + what / 4 % sizeof sep;
        for (size_t i = 0; i < sep_n; i++)
            sep[i] = "ab\n"[next(&s->in) % 3];
        size_t end = match(s, sep, sep_n);
        rc = coil_reader_readuntil(s->reader, sep, sep_n, &view, &got);
        HOLDS(end ? rc == (coil_ret)end && got == end : rc == COIL_EINCOMPLETE && got == left);
        HOLDS(view[got] == 0);
        is_next(s, view, got);
        return;
    }
    }
}

static coil_ret play(void *arg)
{
    struct stream *s = arg;
    HOLDS(coil_reader_new(NULL, BYTES, &s->reader) == 0);
    coil_task *feeder = coil_create_task(feed, s);
    HOLDS(feeder);
    while (s->read < s->n)
        read_once(s);
    HOLDS(coil_join(feeder) == 0 && coil_reader_at_eof(s->reader));
    coil_reader_unref(s->reader);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream s = {.in = {data, data + size}};
    s.n = next(&s.in) * 2;
    /* Few letters, so that parts of separators are met often. */
    for (size_t i = 0; i < s.n; i++)
        s.text[i] = "aab\n"[next(&s.in) % 4];
    fuzz_run(play, &s);
    return 0;
}
