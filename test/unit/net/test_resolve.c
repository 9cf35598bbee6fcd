/* SPDX-License-Identifier: MIT
 *
 * test_resolve.c: names to addresses. The system's resolver is replaced by one that says what a test wants,
 * and hangs when told to. */
#include "wire.h"

#include "base/sys_names.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <netdb.h>

/* ---- a resolver that obeys ---- */

static struct mutex gate = MUTEX_INIT; /* held: "slow" names hang */
static _Atomic int asked, given_back;

static char canonical[] = "its.true.name";

static struct addrinfo *entry(const struct addrinfo *hints, const char *address, uint16_t port)
{
    struct addrinfo *ai = calloc(1, sizeof *ai + sizeof(struct sockaddr_in));
    struct sockaddr_in *in = (struct sockaddr_in *)(ai + 1);
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &in->sin_addr);
    ai->ai_family = AF_INET;
    ai->ai_socktype = hints->ai_socktype;
    ai->ai_addr = (struct sockaddr *)in;
    ai->ai_addrlen = sizeof *in;
    return ai;
}

static int fake_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                            struct addrinfo **out, int *out_errno)
{
    asked++;
    *out_errno = 0;
    if (!host)
        return EAI_SERVICE;
    if (strncmp(host, "slow", 4) == 0) {
        coil__mutex_lock(&gate);
        coil__mutex_unlock(&gate);
    }
    if (strcmp(host, "nobody") == 0)
        return EAI_NONAME;
    if (strcmp(host, "broken") == 0) {
        *out_errno = EIO;
        return EAI_SYSTEM;
    }
    if (strcmp(host, "hungry") == 0)
        return EAI_MEMORY;
    if (strcmp(host, "endless") == 0)
        return EAI_OVERFLOW;
    uint16_t number = port ? (uint16_t)atoi(port) : 0;
    *out = entry(hints, "127.0.0.1", number);
    if (strcmp(host, "alias") == 0)
        (*out)->ai_canonname = canonical;
    if (strcmp(host, "vague") == 0)
        (*out)->ai_addr = NULL;
    if (strcmp(host, "odd") == 0)
        (*out)->ai_addrlen = sizeof(struct sockaddr_storage) + 1;
    if (strcmp(host, "two") == 0)
        (*out)->ai_next = entry(hints, "127.0.0.2", number);
    return 0;
}

static void fake_freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
    given_back++;
}

static int fake_getnameinfo(const struct sockaddr *addr, socklen_t len, char *host,
                            socklen_t host_n, char *port, socklen_t port_n, int flags,
                            int *out_errno)
{
    asked++;
    if (((const struct sockaddr_in *)(const void *)addr)->sin_port == htons(1))
        return EAI_OVERFLOW;
    snprintf(host, host_n, "a-host-of-some-length");
    snprintf(port, port_n, "http");
    return 0;
}

static const struct sys_names fake = {.getaddrinfo = fake_getaddrinfo,
                                      .freeaddrinfo = fake_freeaddrinfo,
                                      .getnameinfo = fake_getnameinfo};

static void use_fake(void)
{
    coil__sys_names = &fake;
    asked = given_back = 0;
}

/* ---- addresses in text ---- */

COIL_TEST(literal_addresses_ask_nobody)
{
    use_fake();
    coil_addrinfo *list;
    char text[COIL_ADDRESS_TEXT_MAX];
    static const char *const hosts[][2] = {
        {"127.0.0.1", "127.0.0.1:80"}, {"::1", "[::1]:80"}, {"fe80::1%1", "[fe80::1%1]:80"}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(must(coil_getaddrinfo(hosts[i][0], "80", NULL, &list)), 1);
        coil_address_format(&list->address, text, sizeof text);
        assert_string_equal(text, hosts[i][1]);
        assert_int_equal(list->type, SOCK_STREAM);
        assert_null(list->next);
        coil_freeaddrinfo(list);
    }
    /* And they say the protocol that a name would. */
    static const int protocols[][2] = {{SOCK_STREAM, IPPROTO_TCP}, {SOCK_DGRAM, IPPROTO_UDP}};
    for (size_t i = 0; i < 2; i++) {
        coil_getaddrinfo_opts ask = {.size = sizeof ask, .type = protocols[i][0]};
        must(coil_getaddrinfo("127.0.0.1", "80", &ask, &list));
        assert_int_equal(list->protocol, protocols[i][1]);
        coil_freeaddrinfo(list);
    }
    assert_int_equal(asked, 0);
    coil_loop_stats_t stats;
    coil_loop_stats(NULL, &stats);
    assert_int_equal(coil__thread_count(), 0);
}

