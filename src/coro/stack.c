/* SPDX-License-Identifier: MIT
 *
 * stack.c: map, guard, reuse, give back.
 *
 * An arena is one NORESERVE mapping: a header, then slots back to back. Arenas of a class double in
 * slots up to 1 GB, so that a program with three coroutines reserves little and one with a million
 * maps some dozens of times.
 *
 *     | struct stack_arena, cold slots' numbers | guard, stack 0 | guard, stack 1 | ...
 *
 * A slot's life:
 *
 *     never used --get--> out --put--> idle (pages kept, in a list through the stacks themselves)
 *                          ^            |  |
 *                          '----get-----'  '--trim--> cold (no pages; its number is in the arena)
 *                          ^                            |
 *                          '------------get-------------'
 *
 * Pages: a stack that comes home deep (touched below its first 16 KB) keeps its pages while few do,
 * since the next coroutine will likely want them; beyond DEEP_MAX of them the cold part goes back
 * to the kernel at once. Whole stacks go back when someone calls trim, or beyond idle_max.
 *
 * Runs on the pool's thread. Elsewhere: the picture of a slot (stack.h). */
#include "coro/stack.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/sys.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

#define KB          ((size_t)1 << 10)
#define MB          ((size_t)1 << 20)
#define ARENA_MAX   ((size_t)1 << 30)
#define SLOTS_FIRST 16
#define SLOTS_MAX   32768
#define COLOURS     16
#define COLOUR_STEP 128
#define KEEP        (16 * KB * COIL_STACK_FACTOR) /* of a deep stack's pages, what stays */
#define DEEP_MAX    16
#define REMAINS_MIN (8 * KB)
#define THE_WAY     ((size_t)256) /* at the end of a top page */
enum { ASKED_PAGES = 256, ASKED_EVERY = 16, CAREFUL = 64 };

struct stack_arena {
    struct stack_arena *next;
    char *slots; /* slot 0 */
    size_t bytes;
    uint32_t slots_n;
    uint32_t fresh; /* slots from here on were never used */
    uint32_t cold_n;
    uint32_t home;   /* counted by fini */
    uint32_t cold[]; /* slots_n of them */
};

_Static_assert(sizeof(struct stack) <= 128, "the head of a stack is two cache lines at most");
_Static_assert(STACK_CLASSES < 255, "class_index is a byte");

static const size_t class_sizes[STACK_CLASSES] = {32 * KB, 64 * KB, 256 * KB, 1 * MB, 8 * MB};

