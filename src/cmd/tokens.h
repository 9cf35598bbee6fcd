/* SPDX-License-Identifier: MIT
 *
 * tokens.h: C text as words, strings, marks and lines that begin with '#'.
 *
 * Just enough of C to see where an entry of the shell ends and what stands in it; what is right C the compiler says. */
#ifndef COIL_CMD_TOKENS_H
#define COIL_CMD_TOKENS_H

#include <stdbool.h>
#include <stddef.h>

enum token_kind {
    TOKEN_END,   /* behind the last one */
    TOKEN_WORD,  /* names, keywords */
    TOKEN_OTHER, /* numbers, strings, characters */
    TOKEN_MARK,  /* one of (){}[];,=*.:# and so on; "->", "==" and their like are one */
    TOKEN_LINE,  /* a directive, with the lines that backslashes join to it */
};

struct token {
    enum token_kind kind;
    size_t at, n; /* in the text */
};

struct tokens {
    const char *text;   /* the caller's */
    struct token *list; /* ends in a TOKEN_END */
    size_t n;
    int depth;    /* brackets that are open at the end; negative: too many were closed */
    bool is_open; /* the text ends within a comment, or in a line that goes on */
};

/* Give it back with tokens_free. */
void tokens_of(struct tokens *out, const char *text);
void tokens_free(struct tokens *tokens);

/* Is it this word or mark? */
bool token_is(const struct tokens *tokens, size_t at, const char *word);
/* Is it one of these words, each with a blank before and behind it: " if else "? */
bool token_is_among(const struct tokens *tokens, size_t at, const char *words);
/* Its text, to be freed. */
char *token_text(const struct tokens *tokens, size_t at);
/* Behind the bracket that closes the one at `at`; the end if it is not closed; at + 1 if there is none. */
size_t token_skip(const struct tokens *tokens, size_t at);

#endif
