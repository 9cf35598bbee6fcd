"""What the tests of examples/ share: programs started and stopped, peers unpacked, tests run on each backend.

A test is a function test_<fact>(build, backend) of its script; main() runs them and prints TAP. Nothing here
names a port, needs the outside world (but for apt, by tools/peers.sh), or leaves a process behind.
"""
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{TOP}/tools")
from runtests import PATIENCE, uring_refused  # noqa: E402


def at_most(seconds):
    """A limit of time that says "it hangs": TEST_PATIENCE times as long, for builds that are slow and machines that are busy."""
    return seconds * PATIENCE


BACKENDS = ("epoll", "poll") if uring_refused() else ("epoll", "poll", "uring")


class Skip(Exception):
    """This machine lacks something; its text says what."""


def read_output(file):
    """What a program wrote into this file so far. The place to write is the program's and ours together: it stays."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


class Program:
    """One of examples/, listening; its first line of output names its port (unless `listens` is false)."""

    def __init__(self, build, backend, name, *arguments, limit_fds=None, env=None, manager=None,
                 listens=True, stdin=None):
        self.told = False  # to end
        self.path = os.path.join(build, "examples", name)
        if not os.path.exists(self.path):
            raise Skip(f"examples/{name} is not built here")
        with open(self.path, "rb") as f:
            code = f.read()
        # A sanitizer keeps what was freed and notes of its own, so memory says nothing; and it is slow.
        self.sanitized = b"__asan_init" in code or b"__tsan_init" in code
        self.may_hold_back = b"__tsan_init" in code  # signals: TSan runs handlers when the thread next calls libc
        command = [self.path, *map(str, arguments)]
        if limit_fds:
            command = ["sh", "-c", f'ulimit -n {limit_fds} && exec "$@"', "sh", *command]
        options = {}
        if manager:  # as manager.py has it
            command = manager.command(command)
            env = {**(env or {}), **manager.environment()}
            options = manager.popen_options()
        # In files, so that nobody has to read while the program runs.
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdin=stdin, stdout=self.out, stderr=self.err,
                                        env={**os.environ, "COIL_BACKEND": backend, **(env or {})}, **options)
        self.port = int(self.wait_for(self.output, r":(\d+)[ )]").group(1)) if listens else None

    def _read(self, file):
        return read_output(file)

    def output(self):
        return self._read(self.out)

    def errors(self):
        return self._read(self.err)

    def wait_for(self, read, pattern, seconds=20):
        """Until what it printed has the pattern in it."""
        end = time.monotonic() + at_most(seconds)
        while True:
            found = re.search(pattern, read())
            if found:
                return found
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no {pattern!r} in {read()!r}, {self.errors()!r}")
            time.sleep(0.01)

    def connect(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout=at_most(timeout))

    def _status(self, name):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(name + r":\s+(\d+)", f.read()).group(1))

    def rss_kb(self):
        return self._status("VmRSS")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, signo=signal.SIGTERM):
        self.told = self.told or signo == signal.SIGTERM
        self.process.send_signal(signo)

    def end(self, seconds=30):
        """Its exit status, once it has ended by itself."""
        if self.may_hold_back and self.told:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(at_most(20))
            self.signal()
        try:
            return self.process.wait(at_most(120 if self.sanitized else seconds))
        except subprocess.TimeoutExpired:
            raise AssertionError("it does not end") from None

    def stop(self, status=0):
        if not self.told:  # a second one may come when its loop is closed, and kills
            self.signal()
        got = self.end()
        assert got == status, f"it ended with {got}: {self.errors()}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.out.close()
        self.err.close()


def peers(build, *packages):
    """The folder that these Debian packages are unpacked in."""
    done = subprocess.run(["sh", f"{TOP}/tools/peers.sh", os.path.join(os.path.dirname(build), "peers"), *packages],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode == 77:
        raise Skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def peer_env(root):
    """Where a program that was only unpacked finds its libraries."""
    folders = [f"{root}/{lib}/{entry}" for lib in ("lib", "usr/lib") if os.path.isdir(f"{root}/{lib}")
               for entry in os.listdir(f"{root}/{lib}") if entry.endswith("-linux-gnu")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders), "LC_ALL": "C"}


def read_all(s):
    parts = []
    while part := s.recv(65536):
        parts.append(part)
    return b"".join(parts)


def reset(s):
    """Close it so that the peer meets a reset."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def free_port():
    """For programs that cannot be told to take any."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tool(name):
    path = shutil.which(name)
    if not path:
        raise Skip(f"there is no {name} here")
    return path


def sanitized(path, by="at"):
    """Is it built with AddressSanitizer (a) or ThreadSanitizer (t)?"""
    with open(path, "rb") as f:
        return re.search(f"__[{by}]san_init".encode(), f.read()) is not None


def until(what, condition, seconds=20):
    end = time.monotonic() + at_most(seconds)
    while not condition():
        assert time.monotonic() < end, f"waited {at_most(seconds):g} s for: {what}"
        time.sleep(0.01)


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


@contextlib.contextmanager
def running(command, port, **more):
    """A server on a port that answers; stopped at the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)
    try:
        def ready():
            assert process.poll() is None, process.stderr.read().decode()
            return not refused(port)
        until(f"{command[0]} answers", ready)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(at_most(10))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()


