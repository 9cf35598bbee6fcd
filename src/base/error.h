/* SPDX-License-Identifier: MIT
 *
 * error.h: the record of an error, and whose record "the last error" is.
 *
 * Each task and each thread has one embedded record, its slot; every failing call of the library
 * writes there. When an error is stored (in a future, a group, as a cause) a counted copy is made; if
 * memory is short the code survives and the words are those of the code.
 *
 *     failing call --> slot --capture--> counted record --restore--> another task's slot
 *
 * Always true: an embedded record has refs == 0 and is never freed here; a counted one is immutable. */
#ifndef COIL_BASE_ERROR_H
#define COIL_BASE_ERROR_H

#include "base/check.h"

#include <coil/error.h>

#include <stdarg.h>
#include <stdatomic.h>

enum { ERROR_TEXT_MAX = 160, ERROR_NAME_MAX = 32 };
enum { ERROR_CAUSES_MAX = 16 }; /* a longer chain loses its oldest; nobody reads on */
enum {
    ERROR_LEVELS_MAX = 48
}; /* groups and causes inside one another: what is deeper is a word only */

struct error_record {
    coil_error pub; /* what users see; its pointers lead into this record or to static text */
    _Atomic unsigned refs; /* 0: embedded */
    unsigned causes;       /* how many hang below this one */
    unsigned levels;       /* of causes and members below this one, the deepest way down */
    unsigned title_n;      /* a group's: the first so many bytes of the text are its own */
    const char *owner;     /* slot: the task's name, kept by the task; NULL outside of tasks */
    char text[ERROR_TEXT_MAX];
    char task[ERROR_NAME_MAX];
};

/* The slot of whoever runs in this thread now. Set by the task floor at each switch; NULL means the
 * thread's own. */
extern _Thread_local struct error_record *coil__error_slot_ptr;
struct error_record *coil__error_slot(void);

/* "ENOENT"; NULL for what is no number of the kernel's. */
const char *coil__errno_name(int number);

static inline void error_switch(struct error_record *slot_or_null)
{
    coil__error_slot_ptr = slot_or_null;
}

static inline void coil__error_init(struct error_record *slot, const char *owner)
{
    slot->pub = (coil_error){.message = "", .task = ""};
    slot->owner = owner;
    slot->causes = slot->levels = slot->title_n = 0;
    atomic_init(&slot->refs, 0);
}
/* Forgets what the slot says and gives back what it holds. */
void coil__error_clear(struct error_record *slot);
/* The slot goes with its owner. Hardly ever does it hold anything. */
static inline void error_fini(struct error_record *slot)
{
    if (coil_unlikely(slot->pub.cause || slot->pub.members))
        coil__error_clear(slot);
}

/* For the library's own failures: record and return the code. The words are ours, or those of the code. */
coil_ret coil__fail(coil_ret code, const char *fmt, ...) COIL_PRINTF(2, 3);
coil_ret coil__fail_plain(coil_ret code);

/* A counted record for `code`: a copy of the slot if that is what it speaks of, else the code's own
 * words. NULL when out of memory, which every user of a record takes for "the code's own words". */
struct error_record *coil__error_capture(coil_ret code);
/* A counted record of a cancellation with this message; NULL (plain words) for no message or no memory. */
struct error_record *coil__error_cancelled(const char *message);
/* A counted record that says the same: `r` itself, or a copy if it is embedded. NULL is fine. */
struct error_record *coil__error_share(struct error_record *r);
void coil__error_unref(struct error_record *r);

/* Make the slot say what `r` says (or, with NULL, the words of `code`), and return code. */
coil_ret coil__error_restore(const struct error_record *r, coil_ret code);

/* What to show for (r, code): never NULL. */
const coil_error *coil__error_show(struct error_record *r, coil_ret code);

/* A counted record of a group: takes over n counted members (NULLs allowed, skipped) whatever happens.
 * Its words are the title, how many there are, and the first one's. NULL when out of memory. */
struct error_record *coil__error_group(coil_ret code, const char *title,
                                       struct error_record *const *members, size_t n);
/* The same with all that is known of `group` but its members. */
struct error_record *coil__error_derive(const struct error_record *group,
                                        struct error_record *const *members, size_t n);

/* The record that a public pointer is part of. */
static inline struct error_record *error_record_of(const coil_error *pub)
{
    return (struct error_record *)((char *)(uintptr_t)pub - offsetof(struct error_record, pub));
}
/* A counted copy of `r` with this cause (shared); either may be NULL. */
struct error_record *coil__error_with_cause(struct error_record *r, coil_ret code,
                                            struct error_record *cause);

#endif
