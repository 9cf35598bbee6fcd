/* SPDX-License-Identifier: MIT
 *
 * show.c: values as the shell shows them: as C would write them, where it can. */
#include "cmd/show.h"

#include "cmd/files.h"

#include <ctype.h>
#include <dlfcn.h>

enum kind {
    KIND_VOID,
    KIND_BOOL,
    KIND_CHAR,
    KIND_INT,
    KIND_UNSIGNED,
    KIND_LONG,
    KIND_UNSIGNED_LONG,
    KIND_LONG_LONG,
    KIND_UNSIGNED_LONG_LONG,
    KIND_DOUBLE,
    KIND_LONG_DOUBLE,
    KIND_STRING,
    KIND_FUTURE,
    KIND_OTHER,
    KIND_FLOAT,
};

enum {
    CLASS_INTEGER = 1,
    CLASS_POINTER = 5
}; /* as both compilers' __builtin_classify_type has them */

enum { STRING_MAX = 2000 }; /* bytes of a string that are shown */

/* ---- numbers ---- */

/* As few digits as tell it from every other of its type, and a point. */
static char *double_text(double value, bool is_float)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (is_float ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value)
            break;
    }
    return text_of("%s%s", text, isfinite(value) && !strpbrk(text, ".e") ? ".0" : "");
}

static char *long_double_text(long double value)
{
    char text[60];
    for (int digits = 6; digits <= 36; digits++) {
        snprintf(text, sizeof text, "%.*Lg", digits, value);
        if (strtold(text, NULL) == value)
            break;
    }
    return text_of("%s%s", text, isfinite(value) && !strpbrk(text, ".e") ? ".0L" : "L");
}

/* A coil_ret is a long: what an error would mean stands beside it. */
static char *long_text(long value)
{
    return coil_iserr(value) ? text_of("%ld (as an error %s: %s)", value, coil_errname(value),
                                       coil_strerror(value))
                             : text_of("%ld", value);
}

/* ---- strings ---- */

static void put_escaped(FILE *to, unsigned char c, char quote)
{
    static const char escapes[] = "\a\b\f\n\r\t\v", letters[] = "abfnrtv";
    const char *escape = c ? strchr(escapes, c) : NULL;
    if (escape)
        fprintf(to, "\\%c", letters[escape - escapes]);
    else if (c == '\\' || c == (unsigned char)quote)
        fprintf(to, "\\%c", c);
    else if (c < 0x20 || c == 0x7f)
        fprintf(to, "\\%03o", c);
    else
        fputc(c, to);
}

static char *string_text(const char *s)
{
    if (!s)
        return text_of("NULL");
    char *text = NULL;
    size_t n, length = strnlen(s, STRING_MAX + 1);
    FILE *to = open_memstream(&text, &n);
    fputc('"', to);
    for (size_t i = 0; i < length && i < STRING_MAX; i++)
        put_escaped(to, (unsigned char)s[i], '"');
    fputs(length > STRING_MAX ? "\"..." : "\"", to);
    fclose(to);
    return text;
}

static char *char_text(char c)
{
    char *text = NULL;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    fputc('\'', to);
    if ((unsigned char)c >= 0x80)
        fprintf(to, "\\x%02x", (unsigned char)c);
    else
        put_escaped(to, (unsigned char)c, '\'');
    fputc('\'', to);
    fclose(to);
    return text;
}

/* ---- tasks ---- */

/* Functions of entries carry the entry's number: "tick.3". */
char *show_function(const coil_task *task)
{
    union {
        coil_fn fn;
        void *address;
    } of = {.fn = coil_task_get_fn(task, NULL)};
    Dl_info info;
    if (!of.fn || !dladdr(of.address, &info) || !info.dli_sname || info.dli_saddr != of.address)
        return NULL;
    return text_of("%.*s", (int)strcspn(info.dli_sname, "."), info.dli_sname);
}

static const char *future_state(const coil_future *future)
{
    return !coil_future_done(future)       ? "pending"
           : coil_future_cancelled(future) ? "cancelled"
                                           : "done";
}

char *show_future(coil_future *future)
{
    if (!future)
        return text_of("NULL");
    if (!coil_is_task(future))
        return text_of("<future, %s>", future_state(future));
    const char *wait = coil_task_waiting_on(future);
    char *function = show_function(future);
    char *text = text_of("<task %s%s%s%s, %s%s%s>", coil_task_get_name(future),
                         function ? " (" : "", function ? function : "", function ? ")" : "",
                         future_state(future), *wait ? ": " : "", wait);
    free(function);
    return text;
}

/* ---- all ---- */

char *show_value(int kind, int type_class, size_t size, va_list args)
{
    switch (kind) {
    case KIND_BOOL: return text_of("%s", va_arg(args, int) ? "true" : "false");
    case KIND_CHAR: return char_text((char)va_arg(args, int));
    case KIND_INT: return text_of("%d", va_arg(args, int));
    case KIND_UNSIGNED: return text_of("%u", va_arg(args, unsigned));
    case KIND_LONG: return long_text(va_arg(args, long));
    case KIND_UNSIGNED_LONG: return text_of("%lu", va_arg(args, unsigned long));
    case KIND_LONG_LONG: return text_of("%lld", va_arg(args, long long));
    case KIND_UNSIGNED_LONG_LONG: return text_of("%llu", va_arg(args, unsigned long long));
    case KIND_DOUBLE: return double_text(va_arg(args, double), false);
    case KIND_FLOAT: return double_text(va_arg(args, double), true);
    case KIND_LONG_DOUBLE: return long_double_text(va_arg(args, long double));
    case KIND_STRING: return string_text(va_arg(args, const char *));
    case KIND_FUTURE: return show_future(va_arg(args, coil_future *));
    default: break;
    }
    if (type_class == CLASS_INTEGER && size <= sizeof(int)) /* a bit-field */
        return text_of("%d", va_arg(args, int));
    if (type_class == CLASS_POINTER) {
        void *pointer = va_arg(args, void *);
        return pointer ? text_of("%p", pointer) : text_of("NULL");
    }
    return text_of("a value of %zu bytes; show its members", size);
}

char *show_error(int kind, intptr_t value)
{
    if ((kind != KIND_INT && kind != KIND_LONG) || !coil_iserr(value))
        return NULL;
    const coil_error *last = coil_last_error();
    return last && last->code == value ? text_of("%s: %s", coil_errname(value), last->message)
                                       : NULL;
}
