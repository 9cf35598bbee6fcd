/* SPDX-License-Identifier: MIT
 *
 * test_choose.c: which backend it is and why, on kernels that hide, filter, switch off or refuse io_uring. */
#include "test.h"

#include "base/sys.h"
#include "io/backend.h"

#include <coil/error.h>
#include <stdlib.h>

/* The kernel that the case wants to meet. */
static struct {
    const char *status, *disabled; /* what the two files hold; NULL: there is no such file */
    int setup;                     /* what io_uring_setup says */
    int opened, setups;
    const char *text; /* of the file that is open, from where it was read to */
    int interrupts;   /* reads that a signal interrupts */
    int broken;       /* what each read comes to instead of bytes */
    int closed;
} kernel;

static int kernel_openat(int dir, const char *path, int flags, mode_t mode)
{
    kernel.opened++;
    kernel.text = strcmp(path, "/proc/thread-self/status") == 0             ? kernel.status
                  : strcmp(path, "/proc/sys/kernel/io_uring_disabled") == 0 ? kernel.disabled
                                                                            : NULL;
    return kernel.text ? 1000 : -ENOENT;
}

static ssize_t kernel_read(int fd, void *bytes, size_t n)
{
    assert_int_equal(fd, 1000);
    if (kernel.interrupts-- > 0)
        return -EINTR;
    if (kernel.broken)
        return kernel.broken;
    size_t left = strlen(kernel.text);
    n = n < left ? n : left;
    n = n < 7 ? n : 7; /* in pieces */
    memcpy(bytes, kernel.text, n);
    kernel.text += n;
    return (ssize_t)n;
}

static int kernel_close(int fd)
{
    assert_int_equal(fd, 1000);
    kernel.closed++;
    return 0;
}

static int kernel_setup(unsigned entries, struct io_uring_params *params)
{
    kernel.setups++;
    assert_null(params);
    return kernel.setup;
}

static int restore(void **state)
{
    coil__sys = coil__sys_real;
    const char *backend = *state;
    if (backend)
        setenv("COIL_BACKEND", backend, 1);
    return 0;
}

static struct backend_choice explained_again(const char *name, const char *status,
                                             const char *disabled, int setup)
{
    kernel.status = status;
    kernel.disabled = disabled;
    kernel.setup = setup;
    coil__sys.openat = kernel_openat;
    coil__sys.read = kernel_read;
    coil__sys.close = kernel_close;
    coil__sys.io_uring_setup = kernel_setup;
    struct backend_choice choice;
    assert_int_equal(coil__backend_explain(name, &choice), 0);
    coil__sys = coil__sys_real;
    return choice;
}

/* Asks on such a kernel. */
static struct backend_choice explained(const char *name, const char *status, const char *disabled,
                                       int setup)
{
    memset(&kernel, 0, sizeof kernel);
    return explained_again(name, status, disabled, setup);
}

#define FREE     "Name:\tx\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n"
#define FILTERED "Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"

static void a_named_backend_is_taken_and_nothing_is_looked_at(void **state)
{
    struct backend_choice choice = explained("poll", FREE, "0\n", -EFAULT);
    assert_ptr_equal(choice.cls, &coil__backend_poll);
    assert_int_equal(choice.uring, URING_NOT_ASKED);
    assert_string_equal(choice.reason, "the program names it");
    assert_int_equal(kernel.opened + kernel.setups, 0);

    setenv("COIL_BACKEND", "epoll", 1);
    choice = explained(NULL, FREE, "0\n", -EFAULT);
    assert_ptr_equal(choice.cls, &coil__backend_epoll);
    assert_int_equal(choice.uring, URING_NOT_ASKED);
    assert_string_equal(choice.reason, "COIL_BACKEND names it");
    assert_int_equal(kernel.opened + kernel.setups, 0);
}

static void a_filter_keeps_auto_from_trying(void **state)
{
    struct backend_choice choice = explained("auto", FILTERED, "0\n", -EFAULT);
    assert_ptr_equal(choice.cls, &coil__backend_epoll);
    assert_int_equal(choice.uring, URING_FILTERED);
    assert_int_equal(kernel.setups, 0);
}

static void a_switch_keeps_auto_from_trying(void **state)
{
    struct backend_choice choice = explained("auto", FREE, "2\n", -EFAULT);
    assert_ptr_equal(choice.cls, &coil__backend_epoll);
    assert_int_equal(choice.uring, URING_SWITCHED_OFF);
    assert_int_equal(kernel.setups, 0);
}

static void what_proc_does_not_tell_is_not_tried(void **state)
{
    assert_int_equal(explained("auto", NULL, "0\n", -EFAULT).uring, URING_UNSURE);
    assert_int_equal(explained("auto", "Name:\tx\n", "0\n", -EFAULT).uring, URING_UNSURE);
    assert_int_equal(kernel.setups, 0);
}

