/* SPDX-License-Identifier: MIT
 *
 * test_digest.c: SHA-256 against the vectors of FIPS 180-4 and its neighbours. */
#include "cmd/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_digest(const struct digest *d, const char *wanted)
{
    char text[DIGEST_TEXT];
    digest_text(d, text);
    assert_string_equal(text, wanted);
}

static void digest_of_nothing(void **state)
{
    struct digest d;
    digest_init(&d);
    assert_digest(&d, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void digest_of_short_texts(void **state)
{
    struct digest d;
    digest_init(&d);
    digest_add(&d, "abc", 3);
    assert_digest(&d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

    /* 56 bytes: the length does not fit behind them any more. */
    const char *text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    digest_init(&d);
    digest_add(&d, text, strlen(text));
    assert_digest(&d, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void digest_of_a_million_in_odd_pieces(void **state)
{
    struct digest d;
    char piece[97];
    memset(piece, 'a', sizeof piece);
    digest_init(&d);
    for (size_t n = 1000000; n > 0;) {
        size_t take = n < sizeof piece ? n : sizeof piece;
        digest_add(&d, piece, take);
        n -= take;
    }
    assert_digest(&d, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void digest_may_go_on_after_it_was_read(void **state)
{
    struct digest d;
    char text[DIGEST_TEXT];
    digest_init(&d);
    digest_add(&d, "a", 1);
    digest_text(&d, text);
    digest_add(&d, "bc", 2);
    assert_digest(&d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void digest_tells_fields_apart(void **state)
{
    static const char *const pairs[][2] = {
        {"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"abc", NULL}, {NULL, "abc"}};
    char texts[5][DIGEST_TEXT];
    for (int i = 0; i < 5; i++) {
        struct digest d;
        digest_init(&d);
        digest_string(&d, pairs[i][0]);
        digest_string(&d, pairs[i][1]);
        digest_text(&d, texts[i]);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(texts[i], texts[j]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digest_of_nothing),
        cmocka_unit_test(digest_of_short_texts),
        cmocka_unit_test(digest_of_a_million_in_odd_pieces),
        cmocka_unit_test(digest_may_go_on_after_it_was_read),
        cmocka_unit_test(digest_tells_fields_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
