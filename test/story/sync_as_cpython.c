/* SPDX-License-Identifier: MIT
 *
 * sync_as_cpython.c: a thousand random scripts of locks, queues and cancels, step by step as in CPython.
 *
 *     seed --> script: 2 to 7 tasks, each a list of steps such as `acquire`, `put`, `cancel task 3`
 *          --> trace:  "turn who step outcome", a line each      --> compared, 16 scripts at a time
 *
 * sync_as_cpython.py makes the same scripts of the same seeds and plays them on asyncio; the table below
 * is its output, from CPython 3.13.0. When a batch differs, look at one script on both sides:
 *
 *     SYNC_SCRIPT=7 build/test/story_sync_as_cpython prints      sync_as_cpython.py 7
 *
 * The steps: a r lock; e s k event (wait, set, clear); ca cr cw cn cN condition (acquire, release, wait,
 * notify, notify_all); p v semaphore; b x z barrier (wait, reset, abort); g u G U d j h H queue (get, put,
 * their nowait forms, task_done, join, shutdown, immediately); y one turn; l look at everything; X3 cancel
 * task 3; nS step S in a callback of the next turn. */
#include "play.h"

#include "base/random.h"
#include "loop/loop.h"

#include <coil/queue.h>
#include <coil/sync.h>
#include <stdlib.h>

enum { BATCH = 16, TASKS_MAX = 7, STEPS_MAX = 32, STEP_BYTES = 8, OUTCOME_BYTES = 64 };

static const uint64_t cpython[] = {
    0x5731c0c1d9de4696, 0x069bfafff6f37dc5, 0x45ea33c3fd2264f1, 0x1f58f59218db9488,
    0xba64058b98b996e4, 0x8bbdd433643e5e26, 0x3f7233695e9e4d3b, 0xb4738802e94ffeb1,
    0x0f3fadd47a8f654f, 0xccf63c8708095050, 0xdd9303a429ec19b7, 0x31417c0f0a0b1fbe,
    0x9172764b6740f027, 0xb43fc1c4e09f3178, 0x4a7740b1ef1f268e, 0xbe39e1ae2a69f34b,
    0x599da1813b44b11f, 0xac506102613ea155, 0x3e043639e45e1652, 0x47d75f76fbf78e4c,
    0xdb9d250681066fc7, 0x98fd092b1420ea25, 0xa8f22014beb286df, 0x0735850cbf41d9a4,
    0x3f8a293b7f8c8e6d, 0xcac27ef1318939a7, 0x778aa0cb05c052f6, 0x208540b50ec1c40c,
    0x203c4e4c55521651, 0xc0e56eb172556e07, 0xe31addcc4c3642af, 0xdfc55fc31fb1de4a,
    0x9088501bf692a79e, 0x3d043ec139b268e2, 0x6edeacd5d83edd0b, 0x73620710db0daa71,
    0x745d0aba0d857aab, 0x5345f0270876c199, 0x3328921f97167645, 0x346f56b9ffb74199,
    0x5be7fa51db551956, 0x8ac65efebb2aa9c5, 0xf97320722f74cc2b, 0x1b2960a022b41934,
    0x6753326d327d4614, 0xff63848ca1c00a6e, 0x88d31d9a3af06d52, 0xefbdd464f0f08438,
    0xda9ac4b2b6106a02, 0x5676af8480d88322, 0x56a454f74e746395, 0xabdb01098b84a4ba,
    0xb92221e593e45e3f, 0x86eb77d1ae08df3d, 0xddc181248581db4c, 0x6155afb5cb658913,
    0x9658251fe1b4610e, 0x2c9477cdea597f46, 0x5498f998cb6aba73, 0x9f2b01318b3429f4,
    0xa8afa4d9768b66ea, 0xe8cb6daf7ab58d0b, 0x3e921bd8685f3fe4, 0xb7f73801fbe31c35,
};

#define N_OF(array) ((uint32_t)(sizeof(array) / sizeof *(array)))

/* ---- scripts ---- */

struct phrases {
    const char *const *at;
    uint32_t n;
};
#define PHRASES(...)                                                              \
    {                                                                             \
        (const char *const[]){__VA_ARGS__}, N_OF(((const char *[]){__VA_ARGS__})) \
    }

