/* SPDX-License-Identifier: MIT
 *
 * session.h: what the entries of a shell have defined so far, and how the next one becomes C that a compiler takes.
 *
 *     int n = f();          -->   the file:     int n __asm__("n.7");
 *     n + 1                       its function: n = f(); show n + 1
 *                                 later files:  extern int n __asm__("n.7");
 *
 * Every entry is a shared object of its own. Its variables and functions are symbols that carry the entry's number, so
 * that a newer `n` is another object, and no name is in the way of a library's. Later entries see the newest;
 * what was compiled before goes on with the one it knew. */
#ifndef COIL_CMD_SESSION_H
#define COIL_CMD_SESSION_H

#include "cmd/files.h"
#include "cmd/parts.h"

enum known_kind {
    KNOWN_OBJECT,    /* a variable or a function */
    KNOWN_PROTOTYPE, /* declared, and defined elsewhere */
    KNOWN_TYPE,      /* a typedef */
    KNOWN_TAG,       /* of a struct, union or enum */
    KNOWN_MACRO,
    KNOWN_TEXT, /* includes, pragmas */
};

struct known {
    enum known_kind kind;
    char *name; /* NULL of a text */
    char *text; /* the declaration that later entries begin with */
    char *
        count; /* NULL; or the symbol that says how many elements an array of no stated size has: "[@]" in the text */
};

struct session {
    struct known *list; /* in the order in which they were defined */
    size_t n;
    unsigned entries; /* how many there were; the number of the last one */
};

struct translation {
    char *source;  /* the whole file; NULL if it was refused */
    char *refusal; /* why, in a sentence */
    struct words
        lost; /* names that are gone, since they were made of something that was defined anew */
};

/* The C text of an entry, by which `next`, a copy of the session as it is, becomes what it will be when the entry
 * has been loaded. `file` is what the compiler is to call the entry in its messages. `plain`: expressions are
 * statements like others, and what the compiler says is about nothing but the entry's own text. */
void session_translate(struct translation *out, struct session *next, const char *text,
                       const char *file, bool plain, is_type_fn is_type, void *arg);
void translation_free(struct translation *translation);

/* A file that compiles if `name` is a type. To be freed. */
char *session_type_question(const struct session *session, const char *name);

struct session session_copy(const struct session *session);
void session_free(struct session *session);
/* The one of that name and kind, or NULL. */
struct known *session_find(const struct session *session, enum known_kind kind, const char *name);

#endif
