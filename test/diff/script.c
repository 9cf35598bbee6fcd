/* SPDX-License-Identifier: MIT
 *
 * script.c: scripts from text and into text.
 *
 * The parser goes line by line; a stack of places where the next statement is to be linked in stands for the open
 * blocks. What it accepts can be played: every number is within its array. */
#include "script.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const struct op_info ops[OPS] = {
#define X(name, args, kind) {#name, args, kind},
    STATEMENTS(X)
#undef X
};

static const char *const order_names[] = {"fifo", "lifo", "priority"};

int script_count_of(char letter)
{
    switch (letter) {
    case 't': return TASKS;
    case 'f': return FUTURES;
    case 'a':
    case 'h':
    case 'k': return SLOTS;
    case 'L': return LOCKS;
    case 'C': return CONDITIONS;
    case 'E': return EVENTS;
    case 'S': return SEMAPHORES;
    case 'B': return 1;
    case 'Q': return QUEUES;
    case 'T':
    case 'G': return SCOPES;
    default: return 0;
    }
}

int script_add(struct script *script, enum op op)
{
    if (script->statements_n == STATEMENTS_MAX)
        return NONE;
    int i = script->statements_n++;
    script->statements[i] = (struct statement){
        .op = op, .inner = NONE, .other = NONE, .next = NONE};
    return i;
}

/* ---- reading ---- */

struct words {
    char *at[ARGS_MAX + 16];
    int n;
};

static struct words split(char *line)
{
    struct words words = {.n = 0};
    char *rest;
    for (char *w = strtok_r(line, " \t", &rest); w && words.n < ARGS_MAX + 15;
         w = strtok_r(NULL, " \t", &rest))
        words.at[words.n++] = w;
    return words;
}

static bool number_of(const char *word, int *out)
{
    char *end;
    long n = strtol(word, &end, 10);
    *out = (int)n;
    return end != word && *end == '\0' && n >= -100000 && n <= 100000;
}

static bool is_one_of(char letter, char spec)
{
    switch (spec) {
    case 'r':
    case 'R': return letter == 't' || letter == 'f' || letter == 'a';
    case 'o': return letter == 'L' || letter == 'C' || letter == 'S';
    default: return letter == spec;
    }
}

static const char *parse_arg(const char *word, char spec, struct arg *out)
{
    if (spec == 'n' || spec == 'd' || spec == 'D') {
        out->kind = 'n';
        if (spec == 'D' && strcmp(word, "-") == 0)
            *out = (struct arg){'-', 0};
        else if (!number_of(word, &out->n))
            return "a number is missing";
        return spec == 'n' && (out->n < 0 || out->n > 9) ? "a number is 0 to 9" : NULL;
    }
    out->kind = word[0];
    if (!is_one_of(word[0], spec) || !isdigit((unsigned char)word[1]) ||
        !number_of(word + 1, &out->n) || out->n >= script_count_of(word[0]))
        return "no such thing as this argument";
    return NULL;
}

/* words[from...] as one statement; *out is its number. */
static const char *parse_statement(struct script *script, struct words *words, int from, int *out)
{
    enum op op = 0;
    while (op < OPS && (from == words->n || strcmp(words->at[from], ops[op].name) != 0))
        op++;
    if (op == OPS)
        return "no such statement";
    *out = script_add(script, op);
    if (*out == NONE)
        return "the script is too long";
    struct statement *s = &script->statements[*out];
    int w = from + 1;
    for (const char *spec = ops[op].args; *spec; spec++) {
        if (*spec == ':') {
            if (w == words->n || strcmp(words->at[w], ":") != 0)
                return "`:` and a statement are missing";
            int inner;
            const char *wrong = parse_statement(script, words, w + 1, &inner);
            if (wrong)
                return wrong;
            const struct statement *called = &script->statements[inner];
            /* One that adds itself again to what is done would do so for ever. */
            if (ops[called->op].kind != NOW || called->inner != NONE ||
                called->op == OP_callback_again)
                return "a callback cannot do this";
            s->inner = inner;
            return NULL;
        }
        do {
            if (w == words->n || s->args_n == ARGS_MAX)
                return "one argument too many, or too few";
            const char *wrong = parse_arg(words->at[w++], *spec, &s->args[s->args_n++]);
            if (wrong)
                return wrong;
        } while (*spec == 'R' && w < words->n && is_one_of(words->at[w][0], 'R'));
    }
    if (w < words->n && words->at[w][0] == '!') {
        s->ends_block = true;
        words->at[w]++;
        w += words->at[w][0] == '\0';
    }
    if (ops[op].kind == BLOCK && (w == words->n || strcmp(words->at[w++], "{") != 0))
        return "`{` is missing";
    return w == words->n ? NULL : "words are left over";
}