static const struct phrases families[] = {
    PHRASES("a", "a", "a y r", "r"),
    PHRASES("e", "s", "k"),
    PHRASES("ca", "cw", "ca cw cr", "ca cw cr", "ca cn cr", "cn", "cN", "cr", "ca y cr"),
    PHRASES("p", "p y v", "v", "p"),
    PHRASES("b", "b", "x", "z", "b", "b"),
    PHRASES("g", "u", "G", "U", "d", "j", "g", "u", "g", "u", "h", "H"),
};
static const struct phrases waits = PHRASES("a", "e", "ca", "cw", "ca cw cr", "p", "b", "g", "u",
                                            "j", "y", "p", "a y r", "ca cn cr", "p y v",
                                            "ca cN cr");
static const struct phrases nows = PHRASES("r", "s", "k", "cr", "cn", "cN", "v", "G", "U", "d", "l",
                                           "v", "r", "s", "d");
static const struct phrases rares = PHRASES("x", "z", "h", "H");

struct steps {
    int n;
    char at[STEPS_MAX][STEP_BYTES];
};

static struct {
    struct random random;
    uint32_t tasks, permits, parties, maxsize, order;
    bool bounded;
    const struct phrases *family;
    struct {
        bool swallows; /* goes on after a cancel */
        struct steps steps;
    } task[TASKS_MAX];
    struct steps main;
} script;

static uint32_t below(uint32_t n)
{
    return random_below(&script.random, n);
}

static const char *choice(const struct phrases *phrases)
{
    return phrases->at[below(phrases->n)];
}

/* A step that does not wait, after `prefix`. Good until the next call. */
static const char *now_step(const char *prefix)
{
    static char step[STEP_BYTES];
    if (below(10) < 3)
        snprintf(step, sizeof step, "%sX%u", prefix, below(script.tasks) % TASKS_MAX);
    else
        snprintf(step, sizeof step, "%s%.3s", prefix, choice(&nows));
    return step;
}

static bool is_now(const char *step)
{
    if (step[0] == 'n' || step[0] == 'X' || step[0] == 'y')
        return true;
    for (uint32_t i = 0; i < nows.n; i++)
        if (strcmp(step, nows.at[i]) == 0)
            return true;
    return false;
}

static void add(struct steps *steps, const char *phrase, bool nows_only)
{
    while (*phrase) {
        size_t n = strcspn(phrase, " ");
        char *step = steps->at[steps->n];
        assert_true(steps->n < STEPS_MAX && n < STEP_BYTES);
        memcpy(step, phrase, n);
        step[n] = '\0';
        if (!nows_only || is_now(step))
            steps->n++;
        phrase += n + (phrase[n] == ' ');
    }
}

static void make_task(struct steps *steps)
{
    for (uint32_t left = 1 + below(8); left > 0; left--) {
        uint32_t x = below(100);
        add(steps,
            x < 50   ? choice(script.family)
            : x < 70 ? choice(&waits)
            : x < 78 ? now_step("n")
            : x < 82 ? choice(&rares)
            : x < 88 ? "y"
                     : now_step(""),
            false);
    }
}

static void make_main(struct steps *steps)
{
    for (uint32_t left = below(26); left > 0; left--) {
        uint32_t x = below(100);
        add(steps,
            x < 45   ? "y"
            : x < 55 ? now_step("n")
            : x < 75 ? choice(script.family)
                     : now_step(""),
            true);
    }
}

static void make_script(uint64_t seed)
{
    memset(&script, 0, sizeof script);
    script.random.state = seed;
    script.tasks = 2 + below(6);
    script.permits = below(3);
    script.bounded = below(10) < 3;
    script.parties = 1 + below(3);
    script.maxsize = below(3);
    script.order = below(3);
    script.family = &families[below(N_OF(families))];
    for (uint32_t i = 0; i < script.tasks; i++) {
        script.task[i].swallows = below(10) < 6;
        make_task(&script.task[i].steps);
    }
    make_main(&script.main);
}

/* ---- the trace ---- */

static uint64_t digest, first_turn;
static bool printing;

__attribute__((format(printf, 1, 2))) static void tell(const char *fmt, ...)
{
    char line[128];
    int n = snprintf(line, sizeof line, "%u ", (unsigned)(coil__running_loop->turns - first_turn));
    va_list args;
    va_start(args, fmt);
    vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, args);
    va_end(args);
    strcat(line, "\n");
    if (printing)
        fputs(line, stdout);
    for (const char *c = line; *c; c++)
        digest = (digest ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
}

