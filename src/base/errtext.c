/* SPDX-License-Identifier: MIT
 *
 * errtext.c: an error, its causes and its members, for people.
 *
 *     EIO: unhandled errors in a group (2), the first: disk 1 (Task-1)
 *       |- EIO: disk 1 (copy.c:12, Task-2)
 *       |  caused by ENODEV: no such device (copy.c:9, Task-2)
 *       `- ETIMEDOUT: unhandled errors in a group (2), the first: too slow (Task-3)
 *          |- ETIMEDOUT: too slow (copy.c:30, Task-4)
 *          `- EPIPE: Broken pipe (Task-5)
 *
 * Needs no memory, so that it can speak of having none. Any thread. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where the words go: a file, or a buffer that is cut where it ends. */
struct sink {
    FILE *file;
    char *out;
    size_t size, n; /* n counts on beyond the end */
};

COIL_PRINTF(2, 3) static void emit(struct sink *to, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (to->file) {
        vfprintf(to->file, fmt, args);
    } else {
        size_t room = to->n < to->size ? to->size - to->n : 0;
        int n = vsnprintf(room ? to->out + to->n : NULL, room, fmt, args);
        to->n += n > 0 ? (size_t)n : 0;
    }
    va_end(args);
}

/* What stands before each line below the present one. */
struct margin {
    char text[3 * ERROR_LEVELS_MAX + 8];
    size_t n;
};

static bool widen(struct margin *m, const char *by)
{
    size_t n = strlen(by);
    if (m->n + n >= sizeof m->text)
        return false;
    memcpy(m->text + m->n, by, n + 1);
    m->n += n;
    return true;
}

static void narrow(struct margin *m, size_t n)
{
    m->n = n;
    m->text[n] = 0;
}

static void tell(struct sink *to, const coil_error *e, struct margin *m);

static void tell_below(struct sink *to, const coil_error *e, struct margin *m, const char *lead,
                       const char *below)
{
    size_t before = m->n;
    emit(to, "%s%s", m->text, lead);
    if (widen(m, below))
        tell(to, e, m);
    else
        emit(to, "...\n");
    narrow(m, before);
}

static void tell(struct sink *to, const coil_error *e, struct margin *m)
{
    emit(to, "%s: %s", coil_errname(e->code), e->message);
    const char *task = e->task ? e->task : "";
    if (e->file)
        emit(to, " (%s:%d%s%s)", e->file, e->line, task[0] ? ", " : "", task);
    else if (task[0])
        emit(to, " (%s)", task);
    emit(to, "\n");
    if (e->cause)
        tell_below(to, e->cause, m, "caused by ", "  ");
    for (size_t i = 0; i < e->members_n; i++) {
        bool last = i + 1 == e->members_n;
        tell_below(to, e->members[i], m, last ? "`- " : "|- ", last ? "   " : "|  ");
    }
}

size_t coil_error_format(const coil_error *error, char *out, size_t size)
{
    struct sink to = {.out = out, .size = size};
    struct margin m = {.text = "  ", .n = 2};
    if (size > 0)
        out[0] = 0;
    if (error)
        tell(&to, error, &m);
    return to.n;
}

int coil_report(coil_ret rc)
{
    if (!coil_iserr(rc))
        return 0;
    if (rc == COIL_EINTERRUPTED)
        return 130;
    const coil_error *e = coil_last_error();
    coil_error plain = {.code = rc, .message = coil_strerror(rc), .task = ""};
    struct sink to = {.file = stderr};
    struct margin m = {.text = "  ", .n = 2};
    fputs("coil: ", stderr);
    tell(&to, e && e->code == rc ? e : &plain, &m);
    return rc == -ECANCELED ? 130 : 1;
}
