/* SPDX-License-Identifier: MIT
 *
 * test_cpus.c: how many processors there are, as the files of several kinds of machine and container tell it. */
#include "base/cpus.h"

#include "base/sys.h"
#include "base/thread.h"
#include "test.h"

#include <sched.h>

struct a_file {
    const char *path, *text;
};

/* What the kernel of the case has; the files end with one without a path. */
static struct {
    const struct a_file *files;
    const char *text; /* of the file that is open */
    int broken;       /* what each read comes to instead of bytes */
    int open;
} kernel;

static int kernel_openat(int dir, const char *path, int flags, mode_t mode)
{
    (void)dir, (void)mode;
    assert_true(flags & O_CLOEXEC);
    for (const struct a_file *f = kernel.files; f->path; f++)
        if (strcmp(f->path, path) == 0) {
            kernel.text = f->text;
            kernel.open++;
            return 1000;
        }
    return -ENOENT;
}

static ssize_t kernel_read(int fd, void *bytes, size_t n)
{
    assert_int_equal(fd, 1000);
    if (kernel.broken)
        return kernel.broken;
    size_t left = strlen(kernel.text);
    n = n < left ? n : left;
    memcpy(bytes, kernel.text, n);
    kernel.text += n;
    return (ssize_t)n;
}

static int kernel_close(int fd)
{
    assert_int_equal(fd, 1000);
    kernel.open--;
    return 0;
}

static unsigned counted(const struct a_file *files)
{
    kernel.files = files;
    coil__sys.openat = kernel_openat;
    coil__sys.read = kernel_read;
    coil__sys.close = kernel_close;
    unsigned n = coil__cpus_there();
    coil__sys = coil__sys_real;
    assert_int_equal(kernel.open, 0);
    return n;
}

#define COUNTED(...) counted((const struct a_file[]){__VA_ARGS__, {NULL, NULL}})
#define GROUP        "/proc/self/cgroup"
#define ONLINE       "/sys/devices/system/cpu/online"
#define V2           "/sys/fs/cgroup"
#define V1           "/sys/fs/cgroup/cpuset"

static void without_groups_those_count_that_are_online(void **state)
{
    (void)state;
    assert_int_equal(COUNTED({ONLINE, "0\n"}), 1);
    assert_int_equal(COUNTED({ONLINE, "0-1\n"}), 2);
    assert_int_equal(COUNTED({ONLINE, "0-3,7,10-11\n"}), 7);
    assert_int_equal(COUNTED({GROUP, "0::/\n"}, {ONLINE, "0-127\n"}), 128);
    assert_int_equal(COUNTED({GROUP, "no line of a group\n0:\n"}, {ONLINE, "0-5\n"}), 6);
}

static void group_of_version_2_says_what_its_processes_may_use(void **state)
{
    (void)state;
    assert_int_equal(
        COUNTED({GROUP, "0::/\n"}, {V2 "/cpuset.cpus.effective", "5\n"}, {ONLINE, "0-7\n"}), 1);
    assert_int_equal(COUNTED({GROUP, "0::/a/b\n"}, {V2 "/a/b/cpuset.cpus.effective", "4-6\n"},
                             {V2 "/cpuset.cpus.effective", "0-7\n"}, {ONLINE, "0-7\n"}),
                     3);
}

/* Where the controller is not on for the group itself, or the name is known outside of the container only. */
static void group_without_the_file_is_asked_above(void **state)
{
    (void)state;
    assert_int_equal(COUNTED({GROUP, "0::/a/b/c\n"}, {V2 "/a/cpuset.cpus.effective", "1,3\n"},
                             {V2 "/cpuset.cpus.effective", "0-7\n"}, {ONLINE, "0-7\n"}),
                     2);
    assert_int_equal(COUNTED({GROUP, "0::/docker/4711\n"}, {V2 "/cpuset.cpus.effective", "2-4\n"},
                             {ONLINE, "0-7\n"}),
                     3);
}

static void group_of_version_1_is_the_one_with_cpusets(void **state)
{
    (void)state;
    assert_int_equal(COUNTED({GROUP, "9:name=cpuset:/x\n8:pids:/x\n3:cpu,cpuset:/y\n0::/z\n"},
                             {V1 "/x/cpuset.effective_cpus", "0-3\n"},
                             {V1 "/y/cpuset.effective_cpus", "6\n"},
                             {V2 "/z/cpuset.cpus.effective", "0-2\n"}, {ONLINE, "0-7\n"}),
                     1);
    assert_int_equal(COUNTED({GROUP, "3:cpuset:/docker/4711\n0::/\n"},
                             {V1 "/cpuset.effective_cpus", "0,7\n"}, {ONLINE, "0-7\n"}),
                     2);
}

static void what_is_no_list_is_not_believed(void **state)
{
    (void)state;
    const char *const wrong[] = {"\n", "all\n", "1-\n", "3-1\n", "0,\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(
            COUNTED({GROUP, "0::/\n"}, {V2 "/cpuset.cpus.effective", wrong[i]}, {ONLINE, "0-3\n"}),
            4);
}

static void where_nothing_can_be_read_it_is_what_the_thread_may_use(void **state)
{
    (void)state;
    assert_int_equal(counted((const struct a_file[]){{NULL, NULL}}), coil__thread_cpus());
    kernel.broken = -EIO;
    assert_int_equal(COUNTED({GROUP, "0::/\n"}, {ONLINE, "0-511\n"}), coil__thread_cpus());
    kernel.broken = 0;
}

static void name_of_a_group_that_is_too_long_is_left_out(void **state)
{
    (void)state;
    static char line[4096] = "0::/";
    memset(line + strlen(line), 'x', 4090 - strlen(line));
    assert_int_equal(COUNTED({GROUP, line}, {V2 "/cpuset.cpus.effective", "0-1\n"}), 2);
}

static void pinning_a_thread_takes_no_processor_away(void **state)
{
    (void)state;
    struct thread_cpus mine;
    assert_int_equal(coil__thread_cpus_get(&mine), 0);
    unsigned before = coil__cpus_there();
    assert_int_equal(coil__thread_pin(&mine, 0), 0);
    assert_int_equal(coil__cpus_there(), before);
    assert_int_equal(coil__thread_pin(NULL, 0), 0);
    assert_true(before >= (unsigned)CPU_COUNT(&mine.set));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_groups_those_count_that_are_online),
        cmocka_unit_test(group_of_version_2_says_what_its_processes_may_use),
        cmocka_unit_test(group_without_the_file_is_asked_above),
        cmocka_unit_test(group_of_version_1_is_the_one_with_cpusets),
        cmocka_unit_test(what_is_no_list_is_not_believed),
        cmocka_unit_test(where_nothing_can_be_read_it_is_what_the_thread_may_use),
        cmocka_unit_test(name_of_a_group_that_is_too_long_is_left_out),
        cmocka_unit_test(pinning_a_thread_takes_no_processor_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
