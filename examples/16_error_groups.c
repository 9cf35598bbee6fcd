/* SPDX-License-Identifier: MIT
 *
 * 16_error_groups.c: several things went wrong at once, and each kind has its answer.
 *
 * Look at: a group's error holds all of its children's, also those of groups inside. COIL_EXCEPT takes one kind out
 * wherever it stands, as except* does; what nobody took is what coil_try_exit returns, still as a tree. */
#include <coil.h>

#include <stdio.h>

enum { SPOILT = COIL_EUSER - 1, HALF_LAID = COIL_EUSER - 2 };

static coil_ret cook(void *dish)
{
    const char *name = dish;
    return name[0] == 's' ? coil_fail(-ETIMEDOUT, "the %s takes too long", name)
                          : coil_fail(SPOILT, "the %s is off", name);
}

static coil_ret cook_menu(void *unused)
{
    (void)unused;
    coil_task_group(g);
    coil_group_create_task(&g, cook, "fish");
    coil_group_create_task(&g, cook, "soup");
    return coil_group_exit(&g, 0);
}

static coil_ret lay_table(void *unused)
{
    (void)unused;
    coil_ret rc = coil_sleep(60); /* the kitchen's failure cancels it */
    return coil_iserr(rc) ? coil_fail(HALF_LAID, "the table is half laid") : 0;
}

static coil_ret serve(void *unused)
{
    (void)unused;
    coil_task_group(g);
    coil_group_create_task(&g, cook_menu, NULL);
    coil_group_create_task(&g, lay_table, NULL);

    coil_try(dinner, coil_group_exit(&g, 0));
    COIL_EXCEPT(late, dinner, -ETIMEDOUT)
        puts("something is late: we begin with bread");
    COIL_EXCEPT(half, dinner, HALF_LAID)
        printf("%s: we eat in the kitchen\n", half->members[0]->message);
    return coil_try_exit(&dinner);
}

int main(void)
{
    coil_ret rc = coil_run(serve, NULL);
    printf("nobody has an answer to: %s\n",
           coil_iserr(rc) ? coil_last_error()->message : "nothing");
    return rc == SPOILT ? 0 : coil_report(rc);
}
