/* SPDX-License-Identifier: MIT
 *
 * test_list.c: the ring list. */
#include "base/list.h"

#include "../loop/stage.h"

struct item {
    int n;
    struct list link;
};

static void trace(struct list *head)
{
    struct list *back = head;
    for (struct list *l = head->next; l != head; l = l->next) {
        FACT(l->prev == back);
        back = l;
        note("%d", container_of(l, struct item, link)->n);
    }
    FACT(head->prev == back);
}

static void fill(struct list *head, struct item *items, int n, int from)
{
    list_init(head);
    for (int i = 0; i < n; i++) {
        items[i].n = from + i;
        list_push(head, &items[i].link);
    }
}

PLAIN(list_is_a_queue)
{
    struct list head;
    struct item items[3];
    fill(&head, items, 3, 1);
    trace(&head);
    FACT_TRACE("1 2 3");
    FACT(list_first(&head) == &items[0].link);
    FACT(list_pop(&head) == &items[0].link);
    FACT(list_pop(&head) == &items[1].link);
    FACT(list_pop(&head) == &items[2].link);
    FACT(list_pop(&head) == NULL);
    FACT(list_first(&head) == NULL);
    FACT(list_empty(&head));
}

PLAIN(list_push_front_and_insert_before_keep_the_rest_in_order)
{
    struct list head;
    struct item items[2], front = {.n = 0}, middle = {.n = 5};
    fill(&head, items, 2, 1);
    list_push_front(&head, &front.link);
    list_insert_before(&items[1].link, &middle.link);
    trace(&head);
    FACT_TRACE("0 1 5 2");
}

PLAIN(list_removing_twice_is_harmless)
{
    struct list head;
    struct item items[3];
    fill(&head, items, 3, 1);
    FACT(list_linked(&items[1].link));
    list_remove(&items[1].link);
    FACT(!list_linked(&items[1].link));
    list_remove(&items[1].link);
    trace(&head);
    FACT_TRACE("1 3");
}

PLAIN(list_splice_moves_everything_to_the_end)
{
    struct list a, b;
    struct item items[2], more[2];
    fill(&a, items, 2, 1);
    fill(&b, more, 2, 3);
    list_splice(&a, &b);
    FACT(list_empty(&b));
    trace(&a);
    FACT_TRACE("1 2 3 4");
    list_splice(&a, &b); /* an empty one adds nothing */
    trace(&a);
    FACT_TRACE("1 2 3 4");
    list_splice(&b, &a); /* into an empty one */
    FACT(list_empty(&a));
    trace(&b);
    FACT_TRACE("1 2 3 4");
}

PLAIN(list_foreach_survives_removing_the_item_at_hand)
{
    struct list head;
    struct item items[6];
    fill(&head, items, 6, 1);
    LIST_FOREACH(link, &head) {
        if (container_of(link, struct item, link)->n % 2 == 0)
            list_remove(link);
    }
    trace(&head);
    FACT_TRACE("1 3 5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_is_a_queue),
        cmocka_unit_test(list_push_front_and_insert_before_keep_the_rest_in_order),
        cmocka_unit_test(list_removing_twice_is_harmless),
        cmocka_unit_test(list_splice_moves_everything_to_the_end),
        cmocka_unit_test(list_foreach_survives_removing_the_item_at_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
