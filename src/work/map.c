/* SPDX-License-Identifier: MIT
 *
 * map.c: a function over many items, results in the order of the items: Executor.map.
 *
 *     items: [ chunk ][ chunk ][ chunk ] ...       each a job of bytes:  head, items --> results, words
 *               |        |        '--- not submitted yet: more than buffersize ahead
 *               |        '--- window[k]: its thread future
 *               '--- the one that next reads from
 *
 * A chunk ends at its first error: what came before is handed out, then the error with its words.
 *
 * Always true: taken <= submitted <= chunks; the futures of [taken, submitted) are in the window.
 *
 * One thread at a time. Elsewhere: jobs of bytes (executor.c), where they run (the executor). */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/opts.h"
#include "work/work.h"

#include <string.h>

struct map {
    coil_executor *executor; /* counted */
    coil_fn fn;
    const char *items;
    size_t n, item_size, chunksize;
    size_t chunks, submitted, taken; /* chunks */
    int64_t deadline_ns;
    coil_bytes *current; /* results of the chunk taken last; NULL: none */
    size_t read;         /* of its results */
    size_t window_n;
    coil_thread_future *window[]; /* chunk i at i % window_n; counted */
};

/* What a job gets, items behind it, */
struct chunk_head {
    coil_fn fn;
    size_t item_size, n;
    _Alignas(max_align_t) char items[];
};

/* and what it gives. */
struct chunk_results {
    size_t n; /* results; the last may be an error */
    char text[ERROR_TEXT_MAX];
    coil_ret results[];
};

/* ---- where the job runs ---- */

static coil_ret run_chunk(void *in, size_t in_n, void *out, size_t room)
{
    (void)in_n, (void)room;
    struct chunk_head *head = in;
    struct chunk_results *r = out;
    memset(r->text, 0, sizeof r->text);
    for (r->n = 0; r->n < head->n;) {
        coil_ret rc = head->fn(head->items + r->n * head->item_size);
        r->results[r->n++] = rc;
        if (!coil_iserr(rc))
            continue;
        const coil_error *e = coil_last_error();
        if (e && e->code == rc)
            strncat(r->text, e->message, sizeof r->text - 1);
        break;
    }
    return (coil_ret)(sizeof *r + r->n * sizeof r->results[0]);
}

/* ---- submitting ---- */

static coil_thread_future *submit_chunk(struct map *m, size_t chunk)
{
    size_t first = chunk * m->chunksize;
    size_t n = m->n - first < m->chunksize ? m->n - first : m->chunksize;
    size_t size = sizeof(struct chunk_head) + n * m->item_size;
    /* Zeroed: its padding may go to another process. */
    struct chunk_head *head = coil__zalloc(size);
    if (!head)
        return coil__thread_future_no_memory();
    head->fn = m->fn;
    head->item_size = m->item_size;
    head->n = n;
    memcpy(head->items, m->items + first * m->item_size, n * m->item_size);
    struct work ask;
    coil__work_of_bytes(&ask, run_chunk, head, size,
                        sizeof(struct chunk_results) + n * sizeof(coil_ret));
    coil_thread_future *future = coil__submit(m->executor, &ask);
    coil__free(head);
    return future;
}

static void submit_more(struct map *m)
{
    for (; m->submitted < m->chunks && m->submitted - m->taken < m->window_n; m->submitted++)
        m->window[m->submitted % m->window_n] = submit_chunk(m, m->submitted);
}

static int check(coil_executor *executor, coil_fn fn, const void *items, size_t n, size_t item_size,
                 double timeout)
{
    if (!executor)
        return (int)coil__fail(-EINVAL, "there is no executor (NULL)");
    if (timeout != timeout)
        return (int)coil__fail(-EINVAL, "a timeout must be a number");
    if (n > 0 && item_size == 0)
        return (int)coil__fail(-EINVAL, "items have a size");
    if (n > SIZE_MAX / 2 / (item_size + sizeof(coil_ret)))
        return (int)coil__fail_plain(-ENOMEM);
    int err = coil__work_check(fn != NULL, items, n);
    /* The function is called from a chunk, and so must be one that the executor takes by itself. */
    struct work ask = {.fn = fn};
    return err == 0 && executor->cls->accepts ? executor->cls->accepts(executor, &ask) : err;
}

