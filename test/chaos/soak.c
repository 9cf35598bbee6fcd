/* SPDX-License-Identifier: MIT
 *
 * soak.c: samples of a long run, and whether they rise.
 *
 * A sample is taken once a round, when the steady server has had a chance to give everything back: so each should be as
 * the one before. They are noisy all the same (an allocator keeps what it likes), and so two questions are asked, and
 * both must be answered by yes before somebody is accused:
 *   - do later ones tend to be larger? Mann and Kendall count the pairs of which the later is larger; of a series
 *     without a trend one in 1,000 gets beyond Z_MAX;
 *   - by enough to matter? The median of all slopes (Theil, Sen), which a few outliers do not move, times the length.
 * The first tenth is not looked at: what is made at first use is made there. */
#include "supervisor.h"

#include <math.h>

enum { SAMPLES_MIN = 8, PAIRS_MAX = 2000000 };
static const double Z_MAX = 3.1;

const char *const series_names[SERIES] = {"descriptors", "heap_bytes", "anonymous_kb", "tasks",
                                          "stacks_max"};

static int smaller(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* How often each value stands there lessens what chance can do. */
static double variance(const double *sample, size_t n)
{
    double *sorted = malloc(n * sizeof *sorted),
           v = (double)n * (double)(n - 1) * (double)(2 * n + 5);
    if (!sorted)
        return v / 18;
    memcpy(sorted, sample, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, smaller);
    for (size_t i = 0, same; i < n; i += same) {
        for (same = 1; i + same < n && sorted[i + same] == sorted[i];)
            same++;
        v -= (double)same * (double)(same - 1) * (double)(2 * same + 5);
    }
    free(sorted);
    return v / 18;
}

bool rises(const double *sample, size_t n, double tolerance, double *out_growth)
{
    sample += n / 10;
    n -= n / 10;
    *out_growth = 0;
    if (n < SAMPLES_MIN)
        return false;
    /* Of a very long series every so-manieth sample is enough. */
    size_t step = 1;
    while ((n / step) * (n / step) / 2 > PAIRS_MAX)
        step++;
    size_t used = n / step, pairs = 0;
    double *slopes = malloc(used * used / 2 * sizeof *slopes), score = 0;
    if (!slopes)
        return false;
    for (size_t i = 0; i < used; i++)
        for (size_t k = i + 1; k < used; k++) {
            double d = sample[k * step] - sample[i * step];
            score += (d > 0) - (d < 0);
            slopes[pairs++] = d / (double)((k - i) * step);
        }
    qsort(slopes, pairs, sizeof *slopes, smaller);
    *out_growth = slopes[pairs / 2] * (double)n;
    free(slopes);
    double *thinned = malloc(used * sizeof *thinned), v;
    if (!thinned)
        return false;
    for (size_t i = 0; i < used; i++)
        thinned[i] = sample[i * step];
    v = variance(thinned, used);
    free(thinned);
    double z = v > 0 ? (score - 1) / sqrt(v) : 0;
    return z > Z_MAX && *out_growth > tolerance;
}

/* ---- the samples ---- */

struct sample {
    double seconds; /* since the first */
    double value[SERIES];
    unsigned long connections; /* in all, until then */
};

static struct sample *samples;
static size_t samples_n, samples_room;
static double first_s;

bool sample_take(const struct look *look, unsigned long connections)
{
    if (samples_n == samples_room) {
        size_t room = samples_room ? samples_room * 2 : 256;
        struct sample *more = realloc(samples, room * sizeof *more);
        if (!more)
            return false;
        samples = more;
        samples_room = room;
    }
    double now = coil_loop_time(NULL);
    if (samples_n == 0)
        first_s = now;
    samples[samples_n++] = (struct sample){
        .seconds = now - first_s,
        .value = {[SERIES_DESCRIPTORS] = look->descriptors,
                  [SERIES_HEAP] = (double)look->heap_bytes,
                  [SERIES_ANONYMOUS] = (double)look->anonymous_kb,
                  [SERIES_TASKS] = (double)look->tasks,
                  [SERIES_STACKS] = (double)look->stacks_max},
        .connections = connections};
    return true;
}

static void write_csv(const char *csv)
{
    FILE *file = fopen(csv, "we");
    if (!file) {
        fprintf(stderr, "chaos: %s cannot be written\n", csv);
        return;
    }
    fputs("seconds,connections", file);
    for (int i = 0; i < SERIES; i++)
        fprintf(file, ",%s", series_names[i]);
    fputc('\n', file);
    for (size_t k = 0; k < samples_n; k++) {
        fprintf(file, "%.0f,%lu", samples[k].seconds, samples[k].connections);
        for (int i = 0; i < SERIES; i++)
            fprintf(file, ",%.0f", samples[k].value[i]);
        fputc('\n', file);
    }
    fclose(file);
}

/* So much is noise: of what the allocator keeps, one hundredth of all and some pages. The most stacks that were ever in
 * use only grow, so they are for people to look at. */
static double tolerance(int series, double first)
{
    switch (series) {
    case SERIES_HEAP: return 32768 + first / 100;
    case SERIES_ANONYMOUS: return 512 + first / 100;
    case SERIES_STACKS: return INFINITY;
    default: return 0.5;
    }
}

void samples_judge(const char *csv)
{
    if (csv)
        write_csv(csv);
    double *one = malloc((samples_n + 1) * sizeof *one);
    for (int i = 0; one && i < SERIES; i++) {
        double growth = 0;
        for (size_t k = 0; k < samples_n; k++)
            one[k] = samples[k].value[i];
        bool bad = rises(one, samples_n, tolerance(i, samples_n ? one[0] : 0), &growth);
        printf("soak: %s: %.0f at the first of %zu samples, %.0f at the last, a trend of %+.1f\n",
               series_names[i], samples_n ? one[0] : 0, samples_n,
               samples_n ? one[samples_n - 1] : 0, growth);
        if (bad)
            breach("%s rise", series_names[i]);
    }
    free(one);
    free(samples);
}
