/* SPDX-License-Identifier: MIT
 *
 * test_datagram.c: datagram endpoints: what comes is told whole and in order, what cannot go at once follows by
 * itself, errors do not end them, and the end is told once, from the loop. */
#include "wire.h"

#include "base/sys_names.h"

#include <coil/context.h>
#include <coil/datagram.h>

#include <netdb.h>

/* A protocol that writes down what happens: "made", "[text]", "error NAME", "pause", "resume", "lost". */
struct notes {
    coil_datagram_transport *transport;
    char text[4096];
    size_t used;
    int received, errors, pauses, resumes, lost;
    bool inside_call; /* set by the test around its calls: nothing may be told then */
    bool quiet;       /* count only */
    coil_ret error;   /* the last one */
    coil_address from;
    /* What to do when told of something; NULL: nothing. */
    void (*on_made)(struct notes *n), (*on_received)(struct notes *n), (*on_error)(struct notes *n);
    void (*on_pause)(struct notes *n), (*on_resume)(struct notes *n), (*on_lost)(struct notes *n);
    coil_ret say; /* what connection_made and datagram_received return */
};

__attribute__((format(printf, 2, 3))) static void note(struct notes *n, const char *fmt, ...)
{
    va_list args;
    assert_false(n->inside_call);
    if (n->quiet)
        return;
    va_start(args, fmt);
    size_t room = sizeof n->text - n->used;
    int k = vsnprintf(n->text + n->used, room, fmt, args);
    va_end(args);
    assert_true(k >= 0 && (size_t)k < room);
    n->used += (size_t)k;
}

static void expect_notes(struct notes *n, const char *text)
{
    assert_string_equal(n->text, text);
    n->used = 0;
    n->text[0] = 0;
}

static void then(struct notes *n, void (*what)(struct notes *n))
{
    if (what)
        what(n);
}

static coil_ret made(coil_datagram_transport *t, void *arg)
{
    struct notes *n = arg;
    n->transport = t;
    note(n, "made ");
    then(n, n->on_made);
    return n->say;
}

static coil_ret received(coil_datagram_transport *t, const void *data, size_t size,
                         const coil_address *from, void *arg)
{
    struct notes *n = arg;
    assert_ptr_equal(t, n->transport);
    n->received++;
    n->from = *from;
    note(n, "[%.*s] ", (int)size, (const char *)data);
    then(n, n->on_received);
    return n->say;
}

static void failed(coil_datagram_transport *t, coil_ret error, void *arg)
{
    struct notes *n = arg;
    assert_ptr_equal(t, n->transport);
    assert_int_equal(coil_last_error()->code, error);
    n->errors++;
    n->error = error;
    note(n, "error %s ", coil_errname(error));
    then(n, n->on_error);
}

static void paused(coil_datagram_transport *t, void *arg)
{
    struct notes *n = arg;
    bool inside = n->inside_call;
    n->pauses++;
    n->inside_call = false; /* the one thing that may be told inside a call */
    note(n, "pause ");
    then(n, n->on_pause);
    n->inside_call = inside;
    assert_int_equal(n->pauses, n->resumes + 1);
}

static void resumed(coil_datagram_transport *t, void *arg)
{
    struct notes *n = arg;
    n->resumes++;
    note(n, "resume ");
    then(n, n->on_resume);
    assert_int_equal(n->pauses, n->resumes);
}

static void lost(coil_datagram_transport *t, coil_ret error, void *arg)
{
    struct notes *n = arg;
    n->lost++;
    n->error = error;
    note(n, error ? "lost %s " : "lost ", coil_errname(error));
    then(n, n->on_lost);
    n->transport = NULL;
}

static const coil_datagram_protocol noting = {
    .size = sizeof noting,
    .connection_made = made,
    .datagram_received = received,
    .error_received = failed,
    .pause_writing = paused,
    .resume_writing = resumed,
    .connection_lost = lost,
};

/* ---- making them ---- */

static coil_datagram_transport *endpoint(struct notes *n, coil_datagram_opts opts)
{
    coil_datagram_transport *t;
    opts.size = sizeof opts;
    must(coil_loop_create_datagram_endpoint(NULL, &noting, n, &opts, &t));
    return t;
}

static coil_datagram_transport *server(struct notes *n)
{
    return endpoint(n, (coil_datagram_opts){.local_host = "127.0.0.1", .local_port = "0"});
}

static coil_address name_of(coil_datagram_transport *t)
{
    coil_address name;
    must(coil_sock_getsockname(coil_datagram_transport_sock(t), &name));
    return name;
}

static coil_datagram_transport *client_of(struct notes *n, coil_datagram_transport *t)
{
    coil_address to = name_of(t);
    return endpoint(n, (coil_datagram_opts){.remote_address = &to});
}

static void say_to(coil_datagram_transport *t, const char *text, const coil_address *to)
{
    must(coil_datagram_transport_sendto(t, text, strlen(text), to));
}

enum { ROUNDS_MAX = 100000 }; /* of waiting: what was lost on the way never comes */

/* Until it is closed and gone. */
static void finish(struct notes *n, coil_datagram_transport *t)
{
    n->inside_call = true;
    coil_datagram_transport_close(t);
    n->inside_call = false;
    for (int i = 0; !n->lost && i < ROUNDS_MAX; i++)
        must(coil_sleep(0.001));
    assert_int_equal(n->lost, 1);
    coil_datagram_transport_unref(t);
}

static void wait_for(const int *count, int n)
{
    for (int i = 0; *count < n && i < ROUNDS_MAX; i++)
        must(coil_sleep(0.001));
    must(coil_sleep(0.001));
    assert_int_equal(*count, n);
}

