"""What examples/superv.c promises, from the outside: superv_test.py BUILD [WORD]. Prints TAP."""
import contextlib
import os
import re
import subprocess
import tempfile

from programs import Program, main, until


class Supervisor(Program):
    """Runs until its input is closed."""

    def __init__(self, build, backend, config, **more):
        with tempfile.NamedTemporaryFile("w", delete=False) as f:
            f.write(config)
        self.config = f.name
        super().__init__(build, backend, "superv", f.name, listens=False, stdin=subprocess.PIPE, **more)

    def says(self, pattern):
        return self.wait_for(self.output, "(?m)^" + pattern + "$", seconds=60)

    def close_input(self):
        self.process.stdin.close()

    def __exit__(self, *what):
        super().__exit__(*what)
        if not self.process.stdin.closed:
            self.process.stdin.close()
        os.unlink(self.config)


@contextlib.contextmanager
def supervised(build, backend, config, **more):
    with Supervisor(build, backend, config, **more) as superv:
        yield superv
        assert superv.errors() == "", superv.errors()


def children(pid):
    """{pid: state} of those that this process has to wait for."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as f:
            state, parent = f.read().rpartition(")")[2].split()[:2]
            if int(parent) == pid:
                found[int(entry)] = state
    return found


def is_gone(pid):
    """Dead, whoever is to bury it."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_pipeline_is_logged_whole_and_ends(build, backend):
    with supervised(build, backend, "p once: yes | head -n 1000 | cat\n"
                                    "e once: sh -c \"echo to stderr >&2; echo to stdout; exit 3\"\n") as superv:
        superv.says("superv: p ended: -13 0 0")
        superv.says("superv: e ended: 3")
        assert superv.end() == 0
        lines = superv.output().splitlines()
        assert lines.count("p| y") == 1000, lines.count("p| y")
        assert {"e| to stderr", "e| to stdout"} <= set(lines)
        assert lines[-1] == "superv: 2 services were started 2 times, and have ended"


def test_what_ends_is_started_again_ever_more_slowly(build, backend):
    with supervised(build, backend, "a: sh -c \"echo here; exit 1\"\nf on-failure: true\nn: no-such-program\n") as superv:
        superv.says("superv: a starts again in 0.4 s")
        superv.says("superv: n starts again in 0.2 s")
        superv.says("superv: n does not run: run 'no-such-program': No such file or directory")
        superv.close_input()
        assert superv.end() == 0
        out = superv.output()
        assert out.count("a| here") >= 3
        assert re.findall("a starts again in (.*) s", out)[:3] == ["0.1", "0.2", "0.4"]
        assert out.count("f runs") == 1 and "superv: f ended: 0\n" in out


def test_its_end_is_everybodys(build, backend):
    for how in ("input", "signal"):
        with supervised(build, backend, "polite: sh -c \"trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done\"\n"
                                        "cat: sh -c \"exec cat\" | cat\n"
                                        "sleep: sleep 1000\n"
                                        "deaf stop=0.2: sh -c \"trap '' TERM; echo up; exec sleep 1000\"\n") as superv:
            superv.says("deaf. up")
            superv.says("polite. up")
            pids = [int(pid) for row in re.findall("runs:(.*)", superv.output()) for pid in row.split()]
            superv.close_input() if how == "input" else superv.signal()
            assert superv.end() == 0
            out = superv.output()
            assert "superv: deaf does not stop, and is killed\n" in out and "superv: deaf ended: -9\n" in out, out
            assert "superv: sleep ended: -15\n" in out
            assert all(is_gone(pid) for pid in pids)


def test_two_hundred_children_and_no_zombie(build, backend):
    config = "".join(f"s{i} stop=20: sh -c \"echo up; exec sleep 1000\"\n" for i in range(200))
    config += "".join(f"t{i}: sh -c \"echo again\"\n" for i in range(10))
    with supervised(build, backend, config, limit_fds=1000) as superv:
        until("200 children", lambda: superv.output().count("| up\n") == 200, 120)
        until("restarts", lambda: superv.output().count("| again\n") >= 30, 120)
        # One that has just ended may be seen before it is reaped; not one and the same again and again.
        until("no zombie", lambda: "Z" not in children(superv.process.pid).values())
        assert len(children(superv.process.pid)) >= 200
        assert len(os.listdir(f"/proc/{superv.process.pid}/task")) < 10  # no thread for each
        pids = list(children(superv.process.pid))
        superv.close_input()
        assert superv.end(60) == 0
        until("all gone", lambda: all(is_gone(pid) for pid in pids))
        assert superv.output().count("ended: -15") >= 200


def test_a_dropped_supervisor_is_no_trouble_to_others(build, backend):
    """Killed outright, its children's pipes end; those that write find out."""
    with Supervisor(build, backend, "w: sh -c \"while echo y; do sleep 0.01; done\"\n") as superv:
        pid = int(superv.says(r"superv: w runs: (\d+)").group(1))
        superv.process.kill()
        superv.process.wait()
        until("it finds its pipe closed", lambda: is_gone(pid))


main("superv", globals())
