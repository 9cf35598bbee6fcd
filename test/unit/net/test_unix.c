/* SPDX-License-Identifier: MIT
 *
 * test_unix.c: streams over unix sockets: names, the files behind them, and who may connect when. Each test
 * makes a directory; that it can be removed in the end proves that no file was left. */
#include "net/unix.h"

#include "wire.h"

#include <coil/group.h>

#include <sys/un.h>
#include <sys/wait.h>

/* ---- helpers ---- */

struct place {
    char dir[32], path[64];
};

static struct place make_place(void)
{
    struct place p = {.dir = "/tmp/coil-test-XXXXXX"};
    assert_non_null(mkdtemp(p.dir));
    snprintf(p.path, sizeof p.path, "%s/socket", p.dir);
    return p;
}

static void remove_place(struct place *p)
{
    assert_int_equal(rmdir(p->dir), 0);
}

static const struct io_calls *calls(struct backend **b)
{
    *b = coil_get_running_loop()->backend;
    return &(*b)->cls->calls;
}

/* What stat says of it; its mode, or 0 if it is not there. */
static unsigned look_at(const char *path, struct stat *st)
{
    struct backend *b;
    return calls(&b)->lstat(b, path, st) == 0 ? st->st_mode : 0;
}

static bool exists(const char *path)
{
    struct stat st;
    return look_at(path, &st) != 0;
}

static void unlink_it(const char *path)
{
    struct backend *b;
    assert_int_equal(calls(&b)->unlink(b, path), 0);
}

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *line;
    coil_ret n;
    while ((n = coil_reader_readline(reader, &line, NULL)) > 0) {
        coil_writer_write(writer, line, (size_t)n);
        coil_ret rc = coil_writer_drain(writer);
        if (rc < 0)
            return rc;
    }
    return n;
}

static coil_server *serve(const char *path)
{
    coil_server *server;
    must(coil_start_unix_server(echo, NULL, path, NULL, &server));
    return server;
}

static void end_server(coil_server *server)
{
    coil_server_close(server);
    must(coil_server_wait_closed(server));
    coil_server_free(server);
}

struct client {
    coil_reader *r;
    coil_writer *w;
};

static struct client call(const char *path)
{
    struct client c;
    must(coil_open_unix_connection(path, NULL, &c.r, &c.w));
    return c;
}

static void is_echoed(struct client *c, const char *text)
{
    const char *line;
    must(coil_writer_write(c->w, text, strlen(text)));
    must(coil_reader_readline(c->r, &line, NULL));
    assert_string_equal(line, text);
}

static void talk(const char *path)
{
    struct client c = call(path);
    is_echoed(&c, "is it you?\n");
    must(coil_writer_finish(c.w));
}

static coil_ret cannot_call(const char *path)
{
    coil_reader *r;
    coil_writer *w;
    coil_ret rc = coil_open_unix_connection(path, NULL, &r, &w);
    if (rc == 0)
        coil_ignore(coil_writer_finish(w));
    return rc;
}

/* ---- serving ---- */

COIL_TEST(unix_server_serves)
{
    struct place p = make_place();
    coil_server *server = serve(p.path);
    assert_true(coil_server_is_serving(server));
    assert_int_equal(coil_server_sockets(server), 1);
    assert_int_equal(coil_server_port(server), -EAFNOSUPPORT);
    assert_true(exists(p.path));
    struct client a = call(p.path), b = call(p.path);
    is_echoed(&a, "from a\n");
    is_echoed(&b, "from b\n");
    assert_int_equal(coil_server_connections(server), 2);
    must(coil_writer_finish(a.w));
    must(coil_writer_finish(b.w));
    end_server(server);
    assert_false(exists(p.path));
    remove_place(&p);
}

static coil_ret tell_names(coil_reader *reader, coil_writer *writer, void *arg)
{
    char *out = arg;
    snprintf(out, 200, "%s %s", coil_writer_get_extra_info(writer, "sockname"),
             coil_writer_get_extra_info(writer, "peername"));
    return coil_writer_write(writer, "\n", 1);
}

COIL_TEST(unix_names_are_told_as_text)
{
    struct place p = make_place();
    char told[200] = "", expected[200];
    coil_server *server;
    must(coil_start_unix_server(tell_names, told, p.path, NULL, &server));
    struct client c = call(p.path);
    const char *line;
    must(coil_reader_readline(c.r, &line, NULL));
    assert_string_equal(coil_writer_get_extra_info(c.w, "peername"), p.path);
    assert_string_equal(coil_writer_get_extra_info(c.w, "sockname"), "unix"); /* it has none */
    snprintf(expected, sizeof expected, "%s unix", p.path);
    assert_string_equal(told, expected);
    must(coil_writer_finish(c.w));
    end_server(server);
    remove_place(&p);
}