/* A bound unix datagram socket with a name that the kernel chose. */
static coil_sock *unix_datagram(coil_address *out_name)
{
    coil_address any = {.storage.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
    coil_sock *sock;
    must(coil_sock_new(AF_UNIX, SOCK_DGRAM, 0, &sock));
    must(coil_sock_bind(sock, &any));
    must(coil_sock_getsockname(sock, out_name));
    return sock;
}

/* ---- the plain way ---- */

COIL_TEST(endpoints_talk_to_each_other)
{
    struct notes s = {0}, c = {0};
    coil_datagram_transport *a = server(&s), *b = client_of(&c, a);
    expect_notes(&s, "made ");
    expect_notes(&c, "made ");
    assert_ptr_equal(s.transport, a);
    say_to(b, "hello", NULL);
    wait_for(&s.received, 1);
    coil_address own = name_of(b);
    assert_int_equal(coil_address_port(&s.from), coil_address_port(&own));
    say_to(a, "and back", &s.from);
    wait_for(&c.received, 1);
    finish(&c, b);
    finish(&s, a);
    expect_notes(&s, "[hello] lost ");
    expect_notes(&c, "[and back] lost ");
}

COIL_TEST(endpoint_keeps_edges_and_the_empty_ones)
{
    struct notes s = {0}, c = {0};
    coil_address name;
    coil_sock *sock = unix_datagram(&name); /* where order is kept on every backend */
    coil_datagram_transport *a = endpoint(&s, (coil_datagram_opts){.sock = sock});
    coil_datagram_transport *b = endpoint(&c, (coil_datagram_opts){.remote_address = &name});
    say_to(b, "one", NULL);
    say_to(b, "", NULL);
    say_to(b, "three", &name);
    must(coil_datagram_transport_sendto(b, NULL, 0, NULL));
    wait_for(&s.received, 4);
    assert_int_equal(s.from.len, 0); /* who is not bound has no address */
    finish(&c, b);
    finish(&s, a);
    expect_notes(&s, "made [one] [] [three] [] lost ");
}

COIL_TEST(endpoint_without_callbacks)
{
    static const coil_datagram_protocol nothing = {.size = sizeof nothing};
    coil_datagram_opts opts = {.size = sizeof opts, .family = AF_INET};
    coil_datagram_transport *t;
    struct notes s = {0};
    coil_datagram_transport *a = server(&s);
    coil_address to = name_of(a);
    for (int i = 0; i < 2; i++) {
        must(coil_loop_create_datagram_endpoint(coil_get_running_loop(), i ? NULL : &nothing, NULL,
                                                &opts, &t));
        say_to(t, "x", &to);
        wait_for(&s.received, i + 1);
        say_to(a, "nobody hears this", &s.from);
        must(coil_sleep(0.01));
        coil_datagram_transport_close(t);
        coil_datagram_transport_unref(t);
    }
    must(coil_loop_create_datagram_endpoint(NULL, &noting, &(struct notes){0}, &opts, NULL));
    finish(&s, a);
    must(coil_sleep(0.01)); /* that one lives until the loop closes */
}

COIL_TEST(endpoint_says_what_it_is)
{
    struct notes s = {0}, c = {0};
    coil_datagram_transport *a = server(&s), *b = client_of(&c, a);
    char own[COIL_ADDRESS_TEXT_MAX];
    coil_address name = name_of(a);
    coil_address_format(&name, own, sizeof own);
    assert_string_equal(coil_datagram_transport_get_extra_info(a, "sockname"), own);
    assert_null(coil_datagram_transport_get_extra_info(a, "peername"));
    assert_string_equal(coil_datagram_transport_get_extra_info(b, "peername"), own);
    assert_null(coil_datagram_transport_get_extra_info(a, "weather"));
    void *arg;
    assert_ptr_equal(coil_datagram_transport_get_protocol(a, &arg), &noting);
    assert_ptr_equal(arg, &s);
    assert_false(coil_datagram_transport_is_closing(a));
    coil_sock *sock = coil_datagram_transport_sock(a);
    char c1;
    assert_int_equal(coil_sock_recv(sock, &c1, 1), COIL_ERUNNING); /* it is lent */
    finish(&c, b);
    coil_datagram_transport_ref(a);
    finish(&s, a);
    assert_true(coil_datagram_transport_is_closing(a));
    assert_true(coil_sock_is_closed(sock));
    assert_string_equal(coil_datagram_transport_get_extra_info(a, "sockname"), own);
    assert_int_equal(coil_datagram_transport_sendto(a, "x", 1, &name), COIL_EINVALIDSTATE);
    coil_datagram_transport_close(a);
    coil_datagram_transport_abort(a);
    coil_datagram_transport_unref(a);
    coil_datagram_transport_unref(NULL);
}

COIL_TEST(endpoint_costs_no_task_and_no_stack)
{
    struct notes n[20] = {0};
    coil_datagram_transport *t[20];
    coil_loop_stats_t before, after;
    t[0] = server(&n[0]);
    coil_loop_stats(NULL, &before);
    int64_t live = coil__mem_live();
    for (int i = 1; i < 20; i++)
        t[i] = server(&n[i]);
    assert_true(coil__mem_live() - live <= 19 * (wire_is_imaginary() ? 3 : 2));
    coil_loop_stats(NULL, &after);
    assert_int_equal(after.tasks, before.tasks);
    assert_int_equal(after.stacks, before.stacks);
    for (int i = 0; i < 20; i++)
        finish(&n[i], t[i]);
}

COIL_TEST(endpoint_may_change_its_protocol)
{
    struct notes s = {0}, other = {0}, c = {0};
    coil_datagram_transport *a = server(&s), *b = client_of(&c, a);
    say_to(b, "first", NULL);
    wait_for(&s.received, 1);
    other.transport = a;
    coil_datagram_transport_set_protocol(a, &noting, &other);
    say_to(b, "second", NULL);
    wait_for(&other.received, 1);
    finish(&c, b);
    finish(&other, a);
    expect_notes(&s, "made [first] ");
    expect_notes(&other, "[second] lost ");
}

/* Of a program that was built before the later ones existed: what lies behind is its next variable. */
COIL_TEST(endpoint_calls_what_its_program_knew_of)
{
    struct notes s = {0}, c = {0};
    coil_datagram_protocol older;
    memset(&older, 0x5a, sizeof older);
    older.size = offsetof(coil_datagram_protocol, error_received);
    older.connection_made = made;
    older.datagram_received = received;
    coil_datagram_opts opts = {.size = sizeof opts, .local_host = "127.0.0.1"};
    coil_datagram_transport *a;
    must(coil_loop_create_datagram_endpoint(NULL, &older, &s, &opts, &a));
    coil_datagram_transport *b = client_of(&c, a);
    say_to(b, "hello", NULL);
    wait_for(&s.received, 1);
    coil_datagram_transport_set_protocol(a, &older, &s);
    say_to(b, "again", NULL);
    wait_for(&s.received, 2);
    assert_ptr_equal(coil_datagram_transport_get_protocol(a, NULL), &older);
    finish(&c, b);
    coil_datagram_transport_close(a);
    must(coil_sleep(0.01));
    coil_datagram_transport_unref(a);
    expect_notes(&s, "made [hello] [again] ");
}

static char none[] = "none";
static const coil_contextvar color = COIL_CONTEXTVAR("color", none);

static void look_at_color(struct notes *n)
{
    note(n, "%s ", (const char *)coil_contextvar_get(&color));
}

/* ---- to whom ---- */

COIL_TEST(endpoint_with_a_remote_refuses_other_addresses)
{
    struct notes s = {0}, c = {0};
    coil_datagram_transport *a = server(&s), *b = client_of(&c, a);
    coil_address to = name_of(a), other = name_of(b);
    assert_int_equal(coil_datagram_transport_sendto(b, "x", 1, &other), -EINVAL);
    assert_non_null(
        strstr(coil_last_error()->message, "Invalid address: must be NULL or 127.0.0.1:"));
    say_to(b, "the same is fine", &to);
    wait_for(&s.received, 1);
    assert_int_equal(coil_datagram_transport_sendto(a, "x", 1, NULL), -EDESTADDRREQ);
    assert_int_equal(s.errors + c.errors, 0);
    finish(&c, b);
    finish(&s, a);
}

COIL_TEST(endpoint_that_may_broadcast_is_not_connected)
{
    struct notes s = {0}, c = {0}, stranger = {0};
    coil_datagram_transport *a = server(&s), *d = server(&stranger);
    coil_address to = name_of(a), peer, own;
    coil_datagram_transport *b = endpoint(
        &c, (coil_datagram_opts){
                .local_host = "127.0.0.1",
                .remote_host = "127.0.0.1",
                .allow_broadcast = true,
                .remote_port = strrchr(coil_datagram_transport_get_extra_info(a, "sockname"), ':') +
                               1});
    int yes = 0;
    socklen_t n = sizeof yes;
    must(coil_sock_getsockopt(coil_datagram_transport_sock(b), SOL_SOCKET, SO_BROADCAST, &yes, &n));
    assert_int_equal(yes, 1);
    assert_int_equal(coil_sock_getpeername(coil_datagram_transport_sock(b), &peer), -ENOTCONN);
    say_to(b, "to the remote one", NULL);
    say_to(b, "by name", &to);
    own = name_of(b);
    assert_int_equal(coil_datagram_transport_sendto(b, "x", 1, &own), -EINVAL);
    wait_for(&s.received, 2);
    say_to(d, "a stranger is heard", &own);
    wait_for(&c.received, 1);
    finish(&c, b);
    finish(&s, a);
    finish(&stranger, d);
}

COIL_TEST(endpoint_joins_local_and_remote_by_family)
{
    struct notes s = {0}, c = {0}, n = {0};
    coil_datagram_transport *a = server(&s), *b, *t = NULL;
    const char *port = strrchr(coil_datagram_transport_get_extra_info(a, "sockname"), ':') + 1;
    /* The loopback has two families here, 127.0.0.1 has one. */
    b = endpoint(&c, (coil_datagram_opts){
                         .local_port = "0", .remote_host = "127.0.0.1", .remote_port = port});
    assert_non_null(
        strstr(there(coil_datagram_transport_get_extra_info(b, "sockname")), "127.0.0.1:"));
    say_to(b, "hello", NULL);
    wait_for(&s.received, 1);
    finish(&c, b);
    coil_datagram_opts opts = {
        .size = sizeof opts, .local_host = "::1", .remote_host = "127.0.0.1", .remote_port = port};
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, &n, &opts, &t), -EINVAL);
    assert_string_equal(coil_last_error()->message, "can not get address information");
    coil_address local, remote = name_of(a);
    must(coil_address_parse("::1", NULL, &local));
    opts = (coil_datagram_opts){
        .size = sizeof opts, .local_address = &local, .remote_address = &remote};
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, &n, &opts, &t), -EINVAL);
    assert_null(t);
    expect_notes(&n, "");
    finish(&s, a);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
