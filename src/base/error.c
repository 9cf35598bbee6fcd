/* SPDX-License-Identifier: MIT
 *
 * error.c: codes, their names, a sentence for each; and the record that carries the words.
 *
 * Runs on any thread; a slot belongs to one task or thread at a time, a counted record is immutable. */
#include "base/error.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const struct {
    coil_ret code;
    const char *name, *words;
} own_codes[] = {
    {COIL_EINVALIDSTATE, "COIL_EINVALIDSTATE", "the object is not in the state this call needs"},
    {COIL_EINCOMPLETE, "COIL_EINCOMPLETE", "the stream ended before everything was read"},
    {COIL_ELIMIT, "COIL_ELIMIT", "no separator was found within the limit"},
    {COIL_EQUEUEEMPTY, "COIL_EQUEUEEMPTY", "the queue is empty"},
    {COIL_EQUEUEFULL, "COIL_EQUEUEFULL", "the queue is full"},
    {COIL_ESHUTDOWN, "COIL_ESHUTDOWN", "it was shut down and takes no more"},
    {COIL_EBROKENBARRIER, "COIL_EBROKENBARRIER", "the barrier is broken"},
    {COIL_ETLS, "COIL_ETLS", "TLS failed"},
    {COIL_EGAI, "COIL_EGAI", "the name could not be resolved"},
    {COIL_EDEADLOCK, "COIL_EDEADLOCK", "nothing left can wake any task"},
    {COIL_EEXIT, "COIL_EEXIT", "this coroutine is being unwound; clean up and return"},
    {COIL_ETYPE, "COIL_ETYPE", "this is not the kind of object the call takes"},
    {COIL_ECLOSED, "COIL_ECLOSED", "Event loop is closed"},
    {COIL_ENOLOOP, "COIL_ENOLOOP", "no running event loop"},
    {COIL_ENOTASK, "COIL_ENOTASK", "only a task can wait; start one with coil_create_task"},
    {COIL_EWRONGLOOP, "COIL_EWRONGLOOP", "the object is bound to a different event loop"},
    {COIL_EWRONGTHREAD, "COIL_EWRONGTHREAD",
     "called from another thread; use coil_loop_call_soon_threadsafe"},
    {COIL_ERUNNING, "COIL_ERUNNING", "it is already running"},
    {COIL_ESTOPPED, "COIL_ESTOPPED", "Event loop stopped before Future completed"},
    {COIL_ESELFAWAIT, "COIL_ESELFAWAIT", "Task cannot await on itself"},
    {COIL_EGROUP, "COIL_EGROUP", "several errors happened; see the members"},
    {COIL_ETLSCERT, "COIL_ETLSCERT", "the peer's certificate is not good"},
    {COIL_ETLSEOF, "COIL_ETLSEOF", "the stream ended without the peer's close_notify"},
    {COIL_EINTERRUPTED, "COIL_EINTERRUPTED", "interrupted from the keyboard"},
    {COIL_EBROKENPOOL, "COIL_EBROKENPOOL", "the process that ran the job is gone"},
};

const char *coil_strerror(coil_ret code)
{
    if (!coil_iserr(code))
        return "success";
    if (code == -ECANCELED)
        return "cancelled";
    if (code == -ETIMEDOUT)
        return "timed out";
    for (size_t i = 0; i < sizeof own_codes / sizeof own_codes[0]; i++)
        if (own_codes[i].code == code)
            return own_codes[i].words;
    if (code <= COIL_EUSER && code >= -4000)
        return "an error of the program";
    if (!coil__errno_name((int)-code))
        return "unknown error";
#ifdef __GLIBC__
    return strerrordesc_np((int)-code); /* its strerror translates */
#else
    return strerror((int)-code);
#endif
}

const char *coil_errname(coil_ret code)
{
    if (!coil_iserr(code))
        return "OK";
    for (size_t i = 0; i < sizeof own_codes / sizeof own_codes[0]; i++)
        if (own_codes[i].code == code)
            return own_codes[i].name;
    if (code <= COIL_EUSER && code >= -4000)
        return "COIL_EUSER";
    const char *name = coil__errno_name((int)-code);
    return name ? name : "UNKNOWN";
}

