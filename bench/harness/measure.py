"""How a figure comes about: programs in turns, CPU time from outside, system calls counted in a run of their own."""
import contextlib
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TIMEOUT = 180  # seconds, for anything that is run once
ROUNDS_LEAST = 3  # fewer have no middle


class Trouble(Exception):
    """A participant could not be measured; says why."""


def raise_fd_limit():
    """As many descriptors as we may have: 15,000 connections want them. Returns how many that is."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def pinned(which, command):
    """The command on these of our cores ("0" is the first, "1" the second, "0,1" are both), if there are two."""
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) < 2 or not shutil.which("taskset"):
        return list(command)
    return ["taskset", "-c", ",".join(str(ours[int(w)]) for w in which.split(",")), *command]


def processors():
    """How many we may use."""
    return len(os.sched_getaffinity(0))


def line_of(stream):
    """The next line; nothing when there is none, or not soon."""
    return stream.readline() if select.select([stream], [], [], TIMEOUT)[0] else ""


class Progress:
    """One line that says where we are: rewritten on a terminal, else a line for each row."""

    def __init__(self, total):
        self.total, self.number, self.word = total, 0, ""
        self.tty = sys.stderr.isatty()

    def row(self, word):
        self.number += 1
        self.word = word
        self.step("")

    def step(self, what):
        text = f"[{self.number}/{self.total}] {self.word}{': ' if what else ''}{what}"
        if self.tty:
            print("\r\033[K" + text, end="", file=sys.stderr, flush=True)
        elif not what:
            print(text, file=sys.stderr, flush=True)

    def clear(self):
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def in_turns(who, measure, rounds, progress, warm_up=False, patience=math.inf):
    """{label: figures} of measure(label), round after round in changing order, and {label: why} of who failed. What has lasted
    longer than `patience`, in seconds, ends after ROUNDS_LEAST rounds: a slow machine takes less of them, not more time."""
    seen = {w: [] for w in who}
    failed = {}
    begun = time.monotonic()
    for r in range(rounds + warm_up):
        if r - warm_up >= ROUNDS_LEAST and time.monotonic() - begun > patience:
            break
        for w in random.sample(list(seen), len(seen)):
            progress.step(f"round {r + 1} of {rounds + warm_up}: {w}")
            try:
                seen[w].append(measure(w))
            except Trouble as e:
                failed[w] = str(e)
                del seen[w]
    return {w: v[warm_up:] for w, v in seen.items()}, failed


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def run(command, env=None):
    """What it printed; Trouble when it failed."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Trouble(f"not done after {TIMEOUT} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Trouble(said[0] if said else f"ended with status {done.returncode}")
    return done.stdout


def run_json(command, env=None):
    return json.loads(run(command, env))


# ---- servers ----


def on_cpu_ns(pid):
    """What the threads of a process have had of a CPU, kernel threads of io_uring included."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def most_memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)) * 1024


@contextlib.contextmanager
def running(servers, cores="0"):
    """Starts {label: (command, environment)}; gives {label: (process, its first line)} and {label: why} of who failed."""
    processes, failed = {}, {}
    try:
        for label, (command, env) in servers.items():
            p = subprocess.Popen(pinned(cores, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
            processes[label] = (p, line_of(p.stdout).strip())
            if not processes[label][1]:
                p.kill()
                failed[label] = (p.communicate()[1].strip().splitlines() or ["it ended at once"])[-1]
                del processes[label]
        yield processes, failed
    finally:
        for p, _ in processes.values():
            p.kill()
            p.communicate()


class Load:
    """echo_load beside a server: connected once, then so many requests each time it is asked."""

    def __init__(self, program, target, connections, requests, size, cores="1"):
        self.p = subprocess.Popen(pinned(cores, [program, target, str(connections), str(requests), str(size)]),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if line_of(self.p.stdout) != "ready\n":
            self.end()
            raise Trouble(f"{connections} connections could not be made")

    def go(self):
        """How long it took, in seconds, and the generator's own CPU time."""
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.write("go\n")
            self.p.stdin.flush()
        line = line_of(self.p.stdout)
        if not line:
            raise Trouble("what was sent did not come back")
        wall, cpu = line.split()
        return float(wall), float(cpu)

    def end(self):
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.close()
        self.p.kill()
        self.p.wait()
        self.p.stdout.close()


# ---- system calls ----
# strace slows a program down, so that more is ready at a time when it looks: what goes by batches needs fewer calls than
# it does alone. Two runs of different length are taken from each other, which leaves out beginning and end.


def can_count():
    return shutil.which("strace") is not None


def total_calls(path):
    with open(path) as f:
        for line in f:
            words = line.split()
            if words and words[-1] == "total":
                return int(words[0])
    raise Trouble("strace counted nothing")


def strace(path):
    return ["strace", "-f", "-qq", "-c", "-U", "calls,name", "-o", path]


def calls_of_program(command, env, n):
    """System calls for an operation of a program that is told by its argument {n} how many to do."""
    with tempfile.TemporaryDirectory() as folder:
        path, counts = os.path.join(folder, "calls"), []
        for times in (n, 2 * n):
            run(strace(path) + [str(times) if w == "{n}" else w for w in command], env)
            counts.append(total_calls(path))
    return max(0.0, (counts[1] - counts[0]) / n)


def calls_of_server(command, env, load, n):
    """The same for a server; load(target, requests) makes requests."""
    with tempfile.TemporaryDirectory() as folder:
        path, counts = os.path.join(folder, "calls"), []
        for times in (n, 3 * n):
            p = subprocess.Popen(pinned("0", strace(path) + command), stdout=subprocess.PIPE, text=True, env=env)
            try:
                load(line_of(p.stdout).strip(), times)
            finally:
                # strace itself takes no signal while what it watches lives.
                with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
                    for child in f.read().split():
                        os.kill(int(child), signal.SIGKILL)
                p.communicate(timeout=30)
            counts.append(total_calls(path))
    return max(0.0, (counts[1] - counts[0]) / (2 * n))


def wait_for(condition, seconds=2):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Trouble("nothing came of it")
        time.sleep(0.01)
