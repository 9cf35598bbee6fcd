/* SPDX-License-Identifier: MIT
 *
 * 19_process_pool.c: heavy functions in processes of their own, while the loop goes on.
 *
 * Look at: main makes the pool before it does anything else, since workers are copies of the program as it is
 * then. Bytes go in and bytes come out. The third job crashes: it fails by name, the others do not notice. */
#include <coil.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct range {
    int from, to;
};

/* The primes of a range, as ints. Runs in a worker. */
static coil_ret find_primes(void *in, size_t n, void *out, size_t room)
{
    const struct range *range = in;
    int *primes = out;
    size_t found = 0;
    (void)n;
    if (range->from > range->to)
        raise(SIGKILL); /* a bug of the worst kind */
    for (int i = range->from; i < range->to; i++) {
        int k = 2;
        while (k * k <= i && i % k != 0)
            k++;
        if (k * k <= i)
            continue;
        if ((found + 1) * sizeof *primes > room)
            return coil_fail(COIL_ELIMIT, "more primes than there is room for");
        primes[found++] = i;
    }
    return (coil_ret)(found * sizeof *primes);
}

static coil_ret show(coil_executor *pool, struct range range)
{
    int primes[200];
    coil_ret n = coil_to_executor(pool, find_primes, &range, sizeof range, primes, sizeof primes);
    if (coil_iserr(n)) {
        const char *why = strstr(coil_last_error()->message, "was killed");
        printf("%d to %d: %s%s\n", range.from, range.to, coil_errname(n), why ? ", a crash" : "");
        return 0;
    }
    n /= (coil_ret)sizeof primes[0];
    printf("%d to %d: %d primes, the last is %d\n", range.from, range.to, (int)n, primes[n - 1]);
    return 0;
}

static coil_ret count(void *pool)
{
    static const struct range ranges[] = {{2, 1000}, {1000, 2000}, {5, 4}, {2000, 3000}};
    coil_ret rc = 0;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0] && rc == 0; i++)
        rc = show(pool, ranges[i]);
    return rc;
}

int main(void)
{
    coil_executor *pool = coil_process_pool_executor_new(NULL);
    if (!pool)
        return coil_report(coil_last_error()->code);
    int status = coil_report(coil_run(count, pool));
    coil_executor_shutdown(pool, true, false);
    coil_executor_unref(pool);
    return status;
}
