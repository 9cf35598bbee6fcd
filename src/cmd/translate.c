/* SPDX-License-Identifier: MIT
 *
 * translate.c: an entry of the shell becomes a file of C.
 *
 *     what the session knows
 *     types, directives, variables, functions          each at the line and column where the user wrote it
 *     coil_ret coil_shell_entry(coil_shell)            what the variables begin as, statements, expressions
 *
 * A variable gets its value inside the function, as a task: what it begins as need not be constant, and may wait.
 * The user's text stands on lines of its own below a #line, blanks before it, so that the compiler's messages point at
 * what was typed. */
#include "cmd/define.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct translator {
    struct translation *out;
    struct session *next;
    struct tokens tokens;
    const char *file;
    bool plain;
    is_type_fn is_type;
    void *is_type_arg;
    FILE *top, *body;     /* the file's level, and the function's */
    struct words defined; /* by this entry: variables and functions */
};

static const char storage_words[] =
    " static extern register auto typedef inline __inline __inline__ ";

/* ---- writing ---- */

struct omission {
    const char *words;           /* words that are left out, or NULL */
    size_t from, to;             /* and tokens */
    size_t const_from, const_to; /* and `const` among these tokens */
};

static bool is_left_out(const struct tokens *t, size_t at, const struct omission *o)
{
    return o &&
           ((o->words && token_is_among(t, at, o->words)) || (at >= o->from && at < o->to) ||
            (at >= o->const_from && at < o->const_to && token_is_among(t, at, " const __const ")));
}

static void write_line_mark(const struct translator *tr, FILE *to, unsigned line)
{
    fprintf(to, "\n#line %u \"", line);
    for (const char *p = tr->file; *p; p++)
        fprintf(to, "%s%c", *p == '"' || *p == '\\' ? "\\" : "", *p);
    fputs("\"\n", to);
}

/* The tokens as they were written, at the same line and column, and `behind` right after them. */
static void write_user_and(const struct translator *tr, FILE *to, size_t from, size_t until,
                           const struct omission *omission, const char *behind)
{
    if (from >= until)
        return;
    const struct tokens *t = &tr->tokens;
    size_t at = t->list[from].at, end = t->list[until - 1].at + t->list[until - 1].n;
    unsigned line = 1;
    size_t line_begins = 0;
    for (size_t i = 0; i < at; i++) {
        if (t->text[i] == '\n')
            line++, line_begins = i + 1;
    }
    write_line_mark(tr, to, line);
    for (size_t i = line_begins; i < at; i++)
        fputc(t->text[i] == '\t' ? '\t' : ' ', to);
    for (size_t token = from, i = at; i < end; i++) {
        while (i >= t->list[token].at + t->list[token].n)
            token++;
        bool in_token = i >= t->list[token].at;
        bool hidden = in_token && is_left_out(t, token, omission) && t->text[i] != '\n';
        fputc(hidden ? ' ' : t->text[i], to);
    }
    fprintf(to, "%s\n", behind);
}

static void write_user(const struct translator *tr, FILE *to, size_t from, size_t until,
                       const struct omission *omission)
{
    write_user_and(tr, to, from, until, omission, "");
}

/* The tokens in one line, for the session. */
static void write_joined(const struct translator *tr, FILE *to, size_t from, size_t until,
                         const struct omission *omission)
{
    const struct tokens *t = &tr->tokens;
    for (size_t i = from; i < until; i++) {
        if (t->list[i].kind == TOKEN_LINE)
            fprintf(to, "\n%.*s\n", (int)t->list[i].n, t->text + t->list[i].at);
        else if (!is_left_out(t, i, omission))
            fprintf(to, "%.*s ", (int)t->list[i].n, t->text + t->list[i].at);
    }
}

static char *joined(const struct translator *tr, size_t from, size_t until)
{
    char *text = NULL;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    write_joined(tr, to, from, until, NULL);
    fclose(to);
    return text;
}

