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

static int interrupt_words;

static ssize_t interrupted_write(int fd, const void *p, size_t n)
{
    return interrupt_words-- > 0 ? -EINTR : coil__sys_real.write(fd, p, n);
}

/* In the child the first write says why there is no program; it is not the parent's memory everywhere. */
static int begin_interrupted_child(int (*main)(void *), void *arg, bool copy, void *stack, size_t n,
                                   int *out_pidfd)
{
    interrupt_words = 1;
    coil__sys.write = interrupted_write;
    int pid = coil__sys_real.begin_child(main, arg, copy, stack, n, out_pidfd);
    coil__sys.write = coil__sys_real.write;
    return pid;
}

COIL_TEST(interrupted_children_say_why_they_cannot_start)
{
    coil_process *p;
    coil__sys.begin_child = begin_interrupted_child;
    coil_ret rc = coil_create_subprocess_exec(SH("exit 0"), OPTS(.cwd = "/no/such/place"), &p);
    coil__sys.begin_child = coil__sys_real.begin_child;
    if (strcmp(coil_loop_backend(NULL), "sim") != 0) /* its programs are imaginary */
        assert_int_equal(rc, -ENOENT);
    else if (rc == 0)
        (void)kid_ends(p);
}

COIL_TEST_MAIN()