static const char *parse_with(struct script *script, const struct words *words)
{
    int seen = 0;
    for (int i = 1; i < words->n; i++) {
        char *value = strchr(words->at[i], '='), *maxsize = strchr(words->at[i], ':');
        if (!value)
            return "`=` is missing";
        *value++ = '\0';
        const char *name = words->at[i];
        int n = 0;
        if (name[0] == 'Q') {
            if (!maxsize || (name[1] != '0' && name[1] != '1'))
                return "a queue is Q0=fifo:2";
            *maxsize++ = '\0';
            int order = 0;
            while (order < 3 && strcmp(value, order_names[order]) != 0)
                order++;
            if (order == 3 || !number_of(maxsize, &n))
                return "a queue is fifo, lifo or priority, and a number";
            script->queue[name[1] - '0'].order = (enum order)order;
            script->queue[name[1] - '0'].maxsize = n;
        } else if (!number_of(value, &n) || n < 0) {
            return "a number is missing";
        } else if (strcmp(name, "S0") == 0 || strcmp(name, "S1") == 0) {
            script->permits[name[1] - '0'] = n;
        } else if (strcmp(name, "B0") == 0 && n > 0) {
            script->parties = n;
        } else if (strcmp(name, "start") == 0 && n <= TASKS) {
            script->start = n;
        } else {
            return "no such thing";
        }
        seen++;
    }
    return seen == 6 ? NULL : "S0, S1, B0, Q0, Q1 and start are wanted";
}

/* Where the next statement goes, for each open block; the scopes that there are so far. */
struct open {
    bool settings;          /* the line `with` was there */
    bool scopes[2][SCOPES]; /* timeouts, groups */
    int *link[DEPTH_MAX];
    int owner[DEPTH_MAX];   /* the statement whose block it is; NONE: a body */
    bool second[DEPTH_MAX]; /* it is the block behind `finally` */
    int n;
};

static const char *parse_line(struct script *script, struct open *open, struct words *words)
{
    const char *first = words->at[0];
    if (strcmp(first, "script") == 0) {
        if (words->n != 4 || strcmp(words->at[2], "level") != 0 ||
            !number_of(words->at[3], &script->level))
            return "a script is `script SEED level LEVEL`";
        script->seed = strtoull(words->at[1], NULL, 10);
        return NULL;
    }
    if (strcmp(first, "with") == 0 && words->n > 1 && strchr(words->at[1], '=')) {
        open->settings = true;
        return parse_with(script, words);
    }
    if (strcmp(first, "task") == 0) {
        int n;
        if (open->n > 1)
            return "a block is open";
        if (words->n != 2 || !number_of(words->at[1], &n) || n != script->tasks || n >= TASKS)
            return "tasks are numbered from 0";
        script->tasks++;
        open->n = 1;
        open->link[0] = &script->body[n];
        open->owner[0] = NONE;
        return NULL;
    }
    if (open->n == 0)
        return "a task must begin first";
    if (strcmp(first, "}") == 0) {
        if (open->n == 1)
            return "no block is open";
        int owner = open->owner[--open->n];
        if (words->n == 1)
            return NULL;
        struct statement *s = &script->statements[owner];
        if (words->n != 3 || strcmp(words->at[1], "finally") != 0 ||
            strcmp(words->at[2], "{") != 0 || s->op != OP_try || open->second[open->n])
            return "only try has another block, `} finally {`";
        open->second[open->n] = true;
        open->link[open->n++] = &s->other;
        return NULL;
    }
    int i;
    const char *wrong = parse_statement(script, words, 0, &i);
    if (wrong)
        return wrong;
    struct statement *s = &script->statements[i];
    if (s->op == OP_timeout || s->op == OP_group) {
        bool *scope = &open->scopes[s->op == OP_group][s->args[0].n];
        if (*scope)
            return "this scope is there already";
        *scope = true;
    }
    *open->link[open->n - 1] = i;
    open->link[open->n - 1] = &s->next;
    if (ops[s->op].kind == BLOCK) {
        if (open->n == DEPTH_MAX)
            return "blocks are nested too deep";
        open->link[open->n] = &s->inner;
        open->second[open->n] = false;
        open->owner[open->n++] = i;
    }
    return NULL;
}

