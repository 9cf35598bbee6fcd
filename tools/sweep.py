#!/usr/bin/env python3
"""The whole suite under faults, until everything that can fail has failed at least once: each place in the library that
allocates (alone, and with all that follow), each pair of a kernel call and an error, each kind of wait (cancelled, and out of
time).

    tools/sweep.py BUILD [WORD]... [--each] [--again] [--note] [--minutes N] [--shard I/N] [--kinds alloc,errno,...] [--jobs N]

A step is a program of the suite on a backend under one kind of fault. It is told what the steps before it have failed, and fails
the rest of what it comes by; when a kind misses nothing more, its other steps are left out. With --each nothing is left out: each
program fails all that it comes by, once.

test/fault/order.txt names the steps that failed something in an earlier sweep: they begin, so that it ends soon. --note writes it
anew, from what is kept.

What a step did is kept in BUILD/sweep (with --each: BUILD/sweep_each). So a sweep that was stopped goes on where it was, also
one that stops itself after --minutes; a step counts as long as its program is the same. --again forgets all. WORDs and --shard
2/5 choose some of the steps.

The end: what was tried and found, what is missing. Exit status 1 if anything was found, if a step could not be done in --limit
seconds, or if all steps are done and something is missing.
"""
import argparse
import collections
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import time

import fault
from fault_seen import Seen, anchor_of, places_of
from runtests import those_to_be_had

KINDS = ["alloc", "alloc_all", "errno", "cancel", "timeout"]
# Bodies that take every error as it comes reach most of it.
ORDER = ["fault", "story", "regress", "unit"]
FIRST = pathlib.Path(__file__).parent.parent / "test/fault/order.txt"


@functools.lru_cache(None)
def digest(program):
    return hashlib.sha256(pathlib.Path(program).read_bytes()).hexdigest()


class Step:
    def __init__(self, sweep, folder):
        self.sweep = sweep
        self.program = sweep.test["cmd"][0]
        file = f"{sweep.kind}.{sweep.backend}.{sweep.test['name'].replace('/', '_')}"
        self.record, self.seen = folder / f"{file}.json", folder / f"{file}.seen"

    def recall(self):
        """Was it done, with this very program?"""
        try:
            told = json.loads(self.record.read_text())
        except FileNotFoundError:
            return False
        if told.pop("program") != digest(self.program):
            return False
        self.sweep.__dict__.update(told)
        return True

    def name(self):
        return self.sweep.name()

    def brought(self):
        """Did it fail anything that was not failed before?"""
        return self.seen.exists() and re.search(r"^(?:site|pair) .* failed$|^wait failed ", self.seen.read_text(), re.MULTILINE)

    def keep(self):
        told = {name: getattr(self.sweep, name) for name in ("points", "cases", "asserted", "stuck", "found", "unclean", "late", "seconds")}
        self.record.write_text(json.dumps(dict(told, program=digest(self.program)), indent=1))


class Ledger:
    """What was failed so far, and by whom it still has to be."""

    def __init__(self, build, uring):
        self.seen = Seen(build, os.path.join(os.path.dirname(__file__), "../src"), uring)
        self.lock = threading.Lock()
        self.told = False  # which pairs there are is told by the programs

    def add(self, step):
        with self.lock:
            self.seen.add(step.sweep.kind, step.program, step.seen)
            self.told |= bool(self.seen.pairs)

    def is_complete(self, kind):
        with self.lock:
            return self.told and not self.seen.missing()[kind]

    def swept(self, step):
        """The lines of COIL_FAULT_SWEPT for a step."""
        kind = step.sweep.kind
        with self.lock:
            places = self.seen.places()[kind, "failed"]
            if kind == "errno":
                return [f"pair {call} {error}" for call, error in self.seen.pairs_failed]
            if kind in ("cancel", "timeout"):
                return [f"wait {words}" for words in self.seen.words[kind, "failed"]]
        return [f"site {distance & (1 << 64) - 1:x}" for distance, place in places_of(step.program).items() if place in places]


