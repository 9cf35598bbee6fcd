/* SPDX-License-Identifier: MIT
 *
 * test_coro.c: what a switch keeps, who runs, how one ends, and what a debugger sees.
 *
 * Coroutines write down what they see; the tests look at it from the thread's own stack. Called
 * with "stand-still" the program is what gdb looks at in the last test. */
#include "base/check.h"
#include "base/thread.h"
#include "coro/coro.h"

#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct stack_pool pool;
static struct coro *ground; /* the thread's own */

static char trail[64];
static size_t trail_n;

static void leave_mark(char c)
{
    if (trail_n < sizeof trail - 1)
        trail[trail_n++] = c;
}

static int setup(void **state)
{
    memset(trail, 0, sizeof trail);
    trail_n = 0;
    ground = coil__coro_main();
    return coil__stack_pool_init(&pool, 0);
}

static int teardown(void **state)
{
    return coil__stack_pool_fini(&pool) == 0 && coro_current() == ground ? 0 : -1;
}

/* A coroutine on top of its own stack. */
static struct coro *make(void (*entry)(struct coro *))
{
    struct stack *stack;
    COIL_CHECK(coil__stack_get(&pool, 0, &stack) == 0);
    struct coro *co = coil__stack_reserve(stack, sizeof *co);
    coil__coro_make(co, stack, entry);
    return co;
}

static void go_home(void)
{
    coil__coro_switch(ground);
}

/* ---- running and stopping ---- */

static void marks_abc(struct coro *self)
{
    leave_mark('a');
    go_home();
    leave_mark('b');
    go_home();
    leave_mark('c');
    coil__coro_exit_to(ground);
}

static void one_goes_on_where_it_stopped(void **state)
{
    struct coro *co = make(marks_abc);
    struct stack *stack = co->stack;
    assert_string_equal(trail, "");
    for (int i = 0; i < 3; i++) {
        leave_mark('0' + (char)i);
        coil__coro_switch(co);
    }
    assert_string_equal(trail, "0a1b2c");
    coil__stack_put(stack);
}

static struct coro *seen_inside;

static void looks_at_current(struct coro *self)
{
    seen_inside = coro_current();
    coil__coro_exit_to(ground);
}

static void current_is_who_runs(void **state)
{
    assert_ptr_equal(coro_current(), ground);
    assert_null(ground->stack);
    struct coro *co = make(looks_at_current);
    coil__coro_switch(co);
    assert_ptr_equal(seen_inside, co);
    assert_ptr_equal(coro_current(), ground);
    coil__stack_put(co->stack);
}

static struct coro *ring[3];

static void passes_on(struct coro *self)
{
    for (int round = 0; round < 3; round++) {
        int i = ring[0] == self ? 0 : ring[1] == self ? 1 : 2;
        leave_mark('A' + (char)i);
        coil__coro_switch(ring[(i + 1) % 3]);
    }
    coil__coro_exit_to(ground); /* the first one gets here */
}

static void they_switch_to_each_other_without_the_ground(void **state)
{
    for (int i = 0; i < 3; i++)
        ring[i] = make(passes_on);
    coil__coro_switch(ring[0]);
    assert_string_equal(trail, "ABCABCABC");
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            coil__coro_drop(ring[i]); /* stopped for good */
        coil__stack_put(ring[i]->stack);
    }
}

static void puts_its_own_stack(struct coro *self)
{
    coil__stack_put_leaving(self->stack);
    coil__coro_exit_to(ground);
}

static void a_finished_one_may_return_its_own_stack(void **state)
{
    struct coro *first = make(puts_its_own_stack);
    struct stack *stack = first->stack;
    coil__coro_switch(first);
    assert_int_equal(pool.in_use, 0);
    struct coro *second = make(puts_its_own_stack);
    assert_ptr_equal(second->stack, stack);
    coil__coro_switch(second);
}

static void one_never_started_may_be_dropped(void **state)
{
    struct coro *co = make(marks_abc);
    coil__coro_drop(co);
    coil__stack_put(co->stack);
    assert_string_equal(trail, "");
}

enum { MANY = 10000 };
static struct coro *many[MANY];
static int well;

static void stops_once(struct coro *self)
{
    volatile uintptr_t mine = (uintptr_t)self;
    go_home();
    well += mine == (uintptr_t)self;
    coil__coro_exit_to(ground);
}