static void what_cannot_be_read_of_proc_is_not_tried(void **state)
{
    memset(&kernel, 0, sizeof kernel);
    kernel.broken = -EIO;
    assert_int_equal(explained_again("auto", FREE, "0\n", -EFAULT).uring, URING_UNSURE);
    assert_int_equal(kernel.setups, 0);
    assert_int_equal(kernel.closed, kernel.opened);
}

static void a_read_of_proc_that_is_interrupted_goes_on(void **state)
{
    memset(&kernel, 0, sizeof kernel);
    kernel.interrupts = 2;
    assert_int_equal(explained_again("auto", FREE, "0\n", -EFAULT).uring, URING_WORKS);
    assert_int_equal(kernel.setups, 1);
}

static void a_kernel_that_looks_at_the_number_of_requests_first_works(void **state)
{
    assert_int_equal(explained("auto", FREE, "0\n", -EINVAL).uring, URING_WORKS);
}

/* An emulator may hand out a ring for anything. */
static void a_ring_that_came_of_the_question_is_closed(void **state)
{
    struct backend_choice choice = explained("auto", FREE, "0\n", 1000);
    assert_int_equal(choice.uring, URING_WORKS);
    assert_int_equal(kernel.closed, kernel.opened + 1);
}

static void the_kernels_own_answer_is_told(void **state)
{
    struct backend_choice choice = explained("auto", FREE, "1\n", -EPERM);
    assert_ptr_equal(choice.cls, &coil__backend_epoll);
    assert_int_equal(choice.uring, URING_REFUSED);
    assert_int_equal(choice.uring_error, -EPERM);
    assert_int_equal(explained("auto", FREE, NULL, -ENOSYS).uring, URING_ABSENT);
    assert_int_equal(explained("auto", FREE, NULL, -EFAULT).uring, URING_WORKS);
    assert_int_equal(explained("", FREE, "0\n", -EFAULT).uring, URING_WORKS);
    assert_int_equal(kernel.setups, 1);
}

static void io_uring_is_taken_where_it_may_be_tried(void **state)
{
    struct backend_choice choice = explained("auto", FREE, "0\n", -EFAULT);
    assert_ptr_equal(choice.cls, &coil__backend_uring);
    assert_string_equal(choice.reason, "auto: io_uring can be used here");
    /* The kernel may have second thoughts (old, or short of locked memory): epoll, unless it was named. */
    assert_ptr_equal(coil__backend_after("auto", choice.cls), &coil__backend_epoll);
    assert_null(coil__backend_after("uring", choice.cls));
    assert_null(coil__backend_after("auto", &coil__backend_epoll));
}

static void explaining_agrees_with_choosing(void **state)
{
    static const char *const names[] = {"auto", "epoll", "poll", "sim", NULL};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct backend_class *chosen;
        struct backend_choice choice;
        assert_int_equal(coil__backend_choose(names[i], &chosen), 0);
        assert_int_equal(coil__backend_explain(names[i], &choice), 0);
        assert_ptr_equal(choice.cls, chosen);
        assert_non_null(choice.reason);
    }
    struct backend_choice untouched = {.reason = "mine"};
    assert_int_equal(coil__backend_explain("kqueue", &untouched), -EINVAL);
    assert_int_equal(last_code(), -EINVAL);
    assert_string_equal(untouched.reason, "mine");
}

static void each_state_has_words(void **state)
{
    for (int i = URING_WORKS; i <= URING_REFUSED; i++)
        assert_non_null(coil__uring_text((enum uring_state)i));
}

int main(void)
{
    char *backend = getenv("COIL_BACKEND") ? strdup(getenv("COIL_BACKEND")) : NULL;
#define CASE(name)                          \
    {                                       \
#name, name, NULL, restore, backend \
    }
    const struct CMUnitTest tests[] = {
        CASE(a_named_backend_is_taken_and_nothing_is_looked_at),
        CASE(a_filter_keeps_auto_from_trying),
        CASE(a_switch_keeps_auto_from_trying),
        CASE(what_proc_does_not_tell_is_not_tried),
        CASE(what_cannot_be_read_of_proc_is_not_tried),
        CASE(a_read_of_proc_that_is_interrupted_goes_on),
        CASE(a_kernel_that_looks_at_the_number_of_requests_first_works),
        CASE(a_ring_that_came_of_the_question_is_closed),
        CASE(the_kernels_own_answer_is_told),
        CASE(io_uring_is_taken_where_it_may_be_tried),
        CASE(explaining_agrees_with_choosing),
        CASE(each_state_has_words),
    };
    int failed = cmocka_run_group_tests_name("io/choose", tests, NULL, NULL);
    free(backend);
    return failed;
}