/* ---- slots ---- */

_Thread_local struct error_record *coil__error_slot_ptr;
static _Thread_local struct error_record thread_slot;

struct error_record *coil__error_slot(void)
{
    return coil__error_slot_ptr ? coil__error_slot_ptr : &thread_slot;
}

static void drop_links(struct error_record *r)
{
    if (r->pub.cause)
        coil__error_unref(error_record_of(r->pub.cause));
    for (size_t i = 0; i < r->pub.members_n; i++)
        coil__error_unref(error_record_of(r->pub.members[i]));
    coil__free((void *)(uintptr_t)r->pub.members);
    r->pub.cause = NULL;
    r->causes = r->levels = 0;
    r->pub.members = NULL;
    r->pub.members_n = 0;
}

void coil__error_clear(struct error_record *slot)
{
    if (slot->pub.cause || slot->pub.members)
        drop_links(slot);
    slot->pub = (coil_error){.message = "", .task = ""};
}

static struct error_record *ref(struct error_record *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void coil__error_unref(struct error_record *r)
{
    if (!r || atomic_load_explicit(&r->refs, memory_order_relaxed) == 0)
        return;
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) > 1)
        return;
    drop_links(r);
    coil__free(r);
}

static void drop_thread_links(void *arg)
{
    drop_links(arg);
}

/* A slot got links. The thread's own gives them back when the thread ends. */
static void keep_links(struct error_record *slot)
{
    static struct thread_key key;
    if (slot == &thread_slot && (slot->pub.cause || slot->pub.members) &&
        coil__thread_at_exit(&key, drop_thread_links, slot) < 0)
        drop_links(slot);
}

/* Takes over a counted cause (NULL: none). */
static void link_cause(struct error_record *r, struct error_record *cause);

/* A slot starts speaking of a new error. */
static struct error_record *slot_begin(coil_ret code)
{
    struct error_record *slot = coil__error_slot();
    if (slot->pub.cause || slot->pub.members)
        drop_links(slot);
    slot->pub = (coil_error){
        .code = code, .message = coil_strerror(code), .task = slot->owner ? slot->owner : ""};
    return slot;
}

static void set_words(struct error_record *r, const char *words, bool cut)
{
    size_t n = strnlen(words, sizeof r->text - 1);
    memcpy(r->text, words, n);
    r->text[n] = 0;
    if (cut || words[n])
        memcpy(r->text + sizeof r->text - 4, "...", 4);
    r->pub.message = r->text;
}

/* A slot starts speaking of a new error in words of its own. The arguments may quote what it says until now, or what
 * hangs on that: written elsewhere first. */
COIL_PRINTF(2, 0)
static struct error_record *slot_begin_words(coil_ret code, const char *fmt, va_list args)
{
    char words[ERROR_TEXT_MAX];
    int n = vsnprintf(words, sizeof words, fmt, args);
    struct error_record *slot = slot_begin(code);
    set_words(slot, words, n >= (int)sizeof words);
    return slot;
}

coil_ret coil__fail_plain(coil_ret code)
{
    slot_begin(code);
    return code;
}

coil_ret coil__fail(coil_ret code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)slot_begin_words(code, fmt, args);
    va_end(args);
    return code;
}

coil_ret coil_fail_at(const char *file, int line, coil_ret code, const char *fmt, ...)
{
    if (!coil_iserr(code))
        code = -EINVAL;
    va_list args;
    va_start(args, fmt);
    struct error_record *slot = slot_begin_words(code, fmt, args);
    va_end(args);
    slot->pub.file = file;
    slot->pub.line = line;
    return code;
}

coil_ret coil_fail_from_at(const char *file, int line, coil_ret code, const char *fmt, ...)
{
    if (!coil_iserr(code))
        code = -EINVAL;
    struct error_record *slot = coil__error_slot();
    /* Without memory the cause is lost and the new error still speaks. */
    struct error_record *cause = slot->pub.code ? coil__error_capture(slot->pub.code) : NULL;
    va_list args;
    va_start(args, fmt);
    slot = slot_begin_words(code, fmt, args);
    va_end(args);
    slot->pub.file = file;
    slot->pub.line = line;
    link_cause(slot, cause);
    keep_links(slot);
    return code;
}

