/* SPDX-License-Identifier: MIT
 *
 * test_draw.c: trees of who awaits whom, as text. Tasks are called A, B, ... and each is in one call, "a", "b", ... */
#include "debug/draw.h"

#include "debug/forest.h"

#include "test.h"

#include <errno.h>

enum { TASKS = 600, ROOM = 8 << 20 };

static struct {
    size_t n;
    size_t by[TASKS][4], by_n[TASKS];
    size_t calls; /* of each task */
    bool parked;
    const char *const *words; /* for the calls; NULL: as above */
    const char *since;        /* for how long each task waits; NULL: nobody knows */
    char *text;
    size_t text_n;
} g;

static size_t awaiters(void *arg, size_t task, const size_t **out)
{
    assert_ptr_equal(arg, &g);
    *out = g.by[task];
    return g.by_n[task];
}

static const char *name(void *arg, size_t task)
{
    static char text[16];
    snprintf(text, sizeof text, "%c", (int)('A' + task % 26));
    return text;
}

static size_t calls(void *arg, size_t task)
{
    return g.calls;
}

static void call(void *arg, size_t task, size_t i, char *out, size_t n)
{
    if (g.words)
        snprintf(out, n, "%s", g.words[i]);
    else
        snprintf(out, n, "%c%.*s", (int)('a' + task % 26), (int)i, "0123456789");
}

static void since(void *arg, size_t task, char *out, size_t n)
{
    snprintf(out, n, "%s", g.since ? g.since : "");
}

static bool parked(void *arg, size_t task)
{
    return g.parked;
}

static void put(void *arg, const char *text)
{
    size_t n = strlen(text);
    assert_true(g.text_n + n < ROOM);
    memcpy(g.text + g.text_n, text, n + 1);
    g.text_n += n;
}

static void awaits(char who, char whom)
{
    size_t task = (size_t)(whom - 'A');
    g.by[task][g.by_n[task]++] = (size_t)(who - 'A');
}

static void begin(size_t n)
{
    memset(&g, 0, sizeof g);
    g.n = n;
    g.calls = 1;
    g.text = test_malloc(ROOM);
    g.text[0] = '\0';
}

static void drawn(void)
{
    struct drawing d = {.n = g.n,
                        .arg = &g,
                        .awaiters = awaiters,
                        .name = name,
                        .calls = calls,
                        .parked = parked,
                        .call = call,
                        .since = since,
                        .put = put};
    assert_int_equal(coil__draw(&d), 0);
}

static void assert_drawn(const char *as)
{
    drawn();
    assert_string_equal(g.text, as);
    test_free(g.text);
}

COIL_TEST_PLAIN(draw_nothing_of_no_tasks)
{
    begin(0);
    assert_drawn("");
}

COIL_TEST_PLAIN(draw_puts_those_that_are_awaited_below_the_innermost_call)
{
    begin(4);
    g.calls = 2;
    awaits('A', 'B');
    awaits('A', 'C');
    assert_drawn("└── (T) A\n"
                 "    └──  a0\n"
                 "        └──  a\n"
                 "            ├── (T) B\n"
                 "            │   └──  b0\n"
                 "            │       └──  b\n"
                 "            └── (T) C\n"
                 "                └──  c0\n"
                 "                    └──  c\n"
                 "└── (T) D\n"
                 "    └──  d0\n"
                 "        └──  d\n");
}

COIL_TEST_PLAIN(draw_a_task_without_calls_alone)
{
    begin(2);
    g.calls = 0;
    awaits('B', 'A'); /* who was made later awaits who was there */
    assert_drawn("└── (T) B\n"
                 "    └── (T) A\n");
}

COIL_TEST_PLAIN(draw_what_two_await_once)
{
    begin(4);
    awaits('A', 'B');
    awaits('A', 'C');
    awaits('B', 'D');
    awaits('C', 'D');
    assert_drawn("└── (T) A\n"
                 "    └──  a\n"
                 "        ├── (T) B\n"
                 "        │   └──  b\n"
                 "        │       └── (T) D\n"
                 "        │           └──  d\n"
                 "        └── (T) C\n"
                 "            └──  c\n"
                 "                └── (T) D\n"
                 "                    └── ... (see above)\n");
}

/* A task with these calls, innermost first. */
static void with_calls(const char *const *words, size_t n, bool is_parked)
{
    begin(1);
    g.words = words;
    g.calls = n;
    g.parked = is_parked;
}