/* "both" has an IPv4 address that nobody has, or, to send to, that of the loopback; and IPv6's loopback. */
static struct addrinfo *entry(const struct addrinfo *hints, const char *address, const char *port)
{
    coil_address a;
    must(coil_address_parse(address, port, &a));
    struct addrinfo *ai = calloc(1, sizeof *ai + a.len);
    ai->ai_family = a.storage.ss_family;
    ai->ai_socktype = hints->ai_socktype;
    ai->ai_protocol = IPPROTO_UDP;
    ai->ai_addr = memcpy(ai + 1, &a.storage, a.len);
    ai->ai_addrlen = a.len;
    return ai;
}

static int fake_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                            struct addrinfo **out, int *out_errno)
{
    if (strcmp(host, "nobody") == 0)
        return EAI_NONAME;
    *out = entry(hints, strcmp(host, "here") == 0 ? "192.0.2.1" : "127.0.0.1", port);
    (*out)->ai_next = entry(hints, "192.0.2.2", port); /* not looked at: one of a family */
    (*out)->ai_next->ai_next = entry(hints, "::1", port);
    return 0;
}

static void fake_freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

COIL_TEST(endpoint_tries_pair_after_pair)
{
    static const struct sys_names fake = {.getaddrinfo = fake_getaddrinfo,
                                          .freeaddrinfo = fake_freeaddrinfo};
    struct notes n = {0};
    coil_datagram_transport *t = NULL;
    coil__sys_names = &fake;
    coil_datagram_opts opts = {.size = sizeof opts,
                               .local_host = "here",
                               .local_port = "0",
                               .remote_host = "there",
                               .remote_port = "9"};
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &noting, &n, &opts, &t);
    if (rc == 0) { /* there is IPv6 */
        assert_string_equal(coil_datagram_transport_get_extra_info(t, "peername"), "[::1]:9");
        finish(&n, t);
    } else { /* the first error is told */
        assert_int_equal(rc, -EADDRNOTAVAIL);
        assert_non_null(strstr(coil_last_error()->message, "192.0.2.1:0"));
    }
    opts.remote_host = "127.0.0.1"; /* which leaves one pair */
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, &n, &opts, &t),
                     -EADDRNOTAVAIL);
    opts.remote_host = "nobody";
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, &n, &opts, &t), COIL_EGAI);
    coil__sys_names = &coil__sys_names_real;
}
#endif

COIL_TEST(endpoint_takes_the_next_address_when_one_fails)
{
    coil_datagram_opts opts = {
        .size = sizeof opts, .local_host = "192.0.2.1", .local_port = "0", .protocol = 0};
    coil_datagram_transport *t;
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, NULL, &opts, &t),
                     -EADDRNOTAVAIL);
    assert_non_null(strstr(coil_last_error()->message,
                           "error while attempting to bind on address 192.0.2.1:0"));
    struct notes s = {0}, c = {0};
    coil_datagram_transport *a = server(&s);
    const char *port = strrchr(coil_datagram_transport_get_extra_info(a, "sockname"), ':') + 1;
    /* The port is taken on one of the loopback's two addresses only. */
    coil_datagram_transport *b = NULL;
    opts = (coil_datagram_opts){.size = sizeof opts, .local_port = port};
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &noting, &c, &opts, &b);
    if (rc == 0) { /* there is IPv6 */
        assert_non_null(
            strstr(there(coil_datagram_transport_get_extra_info(b, "sockname")), "[::1]"));
        finish(&c, b);
    } else {
        assert_null(b);
    }
    finish(&s, a);
}

