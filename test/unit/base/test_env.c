/* SPDX-License-Identifier: MIT
 *
 * test_env.c: what the environment says. */
#include "base/env.h"

#include "../loop/stage.h"

#define NAME "COIL_TEST_ENV"

PLAIN(env_flag_is_set_by_anything_but_empty_and_zero)
{
    unsetenv(NAME);
    FACT(!coil__env_flag(NAME));
    static const char *const off[] = {"", "0"}, *const on[] = {"1", "yes", "00", "no"};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        setenv(NAME, off[i], 1);
        FACT(!coil__env_flag(NAME));
    }
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        setenv(NAME, on[i], 1);
        FACT(coil__env_flag(NAME));
    }
    unsetenv(NAME);
}

PLAIN(env_number_takes_decimal_numbers_only)
{
    unsetenv(NAME);
    FACT_INT(coil__env_number(NAME, 7), 7);
    setenv(NAME, "42", 1);
    FACT_INT(coil__env_number(NAME, 7), 42);
    setenv(NAME, "0", 1);
    FACT_INT(coil__env_number(NAME, 7), 0);
    setenv(NAME, "18446744073709551615", 1);
    FACT(coil__env_number(NAME, 7) == UINT64_MAX);
    static const char *const bad[] = {"",     "-1", "+1",  " 1",
                                      "0x10", "1k", "one", "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv(NAME, bad[i], 1);
        FACT_INT(coil__env_number(NAME, 7), 7);
    }
    unsetenv(NAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(env_flag_is_set_by_anything_but_empty_and_zero),
        cmocka_unit_test(env_number_takes_decimal_numbers_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
