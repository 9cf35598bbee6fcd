/* SPDX-License-Identifier: MIT
 *
 * pass.h: bytes with a descriptor that is passed along. */
#ifndef COIL_TEST_PASS_H
#define COIL_TEST_PASS_H

#include <string.h>
#include <sys/socket.h>

static inline void pass_along(int fd, const char *text, int passed)
{
    struct iovec v = {(void *)(uintptr_t)text, strlen(text)};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct msghdr hdr = {.msg_iov = &v,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    struct cmsghdr *c = CMSG_FIRSTHDR(&hdr);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &passed, sizeof passed);
    assert_int_equal(sendmsg(fd, &hdr, 0), (ssize_t)strlen(text));
}

#endif