COIL_TEST(endpoints_share_a_port_if_so_asked)
{
    struct notes x = {0}, y = {0}, z = {0};
    coil_datagram_transport *t,
        *a = endpoint(&x, (coil_datagram_opts){.local_host = "127.0.0.1", .reuse_port = true});
    coil_address name = name_of(a);
    coil_datagram_opts opts = {.size = sizeof opts, .local_address = &name};
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, &z, &opts, &t), -EADDRINUSE);
    coil_datagram_transport *b = endpoint(
        &y, (coil_datagram_opts){.local_address = &name, .reuse_port = true});
    assert_int_equal(z.lost, 0);
    finish(&x, a);
    finish(&y, b);
}

COIL_TEST(endpoint_on_unix_sockets)
{
    struct notes s = {0}, c = {0};
    coil_address any = {.storage.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
    coil_datagram_transport *a = endpoint(&s, (coil_datagram_opts){.local_address = &any});
    coil_address to = name_of(a);
    coil_datagram_transport *b = endpoint(
        &c, (coil_datagram_opts){.local_address = &any, .remote_address = &to});
    say_to(b, "hello", NULL);
    wait_for(&s.received, 1);
    say_to(a, "and back", &s.from);
    wait_for(&c.received, 1);
    assert_non_null(strchr(there(coil_datagram_transport_get_extra_info(b, "peername")), '@'));
    finish(&c, b);
    finish(&s, a);
}

/* What an earlier one left is removed, a file of another kind is not. */
COIL_TEST(endpoint_on_a_path_removes_what_another_left_there)
{
    char folder[] = "/tmp/coil-datagram-XXXXXX", path[64];
    struct backend *b = coil_get_running_loop()->backend;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    coil_address at;
    must(coil_address_parse(path, NULL, &at));
    for (int i = 0; i < 2; i++) {
        struct notes s = {0}, c = {0};
        coil_datagram_transport *a = endpoint(&s, (coil_datagram_opts){.local_address = &at});
        coil_datagram_transport *d = endpoint(&c, (coil_datagram_opts){.remote_address = &at});
        assert_string_equal(coil_datagram_transport_get_extra_info(a, "sockname"), path);
        say_to(d, "hello", NULL);
        wait_for(&s.received, 1);
        finish(&c, d);
        finish(&s, a);
    }
    must(b->cls->calls.unlink(b, path));
    if (!wire_is_imaginary()) {
        coil_datagram_transport *t;
        coil_datagram_opts opts = {.size = sizeof opts, .local_address = &at};
        close((int)must(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
        assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, NULL, &opts, &t),
                         -EADDRINUSE);
        must(unlink(path));
    }
    must(rmdir(folder));
}

/* ---- a socket that is there already ---- */

COIL_TEST(endpoint_on_a_socket_takes_it)
{
    struct notes s = {0}, c = {0};
    coil_address name;
    coil_sock *sock = unix_datagram(&name), *ours;
    coil_sock_ref(sock);
    coil_datagram_transport *a = endpoint(&s, (coil_datagram_opts){.sock = sock}), *t = NULL;
    coil_datagram_opts opts = {.size = sizeof opts, .sock = coil_sock_ref(sock)};
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, &c, &opts, &t),
                     COIL_ERUNNING);
    must(coil_sock_new(AF_UNIX, SOCK_DGRAM, 0, &ours));
    must(coil_sock_connect(ours, &name));
    coil_datagram_transport *b = NULL;
    must(coil_datagram_transport_open(ours, &noting, &c, &b)); /* and its peer is the remote one */
    expect_notes(&c, "");
    say_to(b, "hello", NULL);
    coil_address other = {.storage.ss_family = AF_UNIX, .len = 9};
    assert_int_equal(coil_datagram_transport_sendto(b, "x", 1, &other), -EINVAL);
    wait_for(&s.received, 1);
    expect_notes(&c, "made ");
    finish(&c, b);
    finish(&s, a);
    assert_true(coil_sock_is_closed(sock));
    opts.sock = coil_sock_ref(sock);
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, &c, &opts, &t), -EBADF);
    assert_int_equal(coil_datagram_transport_open(sock, &noting, &c, &t), -EBADF);
    coil_sock_unref(sock);
}

/* Idle, with datagrams that wait for room, and before it was made. */
COIL_TEST(endpoint_whose_socket_is_closed_under_it_is_lost)
{
    for (int i = 0; i < 3; i++) {
        struct notes n = {0};
        coil_address name, any = {.storage.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
        coil_sock *receiver = unix_datagram(&name), *ours;
        must(coil_sock_new(AF_UNIX, SOCK_DGRAM, 0, &ours));
        must(coil_sock_bind(ours, &any));
        coil_datagram_transport *t;
        must(coil_datagram_transport_open(ours, &noting, &n, &t));
        must(coil_datagram_transport_set_write_buffer_limits(t, 1 << 20, COIL_DEFAULT));
        if (i < 2)
            wire_turns(2);
        for (int k = 0; i == 1 && coil_datagram_transport_get_write_buffer_size(t) == 0; k++) {
            assert_true(k < 100000);
            must(coil_datagram_transport_sendto(t, "hello", 5, &name));
        }
        coil_sock_close(coil_datagram_transport_sock(t));
        wait_for(&n.lost, 1);
        assert_int_equal(n.error, -EBADF);
        expect_notes(&n, "made lost EBADF ");
        coil_datagram_transport_unref(t);
        coil_sock_unref(receiver);
    }
}

COIL_TEST(endpoint_on_a_socket_excludes_other_options)
{
    coil_address name;
    coil_datagram_transport *t = NULL;
    coil_datagram_opts wrong[] = {
        {.local_host = "127.0.0.1"}, {.local_port = "0"},       {.remote_host = "127.0.0.1"},
        {.remote_port = "9"},        {.local_address = &name},  {.remote_address = &name},
        {.family = AF_INET},         {.protocol = 17},          {.flags = 1},
        {.reuse_port = true},        {.allow_broadcast = true},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        wrong[i].size = sizeof wrong[i];
        wrong[i].sock = unix_datagram(&name); /* is taken, all the same */
        assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, NULL, &wrong[i], &t),
                         -EINVAL);
        assert_non_null(strstr(coil_last_error()->message, "when sock is specified"));
    }
    coil_sock *x, *y;
    wire_pair(&x, &y);
    coil_datagram_opts opts = {.size = sizeof opts, .sock = x};
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, NULL, &opts, &t), -EINVAL);
    assert_string_equal(coil_last_error()->message, "A datagram socket was expected");
    assert_int_equal(coil_datagram_transport_open(y, &noting, NULL, &t), -EINVAL);
    coil_sock_unref(y);
    assert_null(t);
}

COIL_TEST(endpoint_of_nothing_is_refused)
{
    coil_datagram_transport *t = NULL;
    coil_address name;
    must(coil_address_parse("127.0.0.1", NULL, &name));
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, NULL, NULL, &t), -EINVAL);
    assert_string_equal(coil_last_error()->message, "unexpected address family");
    coil_datagram_opts both = {
        .size = sizeof both, .local_host = "127.0.0.1", .remote_address = &name};
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &noting, NULL, &both, &t), -EINVAL);
    coil_run_opts opts = {.size = sizeof opts};
    coil_loop *other = coil_new_event_loop(&opts);
    assert_int_equal(coil_loop_create_datagram_endpoint(other, &noting, NULL, NULL, &t),
                     COIL_EWRONGLOOP);
    coil_loop_free(other);
    assert_null(t);
}

