/* SPDX-License-Identifier: MIT
 *
 * parts.h: an entry of the shell, taken apart: directives, declarations, functions, statements, expressions.
 *
 *     int n = 3, *p = &n;      a declaration: specifiers, then declarators with what they begin as
 *     int twice(int x) {...}   a function: specifiers, a declarator, a body
 *     n + 1                    an expression: its value is shown, unless a semicolon follows
 *
 * Positions are those of tokens. What is wrong C becomes a part of some kind, and the compiler says what is wrong. */
#ifndef COIL_CMD_PARTS_H
#define COIL_CMD_PARTS_H

#include "cmd/tokens.h"

enum part_kind {
    PART_LINE,      /* #include, #define */
    PART_TYPE,      /* struct, union, enum, and nothing of that type; typedef */
    PART_OBJECTS,   /* variables, prototypes */
    PART_FUNCTION,  /* with its body */
    PART_ASSERTION, /* _Static_assert */
    PART_STATEMENT,
    PART_EXPRESSION,
};

#define NOWHERE ((size_t)-1)

struct part {
    enum part_kind kind;
    size_t from, to; /* `to` is behind the last token, a semicolon at the end not counted */
    size_t next;     /* where the next part begins */
    bool has_end;    /* by a semicolon or a closing brace */
    bool
        goes_on; /* it is plain that something is missing: "if (x)", "int f(void)" without a body */
    /* of declarations: */
    size_t declarators; /* behind the specifiers */
    bool is_typedef, is_extern;
    size_t auto_at;        /* of __auto_type; NOWHERE */
    size_t tagged_at, tag; /* of struct, union or enum, and its tag; NOWHERE */
    size_t body, body_end; /* its braces; NOWHERE */
};

struct declarator {
    size_t from, to;       /* without "= initializer" */
    size_t name;           /* NOWHERE if there is none */
    size_t tail;           /* attributes that follow it; `to` if there are none */
    size_t init, init_end; /* NOWHERE */
    size_t next;           /* behind the comma; NOWHERE if it is the last */
    bool is_function, is_array, is_unsized;
};

/* Does this name stand for a type? Asked only where C text has two meanings: `a * b;`. */
typedef bool (*is_type_fn)(const char *name, void *arg);

/* The part that begins at the token `from`, which is not the end. */
void part_at(struct part *p, const struct tokens *t, size_t from, is_type_fn is_type, void *arg);

/* The declarator that begins at `from`. */
void declarator_at(struct declarator *out, const struct tokens *tokens, size_t from);

/* Is more to come, as brackets are open, or a statement has no body yet? */
bool entry_goes_on(const char *text, is_type_fn is_type, void *arg);

#endif
