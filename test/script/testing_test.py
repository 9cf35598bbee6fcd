"""The program of docs/guide/testing.md says what stands there in each console: testing_test.py BUILD. Prints TAP."""
import os
import re
import subprocess
import tempfile

from programs import TOP, Skip, main

GUIDE = f"{TOP}/docs/guide/testing.md"
FOLDER = tempfile.TemporaryDirectory()

with open(GUIDE) as guide:
    TEXT = guide.read()
PROGRAM, = re.findall(r"^```c\n(.*?)^```", TEXT, re.M | re.S)
CONSOLES = re.findall(r"^```console\n(?:\$ export (\w+=\w+)\n)?\$ ([^\n]*)\n(.*?)^```", TEXT, re.M | re.S)
EXPORTED = dict(setting.split("=") for setting, _, _ in CONSOLES if setting)


def built(build):
    """The program, compiled once."""
    program = os.path.join(FOLDER.name, "doors")
    if os.path.exists(program):
        return program
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "cmocka"], capture_output=True, text=True)
    if flags.returncode != 0:
        raise Skip("pkg-config does not know cmocka")
    with open(f"{program}.c", "w") as f:
        f.write(PROGRAM)
    done = subprocess.run([os.environ.get("CC", "cc"), "-D_GNU_SOURCE", "-Wall", "-Werror", "-g", f"-I{TOP}/include", "doors.c",
                           os.path.abspath(os.path.join(build, "libcoil.a")), *flags.stdout.split(), "-pthread", "-lm", "-ldl", "-rdynamic",
                           "-o", program], cwd=FOLDER.name, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def says(build, backend, command):
    done = subprocess.run(command, shell=True, cwd=os.path.dirname(built(build)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120, env={**os.environ, "COIL_BACKEND": backend, **EXPORTED})
    return done.stdout


def console(command, text):
    def test(build, backend):
        said = says(build, backend, command)
        # Where it fails cmocka adds the line of its own macro, and the program's name.
        assert said.startswith(text), f"it says {said!r}"
        rest = said[len(text):]
        assert re.fullmatch(r"(# doors\.c:\d+: error: Failure!\n# not ok - \./doors\n)?", rest), f"and then {rest!r}"

    return test


def test_there_are_consoles(build, backend):
    assert len(CONSOLES) == TEXT.count("```console\n") > 2


test_there_are_consoles.on_one = True

for _, line, expected in CONSOLES:
    globals()[f"test_{re.sub(r'[^A-Za-z]+', '_', line).strip('_').lower()}"] = console(line, expected)

if __name__ == "__main__":
    main("testing", dict(globals()))
