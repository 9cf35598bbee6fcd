/* SPDX-License-Identifier: MIT
 *
 * parts.c: an entry of the shell, taken apart. */
#include "cmd/parts.h"

#include <stdlib.h>
#include <string.h>

/* Each list begins and ends with a blank, for token_is_among. */
static const char type_words[] =
    " void char short int long float double signed unsigned __signed__ _Bool bool _Complex "
    "__int128 "
    "__int128_t __uint128_t _Float16 _Float32 _Float64 _Float128 __float128 ";
static const char qualifier_words[] =
    " const volatile restrict __const __volatile__ __restrict __restrict__ static extern register "
    "typedef inline __inline __inline__ _Noreturn _Thread_local __thread __extension__ ";
static const char attribute_words[] = " __attribute__ __attribute _Alignas ";
static const char typeof_words[] = " typeof __typeof__ __typeof _Atomic ";
static const char tagged_words[] = " struct union enum ";
static const char auto_words[] = " auto __auto_type ";
static const char statement_words[] =
    " if else for while do switch case default break continue goto return asm __asm__ __asm "
    "__label__ { ; ";
static const char operator_words[] =
    " sizeof _Alignof __alignof__ _Generic __real__ __imag__ __func__ ";

static bool is_word(const struct tokens *t, size_t at)
{
    return t->list[at].kind == TOKEN_WORD;
}

static bool is_end(const struct tokens *t, size_t at)
{
    return t->list[at].kind == TOKEN_END;
}

/* ---- statements ---- */

/* COIL_EXCEPT(...) {...}: a macro with a block of its own. Behind the block, or NOWHERE. */
static size_t macro_block(const struct tokens *t, size_t from)
{
    if (!is_word(t, from) || !token_is(t, from + 1, "("))
        return NOWHERE;
    size_t block = token_skip(t, from + 1);
    return token_is(t, block, "{") ? token_skip(t, block) : NOWHERE;
}

/* Behind the semicolon that ends a statement or an expression, or at the end. */
static size_t behind_semicolon(const struct tokens *t, size_t from)
{
    size_t i = from;
    while (!is_end(t, i) && !token_is(t, i, ";"))
        i = token_skip(t, i);
    return is_end(t, i) ? i : i + 1;
}

static size_t statement_end(const struct tokens *t, size_t from, bool *out_goes_on);

static size_t body_end(const struct tokens *t, size_t from, bool *out_goes_on)
{
    if (!is_end(t, from))
        return statement_end(t, from, out_goes_on);
    *out_goes_on = true;
    return from;
}

static size_t statement_end(const struct tokens *t, size_t from, bool *out_goes_on)
{
    if (is_word(t, from) && token_is(t, from + 1, ":"))
        return body_end(t, from + 2, out_goes_on);
    if (token_is(t, from, "{"))
        return token_skip(t, from);
    if (token_is(t, from, "else"))
        return body_end(t, from + 1, out_goes_on);
    if (token_is_among(t, from, " if for while switch ") && token_is(t, from + 1, "(")) {
        size_t end = body_end(t, token_skip(t, from + 1), out_goes_on);
        if (token_is(t, from, "if") && token_is(t, end, "else"))
            end = body_end(t, end + 1, out_goes_on);
        return end;
    }
    if (token_is(t, from, "do")) {
        size_t end = body_end(t, from + 1, out_goes_on);
        *out_goes_on = *out_goes_on || is_end(t, end);
        return behind_semicolon(t, end);
    }
    size_t block = macro_block(t, from);
    return block != NOWHERE ? block : behind_semicolon(t, from);
}

/* ---- declarations ---- */

static size_t skip_attributes(const struct tokens *t, size_t at)
{
    while (token_is_among(t, at, attribute_words))
        at = token_skip(t, at + 1);
    return at;
}

/* `name * ... other` with something behind it that can follow a declarator; or `name (*`. */
static bool may_be_declaration(const struct tokens *t, size_t from)
{
    if (token_is(t, from + 1, "(") && token_is(t, from + 2, "*"))
        return true;
    size_t i = from + 1;
    if (!token_is(t, i, "*"))
        return false;
    while (token_is_among(t, i, " * const volatile restrict "))
        i++;
    return is_word(t, i) && (is_end(t, i + 1) || token_is_among(t, i + 1, " = ; , ( [ "));
}

static bool begins_declaration(const struct tokens *t, size_t from, is_type_fn is_type, void *arg)
{
    if (!is_word(t, from))
        return false;
    if (token_is_among(t, from, type_words) || token_is_among(t, from, qualifier_words) ||
        token_is_among(t, from, attribute_words) || token_is_among(t, from, typeof_words) ||
        token_is_among(t, from, tagged_words) || token_is_among(t, from, auto_words))
        return !token_is(t, from + 1, "(") || !token_is(t, from, "__extension__");
    if (token_is_among(t, from, operator_words))
        return false;
    if (is_word(t, from + 1))
        return true;
    if (!may_be_declaration(t, from))
        return false;
    char *name = token_text(t, from);
    bool is = is_type(name, arg);
    free(name);
    return is;
}

static size_t tagged_specifier(struct part *p, const struct tokens *t, size_t at)
{
    p->tagged_at = at;
    at = skip_attributes(t, at + 1);
    if (is_word(t, at))
        p->tag = at++;
    if (token_is(t, at, "{")) {
        p->body = at;
        at = p->body_end = skip_attributes(t, token_skip(t, at));
    }
    return at;
}

