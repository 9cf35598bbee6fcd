/* SPDX-License-Identifier: MIT
 *
 * test_address.c: addresses from text and to text. */
#include "wire.h"

#include <net/if.h>
#include <sys/un.h>

static void there_and_back(const char *host, const char *port, const char *text)
{
    coil_address a;
    char out[COIL_ADDRESS_TEXT_MAX];
    must(coil_address_parse(host, port, &a));
    assert_int_equal(coil_address_format(&a, out, sizeof out), (int)strlen(text));
    assert_string_equal(out, text);
}

COIL_TEST_PLAIN(address_there_and_back)
{
    there_and_back("127.0.0.1", "80", "127.0.0.1:80");
    there_and_back("0.0.0.0", NULL, "0.0.0.0:0");
    there_and_back("255.255.255.255", "65535", "255.255.255.255:65535");
    there_and_back("::1", "8080", "[::1]:8080");
    there_and_back("2001:db8::42", "1", "[2001:db8::42]:1");
    there_and_back("fe80::1%3", "1", "[fe80::1%3]:1");
    there_and_back("::ffff:1.2.3.4", "", "[::ffff:1.2.3.4]:0");
}

COIL_TEST_PLAIN(address_refuses_what_is_none)
{
    static const char *const bad[] = {
        "",
        "localhost",
        "127.0.0",
        "127.0.0.1.1",
        "127.0.0.256",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1.2.3.4/8",
        "::1::",
        ":::",
        "fe80::1%",
        "fe80::1%4294967296",
        "12345::",
        "0x7f000001",
        "127.1",
        "[::1]",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
    };
    coil_address a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(coil_address_parse(bad[i], "1", &a), -EINVAL);
    assert_int_equal(coil_address_parse(NULL, "1", &a), -EINVAL);
    static const char *const ports[] = {"65536", "99999999999999999999", "-1", "8o", "80 ", "http"};
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++)
        assert_int_equal(coil_address_parse("127.0.0.1", ports[i], &a), -EINVAL);
}

COIL_TEST_PLAIN(address_zone_may_be_a_name)
{
    coil_address named, numbered;
    char number[32];
    unsigned index = if_nametoindex("lo");
    assert_true(index > 0);
    snprintf(number, sizeof number, "fe80::1%%%u", index);
    must(coil_address_parse("fe80::1%lo", "80", &named));
    must(coil_address_parse(number, "80", &numbered));
    assert_int_equal(named.len, numbered.len);
    assert_memory_equal(&named.storage, &numbered.storage, named.len);
    char out[COIL_ADDRESS_TEXT_MAX];
    coil_address_format(&named, out, sizeof out);
    assert_int_equal(strncmp(out, "[fe80::1%", 9), 0);
    assert_int_equal(strtoul(out + 9, NULL, 10), index);
}

COIL_TEST_PLAIN(address_zone_that_does_not_exist_is_named)
{
    static const char *const bad[] = {"fe80::1%nobody0",
                                      "fe80::1%a-name-longer-than-interfaces-have", "fe80::1%2x",
                                      "fe80::1%-1", "fe80::1% 1"};
    coil_address a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(coil_address_parse(bad[i], "1", &a), -ENODEV);
    assert_int_equal(coil_address_parse(bad[0], "1", &a), -ENODEV);
    assert_string_equal(coil_last_error()->message, "network interface nobody0: No such device");
}

COIL_TEST_PLAIN(address_format_tells_the_length)
{
    coil_address a;
    char out[4];
    must(coil_address_parse("127.0.0.1", "80", &a));
    assert_int_equal(coil_address_format(&a, out, sizeof out), 12);
    assert_string_equal(out, "127");
    assert_int_equal(coil_address_format(&a, NULL, 0), 12);
}

COIL_TEST_PLAIN(address_of_unix_sockets)
{
    char out[COIL_ADDRESS_TEXT_MAX];
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/tmp/x"};
    coil_address a = {.len = offsetof(struct sockaddr_un, sun_path) + 7};
    memcpy(&a.storage, &un, sizeof un);
    coil_address_format(&a, out, sizeof out);
    assert_string_equal(out, "/tmp/x");
    assert_int_equal(coil_address_port(&a), -EAFNOSUPPORT);

    memcpy(un.sun_path, "\0hidden", 7);
    memcpy(&a.storage, &un, sizeof un);
    coil_address_format(&a, out, sizeof out);
    assert_string_equal(out, "@hidden");

    /* The longest path has no NUL at all. */
    memset(un.sun_path, 'p', sizeof un.sun_path);
    memcpy(&a.storage, &un, sizeof un);
    a.len = sizeof un;
    assert_int_equal(coil_address_format(&a, out, sizeof out), sizeof un.sun_path);
    a.len = sizeof(sa_family_t);
    coil_address_format(&a, out, sizeof out);
    assert_string_equal(out, "unix");
}

COIL_TEST_PLAIN(address_unix_there_and_back)
{
    there_and_back("/run/service.sock", NULL, "/run/service.sock");
    there_and_back("./@odd", "", "./@odd");
    there_and_back("../up", NULL, "../up");
    there_and_back("@hidden", NULL, "@hidden");
    coil_address a;
    assert_int_equal(coil_address_parse("/run/x", "80", &a), -EINVAL);
    assert_string_equal(coil_last_error()->message, "a unix socket has no port");
    assert_int_equal(coil_address_parse("@", NULL, &a), -EINVAL);
}

COIL_TEST_PLAIN(address_unix_takes_every_byte_or_nothing)
{
    char out[COIL_ADDRESS_TEXT_MAX], name[120];
    coil_address a, b;
    /* A path: no NUL, and room for the kernel's own. */
    assert_int_equal(coil_address_unix("/a\0b", 4, &a), -EINVAL);
    assert_int_equal(coil_address_unix("", 0, &a), -EINVAL);
    assert_int_equal(coil_address_unix("\0", 1, &a), -EINVAL);
    memset(name, 'n', sizeof name);
    assert_int_equal(coil_address_unix(name, 108, &a), -ENAMETOOLONG);
    must(coil_address_unix(name, 107, &a));
    assert_int_equal(a.len, offsetof(struct sockaddr_un, sun_path) + 108);
    assert_int_equal(coil_address_format(&a, out, sizeof out), 107);
    /* An abstract name: '@' or NUL first, then anything, to the last byte. */
    must(coil_address_unix("@x\0y", 4, &a));
    must(coil_address_unix("\0x\0y", 4, &b));
    assert_int_equal(a.len, offsetof(struct sockaddr_un, sun_path) + 4);
    assert_memory_equal(&a.storage, &b.storage, a.len);
    coil_address_format(&a, out, sizeof out);
    assert_string_equal(out, "@x@y");
    name[0] = '@';
    assert_int_equal(coil_address_unix(name, 109, &a), -ENAMETOOLONG);
    must(coil_address_unix(name, 108, &a));
    assert_int_equal(coil_address_format(&a, out, sizeof out), 108);
}

COIL_TEST_MAIN()
