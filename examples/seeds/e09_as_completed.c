/* SPDX-License-Identifier: MIT
 *
 * e09_as_completed.c: five greetings that take their time, each printed when it comes.
 *
 *     async def lazy_greet(msg, delay=1):
 *         print(msg, "will be displayed in", delay, "seconds")
 *         await asyncio.sleep(delay)
 *         return msg.upper()
 *
 *     async def main():
 *         messages = ["hello", "world", "apple", "banana", "cherry"]
 *         fts = [asyncio.ensure_future(lazy_greet(m, random.randint(1, 5))) for m in messages]
 *         for f in asyncio.as_completed(fts):
 *             print(await f)
 *
 *     loop.run_until_complete(main())
 *     asyncio.run(main())                         # once more, the newer way
 *
 * The delays are not random but arguments: `e09_as_completed 3 1 5 2 1` is what it does without any.
 * Greetings that come due at the same moment come in the order in which they were made. */
#include <coil.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { GREETINGS = 5 };

struct greeting {
    const char *msg;
    int delay;
    char upper[16];
};

static coil_ret lazy_greet(void *arg)
{
    struct greeting *greeting = arg;
    printf("%s will be displayed in %d seconds\n", greeting->msg, greeting->delay);
    coil_ret rc = coil_sleep(greeting->delay);
    if (coil_iserr(rc))
        return rc;
    for (size_t i = 0; greeting->msg[i]; i++)
        greeting->upper[i] = (char)toupper((unsigned char)greeting->msg[i]);
    return (coil_ret)greeting->upper;
}

static coil_ret print_it(coil_ret x)
{
    if (coil_iserr(x))
        return x;
    puts((const char *)x);
    return 0;
}

static coil_ret async_main(void *delays)
{
    static const char *const messages[] = {"hello", "world", "apple", "banana", "cherry"};
    struct greeting greetings[GREETINGS];
    coil_future *fts[GREETINGS], *f;
    for (int i = 0; i < GREETINGS; i++) {
        greetings[i] = (struct greeting){messages[i], ((const int *)delays)[i], ""};
        fts[i] = coil_create_task(lazy_greet, &greetings[i]);
    }

    coil_as_completed it;
    coil_ret rc = coil_as_completed_init(&it, fts, GREETINGS, COIL_FOREVER);
    while (rc == 0 && (rc = coil_as_completed_next(&it, &f)) > 0)
        rc = print_it(coil_future_result(f));
    coil_as_completed_close(&it);
    for (int i = 0; i < GREETINGS; i++)
        coil_unref(fts[i]);
    return rc;
}

int main(int argc, char **argv)
{
    int delays[GREETINGS] = {3, 1, 5, 2, 1};
    for (int i = 0; i < GREETINGS && i + 1 < argc; i++)
        delays[i] = atoi(argv[i + 1]);

    coil_loop *loop = coil_new_event_loop(NULL);
    if (!loop)
        return coil_report(coil_last_error()->code);
    coil_ret rc = coil_loop_run_until_complete(loop, coil_coro_new(async_main, delays));
    coil_loop_free(loop);
    if (coil_iserr(rc))
        return coil_report(rc);

    return coil_report(coil_run(async_main, delays));
}
