#!/usr/bin/env python3
"""The swarm (test/sim/swarm.h), seed after seed, in processes of their own.

    tools/sim.py SWARM run [--seconds S] [--hours H] [--count N] [--seed N] [--jobs N] [--probes SRC] [--quick] [OPTION=VALUE]...
    tools/sim.py SWARM replay SEED [OPTION=VALUE]...
    tools/sim.py SWARM same OTHER_SWARM SEED COUNT

run ends after S seconds, H simulated hours, or N seeds. A seed that fails, crashes or hangs is named, and the others go on;
at the end the first few are made as small as they can be, and a command repeats each. --probes: marks of rare branches
(COIL_PROBE) in these sources that were never reached are a failure too. same: two programs, of two compilers, must tell the
same stories. On a terminal a line that moves.
"""
import argparse
import json
import os
import pathlib
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time

BATCH = 40       # seeds a process
SEED_LIMIT = 30  # seconds that one may take by the wall clock; it takes a few milliseconds
SMALL_LIMIT = 5  # the same, while a failure is made small
FAILURES_MAX = 50
SHRUNK_MAX = 3   # failing seeds that are made small
SHRINK_LIMIT = 60
MARK = re.compile(r'COIL_PROBE\(\s*"([^"]+)"\s*\)')
FAULTS, HAPPENINGS = 10, 4
LADDERS = {
    "clients": [1, 2, 3, 4, 5, 6, 8],
    "talks": [1, 2, 3, 4, 6],
    "bytes": [0, 1, 100, 1000, 5000, 20000, 70000, 150000],
    "chaos": [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 100, 200, 400],
}


class Sum:
    """What all runs together were."""

    def __init__(self):
        self.numbers, self.plays, self.probes, self.traces = {}, {}, {}, []

    def add(self, told):
        for key, value in told.items():
            if isinstance(value, (int, float)):
                self.numbers[key] = self.numbers.get(key, 0) + value
        for name, counts in told["plays"].items():
            self.plays[name] = [a + b for a, b in zip(self.plays.get(name, [0] * len(counts)), counts)]
        for name, count in told["probes"].items():
            self.probes[name] = self.probes.get(name, 0) + count

    def __getitem__(self, key):
        return self.numbers.get(key, 0)


class Failure:
    def __init__(self, seed, what, output=""):
        self.seed, self.what, self.output = seed, what, output


class Child:
    """A process that runs some seeds. Which one it is at, it says before it begins."""

    def __init__(self, swarm, first, count, options, env, limit=None):
        self.limit = limit or SEED_LIMIT
        self.first, self.end, self.at, self.sum, self.failures = first, first + count, None, None, []
        self.stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen([swarm, str(first), str(count), *options], stdin=subprocess.DEVNULL, env=env,
                                        stdout=subprocess.PIPE, stderr=self.stderr, start_new_session=True)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.rest, self.heard, self.late = b"", time.monotonic(), False

    def read(self):
        """False at the end of its output."""
        try:
            data = self.process.stdout.read()
        except BlockingIOError:
            return True
        if data is None:
            return True
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.heard = time.monotonic()
            word, _, text = line.decode(errors="replace").partition(" ")
            if word == "seed":
                self.at = int(text)
            elif word == "FAILED":
                seed, _, what = text.partition(" ")
                self.failures.append(Failure(int(seed), what))
            elif word == "sum":
                self.sum = json.loads(text)
        return bool(data)

    def kill_if_late(self):
        if not self.late and time.monotonic() - self.heard > self.limit:
            self.late = True
            self.kill()

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def finish(self):
        """After its output ended: how it went, and the seed to go on with (or None)."""
        code = self.process.wait()
        self.process.stdout.close()
        self.stderr.seek(0)
        said = self.stderr.read()[-4000:].decode(errors="replace")
        self.stderr.close()
        if self.sum is not None:
            return None
        seed = self.first if self.at is None else self.at
        what = f"does not end within {self.limit} s" if self.late else ending(code)
        self.failures.append(Failure(seed, what, said))
        return seed + 1 if seed + 1 < self.end else None


def ending(code):
    if code < 0:
        return f"crashes: {signal.Signals(-code).name}"
    return f"ends with {code} in the middle"


def environment(tmp):
    env = dict(os.environ, TMPDIR=tmp)
    env.pop("NOTIFY_SOCKET", None)
    return env


def run_one(swarm, seed, options, limit=None):
    """One seed by itself: what failed, or None; its sum, or None; what it said."""
    with tempfile.TemporaryDirectory(prefix="coil-sim-") as tmp:
        child = Child(swarm, seed, 1, options, environment(tmp), limit)
        with selectors.DefaultSelector() as selector:
            selector.register(child.process.stdout, selectors.EVENT_READ)
            while not selector.select(1) or child.read():
                child.kill_if_late()
        child.finish()
    failure = child.failures[0] if child.failures else None
    return failure, child.sum