COIL_TEST(no_host_is_this_machine)
{
    use_fake();
    coil_addrinfo *list;
    char text[COIL_ADDRESS_TEXT_MAX];
    assert_int_equal(must(coil_getaddrinfo(NULL, "7", NULL, &list)), 2);
    coil_address_format(&list->address, text, sizeof text);
    assert_string_equal(text, "[::1]:7");
    coil_address_format(&list->next->address, text, sizeof text);
    assert_string_equal(text, "127.0.0.1:7");
    coil_freeaddrinfo(list);
    coil_getaddrinfo_opts v4 = {.size = sizeof v4, .family = AF_INET, .flags = AI_PASSIVE};
    assert_int_equal(must(coil_getaddrinfo("", NULL, &v4, &list)), 1);
    coil_address_format(&list->address, text, sizeof text);
    assert_string_equal(text, "0.0.0.0:0");
    coil_freeaddrinfo(list);
    coil_getaddrinfo_opts v6 = {.size = sizeof v6, .family = AF_INET6};
    assert_int_equal(coil_getaddrinfo("127.0.0.1", "1", &v6, &list), COIL_EGAI);
    assert_int_equal(asked, 0);
}

/* ---- names ---- */

COIL_TEST(names_are_looked_up_elsewhere)
{
    use_fake();
    coil_addrinfo *list;
    assert_int_equal(must(coil_getaddrinfo("two", "443", NULL, &list)), 2);
    assert_int_equal(coil_address_port(&list->next->address), 443);
    coil_freeaddrinfo(list);
    assert_int_equal(asked, 1);
    assert_int_equal(given_back, 1);
    assert_int_equal(coil__thread_count(), 1);
}

COIL_TEST(errors_have_the_resolvers_words)
{
    use_fake();
    coil_addrinfo *list;
    assert_int_equal(coil_getaddrinfo("nobody", "1", NULL, &list), COIL_EGAI);
    assert_non_null(strstr(coil_last_error()->message, "nobody: "));
    assert_non_null(strstr(coil_last_error()->message, gai_strerror(EAI_NONAME)));
    assert_int_equal(coil_getaddrinfo("broken", "1", NULL, &list), COIL_EGAI);
    assert_non_null(strstr(coil_last_error()->message, coil_strerror(-EIO)));
    assert_int_equal(coil_getaddrinfo("hungry", "1", NULL, &list), -ENOMEM);
    assert_int_equal(given_back, 0);
}

COIL_TEST(answers_without_an_address_are_none)
{
    use_fake();
    coil_addrinfo *list = NULL;
    assert_int_equal(coil_getaddrinfo("vague", "80", NULL, &list), COIL_EGAI);
    assert_non_null(strstr(coil_last_error()->message, "empty list"));
    assert_int_equal(coil_getaddrinfo("odd", "80", NULL, &list), COIL_EGAI);
    assert_int_equal(coil_getaddrinfo("endless", "80", NULL, &list), -ENOSPC);
    assert_null(list);
    assert_int_equal(given_back, 2);
}

COIL_TEST(true_name_is_told_to_who_asks_for_it)
{
    use_fake();
    coil_addrinfo *list;
    coil_getaddrinfo_opts opts = {.size = sizeof opts, .flags = AI_CANONNAME};
    assert_int_equal(must(coil_getaddrinfo("alias", "80", &opts, &list)), 1);
    assert_string_equal(list->canonname, canonical);
    coil_freeaddrinfo(list);
    must(coil_getaddrinfo("127.0.0.1", "80", &opts, &list)); /* also of an address in text */
    assert_int_equal(asked, 2);
    coil_freeaddrinfo(list);
}

COIL_TEST(services_have_names_too)
{
    use_fake();
    coil_addrinfo *list;
    static const char *const nowhere[] = {NULL, ""};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(coil_getaddrinfo(nowhere[i], "no-such-service", NULL, &list), COIL_EGAI);
        assert_non_null(strstr(coil_last_error()->message, "no-such-service"));
        must(coil_getaddrinfo("one", nowhere[i], NULL, &list)); /* no port: 0 */
        assert_int_equal(((struct sockaddr_in *)&list->address.storage)->sin_port, 0);
        coil_freeaddrinfo(list);
    }
    assert_int_equal(asked, 4);
}