COIL_TEST_PLAIN(draw_of_coils_calls_the_one_that_was_made)
{
    static const char *const waits[] = {"coil__park", "park", "coil_await_future at a.c:1",
                                        "coil_gather at b.c:2", "work c.c:3"};
    with_calls(waits, 5, true);
    assert_drawn("└── (T) A\n"
                 "    └──  work c.c:3\n"
                 "        └──  coil_gather at b.c:2\n");
    with_calls(waits, 5, false);
    drawn();
    assert_non_null(strstr(g.text, "coil__park\n"));
    test_free(g.text);
    static const char *const called_back[] = {"park", "coil_sleep", "callback",
                                              "coil_wait_for_call", "work"};
    with_calls(called_back, 5, true);
    assert_drawn("└── (T) A\n"
                 "    └──  work\n"
                 "        └──  coil_wait_for_call\n"
                 "            └──  callback\n"
                 "                └──  coil_sleep\n");
    static const char *const unknown[] = {"park", "0x1234"};
    with_calls(unknown, 2, true);
    assert_drawn("└── (T) A\n"
                 "    └──  0x1234\n"
                 "        └──  park\n");
}

COIL_TEST_PLAIN(draw_since_when_a_task_waits_behind_its_innermost_call)
{
    static const char *const waits[] = {"park", "coil_sleep at a.c:1", "work c.c:3"};
    with_calls(waits, 3, true);
    g.since = ", for 1.5 s now";
    assert_drawn("└── (T) A\n"
                 "    └──  work c.c:3\n"
                 "        └──  coil_sleep at a.c:1, for 1.5 s now\n");
    begin(3);
    g.since = ", for 0.0 s now";
    awaits('A', 'B');
    awaits('A', 'C');
    awaits('B', 'C');
    assert_drawn("└── (T) A\n"
                 "    └──  a, for 0.0 s now\n"
                 "        ├── (T) B\n"
                 "        │   └──  b, for 0.0 s now\n"
                 "        │       └── (T) C\n"
                 "        │           └──  c, for 0.0 s now\n"
                 "        └── (T) C\n"
                 "            └── ... (see above)\n");
}

COIL_TEST_PLAIN(draw_circles_that_no_one_leads_to)
{
    begin(5);
    awaits('B', 'C');
    awaits('C', 'B');
    awaits('C', 'D');
    awaits('E', 'E');
    assert_drawn("└── (T) A\n"
                 "    └──  a\n"
                 "A circle of tasks that await each other:\n"
                 "└── (T) B\n"
                 "    └──  b\n"
                 "        └── (T) C\n"
                 "            └──  c\n"
                 "                ├── (T) B\n"
                 "                │   └── ... (see above)\n"
                 "                └── (T) D\n"
                 "                    └──  d\n"
                 "A circle of tasks that await each other:\n"
                 "└── (T) E\n"
                 "    └──  e\n"
                 "        └── (T) E\n"
                 "            └── ... (see above)\n");
}

static size_t count(const char *word)
{
    size_t n = 0;
    for (const char *at = g.text; (at = strstr(at, word)); at++)
        n++;
    return n;
}

/* Task i awaits task i + 1. */
static void chain(size_t n, size_t calls_of_each)
{
    begin(n);
    g.calls = calls_of_each;
    for (size_t i = 1; i < n; i++)
        g.by[i][g.by_n[i]++] = i - 1;
    drawn();
}

COIL_TEST_PLAIN(draw_chains_as_deep_as_they_may_be)
{
    chain(FOREST_DEEP, 0);
    assert_int_equal(count("(T)"), FOREST_DEEP);
    assert_null(strstr(g.text, "too deep"));
    test_free(g.text);
    chain(FOREST_DEEP + 1, 0);
    assert_int_equal(count("(T)"), FOREST_DEEP + 1);
    assert_int_equal(count("... (too deep)\n"), 1);
    test_free(g.text);
}

COIL_TEST_PLAIN(draw_no_line_without_end)
{
    chain(TASKS, 8);
    assert_int_equal(count("(T)"), FOREST_DEEP + 1);
    size_t longest = 0;
    for (const char *at = g.text, *end; *at; at = end + 1) {
        end = strchr(at, '\n');
        longest = (size_t)(end - at) > longest ? (size_t)(end - at) : longest;
    }
    assert_true(longest > 3000 && longest < 5000);
    test_free(g.text);
}

static void draws(void *arg)
{
    struct drawing d = {.n = g.n,
                        .arg = &g,
                        .awaiters = awaiters,
                        .name = name,
                        .calls = calls,
                        .parked = parked,
                        .call = call,
                        .since = since,
                        .put = put};
    g.text_n = 0;
    int err = coil__draw(&d);
    assert_true(err == 0 || (err == -ENOMEM && g.text_n == 0));
}

COIL_TEST_PLAIN(draw_nothing_without_memory)
{
    begin(3);
    awaits('A', 'B');
    sweep_allocations(draws, NULL);
    assert_int_equal(count("(T)"), 3);
    test_free(g.text);
}

COIL_TEST_MAIN()