def same_failure(a, b):
    """Numbers differ from case to case."""
    return a is not None and b is not None and re.sub(r"\d+", "#", a.what) == re.sub(r"\d+", "#", b.what)


class Shrink:
    """Leaves out, again and again, whatever the failure does without."""

    def __init__(self, swarm, failure, given):
        self.swarm, self.failure, self.runs = swarm, failure, 0
        self.options = dict(option.split("=", 1) for option in given if "=" in option)
        self.end = time.monotonic() + SHRINK_LIMIT

    def words(self, options):
        return [f"{key}={value}" for key, value in options.items()]

    def still_fails(self, **change):
        options = dict(self.options, **{key: str(value) for key, value in change.items()})
        if options == self.options or time.monotonic() > self.end:
            return False
        self.runs += 1
        failure, _ = run_one(self.swarm, self.failure.seed, self.words(options), SMALL_LIMIT)
        if same_failure(failure, self.failure):
            self.options = options
            return True
        return False

    def fewer_plays(self):
        _, told = run_one(self.swarm, self.failure.seed, self.words(self.options) + ["once"], SMALL_LIMIT)
        plays = self.options.get("plays")
        names = plays.split(",") if plays else [n for n, c in told["plays"].items() if c[0]] if told else []
        for name in names:
            if len(names) > 1 and self.still_fails(plays=name):
                return
        for name in list(names):
            less = [n for n in names if n != name]
            if less and self.still_fails(plays=",".join(less)):
                names = less

    def fewer_bits(self, key, bits):
        mask = int(self.options.get(key, (1 << bits) - 1))
        if self.still_fails(**{key: 0}):
            return
        for bit in range(bits):
            if mask >> bit & 1 and self.still_fails(**{key: mask & ~(1 << bit)}):
                mask &= ~(1 << bit)

    def less_time(self):
        _, told = run_one(self.swarm, self.failure.seed, self.words(self.options) + ["once"], SMALL_LIMIT)
        most = min(float(self.options.get("seconds", 1e9)), told["traffic"] + 1 if told else 1e9)
        step = 0.01
        while step < most:
            if self.still_fails(seconds=f"{step:g}"):
                return
            step *= 2

    def smaller(self, key):
        for value in LADDERS[key]:
            if value >= int(self.options.get(key, 1 << 31)) or self.still_fails(**{key: value}):
                return

    def shrink(self):
        """The options of the smallest run found."""
        before = None
        while before != self.options and time.monotonic() < self.end:
            before = dict(self.options)
            self.fewer_plays()
            self.less_time()
            self.fewer_bits("faults", FAULTS)
            self.fewer_bits("happenings", HAPPENINGS)
            for key in LADDERS:
                self.smaller(key)
        return self.words(self.options)


class Swarm:
    """All children at once, until the time is over."""

    def __init__(self, args):
        self.args, self.sum, self.failures = args, Sum(), []
        self.next_seed, self.seeds_end = args.seed, args.seed + args.count if args.count else None
        self.again = []  # what is left of batches whose process ended too early
        self.began = self.told = time.monotonic()

    def wants_more(self):
        if self.args.seconds and time.monotonic() - self.began >= self.args.seconds:
            return False
        if self.args.hours and self.sum["simulated"] >= self.args.hours * 3600:
            return False
        if len(self.failures) >= FAILURES_MAX:
            return False
        return self.again or self.seeds_end is None or self.next_seed < self.seeds_end

    def next_batch(self):
        if self.again:
            return self.again.pop()
        first = self.next_seed
        end = first + BATCH if self.seeds_end is None else min(first + BATCH, self.seeds_end)
        self.next_seed = end
        return first, end - first

    def done(self, child):
        rest = child.finish()
        if rest is not None:
            self.again.append((rest, child.end - rest))
        if child.sum is not None:
            self.sum.add(child.sum)
        for failure in child.failures:
            self.failures.append(failure)
            print(f"{clear()}FAILED seed {failure.seed}: {failure.what}\n  repeat: ./dev sim --replay {failure.seed}"
                  f"{''.join(' ' + o for o in self.args.options)}", flush=True)
            if failure.output.strip():
                print("  " + "\n  ".join(failure.output.strip().splitlines()[-12:]))

    def progress(self):
        if time.monotonic() - self.told < (0.5 if sys.stdout.isatty() else 60):
            return
        self.told = time.monotonic()
        line = f"{self.told - self.began:.0f} s: {self.sum['runs']:.0f} runs, {self.sum['simulated'] / 3600:,.0f} h simulated, " \
               f"{len(self.failures)} failed"
        print(clear() + line, end="" if sys.stdout.isatty() else "\n", flush=True)

    def run(self):
        children = set()
        with tempfile.TemporaryDirectory(prefix="coil-sim-") as tmp, selectors.DefaultSelector() as selector:
            env = environment(tmp)
            try:
                while children or self.wants_more():
                    while len(children) < self.args.jobs and self.wants_more():
                        child = Child(self.args.swarm, *self.next_batch(), self.args.options, env)
                        selector.register(child.process.stdout, selectors.EVENT_READ, child)
                        children.add(child)
                    for key, _ in selector.select(1):
                        child = key.data
                        if not child.read():
                            selector.unregister(child.process.stdout)
                            children.remove(child)
                            self.done(child)
                    for child in children:
                        child.kill_if_late()
                    self.progress()
            finally:
                for child in children:
                    child.kill()
        self.seconds = time.monotonic() - self.began

    def report(self):
        s = self.sum
        print(f"{clear()}{s['runs']:.0f} runs from seed {self.args.seed}, each twice, in {self.seconds:.0f} s: "
              f"{s['simulated']:,.0f} s simulated ({s['simulated'] - s['idle']:,.0f} s of them outside waits of more than a minute), "
              f"{s['handles']:,.0f} callbacks and steps at {s['instants']:,.0f} moments; {s['faults']:,.0f} faults, {s['kills']:,.0f} kills, "
              f"{s['pauses']:,.0f} pauses, {s['clogs']:,.0f} clogs")
        for name, (runs, whole, broken, checked) in s.plays.items():
            print(f"  {name:<10} {runs:>8,} runs, {whole:>10,} exchanges whole, {broken:>10,} broken off, {checked:>15,} bytes checked")

    def probes(self):
        """Those never reached."""
        marks = {}
        for path in sorted(pathlib.Path(self.args.probes).rglob("*.c")):
            for name in MARK.findall(path.read_text()):
                marks[name] = path
        counts = sorted((self.sum.probes.get(name, 0), name) for name in marks)
        print("probes: " + ", ".join(f"{name} {count:,}" for count, name in reversed(counts) if count))
        missed = [name for count, name in counts if not count]
        for name in missed:
            print(f"{'not reached' if self.args.quick else 'FAILED: never reached'}: {name} ({marks[name]})")
        return [] if self.args.quick else missed