class Course:
    def __init__(self, args, steps, ledger):
        self.args, self.steps, self.ledger = args, steps, ledger
        self.folder = tempfile.TemporaryDirectory()
        self.lock, self.moving, self.begun = threading.Lock(), sys.stdout.isatty(), time.monotonic()
        self.done, self.recalled, self.left_out, self.stopped = [], 0, 0, 0

    def over(self):
        return self.args.minutes and time.monotonic() - self.begun > 60 * self.args.minutes

    def one(self, step):
        if not self.args.each and self.ledger.is_complete(step.sweep.kind):
            with self.lock:
                self.left_out += 1
            return
        if self.over():
            with self.lock:
                self.stopped += 1
            return
        swept = None
        if not self.args.each:
            swept = os.path.join(self.folder.name, step.record.name)
            pathlib.Path(swept).write_text("".join(f"{line}\n" for line in self.ledger.swept(step)))
        step.seen.unlink(missing_ok=True)
        step.sweep.run(0, True, self.args.limit, str(step.seen), swept)
        step.keep()
        self.ledger.add(step)
        with self.lock:
            self.done.append(step)
            self.tell(step.sweep)

    def tell(self, sweep):
        number = len(self.done) + self.left_out
        line = f"[{number}/{len(self.steps)}] {sweep.name()}: {sweep.cases} tried in {sweep.seconds:.1f} s"
        if self.moving:
            print(f"\r\033[K{line}", end="", flush=True)
        elif sweep.cases or sweep.found:
            print(line, flush=True)
        for what in sweep.found:
            print(f"{chr(13) + chr(27) + '[K' if self.moving else ''}FOUND {sweep.name()}: {what}", flush=True)

    def run(self):
        todo = []
        for step in self.steps:
            if step.recall():
                self.recalled += 1
                self.done.append(step)
                self.ledger.add(step)
            else:
                todo.append(step)
        # The rest of a kind that is complete is left out, with what was known of it before.
        with self.folder, concurrent.futures.ThreadPoolExecutor(self.args.jobs) as pool:
            for future in [pool.submit(self.one, step) for step in todo]:
                future.result()
        if self.moving:
            print("\r\033[K", end="")

    def summary(self):
        for kind in self.args.kinds:
            mine = [step.sweep for step in self.done if step.sweep.kind == kind]
            print(f"{kind:10} {len(mine):5} steps, {sum(s.points for s in mine):8} points, {sum(s.cases for s in mine):6} tried, "
                  f"{sum(s.asserted for s in mine):5} met an assertion of the body, {sum(s.stuck for s in mine):4} left it waiting, "
                  f"{sum(len(s.found) for s in mine)} found")
        unclean = collections.defaultdict(set)
        for step in self.done:
            for name in step.sweep.unclean:
                unclean[f"{step.sweep.test['name']}: {name}"].add(step.sweep.kind)
        if unclean:
            print(f"{len(unclean)} tests were not swept by some kind, since they do not pass by themselves in a child of fork:")
            for name, kinds in sorted(unclean.items()):
                print(f"    {name} ({', '.join(sorted(kinds))})")
        found = [f"{step.sweep.name()}: {what}" for step in self.done for what in step.sweep.found]
        for what in found:
            print(f"FOUND {what}")
        return bool(found)


def figures(seen, kinds):
    """One line: N of N."""
    places, waits = seen.places(), seen.waits | seen.waits_met()
    told = []
    if "alloc" in kinds:
        told.append(f"places {len(places['alloc', 'failed'] & seen.sites)} of {len(seen.sites)}")
    if "alloc_all" in kinds:
        told.append(f"and from there on {len(places['alloc_all', 'failed'] & seen.sites)} of {len(seen.sites)}")
    if "errno" in kinds:
        told.append(f"pairs {len(seen.pairs_failed)} of {len(seen.pairs)}")
    for kind, words in ("cancel", "cancelled"), ("timeout", "out of time"):
        if kind in kinds:
            told.append(f"waits {words} {len(seen.words[kind, 'failed'])} of {len(waits)}")
    return ", ".join(told)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--each", action="store_true", help="every program fails all that it comes by, once")
    parser.add_argument("--again", action="store_true", help="forget what was done")
    parser.add_argument("--note", action="store_true", help="write down which steps are to begin")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=KINDS)
    parser.add_argument("--backends", default="sim,epoll,uring,poll")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one step")
    parser.add_argument("--minutes", type=float, default=0, help="begin no step after so many")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--shard", type=fault.shard_of, default=(1, 1), metavar="I/N")
    args = parser.parse_intermixed_args()
    fault.take_signals_back()
    folder = pathlib.Path(args.build) / ("sweep_each" if args.each else "sweep")
    if args.again:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    tests = sorted(fault.tests_of(args.build, args.words), key=lambda t: (ORDER.index(t["name"].split("/")[0]), t["name"]))
    deaf = [t for t in tests if anchor_of(t["cmd"][0]) is None]
    tests = [t for t in tests if t not in deaf]
    backends = those_to_be_had(args.backends.split(","))
    steps = [Step(sweep, folder) for sweep in fault.plan(tests, args.kinds, backends)]
    first = set(FIRST.read_text().splitlines()) if FIRST.exists() else set()
    steps.sort(key=lambda step: (step.sweep.kind, step.name() not in first))
    steps = steps[args.shard[0] - 1::args.shard[1]]
    course = Course(args, steps, Ledger(args.build, "uring" in backends))
    course.run()
    bad = course.summary()
    seen = course.ledger.seen
    missing = {kind: things for kind, things in seen.missing().items() if kind in args.kinds and things}
    for kind, things in missing.items():
        print(f"MISSING from {kind}: {', '.join(sorted(things))}")
    cases = sum(step.sweep.cases for step in course.done)
    print(f"{len(course.done)} steps ({course.recalled} of them before), {course.left_out} had nothing left to do, "
          f"{course.stopped} still to be done; {cases} tried, in {sum(s.sweep.seconds for s in course.done):.0f} s")
    print(f"{len(tests)} programs, and {len(deaf)} whose tests are none of COIL_TEST and cannot be played under faults")
    print(figures(seen, args.kinds))
    if args.note and not args.each:
        FIRST.write_text("".join(f"{step.name()}\n" for step in steps if step in course.done and step.brought()))
    whole = not course.stopped and not args.words and args.shard[1] == 1
    return 1 if bad or not cases or (whole and missing) else 0


if __name__ == "__main__":
    sys.exit(main())