const coil_error *coil_last_error(void)
{
    const struct error_record *slot = coil__error_slot();
    return slot->pub.code ? &slot->pub : NULL;
}

/* ---- counted records ---- */

/* Copies all but the members; `to` has no links of its own. */
static void copy_head(struct error_record *to, const struct error_record *from)
{
    to->pub = from->pub;
    if (from->pub.message == from->text) {
        memcpy(to->text, from->text, sizeof to->text);
        to->pub.message = to->text;
    }
    if (from->pub.task && from->pub.task[0]) {
        strncpy(to->task, from->pub.task, sizeof to->task - 1);
        to->task[sizeof to->task - 1] = 0;
        to->pub.task = to->task;
    }
    to->pub.members = NULL;
    to->pub.members_n = 0;
    to->causes = from->causes;
    to->levels = from->levels;
    to->title_n = from->title_n;
    if (from->pub.cause)
        ref(error_record_of(from->pub.cause));
}

/* Copies words and links. */
static void copy_record(struct error_record *to, const struct error_record *from)
{
    copy_head(to, from);
    if (from->pub.members_n) {
        const coil_error **members = coil__alloc(from->pub.members_n * sizeof *members);
        if (members) { /* without memory the copy speaks for the group alone */
            for (size_t i = 0; i < from->pub.members_n; i++) {
                members[i] = from->pub.members[i];
                ref(error_record_of(members[i]));
            }
            to->pub.members = members;
            to->pub.members_n = from->pub.members_n;
        }
    }
}

static struct error_record *new_record(void)
{
    struct error_record *r = coil__zalloc(sizeof *r);
    if (r) {
        coil__error_init(r, NULL);
        atomic_store_explicit(&r->refs, 1, memory_order_relaxed);
    }
    return r;
}

/* Takes over a counted record for one that is to hang below another. Who fails for ever, each time because of the
 * last time, must not grow for ever, nor must groups in groups: then it is a copy without what led to it, or NULL. */
static struct error_record *to_hang(struct error_record *r, bool as_cause)
{
    if (r->levels + 1 < ERROR_LEVELS_MAX && !(as_cause && r->causes + 1 >= ERROR_CAUSES_MAX))
        return r;
    struct error_record *bare = new_record();
    if (bare) {
        copy_head(bare, r);
        drop_links(bare);
    }
    coil__error_unref(r);
    return bare;
}

static void deepen(struct error_record *r, const struct error_record *below)
{
    if (r->levels < below->levels + 1)
        r->levels = below->levels + 1;
}

static void link_cause(struct error_record *r, struct error_record *cause)
{
    if (cause)
        cause = to_hang(cause, true);
    r->pub.cause = cause ? &cause->pub : NULL;
    r->causes = cause ? cause->causes + 1 : 0;
    if (cause)
        deepen(r, cause);
}

struct error_record *coil__error_capture(coil_ret code)
{
    const struct error_record *slot = coil__error_slot();
    struct error_record *r = new_record();
    if (!r)
        return NULL;
    if (slot->pub.code == code) {
        copy_record(r, slot);
    } else {
        r->pub.code = code;
        r->pub.message = coil_strerror(code);
        if (slot->owner) {
            strncpy(r->task, slot->owner, sizeof r->task - 1);
            r->pub.task = r->task;
        }
    }
    return r;
}

struct error_record *coil__error_cancelled(const char *message)
{
    struct error_record *r = message ? new_record() : NULL;
    if (r) {
        r->pub.code = -ECANCELED;
        set_words(r, message, false);
    }
    return r;
}

struct error_record *coil__error_share(struct error_record *r)
{
    if (!r)
        return NULL;
    if (atomic_load_explicit(&r->refs, memory_order_relaxed) > 0)
        return ref(r);
    struct error_record *copy = new_record();
    if (copy)
        copy_record(copy, r);
    return copy;
}

