/* SPDX-License-Identifier: MIT
 *
 * test_symbols.c: names of addresses, from files that may lie. */
#include "base/symbols.h"
#include "base/sys.h"

#include "test.h"

#include <fcntl.h>
#include <stdlib.h>

__attribute__((noinline)) static int of_this_file(int n)
{
    __asm__ volatile("" : "+r"(n));
    return n + 1;
}

static const char *address_in(int (*fn)(int), size_t offset)
{
    return (const char *)(uintptr_t)fn + offset;
}

static bool names_are_known(coil_frame *out)
{
    *out = (coil_frame){.size = sizeof *out};
    return coil_frame_describe(address_in(of_this_file, 0), out) == 0 && out->function[0];
}

COIL_TEST_PLAIN(static_function_has_its_name)
{
    coil_frame frame = {.size = sizeof frame};
    for (size_t offset = 0; offset < 4; offset++) {
        const char *address = address_in(of_this_file, offset);
        assert_int_equal(coil_frame_describe(address, &frame), 0);
        assert_ptr_equal(frame.address, address);
        assert_string_equal(frame.function, "of_this_file");
        assert_int_equal(frame.offset, offset);
        assert_non_null(strstr(frame.file, "test_symbols"));
        assert_true(frame.file_address > 0);
    }
    assert_int_equal(of_this_file(1), 2);
}

COIL_TEST_PLAIN(address_without_code_is_refused)
{
    coil_frame frame = {.size = sizeof frame, .function = "untouched"};
    static int data;
    assert_int_equal(coil_frame_describe(NULL, &frame), -ENOENT);
    assert_int_equal(coil_frame_describe(&data, &frame), -ENOENT);
    assert_int_equal(coil_frame_describe(&frame, &frame), -ENOENT);
    assert_int_equal(coil_frame_describe((const void *)UINTPTR_MAX, &frame), -ENOENT);
    assert_string_equal(frame.function, "untouched");
    assert_int_equal(coil_frame_describe(address_in(of_this_file, 0), NULL), -EINVAL);
}

COIL_TEST_PLAIN(frame_of_an_older_program_is_filled_as_far_as_it_knows)
{
    struct {
        coil_frame frame;
        char beyond[16];
    } place;
    memset(&place, 'x', sizeof place);
    place.frame.size = offsetof(coil_frame, file);
    assert_int_equal(coil_frame_describe(address_in(of_this_file, 0), &place.frame), 0);
    assert_int_equal(place.frame.size, offsetof(coil_frame, file));
    assert_string_equal(place.frame.function, "of_this_file");
    for (const char *c = place.frame.file; c < place.beyond + sizeof place.beyond; c++)
        assert_int_equal(*c, 'x');
}

