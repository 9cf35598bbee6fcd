/* SPDX-License-Identifier: MIT
 *
 * unwind.c: walks up the copy of a stack by DWARF call frame information.
 *
 *     pc --dl_iterate_phdr--> .eh_frame_hdr --binary search--> FDE, CIE --their program up to pc--> rules
 *     rules: the CFA is register + offset; the return address and the frame pointer lie at CFA + offset
 *
 * Where the kernel told pc and sp but not the frame pointer, and the rule needs it, the frame's end is looked for: the first two
 * words from sp up that can be (frame pointer, return address), where the call before that address is one of this very function.
 *
 * Always true:
 *   - of the stack only the copy is read; a word outside of it ends the walk;
 *   - tables and code are read while the loader's lock keeps their object in memory;
 *   - what is not understood ends the walk: nothing is made up.
 *
 * Any thread. */
#include "base/unwind.h"

#include "base/sys.h"

#include <link.h>
#include <string.h>

bool coil__stack_copy(struct stack_copy *out, uintptr_t sp)
{
    out->from = sp & ~(uintptr_t)(sizeof(uintptr_t) - 1);
    out->n = 0;
    struct iovec to = {.iov_base = out->words, .iov_len = sizeof out->words};
    /* The kernel may take a piece of it as a whole or not at all: pieces that end with pages, then. */
    enum { PIECE = 4096, PIECES = sizeof out->words / PIECE };
    struct iovec from[PIECES];
    uintptr_t at = out->from;
    size_t left = sizeof out->words, n = 0;
    while (left > 0 && n < PIECES) {
        size_t piece = PIECE - at % PIECE < left ? PIECE - at % PIECE : left;
        from[n++] = (struct iovec){.iov_base = (void *)at, .iov_len = piece};
        at += piece;
        left -= piece;
    }
    ssize_t got = sys_process_vm_readv(sys_getpid(), &to, 1, from, n, 0);
    out->n = got > 0 ? (size_t)got / sizeof out->words[0] : 0;
    return out->n > 0;
}

/* The first object is the program. */
static int keep_first(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    *(uintptr_t *)arg = info->dlpi_addr;
    return 1;
}

uintptr_t coil__unwind_program(void)
{
    uintptr_t at = 0;
    dl_iterate_phdr(keep_first, &at);
    return at;
}

#if UNWIND_KNOWN

enum { REGISTER_FP = 6, REGISTER_SP = 7, REGISTER_PC = 16 }; /* as DWARF counts on x86-64 */

/* ---- reading ---- */

struct cursor {
    const unsigned char *at, *end;
    bool bad;
};

static uint64_t take(struct cursor *c, size_t n)
{
    uint64_t value = 0;
    if (c->bad || (size_t)(c->end - c->at) < n) {
        c->bad = true;
        return 0;
    }
    memcpy(&value, c->at, n); /* both are little-endian */
    c->at += n;
    return value;
}

static uint64_t take_uleb(struct cursor *c)
{
    uint64_t value = 0, byte = 0x80;
    for (unsigned shift = 0; (byte & 0x80) && !c->bad; shift += 7) {
        byte = take(c, 1);
        if (shift < 64)
            value |= (byte & 0x7f) << shift;
    }
    return value;
}

static int64_t take_sleb(struct cursor *c)
{
    uint64_t value = 0, byte = 0x80;
    unsigned shift = 0;
    while ((byte & 0x80) && !c->bad) {
        byte = take(c, 1);
        if (shift < 64)
            value |= (byte & 0x7f) << shift;
        shift += 7;
    }
    if (shift < 64 && (byte & 0x40))
        value |= ~(uint64_t)0 << shift;
    return (int64_t)value;
}

/* An address in one of the forms that linkers use. */
static uintptr_t take_encoded(struct cursor *c, unsigned form)
{
    uintptr_t place = (uintptr_t)c->at, value;
    switch (form & 0x0f) {
    case 0x00:
    case 0x04:
    case 0x0c: value = take(c, 8); break;
    case 0x03: value = take(c, 4); break;
    case 0x0b: value = (uintptr_t)(int64_t)(int32_t)take(c, 4); break;
    default: c->bad = true; return 0;
    }
    switch (form & 0x70) {
    case 0x00: return value;
    case 0x10: return value + place;
    default: c->bad = true; return 0;
    }
}

/* A record of .eh_frame: its contents, without the length. */
static bool record_at(const unsigned char *at, struct cursor *out)
{
    uint32_t length;
    memcpy(&length, at, sizeof length);
    *out = (struct cursor){.at = at + 4, .end = at + 4 + length};
    return length > 4 && length < UINT32_C(0xfffffff0);
}

/* ---- rules ---- */