_Static_assert(sizeof(coil_executor_map_results) >= sizeof(struct map *), "it holds a pointer");

static struct map **map_of(coil_executor_map_results *it)
{
    return (struct map **)&it->priv_[0];
}

int coil_executor_map(coil_executor_map_results *it, coil_executor *executor, coil_fn fn,
                      const void *items, size_t n, size_t item_size,
                      const coil_executor_map_opts *given)
{
    coil_executor_map_opts own;
    const coil_executor_map_opts *opts = OPTS_READ(given, own);
    *it = (coil_executor_map_results){{0}}; /* closing is fine, whatever happens */
    int err = check(executor, fn, items, n, item_size, opts->timeout);
    if (err)
        return err;
    size_t chunksize = opts->chunksize ? opts->chunksize : 1;
    size_t chunks = n / chunksize + (n % chunksize != 0), window = opts->buffersize;
    if (window == 0 || window > chunks)
        window = chunks;
    struct map *m = coil__zalloc(sizeof *m + window * sizeof m->window[0]);
    if (!m)
        return (int)coil__fail_plain(-ENOMEM);
    m->executor = coil_executor_ref(executor);
    m->fn = fn;
    m->items = items;
    m->n = n;
    m->item_size = item_size;
    m->chunksize = chunksize;
    m->chunks = chunks;
    m->window_n = window;
    m->deadline_ns = CLOCK_FOREVER;
    if (opts->timeout < 0)
        m->deadline_ns = INT64_MIN;
    else if (opts->timeout > 0)
        m->deadline_ns = clock_add(coil__clock_real_ns(), coil__clock_from_seconds(opts->timeout));
    *it = (coil_executor_map_results){{m}};
    submit_more(m);
    return 0;
}

/* ---- reading ---- */

static double time_left(const struct map *m)
{
    if (m->deadline_ns == CLOCK_FOREVER)
        return COIL_FOREVER;
    int64_t now = coil__clock_real_ns();
    return m->deadline_ns > now ? clock_to_seconds(m->deadline_ns - now) : 0;
}

/* The results of the next chunk; an error, recorded. */
static int take_chunk(struct map *m)
{
    coil_bytes_free(m->current);
    m->current = NULL;
    m->read = 0;
    coil_thread_future *future = m->window[m->taken % m->window_n];
    coil_ret rc = coil_thread_future_result(future, time_left(m));
    if (coil_iserr(rc))
        return (int)rc;
    m->current = (coil_bytes *)rc;
    coil_thread_future_unref(future);
    m->taken++;
    submit_more(m);
    return 0;
}

/* It ends here: with this error, which is recorded, also after what the closing may record. */
static coil_ret end_with(coil_executor_map_results *it, coil_ret error)
{
    struct error_record *why = coil__error_capture(error);
    coil_executor_map_close(it);
    coil__error_restore(why, error);
    coil__error_unref(why);
    return error;
}

coil_ret coil_executor_map_next(coil_executor_map_results *it, coil_ret *out_value)
{
    struct map *m = it ? *map_of(it) : NULL;
    if (!m)
        return 0;
    const struct chunk_results *r = m->current ? m->current->data : NULL;
    if (!r || m->read == r->n) {
        if (m->taken == m->chunks) {
            coil_executor_map_close(it);
            return 0;
        }
        int err = take_chunk(m);
        if (err)
            return end_with(it, err);
        r = m->current->data;
    }
    coil_ret rc = r->results[m->read++];
    if (coil_iserr(rc))
        return end_with(it, r->text[0] ? coil__fail(rc, "%s", r->text) : coil__fail_plain(rc));
    *out_value = rc;
    return 1;
}

void coil_executor_map_close(coil_executor_map_results *it)
{
    struct map *m = it ? *map_of(it) : NULL;
    if (!m)
        return;
    *map_of(it) = NULL;
    while (m->submitted > m->taken) { /* the last first, so that none comes to its turn meanwhile */
        coil_thread_future *future = m->window[--m->submitted % m->window_n];
        (void)coil_thread_future_cancel(future);
        coil_thread_future_unref(future);
    }
    coil_bytes_free(m->current);
    coil_executor_unref(m->executor);
    coil__free(m);
}
