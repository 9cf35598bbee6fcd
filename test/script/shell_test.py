"""What `coil` alone promises, at a terminal and over a pipe: shell_test.py BUILD [WORD]. Prints TAP."""
import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

from programs import BACKENDS, TOP, Skip, at_most, main

PROMPT, MORE = "coil> ", "  ... "
PATIENCE = at_most(60)  # seconds until a test says that something never came
TIOCGPTN = 0x80045430  # the number of a terminal's other side, by Linux
EDITORS = ("libedit", "readline", "none")

TICKER = """coil_ret tick(void *arg)
{
    for (int i = 1; i <= 3; i++) {
        coil_ret rc = coil_sleep(0.01);
        if (coil_iserr(rc))
            return rc;
        printf("%s %d\\n", (char *)arg, i);
    }
    return 7;
}
"""


def environment(build, room, **more):
    env = {**os.environ, "COIL_INCLUDEDIR": f"{TOP}/include", "COIL_LIBDIR": build, "LC_ALL": "C.UTF-8",
           "TERM": "vt100", "TMPDIR": room, "HOME": room, "NO_COLOR": "1", **more}
    for name in ("COIL_HISTORY", "COIL_VIRTUAL_TIME", "CPPFLAGS", "CFLAGS", "LDFLAGS", "LDLIBS"):
        if name not in more:
            env.pop(name, None)
    return env


@contextlib.contextmanager
def room_for_one():
    """A folder for temporary files, which must be empty in the end."""
    room = tempfile.mkdtemp(prefix="coil-shell-test-")
    try:
        yield room
        deadline = time.monotonic() + PATIENCE
        while [name for name in os.listdir(room) if name.startswith("coil-shell-")]:
            assert time.monotonic() < deadline, f"left behind: {os.listdir(room)}"
    finally:
        shutil.rmtree(room, ignore_errors=True)


class Piped:
    """What came of a text: output, errors, exit status."""

    def __init__(self, build, text, words=(), **env):
        with room_for_one() as room:
            done = subprocess.run([f"{build}/coil", *words], input=text.encode(), capture_output=True,
                                  env=environment(build, room, **env), timeout=PATIENCE)
        self.out, self.err = done.stdout.decode(), done.stderr.decode()
        self.status = done.returncode

    def expect(self, out, status=0):
        assert (self.out, self.status) == (out, status), f"got {self.out!r}, {self.err!r}, status {self.status}"
        return self


class Terminal:
    """The shell at a terminal."""

    def __init__(self, build, editor="none", **env):
        self.seen = self.all = ""
        self.stack = contextlib.ExitStack()
        self.room = self.stack.enter_context(room_for_one())
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(f"{build}/coil", ["coil"], environment(build, self.room, COIL_EDITOR=editor, **env))
        termios.tcsetwinsize(self.fd, (50, 200)) if hasattr(termios, "tcsetwinsize") else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
        if error[0]:
            shutil.rmtree(self.room, ignore_errors=True)
            os.mkdir(self.room)
        self.stack.close()

    def read(self, seconds):
        """What there is to read, within so many seconds; "" at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return None
        try:
            data = os.read(self.fd, 65536).decode(errors="replace")
        except OSError:  # the other side is gone
            return ""
        self.all += data
        return data

    def until(self, pattern):
        """Wait until this is seen; what came up to its end."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.seen)):
            data = self.read(max(0, deadline - time.monotonic()))
            assert data, f"never saw {pattern!r} in {self.all!r}"
            self.seen += data
        before, self.seen = self.seen[:found.end()], self.seen[found.end():]
        return before

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def prompt(self):
        return self.until(re.escape(PROMPT))

    def enter(self, line):
        """A line, and what came of it."""
        self.type(line + "\n")
        return self.prompt()

    def end(self):
        """Its exit status."""
        deadline = time.monotonic() + PATIENCE
        while True:
            data = self.read(max(0, deadline - time.monotonic()))
            assert data is not None, f"it does not end: {self.all!r}"
            if not data:
                break
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


def with_library(build, editor):
    """A terminal with this line editor, at its first prompt."""
    if editor != "none":
        names = {"libedit": "libedit.so.2", "readline": "libreadline.so.8"}
        import ctypes
        try:
            ctypes.CDLL(names[editor])
        except OSError:
            raise Skip(f"there is no {editor} here") from None
    return Terminal(build, editor)


def on_one(test):
    """It knows no backend: one will do."""
    test.on_one = True
    return test


