"""Every block of docs/guide/when-it-hangs.md is played, and must say what stands there: hangs_test.py BUILD [WORD]. Prints TAP.

Numbers, addresses and folders are not compared, nor calls inside the library, which depend on how it was optimised."""
import os
import platform
import re
import signal
import subprocess
import tempfile

from programs import TOP, Skip, main, read_output, until

GUIDE = f"{TOP}/docs/guide/when-it-hangs.md"


def blocks():
    """{program: [(command, what it says)]}"""
    found = {}
    with open(GUIDE) as f:
        text = f.read()
    for command, said in re.findall(r"^```console\n\$ (coil [^\n]*)\n(.*?)^```$", text, re.M | re.S):
        found.setdefault(re.search(r"pidof (\w+)", command).group(1), []).append((command, said))
    return found


def said_in_debug_mode():
    """{program: what it says by itself}"""
    with open(GUIDE) as f:
        return dict(re.findall(r"^```console\n\$ COIL_DEBUG=1 \./(\w+)\n(.*?)^```$", f.read(), re.M | re.S))


def plain(text, program):
    lines = []
    for line in text.splitlines():
        line = re.sub(r'File "[^"]*/(\w+)"', r'File "\1"', line)
        line = re.sub(r"[^\s()]*/(\w+\.[ch])", r"\1", line.rstrip())
        line = re.sub(r"0x[0-9a-f]+", "X", line)
        line = re.sub(r"#\d+ +", "# ", line)
        line = re.sub(r"\d+(\.\d+)?", "N", line)
        line = re.sub(r"\b(uring|epoll|poll)(?=[:,])", "B", line)
        line = re.sub(r"-{3,}", "---", re.sub(r" +", " ", line))
        if not (line.startswith(" # ") and f"{program}.c" not in line):
            lines.append(line.rstrip())
    return lines


def played(build, backend, program):
    path = os.path.join(build, "examples", "hangs", program)
    if not os.path.exists(path):
        raise Skip("examples are not built here")
    process = subprocess.Popen([path], env={**os.environ, "COIL_BACKEND": backend}, stdout=subprocess.DEVNULL)
    try:
        for command, said in blocks()[program]:
            line = re.sub(r"\$\(pidof \w+\)", str(process.pid), command)
            line = re.sub(r"^coil", f"{os.path.abspath(build)}/coil", line)
            got = []

            def as_it_stands():
                done = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                if "ask as root" in done.stderr:
                    raise Skip("reading another process is not allowed here")
                got[:] = plain(done.stdout, program)
                return got == plain(said, program)

            try:
                until("it hangs as it should", as_it_stands, seconds=30)
            except AssertionError:
                raise AssertionError(f"{command}: {got} is not {plain(said, program)}") from None
    finally:
        process.kill()
        process.wait()


def catches(pid, signo):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"SigCgt:\s+(\w+)", f.read()).group(1), 16) >> (signo - 1) & 1


def test_sigquit_draws_what_the_guide_shows(build, backend):
    path = os.path.join(build, "examples", "hangs", "deadlock")
    if not os.path.exists(path):
        raise Skip("examples are not built here")
    with open(GUIDE) as f:
        guide = re.search(r"^\$ COIL_QUIT_TREE=1 \./deadlock [^\n]*\n(.*?)^```$", f.read(), re.M | re.S).group(1)

    with tempfile.TemporaryFile() as err:
        # Who starts us may have SIGQUIT ignored, and then it stays so.
        process = subprocess.Popen([path], env={**os.environ, "COIL_BACKEND": backend, "COIL_QUIT_TREE": "1"},
                                   stdout=subprocess.DEVNULL, stderr=err,
                                   preexec_fn=lambda: signal.signal(signal.SIGQUIT, signal.SIG_DFL))
        try:
            until("it catches SIGQUIT", lambda: catches(process.pid, signal.SIGQUIT))

            def as_it_stands():
                process.send_signal(signal.SIGQUIT)
                said = read_output(err)
                return plain(said[said.rfind("loop 0x"):], "deadlock") == plain(guide, "deadlock")

            try:
                until("it is drawn as it should", as_it_stands, seconds=30)
            except AssertionError:
                raise AssertionError(f"{read_output(err)} has no {guide}") from None
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()


def test_deadlock(build, backend):
    played(build, backend, "deadlock")


def test_blocked_loop(build, backend):
    played(build, backend, "blocked")


def test_leak_of_tasks(build, backend):
    played(build, backend, "leak")


def test_lost_cancel(build, backend):
    played(build, backend, "lost_cancel")


def test_slow_consumer(build, backend):
    played(build, backend, "slow_consumer")


def test_blocked_loop_says_so_in_debug_mode(build, backend):
    path = os.path.join(build, "examples", "hangs", "blocked")
    if not os.path.exists(path) or platform.machine() != "x86_64":
        raise Skip("examples are not built here, or stacks not walked")
    said = plain(said_in_debug_mode()["blocked"], "blocked")
    process = subprocess.Popen([path], env={**os.environ, "COIL_BACKEND": backend, "COIL_DEBUG": "1"},
                               stderr=subprocess.PIPE, text=True)
    try:
        assert plain("".join(process.stderr.readline() for _ in said), "blocked") == said
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_every_program_is_explained_by_one_command(build, backend):
    assert {program: len(all_of) for program, all_of in blocks().items()} == {
        "deadlock": 1, "blocked": 1, "leak": 1, "lost_cancel": 1, "slow_consumer": 1}


test_every_program_is_explained_by_one_command.on_one = True

main("hangs", globals())
