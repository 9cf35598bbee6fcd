/* SPDX-License-Identifier: MIT
 *
 * entry.c: an entry of the shell: compiled, loaded, run.
 *
 *     translate --> compile --it fails--> the same with expressions as plain statements --it fails--> the errors
 *                      |                                   |
 *                      '------------> load <---------------'
 *                                       |
 *                    the session is what it is now --> run
 *
 * The second compilation is for what only looks like an expression (a macro that declares something), and for errors
 * that speak of nothing but what was typed. Until an entry is loaded, the session does not change.
 *
 * All of it is the entry's task: Ctrl-C, a cancel, ends it in the compiler as it does in the code. */
#include "cmd/shell.h"

#include "cmd/show.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one that runs: the functions below are called by its code. */
static struct entry *current;

/* ---- what an entry calls ---- */

static bool is_cancelled(void)
{
    return coil_task_cancelling(coil_current_task()) > 0;
}

static void show(int quiet, int kind, int type_class, size_t size, ...)
{
    static const int of_int = 3, of_long = 5; /* COIL_SHELL_KIND */
    va_list args;
    va_start(args, size);
    intptr_t word = kind == of_int ? va_arg(args, int) : kind == of_long ? va_arg(args, long) : 0;
    va_end(args);
    char *error = show_error(kind, word);
    fflush(stdout);
    if (error) {
        if (word != -ECANCELED || !is_cancelled())
            shell_error(current->shell, "%s", error);
        current->failed = true;
        free(error);
        return;
    }
    if (quiet || kind == 0)
        return;
    va_start(args, size);
    char *value = show_value(kind, type_class, size, args);
    va_end(args);
    puts(value);
    free(value);
}

static void end(void)
{
    current->returned = false;
}

static const struct coil_shell hooks = {.show = show, .end = end};

/* ---- what is a type? ---- */

struct question {
    struct shell *shell;
    const struct session *next;
    struct words types, others; /* answered before */
    coil_ret error;
};

static bool is_among(const struct words *words, const char *name)
{
    for (size_t i = 0; i < words->n; i++) {
        if (strcmp(words->list[i], name) == 0)
            return true;
    }
    return false;
}

/* Suspends: only the compiler knows what the headers declare. */
static bool is_type(const char *name, void *arg)
{
    struct question *q = arg;
    if (session_find(q->next, KNOWN_TYPE, name) || is_among(&q->types, name))
        return true;
    if (session_find(q->next, KNOWN_OBJECT, name) || is_among(&q->others, name))
        return false;
    char *source = session_type_question(&q->shell->session, name);
    coil_ret rc = workshop_ask(&q->shell->workshop, source);
    free(source);
    if (coil_iserr(rc)) {
        q->error = rc;
        return false;
    }
    words_add(rc ? &q->types : &q->others, name);
    return rc != 0;
}

/* ---- making it ---- */

struct making {
    struct shell *shell;
    const struct entry *entry;
    struct question question;
    struct session next;
    struct translation translation;
    char *name; /* what the compiler calls the entry */
    char *said; /* by the compiler */
};

static void translate(struct making *m, bool plain)
{
    session_free(&m->next);
    translation_free(&m->translation);
    m->next = session_copy(&m->shell->session);
    m->question.next = &m->next;
    session_translate(&m->translation, &m->next, m->entry->text, m->name, plain, is_type,
                      &m->question);
}

/* 0, 1 if it was refused, or an error; once it was compiled. */
static coil_ret compile(struct making *m)
{
    unsigned n = m->shell->session.entries + 1;
    translate(m, false);
    if (m->question.error)
        return m->question.error;
    if (m->translation.refusal)
        return 1;
    coil_ret rc = workshop_compile(&m->shell->workshop, n, m->translation.source, &m->said);
    if (rc != 1)
        return rc;
    char *first = text_of("%s", m->translation.source);
    translate(m, true);
    bool same = !m->translation.source || strcmp(first, m->translation.source) == 0;
    free(first);
    if (same)
        return rc;
    free(m->said);
    return workshop_compile(&m->shell->workshop, n, m->translation.source, &m->said);
}

/* How long arrays are whose length nobody stated: "[@]" becomes "[3]". */
static void fill_in_counts(struct session *next, void *loaded)
{
    for (size_t i = 0; i < next->n; i++) {
        struct known *k = &next->list[i];
        const unsigned long *count = k->count ? dlsym(loaded, k->count) : NULL;
        char *at = k->count ? strchr(k->text, '@') : NULL;
        if (!count || !at)
            continue;
        char *text = text_of("%.*s%lu%s", (int)(at - k->text), k->text, *count, at + 1);
        free(k->text);
        free(k->count);
        k->text = text;
        k->count = NULL;
    }
}

static void tell_what_is_lost(const struct making *m)
{
    for (size_t i = 0; i < m->translation.lost.n; i++)
        fprintf(stderr, "`%s` is gone: it was made of something that is another now\n",
                m->translation.lost.list[i]);
}

/* The code of the entry, or NULL after saying why there is none. */
static void *load(struct making *m)
{
    char *why;
    void *loaded = workshop_load(&m->shell->workshop, m->next.entries, &why);
    if (!loaded) {
        shell_error(m->shell, "%s", why);
        free(why);
        return NULL;
    }
    fill_in_counts(&m->next, loaded);
    tell_what_is_lost(m);
    session_free(&m->shell->session);
    m->shell->session = m->next;
    m->next = (struct session){0};
    return dlsym(loaded, "coil_shell_entry");
}

static void *make(const struct entry *entry)
{
    struct shell *shell = entry->shell;
    struct making m = {.shell = shell, .entry = entry, .question.shell = shell};
    m.name = entry->file
                 ? text_of("%s", entry->file)
                 : workshop_quote(&shell->workshop, shell->session.entries + 1, entry->text);
    coil_ret rc = compile(&m);
    void *code = NULL;
    fflush(stdout);
    if (m.translation.refusal)
        shell_error(shell, "%s", m.translation.refusal);
    else if (coil_iserr(rc) && !(rc == -ECANCELED && is_cancelled()))
        shell_error(shell, "%s", coil_last_error()->message);
    else if (m.said)
        fputs(m.said, stderr);
    if (rc == 0)
        code = load(&m);
    if (!code)
        shell->session.entries++; /* its number is used up, for messages spoke of it */
    words_free(&m.question.types);
    words_free(&m.question.others);
    session_free(&m.next);
    translation_free(&m.translation);
    free(m.name);
    free(m.said);
    return code;
}

/* ---- running it ---- */

static coil_ret run_code(struct entry *entry, void *code)
{
    coil_ret (*fn)(const struct coil_shell *);
    memcpy(&fn, &code, sizeof fn);
    entry->returned = true;
    current = entry;
    coil_ret rc = fn(&hooks);
    if (entry->returned && !(rc == -ECANCELED && is_cancelled()))
        show(0, 5, 0, sizeof rc, rc);
    current = NULL;
    return rc;
}

coil_ret entry_run(void *arg)
{
    struct entry *entry = arg;
    void *code = make(entry);
    if (code)
        coil_ignore(run_code(entry, code));
    else
        entry->failed = true;
    fflush(stdout);
    if (!is_cancelled())
        return 0;
    entry->failed = true;
    shell_error(entry->shell, "cancelled");
    return -ECANCELED;
}