const char *script_parse(struct script *script, const char *text, int *out_line)
{
    memset(script, 0, sizeof *script);
    for (int i = 0; i < TASKS; i++)
        script->body[i] = NONE;
    script->parties = 1;
    struct open open = {.n = 0};
    *out_line = 0;
    while (*text) {
        char line[256];
        size_t n = strcspn(text, "\n");
        ++*out_line;
        if (n >= sizeof line)
            return "a line is too long";
        memcpy(line, text, n);
        line[n] = '\0';
        text += n + (text[n] == '\n');
        struct words words = split(line);
        const char *wrong = words.n && words.at[0][0] != '#' ? parse_line(script, &open, &words)
                                                             : NULL;
        if (wrong)
            return wrong;
    }
    if (open.n > 1)
        return "a block is not closed";
    if (!open.settings || !script->tasks)
        return "`with` and a task are wanted";
    return script->start > script->tasks ? "more tasks are started than there are" : NULL;
}

/* ---- writing ---- */

static void append(char *out, size_t size, const char *word)
{
    size_t n = strlen(out);
    snprintf(out + n, size - n, "%s%s", n ? " " : "", word);
}

void script_print_statement(const struct script *script, const struct statement *s, char *out,
                            size_t size)
{
    out[0] = '\0';
    append(out, size, ops[s->op].name);
    for (int i = 0; i < s->args_n; i++) {
        char word[16];
        if (s->args[i].kind == '-')
            strcpy(word, "-");
        else if (s->args[i].kind == 'n')
            snprintf(word, sizeof word, "%d", s->args[i].n);
        else
            snprintf(word, sizeof word, "%c%d", s->args[i].kind, s->args[i].n);
        append(out, size, word);
    }
    if (ops[s->op].kind != BLOCK && s->inner != NONE) {
        char inner[96];
        script_print_statement(script, &script->statements[s->inner], inner, sizeof inner);
        append(out, size, ":");
        append(out, size, inner);
    }
}

static void print_block(const struct script *script, int first, int depth, FILE *out)
{
    for (int i = first; i != NONE; i = script->statements[i].next) {
        const struct statement *s = &script->statements[i];
        char text[192];
        script_print_statement(script, s, text, sizeof text);
        bool block = ops[s->op].kind == BLOCK;
        fprintf(out, "%*s%s%s%s\n", 4 * depth, "", text, block || s->ends_block ? " " : "",
                block           ? s->ends_block ? "!{" : "{"
                : s->ends_block ? "!"
                                : "");
        if (!block)
            continue;
        print_block(script, s->inner, depth + 1, out);
        if (s->op == OP_try) {
            fprintf(out, "%*s} finally {\n", 4 * depth, "");
            print_block(script, s->other, depth + 1, out);
        }
        fprintf(out, "%*s}\n", 4 * depth, "");
    }
}

void script_print(const struct script *script, FILE *out)
{
    fprintf(out, "script %llu level %d\n", (unsigned long long)script->seed, script->level);
    fprintf(out, "with S0=%d S1=%d B0=%d", script->permits[0], script->permits[1], script->parties);
    for (int i = 0; i < QUEUES; i++)
        fprintf(out, " Q%d=%s:%d", i, order_names[script->queue[i].order],
                script->queue[i].maxsize);
    fprintf(out, " start=%d\n", script->start);
    for (int i = 0; i < script->tasks; i++) {
        fprintf(out, "task %d\n", i);
        print_block(script, script->body[i], 1, out);
    }
}
