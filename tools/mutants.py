#!/usr/bin/env python3
"""Random small mistakes in the core, and whether the tests see them.

    tools/mutants.py BUILD N [SEED] [FOLDER/FILE]...

BUILD is a folder of `./dev test`. N places of src/loop, task, sync, combine and coro (or of the files named) are drawn by
SEED, and in each one thing is changed: a comparison, an operator, a constant, a condition, or a statement that is left out.
The changed file is compiled as BUILD compiles it and linked with the tests of its floor, one after the other, in place of the
library's own, until one of them fails, crashes or outlasts its time. Nothing in src/ or BUILD is touched.

Survivors are printed with what was changed. One is either no mistake (equivalent: the program does the same), or a test is
missing; what the compiler makes the same code of is not counted as a mutant at all. Exit status 0 whatever survives: the
figure is for people to read.
"""
import concurrent.futures
import json
import os
import random
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FLOORS = ["coro", "loop", "task", "sync", "combine"]

# The tests that are asked: the floor's own, then those that stand on it. And on which backends: time on the imaginary
# kernel costs nothing; how a loop sleeps and wakes is to be seen on a real one.
STORIES_OF_TASKS = ["story/tasks", "story/test_task_as_cpython", "story/test_task_cancel", "story/futures", "story/tricky",
                    "story/bad_input", "story/asyncgens", "story/origins", "story/ends", "story/test_properties"]
TESTS = {
    "coro": ["unit/coro/", "unit/task/", "unit/debug/", "story/asyncgens", "diff/recorded"],
    "loop": ["unit/loop/", "unit/task/", "unit/run/", "unit/work/", "story/loops", "story/signals", "story/threads",
             "story/bad_input", "diff/recorded"],
    "task": ["unit/task/", "unit/combine/", "unit/loop/", "unit/debug/", "unit/testing/", "diff/recorded", *STORIES_OF_TASKS],
    "sync": ["unit/sync/", "diff/recorded", "story/locks", "story/semaphores", "story/conditions", "story/barriers",
             "story/queues", "story/sync_", "story/bad_input_sync", "story/tricky", "story/options"],
    "combine": ["unit/combine/", "diff/recorded", "story/combinators", "story/task_groups", "story/timeouts",
                "story/error_groups", "story/bad_input", "story/options", "story/test_properties", *STORIES_OF_TASKS],
}
BACKENDS = {"loop": ["sim", "epoll"]}
SECONDS, SECONDS_OF_CPU = 60, 20