static void ten_thousand_at_once(void **state)
{
    int n = COIL_TSAN ? 2000 : MANY; /* TSan holds some thousands of fibers */
    well = 0;
    for (int i = 0; i < n; i++) {
        many[i] = make(stops_once);
        coil__coro_switch(many[i]);
    }
    assert_int_equal(pool.in_use, n);
    for (int i = n - 1; i >= 0; i--) {
        coil__coro_switch(many[i]);
        coil__stack_put(many[i]->stack);
    }
    assert_int_equal(well, n);
}

/* ---- what a switch keeps ---- */

static bool aligned_at_entry, aligned_spill;

__attribute__((noinline)) static bool spills_vectors(double x)
{
    typedef double v2 __attribute__((vector_size(16)));
    volatile v2 a = {x, x + 1}, b = {x + 2, x + 3}; /* aligned moves where the CPU has them */
    v2 sum = a + b;
    return ((uintptr_t)&a & 15) == 0 && sum[0] == 2 * x + 2 && sum[1] == 2 * x + 4;
}

static void looks_at_alignment(struct coro *self)
{
    _Alignas(16) char local[16];
    aligned_at_entry = ((uintptr_t)__builtin_frame_address(0) & 15) == 0 &&
                       ((uintptr_t)memset(local, 0, sizeof local) & 15) == 0;
    aligned_spill = spills_vectors(1.5);
    coil__coro_exit_to(ground);
}

static void the_stack_is_aligned_at_entry(void **state)
{
    /* At every colour, and with odd things reserved above. */
    for (int i = 0; i < 20; i++) {
        struct stack *stack;
        struct coro co;
        assert_int_equal(coil__stack_get(&pool, 0, &stack), 0);
        assert_non_null(coil__stack_reserve(stack, (size_t)i * 7 + 1));
        coil__coro_make(&co, stack, looks_at_alignment);
        aligned_at_entry = aligned_spill = false;
        coil__coro_switch(&co);
        assert_true(aligned_at_entry);
        assert_true(aligned_spill);
        many[i] = (struct coro *)stack;
    }
    for (int i = 0; i < 20; i++)
        coil__stack_put((struct stack *)many[i]);
}

/* Fills all registers that a callee must keep, over and over. */
__attribute__((noinline)) static void trample(void)
{
#if defined(__x86_64__)
    __asm__ volatile(
        "mov $-1, %%rbx; mov $-1, %%r12; mov $-1, %%r13; mov $-1, %%r14; mov $-1, %%r15" ::
            : "rbx", "r12", "r13", "r14", "r15");
#elif defined(__aarch64__)
    __asm__ volatile("mov x19, -1; mov x20, -1; mov x21, -1; mov x22, -1; mov x23, -1; mov x24, -1;"
                     "mov x25, -1; mov x26, -1; mov x27, -1; mov x28, -1;"
                     "fmov d8, 1.0; fmov d9, 1.0; fmov d10, 1.0; fmov d11, 1.0; fmov d12, 1.0;"
                     "fmov d13, 1.0; fmov d14, 1.0; fmov d15, 1.0" ::
                         : "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28",
                           "d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15");
#endif
}

static void tramples(struct coro *self)
{
    for (;;) {
        trample();
        go_home();
    }
}

/* Holds a value in each register a callee must keep while another coroutine runs. */
__attribute__((noinline)) static bool registers_survive(struct coro *other, uintptr_t seed)
{
#if defined(__x86_64__)
    register uintptr_t a __asm__("rbx") = seed + 1, b __asm__("r12") = seed + 2;
    register uintptr_t c __asm__("r13") = seed + 3, d __asm__("r14") = seed + 4;
    register uintptr_t e __asm__("r15") = seed + 5;
    __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e));
    coil__coro_switch(other);
    __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e));
    return a == seed + 1 && b == seed + 2 && c == seed + 3 && d == seed + 4 && e == seed + 5;
#elif defined(__aarch64__)
    register uintptr_t a __asm__("x19") = seed + 1, b __asm__("x20") = seed + 2;
    register uintptr_t c __asm__("x21") = seed + 3, d __asm__("x22") = seed + 4;
    register uintptr_t e __asm__("x23") = seed + 5, f __asm__("x24") = seed + 6;
    register uintptr_t g __asm__("x25") = seed + 7, h __asm__("x26") = seed + 8;
    __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+r"(g), "+r"(h));
    coil__coro_switch(other);
    __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+r"(g), "+r"(h));
    return a == seed + 1 && b == seed + 2 && c == seed + 3 && d == seed + 4 && e == seed + 5 &&
           f == seed + 6 && g == seed + 7 && h == seed + 8;