@contextlib.contextmanager
def postgres(build, port):
    root = peers(build, "postgresql-15", "postgresql-client-15")
    with tempfile.TemporaryDirectory() as folder:
        as_other = []
        if os.getuid() == 0:  # it refuses to run as root
            as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            os.chown(folder, 65534, 65534)
            if subprocess.run([*as_other, "test", "-r", f"{root}/usr/lib/postgresql/15/bin/initdb"]).returncode:
                shutil.copytree(f"{root}/usr", f"{folder}/usr", symlinks=True)
                root = folder
        bin = f"{root}/usr/lib/postgresql/15/bin"
        env = {**peer_env(root), "HOME": folder}
        made = subprocess.run([*as_other, f"{bin}/initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "test",
                               "--no-locale", "-E", "UTF8", "--no-sync", "-L", f"{root}/usr/share/postgresql/15"],
                              env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert made.returncode == 0, made.stdout
        with running([*as_other, f"{bin}/postgres", "-D", f"{folder}/data", "-p", str(port), "-k", folder, "-F",
                      "-c", "listen_addresses=127.0.0.1"], port, env=env, cwd=folder) as server:
            until("PostgreSQL takes connections", lambda: subprocess.run(
                [f"{bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], env=env).returncode == 0,
                  seconds=60)
            yield bin, env, server


def main(subject, tests, backends=BACKENDS):
    """Run test_* of `tests` on each backend; sys.argv[1] is the build folder, sys.argv[2] a word to choose by.

    One with an attribute `on_one` runs on the first of them: what it tries knows no backend."""
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    chosen = [(name[5:], fn) for name, fn in tests.items() if name.startswith("test_") and word in name]
    print(f"1..{sum(1 if hasattr(fn, 'on_one') else len(backends) for _, fn in chosen)}")
    number = failed = 0
    for name, fn in chosen:
        for backend in backends[:1] if hasattr(fn, "on_one") else backends:
            number += 1
            why = skip = ""
            began = time.monotonic()
            try:
                fn(sys.argv[1], backend)
            except Skip as e:
                skip = f" # SKIP {e}"
            except Exception as e:  # noqa: BLE001: whatever it is, it is the test's failure
                why = f"{type(e).__name__}: {e}, line {e.__traceback__.tb_next.tb_lineno}"
            failed += bool(why)
            print(f"{'not ok' if why else 'ok'} {number} - {subject}_{name}_{backend}{skip}")
            print(f"# {why or f'{time.monotonic() - began:.2f} s'}", flush=True)
    sys.exit(1 if failed else 0)
