/* SPDX-License-Identifier: MIT
 *
 * list.h: a ring list whose links live inside the items; nothing is allocated.
 *
 *     head <-> first <-> second <-> last <-> head
 *
 * Always true:
 *   - a link is either in one list or points at itself (list_init), so removing twice is harmless;
 *   - push is to the end, so that push and pop make a queue. */
#ifndef COIL_BASE_LIST_H
#define COIL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_INIT(head)  \
    {                    \
        &(head), &(head) \
    }

/* The item that holds this link. */
#define container_of(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

/* A link asks this of itself: am I in some list? Needs list_init at birth. */
static inline bool list_linked(const struct list *l)
{
    return l->next != l;
}

static inline void list_insert_before(struct list *at, struct list *l)
{
    l->next = at;
    l->prev = at->prev;
    at->prev->next = l;
    at->prev = l;
}

static inline void list_push(struct list *head, struct list *l)
{
    list_insert_before(head, l);
}

static inline void list_push_front(struct list *head, struct list *l)
{
    list_insert_before(head->next, l);
}

static inline void list_remove(struct list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

static inline struct list *list_first(const struct list *head)
{
    return list_empty(head) ? NULL : head->next;
}

static inline struct list *list_pop(struct list *head)
{
    struct list *l = list_first(head);
    if (l)
        list_remove(l);
    return l;
}

/* Moves everything of `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* The loop variable may be removed inside the body; the one after it may not. */
#define LIST_FOREACH(it, head)                                                \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head); \
         it = it##_next, it##_next = it->next)

#endif