static const char *word_of(coil_ret rc)
{
    switch (rc) {
    case 0: return "ok";
    case -ECANCELED: return "cancelled";
    case COIL_EINVALIDSTATE: return "state";
    case -EINVAL: return "inval";
    case COIL_EBROKENBARRIER: return "broken";
    case COIL_EQUEUEFULL: return "full";
    case COIL_EQUEUEEMPTY: return "empty";
    case COIL_ESHUTDOWN: return "shutdown";
    default: return coil_errname(rc);
    }
}

/* ---- steps ---- */

static coil_lock lock;
static coil_event event;
static coil_condition condition;
static coil_semaphore semaphore;
static coil_barrier barrier;
static coil_queue queue;
static coil_task *tasks[TASKS_MAX];
static intptr_t items;

/* The outcome in words: `value` counts if it is no error and the step yields one. */
static void say(char *out, coil_ret rc, bool yields, intptr_t value)
{
    if (coil_iserr(rc) || !yields)
        snprintf(out, OUTCOME_BYTES, "%s", word_of(rc));
    else
        snprintf(out, OUTCOME_BYTES, "%ld", (long)value);
}

static void look(char *out)
{
    snprintf(out, OUTCOME_BYTES, "L%d E%d C%d S%d B%zu%d Q%zu", coil_lock_locked(&lock),
             coil_event_is_set(&event), coil_condition_locked(&condition),
             coil_semaphore_locked(&semaphore), coil_barrier_n_waiting(&barrier),
             coil_barrier_broken(&barrier), coil_queue_qsize(&queue));
}

static bool do_now(const char *who, const char *step);

struct later {
    char who[8], step[STEP_BYTES];
};

static void do_later(void *arg)
{
    struct later *later = arg;
    do_now(later->who, later->step);
    free(later);
}

/* A step that does not wait; false if it is none. */
static bool do_now(const char *who, const char *step)
{
    char out[OUTCOME_BYTES];
    void *item = NULL;
    coil_ret rc = 0;
    bool yields = false;
#define IS(word) (strcmp(step, (word)) == 0)
    if (IS("r")) {
        rc = coil_lock_release(&lock);
    } else if (IS("s")) {
        rc = coil_event_set(&event);
    } else if (IS("k")) {
        coil_event_clear(&event);
    } else if (IS("cr")) {
        rc = coil_condition_release(&condition);
    } else if (IS("cn")) {
        rc = coil_condition_notify(&condition, 1);
    } else if (IS("cN")) {
        rc = coil_condition_notify_all(&condition);
    } else if (IS("v")) {
        rc = coil_semaphore_release(&semaphore);
    } else if (IS("G")) {
        rc = coil_queue_get_nowait(&queue, &item);
        yields = true;
    } else if (IS("U")) {
        rc = coil_queue_put_nowait(&queue, (void *)++items);
    } else if (IS("d")) {
        rc = coil_queue_task_done(&queue);
    } else if (IS("h") || IS("H")) {
        rc = coil_queue_shutdown(&queue, IS("H"));
    } else if (IS("l")) {
        look(out);
        tell("%s %s %s", who, step, out);
        return true;
    } else if (step[0] == 'X') {
        item = (void *)(intptr_t)coil_task_cancel(tasks[atoi(step + 1)], NULL);
        yields = true;
    } else if (step[0] == 'n') {
        struct later *later = malloc(sizeof *later);
        snprintf(later->who, sizeof later->who, "%s!", who);
        snprintf(later->step, sizeof later->step, "%s", step + 1);
        soon(do_later, later);
    } else {
        return false;
    }
    say(out, rc, yields, (intptr_t)item);
    tell("%s %s %s", who, step, out);
    return true;
}