enum how { HOW_SAME, HOW_AT_CFA, HOW_UNDEFINED, HOW_UNKNOWN };

struct rule {
    enum how how;
    int64_t offset;
};

struct rules {
    unsigned cfa_register;
    int64_t cfa_offset;
    bool cfa_known;
    struct rule fp, pc;
};

struct common { /* of a CIE */
    uint64_t code_align;
    int64_t data_align;
    unsigned form;
    bool augmented, of_signal;
    struct cursor program;
};

static bool read_common(const unsigned char *at, struct common *out)
{
    struct cursor c;
    *out = (struct common){.form = 0};
    if (!record_at(at, &c) || take(&c, 4) != 0)
        return false;
    uint64_t version = take(&c, 1);
    const char *words = (const char *)c.at;
    while (take(&c, 1) != 0 && !c.bad)
        continue;
    out->code_align = take_uleb(&c);
    out->data_align = take_sleb(&c);
    uint64_t pc = version == 1 ? take(&c, 1) : take_uleb(&c);
    if (c.bad || pc != REGISTER_PC || (version != 1 && version != 3))
        return false;
    out->augmented = words[0] == 'z';
    uint64_t n = out->augmented ? take_uleb(&c) : 0;
    if (c.bad || n > (size_t)(c.end - c.at) || (words[0] && !out->augmented))
        return false;
    struct cursor more = {.at = c.at, .end = c.at + n};
    for (const char *w = words + 1; out->augmented && *w; w++) {
        if (*w == 'R')
            out->form = (unsigned)take(&more, 1);
        else if (*w == 'L')
            (void)take(&more, 1);
        else if (*w == 'P')
            (void)take_encoded(&more, (unsigned)take(&more, 1) & 0x0f);
        else if (*w == 'S')
            out->of_signal = true;
        else
            return false;
    }
    out->program = (struct cursor){.at = c.at + n, .end = c.end};
    return !more.bad;
}

static void set_rule(struct rules *r, uint64_t which, enum how how, int64_t offset)
{
    if (which == REGISTER_FP)
        r->fp = (struct rule){how, offset};
    else if (which == REGISTER_PC)
        r->pc = (struct rule){how, offset};
}

static void restore_rule(struct rules *r, const struct rules *first, uint64_t which)
{
    if (which == REGISTER_FP)
        r->fp = first->fp;
    else if (which == REGISTER_PC)
        r->pc = first->pc;
}

static void set_cfa(struct rules *r, uint64_t which, int64_t offset)
{
    r->cfa_register = (unsigned)which;
    r->cfa_offset = offset;
    r->cfa_known = true;
}

enum { REMEMBERED = 8 };

struct machine {
    const struct common *common;
    const struct rules *first; /* what the CIE's program made */
    struct rules rules, kept[REMEMBERED];
    size_t kept_n;
};

/* What is told by numbers of its own; false: not understood. */
static bool do_extended(struct machine *m, struct cursor *c, unsigned op)
{
    struct rules *r = &m->rules;
    int64_t scale = m->common->data_align;
    uint64_t which;
    switch (op) {
    case 0x00: /* nop */ return true;
    case 0x05: /* offset_extended */
        which = take_uleb(c);
        set_rule(r, which, HOW_AT_CFA, (int64_t)take_uleb(c) * scale);
        return true;
    case 0x11: /* offset_extended_sf */
        which = take_uleb(c);
        set_rule(r, which, HOW_AT_CFA, take_sleb(c) * scale);
        return true;
    case 0x06: /* restore_extended */ restore_rule(r, m->first, take_uleb(c)); return true;
    case 0x07: /* undefined */ set_rule(r, take_uleb(c), HOW_UNDEFINED, 0); return true;
    case 0x08: /* same_value */ set_rule(r, take_uleb(c), HOW_SAME, 0); return true;
    case 0x09: /* register */
        set_rule(r, take_uleb(c), HOW_UNKNOWN, 0);
        (void)take_uleb(c);
        return true;
    case 0x0a: /* remember_state */
        if (m->kept_n == REMEMBERED)
            return false;
        m->kept[m->kept_n++] = *r;
        return true;
    case 0x0b: /* restore_state */
        if (m->kept_n == 0)
            return false;
        *r = m->kept[--m->kept_n];
        return true;
    case 0x0c: /* def_cfa */
        which = take_uleb(c);
        set_cfa(r, which, (int64_t)take_uleb(c));
        return true;
    case 0x12: /* def_cfa_sf */
        which = take_uleb(c);
        set_cfa(r, which, take_sleb(c) * scale);
        return true;
    case 0x0d: /* def_cfa_register */ set_cfa(r, take_uleb(c), r->cfa_offset); return true;
    case 0x0e: /* def_cfa_offset */ r->cfa_offset = (int64_t)take_uleb(c); return true;
    case 0x13: /* def_cfa_offset_sf */ r->cfa_offset = take_sleb(c) * scale; return true;
    case 0x0f: /* def_cfa_expression */
        c->at += take_uleb(c);
        r->cfa_known = false;
        return true;
    case 0x10: /* expression */
    case 0x16: /* val_expression */
        set_rule(r, take_uleb(c), HOW_UNKNOWN, 0);
        c->at += take_uleb(c);
        return true;
    case 0x2e: /* GNU_args_size */ (void)take_uleb(c); return true;
    default: return false;
    }
}