COIL_TEST(unix_abstract_names_need_no_file)
{
    char name[64];
    snprintf(name, sizeof name, "@coil-test-%ld", (long)getpid());
    coil_server *server = serve(name), *second;
    struct client c = call(name);
    is_echoed(&c, "hidden\n");
    assert_string_equal(coil_writer_get_extra_info(c.w, "peername"), name);
    must(coil_writer_finish(c.w));
    assert_int_equal(coil_start_unix_server(echo, NULL, name, NULL, &second), -EADDRINUSE);
    assert_non_null(strstr(coil_last_error()->message, "already in use"));
    assert_false(exists(name));
    end_server(server);
    assert_int_equal(cannot_call(name), -ECONNREFUSED);
}

COIL_TEST(unix_connect_says_what_is_missing)
{
    struct place p = make_place();
    char expected[200];
    assert_int_equal(cannot_call(p.path), -ENOENT);
    snprintf(expected, sizeof expected, "Connect call failed %s: No such file or directory",
             p.path);
    assert_string_equal(coil_last_error()->message, expected);
    remove_place(&p);
}

/* ---- names that are none ---- */

COIL_TEST(unix_names_are_refused_and_never_cut)
{
    struct place p = make_place();
    char longest[108], beyond[120], abstract[120];
    snprintf(longest, sizeof longest, "%s/", p.dir);
    memset(longest + strlen(longest), 'l', 107 - strlen(longest));
    longest[107] = 0;
    snprintf(beyond, sizeof beyond, "%sx", longest);
    memset(abstract, 'a', sizeof abstract);
    abstract[0] = '@';
    abstract[109] = 0;
    /* Abstract names are the machine's: another backend's run of this test has one of its own. */
    char own[24];
    memcpy(abstract + 1, own, (size_t)snprintf(own, sizeof own, "coil-test-%ld-", (long)getpid()));
    const struct {
        const char *name;
        coil_ret code;
    } bad[] = {{beyond, -ENAMETOOLONG},
               {abstract, -ENAMETOOLONG},
               {"", -EINVAL},
               {"@", -EINVAL},
               {NULL, -EINVAL}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        coil_server *server;
        assert_int_equal(coil_start_unix_server(echo, NULL, bad[i].name, NULL, &server),
                         bad[i].code);
        assert_int_equal(cannot_call(bad[i].name), bad[i].code);
    }
    assert_false(exists(longest));

    /* One less, and it is a name. */
    coil_server *server = serve(longest);
    talk(longest);
    end_server(server);
    abstract[108] = 0;
    server = serve(abstract);
    talk(abstract);
    end_server(server);
    remove_place(&p);
}

COIL_TEST(unix_server_refuses_nonsense)
{
    struct place p = make_place();
    coil_server *server;
    coil_server_opts opts = {.size = sizeof opts, .unix_mode = 01000};
    assert_int_equal(coil_start_unix_server(NULL, NULL, p.path, NULL, &server), -EINVAL);
    assert_int_equal(coil_start_unix_server(echo, NULL, p.path, &opts, &server), -EINVAL);
    remove_place(&p);
}

COIL_TEST_PLAIN(unix_outside_of_tasks_is_refused)
{
    coil_server *server;
    assert_int_equal(cannot_call("/tmp/x"), COIL_ENOTASK);
    assert_int_equal(coil_start_unix_server(echo, NULL, "/nowhere/x", NULL, &server), COIL_ENOLOOP);
}

/* ---- files that are there already ---- */

COIL_TEST(unix_stale_file_is_removed)
{
    struct place p = make_place();
    coil_address at;
    coil_sock *sock;
    must(coil_address_unix(p.path, strlen(p.path), &at));
    must(coil_sock_new(AF_UNIX, SOCK_STREAM, 0, &sock));
    must(coil_sock_bind(sock, &at));
    coil_sock_unref(sock); /* nobody removes the file */
    assert_true(exists(p.path));
    assert_int_equal(cannot_call(p.path), -ECONNREFUSED);
    coil_server *server = serve(p.path);
    talk(p.path);
    end_server(server);
    remove_place(&p);
}