def clear():
    return "\r\033[K" if sys.stdout.isatty() else ""


def shrink_some(swarm, failures, options):
    """One of each kind."""
    kinds = []
    for failure in failures:
        if len(kinds) == SHRUNK_MAX:
            break
        if any(same_failure(failure, other) for other in kinds):
            continue
        kinds.append(failure)
        shrink = Shrink(swarm, failure, options)
        small = shrink.shrink()
        print(f"smallest of seed {failure.seed} ({failure.what}), after {shrink.runs} tries:\n"
              f"  ./dev sim --replay {failure.seed} {' '.join(small)}", flush=True)


def run(args):
    swarm = Swarm(args)
    swarm.run()
    swarm.report()
    missed = swarm.probes() if args.probes else []
    shrink_some(args.swarm, swarm.failures, args.options)
    return 1 if swarm.failures or missed else 0


def replay(args):
    failure, told = run_one(args.swarm, args.seed, args.options)
    if failure:
        print(f"FAILED seed {failure.seed}: {failure.what}\n{failure.output}")
        shrink_some(args.swarm, [failure], args.options)
        return 1
    print(f"seed {args.seed}: nothing fails; {told['simulated']:,} s simulated, trace {told['trace']}")
    return 0


def same(args):
    """Two compilers, one story."""
    traces = []
    for swarm in (args.swarm, args.other):
        with tempfile.TemporaryDirectory(prefix="coil-sim-") as tmp:
            told = subprocess.run([swarm, str(args.seed), str(args.count), "once", "trace"], stdin=subprocess.DEVNULL, env=environment(tmp),
                                  stdout=subprocess.PIPE, check=False).stdout.decode()
        traces.append(re.findall(r"^trace (\d+) (\w+)$", told, re.MULTILINE))
    differ = [a[0] for a, b in zip(*traces) if a != b]
    if differ or len(traces[0]) != args.count or len(traces[1]) != args.count:
        print(f"FAILED: {args.swarm} and {args.other} tell different stories: seeds {' '.join(differ) or 'missing'}")
        return 1
    print(f"{args.count} seeds from {args.seed}: both programs tell the same stories")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("swarm")
    words = parser.add_subparsers(dest="word", required=True)
    word = words.add_parser("run")
    word.add_argument("--seconds", type=float, default=0)
    word.add_argument("--hours", type=float, default=0)
    word.add_argument("--count", type=int, default=0)
    word.add_argument("--seed", type=int, default=1)
    word.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    word.add_argument("--probes")
    word.add_argument("--quick", action="store_true")
    word.add_argument("options", nargs="*")
    word.set_defaults(call=run)
    word = words.add_parser("replay")
    word.add_argument("seed", type=int)
    word.add_argument("options", nargs="*")
    word.set_defaults(call=replay)
    word = words.add_parser("same")
    word.add_argument("other")
    word.add_argument("seed", type=int)
    word.add_argument("count", type=int)
    word.set_defaults(call=same)
    args = parser.parse_args()
    if args.word == "run" and not (args.seconds or args.hours or args.count):
        parser.error("run needs an end: --seconds, --hours or --count")
    sys.exit(args.call(args))


if __name__ == "__main__":
    main()