COIL_TEST_PLAIN(what_was_found_lately_is_found_without_the_file)
{
    struct symbols *kept = calloc(1, sizeof *kept);
    coil_frame frame;
    const char *address = address_in(of_this_file, 0);
    assert_int_equal(coil__symbols_find(kept, address, &frame), 0);
    static const struct symbols none;
    assert_memory_not_equal(kept, &none, sizeof none);
    strcpy(kept->kept[(uintptr_t)address / 4 % SYMBOLS_KEPT].function, "a note of mine");
    assert_int_equal(coil__symbols_find(kept, address, &frame), 0);
    assert_string_equal(frame.function, "a note of mine");
    assert_int_equal(coil__symbols_find(NULL, address, &frame), 0);
    assert_string_equal(frame.function, "of_this_file");
    free(kept);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE

/* ---- files that are not what they were ---- */

static int refuse_open(int dir, const char *path, int flags, mode_t mode)
{
    (void)dir, (void)path, (void)flags, (void)mode;
    return -ENOENT;
}

COIL_TEST_PLAIN(file_that_is_gone_has_no_names)
{
    coil_frame frame = {.size = sizeof frame};
    coil__sys.openat = refuse_open;
    int err = coil_frame_describe(address_in(of_this_file, 0), &frame);
    coil__sys.openat = coil__sys_real.openat;
    assert_int_equal(err, 0);
    assert_string_equal(frame.function, "");
    assert_non_null(strstr(frame.file, "test_symbols"));
}

static int open_another(int dir, const char *path, int flags, mode_t mode)
{
    (void)path;
    return coil__sys_real.openat(dir, "/bin/sh", flags, mode);
}

COIL_TEST_PLAIN(file_that_is_another_program_by_now_is_not_believed)
{
    coil_frame frame = {.size = sizeof frame};
    coil__sys.openat = open_another;
    int err = coil_frame_describe(address_in(of_this_file, 0), &frame);
    coil__sys.openat = coil__sys_real.openat;
    assert_int_equal(err, 0);
    assert_string_equal(frame.function, "");
}

/* The same file, but built another time: only the build id in its notes differs. */
static int notes_read;

static ssize_t pread_another_build(int fd, void *p, size_t n, off_t at)
{
    ssize_t got = coil__sys_real.pread(fd, p, n, at);
    char *bytes = p;
    if (got > 16 && memcmp(bytes + 12, "GNU", 4) == 0)
        bytes[16] ^= 1, notes_read++;
    return got;
}

COIL_TEST_PLAIN(file_that_was_built_anew_is_not_believed)
{
    coil_frame frame;
    if (!names_are_known(&frame))
        return;
    coil__sys.pread = pread_another_build;
    bool known = names_are_known(&frame);
    coil__sys.pread = coil__sys_real.pread;
    if (notes_read == 0) {
        print_message("this program was linked without a build id\n");
        skip();
    }
    assert_false(known);
    assert_true(names_are_known(&frame));
}

/* Reads come short, or with some bits turned. */
static unsigned seed;
static int per_mille;

static unsigned next_random(void)
{
    seed = seed * 1103515245 + 12345;
    return seed >> 8;
}

static ssize_t spoiled_pread(int fd, void *p, size_t n, off_t at)
{
    ssize_t got = coil__sys_real.pread(fd, p, n, at);
    if (next_random() % 1000 < 3)
        return got > 0 ? got / 2 : got;
    unsigned char *bytes = p;
    for (ssize_t i = 0; i < got; i++)
        if ((int)(next_random() % 1000) < per_mille)
            bytes[i] ^= (unsigned char)(1u << next_random() % 8);
    return got;
}

COIL_TEST_PLAIN(file_that_is_spoiled_harms_nobody)
{
    coil_frame frame;
    if (!names_are_known(&frame))
        return;
    int named = 0;
    coil__sys.pread = spoiled_pread;
    for (seed = 1; seed < 20000000; seed += 200003) {
        per_mille = (int)(seed % 3);
        frame = (coil_frame){.size = sizeof frame};
        unsigned before = seed;
        assert_int_equal(coil_frame_describe(address_in(of_this_file, 0), &frame), 0);
        seed = before;
        assert_non_null(memchr(frame.function, '\0', sizeof frame.function));
        assert_non_null(memchr(frame.file, '\0', sizeof frame.file));
        named += frame.function[0] != '\0';
    }
    coil__sys.pread = coil__sys_real.pread;
    assert_true(named < 100);
}

/* The program headers are right, so the file is believed to be the same; everything else in it is spoiled. */
static ssize_t spoiled_behind_headers(int fd, void *p, size_t n, off_t at)
{
    return at < 8192 ? coil__sys_real.pread(fd, p, n, at) : spoiled_pread(fd, p, n, at);
}

COIL_TEST_PLAIN(tables_that_are_spoiled_harm_nobody)
{
    coil_frame frame;
    if (!names_are_known(&frame))
        return;
    coil__sys.pread = spoiled_behind_headers;
    for (seed = 1; seed < 40000000; seed += 200003) {
        per_mille = 1 + (int)(seed % 100);
        frame = (coil_frame){.size = sizeof frame};
        unsigned before = seed;
        assert_int_equal(coil_frame_describe(address_in(of_this_file, 0), &frame), 0);
        seed = before;
        assert_non_null(memchr(frame.function, '\0', sizeof frame.function));
    }
    coil__sys.pread = coil__sys_real.pread;
}

#endif

COIL_TEST_MAIN()