SWAPS = [
    (r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "),
    (r" && ", " || "), (r" \|\| ", " && "), (r" \+ ", " - "), (r" - ", " + "), (r"\+\+", "--"), (r"--", "++"),
    (r" \+= ", " -= "), (r" -= ", " += "), (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"(?<![\w.])0(?![\w.])", "1"), (r"(?<![\w.])1(?![\w.])", "0"), (r"(?<![\w.])([2-9]\d*|1\d+)(?![\w.])", "(\\1 + 1)"),
    (r"(?<=[(\s])!(?=[\w(])", ""),
]
STATEMENT = re.compile(r"^\s+(\w[\w>.\-\[\]]*\(.*\)|\(void\)\w+\(.*\)|[\w>.\-\[\]*]+ [-+|&]?= .*|[\w>.\-]+(\+\+|--)|break);$")
CONDITION = re.compile(r"^(\s*(?:\} else )?if )\((.*)\)( \{)?$")
# What says nothing of behaviour, or only makes things faster.
LEFT_OUT = re.compile(r"COIL_D?CHECK|_Static_assert|static_assert|prefetch|snprintf|^\s*\*|^#|coil__trace|COIL_PROBE")


def code_lines(text):
    """Line numbers (from 0) of code: no comments, no directives, inside functions."""
    inside = comment = False
    for number, line in enumerate(text.split("\n")):
        stripped = line.strip()
        if comment or stripped.startswith("/*"):
            comment = "*/" not in stripped
            continue
        if line == "{":
            inside = True
        elif line == "}":
            inside = False
        elif inside and stripped and not LEFT_OUT.search(line):
            yield number, line


def without_comment(line):
    """Up to a comment or a string: what stands in those is nobody's business."""
    return re.split(r"/\*|\"", line)[0]


def changes_of(text):
    """Every change that could be made: (line number, the new line)."""
    for number, line in code_lines(text):
        code = without_comment(line)
        for pattern, replacement in SWAPS:
            for match in re.finditer(pattern, code):
                yield number, line[:match.start()] + match.expand(replacement) + line[match.end():]
        condition = CONDITION.match(line)
        if condition:
            head, inner, brace = condition[1], condition[2], condition[3] or ""
            for new in (f"!({inner})", f"(({inner}), true)", f"(({inner}), false)"):
                yield number, f"{head}({new}){brace}"
        if STATEMENT.match(line.rstrip()):
            yield number, re.match(r"\s*", line)[0] + ";"


class Builder:
    def __init__(self, build):
        self.build = os.path.realpath(build)
        with open(os.path.join(self.build, "compile_commands.json"), encoding="utf-8") as file:
            self.commands = {}
            for entry in json.load(file):
                if "libcoil.a.p" in entry["output"]:
                    words = shlex.split(entry["command"])
                    self.commands[os.path.realpath(os.path.join(entry["directory"], entry["file"]))] = [
                        w for i, w in enumerate(words) if w not in ("-MD", "-c", "-o", "-MQ", "-MF", "-Werror", entry["file"])
                        and words[i - 1] not in ("-o", "-MQ", "-MF")]
        listing = subprocess.run(["meson", "introspect", "--tests", self.build], check=True, stdout=subprocess.PIPE).stdout
        self.tests = {test["name"]: test for test in json.loads(listing)}
        self.links = {}

    def tests_of(self, floor, file):
        """Their names, the one that is called like the file first."""
        chosen = [name for word in TESTS[floor] for name in sorted(self.tests) if name.startswith(word)]
        chosen = list(dict.fromkeys(chosen))
        own = f"unit/{floor}/test_{os.path.basename(file)[:-2]}"
        return sorted(chosen, key=lambda name: name != own)

    def link_words(self, test):
        """How the build links a test, from where."""
        if test not in self.links:
            target = os.path.relpath(self.tests[test]["cmd"][0], self.build)
            told = subprocess.run(["ninja", "-C", self.build, "-t", "commands", "-s", target], check=True,
                                  stdout=subprocess.PIPE, text=True).stdout.strip().split("\n")[-1]
            words = shlex.split(told)
            self.links[test] = (words, words.index("-o") + 1)
        return self.links[test]

    def compile(self, source, changed, out, *more):
        return subprocess.run([*self.commands[source], *more, "-w", "-iquote", os.path.dirname(source), "-c", changed, "-o", out],
                              cwd=self.build, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def link(self, test, mutant, out):
        words, at = self.link_words(test)
        first = next(i for i, w in enumerate(words) if w.endswith(".o"))
        subprocess.run([*words[:at], out, *words[at + 1:first], mutant, *words[first:]], cwd=self.build, check=True)


def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_OF_CPU, SECONDS_OF_CPU))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, 64 << 20))


def fails(test, program, backend):
    env = dict(os.environ, **test["env"], COIL_BACKEND=backend)
    with subprocess.Popen([program, *test["cmd"][1:]], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=limits) as process:
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            status = "time"
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass
    return status not in (0, 77)


