/* SPDX-License-Identifier: MIT
 *
 * interrupted_on_the_way_to_a_program.c: between fork and exec a copy of a descriptor, or the opening of /dev/null, was
 * interrupted, and the program was not started. Both are made again now. */
#include "../unit/proc/kids.h"

static int interrupt_copies, interrupt_openings;

static int interrupted_dup2(int from, int to)
{
    return interrupt_copies-- > 0 ? -EINTR : coil__sys_real.dup2(from, to);
}

static int interrupted_openat(int dir, const char *path, int flags, mode_t mode)
{
    return interrupt_openings-- > 0 ? -EINTR : coil__sys_real.openat(dir, path, flags, mode);
}

COIL_TEST(interrupted_children_start_all_the_same)
{
    char said[16];
    shell_is_here();
    interrupt_copies = interrupt_openings = 3;
    coil__sys.dup2 = interrupted_dup2;
    coil__sys.openat = interrupted_openat;
    kid_says("read x; echo fine", OPTS(.in = COIL_DEVNULL, .err = COIL_DEVNULL), said, sizeof said);
    coil__sys.dup2 = coil__sys_real.dup2;
    coil__sys.openat = coil__sys_real.openat;
    assert_string_equal(said, "fine\n");
}

COIL_TEST_MAIN()
