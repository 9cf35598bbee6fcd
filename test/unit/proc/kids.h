/* SPDX-License-Identifier: MIT
 *
 * kids.h: what the tests of this floor share. */
#ifndef TEST_PROC_KIDS_H
#define TEST_PROC_KIDS_H

#include "test.h"

#include "shell.h"

#include "base/mem.h"
#include "base/sys.h"
#include "proc/proc.h"

#include <coil.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

/* An error of a waiting call ends the test and says what it was. */
#define must(call)                                                         \
    __extension__({                                                        \
        coil_ret rc_ = (call);                                             \
        if (coil_iserr(rc_))                                               \
            fail_msg("%s: %s (%s)", #call, coil_errname(rc_),              \
                     coil_last_error() ? coil_last_error()->message : ""); \
        rc_;                                                               \
    })

#define OPTS(...) (&(coil_subprocess_opts){.size = sizeof(coil_subprocess_opts), __VA_ARGS__})

static inline coil_process *kid(const char *script, const coil_subprocess_opts *opts)
{
    coil_process *process;
    must(coil_create_subprocess_exec(SH(script), opts, &process));
    return process;
}

static inline int kid_ends(coil_process *process)
{
    int code = 12345;
    must(coil_process_wait(process, &code));
    coil_process_unref(process);
    return code;
}

/* What the script writes to 1. */
static inline void kid_says(const char *script, const coil_subprocess_opts *opts, char *out,
                            size_t n)
{
    coil_subprocess_opts piped = *opts;
    coil_process_output output;
    piped.out = COIL_PIPE;
    coil_process *process = kid(script, &piped);
    must(coil_process_communicate(process, NULL, 0, &output));
    snprintf(out, n, "%s", output.out);
    coil_process_unref(process);
}

/* Does this process have a child, dead or alive? */
static inline bool has_kids(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static inline void until_no_kids(void)
{
    for (int i = 0; has_kids(); i++) {
        if (i == 5000)
            fail_msg("a child is left");
        must(coil_sleep(0.001));
    }
}

#endif