static size_t page_size(void)
{
    static size_t size;
    size_t s = __atomic_load_n(&size, __ATOMIC_RELAXED);
    if (!s) {
        s = (size_t)sysconf(_SC_PAGESIZE);
        __atomic_store_n(&size, s, __ATOMIC_RELAXED);
    }
    return s;
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* The class with room for `size` bytes; NULL: larger than all. */
static struct stack_class *class_for(struct stack_pool *pool, size_t size)
{
    for (int i = 0; i < STACK_CLASSES; i++)
        if (size * COIL_STACK_FACTOR <= pool->classes[i].size)
            return &pool->classes[i];
    return NULL;
}

static struct stack_class *class_of(const struct stack *s)
{
    return s->class_index < STACK_CLASSES ? &s->pool->classes[s->class_index] : &s->pool->own;
}

static size_t stride(const struct stack_class *cls)
{
    return cls->guard + cls->size;
}

static char *slot_start(const struct stack_arena *arena, const struct stack_class *cls,
                        uint32_t slot)
{
    return arena->slots + slot * stride(cls);
}

char *coil__stack_guard(const struct stack *s)
{
    return s->low - class_of(s)->guard;
}

int coil__stack_pool_init(struct stack_pool *pool, size_t default_size)
{
    if (default_size > STACK_SIZE_MAX)
        return (int)coil__fail(-EINVAL, "a default stack of %zu bytes is beyond the limit of %zu",
                               default_size, STACK_SIZE_MAX);
    memset(pool, 0, sizeof *pool);
    for (int i = 0; i < STACK_CLASSES; i++) {
        struct stack_class *cls = &pool->classes[i];
        cls->size = round_up(class_sizes[i] * COIL_STACK_FACTOR, page_size());
        cls->guard = round_up(class_sizes[i] <= 64 * KB ? 16 * KB : 64 * KB, page_size());
    }
    pool->on_valgrind = tool_on_valgrind();
    pool->careful = CAREFUL;
    pool->usual = class_for(pool, default_size ? default_size : STACK_SIZE_DEFAULT);
    if (!pool->usual) {
        pool->usual = &pool->own;
        pool->own.size = round_up(default_size * COIL_STACK_FACTOR, page_size());
    }
    return 0;
}

/* ---- arenas ---- */

static size_t arena_head(uint32_t slots)
{
    return round_up(sizeof(struct stack_arena) + slots * sizeof(uint32_t), page_size());
}

static int arena_map(size_t stride_bytes, uint32_t slots, struct stack_arena **out_arena)
{
    size_t bytes = arena_head(slots) + slots * stride_bytes;
    void *p;
    int err = sys_mmap(bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, &p);
    if (err)
        return err;
    /* A huge page would make the first touch of a stack cost all of it. Kernels without them say
     * EINVAL. */
    (void)sys_madvise(p, bytes, MADV_NOHUGEPAGE);
    struct stack_arena *arena = p;
    arena->slots = (char *)p + arena_head(slots);
    arena->bytes = bytes;
    arena->slots_n = slots;
    *out_arena = arena;
    return 0;
}

static void arena_unmap(struct stack_arena *arena)
{
    size_t bytes = arena->bytes;
    tool_unmapping(arena, bytes);
    COIL_CHECK(sys_munmap(arena, bytes) == 0);
}

/* A new arena, twice the last one, or whatever still fits. */
static int class_grow(struct stack_class *cls)
{
    uint32_t slots = cls->arenas ? cls->arenas->slots_n * 2 : SLOTS_FIRST;
    int err;
    if (slots > SLOTS_MAX)
        slots = SLOTS_MAX;
    while (slots > SLOTS_FIRST && slots * stride(cls) > ARENA_MAX)
        slots /= 2;
    struct stack_arena *arena;
    while ((err = arena_map(stride(cls), slots, &arena)) == -ENOMEM && slots > 1)
        slots /= 2;
    if (err)
        return (int)coil__fail(err,
                               "no address space for a stack of %zu KB: %s "
                               "(see ulimit -v and the sysctl vm.max_map_count)",
                               cls->size / KB, coil_strerror(err));
    arena->next = cls->arenas;
    cls->arenas = arena;
    return 0;
}

/* ---- one slot ---- */

static int guard_install(struct stack_pool *pool, const struct stack_class *cls, char *start)
{
    int err = -EINVAL;
    if (!pool->guards_by_mprotect)
        err = sys_madvise(start, cls->guard, MADV_GUARD_INSTALL);
    if (err == 0 && !pool->guards_proven) {
        /* Emulators answer 0 to advice they never heard of; what can be read is no guard. */
        pool->guards_proven = sys_madvise(start, page_size(), MADV_POPULATE_READ) == -EFAULT;
        if (!pool->guards_proven)
            err = -EINVAL;
    }
    if (err == -EINVAL) {
        /* An older kernel, or locked memory. From here on each guard is a mapping of its own. */
        pool->guards_by_mprotect = true;
        err = sys_mprotect(start, cls->guard, PROT_NONE);
    }
    if (err)
        return (int)coil__fail(-ENOMEM,
                               "no guard page for a stack: %s; %zu stacks are in use, and "
                               "each guard is a mapping of its own here (raise the sysctl "
                               "vm.max_map_count, or use Linux 6.13)",
                               coil_strerror(err), pool->in_use);
    return 0;
}

/* Writes the head of a slot whose top page may be new. */
static struct stack *slot_head(struct stack_pool *pool, struct stack_class *cls,
                               struct stack_arena *arena, uint32_t slot)
{
    char *start = slot_start(arena, cls, slot);
    char *top = start + stride(cls) - (slot % COLOURS) * COLOUR_STEP;
    struct stack *s = (struct stack *)((uintptr_t)(top - sizeof *s) & ~(uintptr_t)63);
    *s = (struct stack){
        .pool = pool,
        .arena = arena,
        .low = start + cls->guard,
        .slot = slot,
        .class_index = (uint8_t)(cls == &pool->own ? STACK_CLASSES : cls - pool->classes),
    };
    return s;
}

static int slot_fresh(struct stack_pool *pool, struct stack_class *cls, struct stack **out)
{
    if (!cls->arenas || cls->arenas->fresh == cls->arenas->slots_n) {
        int err = class_grow(cls);
        if (err)
            return err;
    }
    struct stack_arena *arena = cls->arenas;
    int err = guard_install(pool, cls, slot_start(arena, cls, arena->fresh));
    if (err)
        return err;
    *out = slot_head(pool, cls, arena, arena->fresh++);
    pool->made++;
    return 0;
}

static struct stack *slot_cold(struct stack_pool *pool, struct stack_class *cls)
{
    struct stack_arena *arena = cls->arenas;
    while (arena->cold_n == 0)
        arena = arena->next;
    cls->cold_n--;
    return slot_head(pool, cls, arena, arena->cold[--arena->cold_n]);
}

/* All of its pages, its own head included; the arena remembers the number. */
static void give_back_whole(struct stack_class *cls, struct stack *s)
{
    struct stack_arena *arena = s->arena;
    uint32_t slot = s->slot;
    char *start = slot_start(arena, cls, slot);
    (void)sys_madvise(start + cls->guard, cls->size, MADV_DONTNEED);
    arena->cold[arena->cold_n++] = slot;
    cls->cold_n++;
}

/* ---- deep stacks ---- */

/* Below this line a stack that comes home deep has pages to give back. */
static char *keep_line(const struct stack *s)
{
    return (char *)((uintptr_t)((const char *)s - KEEP) & ~(uintptr_t)(page_size() - 1));
}

/* Frames grow downwards, so the last words of the page below the line are the first to be written.
 * Never written, they read as zero. */
READS_ANY_MEMORY static bool is_deep(const struct stack *s)
{
    if (s->deep)
        return true;
    if (stack_bytes(s) <= 2 * KEEP)
        return false;
    const volatile uint64_t *word = (const volatile uint64_t *)(const void *)keep_line(s) - 8;
    return (word[0] | word[1] | word[2] | word[3] | word[4] | word[5] | word[6] | word[7]) != 0;
}

static void give_back_deep(struct stack *s)
{
    char *line = keep_line(s);
    (void)sys_madvise(s->low, (size_t)(line - s->low), MADV_DONTNEED);
    s->deep = false;
}

/* ---- measured stacks ---- */

/* A measured stack goes out all zero below its top page: then what is not, was used. The top page counts as used. The kernel is asked which
 * pages there are below it; that costs as much as all the rest, and few go so deep:
 *
 *     low |  no pages  | kept |  pages that may be there, cleaned  | top page: the way ......... s |
 *
 * Who did wrote to the end of the top page on the way, and is always asked for. One that has leapt over it, with a large
 * array that it never wrote to, is found among those that are asked for anyway: the first ones, one of sixteen, and all for
 * a while after such a find. Only what this task alone can have done is told. */

/* The lowest page below `line` that was touched; `line`: none. */
static char *lowest_page(char *low, char *line)
{
    unsigned char there[ASKED_PAGES];
    size_t page = page_size();
    for (char *at = low; at < line;) {
        size_t left = (size_t)(line - at) / page, n = left < ASKED_PAGES ? left : ASKED_PAGES;
        if (n == 0 || sys_mincore(at, n * page, there) < 0)
            return line;
        for (size_t i = 0; i < n; i++, at += page)
            if (there[i] & 1)
                return at;
    }
    return line;
}

/* Upwards to where it is not zero, in steps of a cache line at first. */
READS_ANY_MEMORY static char *first_used(char *at, char *end)
{
    typedef uint64_t words __attribute__((vector_size(16), may_alias));
    for (; at + 64 <= end && (uintptr_t)at % 64 == 0; at += 64) {
        const words *w = (const words *)(const void *)at;
        words all = w[0] | w[1] | w[2] | w[3];
        if ((all[0] | all[1]) != 0)
            break;
    }
    while (at < end && *(const volatile uint64_t *)(const void *)at == 0)
        at += sizeof(uint64_t);
    return at;
}

READS_ANY_MEMORY static void clean(char *from, char *end)
{
    for (volatile uint64_t *word = (volatile uint64_t *)(void *)from;
         (char *)(uintptr_t)word < end;)
        *word++ = 0;
}

/* How deep it went below the top page; afterwards that is clean. Returns `line` for not at all. */
static char *measure_below(struct stack *s, char *line)
{
    char *low = lowest_page(s->low, line), *used = first_used(low, line), *kept = keep_line(s);
    if (kept < s->low)
        kept = s->low;
    if (low < kept)
        (void)sys_madvise(s->low, (size_t)(kept - s->low), MADV_DONTNEED);
    clean(used > kept ? used : kept, line);
    return used;
}

static void measure(struct stack *s)
{
    struct stack_pool *pool = s->pool;
    char *line = (char *)((uintptr_t)s & ~(uintptr_t)(page_size() - 1)), *deepest = line;
    bool on_the_way = first_used(line, line + THE_WAY) < line + THE_WAY;
    if (on_the_way || pool->careful > 0 || ++pool->unasked >= ASKED_EVERY) {
        pool->unasked = 0;
        pool->careful -= pool->careful > 0;
        char *below = measure_below(s, line);
        if (below < line) {
            pool->careful = CAREFUL;
            if (on_the_way || !s->unasked)
                deepest = below;
        }
        s->unasked = false;
        clean(line, line + THE_WAY);
    } else {
        s->unasked = true;
    }
    pool->measured(s, (size_t)((char *)s - deepest));
}

/* ---- get and put ---- */

static struct stack *handed_out(struct stack_pool *pool, struct stack *s)
{
    s->high = (char *)s;
    s->next = NULL;
    s->owner = NULL;
    s->valgrind_number = tool_stack_out(s->low, s->high, pool->on_valgrind);
    if (++pool->in_use > pool->high_water)
        pool->high_water = pool->in_use;
    return s;
}

static void unmap_leaving(struct stack_pool *pool)
{
    if (pool->leaving) {
        arena_unmap(pool->leaving);
        pool->leaving = NULL;
    }
}

/* Larger than all classes: an arena of one slot, unmapped when it comes home. */
static int get_own(struct stack_pool *pool, size_t size, struct stack **out)
{
    if (size > STACK_SIZE_MAX)
        return (int)coil__fail(-EINVAL, "a stack of %zu bytes is beyond the limit of %zu", size,
                               STACK_SIZE_MAX);
    unmap_leaving(pool);
    /* A class for this moment: `size` differs from mapping to mapping. */
    struct stack_class *own = &pool->own;
    size_t usual_size = own->size;
    own->guard = round_up(64 * KB, page_size());
    if (size)
        own->size = round_up(size * COIL_STACK_FACTOR, page_size());
    struct stack_arena *arena;
    int err = arena_map(stride(own), 1, &arena);
    if (err) {
        err = (int)coil__fail(err, "no address space for a stack of %zu KB: %s", own->size / KB,
                              coil_strerror(err));
        goto undo_size;
    }
    err = guard_install(pool, own, slot_start(arena, own, 0));
    if (err)
        goto undo_arena;
    arena->fresh = 1;
    *out = slot_head(pool, own, arena, 0);
    own->size = usual_size;
    arena->next = own->arenas;
    own->arenas = arena;
    pool->made++;
    return 0;
undo_arena:
    arena_unmap(arena);
undo_size:
    own->size = usual_size;
    return err;
}

static void put_own(struct stack_pool *pool, struct stack *s, bool leaving)
{
    struct stack_arena **at = &pool->own.arenas;
    while (*at != s->arena)
        at = &(*at)->next;
    *at = s->arena->next;
    pool->made--;
    unmap_leaving(pool);
    if (leaving)
        pool->leaving = s->arena;
    else
        arena_unmap(s->arena);
}

static int get_slow(struct stack_pool *pool, struct stack_class *cls, size_t size,
                    struct stack **out)
{
    struct stack *s = NULL;
    int err = 0;
    if (!cls || cls == &pool->own)
        err = get_own(pool, size, &s);
    else if (cls->cold_n > 0)
        s = slot_cold(pool, cls);
    else
        err = slot_fresh(pool, cls, &s);
    if (err)
        return err;
    *out = handed_out(pool, s);
    return 0;
}

int coil__stack_get(struct stack_pool *pool, size_t size, struct stack **out)
{
    struct stack_class *cls = pool->usual;
    if (size)
        cls = size <= STACK_SIZE_MAX ? class_for(pool, size) : NULL;
    if (coil_unlikely(!cls || !cls->idle))
        return get_slow(pool, cls, size, out);
    struct stack *s = cls->idle;
    cls->idle = s->next;
    cls->idle_n--;
    cls->deep_n -= s->deep;
    *out = handed_out(pool, s);
    return 0;
}

static struct stack_class *come_home(struct stack *s)
{
    struct stack_pool *pool = s->pool;
    COIL_DCHECK(pool->in_use > 0);
    pool->in_use--;
    tool_stack_home(s->low, (char *)s, pool->on_valgrind, s->valgrind_number);
    return class_of(s);
}

static void make_idle(struct stack_class *cls, struct stack *s)
{
    s->next = cls->idle;
    cls->idle = s;
    cls->idle_n++;
    cls->deep_n += s->deep;
}

/* Whether it is deep is not asked: looking would give it a page. */
__attribute__((cold, noinline)) static void put_measured(struct stack_pool *pool,
                                                         struct stack_class *cls, struct stack *s)
{
    measure(s);
    s->deep = false;
    if (pool->idle_max && cls->idle_n >= pool->idle_max)
        give_back_whole(cls, s);
    else
        make_idle(cls, s);
}

void coil__stack_put(struct stack *s)
{
    if (!s)
        return;
    struct stack_pool *pool = s->pool;
    struct stack_class *cls = come_home(s);
    if (cls == &pool->own) {
        put_own(pool, s, false);
        return;
    }
    if (coil_unlikely(pool->measured != NULL)) {
        put_measured(pool, cls, s);
        return;
    }
    if (pool->idle_max && cls->idle_n >= pool->idle_max) {
        give_back_whole(cls, s);
        return;
    }
    s->deep = is_deep(s);
    if (s->deep && cls->deep_n >= DEEP_MAX)
        give_back_deep(s);
    make_idle(cls, s);
}

void coil__stack_put_leaving(struct stack *s)
{
    struct stack_pool *pool = s->pool;
    struct stack_class *cls = come_home(s);
    if (cls == &pool->own)
        put_own(pool, s, true);
    else
        make_idle(cls, s);
}

void coil__stack_abandon(struct stack *s)
{
    s->pool->in_use--;
    s->pool->abandoned++;
}

void *coil__stack_reserve(struct stack *s, size_t n)
{
    size_t room = (size_t)(s->high - s->low);
    if (n > room || room - n < REMAINS_MIN)
        return NULL;
    s->high = (char *)((uintptr_t)(s->high - n) & ~(uintptr_t)63);
    return s->high;
}

/* ---- the pool as a whole ---- */

size_t coil__stack_pool_trim(struct stack_pool *pool, size_t keep, size_t max)
{
    size_t given = 0;
    unmap_leaving(pool);
    for (int i = 0; i < STACK_CLASSES; i++) {
        struct stack_class *cls = &pool->classes[i];
        if (cls->idle_n <= keep)
            continue;
        /* The list is warm at its head, so what stays is there. */
        struct stack **cut = &cls->idle;
        for (size_t n = 0; n < keep; n++)
            cut = &(*cut)->next;
        while (*cut && !(max && given == max)) {
            struct stack *s = *cut;
            *cut = s->next;
            cls->idle_n--;
            cls->deep_n -= s->deep;
            give_back_whole(cls, s);
            given++;
        }
    }
    return given;
}

/* Unmaps the arenas whose slots are all home; the others stay in the class. */
static void class_fini(struct stack_class *cls)
{
    for (struct stack_arena *a = cls->arenas; a; a = a->next)
        a->home = a->cold_n;
    for (struct stack *s = cls->idle; s; s = s->next)
        s->arena->home++;
    /* Idle stacks of an arena that stays must not be lost with the list. */
    struct stack *rest = NULL, *next;
    size_t rest_n = 0, deep_n = 0;
    for (struct stack *s = cls->idle; s; s = next) {
        next = s->next;
        if (s->arena->home < s->arena->fresh) {
            s->next = rest;
            rest = s;
            rest_n++;
            deep_n += s->deep;
        }
    }
    cls->idle = rest;
    cls->idle_n = rest_n;
    cls->deep_n = deep_n;
    struct stack_arena **at = &cls->arenas;
    while (*at) {
        struct stack_arena *a = *at;
        if (a->home < a->fresh) {
            at = &a->next;
            continue;
        }
        *at = a->next;
        cls->cold_n -= a->cold_n;
        arena_unmap(a);
    }
}

size_t coil__stack_pool_fini(struct stack_pool *pool)
{
    if (!pool || !pool->usual) /* never set up */
        return 0;
    unmap_leaving(pool);
    pool->made = 0;
    for (int i = 0; i < STACK_CLASSES; i++) {
        class_fini(&pool->classes[i]);
        for (struct stack_arena *a = pool->classes[i].arenas; a; a = a->next)
            pool->made += a->fresh;
    }
    for (struct stack_arena *a = pool->own.arenas; a; a = a->next)
        pool->made++;
    return pool->in_use;
}

READS_ANY_MEMORY size_t coil__stack_used(const struct stack *s)
{
    const char *at = s->low;
    while (at < (const char *)s && *(const volatile uintptr_t *)(const void *)at == 0)
        at += sizeof(uintptr_t);
    return (size_t)((const char *)s - at);
}

void coil__stack_pool_stats(const struct stack_pool *pool, struct stack_stats *out)
{
    *out = (struct stack_stats){
        .made = pool->made,
        .in_use = pool->in_use,
        .high_water = pool->high_water,
        .abandoned = pool->abandoned,
    };
    for (int i = 0; i < STACK_CLASSES; i++) {
        out->idle += pool->classes[i].idle_n;
        out->cold += pool->classes[i].cold_n;
    }
}
