#!/usr/bin/env python3
"""The tests again and again, each time with one thing going wrong; coil/testing.h says what COIL_FAULT means.

    tools/fault.py BUILD [WORD]... [--kinds alloc,cancel,...] [--backends sim,epoll,...] [--most N] [--jobs N] [--shard I/N]

WORDs choose test programs by a part of their names. --most limits the points of each test to N, evenly spread. --shard 2/5 does
the second fifth of the work. --fresh tries each place and each pair of a call and an error once in a program. On a terminal a
line that moves; then what was found, how much was tried, and what there is in the library that no test came by
(tools/fault_seen.py). Exit status 1 if anything was found.
"""
import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from fault_seen import Seen
from runtests import PATIENCE

KINDS = ["alloc", "alloc_all", "errno", "short", "cancel", "timeout"]
# The imaginary kernel makes no calls that could be failed here; its own faults are `./dev sim`'s.
ON_BACKENDS = {"errno": "epoll,uring,poll", "short": "epoll,uring,poll"}
LINE = re.compile(r"^# fault (\w+): (\S+): (\d+) points, (\d+) cases, (\d+) met an assertion, (\d+) waited for ever, (\d+) found")
UNCLEAN = re.compile(r"^# fault \w+: (\S+): it does not pass by itself")
FOUND = re.compile(r"^ERROR: ((?:alloc|alloc_all|errno|short|cancel|timeout):\d.*)$", re.MULTILINE)


class Sweep:
    def __init__(self, test, kind, backend):
        self.test, self.kind, self.backend = test, kind, backend
        self.points = self.cases = self.asserted = self.stuck = 0
        self.found, self.unclean, self.late, self.seconds = [], [], False, 0.0

    def name(self):
        return f"{self.kind} {self.test['name']} [{self.backend}]"

    def run(self, most, fresh, limit, seen, swept=None):
        """`swept`: a file of what others have failed already."""
        env = dict(os.environ, **self.test["env"], COIL_FAULT=self.kind, COIL_BACKEND=self.backend, COIL_FAULT_SEEN=seen)
        if most:
            env["COIL_FAULT_MAX"] = str(most)
        if fresh:
            env["COIL_FAULT_FRESH"] = "1"
        if swept:
            env["COIL_FAULT_SWEPT"] = swept
        began = time.monotonic()
        process = subprocess.Popen(self.test["cmd"], env=env, cwd=self.test["workdir"] or None, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            self.late = True
        self.seconds = time.monotonic() - began
        output = output.decode(errors="replace")
        last = ""
        for line in output.splitlines():
            match = LINE.match(line)
            if match:
                last = match[2]
                self.points += int(match[3])
                self.cases += int(match[4])
                self.asserted += int(match[5])
                self.stuck += int(match[6])
            match = UNCLEAN.match(line)
            if match:
                self.unclean.append(match[1])
            match = FOUND.match(line)
            if match:
                self.found.append(f"{last}: {match[1]}")
        # What says nothing must not pass for something that found nothing.
        if self.late:
            self.found.append("it was not finished in time")
        elif process.returncode < 0:
            self.found.append(f"the sweep itself was killed by signal {-process.returncode}")
        elif process.returncode and not self.found:
            self.found.append(f"it ended with status {process.returncode} and said nothing: {output[-200:].strip()!r}")
        if self.unclean and self.test["name"].startswith("fault/"):
            self.found.append(f"not swept, since they do not pass by themselves: {', '.join(self.unclean)}")


def shard_of(text):
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text}: as in 2/5, the second of five parts")
    return int(part), int(parts)


def take_signals_back():
    """Who starts us may have these ignored (nohup, a shell's background); a test's programs are to have them as they are."""
    for signo in signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE:
        if signal.getsignal(signo) == signal.SIG_IGN:
            signal.signal(signo, signal.SIG_DFL)


def tests_of(build, words):
    listing = subprocess.run(["meson", "introspect", "--tests", build], check=True, stdout=subprocess.PIPE).stdout
    tests = [t for t in json.loads(listing) if t["name"].split("/")[0] in ("unit", "story", "regress", "fault")]
    # The tests of this harness fail on purpose, and count for themselves.
    tests = [t for t in tests if not t["name"].startswith("unit/testing/")]
    return sorted((t for t in tests if not words or any(word in t["name"] for word in words)), key=lambda t: t["name"])


def plan(tests, kinds, backends):
    sweeps = []
    for kind in kinds:
        possible = [b for b in backends if kind not in ON_BACKENDS or b in ON_BACKENDS[kind].split(",")]
        for backend in possible:
            # What knows no backend has no points of its own but on one.
            sweeps += [Sweep(test, kind, backend) for test in tests
                       if backend == possible[0] or not test["suite"][0].endswith("once")]
    return sweeps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--backends", default="sim,epoll,uring")
    parser.add_argument("--most", type=int, default=0)
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one program; TEST_PATIENCE in the environment multiplies it")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--fresh", action="store_true", help="only what was not failed yet by the program")
    parser.add_argument("--shard", type=shard_of, default=(1, 1), metavar="I/N")
    args = parser.parse_intermixed_args()
    take_signals_back()
    sweeps = plan(tests_of(args.build, args.words), args.kinds.split(","), args.backends.split(","))
    sweeps = sweeps[args.shard[0] - 1::args.shard[1]]
    seen, folder = Seen(args.build, os.path.join(os.path.dirname(__file__), "../src")), tempfile.TemporaryDirectory()
    lock, done, moving = threading.Lock(), 0, sys.stdout.isatty()

    def one(sweep):
        nonlocal done
        told = os.path.join(folder.name, str(sweeps.index(sweep)))
        sweep.run(args.most, args.fresh, args.limit * PATIENCE, told)
        with lock:
            seen.add(sweep.kind, sweep.test["cmd"][0], told)
            done += 1
            if moving:
                print(f"\r\033[K[{done}/{len(sweeps)}] {sweep.name()}: {sweep.cases} cases", end="", flush=True)
            for what in sweep.found:
                print(f"{chr(13) + chr(27) + '[K' if moving else ''}FOUND {sweep.name()}: {what}", flush=True)

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for future in [pool.submit(one, sweep) for sweep in sweeps]:
            future.result()
    if moving:
        print("\r\033[K", end="")
    for kind in args.kinds.split(","):
        mine = [s for s in sweeps if s.kind == kind]
        print(f"{kind:10} {sum(s.points for s in mine):8} points, {sum(s.cases for s in mine):8} tried, "
              f"{sum(s.asserted for s in mine):7} met an assertion of the body, {sum(s.stuck for s in mine):5} left it waiting, "
              f"{sum(len(s.found) for s in mine)} found")
    print("\n".join(seen.statement()))
    unclean = sorted({f"{s.test['name']}: {name}" for s in sweeps for name in s.unclean})
    if unclean:
        print(f"{len(unclean)} tests were not swept by some kind, since they do not pass by themselves in a child of fork:")
        print("    " + "\n    ".join(unclean))
    found, cases = sum(len(s.found) for s in sweeps), sum(s.cases for s in sweeps)
    print(f"{cases} cases, {found} found, in {time.monotonic() - began:.0f} s")
    if not cases:
        print("nothing was tried")
    return 1 if found or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
