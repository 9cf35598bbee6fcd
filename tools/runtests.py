#!/usr/bin/env python3
"""Runs the tests of a build folder and counts them.

    tools/runtests.py build/test [--match WORD]... [--without WORD]... [--backends epoll,poll] [--brief]
                      [--wrapper COMMAND]

Meson knows the tests; their suite says how often each runs: `backend` on every backend (named in
COIL_BACKEND; io_uring's where the kernel lets us have it), `kernel` on every one but the simulated, `once` a single time. A test is a program
and passes when it exits 0. Beyond that:

  - one that prints TAP counts as many tests as it has lines `ok` and `not ok`;
  - one with COIL_TEST_EXPECTED in its environment must print exactly what that file holds;
  - one that exits 77 was skipped; its last line says why;
  - one that outlasts the time limit, or its own `timeout` in meson.build if that is longer, is killed and
    has failed. TEST_PATIENCE=4 in the environment makes all limits four times as long, also those within test/script:
    for builds that are slow, and machines that are busy.

The last line is `N passed, N failed`, and `, N skipped` where some were.
"""

import argparse
import concurrent.futures
import ctypes
import difflib
import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

SKIP_STATUS = 77
PATIENCE = float(os.environ.get("TEST_PATIENCE") or 1)
MESONS_TIMEOUT = 30  # of a test that says nothing of its own
SECONDS = re.compile(r"\b\d+\.\d\d\b")  # as programs print how long something took
LATE_MAX = 0.051
TAP_LINE = re.compile(r"^(ok|not ok)\b\s*(\d*)\s*-?\s*(.*)$")
TAP_PLAN = re.compile(r"^1\.\.(\d+)\s*$", re.MULTILINE)


class Job:
    """One run of one test program, and what came of it."""

    def __init__(self, test, backend):
        self.test = test
        self.backend = backend
        self.name = test["name"] + (f" [{backend}]" if backend else "")
        self.passed = 0
        self.failures = []  # sentences
        self.skips = []  # reasons
        self.output = ""
        self.seconds = 0.0

    def run(self, wrapper, timeout):
        env = dict(os.environ, **self.test["env"])
        env.pop("COIL_BACKEND", None)
        if self.backend:
            env["COIL_BACKEND"] = self.backend
        began = time.monotonic()
        # A session of its own: on a timeout its children go with it.
        try:
            process = subprocess.Popen(
                wrapper + self.test["cmd"], env=env, cwd=self.test["workdir"] or None,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True)
        except OSError as e:
            self.failures.append(f"could not be started: {e}")
            return
        late = False
        own = self.test.get("timeout", 0)
        if own > MESONS_TIMEOUT:
            timeout = max(timeout, own)
        timeout *= PATIENCE
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            late = True
            kill_session(process)
            out, err = process.communicate()
        kill_session(process)
        self.seconds = time.monotonic() - began
        stdout = out.decode(errors="replace")
        stderr = err.decode(errors="replace")
        self.output = stderr + stdout
        if late:
            self.count_tap(stdout, died=True)
            self.failures.append(f"still running after {timeout:g} s")
        else:
            self.judge(process.returncode, stdout, stderr)

    def judge(self, status, stdout, stderr):
        if status == SKIP_STATUS:
            lines = (stdout.strip() or stderr.strip() or "it does not say why").splitlines()
            self.skips.append(lines[-1])
            return
        self.count_tap(stdout, died=status != 0)
        if status != 0 and not self.failures:
            self.failures.append(explain(status))
        expected = self.test["env"].get("COIL_TEST_EXPECTED")
        if expected and not self.failures:
            self.compare(expected, stdout)
        if not self.passed and not self.failures and not self.skips:
            self.passed = 1

    def count_tap(self, stdout, died):
        seen = 0
        remark = ""
        for line in stdout.splitlines():
            match = TAP_LINE.match(line)
            if not match:
                remark = "" if TAP_PLAN.match(line) else line.lstrip("# ")
                continue
            seen += 1
            verdict, _, title = match.groups()
            skip = re.search(r"# *SKIP\b:? *(.*)", title, re.IGNORECASE)
            if skip:
                # cmocka gives the case's name; its reason is what it printed before.
                self.skips.append(": ".join(filter(None, [skip.group(1), remark])))
            elif verdict == "ok":
                self.passed += 1
            else:
                self.failures.append(title)
            remark = ""
        planned = sum(int(n) for n in TAP_PLAN.findall(stdout))
        if planned > seen and not died:
            self.failures.append(f"{planned - seen} of {planned} tests never reported")

    def compare(self, expected, stdout):
        with open(expected, encoding="utf-8") as file:
            wanted = file.read()
        if wanted == (on_time(wanted, stdout) if self.test["name"].endswith("_realtime") else stdout):
            return
        self.failures.append("printed something else than expected")
        self.output += "\n" + "".join(difflib.unified_diff(
            wanted.splitlines(True), stdout.splitlines(True), "expected", "printed"))


def on_time(wanted, printed):
    """What was printed, with times that are late by what a kernel or a virtual machine's timer may be as they should be. One that
    is early stays as it is: no sleep ends before its time."""
    due = iter(SECONDS.findall(wanted))

    def judge(match):
        at = next(due, match.group())
        return at if 0 <= float(match.group()) - float(at) <= LATE_MAX else match.group()
    return SECONDS.sub(judge, printed)