/* Its protocol refuses it. A cancel that comes out of connection_lost, before its maker goes on, is what happened last. */
static coil_task *maker;
static int refusals, farewells;

static coil_ret refuse_made(coil_datagram_transport *t, void *arg)
{
    (void)t, (void)arg;
    refusals++;
    return coil_fail(-EACCES, "not this one");
}

static void cancel_maker(coil_datagram_transport *t, coil_ret error, void *arg)
{
    (void)t, (void)error;
    farewells++;
    if (*(bool *)arg)
        coil_task_cancel(maker, NULL);
}

static coil_ret make_refused(void *arg)
{
    static const coil_datagram_protocol refusing = {
        .size = sizeof refusing, .connection_made = refuse_made, .connection_lost = cancel_maker};
    coil_datagram_opts opts = {.size = sizeof opts, .family = AF_INET};
    coil_datagram_transport *t = NULL;
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &refusing, arg, &opts, &t);
    assert_null(t);
    assert_string_equal(coil_last_error()->message,
                        rc == -EACCES ? "not this one" : coil_strerror(-ECANCELED));
    return rc;
}

COIL_TEST(endpoint_that_its_protocol_refuses_is_lost_before_its_maker_hears_of_it)
{
    refusals = farewells = 0;
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        bool cancels = cancelled;
        maker = coil_create_task(make_refused, &cancels);
        assert_int_equal(coil_join(maker), cancelled ? -ECANCELED : -EACCES);
        assert_int_equal(refusals, cancelled + 1);
        assert_int_equal(farewells, cancelled + 1);
    }
}

/* ---- errors ---- */

/* From ICMP, in time: the endpoint stays open and works on. */
COIL_TEST(endpoint_refused_goes_on)
{
    struct notes s = {0}, c = {0};
    coil_datagram_transport *a = server(&s), *b = client_of(&c, a);
    coil_address name = name_of(a);
    finish(&s, a);
    say_to(b, "anybody?", NULL);
    wait_for(&c.errors, 1);
    assert_int_equal(c.error, -ECONNREFUSED);
    s = (struct notes){0};
    a = endpoint(&s, (coil_datagram_opts){.local_address = &name});
    say_to(b, "again", NULL);
    wait_for(&s.received, 1);
    finish(&c, b);
    finish(&s, a);
    expect_notes(&c, "made error ECONNREFUSED lost ");
    expect_notes(&s, "made [again] lost ");
}

/* What sendto meets is told from the loop, each of them. */
COIL_TEST(endpoint_tells_what_sendto_met)
{
    static char big[70000];
    struct notes s = {0};
    coil_datagram_transport *a = server(&s);
    coil_address to = name_of(a);
    s.inside_call = true;
    for (int i = 0; i < 8; i++)
        must(coil_datagram_transport_sendto(a, big, sizeof big, &to));
    assert_int_equal(coil_datagram_transport_sendto(a, big, sizeof big, &to), -EMSGSIZE);
    must(coil_datagram_transport_sendto(a, "to myself", 9, &to));
    s.inside_call = false;
    wait_for(&s.errors, 8);
    wait_for(&s.received, 1);
    assert_int_equal(s.error, -EMSGSIZE);
    must(coil_datagram_transport_sendto(a, big, sizeof big, &to));
    finish(&s, a); /* also what was met just before the end */
    assert_int_equal(s.errors, 9);
}

static coil_ret fail_made(coil_datagram_transport *t, void *arg)
{
    coil_ignore(made(t, arg));
    return coil_fail(COIL_EUSER, "not today");
}

static const coil_datagram_protocol unwilling = {
    .size = sizeof unwilling, .connection_made = fail_made, .connection_lost = lost};

COIL_TEST(endpoint_whose_protocol_is_unwilling)
{
    struct notes n = {0};
    coil_datagram_opts opts = {.size = sizeof opts, .family = AF_INET};
    coil_datagram_transport *t = NULL;
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &unwilling, &n, &opts, &t),
                     COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "not today");
    assert_int_equal(n.lost, 1); /* before it returned: `n` may go now */
    assert_int_equal(n.error, COIL_EUSER);
    assert_null(t);
}