/* A file, a directory, a link to a socket: whatever is no socket stays, and is in the way. */
COIL_TEST(unix_other_files_are_left_alone)
{
    if (wire_is_imaginary())
        return; /* it has no other files */
    struct place p = make_place();
    char target[64];
    snprintf(target, sizeof target, "%s/target", p.dir);
    coil_server *server, *real = serve(target);
    FILE *file = fopen(p.path, "w");
    assert_non_null(file);
    fputs("precious", file);
    fclose(file);
    assert_int_equal(coil_start_unix_server(echo, NULL, p.path, NULL, &server), -EADDRINUSE);
    char back[16] = "";
    file = fopen(p.path, "r");
    assert_non_null(fgets(back, sizeof back, file));
    fclose(file);
    assert_string_equal(back, "precious");
    unlink_it(p.path);

    assert_int_equal(mkdir(p.path, 0700), 0);
    assert_int_equal(coil_start_unix_server(echo, NULL, p.path, NULL, &server), -EADDRINUSE);
    assert_int_equal(rmdir(p.path), 0);

    assert_int_equal(symlink(target, p.path), 0);
    assert_int_equal(coil_start_unix_server(echo, NULL, p.path, NULL, &server), -EADDRINUSE);
    talk(p.path);
    unlink_it(p.path);
    end_server(real);
    remove_place(&p);
}

/* ---- cleaning up ---- */

COIL_TEST(test_unix_server_cleanup)
{
    struct place p = make_place();
    coil_server *server = serve(p.path);
    assert_true(exists(p.path));
    coil_server_close(server);
    assert_false(exists(p.path));
    coil_server_close(server);
    coil_server_free(server);
    remove_place(&p);
}

COIL_TEST(test_unix_server_cleanup_gone)
{
    struct place p = make_place();
    coil_server *server = serve(p.path);
    unlink_it(p.path);
    end_server(server);
    remove_place(&p);
}

COIL_TEST(test_unix_server_cleanup_replaced)
{
    struct place p = make_place();
    coil_server *first = serve(p.path), *second = serve(p.path);
    end_server(first);
    assert_true(exists(p.path));
    talk(p.path);
    end_server(second);
    remove_place(&p);
}

COIL_TEST(test_unix_server_cleanup_prevented)
{
    struct place p = make_place();
    coil_server_opts opts = {.size = sizeof opts, .no_cleanup_socket = true};
    coil_server *server;
    must(coil_start_unix_server(echo, NULL, p.path, &opts, &server));
    end_server(server);
    assert_true(exists(p.path));
    unlink_it(p.path);
    remove_place(&p);
}

static coil_server *left;

static coil_ret leave_a_server(void *arg)
{
    left = serve(arg);
    talk(arg);
    return 7;
}

/* On the real kernel the directory tells; the imaginary one's files go with its loop anyway. */
COIL_TEST_PLAIN(unix_server_left_to_its_loop_leaves_no_file)
{
    struct place p = make_place();
    assert_int_equal(wire_run(leave_a_server, p.path), 7);
    remove_place(&p);
    coil_server_free(left);
}

