/* SPDX-License-Identifier: MIT
 *
 * 09_generators.c: functions that hand out values one at a time, and take some in.
 *
 * Look at: no loop is needed. A generator stops inside coil_gen_yield with all its variables, and goes on there
 * when the next value is wanted. The yield returns what was sent; an error there means: clean up and return.
 * That is how the endless `fibonacci` ends when its last reference goes. */
#include <coil.h>

#include <stdio.h>

static coil_ret fibonacci(coil_gen *self, void *unused)
{
    coil_ret a = 0, b = 1;
    for (;;) {
        coil_ret sent = coil_gen_yield(self, a);
        if (coil_iserr(sent)) {
            puts("fibonacci is told to end");
            return sent;
        }
        b += a;
        a = b - a;
    }
}

static coil_ret average(coil_gen *self, void *unused)
{
    coil_ret sum = 0, n = 0, sent;
    while (!coil_iserr(sent = coil_gen_yield(self, n ? sum / n : 0))) {
        sum += sent;
        n++;
    }
    return sent;
}

static int take(int n)
{
    coil_gen *gen = coil_gen_new(fibonacci, NULL);
    int rc, taken = 0;
    COIL_GEN_FOREACH(number, gen, rc)
    {
        printf("%d ", (int)number);
        if (++taken == n)
            break;
    }
    puts("");
    coil_gen_unref(gen);
    return rc;
}

static int send_some(void)
{
    static const int numbers[] = {10, 20, 60};
    coil_gen *gen = coil_gen_new(average, NULL);
    coil_ret value;
    int rc = coil_gen_next(gen, &value); /* up to the first yield, which waits for a number */
    for (int i = 0; i < 3 && rc > 0; i++) {
        rc = coil_gen_send(gen, numbers[i], &value);
        printf("sent %d, the average is %d\n", numbers[i], (int)value);
    }
    coil_gen_unref(gen);
    return rc;
}

int main(void)
{
    int rc = take(10);
    return coil_report(rc < 0 ? rc : send_some());
}
