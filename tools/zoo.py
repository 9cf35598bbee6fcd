#!/usr/bin/env python3
"""The bug zoo: real projects' known bugs, put back into coil one at a time; some test must fail for each.

    tools/zoo.py FOLDER [WORD]... [--sample N SEED]

Each file of test/zoo/ is a patch with a head:

    Class: A                            one of the classes of the catalogue, A to Y
    Bug: tokio#525: ...                 who had it, and what it is
    Tests: loom/inbox unit/loop/...     the test programs that are asked
    Backends: epoll,sim                 on which (default: epoll,sim)

The tree is copied into FOLDER, once for each worker; there each patch is applied, the programs it names are built and run, and
the patch is taken out again. Caught: a test failed (or crashed, or hung). Else one of

    ESCAPED     every test passed
    STALE       the patch does not apply any more
    BROKEN      the patched tree does not compile

and the exit status is 1. WORDs choose patches by name; --sample takes N of them, other ones for another seed. Whether the
patches apply is looked at for all of them, always.
"""
import concurrent.futures
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ZOO = os.path.join(ROOT, "test/zoo")
CLASSES = "ABCDEFGHIJKLMNOPQRSTUVWXY"
WORKERS = os.cpu_count() or 2
OPTIONS = ["-Dwerror=false", "-Dbuildtype=debug", "-Ddefault_library=static", "-Dsys_table=true", "-Ddebug_checks=true",
           "-Dbench=false"]


class Patch:
    def __init__(self, name):
        self.name = name[:-len(".patch")]
        self.path = os.path.join(ZOO, name)
        head = {}
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                match = re.match(r"(Class|Bug|Tests|Backends): (.*)", line)
                if match:
                    head[match[1]] = match[2].strip()
                elif line.startswith("--- "):
                    break
        for word in ("Class", "Bug", "Tests"):
            if word not in head:
                sys.exit(f"{self.path}: its head has no line `{word}: `")
        if head["Class"] not in CLASSES:
            sys.exit(f"{self.path}: there is no class {head['Class']}")
        self.bug, self.kind = head["Bug"], head["Class"]
        self.tests, self.backends = head["Tests"].split(), head.get("Backends", "epoll,sim")
        self.verdict, self.detail = "", ""


def run(*command, cwd=None, timeout=None):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout


def copy_tree(to):
    """What git knows of, and what it would take in."""
    _, listing = run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard")
    fresh = set()
    for name in listing.split("\n"):
        source, target = os.path.join(ROOT, name), os.path.join(to, name)
        if not name or not os.path.isfile(source):
            continue
        fresh.add(name)
        if os.path.exists(target):
            with open(source, "rb") as a, open(target, "rb") as b:
                if a.read() == b.read():
                    continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(source, target)
    for folder, _, files in os.walk(to):
        for name in files:
            path = os.path.relpath(os.path.join(folder, name), to)
            if path not in fresh and not path.startswith("build/"):
                os.unlink(os.path.join(to, path))


class Worker:
    def __init__(self, folder, number):
        self.tree = os.path.join(folder, f"tree{number}")
        self.build = os.path.join(self.tree, "build")
        copy_tree(self.tree)
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            status, output = run("meson", "setup", self.build, *OPTIONS, cwd=self.tree)
            if status:
                sys.exit(output)

    def ninja(self, patch):
        targets = []
        for test in patch.tests:
            kind, _, rest = test.partition("/")
            targets.append(f"{kind}_{re.sub(r'[^A-Za-z0-9]', '_', rest)}")
        return run("ninja", "-C", self.build, "--quiet", "-j", "1", *targets)

    def try_out(self, patch):
        status, output = run("patch", "-p1", "--forward", "--no-backup-if-mismatch", "-r", "-", "-i", patch.path,
                             cwd=self.tree)
        if status:
            patch.verdict, patch.detail = "STALE", output
            copy_tree(self.tree)
            return
        try:
            status, output = self.ninja(patch)
            if status:
                patch.verdict, patch.detail = "BROKEN", output
                return
            self.judge(patch)
        finally:
            run("patch", "-p1", "-R", "--no-backup-if-mismatch", "-i", patch.path, cwd=self.tree)

    def judge(self, patch):
        words = [word for test in patch.tests for word in ("--match", "=" + test)]
        status, output = run(sys.executable, "-B", "tools/runtests.py", self.build, *words, "--backends", patch.backends,
                             "--timeout", "12", "--jobs", "2", cwd=self.tree)
        failed = re.findall(r"^  (\S+(?: \[\S+\])?): (.*)$", output, re.MULTILINE)
        if status == 0:
            patch.verdict, patch.detail = "ESCAPED", ""
        elif not failed:
            patch.verdict, patch.detail = "BROKEN", output[-2000:]
        else:
            patch.verdict = "caught"
            where, what = failed[0]
            patch.detail = f"{where}: {what[:90]}" + (f", and {len(failed) - 1} more" if len(failed) > 1 else "")


def main():
    args = sys.argv[1:]
    if not args:
        sys.exit(__doc__)
    folder, words = os.path.abspath(args[0]), args[1:]
    sample = None
    if "--sample" in words:
        at = words.index("--sample")
        sample, seed = int(words[at + 1]), words[at + 2]
        del words[at:at + 3]
    patches = [Patch(name) for name in sorted(os.listdir(ZOO)) if name.endswith(".patch")]
    missing = [c for c in CLASSES if not any(p.kind == c for p in patches)]
    stale = [p.name for p in patches if run("patch", "-p1", "--forward", "--dry-run", "-i", p.path, cwd=ROOT)[0]]
    if stale:
        sys.exit(f"these do not apply any more: {', '.join(stale)}")
    if words:
        patches = [p for p in patches if any(word in p.name for word in words)]
    elif sample:
        patches = random.Random(seed).sample(patches, min(sample, len(patches)))
    os.makedirs(folder, exist_ok=True)

    began, done = time.monotonic(), 0
    workers = queue.Queue()
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for worker in pool.map(lambda n: Worker(folder, n), range(WORKERS)):
            workers.put(worker)

        def one(patch):
            worker = workers.get()
            try:
                worker.try_out(patch)
            finally:
                workers.put(worker)
            return patch

        for future in concurrent.futures.as_completed([pool.submit(one, p) for p in patches]):
            patch = future.result()
            done += 1
            print(f"[{done}/{len(patches)}] {patch.verdict:7} {patch.kind} {patch.name}: "
                  f"{patch.detail if patch.verdict == 'caught' else patch.bug}", flush=True)
            if patch.verdict not in ("caught", "ESCAPED"):
                print(patch.detail)
    caught = sum(p.verdict == "caught" for p in patches)
    print(f"{caught} of {len(patches)} bugs caught, in {time.monotonic() - began:.0f} s")
    if missing:
        print(f"no bug of class {', '.join(missing)} is in the zoo")
    return 0 if caught == len(patches) and patches and not missing else 1


if __name__ == "__main__":
    sys.exit(main())
