"""Every pair of docs/guide/from-asyncio.md, in Python and in C, says what stands there: from_asyncio_test.py BUILD. Prints TAP."""
import os
import re
import subprocess
import sys
import tempfile

from programs import TOP, main

GUIDE = f"{TOP}/docs/guide/from-asyncio.md"
PYTHON = "import asyncio\n\n{}\nasyncio.run(program())\n"
C = "#include <coil.h>\n#include <stdio.h>\n\n{}\nint main(void) {{ return coil_report(coil_run(program, NULL)); }}\n"
PAIR = re.compile(r"^## ([^\n:,]*)[^#]*?^```python\n(.*?)^```\n\n```c\n(.*?)^```\n\n```text\n(.*?)^```", re.M | re.S)

with open(GUIDE) as guide:
    TEXT = guide.read()
PAIRS = PAIR.findall(TEXT)
CACHE = tempfile.TemporaryDirectory()  # what `coil run` compiled, for the next backend


def says(command, name, program, **env):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write(program)
        done = subprocess.run([*command, path], capture_output=True, text=True, timeout=120, env={**os.environ, **env})
    assert done.returncode == 0 and not done.stderr, f"status {done.returncode}: {done.stderr}"
    return done.stdout


def test_every_example_is_a_pair(build, backend):
    for fence in ("```python", "```c", "```text"):
        assert TEXT.count(f"{fence}\n") == len(PAIRS) > 0, f"{TEXT.count(fence)} of {fence}, {len(PAIRS)} pairs"


test_every_example_is_a_pair.on_one = True


def python_of(python, text):
    def test(build, backend):
        said = says([sys.executable], "program.py", PYTHON.format(python))
        assert said == text, f"Python says {said!r}"

    test.on_one = True
    return test


def c_of(c, text):
    def test(build, backend):
        said = says([os.path.join(build, "coil"), "run"], "program.c", C.format(c), COIL_BACKEND=backend,
                    COIL_INCLUDEDIR=f"{TOP}/include", COIL_LIBDIR=build, XDG_CACHE_HOME=CACHE.name)
        assert said == text, f"C says {said!r}"

    return test


for title, python, c, text in PAIRS:
    word = re.sub(r"\W+", "_", title.strip().lower())
    globals()[f"test_{word}_in_python"] = python_of(python, text)
    globals()[f"test_{word}_in_c"] = c_of(c, text)

if __name__ == "__main__":
    main("from_asyncio", dict(globals()))