/* Runs a program until it speaks of what lies behind `pc`. */
static bool run(struct machine *m, struct cursor c, uintptr_t at, uintptr_t pc)
{
    while (c.at < c.end && !c.bad) {
        unsigned op = (unsigned)take(&c, 1), low = op & 0x3f;
        uint64_t ahead = 0;
        if (op >> 6 == 1)
            ahead = low;
        else if (op == 0x02 || op == 0x03 || op == 0x04)
            ahead = take(&c, op == 0x02 ? 1 : op == 0x03 ? 2 : 4);
        else if (op >> 6 == 2)
            set_rule(&m->rules, low, HOW_AT_CFA, (int64_t)take_uleb(&c) * m->common->data_align);
        else if (op >> 6 == 3)
            restore_rule(&m->rules, m->first, low);
        else if (!do_extended(m, &c, op))
            return false;
        at += ahead * m->common->code_align;
        if (at > pc)
            return true;
    }
    return !c.bad;
}

/* ---- the table of an object ---- */

struct search {
    struct unwind *u;
    uintptr_t pc; /* within the call, not behind it */
    bool outward; /* also go there */
    bool done;    /* it went well */
};

/* The FDE of `pc` by the sorted table in .eh_frame_hdr; NULL: there is none. */
static const unsigned char *look_up(const unsigned char *header, uintptr_t pc)
{
    if (header[0] != 1 || header[2] != 0x03 || header[3] != 0x3b)
        return NULL;
    struct cursor c = {.at = header + 4, .end = header + 4 + 16};
    (void)take_encoded(&c, header[1]);
    size_t n = take(&c, 4), low = 0, high = n;
    const unsigned char *table = c.at;
    int32_t entry[2];
    if (c.bad || n == 0)
        return NULL;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        memcpy(entry, table + middle * sizeof entry, sizeof entry);
        if ((uintptr_t)header + (uintptr_t)(intptr_t)entry[0] <= pc)
            low = middle;
        else
            high = middle;
    }
    memcpy(entry, table + low * sizeof entry, sizeof entry);
    if ((uintptr_t)header + (uintptr_t)(intptr_t)entry[0] > pc)
        return NULL;
    return header + entry[1];
}

static bool word_at(const struct stack_copy *s, uintptr_t address, uintptr_t *out)
{
    if (address % sizeof(uintptr_t) != 0 || address < s->from ||
        (address - s->from) / sizeof(uintptr_t) >= s->n)
        return false;
    *out = s->words[(address - s->from) / sizeof(uintptr_t)];
    return true;
}

/* ---- a frame pointer that nobody told ---- */

struct part {
    uintptr_t address;
    size_t n;
    uint32_t flags; /* PF_ */
    bool found;
};

static int look_for_part(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct part *part = arg;
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + h->p_vaddr;
        if (h->p_type == PT_LOAD && (h->p_flags & part->flags) == part->flags &&
            part->address >= from && part->address + part->n - from <= h->p_filesz)
            part->found = true;
    }
    return part->found;
}

/* The loader's lock is a recursive one. */
static bool is_mapped(uintptr_t address, size_t n, uint32_t flags)
{
    struct part part = {.address = address, .n = n, .flags = flags};
    dl_iterate_phdr(look_for_part, &part);
    return part.found;
}

/* Constants next to the code may look like calls. */
static bool is_code(uintptr_t address, size_t n)
{
    return is_mapped(address, n, PF_R | PF_X);
}

/* Where `call` went that ends before this address; through the PLT's jump if it is one. */
static uintptr_t called_from(uintptr_t after)
{
    const unsigned char *code = (const unsigned char *)after;
    int32_t relative;
    if (code[-5] != 0xe8)
        return 0;
    memcpy(&relative, code - 4, sizeof relative);
    uintptr_t target = after + (uintptr_t)(intptr_t)relative;
    if (!is_code(target, 16))
        return 0;
    const unsigned char *stub = (const unsigned char *)target;
    static const unsigned char landing[] = {0xf3, 0x0f, 0x1e, 0xfa};
    if (memcmp(stub, landing, sizeof landing) == 0)
        stub += sizeof landing;
    stub += stub[0] == 0xf2; /* bnd */
    if (stub[0] != 0xff || stub[1] != 0x25)
        return target;
    memcpy(&relative, stub + 2, sizeof relative);
    uintptr_t slot = (uintptr_t)(stub + 6) + (uintptr_t)(intptr_t)relative;
    return is_mapped(slot, sizeof slot, PF_R) ? *(const uintptr_t *)slot : 0;
}

