"""`coil pstree` draws the sources' programs as `python -m asyncio pstree` of CPython 3.14 draws their originals: pstree_test.py BUILD
[WORD]. Prints TAP.

What CPython prints of e14, gather.py being its original in Python, by its documentation:

    └── (T) Task-1
        └──  main gather.py:9
            ├── (T) Task-2
            │   └──  sleep gather.py:4
            │       └──  sleep Lib/asyncio/tasks.py:702
            └── (T) Task-3
                └──  sleep gather.py:4
                    └──  sleep Lib/asyncio/tasks.py:702

The same here: a line for each task and for each of its calls, with file and line; below the innermost call those that it awaits. The
library's own calls are coil's: in C a wait for several is a call (coil_gather), in Python a future. Of these the lines are not compared.

A program is stopped with SIGSTOP and looked at; if it did not stand yet, or not any more, where it should, it goes on, or is started
anew."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from programs import TOP, Skip, at_most, main, sanitized

SEEDS = f"{TOP}/examples/seeds"


def line_of(source, words):
    """Where these words stand, once, in a program."""
    with open(f"{SEEDS}/{source}") as f:
        [line] = [number for number, text in enumerate(f, 1) if words in text]
    return line


def expected(source, tree):
    """The tree with "{words}" for the line of the program with these words in it; without addr2line no lines are known."""
    if not shutil.which("addr2line"):
        return re.sub(r" \S+\.c:(\{.*?\}|N)$", "", tree, flags=re.M)
    return re.sub(r"\{(.*?)\}$", lambda m: str(line_of(source, m.group(1))), tree, flags=re.M)


def drawn(build, pid):
    if sanitized(f"{build}/coil"):
        raise Skip("a sanitizer keeps some frames elsewhere, and a program of its making seldom stands where it should")
    done = subprocess.run([f"{build}/coil", "pstree", str(pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=at_most(120))
    if "ask as root" in done.stderr:
        raise Skip("reading another process is not allowed here")
    if "there is no coil in it" in done.stderr:
        return ""  # its libraries are still being loaded
    assert done.returncode == 0, done.stderr
    head, _, tree = done.stdout.partition("\n")
    assert re.match(r"loop 0x|it has no event loop", head), head
    tree = re.sub(r" /\S*/src/\S*?(\w+\.[ch]):\d+$", r" \1:N", tree, flags=re.M)
    return re.sub(r" /\S*/examples/seeds/(\w+\.c:\d+)$", r" \1", tree, flags=re.M)


def stopped(process):
    """Stop it; False: it has ended."""
    os.kill(process.pid, signal.SIGSTOP)
    how = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return how.si_code == os.CLD_STOPPED


def look_until(process, build, tree, read_as):
    """The trees that it showed, as read_as has them, until this one came, or it ended."""
    seen = []
    while stopped(process):
        now = read_as(drawn(build, process.pid))
        if not seen or seen[-1] != now:
            seen.append(now)
        if now == tree:
            break
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.001)  # it needs a moment to go on; how long does not matter
    return seen


def drawn_as(build, backend, name, tree, read_as=lambda tree: tree):
    if not os.path.exists(f"{build}/{name}"):
        raise Skip("examples are not built here")
    tree = expected(f"{name}.c", tree)
    with tempfile.TemporaryDirectory() as counts:
        # A program that counts its branches (`./dev coverage`) locks files of its counts as it ends. Stopped just then, it
        # would hold up everybody else who ends, `coil pstree` first; so its counts are its own.
        env = {**os.environ, "COIL_BACKEND": backend, "GCOV_PREFIX": counts}
        for _ in range(20):
            process = subprocess.Popen([f"{build}/{name}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
            try:
                seen = look_until(process, build, tree, read_as)
            finally:
                process.kill()
                process.wait()
            if seen and seen[-1] == tree:
                return
    raise AssertionError("it never stood so:\n" + tree + "but so:\n" + "\n".join(seen))


def test_a_coroutine_that_awaits_another(build, backend):
    drawn_as(build, backend, "e03_fetch_data", """\
└── (T) Task-1
    └──  async_main e03_fetch_data.c:{coil_await(coro)}
        └──  coil_await_coro coroutine.c:N
            └──  fetch_data e03_fetch_data.c:{coil_sleep(1)}
                └──  coil_sleep sleep.c:N
""")


def test_a_task_beside_the_main_one(build, backend):
    drawn_as(build, backend, "e05_blocking", """\
└── (T) Task-1
    └──  async_main e05_blocking.c:{beside_a_heart("bad_practice"}
        └──  beside_a_heart e05_blocking.c:{coil_ret rc = coil_sleep(0.25)}
            └──  coil_sleep sleep.c:N
└── (T) Task-2
    └──  heartbeat e05_blocking.c:{coil_sleep(0.1)}
        └──  coil_sleep sleep.c:N
""")


def in_the_loop(tree):
    """Its head is as good a place as what it does."""
    head, body = (line_of("e05_blocking.c", words) for words in ("i % 1000 || now() < end", "square = i * i"))
    return tree.replace(f"e05_blocking.c:{head}", f"e05_blocking.c:{body}")


def test_a_task_that_blocks(build, backend):
    drawn_as(build, backend, "e05_blocking", """\
└── (T) Task-1
    └──  async_main e05_blocking.c:{beside_a_heart("bad_practice"}
        └──  beside_a_heart e05_blocking.c:{rc = practice(NULL)}
            └──  bad_practice e05_blocking.c:{no other coroutine runs until it returns}
                └──  compute_squares e05_blocking.c:{square = i * i}
└── (T) Task-2
    └──  heartbeat e05_blocking.c:{coil_sleep(0.1)}
        └──  coil_sleep sleep.c:N
""", in_the_loop)


def test_as_completed_awaits_no_task(build, backend):
    # asyncio's neither: what it awaits is a queue of those that are done.
    greetings = "".join(f"""\
└── (T) Task-{number}
    └──  lazy_greet e09_as_completed.c:{{coil_sleep(greeting->delay)}}
        └──  coil_sleep sleep.c:N
""" for number in range(2, 7))
    drawn_as(build, backend, "e09_as_completed", """\
└── (T) Task-1
    └──  async_main e09_as_completed.c:{coil_as_completed_next(}
        └──  coil_as_completed_next as_completed.c:N
""" + greetings)


def test_gather_awaits_its_children(build, backend):
    drawn_as(build, backend, "e14_gather", """\
└── (T) Task-1
    └──  async_main e14_gather.c:{return coil_gather(}
        └──  coil_gather gather.c:N
            ├── (T) Task-2
            │   └──  sleep_for e14_gather.c:{coil_sleep(sec)}
            │       └──  coil_sleep sleep.c:N
            └── (T) Task-3
                └──  sleep_for e14_gather.c:{coil_sleep(sec)}
                    └──  coil_sleep sleep.c:N
""")


main("pstree", globals())