def is_sanitized(build):
    with open(f"{build}/coil", "rb") as file:
        code = file.read()
    return b"__asan_init" in code or b"__tsan_init" in code


# ---- values and definitions ----

@on_one
def test_shows_what_expressions_yield(build, backend):
    Piped(build, '1 + 1\n7 / 2.0\n1.0f / 3\n"a\\"b\\n"\n(char)65\n2 > 1 ? "yes" : "no"\n(_Bool)1\n(void *)0\n'
          '18446744073709551615ULL\n4.0\nstrlen("four")\n', COIL_BACKEND=backend).expect(
        '2\n3.5\n0.33333334\n"a\\"b\\n"\n\'A\'\n"yes"\ntrue\nNULL\n18446744073709551615\n4.0\n4\n')


@on_one
def test_semicolon_keeps_quiet(build, backend):
    Piped(build, "1 + 1;\nint x = 3; x\nx = 4;\nx++; x\n", COIL_BACKEND=backend).expect("3\n5\n")


def test_waiting_at_top_level(build, backend):
    Piped(build, "coil_sleep(0.01);\ncoil_ret rc = coil_sleep(0.01);\nrc\n"
          "for (int i = 0; i < 3; i++) { coil_ignore(coil_sleep(0.001)); printf(\"%d\\n\", i); }\n",
          COIL_BACKEND=backend).expect("0\n0\n1\n2\n")


@on_one
def test_definitions_persist(build, backend):
    Piped(build, """#include <ctype.h>
#define TWICE(x) ((x) * 2)
struct point { int x, y; };
typedef struct point point;
point p = {1, TWICE(2)};
static int sum(point q) { return q.x + q.y; }
sum(p)
toupper('a')
const char *const names[] = {"a", "b", "c"};
sizeof names / sizeof *names
names[2]
int matrix[2][2] = {{1, 2}, {sum(p), 4}}, *one = matrix[1];
one[0]
enum color { RED, GREEN } c = GREEN;
c
__auto_type d = 1.5;
d
const int fixed = sum(p) + 1;
fixed
struct { unsigned low : 3; } bits = {5};
bits.low
int (*fn)(point) = sum;
fn((point){20, 22})
char text[10] = "hey";
text
FILE *f = stdout;
f == stdout
""", COIL_BACKEND=backend).expect('5\n65\n3\n"c"\n5\n1\n1.5\n6\n5\n42\n"hey"\n1\n')


@on_one
def test_newer_definitions_replace_older(build, backend):
    done = Piped(build, """int f(void) { return 1; }
int g(void) { return f(); }
int f(void) { return 2; }
f() * 10 + g()
double f = 0.5;
f
struct s { int a; } v = {1};
struct s { int a, b; };
v.a
struct s v = {1, 2};
v.b
#define N 3
#define N 4
N
""", COIL_BACKEND=backend).expect("21\n0.5\n2\n4\n", status=1)
    assert "`v` is gone" in done.err and "‘v’ undeclared" in done.err.replace("'", "’").replace("’v", "‘v") or \
        "undeclared identifier" in done.err, done.err


@on_one
def test_multiplication_is_no_declaration(build, backend):
    Piped(build, "int a = 6, b = 7;\na * b\na * b;\nsize_t * p = NULL;\np\n", COIL_BACKEND=backend).expect("42\nNULL\n")


@on_one
def test_macros_that_declare_something(build, backend):
    Piped(build, "#define LOCAL(name) int name = 3\nLOCAL(x); printf(\"%d\\n\", x);\nfree(NULL)\n",
          COIL_BACKEND=backend).expect("3\n")


# ---- errors ----

@on_one
def test_errors_are_told_by_name(build, backend):
    done = Piped(build, 'coil_ret boom(void *arg) { return coil_fail(COIL_EUSER, "disk %d full", 3); }\n'
                 'coil_await(coil_create_task(boom, NULL))\ncoil_sleep(NAN);\n-2\n', COIL_BACKEND=backend)
    done.expect("-2\n", status=1)
    assert "error: COIL_EUSER: disk 3 full\n" in done.err and "error: EINVAL: a delay" in done.err, done.err


