/* SPDX-License-Identifier: MIT
 *
 * test_clock.c: seconds, nanoseconds, and what is too much for either. */
#include "base/clock.h"

#include "../loop/stage.h"

#include <math.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

PLAIN(clock_real_goes_forward)
{
    struct clock c = {0};
    int64_t before = clock_now_ns(&c), after = clock_now_ns(&c);
    FACT(before > 0);
    FACT(after >= before);
}

PLAIN(clock_virtual_moves_only_forward_and_only_when_told)
{
    struct clock c = {.is_virtual = true};
    FACT_INT(clock_now_ns(&c), 0);
    clock_advance_to(&c, 500);
    FACT_INT(clock_now_ns(&c), 500);
    clock_advance_to(&c, 400);
    FACT_INT(clock_now_ns(&c), 500);
    clock_advance_to(&c, CLOCK_FOREVER);
    FACT_INT(clock_now_ns(&c), CLOCK_FOREVER);
}

PLAIN(clock_advance_leaves_a_real_clock_alone)
{
    struct clock c = {0};
    clock_advance_to(&c, CLOCK_FOREVER);
    FACT(clock_now_ns(&c) < CLOCK_FOREVER);
}

PLAIN(clock_add_saturates_at_both_ends)
{
    FACT_INT(clock_add(1, 2), 3);
    FACT_INT(clock_add(CLOCK_FOREVER, 1), CLOCK_FOREVER);
    FACT_INT(clock_add(1, CLOCK_FOREVER), CLOCK_FOREVER);
    FACT_INT(clock_add(CLOCK_FOREVER, CLOCK_FOREVER), CLOCK_FOREVER);
    FACT_INT(clock_add(INT64_MIN, -1), INT64_MIN);
    FACT_INT(clock_add(-1, INT64_MIN), INT64_MIN);
    FACT_INT(clock_add(CLOCK_FOREVER, -1), CLOCK_FOREVER - 1);
    FACT_INT(clock_add(CLOCK_FOREVER, INT64_MIN), -1);
}

PLAIN(clock_seconds_are_rounded_up)
{
    FACT_INT(coil__clock_from_seconds(0), 0);
    FACT_INT(coil__clock_from_seconds(1), NS_PER_S);
    FACT_INT(coil__clock_from_seconds(0.1), 100000000);
    FACT_INT(coil__clock_from_seconds(1e-9), 1);
    FACT_INT(coil__clock_from_seconds(1e-10), 1);
    FACT_INT(coil__clock_from_seconds(1.5e-9), 2);
    FACT_INT(coil__clock_from_seconds(-1.5e-9), -1);
    FACT_INT(coil__clock_from_seconds(-1), -NS_PER_S);
}

PLAIN(clock_seconds_beyond_all_time_saturate)
{
    FACT_INT(coil__clock_from_seconds(INFINITY), CLOCK_FOREVER);
    FACT_INT(coil__clock_from_seconds(1e300), CLOCK_FOREVER);
    FACT_INT(coil__clock_from_seconds(1e10), CLOCK_FOREVER);
    FACT_INT(coil__clock_from_seconds(-INFINITY), INT64_MIN);
    FACT_INT(coil__clock_from_seconds(-1e300), INT64_MIN);
    FACT(coil__clock_from_seconds(9e9) < CLOCK_FOREVER); /* 285 years are still a number */
}

PLAIN(clock_to_seconds_knows_forever)
{
    FACT(isinf(clock_to_seconds(CLOCK_FOREVER)));
    FACT(clock_to_seconds(1500000000) == 1.5);
    FACT(clock_to_seconds(-500000000) == -0.5);
}

PLAIN(clock_ticks_measure_time)
{
    uint64_t wanted = coil__clock_ticks_in(NS_PER_MS), from = clock_ticks();
    int64_t before = coil__clock_real_ns(), took;
    FACT(wanted > 0);
    do
        took = coil__clock_real_ns() - before;
    while (took < 2 * NS_PER_MS);
    /* Two milliseconds are surely more than one, and less than the hundred a busy machine may add. */
    FACT(clock_ticks() - from > wanted);
    FACT(coil__clock_ticks_in(1000 * NS_PER_S) > coil__clock_ticks_in(NS_PER_S));
}

static void compute_for(int64_t ns)
{
    int64_t from = coil__clock_real_ns();
    while (coil__clock_real_ns() - from < ns)
        continue;
}

/* In place of libc's: as if its caller was interrupted for 50 ms when it had just looked, at the so-manieth time; 0: never. */
static int late_at, looked;

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, out);
    if (late_at && ++looked == late_at) {
        late_at = 0;
        compute_for(50 * NS_PER_MS);
    }
    return rc;
}

PLAIN(clock_and_ticks_are_of_one_moment_though_one_reading_is_late)
{
    int64_t first_ns, ns;
    uint64_t first, ticks;
    coil__clock_both(&first_ns, &first);
    compute_for(50 * NS_PER_MS);
    coil__clock_both(&ns, &ticks);
    double per_ns = (double)(ticks - first) / (double)(ns - first_ns);
    for (int at = 1; at <= 6; at++) {
        looked = 0;
        late_at = at;
        coil__clock_both(&ns, &ticks);
        double apart = (double)(ns - first_ns) - (double)(ticks - first) / per_ns;
        FACT(fabs(apart) < 15.0 * NS_PER_MS);
        FACT_INT(late_at, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_real_goes_forward),
        cmocka_unit_test(clock_virtual_moves_only_forward_and_only_when_told),
        cmocka_unit_test(clock_advance_leaves_a_real_clock_alone),
        cmocka_unit_test(clock_add_saturates_at_both_ends),
        cmocka_unit_test(clock_seconds_are_rounded_up),
        cmocka_unit_test(clock_seconds_beyond_all_time_saturate),
        cmocka_unit_test(clock_to_seconds_knows_forever),
        cmocka_unit_test(clock_ticks_measure_time),
        cmocka_unit_test(clock_and_ticks_are_of_one_moment_though_one_reading_is_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