/* Does a call of `function` end before this address? By a register or from memory it may be any. */
static bool follows_call_of(uintptr_t after, uintptr_t function)
{
    if (!is_code(after - 8, 8))
        return false;
    if (called_from(after) == function)
        return true;
    const unsigned char *code = (const unsigned char *)after;
    for (int n = 2; n <= 7; n++)
        if (code[-n] == 0xff && (code[-n + 1] & 0x38) == 0x10 && (n < 4 || n > 5))
            return true;
    return false;
}

static bool find_fp(struct unwind *u)
{
    uintptr_t outer, after;
    for (uintptr_t at = u->sp; word_at(u->stack, at + sizeof at, &after); at += sizeof at)
        if (word_at(u->stack, at, &outer) && (outer > at || outer == 0) &&
            outer % sizeof outer == 0 && after && follows_call_of(after, u->function)) {
            u->fp = at;
            u->knows_fp = true;
            return true;
        }
    return false;
}

/* ---- one step ---- */

static bool follow(struct unwind *u, const struct rules *r)
{
    uintptr_t cfa, pc, fp = u->fp;
    bool knows_fp = u->knows_fp;
    if (!r->cfa_known || r->pc.how != HOW_AT_CFA)
        return false;
    if (r->cfa_register == REGISTER_FP && (u->knows_fp || find_fp(u)))
        cfa = u->fp;
    else if (r->cfa_register == REGISTER_SP)
        cfa = u->sp;
    else
        return false;
    cfa += (uintptr_t)r->cfa_offset;
    if (cfa <= u->sp || !word_at(u->stack, cfa + (uintptr_t)r->pc.offset, &pc) || !pc)
        return false;
    if (r->fp.how == HOW_AT_CFA)
        knows_fp = word_at(u->stack, cfa + (uintptr_t)r->fp.offset, &fp);
    else if (r->fp.how != HOW_SAME)
        knows_fp = false;
    u->pc = pc;
    u->sp = cfa;
    u->fp = fp;
    u->knows_fp = knows_fp;
    return true;
}

static bool use_record(struct search *s, const unsigned char *at)
{
    struct cursor c;
    struct common common;
    if (!record_at(at, &c))
        return false;
    const unsigned char *place = c.at;
    uint64_t back = take(&c, 4);
    if (back == 0 || !read_common(place - back, &common))
        return false;
    uintptr_t from = take_encoded(&c, common.form);
    uintptr_t n = take_encoded(&c, common.form & 0x0f);
    if (c.bad || s->pc < from || s->pc - from >= n)
        return false;
    s->u->function = from;
    if (!s->outward)
        return true;
    if (common.augmented)
        c.at += take_uleb(&c);
    const struct rules nothing = {.cfa_known = false};
    struct machine m = {.common = &common, .first = &nothing, .rules = nothing};
    if (!run(&m, common.program, 0, 0))
        return false;
    const struct rules first = m.rules;
    m.first = &first;
    return run(&m, c, from, s->pc) && follow(s->u, &m.rules);
}

static int look_at_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct search *s = arg;
    const unsigned char *header = NULL;
    bool here = false;
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + h->p_vaddr;
        if (h->p_type == PT_LOAD && s->pc >= from && s->pc - from < h->p_memsz)
            here = true;
        if (h->p_type == PT_GNU_EH_FRAME)
            header = (const unsigned char *)from;
    }
    if (!here)
        return 0;
    const unsigned char *record = header ? look_up(header, s->pc) : NULL;
    s->u->object = info->dlpi_addr;
    s->done = record && use_record(s, record);
    return 1;
}

static bool search(struct unwind *u, bool outward)
{
    struct search s = {.u = u, .pc = u->pc - !u->inner, .outward = outward};
    dl_iterate_phdr(look_at_object, &s);
    return s.done;
}

bool coil__unwind_find(struct unwind *u)
{
    return search(u, false);
}

bool coil__unwind_outward(struct unwind *u)
{
    if (!search(u, true))
        return false;
    u->inner = false;
    return true;
}

#else

bool coil__unwind_find(struct unwind *u)
{
    (void)u;
    return false;
}

bool coil__unwind_outward(struct unwind *u)
{
    (void)u;
    return false;
}

#endif