COIL_TEST(endpoint_whose_callback_fails_goes_on)
{
    struct notes s = {0}, c = {0};
    struct wire_reports reports;
    coil_datagram_transport *a = server(&s), *b = client_of(&c, a);
    wire_listen_to_reports(&reports);
    s.say = COIL_EUSER;
    say_to(b, "one", NULL);
    say_to(b, "two", NULL);
    wait_for(&s.received, 2);
    assert_int_equal(reports.n, 2);
    assert_int_equal(reports.code, COIL_EUSER);
    assert_string_equal(reports.kind, "protocol-error");
    assert_string_equal(reports.message, "Exception in datagram_received");
    finish(&c, b);
    finish(&s, a);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static int too_large, short_of_memory;

static ssize_t odd_recvmsg(int fd, struct msghdr *hdr, int flags)
{
    if (short_of_memory > 0) {
        short_of_memory--;
        return -ENOBUFS;
    }
    ssize_t n = coil__sys_real.recvmsg(fd, hdr, flags);
    if (n >= 0 && too_large > 0) {
        too_large--;
        hdr->msg_flags |= MSG_TRUNC;
        return 300000;
    }
    return n;
}

COIL_TEST(endpoint_tells_what_receiving_met)
{
    if (wire_is_imaginary())
        return; /* asks no kernel */
    struct notes s = {0}, c = {0};
    coil_datagram_transport *a = server(&s), *b = client_of(&c, a);
    must(coil_sleep(0.01));
    coil__sys.recvmsg = odd_recvmsg;
    too_large = 1;
    say_to(b, "cut", NULL);
    wait_for(&s.errors, 1);
    assert_int_equal(s.error, -EMSGSIZE);
    short_of_memory = 3;
    say_to(b, "whole", NULL);
    wait_for(&s.received, 1);
    assert_int_equal(s.errors, 4);
    coil__sys.recvmsg = coil__sys_real.recvmsg;
    finish(&c, b);
    finish(&s, a);
    expect_notes(&s, "made error EMSGSIZE error ENOBUFS error ENOBUFS error ENOBUFS [whole] lost ");
}
#endif

/* ---- when there is no room ---- */

enum { SIZE = 2048 };

/* Numbered, until some are buffered; how many. */
static int fill(struct notes *n, coil_datagram_transport *t, const coil_address *to, size_t more)
{
    static char data[SIZE];
    int sent = 0;
    for (; coil_datagram_transport_get_write_buffer_size(t) <= more; sent++) {
        assert_true(sent < 100000);
        memcpy(data, &sent, sizeof sent);
        n->inside_call = true;
        must(coil_datagram_transport_sendto(t, data, sent % 5 ? SIZE : sizeof sent, to));
        n->inside_call = false;
    }
    return sent;
}

static void drain(coil_sock *sock, int from, int to)
{
    static char data[SIZE];
    for (int i = from; i < to; i++) {
        int number;
        assert_int_equal(must(coil_sock_recvfrom(sock, data, sizeof data, NULL)),
                         i % 5 ? SIZE : sizeof i);
        memcpy(&number, data, sizeof number);
        assert_int_equal(number, i);
    }
}

static void buffers_and_goes_on(bool connected)
{
    struct notes c = {0};
    coil_address name, any = {.storage.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
    coil_sock *receiver = unix_datagram(&name);
    coil_datagram_transport *t = endpoint(&c, connected
                                                  ? (coil_datagram_opts){.remote_address = &name}
                                                  : (coil_datagram_opts){.local_address = &any});
    const coil_address *to = connected ? NULL : &name;
    must(coil_datagram_transport_set_write_buffer_limits(t, 40000, 10000));
    for (int round = 0; round < 3; round++) {
        int n = fill(&c, t, to, 60000);
        assert_int_equal(c.pauses,
                         round + 1); /* once, though the mark was passed again and again */
        must(coil_sleep(0.1));
        assert_int_equal(c.resumes, round);
        drain(receiver, 0, n);
        wait_for(&c.resumes, round + 1);
        assert_int_equal(coil_datagram_transport_get_write_buffer_size(t), 0);
    }
    /* What is buffered goes out after a close, too. */
    int n = fill(&c, t, to, 30000);
    coil_datagram_transport_close(t);
    assert_int_equal(coil_datagram_transport_sendto(t, "x", 1, to), COIL_EINVALIDSTATE);
    must(coil_sleep(0.1));
    assert_int_equal(c.lost, 0);
    drain(receiver, 0, n);
    wait_for(&c.lost, 1);
    coil_datagram_transport_unref(t);
    coil_sock_unref(receiver);
    expect_notes(&c, "made pause resume pause resume pause resume lost ");
}

COIL_TEST(endpoint_buffers_in_order_for_a_full_peer)
{
    buffers_and_goes_on(true);
}

COIL_TEST(endpoint_buffers_in_order_for_a_full_receiver_by_name)
{
    buffers_and_goes_on(false);
}

COIL_TEST(endpoint_written_full_before_it_was_made_hears_of_it_afterwards)
{
    static const char data[1000];
    struct notes n = {0};
    coil_address name;
    coil_sock *receiver = unix_datagram(&name), *ours;
    coil_datagram_transport *t;
    must(coil_sock_new(AF_UNIX, SOCK_DGRAM, 0, &ours));
    must(coil_sock_connect(ours, &name));
    must(coil_datagram_transport_open(ours, &noting, &n, &t));
    must(coil_datagram_transport_set_write_buffer_limits(t, 10000, 0));
    for (int k = 0; coil_datagram_transport_get_write_buffer_size(t) <= 20000; k++) {
        assert_true(k < 100000);
        must(coil_datagram_transport_sendto(t, data, sizeof data, NULL));
    }
    expect_notes(&n, "");
    wait_for(&n.pauses, 1);
    expect_notes(&n, "made pause ");
    coil_datagram_transport_abort(t);
    wait_for(&n.lost, 1);
    coil_datagram_transport_unref(t);
    coil_sock_unref(receiver);
}

COIL_TEST(endpoint_aborted_drops_what_it_has)
{
    for (int connected = 0; connected < 2; connected++) {
        struct notes c = {0};
        coil_address name;
        coil_sock *receiver = unix_datagram(&name);
        coil_datagram_transport *t = endpoint(
            &c, connected ? (coil_datagram_opts){.remote_address = &name}
                          : (coil_datagram_opts){.family = AF_UNIX});
        fill(&c, t, connected ? NULL : &name, 100000);
        must(coil_sleep(connected ? 0.01 : 0));
        c.inside_call = true;
        coil_datagram_transport_abort(t);
        c.inside_call = false;
        assert_int_equal(coil_datagram_transport_get_write_buffer_size(t), 0);
        wait_for(&c.lost, 1);
        coil_datagram_transport_unref(t);
        coil_sock_unref(receiver);
        expect_notes(&c, "made pause lost ");
    }
}

/* And it is told of the error for each that was buffered, or that it met nobody. */
COIL_TEST(endpoint_whose_peer_goes_while_it_buffers)
{
    struct notes c = {.quiet = true};
    coil_address name;
    coil_sock *receiver = unix_datagram(&name);
    coil_datagram_transport *t = endpoint(&c, (coil_datagram_opts){.remote_address = &name});
    fill(&c, t, NULL, 20000);
    coil_sock_unref(receiver);
    while (coil_datagram_transport_get_write_buffer_size(t) > 0)
        must(coil_sleep(0.001));
    assert_true(c.errors >= 20000 / (SIZE + 100));
    assert_true(c.error == -ECONNREFUSED || c.error == -ENOTCONN);
    finish(&c, t);
}

COIL_TEST(endpoint_marks_arithmetic)
{
    struct notes s = {0};
    coil_datagram_transport *t = server(&s);
    size_t high, low;
    coil_datagram_transport_get_write_buffer_limits(t, &high, &low);
    assert_int_equal(high, 65536);
    assert_int_equal(low, 16384);
    must(coil_datagram_transport_set_write_buffer_limits(t, -1, 100));
    coil_datagram_transport_get_write_buffer_limits(t, &high, &low);
    assert_int_equal(high, 400);
    must(coil_datagram_transport_set_write_buffer_limits(t, 400, -1));
    coil_datagram_transport_get_write_buffer_limits(t, &high, &low);
    assert_int_equal(low, 100);
    assert_int_equal(coil_datagram_transport_set_write_buffer_limits(t, 10, 11), -EINVAL);
    assert_int_equal(coil_datagram_transport_set_write_buffer_limits(t, -2, 0), -EINVAL);
    finish(&s, t);
}

/* Empty ones count as well: a writer that obeys the marks holds so much memory and no more. */
COIL_TEST(endpoint_counts_the_empty_ones)
{
    struct notes c = {0};
    coil_address name;
    coil_sock *receiver = unix_datagram(&name);
    coil_datagram_transport *t = endpoint(&c, (coil_datagram_opts){.remote_address = &name});
    fill(&c, t, NULL, 0);
    for (int i = 0; i < 65536 && !c.pauses; i++)
        must(coil_datagram_transport_sendto(t, "", 0, NULL));
    assert_int_equal(c.pauses, 1);
    /* Marks that move tell, too. */
    must(coil_datagram_transport_set_write_buffer_limits(t, 1 << 20, 1 << 19));
    wait_for(&c.resumes, 1);
    c.inside_call = true;
    must(coil_datagram_transport_set_write_buffer_limits(t, 0, 0));
    c.inside_call = false;
    assert_int_equal(c.pauses, 2);
    coil_datagram_transport_abort(t);
    wait_for(&c.lost, 1);
    coil_datagram_transport_unref(t);
    coil_sock_unref(receiver);
}

/* ---- ends inside callbacks ---- */

static void do_close(struct notes *n)
{
    coil_datagram_transport_close(n->transport);
}

static void do_abort(struct notes *n)
{
    coil_datagram_transport_abort(n->transport);
}

static void (*const ends[])(struct notes *n) = {do_close, do_abort};

COIL_TEST(endpoint_ended_in_connection_made)
{
    for (int i = 0; i < 2; i++) {
        struct notes n = {.on_made = ends[i]};
        coil_datagram_transport *t = server(&n);
        wait_for(&n.lost, 1);
        expect_notes(&n, "made lost ");
        coil_datagram_transport_unref(t);
    }
}

COIL_TEST(endpoint_ended_in_datagram_received)
{
    for (int i = 0; i < 2; i++) {
        struct notes n = {.on_received = ends[i]};
        coil_address name;
        coil_sock *sock = unix_datagram(&name), *out;
        must(coil_sock_new(AF_UNIX, SOCK_DGRAM, 0, &out));
        coil_datagram_transport *t = endpoint(&n, (coil_datagram_opts){.sock = sock});
        for (int k = 0; k < 5; k++)
            must(coil_sock_sendto(out, "x", 1, &name));
        wait_for(&n.lost, 1);
        expect_notes(&n, "made [x] lost "); /* and nothing after that */
        coil_datagram_transport_unref(t);
        coil_sock_unref(out);
    }
}

COIL_TEST(endpoint_ended_in_error_received)
{
    static char big[70000];
    for (int i = 0; i < 2; i++) {
        struct notes n = {.on_error = ends[i]};
        coil_datagram_transport *t = server(&n);
        coil_address self = name_of(t);
        must(coil_datagram_transport_sendto(t, big, sizeof big, &self));
        must(coil_datagram_transport_sendto(t, big, sizeof big, &self));
        wait_for(&n.lost, 1);
        expect_notes(&n,
                     i ? "made error EMSGSIZE lost " : "made error EMSGSIZE error EMSGSIZE lost ");
        coil_datagram_transport_unref(t);
    }
}

COIL_TEST(endpoint_ended_in_pause_and_resume)
{
    for (int i = 0; i < 4; i++) {
        struct notes n = {0};
        if (i & 2)
            n.on_pause = ends[i & 1];
        else
            n.on_resume = ends[i & 1];
        coil_address name;
        coil_sock *receiver = unix_datagram(&name);
        coil_datagram_transport *t = endpoint(&n, (coil_datagram_opts){.remote_address = &name});
        must(coil_datagram_transport_set_write_buffer_limits(t, 0, 0));
        int sent = 0;
        for (char data[SIZE] = {0}; !n.pauses; sent++)
            must(coil_datagram_transport_sendto(t, data, SIZE, NULL));
        if (i != 3) {
            static char data[SIZE];
            while (sent-- > 0)
                must(coil_sock_recv(receiver, data, sizeof data));
        }
        wait_for(&n.lost, 1);
        expect_notes(&n, i & 2 ? "made pause lost " : "made pause resume lost ");
        coil_datagram_transport_unref(t);
        coil_sock_unref(receiver);
    }
}

static void give_up(struct notes *n)
{
    coil_datagram_transport_unref(n->transport);
}

COIL_TEST(endpoint_given_up_in_connection_lost)
{
    struct notes n = {.on_lost = give_up};
    coil_datagram_transport_close(server(&n));
    assert_int_equal(n.lost, 0); /* never inside the close */
    wait_for(&n.lost, 1);
}

COIL_TEST(endpoint_given_up_and_not_closed_goes_on)
{
    struct notes s = {.on_received = do_close}, c = {0};
    coil_datagram_transport *a = server(&s), *b = client_of(&c, a);
    coil_datagram_transport_unref(a);
    say_to(b, "close", NULL);
    wait_for(&s.lost, 1);
    finish(&c, b);
}

/* ---- cancelling ---- */

static coil_ret make_one(void *arg)
{
    coil_datagram_opts opts = {.size = sizeof opts,
                               .local_host = "127.0.0.1",
                               .remote_host = "127.0.0.1",
                               .remote_port = "9"};
    coil_datagram_transport *t;
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &noting, arg, &opts, &t);
    if (rc < 0)
        return rc;
    coil_datagram_transport_close(t);
    coil_datagram_transport_unref(t);
    return coil_sleep(100);
}

COIL_TEST(endpoint_cancelled_at_any_turn_leaks_nothing)
{
    for (int turns = 0; turns < 10; turns++) {
        struct notes n = {0};
        coil_task *task = coil_create_task(make_one, &n);
        for (int i = 0; i < turns; i++)
            must(coil_sleep(0));
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), -ECANCELED);
        if (turns > 8) /* it was there, and closed, and slept */
            must(coil_sleep(0.1));
        if (n.lost)
            expect_notes(&n, "made lost ");
        else
            expect_notes(&n, "");
    }
}

