/* SPDX-License-Identifier: MIT
 *
 * session.c: what the entries of a shell have defined so far.
 *
 * A name that is defined anew replaces the older one. Declarations that were made of that one (its type, its size)
 * would mean something else in later entries than the object that is there: they go, and the user is told. */
#include "cmd/session.h"

#include "cmd/define.h"

#include <stdlib.h>
#include <string.h>

struct session session_copy(const struct session *session)
{
    struct session copy = {.n = session->n, .entries = session->entries};
    copy.list = grown(NULL, (session->n + 1) * sizeof *copy.list);
    for (size_t i = 0; i < session->n; i++) {
        const struct known *k = &session->list[i];
        copy.list[i] = (struct known){.kind = k->kind, .text = text_of("%s", k->text)};
        copy.list[i].name = k->name ? text_of("%s", k->name) : NULL;
        copy.list[i].count = k->count ? text_of("%s", k->count) : NULL;
    }
    return copy;
}

static void known_free(struct known *k)
{
    free(k->name);
    free(k->text);
    free(k->count);
}

void session_free(struct session *session)
{
    for (size_t i = 0; i < session->n; i++)
        known_free(&session->list[i]);
    free(session->list);
    *session = (struct session){0};
}

struct known *session_find(const struct session *session, enum known_kind kind, const char *name)
{
    for (size_t i = session->n; i-- > 0;) {
        struct known *k = &session->list[i];
        if (k->kind == kind && k->name && strcmp(k->name, name) == 0)
            return k;
    }
    return NULL;
}

/* ---- what is made of what ---- */

/* Is the name a word of this text where types and sizes are: in brackets, or in a typeof or sizeof? */
static bool sizes_by(const struct tokens *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        bool is_size = token_is(t, i, "[") ||
                       (token_is_among(t, i, " typeof __typeof__ sizeof _Alignof _Alignas ") &&
                        token_is(t, i + 1, "("));
        if (!is_size)
            continue;
        size_t from = token_is(t, i, "[") ? i : i + 1, to = token_skip(t, from);
        for (size_t k = from; k < to; k++) {
            if (token_is(t, k, name) && !token_is_among(t, k - 1, " . -> "))
                return true;
        }
    }
    return false;
}

static bool is_typed_by(const struct tokens *t, enum known_kind kind, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        if (!token_is(t, i, name))
            continue;
        bool is_tag = i > 0 && token_is_among(t, i - 1, " struct union enum ");
        if (kind == KNOWN_TAG ? is_tag : !is_tag && !(i > 0 && token_is_among(t, i - 1, " . -> ")))
            return true;
    }
    return false;
}

static bool is_made_of(const struct known *k, enum known_kind kind, const char *name)
{
    if (k->kind == KNOWN_MACRO || k->kind == KNOWN_TEXT) /* these mean what their words mean now */
        return false;
    struct tokens tokens;
    tokens_of(&tokens, k->text);
    bool is = kind == KNOWN_OBJECT ? sizes_by(&tokens, name) : is_typed_by(&tokens, kind, name);
    tokens_free(&tokens);
    return is;
}

static void take_out(struct session *session, size_t at)
{
    known_free(&session->list[at]);
    session->n--;
    memmove(&session->list[at], &session->list[at + 1], (session->n - at) * sizeof *session->list);
}

static void lose_what_is_made_of(struct session *session, enum known_kind kind, const char *name,
                                 struct words *lost)
{
    for (size_t i = 0; i < session->n;) {
        struct known *k = &session->list[i];
        if (!is_made_of(k, kind, name)) {
            i++;
            continue;
        }
        enum known_kind gone_kind = k->kind;
        char *gone = text_of("%s", k->name);
        take_out(session, i);
        words_add(lost, gone);
        lose_what_is_made_of(session, gone_kind, gone, lost);
        free(gone);
        i = 0;
    }
}

void session_forget(struct session *session, enum known_kind kind, const char *name,
                    struct words *lost)
{
    for (size_t i = session->n; i-- > 0;) {
        struct known *k = &session->list[i];
        bool is_same = k->kind == kind || (kind == KNOWN_OBJECT && k->kind == KNOWN_PROTOTYPE) ||
                       (kind == KNOWN_TYPE && k->kind == KNOWN_OBJECT) ||
                       (kind == KNOWN_OBJECT && k->kind == KNOWN_TYPE);
        if (!is_same || !k->name || strcmp(k->name, name) != 0)
            continue;
        enum known_kind gone = k->kind;
        take_out(session, i);
        if (gone != KNOWN_MACRO && gone != KNOWN_PROTOTYPE)
            lose_what_is_made_of(session, gone, name, lost);
        i = session->n;
    }
}

void session_add(struct session *session, enum known_kind kind, char *name, char *text, char *count)
{
    session->list = grown(session->list, (session->n + 1) * sizeof *session->list);
    session->list[session->n++] = (struct known){
        .kind = kind, .name = name, .text = text, .count = count};
}