static void specifiers(struct part *p, const struct tokens *t)
{
    bool has_type = false, by_keyword = false;
    size_t at = p->from;
    for (;;) {
        if (token_is_among(t, at, attribute_words)) {
            at = skip_attributes(t, at);
        } else if (token_is_among(t, at, typeof_words) && token_is(t, at + 1, "(")) {
            has_type = by_keyword = true;
            at = token_skip(t, at + 1);
        } else if (token_is_among(t, at, tagged_words)) {
            has_type = by_keyword = true;
            at = tagged_specifier(p, t, at);
        } else if (token_is_among(t, at, auto_words)) {
            has_type = by_keyword = true;
            p->auto_at = at++;
        } else if (token_is_among(t, at, type_words)) {
            has_type = by_keyword = true;
            at++;
        } else if (token_is_among(t, at, qualifier_words) || token_is(t, at, "_Atomic")) {
            p->is_typedef = p->is_typedef || token_is(t, at, "typedef");
            p->is_extern = p->is_extern || token_is(t, at, "extern");
            at++;
        } else if (is_word(t, at) && !has_type) {
            has_type = true; /* a name for a type, or a macro before one */
            at++;
        } else if (is_word(t, at) && !by_keyword &&
                   (token_is(t, at + 1, "*") || is_word(t, at + 1)) &&
                   !token_is_among(t, at + 1, " __attribute__ __asm__ asm ")) {
            at++; /* what stood before was the macro */
        } else {
            break;
        }
    }
    p->declarators = at;
}

void declarator_at(struct declarator *out, const struct tokens *t, size_t from)
{
    *out = (struct declarator){
        .from = from, .name = NOWHERE, .init = NOWHERE, .init_end = NOWHERE, .next = NOWHERE};
    size_t i = from;
    while (token_is_among(t, i, " * ( const volatile restrict __restrict _Atomic __attribute__ "))
        i = token_is(t, i, "__attribute__") ? skip_attributes(t, i) : i + 1;
    if (is_word(t, i)) {
        out->name = i;
        out->is_function = token_is(t, i + 1, "(");
        out->is_array = token_is(t, i + 1, "[");
        out->is_unsized = out->is_array && token_is(t, i + 2, "]");
    }
    size_t tail = NOWHERE;
    for (i = from; !is_end(t, i) && !token_is_among(t, i, " = , ; { "); i = token_skip(t, i)) {
        if (tail == NOWHERE && out->name != NOWHERE && i > out->name &&
            token_is_among(t, i, " __attribute__ __asm__ asm "))
            tail = i;
    }
    out->to = i;
    out->tail = tail == NOWHERE ? i : tail;
    if (token_is(t, i, "=")) {
        out->init = ++i;
        while (!is_end(t, i) && !token_is_among(t, i, " , ; "))
            i = token_skip(t, i);
        out->init_end = i;
    }
    if (token_is(t, i, ","))
        out->next = i + 1;
}

static void declaration(struct part *p, const struct tokens *t)
{
    specifiers(p, t);
    size_t at = p->declarators;
    bool has_name = false, is_bare_function = false;
    p->kind = p->is_typedef ? PART_TYPE : PART_OBJECTS;
    while (!is_end(t, at) && !token_is(t, at, ";")) {
        struct declarator d;
        declarator_at(&d, t, at);
        has_name = true;
        is_bare_function = d.is_function && d.init == NOWHERE;
        at = d.init != NOWHERE ? d.init_end : d.to;
        if (token_is(t, at, "{")) {
            p->kind = PART_FUNCTION;
            p->to = p->next = token_skip(t, at);
            p->has_end = true;
            return;
        }
        if (d.next == NOWHERE)
            break;
        at = d.next;
    }
    if (!has_name)
        p->kind = PART_TYPE;
    at = behind_semicolon(t, at); /* what the compiler will not like is of this part */
    p->next = at;
    p->has_end = at > p->from && token_is(t, at - 1, ";");
    p->to = p->has_end ? at - 1 : at;
    p->goes_on = !p->has_end && (!has_name || is_bare_function);
}

/* ---- parts ---- */

void part_at(struct part *p, const struct tokens *t, size_t from, is_type_fn is_type, void *arg)
{
    *p = (struct part){.from = from,
                       .auto_at = NOWHERE,
                       .tagged_at = NOWHERE,
                       .tag = NOWHERE,
                       .body = NOWHERE,
                       .body_end = NOWHERE};
    if (t->list[from].kind == TOKEN_LINE) {
        p->kind = PART_LINE;
        p->to = p->next = from + 1;
        p->has_end = true;
    } else if (token_is_among(t, from, " _Static_assert static_assert ")) {
        p->kind = PART_ASSERTION;
        p->next = behind_semicolon(t, from);
        p->has_end = token_is(t, p->next - 1, ";");
        p->to = p->has_end ? p->next - 1 : p->next;
    } else if (token_is_among(t, from, statement_words) ||
               (is_word(t, from) && token_is(t, from + 1, ":")) ||
               macro_block(t, from) != NOWHERE) {
        p->kind = PART_STATEMENT;
        p->to = p->next = statement_end(t, from, &p->goes_on);
        p->has_end = token_is_among(t, p->to - 1, " ; } ");
    } else if (begins_declaration(t, from, is_type, arg)) {
        declaration(p, t);
    } else {
        p->kind = PART_EXPRESSION;
        p->next = behind_semicolon(t, from);
        p->has_end = token_is(t, p->next - 1, ";");
        p->to = p->has_end ? p->next - 1 : p->next;
    }
}

bool entry_goes_on(const char *text, is_type_fn is_type, void *arg)
{
    struct tokens tokens;
    tokens_of(&tokens, text);
    bool goes_on = tokens.is_open || tokens.depth > 0;
    for (size_t at = 0; !goes_on && tokens.depth == 0 && at < tokens.n;) {
        struct part part;
        part_at(&part, &tokens, at, is_type, arg);
        goes_on = part.goes_on;
        at = part.next;
    }
    tokens_free(&tokens);
    return goes_on;
}