/* ---- fairness ---- */

struct storm {
    struct notes n;
    int now, most; /* in one turn */
    bool over;
};

static void one_more(struct notes *n)
{
    struct storm *s = (struct storm *)n;
    if (++s->now > s->most)
        s->most = s->now;
    if (!s->over)
        must(coil_datagram_transport_sendto(n->transport, "x", 1, NULL));
}

COIL_TEST(endpoint_in_a_storm_leaves_room_for_others)
{
    struct storm s = {.n = {.on_received = one_more, .quiet = true}};
    coil_address name;
    coil_sock *sock = unix_datagram(&name);
    must(coil_sock_connect(sock, &name)); /* to itself: each one received sends another */
    coil_datagram_transport *t = endpoint(&s.n, (coil_datagram_opts){.sock = sock});
    for (int i = 0; i < 5; i++)
        must(coil_datagram_transport_sendto(t, "x", 1, NULL));
    for (int i = 0; i < 500; i++) {
        s.now = 0;
        must(coil_sleep(0));
    }
    assert_true(s.n.received > 500);
    assert_true(s.most <= 32);
    s.over = true;
    finish(&s.n, t);
}

/* ---- contexts, loops that close ---- */

COIL_TEST(endpoint_callbacks_run_in_the_context_of_who_made_it)
{
    struct notes s = {.on_received = look_at_color, .on_lost = look_at_color}, c = {0};
    must(coil_contextvar_set(&color, (void *)(uintptr_t) "blue", NULL));
    coil_datagram_transport *a = server(&s);
    must(coil_contextvar_set(&color, (void *)(uintptr_t) "red", NULL));
    coil_datagram_transport *b = client_of(&c, a);
    say_to(b, "x", NULL);
    wait_for(&s.received, 1);
    finish(&c, b);
    finish(&s, a);
    expect_notes(&s, "made [x] blue lost blue ");
}