static coil_ret do_wait(const char *who, const char *step)
{
    char out[OUTCOME_BYTES];
    void *item = NULL;
    coil_ret rc = -ENOSYS;
    if (!IS("y"))
        tell("%s %s ...", who, step);
    if (IS("y")) {
        rc = coil_sleep(0);
    } else if (IS("a")) {
        rc = coil_lock_acquire(&lock);
    } else if (IS("e")) {
        rc = coil_event_wait(&event);
    } else if (IS("ca")) {
        rc = coil_condition_acquire(&condition);
    } else if (IS("cw")) {
        rc = coil_condition_wait(&condition);
    } else if (IS("p")) {
        rc = coil_semaphore_acquire(&semaphore);
    } else if (IS("b")) {
        rc = coil_barrier_wait(&barrier);
        item = (void *)rc;
    } else if (IS("x")) {
        rc = coil_barrier_reset(&barrier);
    } else if (IS("z")) {
        rc = coil_barrier_abort(&barrier);
    } else if (IS("g")) {
        rc = coil_queue_get(&queue, &item);
    } else if (IS("u")) {
        rc = coil_queue_put(&queue, (void *)++items);
    } else if (IS("j")) {
        rc = coil_queue_join(&queue);
    }
    say(out, rc, IS("b") || IS("g"), (intptr_t)item);
    tell("%s %s %s", who, step, out);
    return rc;
}
#undef IS

static coil_ret play_task(void *number)
{
    int i = (int)(intptr_t)number;
    char who[8];
    snprintf(who, sizeof who, "t%d", i);
    for (int k = 0; k < script.task[i].steps.n; k++) {
        const char *step = script.task[i].steps.at[k];
        if (!do_now(who, step) && do_wait(who, step) == -ECANCELED && !script.task[i].swallows) {
            tell("%s ends", who);
            return -ECANCELED;
        }
    }
    tell("%s returns", who);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    return ((intptr_t)a > (intptr_t)b) - ((intptr_t)a < (intptr_t)b);
}

static bool all_done(void)
{
    for (uint32_t i = 0; i < script.tasks; i++)
        if (!coil_future_done(tasks[i]))
            return false;
    return true;
}

static coil_ret play_script(void *unused)
{
    turn();
    first_turn = coil__running_loop->turns;
    items = 0;
    lock = (coil_lock)COIL_LOCK;
    event = (coil_event)COIL_EVENT;
    condition = (coil_condition){0};
    semaphore = script.bounded ? (coil_semaphore)COIL_BOUNDED_SEMAPHORE(script.permits)
                               : (coil_semaphore)COIL_SEMAPHORE(script.permits);
    barrier = (coil_barrier)COIL_BARRIER(script.parties);
    queue = script.order == 0   ? (coil_queue)COIL_QUEUE(script.maxsize)
            : script.order == 1 ? (coil_queue)COIL_LIFO_QUEUE(script.maxsize)
                                : (coil_queue)COIL_PRIORITY_QUEUE(script.maxsize, by_number);
    for (uint32_t i = 0; i < script.tasks; i++)
        tasks[i] = spawn(play_task, (void *)(intptr_t)i);
    for (int k = 0; k < script.main.n; k++) {
        if (strcmp(script.main.at[k], "y") == 0)
            turn();
        else
            do_now("m", script.main.at[k]);
    }
    /* Then get everybody out. */
    for (turn(); !all_done(); turn()) {
        for (uint32_t i = 0; i < script.tasks; i++) {
            char step[STEP_BYTES];
            snprintf(step, sizeof step, "X%u", i % TASKS_MAX);
            if (!coil_future_done(tasks[i]))
                do_now("m", step);
        }
        if (coil_lock_locked(&lock))
            do_now("m", "r");
        if (coil_condition_locked(&condition))
            do_now("m", "cr");
        do_now("m", "v");
    }
    do_now("m", "l");
    turn();
    turn();
    for (uint32_t i = 0; i < script.tasks; i++)
        coil_ignore(end_of(tasks[i]));
    return coil_queue_fini(&queue);
}

static void play(uint64_t seed)
{
    make_script(seed);
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    assert_non_null(loop);
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(play_script, NULL)), 0);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(scripts_run_step_by_step_as_in_cpython)
{
    int differ = 0;
    for (uint32_t batch = 0; batch < N_OF(cpython); batch++) {
        digest = UINT64_C(0xcbf29ce484222325);
        for (uint64_t seed = 0; seed < BATCH; seed++)
            play(batch * BATCH + seed);
        if (digest != cpython[batch]) {
            print_error("scripts %u to %u run otherwise than in CPython\n", batch * BATCH,
                        batch * BATCH + BATCH - 1);
            differ++;
        }
    }
    assert_int_equal(differ, 0);
}

COIL_TEST_PLAIN(prints_the_script_that_is_asked_for)
{
    const char *seed = getenv("SYNC_SCRIPT");
    if (!seed)
        return;
    printing = true;
    play(strtoull(seed, NULL, 10));
    printing = false;
}

COIL_TEST_MAIN()