@on_one
def test_compile_errors_show_the_users_line(build, backend):
    done = Piped(build, "int x = 5;\nint y =   x + nosuch;\nx\ny\nx +;\nif (x) { x = 7 }\nx\n", COIL_BACKEND=backend)
    done.expect("5\n5\n", status=1)
    first = done.err.split("\n")[0]
    assert re.match(r"entry-2:1:15: error: .*nosuch", first), done.err
    # clang quotes what it compiled, where the variable stands on another line
    assert ("int y =   x + nosuch;" in done.err or "  x + nosuch;" in done.err and "clang" in os.environ.get("CC", ""))
    assert "entry-5:1:4: error:" in done.err, done.err
    for noise in ("coil_shell", "In function", "builtin", "/"):
        assert noise not in done.err, f"{noise!r} in {done.err!r}"
    assert done.err.count("nosuch;") == 1, f"told twice: {done.err!r}"


@on_one
def test_what_cannot_be_loaded_changes_nothing(build, backend):
    done = Piped(build, "int x = 1;\nint nowhere(void); int x = nowhere();\nx\nundeclared(3)\n", COIL_BACKEND=backend)
    done.expect("1\n", status=1)
    assert "`nowhere` is declared, and nowhere defined" in done.err, done.err
    assert "implicit declaration" in done.err, done.err


@on_one
def test_unfinished_entry_is_an_error(build, backend):
    assert "ends before" in Piped(build, "int f(void) {\n", COIL_BACKEND=backend).expect("", status=1).err
    assert "closed" in Piped(build, "1 + 1)\n", COIL_BACKEND=backend).expect("", status=1).err
    assert "#ifdef" in Piped(build, "#ifdef X\n", COIL_BACKEND=backend).expect("", status=1).err


@on_one
def test_exit_statuses(build, backend):
    Piped(build, "", COIL_BACKEND=backend).expect("")
    Piped(build, "exit(3);\n", COIL_BACKEND=backend).expect("", status=3)
    Piped(build, ":quit\nnonsense\n", COIL_BACKEND=backend).expect("")
    Piped(build, ":nonsense\n", COIL_BACKEND=backend).expect("", status=1)
    Piped(build, "", ["shell", "x"], COIL_BACKEND=backend).expect("", status=2)
    assert "no compiler" in Piped(build, "1\n", COIL_BACKEND="sim").expect("", status=1).err
    assert "`no-cc`" in Piped(build, "1\n", CC="no-cc", COIL_BACKEND=backend).expect("", status=1).err


@on_one
def test_crash_ends_the_shell_and_leaves_nothing(build, backend):
    if is_sanitized(build):
        raise Skip("the sanitizer handles faults here")
    done = Piped(build, "*(volatile int *)0 = 1;\n", COIL_BACKEND=backend)
    done.expect("", status=-signal.SIGSEGV)
    assert "crashed" in done.err, done.err
    done = Piped(build, "int f(int n) { volatile char x[1000]; x[0] = 1; return n > 9999999 ? 0 : f(n + 1) + x[0]; }\nf(0)\n",
                 COIL_BACKEND=backend)
    done.expect("", status=-signal.SIGSEGV)
    assert "stack overflow in entry-2" in done.err, done.err