COIL_TEST(names_too_long_are_refused)
{
    use_fake();
    char host[400];
    coil_addrinfo *list;
    memset(host, 'h', sizeof host);
    host[256] = 0;
    assert_int_equal(coil_getaddrinfo(host, "1", NULL, &list), -ENAMETOOLONG);
    host[255] = 0;
    assert_int_equal(must(coil_getaddrinfo(host, "1", NULL, &list)), 1);
    coil_freeaddrinfo(list);
    host[100] = 0;
    assert_int_equal(coil_getaddrinfo("x", host, NULL, &list), -ENAMETOOLONG);
    assert_int_equal(coil_getaddrinfo("x", "70000", NULL, &list), -EINVAL);
    assert_int_equal(asked, 1);
}

COIL_TEST(zones_ask_nobody)
{
    use_fake();
    coil_addrinfo *list;
    coil_address expected;
    must(coil_address_parse("fe80::7%lo", "80", &expected));
    assert_int_equal(must(coil_getaddrinfo("fe80::7%lo", "80", NULL, &list)), 1);
    assert_memory_equal(&list->address.storage, &expected.storage, expected.len);
    coil_freeaddrinfo(list);
    assert_int_equal(coil_getaddrinfo("fe80::7%nobody0", "80", NULL, &list), -ENODEV);
    assert_int_equal(coil_getaddrinfo("fe80::7%nobody0", "http", NULL, &list), -ENODEV);
    assert_string_equal(coil_last_error()->message, "network interface nobody0: No such device");
    assert_int_equal(asked, 0);
}

/* ---- cancelling ---- */

struct lookup_task {
    const char *host;
    coil_ret rc;
};

static coil_ret look_up(void *arg)
{
    struct lookup_task *l = arg;
    coil_addrinfo *list;
    l->rc = coil_getaddrinfo(l->host, "1", NULL, &list);
    if (l->rc > 0)
        coil_freeaddrinfo(list);
    return l->rc;
}

/* Waits, in real time, until so many lookups are under way. */
static void wait_asked(int n)
{
    while (asked < n)
        must(coil_sleep(0));
}

COIL_TEST(cancel_lets_a_running_lookup_go)
{
    use_fake();
    coil__mutex_lock(&gate);
    struct lookup_task l = {.host = "slow"};
    coil_task *task = coil_create_task(look_up, &l);
    wait_asked(1);
    assert_string_equal(coil_task_waiting_on(task), "getaddrinfo");
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    coil_loop_stats_t stats;
    coil_loop_stats(NULL, &stats);
    assert_int_equal(stats.jobs, 0);
    coil__mutex_unlock(&gate);
    while (given_back < 1) /* its answer is thrown away where it arrives */
        must(coil_sleep(0.001));
}

COIL_TEST(cancel_takes_a_queued_lookup_back)
{
    enum { N = 12 }; /* more than there are threads */
    use_fake();
    coil__mutex_lock(&gate);
    struct lookup_task l[N];
    coil_task *tasks[N];
    for (int i = 0; i < N; i++) {
        l[i] = (struct lookup_task){.host = "slow"};
        tasks[i] = coil_create_task(look_up, &l[i]);
    }
    wait_asked(8);
    must(coil_sleep(0));
    for (int i = 8; i < N; i++) {
        coil_task_cancel(tasks[i], NULL);
        assert_int_equal(coil_join(tasks[i]), -ECANCELED);
    }
    coil__mutex_unlock(&gate);
    for (int i = 0; i < 8; i++)
        assert_int_equal(coil_join(tasks[i]), 1);
    assert_int_equal(asked, 8);
}

/* The answer came before the cancel was looked at: it is returned, the cancel waits. */
static coil_ret look_up_and_sleep(void *arg)
{
    struct lookup_task *l = arg;
    coil_ret rc = look_up(l);
    return rc < 0 ? rc : coil_sleep(1000);
}

COIL_TEST(cancel_after_the_answer_waits)
{
    use_fake();
    for (int i = 0; i < 50; i++) {
        struct lookup_task l = {.host = "two"};
        coil_task *task = coil_create_task(look_up_and_sleep, &l);
        for (int turns = 0; turns < i % 7; turns++)
            must(coil_sleep(0));
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), -ECANCELED);
        assert_true(l.rc == 0 || l.rc == -ECANCELED || l.rc == 2);
    }
}