static void refuse(struct translator *tr, char *why)
{
    if (tr->out->refusal)
        free(why);
    else
        tr->out->refusal = why;
}

/* ---- directives ---- */

/* "#  define name(x) ..." --> "define" and "name", to be freed. */
static char *directive_word(const char **p)
{
    *p += strspn(*p, " \t#");
    size_t n = strspn(*p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$");
    char *word = text_of("%.*s", (int)n, *p);
    *p += n;
    return word;
}

static void write_directive(struct translator *tr, const struct part *part)
{
    char *text = token_text(&tr->tokens, part->from);
    const char *p = text;
    char *verb = directive_word(&p), *name = directive_word(&p);
    bool defines = strcmp(verb, "define") == 0, undefines = strcmp(verb, "undef") == 0;
    if (strncmp(verb, "if", 2) == 0 || strncmp(verb, "el", 2) == 0 || strcmp(verb, "endif") == 0) {
        refuse(tr, text_of("#%s is not for the prompt: put what it chooses from into a file, and "
                           "#include that",
                           verb));
    } else if (strcmp(verb, "line") == 0) {
        refuse(tr, text_of("#line would hide where errors are"));
    } else {
        if (defines)
            fprintf(tr->top, "\n#undef %s", name);
        write_user(tr, tr->top, part->from, part->to, NULL);
        if (defines || undefines)
            session_forget(tr->next, KNOWN_MACRO, name, &tr->out->lost);
        char *kept = defines ? text_of("\n#undef %s\n%s\n", name, text) : text_of("\n%s\n", text);
        session_add(tr->next, defines ? KNOWN_MACRO : KNOWN_TEXT,
                    defines ? text_of("%s", name) : NULL, kept, NULL);
    }
    free(verb);
    free(name);
    free(text);
}

/* ---- types ---- */

static const char *tagged_word(const struct translator *tr, const struct part *part)
{
    return token_is(&tr->tokens, part->tagged_at, "struct")  ? "struct"
           : token_is(&tr->tokens, part->tagged_at, "union") ? "union"
                                                             : "enum";
}

/* `struct point {...}`, wherever it stands, becomes a declaration of its own. One without a tag gets one. The
 * specifier that is left to write, to be freed. */
static char *write_tagged(struct translator *tr, const struct part *part)
{
    char *tag = part->tag != NOWHERE ? token_text(&tr->tokens, part->tag)
                                     : text_of("coil_shell_%u_%zu", tr->next->entries, part->from);
    const char *word = tagged_word(tr, part);
    if (part->body != NOWHERE) {
        struct known *older = session_find(tr->next, KNOWN_TAG, tag);
        char *head = joined(tr, part->tagged_at, part->body),
             *rest = joined(tr, part->body, part->body_end);
        char *text = text_of("%s%s %s;\n", head, part->tag == NOWHERE ? tag : "", rest);
        free(head);
        free(rest);
        if (older && strcmp(older->text, text) == 0) {
            free(text); /* the same again */
        } else {
            if (older && strchr(older->text, '{'))
                session_forget(tr->next, KNOWN_TAG, tag, &tr->out->lost);
            write_user(tr, tr->top, part->tagged_at, part->body, NULL);
            if (part->tag == NOWHERE)
                fputs(tag, tr->top);
            write_user(tr, tr->top, part->body, part->body_end, NULL);
            fputs(";\n", tr->top);
            session_add(tr->next, KNOWN_TAG, text_of("%s", tag), text, NULL);
        }
    }
    char *specifier = text_of("%s %s ", word, tag);
    free(tag);
    return specifier;
}

static void write_typedef(struct translator *tr, const struct part *part)
{
    char *tagged = NULL;
    struct omission omission = {0};
    if (part->body != NOWHERE) {
        tagged = write_tagged(tr, part);
        omission = (struct omission){.from = part->tagged_at, .to = part->body_end};
    }
    for (size_t at = part->declarators; at != NOWHERE;) {
        struct declarator d;
        declarator_at(&d, &tr->tokens, at);
        at = d.next;
        if (d.name == NOWHERE)
            continue;
        char *name = token_text(&tr->tokens, d.name), *text = NULL;
        size_t n;
        FILE *to = open_memstream(&text, &n);
        write_joined(tr, to, part->from, part->declarators, &omission);
        fputs(tagged ? tagged : "", to);
        write_joined(tr, to, d.from, d.to, NULL);
        fputs(";\n", to);
        fclose(to);
        struct known *older = session_find(tr->next, KNOWN_TYPE, name);
        if (older && strcmp(older->text, text) == 0) {
            free(name);
            free(text);
            continue;
        }
        session_forget(tr->next, KNOWN_TYPE, name, &tr->out->lost);
        write_user(tr, tr->top, part->from, part->declarators, &omission);
        fputs(tagged ? tagged : "", tr->top);
        write_user(tr, tr->top, d.from, d.to, NULL);
        fputs(";\n", tr->top);
        session_add(tr->next, KNOWN_TYPE, name, text, NULL);
    }
    free(tagged);
}

static void write_type(struct translator *tr, const struct part *part)
{
    if (part->is_typedef) {
        write_typedef(tr, part);
    } else if (part->body != NOWHERE) {
        free(write_tagged(tr, part));
    } else { /* `struct point;` */
        write_user(tr, tr->top, part->from, part->to, NULL);
        fputs(";\n", tr->top);
        char *tag = part->tag != NOWHERE ? token_text(&tr->tokens, part->tag) : NULL;
        if (tag && !session_find(tr->next, KNOWN_TAG, tag))
            session_add(tr->next, KNOWN_TAG, tag, text_of("%s %s;\n", tagged_word(tr, part), tag),
                        NULL);
        else
            free(tag);
    }
}

/* ---- variables and functions ---- */

/* What stands before a declarator. */
struct head {
    const struct part *part;
    struct omission omission;
    const char *tagged; /* the specifier that stands for a body, or "" */
};

/* `__auto_type x = ...` is of the type that its value has; arrays decay. */
static void write_auto(const struct translator *tr, FILE *to, const struct declarator *d,
                       bool as_user)
{
    fputs("__typeof__(((void)0, (", to);
    (as_user ? write_user : write_joined)(tr, to, d->init, d->init_end, NULL);
    fputs("))) ", to);
}

static void write_head(const struct translator *tr, FILE *to, const struct head *head,
                       const struct omission *omission, const struct declarator *d, bool as_user)
{
    (as_user ? write_user : write_joined)(tr, to, head->part->from, head->part->declarators,
                                          omission);
    fputs(head->tagged, to);
    if (head->part->auto_at != NOWHERE && d->init != NOWHERE)
        write_auto(tr, to, d, as_user);
}

static void write_declarator(const struct translator *tr, FILE *to, const struct declarator *d,
                             const struct omission *omission, const char *symbol, bool as_user)
{
    (as_user ? write_user : write_joined)(tr, to, d->from, d->tail, omission);
    if (symbol)
        fprintf(to, " __asm__(\"%s\") ", symbol);
    (as_user ? write_user : write_joined)(tr, to, d->tail, d->to, NULL);
}

/* What later entries begin with. */
static char *extern_text(const struct translator *tr, const struct head *head,
                         const struct declarator *d, const char *symbol)
{
    char *text = NULL;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    fputs("extern ", to);
    write_head(tr, to, head, &head->omission, d, false);
    if (d->is_unsized && d->init != NOWHERE) {
        write_joined(tr, to, d->from, d->name + 2, NULL);
        fputs("@ ", to);
        struct declarator rest = *d;
        rest.from = d->name + 2;
        write_declarator(tr, to, &rest, NULL, symbol, false);
    } else {
        write_declarator(tr, to, d, NULL, symbol, false);
    }
    fputs(";\n", to);
    fclose(to);
    return text;
}

/* The storage is not const, since its value is put into it: `const` in front of the name goes. */
static struct omission without_const(const struct translator *tr, const struct head *head,
                                     const struct declarator *d, struct omission *out_declarator)
{
    struct omission omission = head->omission;
    size_t star = NOWHERE;
    for (size_t i = d->from; i < d->name; i++) {
        if (token_is(&tr->tokens, i, "*"))
            star = i;
    }
    *out_declarator = (struct omission){0};
    if (star == NOWHERE) {
        omission.const_from = head->part->from;
        omission.const_to = head->part->declarators;
    } else {
        out_declarator->const_from = star;
        out_declarator->const_to = d->name;
    }
    return omission;
}

static void write_beginning(struct translator *tr, const struct declarator *d, const char *name)
{
    bool has_braces = token_is(&tr->tokens, d->init, "{");
    if (d->is_array)
        fprintf(tr->body, "\n__builtin_memcpy(&%s, &(__typeof__(%s))%s", name, name,
                has_braces ? "" : "{");
    else if (has_braces)
        fprintf(tr->body, "\n%s = (__typeof__(%s))", name, name);
    else
        fprintf(tr->body, "\n%s", name);
    /* The user's own '=' and semicolon where they can be, for the compiler to complain about. */
    bool is_plain = !d->is_array && !has_braces;
    bool semicolon = !d->is_array && token_is(&tr->tokens, d->init_end, ";");
    write_user_and(tr, tr->body, d->init - is_plain, d->init_end + semicolon, NULL,
                   d->is_array || semicolon ? "" : ";");
    if (d->is_array)
        fprintf(tr->body, "%s, sizeof %s);\n", has_braces ? "" : "}", name);
}

static bool is_defined_here(const struct translator *tr, const char *name)
{
    for (size_t i = 0; i < tr->defined.n; i++) {
        if (strcmp(tr->defined.list[i], name) == 0)
            return true;
    }
    return false;
}

/* What is defined elsewhere: by a library, or further down in this entry. */
static void write_prototype(struct translator *tr, const struct head *head,
                            const struct declarator *d, const char *name, const char *symbol)
{
    bool here = is_defined_here(tr, name);
    fputs("\nextern ", tr->top);
    write_head(tr, tr->top, head, &head->omission, d, true);
    write_declarator(tr, tr->top, d, NULL, here ? symbol : NULL, true);
    fputs(";\n", tr->top);
    if (!here && !session_find(tr->next, KNOWN_OBJECT, name) &&
        !session_find(tr->next, KNOWN_PROTOTYPE, name))
        session_add(tr->next, KNOWN_PROTOTYPE, text_of("%s", name), extern_text(tr, head, d, NULL),
                    NULL);
}

static void write_variable(struct translator *tr, const struct head *head,
                           const struct declarator *d, const char *name, const char *symbol)
{
    bool counts = d->is_unsized && d->init != NOWHERE;
    struct omission in_declarator, omission = without_const(tr, head, d, &in_declarator);
    write_head(tr, tr->top, head, &omission, d, true);
    write_declarator(tr, tr->top, d, &in_declarator, symbol, true);
    if (counts) { /* only the compiler can tell how long it is, so this one must be constant */
        fputs("=", tr->top);
        write_user(tr, tr->top, d->init, d->init_end, NULL);
        fprintf(
            tr->top,
            ";\nconst unsigned long coil_shell_count_%s __asm__(\"%s.n\") = sizeof %s / sizeof *%s",
            name, symbol, name, name);
    }
    fputs(";\n", tr->top);
    session_forget(tr->next, KNOWN_OBJECT, name, &tr->out->lost);
    session_add(tr->next, KNOWN_OBJECT, text_of("%s", name), extern_text(tr, head, d, symbol),
                counts ? text_of("%s.n", symbol) : NULL);
    if (d->init != NOWHERE && !counts)
        write_beginning(tr, d, name);
}

static void write_function(struct translator *tr, const struct head *head,
                           const struct declarator *d, const char *name, const char *symbol)
{
    fputs("\nextern ", tr->top);
    write_head(tr, tr->top, head, &head->omission, d, true);
    write_declarator(tr, tr->top, d, NULL, symbol, true);
    fputs(";\n", tr->top);
    write_head(tr, tr->top, head, &head->omission, d, true);
    write_declarator(tr, tr->top, d, NULL, NULL, true);
    write_user(tr, tr->top, d->to, head->part->to, NULL);
    session_forget(tr->next, KNOWN_OBJECT, name, &tr->out->lost);
    session_add(tr->next, KNOWN_OBJECT, text_of("%s", name), extern_text(tr, head, d, symbol),
                NULL);
}

static void write_declaration(struct translator *tr, const struct part *part)
{
    char *tagged = part->body != NOWHERE ? write_tagged(tr, part) : NULL;
    struct head head = {
        .part = part,
        .omission = {.words = part->auto_at != NOWHERE
                                  ? " static extern register auto __auto_type inline "
                                  : storage_words},
        .tagged = tagged ? tagged : ""};
    if (tagged) {
        head.omission.from = part->tagged_at;
        head.omission.to = part->body_end;
    }
    for (size_t at = part->declarators; at != NOWHERE;) {
        struct declarator d;
        declarator_at(&d, &tr->tokens, at);
        at = d.next;
        if (d.name == NOWHERE) { /* the compiler says what is wrong with it */
            write_user(tr, tr->top, part->from, part->to, NULL);
            fputs(";\n", tr->top);
            break;
        }
        char *name = token_text(&tr->tokens, d.name);
        char *symbol = text_of("%s.%u", name, tr->next->entries);
        if (part->kind == PART_FUNCTION)
            write_function(tr, &head, &d, name, symbol);
        else if ((part->is_extern || d.is_function) && d.init == NOWHERE)
            write_prototype(tr, &head, &d, name, symbol);
        else
            write_variable(tr, &head, &d, name, symbol);
        free(name);
        free(symbol);
    }
    free(tagged);
}

/* ---- what is done ---- */

static void write_expression(struct translator *tr, const struct part *part)
{
    FILE *to = tr->body;
    if (tr->plain) {
        write_user_and(tr, to, part->from, part->to + part->has_end, NULL,
                       part->has_end ? "" : ";");
        return;
    }
    fputs("\n{ typedef __typeof__(((void)0, (", to);
    write_user(tr, to, part->from, part->to, NULL);
    fputs("))) coil_shell_type; __auto_type coil_shell_value = __builtin_choose_expr("
          "COIL_SHELL_KIND(coil_shell_type) == 0, ((",
          to);
    write_user(tr, to, part->from, part->to, NULL);
    fputs("), 0), ((void)0, (", to);
    write_user(tr, to, part->from, part->to, NULL);
    fprintf(to,
            "))); coil_shell->show(%d, COIL_SHELL_KIND(coil_shell_type), "
            "__builtin_classify_type(coil_shell_value), sizeof coil_shell_value, "
            "coil_shell_value); }\n",
            part->has_end);
}

static void write_part(struct translator *tr, const struct part *part)
{
    switch (part->kind) {
    case PART_LINE: write_directive(tr, part); break;
    case PART_TYPE: write_type(tr, part); break;
    case PART_OBJECTS:
    case PART_FUNCTION: write_declaration(tr, part); break;
    case PART_ASSERTION:
        write_user(tr, tr->top, part->from, part->to, NULL);
        fputs(";\n", tr->top);
        break;
    case PART_STATEMENT:
        write_user_and(tr, tr->body, part->from, part->to, NULL, part->has_end ? "" : ";");
        break;
    case PART_EXPRESSION: write_expression(tr, part); break;
    }
}

/* Which names will be variables or functions of this entry? */
static void find_definitions(struct translator *tr)
{
    for (size_t i = 0; i < tr->tokens.n;) {
        struct part part;
        part_at(&part, &tr->tokens, i, tr->is_type, tr->is_type_arg);
        i = part.next;
        bool is_declaration = part.kind == PART_FUNCTION || part.kind == PART_OBJECTS;
        for (size_t at = is_declaration ? part.declarators : NOWHERE; at != NOWHERE;) {
            struct declarator d;
            declarator_at(&d, &tr->tokens, at);
            at = d.next;
            bool defines = part.kind == PART_FUNCTION || d.init != NOWHERE ||
                           (!part.is_extern && !d.is_function);
            if (d.name == NOWHERE || !defines)
                continue;
            char *name = token_text(&tr->tokens, d.name);
            if (is_defined_here(tr, name))
                refuse(tr, text_of("`%s` is defined twice in one entry", name));
            words_add(&tr->defined, name);
            free(name);
        }
    }
}

static char *known_text(const struct session *session)
{
    char *text = NULL;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    fputs("#line 1 \"session\"\n", to);
    for (size_t i = 0; i < session->n; i++)
        fputs(session->list[i].text, to);
    fclose(to);
    return text;
}

char *session_type_question(const struct session *session, const char *name)
{
    char *known = known_text(session);
    char *text = text_of("%s\ntypedef %s coil_shell_answer;\n", known, name);
    free(known);
    return text;
}

/* What was lost and defined again by the same entry is not lost. */
static void drop_what_is_back(struct translation *out, const struct session *next)
{
    struct words lost = {0};
    for (size_t i = 0; i < out->lost.n; i++) {
        bool is_back = false;
        for (size_t k = 0; k < next->n && !is_back; k++)
            is_back = next->list[k].name && strcmp(next->list[k].name, out->lost.list[i]) == 0;
        if (!is_back)
            words_add(&lost, out->lost.list[i]);
    }
    words_free(&out->lost);
    out->lost = lost;
}

void session_translate(struct translation *out, struct session *next, const char *text,
                       const char *file, bool plain, is_type_fn is_type, void *arg)
{
    *out = (struct translation){0};
    struct translator tr = {.out = out,
                            .next = next,
                            .file = file,
                            .plain = plain,
                            .is_type = is_type,
                            .is_type_arg = arg};
    char *top = NULL, *body = NULL;
    size_t n;
    next->entries++;
    tokens_of(&tr.tokens, text);
    if (tr.tokens.depth != 0 || tr.tokens.is_open)
        refuse(&tr, text_of(tr.tokens.depth < 0 ? "a bracket is closed that was not opened"
                                                : "it ends before what was opened is closed"));
    tr.top = open_memstream(&top, &n);
    tr.body = open_memstream(&body, &n);
    find_definitions(&tr);
    /* What is defined anew is not to be seen in this file in its older form. */
    struct session before = session_copy(next);
    for (size_t i = 0; i < tr.tokens.n;) {
        struct part part;
        part_at(&part, &tr.tokens, i, is_type, arg);
        write_part(&tr, &part);
        i = part.next;
    }
    fclose(tr.top);
    fclose(tr.body);

    drop_what_is_back(out, next);

    /* Of what was known before, that is still there begins the file. */
    struct session still = {0};
    for (size_t i = 0; i < before.n; i++) {
        for (size_t k = 0; k < next->n; k++) {
            if (next->list[k].kind == before.list[i].kind &&
                strcmp(next->list[k].text, before.list[i].text) == 0) {
                session_add(&still, before.list[i].kind, NULL, text_of("%s", before.list[i].text),
                            NULL);
                break;
            }
        }
    }
    char *known = known_text(&still);
    if (!out->refusal)
        out->source = text_of(
            "%s%s\ncoil_ret coil_shell_entry(const struct coil_shell *coil_shell)\n{\n%s\n"
            "coil_shell->end();\nreturn 0;\n}\n",
            known, top, body);
    session_free(&still);
    session_free(&before);
    free(known);
    free(top);
    free(body);
    tokens_free(&tr.tokens);
    words_free(&tr.defined);
}

void translation_free(struct translation *translation)
{
    free(translation->source);
    free(translation->refusal);
    words_free(&translation->lost);
    *translation = (struct translation){0};
}
