/* SPDX-License-Identifier: MIT
 *
 * test_soak.c: what is taken for a rise, and what is not. */
#include "supervisor.h"
#include "test.h"

#include <math.h>

enum { N = 300 };
static double series[N], growth;

/* So many in ten runs of noise that rises by so much over its length are found. */
static unsigned found_of_ten(double rise, double noise, double tolerance)
{
    unsigned found = 0;
    for (uint32_t run = 0, dice = 1; run < 10; run++) {
        for (unsigned i = 0; i < N; i++) {
            dice = dice * 1664525u + 1013904223u;
            series[i] = 1000 + rise * i / N + noise * ((dice >> 8) / 16777216.0 - 0.5);
        }
        found += rises(series, N, tolerance, &growth);
    }
    return found;
}

COIL_TEST_PLAIN(soak_noise_is_no_rise)
{
    assert_int_equal(found_of_ten(0, 100, 0), 0);
}

COIL_TEST_PLAIN(soak_rise_under_noise_is_seen)
{
    assert_int_equal(found_of_ten(50, 100, 10), 10);
    assert_true(growth > 25 && growth < 75);
}

COIL_TEST_PLAIN(soak_rise_within_the_tolerance_is_none)
{
    assert_int_equal(found_of_ten(50, 100, 80), 0);
}

COIL_TEST_PLAIN(soak_fall_is_no_rise)
{
    assert_int_equal(found_of_ten(-50, 100, 10), 0);
}

COIL_TEST_PLAIN(soak_what_is_made_at_first_use_is_no_rise)
{
    for (unsigned i = 0; i < N; i++)
        series[i] = i < 20 ? i : 20;
    assert_false(rises(series, N, 0.5, &growth));
}

COIL_TEST_PLAIN(soak_one_more_now_and_then_is_a_rise)
{
    for (unsigned i = 0; i < N; i++)
        series[i] = 8 + i / 40;
    assert_true(rises(series, N, 0.5, &growth));
}

COIL_TEST_PLAIN(soak_outlier_is_no_rise)
{
    for (unsigned i = 0; i < N; i++)
        series[i] = i == N - 1 ? 1e6 : 8;
    assert_false(rises(series, N, 0.5, &growth));
}

COIL_TEST_PLAIN(soak_few_samples_say_something_if_all_rise)
{
    for (unsigned i = 0; i < 10; i++)
        series[i] = 100 + 10 * i;
    assert_true(rises(series, 10, 1, &growth));
    assert_false(rises(series, 5, 1, &growth));
}

/* soak.c tells of breaches by it. */
void breach(const char *format, ...)
{
}

COIL_TEST_MAIN()