def test_term_ends_it_and_leaves_nothing(build, backend):
    with room_for_one() as room:
        shell = subprocess.Popen([f"{build}/coil"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, env=environment(build, room, COIL_BACKEND=backend))
        shell.stdin.write(b'puts("here"); coil_sleep(3600)\n')
        shell.stdin.flush()
        assert shell.stdout.readline() == b"here\n"
        shell.terminate()
        assert shell.wait(PATIENCE) == -signal.SIGTERM
        shell.stdin.close()
        shell.stdout.close()


# ---- tasks and files ----

def test_tasks_go_on_between_entries(build, backend):
    Piped(build, TICKER + 'coil_task *t = coil_create_task(tick, "t"); coil_sleep(1);\ncoil_await(t)\nt == NULL\n',
          COIL_BACKEND=backend).expect("t 1\nt 2\nt 3\n7\n0\n")


def test_tasks_are_listed(build, backend):
    done = Piped(build, ":tasks\ncoil_event e = {0};\ncoil_ret w(void *arg) { return coil_event_wait(&e); }\n"
                 'coil_task *t = coil_create_task(w, NULL); coil_task_set_name(t, "waiter");\n:tasks\nt\n',
                 COIL_BACKEND=backend)
    done.expect("no tasks\n"
                "name             function         waits for                made at\n"
                "waiter           w                event                    entry-3:1\n"
                "<task waiter (w), pending: event>\n")


@on_one
def test_tree_shows_who_awaits_whom(build, backend):
    done = Piped(build, """:tree
coil_event e = {0};
coil_ret w(void *arg) { return coil_event_wait(&e); }
coil_ret o(void *arg) { coil_task *t = coil_create_task(w, NULL); coil_task_set_name(t, "in"); return coil_join(t); }
coil_task *t = coil_create_task(o, NULL); coil_task_set_name(t, "out"); coil_sleep(0);
:tree
""", COIL_BACKEND=backend)
    assert done.status == 0 and re.sub(r"0x[0-9a-f]+", "X", done.out) == (
        "no tasks\n* Task(name='in', id=X)\n  + Awaited by:\n    * Task(name='out', id=X)\n"), done.out


@on_one
def test_files_are_loaded(build, backend):
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/some.c", "w", encoding="utf-8") as file:
            file.write("static int odd(int n);\nint even(int n) { return n ? odd(n - 1) : 1; }\n"
                       "static int odd(int n) { return n ? even(n - 1) : 0; }\nputs(\"loaded\");\n")
        with open(f"{folder}/wrong.c", "w", encoding="utf-8") as file:
            file.write("int a;\n\nint b = nosuch;\n")
        done = Piped(build, f":load {folder}/some.c\neven(10)\n:load {folder}/wrong.c\n:load {folder}/none.c\n:load\n",
                     COIL_BACKEND=backend).expect("loaded\n1\n", status=1)
        assert "wrong.c:3:9: error:" in done.err and "none.c: No such file" in done.err and ":load FILE\n" in done.err


def test_input_from_a_file(build, backend):
    with room_for_one() as room, tempfile.TemporaryFile() as file:
        file.write(b"int x = 41;\nx + 1")
        file.seek(0)
        done = subprocess.run([f"{build}/coil"], stdin=file, capture_output=True, timeout=PATIENCE,
                              env=environment(build, room, COIL_BACKEND=backend))
        assert (done.stdout, done.returncode) == (b"42\n", 0), done


# ---- at a terminal ----

def each_editor(test):
    def of_all(build, backend):
        tried = 0
        for editor in EDITORS:
            with contextlib.suppress(Skip):
                os.environ["COIL_BACKEND"] = backend
                with with_library(build, editor) as shell:
                    shell.prompt()
                    test(shell)
                    tried += editor != "none"
        if not tried:
            raise Skip("there is neither libedit nor readline here")
    return of_all


@each_editor
def test_terminal_prints_while_it_waits_for_a_line(shell):
    for line in TICKER.splitlines()[:-1]:
        shell.type(line + "\n")
        shell.until(re.escape(MORE))
    shell.enter("}")
    shell.enter('coil_task *t = coil_create_task(tick, "tick"); coil_sleep(0);')
    shell.until("tick 3\r\n")  # nobody types
    shell.type("coil_await(t)\n")
    shell.until(r"[\r\n]7\r\n")
    shell.prompt()
    shell.type("\x04")
    assert shell.end() == 0


@each_editor
def test_terminal_ctrl_c_cancels_the_entry(shell):
    shell.type('puts("be" "gun"); coil_sleep(3600)\n')
    shell.until("begun\r\n")
    shell.type("\x03")
    assert "error: cancelled" in shell.prompt()
    shell.type("1 + nonsense")
    shell.until("nonsense")
    shell.type("\x03")
    shell.prompt()
    shell.type("int f(void) {\n")
    shell.until(re.escape(MORE))
    shell.type("\x03")
    shell.prompt()
    assert "42\r\n" in shell.enter("6 * 7")
    shell.type("\x04")
    assert shell.end() == 0


@each_editor
def test_terminal_goes_on_after_ctrl_z(shell):
    os.kill(shell.pid, signal.SIGSTOP)
    os.kill(shell.pid, signal.SIGCONT)
    shell.type("6 * 7\n")
    shell.until(r"[\r\n]42\r\n")
    shell.type(":quit\n")
    assert shell.end() == 0


def test_terminal_ctrl_c_three_times_ends_a_loop_without_end(build, backend):
    with Terminal(build, COIL_BACKEND=backend) as shell:
        shell.prompt()
        shell.type('puts("be" "gun"); for (;;) {}\n')
        shell.until("begun\r\n")
        # More than three times, as a person does: signals that come too fast are one to the kernel.
        while shell.read(0.1) != "":
            with contextlib.suppress(OSError):
                shell.type("\x03")
        assert shell.end() == -signal.SIGINT


@on_one
def test_terminal_tab_completes(build, backend):
    for editor in ("libedit", "readline"):
        with with_library(build, editor) as shell:
            shell.prompt()
            shell.enter("int my_counter = 42;")
            shell.type("my_cou\t\n")
            assert "42\r\n" in shell.prompt()
            shell.type('coil_task_get_na\t(coil_current_t\t())\n')
            assert '"entry-3"\r\n' in shell.prompt()
            shell.type(":tas\t\n")
            assert "no tasks" in shell.prompt()
            shell.type("coil_semaphore_\t\t")
            shell.until("coil_semaphore_acquire")
            shell.type("\x15:quit\n")
            assert shell.end() == 0


@on_one
def test_terminal_history(build, backend):
    with tempfile.TemporaryDirectory() as folder:
        history = f"{folder}/history"
        for editor in ("libedit", "readline"):
            with_library(build, editor).__exit__(None, None, None)
            with Terminal(build, editor, COIL_HISTORY=history) as shell:
                shell.prompt()
                shell.enter("20 + 22")
                shell.type("\x1b[A\n")
                assert "42\r\n" in shell.prompt()
                shell.type("\x04")
                assert shell.end() == 0
            with open(history, encoding="utf-8") as file:
                assert file.read() == "20 + 22\n"
            assert os.stat(history).st_mode & 0o777 == 0o600
            with Terminal(build, editor, COIL_HISTORY=history) as shell:
                shell.prompt()
                shell.type("\x1b[A\n")
                assert "42\r\n" in shell.prompt()
                shell.type("\x04")
                assert shell.end() == 0
            os.unlink(history)
        with Terminal(build, "libedit") as shell:  # and none unless one is asked for
            shell.prompt()
            shell.enter("1")
            shell.type("\x04")
            assert shell.end() == 0
            assert os.listdir(shell.room) == []


def test_terminal_that_goes_away_ends_it_also_without_a_signal(build, backend):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup; the shell inherits that
    try:
        for editor in EDITORS:
            with contextlib.suppress(Skip), with_library(build, editor) as shell:
                shell.prompt()
                os.close(shell.fd)
                shell.fd = os.open("/dev/null", os.O_RDONLY)
                deadline = time.monotonic() + PATIENCE
                while not (ended := os.waitpid(shell.pid, os.WNOHANG))[0]:
                    assert time.monotonic() < deadline, f"with {editor} it goes on without its terminal"
                    time.sleep(0.01)
                shell.pid = 0
                assert os.WIFEXITED(ended[1]), f"with {editor} it was killed"
    finally:
        signal.signal(signal.SIGHUP, before)


@on_one
def test_terminal_is_left_as_it_was(build, backend):
    if is_sanitized(build):
        raise Skip("the sanitizer handles faults here")
    with with_library(build, "libedit") as shell:
        # Held open: a terminal that nobody has open any more is set back by the kernel.
        number = struct.unpack("I", fcntl.ioctl(shell.fd, TIOCGPTN, bytes(4)))[0]
        terminal = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)
        shell.stack.callback(os.close, terminal)
        before = termios.tcgetattr(terminal)
        shell.prompt()
        assert termios.tcgetattr(terminal) != before, "nothing was changed"
        shell.enter('coil_ret f(void *arg) { coil_ignore(coil_sleep(0)); puts("cra" "sh"); abort(); }')
        shell.type("coil_create_task(f, NULL);\n")
        shell.until("crash")
        _, status = os.waitpid(shell.pid, 0)
        shell.pid = 0
        assert os.waitstatus_to_exitcode(status) == -signal.SIGABRT
        assert termios.tcgetattr(terminal) == before


def test_readme_session(build, backend):
    with open(f"{TOP}/README.md", encoding="utf-8") as file:
        session = re.search(r"^```console\n\$ coil\n(.*?)^```$", file.read(), re.DOTALL | re.MULTILINE).group(1)
    with Terminal(build, COIL_BACKEND=backend) as shell:
        for line in session.splitlines():
            if line.startswith((PROMPT, MORE)):
                shell.until(re.escape(line[:6]))
                shell.type(line[6:] + "\n")
                shell.until(r"\r\n")
            elif line == "^C":
                shell.type("\x03")
            else:
                shell.until(re.escape(line))
        assert shell.end() == 0
        got = shell.all.replace("\r\n", "\n")
        assert got == session, f"the README says:\n{session}\nbut it is:\n{got}"


# Sanitizers make compilers and what they make slow, and say nothing more on a second backend.
main("shell", globals(), BACKENDS[:1] if is_sanitized(sys.argv[1]) else BACKENDS)