COIL_TEST(unix_file_is_its_own_processs)
{
    if (wire_is_imaginary())
        return; /* its files are memory, which a child has for itself */
    struct place p = make_place();
    coil_server_opts opts = {.size = sizeof opts};
    struct bound_list list;
    must(coil__bind_unix(p.path, &opts, &list));
    pid_t child = fork();
    if (child == 0) {
        coil__socket_file_remove(list.v[0].sock, list.v[0].file);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(exists(p.path));
    coil__bound_free(&list);
    assert_false(exists(p.path));
    remove_place(&p);
}

/* ---- who may connect ---- */

static unsigned mode_at_listen, mode_at_birth;
static char watched_path[64];

static unsigned mode_now(void)
{
    struct stat st;
    return lstat(watched_path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static int watched_bind(int fd, const struct sockaddr *a, socklen_t n)
{
    int rc = coil__sys_real.bind(fd, a, n);
    mode_at_birth = mode_now();
    return rc;
}

static int watched_listen(int fd, int backlog)
{
    mode_at_listen = mode_now();
    return coil__sys_real.listen(fd, backlog);
}

/* Under a umask that takes too much and one that takes nothing. */
COIL_TEST(unix_mode_is_set_before_anybody_can_connect)
{
    static const unsigned modes[] = {0600, 0660, 0666, 0606, 0777};
    static const mode_t umasks[] = {0, 022, 077, 0777};
    struct place p = make_place();
    mode_t before = umask(022);
    snprintf(watched_path, sizeof watched_path, "%s", p.path);
    coil__sys.bind = watched_bind;
    coil__sys.listen = watched_listen;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        for (size_t k = 0; k < sizeof umasks / sizeof *umasks; k++) {
            coil_server_opts opts = {.size = sizeof opts, .unix_mode = modes[i]};
            coil_server *server;
            struct stat st;
            umask(umasks[k]);
            mode_at_birth = mode_at_listen = 0;
            must(coil_start_unix_server(echo, NULL, p.path, &opts, &server));
            assert_int_equal(look_at(p.path, &st), S_IFSOCK | modes[i]);
            if (!wire_is_imaginary()) {
                assert_int_equal(mode_at_listen, modes[i]);
                assert_int_equal(mode_at_birth & ~modes[i], 0);
            }
            end_server(server);
        }
    }
    umask(022);
    coil_server *server = serve(p.path);
    struct stat st;
    assert_int_equal(look_at(p.path, &st), S_IFSOCK | 0755); /* unless asked, the umask's */
    end_server(server);
    coil__sys = coil__sys_real;
    umask(before);
    remove_place(&p);
}

static int refusing_chmod(const char *path, mode_t mode)
{
    return -EPERM;
}

COIL_TEST(unix_mode_that_cannot_be_set_ends_it)
{
    if (wire_is_imaginary())
        return; /* it never refuses */
    struct place p = make_place();
    mode_t before = umask(077);
    coil_server_opts opts = {.size = sizeof opts, .unix_mode = 0666};
    coil_server *server;
    coil__sys.chmod = refusing_chmod;
    assert_int_equal(coil_start_unix_server(echo, NULL, p.path, &opts, &server), -EPERM);
    coil__sys = coil__sys_real;
    assert_non_null(strstr(coil_last_error()->message, "permissions 666 of unix socket /tmp/"));
    umask(before);
    assert_false(exists(p.path));
    remove_place(&p);
}

/* ---- a full backlog ---- */

static coil_ret talk_in_task(void *path)
{
    talk(path);
    return 0;
}

COIL_TEST(unix_connect_waits_for_room_in_the_backlog)
{
    enum { N = 12 };
    struct place p = make_place();
    coil_server_opts opts = {.size = sizeof opts, .backlog = 1, .no_start = true};
    coil_server *server;
    must(coil_start_unix_server(echo, NULL, p.path, &opts, &server));
    coil_task_group(g);
    for (int i = 0; i < N; i++)
        coil_group_create_task(&g, talk_in_task, p.path);
    must(coil_sleep(0.5));
    assert_int_equal(coil_server_connections(server), 0);
    must(coil_server_start_serving(server));
    must(coil_group_exit(&g, 0));
    end_server(server);
    remove_place(&p);
}

static coil_ret call_in_task(void *path)
{
    return cannot_call(path);
}

COIL_TEST(unix_connect_cancelled_at_any_turn_leaks_nothing)
{
    struct place p = make_place();
    coil_server_opts opts = {.size = sizeof opts, .backlog = 1, .no_start = true};
    coil_server *server;
    must(coil_start_unix_server(echo, NULL, p.path, &opts, &server));
    for (int turns = 0; turns < 12; turns++) {
        coil_task *task = coil_create_task(call_in_task, p.path);
        for (int i = 0; i < turns; i++)
            must(coil_sleep(turns % 2 ? 0 : 0.001));
        coil_task_cancel(task, NULL);
        coil_ret rc = coil_join(task);
        assert_true(rc == 0 || rc == -ECANCELED);
    }
    end_server(server);
    remove_place(&p);
}

/* ---- without memory ---- */

struct once {
    const char *path;
    int done;
};

static coil_ret talk_once(void *arg)
{
    struct once *once = arg;
    coil_server *server = NULL;
    struct client c;
    const char *line;
    coil_ret rc = coil_start_unix_server(echo, NULL, once->path, NULL, &server);
    if (rc == 0 && (rc = coil_open_unix_connection(once->path, NULL, &c.r, &c.w)) == 0) {
        rc = coil_writer_write(c.w, "x\n", 2);
        if (rc == 0)
            rc = coil_reader_readline(c.r, &line, NULL);
        coil_ret finished = coil_writer_finish(c.w);
        rc = rc < 0 ? rc : finished;
    }
    once->done += rc >= 0;
    coil_server_free(server);
    return rc;
}

static void talk_or_not(void *arg)
{
    struct once *once = arg;
    (void)wire_run(talk_once, once);
    assert_int_equal(access(once->path, F_OK), -1); /* no file stays behind, however it went */
}

COIL_TEST_PLAIN(unix_survives_failing_allocations)
{
    struct place p = make_place();
    struct once once = {.path = p.path};
    sweep_allocations(talk_or_not, &once);
    assert_true(once.done >= 1);
    remove_place(&p);
}

COIL_TEST_MAIN()
