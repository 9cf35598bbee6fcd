/* SPDX-License-Identifier: MIT
 *
 * job_not_sent_was_awaited.c: a job that could not be sent to a worker process, for want of the kernel's memory, was waited for
 * all the same: by the worker for the job, by its caller for the answer, for ever. */
#include "../unit/proc/jobs.h"

#include "base/sys.h"

static int to_fail;

static ssize_t no_memory_to_send(int fd, const struct msghdr *m, int flags)
{
    return to_fail-- > 0 ? -ENOBUFS : coil__sys_real.sendmsg(fd, m, flags);
}

COIL_TEST(job_that_cannot_be_sent_fails)
{
    const int numbers[2] = {1, 2};
    const coil_process_pool_opts opts = {.size = sizeof opts, .max_workers = 1};
    coil_executor *pool = coil_process_pool_executor_new(&opts);
    assert_non_null(pool);
    for (int round = 0; round < 3; round++) {
        to_fail = round == 1;
        coil__sys.sendmsg = no_memory_to_send;
        coil_future *sum = coil_loop_run_in_executor(NULL, pool, add, numbers, sizeof numbers);
        assert_int_equal(coil_await(sum), round == 1 ? -ENOBUFS : 3);
        if (round == 1)
            assert_string_equal(coil_last_error()->message,
                                "a job could not be given to a worker process: "
                                "No buffer space available");
        coil_unref(sum);
        coil__sys.sendmsg = coil__sys_real.sendmsg;
    }
    assert_int_equal(coil_executor_shutdown(pool, true, false), 0);
    coil_executor_unref(pool);
}

COIL_TEST_MAIN()