def kill_session(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def explain(status):
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


BACKENDS = ["epoll", "poll", "sim", "uring", "uring-5.15"]


def uring_refused():
    """Why io_uring is not to be had here; None if it is."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(425, 0, None) >= 0:  # io_uring_setup, which never takes this
        return None
    return None if ctypes.get_errno() in (errno.EINVAL, errno.EFAULT) else os.strerror(ctypes.get_errno())


def those_to_be_had(backends):
    refused = uring_refused()
    if not refused or not any(name.startswith("uring") for name in backends):
        return backends
    print(f"io_uring is not tested: the kernel says '{refused}'", flush=True)
    return [name for name in backends if not name.startswith("uring")]


def load_tests(build):
    listing = subprocess.run(["meson", "introspect", "--tests", build],
                             check=True, stdout=subprocess.PIPE).stdout
    return json.loads(listing)


def fits(word, name):
    return name == word[1:] if word.startswith("=") else word in name


# What never meets the kernel: with --brief on the first backend alone. (Stories of tasks stay: they are few, and whole.)
SAME_EVERYWHERE = ("unit/task/", "unit/sync/", "unit/combine/", "unit/debug/", "unit/testing/")


def plan(tests, words, backends, without=(), brief=False):
    jobs = []
    for test in sorted(tests, key=lambda t: t["name"]):
        if words and not any(fits(word, test["name"]) for word in words):
            continue
        if any(fits(word, test["name"]) for word in without):
            continue
        suites = {suite.split(":")[-1] for suite in test["suite"]}
        if "backend" in suites:
            chosen = backends[:1] if brief and test["name"].startswith(SAME_EVERYWHERE) else backends
        elif "kernel" in suites:
            chosen = [backend for backend in backends if backend != "sim"]
        else:
            chosen = [None]
        jobs += [Job(test, backend) for backend in chosen]
    return jobs


def longest_first(jobs):
    """Scripts, which mostly wait for programs, begin; what they leave of the machine is for the others."""
    return sorted(jobs, key=lambda job: not job.name.startswith("script/"))


class Progress:
    """On a terminal one line that moves; else a line for each test program."""

    def __init__(self, total):
        self.total = total
        self.done = 0
        self.moving = sys.stdout.isatty()

    def note(self, job):
        self.done += 1
        state = "FAILED" if job.failures else "skip" if job.skips and not job.passed else "ok"
        if self.moving:
            print(f"\r\033[K[{self.done}/{self.total}] {job.name}", end="", flush=True)
        else:
            print(f"{state:6} {job.name}  {job.passed} in {job.seconds:.2f} s", flush=True)
        if job.failures:
            self.clear()
            print(f"--- FAILED {job.name}: {'; '.join(job.failures)}")
            print(job.output.rstrip() or "(it printed nothing)")
            print("---", flush=True)
        for reason in job.skips:
            self.clear()
            print(f"skipped {job.name}: {reason}", flush=True)

    def clear(self):
        if self.moving:
            print("\r\033[K", end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--match", action="append", default=[], metavar="WORD",
                        help="only tests with this in their name, or with =NAME that one; may be repeated")
    parser.add_argument("--without", action="append", default=[], metavar="WORD",
                        help="no tests with this in their name; may be repeated")
    parser.add_argument("--brief", action="store_true",
                        help="tests that never meet the kernel run on the first backend alone")
    parser.add_argument("--backends", help="some of " + ",".join(BACKENDS))
    parser.add_argument("--wrapper", default="", help="a command to run each test under")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one program")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("TEST_JOBS") or 2 * (os.cpu_count() or 1)),
                        help="how many run at a time (TEST_JOBS, or two a core: half of what tests do is to wait)")
    # Who starts us may have these ignored (nohup, a shell's background); a test's programs are to have them as they are.
    for signo in signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE:
        if signal.getsignal(signo) == signal.SIG_IGN:
            signal.signal(signo, signal.SIG_DFL)
    args = parser.parse_args()

    backends = those_to_be_had(args.backends.split(",") if args.backends else BACKENDS)
    jobs = plan(load_tests(args.build), args.match, backends, args.without, args.brief)
    wrapper = shlex.split(args.wrapper)
    # Programs that print how long they took by the real clock have the machine to themselves, at the end.
    timed = [job for job in jobs if job.test["name"].endswith("_realtime")]
    if wrapper:
        # It slows everything down, so they would only measure it; and a script is a shell, which it would judge.
        jobs = [job for job in jobs if job not in timed and not job.test["name"].startswith("script/")]
        timed = []
    progress = Progress(len(jobs))
    lock = threading.Lock()

    def run(job):
        job.run(wrapper, args.timeout)
        with lock:
            progress.note(job)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for future in [pool.submit(run, job) for job in longest_first(jobs) if job not in timed]:
            future.result()
    for job in timed:
        # Another process can hold any program up for ten milliseconds; three times in a row it is the program.
        for _ in range(2):
            attempt = Job(job.test, job.backend)
            attempt.run(wrapper, args.timeout)
            if not attempt.failures:
                break
            print(f"again: {job.name}: {'; '.join(attempt.failures)}", flush=True)
        else:
            attempt = job
            attempt.run(wrapper, args.timeout)
        jobs[jobs.index(job)] = attempt
        progress.note(attempt)
    progress.clear()

    passed = sum(job.passed for job in jobs)
    failed = sum(len(job.failures) for job in jobs)
    skipped = sum(len(job.skips) for job in jobs)
    failures = [job for job in jobs if job.failures]
    if failures:
        print("failed:")
        for job in failures:
            print(f"  {job.name}: {'; '.join(job.failures)}")
    if not jobs:
        print("no test has that in its name" if args.match else "there are no tests")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not jobs else 0


if __name__ == "__main__":
    sys.exit(main())
