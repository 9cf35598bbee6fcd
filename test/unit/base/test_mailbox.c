/* SPDX-License-Identifier: MIT
 *
 * test_mailbox.c: so many messages and no more, in their order, and each told of once. Orders of several threads are
 * the interleaving checker's (test/loom/mailbox.c); here real ones put and take at full speed. */
#include "base/mailbox.h"

#include "base/thread.h"
#include "test.h"

#include <coil/error.h>

enum { POSTERS = 3, POSTS = 20000 };

static struct mailbox box;

static int put(int number)
{
    return coil__mailbox_put(&box, &(struct mail){.data = &box, .fd = number, .from = 7});
}

/* The number of the next one, or -1. */
static int take(void)
{
    struct mail mail;
    if (coil__mailbox_take(&box, &mail, 1) == 0)
        return -1;
    assert_true(mail.data == &box && mail.from == 7);
    return mail.fd;
}

COIL_TEST_PLAIN(mailbox_holds_what_it_was_made_for_and_no_more)
{
    assert_true(coil__mailbox_init(&box, 3) == 0); /* makes four */
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++)
            assert_true(put(i) == 0);
        assert_true(put(4) == COIL_EQUEUEFULL);
        assert_true(take() == 0);
        assert_true(put(4) == 0);
        assert_true(put(5) == COIL_EQUEUEFULL);
        for (int i = 1; i < 5; i++)
            assert_true(take() == i);
        assert_true(take() == -1);
    }
    coil__mailbox_fini(&box);
}

COIL_TEST_PLAIN(mailbox_for_one_has_room_for_two)
{
    assert_true(coil__mailbox_init(&box, 0) == 0);
    assert_true(put(0) == 0);
    assert_true(put(1) == 0);
    assert_true(put(2) == COIL_EQUEUEFULL);
    coil__mailbox_fini(&box);
}

COIL_TEST_PLAIN(mailbox_has_its_owner_told_once_for_many)
{
    assert_true(coil__mailbox_init(&box, 8) == 0);
    assert_true(put(0) == 0); /* nobody waits */
    assert_true(!coil__mailbox_wait(&box));
    assert_true(put(1) == 0);
    assert_true(take() == 0 && take() == 1);
    assert_true(coil__mailbox_wait(&box));
    assert_true(put(2) == MAILBOX_TELL);
    assert_true(put(3) == 0);
    coil__mailbox_fini(&box);
}

COIL_TEST_PLAIN(mailbox_tells_of_room_once)
{
    assert_true(coil__mailbox_init(&box, 2) == 0);
    assert_true(!coil__mailbox_want_room(&box));
    assert_true(coil__mailbox_was_crowded(&box));
    assert_true(put(0) == 0 && put(1) == 0);
    assert_true(!coil__mailbox_was_crowded(&box));
    assert_true(coil__mailbox_want_room(&box));
    assert_true(take() == 0);
    assert_true(coil__mailbox_was_crowded(&box));
    assert_true(!coil__mailbox_was_crowded(&box));
    coil__mailbox_fini(&box);
}

COIL_TEST_PLAIN(mailbox_that_is_closed_gives_what_is_in_it)
{
    assert_true(coil__mailbox_init(&box, 2) == 0);
    assert_true(put(0) == 0 && put(1) == 0);
    coil__mailbox_close(&box);
    assert_true(put(2) == COIL_ECLOSED);
    assert_true(!coil__mailbox_want_room(&box));
    assert_true(take() == 0 && take() == 1 && take() == -1);
    assert_true(put(2) == COIL_ECLOSED);
    coil__mailbox_fini(&box);
}

static void post_many(void *arg)
{
    struct mail mail = {.from = (unsigned)(uintptr_t)arg};
    for (mail.fd = 0; mail.fd < POSTS;) {
        int rc = coil__mailbox_put(&box, &mail);
        if (rc == COIL_EQUEUEFULL)
            coil__thread_pause();
        else
            mail.fd++;
    }
}

COIL_TEST_PLAIN(mailbox_keeps_the_order_of_each_of_many_threads)
{
    struct thread threads[POSTERS];
    int next[POSTERS] = {0};
    assert_true(coil__mailbox_init(&box, 64) == 0);
    for (int i = 0; i < POSTERS; i++)
        assert_true(coil__thread_start(&threads[i], "poster", post_many, (void *)(uintptr_t)i) ==
                    0);
    for (int left = POSTERS * POSTS; left > 0;) {
        struct mail mail[16];
        size_t got = coil__mailbox_take(&box, mail, 16);
        for (size_t i = 0; i < got; i++)
            assert_true(mail[i].from < POSTERS && mail[i].fd == next[mail[i].from]++);
        left -= (int)got;
        if (got == 0)
            coil__thread_pause();
    }
    for (int i = 0; i < POSTERS; i++)
        coil__thread_join(&threads[i]);
    assert_true(coil__mailbox_take(&box, &(struct mail){.fd = 0}, 1) == 0);
    coil__mailbox_fini(&box);
}

COIL_TEST_MAIN()