coil_ret coil__error_restore(const struct error_record *r, coil_ret code)
{
    struct error_record *slot = coil__error_slot();
    if (r == slot)
        return code;
    if (!r || r->pub.code == 0) {
        slot_begin(code);
        return code;
    }
    if (slot->pub.cause || slot->pub.members) {
        struct error_record before = {.pub = slot->pub}; /* r may hang on it, and on nothing else */
        slot->pub.cause = NULL;
        slot->pub.members = NULL;
        copy_record(slot, r);
        drop_links(&before);
    } else {
        copy_record(slot, r);
    }
    keep_links(slot);
    return code;
}

const coil_error *coil__error_show(struct error_record *r, coil_ret code)
{
    static _Thread_local struct error_record plain; /* a whole one: coil_error_ref may ask for it */
    if (r && r->pub.code)
        return &r->pub;
    plain.pub = (coil_error){.code = code, .message = coil_strerror(code), .task = ""};
    return &plain.pub;
}

/* The title, and what there is to say of the members. */
static void set_group_words(struct error_record *r, const char *title, size_t title_n)
{
    char words[2 * ERROR_TEXT_MAX];
    const char *first = r->pub.members_n ? r->pub.members[0]->message : coil_strerror(r->pub.code);
    int own = (int)(title_n < ERROR_TEXT_MAX / 2 ? title_n : ERROR_TEXT_MAX / 2);
    if (r->pub.members_n > 1)
        snprintf(words, sizeof words, "%.*s (%zu), the first: %s", own, title, r->pub.members_n,
                 first);
    else
        snprintf(words, sizeof words, "%.*s%s%s", own, title, own ? ": " : "", first);
    set_words(r, words, false);
    r->title_n = (unsigned)own;
}

/* Takes over the members, counted, NULLs among them. */
static void link_members(struct error_record *r, struct error_record *const *members, size_t n)
{
    const coil_error **list = r && n ? coil__alloc(n * sizeof *list) : NULL;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct error_record *member = members[i];
        if (member && list)
            member = to_hang(member, false);
        if (!member)
            continue;
        if (!list) {
            coil__error_unref(member);
            continue;
        }
        deepen(r, member);
        list[kept++] = &member->pub;
    }
    if (r) {
        r->pub.members = list;
        r->pub.members_n = kept;
    }
}

struct error_record *coil__error_group(coil_ret code, const char *title,
                                       struct error_record *const *members, size_t n)
{
    struct error_record *r = new_record();
    link_members(r, members, n);
    if (!r)
        return NULL;
    r->pub.code = code;
    set_group_words(r, title, strlen(title));
    const struct error_record *slot = coil__error_slot();
    if (slot->owner) {
        strncpy(r->task, slot->owner, sizeof r->task - 1);
        r->pub.task = r->task;
    }
    return r;
}

struct error_record *coil__error_derive(const struct error_record *group,
                                        struct error_record *const *members, size_t n)
{
    struct error_record *r = new_record();
    link_members(r, members, n);
    if (!r || !r->pub.members) { /* a part that says nothing of what it is made of is none */
        coil__error_unref(r);
        return NULL;
    }
    const coil_error *const *list = r->pub.members;
    size_t kept = r->pub.members_n;
    unsigned levels = r->levels;
    copy_head(r, group);
    r->pub.members = list;
    r->pub.members_n = kept;
    r->levels = levels;
    if (r->pub.cause)
        deepen(r, error_record_of(r->pub.cause));
    /* A group goes by its first member's code, unless it had one of its own. */
    if (kept && group->pub.members_n && group->pub.code == group->pub.members[0]->code)
        r->pub.code = list[0]->code;
    if (group->pub.message == group->text)
        set_group_words(r, group->text, group->title_n);
    return r;
}

struct error_record *coil__error_with_cause(struct error_record *r, coil_ret code,
                                            struct error_record *cause)
{
    struct error_record *copy = new_record();
    struct error_record *shared = coil__error_share(cause);
    if (!copy) {
        coil__error_unref(shared);
        return NULL;
    }
    if (r) {
        copy_record(copy, r);
    } else {
        copy->pub.code = code;
        copy->pub.message = coil_strerror(code);
    }
    if (shared) {
        if (copy->pub.cause)
            coil__error_unref(error_record_of(copy->pub.cause));
        link_cause(copy, shared);
    }
    return copy;
}