struct leaving {
    struct notes n, full[3];
    coil_datagram_transport *kept;
    bool debug;
    struct wire_reports reports;
};

static coil_ret leave_open(void *arg)
{
    struct leaving *l = arg;
    coil_address name;
    coil_sock *receiver = unix_datagram(&name);
    l->kept = server(&l->n);
    coil_datagram_transport *t = endpoint(&l->full[0],
                                          (coil_datagram_opts){.remote_address = &name});
    fill(&l->full[0], t, NULL, 1000);
    coil_datagram_transport_unref(t);
    t = endpoint(&l->full[1], (coil_datagram_opts){.family = AF_UNIX});
    fill(&l->full[1], t, &name, 1000);
    coil_datagram_transport_unref(t);
    coil_sock_unref(receiver);
    coil_datagram_transport_unref(server(&l->full[2]));
    if (l->debug) {
        coil_loop_set_debug(NULL, true);
        wire_listen_to_reports(&l->reports);
    }
    return 0;
}

COIL_TEST_PLAIN(endpoints_go_with_their_loop)
{
    for (int debug = 0; debug < 2; debug++) {
        struct leaving l = {.debug = debug};
        assert_int_equal(wire_run(leave_open, &l), 0);
        assert_int_equal(l.n.lost + l.full[0].lost + l.full[1].lost + l.full[2].lost,
                         0); /* no callback runs any more */
        assert_int_equal(l.reports.n, debug ? 4 : 0);
        if (debug) {
            assert_string_equal(l.reports.kind, "unclosed");
            assert_non_null(strstr(l.reports.message, "unclosed datagram endpoint "));
        }
        assert_true(coil_datagram_transport_is_closing(l.kept));
        assert_int_equal(coil_datagram_transport_sendto(l.kept, "x", 1, NULL), COIL_EINVALIDSTATE);
        coil_datagram_transport_close(l.kept);
        coil_datagram_transport_abort(l.kept);
        coil_datagram_transport_unref(l.kept);
    }
}

static coil_ret close_and_leave(void *arg)
{
    struct leaving *l = arg;
    l->kept = server(&l->n);
    coil_datagram_transport_close(l->kept); /* its slot is queued, and never runs */
    return 0;
}

COIL_TEST_PLAIN(endpoint_closed_in_the_last_turn)
{
    struct leaving l = {.debug = false};
    assert_int_equal(wire_run(close_and_leave, &l), 0);
    coil_datagram_transport_unref(l.kept);
}

/* ---- memory ---- */

static coil_ret converse(void *arg)
{
    int *done = arg;
    struct notes s = {0}, c = {0};
    coil_address to;
    coil_datagram_opts opts = {.size = sizeof opts, .local_host = "127.0.0.1"};
    coil_datagram_transport *a = NULL, *b = NULL;
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &noting, &s, &opts, &a);
    if (rc == 0)
        rc = coil_sock_getsockname(coil_datagram_transport_sock(a), &to);
    opts = (coil_datagram_opts){.size = sizeof opts, .remote_address = &to};
    if (rc == 0)
        rc = coil_loop_create_datagram_endpoint(NULL, &noting, &c, &opts, &b);
    for (int i = 0; rc == 0 && !s.received && i < 100; i++) {
        rc = coil_datagram_transport_sendto(b, "x", 1, NULL);
        if (rc == 0)
            rc = coil_sleep(0.01);
    }
    if (a)
        coil_datagram_transport_close(a);
    if (b)
        coil_datagram_transport_abort(b);
    coil_ret slept;
    do
        slept = coil_sleep(0.01);
    while (slept == -ENOMEM);
    coil_datagram_transport_unref(a);
    coil_datagram_transport_unref(b);
    if (s.used)
        assert_int_equal(s.lost, 1);
    if (c.used)
        assert_int_equal(c.lost, 1);
    *done += rc == 0 && s.received > 0;
    return rc;
}

static void converse_or_not(void *arg)
{
    coil_ret rc = wire_run(converse, arg);
    assert_true(rc == 0 || rc == -ENOMEM);
}

COIL_TEST_PLAIN(endpoints_survive_failing_allocations)
{
    int done = 0;
    int failed_n = sweep_allocations(converse_or_not, &done);
    assert_true(done >= 1);
    assert_true(failed_n >= 10 || failed_n == 0);
}

enum { SOME = 130 }; /* more than the imaginary receiver holds */

/* What is kept for want of room is had, or the sendto says no. */
static coil_ret buffer_some(void *arg)
{
    int *done = arg;
    struct notes c = {.quiet = true};
    coil_address name = {.storage.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
    coil_sock *receiver = NULL;
    coil_datagram_transport *t = NULL;
    static char data[SIZE];
    coil_ret rc = coil_sock_new(AF_UNIX, SOCK_DGRAM, 0, &receiver);
    if (rc == 0)
        rc = coil_sock_bind(receiver, &name);
    if (rc == 0)
        rc = coil_sock_getsockname(receiver, &name);
    coil_datagram_opts opts = {.size = sizeof opts, .family = AF_UNIX};
    if (rc == 0)
        rc = coil_loop_create_datagram_endpoint(NULL, &noting, &c, &opts, &t);
    int sent = 0, got = 0;
    for (; rc == 0 && sent < SOME; sent += rc == 0)
        rc = coil_datagram_transport_sendto(t, data, SIZE, &name);
    bool all = rc == 0;
    if (t)
        coil_datagram_transport_close(t);
    while (t && rc != COIL_EEXIT && got < sent - c.errors) {
        rc = coil_sock_recv(receiver, data, sizeof data);
        got += rc == SIZE;
    }
    while (t && !c.lost)
        coil_ignore(coil_sleep(0));
    coil_datagram_transport_unref(t);
    coil_sock_unref(receiver);
    *done += all && got == SOME;
    return rc < 0 ? rc : 0;
}

static void buffer_some_or_not(void *arg)
{
    coil_ret rc = wire_run(buffer_some, arg);
    assert_true(rc == 0 || rc == -ENOMEM);
}

COIL_TEST_PLAIN(endpoint_buffering_survives_failing_allocations)
{
    int done = 0;
    buffer_some_or_not(&done);
    assert_int_equal(done, 1);
    sweep_allocations(buffer_some_or_not, &done);
    assert_true(done >= 2);
}

COIL_TEST_MAIN()
