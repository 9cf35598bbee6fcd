/* SPDX-License-Identifier: MIT
 *
 * tokens.c: C text as words, strings, marks and lines that begin with '#'. */
#include "cmd/tokens.h"

#include "cmd/files.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool begins_word(char c)
{
    return isalpha((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static bool goes_on_word(char c)
{
    return begins_word(c) || isdigit((unsigned char)c);
}

/* Behind a comment that begins at `p`, or `p` itself. */
static const char *skip_comment(const char *p, bool *out_is_open)
{
    if (p[0] != '/' || (p[1] != '/' && p[1] != '*'))
        return p;
    if (p[1] == '/')
        return p + strcspn(p, "\n");
    const char *end = strstr(p + 2, "*/");
    *out_is_open = !end;
    return end ? end + 2 : p + strlen(p);
}

/* Behind a string or character; one that is not closed ends with its line. */
static const char *skip_string(const char *p)
{
    char quote = *p++;
    while (*p && *p != quote && *p != '\n')
        p += p[0] == '\\' && p[1] ? 2 : 1;
    return *p == quote ? p + 1 : p;
}

static const char *skip_line(const char *p, bool *out_is_open)
{
    while (*p && *p != '\n') {
        const char *behind = skip_comment(p, out_is_open);
        if (behind != p)
            p = behind;
        else if (p[0] == '\\' && p[1] == '\n')
            p += 2;
        else if (p[0] == '\\' && !p[1])
            *out_is_open = true, p++;
        else
            p++;
    }
    return p;
}

static const char *skip_number(const char *p)
{
    while (goes_on_word(*p) || *p == '.' || ((*p == '+' || *p == '-') && strchr("eEpP", p[-1])))
        p++;
    return p;
}

static const char *skip_mark(const char *p)
{
    static const char *const marks[] = {"<<=", ">>=", "...", "->", "++", "--", "<<", ">>",
                                        "<=",  ">=",  "==",  "!=", "+=", "-=", "*=", "/=",
                                        "%=",  "&=",  "^=",  "|=", "&&", "||"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (strncmp(p, marks[i], strlen(marks[i])) == 0)
            return p + strlen(marks[i]);
    }
    return p + 1;
}

static void add(struct tokens *tokens, enum token_kind kind, const char *from, const char *to)
{
    tokens->list = grown(tokens->list, (tokens->n + 1) * sizeof *tokens->list);
    tokens->list[tokens->n++] = (struct token){
        .kind = kind, .at = (size_t)(from - tokens->text), .n = (size_t)(to - from)};
}

void tokens_of(struct tokens *out, const char *text)
{
    *out = (struct tokens){.text = text};
    bool line_begins = true;
    for (const char *p = text; *p;) {
        const char *from = p;
        if (isspace((unsigned char)*p)) {
            line_begins = line_begins || *p == '\n';
            p++;
            continue;
        }
        p = skip_comment(p, &out->is_open);
        if (p != from)
            continue;
        if (p[0] == '\\' && (p[1] == '\n' || !p[1])) {
            out->is_open = !p[1];
            p++;
            continue;
        }
        if (*p == '#' && line_begins) {
            p = skip_line(p, &out->is_open);
            add(out, TOKEN_LINE, from, p);
            continue;
        }
        line_begins = false;
        if (*p == '"' || *p == '\'') {
            p = skip_string(p);
            add(out, TOKEN_OTHER, from, p);
        } else if (isdigit((unsigned char)p[0]) || (p[0] == '.' && isdigit((unsigned char)p[1]))) {
            p = skip_number(p + 1);
            add(out, TOKEN_OTHER, from, p);
        } else if (begins_word(*p)) {
            while (goes_on_word(*p))
                p++;
            add(out, TOKEN_WORD, from, p);
        } else {
            p = skip_mark(p);
            add(out, TOKEN_MARK, from, p);
            if (out->depth >= 0)
                out->depth += strchr("([{", *from) ? 1 : strchr(")]}", *from) ? -1 : 0;
        }
    }
    add(out, TOKEN_END, text + strlen(text), text + strlen(text));
    out->n--;
}

void tokens_free(struct tokens *tokens)
{
    free(tokens->list);
    *tokens = (struct tokens){0};
}

bool token_is(const struct tokens *tokens, size_t at, const char *word)
{
    const struct token *t = &tokens->list[at];
    return (t->kind == TOKEN_WORD || t->kind == TOKEN_MARK) && strlen(word) == t->n &&
           memcmp(tokens->text + t->at, word, t->n) == 0;
}

bool token_is_among(const struct tokens *tokens, size_t at, const char *words)
{
    const struct token *t = &tokens->list[at];
    if (t->kind != TOKEN_WORD && t->kind != TOKEN_MARK)
        return false;
    for (const char *p = words; (p = strchr(p, ' ')) && p[1]; p++) {
        if (strncmp(p + 1, tokens->text + t->at, t->n) == 0 && p[1 + t->n] == ' ')
            return true;
    }
    return false;
}

char *token_text(const struct tokens *tokens, size_t at)
{
    return text_of("%.*s", (int)tokens->list[at].n, tokens->text + tokens->list[at].at);
}

size_t token_skip(const struct tokens *tokens, size_t at)
{
    int depth = 0;
    for (size_t i = at; i < tokens->n; i++) {
        if (token_is_among(tokens, i, " ( [ { "))
            depth++;
        else if (token_is_among(tokens, i, " ) ] } "))
            depth--;
        if (depth <= 0)
            return i + 1;
    }
    return tokens->n;
}