#else
    coil__coro_switch(other);
    return true;
#endif
}

static void registers_a_callee_keeps_survive(void **state)
{
    struct coro *co = make(tramples);
    for (uintptr_t i = 0; i < 100; i++)
        assert_true(registers_survive(co, i * 1000003));
    coil__coro_drop(co);
    coil__stack_put(co->stack);
}

/* Eight values at a time, as many as aarch64 keeps in d8 to d15. */
__attribute__((noinline)) static double sums_across(struct coro *other, double x)
{
    double a = x + 1, b = x * 2, c = x / 3, d = x - 4, e = x * x, f = x + 6, g = x * 7, h = x / 8;
    coil__coro_switch(other);
    return a + b + c + d + e + f + g + h;
}

static void floating_point_values_survive(void **state)
{
    struct coro *co = make(tramples);
    for (int i = 0; i < 100; i++) {
        double x = i * 0.7;
        double expected = (x + 1) + x * 2 + x / 3 + (x - 4) + x * x + (x + 6) + x * 7 + x / 8;
        double got = sums_across(co, x);
        assert_true(got > expected - 1e-9 && got < expected + 1e-9);
    }
    coil__coro_drop(co);
    coil__stack_put(co->stack);
}

static void rounds_up(struct coro *self)
{
    fesetround(FE_UPWARD);
    coil__coro_exit_to(ground);
}

static void the_rounding_mode_is_the_thread_s(void **state)
{
#if defined(COIL_SWITCH_UCONTEXT)
    skip(); /* libc keeps one for each context */
#endif
    if (tool_on_valgrind())
        skip(); /* it keeps one mode of its own */
    struct coro *co = make(rounds_up);
    coil__coro_switch(co);
    int mode = fegetround();
    fesetround(FE_TONEAREST);
    assert_int_equal(mode, FE_UPWARD);
    coil__stack_put(co->stack);
}

/* ---- threads ---- */

static void runs_its_own(void *arg)
{
    bool *all_well = arg;
    struct stack_pool mine;
    struct stack *stack;
    struct coro *own = coil__coro_main();
    *all_well = own != ground && coro_current() == own && own->stack == NULL;
    COIL_CHECK(coil__stack_pool_init(&mine, 0) == 0 && coil__stack_get(&mine, 0, &stack) == 0);
    coil__stack_put(stack);
    *all_well = *all_well && coil__stack_pool_fini(&mine) == 0;
}

static void each_thread_has_a_stack_of_its_own(void **state)
{
    struct thread thread;
    bool all_well = false;
    assert_int_equal(coil__thread_start(&thread, "own", runs_its_own, &all_well), 0);
    coil__thread_join(&thread);
    assert_true(all_well);
    assert_ptr_equal(coro_current(), ground);
}

/* ---- unwinding ---- */

static int refused;

static void leaves_for_good(struct coro *self)
{
    coil__coro_exit_to(ground);
}

static void waits_for_ever(struct coro *self)
{
    go_home();
    while (coil__coro_unwinding()) {
        if (coil__coro_refuse(coil__coro_unwinding()) != COIL_EEXIT)
            leave_mark('?');
        refused++;
    }
    leave_mark('X');
    coil__coro_exit_to(ground);
}

static void after_a_thousand_refusals_it_is_abandoned(void **state)
{
    struct coro *co = make(waits_for_ever);
    co->abandon = leaves_for_good;
    coil__coro_switch(co);
    refused = 0;
    coro_unwind(co, co);
    assert_int_equal(refused, CORO_REFUSALS_MAX);
    assert_string_equal(trail, "");
    coil__stack_put(co->stack); /* here nothing else looks at it: no need to lose it */
}

static struct coro *found;

static void asks_who_is_unwound(struct coro *self)
{
    found = coil__coro_unwinding();
    coil__coro_exit_to(ground);
}

static void who_drives_an_unwinding_one_may_still_wait(void **state)
{
    struct coro *driver = make(marks_abc), *driven = make(asks_who_is_unwound);
    driven->resumer = driver;
    found = driver;
    coil__coro_switch(driven);
    assert_null(found);
    coil__stack_put(driven->stack);
    driven = make(asks_who_is_unwound);
    driven->resumer = driver;
    coro_unwind(driver, driven);
    assert_ptr_equal(found, driver);
    coil__stack_put(driven->stack);
    coil__coro_drop(driver);
    coil__stack_put(driver->stack);
}