static coil_ret start_slow(void *arg)
{
    struct lookup_task *l = arg;
    for (int i = 0; i < 10; i++)
        coil_unref(coil_create_task(look_up, &l[i]));
    while (asked < 8)
        must(coil_sleep(0));
    return 0;
}

static void ignore_reports(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

/* The loop does not wait for a name server; the lookup owns what it needs. */
COIL_TEST_PLAIN(loop_closes_over_lookups)
{
    use_fake();
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, ignore_reports, NULL);
    coil_set_event_loop(loop);
    coil__mutex_lock(&gate);
    struct lookup_task l[10];
    for (int i = 0; i < 10; i++)
        l[i] = (struct lookup_task){.host = "slow"};
    coil_task *task = coil_create_task(start_slow, l);
    must(coil_loop_run_until_complete(loop, task));
    coil_unref(task);
    coil_loop_close(loop);
    coil_loop_free(loop);
    for (int i = 0; i < 10; i++)
        assert_int_equal(l[i].rc, COIL_EEXIT);
    coil__mutex_unlock(&gate);
    const struct timespec ms = {.tv_nsec = 1000000};
    while (coil__thread_count() > 0)
        sys_ppoll(NULL, 0, &ms, NULL);
    assert_int_equal(asked, 8);
    assert_int_equal(given_back, 8);
}

/* ---- addresses to names ---- */

COIL_TEST(getnameinfo_fits_or_fails)
{
    coil_address a;
    char host[64], port[16];
    must(coil_address_parse("127.0.0.1", "80", &a));
    coil__sys_names = &coil__sys_names_real;
    must(coil_getnameinfo(&a, NI_NUMERICHOST | NI_NUMERICSERV, host, sizeof host, port,
                          sizeof port));
    assert_string_equal(host, "127.0.0.1");
    assert_string_equal(port, "80");
    use_fake();
    must(coil_getnameinfo(&a, 0, host, sizeof host, port, sizeof port));
    assert_string_equal(host, "a-host-of-some-length");
    assert_int_equal(coil_getnameinfo(&a, 0, host, 10, port, sizeof port), -ENOSPC);
    must(coil_getnameinfo(&a, 0, NULL, 0, port, sizeof port));
}

/* ---- the real one, and misuse ---- */

COIL_TEST(getnameinfo_tells_what_was_asked_for)
{
    use_fake();
    char host[64] = "", port[16] = "";
    coil_address address;
    must(coil_address_parse("127.0.0.1", "80", &address));
    must(coil_getnameinfo(&address, 0, host, sizeof host, NULL, 0));
    assert_string_equal(host, "a-host-of-some-length");
    must(coil_getnameinfo(&address, NI_NUMERICHOST, NULL, 0, port, sizeof port));
    assert_string_equal(port, "http");
    must(coil_address_parse("127.0.0.1", "1", &address));
    assert_int_equal(coil_getnameinfo(&address, 0, host, sizeof host, NULL, 0), -ENOSPC);
}

COIL_TEST(localhost_is_found)
{
    coil__sys_names = &coil__sys_names_real;
    coil_addrinfo *list;
    coil_getaddrinfo_opts opts = {.size = sizeof opts, .family = AF_INET};
    assert_true(must(coil_getaddrinfo("localhost", "80", &opts, &list)) >= 1);
    char text[COIL_ADDRESS_TEXT_MAX];
    coil_address_format(&list->address, text, sizeof text);
    assert_string_equal(text, "127.0.0.1:80");
    coil_freeaddrinfo(list);
}

COIL_TEST_PLAIN(lookup_outside_a_task_is_refused)
{
    coil_addrinfo *list;
    assert_int_equal(coil_getaddrinfo("127.0.0.1", "1", NULL, &list), COIL_ENOTASK);
}

static coil_ret look_up_two(void *arg)
{
    coil_addrinfo *list;
    coil_ret rc = coil_getaddrinfo("two", "1", NULL, &list);
    if (rc > 0)
        coil_freeaddrinfo(list);
    return rc;
}

static void look_up_or_not(void *arg)
{
    int *found = arg;
    coil_ret rc = wire_run(look_up_two, NULL);
    assert_true(rc == 2 || rc == -ENOMEM);
    *found += rc == 2;
}

COIL_TEST_PLAIN(lookup_survives_failing_allocations)
{
    use_fake();
    int found = 0;
    sweep_allocations(look_up_or_not, &found);
    assert_true(found >= 1);
}

COIL_TEST_MAIN()