class Mutant:
    def __init__(self, file, number, old, new):
        self.file, self.number, self.old, self.new = file, number, old, new
        self.verdict, self.by = "", ""

    def __str__(self):
        return f"src/{self.file}:{self.number + 1}\n  - {self.old.strip()}\n  + {self.new.strip()}"

    def try_out(self, builder):
        source = os.path.realpath(os.path.join(TOP, "src", self.file))
        floor = self.file.split("/")[0]
        with tempfile.TemporaryDirectory() as folder:
            changed, out = os.path.join(folder, os.path.basename(self.file)), os.path.join(folder, "mutant.o")
            with open(source, encoding="utf-8") as file:
                lines = file.read().split("\n")
            lines[self.number] = self.new
            with open(changed, "w", encoding="utf-8") as file:
                file.write("\n".join(lines))
            if not builder.compile(source, changed, out):
                self.verdict = "no program"
                return
            if self.new != self.old and self.is_the_same(builder, source, changed, folder):
                self.verdict = "the same"
                return
            for name in builder.tests_of(floor, self.file):
                program = os.path.join(folder, "test")
                builder.link(name, out, program)
                for backend in BACKENDS.get(floor, ["sim"]):
                    if fails(builder.tests[name], program, backend):
                        self.verdict, self.by = "found", f"{name} [{backend}]"
                        return
            self.verdict = "SURVIVED"

    def is_the_same(self, builder, source, changed, folder):
        """Does the compiler, when it optimises, make the same code of both?"""
        code = []
        original = os.path.join(folder, "as_it_is", os.path.basename(self.file))
        os.makedirs(os.path.dirname(original), exist_ok=True)
        with open(source, encoding="utf-8") as a, open(original, "w", encoding="utf-8") as b:
            b.write(a.read())
        for text in (original, changed):
            out = text + ".s"
            if not builder.compile(source, text, out, "-O2", "-g0", "-S", "-fno-ident", f"-fmacro-prefix-map={folder}=",
                                   f"-ffile-prefix-map={os.path.dirname(text)}=x"):
                return False
            with open(out, encoding="utf-8") as file:
                code.append([line for line in file if not line.startswith("\t.file")])
        return code[0] == code[1]


def draw(n, seed, files):
    sources = [os.path.join(floor, name) for floor in FLOORS for name in sorted(os.listdir(os.path.join(TOP, "src", floor)))
               if name.endswith(".c") and name != "switch_ucontext.c"]
    if files:
        sources = [source for source in sources if source in files]
    everything = []
    for source in sources:
        with open(os.path.join(TOP, "src", source), encoding="utf-8") as file:
            text = file.read()
        lines = text.split("\n")
        everything += [Mutant(source, number, lines[number], new) for number, new in changes_of(text)]
    random.Random(seed).shuffle(everything)
    return everything, n


def first_lines(everything):
    """A file of each floor that is tried, and its first line."""
    for file in {mutant.file.split("/")[0]: mutant.file for mutant in everything}.values():
        with open(os.path.join(TOP, "src", file), encoding="utf-8") as source:
            yield file, source.read().split("\n")[0]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    builder, n = Builder(sys.argv[1]), int(sys.argv[2])
    rest = sys.argv[3:]
    seed = int(rest.pop(0)) if rest and rest[0].isdigit() else 1
    everything, n = draw(n, seed, rest)
    print(f"{len(everything)} changes could be made; {min(n, len(everything))} of them, seed {seed}", flush=True)
    began, tried, survivors = time.monotonic(), 0, []
    counts = {"found": 0, "SURVIVED": 0, "the same": 0, "no program": 0}
    workers = int(os.environ.get("JOBS") or os.cpu_count() or 2)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for name in {test for floor in FLOORS for test in builder.tests_of(floor, "x.c")}:
            builder.link_words(name)  # once, and not by several at a time

        def one(mutant):
            mutant.try_out(builder)
            return mutant

        # The way itself must not be what is found: a file of each floor without a mistake.
        for mutant in pool.map(one, [Mutant(file, 0, line, line) for file, line in first_lines(everything)]):
            if mutant.verdict != "SURVIVED":
                sys.exit(f"src/{mutant.file} without a mistake: {mutant.verdict} {mutant.by}")

        # What is no mutant is replaced by the next of the list.
        queue, running = iter(everything), set()
        while tried < n:
            while len(running) < min(workers, n - tried):
                mutant = next(queue, None)
                if mutant is None:
                    break
                running.add(pool.submit(one, mutant))
            if not running:
                break
            done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                mutant = future.result()
                counts[mutant.verdict] += 1
                if mutant.verdict in ("found", "SURVIVED"):
                    tried += 1
                    print(f"[{tried}/{n}] {mutant.verdict} {mutant.by} {mutant}", flush=True)
                if mutant.verdict == "SURVIVED":
                    survivors.append(mutant)
    print(f"\nsurvivors of seed {seed}:")
    for mutant in sorted(survivors, key=lambda m: (m.file, m.number)):
        print(mutant)
    print(f"{counts['found']} of {tried} found, {counts['SURVIVED']} survived; {counts['the same']} were no change to the "
          f"compiler, {counts['no program']} did not compile; {time.monotonic() - began:.0f} s")
    return 0 if tried else 1


if __name__ == "__main__":
    sys.exit(main())