/* ---- what a debugger sees ---- */

__attribute__((noinline)) void test_coro_here(void);
__attribute__((noinline)) void test_coro_here(void)
{
    __asm__ volatile("");
}

__attribute__((noinline)) static void calls_here(void)
{
    test_coro_here();
    go_home();
    __asm__ volatile("");
}

static void stands_still(struct coro *self)
{
    calls_here();
    coil__coro_exit_to(ground);
}

static int stand_still(void)
{
    setup(NULL);
    struct coro *co = make(stands_still);
    coil__coro_switch(co);
    coil__coro_switch(co);
    return 0;
}

/* What gdb says about this program, "" when there is no gdb that can run it. */
static const char *gdb_says(const char *commands)
{
    static char text[65536];
    char command[1024], self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    COIL_CHECK(n > 0);
    self[n] = '\0';
    snprintf(
        command, sizeof command,
        "gdb -nx -batch -ex 'set startup-with-shell off' -ex 'break test_coro_here' -ex run %s "
        "--args '%s' stand-still 2>&1 </dev/null",
        commands, self);
    FILE *f = popen(command, "r");
    size_t got = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[got] = '\0';
    if (f)
        pclose(f);
    return strstr(text, "Breakpoint 1, ") ? text : "";
}

static bool debugger_is_of_use(void)
{
#if COIL_ASAN || COIL_TSAN
    return false; /* they do not like to be traced, and add frames */
#elif defined(COIL_SWITCH_UCONTEXT)
    return false; /* libc's frames, not ours */
#else
    return !tool_on_valgrind();
#endif
}

static void a_backtrace_ends_where_the_coroutine_begins(void **state)
{
    const char *text = debugger_is_of_use() ? gdb_says("-ex bt") : "";
    if (!*text)
        skip();
    assert_non_null(strstr(text, "calls_here"));
    assert_non_null(strstr(text, "stands_still"));
    assert_non_null(strstr(text, "switch_start"));
    assert_null(strstr(text, "Backtrace stopped"));
    assert_null(strstr(text, "corrupt"));
    assert_null(strstr(text, "main ("));
}

static void every_instruction_of_a_switch_can_be_unwound(void **state)
{
    /* From the first instruction of a switch back to the ground, as many steps as it has: the
     * outermost frame is the coroutine's beginning, then, once the stack is swapped, main. */
#define STEP "-ex 'bt -1' -ex stepi "
    const char *text = debugger_is_of_use()
                           ? gdb_says("-ex 'break *coil__switch' -ex continue " STEP STEP STEP STEP
                                          STEP STEP STEP STEP STEP STEP STEP STEP STEP STEP STEP
                                      "-ex 'bt -1'")
                           : "";
    if (!*text)
        skip();
    int begins = 0, mains = 0;
    const char *at = text;
    while ((at = strchr(at, '\n'))) {
        at++;
        if (*at != '#')
            continue;
        const char *end = strchr(at, '\n');
        const char *name = strstr(at, "switch_start");
        begins += name && end && name < end;
        name = strstr(at, "main (");
        mains += name && end && name < end;
    }
    (void)begins;
    assert_null(strstr(text, "Backtrace stopped"));
    assert_null(strstr(text, "corrupt"));
#if defined(__x86_64__)
    assert_int_equal(begins, 9); /* before endbr64, after six pushes, after the save */
    assert_int_equal(mains, 7);
#endif
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "stand-still") == 0)
        return stand_still();
#define T(fact) cmocka_unit_test_setup_teardown(fact, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(one_goes_on_where_it_stopped),
        T(current_is_who_runs),
        T(they_switch_to_each_other_without_the_ground),
        T(a_finished_one_may_return_its_own_stack),
        T(one_never_started_may_be_dropped),
        T(ten_thousand_at_once),
        T(the_stack_is_aligned_at_entry),
        T(registers_a_callee_keeps_survive),
        T(floating_point_values_survive),
        T(the_rounding_mode_is_the_thread_s),
        T(each_thread_has_a_stack_of_its_own),
        T(after_a_thousand_refusals_it_is_abandoned),
        T(who_drives_an_unwinding_one_may_still_wait),
        T(a_backtrace_ends_where_the_coroutine_begins),
        T(every_instruction_of_a_switch_can_be_unwound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
